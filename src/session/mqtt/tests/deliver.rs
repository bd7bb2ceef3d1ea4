//! PUBLISH to the client.

use std::time::Duration;

use super::*;
use crate::limits;
use crate::route::{ChannelMessage, Completion, Delivery, Qos, SubscriptionOptions, Ticket, Undelivered};
use crate::session::mqtt::control::{FORM_PLAIN, FORM_SENDER};
use crate::time::Instant;

pub(super) fn on(channel: &str, qos: Qos) -> ChannelMessage<'_> {
    ChannelMessage {
        channel,
        payload: b"text",
        attributes: &[],
        qos,
        retain: false,
        expires: None,
    }
}

pub(super) fn options(qos: Qos, form: u8) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        form,
        ..SubscriptionOptions::default()
    }
}

/// Delivers a channel message of [`sender`].
pub(super) fn channel(
    client: &mut Client,
    message: ChannelMessage<'_>,
    options: SubscriptionOptions,
    identifiers: &[u32],
) -> Result<(), Undelivered> {
    let from = sender();
    client.peer.deliver(&Delivery::Channel {
        message,
        sender: from.sender(),
        options,
        identifiers,
        share: None,
        is_shown: false,
    })
}

pub(super) fn sender() -> Identity {
    identity("plant", "user", "s.1")
}

/// What is appended to tell [`sender`].
pub(super) const SENDER: [Property<'static>; 4] = [
    Property::UserProperty("nexus-app", "plant"),
    Property::UserProperty("nexus-uid", UID),
    Property::UserProperty("nexus-role", "user"),
    Property::UserProperty("nexus-resource", "s.1"),
];

pub(super) fn publish(client: &mut Client) -> Publish<'static> {
    match client.packet() {
        Packet::Publish(publish) => publish,
        other => panic!("no PUBLISH: {other:?}"),
    }
}

pub(super) fn properties(publish: &Publish<'static>) -> Vec<Property<'static>> {
    publish.properties.iter().collect()
}

pub(super) const BY_SENDER: &str = "plant/0123456789abcdef01234567/user/s.1";

#[test]
fn nexus_3_every_5_0_delivery_tells_its_sender_after_the_senders_own_properties() {
    let own = [
        Property::UserProperty("a", "1"),
        Property::ContentType("text/plain"),
        Property::UserProperty("a", "2"),
    ];
    let mut attributes = Vec::new();
    own.iter()
        .for_each(|property| property.encode_into(&mut attributes));
    let mut client = Client::attached(V5);
    let message = ChannelMessage {
        attributes: &attributes,
        ..on("alerts", Qos::AtMostOnce)
    };
    channel(&mut client, message, options(Qos::AtMostOnce, FORM_PLAIN), &[]).unwrap();
    let publish = publish(&mut client);
    assert_eq!((publish.topic, publish.payload), ("alerts", &b"text"[..]));
    assert_eq!(properties(&publish), [&own[..], &SENDER].concat());
}

#[test]
fn nexus_4_of_a_room_s_stanza_mqtt_gets_the_text_alone() {
    for version in [V311, V5] {
        let mut client = Client::attached(version);
        let said = ChannelMessage {
            attributes: &[crate::session::STANZA_ATTRIBUTES, 3, 0, 1, b'x'],
            ..on("a", Qos::AtMostOnce)
        };
        let plain = options(Qos::AtMostOnce, FORM_PLAIN);
        channel(&mut client, said, plain, &[]).unwrap();
        let publish = publish(&mut client);
        assert_eq!((publish.topic, publish.payload), ("a", &b"text"[..]));
        let sender: &[_] = if version == V5 { &SENDER } else { &[] };
        assert_eq!(properties(&publish), sender);
        let state = ChannelMessage { payload: b"", ..said };
        let silent = channel(&mut client, state, plain, &[]);
        assert_eq!(silent, Err(Undelivered::NotText));
        // Without a stanza an empty payload is a message like any other.
        channel(
            &mut client,
            ChannelMessage {
                attributes: &[],
                ..state
            },
            plain,
            &[],
        )
        .unwrap();
    }
}

#[test]
fn nexus_3_the_sender_is_in_the_topic_where_it_was_asked_for() {
    for version in BOTH {
        let mut client = Client::attached(version);
        let asked = options(Qos::AtMostOnce, FORM_SENDER);
        channel(&mut client, on("plant/7", Qos::AtMostOnce), asked, &[]).unwrap();
        let publish = publish(&mut client);
        assert_eq!(publish.topic, format!("$nexus/channel/{BY_SENDER}/plant/7"));
        let expected = if version == V5 { &SENDER[..] } else { &[] };
        assert_eq!(properties(&publish), expected);
        assert_eq!(client.drops(Stage::Channel, DropReason::SenderHidden), 0);
    }
}

#[test]
fn nexus_3_a_sys_delivery_hides_no_sender_its_topic_says_it() {
    let mut client = Client::attached(V311);
    let plain = options(Qos::AtMostOnce, FORM_PLAIN);
    channel(&mut client, on("$SYS/broker/uptime", Qos::AtMostOnce), plain, &[]).unwrap();
    let publish = publish(&mut client);
    assert_eq!((publish.topic, publish.retain), ("$SYS/broker/uptime", false));
    assert_eq!(client.drops(Stage::Channel, DropReason::SenderHidden), 0);
}

#[test]
fn nexus_3_a_plain_delivery_to_3_1_1_is_counted() {
    for (version, hidden) in [(V311, 1), (V5, 0)] {
        let mut client = Client::attached(version);
        let plain = options(Qos::AtMostOnce, FORM_PLAIN);
        channel(&mut client, on("a", Qos::AtMostOnce), plain, &[]).unwrap();
        assert_eq!(publish(&mut client).topic, "a");
        assert_eq!(client.drops(Stage::Channel, DropReason::SenderHidden), hidden);
    }
}

#[test]
fn mqtt5_3_8_4_8_qos_is_the_lesser_of_message_and_subscription() {
    use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};
    for version in BOTH {
        for (sent, taken, expected) in [
            (AtMostOnce, AtLeastOnce, QoS::AtMostOnce),
            (AtLeastOnce, AtMostOnce, QoS::AtMostOnce),
            (AtLeastOnce, AtLeastOnce, QoS::AtLeastOnce),
            (ExactlyOnce, AtLeastOnce, QoS::AtLeastOnce),
            (ExactlyOnce, ExactlyOnce, QoS::ExactlyOnce),
        ] {
            let mut client = Client::attached(version);
            channel(&mut client, on("a", sent), options(taken, FORM_PLAIN), &[]).unwrap();
            assert_eq!(publish(&mut client).qos, expected);
        }
    }
}

