//! `$SYS` where counters and subscribers meet: one board for all shards, and what each shard keeps of its own.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::observe::ShardMetrics;
use crate::observe::system::{Board, Machine, Value};
use crate::time::Instant;

/// The counters of all shards, those of their data planes as soon as these run.
pub struct Sources {
    board: Board,
    stats: OnceLock<Vec<Arc<shards::Stats>>>,
}

impl Sources {
    /// Of these shards, which do not run yet.
    pub fn new(metrics: Arc<[Arc<ShardMetrics>]>) -> Self {
        Self {
            board: Board::new(metrics),
            stats: OnceLock::new(),
        }
    }

    /// The data planes run. Once.
    pub fn started(&self, stats: Vec<Arc<shards::Stats>>) {
        // A second call would have nothing else to say.
        let _ = self.stats.set(stats);
    }

    /// All values as of now.
    pub fn values(&self, now: Instant) -> Vec<Value> {
        self.board.values(now, &self.machine())
    }

    fn machine(&self) -> Machine {
        let mut machine = Machine::default();
        for stats in self.stats.get().into_iter().flatten() {
            machine.bytes_in += stats.received_bytes.get();
            machine.bytes_out += stats.sent_bytes.get();
        }
        machine
    }
}

/// When a shard publishes.
pub struct Schedule {
    sources: Arc<Sources>,
    /// Zero: never.
    interval: Duration,
    due: Instant,
}

impl Schedule {
    /// Every `interval_s` seconds; 0: never.
    pub fn new(sources: Arc<Sources>, interval_s: u32) -> Self {
        let interval = Duration::from_secs(interval_s.into());
        Self {
            sources,
            interval,
            due: Instant::default() + interval,
        }
    }

    /// Whether it ever publishes.
    pub const fn is_served(&self) -> bool {
        !self.interval.is_zero()
    }

    /// Takes an interval that was reread; it counts from the next publication on, which comes at once.
    pub fn reconfigure(&mut self, interval_s: u32) {
        let interval = Duration::from_secs(interval_s.into());
        if interval != self.interval {
            self.interval = interval;
            self.due = Instant::default();
        }
    }

    /// Whether it is time to publish; then the averages of all shards are brought up to date.
    pub fn is_due(&mut self, now: Instant) -> bool {
        if !self.is_served() || now < self.due {
            return false;
        }
        self.due = now + self.interval;
        self.sources
            .board
            .sample(now, self.interval, &self.sources.machine());
        true
    }

    /// All values as of now.
    pub fn values(&self, now: Instant) -> Vec<Value> {
        self.sources.values(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_due_once_an_interval_and_never_at_zero() {
        let sources = Arc::new(Sources::new(Arc::from([Arc::default()])));
        let mut schedule = Schedule::new(sources, 10);
        let due: Vec<u64> = (0..=40).filter(|&s| schedule.is_due(at(s))).collect();
        assert_eq!(due, [10, 20, 30, 40]);
        schedule.reconfigure(10);
        assert!(!schedule.is_due(at(41)));
        schedule.reconfigure(5);
        assert!(schedule.is_due(at(41)) && !schedule.is_due(at(45)) && schedule.is_due(at(46)));
        schedule.reconfigure(0);
        assert!(!schedule.is_served() && !schedule.is_due(at(100)));
    }
}
