//! One shard's replica: the messages by channel, when they expire, and which removals are remembered.
//!
//! Invariant: a channel has a message or a tombstone or neither, never both; what expires stands in `expiring` for
//! exactly as long as it stands in `messages`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::usage::Usage;
use super::{ByChannel, Retained, Version};
use crate::limits;
use crate::route::router::RouterLimits;
use crate::time::Instant;

/// What is remembered of a channel whose message was removed or has expired.
#[derive(Debug)]
struct Tombstone {
    version: Version,
    /// What removed it, without its attributes.
    removal: Option<Arc<Retained>>,
}

/// A replica.
#[derive(Debug, Default)]
pub(crate) struct Store {
    messages: BTreeSet<ByChannel>,
    expiring: BTreeSet<(Instant, ByChannel)>,
    usage: Usage,
    /// What was removed a short time ago, by the hash of the channel: something older may still be on its way here.
    tombstones: BTreeMap<u64, Tombstone>,
    /// The same in the order in which it is forgotten.
    graves: VecDeque<(Instant, u64, Version)>,
}

impl Store {
    /// Messages kept.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes that they take, as [`Retained::len_bytes`] counts them.
    pub(crate) const fn len_bytes(&self) -> usize {
        self.usage.all().bytes
    }

    /// The message of a channel.
    pub(crate) fn find(&self, channel: &str) -> Option<&Arc<Retained>> {
        self.messages.get(channel).map(|found| &found.0)
    }

    /// The last message of a channel, or what removed it a short time ago.
    pub(crate) fn latest(&self, hash: u64, channel: &str) -> Option<Arc<Retained>> {
        let removal = || self.tombstones.get(&hash)?.removal.as_ref();
        let latest = self.find(channel).or_else(removal)?;
        (latest.channel() == channel).then(|| Arc::clone(latest))
    }

    /// Whether a message of `bytes` bytes from `account` on `channel` stays within these bounds.
    pub(crate) fn has_room(&self, channel: &str, account: &str, bytes: usize, limits: &RouterLimits) -> bool {
        let replaced = self.find(channel).map(|replaced| &**replaced);
        self.usage.has_room(replaced, account, bytes, limits)
    }

    /// Takes a message or a removal in, unless what is known of its channel is newer. `hash` stands for the channel.
    /// Whether it was taken.
    pub(crate) fn apply(&mut self, now: Instant, hash: u64, message: Arc<Retained>) -> bool {
        let kept = self.find(message.channel()).map(|kept| kept.version);
        let known = kept.max(self.tombstones.get(&hash).map(|tombstone| tombstone.version));
        if known.is_some_and(|known| known >= message.version) {
            return false;
        }
        self.take(message.channel());
        self.tombstones.remove(&hash);
        if message.is_removal() || message.has_expired(now) {
            let removal = message.is_removal().then(|| message.without_attributes());
            self.bury(now, hash, message.version, removal);
        } else {
            self.usage.add(&message);
            if let Some(expires) = message.expires {
                self.expiring.insert((expires, ByChannel(Arc::clone(&message))));
            }
            self.messages.insert(ByChannel(message));
        }
        true
    }

    /// Removes one message that has expired by now, if there is any. Something older must not take its place, so it
    /// leaves a tombstone.
    pub(crate) fn expire(&mut self, now: Instant, hash_of: impl Fn(&str) -> u64) -> Option<Arc<Retained>> {
        let (expires, _) = self.expiring.first()?;
        if *expires > now {
            return None;
        }
        let (_, ByChannel(message)) = self.expiring.pop_first()?;
        self.take(message.channel());
        self.bury(now, hash_of(message.channel()), message.version, None);
        Some(message)
    }

    /// Forgets removals that nothing older can follow any more.
    pub(crate) fn forget(&mut self, now: Instant) {
        let kept = Duration::from_millis(limits::RETAINED_TOMBSTONE_MS);
        while let Some(&(since, hash, version)) = self.graves.front()
            && (now.saturating_since(since) >= kept || self.graves.len() > limits::RETAINED_TOMBSTONES_MAX)
        {
            self.graves.pop_front();
            if self
                .tombstones
                .get(&hash)
                .is_some_and(|tombstone| tombstone.version == version)
            {
                self.tombstones.remove(&hash);
            }
        }
    }

