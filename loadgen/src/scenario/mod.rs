//! What is done to a server. Each scenario is one thread's share; [`Tally`]s are added up at the end.

pub mod api;
pub mod connect;
pub mod fleet;
pub mod flow;
pub mod idle;
pub mod mixed;
pub mod tracker;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::engine::Schedule;
use crate::protocol::login::{Continuity, Want};
use crate::protocol::{Login, Wire};
use fleet::{Manner, Member};

/// How much load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// So many messages in flight per sender.
    Closed {
        /// Messages in flight.
        window: u64,
    },
    /// A constant rate over all senders, whatever the server does.
    Open {
        /// Sends per second.
        rate_hz: f64,
    },
}

/// What all scenarios need to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What flows inside a connection.
    pub wire: Wire,
    /// The place of the endpoint where connections go, unless they are said to go elsewhere.
    pub endpoint: usize,
    /// The domain that XMPP connections speak to.
    pub domain: String,
    /// Random number of this run.
    pub run: u32,
    /// Accounts, used in turn; none: anonymous.
    pub logins: Vec<Login>,
    /// How much load.
    pub load: Load,
    /// 0 or 1.
    pub qos: u8,
    /// Payload of one message, bytes.
    pub payload_bytes: usize,
    /// Put before a topic to make the filter that subscribes to it.
    pub filter_prefix: String,
    /// Keep Alive, seconds.
    pub keepalive_s: u16,
    /// Connections being opened at any moment, per thread.
    pub concurrency: usize,
    /// Put behind a topic to make that filter.
    pub filter_suffix: String,
    /// What MQTT connections ask of their sessions.
    pub continuity: Continuity,
}

impl Settings {
    /// How connections are brought up.
    pub fn manner(&self) -> Manner {
        Manner {
            domain: self.domain.clone(),
            qos: self.qos,
            keepalive_s: self.keepalive_s,
            // A relay knows connections by their order of arrival: one at a time there.
            concurrency: match self.wire {
                Wire::Raw { .. } => 1,
                _ => self.concurrency,
            },
            continuity: self.continuity,
        }
    }

    /// The topic of group `group`: always of the same length.
    pub fn topic(&self, group: usize) -> String {
        topic(self.run, group)
    }

    /// The room of group `group`, its address always of the same length.
    pub fn room(&self, group: usize) -> String {
        format!("load-{:08x}-{group:06}@conference.{}", self.run, self.domain)
    }

    /// The filter that subscribes to `topic`.
    pub fn filter_of(&self, topic: &str) -> String {
        format!("{}{topic}{}", self.filter_prefix, self.filter_suffix)
    }

    /// Connection `number` of the run.
    pub fn member(&self, number: usize, want: Option<Want>) -> Member {
        Member {
            client_id: format!("lg-{:08x}-{number}", self.run),
            login: self.logins.get(number % self.logins.len().max(1)).cloned(),
            want,
            endpoint: self.endpoint,
            wire: self.wire,
        }
    }
}

/// The topic of group `group` in run `run`: 20 bytes.
pub fn topic(run: u32, group: usize) -> String {
    format!("load/{run:08x}/{group:06}")
}

/// Results of one thread, or of all.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The unit of work that CPU time is divided by.
    pub unit: &'static str,
    /// Nanoseconds from the planned send to the arrival, for what was planned within the measurement.
    pub latency: Histogram<u64>,
    /// Sent, and never arrived.
    pub lost: u64,
    /// Arrived more than once.
    pub doubled: u64,
    /// Arrived after a later one of the same sender.
    pub misordered: u64,
    /// Arrived with content that was not sent.
    pub wrong: u64,
    /// Planned, but never taken by the socket.
    pub unsent: u64,
    /// QoS 1 messages never acknowledged by the server.
    pub unacknowledged: u64,
    /// Times a closed loop gave up what was in flight.
    pub stalls: u64,
    /// Failures by what the server said.
    pub failed: BTreeMap<String, u64>,
    /// Sent over the whole run; not counted by `connect` and `idle`.
    pub sent: u64,
    /// Open loop: sends planned within the measurement.
    pub planned: u64,
    /// Those of them that the generator came to more than [`LATE_NS`] after their time, whatever the server did.
    pub late: u64,
    /// The results of the parts that these are the sum of; of `mixed` only.
    pub parts: Vec<Part>,
}

