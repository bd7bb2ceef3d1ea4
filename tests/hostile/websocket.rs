//! Bad frames and bad handshakes (RFC 6455).

use super::Neighbours;
use crate::harness::clock::PATIENCE;
use crate::harness::mqtt::{self, PINGREQ, PINGRESP};
use crate::harness::websocket::{self, BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, WebSocket};
use crate::harness::{Account, Net, each_shard_count};

/// A WebSocket on which a block has logged in with 5.0.
fn login_over_websocket(net: &Net, account: &Account, resource: &str) -> WebSocket {
    let mut socket = WebSocket::open(net.daemon().ws);
    socket.send(FIN | BINARY, &mqtt::connect(5, account, resource));
    let frame = socket.next().expect("a CONNACK");
    assert_eq!(frame.first, FIN | BINARY);
    assert_eq!((frame.payload[0], frame.payload[3]), (0x20, 0), "{frame:x?}");
    socket
}

/// Bad bytes, and the close codes that RFC 6455 (and MQTT, 6) have for them.
struct Bad {
    name: &'static str,
    bytes: Vec<u8>,
    codes: &'static [u16],
}

fn bad(name: &'static str, bytes: Vec<u8>, codes: &'static [u16]) -> Bad {
    Bad { name, bytes, codes }
}

/// Frames whose header or size is bad.
fn bad_headers() -> Vec<Bad> {
    let masked = websocket::masked;
    let unmasked = [&[FIN | BINARY, 2][..], &PINGREQ].concat();
    let head = |rest: &[u8]| [&[FIN | BINARY][..], rest, &[0; 4]].concat();
    let fits_in_16 = head(&[0xFF, 0, 0, 0, 0, 0, 0, 1, 0]);
    let over_the_bound = head(&[0xFF, 0, 0, 0, 0, 0x10, 0, 0, 0]);
    vec![
        bad("5.1: not masked", unmasked, &[1002]),
        bad(
            "5.2: reserved bit 1",
            masked(FIN | 0x40 | BINARY, &PINGREQ),
            &[1002],
        ),
        bad(
            "5.2: reserved bit 3",
            masked(FIN | 0x10 | BINARY, &PINGREQ),
            &[1002],
        ),
        bad("5.2: unknown opcode", masked(FIN | 0x3, b""), &[1002]),
        bad("5.2: unknown control opcode", masked(FIN | 0xB, b""), &[1002]),
        bad("5.2: 16-bit length that fits in 7", head(&[0xFE, 0, 1]), &[1002]),
        bad("5.2: 64-bit length that fits in 16", fits_in_16, &[1002]),
        bad(
            "5.2: 64-bit length with the top bit",
            head(&[0xFF; 9]),
            &[1002, 1009],
        ),
        bad("7.4.1: a frame over the bound", over_the_bound, &[1009]),
    ]
}

/// Frames that are bad for what they carry or where they stand.
fn bad_sequences() -> Vec<Bad> {
    let masked = websocket::masked;
    let within = [masked(BINARY, &PINGREQ[..1]), masked(FIN | BINARY, &PINGREQ)].concat();
    let not_utf8 = masked(FIN | CLOSE, b"\x03\xe8\xff");
    vec![
        bad("5.5: control frame in fragments", masked(PING, b"x"), &[1002]),
        bad(
            "5.5: control frame of 126 bytes",
            masked(FIN | PING, &[b'x'; 126]),
            &[1002],
        ),
        bad("5.5.1: close with one byte", masked(FIN | CLOSE, &[3]), &[1002]),
        bad(
            "7.4.1: close with 1005",
            masked(FIN | CLOSE, &1005_u16.to_be_bytes()),
            &[1002],
        ),
        bad("5.5.1: close reason that is not UTF-8", not_utf8, &[1002, 1007]),
        bad(
            "5.4: continuation of nothing",
            masked(FIN | CONTINUATION, &PINGREQ),
            &[1002],
        ),
        bad("5.4: a message within a message", within, &[1002]),
        bad(
            "MQTT-6.0.0-1: a text frame",
            masked(FIN | TEXT, b"text"),
            &[1002, 1003, 1008],
        ),
    ]
}

#[test]
fn rfc6455_a_bad_frame_is_answered_with_its_close_code_and_closed() {
    each_shard_count(|net| {
        let neighbours = Neighbours::new(net);
        let account = net.app().account("owner");
        let all: Vec<Bad> = bad_headers().into_iter().chain(bad_sequences()).collect();
        for (number, Bad { name, bytes, codes }) in all.iter().enumerate() {
            let sockets = [
                WebSocket::open(net.daemon().ws),
                login_over_websocket(net, &account, &format!("bad{number}")),
            ];
            for mut socket in sockets {
                socket.send_bytes(bytes);
                let code = socket
                    .try_close_code()
                    .unwrap_or_else(|| panic!("{name}: no close frame"));
                assert!(codes.contains(&code), "{name}: {code}, not one of {codes:?}");
            }
        }
        neighbours.assert_undisturbed();
    });
}

