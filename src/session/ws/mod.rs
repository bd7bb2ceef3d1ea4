//! WebSocket (RFC 6455) around another protocol's session.
//!
//! Invariants: the carried session reads packets or elements, never frames, and says by its output in which frames
//! it writes. A packet or an element that lies whole in one frame is read in the receive buffer. Only one that
//! spans frames is put together elsewhere, in a spill that exists no longer than it is incomplete. After a Close
//! frame nothing is written and nothing is read.

mod carry;
mod elements;
mod handshake;
mod output;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use handshake::Subprotocol;
pub use output::{BinaryOutput, TextOutput, WsOutput};

use super::{Disconnect, Ending, Frames, LoginFailure, Output, Proven, ResumeFailure, Scratch, Step, Will};
use crate::codec::Decode;
use crate::codec::ws::{CloseCode, CloseFrame, Decoder, Frame, Kind, Malformed, header_len, put_pong};
use crate::limits;
use crate::observe::{Protocol, Transport};
use crate::route::{
    Bind, Certified, Command, Completion, Delivery, Identity, SubscriptionOptions, Ticket, Undelivered,
};
use crate::time::{Instant, Now};
use carry::Spill;

/// How a carried protocol lies in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// In binary messages, whose boundaries mean nothing (MQTT 5.0, 6).
    Stream,
    /// In text messages, each of which is one element (RFC 7395, 3.2 and 3.3.3).
    Elements,
}

impl MessageKind {
    /// The messages that are taken.
    const fn frames(self) -> Kind {
        match self {
            Self::Stream => Kind::Binary,
            Self::Elements => Kind::Text,
        }
    }

    /// What a peer is told that sends others.
    const fn refusal(self) -> &'static str {
        match self {
            Self::Stream => "binary messages only",
            Self::Elements => "text messages only",
        }
    }
}

/// A protocol that WebSocket can carry, or several of which the handshake chooses one.
///
/// The [`Output`] its methods get is the connection's own: it frames what it writes, in a [`BinaryOutput`] or a
/// [`TextOutput`]. The Close frame is written around it, behind its good-bye.
///
/// What `receive` is called with, and may answer, depends on [`Carried::kind`]:
///
/// - [`MessageKind::Stream`]: as on any transport.
/// - [`MessageKind::Elements`]: exactly the bytes of one whole message. They are UTF-8, at least one, and at most
///   [`limits::PRELOGIN_BYTES_MAX`] before the login and [`limits::STANZA_BYTES_MAX`] after it. The answer is
///   `Done` with all of them consumed; `Done` with a command and nothing consumed, or `Hold`: then the same message
///   is shown again; or `Err` once the good-bye is written, above all for a message that is not one whole element.
///   Other answers (`Need`, a part consumed) break this contract and end the connection as [`Disconnect::Malformed`]
///   without a good-bye of the carried protocol.
pub trait Carried: super::Session + Sized {
    /// What a session is made from once the handshake has chosen it.
    type Opening: Clone + std::fmt::Debug;

    /// Whether a subprotocol is offered to this connection; the paths of others do not exist.
    fn speaks(opening: &Self::Opening, subprotocol: Subprotocol) -> bool;

    /// A session of a subprotocol that is offered, on a connection accepted at `accepted`, whose deadline to log in
    /// began then.
    fn open(opening: &Self::Opening, subprotocol: Subprotocol, accepted: Now) -> Self;

    /// The client has shown a certificate, which is for the session that will be chosen.
    fn certify(opening: &mut Self::Opening, certified: Box<Certified>);

    /// How it lies in messages; always the same for one session.
    fn kind(&self) -> MessageKind;

    /// Of a stream: how many bytes the packet at the front of `bytes` has, as far as they tell: at most
    /// `bytes.len()` if it is complete or malformed, else the least that must be there. Looks at its length alone.
    fn packet_len(&self, bytes: &[u8]) -> usize;
}

/// One WebSocket connection and the session it carries.
#[derive(Debug)]
pub struct Session<S: Carried> {
    stage: Stage<S>,
    decoder: Decoder,
    /// The packet or element that began in an earlier frame.
    spill: Option<Box<Spill>>,
    /// When the count of overhead frames began.
    overhead_since: Instant,
    /// Bytes at the front of the receive buffer that are payload and unmasked, but not consumed.
    ready: u32,
    /// Frames since then that completed no packet or element.
    overhead: u16,
    /// The carried session has logged in.
    attached: bool,
    /// The good-bye is written.
    closed: bool,
}

