//! The data ring: submission and completion. Knows what operations there are, not what they mean.
//!
//! Invariants: every operation is counted once when it is pushed and once when its last completion is taken,
//! so `outstanding` is what the kernel still holds; memory the kernel may touch outlives that. Each entry into
//! the kernel publishes the buffers given back before. An operation that finds the queue full waits in memory
//! and is never lost.
#![expect(
    unsafe_code,
    reason = "operations carry addresses the kernel reads and writes"
)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, TimeoutFlags, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::buffers::Buffers;
use crate::config::Config;
use crate::limits;
use crate::operation::{Op, Token};
use crate::outq::Send;
use crate::stats::Stats;

/// Run deferred work and flush overflowed completions (`IORING_ENTER_GETEVENTS`).
const GET_EVENTS: u32 = 1;
/// The one group of provided buffers.
const BUFFER_GROUP: u16 = 0;

/// An answer of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) token: Token,
    /// What the system call would have returned; negative is an error number.
    pub(crate) result: i32,
    /// Whether the operation goes on.
    pub(crate) more: bool,
    /// The provided buffer that holds the bytes.
    pub(crate) buffer: Option<u16>,
}

/// One shard's ring and receive buffers. Belongs to the thread that made it.
pub(crate) struct Ring {
    uring: IoUring,
    buffers: Buffers,
    waiting: VecDeque<squeue::Entry>,
    outstanding: usize,
    broken: Option<io::Error>,
    period: Box<Timespec>,
    event: Box<u64>,
    stats: Arc<Stats>,
}

