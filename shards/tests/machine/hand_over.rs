//! Connections that move from shard to shard.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use shards::{Clock, Close, Config, ConnId, Next, Plane, Progress, Running};
use socket2::SockRef;

use crate::support::{
    Luggage, PATIENCE, Tenant, config, connect, pattern, read, read_to_end, start, stop, until,
};

/// What a test and all shards know together.
#[derive(Default)]
struct Common {
    /// Moves wait until this is set and the shards are rung.
    wait: AtomicBool,
    /// Who arrives stays held until its shard is rung.
    stay: AtomicBool,
    /// The shard is kept busy while this is set, from the next ring on.
    stall: [AtomicBool; 3],
    stalled: AtomicUsize,
    /// Bytes that are queued to be sent before each move.
    queue: AtomicUsize,
    /// Says nothing and closes nothing when the daemon stops.
    rude: AtomicBool,
    opened: AtomicUsize,
    closed: AtomicUsize,
    left: AtomicUsize,
    handed: AtomicUsize,
    hops: AtomicUsize,
}

impl Common {
    /// Every connection that a shard was told of has ended there once.
    #[track_caller]
    fn assert_balance(&self) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        assert_eq!(
            count(&self.opened) + count(&self.handed),
            count(&self.closed) + count(&self.left)
        );
    }
}

/// The luggage.
struct Bag {
    hops: usize,
    common: Arc<Common>,
}

/// Echoes; at each `M` the connection moves to the next shard.
struct Traveller {
    common: Arc<Common>,
    tags: HashMap<ConnId, (u32, usize)>,
    next_tag: u32,
    to_move: Vec<ConnId>,
    kept: Vec<ConnId>,
    stopping: bool,
}

impl Traveller {
    fn new(common: &Arc<Common>) -> Self {
        Self {
            common: Arc::clone(common),
            tags: HashMap::new(),
            next_tag: 1,
            to_move: Vec::new(),
            kept: Vec::new(),
            stopping: false,
        }
    }

    fn welcome(&mut self, conn: ConnId, hops: usize) -> u32 {
        self.next_tag += 1;
        assert!(self.tags.insert(conn, (self.next_tag, hops)).is_none());
        self.next_tag
    }

    fn part(&mut self, plane: &mut Plane<()>, conn: ConnId, tag: u32) -> usize {
        let (expected, hops) = self.tags.remove(&conn).expect("told once");
        assert_eq!(tag, expected);
        assert!(
            plane.buffer(conn).is_none() && !plane.hand_over(conn, next(plane)),
            "stale"
        );
        hops
    }
}

fn next(plane: &Plane<()>) -> usize {
    (plane.shard() + 1) % plane.shards()
}

