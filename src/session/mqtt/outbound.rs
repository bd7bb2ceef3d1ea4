//! QoS 1 towards the client: the window of messages that are not acknowledged, and the queue behind it.
//!
//! Invariant: a message waits only while another one is unacknowledged, so that there is always a PUBACK to
//! come that moves the queue on.

use std::collections::VecDeque;

use crate::codec::mqtt::packet::{PacketId, Version};
use crate::codec::mqtt::property::id;
use crate::codec::mqtt::varint::{self, VarInt};
use crate::limits;
use crate::observe::{DropReason, ShardMetrics, Stage};
use crate::route::Undelivered;
use crate::session::Output;
use crate::time::{Instant, Now};

/// The state of the messages on their way to one client.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// In the order they were sent; clients acknowledge in that order \[MQTT-4.6.0-2\].
    unacknowledged: VecDeque<PacketId>,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// How many of those that wait belong to each stage.
    waiting_of: [u16; Stage::ALL.len()],
    last_id: u16,
}

/// A message that waits for a place: the packet as it will be sent, but for its packet identifier and what is
/// left of its expiry.
#[derive(Debug)]
pub(super) struct Waiting {
    /// What it is, for the order among its kind and for the counters.
    pub(super) stage: Stage,
    /// The client's: 3.1.1 has no Message Expiry Interval.
    pub(super) version: Version,
    /// When it is no longer worth sending.
    pub(super) expires: Option<Instant>,
    /// The encoded PUBLISH.
    pub(super) packet: Vec<u8>,
}

impl Outbound {
    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.unacknowledged.is_empty() && self.waiting.is_empty()
    }

    /// Whether a message of this stage waits: the next one goes behind it, whatever its QoS.
    pub(super) fn holds(&self, stage: Stage) -> bool {
        self.waiting_of
            .get(stage as usize)
            .is_some_and(|&count| count != 0)
    }

    /// Whether the client still has to acknowledge this identifier.
    pub(super) fn awaits(&self, id: PacketId) -> bool {
        self.unacknowledged.contains(&id)
    }

    /// Whether one more QoS 1 message may be sent: the window has a place, and if the send queue is over its
    /// bound, nothing else is left that would move things on.
    pub(super) fn has_room(&self, window: u16, blocked: bool) -> bool {
        self.unacknowledged.is_empty() || (!blocked && self.unacknowledged.len() < usize::from(window))
    }

    /// Takes a place in the window.
    pub(super) fn begin(&mut self) -> PacketId {
        // Terminates: the window is far smaller than the number of identifiers.
        let id = loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_id)
                && !self.awaits(id)
            {
                break id;
            }
        };
        self.unacknowledged.push_back(id);
        id
    }

    /// PUBACK. One for an identifier that is not on its way changes nothing: the standard names no error.
    pub(super) fn acknowledge(&mut self, id: PacketId) {
        if let Some(at) = self.unacknowledged.iter().position(|&sent| sent == id) {
            self.unacknowledged.remove(at);
        }
    }

    /// Puts a message behind those that wait.
    pub(super) fn wait(&mut self, message: Waiting) -> Result<(), Undelivered> {
        let bytes = self.waiting_bytes + message.packet.len();
        if self.waiting.len() >= limits::QUEUED_PER_SESSION_MAX
            || bytes > limits::QUEUED_BYTES_PER_SESSION_MAX
        {
            return Err(Undelivered::QueueFull);
        }
        self.waiting_bytes = bytes;
        if let Some(count) = self.waiting_of.get_mut(message.stage as usize) {
            *count += 1;
        }
        self.waiting.push_back(message);
        Ok(())
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn advance<O: Output>(&mut self, now: Now, window: u16, metrics: &ShardMetrics, out: &mut O) {
        while let Some(next) = self.waiting.front() {
            let blocked = out.queued() > limits::SEND_QUEUE_BYTES_MAX;
            let room = if has_packet_id(&next.packet) {
                self.has_room(window, blocked)
            } else {
                !blocked || self.unacknowledged.is_empty()
            };
            if !room {
                return;
            }
            let Some(mut message) = self.waiting.pop_front() else {
                return;
            };
            self.waiting_bytes -= message.packet.len();
            if let Some(count) = self.waiting_of.get_mut(message.stage as usize) {
                *count -= 1;
            }
            if message.expires.is_some_and(|expires| expires < now.instant) {
                metrics.dropped(message.stage, DropReason::Expired);
                continue;
            }
            let id = has_packet_id(&message.packet).then(|| self.begin());
            fill_in(&mut message, now, id);
            out.write(message.packet.len(), |buffer| {
                buffer.extend_from_slice(&message.packet);
            });
        }
    }
}

