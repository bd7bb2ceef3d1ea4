//! The stream over TCP (RFC 6120, 4): one document whose root is open as long as the stream.
//!
//! Invariants: the session is shown one whole element at a time, as over WebSocket; what was received with a request
//! for TLS is never read.

use std::sync::Arc;

use super::condition::Fatal;
use super::names::{CLIENT, STREAM};
use super::{Carrier, Session, Settings, State};
use crate::codec::Decode;
use crate::codec::xmpp::{Bounds, Element, Framer, document};
use crate::limits;
use crate::observe::{Protocol, Transport};
use crate::route::{
    Bind, Certified, Command, Completion, Delivery, Identity, SubscriptionOptions, Ticket, Undelivered,
};
use crate::session::{
    Disconnect, Ending, Frames, LoginFailure, Output, Passwords, Proven, ResumeFailure, Scratch, Step, Will,
};
use crate::time::{Instant, Now};

/// The root's name. Its prefix is not for the client to choose (RFC 6120, 4.8.5).
const ROOT: &str = "stream:stream";

/// One XMPP connection over TCP or TLS.
#[derive(Debug)]
pub struct TcpSession {
    inner: Session,
    framer: Framer,
}

impl TcpSession {
    /// A connection accepted `now`, of which nothing has been read. With `starttls`, it is in clear and may turn to TLS.
    pub fn new(settings: &Arc<Settings>, passwords: Passwords, starttls: bool, now: Now) -> Self {
        Self {
            inner: Session::over(Carrier::Tcp { starttls }, settings, passwords, now),
            framer: Framer::default(),
        }
    }

    /// The session that the document is around.
    pub const fn session(&self) -> &Session {
        &self.inner
    }

    /// The session that the document is around.
    pub const fn session_mut(&mut self) -> &mut Session {
        &mut self.inner
    }

    /// Reads the start of the stream, or of the next one after a login or STARTTLS.
    fn header<O: Output>(
        &mut self,
        bytes: &[u8],
        scratch: &mut Scratch,
        out: &mut O,
    ) -> Result<Step<'static>, Disconnect> {
        let bounds = Bounds::new(limits::XMPP_HEADER_BYTES_MAX);
        let read = match document::opening(bytes, &bounds, &mut scratch.packet) {
            Ok(Decode::Need(need)) => return Ok(Step::Need(need)),
            Ok(Decode::Frame { len, .. }) => Element::parse(&scratch.packet, "").map(|root| (root, len)),
            Err(malformed) => Err(malformed),
        };
        let opened = read.map_err(Fatal::Malformed).and_then(|(root, used)| {
            check_root(&root, &scratch.packet)?;
            self.inner.open(&root, out)?;
            Ok(used)
        });
        match opened {
            Ok(used) => Ok(Step::Done { used, command: None }),
            Err(fatal) => Err(self.inner.quit(fatal, out)),
        }
    }

    /// The client ends the stream, by the end tag of its root or by an error.
    fn ending<O: Output>(&mut self, bytes: &[u8], out: &mut O) -> Option<Result<Step<'static>, Disconnect>> {
        if bytes.starts_with(b"<stream:error") {
            return Some(Ok(self.left(bytes.len(), out)));
        }
        if !bytes.starts_with(b"</") {
            return None;
        }
        Some(match document::closing(bytes, ROOT) {
            Ok(Decode::Need(need)) => Ok(Step::Need(need)),
            Ok(Decode::Frame { len, .. }) => Ok(self.left(len, out)),
            Err(malformed) => Err(self.inner.quit(Fatal::Malformed(malformed), out)),
        })
    }

    fn left<O: Output>(&mut self, used: usize, out: &mut O) -> Step<'static> {
        let command = Some(self.inner.leave(out));
        Step::Done { used, command }
    }

    fn bounds(&self) -> Bounds {
        Bounds::new(match self.inner.state {
            State::Attached => limits::STANZA_BYTES_MAX,
            _ => limits::PRELOGIN_BYTES_MAX,
        })
    }
}

