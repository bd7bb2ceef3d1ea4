//! PUBLISH to a client that is slow to acknowledge or to read: what waits, for how long, and what is dropped.

use std::time::Duration;

use super::deliver::{channel, on, options, publish, sender};
use super::forms::reply;
use super::*;
use crate::codec::mqtt::packet::Ack;
use crate::limits;
use crate::route::{ChannelMessage, Delivery, Qos, Undelivered};
use crate::session::mqtt::control::FORM_PLAIN;
use crate::session::mqtt::label::ReplyTo;

fn puback(client: &mut Client, number: u16) -> Result<(), Disconnect> {
    let ack = Ack {
        packet_id: id(number),
        code: 0,
        properties: Properties::EMPTY,
    };
    client.send(&Packet::PubAck(ack)).map(drop)
}

fn ids(client: &mut Client) -> Vec<Option<u16>> {
    client
        .packets()
        .iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => publish.packet_id.map(PacketId::get),
            other => panic!("no PUBLISH: {other:?}"),
        })
        .collect()
}

#[test]
fn mqtt5_3_3_4_7_the_clients_receive_maximum_is_kept_and_nothing_is_lost() {
    let asks = [Property::ReceiveMaximum(2)];
    let mut client = Client::attached_with(V5, settings(), &asks);
    let plain = options(Qos::AtLeastOnce, FORM_PLAIN);
    for channel_name in ["1", "2", "3", "4", "5"] {
        channel(&mut client, on(channel_name, Qos::AtLeastOnce), plain, &[]).unwrap();
    }
    assert_eq!(ids(&mut client), [Some(1), Some(2)]);
    puback(&mut client, 1).unwrap();
    assert_eq!(publish(&mut client).topic, "3");
    // An acknowledgement of nothing opens no place.
    puback(&mut client, 1).unwrap();
    puback(&mut client, 999).unwrap();
    assert!(client.packets().is_empty());
    puback(&mut client, 2).unwrap();
    puback(&mut client, 3).unwrap();
    assert_eq!(ids(&mut client), [Some(4), Some(5)]);
}

#[test]
fn nexus_2_4_a_message_never_overtakes_another_of_its_kind() {
    let asks = [Property::ReceiveMaximum(1)];
    let mut client = Client::attached_with(V5, settings(), &asks);
    let plain = options(Qos::AtLeastOnce, FORM_PLAIN);
    channel(&mut client, on("1", Qos::AtLeastOnce), plain, &[]).unwrap();
    channel(&mut client, on("2", Qos::AtLeastOnce), plain, &[]).unwrap();
    channel(&mut client, on("3", Qos::AtMostOnce), plain, &[]).unwrap();
    assert_eq!(ids(&mut client), [Some(1)]);
    // Another kind is not held up by it.
    let from = sender();
    client
        .peer
        .deliver(&Delivery::Direct {
            text: "hello",
            attributes: &[],
            to_account: false,
            sender: from.sender(),
            qos: Qos::AtMostOnce,
            options: options(Qos::AtLeastOnce, FORM_PLAIN),
        })
        .unwrap();
    assert_eq!(publish(&mut client).topic, "$nexus/direct");
    puback(&mut client, 1).unwrap();
    let order: Vec<_> = client
        .packets()
        .iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => publish.topic,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, ["2", "3"]);
    channel(&mut client, on("4", Qos::AtMostOnce), plain, &[]).unwrap();
    assert_eq!(publish(&mut client).topic, "4");
}

#[test]
fn a_client_that_does_not_acknowledge_has_a_bounded_queue() {
    let asks = [Property::ReceiveMaximum(1)];
    let mut client = Client::attached_with(V5, settings(), &asks);
    let plain = options(Qos::AtLeastOnce, FORM_PLAIN);
    for _ in 0..=limits::QUEUED_PER_SESSION_MAX {
        channel(&mut client, on("a", Qos::AtLeastOnce), plain, &[]).unwrap();
    }
    let more = channel(&mut client, on("a", Qos::AtLeastOnce), plain, &[]);
    assert_eq!(more, Err(Undelivered::QueueFull));
}

