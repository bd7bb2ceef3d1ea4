//! Files that are cut off, overwritten or gone: storage opens all the same, shows nothing wrong, and tells.

use std::fs;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::crash::copy;
use super::*;
use crate::limits;

const BATCHES: u64 = 60;
const FRAME: u64 = 4_096 + 24;

/// Files of a daemon that was cut off with all its batches in the log.
fn with_log(dir: &Path) {
    let source = dir.join("source");
    let handle = open(&source).start().unwrap();
    let port = handle.port();
    for number in 1..=BATCHES {
        for shard in 0..SHARDS {
            submit(&port, shard, number, batch(shard, number));
            wait_for(&port, shard, number);
        }
    }
    copy(&source, &dir.join("base"));
    handle.stop();
}

fn changed(dir: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Storage {
    let copied = dir.join("copy");
    let _ = fs::remove_dir_all(&copied);
    copy(&dir.join("base"), &copied);
    let file = copied.join(name);
    let mut bytes = fs::read(&file).unwrap();
    change(&mut bytes);
    fs::write(&file, bytes).unwrap();
    open(&copied)
}

/// Storage that was repaired takes more, and is whole afterwards.
fn goes_on(dir: &Path, storage: Storage) {
    let mut before = rows(&storage, Table::Retained);
    let handle = storage.start().unwrap();
    let mut journal = Journal::new();
    journal.put(Table::Retained, b"after", b"repair");
    submit(&handle.port(), 0, 1, journal);
    handle.stop();
    let storage = open(&dir.join("copy"));
    assert_eq!(storage.reports(), [] as [String; 0]);
    before.push((b"after".to_vec(), b"repair".to_vec()));
    before.sort();
    assert_eq!(rows(&storage, Table::Retained), before);
}

#[test]
fn a_log_that_is_cut_off_loses_its_end_alone_and_tells() {
    let dir = tempfile::tempdir().unwrap();
    with_log(dir.path());
    let mut random = StdRng::seed_from_u64(30);
    let mut lost = 0;
    for _ in 0..40 {
        let storage = changed(dir.path(), "sessions.db-wal", |bytes| {
            let mut len = random.random_range(0..bytes.len() as u64);
            // At the end of a frame nothing may be missing.
            if len >= 32 && (len - 32) % FRAME == 0 {
                len += 1;
            }
            bytes.truncate(usize::try_from(len).unwrap());
        });
        let found = batches(&storage);
        assert!(found[0].abs_diff(found[1]) <= 1, "{found:?}");
        lost += u32::from(found != [BATCHES, BATCHES]);
        let is_empty = fs::metadata(dir.path().join("copy/sessions.db-wal")).is_ok_and(|wal| wal.len() == 0);
        assert!(
            is_empty || storage.reports().len() == 1,
            "{:?}",
            storage.reports()
        );
        goes_on(dir.path(), storage);
    }
    assert!(lost > 30, "{lost}");
}

#[test]
fn what_was_dropped_of_a_log_is_told_once_however_soon_the_next_crash_comes() {
    let dir = tempfile::tempdir().unwrap();
    let (source, crashed) = (dir.path().join("base"), dir.path().join("copy"));
    let handle = open(&source).start().unwrap();
    let mut large = Journal::new();
    for number in 0..500 {
        let key = key(0, number);
        large.put(Table::Outbound, &key, &value(&key));
    }
    let port = handle.port();
    submit(&port, 0, 1, batch(0, 1));
    wait_for(&port, 0, 1);
    submit(&port, 0, 2, large);
    wait_for(&port, 0, 2);
    copy(&source, &crashed);
    handle.stop();
    let log = crashed.join("sessions.db-wal");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 100]).unwrap();

    // It crashes before it writes anything, then after a little, of which the end of the log is not overwritten.
    let cut = open(&crashed);
    assert_eq!(cut.reports().len(), 1, "{:?}", cut.reports());
    let again = dir.path().join("again");
    copy(&crashed, &again);
    let storage = open(&again);
    assert_eq!(storage.reports(), [] as [String; 0]);
    assert_eq!(batches(&storage), [1, 0]);
    drop(storage);

    let handle = cut.start().unwrap();
    submit(&handle.port(), 0, 1, batch(0, 2));
    wait_for(&handle.port(), 0, 1);
    fs::remove_dir_all(&again).unwrap();
    copy(&crashed, &again);
    handle.stop();
    let storage = open(&again);
    assert_eq!(storage.reports(), [] as [String; 0]);
    assert_eq!(batches(&storage), [2, 0]);
}

