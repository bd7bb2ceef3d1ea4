//! A daemon without I/O: one hub a shard, joined by parcels that are given back, with real sessions on it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use nexus::codec::mqtt::packet::{QoS, Version};
use nexus::hub::Hub;
use nexus::observe::ShardMetrics;
use nexus::route::{
    AppPolicy, Change, CredentialId, Grants, RootWildcard, RouterConfig, RouterLimits, Service,
};
use nexus::session::any::{AnySession, Opening};
use nexus::session::{mqtt, xmpp};
use nexus::store::login::LoginVerdict;
use nexus::time::{Instant, Now};

use crate::elements;
use crate::machine::{Frame, Machine, Written};
use crate::packets::{self, HANDSHAKE, masked, masked_text};

/// What carries MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A stream.
    Stream,
    /// Binary WebSocket frames.
    WebSocket,
}

/// What a block speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// MQTT, carried by a transport.
    Mqtt(Version, Transport),
    /// XMPP in text WebSocket frames.
    Xmpp,
}

/// A connected block.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Where it lives.
    pub shard: usize,
    /// What it speaks.
    pub speaks: Speaks,
    /// Whose account it has: the number of the user.
    pub user: usize,
    slot: u32,
    conn: u32,
}

impl Block {
    /// Its account.
    pub fn account(&self) -> String {
        crate::account("etest", self.user, "owner")
    }
}

struct Shard {
    hub: Hub<u32, Frame, AnySession>,
    machine: Machine,
    opening: Opening,
    metrics: Arc<ShardMetrics>,
}

/// All shards. Every block may call the app `etest`. Time stands still.
pub struct World {
    shards: Vec<Shard>,
    now: Now,
    /// The receive buffer: sessions work in place on what they read.
    inbox: Vec<u8>,
    blocks: usize,
    parcelled: u64,
}

/// The configuration of a router on one of `shards` shards.
pub fn router_config(shard: usize, shards: usize, metrics: &Arc<ShardMetrics>) -> RouterConfig {
    RouterConfig {
        shard: u16::try_from(shard).unwrap(),
        shards: u16::try_from(shards).unwrap(),
        seed: [u8::try_from(shard).unwrap() + 1; 32],
        placement_seed: 7,
        domain: elements::DOMAIN.into(),
        root_wildcard: RootWildcard::Operators,
        limits: RouterLimits::default(),
        durable: false,
        metrics: Arc::clone(metrics),
    }
}

/// What a login of a fixture brings along: the right to call `etest`.
pub fn grants() -> Grants {
    Grants {
        credential: CredentialId(1),
        services: vec![Service {
            app: "etest".into(),
            expires_unix_ms: None,
        }],
        expires_unix_ms: None,
        announced: false,
    }
}

/// When everything happens.
pub const NOW: Now = Now {
    instant: Instant::from_nanos(1_000_000_000),
    unix_ms: 1_700_000_000_000,
};

impl World {
    /// Shards without blocks; the app `etest` exists.
    pub fn new(shards: usize) -> Self {
        let mut world = Self {
            shards: (0..shards).map(|shard| Shard::new(shard, shards)).collect(),
            now: NOW,
            inbox: Vec::new(),
            blocks: 0,
            parcelled: 0,
        };
        let change = Change::App {
            name: "etest".into(),
            policy: AppPolicy::default(),
        };
        for shard in &mut world.shards {
            shard.hub.change(&mut shard.machine, world.now, &change);
        }
        world
    }

    /// A block of `etest` on a shard that speaks MQTT, logged in as resource `w1`.
    pub fn block(&mut self, shard: usize, version: Version, transport: Transport) -> Block {
        let block = self.connect(shard, Speaks::Mqtt(version, transport));
        if transport == Transport::WebSocket {
            self.receive(block, HANDSHAKE);
        }
        self.say(block, &packets::connect(version, &block.account(), "w1"));
        self.joined(block)
    }

    /// A block of `etest` on a shard that speaks XMPP, logged in as `resource`.
    pub fn xmpp(&mut self, shard: usize, resource: &str) -> Block {
        let block = self.connect(shard, Speaks::Xmpp);
        self.receive(block, elements::HANDSHAKE);
        self.say(block, elements::open().as_bytes());
        self.say(block, elements::auth(&block.account()).as_bytes());
        self.settle();
        self.say(block, elements::open().as_bytes());
        self.say(block, elements::bind(resource).as_bytes());
        self.joined(block)
    }

    fn connect(&mut self, shard: usize, speaks: Speaks) -> Block {
        let place = &mut self.shards[shard];
        let session = match speaks {
            Speaks::Mqtt(_, Transport::Stream) => AnySession::mqtt(&place.opening, self.now),
            Speaks::Mqtt(_, Transport::WebSocket) | Speaks::Xmpp => {
                AnySession::web_socket(&place.opening, self.now)
            }
        };
        let conn = place.machine.connect();
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let slot = place
            .hub
            .open(&mut place.machine, conn, peer, session)
            .expect("there is room");
        self.blocks += 1;
        Block {
            shard,
            speaks,
            user: self.blocks,
            slot,
            conn,
        }
    }

