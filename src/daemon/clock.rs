//! The clocks of the daemon's side threads (control, HTTP, command line). Shards have their own.
//!
//! Nothing else in the daemon reads a clock: everybody is given the time.

use std::time::{Duration, Instant as Monotonic, SystemTime, UNIX_EPOCH};

use crate::time::{Instant, Now};

/// A monotonic clock and the wall clock, read together.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Monotonic,
}

impl Clock {
    /// A clock whose monotonic time begins here.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self {
            origin: Monotonic::now(),
        }
    }

    /// Both clocks as they stand.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Now {
        let elapsed = Monotonic::now().saturating_duration_since(self.origin);
        Now {
            instant: Instant::default() + elapsed,
            unix_ms: unix_ms(),
        }
    }
}

/// Milliseconds since the Unix epoch; 0 before it.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards() {
        let clock = Clock::start();
        let (first, second) = (clock.now(), clock.now());
        assert!(first.instant <= second.instant);
        assert!(first.unix_ms > 1_600_000_000_000);
    }
}
