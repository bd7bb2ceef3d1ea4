//! The MQTT session, versions 3.1.1 and 5.0: one connection's protocol state (PROTOCOL section 3).
//!
//! Invariants: a code that reaches a client comes from [`reason`]; a topic that reaches the router comes from
//! [`control`]; a session that idles holds no heap but its will, by which method it authenticates, if by one, and
//! the topic aliases that its client takes; one that is kept ([`state`]) its exchange as well.

mod auth;
mod connect;
mod control;
mod deliver;
mod description;
mod exchange;
mod in_flight;
mod inbound;
mod kept;
mod label;
mod left;
mod life;
mod machine;
mod message;
mod origin;
mod outbound;
mod publish;
mod reason;
mod rows;
mod settings;
mod state;
mod subscribe;
mod topic_alias;
mod transmit;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::codec::mqtt::Undecoded;
use crate::codec::mqtt::packet::{self, Ack, Packet, PacketId, Version};
use crate::codec::mqtt::property::{Properties, Property};
use crate::limits;
use crate::route::{Certified, Command, Ticket};
pub use crate::session::Passwords;
use crate::session::{Disconnect, Output, Scratch};
use crate::time::{Instant, MaybeInstant, Now};

use auth::Enhanced;
use inbound::Aliases;
use left::Left;
use reason::{Carrier, Reason};
pub use rows::{inbound_of, outbound_of};
pub use settings::Settings;
pub use state::MessageState;
use subscribe::ReplyFilter;
use topic_alias::Replacements;

/// Where in its life a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// CONNECT has not come.
    Connecting,
    /// CONNECT has come, the verdict has not; the same for what an AUTH has shown.
    LoggingIn,
    /// The server has answered CONNECT with AUTH, and waits for the client's (5.0, 4.12).
    Challenged,
    /// CONNACK is written.
    Attached,
    /// The session goes on without a connection.
    Offline,
    /// The good-bye is written or read.
    Ended,
}

/// What few sessions need.
#[derive(Debug, Default)]
struct Rare {
    aliases: Aliases,
    replaced: Replacements,
    replies: Vec<ReplyFilter>,
    enhanced: Option<Box<Enhanced>>,
    /// What the client's certificate says of it, until it is in.
    certified: Option<Box<Certified>>,
    /// Until when the messages that were published are earned, where their rate is bounded.
    earned: Option<Instant>,
}

/// One MQTT connection.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    /// When the last packet came; until the login has succeeded, when the connection did.
    heard: Instant,
    /// Since when the send queue was found over its bound.
    blocked_since: MaybeInstant,
    will: Option<Box<Left>>,
    rare: Option<Box<Rare>>,
    messages: Option<Box<MessageState>>,
    /// The client's Maximum Packet Size; 3.1.1 has none.
    client_packet_bytes_max: u32,
    /// Seconds, as granted; 0 is off.
    keep_alive_s: u16,
    /// Places for QoS 1 and 2 messages on their way to the client: its Receive Maximum, as far as it is used.
    window: u16,
    /// Messages of the client for which the router has not completed: QoS 1, of 3.1.1 QoS 2, too.
    unanswered: u16,
    state: State,
    version: Version,
    passwords: Passwords,
    /// What CONNACK has to say is decided when CONNECT is read.
    welcome: connect::Welcome,
    /// The client takes reason strings (5.0, 3.1.2.11.7).
    problem_information: bool,
    /// What was there before is given up: Clean Start, Clean Session (3.1.2.4).
    fresh: bool,
    /// How long the session lasts without a connection, as granted (5.0, 3.1.2.11.2).
    session_expiry_s: u32,
}

impl Session {
    /// A connection accepted `now`, of which nothing has been read.
    pub fn new(settings: &Arc<Settings>, passwords: Passwords, now: Now) -> Self {
        Self {
            settings: Arc::clone(settings),
            heard: now.instant,
            blocked_since: MaybeInstant::NONE,
            will: None,
            rare: None,
            messages: None,
            client_packet_bytes_max: u32::MAX,
            keep_alive_s: 0,
            window: settings.inflight_max,
            unanswered: 0,
            state: State::Connecting,
            version: Version::V311,
            passwords,
            welcome: connect::Welcome::default(),
            problem_information: false,
            fresh: true,
            session_expiry_s: 0,
        }
    }

    /// What one packet of an attached client asks for.
    fn packet<'a, O: Output>(
        &mut self,
        now: Now,
        packet: &Undecoded<'a>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Option<Command<'a>>, Reason> {
        match packet.packet().map_err(Reason::Malformed)? {
            Packet::Publish(publish) => return self.publish(now, &publish, scratch, out),
            Packet::Subscribe(subscribe) => return self.subscribe(&subscribe).map(Some),
            Packet::Unsubscribe(unsubscribe) => return self.unsubscribe(&unsubscribe).map(Some),
            Packet::PubAck(ack) => self.acknowledged(now, ack.packet_id, out)?,
            Packet::PubRec(ack) => self.received(now, &ack, out)?,
            Packet::PubRel(ack) => self.released(ack.packet_id, out),
            Packet::PubComp(ack) => self.exchanged(now, ack.packet_id, out),
            Packet::PingReq => {
                self.shrink();
                self.send(&Packet::PingResp, out);
            }
            Packet::Disconnect(disconnect) => return self.left(&disconnect).map(Some),
            Packet::Auth(auth) => {
                return Ok(Some(Command::Authenticate(self.auth(&auth, scratch)?)));
            }
            // 3.1.0-2: a second CONNECT; what only servers send.
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => return Err(Reason::ProtocolError),
        }
        Ok(None)
    }

