//! Bad packets of a block that has logged in, and bad timing.

use std::io::Read;
use std::time::Duration;

use nexus::limits;

use super::Neighbours;
use crate::harness::clock::{Moment, PATIENCE};
use crate::harness::matrix::SHARD_COUNTS;
use crate::harness::mqtt::{self, PINGREQ, PINGRESP, Raw};
use crate::harness::websocket::{self, BINARY, FIN, PING};
use crate::harness::{Account, Net, Options, each_shard_count, http, parallel};

/// A bad packet of a block that has logged in, and the reason codes of DISCONNECT that 5.0 has for it.
struct Bad {
    name: &'static str,
    bytes: Vec<u8>,
    codes: &'static [u8],
}

fn bad(name: &'static str, bytes: Vec<u8>, codes: &'static [u8]) -> Bad {
    Bad { name, bytes, codes }
}

const MALFORMED: &[u8] = &[0x81];
const PROTOCOL_ERROR: &[u8] = &[0x82];
const MALFORMED_OR_PROTOCOL_ERROR: &[u8] = &[0x81, 0x82];
/// A name that is no topic name: said as such, or as malformed.
const TOPIC_NAME: &[u8] = &[0x81, 0x82, 0x90];
const TOPIC_FILTER: &[u8] = &[0x81, 0x82, 0x8F];

/// The same bytes under another first byte.
fn with_first(mut bytes: Vec<u8>, first: u8) -> Vec<u8> {
    bytes[0] = first;
    bytes
}

