//! QoS 2 both ways, and topic aliases, in sessions that end with their connection.

use super::deliver::{channel, on, options};
use super::*;
use crate::codec::mqtt::packet::Ack;
use crate::route::{Completion, Qos, Reach, Refusal, Ticket};
use crate::session::mqtt::control::FORM_PLAIN;

const EXACTLY_ONCE: u32 = 1 << 16;

fn ack(number: u16) -> Ack<'static> {
    Ack {
        packet_id: id(number),
        code: 0,
        properties: Properties::EMPTY,
    }
}

fn deliver(client: &mut Client, name: &str) {
    let plain = options(Qos::ExactlyOnce, FORM_PLAIN);
    channel(client, on(name, Qos::ExactlyOnce), plain, &[]).unwrap();
}

fn sent(packet: &Packet<'static>) -> (&'static str, QoS, Option<u16>) {
    match packet {
        Packet::Publish(publish) => (publish.topic, publish.qos, publish.packet_id.map(PacketId::get)),
        other => panic!("no PUBLISH: {other:?}"),
    }
}

fn numbered(number: u16, qos: QoS) -> Packet<'static> {
    let mut publish = message("a", qos, &[]);
    publish.packet_id = Some(id(number));
    Packet::Publish(publish)
}

#[test]
fn mqtt5_4_3_3_a_message_goes_out_by_publish_pubrec_pubrel_and_pubcomp() {
    for version in BOTH {
        let mut client = Client::attached(version);
        deliver(&mut client, "a");
        assert_eq!(sent(&client.packet()), ("a", QoS::ExactlyOnce, Some(1)));
        for _ in 0..2 {
            client.send(&Packet::PubRec(ack(1))).unwrap();
            assert_eq!(client.packet(), Packet::PubRel(ack(1)));
        }
        for _ in 0..2 {
            client.send(&Packet::PubComp(ack(1))).unwrap();
            assert!(client.packets().is_empty());
        }
        client.send(&Packet::PubRec(ack(1))).unwrap();
        let code = if version == V5 { 0x92 } else { 0 };
        assert_eq!(client.packet(), Packet::PubRel(Ack { code, ..ack(1) }));
    }
}

#[test]
fn mqtt5_3_3_4_7_receive_maximum_counts_qos_1_and_2_until_puback_and_pubcomp() {
    let asks = [Property::ReceiveMaximum(2)];
    let mut client = Client::attached_with(V5, settings(), &asks);
    deliver(&mut client, "1");
    let plain = options(Qos::AtLeastOnce, FORM_PLAIN);
    channel(&mut client, on("2", Qos::AtLeastOnce), plain, &[]).unwrap();
    for name in ["3", "4", "5"] {
        deliver(&mut client, name);
    }
    assert_eq!(client.packets().len(), 2);
    client.send(&Packet::PubRec(ack(1))).unwrap();
    assert_eq!(client.packet(), Packet::PubRel(ack(1)), "and nothing else");
    client.send(&Packet::PubComp(ack(1))).unwrap();
    assert_eq!(sent(&client.packet()).0, "3");
    client.send(&Packet::PubAck(ack(2))).unwrap();
    assert_eq!(sent(&client.packet()).0, "4");
    // 4.3.3: a failure ends the exchange, and takes no PUBREL.
    let failed = Ack { code: 0x80, ..ack(3) };
    client.send(&Packet::PubRec(failed)).unwrap();
    assert_eq!(sent(&client.packet()), ("5", QoS::ExactlyOnce, Some(5)));
}

#[test]
fn mqtt5_3_4_an_acknowledgement_of_the_other_kind_ends_the_session() {
    for version in BOTH {
        let mut client = Client::attached(version);
        deliver(&mut client, "1");
        client.packets();
        let disconnect = client.send(&Packet::PubAck(ack(1))).unwrap_err();
        assert_eq!(disconnect, Disconnect::ProtocolError);
    }
}

#[test]
fn mqtt5_4_3_3_qos_2_reaches_the_router_once() {
    for version in BOTH {
        let mut client = Client::attached(version);
        client.ask(&numbered(7, QoS::ExactlyOnce));
        // It comes again before the router has said what became of it: PUBREC is on its way.
        assert!(client.send(&numbered(7, QoS::ExactlyOnce)).unwrap().is_empty());
        assert!(client.packets().is_empty());
        let done = Completion::Published(Ok(Reach::Subscribers));
        client.peer.completed(Ticket(7 | EXACTLY_ONCE), &done);
        assert_eq!(client.packet(), Packet::PubRec(ack(7)));
        assert!(client.send(&numbered(7, QoS::ExactlyOnce)).unwrap().is_empty());
        assert_eq!(client.packet(), Packet::PubRec(ack(7)));
        client.send(&Packet::PubRel(ack(7))).unwrap();
        assert_eq!(client.packet(), Packet::PubComp(ack(7)));
        assert_eq!(client.send(&numbered(7, QoS::ExactlyOnce)).unwrap().len(), 1);
    }
}

