//! What the tests share: a tenant with defaults, a machine on free ports, clients with deadlines.

use std::any::Any;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use shards::{App, Clock, Config, ConnId, Listener, Next, Plane, Progress, Running, Secured, launch};

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What travels with a connection: each test knows what it packed.
pub type Luggage = Box<dyn Any + Send>;

/// A tenant of which a test writes only what it is about.
pub trait Tenant: Sized + 'static {
    type Parcel: Send + 'static;
    fn opened(&mut self, _: &mut Plane<Self::Parcel>, _: ConnId, _: usize, _: SocketAddr) -> u32 {
        0
    }
    fn received(&mut self, _: &mut Plane<Self::Parcel>, _: ConnId, _: u32, bytes: &mut [u8]) -> Progress {
        all(bytes)
    }
    fn secured(&mut self, _: &mut Plane<Self::Parcel>, _: ConnId, _: u32, _: Secured) {}
    fn closed(&mut self, _: &mut Plane<Self::Parcel>, _: ConnId, _: u32) {}
    fn leaving(&mut self, _: &mut Plane<Self::Parcel>, _: ConnId, _: u32) -> Luggage {
        unreachable!("nothing is handed over")
    }
    fn handed(&mut self, _: &mut Plane<Self::Parcel>, _: ConnId, _: Luggage) -> u32 {
        unreachable!("nothing is handed over")
    }
    fn drained(&mut self, _: &mut Plane<Self::Parcel>, _: ConnId, _: u32) {}
    fn parcel(&mut self, _: &mut Plane<Self::Parcel>, _: usize, _: Self::Parcel) {}
    fn timer(&mut self, _: &mut Plane<Self::Parcel>, _: u64) {}
    fn rung(&mut self, _: &mut Plane<Self::Parcel>) {}
    fn flush(&mut self, _: &mut Plane<Self::Parcel>) {}
    fn has_more(&self) -> bool {
        false
    }
    fn stopping(&mut self, _: &mut Plane<Self::Parcel>) {}
}

/// Makes an [`App`] of a [`Tenant`].
pub struct Seated<T>(pub T);

impl<T: Tenant> App for Seated<T> {
    type Parcel = T::Parcel;
    type Luggage = Luggage;
    fn opened(
        &mut self,
        plane: &mut Plane<T::Parcel>,
        conn: ConnId,
        listener: usize,
        peer: SocketAddr,
    ) -> u32 {
        self.0.opened(plane, conn, listener, peer)
    }
    fn received(
        &mut self,
        plane: &mut Plane<T::Parcel>,
        conn: ConnId,
        tag: u32,
        bytes: &mut [u8],
    ) -> Progress {
        self.0.received(plane, conn, tag, bytes)
    }
    fn secured(&mut self, plane: &mut Plane<T::Parcel>, conn: ConnId, tag: u32, secured: Secured) {
        self.0.secured(plane, conn, tag, secured);
    }
    fn closed(&mut self, plane: &mut Plane<T::Parcel>, conn: ConnId, tag: u32) {
        self.0.closed(plane, conn, tag);
    }
    fn leaving(&mut self, plane: &mut Plane<T::Parcel>, conn: ConnId, tag: u32) -> Luggage {
        self.0.leaving(plane, conn, tag)
    }
    fn handed(&mut self, plane: &mut Plane<T::Parcel>, conn: ConnId, luggage: Luggage) -> u32 {
        self.0.handed(plane, conn, luggage)
    }
    fn drained(&mut self, plane: &mut Plane<T::Parcel>, conn: ConnId, tag: u32) {
        self.0.drained(plane, conn, tag);
    }
    fn parcel(&mut self, plane: &mut Plane<T::Parcel>, from: usize, parcel: T::Parcel) {
        self.0.parcel(plane, from, parcel);
    }
    fn timer(&mut self, plane: &mut Plane<T::Parcel>, key: u64) {
        self.0.timer(plane, key);
    }
    fn rung(&mut self, plane: &mut Plane<T::Parcel>) {
        self.0.rung(plane);
    }
    fn flush(&mut self, plane: &mut Plane<T::Parcel>) {
        self.0.flush(plane);
    }
    fn has_more(&self) -> bool {
        self.0.has_more()
    }
    fn stopping(&mut self, plane: &mut Plane<T::Parcel>) {
        self.0.stopping(plane);
    }
}

/// Everything was used; any more is welcome.
pub fn all(bytes: &[u8]) -> Progress {
    Progress {
        used: bytes.len(),
        next: Next::Need(1),
    }
}

/// A machine for tests: not bound to cores, one listener on a free port of the loopback, short lingers.
pub fn config(shards: usize) -> Config {
    Config {
        shards,
        pin: false,
        listeners: vec![Listener::new("127.0.0.1:0".parse().unwrap())],
        connections_max: 4_096,
        linger: Duration::from_secs(2),
        ..Config::default()
    }
}

/// Starts `config` with a tenant per shard.
pub fn start<T: Tenant>(config: Config, make: impl Fn(usize) -> T + Send + Clone + 'static) -> Running {
    launch(config, move |shard| Seated(make(shard))).unwrap()
}

/// Stops a machine that must end by itself within the drain time, and cleanly.
pub fn stop(running: Running) {
    running.stop(PATIENCE);
    running.join().unwrap();
}

/// A client that does not wait for ever.
pub fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.addresses()[0]).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends `bytes` and reads as many.
pub fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).unwrap();
    read(stream, bytes.len())
}

pub fn read(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut got = vec![0; len];
    stream.read_exact(&mut got).unwrap();
    got
}

/// Reads until the peer ends.
pub fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    got
}

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let clock = Clock::start();
    while !condition() {
        assert!(
            u128::from(clock.now_ns()) < PATIENCE.as_nanos(),
            "in vain: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Bytes that differ from place to place.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap())
        .collect()
}
