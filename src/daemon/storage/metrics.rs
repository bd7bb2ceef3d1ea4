//! What storage counts, and how it is told. The only writer is the thread that opens it, then the storage thread.

use std::fmt::Write;
use std::time::Duration;

use super::port::StoragePort;
use super::space::free_bytes;
use crate::observe::Counter;
use crate::observe::exposition::head;
use crate::observe::histogram::{self, Histogram};

/// The counters of the storage thread.
#[derive(Debug, Default)]
pub struct StorageMetrics {
    /// Batches made durable.
    pub batches: Counter,
    /// Changes in them, as the shards wrote them down.
    pub changes: Counter,
    /// Bytes of their journals.
    pub bytes: Counter,
    /// Commits that succeeded.
    pub commits: Counter,
    /// Commits that failed; what they held is tried again.
    pub failures: Counter,
    /// Files that were found damaged at the start.
    pub damaged_files: Counter,
    /// Rows that do not hold their checksum, and were left out.
    pub damaged_rows: Counter,
    latency: Histogram,
}

impl StorageMetrics {
    /// Counts a commit that succeeded.
    pub(super) fn committed(&self, took: Duration) {
        self.commits.increment();
        self.latency.record(took);
    }
}

/// Appends what the storage thread has done and what waits for it.
pub fn render(text: &mut String, port: &StoragePort) {
    let metrics = port.metrics();
    for (name, help, value) in [
        (
            "nexus_storage_batches_total",
            "Batches of changes made durable.",
            &metrics.batches,
        ),
        (
            "nexus_storage_changes_total",
            "Changes made durable.",
            &metrics.changes,
        ),
        (
            "nexus_storage_bytes_total",
            "Bytes of changes made durable.",
            &metrics.bytes,
        ),
        (
            "nexus_storage_commits_total",
            "Commits to the disk, each of a group of batches.",
            &metrics.commits,
        ),
        (
            "nexus_storage_commit_failures_total",
            "Commits that failed and were tried again.",
            &metrics.failures,
        ),
        (
            "nexus_storage_damaged_files_total",
            "Files that were found damaged at the start, and repaired or begun anew.",
            &metrics.damaged_files,
        ),
        (
            "nexus_storage_damaged_rows_total",
            "Rows that were found damaged at the start, and left out.",
            &metrics.damaged_rows,
        ),
    ] {
        head(text, name, "counter", help);
        let _ = writeln!(text, "{name} {}", value.get());
    }
    histogram::render(
        text,
        "nexus_storage_commit_seconds",
        "How long commits to the disk took.",
        std::iter::once(&metrics.latency),
    );
    render_state(text, port);
}

/// How it stands with what waits and with the disk.
fn render_state(text: &mut String, port: &StoragePort) {
    for (name, help, value) in [
        (
            "nexus_storage_queue_bytes",
            "Bytes of changes that are not yet durable.",
            port.queued_bytes() as u64,
        ),
        (
            "nexus_storage_refusing",
            "Whether nothing durable is taken on, since the disk is full or failing.",
            u64::from(port.is_refusing()),
        ),
    ] {
        head(text, name, "gauge", help);
        let _ = writeln!(text, "{name} {value}");
    }
    if let Ok(free) = free_bytes(port.dir()) {
        let (name, help) = (
            "nexus_storage_free_bytes",
            "Bytes that are free where the files are.",
        );
        head(text, name, "gauge", help);
        let _ = writeln!(text, "{name} {free}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_told_by_how_long_they_took() {
        let port = StoragePort::new(1, std::env::temp_dir());
        for us in [250, 251, 2_000_000] {
            port.metrics().committed(Duration::from_micros(us));
        }
        port.refuse(true);
        let mut text = String::new();
        render(&mut text, &port);
        for line in [
            "nexus_storage_commit_seconds_bucket{le=\"0.00025\"} 1",
            "nexus_storage_commit_seconds_bucket{le=\"0.0005\"} 2",
            "nexus_storage_commit_seconds_bucket{le=\"1\"} 2",
            "nexus_storage_commit_seconds_bucket{le=\"+Inf\"} 3",
            "nexus_storage_commit_seconds_sum 2.000501",
            "nexus_storage_commit_seconds_count 3",
            "nexus_storage_commits_total 3",
            "nexus_storage_refusing 1",
            "nexus_storage_queue_bytes 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("\nnexus_storage_free_bytes "), "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(
                name.starts_with("nexus_storage_") && value.parse::<f64>().is_ok(),
                "{line}"
            );
        }
    }
}
