//! What was kept over a restart, sorted by the shards it lives on, and taken in by each.
//!
//! Invariant: rows that cannot be read cost what they described and nothing else; they are counted, told, and deleted
//! with the first batch.

use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;

use super::Fault;
use super::clock::unix_ms;
use super::storage::Storage;
use crate::hub::{Row, Stored};
use crate::journal::Table;
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

/// All that was kept, until the shards have taken it in.
#[derive(Debug)]
pub struct Found {
    /// The sessions of each shard, taken once.
    sessions: Vec<ArrayQueue<Vec<StoredSession>>>,
    /// Who had got the messages of such exchanges, for every shard: the sender's number and a row.
    pub received: Vec<(u64, Row)>,
    /// What is retained, for every shard.
    pub retained: Vec<Arc<Retained>>,
    /// The highest number that a session has had.
    pub last_number: u64,
    /// Rows that could not be read.
    pub unreadable: usize,
    /// Shards that have not taken theirs in.
    left: AtomicUsize,
    /// Who waits for them.
    waiter: Thread,
}

impl Found {
    /// Nothing, for so many shards.
    pub fn nothing(shards: usize) -> Self {
        Self::of((0..shards).map(|_| Vec::new()).collect())
    }

    fn of(sessions: Vec<Vec<StoredSession>>) -> Self {
        let place = |sessions| {
            let queue = ArrayQueue::new(1);
            queue.force_push(sessions);
            queue
        };
        Self {
            left: AtomicUsize::new(sessions.len()),
            sessions: sessions.into_iter().map(place).collect(),
            received: Vec::new(),
            retained: Vec::new(),
            last_number: 0,
            unreadable: 0,
            waiter: std::thread::current(),
        }
    }

    /// The sessions of a shard; none the second time.
    pub fn take(&self, shard: usize) -> Vec<StoredSession> {
        let place = self.sessions.get(shard);
        place.and_then(ArrayQueue::pop).unwrap_or_default()
    }

    /// A shard has taken in what it was to.
    pub fn taken(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waiter.unpark();
        }
    }

    /// Waits, on the thread that read it, until every shard has; or as long as `goes_on` says so.
    pub fn wait(&self, goes_on: impl Fn() -> bool) {
        while self.left.load(Ordering::Acquire) > 0 && goes_on() {
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

/// Reads what was kept.
///
/// # Errors
/// If the store cannot be read at all.
pub fn load(storage: &Storage, config: &RouterConfig) -> Result<Found, Fault> {
    let mut all: Vec<StoredSession> = Vec::new();
    let mut unreadable = 0;
    storage.rows(Table::Sessions, &mut |key, row| match split_number(key) {
        Some((number, [])) => all.push(StoredSession {
            stored: Stored {
                number,
                row: row.into(),
                registrations: Vec::new(),
            },
            outbound: Vec::new(),
            inbound: Vec::new(),
        }),
        _ => unreadable += 1,
    })?;
    // Rows come in the order of their keys, which begin with the session's number: one walk beside the sessions.
    let mut received = Vec::new();
    for table in [Table::Registrations, Table::Outbound, Table::Inbound] {
        let mut sessions = all.iter_mut().peekable();
        storage.rows(
            table,
            &mut |key, value| match hand_out(table, &mut sessions, key, value) {
                Some(None) => {}
                Some(Some(row)) => received.push(row),
                None => unreadable += 1,
            },
        )?;
    }
    // The shards' clock begins in a moment.
    let now = Now {
        instant: Instant::default(),
        unix_ms: unix_ms(),
    };
    let mut retained = Vec::new();
    storage.rows(
        Table::Retained,
        &mut |channel, value| match Retained::decode(now, channel, value) {
            Some(message) => retained.push(message),
            None => unreadable += 1,
        },
    )?;
    let mut sessions: Vec<Vec<StoredSession>> = (0..config.shards).map(|_| Vec::new()).collect();
    let mut last_number = 0;
    let home = config.homes();
    for session in all {
        last_number = last_number.max(session.stored.number);
        let home = session.stored.address().map_or(0, &home);
        match sessions.get_mut(usize::from(home)) {
            Some(shard) => shard.push(session),
            None => unreadable += 1,
        }
    }
    Ok(Found {
        received,
        retained,
        last_number,
        unreadable,
        ..Found::of(sessions)
    })
}

fn split_number(key: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = key.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

/// Gives a row to the session it belongs to; or gives it back, if it tells who has got a message of that session.
/// `None`: there is no such session, or it cannot be read.
fn hand_out<'s>(
    table: Table,
    sessions: &mut Peekable<impl Iterator<Item = &'s mut StoredSession>>,
    key: &[u8],
    value: &[u8],
) -> Option<Option<(u64, Row)>> {
    let (number, rest) = split_number(key)?;
    while sessions
        .next_if(|session| session.stored.number < number)
        .is_some()
    {}
    let session = sessions
        .peek_mut()
        .filter(|session| session.stored.number == number)?;
    match table {
        Table::Registrations => session.stored.registrations.push((rest.into(), value.into())),
        Table::Outbound => {
            let seq = u64::from_be_bytes(rest.try_into().ok()?);
            session.outbound.push((seq, value.into()));
        }
        Table::Inbound => match rest.try_into() {
            Ok(id) => session.inbound.push((u16::from_be_bytes(id), !value.is_empty())),
            Err(_) => return Some(Some((number, (rest.into(), value.into())))),
        },
        Table::Sessions | Table::Retained => return None,
    }
    Some(None)
}
