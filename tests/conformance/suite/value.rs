//! Texts, bytes and numbers as the cases write them.

use serde_json::{Value, json};

/// The bytes of a text, of `{"hex": "…"}` or of `{"repeat": text, "times": n}`.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Object(escape) => match (escape.get("hex"), escape.get("repeat"), escape.get("times")) {
            (Some(hex), None, None) => raw(text(hex)),
            (None, Some(repeated), Some(times)) => {
                bytes(repeated).repeat(usize::try_from(number(times)).unwrap())
            }
            _ => panic!("neither hex nor repeat: {value}"),
        },
        _ => panic!("not bytes: {value}"),
    }
}

/// Bytes as a case would write them: a text where they are one, else in hex.
pub(crate) fn shown(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => {
            let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": digits.join(" ") })
        }
    }
}

/// Bytes in hex, where blanks separate and `'…'` stands for ASCII: `"10 0c 0004 'MQTT' 05"`.
pub(crate) fn raw(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, part) in text.split('\'').enumerate() {
        if place % 2 == 1 {
            bytes.extend(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        assert!(digits.len().is_multiple_of(2), "half a byte in {text:?}");
        for pair in digits.chunks_exact(2) {
            let pair = std::str::from_utf8(pair).unwrap();
            bytes.push(u8::from_str_radix(pair, 16).unwrap_or_else(|error| panic!("{error}: {text:?}")));
        }
    }
    bytes
}

/// A number, or one in a text: `"0x82"`.
pub(crate) fn number(value: &Value) -> u64 {
    match value {
        Value::Bool(flag) => u64::from(*flag),
        Value::String(text) => {
            let digits = text
                .strip_prefix("0x")
                .unwrap_or_else(|| panic!("not a number: {text}"));
            u64::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{error}: {text}"))
        }
        _ => value.as_u64().unwrap_or_else(|| panic!("not a number: {value}")),
    }
}

/// A number that must fit.
pub(crate) fn sized<T: TryFrom<u64>>(value: &Value) -> T {
    let Ok(number) = T::try_from(number(value)) else {
        panic!("out of range: {value}");
    };
    number
}

/// A text.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

/// A value as the decoder would show it: escapes resolved, numbers as numbers.
pub(crate) fn normal(value: &Value) -> Value {
    match value {
        Value::String(text) if text.starts_with("0x") => json!(number(value)),
        Value::Object(fields) if fields.contains_key("hex") || fields.contains_key("repeat") => {
            shown(&bytes(value))
        }
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), normal(value)))
            .collect(),
        Value::Array(items) => items.iter().map(normal).collect(),
        _ => value.clone(),
    }
}
