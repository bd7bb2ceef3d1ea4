//! The groups at home on one shard: their members on all shards, and whose turn it is.
//!
//! Invariant: a group is here while it has a member, and each member once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use slab::Slab;

use super::{Group, GroupId, Tried};
use crate::limits;
use crate::route::message::{Qos, SessionId};
use crate::route::sessions::id;
use crate::time::Instant;

/// A member as its group's home knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) session: SessionId,
    /// The most it takes.
    pub(super) qos: Qos,
    /// It is passed over until then while there are others.
    full_until: Instant,
}

/// Members who take turns.
#[derive(Debug, Default)]
struct Ring {
    members: Vec<Member>,
    next: usize,
}

impl Ring {
    /// The next one that will do.
    fn choose(&mut self, will_do: impl Fn(&Member) -> bool) -> Option<SessionId> {
        let len = self.members.len();
        for step in 0..len {
            let at = (self.next + step) % len;
            if let Some(member) = self.members.get(at).filter(|member| will_do(member)) {
                self.next = at + 1;
                return Some(member.session);
            }
        }
        None
    }

    fn take(&mut self, session: SessionId) -> Option<Member> {
        let at = self.members.iter().position(|member| member.session == session)?;
        Some(self.members.swap_remove(at))
    }

    fn find(&mut self, session: SessionId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.session == session)
    }
}

/// A group and its members.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) group: Arc<Group>,
    /// Where it stands among the groups that share its filter.
    index: u32,
    online: Ring,
    offline: Ring,
}

impl Home {
    /// Who gets a message of this guarantee: in turns those that are online and not known to be full; of QoS 1 and
    /// above then who will be back, then who is full. `offline` leaves only who will be back.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        qos: Qos,
        tried: &Tried,
        offline: bool,
    ) -> Option<SessionId> {
        if tried.is_full() {
            return None;
        }
        let fresh = |member: &Member| !tried.contains(member.session);
        let free = |member: &Member| member.full_until <= now && fresh(member);
        if !offline && let Some(member) = self.online.choose(free) {
            return Some(member);
        }
        let stored = |member: &Member| member.qos != Qos::AtMostOnce && free(member);
        if qos != Qos::AtMostOnce
            && let Some(member) = self.offline.choose(stored)
        {
            return Some(member);
        }
        if offline {
            return None;
        }
        self.online.choose(fresh)
    }

    /// A member's queue is full. Whether that was not known.
    pub(super) fn mark_full(&mut self, now: Instant, session: SessionId) -> bool {
        let member = match self.online.find(session) {
            Some(member) => Some(member),
            None => self.offline.find(session),
        };
        let Some(member) = member.filter(|member| member.full_until <= now) else {
            return false;
        };
        member.full_until = now + Duration::from_millis(limits::SHARE_FULL_MS);
        true
    }

    fn ring(&mut self, online: bool) -> &mut Ring {
        if online {
            &mut self.online
        } else {
            &mut self.offline
        }
    }

    fn take(&mut self, session: SessionId) -> Option<Member> {
        self.online.take(session).or_else(|| self.offline.take(session))
    }

    fn is_empty(&self) -> bool {
        self.online.members.is_empty() && self.offline.members.is_empty()
    }
}

/// All of them.
#[derive(Debug)]
pub(in crate::route) struct Groups {
    homes: Slab<Home>,
    by_id: HashMap<GroupId, u32, RandomState>,
    /// Members to be told at the next tick that they are in.
    pub(super) unconfirmed: Vec<SessionId>,
}

impl Groups {
    pub(in crate::route) fn new(state: RandomState) -> Self {
        Self {
            homes: Slab::new(),
            by_id: HashMap::with_hasher(state),
            unconfirmed: Vec::new(),
        }
    }

    /// A session is a member of a group, or has other options. The group's place, and whether it is new.
    pub(super) fn up(
        &mut self,
        group: &Arc<Group>,
        session: SessionId,
        qos: Qos,
        online: bool,
    ) -> (u32, bool) {
        let known = self.find(group.id);
        let place = known.unwrap_or_else(|| {
            let place = id(self.homes.insert(Home {
                group: Arc::clone(group),
                index: 0,
                online: Ring::default(),
                offline: Ring::default(),
            }));
            self.by_id.insert(group.id, place);
            place
        });
        if let Some(home) = self.homes.get_mut(place as usize) {
            let _ = home.take(session);
            home.ring(online).members.push(Member {
                session,
                qos,
                full_until: Instant::default(),
            });
        }
        (place, known.is_none())
    }

    /// Where a group stands among those that share its filter.
    pub(super) fn stands_at(&mut self, place: u32, index: u32) {
        if let Some(home) = self.homes.get_mut(place as usize) {
            home.index = index;
        }
    }

    /// It is none any more. The group and where it stands among those that share its filter, if it was the last one.
    pub(super) fn down(&mut self, group: GroupId, session: SessionId) -> Option<(u32, Arc<Group>)> {
        let place = self.find(group)?;
        let home = self.homes.get_mut(place as usize)?;
        home.take(session)?;
        if !home.is_empty() {
            return None;
        }
        self.by_id.remove(&group);
        let home = self.homes.remove(place as usize);
        Some((home.index, home.group))
    }

