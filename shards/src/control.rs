//! What the shards of one daemon share besides their queues: who is asked to stop, who has left, who is to be
//! rung how.
//!
//! Invariant: each shard counts itself out exactly once, however it ends; no ring is closed before all have,
//! so no bell is ever rung at a number that means another file.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

use crate::doorbell::Bell;

/// No stop was asked for.
const NEVER: u64 = u64::MAX;

/// The shared part of one daemon.
#[derive(Debug)]
pub(crate) struct Control {
    deadline: AtomicU64,
    failed: AtomicBool,
    left: AtomicUsize,
    drained: AtomicUsize,
    rings: Vec<AtomicI32>,
    bells: Vec<Bell>,
}

impl Control {
    pub(crate) fn new(bells: Vec<Bell>) -> Self {
        Self {
            deadline: AtomicU64::new(NEVER),
            failed: AtomicBool::new(false),
            left: AtomicUsize::new(0),
            drained: AtomicUsize::new(0),
            rings: bells.iter().map(|_| AtomicI32::new(-1)).collect(),
            bells,
        }
    }

    /// Asks all shards to stop, at `deadline` on their clock at the latest. The earliest deadline counts.
    pub(crate) fn stop(&self, deadline: u64) {
        self.deadline.fetch_min(deadline.min(NEVER - 1), Ordering::AcqRel);
        self.wake_all();
    }

    /// Until when the shards may drain, if they are to stop.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let deadline = self.deadline.load(Ordering::Acquire);
        (deadline != NEVER).then_some(deadline)
    }

    /// A shard that stops has no connection left, or no time: it hands none over any more. Called once by each.
    pub(crate) fn drained(&self) {
        if self.drained.fetch_add(1, Ordering::AcqRel) + 1 >= self.bells.len() {
            self.wake_all();
        }
    }

    /// Whether that is so of all shards: what is between them by now, and what follows from it, is all there will be.
    pub(crate) fn have_all_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire) >= self.bells.len()
    }

    /// One shard failed: all end at once.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.wake_all();
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(crate) fn have_all_left(&self) -> bool {
        self.left.load(Ordering::Acquire) >= self.bells.len()
    }

    /// The ring that `shard`'s bells are posted to.
    pub(crate) fn publish_ring(&self, shard: usize, fd: i32) {
        if let Some(ring) = self.rings.get(shard) {
            ring.store(fd, Ordering::Release);
        }
    }

    /// The ring of `shard`; none before it is made.
    pub(crate) fn ring(&self, shard: usize) -> Option<i32> {
        let fd = self.rings.get(shard)?.load(Ordering::Acquire);
        (fd >= 0).then_some(fd)
    }

    pub(crate) fn bell(&self, shard: usize) -> Option<&Bell> {
        self.bells.get(shard)
    }

    pub(crate) fn bells(&self) -> &[Bell] {
        &self.bells
    }

    fn wake_all(&self) {
        for bell in &self.bells {
            bell.wake();
        }
    }
}

/// Counts a shard out when it leaves its loop, or when its thread unwinds; then as failed.
#[derive(Debug)]
pub(crate) struct Departure {
    control: std::sync::Arc<Control>,
    counted: bool,
}

impl Departure {
    pub(crate) fn new(control: std::sync::Arc<Control>) -> Self {
        Self {
            control,
            counted: false,
        }
    }

    /// The shard has left its loop.
    pub(crate) fn leave(&mut self) {
        if !std::mem::replace(&mut self.counted, true) {
            self.control.left.fetch_add(1, Ordering::AcqRel);
            self.control.wake_all();
        }
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        if !self.counted {
            self.control.fail();
            self.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_shard_that_unwinds_counts_as_failed_and_as_left_once() {
        let bells = vec![Bell::new().unwrap(), Bell::new().unwrap()];
        let control = Arc::new(Control::new(bells));
        let mut first = Departure::new(Arc::clone(&control));
        first.leave();
        first.leave();
        drop(first);
        assert!(!control.has_failed() && !control.have_all_left());
        drop(Departure::new(Arc::clone(&control)));
        assert!(control.has_failed() && control.have_all_left());
    }

    #[test]
    fn all_have_drained_only_when_each_has() {
        let bells = vec![Bell::new().unwrap(), Bell::new().unwrap()];
        let control = Control::new(bells);
        control.drained();
        assert!(!control.have_all_drained());
        control.drained();
        assert!(control.have_all_drained());
    }

    #[test]
    fn the_earliest_deadline_counts() {
        let control = Control::new(Vec::new());
        assert_eq!(control.deadline(), None);
        control.stop(u64::MAX);
        control.stop(7);
        control.stop(9);
        assert_eq!(control.deadline(), Some(7));
    }
}
