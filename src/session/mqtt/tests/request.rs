//! PUBLISH from the client on control topics: requests, answers, Direct.

use super::publish::{dropped, requested};
use super::*;
use crate::limits;
use crate::route::{Ownership, Qos, Ticket, Token};
use crate::session::mqtt::label::ReplyTo;

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
