//! The sessions there are, joined in one type: a table of connections needs no boxes and no virtual calls.

use std::sync::Arc;

use super::ws::{MessageKind, Subprotocol};
use super::{
    Disconnect, Due, Ending, Frames, Life, LoginFailure, Output, Proven, ResumeFailure, Scratch, Session,
    Starts, Step, Will, mqtt, ws, xmpp,
};
use crate::codec::Decode;
use crate::codec::mqtt::header;
use crate::journal::Journal;
use crate::observe::{Protocol, Transport};
use crate::route::{
    Bind, Certified, Completion, Delivery, Identity, Mark, Returned, SubscriptionOptions, Ticket, Token,
    Undelivered,
};
use crate::time::{Instant, Now};

/// What sessions are made from, whatever carries them.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Shared by the MQTT sessions of one shard.
    pub mqtt: Arc<mqtt::Settings>,
    /// Shared by the XMPP sessions of one shard.
    pub xmpp: Arc<xmpp::Settings>,
    /// What the listener says of passwords.
    pub passwords: mqtt::Passwords,
    /// What the certificate says that the client has shown, if it has.
    pub certified: Option<Box<Certified>>,
}

/// What WebSocket carries, as its handshake chose.
#[derive(Debug)]
pub enum Carrying {
    /// MQTT in binary messages.
    Mqtt(mqtt::Session),
    /// XMPP in text messages; boxed, so that MQTT does not pay for it.
    Xmpp(Box<xmpp::Session>),
}

/// The same expression for whichever session is carried; with an output, framed as that protocol's messages are.
macro_rules! carried {
    ($carrying:expr, $session:ident => $does:expr) => {
        match $carrying {
            Carrying::Mqtt($session) => $does,
            Carrying::Xmpp($session) => $does,
        }
    };
    ($carrying:expr, $out:ident, $session:ident => $does:expr) => {
        match $carrying {
            Carrying::Mqtt($session) => {
                let $out = &mut ws::BinaryOutput::new($out);
                $does
            }
            Carrying::Xmpp($session) => {
                let $out = &mut ws::TextOutput::new($out);
                $does
            }
        }
    };
}

impl ws::Carried for Carrying {
    type Opening = Opening;

    fn speaks(_: &Opening, subprotocol: Subprotocol) -> bool {
        match subprotocol {
            Subprotocol::Mqtt | Subprotocol::Xmpp => true,
        }
    }

    fn open(opening: &Opening, subprotocol: Subprotocol, accepted: Now) -> Self {
        let passwords = opening.passwords;
        let mut carrying = match subprotocol {
            Subprotocol::Mqtt => Self::Mqtt(mqtt::Session::new(&opening.mqtt, passwords, accepted)),
            Subprotocol::Xmpp => Self::Xmpp(Box::new(xmpp::Session::new(&opening.xmpp, passwords, accepted))),
        };
        if opening.certified.is_some() {
            carrying.secured(opening.certified.clone());
        }
        carrying
    }

    fn certify(opening: &mut Opening, certified: Box<Certified>) {
        opening.certified = Some(certified);
    }

    fn kind(&self) -> MessageKind {
        match self {
            Self::Mqtt(_) => MessageKind::Stream,
            Self::Xmpp(_) => MessageKind::Elements,
        }
    }

    fn packet_len(&self, bytes: &[u8]) -> usize {
        match self {
            Self::Mqtt(_) => mqtt_packet_len(bytes),
            // Messages are elements: their frames say how long they are.
            Self::Xmpp(_) => bytes.len(),
        }
    }
}

/// See [`ws::Carried::packet_len`].
fn mqtt_packet_len(bytes: &[u8]) -> usize {
    match header(bytes) {
        Ok(Decode::Frame { frame, .. }) => frame.packet_len(),
        Ok(Decode::Need(need)) => need,
        Err(_) => 0,
    }
}

