//! Sessions that outlive their connection: what waits for the disk, what is sent again, what is queued.

use super::deliver::{channel, on, options, sender};
use super::model::{Disk, NUMBER, offline};
use super::offline::queue;
use super::*;
use crate::codec::mqtt::packet::Ack;
use crate::journal::{Journal, Table};
use crate::route::{ChannelMessage, Completion, Delivery, Qos, Reach, Refusal, Ticket};
use crate::session::mqtt::MessageState;
use crate::session::mqtt::control::FORM_PLAIN;

const EXACTLY_ONCE: u32 = 1 << 16;

pub(super) fn ack(number: u16) -> Ack<'static> {
    Ack {
        packet_id: id(number),
        code: 0,
        properties: Properties::EMPTY,
    }
}

pub(super) fn kept(version: Version) -> Client {
    kept_with(version, settings(), &[])
}

pub(super) fn kept_with(version: Version, settings: Settings, asks: &[Property<'_>]) -> Client {
    let mut client = Client::attached_with(version, settings, asks);
    client.peer.session.keep(NUMBER);
    client
}

pub(super) fn deliver(client: &mut Client, name: &str, qos: Qos) {
    channel(client, on(name, qos), options(qos, FORM_PLAIN), &[]).unwrap();
}

/// Everything written is made durable, and the session is told.
pub(super) fn flush(client: &mut Client, disk: &mut Disk) {
    let peer = &mut client.peer;
    disk.drain(&mut peer.session);
    while let Some(batch) = disk.commit() {
        peer.session.committed(peer.now, batch, &mut peer.out);
    }
}

/// The client comes back on another connection.
pub(super) fn back(state: Box<MessageState>, version: Version, asks: &[Property<'_>], now: Now) -> Client {
    let mut client = Client::attached_with(version, settings(), asks);
    let peer = &mut client.peer;
    peer.now = now;
    peer.session.give_exchange(state);
    peer.session.resume(now, &mut peer.out);
    client
}

/// Topic, QoS, identifier and DUP of each PUBLISH; `rel` and the identifier of each PUBREL.
pub(super) fn seen(client: &mut Client) -> Vec<(&'static str, u8, u16, bool)> {
    client
        .packets()
        .iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => (
                publish.topic,
                publish.qos as u8,
                publish.packet_id.map_or(0, PacketId::get),
                publish.dup,
            ),
            Packet::PubRel(ack) => ("rel", 0, ack.packet_id.get(), false),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn mqtt5_4_3_3_a_qos_2_publish_and_its_pubrel_go_out_when_they_are_durable() {
    let (mut client, mut disk) = (kept(V5), Disk::default());
    deliver(&mut client, "a", Qos::ExactlyOnce);
    assert!(client.packets().is_empty());
    let peer = &mut client.peer;
    assert!(disk.drain(&mut peer.session));
    assert!(!disk.drain(&mut peer.session), "once");
    peer.session.committed(peer.now, 0, &mut peer.out);
    assert!(client.packets().is_empty(), "another batch");
    flush(&mut client, &mut disk);
    assert_eq!(seen(&mut client), [("a", 2, 1, false)]);
    client.send(&Packet::PubRec(ack(1))).unwrap();
    client.send(&Packet::PubRec(ack(1))).unwrap();
    assert!(client.packets().is_empty());
    flush(&mut client, &mut disk);
    assert_eq!(seen(&mut client), [("rel", 0, 1, false)]);
    client.send(&Packet::PubComp(ack(1))).unwrap();
    flush(&mut client, &mut disk);
    assert!(disk.rows.is_empty());
}

#[test]
fn mqtt5_4_6_what_comes_behind_a_message_that_waits_for_the_disk_waits_too() {
    let (mut client, mut disk) = (kept(V5), Disk::default());
    deliver(&mut client, "1", Qos::AtLeastOnce);
    assert_eq!(seen(&mut client), [("1", 1, 1, false)], "QoS 1 waits for nothing");
    deliver(&mut client, "2", Qos::ExactlyOnce);
    deliver(&mut client, "3", Qos::AtLeastOnce);
    deliver(&mut client, "4", Qos::AtMostOnce);
    // Another kind is not held up by it.
    let from = sender();
    let direct = Delivery::Direct {
        text: "hello",
        attributes: &[],
        to_account: false,
        sender: from.sender(),
        qos: Qos::AtMostOnce,
        options: options(Qos::AtMostOnce, FORM_PLAIN),
    };
    client.peer.deliver(&direct).unwrap();
    assert_eq!(seen(&mut client), [("$nexus/direct", 0, 0, false)]);
    // The client cannot know of it yet.
    client.send(&Packet::PubAck(ack(3))).unwrap();
    flush(&mut client, &mut disk);
    let expected = [("2", 2, 2, false), ("3", 1, 3, false), ("4", 0, 0, false)];
    assert_eq!(seen(&mut client), expected);
}

#[test]
fn mqtt5_4_3_3_pubcomp_is_sent_when_the_end_of_the_exchange_is_durable() {
    let (mut client, mut disk) = (kept(V5), Disk::default());
    let publish = Packet::Publish(message("a", QoS::ExactlyOnce, &[]));
    client.ask(&publish);
    let done = Completion::Published(Ok(Reach::Subscribers));
    client.peer.completed(Ticket(7 | EXACTLY_ONCE), &done);
    assert_eq!(client.packet(), Packet::PubRec(ack(7)));
    flush(&mut client, &mut disk);
    let tables: Vec<_> = disk.rows.keys().map(|(table, _)| *table).collect();
    assert_eq!(tables, [Table::Inbound]);
    for _ in 0..2 {
        client.send(&Packet::PubRel(ack(7))).unwrap();
        assert!(client.packets().is_empty());
    }
    flush(&mut client, &mut disk);
    assert_eq!(client.packet(), Packet::PubComp(ack(7)));
    assert!(disk.rows.is_empty());
}

#[test]
fn mqtt5_4_3_3_a_refused_publish_leaves_no_exchange_behind() {
    let (mut client, mut disk) = (kept(V5), Disk::default());
    client.ask(&Packet::Publish(message("a", QoS::ExactlyOnce, &[])));
    let refused = Completion::Published(Err(Refusal::Busy));
    client.peer.completed(Ticket(7 | EXACTLY_ONCE), &refused);
    let invalid = message("$SYS/x", QoS::ExactlyOnce, &[]);
    assert!(client.send(&Packet::Publish(invalid)).unwrap().is_empty());
    flush(&mut client, &mut disk);
    assert!(disk.rows.is_empty());
}

#[test]
fn mqtt5_4_4_an_exchange_is_known_to_the_next_connection_and_after_a_crash() {
    let (mut client, mut disk) = (kept(V5), Disk::default());
    let publish = Packet::Publish(message("a", QoS::ExactlyOnce, &[]));
    client.ask(&publish);
    // The connection ends before the router has answered: PUBREC is given on the next one, with its answer.
    let state = client.peer.session.take_exchange();
    let mut client = back(state, V5, &[], Now::default());
    assert!(client.send(&publish).unwrap().is_empty());
    flush(&mut client, &mut disk);
    assert!(client.packets().is_empty(), "the router has not answered");
    let done = Completion::Published(Ok(Reach::Subscribers));
    client.peer.completed(Ticket(7 | EXACTLY_ONCE), &done);
    assert_eq!(client.packet(), Packet::PubRec(ack(7)));
    let (state, damaged) = disk.crash(Now::default());
    assert_eq!(damaged, 0);
    let mut client = back(Box::new(state), V311, &[], Now::default());
    assert!(client.send(&publish).unwrap().is_empty());
    assert_eq!(client.packet(), Packet::PubRec(ack(7)));
}

#[test]
fn mqtt5_4_4_what_an_earlier_connection_asked_is_not_answered_to_the_next_one() {
    let (mut client, _) = (kept(V5), Disk::default());
    let publish = Packet::Publish(message("a", QoS::AtLeastOnce, &[]));
    client.ask(&publish);
    let state = client.peer.session.take_exchange();
    let mut client = back(state, V5, &[], Now::default());
    client.ask(&publish);
    let done = Completion::Published(Ok(Reach::Subscribers));
    client.peer.completed(Ticket(7), &done);
    let registered = Completion::Registered([Ok(Qos::AtLeastOnce)].into_iter().collect());
    client.peer.completed(Ticket(7), &registered);
    assert!(client.packets().is_empty());
    client.peer.completed(Ticket(7 | 1 << 17), &done);
    assert_eq!(client.packet(), Packet::PubAck(ack(7)));
}

#[test]
fn mqtt5_4_3_3_a_publish_that_is_refused_behind_its_connection_may_come_again() {
    let (mut client, mut disk) = (kept(V5), Disk::default());
    let publish = Packet::Publish(message("a", QoS::ExactlyOnce, &[]));
    client.ask(&publish);
    flush(&mut client, &mut disk);
    let mut session = offline(client.peer.session.take_exchange());
    let refused = Completion::Published(Err(Refusal::Busy));
    crate::session::Session::missed(&mut session, Ticket(7 | EXACTLY_ONCE), &refused);
    let mut client = back(session.take_exchange(), V5, &[], Now::default());
    client.ask(&publish);
    flush(&mut client, &mut disk);
    assert!(client.packets().is_empty());
    assert_eq!(disk.rows.len(), 1, "begun anew");
}

#[test]
fn mqtt5_4_3_3_an_identifier_is_free_again_when_the_end_of_its_exchange_is_durable() {
    let (mut client, mut disk) = (kept(V5), Disk::default());
    client.ask(&Packet::Publish(message("a", QoS::ExactlyOnce, &[])));
    let done = Completion::Published(Ok(Reach::Subscribers));
    client.peer.completed(Ticket(7 | EXACTLY_ONCE), &done);
    flush(&mut client, &mut disk);
    client.packets();
    client.send(&Packet::PubRel(ack(7))).unwrap();
    // PUBCOMP went with its connection: the next one is not told before the disk is.
    let state = client.peer.session.take_exchange();
    let mut client = back(state, V5, &[], Now::default());
    client.send(&Packet::PubRel(ack(7))).unwrap();
    assert!(client.packets().is_empty());
    flush(&mut client, &mut disk);
    let unknown = Ack { code: 0x92, ..ack(7) };
    assert_eq!(client.packet(), Packet::PubComp(unknown));
    assert!(disk.rows.is_empty());
}

#[test]
fn mqtt5_4_4_what_was_not_acknowledged_is_sent_again_in_its_order() {
    let (mut client, mut disk) = (kept(V5), Disk::default());
    for (name, qos) in [
        ("1", Qos::AtLeastOnce),
        ("2", Qos::ExactlyOnce),
        ("3", Qos::AtLeastOnce),
        ("4", Qos::ExactlyOnce),
    ] {
        deliver(&mut client, name, qos);
    }
    flush(&mut client, &mut disk);
    client.packets();
    client.send(&Packet::PubRec(ack(2))).unwrap();
    client.send(&Packet::PubAck(ack(3))).unwrap();
    flush(&mut client, &mut disk);
    client.packets();
    let expected = [("1", 1, 1, true), ("rel", 0, 2, false), ("4", 2, 4, true)];
    let (restored, _) = disk.crash(Now::default());
    for state in [client.peer.session.take_exchange(), Box::new(restored)] {
        let mut client = back(state, V5, &[], Now::default());
        assert_eq!(seen(&mut client), expected);
        // The identifiers go on where they were.
        deliver(&mut client, "5", Qos::AtLeastOnce);
        assert_eq!(seen(&mut client), [("5", 1, 5, false)]);
    }
}

#[test]
fn mqtt5_4_9_the_next_connections_receive_maximum_is_kept() {
    let (mut client, mut disk) = (kept(V5), Disk::default());
    for name in ["1", "2", "3"] {
        deliver(&mut client, name, Qos::AtLeastOnce);
    }
    flush(&mut client, &mut disk);
    let mut session = offline(client.peer.session.take_exchange());
    queue(&mut session, on("4", Qos::AtLeastOnce)).unwrap();
    let asks = [Property::ReceiveMaximum(1)];
    let mut client = back(session.take_exchange(), V5, &asks, Now::default());
    for expected in [
        ("1", 1, 1, true),
        ("2", 1, 2, true),
        ("3", 1, 3, true),
        ("4", 1, 4, false),
    ] {
        assert_eq!(seen(&mut client), [expected]);
        client.send(&Packet::PubAck(ack(expected.2))).unwrap();
    }
    assert!(client.packets().is_empty());
}

#[test]
fn mqtt5_3_1_2_11_4_what_the_next_client_does_not_take_is_dropped() {
    let (mut client, mut disk) = (kept(V5), Disk::default());
    let large = "x".repeat(500);
    let message = |name| ChannelMessage {
        payload: large.as_bytes(),
        ..on(name, Qos::AtLeastOnce)
    };
    let plain = options(Qos::AtLeastOnce, FORM_PLAIN);
    channel(&mut client, message("1"), plain, &[]).unwrap();
    deliver(&mut client, "2", Qos::AtLeastOnce);
    let mut session = offline(client.peer.session.take_exchange());
    queue(&mut session, message("3")).unwrap();
    let asks = [Property::MaximumPacketSize(400)];
    let mut client = back(session.take_exchange(), V5, &asks, Now::default());
    assert_eq!(seen(&mut client), [("2", 1, 2, true)]);
    assert_eq!(client.drops(Stage::Channel, DropReason::TooLarge), 2);
    flush(&mut client, &mut disk);
    assert_eq!(disk.rows.len(), 1);
}

#[test]
fn a_damaged_row_is_left_out_counted_and_deleted() {
    let mut client = kept(V5);
    let mut disk = Disk::default();
    for name in ["1", "2", "3"] {
        deliver(&mut client, name, Qos::AtLeastOnce);
    }
    flush(&mut client, &mut disk);
    let mut values = disk.rows.values_mut();
    values.next().unwrap()[0] = 99;
    drop(values);
    // Two messages with one identifier.
    let second: Vec<_> = disk.rows.values().nth(1).unwrap().clone();
    *disk.rows.values_mut().nth(2).unwrap() = second;
    let (state, damaged) = disk.crash(Now::default());
    assert_eq!(damaged, 2);
    let mut client = back(Box::new(state), V5, &[], Now::default());
    assert_eq!(seen(&mut client), [("2", 1, 2, true)]);
    flush(&mut client, &mut disk);
    assert_eq!(disk.rows.len(), 1);
    // The numbers of the damaged ones are not given out again.
    deliver(&mut client, "4", Qos::AtLeastOnce);
    flush(&mut client, &mut disk);
    assert_eq!(disk.rows.len(), 2);
}

#[test]
fn an_ordinary_session_writes_nothing_down_and_waits_for_nothing() {
    let mut client = Client::attached(V5);
    deliver(&mut client, "a", Qos::ExactlyOnce);
    assert_eq!(seen(&mut client), [("a", 2, 1, false)]);
    client.ask(&Packet::Publish(message("a", QoS::ExactlyOnce, &[])));
    let mut journal = Journal::new();
    assert!(!client.peer.session.drain_journal(1, &mut journal));
    assert!(journal.is_empty());
}
