//! The XMPP session: one connection's protocol state (PROTOCOL section 4), carried by WebSocket (RFC 7395) or by TCP
//! (RFC 6120, in [`TcpSession`]).
//!
//! Invariants: a word of the standards that reaches a client comes from [`condition`]; `from` of what a client sends
//! is never read; a session that has logged in holds no heap but its address, the rooms it is in, what a command waits
//! for, and what stream management remembers where the client wants that.

mod attributes;
mod condition;
mod deliver;
mod groupchat;
mod introduced;
mod iq;
mod label;
mod login;
mod manage;
mod managed;
mod message;
mod names;
mod native;
mod occupants;
mod presence;
mod recording;
mod restoring;
mod room_iq;
mod rooms;
mod settings;
mod shown;
mod stream;
mod tcp;
mod unacked;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::codec::xmpp::{Element, Piece, write as pieces};
use crate::limits;
use crate::observe::{Protocol, Transport};
use crate::route::{
    Bind, Certified, Command, Completion, Delivery, Identity, SubscriptionOptions, Ticket, Undelivered,
};
use crate::session::{
    Disconnect, Ending, Frames, LoginFailure, Output, Passwords, Proven, ResumeFailure, Scratch, Step, Will,
};
use crate::time::{Instant, Now};

use condition::Fatal;
use iq::Waiting;
use login::Login;
use managed::Managed;
use recording::Recording;
use rooms::Rooms;
pub use settings::Settings;
pub use tcp::TcpSession;
pub use unacked::Unacked;

/// An expression with an output, whose stanzas stream management counts where the client wants that. Afterwards the client
/// is asked what it has handled, unless it was.
macro_rules! recorded {
    ($session:ident, $out:ident => $does:expr) => {
        match $session.managed.take() {
            None => $does,
            Some(mut managed) => {
                let done = {
                    let $out = &mut Recording {
                        out: &mut *$out,
                        managed: &mut managed,
                    };
                    $does
                };
                if $session.state != State::Ended {
                    manage::ask(&mut managed, $out);
                    $session.managed = Some(managed);
                }
                done
            }
        }
    };
}

/// Where in its life a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The stream is to be opened.
    Closed,
    /// It is open; the client is to prove who it is.
    Negotiating,
    /// The client has to answer a challenge.
    Challenged,
    /// The proof is being decided.
    Deciding,
    /// It was accepted; the stream is to be opened again.
    Proven,
    /// The client is to bind a resource.
    Binding,
    /// The address is being claimed.
    Claiming,
    /// Logged in.
    Attached,
    /// Without a connection, to be resumed.
    Suspended,
    /// The good-bye is written or read.
    Ended,
}

/// What carries the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    /// Messages of WebSocket, an element each.
    WebSocket,
    /// One XML document.
    Tcp {
        /// The client may have it turn to TLS.
        starttls: bool,
    },
}

/// One XMPP connection.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    /// When the last element came; until the login is complete, when the connection did.
    heard: Instant,
    /// Since when the send queue was found over its bound.
    blocked_since: Option<Instant>,
    /// What the login needs, until it is complete.
    login: Option<Box<Login>>,
    /// `<account>@<domain>/<resource>`, once it is the session's.
    address: Box<str>,
    /// An iq that waits for its completion.
    waiting: Option<Box<Waiting>>,
    /// The rooms it is in, if any.
    rooms: Option<Box<Rooms>>,
    /// What stream management keeps, if the client wants it.
    managed: Option<Box<Managed>>,
    /// The domain that the client opened its stream to.
    domain: u16,
    /// The priority of an available client.
    presence: Option<i8>,
    state: State,
    passwords: Passwords,
    carrier: Carrier,
    /// A ping is not answered.
    pinged: bool,
    /// It goes on over another connection than it began on.
    resumed: bool,
}

impl Session {
    /// A connection accepted `now`, of which nothing has been read.
    pub fn new(settings: &Arc<Settings>, passwords: Passwords, now: Now) -> Self {
        Self::over(Carrier::WebSocket, settings, passwords, now)
    }

    fn over(carrier: Carrier, settings: &Arc<Settings>, passwords: Passwords, now: Now) -> Self {
        Self {
            settings: Arc::clone(settings),
            heard: now.instant,
            blocked_since: None,
            login: Some(Box::default()),
            address: Box::default(),
            waiting: None,
            rooms: None,
            managed: None,
            domain: 0,
            presence: None,
            state: State::Closed,
            passwords,
            carrier,
            pinged: false,
            resumed: false,
        }
    }

    /// The domain this client speaks to.
    fn domain(&self) -> &str {
        self.settings.domain(self.domain)
    }

