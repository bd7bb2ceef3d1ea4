//! mqttbytes 0.6 as the oracle for 3.1.1: the same bytes to both decoders, the same packets to both encoders,
//! the same topics to both checks.
//!
//! Known disagreements, each in [`only_we_refuse`], [`only_they_refuse`], [`as_theirs`] or at its test:
//! - It does not check flags of the fixed header, DUP with QoS 0, reserved bits of CONNECT, CONNACK and SUBSCRIBE,
//!   nor Session Present with a failure; it lets bytes follow the last field of most packets.
//! - It does not check topics and filters while decoding, nor U+0000 in strings.
//! - It takes packet identifier 0 but in PUBLISH, a SUBSCRIBE or UNSUBSCRIBE without a filter, and a password
//!   without a user name.
//! - It waits for the whole packet before it looks at the first byte.
//! - It reads a CONNECT of level 5 as if it were one of level 4.
//! - It holds a password as text and refuses others; an empty user name with an empty password is none to it.
//! - Its filters may have a `+` anywhere and U+0000, its names may be empty.
//! - Its `matches` finds no filter for a name that begins with `$`, and panics if the first character of a name
//!   is not ASCII.

use bytes::BytesMut;
use mqttbytes::v4;
use proptest::prelude::*;

use super::generate::{Entropy, KINDS, Model};
use super::*;
use crate::codec::mqtt::packet::{Connect, QoS};
use crate::codec::mqtt::topic;

const BYTES_MAX: usize = 1 << 20;

/// Violations that mqttbytes does not look for.
const fn only_we_refuse(malformed: Malformed) -> bool {
    matches!(
        malformed,
        Malformed::FlagsReserved
            | Malformed::DupWithQoS0
            | Malformed::TrailingBytes
            | Malformed::Nul
            | Malformed::PacketIdZero
            | Malformed::ConnectFlagReserved
            | Malformed::PasswordWithoutUserName
            | Malformed::WillTopic
            | Malformed::ConnAckFlagsReserved
            | Malformed::SessionPresentWithFailure
            | Malformed::TopicNameEmpty
            | Malformed::TopicNameWildcard
            | Malformed::TopicFilterEmpty
            | Malformed::TopicFilterWildcard
            | Malformed::NoTopicFilter
            | Malformed::SubscriptionOptionsReserved
    )
}

/// Violations that are known from the first byte, for which mqttbytes waits.
const fn we_refuse_early(malformed: Malformed) -> bool {
    matches!(
        malformed,
        Malformed::PacketTypeReserved
            | Malformed::FlagsReserved
            | Malformed::PublishQoS3
            | Malformed::DupWithQoS0
    )
}

/// What mqttbytes refuses and the standard does not: a password that is not text.
fn only_they_refuse(packet: &Packet<'_>) -> bool {
    matches!(packet, Packet::Connect(Connect { password: Some(password), .. })
        if std::str::from_utf8(password).is_err())
}

/// Whether the bytes are a CONNECT of level 5.
fn is_connect_5(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first >> 4 == 1)
        && bytes.windows(7).any(|window| window == b"\0\x04MQTT\x05")
}

fn qos(qos: QoS) -> mqttbytes::QoS {
    mqttbytes::qos(qos as u8).unwrap()
}

/// Our packet in its types.
fn as_theirs(packet: &Packet<'_>) -> v4::Packet {
    match packet {
        Packet::Connect(connect) => v4::Packet::Connect(connect_as_theirs(connect)),
        Packet::ConnAck(connack) => {
            use v4::ConnectReturnCode as Code;
            let code = match connack.code {
                0 => Code::Success,
                1 => Code::RefusedProtocolVersion,
                2 => Code::BadClientId,
                3 => Code::ServiceUnavailable,
                4 => Code::BadUserNamePassword,
                _ => Code::NotAuthorized,
            };
            v4::Packet::ConnAck(v4::ConnAck::new(code, connack.session_present))
        }
        Packet::Publish(publish) => {
            let mut theirs = v4::Publish::new(publish.topic, qos(publish.qos), publish.payload);
            theirs.dup = publish.dup;
            theirs.retain = publish.retain;
            theirs.pkid = publish.packet_id.map_or(0, |packet_id| packet_id.get());
            v4::Packet::Publish(theirs)
        }
        Packet::PubAck(ack) => v4::Packet::PubAck(v4::PubAck::new(ack.packet_id.get())),
        Packet::PubRec(ack) => v4::Packet::PubRec(v4::PubRec::new(ack.packet_id.get())),
        Packet::PubRel(ack) => v4::Packet::PubRel(v4::PubRel::new(ack.packet_id.get())),
        Packet::PubComp(ack) => v4::Packet::PubComp(v4::PubComp::new(ack.packet_id.get())),
        Packet::Subscribe(subscribe) => v4::Packet::Subscribe(v4::Subscribe {
            pkid: subscribe.packet_id.get(),
            filters: subscribe
                .filters
                .map(|filter| v4::SubscribeFilter::new(filter.filter.to_owned(), qos(filter.qos)))
                .collect(),
        }),
        Packet::SubAck(suback) => v4::Packet::SubAck(v4::SubAck::new(
            suback.packet_id.get(),
            suback
                .codes
                .iter()
                .map(|&code| code.try_into().unwrap())
                .collect(),
        )),
        Packet::Unsubscribe(unsubscribe) => v4::Packet::Unsubscribe(v4::Unsubscribe {
            pkid: unsubscribe.packet_id.get(),
            topics: unsubscribe.filters.map(str::to_owned).collect(),
        }),
        Packet::UnsubAck(unsuback) => v4::Packet::UnsubAck(v4::UnsubAck::new(unsuback.packet_id.get())),
        Packet::PingReq => v4::Packet::PingReq,
        Packet::PingResp => v4::Packet::PingResp,
        Packet::Disconnect(_) => v4::Packet::Disconnect,
        Packet::Auth(_) => panic!("3.1.1 has no AUTH"),
    }
}

