//! Claims on addresses, at their home shard.
//!
//! Invariant: an address has at most one holder, and a newcomer becomes it only after the holder's shard said
//! that the holder left. At most one newcomer waits; a still newer one displaces it. While the end of a session that was
//! kept does not last, nobody holds its address: whoever does has been told that nothing was there before.
//!
//! A holder that lives on its address's home shard costs four bytes here: its slot, since the session itself
//! knows its address until it has released it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ahash::RandomState;

use super::hashes::AddressKey;
use super::message::{SessionId, SessionKey};
use super::tables::Segments;
use crate::limits;

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
    waiting: HashMap<AddressKey, Waiting, RandomState>,
    /// How many sessions that were kept have ended under an address, and a crash would bring them back.
    ending: HashMap<AddressKey, u32, RandomState>,
}

/// Who waits for an address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Gets it, unless it has left.
    pub(crate) newest: Option<SessionId>,
    /// Waited before, and are told that they do not get it when it is free.
    pub(crate) overtaken: Vec<SessionId>,
}

/// What follows from a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// The address was free.
    Granted,
    /// The newcomer waits; its holder is to be ended.
    Evict(SessionId),
    /// The newcomer waits, in the place of this one; the holder is being ended already.
    InsteadOf(SessionId),
    /// The newcomer waits for the end of an earlier holder to last.
    Waits,
    /// The session has claimed it before.
    Again,
}

impl Addresses {
    pub(crate) fn new(state: RandomState) -> Self {
        Self {
            here: Segments::new(),
            elsewhere: Segments::new(),
            waiting: HashMap::with_hasher(state.clone()),
            ending: HashMap::with_hasher(state),
        }
    }

    /// A login asks for `address`.
    pub(crate) fn claim(
        &mut self,
        residents: &impl Residents,
        address: AddressKey,
        newcomer: SessionId,
    ) -> Claimed {
        let holder = self.holder(residents, address);
        if holder.is_none() && !self.is_ending(address) {
            self.hold(residents, address, newcomer);
            return Claimed::Granted;
        }
        if holder == Some(newcomer) {
            return Claimed::Again;
        }
        let waiting = self.waiting.entry(address).or_insert(Waiting {
            newest: None,
            overtaken: Vec::new(),
        });
        match waiting.newest.replace(newcomer) {
            None => holder.map_or(Claimed::Waits, Claimed::Evict),
            Some(other) if other == newcomer => Claimed::Again,
            Some(other) => Claimed::InsteadOf(other),
        }
    }

    /// Has one that waited be told only when somebody gets the address. False: [`limits::OVERTAKEN_MAX`] wait so.
    pub(crate) fn tell_later(&mut self, address: AddressKey, overtaken: SessionId) -> bool {
        match self.waiting.get_mut(&address) {
            Some(waiting) if waiting.overtaken.len() < limits::OVERTAKEN_MAX => {
                waiting.overtaken.push(overtaken);
                true
            }
            _ => false,
        }
    }

    /// A session that was kept is about to be released, and its end does not last yet.
    pub(crate) fn ends(&mut self, address: AddressKey) {
        *self.ending.entry(address).or_default() += 1;
    }

    /// That lasts now. Who waited: the newest holds the address from here on.
    pub(crate) fn ended(&mut self, residents: &impl Residents, address: AddressKey) -> Option<Waiting> {
        if let Entry::Occupied(mut ending) = self.ending.entry(address) {
            *ending.get_mut() = ending.get().saturating_sub(1);
            if *ending.get() > 0 {
                return None;
            }
            ending.remove();
        }
        self.follow(residents, address)
    }

    /// Whether an earlier holder might be there again after a crash.
    pub(crate) fn is_ending(&self, address: AddressKey) -> bool {
        !self.ending.is_empty() && self.ending.contains_key(&address)
    }

    /// Gives an address that is free to who waits for it.
    fn follow(&mut self, residents: &impl Residents, address: AddressKey) -> Option<Waiting> {
        if self.is_held(residents, address) {
            return None;
        }
        let waiting = self.waiting.remove(&address)?;
        if let Some(next) = waiting.newest {
            self.hold(residents, address, next);
        }
        Some(waiting)
    }

    /// Whether somebody holds the address.
    pub(crate) fn is_held(&self, residents: &impl Residents, address: AddressKey) -> bool {
        self.holder(residents, address).is_some()
    }

