//! What shards tell each other.
//!
//! Order: letters from one shard to another arrive in the order they were written. The protocol between the
//! shards rests on that and on nothing else about time.

use std::sync::Arc;

use super::awaited::{PublishId, Waiter};
use super::direct::Held;
use super::hashes::AddressKey;
use super::message::{ClaimRefusal, Ownership, Qos, SessionKey, Ticket, Token, Undelivered};
use super::parcel::{SenderSpan, Span};
use super::requests::RequestKey;
use super::retained::Retained;
use super::rooms::{Occupant, RoomNews};
use super::shared::{Group, GroupId};
use crate::observe::ApiOutcome;
use crate::time::Instant;

/// Why a worker's shard did not take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declined {
    /// Its bound of requests in flight, or its queue, is full.
    Full,
    /// It left, or no longer listens.
    Gone,
}

/// What a request asks for, apart from its bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) app: Span,
    pub(crate) cmd: Span,
    pub(crate) resource: Option<Span>,
    pub(crate) ownership: Ownership,
    pub(crate) prioritize_mine: bool,
    pub(crate) body: Span,
    pub(crate) qos: Qos,
}

/// One message between two shards.
#[derive(Clone, Debug)]
pub(crate) enum Letter {
    // Addresses: to the home shard ...
    /// A login asks for its address.
    Claim {
        address: AddressKey,
        session: SessionKey,
        /// It is refused if the address is fought for.
        damped: bool,
    },
    /// A session left, or no longer waits.
    Release {
        address: AddressKey,
        session: SessionKey,
    },
    /// A session has lost its connection and keeps its address, or is back.
    Away {
        address: AddressKey,
        session: SessionKey,
        away: bool,
    },
    // ... and from it.
    /// The address is the session's.
    Granted { session: SessionKey },
    /// An earlier session under the address has left this to it; before it is granted.
    LeftBehind { session: SessionKey, left: Arc<[u8]> },
    /// To the home: what it handed on has found its session.
    FoundLeft { address: AddressKey },
    /// To the home: a session that is about to leave has this for the next one under its address.
    LeaveBehind { address: AddressKey, left: Arc<[u8]> },
    /// A newer login waits for the session's address.
    Evict { session: SessionKey },
    /// A newer login was preferred while this one waited.
    Displaced { session: SessionKey },
    /// The session does not get the address.
    ClaimRefused {
        session: SessionKey,
        refusal: ClaimRefusal,
    },

    // The workers' directory, to every shard.
    /// A block became a worker.
    WorkerUp {
        worker: SessionKey,
        identity: SenderSpan,
    },
    /// It listens to a command.
    ListenerAdd { worker: SessionKey, cmd: Span },
    /// It does not any more.
    ListenerRemove { worker: SessionKey, cmd: Span },
    /// It is no worker any more.
    WorkerDown { worker: SessionKey },
    /// Requests in flight that it was given, over all shards.
    Load { worker: SessionKey, in_flight: u32 },

    // Requests: to the worker's shard ...
    /// Ask this worker.
    Request {
        request: RequestKey,
        worker: SessionKey,
        token: Token,
        sender: SenderSpan,
        wish: Wish,
    },
    /// The outcome was given without the worker: its answer is no longer wanted.
    Settled { token: Token },
    // ... and from it.
    /// The worker was not asked; everything needed to choose another comes back.
    Refused {
        request: RequestKey,
        reason: Declined,
        wish: Wish,
    },
    /// The outcome.
    Reply {
        request: RequestKey,
        kind: ApiOutcome,
        code: i32,
        body: Span,
        worker: Option<SenderSpan>,
        qos: Qos,
    },

    // Direct messages: the index of who is to be found under a name ...
    /// A block takes Direct messages.
    DirectUp(Held),
    /// It does not any more.
    DirectDown(Held),
    /// Find the receiver (to the index).
    DirectSeek {
        name: u64,
        account: Option<Span>,
        message: DirectSpans,
    },
    /// Find the receivers of a message to an account (to every index).
    DirectSeekAccount { message: DirectSpans },
    /// Hand it over (to the receiver's shard).
    DirectGive {
        to: SessionKey,
        origin: u16,
        message: DirectSpans,
    },
    /// What came of it (to the sender's shard).
    DirectEnded {
        waiter: SessionKey,
        ticket: Ticket,
        outcome: super::message::DirectOutcome,
    },

