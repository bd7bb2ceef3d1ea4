//! What the control thread counts. It is the only writer.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::observe::Counter;

/// The counters of the control thread.
#[derive(Debug, Default)]
pub struct ControlMetrics {
    /// Logins accepted.
    pub accepted: Counter,
    /// Logins denied: unknown account or wrong secret.
    pub denied: Counter,
    /// Logins that could not be decided: too many waiting, or the database failed.
    pub undecided: Counter,
    /// Logins whose answer the throttle delayed.
    pub throttled: Counter,
    /// Changes told to the shards.
    pub changes: Counter,
    /// Failures of the database.
    pub faults: Counter,
    faulty: AtomicBool,
}

impl ControlMetrics {
    /// Whether the database answered when it was read last.
    pub fn is_healthy(&self) -> bool {
        !self.faulty.load(Ordering::Relaxed)
    }

    /// The database failed. Tells whether it answered before.
    pub(super) fn failed(&self) -> bool {
        self.faults.increment();
        !self.faulty.swap(true, Ordering::Relaxed)
    }

    /// The database answered. Tells whether it failed before.
    pub(super) fn recovered(&self) -> bool {
        self.faulty.swap(false, Ordering::Relaxed)
    }
}
