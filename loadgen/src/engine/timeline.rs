//! What the threads of a run share: its times, its counters, its first fault.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The times of a run on the process's monotonic clock, all known before the first message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The first planned send.
    pub start_ns: u64,
    /// End of the warm-up: what is planned from here on is recorded.
    pub from_ns: u64,
    /// End of the measurement: nothing is planned from here on.
    pub until_ns: u64,
    /// Whatever has not arrived by then is lost.
    pub drain_ns: u64,
}

impl Schedule {
    /// True if a message planned at `planned_ns` belongs to the measurement.
    pub fn records(&self, planned_ns: u64) -> bool {
        planned_ns >= self.from_ns && planned_ns < self.until_ns
    }
}

/// Counters of one thread, written by it alone and read by the reporting thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Connections ready for work.
    pub ready: AtomicU64,
    /// Messages, requests or attempts sent.
    pub sent: AtomicU64,
    /// Deliveries, replies or accepted connections.
    pub done: AtomicU64,
    /// Planned sends whose time has come but that the socket has not taken.
    pub behind: AtomicU64,
}

/// Adds to a counter that only the calling thread writes.
pub fn add(counter: &AtomicU64, by: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}

/// State shared by all threads of a run.
#[derive(Debug)]
pub struct Shared {
    schedule: OnceLock<Schedule>,
    fault: OnceLock<String>,
    stop: AtomicBool,
    /// One per thread.
    pub counters: Vec<Counters>,
    /// Threads whose connections are all ready.
    pub threads_ready: AtomicU64,
    /// Threads that have ended.
    pub threads_ended: AtomicU64,
}

impl Shared {
    /// For `threads` threads.
    pub fn new(threads: usize) -> Self {
        Self {
            schedule: OnceLock::new(),
            fault: OnceLock::new(),
            stop: AtomicBool::new(false),
            counters: (0..threads).map(|_| Counters::default()).collect(),
            threads_ready: AtomicU64::new(0),
            threads_ended: AtomicU64::new(0),
        }
    }

    /// Announces the times of the run; the first call counts.
    pub fn set_schedule(&self, schedule: Schedule) {
        let _ = self.schedule.set(schedule);
    }

    /// The times of the run, once announced.
    pub fn schedule(&self) -> Option<Schedule> {
        self.schedule.get().copied()
    }

    /// Records why the run cannot go on, and ends it; the first reason counts.
    pub fn fail(&self, reason: impl Into<String>) {
        let _ = self.fault.set(reason.into());
        self.stop();
    }

    /// Why the run could not go on.
    pub fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }

    /// Asks every thread to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// True once the threads shall end.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Sum of a counter over all threads.
    pub fn total(&self, counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        self.counters
            .iter()
            .map(|c| counter(c).load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }
}
