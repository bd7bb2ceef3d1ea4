//! How machines begin and end: stops, faults, refusals.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use shards::{
    Clock, Close, Config, ConnId, LaunchError, Listener, Plane, Prober, Progress, RingProblem, launch,
    launch_on,
};

use crate::echo::Echo;
use crate::support::{Seated, Tenant, all, config, connect, exchange, pattern, start, stop, until};

/// Queues a lot on any byte; says good-bye when the daemon stops.
#[derive(Clone, Default)]
struct Polite {
    conns: Vec<ConnId>,
    closed: Arc<AtomicUsize>,
    stopped: Arc<AtomicUsize>,
    rude: bool,
}

const QUEUED: usize = 8 * 1_024 * 1_024;

impl Tenant for Polite {
    type Parcel = ();

    fn opened(&mut self, _: &mut Plane<()>, conn: ConnId, _: usize, _: std::net::SocketAddr) -> u32 {
        self.conns.push(conn);
        0
    }

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, _: u32, bytes: &mut [u8]) -> Progress {
        plane.buffer(conn).unwrap().extend_from_slice(&pattern(QUEUED));
        all(bytes)
    }

    fn stopping(&mut self, plane: &mut Plane<()>) {
        self.stopped.fetch_add(1, Ordering::Relaxed);
        for conn in self.conns.drain(..).filter(|_| !self.rude) {
            if let Some(out) = plane.buffer(conn) {
                out.extend_from_slice(b"bye");
            }
            plane.close(conn, Close::AfterFlush);
        }
    }

    fn closed(&mut self, _: &mut Plane<()>, _: ConnId, _: u32) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_stop_sends_what_is_queued_and_the_good_bye_and_then_ends() {
    let polite = Polite::default();
    let running = start(
        Config {
            linger: Duration::from_secs(20),
            ..config(2)
        },
        {
            let polite = polite.clone();
            move |_| polite.clone()
        },
    );
    let mut clients: Vec<_> = (0..6).map(|_| connect(&running)).collect();
    for client in &mut clients {
        client.write_all(b"!").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
    }
    running.stop(Duration::from_secs(20));
    let address = running.addresses()[0];
    until("both shards were told", || {
        polite.stopped.load(Ordering::Relaxed) == 2
    });
    until("the listeners are closed", || {
        std::net::TcpStream::connect(address).is_err()
    });
    let mut expected = pattern(QUEUED);
    expected.extend_from_slice(b"bye");
    for client in &mut clients {
        assert!(crate::support::read_to_end(client) == expected[1..]);
    }
    drop(clients);
    running.join().unwrap();
    assert_eq!(polite.closed.load(Ordering::Relaxed), 6);
    assert_eq!(polite.stopped.load(Ordering::Relaxed), 2, "told once each");
}

#[test]
fn a_stop_ends_when_the_drain_time_is_over_and_every_connection_is_told_once() {
    for rude in [false, true] {
        let polite = Polite {
            rude,
            ..Polite::default()
        };
        let running = start(config(1), {
            let polite = polite.clone();
            move |_| polite.clone()
        });
        let mut stuck = connect(&running);
        stuck.write_all(b"!").unwrap();
        stuck.read_exact(&mut [0; 1]).unwrap();
        let clock = Clock::start();
        running.stop(Duration::from_millis(200));
        running.join().unwrap();
        let took = Duration::from_nanos(clock.now_ns());
        assert!(
            (Duration::from_millis(190)..Duration::from_secs(2)).contains(&took),
            "{took:?}"
        );
        assert_eq!(polite.closed.load(Ordering::Relaxed), 1);
    }
}

/// Sends parcels around when the daemon stops; each says how often it is to be passed on.
struct Chain {
    owed: std::collections::VecDeque<u32>,
    handled: Arc<AtomicUsize>,
}

const HOPS: u32 = 400;
const CHAINS: usize = 6;

impl Tenant for Chain {
    type Parcel = u32;

    fn stopping(&mut self, _: &mut Plane<u32>) {
        self.owed.extend([HOPS; CHAINS]);
    }

    fn parcel(&mut self, _: &mut Plane<u32>, _: usize, hops: u32) {
        self.handled.fetch_add(1, Ordering::Relaxed);
        self.owed.extend(hops.checked_sub(1));
    }

