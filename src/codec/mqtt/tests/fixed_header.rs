//! Chapter 2: the fixed header, and what holds for all packets.

use super::*;
use crate::codec::mqtt::{FixedHeader, PacketType, header};

#[test]
fn mqtt5_2_1_2_packet_type_0_is_reserved_and_auth_is_5_0_only() {
    assert_eq!(header(&[0x00]), Err(Malformed::PacketTypeReserved));
    assert_eq!(header(&[0x0F, 0x00]), Err(Malformed::PacketTypeReserved));
    refused(V3, UP, 0xF0, &[], Malformed::PacketTypeReserved);
}

#[test]
fn mqtt5_2_1_3_1_flags_are_those_of_the_type() {
    for first in 0x10..=0xFF_u8 {
        let (packet_type, flags) = (first >> 4, first & 0x0F);
        let expected = match packet_type {
            3 if flags & 0b0110 == 0b0110 => Err(Malformed::PublishQoS3),
            3 if flags & 0b1110 == 0b1000 => Err(Malformed::DupWithQoS0),
            3 => Ok(()),
            6 | 8 | 10 if flags == 0b0010 => Ok(()),
            1..=2 | 4..=5 | 7 | 9 | 11..=15 if flags == 0 => Ok(()),
            _ => Err(Malformed::FlagsReserved),
        };
        // Known from the first byte already.
        assert_eq!(header(&[first]).map(|_| ()), expected, "{first:02x}");
        assert_eq!(header(&[first, 0x00]).map(|_| ()), expected, "{first:02x}");
    }
}

#[test]
fn mqtt5_2_1_4_the_remaining_length_has_at_most_four_bytes() {
    let length = |remaining: &[u8]| header(&[&[0x30], remaining].concat());
    let frame = |remaining_length, header_len| {
        Ok(Decode::Frame {
            frame: FixedHeader {
                packet_type: PacketType::Publish,
                flags: 0,
                remaining_length,
                header_len,
            },
            len: usize::from(header_len),
        })
    };
    assert_eq!(header(&[]), Ok(Decode::Need(2)));
    assert_eq!(length(&[]), Ok(Decode::Need(2)));
    assert_eq!(length(&[0x80]), Ok(Decode::Need(3)));
    assert_eq!(length(&[0xFF; 2]), Ok(Decode::Need(4)));
    assert_eq!(length(&[0xFF; 3]), Ok(Decode::Need(5)));
    assert_eq!(length(&[0xFF; 4]), Err(Malformed::RemainingLengthTooLong));
    assert_eq!(length(&[0]), frame(0, 2));
    assert_eq!(length(&[0x80, 0x01]), frame(128, 3));
    assert_eq!(length(&[0xFF, 0xFF, 0xFF, 0x7F]), frame(268_435_455, 5));
}

#[test]
fn mqtt5_1_5_5_1_a_remaining_length_longer_than_needed_is_refused_in_5_0_and_taken_in_3_1_1() {
    let pingreq: &[u8] = &[0xC0, 0x80, 0x80, 0x00];
    assert_eq!(
        whole(pingreq, Some(V5), UP),
        Err(Malformed::RemainingLengthNotMinimal)
    );
    assert_eq!(whole(pingreq, Some(V3), UP), Ok(Packet::PingReq));
    // Before CONNECT the version is not known until its level has been read.
    let connect = |level: u8, tail: &[u8]| {
        let body = [&field("MQTT")[..], &[level, 0x02, 0, 0], tail, &field("")].concat();
        [&[0x10, 0x80 | u8::try_from(body.len()).unwrap(), 0x00], &body[..]].concat()
    };
    assert!(whole(&connect(4, &[]), None, UP).is_ok());
    assert_eq!(
        whole(&connect(5, &[0]), None, UP),
        Err(Malformed::RemainingLengthNotMinimal)
    );
}

#[test]
fn mqtt5_3_1_2_24_too_large_is_known_from_the_fixed_header_alone() {
    let at_most = |packet_bytes_max| Context {
        version: Some(V5),
        packet_bytes_max,
        direction: UP,
    };
    let start = [0x30, 0xC8, 0x01];
    assert_eq!(decode(&start, at_most(202)), Err(Malformed::PacketTooLarge));
    assert_eq!(decode(&start, at_most(203)), Ok(Decode::Need(203)));
    assert_eq!(decode(&start[..2], at_most(1)), Ok(Decode::Need(3)));
    assert_eq!(Malformed::PacketTooLarge.reason_code(), 0x95);
}

