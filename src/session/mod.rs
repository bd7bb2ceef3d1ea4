//! Protocol state machines: bytes in, bytes and commands out.
//!
//! Invariants: a session knows its codec and the route vocabulary; no socket, no shard, no clock and no other
//! session. It consumes at most one frame per call and hands back at most one [`Command`], which borrows from
//! the receive buffer or from the scratch, never from the session: the router may deliver to the very session
//! that is speaking.

pub mod any;
pub mod mqtt;
pub(crate) mod rows;
mod scram;
mod starts;
#[cfg(test)]
pub(crate) mod testing;
mod will;
pub mod ws;
pub mod xmpp;

pub use self::starts::Starts;
pub use self::will::Will;

use std::sync::Arc;

use smallvec::SmallVec;

use crate::journal::Journal;
use crate::observe::{Protocol, Transport};
use crate::route::port::Receivers;
use crate::route::{
    Bind, Certified, ChannelMessage, Command, Completion, Delivery, Identity, Mark, Returned,
    SubscriptionOptions, Ticket, Token, Undelivered,
};
use crate::time::{Instant, Now};

/// What one call of [`Session::receive`] did.
#[derive(Debug)]
pub enum Step<'a> {
    /// Nothing was consumed: at least this many bytes, counted from the first one given, must be there before
    /// another call can achieve anything.
    Need(usize),
    /// Nothing was consumed: the session waits for a verdict or a completion. Call again after it.
    Hold,
    /// `used` bytes were consumed (0 only together with a command).
    Done {
        /// Bytes consumed from the front.
        used: usize,
        /// What is asked of the shard, if anything.
        command: Option<Command<'a>>,
    },
}

/// Room for what a command cannot borrow from the receive buffer (a topic behind an alias, a property block
/// that had to be rewritten, a packet put together from several WebSocket frames). One per shard, reused.
#[derive(Debug, Default)]
pub struct Scratch {
    /// A name that the packet itself does not spell out.
    pub name: Vec<u8>,
    /// Attributes that were rewritten.
    pub attributes: Vec<u8>,
    /// A packet or element put together from pieces.
    pub packet: Vec<u8>,
    /// What a session attaches to a request to address its reply.
    pub label: Vec<u8>,
    /// Text that the stanza writes with references.
    pub text: Vec<u8>,
    /// The scratch of a session carried inside another one, while `packet` is lent to it as its bytes.
    pub inner: Option<Box<Self>>,
}

/// The first byte of the attributes of a channel message that an occupant of an XMPP room sent: its stanza follows, as that
/// protocol keeps it. No property of MQTT 5.0 has this identifier, with which attributes begin otherwise (2.2.2.2).
pub(crate) const STANZA_ATTRIBUTES: u8 = 0xFF;

impl<'a> ChannelMessage<'a> {
    /// Whether an occupant of an XMPP room sent it without a text: it has nothing for anybody else.
    pub(crate) fn is_for_occupants(&self) -> bool {
        self.payload.is_empty() && self.attributes.first() == Some(&STANZA_ATTRIBUTES)
    }

    /// The properties of MQTT 5.0 that it was sent with.
    pub(crate) fn properties(&self) -> &'a [u8] {
        match self.attributes.first() {
            Some(&STANZA_ATTRIBUTES) => &[],
            _ => self.attributes,
        }
    }
}

/// Where a session's bytes go: the send queue of its connection, as its transport frames them.
pub trait Output {
    /// A frame several receivers share; cloning is cheap.
    type Shared: Clone;

    /// How this output frames what is written, mixed into the keys of [`Frames`]: outputs that frame
    /// differently never share a frame.
    const FRAMING: u8;

    /// Appends one frame of exactly `len` bytes, written by `encode`.
    fn write(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>));

    /// Makes a frame of exactly `len` bytes that [`Output::push`] appends to any number of outputs of the
    /// same framing without copying.
    fn share(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Self::Shared;

    /// Appends a shared frame.
    fn push(&mut self, frame: &Self::Shared);

    /// What a shared frame holds, without what the transport put around it.
    fn shared(frame: &Self::Shared) -> &[u8];

    /// Bytes appended and not yet taken by the kernel.
    fn queued(&self) -> usize;
}