impl Session for Carrying {
    fn receive<'a, O: Output>(
        &mut self,
        now: Now,
        bytes: &'a mut [u8],
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        carried!(self, out, session => session.receive(now, bytes, scratch, out))
    }

    fn attached<O: Output>(&mut self, now: Now, verdict: Result<&Identity, LoginFailure>, out: &mut O) {
        carried!(self, out, session => session.attached(now, verdict, out));
    }

    fn proven<O: Output>(
        &mut self,
        now: Now,
        verdict: Result<Proven<'_>, LoginFailure>,
        out: &mut O,
    ) -> Result<Option<Bind<'_>>, Disconnect> {
        carried!(self, out, session => session.proven(now, verdict, out))
    }

    fn secured(&mut self, certified: Option<Box<Certified>>) {
        carried!(self, session => session.secured(certified));
    }

    fn completed<O: Output>(&mut self, now: Now, ticket: Ticket, completion: &Completion, out: &mut O) {
        carried!(self, out, session => session.completed(now, ticket, completion, out));
    }

    fn deliver<O: Output>(
        &mut self,
        now: Now,
        delivery: &Delivery<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        carried!(self, out, session => session.deliver(now, delivery, frames, out))
    }

    fn timeout<O: Output>(&mut self, now: Now, out: &mut O) -> Result<(), Disconnect> {
        carried!(self, out, session => session.timeout(now, out))
    }

    fn next_timeout(&self) -> Option<Instant> {
        carried!(self, session => session.next_timeout())
    }

    fn take_will(&mut self) -> Option<Box<Will>> {
        carried!(self, session => session.take_will())
    }

    fn takes_direct(&self) -> Option<SubscriptionOptions> {
        carried!(self, session => session.takes_direct())
    }

    fn not_resumed<O: Output>(&mut self, failure: ResumeFailure, out: &mut O) -> Result<(), Disconnect> {
        carried!(self, out, session => session.not_resumed(failure, out))
    }

    fn end<O: Output>(&mut self, now: Now, ending: Ending, out: &mut O) {
        carried!(self, out, session => session.end(now, ending, out));
    }

    fn protocol(&self) -> (Protocol, Transport) {
        carried!(self, session => session.protocol())
    }

    fn committed<O: Output>(&mut self, now: Now, batch: u64, out: &mut O) {
        carried!(self, out, session => session.committed(now, batch, out));
    }
}

/// A session of any protocol over any transport.
#[derive(Debug)]
pub enum AnySession {
    /// MQTT over a stream (TCP, TLS).
    Mqtt(mqtt::Session),
    /// WebSocket, which carries what its handshake chooses; boxed, so that MQTT over a stream does not pay for it.
    WebSocket(Box<ws::Session<Carrying>>),
    /// XMPP over a stream, boxed for the same reason.
    Xmpp(Box<xmpp::TcpSession>),
    /// XMPP without a connection, to be resumed over any carrier.
    Suspended(Box<xmpp::Session>),
}

impl AnySession {
    /// MQTT on a connection accepted `now`.
    pub fn mqtt(opening: &Opening, now: Now) -> Self {
        Self::Mqtt(mqtt::Session::new(&opening.mqtt, opening.passwords, now))
    }

    /// WebSocket on a connection accepted `now`.
    pub fn web_socket(opening: &Opening, now: Now) -> Self {
        Self::WebSocket(Box::new(ws::Session::new(opening, now)))
    }

    /// XMPP on a connection accepted `now`; with `starttls`, one in clear that may turn to TLS.
    pub fn xmpp(opening: &Opening, starttls: bool, now: Now) -> Self {
        let session = xmpp::TcpSession::new(&opening.xmpp, opening.passwords, starttls, now);
        Self::Xmpp(Box::new(session))
    }

    /// A session of MQTT that was kept over a restart, as [`Session::describe`] wrote it down, with its messages;
    /// `None` if that cannot be read.
    pub fn restored(
        opening: &Opening,
        now: Now,
        starts: &Starts,
        described: &[u8],
        messages: mqtt::MessageState,
    ) -> Option<Self> {
        mqtt::Session::restored(&opening.mqtt, now, starts, described, messages).map(Self::Mqtt)
    }

    /// Belongs to another shard from now on, whose settings these are.
    pub fn rehome(&mut self, opening: &Opening) {
        if let Some(session) = self.as_mqtt_mut() {
            session.rehome(&opening.mqtt);
        } else if let Some(session) = self.as_xmpp_mut() {
            session.rehome(&opening.xmpp);
        }
    }

    /// The session of MQTT, whatever carries it.
    fn as_mqtt(&self) -> Option<&mqtt::Session> {
        match self {
            Self::Mqtt(session) => Some(session),
            Self::WebSocket(session) => match session.carried()? {
                Carrying::Mqtt(session) => Some(session),
                Carrying::Xmpp(_) => None,
            },
            Self::Xmpp(_) | Self::Suspended(_) => None,
        }
    }

    /// The session of MQTT, whatever carries it.
    fn as_mqtt_mut(&mut self) -> Option<&mut mqtt::Session> {
        match self {
            Self::Mqtt(session) => Some(session),
            Self::WebSocket(session) => match session.carried_mut()? {
                Carrying::Mqtt(session) => Some(session),
                Carrying::Xmpp(_) => None,
            },
            Self::Xmpp(_) | Self::Suspended(_) => None,
        }
    }
}

