//! 3.8 to 3.11 SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.

use super::*;
use crate::codec::mqtt::packet::{Filter, Filters, Names, PacketId, QoS, SubAck, Subscribe, Unsubscribe};
use crate::codec::mqtt::property::{Properties, Property};

const ID: PacketId = PacketId::new(7).unwrap();

#[test]
fn mqtt5_3_8_subscription_options() {
    let filters = [
        Filter {
            filter: "a/+",
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: false,
            retain_handling: 2,
        },
        Filter {
            filter: "$share/g/#",
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: true,
            retain_handling: 1,
        },
    ];
    let subscribe = Packet::Subscribe(Subscribe {
        packet_id: ID,
        properties: Properties::list(&[Property::SubscriptionIdentifier(128)]),
        filters: Filters::list(&filters),
    });
    let bytes = raw(
        0x82,
        &[
            b"\0\x07\x03\x0B\x80\x01",
            &field("a/+"),
            &[0b0010_0110],
            &field("$share/g/#"),
            &[0b0001_1000],
        ],
    );
    assert_eq!(whole(&bytes, Some(V5), UP), Ok(subscribe));
    let mut again = Vec::new();
    subscribe.encode_into(V5, &mut again);
    assert_eq!(again, bytes);
    // 3.1.1 has the QoS alone.
    again.clear();
    subscribe.encode_into(V3, &mut again);
    let v311 = raw(
        0x82,
        &[b"\0\x07", &field("a/+"), &[2], &field("$share/g/#"), &[0]],
    );
    assert_eq!(again, v311);
    assert!(whole(&v311, Some(V3), UP).is_ok());
}

#[test]
fn mqtt5_3_8_3_reserved_options() {
    for options in 0..=255_u8 {
        let v3 = match options {
            0..=2 => None,
            3 => Some(Malformed::SubscribeQoS3),
            _ => Some(Malformed::SubscriptionOptionsReserved),
        };
        let v5 = if options & 0b1100_0000 != 0 {
            Some(Malformed::SubscriptionOptionsReserved)
        } else if options & 0b11 == 3 {
            Some(Malformed::SubscribeQoS3)
        } else if options & 0b0011_0000 == 0b0011_0000 {
            Some(Malformed::RetainHandling3)
        } else {
            None
        };
        for (version, head, expected) in [(V3, &b"\0\x07"[..], v3), (V5, b"\0\x07\0", v5)] {
            // Also as the second entry.
            let body = [head, &field("a"), &[0], &field("b"), &[options]];
            match expected {
                None => taken(version, UP, 0x82, &body),
                Some(malformed) => refused(version, UP, 0x82, &body, malformed),
            }
        }
    }
}

#[test]
fn mqtt5_3_8_3_4_no_local_on_a_shared_subscription_is_refused() {
    let body = [&b"\0\x07\0"[..], &field("$share/g/a"), &[0b100]];
    refused(V5, UP, 0x82, &body, Malformed::NoLocalShared);
}

#[test]
fn mqtt5_3_8_3_2_at_least_one_filter() {
    for (version, body) in [
        (V3, &b"\0\x07"[..]),
        (V5, b"\0\x07\0"),
        (V5, b"\0\x07\x02\x0B\x01"),
    ] {
        refused(version, UP, 0x82, &[body], Malformed::NoTopicFilter);
    }
    for (version, body) in [(V3, &b"\0\x07"[..]), (V5, b"\0\x07\0")] {
        refused(version, UP, 0xA2, &[body], Malformed::NoTopicFilter);
    }
    assert_eq!(Malformed::NoTopicFilter.reason_code(), 0x82);
}

