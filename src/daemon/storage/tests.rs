//! Storage with real files: what is read back, what a disk that fails does, and who is woken.

mod crash;
mod damage;
mod thread;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::journal::Journal;

/// Longer than anything takes.
const DEADLINE: Duration = Duration::from_secs(30);
const SHARDS: usize = 2;
/// Messages of a shard that are on their way after each batch.
const KEPT: u64 = 3;

fn config(dir: &Path) -> StorageConfig {
    let tester = std::thread::current();
    StorageConfig {
        dir: dir.to_owned(),
        shards: SHARDS,
        wake: Arc::new(move |_| tester.unpark()),
    }
}

fn open(dir: &Path) -> Storage {
    Storage::open(config(dir)).unwrap()
}

fn key(shard: usize, number: u64) -> Vec<u8> {
    let mut key = (shard as u64).to_be_bytes().to_vec();
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn value(key: &[u8]) -> Vec<u8> {
    key.iter().copied().cycle().take(170).collect()
}

fn rows(storage: &Storage, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    storage
        .rows(table, &mut |key, value| rows.push((key.to_vec(), value.to_vec())))
        .unwrap();
    rows
}

/// Batch `number` of a shard: a row that stays, a message that comes and one that goes.
fn batch(shard: usize, number: u64) -> Journal {
    let mut journal = Journal::new();
    let new = key(shard, number);
    journal.put(Table::Sessions, &new, &value(&new));
    journal.put(Table::Outbound, &new, &value(&new));
    if number > KEPT {
        journal.delete(Table::Outbound, &key(shard, number - KEPT));
    }
    journal
}

/// How many batches of each shard are there; fails unless they are the first ones, each as a whole.
fn batches(storage: &Storage) -> [u64; SHARDS] {
    let mut found = [0; SHARDS];
    for (key, stored) in rows(storage, Table::Sessions) {
        let shard = usize::from(key[7]);
        found[shard] += 1;
        assert_eq!(key, super::tests::key(shard, found[shard]), "no gap");
        assert_eq!(stored, value(&key));
    }
    let mut on_their_way = BTreeMap::new();
    for (shard, last) in found.into_iter().enumerate() {
        for number in (1..=last).rev().take(usize::try_from(KEPT).unwrap()) {
            let key = key(shard, number);
            on_their_way.insert(key.clone(), value(&key));
        }
    }
    let outbound = rows(storage, Table::Outbound);
    assert_eq!(outbound, on_their_way.into_iter().collect::<Vec<_>>());
    found
}

/// Waits until `is_so`, woken by the storage thread or after a moment.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = crate::daemon::clock::Clock::start();
    let end = clock.now().instant + DEADLINE;
    while !is_so() {
        assert!(clock.now().instant < end, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn submit(port: &StoragePort, shard: usize, number: u64, journal: Journal) {
    let mut journal = Some(journal);
    wait_until("the queue has room", || {
        journal = port.submit(shard, number, journal.take().unwrap()).err();
        journal.is_none()
    });
}

fn wait_for(port: &StoragePort, shard: usize, number: u64) {
    wait_until("the batch is durable", || port.committed(shard) >= number);
}

#[test]
fn what_was_stored_is_read_back_in_the_order_of_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).start().unwrap();
    let port = handle.port();
    let mut journal = Journal::new();
    for name in [&b"b"[..], b"ab", b"a", b"\xff", b"\xff\xff"] {
        journal.put(Table::Retained, name, name);
        journal.put(Table::Inbound, name, b"");
    }
    submit(&port, 0, 1, journal);
    let mut journal = Journal::new();
    journal.delete(Table::Retained, b"b");
    journal.delete(Table::Retained, b"unknown");
    journal.delete_all(Table::Inbound, b"\xff");
    journal.delete_all(Table::Inbound, b"a");
    journal.put(Table::Inbound, b"ac", &[7; 100_000]);
    submit(&port, 0, 2, journal);
    handle.stop();
    assert_eq!(port.committed(0), 2, "stopping commits what was submitted");
    assert!(
        port.submit(0, 3, Journal::new()).is_err(),
        "nobody takes it any more"
    );
    assert!(port.is_refusing());

    let storage = open(dir.path());
    assert_eq!(storage.reports(), [] as [String; 0]);
    let names: Vec<Vec<u8>> = rows(&storage, Table::Retained)
        .into_iter()
        .map(|(key, stored)| {
            assert_eq!(key, stored);
            key
        })
        .collect();
    assert_eq!(names, [&b"a"[..], b"ab", b"\xff", b"\xff\xff"]);
    let inbound = rows(&storage, Table::Inbound);
    assert_eq!(
        inbound,
        [(b"ac".to_vec(), vec![7; 100_000]), (b"b".to_vec(), Vec::new())]
    );
    assert_eq!(rows(&storage, Table::Outbound), []);
}

#[test]
fn a_change_in_a_later_batch_overrides_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    for (round, text) in ["first", "second"].into_iter().enumerate() {
        let handle = open(dir.path()).start().unwrap();
        let mut journal = Journal::new();
        journal.put(Table::Sessions, b"same", text.as_bytes());
        journal.delete(Table::Sessions, b"old");
        if round == 0 {
            journal.put(Table::Sessions, b"old", b"");
        }
        submit(&handle.port(), 1, 1, journal);
        handle.stop();
    }
    let found = rows(&open(dir.path()), Table::Sessions);
    assert_eq!(found, [(b"same".to_vec(), b"second".to_vec())]);
}

#[test]
fn the_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("deep/sessions");
    let storage = open(&dir);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    drop(storage);
}

#[test]
fn a_directory_that_cannot_be_made_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let fault = Storage::open(config(&file.join("sessions")))
        .unwrap_err()
        .to_string();
    assert!(
        fault.contains("file/sessions") && fault.contains("storage.durability"),
        "{fault}"
    );
}
