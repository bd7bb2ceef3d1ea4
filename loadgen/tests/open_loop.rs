//! A stall of the server must show in the percentiles of an open loop: every message planned within it counts with
//! its whole wait.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers"
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loadgen::clock::{now_ns, sleep_until};
use loadgen::report::Report;
use loadgen::server::thread_waited_ns;
use support::{load, load_with_table, pass, relay, relay_of};

const MS: u64 = 1_000_000;
/// What sockets, timers and a histogram of three digits may add to a prediction, microseconds.
const SLACK_US: f64 = 40_000.0;

/// What a server did, as it measured it itself, nanoseconds.
#[derive(Default)]
struct Known {
    /// The length of its one stall.
    stall_ns: AtomicU64,
    /// How long it was ready to run and did not get a core.
    waited_ns: AtomicU64,
}

/// Answers at once, but stalls for 200 ms at message 500.
fn stalling_server() -> (SocketAddr, Arc<Known>) {
    let known = Arc::<Known>::default();
    let own = Arc::clone(&known);
    let address = relay(move |number, message, receiver| {
        if number == 500 {
            let from_ns = now_ns();
            sleep_until(from_ns + 200 * MS);
            own.stall_ns.store(now_ns() - from_ns, Ordering::Release);
        }
        pass(message, receiver);
        own.waited_ns.store(thread_waited_ns(), Ordering::Release);
    });
    (address, known)
}

/// How much later than predicted a message may be: what both sides had to wait for a core, and a little.
fn late_us(report: &Report, known: &Known) -> f64 {
    let waited = report.generator.thread_wait_percent[0] / 100.0 * report.measured_s * 1e6;
    waited + known.waited_ns.load(Ordering::Acquire) as f64 / 1e3 + SLACK_US
}

/// Messages are planned evenly over the run, so those planned within the stall wait for its rest: evenly from all of
/// it down to nothing. A part `p` of all messages is a part of the run's time, and that much less than the stall is what
/// the shortest of the longest waits is.
fn predicted_us(known: &Known, run_s: f64, longest: f64) -> f64 {
    known.stall_ns.load(Ordering::Acquire) as f64 / 1e3 - longest * run_s * 1e6
}

#[test]
fn a_stall_shows_in_the_percentiles_of_an_open_loop_as_arithmetic_says() {
    let (server, known) = stalling_server();
    let line = "pairs --pairs 1 --raw --rate 1000 --warmup 0 --duration 2";
    let (report, table) = load_with_table(server, line).unwrap();
    assert!(report.clean, "{:?}", report.faults);
    assert!(!table.contains("coordinated omission"), "{table}");
    let latency = report.latency_us;
    assert_eq!((latency.count, report.offered.rate_per_s), (2_000, Some(1_000.0)));
    let late = late_us(&report, &known);
    for (name, found, longest) in [
        ("p99", latency.p99, 0.01),
        ("p99.9", latency.p99_9, 0.001),
        ("max", latency.max, 0.0),
    ] {
        let expected = predicted_us(&known, 2.0, longest);
        // Two intervals of 1 ms: which messages a percentile falls between, and where in an interval the stall began.
        let least = expected - 2_000.0 - expected / 500.0;
        assert!(
            found >= least && found <= expected + late,
            "{name}: {found} is not {expected} (up to {late} later): {latency:?}"
        );
    }
}

#[test]
fn the_same_stall_is_one_slow_message_to_a_closed_loop_and_its_report_says_so() {
    let (server, known) = stalling_server();
    let line = "pairs --pairs 1 --raw --window 1 --warmup 0 --duration 2";
    let (report, table) = load_with_table(server, line).unwrap();
    assert!(report.clean, "{:?}", report.faults);
    let latency = report.latency_us;
    assert!(latency.count > 1_000, "{latency:?}");
    let stall = predicted_us(&known, 2.0, 0.0);
    assert!(latency.max >= stall * 0.99, "{latency:?}");
    // The percentile that the open loop puts within 20 ms of the stall.
    assert!(latency.p99 < stall / 2.0, "{latency:?}");
    assert_eq!(report.offered.window, Some(1));
    assert!(table.contains("coordinated omission"), "{table}");
}

#[test]
fn planned_times_go_on_while_the_socket_is_full() {
    // The server reads nothing for 800 ms, in which 16 MB are planned: far more than the socket's buffers and the
    // generator's bound on queued output hold. What waits unsent keeps its planned time.
    let address = relay_of(5_025, |number, message, receiver| {
        if number == 10 {
            sleep_until(now_ns() + 800 * MS);
        }
        pass(message, receiver);
    });
    let line = "pairs --pairs 1 --raw --payload 5000 --rate 4000 --warmup 0 --duration 1.2 --drain 20";
    let report = load(address, line).unwrap();
    assert!(report.clean, "{:?}", report.faults);
    let latency = report.latency_us;
    assert_eq!(latency.count, 4_800);
    // 3,200 of 4,800 messages were planned within the stall, evenly over it: half of all waited longer than
    // (3,200 - 2,400) / 4,000 s = 200 ms, and 1 % longer than 788 ms. Stamped when the socket took them, only the
    // first few hundred would show their wait.
    assert!(
        latency.p50 >= 195_000.0 && latency.p99 >= 780_000.0,
        "{latency:?}"
    );
    assert!(latency.min < 100_000.0, "{latency:?}");
}
