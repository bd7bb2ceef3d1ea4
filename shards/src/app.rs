//! What a shard's tenant implements, and the words it shares with the plane.

use std::net::SocketAddr;

use crate::plane::Plane;
use crate::tls::Secured;

/// A connection on its own shard. The generation moves on whenever the slot is given to another connection,
/// so a stale id never reaches a successor: every call with it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl ConnId {
    /// A connection that is gone, always.
    pub const NONE: Self = Self {
        slot: u32::MAX,
        generation: u32::MAX,
    };

    /// The place in the shard's table; dense, so usable as an index beside it.
    pub const fn slot(self) -> u32 {
        self.slot
    }

    /// How often the slot had been used before.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

/// What [`App::received`] did with the bytes it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes consumed from the front; they are gone.
    pub used: usize,
    /// When to call again.
    pub next: Next,
}

/// When [`App::received`] is to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// As soon as this many bytes, counted from the first unused one, are there. 0 and 1 both mean any. If
    /// nothing was used, more bytes than were shown are waited for, whatever the number says.
    Need(usize),
    /// Not before [`Plane::resume`]. What arrives meanwhile is kept up to a bound, then TCP holds the peer
    /// back.
    Hold,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// After the peer has taken what is queued (at most the linger time).
    AfterFlush,
    /// At once; what is queued is dropped.
    Now,
}

/// The tenant of one shard: made on its thread, never leaves it. No method may block; a panic ends the daemon
/// with a [`Fault`](crate::Fault).
pub trait App: Sized {
    /// What travels from shard to shard.
    type Parcel: Send + 'static;

    /// What travels with a connection that moves to another shard.
    type Luggage: Send + 'static;

    /// The shard is about to take its first turn; nothing has been accepted yet.
    fn starting(&mut self, plane: &mut Plane<Self::Parcel>) {
        let _ = plane;
    }

    /// A connection was accepted on `listener` (its place in [`Config::listeners`](crate::Config)). Returns
    /// the tag that comes back with every event of it.
    fn opened(
        &mut self,
        plane: &mut Plane<Self::Parcel>,
        conn: ConnId,
        listener: usize,
        peer: SocketAddr,
    ) -> u32;

    /// The TLS handshake of a connection is over: one accepted on a listener with TLS, or one that turned to it
    /// ([`Plane::start_tls`]). [`App::received`] is not called between. What was appended to the send queue meanwhile
    /// goes out now.
    fn secured(&mut self, plane: &mut Plane<Self::Parcel>, conn: ConnId, tag: u32, secured: Secured) {
        let _ = (plane, conn, tag, secured);
    }

    /// Bytes arrived. They may be changed in place. Called again at once while the answer says that what is
    /// there suffices.
    fn received(
        &mut self,
        plane: &mut Plane<Self::Parcel>,
        conn: ConnId,
        tag: u32,
        bytes: &mut [u8],
    ) -> Progress;

    /// The connection is over, whoever ended it: exactly once for every [`App::opened`] and [`App::handed`],
    /// unless [`App::leaving`] was called for it instead. `conn` is stale already; what had been queued is
    /// still sent unless the connection is broken or was closed at once.
    fn closed(&mut self, plane: &mut Plane<Self::Parcel>, conn: ConnId, tag: u32);

    /// A connection that was to be handed over ([`Plane::hand_over`]) is ready and leaves this shard: in place
    /// of [`App::closed`]. `conn` is stale already. What is returned goes along.
    fn leaving(&mut self, plane: &mut Plane<Self::Parcel>, conn: ConnId, tag: u32) -> Self::Luggage;

    /// A connection came from another shard. It is held: [`Plane::resume`] has the app shown what arrived and
    /// was not used there. Returns the tag, like [`App::opened`]. Not called, and the luggage dropped, if this
    /// shard's table is full: the connection is closed then, and counted. If the daemon stops, the connection
    /// is ended ([`Close::AfterFlush`]) right after this call.
    fn handed(&mut self, plane: &mut Plane<Self::Parcel>, conn: ConnId, luggage: Self::Luggage) -> u32;

    /// The send queue was over its high-water mark and is below its low-water mark again.
    fn drained(&mut self, plane: &mut Plane<Self::Parcel>, conn: ConnId, tag: u32) {
        let _ = (plane, conn, tag);
    }

    /// A parcel of shard `from`. Parcels of one shard come in the order they were sent.
    fn parcel(&mut self, plane: &mut Plane<Self::Parcel>, from: usize, parcel: Self::Parcel);

    /// A timer armed with `key` is due.
    fn timer(&mut self, plane: &mut Plane<Self::Parcel>, key: u64);

    /// A thread outside rang this shard's [`Bell`](crate::Bell), once or several times.
    fn rung(&mut self, plane: &mut Plane<Self::Parcel>);

    /// The end of every turn, before anything is sent: hand over parcels here. Also called when a ring that
    /// was full has room again.
    fn flush(&mut self, plane: &mut Plane<Self::Parcel>);

    /// Whether something is left that [`App::flush`] could not hand over yet. While it is so, a shard that stops stays,
    /// up to the drain time.
    fn has_more(&self) -> bool {
        false
    }

    /// The daemon stops; listeners are closed. Say good-bye ([`Close::AfterFlush`]). The shards leave their loops
    /// when no connection is left on any of them and every parcel has been taken with all that follows from it, or
    /// when the drain time is over.
    fn stopping(&mut self, plane: &mut Plane<Self::Parcel>);
}
