//! What the sessions of each account have of the stanzas that stream management (XEP-0198) remembers on one shard.
//!
//! Invariants: an account has a place only while something of it is remembered, so that an idle session costs nothing; the
//! table keeps its room, so that a message costs no allocation.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

/// Bytes that are remembered, by a hash of the account's name. Only one thread uses it at a time: it never waits.
pub struct Unacked {
    of_accounts: Mutex<HashMap<u64, u64, RandomState>>,
    state: RandomState,
}

impl Unacked {
    /// Nothing is remembered; hashes follow from `seed`.
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        let mut words = seed.chunks_exact(8).map(|chunk| {
            let word = chunk.try_into().unwrap_or_default();
            u64::from_le_bytes(word)
        });
        let mut word = || words.next().unwrap_or_default();
        let state = RandomState::with_seeds(word(), word(), word(), word());
        Self {
            of_accounts: Mutex::new(HashMap::with_hasher(state.clone())),
            state,
        }
    }

    /// By what an account is named here.
    pub(super) fn account(&self, name: &str) -> u64 {
        self.state.hash_one(name)
    }

    /// More is remembered of an account; how much that is now.
    pub(super) fn add(&self, account: u64, bytes: u64) -> u64 {
        let mut of_accounts = self.lock();
        let own = of_accounts.entry(account).or_default();
        *own += bytes;
        *own
    }

    /// Less is remembered of an account; how much that is now.
    pub(super) fn give_back(&self, account: u64, bytes: u64) -> u64 {
        if bytes == 0 {
            return self.of(account);
        }
        let mut of_accounts = self.lock();
        let Some(own) = of_accounts.get_mut(&account) else {
            return 0;
        };
        *own = own.saturating_sub(bytes);
        let left = *own;
        if left == 0 {
            of_accounts.remove(&account);
        }
        left
    }

    /// How much is remembered of an account.
    pub(super) fn of(&self, account: u64) -> u64 {
        self.lock().get(&account).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, u64, RandomState>> {
        self.of_accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Unacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unacked").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_a_place_while_it_has_something_and_the_table_keeps_its_room() {
        let unacked = Unacked::new(&[7; 32]);
        let [one, two] = ["one", "two"].map(|name| unacked.account(name));
        assert_ne!(one, two);
        assert_eq!(
            (unacked.add(one, 5), unacked.add(one, 6), unacked.add(two, 1)),
            (5, 11, 1)
        );
        let room = unacked.lock().capacity();
        for _ in 0..1_000 {
            assert_eq!(unacked.give_back(two, 1), 0);
            assert_eq!(unacked.lock().len(), 1);
            assert_eq!(unacked.add(two, 1), 1);
        }
        assert_eq!(unacked.lock().capacity(), room);
        assert_eq!(
            (unacked.give_back(one, 4), unacked.of(one), unacked.of(two)),
            (7, 7, 1)
        );
        assert_eq!((unacked.give_back(one, 7), unacked.give_back(two, 1)), (0, 0));
        assert!(unacked.lock().is_empty());
    }
}
