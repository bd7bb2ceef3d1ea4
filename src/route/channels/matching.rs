//! Who on this shard hears a message, and how often: each session once per form, whatever it subscribed to.

use super::subscribers::{Detail, List, Subscriber};
use super::subscriptions::{Subscriptions, has_wildcard};
use crate::observe::{ShardMetrics, Stage};
use crate::route::drops;
use crate::route::identity::Sender;
use crate::route::message::{
    ChannelMessage, Delivery, Reach, Refusal, SessionKey, SubscriptionOptions, Undelivered,
};
use crate::route::port::{Port, Receivers};
use crate::route::sessions::{NONE, Sessions};

/// Room that is used again for each message.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    lists: Vec<u32>,
    /// Groups that share a filter which the latest message matched.
    groups: Vec<u32>,
    hits: Vec<Subscriber>,
    identifiers: Vec<u32>,
}

/// A message on its way to the sessions of this shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published<'a> {
    pub(crate) message: ChannelMessage<'a>,
    /// See [`crate::route::hashes::Placement::channel`].
    pub(crate) hash: u64,
    pub(crate) sender: Sender<'a>,
    /// The sender, if it is a session of this shard.
    pub(crate) from: Option<SessionKey>,
    /// See [`Delivery::Channel`].
    pub(crate) is_shown: bool,
}

impl Published<'_> {
    /// Whether the channel lies under `~<app>/`: then only accounts of that app hear it, and since they alone
    /// may publish there, that app is the sender's.
    pub(crate) fn is_private(&self) -> bool {
        self.message.channel.starts_with('~')
    }
}

/// What came of a message on this shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Somebody hears it.
    pub(crate) anybody: bool,
    /// Somebody who is to have it whatever happens could not be given it.
    pub(crate) unstored: bool,
    /// Groups at home here have a share in it: [`Subscriptions::take_groups`] names them.
    pub(crate) grouped: bool,
}

impl Heard {
    /// What its sender is told, if nobody else has to be asked; `elsewhere`: it went to other shards, too.
    ///
    /// # Errors
    /// [`Refusal::QuotaExceeded`] if it could not be stored for somebody who is to have it.
    pub(crate) const fn outcome(self, elsewhere: bool) -> Result<Reach, Refusal> {
        match self {
            Self { unstored: true, .. } => Err(Refusal::QuotaExceeded),
            Self { anybody: true, .. } => Ok(Reach::Subscribers),
            _ if elsewhere => Ok(Reach::Subscribers),
            _ => Ok(Reach::Nobody),
        }
    }
}

impl Subscriptions {
    /// Delivers to all sessions of this shard that hear it.
    pub(crate) fn deliver(
        &mut self,
        sessions: &Sessions,
        port: &mut impl Port,
        metrics: &ShardMetrics,
        published: &Published<'_>,
    ) -> Heard {
        let mut scratch = self.scratch.take().unwrap_or_default();
        scratch.lists.clear();
        scratch.groups.clear();
        let channel = published.message.channel;
        scratch.lists.extend(self.find(published.hash, channel));
        self.wild.matches(channel, |list| scratch.lists.push(list.0));
        let lists: &[u32] = &scratch.lists;
        let list_of = |list: &u32| self.lists.get(*list);
        for list in lists
            .iter()
            .filter_map(list_of)
            .filter(|list| list.subscribers.groups() != NONE)
        {
            let groups = self.grouped.get(list.subscribers.groups() as usize);
            scratch.groups.extend(groups.into_iter().flatten());
        }
        let mut courier = Courier {
            subscriptions: self,
            sessions,
            port,
            metrics,
            published,
            receivers: Receivers::Several,
            heard: Heard::default(),
        };
        match lists {
            [] => {}
            [only] if list_of(only).is_some_and(|list| !list.subscribers.may_repeat()) => {
                let subscribers = list_of(only).map_or(&[][..], |list| list.subscribers.as_slice());
                if let [_] = subscribers {
                    courier.receivers = Receivers::One;
                }
                courier.each(subscribers.iter());
            }
            several => {
                scratch.hits.clear();
                courier.gather(several.iter().filter_map(list_of), &mut scratch.hits);
                courier.merged(&mut scratch.hits, &mut scratch.identifiers);
            }
        }
        let heard = Heard {
            grouped: !scratch.groups.is_empty(),
            ..courier.heard
        };
        self.scratch = Some(scratch);
        heard
    }

