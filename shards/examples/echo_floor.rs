//! The floor: what the kernel alone costs for moving bytes between sockets.
//!
//! One thread, one io_uring ring, multishot accept and receive with provided buffers, everything a connection
//! has to send coalesced into one send at a time. No executor, no app, no mesh, no timer, no bounds: what it
//! leaves out is what a daemon adds. Prints the address it listens on and runs until it is killed.
//!
//! `echo_floor --listen ADDR [--core N] [--pairs | --facing N | --groups SUBSCRIBERS:PUBLISHERS[:BYTES]]`: echoes. Connections
//! are known by their order of arrival: with `--pairs` every two are joined, and the bytes of one go to the other; with
//! `--facing` each of the first N is joined with the one that came N later; with `--groups` the bytes of a group's publishers go
//! to all of its subscribers, who come first. Several publishers of one subscriber need BYTES, the length of their messages:
//! a receive may end within a message, and only whole ones may follow each other.
#![allow(
    unsafe_code,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a measuring instrument, not part of the daemon"
)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use socket2::{Domain, Socket, Type};

const BUFFERS: u16 = 1_024;
const BUFFER_BYTES: usize = 2_048;
const COMPLETIONS_PER_TURN: usize = 1_024;

const ACCEPT: u64 = 1 << 32;
const RECEIVE: u64 = 2 << 32;
const SEND: u64 = 3 << 32;

/// Where the bytes of a connection go.
#[derive(Clone, Copy)]
enum Joined {
    Alone,
    Pairs,
    Facing(usize),
    Groups { subscribers: usize, publishers: usize },
}

impl Joined {
    fn receivers(self, place: usize) -> Range<usize> {
        let one = |to: usize| to..to + 1;
        match self {
            Self::Alone => one(place),
            Self::Pairs => one(place ^ 1),
            Self::Facing(count) if place < count => one(place + count),
            Self::Facing(count) => one(place - count),
            Self::Groups {
                subscribers,
                publishers,
            } => {
                let group = subscribers + publishers;
                let first = place - place % group;
                // What subscribers say is heard by nobody.
                if place % group < subscribers {
                    0..0
                } else {
                    first..first + subscribers
                }
            }
        }
    }
}

struct Options {
    listen: SocketAddr,
    core: Option<usize>,
    joined: Joined,
    message_bytes: NonZeroUsize,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        listen: "127.0.0.1:0".parse()?,
        core: None,
        joined: Joined::Alone,
        message_bytes: NonZeroUsize::MIN,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--listen" => options.listen = value()?.parse()?,
            "--core" => options.core = Some(value()?.parse()?),
            "--pairs" => options.joined = Joined::Pairs,
            "--facing" => options.joined = Joined::Facing(value()?.parse()?),
            "--groups" => {
                (options.joined, options.message_bytes) = groups(&value()?)?;
            }
            _ => {
                let known = "--listen ADDR, --core N, --pairs, --facing N, --groups N:N[:BYTES]";
                return Err(format!("{argument} is not known; use {known}").into());
            }
        }
    }
    Ok(options)
}

/// Reads `SUBSCRIBERS:PUBLISHERS[:BYTES]`.
fn groups(value: &str) -> Result<(Joined, NonZeroUsize), Box<dyn Error>> {
    let numbers: Vec<&str> = value.split(':').collect();
    let (subscribers, publishers, bytes) = match numbers[..] {
        [subscribers, "1"] => (subscribers, "1", "1"),
        [subscribers, publishers, bytes] => (subscribers, publishers, bytes),
        _ => return Err("--groups needs N:1, or N:N:BYTES for several publishers".into()),
    };
    let joined = Joined::Groups {
        subscribers: subscribers.parse()?,
        publishers: publishers.parse()?,
    };
    Ok((joined, bytes.parse()?))
}

fn bind(core: usize) {
    // SAFETY: a set of cores is plain bits, and the kernel reads it from a local.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(4_096)?;
    Ok(socket.into())
}

/// Provided buffers. Never unmapped: the process ends with them.
struct Buffers {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
}

