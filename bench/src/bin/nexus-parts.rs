//! Measures parts of Nexus by themselves, for `nexus-compare`: the timer wheel (target P12) and allocations of routed
//! messages (target P14). Prints one line of JSON: `{"wheel":{…},"allocations":{…}}`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring instrument, not part of the daemon"
)]

use std::hint::black_box;
use std::time::Instant;

use alloc_tracker::{Allocator, Session};
use nexus_bench::PAYLOAD;
use nexus_bench::work::Work;
use shards::TimerId;
use shards::wheel::Wheel;

#[global_allocator]
static ALLOCATOR: Allocator<std::alloc::System> = Allocator::system();

/// Timers that are pending, each for 30 s, armed in 30 s: a million, and as many as the wheel has places for then.
const PENDING: u64 = 1 << 20;
/// Timers armed between two looks at the clock, and how often.
const BATCH: usize = 1_000;
const BATCHES: usize = 1_000;
const TIMEOUT_NS: u64 = 30_000_000_000;
const STEP_NS: u64 = 30_000;
/// Messages before allocations are counted, and while they are.
const WARM_UP: usize = 1_000;
const MESSAGES: usize = 10_000;

/// Allocations of `work`, and the most bytes it had at a time.
fn count<T>(work: impl FnOnce() -> T) -> (T, u64, f64) {
    let session = Session::new().no_stdout().no_file();
    let operation = session.operation("work");
    let result = {
        let _span = operation.measure_thread().iterations(1);
        work()
    };
    let report = session.to_report();
    let (_, counted) = report.operations().next().expect("it was measured");
    let peak = counted.peak_outstanding_bytes().unwrap_or_default();
    (result, counted.total_allocations_count(), peak)
}

/// A place below `count` (xorshift).
fn any(random: &mut u64, count: usize) -> usize {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    usize::try_from(*random % count as u64).expect("64 bits")
}

/// The wheel with [`PENDING`] timers: as many more are armed and, as when requests are answered, cancelled soon after; then some
/// of those that have been pending all the time, at random places.
fn wheel() -> String {
    let mut ids: Vec<TimerId> = Vec::with_capacity(usize::try_from(PENDING).expect("64 bits"));
    let fill = || {
        let mut wheel = Wheel::default();
        for key in 0..PENDING {
            ids.push(wheel.insert(key * STEP_NS + TIMEOUT_NS, key));
        }
        wheel
    };
    let (mut wheel, _, bytes) = count(fill);
    let (mut insert_ns, mut cancel_ns) = (0, 0);
    let mut recent = Vec::with_capacity(BATCH);
    let mut now_ns = PENDING * STEP_NS;
    for _ in 0..BATCHES {
        let began = Instant::now();
        for key in 0..BATCH as u64 {
            now_ns += 100;
            recent.push(wheel.insert(black_box(now_ns + TIMEOUT_NS), key));
        }
        insert_ns += began.elapsed().as_nanos();
        let began = Instant::now();
        for id in recent.drain(..) {
            wheel.cancel(black_box(id));
        }
        cancel_ns += began.elapsed().as_nanos();
    }
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let places: Vec<TimerId> = (0..BATCH * BATCHES / 10)
        .map(|_| ids[any(&mut random, ids.len())])
        .collect();
    let began = Instant::now();
    for id in &places {
        wheel.cancel(black_box(*id));
    }
    let random_ns = began.elapsed().as_nanos() as f64 / places.len() as f64;
    let each = |ns: u128| ns as f64 / (BATCH * BATCHES) as f64;
    format!(
        "{{\"timers\":{PENDING},\"insert_ns\":{:.2},\"cancel_ns\":{:.2},\"cancel_anywhere_ns\":{random_ns:.2},\"bytes\":{:.2}}}",
        each(insert_ns),
        each(cancel_ns),
        bytes / PENDING as f64
    )
}

/// Allocations a message of each kind of work that is routed with QoS 0.
fn allocations() -> String {
    let routed = Work::names().filter(|name| !name.starts_with("api-") && *name != "mqtt-qos1");
    let each = routed.map(|name| {
        let mut work = Work::named(name, PAYLOAD.len()).expect("its own name");
        work.repeat(WARM_UP);
        let (_, allocations, _) = count(|| work.repeat(MESSAGES));
        format!("\"{name}\":{}", allocations as f64 / MESSAGES as f64)
    });
    format!("{{{}}}", each.collect::<Vec<_>>().join(","))
}

fn main() {
    println!("{{\"wheel\":{},\"allocations\":{}}}", wheel(), allocations());
}
