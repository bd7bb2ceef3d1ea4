//! Peers that have not logged in, and those that never do.

use std::net::SocketAddr;
use std::time::Duration;

use nexus::limits;

use super::Neighbours;
use crate::harness::clock::{Moment, PATIENCE};
use crate::harness::matrix::SHARD_COUNTS;
use crate::harness::mqtt::{self, PINGREQ, PINGRESP, Raw};
use crate::harness::websocket::{self, BINARY, FIN, PING};
use crate::harness::{Net, each_shard_count, parallel};

/// From accept to login, with room for a busy machine.
const LOGIN_PATIENCE: Duration = Duration::from_millis(limits::PRELOGIN_MS_MAX + 2_000);

#[test]
fn mqtt_3_1_0_1_what_is_not_a_connect_first_is_closed() {
    each_shard_count(|net| {
        let neighbours = Neighbours::new(net);
        let account = net.app().account("owner");
        let connect = mqtt::connect(4, &account, "w1");
        // Offsets: fixed header (2 bytes if the body is shorter than 128), protocol name (6), level, flags.
        let header = connect.windows(6).position(|part| part == b"\0\x04MQTT").unwrap();
        let changed = |place: usize, byte: u8| {
            let mut bytes = connect.clone();
            bytes[header + place] = byte;
            bytes
        };
        for (name, bytes) in [
            ("PINGREQ", PINGREQ.to_vec()),
            ("PUBLISH", mqtt::publish("a", None, None, b"x")),
            ("SUBSCRIBE", mqtt::subscribe(4, 1, "a")),
            ("DISCONNECT", vec![0xE0, 0]),
            ("zeros", vec![0; 64]),
            ("ones", vec![0xFF; 64]),
            ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
            ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
            ("CONNECT with flags", [vec![0x11], connect[1..].to_vec()].concat()),
            ("another protocol's name", changed(5, b'X')),
            ("the reserved connect flag", changed(7, 0b1100_0011)),
            ("will flags without a will", changed(7, 0b1110_0010)),
            ("a password without a user name", changed(7, 0b0100_0010)),
            ("a will of QoS 3", changed(7, 0b1101_1110)),
            ("fields longer than the packet", changed(11, 0xFF)),
            (
                "a CONNECT longer than any",
                [vec![0x10], mqtt::variable(limits::CONNECT_BYTES_MAX + 1)].concat(),
            ),
            ("a packet of 256 MiB", vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F]),
            ("no Remaining Length", vec![0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
        ] {
            let mut raw = Raw::open(net.daemon().mqtt);
            raw.send(&bytes);
            let begun = Moment::now();
            let rest = raw.rest_within(PATIENCE);
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{name}: closed for this, not by a time-out"
            );
            let accepted = rest.first() == Some(&0x20) && rest.get(3) == Some(&0);
            assert!(!accepted, "{name}: {rest:x?}");
        }
        neighbours.assert_undisturbed();
    });
}

#[test]
fn the_bytes_of_a_peer_that_has_not_logged_in_are_bounded() {
    each_shard_count(|net| {
        let neighbours = Neighbours::new(net);
        let account = net.app().account("owner");
        // A CONNECT of the largest size, with a will that fills it, is taken.
        let connect = |bytes: usize| {
            let mut body = mqtt::counted("MQTT");
            body.extend([5, 0b1100_0110, 0, 60, 0]);
            body.extend(mqtt::counted("big"));
            body.push(0);
            body.extend(mqtt::counted("big/will"));
            let rest = mqtt::counted(&account.name).len() + mqtt::counted(&account.secret).len();
            // Fixed header 4, payload length 2.
            let payload = (bytes - 4 - body.len() - 2 - rest).min(65_535);
            body.extend(mqtt::counted(vec![b'x'; payload]));
            body.extend(mqtt::counted(&account.name));
            body.extend(mqtt::counted(&account.secret));
            mqtt::packet(0x10, &body)
        };
        let mut raw = Raw::open(net.daemon().mqtt);
        raw.send(&connect(limits::CONNECT_BYTES_MAX));
        assert_eq!(raw.packet().connack_code(), 0);
        // What follows a CONNECT before its verdict is kept, not lost.
        let mut raw = Raw::open(net.daemon().mqtt);
        raw.send(&[mqtt::connect(4, &account, "eager"), PINGREQ.to_vec()].concat());
        assert_eq!(raw.packet().connack_code(), 0);
        assert_eq!(raw.packet().first, PINGRESP);
        neighbours.assert_undisturbed();
    });
}

#[test]
fn who_never_logs_in_is_closed_within_10_s() {
    parallel(&SHARD_COUNTS, |&shards| {
        let net = Net::shared(shards);
        let neighbours = Neighbours::new(&net);
        let daemon = net.daemon();
        let account = net.app().account("owner");
        let connect = mqtt::connect(5, &account, "w1");
        let half = &connect[..connect.len() / 2];
        let handshake = websocket::handshake("/mqtt", "mqtt");
        let half_a_frame = websocket::masked(FIN | BINARY, half);
        let over_websocket = |frames: &[u8]| [handshake.as_bytes(), frames].concat();
        let cases: Vec<(SocketAddr, Vec<u8>)> = vec![
            (daemon.mqtt, Vec::new()),
            (daemon.mqtt, vec![0x10]),
            (daemon.mqtt, half.to_vec()),
            (daemon.ws, Vec::new()),
            (daemon.ws, b"GET /mqtt HTTP/1.1\r\nHost: x\r\n".to_vec()),
            (daemon.ws, over_websocket(&[])),
            (daemon.ws, over_websocket(&half_a_frame)),
            (
                daemon.ws,
                over_websocket(&websocket::masked(FIN | PING, b"still here")),
            ),
        ];
        parallel(&cases, |(address, bytes)| {
            let mut raw = Raw::open(*address);
            raw.send(bytes);
            let begun = Moment::now();
            raw.rest_within(LOGIN_PATIENCE);
            assert!(
                begun.elapsed() > Duration::from_secs(5),
                "closed early: {:?}",
                begun.elapsed()
            );
        });
        neighbours.assert_undisturbed();
    });
}

#[test]
fn many_connections_that_never_log_in_disturb_nobody() {
    each_shard_count(|net| {
        let neighbours = Neighbours::new(net);
        let daemon = net.daemon();
        let idle: Vec<Raw> = (0..400)
            .map(|n| {
                let mut raw = Raw::open(if n % 2 == 0 { daemon.mqtt } else { daemon.ws });
                raw.send(&[0x10, 0xFF, 0x7F]);
                raw
            })
            .collect();
        neighbours.assert_undisturbed();
        let account = net.app().account("owner");
        Raw::login(daemon.mqtt, 5, &account, "between");
        drop(idle);
        neighbours.assert_undisturbed();
    });
}
