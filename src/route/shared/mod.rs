//! Shared subscriptions (MQTT 5.0, 4.8.2): a group of sessions of one app, of whom one gets each message.
//!
//! Invariants: a group has one home shard, which knows its members on all shards, hears its channels for them and
//! chooses; a member's shard knows what its own sessions are members of. The home is told in letters, so it may choose a
//! member that is gone: that one's shard sends the message back, and the home chooses another. Whoever waits for the
//! message to last is answered once, by the home, whichever member has it in the end.

mod giving;
mod groups;
mod home;
mod members;

pub(super) use self::groups::Groups;
pub(super) use self::members::{Membership, Memberships};
use super::channels::subscriptions::Pattern;
use super::hashes::Placement;
use super::identity::Sender;
use super::message::{ChannelMessage, Qos, SessionId, SessionKey, Share};
use crate::limits;
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
}

impl Returned {
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

/// Members that a message was offered to: in vain, but for the last one of a message on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tried {
    members: [Option<SessionId>; limits::SHARE_TRIES_MAX],
}

impl Tried {
    /// It is offered to one more.
    fn add(&mut self, member: SessionId) {
        if !self.contains(member)
            && let Some(free) = self.members.iter_mut().find(|place| place.is_none())
        {
            *free = Some(member);
        }
    }

    fn last(&self) -> Option<SessionId> {
        self.members.iter().flatten().last().copied()
    }

    fn contains(&self, member: SessionId) -> bool {
        self.members.contains(&Some(member))
    }

    /// No other member is offered it.
    fn is_full(&self) -> bool {
        self.members.iter().all(Option::is_some)
    }

    /// As bytes of a parcel.
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for member in self.members.into_iter().flatten() {
            bytes.extend_from_slice(&member.shard.to_le_bytes());
            bytes.extend_from_slice(&member.key.slot.to_le_bytes());
            bytes.extend_from_slice(&member.key.generation.to_le_bytes());
        }
        bytes
    }

    fn read(mut bytes: &[u8]) -> Self {
        let mut tried = Self::default();
        while let Some((shard, rest)) = bytes.split_first_chunk()
            && let Some((slot, rest)) = rest.split_first_chunk()
            && let Some((generation, rest)) = rest.split_first_chunk()
        {
            tried.add(SessionId {
                shard: u16::from_le_bytes(*shard),
                key: SessionKey {
                    slot: u32::from_le_bytes(*slot),
                    generation: u32::from_le_bytes(*generation),
                },
            });
            bytes = rest;
        }
        tried
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_tried_crosses_the_mesh() {
        let member = |n: u16| SessionId {
            shard: n,
            key: SessionKey {
                slot: 70_000 + u32::from(n),
                generation: 9,
            },
        };
        let mut tried = Tried::default();
        for n in 0..3 {
            assert!(!tried.is_full() && !tried.contains(member(n)));
            tried.add(member(n));
            tried.add(member(n));
            assert_eq!(tried.last(), Some(member(n)));
            assert_eq!(Tried::read(&tried.to_bytes()), tried);
        }
        assert!(tried.is_full() && tried.contains(member(1)) && !tried.contains(member(3)));
    }

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