/// The encodings of the message being delivered: each variant is encoded once, for the first receiver that
/// needs it, and shared by the others. Begun anew by the shard with each message.
#[derive(Debug)]
pub struct Frames<S> {
    receivers: Receivers,
    variants: SmallVec<[(u32, S); 4]>,
}

impl<S> Default for Frames<S> {
    fn default() -> Self {
        Self {
            receivers: Receivers::Several,
            variants: SmallVec::new(),
        }
    }
}

impl<S: Clone> Frames<S> {
    /// The frame of `variant`, a key that two receivers have in common exactly if they get identical bytes.
    pub fn get_or_encode(&mut self, variant: u32, encode: impl FnOnce() -> S) -> S {
        if let Some(frame) = self.get(variant) {
            return frame.clone();
        }
        let frame = encode();
        self.variants.push((variant, frame.clone()));
        frame
    }

    /// The frame of `variant`, if somebody has had it.
    pub fn get(&self, variant: u32) -> Option<&S> {
        let found = self.variants.iter().find(|(key, _)| *key == variant);
        found.map(|(_, frame)| frame)
    }

    /// Whether nobody else gets the message: it need not be encoded to be shared.
    pub fn are_for_one(&self) -> bool {
        self.receivers == Receivers::One
    }

    /// Forgets all variants: the next message begins.
    pub fn begin(&mut self, receivers: Receivers) {
        self.receivers = receivers;
        self.variants.clear();
    }
}

/// Why a session ends by its peer's fault. What the protocol says to the peer has been written already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disconnect {
    /// Bytes that the protocol calls malformed.
    Malformed,
    /// Well-formed, but not allowed there.
    ProtocolError,
    /// A version or subprotocol that is not spoken.
    UnsupportedVersion,
    /// No credentials, or not in the form asked for.
    BadCredentials,
    /// The claim could not be decided just now.
    Unavailable,
    /// Larger than allowed.
    TooLarge,
    /// A quota of the session.
    QuotaExceeded,
    /// Not heard of in time (keep alive, login deadline).
    TimedOut,
    /// Does not read what it is sent.
    SlowReceiver,
}

impl Disconnect {
    /// All values, in order.
    pub const ALL: &'static [Self] = &[
        Self::Malformed,
        Self::ProtocolError,
        Self::UnsupportedVersion,
        Self::BadCredentials,
        Self::Unavailable,
        Self::TooLarge,
        Self::QuotaExceeded,
        Self::TimedOut,
        Self::SlowReceiver,
    ];

    /// The value as it stands in a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::ProtocolError => "protocol_error",
            Self::UnsupportedVersion => "unsupported_version",
            Self::BadCredentials => "bad_credentials",
            Self::Unavailable => "unavailable",
            Self::TooLarge => "too_large",
            Self::QuotaExceeded => "quota_exceeded",
            Self::TimedOut => "timed_out",
            Self::SlowReceiver => "slow_receiver",
        }
    }
}

/// Why the daemon ends a session that did nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// A newer session of the same account took the address.
    TakenOver,
    /// Its account was revoked.
    Revoked,
    /// What it was proven by is good no longer: a secret that was revoked, a token that ran out.
    ProofEnded,
    /// The daemon stops.
    Shutdown,
    /// Does not read what it is sent.
    SlowReceiver,
    /// Announced a large packet while too many of them were unfinished.
    TooMuchUnfinished,
}

/// Whether a connection may carry a password in clear, as the listener knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passwords {
    /// Under TLS, on loopback, or where the operator configured it.
    Taken,
    /// A password is refused without looking at it.
    Refused,
}

/// Why a login failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoginFailure {
    /// No such account or a wrong secret; never told apart.
    Denied,
    /// It could not be decided just now.
    Unavailable,
    /// The secret is good for another resource than the one asked for.
    ResourceRefused,
    /// The address is fought for.
    Conflict,
    /// It may not leave what it asks for: there are too many sessions that outlive their connections, or wills.
    QuotaExceeded,
}

/// What came of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proven<'a> {
    /// SCRAM goes on: what the proof is to be made with. The same for accounts that do not exist.
    Challenge {
        /// The salt, decoded.
        salt: &'a [u8],
        /// The iteration count.
        iterations: u32,
        /// The server's part of the nonce: 128 random bits in letters and digits.
        nonce: &'a str,
    },
    /// The block is the account.
    Account {
        /// ServerSignature (RFC 5802 section 3), decoded; empty where the mechanism has none.
        server_signature: &'a [u8],
    },
}