    /// The groups that have a share in the latest message. To be given back with [`Self::restore_groups`].
    pub(crate) fn take_groups(&mut self) -> Vec<u32> {
        let scratch = self.scratch.as_deref_mut();
        scratch.map_or_else(Vec::new, |scratch| std::mem::take(&mut scratch.groups))
    }

    /// Takes that room back.
    pub(crate) fn restore_groups(&mut self, groups: Vec<u32>) {
        self.scratch.get_or_insert_default().groups = groups;
    }
}

impl Subscriptions {
    /// Delivers to one session for one of its filters, if that matches: what is told to who has just subscribed.
    pub(crate) fn deliver_one(
        &mut self,
        sessions: &Sessions,
        port: &mut impl Port,
        metrics: &ShardMetrics,
        published: &Published<'_>,
        (key, hash, filter): (SessionKey, u64, &str),
    ) {
        let Some(wanted) = self.find(hash, filter) else {
            return;
        };
        let channel = published.message.channel;
        let mut is_match = filter == channel;
        if has_wildcard(filter) {
            self.wild.matches(channel, |list| is_match |= list.0 == wanted);
        }
        let Some(list) = self.lists.get(wanted).filter(|_| is_match) else {
            return;
        };
        let mut courier = Courier {
            subscriptions: self,
            sessions,
            port,
            metrics,
            published,
            receivers: Receivers::One,
            heard: Heard::default(),
        };
        let of_session = list.subscribers.as_slice().iter();
        courier.each(of_session.filter(|subscriber| subscriber.key() == key));
    }
}

impl Subscriptions {
    /// Delivers a retained message to a new subscription that matches it: RETAIN is set, whatever the subscription asks
    /// for \[MQTT-3.3.1-8\].
    ///
    /// # Errors
    /// [`Undelivered::QueueFull`]: later it may have room. Anything else that goes wrong is counted.
    pub(crate) fn deliver_retained(
        &self,
        sessions: &Sessions,
        port: &mut impl Port,
        metrics: &ShardMetrics,
        published: &Published<'_>,
        to: &Subscriber,
    ) -> Result<(), Undelivered> {
        let courier = Courier {
            subscriptions: self,
            sessions,
            port,
            metrics,
            published,
            receivers: Receivers::One,
            heard: Heard::default(),
        };
        if !courier.hears(to) {
            return Ok(());
        }
        let identifier = courier.identifier(to);
        let delivery = Delivery::Channel {
            message: published.message,
            sender: published.sender,
            options: SubscriptionOptions {
                retain_as_published: true,
                ..to.options(identifier)
            },
            identifiers: if identifier == 0 { &[] } else { &[identifier] },
            share: None,
            is_shown: false,
        };
        courier.port.begin_message(Receivers::One);
        match courier.port.deliver(to.key(), &delivery) {
            Ok(()) => metrics.channel_out.increment(),
            Err(Undelivered::QueueFull) => return Err(Undelivered::QueueFull),
            Err(reason) => metrics.dropped(Stage::Retained, drops::reason(reason)),
        }
        Ok(())
    }
}

struct Courier<'a, P> {
    subscriptions: &'a Subscriptions,
    sessions: &'a Sessions,
    port: &'a mut P,
    metrics: &'a ShardMetrics,
    published: &'a Published<'a>,
    receivers: Receivers,
    heard: Heard,
}

impl<'a, P: Port> Courier<'a, P> {
    fn detail(&self, subscriber: &Subscriber) -> Option<&Detail> {
        if subscriber.detail == NONE {
            return None;
        }
        self.subscriptions.details.get(subscriber.detail as usize)
    }

