//! The data plane in the words of the hub: connections, timers and send queues.

use std::sync::Arc;

use shards::{Close, ConnId, Plane, Shared, TimerId, TlsAcceptor};

use crate::daemon::control::ControlPort;
use crate::hub::{HubTimer, Io};
use crate::observe::ShardMetrics;
use crate::route::Parcel;
use crate::route::port::TimerHandle;
use crate::session::Output;
use crate::store::login::LoginRequest;
use crate::time::Instant;

/// What a shard has besides the data plane.
pub(super) struct Links {
    /// To and from the control thread.
    pub(super) control: Arc<ControlPort>,
    pub(super) metrics: Arc<ShardMetrics>,
    /// What a connection in clear turns to TLS with.
    pub(super) starttls: Option<TlsAcceptor>,
}

/// The data plane as the hub sees it.
pub(super) struct ShardIo<'a> {
    pub(super) plane: &'a mut Plane<Parcel>,
    pub(super) links: &'a Links,
}

impl Io for ShardIo<'_> {
    type Conn = ConnId;
    type Shared = Shared;
    type Output<'a>
        = PlaneOutput<'a>
    where
        Self: 'a;
    const NOWHERE: ConnId = ConnId::NONE;

    fn output(&mut self, conn: ConnId) -> Option<PlaneOutput<'_>> {
        // Not by asking for its buffer: an empty one at the queue's end keeps shared frames from merging.
        let plane = &mut *self.plane;
        plane.is_live(conn).then_some(PlaneOutput {
            plane,
            metrics: &self.links.metrics,
            conn,
        })
    }

    fn close(&mut self, conn: ConnId) {
        self.plane.close(conn, Close::AfterFlush);
    }

    fn resume(&mut self, conn: ConnId) {
        self.plane.resume(conn);
    }

    fn retag(&mut self, conn: ConnId, slot: u32) {
        self.plane.retag(conn, slot);
    }

    fn hand_over(&mut self, conn: ConnId, to: u16) {
        // If it cannot go, it is ending already.
        self.plane.hand_over(conn, usize::from(to));
    }

    fn start_tls(&mut self, conn: ConnId) -> bool {
        let acceptor = self.links.starttls.as_ref();
        acceptor.is_some_and(|acceptor| self.plane.start_tls(conn, acceptor))
    }

    fn login(&mut self, request: LoginRequest) -> Result<(), LoginRequest> {
        self.links.control.login(request)
    }

    fn arm(&mut self, at: Instant, timer: HubTimer) -> TimerHandle {
        TimerHandle(self.plane.arm(at.as_nanos(), timer.0).to_bits())
    }

    fn cancel(&mut self, timer: TimerHandle) {
        self.plane.cancel(TimerId::from_bits(timer.0));
    }
}

/// A connection's send queue.
pub(super) struct PlaneOutput<'a> {
    plane: &'a mut Plane<Parcel>,
    metrics: &'a ShardMetrics,
    conn: ConnId,
}

impl Output for PlaneOutput<'_> {
    type Shared = Shared;
    const FRAMING: u8 = 0;

    fn write(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        if let Some(buffer) = self.plane.buffer(self.conn) {
            buffer.reserve(len);
            encode(buffer);
            self.metrics.frames_out.increment();
        }
    }

    fn share(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Shared {
        self.plane.share(len, encode)
    }

    fn push(&mut self, frame: &Shared) {
        self.plane.push(self.conn, frame);
        self.metrics.frames_out.increment();
    }

    fn shared(frame: &Shared) -> &[u8] {
        frame.bytes()
    }

    fn queued(&self) -> usize {
        self.plane.queued(self.conn)
    }
}
