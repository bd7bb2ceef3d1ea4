//! The same for XMPP: native stanzas and plain messages, to receivers of either protocol.

use nexus::codec::mqtt::packet::{QoS, Version};
use nexus_bench::PAYLOAD;
use nexus_bench::elements::{AVAILABLE, DOMAIN, answer, call, direct, listen, message, publish};
use nexus_bench::packets;
use nexus_bench::world::{Block, Speaks, Transport, World};

use crate::{MESSAGES, V5, V311, WARM_UP, allocations_of, count, report};

const CHANNEL: &str = "plant/7/t";

/// The text of the payload, as it stands in an element.
fn text() -> &'static str {
    std::str::from_utf8(&PAYLOAD).unwrap()
}

/// A world whose block on shard 0 speaks, and blocks on shard `on` that hear.
struct Scene {
    world: World,
    from: Block,
    on: usize,
    receivers: Vec<Block>,
}

impl Scene {
    /// XMPP throughout.
    fn new(on: usize, receivers: usize) -> Self {
        Self::between(Speaks::Xmpp, Speaks::Xmpp, on, receivers)
    }

    fn between(from: Speaks, to: Speaks, on: usize, receivers: usize) -> Self {
        let mut world = World::new(on + 1);
        let mut block = |shard, resource: &str, speaks| match speaks {
            Speaks::Mqtt(version, transport) => world.block(shard, version, transport),
            Speaks::Xmpp => world.xmpp(shard, resource),
        };
        let from = block(0, "from", from);
        let receivers = (0..receivers).map(|_| block(on, "to", to)).collect();
        Self {
            world,
            from,
            on,
            receivers,
        }
    }

    fn subscribed(mut self, filter: &str) -> Self {
        for block in &self.receivers {
            self.world.subscribe(*block, filter, QoS::AtMostOnce);
        }
        self
    }

    /// What the first receiver gets of one message.
    fn one(&mut self, sent: &str) -> String {
        self.world.say(self.from, sent.as_bytes());
        self.world.settle();
        let heard = String::from_utf8_lossy(&self.world.sent(self.receivers[0])).into_owned();
        self.world.flush();
        heard
    }

    /// Allocations of a message in bytes that the sender sends, and that all receivers are to get.
    #[track_caller]
    fn allocates_nothing(&mut self, message: &[u8]) {
        let bytes = self.world.carried(self.from, message);
        let receivers = self.receivers.len() as u64;
        let allocations = allocations_of(&mut self.world, self.from, &bytes, receivers, self.on);
        assert_eq!(allocations, 0);
    }
}

const fn mqtt((version, transport): (Version, Transport)) -> Speaks {
    Speaks::Mqtt(version, transport)
}

#[test]
fn a_publish_to_xmpp_allocates_nothing() {
    let mut scene = Scene::new(0, 1).subscribed("plant/+/t");
    let element = publish(CHANNEL, text());
    let heard = scene.one(&element);
    let expected = format!("channel='{CHANNEL}'>{}</publish><sender ", text());
    assert!(heard.contains(&expected), "{heard}");
    scene.allocates_nothing(element.as_bytes());
}

#[test]
fn text_with_references_allocates_nothing() {
    let mut scene = Scene::new(0, 1).subscribed(CHANNEL);
    let element = publish(CHANNEL, "1 &lt; 2 &amp; <![CDATA[3 > 2]]>");
    let heard = scene.one(&element);
    assert!(heard.contains(">1 &lt; 2 &amp; 3 &gt; 2</publish>"), "{heard}");
    scene.allocates_nothing(element.as_bytes());
}

#[test]
fn a_fan_out_to_a_hundred_of_xmpp_allocates_nothing() {
    let mut scene = Scene::new(0, 100).subscribed(CHANNEL);
    let before = scene.world.frames_made(0);
    let element = publish(CHANNEL, text());
    scene.one(&element);
    assert_eq!(scene.world.frames_made(0) - before, 1, "encoded once for all");
    scene.allocates_nothing(element.as_bytes());
}

#[test]
fn a_publish_to_xmpp_across_shards_allocates_nothing() {
    let mut scene = Scene::new(1, 1).subscribed(CHANNEL);
    scene.allocates_nothing(publish(CHANNEL, text()).as_bytes());
}