    /// A session leaves; one of this shard must still be among `residents`. Who waited: the newest holds the
    /// address from here on.
    pub(crate) fn release(
        &mut self,
        residents: &impl Residents,
        address: AddressKey,
        session: SessionId,
    ) -> Option<Waiting> {
        if let Entry::Occupied(mut waiting) = self.waiting.entry(address)
            && waiting.get().newest == Some(session)
        {
            waiting.get_mut().newest = None;
            if waiting.get().overtaken.is_empty() {
                waiting.remove();
            }
            return None;
        }
        if let Entry::Occupied(mut waiting) = self.waiting.entry(address) {
            let Waiting { newest, overtaken } = waiting.get_mut();
            overtaken.retain(|overtaken| *overtaken != session);
            if newest.is_none() && overtaken.is_empty() {
                waiting.remove();
            }
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
        if self.is_ending(address) {
            return None;
        }
        self.follow(residents, address)
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
            let waiting = addresses.release(&Here, address(), one).unwrap();
            assert_eq!((waiting.newest, waiting.overtaken), (Some(three), vec![]));
            assert_eq!(addresses.release(&Here, address(), one), None);
            assert_eq!(addresses.len(), 1);
            assert_eq!(addresses.release(&Here, address(), three), None);
            assert_eq!(addresses.len(), 0);
        }
    }

    #[test]
    fn nobody_holds_the_address_before_the_end_of_a_session_that_was_kept_lasts() {
        for [kept, one, two, three] in [[0, 0, 0, 0], [0, 1, 0, 1]] {
            let mut addresses = addresses();
            let (kept, one) = (session(kept, 1), session(one, 2));
            let (two, three) = (session(two, 3), session(three, 4));
            addresses.claim(&Here, address(), kept);
            assert_eq!(addresses.claim(&Here, address(), one), Claimed::Evict(kept));
            addresses.ends(address());
            addresses.ends(address());
            assert_eq!(addresses.release(&Here, address(), kept), None);
            assert_eq!(addresses.claim(&Here, address(), two), Claimed::InsteadOf(one));
            assert!(addresses.tell_later(address(), one));
            assert_eq!(addresses.release(&Here, address(), two), None);
            assert_eq!(addresses.claim(&Here, address(), three), Claimed::Waits);
            assert_eq!(addresses.claim(&Here, address(), three), Claimed::Again);
            assert_eq!(addresses.ended(&Here, address()), None);
            let waiting = addresses.ended(&Here, address()).unwrap();
            assert_eq!((waiting.newest, waiting.overtaken), (Some(three), vec![one]));
            assert!(addresses.ending.is_empty() && addresses.waiting.is_empty());
            assert_eq!(addresses.claim(&Here, address(), one), Claimed::Evict(three));
        }
    }

    #[test]
    fn those_who_are_overtaken_are_bounded_and_forgotten_when_they_leave() {
        let mut addresses = addresses();
        addresses.claim(&Here, address(), session(1, 0));
        addresses.release(&Here, address(), session(1, 0));
        addresses.ends(address());
        let most = u32::try_from(limits::OVERTAKEN_MAX).unwrap();
        for slot in 1..=most + 1 {
            addresses.claim(&Here, address(), session(1, slot));
            if slot > 1 {
                assert!(addresses.tell_later(address(), session(1, slot - 1)));
            }
        }
        addresses.claim(&Here, address(), session(1, most + 2));
        assert!(!addresses.tell_later(address(), session(1, most + 1)));
        assert_eq!(addresses.release(&Here, address(), session(1, 1)), None);
        assert!(addresses.tell_later(address(), session(1, most + 1)));
        for slot in 1..=most + 2 {
            assert_eq!(addresses.release(&Here, address(), session(1, slot)), None);
        }
        assert_eq!(addresses.waiting.len(), 0);
    }

    #[test]
    fn who_was_overtaken_is_told_whether_the_newest_stays_or_not() {
        let mut addresses = addresses();
        let [one, two, three] = [session(0, 1), session(1, 2), session(0, 3)];
        addresses.claim(&Here, address(), one);
        addresses.claim(&Here, address(), two);
        assert_eq!(addresses.claim(&Here, address(), three), Claimed::InsteadOf(two));
        assert!(addresses.tell_later(address(), two));
        assert_eq!(addresses.release(&Here, address(), three), None);
        let waiting = addresses.release(&Here, address(), one).unwrap();
        assert_eq!((waiting.newest, waiting.overtaken), (None, vec![two]));
        assert_eq!((addresses.len(), addresses.waiting.len()), (0, 0));
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