    // Channels.
    /// Somebody on the writing shard subscribes to the channel that hashes so.
    InterestAdd { channel: u64 },
    /// Nobody there does any more.
    InterestRemove { channel: u64 },
    /// Somebody on the writing shard has this filter with wildcards.
    FilterAdd { filter: Span },
    /// Nobody there has it any more.
    FilterRemove { filter: Span },
    /// A message on a channel.
    Publish {
        sender: SenderSpan,
        channel: Span,
        payload: Span,
        attributes: Span,
        qos: Qos,
        retain: bool,
        expires: Option<Instant>,
        /// What its sender's acknowledgement is waiting for is to be answered under this name.
        awaited: Option<Waiter>,
    },
    /// Such a message is in good hands (to the sender's shard), or could not be.
    Published { publish: PublishId, refused: bool },
    /// On the writing shard are sessions that outlive their connections.
    Keeps,
    /// The writing shard has taken in all that was kept over a restart, and has told what follows from it.
    Restored,
    /// The writing shard has read that of all others.
    AllRestored,
    /// One of an account, by a hash of its name, came there or ended.
    KeptCount { account: u64, more: bool },
    /// A message on a channel that is retained from now on, or none is any more; to every shard.
    Retain {
        message: Arc<Retained>,
        /// As in [`Letter::Publish`].
        awaited: Option<Waiter>,
    },

    // Rooms: to the home ...
    /// A session enters a room, or has another note there.
    RoomEnter {
        room: Arc<str>,
        session: SessionKey,
        occupant: Arc<Occupant>,
        /// It is to be shown the others, and answered.
        list: bool,
    },
    /// It has left.
    RoomLeave {
        room: Arc<str>,
        session: SessionKey,
        address: Span,
    },
    // ... and to the shards with occupants.
    /// What goes on there.
    RoomNews { room: Arc<str>, news: RoomNews },
    /// From where it was: a session that has spoken in a room has left it; behind its messages, to all whom these went.
    RoomSpeakerLeft { room: Arc<str>, sender: SenderSpan },

    // Groups of shared subscriptions: to the home ...
    /// A session is a member, or has other options.
    MemberUp {
        member: SessionKey,
        group: Arc<Group>,
        qos: Qos,
        online: bool,
        /// Its shard has sessions that outlive their connections.
        keeps: bool,
        /// It waits for [`Letter::MemberIs`].
        waits: bool,
    },
    /// It is none any more.
    MemberDown { member: SessionKey, group: GroupId },
    /// It lost its connection, or has one again.
    MemberState {
        member: SessionKey,
        group: GroupId,
        online: bool,
    },
    // ... to the member's shard ...
    /// All shards have been told that the group hears its channels.
    MemberIs { member: SessionKey },
    /// The member that was tried last is to have this message.
    ShareGive { group: GroupId, message: ShareSpans },
    // ... and from it.
    /// The member did not take it.
    ShareBack {
        group: GroupId,
        reason: Undelivered,
        message: ShareSpans,
    },
    /// A member that is gone had this message and did not acknowledge it.
    ShareReturn { group: GroupId, message: ShareSpans },
}

/// A message on its way to or from a member of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShareSpans {
    pub(crate) sender: SenderSpan,
    pub(crate) channel: Span,
    pub(crate) payload: Span,
    pub(crate) attributes: Span,
    /// See [`Course`](super::shared::Course).
    pub(crate) course: Span,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) expires: Option<Instant>,
    /// The home waits for its being in good hands under this name.
    pub(crate) awaited: Option<PublishId>,
}

