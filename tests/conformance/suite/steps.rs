//! What each step does.

use serde_json::{Map, Value, json};

use super::client::{Client, End};
use super::expect::{self, filled};
use super::net::Net;
use super::packet::{Packet, is_name};
use super::play::Stage;
use super::value::{bytes, number, raw, sized, text};
use super::{Version, wire};

/// The keys of a step that name its client.
const VERBS: [&str; 9] = [
    "login",
    "open",
    "send",
    "expect",
    "expect_all",
    "expect_close",
    "expect_nothing",
    "ping",
    "subscribe",
];

/// The user properties that name the sender (PROTOCOL, section 3).
const SENDER: [&str; 4] = ["nexus-app", "nexus-uid", "nexus-role", "nexus-resource"];

type Step = Map<String, Value>;

/// The same packet for each identifier of `each_id`, first and last; else once.
fn repeated(step: &Step, packet: Packet) -> Vec<Packet> {
    let Some(range) = step.get("each_id") else {
        return vec![packet];
    };
    let (first, last) = (number(&range[0]), number(&range[1]));
    let with_id = |id: u64| {
        let mut packet = packet.clone();
        packet.fields.insert("id".to_owned(), json!(id));
        packet
    };
    (first..=last).map(with_id).collect()
}

/// The packet that a step or an item of `packets` names.
fn packet_of(step: &Step) -> Packet {
    let named = step.iter().find(|(key, _)| is_name(key));
    let (name, fields) = named.unwrap_or_else(|| panic!("no packet in {step:?}"));
    Packet::new(name, fields)
}

fn packets_of(step: &Step) -> Vec<Packet> {
    match step.get("packets") {
        Some(packets) => {
            let packets = packets.as_array().unwrap().iter();
            packets
                .map(|packet| packet_of(packet.as_object().unwrap()))
                .collect()
        }
        None => repeated(step, packet_of(step)),
    }
}

fn came(expected: &str, received: &str) -> String {
    format!("  expected: {expected}\n  received: {received}")
}