#[test]
fn mqtt5_3_1_0_1_connect_comes_first() {
    for first in [0x20_u8, 0x30, 0x82, 0xC0, 0xE0, 0xF0] {
        assert_eq!(
            decode(&[first, 0x00], context(None, UP)),
            Err(Malformed::NotConnect),
            "{first:02x}"
        );
    }
}

#[test]
fn mqtt5_2_2_1_3_packet_identifier_0_is_refused() {
    for version in [V3, V5] {
        refused(
            version,
            UP,
            0x32,
            &[&field("a"), &[0, 0]],
            Malformed::PacketIdZero,
        );
        for first in [0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0] {
            refused(version, UP, first, &[&[0, 0]], Malformed::PacketIdZero);
        }
    }
}

#[test]
fn mqtt5_2_1_4_bytes_after_the_last_field_are_refused() {
    for (first, body) in [
        (0xC0, &b""[..]),
        (0xD0, b""),
        (0xE0, b""),
        (0x40, b"\0\x01"),
        (0x50, b"\0\x01"),
        (0x62, b"\0\x01"),
        (0x70, b"\0\x01"),
        (0xB0, b"\0\x01"),
        (0x20, b"\0\0"),
    ] {
        taken(V3, UP, first, &[body]);
        refused(V3, UP, first, &[body, b"\0"], Malformed::TrailingBytes);
    }
    for (first, body) in [
        (0xC0, &b""[..]),
        (0xD0, b""),
        (0xE0, b"\0\0"),
        (0x40, b"\0\x01\0\0"),
        (0x62, b"\0\x01\0\0"),
        (0x20, b"\0\0\0"),
    ] {
        taken(V5, UP, first, &[body]);
        refused(V5, UP, first, &[body, b"\0"], Malformed::TrailingBytes);
    }
}

#[test]
fn mqtt5_4_13_every_packet_cut_short_is_malformed() {
    let connect = [
        &field("MQTT")[..],
        &[5, 0b1111_0110, 0, 60],
        &block(&[0x21, 0, 1]),
        &field("id"),
        &block(&[0x01, 1]),
        &field("will"),
        &field("payload"),
        &field("user"),
        &field("password"),
    ]
    .concat();
    let whole_packets = [
        (0x10, connect),
        (0x20, b"\0\0\x03\x21\0\x01".to_vec()),
        (0x32, [&field("topic")[..], &[0, 1], &block(&[0x01, 1])].concat()),
        (0x40, b"\0\x01\0\x05\x1F\0\x02ab".to_vec()),
        (
            0x82,
            [&[0, 1][..], &block(&[0x0B, 1]), &field("a/b"), &[0]].concat(),
        ),
        (0xA2, [&[0, 1][..], &block(&[]), &field("a/b")].concat()),
        (0xE0, b"\x04\x05\x11\0\0\0\x01".to_vec()),
        (0xF0, b"\x18\x04\x15\0\x01m".to_vec()),
    ];
    for (first, body) in &whole_packets {
        taken(V5, UP, *first, &[body]);
        // Shorter forms that are whole packets as well.
        let whole_at: &[usize] = match first {
            0x40 => &[2, 3],
            0xE0 => &[0, 1],
            _ => &[],
        };
        for cut in (0..body.len()).filter(|cut| !whole_at.contains(cut)) {
            let malformed = match (first, cut) {
                (0x82, 5) | (0xA2, 3) => Malformed::NoTopicFilter,
                (0xF0, 0) => Malformed::ReasonCode,
                _ => Malformed::Truncated,
            };
            refused(V5, UP, *first, &[&body[..cut]], malformed);
        }
    }
}

#[test]
fn every_violation_has_a_reason_code_of_a_failure_and_a_text_of_its_own() {
    let mut texts: Vec<_> = Malformed::ALL
        .iter()
        .map(|malformed| malformed.as_str())
        .collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), Malformed::ALL.len());
    for malformed in Malformed::ALL {
        // What a DISCONNECT may say (table 3-10), and what only a CONNACK may.
        let code = malformed.reason_code();
        assert!(matches!(code, 0x81 | 0x82 | 0x84 | 0x94 | 0x95), "{malformed}");
    }
}
