//! The simulated blocks: MQTT clients that connect, talk, answer, misbehave and vanish at random, and a judge
//! who knows what each of them may hear.

use std::collections::{HashMap, HashSet};

use nexus::codec::Decode;
use nexus::codec::mqtt::packet::{
    Ack, Connect, Disconnect, Filter, Filters, Names, Packet, PacketId, Publish, QoS, Subscribe, Unsubscribe,
    Version,
};
use nexus::codec::mqtt::property::Properties;
use nexus::codec::mqtt::{Context, Direction, decode, topic};
use rand::Rng;

use crate::world::{Event, World, ms};

/// Who a client can be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Persona {
    pub account: &'static str,
    pub resource: &'static str,
}

impl Persona {
    /// `<app>/<uid>/<role>/<resource>` as it stands in topics.
    fn path(&self) -> String {
        format!("{}/{}", self.account.replace('-', "/"), self.resource)
    }

    fn address(&self) -> String {
        format!("{}/{}", self.account, self.resource)
    }

    fn app(&self) -> &'static str {
        self.account.split('-').next().unwrap()
    }
}

/// One connection of a client, as the client sees it.
#[derive(Debug)]
struct Talk {
    persona: Persona,
    version: Version,
    inbox: Vec<u8>,
    is_attached: bool,
    is_over: bool,
    packet_id: u16,
    /// Channel filters it ever asked for.
    filters: HashSet<String>,
    listens: HashSet<&'static str>,
    hears_direct: bool,
    /// Last sequence number heard by (sender's path, method).
    heard: HashMap<(String, char), u64>,
    sent: u64,
    calls: u64,
    /// Outcomes of its calls: none yet, or the code.
    outcomes: HashMap<u64, Option<i64>>,
    tokens: Vec<String>,
}

/// Which client, by number, uses which connection; all connections there ever were.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    talks: HashMap<usize, Talk>,
    current: HashMap<usize, usize>,
    /// Attached at the server now: address to connection.
    holders: HashMap<String, usize>,
    tokens: Vec<String>,
    pub logins: u64,
    pub outcomes: u64,
    pub deliveries: u64,
}

pub(crate) const CHANNELS: [&str; 5] = ["plant/1/t", "plant/2/t", "alerts", "~etest/in", "a/b/c"];
const FILTERS: [&str; 7] = [
    "plant/+/t",
    "plant/#",
    "alerts",
    "~etest/in",
    "a/+/c",
    "plant/1/t",
    "a/b/c",
];
const COMMANDS: [&str; 3] = ["multiply", "slow", "never"];

impl Clients {
    /// Connects client `client` anew as `persona`, leaving an older connection of it as it is.
    pub(crate) fn connect(&mut self, world: &mut World, client: usize, persona: Persona) -> usize {
        let shard = world.random.random_range(0..world.shard_count());
        let version = if world.random.random_bool(0.5) {
            Version::V311
        } else {
            Version::V5
        };
        let conn = world.connect(shard);
        let connect = Packet::Connect(Connect {
            version,
            clean: true,
            keep_alive_s: 0,
            properties: Properties::default(),
            client_id: persona.resource,
            will: None,
            user_name: Some(persona.account),
            password: Some(b"secret"),
        });
        world.send(conn, encoded(&connect, version));
        let talk = Talk {
            persona,
            version,
            inbox: Vec::new(),
            is_attached: false,
            is_over: false,
            packet_id: 0,
            filters: HashSet::new(),
            listens: HashSet::new(),
            hears_direct: false,
            heard: HashMap::new(),
            sent: 0,
            calls: 0,
            outcomes: HashMap::new(),
            tokens: Vec::new(),
        };
        self.talks.insert(conn, talk);
        self.current.insert(client, conn);
        conn
    }

    /// One random deed of a client.
    pub(crate) fn act(&mut self, world: &mut World, client: usize, personas: &[Persona]) {
        let conn = self.current.get(&client).copied();
        let Some(conn) = conn.filter(|conn| self.talks.get(conn).is_some_and(|talk| !talk.is_over)) else {
            let persona = personas[world.random.random_range(0..personas.len())];
            self.connect(world, client, persona);
            return;
        };
        match world.random.random_range(0..100u32) {
            0..=3 => {
                let persona = personas[world.random.random_range(0..personas.len())];
                self.connect(world, client, persona);
            }
            4..=6 => self.vanish(world, conn),
            7..=9 => self.say(
                world,
                conn,
                &Packet::Disconnect(Disconnect {
                    code: 0,
                    properties: Properties::default(),
                }),
            ),
            10..=24 => self.subscribe(world, conn),
            25..=28 => self.unsubscribe(world, conn),
            29..=52 => self.publish(world, conn),
            53..=68 => self.direct(world, conn, personas),
            69..=88 => self.call(world, conn),
            _ => self.cheat(world, conn),
        }
    }