#[derive(Debug)]
enum Stage<S: Carried> {
    /// Boxed, so that connections do not pay for it ever after.
    Handshake(Box<Opening<S::Opening>>),
    Open(S),
}

/// A connection before its handshake is complete.
#[derive(Debug)]
struct Opening<T> {
    carried: T,
    accepted: Now,
    /// Bytes of the request that have been looked at.
    scanned: usize,
}

impl<T> Opening<T> {
    fn deadline(&self) -> Instant {
        self.accepted.instant + Duration::from_millis(limits::PRELOGIN_MS_MAX)
    }
}

impl<S: Carried> Session<S> {
    /// A connection accepted `now`, of which nothing has been read.
    pub fn new(opening: &S::Opening, now: Now) -> Self {
        Self {
            stage: Stage::Handshake(Box::new(Opening {
                carried: opening.clone(),
                accepted: now,
                scanned: 0,
            })),
            decoder: Decoder::default(),
            spill: None,
            overhead_since: now.instant,
            ready: 0,
            overhead: 0,
            attached: false,
            closed: false,
        }
    }

    /// The carried session, once the handshake has chosen it.
    pub fn carried(&self) -> Option<&S> {
        match &self.stage {
            Stage::Open(carried) => Some(carried),
            Stage::Handshake(_) => None,
        }
    }

    /// The carried session, once the handshake has chosen it.
    pub fn carried_mut(&mut self) -> Option<&mut S> {
        match &mut self.stage {
            Stage::Open(carried) => Some(carried),
            Stage::Handshake(_) => None,
        }
    }

    /// The carried session, while it may read and write.
    fn writing(&mut self) -> Option<&mut S> {
        match &mut self.stage {
            Stage::Open(carried) if !self.closed => Some(carried),
            _ => None,
        }
    }

    /// Reads the opening handshake; frames may follow it at once.
    fn handshake<O: Output>(&mut self, bytes: &[u8], out: &mut O) -> Result<Step<'static>, Disconnect> {
        let Stage::Handshake(opening) = &mut self.stage else {
            return Ok(Step::Hold);
        };
        let speaks = |subprotocol| S::speaks(&opening.carried, subprotocol);
        match handshake::read(bytes, opening.scanned, speaks) {
            Ok(None) => {
                opening.scanned = bytes.len();
                Ok(Step::Need(bytes.len() + 1))
            }
            Ok(Some(accepted)) => {
                write_text(out, &accepted.response());
                let carried = S::open(&opening.carried, accepted.subprotocol, opening.accepted);
                self.stage = Stage::Open(carried);
                Ok(Step::Done {
                    used: accepted.len,
                    command: None,
                })
            }
            Err(refusal) => Err(self.refuse(refusal, out)),
        }
    }

    fn refuse<O: Output>(&mut self, refusal: handshake::Refusal, out: &mut O) -> Disconnect {
        write_text(out, &refusal.response());
        self.closed = true;
        refusal.disconnect()
    }

    /// Reads what stands between payloads: a header, or a whole control frame.
    fn frame<'a, O: Output>(
        &mut self,
        now: Now,
        bytes: &'a mut [u8],
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        let Stage::Open(carried) = &self.stage else {
            return Ok(Step::Hold);
        };
        let messages = carried.kind();
        let payload_bytes_max = match messages {
            MessageKind::Stream => limits::WS_FRAME_BYTES_MAX,
            MessageKind::Elements => self.element_bytes_left(),
        };
        let (frame, used) = match self.decoder.decode(bytes, payload_bytes_max) {
            Ok(Decode::Frame { frame, len }) => (frame, len),
            Ok(Decode::Need(need)) => return Ok(Step::Need(need)),
            Err(malformed) => return Err(self.malformed(malformed, out)),
        };
        let mut command = None;
        match frame {
            // [MQTT-6.0.0-1]; RFC 7395, 3.2
            Frame::Data { kind, .. } if kind != messages.frames() => {
                let reason = messages.refusal();
                self.close(CloseFrame::new(CloseCode::UNSUPPORTED_DATA, reason), out);
                return Err(Disconnect::ProtocolError);
            }
            Frame::Data { len, last, .. } => {
                if len < limits::WS_SMALL_FRAME_BYTES {
                    self.charge(now, out)?;
                }
                if messages == MessageKind::Elements && !last {
                    self.begin_element();
                }
                return self.payload(now, bytes, used, scratch, out);
            }
            Frame::Ping(payload) => {
                // A peer that does not read its pongs gets no more of them.
                if out.queued() <= limits::SEND_QUEUE_BYTES_MAX {
                    let len = header_len(payload.len()) + payload.len();
                    out.write(len, |buffer| put_pong(buffer, payload));
                }
                self.charge(now, out)?;
            }
            Frame::Pong(_) => self.charge(now, out)?,
            Frame::Close(close) => {
                // No good-bye of the carried protocol's own: a will stays due.
                self.close(CloseFrame::echo(close), out);
                command = Some(Command::Leave);
            }
        }
        Ok(Step::Done { used, command })
    }

    /// Counts a frame that may turn out to be overhead. A completed packet or element makes up for all before it.
    fn charge<O: Output>(&mut self, now: Now, out: &mut O) -> Result<(), Disconnect> {
        let window = Duration::from_millis(limits::WS_OVERHEAD_MS);
        if self.overhead == 0 || now.instant - self.overhead_since >= window {
            self.overhead_since = now.instant;
            self.overhead = 0;
        }
        self.overhead += 1;
        if self.overhead > limits::WS_OVERHEAD_FRAMES_MAX {
            return Err(self.fault(Disconnect::QuotaExceeded, out));
        }
        Ok(())
    }

    /// Ends the connection because of the frames themselves.
    fn malformed<O: Output>(&mut self, malformed: Malformed, out: &mut O) -> Disconnect {
        self.close(CloseFrame::new(malformed.close_code(), malformed.as_str()), out);
        match malformed {
            Malformed::FrameTooLarge => Disconnect::TooLarge,
            _ => Disconnect::Malformed,
        }
    }

    /// Ends the connection because of what was carried, or how. The carried protocol's good-bye is written.
    fn fault<O: Output>(&mut self, disconnect: Disconnect, out: &mut O) -> Disconnect {
        self.close(CloseFrame::new(close_code(disconnect), disconnect.as_str()), out);
        disconnect
    }

    /// Writes the Close frame; the first is the last.
    fn close<O: Output>(&mut self, frame: CloseFrame<'_>, out: &mut O) {
        close(&mut self.closed, &mut self.spill, frame, out);
    }
}

