//! A simulated client's MQTT, 3.1.1 or 5.0.

use nexus::codec::Decode;
use nexus::codec::mqtt::packet::{
    Ack, Connect, Disconnect, Filter, Filters, Names, Packet, PacketId, Publish, QoS, Subscribe, Unsubscribe,
    Version,
};
use nexus::codec::mqtt::property::Properties;
use nexus::codec::mqtt::{Context, Direction, decode};
use rand::Rng;
use rand::rngs::StdRng;

use crate::words::{DECLINED, Deed, Hearing, Persona, Subject, Word};

/// One connection's state.
#[derive(Debug)]
pub(crate) struct Mqtt {
    version: Version,
    inbox: Vec<u8>,
    packet_id: u16,
}

impl Mqtt {
    /// The client and its CONNECT.
    pub(crate) fn connect(persona: Persona, random: &mut StdRng) -> (Self, Vec<u8>) {
        let version = if random.random_bool(0.5) {
            Version::V311
        } else {
            Version::V5
        };
        let client = Self {
            version,
            inbox: Vec::new(),
            packet_id: 0,
        };
        let connect = client.encoded(&Packet::Connect(Connect {
            version,
            clean: true,
            keep_alive_s: 0,
            properties: Properties::default(),
            client_id: persona.resource,
            will: None,
            user_name: Some(persona.account),
            password: Some(b"secret"),
        }));
        (client, connect)
    }

    fn encoded(&self, packet: &Packet<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(packet.encoded_len(self.version));
        packet.encode_into(self.version, &mut bytes);
        bytes
    }

    fn next_id(&mut self) -> PacketId {
        self.packet_id = self.packet_id % 60_000 + 1;
        PacketId::new(self.packet_id).unwrap()
    }

    /// A deed in bytes, and the mark by which its completion will be known.
    pub(crate) fn say(&mut self, deed: &Deed<'_>, random: &mut StdRng) -> (Vec<u8>, Option<u64>) {
        let bytes = match *deed {
            Deed::Want(subject, wanted) => {
                let packet_id = self.next_id();
                let bytes = self.want(packet_id, subject, wanted, random);
                return (bytes, Some(packet_id.get().into()));
            }
            Deed::Publish { channel, text } => self.publish(channel, text, random),
            Deed::Direct { app, resource, text } => {
                self.publish(&format!("$nexus/direct/{app}/{resource}"), text, random)
            }
            Deed::Call { id, cmd, body } => {
                self.publish(&format!("$nexus/call/{id}/etest/{cmd}"), body, random)
            }
            Deed::Answer { token, body } => self.publish(&format!("$nexus/answer/{token}"), body, random),
            Deed::Decline { token } => {
                let body = format!("{{\"code\":{DECLINED},\"error\":\"no\"}}");
                self.publish(&format!("$nexus/answer/{token}"), &body, random)
            }
            Deed::Message { .. } => panic!("MQTT has no word for {deed:?}"),
            Deed::Leave => self.encoded(&Packet::Disconnect(Disconnect {
                code: 0,
                properties: Properties::default(),
            })),
        };
        (bytes, None)
    }

    fn want(&self, packet_id: PacketId, subject: Subject, wanted: bool, random: &mut StdRng) -> Vec<u8> {
        let name = match subject {
            Subject::Channel(filter) => format!("$nexus/channel/+/+/+/+/{filter}"),
            Subject::Listen(cmd) => format!("$nexus/listen/{cmd}/#"),
            Subject::Account => "$nexus/direct/#".to_owned(),
        };
        let properties = Properties::default();
        if wanted {
            let entry = Filter {
                filter: &name,
                qos: qos(random),
                no_local: false,
                retain_as_published: false,
                retain_handling: 0,
            };
            let filters = Filters::list(std::slice::from_ref(&entry));
            return self.encoded(&Packet::Subscribe(Subscribe {
                packet_id,
                properties,
                filters,
            }));
        }
        let names = [name.as_str()];
        let filters = Names::list(&names);
        self.encoded(&Packet::Unsubscribe(Unsubscribe {
            packet_id,
            properties,
            filters,
        }))
    }

