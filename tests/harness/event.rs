//! What a driver process tells about its connections.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

/// One line of a driver: the connection's name and what happened.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) client: String,
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// What happened on a connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
    /// CONNACK.
    Connack {
        code: u8,
        session_present: bool,
        properties: Properties,
    },
    /// AUTH.
    Auth { code: u8, properties: Properties },
    /// SUBACK.
    Suback {
        #[serde(rename = "ref")]
        reference: Option<u64>,
        codes: Vec<u8>,
    },
    /// UNSUBACK; no codes in 3.1.1.
    Unsuback {
        #[serde(rename = "ref")]
        reference: Option<u64>,
        codes: Vec<u8>,
    },
    /// The end of a publish of QoS 1 or 2.
    Puback {
        #[serde(rename = "ref")]
        reference: Option<u64>,
        code: u8,
    },
    /// PUBLISH.
    Message(Message),
    /// The answer to an IQ of XMPP: the condition of an error, `None` for a result.
    Result {
        #[serde(rename = "ref")]
        reference: Option<u64>,
        condition: Option<String>,
        stanza: String,
    },
    /// A presence of XMPP.
    Presence { stanza: String },
    /// A stream error of XMPP.
    StreamError { condition: String },
    /// DISCONNECT by the server.
    Disconnect { code: u8 },
    /// The connection is gone.
    Closed {
        #[expect(dead_code, reason = "shown when a test fails")]
        reason: String,
        #[serde(default)]
        ws_code: Option<u16>,
    },
    /// The client library itself refused a command.
    Failure { reason: String },
}

/// A PUBLISH as it reached a client; a stanza of XMPP in the words of MQTT 5.0.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Message {
    pub(crate) topic: String,
    #[serde(deserialize_with = "base64_bytes")]
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) properties: Properties,
    /// The stanza, where there was one.
    #[serde(default)]
    pub(crate) stanza: String,
}

impl Message {
    /// The payload as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("a payload of text")
    }

    /// The payload as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).expect("a payload of JSON")
    }
}

fn base64_bytes<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(input)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

/// MQTT 5 properties by their names in the standard, in lower case with `_`; empty for 3.1.1. For XMPP what stands
/// for them, and the stanza's own attributes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Properties(Map<String, Value>);

impl Properties {
    /// The user properties, in order.
    pub(crate) fn user(&self) -> Vec<(String, String)> {
        self.0.get("user_properties").map_or_else(Vec::new, |pairs| {
            serde_json::from_value(pairs.clone()).expect("pairs of strings")
        })
    }

    /// The values of the user property `name`.
    pub(crate) fn user_values(&self, name: &str) -> Vec<String> {
        let pairs = self.user();
        pairs
            .into_iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value)
            .collect()
    }

    /// A property that is a string.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A property that is a number or a flag.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let value = self.0.get(name)?;
        value.as_u64().or_else(|| value.as_bool().map(u64::from))
    }

    /// A property that is bytes.
    pub(crate) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.text(name).map(|text| STANDARD.decode(text).expect("base64"))
    }

    /// The subscription identifiers, in ascending order.
    pub(crate) fn subscription_identifiers(&self) -> Vec<u64> {
        let list = self.0.get("subscription_identifier").and_then(Value::as_array);
        let mut found: Vec<u64> = list.into_iter().flatten().filter_map(Value::as_u64).collect();
        found.sort_unstable();
        found
    }

    /// Whether the property was there at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
