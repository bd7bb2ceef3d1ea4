//! What a server does wrong is counted for what it is.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers"
)]

mod support;

use support::{RAW_BYTES, accounts_file, broker, load, pass, relay};

const LINE: &str = "pairs --pairs 1 --raw --rate 500 --warmup 0 --duration 0.4 --drain 0.3";

#[test]
fn a_dropped_message_is_lost() {
    let address = relay(|number, message, receiver| {
        if number != 50 {
            pass(message, receiver);
        }
    });
    let report = load(address, LINE).unwrap();
    assert!(!report.clean);
    assert_eq!(
        (
            report.faults.lost,
            report.faults.doubled,
            report.faults.misordered
        ),
        (1, 0, 0)
    );
    assert_eq!(report.latency_us.count, 199);
}

#[test]
fn a_repeated_message_is_doubled() {
    let address = relay(|number, message, receiver| {
        pass(message, receiver);
        if number == 50 {
            pass(message, receiver);
        }
    });
    let report = load(address, LINE).unwrap();
    assert!(!report.clean);
    assert_eq!(
        (
            report.faults.lost,
            report.faults.doubled,
            report.faults.misordered
        ),
        (0, 1, 0)
    );
}

#[test]
fn a_swapped_message_is_misordered() {
    let mut held = [0; RAW_BYTES];
    let address = relay(move |number, message, receiver| match number {
        50 => held.copy_from_slice(message),
        51 => {
            pass(message, receiver);
            pass(&held, receiver);
        }
        _ => pass(message, receiver),
    });
    let report = load(address, LINE).unwrap();
    assert!(!report.clean);
    assert_eq!(
        (
            report.faults.lost,
            report.faults.doubled,
            report.faults.misordered
        ),
        (0, 0, 1)
    );
}

#[test]
fn an_altered_message_is_wrong() {
    let address = relay(|number, message, receiver| {
        let mut altered = message.to_vec();
        if number == 50 {
            altered[RAW_BYTES - 1] ^= 1;
        }
        pass(&altered, receiver);
    });
    let report = load(address, LINE).unwrap();
    assert!(!report.clean);
    assert_eq!((report.faults.lost, report.faults.wrong), (0, 1));
}

#[test]
fn a_closed_loop_goes_on_after_a_loss() {
    let address = relay(|number, message, receiver| {
        if number != 50 {
            pass(message, receiver);
        }
    });
    let report = load(
        address,
        "pairs --pairs 1 --raw --window 1 --warmup 0 --duration 6 --drain 0.3",
    )
    .unwrap();
    assert_eq!((report.faults.lost, report.faults.stalls), (1, 1));
    assert!(report.done > 200, "{report:?}");
}

#[test]
fn an_ended_connection_ends_the_run_with_its_reason() {
    let address = relay(|number, _, receiver| {
        if number == 5 {
            receiver.shutdown(std::net::Shutdown::Both).unwrap();
        }
    });
    let fault = load(address, LINE).unwrap_err();
    assert!(fault.contains("ended"), "{fault}");
}

#[test]
fn a_refused_login_ends_the_run_with_its_code() {
    let accounts = accounts_file("wrong s\n");
    let line = format!("pairs --pairs 1 --duration 0.2 --accounts {}", accounts.display());
    for (version, code) in [("3", "0x05"), ("5", "0x87")] {
        let fault = load(broker::start(), &format!("{line} --version {version}")).unwrap_err();
        assert!(fault.contains("refused") && fault.contains(code), "{fault}");
    }
    std::fs::remove_file(accounts).unwrap();
}

#[test]
fn refused_connects_are_counted_by_code() {
    let accounts = accounts_file("ok s\nwrong s\n");
    let line = format!(
        "connect --concurrency 2 --warmup 0 --duration 0.3 --accounts {}",
        accounts.display()
    );
    let report = load(broker::start(), &line).unwrap();
    assert!(report.done > 10 && !report.clean);
    assert!(
        report
            .faults
            .failed
            .get("CONNACK 0x05")
            .is_some_and(|count| *count > 10),
        "{:?}",
        report.faults
    );
    std::fs::remove_file(accounts).unwrap();
}

#[test]
fn a_failure_outcome_is_counted_by_code() {
    let line = "api --cmd missing --warmup 0 --duration 0.2 --drain 0.3";
    let report = load(broker::start(), line).unwrap();
    assert!(
        report
            .faults
            .failed
            .get("code -500")
            .is_some_and(|count| *count > 0),
        "{:?}",
        report.faults
    );
    assert_eq!((report.faults.lost, report.done), (0, 0));
}
