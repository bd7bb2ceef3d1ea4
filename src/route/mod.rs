//! Where messages go: identities, the workers' directory, channel subscriptions, requests in flight.
//!
//! Invariants: this room names no protocol, no clock and no I/O. Sessions speak to it in [`Command`]s, it
//! answers in [`Delivery`]s and [`Notice`]s; what concerns another shard leaves in that shard's parcel.

pub mod identity;
pub mod message;
pub mod port;
pub mod rights;

pub use identity::{Account, Identity, NameError, Role, Sender, Uid};
pub use message::{
    Answer, ApiRequest, ChannelMessage, Command, Completion, Delivery, Direct, DirectOutcome, Login, Notice,
    Outcome, Ownership, Qos, Reach, Refusal, Registration, SenderPattern, SessionId, SessionKey,
    SubscriptionOptions, Ticket, Token, Undelivered, Unregistration,
};
pub use rights::{AppPolicy, Change, CredentialId, DirectPolicy, Grants, Service};