#[test]
fn mqtt5_4_7_1_filters_are_checked_in_subscribe_and_unsubscribe() {
    for (filter, malformed) in [
        (&b""[..], Malformed::TopicFilterEmpty),
        (b"a#", Malformed::TopicFilterWildcard),
        (b"#/a", Malformed::TopicFilterWildcard),
        (b"a/b+", Malformed::TopicFilterWildcard),
        (b"a\0", Malformed::Nul),
        (b"\xC3", Malformed::Utf8),
    ] {
        for version in [V3, V5] {
            let head: &[u8] = if version == V5 { b"\0\x07\0" } else { b"\0\x07" };
            refused(version, UP, 0x82, &[head, &field(filter), &[0]], malformed);
            refused(version, UP, 0xA2, &[head, &field(filter)], malformed);
        }
    }
    assert_eq!(Malformed::TopicFilterWildcard.reason_code(), 0x82);
}

#[test]
fn mqtt5_4_8_2_shared_subscriptions_are_checked_in_5_0_alone() {
    for filter in [
        "$share/",
        "$share/g",
        "$share//a",
        "$share/g/",
        "$share/+/a",
        "$share/#",
    ] {
        refused(
            V5,
            UP,
            0x82,
            &[b"\0\x07\0", &field(filter), &[0]],
            Malformed::TopicFilterShare,
        );
        refused(
            V5,
            UP,
            0xA2,
            &[b"\0\x07\0", &field(filter)],
            Malformed::TopicFilterShare,
        );
        taken(V3, UP, 0x82, &[b"\0\x07", &field(filter), &[0]]);
    }
    taken(V5, UP, 0x82, &[b"\0\x07\0", &field("$share"), &[0]]);
}

#[test]
fn mqtt5_3_9_suback_codes() {
    let suback = |codes| {
        Packet::SubAck(SubAck {
            packet_id: ID,
            properties: Properties::EMPTY,
            codes,
        })
    };
    assert_eq!(
        whole(b"\x90\x04\0\x07\x02\x80", Some(V3), DOWN),
        Ok(suback(&[2, 0x80]))
    );
    assert_eq!(
        whole(b"\x90\x05\0\x07\0\x01\x8F", Some(V5), DOWN),
        Ok(suback(&[1, 0x8F]))
    );
    let v3 = [0x00, 0x01, 0x02, 0x80];
    let v5 = [
        0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2,
    ];
    let unsuback = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
    for (version, first, head, codes) in [
        (V3, 0x90, &b"\0\x07"[..], &v3[..]),
        (V5, 0x90, b"\0\x07\0", &v5),
        (V5, 0xB0, b"\0\x07\0", &unsuback),
    ] {
        for code in 0..=255 {
            if codes.contains(&code) {
                taken(version, DOWN, first, &[head, &[0, code]]);
            } else {
                refused(version, DOWN, first, &[head, &[0, code]], Malformed::ReasonCode);
            }
        }
        refused(version, DOWN, first, &[head], Malformed::NoReasonCode);
    }
}

#[test]
fn mqtt5_3_10_3_11_unsubscribe_and_its_acknowledgement() {
    let unsubscribe = Packet::Unsubscribe(Unsubscribe {
        packet_id: ID,
        properties: Properties::EMPTY,
        filters: Names::list(&["a", "b/#"]),
    });
    let bytes = raw(0xA2, &[b"\0\x07", &field("a"), &field("b/#")]);
    assert_eq!(whole(&bytes, Some(V3), UP), Ok(unsubscribe));
    let unsuback = |codes| {
        Packet::UnsubAck(SubAck {
            packet_id: ID,
            properties: Properties::EMPTY,
            codes,
        })
    };
    assert_eq!(whole(b"\xB0\x02\0\x07", Some(V3), DOWN), Ok(unsuback(&[])));
    let mut out = Vec::new();
    unsubscribe.encode_into(V3, &mut out);
    assert_eq!(out, bytes);
    // 3.1.1 has no codes in an UNSUBACK.
    for (version, expected) in [(V3, &b"\xB0\x02\0\x07"[..]), (V5, b"\xB0\x05\0\x07\0\0\x11")] {
        out.clear();
        unsuback(&[0, 0x11]).encode_into(version, &mut out);
        assert_eq!(out, expected);
    }
}
