//! Sessions that are taken up by a connection of the other version of MQTT.

use std::time::Duration;

use super::deliver::{channel, on, options};
use super::kept::{back, deliver, flush, kept, seen};
use super::model::{Disk, NUMBER, offline};
use super::offline::{at, queue, queue_for};
use super::*;
use crate::codec::mqtt::publish::PublishParts;
use crate::route::{ChannelMessage, Qos};
use crate::session::mqtt::MessageState;
use crate::session::mqtt::control::FORM_PLAIN;
use crate::session::mqtt::rows::{Row, State};

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
