//! Groups, numbers, bounds and failures of the thread.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::daemon::storage::port::Submitted;
use crate::daemon::storage::thread::Turn;
use crate::limits;

/// A disk that can be told to fail.
#[derive(Clone, Default)]
struct Disk {
    fails: Arc<AtomicBool>,
    commits: Arc<AtomicUsize>,
    tries: Arc<AtomicUsize>,
    batches: Arc<AtomicUsize>,
}

impl Commit for Disk {
    fn commit(&mut self, group: &[(usize, Submitted)]) -> rusqlite::Result<()> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
            return Err(rusqlite::Error::SqliteFailure(full, None));
        }
        self.batches.fetch_add(group.len(), Ordering::SeqCst);
        self.commits.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn journal(bytes: usize) -> Journal {
    let mut journal = Journal::new();
    journal.put(Table::Outbound, b"k", &vec![0; bytes]);
    journal
}

fn by_hand(shards: usize) -> (Disk, Arc<StoragePort>, Worker<Disk>, Arc<AtomicUsize>) {
    let (disk, port) = (
        Disk::default(),
        Arc::new(StoragePort::new(shards, PathBuf::new())),
    );
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&woken);
    let wake: Wake = Arc::new(move |shard| {
        counter.fetch_or(1 << shard, Ordering::SeqCst);
    });
    let worker = Worker::new(disk.clone(), Arc::clone(&port), wake);
    (disk, port, worker, woken)
}

#[test]
fn what_all_shards_have_submitted_is_one_commit() {
    let (disk, port, mut worker, woken) = by_hand(3);
    assert_eq!(worker.turn(), Turn::Idle);
    for number in 1..=5 {
        port.submit(0, number, journal(10)).unwrap();
        port.submit(2, number, journal(10)).unwrap();
    }
    assert!(port.queued_bytes() > 0);
    assert_eq!(worker.turn(), Turn::Committed);
    assert_eq!(worker.turn(), Turn::Idle);
    assert_eq!(disk.commits.load(Ordering::SeqCst), 1);
    assert_eq!([0, 1, 2].map(|shard| port.committed(shard)), [5, 0, 5]);
    assert_eq!(woken.load(Ordering::SeqCst), 0b101);
    assert_eq!(port.queued_bytes(), 0);
    let spare = port.spare(0).unwrap();
    assert!(spare.is_empty());
    assert!(port.spare(1).is_none());
    let metrics = port.metrics();
    assert_eq!((metrics.batches.get(), metrics.changes.get()), (10, 10));
    assert_eq!(metrics.commits.get(), 1);
}

#[test]
fn a_group_is_bounded_and_takes_what_was_submitted_first() {
    let (disk, port, mut worker, _) = by_hand(2);
    let third = limits::STORAGE_GROUP_BYTES_MAX / 3 + 1;
    port.submit(0, 1, journal(third)).unwrap();
    port.submit(1, 1, journal(third)).unwrap();
    for number in 2..=4 {
        port.submit(0, number, journal(third)).unwrap();
    }
    assert_eq!(worker.turn(), Turn::Committed);
    assert_eq!([port.committed(0), port.committed(1)], [2, 1]);
    assert!(
        port.spare(0).is_none(),
        "a journal that has grown large is not kept"
    );
    assert_eq!(worker.turn(), Turn::Committed);
    assert_eq!([port.committed(0), port.committed(1)], [4, 1]);
    assert_eq!(disk.commits.load(Ordering::SeqCst), 2);
}

#[test]
fn what_waits_is_bounded_in_batches_and_bytes() {
    let (_, port, mut worker, _) = by_hand(2);
    for number in 1..=limits::STORAGE_QUEUE_BATCHES_MAX as u64 {
        port.submit(0, number, Journal::new()).unwrap();
    }
    let back = port.submit(0, u64::MAX, journal(3)).unwrap_err();
    assert_eq!(back, journal(3), "it is given back as it was");
    let huge = limits::STORAGE_QUEUE_BYTES_MAX + 1;
    port.submit(1, 1, journal(huge)).unwrap();
    assert!(
        port.submit(1, 2, journal(1)).is_err(),
        "one that is too large passes alone"
    );
    while worker.turn() == Turn::Committed {}
    port.submit(1, 2, journal(1)).unwrap();
    assert!(port.submit(7, 1, journal(1)).is_err(), "there is no such shard");
}

