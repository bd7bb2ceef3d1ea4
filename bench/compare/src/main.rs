//! `nexus-compare`: Nexus, its peers and the floor side by side under the same load.
//!
//! Per row and round every contestant is started afresh on one core, loaded from another, and stopped: A B C A B C.
//! What counts is the ratio within a round.

mod ejabberd;
mod parts;
mod results;
mod rows;
mod servers;
mod stats;
mod table;

use std::fs;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use parts::{PARTS, Part};
use results::Results;
use rows::{Contestant, Filling, Kind, Listener, Row};
use serde_json::{Value, json};
use servers::{Programs, Server};
use table::Rounds;

/// Runs Nexus, its peers and the floor side by side.
#[derive(Debug, Parser)]
#[command(name = "nexus-compare", version, about)]
struct Args {
    /// Rows to run: P1,P10; all: every one; without it the usual ones.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Contestants to leave out, by name: floor,nexus-v5-sender.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Rounds of each row.
    #[arg(long, default_value = "5")]
    rounds: NonZeroUsize,
    /// Seconds of measurement per contestant and round.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Connections of rows about memory.
    #[arg(long, default_value_t = 18_000)]
    count: usize,
    /// Core of the servers.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of the load.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// mosquitto.
    #[arg(long, default_value = "/usr/sbin/mosquitto")]
    mosquitto: PathBuf,
    /// nats-server.
    #[arg(long, default_value = "/usr/sbin/nats-server")]
    nats: PathBuf,
    /// Erlang's runtime; ejabberd is where its package puts it.
    #[arg(long, default_value = "/usr/bin/erl")]
    erl: PathBuf,
    /// nexusd; without it the one beside this program.
    #[arg(long)]
    nexusd: Option<PathBuf>,
    /// The bare relay; without it `examples/echo_floor` beside this program.
    #[arg(long)]
    floor: Option<PathBuf>,
    /// The load generator; without it the one beside this program.
    #[arg(long)]
    loadgen: Option<PathBuf>,
    /// Directory of the raw results.
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
    /// Keep every report's counts of latencies, too: some 40 KB for each contestant and round.
    #[arg(long)]
    histograms: bool,
}

/// Exit codes: 0 every round of every contestant ran; 1 some did not; 2 wrong usage.
fn main() -> ExitCode {
    let args = Args::parse();
    let chosen = selected(&args.only).and_then(|chosen| {
        rows::check_labels(&args.without)?;
        Ok(chosen)
    });
    let chosen = match chosen {
        Ok(chosen) => chosen,
        Err(fault) => {
            say(&fault);
            return ExitCode::from(2);
        }
    };
    match compare(&args, &chosen, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            say(&fault);
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    let _ = writeln!(io::stderr(), "nexus-compare: {line}");
}

/// Programs that stand beside this one.
fn beside(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(own.with_file_name(name))
}

fn compare(args: &Args, (rows, parts): &Chosen, out: &mut impl Write) -> Result<bool, String> {
    raise_file_limit();
    let or_beside = |given: &Option<PathBuf>, name| given.clone().map_or_else(|| beside(name), Ok);
    let programs = Programs {
        mosquitto: args.mosquitto.clone(),
        erl: args.erl.clone(),
        nats: args.nats.clone(),
        nexusd: or_beside(&args.nexusd, "nexusd")?,
        floor: or_beside(&args.floor, "examples/echo_floor")?,
    };
    let load = or_beside(&args.loadgen, "nexus-loadgen")?;
    if !load.exists() {
        return Err(format!(
            "{} is missing; build it with the same profile",
            load.display()
        ));
    }
    let mut all_ran = true;
    let conditions = json!({ "rounds": args.rounds.get(), "seconds": args.seconds });
    let results = Results::begin(&args.results, conditions, args.histograms)?;
    for row in rows {
        let contestants = run_row(row, args, &programs, &load);
        all_ran &= contestants
            .iter()
            .all(|c| !c.reports.is_empty() && c.reports.iter().all(Option::is_some));
        table::write(row, &contestants, out).map_err(|error| error.to_string())?;
        results.add(row.name, record(row, &contestants))?;
    }
    if !parts.is_empty() {
        let program = beside("nexus-parts")?;
        let measure = |_| {
            parts::measure(&program, args.server_core)
                .inspect_err(|fault| say(fault))
                .ok()
        };
        let rounds: Vec<Option<Value>> = (0..args.rounds.get()).map(measure).collect();
        all_ran &= rounds.iter().all(Option::is_some);
        for part in parts {
            parts::write(part, &rounds, out).map_err(|error| error.to_string())?;
            results.add(part.name, parts::record(part, &rounds))?;
        }
    }
    writeln!(out, "\nraw results: {}", results.directory().display()).map_err(|error| error.to_string())?;
    Ok(all_ran)
}

/// As many open files as the system allows; the servers inherit it.
fn raise_file_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
}

