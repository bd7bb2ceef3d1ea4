//! The data plane in the words of the hub: connections, timers and send queues.

use shards::{Close, ConnId, Plane, Shared, TimerId};

use crate::daemon::control::ControlPort;
use crate::hub::{HubTimer, Io};
use crate::observe::ShardMetrics;
use crate::route::Parcel;
use crate::route::port::TimerHandle;
use crate::session::Output;
use crate::store::login::LoginRequest;
use crate::time::Instant;

/// The data plane as the hub sees it.
pub(super) struct ShardIo<'a> {
    pub(super) plane: &'a mut Plane<Parcel>,
    pub(super) control: &'a ControlPort,
    pub(super) metrics: &'a ShardMetrics,
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
        self.plane.buffer(conn)?;
        Some(PlaneOutput {
            plane: self.plane,
            metrics: self.metrics,
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

    fn login(&mut self, request: LoginRequest) -> Result<(), LoginRequest> {
        self.control.login(request)
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

    fn queued(&self) -> usize {
        self.plane.queued(self.conn)
    }
}
