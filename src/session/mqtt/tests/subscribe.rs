//! SUBSCRIBE and UNSUBSCRIBE.

use super::*;
use crate::codec::mqtt::packet::{Names, Unsubscribe};
use crate::limits;
use crate::route::{
    Completion, Qos, Refusal, Registration, RetainHandling, SenderPattern, Share, SubscriptionOptions,
    Ticket, Unregistration,
};
use crate::session::mqtt::control::{FORM_PLAIN, FORM_SENDER};

/// What the filters of a SUBSCRIBE become.
fn registered(client: &mut Client, packet: &Packet<'_>) -> Vec<Registration<'static>> {
    match client.ask(packet) {
        Command::Register { wanted, ticket } => {
            assert_eq!(ticket, Ticket(9));
            wanted
        }
        other => panic!("no registration: {other:?}"),
    }
}

fn one(version: Version, text: &str) -> Registration<'static> {
    let mut client = Client::attached(version);
    let filters = [filter(text, QoS::AtLeastOnce)];
    registered(&mut client, &subscription(&filters, &[])).remove(0)
}

fn unregistered(client: &mut Client, names: &[&str]) -> Vec<Unregistration<'static>> {
    let packet = Packet::Unsubscribe(Unsubscribe {
        packet_id: id(9),
        properties: Properties::EMPTY,
        filters: Names::list(names),
    });
    match client.ask(&packet) {
        Command::Unregister { unwanted, ticket } => {
            assert_eq!(ticket, Ticket(9));
            unwanted
        }
        other => panic!("no unregistration: {other:?}"),
    }
}

/// The codes that the session itself decided, as the client gets them.
fn decided(client: &mut Client, filters: &[&str]) -> Vec<u8> {
    let filters: Vec<_> = filters
        .iter()
        .map(|text| filter(text, QoS::AtLeastOnce))
        .collect();
    let results = registered(client, &subscription(&filters, &[]))
        .into_iter()
        .map(|registration| match registration {
            Registration::Decided(result) => result,
            other => panic!("not decided: {other:?}"),
        })
        .collect();
    client.peer.completed(Ticket(9), &Completion::Registered(results));
    match client.packet() {
        Packet::SubAck(suback) => suback.codes.to_vec(),
        other => panic!("no SUBACK: {other:?}"),
    }
}

#[test]
fn mqtt5_3_8_3_1_options_reach_the_router() {
    let mut client = Client::attached(V5);
    let filters = [
        Filter {
            no_local: true,
            retain_as_published: true,
            retain_handling: 1,
            ..filter("plant/+/alarm", QoS::AtLeastOnce)
        },
        filter("plant/#", QoS::AtMostOnce),
    ];
    let properties = [Property::SubscriptionIdentifier(268_435_455)];
    let wanted = registered(&mut client, &subscription(&filters, &properties));
    let [
        Registration::Channel {
            filter: first,
            from,
            options,
        },
        Registration::Channel {
            filter: second,
            options: others,
            ..
        },
    ] = wanted[..]
    else {
        panic!("{wanted:?}");
    };
    assert_eq!(
        (first, second, from),
        ("plant/+/alarm", "plant/#", SenderPattern::default())
    );
    let expected = SubscriptionOptions {
        qos: Qos::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retained: RetainHandling::IfNew,
        identifier: 268_435_455,
        form: FORM_PLAIN,
    };
    assert_eq!(options, expected);
    assert_eq!(
        (others.qos, others.no_local, others.identifier),
        (Qos::AtMostOnce, false, 268_435_455)
    );
}

#[test]
fn mqtt5_3_8_3_1_retain_handling_reaches_the_router() {
    let of = |version, retain_handling| {
        let filters = [Filter {
            retain_handling,
            ..filter("a", QoS::AtMostOnce)
        }];
        let mut client = Client::attached(version);
        match registered(&mut client, &subscription(&filters, &[]))[..] {
            [Registration::Channel { options, .. }] => options.retained,
            ref wanted => panic!("{wanted:?}"),
        }
    };
    assert_eq!(of(V5, 0), RetainHandling::Always);
    assert_eq!(of(V5, 1), RetainHandling::IfNew);
    assert_eq!(of(V5, 2), RetainHandling::Never);
    assert_eq!(of(V311, 0), RetainHandling::Always);
}

