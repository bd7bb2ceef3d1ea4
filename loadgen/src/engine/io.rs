//! The sockets of one thread: opening, queueing output, flushing it once per turn.
//!
//! Invariants: a [`ConnId`] names one connection for ever (slots are reused under another generation); bytes of
//! one connection leave in the order queued; a connection is in `dirty` at most once, and only while it has
//! output that no blocked socket holds back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::epoll;
use socket2::{Domain, Protocol, Socket, Type};

use super::sources::Sources;
use super::timeline::{Counters, Shared};
use super::tls::{Tls, TlsStream};
use crate::protocol::Wire;
use crate::protocol::ws::{Subprotocol, WsState};

/// Names a connection of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnId {
    slot: u32,
    generation: u32,
}

impl ConnId {
    fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(super) fn from_u64(data: u64) -> Self {
        let low = u32::try_from(data & u64::from(u32::MAX)).unwrap_or(0);
        let high = u32::try_from(data >> 32).unwrap_or(0);
        Self {
            slot: low,
            generation: high,
        }
    }
}

/// A listener of the server, and what is spoken to it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub server: SocketAddr,
    /// What flows inside.
    pub wire: Wire,
    /// WebSocket path, where it goes over WebSocket.
    pub ws_path: Option<String>,
    /// TLS, where it is spoken.
    pub tls: Option<Tls>,
}

/// Where connections go.
#[derive(Clone, Debug)]
pub struct Target {
    /// The listeners; connections name theirs by its place.
    pub endpoints: Vec<Endpoint>,
    /// Where they come from.
    pub sources: Sources,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    stream: TcpStream,
    tls: Option<Box<TlsStream>>,
    out: Vec<u8>,
    written: usize,
    /// Received bytes of a frame that is not complete.
    pub(super) spill: Vec<u8>,
    pub(super) ws: Option<Box<WsState>>,
    pub(super) wire: Wire,
    endpoint: usize,
    pub(super) tag: u32,
    pub(super) connected: bool,
    dirty: bool,
    blocked: bool,
    /// Nothing is read any more, not even that the peer has ended it.
    pub(super) deaf: bool,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    conn: Option<Conn>,
}

/// What [`Io::read`] found.
pub(super) enum ReadOutcome {
    /// This many bytes, and the socket is empty.
    Drained(usize),
    /// This many bytes, and there may be more.
    More(usize),
    /// The peer ended the connection, or it broke.
    Ended(String),
}

/// The sockets of one thread.
#[derive(Debug)]
pub struct Io {
    epoll: OwnedFd,
    slots: Vec<Slot>,
    free: Vec<u32>,
    dirty: Vec<u32>,
    opened: u64,
    thread: usize,
    shared: Arc<Shared>,
    target: Arc<Target>,
    /// The clock as last read, nanoseconds.
    pub now_ns: u64,
    /// Added to the tag of each connection that is opened: parts of one scenario tell theirs apart by it.
    pub tag_base: u32,
}

