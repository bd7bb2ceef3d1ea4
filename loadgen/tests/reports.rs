//! What people and programs get: the table, JSON, the distribution, the picture, progress, and several reports as one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers"
)]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use loadgen::clock::unix_ns;
use loadgen::report::Report;
use quick_xml::Reader;
use quick_xml::events::Event;
use support::{broker, load, load_with_table, pass, relay};

/// A directory for one test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loadgen-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program itself.
fn start(line: &str) -> Child {
    Command::new(Path::new(env!("CARGO_BIN_EXE_nexus-loadgen")))
        .args(line.split_ascii_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn run(line: &str) -> (Output, String) {
    let output = start(line).wait_with_output().unwrap();
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    (output, table)
}

fn total(distribution: &str) -> u64 {
    let last = distribution.lines().rfind(|line| !line.starts_with('#'));
    last.unwrap()
        .split_ascii_whitespace()
        .nth(2)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn wrong_usage_ends_with_2_and_a_run_that_fails_with_1() {
    for (line, code, said) in [
        ("pairs --payload 1 --server 127.0.0.1:1", 2, "--payload"),
        ("pairs --version 4 --server 127.0.0.1:1", 2, "--version"),
        ("fanout --filter wild --server 127.0.0.1:1", 2, "--filter wild"),
        (
            "fanout --subscribers 2 --stalled 2 --server 127.0.0.1:1",
            2,
            "--stalled",
        ),
        (
            "room --occupants 1 --speakers 2 --server 127.0.0.1:1",
            2,
            "--speakers",
        ),
        ("tightrope", 2, "tightrope"),
        ("pairs --pairs 1 --server 127.0.0.1:1", 1, "refused"),
    ] {
        let (output, _) = run(line);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {stderr}");
        assert!(stderr.contains(said), "{line}: {stderr}");
    }
}

#[test]
fn reports_are_written_in_every_form() {
    let files = Directory::new("forms");
    let line = format!(
        "pairs --pairs 2 --rate 500 --warmup 0.1 --duration 0.4 --json {} --hgrm {} --svg {}",
        files.path("r.json"),
        files.path("r.hgrm"),
        files.path("r.svg")
    );
    let (report, table) = load_with_table(broker::start(), &line).unwrap();
    assert!(report.clean, "{table}");
    let json: serde_json::Value = serde_json::from_str(&files.read("r.json")).unwrap();
    assert_eq!(json["done"], report.done);
    assert_eq!(json["latency_us"]["p99"], report.latency_us.p99);
    assert_eq!(json["offered"]["rate_per_s"], 500.0);
    let again: Report = serde_json::from_value(json).unwrap();
    assert_eq!(again.latency_ns, report.latency_ns);

    let distribution = files.read("r.hgrm");
    assert_eq!((total(&distribution), report.latency_us.count), (200, 200));
    let values = distribution
        .lines()
        .skip(2)
        .take_while(|line| !line.starts_with('#'));
    let values: Vec<f64> = values
        .map(|line| line.split_ascii_whitespace().next().unwrap().parse().unwrap())
        .collect();
    assert!(values.is_sorted() && values.len() > 5, "{values:?}");

    let picture = files.read("r.svg");
    let mut reader = Reader::from_str(&picture);
    let mut curves = 0;
    loop {
        match reader.read_event().unwrap() {
            Event::Empty(tag) if tag.name().as_ref() == "polyline" => curves += 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(curves, 1);

    let percentile = format!("p99.9 {:.1}", report.latency_us.p99_9);
    for expected in [
        "pairs: 4 connections, 0.4 s measured",
        &percentile,
        "faults        none",
        "deliveries",
    ] {
        assert!(table.contains(expected), "{expected}: {table}");
    }
}

#[test]
fn a_run_shows_its_progress_on_standard_error_and_its_table_on_standard_output() {
    let line = format!(
        "pairs --pairs 1 --rate 100 --warmup 0 --duration 2.3 --server {}",
        broker::start()
    );
    let (output, table) = run(&line);
    assert!(output.status.success(), "{output:?}");
    assert!(table.starts_with("pairs: 2 connections"), "{table}");
    let progress = String::from_utf8(output.stderr).unwrap();
    let measuring = progress.lines().filter(|line| {
        line.starts_with("measuring") && line.contains(" sent/s ") && line.contains(" done/s")
    });
    assert!(measuring.count() >= 1, "{progress}");
    let (output, _) = run(&format!("{line} --quiet"));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn generators_that_begin_together_are_merged_exactly() {
    let files = Directory::new("merge");
    let server = broker::start();
    let at = unix_ns() as f64 / 1e9 + 4.0;
    let one = |name: &str, rate: u32| {
        start(&format!(
            "pairs --pairs 2 --rate {rate} --warmup 0 --duration 0.5 --start-at {at} --server {server} --json {}",
            files.path(name)
        ))
    };
    let both = [one("a.json", 200), one("b.json", 600)];
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let (output, table) = run(&format!(
        "merge {} {} --json {} --hgrm {}",
        files.path("a.json"),
        files.path("b.json"),
        files.path("m.json"),
        files.path("m.hgrm")
    ));
    assert!(
        output.status.success() && table.contains("merged        2 reports"),
        "{output:?}"
    );
    let report = |name: &str| serde_json::from_str::<Report>(&files.read(name)).unwrap();
    let (a, b, merged) = (report("a.json"), report("b.json"), report("m.json"));
    for report in [&a, &b] {
        assert!(
            (report.began_unix_s - at).abs() < 0.3,
            "{at}: {}",
            report.began_unix_s
        );
    }
    assert_eq!(
        (a.latency_us.count, b.latency_us.count, merged.latency_us.count),
        (100, 300, 400)
    );
    assert_eq!((merged.connections, merged.offered.rate_per_s), (8, Some(800.0)));
    assert_eq!(merged.latency_us.max, a.latency_us.max.max(b.latency_us.max));
    assert_eq!(merged.latency_us.min, a.latency_us.min.min(b.latency_us.min));
    let mean = (a.latency_us.mean + 3.0 * b.latency_us.mean) / 4.0;
    assert!((merged.latency_us.mean / mean - 1.0).abs() < 0.01, "{merged:?}");
    assert_eq!(merged.done, a.done + b.done);
    assert_eq!(merged.generator.thread_cpu_percent.len(), 2);
    assert_eq!(total(&files.read("m.hgrm")), 400);
}

#[test]
fn what_does_not_belong_together_is_not_merged() {
    let files = Directory::new("apart");
    let dropping = relay(|number, message, receiver| {
        if number != 5 {
            pass(message, receiver);
        }
    });
    let times = "--warmup 0 --duration 0.2 --drain 0.2";
    let lossy = format!(
        "pairs --pairs 1 --raw --rate 100 {times} --json {}",
        files.path("p.json")
    );
    assert_eq!(load(dropping, &lossy).unwrap().faults.lost, 1);
    let line = format!("idle --count 2 {times} --json {}", files.path("i.json"));
    load(broker::start(), &line).unwrap();
    std::fs::write(files.path("x.json"), "{}").unwrap();
    let merge = |other: &str| run(&format!("merge {} {}", files.path("p.json"), files.path(other)));
    for (other, said) in [
        ("i.json", "pairs and idle are not one load"),
        ("x.json", "no report of nexus-loadgen"),
        ("none.json", "none.json: "),
    ] {
        let (output, _) = merge(other);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(said), "{error}");
    }
    // A loss stays one; and two that began apart are said to have.
    let (output, table) = merge("p.json");
    assert!(
        !output.status.success() && table.contains("FAULTS        lost 2"),
        "{table}"
    );
    let later = files
        .read("p.json")
        .replace("\"began_unix_s\": ", "\"began_unix_s\": 1");
    std::fs::write(files.path("later.json"), later).unwrap();
    let (_, table) = merge("later.json");
    assert!(table.contains("not measured at the same time"), "{table}");
}

#[test]
fn a_generator_that_cannot_keep_up_says_so() {
    // Nobody sends 20,000,000 messages a second on one thread.
    let line = "pairs --pairs 1 --raw --rate 20000000 --warmup 0 --duration 0.01 --drain 60";
    let (report, table) =
        load_with_table(relay(|_, message, receiver| pass(message, receiver)), line).unwrap();
    assert!(report.clean, "{table}");
    assert!(
        report.generator.limited && report.generator.late_percent > 10.0,
        "{report:?}"
    );
    assert!(
        table.contains("the generator, not the server, was the limit"),
        "{table}"
    );
}

#[test]
fn connections_come_from_the_addresses_that_are_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peers = std::thread::spawn(move || {
        let accepted: Vec<(_, SocketAddr)> = (0..6).map(|_| listener.accept().unwrap()).collect();
        (listener, accepted)
    });
    // It never answers.
    let said = load(
        address,
        "idle --count 6 --setup 1 --source 127.0.1.1-127.0.1.3,127.0.9.9",
    )
    .unwrap_err();
    assert!(said.contains("0 connections were ready"), "{said}");
    let (_open, accepted) = peers.join().unwrap();
    let mut peers: Vec<_> = accepted.iter().map(|(_, peer)| peer.ip().to_string()).collect();
    peers.sort();
    let expected = [
        "127.0.1.1",
        "127.0.1.1",
        "127.0.1.2",
        "127.0.1.2",
        "127.0.1.3",
        "127.0.9.9",
    ];
    assert_eq!(peers, expected);
}
