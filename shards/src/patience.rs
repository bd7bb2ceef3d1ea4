//! Whether a shard looks for work before it blocks: as long as it finds some that way, and has its core for itself.
//!
//! Invariant: looking costs next to nothing where it is of no use. After the n-th look in vain in a row 2ⁿ - 1 blocks go by
//! without one, [`SKIPS_MAX`] at most; and a shard whose thread has to wait for its core leaves it to the others.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::clock::NS_PER_MS;
use crate::limits;

/// Blocks that go by without a look at most.
const SKIPS_MAX: u32 = 31;
/// Ticks from one look at the time waited to the next.
const CHECK_TICKS: u32 = 10;
/// Time waited between two of them, above which the core is shared: a twentieth. A core of one's own comes to a fiftieth.
const WAITED_NS_MAX: u64 = CHECK_TICKS as u64 * limits::TICK_MS * NS_PER_MS / 20;
/// How often that has to be less before the shard looks for work again.
const CROWDED_CHECKS: u32 = 10;

/// What a shard's looks came to, and how crowded its core is.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    in_vain: u32,
    skips: u32,
    ticks: u32,
    waited_ns: u64,
    crowded: u32,
}

impl Patience {
    /// Whether to look before this block.
    pub(crate) fn looks(&mut self) -> bool {
        if self.crowded > 0 {
            return false;
        }
        let looks = self.skips == 0;
        self.skips = self.skips.saturating_sub(1);
        looks
    }

    /// What came of a look.
    pub(crate) fn looked(&mut self, found: bool) {
        self.in_vain = if found {
            0
        } else {
            (self.in_vain + 1).min(u32::BITS - 1)
        };
        self.skips = ((1 << self.in_vain) - 1).min(SKIPS_MAX);
    }

    /// A tick has come. `waited_ns` tells how long the thread has waited for its core since its start.
    pub(crate) fn tick(&mut self, waited_ns: impl FnOnce() -> u64) {
        self.ticks += 1;
        if self.ticks < CHECK_TICKS {
            return;
        }
        self.ticks = 0;
        let before = std::mem::replace(&mut self.waited_ns, waited_ns());
        self.crowded = if self.waited_ns.saturating_sub(before) > WAITED_NS_MAX {
            CROWDED_CHECKS
        } else {
            self.crowded.saturating_sub(1)
        };
    }
}

/// How long a thread has waited for a core, as the kernel's scheduler counts it.
#[derive(Debug)]
pub(crate) struct Waited(Option<File>);

impl Waited {
    /// That of the calling thread.
    pub(crate) fn of_this_thread() -> Self {
        Self(File::open("/proc/thread-self/schedstat").ok())
    }

    /// Nanoseconds since the thread's start; 0 where the kernel does not tell.
    pub(crate) fn ns(&self) -> u64 {
        let mut text = [0; 96];
        let read = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok());
        let text = read.and_then(|len| std::str::from_utf8(text.get(..len)?).ok());
        // Time on a core, time waiting for one, turns.
        let waited = text.and_then(|text| text.split_ascii_whitespace().nth(1));
        waited.and_then(|ns| ns.parse().ok()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_are_in_vain_become_rare_and_one_that_is_not_brings_them_back() {
        let mut patience = Patience::default();
        let mut until_next = |found: bool| {
            let skipped = (0..).take_while(|_| !patience.looks()).count();
            patience.looked(found);
            skipped
        };
        for skipped in [0, 1, 3, 7, 15, 31, 31] {
            assert_eq!(until_next(false), skipped);
        }
        for _ in 0..100 {
            until_next(false);
        }
        assert_eq!(until_next(true), 31);
        assert_eq!(
            [until_next(true), until_next(false), until_next(false)],
            [0, 0, 1]
        );
    }

    #[test]
    fn a_shared_core_is_left_to_the_others_for_a_while() {
        let mut patience = Patience::default();
        let mut waited = 0;
        let mut looks_after = |patience: &mut Patience, more_ns: u64| {
            waited += more_ns;
            (0..CHECK_TICKS).for_each(|_| patience.tick(|| waited));
            patience.looks()
        };
        assert!(
            looks_after(&mut patience, WAITED_NS_MAX),
            "a kernel has threads, too"
        );
        assert!(!looks_after(&mut patience, WAITED_NS_MAX + 1));
        for _ in 1..CROWDED_CHECKS {
            assert!(!looks_after(&mut patience, 0));
        }
        assert!(looks_after(&mut patience, 0));
    }

    #[test]
    fn the_kernel_tells_how_long_a_thread_has_waited() {
        let waited = Waited::of_this_thread();
        let before = waited.ns();
        std::thread::yield_now();
        assert!(waited.ns() >= before);
        assert_eq!(Waited(None).ns(), 0);
    }
}
