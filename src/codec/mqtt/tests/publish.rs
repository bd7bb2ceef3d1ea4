//! 3.3 PUBLISH as it is received.

use super::*;
use crate::codec::mqtt::packet::{PacketId, Publish, QoS};
use crate::codec::mqtt::property::{Properties, Property};

fn publish(bytes: &[u8], version: Version, direction: Direction) -> Publish<'_> {
    match whole(bytes, Some(version), direction) {
        Ok(Packet::Publish(publish)) => publish,
        other => panic!("{other:?}"),
    }
}

#[test]
fn mqtt5_3_3_1_flags_and_fields() {
    let expected = Publish {
        dup: true,
        qos: QoS::ExactlyOnce,
        retain: true,
        topic: "a/b",
        packet_id: PacketId::new(0x1234),
        properties: Properties::EMPTY,
        payload: b"\0\xFF",
    };
    let v311 = raw(0x3D, &[&field("a/b"), b"\x12\x34", b"\0\xFF"]);
    assert_eq!(publish(&v311, V3, UP), expected);
    let v5 = raw(0x3D, &[&field("a/b"), b"\x12\x34\0", b"\0\xFF"]);
    assert_eq!(publish(&v5, V5, UP), expected);
    let mut again = Vec::new();
    expected.encode_into(V3, &mut again);
    expected.encode_into(V5, &mut again);
    assert_eq!(again, [v311, v5].concat());
    let plain = raw(0x30, &[&field("t")]);
    assert_eq!(
        publish(&plain, V3, DOWN),
        Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "t",
            packet_id: None,
            properties: Properties::EMPTY,
            payload: b"",
        }
    );
}

#[test]
fn mqtt5_3_3_2_2_a_topic_name_has_no_wildcard() {
    for topic in ["#", "+", "a/#", "a/+/b", "a+", "éé#é"] {
        refused(V3, UP, 0x30, &[&field(topic)], Malformed::TopicNameWildcard);
        refused(
            V5,
            UP,
            0x30,
            &[&field(topic), b"\0"],
            Malformed::TopicNameWildcard,
        );
    }
    assert_eq!(Malformed::TopicNameWildcard.reason_code(), 0x82);
}

#[test]
fn mqtt5_1_5_4_a_topic_name_is_utf8_without_nul() {
    for version in [V3, V5] {
        refused(version, UP, 0x30, &[&field(b"a\xFF"), b"\0"], Malformed::Utf8);
        refused(
            version,
            UP,
            0x30,
            &[&field(b"\xED\xB0\x80"), b"\0"],
            Malformed::Utf8,
        );
        refused(version, UP, 0x30, &[&field("a\0"), b"\0"], Malformed::Nul);
        refused(version, UP, 0x30, &[&field("a\0+"), b"\0"], Malformed::Nul);
        taken(version, UP, 0x30, &[&field("\u{1}\u{FFFE} "), b"\0"]);
        taken(version, UP, 0x30, &[&field([b'x'; 65_535]), b"\0"]);
    }
}

#[test]
fn mqtt5_3_3_2_1_an_empty_topic_name_needs_an_alias() {
    refused(V3, UP, 0x30, &[&field("")], Malformed::TopicNameEmpty);
    refused(V5, UP, 0x30, &[&field(""), b"\0"], Malformed::TopicNameEmpty);
    refused(
        V5,
        UP,
        0x30,
        &[&field(""), &block(b"\x01\x01\x02\0\0\0\x01")],
        Malformed::TopicNameEmpty,
    );
    let bytes = raw(0x30, &[&field(""), &block(b"\x01\x01\x23\0\x05"), b"x"]);
    let publish = publish(&bytes, V5, UP);
    assert_eq!((publish.topic, publish.properties.topic_alias()), ("", Some(5)));
}

#[test]
fn mqtt5_3_3_2_3_4_topic_alias_zero_is_refused() {
    refused(
        V5,
        UP,
        0x30,
        &[&field("a"), &block(b"\x23\0\0")],
        Malformed::TopicAliasZero,
    );
    assert_eq!(Malformed::TopicAliasZero.reason_code(), 0x94);
}

#[test]
fn mqtt5_3_3_2_14_a_response_topic_is_a_topic_name() {
    for topic in ["", "a/+", "#"] {
        let properties = block(&[&[0x08][..], &field(topic)].concat());
        refused(
            V5,
            UP,
            0x30,
            &[&field("a"), &properties],
            Malformed::ResponseTopic,
        );
        let will = [
            &field("MQTT")[..],
            &[5, 0b0110, 0, 60, 0],
            &field("id"),
            &properties,
            &field("w"),
            &field(""),
        ];
        refused(V5, UP, 0x10, &will, Malformed::ResponseTopic);
    }
}

#[test]
fn mqtt5_3_3_4_6_subscription_identifiers_come_from_servers_alone() {
    let properties = block(b"\x0B\x01\x0B\xFF\xFF\xFF\x7F");
    let bytes = raw(0x30, &[&field("a"), &properties]);
    let identifiers = publish(&bytes, V5, DOWN).properties;
    assert!(identifiers.subscription_identifiers().eq([1, 268_435_455]));
    refused(
        V5,
        UP,
        0x30,
        &[&field("a"), &properties],
        Malformed::PropertyDirection,
    );
    assert_eq!(Malformed::PropertyDirection.reason_code(), 0x82);
}

#[test]
fn mqtt5_3_3_2_3_7_user_properties_keep_their_order() {
    let properties = block(b"\x26\0\x01b\0\x011\x03\0\x01t\x26\0\x01a\0\x012\x26\0\x01b\0\x011");
    let bytes = raw(0x30, &[&field("a"), &properties]);
    let properties = publish(&bytes, V5, UP).properties;
    assert!(
        properties
            .user_properties()
            .eq([("b", "1"), ("a", "2"), ("b", "1")])
    );
    assert_eq!(properties.content_type(), Some("t"));
    assert_eq!(properties.into_iter().nth(1), Some(Property::ContentType("t")));
}
