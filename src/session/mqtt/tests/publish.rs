//! PUBLISH from the client.

use std::time::Duration;

use super::*;
use crate::codec::mqtt::packet::Ack;
use crate::limits;
use crate::route::{ApiRequest, ChannelMessage, Completion, DirectOutcome, Qos, Reach, Refusal, Ticket};
use crate::session::testing::Wait;

fn published(command: Command<'static>) -> (ChannelMessage<'static>, Option<Ticket>) {
    match command {
        Command::Publish { message, ticket } => (message, ticket),
        other => panic!("no publish: {other:?}"),
    }
}

pub(super) fn requested(command: Command<'static>) -> ApiRequest<'static> {
    match command {
        Command::Request { request, .. } => request,
        other => panic!("no request: {other:?}"),
    }
}

fn ack(number: u16) -> Ack<'static> {
    Ack {
        packet_id: id(number),
        code: 0,
        properties: Properties::EMPTY,
    }
}

/// What a PUBLISH that goes no further is acknowledged with; nothing at QoS 0.
pub(super) fn dropped(version: Version, publish: Publish<'_>) -> (Option<u8>, Client) {
    let mut client = Client::attached(version);
    let commands = client.send(&Packet::Publish(publish)).unwrap();
    assert!(commands.is_empty(), "{commands:?}");
    let told = client.packets();
    (told.first().map(code), client)
}

#[test]
fn mqtt5_3_3_a_channel_message_reaches_the_router() {
    for version in BOTH {
        for (qos, ticket, expected) in [
            (QoS::AtMostOnce, None, Qos::AtMostOnce),
            (QoS::AtLeastOnce, Some(Ticket(7)), Qos::AtLeastOnce),
        ] {
            let mut client = Client::attached(version);
            let command = client.ask(&Packet::Publish(message("plant/7", qos, &[])));
            let (message, given) = published(command);
            assert_eq!((message.channel, message.payload), ("plant/7", &b"{}"[..]));
            assert_eq!((message.qos, given), (expected, ticket));
            assert_eq!((message.retain, message.expires), (false, None));
            assert!(message.attributes.is_empty());
            assert!(client.packets().is_empty(), "acknowledged when it is done");
        }
    }
}

#[test]
fn mqtt5_3_4_2_1_puback_tells_what_came_of_it() {
    for (completion, v5) in [
        (Completion::Published(Ok(Reach::Subscribers)), 0x00),
        (Completion::Published(Ok(Reach::Nobody)), 0x10),
        (Completion::Published(Err(Refusal::NotAuthorized)), 0x87),
        (Completion::Published(Err(Refusal::InvalidName)), 0x90),
        (Completion::Published(Err(Refusal::QuotaExceeded)), 0x97),
        (Completion::Direct(DirectOutcome::Delivered), 0x00),
        (Completion::Direct(DirectOutcome::NoReceiver), 0x10),
        (Completion::Direct(DirectOutcome::NotEntitled), 0x87),
        (Completion::Direct(DirectOutcome::Dropped), 0x97),
        (Completion::Requested, 0x00),
        (Completion::Answered, 0x00),
    ] {
        for version in BOTH {
            let mut client = Client::attached(version);
            client.ask(&Packet::Publish(message("a", QoS::AtLeastOnce, &[])));
            client.peer.completed(Ticket(7), &completion);
            let Packet::PubAck(puback) = client.packet() else {
                panic!("no PUBACK");
            };
            let expected = if version == V5 { v5 } else { 0 };
            assert_eq!(
                (puback.packet_id, puback.code),
                (id(7), expected),
                "{completion:?}"
            );
        }
    }
}

#[test]
fn mqtt5_3_3_2_3_properties_go_on_without_what_is_rewritten_or_forged() {
    let properties = [
        Property::UserProperty("a", "1"),
        Property::MessageExpiryInterval(60),
        Property::UserProperty("nexus-app", "forged"),
        Property::ContentType("text/plain"),
        Property::UserProperty("nexus-uid", UID),
        Property::UserProperty("nexus-role", "owner"),
        Property::UserProperty("nexus-resource", "forged"),
        Property::UserProperty("nexus-code", "0"),
        Property::UserProperty("a", "2"),
        Property::ResponseTopic("r"),
        Property::CorrelationData(&[0, 1]),
    ];
    let mut client = Client::attached(V5);
    client.peer.pass(Duration::from_secs(5));
    let command = client.ask(&Packet::Publish(message("a", QoS::AtMostOnce, &properties)));
    let (message, _) = published(command);
    let kept: Vec<_> = Properties::from_checked(message.attributes).iter().collect();
    let expected = [
        properties[0],
        properties[3],
        properties[8],
        properties[9],
        properties[10],
    ];
    assert_eq!(kept, expected);
    assert_eq!(
        message.expires,
        Some(client.peer.now.instant + Duration::from_secs(60))
    );
}