/// RFC 6120, 4.8: the root is a stream's, and what is in it without a prefix is a client's.
fn check_root(root: &Element<'_>, tag: &[u8]) -> Result<(), Fatal> {
    if root.name() != "stream" {
        return Err(Fatal::UnsupportedStanza);
    }
    if root.namespace() != STREAM || root.default_namespace() != CLIENT {
        return Err(Fatal::InvalidNamespace);
    }
    if !tag.starts_with(b"<stream:") {
        return Err(Fatal::BadPrefix);
    }
    Ok(())
}

/// White space at the front (XML 1.0, 2.3 [3]).
fn space(bytes: &[u8]) -> usize {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    bytes.iter().take_while(|byte| is_space(byte)).count()
}

impl crate::session::Session for TcpSession {
    fn receive<'a, O: Output>(
        &mut self,
        now: Now,
        bytes: &'a mut [u8],
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        let bytes: &'a [u8] = bytes;
        if let Some(step) = self.inner.idle_step(bytes.len()) {
            return Ok(step);
        }
        if matches!(self.inner.state, State::Closed | State::Proven) {
            return self.header(bytes, scratch, out);
        }
        // RFC 6120, 4.6.1: white space between elements keeps a connection alive.
        let used = if self.framer.in_element() { 0 } else { space(bytes) };
        if used > 0 {
            self.inner.is_heard(now);
            return Ok(Step::Done { used, command: None });
        }
        if let Some(ending) = self.ending(bytes, out) {
            return ending;
        }
        let (frame, used) = match self.framer.scan(bytes, &self.bounds()) {
            Ok(Decode::Need(need)) => return Ok(Step::Need(need)),
            Ok(Decode::Frame { frame, len }) => (bytes.get(frame).unwrap_or_default(), len),
            Err(malformed) => return Err(self.inner.quit(Fatal::Malformed(malformed), out)),
        };
        let element = match Element::parse(frame, CLIENT) {
            Ok(element) => element,
            Err(malformed) => return Err(self.inner.quit(Fatal::Malformed(malformed), out)),
        };
        let command = self.inner.taken(now, &element, scratch, out)?;
        // RFC 6120, 5.3.3 and 13.9.4: what came before the answer could have come from anybody.
        let used = match command {
            Some(Command::StartTls) => bytes.len(),
            _ => used,
        };
        Ok(Step::Done { used, command })
    }

    fn protocol(&self) -> (Protocol, Transport) {
        self.inner.protocol()
    }

    fn attached<O: Output>(&mut self, now: Now, verdict: Result<&Identity, LoginFailure>, out: &mut O) {
        self.inner.attached(now, verdict, out);
    }

    fn proven<O: Output>(
        &mut self,
        now: Now,
        verdict: Result<Proven<'_>, LoginFailure>,
        out: &mut O,
    ) -> Result<Option<Bind<'_>>, Disconnect> {
        self.inner.proven(now, verdict, out)
    }

    fn secured(&mut self, certified: Option<Box<Certified>>) {
        self.inner.secured(certified);
        self.inner.passwords = Passwords::Taken;
        self.inner.carrier = Carrier::Tcp { starttls: false };
    }

    fn completed<O: Output>(&mut self, now: Now, ticket: Ticket, completion: &Completion, out: &mut O) {
        self.inner.completed(now, ticket, completion, out);
    }

    fn deliver<O: Output>(
        &mut self,
        now: Now,
        delivery: &Delivery<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        self.inner.deliver(now, delivery, frames, out)
    }

    fn timeout<O: Output>(&mut self, now: Now, out: &mut O) -> Result<(), Disconnect> {
        self.inner.timeout(now, out)
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.inner.next_timeout()
    }

    fn take_will(&mut self) -> Option<Box<Will>> {
        None
    }

    fn takes_direct(&self) -> Option<SubscriptionOptions> {
        self.inner.takes_direct()
    }

    fn not_resumed<O: Output>(&mut self, failure: ResumeFailure, out: &mut O) -> Result<(), Disconnect> {
        self.inner.not_resumed(failure, out)
    }

    fn end<O: Output>(&mut self, now: Now, ending: Ending, out: &mut O) {
        self.inner.end(now, ending, out);
    }
}
