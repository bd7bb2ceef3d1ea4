//! Moving averages: how much a minute, weighted exponentially over 1, 5 and 15 minutes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Over how many minutes the averages go.
pub(super) const MINUTES: [u32; 3] = [1, 5, 15];

/// The averages of one counter.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// The counter when it was seen last.
    last: AtomicU64,
    /// One for each of [`MINUTES`], as the bits of an `f64`.
    averages: [AtomicU64; MINUTES.len()],
}

impl Load {
    /// Takes in that the counter stands at `total`, so long after it was seen last. One thread at a time.
    pub(super) fn update(&self, total: u64, elapsed: Duration) {
        let elapsed = elapsed.as_secs_f64();
        let more = total.wrapping_sub(self.last.swap(total, Ordering::Relaxed));
        #[expect(
            clippy::cast_precision_loss,
            reason = "no counter moves by 2^53 in one interval"
        )]
        let per_minute = more as f64 * 60.0 / elapsed;
        for (average, minutes) in self.averages.iter().zip(MINUTES) {
            let kept = (-elapsed / (60.0 * f64::from(minutes))).exp();
            let before = f64::from_bits(average.load(Ordering::Relaxed));
            let after = per_minute + kept * (before - per_minute);
            average.store(after.to_bits(), Ordering::Relaxed);
        }
    }

    /// For each of [`MINUTES`], how much a minute.
    pub(super) fn averages(&self) -> impl Iterator<Item = f64> {
        self.averages
            .iter()
            .map(|average| f64::from_bits(average.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(load: &Load, expected: [f64; 3]) {
        for (average, expected) in load.averages().zip(expected) {
            assert!((average - expected).abs() < 0.01, "{average} is not {expected}");
        }
    }

    #[test]
    fn averages_rise_towards_a_steady_rate_and_fall_when_it_ends() {
        let load = Load::default();
        is(&load, [0.0; 3]);
        let step = Duration::from_secs(10);
        let mut total = 0;
        // 10 in 10 s are 60 a minute; after a minute 1 - 1/e of it, over 5 and 15 minutes less.
        for _ in 0..6 {
            total += 10;
            load.update(total, step);
        }
        is(&load, [37.93, 10.88, 3.87]);
        for _ in 0..6 {
            load.update(total, step);
        }
        is(&load, [13.95, 8.90, 3.62]);
    }

    #[test]
    fn an_interval_of_another_length_weighs_accordingly() {
        let (whole, halves) = (Load::default(), Load::default());
        whole.update(60, Duration::from_secs(60));
        halves.update(30, Duration::from_secs(30));
        halves.update(60, Duration::from_secs(30));
        let pairs = whole.averages().zip(halves.averages());
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-9));
    }
}
