//! How a shard ends.
//!
//! Invariant: no ring goes before all shards have left their loops, and no memory goes before the kernel has
//! given back every operation. The app is not called any more.
#![expect(
    unsafe_code,
    reason = "connections accepted at the last moment are bare descriptors"
)]

use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use super::Shard;
use crate::app::App;
use crate::clock::nanos;
use crate::operation::Op;

/// How long one wait for the kernel or the other shards takes at most.
const WAIT: Duration = Duration::from_millis(10);

impl<A: App> Shard<A> {
    /// Waits for the other shards to leave their loops, then for the kernel. False: it still holds something.
    pub(super) fn quit(&mut self) -> bool {
        self.wake_up();
        self.departure.leave();
        let mut usable = true;
        while !self.control.have_all_left() {
            usable &= self.absorb();
            if !usable {
                std::thread::park_timeout(WAIT);
            }
        }
        self.ring.cancel_all();
        let end = self.clock.now_ns().saturating_add(nanos(Self::quiesce_time()));
        while self.ring.outstanding() > 0 && self.clock.now_ns() < end {
            if !self.absorb() {
                break;
            }
        }
        self.ring.outstanding() == 0
    }

    /// Takes completions without acting on them. False: the ring does not work any more.
    fn absorb(&mut self) -> bool {
        let mut batch = std::mem::take(&mut self.batch);
        let entered = self.ring.enter_for(WAIT);
        let works = entered.is_ok() && self.ring.reap(self.batch_max, &mut batch).is_ok();
        let mut ticking = false;
        for completion in batch.drain(..) {
            match completion.token.op {
                Op::Accept if completion.result >= 0 => {
                    // SAFETY: the kernel made this descriptor for us and told nobody else.
                    drop(unsafe { OwnedFd::from_raw_fd(completion.result) });
                }
                Op::Receive => {
                    if let Some(buffer) = completion.buffer {
                        self.ring.buffers().give(buffer);
                    }
                }
                // It fired while the cancellation looked, and is armed again.
                Op::Tick if completion.more => ticking = true,
                _ => {}
            }
        }
        self.batch = batch;
        if ticking && self.control.have_all_left() {
            self.ring.cancel_all();
        }
        works
    }
}