#[test]
fn a_log_with_changed_bytes_loses_what_follows_and_tells() {
    let dir = tempfile::tempdir().unwrap();
    with_log(dir.path());
    let mut random = StdRng::seed_from_u64(31);
    let mut told = 0;
    for _ in 0..60 {
        let storage = changed(dir.path(), "sessions.db-wal", |bytes| {
            let at = random.random_range(0..bytes.len());
            bytes[at] ^= 1 << random.random_range(0..8);
        });
        let is_all = batches(&storage) == [BATCHES, BATCHES];
        told += storage.reports().len();
        assert!(is_all || storage.reports().len() == 1, "{:?}", storage.reports());
        goes_on(dir.path(), storage);
    }
    assert!(told >= 55, "{told}");
}

#[test]
fn garbage_behind_a_log_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    with_log(dir.path());
    let mut random = StdRng::seed_from_u64(32);
    for _ in 0..20 {
        let storage = changed(dir.path(), "sessions.db-wal", |bytes| {
            let len = random.random_range(1..20_000);
            bytes.extend((0..len).map(|_| random.random::<u8>()));
        });
        assert_eq!(batches(&storage), [BATCHES, BATCHES]);
        goes_on(dir.path(), storage);
    }
}

/// A closed database with many rows of one table, and how many.
fn with_rows(dir: &Path) -> usize {
    const ROWS: u64 = 4_000;
    let base = dir.join("base");
    let handle = open(&base).start().unwrap();
    let port = handle.port();
    for number in 1..=ROWS / 100 {
        let mut journal = Journal::new();
        for row in 0..100 {
            // Not in the order of the keys.
            let key = key(0, (number * 100 + row).reverse_bits());
            journal.put(Table::Registrations, &key, &value(&key));
        }
        submit(&port, 0, number, journal);
    }
    handle.stop();
    fs::write(base.join("sessions.db-wal"), "").unwrap();
    usize::try_from(ROWS).unwrap()
}

#[test]
fn a_damaged_database_shows_only_what_is_right_and_tells_what_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let all = with_rows(dir.path());
    let mut random = StdRng::seed_from_u64(33);
    let (mut survived, mut told) = (0, 0);
    let rounds = 60;
    for round in 0..rounds {
        let storage = changed(dir.path(), "sessions.db", |bytes| {
            let places = if round % 2 == 0 { 1 } else { 6 };
            for _ in 0..places {
                // One bit, or a stretch of a page.
                let at = random.random_range(0..bytes.len() - 600);
                let len = if round % 3 == 0 { 600 } else { 1 };
                for byte in &mut bytes[at..at + len] {
                    *byte ^= 1 << random.random_range(0..8);
                }
            }
        });
        let found = rows(&storage, Table::Registrations);
        assert!(found.is_sorted());
        assert!(found.iter().all(|(key, stored)| *stored == value(key)));
        assert!(
            found.len() == all || storage.reports().len() == 1,
            "{:?}",
            storage.reports()
        );
        survived += found.len();
        told += storage.reports().len();
        goes_on(dir.path(), storage);
    }
    assert!(survived > rounds * all * 3 / 4, "{survived} of {}", rounds * all);
    assert!(told > rounds / 2, "{told}");
}

#[test]
fn what_is_no_database_is_kept_aside_and_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    with_rows(dir.path());
    for garbage in [&b"no database at all"[..], &[0xA5; 100_000]] {
        let storage = changed(dir.path(), "sessions.db", |bytes| *bytes = garbage.to_vec());
        assert_eq!(rows(&storage, Table::Registrations), []);
        let [report] = storage.reports() else {
            panic!("{:?}", storage.reports())
        };
        assert!(
            report.contains("sessions.db") && report.contains("damaged-"),
            "{report}"
        );
        let kept = fs::read_dir(dir.path().join("copy")).unwrap().find_map(|entry| {
            let path = entry.unwrap().path();
            path.to_string_lossy()
                .contains("sessions.db.damaged-")
                .then_some(path)
        });
        assert_eq!(fs::read(kept.unwrap()).unwrap(), garbage);
        goes_on(dir.path(), storage);
    }
}