fn run_row(row: &Row, args: &Args, programs: &Programs, load: &Path) -> Vec<Rounds> {
    let takes_part = |contestant: &&Contestant| {
        let program = programs.of(contestant.kind);
        let wanted = !args.without.iter().any(|name| name == contestant.label);
        if wanted && !program.exists() {
            say(&format!(
                "{}: {} left out, {} is missing",
                row.name,
                contestant.label,
                program.display()
            ));
        }
        wanted && program.exists()
    };
    let contestants: Vec<&Contestant> = row.contestants.iter().filter(takes_part).collect();
    let rounds = |c: &&Contestant| Rounds {
        label: c.label,
        kind: c.kind,
        reports: Vec::new(),
    };
    let mut results: Vec<Rounds> = contestants.iter().map(rounds).collect();
    for round in 1..=args.rounds.get() {
        let rate = match pace(row, args, programs, load) {
            Ok(rate) => rate,
            Err(fault) => {
                say(&format!("{} round {round}: {fault}", row.name));
                results.iter_mut().for_each(|result| result.reports.push(None));
                continue;
            }
        };
        for (contestant, result) in contestants.iter().zip(&mut results) {
            say(&format!(
                "{} round {round} of {}: {}",
                row.name, args.rounds, contestant.label
            ));
            let report = run_once(row, contestant, args, programs, load, &rate);
            if let Err(fault) = &report {
                say(&format!("{} {}: {fault}", row.name, contestant.label));
            }
            result.reports.push(report.ok());
        }
    }
    results
}

/// The rate of a round: a share of what Nexus does at most just then.
fn pace(row: &Row, args: &Args, programs: &Programs, load: &Path) -> Result<String, String> {
    let Some((saturating, share)) = row.paced else {
        return Ok(String::new());
    };
    let nexus = row.contestants.iter().find(|c| c.kind == Kind::Nexus);
    let nexus = nexus.ok_or("nobody sets the pace")?;
    let server = Server::start(nexus, programs, args.server_core, args.load_core)?;
    let report = run_load(row, saturating, nexus, args, (&server, ""), load)?;
    let done = report.get("done_per_s").and_then(Value::as_f64);
    let rate = done.ok_or("the report has no rate")? * share;
    say(&format!("{}: {rate:.0} a second", row.name));
    Ok(format!("{rate:.0}"))
}

fn run_once(
    row: &Row,
    contestant: &Contestant,
    args: &Args,
    programs: &Programs,
    load: &Path,
    rate: &str,
) -> Result<Value, String> {
    let mut server = Server::start(contestant, programs, args.server_core, args.load_core)?;
    if let Some(before) = row.before {
        run_load(row, before, contestant, args, (&server, rate), load)?;
        server.restart(programs, args.server_core, args.load_core)?;
    }
    run_load(row, row.load, contestant, args, (&server, rate), load)
}

/// Runs the load generator; its report.
fn run_load(
    row: &Row,
    what: &[&'static str],
    contestant: &Contestant,
    args: &Args,
    (server, rate): (&Server, &str),
    load: &Path,
) -> Result<Value, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let json = directory.path().join("report.json");
    let count = args.count.to_string();
    let mut command = Command::new(load);
    let address = match row.listener {
        Listener::Mqtt => Some(&server.address),
        Listener::WebSocket => server.web_socket.as_ref(),
        Listener::FirstShard => server.of_shards.first(),
    };
    let address = address.ok_or("it has no such listener")?;
    let filling = Filling {
        count: &count,
        mqtt: &server.address,
        second_shard: server.of_shards.get(1).map_or("", String::as_str),
        rate,
    };
    command.args(Row::arguments(what, &filling));
    command
        .args(Row::arguments(contestant.extra, &filling))
        .args(["--server", address, "--quiet"]);
    command.args([
        "--server-pid",
        &server.pid().to_string(),
        "--cores",
        &args.load_core.to_string(),
    ]);
    command.args(["--duration", &args.seconds.to_string(), "--warmup", "1"]);
    command.arg("--json").arg(&json);
    if let Some(accounts) = &server.accounts {
        command.arg("--accounts").arg(accounts);
    }
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("load generator: {error}"))?;
    let text =
        fs::read_to_string(&json).map_err(|_| String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
    serde_json::from_str(&text).map_err(|error| format!("report: {error}"))
}

fn record(row: &Row, contestants: &[Rounds]) -> Value {
    let of = |contestant: &Rounds| {
        let spreads: serde_json::Map<String, Value> = table::metrics(row)
            .iter()
            .map(|metric| (metric.name.to_owned(), json!(metric.spread(&contestant.reports))))
            .collect();
        json!({ "contestant": contestant.label, "median_min_max": spreads, "rounds": contestant.reports })
    };
    let listed: Vec<Value> = contestants.iter().map(of).collect();
    let verdict = |target| table::verdict(row, target, contestants);
    let targets: Vec<String> = row.targets.iter().map(verdict).collect();
    json!({ "row": row.name, "title": row.title, "contestants": listed, "targets": targets })
}

/// Rows and parts to run.
type Chosen = (Vec<&'static Row>, Vec<&'static Part>);

/// The rows and the parts called `only`; all there are if it is `all`.
fn selected(only: &[String]) -> Result<Chosen, String> {
    let is_part = |name: &String| PARTS.iter().any(|part| part.name.eq_ignore_ascii_case(name));
    let all = matches!(only, [all] if all == "all");
    let named = |part: &&Part| all || only.iter().any(|name| part.name.eq_ignore_ascii_case(name));
    let parts: Vec<&Part> = PARTS.iter().filter(named).collect();
    let others: Vec<String> = only.iter().filter(|name| !is_part(name)).cloned().collect();
    let only_parts = others.is_empty() && !parts.is_empty();
    let rows = if only_parts {
        Vec::new()
    } else {
        rows::select(&others)?
    };
    Ok((rows, parts))
}
