//! What was kept over a restart: read by the thread that starts the daemon, in portions that the shards take in
//! meanwhile.
//!
//! Invariants: rows that cannot be read cost what they described and nothing else; they are counted, told, and deleted
//! with the first batch. No shard accepts a connection before every shard has taken in all of its portions and has
//! handed the others what follows for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
        if table == Table::Sessions {
            self.finish();
            self.last_number = self.last_number.max(number);
            self.session_bytes = value.len();
            self.session = rest.is_empty().then(|| StoredSession::new(number, value));
            return rest.is_empty();
        }
        self.session_bytes += rest.len() + value.len();
        let session = self.session.as_mut();
        let Some(session) = session.filter(|session| session.stored.number == number) else {
            return false;
        };
        if table == Table::Inbound && rest.len() > size_of::<u16>() {
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
