//! Retained messages: the last one of each channel, kept for who subscribes later (MQTT 5.0, 3.3.1.3).
//!
//! Invariants: every shard holds all of them, each an [`Arc`] that the shards share; of two for one channel the one
//! with the higher [`Version`] stays, on every shard alike, in whatever order they come. A removal is such a message
//! without a payload. What a subscription is owed is therefore all here: a message that is not yet will arrive as a
//! letter, and is delivered live then. And who hears a channel is left with what is retained on it: a message that comes
//! after a later one is followed by that one once more.

mod filter;
mod replica;
mod rows;
mod scan;
mod store;
mod usage;

use std::cmp::Ordering;
use std::sync::Arc;

pub(super) use self::scan::Scans;
pub(super) use self::store::Store;
use super::identity::{Role, Sender};
use super::message::{ChannelMessage, Qos};
use crate::time::Instant;

/// Which of two messages on one channel came later: by the daemon's clock, then by shard. Never the same twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    /// Nanoseconds on the shards' clock, moved on where a shard publishes more than once in a turn. 0: from before
    /// the start.
    pub(super) nanos: u64,
    /// Where it was published.
    pub(super) shard: u16,
}

/// A message that is retained, or the removal of one.
#[derive(Debug)]
pub struct Retained {
    /// The channel, then the sender's address.
    text: Box<str>,
    /// The payload, then the attributes.
    bytes: Box<[u8]>,
    channel_len: usize,
    payload_len: usize,
    app_len: u8,
    role: Role,
    qos: Qos,
    expires: Option<Instant>,
    version: Version,
}

impl Retained {
    pub(super) fn new(sender: &Sender<'_>, message: &ChannelMessage<'_>, version: Version) -> Self {
        Self {
            text: [message.channel, sender.address()].concat().into(),
            bytes: [message.payload, message.attributes].concat().into(),
            channel_len: message.channel.len(),
            payload_len: message.payload.len(),
            app_len: sender.app_len(),
            role: sender.role(),
            qos: message.qos,
            expires: message.expires,
            version,
        }
    }

    /// Bytes that such a message takes here; its place in the shards' tables not counted.
    pub(super) const fn len_of(sender: &Sender<'_>, message: &ChannelMessage<'_>) -> usize {
        size_of::<Self>()
            + message.channel.len()
            + sender.address().len()
            + message.payload.len()
            + message.attributes.len()
    }

    /// The same of this message.
    pub const fn len_bytes(&self) -> usize {
        size_of::<Self>() + self.text.len() + self.bytes.len()
    }

    /// The channel.
    pub fn channel(&self) -> &str {
        self.text.get(..self.channel_len).unwrap_or_default()
    }

    pub(super) fn sender(&self) -> Sender<'_> {
        let address = self.text.get(self.channel_len..).unwrap_or_default();
        Sender::restore(address, self.app_len, self.role)
    }

    /// The account it came from.
    fn account(&self) -> &str {
        self.sender().account()
    }

    /// The message as it was published, RETAIN included.
    pub(super) fn message(&self) -> ChannelMessage<'_> {
        ChannelMessage {
            channel: self.channel(),
            payload: self.bytes.get(..self.payload_len).unwrap_or_default(),
            attributes: self.bytes.get(self.payload_len..).unwrap_or_default(),
            qos: self.qos,
            retain: true,
            expires: self.expires,
        }
    }

    /// \[MQTT-3.3.1-6\]: no payload, nothing to retain.
    const fn is_removal(&self) -> bool {
        self.payload_len == 0
    }

    fn without_attributes(self: &Arc<Self>) -> Arc<Self> {
        let message = self.message();
        if message.attributes.is_empty() {
            return Arc::clone(self);
        }
        let bare = ChannelMessage {
            attributes: &[],
            ..message
        };
        Arc::new(Self::new(&self.sender(), &bare, self.version))
    }

    fn has_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// A message in the order of channels.
#[derive(Clone, Debug)]
struct ByChannel(Arc<Retained>);

impl Ord for ByChannel {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.channel().cmp(other.0.channel())
    }
}

impl PartialOrd for ByChannel {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByChannel {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByChannel {}

impl std::borrow::Borrow<str> for ByChannel {
    fn borrow(&self) -> &str {
        self.0.channel()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of a user of `etest`, published at `nanos` on shard 0.
    pub(super) fn retained(channel: &str, payload: &str, nanos: u64, expires: Option<u64>) -> Arc<Retained> {
        let sender = Sender::parse("etest-0123456789abcdef01234567-user/r").unwrap();
        let message = ChannelMessage {
            channel,
            payload: payload.as_bytes(),
            attributes: b"at",
            qos: Qos::AtLeastOnce,
            retain: true,
            expires: expires.map(Instant::from_nanos),
        };
        let retained = Retained::new(&sender, &message, Version { nanos, shard: 0 });
        assert_eq!(retained.len_bytes(), Retained::len_of(&sender, &message));
        Arc::new(retained)
    }

    #[test]
    fn a_message_comes_back_as_it_was_published() {
        let kept = retained("plant/7", "21", 5, Some(9));
        let message = kept.message();
        assert_eq!((message.channel, message.payload), ("plant/7", &b"21"[..]));
        assert_eq!((message.attributes, message.qos), (&b"at"[..], Qos::AtLeastOnce));
        assert_eq!(message.expires, Some(Instant::from_nanos(9)));
        assert_eq!(kept.sender().address(), "etest-0123456789abcdef01234567-user/r");
        assert_eq!((kept.sender().app(), kept.sender().resource()), ("etest", "r"));
    }
}
