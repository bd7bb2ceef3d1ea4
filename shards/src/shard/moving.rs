//! How a connection moves to another shard.
//!
//! Invariant: a connection leaves when nothing of it is with the kernel, nothing is left to send and the way has
//! room; the way owns its socket then. So the app is told exactly one end of it here, `leaving` or `closed`, and
//! every byte that arrived goes along once, in order. Whoever is not ready is looked at again when a completion
//! changes that; whoever finds no room waits in the order of coming, held, and nothing is received for it.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use super::Shard;
use crate::app::{App, Close, ConnId};
use crate::conn::Flags;
use crate::mesh::Mesh;
use crate::operation::{Op, Token};
use crate::tls::Tls;

/// A connection between two shards.
#[derive(Debug)]
pub(crate) struct Moving<L> {
    socket: OwnedFd,
    /// Bytes that arrived and were not used.
    spill: Vec<u8>,
    /// The peer sends no more.
    ended: bool,
    tls: Option<Box<Tls>>,
    luggage: L,
}

/// One shard's ends of the ways that connections take, and who waits for room there.
#[derive(Debug)]
pub(super) struct Moves<L> {
    pub(super) ways: Mesh<Moving<L>>,
    /// Ready to leave when the way was full, by destination.
    waiting: Vec<VecDeque<ConnId>>,
}

impl<L> Moves<L> {
    pub(super) fn new(ways: Mesh<Moving<L>>) -> Self {
        let waiting = (0..ways.shards()).map(|_| VecDeque::new()).collect();
        Self { ways, waiting }
    }

    /// Who has waited longest for the way to `to`, if that has room now.
    fn next_waiting(&mut self, to: usize) -> Option<ConnId> {
        let waiting = self.waiting.get_mut(to).filter(|waiting| !waiting.is_empty())?;
        if self.ways.has_room(to) {
            waiting.pop_front()
        } else {
            None
        }
    }

    /// Whether there is room on the way to `to` that nobody waits for.
    fn is_free(&mut self, to: usize) -> bool {
        self.waiting.get(to).is_some_and(VecDeque::is_empty) && self.ways.has_room(to)
    }
}

impl<A: App> Shard<A> {
    /// Sends off the connections that are ready to leave; does what is needed so that the others become so.
    pub(super) fn see_off(&mut self) {
        for to in 0..self.moves.waiting.len() {
            while let Some(id) = self.moves.next_waiting(to) {
                if self.prepare(id).is_some() {
                    self.depart(id, to);
                }
            }
        }
        for id in std::mem::take(&mut self.plane.lists.leaving) {
            match self.prepare(id) {
                Some(to) if self.moves.is_free(to) => self.depart(id, to),
                Some(to) => self.wait(id, to),
                None => {}
            }
        }
    }

    /// Where the connection may leave for now; none if it is not ready, or not to leave any more.
    fn prepare(&mut self, id: ConnId) -> Option<usize> {
        let conn = self.plane.conns.get_mut(id)?;
        conn.listed = false;
        if !conn.is_live() || !conn.flags.any(Flags::LEAVING) {
            return None;
        }
        if conn.flags.any(Flags::RECEIVING) && conn.flags.raise(Flags::CANCELLING) {
            self.ring.cancel(Token::on(Op::Receive, id));
        }
        let busy = Flags::RECEIVING.with(Flags::SENDING);
        let ready = !conn.flags.any(busy) && conn.queued() == 0;
        ready.then_some(usize::from(conn.destination))
    }

    fn wait(&mut self, id: ConnId, to: usize) {
        let conns = &mut self.plane.conns;
        let most = conns.len();
        let Some(waiting) = self.moves.waiting.get_mut(to) else {
            return;
        };
        if waiting.len() >= most {
            // Some have ended while they waited.
            waiting.retain(|&id| conns.get(id).is_some());
        }
        if let Some(conn) = conns.get_mut(id) {
            conn.listed = true;
            waiting.push_back(id);
            self.stats.hand_overs_delayed.add(1);
        }
    }

    /// The connection leaves; the way has room.
    fn depart(&mut self, id: ConnId, to: usize) {
        let Some(conn) = self.plane.conns.get_mut(id) else {
            return;
        };
        let tag = conn.tag;
        conn.flags.clear(Flags::KNOWN);
        let luggage = self.app.leaving(&mut self.plane, id, tag);
        let Some(conn) = self.plane.conns.get_mut(id) else {
            return;
        };
        let tls = conn.out.as_deref_mut().and_then(|out| out.tls_mut().take());
        self.plane.reclaim_queue(id);
        let Some(conn) = self.plane.conns.get_mut(id) else {
            return;
        };
        let spill = conn.spill.take();
        let ended = conn.flags.any(Flags::ENDED);
        let Some((socket, _)) = self.plane.conns.remove(id) else {
            return;
        };
        let sent = self.moves.ways.send(
            to,
            Moving {
                socket,
                spill,
                ended,
                tls,
                luggage,
            },
        );
        debug_assert!(sent.is_ok(), "there was room, and nobody else sends on this way");
        self.stats.handed_over.add(1);
    }

    /// Takes in the connections that other shards had sent by now; each way is bounded.
    pub(super) fn adopt(&mut self) {
        for from in 0..self.plane.shards() {
            for _ in 0..self.moves.ways.arrived(from) {
                let Some(moving) = self.moves.ways.receive(from) else {
                    break;
                };
                self.take_in(moving);
            }
        }
    }

    fn take_in(&mut self, moving: Moving<A::Luggage>) {
        let Ok(id) = self.plane.conns.insert(moving.socket) else {
            self.stats.hand_overs_refused.add(1);
            return;
        };
        self.stats.adopted.add(1);
        if let Some(conn) = self.plane.conns.get_mut(id) {
            conn.flags.set(Flags::KNOWN.with(Flags::HELD));
            if moving.ended {
                conn.flags.set(Flags::ENDED);
            }
            conn.spill.put(moving.spill);
            if let Some(tls) = moving.tls {
                *conn.out.get_or_insert_default().tls_mut() = Some(tls);
            }
        }
        let tag = self.app.handed(&mut self.plane, id, moving.luggage);
        if let Some(conn) = self.plane.conns.get_mut(id) {
            conn.tag = tag;
        }
        if self.plane.stopping {
            // The app has said its good-byes already.
            self.plane.close(id, Close::AfterFlush);
        }
        self.start_receive(id);
    }

    /// The daemon stops: whoever is still to leave is ended here.
    pub(super) fn end_moves(&mut self) {
        for id in self.plane.conns.ids() {
            let leaving = |conn: &&crate::conn::Conn| conn.flags.any(Flags::LEAVING);
            if self.plane.conns.get(id).filter(leaving).is_some() {
                self.plane.close(id, Close::AfterFlush);
            }
        }
    }
}
