//! MQTT as it ships, carried: what it says over TCP comes in frames, and its packets are its own.

use std::sync::Arc;

use super::*;
use crate::codec::mqtt::packet::{Connect, Packet, Publish, QoS, Version};
use crate::codec::mqtt::property::Properties;
use crate::session::any::{Carrying, Opening};
use crate::session::mqtt::{self, Passwords};
use crate::session::testing::{UID, identity};
use crate::session::xmpp;

fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode_into(Version::V5, &mut bytes);
    bytes
}

fn connect() -> Vec<u8> {
    encoded(&Packet::Connect(Connect {
        version: Version::V5,
        clean: true,
        keep_alive_s: 60,
        properties: Properties::default(),
        client_id: "w1",
        will: None,
        user_name: Some(&format!("etest-{UID}-owner")),
        password: Some(b"secret"),
    }))
}

fn publish(payload: &[u8]) -> Vec<u8> {
    encoded(&Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "alerts",
        packet_id: None,
        properties: Properties::default(),
        payload,
    }))
}

fn open() -> Shard<Carrying> {
    let mut shard = Shard::accept_for(&Opening {
        mqtt: Arc::default(),
        xmpp: Arc::new(xmpp::Settings::new(Vec::new(), [7; 32], Default::default())),
        passwords: Passwords::Taken,
        certified: None,
    });
    shard.receive(handshake::request("").as_bytes());
    assert!(shard.out.take().starts_with(b"HTTP/1.1 101 "));
    shard
}

fn attach(shard: &mut Shard<Carrying>) {
    let identity = identity("etest", "owner", "w1");
    shard.session.attached(shard.now, Ok(&identity), &mut shard.out);
    shard.resume();
}

#[test]
fn mqtt_6_0_0_2_packets_are_not_aligned_on_frames() {
    let packets = [connect(), publish(b"one"), publish(&[b'x'; 300])].concat();
    for cut in 0..=packets.len() {
        let wire = [frame(0x02, &packets[..cut]), frame(0x80, &packets[cut..])].concat();
        for piece in [3, wire.len()] {
            let mut shard = open();
            for chunk in wire.chunks(piece) {
                shard.receive(chunk);
            }
            assert_eq!(shard.events, [Event::Login], "cut at {cut}");
            attach(&mut shard);
            assert_eq!(
                shard.events[1..],
                [
                    Event::Published(b"one".to_vec()),
                    Event::Published(vec![b'x'; 300])
                ],
                "cut at {cut}"
            );
            let frames = shard.frames();
            assert_eq!(
                (frames.len(), frames[0].0, frames[0].1[0]),
                (1, 0x82, 0x20),
                "CONNACK"
            );
        }
    }
}

#[test]
fn a_refused_login_is_told_in_mqtt_and_then_in_web_socket() {
    let mut shard = open();
    shard.receive(&binary(&connect()));
    let (now, out) = (shard.now, &mut shard.out);
    shard.session.attached(now, Err(LoginFailure::Denied), out);
    let frames = shard.frames();
    assert_eq!((frames[0].0, &frames[0].1[..4]), (0x82, &[0x20, 3, 0, 0x86][..]));
    assert_eq!(
        (frames[1].0, &frames[1].1[..2]),
        (0x88, &1008_u16.to_be_bytes()[..])
    );
    assert_eq!(frames.len(), 2);
}

#[test]
fn a_shutdown_is_told_in_mqtt_and_then_in_web_socket() {
    let mut shard = open();
    shard.receive(&binary(&connect()));
    attach(&mut shard);
    shard.frames();
    shard.session.end(shard.now, Ending::Shutdown, &mut shard.out);
    let frames = shard.frames();
    assert_eq!((frames[0].0, frames[0].1[0], frames[0].1[2]), (0x82, 0xE0, 0x8B));
    assert_eq!(
        (frames[1].0, &frames[1].1[..2]),
        (0x88, &1001_u16.to_be_bytes()[..])
    );
    assert_eq!(frames.len(), 2);
}

#[test]
fn a_disconnect_is_followed_by_a_close() {
    let mut shard = open();
    shard.receive(&binary(&connect()));
    attach(&mut shard);
    shard.frames();
    shard.receive(&binary(&[0xE0, 0x00]));
    assert_eq!(shard.events, [Event::Login, Event::Leave]);
    assert_eq!(shard.close_code(), 1000);
}

#[test]
fn mqtt_bytes_that_are_malformed_close_with_1002() {
    for bytes in [
        &[0xF0, 0xFF, 0xFF, 0xFF, 0xFF][..],
        &[0x00, 0x00],
        &[0x30, 0xFF, 0xFF, 0xFF, 0xFF],
    ] {
        for cut in 0..=bytes.len() {
            let mut shard = open();
            shard.receive(&binary(&connect()));
            attach(&mut shard);
            shard.receive(&frame(0x02, &bytes[..cut]));
            shard.receive(&frame(0x80, &bytes[cut..]));
            assert_eq!(
                shard.events[1..],
                [Event::Ended(Disconnect::Malformed)],
                "{bytes:x?} cut at {cut}"
            );
            assert_eq!(shard.close_code(), 1002);
        }
    }
}

#[test]
fn an_open_connection_costs_40_bytes_beside_its_mqtt_session() {
    assert_eq!(size_of::<Session<Carrying>>(), size_of::<mqtt::Session>() + 40);
}
