//! The simulated blocks: clients of both protocols that connect, talk, answer, misbehave and vanish at random.
//! What they hear goes before the judge.

use std::collections::{HashMap, HashSet};

use rand::Rng;
use rand::rngs::StdRng;

use crate::events::Event;
use crate::mqtt::Mqtt;
use crate::promises::{Promises, Wish};
use crate::words::{Deed, Hearing, Persona, Subject};
use crate::world::{Speaks, World, ms};
use crate::xmpp::Xmpp;

/// What a client speaks.
#[derive(Debug)]
pub(crate) enum Tongue {
    Mqtt(Mqtt),
    Xmpp(Xmpp),
}

impl Tongue {
    fn say(&mut self, deed: &Deed<'_>, random: &mut StdRng) -> (Vec<u8>, Option<u64>) {
        match self {
            Self::Mqtt(mqtt) => mqtt.say(deed, random),
            Self::Xmpp(xmpp) => xmpp.say(deed, random),
        }
    }

    pub(crate) fn hear(&mut self, bytes: &[u8], random: &mut StdRng) -> Hearing {
        match self {
            Self::Mqtt(mqtt) => mqtt.hear(bytes),
            Self::Xmpp(xmpp) => xmpp.hear(bytes, random),
        }
    }

    /// Whether more than the login may be said.
    fn is_ready(&self) -> bool {
        match self {
            Self::Mqtt(_) => true,
            Self::Xmpp(xmpp) => xmpp.is_ready(),
        }
    }

    pub(crate) const fn is_xmpp(&self) -> bool {
        matches!(self, Self::Xmpp(_))
    }
}

/// One connection of a client, as the client sees it.
#[derive(Debug)]
pub(crate) struct Talk {
    pub persona: Persona,
    pub tongue: Tongue,
    /// The server attached it.
    pub is_attached: bool,
    /// The server closed it, or lost it.
    pub is_closed: bool,
    /// When the client was told that it is attached.
    pub attached_at: Option<u64>,
    pub is_over: bool,
    pub wishes: HashMap<Subject, Wish>,
    /// Last number heard by sender's connection and method.
    pub heard: HashMap<(usize, char), u64>,
    sent: u64,
    calls: u64,
    /// Outcomes of its calls: none yet, or the code.
    pub outcomes: HashMap<u64, Option<i64>>,
    pub tokens: HashSet<String>,
}

impl Talk {
    pub(crate) fn may_hear(&self, subject: Subject) -> bool {
        self.wishes.get(&subject).is_some_and(Wish::may_hear)
    }
}

/// Which client, by number, uses which connection; all connections there ever were.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub talks: HashMap<usize, Talk>,
    current: HashMap<usize, usize>,
    /// Attached at the server now: address to connection.
    pub holders: HashMap<String, usize>,
    pub tokens: Vec<String>,
    pub promises: Promises,
    pub tally: Tally,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub logins: u64,
    /// Newcomers that did not get an address that is fought for.
    pub conflicts: u64,
    pub outcomes: u64,
    pub deliveries: u64,
}

pub(crate) const CHANNELS: [&str; 5] = ["plant/1/t", "plant/2/t", "alerts", "~etest/in", "a/b/c"];
pub(crate) const FILTERS: [&str; 7] = [
    "plant/+/t",
    "plant/#",
    "alerts",
    "~etest/in",
    "a/+/c",
    "plant/1/t",
    "a/b/c",
];
const COMMANDS: [&str; 3] = ["multiply", "slow", "never"];

/// What stands at the end of messages, and must come through.
pub(crate) const TAILS: [&str; 4] = ["", "<&>'\"é", " \r\n\t ", "]]>"];

impl Clients {
    pub(crate) fn new(world: &World) -> Self {
        let mut clients = Self::default();
        clients.promises.settle_ns = world.settle_ns();
        clients
    }

    /// Connects client `client` anew as `persona`, leaving an older connection of it as it is.
    pub(crate) fn connect(&mut self, world: &mut World, client: usize, persona: Persona) -> usize {
        let shard = world.random.random_range(0..world.shard_count());
        let (conn, tongue, first) = if world.random.random_bool(0.5) {
            let (mqtt, connect) = Mqtt::connect(persona, &mut world.random);
            (world.connect(shard, Speaks::Mqtt), Tongue::Mqtt(mqtt), connect)
        } else {
            let (xmpp, handshake) = Xmpp::connect(persona, &mut world.random);
            (world.connect(shard, Speaks::Xmpp), Tongue::Xmpp(xmpp), handshake)
        };
        world.send(conn, first);
        let talk = Talk {
            persona,
            tongue,
            is_attached: false,
            is_closed: false,
            attached_at: None,
            is_over: false,
            wishes: HashMap::new(),
            heard: HashMap::new(),
            sent: 0,
            calls: 0,
            outcomes: HashMap::new(),
            tokens: HashSet::new(),
        };
        self.talks.insert(conn, talk);
        self.current.insert(client, conn);
        conn
    }

    /// One random deed of a client.
    pub(crate) fn act(&mut self, world: &mut World, client: usize, personas: &[Persona]) {
        let conn = self.current.get(&client).copied();
        let Some(conn) = conn.filter(|conn| self.talks.get(conn).is_some_and(|talk| !talk.is_over)) else {
            let persona = pick(personas, world);
            self.connect(world, client, persona);
            return;
        };
        let tongue = &self.talks[&conn].tongue;
        match world.random.random_range(0..100u32) {
            0..=3 => {
                let persona = pick(personas, world);
                self.connect(world, client, persona);
            }
            4..=6 => self.vanish(world, conn),
            7..=9 => {
                self.promises.release(world.elapsed_ns(), conn, None);
                self.say(world, conn, &Deed::Leave);
            }
            _ if !tongue.is_ready() => {}
            10..=24 => self.want(world, conn, true),
            25..=29 => self.want(world, conn, false),
            30..=50 => self.publish(world, conn),
            51..=58 => self.direct(world, conn, personas),
            59..=70 if tongue.is_xmpp() => self.message(world, conn, personas),
            59..=70 => self.direct(world, conn, personas),
            71..=90 => self.call(world, conn),
            _ => self.cheat(world, conn),
        }
    }

