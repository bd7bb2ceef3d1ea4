//! The channel subscriptions of this shard's own sessions.
//!
//! Invariants: a list exists while somebody stands in it; a session and its lists point at each other
//! ([`SubRef`] one way, slot and generation the other), so that leaving costs what the session subscribed to
//! and not what others did. An exact filter and one with wildcards differ only in that the latter also stands
//! in the trie.

use slab::Slab;
use smallvec::{SmallVec, smallvec};

use super::footprint::{self, Footprint};
use super::subscribers::{Detail, List, Pattern, Subscriber, Subscribers};
use super::trie::{Trie, Value};
use crate::route::hashes::{Local, Placement};
use crate::route::message::{Refusal, SenderPattern, SessionKey, SubscriptionOptions};
use crate::route::sessions::{NONE, Sessions, State, SubRef, id};
use crate::route::tables::{Segments, Slots};

/// The list of a filter with wildcards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListId(pub(super) u32);

impl Default for ListId {
    fn default() -> Self {
        Self(NONE)
    }
}

impl Value for ListId {
    fn is_empty(&self) -> bool {
        self.0 == NONE
    }
}

/// What a change means for the other shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// Nothing.
    None,
    /// The first subscription to a filter came, or the last one went.
    Edge,
}

/// The subscriptions of this shard's sessions.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    pub(super) lists: Slots<List>,
    by_text: Segments<u32>,
    placement: Placement,
    pub(super) wild: Trie<ListId>,
    pub(super) details: Slab<Detail>,
    /// The groups of one filter.
    pub(super) grouped: Slab<SmallVec<[u32; 2]>>,
    /// Not there while a message is delivered. Boxed: a pointer goes back and forth with each message.
    pub(super) scratch: Option<Box<super::matching::Scratch>>,
    /// Subscriptions of one session.
    pub(crate) per_block_max: usize,
    /// What they take in memory, groups and listeners included.
    pub(crate) footprint: Footprint,
}

