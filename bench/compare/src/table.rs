//! The comparison as a table.

use std::io::{self, Write};

use serde_json::Value;

use crate::rows::{Counts, Kind, Row, Target};
use crate::stats::{MEMORY, Metric, READINESS, Spread, TAIL, WORK};

/// The rounds of one contestant; `None` where a round failed.
#[derive(Debug)]
pub(crate) struct Rounds {
    /// Its name.
    pub(crate) label: &'static str,
    /// Its program.
    pub(crate) kind: Kind,
    /// The load generator's reports.
    pub(crate) reports: Vec<Option<Value>>,
}

/// Cores' worth of time a server may be kept waiting for its core before a round is called disturbed.
const BUSY_CORES: f64 = 0.03;

/// The metrics of a row.
pub(crate) fn metrics(row: &Row) -> &'static [Metric] {
    match row.counts {
        Counts::Work => WORK,
        Counts::Memory => MEMORY,
        Counts::Readiness => READINESS,
        Counts::Tail => TAIL,
    }
}

/// Writes one row: medians (min–max), then Nexus divided by the others.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(row: &Row, contestants: &[Rounds], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\n{}  {}", row.name, row.title)?;
    let metrics = metrics(row);
    write!(out, "  {:<32}", "median (min-max)")?;
    for metric in metrics {
        write!(out, " {:>30}", metric.name)?;
    }
    writeln!(out)?;
    for contestant in contestants {
        let spreads = metrics
            .iter()
            .map(|metric| (metric.spread(&contestant.reports), metric.digits));
        line(out, contestant.label, spreads)?;
        let note = notes(&contestant.reports);
        if !note.is_empty() {
            writeln!(out, "  {:<32}   {note}", "")?;
        }
    }
    for ours in contestants.iter().filter(|c| c.kind == Kind::Nexus) {
        for other in contestants.iter().filter(|c| c.kind != Kind::Nexus) {
            let name = format!("{} / {}", ours.label, other.label);
            let ratios = metrics
                .iter()
                .map(|metric| (metric.ratio(&ours.reports, &other.reports), 3));
            line(out, &name, ratios)?;
        }
    }
    for target in row.targets {
        let sentence = verdict(row, target, contestants);
        writeln!(out, "  target: {sentence}")?;
    }
    Ok(())
}

/// The figure that a target is about; `None` if it was not measured.
pub(crate) fn figure(row: &Row, target: &Target, contestants: &[Rounds]) -> Option<Spread> {
    let of = |label: &str| contestants.iter().find(|c| c.label == label);
    let metric = metrics(row).iter().find(|metric| metric.name == target.metric)?;
    let ours = of(target.of)?;
    match target.against {
        Some(other) => metric.ratio(&ours.reports, &of(other)?.reports),
        None => metric.spread(&ours.reports),
    }
}

/// Whether a target was met, in words.
pub(crate) fn verdict(row: &Row, target: &Target, contestants: &[Rounds]) -> String {
    let Target { of, metric, most, .. } = *target;
    let wanted = match target.against {
        Some(other) => format!("{of}, {metric}, at most {most} of {other}'s"),
        None => format!("{of}, {metric}, at most {most}"),
    };
    match figure(row, target, contestants) {
        None => format!("{wanted}: not measured"),
        Some(found) => {
            let word = if found.median <= most { "met" } else { "missed" };
            format!(
                "{wanted}: {word}, {:.3} ({:.3}-{:.3})",
                found.median, found.min, found.max
            )
        }
    }
}

fn line(
    out: &mut impl Write,
    name: &str,
    spreads: impl Iterator<Item = (Option<Spread>, usize)>,
) -> io::Result<()> {
    write!(out, "  {name:<32}")?;
    for (spread, digits) in spreads {
        let text = spread.map_or_else(
            || "-".to_owned(),
            |s| format!("{:.digits$} ({:.digits$}-{:.digits$})", s.median, s.min, s.max),
        );
        write!(out, " {text:>30}")?;
    }
    writeln!(out)
}

/// What makes a contestant's figures doubtful.
fn notes(reports: &[Option<Value>]) -> String {
    let count = |test: &dyn Fn(&Value) -> bool| reports.iter().flatten().filter(|r| test(r)).count();
    let is = |report: &Value, path: &str, value: bool| report.pointer(path) == Some(&Value::Bool(value));
    let failed = reports.iter().filter(|report| report.is_none()).count();
    let unclean = count(&|report| is(report, "/clean", false));
    let limited = count(&|report| is(report, "/generator/limited", true));
    let above = |report: &Value, path: &str, most: f64| {
        report
            .pointer(path)
            .and_then(Value::as_f64)
            .is_some_and(|value| value > most)
    };
    let busy = count(&|report| above(report, "/server/cores_waited", BUSY_CORES));
    let mut notes = Vec::new();
    for (rounds, what) in [
        (failed, "failed"),
        (unclean, "had faults"),
        (limited, "were limited by the load generator"),
        (busy, "shared the server's core with other work"),
    ] {
        if rounds > 0 {
            notes.push(format!("{rounds} of {} rounds {what}", reports.len()));
        }
    }
    notes.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::ROWS;
    use serde_json::json;

    #[test]
    fn a_row_shows_medians_ratios_and_doubts() {
        let report = |cpu: f64, limited: bool| {
            Some(json!({
                "done_per_s": 100.0, "clean": true, "generator": { "limited": limited },
                "latency_us": { "p50": 1.0, "p99": 2.0 }, "server": { "cpu_us_per_unit": cpu, "cores_waited": cpu / 100.0 }
            }))
        };
        let contestants = [
            Rounds {
                label: "mosquitto",
                kind: Kind::Mosquitto,
                reports: vec![report(10.0, false), None],
            },
            Rounds {
                label: "nexus",
                kind: Kind::Nexus,
                reports: vec![report(5.0, true), report(6.0, false)],
            },
        ];
        let mut out = Vec::new();
        write(&ROWS[0], &contestants, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("5.500 (5.000-6.000)"), "{text}");
        assert!(
            text.contains("nexus / mosquitto") && text.contains("0.500 (0.500-0.500)"),
            "{text}"
        );
        assert!(
            text.contains("1 of 2 rounds failed")
                && text.contains("1 of 2 rounds were limited")
                && text.contains("2 of 2 rounds shared"),
            "{text}"
        );
    }
}
