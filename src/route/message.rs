//! The words sessions and the router share: what a block asks for, what reaches a block.
//!
//! Everything borrowed here lives in the buffer it was read from (a receive buffer, a parcel); nothing is
//! copied until a receiver's frame is encoded or a parcel for another shard is filled.

mod credentials;
mod registration;
mod resumption;

use std::num::NonZeroU64;
use std::sync::Arc;

use smallvec::SmallVec;

pub(crate) use self::credentials::copied;
pub use self::credentials::{Authenticate, Bind, Certified, Login, Proof, ScramHash};
pub use self::registration::{
    Registration, RetainHandling, SenderPattern, Share, SubscriptionOptions, Unregistration,
};
pub use self::resumption::{Previd, Resume};
use super::identity::Sender;
use crate::time::Instant;

/// A session on its own shard. The generation moves on when the slot is reused, so that a stale key never
/// reaches a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// Place in the shard's table of sessions.
    pub slot: u32,
    /// How often the slot had been used before.
    pub generation: u32,
}

/// A session anywhere in the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    /// The shard that owns it, from 0.
    pub shard: u16,
    /// Its key there.
    pub key: SessionKey,
}

/// What tells a message from all others, although its sender may send it again after a restart: an exchange that a
/// session which outlives the daemon has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The session's number.
    pub session: NonZeroU64,
    /// The exchange among those of the session.
    pub exchange: u16,
    /// It was sent before the restart, too: some may have it.
    pub again: bool,
}

/// What a session left when it ended, or when its will was due, and that nobody else has yet: it is stored under the
/// session's number, or one of its own, and a number of its own there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeftId {
    /// The session's number.
    pub number: u64,
    /// Which of its messages it is.
    pub seq: u64,
}

/// How a message is made to last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lasting {
    /// The sender's own session wrote something down with it.
    pub wrote: bool,
    /// If it may come again, and is to reach everybody once.
    pub mark: Option<Mark>,
}

/// A session's own name for an operation whose completion it waits for (MQTT: the packet identifier).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u32);

/// Delivery guarantee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    /// QoS 0.
    #[default]
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    ExactlyOnce,
}

/// A message on a channel, without its sender.
#[derive(Clone, Copy, Debug)]
pub struct ChannelMessage<'a> {
    /// The channel's name, already checked: 1..=1024 bytes, no wildcard, not starting with `$`; or a topic under `$SYS`,
    /// of which the daemon is the sender.
    pub channel: &'a str,
    /// The payload, any bytes.
    pub payload: &'a [u8],
    /// What the sending protocol attached for receivers of its own kind, encoded by it (MQTT 5: the
    /// properties that are forwarded unaltered; XMPP: the stanza of a room's occupant). Opaque to the router; may be
    /// empty.
    pub attributes: &'a [u8],
    /// The sender's guarantee; each receiver gets at most what it subscribed with.
    pub qos: Qos,
    /// Whether the sender asked to retain it.
    pub retain: bool,
    /// When it is no longer worth delivering.
    pub expires: Option<Instant>,
}

/// A one-way string to one block of an app.
#[derive(Clone, Copy, Debug)]
pub struct Direct<'a> {
    /// The receiver's app.
    pub app: &'a str,
    /// The receiver's exact resource.
    pub resource: &'a str,
    /// Named if the sender used a full address: only this account's block will do.
    pub account: Option<&'a str>,
    /// The message. Empty with attributes: it is for receivers of the sender's protocol alone.
    pub text: &'a str,
    /// What the sending protocol attached for receivers of its own kind, encoded by it (XMPP: the stanza's id, type
    /// and children). Opaque to the router; may be empty.
    pub attributes: &'a [u8],
    /// The sender's guarantee.
    pub qos: Qos,
}

/// Which workers a request may go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// Any the requester may see.
    #[default]
    Any,
    /// Those of the requester's uid.
    Mine,
    /// Those whose role is `owner`.
    Owner,
    /// The requester asked for a choice that does not exist: the outcome is -2004, since going to a worker that
    /// was not meant is worse than not going.
    Unknown,
}

/// A request to one worker of an app.
#[derive(Clone, Copy, Debug)]
pub struct ApiRequest<'a> {
    /// The app whose worker is asked.
    pub app: &'a str,
    /// The listener's name.
    pub cmd: &'a str,
    /// Narrows the candidates to this resource.
    pub resource: Option<&'a str>,
    /// Narrows the candidates by owner.
    pub ownership: Ownership,
    /// Prefers the requester's own workers, falls back to the others.
    pub prioritize_mine: bool,
    /// A JSON object; empty stands for `{}`. Checked by the router, forwarded byte for byte.
    pub body: &'a [u8],
    /// What the session needs to address the reply; handed back with it, opaque to the router.
    pub label: &'a [u8],
    /// Whether a second request in flight with the same label from this block is to be dropped and counted.
    pub label_is_unique: bool,
    /// The requester's guarantee for the way to the worker.
    pub qos: Qos,
}