    fn vanish(&mut self, world: &mut World, conn: usize) {
        if let Some(talk) = self.talks.get_mut(&conn) {
            talk.is_over = true;
        }
        world.break_off(conn);
    }

    fn say(&mut self, world: &mut World, conn: usize, packet: &Packet<'_>) {
        let Some(talk) = self.talks.get(&conn) else { return };
        world.send(conn, encoded(packet, talk.version));
    }

    fn next_id(&mut self, conn: usize) -> PacketId {
        let talk = self.talks.get_mut(&conn).unwrap();
        talk.packet_id = talk.packet_id % 60_000 + 1;
        PacketId::new(talk.packet_id).unwrap()
    }

    fn subscribe(&mut self, world: &mut World, conn: usize) {
        let choice = world.random.random_range(0..10u32);
        let talk = self.talks.get_mut(&conn).unwrap();
        let filter = match choice {
            0..=4 => {
                let filter = FILTERS[world.random.random_range(0..FILTERS.len())];
                talk.filters.insert(filter.to_owned());
                format!("$nexus/channel/+/+/+/+/{filter}")
            }
            5..=7 => {
                let cmd = COMMANDS[world.random.random_range(0..COMMANDS.len())];
                talk.listens.insert(cmd);
                format!("$nexus/listen/{cmd}/#")
            }
            _ => {
                talk.hears_direct = true;
                "$nexus/direct/#".to_owned()
            }
        };
        let qos = if world.random.random_bool(0.5) {
            QoS::AtLeastOnce
        } else {
            QoS::AtMostOnce
        };
        let entry = Filter {
            filter: &filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        };
        let packet_id = self.next_id(conn);
        let properties = Properties::default();
        let filters = Filters::list(std::slice::from_ref(&entry));
        self.say(
            world,
            conn,
            &Packet::Subscribe(Subscribe {
                packet_id,
                properties,
                filters,
            }),
        );
    }

    fn unsubscribe(&mut self, world: &mut World, conn: usize) {
        let filter = FILTERS[world.random.random_range(0..FILTERS.len())];
        let name = match world.random.random_range(0..3u32) {
            0 => format!("$nexus/channel/+/+/+/+/{filter}"),
            1 => "$nexus/listen/multiply/#".to_owned(),
            _ => "$nexus/direct/#".to_owned(),
        };
        let packet_id = self.next_id(conn);
        let names = [name.as_str()];
        let properties = Properties::default();
        let filters = Names::list(&names);
        self.say(
            world,
            conn,
            &Packet::Unsubscribe(Unsubscribe {
                packet_id,
                properties,
                filters,
            }),
        );
    }

