//! Whom a block has been shown in its rooms: the senders of the last messages there.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::limits;

/// A sender in a room.
#[derive(Debug)]
struct Entry {
    /// Of room and address: most entries are told apart without looking at their texts.
    hash: u64,
    /// When the sender was last heard, counted in messages.
    heard: u64,
    room: u32,
    address: Box<str>,
}

/// The senders that a block knows, at most [`limits::XMPP_INTRODUCED_MAX`] in all its rooms.
#[derive(Debug, Default)]
pub(super) struct Introduced {
    entries: Vec<Entry>,
    /// Messages so far.
    messages: u64,
}

/// What a message means for whom the block knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acquaintance {
    /// Its sender is known.
    Known,
    /// Its sender is to be introduced.
    New {
        /// Who is forgotten for it: the room's number, and the address without a domain.
        forgotten: Option<(u32, Box<str>)>,
    },
}

impl Introduced {
    /// A message comes from `address`, without a domain, in the room of this number.
    pub(super) fn meet(&mut self, room: u32, address: &str) -> Acquaintance {
        self.messages += 1;
        if let Some(at) = self.position(room, address)
            && let Some(entry) = self.entries.get_mut(at)
        {
            entry.heard = self.messages;
            return Acquaintance::Known;
        }
        let forgotten = self.make_room();
        self.entries.push(Entry {
            hash: hash(room, address),
            heard: self.messages,
            room,
            address: address.into(),
        });
        Acquaintance::New { forgotten }
    }

    fn position(&self, room: u32, address: &str) -> Option<usize> {
        let hash = hash(room, address);
        let mut entries = self.entries.iter();
        entries.position(|entry| entry.hash == hash && entry.room == room && *entry.address == *address)
    }

    /// Somebody is in the room's own list from now on, or in none. Whether it was known here.
    pub(super) fn take(&mut self, room: u32, address: &str) -> bool {
        let at = self.position(room, address);
        if let Some(at) = at {
            self.entries.swap_remove(at);
        }
        at.is_some()
    }

    /// Forgets who was silent longest if there is no room for another one.
    fn make_room(&mut self) -> Option<(u32, Box<str>)> {
        if self.entries.len() < limits::XMPP_INTRODUCED_MAX {
            return None;
        }
        let entries = self.entries.iter().enumerate();
        let (oldest, _) = entries.min_by_key(|(_, entry)| entry.heard)?;
        let entry = self.entries.swap_remove(oldest);
        Some((entry.room, entry.address))
    }

    /// What it takes in memory.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let texts = self.entries.iter().map(|entry| entry.address.len());
        self.entries.capacity() * size_of::<Entry>() + texts.sum::<usize>()
    }

    /// The block begins anew in the room of this number. Whom it knew there.
    pub(super) fn drain(&mut self, room: u32) -> Vec<Box<str>> {
        let known = self.entries.extract_if(.., |entry| entry.room == room);
        known.map(|entry| entry.address).collect()
    }

    /// The block has left the room of this number.
    pub(super) fn forget(&mut self, room: u32) {
        self.entries.retain(|entry| entry.room != room);
    }
}

fn hash(room: u32, address: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (room, address).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forgets(room: u32, address: &str) -> Acquaintance {
        Acquaintance::New {
            forgotten: Some((room, address.into())),
        }
    }

    const NEW: Acquaintance = Acquaintance::New { forgotten: None };

    #[test]
    fn who_was_silent_longest_is_forgotten() {
        let mut introduced = Introduced::default();
        for n in 0..limits::XMPP_INTRODUCED_MAX {
            assert_eq!(introduced.meet(1, &n.to_string()), NEW);
        }
        assert_eq!(introduced.meet(1, "0"), Acquaintance::Known);
        assert_eq!(introduced.meet(1, "another"), forgets(1, "1"));
        assert_eq!(introduced.meet(1, "0"), Acquaintance::Known);
        assert_eq!(introduced.meet(1, "1"), forgets(1, "2"));
        assert_eq!(introduced.entries.len(), limits::XMPP_INTRODUCED_MAX);
    }

    #[test]
    fn a_sender_is_known_in_one_room_and_not_in_another() {
        let mut introduced = Introduced::default();
        assert_eq!(introduced.meet(1, "a"), NEW);
        assert_eq!(introduced.meet(2, "a"), NEW);
        assert_eq!(introduced.meet(1, "a"), Acquaintance::Known);
        introduced.forget(1);
        assert_eq!(introduced.meet(2, "a"), Acquaintance::Known);
        assert_eq!(introduced.meet(1, "a"), NEW);
    }
}
