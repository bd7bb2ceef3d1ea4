//! One run from its command line to its report.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::Ordering;

use crate::args::{Common, FilterKind, ScenarioArgs};
use crate::clock::{SECOND_NS, date_utc, now_ns, sleep_until, unix_ns};
use crate::engine::{
    self, Endpoint, Plan, Scenario, Schedule, Shared, Sources, Target, ThreadReport, wait_ready,
};
use crate::report::{
    self, Counts, Faults, Generator, LatencyUs, Offered, PartReport, Report, ServerCost, us_each,
};
use crate::scenario::Tally;
use crate::scenario::api::{Api, Parties};
use crate::scenario::connect::Storm;
use crate::scenario::flow::{Flow, Kind, Shape};
use crate::scenario::idle::Idle;
use crate::scenario::mixed::{Mixed, Outline};
use crate::server::Reading;

/// Above this share of a core a load thread counts as the limit, percent.
const LIMITED_PERCENT: f64 = 95.0;
/// Above this share of sends that the generator itself came to late, it was the limit, percent: the 99th percentile
/// would have that in it.
const LATE_PERCENT: f64 = 1.0;
/// Source addresses where a scenario opens more connections than one address has ports.
const SOURCES_MANY: u32 = 100;
/// Connections that one source address surely has ports for, also if it lately had as many.
const CONNECTIONS_OF_A_SOURCE: usize = 10_000;
/// The connection from which on further memory is counted.
const FURTHER_FROM: u64 = 1_000;

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What is asked for cannot be.
    Usage(String),
    /// It went wrong.
    Run(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Run(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Fault {}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self::Run(text)
    }
}

