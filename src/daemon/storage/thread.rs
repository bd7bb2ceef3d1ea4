//! The storage thread: gathers what all shards have submitted, commits it at once, and tells them.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::ErrorCode;

use super::engine::Engine;
use super::port::{StoragePort, Submitted};
use crate::daemon::clock::Clock;
use crate::daemon::control::Wake;
use crate::journal::Journal;
use crate::limits;
use crate::time::Instant;

/// What makes a group of batches durable.
pub(super) trait Commit: Send {
    /// All of it or nothing.
    fn commit(&mut self, group: &[(usize, Submitted)]) -> rusqlite::Result<()>;
}

impl Commit for Engine {
    fn commit(&mut self, group: &[(usize, Submitted)]) -> rusqlite::Result<()> {
        let journals = || group.iter().map(|(_, submitted)| &submitted.journal);
        let refused = match Self::commit(self, &mut journals()) {
            Err(error) if is_refused_write(&error) => error,
            done => return done,
        };
        // The database may have free pages where the log may not grow.
        if self.fold_log().is_err() {
            return Err(refused);
        }
        Self::commit(self, &mut journals())
    }
}

/// Whether the disk had no room, or failed.
fn is_refused_write(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure)
    )
}

/// What to do about a commit that failed.
fn remedy(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "free space on its file system",
        Some(ErrorCode::SystemIoFailure) => {
            "look at the space and quota of its file system, the limit on the size of files, and the health of the disk"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "see that its file system is mounted writable, and to the owner and mode of its files"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "end the program that has opened the files: they are for nexusd alone"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "restart nexusd, which repairs its files or begins anew; look at the health of the disk"
        }
        _ => "if it does not end, restart nexusd",
    }
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There was nothing to do.
    Idle,
    /// A group is durable.
    Committed,
    /// The group is kept, to be tried again after this time.
    Failed(Duration),
}

/// The state of the thread.
pub(super) struct Worker<C> {
    commit: C,
    port: Arc<StoragePort>,
    wake: Wake,
    clock: Clock,
    /// What is being committed, each with its shard; of one shard in the order of its batches.
    group: Vec<(usize, Submitted)>,
    pause: Duration,
    /// When a failure was logged last.
    logged: Option<Instant>,
    /// Failures that were not logged.
    hushed: u64,
}

/// Held by the thread: however it ends, shards learn of it.
struct Running {
    port: Arc<StoragePort>,
    wake: Wake,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.port.ended();
        (0..self.port.shards()).for_each(|shard| (self.wake)(shard));
    }
}

const PAUSE_MIN: Duration = Duration::from_millis(limits::STORAGE_RETRY_MS_MIN);
const PAUSE_MAX: Duration = Duration::from_millis(limits::STORAGE_RETRY_MS_MAX);

impl<C: Commit> Worker<C> {
    pub(super) fn new(commit: C, port: Arc<StoragePort>, wake: Wake) -> Self {
        Self {
            commit,
            port,
            wake,
            clock: Clock::start(),
            group: Vec::new(),
            pause: PAUSE_MIN,
            logged: None,
            hushed: 0,
        }
    }

    /// Works until the port asks to stop; then commits what was submitted before.
    pub(super) fn run(mut self) {
        let _running = Running {
            port: Arc::clone(&self.port),
            wake: Arc::clone(&self.wake),
        };
        while !self.port.is_asked_to_stop() {
            match self.turn() {
                Turn::Committed => {}
                // A submission since the queues were looked at makes this return at once.
                Turn::Idle => std::thread::park(),
                Turn::Failed(pause) => self.wait(pause),
            }
        }
        let mut tries = limits::STORAGE_STOP_TRIES_MAX;
        while tries > 0 {
            match self.turn() {
                Turn::Committed => {}
                Turn::Idle => return,
                Turn::Failed(_) => {
                    tries -= 1;
                    self.wait_until(self.clock.now().instant + PAUSE_MIN, false);
                }
            }
        }
        tracing::error!(
            bytes = self.port.queued_bytes(),
            "stopped with changes that could not be stored in {}: they are lost, those of messages were not acknowledged",
            self.port.dir().display()
        );
    }

    /// Gathers and commits one group, or tries that again which failed.
    pub(super) fn turn(&mut self) -> Turn {
        if self.group.is_empty() {
            self.gather();
        }
        if self.group.is_empty() {
            return Turn::Idle;
        }
        let began = self.clock.now().instant;
        let result = self.commit.commit(&self.group);
        let now = self.clock.now().instant;
        match result {
            Ok(()) => {
                self.port.metrics().committed(now - began);
                self.publish();
                Turn::Committed
            }
            Err(error) => Turn::Failed(self.failed(&error, now)),
        }
    }

    /// Takes batches as they were submitted, as many as make a group.
    fn gather(&mut self) {
        let mut bytes = 0;
        while bytes < limits::STORAGE_GROUP_BYTES_MAX
            && let Some((shard, submitted)) = self.port.next()
        {
            bytes += submitted.journal.len_bytes();
            self.group.push((shard, submitted));
        }
    }

    /// The group is durable.
    fn publish(&mut self) {
        let metrics = self.port.metrics();
        let mut shards = 0u64;
        for (shard, submitted) in self.group.drain(..) {
            metrics.batches.increment();
            metrics.changes.add(count(Journal::len(&submitted.journal)));
            metrics.bytes.add(count(submitted.journal.len_bytes()));
            shards |= 1 << (shard % limits::SHARDS_MAX);
            self.port.done(shard, submitted);
        }
        self.pause = PAUSE_MIN;
        let recovered = self.port.refuse(false);
        if recovered {
            tracing::info!(
                hushed = self.hushed,
                "changes can be stored again in {}",
                self.port.dir().display()
            );
            self.hushed = 0;
        }
        for shard in 0..self.port.shards() {
            if recovered || shards & (1 << (shard % limits::SHARDS_MAX)) != 0 {
                (self.wake)(shard);
            }
        }
    }

    /// How long to wait before the next try.
    fn failed(&mut self, error: &rusqlite::Error, now: Instant) -> Duration {
        self.port.metrics().failures.increment();
        if self.port.refuse(true) {
            // First, so that they take on nothing more that would wait.
            (0..self.port.shards()).for_each(|shard| (self.wake)(shard));
            let spacing = Duration::from_millis(limits::STORAGE_LOG_MS);
            if self.logged.is_none_or(|logged| now - logged >= spacing) {
                self.logged = Some(now);
                let (dir, remedy) = (self.port.dir().display(), remedy(error));
                tracing::error!("changes cannot be stored in {dir}: {error}; {remedy}; it is tried again");
            } else {
                self.hushed += 1;
            }
        }
        let pause = self.pause;
        self.pause = (2 * pause).min(PAUSE_MAX);
        pause
    }

    fn wait(&self, pause: Duration) {
        self.wait_until(self.clock.now().instant + pause, true);
    }

    /// Submissions meanwhile do not bring the next try forward.
    fn wait_until(&self, until: Instant, ends_by_stop: bool) {
        while !(ends_by_stop && self.port.is_asked_to_stop()) {
            let now = self.clock.now().instant;
            if now >= until {
                return;
            }
            std::thread::park_timeout(until - now);
        }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
