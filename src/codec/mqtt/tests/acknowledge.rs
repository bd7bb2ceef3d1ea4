//! 3.4 to 3.7 PUBACK, PUBREC, PUBREL, PUBCOMP; 3.12 to 3.15 PINGREQ, PINGRESP, DISCONNECT, AUTH.

use super::*;
use crate::codec::mqtt::packet::{Ack, Auth, Disconnect, PacketId};
use crate::codec::mqtt::property::{Properties, Property};

const REASON: &[Property<'_>] = &[Property::ReasonString("ab")];

#[test]
fn mqtt5_3_4_2_1_code_and_properties_may_be_left_out() {
    let ack = |code, properties| Ack {
        packet_id: PacketId::new(9).unwrap(),
        code,
        properties,
    };
    for (bytes, expected, shortest) in [
        (&b"\x40\x02\0\x09"[..], ack(0, Properties::EMPTY), true),
        (b"\x40\x03\0\x09\0", ack(0, Properties::EMPTY), false),
        (b"\x40\x03\0\x09\x10", ack(0x10, Properties::EMPTY), true),
        (b"\x40\x04\0\x09\x10\0", ack(0x10, Properties::EMPTY), false),
        (
            b"\x40\x09\0\x09\0\x05\x1F\0\x02ab",
            ack(0, Properties::list(REASON)),
            true,
        ),
    ] {
        assert_eq!(whole(bytes, Some(V5), UP), Ok(Packet::PubAck(expected)));
        let mut again = Vec::new();
        Packet::PubAck(expected).encode_into(V5, &mut again);
        assert_eq!(again == bytes, shortest, "{again:02x?}");
        // 3.1.1 has the identifier alone.
        again.clear();
        Packet::PubAck(expected).encode_into(V3, &mut again);
        assert_eq!(again, b"\x40\x02\0\x09");
    }
}

#[test]
fn mqtt5_3_4_to_3_7_reason_codes() {
    let puback = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    let pubrel = [0x00, 0x92];
    for (first, codes) in [
        (0x40, &puback[..]),
        (0x50, &puback),
        (0x62, &pubrel),
        (0x70, &pubrel),
    ] {
        for code in 0..=255 {
            if codes.contains(&code) {
                taken(V5, UP, first, &[&[0, 1, code]]);
            } else {
                refused(V5, UP, first, &[&[0, 1, code]], Malformed::ReasonCode);
            }
        }
    }
    assert_eq!(Malformed::ReasonCode.reason_code(), 0x82);
}

#[test]
fn mqtt5_3_12_3_13_pings_are_empty() {
    for version in [V3, V5] {
        assert_eq!(whole(b"\xC0\0", Some(version), UP), Ok(Packet::PingReq));
        assert_eq!(whole(b"\xD0\0", Some(version), DOWN), Ok(Packet::PingResp));
    }
}

#[test]
fn mqtt5_3_14_2_disconnect_may_leave_out_code_and_properties() {
    let disconnect = |code, properties| Packet::Disconnect(Disconnect { code, properties });
    for (bytes, expected, shortest) in [
        (&b"\xE0\0"[..], disconnect(0, Properties::EMPTY), true),
        (b"\xE0\x01\0", disconnect(0, Properties::EMPTY), false),
        (b"\xE0\x01\x04", disconnect(4, Properties::EMPTY), true),
        (b"\xE0\x02\x04\0", disconnect(4, Properties::EMPTY), false),
        (
            b"\xE0\x07\0\x05\x1F\0\x02ab",
            disconnect(0, Properties::list(REASON)),
            true,
        ),
    ] {
        assert_eq!(whole(bytes, Some(V5), UP), Ok(expected));
        let mut again = Vec::new();
        expected.encode_into(V5, &mut again);
        assert_eq!(again == bytes, shortest, "{again:02x?}");
    }
    refused(V3, UP, 0xE0, &[&[0]], Malformed::TrailingBytes);
}

#[test]
fn mqtt5_3_14_2_1_reason_codes_by_sender() {
    let both = [
        0x00, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    ];
    let server = [
        0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
    ];
    for code in 0..=255_u8 {
        let from_client = both.contains(&code) || code == 0x04;
        let from_server = both.contains(&code) || server.contains(&code);
        for (direction, allowed) in [(UP, from_client), (DOWN, from_server)] {
            if allowed {
                taken(V5, direction, 0xE0, &[&[code]]);
            } else {
                refused(V5, direction, 0xE0, &[&[code]], Malformed::ReasonCode);
            }
        }
    }
}

#[test]
fn mqtt5_3_14_2_2_properties_by_sender() {
    let expiry = block(b"\x11\0\0\0\x01");
    taken(V5, UP, 0xE0, &[&[0], &expiry]);
    refused(V5, DOWN, 0xE0, &[&[0], &expiry], Malformed::PropertyDirection);
    let reference = block(b"\x1C\0\x01s");
    taken(V5, DOWN, 0xE0, &[&[0x9D], &reference]);
    refused(V5, UP, 0xE0, &[&[0], &reference], Malformed::PropertyDirection);
}

#[test]
fn mqtt5_3_15_auth() {
    let properties = [
        Property::AuthenticationMethod("m"),
        Property::AuthenticationData(b"\0"),
    ];
    let auth = Packet::Auth(Auth {
        code: 0x18,
        properties: Properties::list(&properties),
    });
    let bytes = raw(0xF0, &[&[0x18], &block(b"\x15\0\x01m\x16\0\x01\0")]);
    assert_eq!(whole(&bytes, Some(V5), UP), Ok(auth));
    let mut again = Vec::new();
    auth.encode_into(V5, &mut again);
    assert_eq!(again, bytes);
    // 3.15.2.1: who sends which code.
    let method = block(b"\x15\0\x01m");
    for code in 0..=255_u8 {
        for (direction, allowed) in [(UP, [0x18, 0x19]), (DOWN, [0x00, 0x18])] {
            if allowed.contains(&code) {
                taken(V5, direction, 0xF0, &[&[code], &method]);
            } else {
                refused(V5, direction, 0xF0, &[&[code], &method], Malformed::ReasonCode);
            }
        }
    }
    // 3.15.2.2.2, but for the empty form of Success.
    refused(
        V5,
        UP,
        0xF0,
        &[&[0x18, 0]],
        Malformed::AuthenticationMethodMissing,
    );
    refused(
        V5,
        UP,
        0xF0,
        &[&[0x18], &block(b"\x16\0\x01x")],
        Malformed::AuthenticationMethodMissing,
    );
    refused(V5, UP, 0xF0, &[&[0x18]], Malformed::Truncated);
    taken(V5, DOWN, 0xF0, &[]);
    refused(V5, UP, 0xF0, &[], Malformed::ReasonCode);
}
