//! What the other shards want to hear, so that a message visits only them.
//!
//! An exact name costs its hash and a set of shards, not its text: a million channels of one device each stay
//! small. Two names with one hash (1e-8 for a million) would at worst share a visit, or miss one.

use hashbrown::hash_table::Entry;

use super::trie::{Trie, Value};
use crate::route::hashes::Local;
use crate::route::tables::Segments;

/// A set of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardSet(u64);

impl ShardSet {
    pub(crate) const fn of(shard: u16) -> Self {
        Self(1_u64.wrapping_shl(shard as u32))
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    pub(crate) const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(crate) const fn contains(self, shard: u16) -> bool {
        self.0 & Self::of(shard).0 != 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u16> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let shard = u16::try_from(rest.trailing_zeros()).ok().filter(|_| rest != 0)?;
            rest &= rest - 1;
            Some(shard)
        })
    }
}

impl Value for ShardSet {
    fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

#[derive(Debug)]
struct Wanted {
    channel: u64,
    by: ShardSet,
}

/// The interest of the other shards.
#[derive(Debug)]
pub(crate) struct Interest {
    channels: Segments<Wanted>,
    filters: Trie<ShardSet>,
}

impl Interest {
    pub(crate) fn new(local: Local) -> Self {
        Self {
            channels: Segments::new(),
            filters: Trie::new(local),
        }
    }

    /// `shard` wants the channel that hashes to `channel`.
    pub(crate) fn add(&mut self, channel: u64, shard: u16) {
        let entry = self.channels.entry(
            channel,
            |wanted| wanted.channel == channel,
            |wanted| wanted.channel,
        );
        let by = ShardSet::of(shard);
        match entry {
            Some(Entry::Occupied(mut wanted)) => wanted.get_mut().by.add(by),
            Some(Entry::Vacant(free)) => drop(free.insert(Wanted { channel, by })),
            None => {}
        }
    }

    /// `shard` does not want it any more.
    pub(crate) fn remove(&mut self, channel: u64, shard: u16) {
        let found = self
            .channels
            .find_entry(channel, |wanted| wanted.channel == channel);
        if let Some(mut wanted) = found {
            wanted.get_mut().by.remove(ShardSet::of(shard));
            if wanted.get().by.is_empty() {
                wanted.remove();
            }
        }
    }

    /// `shard` wants all that `filter` matches.
    pub(crate) fn add_filter(&mut self, filter: &str, shard: u16) {
        self.filters.update(filter, |by| by.add(ShardSet::of(shard)));
    }

    /// `shard` does not want it any more.
    pub(crate) fn remove_filter(&mut self, filter: &str, shard: u16) {
        self.filters.update(filter, |by| by.remove(ShardSet::of(shard)));
    }

    /// The shards that want the channel `name`, which hashes to `channel`.
    pub(crate) fn shards(&mut self, channel: u64, name: &str) -> ShardSet {
        let mut shards = self
            .channels
            .find(channel, |wanted| wanted.channel == channel)
            .map_or_else(ShardSet::default, |wanted| wanted.by);
        self.filters.matches(name, |by| shards.add(by));
        shards
    }

    /// Channels and filters known.
    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.channels.len(), self.filters.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(interest: &mut Interest, channel: u64, name: &str) -> Vec<u16> {
        interest.shards(channel, name).iter().collect()
    }

    #[test]
    fn an_exact_channel_costs_16_bytes() {
        assert_eq!(size_of::<Wanted>(), 16);
    }

    #[test]
    fn a_message_visits_those_who_want_it() {
        let mut interest = Interest::new(Local::new([1, 2, 3, 4]));
        interest.add(77, 0);
        interest.add(77, 63);
        interest.add_filter("plant/+/alarm", 5);
        assert_eq!(shards(&mut interest, 77, "x"), [0, 63]);
        assert_eq!(shards(&mut interest, 1, "plant/7/alarm"), [5]);
        assert_eq!(shards(&mut interest, 77, "plant/7/alarm"), [0, 5, 63]);
        interest.remove(77, 0);
        interest.remove(77, 63);
        interest.remove_filter("plant/+/alarm", 5);
        assert_eq!(interest.len(), (0, 0));
        assert!(shards(&mut interest, 77, "plant/7/alarm").is_empty());
    }
}
