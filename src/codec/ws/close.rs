//! Why a WebSocket connection ends: what peers say in a Close frame, and what they do wrong.

use std::fmt;

/// A status code of a Close frame (RFC 6455, 7.4): one that may stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: an endpoint goes away.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a type of data that is not taken.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1007: data that is not what its type says.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: something the endpoint does not allow.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: larger than the endpoint takes.
    pub const TOO_BIG: Self = Self(1009);
    /// 1013: later it may work (IANA WebSocket Close Code Number Registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// Checks a code from the wire: those RFC 6455, 7.4.1 defines for Close frames, 1012 to 1014 as registered
    /// with IANA, and 3000 to 4999 for libraries and applications (7.4.2).
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The code as a number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// What a Close frame that is not empty says (5.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// The status code.
    pub code: CloseCode,
    /// The reason, for people.
    pub reason: &'a str,
}

impl<'a> Close<'a> {
    /// Reads the payload of a Close frame; an empty one says nothing.
    pub(super) fn parse(payload: &'a [u8]) -> Result<Option<Self>, Malformed> {
        match payload {
            [] => Ok(None),
            [_] => Err(Malformed::CloseTruncated),
            [high, low, reason @ ..] => Ok(Some(Self {
                code: CloseCode::new(u16::from_be_bytes([*high, *low])).ok_or(Malformed::CloseCode)?,
                reason: std::str::from_utf8(reason).map_err(|_| Malformed::CloseReason)?,
            })),
        }
    }
}

/// What a client's frames may not be. All of it ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// RSV1, RSV2 or RSV3 is set and no extension gave it a meaning (5.2).
    ReservedBits,
    /// An opcode that is reserved (5.2).
    ReservedOpcode,
    /// A client's frame that is not masked (5.1).
    Unmasked,
    /// A control frame that is not final (5.5).
    ControlFragmented,
    /// A control frame with more than 125 bytes of payload (5.5).
    ControlTooLong,
    /// A length in more bytes than it needs (5.2).
    LengthNotMinimal,
    /// A 64-bit length with the most significant bit set (5.2).
    LengthTopBit,
    /// A continuation frame where no message has begun (5.4).
    ContinuationWithoutStart,
    /// A message that begins where another one is not complete (5.4).
    MessageInterrupted,
    /// A frame with more payload than is taken (7.4.1).
    FrameTooLarge,
    /// A Close frame with one byte of payload (5.5.1).
    CloseTruncated,
    /// A status code that may not stand in a Close frame (7.4).
    CloseCode,
    /// A reason of a Close frame that is not UTF-8 (5.5.1).
    CloseReason,
    /// A text message that is not UTF-8 (8.1).
    Text,
}

impl Malformed {
    /// All values, in order.
    pub const ALL: &'static [Self] = &[
        Self::ReservedBits,
        Self::ReservedOpcode,
        Self::Unmasked,
        Self::ControlFragmented,
        Self::ControlTooLong,
        Self::LengthNotMinimal,
        Self::LengthTopBit,
        Self::ContinuationWithoutStart,
        Self::MessageInterrupted,
        Self::FrameTooLarge,
        Self::CloseTruncated,
        Self::CloseCode,
        Self::CloseReason,
        Self::Text,
    ];

    /// The status code with which the connection is failed (7.1.7, 7.4.1).
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::ReservedBits
            | Self::ReservedOpcode
            | Self::Unmasked
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::LengthNotMinimal
            | Self::LengthTopBit
            | Self::ContinuationWithoutStart
            | Self::MessageInterrupted
            | Self::CloseTruncated
            | Self::CloseCode => CloseCode::PROTOCOL_ERROR,
            Self::CloseReason | Self::Text => CloseCode::INVALID_DATA,
            Self::FrameTooLarge => CloseCode::TOO_BIG,
        }
    }

    /// What is wrong, for people: the reason in the Close frame.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReservedBits => "reserved bit set",
            Self::ReservedOpcode => "reserved opcode",
            Self::Unmasked => "frame not masked",
            Self::ControlFragmented => "control frame fragmented",
            Self::ControlTooLong => "control frame too long",
            Self::LengthNotMinimal => "length not minimal",
            Self::LengthTopBit => "length out of range",
            Self::ContinuationWithoutStart => "continuation without a message",
            Self::MessageInterrupted => "message inside a message",
            Self::FrameTooLarge => "frame too large",
            Self::CloseTruncated => "close frame truncated",
            Self::CloseCode => "invalid close code",
            Self::CloseReason => "close reason not UTF-8",
            Self::Text => "text not UTF-8",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Malformed {}
