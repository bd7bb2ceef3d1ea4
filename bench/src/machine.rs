//! The machine under a hub: connections are byte queues, shared frames are buffers that are used again when
//! nobody refers to them, timers are the real wheel. Nothing here allocates once its buffers have grown.

use std::rc::Rc;

use nexus::hub::{HubTimer, Io};
use nexus::route::port::TimerHandle;
use nexus::session::Output;
use nexus::store::login::LoginRequest;
use nexus::time::Instant;
use shards::TimerId;
use shards::wheel::Wheel;

/// A frame that several connections share.
pub type Frame = Rc<Vec<u8>>;

/// What a connection was sent and the network has not taken.
#[derive(Debug, Default)]
struct Wire {
    /// Written for this connection alone.
    private: Vec<u8>,
    /// Shared frames, each with the length that `private` had when it was appended.
    shared: Vec<(usize, Frame)>,
    bytes: usize,
    is_touched: bool,
    is_closed: bool,
}

/// Buffers for shared frames.
#[derive(Debug, Default)]
struct Frames {
    buffers: Vec<Frame>,
    next: usize,
    made: u64,
    written: Written,
}

/// Bytes that sessions encoded, wherever they went: each is a copy of what was in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// For one connection, into its own queue.
    pub private: u64,
    /// Into frames that connections share, once for all of them.
    pub shared: u64,
}

impl Frames {
    fn make(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Frame {
        self.made += 1;
        self.written.shared += len as u64;
        for _ in 0..self.buffers.len() {
            self.next = (self.next + 1) % self.buffers.len();
            let frame = &mut self.buffers[self.next];
            if let Some(buffer) = Rc::get_mut(frame) {
                buffer.clear();
                buffer.reserve(len);
                encode(buffer);
                return Rc::clone(frame);
            }
        }
        let mut buffer = Vec::with_capacity(len);
        encode(&mut buffer);
        let frame = Rc::new(buffer);
        self.buffers.push(Rc::clone(&frame));
        frame
    }
}

/// One shard's machine. Connections are numbered from 0 in the order of [`Machine::connect`].
#[derive(Default)]
pub struct Machine {
    wires: Vec<Wire>,
    /// Connections that were written to since the last [`Machine::flush`].
    touched: Vec<u32>,
    frames: Frames,
    wheel: Wheel,
    /// Logins that wait for their verdict.
    pub logins: Vec<LoginRequest>,
}

impl Machine {
    /// A connection.
    pub fn connect(&mut self) -> u32 {
        self.wires.push(Wire::default());
        u32::try_from(self.wires.len() - 1).unwrap()
    }

    /// Takes what all connections were sent off their queues; how many bytes that is.
    pub fn flush(&mut self) -> usize {
        let mut bytes = 0;
        for conn in self.touched.drain(..) {
            let wire = &mut self.wires[conn as usize];
            bytes += wire.bytes;
            wire.clear();
        }
        bytes
    }

    /// What a connection was sent since the last flush, in order.
    pub fn sent(&self, conn: u32) -> Vec<u8> {
        let wire = &self.wires[conn as usize];
        let mut bytes = Vec::with_capacity(wire.bytes);
        let mut from = 0;
        for (at, frame) in &wire.shared {
            bytes.extend_from_slice(&wire.private[from..*at]);
            bytes.extend_from_slice(frame);
            from = *at;
        }
        bytes.extend_from_slice(&wire.private[from..]);
        bytes
    }

    /// What was encoded so far.
    pub fn written(&self) -> Written {
        self.frames.written
    }

    /// Shared frames that were encoded.
    pub fn frames_made(&self) -> u64 {
        self.frames.made
    }
}

impl Wire {
    fn clear(&mut self) {
        self.private.clear();
        self.shared.clear();
        self.bytes = 0;
        self.is_touched = false;
    }
}

/// A connection's send queue.
#[derive(Debug)]
pub struct WireOutput<'a> {
    wire: &'a mut Wire,
    frames: &'a mut Frames,
}

impl Output for WireOutput<'_> {
    type Shared = Frame;
    const FRAMING: u8 = 0;

    fn write(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        self.wire.private.reserve(len);
        encode(&mut self.wire.private);
        self.frames.written.private += len as u64;
        self.wire.bytes += len;
    }

    fn share(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Frame {
        self.frames.make(len, encode)
    }

    fn push(&mut self, frame: &Frame) {
        self.wire.shared.push((self.wire.private.len(), Rc::clone(frame)));
        self.wire.bytes += frame.len();
    }

    fn shared(frame: &Frame) -> &[u8] {
        frame
    }

    fn queued(&self) -> usize {
        self.wire.bytes
    }
}

impl Io for Machine {
    type Conn = u32;
    type Shared = Frame;
    type Output<'a> = WireOutput<'a>;
    const NOWHERE: u32 = u32::MAX;

    fn output(&mut self, conn: u32) -> Option<WireOutput<'_>> {
        let wire = self.wires.get_mut(conn as usize).filter(|wire| !wire.is_closed)?;
        if !std::mem::replace(&mut wire.is_touched, true) {
            self.touched.push(conn);
        }
        Some(WireOutput {
            wire,
            frames: &mut self.frames,
        })
    }

    fn close(&mut self, conn: u32) {
        self.wires[conn as usize].is_closed = true;
    }

    fn resume(&mut self, _: u32) {}

    fn retag(&mut self, _: u32, _: u32) {
        unreachable!("no session here outlives its connection");
    }

    fn hand_over(&mut self, _: u32, _: u16) {
        unreachable!("no session here outlives its connection");
    }

    fn login(&mut self, request: LoginRequest) -> Result<(), LoginRequest> {
        self.logins.push(request);
        Ok(())
    }

    fn arm(&mut self, at: Instant, timer: HubTimer) -> TimerHandle {
        TimerHandle(self.wheel.insert(at.as_nanos(), timer.0).to_bits())
    }

    fn cancel(&mut self, timer: TimerHandle) {
        self.wheel.cancel(TimerId::from_bits(timer.0));
    }
}
