//! Messages of groups on their way: to a member's shard, back from it, and back from a session that ended.

use super::home::Went;
use super::{GroupId, Returned, Tried};
use crate::observe::{DropReason, Stage};
use crate::route::awaited::PublishId;
use crate::route::channels::matching::Published;
use crate::route::drops;
use crate::route::identity::Sender;
use crate::route::letter::{Letter, ShareSpans};
use crate::route::message::{ChannelMessage, Delivery, Qos, SessionId, SessionKey, Undelivered};
use crate::route::parcel::Parcel;
use crate::route::port::Port;
use crate::route::router::Router;
use crate::route::sessions::State;
use crate::time::Now;

impl ShareSpans {
    fn put(parcel: &mut Parcel, published: &Published<'_>, awaited: Option<PublishId>, tried: Tried) -> Self {
        let message = &published.message;
        Self {
            sender: parcel.put_sender(&published.sender),
            channel: parcel.put_text(message.channel),
            payload: parcel.put_bytes(message.payload),
            attributes: parcel.put_bytes(message.attributes),
            tried: parcel.put_bytes(&tried.to_bytes()),
            qos: message.qos,
            retain: message.retain,
            expires: message.expires,
            awaited,
        }
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
                let mut tried = Tried::read(parcel.bytes(message.tried));
                if let (Some(place), Some(member)) = (self.groups.find(*group), tried.last()) {
                    self.passed_over(now, place, member, *reason, &mut tried);
                }
                let published = message.read(parcel);
                self.share_again(now, port, *group, &published, (tried, *reason), message.awaited);
            }
            Letter::ShareReturn { group, message } => {
                let (published, gone) = (message.read(parcel), (Tried::default(), Undelivered::Gone));
                self.share_again(now, port, *group, &published, gone, None);
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
        awaited: Option<PublishId>,
        mut tried: Tried,
    ) {
        tried.add(member);
        self.mesh.write(member.shard, |parcel| Letter::ShareGive {
            group,
            message: ShareSpans::put(parcel, published, awaited, tried),
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
        };
        port.begin_message();
        port.deliver(key, &delivery)?;
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
        let tried = Tried::read(parcel.bytes(message.tried));
        let to = tried.last();
        let result = if message.expires.is_some_and(|expires| expires <= now.instant) {
            self.metrics.dropped(Stage::Channel, DropReason::Expired);
            Ok(())
        } else {
            to.ok_or(Undelivered::Gone)
                .and_then(|to| self.give_here(port, to.key, group, &published))
        };
        let unstored = match result {
            Ok(()) => false,
            Err(reason) if self.mesh.has_reserved_room(home, len_bytes(&published)) => {
                let awaited = message.awaited;
                return self.mesh.write(home, |parcel| Letter::ShareBack {
                    group,
                    reason,
                    message: ShareSpans::put(parcel, &published, awaited, tried),
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
        (tried, reason): (Tried, Undelivered),
        awaited: Option<PublishId>,
    ) {
        let before = port.written();
        let expires = published.message.expires;
        let went = if expires.is_some_and(|expires| expires <= now.instant) {
            self.metrics.dropped(Stage::Channel, DropReason::Expired);
            Went::Nowhere { unstored: false }
        } else if let Some(place) = self.groups.find(group) {
            self.share(now, port, place, published, awaited, tried, Some(reason))
        } else {
            self.metrics.dropped(Stage::Channel, DropReason::NoReceiver);
            Went::Nowhere { unstored: false }
        };
        if !matches!(went, Went::Nowhere { .. }) {
            self.metrics.share_redirected.increment();
        }
        let Some(publish) = awaited else { return };
        match went {
            Went::There => {}
            Went::Here if port.written() != before => port.hold(self.shard, publish),
            Went::Here => self.answer_publish(port, self.shard, publish, false),
            Went::Nowhere { unstored } => self.answer_publish(port, self.shard, publish, unstored),
        }
    }

    /// Takes a message back that a session of `app` had as a member of a group and that it ended with; after it left.
    pub fn take_back(&mut self, now: Now, port: &mut impl Port, app: &str, returned: &Returned) {
        let Ok(sender) = Sender::parse(&returned.sender) else {
            self.metrics.dropped(Stage::Channel, DropReason::Invalid);
            return;
        };
        let published = published(returned.message(), sender);
        let group = GroupId::of(&self.placement, app, &returned.share.borrowed());
        let home = group.home(&self.placement);
        let gone = (Tried::default(), Undelivered::Gone);
        if home == self.shard {
            self.share_again(now, port, group, &published, gone, None);
        } else if self.mesh.has_reserved_room(home, len_bytes(&published)) {
            self.mesh.write(home, |parcel| Letter::ShareReturn {
                group,
                message: ShareSpans::put(parcel, &published, None, Tried::default()),
            });
        } else {
            self.metrics.dropped(Stage::Mesh, DropReason::MeshFull);
        }
    }
}
