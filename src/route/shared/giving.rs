//! Messages of groups on their way: to a member's shard, back from it, and back from a session that ended.

use super::home::Went;
use super::{Course, GroupId, Returned};
use crate::observe::{DropReason, Stage};
use crate::route::channels::matching::Published;
use crate::route::drops;
use crate::route::identity::Sender;
use crate::route::letter::{Letter, ShareSpans};
use crate::route::message::{
    ChannelMessage, Delivery, LeftId, Qos, Reach, SessionId, SessionKey, Undelivered,
};
use crate::route::parcel::Parcel;
use crate::route::port::{Port, Receivers};
use crate::route::router::Router;
use crate::route::sessions::State;
use crate::time::Now;

impl ShareSpans {
    fn put(parcel: &mut Parcel, published: &Published<'_>, course: Course) -> Self {
        let message = &published.message;
        Self {
            sender: parcel.put_sender(&published.sender),
            channel: parcel.put_text(message.channel),
            payload: parcel.put_bytes(message.payload),
            attributes: parcel.put_bytes(message.attributes),
            course: parcel.put_bytes(&course.to_bytes()),
            qos: message.qos,
            retain: message.retain,
            expires: message.expires,
            awaited: course.awaited,
        }
    }

    fn course(&self, parcel: &Parcel) -> Course {
        Course::read(parcel.bytes(self.course), self.awaited)
    }

    fn read<'p>(&self, parcel: &'p Parcel) -> Published<'p> {
        let message = ChannelMessage {
            channel: parcel.text(self.channel),
            payload: parcel.bytes(self.payload),
            attributes: parcel.bytes(self.attributes),
            qos: self.qos,
            retain: self.retain,
            expires: self.expires,
        };
        published(message, parcel.sender(self.sender))
    }
}

/// A message that is for a group alone: its channel has been matched.
fn published<'a>(message: ChannelMessage<'a>, sender: Sender<'a>) -> Published<'a> {
    Published {
        message,
        hash: 0,
        sender,
        from: None,
        is_shown: false,
    }
}

fn len_bytes(published: &Published<'_>) -> usize {
    let message = &published.message;
    published.sender.address().len()
        + message.channel.len()
        + message.payload.len()
        + message.attributes.len()
}

impl Router {
    /// Reads a letter that is about groups.
    pub(in crate::route) fn follow_shared(
        &mut self,
        now: Now,
        port: &mut impl Port,
        from: u16,
        parcel: &Parcel,
        letter: &Letter,
    ) {
        let there = |key: SessionKey| SessionId { shard: from, key };
        match letter {
            Letter::MemberUp {
                member,
                group,
                qos,
                online,
                keeps,
                waits,
            } => {
                // A message that comes here may have to last there.
                if *keeps {
                    self.tell_keeping();
                }
                self.member_up(there(*member), group, *qos, *online);
                if *waits {
                    self.confirm_later(there(*member));
                }
            }
            Letter::MemberDown { member, group } => self.member_down(there(*member), *group),
            Letter::MemberState {
                member,
                group,
                online,
            } => self.groups.turn(*group, there(*member), *online),
            Letter::MemberIs { member } => self.member_is(port, *member),
            Letter::ShareGive { group, message } => {
                self.given(now, port, from, *group, parcel, message);
            }
            Letter::ShareBack {
                group,
                reason,
                message,
            } => {
                let mut course = message.course(parcel);
                if let (Some(place), Some(member)) = (self.groups.find(*group), course.tried.last()) {
                    self.passed_over(now, place, member, *reason, &mut course);
                }
                self.share_again(now, port, *group, &message.read(parcel), course, *reason);
            }
            Letter::ShareReturn { group, message } => {
                let awaited = message.awaited.map(|publish| {
                    let relay = self.awaited.relay(from, publish);
                    self.awaited.expect(relay, 1, Ok(Reach::Subscribers));
                    relay
                });
                let course = Course {
                    awaited,
                    ..message.course(parcel)
                };
                let gone = Undelivered::Gone;
                self.share_again(now, port, *group, &message.read(parcel), course, gone);
            }
            _ => {}
        }
    }

    /// Whether a message fits into what goes to another shard.
    pub(super) fn has_room_for(&self, shard: u16, published: &Published<'_>) -> bool {
        self.mesh.has_room(shard, len_bytes(published))
    }

    /// Has a member on another shard get a message.
    pub(super) fn hand_to(
        &mut self,
        member: SessionId,
        group: GroupId,
        published: &Published<'_>,
        mut course: Course,
    ) {
        course.tried.add(member);
        self.mesh.write(member.shard, |parcel| Letter::ShareGive {
            group,
            message: ShareSpans::put(parcel, published, course),
        });
    }

    /// Gives a message to a member of this shard.
    ///
    /// # Errors
    /// Why it did not take it.
    pub(super) fn give_here(
        &mut self,
        port: &mut impl Port,
        key: SessionKey,
        group: GroupId,
        published: &Published<'_>,
        left: Option<LeftId>,
    ) -> Result<(), Undelivered> {
        let entry = self.sessions.present(key).ok_or(Undelivered::Gone)?;
        let mut memberships = entry.memberships().iter();
        let membership = memberships
            .find(|membership| membership.group.id == group)
            .ok_or(Undelivered::Gone)?;
        let options = membership.options;
        let qos = published.message.qos.min(options.qos);
        if entry.state == State::Suspended && qos == Qos::AtMostOnce {
            return Err(Undelivered::Gone);
        }
        let delivery = Delivery::Channel {
            message: published.message,
            sender: published.sender,
            options,
            identifiers: match options.identifier {
                0 => &[],
                _ => std::slice::from_ref(&options.identifier),
            },
            share: Some(membership.group.share.borrowed()),
            is_shown: false,
        };
        let (app, before) = (&membership.group.app, port.written());
        port.begin_message(Receivers::One);
        match left {
            Some(left) => port.deliver_left(key, &delivery, left, app)?,
            None => port.deliver(key, &delivery)?,
        }
        if port.written() != before {
            port.note_group(app, &membership.group.share.borrowed());
        }
        self.metrics.channel_out.increment();
        Ok(())
    }

