//! What an app can do with its shard.
//!
//! Invariant: nothing here enters the kernel or calls the app. An app's wishes are noted in lists that the
//! shard works through in its turn; a connection stands in each list at most once, under its full id.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::app::{Close, ConnId};
use crate::config::Config;
use crate::conn::{Conn, Flags, Registry};
use crate::limits;
use crate::mesh::Mesh;
use crate::outq::OutQueue;
use crate::pool::Pool;
use crate::share::{Arena, Shared};
use crate::stats::Stats;
use crate::tls::TlsAcceptor;
use crate::wheel::{TimerId, Wheel};

/// The bounds a plane works with, taken from the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) spill_bytes_max: usize,
    pub(crate) linger_bytes_max: usize,
    pub(crate) held_bytes_max: usize,
    pub(crate) high_water_bytes: usize,
    pub(crate) low_water_bytes: usize,
}

impl From<&Config> for Bounds {
    fn from(config: &Config) -> Self {
        Self {
            linger_bytes_max: config.linger_bytes_max,
            spill_bytes_max: config.spill_bytes_max.min(i32::MAX.unsigned_abs() as usize),
            held_bytes_max: config.held_bytes_max,
            high_water_bytes: config.high_water_bytes,
            low_water_bytes: config.low_water_bytes,
        }
    }
}

// A destination is kept in one byte.
const _: () = assert!(limits::SHARDS_MAX <= 1 << u8::BITS);

/// Connections with something to be done about them.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    /// Something to send.
    pub(crate) dirty: Vec<ConnId>,
    /// Over: the app is to be told, the rest to be sent.
    pub(crate) ended: Vec<ConnId>,
    /// Resumed: the app is to be called with what was kept.
    pub(crate) resumed: Vec<ConnId>,
    /// Enough is kept: the receive is to be cancelled.
    pub(crate) paused: Vec<ConnId>,
    /// Below the low-water mark again: the app is to be told.
    pub(crate) drained: Vec<ConnId>,
    /// Their TLS handshake is to go on.
    pub(crate) handshaking: VecDeque<ConnId>,
    /// To leave for another shard, and something about that has changed: to be looked at.
    pub(crate) leaving: Vec<ConnId>,
}

/// Whether connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepts {
    /// They are.
    Always,
    /// The app is not ready for them: the kernel keeps them.
    Held,
    /// From the end of this turn on.
    Released,
}

/// A shard as its app sees it.
#[derive(Debug)]
pub struct Plane<P> {
    pub(crate) now: u64,
    pub(crate) unix_ms: u64,
    pub(crate) conns: Registry,
    pub(crate) pool: Pool,
    pub(crate) arena: Arena,
    pub(crate) wheel: Wheel,
    pub(crate) mesh: Mesh<P>,
    pub(crate) lists: Lists,
    pub(crate) bounds: Bounds,
    pub(crate) stats: Arc<Stats>,
    /// The daemon stops: no connection is handed over any more.
    pub(crate) stopping: bool,
    /// Whether connections are accepted.
    pub(crate) accepts: Accepts,
    /// Empty queues, to be used again.
    #[expect(
        clippy::vec_box,
        reason = "connections hold their queue by a pointer; the boxes are what is reused"
    )]
    pub(crate) queues: Vec<Box<OutQueue>>,
}

impl<P> Plane<P> {
    pub(crate) fn new(config: &Config, mesh: Mesh<P>, stats: Arc<Stats>) -> Self {
        Self {
            now: 0,
            unix_ms: 0,
            conns: Registry::new(config.connections_max),
            pool: Pool::default(),
            arena: Arena::default(),
            wheel: Wheel::default(),
            mesh,
            lists: Lists::default(),
            bounds: Bounds::from(config),
            stats,
            stopping: false,
            accepts: Accepts::Always,
            queues: Vec::new(),
        }
    }

    /// This shard's number, from 0.
    pub fn shard(&self) -> usize {
        self.mesh.shard()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.mesh.shards()
    }

    /// Monotonic nanoseconds, read once at the start of the turn; the same origin on all shards.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Milliseconds since the Unix epoch at the start of the turn.
    pub fn unix_ms(&self) -> u64 {
        self.unix_ms
    }

    /// Connections of this shard, those included that are still being flushed.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Whether the connection takes bytes to send: it is not over.
    pub fn is_live(&self, conn: ConnId) -> bool {
        self.conns.get(conn).is_some_and(Conn::is_live)
    }