/// The secret a worker shows to answer a request: 128 random bits, good for one answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub u128);

impl Token {
    /// Length of the text form.
    pub const TEXT_BYTES: usize = 32;

    /// 32 lower-case hex digits.
    pub fn to_text(self) -> [u8; Self::TEXT_BYTES] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; Self::TEXT_BYTES];
        let mut rest = self.0;
        for digit in text.iter_mut().rev() {
            *digit = DIGITS.get((rest & 15) as usize).copied().unwrap_or(b'0');
            rest >>= 4;
        }
        text
    }

    /// Reads the text form; anything else is no token.
    pub fn parse(text: &str) -> Option<Self> {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != Self::TEXT_BYTES || !text.bytes().all(lower_hex) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl std::fmt::Debug for Token {
    /// Tokens are secrets: they do not appear in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A worker's answer to a request.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The token that came with the request.
    pub token: Token,
    /// A JSON object; anything else reaches the requester as code -2004.
    pub body: &'a [u8],
    /// Set if the worker answered with its protocol's error instead of a body: its code, else -500.
    pub failure: Option<i32>,
    /// The worker's guarantee for the way back.
    pub qos: Qos,
}

/// Why something a block asked for was not done. Each protocol maps it to its own code in one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The block may not do that.
    NotAuthorized,
    /// A name or filter breaks its grammar.
    InvalidName,
    /// A form that is not offered.
    NotSupported,
    /// Too large.
    TooLarge,
    /// A bound of this block is reached.
    QuotaExceeded,
    /// A bound of the daemon is reached; later it may work.
    Busy,
}

/// How far a channel message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Somebody subscribes to it.
    Subscribers,
    /// Nobody does.
    Nobody,
}

/// How a Direct message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectOutcome {
    /// Queued for its receiver.
    Delivered,
    /// No such worker.
    NoReceiver,
    /// The receiving app takes Direct from entitled callers only.
    NotEntitled,
    /// The receiver cannot take it now (its queue is full, or its protocol cannot carry the text).
    Dropped,
}

/// What comes of an operation, told to the session that asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// A channel message was taken.
    Published(Result<Reach, Refusal>),
    /// A Direct message ended.
    Direct(DirectOutcome),
    /// A request was taken; its outcome comes as [`Delivery::Reply`].
    Requested,
    /// An answer was taken, or dropped and counted.
    Answered,
    /// Registrations, each at its place.
    Registered(SmallVec<[Result<Qos, Refusal>; 4]>),
    /// Unregistrations, each at its place: whether there was anything to end.
    Unregistered(SmallVec<[Result<bool, Refusal>; 4]>),
    /// The session may be resumed by this.
    Resumable(Previd),
}

