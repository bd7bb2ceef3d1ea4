//! What the sessions of each account have of the stanzas that stream management (XEP-0198) remembers on one shard.
//!
//! Invariant: a place holds the sum of what is remembered of the accounts that have it. Accounts have theirs by a seeded hash, so
//! that nobody can choose to share one; two that share one have the bound together.

use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;

use crate::limits;

/// Bytes that are remembered, by a hash of the account's name.
#[derive(Debug)]
pub struct Unacked {
    places: Box<[AtomicU64]>,
    state: RandomState,
}

/// The place of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

impl Unacked {
    /// Nothing is remembered; hashes follow from `seed`.
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        let mut words = seed.chunks_exact(8).map(|chunk| {
            let word = chunk.try_into().unwrap_or_default();
            u64::from_le_bytes(word)
        });
        let mut word = || words.next().unwrap_or_default();
        Self {
            places: (0..limits::XMPP_UNACKED_PLACES)
                .map(|_| AtomicU64::new(0))
                .collect(),
            state: RandomState::with_seeds(word(), word(), word(), word()),
        }
    }

    /// The place of an account.
    pub(super) fn place(&self, account: &str) -> Place {
        let places = self.places.len().max(1) as u64;
        let place = self.state.hash_one(account) % places;
        Place(usize::try_from(place).unwrap_or_default())
    }

    /// More is remembered of an account; how much that is now.
    pub(super) fn add(&self, place: Place, bytes: u64) -> u64 {
        self.at(place)
            .map_or(bytes, |sum| sum.fetch_add(bytes, Ordering::Relaxed) + bytes)
    }

    /// Less is remembered of an account, which was added before; how much that is now.
    pub(super) fn give_back(&self, place: Place, bytes: u64) -> u64 {
        self.at(place).map_or(0, |sum| {
            sum.fetch_sub(bytes, Ordering::Relaxed).saturating_sub(bytes)
        })
    }

    /// How much is remembered of an account.
    pub(super) fn of(&self, place: Place) -> u64 {
        self.at(place).map_or(0, |sum| sum.load(Ordering::Relaxed))
    }

    fn at(&self, place: Place) -> Option<&AtomicU64> {
        self.places.get(place.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_account_has_its_own_sum() {
        let unacked = Unacked::new(&[7; 32]);
        let [one, two] = ["one", "two"].map(|name| unacked.place(name));
        assert_ne!(one, two);
        assert_eq!(unacked.place("one"), one);
        assert_eq!(
            (unacked.add(one, 5), unacked.add(one, 6), unacked.add(two, 1)),
            (5, 11, 1)
        );
        assert_eq!(
            (unacked.give_back(one, 4), unacked.of(one), unacked.of(two)),
            (7, 7, 1)
        );
        assert_eq!((unacked.give_back(one, 7), unacked.give_back(two, 1)), (0, 0));
    }

    #[test]
    fn accounts_spread_over_the_places() {
        let unacked = Unacked::new(&[9; 32]);
        for n in 0..limits::XMPP_UNACKED_PLACES {
            unacked.add(unacked.place(&format!("shop-{n:024x}-user")), 1);
        }
        let taken = unacked
            .places
            .iter()
            .filter(|place| place.load(Ordering::Relaxed) > 0);
        let most = unacked
            .places
            .iter()
            .map(|place| place.load(Ordering::Relaxed))
            .max();
        // As many as places thrown at random take 1 - 1/e of them.
        assert!(
            taken.count() > limits::XMPP_UNACKED_PLACES / 2 && most < Some(12),
            "{most:?}"
        );
    }
}