#[test]
fn mqtt5_3_3_4_4_all_subscription_identifiers_are_named_in_5_0_alone() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        for version in BOTH {
            let mut client = Client::attached(version);
            channel(&mut client, on("a", qos), options(qos, FORM_PLAIN), &[3, 300]).unwrap();
            let publish = publish(&mut client);
            let named: Vec<_> = publish.properties.subscription_identifiers().collect();
            let expected: &[u32] = if version == V5 { &[3, 300] } else { &[] };
            assert_eq!(named, expected);
        }
    }
}

#[test]
fn mqtt5_3_3_1_13_retain_is_kept_for_who_asked_for_it() {
    for (as_published, expected) in [(true, true), (false, false)] {
        let mut client = Client::attached(V5);
        let message = ChannelMessage {
            retain: true,
            ..on("a", Qos::AtMostOnce)
        };
        let asked = SubscriptionOptions {
            retain_as_published: as_published,
            ..options(Qos::AtMostOnce, FORM_PLAIN)
        };
        channel(&mut client, message, asked, &[]).unwrap();
        assert_eq!(publish(&mut client).retain, expected);
    }
}

#[test]
fn mqtt5_3_3_2_3_3_what_is_left_of_the_expiry_is_told_rounded_up() {
    let expires = |ms: u64| ChannelMessage {
        expires: Some(Instant::from_nanos(ms * 1_000_000)),
        ..on("a", Qos::AtMostOnce)
    };
    let plain = options(Qos::AtMostOnce, FORM_PLAIN);
    let mut client = Client::attached(V5);
    client.peer.pass(Duration::from_secs(10));
    for (at_ms, left_s) in [(12_000, 2), (12_001, 3), (10_000, 0)] {
        channel(&mut client, expires(at_ms), plain, &[]).unwrap();
        let publish = publish(&mut client);
        assert_eq!(publish.properties.message_expiry_interval_s(), Some(left_s));
    }
    let late = channel(&mut client, expires(9_999), plain, &[]);
    assert_eq!(late, Err(Undelivered::Expired));
    assert!(client.packets().is_empty());
}