/// One part of a mixed load, and its results.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it is called.
    pub name: String,
    /// Sends per second that were planned.
    pub rate_hz: f64,
    /// Its connections over all threads.
    pub connections: u64,
    /// Its results.
    pub tally: Tally,
}

/// How often a sender is looked at that has too much queued.
const HELD_NS: u64 = 100_000;

/// How much after its planned time the generator may come to a send.
pub const LATE_NS: u64 = 1_000_000;

/// Latencies up to an hour are told apart to three digits.
const LATENCY_NS_MAX: u64 = 3_600 * crate::clock::SECOND_NS;

impl Tally {
    /// Nothing yet.
    ///
    /// # Errors
    /// A sentence, if the histogram cannot be allocated.
    pub fn new(unit: &'static str) -> Result<Self, String> {
        Ok(Self {
            unit,
            latency: Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).map_err(|error| error.to_string())?,
            lost: 0,
            doubled: 0,
            misordered: 0,
            wrong: 0,
            unsent: 0,
            unacknowledged: 0,
            stalls: 0,
            failed: BTreeMap::new(),
            sent: 0,
            planned: 0,
            late: 0,
            parts: Vec::new(),
        })
    }

    /// Records one latency.
    pub fn record(&mut self, latency_ns: u64) {
        self.latency.saturating_record(latency_ns.max(1));
    }

    /// Takes note of a send that was planned for `planned_ns` and that the generator comes to at `now_ns`.
    pub fn plan(&mut self, schedule: Schedule, planned_ns: u64, now_ns: u64) {
        if schedule.records(planned_ns) {
            self.planned += 1;
            self.late += u64::from(now_ns.saturating_sub(planned_ns) > LATE_NS);
        }
    }

    /// Counts one failure.
    pub fn fail(&mut self, what: impl Into<String>) {
        *self.failed.entry(what.into()).or_default() += 1;
    }

    /// Adds another thread's results.
    pub fn merge(&mut self, other: &Self) {
        // Both have the bounds of `new`, so nothing falls outside.
        let _ = self.latency.add(&other.latency);
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.misordered += other.misordered;
        self.wrong += other.wrong;
        self.unsent += other.unsent;
        self.unacknowledged += other.unacknowledged;
        self.stalls += other.stalls;
        self.sent += other.sent;
        self.planned += other.planned;
        self.late += other.late;
        for (part, others) in self.parts.iter_mut().zip(&other.parts) {
            part.tally.merge(&others.tally);
        }
        for (what, count) in &other.failed {
            *self.failed.entry(what.clone()).or_default() += count;
        }
    }

    /// True if everything sent arrived once, in order and unaltered, and nothing failed.
    pub fn clean(&self) -> bool {
        let faults =
            self.lost + self.doubled + self.misordered + self.wrong + self.unsent + self.unacknowledged;
        faults == 0 && self.failed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_is_late_if_the_generator_comes_to_it_late_within_the_measurement() {
        let schedule = Schedule {
            start_ns: 0,
            from_ns: 10 * LATE_NS,
            until_ns: 20 * LATE_NS,
            drain_ns: 30 * LATE_NS,
        };
        let mut tally = Tally::new("x").unwrap();
        for (planned_ns, at_ns) in [
            (9 * LATE_NS, 15 * LATE_NS),
            (10 * LATE_NS, 11 * LATE_NS),
            (10 * LATE_NS, 11 * LATE_NS + 1),
            (20 * LATE_NS, 29 * LATE_NS),
        ] {
            tally.plan(schedule, planned_ns, at_ns);
        }
        assert_eq!((tally.planned, tally.late), (2, 1));
    }
}
