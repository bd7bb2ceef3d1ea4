//! What of a sender's PUBLISH properties goes on to the receivers (3.3.2.3).

use super::property::{Properties, Property, Raw, id};
use super::reader::Reader;

/// Names of user properties that the daemon alone writes. Sent by a client they are removed: a deviation from
/// \[MQTT-3.3.2-17\] without which a sender could be forged.
pub const RESERVED_NAMES: [&str; 5] = [
    "nexus-app",
    "nexus-uid",
    "nexus-role",
    "nexus-resource",
    "nexus-code",
];

/// What is forwarded of a PUBLISH's or a will's properties, as a block: Payload Format Indicator, Content Type,
/// Response Topic, Correlation Data and the user properties in order \[MQTT-3.3.2-18\], without those of
/// [`RESERVED_NAMES`]. What the daemon writes anew for each receiver (Message Expiry Interval, Topic Alias,
/// Subscription Identifier, Will Delay Interval) is left out.
///
/// The block is the original one, not copied, if all of it is forwarded; else it is written to `scratch`,
/// whose content is replaced.
pub fn forwarded<'a>(properties: Properties<'a>, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let Some(block) = properties.block() else {
        scratch.clear();
        properties
            .iter()
            .filter(is_property_forwarded)
            .for_each(|property| property.encode_into(scratch));
        return scratch;
    };
    let mut reader = Reader::new(block);
    // The end is the only error of a checked block.
    while let Ok(raw) = Raw::take(&mut reader) {
        if !is_forwarded(raw) {
            copy_forwarded(block, scratch);
            return scratch;
        }
    }
    block
}

/// Replaces `scratch` by the forwarded properties of `block`.
fn copy_forwarded(block: &[u8], scratch: &mut Vec<u8>) {
    scratch.clear();
    let mut reader = Reader::new(block);
    loop {
        let before = reader.rest();
        let Ok(raw) = Raw::take(&mut reader) else { return };
        if is_forwarded(raw) {
            let len = before.len() - reader.rest().len();
            scratch.extend_from_slice(before.get(..len).unwrap_or_default());
        }
    }
}

fn is_forwarded(raw: Raw<'_>) -> bool {
    match raw.id {
        id::PAYLOAD_FORMAT_INDICATOR | id::CONTENT_TYPE | id::RESPONSE_TOPIC | id::CORRELATION_DATA => true,
        id::USER_PROPERTY => Reader::new(raw.value)
            .binary()
            .is_ok_and(|name| !is_reserved(name)),
        _ => false,
    }
}

fn is_property_forwarded(property: &Property<'_>) -> bool {
    match property {
        Property::PayloadFormatIndicator(_)
        | Property::ContentType(_)
        | Property::ResponseTopic(_)
        | Property::CorrelationData(_) => true,
        Property::UserProperty(name, _) => !is_reserved(name.as_bytes()),
        _ => false,
    }
}

fn is_reserved(name: &[u8]) -> bool {
    RESERVED_NAMES.iter().any(|reserved| name == reserved.as_bytes())
}
