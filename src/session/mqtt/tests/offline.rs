//! What comes for a session that has no connection.

use std::time::Duration;

use super::deliver::{channel, on, options, sender};
use super::kept::{ack, back, deliver, flush, kept, kept_with, seen};
use super::model::{Disk, offline};
use super::*;
use crate::route::{ChannelMessage, Delivery, Qos, Undelivered};
use crate::session::mqtt::control::FORM_PLAIN;
use crate::time::Instant;

/// Delivers a channel message to a session without a connection.
pub(super) fn queue(session: &mut Session, message: ChannelMessage<'_>) -> Result<(), Undelivered> {
    queue_for(session, message, &[])
}

/// The same for subscriptions with these identifiers.
pub(super) fn queue_for(
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
        is_shown: false,
    };
    session.keep_delivery(at(0), &delivery)
}

pub(super) fn at(s: u64) -> Now {
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
fn what_waits_for_all_clients_of_a_shard_is_bounded() {
    let bounded = || Settings {
        held_bytes_max: 2_000,
        ..settings()
    };
    let large = "x".repeat(700);
    let message = ChannelMessage {
        payload: large.as_bytes(),
        ..on("a", Qos::AtLeastOnce)
    };
    let plain = options(Qos::AtLeastOnce, FORM_PLAIN);
    // In flight or waiting, of whichever session: all of it is held.
    let mut online = kept_with(V5, bounded(), &[]);
    assert_eq!(channel(&mut online, message, plain, &[]), Ok(()));
    let shared = Arc::clone(&online.settings);
    let mut away = Session::new(&shared, Passwords::Taken, Now::default());
    away.give_exchange(kept_with(V5, bounded(), &[]).peer.session.take_exchange());
    assert_eq!(queue(&mut away, message), Ok(()));
    assert_eq!(queue(&mut away, message), Err(Undelivered::QueueFull));
    assert_eq!(
        channel(&mut online, message, plain, &[]),
        Err(Undelivered::QueueFull)
    );
    // Who acknowledges goes on, one message at a time.
    for id in 1..4 {
        online.packets();
        online.send(&Packet::PubAck(ack(id))).unwrap();
        assert_eq!(channel(&mut online, message, plain, &[]), Ok(()));
        assert_eq!(queue(&mut away, message), Err(Undelivered::QueueFull));
    }
    let held = || shared.metrics.mqtt_held_bytes.get();
    assert!((1_400..2_000).contains(&held()), "{}", held());
    drop(away);
    online.send(&Packet::PubAck(ack(4))).unwrap();
    assert_eq!(held(), 0);
}
