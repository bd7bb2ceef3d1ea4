//! Who is in the rooms: the channels whose subscribers show themselves to one another.
//!
//! The home shard of a room (its channel's hash) has the list of all its occupants ([`home`]); a shard with occupants
//! has a copy of those that are shown ([`local`]), kept by what the home tells it. Invariants: a shard is told of a room
//! from its first occupant there to its last, and is given the whole list at the first; who is shown is told to all whom it
//! concerns, who is not is told to nobody; an occupant is answered behind the list. Above
//! [`RouterLimits::room_presence_max`](super::RouterLimits::room_presence_max) occupants nobody more is shown; once there
//! are as few again, all are.

mod entering;
mod home;
mod local;
mod occupant;

pub(super) use self::home::Homes;
pub(super) use self::local::Locals;
pub(super) use self::occupant::{Occupant, RoomNews};
