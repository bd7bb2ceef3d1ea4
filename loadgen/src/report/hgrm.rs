//! HdrHistogram's percentile distribution text (`.hgrm`), values in microseconds.

use std::io::{self, Write};

use hdrhistogram::Histogram;

use super::us;

/// Steps per halving of the distance to 100 %, as HdrHistogram's own tools write.
const TICKS_PER_HALF: u32 = 5;

/// Writes the distribution of a histogram of nanoseconds.
///
/// # Errors
/// Those of `out`.
pub fn write(histogram: &Histogram<u64>, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        write!(
            out,
            "{:>12.3} {:>14.12} {:>10}",
            us(step.value_iterated_to()),
            quantile,
            total
        )?;
        if quantile < 1.0 {
            writeln!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(out)?;
        }
    }
    let (mean, deviation) = (histogram.mean() / 1e3, histogram.stdev() / 1e3);
    writeln!(
        out,
        "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]"
    )?;
    writeln!(
        out,
        "#[Max     = {:>12.3}, Total count    = {:>12}]",
        us(histogram.max()),
        histogram.len()
    )?;
    writeln!(
        out,
        "#[Buckets = {:>12}, SubBuckets     = {:>12}]",
        histogram.buckets(),
        2_048
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_the_distribution_holds_every_value() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for value in 1..=10_000 {
            histogram.record(value * 1_000).unwrap();
        }
        let mut out = Vec::new();
        write(&histogram, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let last = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
        assert!(
            last.contains("1.000000000000") && last.ends_with(" 10000"),
            "{last}"
        );
        assert!(text.contains("Total count    =        10000"));
    }
}
