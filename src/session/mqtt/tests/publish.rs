//! PUBLISH from the client.

use std::time::Duration;

use super::*;
use crate::codec::mqtt::packet::Ack;
use crate::limits;
use crate::route::{
    ApiRequest, ChannelMessage, Completion, DirectOutcome, Ownership, Qos, Reach, Refusal, Ticket, Token,
};
use crate::session::mqtt::label::ReplyTo;
use crate::session::testing::Wait;

const TOKEN: &str = "00112233445566778899aabbccddeeff";

fn published(command: Command<'static>) -> (ChannelMessage<'static>, Option<Ticket>) {
    match command {
        Command::Publish { message, ticket } => (message, ticket),
        other => panic!("no publish: {other:?}"),
    }
}

fn requested(command: Command<'static>) -> ApiRequest<'static> {
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
fn dropped(version: Version, publish: Publish<'_>) -> (Option<u8>, Client) {
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
fn nexus_3_an_api_request_takes_its_selection_from_user_properties() {
    let properties = [
        Property::ResponseTopic("my/replies"),
        Property::CorrelationData(&[1, 2]),
        Property::UserProperty("ownership", "mine"),
        Property::UserProperty("prioritize_mine", "true"),
        Property::UserProperty("colour", "red"),
    ];
    let mut client = Client::attached(V5);
    let publish = message("$nexus/api/etest/multiply/w.2", QoS::AtLeastOnce, &properties);
    let request = requested(client.ask(&Packet::Publish(publish)));
    assert_eq!(
        (request.app, request.cmd, request.resource),
        ("etest", "multiply", Some("w.2"))
    );
    assert_eq!(
        (request.ownership, request.prioritize_mine),
        (Ownership::Mine, true)
    );
    assert_eq!((request.body, request.qos), (&b"{}"[..], Qos::AtLeastOnce));
    assert!(!request.label_is_unique);
    let to = ReplyTo::Topic {
        topic: "my/replies",
        correlation: Some(&[1, 2]),
    };
    assert_eq!(ReplyTo::decode(request.label), Some(to));
}

#[test]
fn nexus_2_1_a_selection_that_is_not_understood_is_a_bad_request() {
    let properties = [
        Property::ResponseTopic("r"),
        Property::UserProperty("prioritize_mine", "maybe"),
    ];
    let publish = message("$nexus/api/etest/c", QoS::AtMostOnce, &properties);
    let mut client = Client::attached(V5);
    assert_eq!(
        requested(client.ask(&Packet::Publish(publish))).ownership,
        Ownership::Unknown
    );
    for (ownership, expected) in [
        ("theirs", Ownership::Unknown),
        ("owner", Ownership::Owner),
        ("any", Ownership::Any),
        ("", Ownership::Any),
    ] {
        let properties = [
            Property::ResponseTopic("r"),
            Property::UserProperty("ownership", ownership),
        ];
        let mut client = Client::attached(V5);
        let publish = message("$nexus/api/etest/c", QoS::AtMostOnce, &properties);
        assert_eq!(
            requested(client.ask(&Packet::Publish(publish))).ownership,
            expected
        );
    }
}

#[test]
fn nexus_3_a_response_topic_is_a_channel_or_under_reply() {
    for (topic, expected) in [("$nexus/listen/c", Some(0x90)), ("$SYS/x", Some(0x90))] {
        let properties = [Property::ResponseTopic(topic)];
        let (told, _) = dropped(V5, message("$nexus/api/etest/c", QoS::AtLeastOnce, &properties));
        assert_eq!(told, expected, "{topic}");
    }
    let properties = [Property::ResponseTopic("$nexus/reply/x")];
    let mut client = Client::attached(V5);
    let publish = message("$nexus/api/etest/c", QoS::AtMostOnce, &properties);
    requested(client.ask(&Packet::Publish(publish)));
}

#[test]
fn nexus_3_what_addresses_the_reply_is_bounded() {
    let correlation = vec![0; limits::LABEL_BYTES_MAX];
    let properties = [
        Property::ResponseTopic("r"),
        Property::CorrelationData(&correlation),
    ];
    let (told, client) = dropped(V5, message("$nexus/api/etest/c", QoS::AtLeastOnce, &properties));
    assert_eq!(told, Some(0x97));
    assert_eq!(client.drops(Stage::Request, DropReason::TooLarge), 1);
}

#[test]
fn nexus_3_a_call_is_answered_by_its_id_in_both_versions() {
    for version in BOTH {
        let mut client = Client::attached(version);
        let publish = message("$nexus/call/a-1/etest/multiply", QoS::AtLeastOnce, &[]);
        let request = requested(client.ask(&Packet::Publish(publish)));
        assert_eq!(
            (request.app, request.cmd, request.resource),
            ("etest", "multiply", None)
        );
        assert!(request.label_is_unique);
        assert_eq!(ReplyTo::decode(request.label), Some(ReplyTo::Call("a-1")));
    }
}

#[test]
fn nexus_3_an_answer_carries_its_token() {
    for version in BOTH {
        let mut client = Client::attached(version);
        let topic = format!("$nexus/answer/{TOKEN}");
        let command = client.ask(&Packet::Publish(message(&topic, QoS::AtLeastOnce, &[])));
        let Command::Answer { answer, ticket } = command else {
            panic!("{command:?}");
        };
        assert_eq!(
            (Some(answer.token), ticket),
            (Token::parse(TOKEN), Some(Ticket(7)))
        );
        assert_eq!((answer.body, answer.failure), (&b"{}"[..], None));
    }
}

#[test]
fn nexus_3_a_direct_message_is_text() {
    for version in BOTH {
        let publish = |payload| Publish {
            payload,
            ..message("$nexus/direct/etest/w.2", QoS::AtLeastOnce, &[])
        };
        let mut client = Client::attached(version);
        let command = client.ask(&Packet::Publish(publish("é".as_bytes())));
        let Command::Direct { direct, ticket } = command else {
            panic!("{command:?}");
        };
        assert_eq!((direct.app, direct.resource, direct.text), ("etest", "w.2", "é"));
        assert_eq!((direct.account, ticket), (None, Some(Ticket(7))));
        let (told, client) = dropped(version, publish(&[0xC3]));
        assert_eq!(told, Some(if version == V5 { 0x99 } else { 0 }));
        assert_eq!(client.drops(Stage::Direct, DropReason::Invalid), 1);
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
