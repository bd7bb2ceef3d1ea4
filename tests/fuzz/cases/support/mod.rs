//! A machine for hubs: connections are byte queues, timers a sorted map, the control thread lets everybody in.

use std::collections::BTreeMap;
use std::rc::Rc;

use nexus::hub::{HubTimer, Io};
use nexus::route::port::TimerHandle;
use nexus::session::Output;
use nexus::store::login::LoginRequest;
use nexus::time::Instant;

/// The server's end of a connection.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) slot: u32,
    /// What came and was not used.
    pub(crate) held: Vec<u8>,
    pub(crate) is_held: bool,
    pub(crate) sent: Vec<u8>,
    pub(crate) is_closed: bool,
}

/// One shard's machine.
#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) wires: BTreeMap<usize, Wire>,
    pub(crate) logins: Vec<LoginRequest>,
    pub(crate) timers: BTreeMap<(Instant, u64), HubTimer>,
    armed: BTreeMap<u64, Instant>,
    handles: u64,
    pub(crate) resumed: Vec<usize>,
    pub(crate) handed_over: Vec<(usize, usize)>,
    /// Who turns to TLS.
    pub(crate) securing: Vec<usize>,
}

impl Machine {
    /// The next timer that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<HubTimer> {
        let first = self.timers.first_entry().filter(|first| first.key().0 <= now)?;
        let ((_, handle), timer) = first.remove_entry();
        self.armed.remove(&handle);
        Some(timer)
    }
}

pub(crate) struct WireOutput<'a>(&'a mut Wire);

impl Output for WireOutput<'_> {
    type Shared = Rc<Vec<u8>>;
    const FRAMING: u8 = 0;

    fn write(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.0.sent.len();
        encode(&mut self.0.sent);
        assert_eq!(
            self.0.sent.len() - before,
            len,
            "a packet is as long as it was announced"
        );
    }

    fn share(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Self::Shared {
        let mut frame = Vec::with_capacity(len);
        encode(&mut frame);
        assert_eq!(frame.len(), len);
        Rc::new(frame)
    }

    fn push(&mut self, frame: &Self::Shared) {
        self.0.sent.extend_from_slice(frame);
    }

    fn shared(frame: &Self::Shared) -> &[u8] {
        frame
    }

    fn queued(&self) -> usize {
        self.0.sent.len()
    }
}

impl Io for Machine {
    type Conn = usize;
    type Shared = Rc<Vec<u8>>;
    type Output<'a> = WireOutput<'a>;
    const NOWHERE: usize = usize::MAX;

    fn output(&mut self, conn: usize) -> Option<WireOutput<'_>> {
        let wire = self.wires.get_mut(&conn).filter(|wire| !wire.is_closed)?;
        Some(WireOutput(wire))
    }

    fn close(&mut self, conn: usize) {
        if let Some(wire) = self.wires.get_mut(&conn) {
            wire.is_closed = true;
        }
    }

    fn resume(&mut self, conn: usize) {
        self.resumed.push(conn);
    }

    fn retag(&mut self, conn: usize, slot: u32) {
        if let Some(wire) = self.wires.get_mut(&conn) {
            wire.slot = slot;
        }
    }

    fn hand_over(&mut self, conn: usize, to: u16) {
        self.handed_over.push((conn, usize::from(to)));
    }

    fn start_tls(&mut self, conn: usize) -> bool {
        self.securing.push(conn);
        true
    }

    fn login(&mut self, request: LoginRequest) -> Result<(), LoginRequest> {
        self.logins.push(request);
        Ok(())
    }

    fn arm(&mut self, at: Instant, timer: HubTimer) -> TimerHandle {
        self.handles += 1;
        self.timers.insert((at, self.handles), timer);
        self.armed.insert(self.handles, at);
        TimerHandle(self.handles)
    }

    fn cancel(&mut self, timer: TimerHandle) {
        if let Some(at) = self.armed.remove(&timer.0) {
            self.timers.remove(&(at, timer.0));
        }
    }
}