/// Seconds until a message expires, rounded up; 3.3.2.3.3 has the receiver get the received value less the time
/// the message has waited.
pub(super) fn remaining_s(expires: Instant, now: Now) -> u32 {
    let left = expires.saturating_since(now.instant);
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() != 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

fn has_packet_id(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & 0b0110 != 0)
}

/// Writes the packet identifier and the Message Expiry Interval over what stands at their places. Both have a
/// fixed length; the interval comes first among the properties.
fn fill_in(message: &mut Waiting, now: Now, id: Option<PacketId>) -> Option<()> {
    let packet = &mut message.packet;
    let VarInt::Whole { len, .. } = varint::read(packet.get(1..)?) else {
        return None;
    };
    let (_, body) = packet.split_at_mut_checked(1 + len)?;
    let (topic_len, body) = body.split_first_chunk_mut()?;
    let (_, mut body) = body.split_at_mut_checked(usize::from(u16::from_be_bytes(*topic_len)))?;
    if let Some(id) = id {
        let (place, rest) = body.split_first_chunk_mut()?;
        *place = id.get().to_be_bytes();
        body = rest;
    }
    if message.version == Version::V311 {
        return Some(());
    }
    let expires = message.expires?;
    let VarInt::Whole { len, .. } = varint::read(body) else {
        return None;
    };
    let (&mut first, interval) = body.get_mut(len..)?.split_first_mut()?;
    if first == id::MESSAGE_EXPIRY_INTERVAL {
        *interval.first_chunk_mut()? = remaining_s(expires, now).to_be_bytes();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::mqtt::packet::QoS;
    use crate::codec::mqtt::publish::PublishParts;
    use crate::session::testing::Recorder;

    fn now(ms: u64) -> Now {
        Now {
            instant: Instant::from_nanos(ms * 1_000_000),
            unix_ms: 0,
        }
    }

    fn parts(qos: QoS, payload: &[u8]) -> PublishParts<'_> {
        PublishParts {
            qos,
            packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
            topic: &["a", "/b"],
            payload,
            ..PublishParts::new(Version::V5)
        }
    }

    fn encoded(parts: &PublishParts<'_>) -> Vec<u8> {
        let mut packet = Vec::new();
        parts.encode_into(&mut packet);
        packet
    }

    fn waiting(qos: QoS, payload: &[u8]) -> Waiting {
        Waiting {
            stage: Stage::Channel,
            version: Version::V5,
            expires: None,
            packet: encoded(&parts(qos, payload)),
        }
    }

    #[test]
    fn mqtt5_4_4_the_window_opens_with_each_acknowledgement() {
        let (mut outbound, mut out, metrics) =
            (Outbound::default(), Recorder::default(), ShardMetrics::default());
        let first = outbound.begin();
        assert!(!outbound.has_room(1, false));
        outbound.wait(waiting(QoS::AtLeastOnce, b"1")).unwrap();
        outbound.wait(waiting(QoS::AtMostOnce, b"2")).unwrap();
        outbound.advance(now(0), 1, &metrics, &mut out);
        assert!(out.take().is_empty());
        assert!(outbound.holds(Stage::Channel) && !outbound.holds(Stage::Direct));
        outbound.acknowledge(first);
        outbound.advance(now(0), 1, &metrics, &mut out);
        let mut sent = parts(QoS::AtLeastOnce, b"1");
        sent.packet_id = PacketId::new(2);
        let expected = [encoded(&sent), encoded(&parts(QoS::AtMostOnce, b"2"))].concat();
        assert_eq!(out.take(), expected);
        assert!(!outbound.holds(Stage::Channel) && !outbound.is_empty());
        outbound.acknowledge(PacketId::new(2).unwrap());
        assert!(outbound.is_empty());
    }

    #[test]
    fn mqtt5_3_3_2_3_3_what_waited_carries_what_is_left_of_its_expiry() {
        let (mut outbound, mut out, metrics) =
            (Outbound::default(), Recorder::default(), ShardMetrics::default());
        for (payload, expires_ms) in [(b"a", 10_000), (b"b", 1_000)] {
            let mut parts = parts(QoS::AtLeastOnce, payload);
            parts.expiry_s = Some(10);
            parts.subscription_identifiers = &[300];
            let packet = encoded(&parts);
            let expires = Some(now(expires_ms).instant);
            let stage = Stage::Channel;
            outbound
                .wait(Waiting {
                    stage,
                    version: Version::V5,
                    expires,
                    packet,
                })
                .unwrap();
        }
        outbound.advance(now(2_500), 8, &metrics, &mut out);
        let mut sent = parts(QoS::AtLeastOnce, b"a");
        sent.expiry_s = Some(8);
        sent.subscription_identifiers = &[300];
        assert_eq!(out.take(), encoded(&sent));
        assert_eq!(metrics.drops(Stage::Channel, DropReason::Expired), 1);
        assert!(!outbound.holds(Stage::Channel));
    }

    #[test]
    fn mqtt311_3_3_3_a_payload_that_waited_is_untouched() {
        let (mut outbound, mut out, metrics) =
            (Outbound::default(), Recorder::default(), ShardMetrics::default());
        // What would be a property block with a Message Expiry Interval in 5.0.
        let message = PublishParts {
            version: Version::V311,
            ..parts(QoS::AtLeastOnce, &[5, 2, 0, 0, 0, 10])
        };
        outbound
            .wait(Waiting {
                stage: Stage::Channel,
                version: Version::V311,
                expires: Some(now(3_000).instant),
                packet: encoded(&message),
            })
            .unwrap();
        outbound.advance(now(1_000), 8, &metrics, &mut out);
        assert_eq!(out.take(), encoded(&message));
    }

    #[test]
    fn the_queue_is_bounded_by_messages_and_by_bytes() {
        let mut outbound = Outbound::default();
        for _ in 0..limits::QUEUED_PER_SESSION_MAX {
            outbound.wait(waiting(QoS::AtLeastOnce, b"")).unwrap();
        }
        let more = outbound.wait(waiting(QoS::AtLeastOnce, b""));
        assert_eq!(more, Err(Undelivered::QueueFull));
        let mut outbound = Outbound::default();
        let half = vec![0; limits::QUEUED_BYTES_PER_SESSION_MAX / 2];
        outbound.wait(waiting(QoS::AtLeastOnce, &half)).unwrap();
        let more = outbound.wait(waiting(QoS::AtLeastOnce, &half));
        assert_eq!(more, Err(Undelivered::QueueFull));
    }

    #[test]
    fn mqtt5_2_2_1_identifiers_in_use_are_passed_over() {
        let mut outbound = Outbound::default();
        let first = outbound.begin();
        for _ in 0..u32::from(u16::MAX) {
            let id = outbound.begin();
            assert_ne!(id, first);
            outbound.acknowledge(id);
        }
    }

    #[test]
    fn a_full_send_queue_holds_the_window_but_never_all_of_it() {
        let (mut outbound, metrics) = (Outbound::default(), ShardMetrics::default());
        let mut out = Recorder {
            stuck: limits::SEND_QUEUE_BYTES_MAX + 1,
            ..Recorder::default()
        };
        assert!(outbound.has_room(8, true));
        let first = outbound.begin();
        assert!(!outbound.has_room(8, true));
        outbound.wait(waiting(QoS::AtLeastOnce, b"1")).unwrap();
        outbound.advance(now(0), 8, &metrics, &mut out);
        assert!(out.take().is_empty());
        outbound.acknowledge(first);
        outbound.advance(now(0), 8, &metrics, &mut out);
        assert!(!out.take().is_empty());
    }
}
