//! One client: what it remembers beyond its connections (4.1), and what it says when it is back (4.4).

use std::collections::VecDeque;

use super::judge::Mark;
use super::wire::{self, Publish};

/// Who it is, and in which version.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) version: u8,
    pub(crate) account: String,
    pub(crate) secret: String,
    pub(crate) resource: String,
    /// Topic and payload.
    pub(crate) will: Option<(String, String)>,
}

/// A message of its own that is not acknowledged.
#[derive(Debug)]
struct Sent {
    mark: Mark,
    packet: Publish,
    /// PUBREC has come, PUBCOMP has not.
    received: bool,
}

/// What it heard.
#[derive(Debug)]
pub(crate) enum Heard {
    /// CONNACK: logged in.
    Attached,
    /// CONNACK: refused; the connection is closed.
    Refused(u8),
    /// SUBACK for the filter.
    Subscribed(String),
    /// PUBACK or PUBREC, with its code.
    Acknowledged(Mark, u8),
    /// A message, its topic, and whether it is one that is retained.
    Message {
        text: String,
        topic: String,
        qos: u8,
        dup: bool,
        retain: bool,
    },
}

/// A client whose session outlives its connections.
#[derive(Debug)]
pub(crate) struct Client {
    login: Login,
    inbox: Vec<u8>,
    attached: bool,
    /// The daemon has acknowledged something that belongs to the session.
    is_kept: bool,
    /// It is to begin anew, and has not been told that it did.
    anew: bool,
    /// The session that it was told of last ends with its connection: in 3.1.1, one that it began anew.
    passing: bool,
    /// It has not asked for another one since: none can be there when it does.
    has_none: bool,
    /// So it will be told now.
    is_told_none: bool,
    last_id: u16,
    unanswered: VecDeque<Sent>,
    /// QoS 2 messages of the daemon whose PUBREL is to come, in the order of PUBREC.
    taken: VecDeque<u16>,
    /// Filters that are not acknowledged, with the identifier of the SUBSCRIBE on this connection.
    asked: Vec<(String, u8, u16)>,
}

/// Identifiers are used again soon.
const IDS: u16 = 24;

