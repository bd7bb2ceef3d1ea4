//! The rows of [`Table::Outbound`] and [`Table::Inbound`]: how a session's messages and exchanges are stored.
//!
//! A value in the table of messages is the version of the form (1 byte), the state (1), the packet identifier
//! (2, 0 is none), the stage (1), the MQTT version that the PUBLISH is encoded in (1; 5.0, and from earlier
//! releases 3.1.1), the expiry (8, milliseconds since the Unix epoch, 0 is
//! none) and the encoded PUBLISH, all numbers big endian. One that the session has as a member of a group is of another
//! version: before the PUBLISH stand the length (4) and the bytes of its origin. An exchange has no value.
//!
//! [`Table::Outbound`]: crate::journal::Table::Outbound
//! [`Table::Inbound`]: crate::journal::Table::Inbound

use super::message;
use super::origin::Origin;
use crate::codec::mqtt::packet::{PacketId, QoS, Version};
use crate::observe::Stage;

/// The version of the form.
const FORMAT: u8 = 1;
/// The same with an origin.
const FORMAT_SHARED: u8 = 2;

/// Where a stored message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has no packet identifier yet.
    Waiting,
    /// It may have been sent under its packet identifier.
    Sent(PacketId),
    /// The client has it; its identifier is to be released (QoS 2).
    Released(PacketId),
}

/// One message as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) state: State,
    pub(super) stage: Stage,
    pub(super) version: Version,
    /// Milliseconds since the Unix epoch; 0 is never.
    pub(super) expires_unix_ms: u64,
    /// See [`super::origin`]; empty for what is the session's own.
    pub(super) origin: &'a [u8],
    /// The encoded PUBLISH; empty once released.
    pub(super) packet: &'a [u8],
}

impl<'a> Row<'a> {
    /// Appends the value.
    pub(super) fn encode_into(&self, value: &mut Vec<u8>) {
        let (state, id) = match self.state {
            State::Waiting => (0, 0),
            State::Sent(id) => (1, id.get()),
            State::Released(id) => (2, id.get()),
        };
        let version = match self.version {
            Version::V311 => 4,
            Version::V5 => 5,
        };
        let format = if self.origin.is_empty() {
            FORMAT
        } else {
            FORMAT_SHARED
        };
        value.extend_from_slice(&[format, state]);
        value.extend_from_slice(&id.to_be_bytes());
        value.extend_from_slice(&[self.stage as u8, version]);
        value.extend_from_slice(&self.expires_unix_ms.to_be_bytes());
        if !self.origin.is_empty() {
            // Bounded by the packets it was made of.
            let len = u32::try_from(self.origin.len()).unwrap_or(u32::MAX);
            value.extend_from_slice(&len.to_be_bytes());
            value.extend_from_slice(self.origin);
        }
        value.extend_from_slice(self.packet);
    }

    /// Reads a value; `None` if it is damaged.
    pub(super) fn decode(value: &'a [u8]) -> Option<Self> {
        let (&[format, state], rest) = value.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (&[stage, version], rest) = rest.split_first_chunk()?;
        let (expires, packet) = rest.split_first_chunk()?;
        let (origin, packet) = match format {
            FORMAT => (&[][..], packet),
            FORMAT_SHARED => {
                let (len, rest) = packet.split_first_chunk()?;
                let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
                let (origin, packet) = rest.split_at_checked(len)?;
                (Origin::decode(origin).map(|_| origin)?, packet)
            }
            _ => return None,
        };
        let state = match (state, PacketId::new(u16::from_be_bytes(*id))) {
            (0, None) => State::Waiting,
            (1, Some(id)) => State::Sent(id),
            (2, Some(id)) => State::Released(id),
            _ => return None,
        };
        let version = match version {
            4 => Version::V311,
            5 => Version::V5,
            _ => return None,
        };
        let whole = match state {
            State::Released(_) => packet.is_empty(),
            State::Waiting | State::Sent(_) => {
                message::read(packet, version).is_some_and(|publish| publish.qos != QoS::AtMostOnce)
            }
        };
        whole.then_some(Self {
            state,
            stage: *Stage::ALL.get(usize::from(stage))?,
            version,
            expires_unix_ms: u64::from_be_bytes(*expires),
            origin,
            packet,
        })
    }
}

/// The key of a message.
pub(super) fn outbound_key(number: u64, seq: u64) -> [u8; 16] {
    (u128::from(number) << 64 | u128::from(seq)).to_be_bytes()
}