#[test]
fn mqtt5_3_8_4_8_qos_2_is_granted() {
    for version in BOTH {
        let mut client = Client::attached(version);
        let wanted = registered(&mut client, &subscription(&[filter("a", QoS::ExactlyOnce)], &[]));
        let [Registration::Channel { options, .. }] = wanted[..] else {
            panic!("{wanted:?}");
        };
        assert_eq!(options.qos, Qos::ExactlyOnce);
    }
}

#[test]
fn mqtt5_3_9_3_suback_has_a_code_for_each_filter_in_order() {
    let results = || {
        [
            Ok(Qos::AtMostOnce),
            Err(Refusal::NotAuthorized),
            Ok(Qos::AtLeastOnce),
            Err(Refusal::InvalidName),
            Err(Refusal::NotSupported),
            Err(Refusal::QuotaExceeded),
            Err(Refusal::Busy),
            Err(Refusal::TooLarge),
            Ok(Qos::ExactlyOnce),
        ]
        .into_iter()
        .collect()
    };
    for (version, codes) in [
        (V5, [0, 0x87, 1, 0x8F, 0x9E, 0x97, 0x97, 0x97, 2]),
        (V311, [0, 0x80, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 2]),
    ] {
        let mut client = Client::attached(version);
        client
            .peer
            .completed(Ticket(300), &Completion::Registered(results()));
        let Packet::SubAck(suback) = client.packet() else {
            panic!("no SUBACK");
        };
        assert_eq!((suback.packet_id, suback.codes), (id(300), &codes[..]));
    }
}

#[test]
fn nexus_3_channels_by_sender_are_subscribed_in_both_versions() {
    for version in BOTH {
        let registration = one(version, "$nexus/channel/etest/+/user/+/alerts/#");
        let Registration::Channel {
            filter,
            from,
            options,
        } = registration
        else {
            panic!("{registration:?}");
        };
        assert_eq!(
            (filter, from.app, from.resource),
            ("alerts/#", Some("etest"), None)
        );
        assert_eq!((from.uid, from.role), (None, Some(crate::route::Role::User)));
        assert_eq!(options.form, FORM_SENDER);
    }
}

#[test]
fn nexus_3_listeners_are_registered_in_the_forms_their_version_can_read() {
    for (version, text, expected) in [
        (V5, "$nexus/listen/multiply", FORM_PLAIN),
        (V5, "$nexus/listen/multiply/#", FORM_SENDER),
        (V311, "$nexus/listen/multiply/#", FORM_SENDER),
    ] {
        let registration = one(version, text);
        let Registration::Listen { cmd, options } = registration else {
            panic!("{registration:?}");
        };
        assert_eq!(
            (cmd, options.form, options.qos),
            ("multiply", expected, Qos::AtLeastOnce)
        );
    }
    for (version, text, expected) in [
        (V5, "$nexus/direct", FORM_PLAIN),
        (V5, "$nexus/direct/#", FORM_SENDER),
        (V311, "$nexus/direct/#", FORM_SENDER),
    ] {
        let registration = one(version, text);
        let Registration::Direct { options } = registration else {
            panic!("{registration:?}");
        };
        assert_eq!(options.form, expected);
    }
}

#[test]
fn nexus_3_the_5_0_forms_are_refused_to_3_1_1() {
    let mut client = Client::attached(V311);
    let codes = decided(&mut client, &["$nexus/listen/multiply", "$nexus/direct"]);
    assert_eq!(codes, [0x80, 0x80]);
}

