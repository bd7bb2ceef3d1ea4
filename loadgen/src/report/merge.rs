//! Several generators' reports as one.
//!
//! Latencies are exact: each report has every one of them. Rates and counts add up, if the measurements were at the same time.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Counts, Faults, LatencyUs, Merged, Offered, PartReport, Report, write};
use crate::args::Files;
use crate::scenario::Tally;

/// Merges the reports in `paths`, writes the result; the result itself.
///
/// # Errors
/// A sentence: a file that is no report, or reports that do not belong together.
pub fn merge(paths: &[PathBuf], files: &Files, out: &mut impl Write) -> Result<Report, String> {
    let mut reports = Vec::new();
    for path in paths {
        reports.push(read(path)?);
    }
    let report = of(&reports)?;
    let title = format!("{}, {} generators", report.scenario, reports.len());
    let mut latency = Tally::new("")?.latency;
    report.latency_ns.add_to(&mut latency)?;
    write(&report, &title, &latency, files, out)?;
    Ok(report)
}

fn read(path: &Path) -> Result<Report, String> {
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| said(&error))?;
    serde_json::from_str(&text).map_err(|error| said(&format!("no report of nexus-loadgen: {error}")))
}

/// What several reports say together.
///
/// # Errors
/// A sentence, for reports that do not belong together.
pub fn of(reports: &[Report]) -> Result<Report, String> {
    let (first, others) = reports.split_first().ok_or("no reports")?;
    let other = others
        .iter()
        .find(|other| (&other.scenario, &other.unit) != (&first.scenario, &first.unit));
    if let Some(other) = other {
        return Err(format!(
            "{} and {} are not one load",
            first.scenario, other.scenario
        ));
    }
    let mut all = first.clone();
    all.command = vec!["nexus-loadgen".into(), "merge".into()];
    for other in others {
        add(&mut all, other)?;
    }
    let last = reports
        .iter()
        .map(|report| report.began_unix_s)
        .fold(0.0, f64::max);
    all.merged = Some(Merged {
        reports: reports.len() as u64,
        began_apart_s: last - all.began_unix_s,
    });
    all.ready_per_s = all.connections as f64 / all.setup_s.max(1e-9);
    Ok(all)
}

fn add(all: &mut Report, other: &Report) -> Result<(), String> {
    let done_before = all.done;
    all.began_unix_s = all.began_unix_s.min(other.began_unix_s);
    all.connections += other.connections;
    all.setup_s = all.setup_s.max(other.setup_s);
    all.measured_s = all.measured_s.max(other.measured_s);
    all.offered = Offered {
        rate_per_s: sum(all.offered.rate_per_s, other.offered.rate_per_s),
        window: all.offered.window.or(other.offered.window),
    };
    let sent_before = all.sent;
    all.sent += other.sent;
    all.done += other.done;
    all.sent_per_s += other.sent_per_s;
    all.done_per_s += other.done_per_s;
    (all.latency_ns, all.latency_us) = latencies(&all.latency_ns, &other.latency_ns)?;
    add_faults(&mut all.faults, &other.faults);
    all.clean &= other.clean;
    add_parts(&mut all.parts, &other.parts)?;
    let generator = &mut all.generator;
    let theirs = &other.generator;
    generator.thread_cpu_percent.extend(&theirs.thread_cpu_percent);
    generator.thread_wait_percent.extend(&theirs.thread_wait_percent);
    generator.cpu_us_per_unit = weighted(
        (generator.cpu_us_per_unit, done_before),
        (theirs.cpu_us_per_unit, other.done),
    );
    let late = weighted(
        (Some(generator.late_percent), sent_before),
        (Some(theirs.late_percent), other.sent),
    );
    generator.late_percent = late.unwrap_or(0.0);
    generator.limited |= theirs.limited;
    // Two that watched the server saw the same one: its use of cores is the first's, for the work of all.
    all.server = all.server.or(other.server);
    if let Some(server) = &mut all.server {
        let used_us = server.cores_busy * all.measured_s * 1e6;
        let each = |count: u64| (count > 0).then(|| used_us / count as f64);
        server.cpu_us_per_unit = each(all.done);
        server.cpu_us_per_sent = each(all.sent);
    }
    Ok(())
}

fn sum(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? + other?)
}

/// The mean of two values, each for so many.
fn weighted(one: (Option<f64>, u64), other: (Option<f64>, u64)) -> Option<f64> {
    match (one.0, other.0) {
        (Some(a), Some(b)) if one.1 + other.1 > 0 => {
            Some((a * one.1 as f64 + b * other.1 as f64) / (one.1 + other.1) as f64)
        }
        (a, b) => a.or(b),
    }
}

fn latencies(one: &Counts, other: &Counts) -> Result<(Counts, LatencyUs), String> {
    let mut histogram = Tally::new("")?.latency;
    one.add_to(&mut histogram)?;
    other.add_to(&mut histogram)?;
    Ok((Counts::of(&histogram), LatencyUs::of(&histogram)))
}

fn add_faults(all: &mut Faults, other: &Faults) {
    all.lost += other.lost;
    all.doubled += other.doubled;
    all.misordered += other.misordered;
    all.wrong += other.wrong;
    all.unsent += other.unsent;
    all.unacknowledged += other.unacknowledged;
    all.stalls += other.stalls;
    for (what, count) in &other.failed {
        *all.failed.entry(what.clone()).or_default() += count;
    }
}

/// Parts of the same name are one.
fn add_parts(all: &mut Vec<PartReport>, others: &[PartReport]) -> Result<(), String> {
    let places = all
        .iter()
        .enumerate()
        .map(|(place, part)| (part.name.clone(), place));
    let places: BTreeMap<_, _> = places.collect();
    for other in others {
        let Some(part) = places.get(&other.name).and_then(|place| all.get_mut(*place)) else {
            all.push(other.clone());
            continue;
        };
        part.connections += other.connections;
        part.rate_per_s += other.rate_per_s;
        part.sent_in_all += other.sent_in_all;
        part.done_per_s += other.done_per_s;
        (part.latency_ns, part.latency_us) = latencies(&part.latency_ns, &other.latency_ns)?;
        add_faults(&mut part.faults, &other.faults);
        part.clean &= other.clean;
    }
    Ok(())
}
