//! What the bridge counts. Its HTTP thread is the only writer.

use std::fmt::Write;

use crate::observe::Counter;
use crate::observe::exposition::head;

/// The counters of the bridge.
#[derive(Debug, Default)]
pub struct BridgeMetrics {
    /// Requests, preflights included.
    pub requests: Counter,
    /// Requests whose secret was good for nothing of the kind.
    pub denied: Counter,
    /// Requests that were refused unread or could not be understood.
    pub refused: Counter,
    /// Requests that the store or a shard did not answer.
    pub undecided: Counter,
    /// Connections that are open.
    pub connections: Counter,
}

/// Appends the counters.
pub(in crate::daemon) fn render(text: &mut String, metrics: &BridgeMetrics) {
    for (name, help, counter) in [
        (
            "nexus_bridge_requests_total",
            "Requests to the bridge, preflights included.",
            &metrics.requests,
        ),
        (
            "nexus_bridge_denied_total",
            "Requests to the bridge whose secret was good for nothing of the kind.",
            &metrics.denied,
        ),
        (
            "nexus_bridge_refused_total",
            "Requests to the bridge that were too many, too large or too slow, or could not be understood.",
            &metrics.refused,
        ),
        (
            "nexus_bridge_undecided_total",
            "Requests to the bridge that the store or a shard did not answer.",
            &metrics.undecided,
        ),
    ] {
        head(text, name, "counter", help);
        let _ = writeln!(text, "{name} {}", counter.get());
    }
    let name = "nexus_bridge_connections";
    head(text, name, "gauge", "Connections to the bridge that are open.");
    let _ = writeln!(text, "{name} {}", metrics.connections.get());
}