fn add(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Tenant for Traveller {
    type Parcel = ();

    fn opened(&mut self, _: &mut Plane<()>, conn: ConnId, _: usize, _: SocketAddr) -> u32 {
        add(&self.common.opened);
        self.welcome(conn, 0)
    }

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, tag: u32, bytes: &mut [u8]) -> Progress {
        assert_eq!(tag, self.tags[&conn].0);
        assert!(!plane.hand_over(conn, next(plane)), "it is not held");
        let mark = bytes.iter().position(|&byte| byte == b'M');
        let plain = mark.unwrap_or(bytes.len());
        plane.buffer(conn).unwrap().extend_from_slice(&bytes[..plain]);
        if mark.is_none() {
            return Progress {
                used: plain,
                next: Next::Need(1),
            };
        }
        let queue = self.common.queue.load(Ordering::Relaxed);
        plane.buffer(conn).unwrap().extend_from_slice(&pattern(queue));
        self.to_move.push(conn);
        Progress {
            used: plain + 1,
            next: Next::Hold,
        }
    }

    fn closed(&mut self, plane: &mut Plane<()>, conn: ConnId, tag: u32) {
        add(&self.common.closed);
        self.part(plane, conn, tag);
    }

    fn leaving(&mut self, plane: &mut Plane<()>, conn: ConnId, tag: u32) -> Luggage {
        assert!(!self.stopping);
        add(&self.common.left);
        Box::new(Bag {
            hops: self.part(plane, conn, tag) + 1,
            common: Arc::clone(&self.common),
        })
    }

    fn handed(&mut self, plane: &mut Plane<()>, conn: ConnId, luggage: Luggage) -> u32 {
        let bag = luggage.downcast::<Bag>().expect("a bag");
        assert!(Arc::ptr_eq(&bag.common, &self.common));
        add(&self.common.handed);
        self.common.hops.fetch_max(bag.hops, Ordering::Relaxed);
        if self.common.stay.load(Ordering::Relaxed) {
            self.kept.push(conn);
        } else {
            plane.resume(conn);
        }
        self.welcome(conn, bag.hops)
    }

    fn rung(&mut self, plane: &mut Plane<()>) {
        let stall = &self.common.stall[plane.shard()];
        if stall.load(Ordering::Relaxed) {
            add(&self.common.stalled);
            until("the shard may go on", || !stall.load(Ordering::Relaxed));
        }
        for conn in self.kept.drain(..) {
            plane.resume(conn);
        }
    }

    fn flush(&mut self, plane: &mut Plane<()>) {
        if self.common.wait.load(Ordering::Relaxed) {
            return;
        }
        for conn in self.to_move.drain(..) {
            let (here, to) = (plane.shard(), next(plane));
            assert!(!plane.hand_over(conn, here), "not to itself");
            assert!(!plane.hand_over(conn, plane.shards()), "there is no such shard");
            let may = plane.is_live(conn) && !self.stopping;
            assert_eq!(plane.hand_over(conn, to), may);
            assert!(!plane.hand_over(conn, to), "once");
            // Without effect while it is handed over.
            plane.resume(conn);
        }
    }

    fn stopping(&mut self, plane: &mut Plane<()>) {
        self.stopping = true;
        if !self.common.rude.load(Ordering::Relaxed) {
            for &conn in self.tags.keys() {
                plane.close(conn, Close::AfterFlush);
            }
        }
    }
}

fn travellers(config: Config) -> (Arc<Common>, Running) {
    let common = Arc::new(Common::default());
    let running = start(config, {
        let common = Arc::clone(&common);
        move |_| Traveller::new(&common)
    });
    (common, running)
}

/// The sum of a counter over all shards.
fn sum(running: &Running, counter: impl Fn(&shards::Stats) -> &shards::Counter) -> u64 {
    (0..running.shards())
        .map(|shard| counter(&running.stats(shard)).get())
        .sum()
}

fn ring_all(running: &Running) {
    for shard in 0..running.shards() {
        running.bell(shard).ring();
    }
}

/// Lets the moves begin.
fn release(common: &Common, running: &Running) {
    common.wait.store(false, Ordering::Relaxed);
    ring_all(running);
}

/// `count` clients of shard `shard`.
fn clients_of(running: &Running, shard: usize, count: usize) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    while clients.len() < count {
        let all = sum(running, |stats| &stats.accepted);
        let here = running.stats(shard).accepted.get();
        let client = connect(running);
        until("it is accepted", || sum(running, |stats| &stats.accepted) > all);
        if running.stats(shard).accepted.get() > here {
            clients.push(client);
        }
    }
    clients
}

/// Bytes without a mark.
fn plain(len: usize) -> Vec<u8> {
    let mut bytes = pattern(len);
    bytes
        .iter_mut()
        .filter(|byte| **byte == b'M')
        .for_each(|byte| *byte = b'm');
    bytes
}

/// Ends a connection with a reset.
fn reset(client: TcpStream) {
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
}

/// Three ticks of the shards that are not stalled at `stage`.
fn let_time_pass(running: &Running, stage: Stage) {
    let shards = if stage.is_stalled() {
        0..1
    } else {
        0..running.shards()
    };
    for shard in shards {
        let goal = running.stats(shard).ticks.get() + 3;
        until("time passes", || running.stats(shard).ticks.get() >= goal);
    }
}