#[test]
fn mqtt5_4_3_3_a_pubrec_with_a_failure_ends_the_exchange() {
    let mut client = Client::attached(V5);
    for (completion, code, open) in [
        (Completion::Published(Err(Refusal::NotAuthorized)), 0x87, false),
        (Completion::Published(Ok(Reach::Nobody)), 0x10, true),
    ] {
        client.ask(&numbered(7, QoS::ExactlyOnce));
        client.peer.completed(Ticket(7 | EXACTLY_ONCE), &completion);
        assert_eq!(super::code(&client.packet()), code);
        let again = client.send(&numbered(7, QoS::ExactlyOnce)).unwrap();
        assert_eq!(again.is_empty(), open, "{completion:?}");
        client.peer.completed(Ticket(7 | EXACTLY_ONCE), &completion);
        client.packets();
        client.send(&Packet::PubRel(ack(7))).unwrap();
        client.packets();
    }
}

#[test]
fn mqtt5_3_3_4_9_a_qos_2_message_counts_until_its_exchange_is_over() {
    let settings = Settings {
        receive_maximum: 2,
        ..settings()
    };
    let done = Completion::Published(Ok(Reach::Subscribers));
    let mut client = Client::attached_with(V5, settings, &[]);
    client.ask(&numbered(1, QoS::ExactlyOnce));
    client.peer.completed(Ticket(1 | EXACTLY_ONCE), &done);
    client.ask(&numbered(2, QoS::AtLeastOnce));
    // A repetition takes no other place.
    client.send(&numbered(1, QoS::ExactlyOnce)).unwrap();
    client.send(&Packet::PubRel(ack(1))).unwrap();
    client.ask(&numbered(3, QoS::ExactlyOnce));
    client.peer.completed(Ticket(3 | EXACTLY_ONCE), &done);
    client.packets();
    let (disconnect, told) = client.offend(&numbered(4, QoS::ExactlyOnce));
    assert_eq!(
        (disconnect, super::code(&told[0])),
        (Disconnect::QuotaExceeded, 0x93)
    );
}

#[test]
fn mqtt5_3_3_2_3_4_a_topic_that_was_sent_before_is_replaced_by_its_alias() {
    let asks = [Property::TopicAliasMaximum(1)];
    let mut client = Client::attached_with(V5, settings(), &asks);
    let mut seen = Vec::new();
    for (name, qos) in [
        ("plant/number/7", Qos::AtMostOnce),
        ("plant/number/7", Qos::AtMostOnce),
        ("plant/number/8", Qos::AtMostOnce),
        ("plant/number/7", Qos::AtLeastOnce),
        ("plant/number/7", Qos::ExactlyOnce),
        ("short", Qos::AtMostOnce),
    ] {
        channel(&mut client, on(name, qos), options(qos, FORM_PLAIN), &[]).unwrap();
        let Packet::Publish(publish) = client.packet() else {
            panic!("no PUBLISH");
        };
        seen.push((publish.topic, publish.properties.topic_alias()));
    }
    assert_eq!(
        seen,
        [
            ("plant/number/7", Some(1)),
            ("", Some(1)),
            ("plant/number/8", None),
            ("", Some(1)),
            ("", Some(1)),
            ("short", None)
        ]
    );
    assert_eq!(client.peer.out.shares, 0, "an alias is the connection's own");
}

#[test]
fn mqtt5_3_3_2_3_4_what_waits_has_its_whole_topic() {
    let asks = [Property::TopicAliasMaximum(1), Property::ReceiveMaximum(1)];
    let mut client = Client::attached_with(V5, settings(), &asks);
    deliver(&mut client, "plant/number/7");
    deliver(&mut client, "plant/number/7");
    client.packets();
    client.send(&Packet::PubRec(ack(1))).unwrap();
    client.packets();
    client.send(&Packet::PubComp(ack(1))).unwrap();
    let Packet::Publish(publish) = client.packet() else {
        panic!("no PUBLISH");
    };
    assert_eq!(
        (publish.topic, publish.properties.topic_alias()),
        ("plant/number/7", None)
    );
}
