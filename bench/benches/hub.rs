//! A message from received bytes to its receivers' bytes, through real sessions of MQTT and XMPP, router and hub;
//! sockets are byte queues. Informs P1 to P5: what Nexus itself costs per message beside the kernel. Copying the
//! message into the receive buffer and emptying the send queues is included.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark: the entry points are the macros', a failed expectation is a failed run"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nexus::codec::mqtt::packet::{PacketId, QoS, Version};
use nexus_bench::packets::{puback, publish};
use nexus_bench::world::{Block, Transport, World};
use nexus_bench::{PAYLOAD, elements};

const CHANNEL: &str = "plant/7/temperature";

/// A publisher and `receivers` blocks that hear `filter`.
fn scene(
    (version, transport): (Version, Transport),
    receivers: usize,
    filter: &str,
    qos: QoS,
) -> (World, Block, Block) {
    let mut world = World::new(1);
    let from = world.block(0, version, transport);
    let mut last = from;
    for _ in 0..receivers {
        last = world.block(0, version, transport);
        world.subscribe(last, filter, qos);
    }
    (world, from, last)
}

fn qos_0(c: &mut Criterion) {
    let spelled = format!("$nexus/channel/+/+/+/+/{CHANNEL}");
    let stream = Transport::Stream;
    let scenes = [
        ("3.1.1", (Version::V311, stream), CHANNEL),
        ("3.1.1_sender_in_topic", (Version::V311, stream), spelled.as_str()),
        ("5.0_with_sender", (Version::V5, stream), CHANNEL),
        ("3.1.1_websocket", (Version::V311, Transport::WebSocket), CHANNEL),
    ];
    let mut group = c.benchmark_group("hub/one_to_one_qos0");
    for (name, speaks, filter) in scenes {
        let (mut world, from, _) = scene(speaks, 1, filter, QoS::AtMostOnce);
        let packet = publish(speaks.0, CHANNEL, QoS::AtMostOnce, &[], &PAYLOAD);
        let bytes = world.carried(from, &packet);
        world.receive(from, &bytes);
        assert!(world.flush() >= packet.len(), "it was delivered");
        group.bench_function(name, |b| {
            b.iter(|| {
                world.receive(from, black_box(&bytes));
                black_box(world.flush())
            });
        });
    }
    group.finish();
}

/// With the acknowledgements both ways: PUBLISH in, PUBLISH and PUBACK out, PUBACK in.
fn qos_1(c: &mut Criterion) {
    let speaks = (Version::V311, Transport::Stream);
    let (mut world, from, to) = scene(speaks, 1, CHANNEL, QoS::AtLeastOnce);
    let bytes = publish(Version::V311, CHANNEL, QoS::AtLeastOnce, &[], &PAYLOAD);
    let acks: Vec<Vec<u8>> = (1..=u16::MAX)
        .map(|id| puback(Version::V311, PacketId::new(id).unwrap()))
        .collect();
    let mut acks = acks.iter().cycle();
    let mut exchange = || {
        world.receive(from, black_box(&bytes));
        world.receive(to, acks.next().expect("endless"));
        world.flush()
    };
    for _ in 0..1_000 {
        assert_eq!(exchange(), bytes.len() + 4, "a PUBLISH and a PUBACK");
    }
    c.bench_function("hub/one_to_one_qos1", |b| b.iter(&mut exchange));
}

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("hub/fan_out_qos0");
    for receivers in [100, 1_000] {
        for (name, version) in [("3.1.1", Version::V311), ("5.0_with_sender", Version::V5)] {
            let (mut world, from, _) =
                scene((version, Transport::Stream), receivers, CHANNEL, QoS::AtMostOnce);
            let bytes = publish(version, CHANNEL, QoS::AtMostOnce, &[], &PAYLOAD);
            world.receive(from, &bytes);
            assert!(world.flush() >= receivers * bytes.len(), "all were reached");
            group.throughput(Throughput::Elements(receivers as u64));
            group.bench_function(format!("{receivers}_receivers/{name}"), |b| {
                b.iter(|| {
                    world.receive(from, black_box(&bytes));
                    black_box(world.flush())
                });
            });
        }
    }
    group.finish();
}

