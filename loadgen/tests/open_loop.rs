//! A stall of the server must show in the percentiles of an open loop: every message planned within it counts with
//! its whole wait.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers"
)]

mod support;

use loadgen::clock::{now_ns, sleep_until};
use support::{load, pass, relay, relay_of};

const MS: u64 = 1_000_000;

/// Stalls once, for 400 ms, at message 500.
fn stalling_server() -> std::net::SocketAddr {
    relay(|number, message, receiver| {
        if number == 500 {
            sleep_until(now_ns() + 400 * MS);
        }
        pass(message, receiver);
    })
}

#[test]
fn a_stall_shows_in_the_percentiles_of_an_open_loop() {
    let report = load(
        stalling_server(),
        "pairs --pairs 1 --raw --rate 1000 --warmup 0 --duration 2",
    )
    .unwrap();
    assert!(report.clean, "{:?}", report.faults);
    let latency = report.latency_us;
    assert_eq!(latency.count, 2_000);
    // 400 of 2,000 messages were planned within the stall; their waits fall evenly from 400 ms to 0. So 1 % of all
    // waited longer than 380 ms and 10 % longer than 200 ms. A loaded machine makes them longer, never shorter.
    assert!((380_000.0..600_000.0).contains(&latency.p99), "{latency:?}");
    assert!((195_000.0..400_000.0).contains(&latency.p90), "{latency:?}");
    assert!((398_000.0..800_000.0).contains(&latency.max), "{latency:?}");
}

#[test]
fn the_same_stall_is_one_slow_message_to_a_closed_loop() {
    let report = load(
        stalling_server(),
        "pairs --pairs 1 --raw --window 1 --warmup 0 --duration 2",
    )
    .unwrap();
    assert!(report.clean, "{:?}", report.faults);
    assert!(report.latency_us.max >= 398_000.0, "{:?}", report.latency_us);
    assert!(report.latency_us.p90 < 195_000.0, "{:?}", report.latency_us);
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
