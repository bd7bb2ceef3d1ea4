//! The machine's counters in the exposition: the data plane's per shard, those of the control thread and of
//! the storage thread.

use std::fmt::Write;
use std::sync::Arc;

use super::control::ControlPort;
use super::storage::{self, StoragePort};
use crate::observe::exposition::head;

/// Appends the counters of all shards' data planes, each with its shard, and those of the side threads.
pub(super) fn render(
    text: &mut String,
    stats: &[Arc<shards::Stats>],
    control: &ControlPort,
    storage: Option<&StoragePort>,
) {
    if let Some(storage) = storage {
        storage::render(text, storage);
    }
    let Some(first) = stats.first() else { return };
    for (place, (name, _)) in first.each().enumerate() {
        let name = format!("nexus_shard_{name}");
        head(text, &name, "untyped", "A counter of the data plane, by shard.");
        for (shard, stats) in stats.iter().enumerate() {
            if let Some((_, value)) = stats.each().nth(place) {
                let _ = writeln!(text, "{name}{{shard=\"{shard}\"}} {value}");
            }
        }
    }
    let metrics = control.metrics();
    for (name, help, counter) in [
        (
            "nexus_logins_accepted_total",
            "Proofs of accounts that were found good.",
            &metrics.accepted,
        ),
        (
            "nexus_logins_wrong_total",
            "Proofs of accounts that were found wrong.",
            &metrics.denied,
        ),
        (
            "nexus_logins_undecided_total",
            "Logins that could not be decided: too many waited, or the database failed.",
            &metrics.undecided,
        ),
        (
            "nexus_logins_throttled_total",
            "Logins that had to wait because of failed ones before.",
            &metrics.throttled,
        ),
        (
            "nexus_store_changes_total",
            "Changes of accounts, secrets, services and apps that the daemon has taken up.",
            &metrics.changes,
        ),
        (
            "nexus_store_faults_total",
            "Failures of the database of accounts.",
            &metrics.faults,
        ),
    ] {
        head(text, name, "counter", help);
        let _ = writeln!(text, "{name} {}", counter.get());
    }
    head(
        text,
        "nexus_logins_waiting",
        "gauge",
        "Logins waiting for the control thread.",
    );
    let _ = writeln!(text, "nexus_logins_waiting {}", control.logins_waiting());
    head(
        text,
        "nexus_store_healthy",
        "gauge",
        "Whether the database answered when it was read last.",
    );
    let _ = writeln!(text, "nexus_store_healthy {}", u8::from(control.is_healthy()));
}
