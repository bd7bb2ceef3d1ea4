//! Who takes Direct messages, at the home shard of each name (PROTOCOL 2.2).
//!
//! Where several blocks of an app hold one resource, the requester's own uid wins, then role `owner`, then the
//! oldest session: two ordered sets answer that in logarithmic time, however many hold the name. There is no third
//! table by session: who leaves says again what it came with.

use std::collections::BTreeSet;

use super::identity::{Account, Role, Uid};
use super::message::{SessionId, SessionKey};
use crate::time::Instant;

/// A block that takes Direct messages. Ordered by preference among those of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    is_not_owner: bool,
    since: Instant,
    session: SessionId,
    role: Role,
}

/// What a session comes to the index with, and leaves it with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// The session.
    pub(crate) session: SessionId,
    /// The name it is found under.
    pub(crate) name: u64,
    /// Its user.
    pub(crate) uid: Uid,
    /// Its role.
    pub(crate) role: Role,
    /// When it began.
    pub(crate) since: Instant,
}

impl Held {
    const fn holder(&self) -> Holder {
        Holder {
            is_not_owner: !matches!(self.role, Role::Owner),
            since: self.since,
            session: self.session,
            role: self.role,
        }
    }
}

/// The names at home on this shard and who holds them.
#[derive(Debug, Default)]
pub(crate) struct DirectIndex {
    all: BTreeSet<(u64, Holder)>,
    by_user: BTreeSet<(Uid, u64, Holder)>,
}

/// Before every holder.
const FIRST: Holder = Holder {
    is_not_owner: false,
    since: Instant::from_nanos(0),
    session: SessionId {
        shard: 0,
        key: SessionKey {
            slot: 0,
            generation: 0,
        },
    },
    role: Role::Owner,
};

impl DirectIndex {
    /// A block takes Direct messages under a name.
    pub(crate) fn up(&mut self, held: &Held) {
        self.all.insert((held.name, held.holder()));
        self.by_user.insert((held.uid, held.name, held.holder()));
    }

    /// It does not any more.
    pub(crate) fn down(&mut self, held: &Held) {
        self.all.remove(&(held.name, held.holder()));
        self.by_user.remove(&(held.uid, held.name, held.holder()));
    }

    /// The block to which a message of `sender` for `name` goes.
    pub(crate) fn find(&self, name: u64, sender: Uid) -> Option<SessionId> {
        self.of_user(name, sender)
            .next()
            .or_else(|| {
                let (at, holder) = self.all.range((name, FIRST)..).next()?;
                (*at == name).then_some(holder)
            })
            .map(|holder| holder.session)
    }

    /// The block of this account.
    pub(crate) fn find_account(&self, name: u64, account: &Account<'_>) -> Option<SessionId> {
        self.of_user(name, account.uid)
            .find(|holder| holder.role == account.role)
            .map(|holder| holder.session)
    }

    /// The blocks here whose user and role are those of an account. Of which app they are, they know themselves.
    pub(crate) fn of_account(&self, uid: Uid, role: Role) -> impl Iterator<Item = SessionId> + '_ {
        self.by_user
            .range((uid, 0, FIRST)..)
            .take_while(move |(user, ..)| *user == uid)
            .filter(move |(_, _, holder)| holder.role == role)
            .map(|(_, _, holder)| holder.session)
    }

    fn of_user(&self, name: u64, uid: Uid) -> impl Iterator<Item = &Holder> {
        self.by_user
            .range((uid, name, FIRST)..)
            .take_while(move |(user, at, _)| (*at, *user) == (name, uid))
            .map(|(_, _, holder)| holder)
    }

    /// Blocks that take Direct messages.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        debug_assert_eq!(self.all.len(), self.by_user.len());
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(slot: u32) -> SessionId {
        let key = SessionKey { slot, generation: 0 };
        SessionId { shard: 0, key }
    }

    fn uid(n: u8) -> Uid {
        Uid::parse(&format!("{n:024x}")).unwrap()
    }

    /// The holder in slot 1..=5.
    fn held(slot: u32) -> Held {
        let (user, role, since) = match slot {
            1 => (1, Role::User, 10),
            2 => (2, Role::Partner, 20),
            3 => (3, Role::Owner, 30),
            4 => (4, Role::Owner, 40),
            _ => (2, Role::User, 5),
        };
        Held {
            session: session(slot),
            name: 77,
            uid: uid(user),
            role,
            since: Instant::from_nanos(since),
        }
    }

    fn index() -> DirectIndex {
        let mut index = DirectIndex::default();
        (1..6).for_each(|slot| index.up(&held(slot)));
        index
    }

    #[test]
    fn p2_2_own_uid_wins_then_owner_then_the_oldest() {
        let mut index = index();
        assert_eq!(index.find(77, uid(1)), Some(session(1)));
        assert_eq!(index.find(77, uid(2)), Some(session(5)));
        assert_eq!(index.find(77, uid(9)), Some(session(3)));
        index.down(&held(3));
        assert_eq!(index.find(77, uid(9)), Some(session(4)));
        index.down(&held(4));
        assert_eq!(index.find(77, uid(9)), Some(session(5)));
        assert_eq!(index.find(76, uid(9)), None);
        assert_eq!(index.find(78, uid(9)), None);
        for slot in 1..6 {
            index.down(&held(slot));
        }
        assert_eq!((index.len(), index.find(77, uid(9))), (0, None));
    }

    #[test]
    fn p2_2_a_full_address_finds_its_account_alone() {
        let index = index();
        let find = |user: u8, role: &str| {
            let name = format!("etest-{user:024x}-{role}");
            index.find_account(77, &Account::parse(&name).unwrap())
        };
        assert_eq!(find(2, "user"), Some(session(5)));
        assert_eq!(find(2, "partner"), Some(session(2)));
        assert_eq!(find(2, "owner"), None);
        assert_eq!(find(9, "owner"), None);
    }
}
