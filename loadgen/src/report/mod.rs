//! What a run found: one structure, written as JSON, as a table, as an `.hgrm` and as a picture.

pub mod hgrm;
pub mod human;
pub mod merge;
pub mod plot;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::args::Files;
use crate::scenario::{Load, Part, Tally};

/// A run's results. Units are in the names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Scenario name.
    pub scenario: String,
    /// Date of the run, UTC.
    pub date: String,
    /// When the measurement began, Unix time, seconds.
    pub began_unix_s: f64,
    /// Of what it was put together; none for a run of one generator.
    pub merged: Option<Merged>,
    /// The command line.
    pub command: Vec<String>,
    /// How sends were timed, and so what the latency means.
    pub offered: Offered,
    /// Connections of the run; attempts in flight for `connect`.
    pub connections: u64,
    /// From the first connection's opening to the last one being ready, seconds; of `connect`, which opens none
    /// before the measurement, next to nothing.
    pub setup_s: f64,
    /// Connections that became ready per second of that.
    pub ready_per_s: f64,
    /// Length of the measurement, seconds.
    pub measured_s: f64,
    /// What one `done` is.
    pub unit: String,
    /// Sends within the measurement.
    pub sent: u64,
    /// Units of work done within the measurement.
    pub done: u64,
    /// Sends per second.
    pub sent_per_s: f64,
    /// Units of work per second.
    pub done_per_s: f64,
    /// From the planned send to the arrival.
    pub latency_us: LatencyUs,
    /// The same, every latency there was.
    pub latency_ns: Counts,
    /// What went wrong, over the whole run, warm-up included.
    pub faults: Faults,
    /// No fault at all.
    pub clean: bool,
    /// The parts of a mixed load, which the figures above are the sum of.
    pub parts: Vec<PartReport>,
    /// The server's cost, where its process id was given.
    pub server: Option<ServerCost>,
    /// The generator's own cost.
    pub generator: Generator,
}

/// How sends were timed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offered {
    /// Open loop: sends per second over all senders, planned whatever the server does.
    pub rate_per_s: Option<f64>,
    /// Closed loop: messages in flight per sender. While the server stalls nothing is sent, so that a stall counts
    /// once for each sender instead of for each message it would have met (coordinated omission).
    pub window: Option<u64>,
}

impl Offered {
    /// Of a load.
    pub fn of(load: Load) -> Self {
        match load {
            Load::Open { rate_hz } => Self {
                rate_per_s: Some(rate_hz),
                window: None,
            },
            Load::Closed { window } => Self {
                rate_per_s: None,
                window: Some(window),
            },
        }
    }
}

/// Microseconds from the planned send to the arrival.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "percentiles by their usual names")]
pub struct LatencyUs {
    pub count: u64,
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub p99_99: f64,
    pub max: f64,
}

impl LatencyUs {
    /// Of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile: f64| us(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            min: us(histogram.min()),
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: us(histogram.max()),
        }
    }
}

/// Reports that were merged.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Merged {
    /// How many.
    pub reports: u64,
    /// Between the first's and the last's begin of the measurement, seconds.
    pub began_apart_s: f64,
}

/// A histogram as text: `value:count` for each value there was, in nanoseconds to three digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(String);

impl Counts {
    /// Of a histogram.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let values = histogram.iter_recorded();
        let values = values.map(|step| format!("{}:{}", step.value_iterated_to(), step.count_at_value()));
        Self(values.collect::<Vec<_>>().join(" "))
    }

    /// Adds its values to a histogram.
    ///
    /// # Errors
    /// A sentence, for what is not of that form.
    pub fn add_to(&self, histogram: &mut Histogram<u64>) -> Result<(), String> {
        for pair in self.0.split_ascii_whitespace() {
            let parsed = pair
                .split_once(':')
                .and_then(|(value, count)| Some((value.parse().ok()?, count.parse().ok()?)));
            let (value, count) = parsed.ok_or_else(|| format!("{pair} is not value:count"))?;
            histogram.saturating_record_n(value, count);
        }
        Ok(())
    }
}

