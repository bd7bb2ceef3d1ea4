//! PUBLISH to the client on control topics: Direct, requests, replies.

use super::deliver::{BY_SENDER, SENDER, options, properties, publish, sender};
use super::*;
use crate::route::{Completion, Delivery, Outcome, Qos, SubscriptionOptions, Ticket, Token, Undelivered};
use crate::session::mqtt::control::{FORM_PLAIN, FORM_SENDER};
use crate::session::mqtt::label::ReplyTo;

#[test]
fn nexus_3_a_direct_message_comes_in_the_form_that_was_registered() {
    let from = sender();
    for (version, form, topic) in [
        (V5, FORM_PLAIN, "$nexus/direct".to_owned()),
        (V5, FORM_SENDER, format!("$nexus/direct/{BY_SENDER}")),
        (V311, FORM_SENDER, format!("$nexus/direct/{BY_SENDER}")),
    ] {
        let mut client = Client::attached(version);
        client
            .peer
            .deliver(&Delivery::Direct {
                text: "hello",
                attributes: &[],
                to_account: false,
                sender: from.sender(),
                qos: Qos::AtLeastOnce,
                options: SubscriptionOptions {
                    identifier: 5,
                    ..options(Qos::AtLeastOnce, form)
                },
            })
            .unwrap();
        let publish = publish(&mut client);
        assert_eq!((publish.topic, publish.payload), (&*topic, &b"hello"[..]));
        assert_eq!(publish.qos, QoS::AtLeastOnce);
        let expected = [&[Property::SubscriptionIdentifier(5)], &SENDER[..]].concat();
        assert_eq!(
            properties(&publish),
            if version == V5 { expected } else { vec![] }
        );
    }
}

#[test]
fn nexus_3_a_request_comes_in_the_form_that_was_registered() {
    let from = sender();
    let long = format!("$nexus/listen/multiply/{TOKEN}/{BY_SENDER}");
    for (version, form, topic) in [
        (V5, FORM_PLAIN, "$nexus/listen/multiply"),
        (V5, FORM_SENDER, &long),
        (V311, FORM_SENDER, &long),
    ] {
        let mut client = Client::attached(version);
        client
            .peer
            .deliver(&Delivery::Request {
                token: Token::parse(TOKEN).unwrap(),
                cmd: "multiply",
                body: b"{\"a\":1}",
                sender: from.sender(),
                qos: Qos::AtLeastOnce,
                options: options(Qos::AtMostOnce, form),
            })
            .unwrap();
        let publish = publish(&mut client);
        assert_eq!((publish.topic, publish.payload), (topic, &b"{\"a\":1}"[..]));
        assert_eq!(publish.qos, QoS::AtMostOnce);
        let answer = format!("$nexus/answer/{TOKEN}");
        let expected = [&[Property::ResponseTopic(&answer)], &SENDER[..]].concat();
        let told: Vec<Property<'_>> = properties(&publish);
        assert_eq!(told, if version == V5 { expected } else { vec![] });
    }
}

pub(super) fn reply(
    client: &mut Client,
    to: ReplyTo<'_>,
    sender: Option<&Identity>,
    qos: Qos,
) -> Result<(), Undelivered> {
    let mut label = Vec::new();
    assert!(to.encode(&mut label));
    client.peer.deliver(&Delivery::Reply {
        label: &label,
        outcome: Outcome {
            code: -2_001,
            body: b"{\"code\":-2001}",
            sender: sender.map(Identity::sender),
        },
        qos,
    })
}

#[test]
fn nexus_3_a_reply_comes_on_the_response_topic_with_its_correlation_data_and_code() {
    let from = sender();
    let mut client = Client::attached(V5);
    let to = ReplyTo::Topic {
        topic: "my/replies",
        correlation: Some(&[1, 2]),
    };
    reply(&mut client, to, Some(&from), Qos::AtLeastOnce).unwrap();
    let worker = publish(&mut client);
    assert_eq!(
        (worker.topic, worker.payload),
        ("my/replies", &b"{\"code\":-2001}"[..])
    );
    assert_eq!(worker.qos, QoS::AtLeastOnce, "the implicit subscription is QoS 1");
    let code = [Property::UserProperty("nexus-code", "-2001")];
    let correlation = [Property::CorrelationData(&[1, 2])];
    assert_eq!(properties(&worker), [&correlation[..], &SENDER, &code].concat());
    // The daemon's own outcome has no sender.
    reply(&mut client, to, None, Qos::AtMostOnce).unwrap();
    let daemon = publish(&mut client);
    assert_eq!(daemon.qos, QoS::AtMostOnce);
    assert_eq!(properties(&daemon), [correlation, code].concat());
}

#[test]
fn nexus_3_a_call_is_answered_under_reply() {
    for version in BOTH {
        let mut client = Client::attached(version);
        reply(&mut client, ReplyTo::Call("a-1"), None, Qos::AtLeastOnce).unwrap();
        let publish = publish(&mut client);
        assert_eq!(publish.topic, "$nexus/reply/a-1");
        let code = Property::UserProperty("nexus-code", "-2001");
        assert_eq!(
            properties(&publish),
            if version == V5 { vec![code] } else { vec![] }
        );
    }
}

#[test]
fn nexus_3_filters_under_reply_rule_qos_and_identifiers_of_replies() {
    let mut client = Client::attached(V5);
    let subscribe = |client: &mut Client, text: &str, qos, identifier| {
        let filters = [filter(text, qos)];
        let properties = [Property::SubscriptionIdentifier(identifier)];
        client.ask(&subscription(&filters, &properties));
        client.peer.completed(
            Ticket(9),
            &Completion::Registered([Ok(Qos::AtMostOnce)].into_iter().collect()),
        );
        client.packets();
    };
    subscribe(&mut client, "$nexus/reply/a", QoS::AtMostOnce, 5);
    reply(&mut client, ReplyTo::Call("a"), None, Qos::AtLeastOnce).unwrap();
    let ruled = publish(&mut client);
    assert_eq!(ruled.qos, QoS::AtMostOnce);
    assert_eq!(
        ruled.properties.subscription_identifiers().collect::<Vec<_>>(),
        [5]
    );
    // The highest QoS of those that match, and all their identifiers.
    subscribe(&mut client, "$nexus/reply/+", QoS::AtLeastOnce, 6);
    reply(&mut client, ReplyTo::Call("a"), None, Qos::AtLeastOnce).unwrap();
    let both = publish(&mut client);
    assert_eq!(both.qos, QoS::AtLeastOnce);
    assert_eq!(
        both.properties.subscription_identifiers().collect::<Vec<_>>(),
        [5, 6]
    );
    // Another id is under the wildcard alone, a Response Topic elsewhere under none.
    reply(&mut client, ReplyTo::Call("b"), None, Qos::AtLeastOnce).unwrap();
    let other = publish(&mut client);
    assert_eq!(
        other.properties.subscription_identifiers().collect::<Vec<_>>(),
        [6]
    );
    let elsewhere = ReplyTo::Topic {
        topic: "my/replies",
        correlation: None,
    };
    reply(&mut client, elsewhere, None, Qos::AtLeastOnce).unwrap();
    let elsewhere = publish(&mut client);
    assert_eq!(elsewhere.properties.subscription_identifiers().count(), 0);
    assert_eq!(elsewhere.qos, QoS::AtLeastOnce);
}