    /// A packet of a client that is not in yet, and is asked to prove itself \[MQTT-3.1.2-30\].
    fn challenged<'a>(
        &mut self,
        packet: &Packet<'_>,
        scratch: &'a mut Scratch,
    ) -> Result<Command<'a>, Reason> {
        match packet {
            Packet::Auth(auth) => {
                let claim = self.auth(auth, scratch)?;
                self.state = State::LoggingIn;
                Ok(Command::Authenticate(claim))
            }
            Packet::Disconnect(disconnect) => self.left(disconnect),
            _ => Err(Reason::ProtocolError),
        }
    }

    /// DISCONNECT from the client (3.14).
    fn left(&mut self, disconnect: &packet::Disconnect<'_>) -> Result<Command<'static>, Reason> {
        if !self.change_life(disconnect) {
            return Err(Reason::ProtocolError);
        }
        // [MQTT-3.14.4-3]: success discards the will; every other code, 0x04 above all, keeps it.
        if disconnect.code == 0 {
            self.will = None;
        }
        self.state = State::Ended;
        Ok(Command::Leave)
    }

    /// Appends a packet. One that is larger than the client takes is left out as if it had been sent
    /// \[MQTT-3.1.2-25\].
    fn send<O: Output>(&self, packet: &Packet<'_>, out: &mut O) {
        let len = packet.encoded_len(self.version);
        if self.fits(len) {
            out.write(len, |buffer| packet.encode_into(self.version, buffer));
        }
    }

    fn fits(&self, packet_bytes: usize) -> bool {
        u32::try_from(packet_bytes).is_ok_and(|len| len <= self.client_packet_bytes_max)
    }

    /// Sends what `packet` makes of the reason's properties: with the reason string if the client wants it and
    /// it fits, else without \[MQTT-3.4.2-2\].
    fn send_with_text<'p, O: Output>(
        &self,
        reason: Option<Reason>,
        packet: impl Fn(Properties<'p>) -> Packet<'p>,
        properties: &'p mut [Property<'p>; 1],
        out: &mut O,
    ) {
        if let Some(text) = reason.and_then(reason::text)
            && self.problem_information
        {
            *properties = [Property::ReasonString(text)];
            let packet = packet(Properties::list(properties));
            if self.fits(packet.encoded_len(self.version)) {
                return self.send(&packet, out);
            }
        }
        self.send(&packet(Properties::EMPTY), out);
    }

    /// PUBACK, or PUBREC for QoS 2; `None` is success. 3.1.1 acknowledges what it refuses, too.
    fn acknowledge<O: Output>(&mut self, ticket: Ticket, reason: Option<Reason>, out: &mut O) {
        let Some((packet_id, exactly_once)) = publish::packet_id(ticket) else {
            return;
        };
        let code = self.ack_code(reason);
        if exactly_once {
            self.answered(packet_id, code >= 0x80);
        }
        let packet = |properties| {
            let ack = Ack {
                packet_id,
                code,
                properties,
            };
            if exactly_once {
                Packet::PubRec(ack)
            } else {
                Packet::PubAck(ack)
            }
        };
        self.send_with_text(reason, packet, &mut [Property::ReasonString("")], out);
    }

    /// The code of PUBACK or PUBREC.
    fn ack_code(&self, reason: Option<Reason>) -> u8 {
        match (self.version, reason) {
            (Version::V5, Some(reason)) => reason::code_v5(reason, Carrier::PubAck),
            _ => 0,
        }
    }

    /// Ends the session by its peer's fault: writes what the version has for it.
    fn quit<O: Output>(&mut self, reason: Reason, out: &mut O) -> Disconnect {
        self.say_good_bye(reason, out);
        reason::disconnect(reason)
    }

    fn say_good_bye<O: Output>(&mut self, reason: Reason, out: &mut O) {
        match self.state {
            // [MQTT-3.14.0-1]: no DISCONNECT before a successful CONNACK.
            State::LoggingIn | State::Challenged => {
                self.will = None;
                self.refuse(reason, out);
            }
            State::Attached if self.version == Version::V5 => {
                let code = reason::code_v5(reason, Carrier::Disconnect);
                let packet = |properties| Packet::Disconnect(packet::Disconnect { code, properties });
                self.send_with_text(Some(reason), packet, &mut [Property::ReasonString("")], out);
            }
            State::Attached | State::Connecting | State::Offline | State::Ended => {}
        }
        self.state = State::Ended;
    }

    /// Gives back what a burst has left, when the client says that it idles.
    fn shrink(&mut self) {
        if let Some(messages) = &mut self.messages {
            messages.shrink();
        }
        if self.messages.as_ref().is_some_and(|messages| messages.is_empty()) {
            self.messages = None;
        }
        if self.rare.as_ref().is_some_and(|rare| rare.is_empty()) {
            self.rare = None;
        }
    }

    fn keep_alive_deadline(&self) -> Option<Instant> {
        // [MQTT-3.1.2-22]: one and a half times the keep alive.
        let wait = Duration::from_millis(u64::from(self.keep_alive_s) * 1_500);
        (!wait.is_zero()).then(|| self.heard + wait)
    }

    fn blocked_deadline(&self) -> Option<Instant> {
        let since = self.blocked_since.get();
        since.map(|since| since + Duration::from_millis(limits::SEND_BLOCKED_MS_MAX))
    }
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.aliases.is_empty()
            && !self.replaced.are_taken()
            && self.replies.is_empty()
            && self.enhanced.is_none()
            && self.certified.is_none()
            && self.earned.is_none()
    }
}

/// The wire's packet identifier as a number.
fn number(id: PacketId) -> u32 {
    u32::from(id.get())
}
