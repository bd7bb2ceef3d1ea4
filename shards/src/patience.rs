//! Whether a shard looks for work before it blocks: as long as it finds some that way, and has its core for itself.
//!
//! Invariant: looking costs next to nothing where it is of no use. Where fewer than half of the looks find work, one block in
//! [`LOOKS_SKIPPED`] begins with one; and a shard whose thread has to wait for its core leaves it to the others.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::limits::{
    CREDIT_MAX, CROWDED_CHECKS, CROWDING_CHECK_TICKS, CROWDING_WAITED_NS_MAX, LOOKS_SKIPPED,
};

/// What a shard's looks came to, and how crowded its core is.
#[derive(Debug)]
pub(crate) struct Patience {
    /// Up by one with each look that found work, down by one with each that did not.
    credit: u32,
    skips: u32,
    ticks: u32,
    waited_ns: u64,
    crowded: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            credit: CREDIT_MAX,
            skips: 0,
            ticks: 0,
            waited_ns: 0,
            crowded: 0,
        }
    }
}

impl Patience {
    /// Whether to look before this block.
    pub(crate) fn looks(&mut self) -> bool {
        if self.crowded > 0 {
            return false;
        }
        if self.credit == 0 && self.skips > 0 {
            self.skips -= 1;
            return false;
        }
        true
    }

    /// What came of a look.
    pub(crate) fn looked(&mut self, found: bool) {
        self.credit = if found {
            (self.credit + 1).min(CREDIT_MAX)
        } else {
            self.credit.saturating_sub(1)
        };
        self.skips = LOOKS_SKIPPED;
    }

    /// A tick has come. `waited_ns` tells how long the thread has waited for its core since its start.
    pub(crate) fn tick(&mut self, waited_ns: impl FnOnce() -> u64) {
        self.ticks += 1;
        if self.ticks < CROWDING_CHECK_TICKS {
            return;
        }
        self.ticks = 0;
        let before = std::mem::replace(&mut self.waited_ns, waited_ns());
        self.crowded = if self.waited_ns.saturating_sub(before) > CROWDING_WAITED_NS_MAX {
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

    /// Blocks that go by before the next look, of which that came.
    fn skipped(patience: &mut Patience, found: bool) -> u32 {
        let skipped = (0..).take_while(|_| !patience.looks()).count();
        patience.looked(found);
        u32::try_from(skipped).unwrap()
    }

    #[test]
    fn looks_that_are_mostly_in_vain_become_rare() {
        let mut patience = Patience::default();
        for _ in 0..CREDIT_MAX {
            assert_eq!(skipped(&mut patience, false), 0);
        }
        for _ in 0..3 {
            assert_eq!(skipped(&mut patience, false), LOOKS_SKIPPED);
        }
        assert_eq!(skipped(&mut patience, true), LOOKS_SKIPPED, "one finds work");
        assert_eq!(skipped(&mut patience, true), 0);
        assert_eq!(
            [(); 3].map(|()| skipped(&mut patience, false)),
            [0, 0, LOOKS_SKIPPED]
        );
    }

    #[test]
    fn a_look_in_vain_now_and_then_does_no_harm() {
        let mut patience = Patience::default();
        for n in 0..1_000 {
            assert_eq!(skipped(&mut patience, n % 3 != 0), 0);
        }
    }

    #[test]
    fn a_shared_core_is_left_to_the_others_for_a_while() {
        let mut patience = Patience::default();
        let mut waited = 0;
        let mut looks_after = |patience: &mut Patience, more_ns: u64| {
            waited += more_ns;
            (0..CROWDING_CHECK_TICKS).for_each(|_| patience.tick(|| waited));
            patience.looks()
        };
        assert!(
            looks_after(&mut patience, CROWDING_WAITED_NS_MAX),
            "a kernel has threads, too"
        );
        assert!(!looks_after(&mut patience, CROWDING_WAITED_NS_MAX + 1));
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
