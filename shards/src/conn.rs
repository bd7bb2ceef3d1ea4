//! The table of connections.
//!
//! Invariant: a slot is given to another connection only after its receive and its send have both ended, the
//! socket is closed and the app has been told; the generation moves on then. So no completion and no id ever
//! reaches a successor.

#![expect(unsafe_code, reason = "sockets are kept as bare descriptors, four bytes each")]

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::app::ConnId;
use crate::outq::OutQueue;
use crate::tls::Tls;

/// What is true of a connection; several at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    /// The slot is in use.
    pub(crate) const OPEN: Self = Self(1);
    /// The app knows it and has not been told its end.
    pub(crate) const KNOWN: Self = Self(1 << 1);
    /// A multishot receive is with the kernel.
    pub(crate) const RECEIVING: Self = Self(1 << 2);
    /// That receive is being cancelled.
    pub(crate) const CANCELLING: Self = Self(1 << 3);
    /// A send is with the kernel.
    pub(crate) const SENDING: Self = Self(1 << 4);
    /// In the list of those with something to send.
    pub(crate) const DIRTY: Self = Self(1 << 5);
    /// In the list of those to be armed again.
    pub(crate) const REARMING: Self = Self(1 << 6);
    /// The app asked not to be called.
    pub(crate) const HELD: Self = Self(1 << 7);
    /// In the list of those to be called again.
    pub(crate) const RESUMED: Self = Self(1 << 8);
    /// Its send queue was seen over the high-water mark.
    pub(crate) const OVER: Self = Self(1 << 9);
    /// The peer sends no more.
    pub(crate) const ENDED: Self = Self(1 << 10);
    /// It ends; what is queued is still sent.
    pub(crate) const CLOSING: Self = Self(1 << 11);
    /// Our side of the socket is shut down.
    pub(crate) const SHUT: Self = Self(1 << 12);
    /// It is broken or was closed at once: nothing is sent any more.
    pub(crate) const DEAD: Self = Self(1 << 13);
    /// Both directions of the socket are shut down, so that what is with the kernel ends.
    pub(crate) const CUT: Self = Self(1 << 14);
    /// It is to move to another shard.
    pub(crate) const LEAVING: Self = Self(1 << 15);

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn clear(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    /// Sets a flag; true if it was not set before.
    pub(crate) fn raise(&mut self, other: Self) -> bool {
        let fresh = !self.any(other);
        self.set(other);
        fresh
    }

    /// Clears a flag; true if it was set before.
    pub(crate) fn lower(&mut self, other: Self) -> bool {
        let was = self.any(other);
        self.clear(other);
        was
    }
}

/// Bytes that arrived and were not used. Most connections have none, so they are behind one pointer.
#[derive(Debug, Default)]
#[expect(
    clippy::box_collection,
    reason = "an idle connection holds one pointer, not three words"
)]
pub(crate) struct Spill(Option<Box<Vec<u8>>>);

impl Spill {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |bytes| bytes.len())
    }

    /// The buffer they are in, or are to be put into: made by `buffer` if there is none.
    pub(crate) fn get_or(&mut self, buffer: impl FnOnce() -> Vec<u8>) -> &mut Vec<u8> {
        self.0.get_or_insert_with(|| Box::new(buffer()))
    }

    /// Takes them with their buffer; one without room if there are none.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.0.take().map_or_else(Vec::new, |bytes| *bytes)
    }

    /// Puts them back.
    pub(crate) fn put(&mut self, bytes: Vec<u8>) {
        self.0 = (!bytes.is_empty()).then(|| Box::new(bytes));
    }
}

/// One connection. Idle, it is only this.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) fd: RawFd,
    pub(crate) generation: u32,
    pub(crate) tag: u32,
    /// Bytes from the first unused one before the app is to be called.
    pub(crate) need: u32,
    /// Bytes that arrived after its end and were dropped.
    pub(crate) late_bytes: u32,
    pub(crate) flags: Flags,
    /// The shard it is to move to.
    pub(crate) destination: u8,
    /// In the list of those to be looked at on their way out, or of those that wait for room there.
    pub(crate) listed: bool,
    /// Bytes that arrived and were not used.
    pub(crate) spill: Spill,
    pub(crate) out: Option<Box<OutQueue>>,
}

impl Conn {
    /// Bytes appended and not yet taken by the kernel.
    pub(crate) fn queued(&self) -> usize {
        self.out.as_deref().map_or(0, OutQueue::len)
    }

    /// Whether what arrives is TLS.
    pub(crate) fn is_sealed(&self) -> bool {
        self.out.as_deref().and_then(OutQueue::tls).is_some()
    }

    /// Whether so much waits for the app, or for a turn of its handshake, that nothing more is to be received.
    pub(crate) fn has_enough(&self, held_bytes_max: usize) -> bool {
        let held = self.flags.any(Flags::HELD) && self.spill.len() > held_bytes_max;
        let tls = self.out.as_deref().and_then(OutQueue::tls);
        self.is_live() && (held || tls.is_some_and(Tls::is_full))
    }

    /// Whether the peer sends no more that the app is to see.
    pub(crate) fn has_peer_ended(&self) -> bool {
        let tls = self.out.as_deref().and_then(OutQueue::tls);
        self.flags.any(Flags::ENDED) || tls.is_some_and(Tls::has_peer_ended)
    }

