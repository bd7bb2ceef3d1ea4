//! The daemon's log where nobody reads it any more: the collector behind the pipe is gone.

use std::io::{BufRead, BufReader};
use std::process::Command;
use std::thread;

use crossbeam::channel::bounded;
use tempfile::TempDir;

use crate::harness::daemon::{serve_command, signal};
use crate::harness::matrix::SHARD_COUNTS;
use crate::harness::{Deadline, Options, parallel};

#[test]
fn a_daemon_whose_log_nobody_reads_heeds_its_signals() {
    parallel(&SHARD_COUNTS, |&shards| {
        let directory = TempDir::with_prefix("nexus-test-").unwrap();
        let mut child = serve_command(directory.path(), &Options::shards(shards))
            .spawn()
            .unwrap();
        let id = child.id();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        output.read_line(&mut ready).unwrap();
        assert!(ready.contains("\"ready\":true"), "{ready}");
        drop((output, child.stderr.take()));
        // Each of them is a line in the log.
        signal(&child, "HUP");
        signal(&child, "TERM");
        let (sender, ended) = bounded(1);
        thread::spawn(move || sender.send(child.wait()));
        let Ok(status) = ended.recv_timeout(Deadline::patient().left()) else {
            let _killed = Command::new("kill")
                .args(["-s", "KILL", &id.to_string()])
                .status();
            panic!("it does not end");
        };
        assert_eq!(status.unwrap().code(), Some(0));
    });
}
