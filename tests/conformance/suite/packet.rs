//! Packets as objects with named fields, to bytes and back.

use serde_json::{Map, Value, json};

use super::Version;
use super::property;
use super::value::{bytes, number, shown, sized};
use super::wire::{Reader, counted, framed};

/// A packet's name and its fields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packet {
    pub(crate) name: String,
    pub(crate) fields: Map<String, Value>,
}

impl std::fmt::Display for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = Value::Object(self.fields.clone()).to_string();
        let cut: String = shown.chars().take(600).collect();
        write!(f, "{} {cut}", self.name)
    }
}

/// Names by packet type (2.1.2).
const NAMES: [&str; 16] = [
    "RESERVED",
    "CONNECT",
    "CONNACK",
    "PUBLISH",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBSCRIBE",
    "SUBACK",
    "UNSUBSCRIBE",
    "UNSUBACK",
    "PINGREQ",
    "PINGRESP",
    "DISCONNECT",
    "AUTH",
];

/// The codes that each packet of a server may carry (2.4 and the tables of chapter 3).
fn codes(name: &str, version: Version) -> &'static [u8] {
    match (name, version) {
        ("CONNACK", Version::V311) => &[0, 1, 2, 3, 4, 5],
        ("CONNACK", Version::V5) => &[
            0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
            0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
        ],
        ("PUBACK" | "PUBREC", _) => &[0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        ("PUBREL" | "PUBCOMP", _) => &[0, 0x92],
        ("SUBACK", Version::V311) => &[0, 1, 2, 0x80],
        ("SUBACK", Version::V5) => &[0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2],
        ("UNSUBACK", Version::V5) => &[0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91],
        ("DISCONNECT", Version::V5) => &[
            0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96,
            0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
        ],
        ("AUTH", Version::V5) => &[0, 0x18],
        _ => &[],
    }
}

/// The fixed header's first byte of a packet that is no PUBLISH.
fn first_byte(name: &str) -> u8 {
    let kind = NAMES.iter().position(|known| *known == name);
    let kind = u8::try_from(kind.unwrap_or_else(|| panic!("no packet {name}"))).unwrap();
    let flags = u8::from(matches!(name, "PUBREL" | "SUBSCRIBE" | "UNSUBSCRIBE")) << 1;
    kind << 4 | flags
}

/// Whether a key of a step names a packet.
pub(crate) fn is_name(key: &str) -> bool {
    NAMES.contains(&key)
}

impl Packet {
    pub(crate) fn new(name: &str, fields: &Value) -> Self {
        Self {
            name: name.to_owned(),
            fields: fields
                .as_object()
                .unwrap_or_else(|| panic!("no fields: {fields}"))
                .clone(),
        }
    }

    fn flag(&self, name: &str) -> bool {
        self.fields
            .get(name)
            .is_some_and(|value| value.as_bool().unwrap())
    }

    fn byte(&self, name: &str) -> u8 {
        self.fields.get(name).map_or(0, sized)
    }

    fn id(&self) -> [u8; 2] {
        self.fields.get("id").map_or(0, sized::<u16>).to_be_bytes()
    }

    fn properties(&self, version: Version) -> Vec<u8> {
        match version {
            Version::V311 => Vec::new(),
            Version::V5 => property::encode(self.fields.get("properties")),
        }
    }

    /// Its bytes. What the version has no room for is left out.
    pub(crate) fn encode(&self, version: Version) -> Vec<u8> {
        let mut body = Vec::new();
        let mut first = self
            .fields
            .get("first")
            .map_or_else(|| first_byte(&self.name), sized);
        match self.name.as_str() {
            "CONNECT" => body = self.connect(version),
            "PUBLISH" => {
                first |=
                    u8::from(self.flag("dup")) << 3 | self.byte("qos") << 1 | u8::from(self.flag("retain"));
                body.extend(counted(&self.fields.get("topic").map_or(Vec::new(), bytes)));
                if self.byte("qos") > 0 {
                    body.extend(self.id());
                }
                body.extend(self.properties(version));
                body.extend(self.fields.get("payload").map_or(Vec::new(), bytes));
            }
            "PUBACK" | "PUBREC" | "PUBREL" | "PUBCOMP" => {
                body.extend(self.id());
                body.extend(self.code_and_properties(version));
            }
            "SUBSCRIBE" | "UNSUBSCRIBE" => {
                body.extend(self.id());
                body.extend(self.properties(version));
                for filter in self.fields["filters"].as_array().unwrap() {
                    body.extend(self.filter(filter));
                }
            }
            "DISCONNECT" => body = self.code_and_properties(version),
            "AUTH" => body = self.code_and_properties(Version::V5),
            "PINGREQ" | "PINGRESP" => {}
            _ => panic!("write {} as bytes", self.name),
        }
        framed(first, &body)
    }

    /// A reason code and properties, left out where both are empty.
    fn code_and_properties(&self, version: Version) -> Vec<u8> {
        if version == Version::V311 || (self.byte("code") == 0 && !self.fields.contains_key("properties")) {
            return Vec::new();
        }
        let mut body = vec![self.byte("code")];
        if self.fields.contains_key("properties") {
            body.extend(self.properties(version));
        }
        body
    }

