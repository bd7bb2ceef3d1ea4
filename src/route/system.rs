//! `$SYS`: what the daemon tells operators about itself.
//!
//! Invariants: only operators stand in a list whose filter begins with `$`, and nobody but the daemon publishes
//! there. Every shard tells its own sessions, so that the other shards are told of no interest.

use super::channels::matching::Published;
use super::channels::subscriptions::Transition;
use super::identity::{Role, Sender, check_channel_filter};
use super::message::{ChannelMessage, Qos, Refusal, SenderPattern, SessionKey, SubscriptionOptions};
use super::port::Port;
use super::router::Router;
use crate::limits;
use crate::observe::system::Value;

/// The first level of what the daemon tells about itself.
const SYS: &str = "$SYS";

/// The daemon as the sender of a message: an operator under a resource of its own, of a user that is nobody.
const DAEMON: Sender<'static> = Sender::restore("nexus-000000000000000000000000-owner/sys", 5, Role::Owner);

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// All who subscribe.
    All,
    /// Those who subscribed since the last time, for what they subscribed to.
    Newcomers,
}

/// What a router keeps of `$SYS`.
#[derive(Debug, Default)]
pub(super) struct System {
    is_served: bool,
    /// Filters with subscribers.
    pub(super) filters: usize,
    /// Subscriptions that have not been told the values.
    newcomers: Vec<(SessionKey, Box<str>)>,
}

/// Whether a filter is one of `$SYS`, not of channels.
pub(super) fn is_system(filter: &str) -> bool {
    filter.starts_with('$')
}

impl Router {
    /// Whether operators may subscribe to `$SYS`. What was granted before stays.
    pub fn serve_system(&mut self, served: bool) {
        self.system.is_served = served;
    }

    /// Whether anybody here subscribes to it.
    pub const fn has_system_subscribers(&self) -> bool {
        self.system.filters > 0
    }

    /// Whether somebody waits for [`Audience::Newcomers`].
    pub const fn has_system_newcomers(&self) -> bool {
        !self.system.newcomers.is_empty()
    }

    /// Publishes values of `$SYS` to the sessions here. They are not channel messages that a block sent, and are not
    /// counted among those that were taken.
    pub fn publish_system(&mut self, port: &mut impl Port, to: Audience, values: &[Value]) {
        let newcomers = match to {
            Audience::All => None,
            Audience::Newcomers => Some(std::mem::take(&mut self.system.newcomers)),
        };
        for value in values {
            let published = Published {
                message: ChannelMessage {
                    channel: &value.topic,
                    payload: value.text.as_bytes(),
                    attributes: &[],
                    qos: Qos::AtMostOnce,
                    retain: false,
                    expires: None,
                },
                hash: self.placement.channel(&value.topic),
                sender: DAEMON,
                from: None,
                is_shown: false,
            };
            let (sessions, metrics) = (&self.sessions, &*self.metrics);
            let subscriptions = &mut self.subscriptions;
            match &newcomers {
                None => drop(subscriptions.deliver(sessions, port, metrics, &published)),
                Some(newcomers) => {
                    for (key, filter) in newcomers {
                        let hash = self.placement.channel(filter);
                        subscriptions.deliver_one(sessions, port, metrics, &published, (*key, hash, filter));
                    }
                }
            }
        }
    }

    pub(super) fn subscribe_system(
        &mut self,
        key: SessionKey,
        filter: &str,
        options: &SubscriptionOptions,
    ) -> Result<Qos, Refusal> {
        let entry = self.sessions.attached(key).ok_or(Refusal::NotAuthorized)?;
        if !self.system.is_served || !entry.identity.sender().is_operator() {
            return Err(Refusal::NotAuthorized);
        }
        let name = filter.strip_prefix('$').ok_or(Refusal::InvalidName)?;
        check_channel_filter(name).map_err(|_| Refusal::InvalidName)?;
        if filter.split('/').next() != Some(SYS) {
            return Err(Refusal::InvalidName);
        }
        let (transition, _) = self.add_subscription(key, filter, &SenderPattern::default(), options)?;
        if transition == Transition::Edge {
            self.system.filters += 1;
        }
        let newcomers = &mut self.system.newcomers;
        let is_known = |(other, known): &(SessionKey, Box<str>)| *other == key && **known == *filter;
        if newcomers.len() < limits::SYSTEM_NEWCOMERS_MAX && !newcomers.iter().any(is_known) {
            newcomers.push((key, filter.into()));
        }
        Ok(options.qos)
    }
}
