//! The will that a client left, and its share in what all wills of the shard take (3.1.2.5).
//!
//! Invariant: a will counts from the moment its client is attached, or taken in at the start, until it is handed out or
//! dropped; all of that happens on one shard.

use std::ops::Deref;
use std::sync::Arc;

use crate::observe::ShardMetrics;
use crate::session::Will;

/// A will as its session holds it.
#[derive(Debug)]
pub(super) struct Left {
    will: Will,
    counted: Option<Counted>,
}

/// What is taken off the gauge again when this is dropped.
#[derive(Debug)]
struct Counted {
    bytes: u64,
    metrics: Arc<ShardMetrics>,
}

impl Left {
    /// Of a client that is not in yet: not counted.
    pub(super) const fn new(will: Will) -> Self {
        Self { will, counted: None }
    }

    /// Counts it from now on.
    pub(super) fn count(&mut self, metrics: &Arc<ShardMetrics>) {
        let bytes = self.will.len_bytes() as u64;
        self.counted.get_or_insert_with(|| {
            metrics.mqtt_will_bytes.add(bytes);
            Counted {
                bytes,
                metrics: Arc::clone(metrics),
            }
        });
    }

    /// Bytes that it counts for by now.
    pub(super) fn counted_bytes(&self) -> u64 {
        self.counted.as_ref().map_or(0, |counted| counted.bytes)
    }

    /// The will, which does not count any more.
    pub(super) fn into_will(self) -> Box<Will> {
        Box::new(self.will)
    }
}

impl Deref for Left {
    type Target = Will;

    fn deref(&self) -> &Will {
        &self.will
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.mqtt_will_bytes.replace(self.bytes, 0);
    }
}