    fn filter(&self, filter: &Value) -> Vec<u8> {
        let is_object = filter
            .as_object()
            .is_some_and(|fields| fields.contains_key("filter"));
        let name = if is_object { &filter["filter"] } else { filter };
        let mut body = counted(&bytes(name));
        if self.name == "SUBSCRIBE" {
            let field = |name: &str| filter.get(name).filter(|_| is_object).map_or(0, sized::<u8>);
            let options = field("qos")
                | field("no_local") << 2
                | field("retain_as_published") << 3
                | field("retain_handling") << 4;
            body.push(options | field("options"));
        }
        body
    }

    /// 3.1
    fn connect(&self, version: Version) -> Vec<u8> {
        let protocol = self
            .fields
            .get("protocol")
            .map_or_else(|| b"MQTT".to_vec(), bytes);
        let given = |name: &str| self.fields.get(name).filter(|value| !value.is_null()).map(bytes);
        let will = self.fields.get("will");
        let mut flags = u8::from(given("user").is_some()) << 7
            | u8::from(given("password").is_some()) << 6
            | u8::from(
                self.fields
                    .get("clean")
                    .is_none_or(|clean| clean.as_bool().unwrap()),
            ) << 1;
        if let Some(will) = will {
            let field = |name: &str| will.get(name).map_or(0, sized::<u8>);
            flags |= field("retain") << 5 | field("qos") << 3 | 1 << 2;
        }
        let mut body = counted(&protocol);
        body.push(self.fields.get("level").map_or_else(|| version.level(), sized));
        body.push(self.fields.get("flags").map_or(flags, sized));
        body.extend(
            self.fields
                .get("keep_alive")
                .map_or(0, sized::<u16>)
                .to_be_bytes(),
        );
        body.extend(self.properties(version));
        body.extend(counted(&bytes(&self.fields["client_id"])));
        if let Some(will) = will {
            if version == Version::V5 {
                body.extend(property::encode(will.get("properties")));
            }
            body.extend(counted(&bytes(&will["topic"])));
            body.extend(counted(&will.get("payload").map_or(Vec::new(), bytes)));
        }
        for text in [given("user"), given("password")].into_iter().flatten() {
            body.extend(counted(&text));
        }
        body
    }
}

/// Takes the first packet off the front of what a server sent; `None` if it is not there yet.
pub(crate) fn decode(inbox: &mut Vec<u8>, version: Version) -> Result<Option<Packet>, String> {
    let mut reader = Reader::new(inbox);
    let Ok(first) = reader.byte() else { return Ok(None) };
    let length = match reader.variable() {
        Ok(length) => length,
        Err(error) if error == "cut short" => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(body) = reader.take(length) else {
        return Ok(None);
    };
    let packet =
        decoded(first, body, version).map_err(|error| format!("{error}: {first:02x} {}", shown(body)))?;
    let rest = reader.rest().to_vec();
    *inbox = rest;
    Ok(Some(packet))
}

fn decoded(first: u8, body: &[u8], version: Version) -> Result<Packet, String> {
    let name = NAMES[usize::from(first >> 4)];
    if name != "PUBLISH" && first != first_byte(name) {
        return Err(format!("reserved flags of {name}"));
    }
    let mut reader = Reader::new(body);
    let mut properties = Map::new();
    let mut block = |reader: &mut Reader<'_>| -> Result<(), String> {
        if version == Version::V5 {
            properties = property::decode(reader, name)?;
        }
        Ok(())
    };
    let mut fields = match name {
        "CONNACK" => {
            let (flags, code) = (reader.byte()?, reader.byte()?);
            if flags > 1 {
                return Err("reserved acknowledge flags".to_owned());
            }
            block(&mut reader)?;
            json!({"session_present": flags == 1, "code": code})
        }
        "PUBLISH" => {
            let topic = reader.text()?;
            let qos = first >> 1 & 3;
            let id = if qos > 0 {
                json!(reader.two()?)
            } else {
                Value::Null
            };
            block(&mut reader)?;
            let payload = shown(reader.rest());
            let (dup, retain) = (first & 8 != 0, first & 1 != 0);
            json!({"topic": topic, "qos": qos, "dup": dup, "retain": retain, "id": id, "payload": payload})
        }
        "PUBACK" | "PUBREC" | "PUBREL" | "PUBCOMP" | "DISCONNECT" | "AUTH" => {
            let id = match name {
                "DISCONNECT" | "AUTH" => Value::Null,
                _ => json!(reader.two()?),
            };
            let has_code = version == Version::V5 && !reader.is_empty();
            let code = if has_code { reader.byte()? } else { 0 };
            if !reader.is_empty() {
                block(&mut reader)?;
            }
            json!({"id": id, "code": code})
        }
        "SUBACK" | "UNSUBACK" => {
            let id = reader.two()?;
            block(&mut reader)?;
            json!({"id": id, "codes": reader.rest()})
        }
        "PINGRESP" => json!({}),
        _ => return Err(format!("a server sends no {name}")),
    };
    if !reader.is_empty() {
        return Err(format!("bytes after the last field of {name}"));
    }
    let id = fields.get("id").filter(|id| !id.is_null()).map(number);
    if id == Some(0) {
        return Err(format!("{name} with packet identifier 0"));
    }
    let known = codes(name, version);
    let list = fields
        .get("codes")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if let Some(code) = fields
        .get("code")
        .into_iter()
        .chain(list)
        .find(|code| !known.contains(&sized(code)))
    {
        return Err(format!("{name} with the code {code}"));
    }
    fields["properties"] = Value::Object(properties);
    Ok(Packet::new(name, &fields))
}