#[test]
fn one_encoding_serves_all_receivers_of_the_same_bytes() {
    let from = sender();
    let mut frames = crate::session::Frames::default();
    let mut shares = Vec::new();
    let retain = SubscriptionOptions {
        retain_as_published: true,
        ..options(Qos::AtMostOnce, FORM_PLAIN)
    };
    let plain = options(Qos::AtMostOnce, FORM_PLAIN);
    let spelled = options(Qos::AtMostOnce, FORM_SENDER);
    let mut written = Vec::new();
    for (version, options, identifiers) in [
        (V5, plain, &[][..]),
        (V5, plain, &[]),
        (V311, plain, &[]),
        (V311, plain, &[]),
        (V5, spelled, &[]),
        (V311, spelled, &[]),
        (V5, retain, &[]),
        (V5, plain, &[1]),
        (V311, plain, &[1]),
    ] {
        let mut client = Client::attached(version);
        let message = ChannelMessage {
            retain: true,
            ..on("a", Qos::AtMostOnce)
        };
        let delivery = Delivery::Channel {
            message,
            sender: from.sender(),
            options,
            identifiers,
            share: None,
            is_shown: false,
        };
        client
            .peer
            .session
            .deliver(Now::default(), &delivery, &mut frames, &mut client.peer.out)
            .unwrap();
        shares.push(client.peer.out.shares);
        written.push(client.peer.out.take());
    }
    assert_eq!(shares, [1, 0, 1, 0, 1, 1, 1, 0, 0]);
    assert_eq!((&written[0], &written[2]), (&written[1], &written[3]));
    // Each variant is what it would have been by itself.
    let mut seen: Vec<&Vec<u8>> = Vec::new();
    for bytes in [
        &written[0],
        &written[2],
        &written[4],
        &written[5],
        &written[6],
        &written[7],
    ] {
        assert!(!seen.contains(&bytes));
        seen.push(bytes);
    }
    assert_eq!(written[8], written[2]);
}

#[test]
fn a_frame_that_is_there_is_held_to_the_bounds_of_each_receiver() {
    let from = sender();
    let mut frames = crate::session::Frames::default();
    let expires = Some(Instant::from_nanos(1_000));
    let delivery = Delivery::Channel {
        message: ChannelMessage {
            expires,
            ..on("a", Qos::AtMostOnce)
        },
        sender: from.sender(),
        options: options(Qos::AtMostOnce, FORM_PLAIN),
        identifiers: &[],
        share: None,
        is_shown: false,
    };
    let mut give = |nanos: u64, stuck: usize| {
        let mut client = Client::attached(V311);
        client.peer.out.stuck = stuck;
        let now = Now {
            instant: Instant::from_nanos(nanos),
            ..Now::default()
        };
        let (session, out) = (&mut client.peer.session, &mut client.peer.out);
        let given = session.deliver(now, &delivery, &mut frames, out);
        (given, client.peer.out.take().len())
    };
    let (given, len) = give(0, 0);
    assert!(given.is_ok() && len > 0);
    let most = limits::SEND_QUEUE_BYTES_MAX;
    assert_eq!(give(0, most), (Ok(()), len));
    assert_eq!(give(0, most + 1), (Err(Undelivered::QueueFull), 0));
    assert_eq!(give(1_000, 0), (Ok(()), len));
    assert_eq!(give(1_001, 0), (Err(Undelivered::Expired), 0));
}

#[test]
fn mqtt5_3_1_2_24_the_senders_properties_count_against_maximum_packet_size() {
    let mut measure = Client::attached(V5);
    let plain = options(Qos::AtLeastOnce, FORM_PLAIN);
    for (qos, identifiers) in [
        (Qos::AtMostOnce, &[][..]),
        (Qos::AtMostOnce, &[1]),
        (Qos::AtLeastOnce, &[]),
    ] {
        channel(&mut measure, on("a", qos), plain, identifiers).unwrap();
        let len = u32::try_from(measure.peer.out.take().len()).unwrap();
        assert!(len > 90, "the sender is in it");
        for (most, expected) in [(len, Ok(())), (len - 1, Err(Undelivered::TooLarge))] {
            let asks = [Property::MaximumPacketSize(most)];
            let mut client = Client::attached_with(V5, settings(), &asks);
            assert_eq!(channel(&mut client, on("a", qos), plain, identifiers), expected);
            assert_eq!(client.packets().len(), usize::from(expected.is_ok()));
        }
    }
}

#[test]
fn who_is_not_there_gets_nothing() {
    let plain = options(Qos::AtMostOnce, FORM_PLAIN);
    let mut client = Client::new(V5, settings());
    let gone = channel(&mut client, on("a", Qos::AtMostOnce), plain, &[]);
    assert_eq!(gone, Err(Undelivered::Gone));
    client.ask(&Packet::Connect(connect(V5)));
    let gone = channel(&mut client, on("a", Qos::AtMostOnce), plain, &[]);
    assert_eq!(gone, Err(Undelivered::Gone));
    let mut client = Client::attached(V5);
    let leave = crate::codec::mqtt::packet::Disconnect {
        code: 0,
        properties: Properties::EMPTY,
    };
    client.ask(&Packet::Disconnect(leave));
    let gone = channel(&mut client, on("a", Qos::AtMostOnce), plain, &[]);
    assert_eq!(gone, Err(Undelivered::Gone));
    client.peer.completed(Ticket(7), &Completion::Requested);
    assert!(client.packets().is_empty());
}
