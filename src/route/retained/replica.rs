//! How the replicas come to hold the same: publications here, those of other shards, expiry, what was stored.

use std::sync::Arc;

use super::{Retained, Version, rows};
use crate::journal::{Journal, Table};
use crate::limits;
use crate::observe::{DropReason, Stage};
use crate::route::awaited::Waiter;
use crate::route::channels::interest::ShardSet;
use crate::route::channels::matching::{Heard, Published};
use crate::route::identity::Sender;
use crate::route::letter::Letter;
use crate::route::message::{ChannelMessage, Refusal, SessionKey};
use crate::route::port::Port;
use crate::route::publishing::{Sent, end_marked};
use crate::route::router::Router;
use crate::time::Now;

impl Router {
    /// Publishes a message that is to be retained, or that removes one. All other shards get it, each the same
    /// [`Arc`]; it is taken only if every one of them can be told, so that no replica misses it. Of what is to last, the
    /// home of the channel alone writes the row, and answers for it: the rows of one channel come in one order, which is
    /// that of its replica. One that comes again and was retained before the restart is not retained once more, since
    /// a later one may stand in its place.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if a shard cannot be reached just now, whatever the QoS; then nothing happened.
    /// [`Refusal::QuotaExceeded`] if no more may be retained; then it was delivered, and what was retained before
    /// stays.
    pub(in crate::route) fn publish_retained(
        &mut self,
        now: Now,
        port: &mut impl Port,
        sender: &Sender<'_>,
        from: Option<SessionKey>,
        awaited: Option<Waiter>,
        message: &ChannelMessage<'_>,
    ) -> Sent {
        let mark = awaited.and_then(|waiter| waiter.mark);
        if mark.is_some_and(|mark| port.has_been_retained(mark)) {
            return self.publish_live(now, port, sender, from, awaited, message);
        }
        let bytes = Retained::len_of(sender, message);
        let mut others = (0..self.mesh.shards()).filter(|&shard| shard != self.shard);
        if others.any(|shard| !self.mesh.has_room(shard, bytes)) {
            self.metrics.dropped(Stage::Mesh, DropReason::MeshFull);
            return Refusal::Busy.into();
        }
        let channel = message.channel;
        let has_room = || {
            self.retained
                .has_room(channel, sender.account(), bytes, &self.limits)
        };
        let refused = if self.durable && port.refuses_durable() {
            Some(DropReason::NotStored)
        } else if !message.payload.is_empty() && !has_room() {
            Some(DropReason::Quota)
        } else {
            None
        };
        if let Some(reason) = refused {
            self.metrics.dropped(Stage::Retained, reason);
            let live = self.publish_live(now, port, sender, from, None, message);
            return live.outcome.err().unwrap_or(Refusal::QuotaExceeded).into();
        }
        let hash = self.placement.channel(channel);
        let version = self.next_version(now);
        let retained = Arc::new(Retained::new(sender, message, version));
        self.retained.apply(now.instant, hash, Arc::clone(&retained));
        self.tell_retained();
        let home = self.placement.home(hash);
        let answering = self.answering_for_retained(home, awaited);
        for shard in (0..self.mesh.shards()).filter(|&shard| shard != self.shard) {
            self.mesh.write(shard, |parcel| {
                parcel.put_shared(bytes);
                Letter::Retain {
                    message: Arc::clone(&retained),
                    awaited: awaited.filter(|_| answering.contains(shard)),
                }
            });
        }
        let wanted = self.interest.shards(hash, channel).iter().next().is_some();
        if let Some(mark) = mark {
            port.mark(mark);
        }
        if home == self.shard {
            self.note_retained(now, port, channel);
        }
        let heard = self.hear_retained(now, port, hash, &retained, from);
        let (heard, given) = self.share_retained(now, port, heard, &retained, awaited);
        let answering = answering.len() + given;
        end_marked(port, mark, answering > 0);
        Sent {
            outcome: heard.outcome(wanted),
            answering,
        }
    }

    /// Which other shards answer for a message that is awaited: those that keep sessions, and the channel's home. One that
    /// may come again is known again by all: it goes to shards as well that are about to tell that they keep sessions.
    fn answering_for_retained(&self, home: u16, awaited: Option<Waiter>) -> ShardSet {
        let mut answering = ShardSet::default();
        let Some(waiter) = awaited else {
            return answering;
        };
        for shard in (0..self.mesh.shards()).filter(|&shard| shard != self.shard) {
            let is_home = self.durable && shard == home;
            if is_home || waiter.mark.is_some() || self.keeping.contains(shard) {
                answering.add(ShardSet::of(shard));
            }
        }
        answering
    }

