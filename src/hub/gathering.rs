//! Large packets and stanzas of blocks that are logged in, while they are unfinished.
//!
//! Each connection may have as much gathered as before its login. What it announces beyond is taken from a pool of the
//! shard, of which one account gets a part: a client that never goes on holds no more, and leaves room for others.

use std::collections::HashMap;

use ahash::RandomState;

use super::io::Io;
use super::table::State;
use super::{Hub, Next};
use crate::limits;
use crate::route::SessionKey;
use crate::session::{Disconnect, Ending, Session};
use crate::time::Now;

/// What a session has of the pool.
#[derive(Clone, Copy, Debug)]
struct Share {
    bytes: usize,
    account: u64,
}

/// What is taken from the pool.
#[derive(Debug)]
pub(super) struct Gathering {
    bytes: usize,
    bytes_max: usize,
    of_account_max: usize,
    of_sessions: HashMap<SessionKey, Share, RandomState>,
    /// By a hash of the account's name.
    of_accounts: HashMap<u64, usize, RandomState>,
}

impl Gathering {
    pub(super) fn new(bytes_max: usize, of_account_max: usize, state: RandomState) -> Self {
        Self {
            bytes: 0,
            bytes_max,
            of_account_max,
            of_sessions: HashMap::with_hasher(state.clone()),
            of_accounts: HashMap::with_hasher(state),
        }
    }

    /// Bytes taken from the pool.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a session, which has nothing of the pool now, may have `announced` bytes gathered. A packet passes however
    /// large it is if it is the only one, of its account and of all.
    pub(super) fn take(&mut self, key: SessionKey, account: &str, announced: usize) -> bool {
        let bytes = announced.saturating_sub(limits::PRELOGIN_BYTES_MAX);
        if bytes == 0 {
            return true;
        }
        let account = self.of_accounts.hasher().hash_one(account);
        let of_account = self.of_accounts.get(&account).copied().unwrap_or_default();
        let fits = |taken: usize, most: usize| taken == 0 || taken.saturating_add(bytes) <= most;
        if !fits(self.bytes, self.bytes_max) || !fits(of_account, self.of_account_max) {
            return false;
        }
        self.bytes += bytes;
        self.of_accounts.insert(account, of_account + bytes);
        self.of_sessions.insert(key, Share { bytes, account });
        true
    }

    /// Gives back what a session has of the pool, if it has anything. Whether it had.
    pub(super) fn give_back(&mut self, key: SessionKey) -> bool {
        if self.of_sessions.is_empty() {
            return false;
        }
        let Some(share) = self.of_sessions.remove(&key) else {
            return false;
        };
        self.bytes -= share.bytes;
        if let Some(of_account) = self.of_accounts.get_mut(&share.account) {
            *of_account -= share.bytes;
            if *of_account == 0 {
                self.of_accounts.remove(&share.account);
            }
        }
        true
    }
}

impl<C: Copy + PartialEq + std::fmt::Debug, S: Clone, P: Session> Hub<C, S, P> {
    /// Whether a session may have this many bytes gathered, beside what it keeps itself of an unfinished packet: long
    /// frames come from pools, one before login and one after it.
    fn may_wait_for(&mut self, key: SessionKey, bytes: usize) -> bool {
        let pooled_bytes = self.pooled_bytes;
        let Some(entry) = self.table.get_mut(key) else {
            return false;
        };
        let before_login = entry.state != State::Attached;
        let Some(prelogin) = entry.prelogin.as_mut().filter(|_| before_login) else {
            let announced = bytes.saturating_add(entry.session.gathered());
            if announced <= limits::PRELOGIN_BYTES_MAX {
                return true;
            }
            let Some(identity) = self.router.identity(key) else {
                return true;
            };
            let may = self.gathering.take(key, identity.sender().account(), announced);
            self.metrics.unfinished_bytes.set(self.gathering.bytes() as u64);
            return may;
        };
        let more = bytes
            .saturating_sub(limits::PRELOGIN_BYTES_MAX)
            .saturating_sub(prelogin.pooled);
        if pooled_bytes + more > limits::CONNECT_POOL_BYTES_MAX {
            return false;
        }
        prelogin.pooled += more;
        self.pooled_bytes += more;
        true
    }

    /// Gives back what was taken for a session's unfinished packet: more of it came, or its connection is gone.
    pub(super) fn give_back(&mut self, key: SessionKey) {
        if self.gathering.give_back(key) {
            self.metrics.unfinished_bytes.set(self.gathering.bytes() as u64);
        }
    }

    /// A session waits for this many bytes, and more of its packet may be with itself. `None`: there is no room to gather
    /// them, and its connection ends.
    pub(super) fn gather<I>(&mut self, io: &mut I, now: Now, key: SessionKey, bytes: usize) -> Option<Next>
    where
        I: Io<Conn = C, Shared = S>,
    {
        if self.may_wait_for(key, bytes) {
            return Some(Next::Need(bytes));
        }
        let is_attached = self
            .table
            .get_mut(key)
            .is_some_and(|entry| entry.state == State::Attached);
        if !is_attached {
            self.disconnect(io, now, key, Disconnect::Unavailable);
            return None;
        }
        self.metrics.disconnected(Disconnect::QuotaExceeded);
        self.end(io, now, key, Ending::TooMuchUnfinished);
        self.settle(io, now);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: usize = limits::PRELOGIN_BYTES_MAX;

    fn gathering(bytes_max: usize, of_account_max: usize) -> Gathering {
        Gathering::new(bytes_max, of_account_max, RandomState::with_seeds(1, 2, 3, 4))
    }

    fn key(slot: u32) -> SessionKey {
        SessionKey { slot, generation: 0 }
    }

    #[test]
    fn all_have_a_bound_and_each_account_a_part_of_it() {
        let mut gathering = gathering(100, 40);
        assert!(gathering.take(key(0), "a", FREE + 30));
        assert!(!gathering.take(key(1), "a", FREE + 11));
        assert!(gathering.take(key(1), "a", FREE + 10));
        assert!(gathering.take(key(2), "b", FREE + 40));
        assert!(!gathering.take(key(3), "c", FREE + 21));
        assert!(gathering.take(key(3), "c", FREE), "what was free before login");
        assert!(gathering.take(key(3), "c", FREE + 20));
        assert_eq!(gathering.bytes(), 100);
        assert!(gathering.give_back(key(0)) && !gathering.give_back(key(0)));
        assert!(gathering.take(key(4), "d", FREE + 30));
        for slot in 1..5 {
            assert!(gathering.give_back(key(slot)));
        }
        assert_eq!(gathering.bytes(), 0);
        assert!(gathering.of_accounts.is_empty() && gathering.of_sessions.is_empty());
    }

    #[test]
    fn what_is_larger_than_the_pool_passes_alone() {
        let mut gathering = gathering(100, 40);
        assert!(gathering.take(key(0), "a", FREE + 1_000));
        assert!(!gathering.take(key(1), "b", FREE + 1));
        gathering.give_back(key(0));
        assert!(gathering.take(key(1), "b", FREE + 1));
        assert!(!gathering.take(key(0), "a", FREE + 1_000));
        assert!(!gathering.take(key(2), "b", FREE + 40));
    }
}
