//! Shared subscriptions (MQTT 5.0, 4.8.2): a group of sessions of one app, of whom one gets each message.
//!
//! Invariants: a group has one home shard, which knows its members on all shards, hears its channels for them and
//! chooses; a member's shard knows what its own sessions are members of. The home is told in letters, so it may choose a
//! member that is gone: that one's shard sends the message back, and the home chooses another. Whoever waits for the
//! message to last is answered once, by the home, whichever member has it in the end.

mod course;
mod giving;
mod groups;
mod home;
mod members;

pub(crate) use self::course::Course;
use self::course::Tried;
pub(super) use self::groups::Groups;
pub(super) use self::members::{Membership, Memberships};
use super::channels::subscribers::Pattern;
use super::hashes::Placement;
use super::identity::Sender;
use super::message::{ChannelMessage, Qos, Share};
use crate::time::Instant;

/// Stands for a group in letters and tables: a keyed hash of its app, its name, its filter, whom it hears and its form.
/// Two groups would share one with 1e-8 for a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GroupId(pub(super) u64);

impl GroupId {
    pub(super) fn of(placement: &Placement, app: &str, share: &Share<'_>) -> Self {
        Self(placement.share(app, share))
    }

    /// The shard that the group is at home on.
    pub(super) fn home(self, placement: &Placement) -> u16 {
        placement.home(self.0)
    }
}

/// [`Share`], owned.
#[derive(Debug)]
pub struct OwnedShare {
    name: Box<str>,
    filter: Box<str>,
    from: Option<Box<Pattern>>,
    form: u8,
}

impl From<Share<'_>> for OwnedShare {
    fn from(share: Share<'_>) -> Self {
        Self {
            name: share.name.into(),
            filter: share.filter.into(),
            from: Pattern::of(&share.from),
            form: share.form,
        }
    }
}

impl OwnedShare {
    /// As it is told to others.
    pub fn borrowed(&self) -> Share<'_> {
        Share {
            name: &self.name,
            filter: &self.filter,
            from: self
                .from
                .as_deref()
                .map_or_else(Default::default, Pattern::borrowed),
            form: self.form,
        }
    }

    fn admits(&self, sender: &Sender<'_>) -> bool {
        self.from.as_deref().is_none_or(|pattern| pattern.admits(sender))
    }
}

/// Which group it is: the same value on its home and where its members are.
#[derive(Debug)]
pub(crate) struct Group {
    pub(super) id: GroupId,
    pub(super) app: Box<str>,
    pub(super) share: OwnedShare,
}

impl Group {
    /// Bytes it takes, for the bound of parcels.
    pub(super) fn len_bytes(&self) -> usize {
        size_of::<Self>() + self.app.len() + self.share.name.len() + self.share.filter.len()
    }
}

/// A message that a session had as a member of a group and gives back, because it ends: its client has not
/// acknowledged it, or has never been sent it.
#[derive(Debug)]
pub struct Returned {
    /// The group.
    pub share: OwnedShare,
    /// The sender's address.
    pub sender: Box<str>,
    /// See [`ChannelMessage::channel`].
    pub channel: Box<str>,
    /// See [`ChannelMessage::payload`].
    pub payload: Box<[u8]>,
    /// See [`ChannelMessage::attributes`].
    pub attributes: Box<[u8]>,
    /// The sender's guarantee.
    pub qos: Qos,
    /// Whether the sender asked to retain it.
    pub retain: bool,
    /// When it is no longer worth delivering.
    pub expires: Option<Instant>,
    /// Its number among those that are stored of the session; none if it is not.
    pub seq: Option<u64>,
}

impl Returned {
    /// What a member of a group is to be given later.
    pub fn new(message: &ChannelMessage<'_>, sender: &Sender<'_>, share: Share<'_>) -> Self {
        Self {
            share: share.into(),
            sender: sender.address().into(),
            channel: message.channel.into(),
            payload: message.payload.into(),
            attributes: message.attributes.into(),
            qos: message.qos,
            retain: message.retain,
            expires: message.expires,
            seq: None,
        }
    }

    pub(super) fn message(&self) -> ChannelMessage<'_> {
        ChannelMessage {
            channel: &self.channel,
            payload: &self.payload,
            attributes: &self.attributes,
            qos: self.qos,
            retain: self.retain,
            expires: self.expires,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nexus_2_3_groups_are_per_app_name_filter_and_form() {
        let placement = Placement::new(7, 8);
        let share = Share {
            name: "g",
            filter: "a/b",
            from: Default::default(),
            form: 0,
        };
        let id = |app, share| GroupId::of(&placement, app, &share);
        assert_eq!(id("etest", share), id("etest", share));
        for other in [
            id("web", share),
            id("etest", Share { name: "ga", ..share }),
            id(
                "etest",
                Share {
                    filter: "a/c",
                    ..share
                },
            ),
            id("etest", Share { form: 1, ..share }),
        ] {
            assert_ne!(id("etest", share), other);
        }
        let owned = OwnedShare::from(share);
        assert_eq!(owned.borrowed(), share);
    }
}