fn connect_as_theirs(connect: &Connect<'_>) -> v4::Connect {
    let mut theirs = v4::Connect::new(connect.client_id);
    theirs.keep_alive = connect.keep_alive_s;
    theirs.clean_session = connect.clean;
    theirs.last_will = connect
        .will
        .map(|will| v4::LastWill::new(will.topic, will.payload, qos(will.qos), will.retain));
    let user_name = connect.user_name.unwrap_or_default();
    let password = connect
        .password
        .map(|password| String::from_utf8_lossy(password).into_owned())
        .unwrap_or_default();
    if !user_name.is_empty() || !password.is_empty() {
        theirs.login = Some(v4::Login::new(user_name.to_owned(), password));
    }
    theirs
}

fn write(packet: &v4::Packet) -> Vec<u8> {
    let mut out = BytesMut::new();
    let written = match packet {
        v4::Packet::Connect(packet) => packet.write(&mut out),
        v4::Packet::ConnAck(packet) => packet.write(&mut out),
        v4::Packet::Publish(packet) => packet.write(&mut out),
        v4::Packet::PubAck(packet) => packet.write(&mut out),
        v4::Packet::PubRec(packet) => packet.write(&mut out),
        v4::Packet::PubRel(packet) => packet.write(&mut out),
        v4::Packet::PubComp(packet) => packet.write(&mut out),
        v4::Packet::Subscribe(packet) => packet.write(&mut out),
        v4::Packet::SubAck(packet) => packet.write(&mut out),
        v4::Packet::Unsubscribe(packet) => packet.write(&mut out),
        v4::Packet::UnsubAck(packet) => packet.write(&mut out),
        v4::Packet::PingReq => v4::PingReq.write(&mut out),
        v4::Packet::PingResp => v4::PingResp.write(&mut out),
        v4::Packet::Disconnect => v4::Disconnect.write(&mut out),
    };
    written.unwrap();
    out.to_vec()
}

/// Whether mqttbytes can hold the packet without losing a part of it.
fn is_lossless(packet: &Packet<'_>) -> bool {
    match packet {
        Packet::Connect(connect) => {
            connect.user_name != Some("")
                && connect
                    .password
                    .is_none_or(|password| !password.is_empty() && std::str::from_utf8(password).is_ok())
        }
        _ => true,
    }
}

/// A generated packet of 3.1.1.
fn model() -> impl Strategy<Value = Model> {
    (0..KINDS - 1, prop::collection::vec(any::<u8>(), 0..160)).prop_map(|(kind, mut bytes)| {
        // The first byte draws the version.
        if let Some(first) = bytes.first_mut() {
            *first = 0;
        }
        Model::draw(kind, &mut Entropy::new(&bytes))
    })
}

#[test]
fn every_known_disagreement_is_one() {
    let connect = |flags: u8, tail: &[&[u8]]| {
        let start = [&field("MQTT")[..], &[4, flags, 0, 9], &field("id")].concat();
        raw(0x10, &[&start, &tail.concat()])
    };
    let cases = [
        (
            Malformed::FlagsReserved,
            raw(0x80, &[b"\0\x01", &field("a"), b"\0"]),
        ),
        (Malformed::DupWithQoS0, raw(0x38, &[&field("a")])),
        (Malformed::TrailingBytes, raw(0x40, &[b"\0\x01\0"])),
        (Malformed::Nul, raw(0x30, &[&field("a\0")])),
        (Malformed::PacketIdZero, raw(0x40, &[b"\0\0"])),
        (Malformed::ConnectFlagReserved, connect(0b0000_0001, &[])),
        (
            Malformed::PasswordWithoutUserName,
            connect(0b0100_0000, &[&field("p")]),
        ),
        (
            Malformed::WillTopic,
            connect(0b0000_0100, &[&field("#"), &field("")]),
        ),
        (Malformed::ConnAckFlagsReserved, raw(0x20, &[b"\x02\0"])),
        (Malformed::SessionPresentWithFailure, raw(0x20, &[b"\x01\x05"])),
        (Malformed::TopicNameEmpty, raw(0x30, &[&field("")])),
        (Malformed::TopicNameWildcard, raw(0x30, &[&field("+")])),
        (
            Malformed::TopicFilterEmpty,
            raw(0x82, &[b"\0\x01", &field(""), b"\0"]),
        ),
        (
            Malformed::TopicFilterWildcard,
            raw(0x82, &[b"\0\x01", &field("a#"), b"\0"]),
        ),
        (Malformed::NoTopicFilter, raw(0x82, &[b"\0\x01"])),
        (
            Malformed::SubscriptionOptionsReserved,
            raw(0x82, &[b"\0\x01", &field("a"), b"\x04"]),
        ),
    ];
    for (malformed, bytes) in &cases {
        assert_eq!(whole(bytes, Some(V3), UP), Err(*malformed));
        assert!(
            v4::read(&mut BytesMut::from(&bytes[..]), BYTES_MAX).is_ok(),
            "{malformed}"
        );
    }
    let listed = Malformed::ALL
        .iter()
        .filter(|malformed| only_we_refuse(**malformed))
        .count();
    assert_eq!(listed, cases.len());
    let not_text = connect(0b1100_0000, &[&field("u"), &field(b"\xFF")]);
    assert!(only_they_refuse(&whole(&not_text, None, UP).unwrap()));
    assert!(v4::read(&mut BytesMut::from(&not_text[..]), BYTES_MAX).is_err());
}