/// Keeps a shard busy until `stall` is cleared.
fn stall(common: &Common, running: &Running, shard: usize) {
    common.stall[shard].store(true, Ordering::Relaxed);
    running.bell(shard).ring();
    until("it is stalled", || common.stalled.load(Ordering::Relaxed) == 1);
}

fn go_on(common: &Common, shard: usize) {
    common.stall[shard].store(false, Ordering::Relaxed);
}

/// All are gone, everybody was told once, no luggage is left, and the machine stops.
fn assert_gone(common: &Arc<Common>, running: Running) {
    until("the tables are empty", || {
        let came = sum(&running, |stats| &stats.accepted) + sum(&running, |stats| &stats.adopted);
        came == sum(&running, |stats| &stats.released) + sum(&running, |stats| &stats.handed_over)
    });
    stop(running);
    common.assert_balance();
    assert_eq!(Arc::strong_count(common), 1, "what was packed is gone");
}

#[test]
fn bytes_that_wait_already_are_seen_by_the_other_shard() {
    for len in [0, 1, 2_048, 200_000] {
        let (common, running) = travellers(config(2));
        common.wait.store(true, Ordering::Relaxed);
        let mut client = connect(&running);
        let bytes = plain(len);
        client.write_all(b"beforeM").unwrap();
        assert_eq!(read(&mut client, 6), b"before");
        std::thread::scope(|scope| {
            let (mut writer, bytes) = (&client, &bytes);
            scope.spawn(move || writer.write_all(bytes).unwrap());
            until("as much as may wait arrived", || {
                sum(&running, |stats| &stats.received_bytes) >= 7 + len.min(64 * 1_024) as u64
            });
            release(&common, &running);
            let mut got = vec![0; len];
            (&client).read_exact(&mut got).unwrap();
            assert!(got == bytes[..], "{len} bytes");
        });
        client.write_all(b"after").unwrap();
        assert_eq!(read(&mut client, 5), b"after");
        assert_eq!(sum(&running, |stats| &stats.handed_over), 1);
        assert_eq!(sum(&running, |stats| &stats.adopted), 1);
        assert_eq!(common.hops.load(Ordering::Relaxed), 1);
        drop(client);
        assert_gone(&common, running);
    }
}

const QUEUED: usize = 8 * 1_024 * 1_024;

#[test]
fn what_is_queued_is_sent_first_and_what_arrives_meanwhile_goes_along() {
    let (common, running) = travellers(config(2));
    common.queue.store(QUEUED, Ordering::Relaxed);
    let mut client = connect(&running);
    client.write_all(b"M").unwrap();
    let bytes = plain(50_000);
    for piece in bytes.chunks(10_000) {
        client.write_all(piece).unwrap();
        let_time_pass(&running, Stage::Sending);
    }
    assert_eq!(common.left.load(Ordering::Relaxed), 0, "not before it is sent");
    assert!(read(&mut client, QUEUED) == pattern(QUEUED));
    assert!(read(&mut client, bytes.len()) == bytes);
    assert_eq!(common.handed.load(Ordering::Relaxed), 1);
    drop(client);
    assert_gone(&common, running);
}

/// How far a move has come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Held,
    Sending,
    NoRoom,
    OnTheWay,
    Arrived,
}

impl Stage {
    /// Shard 1 is stalled meanwhile.
    fn is_stalled(self) -> bool {
        matches!(self, Self::NoRoom | Self::OnTheWay)
    }
}

