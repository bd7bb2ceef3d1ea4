//! What the daemon makes of a PUBLISH on its way to a receiver: the properties that are forwarded, the packet
//! put together from pieces.

use std::num::NonZeroU16;

use proptest::prelude::*;

use super::generate::{Entropy, Model};
use super::*;
use crate::codec::mqtt::forward::{RESERVED_NAMES, forwarded};
use crate::codec::mqtt::packet::{PacketId, Publish, QoS};
use crate::codec::mqtt::property::{Holder, Properties, Property};
use crate::codec::mqtt::publish::PublishParts;

fn encoded(properties: &[Property<'_>]) -> Vec<u8> {
    let mut block = Vec::new();
    properties
        .iter()
        .for_each(|property| property.encode_into(&mut block));
    block
}

#[test]
fn a_block_that_is_forwarded_whole_is_not_copied() {
    let block = encoded(&[
        Property::UserProperty("b", "1"),
        Property::PayloadFormatIndicator(true),
        Property::ContentType("text"),
        Property::ResponseTopic("r"),
        Property::CorrelationData(b"\0"),
        Property::UserProperty("Nexus-app", "x"),
        Property::UserProperty("nexus-application", "x"),
        Property::UserProperty("", "nexus-app"),
    ]);
    let mut scratch = b"before".to_vec();
    let kept = forwarded(Properties::from_checked(&block), &mut scratch);
    assert_eq!(kept.as_ptr_range(), block.as_ptr_range());
    assert_eq!(scratch, b"before");
    assert!(forwarded(Properties::EMPTY, &mut scratch).is_empty());
}

#[test]
fn mqtt5_3_3_2_3_what_is_the_daemons_own_is_not_forwarded() {
    let kept = [
        Property::UserProperty("b", "1"),
        Property::CorrelationData(b"c"),
        Property::UserProperty("a", "2"),
        Property::UserProperty("b", "1"),
        Property::PayloadFormatIndicator(false),
    ];
    let dropped = [
        Property::MessageExpiryInterval(1),
        Property::TopicAlias(2),
        Property::SubscriptionIdentifier(200),
        Property::WillDelayInterval(1),
        Property::UserProperty(RESERVED_NAMES[0], "forged"),
        Property::UserProperty(RESERVED_NAMES[1], "forged"),
        Property::UserProperty(RESERVED_NAMES[2], ""),
        Property::UserProperty(RESERVED_NAMES[3], "forged"),
        Property::UserProperty(RESERVED_NAMES[4], "0"),
    ];
    let expected = encoded(&kept);
    // Each one at each place, then all of them.
    let mut mixtures: Vec<Vec<Property<'_>>> = Vec::new();
    for property in dropped {
        for at in 0..=kept.len() {
            let mut mixture = kept.to_vec();
            mixture.insert(at, property);
            mixtures.push(mixture);
        }
    }
    mixtures.push(
        dropped
            .into_iter()
            .zip(kept)
            .flat_map(|(d, k)| [d, k])
            .chain(dropped)
            .collect(),
    );
    for mixture in mixtures {
        let block = encoded(&mixture);
        for properties in [Properties::from_checked(&block), Properties::list(&mixture)] {
            let mut scratch = b"before".to_vec();
            assert_eq!(forwarded(properties, &mut scratch), expected, "{mixture:?}");
        }
    }
}

#[test]
fn mqtt5_3_3_a_publish_from_pieces() {
    let parts = PublishParts {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: &["$nexus/channel/", "app", "/", "é"],
        packet_id: PacketId::new(5),
        expiry_s: Some(9),
        topic_alias: NonZeroU16::new(3),
        response_topic: &["$nexus/answer/", "token"],
        correlation_data: Some(b"\0\x01"),
        subscription_identifiers: &[1, 300],
        attributes: &encoded(&[Property::ContentType("t"), Property::UserProperty("own", "1")]),
        user_properties: &[("nexus-app", "etest"), ("nexus-role", "owner")],
        payload: b"payload",
        ..PublishParts::new(V5)
    };
    let properties = [
        Property::MessageExpiryInterval(9),
        Property::TopicAlias(3),
        Property::ResponseTopic("$nexus/answer/token"),
        Property::CorrelationData(b"\0\x01"),
        Property::SubscriptionIdentifier(1),
        Property::SubscriptionIdentifier(300),
        Property::ContentType("t"),
        Property::UserProperty("own", "1"),
        Property::UserProperty("nexus-app", "etest"),
        Property::UserProperty("nexus-role", "owner"),
    ];
    let expected = Publish {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: "$nexus/channel/app/é",
        packet_id: PacketId::new(5),
        properties: Properties::list(&properties),
        payload: b"payload",
    };
    let mut bytes = Vec::new();
    parts.encode_into(&mut bytes);
    assert_eq!(bytes.len(), parts.encoded_len());
    assert_eq!(whole(&bytes, Some(V5), DOWN), Ok(Packet::Publish(expected)));
    // 3.1.1 has none of the properties.
    bytes.clear();
    let parts = PublishParts { version: V3, ..parts };
    parts.encode_into(&mut bytes);
    assert_eq!(bytes.len(), parts.encoded_len());
    let expected = Publish {
        properties: Properties::EMPTY,
        ..expected
    };
    assert_eq!(whole(&bytes, Some(V3), DOWN), Ok(Packet::Publish(expected)));
}

#[test]
fn mqtt5_2_1_4_lengths_at_the_edges_of_the_remaining_length() {
    for target in [127_usize, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
        let payload = vec![b'x'; target - 4];
        let parts = PublishParts {
            topic: &["t"],
            payload: &payload,
            ..PublishParts::new(V5)
        };
        let mut bytes = Vec::new();
        parts.encode_into(&mut bytes);
        assert_eq!(bytes.len(), parts.encoded_len());
        let context = Context {
            packet_bytes_max: usize::MAX,
            ..context(Some(V5), DOWN)
        };
        match decode(&bytes, context) {
            Ok(Decode::Frame {
                frame: Packet::Publish(publish),
                len,
            }) => {
                assert_eq!((publish.payload.len(), len), (payload.len(), bytes.len()));
            }
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: prop::test_runner::RngSeed::Fixed(0x6E65_7875_7300_0004),
        ..ProptestConfig::default()
    })]

    #[test]
    fn forwarding_keeps_what_it_should_in_order(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
        const PUBLISH: u8 = 2;
        let model = Model::draw(PUBLISH, &mut Entropy::new(&bytes));
        let mut encoded_packet = Vec::new();
        model.packet().encode_into(model.version, &mut encoded_packet);
        let Ok(Packet::Publish(publish)) = whole(&encoded_packet, Some(model.version), model.direction) else {
            panic!("{encoded_packet:02x?}");
        };
        let expected: Vec<_> = publish
            .properties
            .iter()
            .filter(|property| match property {
                Property::UserProperty(name, _) => !name.starts_with("nexus-"),
                Property::MessageExpiryInterval(_)
                | Property::TopicAlias(_)
                | Property::SubscriptionIdentifier(_) => false,
                _ => true,
            })
            .collect();
        let mut scratch = Vec::new();
        let kept = forwarded(publish.properties, &mut scratch);
        prop_assert_eq!(
            Properties::decode(kept, Holder::Publish, UP),
            Ok(Properties::list(&expected))
        );
    }
}