    /// A member here is to have a message; the home is told what it waits for, or gets the message back.
    fn given(
        &mut self,
        now: Now,
        port: &mut impl Port,
        home: u16,
        group: GroupId,
        parcel: &Parcel,
        message: &ShareSpans,
    ) {
        let (published, before) = (message.read(parcel), port.written());
        let course = message.course(parcel);
        if let Some(mark) = course.mark {
            port.mark(mark);
        }
        let result = if message.expires.is_some_and(|expires| expires <= now.instant) {
            self.metrics.dropped(Stage::Channel, DropReason::Expired);
            Ok(())
        } else {
            let to = course.tried.last().ok_or(Undelivered::Gone);
            to.and_then(|to| self.give_here(port, to.key, group, &published, course.left))
        };
        if course.mark.is_some() {
            port.marked();
        }
        let unstored = match result {
            Ok(()) => false,
            Err(reason) if self.mesh.has_reserved_room(home, len_bytes(&published)) => {
                return self.mesh.write(home, |parcel| Letter::ShareBack {
                    group,
                    reason,
                    message: ShareSpans::put(parcel, &published, course),
                });
            }
            Err(reason) => {
                self.metrics.dropped(Stage::Channel, drops::reason(reason));
                true
            }
        };
        let Some(publish) = message.awaited else { return };
        if port.written() != before {
            port.hold(home, publish);
        } else {
            self.answer_publish(port, home, publish, unstored);
        }
    }

    /// At home: a member did not take a message, or ended without having acknowledged it. Another one gets it.
    fn share_again(
        &mut self,
        now: Now,
        port: &mut impl Port,
        group: GroupId,
        published: &Published<'_>,
        course: Course,
        reason: Undelivered,
    ) {
        let before = port.written();
        if let Some(mark) = course.mark {
            port.mark(mark);
        }
        let expires = published.message.expires;
        let went = if expires.is_some_and(|expires| expires <= now.instant) {
            self.metrics.dropped(Stage::Channel, DropReason::Expired);
            Went::Nowhere { unstored: false }
        } else if let Some(place) = self.groups.find(group) {
            self.share(now, port, place, published, course, Some(reason))
        } else {
            self.metrics.dropped(Stage::Channel, DropReason::NoReceiver);
            Went::Nowhere { unstored: false }
        };
        if !matches!(went, Went::Nowhere { .. }) {
            self.metrics.share_redirected.increment();
        }
        if course.mark.is_some() {
            port.marked();
        }
        let Some(publish) = course.awaited else {
            return;
        };
        match went {
            Went::There => {}
            Went::Here if port.written() != before => port.hold(self.shard, publish),
            Went::Here => self.answer_publish(port, self.shard, publish, false),
            Went::Nowhere { unstored } => self.answer_publish(port, self.shard, publish, unstored),
        }
    }

    /// Takes a message back that a session of `app` had as a member of a group and that it ended with; after it left.
    /// [`Port::left_settled`] follows for one that is stored as what it `left`.
    pub fn take_back(
        &mut self,
        now: Now,
        port: &mut impl Port,
        app: &str,
        returned: &Returned,
        left: Option<LeftId>,
    ) {
        let Ok(sender) = Sender::parse(&returned.sender) else {
            self.metrics.dropped(Stage::Channel, DropReason::Invalid);
            if let Some(left) = left {
                port.left_settled(left, false);
            }
            return;
        };
        let published = published(returned.message(), sender);
        let group = GroupId::of(&self.placement, app, &returned.share.borrowed());
        let home = group.home(&self.placement);
        let awaited = left.map(|left| {
            let awaited = self.awaited.leave(left);
            self.awaited.expect(awaited, 1, Ok(Reach::Subscribers));
            awaited
        });
        let course = Course {
            awaited,
            left,
            ..Course::default()
        };
        if home == self.shard {
            self.share_again(now, port, group, &published, course, Undelivered::Gone);
        } else if self.mesh.has_reserved_room(home, len_bytes(&published)) {
            self.mesh.write(home, |parcel| Letter::ShareReturn {
                group,
                message: ShareSpans::put(parcel, &published, course),
            });
        } else if let Some(publish) = awaited {
            self.publish_answered(port, publish, true);
        } else {
            self.metrics.dropped(Stage::Mesh, DropReason::MeshFull);
        }
    }

    /// Gives a message that a session left to the member that was chosen for it, now that nothing else holds it; to
    /// another one if that one is gone.
    pub fn give_chosen(
        &mut self,
        now: Now,
        port: &mut impl Port,
        member: SessionKey,
        app: &str,
        returned: &Returned,
    ) {
        let given = Sender::parse(&returned.sender).is_ok_and(|sender| {
            let published = published(returned.message(), sender);
            let group = GroupId::of(&self.placement, app, &returned.share.borrowed());
            self.give_here(port, member, group, &published, None).is_ok()
        });
        if !given {
            self.take_back(now, port, app, returned, None);
        }
    }
}
