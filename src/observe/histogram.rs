//! How long things took, in fixed buckets.

use std::fmt::Write;
use std::time::Duration;

use super::Counter;
use super::exposition::head;

/// Upper bounds of the buckets: microseconds, and the same in seconds as a label.
const BUCKETS: [(u64, &str); 16] = [
    (25, "0.000025"),
    (50, "0.00005"),
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (1_000_000, "1"),
    (5_000_000, "5"),
    (30_000_000, "30"),
];

/// A histogram with one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Histogram {
    /// How many took no longer than each bound, but longer than the one before.
    buckets: [Counter; BUCKETS.len()],
    count: Counter,
    sum_us: Counter,
}

impl Histogram {
    /// Counts something that took so long. Only the owner calls this.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.count.increment();
        self.sum_us.add(us);
        let place = BUCKETS.iter().position(|(bound, _)| us <= *bound);
        if let Some(bucket) = place.and_then(|place| self.buckets.get(place)) {
            bucket.increment();
        }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count.get()
    }
}

/// Appends the sum of several histograms as one metric, in seconds.
pub fn render<'a>(
    text: &mut String,
    name: &str,
    help: &str,
    all: impl Iterator<Item = &'a Histogram> + Clone,
) {
    head(text, name, "histogram", help);
    let sum = |value: &dyn Fn(&Histogram) -> u64| all.clone().map(value).sum::<u64>();
    let mut below = 0;
    for (place, (_, bound)) in BUCKETS.iter().enumerate() {
        below += sum(&|histogram| histogram.buckets.get(place).map_or(0, Counter::get));
        let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {below}");
    }
    let (us, count) = (sum(&|h| h.sum_us.get()), sum(&Histogram::count));
    let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}");
    let _ = writeln!(text, "{name}_sum {}.{:06}", us / 1_000_000, us % 1_000_000);
    let _ = writeln!(text, "{name}_count {count}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_added_up() {
        let (one, two) = (Histogram::default(), Histogram::default());
        one.record(Duration::from_micros(25));
        one.record(Duration::from_micros(26));
        two.record(Duration::from_secs(60));
        let mut text = String::new();
        render(&mut text, "x_seconds", "How long.", [&one, &two].into_iter());
        for line in [
            "# TYPE x_seconds histogram",
            "x_seconds_bucket{le=\"0.000025\"} 1",
            "x_seconds_bucket{le=\"0.00005\"} 2",
            "x_seconds_bucket{le=\"30\"} 2",
            "x_seconds_bucket{le=\"+Inf\"} 3",
            "x_seconds_sum 60.000051",
            "x_seconds_count 3",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }
}
