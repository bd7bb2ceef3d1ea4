//! The disk under the simulated daemon: batches of all shards in one queue, committed together after a while, in
//! order, each group as a whole. What is not committed at a crash is gone; the group on its way may be either.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nexus::codec::mqtt::packet::PacketId;
use nexus::hub::{Row, Stored};
use nexus::journal::{Change, Journal, Table};
use nexus::session::Starts;

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// What outlives a simulated daemon.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    rows: Rows,
    queue: VecDeque<(usize, u64, Journal)>,
    /// How many of them are being committed.
    on_the_way: usize,
}

/// A session as it is read back.
#[derive(Debug)]
pub(crate) struct Session {
    pub stored: Stored,
    pub outbound: Vec<(u64, Box<[u8]>)>,
    pub inbound: Vec<(PacketId, bool)>,
}

impl Disk {
    pub(crate) fn submit(&mut self, shard: usize, batch: u64, journal: Journal) {
        self.queue.push_back((shard, batch, journal));
    }

    /// Begins to commit, unless it is at it or there is nothing to do. True: [`Self::commit`] is to be called.
    pub(crate) fn begin(&mut self) -> bool {
        if self.on_the_way > 0 || self.queue.is_empty() {
            return false;
        }
        self.on_the_way = self.queue.len();
        true
    }

    /// The group is committed: the shards and batches that are.
    pub(crate) fn commit(&mut self) -> Vec<(usize, u64)> {
        let group: Vec<_> = self.queue.drain(..self.on_the_way).collect();
        self.on_the_way = 0;
        for (_, _, journal) in &group {
            apply(&mut self.rows, journal);
        }
        group.iter().map(|(shard, batch, _)| (*shard, *batch)).collect()
    }

    /// What is not committed is lost, or all but the group that was on its way.
    pub(crate) fn crash(&mut self, committed: bool) {
        if committed {
            self.commit();
        }
        self.queue.clear();
        self.on_the_way = 0;
    }

    fn of(&self, table: Table) -> impl Iterator<Item = (&[u8], &[u8])> {
        let rows = self.rows.iter().filter(move |((of, _), _)| *of == table);
        rows.map(|((_, key), value)| (&key[..], &value[..]))
    }

    /// What is retained: channels and rows.
    pub(crate) fn retained(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.of(Table::Retained)
    }

    /// Who had got a message that went to several shards: the number of its sender, and the rest of the row.
    pub(crate) fn received(&self) -> impl Iterator<Item = (u64, &[u8], &[u8])> {
        let longer = self.of(Table::Inbound).filter(|(key, _)| key.len() > 10);
        longer.map(|(key, value)| {
            let (number, rest) = key.split_first_chunk().unwrap();
            (u64::from_be_bytes(*number), rest, value)
        })
    }

    fn numbers(&self, table: Table) -> impl Iterator<Item = u64> {
        let number = |key: &[u8]| u64::from_be_bytes(key[..8].try_into().unwrap());
        let all = self.of(table).map(move |(key, _)| number(key));
        all.filter(|number| *number != Starts::NUMBER)
    }

    /// The highest number that a session has, or had of which rows are left.
    pub(crate) fn last_number(&self) -> u64 {
        let all = [Table::Sessions, Table::Outbound, Table::Inbound];
        all.into_iter()
            .flat_map(|table| self.numbers(table))
            .max()
            .unwrap_or(0)
    }

    /// Sessions that were over before it was written who had got a message of theirs.
    pub(crate) fn orphans(&self) -> BTreeSet<u64> {
        let sessions: BTreeSet<u64> = self.numbers(Table::Sessions).collect();
        let numbers = self.numbers(Table::Inbound);
        numbers.filter(|number| !sessions.contains(number)).collect()
    }

    /// How many sessions there are, and rows of messages on their way to and from those.
    pub(crate) fn left(&self) -> [usize; 3] {
        let orphans = self.orphans();
        let inbound = self.numbers(Table::Inbound);
        [
            self.numbers(Table::Sessions).count(),
            self.numbers(Table::Outbound).count(),
            inbound.filter(|number| !orphans.contains(number)).count(),
        ]
    }

    /// When the daemon was started before.
    pub(crate) fn starts(&self) -> Starts {
        let key = Starts::NUMBER.to_be_bytes();
        let row = self.of(Table::Sessions).find(|row| row.0 == key);
        row.map_or_else(Starts::default, |(_, row)| Starts::read(row).unwrap())
    }

    /// All sessions. That an exchange was begun may not have lasted where it has who had got its message.
    pub(crate) fn sessions(&self) -> Vec<Session> {
        let mut all: Vec<Session> = Vec::new();
        let is_start = |key: &[u8]| key == Starts::NUMBER.to_be_bytes();
        for (key, row) in self.of(Table::Sessions).filter(|(key, _)| !is_start(key)) {
            all.push(Session {
                stored: Stored {
                    number: u64::from_be_bytes(key.try_into().unwrap()),
                    row: row.into(),
                    registrations: Vec::new(),
                },
                outbound: Vec::new(),
                inbound: Vec::new(),
            });
        }
        for session in &mut all {
            let number = session.stored.number.to_be_bytes();
            let own = |(key, value): (&[u8], &[u8])| -> Option<Row> {
                Some((key.strip_prefix(&number)?.into(), value.into()))
            };
            session.stored.registrations = self.of(Table::Registrations).filter_map(own).collect();
            for (seq, row) in self.of(Table::Outbound).filter_map(own) {
                let seq = u64::from_be_bytes(seq[..].try_into().unwrap());
                session.outbound.push((seq, row));
            }
            for (id, value) in self.of(Table::Inbound).filter_map(own) {
                let is_begun = id.len() == 2;
                let id = PacketId::new(u16::from_be_bytes([id[0], id[1]])).unwrap();
                match session.inbound.last_mut() {
                    Some((last, spread)) if *last == id => *spread = true,
                    _ => session.inbound.push((id, !is_begun || !value.is_empty())),
                }
            }
        }
        all
    }
}

fn apply(rows: &mut Rows, journal: &Journal) {
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
