//! The regression gate: instructions a message takes between the receive buffer and the send queues, counted by callgrind, beside
//! those that are written down in `bench/instructions.txt`. Counts hardly depend on the machine or on what else it does.
//!
//! A message's instructions are those of a long run less those of a short one, divided by the messages between: the start is
//! in both. Where valgrind is missing nothing is counted, and the test says so; `.ci/run` installs it. After a change that is
//! meant to cost more or less: `NEXUS_INSTRUCTIONS=write cargo test -p nexus-bench --test instructions`, and say why.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code: a failed expectation is a failed test"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use nexus_bench::work::Work;

/// Messages of the short run and of the long one.
const RUNS: [u64; 2] = [50, 150];
/// Percent that a message may take more than what is written down; and less, before that has to be written down anew.
const TOLERANCE_PERCENT: u64 = 8;

/// Instructions of a whole run.
fn instructions(name: &str, messages: u64) -> u64 {
    let out = tempfile::NamedTempFile::new().expect("a temporary file");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.path().display()))
        .arg(env!("CARGO_BIN_EXE_fixed-work"))
        .args([name, &messages.to_string()])
        .output()
        .expect("valgrind starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {text}");
    let line = text.lines().find_map(|line| line.split_once("Collected : "));
    line.and_then(|(_, count)| count.trim().parse().ok())
        .unwrap_or_else(|| panic!("{name}: no count in {text}"))
}

fn of_a_message(name: &str) -> u64 {
    let [short, long] = RUNS.map(|messages| instructions(name, messages));
    (long - short) / (RUNS[1] - RUNS[0])
}

/// Those of optimised builds and of tests are apart.
fn profile() -> &'static str {
    if cfg!(debug_assertions) { "test" } else { "release" }
}

fn book() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt"))
}

/// Lines `profile name instructions`.
fn written_down() -> BTreeMap<(String, String), u64> {
    let text = std::fs::read_to_string(book()).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let fields = lines.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let entry = |fields: Vec<String>| match <[String; 3]>::try_from(fields) {
        Ok([profile, name, count]) => ((profile, name), count.parse().expect("a number")),
        Err(fields) => panic!("not three fields: {fields:?}"),
    };
    fields.map(entry).collect()
}

fn write_down(book_of: &BTreeMap<(String, String), u64>) {
    let mut text =
        String::from("# Instructions a message takes, counted by callgrind; see tests/instructions.rs.\n");
    for ((profile, name), count) in book_of {
        writeln!(text, "{profile} {name} {count}").expect("memory");
    }
    std::fs::write(book(), text).expect("the book can be written");
}

#[test]
fn a_message_takes_as_many_instructions_as_written_down() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("valgrind is not installed: instructions were not counted");
        return;
    }
    let mut book = written_down();
    let writes = std::env::var_os("NEXUS_INSTRUCTIONS").is_some();
    let mut wrong = String::new();
    for name in Work::names() {
        let counted = of_a_message(name);
        println!("{} {name} {counted}", profile());
        let key = (profile().to_owned(), name.to_owned());
        let expected = book.get(&key).copied().unwrap_or_default();
        if counted.abs_diff(expected) * 100 > expected * TOLERANCE_PERCENT {
            writeln!(
                wrong,
                "{name}: {counted} instructions a message, {expected} are written down"
            )
            .expect("memory");
        }
        book.insert(key, counted);
    }
    if writes {
        write_down(&book);
    } else {
        assert!(wrong.is_empty(), "{wrong}");
    }
}
