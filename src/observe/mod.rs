//! What the daemon tells about itself: metric names, counters, exposition text.
//!
//! Every shard has one [`ShardMetrics`]. The shard is the only writer: a counter is a relaxed load and store,
//! as cheap as a plain cell; a scrape reads all shards' counters from outside and adds them up. Labels are
//! closed enums, so that no peer can make the number of series grow.

pub mod exposition;
pub mod histogram;
mod load;
pub mod system;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::session::Disconnect;
use histogram::Histogram;

/// A number with one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning shard calls this.
    pub fn add(&self, n: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Takes `from` back and adds `to`, for gauges.
    pub fn replace(&self, from: u64, to: u64) {
        self.add(to.wrapping_sub(from));
    }

    /// Subtracts one, for gauges.
    pub fn decrement(&self) {
        self.0
            .store(self.0.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
    }

    /// Sets the value, for gauges.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares a closed set of label values: the enum, its `ALL`, and each value's text.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// All values, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The value as it stands in a label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

labels! {
    /// Where on its way a message was dropped.
    Stage {
        /// A channel message.
        Channel = "channel",
        /// A Direct message.
        Direct = "direct",
        /// An API request.
        Request = "request",
        /// A worker's answer.
        Answer = "answer",
        /// An outcome on its way to the requester.
        Reply = "reply",
        /// Between shards.
        Mesh = "mesh",
        /// A message that was to be retained, or a retained one on its way to a new subscription.
        Retained = "retained",
    }
}

labels! {
    /// Why a message was dropped.
    DropReason {
        /// Nobody there: no such receiver, or it is gone.
        NoReceiver = "no_receiver",
        /// The receiver's queue is full.
        QueueFull = "queue_full",
        /// The queue to another shard is full.
        MeshFull = "mesh_full",
        /// Larger than the receiver takes.
        TooLarge = "too_large",
        /// The receiver's protocol carries text only.
        NotText = "not_text",
        /// Expired on the way.
        Expired = "expired",
        /// Could not be made to outlive the daemon.
        NotStored = "not_stored",
        /// The sender may not do that.
        NotAuthorized = "not_authorized",
        /// The sender broke the grammar of a name or body.
        Invalid = "invalid",
        /// A bound of the daemon is reached.
        Quota = "quota",
        /// An answer after the outcome was given.
        Late = "late",
        /// An answer with a token nobody was given.
        UnknownToken = "unknown_token",
        /// An answer from another session than the one that was asked.
        WrongSession = "wrong_session",
        /// A second request with an id that is in flight.
        DuplicateId = "duplicate_id",
        /// Delivered without its sender (a plain filter of a 3.1.1 client); not a drop, but counted with them.
        SenderHidden = "sender_hidden",
    }
}

labels! {
    /// How an API request ended.
    ApiOutcome {
        /// A worker answered.
        Reply = "reply",
        /// -2000
        NoWorker = "no_worker",
        /// -500 by the daemon
        NotImplemented = "not_implemented",
        /// -3000
        NotEntitled = "not_entitled",
        /// -2001
        WorkerGone = "worker_gone",
        /// -2002
        Overloaded = "overloaded",
        /// -2003
        TooLarge = "too_large",
        /// -2004
        BadRequest = "bad_request",
        /// -408
        Timeout = "timeout",
    }
}

labels! {
    /// What a block speaks.
    Protocol {
        /// MQTT 3.1.1
        Mqtt311 = "mqtt311",
        /// MQTT 5.0
        Mqtt5 = "mqtt5",
        /// XMPP
        Xmpp = "xmpp",
    }
}

labels! {
    /// What carries it.
    Transport {
        /// TCP, or TLS.
        Stream = "stream",
        /// WebSocket
        WebSocket = "websocket",
    }
}

/// QoS 0, 1 and 2.
pub const QOS_LEVELS: usize = 3;

/// A table of counters indexed by closed enums.
#[derive(Debug)]
pub struct Table<const ROWS: usize, const COLUMNS: usize>([[Counter; COLUMNS]; ROWS]);

impl<const ROWS: usize, const COLUMNS: usize> Default for Table<ROWS, COLUMNS> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| {
            std::array::from_fn(|_| Counter::default())
        }))
    }
}