impl Client {
    pub(crate) fn new(login: Login) -> Self {
        Self {
            login,
            inbox: Vec::new(),
            attached: false,
            is_kept: false,
            anew: false,
            passing: false,
            has_none: false,
            is_told_none: false,
            last_id: 0,
            unanswered: VecDeque::new(),
            taken: VecDeque::new(),
            asked: Vec::new(),
        }
    }

    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.attached
    }

    /// Whether it has asked to begin anew, and has not been told that it did.
    pub(crate) fn is_beginning_anew(&self) -> bool {
        self.anew
    }

    /// Whether its session ends with its connection, or ended with it.
    pub(crate) fn is_passing(&self) -> bool {
        self.passing
    }

    /// The will of the connections that follow.
    pub(crate) fn wills(&mut self, topic: &str, text: &str) {
        self.login.will = Some((topic.to_owned(), text.to_owned()));
    }

    /// Messages that are not done with.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// Whether nothing is owed in either direction, as far as it knows.
    pub(crate) fn is_quiet(&self) -> bool {
        self.attached && self.unanswered.is_empty() && self.taken.is_empty() && self.asked.is_empty()
    }

    /// Its CONNECT, for a connection in place of any earlier one. `clean` gives up what was there.
    pub(crate) fn connect(&mut self, clean: bool) -> Vec<u8> {
        self.lost();
        self.is_told_none = std::mem::take(&mut self.has_none);
        if clean {
            self.anew = true;
            self.is_kept = false;
            self.asked.clear();
        }
        let Login {
            version,
            account,
            secret,
            resource,
            will,
        } = &self.login;
        let will = will
            .as_ref()
            .map(|(topic, payload)| (topic.as_str(), payload.as_str()));
        wire::connect(*version, [account, secret, resource], self.anew, will)
    }

    /// The connection is gone.
    pub(crate) fn lost(&mut self) {
        self.attached = false;
        self.inbox.clear();
    }

    /// A filter to subscribe to; said now, if it is attached, and until it is acknowledged.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) -> Vec<u8> {
        let id = self.next_id();
        self.asked.push((filter.to_owned(), qos, id));
        if !self.attached {
            return Vec::new();
        }
        wire::subscribe(self.login.version, id, filter, qos)
    }

    /// A message; said now, if it is attached, and one of QoS 1 or 2 until it is acknowledged.
    pub(crate) fn publish(&mut self, mark: Mark, topic: &str, qos: u8, retain: bool, text: &str) -> Vec<u8> {
        let packet = Publish {
            dup: false,
            qos,
            retain,
            topic: topic.to_owned(),
            id: if qos == 0 { 0 } else { self.next_id() },
            payload: text.to_owned(),
        };
        let bytes = wire::publish(self.login.version, &packet);
        if qos > 0 {
            self.unanswered.push_back(Sent {
                mark,
                packet,
                received: false,
            });
        }
        if self.attached { bytes } else { Vec::new() }
    }

    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % IDS + 1;
            let id = self.last_id;
            let is_free = self.unanswered.iter().all(|sent| sent.packet.id != id)
                && self.asked.iter().all(|asked| asked.2 != id);
            if is_free {
                return id;
            }
        }
    }

    /// Bytes from the daemon; what it says to them at once.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> (Vec<Heard>, Vec<u8>) {
        self.inbox.extend_from_slice(bytes);
        let (mut heard, mut answer) = (Vec::new(), Vec::new());
        while let Some(packet) = wire::next(&mut self.inbox) {
            self.packet(&packet, &mut heard, &mut answer);
        }
        (heard, answer)
    }

    fn packet(&mut self, packet: &wire::Packet, heard: &mut Vec<Heard>, answer: &mut Vec<u8>) {
        match packet.first & 0xF0 {
            0x20 if packet.body[1] != 0 => heard.push(Heard::Refused(packet.body[1])),
            0x20 => {
                self.came_in(packet.body[0] & 1 != 0, answer);
                heard.push(Heard::Attached);
            }
            0x30 => self.message(packet, heard, answer),
            0x40 | 0x50 => self.acknowledged(packet, heard, answer),
            0x60 => {
                let (id, _) = wire::answered(packet);
                if let Some(at) = self.taken.iter().position(|taken| *taken == id) {
                    assert_eq!(at, 0, "[MQTT-4.6.0-4] PUBREL {id} of {:?}", self.taken);
                    self.taken.pop_front();
                }
                answer.extend(wire::ack(0x70, id));
            }
            0x70 => {
                let (id, code) = wire::answered(packet);
                let at = self
                    .unanswered
                    .iter()
                    .position(|sent| sent.received && sent.packet.id == id);
                let at = at.unwrap_or_else(|| panic!("{self:?} got PUBCOMP {id} ({code:#x}) for nothing"));
                self.unanswered.remove(at);
            }
            0x90 => {
                let (id, code) = wire::answered(packet);
                let at = self.asked.iter().position(|asked| asked.2 == id);
                let at = at.unwrap_or_else(|| panic!("{self:?} got SUBACK {id} for nothing"));
                let (filter, qos, _) = self.asked.remove(at);
                assert_eq!(code, qos, "the code of SUBACK for {filter}");
                self.is_kept = !self.passing;
                heard.push(Heard::Subscribed(filter));
            }
            0xD0 | 0xE0 => {}
            _ => panic!("{self:?} got {packet:?}"),
        }
    }

    /// CONNACK: goes on where it stopped, or begins anew.
    fn came_in(&mut self, present: bool, answer: &mut Vec<u8>) {
        assert!(!self.attached, "a second CONNACK");
        assert!(!(self.anew && present), "[MQTT-3.2.2-2] {self:?}");
        assert!(!(self.is_told_none && present), "[MQTT-3.1.2-4] {self:?}");
        assert!(
            present || self.anew || !self.is_kept,
            "the session of {} is lost",
            self.login.resource
        );
        self.attached = true;
        self.passing = self.anew && self.login.version == 4;
        self.has_none = self.passing;
        self.anew = false;
        self.is_kept &= present;
        let version = self.login.version;
        if !present {
            self.taken.clear();
            self.unanswered.retain(|sent| !sent.received);
        }
        for sent in &mut self.unanswered {
            if sent.received {
                answer.extend(wire::ack(0x62, sent.packet.id));
            } else {
                sent.packet.dup = present;
                answer.extend(wire::publish(version, &sent.packet));
            }
        }
        for (filter, qos, id) in &self.asked {
            answer.extend(wire::subscribe(version, *id, filter, *qos));
        }
    }

    fn acknowledged(&mut self, packet: &wire::Packet, heard: &mut Vec<Heard>, answer: &mut Vec<u8>) {
        let exactly_once = packet.first & 0xF0 == 0x50;
        let (id, code) = wire::answered(packet);
        let at = self.unanswered.iter().position(|sent| sent.packet.id == id);
        let at = at.unwrap_or_else(|| panic!("{self:?} got {packet:?} for nothing"));
        let sent = &mut self.unanswered[at];
        assert_eq!(exactly_once, sent.packet.qos == 2, "{packet:?} for {sent:?}");
        let first = !sent.received;
        let mark = sent.mark;
        if exactly_once && code < 0x80 {
            sent.received = true;
            self.is_kept = !self.passing;
            answer.extend(wire::ack(0x62, id));
        } else {
            self.unanswered.remove(at);
        }
        if first {
            heard.push(Heard::Acknowledged(mark, code));
        }
    }

    fn message(&mut self, packet: &wire::Packet, heard: &mut Vec<Heard>, answer: &mut Vec<u8>) {
        let publish = wire::published(self.login.version, packet);
        match publish.qos {
            0 => {}
            1 => answer.extend(wire::ack(0x40, publish.id)),
            _ => {
                answer.extend(wire::ack(0x50, publish.id));
                if self.taken.contains(&publish.id) {
                    assert!(publish.dup, "[MQTT-3.3.1-1] {publish:?} is a repetition");
                    return;
                }
                self.taken.push_back(publish.id);
            }
        }
        heard.push(Heard::Message {
            text: publish.payload,
            topic: publish.topic,
            qos: publish.qos,
            dup: publish.dup,
            retain: publish.retain,
        });
    }
}