#[test]
fn nexus_3_decided_refusals_of_filters() {
    let filters = [
        "$nexus/#",
        "$nexus/listen/#",
        "$nexus/listen/+",
        "$share/g/$nexus/listen/c",
        "$share/g/$nexus/direct/#",
        "$share/g/$SYS/#",
        "$SYSTEM/#",
        "$nexus/api/#",
        "$other/a",
        "a/\u{7f}",
    ];
    let mut client = Client::attached(V5);
    let codes = [0x8F, 0x8F, 0x8F, 0x8F, 0x8F, 0x8F, 0x87, 0x87, 0x87, 0x8F];
    assert_eq!(decided(&mut client, &filters), codes);
    let mut client = Client::attached(V311);
    assert_eq!(decided(&mut client, &filters), [0x80; 10]);
}

#[test]
fn nexus_3_sys_filters_are_for_the_router_to_grant_in_both_versions() {
    let settings = Settings {
        v3_plain_channels: false,
        ..settings()
    };
    for version in BOTH {
        let mut client = Client::attached_with(version, settings.clone(), &[]);
        let filters = [filter("$SYS/#", QoS::ExactlyOnce)];
        let wanted = registered(&mut client, &subscription(&filters, &[]));
        let options = SubscriptionOptions {
            qos: Qos::ExactlyOnce,
            form: FORM_PLAIN,
            ..SubscriptionOptions::default()
        };
        let expected = Registration::System {
            filter: "$SYS/#",
            options,
        };
        assert_eq!(format!("{:?}", wanted[0]), format!("{expected:?}"));
        client.peer.completed(
            Ticket(9),
            &Completion::Registered([Err(Refusal::NotAuthorized)].into_iter().collect()),
        );
        let refused = if version == V5 { 0x87 } else { 0x80 };
        match client.packet() {
            Packet::SubAck(suback) => assert_eq!(suback.codes, [refused]),
            other => panic!("no SUBACK: {other:?}"),
        }
        let unwanted = unregistered(&mut client, &["$SYS/#"]);
        let expected = Unregistration::System {
            filter: "$SYS/#",
            form: FORM_PLAIN,
        };
        assert_eq!(format!("{:?}", unwanted[0]), format!("{expected:?}"));
    }
}

#[test]
fn nexus_3_operators_may_forbid_plain_filters_of_3_1_1() {
    let settings = Settings {
        v3_plain_channels: false,
        ..settings()
    };
    let filters = [
        filter("alerts", QoS::AtMostOnce),
        filter("$nexus/channel/+/+/+/+/alerts", QoS::AtMostOnce),
    ];
    let mut client = Client::attached_with(V311, settings.clone(), &[]);
    let wanted = registered(&mut client, &subscription(&filters, &[]));
    let expected = [Registration::Decided(Err(Refusal::NotAuthorized))];
    assert_eq!(format!("{:?}", &wanted[..1]), format!("{expected:?}"));
    assert!(matches!(wanted[1], Registration::Channel { .. }));
    let mut client = Client::attached_with(V5, settings, &[]);
    let wanted = registered(&mut client, &subscription(&filters, &[]));
    assert!(matches!(wanted[0], Registration::Channel { .. }));
}

#[test]
fn nexus_3_filters_under_reply_are_granted() {
    for version in BOTH {
        let mut client = Client::attached(version);
        let codes = decided(
            &mut client,
            &["$nexus/reply/#", "$nexus/reply/+", "$nexus/reply/7"],
        );
        assert_eq!(codes, [1, 1, 1]);
    }
}

#[test]
fn filters_under_reply_are_bounded() {
    let mut client = Client::attached(V5);
    let filters: Vec<String> = (0..=limits::REPLY_FILTERS_PER_SESSION_MAX)
        .map(|n| format!("$nexus/reply/{n}"))
        .collect();
    let names: Vec<&str> = filters.iter().map(String::as_str).collect();
    let codes = decided(&mut client, &names);
    let (last, granted) = codes.split_last().unwrap();
    assert_eq!(*last, 0x97);
    assert!(granted.iter().all(|&code| code == 1));
    // One that is held can still be changed.
    assert_eq!(decided(&mut client, &names[..1]), [1]);
    let long = format!("$nexus/reply/{}", "x".repeat(limits::REPLY_FILTER_BYTES_MAX));
    assert_eq!(decided(&mut client, &[&long]), [0x97]);
}