impl<const ROWS: usize, const COLUMNS: usize> Table<ROWS, COLUMNS> {
    fn cell(&self, row: usize, column: usize) -> Option<&Counter> {
        self.0.get(row)?.get(column)
    }
}

/// The counters of one shard.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    drops: Table<{ Stage::ALL.len() }, { DropReason::ALL.len() }>,
    outcomes: Table<1, { ApiOutcome::ALL.len() }>,
    disconnects: Table<1, { Disconnect::ALL.len() }>,
    connected: Table<{ Protocol::ALL.len() }, { Transport::ALL.len() }>,
    published: Table<2, QOS_LEVELS>,
    /// From the moment a request was taken to its outcome.
    pub api_latency: Histogram,
    /// From the moment a message was taken that has to outlive the daemon to its acknowledgement.
    pub durable_latency: Histogram,
    /// QoS 1 and 2 messages on their way to clients of MQTT and not acknowledged, now (a gauge).
    pub mqtt_in_flight: Counter,
    /// Messages that wait for such clients, now (a gauge).
    pub mqtt_queued: Counter,
    /// Their bytes (a gauge).
    pub mqtt_queued_bytes: Counter,
    /// Bytes of the messages that wait for them or may have to be sent to them again (a gauge).
    pub mqtt_held_bytes: Counter,
    /// Bytes of the wills that they have left (a gauge).
    pub mqtt_will_bytes: Counter,
    /// Connections accepted.
    pub connections_opened: Counter,
    /// Connections ended.
    pub connections_closed: Counter,
    /// Sessions attached now (a gauge).
    pub sessions: Counter,
    /// Sessions that are kept without a connection now (a gauge).
    pub sessions_offline: Counter,
    /// Sessions that a client came back to.
    pub sessions_resumed: Counter,
    /// Sessions that ended because nobody came back in time.
    pub sessions_expired: Counter,
    /// Sessions of XMPP without a connection that may be resumed now (a gauge).
    pub xmpp_suspended: Counter,
    /// Sessions of XMPP that were resumed.
    pub xmpp_resumed: Counter,
    /// Attempts to resume a session that failed.
    pub xmpp_resume_failed: Counter,
    /// Sessions of XMPP that were not resumed in time.
    pub xmpp_resume_expired: Counter,
    /// Sessions of XMPP that ended with their connections because too many waited already.
    pub xmpp_suspend_refused: Counter,
    /// Bytes of stanzas that are remembered until they are acknowledged (a gauge).
    pub xmpp_unacked_bytes: Counter,
    /// Stanzas that were forgotten before.
    pub xmpp_unacked_forgotten: Counter,
    /// Logins refused.
    pub logins_denied: Counter,
    /// Packets and stanzas taken from clients; over WebSocket its frames.
    pub frames_in: Counter,
    /// Packets and stanzas written to clients; over WebSocket its frames.
    pub frames_out: Counter,
    /// Subscriptions to channels and to `$SYS` now (a gauge).
    pub subscriptions: Counter,
    /// Bytes that they take in memory, with the listeners of workers (a gauge).
    pub subscription_bytes: Counter,
    /// Filters and listeners that blocks asked for and were refused.
    pub subscriptions_refused: Counter,
    /// Bytes announced by unfinished packets and stanzas and taken from their pool (a gauge).
    pub unfinished_bytes: Counter,
    /// Groups of shared subscriptions at home here now (a gauge).
    pub share_groups: Counter,
    /// Messages of such groups that went to another member than the one that was chosen first.
    pub share_redirected: Counter,
    /// Blocks that left something behind for their next session, at home here now (a gauge).
    pub left_behind: Counter,
    /// Blocks of whom that was forgotten for what another left.
    pub left_behind_forgotten: Counter,
    /// Rooms that a block was in when it ended, beyond what is remembered of one block.
    pub left_behind_refused: Counter,
    /// Rooms that a block was put back into.
    pub rooms_restored: Counter,
    /// Occupants of the rooms at home here now (a gauge).
    pub room_occupants: Counter,
    /// Blocks that entered a room and are shown to nobody: the list of occupants had no room for them.
    pub room_unlisted: Counter,
    /// Notes of occupants that nobody is shown: the list had no room for more than was there.
    pub room_notes_refused: Counter,
    /// Retained messages now (a gauge, of the first shard alone: all have the same).
    pub retained_messages: Counter,
    /// Bytes that they take (a gauge of the same kind).
    pub retained_bytes: Counter,
    /// Channel messages taken from local blocks.
    pub channel_in: Counter,
    /// Those of them that nobody was subscribed to when they came.
    pub channel_unheard: Counter,
    /// Channel deliveries to local blocks, those of `$SYS` included.
    pub channel_out: Counter,
    /// Direct messages taken from local blocks; one to an account counts for each block it is sent on to, where
    /// that block is found.
    pub direct_in: Counter,
    /// Direct messages delivered to local blocks.
    pub direct_out: Counter,
    /// API requests taken from local blocks.
    pub requests_in: Counter,
    /// API requests delivered to local workers.
    pub requests_out: Counter,
}

