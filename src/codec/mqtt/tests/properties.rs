//! 2.2.2 properties: what may stand where, how often, and with which value.

use super::*;
use crate::codec::mqtt::property::{Holder, Properties, Property, id};

const HOLDERS: [Holder; 9] = [
    Holder::Connect,
    Holder::Will,
    Holder::ConnAck,
    Holder::Publish,
    Holder::Ack,
    Holder::Subscribe,
    Holder::Unsubscribe,
    Holder::Disconnect,
    Holder::Auth,
];

/// A property of every identifier with the holders it belongs to (table 2-4).
const TABLE: &[(Property<'_>, &[Holder])] = {
    use Holder::{Ack, Auth, ConnAck, Connect, Disconnect, Publish, Subscribe, Will};
    &[
        (Property::PayloadFormatIndicator(true), &[Publish, Will]),
        (Property::MessageExpiryInterval(u32::MAX), &[Publish, Will]),
        (Property::ContentType("é"), &[Publish, Will]),
        (Property::ResponseTopic("a/b"), &[Publish, Will]),
        (Property::CorrelationData(b"\0\xFF"), &[Publish, Will]),
        (
            Property::SubscriptionIdentifier(268_435_455),
            &[Publish, Subscribe],
        ),
        (
            Property::SessionExpiryInterval(0),
            &[Connect, ConnAck, Disconnect],
        ),
        (Property::AssignedClientIdentifier("x"), &[ConnAck]),
        (Property::ServerKeepAlive(0), &[ConnAck]),
        (Property::AuthenticationMethod("m"), &[Connect, ConnAck, Auth]),
        (Property::AuthenticationData(b""), &[Connect, ConnAck, Auth]),
        (Property::RequestProblemInformation(false), &[Connect]),
        (Property::WillDelayInterval(1), &[Will]),
        (Property::RequestResponseInformation(true), &[Connect]),
        (Property::ResponseInformation("r"), &[ConnAck]),
        (Property::ServerReference("s"), &[ConnAck, Disconnect]),
        (Property::ReasonString("why"), &[ConnAck, Ack, Disconnect, Auth]),
        (Property::ReceiveMaximum(1), &[Connect, ConnAck]),
        (Property::TopicAliasMaximum(0), &[Connect, ConnAck]),
        (Property::TopicAlias(1), &[Publish]),
        (Property::MaximumQoS(1), &[ConnAck]),
        (Property::RetainAvailable(false), &[ConnAck]),
        (Property::UserProperty("", "v"), &HOLDERS),
        (Property::MaximumPacketSize(1), &[Connect, ConnAck]),
        (Property::WildcardSubscriptionAvailable(true), &[ConnAck]),
        (Property::SubscriptionIdentifiersAvailable(true), &[ConnAck]),
        (Property::SharedSubscriptionAvailable(true), &[ConnAck]),
    ]
};

fn encoded(properties: &[Property<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for property in properties {
        let before = bytes.len();
        property.encode_into(&mut bytes);
        assert_eq!(bytes.len() - before, property.encoded_len());
    }
    bytes
}

/// What both directions say together: the first verdict that is not about the direction.
fn check(block: &[u8], holder: Holder) -> Result<(), Malformed> {
    match Properties::decode(block, holder, UP) {
        Err(Malformed::PropertyDirection) => Properties::decode(block, holder, DOWN).map(|_| ()),
        other => other.map(|_| ()),
    }
}

#[test]
fn mqtt5_2_2_2_2_each_property_belongs_to_its_packets() {
    for holder in HOLDERS {
        for (property, holders) in TABLE {
            // Data needs a method beside it, but in AUTH where its absence is a fault of its own.
            let beside = match property {
                Property::AuthenticationData(_) => &[Property::AuthenticationMethod("m")][..],
                _ => &[],
            };
            let bytes = [encoded(&[*property]), encoded(beside)].concat();
            let expected = if holders.contains(&holder) {
                Ok(())
            } else {
                Err(Malformed::PropertyNotAllowed)
            };
            assert_eq!(check(&bytes, holder), expected, "{holder:?} {property:?}");
        }
    }
    assert_eq!(Malformed::PropertyNotAllowed.reason_code(), 0x81);
}

#[test]
fn mqtt5_2_2_2_2_unknown_identifiers_are_malformed() {
    for identifier in 0..=255_u8 {
        if TABLE.iter().any(|(property, _)| property.id() == identifier) {
            continue;
        }
        for holder in HOLDERS {
            assert_eq!(
                check(&[identifier, 0, 0, 0, 0, 0], holder),
                Err(Malformed::PropertyUnknown),
                "{identifier:02x}"
            );
        }
    }
    assert_eq!(Malformed::PropertyUnknown.reason_code(), 0x81);
}

#[test]
fn mqtt5_2_2_2_2_what_may_stand_once_stands_once() {
    for (property, holders) in TABLE {
        for &holder in *holders {
            let method = match property {
                Property::AuthenticationData(_) => &[Property::AuthenticationMethod("m")][..],
                _ => &[],
            };
            let bytes = [
                encoded(method),
                encoded(&[*property, Property::UserProperty("a", "b"), *property]),
            ]
            .concat();
            let repeatable = matches!(property, Property::UserProperty(..))
                || matches!(
                    (property, holder),
                    (Property::SubscriptionIdentifier(_), Holder::Publish)
                );
            let expected = if repeatable {
                Ok(())
            } else {
                Err(Malformed::PropertyRepeated)
            };
            assert_eq!(check(&bytes, holder), expected, "{holder:?} {property:?}");
        }
    }
    assert_eq!(Malformed::PropertyRepeated.reason_code(), 0x82);
}

#[test]
fn mqtt5_3_1_2_11_and_3_2_2_3_values_that_are_refused() {
    for (block, holder, malformed) in [
        (
            &[id::RECEIVE_MAXIMUM, 0, 0][..],
            Holder::Connect,
            Malformed::ReceiveMaximumZero,
        ),
        (
            &[id::RECEIVE_MAXIMUM, 0, 0],
            Holder::ConnAck,
            Malformed::ReceiveMaximumZero,
        ),
        (
            &[id::MAXIMUM_PACKET_SIZE, 0, 0, 0, 0],
            Holder::Connect,
            Malformed::MaximumPacketSizeZero,
        ),
        (
            &[id::MAXIMUM_PACKET_SIZE, 0, 0, 0, 0],
            Holder::ConnAck,
            Malformed::MaximumPacketSizeZero,
        ),
        (&[id::MAXIMUM_QOS, 2], Holder::ConnAck, Malformed::MaximumQoS),
        (
            &[id::SUBSCRIPTION_IDENTIFIER, 0],
            Holder::Subscribe,
            Malformed::SubscriptionIdentifierZero,
        ),
        (
            &[id::SUBSCRIPTION_IDENTIFIER, 0],
            Holder::Publish,
            Malformed::SubscriptionIdentifierZero,
        ),
        (
            &[id::SUBSCRIPTION_IDENTIFIER, 0x81, 0],
            Holder::Subscribe,
            Malformed::VarIntNotMinimal,
        ),
        (
            &[id::SUBSCRIPTION_IDENTIFIER, 0xFF, 0xFF, 0xFF, 0xFF, 1],
            Holder::Subscribe,
            Malformed::VarIntTooLong,
        ),
        (
            &[id::AUTHENTICATION_DATA, 0, 0],
            Holder::Connect,
            Malformed::AuthenticationDataWithoutMethod,
        ),
        (
            &[id::AUTHENTICATION_DATA, 0, 0],
            Holder::ConnAck,
            Malformed::AuthenticationDataWithoutMethod,
        ),
        (b"\x26\0\x01\0\0\0", Holder::Ack, Malformed::Nul),
        (b"\x26\0\x01a\0\x01\xFF", Holder::Ack, Malformed::Utf8),
        (b"\x1F\0\x03\xED\xA0\x80", Holder::Ack, Malformed::Utf8),
        (b"\x03\0\x01\0", Holder::Publish, Malformed::Nul),
    ] {
        assert_eq!(check(block, holder), Err(malformed), "{block:02x?}");
    }
    for (identifier, holder) in [
        (id::PAYLOAD_FORMAT_INDICATOR, Holder::Publish),
        (id::PAYLOAD_FORMAT_INDICATOR, Holder::Will),
        (id::REQUEST_PROBLEM_INFORMATION, Holder::Connect),
        (id::REQUEST_RESPONSE_INFORMATION, Holder::Connect),
        (id::RETAIN_AVAILABLE, Holder::ConnAck),
        (id::WILDCARD_SUBSCRIPTION_AVAILABLE, Holder::ConnAck),
        (id::SUBSCRIPTION_IDENTIFIERS_AVAILABLE, Holder::ConnAck),
        (id::SHARED_SUBSCRIPTION_AVAILABLE, Holder::ConnAck),
    ] {
        for value in 0..=255 {
            let expected = if value < 2 {
                Ok(())
            } else {
                Err(Malformed::PropertyNotBoolean)
            };
            assert_eq!(
                check(&[identifier, value], holder),
                expected,
                "{identifier:02x} {value}"
            );
        }
    }
}

#[test]
fn mqtt5_2_2_2_1_the_length_of_a_block() {
    // Longer than the packet, ending inside a property, not minimal, over four bytes, missing.
    refused(V5, UP, 0x40, &[b"\0\x01\0\x07\x1F\0\x02ab"], Malformed::Truncated);
    refused(V5, UP, 0x40, &[b"\0\x01\0\x04\x1F\0\x02ab"], Malformed::Truncated);
    refused(V5, UP, 0x40, &[b"\0\x01\0\x01\x1F\0\x02ab"], Malformed::Truncated);
    refused(V5, UP, 0x40, &[b"\0\x01\0\x80\0"], Malformed::VarIntNotMinimal);
    refused(
        V5,
        UP,
        0x40,
        &[b"\0\x01\0\x80\x80\x80\x80\0"],
        Malformed::VarIntTooLong,
    );
    refused(V5, UP, 0x30, &[&field("a")], Malformed::Truncated);
    refused(V5, DOWN, 0x20, &[b"\0\0"], Malformed::Truncated);
    // What follows a complete block is not part of it.
    refused(
        V5,
        UP,
        0x40,
        &[b"\0\x01\0\x05\x1F\0\x02abc"],
        Malformed::TrailingBytes,
    );
}

#[test]
fn a_block_and_a_list_read_the_same() {
    let list: Vec<_> = TABLE.iter().map(|(property, _)| *property).collect();
    let bytes = encoded(&list);
    let (block, list) = (Properties::from_checked(&bytes), Properties::list(&list));
    assert_eq!(block, list);
    for (property, _) in TABLE {
        assert_eq!(block.get(property.id()), Some(*property));
        assert_eq!(list.get(property.id()), Some(*property));
    }
    assert_eq!(block.get(0), None);
    assert_ne!(block, Properties::EMPTY);
    assert!(Properties::EMPTY.is_empty() && Properties::list(&[]).is_empty() && !block.is_empty());
    for properties in [block, list] {
        assert_eq!(properties.payload_format_indicator(), Some(true));
        assert_eq!(properties.message_expiry_interval_s(), Some(u32::MAX));
        assert_eq!(properties.content_type(), Some("é"));
        assert_eq!(properties.response_topic(), Some("a/b"));
        assert_eq!(properties.correlation_data(), Some(&b"\0\xFF"[..]));
        assert_eq!(properties.subscription_identifier(), Some(268_435_455));
        assert_eq!(properties.session_expiry_interval_s(), Some(0));
        assert_eq!(properties.assigned_client_identifier(), Some("x"));
        assert_eq!(properties.server_keep_alive_s(), Some(0));
        assert_eq!(properties.authentication_method(), Some("m"));
        assert_eq!(properties.authentication_data(), Some(&b""[..]));
        assert_eq!(properties.request_problem_information(), Some(false));
        assert_eq!(properties.will_delay_interval_s(), Some(1));
        assert_eq!(properties.request_response_information(), Some(true));
        assert_eq!(properties.response_information(), Some("r"));
        assert_eq!(properties.reason_string(), Some("why"));
        assert_eq!(properties.receive_maximum(), Some(1));
        assert_eq!(properties.topic_alias_maximum(), Some(0));
        assert_eq!(properties.topic_alias(), Some(1));
        assert_eq!(properties.maximum_qos(), Some(1));
        assert_eq!(properties.maximum_packet_size_bytes(), Some(1));
    }
}
