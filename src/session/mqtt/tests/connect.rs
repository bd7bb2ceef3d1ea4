//! CONNECT and CONNACK.

use super::*;
use crate::codec::mqtt::packet::Will;
use crate::limits;
use crate::route::{Login, Proof, Qos};
use crate::session::LoginFailure;
use crate::session::testing::Wait;

/// What a CONNECT leads to: what was asked, or what the client was told.
fn refused(connect: Connect<'_>, settings: Settings) -> (Disconnect, Vec<Packet<'static>>) {
    let mut client = Client::new(connect.version, settings);
    let (disconnect, told) = client.offend(&Packet::Connect(connect));
    assert!(client.peer.session.take_will().is_none());
    assert!(client.peer.session.next_timeout().is_none());
    (disconnect, told)
}

/// Checks that a CONNECT is refused with this reason code (5.0) or return code (3.1.1).
fn refused_with(connect: Connect<'_>, v5: u8, v311: Option<u8>, expected: Disconnect) {
    for version in BOTH {
        let (disconnect, told) = refused(Connect { version, ..connect }, settings());
        let codes: Vec<_> = told.iter().map(code).collect();
        let wanted = match version {
            V5 => vec![v5],
            V311 => v311.into_iter().collect(),
        };
        assert_eq!(codes, wanted, "{version:?} {connect:?}");
        assert_eq!(disconnect, expected, "{version:?} {connect:?}");
    }
}

fn login(connect: Connect<'_>) -> Login<'static> {
    let mut client = Client::new(connect.version, settings());
    match client.ask(&Packet::Connect(connect)) {
        Command::Login(login) => login,
        other => panic!("no login: {other:?}"),
    }
}

fn password<'a>(login: &Login<'a>) -> &'a [u8] {
    match login.proof {
        Proof::Password(password) => password,
        other => panic!("no password: {other:?}"),
    }
}

fn will<'a>(topic: &'a str) -> Will<'a> {
    Will {
        topic,
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: Properties::EMPTY,
    }
}

#[test]
fn nexus_3_user_name_is_the_account_and_client_identifier_the_resource() {
    for version in BOTH {
        let asked = login(connect(version));
        assert_eq!(
            (asked.account, asked.resource, password(&asked)),
            (account(), "w.1", &b"secret"[..])
        );
    }
}

#[test]
fn nexus_3_a_domain_of_ours_is_cut_off_the_user_name() {
    for domain in ["nexus.example", "NEXUS.Example", "other.example"] {
        let user_name = format!("{}@{domain}", account());
        let asked = login(Connect {
            user_name: Some(&user_name),
            ..connect(V5)
        });
        assert_eq!(asked.account, account());
    }
    for domain in ["", "stranger.example", "nexus.example@nexus.example"] {
        let user_name = format!("{}@{domain}", account());
        let connect = Connect {
            user_name: Some(&user_name),
            ..connect(V5)
        };
        refused_with(connect, 0x86, Some(4), Disconnect::BadCredentials);
    }
}

#[test]
fn nexus_3_nothing_that_names_an_account_is_refused() {
    let nobody = Connect {
        user_name: None,
        password: None,
        ..connect(V5)
    };
    refused_with(nobody, 0x87, Some(5), Disconnect::BadCredentials);
    let empty = Connect {
        user_name: Some(""),
        ..connect(V5)
    };
    refused_with(empty, 0x87, Some(5), Disconnect::BadCredentials);
    let domain_alone = Connect {
        user_name: Some("@nexus.example"),
        ..connect(V5)
    };
    refused_with(domain_alone, 0x86, Some(4), Disconnect::BadCredentials);
    let no_password = Connect {
        password: None,
        ..connect(V5)
    };
    refused_with(no_password, 0x86, Some(4), Disconnect::BadCredentials);
    let long = "x".repeat(limits::ACCOUNT_BYTES_MAX + 1);
    let too_long = Connect {
        user_name: Some(&long),
        ..connect(V5)
    };
    refused_with(too_long, 0x86, Some(4), Disconnect::BadCredentials);
}

#[test]
fn nexus_3_a_password_in_clear_is_refused_where_it_is_not_configured() {
    for version in BOTH {
        let settings = Arc::new(settings());
        let mut client = Client::new(version, Settings::default());
        client.peer = Peer::new(Session::new(&settings, Passwords::Refused, Now::default()));
        let (disconnect, told) = client.offend(&Packet::Connect(connect(version)));
        assert_eq!(disconnect, Disconnect::BadCredentials);
        assert_eq!(code(&told[0]), if version == V5 { 0x87 } else { 5 });
    }
}

