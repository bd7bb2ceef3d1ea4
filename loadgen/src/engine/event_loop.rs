//! One thread's loop: scenario's turn -> flush -> wait -> read and dispatch.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventFlags};

use super::io::{ConnId, Io, ReadOutcome, Target};
use super::timeline::{Schedule, Shared};
use super::{Scenario, ThreadReport};
use crate::clock::{SECOND_NS, now_ns, thread_cpu_ns};
use crate::protocol::ws::Frame;
use crate::protocol::{Malformed, next_packet};
use crate::server::thread_waited_ns;

/// Bytes of the one read buffer of a thread.
const READ_BUFFER_BYTES: usize = 512 * 1024;
/// Events taken per wait.
const EVENTS_MAX: usize = 512;
/// The longest wait, so that a thread notices the schedule and the end of the run.
const WAIT_NS_MAX: u64 = 2_000_000;

/// Runs `scenario` on the calling thread until it is done, time is up or the run is stopped.
///
/// # Errors
/// A failing `epoll` instance. Broken connections are the scenario's to judge.
pub(super) fn run<S: Scenario>(
    mut scenario: S,
    thread: usize,
    shared: &Arc<Shared>,
    target: &Arc<Target>,
    spin: bool,
) -> io::Result<(S, ThreadReport)> {
    // Waits end when asked, not up to 50 µs later.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let io = Io::new(thread, Arc::clone(shared), Arc::clone(target))?;
    let mut this = Loop {
        io,
        buffer: vec![0; READ_BUFFER_BYTES],
    };
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let mut cpu = CpuMeter::default();
    let mut ready = false;
    loop {
        this.io.now_ns = now_ns();
        let next_ns = scenario.turn(&mut this.io);
        if !ready && scenario.ready() {
            ready = true;
            shared.threads_ready.fetch_add(1, Ordering::AcqRel);
        }
        this.io.flush();
        let schedule = shared.schedule();
        cpu.update(schedule, this.io.now_ns);
        if shared.stopped() || schedule.is_some_and(|s| over(s, this.io.now_ns, scenario.drained())) {
            break;
        }
        this.wait(&mut events, next_ns, spin)?;
        this.io.now_ns = now_ns();
        for event in events.drain(..) {
            this.dispatch(&mut scenario, ConnId::from_u64(event.data.u64()), event.flags);
        }
    }
    let measured = cpu.finish(this.io.now_ns);
    shared.threads_ended.fetch_add(1, Ordering::AcqRel);
    Ok((scenario, measured))
}

fn over(schedule: Schedule, now_ns: u64, drained: bool) -> bool {
    now_ns >= schedule.drain_ns || (now_ns >= schedule.until_ns && drained)
}

struct Loop {
    io: Io,
    buffer: Vec<u8>,
}

