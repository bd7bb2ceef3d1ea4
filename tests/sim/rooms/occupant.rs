//! A client in rooms: it believes what presences tell it, comes back by resumption or by a new stream, and knows where it
//! should find itself then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::Rng;

use super::ledger::{Heard, Ledger};
use crate::words::Persona;
use crate::world::{Speaks, World};
use crate::xml::{self, Element};
use crate::xmpp::{DOMAINS, HANDSHAKE, TEXT, frame, frames};

const CLIENT: &str = "jabber:client";
const MANAGEMENT: &str = "urn:xmpp:sm:3";
const MUC_USER: &str = "http://jabber.org/protocol/muc#user";

pub(super) const ROOMS: [&str; 3] = ["a", "b", "c"];

/// A room as a client sees it.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Whom it was shown and not shown to have gone, itself among them.
    pub(super) shown: BTreeSet<String>,
    pub(super) is_in: bool,
    /// Joins and leaves that were not answered yet.
    pub(super) asked: VecDeque<bool>,
}

impl View {
    /// Whether it will be in the room once all has been answered.
    pub(super) fn wants(&self) -> bool {
        self.asked.back().copied().unwrap_or(self.is_in)
    }
}

#[derive(Debug)]
pub(super) struct Occupant {
    number: usize,
    persona: Persona,
    domain: &'static str,
    pub(super) conn: Option<usize>,
    inbox: Vec<u8>,
    is_upgraded: bool,
    /// It has its streams managed.
    is_managed: bool,
    pub(super) previd: Option<String>,
    /// It may send: its stream began, or goes on.
    pub(super) is_ready: bool,
    pub(super) is_available: bool,
    handled: u32,
    acked: u32,
    /// What was sent and not acknowledged, with the number of a message.
    unacked: VecDeque<(String, Option<usize>)>,
    pub(super) rooms: BTreeMap<&'static str, View>,
    /// Where it has to find itself without asking.
    pub(super) expected: BTreeSet<&'static str>,
    pub(super) streams: Vec<Heard>,
    /// From when it has heard what came of being available.
    pub(super) put_back_at: u64,
    pub(super) comes_back_at: u64,
    pub(super) has_retired: bool,
    pub(super) resumed: u32,
    pub(super) restored: u32,
}

impl Occupant {
    pub(super) fn new(number: usize, persona: Persona, world: &mut World) -> Self {
        Self {
            number,
            persona,
            domain: DOMAINS[world.random.random_range(0..DOMAINS.len())],
            conn: None,
            inbox: Vec::new(),
            is_upgraded: false,
            is_managed: false,
            previd: None,
            is_ready: false,
            is_available: false,
            handled: 0,
            acked: 0,
            unacked: VecDeque::new(),
            rooms: BTreeMap::new(),
            expected: BTreeSet::new(),
            streams: Vec::new(),
            put_back_at: 0,
            comes_back_at: 0,
            has_retired: false,
            resumed: 0,
            restored: 0,
        }
    }

    /// What it is called in every room.
    pub(super) fn nick(&self) -> String {
        format!("{}-{}", self.persona.account, self.persona.resource)
    }

    fn say(&self, world: &mut World, element: &str) {
        if let Some(conn) = self.conn {
            let bytes = frames(element, &mut world.random);
            world.send(conn, bytes);
        }
    }

    /// A stanza, which is sent again if the stream is resumed before it was acknowledged.
    fn send(&mut self, world: &mut World, stanza: String, message: Option<usize>) {
        self.say(world, &stanza);
        if self.previd.is_some() {
            self.unacked.push_back((stanza, message));
        }
    }

    pub(super) fn connect(&mut self, world: &mut World) {
        let shard = world.random.random_range(0..world.shard_count());
        let conn = world.connect(shard, Speaks::Xmpp);
        (self.conn, self.is_upgraded, self.is_ready) = (Some(conn), false, false);
        self.inbox.clear();
        let open = format!(
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{}' version='1.0'/>",
            self.domain
        );
        let plain = STANDARD.encode(format!("\0{}\0secret", self.persona.account));
        let auth = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>");
        world.send(conn, HANDSHAKE.to_vec());
        for element in [&open, &auth, &open] {
            self.say(world, element);
        }
        match &self.previd {
            Some(previd) => {
                let handled = self.handled;
                let resume = format!("<resume xmlns='{MANAGEMENT}' previd='{previd}' h='{handled}'/>");
                self.say(world, &resume);
            }
            None => {
                self.give_up_stream();
                self.bind(world);
            }
        }
    }

