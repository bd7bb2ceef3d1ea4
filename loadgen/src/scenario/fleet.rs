//! The connections of one thread: opened with bounded concurrency, logged in, subscribed, kept alive.

use crate::clock::SECOND_NS;
use crate::engine::{ConnId, Io, add};
use crate::protocol::mqtt::{self, Login};
use crate::protocol::{Packet, Version};

/// One connection to be.
#[derive(Clone, Debug)]
pub struct Member {
    /// Client Identifier.
    pub client_id: String,
    /// User name and password; `None` connects anonymously.
    pub login: Option<Login>,
    /// Topic Filter subscribed to before the member is ready.
    pub filter: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unopened,
    Opening,
    Connecting,
    Subscribing,
    Ready,
}

/// How a fleet is brought up.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// `None`: raw connections, ready once established.
    pub version: Option<Version>,
    /// QoS of subscriptions.
    pub qos: u8,
    /// Keep Alive, seconds; 0 turns it off.
    pub keepalive_s: u16,
    /// Connections not yet ready at any moment.
    pub concurrency: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Fleet {
    manner: Manner,
    members: Vec<Member>,
    states: Vec<State>,
    conns: Vec<Option<ConnId>>,
    receive_max: Vec<u16>,
    next: usize,
    pending: usize,
    ready: usize,
    keepalive_from_ns: u64,
    pings: u64,
}

impl Fleet {
    /// A fleet that [`Fleet::turn`] will open. A member's index is its tag.
    pub fn new(manner: Manner, members: Vec<Member>) -> Self {
        let count = members.len();
        Self {
            manner,
            members,
            states: vec![State::Unopened; count],
            conns: vec![None; count],
            receive_max: vec![u16::MAX; count],
            next: 0,
            pending: 0,
            ready: 0,
            keepalive_from_ns: 0,
            pings: 0,
        }
    }

    /// True once every member is ready.
    pub fn ready(&self) -> bool {
        self.ready == self.members.len()
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// True if the fleet has no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The connection of a member.
    pub fn conn(&self, tag: u32) -> Option<ConnId> {
        self.conns.get(index(tag)).copied().flatten()
    }

    /// Receive Maximum the server announced to a member.
    pub fn receive_max(&self, tag: u32) -> u16 {
        self.receive_max.get(index(tag)).copied().unwrap_or(u16::MAX)
    }

    /// Opens what may be opened and sends due pings.
    pub fn turn(&mut self, io: &mut Io) {
        while self.pending < self.manner.concurrency && self.next < self.members.len() {
            let Ok(tag) = u32::try_from(self.next) else {
                return;
            };
            match io.open(tag) {
                Ok(id) => {
                    self.set(tag, State::Opening);
                    if let Some(conn) = self.conns.get_mut(self.next) {
                        *conn = Some(id);
                    }
                }
                Err(error) => return io.shared().fail(format!("connection {}: {error}", self.next)),
            }
            self.next += 1;
            self.pending += 1;
        }
        if self.ready() && self.manner.keepalive_s > 0 {
            self.keep_alive(io);
        }
    }

    /// Spreads one PINGREQ per member over each half of the Keep Alive time.
    fn keep_alive(&mut self, io: &mut Io) {
        let half_ns = u64::from(self.manner.keepalive_s) * SECOND_NS / 2;
        if self.keepalive_from_ns == 0 {
            self.keepalive_from_ns = io.now_ns + half_ns;
        }
        let since = u128::from(io.now_ns.saturating_sub(self.keepalive_from_ns));
        let count = self.members.len() as u128;
        let due = u64::try_from(since * count / u128::from(half_ns.max(1))).unwrap_or(u64::MAX);
        while self.pings < due {
            let member = usize::try_from(self.pings % self.members.len().max(1) as u64).unwrap_or(0);
            if let Some(id) = self.conns.get(member).copied().flatten() {
                io.send(id, &mqtt::PINGREQ);
            }
            self.pings += 1;
        }
    }

    /// A member's connection is established.
    pub fn opened(&mut self, io: &mut Io, id: ConnId, tag: u32) {
        let Some(version) = self.manner.version else {
            return self.become_ready(io, tag);
        };
        let Some(member) = self.members.get(index(tag)) else {
            return;
        };
        match mqtt::connect(
            version,
            &member.client_id,
            member.login.as_ref(),
            self.manner.keepalive_s,
        ) {
            Ok(frame) => io.send(id, &frame),
            Err(error) => return io.shared().fail(error.0),
        }
        self.set(tag, State::Connecting);
    }

    /// Takes the packets of the opening; true if `packet` was one.
    pub fn packet(&mut self, io: &mut Io, id: ConnId, tag: u32, packet: &Packet<'_>) -> bool {
        let state = self.states.get(index(tag)).copied().unwrap_or(State::Unopened);
        match (state, packet) {
            (State::Ready, _) => return false,
            (State::Connecting, Packet::ConnAck { code: 0, receive_max }) => {
                if let Some(place) = self.receive_max.get_mut(index(tag)) {
                    *place = *receive_max;
                }
                self.subscribe(io, id, tag);
            }
            (State::Connecting, Packet::ConnAck { code, .. }) => {
                io.shared().fail(format!(
                    "connection {tag} refused with code {code} (0x{code:02x})"
                ));
            }
            (State::Subscribing, Packet::SubAck { granted: true }) => self.become_ready(io, tag),
            (State::Subscribing, Packet::SubAck { granted: false }) => {
                let filter = self
                    .members
                    .get(index(tag))
                    .and_then(|m| m.filter.clone())
                    .unwrap_or_default();
                io.shared().fail(format!("subscription to {filter} refused"));
            }
            _ => {}
        }
        true
    }

    fn subscribe(&mut self, io: &mut Io, id: ConnId, tag: u32) {
        let filter = self
            .members
            .get(index(tag))
            .and_then(|member| member.filter.as_deref());
        let (Some(filter), Some(version)) = (filter, self.manner.version) else {
            return self.become_ready(io, tag);
        };
        match mqtt::subscribe(version, 1, filter, self.manner.qos) {
            Ok(frame) => io.send(id, &frame),
            Err(error) => return io.shared().fail(error.0),
        }
        self.set(tag, State::Subscribing);
    }

    fn become_ready(&mut self, io: &mut Io, tag: u32) {
        self.set(tag, State::Ready);
        self.pending = self.pending.saturating_sub(1);
        self.ready += 1;
        add(&io.counters().ready, 1);
    }

    fn set(&mut self, tag: u32, state: State) {
        if let Some(place) = self.states.get_mut(index(tag)) {
            *place = state;
        }
    }

    /// A member's connection ended: the run cannot go on.
    pub fn closed(&mut self, io: &mut Io, tag: u32, why: &str) {
        if let Some(conn) = self.conns.get_mut(index(tag)) {
            *conn = None;
        }
        let id = self
            .members
            .get(index(tag))
            .map_or("?", |member| member.client_id.as_str());
        io.shared().fail(format!("connection {id} ended: {why}"));
    }
}

/// A tag as an index.
pub fn index(tag: u32) -> usize {
    usize::try_from(tag).unwrap_or(usize::MAX)
}
