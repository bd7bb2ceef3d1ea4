//! What blocks leave behind for their next session, at the home shards of their addresses.
//!
//! Invariants: it goes to whoever holds the address next, once, before it is told that the address is its own, and stays
//! here until its shard has said that it was still there; it is opaque here. What is forgotten first is what was left first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;

use super::hashes::AddressKey;
use super::letter::Letter;
use super::message::{Notice, SessionId, SessionKey};
use super::port::Port;
use super::router::Router;
use crate::limits;
use crate::time::{Instant, Now};

/// What one block has left.
#[derive(Debug)]
struct Left {
    bytes: Arc<[u8]>,
    number: u64,
}

/// What the blocks at home here have left.
#[derive(Debug)]
pub(crate) struct Leavings {
    left: HashMap<AddressKey, Left, RandomState>,
    /// In the order of coming, with those that are not there any more.
    order: VecDeque<(Instant, u64, AddressKey)>,
    numbers: u64,
    bytes: usize,
}

impl Leavings {
    pub(crate) fn new(state: RandomState) -> Self {
        Self {
            left: HashMap::with_hasher(state),
            order: VecDeque::new(),
            numbers: 0,
            bytes: 0,
        }
    }

    /// Blocks of whom something is here.
    pub(crate) fn len(&self) -> usize {
        self.left.len()
    }

    /// How many blocks are forgotten for it.
    fn put(&mut self, address: AddressKey, bytes: Arc<[u8]>, until: Instant) -> u64 {
        self.take(address);
        let mut forgotten = 0;
        while self.order.len() >= limits::LEFT_BEHIND_BLOCKS_MAX
            || (self.bytes + bytes.len() > limits::LEFT_BEHIND_BYTES_PER_SHARD_MAX && self.bytes > 0)
        {
            forgotten += u64::from(self.forget_first());
        }
        self.numbers += 1;
        let number = self.numbers;
        self.bytes += bytes.len();
        self.left.insert(address, Left { bytes, number });
        self.order.push_back((until, number, address));
        forgotten
    }

    fn take(&mut self, address: AddressKey) -> Option<Arc<[u8]>> {
        let left = self.left.remove(&address)?;
        self.bytes -= left.bytes.len();
        Some(left.bytes)
    }

    /// Whether it was there still.
    fn forget_first(&mut self) -> bool {
        let Some((_, number, address)) = self.order.pop_front() else {
            return false;
        };
        // Another one may have been left under the address since.
        let is_there = self.left.get(&address).is_some_and(|left| left.number == number);
        is_there && self.take(address).is_some()
    }

    /// Forgets what has waited long enough.
    pub(crate) fn forget_old(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(until, ..)| *until <= now) {
            self.forget_first();
        }
    }
}

impl Router {
    /// A session ends, and leaves this to the next one that has its address. Before it leaves.
    pub fn leave_behind(&mut self, now: Now, key: SessionKey, left: Arc<[u8]>) {
        if self.limits.rejoin_s == 0 || self.draining {
            return;
        }
        let Some(entry) = self.sessions.get(key) else {
            return;
        };
        let address = self.placement.address(entry.identity.sender().address());
        let home = self.placement.home(address.hash());
        if home == self.shard {
            return self.left_behind(now.instant, address, left);
        }
        self.mesh.write(home, |parcel| {
            parcel.put_shared(left.len());
            Letter::LeaveBehind { address, left }
        });
    }

    /// At home: something is left.
    pub(super) fn left_behind(&mut self, now: Instant, address: AddressKey, left: Arc<[u8]>) {
        let until = now + Duration::from_secs(self.limits.rejoin_s.into());
        let forgotten = self.leavings.put(address, left, until);
        self.metrics.left_behind_forgotten.add(forgotten);
    }

    /// At home: a session is about to be told that an address is its own.
    pub(super) fn hand_leavings(&mut self, port: &mut impl Port, address: AddressKey, to: SessionId) {
        if self.leavings.left.is_empty() {
            return;
        }
        let session = to.key;
        if to.shard == self.shard {
            if let Some(left) = self.leavings.take(address) {
                port.notify(session, Notice::LeftBehind(left));
            }
        } else if let Some(left) = self.leavings.left.get(&address) {
            let left = Arc::clone(&left.bytes);
            self.mesh.write(to.shard, |parcel| {
                parcel.put_shared(left.len());
                Letter::LeftBehind { session, left }
            });
        }
    }
}

impl Router {
    /// Where the session lives: it is given what was left, unless it is gone; then that waits on at home, for the next one.
    pub(super) fn found_left(
        &mut self,
        port: &mut impl Port,
        home: u16,
        session: SessionKey,
        left: &Arc<[u8]>,
    ) {
        let Some(entry) = self.sessions.get(session) else {
            return;
        };
        let address = self.placement.address(entry.identity.sender().address());
        port.notify(session, Notice::LeftBehind(Arc::clone(left)));
        self.mesh.write(home, |_| Letter::FoundLeft { address });
    }

    /// At home: it has found its session.
    pub(super) fn left_is_found(&mut self, address: AddressKey) {
        self.leavings.take(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::hashes::Placement;

    fn at(s: u64) -> Instant {
        Instant::default() + Duration::from_secs(s)
    }

    fn leavings() -> Leavings {
        Leavings::new(RandomState::with_seeds(1, 2, 3, 4))
    }

    #[test]
    fn what_is_left_is_taken_once_and_forgotten_in_time() {
        let placement = Placement::new(1, 1);
        let [one, two] = ["a/1", "a/2"].map(|address| placement.address(address));
        let mut leavings = leavings();
        leavings.put(one, b"first".as_slice().into(), at(10));
        leavings.put(two, b"second".as_slice().into(), at(11));
        leavings.put(one, b"later".as_slice().into(), at(12));
        leavings.forget_old(at(10));
        assert_eq!(leavings.take(one).as_deref(), Some(b"later".as_slice()));
        assert_eq!(leavings.take(one), None);
        leavings.forget_old(at(11));
        assert_eq!(leavings.take(two), None);
        leavings.forget_old(at(12));
        assert_eq!((leavings.len(), leavings.order.len(), leavings.bytes), (0, 0, 0));
    }

    #[test]
    fn what_was_left_first_makes_room() {
        let placement = Placement::new(1, 1);
        let address = |n: usize| placement.address(&format!("a/{n}"));
        let mut leavings = leavings();
        let mut forgotten = 0;
        for n in 0..=limits::LEFT_BEHIND_BLOCKS_MAX {
            forgotten += leavings.put(address(n), b"x".as_slice().into(), at(10));
        }
        assert_eq!(forgotten, 1);
        assert_eq!(leavings.len(), limits::LEFT_BEHIND_BLOCKS_MAX);
        assert_eq!(leavings.take(address(0)), None);
        assert!(leavings.take(address(1)).is_some());
        let much: Arc<[u8]> = vec![0; limits::LEFT_BEHIND_BYTES_PER_SHARD_MAX - 1].into();
        let there = leavings.len() as u64;
        // One that was taken is not forgotten once more.
        assert_eq!(
            leavings.put(address(1), much, at(10)),
            there - (leavings.len() as u64 - 1)
        );
        assert!(leavings.bytes <= limits::LEFT_BEHIND_BYTES_PER_SHARD_MAX && leavings.len() <= 2);
    }
}