/// Why no session goes on over a connection that asked for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeFailure {
    /// There is none that it may have, or what its client has not handled is not remembered.
    NotFound {
        /// How much of its client's own it has handled, if the session is there.
        handled: Option<u32>,
    },
    /// The client cannot have handled so much.
    TooHigh {
        /// What it claims.
        handled: u32,
        /// What it was sent.
        sent: u32,
    },
}

/// How long a block's session lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// As long as its connection.
    Connection,
    /// It may outlive it; and it goes on where an earlier one stopped, unless it is to begin `fresh`.
    Kept {
        /// An earlier one is given up.
        fresh: bool,
    },
}

/// What is due of a session without a connection.
#[derive(Debug)]
pub enum Due {
    /// Its will is to be published.
    Will(Box<Will>),
    /// Nobody came back in time: it ends.
    End,
}

/// A protocol's state machine for one connection.
pub trait Session {
    /// Takes at most one frame from the front of `bytes`. What it does not consume comes again as this call
    /// left it: a transport undoes its masking in place. On `Err` the good-bye is written; close after flush.
    fn receive<'a, O: Output>(
        &mut self,
        now: Now,
        bytes: &'a mut [u8],
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect>;

    /// The verdict on [`Command::Login`] and the claim of the address, in one: the session is attached under
    /// this identity, or the login failed (then the good-bye is written; close after flush).
    fn attached<O: Output>(&mut self, now: Now, verdict: Result<&Identity, LoginFailure>, out: &mut O);

