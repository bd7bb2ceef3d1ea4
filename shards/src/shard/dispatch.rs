//! What each completion means.
//!
//! Invariant: a completion is handled once, in the order the kernel posted it; a receive's buffer is back with
//! the ring before the next completion is looked at.
#![expect(
    unsafe_code,
    reason = "accepted descriptors and send buffers cross to and from the kernel"
)]

use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};

use socket2::SockRef;

use super::Shard;
use crate::app::{App, ConnId};
use crate::conn::Flags;
use crate::operation::{Op, Token};
use crate::outq::Send;
use crate::ring::Completion;

impl<A: App> Shard<A> {
    pub(super) fn dispatch(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        for completion in batch.drain(..) {
            self.dispatch_one(completion);
        }
        self.batch = batch;
    }

    fn dispatch_one(&mut self, completion: Completion) {
        let Completion { token, more, .. } = completion;
        match token.op {
            Op::Accept => self.on_accept(completion),
            Op::Receive => self.on_receive(completion),
            Op::Send => self.on_send(token.conn(), completion.result),
            Op::Tick => {
                self.on_tick();
                if !more {
                    // The kernel ends a multishot that finds no room for its completion.
                    self.ring.tick();
                }
            }
            Op::Outside => {
                self.ring.read_event(self.bell.fd());
                if self.bell.answer() {
                    self.stats.bells_heard.add(1);
                    self.app.rung(&mut self.plane);
                }
            }
            Op::Executor => {
                let place = crate::conn::slot_index(token.slot);
                if let Some(polled) = self.executor.polled.get_mut(place) {
                    *polled = false;
                }
                self.executor.look = true;
            }
            Op::BellFailed => {
                self.stats.bells_failed.add(1);
                if let Some(bell) = self.control.bell(crate::conn::slot_index(token.slot)) {
                    bell.wake();
                }
            }
            Op::Rung | Op::Cancel => {}
        }
    }

    fn on_accept(&mut self, completion: Completion) {
        let place = crate::conn::slot_index(completion.token.slot);
        if completion.result >= 0 {
            // SAFETY: the kernel made this descriptor for us and told nobody else.
            let socket = unsafe { OwnedFd::from_raw_fd(completion.result) };
            self.open(place, socket);
        } else if !self.plane.stopping {
            self.stats.accept_errors.add(1);
        }
        if completion.more {
            return;
        }
        let Some(listener) = self.listeners.get_mut(place) else {
            return;
        };
        listener.armed = false;
        if self.plane.stopping {
            listener.socket = None;
        } else if completion.result >= 0 {
            self.arm_listeners();
        } else {
            // Out of files or memory: at once it would only fail again.
            listener.failed = true;
        }
    }

    fn open(&mut self, listener: usize, socket: OwnedFd) {
        let Some(peer) = peer_of(&socket) else {
            // Reset before it was accepted.
            self.stats.accept_errors.add(1);
            return;
        };
        if self.plane.stopping {
            self.stats.refused.add(1);
            return;
        }
        let Ok(id) = self.plane.conns.insert(socket) else {
            self.stats.refused.add(1);
            return;
        };
        self.stats.accepted.add(1);
        if let Some(conn) = self.plane.conns.get_mut(id) {
            conn.flags.set(Flags::KNOWN);
        }
        if let Some(acceptor) = self
            .listeners
            .get(listener)
            .and_then(|listener| listener.tls.clone())
            && !self.plane.start_tls(id, &acceptor)
        {
            // There is no memory for it, or the settings are of no use.
            self.stats.tls_faults.add(1);
            self.plane.conns.discard(id);
            return;
        }
        let tag = self.app.opened(&mut self.plane, id, listener, peer);
        if let Some(conn) = self.plane.conns.get_mut(id) {
            conn.tag = tag;
        }
        self.start_receive(id);
    }

    /// Arms a multishot receive if one is wanted.
    pub(super) fn start_receive(&mut self, id: ConnId) {
        if !self.wants_receive(id) {
            return;
        }
        if let Some(conn) = self.plane.conns.get_mut(id) {
            conn.flags.set(Flags::RECEIVING);
            self.ring.receive(conn.fd, Token::on(Op::Receive, id));
        }
    }

    fn on_receive(&mut self, completion: Completion) {
        let id = completion.token.conn();
        if let Some(buffer) = completion.buffer {
            if let Ok(len) = usize::try_from(completion.result)
                && len > 0
            {
                self.stats.received_bytes.add_len(len);
                let bytes = self.ring.buffers().bytes_mut(buffer, len);
                if super::securing::is_sealed(&self.plane, id) {
                    super::securing::take(&mut self.app, &mut self.plane, id, bytes);
                    self.heed_good_bye(id);
                } else {
                    super::intake::take(&mut self.app, &mut self.plane, id, bytes);
                }
                self.bound_late(id, len);
            }
            self.ring.buffers().give(buffer);
        }
        if !completion.more {
            self.on_receive_end(id, completion.result);
        }
    }