#[test]
fn a_disk_that_fails_loses_nothing_and_is_told_to_all_shards() {
    let (disk, port, mut worker, woken) = by_hand(2);
    disk.fails.store(true, Ordering::SeqCst);
    port.submit(0, 1, journal(1)).unwrap();
    let Turn::Failed(first) = worker.turn() else {
        panic!("it fails")
    };
    assert!(port.is_refusing());
    assert_eq!(woken.swap(0, Ordering::SeqCst), 0b11);
    port.submit(0, 2, journal(1)).unwrap();
    let mut pauses = vec![first];
    for _ in 0..10 {
        let Turn::Failed(pause) = worker.turn() else {
            panic!("it fails")
        };
        pauses.push(pause);
    }
    assert!(pauses.is_sorted() && pauses[0] < pauses[1], "{pauses:?}");
    assert_eq!(pauses[10], Duration::from_millis(limits::STORAGE_RETRY_MS_MAX));
    assert_eq!(woken.load(Ordering::SeqCst), 0, "told once");
    assert_eq!(port.committed(0), 0);
    assert!(port.queued_bytes() > 0, "what is tried again counts as waiting");
    disk.fails.store(false, Ordering::SeqCst);
    assert_eq!(worker.turn(), Turn::Committed);
    assert!(!port.is_refusing());
    assert_eq!((port.committed(0), woken.load(Ordering::SeqCst)), (1, 0b11));
    assert_eq!(worker.turn(), Turn::Committed);
    assert_eq!((port.committed(0), port.queued_bytes()), (2, 0));
    assert_eq!(port.metrics().failures.get(), 11);
}

#[test]
fn a_running_thread_gets_over_a_disk_that_fails_for_a_while() {
    let disk = Disk::default();
    let handle = start(
        disk.clone(),
        Arc::new(StoragePort::new(SHARDS, PathBuf::new())),
        config(Path::new("")).wake,
    )
    .unwrap();
    let port = handle.port();
    disk.fails.store(true, Ordering::SeqCst);
    submit(&port, 1, 1, journal(1));
    wait_until("it is told", || port.is_refusing());
    wait_until("it is tried again", || disk.tries.load(Ordering::SeqCst) > 2);
    assert_eq!(port.committed(1), 0);
    disk.fails.store(false, Ordering::SeqCst);
    wait_for(&port, 1, 1);
    wait_until("it is told", || !port.is_refusing());
    disk.fails.store(true, Ordering::SeqCst);
    submit(&port, 1, 2, journal(1));
    wait_until("it is told", || port.is_refusing());
    // It ends though the disk does not recover.
    handle.stop();
    assert_eq!(port.committed(1), 1);
}

#[test]
fn no_submission_is_slept_over() {
    let disk = Disk::default();
    let handle = start(
        disk.clone(),
        Arc::new(StoragePort::new(SHARDS, PathBuf::new())),
        config(Path::new("")).wake,
    )
    .unwrap();
    let port = handle.port();
    for number in 1..=20_000 {
        let shard = usize::from(number % 2 == 0);
        port.submit(shard, number, journal(1)).unwrap();
        // Nothing else wakes the thread: one that was slept over is never committed.
        let clock = crate::daemon::clock::Clock::start();
        while port.committed(shard) < number {
            assert!(
                clock.now().instant < crate::time::Instant::default() + DEADLINE,
                "{number}"
            );
            std::thread::yield_now();
        }
    }
    handle.stop();
    assert_eq!(disk.batches.load(Ordering::SeqCst), 20_000);
}

#[test]
fn a_full_disk_fails_a_commit_as_a_whole_and_the_next_one_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let mut storage = open(dir.path());
    let one = |number| {
        std::iter::once((
            0,
            Submitted {
                batch: number,
                journal: batch(0, number),
            },
        ))
        .collect()
    };
    for number in 1..=20 {
        let group: Vec<_> = one(number);
        Commit::commit(&mut storage.engine, &group).unwrap();
    }
    storage.engine.limit_pages(16);
    let many: Vec<_> = (21..=400).flat_map(one as fn(u64) -> Vec<_>).collect();
    let error = Commit::commit(&mut storage.engine, &many).unwrap_err();
    assert!(!super::engine::is_damage(&error), "{error}");
    assert_eq!(batches(&storage), [20, 0]);
    storage.engine.limit_pages(100_000);
    Commit::commit(&mut storage.engine, &many).unwrap();
    assert_eq!(batches(&storage), [400, 0]);
}
