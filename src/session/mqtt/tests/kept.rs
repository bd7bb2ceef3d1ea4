//! Sessions that outlive their connection: what waits for the disk, what is sent again, what is queued.

use std::time::Duration;

use super::deliver::{channel, on, options, sender};
use super::model::{Disk, NUMBER, offline};
use super::*;
use crate::codec::mqtt::packet::Ack;
use crate::journal::{Journal, Table};
use crate::route::{ChannelMessage, Completion, Delivery, Qos, Reach, Refusal, Ticket, Undelivered};
use crate::session::mqtt::MessageState;
use crate::session::mqtt::control::FORM_PLAIN;
use crate::time::Instant;

const EXACTLY_ONCE: u32 = 1 << 16;

fn ack(number: u16) -> Ack<'static> {
    Ack {
        packet_id: id(number),
        code: 0,
        properties: Properties::EMPTY,
    }
}

fn kept(version: Version) -> Client {
    kept_with(version, settings(), &[])
}

fn kept_with(version: Version, settings: Settings, asks: &[Property<'_>]) -> Client {
    let mut client = Client::attached_with(version, settings, asks);
    client.peer.session.keep(NUMBER);
    client
}

fn deliver(client: &mut Client, name: &str, qos: Qos) {
    channel(client, on(name, qos), options(qos, FORM_PLAIN), &[]).unwrap();
}

/// Everything written is made durable, and the session is told.
fn flush(client: &mut Client, disk: &mut Disk) {
    let peer = &mut client.peer;
    disk.drain(&mut peer.session);
    while let Some(batch) = disk.commit() {
        peer.session.committed(peer.now, batch, &mut peer.out);
    }
}

/// The client comes back on another connection.
fn back(state: Box<MessageState>, version: Version, asks: &[Property<'_>], now: Now) -> Client {
    let mut client = Client::attached_with(version, settings(), asks);
    let peer = &mut client.peer;
    peer.now = now;
    peer.session.give_exchange(state);
    peer.session.resume(now, &mut peer.out);
    client
}

/// Topic, QoS, identifier and DUP of each PUBLISH; `rel` and the identifier of each PUBREL.
fn seen(client: &mut Client) -> Vec<(&'static str, u8, u16, bool)> {
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
fn mqtt5_4_4_a_session_may_change_its_version() {
    let mut client = kept(V5);
    deliver(&mut client, "1", Qos::AtLeastOnce);
    let mut session = offline(client.peer.session.take_exchange());
    queue(&mut session, on("2", Qos::AtLeastOnce)).unwrap();
    let mut client = back(session.take_exchange(), V311, &[], Now::default());
    assert_eq!(seen(&mut client), [("1", 1, 1, true), ("2", 1, 2, false)]);
    let state = client.peer.session.take_exchange();
    let mut client = back(state, V5, &[], Now::default());
    assert_eq!(seen(&mut client), [("1", 1, 1, true), ("2", 1, 2, true)]);
}

/// What a publisher says of the message `name`, as a block of properties.
fn said(name: &'static str) -> Vec<u8> {
    let mut block = Vec::new();
    for property in said_of(name) {
        property.encode_into(&mut block);
    }
    block
}

const fn said_of(name: &'static str) -> [Property<'static>; 7] {
    [
        Property::PayloadFormatIndicator(true),
        Property::ContentType("text/plain"),
        Property::UserProperty("b", name),
        Property::ResponseTopic("answers"),
        Property::CorrelationData(&[0, 255]),
        Property::UserProperty("a", "1"),
        Property::UserProperty("b", name),
    ]
}

/// What goes with the delivery to a client of 5.0, with `expiry_s` left.
fn whole(name: &'static str, expiry_s: u32) -> Vec<Property<'static>> {
    let mut whole = vec![
        Property::MessageExpiryInterval(expiry_s),
        Property::SubscriptionIdentifier(5),
        Property::SubscriptionIdentifier(9),
    ];
    whole.extend(said_of(name));
    whole.extend(super::deliver::SENDER);
    whole
}

#[test]
fn mqtt5_3_3_2_3_a_message_loses_nothing_while_its_session_speaks_3_1_1() {
    for crashed in [false, true] {
        for (one, other) in [(V311, V5), (V5, V311), (V311, V311), (V5, V5)] {
            let mut disk = Disk::default();
            let mut client = kept(one);
            client.peer.now = at(0);
            let plain = options(Qos::ExactlyOnce, FORM_PLAIN);
            let expires = Some(at(0).instant + Duration::from_secs(60));
            for (name, qos) in [("1", Qos::AtLeastOnce), ("2", Qos::ExactlyOnce)] {
                let attributes = said(name);
                let message = ChannelMessage {
                    attributes: &attributes,
                    expires,
                    ..on(name, qos)
                };
                channel(&mut client, message, plain, &[5, 9]).unwrap();
            }
            flush(&mut client, &mut disk);
            assert_eq!(
                seen(&mut client),
                [("1", 1, 1, false), ("2", 2, 2, false)],
                "{one:?}"
            );
            let mut session = offline(client.peer.session.take_exchange());
            let attributes = said("3");
            let message = ChannelMessage {
                attributes: &attributes,
                expires,
                ..on("3", Qos::AtLeastOnce)
            };
            queue_for(&mut session, message, &[5, 9]).unwrap();
            disk.drain(&mut session);
            session.settled(disk.commit().unwrap());
            let mut state = session.take_exchange();
            // Twice, so that what was sent in one version may be sent again in the other one.
            for (times, version) in [(1, other), (2, one), (3, V5), (4, V311)] {
                let now = at(10 * times);
                if crashed {
                    let (restored, damaged) = disk.crash(now);
                    assert_eq!(damaged, 0);
                    state = Box::new(restored);
                }
                let mut client = back(state, version, &[], now);
                let left = 60 - 10 * u32::try_from(times).unwrap();
                let packets = client.packets();
                assert_eq!(packets.len(), 3);
                for (packet, name) in packets.iter().zip(["1", "2", "3"]) {
                    let Packet::Publish(publish) = packet else {
                        panic!("{packet:?}");
                    };
                    assert_eq!((publish.topic, publish.payload), (name, &b"text"[..]));
                    assert_eq!(publish.dup, name != "3" || times > 1, "{name}, {times}");
                    let expected = match version {
                        V311 => Vec::new(),
                        V5 => whole(name, left),
                    };
                    let properties: Vec<_> = publish.properties.iter().collect();
                    assert_eq!(properties, expected, "{one:?}, {other:?}, {name}, {times}");
                }
                flush(&mut client, &mut disk);
                state = client.peer.session.take_exchange();
                assert_eq!(state.outbound.backlog().in_flight, 3);
            }
        }
    }
}

#[test]
fn mqtt5_4_4_a_row_in_the_form_of_3_1_1_is_sent_to_both_versions() {
    use crate::codec::mqtt::publish::PublishParts;
    use crate::session::mqtt::rows::{Row, State};
    let mut packet = Vec::new();
    PublishParts {
        qos: QoS::AtLeastOnce,
        packet_id: Some(PacketId::MIN),
        topic: &["a"],
        payload: b"text",
        ..PublishParts::new(V311)
    }
    .encode_into(&mut packet);
    let mut value = Vec::new();
    Row {
        state: State::Sent(id(3)),
        stage: Stage::Channel,
        version: V311,
        expires_unix_ms: at(60).unix_ms,
        origin: &[],
        packet: &packet,
    }
    .encode_into(&mut value);
    for (version, expiry) in [(V5, Some(50)), (V311, None)] {
        let rows = [(0, &value[..])];
        let (state, damaged) = MessageState::restore(NUMBER, at(10), rows, []);
        assert_eq!(damaged, 0);
        let mut client = back(Box::new(state), version, &[], at(10));
        let Packet::Publish(publish) = client.packet() else {
            panic!("no PUBLISH");
        };
        assert_eq!(
            (publish.topic, publish.packet_id, publish.dup),
            ("a", Some(id(3)), true)
        );
        assert_eq!(publish.properties.message_expiry_interval_s(), expiry);
    }
}

/// Delivers a channel message to a session without a connection.
fn queue(session: &mut Session, message: ChannelMessage<'_>) -> Result<(), Undelivered> {
    queue_for(session, message, &[])
}

/// The same for subscriptions with these identifiers.
fn queue_for(
    session: &mut Session,
    message: ChannelMessage<'_>,
    identifiers: &[u32],
) -> Result<(), Undelivered> {
    let from = sender();
    let delivery = Delivery::Channel {
        message,
        sender: from.sender(),
        options: options(Qos::ExactlyOnce, FORM_PLAIN),
        identifiers,
        share: None,
    };
    session.keep_delivery(at(0), &delivery)
}

fn at(s: u64) -> Now {
    Now {
        instant: Instant::from_nanos(s * 1_000_000_000),
        unix_ms: 1_000_000 + s * 1_000,
    }
}

#[test]
fn mqtt5_3_3_2_3_3_what_expires_before_the_client_is_back_is_dropped() {
    for crashed in [false, true] {
        let mut disk = Disk::default();
        let mut client = kept(V5);
        client.peer.now = at(0);
        let lasting = |name, s, qos| ChannelMessage {
            expires: Some(at(0).instant + Duration::from_secs(s)),
            ..on(name, qos)
        };
        let plain = options(Qos::ExactlyOnce, FORM_PLAIN);
        channel(&mut client, lasting("1", 5, Qos::ExactlyOnce), plain, &[]).unwrap();
        channel(&mut client, lasting("2", 5, Qos::ExactlyOnce), plain, &[]).unwrap();
        channel(&mut client, lasting("3", 5, Qos::AtLeastOnce), plain, &[]).unwrap();
        flush(&mut client, &mut disk);
        client.send(&Packet::PubRec(ack(1))).unwrap();
        flush(&mut client, &mut disk);
        let mut session = offline(client.peer.session.take_exchange());
        queue(&mut session, lasting("4", 5, Qos::ExactlyOnce)).unwrap();
        queue(&mut session, lasting("5", 60, Qos::ExactlyOnce)).unwrap();
        disk.drain(&mut session);
        session.settled(disk.commit().unwrap());
        let state = if crashed {
            // The clock of the next daemon begins elsewhere.
            let (state, damaged) = disk.crash(Now {
                instant: at(500).instant,
                ..at(8)
            });
            assert_eq!(damaged, 0);
            Box::new(state)
        } else {
            session.take_exchange()
        };
        let now = if crashed {
            Now {
                instant: at(502).instant,
                ..at(10)
            }
        } else {
            at(10)
        };
        let mut client = back(state, V5, &[], now);
        flush(&mut client, &mut disk);
        let packets = client.packets();
        let told = |packet: &Packet<'static>| match packet {
            Packet::PubRel(ack) => (ack.packet_id.get(), "rel", None),
            Packet::Publish(publish) => (
                publish.packet_id.unwrap().get(),
                publish.topic,
                publish.properties.message_expiry_interval_s(),
            ),
            other => panic!("{other:?}"),
        };
        let told: Vec<_> = packets.iter().map(told).collect();
        // Of the second the client may have taken the identifier, so it is not forgotten.
        assert_eq!(told, [(1, "rel", None), (2, "2", Some(0)), (4, "5", Some(50))]);
        assert_eq!(client.drops(Stage::Channel, DropReason::Expired), 2);
        assert_eq!(disk.rows.len(), 3);
    }
}

#[test]
fn mqtt5_4_5_a_session_without_a_connection_queues_channels_of_qos_1_and_2_alone() {
    let mut client = kept(V5);
    client.send(&Packet::PingReq).unwrap();
    let mut session = offline(client.peer.session.take_exchange());
    assert_eq!(
        queue(&mut session, on("a", Qos::AtMostOnce)),
        Err(Undelivered::Gone)
    );
    assert_eq!(queue(&mut session, on("a", Qos::AtLeastOnce)), Ok(()));
    let from = sender();
    let direct = Delivery::Direct {
        text: "hello",
        attributes: &[],
        to_account: false,
        sender: from.sender(),
        qos: Qos::ExactlyOnce,
        options: options(Qos::ExactlyOnce, FORM_PLAIN),
    };
    let gone = session.keep_delivery(Now::default(), &direct);
    assert_eq!(gone, Err(Undelivered::Gone));
    let mut ordinary = offline(Client::attached(V5).peer.session.take_exchange());
    let gone = queue(&mut ordinary, on("a", Qos::AtLeastOnce));
    assert_eq!(gone, Err(Undelivered::Gone), "nobody comes back for it");
}

#[test]
fn mqtt5_4_5_what_comes_while_the_connection_ends_waits_like_what_comes_later() {
    let mut client = kept(V5);
    let ending = &mut client.peer.session;
    assert_eq!(queue(ending, on("a", Qos::AtMostOnce)), Err(Undelivered::Gone));
    assert_eq!(queue(ending, on("a", Qos::AtLeastOnce)), Ok(()));
    let mut client = back(ending.take_exchange(), V5, &[], Now::default());
    assert_eq!(seen(&mut client), [("a", 1, 1, false)]);
}

#[test]
fn what_waits_for_a_client_is_bounded_as_configured() {
    let bounded = || Settings {
        queued_messages_max: 2,
        queued_bytes_max: 1_024,
        ..settings()
    };
    let mut client = kept_with(V5, bounded(), &[]);
    let shared = Arc::clone(&client.settings);
    let mut session = Session::new(&shared, Passwords::Taken, Now::default());
    session.give_exchange(client.peer.session.take_exchange());
    for expected in [Ok(()), Ok(()), Err(Undelivered::QueueFull)] {
        assert_eq!(queue(&mut session, on("a", Qos::AtLeastOnce)), expected);
    }
    // What is in flight is kept, so it is bounded, too: beyond, messages wait.
    let mut client = kept_with(V5, bounded(), &[]);
    let large = "x".repeat(700);
    let message = ChannelMessage {
        payload: large.as_bytes(),
        ..on("a", Qos::AtLeastOnce)
    };
    let plain = options(Qos::AtLeastOnce, FORM_PLAIN);
    for (expected, sent) in [(Ok(()), 1), (Ok(()), 0), (Err(Undelivered::QueueFull), 0)] {
        assert_eq!(channel(&mut client, message, plain, &[]), expected);
        assert_eq!(client.packets().len(), sent);
    }
    client.send(&Packet::PubAck(ack(1))).unwrap();
    assert_eq!(client.packets().len(), 1);
    let mut client = Client::attached_with(
        V311,
        Settings {
            inflight_max: 1,
            ..settings()
        },
        &[],
    );
    for sent in [1, 0] {
        deliver(&mut client, "a", Qos::AtLeastOnce);
        assert_eq!(client.packets().len(), sent);
    }
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
