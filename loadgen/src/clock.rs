//! The clocks of the load generator. Everything that reads or waits for time does so here.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds in one second.
pub const SECOND_NS: u64 = 1_000_000_000;

#[expect(
    clippy::disallowed_methods,
    reason = "a load generator measures time; this is its one clock"
)]
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds on the monotonic clock since the process first asked; never 0, so that 0 can mean "unset".
pub fn now_ns() -> u64 {
    duration_ns(ORIGIN.elapsed()).saturating_add(1)
}

/// `duration` in nanoseconds, at most `u64::MAX`.
pub fn duration_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "names a run and dates its report")]
pub fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, duration_ns)
}

/// CPU time of the calling thread in nanoseconds, user and system together.
pub fn thread_cpu_ns() -> u64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(spent.tv_sec).unwrap_or(0).saturating_mul(SECOND_NS)
        + u64::try_from(spent.tv_nsec).unwrap_or(0)
}

/// Blocks the calling thread until the clock shows `deadline_ns`.
#[expect(
    clippy::disallowed_methods,
    reason = "the reporting thread waits for the next second"
)]
pub fn sleep_until(deadline_ns: u64) {
    let left = deadline_ns.saturating_sub(now_ns());
    if left > 0 {
        std::thread::sleep(Duration::from_nanos(left));
    }
}

/// Days since the Unix epoch as `YYYY-MM-DD` (proleptic Gregorian calendar, UTC).
pub fn date_utc(unix_ns: u64) -> String {
    // Civil-from-days over 400-year eras that start on 1 March, so that the leap day is the last of its year.
    let days = unix_ns / (SECOND_NS * 86_400) + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_gregorian_calendar() {
        for (days, date) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_454, "2026-01-01"),
        ] {
            assert_eq!(date_utc(days * 86_400 * SECOND_NS), date);
        }
    }

    #[test]
    fn the_monotonic_clock_never_shows_zero() {
        assert!(now_ns() > 0);
    }
}
