//! Channel messages: from a local block to whoever hears them, on this shard and the others.

use std::num::NonZeroU64;

use super::awaited::{PublishId, Waiter};
use super::channels::interest::ShardSet;
use super::channels::matching::{Heard, Published};
use super::identity::{Identity, Sender, check_channel};
use super::letter::Letter;
use super::message::{ChannelMessage, Lasting, LeftId, Mark, Qos, Reach, Refusal, SessionKey, Ticket};
use super::port::Port;
use super::router::Router;
use crate::limits;
use crate::observe::{DropReason, Stage};
use crate::time::Now;

/// What came of a message on the shard of its sender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// How far it went. A refusal holds whatever the other shards answer: some of those who hear it could not be given it.
    pub(super) outcome: Result<Reach, Refusal>,
    /// How many others are to answer for it.
    pub(super) answering: u32,
}

impl From<Refusal> for Sent {
    fn from(refusal: Refusal) -> Self {
        Self {
            outcome: Err(refusal),
            answering: 0,
        }
    }
}

impl Router {
    /// Publishes a message of a local block. The other shards that want it get one copy each.
    ///
    /// `None`: it is not known yet that it lasts where it has to; [`Completion::Published`](super::Completion) follows.
    /// That is only so if there is a ticket, and also if the block's own session wrote something down with it.
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
        ticket: Option<Ticket>,
        lasting: Lasting,
    ) -> Option<Result<Reach, Refusal>> {
        let Lasting { wrote, mark } = lasting;
        let may_wait = wrote
            || mark.is_some()
            || self.keeps
            || self.keeping.len() > 0
            || (message.retain && self.durable);
        let awaited = ticket
            .filter(|_| may_wait)
            .map(|ticket| self.awaited.begin(from, ticket, now.instant));
        let before = (port.written(), self.journal.len());
        let published = self.with_sender(from, |router, sender| {
            let waiter = awaited.map(|publish| Waiter { publish, mark });
            router.publish_as(now, port, sender, Some(from), waiter, message)
        });
        let sent = published.unwrap_or_else(|| Refusal::NotAuthorized.into());
        let Some(awaited) = awaited else {
            return Some(sent.outcome);
        };
        let wrote = wrote || (port.written(), self.journal.len()) != before;
        self.wait_for(port, awaited, &sent, wrote)
    }

    /// Waits until a message lasts where it has to: on other shards, and here if it `wrote` something down. What came of it
    /// if there is nothing to wait for.
    fn wait_for(
        &mut self,
        port: &mut impl Port,
        awaited: PublishId,
        sent: &Sent,
        wrote: bool,
    ) -> Option<Result<Reach, Refusal>> {
        let Sent { outcome, answering } = *sent;
        if wrote {
            port.hold(self.shard, awaited);
        }
        let left = answering + u32::from(wrote);
        if left == 0 {
            self.awaited.withdraw(awaited);
            return Some(outcome);
        }
        self.awaited.expect(awaited, left, outcome);
        None
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
        self.publish_as(now, port, &sender.sender(), None, None, message)
            .outcome
    }

    /// The same of a will that is stored as what its session left, with a session's number of its own: it is known again by
    /// that if it comes once more after a restart. [`Port::left_settled`] follows when nobody has to be given it any more.
    pub fn publish_left(
        &mut self,
        now: Now,
        port: &mut impl Port,
        sender: &Identity,
        message: &ChannelMessage<'_>,
        left: LeftId,
    ) {
        let awaited = self.awaited.leave(left);
        // Who has got it is written down in any case: what holds it is not deleted in the same batch.
        let mark = NonZeroU64::new(left.number).map(|session| Mark {
            session,
            // The only one under this number.
            exchange: 1,
            again: true,
        });
        let waiter = Waiter {
            publish: awaited,
            mark,
        };
        let before = (port.written(), self.journal.len());
        let sent = self.publish_as(now, port, &sender.sender(), None, Some(waiter), message);
        let wrote = (port.written(), self.journal.len()) != before;
        if self.wait_for(port, awaited, &sent, wrote).is_some() {
            port.left_settled(left, false);
        }
    }

    fn publish_as(
        &mut self,
        now: Now,
        port: &mut impl Port,
        sender: &Sender<'_>,
        from: Option<SessionKey>,
        awaited: Option<Waiter>,
        message: &ChannelMessage<'_>,
    ) -> Sent {
        self.metrics.channel_in.increment();
        let channel = message.channel;
        if check_channel(channel).is_err() || self.has_too_many_levels(channel) {
            self.metrics.dropped(Stage::Channel, DropReason::Invalid);
            return Refusal::InvalidName.into();
        }
        let app = channel.strip_prefix('~').and_then(|rest| rest.split('/').next());
        if app.is_some_and(|app| app != sender.app()) {
            self.metrics.dropped(Stage::Channel, DropReason::NotAuthorized);
            return Refusal::NotAuthorized.into();
        }
        if message.retain {
            return self.publish_retained(now, port, sender, from, awaited, message);
        }
        self.publish_live(now, port, sender, from, awaited, message)
    }

    /// Whether an operator allows fewer levels than a channel or filter has.
    pub(super) fn has_too_many_levels(&self, channel: &str) -> bool {
        let most = self.limits.channel_levels_max;
        most < limits::CHANNEL_LEVELS_MAX && channel.split('/').count() > most
    }

    /// Publishes a message to who subscribes now.
    pub(super) fn publish_live(
        &mut self,
        now: Now,
        port: &mut impl Port,
        sender: &Sender<'_>,
        from: Option<SessionKey>,
        awaited: Option<Waiter>,
        message: &ChannelMessage<'_>,
    ) -> Sent {
        let channel = message.channel;
        if message.expires.is_some_and(|expires| expires <= now.instant) {
            self.metrics.dropped(Stage::Channel, DropReason::Expired);
            return Sent {
                outcome: Ok(Reach::Nobody),
                answering: 0,
            };
        }
        let hash = self.placement.channel(channel);
        let shards = self.interest.shards(hash, channel);
        let awaited = awaited.filter(|_| message.qos != Qos::AtMostOnce);
        let answering = match awaited {
            Some(_) => shards.both(self.keeping),
            None => ShardSet::default(),
        };
        // Most messages stay on their shard.
        let passed = shards.len() > 0;
        if passed && let Err(refusal) = self.pass_on(shards, sender, message, awaited) {
            return refusal.into();
        }
        let mark = awaited.and_then(|waiter| waiter.mark);
        if let Some(mark) = mark {
            port.mark(mark);
        }
        let published = Published {
            message: *message,
            hash,
            sender: *sender,
            from,
            is_shown: self.rooms.speaks((hash, channel), sender.address(), from),
        };
        let heard = self
            .subscriptions
            .deliver(&self.sessions, port, &self.metrics, &published);
        let (heard, given) = if heard.grouped {
            self.share_out(now, port, heard, &published, awaited)
        } else {
            (heard, 0)
        };
        let answering = answering.len() + given;
        end_marked(port, mark, answering > 0);
        let outcome = heard.outcome(passed);
        if outcome == Ok(Reach::Nobody) {
            self.metrics.channel_unheard.increment();
        }
        Sent { outcome, answering }
    }

    /// Writes the message to the shards that want it.
    fn pass_on(
        &mut self,
        shards: ShardSet,
        sender: &Sender<'_>,
        message: &ChannelMessage<'_>,
        awaited: Option<Waiter>,
    ) -> Result<(), Refusal> {
        let bytes =
            sender.address().len() + message.channel.len() + message.payload.len() + message.attributes.len();
        let is_full = |mesh: &super::mesh::Mesh, shard| !mesh.has_room(shard, bytes);
        if message.qos != Qos::AtMostOnce && shards.iter().any(|shard| is_full(&self.mesh, shard)) {
            self.metrics.dropped(Stage::Mesh, DropReason::MeshFull);
            return Err(Refusal::Busy);
        }
        let keeping = self.keeping;
        for shard in shards.iter() {
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
                awaited: awaited.filter(|_| keeping.contains(shard)),
            });
        }
        Ok(())
    }

    /// A message of another shard's block.
    pub(super) fn published_elsewhere(
        &mut self,
        now: Now,
        port: &mut impl Port,
        sender: Sender<'_>,
        message: ChannelMessage<'_>,
        awaited: Option<(u16, Waiter)>,
    ) {
        if message.expires.is_some_and(|expires| expires <= now.instant) {
            self.metrics.dropped(Stage::Channel, DropReason::Expired);
            if let Some((origin, waiter)) = awaited {
                self.answer_publish(port, origin, waiter.publish, false);
            }
            return;
        }
        let hash = self.placement.channel(message.channel);
        let published = Published {
            message,
            hash,
            sender,
            from: None,
            is_shown: self.rooms.shows(hash, message.channel, sender.address()),
        };
        let before = port.written();
        let mark = awaited.and_then(|(_, waiter)| waiter.mark);
        if let Some(mark) = mark {
            port.mark(mark);
        }
        let heard = self
            .subscriptions
            .deliver(&self.sessions, port, &self.metrics, &published);
        let awaited = awaited.map(|(origin, waiter)| (origin, waiter.publish));
        let relay = self.relay(awaited, heard);
        let share = relay.map(|publish| Waiter { publish, mark });
        let (heard, given) = self.share_out(now, port, heard, &published, share);
        if mark.is_some() {
            port.marked();
        }
        let Some((origin, publish)) = awaited else { return };
        let wrote = port.written() != before;
        self.answer_for(port, (origin, publish), relay, (wrote, heard.unstored), given);
    }

    /// What this shard's own answer to a message of another one waits under, if groups here have a share in it.
    pub(super) fn relay(&mut self, awaited: Option<(u16, PublishId)>, heard: Heard) -> Option<PublishId> {
        let (origin, publish) = awaited.filter(|_| heard.grouped)?;
        Some(self.awaited.relay(origin, publish))
    }

    /// Answers for a message of another shard: now, when what was written down of it lasts, or when the members of
    /// groups on other shards that it was given to have answered as well.
    pub(super) fn answer_for(
        &mut self,
        port: &mut impl Port,
        (origin, publish): (u16, PublishId),
        relay: Option<PublishId>,
        (wrote, unstored): (bool, bool),
        given: u32,
    ) {
        // What was written of a message that is refused lasts before its sender is told, too: nothing of an exchange is
        // written behind its end.
        if given > 0 || (wrote && unstored) {
            let relay = relay.unwrap_or_else(|| self.awaited.relay(origin, publish));
            let outcome = if unstored {
                Err(Refusal::QuotaExceeded)
            } else {
                Ok(Reach::Subscribers)
            };
            self.awaited.expect(relay, given + u32::from(wrote), outcome);
            if wrote {
                port.hold(self.shard, relay);
            }
            return;
        }
        if let Some(relay) = relay {
            self.awaited.withdraw(relay);
        }
        if wrote {
            port.hold(origin, publish);
        } else {
            self.answer_publish(port, origin, publish, unstored);
        }
    }
}

/// On the shard of its sender, when a message has been delivered: who has got it is written down if it went to other shards,
/// too, or has been sent before. What stays on one shard is written down as a whole, or not at all.
pub(super) fn end_marked(port: &mut impl Port, mark: Option<Mark>, is_elsewhere: bool) {
    let Some(mark) = mark else { return };
    if mark.again || is_elsewhere {
        port.spread(mark);
        port.marked();
    } else {
        port.unmark();
    }
}
