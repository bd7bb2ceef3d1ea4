//! XMPP over WebSocket against a small server: everything arrives and is counted, and so is what goes wrong.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers"
)]

mod support;

use std::net::SocketAddr;

use loadgen::report::Report;
use support::xmpp::{self, Fault};
use support::{accounts_file, broker, load};

fn run(server: SocketAddr, accounts: &str, line: &str) -> Result<Report, String> {
    let file = accounts_file(accounts);
    let line = format!("{line} --protocol xmpp --accounts {}", file.display());
    let result = load(server, &format!("{line} --warmup 0.1 --duration 0.4 --drain 0.5"));
    std::fs::remove_file(file).unwrap();
    result
}

fn clean(server: SocketAddr, line: &str) -> Report {
    let report = run(server, "ok s\n", line).unwrap();
    assert!(report.clean, "{line}: {:?}", report.faults);
    report
}

#[test]
fn idle_sessions_are_logged_in_and_held() {
    let pid = std::process::id();
    let line = format!("idle --count 40 --keepalive 1 --server-pid {pid}");
    let report = clean(xmpp::start(Fault::None), &line);
    assert_eq!(report.connections, 40);
    assert!(report.server.unwrap().resident_before_bytes > 0);
}

#[test]
fn messages_on_channels_arrive() {
    for scenario in [
        "pairs --pairs 4",
        "fanout --subscribers 5",
        "fanin --publishers 3",
    ] {
        let report = clean(xmpp::start(Fault::None), &format!("{scenario} --window 8"));
        assert!(report.latency_us.count > 5, "{scenario}: {report:?}");
    }
    let report = clean(xmpp::start(Fault::None), "fanout --subscribers 5 --rate 100");
    assert_eq!(report.latency_us.count, 5 * 40);
}

#[test]
fn everybody_in_a_room_hears_its_speakers() {
    for (scenario, occupants) in [
        ("room --rooms 3 --occupants 2", 6),
        ("room --occupants 6 --speakers 2 --threads 2", 6),
        ("room --rooms 2 --occupants 1", 2),
    ] {
        let report = clean(xmpp::start(Fault::None), &format!("{scenario} --window 4"));
        assert_eq!(report.connections, occupants, "{scenario}");
        assert!(report.latency_us.count > 5, "{scenario}: {report:?}");
    }
    let report = clean(xmpp::start(Fault::None), "room --occupants 5 --rate 100");
    assert_eq!(report.latency_us.count, 5 * 40);
    let report = run(
        xmpp::start(Fault::Drops(20)),
        "ok s\n",
        "room --occupants 3 --rate 200",
    )
    .unwrap();
    assert_eq!((report.faults.lost, report.clean), (3, false));
    let said = run(
        xmpp::start(Fault::None),
        "ok s\n",
        "room --occupants 1 --speakers 2",
    )
    .unwrap_err();
    assert!(said.contains("--speakers"), "{said}");
}

#[test]
fn direct_messages_reach_the_worker_they_name() {
    let report = clean(
        xmpp::start(Fault::None),
        "direct --workers 3 --senders 2 --rate 500",
    );
    assert_eq!((report.connections, report.latency_us.count), (9, 200));
    let line = "direct --workers 2 --rate 200";
    let report = run(xmpp::start(Fault::Drops(20)), "ok s\n", line).unwrap();
    assert_eq!((report.faults.lost, report.clean), (1, false));
}

#[test]
fn requests_have_one_outcome_each() {
    for load in ["--window 8", "--rate 500", "--window 3 --threads 2"] {
        let line = format!("api --requesters 3 --workers 2 --worker-protocol xmpp {load}");
        let report = clean(xmpp::start(Fault::None), &line);
        assert!(report.latency_us.count > 5, "{line}: {report:?}");
    }
}

#[test]
fn workers_may_speak_mqtt_to_another_listener() {
    let line = format!(
        "api --requesters 2 --worker-server {} --window 4",
        broker::start()
    );
    let report = clean(xmpp::start(Fault::None), &line);
    assert_eq!(report.connections, 3);
    assert!(report.latency_us.count > 5, "{report:?}");
}

#[test]
fn connects_are_counted_with_their_refusals() {
    let line = "connect --concurrency 4";
    let report = run(xmpp::start(Fault::None), "ok s\nwrong s\n", line).unwrap();
    assert!(report.done > 0 && !report.clean);
    let refused = |report: &Report, what: &str| report.faults.failed.get(what).copied().unwrap_or(0);
    assert!(refused(&report, "SASL not-authorized") > 0, "{:?}", report.faults);
    let report = run(xmpp::start(Fault::RefusesStream), "ok s\n", line).unwrap();
    assert!(
        refused(&report, "stream error policy-violation") > 0,
        "{:?}",
        report.faults
    );
    assert_eq!(report.done, 0);
}

#[test]
fn failures_and_losses_are_counted() {
    let line = "api --worker-protocol xmpp --rate 200";
    let report = run(xmpp::start(Fault::Fails(20)), "ok s\n", line).unwrap();
    assert_eq!(
        report.faults.failed.get("code -2000"),
        Some(&1),
        "{:?}",
        report.faults
    );
    assert_eq!(report.faults.lost, 0);
    for line in [line, "pairs --pairs 1 --rate 200"] {
        let report = run(xmpp::start(Fault::Drops(20)), "ok s\n", line).unwrap();
        assert_eq!((report.faults.lost, report.clean), (1, false), "{line}");
    }
}

#[test]
fn an_ended_stream_ends_the_run_with_its_reason() {
    for (fault, why) in [
        (Fault::StreamError(5), "stream error policy-violation"),
        (Fault::Closes(5), "the end of the stream"),
        (Fault::Breaks(5), "ended"),
    ] {
        for line in ["api --worker-protocol xmpp", "pairs --pairs 1"] {
            let said = run(xmpp::start(fault), "ok s\n", line).unwrap_err();
            assert!(said.contains(why), "{line} {fault:?}: {said}");
        }
    }
    let said = run(xmpp::start(Fault::RefusesStream), "ok s\n", "idle --count 3").unwrap_err();
    assert!(said.contains("refused: stream error policy-violation"), "{said}");
    let said = run(xmpp::start(Fault::None), "wrong s\n", "idle --count 3").unwrap_err();
    assert!(said.contains("refused: SASL not-authorized"), "{said}");
}
