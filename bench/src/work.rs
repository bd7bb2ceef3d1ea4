//! Fixed work: messages of one kind, from received bytes to their receivers' bytes, over and over. What is counted about
//! it (instructions, copies, allocations) is the same in each run.

use nexus::codec::mqtt::packet::{PacketId, QoS, Version};

use crate::elements;
use crate::packets::{puback, publish};
use crate::world::{Block, Speaks, Transport, World};

const CHANNEL: &str = "plant/7/temperature";
const LISTEN: &str = "$nexus/listen/echo/";
const ANSWER: &str = "$nexus/answer/";
/// Digits of a token.
const TOKEN_BYTES: usize = 32;

const MQTT: Speaks = Speaks::Mqtt(Version::V311, Transport::Stream);
const MQTT_5: Speaks = Speaks::Mqtt(Version::V5, Transport::Stream);
const MQTT_WS: Speaks = Speaks::Mqtt(Version::V311, Transport::WebSocket);

/// Work that is called by a name.
pub struct Work {
    world: World,
    kind: Kind,
}

enum Kind {
    /// A message of a publisher to all who hear its channel.
    Channel { from: Block, bytes: Vec<u8> },
    /// The same with QoS 1 to one receiver, both acknowledgements included.
    Acknowledged {
        from: Block,
        to: Block,
        bytes: Vec<u8>,
        acks: Vec<Vec<u8>>,
        next: usize,
    },
    /// A request to a worker of MQTT, and its answer.
    Api {
        caller: Block,
        worker: Block,
        call: Vec<u8>,
        answer: Vec<u8>,
    },
}

/// Work on a channel: its name, who publishes, who hears, how many there are, and on which shard.
const CHANNELS: &[(&str, Speaks, Speaks, usize, usize)] = &[
    ("mqtt", MQTT, MQTT, 1, 0),
    ("mqtt-5", MQTT_5, MQTT_5, 1, 0),
    ("mqtt-ws", MQTT_WS, MQTT_WS, 1, 0),
    ("mqtt-to-100", MQTT, MQTT, 100, 0),
    ("mqtt-5-to-100", MQTT_5, MQTT_5, 100, 0),
    ("mqtt-across", MQTT, MQTT, 1, 1),
    ("mqtt-across-to-100", MQTT, MQTT, 100, 1),
    ("xmpp", Speaks::Xmpp, Speaks::Xmpp, 1, 0),
    ("xmpp-to-100", Speaks::Xmpp, Speaks::Xmpp, 100, 0),
    ("xmpp-across", Speaks::Xmpp, Speaks::Xmpp, 1, 1),
    ("mqtt-to-xmpp", MQTT, Speaks::Xmpp, 1, 0),
    ("xmpp-to-mqtt", Speaks::Xmpp, MQTT, 1, 0),
];

/// The other names.
const OTHERS: &[&str] = &["mqtt-qos1", "api-mqtt", "api-xmpp-to-mqtt"];

