//! A PUBLISH that cannot be sent yet, or may have to be sent again: its bytes, and what is changed in them.

use crate::codec::Decode;
use crate::codec::mqtt::packet::{Packet, PacketId, Publish, QoS, Version};
use crate::codec::mqtt::property::id;
use crate::codec::mqtt::publish::PublishParts;
use crate::codec::mqtt::varint::{self, VarInt};
use crate::codec::mqtt::{Context, Direction, decode};
use crate::observe::Stage;
use crate::session::Output;
use crate::time::{Instant, Now};

/// DUP in the first byte (3.3.1.1).
const DUP: u8 = 0b1000;

/// The number of a message that has none yet.
pub(super) const UNNUMBERED: u64 = u64::MAX;

/// The packet as it will be sent, with its whole topic and no alias, but for its packet identifier and what is
/// left of its expiry.
#[derive(Debug)]
pub(super) struct Message {
    /// Its number among the messages of a kept session; [`UNNUMBERED`] before it is written down, and in others.
    pub(super) seq: u64,
    /// What it is, for the order among its kind and for the counters.
    pub(super) stage: Stage,
    /// How it is encoded: in a kept session as 5.0, which has room for everything, whatever the client speaks just now.
    pub(super) version: Version,
    /// When it is no longer worth sending.
    pub(super) expires: Option<Instant>,
    /// The encoded PUBLISH.
    pub(super) packet: Vec<u8>,
    /// Where it came from, if it is the client's as a member of a group: see [`super::origin`].
    pub(super) origin: Option<Box<[u8]>>,
}

impl Message {
    /// The guarantee it is sent with.
    pub(super) fn qos(&self) -> QoS {
        match self.packet.first().map_or(0, |first| first >> 1 & 0b11) {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    /// Bytes it takes.
    pub(super) fn len_bytes(&self) -> usize {
        self.packet.len() + self.origin.as_ref().map_or(0, |origin| origin.len())
    }

    /// Whether it is no longer worth sending.
    pub(super) fn has_expired(&self, now: Now) -> bool {
        self.expires.is_some_and(|expires| expires < now.instant)
    }

    /// Bytes of the packet for a client of this version.
    pub(super) fn packet_len(&self, version: Version, now: Now) -> usize {
        if self.version == version {
            return self.packet.len();
        }
        self.with_parts(version, now, |parts| parts.encoded_len())
            .unwrap_or(self.packet.len())
    }

    /// Appends the packet for a client of this version. In 3.1.1 what that version has no room for is left out, but stays
    /// with the message.
    pub(super) fn write<O: Output>(&self, version: Version, now: Now, out: &mut O) {
        let other = self.version != version;
        let written = other
            .then(|| {
                self.with_parts(version, now, |parts| {
                    let packet = parts.counted();
                    out.write(packet.encoded_len(), |buffer| packet.encode_into(buffer));
                })
            })
            .flatten();
        if written.is_none() {
            out.write(self.packet.len(), |buffer| {
                buffer.extend_from_slice(&self.packet);
            });
        }
    }

    /// Shows what the packet is made of, for a client of another version; `None` if it is no packet.
    fn with_parts<T>(
        &self,
        version: Version,
        now: Now,
        show: impl FnOnce(&PublishParts<'_>) -> T,
    ) -> Option<T> {
        let publish = read(&self.packet, self.version)?;
        // Only a packet of 5.0 has properties, and 3.1.1 takes none.
        Some(show(&PublishParts {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: &[publish.topic],
            packet_id: publish.packet_id,
            expiry_s: self.expires.map(|expires| remaining_s(expires, now)),
            payload: publish.payload,
            ..PublishParts::new(version)
        }))
    }

    /// Marks it as sent before \[MQTT-3.3.1-1\].
    pub(super) fn repeat(&mut self) {
        if let Some(first) = self.packet.first_mut() {
            *first |= DUP;
        }
    }

    /// Writes the packet identifier and the Message Expiry Interval over what stands at their places. Both have
    /// a fixed length; the interval comes first among the properties.
    pub(super) fn fill_in(&mut self, now: Now, id: Option<PacketId>) -> Option<()> {
        let packet = &mut self.packet;
        let VarInt::Whole { len, .. } = varint::read(packet.get(1..)?) else {
            return None;
        };
        let (_, body) = packet.split_at_mut_checked(1 + len)?;
        let (topic_len, body) = body.split_first_chunk_mut()?;
        let (_, mut body) = body.split_at_mut_checked(usize::from(u16::from_be_bytes(*topic_len)))?;
        if let Some(id) = id {
            let (place, rest) = body.split_first_chunk_mut()?;
            *place = id.get().to_be_bytes();
            body = rest;
        }
        if self.version == Version::V311 {
            return Some(());
        }
        let expires = self.expires?;
        let VarInt::Whole { len, .. } = varint::read(body) else {
            return None;
        };
        let (&mut first, interval) = body.get_mut(len..)?.split_first_mut()?;
        if first == id::MESSAGE_EXPIRY_INTERVAL {
            *interval.first_chunk_mut()? = remaining_s(expires, now).to_be_bytes();
        }
        Some(())
    }
}

/// Reads a whole PUBLISH of this server; `None` if the bytes are anything else.
pub(super) fn read(packet: &[u8], version: Version) -> Option<Publish<'_>> {
    let context = Context {
        version: Some(version),
        packet_bytes_max: usize::MAX,
        direction: Direction::ToClient,
    };
    match decode(packet, context) {
        Ok(Decode::Frame {
            frame: Packet::Publish(publish),
            len,
        }) if len == packet.len() => Some(publish),
        _ => None,
    }
}

/// Seconds until a message expires, rounded up; 3.3.2.3.3 has the receiver get the received value less the time
/// the message has waited.
pub(super) fn remaining_s(expires: Instant, now: Now) -> u32 {
    let left = expires.saturating_since(now.instant);
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() != 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