    fn identifier(&self, subscriber: &Subscriber) -> u32 {
        self.detail(subscriber).map_or(0, |detail| detail.identifier)
    }

    /// Whether this subscription hears the message.
    fn hears(&self, subscriber: &Subscriber) -> bool {
        let published = self.published;
        if subscriber.no_local() && self.is_own(subscriber) {
            return false;
        }
        if published.is_private() {
            let receiver = self.sessions.get(subscriber.key());
            if receiver.is_none_or(|entry| entry.identity.sender().app() != published.sender.app()) {
                return false;
            }
        }
        self.detail(subscriber)
            .is_none_or(|detail| detail.admits(&published.sender))
    }

    /// Whether the receiver is who sent it. 3.8.3.1 names the Client Identifier, not the connection: nobody knows any more
    /// by which one a will, or what is retained, came.
    fn is_own(&self, subscriber: &Subscriber) -> bool {
        let published = self.published;
        if let Some(from) = published.from {
            return from == subscriber.key();
        }
        let receiver = self.sessions.get(subscriber.key());
        receiver.is_some_and(|entry| entry.identity.sender().address() == published.sender.address())
    }

    /// Where nobody stands twice: straight from the list.
    fn each<'l>(&mut self, subscribers: impl Iterator<Item = &'l Subscriber>) {
        // Put together once: it is the larger part of what a delivery costs here.
        let mut delivery = self.delivery(SubscriptionOptions::default(), &[]);
        for subscriber in subscribers {
            if !self.hears(subscriber) {
                continue;
            }
            let identifier = self.identifier(subscriber);
            if identifier != 0 {
                self.hand(
                    subscriber.key(),
                    &self.delivery(subscriber.options(identifier), &[identifier]),
                );
                continue;
            }
            if let Delivery::Channel { options, .. } = &mut delivery {
                *options = subscriber.options(0);
            }
            self.hand(subscriber.key(), &delivery);
        }
    }

    fn gather<'l>(&self, lists: impl Iterator<Item = &'l List>, hits: &mut Vec<Subscriber>) {
        let all = lists.flat_map(|list| list.subscribers.as_slice());
        hits.extend(all.filter(|subscriber| self.hears(subscriber)));
    }

    /// One delivery per session and form, with the highest QoS and all identifiers (MQTT 5.0 section 3.3.4).
    fn merged(&mut self, hits: &mut [Subscriber], identifiers: &mut Vec<u32>) {
        let target = |subscriber: &Subscriber| (subscriber.key(), subscriber.form);
        hits.sort_unstable_by_key(target);
        for same in hits.chunk_by(|a, b| target(a) == target(b)) {
            let Some((first, more)) = same.split_first() else {
                continue;
            };
            identifiers.clear();
            identifiers.extend(same.iter().map(|hit| self.identifier(hit)).filter(|&id| id != 0));
            identifiers.sort_unstable();
            let merged = more.iter().fold(*first, |merged, hit| merged.or(hit));
            let options = merged.options(identifiers.first().copied().unwrap_or(0));
            self.hand(merged.key(), &self.delivery(options, identifiers));
        }
    }

    const fn delivery<'d>(&self, options: SubscriptionOptions, identifiers: &'d [u32]) -> Delivery<'d>
    where
        'a: 'd,
    {
        Delivery::Channel {
            message: self.published.message,
            sender: self.published.sender,
            options,
            identifiers,
            share: None,
            is_shown: self.published.is_shown,
        }
    }

    fn hand(&mut self, to: SessionKey, delivery: &Delivery<'_>) {
        if !self.heard.anybody {
            self.heard.anybody = true;
            self.port.begin_message(self.receivers);
        }
        match self.port.deliver(to, delivery) {
            Ok(()) => self.metrics.channel_out.increment(),
            Err(reason) => {
                self.heard.unstored |= reason == Undelivered::NotStored;
                self.metrics.dropped(Stage::Channel, drops::reason(reason));
            }
        }
    }
}