fn compare(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut stream = BytesMut::from(bytes);
    let theirs = v4::read(&mut stream, BYTES_MAX);
    let ours = decode(bytes, context(Some(V3), DOWN));
    if is_connect_5(bytes) {
        return Ok(());
    }
    let agree = match (&ours, &theirs) {
        (Ok(Decode::Frame { frame, len }), Ok(packet)) => {
            as_theirs(frame) == *packet && bytes.len() - stream.len() == *len
        }
        (Ok(Decode::Need(need)), Err(mqttbytes::Error::InsufficientBytes(more))) => {
            *need == bytes.len() + more
        }
        (Err(malformed), Err(mqttbytes::Error::InsufficientBytes(_))) => we_refuse_early(*malformed),
        (Err(_), Err(_)) => true,
        (Err(malformed), Ok(_)) => only_we_refuse(*malformed),
        (Ok(Decode::Frame { frame, .. }), Err(_)) => only_they_refuse(frame),
        (Ok(Decode::Need(_)), _) => false,
    };
    prop_assert!(agree, "{:02x?}: {:?} but mqttbytes {:?}", bytes, ours, theirs);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        rng_seed: prop::test_runner::RngSeed::Fixed(0x6E65_7875_7300_0005),
        ..ProptestConfig::default()
    })]

    #[test]
    fn decodes_what_mqttbytes_writes(model in model()) {
        let packet = model.packet();
        prop_assert_eq!(model.version, V3);
        if is_lossless(&packet) {
            let theirs = write(&as_theirs(&packet));
            prop_assert_eq!(whole(&theirs, Some(V3), model.direction), Ok(packet));
            let mut ours = Vec::new();
            packet.encode_into(V3, &mut ours);
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn mqttbytes_decodes_what_we_write(model in model()) {
        let packet = model.packet();
        let mut bytes = Vec::new();
        packet.encode_into(V3, &mut bytes);
        if !only_they_refuse(&packet) {
            let theirs = v4::read(&mut BytesMut::from(&bytes[..]), BYTES_MAX);
            prop_assert_eq!(theirs, Ok(as_theirs(&packet)));
        }
    }

    #[test]
    fn the_same_verdict_on_mutated_packets(
        model in model(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..4),
    ) {
        let mut bytes = Vec::new();
        model.packet().encode_into(V3, &mut bytes);
        for (at, value, how) in changes {
            let at = at.index(bytes.len() + 1);
            match how {
                0 if at < bytes.len() => bytes[at] = value,
                1 if at < bytes.len() => bytes[at] ^= 1 << (value % 8),
                2 => bytes.insert(at, value),
                _ => bytes.truncate(at),
            }
        }
        compare(&bytes)?;
    }

    #[test]
    fn the_same_verdict_on_any_bytes(
        first in any::<u8>(),
        body in prop::collection::vec(prop_oneof![0..6_u8, any::<u8>()], 0..24),
    ) {
        compare(&raw(first, &[&body]))?;
        compare(&body)?;
    }

    #[test]
    fn the_same_verdict_on_topics(
        levels in prop::collection::vec(prop::sample::select(&["a", "b", "", "+", "#", "a#", "é"][..]), 1..5),
        topic in prop::collection::vec(prop::sample::select(&["a", "b", "", "x$"][..]), 1..5),
    ) {
        let (filter, topic) = (levels.join("/"), topic.join("/"));
        prop_assert_eq!(topic::check_topic_filter(&filter).is_ok(), mqttbytes::valid_filter(&filter), "{}", filter);
        let name = topic::check_topic_name(&filter).is_ok();
        prop_assert_eq!(name, mqttbytes::valid_topic(&filter) && !filter.is_empty(), "{}", filter);
        if topic::check_topic_filter(&filter).is_ok() {
            let theirs = mqttbytes::matches(&topic, &filter);
            prop_assert_eq!(topic::matches(&filter, &topic), theirs, "{} {}", filter, topic);
        }
    }
}