/// Runs the scenario, writes its reports; the report itself.
///
/// # Errors
/// A sentence: what, and why.
pub fn execute(scenario: &ScenarioArgs, out: &mut impl Write) -> Result<Report, Fault> {
    raise_file_limit();
    let common = scenario.common();
    let run = u32::try_from((unix_ns() / 1_000) & 0xffff_ffff).unwrap_or(1) ^ std::process::id();
    let run = common.run.unwrap_or(run);
    let settings = common.settings(run).map_err(Fault::Usage)?;
    let threads = common.threads.max(1);
    if common.filter == FilterKind::Wild && !matches!(scenario, ScenarioArgs::Idle { .. }) {
        let text = "--filter wild is for idle: nothing is published that it matches";
        return Err(Fault::Usage(text.into()));
    }
    let shares = 0..threads;
    let endpoints = scenario.endpoints(settings.wire).map_err(Fault::Usage)?;
    let flow = |groups, publishers, subscribers| {
        let shape = Shape {
            groups,
            publishers,
            subscribers,
            kind: match scenario {
                ScenarioArgs::Room { .. } => Kind::Room,
                ScenarioArgs::Direct { app, .. } => Kind::Direct { app: app.clone() },
                _ => Kind::Topic,
            },
            subscriber_wire: match scenario {
                ScenarioArgs::Direct { .. } => endpoints.last().map_or(settings.wire, |there| there.wire),
                _ => settings.wire,
            },
            places: common.places(endpoints.len() - 1),
            stalled: match scenario {
                ScenarioArgs::Fanout { stalled, .. } => *stalled,
                _ => 0,
            },
        };
        let share = |thread| Flow::new(&settings, &shape, thread, threads);
        let connections = groups * (publishers + subscribers);
        perform(
            scenario,
            &endpoints,
            connections,
            shares.clone().map(share).collect(),
            |flow: Flow| Ok(flow.into_tally()),
        )
    };
    let (report, tally) = match scenario {
        ScenarioArgs::Pairs { pairs, .. } => flow(*pairs, 1, 1)?,
        ScenarioArgs::Fanout {
            subscribers,
            topics,
            stalled,
            ..
        } => {
            if stalled >= subscribers {
                return Err(Fault::Usage("--stalled: fewer than --subscribers".into()));
            }
            flow(*topics, 1, *subscribers)?
        }
        ScenarioArgs::Fanin {
            publishers, topics, ..
        } => flow(*topics, *publishers, 1)?,
        ScenarioArgs::Room {
            rooms,
            occupants,
            speakers,
            ..
        } => {
            let silent = occupants
                .checked_sub(*speakers)
                .ok_or_else(|| Fault::Usage("--speakers: more than --occupants".into()))?;
            flow(*rooms, *speakers as usize, silent as usize)?
        }
        ScenarioArgs::Direct { workers, senders, .. } => flow(*workers, *senders, 1)?,
        ScenarioArgs::Mixed { .. } => {
            let outlines = scenario.outlines(&endpoints).map_err(Fault::Usage)?;
            let connections = outlines.iter().map(Outline::connections).sum();
            let share = |thread| Mixed::new(&settings, &outlines, thread, threads);
            let shares = shares.map(share).collect();
            perform(scenario, &endpoints, connections, shares, Mixed::into_tally)?
        }
        ScenarioArgs::Connect { concurrency, .. } => {
            let each = concurrency.div_ceil(threads);
            let share = |thread| Storm::new(&settings, each, thread, threads);
            let storms = shares.map(share).collect();
            perform(scenario, &endpoints, each * threads, storms, |storm: Storm| {
                Ok(storm.into_tally())
            })?
        }
        ScenarioArgs::Idle { count, bare, .. } => {
            let share = |thread| Idle::new(&settings, *count, *bare, thread, threads);
            perform(
                scenario,
                &endpoints,
                *count,
                shares.map(share).collect(),
                |idle: Idle| Ok(idle.into_tally()),
            )?
        }
        ScenarioArgs::Api {
            requesters,
            workers,
            app,
            cmd,
            ..
        } => {
            let (app, cmd) = (app.clone(), cmd.clone());
            let parties = Parties {
                requesters: *requesters,
                workers: *workers,
                worker_wire: endpoints.last().map_or(settings.wire, |there| there.wire),
                worker_endpoint: endpoints.len() - 1,
                app,
                cmd,
            };
            let share = |thread| Api::new(&settings, &parties, thread, threads);
            let connections = requesters + workers;
            perform(
                scenario,
                &endpoints,
                connections,
                shares.map(share).collect(),
                |api: Api| Ok(api.into_tally()),
            )?
        }
    };
    let title = format!("{} against {}", report.scenario, common.server);
    report::write(&report, &title, &tally.latency, &common.files, out)?;
    Ok(report)
}

/// As many open files as the system allows this process.
fn raise_file_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where it is refused, opening a connection says so later.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
}

fn perform<S: Scenario>(
    scenario: &ScenarioArgs,
    endpoints: &[Endpoint],
    connections: usize,
    shares: Result<Vec<S>, String>,
    into_tally: impl Fn(S) -> Result<Tally, String>,
) -> Result<(Report, Tally), String> {
    let common = scenario.common();
    let many = matches!(scenario, ScenarioArgs::Connect { .. } | ScenarioArgs::Idle { .. })
        || connections > CONNECTIONS_OF_A_SOURCE;
    let plan = Plan {
        target: Target {
            endpoints: endpoints.to_vec(),
            sources: match common.sources {
                _ if !common.source.is_empty() => Sources::These(common.source.clone()),
                Some(count) => Sources::Loopback(count),
                None if many => Sources::Loopback(SOURCES_MANY),
                None => Sources::Any,
            },
        },
        cores: common.cores.clone(),
        spin: common.spin,
        setup_ns_max: seconds(common.setup),
    };
    if let Some(core) = common.cores.first() {
        engine::pin(*core)?;
    }
    let before = common.server_pid.map(Reading::take).transpose()?;
    let (ended, observed) = engine::run(shares?, &plan, |shared| {
        observe(common, plan.setup_ns_max, shared)
    })?;
    let observed = observed?;
    let mut threads = Vec::new();
    let mut tally: Option<Tally> = None;
    for (share, cost) in ended {
        threads.push(cost);
        let part = into_tally(share)?;
        match tally.as_mut() {
            Some(tally) => tally.merge(&part),
            None => tally = Some(part),
        }
    }
    let tally = tally.ok_or("--threads must be at least 1")?;
    let report = compose(scenario, connections as u64, before, &observed, &threads, &tally);
    Ok((report, tally))
}

