//! What the parts of the machine cost by themselves: wheel, mesh, shared frames. Prints nanoseconds.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a measuring instrument, not part of the daemon"
)]

use shards::Clock;
use shards::mesh::grid;
use shards::wheel::Wheel;

/// Nanoseconds each of `count` calls took.
fn each(count: u64, mut call: impl FnMut(u64)) -> f64 {
    let clock = Clock::start();
    for n in 0..count {
        call(n);
    }
    clock.now_ns() as f64 / count as f64
}

fn wheel() {
    const TIMERS: u64 = 1_000_000;
    let mut wheel = Wheel::default();
    let mut ids = Vec::with_capacity(TIMERS as usize);
    let fresh = each(TIMERS, |n| ids.push(wheel.insert(30_000_000_000 + n * 30_000, n)));
    let mut place = 0usize;
    let cancel = each(TIMERS, |_| {
        // Out of order, as replies come.
        place = (place + 7_919) % ids.len();
        wheel.cancel(ids[place]);
    });
    ids.clear();
    let insert = each(TIMERS, |n| ids.push(wheel.insert(30_000_000_000 + n * 30_000, n)));
    let fire = each(6_100, |n| {
        wheel.advance((n + 1) * 10_000_000);
        while wheel.pop().is_some() {}
    });
    println!(
        "wheel, {TIMERS} pending: first insert {fresh:.1}, insert again {insert:.1}, cancel {cancel:.1}, fire {:.1}",
        fire * 6_100.0 / TIMERS as f64
    );
    assert!(wheel.is_empty());
}

fn mesh() {
    const PARCELS: u64 = 20_000_000;
    let mut ends = grid::<u64>(2, 1_024).into_iter();
    let (Some(mut near), Some(mut far)) = (ends.next(), ends.next()) else {
        return;
    };
    let same_thread = each(PARCELS / 64, |n| {
        for k in 0..64 {
            assert!(near.send(1, n + k).is_ok());
        }
        near.wake(|_| {});
        while far.receive(0).is_some() {}
        far.wake(|_| {});
    });
    println!(
        "mesh, one thread, batches of 64: {:.1} a parcel",
        same_thread / 64.0
    );
    let receiver = std::thread::spawn(move || {
        let mut got = 0;
        while got < PARCELS {
            match far.receive(0) {
                Some(_) => got += 1,
                None => std::hint::spin_loop(),
            }
        }
    });
    let clock = Clock::start();
    for n in 0..PARCELS {
        while near.send(1, n).is_err() {
            std::hint::spin_loop();
        }
    }
    assert!(receiver.join().is_ok());
    println!(
        "mesh, two threads, flood: {:.1} a parcel",
        clock.now_ns() as f64 / PARCELS as f64
    );
}

fn main() {
    wheel();
    mesh();
}
