//! What was kept over a restart: read by the thread that starts the daemon, in portions that the shards take in
//! meanwhile.
//!
//! Invariants: rows that cannot be read cost what they described and nothing else; they are counted and told, and those
//! of no session are deleted with the first batch. No shard accepts a connection before every shard has taken in all of its portions and has
//! handed the others what follows for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use super::Fault;
use super::clock::unix_ms;
use super::control::Wake;
use super::storage::Storage;
use crate::hub::{Row, Stored};
use crate::journal::Table;
use crate::limits;
use crate::route::{Retained, RouterConfig};
use crate::session::Starts;
use crate::time::{Instant, Now};

/// One session with all that belongs to it.
#[derive(Debug)]
pub struct StoredSession {
    /// Who it is and what it has registered.
    pub stored: Stored,
    /// Its messages: their numbers and rows.
    pub outbound: Vec<(u64, Box<[u8]>)>,
    /// Identifiers of the exchanges its client has begun, and whether their messages went to several shards.
    pub inbound: Vec<(u16, bool)>,
}

/// What a shard takes in at a time.
#[derive(Debug)]
pub enum Portion {
    /// Retained messages, for every shard.
    Retained(Arc<Vec<Arc<Retained>>>),
    /// Sessions that live on the shard.
    Sessions(Vec<StoredSession>),
    /// Who had got the messages of exchanges that were begun, for every shard: the sender's number and a row.
    Received(Arc<Vec<(u64, Row)>>),
    /// Numbers of sessions that are over, of which rows are left; for one shard, which deletes them.
    Orphans(Vec<u64>),
    /// That was all.
    End {
        /// The highest number that a session has had.
        last_number: u64,
    },
}

/// The way of the portions from the thread that reads them to the shards.
#[derive(Debug)]
pub struct Found {
    /// What each shard has not taken yet.
    lanes: Vec<ArrayQueue<Portion>>,
    /// When the daemon was started, this time included; there before the first session.
    starts: OnceLock<Starts>,
    /// Shards that have not taken in everything.
    left: AtomicUsize,
    /// The thread that reads.
    reader: Thread,
}

impl Found {
    /// A way to so many shards, made on the thread that reads.
    pub fn new(shards: usize) -> Self {
        let lane = || ArrayQueue::new(limits::RESTORE_PORTIONS_MAX);
        Self {
            lanes: std::iter::repeat_with(lane).take(shards).collect(),
            starts: OnceLock::new(),
            left: AtomicUsize::new(shards),
            reader: std::thread::current(),
        }
    }

    /// Says that there is nothing.
    pub fn nothing(&self) {
        for lane in &self.lanes {
            lane.force_push(Portion::End { last_number: 0 });
        }
    }

    /// The next portion of a shard, if there is one by now.
    pub fn take(&self, shard: usize) -> Option<Portion> {
        let portion = self.lanes.get(shard)?.pop()?;
        self.reader.unpark();
        Some(portion)
    }

    /// When the daemon was started, this time included, if there are sessions.
    pub fn starts(&self) -> Option<&Starts> {
        self.starts.get()
    }

    /// A shard has taken in everything, and the others have what follows for them. Called once a shard.
    pub fn taken(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.reader.unpark();
        }
    }

    /// Whether every shard has taken in everything.
    pub fn is_taken(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }

    /// Waits, on the thread that reads, until every shard has; or as long as `goes_on` says so.
    pub fn wait(&self, goes_on: impl Fn() -> bool) {
        while !self.is_taken() && goes_on() {
            std::thread::park_timeout(LOOK);
        }
    }
}

/// How often the thread that reads looks whether the shards still run.
const LOOK: Duration = Duration::from_millis(100);

/// Portions being filled.
struct Sender<'a> {
    found: &'a Found,
    wake: &'a Wake,
    goes_on: &'a dyn Fn() -> bool,
    home: &'a dyn Fn(&str) -> u16,
    /// The session whose rows are being read, and those of each shard before it, with their bytes.
    session: Option<StoredSession>,
    sessions: Vec<(Vec<StoredSession>, usize)>,
    session_bytes: usize,
    /// See [`Portion::Received`].
    received: Vec<(u64, Row)>,
    /// See [`Portion::Orphans`]; ascending.
    orphans: Vec<u64>,
    last_number: u64,
    unreadable: usize,
}

