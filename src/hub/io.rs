//! What the hub needs of the machine it runs on.

use crate::route::port::TimerHandle;
use crate::session::Output;
use crate::store::login::LoginRequest;
use crate::time::Instant;

/// A timer of the hub, as it comes back when it fires. The top bit tells sessions' timers from the router's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HubTimer(pub u64);

/// The machine's side of the hub: connections, timers and the way to the control thread.
pub trait Io {
    /// A connection; stale ones are recognised and ignored.
    type Conn: Copy + PartialEq + std::fmt::Debug;
    /// A frame several connections share.
    type Shared: Clone;
    /// A connection's send queue.
    type Output<'a>: Output<Shared = Self::Shared>
    where
        Self: 'a;

    /// No connection: always gone.
    const NOWHERE: Self::Conn;

    /// The send queue of a connection; `None` if it is gone or closing.
    fn output(&mut self, conn: Self::Conn) -> Option<Self::Output<'_>>;

    /// Closes a connection as soon as what is queued has been sent.
    fn close(&mut self, conn: Self::Conn);

    /// Goes on with what was held back by [`Next::Hold`](super::Next::Hold): soon, not from within this call.
    fn resume(&mut self, conn: Self::Conn);

    /// The slot that names the connection from now on.
    fn retag(&mut self, conn: Self::Conn, slot: u32);

    /// Moves a connection that is held to another shard. [`Hub::leaving`](super::Hub::leaving) is called when it goes,
    /// [`Hub::closed`](super::Hub::closed) if it breaks before.
    fn hand_over(&mut self, conn: Self::Conn, to: u16);

    /// Has a connection turn to TLS, once what is queued has gone out in clear. [`Hub::secured`](super::Hub::secured) is
    /// called when it has. False: there is no TLS to be had, and nothing happens.
    fn start_tls(&mut self, conn: Self::Conn) -> bool {
        let _ = conn;
        false
    }

    /// Hands a login to the control thread, or back if its queue is full.
    fn login(&mut self, request: LoginRequest) -> Result<(), LoginRequest>;

    /// Arms a timer: `timer` comes back once, not before `at`.
    fn arm(&mut self, at: Instant, timer: HubTimer) -> TimerHandle;

    /// Disarms a timer. Without effect if it has come back.
    fn cancel(&mut self, timer: TimerHandle);
}