/// A client of shard 0 whose move to shard 1 has come to `stage`.
fn at_stage(stage: Stage, linger: Duration) -> (Arc<Common>, Running, TcpStream, Vec<TcpStream>) {
    let config = Config {
        hand_over_ring_connections: 1,
        linger,
        ..config(2)
    };
    let (common, running) = travellers(config);
    let mut clients = clients_of(&running, 0, 2);
    let mut client = clients.pop().unwrap();
    match stage {
        Stage::Held => common.wait.store(true, Ordering::Relaxed),
        Stage::Sending => common.queue.store(QUEUED, Ordering::Relaxed),
        Stage::Arrived => common.stay.store(true, Ordering::Relaxed),
        Stage::NoRoom | Stage::OnTheWay => stall(&common, &running, 1),
    }
    let left = || running.stats(0).handed_over.get();
    if stage == Stage::NoRoom {
        clients[0].write_all(b"M").unwrap();
        until("the way is full", || left() == 1);
    }
    client.write_all(b"Mlast words").unwrap();
    match stage {
        Stage::Held => until("it came", || running.stats(0).received_bytes.get() == 11),
        Stage::Sending => until("it came", || running.stats(0).sends.get() > 0),
        Stage::NoRoom => until("it waits", || running.stats(0).hand_overs_delayed.get() == 1),
        Stage::OnTheWay => until("it left", || left() == 1),
        Stage::Arrived => until("it arrived", || running.stats(1).adopted.get() == 1),
    }
    (common, running, client, clients)
}

const STAGES: [Stage; 5] = [
    Stage::Held,
    Stage::Sending,
    Stage::NoRoom,
    Stage::OnTheWay,
    Stage::Arrived,
];

/// Lets a move that was brought to some stage go on.
fn unleash(common: &Common, running: &Running) {
    go_on(common, 1);
    common.stay.store(false, Ordering::Relaxed);
    release(common, running);
}

#[test]
fn a_peer_that_ends_its_side_at_any_stage_is_still_answered_and_ends_over_there() {
    for stage in STAGES {
        let (common, running, mut client, others) = at_stage(stage, PATIENCE);
        client.shutdown(Shutdown::Write).unwrap();
        let_time_pass(&running, stage);
        unleash(&common, &running);
        let got = read_to_end(&mut client);
        let queued = if stage == Stage::Sending { QUEUED } else { 0 };
        assert_eq!(got.len(), queued + 10, "{stage:?}");
        assert!(got.ends_with(b"last words"), "{stage:?}");
        until("it arrived", || common.handed.load(Ordering::Relaxed) > 0);
        assert_eq!(
            running.stats(1).adopted.get(),
            running.stats(0).handed_over.get(),
            "{stage:?}"
        );
        drop((client, others));
        assert_gone(&common, running);
    }
}

#[test]
fn a_peer_that_resets_at_any_stage_is_ended_once_where_the_connection_is() {
    for stage in STAGES {
        let (common, running, client, others) = at_stage(stage, PATIENCE);
        reset(client);
        let_time_pass(&running, stage);
        if matches!(stage, Stage::Held | Stage::Sending) {
            until("it ended here", || common.closed.load(Ordering::Relaxed) > 0);
        }
        unleash(&common, &running);
        drop(others);
        assert_gone(&common, running);
        let left = common.left.load(Ordering::Relaxed);
        let expected = match stage {
            Stage::Held | Stage::Sending => 0,
            Stage::NoRoom => 2,
            Stage::OnTheWay | Stage::Arrived => 1,
        };
        assert_eq!(left, expected, "{stage:?}");
    }
}

#[test]
fn a_way_that_is_full_makes_them_wait_and_none_is_lost() {
    let config = Config {
        hand_over_ring_connections: 2,
        ..config(2)
    };
    let (common, running) = travellers(config);
    let mut clients = clients_of(&running, 0, 9);
    stall(&common, &running, 1);
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(format!("M{number}").as_bytes()).unwrap();
    }
    let stats = running.stats(0);
    until("the others wait", || stats.hand_overs_delayed.get() == 7);
    assert_eq!(stats.handed_over.get(), 2);
    // Waiting costs no more than the tick.
    let (ticks, turns) = (stats.ticks.get(), stats.turns.get());
    until("time passes", || stats.ticks.get() >= ticks + 10);
    let (ticked, turned) = (stats.ticks.get() - ticks, stats.turns.get() - turns);
    assert!(turned <= 6 * (ticked + 5), "{turned} turns in {ticked} ticks");
    let ticks = stats.ticks.get();
    go_on(&common, 1);
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(read(client, 1), number.to_string().as_bytes());
    }
    assert!(stats.ticks.get() <= ticks + 50, "the bells rang");
    assert_eq!(stats.handed_over.get(), 9);
    assert_eq!(stats.hand_overs_delayed.get(), 7, "counted once each");
    drop(clients);
    assert_gone(&common, running);
}