/// Reads what was kept, and hands it to the shards as fast as they take it in. Returns how many rows could not be read.
///
/// # Errors
/// If the store cannot be read at all.
pub fn load(
    storage: &Storage,
    config: &RouterConfig,
    found: &Found,
    wake: &Wake,
    goes_on: &dyn Fn() -> bool,
) -> Result<usize, Fault> {
    let home = config.homes();
    let mut sender = Sender {
        found,
        wake,
        goes_on,
        home: &home,
        session: None,
        sessions: (0..config.shards).map(|_| (Vec::new(), 0)).collect(),
        session_bytes: 0,
        received: Vec::new(),
        orphans: Vec::new(),
        last_number: 0,
        unreadable: 0,
    };
    sender.retained(storage)?;
    storage.session_rows(&mut |table, key, value| {
        if !sender.row(table, key, value) {
            sender.unreadable += 1;
        }
    })?;
    sender.end();
    Ok(sender.unreadable)
}

impl Sender<'_> {
    fn retained(&mut self, storage: &Storage) -> Result<(), Fault> {
        // The shards' clock begins in a moment.
        let now = Now {
            instant: Instant::default(),
            unix_ms: unix_ms(),
        };
        let (mut messages, mut bytes) = (Vec::new(), 0);
        storage.rows(Table::Retained, &mut |channel, value| {
            let Some(message) = Retained::decode(now, channel, value) else {
                self.unreadable += 1;
                return;
            };
            bytes += message.len_bytes();
            messages.push(message);
            if bytes >= limits::RESTORE_PORTION_BYTES {
                bytes = 0;
                self.to_all(std::mem::take(&mut messages));
            }
        })?;
        self.to_all(messages);
        Ok(())
    }

    fn to_all(&self, messages: Vec<Arc<Retained>>) {
        let messages = Arc::new(messages);
        for shard in 0..self.sessions.len() {
            self.send(shard, Portion::Retained(Arc::clone(&messages)));
        }
    }

    /// Takes a row of a session; a session's own comes before all others of its number. False: it cannot be read.
    fn row(&mut self, table: Table, key: &[u8], value: &[u8]) -> bool {
        let Some((number, rest)) = split_number(key) else {
            return false;
        };
        // Its row comes first, if there is one.
        let earlier = (table == Table::Sessions && number == Starts::NUMBER).then(|| Starts::read(value));
        self.found.starts.get_or_init(|| {
            let mut starts = earlier.clone().flatten().unwrap_or_default();
            starts.begin(unix_ms());
            starts
        });
        if let Some(read) = earlier {
            return read.is_some();
        }
        // Of a session that is over, too: its number is not given again while rows of it are left.
        self.last_number = self.last_number.max(number);
        if table == Table::Sessions {
            self.finish();
            self.session_bytes = value.len();
            self.session = rest.is_empty().then(|| StoredSession::new(number, value));
            return rest.is_empty();
        }
        self.session_bytes += rest.len() + value.len();
        let is_received = table == Table::Inbound && rest.len() > size_of::<u16>();
        let session = self.session.as_mut();
        let Some(session) = session.filter(|session| session.stored.number == number) else {
            if self.orphans.last() != Some(&number) {
                self.orphans.push(number);
            }
            // Who got a message is written by the receivers' shards, which do not wait for its sender: its session may
            // have ended before.
            return is_received;
        };
        if is_received {
            session.spread(rest);

            self.received.push((number, (rest.into(), value.into())));
            return true;
        }
        session.take(table, rest, value)
    }

    /// The session is complete: it goes to the shard that its address is at home on.
    fn finish(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        // What has no address is told of, and deleted, by the first shard.
        let shard = usize::from(session.stored.address().map_or(0, self.home));
        let Some((sessions, bytes)) = self.sessions.get_mut(shard) else {
            return;
        };
        sessions.push(session);
        *bytes += self.session_bytes + size_of::<StoredSession>();
        if *bytes >= limits::RESTORE_PORTION_BYTES {
            *bytes = 0;
            let portion = std::mem::take(sessions);
            self.send(shard, Portion::Sessions(portion));
        }
    }

    fn end(&mut self) {
        self.finish();
        let last_number = self.last_number;
        let received = Arc::new(std::mem::take(&mut self.received));
        for shard in 0..self.sessions.len() {
            self.send(shard, Portion::Received(Arc::clone(&received)));
        }
        let orphans = std::mem::take(&mut self.orphans);
        self.send(0, Portion::Orphans(orphans));
        for (shard, (sessions, _)) in std::mem::take(&mut self.sessions).into_iter().enumerate() {
            self.send(shard, Portion::Sessions(sessions));
            self.send(shard, Portion::End { last_number });
        }
    }

    /// Hands a portion over as soon as there is room; drops it if the shards have ended.
    fn send(&self, shard: usize, mut portion: Portion) {
        let Some(lane) = self.found.lanes.get(shard) else {
            return;
        };
        while let Err(back) = lane.push(portion) {
            if !(self.goes_on)() {
                return;
            }
            portion = back;
            std::thread::park_timeout(LOOK);
        }
        (self.wake)(shard);
    }
}

