//! The only place of these tests that reads a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest wait for something that must come. Reached by failures only, so it is generous.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// How long a change by the command line may take to reach connections (PROTOCOL 2.1, 7).
pub(crate) const CHANGE_MAX: Duration = Duration::from_secs(1);

/// A point on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(std::time::Instant);

impl Moment {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests of a running daemon measure real time"
    )]
    pub(crate) fn now() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now().0.saturating_duration_since(self.0)
    }
}

/// A point in time up to which something is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    begun: Moment,
    patience: Duration,
}

impl Deadline {
    /// `patience` from now.
    pub(crate) fn after(patience: Duration) -> Self {
        Self {
            begun: Moment::now(),
            patience,
        }
    }

    /// [`PATIENCE`] from now.
    pub(crate) fn patient() -> Self {
        Self::after(PATIENCE)
    }

    /// What is left of it; zero once it has passed.
    pub(crate) fn left(self) -> Duration {
        self.patience.saturating_sub(self.begun.elapsed())
    }

    /// Whether it has passed.
    pub(crate) fn passed(self) -> bool {
        self.left().is_zero()
    }
}

/// Tries until it holds: for what follows from the end of a connection, which its peer knows before the daemon.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Deadline::patient();
    while !holds() {
        assert!(!deadline.passed(), "not within {PATIENCE:?}: {what}");
    }
}

/// Milliseconds since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "expiry of services is set by the calendar"
)]
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// The time `unix_ms` as RFC 3339 writes it, in UTC.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    let nanos = i128::from(unix_ms) * 1_000_000;
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap();
    time.format(&time::format_description::well_known::Rfc3339)
        .unwrap()
}