impl AnySession {
    /// The session of XMPP, whatever carries it.
    fn as_xmpp(&self) -> Option<&xmpp::Session> {
        match self {
            Self::Mqtt(_) => None,
            Self::WebSocket(session) => match session.carried()? {
                Carrying::Mqtt(_) => None,
                Carrying::Xmpp(session) => Some(session),
            },
            Self::Xmpp(session) => Some(session.session()),
            Self::Suspended(session) => Some(session),
        }
    }

    /// The session of XMPP, whatever carries it.
    fn as_xmpp_mut(&mut self) -> Option<&mut xmpp::Session> {
        match self {
            Self::Mqtt(_) => None,
            Self::WebSocket(session) => match session.carried_mut()? {
                Carrying::Mqtt(_) => None,
                Carrying::Xmpp(session) => Some(session),
            },
            Self::Xmpp(session) => Some(session.session_mut()),
            Self::Suspended(session) => Some(session),
        }
    }
}

/// The same expression for whichever session it is.
macro_rules! each {
    ($any:expr, $session:ident => $does:expr) => {
        match $any {
            AnySession::Mqtt($session) => $does,
            AnySession::WebSocket($session) => $does,
            AnySession::Xmpp($session) => $does,
            AnySession::Suspended($session) => $does,
        }
    };
}

