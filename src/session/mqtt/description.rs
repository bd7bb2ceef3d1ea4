//! What is written down of a session that is kept, beside its messages.
//!
//! Layout, numbers big endian: format (1 byte), version of MQTT (1), expiry in seconds (4), since when it has no
//! connection in milliseconds of the calendar (8; 0 has one), whether there is a will (1) and the will, filters for
//! replies until the end. A description that was cut or damaged reads as nothing.

use super::subscribe::ReplyFilter;
use crate::codec::mqtt::packet::Version;
use crate::route::Qos;
use crate::session::Will;

const FORMAT: u8 = 1;
const RETAIN: u8 = 1 << 2;
const EXPIRES: u8 = 1 << 3;

/// What is known of a session that is kept.
#[derive(Debug)]
pub(super) struct Description<'a> {
    /// The client's, when it was last here.
    pub(super) version: Version,
    /// How long it lasts without a connection; see [`super::life::NEVER_S`].
    pub(super) session_expiry_s: u32,
    /// Since when it has none.
    pub(super) offline_since_unix_ms: Option<u64>,
    /// Its will, if it is to be published yet.
    pub(super) will: Option<&'a Will>,
    /// Its filters for replies.
    pub(super) replies: &'a [ReplyFilter],
}

/// A description as it was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) version: Version,
    pub(super) session_expiry_s: u32,
    pub(super) offline_since_unix_ms: Option<u64>,
    pub(super) will: Option<Box<Will>>,
    pub(super) replies: Vec<ReplyFilter>,
}

impl Description<'_> {
    /// Appends it to a row.
    pub(super) fn encode_into(&self, row: &mut Vec<u8>) {
        let version = match self.version {
            Version::V311 => 4,
            Version::V5 => 5,
        };
        row.extend_from_slice(&[FORMAT, version]);
        row.extend_from_slice(&self.session_expiry_s.to_be_bytes());
        row.extend_from_slice(&self.offline_since_unix_ms.unwrap_or(0).to_be_bytes());
        match self.will {
            Some(will) => {
                row.push(1);
                put_will(row, will);
            }
            None => row.push(0),
        }
        for filter in self.replies {
            row.push(number(filter.qos));
            row.extend_from_slice(&filter.identifier.to_be_bytes());
            put_bytes(row, filter.filter.as_bytes());
        }
    }

    /// Reads one.
    pub(super) fn read(row: &[u8]) -> Option<Read> {
        let mut cursor = Cursor(row);
        let [FORMAT, version] = cursor.array()? else {
            return None;
        };
        let session_expiry_s = u32::from_be_bytes(cursor.array()?);
        let since = u64::from_be_bytes(cursor.array()?);
        let will = match cursor.array()? {
            [0] => None,
            [1] => Some(Box::new(will(&mut cursor)?)),
            _ => return None,
        };
        let mut replies = Vec::new();
        while !cursor.0.is_empty() {
            let [qos_number] = cursor.array()?;
            let identifier = u32::from_be_bytes(cursor.array()?);
            replies.push(ReplyFilter {
                qos: qos(qos_number)?,
                identifier,
                filter: cursor.text()?.into(),
            });
        }
        Some(Read {
            version: match version {
                4 => Version::V311,
                5 => Version::V5,
                _ => return None,
            },
            session_expiry_s,
            offline_since_unix_ms: (since != 0).then_some(since),
            will,
            replies,
        })
    }
}

fn put_will(row: &mut Vec<u8>, will: &Will) {
    let retain = if will.retain { RETAIN } else { 0 };
    let expires = if will.expiry_s.is_some() { EXPIRES } else { 0 };
    row.push(number(will.qos) | retain | expires);
    row.extend_from_slice(&will.delay_s.to_be_bytes());
    row.extend_from_slice(&will.expiry_s.unwrap_or(0).to_be_bytes());
    put_bytes(row, will.channel.as_bytes());
    put_bytes(row, &will.payload);
    put_bytes(row, &will.attributes);
}

fn will(cursor: &mut Cursor<'_>) -> Option<Will> {
    let [flags] = cursor.array()?;
    let delay_s = u32::from_be_bytes(cursor.array()?);
    let expiry_s = u32::from_be_bytes(cursor.array()?);
    Some(Will {
        channel: cursor.text()?.into(),
        payload: cursor.bytes()?.into(),
        attributes: cursor.bytes()?.into(),
        qos: qos(flags & 3)?,
        retain: flags & RETAIN != 0,
        expiry_s: (flags & EXPIRES != 0).then_some(expiry_s),
        delay_s,
    })
}

const fn number(qos: Qos) -> u8 {
    match qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
        Qos::ExactlyOnce => 2,
    }
}

const fn qos(number: u8) -> Option<Qos> {
    match number {
        0 => Some(Qos::AtMostOnce),
        1 => Some(Qos::AtLeastOnce),
        2 => Some(Qos::ExactlyOnce),
        _ => None,
    }
}

fn put_bytes(row: &mut Vec<u8>, bytes: &[u8]) {
    // A CONNECT is far shorter.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    row.extend_from_slice(&len.to_be_bytes());
    row.extend_from_slice(bytes);
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(u32::from_be_bytes(self.array()?)).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (Will, Vec<ReplyFilter>) {
        let will = Will {
            channel: "gone/é".into(),
            payload: Box::from(*b"\x00\xff"),
            attributes: Box::from(*b"a"),
            qos: Qos::ExactlyOnce,
            retain: true,
            expiry_s: Some(0),
            delay_s: 7,
        };
        let filter = ReplyFilter {
            filter: "$nexus/reply/+".into(),
            qos: Qos::AtLeastOnce,
            identifier: 9,
        };
        (will, vec![filter])
    }

    #[test]
    fn a_description_comes_back_as_it_was_written() {
        let (will, replies) = example();
        for (will, replies, since) in [(Some(&will), &replies[..], Some(5)), (None, &[], None)] {
            let mut row = Vec::new();
            Description {
                version: Version::V311,
                session_expiry_s: 300,
                offline_since_unix_ms: since,
                will,
                replies,
            }
            .encode_into(&mut row);
            let read = Description::read(&row).unwrap();
            assert_eq!(read.version, Version::V311);
            assert_eq!((read.session_expiry_s, read.offline_since_unix_ms), (300, since));
            assert_eq!(read.will.as_deref(), will);
            assert_eq!(format!("{:?}", read.replies), format!("{replies:?}"));
        }
    }

    #[test]
    fn a_damaged_description_is_nothing_and_never_a_panic() {
        let (will, replies) = example();
        let mut row = Vec::new();
        Description {
            version: Version::V5,
            session_expiry_s: 1,
            offline_since_unix_ms: None,
            will: Some(&will),
            replies: &replies,
        }
        .encode_into(&mut row);
        // Without its filters it is shorter, and whole.
        let whole = row.len() - (1 + 4 + 4 + replies[0].filter.len());
        for len in (0..row.len()).filter(|len| *len != whole) {
            assert!(Description::read(&row[..len]).is_none(), "{len}");
        }
        for (at, byte) in [(0, 9), (1, 3), (14, 2), (15, 3)] {
            let mut row = row.clone();
            row[at] = byte;
            assert!(Description::read(&row).is_none(), "{at}");
        }
    }
}