impl<N: Net> Stage<'_, N> {
    /// Does a step.
    pub(super) fn step(&mut self, step: &Step) -> Result<(), String> {
        if let Some(ms) = step.get("advance_ms") {
            self.net.advance(number(ms));
            return Ok(());
        }
        if let Some(name) = step.get("hang_up") {
            let mut client = self.take(text(name))?;
            client.hang_up(self.net);
            return Ok(());
        }
        let verb = VERBS.iter().find(|verb| step.contains_key(**verb));
        let verb = *verb.unwrap_or_else(|| panic!("no step: {step:?}"));
        let name = text(&step[verb]).to_owned();
        match verb {
            "login" => return self.login(&name, step),
            "open" => return self.open(&name),
            "send" => return self.send(&name, step),
            "subscribe" => return self.subscribe(&name, step),
            "expect_nothing" => {
                let others: Vec<String> = self
                    .clients
                    .keys()
                    .filter(|other| **other != name)
                    .cloned()
                    .collect();
                for other in others {
                    self.drain(&other)?;
                }
                return self.ping(&name);
            }
            "ping" => return self.ping(&name),
            _ => {}
        }
        let mut client = self.take(&name)?;
        let outcome = match verb {
            "expect" => packets_of(step)
                .iter()
                .try_for_each(|packet| self.expect(&mut client, packet)),
            "expect_all" => self.expect_all(&mut client, packets_of(step)),
            _ => self.expect_close(&mut client, step),
        };
        self.clients.insert(name, client);
        outcome
    }

    fn take(&mut self, name: &str) -> Result<Client, String> {
        self.clients
            .remove(name)
            .ok_or_else(|| format!("{name} has no connection"))
    }

    fn open(&mut self, name: &str) -> Result<(), String> {
        let client = Client::open(self.net, self.transport, self.version_of(name));
        match self.clients.insert(name.to_owned(), client) {
            Some(old) if old.ended().is_none() => Err(format!("{name} has a connection already")),
            _ => Ok(()),
        }
    }

    fn login(&mut self, name: &str, step: &Step) -> Result<(), String> {
        let mut fields = step.clone();
        fields.remove("login");
        let present = fields.remove("session_present").unwrap_or(Value::Bool(false));
        self.open(name)?;
        self.send(name, json!({ "CONNECT": fields }).as_object().unwrap())?;
        let mut client = self.take(name)?;
        let connack = Packet::new("CONNACK", &json!({"session_present": present, "properties": "?"}));
        let outcome = self.expect(&mut client, &connack);
        self.clients.insert(name.to_owned(), client);
        outcome
    }

    fn send(&mut self, name: &str, step: &Step) -> Result<(), String> {
        if self
            .clients
            .get(name)
            .is_none_or(|client| client.ended().is_some())
        {
            self.open(name)?;
        }
        if let Some(frame) = step.get("frame") {
            let is_final = frame.get("fin").is_none_or(|fin| fin.as_bool().unwrap());
            let payload = frame.get("bytes").map_or(Vec::new(), |bytes| raw(text(bytes)));
            let client = self.take(name)?;
            client.send_frame(self.net, is_final, text(&frame["opcode"]), &payload);
            self.clients.insert(name.to_owned(), client);
            return Ok(());
        }
        let bytes = if let Some(hex) = step.get("bytes") {
            raw(text(hex))
        } else if let Some(framed) = step.get("framed") {
            wire::framed(raw(text(&framed[0]))[0], &raw(text(&framed[1])))
        } else {
            let packets = packets_of(step);
            packets
                .into_iter()
                .flat_map(|packet| self.encoded(name, packet))
                .collect()
        };
        let frame_bytes_max = step.get("frame_bytes_max").map_or(usize::MAX, sized);
        self.clients[name].send(self.net, &bytes, frame_bytes_max);
        Ok(())
    }

    fn encoded(&mut self, name: &str, mut packet: Packet) -> Vec<u8> {
        let fields = filled(&Value::Object(packet.fields), &self.bindings);
        packet.fields = fields.as_object().unwrap().clone();
        let retains = |fields: &Step| fields.get("retain").is_some_and(|retain| retain == true);
        match packet.name.as_str() {
            "CONNECT" => {
                self.complete_connect(name, &mut packet.fields);
                if let Some(will) = packet
                    .fields
                    .get("will")
                    .and_then(Value::as_object)
                    .filter(|will| retains(will))
                {
                    self.retains = true;
                    self.topics.insert(text(&will["topic"]).to_owned());
                }
            }
            "PUBLISH" => {
                // A retained message may have its topic behind an alias that another one has set.
                self.retains |= retains(&packet.fields);
                let topic = packet.fields.get("topic").map_or(Vec::new(), bytes);
                self.topics.insert(String::from_utf8_lossy(&topic).into_owned());
            }
            _ => {}
        }
        packet.encode(self.version_of(name))
    }

    /// SUBSCRIBE to one filter, and its SUBACK.
    fn subscribe(&mut self, name: &str, step: &Step) -> Result<(), String> {
        const ID: u16 = 0xABCD;
        let mut filter = step.clone();
        let properties = filter.remove("properties").unwrap_or_else(|| json!({}));
        filter.remove("subscribe");
        let qos = filter.get("qos").cloned().unwrap_or_else(|| json!(0));
        let granted = filter.remove("granted").unwrap_or(qos);
        let subscribe = json!({"SUBSCRIBE": {"id": ID, "filters": [filter], "properties": properties}});
        self.send(name, subscribe.as_object().unwrap())?;
        let mut client = self.take(name)?;
        let suback = Packet::new("SUBACK", &json!({"id": ID, "codes": [granted]}));
        let outcome = self.expect(&mut client, &suback);
        self.clients.insert(name.to_owned(), client);
        outcome
    }

    /// What comes before the answer to a PINGREQ is left for later steps.
    fn drain(&mut self, name: &str) -> Result<(), String> {
        if !self.clients[name].is_in || self.clients[name].ended().is_some() {
            return Ok(());
        }
        self.send(name, json!({"PINGREQ": {}}).as_object().unwrap())?;
        let mut client = self.take(name)?;
        let mut before = Vec::new();
        while let Some(packet) = client.next(self.net)? {
            if packet.name == "PINGRESP" {
                break;
            }
            before.push(packet);
        }
        for packet in before.into_iter().rev() {
            client.put_back(packet);
        }
        self.clients.insert(name.to_owned(), client);
        Ok(())
    }

    fn ping(&mut self, name: &str) -> Result<(), String> {
        self.send(name, json!({"PINGREQ": {}}).as_object().unwrap())?;
        let mut client = self.take(name)?;
        let outcome = self.expect(&mut client, &Packet::new("PINGRESP", &json!({})));
        self.clients.insert(name.to_owned(), client);
        outcome
    }

    fn expect(&mut self, client: &mut Client, wanted: &Packet) -> Result<(), String> {
        let came = |received: &str| came(&wanted.to_string(), received);
        let packet = match client.next(self.net) {
            Ok(Some(packet)) => packet,
            Ok(None) => return Err(came("the end of the connection")),
            Err(error) => return Err(came(&error)),
        };
        let shown = packet.to_string();
        if self.is_expected(client.version(), wanted, packet)? {
            client.is_in |=
                wanted.name == "CONNACK" && wanted.fields.get("code").is_none_or(|code| code == 0);
            return Ok(());
        }
        Err(came(&shown))
    }

    fn expect_all(&mut self, client: &mut Client, mut wanted: Vec<Packet>) -> Result<(), String> {
        while !wanted.is_empty() {
            let list = || {
                wanted
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("\n            ")
            };
            let packet = match client.next(self.net) {
                Ok(Some(packet)) => packet,
                Ok(None) => return Err(came(&list(), "the end of the connection")),
                Err(error) => return Err(came(&list(), &error)),
            };
            let mut found = None;
            for (place, pattern) in wanted.iter().enumerate() {
                if self.is_expected(client.version(), pattern, packet.clone())? {
                    found = Some(place);
                    break;
                }
            }
            let Some(place) = found else {
                return Err(came(&list(), &packet.to_string()));
            };
            wanted.remove(place);
        }
        Ok(())
    }

    /// Whether a packet is the one that is wanted, and, if it is a delivery, says truly who sent it.
    fn is_expected(&mut self, version: Version, wanted: &Packet, mut packet: Packet) -> Result<bool, String> {
        let mut pattern = wanted.clone();
        let from = pattern.fields.remove("from");
        // A reply says who gave it, if anybody but the daemon did.
        let is_reply = packet
            .fields
            .get("topic")
            .is_some_and(|topic| text(topic).starts_with("$nexus/reply/"));
        if version == Version::V5 && packet.name == "PUBLISH" && !is_reply {
            let sender = take_sender(&mut packet)?;
            if let Some(from) = from {
                let (account, resource) = &self.addresses[text(&from)];
                let is_true = sender.split_once('/') == Some((account, resource));
                if !is_true {
                    return Ok(false);
                }
            }
        }
        let pattern = expect::pattern(&pattern, version);
        Ok(expect::matches(&pattern, &packet, &mut self.bindings))
    }

    fn expect_close(&mut self, client: &mut Client, step: &Step) -> Result<(), String> {
        let code = step.get("code").filter(|_| client.version() == Version::V5);
        if let Some(code) = code {
            let disconnect = Packet::new("DISCONNECT", &json!({ "code": code }));
            self.expect(client, &disconnect)?;
        }
        let received = match client.next(self.net) {
            Ok(None) => match (step.get("close_code"), client.ended()) {
                (Some(code), Some(End::Closed(closed))) if number(code) == u64::from(closed) => return Ok(()),
                (None, _) => return Ok(()),
                (Some(_), end) => format!("{end:?}"),
            },
            Ok(Some(packet)) => packet.to_string(),
            Err(error) => error,
        };
        Err(came("the end of the connection", &received))
    }
}

/// Takes the user properties that name the sender off a delivery: account and resource.
fn take_sender(packet: &mut Packet) -> Result<String, String> {
    let shown = packet.to_string();
    let properties = packet.fields["properties"].as_object_mut().unwrap();
    let list = properties
        .get_mut("user_properties")
        .and_then(Value::as_array_mut);
    let list = list.ok_or_else(|| format!("a delivery that does not name its sender: {shown}"))?;
    let stamps = list.split_off(list.len().saturating_sub(SENDER.len()));
    if list.is_empty() {
        properties.remove("user_properties");
    }
    let is_stamped = stamps.iter().map(|stamp| &stamp[0]).eq(SENDER.iter());
    if !is_stamped {
        return Err(format!("a delivery that does not end with its sender: {shown}"));
    }
    let part = |place: usize| text(&stamps[place][1]);
    Ok(format!("{}-{}-{}/{}", part(0), part(1), part(2), part(3)))
}