/// From one shard's bytes to another shard's bytes, a parcel each.
fn across(c: &mut Criterion) {
    let mut world = World::new(2);
    let from = world.block(0, Version::V311, Transport::Stream);
    let to = world.block(1, Version::V311, Transport::Stream);
    world.subscribe(to, CHANNEL, QoS::AtMostOnce);
    let bytes = publish(Version::V311, CHANNEL, QoS::AtMostOnce, &[], &PAYLOAD);
    let mut message = || {
        world.receive(from, black_box(&bytes));
        world.pass_parcels();
        world.flush()
    };
    assert_eq!(message(), bytes.len());
    c.bench_function("hub/one_to_one_across_shards", |b| b.iter(&mut message));
}

/// `<publish/>` of a block of XMPP, as its text frame.
fn element(world: &World, from: Block) -> Vec<u8> {
    let text = std::str::from_utf8(&PAYLOAD).expect("text");
    world.carried(from, elements::publish(CHANNEL, text).as_bytes())
}

/// From XMPP to XMPP: one element in, the same frame for all out.
fn fan_out_xmpp(c: &mut Criterion) {
    let mut group = c.benchmark_group("hub/fan_out_xmpp");
    for receivers in [1, 100, 1_000] {
        let mut world = World::new(1);
        let from = world.xmpp(0, "from");
        for _ in 0..receivers {
            let to = world.xmpp(0, "to");
            world.subscribe(to, CHANNEL, QoS::AtMostOnce);
        }
        let bytes = element(&world, from);
        world.receive(from, &bytes);
        assert!(world.flush() >= receivers * bytes.len(), "all were reached");
        group.throughput(Throughput::Elements(receivers as u64));
        group.bench_function(format!("{receivers}_receivers"), |b| {
            b.iter(|| {
                world.receive(from, black_box(&bytes));
                black_box(world.flush())
            });
        });
    }
    group.finish();
}

/// A request of XMPP to a worker of MQTT, and its answer. What the worker does, finding the token and writing it into
/// its answer, is included, and small beside the rest.
fn api_across_protocols(c: &mut Criterion) {
    const TOPIC: &str = "$nexus/listen/multiply/";
    const ANSWER: &str = "$nexus/answer/";
    let mut world = World::new(1);
    let caller = world.xmpp(0, "from");
    let worker = world.block(0, Version::V311, Transport::Stream);
    world.subscribe(worker, &format!("{TOPIC}#"), QoS::AtMostOnce);
    let call = elements::call("multiply", r#"{"num1":10,"num2":5}"#);
    let call = world.carried(caller, call.as_bytes());
    let topic = format!("{ANSWER}{:032}", 0);
    let body = br#"{"code":0,"result":50}"#;
    let mut answer = publish(Version::V311, &topic, QoS::AtMostOnce, &[], body);
    let mut round_trip = || {
        world.receive(caller, black_box(&call));
        let request = world.sent(worker);
        // Behind the fixed header and the topic's length.
        let token = &request[4 + TOPIC.len()..][..32];
        answer[4 + ANSWER.len()..][..32].copy_from_slice(token);
        world.receive(worker, &answer);
        world.flush()
    };
    assert!(
        round_trip() > call.len(),
        "the worker was asked, the caller answered"
    );
    c.bench_function("hub/api_round_trip_xmpp_to_mqtt", |b| b.iter(&mut round_trip));
}

criterion_group!(
    benches,
    qos_0,
    qos_1,
    fan_out,
    fan_out_xmpp,
    api_across_protocols,
    across
);
criterion_main!(benches);