    /// The same from another shard's block.
    pub(in crate::route) fn retained_elsewhere(
        &mut self,
        now: Now,
        port: &mut impl Port,
        retained: &Arc<Retained>,
        awaited: Option<(u16, Waiter)>,
    ) {
        let before = (port.written(), self.journal.len());
        // What is published here because of it is later.
        self.retained_nanos = self.retained_nanos.max(retained.version.nanos);
        let hash = self.placement.channel(retained.channel());
        let is_latest = self.retained.apply(now.instant, hash, Arc::clone(retained));
        self.tell_retained();
        let mark = awaited.and_then(|(_, waiter)| waiter.mark);
        if let Some(mark) = mark {
            port.mark(mark);
        }
        if self.is_home_of(hash) {
            self.note_retained(now, port, retained.channel());
        }
        let heard = self.hear_retained(now, port, hash, retained, None);
        let awaited = awaited.map(|(origin, waiter)| (origin, waiter.publish));
        let relay = self.relay(awaited, heard);
        let share = relay.map(|publish| Waiter { publish, mark });
        let (heard, given) = self.share_retained(now, port, heard, retained, share);
        if mark.is_some() {
            port.marked();
        }
        // Two shards published at a time, and the later one was heard here first. It comes once more: better twice than
        // that somebody is left with what is not retained.
        if heard.anybody
            && !is_latest
            && let Some(latest) = self.retained.latest(hash, retained.channel())
        {
            self.hear_retained(now, port, hash, &latest, None);
        }
        let Some(awaited) = awaited else { return };
        let wrote = (port.written(), self.journal.len()) != before;
        self.answer_for(port, awaited, relay, (wrote, heard.unstored), given);
    }

    /// Gives it to the groups at home here that have a share in it.
    fn share_retained(
        &mut self,
        now: Now,
        port: &mut impl Port,
        heard: Heard,
        retained: &Retained,
        awaited: Option<Waiter>,
    ) -> (Heard, u32) {
        let published = Published {
            message: retained.message(),
            hash: 0,
            sender: retained.sender(),
            from: None,
            is_shown: false,
        };
        self.share_out(now, port, heard, &published, awaited)
    }

    /// Delivers it to the sessions here that subscribe.
    fn hear_retained(
        &mut self,
        now: Now,
        port: &mut impl Port,
        hash: u64,
        retained: &Retained,
        from: Option<SessionKey>,
    ) -> Heard {
        if retained.has_expired(now.instant) {
            self.metrics.dropped(Stage::Channel, DropReason::Expired);
            return Heard::default();
        }
        let (message, sender) = (retained.message(), retained.sender());
        let published = Published {
            message,
            hash,
            sender,
            from,
            is_shown: self.rooms.shows(hash, message.channel, sender.address()),
        };
        self.subscriptions
            .deliver(&self.sessions, port, &self.metrics, &published)
    }

    /// Takes back what was stored ([`Retained::decode`]): at the start, before there are sessions.
    pub fn restore_retained(&mut self, message: Arc<Retained>) {
        let hash = self.placement.channel(message.channel());
        // What has expired meanwhile is taken, too: its row is removed with it.
        self.retained.apply(Default::default(), hash, message);
        self.tell_retained();
    }

    /// Retained messages here, which is: of the daemon.
    pub fn retained_len(&self) -> usize {
        self.retained.len()
    }

    /// What changed since the last call, if anything, of what has to outlive the daemon: of the channels at home here.
    pub fn take_journal(&mut self) -> Option<Journal> {
        (!self.journal.is_empty()).then(|| std::mem::take(&mut self.journal))
    }

    /// Removes what has expired, up to a bound, and forgets old removals.
    pub(in crate::route) fn sweep_retained(&mut self, now: Now) {
        self.retained.forget(now.instant);
        for _ in 0..limits::RETAINED_EXPIRED_PER_TICK {
            let placement = &self.placement;
            let hash_of = |channel: &str| placement.channel(channel);
            let Some(expired) = self.retained.expire(now.instant, hash_of) else {
                return;
            };
            let hash = self.placement.channel(expired.channel());
            if self.is_home_of(hash) {
                self.write_retained(now, expired.channel());
            }
            self.tell_retained();
        }
    }

    fn next_version(&mut self, now: Now) -> Version {
        let after_all = self.retained_nanos.saturating_add(1);
        self.retained_nanos = now.instant.as_nanos().max(after_all);
        Version {
            nanos: self.retained_nanos,
            shard: self.shard,
        }
    }

    fn is_home_of(&self, hash: u64) -> bool {
        self.placement.home(hash) == self.shard
    }

    /// A message of a channel at home here has been seen: what is retained is written down, and that it was this one, or
    /// that a later one was there.
    fn note_retained(&mut self, now: Now, port: &mut impl Port, channel: &str) {
        if self.durable {
            port.note_retained();
        }
        self.write_retained(now, channel);
    }

    /// Writes down what is retained on a channel now.
    fn write_retained(&mut self, now: Now, channel: &str) {
        if !self.durable {
            return;
        }
        let key = channel.as_bytes();
        match self.retained.find(channel) {
            Some(kept) => {
                let encode = |row: &mut Vec<u8>| rows::encode(kept, now, row);
                self.journal.put_with(Table::Retained, key, encode);
            }
            None => self.journal.delete(Table::Retained, key),
        }
    }

    /// Every replica is whole: one shard tells for all.
    fn tell_retained(&self) {
        if self.shard == 0 {
            let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
            self.metrics.retained_messages.set(count(self.retained.len()));
            self.metrics.retained_bytes.set(count(self.retained.len_bytes()));
        }
    }
}