    /// The end of the connection's send queue, to append private bytes to; what is appended goes out at the
    /// end of the turn. None: the connection is over. Bytes found there must not be changed.
    pub fn buffer(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        let entry = self.conns.get_mut(conn).filter(|entry| entry.is_live())?;
        let out = writable(entry, conn, &mut self.queues, &mut self.lists.dirty);
        Some(out.buffer(&mut self.pool))
    }

    /// Makes a frame of about `len` bytes, written by `encode`, that can be pushed to any number of this
    /// shard's connections.
    pub fn share(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Shared {
        self.arena.share(len, encode)
    }

    /// Appends a shared frame to the connection's send queue. False: the connection is over.
    pub fn push(&mut self, conn: ConnId, frame: &Shared) -> bool {
        let Some(entry) = self.conns.get_mut(conn).filter(|entry| entry.is_live()) else {
            return false;
        };
        let out = writable(entry, conn, &mut self.queues, &mut self.lists.dirty);
        if out.push(frame, &mut self.pool) {
            self.stats.shared_copies.add(1);
        }
        true
    }

    /// Bytes appended and not yet taken by the kernel; 0 if the connection is over.
    pub fn queued(&self, conn: ConnId) -> usize {
        self.conns
            .get(conn)
            .filter(|entry| entry.is_live())
            .map_or(0, Conn::queued)
    }

    /// Ends the connection. [`App::closed`](crate::App::closed) follows in this turn, but not from within this
    /// call. Without effect if it is over.
    pub fn close(&mut self, conn: ConnId, how: Close) {
        let Some(entry) = self.conns.get_mut(conn).filter(|entry| entry.is_live()) else {
            return;
        };
        entry.flags.set(match how {
            Close::AfterFlush => Flags::CLOSING,
            Close::Now => Flags::CLOSING.with(Flags::DEAD),
        });
        self.lists.ended.push(conn);
    }

    /// Ends a [`Next::Hold`](crate::Next::Hold): the app is called with what was kept, in this turn or the
    /// next, and with what arrives from then on. Without effect if the connection is not held or is being
    /// handed over.
    pub fn resume(&mut self, conn: ConnId) {
        if let Some(entry) = self.conns.get_mut(conn)
            && entry.is_live()
            && !entry.flags.any(Flags::LEAVING)
            && entry.flags.lower(Flags::HELD)
            && entry.flags.raise(Flags::RESUMED)
        {
            self.lists.resumed.push(conn);
        }
    }

    /// Has a held connection move to shard `to`. What is queued is sent first; then
    /// [`App::leaving`](crate::App::leaving) is called here and [`App::handed`](crate::App::handed) there, where
    /// the connection is held as well and nothing that had arrived is missing. Until then it is a connection of
    /// this shard and takes bytes to send; if it ends or breaks, or the daemon stops,
    /// [`App::closed`](crate::App::closed) is called instead. Nothing is promised about the order of its arrival
    /// and of parcels. False, and nothing happens: it is over, not held, or being handed over already; `to` is
    /// this shard or none; or the daemon stops.
    pub fn hand_over(&mut self, conn: ConnId, to: usize) -> bool {
        if self.stopping || to == self.shard() || to >= self.shards() {
            return false;
        }
        let (Ok(to), Some(entry)) = (u8::try_from(to), self.conns.get_mut(conn)) else {
            return false;
        };
        if !entry.is_live() || !entry.flags.any(Flags::HELD) || !entry.flags.raise(Flags::LEAVING) {
            return false;
        }
        entry.destination = to;
        self.note_leaving(conn);
        true
    }

    /// Has a connection turn to TLS: what the app appends from now on is sealed, what arrives from now on is read as TLS.
    /// What is queued already goes out in clear before. Called from within [`App::received`](crate::App::received),
    /// which then uses all it was shown: what the peer sent before it could know the answer is not to be trusted.
    /// [`App::secured`](crate::App::secured) follows. False, and nothing happens: the connection is over, or speaks
    /// TLS already, or there is none to be had.
    pub fn start_tls(&mut self, conn: ConnId, acceptor: &TlsAcceptor) -> bool {
        let Some(entry) = self.conns.get_mut(conn).filter(|entry| entry.is_live()) else {
            return false;
        };
        let queues = &mut self.queues;
        let out = entry.out.get_or_insert_with(|| queues.pop().unwrap_or_default());
        if out.tls().is_some() {
            return false;
        }
        *out.tls_mut() = acceptor.accept().ok();
        out.tls().is_some()
    }

    /// Changes the tag of a connection: it comes back with every event from now on, its end included. False: the app
    /// has been told its end.
    pub fn retag(&mut self, conn: ConnId, tag: u32) -> bool {
        let known = |entry: &&mut Conn| entry.flags.any(Flags::KNOWN);
        let entry = self.conns.get_mut(conn).filter(known);
        entry.map(|entry| entry.tag = tag).is_some()
    }

    /// Called in [`App::starting`](crate::App::starting): accepts no connection until
    /// [`release_accepts`](Self::release_accepts). Whoever connects meanwhile waits in the kernel's queue.
    pub fn hold_accepts(&mut self) {
        self.accepts = Accepts::Held;
    }

    /// Accepts connections from the end of this turn on.
    pub fn release_accepts(&mut self) {
        if self.accepts == Accepts::Held {
            self.accepts = Accepts::Released;
        }
    }

    /// Arms a timer: `key` comes back by [`App::timer`](crate::App::timer), once, not before `at_ns` on the
    /// clock of [`Plane::now`] and about one tick later at most.
    pub fn arm(&mut self, at_ns: u64, key: u64) -> TimerId {
        self.wheel.insert(at_ns, key)
    }

    /// Disarms a timer. False: it has come back or was cancelled before.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.wheel.cancel(timer)
    }