impl Ring {
    /// A ring for this thread.
    pub(crate) fn new(config: &Config, stats: Arc<Stats>) -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(config.completion_entries)
            .build(config.submission_entries)?;
        let buffers = Buffers::new(config.receive_buffers, config.receive_buffer_bytes)?;
        let (address, count) = buffers.ring();
        // SAFETY: the ring of buffers is mapped, of this length, and outlives the registration: `drop`
        // unregisters it before the mapping goes.
        unsafe {
            uring
                .submitter()
                .register_buf_ring_with_flags(address, count, BUFFER_GROUP, 0)?;
        }
        let mut ring = Self {
            uring,
            buffers,
            waiting: VecDeque::new(),
            outstanding: 0,
            broken: None,
            period: Box::new(Timespec::from(Duration::from_millis(limits::TICK_MS))),
            event: Box::new(0),
            stats,
        };
        ring.buffers.publish();
        Ok(ring)
    }

    /// The opcodes in use that this kernel does not know.
    pub(crate) fn missing_operations(&self) -> io::Result<Vec<&'static str>> {
        let mut probe = io_uring::Probe::new();
        self.uring.submitter().register_probe(&mut probe)?;
        let used = [
            ("accept", opcode::Accept::CODE),
            ("recv", opcode::Recv::CODE),
            ("send", opcode::Send::CODE),
            ("sendmsg", opcode::SendMsg::CODE),
            ("read", opcode::Read::CODE),
            ("poll", opcode::PollAdd::CODE),
            ("timeout", opcode::Timeout::CODE),
            ("cancel", opcode::AsyncCancel::CODE),
            ("message to a ring", opcode::MsgRingData::CODE),
        ];
        Ok(used
            .into_iter()
            .filter(|&(_, code)| !probe.is_supported(code))
            .map(|(name, _)| name)
            .collect())
    }

    /// The ring's descriptor, for other shards' bells.
    pub(crate) fn fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    /// Operations the kernel still holds.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The receive buffers.
    pub(crate) fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    // Operations.

    pub(crate) fn accept(&mut self, listener: RawFd, token: Token) {
        self.push(
            opcode::AcceptMulti::new(Fd(listener))
                .flags(libc::SOCK_CLOEXEC)
                .build(),
            token,
        );
    }

    pub(crate) fn receive(&mut self, socket: RawFd, token: Token) {
        self.push(opcode::RecvMulti::new(Fd(socket), BUFFER_GROUP).build(), token);
    }

    /// Sends all of `send`, unless an error comes between.
    ///
    /// # Safety
    /// What `send` points to stays where it is and unchanged until the completion was taken.
    pub(crate) unsafe fn send(&mut self, socket: RawFd, send: Send, token: Token) {
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let entry = match send {
            Send::Bytes { at, len } => opcode::Send::new(Fd(socket), at, len).flags(flags).build(),
            Send::Vector { header } => opcode::SendMsg::new(Fd(socket), header)
                .flags(flags.unsigned_abs())
                .build(),
        };
        self.push(entry, token);
    }

    /// Cancels the operation with the token `target`.
    pub(crate) fn cancel(&mut self, target: Token) {
        let which = CancelBuilder::user_data(target.to_bits());
        self.push(opcode::AsyncCancel2::new(which).build(), Token::of(Op::Cancel, 0));
    }

    /// Cancels everything there is.
    pub(crate) fn cancel_all(&mut self) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push(entry, Token::of(Op::Cancel, 0));
    }

    /// Starts the tick, until it is cancelled or the completion queue overflows.
    pub(crate) fn tick(&mut self) {
        let period = &raw const *self.period;
        let entry = opcode::Timeout::new(period)
            .flags(TimeoutFlags::MULTISHOT)
            .count(0)
            .build();
        self.push(entry, Token::of(Op::Tick, 0));
    }

    /// Waits for one write to an eventfd.
    pub(crate) fn read_event(&mut self, event: RawFd) {
        let to = (&raw mut *self.event).cast::<u8>();
        self.push(
            opcode::Read::new(Fd(event), to, 8).build(),
            Token::of(Op::Outside, 0),
        );
    }

    /// Waits until a descriptor is readable, once.
    pub(crate) fn poll(&mut self, fd: RawFd, token: Token) {
        let readable = u32::from(libc::POLLIN.unsigned_abs());
        self.push(opcode::PollAdd::new(Fd(fd), readable).build(), token);
    }

    /// Posts a completion to another shard's ring. Only a failure comes back, as [`Op::BellFailed`].
    pub(crate) fn bell(&mut self, target: RawFd, peer: usize) {
        let there = Token::of(Op::Rung, 0).to_bits();
        let entry = opcode::MsgRingData::new(Fd(target), 0, there, None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        self.push(entry, Token::of(Op::BellFailed, peer));
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) {
        if token.op.is_counted() {
            self.outstanding += 1;
        }
        self.waiting.push_back(entry.user_data(token.to_bits()));
        self.hand_over();
        if !self.waiting.is_empty() {
            if let Err(error) = self.enter(0) {
                self.broken = Some(error);
            }
            self.hand_over();
        }
    }

    /// Moves what waits into the submission queue, as far as it has room.
    fn hand_over(&mut self) {
        let mut queue = self.uring.submission();
        while let Some(entry) = self.waiting.front() {
            // SAFETY: the addresses in an entry belong to this struct, to the registry's queues or to nobody,
            // and outlive the operation (see the callers and `drop`).
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.waiting.pop_front();
        }
    }

    // Turns.

    /// Enters the kernel: submits everything, runs deferred work, waits for `want` completions.
    pub(crate) fn enter(&mut self, want: u32) -> io::Result<()> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        self.buffers.publish();
        self.stats.enters.add(1);
        let queue = self.uring.submission();
        let count = u32::try_from(queue.len()).unwrap_or(u32::MAX);
        if queue.cq_overflow() {
            self.stats.completion_overflows.add(1);
        }
        drop(queue);
        // SAFETY: no argument is passed, and the entries submitted hold what `push` was given.
        let entered = unsafe {
            self.uring
                .submitter()
                .enter::<libc::sigset_t>(count, want, GET_EVENTS, None)
        };
        tolerate(entered)?;
        self.hand_over();
        Ok(())
    }

    /// As [`Ring::enter`] with one completion wanted, but comes back after `wait` at the latest.
    pub(crate) fn enter_for(&mut self, wait: Duration) -> io::Result<()> {
        self.buffers.publish();
        let wait = Timespec::from(wait);
        let args = SubmitArgs::new().timespec(&wait);
        let entered = self.uring.submitter().submit_with_args(1, &args);
        tolerate(entered)?;
        self.hand_over();
        Ok(())
    }

    /// Whether something is to be submitted.
    pub(crate) fn has_unsubmitted(&mut self) -> bool {
        !self.waiting.is_empty() || !self.uring.submission().is_empty()
    }

    /// Whether completions can be taken.
    pub(crate) fn is_ready(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }

    /// Whether completions can be taken, perhaps only after entering the kernel.
    pub(crate) fn is_pending(&mut self) -> bool {
        let queue = self.uring.submission();
        let flagged = queue.taskrun() || queue.cq_overflow();
        drop(queue);
        flagged || self.is_ready()
    }

    /// Takes at most `most` completions.
    pub(crate) fn reap(&mut self, most: usize, into: &mut Vec<Completion>) -> io::Result<()> {
        into.clear();
        if !self.is_ready() && self.is_pending() {
            self.enter(0)?;
        }
        for entry in self.uring.completion().take(most) {
            let Some(token) = Token::from_bits(entry.user_data()) else {
                continue;
            };
            let more = cqueue::more(entry.flags());
            if !more && token.op.is_counted() {
                self.outstanding = self.outstanding.saturating_sub(1);
            }
            into.push(Completion {
                token,
                result: entry.result(),
                more,
                buffer: cqueue::buffer_select(entry.flags()),
            });
        }
        self.stats.completions.add_len(into.len());
        Ok(())
    }
}

/// Errors that another try may not have: interrupted, out of memory for the moment, completions to be taken
/// first, waited long enough.
fn tolerate(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ETIME) => Ok(()),
            _ => Err(error),
        },
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.outstanding > 0 {
            // The kernel may still write to the buffers and read what is being sent: ending here is the only
            // way left to keep memory sound. A shard leaks its ring before it lets this happen.
            std::process::abort();
        }
        drop(self.uring.submitter().unregister_buf_ring(BUFFER_GROUP));
    }
}