    /// The messages from channel `start` on, in the order of their channels.
    pub(crate) fn from(&self, start: &str) -> impl Iterator<Item = &Arc<Retained>> + use<'_> {
        let range = (Bound::Included(start), Bound::Unbounded);
        self.messages.range::<str, _>(range).map(|found| &found.0)
    }

    fn take(&mut self, channel: &str) {
        let Some(ByChannel(message)) = self.messages.take(channel) else {
            return;
        };
        self.usage.remove(&message);
        if let Some(expires) = message.expires {
            self.expiring.remove(&(expires, ByChannel(message)));
        }
    }

    fn bury(&mut self, now: Instant, hash: u64, version: Version, removal: Option<Arc<Retained>>) {
        self.tombstones.insert(hash, Tombstone { version, removal });
        self.graves.push_back((now, hash, version));
        self.forget(now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::retained;
    use super::super::usage::Amount;
    use super::*;
    use crate::route::identity::Sender;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn hash(channel: &str) -> u64 {
        channel.bytes().fold(7, |hash, byte| hash * 31 + u64::from(byte))
    }

    fn apply(store: &mut Store, message: &Arc<Retained>) -> bool {
        store.apply(at(0), hash(message.channel()), Arc::clone(message))
    }

    fn payload(store: &Store, channel: &str) -> Option<Vec<u8>> {
        store.find(channel).map(|kept| kept.message().payload.to_vec())
    }

    #[test]
    fn mqtt5_3_3_1_5_the_last_message_replaces_the_one_before() {
        let mut store = Store::default();
        assert!(apply(&mut store, &retained("a", "1", 1, None)));
        assert!(apply(&mut store, &retained("a", "22", 2, None)));
        assert_eq!(payload(&store, "a"), Some(b"22".to_vec()));
        assert_eq!(
            (store.len(), store.len_bytes()),
            (1, retained("a", "22", 2, None).len_bytes())
        );
    }

    #[test]
    fn mqtt5_3_3_1_6_an_empty_payload_removes() {
        let mut store = Store::default();
        apply(&mut store, &retained("a", "1", 1, Some(50)));
        assert!(apply(&mut store, &retained("a", "", 2, None)));
        assert!(store.is_empty() && store.expiring.is_empty());
        let removal = store.latest(hash("a"), "a").unwrap();
        assert_eq!(
            (removal.message().payload, removal.message().attributes),
            (&b""[..], &b""[..])
        );
        assert!(
            store.latest(hash("a"), "b").is_none(),
            "another channel with the same hash"
        );
        assert_eq!(store.len_bytes(), 0);
    }

    #[test]
    fn whatever_the_order_the_latest_stays() {
        let messages = [
            retained("a", "1", 1, None),
            retained("a", "", 2, None),
            retained("a", "3", 3, Some(9)),
            retained("a", "", 4, None),
        ];
        for order in [
            [0, 1, 2, 3],
            [3, 2, 1, 0],
            [1, 3, 0, 2],
            [2, 0, 3, 1],
            [3, 0, 2, 1],
            [0, 2, 1, 3],
        ] {
            let after = |count: usize| {
                let mut store = Store::default();
                for &place in order.iter().filter(|&&place| place < count) {
                    apply(&mut store, &messages[place]);
                }
                payload(&store, "a")
            };
            let left = [1, 2, 3, 4].map(after);
            assert_eq!(
                left,
                [Some(b"1".to_vec()), None, Some(b"3".to_vec()), None],
                "{order:?}"
            );
        }
    }

    #[test]
    fn what_has_expired_is_removed_and_nothing_older_takes_its_place() {
        let mut store = Store::default();
        apply(&mut store, &retained("a", "2", 2, Some(100)));
        apply(&mut store, &retained("b", "2", 2, None));
        assert!(store.expire(at(99), hash).is_none());
        assert_eq!(store.expire(at(100), hash).unwrap().channel(), "a");
        assert!(store.expire(at(100), hash).is_none());
        assert!(!apply(&mut store, &retained("a", "1", 1, None)));
        assert_eq!((payload(&store, "a"), store.len()), (None, 1));
        let late = retained("b", "3", 3, Some(5));
        assert!(
            store.apply(at(5), hash("b"), late),
            "it replaces, and is gone at once"
        );
        assert!(store.is_empty());
    }

    #[test]
    fn removals_are_remembered_for_a_while_and_in_bounded_number() {
        let mut store = Store::default();
        apply(&mut store, &retained("a", "", 2, None));
        assert!(!apply(&mut store, &retained("a", "1", 1, None)));
        store.forget(at(limits::RETAINED_TOMBSTONE_MS * 1_000_000));
        assert!(apply(&mut store, &retained("a", "1", 1, None)));
        for n in 0..u64::try_from(limits::RETAINED_TOMBSTONES_MAX).unwrap() + 10 {
            store.bury(at(1), n, Version::default(), None);
        }
        assert_eq!(store.graves.len(), limits::RETAINED_TOMBSTONES_MAX);
        assert_eq!(store.tombstones.len(), limits::RETAINED_TOMBSTONES_MAX);
    }

    #[test]
    fn what_replaces_takes_the_room_of_what_it_replaces() {
        let mut store = Store::default();
        let message = retained("a", "12345", 1, None);
        apply(&mut store, &message);
        let bytes = message.len_bytes();
        let has_room = |channel: &str, len, messages_max, bytes_max| {
            let limits = RouterLimits {
                retained_max: messages_max,
                retained_bytes_max: bytes_max,
                ..RouterLimits::default()
            };
            store.has_room(channel, message.account(), len, &limits)
        };
        assert!(has_room("a", bytes, 1, bytes));
        assert!(!has_room("a", bytes + 1, 1, bytes));
        assert!(!has_room("b", 1, 1, usize::MAX));
        assert!(!has_room("b", 1, 2, bytes));
        assert!(has_room("b", 1, 2, bytes + 1));
    }

    #[test]
    fn an_account_has_a_share_and_what_others_replace_is_theirs() {
        let mut store = Store::default();
        let mine = retained("a", "12345", 1, None);
        let (own, bytes) = (mine.account().to_owned(), mine.len_bytes());
        let other = "etest-0123456789abcdef01234567-owner";
        apply(&mut store, &mine);
        let has_room = |store: &Store, channel: &str, account: &str, len, messages_max, bytes_max| {
            let limits = RouterLimits {
                retained_per_account_max: messages_max,
                retained_bytes_per_account_max: bytes_max,
                ..RouterLimits::default()
            };
            store.has_room(channel, account, len, &limits)
        };
        assert!(has_room(&store, "a", &own, bytes, 1, bytes));
        assert!(!has_room(&store, "a", &own, bytes + 1, 1, bytes));
        assert!(!has_room(&store, "b", &own, 1, 1, 0));
        assert!(!has_room(&store, "b", &own, 1, 0, bytes));
        assert!(has_room(&store, "b", &own, bytes, 2, 2 * bytes));
        assert!(has_room(&store, "b", &own, bytes, 0, 0), "0 is no bound");
        assert!(has_room(&store, "b", other, bytes, 1, bytes));
        assert!(has_room(&store, "a", other, bytes, 1, bytes));
        assert!(!has_room(&store, "a", other, bytes + 1, 1, bytes));
        // Another account's takes its place, and is counted there alone.
        let sender = Sender::parse("etest-0123456789abcdef01234567-owner/r").unwrap();
        let version = Version { nanos: 2, shard: 0 };
        let theirs = Arc::new(Retained::new(&sender, &mine.message(), version));
        assert!(apply(&mut store, &theirs));
        assert_eq!(store.usage.of(&own), Amount::default());
        assert_eq!(store.usage.of(other), store.usage.all());
        assert_eq!(store.usage.all().messages, 1);
        // What is removed or expires is nobody's.
        apply(&mut store, &retained("a", "", 3, None));
        apply(&mut store, &retained("b", "x", 3, Some(9)));
        store.expire(at(9), hash).unwrap();
        for account in [&own, other] {
            assert_eq!(store.usage.of(account), Amount::default(), "{account}");
        }
    }
}