#[test]
fn rfc6455_5_4_fragments_and_control_frames_between_them_are_one_stream() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let mut socket = WebSocket::open(net.daemon().ws);
        let connect = mqtt::connect(4, &account, "pieces");
        let (first, rest) = connect.split_at(7);
        socket.send(BINARY, first);
        socket.send(FIN | PING, b"between");
        for byte in rest {
            socket.send(CONTINUATION, &[*byte]);
        }
        socket.send(FIN | CONTINUATION, b"");
        let pong = socket.next().unwrap();
        assert_eq!(
            (pong.first, pong.payload.as_slice()),
            (FIN | PONG, &b"between"[..])
        );
        assert_eq!(socket.next().unwrap().payload, [0x20, 2, 0, 0]);
        // MQTT 6: packets need not align with frames.
        socket.send(FIN | BINARY, &[PINGREQ[0]]);
        socket.send(FIN | BINARY, &[PINGREQ[1], PINGREQ[0], PINGREQ[1]]);
        let mut came = Vec::new();
        while came.len() < 4 {
            came.extend(socket.next().expect("two PINGRESPs").payload);
        }
        assert_eq!(came, [PINGRESP, 0, PINGRESP, 0]);
        socket.send(FIN | CLOSE, &1000_u16.to_be_bytes());
        assert_eq!(socket.close_code(), 1000, "5.5.1: a close frame is echoed");
    });
}

#[test]
fn a_flood_of_fragments_is_closed() {
    each_shard_count(|net| {
        let neighbours = Neighbours::new(net);
        let account = net.app().account("owner");
        let flood = websocket::masked(CONTINUATION, b"").repeat(10_000);
        for mut socket in [
            WebSocket::open(net.daemon().ws),
            login_over_websocket(net, &account, "flood"),
        ] {
            // A message that never ends and never grows.
            socket.send(BINARY, &[0x30]);
            socket.send_until_closed(&flood, 200);
            let code = socket.try_close_code();
            assert!(matches!(code, None | Some(1002 | 1008 | 1009)), "{code:?}");
        }
        neighbours.assert_undisturbed();
    });
}

/// Bad requests, and the statuses that HTTP has for them.
fn bad_handshakes() -> Vec<(&'static str, String, &'static [u16])> {
    let good = websocket::handshake("/mqtt", "mqtt");
    let without = |header: &str| -> String {
        let kept: Vec<&str> = good
            .split("\r\n")
            .filter(|line| !line.starts_with(header))
            .collect();
        kept.join("\r\n")
    };
    let long = good.replace("\r\n\r\n", &format!("\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000)));
    vec![
        ("another path", websocket::handshake("/other", "mqtt"), &[404]),
        (
            "another subprotocol",
            websocket::handshake("/mqtt", "chat"),
            &[400],
        ),
        ("no subprotocol", without("Sec-WebSocket-Protocol"), &[400]),
        ("no key", without("Sec-WebSocket-Key"), &[400]),
        ("no upgrade", without("Upgrade"), &[400, 426]),
        ("no version", without("Sec-WebSocket-Version"), &[400, 426]),
        (
            "another version",
            good.replace("Version: 13", "Version: 8"),
            &[400, 426],
        ),
        ("another method", good.replacen("GET", "POST", 1), &[400, 405]),
        (
            "a plain page",
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            &[400, 404, 426],
        ),
        (
            "not HTTP",
            "\u{10}\u{c}\0\u{4}MQTT\u{4}\u{2}\0\u{3c}\0\0\r\n\r\n".to_owned(),
            &[400],
        ),
        ("a header that never ends", long, &[400, 431]),
    ]
}

#[test]
fn rfc6455_4_2_a_bad_handshake_is_refused() {
    each_shard_count(|net| {
        let neighbours = Neighbours::new(net);
        for (name, request, statuses) in bad_handshakes() {
            let answer = websocket::exchange(net.daemon().ws, request.as_bytes(), PATIENCE);
            let head = String::from_utf8_lossy(&answer);
            let status = head
                .strip_prefix("HTTP/1.1 ")
                .and_then(|rest| rest.get(..3))
                .and_then(|status| status.parse::<u16>().ok());
            assert!(
                status.is_some_and(|status| statuses.contains(&status)),
                "{name}: {head:?}, not one of {statuses:?}"
            );
            if status == Some(426) {
                let head = head.to_ascii_lowercase();
                assert!(
                    head.contains("sec-websocket-version: 13"),
                    "RFC 6455, 4.4: {head}"
                );
            }
        }
        neighbours.assert_undisturbed();
    });
}

#[test]
fn bad_mqtt_inside_a_websocket_is_answered_in_mqtt_and_closed() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let mut socket = login_over_websocket(net, &account, "w1");
        socket.send(FIN | BINARY, &[0xC1, 0]);
        let frame = socket.next().expect("a DISCONNECT");
        assert_eq!(&frame.payload[..1], [0xE0], "{frame:x?}");
        assert_eq!(frame.payload[2], 0x81, "{frame:x?}");
        while socket.next().is_some_and(|frame| frame.first & 0x0F == CLOSE) {}
        assert_eq!(socket.next(), None);
    });
}