#[test]
fn mqtt5_3_3_2_3_4_an_alias_stands_for_the_topic_it_was_set_with() {
    let mut client = Client::attached(V5);
    let alias = [Property::TopicAlias(16)];
    client.ask(&Packet::Publish(message("plant/7", QoS::AtMostOnce, &alias)));
    let (again, _) = published(client.ask(&Packet::Publish(message("", QoS::AtMostOnce, &alias))));
    assert_eq!((again.channel, again.attributes), ("plant/7", &[][..]));
    client.ask(&Packet::Publish(message("plant/8", QoS::AtMostOnce, &alias)));
    let (changed, _) = published(client.ask(&Packet::Publish(message("", QoS::AtMostOnce, &alias))));
    assert_eq!(changed.channel, "plant/8");
}

#[test]
fn mqtt5_3_3_2_3_4_an_alias_works_for_control_topics_too() {
    let mut client = Client::attached(V5);
    let properties = [Property::TopicAlias(1), Property::ResponseTopic("r")];
    for topic in ["$nexus/api/etest/multiply", ""] {
        let command = client.ask(&Packet::Publish(message(topic, QoS::AtMostOnce, &properties)));
        assert_eq!(requested(command).cmd, "multiply");
    }
}

#[test]
fn mqtt5_3_3_2_3_4_an_alias_over_the_maximum_or_unset_ends_the_session() {
    let over = [Property::TopicAlias(17)];
    let unset = [Property::TopicAlias(3)];
    for (topic, alias, expected) in [("a", &over, 0x94), ("", &over, 0x94), ("", &unset, 0x82)] {
        let mut client = Client::attached(V5);
        let (disconnect, told) = client.offend(&Packet::Publish(message(topic, QoS::AtMostOnce, alias)));
        assert_eq!(
            (disconnect, code(&told[0])),
            (Disconnect::ProtocolError, expected)
        );
    }
}

#[test]
fn nexus_3_retain_on_control_topics_is_ignored() {
    for version in BOTH {
        let mut client = Client::attached(version);
        let command = client.ask(&Packet::Publish(Publish {
            retain: true,
            ..message("$nexus/direct/etest/w.2", QoS::AtMostOnce, &[])
        }));
        assert!(matches!(command, Command::Direct { .. }), "{command:?}");
    }
}

#[test]
fn mqtt5_3_3_1_3_retain_goes_to_the_router() {
    for version in BOTH {
        let mut client = Client::attached(version);
        let command = client.ask(&Packet::Publish(Publish {
            retain: true,
            ..message("a", QoS::AtMostOnce, &[])
        }));
        assert!(published(command).0.retain);
    }
}

#[test]
fn mqtt311_4_3_3_qos_2_reaches_the_router_once() {
    let mut client = Client::attached(V311);
    let publish = Packet::Publish(message("a", QoS::ExactlyOnce, &[]));
    let (message, ticket) = published(client.ask(&publish));
    assert_eq!(message.qos, Qos::ExactlyOnce);
    client
        .peer
        .completed(ticket.unwrap(), &Completion::Published(Ok(Reach::Subscribers)));
    assert_eq!(client.packet(), Packet::PubRec(ack(7)));
    // A redelivery is acknowledged and goes no further.
    assert!(client.send(&publish).unwrap().is_empty());
    assert_eq!(client.packet(), Packet::PubRec(ack(7)));
    assert!(client.send(&Packet::PubRel(ack(7))).unwrap().is_empty());
    assert_eq!(client.packet(), Packet::PubComp(ack(7)));
    // The identifier is free again.
    assert_eq!(client.send(&publish).unwrap().len(), 1);
}

#[test]
fn mqtt311_4_3_3_a_refused_qos_2_message_ends_its_exchange_like_any_other() {
    let mut client = Client::attached(V311);
    let publish = Packet::Publish(message("$nexus/api/etest/c", QoS::ExactlyOnce, &[]));
    assert!(client.send(&publish).unwrap().is_empty());
    assert_eq!(client.packet(), Packet::PubRec(ack(7)));
    client.send(&Packet::PubRel(ack(7))).unwrap();
    assert_eq!(client.packet(), Packet::PubComp(ack(7)));
    assert_eq!(client.drops(Stage::Request, DropReason::Invalid), 1);
}