/// Bad PUBLISH packets. `properties` is the empty property block that 5.0 has.
fn bad_publishes(properties: &[u8]) -> Vec<Bad> {
    let publish = |topic: &[u8], id: Option<u16>| -> Vec<u8> {
        let mut body = mqtt::counted(topic);
        body.extend(id.into_iter().flat_map(u16::to_be_bytes));
        body.extend(properties);
        mqtt::packet(if id.is_some() { 0x32 } else { 0x30 }, &body)
    };
    vec![
        bad("packet type 0", vec![0x00, 0], MALFORMED_OR_PROTOCOL_ERROR),
        bad(
            "Remaining Length of five bytes",
            vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
            MALFORMED,
        ),
        bad(
            "PUBLISH of QoS 3",
            with_first(publish(b"a", Some(1)), 0x36),
            MALFORMED,
        ),
        bad(
            "PUBLISH of QoS 0 with DUP",
            with_first(publish(b"a", None), 0x38),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        bad("topic that is not UTF-8", publish(b"a\xffb", None), MALFORMED),
        bad(
            "topic with an overlong sequence",
            publish(b"a\xc0\x80b", None),
            MALFORMED,
        ),
        bad(
            "topic with a surrogate",
            publish(b"a\xed\xa0\x80b", None),
            MALFORMED,
        ),
        bad("topic with U+0000", publish(b"a\0b", None), MALFORMED),
        bad("topic with #", publish(b"a/#", None), TOPIC_NAME),
        bad("topic with +", publish(b"a/+/b", None), TOPIC_NAME),
        bad(
            "topic longer than the packet",
            mqtt::packet(0x30, &[0, 9, b'a']),
            MALFORMED,
        ),
        bad(
            "PUBLISH without a topic's length",
            mqtt::packet(0x30, &[0]),
            MALFORMED,
        ),
        bad(
            "packet identifier 0",
            publish(b"a", Some(0)),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
    ]
}

/// Bad SUBSCRIBE and UNSUBSCRIBE packets.
fn bad_subscribes(properties: &[u8]) -> Vec<Bad> {
    let subscribe = |id: u16, rest: &[u8]| -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        body.extend(properties);
        body.extend(rest);
        mqtt::packet(0x82, &body)
    };
    let filter = |name: &str, options: u8| [mqtt::counted(name), vec![options]].concat();
    vec![
        bad(
            "SUBSCRIBE with wrong flags",
            with_first(subscribe(1, &filter("a", 0)), 0x80),
            MALFORMED,
        ),
        bad("SUBSCRIBE without filters", subscribe(1, &[]), PROTOCOL_ERROR),
        bad(
            "SUBSCRIBE with packet identifier 0",
            subscribe(0, &filter("a", 0)),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        bad(
            "SUBSCRIBE with QoS 3",
            subscribe(1, &filter("a", 3)),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        bad(
            "SUBSCRIBE with reserved bits",
            subscribe(1, &filter("a", 0xC0)),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        bad(
            "SUBSCRIBE cut short",
            subscribe(1, &mqtt::counted("a")),
            MALFORMED,
        ),
        bad(
            "filter that is not UTF-8",
            subscribe(1, &[0, 1, 0xFF, 0]),
            MALFORMED,
        ),
        bad("empty filter", subscribe(1, &filter("", 0)), TOPIC_FILTER),
        bad(
            "UNSUBSCRIBE without filters",
            with_first(subscribe(1, &[]), 0xA2),
            PROTOCOL_ERROR,
        ),
        bad(
            "UNSUBSCRIBE with wrong flags",
            with_first(subscribe(1, &mqtt::counted("a")), 0xA0),
            MALFORMED,
        ),
    ]
}

/// Other packets that are bad in both versions.
fn bad_others() -> Vec<Bad> {
    vec![
        bad("PINGREQ with a body", vec![0xC0, 1, 0], MALFORMED),
        bad("PINGREQ with flags", vec![0xC1, 0], MALFORMED),
        bad(
            "CONNACK of a client",
            vec![0x20, 2, 0, 0],
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        bad(
            "SUBACK of a client",
            mqtt::packet(0x90, &[0, 1, 0, 0]),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        bad(
            "PINGRESP of a client",
            vec![PINGRESP, 0],
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        bad("PUBREL with wrong flags", vec![0x60, 2, 0, 1], MALFORMED),
        bad(
            "packet over the bound",
            [vec![0x30], mqtt::variable(limits::PACKET_BYTES_MAX + 1)].concat(),
            &[0x95],
        ),
        bad("packet of 256 MiB", vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F], &[0x95]),
    ]
}

/// What is wrong in both versions.
fn bad_in_both(properties: &[u8]) -> Vec<Bad> {
    let mut all = bad_publishes(properties);
    all.extend(bad_subscribes(properties));
    all.extend(bad_others());
    all
}

/// What is wrong in 5.0 only.
fn bad_in_5() -> Vec<Bad> {
    let publish = |properties: &[u8]| mqtt::publish("a", None, Some(properties), b"x");
    let subscribe = |properties: &[u8], options: u8| {
        let mut body = vec![0, 1];
        body.extend(mqtt::variable(properties.len()));
        body.extend(properties);
        body.extend(mqtt::counted("a"));
        body.push(options);
        mqtt::packet(0x82, &body)
    };
    let empty_topic = |properties: &[u8]| mqtt::publish("", None, Some(properties), b"x");
    vec![
        bad("unknown property", publish(&[0x7F, 0]), MALFORMED),
        bad(
            "property of another packet",
            publish(&[0x11, 0, 0, 0, 1]),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        bad("property twice", publish(&[0x01, 1, 0x01, 1]), PROTOCOL_ERROR),
        bad(
            "payload format 2",
            publish(&[0x01, 2]),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        bad(
            "property block cut short",
            mqtt::packet(0x30, &[0, 1, b'a', 9, 1]),
            MALFORMED,
        ),
        bad(
            "user property that is not UTF-8",
            publish(&[0x26, 0, 1, 0xFF, 0, 0]),
            MALFORMED,
        ),
        bad(
            "response topic with a wildcard",
            publish(&[0x08, 0, 1, b'#']),
            TOPIC_NAME,
        ),
        bad("topic alias 0", publish(&[0x23, 0, 0]), &[0x94]),
        bad(
            "topic alias above the maximum",
            publish(&[0x23, 0xFF, 0xFF]),
            &[0x94],
        ),
        bad("empty topic without an alias", empty_topic(&[]), PROTOCOL_ERROR),
        bad(
            "subscription identifier of a client's PUBLISH",
            publish(&[0x0B, 1]),
            PROTOCOL_ERROR,
        ),
        bad(
            "subscription identifier 0",
            subscribe(&[0x0B, 0], 0),
            PROTOCOL_ERROR,
        ),
        bad("retain handling 3", subscribe(&[], 0x30), PROTOCOL_ERROR),
        bad(
            "second CONNECT",
            mqtt::packet(0x10, &[0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 0]),
            PROTOCOL_ERROR,
        ),
        bad(
            "AUTH without an authentication method",
            vec![0xF0, 0],
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        bad("DISCONNECT with reserved flags", vec![0xE1, 0], MALFORMED),
    ]
}

#[test]
fn a_bad_packet_of_5_0_is_answered_with_its_reason_and_closed() {
    each_shard_count(|net| {
        let neighbours = Neighbours::new(net);
        let account = net.app().account("owner");
        let all: Vec<Bad> = bad_in_both(&[0]).into_iter().chain(bad_in_5()).collect();
        for (number, Bad { name, bytes, codes }) in all.iter().enumerate() {
            let mut raw = Raw::login(net.daemon().mqtt, 5, &account, &format!("bad{number}"));
            raw.send(bytes);
            let packet = raw
                .next()
                .unwrap_or_else(|| panic!("{name}: closed without a DISCONNECT"));
            let code = packet.disconnect_code();
            assert!(codes.contains(&code), "{name}: {code:#x}, not one of {codes:#x?}");
            raw.assert_closed();
        }
        neighbours.assert_undisturbed();
    });
}

#[test]
fn mqtt3_4_8_a_bad_packet_of_3_1_1_closes_the_connection_without_a_word() {
    each_shard_count(|net| {
        let neighbours = Neighbours::new(net);
        let account = net.app().account("owner");
        let mut all = bad_in_both(&[]);
        all.push(bad(
            "second CONNECT",
            mqtt::connect(4, &account, "w1"),
            PROTOCOL_ERROR,
        ));
        all.push(bad("AUTH", vec![0xF0, 0], PROTOCOL_ERROR));
        all.push(bad("DISCONNECT with a body", vec![0xE0, 1, 0], MALFORMED));
        for (number, Bad { name, bytes, .. }) in all.iter().enumerate() {
            let mut raw = Raw::login(net.daemon().mqtt, 4, &account, &format!("bad{number}"));
            raw.send(bytes);
            let rest = raw.rest_within(PATIENCE);
            assert!(rest.is_empty(), "{name}: {rest:x?}");
        }
        neighbours.assert_undisturbed();
    });
}

#[test]
fn a_packet_in_pieces_is_no_fault() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        for version in [4, 5] {
            let mut raw = Raw::open(net.daemon().mqtt);
            for byte in mqtt::connect(version, &account, "slow") {
                raw.send(&[byte]);
            }
            assert_eq!(raw.packet().connack_code(), 0);
            let subscribe = mqtt::subscribe(version, 1, "slow/topic");
            let properties: Option<&[u8]> = (version == 5).then_some(&[]);
            let publish = mqtt::publish("slow/topic", None, properties, &[7; 3000]);
            let (head, tail) = publish.split_at(1700);
            raw.send(&subscribe);
            assert_eq!(raw.packet().first, 0x90);
            raw.send(head);
            raw.send(tail);
            raw.send(&PINGREQ);
            let message = raw.packet();
            assert_eq!(message.first & 0xF0, 0x30);
            assert!(message.body.ends_with(&[7; 3000]));
            assert_eq!(raw.packet().first, PINGRESP);
        }
    });
}

/// A CONNECT with this keep alive.
fn keeping_alive(version: u8, account: &Account, keep_alive_s: u8) -> Vec<u8> {
    let mut connect = mqtt::connect(version, account, &format!("v{version}"));
    let header = connect.windows(6).position(|part| part == b"\0\x04MQTT").unwrap();
    connect[header + 8..header + 10].copy_from_slice(&[0, keep_alive_s]);
    connect
}

#[test]
fn mqtt_3_1_2_10_a_client_silent_for_one_and_a_half_keep_alives_is_closed() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        parallel(&[4_u8, 5], |&version| {
            let connect = keeping_alive(version, &account, 2);
            let mut raw = Raw::open(net.daemon().mqtt);
            raw.send(&connect);
            assert_eq!(raw.packet().connack_code(), 0);
            let begun = Moment::now();
            if version == 5 {
                assert_eq!(raw.packet().disconnect_code(), 0x8D);
            }
            raw.assert_closed();
            let silent = begun.elapsed();
            assert!(
                silent > Duration::from_millis(2_900) && silent < Duration::from_secs(5),
                "{silent:?}"
            );
        });
    });
}

/// Logs in over WebSocket, on a connection whose bytes are the test's.
fn login_over_websocket(net: &Net, connect: &[u8]) -> Raw {
    let mut raw = Raw::open(net.daemon().ws);
    raw.send(websocket::handshake("/mqtt", "mqtt").as_bytes());
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        raw.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    raw.send(&websocket::masked(FIN | BINARY, connect));
    // The head of a short frame, and in it CONNACK.
    let frame = raw.packet();
    assert_eq!(
        (frame.first, frame.body[0], frame.body[3]),
        (FIN | BINARY, 0x20, 0)
    );
    raw
}

#[test]
fn mqtt_3_1_2_22_bytes_that_never_make_a_packet_keep_no_connection_alive() {
    let pause = Duration::from_millis(50);
    parallel(&SHARD_COUNTS, |&shards| {
        let net = Net::start(&Options::shards(shards));
        let neighbours = Neighbours::new(&net);
        let cases = [(4, false), (5, false), (4, true), (5, true)];
        parallel(&cases, |&(version, over_websocket)| {
            let connect = keeping_alive(version, &net.app().account("owner"), 1);
            let properties: Option<&[u8]> = (version == 5).then_some(&[]);
            let publish = mqtt::publish("slow", Some(1), properties, &[b'x'; 500]);
            let bytes = publish.into_iter().map(|byte| vec![byte]);
            let begun = Moment::now();
            let came = if over_websocket {
                let framed = bytes.map(|byte| {
                    // A PING is answered, but is no packet of MQTT.
                    let ping = websocket::masked(FIN | PING, b"");
                    [ping, websocket::masked(FIN | BINARY, &byte)].concat()
                });
                login_over_websocket(&net, &connect).trickle(framed, pause)
            } else {
                let mut raw = Raw::open(net.daemon().mqtt);
                raw.send(&connect);
                assert_eq!(raw.packet().connack_code(), 0);
                raw.trickle(bytes, pause)
            };
            let lasted = begun.elapsed();
            assert!(
                lasted > Duration::from_millis(1_400) && lasted < Duration::from_secs(4),
                "{lasted:?}"
            );
            // DISCONNECT with its code, which 3.1.1 does not have; over WebSocket within what else came.
            let told = came.windows(3).any(|three| (three[0], three[2]) == (0xE0, 0x8D));
            assert_eq!(told, version == 5, "{came:x?}");
        });
        let ends = http::metric(net.daemon().http, "nexus_disconnects_total{reason=\"timed_out\"}");
        assert_eq!(ends, cases.len() as u64);
        neighbours.assert_undisturbed();
    });
}
