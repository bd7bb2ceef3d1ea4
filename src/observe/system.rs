//! What `$SYS` tells operators: topics and texts, made from the shards' counters.
//!
//! The names under `$SYS/broker/` are those that mosquitto made common and that dashboards read; what only Nexus
//! has stands under `$SYS/nexus/`. One [`Board`] serves all shards: it is read and written with relaxed atomics, and
//! reads no clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::load::{self, Load};
use super::{ApiOutcome, Counter, DropReason, ShardMetrics, Stage};
use crate::time::Instant;

/// A topic under `$SYS` and its value as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub text: String,
}

/// What the data plane counted, on all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// What is counted since the start and told as a load, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    messages_in: u64,
    messages_out: u64,
    published_in: u64,
    published_out: u64,
    dropped: u64,
    bytes_in: u64,
    bytes_out: u64,
    sockets: u64,
}

/// A total: its topic below `$SYS/broker/` if it has one, that of its load, and where it is found.
type Total = (Option<&'static str>, &'static str, fn(&Totals) -> u64);

const TOTALS: [Total; 8] = [
    (Some("messages/received"), "messages/received", |t| t.messages_in),
    (Some("messages/sent"), "messages/sent", |t| t.messages_out),
    (Some("publish/messages/received"), "publish/received", |t| {
        t.published_in
    }),
    (Some("publish/messages/sent"), "publish/sent", |t| t.published_out),
    (Some("publish/messages/dropped"), "publish/dropped", |t| t.dropped),
    (Some("bytes/received"), "bytes/received", |t| t.bytes_in),
    (Some("bytes/sent"), "bytes/sent", |t| t.bytes_out),
    (None, "sockets", |t| t.sockets),
];