#[test]
fn a_packet_of_more_filters_than_a_block_may_hold_ends_the_session() {
    let filters = vec![filter("a", QoS::AtMostOnce); limits::SUBSCRIPTIONS_PER_BLOCK_MAX + 1];
    let mut client = Client::attached(V5);
    let (disconnect, told) = client.offend(&subscription(&filters, &[]));
    assert_eq!((disconnect, code(&told[0])), (Disconnect::QuotaExceeded, 0x97));
    let Packet::Disconnect(told) = &told[0] else {
        panic!("{told:?}");
    };
    assert_eq!(
        told.properties.reason_string(),
        Some("more filters in a packet than a block may subscribe to")
    );
    let mut client = Client::attached(V5);
    let most = &filters[..limits::SUBSCRIPTIONS_PER_BLOCK_MAX];
    assert_eq!(
        registered(&mut client, &subscription(most, &[])).len(),
        most.len()
    );
}

#[test]
fn mqtt5_4_8_2_a_shared_filter_is_a_share_without_what_is_retained() {
    for version in BOTH {
        let registration = one(version, "$share/g/plant/+");
        let Registration::Shared { share, options } = registration else {
            panic!("{registration:?}");
        };
        assert_eq!(
            (share.name, share.filter, share.form),
            ("g", "plant/+", FORM_PLAIN)
        );
        let expected = SubscriptionOptions {
            qos: Qos::AtLeastOnce,
            ..SubscriptionOptions::default()
        };
        assert_eq!(options, expected);
        let Registration::Shared { share, .. } = one(version, "$share/g/$nexus/channel/etest/#") else {
            panic!();
        };
        assert_eq!(
            (share.filter, share.from.app, share.form),
            ("#", Some("etest"), FORM_SENDER)
        );
    }
    // Who must have the sender in every delivery has it in these as well.
    let settings = Settings {
        v3_plain_channels: false,
        ..settings()
    };
    let mut client = Client::attached_with(V311, settings, &[]);
    assert_eq!(decided(&mut client, &["$share/g/a"]), [0x80]);
}

#[test]
fn nexus_3_what_was_subscribed_can_be_unsubscribed() {
    let mut client = Client::attached(V5);
    decided(&mut client, &["$nexus/reply/#"]);
    let unwanted = unregistered(
        &mut client,
        &[
            "plant/#",
            "$nexus/channel/#",
            "$nexus/listen/c",
            "$nexus/listen/c/#",
            "$nexus/direct",
            "$nexus/reply/#",
            "$nexus/reply/#",
            "$share/g/a",
        ],
    );
    let expected = [
        Unregistration::Channel {
            filter: "plant/#",
            from: SenderPattern::default(),
            form: FORM_PLAIN,
        },
        Unregistration::Channel {
            filter: "#",
            from: SenderPattern::default(),
            form: FORM_SENDER,
        },
        Unregistration::Listen { cmd: "c" },
        Unregistration::Listen { cmd: "c" },
        Unregistration::Direct,
        Unregistration::Decided(Ok(true)),
        Unregistration::Decided(Ok(false)),
        Unregistration::Shared {
            share: Share {
                name: "g",
                filter: "a",
                from: SenderPattern::default(),
                form: FORM_PLAIN,
            },
        },
    ];
    assert_eq!(format!("{unwanted:?}"), format!("{expected:?}"));
}

#[test]
fn mqtt5_3_11_3_unsuback_has_a_code_for_each_filter_in_order_and_none_in_3_1_1() {
    let results = || {
        [
            Ok(true),
            Ok(false),
            Err(Refusal::NotAuthorized),
            Err(Refusal::InvalidName),
            Err(Refusal::Busy),
        ]
        .into_iter()
        .collect()
    };
    for (version, codes) in [(V5, &[0, 0x11, 0x87, 0x8F, 0x83][..]), (V311, &[])] {
        let mut client = Client::attached(version);
        client
            .peer
            .completed(Ticket(9), &Completion::Unregistered(results()));
        let Packet::UnsubAck(unsuback) = client.packet() else {
            panic!("no UNSUBACK");
        };
        assert_eq!((unsuback.packet_id, unsuback.codes), (id(9), codes));
    }
}
