//! Received bytes on their way to the app.
//!
//! Invariant: the app sees every byte once, in order, and is not called with fewer than it asked for. Bytes
//! are shown where the kernel put them; only what the app did not use is copied, into the connection's spill,
//! and a spill is completed with no more than the missing bytes before the rest is shown in place again.

use crate::app::{App, ConnId, Next, Progress};
use crate::conn::{Conn, Flags};
use crate::limits;
use crate::plane::Plane;
use crate::shard::securing;

/// Shows `bytes` to the app, after what was kept of the connection.
pub(super) fn take<A: App>(app: &mut A, plane: &mut Plane<A::Parcel>, id: ConnId, mut bytes: &mut [u8]) {
    let began_sealed = securing::is_sealed(plane, id);
    loop {
        let Some(conn) = plane.conns.get_mut(id).filter(|conn| conn.is_live()) else {
            return;
        };
        // What came in clear behind the request to turn to TLS could have come from anybody.
        if conn.is_sealed() != began_sealed {
            return;
        }
        if conn.flags.any(Flags::HELD.with(Flags::RESUMED)) {
            keep(plane, id, bytes);
            return;
        }
        let missing = need_of(conn).saturating_sub(conn.spill.len());
        let is_spilt = conn.spill.len() > 0;
        if missing > bytes.len() || (!is_spilt && bytes.is_empty()) {
            keep(plane, id, bytes);
            return;
        }
        if !is_spilt {
            let tag = conn.tag;
            let progress = app.received(plane, id, tag, bytes);
            let used = progress.used.min(bytes.len());
            let (_, rest) = std::mem::take(&mut bytes).split_at_mut(used);
            bytes = rest;
            note(plane, id, progress, bytes.len());
        } else {
            let (front, rest) = std::mem::take(&mut bytes).split_at_mut(missing);
            conn.spill.get_or(Vec::new).extend_from_slice(front);
            bytes = rest;
            show_spill(app, plane, id);
        }
    }
}

/// Bytes from the first unused one before the app is to be called.
fn need_of(conn: &Conn) -> usize {
    usize::try_from(conn.need).unwrap_or(usize::MAX).max(1)
}

/// Shows the app what was kept, as long as it makes progress, and keeps what it does not use.
fn show_spill<A: App>(app: &mut A, plane: &mut Plane<A::Parcel>, id: ConnId) {
    let Some(conn) = plane.conns.get_mut(id) else {
        return;
    };
    let tag = conn.tag;
    let mut spill = conn.spill.take();
    let mut at = 0;
    loop {
        let shown = spill.get_mut(at..).unwrap_or_default();
        let len = shown.len();
        let progress = app.received(plane, id, tag, shown);
        let left = len - progress.used.min(len);
        at += len - left;
        note(plane, id, progress, left);
        let suffices = |conn: &&mut Conn| !conn.flags.any(Flags::HELD) && need_of(conn) <= left;
        let conn = plane.conns.get_mut(id).filter(|conn| conn.is_live());
        if left == 0 || conn.filter(suffices).is_none() {
            break;
        }
    }
    spill.drain(..at);
    match plane.conns.get_mut(id).filter(|conn| conn.is_live()) {
        Some(conn) if !spill.is_empty() => conn.spill.put(spill),
        _ => plane.pool.give(spill),
    }
}

/// Notes when the app wants to be called again; `left` bytes it has seen are unused.
fn note<P>(plane: &mut Plane<P>, id: ConnId, progress: Progress, left: usize) {
    let bounds = plane.bounds;
    let Some(conn) = plane.conns.get_mut(id).filter(|conn| conn.is_live()) else {
        return;
    };
    let need = match progress.next {
        Next::Hold => {
            conn.flags.set(Flags::HELD);
            1
        }
        Next::Need(need) if progress.used == 0 => need.max(left + 1),
        Next::Need(need) => need,
    };
    if need > bounds.spill_bytes_max {
        plane.stats.spill_overflows.add(1);
        plane.close(id, crate::app::Close::Now);
        return;
    }
    conn.need = u32::try_from(need).unwrap_or(u32::MAX);
}

/// Copies `bytes` behind what is kept. The spill grows with what arrives, never with what a peer announces.
fn keep<P>(plane: &mut Plane<P>, id: ConnId, bytes: &[u8]) {
    let held_bytes_max = plane.bounds.held_bytes_max;
    let Some(conn) = plane.conns.get_mut(id) else {
        return;
    };
    if bytes.is_empty() {
        return;
    }
    let need = need_of(conn);
    let pool = &mut plane.pool;
    let spill = conn.spill.get_or(|| pool.take_small());
    let (kept, len) = (spill.len(), spill.len() + bytes.len());
    if need > len && len > spill.capacity() {
        let most = len.max(2 * kept) + limits::SPILL_STEP_BYTES;
        spill.reserve_exact(need.min(most) - kept);
    }
    spill.extend_from_slice(bytes);
    if conn.flags.any(Flags::HELD) && len > held_bytes_max {
        plane.lists.paused.push(id);
    }
}