/// Readings at the two ends of the measurement.
struct Observed {
    from: Sample,
    until: Sample,
    /// From the first connection's opening to the last one being ready, nanoseconds.
    setup_ns: u64,
    /// Connections ready and memory, at the [`FURTHER_FROM`]-th connection.
    further: Option<(u64, u64)>,
}

struct Sample {
    at_ns: u64,
    sent: u64,
    done: u64,
    server: Option<Reading>,
}

impl Sample {
    fn take(shared: &Shared, pid: Option<u32>) -> Result<Self, String> {
        let server = pid.map(Reading::take).transpose()?;
        Ok(Self {
            at_ns: now_ns(),
            sent: shared.total(|c| &c.sent),
            done: shared.total(|c| &c.done),
            server,
        })
    }
}

/// The instant of a Unix time that is still to come.
fn at_unix(unix_s: f64) -> Result<u64, String> {
    let left_s = unix_s - unix_ns() as f64 / 1e9;
    if !(0.0..=86_400.0).contains(&left_s) {
        return Err(format!(
            "--start-at {unix_s}: all connections are ready, and that is not within the day to come but in {left_s:.3} s"
        ));
    }
    Ok(now_ns() + seconds(left_s))
}

/// The Unix time of an instant that has passed.
fn began_unix_s(at_ns: u64) -> f64 {
    (unix_ns() - now_ns().saturating_sub(at_ns)) as f64 / 1e9
}

fn seconds(seconds: f64) -> u64 {
    std::time::Duration::try_from_secs_f64(seconds.max(0.0)).map_or(u64::MAX / 4, crate::clock::duration_ns)
}

/// Watches a run from the outside: announces its times, samples, shows progress.
fn observe(common: &Common, setup_ns_max: u64, shared: &Shared) -> Result<Observed, String> {
    let result = observe_inner(common, setup_ns_max, shared);
    if let Err(error) = &result {
        shared.fail(error.as_str());
    }
    result
}

fn observe_inner(common: &Common, setup_ns_max: u64, shared: &Shared) -> Result<Observed, String> {
    let mut progress = Progress::new(common.quiet);
    let mut further = None;
    let began_ns = now_ns();
    let ready = wait_ready(shared, setup_ns_max, |ready| {
        if further.is_none() && ready >= FURTHER_FROM {
            let reading = common.server_pid.and_then(|pid| Reading::take(pid).ok());
            further = reading.map(|reading| (ready, reading.resident_bytes));
        }
        progress.connecting(ready);
    });
    let fault = || shared.fault().unwrap_or("stopped").to_owned();
    if !ready {
        return Err(fault());
    }
    let setup_ns = now_ns().saturating_sub(began_ns);
    let start_ns = match common.start_at {
        Some(at) => at_unix(at)?,
        None => now_ns() + SECOND_NS / 50,
    };
    progress.until(start_ns, shared, "waiting");
    let from_ns = start_ns + seconds(common.warmup);
    let until_ns = from_ns + seconds(common.duration);
    let drain_ns = until_ns + seconds(common.drain);
    shared.set_schedule(Schedule {
        start_ns,
        from_ns,
        until_ns,
        drain_ns,
    });
    progress.until(from_ns, shared, "warm-up");
    let from = Sample::take(shared, common.server_pid)?;
    progress.until(until_ns, shared, "measuring");
    let until = Sample::take(shared, common.server_pid)?;
    if let Some(fault) = shared.fault() {
        return Err(fault.to_owned());
    }
    let threads = shared.counters.len() as u64;
    while shared.threads_ended.load(Ordering::Acquire) < threads && !shared.stopped() {
        sleep_until(now_ns() + 2_000_000);
        progress.tick(shared, "draining");
    }
    Ok(Observed {
        from,
        until,
        setup_ns,
        further,
    })
}