    /// What one element asks for.
    fn element<'a, O: Output>(
        &mut self,
        element: &Element<'a>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Option<Command<'a>>, Fatal> {
        if element.namespace() == names::FRAMING && self.carrier == Carrier::WebSocket {
            return self.framing(element, out);
        }
        match self.state {
            State::Closed if element.name() == "open" => Err(Fatal::InvalidNamespace),
            State::Closed | State::Proven => Err(Fatal::NotAuthorized),
            State::Negotiating if element.is(names::TLS, "starttls") => self.start_tls(out).map(Some),
            State::Negotiating | State::Challenged => self.sasl(element, scratch, out),
            State::Binding => self.bind(element, scratch, out),
            State::Attached => self.stanza(element, scratch, out),
            State::Deciding | State::Claiming | State::Suspended | State::Ended => Ok(None),
        }
    }

    /// A stanza of a client that has logged in.
    fn stanza<'a, O: Output>(
        &mut self,
        stanza: &Element<'a>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Option<Command<'a>>, Fatal> {
        // XEP-0352: accepted; what a page in the background is sent waits for nothing here.
        if stanza.namespace() == names::CLIENT_STATE {
            return Ok(None);
        }
        if stanza.namespace() != names::CLIENT {
            return Err(Fatal::InvalidNamespace);
        }
        match stanza.name() {
            "iq" => self.iq(stanza, scratch, out),
            "message" => Ok(self.message(stanza, scratch, out)),
            "presence" => Ok(self.presence(stanza, scratch, out)),
            _ => Err(Fatal::UnsupportedStanza),
        }
    }

    /// What is done with `len` bytes while nothing is read.
    fn idle_step(&self, len: usize) -> Option<Step<'static>> {
        match self.state {
            State::Deciding | State::Claiming => Some(Step::Hold),
            // What it says behind a join, it says in the room.
            State::Attached if self.rooms.as_ref().is_some_and(|rooms| rooms.is_entering()) => {
                Some(Step::Hold)
            }
            State::Suspended | State::Ended => Some(Step::Done {
                used: len,
                command: None,
            }),
            _ => None,
        }
    }

    /// Takes an element; on `Err` the good-bye is written.
    fn taken<'a, O: Output>(
        &mut self,
        now: Now,
        element: &Element<'a>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Option<Command<'a>>, Disconnect> {
        self.is_heard(now);
        // Answers are never dropped, so who only asks and never reads is not read any more.
        let answers_bytes_max = if self.state == State::Attached {
            limits::SEND_QUEUE_ANSWERS_BYTES_MAX
        } else {
            limits::PRELOGIN_ANSWERS_BYTES_MAX
        };
        if out.queued() > answers_bytes_max {
            return Err(self.quit(Fatal::SlowReceiver, out));
        }
        let asked = self.heeded(element, scratch, out);
        self.watch_queue(now, out);
        asked.map_err(|fatal| self.quit(fatal, out))
    }

    /// What an element asks for; a stanza counts once it was handled.
    fn heeded<'a, O: Output>(
        &mut self,
        element: &Element<'a>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Option<Command<'a>>, Fatal> {
        let is_open = !matches!(self.state, State::Closed | State::Proven);
        if element.namespace() == names::MANAGEMENT && is_open {
            return self.manage(element, out);
        }
        let asked = recorded!(self, out => self.element(element, scratch, out))?;
        if element.namespace() == names::CLIENT
            && let Some(managed) = &mut self.managed
        {
            managed.handle();
        }
        Ok(asked)
    }

    /// What came of something that the client waits for.
    fn told<O: Output>(&mut self, ticket: Ticket, completion: &Completion, out: &mut O) {
        match ticket {
            rooms::JOIN => self.joined(completion, out),
            rooms::LEAVE => self.left(out),
            rooms::NOTE => self.noted(completion, out),
            restoring::RESTORE => self.restored(completion),
            _ => self.iq_completed(completion, out),
        }
    }

    /// Whatever a client sends that has logged in shows that it is there.
    fn is_heard(&mut self, now: Now) {
        if self.state == State::Attached {
            self.heard = now.instant;
            self.pinged = false;
        }
    }

    /// Ends the session by its peer's fault.
    fn quit<O: Output>(&mut self, fatal: Fatal, out: &mut O) -> Disconnect {
        self.say_good_bye(fatal, out);
        fatal.disconnect()
    }

    fn ping_deadline(&self) -> Option<Instant> {
        let idle_s = u64::from(self.settings.ping_s);
        let wait_ms = if self.pinged { limits::XMPP_PING_WAIT_MS } else { 0 };
        (idle_s != 0).then(|| self.heard + Duration::from_millis(idle_s * 1_000 + wait_ms))
    }

    fn blocked_deadline(&self) -> Option<Instant> {
        self.blocked_since
            .map(|since| since + Duration::from_millis(limits::SEND_BLOCKED_MS_MAX))
    }

    /// Notes since when the send queue is over its bound, whatever filled it.
    fn watch_queue<O: Output>(&mut self, now: Now, out: &O) {
        if out.queued() <= limits::SEND_QUEUE_BYTES_MAX {
            self.blocked_since = None;
        } else if self.blocked_since.is_none() {
            self.blocked_since = Some(now.instant);
        }
    }

    /// XEP-0199 from the server: any stanza of the client answers it.
    fn ping<O: Output>(&mut self, out: &mut O) {
        self.pinged = true;
        write(
            out,
            &[
                Piece::Raw("<iq xmlns='jabber:client' type='get' id='"),
                Piece::Raw(names::PING_ID),
                Piece::Raw("' from='"),
                Piece::Attribute(self.domain()),
                Piece::Raw("'><ping xmlns='urn:xmpp:ping'/></iq>"),
            ],
        );
    }
}