#[test]
fn nexus_3_a_client_identifier_that_is_no_resource_is_refused() {
    let long = "x".repeat(129);
    for client_id in ["a/b", "a+", "#", "a@b", "a\u{7f}", &long] {
        let connect = Connect {
            client_id,
            ..connect(V5)
        };
        refused_with(connect, 0x85, Some(2), Disconnect::BadCredentials);
    }
}

#[test]
fn mqtt5_3_1_3_1_an_empty_client_identifier_is_assigned_and_told() {
    let mut client = Client::new(V5, settings());
    let empty = Connect {
        client_id: "",
        ..connect(V5)
    };
    let Command::Login(login) = client.ask(&Packet::Connect(empty)) else {
        panic!("no login");
    };
    assert_eq!(login.resource, "");
    client.attach(&identity("etest", "owner", "made-up"));
    let Packet::ConnAck(connack) = client.packet() else {
        panic!("no CONNACK");
    };
    let assigned = connack.properties.assigned_client_identifier();
    assert_eq!(assigned, Some("made-up"));
}

#[test]
fn mqtt311_3_1_3_1_an_empty_client_identifier_needs_a_clean_session() {
    let asked = login(Connect {
        client_id: "",
        ..connect(V311)
    });
    assert_eq!(asked.resource, "");
    let kept = Connect {
        client_id: "",
        clean: false,
        ..connect(V311)
    };
    let (disconnect, told) = refused(kept, settings());
    assert_eq!((disconnect, code(&told[0])), (Disconnect::BadCredentials, 2));
}

