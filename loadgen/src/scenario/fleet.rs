//! The connections of one thread: opened with bounded concurrency, logged in, subscribed, kept alive.

use crate::clock::SECOND_NS;
use crate::engine::{ConnId, Io, add};
use crate::protocol::login::{Caller, Continuity, Next, Step, Then, Want};
use crate::protocol::nats;
use crate::protocol::xmpp::{self, IqKind};
use crate::protocol::{Login, Malformed, Packet, Stanza, Wire};

/// One connection to be.
#[derive(Clone, Debug)]
pub struct Member {
    /// Client Identifier, or resource.
    pub client_id: String,
    /// User name and password; `None` connects anonymously.
    pub login: Option<Login>,
    /// What it subscribes to before it is ready.
    pub want: Option<Want>,
    /// The listener it connects to, by its place among the run's.
    pub endpoint: usize,
    /// What it speaks.
    pub wire: Wire,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unopened,
    Opening,
    LoggingIn(Step),
    Ready,
}

/// How a fleet is brought up.
#[derive(Clone, Debug)]
pub struct Manner {
    /// The domain that XMPP connections speak to.
    pub domain: String,
    /// QoS of subscriptions.
    pub qos: u8,
    /// Keep Alive, seconds; 0 turns it off.
    pub keepalive_s: u16,
    /// Connections not yet ready at any moment.
    pub concurrency: usize,
    /// What connections ask of their sessions.
    pub continuity: Continuity,
}

/// See the module.
#[derive(Debug)]
pub struct Fleet {
    manner: Manner,
    members: Vec<Member>,
    states: Vec<State>,
    conns: Vec<Option<ConnId>>,
    receive_max: Vec<u16>,
    /// XMPP: stanzas that each was sent.
    handled: Vec<u32>,
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
            handled: vec![0; count],
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
            let endpoint = self.members.get(self.next).map_or(0, |member| member.endpoint);
            match io.open(tag, endpoint) {
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

    /// Spreads one ping per member over each half of the Keep Alive time.
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
            let wire = self.members.get(member).map(|member| member.wire);
            if let (Some(id), Some(wire)) = (self.conns.get(member).copied().flatten(), wire) {
                io.send(id, &wire.ping());
            }
            self.pings += 1;
        }
    }

    fn caller(&self, tag: u32) -> Option<Caller<'_>> {
        let member = self.members.get(index(tag))?;
        Some(Caller {
            wire: member.wire,
            name: &member.client_id,
            login: member.login.as_ref(),
            want: member.want.as_ref(),
            qos: self.manner.qos,
            keepalive_s: self.manner.keepalive_s,
            domain: &self.manner.domain,
            continuity: self.manner.continuity,
        })
    }

    /// A member's connection is established.
    pub fn opened(&mut self, io: &mut Io, id: ConnId, tag: u32) {
        let after = match self.states.get(index(tag)) {
            Some(State::LoggingIn(step)) => Some(*step),
            _ => None,
        };
        if let Some(next) = self.caller(tag).map(|caller| caller.greet(after)) {
            self.go_on(io, id, tag, next.map(Some));
        }
    }

    /// Takes the packets of the opening, and those that only keep a connection alive; true if `packet` was one.
    pub fn packet(&mut self, io: &mut Io, id: ConnId, tag: u32, packet: &Packet<'_>) -> bool {
        if let (Packet::Stanza(stanza), Some(handled)) = (packet, self.handled.get_mut(index(tag))) {
            *handled = handled.wrapping_add(stanza.counts().into());
            match stanza {
                Stanza::Enabled => *handled = 0,
                Stanza::AckWanted => {
                    io.send(id, &xmpp::acknowledge(*handled));
                    return true;
                }
                _ => {}
            }
        }
        if let Packet::Stanza(Stanza::Iq(iq)) = packet {
            if iq.kind == IqKind::Get {
                io.send(id, &xmpp::pong(iq.id));
                return true;
            }
            if iq.id == xmpp::PING_ID {
                return true;
            }
        }
        if *packet == Packet::Ping {
            io.send(id, nats::PONG);
            return true;
        }
        match self.states.get(index(tag)).copied() {
            Some(State::Ready) => return false,
            Some(State::LoggingIn(step)) => {
                if let Some(next) = self.caller(tag).map(|caller| caller.answer(step, packet)) {
                    self.go_on(io, id, tag, next);
                }
            }
            _ => {}
        }
        true
    }

    fn go_on(&mut self, io: &mut Io, id: ConnId, tag: u32, next: Result<Option<Next>, Malformed>) {
        let next = match next {
            Ok(Some(next)) => next,
            Ok(None) => return,
            Err(Malformed(why)) => return io.shared().fail(why),
        };
        for frame in &next.send {
            io.send(id, frame);
        }
        if let (Some(told), Some(place)) = (next.receive_max, self.receive_max.get_mut(index(tag))) {
            *place = told;
        }
        match next.then {
            Then::Step(step) => self.set(tag, State::LoggingIn(step)),
            Then::Secure => {
                if let Err(error) = io.secure(id) {
                    io.shared().fail(format!("connection {tag}: TLS: {error}"));
                }
            }
            Then::Ready => self.become_ready(io, tag),
            Then::Refused(why) => io.shared().fail(format!("connection {tag} refused: {why}")),
        }
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
