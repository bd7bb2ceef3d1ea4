//! Where messages go: identities, the workers' directory, channel subscriptions, requests in flight.
//!
//! Invariants: this room names no protocol, no clock and no I/O. Sessions speak to it in [`Command`]s, it
//! answers in [`Delivery`]s and [`Notice`]s; what concerns another shard leaves in that shard's [`Parcel`].
//!
//! The [`Router`] is one shard's; its methods stand in the file of what they are about: `claiming` (addresses),
//! `registering`, `publishing`, `asking` and `answering` (requests), `directing`, `builtin`, `revocation`,
//! `retained` (retained messages, on all shards), `rooms` (who is in rooms), `leavings` (what blocks leave behind), `shared` (shared subscriptions), `system` (`$SYS`), `receiving` (the letters of other shards). The tables they work on have files of their own and know nothing
//! of each other.

pub mod identity;
pub mod message;
pub mod port;
pub mod rights;

mod addresses;
mod answering;
mod asked;
mod asking;
mod awaited;
mod builtin;
mod channels;
mod claiming;
mod conflicts;
mod direct;
mod directing;
mod directory;
mod drops;
mod entitlement;
mod failure;
mod hashes;
mod keeping;
mod kept;
mod leavings;
mod letter;
mod mesh;
mod parcel;
mod publishing;
mod receiving;
mod registering;
mod requests;
mod restored;
mod retained;
mod revocation;
mod rooms;
mod router;
mod select;
mod sessions;
mod shared;
mod system;
mod tables;
mod whereabouts;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use awaited::PublishId;
pub use hashes::AddressKey;
pub use identity::{Account, Identity, NameError, Role, Sender, Uid};
pub(crate) use message::copied;
pub use message::{
    Answer, ApiRequest, Authenticate, Bind, Certified, ChannelMessage, ClaimRefusal, Command, Completion,
    Delivery, Direct, DirectOutcome, Lasting, LeftId, Login, Mark, Notice, Outcome, Ownership, Previd, Proof,
    Qos, Reach, Refusal, Registration, Resume, RetainHandling, RoomEvent, ScramHash, SenderPattern,
    SessionId, SessionKey, Share, SubscriptionOptions, Ticket, Token, Undelivered, Unregistration,
};
pub use parcel::Parcel;
pub use port::{Port, RouteTimer, TimerHandle};
pub use retained::Retained;
pub use rights::{AppPolicy, Change, CredentialId, DirectPolicy, Grants, Service};
pub use router::{RootWildcard, Router, RouterConfig, RouterLimits};
pub use shared::{OwnedShare, Returned};
pub use system::Audience;