#[test]
fn mqtt5_3_2_2_3_connack_says_what_is_and_is_not_offered() {
    let mut client = Client::new(V5, settings());
    let asks = [
        Property::SessionExpiryInterval(300),
        Property::RequestResponseInformation(true),
    ];
    client.ask(&Packet::Connect(Connect {
        properties: Properties::list(&asks),
        clean: false,
        ..connect(V5)
    }));
    client.attach(&worker());
    let Packet::ConnAck(connack) = client.packet() else {
        panic!("no CONNACK");
    };
    assert!(!connack.session_present);
    assert_eq!(connack.code, 0);
    let expected = [
        Property::ReceiveMaximum(256),
        Property::MaximumPacketSize(1_048_576),
        Property::TopicAliasMaximum(16),
        Property::WildcardSubscriptionAvailable(true),
        Property::SubscriptionIdentifiersAvailable(true),
        Property::SharedSubscriptionAvailable(true),
        Property::ResponseInformation("$nexus/reply/"),
    ];
    assert_eq!(connack.properties.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn mqtt5_3_2_2_3_what_was_not_asked_for_is_not_told() {
    let mut client = Client::new(V5, settings());
    client.ask(&Packet::Connect(connect(V5)));
    client.attach(&worker());
    let Packet::ConnAck(connack) = client.packet() else {
        panic!("no CONNACK");
    };
    assert_eq!(connack.properties.session_expiry_interval_s(), None);
    assert_eq!(connack.properties.response_information(), None);
    assert_eq!(connack.properties.server_keep_alive_s(), None);
    assert_eq!(connack.properties.assigned_client_identifier(), None);
}

#[test]
fn mqtt311_3_2_2_2_no_session_is_present() {
    for clean in [true, false] {
        let mut client = Client::new(V311, settings());
        client.ask(&Packet::Connect(Connect {
            clean,
            ..connect(V311)
        }));
        client.attach(&worker());
        assert_eq!(client.peer.out.take(), [0x20, 2, 0, 0]);
    }
}

#[test]
fn mqtt5_3_2_2_3_14_only_a_keep_alive_over_the_bound_is_lowered() {
    for (asked_s, told_s) in [(0, Some(120)), (121, Some(120)), (120, None), (5, None)] {
        let settings = Settings {
            keep_alive_s_max: 120,
            ..settings()
        };
        let mut client = Client::new(V5, settings);
        client.ask(&Packet::Connect(Connect {
            keep_alive_s: asked_s,
            ..connect(V5)
        }));
        client.attach(&worker());
        let Packet::ConnAck(connack) = client.packet() else {
            panic!("no CONNACK");
        };
        assert_eq!(connack.properties.server_keep_alive_s(), told_s, "{asked_s}");
    }
}

#[test]
fn nexus_3_a_verdict_becomes_a_code() {
    for (failure, v5, v311) in [
        (LoginFailure::Denied, 0x86, 4),
        (LoginFailure::Unavailable, 0x88, 3),
    ] {
        for version in BOTH {
            let mut client = Client::new(version, settings());
            client.ask(&Packet::Connect(Connect {
                will: Some(will("a")),
                ..connect(version)
            }));
            let (session, out) = (&mut client.peer.session, &mut client.peer.out);
            session.attached(client.peer.now, Err(failure), out);
            assert_eq!(code(&client.packet()), if version == V5 { v5 } else { v311 });
            assert!(client.peer.session.take_will().is_none());
            assert!(client.peer.session.next_timeout().is_none());
        }
    }
}

#[test]
fn what_follows_connect_waits_for_the_verdict() {
    for version in BOTH {
        let mut client = Client::new(version, settings());
        client.ask(&Packet::Connect(connect(version)));
        assert!(client.send(&Packet::PingReq).unwrap().is_empty());
        assert_eq!(client.peer.waits, Some(Wait::Hold));
        assert!(client.packets().is_empty());
        client.attach(&worker());
        client.peer.feed(&[]).unwrap();
        let told = client.packets();
        assert!(
            matches!(told[..], [Packet::ConnAck(_), Packet::PingResp]),
            "{told:?}"
        );
    }
}

#[test]
fn mqtt5_3_1_0_1_anything_before_connect_closes_in_silence() {
    for version in BOTH {
        let mut client = Client::new(version, settings());
        let (disconnect, told) = client.offend(&Packet::PingReq);
        assert_eq!((disconnect, told), (Disconnect::ProtocolError, vec![]));
    }
}

#[test]
fn nexus_3_versions_that_are_not_spoken_are_told_in_the_nearest_one() {
    let connect = |name: &[u8], level: u8| {
        let mut bytes = vec![0x10, 0, 0, u8::try_from(name.len()).unwrap()];
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&[level, 2, 0, 60, 0, 0]);
        bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
        let mut client = Client::new(V5, settings());
        let disconnect = client.peer.feed(&bytes).unwrap_err();
        assert_eq!(disconnect, Disconnect::UnsupportedVersion);
        client.peer.out.take()
    };
    for (name, level) in [(&b"MQIsdp"[..], 3), (b"MQTT", 3), (b"MQTT", 0)] {
        assert_eq!(connect(name, level), [0x20, 2, 0, 1]);
    }
    assert_eq!(connect(b"MQTT", 6)[..4], [0x20, 3, 0, 0x84]);
    assert!(connect(b"AMQP", 4).is_empty());
}

#[test]
fn mqtt5_3_1_4_a_malformed_connect_is_told_so_in_5_0_alone() {
    for (version, told) in [(V311, &[][..]), (V5, &[0x20, 3, 0, 0x81, 0])] {
        let mut bytes = Vec::new();
        connect(version).encode_into(&mut bytes);
        bytes[9] |= 1;
        let mut client = Client::new(version, settings());
        assert_eq!(client.peer.feed(&bytes).unwrap_err(), Disconnect::Malformed);
        assert_eq!(client.peer.out.take(), told);
    }
}

#[test]
fn a_connect_over_the_budget_is_refused_from_its_header() {
    let mut client = Client::new(V5, settings());
    let mut header = vec![0x10];
    header.extend_from_slice(&[0xFF, 0xFF, 0x7F, 0, 4]);
    header.extend_from_slice(b"MQTT\x05");
    assert_eq!(client.peer.feed(&header).unwrap_err(), Disconnect::TooLarge);
    assert_eq!(client.packets().iter().map(code).collect::<Vec<_>>(), [0x95]);
}

#[test]
fn mqtt5_3_1_2_11_4_a_client_that_takes_no_connack_is_refused() {
    let refuse = |client_id: &'static str, bytes: u32| {
        let mut client = Client::new(V5, settings());
        client.send(&Packet::Connect(Connect {
            client_id,
            properties: Properties::list(&[Property::MaximumPacketSize(bytes)]),
            ..connect(V5)
        }))
    };
    assert_eq!(refuse("w.1", 63).unwrap_err(), Disconnect::TooLarge);
    assert_eq!(refuse("", 64).unwrap_err(), Disconnect::TooLarge);
    assert_eq!(refuse("w.1", 64).unwrap().len(), 1);
}

