//! Properties of MQTT 5.0 (2.2.2): their names, identifiers and types, and where they may stand.

use serde_json::{Map, Value, json};

use super::value::{bytes, number, shown, sized, text};
use super::wire::{Reader, counted, variable};

/// How a value is written (1.5).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Byte,
    TwoBytes,
    FourBytes,
    Variable,
    Text,
    Binary,
    Pair,
}

/// Name, identifier, type, and the packets of a server that may carry it.
const PROPERTIES: &[(&str, u8, Type, &[&str])] = {
    use Type::{Binary, Byte, FourBytes, Pair, Text, TwoBytes, Variable};
    &[
        ("payload_format_indicator", 0x01, Byte, &["PUBLISH"]),
        ("message_expiry_interval", 0x02, FourBytes, &["PUBLISH"]),
        ("content_type", 0x03, Text, &["PUBLISH"]),
        ("response_topic", 0x08, Text, &["PUBLISH"]),
        ("correlation_data", 0x09, Binary, &["PUBLISH"]),
        ("subscription_identifiers", 0x0B, Variable, &["PUBLISH"]),
        ("session_expiry_interval", 0x11, FourBytes, &["CONNACK"]),
        ("assigned_client_identifier", 0x12, Text, &["CONNACK"]),
        ("server_keep_alive", 0x13, TwoBytes, &["CONNACK"]),
        ("authentication_method", 0x15, Text, &["CONNACK", "AUTH"]),
        ("authentication_data", 0x16, Binary, &["CONNACK", "AUTH"]),
        ("request_problem_information", 0x17, Byte, &[]),
        ("will_delay_interval", 0x18, FourBytes, &[]),
        ("request_response_information", 0x19, Byte, &[]),
        ("response_information", 0x1A, Text, &["CONNACK"]),
        ("server_reference", 0x1C, Text, &["CONNACK", "DISCONNECT"]),
        (
            "reason_string",
            0x1F,
            Text,
            &[
                "CONNACK",
                "PUBACK",
                "PUBREC",
                "PUBREL",
                "PUBCOMP",
                "SUBACK",
                "UNSUBACK",
                "DISCONNECT",
                "AUTH",
            ],
        ),
        ("receive_maximum", 0x21, TwoBytes, &["CONNACK"]),
        ("topic_alias_maximum", 0x22, TwoBytes, &["CONNACK"]),
        ("topic_alias", 0x23, TwoBytes, &["PUBLISH"]),
        ("maximum_qos", 0x24, Byte, &["CONNACK"]),
        ("retain_available", 0x25, Byte, &["CONNACK"]),
        (
            "user_properties",
            0x26,
            Pair,
            &[
                "CONNACK",
                "PUBLISH",
                "PUBACK",
                "PUBREC",
                "PUBREL",
                "PUBCOMP",
                "SUBACK",
                "UNSUBACK",
                "DISCONNECT",
                "AUTH",
            ],
        ),
        ("maximum_packet_size", 0x27, FourBytes, &["CONNACK"]),
        ("wildcard_subscription_available", 0x28, Byte, &["CONNACK"]),
        ("subscription_identifiers_available", 0x29, Byte, &["CONNACK"]),
        ("shared_subscription_available", 0x2A, Byte, &["CONNACK"]),
    ]
};

/// Those that may stand more than once; a case writes them as a list.
const LISTS: &[&str] = &["user_properties", "subscription_identifiers"];

/// A property block with its length.
pub(crate) fn encode(properties: Option<&Value>) -> Vec<u8> {
    let mut block = Vec::new();
    let none = Map::new();
    let properties = properties.map_or(&none, |properties| properties.as_object().unwrap());
    for (name, value) in properties {
        let (_, id, kind, _) = PROPERTIES
            .iter()
            .find(|(known, ..)| known == name)
            .unwrap_or_else(|| panic!("no property {name}"));
        let list = if LISTS.contains(&name.as_str()) {
            value.as_array().unwrap().as_slice()
        } else {
            std::slice::from_ref(value)
        };
        for value in list {
            block.push(*id);
            block.extend(encoded(*kind, value));
        }
    }
    let mut all = variable(block.len());
    all.extend(block);
    all
}

fn encoded(kind: Type, value: &Value) -> Vec<u8> {
    match kind {
        Type::Byte => vec![sized(value)],
        Type::TwoBytes => sized::<u16>(value).to_be_bytes().to_vec(),
        Type::FourBytes => sized::<u32>(value).to_be_bytes().to_vec(),
        Type::Variable => variable(usize::try_from(number(value)).unwrap()),
        Type::Text | Type::Binary => counted(&bytes(value)),
        Type::Pair => [
            counted(text(&value[0]).as_bytes()),
            counted(text(&value[1]).as_bytes()),
        ]
        .concat(),
    }
}

/// Reads the property block of a packet that a server sent. Each must be one that the packet may carry from a
/// server, and once only unless it may stand more often.
pub(crate) fn decode(reader: &mut Reader<'_>, packet: &str) -> Result<Map<String, Value>, String> {
    let length = reader.variable()?;
    let mut block = Reader::new(reader.take(length)?);
    let mut properties = Map::new();
    while !block.is_empty() {
        let id = block.byte()?;
        let (name, _, kind, packets) = PROPERTIES
            .iter()
            .find(|(_, known, ..)| *known == id)
            .ok_or_else(|| format!("no property has the identifier {id:#04x}"))?;
        if !packets.contains(&packet) {
            return Err(format!("a {packet} of a server carries no {name}"));
        }
        let value = match kind {
            Type::Byte => json!(block.byte()?),
            Type::TwoBytes => json!(block.two()?),
            Type::FourBytes => json!(block.four()?),
            Type::Variable => json!(block.variable()?),
            Type::Text => json!(block.text()?),
            Type::Binary => shown(block.counted()?),
            Type::Pair => json!([block.text()?, block.text()?]),
        };
        if LISTS.contains(name) {
            let list = properties.entry(*name).or_insert_with(|| json!([]));
            list.as_array_mut().unwrap().push(value);
        } else if properties.insert((*name).to_owned(), value).is_some() {
            return Err(format!("{name} twice"));
        }
    }
    Ok(properties)
}