    fn send_publish(&mut self, world: &mut World, conn: usize, topic: &str, payload: &str) {
        let qos = if world.random.random_bool(0.5) {
            QoS::AtLeastOnce
        } else {
            QoS::AtMostOnce
        };
        let packet_id = (qos == QoS::AtLeastOnce).then(|| self.next_id(conn));
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_id,
            properties: Properties::default(),
            payload: payload.as_bytes(),
        };
        self.say(world, conn, &Packet::Publish(publish));
    }

    /// The next message's mark: the connection and its running number, by which receivers check the order.
    fn mark(&mut self, conn: usize) -> String {
        let talk = self.talks.get_mut(&conn).unwrap();
        talk.sent += 1;
        format!("{conn}:{}", talk.sent)
    }

    fn publish(&mut self, world: &mut World, conn: usize) {
        let channel = CHANNELS[world.random.random_range(0..CHANNELS.len())];
        let payload = format!("{}:{channel}", self.mark(conn));
        self.send_publish(world, conn, channel, &payload);
    }

    fn direct(&mut self, world: &mut World, conn: usize, personas: &[Persona]) {
        let to = personas[world.random.random_range(0..personas.len())];
        let payload = format!("{}:{}/{}", self.mark(conn), to.app(), to.resource);
        self.send_publish(
            world,
            conn,
            &format!("$nexus/direct/{}/{}", to.app(), to.resource),
            &payload,
        );
    }

    fn call(&mut self, world: &mut World, conn: usize) {
        let talk = self.talks.get_mut(&conn).unwrap();
        talk.calls += 1;
        let id = talk.calls;
        talk.outcomes.insert(id, None);
        let cmd = COMMANDS[world.random.random_range(0..COMMANDS.len())];
        let body = format!("{{\"conn\":{conn},\"id\":{id}}}");
        self.send_publish(world, conn, &format!("$nexus/call/{id}/etest/{cmd}"), &body);
    }

    /// Answers with a token that is another's, or nobody's.
    fn cheat(&mut self, world: &mut World, conn: usize) {
        let token = match self.tokens.len() {
            0 => format!("{:032x}", world.random.random::<u128>()),
            n => self.tokens[world.random.random_range(0..n)].clone(),
        };
        // Its own token may be among them: then it is merely an answer.
        let is_own = self.talks[&conn].tokens.contains(&token);
        let body = if is_own {
            r#"{"code":-7,"error":"no"}"#
        } else {
            r#"{"code":0,"cheat":true}"#
        };
        self.send_publish(world, conn, &format!("$nexus/answer/{token}"), body);
    }

    /// A session told its client that it is attached: nobody else holds its address.
    pub(crate) fn attached(&mut self, conn: usize) {
        let talk = self.talks.get_mut(&conn).unwrap();
        assert!(!talk.is_attached, "connection {conn} was attached twice");
        talk.is_attached = true;
        self.logins += 1;
        let address = talk.persona.address();
        if let Some(other) = self.holders.insert(address.clone(), conn) {
            panic!("{address} is held by connection {other} and by connection {conn}");
        }
    }

    /// A hub closed or lost a connection: its address is free.
    pub(crate) fn ended(&mut self, conn: usize) {
        let Some(talk) = self.talks.get(&conn) else { return };
        let address = talk.persona.address();
        if self.holders.get(&address) == Some(&conn) {
            self.holders.remove(&address);
        }
    }

    /// Addresses that are held now.
    pub(crate) fn held(&self) -> usize {
        self.holders.len()
    }

    /// The client learns that its connection is gone.
    pub(crate) fn gone(&mut self, conn: usize) {
        if let Some(talk) = self.talks.get_mut(&conn) {
            talk.is_over = true;
        }
    }

    /// Bytes reached the client.
    pub(crate) fn heard(&mut self, world: &mut World, conn: usize, bytes: &[u8]) {
        let Some(talk) = self.talks.get_mut(&conn).filter(|talk| !talk.is_over) else {
            return;
        };
        talk.inbox.extend_from_slice(bytes);
        let inbox = std::mem::take(&mut talk.inbox);
        let context = Context {
            version: Some(talk.version),
            packet_bytes_max: 1 << 20,
            direction: Direction::ToClient,
        };
        let mut rest = inbox.as_slice();
        while let Decode::Frame { frame, len } =
            decode(rest, context).expect("the server's packets are well-formed")
        {
            rest = &rest[len..];
            if let Packet::Publish(publish) = frame {
                self.publish_heard(world, conn, &publish);
            }
            if rest.is_empty() {
                break;
            }
        }
        if let Some(talk) = self.talks.get_mut(&conn) {
            talk.inbox = rest.to_vec();
        }
    }

    fn publish_heard(&mut self, world: &mut World, conn: usize, publish: &Publish<'_>) {
        if let Some(packet_id) = publish.packet_id {
            self.say(
                world,
                conn,
                &Packet::PubAck(Ack {
                    packet_id,
                    code: 0,
                    properties: Properties::default(),
                }),
            );
        }
        let payload = std::str::from_utf8(publish.payload).unwrap();
        let levels: Vec<&str> = publish.topic.split('/').collect();
        self.deliveries += 1;
        match levels[..] {
            ["$nexus", "reply", id] => self.reply_heard(conn, id.parse().unwrap(), payload),
            ["$nexus", "listen", cmd, token, app, uid, role, resource] => {
                self.request_heard(
                    world,
                    conn,
                    cmd,
                    token,
                    &format!("{app}/{uid}/{role}/{resource}"),
                    payload,
                );
            }
            ["$nexus", "direct", app, uid, role, resource] => {
                self.in_order(conn, &format!("{app}/{uid}/{role}/{resource}"), 'd', payload);
                let talk = &self.talks[&conn];
                assert!(talk.hears_direct, "connection {conn} never asked for Direct");
                let to = payload.splitn(3, ':').nth(2).unwrap();
                assert_eq!(
                    to,
                    format!("{}/{}", talk.persona.app(), talk.persona.resource),
                    "a stranger's message"
                );
            }
            ["$nexus", "channel", app, uid, role, resource, ..] => {
                self.in_order(conn, &format!("{app}/{uid}/{role}/{resource}"), 'c', payload);
                let channel = levels[6..].join("/");
                assert_eq!(payload.splitn(3, ':').nth(2), Some(channel.as_str()));
                let talk = &self.talks[&conn];
                let asked = talk.filters.iter().any(|filter| topic::matches(filter, &channel));
                assert!(asked, "connection {conn} never asked for {channel}");
                assert!(
                    !channel.starts_with("~etest/") || talk.persona.app() == "etest",
                    "{channel} is private"
                );
            }
            _ => panic!("unexpected topic {}", publish.topic),
        }
    }

    /// The mark of a message names its sender truly and grows from message to message.
    fn in_order(&mut self, conn: usize, path: &str, method: char, payload: &str) {
        let mut parts = payload.split(':');
        let from: usize = parts.next().unwrap().parse().unwrap();
        let number: u64 = parts.next().unwrap().parse().unwrap();
        assert_eq!(
            self.talks[&from].persona.path(),
            path,
            "the sender stamped on {payload}"
        );
        let heard = &mut self.talks.get_mut(&conn).unwrap().heard;
        let last = heard.insert((from.to_string(), method), number).unwrap_or(0);
        assert!(
            last < number,
            "connection {conn} heard {number} of {from} ({method}) after {last}"
        );
    }

    fn reply_heard(&mut self, conn: usize, id: u64, payload: &str) {
        let body: serde_json::Value = serde_json::from_str(payload).unwrap();
        let code = body["code"].as_i64().unwrap();
        let talk = self.talks.get_mut(&conn).unwrap();
        let outcome = talk
            .outcomes
            .get_mut(&id)
            .expect("a reply to a request that was never made");
        assert_eq!(
            *outcome, None,
            "connection {conn} got a second outcome of request {id}: {payload}"
        );
        *outcome = Some(code);
        self.outcomes += 1;
        if code == 0 {
            assert!(body.get("cheat").is_none(), "a cheater's answer came through");
            let asked = (body["conn"].as_u64(), body["id"].as_u64());
            assert_eq!(asked, (Some(conn as u64), Some(id)), "a reply to another request");
        } else {
            let known = [-7, -2000, -500, -3000, -2001, -2002, -408];
            assert!(known.contains(&code) && body["error"].is_string(), "{payload}");
        }
    }

    fn request_heard(
        &mut self,
        world: &mut World,
        conn: usize,
        cmd: &str,
        token: &str,
        path: &str,
        payload: &str,
    ) {
        let body: serde_json::Value = serde_json::from_str(payload).unwrap();
        let from = usize::try_from(body["conn"].as_u64().unwrap()).unwrap();
        assert_eq!(
            self.talks[&from].persona.path(),
            path,
            "the requester stamped on {payload}"
        );
        let talk = self.talks.get_mut(&conn).unwrap();
        assert_eq!(talk.persona.app(), "etest");
        assert!(
            talk.listens.contains(cmd),
            "connection {conn} never listened to {cmd}"
        );
        assert!(
            !talk.tokens.iter().any(|known| known == token),
            "a token was used twice"
        );
        talk.tokens.push(token.to_owned());
        self.tokens.push(token.to_owned());
        if cmd == "never" {
            return;
        }
        let reply = format!("{{\"code\":0,{}", &payload[1..]);
        let topic = format!("$nexus/answer/{token}");
        let times = if world.random.random_bool(0.1) { 2 } else { 1 };
        for _ in 0..times {
            self.send_publish(world, conn, &topic, &reply);
        }
    }

    /// At the end, when every request has had its time: each one that could has exactly one outcome.
    pub(crate) fn check_outcomes(&self) {
        for (conn, talk) in &self.talks {
            if talk.is_over || !talk.is_attached {
                continue;
            }
            for (id, outcome) in &talk.outcomes {
                assert!(
                    outcome.is_some(),
                    "request {id} of connection {conn} never had an outcome"
                );
            }
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

fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(packet.encoded_len(version));
    packet.encode_into(version, &mut bytes);
    bytes
}