    fn flush(&mut self, plane: &mut Plane<u32>) {
        let next = (plane.shard() + 1) % plane.shards();
        while let Some(hops) = self.owed.pop_front() {
            if plane.send(next, hops).is_err() {
                return self.owed.push_front(hops);
            }
        }
    }

    fn has_more(&self) -> bool {
        !self.owed.is_empty()
    }
}

#[test]
fn what_follows_from_a_stop_reaches_the_other_shards_before_they_end() {
    for (shards, room) in [(2, 1_024), (2, 1), (3, 2)] {
        for _ in 0..20 {
            let handled = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&handled);
            let config = Config {
                mesh_ring_parcels: room,
                ..config(shards)
            };
            let running = start(config, move |_| Chain {
                owed: std::collections::VecDeque::new(),
                handled: Arc::clone(&counter),
            });
            running.stop(Duration::from_secs(20));
            running.join().unwrap();
            let all = shards * CHAINS * usize::try_from(HOPS + 1).unwrap();
            assert_eq!(handled.load(Ordering::Relaxed), all, "{shards} shards, {room}");
        }
    }
}

/// Never done.
struct Restless;

impl Tenant for Restless {
    type Parcel = ();

    fn has_more(&self) -> bool {
        true
    }
}

#[test]
fn a_stop_waits_for_a_tenant_that_is_never_done_no_longer_than_the_drain_time() {
    let running = start(config(2), |_| Restless);
    let clock = Clock::start();
    running.stop(Duration::from_millis(200));
    running.join().unwrap();
    let took = Duration::from_nanos(clock.now_ns());
    let expected = Duration::from_millis(190)..Duration::from_secs(2);
    assert!(expected.contains(&took), "{took:?}");
}

/// Answers the first byte and ends the connection.
#[derive(Clone, Copy)]
struct Refuser;

impl Tenant for Refuser {
    type Parcel = ();

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, _: u32, bytes: &mut [u8]) -> Progress {
        plane.buffer(conn).unwrap().extend_from_slice(b"no");
        plane.close(conn, Close::AfterFlush);
        all(bytes)
    }
}

#[test]
fn a_peer_that_sends_on_after_the_end_is_cut_off_after_a_bounded_number_of_bytes() {
    let config = Config {
        linger: Duration::from_secs(60),
        linger_bytes_max: 100_000,
        ..config(1)
    };
    let running = start(config, |_| Refuser);
    let mut patient = connect(&running);
    patient.write_all(b"?").unwrap();
    patient.write_all(&pattern(90_000)).unwrap();
    assert_eq!(crate::support::read_to_end(&mut patient), b"no");
    let mut flooder = connect(&running);
    let chunk = pattern(64 * 1_024);
    let mut written = 0;
    let clock = Clock::start();
    while flooder.write_all(&chunk).is_ok() {
        written += chunk.len();
        assert!(written < 64 * 1_024 * 1_024, "it is read for ever");
    }
    let stats = running.stats(0);
    until("it was cut", || stats.linger_floods.get() == 1);
    assert!(stats.received_bytes.get() < 1_000_000);
    let told = Duration::from_nanos(clock.now_ns());
    assert!(
        told < Duration::from_secs(5),
        "the peer was kept waiting: {told:?}"
    );
    drop((patient, flooder));
    until("both are gone", || stats.released.get() == 2);
    stop(running);
}

#[test]
fn an_idle_machine_stops_at_once() {
    let running = start(config(2), |_| Echo::default());
    let clock = Clock::start();
    stop(running);
    assert!(clock.now_ns() < 1_000_000_000);
}

/// Panics on any byte.
struct Fragile;

impl Tenant for Fragile {
    type Parcel = ();

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, _: u32, bytes: &mut [u8]) -> Progress {
        if bytes.contains(&b'!') {
            plane.buffer(conn).unwrap().extend_from_slice(&pattern(QUEUED));
        }
        assert!(!bytes.contains(&b'x'), "on purpose");
        all(bytes)
    }
}

