//! The fixed header (2.1): what a packet is and how long, from its first two to five bytes.

use super::malformed::Malformed;
use super::packet::QoS;
use super::varint::{self, VarInt};
use crate::codec::Decode;

/// Where the packets that are decoded go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a client to a server.
    ToServer,
    /// From a server to a client.
    ToClient,
}

/// The type of a control packet (2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// 3.1
    Connect = 1,
    /// 3.2
    ConnAck = 2,
    /// 3.3
    Publish = 3,
    /// 3.4
    PubAck = 4,
    /// 3.5
    PubRec = 5,
    /// 3.6
    PubRel = 6,
    /// 3.7
    PubComp = 7,
    /// 3.8
    Subscribe = 8,
    /// 3.9
    SubAck = 9,
    /// 3.10
    Unsubscribe = 10,
    /// 3.11
    UnsubAck = 11,
    /// 3.12
    PingReq = 12,
    /// 3.13
    PingResp = 13,
    /// 3.14
    Disconnect = 14,
    /// 3.15, 5.0 only.
    Auth = 15,
}

impl PacketType {
    /// The type in the upper four bits of a packet's first byte.
    #[inline]
    const fn of(first: u8) -> Option<Self> {
        Some(match first >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The flags that the type prescribes (2.1.3); PUBLISH has its own.
    #[inline]
    pub(super) const fn flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    /// A packet's first byte with the flags that the type prescribes.
    pub(super) const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.flags()
    }
}

/// A fixed header whose flags fit its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedHeader {
    /// What the packet is.
    pub packet_type: PacketType,
    /// The lower four bits of the first byte.
    pub flags: u8,
    /// Bytes after the fixed header.
    pub remaining_length: u32,
    /// Bytes of the fixed header, 2 to 5.
    pub header_len: u8,
}

impl FixedHeader {
    /// Bytes of the whole packet, fixed header included (2.1.4).
    #[inline]
    pub const fn packet_len(&self) -> usize {
        self.header_len as usize + self.remaining_length as usize
    }

    /// The QoS of a PUBLISH (3.3.1.2); none for 3.
    #[inline]
    pub const fn qos(&self) -> Option<QoS> {
        qos((self.flags >> 1) & 0b11)
    }

    /// Whether the Remaining Length is in its shortest form, as 5.0 wants it \[MQTT-1.5.5-1\].
    #[inline]
    pub const fn is_minimal(&self) -> bool {
        self.header_len as usize == 1 + varint::len(self.remaining_length)
    }
}

/// Reads a fixed header. `len` of the frame is the header's own length; [`FixedHeader::packet_len`] that of the
/// packet. Refuses what no version and no receiver takes: reserved types and flags, and a Remaining Length of
/// more than four bytes.
#[inline]
pub fn header(bytes: &[u8]) -> Result<Decode<FixedHeader>, Malformed> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(Decode::Need(2));
    };
    let packet_type = PacketType::of(first).ok_or(Malformed::PacketTypeReserved)?;
    let flags = first & 0x0F;
    if packet_type == PacketType::Publish {
        match (flags >> 1) & 0b11 {
            0 if flags & 0b1000 != 0 => return Err(Malformed::DupWithQoS0),
            3 => return Err(Malformed::PublishQoS3),
            _ => {}
        }
    } else if flags != packet_type.flags() {
        return Err(Malformed::FlagsReserved);
    }
    let (remaining_length, header_len) = match varint::read(rest) {
        VarInt::Whole { value, len: 1 } => (value, 2),
        VarInt::Whole { value, len: 2 } => (value, 3),
        VarInt::Whole { value, len: 3 } => (value, 4),
        VarInt::Whole { value, .. } => (value, 5),
        VarInt::Partial => return Ok(Decode::Need(bytes.len() + 1)),
        VarInt::TooLong => return Err(Malformed::RemainingLengthTooLong),
    };
    Ok(Decode::Frame {
        frame: FixedHeader {
            packet_type,
            flags,
            remaining_length,
            header_len,
        },
        len: usize::from(header_len),
    })
}

/// The QoS in two bits; none for 3.
#[inline]
pub(super) const fn qos(bits: u8) -> Option<QoS> {
    match bits {
        0 => Some(QoS::AtMostOnce),
        1 => Some(QoS::AtLeastOnce),
        2 => Some(QoS::ExactlyOnce),
        _ => None,
    }
}