#[test]
fn a_move_between_idle_shards_does_not_wait_for_the_tick() {
    const HOPS: u64 = 50;
    let (common, running) = travellers(config(2));
    let mut client = connect(&running);
    let ticks = |running: &Running| running.stats(0).ticks.get();
    // One batch without a neighbour's load on the machine is enough; without bells each takes 25 ticks at least.
    let fast = (0..20).any(|_| {
        let began = ticks(&running);
        for _ in 0..HOPS {
            client.write_all(b"M.").unwrap();
            assert_eq!(read(&mut client, 1), b".");
        }
        ticks(&running) - began < HOPS / 3
    });
    assert!(fast, "moves wait for the tick");
    drop(client);
    assert_gone(&common, running);
}

/// Bytes with a mark here and there, and the same without the marks.
fn marked(len: usize, seed: usize) -> (Vec<u8>, Vec<u8>) {
    let expected = plain(len);
    let mut bytes = Vec::with_capacity(len + len / 100);
    let mut until_mark = seed % 97;
    for &byte in &expected {
        if until_mark == 0 {
            bytes.push(b'M');
            until_mark = 200 + (bytes.len() * 31 + seed * 7) % 1_500;
        }
        until_mark -= 1;
        bytes.push(byte);
    }
    (bytes, expected)
}

#[test]
fn many_move_to_and_fro_under_load_and_every_byte_comes_back_once_in_order() {
    for (shards, ring) in [(2, 64), (3, 1)] {
        let config = Config {
            hand_over_ring_connections: ring,
            receive_buffers: 64,
            receive_buffer_bytes: 512,
            held_bytes_max: 4_096,
            ..config(shards)
        };
        let (common, running) = travellers(config);
        let clients: Vec<TcpStream> = (0..24).map(|_| connect(&running)).collect();
        std::thread::scope(|scope| {
            for (seed, client) in clients.iter().enumerate() {
                let (mut reader, mut writer) = (client, client);
                let (bytes, expected) = marked(60_000, seed);
                scope.spawn(move || {
                    for piece in bytes.chunks(100 + seed * 211) {
                        writer.write_all(piece).unwrap();
                    }
                });
                scope.spawn(move || {
                    let mut got = vec![0; expected.len()];
                    reader.read_exact(&mut got).unwrap();
                    assert!(got == expected);
                });
            }
        });
        let moved = sum(&running, |stats| &stats.handed_over);
        assert_eq!(moved, sum(&running, |stats| &stats.adopted));
        assert!(moved > 24 * 30, "{moved} moves");
        for shard in 0..shards {
            assert!(running.stats(shard).handed_over.get() > 0);
            assert!(running.stats(shard).adopted.get() > 0);
        }
        drop(clients);
        assert_gone(&common, running);
    }
}

#[test]
fn a_stop_at_any_stage_ends_the_connection_once_where_it_is() {
    for rude in [false, true] {
        for stage in STAGES {
            let (common, running, client, others) = at_stage(stage, Duration::from_millis(100));
            common.rude.store(rude, Ordering::Relaxed);
            // What a rude app merely holds ends with its peer.
            let merely_held = matches!(stage, Stage::Held | Stage::Arrived);
            let client = if rude && merely_held {
                reset(client);
                None
            } else {
                Some(client)
            };
            drop(others);
            let clock = Clock::start();
            running.stop(PATIENCE);
            if stage.is_stalled() {
                let_time_pass(&running, stage);
            }
            go_on(&common, 1);
            running.join().unwrap();
            let took = Duration::from_nanos(clock.now_ns());
            assert!(
                took < PATIENCE / 2,
                "{stage:?}: the drain time was waited for: {took:?}"
            );
            drop(client);
            common.assert_balance();
            assert_eq!(Arc::strong_count(&common), 1, "{stage:?}");
            let left = common.left.load(Ordering::Relaxed);
            assert_eq!(common.handed.load(Ordering::Relaxed), left, "{stage:?}");
            assert_eq!(left, usize::from(stage.is_stalled() || stage == Stage::Arrived));
        }
    }
}

