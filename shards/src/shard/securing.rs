//! Received ciphertext on its way to the app.
//!
//! Invariant: the app sees what records say, in order, as it would see it in clear; nothing of it before the
//! handshake is over. Handshakes go on apart from the dispatch, a few in a turn, in the order of coming, so that a
//! storm of them delays nobody else's messages by more than a few signatures.

use super::{Shard, intake};
use crate::app::{App, Close, ConnId};
use crate::conn::Conn;
use crate::limits;
use crate::plane::Plane;
use crate::tls::{Fault, Reading, Tls};

/// Whether what arrives for the connection is TLS.
pub(super) fn is_sealed<P>(plane: &Plane<P>, id: ConnId) -> bool {
    plane.conns.get(id).is_some_and(Conn::is_sealed)
}

/// Reads `bytes`, after what was kept of the connection.
pub(super) fn take<A: App>(app: &mut A, plane: &mut Plane<A::Parcel>, id: ConnId, bytes: &mut [u8]) {
    let Some(mut tls) = take_tls(plane, id) else {
        return;
    };
    if !tls.is_handshaking() && !tls.has_incoming() {
        return read(app, plane, id, tls, |tls, plain, wire| {
            let reading = tls.read(bytes, plain, wire);
            tls.keep(bytes.get(reading.used..).unwrap_or_default());
            reading
        });
    }
    tls.keep(bytes);
    if !tls.is_handshaking() {
        return read(app, plane, id, tls, Tls::read_kept);
    }
    if tls.is_full() {
        plane.lists.paused.push(id);
    }
    if !std::mem::replace(&mut tls.is_listed, true) {
        plane.lists.handshaking.push_back(id);
    }
    put_tls(plane, id, tls);
}

/// Takes a live connection's TLS off it; it has to be put back.
fn take_tls<P>(plane: &mut Plane<P>, id: ConnId) -> Option<Box<Tls>> {
    let conn = plane.conns.get_mut(id).filter(|conn| conn.is_live())?;
    conn.out.as_deref_mut()?.tls_mut().take()
}

fn put_tls<P>(plane: &mut Plane<P>, id: ConnId, tls: Box<Tls>) {
    if let Some(out) = plane.conns.get_mut(id).and_then(|conn| conn.out.as_deref_mut()) {
        *out.tls_mut() = Some(tls);
    }
}

/// Has `tls` read, and acts on what came of it.
fn read<A: App>(
    app: &mut A,
    plane: &mut Plane<A::Parcel>,
    id: ConnId,
    mut tls: Box<Tls>,
    how: impl FnOnce(&mut Tls, &mut Vec<u8>, &mut Vec<u8>) -> Reading,
) {
    let (mut plain, mut wire) = (plane.pool.take(), plane.pool.take());
    let reading = how(&mut tls, &mut plain, &mut wire);
    put_tls(plane, id, tls);
    plane.put_records(id, &wire);
    plane.pool.give(wire);
    if let Some(secured) = reading.secured {
        plane.stats.tls_handshakes.add(1);
        plane.stats.tls_resumptions.add(u64::from(secured.is_resumed));
        if let Some(conn) = plane.conns.get(id) {
            let tag = conn.tag;
            app.secured(plane, id, tag, secured);
            plane.note_unsent(id);
        }
    }
    if !plain.is_empty() {
        intake::take(app, plane, id, &mut plain);
    }
    plane.pool.give(plain);
    if let Some(fault) = reading.fault {
        plane.stats.tls_faults.add(1);
        plane.close(id, how_to_close(&fault));
    }
}

/// A peer that broke the protocol is told by the alert that is queued; one that floods is told nothing.
fn how_to_close(fault: &Fault) -> Close {
    match fault {
        Fault::Peer(_) => Close::AfterFlush,
        Fault::TooLarge => Close::Now,
    }
}

impl<A: App> Shard<A> {
    /// Goes on with the handshakes that have waited longest.
    pub(super) fn shake_hands(&mut self) {
        for _ in 0..limits::HANDSHAKES_PER_TURN_MAX {
            let Some(id) = self.plane.lists.handshaking.pop_front() else {
                return;
            };
            let Some(mut tls) = take_tls(&mut self.plane, id) else {
                continue;
            };
            tls.is_listed = false;
            read(&mut self.app, &mut self.plane, id, tls, Tls::read_kept);
            self.heed_good_bye(id);
            self.start_receive(id);
        }
        let waiting = self.plane.lists.handshaking.len();
        self.stats.tls_handshakes_delayed.add_len(waiting);
    }
}
