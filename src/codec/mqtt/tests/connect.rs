//! 3.1 CONNECT, 3.2 CONNACK.

use super::*;
use crate::codec::mqtt::packet::{ConnAck, Connect, QoS, Will};
use crate::codec::mqtt::property::{Properties, Property};

/// A CONNECT's variable header up to Keep Alive.
fn start(level: u8, flags: u8) -> Vec<u8> {
    [&field("MQTT")[..], &[level, flags, 0, 60]].concat()
}

fn connect(bytes: &[u8]) -> Result<Connect<'_>, Malformed> {
    match whole(bytes, None, UP)? {
        Packet::Connect(connect) => Ok(connect),
        other => panic!("{other:?}"),
    }
}

#[test]
fn mqtt311_3_1_all_fields() {
    let bytes = raw(
        0x10,
        &[
            &start(4, 0b1110_1110),
            &field("id"),
            &field("a/b"),
            &field(b"\xFF\0"),
            &field("user"),
            &field(b"\0secret"),
        ],
    );
    let expected = Connect {
        version: V3,
        clean: true,
        keep_alive_s: 60,
        properties: Properties::EMPTY,
        client_id: "id",
        will: Some(Will {
            topic: "a/b",
            payload: b"\xFF\0",
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: Properties::EMPTY,
        }),
        user_name: Some("user"),
        password: Some(b"\0secret"),
    };
    assert_eq!(connect(&bytes), Ok(expected));
    let mut again = Vec::new();
    expected.encode_into(&mut again);
    assert_eq!(again, bytes);
}

#[test]
fn mqtt5_3_1_all_fields() {
    let properties = [
        Property::SessionExpiryInterval(7),
        Property::AuthenticationData(b"x"),
        Property::AuthenticationMethod("m"),
        Property::UserProperty("a", "1"),
        Property::UserProperty("a", "2"),
    ];
    let bytes = raw(
        0x10,
        &[
            &start(5, 0b0101_0100),
            &block(b"\x11\0\0\0\x07\x16\0\x01x\x15\0\x01m\x26\0\x01a\0\x011\x26\0\x01a\0\x012"),
            &field("id"),
            &block(b"\x18\0\0\0\x05"),
            &field("w"),
            &field(""),
            &field("token"),
        ],
    );
    let expected = Connect {
        version: V5,
        clean: false,
        keep_alive_s: 60,
        properties: Properties::list(&properties),
        client_id: "id",
        will: Some(Will {
            topic: "w",
            payload: b"",
            qos: QoS::ExactlyOnce,
            retain: false,
            properties: Properties::list(&[Property::WillDelayInterval(5)]),
        }),
        user_name: None,
        password: Some(b"token"),
    };
    assert_eq!(connect(&bytes), Ok(expected));
    let mut again = Vec::new();
    expected.encode_into(&mut again);
    assert_eq!(again, bytes);
}

#[test]
fn mqtt5_3_1_2_1_other_names_and_levels_are_an_unsupported_version() {
    for (name, level) in [
        ("MQIsdp", 3),
        ("MQTT", 3),
        ("MQTT", 6),
        ("MQTT", 0),
        ("MQTT", 0x84),
        ("mqtt", 4),
        ("", 4),
        ("MQTT5", 5),
        ("MQIsdp", 4),
    ] {
        let bytes = raw(0x10, &[&field(name), &[level, 2, 0, 60], &field("id")]);
        assert_eq!(
            connect(&bytes),
            Err(Malformed::UnsupportedVersion),
            "{name} {level}"
        );
    }
    assert_eq!(Malformed::UnsupportedVersion.reason_code(), 0x84);
}

#[test]
fn mqtt5_3_1_2_3_the_reserved_connect_flag_is_0() {
    for level in [4, 5] {
        let bytes = raw(0x10, &[&start(level, 0b0000_0011), b"\0", &field("")]);
        assert_eq!(connect(&bytes), Err(Malformed::ConnectFlagReserved));
    }
}

#[test]
fn mqtt5_3_1_2_6_will_flags() {
    for level in [4, 5] {
        let flags = |flags| connect(&raw(0x10, &[&start(level, flags)])).unwrap_err();
        assert_eq!(flags(0b0001_1100), Malformed::WillQoS3);
        assert_eq!(flags(0b0001_1000), Malformed::WillQoS3);
        // [MQTT-3.1.2-11], [MQTT-3.1.2-13]
        assert_eq!(flags(0b0000_1000), Malformed::WillFlags);
        assert_eq!(flags(0b0001_0000), Malformed::WillFlags);
        assert_eq!(flags(0b0010_0000), Malformed::WillFlags);
    }
}

#[test]
fn mqtt311_3_1_2_22_a_password_needs_a_user_name_but_not_in_5_0() {
    let tail = [field("id"), field("password")].concat();
    let v311 = raw(0x10, &[&start(4, 0b0100_0010), &tail]);
    assert_eq!(connect(&v311), Err(Malformed::PasswordWithoutUserName));
    let v5 = raw(0x10, &[&start(5, 0b0100_0010), &[0], &tail]);
    assert_eq!(
        connect(&v5).map(|connect| connect.password),
        Ok(Some(&b"password"[..]))
    );
}

