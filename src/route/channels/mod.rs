//! Channels: who on this shard hears what, and which other shards want to hear it.

pub(crate) mod footprint;
pub(crate) mod interest;
pub(crate) mod matching;
pub(crate) mod subscribers;
pub(crate) mod subscriptions;
pub(crate) mod trie;
