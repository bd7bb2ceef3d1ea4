//! What the storage thread counts, and how it is told. It is the only writer.

use std::fmt::Write;
use std::time::Duration;

use super::port::StoragePort;
use crate::observe::Counter;
use crate::observe::exposition::head;

/// Upper bounds of the buckets of commit latency: microseconds, and the same in seconds as a label.
const BUCKETS: [(u64, &str); 12] = [
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
];

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
    /// How many commits took no longer than each bound, but longer than the one before.
    latency: [Counter; BUCKETS.len()],
    latency_us: Counter,
}

impl StorageMetrics {
    /// Counts a commit that succeeded.
    pub(super) fn committed(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commits.increment();
        self.latency_us.add(us);
        let place = BUCKETS.iter().position(|(bound, _)| us <= *bound);
        if let Some(bucket) = place.and_then(|place| self.latency.get(place)) {
            bucket.increment();
        }
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
    ] {
        head(text, name, "counter", help);
        let _ = writeln!(text, "{name} {}", value.get());
    }
    let name = "nexus_storage_commit_seconds";
    head(text, name, "histogram", "How long commits to the disk took.");
    let mut below = 0;
    for ((_, bound), bucket) in BUCKETS.iter().zip(&metrics.latency) {
        below += bucket.get();
        let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {below}");
    }
    let (us, commits) = (metrics.latency_us.get(), metrics.commits.get());
    let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {commits}");
    let _ = writeln!(text, "{name}_sum {}.{:06}", us / 1_000_000, us % 1_000_000);
    let _ = writeln!(text, "{name}_count {commits}");
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_told_by_how_long_they_took() {
        let port = StoragePort::new(1);
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
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(
                name.starts_with("nexus_storage_") && value.parse::<f64>().is_ok(),
                "{line}"
            );
        }
    }
}