/// See [`Session::close`]; for where the session is borrowed besides.
fn close<O: Output>(closed: &mut bool, spill: &mut Option<Box<Spill>>, frame: CloseFrame<'_>, out: &mut O) {
    if !*closed {
        *closed = true;
        *spill = None;
        out.write(frame.len(), |buffer| frame.put(buffer));
    }
}

fn write_text<O: Output>(out: &mut O, text: &str) {
    out.write(text.len(), |buffer| buffer.extend_from_slice(text.as_bytes()));
}

/// The status code that goes with a fault of the peer (RFC 6455, 7.4.1).
const fn close_code(disconnect: Disconnect) -> CloseCode {
    match disconnect {
        Disconnect::Malformed | Disconnect::ProtocolError | Disconnect::UnsupportedVersion => {
            CloseCode::PROTOCOL_ERROR
        }
        Disconnect::BadCredentials
        | Disconnect::QuotaExceeded
        | Disconnect::TimedOut
        | Disconnect::SlowReceiver => CloseCode::POLICY_VIOLATION,
        Disconnect::Unavailable => CloseCode::TRY_AGAIN_LATER,
        Disconnect::TooLarge => CloseCode::TOO_BIG,
    }
}

/// The status code and reason that go with the daemon's own end of a session.
const fn ending_code(ending: Ending) -> (CloseCode, &'static str) {
    match ending {
        Ending::TakenOver => (CloseCode::NORMAL, "taken over"),
        Ending::Revoked | Ending::ProofEnded => (CloseCode::POLICY_VIOLATION, "revoked"),
        Ending::Shutdown => (CloseCode::GOING_AWAY, "shutting down"),
        Ending::SlowReceiver => (CloseCode::POLICY_VIOLATION, "slow receiver"),
        Ending::TooMuchUnfinished => (
            CloseCode::TRY_AGAIN_LATER,
            "too many large messages are unfinished",
        ),
    }
}

impl<S: Carried> super::Session for Session<S> {
    fn gathered(&self) -> usize {
        self.spill.as_ref().map_or(0, |spill| spill.announced())
    }

