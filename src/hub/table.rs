//! The shard's sessions: a table of slots with generations.
//!
//! Invariant: a slot is reused only after its connection was reported closed, and its generation moves on then;
//! a key that was handed out never reaches a successor.

use std::net::IpAddr;

use crate::route::port::TimerHandle;
use crate::route::{Bind, SessionKey};
use crate::session::Session;
use crate::store::Admitted;
use crate::time::Instant;

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing proven.
    Opening,
    /// The control thread decides about its login.
    LoggingIn,
    /// Logged in; its address is being claimed.
    Claiming,
    /// On its way to the shard that its session lives on.
    Moving,
    /// May send and receive.
    Attached,
    /// Goes on without a connection.
    Offline,
    /// Said or was told good-bye; its connection is closing.
    Closing,
}

/// What is kept about a session only until it is attached, of most protocols.
#[derive(Debug)]
pub(super) struct Prelogin {
    /// Where it came from.
    pub peer: IpAddr,
    /// The account it claims to be.
    pub account: Box<str>,
    /// The resource it will have.
    pub resource: Box<str>,
    /// It logs in in two steps: the proof first, then the address.
    pub two_steps: bool,
    /// It takes no part in a fight for an address.
    pub damped: bool,
    /// It may prove itself anew once it is attached; then all this is kept.
    pub renewable: bool,
    /// It is attached, and the control thread decides whether it still is who it was.
    pub renewing: bool,
    /// What the first of two steps came to.
    pub proven: Option<Box<Admitted>>,
    /// Bytes it holds of the shard's pool for long CONNECTs.
    pub pooled: usize,
    /// What ends its connection when its proof is good no longer; then all this is kept, too.
    pub expiry: Option<TimerHandle>,
}

impl Prelogin {
    /// The address that the session wants.
    pub(super) fn wants(&mut self, bind: &Bind<'_>) {
        self.resource = bind.resource.into();
        self.damped = bind.damped;
        self.renewable = bind.renewable;
    }
}

/// One session with its connection.
#[derive(Debug)]
pub(super) struct Entry<C, P> {
    pub session: Box<P>,
    pub conn: C,
    pub state: State,
    /// It may outlive its connection.
    pub kept: bool,
    /// The session's one timer and what it is armed for.
    pub timer: Option<(Instant, TimerHandle)>,
    pub prelogin: Option<Box<Prelogin>>,
}

impl<C, P: Session> Entry<C, P> {
    /// Whether the session's next time-out is earlier than what its timer is armed for.
    pub(super) fn wants_earlier_timer(&self) -> bool {
        let armed = self.timer.map(|(at, _)| at);
        self.session
            .next_timeout()
            .is_some_and(|at| armed.is_none_or(|armed| at < armed))
    }
}

#[derive(Debug)]
struct Slot<C, P> {
    generation: u32,
    entry: Option<Entry<C, P>>,
}

/// The sessions of one shard.
#[derive(Debug)]
pub(super) struct Table<C, P> {
    slots: Vec<Slot<C, P>>,
    free: Vec<u32>,
}

impl<C, P> Default for Table<C, P> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<C, P> Table<C, P> {
    /// Takes a slot. `None` if 2^32 slots are taken.
    pub(super) fn insert(&mut self, entry: Entry<C, P>) -> Option<SessionKey> {
        if let Some(slot) = self.free.pop() {
            let place = self.slots.get_mut(slot as usize)?;
            place.entry = Some(entry);
            return Some(SessionKey {
                slot,
                generation: place.generation,
            });
        }
        let slot = u32::try_from(self.slots.len()).ok()?;
        self.slots.push(Slot {
            generation: 0,
            entry: Some(entry),
        });
        Some(SessionKey { slot, generation: 0 })
    }

    /// The session that has this slot now.
    pub(super) fn key(&self, slot: u32) -> Option<SessionKey> {
        let place = self.slots.get(slot as usize)?;
        place.entry.as_ref()?;
        Some(SessionKey {
            slot,
            generation: place.generation,
        })
    }

    /// The session of a key; `None` if the key is stale.
    pub(super) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Entry<C, P>> {
        let place = self.slots.get_mut(key.slot as usize)?;
        if place.generation == key.generation {
            place.entry.as_mut()
        } else {
            None
        }
    }

    /// Frees the slot.
    pub(super) fn remove(&mut self, key: SessionKey) -> Option<Entry<C, P>> {
        let place = self.slots.get_mut(key.slot as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let entry = place.entry.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.slot);
        Some(entry)
    }

    /// The keys of all sessions.
    pub(super) fn keys(&self) -> Vec<SessionKey> {
        (0u32..)
            .zip(&self.slots)
            .filter(|(_, place)| place.entry.is_some())
            .map(|(slot, place)| SessionKey {
                slot,
                generation: place.generation,
            })
            .collect()
    }

    /// How many sessions there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &'static str) -> Entry<(), &'static str> {
        Entry {
            session: Box::new(name),
            conn: (),
            state: State::Opening,
            kept: false,
            timer: None,
            prelogin: None,
        }
    }

    #[test]
    fn a_stale_key_never_reaches_a_successor() {
        let mut table = Table::default();
        let first = table.insert(entry("first")).unwrap();
        assert!(table.remove(first).is_some());
        let second = table.insert(entry("second")).unwrap();
        assert_eq!(second.slot, first.slot);
        assert!(table.get_mut(first).is_none());
        assert!(table.remove(first).is_none());
        assert_eq!(*table.get_mut(second).unwrap().session, "second");
        assert_eq!((table.keys(), table.len()), (vec![second], 1));
    }
}
