//! The command line: what goes together and what does not.

use super::*;
use crate::protocol::Version;
use crate::scenario::Load;

fn common(extra: &[&str]) -> Common {
    let line = ["nexus-loadgen", "pairs", "--server", "127.0.0.1:1883"];
    let cli = Cli::try_parse_from(line.iter().chain(extra)).unwrap();
    let Some(ScenarioArgs::Pairs { common, .. }) = cli.into_scenario() else {
        panic!()
    };
    common
}

#[test]
fn the_command_line_is_consistent() {
    <Cli as clap::CommandFactory>::command().debug_assert();
    assert_eq!(common(&[]).settings(1).unwrap().load, Load::Closed { window: 1 });
    assert_eq!(
        common(&["--rate", "5"]).settings(1).unwrap().load,
        Load::Open { rate_hz: 5.0 }
    );
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    for extra in [
        &["--version", "4"][..],
        &["--payload", "23"],
        &["--rate", "0"],
        &["--raw", "--threads", "2"],
        &["--protocol", "xmpp"],
        &["--resume"],
        &["--protocol", "xmpp-tcp", "--anonymous", "--ws"],
    ] {
        assert!(common(extra).settings(1).is_err(), "{extra:?}");
    }
    let line = [
        "nexus-loadgen",
        "idle",
        "--server",
        "127.0.0.1:1883",
        "--returning",
    ];
    assert!(Cli::try_parse_from(line).is_err(), "of which run?");
    let both = [
        "nexus-loadgen",
        "pairs",
        "--server",
        "a:1",
        "--rate",
        "5",
        "--window",
        "2",
    ];
    assert!(Cli::try_parse_from(both).is_err());
}

#[test]
fn starttls_is_for_whoever_speaks_xmpp_over_tcp() {
    let endpoints = |line: &str| {
        let words = line.split(' ').chain(["--server", "127.0.0.1:5", "--starttls"]);
        let cli = Cli::try_parse_from(["nexus-loadgen"].into_iter().chain(words)).unwrap();
        let scenario = cli.into_scenario().unwrap();
        let wire = scenario.common().settings(1).unwrap().wire;
        scenario.endpoints(wire)
    };
    let web = "--web-server 127.0.0.1:6 --web-protocol";
    for (line, sealed) in [
        (
            "pairs --protocol xmpp-tcp --anonymous".to_owned(),
            [true].as_slice(),
        ),
        (format!("mixed --rate 1 {web} xmpp-tcp"), &[false, true]),
    ] {
        let there = endpoints(&line).unwrap();
        let found: Vec<_> = there.iter().map(|there| there.tls.is_some()).collect();
        assert_eq!(found, sealed, "{line}");
    }
    for line in ["pairs".to_owned(), format!("mixed --rate 1 {web} xmpp")] {
        assert!(endpoints(&line).unwrap_err().contains("--starttls"), "{line}");
    }
    let both = "nexus-loadgen pairs --server a:1 --protocol xmpp-tcp --tls --starttls";
    assert!(Cli::try_parse_from(both.split(' ')).is_err());
}

#[test]
fn relays_and_other_listeners_are_for_scenarios_that_can_use_them() {
    let endpoints = |line: &str| {
        let words = line.split(' ').chain(["--server", "127.0.0.1:5"]);
        let cli = Cli::try_parse_from(["nexus-loadgen"].into_iter().chain(words)).unwrap();
        let scenario = cli.into_scenario().unwrap();
        let wire = scenario.common().settings(1).unwrap().wire;
        scenario.endpoints(wire)
    };
    let other = "--other-server 127.0.0.1:6";
    for scenario in ["pairs", "fanout", "fanin"] {
        let there = endpoints(&format!("{scenario} {other} --across")).unwrap();
        let ports: Vec<_> = there.iter().map(|there| there.server.port()).collect();
        assert_eq!(ports, [5, 6], "{scenario}");
        assert_eq!(there[0].wire, there[1].wire, "{scenario}");
    }
    for scenario in ["pairs", "fanout", "fanin", "api"] {
        assert!(endpoints(&format!("{scenario} --raw")).is_ok(), "{scenario}");
    }
    for scenario in ["api", "direct", "idle", "connect", "mixed --rate 1"] {
        let said = endpoints(&format!("{scenario} {other}")).unwrap_err();
        assert!(said.contains("--other-server"), "{scenario}: {said}");
    }
    for scenario in ["direct", "idle", "connect", "mixed --rate 1"] {
        let said = endpoints(&format!("{scenario} --raw")).unwrap_err();
        assert!(said.contains("--raw"), "{scenario}: {said}");
    }
    let alone = "nexus-loadgen pairs --server a:1 --across";
    assert!(Cli::try_parse_from(alone.split(' ')).is_err(), "across what?");
}

#[test]
fn workers_may_speak_another_protocol_elsewhere() {
    let mqtt = common(&[]);
    assert!(mqtt.worker_endpoint(Protocol::Mqtt, None).unwrap().is_none());
    assert!(mqtt.worker_endpoint(Protocol::Xmpp, None).is_err());
    let there = mqtt
        .worker_endpoint(Protocol::Xmpp, Some("127.0.0.1:5"))
        .unwrap()
        .unwrap();
    assert_eq!((there.wire, there.ws_path.as_deref()), (Wire::Xmpp, Some("/ws")));
    let xmpp = common(&["--protocol", "xmpp"]);
    let there = xmpp
        .worker_endpoint(Protocol::Mqtt, Some("127.0.0.1:5"))
        .unwrap()
        .unwrap();
    assert_eq!((there.wire, there.ws_path), (Wire::Mqtt(Version::V3), None));
    assert_eq!(xmpp.endpoint(Wire::Xmpp).unwrap().ws_path.as_deref(), Some("/ws"));
}

#[test]
fn tls_is_spoken_where_it_is_asked_for_and_its_authorities_are_read() {
    assert!(common(&[]).endpoint(Wire::Xmpp).unwrap().tls.is_none());
    let sealed = common(&["--tls", "--tls-resume"]);
    assert!(sealed.endpoint(Wire::Xmpp).unwrap().tls.is_some());
    let there = sealed.worker_endpoint(Protocol::Mqtt, Some("[::1]:5"));
    assert!(there.unwrap().unwrap().tls.is_some());
    let nowhere = common(&["--tls", "--ca-file", "/nowhere/ca.pem"]);
    let said = nowhere.endpoint(Wire::Xmpp).unwrap_err();
    assert!(said.starts_with("--ca-file /nowhere/ca.pem: "), "{said}");
    let line = ["nexus-loadgen", "idle", "--server", "a:1", "--ca-file", "x"];
    assert!(Cli::try_parse_from(line).is_err());
}

#[test]
fn a_raw_message_is_as_long_as_the_publish_it_stands_for() {
    let wire = common(&["--raw"]).settings(1).unwrap().wire;
    assert_eq!(
        wire,
        Wire::Raw {
            frame_bytes: 2 + 2 + 20 + 100,
            payload_bytes: 100
        }
    );
}
