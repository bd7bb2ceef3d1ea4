//! The sessions of this shard as the router sees them: who they are, and what hangs on them.
//!
//! Invariant: an entry holds 56 bytes and its identity; what few sessions need (listeners, requests in flight,
//! more than one subscription) lies behind one pointer, so that an idle device costs next to nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use super::channels::footprint;
use super::hashes::AddressKey;
use super::identity::Identity;
use super::message::{SessionKey, SubscriptionOptions};
use super::rights::CredentialId;
use super::shared::Membership;
use super::tables::Slots;
use crate::time::Instant;

/// No index.
pub(crate) const NONE: u32 = u32::MAX;

/// An index of a slab as it is kept in tables. Slabs here never hold four billion entries.
pub(crate) fn id(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}

/// Where a subscription of a session stands: which list, and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubRef {
    pub(crate) list: u32,
    pub(crate) index: u32,
}

impl SubRef {
    const NONE: Self = Self {
        list: NONE,
        index: NONE,
    };
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits for its address.
    Joining,
    /// Has its address.
    Attached,
    /// Has its address and no connection: it goes on when its client is back.
    Suspended,
    /// A newer session was preferred, or the address is fought for; waits for its end.
    Displaced,
}

/// A session of this shard.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) identity: Identity,
    pub(crate) credential: CredentialId,
    pub(crate) since: Instant,
    first: SubRef,
    pub(crate) extra: Option<Box<Extra>>,
    generation: u32,
    pub(crate) state: State,
    takes_direct: bool,
}

/// What few sessions need.
#[derive(Debug)]
pub(crate) struct Extra {
    subscriptions: Vec<SubRef>,
    /// Its shares.
    pub(crate) memberships: Vec<Membership>,
    pub(crate) worker: Option<Worker>,
    /// How Direct messages reach it, where that is not the usual way.
    direct: SubscriptionOptions,
    /// The latest of its requests in flight.
    pub(crate) requests_head: u32,
    /// Its requests in flight.
    pub(crate) requests: u32,
    /// Workers that messaged it and to which it may answer, oldest first.
    pub(crate) answerable: VecDeque<Answerable>,
    /// The rooms it is in.
    pub(crate) rooms: Vec<Arc<str>>,
}

/// A worker that takes Direct from entitled callers only and has messaged this block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answerable {
    /// The name it is found under.
    pub(crate) name: u64,
    pub(crate) address: AddressKey,
    pub(crate) until: Instant,
}

/// A session that answers requests, or was announced as one that does.
#[derive(Debug)]
pub(crate) struct Worker {
    /// It was announced: a worker even without listeners, whom native requests find and cannot ask.
    pub(crate) announced: bool,
    pub(crate) listeners: Vec<Listener>,
    /// The latest of the requests it was asked.
    pub(crate) asked_head: u32,
    /// Requests it was asked and has not answered.
    pub(crate) in_flight: u32,
    /// Whether `in_flight` changed since the other shards were told.
    pub(crate) stale: bool,
}

/// A command that a worker answers.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) cmd: Box<str>,
    pub(crate) options: SubscriptionOptions,
}

impl Worker {
    /// Whether it is offered as a worker. With its last listener a block ceases to be one, unless it was announced.
    pub(crate) const fn is_one(&self) -> bool {
        self.announced || !self.listeners.is_empty()
    }

    pub(crate) fn listener(&self, cmd: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| &*listener.cmd == cmd)
    }

    /// What its listeners take in memory.
    pub(crate) fn listener_bytes(&self) -> usize {
        let bytes = |listener: &Listener| footprint::listener(&listener.cmd);
        self.listeners.iter().map(bytes).sum()
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            announced: false,
            listeners: Vec::new(),
            asked_head: NONE,
            in_flight: 0,
            stale: false,
        }
    }
}

impl Default for Extra {
    fn default() -> Self {
        Self {
            subscriptions: Vec::new(),
            memberships: Vec::new(),
            worker: None,
            direct: SubscriptionOptions::default(),
            requests_head: NONE,
            requests: 0,
            answerable: VecDeque::new(),
            rooms: Vec::new(),
        }
    }
}

impl Entry {
    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(crate) fn worker(&self) -> Option<&Worker> {
        self.extra.as_ref()?.worker.as_ref()
    }

    pub(crate) fn worker_mut(&mut self) -> Option<&mut Worker> {
        self.extra.as_mut()?.worker.as_mut()
    }