/// Writes a report: as a table to `out`, and to the files that are named.
///
/// # Errors
/// A sentence with what cannot be written.
pub fn write(
    report: &Report,
    title: &str,
    latency: &Histogram<u64>,
    files: &Files,
    out: &mut impl Write,
) -> Result<(), String> {
    let to_file = |path: &Option<PathBuf>, write: &dyn Fn(&mut BufWriter<File>) -> io::Result<()>| {
        let Some(path) = path else {
            return Ok(());
        };
        let written = File::create(path).and_then(|file| {
            let mut file = BufWriter::new(file);
            write(&mut file)?;
            file.flush()
        });
        written.map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    human::write(report, out).map_err(|error| format!("cannot write the report: {error}"))?;
    to_file(&files.json, &|file| {
        serde_json::to_writer_pretty(file, report).map_err(io::Error::other)
    })?;
    to_file(&files.hgrm, &|file| hgrm::write(latency, file))?;
    to_file(&files.svg, &|file| plot::write(title, latency, file))
}

/// Nanoseconds as microseconds.
pub fn us(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// Nanoseconds of CPU time as microseconds for each of `count`; none where that is 0.
pub fn us_each(ns: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| us(ns) / count as f64)
}

/// See [`crate::scenario::Tally`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of Tally")]
pub struct Faults {
    pub lost: u64,
    pub doubled: u64,
    pub misordered: u64,
    pub wrong: u64,
    pub unsent: u64,
    pub unacknowledged: u64,
    pub stalls: u64,
    pub failed: BTreeMap<String, u64>,
}

impl Faults {
    /// Those of a tally.
    pub fn of(tally: &Tally) -> Self {
        Self {
            lost: tally.lost,
            doubled: tally.doubled,
            misordered: tally.misordered,
            wrong: tally.wrong,
            unsent: tally.unsent,
            unacknowledged: tally.unacknowledged,
            stalls: tally.stalls,
            failed: tally.failed.clone(),
        }
    }
}

/// One part of a mixed load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartReport {
    /// What it is called.
    pub name: String,
    /// Its connections.
    pub connections: u64,
    /// Sends per second that were planned.
    pub rate_per_s: f64,
    /// What one arrival is.
    pub unit: String,
    /// Sends over the whole run.
    pub sent_in_all: u64,
    /// Arrivals per second of what was planned within the measurement.
    pub done_per_s: f64,
    /// From the planned send to the arrival.
    pub latency_us: LatencyUs,
    /// The same, every latency there was.
    pub latency_ns: Counts,
    /// What went wrong, over the whole run.
    pub faults: Faults,
    /// No fault at all.
    pub clean: bool,
}

impl PartReport {
    /// Of a part that was measured for so long.
    pub fn of(part: &Part, wall_ns: u64) -> Self {
        let tally = &part.tally;
        Self {
            name: part.name.clone(),
            connections: part.connections,
            rate_per_s: part.rate_hz,
            unit: tally.unit.into(),
            sent_in_all: tally.sent,
            done_per_s: tally.latency.len() as f64 * 1e9 / wall_ns.max(1) as f64,
            latency_us: LatencyUs::of(&tally.latency),
            latency_ns: Counts::of(&tally.latency),
            faults: Faults::of(tally),
            clean: tally.clean(),
        }
    }
}

/// CPU time and memory of the server process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ServerCost {
    /// CPU microseconds, user and system, per unit of work; none where no work was done.
    pub cpu_us_per_unit: Option<f64>,
    /// CPU microseconds per send.
    pub cpu_us_per_sent: Option<f64>,
    /// CPU microseconds, user and system, per connection from before the first one to the start of the measurement.
    pub cpu_us_per_connection: Option<f64>,
    /// Cores kept busy.
    pub cores_busy: f64,
    /// Share of user time.
    pub user_share: f64,
    /// Cores' worth of time its threads were ready to run and others had the core: above a few hundredths the
    /// machine was not quiet.
    pub cores_waited: f64,
    /// True if taken from the scheduler's nanoseconds, false if from clock ticks.
    pub precise: bool,
    /// VmRSS before the first connection, bytes.
    pub resident_before_bytes: u64,
    /// VmRSS at the end of the measurement, bytes.
    pub resident_after_bytes: u64,
    /// Growth of VmRSS from before the first connection to the start of the measurement, per connection.
    pub resident_bytes_per_connection: f64,
    /// The same from the 1,000th connection on, where there were more: without what is allocated once.
    pub resident_bytes_per_further_connection: Option<f64>,
}

/// The generator's own cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Generator {
    /// CPU use of each load thread within the measurement, percent of a core.
    pub thread_cpu_percent: Vec<f64>,
    /// CPU microseconds of all load threads per unit of work; none where no work was done.
    pub cpu_us_per_unit: Option<f64>,
    /// How long each load thread was ready to run and others had the core, percent.
    pub thread_wait_percent: Vec<f64>,
    /// Open loop: sends that the generator came to more than a millisecond after their planned time, percent. No server
    /// has a part in that: planned times wait for none.
    pub late_percent: f64,
    /// A load thread ran or waited to run all the time, or over 1 % of the sends were late: the figures are the
    /// generator's, not the server's.
    pub limited: bool,
}
