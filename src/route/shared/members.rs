//! The shard of a member: what its sessions are members of, and what the homes of those groups are told.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;

use super::{Group, GroupId};
use crate::limits;
use crate::route::channels::footprint;
use crate::route::letter::Letter;
use crate::route::message::{
    Completion, Notice, Qos, Refusal, SessionKey, Share, SubscriptionOptions, Ticket,
};
use crate::route::port::Port;
use crate::route::router::Router;
use crate::route::sessions::State;

/// A session's share.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(super) group: Arc<Group>,
    pub(super) options: SubscriptionOptions,
}

/// What a session waits for that has joined groups.
#[derive(Debug, Default)]
struct Waiting {
    /// Homes that have not confirmed it.
    left: u32,
    /// What it is told then.
    completions: Vec<(Ticket, Completion)>,
}

/// What the members on this shard have in common.
#[derive(Debug)]
pub(in crate::route) struct Memberships {
    /// The groups that sessions here are members of, and how many.
    groups: HashMap<GroupId, (Arc<Group>, usize), RandomState>,
    waiting: HashMap<SessionKey, Waiting, RandomState>,
}

impl Memberships {
    pub(in crate::route) fn new(state: RandomState) -> Self {
        Self {
            groups: HashMap::with_hasher(state.clone()),
            waiting: HashMap::with_hasher(state),
        }
    }

    /// Counts one more member of a group, if there may be one.
    fn add(&mut self, id: GroupId, app: &str, share: &Share<'_>) -> Result<Arc<Group>, Refusal> {
        let is_full = self.groups.len() >= limits::SHARES_PER_SHARD_MAX;
        if let Some((group, members)) = self.groups.get_mut(&id) {
            if *members >= limits::SHARE_MEMBERS_PER_SHARD_MAX {
                return Err(Refusal::QuotaExceeded);
            }
            *members += 1;
            return Ok(Arc::clone(group));
        }
        if is_full {
            return Err(Refusal::QuotaExceeded);
        }
        let group = Arc::new(Group {
            id,
            app: app.into(),
            share: (*share).into(),
        });
        self.groups.insert(id, (Arc::clone(&group), 1));
        Ok(group)
    }

    /// Bytes that one more member takes.
    fn needed(&self, id: GroupId, app: &str, share: &Share<'_>) -> usize {
        let is_known = self.groups.contains_key(&id);
        footprint::place() + if is_known { 0 } else { footprint::group(app, share) }
    }

    /// Counts one member less. Bytes that are free again.
    fn remove(&mut self, id: GroupId) -> usize {
        let Some((group, members)) = self.groups.get_mut(&id) else {
            return 0;
        };
        *members -= 1;
        if *members > 0 {
            return footprint::place();
        }
        let bytes = footprint::group(&group.app, &group.share.borrowed());
        self.groups.remove(&id);
        footprint::place() + bytes
    }
}

impl Router {
    /// A session becomes a member of a group, or changes its options. It counts as a subscription; what is retained is
    /// not sent.
    pub(in crate::route) fn join_group(
        &mut self,
        key: SessionKey,
        share: &Share<'_>,
        options: &SubscriptionOptions,
    ) -> Result<Qos, Refusal> {
        self.check_subscriber(key, share.filter)?;
        let name = share.name;
        if name.is_empty() || name.len() > limits::SHARE_NAME_BYTES_MAX || name.contains(['/', '+', '#']) {
            return Err(Refusal::InvalidName);
        }
        let entry = self.sessions.get_mut(key).ok_or(Refusal::NotAuthorized)?;
        let id = GroupId::of(&self.placement, entry.identity.sender().app(), share);
        let known = entry
            .memberships()
            .iter()
            .position(|membership| membership.group.id == id);
        let group = match known {
            Some(at) => {
                let membership = entry.extra().memberships.get_mut(at).ok_or(Refusal::Busy)?;
                membership.options = *options;
                Arc::clone(&membership.group)
            }
            None => {
                let is_full = entry.subscription_count() >= self.limits.subscriptions_per_block_max
                    || entry.memberships().len() >= limits::SHARES_PER_SESSION_MAX;
                if is_full {
                    return Err(Refusal::QuotaExceeded);
                }
                let sender = entry.identity.sender();
                let needed = self.memberships.needed(id, sender.app(), share);
                // What was kept over a restart has been granted before.
                if entry.state != State::Suspended {
                    self.subscriptions.footprint.check(needed)?;
                }
                let group = self.memberships.add(id, sender.app(), share)?;
                self.subscriptions.footprint.take(needed);
                entry.extra().memberships.push(Membership {
                    group: Arc::clone(&group),
                    options: *options,
                });
                self.metrics.subscriptions.increment();
                group
            }
        };
        let online = entry.state == State::Attached;
        self.tell_member(key, group, options.qos, online);
        Ok(options.qos)
    }

