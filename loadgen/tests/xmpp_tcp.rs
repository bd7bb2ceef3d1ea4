//! XMPP over TCP (RFC 6120), sealed by STARTTLS or from the start: the same scenarios, found again in parts of elements.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers"
)]

mod support;

use std::net::SocketAddr;

use loadgen::report::Report;
use support::carrier::CERTIFICATE;
use support::xmpp::{Fault, Over, start_over};
use support::{accounts_file, load};

fn run(server: SocketAddr, accounts: &str, line: &str) -> Result<Report, String> {
    let file = accounts_file(accounts);
    let line = format!("{line} --protocol xmpp-tcp --accounts {}", file.display());
    let result = load(server, &format!("{line} --warmup 0.1 --duration 0.4 --drain 0.5"));
    std::fs::remove_file(file).unwrap();
    result
}

fn clean(over: Over, line: &str) -> Report {
    let report = run(start_over(over, Fault::None), "ok s\n", line).unwrap();
    assert!(report.clean, "{line}: {:?}", report.faults);
    report
}

#[test]
fn every_scenario_arrives_over_tcp() {
    for scenario in [
        "pairs --pairs 4 --window 8",
        "fanout --subscribers 5 --window 8",
        "fanin --publishers 3 --window 8 --threads 2",
        "room --occupants 4 --speakers 2 --window 4",
        "direct --workers 3 --senders 2 --window 4",
        "api --requesters 3 --workers 2 --window 4",
    ] {
        let report = clean(Over::Tcp, scenario);
        assert!(report.latency_us.count > 5, "{scenario}: {report:?}");
    }
    let report = clean(Over::Tcp, "fanout --subscribers 5 --rate 100");
    assert_eq!(report.latency_us.count, 5 * 40);
    assert_eq!(clean(Over::Tcp, "idle --count 20 --keepalive 1").connections, 20);
    assert!(clean(Over::Tcp, "connect --concurrency 4").done > 4);
}

#[test]
fn rfc6120_5_the_login_waits_for_tls() {
    for (over, option) in [(Over::StartTls, "--starttls"), (Over::Tls, "--tls")] {
        for scenario in ["pairs --pairs 4 --window 8", "connect --concurrency 4"] {
            let report = clean(over, &format!("{scenario} {option}"));
            assert!(report.done > 4, "{scenario} {option}: {report:?}");
        }
    }
    let said = run(start_over(Over::Tcp, Fault::None), "ok s\n", "idle --starttls").unwrap_err();
    assert!(said.contains("STARTTLS is not offered"), "{said}");
    let said = run(start_over(Over::StartTls, Fault::None), "ok s\n", "idle").unwrap_err();
    assert!(said.contains("SASL PLAIN is not offered"), "{said}");
}

#[test]
fn rfc6120_13_7_the_certificate_is_the_domains() {
    let authority = accounts_file(&CERTIFICATE.0);
    let line = format!("idle --count 3 --starttls --ca-file {}", authority.display());
    assert_eq!(clean(Over::StartTls, &line).connections, 3);
    let elsewhere = format!("{line} --domain example.org");
    let said = run(start_over(Over::StartTls, Fault::None), "ok s\n", &elsewhere).unwrap_err();
    assert!(said.contains("TLS") && said.contains("certificate"), "{said}");
    std::fs::remove_file(authority).unwrap();
}

#[test]
fn nobody_logs_in_by_sasl_anonymous() {
    let line = "pairs --protocol xmpp-tcp --anonymous --pairs 2 --rate 100 --warmup 0 --duration 0.4";
    let report = load(start_over(Over::Tcp, Fault::None), line).unwrap();
    assert_eq!((report.clean, report.latency_us.count), (true, 40));
}

#[test]
fn losses_are_counted_and_an_ended_stream_ends_the_run() {
    let report = run(
        start_over(Over::Tcp, Fault::Drops(20)),
        "ok s\n",
        "pairs --pairs 1 --rate 200",
    )
    .unwrap();
    assert_eq!((report.faults.lost, report.clean), (1, false));
    for (fault, why) in [
        (Fault::StreamError(5), "stream error policy-violation"),
        (Fault::Closes(5), "the end of the stream"),
        (Fault::Breaks(5), "ended"),
    ] {
        let said = run(start_over(Over::Tcp, fault), "ok s\n", "pairs --pairs 1").unwrap_err();
        assert!(said.contains(why), "{fault:?}: {said}");
    }
    let said = run(start_over(Over::Tcp, Fault::None), "wrong s\n", "idle --count 3").unwrap_err();
    assert!(said.contains("refused: SASL not-authorized"), "{said}");
}