/// A Direct message on its way between shards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectSpans {
    pub(crate) sender: SenderSpan,
    pub(crate) text: Span,
    pub(crate) attributes: Span,
    /// It goes to every block of this account.
    pub(crate) to_account: Option<Span>,
    pub(crate) qos: Qos,
    /// The sender may call the receiver's app.
    pub(crate) entitled: bool,
    /// Address keys of those that messaged the sender a short time ago, 12 bytes each.
    pub(crate) answering: Span,
    /// Who waits for the outcome.
    pub(crate) waiter: Option<(SessionKey, Ticket)>,
}

impl Wish {
    fn move_spans(&mut self, bytes: u32, text: u32) {
        self.app = self.app.moved(text);
        self.cmd = self.cmd.moved(text);
        self.resource = self.resource.map(|span| span.moved(text));
        self.body = self.body.moved(bytes);
    }
}

impl ShareSpans {
    fn move_spans(&mut self, bytes: u32, text: u32) {
        self.sender = self.sender.moved(text);
        self.channel = self.channel.moved(text);
        for span in [&mut self.payload, &mut self.attributes, &mut self.course] {
            *span = span.moved(bytes);
        }
    }
}

impl DirectSpans {
    fn move_spans(&mut self, bytes: u32, text: u32) {
        self.sender = self.sender.moved(text);
        self.text = self.text.moved(text);
        self.attributes = self.attributes.moved(bytes);
        self.to_account = self.to_account.map(|span| span.moved(text));
        self.answering = self.answering.moved(bytes);
    }
}

impl Letter {
    /// Follows the contents of its parcel, which moved to `bytes` and `text` in another.
    pub(crate) fn move_spans(&mut self, bytes: u32, text: u32) {
        match self {
            Self::Claim { .. }
            | Self::Release { .. }
            | Self::Away { .. }
            | Self::Granted { .. }
            | Self::LeftBehind { .. }
            | Self::FoundLeft { .. }
            | Self::LeaveBehind { .. }
            | Self::Evict { .. }
            | Self::Displaced { .. }
            | Self::ClaimRefused { .. }
            | Self::WorkerDown { .. }
            | Self::Load { .. }
            | Self::Settled { .. }
            | Self::DirectUp(_)
            | Self::DirectDown(_)
            | Self::DirectEnded { .. }
            | Self::InterestAdd { .. }
            | Self::InterestRemove { .. }
            | Self::Published { .. }
            | Self::Keeps
            | Self::Restored
            | Self::AllRestored
            | Self::Retain { .. }
            | Self::KeptCount { .. }
            | Self::RoomEnter { .. }
            | Self::RoomNews { .. }
            | Self::MemberUp { .. }
            | Self::MemberDown { .. }
            | Self::MemberState { .. }
            | Self::MemberIs { .. } => {}
            Self::ShareGive { message, .. }
            | Self::ShareBack { message, .. }
            | Self::ShareReturn { message, .. } => message.move_spans(bytes, text),
            Self::RoomLeave { address, .. } => *address = address.moved(text),
            Self::RoomSpeakerLeft { sender, .. } => *sender = sender.moved(text),
            Self::WorkerUp { identity, .. } => *identity = identity.moved(text),
            Self::ListenerAdd { cmd, .. } | Self::ListenerRemove { cmd, .. } => *cmd = cmd.moved(text),
            Self::Request { sender, wish, .. } => {
                *sender = sender.moved(text);
                wish.move_spans(bytes, text);
            }
            Self::Refused { wish, .. } => wish.move_spans(bytes, text),
            Self::Reply { body, worker, .. } => {
                *body = body.moved(bytes);
                *worker = worker.map(|span| span.moved(text));
            }
            Self::DirectSeek { account, message, .. } => {
                *account = account.map(|span| span.moved(text));
                message.move_spans(bytes, text);
            }
            Self::DirectGive { message, .. } | Self::DirectSeekAccount { message } => {
                message.move_spans(bytes, text);
            }
            Self::FilterAdd { filter } | Self::FilterRemove { filter } => *filter = filter.moved(text),
            Self::Publish {
                sender,
                channel,
                payload,
                attributes,
                ..
            } => {
                *sender = sender.moved(text);
                *channel = channel.moved(text);
                *payload = payload.moved(bytes);
                *attributes = attributes.moved(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_small() {
        assert_eq!(size_of::<Letter>(), 96);
    }
}