    /// What came of [`Command::Authenticate`]. `Some`: there is nothing to wait for, the account takes this address at
    /// once. After a failure the connection stays for another attempt, whose number the session bounds; or the session
    /// has had enough: on `Err` the good-bye is written; close after flush. Who never asked is never called.
    fn proven<O: Output>(
        &mut self,
        now: Now,
        verdict: Result<Proven<'_>, LoginFailure>,
        out: &mut O,
    ) -> Result<Option<Bind<'_>>, Disconnect> {
        let _ = (now, verdict, out);
        Ok(None)
    }

    /// The connection speaks TLS from now on; the peer has shown a certificate that names an account, if it is
    /// `certified`. Before anything under TLS is read.
    fn secured(&mut self, certified: Option<Box<Certified>>) {
        let _ = certified;
    }

    /// What came of the operation `ticket`.
    fn completed<O: Output>(&mut self, now: Now, ticket: Ticket, completion: &Completion, out: &mut O);

    /// Writes a message for the block. Encodes through `frames` what other receivers get byte for byte, too.
    fn deliver<O: Output>(
        &mut self,
        now: Now,
        delivery: &Delivery<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered>;

    /// [`Session::next_timeout`] has passed. On `Err` the good-bye is written; close after flush.
    fn timeout<O: Output>(&mut self, now: Now, out: &mut O) -> Result<(), Disconnect>;

    /// When [`Session::timeout`] wants to be called. May move later at any time without notice; moves earlier
    /// only during a call of another method, after which it is asked again.
    fn next_timeout(&self) -> Option<Instant>;

    /// What the block wanted published should it end without a good-bye. Asked for at every end, after
    /// [`Command::Leave`] too: some good-byes keep the will. Handed out once.
    fn take_will(&mut self) -> Option<Box<Will>>;

    /// Bytes that its will takes, from when the block is attached; 0 if it has none.
    fn will_bytes(&self) -> u64 {
        0
    }

    /// Whether its will, if it has one, fits within what wills may take on this shard, once `freed` bytes of others are
    /// given back. Asked before it is attached.
    fn will_fits(&self, freed: u64) -> bool {
        let _ = freed;
        true
    }

    /// Bytes of an unfinished packet that it keeps itself, or as many as it needs of that if it knows.
    fn gathered(&self) -> usize {
        0
    }

    /// Whether the block takes Direct messages from the moment it is attached, without asking for them, and how.
    fn takes_direct(&self) -> Option<SubscriptionOptions> {
        None
    }

    /// Writes the good-bye of a session that the daemon ends.
    fn end<O: Output>(&mut self, now: Now, ending: Ending, out: &mut O);

    /// What the block speaks, and what carries it; known from its login on.
    fn protocol(&self) -> (Protocol, Transport);

    /// How long the session lasts; known from its login on.
    fn life(&self) -> Life {
        Life::Connection
    }

    /// The session's number among those that are kept, given before it is attached.
    fn keep_as(&mut self, number: u64) {
        let _ = number;
    }

    /// That number; 0 for one that is not kept.
    fn number(&self) -> u64 {
        0
    }

    /// The connection is lost: what goes on without it, if anything does. Its will goes along if it is to wait. What is
    /// left is an ended session.
    fn detach(&mut self, now: Now) -> Option<Self>
    where
        Self: Sized,
    {
        let _ = now;
        None
    }

    /// By what another connection may go on with the session, should its own be lost: without any trace on the disk.
    fn resumption(&self) -> Option<Token> {
        None
    }

    /// Whether it can go on where its client has handled so much of what it was sent.
    ///
    /// # Errors
    /// Why it cannot.
    fn check_resume(&self, handled: u32) -> Result<(), ResumeFailure> {
        let _ = handled;
        Err(ResumeFailure::NotFound { handled: None })
    }

    /// No session goes on over this connection, which may take an address now. On `Err` the good-bye is written; close
    /// after flush.
    fn not_resumed<O: Output>(&mut self, failure: ResumeFailure, out: &mut O) -> Result<(), Disconnect> {
        let _ = (failure, out);
        Ok(())
    }

    /// Goes on where `earlier`, a session without a connection, stopped; before it is attached.
    fn inherit(&mut self, earlier: &mut Self)
    where
        Self: Sized,
    {
        let _ = earlier;
    }

    /// An earlier session under its address has left this to it; before it is attached.
    fn find_left(&mut self, left: Arc<[u8]>) {
        let _ = left;
    }

    /// The session ends: what it leaves to the next one under its address, at most [`limits::LEFT_BEHIND_BYTES_MAX`] in its
    /// protocol's own form. Handed out once.
    fn leave_behind(&mut self, now: Now) -> Option<Arc<[u8]>> {
        let _ = now;
        None
    }

    /// The session ends: the messages that it had as a member of a group and that another member may have. Of one that is
    /// kept their rows are as they are to be read by [`Self::give_back`] after a restart, once what it writes lasts.
    fn give_back(&mut self, now: Now) -> Vec<Returned> {
        let _ = now;
        Vec::new()
    }

    /// Keeps a message for a block that has no connection.
    fn keep_delivery(&mut self, now: Now, delivery: &Delivery<'_>) -> Result<(), Undelivered> {
        let _ = (now, delivery);
        Err(Undelivered::Gone)
    }

    /// [`Session::next_timeout`] of a session without a connection has passed.
    fn due(&mut self, now: Now) -> Option<Due> {
        let _ = now;
        None
    }

    /// Writes down, under the session's number, what the next start has to know of it.
    fn describe(&self, now: Now, into: &mut Vec<u8>) {
        let _ = (now, into);
    }

    /// Moves what changed of what is kept to `into`, the journal of `batch`; whether anything did. What waits for it
    /// goes on with [`Session::committed`].
    fn drain_journal(&mut self, batch: u64, into: &mut Journal) -> bool {
        let _ = (batch, into);
        false
    }

    /// Everything up to `batch` has been made to last, while there is no connection.
    fn settled(&mut self, batch: u64) {
        let _ = batch;
    }

    /// By what the message of a ticket is known again if its client sends it once more after a restart.
    fn mark(&self, ticket: Ticket) -> Option<Mark> {
        let _ = ticket;
        None
    }

    /// What came of something it asked on a connection that is gone.
    fn missed(&mut self, ticket: Ticket, completion: &Completion) {
        let _ = (ticket, completion);
    }

    /// Everything up to `batch` has been made to last.
    fn committed<O: Output>(&mut self, now: Now, batch: u64, out: &mut O) {
        let _ = (now, batch, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variant_is_encoded_once() {
        let mut frames = Frames::default();
        let mut encoded = 0;
        for _ in 0..3 {
            let frame = frames.get_or_encode(7, || {
                encoded += 1;
                "seven"
            });
            assert_eq!(frame, "seven");
        }
        frames.get_or_encode(8, || "eight");
        assert_eq!(encoded, 1);
        frames.begin(Receivers::Several);
        assert_eq!(frames.get_or_encode(7, || "again"), "again");
    }
}