    /// A member lost its connection, or has one again.
    pub(super) fn turn(&mut self, group: GroupId, session: SessionId, online: bool) {
        let place = self.find(group);
        if let Some(home) = place.and_then(|place| self.homes.get_mut(place as usize))
            && let Some(member) = home.take(session)
        {
            home.ring(online).members.push(Member {
                full_until: Instant::default(),
                ..member
            });
        }
    }

    /// The place of a group.
    pub(super) fn find(&self, group: GroupId) -> Option<u32> {
        self.by_id.get(&group).copied()
    }

    /// The group in a place.
    pub(super) fn at(&mut self, place: u32) -> Option<&mut Home> {
        self.homes.get_mut(place as usize)
    }

    /// Groups there are.
    #[cfg(test)]
    pub(in crate::route) fn len(&self) -> usize {
        self.homes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::hashes::Placement;
    use crate::route::message::{SessionKey, Share};

    const QOS1: Qos = Qos::AtLeastOnce;

    fn group() -> Arc<Group> {
        let share = Share {
            name: "g",
            filter: "a",
            from: Default::default(),
            form: 0,
        };
        Arc::new(Group {
            id: GroupId::of(&Placement::new(1, 1), "etest", &share),
            app: "etest".into(),
            share: share.into(),
        })
    }

    fn member(slot: u32) -> SessionId {
        SessionId {
            shard: 0,
            key: SessionKey { slot, generation: 0 },
        }
    }

    fn with(members: &[(u32, Qos, bool)]) -> (Groups, Arc<Group>) {
        let (mut groups, group) = (Groups::new(RandomState::with_seeds(1, 2, 3, 4)), group());
        for &(slot, qos, online) in members {
            groups.up(&group, member(slot), qos, online);
        }
        (groups, group)
    }

    fn chosen(groups: &mut Groups, ms: u64, qos: Qos, tried: &Tried) -> Option<u32> {
        let now = Instant::from_nanos(ms * 1_000_000);
        let home = groups.at(0)?;
        home.choose(now, qos, tried, false).map(|member| member.key.slot)
    }

    #[test]
    fn mqtt5_4_8_2_members_that_are_online_take_turns() {
        let (mut groups, _) = with(&[
            (1, QOS1, true),
            (2, QOS1, true),
            (3, QOS1, false),
            (4, QOS1, true),
        ]);
        let turns: Vec<_> = (0..6)
            .filter_map(|_| chosen(&mut groups, 1, QOS1, &Tried::default()))
            .collect();
        assert_eq!(turns, [1, 2, 4, 1, 2, 4]);
    }

    #[test]
    fn nexus_2_3_what_cannot_be_kept_goes_to_nobody_who_is_offline() {
        let (mut groups, _) = with(&[(1, QOS1, false), (2, Qos::AtMostOnce, false)]);
        let none = Tried::default();
        for _ in 0..3 {
            assert_eq!(chosen(&mut groups, 1, Qos::AtMostOnce, &none), None);
            assert_eq!(chosen(&mut groups, 1, Qos::ExactlyOnce, &none), Some(1));
        }
    }

    #[test]
    fn mqtt5_4_8_2_a_full_member_is_passed_over_for_a_while() {
        let (mut groups, _) = with(&[(1, QOS1, true), (2, QOS1, true), (3, QOS1, false)]);
        let (mut none, now) = (Tried::default(), Instant::from_nanos(1_000_000));
        assert!(groups.at(0).unwrap().mark_full(now, member(1)));
        assert!(!groups.at(0).unwrap().mark_full(now, member(1)), "known already");
        for _ in 0..3 {
            assert_eq!(chosen(&mut groups, 1, QOS1, &none), Some(2));
        }
        // Then who will be back, then all the same the one that is full.
        none.add(member(2));
        assert_eq!(chosen(&mut groups, 1, QOS1, &none), Some(3));
        none.add(member(3));
        assert_eq!(chosen(&mut groups, 1, QOS1, &none), Some(1));
        let later = 1 + limits::SHARE_FULL_MS;
        let again: Vec<_> = (0..2)
            .filter_map(|_| chosen(&mut groups, later, QOS1, &Tried::default()))
            .collect();
        assert!(again.contains(&1) && again.contains(&2));
    }

    #[test]
    fn a_group_lasts_as_long_as_its_last_member() {
        let (mut groups, group) = with(&[(1, QOS1, true), (1, QOS1, true), (2, QOS1, true)]);
        groups.turn(group.id, member(2), false);
        assert!(groups.down(group.id, member(1)).is_none());
        assert!(groups.down(group.id, member(1)).is_none(), "it left before");
        assert_eq!(
            chosen(&mut groups, 1, Qos::AtMostOnce, &Tried::default()),
            None,
            "the last one is offline"
        );
        assert!(groups.down(group.id, member(2)).is_some());
        assert_eq!((groups.len(), groups.find(group.id)), (0, None));
    }
}
