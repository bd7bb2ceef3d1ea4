//! The allocation gate: from received bytes to the receivers' bytes, a QoS 0 message allocates nothing
//! (target P14). Allocations are counted for the measuring thread alone.
//!
//! To find where an allocation comes from, build with the feature `panic_on_next_alloc` of `alloc_tracker` and
//! arm it before the messages of [`allocations_of`]: the panic's backtrace names the place.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code: a failed expectation is a failed test"
)]

#[path = "allocations/xmpp.rs"]
mod xmpp;

use std::hint::black_box;

use alloc_tracker::{Allocator, Session};
use nexus::codec::Decode;
use nexus::codec::mqtt::packet::{Packet, PacketId, QoS, Version};
use nexus::codec::mqtt::property::Property;
use nexus::codec::mqtt::{Context, Direction, decode};
use nexus::codec::xmpp::{Bounds, Element, Framer, Piece, frame_whole, write};
use nexus_bench::PAYLOAD;
use nexus_bench::packets::{USER_PROPERTIES, puback, publish};
use nexus_bench::world::{Block, Transport, World};

#[global_allocator]
static ALLOCATOR: Allocator<std::alloc::System> = Allocator::system();

/// Messages before counting, so that every buffer has grown.
const WARM_UP: usize = 1_000;
const MESSAGES: usize = 10_000;

/// Allocations and bytes allocated by this thread while `work` runs.
fn count(work: impl FnOnce()) -> (u64, u64) {
    let session = Session::new().no_stdout().no_file();
    let operation = session.operation("work");
    {
        let _span = operation.measure_thread().iterations(1);
        work();
    }
    let report = session.to_report();
    let (_, counted) = report.operations().next().expect("it was measured");
    (counted.total_allocations_count(), counted.total_bytes_allocated())
}

/// Sends a message over and over and counts the allocations from the moment it is received until the bytes of
/// all its receivers are taken.
fn allocations_of(world: &mut World, from: Block, bytes: &[u8], receivers: u64, receivers_on: usize) -> u64 {
    let before = world.delivered(receivers_on);
    let mut message = || {
        world.receive(from, bytes);
        world.pass_parcels();
        black_box(world.flush());
    };
    (0..WARM_UP).for_each(|_| message());
    let (allocations, _) = count(|| (0..MESSAGES).for_each(|_| message()));
    let sent = (WARM_UP + MESSAGES) as u64;
    assert_eq!(
        world.delivered(receivers_on) - before,
        sent * receivers,
        "every message was delivered"
    );
    allocations
}

/// A publisher, `receivers` blocks that hear `filter`, and the publisher's message in bytes.
struct Scene {
    world: World,
    publisher: Block,
    receivers: Vec<Block>,
    bytes: Vec<u8>,
}