#[test]
fn what_expires_in_the_queue_is_dropped_and_counted() {
    let asks = [Property::ReceiveMaximum(1)];
    let mut client = Client::attached_with(V5, settings(), &asks);
    let plain = options(Qos::AtLeastOnce, FORM_PLAIN);
    channel(&mut client, on("1", Qos::AtLeastOnce), plain, &[]).unwrap();
    for expires_s in [1, 9] {
        let message = ChannelMessage {
            expires: Some(client.peer.now.instant + Duration::from_secs(expires_s)),
            ..on("2", Qos::AtLeastOnce)
        };
        channel(&mut client, message, plain, &[]).unwrap();
    }
    client.packets();
    client.peer.pass(Duration::from_secs(5));
    puback(&mut client, 1).unwrap();
    let publish = publish(&mut client);
    assert_eq!(publish.properties.message_expiry_interval_s(), Some(4));
    assert_eq!(client.drops(Stage::Channel, DropReason::Expired), 1);
}

#[test]
fn design_4_a_full_send_queue_drops_the_newest_and_ends_who_stays_blocked() {
    let mut client = Client::attached(V5);
    let plain = options(Qos::AtMostOnce, FORM_PLAIN);
    client.peer.out.stuck = limits::SEND_QUEUE_BYTES_MAX + 1;
    for identifiers in [&[][..], &[1]] {
        let full = channel(&mut client, on("a", Qos::AtMostOnce), plain, identifiers);
        assert_eq!(full, Err(Undelivered::QueueFull));
    }
    let deadline = client.peer.session.next_timeout().unwrap();
    let limit = Duration::from_millis(limits::SEND_BLOCKED_MS_MAX);
    assert_eq!(deadline - client.peer.now.instant, limit);
    // It has read in between: the clock starts anew.
    client.peer.pass(limit / 2);
    client.peer.out.stuck = 0;
    channel(&mut client, on("a", Qos::AtMostOnce), plain, &[]).unwrap();
    client.peer.out.take();
    client.peer.out.stuck = limits::SEND_QUEUE_BYTES_MAX + 1;
    channel(&mut client, on("a", Qos::AtMostOnce), plain, &[]).unwrap_err();
    client.peer.pass(limit / 2);
    assert_eq!(client.peer.timeout(), Ok(()));
    client.peer.pass(limit / 2);
    assert_eq!(client.peer.timeout(), Err(Disconnect::SlowReceiver));
    assert_eq!(code(&client.packet()), 0x97);
}

#[test]
fn a_deadline_of_a_receiver_that_reads_again_passes_without_harm() {
    let mut client = Client::attached(V5);
    let plain = options(Qos::AtMostOnce, FORM_PLAIN);
    client.peer.out.stuck = limits::SEND_QUEUE_BYTES_MAX + 1;
    channel(&mut client, on("a", Qos::AtMostOnce), plain, &[]).unwrap_err();
    client.peer.out.stuck = 0;
    client
        .peer
        .pass(Duration::from_millis(limits::SEND_BLOCKED_MS_MAX));
    assert_eq!(client.peer.timeout(), Ok(()));
    let keep_alive = client.peer.session.next_timeout().unwrap();
    assert_eq!(keep_alive - client.peer.now.instant, Duration::from_secs(60));
}

#[test]
fn the_outcome_of_a_request_is_owed_for_longer() {
    let mut client = Client::attached(V5);
    client.peer.out.stuck = 2 * limits::SEND_QUEUE_BYTES_MAX;
    reply(&mut client, ReplyTo::Call("1"), None, Qos::AtMostOnce).unwrap();
    client.peer.out.stuck = 2 * limits::SEND_QUEUE_BYTES_MAX + 1;
    let full = reply(&mut client, ReplyTo::Call("1"), None, Qos::AtMostOnce);
    assert_eq!(full, Err(Undelivered::QueueFull));
}

#[test]
fn mqtt5_4_3_2_a_pubrec_for_a_qos_1_message_ends_the_session() {
    let mut client = Client::attached(V5);
    let plain = options(Qos::AtLeastOnce, FORM_PLAIN);
    channel(&mut client, on("a", Qos::AtLeastOnce), plain, &[]).unwrap();
    client.packets();
    let (disconnect, told) = client.offend(&Packet::PubRec(Ack {
        packet_id: id(1),
        code: 0,
        properties: Properties::EMPTY,
    }));
    assert_eq!((disconnect, code(&told[0])), (Disconnect::ProtocolError, 0x82));
}

#[test]
fn a_burst_of_qos_1_leaves_no_memory_once_the_client_idles() {
    let mut client = Client::attached(V311);
    let plain = options(Qos::AtLeastOnce, FORM_PLAIN);
    channel(&mut client, on("a", Qos::AtLeastOnce), plain, &[]).unwrap();
    client.send(&Packet::PingReq).unwrap();
    assert!(client.peer.session.messages.is_some(), "one is on its way");
    puback(&mut client, 1).unwrap();
    client.send(&Packet::PingReq).unwrap();
    assert!(client.peer.session.messages.is_none());
}