impl StoredSession {
    fn new(number: u64, row: &[u8]) -> Self {
        Self {
            stored: Stored {
                number,
                row: row.into(),
                registrations: Vec::new(),
            },
            outbound: Vec::new(),
            inbound: Vec::new(),
        }
    }

    /// Somebody has got the message of an exchange: `rest` begins with its identifier. That it was begun may not have
    /// lasted, where the queue of its sender's shard was full.
    fn spread(&mut self, rest: &[u8]) {
        let id = rest.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
        match self.inbound.last_mut() {
            Some((last, spread)) if *last == id => *spread = true,
            _ if id != 0 => self.inbound.push((id, true)),
            _ => {}
        }
    }

    /// Takes a row of another table. False: it cannot be read.
    fn take(&mut self, table: Table, rest: &[u8], value: &[u8]) -> bool {
        match table {
            Table::Registrations => self.stored.registrations.push((rest.into(), value.into())),
            Table::Outbound => match rest.try_into() {
                Ok(seq) => self.outbound.push((u64::from_be_bytes(seq), value.into())),
                Err(_) => return false,
            },
            Table::Inbound => match rest.try_into() {
                Ok(id) => self.inbound.push((u16::from_be_bytes(id), !value.is_empty())),
                Err(_) => return false,
            },
            Table::Sessions | Table::Retained => return false,
        }
        true
    }
}

