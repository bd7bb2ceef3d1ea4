//! Two processes under one address, each of which reconnects when the other took it over, would do so for ever. The
//! third take-over of an address within a minute is refused to who asked to be damped.
//!
//! Memory is bounded: windows are equally long, so that the oldest is also the first to end, and is forgotten first.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use ahash::RandomState;

use super::hashes::AddressKey;
use crate::limits;
use crate::time::Instant;

const WINDOW: Duration = Duration::from_millis(limits::CONFLICT_WINDOW_MS);

#[derive(Debug)]
struct Window {
    begun: Instant,
    taken_over: u32,
}

/// Take-overs of the addresses that are at home on this shard.
#[derive(Debug)]
pub(crate) struct Conflicts {
    windows: HashMap<AddressKey, Window, RandomState>,
    /// The keys of `windows`, each once, in the order their windows began.
    order: VecDeque<AddressKey>,
}

impl Conflicts {
    pub(crate) fn new(state: RandomState) -> Self {
        Self {
            windows: HashMap::with_hasher(state),
            order: VecDeque::new(),
        }
    }

    /// Somebody wants to take `address` over. False: it was taken over too often; this attempt does not count.
    pub(crate) fn may_take_over(&mut self, now: Instant, address: AddressKey) -> bool {
        self.forget_ended(now);
        if let Some(window) = self.windows.get_mut(&address) {
            let may = window.taken_over < limits::CONFLICTS_PER_WINDOW_MAX;
            window.taken_over += u32::from(may);
            return may;
        }
        if self.windows.len() >= limits::CONFLICTS_TRACKED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.windows.remove(&oldest);
        }
        self.order.push_back(address);
        self.windows.insert(
            address,
            Window {
                begun: now,
                taken_over: 1,
            },
        );
        true
    }

    fn forget_ended(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front() {
            if self
                .windows
                .get(oldest)
                .is_some_and(|window| now - window.begun < WINDOW)
            {
                return;
            }
            self.windows.remove(oldest);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::hashes::Placement;

    fn address(n: usize) -> AddressKey {
        Placement::new(1, 1).address(&format!("a/{n}"))
    }

    fn conflicts() -> Conflicts {
        Conflicts::new(RandomState::with_seeds(1, 2, 3, 4))
    }

    #[test]
    fn the_third_take_over_within_a_minute_is_refused() {
        let (mut conflicts, start) = (conflicts(), Instant::from_nanos(1));
        let at = |ms| start + Duration::from_millis(ms);
        assert!(conflicts.may_take_over(at(0), address(1)));
        assert!(conflicts.may_take_over(at(1_000), address(1)));
        assert!(!conflicts.may_take_over(at(2_000), address(1)));
        assert!(conflicts.may_take_over(at(2_000), address(2)), "another address");
        assert!(!conflicts.may_take_over(at(limits::CONFLICT_WINDOW_MS - 1), address(1)));
        assert!(conflicts.may_take_over(at(limits::CONFLICT_WINDOW_MS), address(1)));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let (mut conflicts, now) = (conflicts(), Instant::from_nanos(1));
        for n in 0..=limits::CONFLICTS_TRACKED_MAX {
            conflicts.may_take_over(now, address(n));
        }
        assert_eq!(conflicts.windows.len(), limits::CONFLICTS_TRACKED_MAX);
        assert_eq!(conflicts.order.len(), limits::CONFLICTS_TRACKED_MAX);
        assert!(conflicts.windows.contains_key(&address(1)));
        assert!(!conflicts.windows.contains_key(&address(0)));
    }
}