impl Io {
    pub(super) fn new(thread: usize, shared: Arc<Shared>, target: Arc<Target>) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            opened: 0,
            thread,
            shared,
            target,
            now_ns: crate::clock::now_ns(),
            tag_base: 0,
        })
    }

    pub(super) fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// What the threads share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// This thread's counters.
    pub fn counters(&self) -> &Counters {
        static NONE: std::sync::LazyLock<Counters> = std::sync::LazyLock::new(Counters::default);
        self.shared.counters.get(self.thread).unwrap_or(&NONE)
    }

    /// Starts a connection to an endpoint; `opened` or `closed` of the scenario follows, with `tag`.
    ///
    /// # Errors
    /// What the system says: no more files or ports.
    pub fn open(&mut self, tag: u32, endpoint: usize) -> io::Result<ConnId> {
        let target = Arc::clone(&self.target);
        let to = target.endpoints.get(endpoint).ok_or(ErrorKind::NotFound)?;
        let socket = Socket::new(Domain::for_address(to.server), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = self.source(to.server) {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&to.server.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        let subprotocol = match to.wire {
            Wire::Xmpp => Subprotocol::Xmpp,
            Wire::Mqtt(_) | Wire::XmppStream { .. } | Wire::Nats | Wire::Raw { .. } => Subprotocol::Mqtt,
        };
        let at_once = to.tls.as_ref().filter(|_| !to.wire.starts_tls());
        let tls = at_once.map(Tls::connect).transpose()?;
        let ws = to.ws_path.as_ref().map(|_| Box::new(WsState::new(subprotocol)));
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.slots.len()).map_err(|_| ErrorKind::OutOfMemory)?;
                self.slots.push(Slot::default());
                slot
            }
        };
        let place = self.slot_mut(slot).ok_or(ErrorKind::NotFound)?;
        let id = ConnId {
            slot,
            generation: place.generation,
        };
        let stream = TcpStream::from(socket);
        let conn = Conn {
            stream,
            tls,
            out: Vec::new(),
            written: 0,
            spill: Vec::new(),
            ws,
            wire: to.wire,
            endpoint,
            tag: self.tag_base.wrapping_add(tag),
            connected: false,
            dirty: false,
            blocked: false,
            deaf: false,
        };
        use epoll::EventFlags as On;
        epoll::add(
            &self.epoll,
            &conn.stream,
            epoll::EventData::new_u64(id.to_u64()),
            On::IN | On::OUT | On::RDHUP | On::ET,
        )?;
        if let Some(place) = self.slot_mut(slot) {
            place.conn = Some(conn);
        }
        Ok(id)
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(slot).ok()?)
    }

    /// The address that the next connection comes from.
    fn source(&mut self, server: SocketAddr) -> Option<IpAddr> {
        let turn = self.opened;
        self.opened += 1;
        self.target.sources.at(turn, server)
    }

    pub(super) fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let place = self.slot_mut(id.slot)?;
        if place.generation != id.generation {
            return None;
        }
        place.conn.as_mut()
    }

    /// The connection is established: starts the handshakes of TLS and WebSocket where there are any; true if the
    /// scenario may speak.
    pub(super) fn established(&mut self, id: ConnId) -> Result<bool, String> {
        let Some(conn) = self.conn_mut(id) else {
            return Ok(false);
        };
        match conn.stream.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Err(format!("connect: {error}")),
        }
        conn.connected = true;
        if conn.tls.is_some() {
            self.mark(id);
            return Ok(false);
        }
        self.upgrade(id)
    }

    /// Starts TLS on a connection that spoke without it until now; `opened` of the scenario follows once more.
    ///
    /// # Errors
    /// Where the endpoint has none, or it cannot begin.
    pub fn secure(&mut self, id: ConnId) -> io::Result<()> {
        let target = Arc::clone(&self.target);
        if let Some(conn) = self.conn_mut(id) {
            let to = target.endpoints.get(conn.endpoint);
            let tls = to.and_then(|to| to.tls.as_ref()).ok_or(ErrorKind::Unsupported)?;
            conn.tls = Some(tls.connect()?);
            self.mark(id);
        }
        Ok(())
    }

    /// Whether the handshake of TLS is over, just now.
    pub(super) fn has_secured(&mut self, id: ConnId) -> bool {
        let tls = self.conn_mut(id).and_then(|conn| conn.tls.as_mut());
        tls.is_some_and(|tls| tls.has_opened())
    }

    /// Starts the handshake of WebSocket where there is one; true if the scenario may speak.
    pub(super) fn upgrade(&mut self, id: ConnId) -> Result<bool, String> {
        let target = Arc::clone(&self.target);
        let seed = id.slot.wrapping_mul(0x9e37_79b9) ^ u32::try_from(self.now_ns & 0xffff_ffff).unwrap_or(1);
        let Some(conn) = self.conn_mut(id) else {
            return Ok(false);
        };
        let to = target.endpoints.get(conn.endpoint);
        let path = to.and_then(|to| Some((to, to.ws_path.as_deref()?)));
        let (Some(ws), Some((to, path))) = (conn.ws.as_mut(), path) else {
            return Ok(true);
        };
        let request = ws.start(&to.server.to_string(), path, seed).map_err(|e| e.0)?;
        conn.out.extend_from_slice(&request);
        self.mark(id);
        Ok(false)
    }

    /// Queues one frame; it leaves at the end of the turn. Nothing happens if the connection has ended.
    pub fn send(&mut self, id: ConnId, frame: &[u8]) {
        let Some(conn) = self.conn_mut(id) else {
            return;
        };
        match conn.ws.as_mut() {
            None => conn.out.extend_from_slice(frame),
            Some(ws) => ws.put_message(frame, &mut conn.out),
        }
        if !conn.dirty {
            self.mark(id);
        }
    }

    pub(super) fn pong(&mut self, id: ConnId, payload: &[u8]) {
        if let Some(conn) = self.conn_mut(id) {
            if let Some(ws) = conn.ws.as_mut() {
                ws.put_pong(payload, &mut conn.out);
            }
            self.mark(id);
        }
    }

    fn mark(&mut self, id: ConnId) {
        let mut newly = false;
        if let Some(conn) = self.conn_mut(id) {
            newly = !conn.dirty && !conn.blocked;
            conn.dirty |= newly;
        }
        if newly {
            self.dirty.push(id.slot);
        }
    }

    /// From now on nothing is read of it: what the server sends fills its buffers, then the server's.
    pub fn stop_reading(&mut self, id: ConnId) {
        if let Some(conn) = self.conn_mut(id) {
            conn.deaf = true;
        }
    }

    /// Bytes queued and not yet taken by the socket.
    pub fn backlog_bytes(&mut self, id: ConnId) -> usize {
        self.conn_mut(id).map_or(0, |conn| conn.out.len() - conn.written)
    }

    /// Writes what is queued, then ends the connection; the scenario hears nothing more of it.
    pub fn finish(&mut self, id: ConnId) {
        if let Some(conn) = self.conn_mut(id) {
            if conn.tls.is_some() {
                conn.write_out();
                if let Some(tls) = &mut conn.tls {
                    tls.close(&mut conn.stream);
                }
                return self.drop_conn(id);
            }
            let pending = conn.out.get(conn.written..).unwrap_or_default();
            // A last DISCONNECT fits any send buffer; if the socket refuses it the connection ends regardless.
            let _ = conn.stream.write(pending);
        }
        self.drop_conn(id);
    }

    pub(super) fn drop_conn(&mut self, id: ConnId) {
        let Some(place) = self.slot_mut(id.slot) else {
            return;
        };
        if place.generation == id.generation && place.conn.take().is_some() {
            place.generation = place.generation.wrapping_add(1);
            self.free.push(id.slot);
        }
    }

    /// Writes every dirty connection's output with one call each. Broken ones are left to their read event.
    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            let Some(conn) = self.slot_mut(slot).and_then(|place| place.conn.as_mut()) else {
                continue;
            };
            conn.dirty = false;
            conn.write_out();
        }
        self.dirty = dirty;
    }

    /// The socket takes bytes again; true if it had been full and everything queued is out.
    pub(super) fn writable(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conn_mut(id) else {
            return false;
        };
        if !conn.blocked {
            return false;
        }
        conn.write_out();
        !conn.blocked
    }

    /// Reads into `buffer`.
    pub(super) fn read(&mut self, id: ConnId, buffer: &mut [u8]) -> ReadOutcome {
        let Some(conn) = self.conn_mut(id) else {
            return ReadOutcome::Drained(0);
        };
        if let Some(tls) = &mut conn.tls {
            let outcome = tls.read(&mut conn.stream, buffer);
            if tls.wants_write() {
                self.mark(id);
            }
            return outcome;
        }
        match conn.stream.read(buffer) {
            Ok(0) => ReadOutcome::Ended("closed by the server".into()),
            Ok(read) if read < buffer.len() => ReadOutcome::Drained(read),
            Ok(read) => ReadOutcome::More(read),
            Err(error) if error.kind() == ErrorKind::WouldBlock => ReadOutcome::Drained(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => ReadOutcome::More(0),
            Err(error) => ReadOutcome::Ended(error.to_string()),
        }
    }
}

impl Conn {
    fn write_out(&mut self) {
        self.blocked = false;
        if let Some(tls) = &mut self.tls {
            let pending = self.out.get(self.written..).unwrap_or_default();
            match tls.write(&mut self.stream, pending) {
                Ok((taken, took_all)) => {
                    self.written += taken;
                    self.blocked = !took_all;
                }
                Err(_) => self.written = self.out.len(),
            }
            return self.forget_written();
        }
        while let Some(pending) = self.out.get(self.written..).filter(|pending| !pending.is_empty()) {
            match self.stream.write(pending) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.written = self.out.len();
                }
            }
        }
        self.forget_written();
    }

    fn forget_written(&mut self) {
        if self.blocked {
            // Keep the moved-over prefix from growing without bound while the server is slow.
            if self.written > self.out.len() / 2 {
                self.out.drain(..self.written);
                self.written = 0;
            }
        } else if self.written >= self.out.len() {
            self.out.clear();
            self.written = 0;
        }
    }
}