/// The session's number and the message's in a key of the table of messages; `None` if it is no such key.
pub fn outbound_of(key: &[u8]) -> Option<(u64, u64)> {
    let (number, seq) = key.split_first_chunk()?;
    Some((
        u64::from_be_bytes(*number),
        u64::from_be_bytes(seq.try_into().ok()?),
    ))
}

/// The key of an exchange.
pub(super) fn inbound_key(number: u64, id: PacketId) -> [u8; 10] {
    let mut key = [0; 10];
    let (head, tail) = key.split_at_mut(8);
    head.copy_from_slice(&number.to_be_bytes());
    tail.copy_from_slice(&id.get().to_be_bytes());
    key
}

/// The session's number and the packet identifier in a key of the table of exchanges; `None` if it is no such
/// key.
pub fn inbound_of(key: &[u8]) -> Option<(u64, PacketId)> {
    let (number, id) = key.split_first_chunk()?;
    let id = PacketId::new(u16::from_be_bytes(id.try_into().ok()?))?;
    Some((u64::from_be_bytes(*number), id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::mqtt::publish::PublishParts;

    fn packet(version: Version, qos: QoS) -> Vec<u8> {
        let mut packet = Vec::new();
        PublishParts {
            qos,
            packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
            topic: &["a/b"],
            payload: b"text",
            ..PublishParts::new(version)
        }
        .encode_into(&mut packet);
        packet
    }

    fn value(row: &Row<'_>) -> Vec<u8> {
        let mut value = Vec::new();
        row.encode_into(&mut value);
        value
    }

    #[test]
    fn a_row_comes_back_as_it_was_written() {
        let id = PacketId::new(0x1234).unwrap();
        let origin = crate::session::mqtt::origin::tests::origin().encode();
        for version in [Version::V311, Version::V5] {
            let packet = packet(version, QoS::ExactlyOnce);
            for (state, packet) in [
                (State::Waiting, &packet[..]),
                (State::Sent(id), &packet[..]),
                (State::Released(id), &[]),
            ] {
                for &stage in Stage::ALL {
                    let row = Row {
                        state,
                        stage,
                        version,
                        expires_unix_ms: 1 << 40,
                        origin: &[],
                        packet,
                    };
                    assert_eq!(Row::decode(&value(&row)), Some(row));
                    if state == State::Waiting {
                        let shared = Row {
                            origin: &origin,
                            ..row
                        };
                        assert_eq!(Row::decode(&value(&shared)), Some(shared));
                    }
                }
            }
        }
    }

    #[test]
    fn a_damaged_row_is_none() {
        let packet = packet(Version::V5, QoS::AtLeastOnce);
        let row = Row {
            state: State::Sent(PacketId::MIN),
            stage: Stage::Channel,
            version: Version::V5,
            expires_unix_ms: 0,
            origin: &[],
            packet: &packet,
        };
        let whole = value(&row);
        for len in 0..whole.len() {
            assert_eq!(Row::decode(&whole[..len]), None, "cut to {len}");
        }
        for (at, byte) in [
            (0, 2),
            (0, 3),
            (1, 3),
            (1, 0),
            (1, 2),
            (3, 0),
            (4, 200),
            (5, 3),
            (14, 0x40),
        ] {
            let mut damaged = whole.clone();
            damaged[at] = byte;
            assert_eq!(Row::decode(&damaged), None, "byte {at} is {byte}");
        }
        let mut longer = whole;
        longer.push(0);
        assert_eq!(Row::decode(&longer), None);
    }

    #[test]
    fn keys_sort_by_session_and_then_in_order() {
        let id = PacketId::new(0x0102).unwrap();
        assert_eq!(outbound_of(&outbound_key(7, 9)), Some((7, 9)));
        assert_eq!(inbound_of(&inbound_key(7, id)), Some((7, id)));
        assert!(outbound_key(7, u64::MAX) < outbound_key(8, 0));
        assert!(outbound_key(7, 255) < outbound_key(7, 256));
        assert_eq!(&outbound_key(7, 9)[..8], 7_u64.to_be_bytes());
        assert_eq!(&inbound_key(7, id)[..], [0, 0, 0, 0, 0, 0, 0, 7, 1, 2]);
        for key in [&[0; 15][..], &[0; 17], &[]] {
            assert_eq!(outbound_of(key), None);
        }
        for key in [&[0; 10][..], &[1; 9], &[1; 11]] {
            assert_eq!(inbound_of(key), None);
        }
    }
}