impl Session for AnySession {
    fn receive<'a, O: Output>(
        &mut self,
        now: Now,
        bytes: &'a mut [u8],
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        each!(self, session => session.receive(now, bytes, scratch, out))
    }

    fn attached<O: Output>(&mut self, now: Now, verdict: Result<&Identity, LoginFailure>, out: &mut O) {
        each!(self, session => session.attached(now, verdict, out));
    }

    fn proven<O: Output>(
        &mut self,
        now: Now,
        verdict: Result<Proven<'_>, LoginFailure>,
        out: &mut O,
    ) -> Result<Option<Bind<'_>>, Disconnect> {
        each!(self, session => session.proven(now, verdict, out))
    }

    fn secured(&mut self, certified: Option<Box<Certified>>) {
        each!(self, session => session.secured(certified));
    }

    fn completed<O: Output>(&mut self, now: Now, ticket: Ticket, completion: &Completion, out: &mut O) {
        each!(self, session => session.completed(now, ticket, completion, out));
    }

    fn deliver<O: Output>(
        &mut self,
        now: Now,
        delivery: &Delivery<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        each!(self, session => session.deliver(now, delivery, frames, out))
    }

    fn timeout<O: Output>(&mut self, now: Now, out: &mut O) -> Result<(), Disconnect> {
        each!(self, session => session.timeout(now, out))
    }

    fn next_timeout(&self) -> Option<Instant> {
        each!(self, session => session.next_timeout())
    }

    fn take_will(&mut self) -> Option<Box<Will>> {
        each!(self, session => session.take_will())
    }

    fn takes_direct(&self) -> Option<SubscriptionOptions> {
        each!(self, session => session.takes_direct())
    }

    fn resumption(&self) -> Option<Token> {
        self.as_xmpp().and_then(xmpp::Session::resumption)
    }

    fn check_resume(&self, handled: u32) -> Result<(), ResumeFailure> {
        let gone = Err(ResumeFailure::NotFound { handled: None });
        self.as_xmpp()
            .map_or(gone, |session| session.check_resume(handled))
    }

    fn not_resumed<O: Output>(&mut self, failure: ResumeFailure, out: &mut O) -> Result<(), Disconnect> {
        each!(self, session => session.not_resumed(failure, out))
    }

    fn end<O: Output>(&mut self, now: Now, ending: Ending, out: &mut O) {
        each!(self, session => session.end(now, ending, out));
    }

    fn protocol(&self) -> (Protocol, Transport) {
        each!(self, session => session.protocol())
    }

    fn life(&self) -> Life {
        self.as_mqtt().map_or(Life::Connection, Session::life)
    }

    fn gathered(&self) -> usize {
        each!(self, session => session.gathered())
    }

    fn will_bytes(&self) -> u64 {
        self.as_mqtt().map_or(0, Session::will_bytes)
    }

    fn will_fits(&self, freed: u64) -> bool {
        self.as_mqtt().is_none_or(|session| session.will_fits(freed))
    }

    fn keep_as(&mut self, number: u64) {
        if let Some(session) = self.as_mqtt_mut() {
            session.keep_as(number);
        }
    }

    fn number(&self) -> u64 {
        self.as_mqtt().map_or(0, Session::number)
    }

    fn detach(&mut self, now: Now) -> Option<Self> {
        if let Some(session) = self.as_xmpp_mut() {
            return session.detach(now).map(Box::new).map(Self::Suspended);
        }
        self.as_mqtt_mut()?.detach(now).map(Self::Mqtt)
    }

    fn inherit(&mut self, earlier: &mut Self) {
        if let (Some(session), Some(earlier)) = (self.as_mqtt_mut(), earlier.as_mqtt_mut()) {
            session.inherit(earlier);
        }
        if let (Some(session), Some(earlier)) = (self.as_xmpp_mut(), earlier.as_xmpp_mut()) {
            session.inherit(earlier);
        }
    }

    fn find_left(&mut self, left: Arc<[u8]>) {
        if let Some(session) = self.as_xmpp_mut() {
            session.find_left(left);
        }
    }

    fn leave_behind(&mut self, now: Now) -> Option<Arc<[u8]>> {
        self.as_xmpp_mut()?.leave_behind(now)
    }

    fn give_back(&mut self, now: Now) -> Vec<Returned> {
        self.as_mqtt_mut()
            .map_or_else(Vec::new, |session| Session::give_back(session, now))
    }

    fn keep_delivery(&mut self, now: Now, delivery: &Delivery<'_>) -> Result<(), Undelivered> {
        if let Some(session) = self.as_xmpp_mut() {
            return session.keep_delivery(now, delivery);
        }
        self.as_mqtt_mut().map_or(Err(Undelivered::Gone), |session| {
            Session::keep_delivery(session, now, delivery)
        })
    }

    fn due(&mut self, now: Now) -> Option<Due> {
        if let Some(session) = self.as_xmpp() {
            return session.due(now);
        }
        self.as_mqtt_mut()?.due(now)
    }

    fn describe(&self, now: Now, into: &mut Vec<u8>) {
        if let Some(session) = self.as_mqtt() {
            session.describe(now, into);
        }
    }

    fn drain_journal(&mut self, batch: u64, into: &mut Journal) -> bool {
        self.as_mqtt_mut()
            .is_some_and(|session| Session::drain_journal(session, batch, into))
    }

    fn settled(&mut self, batch: u64) {
        if let Some(session) = self.as_mqtt_mut() {
            Session::settled(session, batch);
        }
    }

    fn mark(&self, ticket: Ticket) -> Option<Mark> {
        self.as_mqtt().and_then(|session| Session::mark(session, ticket))
    }

    fn missed(&mut self, ticket: Ticket, completion: &Completion) {
        if let Some(session) = self.as_mqtt_mut() {
            Session::missed(session, ticket, completion);
        } else if let Some(session) = self.as_xmpp_mut() {
            session.missed(ticket, completion);
        }
    }

    fn committed<O: Output>(&mut self, now: Now, batch: u64, out: &mut O) {
        each!(self, session => session.committed(now, batch, out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::Recorder;

    fn opening() -> Opening {
        Opening {
            mqtt: Arc::default(),
            xmpp: Arc::new(xmpp::Settings::new(Vec::new(), [7; 32], Default::default())),
            passwords: mqtt::Passwords::Taken,
            certified: None,
        }
    }

    #[test]
    fn mqtt_2_1_4_the_length_of_a_packet_is_read_from_its_fixed_header_alone() {
        let len = mqtt_packet_len;
        assert_eq!((len(&[]), len(&[0x10]), len(&[0x10, 0x80])), (2, 2, 3));
        assert_eq!(len(&[0x30, 0x03, 0, 1]), 5);
        assert_eq!(len(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]), 5 + 268_435_455);
        // What is malformed is complete: more bytes do not mend it.
        assert_eq!(len(&[0x00]), 0);
        assert_eq!(len(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]), 0);
    }

    #[test]
    fn web_socket_costs_little_beside_what_it_carries() {
        let carried = size_of::<mqtt::Session>();
        assert!(size_of::<ws::Session<Carrying>>() <= carried + 40);
        assert!(size_of::<AnySession>() <= carried + 8);
    }

    #[test]
    fn each_speaks_its_own_protocol() {
        let (now, mut scratch, mut out) = (Now::default(), Scratch::default(), Recorder::default());
        let mut bytes = *b"SSH-2.0-client\r\n\r\n";
        let mut web = AnySession::web_socket(&opening(), now);
        assert!(web.next_timeout().is_some());
        assert!(web.receive(now, &mut bytes, &mut scratch, &mut out).is_err());
        assert!(out.take().starts_with(b"HTTP/1.1 400 "));
        let mut plain = AnySession::mqtt(&opening(), now);
        assert!(plain.receive(now, &mut bytes, &mut scratch, &mut out).is_err());
        assert!(!out.take().starts_with(b"HTTP"));
    }
}
