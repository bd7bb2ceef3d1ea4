//! Clients of XMPP whose connections break at any step, with what was on its way in both directions, and that resume their
//! sessions on any shard (XEP-0198): what is sent on a channel arrives in order, once, and all of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexus::observe::{DropReason, Stage};
use rand::Rng;

use crate::events::Event;
use crate::words::Persona;
use crate::world::{Heard, Speaks, World, ms};
use crate::xmpp::{DOMAINS, HANDSHAKE, TEXT, frame, frames};

const PERSONAS: [Persona; 3] = [
    Persona {
        account: "etest-0123456789abcdef01234567-owner",
        resource: "w1",
    },
    Persona {
        account: "shop-89abcdef0123456789abcdef-user",
        resource: "page",
    },
    Persona {
        account: "etest-0123456789abcdef01234567-owner",
        resource: "w2",
    },
];
/// For how long connections break and messages are sent.
const PLAYED_MS: u64 = 20_000;
/// For how long everybody then listens.
const ENDING_MS: u64 = 20_000;

/// A client as XEP-0198 has it: it knows what it has handled, and remembers what it sent.
struct Player {
    persona: Persona,
    conn: Option<usize>,
    inbox: Vec<u8>,
    is_upgraded: bool,
    previd: Option<String>,
    /// It may send: its session began, or goes on.
    is_ready: bool,
    /// Its subscription was granted.
    is_subscribed: bool,
    handled: u32,
    acked: u32,
    unacked: Vec<String>,
    sent: u64,
    heard: Vec<String>,
    resumed: u32,
}

fn attribute<'a>(element: &'a str, name: &str) -> &'a str {
    let (_, rest) = element.split_once(&format!(" {name}='")).unwrap();
    rest.split('\'').next().unwrap()
}

impl Player {
    fn new(persona: Persona) -> Self {
        Self {
            persona,
            conn: None,
            inbox: Vec::new(),
            is_upgraded: false,
            previd: None,
            is_ready: false,
            is_subscribed: false,
            handled: 0,
            acked: 0,
            unacked: Vec::new(),
            sent: 0,
            heard: Vec::new(),
            resumed: 0,
        }
    }

    fn say(&self, world: &mut World, element: &str) {
        if let Some(conn) = self.conn {
            let bytes = frames(element, &mut world.random);
            world.send(conn, bytes);
        }
    }

    /// A stanza, which is sent again until it is acknowledged.
    fn send(&mut self, world: &mut World, stanza: String) {
        self.say(world, &stanza);
        self.unacked.push(stanza);
    }

    fn connect(&mut self, world: &mut World) {
        let shard = world.random.random_range(0..world.shard_count());
        let conn = world.connect(shard, Speaks::Xmpp);
        (self.conn, self.is_upgraded, self.is_ready) = (Some(conn), false, false);
        self.inbox.clear();
        let open = format!(
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{}' version='1.0'/>",
            DOMAINS[0]
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
                self.say(
                    world,
                    &format!("<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='{handled}'/>"),
                );
            }
            None => self.say(
                world,
                &format!(
                    "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                     <resource>{}</resource></bind></iq>",
                    self.persona.resource
                ),
            ),
        }
    }

    fn hear(&mut self, world: &mut World, bytes: &[u8]) {
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
                self.element(world, std::str::from_utf8(payload).unwrap());
            }
            rest = &rest[len..];
        }
        self.inbox = rest.to_vec();
    }

    fn element(&mut self, world: &mut World, element: &str) {
        let name = element[1..].split([' ', '>', '/']).next().unwrap();
        let counts = self.is_ready && matches!(name, "iq" | "message" | "presence");
        self.handled = self.handled.wrapping_add(counts.into());
        match name {
            "iq" if attribute(element, "id") == "b" => {
                self.say(world, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
            }
            "iq" if attribute(element, "id") == "s" => self.is_subscribed = true,
            "iq" => {
                let id = attribute(element, "id").to_owned();
                self.send(
                    world,
                    format!("<iq xmlns='jabber:client' type='result' id='{id}'/>"),
                );
            }
            "enabled" => {
                self.previd = Some(attribute(element, "id").to_owned());
                self.is_ready = true;
                let subscribe = "<iq xmlns='jabber:client' type='set' id='s'><subscribe xmlns='urn:nexus:1' channel='a'/></iq>";
                self.send(world, subscribe.to_owned());
            }
            "resumed" => {
                self.is_ready = true;
                self.resumed += 1;
                self.acknowledged(element);
                for stanza in self.unacked.clone() {
                    self.say(world, &stanza);
                }
            }
            "r" => self.say(world, &format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.handled)),
            "a" => self.acknowledged(element),
            "message" => {
                let (_, rest) = element.split_once("channel='a'>").unwrap();
                self.heard.push(rest.split('<').next().unwrap().to_owned());
            }
            "failed" => panic!("{element}"),
            _ => {}
        }
    }

    fn acknowledged(&mut self, element: &str) {
        let handled: u32 = attribute(element, "h").parse().unwrap();
        self.unacked.drain(..(handled - self.acked) as usize);
        self.acked = handled;
    }

    fn publish(&mut self, world: &mut World) {
        let text = format!("{}:{}", self.persona.resource, self.sent);
        self.sent += 1;
        self.send(
            world,
            format!("<message xmlns='jabber:client'><publish xmlns='urn:nexus:1' channel='a'>{text}</publish></message>"),
        );
    }
}