#[test]
fn a_salvage_that_was_interrupted_is_finished_or_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let all = with_rows(dir.path());
    let copied = dir.path().join("copy");
    // Before the damaged files were moved aside: what was copied so far does not count.
    copy(&dir.path().join("base"), &copied);
    fs::write(copied.join("sessions.db.new"), "half of it").unwrap();
    assert_eq!(rows(&open(&copied), Table::Registrations).len(), all);
    assert!(!copied.join("sessions.db.new").exists());
    // Between moving the database and its log.
    with_log(&dir.path().join("other"));
    fs::remove_file(copied.join("sessions.db-wal")).ok();
    fs::rename(copied.join("sessions.db"), copied.join("sessions.db.new")).unwrap();
    fs::copy(
        dir.path().join("other/base/sessions.db-wal"),
        copied.join("sessions.db-wal"),
    )
    .unwrap();
    let storage = open(&copied);
    assert_eq!(rows(&storage, Table::Registrations).len(), all);
    assert_eq!(
        rows(&storage, Table::Sessions),
        [],
        "the log of another database is not taken"
    );
}

/// Names of files that were kept aside, in order.
fn kept_aside(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".damaged-"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_few_damaged_databases_are_kept_aside_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    with_rows(dir.path());
    let at = dir.path().join("copy");
    copy(&dir.path().join("base"), &at);
    fs::write(at.join("sessions.db-wal.damaged-77"), "the oldest").unwrap();
    fs::write(at.join("sessions.db.damaged-by-hand"), "not ours").unwrap();
    let mut seen = Vec::new();
    for round in 0..2 * limits::STORAGE_DAMAGED_MAX {
        fs::write(at.join("sessions.db"), format!("round {round}")).unwrap();
        let storage = open(&at);
        let port = storage.port();
        assert_eq!(
            (storage.reports().len(), port.metrics().damaged_files.get()),
            (1, 1)
        );
        drop(storage);
        let kept: Vec<String> = kept_aside(&at)
            .into_iter()
            .filter(|name| name.starts_with("sessions.db.damaged-1"))
            .collect();
        let last = kept.last().unwrap();
        assert_eq!(
            fs::read_to_string(at.join(last)).unwrap(),
            format!("round {round}")
        );
        assert!(!seen.contains(last), "none takes the place of another");
        seen.push(last.clone());
        let newest: Vec<&String> = seen.iter().rev().take(limits::STORAGE_DAMAGED_MAX).collect();
        assert!(kept.iter().rev().eq(newest), "{kept:?} of {seen:?}");
    }
    let others: Vec<String> = kept_aside(&at)
        .into_iter()
        .filter(|name| !seen.contains(name))
        .collect();
    assert_eq!(others, ["sessions.db.damaged-by-hand"]);
}

#[test]
fn a_database_without_its_head_gives_back_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let all = with_rows(dir.path());
    // `user_version` and `application_id`: how it looks to whom nobody made.
    let storage = changed(dir.path(), "sessions.db", |bytes| {
        bytes[60..64].fill(0);
        bytes[68..72].fill(0);
    });
    assert_eq!(rows(&storage, Table::Registrations).len(), all);
    assert_eq!(storage.reports().len(), 1);
    goes_on(dir.path(), storage);
}

#[test]
fn a_database_of_another_program_is_kept_aside_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE notes (text); INSERT INTO notes VALUES ('mine')")
        .unwrap();
    drop(other);
    let storage = open(dir.path());
    assert_eq!(storage.reports().len(), 1, "{:?}", storage.reports());
    let kept = dir.path().join(&kept_aside(dir.path())[0]);
    let note: String = rusqlite::Connection::open(kept)
        .unwrap()
        .query_row("SELECT text FROM notes", [], |row| row.get(0))
        .unwrap();
    assert_eq!(note, "mine");
}

#[test]
fn what_a_later_version_wrote_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    with_rows(dir.path());
    let at = dir.path().join("base");
    let path = at.join("sessions.db");
    let later = rusqlite::Connection::open(&path).unwrap();
    later.pragma_update(None, "user_version", 2).unwrap();
    drop(later);
    let before = fs::read(&path).unwrap();
    let fault = Storage::open(config(&at)).unwrap_err().to_string();
    assert!(
        fault.contains("sessions.db") && fault.contains("later version") && fault.lines().count() == 1,
        "{fault}"
    );
    assert_eq!((fs::read(&path).unwrap(), kept_aside(&at)), (before, Vec::new()));
}

#[test]
fn a_log_without_its_database_is_kept_aside_and_told() {
    let dir = tempfile::tempdir().unwrap();
    with_log(dir.path());
    let at = dir.path().join("base");
    fs::remove_file(at.join("sessions.db")).unwrap();
    let storage = open(&at);
    assert_eq!(storage.reports().len(), 1, "{:?}", storage.reports());
    assert_eq!(batches(&storage), [0, 0]);
    assert!(kept_aside(&at)[0].starts_with("sessions.db-wal.damaged-"));
}