#[test]
fn mqtt5_3_1_3_3_the_will_topic_is_a_topic_name() {
    for (topic, malformed) in [
        (&b""[..], Malformed::WillTopic),
        (b"a/#", Malformed::WillTopic),
        (b"+", Malformed::WillTopic),
        (b"a\0", Malformed::Nul),
        (b"\xFF", Malformed::Utf8),
    ] {
        let v311 = raw(
            0x10,
            &[&start(4, 0b0110), &field("id"), &field(topic), &field("")],
        );
        assert_eq!(connect(&v311), Err(malformed));
        let v5 = raw(
            0x10,
            &[
                &start(5, 0b0110),
                &[0],
                &field("id"),
                &[0],
                &field(topic),
                &field(""),
            ],
        );
        assert_eq!(connect(&v5), Err(malformed));
    }
    assert_eq!(Malformed::WillTopic.reason_code(), 0x82);
}

#[test]
fn mqtt5_1_5_4_strings_of_connect() {
    for (bytes, malformed) in [
        (&b"\xED\xA0\x80"[..], Malformed::Utf8),
        (b"\xC0\x80", Malformed::Utf8),
        (b"\xF8\x88\x80\x80\x80", Malformed::Utf8),
        (b"\xC3", Malformed::Utf8),
        (b"a\0b", Malformed::Nul),
    ] {
        let client_id = raw(0x10, &[&start(4, 2), &field(bytes)]);
        assert_eq!(connect(&client_id), Err(malformed));
        let user_name = raw(0x10, &[&start(4, 0x82), &field("id"), &field(bytes)]);
        assert_eq!(connect(&user_name), Err(malformed));
    }
    // [MQTT-1.5.4-3] a byte order mark stays; control characters and noncharacters are only discouraged.
    for text in ["\u{FEFF}a", "\u{1}\u{7F}\u{9F}", "\u{FFFF}\u{FDD0}\u{10FFFF}"] {
        let bytes = raw(0x10, &[&start(4, 2), &field(text)]);
        assert_eq!(connect(&bytes).map(|connect| connect.client_id), Ok(text));
    }
}

#[test]
fn mqtt5_3_1_3_fields_that_the_flags_do_not_name_are_trailing_bytes() {
    let bytes = raw(0x10, &[&start(4, 2), &field("id"), &field("user")]);
    assert_eq!(connect(&bytes), Err(Malformed::TrailingBytes));
}

#[test]
fn an_empty_client_identifier_is_left_to_the_session() {
    for flags in [0, 2] {
        assert_eq!(
            connect(&raw(0x10, &[&start(4, flags), &field("")])).map(|connect| connect.client_id),
            Ok("")
        );
    }
}

#[test]
fn mqtt5_3_2_connack() {
    let connack = ConnAck {
        session_present: true,
        code: 0,
        properties: Properties::EMPTY,
    };
    assert_eq!(
        whole(b"\x20\x02\x01\0", Some(V3), DOWN),
        Ok(Packet::ConnAck(connack))
    );
    assert_eq!(
        whole(b"\x20\x03\x01\0\0", Some(V5), DOWN),
        Ok(Packet::ConnAck(connack))
    );
    let properties = [Property::MaximumQoS(1), Property::ServerKeepAlive(60)];
    let connack = ConnAck {
        properties: Properties::list(&properties),
        ..connack
    };
    let (mut v3, mut v5) = (Vec::new(), Vec::new());
    connack.encode_into(V3, &mut v3);
    connack.encode_into(V5, &mut v5);
    assert_eq!(v3, b"\x20\x02\x01\0");
    assert_eq!(v5, b"\x20\x08\x01\0\x05\x24\x01\x13\0\x3C");
    assert_eq!((connack.encoded_len(V3), connack.encoded_len(V5)), (4, 10));
}

#[test]
fn mqtt5_3_2_2_connack_flags_and_codes() {
    // [MQTT-3.2.2-1]
    for flags in [2, 3, 0x80] {
        refused(V3, DOWN, 0x20, &[&[flags, 0]], Malformed::ConnAckFlagsReserved);
        refused(V5, DOWN, 0x20, &[&[flags, 0, 0]], Malformed::ConnAckFlagsReserved);
    }
    // [MQTT-3.2.2-6]
    refused(V3, DOWN, 0x20, &[&[1, 5]], Malformed::SessionPresentWithFailure);
    refused(
        V5,
        DOWN,
        0x20,
        &[&[1, 0x87, 0]],
        Malformed::SessionPresentWithFailure,
    );
    for code in 0..=255_u8 {
        if code <= 5 {
            taken(V3, DOWN, 0x20, &[&[0, code]]);
        } else {
            refused(V3, DOWN, 0x20, &[&[0, code]], Malformed::ReasonCode);
        }
    }
    refused(V5, DOWN, 0x20, &[&[0, 0x01, 0]], Malformed::ReasonCode);
    refused(V5, DOWN, 0x20, &[&[0, 0x8E, 0]], Malformed::ReasonCode);
}
