//! What of a session's message exchange outlives a connection: messages on their way to the client, exchanges
//! the client has begun, and what is written down of both.

use std::sync::Arc;

use super::inbound::{Exchange, Exchanges};
use super::kept::{Answer, Kept};
use super::outbound::Outbound;
use super::rows::Row;
use crate::codec::mqtt::packet::{PacketId, Version};
use crate::observe::ShardMetrics;
use crate::time::Now;

/// The message exchange of one session, to be moved from one connection to the next.
#[derive(Debug)]
pub struct MessageState {
    pub(super) outbound: Outbound,
    pub(super) exchanges: Exchanges,
    /// In sessions that outlive their connection.
    pub(super) kept: Option<Box<Kept>>,
    /// The client's, when it was last here.
    pub(super) version: Version,
    /// What the gauges have been told.
    told: Told,
}

/// What is on its way, as the gauges know it; taken back when the session is over.
#[derive(Debug, Default)]
struct Told {
    /// Once anything was told.
    metrics: Option<Arc<ShardMetrics>>,
    backlog: Backlog,
}

/// How much is on its way to a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backlog {
    /// Messages sent and not acknowledged.
    pub(super) in_flight: usize,
    /// Messages that wait.
    pub(super) waiting: usize,
    /// Their bytes.
    pub(super) waiting_bytes: usize,
    /// Bytes of all that is kept: what waits, and what may have to be sent again.
    pub(super) held_bytes: usize,
}

impl Told {
    fn tell(&mut self, now: Backlog) {
        let Some(metrics) = &self.metrics else { return };
        let before = std::mem::replace(&mut self.backlog, now);
        for (gauge, from, to) in [
            (&metrics.mqtt_in_flight, before.in_flight, now.in_flight),
            (&metrics.mqtt_queued, before.waiting, now.waiting),
            (
                &metrics.mqtt_queued_bytes,
                before.waiting_bytes,
                now.waiting_bytes,
            ),
            (&metrics.mqtt_held_bytes, before.held_bytes, now.held_bytes),
        ] {
            if from != to {
                gauge.replace(from as u64, to as u64);
            }
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.tell(Backlog::default());
    }
}

/// What a PUBREL means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// There is no such exchange.
    Unknown,
    /// The exchange is over.
    Completed,
    /// It is over when that is durable.
    Completing,
}

impl Default for MessageState {
    /// That of a session that ends with its connection, before the first message.
    fn default() -> Self {
        Self {
            outbound: Outbound::default(),
            exchanges: Exchanges::default(),
            kept: None,
            version: Version::V5,
            told: Told::default(),
        }
    }
}

impl MessageState {
    /// What is stored of session `number`: its messages in the order of their keys, each with its number and its
    /// value, and the identifiers of its exchanges with whether the value of their row says more than that they were begun
    /// (their messages went to several shards). Also tells how many messages were damaged: they are left out,
    /// and deleted with the next changes. What the client spoke is in the session's description.
    pub fn restore<'a>(
        number: u64,
        now: Now,
        messages: impl IntoIterator<Item = (u64, &'a [u8])>,
        exchanges: impl IntoIterator<Item = (PacketId, bool)>,
    ) -> (Self, usize) {
        let (mut kept, mut outbound, mut damaged) = (Kept::new(number), Outbound::default(), 0);
        for (seq, value) in messages {
            kept.skip(seq);
            match Row::decode(value) {
                Some(row) if outbound.restore(now, seq, &row) => {}
                _ => {
                    damaged += 1;
                    kept.delete(seq);
                }
            }
        }
        let state = Self {
            outbound,
            exchanges: exchanges.into_iter().collect(),
            kept: Some(Box::new(kept)),
            version: Version::V5,
            told: Told::default(),
        };
        (state, damaged)
    }

    /// Has the gauges of its shard know how much is on its way.
    pub(super) fn tell(&mut self, metrics: &Arc<ShardMetrics>) {
        if self.told.metrics.is_none() {
            self.told.metrics = Some(Arc::clone(metrics));
        }
        self.told.tell(self.outbound.backlog());
    }

    /// Whether nothing is on its way, and nothing is to be remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.outbound.is_empty() && self.exchanges.is_empty() && self.kept.is_none()
    }

    /// Gives back room that nothing is in.
    pub(super) fn shrink(&mut self) {
        self.outbound.shrink();
        self.exchanges.shrink();
        if let Some(kept) = &mut self.kept {
            kept.shrink();
        }
    }

    /// The connection is gone.
    pub(super) fn detach(&mut self) {
        self.outbound.detach();
        self.exchanges.detach();
        if let Some(kept) = &mut self.kept {
            kept.next_connection();
        }
    }

    /// All batches up to `batch` are durable.
    pub(super) fn settle(&mut self, batch: u64) {
        if let Some(kept) = &mut self.kept {
            kept.settle(batch);
            self.outbound.settle(kept);
        }
    }

    /// A QoS 2 PUBLISH came; at most `most` exchanges are open at once.
    pub(super) fn begin(&mut self, id: PacketId, most: usize) -> Exchange {
        let begun = self.exchanges.begin(id, most);
        if begun == Exchange::Begun
            && let Some(kept) = &mut self.kept
        {
            kept.put_exchange(id);
        }
        begun
    }

    /// An exchange ended with a failure.
    pub(super) fn end(&mut self, id: PacketId) {
        if self.exchanges.release(id)
            && let Some(kept) = &mut self.kept
        {
            kept.delete_exchange(id);
        }
    }

    /// A PUBREL came.
    pub(super) fn release(&mut self, id: PacketId) -> Release {
        let Some(kept) = &mut self.kept else {
            return if self.exchanges.release(id) {
                Release::Completed
            } else {
                Release::Unknown
            };
        };
        match self.exchanges.complete(id) {
            // Its end, of which an earlier connection may have waited to be told, has to be durable before the client
            // gives another message its identifier.
            None if kept.is_behind() => {
                kept.delete_exchange(id);
                kept.answer_later(Answer::Unknown(id));
            }
            None => return Release::Unknown,
            Some(true) => {
                kept.delete_exchange(id);
                kept.answer_later(Answer::Completed(id));
            }
            Some(false) => {}
        }
        Release::Completing
    }

    /// The next answer that may be given.
    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        let answer = self.kept.as_mut()?.next_answer()?;
        if let Answer::Completed(id) = answer {
            self.exchanges.release(id);
        }
        Some(answer)
    }
}
