//! MQTT packets from bytes and back. Informs P1 to P5: one PUBLISH decoded and one encoded stand in every
//! message, and the versions differ by the properties.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark: the entry points are the macros', a failed expectation is a failed run"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use nexus::codec::Decode;
use nexus::codec::mqtt::packet::{Ack, Filter, Filters, Packet, PacketId, QoS, SubAck, Subscribe, Version};
use nexus::codec::mqtt::property::Properties;
use nexus::codec::mqtt::publish::PublishParts;
use nexus::codec::mqtt::{Context, Direction, decode};
use nexus_bench::PAYLOAD;
use nexus_bench::packets::{USER_PROPERTIES, encoded, puback, publish, subscribe};

const TOPIC: &str = "plant/7/temperature";

fn decode_packets(c: &mut Criterion) {
    let (v311, v5) = (Version::V311, Version::V5);
    let publish = |version, properties: &[_]| publish(version, TOPIC, QoS::AtMostOnce, properties, &PAYLOAD);
    let packets = [
        ("publish_100B/3.1.1", v311, publish(v311, &[])),
        ("publish_100B/5.0", v5, publish(v5, &[])),
        (
            "publish_100B/5.0_4_user_properties",
            v5,
            publish(v5, &USER_PROPERTIES),
        ),
        ("puback/3.1.1", v311, puback(v311, PacketId::MIN)),
        ("puback/5.0", v5, puback(v5, PacketId::MIN)),
        (
            "subscribe/3.1.1",
            v311,
            subscribe(v311, "plant/+/temperature", QoS::AtLeastOnce),
        ),
        (
            "subscribe/5.0",
            v5,
            subscribe(v5, "plant/+/temperature", QoS::AtLeastOnce),
        ),
    ];
    let mut group = c.benchmark_group("codec_mqtt/decode");
    for (name, version, bytes) in &packets {
        let context = Context {
            version: Some(*version),
            packet_bytes_max: 1 << 20,
            direction: Direction::ToServer,
        };
        let whole = decode(bytes, context).expect("well-formed");
        assert!(matches!(whole, Decode::Frame { len, .. } if len == bytes.len()));
        group.bench_function(*name, |b| b.iter(|| decode(black_box(bytes), black_box(context))));
    }
    group.finish();
}

fn encode_deliveries(c: &mut Criterion) {
    const SENDER: [(&str, &str); 4] = [
        ("nexus-app", "etest"),
        ("nexus-uid", "0123456789abcdef01234567"),
        ("nexus-role", "owner"),
        ("nexus-resource", "w1"),
    ];
    let mut attributes = Vec::new();
    Properties::list(&USER_PROPERTIES).iter().for_each(|property| {
        property.encode_into(&mut attributes);
    });
    let deliveries = [
        ("publish_100B/3.1.1", Version::V311, &[][..]),
        ("publish_100B/5.0_sender", Version::V5, &[][..]),
        (
            "publish_100B/5.0_sender_4_user_properties",
            Version::V5,
            attributes.as_slice(),
        ),
    ];
    let mut group = c.benchmark_group("codec_mqtt/encode");
    let mut out = Vec::with_capacity(1_024);
    for (name, version, attributes) in deliveries {
        let parts = PublishParts {
            topic: &[TOPIC],
            attributes,
            user_properties: &SENDER,
            payload: &PAYLOAD,
            ..PublishParts::new(version)
        };
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                let parts = black_box(&parts);
                black_box(parts.encoded_len());
                parts.encode_into(&mut out);
                black_box(out.len())
            });
        });
    }
    group.finish();
}

fn encode_packets(c: &mut Criterion) {
    let properties = Properties::default();
    let packet_id = PacketId::MIN;
    let filter = Filter {
        filter: "plant/+/temperature",
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
    };
    let packets = [
        (
            "puback",
            Packet::PubAck(Ack {
                packet_id,
                code: 0,
                properties,
            }),
        ),
        (
            "subscribe",
            Packet::Subscribe(Subscribe {
                packet_id,
                properties,
                filters: Filters::list(std::slice::from_ref(&filter)),
            }),
        ),
        (
            "suback",
            Packet::SubAck(SubAck {
                packet_id,
                properties,
                codes: &[1],
            }),
        ),
    ];
    let mut group = c.benchmark_group("codec_mqtt/encode");
    let mut out = Vec::with_capacity(1_024);
    for (name, packet) in &packets {
        for (version_name, version) in [("3.1.1", Version::V311), ("5.0", Version::V5)] {
            assert!(!encoded(packet, version).is_empty());
            group.bench_function(format!("{name}/{version_name}"), |b| {
                b.iter(|| {
                    out.clear();
                    black_box(packet).encode_into(black_box(version), &mut out);
                    black_box(out.len())
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decode_packets, encode_deliveries, encode_packets);
criterion_main!(benches);
