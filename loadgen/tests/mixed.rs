//! Several loads at once: each part is counted, and faulted, for itself.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers"
)]

mod support;

use support::xmpp::{self, Fault};
use support::{accounts_file, broker, load_with_table};

const TIMES: &str = "--warmup 0 --duration 0.5 --drain 1";

#[test]
fn the_usual_day_is_reported_part_by_part() {
    let line = format!("mixed --rate 2000 --threads 2 {TIMES}");
    let (report, table) = load_with_table(broker::start(), &line).unwrap();
    assert!(report.clean, "{table}");
    let expected = [
        ("telemetry", 600),
        ("readings", 200),
        ("commands", 100),
        ("orders", 50),
        ("calls", 50),
    ];
    for (part, (name, arrivals)) in report.parts.iter().zip(expected) {
        assert_eq!((part.name.as_str(), part.latency_us.count), (name, arrivals));
        assert_eq!(part.sent_in_all, arrivals);
        assert!(table.contains(&format!("  {name}: ")), "{table}");
    }
    assert_eq!((report.parts.len(), report.latency_us.count), (5, 1_000));
    let connections: u64 = report.parts.iter().map(|part| part.connections).sum();
    assert_eq!(report.connections, connections);
}

#[test]
fn a_described_day_has_its_own_parts_and_the_loss_of_one_is_its_own() {
    let day = r#"{"part":[
        {"name":"calls","kind":"api","share":1,"senders":2,"web":true},
        {"name":"noise","kind":"topic","share":9,"groups":2,"senders":3,"receivers":2,"qos":1}]}"#;
    let file = std::env::temp_dir().join(format!("loadgen-day-{}.json", std::process::id()));
    std::fs::write(&file, day).unwrap();
    let accounts = accounts_file("ok s\n");
    // The 20th request over XMPP is dropped; nobody else is there, so that the server answers them itself.
    let line = format!(
        "mixed --day {} --rate 1000 --web-server {} --share calls=3 --accounts {} {TIMES}",
        file.display(),
        xmpp::start(Fault::Drops(20)),
        accounts.display()
    );
    let (report, table) = load_with_table(broker::start(), &line).unwrap();
    assert!(!report.clean);
    let found: Vec<_> = report
        .parts
        .iter()
        .map(|part| {
            (
                part.name.as_str(),
                part.latency_us.count,
                part.faults.lost,
                part.clean,
            )
        })
        .collect();
    assert_eq!(
        found,
        [("calls", 124, 1, false), ("noise", 750, 0, true)],
        "{table}"
    );
    assert_eq!(report.faults.lost, 1);
    for path in [file, accounts] {
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_mixed_load_needs_a_rate_and_a_description_that_can_be() {
    for (line, said) in [
        ("mixed", "--rate"),
        ("mixed --rate 5 --share nothing=1", "the parts are"),
        (
            "mixed --rate 5 --day /nowhere/day.toml",
            "--day /nowhere/day.toml",
        ),
    ] {
        let error = load_with_table(broker::start(), line).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}