#[test]
fn a_panic_in_one_shard_ends_them_all_with_a_fault_that_names_it() {
    let running = start(config(3), |_| Fragile);
    // With sends in flight, so that the memory of a panicking shard is still with the kernel.
    let mut clients: Vec<_> = (0..12).map(|_| connect(&running)).collect();
    for client in &mut clients {
        client.write_all(b"!").unwrap();
    }
    clients[0].write_all(b"x").unwrap();
    until("all have left", || running.has_ended());
    let fault = running.join().unwrap_err();
    assert_eq!(fault.what, "panic: on purpose");
    assert!(fault.shard < 3);
    assert!(fault.to_string().starts_with("shard "));
}

#[test]
fn a_tenant_that_cannot_be_made_ends_the_launch_with_an_error() {
    let made = launch(config(2), |shard| {
        assert!(shard == 0, "no tenant for this one");
        Seated(Fragile)
    });
    let Err(LaunchError::Shard { shard: 1, .. }) = made else {
        panic!("{made:?}")
    };
}

/// A machine whose kernel refuses io_uring.
struct WithoutRings;

impl Prober for WithoutRings {
    fn kernel(&self) -> String {
        "6.8.0".to_owned()
    }
    fn ring(&self, _: &Config) -> Result<(), RingProblem> {
        Err(RingProblem::Refused(std::io::Error::from_raw_os_error(
            libc::EPERM,
        )))
    }
    fn memlock_bytes(&self) -> Option<u64> {
        None
    }
    fn open_files(&self) -> Option<u64> {
        None
    }
    fn cores(&self) -> usize {
        1
    }
}

#[test]
fn a_machine_without_io_uring_gets_one_clear_line() {
    let error = launch_on(&WithoutRings, config(1), |_| Seated(Fragile)).unwrap_err();
    let line = error.to_string();
    assert!(
        line.starts_with("no shard can run here: io_uring ") && !line.contains('\n'),
        "{line}"
    );
    assert!(line.contains("kernel.io_uring_disabled"), "{line}");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let running = start(config(1), |_| Echo::default());
    let again = Config {
        listeners: vec![Listener::new(running.addresses()[0])],
        ..config(1)
    };
    let error = launch(again, |_| Seated(Fragile)).unwrap_err().to_string();
    assert!(error.contains(&running.addresses()[0].to_string()), "{error}");
    stop(running);
}

#[test]
fn a_connection_over_the_bound_is_closed_and_counted_and_the_others_go_on() {
    let config = Config {
        connections_max: 2,
        ..config(1)
    };
    let running = start(config, |_| Echo::default());
    let mut first = connect(&running);
    let mut second = connect(&running);
    assert_eq!(exchange(&mut first, b"1"), b"1");
    assert_eq!(exchange(&mut second, b"2"), b"2");
    let mut third = connect(&running);
    assert_eq!(third.read(&mut [0; 1]).unwrap_or(0), 0);
    until("it is counted", || running.stats(0).refused.get() == 1);
    drop(first);
    until("a slot is free", || running.stats(0).released.get() == 1);
    let mut fourth = connect(&running);
    assert_eq!(exchange(&mut fourth, b"4"), b"4");
    drop((second, third, fourth));
    stop(running);
}

/// Closes every connection at once as it opens.
#[derive(Clone, Default)]
struct Closed {
    done: Arc<AtomicBool>,
}

impl Tenant for Closed {
    type Parcel = ();

    fn opened(&mut self, plane: &mut Plane<()>, conn: ConnId, _: usize, _: std::net::SocketAddr) -> u32 {
        plane.buffer(conn).unwrap().extend_from_slice(b"never seen");
        plane.close(conn, Close::Now);
        plane.close(conn, Close::AfterFlush);
        9
    }

    fn closed(&mut self, _: &mut Plane<()>, _: ConnId, tag: u32) {
        assert_eq!(tag, 9);
        assert!(!self.done.swap(true, Ordering::Relaxed), "once");
    }
}

#[test]
fn a_connection_closed_while_it_opens_is_told_once_with_its_tag() {
    let closed = Closed::default();
    let running = start(config(1), {
        let closed = closed.clone();
        move |_| closed.clone()
    });
    let mut client = connect(&running);
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
    until("the slot is free", || running.stats(0).released.get() == 1);
    assert!(closed.done.load(Ordering::Relaxed));
    stop(running);
}
