//! Parcels between shards.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shards::{Config, ConnId, Plane, Progress};

use crate::support::{Tenant, all, config, connect, exchange, read, start, stop, until};

/// What all shards of a test count together.
#[derive(Default)]
struct Counts {
    got: AtomicU64,
    made: AtomicU64,
}

/// Sends numbered parcels to every other shard, as fast as the rings take them.
struct Flood {
    parcels: u64,
    next_out: Vec<u64>,
    next_in: Vec<u64>,
    counts: Arc<Counts>,
    one_way: bool,
    started: bool,
}

impl Flood {
    fn new(shards: usize, parcels: u64, one_way: bool, counts: &Arc<Counts>) -> Self {
        Self {
            parcels,
            next_out: vec![0; shards],
            next_in: vec![0; shards],
            counts: Arc::clone(counts),
            one_way,
            started: false,
        }
    }
}

impl Tenant for Flood {
    type Parcel = Box<u64>;

    fn rung(&mut self, _: &mut Plane<Box<u64>>) {
        self.started = true;
    }

    fn parcel(&mut self, plane: &mut Plane<Box<u64>>, from: usize, parcel: Box<u64>) {
        assert_eq!(*parcel, self.next_in[from], "the order of a pair");
        self.next_in[from] += 1;
        self.counts.got.fetch_add(1, Ordering::Relaxed);
        plane.give_back(from, parcel);
    }

    fn flush(&mut self, plane: &mut Plane<Box<u64>>) {
        if !self.started || (self.one_way && plane.shard() != 0) {
            return;
        }
        let me = plane.shard();
        for to in (0..plane.shards()).filter(|&to| to != me) {
            while self.next_out[to] < self.parcels {
                let mut parcel = plane.reuse(to).unwrap_or_else(|| {
                    self.counts.made.fetch_add(1, Ordering::Relaxed);
                    Box::new(0)
                });
                *parcel = self.next_out[to];
                if plane.send(to, parcel).is_err() {
                    break;
                }
                self.next_out[to] += 1;
            }
        }
    }
}

fn flood(shards: usize, ring: usize, parcels: u64, one_way: bool) -> (Arc<Counts>, shards::Running) {
    let counts = Arc::new(Counts::default());
    let config = Config {
        mesh_ring_parcels: ring,
        listeners: Vec::new(),
        ..config(shards)
    };
    let running = start(config, {
        let counts = Arc::clone(&counts);
        move |_| Flood::new(shards, parcels, one_way, &counts)
    });
    for shard in 0..shards {
        running.bell(shard).ring();
    }
    (counts, running)
}

#[test]
fn rings_full_in_both_directions_neither_deadlock_nor_spin() {
    const PARCELS: u64 = 20_000;
    for (shards, ring) in [(2, 2), (3, 1)] {
        let (counts, running) = flood(shards, ring, PARCELS, false);
        let pairs = (shards * (shards - 1)) as u64;
        until("every parcel arrived", || {
            counts.got.load(Ordering::Relaxed) == pairs * PARCELS
        });
        for shard in 0..shards {
            let stats = running.stats(shard);
            assert!(stats.parcels_refused.get() > 0, "the rings were never full");
            assert_eq!(stats.bells_failed.get(), 0);
            // Each turn moves something or is a tick: far fewer turns than parcels and refusals.
            let moved = stats.parcels_sent.get() + stats.parcels_received.get();
            let idle = stats.ticks.get() + stats.bells_heard.get() + 1_000;
            assert!(
                stats.turns.get() < 3 * moved + idle,
                "{} turns",
                stats.turns.get()
            );
        }
        assert_quiet(&running);
        stop(running);
    }
}

/// With nothing to do a shard wakes for its tick and for nothing else.
fn assert_quiet(running: &shards::Running) {
    let ticks: Vec<_> = (0..running.shards())
        .map(|shard| (running.stats(shard).ticks.get(), running.stats(shard).turns.get()))
        .collect();
    let last = running.stats(running.shards() - 1);
    let goal = last.ticks.get() + 20;
    until("twenty ticks", || last.ticks.get() >= goal);
    for (shard, (ticks, turns)) in ticks.into_iter().enumerate() {
        let stats = running.stats(shard);
        let (ticked, turned) = (stats.ticks.get() - ticks, stats.turns.get() - turns);
        assert!(turned <= 6 * (ticked + 5), "{turned} turns in {ticked} ticks");
    }
}

#[test]
fn one_way_traffic_makes_no_more_parcels_than_the_ring_holds() {
    const PARCELS: u64 = 50_000;
    let (counts, running) = flood(2, 64, PARCELS, true);
    until("every parcel arrived", || {
        counts.got.load(Ordering::Relaxed) == PARCELS
    });
    let made = counts.made.load(Ordering::Relaxed);
    // Those in the ring, those on their way back, and one refused at a time.
    let refused = running.stats(0).parcels_refused.get();
    assert!(made <= 3 * 64 + refused, "{made} parcels made, {refused} refused");
    assert_eq!(running.stats(1).parcels_received.get(), PARCELS);
    stop(running);
}

/// Tells the other shard of a message before it answers the client.
struct Herald {
    heard: u64,
    pending: Vec<u64>,
}

impl Tenant for Herald {
    type Parcel = u64;

    fn received(&mut self, plane: &mut Plane<u64>, conn: ConnId, _: u32, bytes: &mut [u8]) -> Progress {
        let Ok(number) = <[u8; 8]>::try_from(&*bytes) else {
            return Progress {
                used: 0,
                next: shards::Next::Need(8),
            };
        };
        let number = u64::from_le_bytes(number);
        let answer = if number == u64::MAX {
            // Which shard is this?
            plane.shard() as u64
        } else if number > self.heard {
            self.pending.push(number);
            number
        } else {
            // A question: what was heard?
            self.heard
        };
        plane
            .buffer(conn)
            .unwrap()
            .extend_from_slice(&answer.to_le_bytes());
        all(bytes)
    }

    fn parcel(&mut self, _: &mut Plane<u64>, _: usize, parcel: u64) {
        self.heard = parcel;
    }

    fn flush(&mut self, plane: &mut Plane<u64>) {
        for number in self.pending.drain(..) {
            plane.send(1 - plane.shard(), number).unwrap();
        }
    }
}

#[test]
fn what_a_shard_pushed_before_it_answered_is_seen_before_what_the_answer_causes() {
    let running = start(config(2), |_| Herald {
        heard: 0,
        pending: Vec::new(),
    });
    let mut on: [Option<std::net::TcpStream>; 2] = [None, None];
    while on.iter().any(Option::is_none) {
        let mut client = connect(&running);
        let shard = u64::from_le_bytes(exchange(&mut client, &u64::MAX.to_le_bytes()).try_into().unwrap());
        on[usize::try_from(shard).unwrap()] = Some(client);
    }
    let [Some(teller), Some(asker)] = &mut on else {
        unreachable!()
    };
    for number in 1..=3_000u64 {
        assert_eq!(exchange(teller, &number.to_le_bytes()), number.to_le_bytes());
        asker.write_all(&0u64.to_le_bytes()).unwrap();
        assert_eq!(
            read(asker, 8),
            number.to_le_bytes(),
            "the answer overtook the parcel"
        );
    }
    drop(on);
    stop(running);
}
