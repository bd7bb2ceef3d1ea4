//! The only place where clocks are read.
//!
//! Invariant: all copies of one [`Clock`] share their origin, so that times of different shards compare.
#![expect(clippy::disallowed_methods, reason = "this is where the clock is read")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds in a millisecond.
pub(crate) const NS_PER_MS: u64 = 1_000_000;

/// A monotonic clock with an origin of its own, and the calendar beside it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts at zero.
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// Nanoseconds since the start.
    pub fn now_ns(&self) -> u64 {
        nanos(self.origin.elapsed())
    }

    /// Milliseconds since the Unix epoch, by the system's calendar; 0 if that stands before the epoch.
    pub fn unix_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A duration in nanoseconds, at most `u64::MAX`.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_their_origin_and_time_never_goes_back() {
        let clock = Clock::start();
        let copy = clock;
        let first = clock.now_ns();
        let second = copy.now_ns();
        assert!(first <= second && second <= clock.now_ns());
    }
}
