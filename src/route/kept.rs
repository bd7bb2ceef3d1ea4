//! How many sessions outlive their connections: in all, and of each account if that is bounded.
//!
//! Every shard counts for all: what comes and goes on one is told to the others. Two shards that grant the last place
//! at one moment both do; the bound is exact but for that.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ahash::RandomState;

use super::identity::Identity;
use super::letter::Letter;
use super::router::Router;

/// The counts as this shard knows them.
#[derive(Debug)]
pub(super) struct KeptCounts {
    all: usize,
    /// By a hash of the account's name, which all shards compute alike.
    of_accounts: HashMap<u64, u32, RandomState>,
}

impl KeptCounts {
    pub(super) fn new(state: RandomState) -> Self {
        Self {
            all: 0,
            of_accounts: HashMap::with_hasher(state),
        }
    }

    /// One more, or one less.
    pub(super) fn count(&mut self, account: u64, more: bool) {
        if more {
            self.all += 1;
            *self.of_accounts.entry(account).or_default() += 1;
            return;
        }
        self.all = self.all.saturating_sub(1);
        if let Entry::Occupied(mut known) = self.of_accounts.entry(account) {
            *known.get_mut() = known.get().saturating_sub(1);
            if *known.get() == 0 {
                known.remove();
            }
        }
    }

    fn of(&self, account: u64) -> usize {
        self.of_accounts.get(&account).map_or(0, |&count| count as usize)
    }
}

impl Router {
    /// Whether one more session of this account may outlive its connection.
    pub fn may_keep(&self, identity: &Identity) -> bool {
        let of_account = match self.limits.kept_sessions_per_account_max {
            0 => usize::MAX,
            most => most,
        };
        let account = self.placement.channel(identity.sender().account());
        self.kept.all < self.limits.kept_sessions_max && self.kept.of(account) < of_account
    }

    /// A session that outlives its connection came, or it ended.
    pub fn count_kept(&mut self, identity: &Identity, more: bool) {
        let account = self.placement.channel(identity.sender().account());
        self.kept.count(account, more);
        self.mesh.broadcast(|_| Letter::KeptCount { account, more });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_without_sessions_costs_nothing() {
        let mut kept = KeptCounts::new(RandomState::with_seeds(1, 2, 3, 4));
        kept.count(7, true);
        kept.count(7, true);
        kept.count(8, true);
        assert_eq!((kept.all, kept.of(7), kept.of(8), kept.of(9)), (3, 2, 1, 0));
        for account in [7, 7, 8, 9] {
            kept.count(account, false);
        }
        assert_eq!((kept.all, kept.of_accounts.len()), (0, 0));
    }
}
