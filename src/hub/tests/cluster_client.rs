//! A client of the daemon that crashes: what it remembers beyond its connections, and what it has heard.

use std::collections::{BTreeSet, VecDeque};

use crate::codec::Decode;
use crate::codec::mqtt::packet::{
    Ack, Connect, Filter, Filters, Packet, PacketId, Publish, QoS, Subscribe, Version, Will,
};
use crate::codec::mqtt::property::{Properties, Property};
use crate::codec::mqtt::{Context, Direction, decode};

/// How a client comes.
#[derive(Clone, Debug)]
pub(super) struct Login {
    /// Clean Start.
    pub(super) clean: bool,
    /// Session Expiry Interval, in seconds.
    pub(super) expiry_s: u32,
    /// Topic, payload and QoS.
    pub(super) will: Option<(String, String, QoS)>,
    /// Its will is to be retained.
    pub(super) retains_will: bool,
    /// How long its will waits for it to come back, in seconds.
    pub(super) delay_s: u32,
}

impl Login {
    pub(super) const LASTING: Self = Self {
        clean: false,
        expiry_s: u32::MAX,
        will: None,
        retains_will: false,
        delay_s: 0,
    };
    pub(super) const PASSING: Self = Self {
        clean: true,
        expiry_s: 0,
        will: None,
        retains_will: false,
        delay_s: 0,
    };
}

/// A message of its own that it has not been told the end of.
#[derive(Debug)]
struct Sent {
    id: u16,
    qos: QoS,
    topic: String,
    payload: String,
    retain: bool,
    /// PUBREC has come.
    received: bool,
}

#[derive(Debug)]
pub(super) struct Client {
    number: usize,
    pub(super) login: Login,
    connection: Option<(usize, u32)>,
    pub(super) attached: bool,
    /// Session Present, when it came in last.
    pub(super) resumed: bool,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    last_id: u16,
    sent: VecDeque<Sent>,
    /// QoS 2 messages whose PUBREL is to come.
    taken: BTreeSet<u16>,
    filters: Vec<(String, QoS)>,
    /// Payloads and their QoS, without what it knows to be repeated.
    pub(super) heard: Vec<(String, QoS)>,
    /// Codes of PUBACK and PUBREC.
    pub(super) codes: Vec<u8>,
    /// Payloads that one of them said yes to.
    pub(super) acknowledged: Vec<String>,
}

const VERSION: Version = Version::V5;

impl Client {
    pub(super) fn new(number: usize, login: Login) -> Self {
        Self {
            number,
            login,
            connection: None,
            attached: false,
            resumed: false,
            inbox: Vec::new(),
            outbox: Vec::new(),
            last_id: 0,
            sent: VecDeque::new(),
            taken: BTreeSet::new(),
            filters: Vec::new(),
            heard: Vec::new(),
            codes: Vec::new(),
            acknowledged: Vec::new(),
        }
    }

    fn account(&self) -> String {
        format!("etest-{:024x}-user", self.number + 1)
    }

    pub(super) fn address(&self) -> String {
        format!("{}/r", self.account())
    }

    pub(super) fn connection(&self) -> Option<(usize, u32)> {
        self.connection
    }

    pub(super) fn lost(&mut self) {
        self.connection = None;
        self.attached = false;
        self.inbox.clear();
        self.outbox.clear();
    }

    /// It has been told what became of all it asked.
    pub(super) fn is_quiet(&self) -> bool {
        self.sent.is_empty()
    }

    /// Times it has heard a text.
    pub(super) fn times(&self, text: &str) -> usize {
        self.heard.iter().filter(|(heard, _)| heard == text).count()
    }

    fn say(&mut self, packet: &Packet<'_>) {
        packet.encode_into(VERSION, &mut self.outbox);
    }

    pub(super) fn connects(&mut self, shard: usize, conn: u32) {
        self.lost();
        self.connection = Some((shard, conn));
        let (account, login) = (self.account(), self.login.clone());
        let delay = [Property::WillDelayInterval(login.delay_s)];
        let will = login.will.as_ref().map(|(topic, payload, qos)| Will {
            topic,
            payload: payload.as_bytes(),
            qos: *qos,
            retain: login.retains_will,
            properties: Properties::list(&delay),
        });
        self.say(&Packet::Connect(Connect {
            version: VERSION,
            clean: login.clean,
            keep_alive_s: 0,
            properties: Properties::list(&[Property::SessionExpiryInterval(login.expiry_s)]),
            client_id: "r",
            will,
            user_name: Some(&account),
            password: Some(b"secret"),
        }));
    }

    pub(super) fn subscribes(&mut self, filter: &str, qos: QoS) {
        self.filters.push((filter.to_owned(), qos));
        if self.attached {
            self.subscribe(filter, qos);
        }
    }

    pub(super) fn forgets_filters(&mut self) {
        self.filters.clear();
    }

