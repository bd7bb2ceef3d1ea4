//! Claims on addresses, at their home shard.
//!
//! Invariant: an address has at most one holder, and a newcomer becomes it only after the holder's shard said
//! that the holder left. At most one newcomer waits; a still newer one displaces it.
//!
//! A holder that lives on its address's home shard costs four bytes here: its slot, since the session itself
//! knows its address until it has released it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ahash::RandomState;

use super::hashes::AddressKey;
use super::message::{SessionId, SessionKey};
use super::tables::Segments;

/// The sessions of this shard, as their addresses' home knows them.
pub(crate) trait Residents {
    /// This shard.
    fn shard(&self) -> u16;

    /// The session in a slot and its address.
    fn resident(&self, slot: u32) -> Option<(SessionKey, AddressKey)>;
}

/// A holder on another shard.
#[derive(Debug)]
struct Held {
    address: AddressKey,
    holder: SessionId,
}

/// The addresses that are at home on this shard.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// Slots of the holders on this shard.
    here: Segments<u32>,
    elsewhere: Segments<Held>,
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
            here: Segments::new(),
            elsewhere: Segments::new(),
            waiting: HashMap::with_hasher(state),
        }
    }

    /// A login asks for `address`.
    pub(crate) fn claim(
        &mut self,
        residents: &impl Residents,
        address: AddressKey,
        newcomer: SessionId,
    ) -> Claimed {
        let Some(holder) = self.holder(residents, address) else {
            self.hold(residents, address, newcomer);
            return Claimed::Granted;
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

    /// Whether somebody holds the address.
    pub(crate) fn is_held(&self, residents: &impl Residents, address: AddressKey) -> bool {
        self.holder(residents, address).is_some()
    }

    /// A session leaves; one of this shard must still be among `residents`. Names the one that holds the
    /// address from here on, if one waited.
    pub(crate) fn release(
        &mut self,
        residents: &impl Residents,
        address: AddressKey,
        session: SessionId,
    ) -> Option<SessionId> {
        if let Entry::Occupied(waiting) = self.waiting.entry(address)
            && *waiting.get() == session
        {
            waiting.remove();
            return None;
        }
        if self.holder(residents, address) != Some(session) {
            return None;
        }
        if session.shard == residents.shard() {
            let is_it = |slot: &u32| *slot == session.key.slot;
            self.here.find_entry(address.hash(), is_it)?.remove();
        } else {
            let is_it = |held: &Held| held.address == address;
            self.elsewhere.find_entry(address.hash(), is_it)?.remove();
        }
        let next = self.waiting.remove(&address)?;
        self.hold(residents, address, next);
        Some(next)
    }

    /// Who holds the address.
    pub(crate) fn holder(&self, residents: &impl Residents, address: AddressKey) -> Option<SessionId> {
        let holds = |slot: &u32| residents.resident(*slot).is_some_and(|(_, held)| held == address);
        if let Some(slot) = self.here.find(address.hash(), holds) {
            let (key, _) = residents.resident(*slot)?;
            let shard = residents.shard();
            return Some(SessionId { shard, key });
        }
        self.elsewhere
            .find(address.hash(), |held| held.address == address)
            .map(|held| held.holder)
    }

    fn hold(&mut self, residents: &impl Residents, address: AddressKey, holder: SessionId) {
        if holder.shard == residents.shard() {
            let hash_of = |slot: &u32| residents.resident(*slot).map_or(0, |(_, address)| address.hash());
            self.here.insert_unique(address.hash(), holder.key.slot, hash_of);
        } else {
            let held = Held { address, holder };
            self.elsewhere
                .insert_unique(address.hash(), held, |held| held.address.hash());
        }
    }

    /// Addresses held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.here.len() + self.elsewhere.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::hashes::Placement;

    /// All sessions live here and hold the same address, or live on shard 1.
    struct Here;

    impl Residents for Here {
        fn shard(&self) -> u16 {
            0
        }

        fn resident(&self, slot: u32) -> Option<(SessionKey, AddressKey)> {
            Some((SessionKey { slot, generation: 0 }, address()))
        }
    }

    fn session(shard: u16, slot: u32) -> SessionId {
        let key = SessionKey { slot, generation: 0 };
        SessionId { shard, key }
    }

    fn address() -> AddressKey {
        Placement::new(1, 1).address("a/b")
    }

    fn addresses() -> Addresses {
        Addresses::new(RandomState::with_seeds(1, 2, 3, 4))
    }

    #[test]
    fn a_claim_from_elsewhere_costs_24_bytes() {
        assert_eq!(size_of::<Held>(), 24);
    }

    #[test]
    fn the_newest_waits_for_the_holder_and_follows_it() {
        for shards in [[0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 1]] {
            let [one, two, three] = [
                session(shards[0], 1),
                session(shards[1], 2),
                session(shards[2], 3),
            ];
            let mut addresses = addresses();
            assert_eq!(addresses.claim(&Here, address(), one), Claimed::Granted);
            assert_eq!(addresses.claim(&Here, address(), one), Claimed::Again);
            assert_eq!(addresses.claim(&Here, address(), two), Claimed::Evict(one));
            assert_eq!(addresses.claim(&Here, address(), three), Claimed::InsteadOf(two));
            assert_eq!(addresses.release(&Here, address(), two), None);
            assert_eq!(addresses.release(&Here, address(), one), Some(three));
            assert_eq!(addresses.release(&Here, address(), one), None);
            assert_eq!(addresses.len(), 1);
            assert_eq!(addresses.release(&Here, address(), three), None);
            assert_eq!(addresses.len(), 0);
        }
    }

    #[test]
    fn who_waits_may_withdraw() {
        let mut addresses = addresses();
        let [one, two, three] = [session(0, 1), session(0, 2), session(1, 3)];
        addresses.claim(&Here, address(), one);
        addresses.claim(&Here, address(), two);
        assert_eq!(addresses.release(&Here, address(), two), None);
        assert_eq!(addresses.claim(&Here, address(), three), Claimed::Evict(one));
    }
}
