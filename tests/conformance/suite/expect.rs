//! Whether a packet is the one that a case expects.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::packet::Packet;
use super::value::normal;
use super::{Version, value};

/// What `?name` stands for in a case, by its first occurrence.
pub(crate) type Bindings = HashMap<String, Value>;

/// The fields that a packet has if a case does not name them.
fn defaults(name: &str) -> Value {
    match name {
        "CONNACK" => json!({"session_present": false, "code": 0, "properties": {}}),
        "PUBLISH" => json!({"topic": "", "payload": "", "qos": 0, "dup": false, "retain": false, "id": null,
                            "properties": {}}),
        "SUBACK" | "UNSUBACK" => json!({"id": null, "codes": [], "properties": {}}),
        "PINGRESP" => json!({"properties": {}}),
        _ => json!({"id": null, "code": 0, "properties": {}}),
    }
}

/// What a case expects, with the defaults filled in and what the version has no room for left out.
pub(crate) fn pattern(packet: &Packet, version: Version) -> Packet {
    let mut fields = defaults(&packet.name);
    for (name, value) in &packet.fields {
        fields[name] = normal(value);
    }
    if version == Version::V311 {
        fields["properties"] = json!({});
        match packet.name.as_str() {
            "CONNACK" => {}
            "UNSUBACK" => fields["codes"] = json!([]),
            "SUBACK" => {
                for code in fields["codes"].as_array_mut().unwrap() {
                    if value::number(code) >= 0x80 {
                        *code = json!(0x80);
                    }
                }
            }
            "PUBACK" | "PUBREC" | "PUBREL" | "PUBCOMP" => fields["code"] = json!(0),
            _ => {}
        }
    }
    Packet::new(&packet.name, &fields)
}

/// Whether `packet` is what `pattern` describes. Binds names that occur for the first time only if it is.
pub(crate) fn matches(pattern: &Packet, packet: &Packet, bindings: &mut Bindings) -> bool {
    if pattern.name != packet.name {
        return false;
    }
    let mut bound = bindings.clone();
    let is_match = fields_match(&pattern.fields, &packet.fields, &mut bound);
    if is_match {
        *bindings = bound;
    }
    is_match
}

fn fields_match(pattern: &Map<String, Value>, actual: &Map<String, Value>, bindings: &mut Bindings) -> bool {
    // A Reason String is for people: it may come with whatever it explains, unless the case speaks of it.
    let unexpected = |name: &String| name != "reason_string" && !pattern.contains_key(name);
    if !pattern.contains_key("*")
        && actual
            .iter()
            .any(|(name, value)| !value.is_null() && unexpected(name))
    {
        return false;
    }
    pattern
        .iter()
        .filter(|(name, _)| *name != "*")
        .all(|(name, wanted)| {
            let value = actual.get(name).unwrap_or(&Value::Null);
            if name == "subscription_identifiers" {
                // Their order says nothing (5.0, 3.3.4).
                return sorted(wanted) == sorted(value);
            }
            value_matches(wanted, value, bindings)
        })
}

fn sorted(list: &Value) -> Vec<u64> {
    let mut numbers: Vec<u64> = list
        .as_array()
        .map_or(Vec::new(), |list| list.iter().map(value::number).collect());
    numbers.sort_unstable();
    numbers
}

fn value_matches(pattern: &Value, actual: &Value, bindings: &mut Bindings) -> bool {
    match (pattern, actual) {
        (Value::String(name), _) if name == "?" => !actual.is_null(),
        (Value::String(name), _) if name.starts_with('?') && name.len() > 1 => {
            let known = bindings.entry(name.clone()).or_insert_with(|| actual.clone());
            !actual.is_null() && known == actual
        }
        (Value::Object(pattern), Value::Object(actual)) => fields_match(pattern, actual, bindings),
        (Value::Array(pattern), Value::Array(actual)) => {
            pattern.len() == actual.len()
                && pattern
                    .iter()
                    .zip(actual)
                    .all(|(pattern, actual)| value_matches(pattern, actual, bindings))
        }
        _ => pattern == actual,
    }
}

/// Puts what `?name` stands for into a packet that is to be sent.
pub(crate) fn filled(value: &Value, bindings: &Bindings) -> Value {
    match value {
        Value::String(name) if name.starts_with('?') && name.len() > 1 => bindings
            .get(name)
            .unwrap_or_else(|| panic!("{name} stands for nothing yet"))
            .clone(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), filled(value, bindings)))
            .collect(),
        Value::Array(items) => items.iter().map(|value| filled(value, bindings)).collect(),
        _ => value.clone(),
    }
}