    /// How Direct messages reach it; `None`: they do not.
    pub(crate) fn direct(&self) -> Option<SubscriptionOptions> {
        let options = || {
            self.extra
                .as_ref()
                .map_or_else(Default::default, |extra| extra.direct)
        };
        self.takes_direct.then(options)
    }

    /// It takes Direct messages in this way. Whether it took them before. The usual way costs no [`Extra`]: every
    /// idle XMPP session has it.
    pub(super) fn take_direct(&mut self, options: SubscriptionOptions) -> bool {
        if self.extra.is_some() || options != SubscriptionOptions::default() {
            self.extra().direct = options;
        }
        std::mem::replace(&mut self.takes_direct, true)
    }

    /// It takes none any more. Whether it took them before.
    pub(super) const fn leave_direct(&mut self) -> bool {
        std::mem::replace(&mut self.takes_direct, false)
    }

    /// All subscriptions.
    pub(crate) fn subscriptions(&self) -> impl Iterator<Item = SubRef> + '_ {
        let more = self.extra.as_ref().map_or(&[][..], |extra| &extra.subscriptions);
        (self.first != SubRef::NONE)
            .then_some(self.first)
            .into_iter()
            .chain(more.iter().copied())
    }

    /// The groups it is a member of.
    pub(crate) fn memberships(&self) -> &[Membership] {
        self.extra.as_ref().map_or(&[][..], |extra| &extra.memberships)
    }

    /// Subscriptions it has, shares included.
    pub(crate) fn subscription_count(&self) -> usize {
        let more = self
            .extra
            .as_ref()
            .map_or(0, |extra| extra.subscriptions.len() + extra.memberships.len());
        more + usize::from(self.first != SubRef::NONE)
    }

    pub(super) fn add_subscription(&mut self, subscription: SubRef) {
        if self.first == SubRef::NONE {
            self.first = subscription;
        } else {
            self.extra().subscriptions.push(subscription);
        }
    }

    pub(super) fn remove_subscription(&mut self, subscription: SubRef) {
        let more = self.extra.as_mut().map(|extra| &mut extra.subscriptions);
        if self.first == subscription {
            self.first = more.and_then(Vec::pop).unwrap_or(SubRef::NONE);
        } else if let Some(more) = more
            && let Some(at) = more.iter().position(|other| *other == subscription)
        {
            more.swap_remove(at);
        }
    }

    /// Takes one of the subscriptions out, whichever.
    pub(super) fn take_subscription(&mut self) -> Option<SubRef> {
        let subscription = self.subscriptions().next()?;
        self.remove_subscription(subscription);
        Some(subscription)
    }

    pub(super) fn move_subscription(&mut self, from: SubRef, to: SubRef) {
        if self.first == from {
            self.first = to;
        } else if let Some(extra) = &mut self.extra
            && let Some(found) = extra.subscriptions.iter_mut().find(|other| **other == from)
        {
            *found = to;
        }
    }
}

/// All sessions of this shard.
#[derive(Debug)]
pub(crate) struct Sessions {
    slots: Slots<Entry>,
}

impl Sessions {
    pub(crate) const fn new() -> Self {
        Self { slots: Slots::new() }
    }

    /// Takes a session in; `false` if its slot is taken.
    pub(crate) fn insert(
        &mut self,
        key: SessionKey,
        identity: Identity,
        credential: CredentialId,
        since: Instant,
    ) -> bool {
        let place = self.slots.place(key.slot);
        if place.is_some() {
            return false;
        }
        *place = Some(Entry {
            identity,
            credential,
            since,
            first: SubRef::NONE,
            extra: None,
            generation: key.generation,
            state: State::Joining,
            takes_direct: false,
        });
        true
    }

    /// Takes a session out.
    pub(crate) fn remove(&mut self, key: SessionKey) -> Option<Entry> {
        let place = self.slots.slot_mut(key.slot)?;
        place.take_if(|entry| entry.generation == key.generation)
    }

    pub(crate) fn get(&self, key: SessionKey) -> Option<&Entry> {
        let entry = self.slots.get(key.slot)?;
        (entry.generation == key.generation).then_some(entry)
    }

    pub(crate) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Entry> {
        let entry = self.slots.get_mut(key.slot)?;
        (entry.generation == key.generation).then_some(entry)
    }