    /// Has the home of a group know a member.
    fn tell_member(&mut self, key: SessionKey, group: Arc<Group>, qos: Qos, online: bool) {
        let home = group.id.home(&self.placement);
        if home == self.shard {
            return self.member_up(self.id(key), &group, qos, online);
        }
        if online {
            self.memberships.waiting.entry(key).or_default().left += 1;
        }
        let keeps = self.keeps || !online;
        self.mesh.write(home, |parcel| {
            parcel.put_shared(group.len_bytes());
            Letter::MemberUp {
                member: key,
                group,
                qos,
                online,
                keeps,
                waits: online,
            }
        });
    }

    /// A session is a member of a group no more. Whether it was.
    pub(in crate::route) fn leave_group(&mut self, key: SessionKey, share: &Share<'_>) -> bool {
        let Some(entry) = self.sessions.get_mut(key) else {
            return false;
        };
        let id = GroupId::of(&self.placement, entry.identity.sender().app(), share);
        let is_it = |membership: &Membership| membership.group.id == id;
        let Some(at) = entry.memberships().iter().position(is_it) else {
            return false;
        };
        entry.extra().memberships.swap_remove(at);
        self.withdraw(key, id);
        true
    }

    /// Ends all the session's memberships.
    pub(in crate::route) fn leave_shares(&mut self, key: SessionKey) {
        self.memberships.waiting.remove(&key);
        let extra = self.sessions.get_mut(key).and_then(|entry| entry.extra.as_mut());
        let memberships = extra.map(|extra| std::mem::take(&mut extra.memberships));
        for membership in memberships.into_iter().flatten() {
            self.withdraw(key, membership.group.id);
        }
    }

    fn withdraw(&mut self, key: SessionKey, group: GroupId) {
        self.metrics.subscriptions.decrement();
        let freed = self.memberships.remove(group);
        self.subscriptions.footprint.free(freed);
        let home = group.home(&self.placement);
        if home == self.shard {
            self.member_down(self.id(key), group);
        } else {
            self.mesh
                .write(home, |_| Letter::MemberDown { member: key, group });
        }
    }

    /// Has the homes of its groups know that a session lost its connection, or has one again.
    pub(in crate::route) fn tell_members(&mut self, key: SessionKey, online: bool) {
        let Some(entry) = self.sessions.get(key) else {
            return;
        };
        let session = self.id(key);
        for membership in entry.memberships() {
            let group = membership.group.id;
            let home = group.home(&self.placement);
            if home == self.shard {
                self.groups.turn(group, session, online);
            } else {
                self.mesh.write(home, |_| Letter::MemberState {
                    member: key,
                    group,
                    online,
                });
            }
        }
    }

    /// What came of a session's registrations is to be told: now, and then it comes back, or as a
    /// [`Notice::Completed`] when all shards have been told what the session's groups hear.
    pub fn hold_registered(
        &mut self,
        key: SessionKey,
        ticket: Ticket,
        completion: Completion,
    ) -> Option<Completion> {
        match self.memberships.waiting.get_mut(&key) {
            Some(waiting) => {
                waiting.completions.push((ticket, completion));
                None
            }
            None => Some(completion),
        }
    }

    /// The home of one of its groups has taken a session in.
    pub(super) fn member_is(&mut self, port: &mut impl Port, key: SessionKey) {
        let Some(waiting) = self.memberships.waiting.get_mut(&key) else {
            return;
        };
        waiting.left = waiting.left.saturating_sub(1);
        if waiting.left > 0 {
            return;
        }
        for (ticket, completion) in self
            .memberships
            .waiting
            .remove(&key)
            .into_iter()
            .flat_map(|waiting| waiting.completions)
        {
            port.notify(key, Notice::Completed(ticket, completion));
        }
    }
}