    /// Timers armed.
    pub fn timers(&self) -> usize {
        self.wheel.len()
    }

    /// Hands a parcel to another shard. `Err`: the ring is full; keep the parcel and offer it again from
    /// [`App::flush`](crate::App::flush), which is called when there is room.
    pub fn send(&mut self, to: usize, parcel: P) -> Result<(), P> {
        let sent = self.mesh.send(to, parcel);
        let counter = if sent.is_ok() {
            &self.stats.parcels_sent
        } else {
            &self.stats.parcels_refused
        };
        counter.add(1);
        sent
    }

    /// Sends an emptied parcel back to the shard it came from.
    pub fn give_back(&mut self, from: usize, parcel: P) {
        self.mesh.give_back(from, parcel);
    }

    /// A parcel that shard `to` has emptied, to be filled again.
    pub fn reuse(&mut self, to: usize) -> Option<P> {
        self.mesh.reuse(to)
    }

    /// This shard's counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Appends records that TLS has made of its own accord.
    pub(crate) fn put_records(&mut self, conn: ConnId, records: &[u8]) {
        let Some(entry) = self.conns.get_mut(conn) else {
            return;
        };
        if !records.is_empty() && entry.flags.any(Flags::KNOWN) {
            let out = writable(entry, conn, &mut self.queues, &mut self.lists.dirty);
            out.records(&mut self.pool).extend_from_slice(records);
        }
    }

    /// Has what waits be sent at the end of the turn, if anything does: now it can be sealed.
    pub(crate) fn note_unsent(&mut self, conn: ConnId) {
        if let Some(entry) = self.conns.get_mut(conn).filter(|entry| entry.queued() > 0) {
            writable(entry, conn, &mut self.queues, &mut self.lists.dirty);
        }
    }

    /// Something has changed about a connection that perhaps is to leave.
    pub(crate) fn note_leaving(&mut self, conn: ConnId) {
        if let Some(entry) = self.conns.get_mut(conn)
            && entry.flags.any(Flags::LEAVING)
            && !std::mem::replace(&mut entry.listed, true)
        {
            self.lists.leaving.push(conn);
        }
    }

    /// Takes a queue that has become empty off its connection.
    pub(crate) fn reclaim_queue(&mut self, conn: ConnId) {
        let Some(entry) = self.conns.get_mut(conn) else {
            return;
        };
        if !entry.out.as_deref().is_some_and(OutQueue::is_empty) {
            return;
        }
        if let Some(out) = entry.out.as_deref_mut().filter(|out| out.tls().is_some()) {
            out.rest();
            return;
        }
        if let Some(mut out) = entry.out.take() {
            out.discard(&mut self.pool);
            if self.queues.len() < limits::BUFFERS_KEPT_MAX {
                self.queues.push(out);
            }
        }
    }
}

/// The connection's queue, made if it has none; notes that there is something to send.
#[expect(
    clippy::vec_box,
    reason = "connections hold their queue by a pointer; the boxes are what is reused"
)]
fn writable<'a>(
    entry: &'a mut Conn,
    conn: ConnId,
    queues: &mut Vec<Box<OutQueue>>,
    dirty: &mut Vec<ConnId>,
) -> &'a mut OutQueue {
    if !entry.flags.any(Flags::SENDING) && entry.flags.raise(Flags::DIRTY) {
        dirty.push(conn);
    }
    entry.out.get_or_insert_with(|| queues.pop().unwrap_or_default())
}