/// Whether a filter stands in the trie.
pub(crate) fn has_wildcard(filter: &str) -> bool {
    filter.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Whether a subscription hears some senders only.
fn is_patterned(details: &Slab<Detail>, subscriber: &Subscriber) -> bool {
    let detail = details.get(subscriber.detail as usize);
    detail.is_some_and(|detail| detail.pattern.is_some())
}

impl Subscriptions {
    pub(crate) fn new(placement: Placement, local: Local, per_block_max: usize, bytes_max: usize) -> Self {
        Self {
            lists: Slots::new(),
            by_text: Segments::new(),
            placement,
            wild: Trie::new(local),
            details: Slab::new(),
            grouped: Slab::new(),
            scratch: None,
            per_block_max,
            footprint: Footprint::new(bytes_max),
        }
    }

    /// Subscribes a session, or changes the options it is subscribed with.
    pub(crate) fn subscribe(
        &mut self,
        sessions: &mut Sessions,
        key: SessionKey,
        filter: &str,
        from: &SenderPattern<'_>,
        options: &SubscriptionOptions,
    ) -> Result<Transition, Refusal> {
        let entry = sessions.get_mut(key).ok_or(Refusal::NotAuthorized)?;
        let hash = self.placement.channel(filter);
        let list = self.find(hash, filter);
        if let Some(list) = list
            && let Some(index) = self.position(entry.subscriptions(), list, from, options.form)
        {
            self.replace(list, index, key, options);
            return Ok(Transition::None);
        }
        if entry.subscription_count() >= self.per_block_max {
            return Err(Refusal::QuotaExceeded);
        }
        let pattern = Pattern::of(from);
        let place = footprint::place() + footprint::detail(options.identifier, pattern.as_deref());
        // What was kept over a restart has been granted before.
        if entry.state != State::Suspended {
            let opened = list.map_or_else(|| footprint::list(filter), |_| 0);
            self.footprint.check(place + opened)?;
        }
        self.footprint.take(place);
        let detail = self.detail(options.identifier, pattern);
        let subscriber = Subscriber::new(key, options, detail);
        let (list, index, transition) = match list {
            Some(list) => {
                let found = self.lists.get_mut(list).ok_or(Refusal::Busy)?;
                let details = &self.details;
                let index = found
                    .subscribers
                    .push(subscriber, |one| is_patterned(details, one));
                (list, index, Transition::None)
            }
            None => (
                self.open(hash, filter, Subscribers::One(subscriber)),
                0,
                Transition::Edge,
            ),
        };
        entry.add_subscription(SubRef { list, index });
        Ok(transition)
    }

    /// Ends a subscription, if there is one.
    pub(crate) fn unsubscribe(
        &mut self,
        sessions: &mut Sessions,
        key: SessionKey,
        filter: &str,
        from: &SenderPattern<'_>,
        form: u8,
    ) -> Option<Transition> {
        let list = self.find(self.placement.channel(filter), filter)?;
        let entry = sessions.get_mut(key)?;
        let index = self.position(entry.subscriptions(), list, from, form)?;
        let subscription = SubRef { list, index };
        entry.remove_subscription(subscription);
        let closed = self.remove(sessions, subscription);
        Some(if closed.is_some() {
            Transition::Edge
        } else {
            Transition::None
        })
    }

    /// Ends one of a session's subscriptions that has been taken from its entry. The filter comes back if
    /// nobody is left who subscribed to it.
    pub(crate) fn remove(&mut self, sessions: &mut Sessions, subscription: SubRef) -> Option<Box<str>> {
        let list = self.lists.get_mut(subscription.list)?;
        let index = subscription.index as usize;
        let detail = list.subscribers.as_slice().get(index)?.detail;
        let detail = self.details.try_remove(detail as usize);
        self.footprint
            .free(footprint::place() + footprint::kept_detail(detail.as_ref()));
        let is_patterned = detail.is_some_and(|detail| detail.pattern.is_some());
        let last = list.subscribers.as_slice().len() - 1;
        if last == 0 {
            list.subscribers.clear();
            return self.close(subscription.list);
        }
        list.subscribers.swap_remove(index, is_patterned);
        if index != last
            && let Some(moved) = list.subscribers.as_slice().get(index)
            && let Some(entry) = sessions.get_mut(moved.key())
        {
            let from = SubRef {
                index: id(last),
                ..subscription
            };
            entry.move_subscription(from, subscription);
        }
        None
    }

    /// A group begins to share a filter. Where it stands among those that do: [`Self::remove_group`] asks for it.
    pub(crate) fn add_group(&mut self, filter: &str, group: u32) -> (Transition, u32) {
        let hash = self.placement.channel(filter);
        let (list, transition) = match self.find(hash, filter) {
            Some(list) => (list, Transition::None),
            None => (self.open(hash, filter, Subscribers::none()), Transition::Edge),
        };
        let mut index = 0;
        if let Some(list) = self.lists.get_mut(list) {
            match self.grouped.get_mut(list.subscribers.groups() as usize) {
                Some(groups) => {
                    index = id(groups.len());
                    groups.push(group);
                }
                None => {
                    let groups = id(self.grouped.insert(smallvec![group]));
                    let details = &self.details;
                    list.subscribers
                        .set_groups(groups, |one| is_patterned(details, one));
                }
            }
        }
        (transition, index)
    }

    /// The group that stands there ceases to share a filter. The group that stands there from now on, if any does.
    pub(crate) fn remove_group(&mut self, filter: &str, index: u32) -> (Transition, Option<u32>) {
        let Some(at) = self.find(self.placement.channel(filter), filter) else {
            return (Transition::None, None);
        };
        let mut moved = None;
        if let Some(list) = self.lists.get_mut(at)
            && let at = list.subscribers.groups() as usize
            && let Some(groups) = self.grouped.get_mut(at)
        {
            if (index as usize) < groups.len() {
                groups.swap_remove(index as usize);
            }
            moved = groups.get(index as usize).copied();
            if groups.is_empty() {
                self.grouped.remove(at);
                let details = &self.details;
                list.subscribers
                    .set_groups(NONE, |one| is_patterned(details, one));
            }
        }
        let transition = match self.close(at) {
            Some(_) => Transition::Edge,
            None => Transition::None,
        };
        (transition, moved)
    }

    /// A session's subscription as it is now, if there is one.
    pub(crate) fn subscriber(
        &self,
        sessions: &Sessions,
        key: SessionKey,
        filter: &str,
        from: &SenderPattern<'_>,
        form: u8,
    ) -> Option<Subscriber> {
        let list = self.find(self.placement.channel(filter), filter)?;
        let index = self.position(sessions.get(key)?.subscriptions(), list, from, form)?;
        let subscribers = self.lists.get(list)?.subscribers.as_slice();
        subscribers.get(index as usize).copied()
    }

    /// The list of exactly this filter.
    pub(super) fn find(&self, hash: u64, filter: &str) -> Option<u32> {
        let same = |&list: &u32| self.lists.get(list).is_some_and(|list| &*list.text == filter);
        self.by_text.find(hash, same).copied()
    }

    /// Where among `subscriptions` the one of this pattern and form stands in `list`.
    fn position(
        &self,
        mut subscriptions: impl Iterator<Item = SubRef>,
        list: u32,
        from: &SenderPattern<'_>,
        form: u8,
    ) -> Option<u32> {
        let subscribers = self.lists.get(list)?.subscribers.as_slice();
        let same = |subscription: &SubRef| {
            subscription.list == list
                && subscribers
                    .get(subscription.index as usize)
                    .is_some_and(|subscriber| {
                        let detail = self.details.get(subscriber.detail as usize);
                        subscriber.form == form
                            && detail.map_or_else(SenderPattern::default, Detail::pattern) == *from
                    })
        };
        subscriptions.find(same).map(|found| found.index)
    }

    fn replace(&mut self, list: u32, index: u32, key: SessionKey, options: &SubscriptionOptions) {
        let Some(list) = self.lists.get_mut(list) else {
            return;
        };
        let Some(subscriber) = list.subscribers.as_mut_slice().get_mut(index as usize) else {
            return;
        };
        let before = self.details.try_remove(subscriber.detail as usize);
        self.footprint.free(footprint::kept_detail(before.as_ref()));
        let pattern = before.and_then(|detail| detail.pattern);
        self.footprint
            .take(footprint::detail(options.identifier, pattern.as_deref()));
        let detail = Self::new_detail(&mut self.details, options.identifier, pattern);
        *subscriber = Subscriber::new(key, options, detail);
    }

    fn detail(&mut self, identifier: u32, pattern: Option<Box<Pattern>>) -> u32 {
        Self::new_detail(&mut self.details, identifier, pattern)
    }

    fn new_detail(details: &mut Slab<Detail>, identifier: u32, pattern: Option<Box<Pattern>>) -> u32 {
        if identifier == 0 && pattern.is_none() {
            return NONE;
        }
        id(details.insert(Detail { identifier, pattern }))
    }

    fn open(&mut self, hash: u64, filter: &str, subscribers: Subscribers) -> u32 {
        self.footprint.take(footprint::list(filter));
        let list = self.lists.insert(List {
            text: filter.into(),
            subscribers,
        });
        let (lists, placement) = (&self.lists, &self.placement);
        let hash_of = |&list: &u32| lists.get(list).map_or(0, |list| placement.channel(&list.text));
        self.by_text.insert_unique(hash, list, hash_of);
        if has_wildcard(filter) {
            self.wild.update(filter, |at| *at = ListId(list));
        }
        list
    }

    /// Removes a list that nobody stands in any more; its filter.
    fn close(&mut self, list: u32) -> Option<Box<str>> {
        let found = self.lists.get(list)?;
        if found.subscribers.groups() != NONE || !found.subscribers.as_slice().is_empty() {
            return None;
        }
        let text = self.lists.remove(list)?.text;
        self.footprint.free(footprint::list(&text));
        let hash = self.placement.channel(&text);
        if let Some(entry) = self.by_text.find_entry(hash, |&other| other == list) {
            entry.remove();
        }
        if has_wildcard(&text) {
            self.wild.update(&text, |at| *at = ListId::default());
        }
        Some(text)
    }

    /// Filters with subscribers.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lists.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Account, CredentialId, Identity};
    use crate::time::Instant;

    fn sessions(count: u32) -> Sessions {
        let mut sessions = Sessions::new();
        for slot in 0..count {
            let account = Account::parse("etest-0123456789abcdef01234567-user").unwrap();
            let identity = Identity::new(&account, &format!("r{slot}")).unwrap();
            sessions.insert(key(slot), identity, CredentialId(1), Instant::default());
        }
        sessions
    }

    fn key(slot: u32) -> SessionKey {
        SessionKey { slot, generation: 0 }
    }

    #[test]
    fn a_subscription_stays_small() {
        assert_eq!(size_of::<Subscriber>(), 16);
        assert_eq!(size_of::<Subscribers>(), 16);
        assert_eq!(size_of::<Option<List>>(), 32);
    }

    #[test]
    fn leaving_in_any_order_leaves_nothing_behind() {
        let placement = Placement::new(1, 1);
        let mut subscriptions = Subscriptions::new(placement, Local::new([1, 2, 3, 4]), 16, usize::MAX);
        let mut sessions = sessions(20);
        let filters = ["a", "a/+", "#", "b"];
        let mut edges = Vec::new();
        for slot in 0..20 {
            for (filter, form) in filters.iter().zip([0, 1, 2, 3]).chain([(&"a", 7)]) {
                let options = SubscriptionOptions {
                    form,
                    identifier: slot,
                    ..SubscriptionOptions::default()
                };
                let app = (slot % 3 == 0).then_some("etest");
                let from = SenderPattern {
                    app,
                    ..SenderPattern::default()
                };
                let added = subscriptions.subscribe(&mut sessions, key(slot), filter, &from, &options);
                let again = subscriptions.subscribe(&mut sessions, key(slot), filter, &from, &options);
                assert_eq!(again, Ok(Transition::None));
                edges.extend((added == Ok(Transition::Edge)).then_some(*filter));
            }
        }
        assert_eq!(edges, filters);
        assert_eq!(subscriptions.len(), 4);
        let from = SenderPattern::default();
        let ended = subscriptions.unsubscribe(&mut sessions, key(1), "a", &from, 7);
        assert_eq!(ended, Some(Transition::None));
        let ended = subscriptions.unsubscribe(&mut sessions, key(1), "a", &from, 7);
        assert_eq!(ended, None);
        let mut closed = Vec::new();
        for slot in (0..20).step_by(3).chain(0..20) {
            while let Some(subscription) = sessions.get_mut(key(slot)).unwrap().take_subscription() {
                closed.extend(subscriptions.remove(&mut sessions, subscription));
            }
        }
        closed.sort();
        assert_eq!(closed, ["#", "a", "a/+", "b"].map(Box::from));
        assert_eq!(
            (
                subscriptions.len(),
                subscriptions.details.len(),
                subscriptions.wild.len()
            ),
            (0, 0, 1)
        );
        assert_eq!(subscriptions.footprint.bytes(), 0);
    }
}
