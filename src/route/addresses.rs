//! Claims on addresses, at their home shard.
//!
//! Invariant: an address has at most one holder, and a newcomer becomes it only after the holder's shard said
//! that the holder left. At most one newcomer waits; a still newer one displaces it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ahash::RandomState;
use hashbrown::hash_table::Entry as TableEntry;

use super::hashes::AddressKey;
use super::message::SessionId;
use super::tables::Segments;

#[derive(Debug)]
struct Held {
    address: AddressKey,
    holder: SessionId,
}

/// The addresses that are at home on this shard.
#[derive(Debug)]
pub(crate) struct Addresses {
    held: Segments<Held>,
    waiting: HashMap<AddressKey, SessionId, RandomState>,
}

/// What follows from a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// The address was free.
    Granted,
    /// The newcomer waits; its holder is to be ended.
    Evict(SessionId),
    /// The newcomer waits in the place of this one; the holder is being ended already.
    InsteadOf(SessionId),
    /// The session has claimed it before.
    Again,
}

impl Addresses {
    pub(crate) fn new(state: RandomState) -> Self {
        Self {
            held: Segments::new(),
            waiting: HashMap::with_hasher(state),
        }
    }

    /// A login asks for `address`.
    pub(crate) fn claim(&mut self, address: AddressKey, newcomer: SessionId) -> Claimed {
        let entry = self.held.entry(
            address.hash(),
            |held| held.address == address,
            |held| held.address.hash(),
        );
        let holder = match entry {
            Some(TableEntry::Vacant(free)) => {
                free.insert(Held {
                    address,
                    holder: newcomer,
                });
                return Claimed::Granted;
            }
            Some(TableEntry::Occupied(held)) => held.get().holder,
            None => return Claimed::Again,
        };
        if holder == newcomer {
            return Claimed::Again;
        }
        match self.waiting.entry(address) {
            Entry::Vacant(free) => {
                free.insert(newcomer);
                Claimed::Evict(holder)
            }
            Entry::Occupied(waiting) if *waiting.get() == newcomer => Claimed::Again,
            Entry::Occupied(mut waiting) => Claimed::InsteadOf(waiting.insert(newcomer)),
        }
    }

    /// A session left. Names the one that holds the address from here on, if one waited.
    pub(crate) fn release(&mut self, address: AddressKey, session: SessionId) -> Option<SessionId> {
        if let Entry::Occupied(waiting) = self.waiting.entry(address)
            && *waiting.get() == session
        {
            waiting.remove();
            return None;
        }
        let is_held = |held: &Held| held.address == address && held.holder == session;
        let mut held = self.held.find_entry(address.hash(), is_held)?;
        if let Some(next) = self.waiting.remove(&address) {
            held.get_mut().holder = next;
            return Some(next);
        }
        held.remove();
        None
    }

    /// Addresses held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::SessionKey;
    use crate::route::hashes::Placement;

    fn session(slot: u32) -> SessionId {
        let key = SessionKey { slot, generation: 0 };
        SessionId { shard: 0, key }
    }

    fn address() -> AddressKey {
        Placement::new(1, 1).address("a/b")
    }

    #[test]
    fn a_claim_costs_24_bytes() {
        assert_eq!(size_of::<Held>(), 24);
    }

    #[test]
    fn the_newest_waits_for_the_holder_and_follows_it() {
        let mut addresses = Addresses::new(RandomState::with_seeds(1, 2, 3, 4));
        assert_eq!(addresses.claim(address(), session(1)), Claimed::Granted);
        assert_eq!(addresses.claim(address(), session(1)), Claimed::Again);
        assert_eq!(addresses.claim(address(), session(2)), Claimed::Evict(session(1)));
        assert_eq!(
            addresses.claim(address(), session(3)),
            Claimed::InsteadOf(session(2))
        );
        assert_eq!(addresses.release(address(), session(2)), None);
        assert_eq!(addresses.release(address(), session(1)), Some(session(3)));
        assert_eq!(addresses.release(address(), session(1)), None);
        assert_eq!(addresses.release(address(), session(3)), None);
        assert_eq!(addresses.len(), 0);
    }

    #[test]
    fn who_waits_may_withdraw() {
        let mut addresses = Addresses::new(RandomState::with_seeds(1, 2, 3, 4));
        addresses.claim(address(), session(1));
        addresses.claim(address(), session(2));
        assert_eq!(addresses.release(address(), session(2)), None);
        assert_eq!(addresses.claim(address(), session(3)), Claimed::Evict(session(1)));
    }
}