    /// Whether something is to be sent that TLS seals no more.
    pub(crate) fn is_unsealable(&self) -> bool {
        let out = self.out.as_deref();
        out.is_some_and(|out| !out.is_empty() && out.tls().is_some_and(Tls::is_closed))
    }

    /// Whether the app may still be called for it, and may write to it.
    pub(crate) fn is_live(&self) -> bool {
        self.flags.any(Flags::KNOWN) && !self.flags.any(Flags::CLOSING.with(Flags::DEAD))
    }

    fn vacate(&mut self) {
        self.fd = -1;
        self.generation = self.generation.wrapping_add(1);
        self.flags = Flags::default();
        self.listed = false;
        self.spill = Spill::default();
        self.out = None;
    }
}

/// A shard's connections by slot.
#[derive(Debug)]
pub(crate) struct Registry {
    conns: Vec<Conn>,
    free: Vec<u32>,
    max: usize,
}

impl Registry {
    /// A table of at most `max` connections. The room is reserved at once, so that growing never copies; the
    /// kernel gives memory only as slots are used.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            conns: Vec::with_capacity(max),
            free: Vec::new(),
            max,
        }
    }

    /// Takes a socket in; gives it back if the table is full.
    pub(crate) fn insert(&mut self, socket: OwnedFd) -> Result<ConnId, OwnedFd> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.conns.len() < self.max => {
                let Ok(slot) = u32::try_from(self.conns.len()) else {
                    return Err(socket);
                };
                self.conns.push(Conn {
                    fd: -1,
                    generation: 0,
                    tag: 0,
                    need: 1,
                    late_bytes: 0,
                    flags: Flags::default(),
                    destination: 0,
                    listed: false,
                    spill: Spill::default(),
                    out: None,
                });
                slot
            }
            None => return Err(socket),
        };
        let Some(conn) = self.conns.get_mut(slot_index(slot)) else {
            return Err(socket);
        };
        conn.fd = socket.into_raw_fd();
        conn.tag = 0;
        conn.need = 1;
        conn.late_bytes = 0;
        conn.flags = Flags::OPEN;
        Ok(ConnId {
            slot,
            generation: conn.generation,
        })
    }

    /// The connection, unless the id is stale.
    pub(crate) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.conns
            .get(slot_index(id.slot))
            .filter(|conn| conn.generation == id.generation && conn.flags.any(Flags::OPEN))
    }

    /// The connection, unless the id is stale.
    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns
            .get_mut(slot_index(id.slot))
            .filter(|conn| conn.generation == id.generation && conn.flags.any(Flags::OPEN))
    }

    /// Gives the slot back if nothing of the connection is with the kernel or unknown to the app. What comes
    /// back is its socket, to be closed, and its queue, to be used again.
    pub(crate) fn remove(&mut self, id: ConnId) -> Option<(OwnedFd, Option<Box<OutQueue>>)> {
        let busy = Flags::KNOWN.with(Flags::RECEIVING).with(Flags::SENDING);
        let conn = self.get_mut(id).filter(|conn| !conn.flags.any(busy))?;
        // SAFETY: the descriptor was taken out of an OwnedFd in `insert` and is given back exactly once: the
        // slot is vacated below.
        let socket = unsafe { OwnedFd::from_raw_fd(conn.fd) };
        let out = conn.out.take();
        conn.vacate();
        self.free.push(id.slot);
        Some((socket, out))
    }

    /// Drops a connection that nobody has been told of.
    pub(crate) fn discard(&mut self, id: ConnId) {
        if let Some(conn) = self.get_mut(id) {
            conn.flags = Flags::OPEN;
        }
        drop(self.remove(id));
    }

    /// Connections in the table.
    pub(crate) fn len(&self) -> usize {
        self.conns.len() - self.free.len()
    }

    /// The ids of all connections, at this moment.
    pub(crate) fn ids(&self) -> Vec<ConnId> {
        let open = |(slot, conn): (u32, &Conn)| {
            conn.flags.any(Flags::OPEN).then_some(ConnId {
                slot,
                generation: conn.generation,
            })
        };
        (0u32..).zip(&self.conns).filter_map(open).collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for id in self.ids() {
            if let Some(conn) = self.get_mut(id) {
                conn.flags = Flags::OPEN;
            }
            drop(self.remove(id));
        }
    }
}

/// A slot as an index.
pub(crate) fn slot_index(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> OwnedFd {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    #[test]
    fn an_idle_connection_is_small() {
        assert_eq!(size_of::<Conn>(), 40);
    }

    #[test]
    fn a_slot_is_free_only_after_both_operations_ended_and_the_app_knows() {
        let mut registry = Registry::new(1);
        let first = registry.insert(socket()).unwrap();
        registry
            .get_mut(first)
            .unwrap()
            .flags
            .set(Flags::KNOWN.with(Flags::RECEIVING).with(Flags::SENDING));
        for flag in [Flags::KNOWN, Flags::RECEIVING, Flags::SENDING] {
            assert!(registry.remove(first).is_none());
            assert!(registry.insert(socket()).is_err(), "the table is full");
            registry.get_mut(first).unwrap().flags.clear(flag);
        }
        assert!(registry.remove(first).is_some());
        let second = registry.insert(socket()).unwrap();
        assert_eq!(second.slot(), first.slot());
        assert_ne!(second.generation(), first.generation());
        assert!(registry.get(first).is_none());
        assert!(registry.remove(first).is_none());
        assert_eq!(registry.ids(), [second]);
        assert_eq!(registry.len(), 1);
    }
}