impl Scene {
    fn new(
        (version, transport): (Version, Transport),
        receivers: usize,
        receivers_on: usize,
        filter: &str,
        properties: &[Property<'_>],
    ) -> Self {
        let mut world = World::new(receivers_on + 1);
        let publisher = world.block(0, version, transport);
        let receivers: Vec<Block> = (0..receivers)
            .map(|_| {
                let block = world.block(receivers_on, version, transport);
                world.subscribe(block, filter, QoS::AtMostOnce);
                block
            })
            .collect();
        let packet = publish(version, "plant/7/t", QoS::AtMostOnce, properties, &PAYLOAD);
        let bytes = world.carried(publisher, &packet);
        Self {
            world,
            publisher,
            receivers,
            bytes,
        }
    }

    /// What the first receiver gets of one message.
    fn one(&mut self) -> Vec<u8> {
        self.world.receive(self.publisher, &self.bytes);
        self.world.settle();
        let sent = self.world.sent(self.receivers[0]);
        self.world.flush();
        sent
    }

    fn allocations(mut self) -> u64 {
        let (receivers, on) = (self.receivers.len() as u64, self.receivers[0].shard);
        allocations_of(&mut self.world, self.publisher, &self.bytes, receivers, on)
    }
}

const V311: (Version, Transport) = (Version::V311, Transport::Stream);
const V5: (Version, Transport) = (Version::V5, Transport::Stream);

/// The PUBLISH that a receiver was sent: its topic and its user properties.
fn heard(bytes: &[u8], version: Version) -> (String, Vec<String>) {
    let context = Context {
        version: Some(version),
        packet_bytes_max: 1 << 20,
        direction: Direction::ToClient,
    };
    let Decode::Frame {
        frame: Packet::Publish(publish),
        len,
    } = decode(bytes, context).expect("well-formed")
    else {
        unreachable!("a PUBLISH was delivered");
    };
    assert_eq!((len, publish.payload), (bytes.len(), &PAYLOAD[..]));
    let names = publish
        .properties
        .user_properties()
        .map(|(name, _)| name.to_owned());
    (publish.topic.to_owned(), names.collect())
}

#[test]
fn an_allocation_is_counted() {
    let (allocations, bytes) = count(|| drop(black_box(vec![0_u8; 100])));
    assert_eq!((allocations, bytes), (1, 100));
    assert_eq!(count(|| ()), (0, 0));
}

#[test]
fn one_to_one_allocates_nothing() {
    let mut scene = Scene::new(V311, 1, 0, "plant/7/t", &[]);
    assert_eq!(heard(&scene.one(), Version::V311), ("plant/7/t".into(), vec![]));
    assert_eq!(scene.allocations(), 0);
}

#[test]
fn a_wildcard_allocates_nothing() {
    let scene = Scene::new(V311, 1, 0, "plant/+/t", &[]);
    assert_eq!(scene.allocations(), 0);
}

#[test]
fn a_fan_out_of_a_hundred_allocates_nothing() {
    let mut scene = Scene::new(V311, 100, 0, "plant/7/t", &[]);
    let before = scene.world.frames_made(0);
    scene.one();
    assert_eq!(scene.world.frames_made(0) - before, 1, "encoded once for all");
    assert_eq!(scene.allocations(), 0);
}

#[test]
fn across_shards_nothing_is_allocated_while_parcels_come_back() {
    let mut scene = Scene::new(V311, 1, 1, "plant/7/t", &[]);
    assert_eq!(heard(&scene.one(), Version::V311), ("plant/7/t".into(), vec![]));
    assert_eq!(scene.allocations(), 0);
}

#[test]
fn over_web_socket_nothing_is_allocated() {
    let mut scene = Scene::new((Version::V311, Transport::WebSocket), 1, 0, "plant/7/t", &[]);
    let frame = scene.one();
    assert_eq!(frame[0], 0x82, "a binary frame");
    assert_eq!(heard(&frame[2..], Version::V311), ("plant/7/t".into(), vec![]));
    assert_eq!(scene.allocations(), 0);
}

#[test]
fn user_properties_are_forwarded_without_allocating() {
    let mut scene = Scene::new(V5, 1, 0, "plant/7/t", &USER_PROPERTIES);
    let (_, names) = heard(&scene.one(), Version::V5);
    let expected = [
        "site-name",
        "site-unit",
        "site-role",
        "site-resource",
        "nexus-app",
        "nexus-uid",
        "nexus-role",
        "nexus-resource",
    ];
    assert_eq!(names, expected);
    assert_eq!(scene.allocations(), 0);
}

#[test]
fn the_sender_in_the_topic_allocates_nothing() {
    let mut scene = Scene::new(V311, 1, 0, "$nexus/channel/+/+/+/+/plant/7/t", &[]);
    let (topic, _) = heard(&scene.one(), Version::V311);
    assert_eq!(
        topic,
        "$nexus/channel/etest/000000000000000000000001/owner/w1/plant/7/t"
    );
    assert_eq!(scene.allocations(), 0);
}

/// Not gated: printed.
#[test]
fn allocations_of_a_qos_1_message_are_reported() {
    let mut world = World::new(1);
    let (from, to) = (
        world.block(0, Version::V311, Transport::Stream),
        world.block(0, Version::V311, Transport::Stream),
    );
    world.subscribe(to, "plant/7/t", QoS::AtLeastOnce);
    let message = publish(Version::V311, "plant/7/t", QoS::AtLeastOnce, &[], &PAYLOAD);
    let acks: Vec<Vec<u8>> = (1..=u16::MAX)
        .map(|id| puback(Version::V311, PacketId::new(id).unwrap()))
        .collect();
    let mut acks = acks.iter().cycle();
    let mut exchange = || {
        world.receive(from, &message);
        world.receive(to, acks.next().expect("endless"));
        world.flush()
    };
    let mut bytes = (0..WARM_UP).map(|_| exchange()).sum::<usize>();
    let (allocations, allocated) = count(|| bytes += (0..MESSAGES).map(|_| exchange()).sum::<usize>());
    // A PUBLISH with its packet identifier to the receiver, a PUBACK to the publisher.
    assert_eq!(bytes, (WARM_UP + MESSAGES) * (message.len() + 4));
    report("QoS 1 message", allocations, allocated);
}

/// Not gated: printed. The few that are left after the warm-up are tables of tokens in which a random token is
/// the first of its segment.
#[test]
fn allocations_of_an_api_round_trip_are_reported() {
    let mut world = World::new(1);
    let (caller, worker) = (
        world.block(0, Version::V311, Transport::Stream),
        world.block(0, Version::V311, Transport::Stream),
    );
    world.subscribe(worker, "$nexus/listen/multiply/#", QoS::AtMostOnce);
    let call = publish(
        Version::V311,
        "$nexus/call/1/etest/multiply",
        QoS::AtMostOnce,
        &[],
        br#"{"num1":10,"num2":5}"#,
    );
    let mut answer = publish(
        Version::V311,
        "$nexus/answer/00000000000000000000000000000000",
        QoS::AtMostOnce,
        &[],
        br#"{"code":0,"result":50}"#,
    );
    let token_at = 4 + "$nexus/answer/".len();
    let topic = "$nexus/listen/multiply/";
    let (mut replied, mut allocations, mut allocated) = (0, 0, 0);
    for round in 0..WARM_UP + MESSAGES {
        let (asked, asked_bytes) = count(|| world.receive(caller, &call));
        // What a real worker reads; its own allocations are not the daemon's.
        let request = world.sent(worker);
        let at = request
            .windows(topic.len())
            .position(|window| window == topic.as_bytes());
        let token = &request[at.expect("the worker was asked") + topic.len()..][..32];
        answer[token_at..token_at + 32].copy_from_slice(token);
        let (answered, answered_bytes) = count(|| world.receive(worker, &answer));
        replied += u64::from(!world.sent(caller).is_empty());
        world.flush();
        if round >= WARM_UP {
            allocations += asked + answered;
            allocated += asked_bytes + answered_bytes;
        }
    }
    assert_eq!(replied, (WARM_UP + MESSAGES) as u64, "one outcome each");
    report("API round trip", allocations, allocated);
}

#[expect(clippy::print_stdout, reason = "the report of a measurement")]
fn report(what: &str, allocations: u64, bytes: u64) {
    let per = |n: u64| n as f64 / MESSAGES as f64;
    println!(
        "{what}: {:.4} allocations, {:.2} bytes allocated",
        per(allocations),
        per(bytes)
    );
}

const STANZA: &[u8] = b"<iq type='set' id='c&amp;1' xmlns='jabber:client' xmlns:n='urn:nexus:1'>\
    <n:api cmd='multiply'><json xmlns='urn:xmpp:json:0'>{\"num1\":10}</json></n:api></iq>";

#[test]
fn a_stanza_of_xmpp_is_read_and_written_without_allocating() {
    let mut out = Vec::with_capacity(256);
    let work = || {
        frame_whole(black_box(STANZA), &Bounds::default()).unwrap();
        let iq = Element::parse(black_box(STANZA), "").unwrap();
        assert!(iq.attribute("id").unwrap().is("c&1") && iq.text().is_empty());
        let api = iq.child("urn:nexus:1", "api").unwrap();
        let json = api.child("urn:xmpp:json:0", "json").unwrap().text();
        let pieces = [
            Piece::Raw("<body>"),
            Piece::Text(json.plain().unwrap()),
            Piece::Number(-2_000),
        ];
        out.clear();
        out.reserve(write::len(&pieces));
        write::put(&pieces, &mut out);
    };
    assert_eq!(count(work), (0, 0));
}

/// What is open is kept in one allocation for as long as a stanza breaks off inside another element.
#[test]
fn a_stanza_that_breaks_off_allocates_once() {
    let work = || {
        let mut framer = Framer::default();
        for end in 1..STANZA.len() {
            assert_eq!(
                framer.scan(&STANZA[..end], &Bounds::default()),
                Ok(Decode::Need(end + 1))
            );
        }
        assert!(matches!(
            framer.scan(STANZA, &Bounds::default()),
            Ok(Decode::Frame { .. })
        ));
    };
    assert_eq!(count(work).0, 1);
}