/// A sum over all shards under `$SYS/nexus/`.
type Own = (&'static str, fn(&ShardMetrics) -> &Counter);

const OWN: [Own; 9] = [
    ("channel/received", |m| &m.channel_in),
    ("channel/sent", |m| &m.channel_out),
    ("channel/unheard", |m| &m.channel_unheard),
    ("direct/received", |m| &m.direct_in),
    ("direct/sent", |m| &m.direct_out),
    ("api/requests/received", |m| &m.requests_in),
    ("api/requests/sent", |m| &m.requests_out),
    ("logins/denied", |m| &m.logins_denied),
    ("subscriptions/refused", |m| &m.subscriptions_refused),
];

/// What is known of all shards: their counters, and what has to be remembered from one interval to the next.
#[derive(Debug)]
pub struct Board {
    shards: Arc<[Arc<ShardMetrics>]>,
    /// Nanoseconds on the shards' clock.
    sampled_at: AtomicU64,
    /// The most sessions seen at once.
    maximum: AtomicU64,
    loads: [Load; TOTALS.len()],
}

impl Board {
    /// Of these shards, whose clock begins now.
    pub fn new(shards: Arc<[Arc<ShardMetrics>]>) -> Self {
        Self {
            shards,
            sampled_at: AtomicU64::new(0),
            maximum: AtomicU64::new(0),
            loads: Default::default(),
        }
    }

    /// Brings the averages up to date. Every shard calls this about once in `interval`, one of them does it.
    pub fn sample(&self, now: Instant, interval: Duration, machine: &Machine) {
        let last = self.sampled_at.load(Ordering::Relaxed);
        let elapsed = now.saturating_since(Instant::from_nanos(last));
        if elapsed.is_zero() || elapsed < interval {
            return;
        }
        let claimed =
            self.sampled_at
                .compare_exchange(last, now.as_nanos(), Ordering::Relaxed, Ordering::Relaxed);
        if claimed.is_err() {
            return;
        }
        self.see_sessions();
        let totals = self.totals(machine);
        for (load, (_, _, total)) in self.loads.iter().zip(TOTALS) {
            load.update(total(&totals), elapsed);
        }
    }

    /// All topics with their values as of now; the averages are those of the last sample.
    pub fn values(&self, now: Instant, machine: &Machine) -> Vec<Value> {
        let mut values = Vec::with_capacity(96);
        let mut tell = |topic: String, text: String| values.push(Value { topic, text });
        self.broker(now, machine, &mut tell);
        self.nexus(&mut tell);
        values
    }

    fn broker(&self, now: Instant, machine: &Machine, tell: &mut impl FnMut(String, String)) {
        let mut tell = |name: &str, text: String| tell(format!("$SYS/broker/{name}"), text);
        let uptime = now.saturating_since(Instant::default()).as_secs();
        let connected = self.see_sessions();
        tell("version", format!("nexus version {}", env!("CARGO_PKG_VERSION")));
        tell("uptime", format!("{uptime} seconds"));
        tell("clients/connected", connected.to_string());
        let offline = self.sum(|m| &m.sessions_offline);
        tell("clients/disconnected", offline.to_string());
        tell("clients/total", connected.saturating_add(offline).to_string());
        let expired = self.sum(|m| &m.sessions_expired);
        tell("clients/expired", expired.to_string());
        tell(
            "clients/maximum",
            self.maximum.load(Ordering::Relaxed).to_string(),
        );
        tell("subscriptions/count", self.sum(|m| &m.subscriptions).to_string());
        let retained = self.sum(|m| &m.retained_messages);
        tell("retained messages/count", retained.to_string());
        let stored = self.sum(|m| &m.mqtt_queued);
        tell("store/messages/count", stored.to_string());
        let stored = self.sum(|m| &m.mqtt_queued_bytes);
        tell("store/messages/bytes", stored.to_string());
        let in_flight = self.sum(|m| &m.mqtt_in_flight);
        tell("messages/inflight", in_flight.to_string());
        let totals = self.totals(machine);
        for (load, (name, of_load, total)) in self.loads.iter().zip(TOTALS) {
            if let Some(name) = name {
                tell(name, total(&totals).to_string());
            }
            for (average, minutes) in load.averages().zip(load::MINUTES) {
                tell(&format!("load/{of_load}/{minutes}min"), format!("{average:.2}"));
            }
        }
    }

    fn nexus(&self, tell: &mut impl FnMut(String, String)) {
        let mut tell = |name: &str, value: u64| tell(format!("$SYS/nexus/{name}"), value.to_string());
        for (name, counter) in OWN {
            tell(name, self.sum(counter));
        }
        for &outcome in ApiOutcome::ALL {
            let count = self.shards.iter().map(|shard| shard.outcomes(outcome)).sum();
            tell(&format!("api/outcomes/{}", outcome.as_str()), count);
        }
        for (&stage, &reason) in Stage::ALL
            .iter()
            .flat_map(|stage| DropReason::ALL.iter().map(move |reason| (stage, reason)))
        {
            let count = self.drops(stage, reason);
            // Most combinations never occur; those that did stay.
            if count > 0 {
                tell(&format!("drops/{}/{}", stage.as_str(), reason.as_str()), count);
            }
        }
        for (number, shard) in self.shards.iter().enumerate() {
            tell(&format!("shards/{number}/sessions"), shard.sessions.get());
        }
    }

    fn totals(&self, machine: &Machine) -> Totals {
        let lost = |stage: &Stage| -> u64 {
            let reasons = DropReason::ALL.iter();
            // A message whose sender is hidden was delivered.
            let reasons = reasons.filter(|&&reason| reason != DropReason::SenderHidden);
            reasons.map(|&reason| self.drops(*stage, reason)).sum()
        };
        Totals {
            messages_in: self.sum(|m| &m.frames_in),
            messages_out: self.sum(|m| &m.frames_out),
            published_in: self.sum(|m| &m.channel_in)
                + self.sum(|m| &m.direct_in)
                + self.sum(|m| &m.requests_in),
            published_out: self.sum(|m| &m.channel_out)
                + self.sum(|m| &m.direct_out)
                + self.sum(|m| &m.requests_out),
            dropped: Stage::ALL.iter().map(lost).sum(),
            bytes_in: machine.bytes_in,
            bytes_out: machine.bytes_out,
            sockets: self.sum(|m| &m.connections_opened),
        }
    }

    /// Sessions now; the most there were are remembered.
    fn see_sessions(&self) -> u64 {
        let connected = self.sum(|m| &m.sessions);
        self.maximum.fetch_max(connected, Ordering::Relaxed);
        connected
    }

    fn sum(&self, counter: fn(&ShardMetrics) -> &Counter) -> u64 {
        let counters = self.shards.iter().map(|shard| counter(shard).get());
        counters.fold(0, u64::wrapping_add)
    }

    fn drops(&self, stage: Stage, reason: DropReason) -> u64 {
        self.shards.iter().map(|shard| shard.drops(stage, reason)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn board() -> (Board, Arc<[Arc<ShardMetrics>]>) {
        let shards: Arc<[Arc<ShardMetrics>]> = (0..2).map(|_| Arc::default()).collect();
        (Board::new(Arc::clone(&shards)), shards)
    }

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    fn table(board: &Board, seconds: u64) -> BTreeMap<String, String> {
        let machine = Machine {
            bytes_in: 700,
            bytes_out: 900,
        };
        let values = board.values(at(seconds), &machine);
        let all = values.len();
        let table: BTreeMap<_, _> = values.into_iter().map(|v| (v.topic, v.text)).collect();
        assert_eq!(table.len(), all, "no topic comes twice");
        table
    }

    #[test]
    fn the_names_are_those_that_tools_read() {
        let table = table(&board().0, 61);
        for name in [
            "version",
            "uptime",
            "clients/connected",
            "clients/disconnected",
            "clients/expired",
            "clients/total",
            "clients/maximum",
            "store/messages/count",
            "store/messages/bytes",
            "messages/inflight",
            "messages/received",
            "messages/sent",
            "publish/messages/received",
            "publish/messages/sent",
            "publish/messages/dropped",
            "bytes/received",
            "bytes/sent",
            "subscriptions/count",
            "retained messages/count",
            "load/messages/received/1min",
            "load/messages/sent/5min",
            "load/publish/received/15min",
            "load/publish/sent/1min",
            "load/publish/dropped/1min",
            "load/bytes/received/1min",
            "load/bytes/sent/15min",
            "load/sockets/1min",
        ] {
            assert!(table.contains_key(&format!("$SYS/broker/{name}")), "{name}");
        }
        assert_eq!(table["$SYS/broker/uptime"], "61 seconds");
        assert_eq!(table["$SYS/broker/bytes/received"], "700");
        assert_eq!(table["$SYS/broker/bytes/sent"], "900");
        assert!(table["$SYS/broker/version"].starts_with("nexus version "));
        assert_eq!(table["$SYS/broker/load/sockets/1min"], "0.00");
    }

    #[test]
    fn values_are_the_sums_of_all_shards() {
        let (board, shards) = board();
        shards[0].sessions.add(2);
        shards[1].sessions.add(3);
        shards[0].channel_in.add(4);
        shards[1].direct_in.add(5);
        shards[1].requests_in.add(6);
        shards[0].subscriptions.add(7);
        shards[0].ended(ApiOutcome::Timeout);
        shards[1].ended(ApiOutcome::Timeout);
        shards[0].dropped(Stage::Direct, DropReason::NoReceiver);
        shards[1].dropped(Stage::Channel, DropReason::SenderHidden);
        let first = table(&board, 1);
        for (topic, text) in [
            ("broker/clients/connected", "5"),
            ("broker/publish/messages/received", "15"),
            ("broker/publish/messages/dropped", "1"),
            ("broker/subscriptions/count", "7"),
            ("nexus/channel/received", "4"),
            ("nexus/api/outcomes/timeout", "2"),
            ("nexus/api/outcomes/reply", "0"),
            ("nexus/drops/direct/no_receiver", "1"),
            ("nexus/drops/channel/sender_hidden", "1"),
            ("nexus/shards/0/sessions", "2"),
            ("nexus/shards/1/sessions", "3"),
        ] {
            assert_eq!(first[&format!("$SYS/{topic}")], text, "{topic}");
        }
        assert!(!first.contains_key("$SYS/nexus/drops/direct/queue_full"));
        shards[1].sessions.decrement();
        shards[0].sessions_offline.increment();
        let second = table(&board, 2);
        assert_eq!(second["$SYS/broker/clients/disconnected"], "1");
        assert_eq!(second["$SYS/broker/clients/connected"], "4");
        assert_eq!(second["$SYS/broker/clients/total"], "5");
        assert_eq!(second["$SYS/broker/clients/maximum"], "5");
    }

    #[test]
    fn one_of_the_shards_samples_once_in_an_interval() {
        let (board, shards) = board();
        let machine = Machine::default();
        shards[0].frames_in.add(100);
        board.sample(at(3), INTERVAL, &machine);
        let name = "$SYS/broker/load/messages/received/1min";
        assert_eq!(table(&board, 3)[name], "0.00", "too early");
        board.sample(at(10), INTERVAL, &machine);
        let once = table(&board, 10)[name].clone();
        // 100 in 10 s are 600 a minute, of which 1 - exp(-10/60) come in.
        assert_eq!(once, "92.11");
        board.sample(at(10), Duration::ZERO, &machine);
        board.sample(at(13), INTERVAL, &machine);
        assert_eq!(table(&board, 13)[name], once, "another shard did it");
        board.sample(at(20), INTERVAL, &machine);
        assert_eq!(table(&board, 20)[name], "77.97");
    }
}