#[test]
fn mqtt311_4_3_3_exchanges_left_open_are_bounded() {
    let mut client = Client::attached(V311);
    let publish = |number| {
        let mut publish = message("$SYS/x", QoS::ExactlyOnce, &[]);
        publish.packet_id = Some(id(number));
        Packet::Publish(publish)
    };
    let most = u16::try_from(limits::QOS2_EXCHANGES_PER_SESSION_MAX).unwrap();
    for number in 1..=most {
        client.peer.out.bytes.clear();
        client.send(&publish(number)).unwrap();
    }
    let disconnect = client.send(&publish(most + 1)).unwrap_err();
    assert_eq!(disconnect, Disconnect::QuotaExceeded);
}

#[test]
fn mqtt5_3_6_2_1_a_release_of_no_exchange_is_told_so() {
    for (version, code) in [(V5, 0x92), (V311, 0)] {
        let mut client = Client::attached(version);
        client.send(&Packet::PubRel(ack(5))).unwrap();
        assert_eq!(client.packet(), Packet::PubComp(Ack { code, ..ack(5) }));
        client.send(&Packet::PubRec(ack(5))).unwrap();
        assert_eq!(client.packet(), Packet::PubRel(Ack { code, ..ack(5) }));
        client.send(&Packet::PubComp(ack(5))).unwrap();
        client.send(&Packet::PubAck(ack(5))).unwrap();
        assert!(client.packets().is_empty());
    }
}

#[test]
fn mqtt5_3_3_4_9_more_messages_than_receive_maximum_end_the_session() {
    let settings = Settings {
        receive_maximum: 2,
        ..settings()
    };
    let mut client = Client::attached_with(V5, settings, &[]);
    let publish = |number, qos| {
        let mut publish = message("a", qos, &[]);
        publish.packet_id = (qos != QoS::AtMostOnce).then(|| id(number));
        Packet::Publish(publish)
    };
    client.ask(&publish(1, QoS::AtLeastOnce));
    client.ask(&publish(2, QoS::AtLeastOnce));
    client.peer.completed(Ticket(1), &Completion::Requested);
    client.packets();
    client.ask(&publish(3, QoS::AtLeastOnce));
    client.ask(&publish(0, QoS::AtMostOnce));
    let (disconnect, told) = client.offend(&publish(4, QoS::AtLeastOnce));
    assert_eq!((disconnect, code(&told[0])), (Disconnect::QuotaExceeded, 0x93));
}

#[test]
fn mqtt311_4_9_a_client_that_knows_no_receive_maximum_waits() {
    let settings = Settings {
        receive_maximum: 1,
        ..settings()
    };
    let mut client = Client::attached_with(V311, settings, &[]);
    client.ask(&Packet::Publish(message("a", QoS::AtLeastOnce, &[])));
    let mut second = message("b", QoS::AtLeastOnce, &[]);
    second.packet_id = Some(id(8));
    assert!(client.send(&Packet::Publish(second)).unwrap().is_empty());
    assert_eq!(client.peer.waits, Some(Wait::Hold));
    client.peer.completed(Ticket(7), &Completion::Requested);
    let commands = client.peer.feed(&[]).unwrap();
    assert_eq!(commands.len(), 1);
}

#[test]
fn mqtt5_3_3_2_3_2_what_claims_to_be_text_has_to_be() {
    let properties = [Property::PayloadFormatIndicator(true)];
    let claim = |qos, payload| Publish {
        payload,
        ..message("a", qos, &properties)
    };
    let (told, client) = dropped(V5, claim(QoS::AtLeastOnce, &[0xFF]));
    assert_eq!(told, Some(0x99));
    assert_eq!(client.drops(Stage::Channel, DropReason::Invalid), 1);
    let (told, client) = dropped(V5, claim(QoS::AtMostOnce, &[0xFF]));
    assert_eq!(told, None);
    assert_eq!(client.drops(Stage::Channel, DropReason::Invalid), 1);
    let mut client = Client::attached(V5);
    let text = claim(QoS::AtMostOnce, "é".as_bytes());
    let (message, _) = published(client.ask(&Packet::Publish(text)));
    let kept: Vec<_> = Properties::from_checked(message.attributes).iter().collect();
    assert_eq!(kept, properties);
}

