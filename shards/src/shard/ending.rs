//! How a connection ends.
//!
//! Invariant: the app is told exactly once, and first. Then what is queued is sent, our side of the socket is
//! shut, and the peer's end is awaited while what it still sends is dropped, so that no reset destroys what it
//! has not read; all of that within the linger time, and for a bounded number of bytes. The slot is free when
//! nothing is with the kernel.
#![expect(unsafe_code, reason = "shutdown(2) on a bare descriptor")]

use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use socket2::SockRef;

use super::Shard;
use crate::app::{App, ConnId};
use crate::conn::{Conn, Flags};

impl<A: App> Shard<A> {
    /// Tells the app of every connection that is over, and begins to end it. What the app does then may end
    /// others.
    pub(super) fn settle(&mut self) {
        let mut next = 0;
        while let Some(&id) = self.plane.lists.ended.get(next) {
            next += 1;
            let Some(conn) = self.plane.conns.get_mut(id) else {
                continue;
            };
            let tag = conn.tag;
            if conn.flags.lower(Flags::KNOWN) {
                self.app.closed(&mut self.plane, id, tag);
                self.begin_ending(id);
            }
        }
        self.plane.lists.ended.clear();
    }

    fn begin_ending(&mut self, id: ConnId) {
        let Some(conn) = self.plane.conns.get_mut(id) else {
            return;
        };
        conn.flags
            .clear(Flags::HELD.with(Flags::RESUMED).with(Flags::LEAVING));
        let spill = conn.spill.take();
        if let Some(out) = conn.out.as_deref_mut() {
            out.discard_unsealable(&mut self.plane.pool);
        }
        let idle = Flags::RECEIVING
            .with(Flags::ENDED)
            .with(Flags::DEAD)
            .with(Flags::REARMING);
        let discard = !conn.flags.any(idle);
        if discard {
            conn.flags.set(Flags::REARMING);
            self.rearm.push(id);
        }
        if !conn.flags.any(Flags::DEAD) {
            self.lingers
                .push_back((self.plane.now.saturating_add(self.linger_ns), id));
        }
        self.plane.pool.give(spill);
        self.advance_ending(id);
    }

    /// Goes on with ending a connection as far as the kernel and the peer allow.
    pub(super) fn advance_ending(&mut self, id: ConnId) {
        let Some(conn) = self.plane.conns.get_mut(id) else {
            return;
        };
        if conn.flags.any(Flags::KNOWN) {
            return;
        }
        let flying = conn.flags.any(Flags::RECEIVING.with(Flags::SENDING));
        if conn.flags.any(Flags::DEAD) {
            if flying && conn.flags.raise(Flags::CUT) {
                shutdown(conn.fd, libc::SHUT_RDWR);
            }
            if let Some(out) = conn.out.as_deref_mut() {
                out.discard(&mut self.plane.pool);
            }
        } else if conn.queued() > 0 {
            return;
        } else if let Some(out) = conn.out.as_deref_mut()
            && out.close_tls(&mut self.plane.pool)
        {
            if !conn.flags.any(Flags::SENDING) && conn.flags.raise(Flags::DIRTY) {
                self.plane.lists.dirty.push(id);
            }
            return;
        } else if !conn.flags.any(Flags::ENDED) {
            if conn.flags.raise(Flags::SHUT) {
                shutdown(conn.fd, libc::SHUT_WR);
            }
            return;
        }
        if !flying {
            self.release(id);
        }
    }

    /// `len` bytes arrived. Cuts off a peer that goes on sending after the end: reading on would only serve it.
    pub(super) fn bound_late(&mut self, id: ConnId, len: usize) {
        let most = self.plane.bounds.linger_bytes_max;
        let Some(conn) = self.plane.conns.get_mut(id) else {
            return;
        };
        if conn.flags.any(Flags::KNOWN.with(Flags::DEAD)) {
            return;
        }
        let late = crate::conn::slot_index(conn.late_bytes).saturating_add(len);
        conn.late_bytes = u32::try_from(late).unwrap_or(u32::MAX);
        if late > most {
            self.stats.linger_floods.add(1);
            reset_on_close(conn.fd);
            self.break_off(id);
        }
    }

    fn release(&mut self, id: ConnId) {
        self.plane.reclaim_queue(id);
        if let Some((socket, _)) = self.plane.conns.remove(id) {
            self.stats.released.add(1);
            drop(socket);
        }
    }

