//! Time as the core sees it: values that come in as arguments, never a clock that is read.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the shard's monotonic clock: nanoseconds since an arbitrary start, the same for all shards of
/// one daemon. 584 years fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The point `nanos` nanoseconds after the clock's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

/// A point in time, or none, in the eight bytes of a point. The last nanosecond of the clock stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaybeInstant(u64);

impl MaybeInstant {
    /// None.
    pub const NONE: Self = Self(u64::MAX);

    /// A point in time.
    pub const fn at(instant: Instant) -> Self {
        Self(instant.0)
    }

    /// The point in time, if it is one.
    pub const fn get(self) -> Option<Instant> {
        if self.0 == Self::NONE.0 {
            None
        } else {
            Some(Instant(self.0))
        }
    }
}

/// Both clocks as they stood when the current turn began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For every duration and deadline.
    pub instant: Instant,
    /// Milliseconds since the Unix epoch; for what people set by the calendar (the expiry of a service).
    pub unix_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let late = Instant::from_nanos(u64::MAX);
        assert_eq!(late + Duration::from_secs(1), late);
        assert_eq!(Instant::default() - late, Duration::ZERO);
    }

    #[test]
    fn none_is_no_point_in_time() {
        assert_eq!(MaybeInstant::NONE.get(), None);
        for instant in [Instant::default(), Instant::from_nanos(7)] {
            assert_eq!(MaybeInstant::at(instant).get(), Some(instant));
        }
        assert_eq!(size_of::<MaybeInstant>(), 8);
    }
}