#[test]
fn a_publish_of_xmpp_to_mqtt_allocates_nothing() {
    for speaks in [V311, V5] {
        let mut scene = Scene::between(Speaks::Xmpp, mqtt(speaks), 0, 1).subscribed(CHANNEL);
        let element = publish(CHANNEL, text());
        assert!(scene.one(&element).ends_with(text()));
        scene.allocates_nothing(element.as_bytes());
    }
}

#[test]
fn a_publish_of_mqtt_to_xmpp_allocates_nothing() {
    for speaks in [V311, V5] {
        let mut scene = Scene::between(mqtt(speaks), Speaks::Xmpp, 0, 1).subscribed(CHANNEL);
        let packet = packets::publish(speaks.0, CHANNEL, QoS::AtMostOnce, &[], &PAYLOAD);
        scene.allocates_nothing(&packet);
    }
}

#[test]
fn a_direct_message_of_xmpp_allocates_nothing() {
    for on in [0, 1] {
        let mut scene = Scene::new(on, 1);
        let element = direct("to", text());
        let heard = scene.one(&element);
        assert!(
            heard.contains(&format!("<body>{}</body><sender ", text())),
            "{heard}"
        );
        scene.allocates_nothing(element.as_bytes());
    }
}

#[test]
fn a_direct_message_of_xmpp_to_mqtt_allocates_nothing() {
    let mut scene = Scene::between(Speaks::Xmpp, mqtt(V311), 0, 1).subscribed("$nexus/direct/#");
    let element = direct("w1", text());
    assert!(scene.one(&element).ends_with(text()));
    scene.allocates_nothing(element.as_bytes());
}

#[test]
fn a_direct_message_of_mqtt_to_xmpp_allocates_nothing() {
    let mut scene = Scene::between(mqtt(V311), Speaks::Xmpp, 0, 1);
    let topic = "$nexus/direct/etest/to";
    let packet = packets::publish(Version::V311, topic, QoS::AtMostOnce, &[], &PAYLOAD);
    scene.allocates_nothing(&packet);
}

#[test]
fn a_plain_message_allocates_nothing() {
    for on in [0, 1] {
        let mut scene = Scene::new(on, 1);
        let account = scene.receivers[0].account();
        let to_block = message(&format!("{account}@{DOMAIN}/to"), text());
        let heard = scene.one(&to_block);
        assert!(heard.contains("<active xmlns="), "{heard}");
        scene.allocates_nothing(to_block.as_bytes());
        // A prefix that is declared in its start tag goes along.
        let declares = to_block.replacen("<message ", "<message xmlns:x='urn:x' ", 1);
        assert!(scene.one(&declares).contains(" xmlns:x='urn:x'"));
        scene.allocates_nothing(declares.as_bytes());
        scene.world.say(scene.receivers[0], AVAILABLE.as_bytes());
        let to_account = message(&format!("{account}@{DOMAIN}"), text());
        scene.allocates_nothing(to_account.as_bytes());
    }
}

/// Not gated, like that of MQTT: printed.
#[test]
fn allocations_of_an_api_round_trip_are_reported() {
    let mut scene = Scene::new(0, 1);
    let (caller, worker) = (scene.from, scene.receivers[0]);
    let world = &mut scene.world;
    world.ask(worker, &listen("multiply"));
    let asks = call("multiply", r#"{"num1":10,"num2":5}"#);
    let asks = world.carried(caller, asks.as_bytes());
    let (mut replied, mut allocations, mut allocated) = (0, 0, 0);
    for round in 0..WARM_UP + MESSAGES {
        let (asked, asked_bytes) = count(|| world.receive(caller, &asks));
        // What a real worker reads and writes; its own allocations are not the daemon's.
        let request = String::from_utf8_lossy(&world.sent(worker)).into_owned();
        let (_, token) = request.split_once(" id='").expect("the worker was asked");
        let answers = answer(&token[..32], r#"{"code":0,"result":50}"#);
        let answers = world.carried(worker, answers.as_bytes());
        let (answered, answered_bytes) = count(|| world.receive(worker, &answers));
        replied += u64::from(!world.sent(caller).is_empty());
        world.flush();
        if round >= WARM_UP {
            allocations += asked + answered;
            allocated += asked_bytes + answered_bytes;
        }
    }
    assert_eq!(replied, (WARM_UP + MESSAGES) as u64, "one outcome each");
    report("API round trip over XMPP", allocations, allocated);
}