#[test]
fn nexus_3_names_and_places_that_are_refused() {
    for (topic, v5, stage, reason) in [
        ("a\u{1}", 0x90, Stage::Channel, DropReason::Invalid),
        ("$SYS/x", 0x87, Stage::Channel, DropReason::NotAuthorized),
        ("$nexus/reply/1", 0x87, Stage::Channel, DropReason::NotAuthorized),
        ("$nexus/listen/c", 0x87, Stage::Channel, DropReason::NotAuthorized),
        (
            "$nexus/channel/a/b/c/d/e",
            0x87,
            Stage::Channel,
            DropReason::NotAuthorized,
        ),
        (
            "$nexus/call/a.b/etest/c",
            0x90,
            Stage::Request,
            DropReason::Invalid,
        ),
        ("$nexus/api/etest/c", 0x83, Stage::Request, DropReason::Invalid),
        ("$nexus/answer/x", 0x90, Stage::Answer, DropReason::Invalid),
        ("$nexus/direct/etest", 0x90, Stage::Direct, DropReason::Invalid),
    ] {
        for version in BOTH {
            let expected = if version == V5 { v5 } else { 0 };
            let (told, client) = dropped(version, message(topic, QoS::AtLeastOnce, &[]));
            assert_eq!(told, Some(expected), "{topic:?}");
            assert_eq!(client.drops(stage, reason), 1, "{topic:?}");
            let (told, client) = dropped(version, message(topic, QoS::AtMostOnce, &[]));
            assert_eq!(told, None, "{topic:?}");
            assert_eq!(client.drops(stage, reason), 1, "{topic:?}");
        }
    }
}

#[test]
fn nexus_3_a_refused_publish_leaves_the_connection_as_it_was() {
    for version in BOTH {
        let (_, mut client) = dropped(version, message("$SYS/x", QoS::AtLeastOnce, &[]));
        let command = client.ask(&Packet::Publish(message("a", QoS::AtLeastOnce, &[])));
        assert_eq!(published(command).1, Some(Ticket(7)));
    }
}

#[test]
fn a_conversation_is_the_same_wherever_its_bytes_are_split() {
    let properties = [
        Property::TopicAlias(2),
        Property::UserProperty("nexus-app", "forged"),
    ];
    let filters = [
        filter("plant/#", QoS::AtLeastOnce),
        filter("$nexus/direct/#", QoS::AtMostOnce),
    ];
    for version in BOTH {
        let mut bytes = Vec::new();
        for packet in [
            Packet::Publish(message("plant/7", QoS::AtMostOnce, &properties)),
            subscription(&filters, &[]),
            Packet::PingReq,
            Packet::Publish(message("$nexus/call/1/etest/c", QoS::AtLeastOnce, &[])),
        ] {
            packet.encode_into(version, &mut bytes);
        }
        let mut whole = Client::attached(version);
        let expected = format!("{:?}", whole.peer.feed(&bytes).unwrap());
        let written = whole.peer.out.take();
        for cut in 0..=bytes.len() {
            let mut client = Client::attached(version);
            let (head, tail) = bytes.split_at(cut);
            let mut commands = client.peer.feed(head).unwrap();
            commands.extend(client.peer.feed(tail).unwrap());
            assert_eq!(format!("{commands:?}"), expected, "cut at {cut}");
            assert_eq!(client.peer.out.take(), written, "cut at {cut}");
        }
    }
}

#[test]
fn mqtt5_4_13_who_publishes_too_fast_is_disconnected_with_0x96() {
    for version in BOTH {
        let bounded = Settings {
            publish_rate_max: 10,
            ..settings()
        };
        let mut client = Client::attached_with(version, bounded, &[]);
        let publish = Packet::Publish(message("a", QoS::AtMostOnce, &[]));
        for second in 0..3 {
            // A burst of a second's worth, and no more.
            for _ in 0..10 {
                assert_eq!(client.send(&publish).unwrap().len(), 1, "{second}");
            }
            client.peer.pass(Duration::from_secs(1));
        }
        for _ in 0..10 {
            client.send(&publish).unwrap();
        }
        let (disconnect, told) = client.offend(&publish);
        assert_eq!(disconnect, Disconnect::QuotaExceeded);
        assert_eq!(
            told.first().map(|packet| code(packet)),
            (version == V5).then_some(0x96)
        );
    }
}