    /// When all is quiet, each block that is left says something to see who hears it.
    pub(crate) fn probe(&mut self, world: &mut World, personas: &[Persona]) {
        for conn in 0..world.links.len() {
            let talk = &self.talks[&conn];
            if talk.is_over || talk.attached_at.is_none() {
                continue;
            }
            self.publish(world, conn);
            if self.talks[&conn].tongue.is_xmpp() {
                for _ in 0..4 {
                    self.message(world, conn, personas);
                }
            }
        }
    }

    fn vanish(&mut self, world: &mut World, conn: usize) {
        if let Some(talk) = self.talks.get_mut(&conn) {
            talk.is_over = true;
        }
        self.promises.release(world.elapsed_ns(), conn, None);
        world.break_off(conn);
    }

    /// Says it; what it is known by when it is done.
    pub(crate) fn say(&mut self, world: &mut World, conn: usize, deed: &Deed<'_>) -> Option<u64> {
        let talk = self.talks.get_mut(&conn)?;
        let (bytes, mark) = talk.tongue.say(deed, &mut world.random);
        world.send(conn, bytes);
        mark
    }

    fn want(&mut self, world: &mut World, conn: usize, wanted: bool) {
        let subject = match world.random.random_range(0..10u32) {
            0..=4 => Subject::Channel(FILTERS[world.random.random_range(0..FILTERS.len())]),
            5..=7 => Subject::Listen(COMMANDS[world.random.random_range(0..COMMANDS.len())]),
            _ => Subject::Account,
        };
        let method = match subject {
            Subject::Channel(_) => Some('c'),
            Subject::Account => Some('d'),
            Subject::Listen(_) => None,
        };
        if !wanted && method.is_some() {
            self.promises.release(world.elapsed_ns(), conn, method);
        }
        if let Some(mark) = self.say(world, conn, &Deed::Want(subject, wanted)) {
            let wishes = &mut self.talks.get_mut(&conn).unwrap().wishes;
            wishes.entry(subject).or_default().ask(mark, wanted);
        }
    }

    /// The next message: its connection and running number, by which receivers check the order, and what for.
    fn text(&mut self, world: &mut World, conn: usize, what_for: &str) -> (u64, String) {
        let tail = TAILS[world.random.random_range(0..TAILS.len())];
        let talk = self.talks.get_mut(&conn).unwrap();
        talk.sent += 1;
        (talk.sent, format!("{conn}:{}:{what_for}:{tail}", talk.sent))
    }

    fn publish(&mut self, world: &mut World, conn: usize) {
        let channel = CHANNELS[world.random.random_range(0..CHANNELS.len())];
        let (number, text) = self.text(world, conn, channel);
        self.owe_channel(world, conn, number, channel);
        self.say(world, conn, &Deed::Publish { channel, text: &text });
    }

    fn direct(&mut self, world: &mut World, conn: usize, personas: &[Persona]) {
        let to = pick(personas, world);
        let (app, resource) = (to.app(), to.resource);
        let (_, text) = self.text(world, conn, &format!("{app}/{resource}"));
        let text = &text;
        self.say(world, conn, &Deed::Direct { app, resource, text });
    }

    /// To a full JID or a bare one.
    fn message(&mut self, world: &mut World, conn: usize, personas: &[Persona]) {
        let to = pick(personas, world);
        let account = to.account;
        let resource = world.random.random_bool(0.5).then_some(to.resource);
        let what_for = resource.map_or_else(|| account.to_owned(), |_| to.address());
        let (number, text) = self.text(world, conn, &what_for);
        let has_body = world.random.random_bool(0.8);
        let deed = Deed::Message {
            account,
            resource,
            text: &text,
            has_body,
        };
        self.owe_message(world, conn, number, &deed);
        self.say(world, conn, &deed);
    }

    fn call(&mut self, world: &mut World, conn: usize) {
        let talk = self.talks.get_mut(&conn).unwrap();
        talk.calls += 1;
        let id = talk.calls;
        talk.outcomes.insert(id, None);
        let cmd = COMMANDS[world.random.random_range(0..COMMANDS.len())];
        let body = &format!("{{\"conn\":{conn},\"id\":{id}}}");
        self.say(world, conn, &Deed::Call { id, cmd, body });
    }

    /// Answers with a token that is another's, or nobody's.
    fn cheat(&mut self, world: &mut World, conn: usize) {
        let token = match self.tokens.len() {
            0 => format!("{:032x}", world.random.random::<u128>()),
            n => self.tokens[world.random.random_range(0..n)].clone(),
        };
        let token = &token;
        // Its own token may be among them: then it is merely an answer.
        if self.talks[&conn].tokens.contains(token) {
            self.say(world, conn, &Deed::Decline { token });
        } else {
            let body = r#"{"code":0,"cheat":true}"#;
            self.say(world, conn, &Deed::Answer { token, body });
        }
    }

    /// Starts the clients off.
    pub(crate) fn schedule(world: &mut World, client: usize, deeds: u64) {
        let mut at = 0;
        for _ in 0..deeds {
            at += world.random.random_range(1..ms(20));
            world.at(at, Event::Act(client));
        }
    }
}

fn pick(personas: &[Persona], world: &mut World) -> Persona {
    personas[world.random.random_range(0..personas.len())]
}
