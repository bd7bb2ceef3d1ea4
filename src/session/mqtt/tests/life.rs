//! Keep alive, good-byes, and how a session ends.

use std::time::Duration;

use super::*;
use crate::codec::mqtt::packet::{self, Ack, Auth, ConnAck, SubAck, Will};
use crate::limits;
use crate::session::{Ending, Life};

fn client_disconnect(code: u8, properties: &[Property<'_>]) -> Packet<'static> {
    let properties = Properties::list(Vec::leak(
        properties
            .iter()
            .map(|property| match *property {
                Property::SessionExpiryInterval(seconds) => Property::SessionExpiryInterval(seconds),
                _ => panic!("not used here"),
            })
            .collect(),
    ));
    Packet::Disconnect(packet::Disconnect { code, properties })
}

/// A client that left a will.
fn mortal(version: Version, properties: &[Property<'_>]) -> Client {
    let mut client = Client::new(version, settings());
    client.ask(&Packet::Connect(Connect {
        properties: Properties::list(properties),
        will: Some(Will {
            topic: "last/words",
            payload: b"gone",
            qos: QoS::AtMostOnce,
            retain: false,
            properties: Properties::EMPTY,
        }),
        ..connect(version)
    }));
    client.attach(&worker());
    client.packets();
    client
}

#[test]
fn mqtt5_3_14_4_a_normal_good_bye_discards_the_will() {
    for version in BOTH {
        let mut client = mortal(version, &[]);
        let command = client.ask(&client_disconnect(0, &[]));
        assert!(matches!(command, Command::Leave), "{command:?}");
        assert!(client.peer.session.take_will().is_none());
        assert!(client.peer.session.next_timeout().is_none());
        // [MQTT-3.14.4-2]: nothing more is taken after it.
        assert!(client.send(&Packet::PingReq).unwrap().is_empty());
        assert!(client.packets().is_empty());
    }
}

#[test]
fn mqtt5_3_14_4_any_other_good_bye_keeps_the_will() {
    for code in [0x04, 0x80, 0x98] {
        let mut client = mortal(V5, &[]);
        let command = client.ask(&client_disconnect(code, &[]));
        assert!(matches!(command, Command::Leave), "{command:?}");
        let will = client.peer.session.take_will().unwrap();
        assert_eq!(&*will.channel, "last/words");
    }
}

#[test]
fn mqtt5_3_1_2_5_an_end_without_good_bye_leaves_the_will() {
    for version in BOTH {
        let mut client = mortal(version, &[]);
        client.offend(&Packet::Connect(connect(version)));
        assert!(client.peer.session.take_will().is_some());
        let mut client = mortal(version, &[]);
        assert!(client.peer.session.take_will().is_some());
    }
}

#[test]
fn mqtt5_3_14_2_2_2_a_session_expiry_may_not_be_raised_from_zero() {
    let raised = client_disconnect(0, &[Property::SessionExpiryInterval(60)]);
    let mut client = mortal(V5, &[]);
    let (disconnect, told) = client.offend(&raised);
    assert_eq!((disconnect, code(&told[0])), (Disconnect::ProtocolError, 0x82));
    assert!(client.peer.session.take_will().is_some());
    let mut client = mortal(V5, &[Property::SessionExpiryInterval(1)]);
    assert!(matches!(client.ask(&raised), Command::Leave));
}

#[test]
fn mqtt5_3_14_2_2_2_a_session_expiry_that_was_not_granted_may_be_asked_for_again() {
    let settings = Settings {
        session_expiry_s_max: 0,
        ..settings()
    };
    let asked = [Property::SessionExpiryInterval(60)];
    let mut client = Client::attached_with(V5, settings, &asked);
    let command = client.ask(&client_disconnect(0, &asked));
    assert!(matches!(command, Command::Leave), "{command:?}");
    assert!(client.packets().is_empty());
    assert_eq!(client.peer.session.life(), Life::Connection);
}

#[test]
fn mqtt5_3_1_0_2_what_a_client_may_not_send_ends_the_session() {
    let ack = SubAck {
        packet_id: id(1),
        properties: Properties::EMPTY,
        codes: &[0],
    };
    for version in BOTH {
        let connack = ConnAck {
            session_present: false,
            code: 0,
            properties: Properties::EMPTY,
        };
        for packet in [
            Packet::Connect(connect(version)),
            Packet::ConnAck(connack),
            Packet::SubAck(ack),
            Packet::PingResp,
        ] {
            let mut client = Client::attached(version);
            let (disconnect, told) = client.offend(&packet);
            assert_eq!(disconnect, Disconnect::ProtocolError, "{packet:?}");
            let codes: Vec<_> = told.iter().map(code).collect();
            let expected: &[u8] = if version == V5 { &[0x82] } else { &[] };
            assert_eq!(codes, expected, "{packet:?}");
        }
    }
}

#[test]
fn mqtt5_4_12_0_7_auth_without_a_method_in_connect_ends_the_session() {
    let mut client = Client::attached(V5);
    let (disconnect, told) = client.offend(&Packet::Auth(Auth {
        code: 0x19,
        properties: Properties::list(&[Property::AuthenticationMethod("x")]),
    }));
    assert_eq!((disconnect, code(&told[0])), (Disconnect::ProtocolError, 0x82));
}

#[test]
fn mqtt5_4_13_malformed_bytes_are_told_in_5_0_alone() {
    for (version, expected) in [(V5, vec![0x81]), (V311, vec![])] {
        let mut client = Client::attached(version);
        assert_eq!(client.peer.feed(&[0xC1, 0]).unwrap_err(), Disconnect::Malformed);
        assert_eq!(client.packets().iter().map(code).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn mqtt5_3_2_2_3_6_a_packet_over_the_maximum_is_refused_from_its_header() {
    for (version, expected) in [(V5, vec![0x95]), (V311, vec![])] {
        let mut client = Client::attached(version);
        let disconnect = client.peer.feed(&[0x30, 0xFF, 0xFF, 0x7F]).unwrap_err();
        assert_eq!(disconnect, Disconnect::TooLarge);
        assert_eq!(client.packets().iter().map(code).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn mqtt5_3_1_2_11_7_reason_strings_are_for_who_wants_them() {
    for (wanted, expected) in [(true, Some("reserved flags in the fixed header")), (false, None)] {
        let properties = [Property::RequestProblemInformation(wanted)];
        let mut client = Client::attached_with(V5, settings(), &properties);
        client.peer.feed(&[0xC1, 0]).unwrap_err();
        let Packet::Disconnect(told) = client.packet() else {
            panic!("no DISCONNECT");
        };
        assert_eq!(told.properties.reason_string(), expected);
    }
}

#[test]
fn mqtt5_3_1_2_24_a_reason_string_that_does_not_fit_is_left_out() {
    let text = |packet: &Packet<'static>| match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) => ack.properties.reason_string(),
        Packet::Disconnect(disconnect) => disconnect.properties.reason_string(),
        _ => panic!("{packet:?}"),
    };
    let grammar = Some("a name in the topic breaks its grammar");
    let flags = Some("reserved flags in the fixed header");
    // As many bytes as a packet with its text has, and one less.
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for (bytes_max, expected) in [(47, grammar), (46, None)] {
            let mut client = Client::attached(V5);
            client.peer.session.client_packet_bytes_max = bytes_max;
            client
                .send(&Packet::Publish(message("$nexus/direct/etest", qos, &[])))
                .unwrap();
            let told = client.packet();
            assert_eq!((code(&told), text(&told)), (0x90, expected), "{qos:?}");
        }
    }
    for (bytes_max, expected) in [(41, flags), (40, None)] {
        let mut client = Client::attached(V5);
        client.peer.session.client_packet_bytes_max = bytes_max;
        client.peer.feed(&[0xC1, 0]).unwrap_err();
        let told = client.packet();
        assert_eq!((code(&told), text(&told)), (0x81, expected));
    }
}

#[test]
fn mqtt5_3_12_ping_is_answered() {
    for version in BOTH {
        let mut client = Client::attached(version);
        assert!(client.send(&Packet::PingReq).unwrap().is_empty());
        assert_eq!(client.packet(), Packet::PingResp);
    }
}

#[test]
fn mqtt5_3_1_2_22_silence_for_one_and_a_half_times_the_keep_alive_ends_the_session() {
    for (version, expected) in [(V5, vec![0x8D]), (V311, vec![])] {
        let mut client = Client::attached(version);
        client.peer.pass(Duration::from_millis(89_999));
        assert_eq!(client.peer.timeout(), Ok(()));
        client.send(&Packet::PingReq).unwrap();
        client.packets();
        let deadline = client.peer.session.next_timeout().unwrap();
        assert_eq!(deadline - client.peer.now.instant, Duration::from_secs(90));
        client.peer.pass(Duration::from_secs(90));
        assert_eq!(client.peer.timeout(), Err(Disconnect::TimedOut));
        assert_eq!(client.packets().iter().map(code).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn mqtt5_3_2_2_3_14_a_server_keep_alive_counts_in_place_of_the_clients() {
    for (asked_s, counts_s) in [(0, 20), (600, 20), (10, 10)] {
        let settings = Settings {
            keep_alive_s_max: 20,
            ..settings()
        };
        let mut client = Client::new(V5, settings);
        client.ask(&Packet::Connect(Connect {
            keep_alive_s: asked_s,
            ..connect(V5)
        }));
        client.attach(&worker());
        client.packets();
        let wait = Duration::from_millis(counts_s * 1_500);
        client.peer.pass(wait - Duration::from_millis(1));
        assert_eq!(client.peer.timeout(), Ok(()), "{asked_s}");
        client.send(&Packet::PingReq).unwrap();
        assert!(matches!(client.packet(), Packet::PingResp));
        client.peer.pass(wait);
        assert_eq!(client.peer.timeout(), Err(Disconnect::TimedOut), "{asked_s}");
        assert_eq!(code(&client.packet()), 0x8D);
    }
}

#[test]
fn mqtt311_3_1_2_10_a_client_that_cannot_be_told_keeps_its_keep_alive() {
    let settings = Settings {
        keep_alive_s_max: 20,
        ..settings()
    };
    let mut client = Client::new(V311, settings);
    client.ask(&Packet::Connect(Connect {
        keep_alive_s: 600,
        ..connect(V311)
    }));
    client.attach(&worker());
    client.peer.pass(Duration::from_secs(899));
    assert_eq!(client.peer.timeout(), Ok(()));
    client.peer.pass(Duration::from_secs(1));
    assert_eq!(client.peer.timeout(), Err(Disconnect::TimedOut));
}

#[test]
fn mqtt5_3_1_2_10_bytes_that_complete_no_packet_are_silence() {
    let mut client = Client::attached(V5);
    let deadline = client.peer.session.next_timeout();
    client.peer.pass(Duration::from_secs(30));
    client.peer.feed(&[0x30]).unwrap();
    assert_eq!(client.peer.session.next_timeout(), deadline);
}

#[test]
fn mqtt5_3_1_2_10_no_keep_alive_is_no_deadline() {
    for version in BOTH {
        let mut client = Client::new(version, settings());
        client.ask(&Packet::Connect(Connect {
            keep_alive_s: 0,
            ..connect(version)
        }));
        client.attach(&worker());
        assert_eq!(client.peer.session.next_timeout(), None);
    }
}

#[test]
fn a_connection_that_does_not_log_in_in_time_is_closed() {
    let limit = Duration::from_millis(limits::PRELOGIN_MS_MAX);
    let mut client = Client::new(V5, settings());
    client.peer.pass(limit - Duration::from_nanos(1));
    assert_eq!(client.peer.timeout(), Ok(()));
    client.peer.pass(Duration::from_nanos(1));
    assert_eq!(client.peer.timeout(), Err(Disconnect::TimedOut));
    assert!(client.packets().is_empty());
}

#[test]
fn nexus_3_a_verdict_that_does_not_come_is_unavailable() {
    for (version, expected) in [(V5, 0x88), (V311, 3)] {
        let mut client = Client::new(version, settings());
        client.ask(&Packet::Connect(connect(version)));
        client.peer.pass(Duration::from_millis(limits::PRELOGIN_MS_MAX));
        assert_eq!(client.peer.timeout(), Err(Disconnect::TimedOut));
        assert_eq!(code(&client.packet()), expected);
        // The verdict that comes late finds nobody.
        client.attach(&worker());
        assert!(client.packets().is_empty());
    }
}

#[test]
fn mqtt5_3_14_2_1_each_ending_has_its_code_and_the_will_is_left() {
    for (ending, expected) in [
        (Ending::TakenOver, 0x8E),
        (Ending::Shutdown, 0x8B),
        (Ending::Revoked, 0x98),
        (Ending::SlowReceiver, 0x97),
        (Ending::TooMuchUnfinished, 0x97),
    ] {
        for version in BOTH {
            let mut client = mortal(version, &[]);
            let (session, out) = (&mut client.peer.session, &mut client.peer.out);
            session.end(client.peer.now, ending, out);
            let codes: Vec<_> = client.packets().iter().map(code).collect();
            assert_eq!(codes, if version == V5 { vec![expected] } else { vec![] });
            assert!(client.peer.session.take_will().is_some());
        }
    }
}

#[test]
fn mqtt5_3_14_0_1_an_ending_before_connack_is_a_connack() {
    for (version, expected) in [(V5, 0x88), (V311, 3)] {
        let mut client = Client::new(version, settings());
        client.ask(&Packet::Connect(connect(version)));
        let (session, out) = (&mut client.peer.session, &mut client.peer.out);
        session.end(client.peer.now, Ending::Shutdown, out);
        assert_eq!(code(&client.packet()), expected);
    }
    let mut client = Client::new(V5, settings());
    let (session, out) = (&mut client.peer.session, &mut client.peer.out);
    session.end(client.peer.now, Ending::Shutdown, out);
    assert!(client.packets().is_empty());
}

#[test]
fn who_asks_and_never_reads_is_closed() {
    let mut client = Client::attached(V5);
    client.peer.out.stuck = limits::SEND_QUEUE_ANSWERS_BYTES_MAX;
    assert!(client.send(&Packet::PingReq).unwrap().is_empty());
    assert_eq!(client.packet(), Packet::PingResp);
    client.peer.out.stuck += 1;
    let (disconnect, told) = client.offend(&Packet::PingReq);
    assert_eq!((disconnect, code(&told[0])), (Disconnect::SlowReceiver, 0x97));
}

#[test]
fn what_idles_keeps_nothing_of_a_burst() {
    let mut client = Client::attached(V311);
    client.ask(&Packet::Publish(message("a", QoS::ExactlyOnce, &[])));
    assert!(client.peer.session.messages.is_some());
    client.send(&Packet::PingReq).unwrap();
    assert!(client.peer.session.messages.is_some(), "an exchange is open");
    let release = Packet::PubRel(Ack {
        packet_id: id(7),
        code: 0,
        properties: Properties::EMPTY,
    });
    client.send(&release).unwrap();
    client.send(&Packet::PingReq).unwrap();
    assert!(client.peer.session.messages.is_none());
}