impl Buffers {
    fn register(ring: &IoUring) -> std::io::Result<Self> {
        let map = |bytes: usize| {
            let (protection, flags) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            );
            // SAFETY: a fresh anonymous mapping touches nothing that exists.
            let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
            if at == libc::MAP_FAILED {
                return Err(std::io::Error::last_os_error());
            }
            Ok(at.cast::<u8>())
        };
        let mut buffers = Self {
            entries: map(usize::from(BUFFERS) * size_of::<BufRingEntry>())?.cast(),
            memory: map(usize::from(BUFFERS) * BUFFER_BYTES)?,
            tail: 0,
        };
        let address = buffers.entries.addr() as u64;
        // SAFETY: the ring is mapped, of this length, and never unmapped.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(address, BUFFERS, 0, 0)?;
        };
        for id in 0..BUFFERS {
            buffers.give(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    fn at(&self, id: u16) -> *mut u8 {
        // SAFETY: the kernel names buffers below their number.
        unsafe { self.memory.add(usize::from(id) * BUFFER_BYTES) }
    }

    fn give(&mut self, id: u16) {
        let address = self.at(id).addr() as u64;
        // SAFETY: the place is below the number of entries.
        let entry = unsafe { &mut *self.entries.add(usize::from(self.tail & (BUFFERS - 1))) };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the tail lies in the first entry, aligned, written by this side only.
        unsafe {
            (*BufRingEntry::tail(self.entries).cast::<AtomicU16>()).store(self.tail, Ordering::Release);
        };
    }
}

#[derive(Default)]
struct Conn {
    fd: RawFd,
    open: bool,
    receiving: bool,
    sending: bool,
    dirty: bool,
    /// The beginning of a message whose rest has not come.
    begun: Vec<u8>,
    pending: Vec<u8>,
    flight: Vec<u8>,
}

struct Floor {
    ring: IoUring,
    buffers: Buffers,
    listener: TcpListener,
    conns: Vec<Conn>,
    /// The lowest is taken first: a second load finds its connections in their order again.
    free: BinaryHeap<Reverse<usize>>,
    dirty: Vec<usize>,
    rearm: Vec<usize>,
    joined: Joined,
    message_bytes: NonZeroUsize,
}

impl Floor {
    fn push(&mut self, entry: squeue::Entry, data: u64) {
        let entry = entry.user_data(data);
        // SAFETY: what entries point to are flights of connections, which change only after the completion.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.enter(0);
        }
    }

    fn enter(&mut self, want: u32) {
        let count = self.ring.submission().len() as u32;
        // SAFETY: no argument is passed; 1 is IORING_ENTER_GETEVENTS.
        let entered = unsafe {
            self.ring
                .submitter()
                .enter::<libc::sigset_t>(count, want, 1, None)
        };
        if let Err(error) = entered
            && !matches!(
                error.raw_os_error(),
                Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)
            )
        {
            eprintln!("io_uring_enter: {error}");
            std::process::exit(1);
        }
    }

    fn accept(&mut self) {
        let listener = Fd(self.listener.as_raw_fd());
        self.push(opcode::AcceptMulti::new(listener).build(), ACCEPT);
    }

    fn receive(&mut self, place: usize) {
        let conn = &mut self.conns[place];
        conn.receiving = true;
        let entry = opcode::RecvMulti::new(Fd(conn.fd), 0).build();
        self.push(entry, RECEIVE | place as u64);
    }

    fn opened(&mut self, fd: RawFd) {
        let conn = Conn {
            fd,
            open: true,
            ..Conn::default()
        };
        let place = match self.free.pop() {
            Some(Reverse(place)) => {
                self.conns[place] = conn;
                place
            }
            None => {
                self.conns.push(conn);
                self.conns.len() - 1
            }
        };
        self.receive(place);
    }

    fn received(&mut self, place: usize, completion: &cqueue::Entry) {
        if let Some(id) = cqueue::buffer_select(completion.flags()) {
            let len = completion.result().max(0) as usize;
            // SAFETY: the kernel filled the first `len` bytes of this buffer and has given it to us.
            let bytes = unsafe { std::slice::from_raw_parts(self.buffers.at(id), len) };
            self.pass(place, bytes);
            self.buffers.give(id);
        }
        if cqueue::more(completion.flags()) {
            return;
        }
        self.conns[place].receiving = false;
        if completion.result() > 0 || completion.result() == -libc::ENOBUFS {
            self.rearm.push(place);
        } else {
            self.conns[place].open = false;
            self.finish(place);
        }
    }

    /// Passes whole messages on and keeps the beginning of the next: another publisher's may follow.
    fn pass(&mut self, place: usize, bytes: &[u8]) {
        let mut begun = std::mem::take(&mut self.conns[place].begun);
        let all = begun.len() + bytes.len();
        let (now, later) = match all - all % self.message_bytes {
            0 => (&[][..], bytes),
            whole => bytes.split_at(whole - begun.len()),
        };
        if !now.is_empty() {
            for to in self.joined.receivers(place) {
                if let Some(conn) = self.conns.get_mut(to).filter(|conn| conn.open) {
                    conn.pending.extend_from_slice(&begun);
                    conn.pending.extend_from_slice(now);
                    if !conn.sending && !std::mem::replace(&mut conn.dirty, true) {
                        self.dirty.push(to);
                    }
                }
            }
            begun.clear();
        }
        begun.extend_from_slice(later);
        self.conns[place].begun = begun;
    }

    fn sent(&mut self, place: usize, result: i32) {
        let conn = &mut self.conns[place];
        conn.sending = false;
        let sent = result.max(0) as usize;
        if sent < conn.flight.len() && result > 0 {
            let mut rest = conn.flight.split_off(sent);
            rest.extend_from_slice(&conn.pending);
            conn.pending = rest;
        }
        conn.flight.clear();
        if !conn.open {
            self.finish(place);
        } else if !conn.pending.is_empty() && !std::mem::replace(&mut conn.dirty, true) {
            self.dirty.push(place);
        }
    }

    fn finish(&mut self, place: usize) {
        let conn = &mut self.conns[place];
        if conn.receiving || conn.sending || conn.fd < 0 {
            return;
        }
        // SAFETY: the descriptor is ours and is forgotten here.
        unsafe { libc::close(conn.fd) };
        conn.fd = -1;
        conn.pending = Vec::new();
        conn.flight = Vec::new();
        self.free.push(Reverse(place));
    }

    fn send_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for place in dirty.drain(..) {
            let conn = &mut self.conns[place];
            conn.dirty = false;
            if !conn.open || conn.sending || conn.pending.is_empty() {
                continue;
            }
            std::mem::swap(&mut conn.pending, &mut conn.flight);
            conn.sending = true;
            let entry = opcode::Send::new(Fd(conn.fd), conn.flight.as_ptr(), conn.flight.len() as u32)
                .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
                .build();
            self.push(entry, SEND | place as u64);
        }
        self.dirty = dirty;
    }

    fn run(mut self) {
        self.accept();
        let mut batch: Vec<cqueue::Entry> = Vec::with_capacity(COMPLETIONS_PER_TURN);
        loop {
            batch.extend(self.ring.completion().take(COMPLETIONS_PER_TURN));
            for completion in batch.drain(..) {
                let (kind, place) = (
                    completion.user_data() & !0xffff_ffff,
                    completion.user_data() as u32 as usize,
                );
                match kind {
                    ACCEPT => {
                        if completion.result() >= 0 {
                            self.opened(completion.result());
                        }
                        if !cqueue::more(completion.flags()) {
                            self.accept();
                        }
                    }
                    RECEIVE => self.received(place, &completion),
                    _ => self.sent(place, completion.result()),
                }
            }
            self.buffers.publish();
            let mut rearm = std::mem::take(&mut self.rearm);
            rearm.drain(..).for_each(|place| self.receive(place));
            self.rearm = rearm;
            self.send_dirty();
            let ready = !self.ring.completion().is_empty();
            self.enter(u32::from(!ready));
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    if let Some(core) = options.core {
        bind(core);
    }
    let listener = listen(options.listen)?;
    println!("{}", listener.local_addr()?);
    let ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(8_192)
        .build(1_024)?;
    let buffers = Buffers::register(&ring)?;
    let floor = Floor {
        ring,
        buffers,
        listener,
        conns: Vec::new(),
        free: BinaryHeap::new(),
        dirty: Vec::new(),
        rearm: Vec::new(),
        joined: options.joined,
        message_bytes: options.message_bytes,
    };
    floor.run();
    Ok(())
}
