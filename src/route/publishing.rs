//! Channel messages: from a local block to whoever hears them, on this shard and the others.

use super::channels::interest::ShardSet;
use super::channels::matching::Published;
use super::identity::{Identity, Sender, check_channel};
use super::letter::Letter;
use super::message::{ChannelMessage, Qos, Reach, Refusal, SessionKey};
use super::port::Port;
use super::router::Router;
use crate::observe::{DropReason, Stage};
use crate::time::Now;

impl Router {
    /// Publishes a message of a local block. The other shards that want it get one copy each.
    ///
    /// # Errors
    /// [`Refusal::InvalidName`], [`Refusal::NotAuthorized`] (another app's `~<app>/`, or not attached), and for
    /// QoS 1 and above [`Refusal::Busy`] if an interested shard cannot be reached just now; then nothing was
    /// delivered. One that is to be retained: as in `publish_retained`.
    pub fn publish(
        &mut self,
        now: Now,
        port: &mut impl Port,
        from: SessionKey,
        message: &ChannelMessage<'_>,
    ) -> Result<Reach, Refusal> {
        let published = self.with_sender(from, |router, sender| {
            router.publish_as(now, port, sender, Some(from), message)
        });
        published.unwrap_or(Err(Refusal::NotAuthorized))
    }

    /// Publishes what a block left for the case that it goes without a good-bye: by the same rules, after it
    /// left.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub fn publish_will(
        &mut self,
        now: Now,
        port: &mut impl Port,
        sender: &Identity,
        message: &ChannelMessage<'_>,
    ) -> Result<Reach, Refusal> {
        self.publish_as(now, port, &sender.sender(), None, message)
    }

    fn publish_as(
        &mut self,
        now: Now,
        port: &mut impl Port,
        sender: &Sender<'_>,
        from: Option<SessionKey>,
        message: &ChannelMessage<'_>,
    ) -> Result<Reach, Refusal> {
        self.metrics.channel_in.increment();
        let channel = message.channel;
        if check_channel(channel).is_err() {
            self.metrics.dropped(Stage::Channel, DropReason::Invalid);
            return Err(Refusal::InvalidName);
        }
        let first = channel.split('/').next().unwrap_or_default();
        if first.strip_prefix('~').is_some_and(|app| app != sender.app()) {
            self.metrics.dropped(Stage::Channel, DropReason::NotAuthorized);
            return Err(Refusal::NotAuthorized);
        }
        if message.retain {
            return self.publish_retained(now, port, sender, from, message);
        }
        self.publish_live(now, port, sender, from, message)
    }

    /// Publishes a message to who subscribes now.
    pub(super) fn publish_live(
        &mut self,
        now: Now,
        port: &mut impl Port,
        sender: &Sender<'_>,
        from: Option<SessionKey>,
        message: &ChannelMessage<'_>,
    ) -> Result<Reach, Refusal> {
        let channel = message.channel;
        if message.expires.is_some_and(|expires| expires <= now.instant) {
            self.metrics.dropped(Stage::Channel, DropReason::Expired);
            return Ok(Reach::Nobody);
        }
        let hash = self.placement.channel(channel);
        let shards = self.interest.shards(hash, channel);
        let passed = self.pass_on(shards, sender, message)?;
        let published = Published {
            message: *message,
            hash,
            sender: *sender,
            from,
        };
        let heard = self
            .subscriptions
            .deliver(&self.sessions, port, &self.metrics, &published);
        Ok(if heard || passed {
            Reach::Subscribers
        } else {
            Reach::Nobody
        })
    }

    /// Writes the message to the shards that want it. Whether there are any.
    fn pass_on(
        &mut self,
        shards: ShardSet,
        sender: &Sender<'_>,
        message: &ChannelMessage<'_>,
    ) -> Result<bool, Refusal> {
        let bytes =
            sender.address().len() + message.channel.len() + message.payload.len() + message.attributes.len();
        let is_full = |mesh: &super::mesh::Mesh, shard| !mesh.has_room(shard, bytes);
        if message.qos != Qos::AtMostOnce && shards.iter().any(|shard| is_full(&self.mesh, shard)) {
            self.metrics.dropped(Stage::Mesh, DropReason::MeshFull);
            return Err(Refusal::Busy);
        }
        let mut wanted = false;
        for shard in shards.iter() {
            wanted = true;
            if is_full(&self.mesh, shard) {
                self.metrics.dropped(Stage::Mesh, DropReason::MeshFull);
                continue;
            }
            self.mesh.write(shard, |parcel| Letter::Publish {
                sender: parcel.put_sender(sender),
                channel: parcel.put_text(message.channel),
                payload: parcel.put_bytes(message.payload),
                attributes: parcel.put_bytes(message.attributes),
                qos: message.qos,
                retain: message.retain,
                expires: message.expires,
            });
        }
        Ok(wanted)
    }

    /// A message of another shard's block.
    pub(super) fn published_elsewhere(
        &mut self,
        now: Now,
        port: &mut impl Port,
        sender: Sender<'_>,
        message: ChannelMessage<'_>,
    ) {
        if message.expires.is_some_and(|expires| expires <= now.instant) {
            self.metrics.dropped(Stage::Channel, DropReason::Expired);
            return;
        }
        let published = Published {
            message,
            hash: self.placement.channel(message.channel),
            sender,
            from: None,
        };
        self.subscriptions
            .deliver(&self.sessions, port, &self.metrics, &published);
    }
}