fn split_number(key: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = key.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: u64 = 64;
    const OVER: u64 = 128;

    /// All that shards are handed of these rows, and how many could not be read.
    fn read(rows: &[(Table, &[u8], &[u8])]) -> (Vec<Portion>, usize) {
        let (found, unreadable) = found(rows);
        (std::iter::from_fn(|| found.take(0)).collect(), unreadable)
    }

    fn found(rows: &[(Table, &[u8], &[u8])]) -> (Found, usize) {
        let found = Found::new(1);
        let wake: Wake = Arc::new(|_| {});
        let mut sender = Sender {
            found: &found,
            wake: &wake,
            goes_on: &|| true,
            home: &|_| 0,
            session: None,
            sessions: vec![(Vec::new(), 0)],
            session_bytes: 0,
            received: Vec::new(),
            orphans: Vec::new(),
            last_number: 0,
            unreadable: 0,
        };
        for (table, key, value) in rows {
            sender.unreadable += usize::from(!sender.row(*table, key, value));
        }
        sender.end();
        let unreadable = sender.unreadable;
        (found, unreadable)
    }

    fn key(number: u64, rest: &[u8]) -> Vec<u8> {
        [&number.to_be_bytes(), rest].concat()
    }

    fn orphans(portions: &[Portion]) -> (Vec<u64>, u64, usize) {
        let (mut orphans, mut last, mut received) = (Vec::new(), 0, 0);
        for portion in portions {
            match portion {
                Portion::Orphans(numbers) => orphans.extend(numbers),
                Portion::End { last_number } => last = *last_number,
                Portion::Received(rows) => received += rows.len(),
                Portion::Retained(_) | Portion::Sessions(_) => {}
            }
        }
        (orphans, last, received)
    }

    #[test]
    fn who_received_from_a_session_that_is_over_is_no_damage_and_is_deleted() {
        let (own, exchange) = (key(KEPT, &[]), [0, 7, 0, 0, 0, 0, 0, 0, 0, 9]);
        let (kept, over) = (key(KEPT, &exchange), key(OVER, &exchange));
        let again = key(OVER, &[0, 8, 0, 0, 0, 0, 0, 0, 0, 9]);
        let rows: [(Table, &[u8], &[u8]); 4] = [
            (Table::Sessions, &own, &[1, 0, 3, b'a', b'/', b'b']),
            (Table::Inbound, &kept, &[]),
            (Table::Inbound, &over, &[]),
            (Table::Inbound, &again, &[]),
        ];
        let (portions, unreadable) = read(&rows);
        assert_eq!(unreadable, 0);
        // Nobody is given the number as long as rows of it may be left.
        assert_eq!(orphans(&portions), (vec![OVER], OVER, 1));
    }

    #[test]
    fn when_the_daemon_was_started_is_remembered_for_its_sessions() {
        let own = key(KEPT, &[]);
        let session: (Table, &[u8], &[u8]) = (Table::Sessions, &own, &[1, 0, 3, b'a', b'/', b'b']);
        let before = unix_ms();
        let (first, _) = found(&[session]);
        assert!(first.starts().unwrap().first_after(0).unwrap() >= before);
        let starts = key(Starts::NUMBER, &[]);
        let row = [&[4][..], &7_u64.to_be_bytes()].concat();
        for (row, earlier, damaged) in [(&row[..], Some(7), 0), (b"x", None, 1)] {
            let (found, unreadable) = found(&[(Table::Sessions, &starts, row), session]);
            assert_eq!(unreadable, damaged);
            let starts = found.starts().unwrap();
            let first = starts.first_after(0).unwrap();
            assert_eq!((first < before).then_some(first), earlier);
            assert!(starts.first_after(7).unwrap() >= before);
        }
        assert!(found(&[]).0.starts().is_none(), "nothing to know");
    }

    #[test]
    fn rows_that_only_damage_leaves_without_a_session_are_counted_and_deleted() {
        let (message, exchange) = (key(OVER, &[0; 8]), key(OVER, &[0, 7]));
        let rows: [(Table, &[u8], &[u8]); 3] = [
            (Table::Outbound, &message, b"x"),
            (Table::Inbound, &exchange, &[]),
            (Table::Registrations, b"short", b"x"),
        ];
        let (portions, unreadable) = read(&rows);
        assert_eq!((unreadable, orphans(&portions)), (3, (vec![OVER], OVER, 0)));
    }

    #[test]
    fn an_exchange_whose_message_somebody_has_was_begun() {
        let own = key(KEPT, &[]);
        let (begun, of_begun) = (key(KEPT, &[0, 3]), key(KEPT, &[0, 3, 0, 0, 0, 0, 0, 0, 0, 9]));
        let of_other = key(KEPT, &[0, 4, 0, 0, 0, 0, 0, 0, 0, 9]);
        let rows: [(Table, &[u8], &[u8]); 4] = [
            (Table::Sessions, &own, &[1, 0, 3, b'a', b'/', b'b']),
            (Table::Inbound, &begun, &[1]),
            (Table::Inbound, &of_begun, &[]),
            (Table::Inbound, &of_other, &[]),
        ];
        let (portions, _) = read(&rows);
        let sessions = portions.iter().find_map(|portion| match portion {
            Portion::Sessions(sessions) => Some(sessions),
            _ => None,
        });
        assert_eq!(sessions.unwrap()[0].inbound, [(3, true), (4, true)]);
    }
}
