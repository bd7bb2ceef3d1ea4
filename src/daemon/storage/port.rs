//! Where shards and the storage thread meet: a bounded queue without locks, in which each shard has its share.
//!
//! Invariants: batches leave in the order in which they were submitted, whichever shards they are of: what a shard writes
//! because another one told it so comes after what that one wrote before. The bytes of a batch count against its shard's
//! share from its submission until it is durable, so that what waits for a disk that fails is bounded, too.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;

use crossbeam::queue::ArrayQueue;

use super::metrics::StorageMetrics;
use crate::journal::Journal;
use crate::limits;

/// A batch on its way to the disk.
#[derive(Debug)]
pub(super) struct Submitted {
    pub(super) batch: u64,
    pub(super) journal: Journal,
}

/// What one shard shares with the storage thread.
#[derive(Debug)]
struct Lane {
    /// Batches in the queue.
    batches: AtomicUsize,
    spare: ArrayQueue<Journal>,
    /// Of all batches that are submitted and not yet durable.
    bytes: AtomicUsize,
    committed: AtomicU64,
}

/// The shards' side of the storage thread. Shared by all of them.
#[derive(Debug)]
pub struct StoragePort {
    queue: ArrayQueue<(usize, Submitted)>,
    lanes: Vec<Lane>,
    thread: OnceLock<Thread>,
    running: AtomicBool,
    stopping: AtomicBool,
    refusing: AtomicBool,
    metrics: StorageMetrics,
    /// Where the files are.
    dir: PathBuf,
}

impl StoragePort {
    pub(super) fn new(shards: usize, dir: PathBuf) -> Self {
        let lane = |_| Lane {
            batches: AtomicUsize::new(0),
            spare: ArrayQueue::new(limits::STORAGE_SPARE_JOURNALS_MAX),
            bytes: AtomicUsize::new(0),
            committed: AtomicU64::new(0),
        };
        Self {
            queue: ArrayQueue::new(shards.max(1) * limits::STORAGE_QUEUE_BATCHES_MAX),
            lanes: (0..shards).map(lane).collect(),
            thread: OnceLock::new(),
            running: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
            metrics: StorageMetrics::default(),
            dir,
        }
    }

    /// Hands over a batch to be made durable. The batches of a shard are numbered from 1, without gaps. Gives the
    /// journal back if the shard's queue is full ([`limits::STORAGE_QUEUE_BATCHES_MAX`],
    /// [`limits::STORAGE_QUEUE_BYTES_MAX`]) or the thread has ended. Only that shard calls this.
    pub fn submit(&self, shard: usize, batch: u64, journal: Journal) -> Result<(), Journal> {
        let Some(lane) = self.lanes.get(shard) else {
            return Err(journal);
        };
        let len = journal.len_bytes();
        let queued = lane.bytes.load(Ordering::Relaxed);
        // A journal that is larger than the bound passes alone.
        let is_over = queued > 0 && queued.saturating_add(len) > limits::STORAGE_QUEUE_BYTES_MAX
            || lane.batches.load(Ordering::Relaxed) >= limits::STORAGE_QUEUE_BATCHES_MAX;
        if is_over || !self.running.load(Ordering::Acquire) {
            return Err(journal);
        }
        lane.bytes.fetch_add(len, Ordering::Relaxed);
        lane.batches.fetch_add(1, Ordering::Relaxed);
        if let Err((_, back)) = self.queue.push((shard, Submitted { batch, journal })) {
            lane.bytes.fetch_sub(len, Ordering::Relaxed);
            lane.batches.fetch_sub(1, Ordering::Relaxed);
            return Err(back.journal);
        }
        self.unpark();
        Ok(())
    }

    /// The highest batch of a shard that is durable; 0 if none is.
    pub fn committed(&self, shard: usize) -> u64 {
        self.lanes
            .get(shard)
            .map_or(0, |lane| lane.committed.load(Ordering::Acquire))
    }

    /// An emptied journal to be filled again, if there is one. Only that shard calls this.
    pub fn spare(&self, shard: usize) -> Option<Journal> {
        self.lanes.get(shard)?.spare.pop()
    }

    /// Whether the last commit failed (the disk is full or at fault) or the thread has ended: nothing new that has to
    /// be durable should be taken on.
    pub fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Acquire) || !self.running.load(Ordering::Acquire)
    }

    /// What the storage thread has done so far.
    pub const fn metrics(&self) -> &StorageMetrics {
        &self.metrics
    }

    /// Bytes submitted and not yet durable, over all shards.
    pub fn queued_bytes(&self) -> usize {
        self.lanes
            .iter()
            .map(|lane| lane.bytes.load(Ordering::Relaxed))
            .sum()
    }

    /// Where the files are.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn shards(&self) -> usize {
        self.lanes.len()
    }

    /// The batch that was submitted first, and its shard.
    pub(super) fn next(&self) -> Option<(usize, Submitted)> {
        let (shard, submitted) = self.queue.pop()?;
        if let Some(lane) = self.lanes.get(shard) {
            lane.batches.fetch_sub(1, Ordering::Relaxed);
        }
        Some((shard, submitted))
    }

    /// A batch is durable: tells its shard and gives the journal back, unless it has grown too large to be kept.
    pub(super) fn done(&self, shard: usize, submitted: Submitted) {
        let Some(lane) = self.lanes.get(shard) else {
            return;
        };
        let Submitted { batch, mut journal } = submitted;
        let len = journal.len_bytes();
        lane.bytes.fetch_sub(len, Ordering::Relaxed);
        if len <= limits::STORAGE_SPARE_BYTES_MAX {
            journal.clear();
            // A full queue of spares drops it.
            let _ = lane.spare.push(journal);
        }
        lane.committed.store(batch, Ordering::Release);
    }

    /// Tells whether that is a change.
    pub(super) fn refuse(&self, refusing: bool) -> bool {
        self.refusing.swap(refusing, Ordering::AcqRel) != refusing
    }

    pub(super) fn adopt(&self, thread: Thread) {
        // Set once, before the handle is given out; a second thread is never started for a port.
        let _ = self.thread.set(thread);
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    pub(super) fn ask_to_stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.unpark();
    }

    pub(super) fn is_asked_to_stop(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn ended(&self) {
        self.running.store(false, Ordering::Release);
    }
}