#[test]
fn a_stop_without_time_to_drain_leaves_nobody_between_two_shards() {
    for _ in 0..20 {
        let (common, running) = travellers(config(2));
        let mut clients: Vec<_> = (0..20).map(|_| connect(&running)).collect();
        for client in &mut clients {
            client.write_all(&b"M".repeat(1_000)).unwrap();
        }
        until("they move", || sum(&running, |stats| &stats.adopted) > 20);
        running.stop(Duration::ZERO);
        running.join().unwrap();
        common.assert_balance();
        assert_eq!(Arc::strong_count(&common), 1);
    }
}

#[test]
fn a_shard_whose_table_is_full_closes_who_comes_and_drops_the_luggage() {
    let config = Config {
        connections_max: 1,
        ..config(2)
    };
    let (common, running) = travellers(config);
    let mut clients = Vec::new();
    while sum(&running, |stats| &stats.connections) < 2 {
        clients.push(connect(&running));
        let goal = [0, 1].map(|shard| running.stats(shard).ticks.get() + 3);
        until("it is counted", || {
            (0..2).all(|shard| running.stats(shard).ticks.get() >= goal[shard])
        });
    }
    // The first is in a table; the last came to the other.
    clients[0].write_all(b"M").unwrap();
    until("it is refused", || {
        sum(&running, |stats| &stats.hand_overs_refused) == 1
    });
    assert_eq!(clients[0].read(&mut [0; 1]).unwrap_or(0), 0, "closed");
    let last = clients.last_mut().unwrap();
    last.write_all(b"on").unwrap();
    assert_eq!(read(last, 2), b"on");
    assert_eq!(common.left.load(Ordering::Relaxed), 1);
    assert_eq!(common.handed.load(Ordering::Relaxed), 0);
    drop(clients);
    until("all are gone", || sum(&running, |stats| &stats.released) == 1);
    stop(running);
    assert_eq!(Arc::strong_count(&common), 1);
}

/// Gives its connection a new tag with every call and answers with the one it was called with.
#[derive(Clone, Default)]
struct Renamer {
    closed_as: Arc<AtomicUsize>,
}

impl Tenant for Renamer {
    type Parcel = ();

    fn opened(&mut self, plane: &mut Plane<()>, conn: ConnId, _: usize, _: SocketAddr) -> u32 {
        assert!(plane.retag(conn, 9), "it is live");
        7
    }

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, tag: u32, bytes: &mut [u8]) -> Progress {
        plane.buffer(conn).unwrap().extend_from_slice(&tag.to_le_bytes());
        assert!(plane.retag(conn, tag + 1));
        crate::support::all(bytes)
    }

    fn closed(&mut self, plane: &mut Plane<()>, conn: ConnId, tag: u32) {
        assert!(!plane.retag(conn, 1), "it is over");
        self.closed_as.store(tag as usize, Ordering::Relaxed);
    }
}

#[test]
fn a_tag_that_was_changed_comes_back_with_every_event_from_then_on() {
    let renamer = Renamer::default();
    let running = start(config(1), {
        let renamer = renamer.clone();
        move |_| renamer.clone()
    });
    let mut client = connect(&running);
    for tag in 7..10u32 {
        client.write_all(b"?").unwrap();
        assert_eq!(read(&mut client, 4), tag.to_le_bytes());
    }
    drop(client);
    until("it ended", || renamer.closed_as.load(Ordering::Relaxed) == 10);
    stop(running);
}
