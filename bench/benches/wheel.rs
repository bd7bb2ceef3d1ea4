//! The timer wheel with a million timers pending, each 30 s from its arming as requests have them. Informs P12:
//! at most 30 ns an insert or a cancel, at most 32 bytes a timer.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark: the entry points are the macros', a failed expectation is a failed run"
)]

use std::hint::black_box;
use std::time::Duration;

use alloc_tracker::{Allocator, Session};
use criterion::{Criterion, criterion_group, criterion_main};
use shards::wheel::Wheel;
use shards::{Clock, TimerId};

#[global_allocator]
static ALLOCATOR: Allocator<std::alloc::System> = Allocator::system();

const PENDING: usize = 1_000_000;
const TIMEOUT_NS: u64 = 30_000_000_000;
/// Between two timers: a million are armed in 30 s.
const STEP_NS: u64 = 30_000;
/// Operations between two looks at the clock.
const BATCH: usize = 1_000;

/// A wheel on which time passes as timers are armed.
struct Pending {
    wheel: Wheel,
    ids: Vec<TimerId>,
    now_ns: u64,
    random: u64,
}

impl Pending {
    fn fill(mut ids: Vec<TimerId>) -> Self {
        let mut wheel = Wheel::default();
        let mut now_ns = 0;
        for key in 0..PENDING as u64 {
            now_ns += STEP_NS;
            ids.push(wheel.insert(now_ns + TIMEOUT_NS, key));
        }
        Self {
            wheel,
            ids,
            now_ns,
            random: 0x9E37_79B9_7F4A_7C15,
        }
    }

    /// A place among those pending (xorshift).
    fn any(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % PENDING as u64).unwrap()
    }

    fn insert(&mut self) -> TimerId {
        self.now_ns += 1;
        self.wheel.insert(black_box(self.now_ns + TIMEOUT_NS), 7)
    }
}

fn bytes_per_timer() -> Pending {
    let session = Session::new().no_stdout().no_file();
    let operation = session.operation("wheel");
    let ids = Vec::with_capacity(PENDING);
    let pending = {
        let _span = operation.measure_thread().iterations(1);
        Pending::fill(ids)
    };
    let report = session.to_report();
    let (_, wheel) = report.operations().next().expect("it was measured");
    let bytes = wheel.peak_outstanding_bytes().expect("one thread");
    println!(
        "wheel: {PENDING} timers take {bytes} bytes: {:.2} bytes a timer",
        bytes / PENDING as f64
    );
    assert_eq!(pending.wheel.len(), PENDING);
    pending
}

/// Times `batch` over and over, `BATCH` operations each; `between` is not timed.
fn timed(
    operations: u64,
    pending: &mut Pending,
    mut batch: impl FnMut(&mut Pending),
    mut between: impl FnMut(&mut Pending),
) -> Duration {
    let batches = operations.div_ceil(BATCH as u64);
    let clock = Clock::start();
    let mut total_ns = 0;
    for _ in 0..batches {
        let before = clock.now_ns();
        batch(pending);
        total_ns += clock.now_ns() - before;
        between(pending);
    }
    // As if exactly `operations` had been timed.
    Duration::from_nanos(total_ns).mul_f64(operations as f64 / (batches * BATCH as u64) as f64)
}

fn insert_and_cancel(c: &mut Criterion) {
    let mut pending = bytes_per_timer();
    let mut group = c.benchmark_group("wheel/1000000_pending");
    let mut fresh = Vec::with_capacity(BATCH);
    // Into places that were freed just before.
    group.bench_function("insert", |b| {
        b.iter_custom(|iterations| {
            // Both closures use the list, one after the other.
            let fresh = std::cell::RefCell::new(&mut fresh);
            timed(
                iterations,
                &mut pending,
                |pending| {
                    let mut fresh = fresh.borrow_mut();
                    fresh.extend((0..BATCH).map(|_| pending.insert()));
                },
                |pending| {
                    for id in fresh.borrow_mut().drain(..) {
                        assert!(pending.wheel.cancel(id));
                    }
                },
            )
        });
    });
    // Drawn beforehand: whoever cancels has the id at hand.
    let drawn: Vec<usize> = (0..BATCH).map(|_| pending.any()).collect();
    let drawn = std::cell::RefCell::new(drawn);
    let mut ids: Vec<TimerId> = drawn.borrow().iter().map(|&place| pending.ids[place]).collect();
    group.bench_function("cancel_any", |b| {
        b.iter_custom(|iterations| {
            let ids = std::cell::RefCell::new(&mut ids);
            timed(
                iterations,
                &mut pending,
                |pending| {
                    for &id in ids.borrow().iter() {
                        black_box(pending.wheel.cancel(id));
                    }
                },
                |pending| {
                    let (mut drawn, mut ids) = (drawn.borrow_mut(), ids.borrow_mut());
                    for (place, id) in drawn.iter_mut().zip(ids.iter_mut()) {
                        // A place drawn twice was cancelled once, and is armed again by now.
                        if pending.ids[*place] == *id {
                            pending.ids[*place] = pending.insert();
                        }
                        *place = pending.any();
                    }
                    for (place, id) in drawn.iter().zip(ids.iter_mut()) {
                        *id = pending.ids[*place];
                    }
                },
            )
        });
    });
    // A request that is answered at once: armed and disarmed while its entry is in the cache.
    group.bench_function("insert_then_cancel_it", |b| {
        b.iter(|| {
            let id = pending.insert();
            pending.wheel.cancel(id)
        });
    });
    assert_eq!(pending.wheel.len(), PENDING);
    group.finish();
}

criterion_group!(benches, insert_and_cancel);
criterion_main!(benches);
