//! The latency percentiles as an SVG: percentile on a logarithmic axis of nines, latency on a logarithmic axis.

use std::io::{self, Write};

use hdrhistogram::Histogram;

use super::us;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 60.0;
/// The axis ends at six nines.
const NINES_MAX: f64 = 6.0;

/// Draws the distribution of a histogram of nanoseconds.
///
/// # Errors
/// Those of `out`.
pub fn write(title: &str, histogram: &Histogram<u64>, out: &mut impl Write) -> io::Result<()> {
    let low = us(histogram.min().max(1)).log10().floor();
    let high = us(histogram.max().max(1)).log10().ceil().max(low + 1.0);
    let x = |nines: f64| MARGIN + nines / NINES_MAX * (WIDTH - 2.0 * MARGIN);
    let y = |us: f64| {
        let part = (us.max(1e-3).log10() - low) / (high - low);
        HEIGHT - MARGIN - part * (HEIGHT - 2.0 * MARGIN)
    };
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">"#
    )?;
    writeln!(out, r#"<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"#)?;
    writeln!(
        out,
        r#"<text x="{MARGIN}" y="30" font-size="15">{}</text>"#,
        escape(title)
    )?;
    for (nines, label) in ["0", "90", "99", "99.9", "99.99", "99.999", "99.9999"]
        .iter()
        .enumerate()
    {
        let at = x(nines as f64);
        let (top, bottom) = (MARGIN, HEIGHT - MARGIN);
        writeln!(
            out,
            r##"<line x1="{at:.1}" y1="{top}" x2="{at:.1}" y2="{bottom}" stroke="#ddd"/>"##
        )?;
        writeln!(
            out,
            r#"<text x="{at:.1}" y="{:.1}" text-anchor="middle">{label} %</text>"#,
            bottom + 18.0
        )?;
    }
    let mut decade = low;
    while decade <= high {
        let at = y(10f64.powf(decade));
        let (left, right) = (MARGIN, WIDTH - MARGIN);
        writeln!(
            out,
            r##"<line x1="{left}" y1="{at:.1}" x2="{right}" y2="{at:.1}" stroke="#ddd"/>"##
        )?;
        let label = duration(10f64.powf(decade));
        writeln!(
            out,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{label}</text>"#,
            left - 6.0,
            at + 4.0
        )?;
        decade += 1.0;
    }
    let mut points = String::new();
    for step in histogram.iter_quantiles(20) {
        let quantile = step.quantile_iterated_to();
        let nines = if quantile < 1.0 {
            -(1.0 - quantile).log10()
        } else {
            NINES_MAX
        };
        points.push_str(&format!(
            "{:.1},{:.1} ",
            x(nines.min(NINES_MAX)),
            y(us(step.value_iterated_to()))
        ));
    }
    writeln!(
        out,
        r##"<polyline points="{points}" fill="none" stroke="#1f5fa8" stroke-width="2"/>"##
    )?;
    writeln!(out, "</svg>")
}

fn duration(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us} us"),
        us if us < 1e6 => format!("{} ms", us / 1e3),
        us => format!("{} s", us / 1e6),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_rises_from_the_minimum_to_the_maximum() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for value in 1..=1_000 {
            histogram.record(value * 10_000).unwrap();
        }
        let mut out = Vec::new();
        write("a < b", &histogram, &mut out).unwrap();
        let svg = String::from_utf8(out).unwrap();
        assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let heights: Vec<f64> = points
            .split_whitespace()
            .map(|p| p.split_once(',').unwrap().1.parse().unwrap())
            .collect();
        assert!(heights.len() > 20 && heights.windows(2).all(|pair| pair[1] <= pair[0]));
    }
}
