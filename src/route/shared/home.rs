//! The home of a group: who is a member, and who gets a message.

use std::sync::Arc;

use super::{Course, Group, GroupId};
use crate::observe::{DropReason, Stage};
use crate::route::awaited::Waiter;
use crate::route::channels::matching::{Heard, Published};
use crate::route::channels::subscriptions::Transition;
use crate::route::drops;
use crate::route::letter::Letter;
use crate::route::message::{Qos, SessionId, Undelivered};
use crate::route::port::Port;
use crate::route::router::Router;
use crate::time::Now;

/// Where a message of a group went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    /// To a member here.
    Here,
    /// To another shard, for a member there.
    There,
    /// To nobody; `unstored`, because it could not be made to last.
    Nowhere { unstored: bool },
}

impl Router {
    /// A session is a member of a group at home here, or has other options.
    pub(super) fn member_up(&mut self, session: SessionId, group: &Arc<Group>, qos: Qos, online: bool) {
        let (place, is_new) = self.groups.up(group, session, qos, online);
        if is_new {
            self.metrics.share_groups.increment();
            let filter = &group.share.filter;
            let (transition, index) = self.subscriptions.add_group(filter, place);
            self.groups.stands_at(place, index);
            if transition == Transition::Edge {
                self.tell_interest(filter);
            }
        }
    }

    /// Confirms a member of another shard: what the other shards were told just now reaches them before.
    pub(super) fn confirm_later(&mut self, session: SessionId) {
        self.groups.unconfirmed.push(session);
    }

    /// Tells new members on other shards that they are in. Not in the turn in which they came: a publisher that hears of
    /// it must find its shard told of what the group wants.
    pub(in crate::route) fn confirm_members(&mut self) {
        for SessionId { shard, key } in std::mem::take(&mut self.groups.unconfirmed) {
            self.mesh.write(shard, |_| Letter::MemberIs { member: key });
        }
    }

    /// A session is a member no more.
    pub(super) fn member_down(&mut self, session: SessionId, group: GroupId) {
        let Some((index, group)) = self.groups.down(group, session) else {
            return;
        };
        self.metrics.share_groups.decrement();
        let filter = &group.share.filter;
        let (transition, moved) = self.subscriptions.remove_group(filter, index);
        if let Some(moved) = moved {
            self.groups.stands_at(moved, index);
        }
        if transition == Transition::Edge {
            self.tell_no_interest(filter);
        }
    }

    /// Gives a message that has just been delivered to the groups here that have a share in it. What came of the whole,
    /// and how many members on other shards are to answer for it.
    pub(in crate::route) fn share_out(
        &mut self,
        now: Now,
        port: &mut impl Port,
        mut heard: Heard,
        published: &Published<'_>,
        awaited: Option<Waiter>,
    ) -> (Heard, u32) {
        if !heard.grouped {
            return (heard, 0);
        }
        let places = self.subscriptions.take_groups();
        let course = Course {
            awaited: awaited.map(|waiter| waiter.publish),
            mark: awaited.and_then(|waiter| waiter.mark),
            ..Course::default()
        };
        let mut given = 0;
        for &place in &places {
            if !self.has_share(place, published) {
                continue;
            }
            if self.has_had_share(port, place, &course) {
                heard.anybody = true;
                continue;
            }
            match self.share(now, port, place, published, course, None) {
                Went::Here => heard.anybody = true,
                Went::There => {
                    heard.anybody = true;
                    given += u32::from(awaited.is_some());
                }
                Went::Nowhere { unstored } => heard.unstored |= unstored,
            }
        }
        self.subscriptions.restore_groups(places);
        (heard, given)
    }

    /// Whether a member of a group has had the message before the restart.
    fn has_had_share(&mut self, port: &mut impl Port, place: u32, course: &Course) -> bool {
        let Some(mark) = course.mark.filter(|mark| mark.again) else {
            return false;
        };
        self.groups
            .at(place)
            .is_some_and(|home| port.has_group_had(mark, &home.group.app, &home.group.share.borrowed()))
    }

    /// Whether a group hears a message of its channels.
    fn has_share(&mut self, place: u32, published: &Published<'_>) -> bool {
        let Some(home) = self.groups.at(place) else {
            return false;
        };
        let sender = &published.sender;
        let is_own_app = *home.group.app == *sender.app();
        (is_own_app || !published.is_private()) && home.group.share.admits(sender)
    }

    /// Gives a message to a member of a group, one that has not been tried. `failed`: why the last one did not take it.
    pub(super) fn share(
        &mut self,
        now: Now,
        port: &mut impl Port,
        place: u32,
        published: &Published<'_>,
        mut course: Course,
        failed: Option<Undelivered>,
    ) -> Went {
        let (mut reason, mut is_unreachable) = (failed, false);
        let offline = self.draining && failed.is_some();
        while let Some(home) = self.groups.at(place)
            && let Some(member) = home.choose(now.instant, published.message.qos, &course.tried, offline)
        {
            let group = home.group.id;
            if member.shard != self.shard {
                if self.has_room_for(member.shard, published) {
                    self.hand_to(member, group, published, course);
                    return Went::There;
                }
                is_unreachable = true;
                course.tried.add(member);
                continue;
            }
            match self.give_here(port, member.key, group, published, course.left) {
                Ok(()) => return Went::Here,
                Err(why) => {
                    self.passed_over(now, place, member, why, &mut course);
                    reason = Some(why);
                }
            }
        }
        let is_left = course.left.is_some();
        // What is stored is not given up because the daemon stops.
        let unstored = is_unreachable || reason == Some(Undelivered::NotStored) || (self.draining && is_left);
        if is_left && unstored {
            return Went::Nowhere { unstored };
        }
        if is_unreachable {
            self.metrics.dropped(Stage::Mesh, DropReason::MeshFull);
        } else {
            let reason = reason.map_or(DropReason::NoReceiver, drops::reason);
            self.metrics.dropped(Stage::Channel, reason);
        }
        Went::Nowhere {
            unstored: unstored && published.message.qos != Qos::AtMostOnce,
        }
    }

    /// A member did not take a message: it is not tried again with this one, and if its queue is full, not with others
    /// for a while.
    pub(super) fn passed_over(
        &mut self,
        now: Now,
        place: u32,
        member: SessionId,
        reason: Undelivered,
        course: &mut Course,
    ) {
        let home = self.groups.at(place);
        let is_news =
            reason == Undelivered::QueueFull && home.is_some_and(|home| home.mark_full(now.instant, member));
        // Who has become full just now is passed over by that alone.
        if !is_news || member.shard != self.shard {
            course.tried.add(member);
        }
    }
}