#[test]
fn the_longest_connack_fits_its_bound() {
    let settings = Settings {
        keep_alive_s_max: 1,
        ..settings()
    };
    let mut client = Client::new(V5, settings);
    let asks = [
        Property::SessionExpiryInterval(1),
        Property::RequestResponseInformation(true),
    ];
    client.ask(&Packet::Connect(Connect {
        client_id: "",
        properties: Properties::list(&asks),
        ..connect(V5)
    }));
    client.attach(&identity(
        "etest",
        "owner",
        &"x".repeat(limits::RESOURCE_BYTES_MAX),
    ));
    let len = client.peer.out.take().len();
    assert!(
        len <= limits::CONNACK_BYTES_MAX + 3 + limits::RESOURCE_BYTES_MAX,
        "{len}"
    );
}

#[test]
fn nexus_3_a_will_on_a_control_topic_or_no_channel_is_refused() {
    for topic in ["$nexus/api/etest/c", "$nexus/direct/etest/r", "$SYS/x", "a\u{1}"] {
        let connect = Connect {
            will: Some(will(topic)),
            ..connect(V5)
        };
        refused_with(connect, 0x90, Some(5), Disconnect::ProtocolError);
    }
}

#[test]
fn mqtt5_3_2_2_3_a_will_that_is_not_offered_is_refused() {
    let refused = |will| {
        let (disconnect, told) = refused(
            Connect {
                will: Some(will),
                ..connect(V5)
            },
            settings(),
        );
        assert_eq!(disconnect, Disconnect::ProtocolError);
        code(&told[0])
    };
    let no_text = Will {
        payload: &[0xFF],
        properties: Properties::list(&[Property::PayloadFormatIndicator(true)]),
        ..will("a")
    };
    assert_eq!(refused(no_text), 0x99);
}

#[test]
fn mqtt5_3_1_2_7_a_will_may_be_retained() {
    let mut client = Client::new(V5, settings());
    client.ask(&Packet::Connect(Connect {
        will: Some(Will {
            retain: true,
            ..will("plant/7")
        }),
        ..connect(V5)
    }));
    client.attach(&worker());
    assert!(client.peer.session.take_will().unwrap().retain);
}

#[test]
fn mqtt311_3_1_2_5_a_will_may_ask_for_anything() {
    let mut client = Client::new(V311, settings());
    client.ask(&Packet::Connect(Connect {
        will: Some(Will {
            retain: true,
            qos: QoS::ExactlyOnce,
            ..will("plant/7")
        }),
        ..connect(V311)
    }));
    client.attach(&worker());
    let left = client.peer.session.take_will().unwrap();
    assert_eq!((&*left.channel, &*left.payload), ("plant/7", &b"gone"[..]));
    assert_eq!((left.qos, left.retain), (Qos::ExactlyOnce, true));
    assert!(client.peer.session.take_will().is_none());
}

#[test]
fn nexus_3_forged_sender_properties_are_removed_from_a_will() {
    let mut client = Client::new(V5, settings());
    let properties = [
        Property::WillDelayInterval(9),
        Property::MessageExpiryInterval(60),
        Property::ContentType("text/plain"),
        Property::UserProperty("nexus-app", "forged"),
        Property::UserProperty("colour", "red"),
    ];
    client.ask(&Packet::Connect(Connect {
        will: Some(Will {
            properties: Properties::list(&properties),
            ..will("a")
        }),
        ..connect(V5)
    }));
    assert!(
        client.peer.session.take_will().is_none(),
        "not before it is attached"
    );
    client.attach(&worker());
    let left = client.peer.session.take_will().unwrap();
    assert_eq!(left.expiry_s, Some(60));
    let kept: Vec<_> = Properties::from_checked(&left.attributes).iter().collect();
    assert_eq!(kept, [properties[2], properties[4]]);
}

#[test]
fn a_connect_that_comes_byte_by_byte_is_the_same() {
    for version in BOTH {
        let mut bytes = Vec::new();
        connect(version).encode_into(&mut bytes);
        let mut client = Client::new(version, settings());
        for (at, byte) in bytes.iter().enumerate() {
            let commands = client.peer.feed(&[*byte]).unwrap();
            assert_eq!(commands.len(), usize::from(at + 1 == bytes.len()));
        }
    }
}
