//! The shard's sessions: a table of slots with generations.
//!
//! Invariant: a slot is reused only after its connection was reported closed, and its generation moves on then;
//! a key that was handed out never reaches a successor.

use std::net::IpAddr;

use crate::route::port::TimerHandle;
use crate::route::{Bind, Resume, SessionKey};
use crate::session::Session;
use crate::store::Admitted;
use crate::time::{Instant, MaybeInstant};

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
    /// The session that it wants to go on with in the place of taking an address.
    pub resuming: Option<Resume>,
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

/// A session's one timer and what it is armed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    at: MaybeInstant,
    handle: TimerHandle,
}

impl Timer {
    const NONE: Self = Self {
        at: MaybeInstant::NONE,
        handle: TimerHandle(0),
    };

    /// A timer that is armed for `at`.
    pub(super) const fn armed(at: Instant, handle: TimerHandle) -> Self {
        Self {
            at: MaybeInstant::at(at),
            handle,
        }
    }

    /// What it is armed for, and its handle, if it is armed.
    pub(super) fn get(self) -> Option<(Instant, TimerHandle)> {
        self.at.get().map(|at| (at, self.handle))
    }

    /// Its handle, if it was armed. It is not from now on.
    pub(super) fn take(&mut self) -> Option<TimerHandle> {
        let taken = std::mem::replace(self, Self::NONE);
        taken.get().map(|(_, handle)| handle)
    }
}

/// One session with its connection.
#[derive(Debug)]
pub(super) struct Entry<C, P> {
    pub session: P,
    pub conn: C,
    pub timer: Timer,
    pub prelogin: Option<Box<Prelogin>>,
    /// The table's: which of its slot's sessions it is.
    pub generation: u32,
    pub state: State,
    /// It may outlive its connection.
    pub kept: bool,
}

impl<C, P> Entry<C, P> {
    /// A session that is not kept, without a timer.
    pub(super) fn new(session: P, conn: C, state: State) -> Self {
        Self {
            session,
            conn,
            timer: Timer::NONE,
            prelogin: None,
            generation: 0,
            state,
            kept: false,
        }
    }
}

impl<C, P: Session> Entry<C, P> {
    /// Whether the session's next time-out is earlier than what its timer is armed for.
    pub(super) fn wants_earlier_timer(&self) -> bool {
        let armed = self.timer.get().map(|(at, _)| at);
        self.session
            .next_timeout()
            .is_some_and(|at| armed.is_none_or(|armed| at < armed))
    }
}

#[derive(Debug)]
enum Slot<C, P> {
    /// With the generation of the next session.
    Free(u32),
    Taken(Entry<C, P>),
}

impl<C, P> Slot<C, P> {
    fn taken(&self) -> Option<&Entry<C, P>> {
        match self {
            Self::Taken(entry) => Some(entry),
            Self::Free(_) => None,
        }
    }
}

/// Sessions stand in chunks that never move: a table that grew as a whole would hold its shard, and its earlier places
/// would be memory that is not given back.
const CHUNK: usize = 4_096;

/// The sessions of one shard.
#[derive(Debug)]
pub(super) struct Table<C, P> {
    chunks: Vec<Vec<Slot<C, P>>>,
    free: Vec<u32>,
    used: u32,
}

impl<C, P> Default for Table<C, P> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            used: 0,
        }
    }
}

impl<C, P> Table<C, P> {
    /// Takes a slot. `None` if 2^32 slots are taken.
    pub(super) fn insert(&mut self, mut entry: Entry<C, P>) -> Option<SessionKey> {
        if let Some(slot) = self.free.pop() {
            let place = self.slot_mut(slot)?;
            if let Slot::Free(generation) = place {
                entry.generation = *generation;
            }
            let generation = entry.generation;
            *place = Slot::Taken(entry);
            return Some(SessionKey { slot, generation });
        }
        let slot = self.used;
        self.used = slot.checked_add(1)?;
        if (slot as usize).is_multiple_of(CHUNK) {
            // Room for the whole chunk at once. Pages that nobody touches cost nothing.
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks.last_mut()?.push(Slot::Taken(entry));
        Some(SessionKey { slot, generation: 0 })
    }

    fn slot(&self, slot: u32) -> Option<&Slot<C, P>> {
        let chunk = self.chunks.get(slot as usize / CHUNK)?;
        chunk.get(slot as usize % CHUNK)
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot<C, P>> {
        let chunk = self.chunks.get_mut(slot as usize / CHUNK)?;
        chunk.get_mut(slot as usize % CHUNK)
    }

    /// The session that has this slot now.
    pub(super) fn key(&self, slot: u32) -> Option<SessionKey> {
        let generation = self.slot(slot)?.taken()?.generation;
        Some(SessionKey { slot, generation })
    }

    /// The session of a key; `None` if the key is stale.
    pub(super) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Entry<C, P>> {
        match self.slot_mut(key.slot)? {
            Slot::Taken(entry) if entry.generation == key.generation => Some(entry),
            _ => None,
        }
    }

    /// Frees the slot.
    pub(super) fn remove(&mut self, key: SessionKey) -> Option<Entry<C, P>> {
        let place = self.slot_mut(key.slot)?;
        let is_it = place
            .taken()
            .is_some_and(|entry| entry.generation == key.generation);
        if !is_it {
            return None;
        }
        match std::mem::replace(place, Slot::Free(key.generation.wrapping_add(1))) {
            Slot::Taken(entry) => {
                self.free.push(key.slot);
                Some(entry)
            }
            Slot::Free(_) => None,
        }
    }

    /// The keys of all sessions.
    pub(super) fn keys(&self) -> Vec<SessionKey> {
        (0..self.used).filter_map(|slot| self.key(slot)).collect()
    }

    /// How many sessions there are.
    pub(super) fn len(&self) -> usize {
        self.used as usize - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::any::AnySession;

    fn entry(name: &'static str) -> Entry<(), &'static str> {
        Entry::new(name, (), State::Opening)
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
        assert_eq!(table.get_mut(second).unwrap().session, "second");
        assert_eq!((table.keys(), table.len()), (vec![second], 1));
    }

    #[test]
    fn a_slot_costs_its_session_and_40_bytes() {
        assert_eq!(size_of::<Slot<u64, AnySession>>(), size_of::<AnySession>() + 40);
    }

    #[test]
    fn sessions_never_move() {
        let mut table = Table::default();
        let first = table.insert(entry("first")).unwrap();
        let address = std::ptr::from_ref(table.get_mut(first).unwrap());
        let keys: Vec<_> = (0..CHUNK * 2)
            .map(|_| table.insert(entry("more")).unwrap())
            .collect();
        assert_eq!(std::ptr::from_ref(table.get_mut(first).unwrap()), address);
        for key in keys.iter().step_by(2) {
            assert_eq!(table.remove(*key).map(|entry| entry.session), Some("more"));
        }
        assert_eq!((table.len(), table.keys().len()), (CHUNK + 1, CHUNK + 1));
        assert!(table.key(keys[0].slot).is_none() && table.key(keys[1].slot) == Some(keys[1]));
    }
}