    fn receive<'a, O: Output>(
        &mut self,
        now: Now,
        bytes: &'a mut [u8],
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        if self.closed {
            return Ok(Step::Hold);
        }
        if let Stage::Handshake(_) = self.stage {
            return self.handshake(bytes, out);
        }
        let head = self.spill.as_ref().map_or(0, |spill| spill.head);
        if self.ready > 0 || self.decoder.payload_left() > 0 || head > 0 {
            return self.payload(now, bytes, head, scratch, out);
        }
        self.frame(now, bytes, scratch, out)
    }

    fn attached<O: Output>(&mut self, now: Now, verdict: Result<&Identity, LoginFailure>, out: &mut O) {
        let Some(carried) = self.writing() else { return };
        carried.attached(now, verdict, out);
        match verdict {
            Ok(_) => self.attached = true,
            Err(LoginFailure::Denied | LoginFailure::ResourceRefused) => {
                _ = self.fault(Disconnect::BadCredentials, out);
            }
            Err(LoginFailure::Conflict) => {
                self.close(CloseFrame::new(CloseCode::POLICY_VIOLATION, "conflict"), out);
            }
            Err(LoginFailure::Unavailable) => _ = self.fault(Disconnect::Unavailable, out),
            Err(LoginFailure::QuotaExceeded) => _ = self.fault(Disconnect::QuotaExceeded, out),
        }
    }

    fn proven<O: Output>(
        &mut self,
        now: Now,
        verdict: Result<Proven<'_>, LoginFailure>,
        out: &mut O,
    ) -> Result<Option<Bind<'_>>, Disconnect> {
        let Stage::Open(carried) = &mut self.stage else {
            return Ok(None);
        };
        if self.closed {
            return Ok(None);
        }
        match carried.proven(now, verdict, out) {
            Ok(bind) => Ok(bind),
            Err(disconnect) => {
                let frame = CloseFrame::new(close_code(disconnect), disconnect.as_str());
                close(&mut self.closed, &mut self.spill, frame, out);
                Err(disconnect)
            }
        }
    }

    fn secured(&mut self, certified: Option<Box<Certified>>) {
        // A listener with TLS has it before the first request is read.
        if let (Stage::Handshake(opening), Some(certified)) = (&mut self.stage, certified) {
            S::certify(&mut opening.carried, certified);
        }
    }

    fn protocol(&self) -> (Protocol, Transport) {
        // Before the handshake has chosen, nobody asks.
        let carried = Self::carried(self).map(super::Session::protocol);
        (
            carried.map_or(Protocol::Mqtt5, |(protocol, _)| protocol),
            Transport::WebSocket,
        )
    }

    fn committed<O: Output>(&mut self, now: Now, batch: u64, out: &mut O) {
        if let Some(carried) = self.writing() {
            carried.committed(now, batch, out);
        }
    }

    fn completed<O: Output>(&mut self, now: Now, ticket: Ticket, completion: &Completion, out: &mut O) {
        if let Some(carried) = self.writing() {
            carried.completed(now, ticket, completion, out);
        }
    }

    fn deliver<O: Output>(
        &mut self,
        now: Now,
        delivery: &Delivery<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        let carried = self.writing().ok_or(Undelivered::Gone)?;
        carried.deliver(now, delivery, frames, out)
    }

    fn not_resumed<O: Output>(&mut self, failure: ResumeFailure, out: &mut O) -> Result<(), Disconnect> {
        let Some(carried) = self.writing() else {
            return Ok(());
        };
        let refused = carried.not_resumed(failure, out);
        refused.map_err(|disconnect| self.fault(disconnect, out))
    }

    fn timeout<O: Output>(&mut self, now: Now, out: &mut O) -> Result<(), Disconnect> {
        if self.closed {
            return Ok(());
        }
        match &mut self.stage {
            Stage::Handshake(opening) if now.instant < opening.deadline() => Ok(()),
            Stage::Handshake(_) => Err(self.refuse(handshake::Refusal::TimedOut, out)),
            Stage::Open(carried) => carried
                .timeout(now, out)
                .map_err(|disconnect| self.fault(disconnect, out)),
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match &self.stage {
            _ if self.closed => None,
            Stage::Handshake(opening) => Some(opening.deadline()),
            Stage::Open(carried) => carried.next_timeout(),
        }
    }

    fn take_will(&mut self) -> Option<Box<Will>> {
        match &mut self.stage {
            Stage::Handshake(_) => None,
            Stage::Open(carried) => carried.take_will(),
        }
    }

    fn takes_direct(&self) -> Option<SubscriptionOptions> {
        match &self.stage {
            Stage::Handshake(_) => None,
            Stage::Open(carried) => carried.takes_direct(),
        }
    }

    fn end<O: Output>(&mut self, now: Now, ending: Ending, out: &mut O) {
        if self.closed {
            return;
        }
        match &mut self.stage {
            Stage::Handshake(_) => _ = self.refuse(handshake::Refusal::Unavailable, out),
            Stage::Open(carried) => {
                carried.end(now, ending, out);
                let (code, reason) = ending_code(ending);
                self.close(CloseFrame::new(code, reason), out);
            }
        }
    }
}
