//! The session driven directly: packets in, commands and packets out.

mod auth;
mod certified;
mod connect;
mod deliver;
mod exchange;
mod forms;
mod hostile;
mod kept;
mod left;
mod life;
mod model;
mod offline;
mod outbound;
mod publish;
mod release;
mod request;
mod share;
mod subscribe;
mod version;
mod waiting;

use std::sync::Arc;

use super::{Passwords, Session, Settings};
use crate::codec::Decode;
use crate::codec::mqtt::packet::{
    Connect, Filter, Filters, Packet, PacketId, Publish, QoS, Subscribe, Version,
};
use crate::codec::mqtt::property::{Properties, Property};
use crate::codec::mqtt::{Context, Direction, decode};
use crate::observe::{DropReason, Stage};
use crate::route::{Command, Identity};
use crate::session::testing::{Peer, UID, identity};
use crate::session::{Disconnect, Session as _};
use crate::time::Now;

const V311: Version = Version::V311;
const V5: Version = Version::V5;
const BOTH: [Version; 2] = [V311, V5];

/// A token of a request.
const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// A client at the other end of a session.
struct Client {
    peer: Peer<Session>,
    settings: Arc<Settings>,
    version: Version,
}

impl Client {
    /// A connection of which nothing has been read.
    fn new(version: Version, settings: Settings) -> Self {
        let settings = Arc::new(settings);
        Self {
            peer: Peer::new(Session::new(&settings, Passwords::Taken, Now::default())),
            settings,
            version,
        }
    }

    /// A client that is in, under these settings and with these properties of its CONNECT.
    fn attached_with(version: Version, settings: Settings, properties: &[Property<'_>]) -> Self {
        let mut client = Self::new(version, settings);
        client
            .send(&Packet::Connect(Connect {
                properties: Properties::list(properties),
                ..connect(version)
            }))
            .unwrap();
        client.attach(&worker());
        client.packets();
        client
    }

    fn attached(version: Version) -> Self {
        Self::attached_with(version, settings(), &[])
    }

    fn send(&mut self, packet: &Packet<'_>) -> Result<Vec<Command<'static>>, Disconnect> {
        let mut bytes = Vec::new();
        packet.encode_into(self.version, &mut bytes);
        self.peer.feed(&bytes)
    }

    /// Sends a packet that asks for exactly one thing.
    fn ask(&mut self, packet: &Packet<'_>) -> Command<'static> {
        let mut commands = self.send(packet).unwrap();
        assert_eq!(commands.len(), 1, "{commands:?}");
        commands.remove(0)
    }

    /// Sends a packet that ends the session, and returns why together with what the client was told.
    fn offend(&mut self, packet: &Packet<'_>) -> (Disconnect, Vec<Packet<'static>>) {
        let disconnect = self.send(packet).unwrap_err();
        (disconnect, self.packets())
    }

    fn attach(&mut self, identity: &Identity) {
        let (session, out) = (&mut self.peer.session, &mut self.peer.out);
        session.attached(self.peer.now, Ok(identity), out);
    }

    /// What was written since the last look.
    fn packets(&mut self) -> Vec<Packet<'static>> {
        decoded(self.version, self.peer.out.take())
    }

    /// The one packet that was written since the last look.
    fn packet(&mut self) -> Packet<'static> {
        let packets = self.packets();
        assert_eq!(packets.len(), 1, "{packets:?}");
        packets[0]
    }

    fn drops(&self, stage: Stage, reason: DropReason) -> u64 {
        self.settings.metrics.drops(stage, reason)
    }
}

fn decoded(version: Version, bytes: Vec<u8>) -> Vec<Packet<'static>> {
    let mut rest: &'static [u8] = Vec::leak(bytes);
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let context = Context {
            version: Some(version),
            packet_bytes_max: usize::MAX,
            direction: Direction::ToClient,
        };
        let Ok(Decode::Frame { frame, len }) = decode(rest, context) else {
            panic!("not a packet: {rest:02x?}");
        };
        packets.push(frame);
        rest = &rest[len..];
    }
    packets
}

fn settings() -> Settings {
    Settings {
        domains: vec!["nexus.example".into(), "other.example".into()],
        ..Settings::default()
    }
}

fn account() -> &'static str {
    Box::leak(format!("etest-{UID}-owner").into_boxed_str())
}

fn worker() -> Identity {
    identity("etest", "owner", "w.1")
}

/// A CONNECT that is let in.
fn connect(version: Version) -> Connect<'static> {
    Connect {
        version,
        clean: true,
        keep_alive_s: 60,
        properties: Properties::EMPTY,
        client_id: "w.1",
        will: None,
        user_name: Some(account()),
        password: Some(b"secret"),
    }
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// A PUBLISH of `{}`, with packet identifier 7 if it needs one.
fn message<'a>(topic: &'a str, qos: QoS, properties: &'a [Property<'a>]) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: (qos != QoS::AtMostOnce).then(|| id(7)),
        properties: Properties::list(properties),
        payload: b"{}",
    }
}

fn filter(filter: &str, qos: QoS) -> Filter<'_> {
    Filter {
        filter,
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
    }
}

/// A SUBSCRIBE with packet identifier 9.
fn subscription<'a>(filters: &'a [Filter<'a>], properties: &'a [Property<'a>]) -> Packet<'a> {
    Packet::Subscribe(Subscribe {
        packet_id: id(9),
        properties: Properties::list(properties),
        filters: Filters::list(filters),
    })
}

/// The code of an acknowledgement, whichever it is.
fn code(packet: &Packet<'_>) -> u8 {
    match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => ack.code,
        Packet::ConnAck(connack) => connack.code,
        Packet::Disconnect(disconnect) => disconnect.code,
        other => panic!("carries no code: {other:?}"),
    }
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 72, "{} bytes", size_of::<Session>());
}
