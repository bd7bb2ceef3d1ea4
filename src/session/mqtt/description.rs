//! What is written down of a session that is kept, beside its messages.
//!
//! Layout, numbers big endian: format (1 byte), version of MQTT (1), expiry in seconds (4), since when it has no
//! connection in milliseconds of the calendar, or with the highest bit set when it was written down with one (8; 0 had
//! one), whether there is a will (1) and the will, filters for replies until the end. A description that was cut or damaged reads as nothing.

use super::subscribe::ReplyFilter;
use crate::codec::mqtt::packet::Version;
use crate::session::Will;
use crate::session::rows::{self, Cursor};

const FORMAT: u8 = 1;
/// It had a connection at this point.
const CONNECTED: u64 = 1 << 63;

/// What is known of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    /// It has had none since then, in milliseconds of the calendar.
    NoneSince(u64),
    /// It had one then.
    At(u64),
    /// It had one.
    Unknown,
}

impl Connection {
    const fn number(self) -> u64 {
        match self {
            Self::NoneSince(unix_ms) => unix_ms,
            Self::At(unix_ms) => unix_ms | CONNECTED,
            Self::Unknown => 0,
        }
    }

    const fn of(number: u64) -> Self {
        match number {
            0 => Self::Unknown,
            at if at & CONNECTED != 0 => Self::At(at & !CONNECTED),
            since => Self::NoneSince(since),
        }
    }
}

/// What is known of a session that is kept.
#[derive(Debug)]
pub(super) struct Description<'a> {
    /// The client's, when it was last here.
    pub(super) version: Version,
    /// How long it lasts without a connection; see [`super::life::NEVER_S`].
    pub(super) session_expiry_s: u32,
    /// Its connection.
    pub(super) connection: Connection,
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
    pub(super) connection: Connection,
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
        row.extend_from_slice(&self.connection.number().to_be_bytes());
        match self.will {
            Some(will) => {
                row.push(1);
                will.append_to(row);
            }
            None => row.push(0),
        }
        for filter in self.replies {
            row.push(rows::number(filter.qos));
            row.extend_from_slice(&filter.identifier.to_be_bytes());
            rows::put_bytes(row, filter.filter.as_bytes());
        }
    }

    /// Reads one.
    pub(super) fn read(row: &[u8]) -> Option<Read> {
        let mut cursor = Cursor(row);
        let [FORMAT, version] = cursor.array()? else {
            return None;
        };
        let session_expiry_s = u32::from_be_bytes(cursor.array()?);
        let connection = Connection::of(u64::from_be_bytes(cursor.array()?));
        let will = match cursor.array()? {
            [0] => None,
            [1] => Some(Box::new(Will::read(&mut cursor)?)),
            _ => return None,
        };
        let mut replies = Vec::new();
        while !cursor.0.is_empty() {
            let [qos_number] = cursor.array()?;
            let identifier = u32::from_be_bytes(cursor.array()?);
            replies.push(ReplyFilter {
                qos: rows::qos(qos_number)?,
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
            connection,
            will,
            replies,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Qos;

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
        let since = Connection::NoneSince(5);
        for (will, replies, connection) in [
            (Some(&will), &replies[..], since),
            (None, &[], Connection::At(5)),
            (None, &[], Connection::Unknown),
        ] {
            let mut row = Vec::new();
            Description {
                version: Version::V311,
                session_expiry_s: 300,
                connection,
                will,
                replies,
            }
            .encode_into(&mut row);
            let read = Description::read(&row).unwrap();
            assert_eq!(read.version, Version::V311);
            assert_eq!((read.session_expiry_s, read.connection), (300, connection));
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
            connection: Connection::Unknown,
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
