//! Every scenario against a small broker, in both versions: everything arrives, and is counted.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers"
)]

mod support;

use support::{broker, load, websocket};

fn clean(server: std::net::SocketAddr, line: &str) -> loadgen::report::Report {
    let report = load(server, &format!("{line} --warmup 0.1 --duration 0.4")).unwrap();
    assert!(report.clean, "{line}: {:?}", report.faults);
    report
}

#[test]
fn flows_arrive_at_every_qos_in_both_versions() {
    for version in ["3", "5"] {
        for qos in ["0", "1", "2"] {
            for scenario in [
                "pairs --pairs 5",
                "fanout --subscribers 7",
                "fanin --publishers 5",
                "pairs --pairs 4 --threads 2",
            ] {
                let line = format!("{scenario} --version {version} --qos {qos} --window 30");
                let report = clean(broker::start(), &line);
                assert!(report.latency_us.count > 10, "{line}: {report:?}");
            }
        }
    }
}

#[test]
fn a_fan_out_delivers_each_publish_to_every_subscriber() {
    let report = clean(broker::start(), "fanout --subscribers 7 --rate 200");
    assert_eq!(report.latency_us.count, 7 * 80);
}

#[test]
fn mqtt5_3_3_4_9_the_receive_maximum_of_the_server_is_kept() {
    // The broker announces 20, and ends itself where it finds more unacknowledged at once.
    let report = clean(
        broker::start(),
        "pairs --pairs 1 --version 5 --qos 1 --window 200",
    );
    assert!(report.latency_us.count > 40, "{report:?}");
}

#[test]
fn mqtt_over_websocket_arrives_though_packets_span_messages() {
    for version in ["3", "5"] {
        let server = websocket::front(broker::start());
        let report = clean(
            server,
            &format!("pairs --pairs 2 --ws --window 4 --version {version}"),
        );
        assert!(report.latency_us.count > 20, "{report:?}");
    }
}

#[test]
fn requests_have_one_outcome_each() {
    for version in ["3", "5"] {
        for load in [
            "--window 8",
            "--rate 1000",
            "--window 3 --qos 1",
            "--window 3 --qos 2",
        ] {
            let line = format!("api --requesters 3 --workers 2 --version {version} {load}");
            let report = clean(broker::start(), &line);
            assert!(report.latency_us.count > 10, "{line}: {report:?}");
        }
    }
}

#[test]
fn direct_messages_reach_the_worker_they_name() {
    for load in [
        "--window 8",
        "--rate 500",
        "--window 3 --qos 1",
        "--window 3 --threads 2",
    ] {
        for version in ["3", "5"] {
            let line = format!("direct --workers 3 --senders 2 --version {version} {load}");
            let report = clean(broker::start(), &line);
            assert_eq!(report.connections, 9, "{line}");
            assert!(report.latency_us.count > 10, "{line}: {report:?}");
        }
    }
    let report = load(
        broker::start(),
        "direct --workers 2 --app other --rate 100 --warmup 0 --duration 0.2 --drain 0.2",
    );
    assert_eq!(report.unwrap().faults.lost, 20, "there is no such worker");
}

#[test]
fn connects_are_counted_and_idle_connections_held() {
    let report = clean(broker::start(), "connect --concurrency 4");
    assert!(report.done > 20, "{report:?}");
    assert_eq!(report.unit, "connect");
    let pid = std::process::id();
    let report = clean(broker::start(), &format!("idle --count 50 --server-pid {pid}"));
    assert_eq!(report.connections, 50);
    assert!(report.server.unwrap().resident_before_bytes > 0);
}

#[test]
fn an_open_loop_of_connects_counts_what_it_planned() {
    let report = clean(broker::start(), "connect --concurrency 4 --rate 250");
    assert_eq!(report.latency_us.count, 100);
}