    fn joined(&mut self, block: Block) -> Block {
        self.settle();
        assert!(
            self.shards[block.shard].hub.identity(block.slot).is_some(),
            "the block is logged in"
        );
        self.flush();
        block
    }

    /// Subscribes a block.
    pub fn subscribe(&mut self, block: Block, filter: &str, qos: QoS) {
        match block.speaks {
            Speaks::Mqtt(version, _) => {
                self.say(block, &packets::subscribe(version, filter, qos));
                self.settle();
                assert_eq!(self.sent(block).last(), Some(&(qos as u8)), "granted as asked");
                self.flush();
            }
            Speaks::Xmpp => self.ask(block, &elements::subscribe(filter)),
        }
    }

    /// A block of XMPP asks for something and gets it.
    pub fn ask(&mut self, block: Block, iq: &str) {
        self.say(block, iq.as_bytes());
        self.settle();
        let answer = self.sent(block);
        let answer = std::str::from_utf8(&answer[2..]).unwrap();
        assert!(answer.contains("type='result'"), "{answer}");
        self.flush();
    }

    /// A packet or an element as the block's transport carries it.
    pub fn carried(&self, block: Block, packet: &[u8]) -> Vec<u8> {
        match block.speaks {
            Speaks::Mqtt(_, Transport::Stream) => packet.to_vec(),
            Speaks::Mqtt(_, Transport::WebSocket) => masked(packet),
            Speaks::Xmpp => masked_text(packet),
        }
    }

    /// A block sends a packet or an element.
    pub fn say(&mut self, block: Block, packet: &[u8]) {
        let bytes = self.carried(block, packet);
        self.receive(block, &bytes);
    }

    /// Bytes reach the server. Copies them into the receive buffer.
    pub fn receive(&mut self, block: Block, bytes: &[u8]) {
        self.inbox.clear();
        self.inbox.extend_from_slice(bytes);
        let shard = &mut self.shards[block.shard];
        let progress = shard.hub.receive(
            &mut shard.machine,
            self.now,
            block.slot,
            block.conn,
            &mut self.inbox,
        );
        assert_eq!(progress.used, bytes.len(), "everything is consumed");
    }

    /// Passes on every parcel there is, once, and gives it back; whether there was one.
    pub fn pass_parcels(&mut self) -> bool {
        let mut passed = false;
        for from in 0..self.shards.len() {
            for to in 0..self.shards.len() {
                let Some(mut parcel) = self.shards[from].hub.outgoing(number(to)) else {
                    continue;
                };
                self.parcelled += parcel.len_bytes() as u64;
                let there = &mut self.shards[to];
                there
                    .hub
                    .parcel(&mut there.machine, self.now, number(from), &mut parcel);
                self.shards[from].hub.recycle(parcel);
                passed = true;
            }
        }
        passed
    }

    /// Decides logins and passes parcels until nothing is left to do.
    pub fn settle(&mut self) {
        let mut busy = true;
        while busy {
            busy = self.pass_parcels();
            for shard in &mut self.shards {
                for request in std::mem::take(&mut shard.machine.logins) {
                    let verdict = LoginVerdict {
                        session: request.session,
                        result: Ok(grants().into()),
                    };
                    shard.hub.verdict(&mut shard.machine, self.now, verdict);
                    busy = true;
                }
            }
        }
    }

    /// What a block was sent since the last flush.
    pub fn sent(&self, block: Block) -> Vec<u8> {
        self.shards[block.shard].machine.sent(block.conn)
    }

    /// Takes everything off the send queues; how many bytes that is.
    pub fn flush(&mut self) -> usize {
        self.shards.iter_mut().map(|shard| shard.machine.flush()).sum()
    }

    /// Frames that were encoded on a shard to be shared by their receivers.
    pub fn frames_made(&self, shard: usize) -> u64 {
        self.shards[shard].machine.frames_made()
    }

    /// Bytes that were encoded on all shards, for one connection and to be shared; then those that parcels carried.
    pub fn copied(&self) -> (Written, u64) {
        let mut sum = Written::default();
        for shard in &self.shards {
            let written = shard.machine.written();
            sum.private += written.private;
            sum.shared += written.shared;
        }
        (sum, self.parcelled)
    }

    /// Messages that were delivered on a shard, on channels and as Direct.
    pub fn delivered(&self, shard: usize) -> u64 {
        let metrics = &self.shards[shard].metrics;
        metrics.channel_out.get() + metrics.direct_out.get()
    }
}

impl Shard {
    fn new(shard: usize, shards: usize) -> Self {
        let metrics = Arc::new(ShardMetrics::default());
        let settings = mqtt::Settings {
            metrics: Arc::clone(&metrics),
            ..mqtt::Settings::default()
        };
        Self {
            hub: Hub::new(router_config(shard, shards, &metrics)),
            machine: Machine::default(),
            opening: Opening {
                mqtt: Arc::new(settings),
                xmpp: Arc::new(xmpp::Settings::new(
                    vec![elements::DOMAIN.into()],
                    [7; 32],
                    Arc::clone(&metrics),
                )),
                passwords: mqtt::Passwords::Taken,
                certified: None,
            },
            metrics,
        }
    }
}

fn number(shard: usize) -> u16 {
    u16::try_from(shard).unwrap()
}