    fn bind(&self, world: &mut World) {
        let resource = self.persona.resource;
        self.say(
            world,
            &format!(
                "<iq xmlns='{CLIENT}' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                 <resource>{resource}</resource></bind></iq>"
            ),
        );
    }

    /// Its connection is gone, and what was on its way with it.
    pub(super) fn lost(&mut self, told_until: u64) {
        if self.is_ready
            && let Some(stream) = self.streams.last_mut()
        {
            stream.sound_until = told_until;
        }
        (self.conn, self.is_ready) = (None, false);
    }

    /// It will not resume its stream: where it was for certain, it will find itself if it comes back soon.
    pub(super) fn give_up_stream(&mut self) {
        self.previd = None;
        self.unacked.clear();
        self.is_available = false;
        for (room, view) in std::mem::take(&mut self.rooms) {
            if view.is_in && view.asked.iter().all(|joins| *joins) {
                self.expected.insert(room);
            }
        }
    }

    pub(super) fn hear(&mut self, world: &mut World, ledger: &mut Ledger, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        let inbox = std::mem::take(&mut self.inbox);
        let mut rest = inbox.as_slice();
        if !self.is_upgraded {
            let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") else {
                self.inbox = inbox;
                return;
            };
            rest = &rest[end + 4..];
            self.is_upgraded = true;
        }
        while let Some((opcode, payload, len)) = frame(rest) {
            if opcode == TEXT {
                let element = xml::parse(std::str::from_utf8(payload).unwrap());
                self.element(world, ledger, &element);
            }
            rest = &rest[len..];
        }
        self.inbox = rest.to_vec();
    }

    fn element(&mut self, world: &mut World, ledger: &mut Ledger, element: &Element) {
        let counts = self.is_ready && element.namespace == CLIENT;
        self.handled = self.handled.wrapping_add(counts.into());
        match (element.namespace.as_str(), element.name.as_str()) {
            (CLIENT, "iq") => self.iq(world, element),
            (CLIENT, "message") => self.message(world, ledger, element),
            (CLIENT, "presence") => self.presence(world.elapsed_ns(), element),
            (MANAGEMENT, "enabled") => {
                self.previd = element.attribute("id").map(str::to_owned);
                (self.handled, self.acked) = (0, 0);
                self.is_ready = true;
            }
            (MANAGEMENT, "resumed") => {
                self.is_ready = true;
                self.resumed += 1;
                self.put_back_at = world.elapsed_ns() + world.settle_ns();
                self.acknowledged(world, ledger, element);
                for (stanza, _) in &self.unacked {
                    self.say(world, stanza);
                }
            }
            (MANAGEMENT, "r") => {
                let answer = format!("<a xmlns='{MANAGEMENT}' h='{}'/>", self.handled);
                self.say(world, &answer);
            }
            (MANAGEMENT, "a") => self.acknowledged(world, ledger, element),
            (MANAGEMENT, "failed") => {
                if element.attribute("h").is_some() {
                    self.acknowledged(world, ledger, element);
                }
                self.give_up_stream();
                self.bind(world);
            }
            _ => {}
        }
    }

    fn acknowledged(&mut self, world: &World, ledger: &mut Ledger, element: &Element) {
        let handled: u32 = element.attribute("h").unwrap().parse().unwrap();
        for (_, message) in self.unacked.drain(..(handled - self.acked) as usize) {
            if let Some(message) = message {
                ledger.is_known(message, world.elapsed_ns());
            }
        }
        self.acked = handled;
    }

    fn iq(&mut self, world: &mut World, iq: &Element) {
        let id = iq.attribute("id").unwrap();
        match iq.attribute("type").unwrap() {
            "get" => {
                let pong = format!("<iq xmlns='{CLIENT}' type='result' id='{id}'/>");
                self.send(world, pong, None);
            }
            "result" if id == "b" => {
                self.streams.push(Heard::default());
                self.is_managed = world.random.random_bool(0.7);
                if self.is_managed {
                    self.say(world, &format!("<enable xmlns='{MANAGEMENT}' resume='true'/>"));
                } else {
                    self.is_ready = true;
                }
            }
            _ => panic!("unexpected {iq:?}"),
        }
    }

    fn message(&mut self, world: &World, ledger: &mut Ledger, message: &Element) {
        assert_eq!(message.attribute("type"), Some("groupchat"), "{message:?}");
        let Some(body) = message.child(CLIENT, "body") else {
            return;
        };
        let (room, nick) = self.occupant_of(message);
        let number = body.text().parse().unwrap();
        let heard = self.streams.last_mut().unwrap();
        let sender = ledger.hear(heard, room, number, world.elapsed_ns());
        let is_shown = self
            .rooms
            .get(room)
            .is_some_and(|view| view.shown.contains(&nick));
        assert!(
            sender == self.number || is_shown,
            "{nick} speaks in {room} before it is shown"
        );
    }

    fn presence(&mut self, now: u64, presence: &Element) {
        let (room, nick) = self.occupant_of(presence);
        let is_available = match presence.attribute("type") {
            None => true,
            Some("unavailable") => false,
            Some(_) => panic!("unexpected {presence:?}"),
        };
        let x = presence.child(MUC_USER, "x").unwrap();
        let is_self = x
            .elements()
            .iter()
            .any(|status| status.attribute("code") == Some("110"));
        assert_eq!(is_self, nick == self.nick(), "{presence:?}");
        let view = self.rooms.entry(room).or_default();
        if is_available {
            view.shown.insert(nick);
        } else {
            view.shown.remove(&nick);
        }
        if !is_self {
            return;
        }
        if view.asked.front() == Some(&is_available) {
            view.asked.pop_front();
        }
        let was_in = std::mem::replace(&mut view.is_in, is_available);
        if !is_available {
            view.shown.clear();
        } else if !was_in {
            self.restored += u32::from(self.expected.remove(room));
            let is_leaving = view.asked.contains(&false);
            self.streams.last_mut().unwrap().enters(room, now, is_leaving);
        }
    }

    /// The room and the nick that a stanza comes from.
    fn occupant_of(&self, stanza: &Element) -> (&'static str, String) {
        let (jid, nick) = stanza.attribute("from").unwrap().split_once('/').unwrap();
        let (room, domain) = jid.split_once("@conference.").unwrap();
        assert_eq!(domain, self.domain, "{stanza:?}");
        let room = ROOMS.into_iter().find(|known| *known == room).unwrap();
        (room, nick.to_owned())
    }

    /// Joins a room, or joins it again, or is in it with another nick or other capabilities.
    pub(super) fn join(&mut self, world: &mut World, room: &'static str) {
        let random = &mut world.random;
        let muc = if random.random_bool(0.5) {
            "<x xmlns='http://jabber.org/protocol/muc'/>"
        } else {
            ""
        };
        let caps = if random.random_bool(0.5) {
            let version = random.random_range(0..1_000);
            format!("<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='{version}'/>")
        } else {
            String::new()
        };
        let nick = if random.random_bool(0.5) { "me" } else { "I" };
        let to = format!("{room}@conference.{}/{nick}", self.domain);
        let join = format!("<presence xmlns='{CLIENT}' to='{to}'>{muc}{caps}</presence>");
        self.expected.remove(room);
        self.rooms.entry(room).or_default().asked.push_back(true);
        self.send(world, join, None);
    }

    pub(super) fn leave(&mut self, world: &mut World, room: &'static str) {
        self.leaving(world.elapsed_ns(), room);
        let to = format!("{room}@conference.{}", self.domain);
        let leave = format!("<presence xmlns='{CLIENT}' type='unavailable' to='{to}'/>");
        self.send(world, leave, None);
    }

    fn leaving(&mut self, now: u64, room: &'static str) {
        self.rooms.entry(room).or_default().asked.push_back(false);
        self.streams.last_mut().unwrap().leaves(room, now);
    }

    /// It is there for everybody: it is put back into the rooms that it was in.
    pub(super) fn be_available(&mut self, world: &mut World) {
        self.is_available = true;
        self.put_back_at = world.elapsed_ns() + world.settle_ns();
        self.send(world, format!("<presence xmlns='{CLIENT}'/>"), None);
    }

    /// It is there for nobody: it leaves all rooms.
    pub(super) fn be_unavailable(&mut self, world: &mut World) {
        self.is_available = false;
        self.expected.clear();
        let rooms: Vec<_> = self.rooms.iter().filter(|(_, view)| view.wants()).collect();
        for room in rooms.into_iter().map(|(room, _)| *room).collect::<Vec<_>>() {
            self.leaving(world.elapsed_ns(), room);
        }
        self.send(
            world,
            format!("<presence xmlns='{CLIENT}' type='unavailable'/>"),
            None,
        );
    }

    pub(super) fn close(&mut self, world: &mut World) {
        self.say(world, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
    }

    /// Says something in a room. The number of the message.
    pub(super) fn speak(&mut self, world: &mut World, ledger: &mut Ledger, room: &'static str) -> usize {
        let number = ledger.say(room, self.number, self.streams.len(), world.elapsed_ns());
        let to = format!("{room}@conference.{}", self.domain);
        let message =
            format!("<message xmlns='{CLIENT}' type='groupchat' to='{to}'><body>{number}</body></message>");
        self.send(world, message, Some(number));
        number
    }
}
