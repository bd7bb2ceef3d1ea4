//! Parcels one way through a pair of rings, each emptied parcel given back. Informs P13: what the rings add to
//! a message that crosses shards (doorbells and wake-ups are not in it).
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark: the entry points are the macros', a failed expectation is a failed run"
)]

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nexus::limits::MESH_RING_PARCELS;
use nexus::route::Parcel;
use shards::mesh::{Mesh, grid};

/// Parcels of one round.
const BATCH: usize = 256;

fn pair() -> (Mesh<Parcel>, Mesh<Parcel>) {
    let mut meshes = grid(2, MESH_RING_PARCELS).into_iter();
    (meshes.next().unwrap(), meshes.next().unwrap())
}

/// Sends a parcel that came back if there is one; waits for room.
fn send(mesh: &mut Mesh<Parcel>) {
    let mut parcel = mesh.reuse(1).unwrap_or_default();
    while let Err(back) = mesh.send(1, black_box(parcel)) {
        parcel = back;
        spin_loop();
    }
}

/// Both ends in one thread: the instructions without the cache lines that move between cores.
fn one_thread(c: &mut Criterion) {
    let (mut from, mut to) = pair();
    let mut group = c.benchmark_group("mesh/one_way");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("one_thread", |b| {
        b.iter(|| {
            (0..BATCH).for_each(|_| send(&mut from));
            from.wake(|_| ());
            while let Some(parcel) = to.receive(0) {
                to.give_back(0, black_box(parcel));
            }
            to.wake(|_| ());
        });
    });
    group.finish();
}

/// The receiver polls on a thread of its own. A round ends when all of its parcels have come back.
fn two_threads(c: &mut Criterion) {
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        return;
    }
    let (mut from, mut to) = pair();
    let is_over = Arc::new(AtomicBool::new(false));
    let receiver = {
        let is_over = Arc::clone(&is_over);
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                match to.receive(0) {
                    Some(parcel) => to.give_back(0, black_box(parcel)),
                    None => spin_loop(),
                }
            }
        })
    };
    let mut group = c.benchmark_group("mesh/one_way");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("two_threads", |b| {
        b.iter(|| {
            for _ in 0..BATCH {
                let mut parcel = Parcel::default();
                while let Err(back) = from.send(1, black_box(parcel)) {
                    parcel = back;
                    spin_loop();
                }
            }
            for _ in 0..BATCH {
                while from.reuse(1).is_none() {
                    spin_loop();
                }
            }
        });
    });
    group.finish();
    is_over.store(true, Ordering::Relaxed);
    receiver.join().expect("the receiver ends");
}

/// What a shard does about the others in a turn in which none of them has anything: all looks at the rings, those of its
/// going to sleep included.
fn idle_turn(c: &mut Criterion) {
    let mut group = c.benchmark_group("mesh/idle_turn");
    for shards in [8, 32, 128] {
        let mut mesh = grid::<Parcel>(shards, MESH_RING_PARCELS).swap_remove(0);
        let mut ways = grid::<Parcel>(shards, 64).swap_remove(0);
        group.bench_function(format!("{shards}_shards"), |b| {
            b.iter(|| {
                for peer in 0..shards {
                    black_box((mesh.arrived(peer), ways.arrived(peer), mesh.reuse(peer)));
                }
                for one in [&mut mesh, &mut ways] {
                    one.wake(|_| ());
                    assert!(one.fall_asleep(), "nothing has arrived");
                    one.wake_up();
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, one_thread, two_threads, idle_turn);
criterion_main!(benches);