    /// Ends a connection whose peer has said, in TLS, that it sends no more; as [`Self::peer_ended`] does, but that its
    /// side of the socket is still awaited.
    pub(super) fn heed_good_bye(&mut self, id: ConnId) {
        let conn = self.plane.conns.get(id).filter(|conn| conn.is_live());
        let ends = |conn: &Conn| conn.has_peer_ended() && !conn.flags.any(Flags::HELD.with(Flags::RESUMED));
        if conn.is_some_and(ends) {
            self.end(id);
        }
    }

    /// The peer sends no more. While the app holds the connection it has not answered what came before: that, and
    /// what it has not taken, comes first.
    pub(super) fn peer_ended(&mut self, id: ConnId) {
        let Some(conn) = self.plane.conns.get_mut(id) else {
            return;
        };
        conn.flags.set(Flags::ENDED);
        if !conn.flags.any(Flags::HELD.with(Flags::RESUMED)) {
            self.end(id);
        }
    }

    /// The connection is broken: nothing more comes or goes.
    pub(super) fn break_off(&mut self, id: ConnId) {
        if let Some(conn) = self.plane.conns.get_mut(id) {
            conn.flags.set(Flags::DEAD);
        }
        self.end(id);
    }

    /// Has the app told, unless it was; goes on ending it if so.
    fn end(&mut self, id: ConnId) {
        let Some(conn) = self.plane.conns.get_mut(id) else {
            return;
        };
        if !conn.flags.any(Flags::KNOWN) {
            self.advance_ending(id);
        } else if conn.flags.raise(Flags::CLOSING) {
            self.plane.lists.ended.push(id);
        }
    }

    /// Calls the app with what was kept of connections it has resumed.
    pub(super) fn call_resumed(&mut self) {
        let resumed = std::mem::take(&mut self.plane.lists.resumed);
        for id in resumed {
            let Some(conn) = self.plane.conns.get_mut(id) else {
                continue;
            };
            conn.flags.clear(Flags::RESUMED);
            super::intake::take(&mut self.app, &mut self.plane, id, &mut []);
            let Some(conn) = self.plane.conns.get(id).filter(|conn| conn.is_live()) else {
                continue;
            };
            let held = conn.flags.any(Flags::HELD.with(Flags::RESUMED));
            if conn.has_peer_ended() && !held {
                self.end(id);
            } else {
                self.start_receive(id);
            }
        }
    }

    /// Tells the app of connections whose queue has drained.
    pub(super) fn tell_drained(&mut self) {
        let drained = std::mem::take(&mut self.plane.lists.drained);
        for id in drained {
            if let Some(conn) = self.plane.conns.get(id).filter(|conn| conn.is_live()) {
                let tag = conn.tag;
                self.app.drained(&mut self.plane, id, tag);
            }
        }
    }

    /// Cuts off connections that have lingered long enough.
    pub(super) fn cut_lingers(&mut self) {
        while let Some(&(deadline, id)) = self.lingers.front() {
            if deadline > self.plane.now {
                return;
            }
            self.lingers.pop_front();
            let queued = self.plane.conns.get(id).map(Conn::queued);
            if queued.is_some_and(|queued| queued > 0) {
                self.stats.lingers_cut.add(1);
            }
            self.break_off(id);
        }
    }

    /// The loop is left: tells the app of every connection it still knows.
    pub(super) fn abandon_connections(&mut self) {
        for id in self.plane.conns.ids() {
            let Some(conn) = self.plane.conns.get_mut(id) else {
                continue;
            };
            let tag = conn.tag;
            conn.flags.set(Flags::CLOSING);
            if conn.flags.lower(Flags::KNOWN) {
                self.app.closed(&mut self.plane, id, tag);
            }
        }
    }
}

/// Has the socket end with a reset: without one, the kernel would keep a peer with much left to send waiting for a
/// minute.
fn reset_on_close(fd: RawFd) {
    // SAFETY: the descriptor belongs to the table, which has not released it, and is only borrowed here.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    // If the socket is not connected any more, there is nobody to be told.
    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
}

/// Shuts one or both directions; a socket that is not connected any more is none the worse.
fn shutdown(fd: RawFd, how: i32) {
    // SAFETY: no memory is involved; the descriptor belongs to the table, which has not released it.
    unsafe { libc::shutdown(fd, how) };
}