impl ShardMetrics {
    /// Counts a dropped message.
    pub fn dropped(&self, stage: Stage, reason: DropReason) {
        if let Some(counter) = self.drops.cell(stage as usize, reason as usize) {
            counter.increment();
        }
    }

    /// Messages dropped so far.
    pub fn drops(&self, stage: Stage, reason: DropReason) -> u64 {
        self.drops
            .cell(stage as usize, reason as usize)
            .map_or(0, Counter::get)
    }

    /// Counts the outcome of a request.
    pub fn ended(&self, outcome: ApiOutcome) {
        if let Some(counter) = self.outcomes.cell(0, outcome as usize) {
            counter.increment();
        }
    }

    /// Requests that ended so.
    pub fn outcomes(&self, outcome: ApiOutcome) -> u64 {
        self.outcomes.cell(0, outcome as usize).map_or(0, Counter::get)
    }

    /// Counts a PUBLISH of a client, or one that was given to a client or its queue.
    pub fn published(&self, inward: bool, qos: u8) {
        if let Some(counter) = self.published.cell(usize::from(!inward), usize::from(qos)) {
            counter.increment();
        }
    }

    /// PUBLISH packets of clients of MQTT, or to them, so far.
    pub fn publishes(&self, inward: bool, qos: u8) -> u64 {
        self.published
            .cell(usize::from(!inward), usize::from(qos))
            .map_or(0, Counter::get)
    }

    /// A block has a connection, or has none any more.
    pub fn connected(&self, (protocol, transport): (Protocol, Transport), up: bool) {
        if let Some(counter) = self.connected.cell(protocol as usize, transport as usize) {
            if up {
                counter.increment();
            } else {
                counter.decrement();
            }
        }
    }

    /// Blocks that are connected so; of one shard alone the number may be negative, and wraps.
    pub fn connections(&self, protocol: Protocol, transport: Transport) -> u64 {
        self.connected
            .cell(protocol as usize, transport as usize)
            .map_or(0, Counter::get)
    }

    /// Counts a session that ended by its peer's fault.
    pub fn disconnected(&self, reason: Disconnect) {
        if let Some(counter) = self.disconnects.cell(0, reason as usize) {
            counter.increment();
        }
    }

    /// Sessions that ended so.
    pub fn disconnects(&self, reason: Disconnect) -> u64 {
        self.disconnects.cell(0, reason as usize).map_or(0, Counter::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_has_a_cell_of_its_own() {
        let metrics = ShardMetrics::default();
        for &stage in Stage::ALL {
            for &reason in DropReason::ALL {
                metrics.dropped(stage, reason);
                assert_eq!(metrics.drops(stage, reason), 1);
            }
        }
        for &outcome in ApiOutcome::ALL {
            metrics.ended(outcome);
            assert_eq!(metrics.outcomes(outcome), 1);
        }
        for &reason in Disconnect::ALL {
            metrics.disconnected(reason);
            assert_eq!(metrics.disconnects(reason), 1);
        }
    }
}
