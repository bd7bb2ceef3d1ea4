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
