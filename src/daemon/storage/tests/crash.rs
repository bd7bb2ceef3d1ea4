//! A daemon that ends without warning: what was told to be durable is there, and nothing is there out of its order.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

const CHILD: &str = "NEXUS_TEST_STORAGE_DIR";

/// The process that is killed: stores batches for as long as it lives, and writes down what is durable.
#[test]
#[ignore = "run by the test below, as a process of its own"]
fn child_that_stores() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let storage = open(&dir.join("sessions"));
    let before = batches(&storage);
    let handle = storage.start().unwrap();
    let port = handle.port();
    let mut told = fs::File::create(dir.join("told")).unwrap();
    for number in 1.. {
        for (shard, before) in before.into_iter().enumerate() {
            submit(&port, shard, number, batch(shard, before + number));
        }
        let durable = [0, 1].map(|shard| before[shard] + port.committed(shard));
        writeln!(told, "{} {} .", durable[0], durable[1]).unwrap();
    }
}

/// A process that does not outlive its test.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_killed_daemon_has_kept_what_it_told_and_the_beginning_of_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(20);
    let mut last = [0; SHARDS];
    for round in 0..20 {
        let _ = fs::remove_file(dir.path().join("told"));
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "daemon::storage::tests::crash::child_that_stores",
                "--ignored",
            ])
            .env(CHILD, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let child = Child(child);
        let read = || fs::read_to_string(dir.path().join("told")).unwrap_or_default();
        wait_until("the child stores", || read().contains('.'));
        std::thread::park_timeout(Duration::from_micros(random.random_range(0..60_000)));
        drop(child);
        let storage = open(&dir.path().join("sessions"));
        let found = batches(&storage);
        let told = read();
        let line = told.lines().rfind(|line| line.ends_with('.')).unwrap();
        let told: Vec<u64> = line.split(' ').take(SHARDS).map(|n| n.parse().unwrap()).collect();
        for shard in 0..SHARDS {
            assert!(
                found[shard] >= told[shard],
                "round {round}: {found:?}, told {told:?}"
            );
            assert!(
                found[shard] >= last[shard],
                "round {round}: {found:?} after {last:?}"
            );
        }
        last = found;
    }
    assert!(last.iter().all(|batches| *batches > 20), "{last:?}");
}

/// The files as they stand, as a crash of the machine would leave them at the earliest.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in ["sessions.db", "sessions.db-wal"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn files_copied_at_any_moment_hold_what_was_committed_by_then() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let handle = open(&source).start().unwrap();
    let port = handle.port();
    let mut random = StdRng::seed_from_u64(21);
    let mut copies = Vec::new();
    for number in 1..=300 {
        for shard in 0..SHARDS {
            submit(&port, shard, number, batch(shard, number));
        }
        if random.random_ratio(1, 12) {
            let committed = [0, 1].map(|shard| port.committed(shard));
            let to = dir.path().join(format!("copy-{number}"));
            copy(&source, &to);
            copies.push((to, committed));
        }
    }
    drop(handle);
    assert!(copies.len() > 10);
    for (dir, committed) in copies {
        let found = batches(&open(&dir));
        let is_kept = found
            .iter()
            .zip(&committed)
            .all(|(found, committed)| found >= committed);
        assert!(is_kept, "{found:?}, {committed:?}");
    }
}
