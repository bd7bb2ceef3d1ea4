//! A bare relay between connections paired by order of arrival, on one epoll thread: what the load generator itself
//! can do is found by pointing `pairs --raw` at it with a large window.
//!
//! `cargo run --release -p nexus-loadgen --example relay -- 127.0.0.1:7000 [CORE]`

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::event::epoll::{self, EventData, EventFlags};

const LISTENER: u64 = u64::MAX;

struct Side {
    stream: TcpStream,
    pending: Vec<u8>,
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7000".into());
    if let Some(core) = arguments.next().and_then(|core| core.parse().ok()) {
        loadgen::engine::pin(core).map_err(io::Error::other)?;
    }
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut sides: HashMap<u64, Side> = HashMap::new();
    let mut next = 0;
    let mut events = Vec::with_capacity(512);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let id = event.data.u64();
            if id == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let on = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
                    epoll::add(&poll, &stream, EventData::new_u64(next), on)?;
                    sides.insert(
                        next,
                        Side {
                            stream,
                            pending: Vec::new(),
                        },
                    );
                    next += 1;
                }
                continue;
            }
            if relay(&mut sides, id, &mut buffer).is_err() {
                sides.remove(&id);
                sides.remove(&(id ^ 1));
            }
        }
    }
}

/// Writes what waits for `id`, then passes on what it sent.
fn relay(sides: &mut HashMap<u64, Side>, id: u64, buffer: &mut [u8]) -> io::Result<()> {
    if let Some(side) = sides.get_mut(&id) {
        side.write()?;
    }
    loop {
        let Some(side) = sides.get_mut(&id) else {
            return Ok(());
        };
        let read = match side.stream.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(peer) = sides.get_mut(&(id ^ 1)) {
            peer.pending
                .extend_from_slice(buffer.get(..read).unwrap_or_default());
            peer.write()?;
        }
        if read < buffer.len() {
            return Ok(());
        }
    }
}

impl Side {
    fn write(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