/// A line a second on standard error.
struct Progress {
    quiet: bool,
    last_ns: u64,
    last_sent: u64,
    last_done: u64,
}

impl Progress {
    fn new(quiet: bool) -> Self {
        Self {
            quiet,
            last_ns: now_ns(),
            last_sent: 0,
            last_done: 0,
        }
    }

    fn connecting(&mut self, ready: u64) {
        if !self.quiet && now_ns() >= self.last_ns + SECOND_NS {
            self.last_ns = now_ns();
            let _ = writeln!(io::stderr(), "connecting  {ready} ready");
        }
    }

    fn until(&mut self, end_ns: u64, shared: &Shared, phase: &str) {
        while now_ns() < end_ns && !shared.stopped() {
            sleep_until(end_ns.min(now_ns() + SECOND_NS / 10));
            self.tick(shared, phase);
        }
    }

    fn tick(&mut self, shared: &Shared, phase: &str) {
        let now = now_ns();
        if now < self.last_ns + SECOND_NS {
            return;
        }
        let (sent, done) = (shared.total(|c| &c.sent), shared.total(|c| &c.done));
        let per_s =
            |count: u64, last: u64| count.saturating_sub(last) as f64 * 1e9 / (now - self.last_ns) as f64;
        if !self.quiet {
            let behind = shared.total(|c| &c.behind);
            let _ = writeln!(
                io::stderr(),
                "{phase:<11} {:>10.0} sent/s {:>10.0} done/s {}",
                per_s(sent, self.last_sent),
                per_s(done, self.last_done),
                if behind > 0 {
                    format!("{behind:>8} behind plan")
                } else {
                    String::new()
                }
            );
        }
        (self.last_ns, self.last_sent, self.last_done) = (now, sent, done);
    }
}

fn compose(
    scenario: &ScenarioArgs,
    connections: u64,
    before: Option<Reading>,
    observed: &Observed,
    threads: &[ThreadReport],
    tally: &Tally,
) -> Report {
    let wall_ns = observed.until.at_ns.saturating_sub(observed.from.at_ns).max(1);
    let sent = observed.until.sent.saturating_sub(observed.from.sent);
    let done = observed.until.done.saturating_sub(observed.from.done);
    let per_s = |count: u64| count as f64 * 1e9 / wall_ns as f64;
    let percent = |t: &ThreadReport| t.cpu_ns as f64 * 100.0 / t.wall_ns.max(1) as f64;
    let thread_cpu_percent: Vec<f64> = threads.iter().map(percent).collect();
    let spent: u64 = threads.iter().map(|t| t.cpu_ns).sum();
    let waited = |t: &ThreadReport| t.waited_ns as f64 * 100.0 / t.wall_ns.max(1) as f64;
    let thread_wait_percent: Vec<f64> = threads.iter().map(waited).collect();
    let late_percent = tally.late as f64 * 100.0 / tally.planned.max(1) as f64;
    Report {
        scenario: scenario.name().into(),
        began_unix_s: began_unix_s(observed.from.at_ns),
        merged: None,
        date: date_utc(unix_ns()),
        command: std::iter::once(env!("CARGO_PKG_NAME").to_owned())
            .chain(std::env::args().skip(1))
            .collect(),
        offered: Offered::of(scenario.common().load()),
        connections,
        setup_s: observed.setup_ns as f64 / 1e9,
        ready_per_s: connections as f64 * 1e9 / observed.setup_ns.max(1) as f64,
        measured_s: wall_ns as f64 / 1e9,
        unit: tally.unit.into(),
        sent,
        done,
        sent_per_s: per_s(sent),
        done_per_s: per_s(done),
        latency_us: LatencyUs::of(&tally.latency),
        latency_ns: Counts::of(&tally.latency),
        faults: Faults::of(tally),
        clean: tally.clean(),
        parts: tally
            .parts
            .iter()
            .map(|part| PartReport::of(part, wall_ns))
            .collect(),
        server: server_cost(connections, before, observed, sent, done),
        generator: Generator {
            thread_cpu_percent,
            cpu_us_per_unit: us_each(spent, done),
            thread_wait_percent,
            late_percent,
            limited: is_limit(threads, scenario.common().spin, late_percent),
        },
    }
}