/// What a session asks of its shard.
#[derive(Clone, Debug)]
pub enum Command<'a> {
    /// Prove who the block is. Answered by a verdict, then by [`Notice::Attached`].
    Login(Login<'a>),
    /// Prove which account it is: the first of two steps, or, once attached, that it still is the same. Answered by
    /// `Session::proven`.
    Authenticate(Authenticate<'a>),
    /// Take an address, the second step. Answered like a login.
    Bind(Bind<'a>),
    /// Go on with an earlier session in the place of taking an address, the second step. Answered like a login, or by
    /// `Session::not_resumed`.
    Resume(Resume),
    /// Be given a name by which another connection may go on with the session, should this one be lost.
    AllowResumption {
        /// Named in the completion.
        ticket: Ticket,
    },
    /// Publish on a channel.
    Publish {
        /// The message.
        message: ChannelMessage<'a>,
        /// Named if the session waits for the completion.
        ticket: Option<Ticket>,
    },
    /// Send a Direct message.
    Direct {
        /// The message.
        direct: Direct<'a>,
        /// Named if the session waits for the completion.
        ticket: Option<Ticket>,
    },
    /// Send a Direct message to every block of an account that takes it. Nobody is told what came of it.
    DirectToAccount {
        /// The account's name; grammar not yet checked.
        account: &'a str,
        /// As in [`Direct`].
        text: &'a str,
        /// As in [`Direct`].
        attributes: &'a [u8],
    },
    /// Ask a worker.
    Request {
        /// The request.
        request: ApiRequest<'a>,
        /// Named if the session waits for it to be taken.
        ticket: Option<Ticket>,
    },
    /// Answer a request.
    Answer {
        /// The answer.
        answer: Answer<'a>,
        /// Named if the session waits for it to be taken.
        ticket: Option<Ticket>,
    },
    /// Begin to hear.
    Register {
        /// What.
        wanted: Vec<Registration<'a>>,
        /// Named in the completion.
        ticket: Ticket,
    },
    /// Cease to hear.
    Unregister {
        /// What.
        unwanted: Vec<Unregistration<'a>>,
        /// Named in the completion.
        ticket: Ticket,
    },
    /// Have the connection turn to TLS. What was written before goes out in clear, and nothing that was read with it is
    /// read again. Answered by `Session::secured`.
    StartTls,
    /// The block said good-bye; everything it was owed has been written.
    Leave,
}

/// What reaches a block.
#[derive(Clone, Copy, Debug)]
pub enum Delivery<'a> {
    /// A message on a channel it hears.
    Channel {
        /// The message.
        message: ChannelMessage<'a>,
        /// Who sent it.
        sender: Sender<'a>,
        /// The merged options of the matching subscriptions of one form (highest QoS).
        options: SubscriptionOptions,
        /// The identifiers of all matching subscriptions of that form, none of them 0.
        identifiers: &'a [u32],
        /// The group that the block takes it for, if it is not for itself alone.
        share: Option<Share<'a>>,
        /// The sender is shown to the occupants of the channel's room: those who have been shown anybody know it.
        is_shown: bool,
    },
    /// What goes on in a room it is in.
    Room {
        /// The room's channel.
        channel: &'a str,
        /// What.
        event: RoomEvent<'a>,
    },
    /// A Direct message.
    Direct {
        /// As in [`Direct`].
        text: &'a str,
        /// As in [`Direct`].
        attributes: &'a [u8],
        /// It was sent to the account, not to this block: one that does not want such answers
        /// [`Undelivered::Gone`].
        to_account: bool,
        /// Who sent it.
        sender: Sender<'a>,
        /// The sender's guarantee.
        qos: Qos,
        /// As the block registered.
        options: SubscriptionOptions,
    },
    /// A request it is to answer with `token`.
    Request {
        /// Shown with the answer.
        token: Token,
        /// The listener.
        cmd: &'a str,
        /// A JSON object.
        body: &'a [u8],
        /// Who asks.
        sender: Sender<'a>,
        /// The requester's guarantee.
        qos: Qos,
        /// As the block registered.
        options: SubscriptionOptions,
    },
    /// The outcome of a request it made.
    Reply {
        /// As in the request.
        label: &'a [u8],
        /// What came of it.
        outcome: Outcome<'a>,
        /// The answerer's guarantee.
        qos: Qos,
    },
}

/// What an occupant of a room is told.
#[derive(Clone, Copy, Debug)]
pub enum RoomEvent<'a> {
    /// All occupants that are shown follow, each as one that came; from now on it is told of who comes and who goes.
    Listing,
    /// Somebody is in the room, or has another note.
    Came {
        /// Who.
        sender: Sender<'a>,
        /// See [`Registration::Room`].
        note: &'a str,
    },
    /// Somebody has left.
    Went {
        /// Who.
        sender: Sender<'a>,
    },
    /// Somebody has left, whom the block may know from messages alone.
    SpeakerWent {
        /// Who.
        sender: Sender<'a>,
    },
    /// The block itself is in: what it asked for is done.
    Entered,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// The integer `code` of the body, else 0.
    pub code: i32,
    /// A JSON object; for failures `{"code":N,"error":"text"}`.
    pub body: &'a [u8],
    /// The worker that answered; `None` if the daemon did.
    pub sender: Option<Sender<'a>>,
}

/// Why a delivery did not reach its block, for the drop counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Undelivered {
    /// The session is gone, or not yet attached.
    Gone,
    /// Its queue is full.
    QueueFull,
    /// Larger than its protocol or its client takes.
    TooLarge,
    /// Not text, and its protocol carries nothing else.
    NotText,
    /// Expired on the way.
    Expired,
    /// It would have to outlive the daemon, and cannot be made to just now.
    NotStored,
}

/// Why a session does not get its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimRefusal {
    /// It is fought for.
    Conflict,
    /// A session that is kept has it, whose end cannot be made to last just now.
    NotStored,
}

/// What the router tells a session out of turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The address is the session's; the login is complete.
    Attached,
    /// An earlier session under the address has left this to it. Before it is attached.
    LeftBehind(Arc<[u8]>),
    /// The address went to a newer session of the same account.
    Displaced,
    /// The session does not get the address.
    Refused(ClaimRefusal),
    /// An operation that was pending has ended.
    Completed(Ticket, Completion),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_text_round_trips_and_refuses_anything_else() {
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677] {
            let text = Token(bits).to_text();
            assert_eq!(
                Token::parse(std::str::from_utf8(&text).unwrap()),
                Some(Token(bits))
            );
        }
        for wrong in [
            "",
            "0",
            "0123456789ABCDEF0123456789abcdef",
            "+123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(Token::parse(wrong), None);
        }
        assert_eq!(format!("{:?}", Token(7)), "Token(…)");
    }
}
