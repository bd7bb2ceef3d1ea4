//! NATS against a small server: everything arrives and is counted, and so is what goes wrong.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers"
)]

mod support;

use std::net::SocketAddr;

use loadgen::report::Report;
use support::load;
use support::nats::{self, Fault};

fn run(server: SocketAddr, line: &str) -> Result<Report, String> {
    load(
        server,
        &format!("{line} --protocol nats --warmup 0.1 --duration 0.4 --drain 0.5"),
    )
}

#[test]
fn messages_and_requests_arrive_once() {
    for line in [
        "pairs --pairs 4 --window 8",
        "fanout --subscribers 5 --window 4",
        "fanin --publishers 3 --window 4 --threads 2",
        "api --requesters 3 --workers 2 --window 4",
        "api --rate 500",
    ] {
        let report = run(nats::start(Fault::None), line).unwrap();
        assert!(report.clean, "{line}: {:?}", report.faults);
        assert!(report.latency_us.count > 5, "{line}: {report:?}");
    }
    let report = run(nats::start(Fault::None), "fanout --subscribers 5 --rate 100").unwrap();
    assert_eq!(report.latency_us.count, 5 * 40);
}

#[test]
fn connects_and_idle_connections_are_counted() {
    let report = run(nats::start(Fault::None), "connect --concurrency 4").unwrap();
    assert!(report.clean && report.done > 4, "{report:?}");
    let report = run(nats::start(Fault::None), "idle --count 20").unwrap();
    assert_eq!((report.connections, report.clean), (20, true));
}

#[test]
fn losses_are_counted_and_errors_end_the_run() {
    for line in ["pairs --pairs 1 --rate 200", "api --rate 200"] {
        let report = run(nats::start(Fault::Drops(20)), line).unwrap();
        assert_eq!((report.faults.lost, report.clean), (1, false), "{line}");
        let said = run(nats::start(Fault::Fails(20)), line).unwrap_err();
        assert!(said.contains("Maximum Payload Violation"), "{line}: {said}");
    }
}

#[test]
fn what_nats_has_not_is_refused() {
    for line in ["pairs --qos 1", "pairs --ws", "idle --kept --run 1"] {
        let said = run(nats::start(Fault::None), line).unwrap_err();
        assert!(said.contains("--protocol nats"), "{line}: {said}");
    }
    let said = run(nats::start(Fault::None), "room").unwrap_err();
    assert!(said.contains("XMPP"), "{said}");
}
