//! The machine that the simulation puts under a hub: connections are byte queues, timers a sorted map, the
//! control thread a list of requests to be answered.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use nexus::hub::{HubTimer, Io};
use nexus::route::port::TimerHandle;
use nexus::session::Output;
use nexus::store::login::LoginRequest;
use nexus::time::Instant;

use crate::xmpp::BOUND;

/// The server's end of one connection.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// Written by the session, not yet on its way.
    pub sent: Vec<u8>,
    /// Not to be written to any more.
    pub is_closed: bool,
    /// Gone, but the hub has not been told.
    pub is_broken: bool,
    /// To be shown what it holds once more.
    pub is_resumed: bool,
}

/// What happened to a connection, in the order the hub did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// The session told its client that it is attached.
    Attached(usize),
    /// The hub closed it.
    Closed(usize),
}

/// One shard's machine.
#[derive(Default)]
pub(crate) struct Machine {
    pub wires: HashMap<usize, Wire>,
    pub logins: Vec<LoginRequest>,
    pub timers: BTreeMap<(Instant, u64), HubTimer>,
    /// Deadlines by handle.
    armed: HashMap<u64, Instant>,
    handles: u64,
    /// Connections with something to send, to close or to resume.
    pub touched: Vec<usize>,
    pub notes: Vec<Note>,
    /// Connections that have another slot now.
    pub retagged: Vec<(usize, u32)>,
    /// Connections that are to go to another shard.
    pub handed_over: Vec<(usize, usize)>,
}

impl Machine {
    /// The next timer that is due, disarmed.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<HubTimer> {
        let first = self.timers.first_entry().filter(|first| first.key().0 <= now)?;
        let ((_, handle), timer) = first.remove_entry();
        self.armed.remove(&handle);
        Some(timer)
    }

    /// When the next timer is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.timers.keys().next().map(|(at, _)| *at)
    }
}

/// The first byte of a CONNACK; its fourth is the code.
const CONNACK: u8 = 0x20;
/// The first byte of a text message of WebSocket.
const TEXT: u8 = 0x81;

/// Whether a frame tells a client that it is attached.
fn attaches(frame: &[u8]) -> bool {
    match frame[0] {
        CONNACK => frame[3] == 0,
        TEXT => {
            let head = if frame[1] < 126 { 2 } else { 4 };
            frame[head..].starts_with(BOUND)
        }
        _ => false,
    }
}

pub(crate) struct WireOutput<'a> {
    conn: usize,
    wire: &'a mut Wire,
    notes: &'a mut Vec<Note>,
}

impl Output for WireOutput<'_> {
    type Shared = Rc<Vec<u8>>;
    const FRAMING: u8 = 0;

    fn write(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.wire.sent.len();
        encode(&mut self.wire.sent);
        let frame = &self.wire.sent[before..];
        assert_eq!(frame.len(), len, "a frame is not as long as it was announced");
        if attaches(frame) {
            self.notes.push(Note::Attached(self.conn));
        }
    }

    fn share(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Self::Shared {
        let mut frame = Vec::with_capacity(len);
        encode(&mut frame);
        assert_eq!(
            frame.len(),
            len,
            "a shared frame is not as long as it was announced"
        );
        Rc::new(frame)
    }

    fn push(&mut self, frame: &Self::Shared) {
        self.wire.sent.extend_from_slice(frame);
    }

    fn shared(frame: &Self::Shared) -> &[u8] {
        frame
    }

    fn queued(&self) -> usize {
        self.wire.sent.len()
    }
}

impl Io for Machine {
    type Conn = usize;
    type Shared = Rc<Vec<u8>>;
    type Output<'a> = WireOutput<'a>;
    const NOWHERE: usize = usize::MAX;

    fn output(&mut self, conn: usize) -> Option<WireOutput<'_>> {
        let wire = self
            .wires
            .get_mut(&conn)
            .filter(|wire| !wire.is_closed && !wire.is_broken)?;
        self.touched.push(conn);
        Some(WireOutput {
            conn,
            wire,
            notes: &mut self.notes,
        })
    }

    fn close(&mut self, conn: usize) {
        if let Some(wire) = self.wires.get_mut(&conn) {
            wire.is_closed = true;
            self.notes.push(Note::Closed(conn));
            self.touched.push(conn);
        }
    }

    fn resume(&mut self, conn: usize) {
        if let Some(wire) = self.wires.get_mut(&conn) {
            wire.is_resumed = true;
            self.touched.push(conn);
        }
    }

    fn retag(&mut self, conn: usize, slot: u32) {
        self.retagged.push((conn, slot));
    }

    fn hand_over(&mut self, conn: usize, to: u16) {
        self.handed_over.push((conn, usize::from(to)));
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