    fn publish(&mut self, topic: &str, payload: &str, random: &mut StdRng) -> Vec<u8> {
        let qos = qos(random);
        let packet_id = (qos == QoS::AtLeastOnce).then(|| self.next_id());
        self.encoded(&Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_id,
            properties: Properties::default(),
            payload: payload.as_bytes(),
        }))
    }

    /// Bytes from the server.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Hearing {
        self.inbox.extend_from_slice(bytes);
        let inbox = std::mem::take(&mut self.inbox);
        let context = Context {
            version: Some(self.version),
            packet_bytes_max: 1 << 20,
            direction: Direction::ToClient,
        };
        let mut hearing = Hearing::default();
        let mut rest = inbox.as_slice();
        while !rest.is_empty()
            && let Decode::Frame { frame, len } =
                decode(rest, context).expect("the server's packets are well-formed")
        {
            rest = &rest[len..];
            self.packet(&frame, &mut hearing);
        }
        self.inbox = rest.to_vec();
        hearing
    }

    fn packet(&self, packet: &Packet<'_>, hearing: &mut Hearing) {
        match packet {
            Packet::ConnAck(ack) if ack.code == 0 => hearing.words.push(Word::Attached),
            Packet::SubAck(ack) | Packet::UnsubAck(ack) => hearing.words.push(Word::Done {
                mark: ack.packet_id.get().into(),
                granted: ack.codes.iter().all(|code| *code < 0x80),
            }),
            Packet::Publish(publish) => {
                if let Some(packet_id) = publish.packet_id {
                    hearing.answer.extend(self.encoded(&Packet::PubAck(Ack {
                        packet_id,
                        code: 0,
                        properties: Properties::default(),
                    })));
                }
                hearing.words.push(word(publish));
            }
            _ => {}
        }
    }
}

fn qos(random: &mut StdRng) -> QoS {
    if random.random_bool(0.5) {
        QoS::AtLeastOnce
    } else {
        QoS::AtMostOnce
    }
}

/// What a delivered PUBLISH means.
fn word(publish: &Publish<'_>) -> Word {
    let text = std::str::from_utf8(publish.payload).unwrap().to_owned();
    let levels: Vec<&str> = publish.topic.split('/').collect();
    match levels[..] {
        ["$nexus", "reply", id] => {
            let body: serde_json::Value = serde_json::from_str(&text).unwrap();
            Word::Reply {
                id: id.parse().unwrap(),
                code: body["code"].as_i64().unwrap(),
                body: text,
                from: worker(publish),
            }
        }
        ["$nexus", "listen", cmd, token, app, uid, role, resource] => Word::Request {
            cmd: cmd.to_owned(),
            token: token.to_owned(),
            from: format!("{app}/{uid}/{role}/{resource}"),
            body: text,
        },
        ["$nexus", "direct", app, uid, role, resource] => Word::Direct {
            from: format!("{app}/{uid}/{role}/{resource}"),
            text,
        },
        ["$nexus", "channel", app, uid, role, resource, ..] => Word::Channel {
            from: format!("{app}/{uid}/{role}/{resource}"),
            channel: levels[6..].join("/"),
            text,
        },
        _ => panic!("unexpected topic {}", publish.topic),
    }
}

/// The sender in the user properties of 5.0.
fn worker(publish: &Publish<'_>) -> Option<String> {
    let names = ["nexus-app", "nexus-uid", "nexus-role", "nexus-resource"];
    let parts: Vec<&str> = names
        .iter()
        .filter_map(|name| {
            let mut properties = publish.properties.user_properties();
            properties.find_map(|(known, value)| (known == *name).then_some(value))
        })
        .collect();
    assert!(parts.is_empty() || parts.len() == names.len(), "half a sender");
    (!parts.is_empty()).then(|| parts.join("/"))
}