impl Loop {
    fn wait(&self, events: &mut Vec<epoll::Event>, next_ns: Option<u64>, spin: bool) -> io::Result<()> {
        let most = self.io.now_ns.saturating_add(WAIT_NS_MAX);
        let left = next_ns
            .map_or(most, |next| next.min(most))
            .saturating_sub(now_ns());
        let timeout = if spin { 0 } else { left };
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout / SECOND_NS).unwrap_or(0),
            tv_nsec: i64::try_from(timeout % SECOND_NS).unwrap_or(0),
        };
        match epoll::wait(
            self.io.epoll(),
            rustix::buffer::spare_capacity(events),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn dispatch<S: Scenario>(&mut self, scenario: &mut S, id: ConnId, flags: EventFlags) {
        let Some(conn) = self.io.conn_mut(id) else {
            return;
        };
        let (tag, connected) = (conn.tag, conn.connected);
        if !connected && flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
            match self.io.established(id) {
                Ok(true) => scenario.opened(&mut self.io, id, tag),
                Ok(false) => {}
                Err(why) => return self.close(scenario, id, tag, &why),
            }
        } else if flags.contains(EventFlags::OUT) && self.io.writable(id) {
            scenario.writable(&mut self.io, id, tag);
        }
        let readable = EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        if flags.intersects(readable) {
            self.receive(
                scenario,
                id,
                tag,
                flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
            );
        }
    }

    /// Reads until the socket is empty; to its end if the peer has `hung_up`.
    fn receive<S: Scenario>(&mut self, scenario: &mut S, id: ConnId, tag: u32, hung_up: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(conn) = self.io.conn_mut(id).filter(|conn| !conn.deaf) {
            // A partial frame goes before the bytes that complete it.
            let held = conn.spill.len();
            if buffer.len() < held + READ_BUFFER_BYTES / 2 {
                buffer.resize(held + READ_BUFFER_BYTES, 0);
            }
            if held > 0 {
                let spill = std::mem::take(&mut conn.spill);
                crate::bytes_at::patch(&mut buffer, 0, &spill);
            }
            let outcome = self.io.read(id, buffer.get_mut(held..).unwrap_or_default());
            let (read, more) = match outcome {
                ReadOutcome::Drained(read) => (read, hung_up && read > 0),
                ReadOutcome::More(read) => (read, true),
                ReadOutcome::Ended(why) => {
                    self.close(scenario, id, tag, &why);
                    break;
                }
            };
            self.io.now_ns = now_ns();
            if self.io.has_secured(id) {
                match self.io.upgrade(id) {
                    Ok(true) => scenario.opened(&mut self.io, id, tag),
                    Ok(false) => {}
                    Err(why) => {
                        self.close(scenario, id, tag, &why);
                        break;
                    }
                }
            }
            let bytes = buffer.get(..held + read).unwrap_or_default();
            match self.parse(scenario, id, tag, bytes) {
                Ok(used) => {
                    let rest = bytes.get(used..).unwrap_or_default();
                    if let Some(conn) = self.io.conn_mut(id).filter(|_| !rest.is_empty()) {
                        conn.spill.extend_from_slice(rest);
                    }
                }
                Err(Malformed(why)) => {
                    self.close(scenario, id, tag, &why);
                    break;
                }
            }
            if !more {
                break;
            }
        }
        self.buffer = buffer;
    }

    /// Hands every complete packet to the scenario; the number of bytes used.
    fn parse<S: Scenario>(
        &mut self,
        scenario: &mut S,
        id: ConnId,
        tag: u32,
        bytes: &[u8],
    ) -> Result<usize, Malformed> {
        if self.io.conn_mut(id).is_some_and(|conn| conn.ws.is_some()) {
            return self.parse_ws(scenario, id, tag, bytes);
        }
        self.packets(scenario, id, tag, bytes)
    }

    fn packets<S: Scenario>(
        &mut self,
        scenario: &mut S,
        id: ConnId,
        tag: u32,
        bytes: &[u8],
    ) -> Result<usize, Malformed> {
        let Some(wire) = self.io.conn_mut(id).map(|conn| conn.wire) else {
            return Ok(bytes.len());
        };
        let mut used = 0;
        while let Some((packet, len)) = next_packet(wire, bytes.get(used..).unwrap_or_default())? {
            let frame = bytes.get(used..used + len).unwrap_or_default();
            used += len;
            scenario.packet(&mut self.io, id, tag, packet, frame);
        }
        Ok(used)
    }

    fn parse_ws<S: Scenario>(
        &mut self,
        scenario: &mut S,
        id: ConnId,
        tag: u32,
        bytes: &[u8],
    ) -> Result<usize, Malformed> {
        let mut used = 0;
        while let Some(conn) = self.io.conn_mut(id) {
            let Some(ws) = conn.ws.as_mut() else {
                break;
            };
            let Some((frame, len)) = ws.next_frame(bytes.get(used..).unwrap_or_default())? else {
                break;
            };
            used += len;
            match frame {
                Frame::Open => scenario.opened(&mut self.io, id, tag),
                Frame::Data {
                    bytes,
                    readable: false,
                } => ws.partial.extend_from_slice(bytes),
                Frame::Data { bytes, .. } if ws.partial.is_empty() => {
                    let taken = self.packets(scenario, id, tag, bytes)?;
                    self.hold_partial(id, bytes.get(taken..).unwrap_or_default());
                }
                Frame::Data { bytes, .. } => {
                    let mut joined = std::mem::take(&mut ws.partial);
                    joined.extend_from_slice(bytes);
                    let taken = self.packets(scenario, id, tag, &joined)?;
                    self.hold_partial(id, joined.get(taken..).unwrap_or_default());
                }
                Frame::Ping(payload) => self.io.pong(id, payload),
                Frame::Close(code) => {
                    return Err(Malformed(format!("closed by the server, WebSocket code {code}")));
                }
                Frame::Other => {}
            }
        }
        Ok(used)
    }

    fn hold_partial(&mut self, id: ConnId, rest: &[u8]) {
        if let Some(ws) = self.io.conn_mut(id).and_then(|conn| conn.ws.as_mut()) {
            ws.partial.extend_from_slice(rest);
        }
    }

    fn close<S: Scenario>(&mut self, scenario: &mut S, id: ConnId, tag: u32, why: &str) {
        self.io.drop_conn(id);
        scenario.closed(&mut self.io, id, tag, why);
    }
}

/// Clock, CPU time and waiting time of the thread.
#[derive(Clone, Copy)]
struct Mark {
    at_ns: u64,
    cpu_ns: u64,
    waited_ns: u64,
}

impl Mark {
    fn at(at_ns: u64) -> Self {
        Self {
            at_ns,
            cpu_ns: thread_cpu_ns(),
            waited_ns: thread_waited_ns(),
        }
    }
}

/// What the thread used between the two ends of the measurement.
#[derive(Default)]
struct CpuMeter {
    first: Option<Mark>,
    last: Option<Mark>,
}

impl CpuMeter {
    fn update(&mut self, schedule: Option<Schedule>, now_ns: u64) {
        let Some(schedule) = schedule else {
            return;
        };
        if self.first.is_none() && now_ns >= schedule.from_ns {
            self.first = Some(Mark::at(now_ns));
        }
        if self.last.is_none() && now_ns >= schedule.until_ns {
            self.last = Some(Mark::at(now_ns));
        }
    }

    fn finish(self, now_ns: u64) -> ThreadReport {
        let until = self.last.unwrap_or_else(|| Mark::at(now_ns));
        let from = self.first.unwrap_or(until);
        ThreadReport {
            wall_ns: until.at_ns.saturating_sub(from.at_ns),
            cpu_ns: until.cpu_ns.saturating_sub(from.cpu_ns),
            waited_ns: until.waited_ns.saturating_sub(from.waited_ns),
        }
    }
}