/// Whether the generator was the limit: a thread ran or waited to run all the time, unless it spins and always does, or
/// too many sends were late.
fn is_limit(threads: &[ThreadReport], spins: bool, late_percent: f64) -> bool {
    let busy = |t: &ThreadReport| (t.cpu_ns + t.waited_ns) as f64 * 100.0 / t.wall_ns.max(1) as f64;
    (!spins && threads.iter().any(|t| busy(t) > LIMITED_PERCENT)) || late_percent > LATE_PERCENT
}

fn server_cost(
    connections: u64,
    before: Option<Reading>,
    observed: &Observed,
    sent: u64,
    done: u64,
) -> Option<ServerCost> {
    let (before, from, until) = (before?, observed.from.server?, observed.until.server?);
    let spent = until.since(&from);
    let setup = from.since(&before);
    let wall_ns = observed.until.at_ns.saturating_sub(observed.from.at_ns).max(1);
    let growth = |from_bytes: u64, count: u64, to_bytes: u64| {
        (to_bytes as f64 - from_bytes as f64) / count.max(1) as f64
    };
    let further = observed
        .further
        .filter(|(ready, _)| connections > ready + FURTHER_FROM);
    Some(ServerCost {
        cpu_us_per_unit: us_each(spent.total_ns, done),
        cpu_us_per_sent: us_each(spent.total_ns, sent),
        cpu_us_per_connection: us_each(setup.total_ns, connections),
        cores_busy: spent.total_ns as f64 / wall_ns as f64,
        cores_waited: spent.waited_ns as f64 / wall_ns as f64,
        user_share: spent.user_ns as f64 / (spent.user_ns + spent.system_ns).max(1) as f64,
        precise: spent.precise,
        resident_before_bytes: before.resident_bytes,
        resident_after_bytes: until.resident_bytes,
        resident_bytes_per_connection: growth(before.resident_bytes, connections, from.resident_bytes),
        resident_bytes_per_further_connection: further
            .map(|(ready, bytes)| growth(bytes, connections - ready, from.resident_bytes)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_limit_where_it_is_busy_or_late() {
        let thread = |cpu_ns, waited_ns| ThreadReport {
            wall_ns: 1_000,
            cpu_ns,
            waited_ns,
        };
        let quiet = thread(500, 400);
        for (other, spins, late_percent, expected) in [
            (thread(900, 40), false, 1.0, false),
            (thread(960, 0), false, 0.0, true),
            (thread(500, 460), false, 0.0, true),
            (thread(1_000, 0), true, 0.0, false),
            (thread(1_000, 0), true, 1.1, true),
            (quiet, false, 1.1, true),
        ] {
            let found = is_limit(&[quiet, other], spins, late_percent);
            assert_eq!(found, expected, "{other:?} {spins} {late_percent}");
        }
    }

    #[test]
    fn a_start_is_to_come_within_a_day() {
        let now_s = unix_ns() as f64 / 1e9;
        let at = at_unix(now_s + 5.0).unwrap();
        assert!((4 * SECOND_NS..=5 * SECOND_NS).contains(&at.saturating_sub(now_ns())));
        for wrong in [now_s - 1.0, now_s + 100_000.0, f64::NAN] {
            let said = at_unix(wrong).unwrap_err();
            assert!(said.starts_with("--start-at"), "{said}");
        }
    }
}