    /// The session in a slot.
    pub(crate) fn at(&self, slot: u32) -> Option<(SessionKey, &Entry)> {
        let entry = self.slots.get(slot)?;
        let generation = entry.generation;
        Some((SessionKey { slot, generation }, entry))
    }

    /// A session that has its address.
    pub(crate) fn attached(&self, key: SessionKey) -> Option<&Entry> {
        self.get(key).filter(|entry| entry.state == State::Attached)
    }

    /// A session that has its address.
    pub(crate) fn attached_mut(&mut self, key: SessionKey) -> Option<&mut Entry> {
        self.get_mut(key).filter(|entry| entry.state == State::Attached)
    }

    /// A session that has its address, whether its client is there or not.
    pub(crate) fn present(&self, key: SessionKey) -> Option<&Entry> {
        let has_address = |entry: &&Entry| matches!(entry.state, State::Attached | State::Suspended);
        self.get(key).filter(has_address)
    }

    /// A session that has its address, whether its client is there or not.
    pub(crate) fn present_mut(&mut self, key: SessionKey) -> Option<&mut Entry> {
        let has_address = |entry: &&mut Entry| matches!(entry.state, State::Attached | State::Suspended);
        self.get_mut(key).filter(has_address)
    }

    /// The sessions in the slots of `range`.
    pub(crate) fn in_slots(&self, range: std::ops::Range<u32>) -> impl Iterator<Item = (SessionKey, &Entry)> {
        range.filter_map(|slot| self.at(slot))
    }

    /// One more than the highest slot in use so far.
    pub(crate) fn end(&self) -> u32 {
        self.slots.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Account;

    fn identity() -> Identity {
        let account = Account::parse("etest-0123456789abcdef01234567-user").unwrap();
        Identity::new(&account, "r").unwrap()
    }

    #[test]
    fn an_entry_stays_small() {
        assert_eq!(size_of::<Option<Entry>>(), 56);
    }

    #[test]
    fn the_usual_way_of_direct_messages_costs_no_extra() {
        let mut sessions = Sessions::new();
        let key = SessionKey {
            slot: 0,
            generation: 0,
        };
        sessions.insert(key, identity(), CredentialId(1), Instant::default());
        let entry = sessions.get_mut(key).unwrap();
        let usual = SubscriptionOptions::default();
        let other = SubscriptionOptions {
            identifier: 7,
            ..usual
        };
        assert_eq!(entry.direct(), None);
        assert!(!entry.take_direct(usual));
        assert!(entry.extra.is_none());
        assert_eq!(entry.direct(), Some(usual));
        assert!(entry.take_direct(other));
        assert_eq!(entry.direct(), Some(other));
        assert!(entry.take_direct(usual));
        assert_eq!(entry.direct(), Some(usual));
        assert!(entry.leave_direct() && !entry.leave_direct());
        assert_eq!(entry.direct(), None);
    }

    #[test]
    fn a_stale_key_reaches_no_successor() {
        let mut sessions = Sessions::new();
        let old = SessionKey {
            slot: 3,
            generation: 1,
        };
        let next = SessionKey {
            slot: 3,
            generation: 2,
        };
        assert!(sessions.insert(old, identity(), CredentialId(1), Instant::default()));
        assert!(!sessions.insert(next, identity(), CredentialId(1), Instant::default()));
        assert!(sessions.remove(next).is_none());
        assert!(sessions.remove(old).is_some());
        assert!(sessions.insert(next, identity(), CredentialId(1), Instant::default()));
        assert!(sessions.get(old).is_none() && sessions.remove(old).is_none());
        assert!(sessions.get(next).is_some());
    }

    #[test]
    fn subscriptions_are_found_after_others_moved() {
        let mut sessions = Sessions::new();
        let key = SessionKey {
            slot: 0,
            generation: 0,
        };
        sessions.insert(key, identity(), CredentialId(1), Instant::default());
        let entry = sessions.get_mut(key).unwrap();
        let at = |list, index| SubRef { list, index };
        for list in 0..4 {
            entry.add_subscription(at(list, 7));
        }
        entry.remove_subscription(at(0, 7));
        entry.move_subscription(at(3, 7), at(3, 1));
        entry.move_subscription(at(2, 7), at(2, 0));
        let mut left: Vec<_> = entry.subscriptions().map(|s| (s.list, s.index)).collect();
        left.sort_unstable();
        assert_eq!(left, [(1, 7), (2, 0), (3, 1)]);
        assert_eq!(entry.subscription_count(), 3);
    }
}