    fn on_receive_end(&mut self, id: ConnId, result: i32) {
        let Some(conn) = self.plane.conns.get_mut(id) else {
            return;
        };
        conn.flags.clear(Flags::RECEIVING.with(Flags::CANCELLING));
        self.plane.note_leaving(id);
        match result {
            0 => self.peer_ended(id),
            1.. => self.queue_rearm(id),
            _ if result == -libc::ENOBUFS => {
                self.stats.buffer_exhaustions.add(1);
                self.ring.buffers().run_out();
                self.queue_rearm(id);
            }
            _ if result == -libc::ECANCELED => self.queue_rearm(id),
            _ => self.break_off(id),
        }
    }

    fn queue_rearm(&mut self, id: ConnId) {
        if let Some(conn) = self.plane.conns.get_mut(id)
            && conn.flags.raise(Flags::REARMING)
        {
            self.rearm.push(id);
        }
        self.advance_ending(id);
    }

    pub(super) fn rearm_receives(&mut self) {
        let mut rearm = std::mem::take(&mut self.rearm);
        for id in rearm.drain(..) {
            if let Some(conn) = self.plane.conns.get_mut(id) {
                conn.flags.clear(Flags::REARMING);
                self.stats.rearms.add(1);
                self.start_receive(id);
            }
        }
        self.rearm = rearm;
    }

    /// Cancels the receives of connections that have enough waiting.
    pub(super) fn pause_receives(&mut self) {
        while let Some(id) = self.plane.lists.paused.pop() {
            let Some(conn) = self.plane.conns.get_mut(id) else {
                continue;
            };
            let enough = conn.has_enough(self.plane.bounds.held_bytes_max);
            if enough && conn.flags.any(Flags::RECEIVING) && conn.flags.raise(Flags::CANCELLING) {
                self.stats.receives_paused.add(1);
                self.ring.cancel(Token::on(Op::Receive, id));
            }
        }
    }

    /// Submits the next send of a connection that has something to send.
    pub(super) fn submit_send(&mut self, id: ConnId) {
        let Some(conn) = self.plane.conns.get_mut(id) else {
            return;
        };
        conn.flags.clear(Flags::DIRTY);
        if conn.flags.any(Flags::SENDING.with(Flags::DEAD)) {
            return;
        }
        let send = conn
            .out
            .as_deref_mut()
            .and_then(|out| out.next_send(&mut self.plane.pool));
        let Some(send) = send else {
            if conn.is_unsealable() {
                self.stats.tls_faults.add(1);
                self.break_off(id);
            }
            self.plane.reclaim_queue(id);
            return;
        };
        conn.flags.set(Flags::SENDING);
        self.stats.sends.add(1);
        if matches!(send, Send::Vector { .. }) {
            self.stats.vectored_sends.add(1);
        }
        // SAFETY: what `send` points to belongs to the connection's queue, which neither moves nor changes it
        // before `sent`, and which stays in the table while SENDING is set.
        unsafe { self.ring.send(conn.fd, send, Token::on(Op::Send, id)) };
    }

    fn on_send(&mut self, id: ConnId, result: i32) {
        let bounds = self.plane.bounds;
        let Some(conn) = self.plane.conns.get_mut(id) else {
            return;
        };
        conn.flags.clear(Flags::SENDING);
        let Some(out) = conn.out.as_deref_mut() else {
            return;
        };
        let sent = usize::try_from(result).unwrap_or(0);
        if out.len() > bounds.high_water_bytes {
            conn.flags.set(Flags::OVER);
        }
        let short = out.sent(sent, &mut self.plane.pool);
        if sent == 0 {
            self.break_off(id);
            return;
        }
        self.stats.sent_bytes.add_len(sent);
        if short {
            self.stats.short_sends.add(1);
        }
        if conn.flags.any(Flags::OVER) && out.len() < bounds.low_water_bytes {
            conn.flags.clear(Flags::OVER);
            self.plane.lists.drained.push(id);
        }
        if out.is_empty() {
            self.plane.reclaim_queue(id);
            self.plane.note_leaving(id);
        } else if conn.flags.raise(Flags::DIRTY) {
            self.plane.lists.dirty.push(id);
        }
        self.advance_ending(id);
    }
}

/// The other end of an accepted socket; none if it is gone.
fn peer_of(socket: &OwnedFd) -> Option<SocketAddr> {
    SockRef::from(socket).peer_addr().ok()?.as_socket()
}
