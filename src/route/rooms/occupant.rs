//! One occupant, shared by all shards that know of it.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::route::identity::{Role, Sender};
use crate::route::message::SessionKey;

/// A block in a room, as the others are shown it.
#[derive(Debug)]
pub(crate) struct Occupant {
    address: Box<str>,
    app_len: u8,
    role: Role,
    note: Box<str>,
}

impl Occupant {
    pub(crate) fn new(sender: &Sender<'_>, note: &str) -> Self {
        Self {
            address: sender.address().into(),
            app_len: sender.app_len(),
            role: sender.role(),
            note: note.into(),
        }
    }

    /// The same with nothing to show.
    pub(super) fn without_note(&self) -> Self {
        Self::new(&self.sender(), "")
    }

    pub(crate) fn sender(&self) -> Sender<'_> {
        Sender::restore(&self.address, self.app_len, self.role)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// See [`Registration::Room`](crate::route::Registration::Room).
    pub(crate) fn note(&self) -> &str {
        &self.note
    }

    /// Bytes that it takes in memory, with its place in a table.
    pub(crate) const fn bytes(&self) -> usize {
        const PLACE: usize = 96;
        PLACE + self.address.len() + self.note.len()
    }
}

/// An occupant that is found by its address.
#[derive(Clone, Debug)]
pub(super) struct ByAddress(pub(super) Arc<Occupant>);

impl Hash for ByAddress {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.address().hash(state);
    }
}

impl PartialEq for ByAddress {
    fn eq(&self, other: &Self) -> bool {
        self.0.address() == other.0.address()
    }
}

impl Eq for ByAddress {}

impl Borrow<str> for ByAddress {
    fn borrow(&self) -> &str {
        self.0.address()
    }
}

/// What the home of a room tells a shard with occupants.
#[derive(Clone, Debug)]
pub(crate) enum RoomNews {
    /// The list follows from the beginning.
    Reset,
    /// Somebody is shown from now on, or with another note.
    Came(Arc<Occupant>),
    /// Somebody who was shown has left.
    Went(Arc<Occupant>),
    /// An occupant there is shown, and is to be shown the others.
    Listed(SessionKey),
    /// An occupant there has entered: it has been shown all that it is to be shown.
    Entered(SessionKey),
}