/// Appends one element.
fn write<O: Output>(out: &mut O, element: &[Piece<'_>]) {
    out.write(pieces::len(element), |buffer| pieces::put(element, buffer));
}

impl super::Session for Session {
    fn receive<'a, O: Output>(
        &mut self,
        now: Now,
        bytes: &'a mut [u8],
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        let bytes: &'a [u8] = bytes;
        let used = bytes.len();
        if let Some(step) = self.idle_step(used) {
            return Ok(step);
        }
        match stream::read(bytes) {
            Ok(element) => {
                let command = self.taken(now, &element, scratch, out)?;
                Ok(Step::Done { used, command })
            }
            Err(malformed) => Err(self.quit(Fatal::Malformed(malformed), out)),
        }
    }

    fn protocol(&self) -> (Protocol, Transport) {
        (Protocol::Xmpp, Transport::Stream)
    }

    fn attached<O: Output>(&mut self, now: Now, verdict: Result<&Identity, LoginFailure>, out: &mut O) {
        if self.state != State::Claiming {
            return;
        }
        match verdict {
            Ok(identity) => {
                self.heard = now.instant;
                match self.login.as_ref().and_then(|login| login.resumed_from) {
                    Some(handled) => self.resumed(handled, out),
                    None => self.bound(identity, out),
                }
            }
            Err(failure) => {
                let fatal = match failure {
                    LoginFailure::Denied => Fatal::Revoked,
                    LoginFailure::Unavailable | LoginFailure::QuotaExceeded => Fatal::Unavailable,
                    LoginFailure::ResourceRefused => Fatal::Refused,
                    LoginFailure::Conflict => Fatal::Conflict,
                };
                self.say_good_bye(fatal, out);
            }
        }
    }

    fn proven<O: Output>(
        &mut self,
        _now: Now,
        verdict: Result<Proven<'_>, LoginFailure>,
        out: &mut O,
    ) -> Result<Option<Bind<'_>>, Disconnect> {
        if self.state == State::Deciding {
            self.decided(verdict, out);
        }
        Ok(None)
    }

    fn secured(&mut self, certified: Option<Box<Certified>>) {
        if let Some(certified) = certified {
            self.certify(certified);
        }
    }

    fn completed<O: Output>(&mut self, _now: Now, ticket: Ticket, completion: &Completion, out: &mut O) {
        if self.state != State::Attached {
            return;
        }
        match ticket {
            manage::ENABLE => self.enabled(completion, out),
            _ => recorded!(self, out => self.told(ticket, completion, out)),
        }
    }

    fn deliver<O: Output>(
        &mut self,
        now: Now,
        delivery: &Delivery<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        if self.state != State::Attached {
            return Err(Undelivered::Gone);
        }
        let delivered = recorded!(self, out => self.delivery(delivery, now, frames, out));
        self.watch_queue(now, out);
        delivered
    }

    fn timeout<O: Output>(&mut self, now: Now, out: &mut O) -> Result<(), Disconnect> {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now.instant);
        match self.state {
            State::Suspended | State::Ended => {}
            State::Attached => {
                if out.queued() <= limits::SEND_QUEUE_BYTES_MAX {
                    self.blocked_since = None;
                }
                if passed(self.blocked_deadline()) {
                    return Err(self.quit(Fatal::SlowReceiver, out));
                }
                if passed(self.ping_deadline()) {
                    if self.pinged {
                        return Err(self.quit(Fatal::Silent, out));
                    }
                    recorded!(self, out => self.ping(out));
                }
            }
            _ => {
                if passed(super::Session::next_timeout(self)) {
                    return Err(self.quit(Fatal::LoginTimeout, out));
                }
            }
        }
        Ok(())
    }

    fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Ended => None,
            State::Suspended => self.resume_deadline(),
            State::Attached => match (self.ping_deadline(), self.blocked_deadline()) {
                (Some(ping), Some(blocked)) => Some(ping.min(blocked)),
                (deadline, None) | (None, deadline) => deadline,
            },
            _ => Some(self.heard + Duration::from_millis(limits::PRELOGIN_MS_MAX)),
        }
    }

    fn take_will(&mut self) -> Option<Box<Will>> {
        None
    }

    fn takes_direct(&self) -> Option<SubscriptionOptions> {
        Some(SubscriptionOptions::default())
    }

    fn not_resumed<O: Output>(&mut self, failure: ResumeFailure, out: &mut O) -> Result<(), Disconnect> {
        Self::not_resumed(self, failure, out)
    }

    fn end<O: Output>(&mut self, _now: Now, ending: Ending, out: &mut O) {
        self.say_good_bye(Fatal::Ending(ending), out);
    }
}
