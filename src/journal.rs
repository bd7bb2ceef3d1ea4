//! What has to outlive the daemon, as changes to tables of keys and values: a shard writes down what changed in a
//! turn, the storage thread makes it last.
//!
//! Invariant: changes are kept in the order they were written; of two to one key the later one holds.

use std::collections::BTreeSet;

/// A table of what outlives the daemon. The number is part of the stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Sessions by number (8 bytes, big endian).
    Sessions = 0,
    /// What a session has registered: its number, then what names the registration.
    Registrations = 1,
    /// Messages on their way to a session: its number, then the message's (8 bytes, big endian).
    Outbound = 2,
    /// QoS 2 exchanges that a session has begun: its number, then the packet identifier (2 bytes, big endian).
    Inbound = 3,
    /// Retained messages by channel.
    Retained = 4,
}

impl Table {
    /// All tables, in order.
    pub const ALL: &'static [Self] = &[
        Self::Sessions,
        Self::Registrations,
        Self::Outbound,
        Self::Inbound,
        Self::Retained,
    ];

    /// The name it is stored under.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Registrations => "registrations",
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::Retained => "retained",
        }
    }

    fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// `key` has this value from now on.
    Put {
        /// Where.
        table: Table,
        /// 1..=65,535 bytes.
        key: &'a [u8],
        /// Any bytes.
        value: &'a [u8],
    },
    /// `key` has none any more.
    Delete {
        /// Where.
        table: Table,
        /// As in [`Change::Put`].
        key: &'a [u8],
    },
    /// No key that begins with `prefix` has any more.
    DeleteAll {
        /// Where.
        table: Table,
        /// What they begin with; never empty.
        prefix: &'a [u8],
    },
}

impl<'a> Change<'a> {
    /// The table, and the key or what keys begin with.
    const fn place(&self) -> (Table, &'a [u8]) {
        match *self {
            Self::Put { table, key, .. } | Self::Delete { table, key } => (table, key),
            Self::DeleteAll { table, prefix } => (table, prefix),
        }
    }
}

const PUT: u8 = 0;
const DELETE: u8 = 1;
const DELETE_ALL: u8 = 2;

/// Changes in the order they were made.
///
/// One after the other: kind and table (1 byte each), the key's length (2 bytes) and the key, for [`Change::Put`] the
/// value's length (4 bytes) and the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    bytes: Vec<u8>,
    changes: usize,
}

impl Journal {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            changes: 0,
        }
    }

    /// Writes down that `key` has a value.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.put_with(table, key, |bytes| bytes.extend_from_slice(value));
    }

    /// Writes down that `key` has the value that `encode` appends.
    pub fn put_with(&mut self, table: Table, key: &[u8], encode: impl FnOnce(&mut Vec<u8>)) {
        self.head(PUT, table, key);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        encode(&mut self.bytes);
        let len = u32::try_from(self.bytes.len() - at - 4).unwrap_or(u32::MAX);
        if let Some(place) = self.bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&len.to_le_bytes());
        }
    }

    /// Writes down that `key` has no value any more.
    pub fn delete(&mut self, table: Table, key: &[u8]) {
        self.head(DELETE, table, key);
    }

    /// Writes down that no key that begins with `prefix` has a value any more.
    pub fn delete_all(&mut self, table: Table, prefix: &[u8]) {
        self.head(DELETE_ALL, table, prefix);
    }

    fn head(&mut self, kind: u8, table: Table, key: &[u8]) {
        debug_assert!(!key.is_empty(), "a key is never empty");
        self.changes += 1;
        let len = u16::try_from(key.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&[kind, table as u8]);
        self.bytes.extend_from_slice(&len.to_le_bytes());
        let key = key.get(..usize::from(len)).unwrap_or(key);
        self.bytes.extend_from_slice(key);
    }

    /// Whether nothing was written down.
    pub const fn is_empty(&self) -> bool {
        self.changes == 0
    }

    /// Changes written down.
    pub const fn len(&self) -> usize {
        self.changes
    }

    /// Bytes they take.
    pub const fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Takes over all of `later`, in order, and leaves it empty.
    pub fn append(&mut self, later: &mut Self) {
        self.bytes.append(&mut later.bytes);
        self.changes += std::mem::take(&mut later.changes);
    }

    /// Forgets changes that later ones override: what is left comes to the same, and takes no more bytes than there are
    /// keys to speak of.
    pub fn compact(&mut self) {
        let changes: Vec<Change<'_>> = self.iter().collect();
        let (mut seen, mut cleared, mut lens) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut left = Vec::new();
        for change in changes.iter().rev() {
            let (table, key) = change.place();
            let is_in = |len: &usize| {
                key.get(..*len)
                    .is_some_and(|start| cleared.contains(&(table, start)))
            };
            if lens.iter().any(is_in) {
                continue;
            }
            if let Change::DeleteAll { prefix, .. } = change {
                cleared.insert((table, *prefix));
                lens.insert(prefix.len());
            } else if !seen.insert((table, key)) {
                continue;
            }
            left.push(change);
        }
        let mut compacted = Self::new();
        for change in left.into_iter().rev() {
            match *change {
                Change::Put { table, key, value } => compacted.put(table, key, value),
                Change::Delete { table, key } => compacted.delete(table, key),
                Change::DeleteAll { table, prefix } => compacted.delete_all(table, prefix),
            }
        }
        *self = compacted;
    }

    /// Forgets all changes; keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.changes = 0;
    }

    /// The changes in order.
    pub fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (change, behind) = read(rest)?;
            rest = behind;
            Some(change)
        })
    }
}

