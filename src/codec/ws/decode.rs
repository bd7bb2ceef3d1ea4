//! Frames as a server receives them.

use super::CONTROL_BYTES_MAX;
use super::close::{Close, Malformed};
use super::mask;
use super::utf8::Utf8;
use crate::codec::Decode;

/// What a message carries (RFC 6455, 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// What stands at the front of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The header of a data frame. Its payload follows and is taken with [`Decoder::payload`].
    Data {
        /// Of the message it belongs to.
        kind: Kind,
        /// Whether it begins a message; else it continues one.
        first: bool,
        /// FIN: whether it ends the message.
        last: bool,
        /// Bytes of payload.
        len: u64,
    },
    /// A whole Ping (5.5.2).
    Ping(&'a [u8]),
    /// A whole Pong (5.5.3).
    Pong(&'a [u8]),
    /// A whole Close (5.5.1).
    Close(Option<Close<'a>>),
}

/// No message has begun.
const NO_MESSAGE: u8 = 0;
/// The bit that opcode 1 has and opcode 2 has not.
const TEXT: u8 = 1;
/// The frame being read ends its message.
const LAST: u8 = 4;

/// What is remembered between calls while a client's frames are read: 16 bytes.
///
/// Between frames ([`Decoder::payload_left`] is 0) call [`Decoder::decode`]; after a header of a data frame
/// call [`Decoder::payload`] until nothing is left.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    /// Payload of the current data frame that has not been unmasked.
    left: u64,
    /// The masking key as the next byte of payload needs it.
    key: [u8; 4],
    /// Where the text message breaks off.
    utf8: Utf8,
    /// `NO_MESSAGE`, or the opcode that began the message and perhaps `LAST`.
    bits: u8,
}

/// The parts of a frame's header that is allowed to stand there.
#[derive(Clone, Copy)]
struct Header {
    opcode: u8,
    last: bool,
    key: [u8; 4],
    payload_len: u64,
    len: usize,
}

impl Decoder {
    /// Bytes of the current data frame's payload that have not been unmasked.
    pub const fn payload_left(&self) -> u64 {
        self.left
    }

    /// Whether a message has begun and not ended.
    pub const fn in_message(&self) -> bool {
        self.bits != NO_MESSAGE
    }

    /// Reads a frame at the front of `bytes`: the header of a data frame, which may announce at most
    /// `payload_bytes_max`, or a whole control frame, whose payload is unmasked in place.
    ///
    /// Only between frames. `Need` is exact: the header, or the header and a control frame's payload.
    pub fn decode<'a>(
        &mut self,
        bytes: &'a mut [u8],
        payload_bytes_max: u64,
    ) -> Result<Decode<Frame<'a>>, Malformed> {
        debug_assert_eq!(self.left, 0, "the payload of the frame before has been taken");
        let header = match self.header(bytes, payload_bytes_max)? {
            Decode::Frame { frame, .. } => frame,
            Decode::Need(need) => return Ok(Decode::Need(need)),
        };
        if header.opcode >= 0x8 {
            return control(bytes, header);
        }
        let first = header.opcode != 0;
        if first {
            self.bits = header.opcode;
        }
        let kind = if self.bits & TEXT == 0 {
            Kind::Binary
        } else {
            Kind::Text
        };
        if header.last {
            self.bits |= LAST;
        }
        self.left = header.payload_len;
        self.key = header.key;
        self.end_of_frame()?;
        Ok(Decode::Frame {
            frame: Frame::Data {
                kind,
                first,
                last: header.last,
                len: header.payload_len,
            },
            len: header.len,
        })
    }

    /// Unmasks as much of the current data frame's payload as stands at the front of `bytes`, and returns how
    /// much that is. Of text, checks that it is UTF-8; the message's last byte must end a character.
    pub fn payload(&mut self, bytes: &mut [u8]) -> Result<usize, Malformed> {
        if self.left == 0 {
            return Ok(0);
        }
        let take = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let payload = bytes.get_mut(..take).unwrap_or_default();
        self.key = mask::apply(payload, self.key);
        self.left -= take as u64;
        if self.bits & TEXT != 0 {
            self.utf8.push(payload).map_err(|_| Malformed::Text)?;
        }
        self.end_of_frame()?;
        Ok(take)
    }

    /// Once the last payload of a message has been taken, the message is over.
    fn end_of_frame(&mut self) -> Result<(), Malformed> {
        if self.left == 0 && self.bits & LAST != 0 {
            if self.bits & TEXT != 0 && !self.utf8.is_complete() {
                return Err(Malformed::Text);
            }
            self.bits = NO_MESSAGE;
        }
        Ok(())
    }

    /// Reads and checks a header (5.2). What is wrong in the first two bytes is told without the others.
    fn header(&self, bytes: &[u8], payload_bytes_max: u64) -> Result<Decode<Header>, Malformed> {
        let &[first, second, ..] = bytes else {
            return Ok(Decode::Need(2));
        };
        let (opcode, last, short) = (first & 0x0F, first & 0x80 != 0, second & 0x7F);
        self.check(first, second)?;
        let length_bytes = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let len = 2 + length_bytes + 4;
        let (Some(length), Some(&[a, b, c, d])) =
            (bytes.get(2..2 + length_bytes), bytes.get(2 + length_bytes..len))
        else {
            return Ok(Decode::Need(len));
        };
        let long = length
            .iter()
            .fold(0, |length, &byte| length << 8 | u64::from(byte));
        let payload_len = match short {
            126 if long <= 125 => return Err(Malformed::LengthNotMinimal),
            127 if long <= 0xFFFF => return Err(Malformed::LengthNotMinimal),
            127 if long >> 63 != 0 => return Err(Malformed::LengthTopBit),
            126 | 127 => long,
            _ => u64::from(short),
        };
        if payload_len > payload_bytes_max && opcode < 0x8 {
            return Err(Malformed::FrameTooLarge);
        }
        Ok(Decode::Frame {
            frame: Header {
                opcode,
                last,
                key: [a, b, c, d],
                payload_len,
                len,
            },
            len,
        })
    }

    /// What the first two bytes of a header may be, here and at all.
    const fn check(&self, first: u8, second: u8) -> Result<(), Malformed> {
        if first & 0x70 != 0 {
            return Err(Malformed::ReservedBits);
        }
        match first & 0x0F {
            0x0 if !self.in_message() => return Err(Malformed::ContinuationWithoutStart),
            0x1 | 0x2 if self.in_message() => return Err(Malformed::MessageInterrupted),
            0x0..=0x2 => {}
            0x8..=0xA if first & 0x80 == 0 => return Err(Malformed::ControlFragmented),
            0x8..=0xA if second & 0x7F > 125 => return Err(Malformed::ControlTooLong),
            0x8..=0xA => {}
            _ => return Err(Malformed::ReservedOpcode),
        }
        if second & 0x80 == 0 {
            return Err(Malformed::Unmasked);
        }
        Ok(())
    }
}

/// A control frame, whole: its payload is at most 125 bytes long.
fn control(bytes: &mut [u8], header: Header) -> Result<Decode<Frame<'_>>, Malformed> {
    let payload_len = usize::try_from(header.payload_len).unwrap_or(CONTROL_BYTES_MAX);
    let len = header.len + payload_len;
    let Some(payload) = bytes.get_mut(header.len..len) else {
        return Ok(Decode::Need(len));
    };
    mask::apply(payload, header.key);
    let frame = match header.opcode {
        0x8 => Frame::Close(Close::parse(payload)?),
        0x9 => Frame::Ping(payload),
        _ => Frame::Pong(payload),
    };
    Ok(Decode::Frame { frame, len })
}