impl Work {
    /// All names there are.
    pub fn names() -> impl Iterator<Item = &'static str> {
        CHANNELS.iter().map(|work| work.0).chain(OTHERS.iter().copied())
    }

    /// Work by its name, with payloads of so many bytes; `None` if there is no such work.
    pub fn named(name: &str, payload_bytes: usize) -> Option<Self> {
        let payload = vec![b'x'; payload_bytes];
        if let Some((_, from, to, receivers, shard)) = CHANNELS.iter().find(|work| work.0 == name) {
            return Some(Self::channel(*from, *to, (*receivers, *shard), &payload));
        }
        match name {
            "mqtt-qos1" => Some(Self::acknowledged(&payload)),
            "api-mqtt" => Some(Self::api(MQTT, &payload)),
            "api-xmpp-to-mqtt" => Some(Self::api(Speaks::Xmpp, &payload)),
            _ => None,
        }
    }

    /// Does it so many times; the bytes that receivers were sent.
    pub fn repeat(&mut self, count: usize) -> usize {
        (0..count).map(|_| self.once()).sum()
    }

    /// Where it is done.
    pub fn world(&self) -> &World {
        &self.world
    }

    fn channel(from: Speaks, to: Speaks, (receivers, shard): (usize, usize), payload: &[u8]) -> Self {
        let mut world = World::new(shard + 1);
        let from = enter(&mut world, 0, from);
        for _ in 0..receivers {
            let block = enter(&mut world, shard, to);
            world.subscribe(block, CHANNEL, QoS::AtMostOnce);
        }
        let text = std::str::from_utf8(payload).expect("text");
        let message = match from.speaks {
            Speaks::Mqtt(version, _) => publish(version, CHANNEL, QoS::AtMostOnce, &[], payload),
            Speaks::Xmpp => elements::publish(CHANNEL, text).into_bytes(),
        };
        let bytes = world.carried(from, &message);
        Self {
            world,
            kind: Kind::Channel { from, bytes },
        }
    }

    fn acknowledged(payload: &[u8]) -> Self {
        let mut world = World::new(1);
        let (from, to) = (enter(&mut world, 0, MQTT), enter(&mut world, 0, MQTT));
        world.subscribe(to, CHANNEL, QoS::AtLeastOnce);
        let bytes = publish(Version::V311, CHANNEL, QoS::AtLeastOnce, &[], payload);
        let acks = (1..=u16::MAX).filter_map(PacketId::new);
        let acks = acks.map(|id| puback(Version::V311, id)).collect();
        let kind = Kind::Acknowledged {
            from,
            to,
            bytes,
            acks,
            next: 0,
        };
        Self { world, kind }
    }

    fn api(caller: Speaks, payload: &[u8]) -> Self {
        let mut world = World::new(1);
        let (caller, worker) = (enter(&mut world, 0, caller), enter(&mut world, 0, MQTT));
        world.subscribe(worker, &format!("{LISTEN}#"), QoS::AtMostOnce);
        let text = String::from_utf8_lossy(payload);
        let body = format!("{{\"pad\":\"{text}\"}}");
        let call = match caller.speaks {
            Speaks::Xmpp => elements::call("echo", &body).into_bytes(),
            Speaks::Mqtt(version, _) => publish(
                version,
                "$nexus/call/1/etest/echo",
                QoS::AtMostOnce,
                &[],
                body.as_bytes(),
            ),
        };
        let call = world.carried(caller, &call);
        let topic = format!("{ANSWER}{:0TOKEN_BYTES$}", 0);
        let answer = publish(Version::V311, &topic, QoS::AtMostOnce, &[], body.as_bytes());
        let kind = Kind::Api {
            caller,
            worker,
            call,
            answer,
        };
        Self { world, kind }
    }

    fn once(&mut self) -> usize {
        let world = &mut self.world;
        match &mut self.kind {
            Kind::Channel { from, bytes } => {
                world.receive(*from, bytes);
                world.pass_parcels();
            }
            Kind::Acknowledged {
                from,
                to,
                bytes,
                acks,
                next,
            } => {
                world.receive(*from, bytes);
                world.receive(*to, &acks[*next]);
                *next = (*next + 1) % acks.len();
            }
            Kind::Api {
                caller,
                worker,
                call,
                answer,
            } => {
                world.receive(*caller, call);
                let request = world.sent(*worker);
                let token = token(&request, LISTEN);
                let at = find(answer, ANSWER);
                answer[at..at + TOKEN_BYTES].copy_from_slice(token);
                world.receive(*worker, answer);
            }
        }
        world.flush()
    }
}

fn enter(world: &mut World, shard: usize, speaks: Speaks) -> Block {
    match speaks {
        Speaks::Mqtt(version, transport) => world.block(shard, version, transport),
        Speaks::Xmpp => world.xmpp(shard, "w1"),
    }
}

/// Behind `what` in `bytes`.
fn find(bytes: &[u8], what: &str) -> usize {
    let at = bytes
        .windows(what.len())
        .position(|window| window == what.as_bytes());
    at.expect("it is in there") + what.len()
}

fn token<'a>(request: &'a [u8], topic: &str) -> &'a [u8] {
    let at = find(request, topic);
    &request[at..at + TOKEN_BYTES]
}
