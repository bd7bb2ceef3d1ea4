//! Connections that travel, and the stages at which a move can be held.

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use shards::{Close, Config, ConnId, Next, Plane, Progress, Running};
use socket2::SockRef;

use crate::support::{Luggage, Tenant, config, connect, pattern, start, stop, until};

pub(super) const QUEUED: usize = 8 * 1_024 * 1_024;

/// What a test and all shards know together.
#[derive(Default)]
pub(super) struct Common {
    /// Moves wait until this is set and the shards are rung.
    pub(super) wait: AtomicBool,
    /// Who arrives stays held until its shard is rung.
    pub(super) stay: AtomicBool,
    /// The shard is kept busy while this is set, from the next ring on.
    pub(super) stall: [AtomicBool; 3],
    pub(super) stalled: AtomicUsize,
    /// Bytes that are queued to be sent before each move.
    pub(super) queue: AtomicUsize,
    /// Says nothing and closes nothing when the daemon stops.
    pub(super) rude: AtomicBool,
    pub(super) opened: AtomicUsize,
    pub(super) closed: AtomicUsize,
    pub(super) left: AtomicUsize,
    pub(super) handed: AtomicUsize,
    pub(super) hops: AtomicUsize,
}

impl Common {
    /// Every connection that a shard was told of has ended there once.
    #[track_caller]
    pub(super) fn assert_balance(&self) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        assert_eq!(
            count(&self.opened) + count(&self.handed),
            count(&self.closed) + count(&self.left)
        );
    }
}

/// The luggage.
pub(super) struct Bag {
    pub(super) hops: usize,
    pub(super) common: Arc<Common>,
}

/// Echoes; at each `M` the connection moves to the next shard.
pub(super) struct Traveller {
    pub(super) common: Arc<Common>,
    pub(super) tags: HashMap<ConnId, (u32, usize)>,
    pub(super) next_tag: u32,
    pub(super) to_move: Vec<ConnId>,
    pub(super) kept: Vec<ConnId>,
    pub(super) stopping: bool,
}

impl Traveller {
    pub(super) fn new(common: &Arc<Common>) -> Self {
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

pub(super) fn next(plane: &Plane<()>) -> usize {
    (plane.shard() + 1) % plane.shards()
}

pub(super) fn add(counter: &AtomicUsize) {
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

pub(super) fn travellers(config: Config) -> (Arc<Common>, Running) {
    let common = Arc::new(Common::default());
    let running = start(config, {
        let common = Arc::clone(&common);
        move |_| Traveller::new(&common)
    });
    (common, running)
}

/// The sum of a counter over all shards.
pub(super) fn sum(running: &Running, counter: impl Fn(&shards::Stats) -> &shards::Counter) -> u64 {
    (0..running.shards())
        .map(|shard| counter(&running.stats(shard)).get())
        .sum()
}

pub(super) fn ring_all(running: &Running) {
    for shard in 0..running.shards() {
        running.bell(shard).ring();
    }
}

/// Lets the moves begin.
pub(super) fn release(common: &Common, running: &Running) {
    common.wait.store(false, Ordering::Relaxed);
    ring_all(running);
}

/// `count` clients of shard `shard`.
pub(super) fn clients_of(running: &Running, shard: usize, count: usize) -> Vec<TcpStream> {
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
pub(super) fn plain(len: usize) -> Vec<u8> {
    let mut bytes = pattern(len);
    bytes
        .iter_mut()
        .filter(|byte| **byte == b'M')
        .for_each(|byte| *byte = b'm');
    bytes
}

/// Ends a connection with a reset.
pub(super) fn reset(client: TcpStream) {
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
}

/// Three ticks of the shards that are not stalled at `stage`.
pub(super) fn let_time_pass(running: &Running, stage: Stage) {
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
pub(super) fn stall(common: &Common, running: &Running, shard: usize) {
    common.stall[shard].store(true, Ordering::Relaxed);
    running.bell(shard).ring();
    until("it is stalled", || common.stalled.load(Ordering::Relaxed) == 1);
}

pub(super) fn go_on(common: &Common, shard: usize) {
    common.stall[shard].store(false, Ordering::Relaxed);
}

/// All are gone, everybody was told once, no luggage is left, and the machine stops.
pub(super) fn assert_gone(common: &Arc<Common>, running: Running) {
    until("the tables are empty", || {
        let came = sum(&running, |stats| &stats.accepted) + sum(&running, |stats| &stats.adopted);
        came == sum(&running, |stats| &stats.released) + sum(&running, |stats| &stats.handed_over)
    });
    stop(running);
    common.assert_balance();
    assert_eq!(Arc::strong_count(common), 1, "what was packed is gone");
}

/// How far a move has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stage {
    Held,
    Sending,
    NoRoom,
    OnTheWay,
    Arrived,
}

impl Stage {
    /// Shard 1 is stalled meanwhile.
    pub(super) fn is_stalled(self) -> bool {
        matches!(self, Self::NoRoom | Self::OnTheWay)
    }
}

/// A client of shard 0 whose move to shard 1 has come to `stage`.
pub(super) fn at_stage(stage: Stage, linger: Duration) -> (Arc<Common>, Running, TcpStream, Vec<TcpStream>) {
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

pub(super) const STAGES: [Stage; 5] = [
    Stage::Held,
    Stage::Sending,
    Stage::NoRoom,
    Stage::OnTheWay,
    Stage::Arrived,
];

/// Lets a move that was brought to some stage go on.
pub(super) fn unleash(common: &Common, running: &Running) {
    go_on(common, 1);
    common.stay.store(false, Ordering::Relaxed);
    release(common, running);
}