    fn subscribe(&mut self, filter: &str, qos: QoS) {
        let filter = Filter {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        };
        self.say(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::MAX,
            properties: Properties::EMPTY,
            filters: Filters::list(&[filter]),
        }));
    }

    pub(super) fn publishes(&mut self, topic: &str, payload: &str, qos: QoS) {
        self.publishes_as(topic, payload, qos, false);
    }

    /// The same of a message that is to be retained.
    pub(super) fn retains(&mut self, topic: &str, payload: &str, qos: QoS) {
        self.publishes_as(topic, payload, qos, true);
    }

    fn publishes_as(&mut self, topic: &str, payload: &str, qos: QoS, retain: bool) {
        self.last_id += 1;
        self.sent.push_back(Sent {
            id: self.last_id,
            qos,
            topic: topic.to_owned(),
            payload: payload.to_owned(),
            retain,
            received: false,
        });
        if self.attached {
            self.send(self.sent.len() - 1, false);
        }
        // Nobody is told what becomes of it.
        self.sent.pop_back_if(|sent| sent.qos == QoS::AtMostOnce);
    }

    fn send(&mut self, at: usize, dup: bool) {
        let mut bytes = Vec::new();
        let sent = &self.sent[at];
        Packet::Publish(Publish {
            dup,
            qos: sent.qos,
            retain: sent.retain,
            topic: &sent.topic,
            packet_id: PacketId::new(sent.id).filter(|_| sent.qos != QoS::AtMostOnce),
            properties: Properties::EMPTY,
            payload: sent.payload.as_bytes(),
        })
        .encode_into(VERSION, &mut bytes);
        self.outbox.extend(bytes);
    }

    /// What it has to say; [`Self::said`] tells how much of it was taken.
    pub(super) fn says(&self) -> Vec<u8> {
        self.outbox.clone()
    }

    pub(super) fn said(&mut self, bytes: usize) {
        self.outbox.drain(..bytes.min(self.outbox.len()));
    }

    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        let inbox = std::mem::take(&mut self.inbox);
        let mut rest = &inbox[..];
        let context = Context {
            version: Some(VERSION),
            packet_bytes_max: usize::MAX,
            direction: Direction::ToClient,
        };
        while let Ok(Decode::Frame { frame, len }) = decode(rest, context) {
            self.packet(&frame);
            rest = &rest[len..];
        }
        self.inbox = rest.to_vec();
    }

    fn packet(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::ConnAck(connack) => {
                assert_eq!(connack.code, 0);
                self.came_in(connack.session_present);
            }
            Packet::Publish(publish) => self.message(publish),
            Packet::PubRel(ack) => {
                self.taken.remove(&ack.packet_id.get());
                self.say(&Packet::PubComp(answer(ack.packet_id)));
            }
            Packet::PubAck(ack) => self.acknowledged(ack, true),
            Packet::PubRec(ack) => {
                self.acknowledged(ack, ack.code >= 0x80);
                if ack.code < 0x80 {
                    self.say(&Packet::PubRel(answer(ack.packet_id)));
                }
            }
            Packet::PubComp(ack) => self.sent.retain(|sent| sent.id != ack.packet_id.get()),
            _ => {}
        }
    }

    fn came_in(&mut self, present: bool) {
        (self.attached, self.resumed) = (true, present);
        if !present {
            self.taken.clear();
            self.sent.retain(|sent| !sent.received);
            for (filter, qos) in self.filters.clone() {
                self.subscribe(&filter, qos);
            }
        }
        for at in 0..self.sent.len() {
            if self.sent[at].received {
                let id = PacketId::new(self.sent[at].id).unwrap();
                self.say(&Packet::PubRel(answer(id)));
            } else {
                self.send(at, true);
            }
        }
    }

    fn message(&mut self, publish: &Publish<'_>) {
        let text = String::from_utf8(publish.payload.to_vec()).unwrap();
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => self.say(&Packet::PubAck(answer(id))),
            (QoS::ExactlyOnce, Some(id)) => {
                self.say(&Packet::PubRec(answer(id)));
                if !self.taken.insert(id.get()) {
                    return;
                }
            }
            _ => {}
        }
        self.heard.push((text, publish.qos));
    }

    fn acknowledged(&mut self, ack: &Ack<'_>, is_over: bool) {
        self.codes.push(ack.code);
        let id = ack.packet_id.get();
        let said_yes = |sent: &&Sent| sent.id == id && ack.code < 0x80;
        if let Some(sent) = self.sent.iter().find(said_yes) {
            self.acknowledged.push(sent.payload.clone());
        }
        if is_over {
            self.sent.retain(|sent| sent.id != id);
        } else if let Some(sent) = self.sent.iter_mut().find(|sent| sent.id == id) {
            sent.received = true;
        }
    }
}

fn answer(packet_id: PacketId) -> Ack<'static> {
    Ack {
        packet_id,
        code: 0,
        properties: Properties::EMPTY,
    }
}
