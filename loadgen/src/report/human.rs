//! The report as a table.

use std::io::{self, Write};

use super::{Faults, PartReport, Report};

/// Cores' worth of waiting above which a machine is called busy.
const BUSY_CORES: f64 = 0.03;

/// Generators whose measurements began further apart did not load the server together, seconds.
const APART_S_MAX: f64 = 0.1;

/// Writes the table.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let r = report;
    writeln!(
        out,
        "{}: {} connections, {:.1} s measured",
        r.scenario, r.connections, r.measured_s
    )?;
    if let Some(merged) = r.merged {
        writeln!(
            out,
            "  merged        {} reports, begun {:.3} s apart",
            merged.reports, merged.began_apart_s
        )?;
        if merged.began_apart_s > APART_S_MAX {
            writeln!(
                out,
                "  WARNING       they were not measured at the same time: --start-at"
            )?;
        }
    }
    if r.setup_s > 0.05 {
        writeln!(
            out,
            "  ready         {:>14.1} /s   {:>12.2} s for all",
            r.ready_per_s, r.setup_s
        )?;
    }
    writeln!(
        out,
        "  sent          {:>14.1} /s   {:>12} in all",
        r.sent_per_s, r.sent
    )?;
    writeln!(
        out,
        "  {:<13} {:>14.1} /s   {:>12} in all",
        plural(&r.unit),
        r.done_per_s,
        r.done
    )?;
    let l = r.latency_us;
    if l.count > 0 {
        writeln!(
            out,
            "  latency (us)  min {:.1}  mean {:.1}  max {:.1}",
            l.min, l.mean, l.max
        )?;
        writeln!(
            out,
            "                p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  p99.99 {:.1}",
            l.p50, l.p90, l.p99, l.p99_9, l.p99_99
        )?;
    }
    if let Some(window) = r.offered.window.filter(|_| l.count > 0) {
        writeln!(
            out,
            "  NOTE          closed loop, {window} in flight per sender: while the server stalls nothing is sent, so its\n                \
             stalls are all but absent from the percentiles (coordinated omission); --rate has them"
        )?;
    }
    if let Some(s) = r.server {
        write!(out, "  server CPU    {:.4} cores", s.cores_busy)?;
        if let (Some(unit), Some(send)) = (s.cpu_us_per_unit, s.cpu_us_per_sent) {
            write!(
                out,
                "  {unit:.3} us per {}  {send:.3} us per send  {:.0} % user",
                r.unit,
                s.user_share * 100.0
            )?;
        }
        writeln!(out, "{}", if s.precise { "" } else { "  (clock ticks)" })?;
        if s.cores_waited > BUSY_CORES {
            writeln!(
                out,
                "  NOTE          the server waited for its core: {:.2} cores' worth",
                s.cores_waited
            )?;
        }
        write!(
            out,
            "  server memory {} -> {} KiB, {:.0} bytes per connection",
            s.resident_before_bytes / 1024,
            s.resident_after_bytes / 1024,
            s.resident_bytes_per_connection
        )?;
        match s.resident_bytes_per_further_connection {
            Some(bytes) => writeln!(out, " ({bytes:.0} beyond the first 1,000)")?,
            None => writeln!(out)?,
        }
    }
    let percents = |of: &[f64]| {
        of.iter()
            .map(|p| format!("{p:.0} %"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (ran, waited) = (
        percents(&r.generator.thread_cpu_percent),
        percents(&r.generator.thread_wait_percent),
    );
    write!(
        out,
        "  generator     {ran} of a core per thread (ready but kept waiting {waited})"
    )?;
    match r.generator.cpu_us_per_unit {
        Some(us) => writeln!(out, ", {us:.3} us per {}", r.unit)?,
        None => writeln!(out)?,
    }
    if r.generator.limited {
        writeln!(
            out,
            "  WARNING       the generator, not the server, was the limit: it came to {:.1} % of the sends over 1 ms late,\n                \
             and its threads ran or waited to run {} of the time",
            r.generator.late_percent,
            busy(r)
        )?;
    }
    for part in &r.parts {
        write_part(part, out)?;
    }
    let f = &r.faults;
    write_faults(f, r.clean, out)?;
    if f.stalls > 0 {
        writeln!(
            out,
            "  stalls        {} times a sender had no progress for 5 s",
            f.stalls
        )?;
    }
    Ok(())
}

/// How much of the time each load thread ran or waited to run.
fn busy(report: &Report) -> String {
    let generator = &report.generator;
    let of_all = generator
        .thread_cpu_percent
        .iter()
        .zip(&generator.thread_wait_percent);
    let of_all: Vec<_> = of_all
        .map(|(ran, waited)| format!("{:.0} %", ran + waited))
        .collect();
    of_all.join(", ")
}

fn write_part(part: &PartReport, out: &mut impl Write) -> io::Result<()> {
    let l = part.latency_us;
    writeln!(
        out,
        "  {}: {} connections, {:.1} sends/s planned, {} in all; {:.1} {}/s",
        part.name,
        part.connections,
        part.rate_per_s,
        part.sent_in_all,
        part.done_per_s,
        plural(&part.unit)
    )?;
    writeln!(
        out,
        "    latency (us) p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1}",
        l.p50, l.p90, l.p99, l.p99_9, l.max
    )?;
    write_faults(&part.faults, part.clean, out)
}

fn write_faults(f: &Faults, clean: bool, out: &mut impl Write) -> io::Result<()> {
    if clean {
        return writeln!(out, "  faults        none");
    }
    writeln!(
        out,
        "  FAULTS        lost {}  doubled {}  misordered {}  wrong {}  unsent {}  unacknowledged {}",
        f.lost, f.doubled, f.misordered, f.wrong, f.unsent, f.unacknowledged
    )?;
    for (what, count) in &f.failed {
        writeln!(out, "                {count} x {what}")?;
    }
    Ok(())
}

fn plural(unit: &str) -> String {
    match unit.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{unit}s"),
    }
}