fn read(bytes: &[u8]) -> Option<(Change<'_>, &[u8])> {
    let (&[kind, table], rest) = bytes.split_first_chunk()?;
    let table = Table::of(table)?;
    let (len, rest) = rest.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    Some(match kind {
        PUT => {
            let (len, rest) = rest.split_first_chunk()?;
            let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
            let (value, rest) = rest.split_at_checked(len)?;
            (Change::Put { table, key, value }, rest)
        }
        DELETE => (Change::Delete { table, key }, rest),
        _ => (Change::DeleteAll { table, prefix: key }, rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_as_they_were_written() {
        let (mut first, mut second) = (Journal::new(), Journal::new());
        first.put(Table::Sessions, b"k", b"");
        first.put(Table::Outbound, &[0; 16], &[7; 70_000]);
        second.delete(Table::Inbound, b"d");
        second.delete_all(Table::Registrations, b"p");
        first.append(&mut second);
        assert!(second.is_empty() && second.len_bytes() == 0);
        assert_eq!(first.len(), 4);
        let read: Vec<_> = first.iter().collect();
        let (table, key) = (Table::Sessions, &b"k"[..]);
        assert_eq!(
            read[0],
            Change::Put {
                table,
                key,
                value: b""
            }
        );
        let (table, key, value) = (Table::Outbound, &[0; 16][..], &[7; 70_000][..]);
        assert_eq!(read[1], Change::Put { table, key, value });
        let (table, key) = (Table::Inbound, &b"d"[..]);
        assert_eq!(read[2], Change::Delete { table, key });
        let (table, prefix) = (Table::Registrations, &b"p"[..]);
        assert_eq!(read[3], Change::DeleteAll { table, prefix });
        assert_eq!(read.len(), 4);
    }

    #[test]
    fn compacted_changes_come_to_the_same_and_name_each_key_once() {
        type Rows = std::collections::BTreeMap<(Table, Vec<u8>), Vec<u8>>;
        fn apply(journal: &Journal, rows: &mut Rows) {
            for change in journal.iter() {
                match change {
                    Change::Put { table, key, value } => {
                        rows.insert((table, key.to_vec()), value.to_vec());
                    }
                    Change::Delete { table, key } => {
                        rows.remove(&(table, key.to_vec()));
                    }
                    Change::DeleteAll { table, prefix } => {
                        rows.retain(|(of, key), _| *of != table || !key.starts_with(prefix));
                    }
                }
            }
        }
        // Any fixed sequence will do.
        let mut state = 7_u32;
        let mut random = move |below: u8| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_le_bytes()[3] % below
        };
        for _ in 0..300 {
            let mut journal = Journal::new();
            for _ in 0..random(60) {
                let table = Table::ALL[usize::from(random(2))];
                let key: Vec<u8> = (0..=random(3)).map(|_| random(3)).collect();
                match random(8) {
                    0 => journal.delete_all(table, &key),
                    1 | 2 => journal.delete(table, &key),
                    _ => journal.put(table, &key, &[random(255)]),
                }
            }
            let mut before = Rows::new();
            for first in 0..3 {
                for second in 0..3 {
                    before.insert((Table::ALL[0], vec![first, second]), b"before".to_vec());
                }
            }
            let (mut plain, mut compact) = (before.clone(), before);
            apply(&journal, &mut plain);
            journal.compact();
            apply(&journal, &mut compact);
            assert_eq!(plain, compact);
            let places: BTreeSet<_> = journal.iter().map(|change| change.place()).collect();
            // A key that was cleared may be written again.
            let cleared = |change: &Change<'_>| matches!(change, Change::DeleteAll { .. });
            assert!(journal.len() <= places.len() + journal.iter().filter(cleared).count());
        }
    }

    #[test]
    fn tables_are_found_by_their_number() {
        for (place, &table) in Table::ALL.iter().enumerate() {
            assert_eq!((table as usize, Table::of(table as u8)), (place, Some(table)));
        }
        assert_eq!(Table::of(200), None);
    }
}