/// One turn of a player.
fn act(world: &mut World, player: &mut Player, is_ending: bool, may_send: bool) {
    let Some(conn) = player.conn else {
        return player.connect(world);
    };
    if !player.is_ready || !may_send || is_ending {
        return;
    }
    if world.random.random_bool(0.2) {
        world.break_off(conn);
        player.conn = None;
    } else {
        player.publish(world);
    }
}

fn play(seed: u64, shards: usize) -> u32 {
    let mut world = World::new(seed, shards, &[], |_| Ok(Vec::new()));
    let mut players = PERSONAS.map(Player::new);
    for at in 0..players.len() {
        world.at(ms(1), Event::Act(at));
    }
    while let Some(heard) = world.step(ms(PLAYED_MS + ENDING_MS)) {
        world.notes.clear();
        match heard {
            Heard::Bytes(conn, bytes) => {
                if let Some(player) = players.iter_mut().find(|player| player.conn == Some(conn)) {
                    player.hear(&mut world, &bytes);
                }
            }
            Heard::Gone(conn) => {
                if let Some(player) = players.iter_mut().find(|player| player.conn == Some(conn)) {
                    player.conn = None;
                }
            }
            Heard::Act(at) => {
                let is_ending = world.elapsed_ns() > ms(PLAYED_MS);
                // By then every shard knows of every subscription.
                let is_known = world.elapsed_ns() > ms(5_000);
                let may_send = is_known && players.iter().all(|player| player.is_subscribed);
                act(&mut world, &mut players[at], is_ending, may_send);
                let pause = world.random.random_range(1..500);
                world.at(ms(pause), Event::Act(at));
            }
            Heard::Notes => {}
        }
    }
    assert_eq!(world.drops(Stage::Mesh, DropReason::MeshFull), 0);
    for receiver in &players {
        for sender in &players {
            let head = format!("{}:", sender.persona.resource);
            let heard: Vec<_> = receiver
                .heard
                .iter()
                .filter(|text| text.starts_with(&head))
                .cloned()
                .collect();
            let all: Vec<_> = (0..sender.sent).map(|n| format!("{head}{n}")).collect();
            assert_eq!(heard, all, "seed {seed}, {shards} shards");
        }
    }
    players.iter().map(|player| player.resumed).sum()
}

#[test]
fn xep0198_5_sessions_that_are_resumed_lose_and_double_nothing() {
    let mut resumed = 0;
    for seed in 0..60 {
        for shards in [1, 2, 4] {
            resumed += play(seed, shards);
        }
    }
    assert!(resumed > 1_000, "{resumed}");
}
