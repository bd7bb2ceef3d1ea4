//! Bells from threads that are no shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shards::{Config, Plane};

use crate::support::{Tenant, config, start, until};

/// Copies a number from outside each time it is rung.
#[derive(Clone, Default)]
struct Copier {
    outside: Arc<AtomicU64>,
    inside: Arc<AtomicU64>,
    /// Never sleeps: always has a timer that is due.
    busy: Arc<AtomicBool>,
}

impl Tenant for Copier {
    type Parcel = ();

    fn rung(&mut self, plane: &mut Plane<()>) {
        self.inside
            .store(self.outside.load(Ordering::Relaxed), Ordering::Release);
        if self.busy.load(Ordering::Relaxed) {
            plane.arm(0, 0);
        }
    }

    fn timer(&mut self, _: &mut Plane<()>, _: u64) {}

    fn flush(&mut self, plane: &mut Plane<()>) {
        if self.busy.load(Ordering::Relaxed) && plane.timers() == 0 {
            plane.arm(0, 0);
        }
    }
}

fn quiet() -> Config {
    Config {
        listeners: Vec::new(),
        ..config(1)
    }
}

/// Rings `rounds` times and waits each time until the shard has seen the number. No tick helps: only a bell
/// makes the shard look.
fn ring_rounds(copier: &Copier, running: &shards::Running, rounds: u64) {
    let bell = running.bell(0);
    for _ in 0..rounds {
        let round = copier.outside.fetch_add(1, Ordering::Relaxed) + 1;
        bell.ring();
        let mut spins = 0u64;
        while copier.inside.load(Ordering::Acquire) < round {
            spins += 1;
            assert!(spins < 2_000_000_000, "a bell was lost in round {round}");
            if spins > 10_000 {
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn a_bell_reaches_a_sleeping_and_a_busy_shard() {
    let copier = Copier::default();
    let running = start(quiet(), {
        let copier = copier.clone();
        move |_| copier.clone()
    });
    ring_rounds(&copier, &running, 2_000);
    let blocks = running.stats(0).blocks.get();
    assert!(blocks > 100, "the shard slept between bells");

    copier.busy.store(true, Ordering::Relaxed);
    ring_rounds(&copier, &running, 2_000);
    copier.busy.store(false, Ordering::Relaxed);
    running.stop(Duration::ZERO);
    running.join().unwrap();
}

#[test]
fn bells_of_many_threads_are_heard_and_coalesce() {
    let copier = Copier::default();
    let running = start(quiet(), {
        let copier = copier.clone();
        move |_| copier.clone()
    });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (bell, outside) = (running.bell(0), Arc::clone(&copier.outside));
            scope.spawn(move || {
                for _ in 0..20_000 {
                    outside.fetch_add(1, Ordering::Relaxed);
                    bell.ring();
                }
            });
        }
    });
    until("the last number arrived", || {
        copier.inside.load(Ordering::Acquire) == 80_000
    });
    assert!(running.stats(0).bells_heard.get() <= 80_000);
    running.stop(Duration::ZERO);
    running.join().unwrap();
}

#[test]
fn a_bell_rung_while_and_after_a_shard_stops_does_no_harm() {
    for round in 0..5 {
        let running = start(quiet(), |_| Copier::default());
        let bell = running.bell(0);
        let ringer = std::thread::spawn({
            let bell = bell.clone();
            move || (0..20_000).for_each(|_| bell.ring())
        });
        if round % 2 == 0 {
            until("it rings", || running.stats(0).bells_heard.get() > 0);
        }
        running.stop(Duration::ZERO);
        running.join().unwrap();
        ringer.join().unwrap();
        bell.ring();
    }
}
