//! How a PUBLISH goes out: at once, in the window of what is not acknowledged, or behind others.

use super::in_flight::Link;
use super::message::{self, UNNUMBERED};
use super::origin::Origin;
use super::publish::wire;
use super::{Session, State, topic_alias};
use crate::codec::mqtt::packet::{PacketId, Version};
use crate::codec::mqtt::publish::PublishParts;
use crate::limits;
use crate::observe::Stage;
use crate::route::{Qos, Undelivered};
use crate::session::{Frames, Output};
use crate::time::{Instant, MaybeInstant, Now};

/// A message ready to be sent, but for its packet identifier.
pub(super) struct Message<'a> {
    pub(super) stage: Stage,
    pub(super) parts: PublishParts<'a>,
    pub(super) qos: Qos,
    pub(super) expires: Option<Instant>,
    /// The key of its frame at QoS 0, if other receivers get the same bytes.
    pub(super) variant: Option<u32>,
    /// What it would be given back with.
    pub(super) origin: Option<Origin<'a>>,
}

impl Session {
    /// Sends a message, puts it behind others, or says why neither is possible.
    pub(super) fn transmit<O: Output>(
        &mut self,
        now: Now,
        message: &mut Message<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        let qos = wire(message.qos) as u8;
        self.pass(now, message, frames, out)?;
        self.settings.metrics.published(false, qos);
        Ok(())
    }

    fn pass<O: Output>(
        &mut self,
        now: Now,
        message: &mut Message<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        let (stage, qos) = (message.stage, message.qos);
        let connected = self.state == State::Attached;
        if !connected && qos == Qos::AtMostOnce {
            return Err(Undelivered::Gone);
        }
        let blocked = self.is_blocked(now, out);
        if connected {
            self.advance(now, out);
        }
        let messages = self.messages.as_ref();
        let behind = messages.is_some_and(|messages| messages.outbound.holds(stage));
        if qos == Qos::AtMostOnce && !behind {
            if blocked && out.queued() > stage_bound(stage) {
                return Err(Undelivered::QueueFull);
            }
            return self.send_at_once(&mut message.parts, message.variant, frames, out);
        }
        self.line_up(now, message, (behind, blocked), out)
    }

    /// What is not sent at QoS 0 at once: in the window of what is not acknowledged, or behind others.
    fn line_up<O: Output>(
        &mut self,
        now: Now,
        message: &mut Message<'_>,
        (behind, blocked): (bool, bool),
        out: &mut O,
    ) -> Result<(), Undelivered> {
        let &mut Message {
            stage,
            ref mut parts,
            qos,
            expires,
            ref origin,
            ..
        } = message;
        let connected = self.state == State::Attached;
        let messages = self.messages.as_ref();
        let kept = messages.is_some_and(|messages| messages.kept.is_some());
        if qos != Qos::AtMostOnce {
            parts.qos = wire(qos);
            parts.packet_id = Some(PacketId::MIN);
        }
        let len = parts.encoded_len();
        if connected && !self.fits(len) {
            return Err(Undelivered::TooLarge);
        }
        let messages = self.messages.get_or_insert_default();
        // What is sent at QoS 2 goes to nobody else [MQTT-4.8.2-5].
        let returns = origin.is_some() && qos == Qos::AtLeastOnce;
        if !kept && !behind && !returns && messages.outbound.has_room(self.window, blocked) {
            parts.packet_id = Some(messages.outbound.begin(parts.qos));
            self.alias(parts);
            let packet = parts.counted();
            out.write(packet.encoded_len(), |buffer| packet.encode_into(buffer));
            if let Some(messages) = &mut self.messages {
                messages.tell(&self.settings.metrics);
            }
            return Ok(());
        }
        // The next connection may speak the version that has room for everything.
        if kept && qos != Qos::AtMostOnce {
            parts.version = Version::V5;
        }
        let counted = parts.counted();
        let mut packet = Vec::with_capacity(counted.encoded_len());
        counted.encode_into(&mut packet);
        let message = message::Message {
            seq: UNNUMBERED,
            stage,
            version: parts.version,
            expires,
            packet,
            origin: origin
                .as_ref()
                .filter(|_| qos != Qos::AtMostOnce)
                .map(|origin| origin.encode()),
        };
        self.accept(now, message, connected.then_some(out))
    }

    /// Gives a message to those on their way.
    fn accept<O: Output>(
        &mut self,
        now: Now,
        message: message::Message,
        out: Option<&mut O>,
    ) -> Result<(), Undelivered> {
        let link = Link {
            window: self.window,
            version: self.version,
            packet_bytes_max: self.client_packet_bytes_max,
            settings: &self.settings,
        };
        let messages = self.messages.get_or_insert_default();
        let (outbound, kept) = (&mut messages.outbound, messages.kept.as_deref_mut());
        let accepted = outbound.accept(now, message, &link, kept, out);
        messages.tell(&self.settings.metrics);
        accepted
    }

    /// QoS 0: shared with the other receivers where there are some, and they get the same bytes.
    fn send_at_once<O: Output>(
        &mut self,
        parts: &mut PublishParts<'_>,
        variant: Option<u32>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        let aliased = self.rare.as_ref().is_some_and(|rare| rare.replaced.are_taken());
        let shared = variant.filter(|_| !aliased && !frames.are_for_one());
        let Some(variant) = shared else {
            let mut packet = parts.counted();
            if !self.fits(packet.encoded_len()) {
                return Err(Undelivered::TooLarge);
            }
            if aliased {
                self.alias(parts);
                packet = parts.counted();
            }
            out.write(packet.encoded_len(), |buffer| packet.encode_into(buffer));
            return Ok(());
        };
        // Most clients set no bound, and the length is known to the frame.
        if self.client_packet_bytes_max != u32::MAX && !self.fits(parts.encoded_len()) {
            return Err(Undelivered::TooLarge);
        }
        let frame = frames.get_or_encode(variant, || {
            let packet = parts.counted();
            out.share(packet.encoded_len(), |buffer| packet.encode_into(buffer))
        });
        out.push(&frame);
        Ok(())
    }

    /// Puts an alias in for the topic of a message that fits and is sent now, if the client takes one.
    fn alias(&mut self, parts: &mut PublishParts<'_>) {
        let Some(rare) = &mut self.rare else { return };
        let topic = parts.topic;
        let replacement = rare.replaced.find(topic);
        if topic_alias::replace(parts, replacement, self.client_packet_bytes_max) {
            rare.replaced.set(topic);
        }
    }

    /// Whether the send queue is over its bound; remembers since when.
    pub(super) fn is_blocked<O: Output>(&mut self, now: Now, out: &O) -> bool {
        let blocked = out.queued() > limits::SEND_QUEUE_BYTES_MAX;
        if !blocked {
            self.blocked_since = MaybeInstant::NONE;
        } else if self.blocked_since.get().is_none() {
            self.blocked_since = MaybeInstant::at(now.instant);
        }
        blocked
    }
}

impl<'a> Message<'a> {
    /// A message that only this block gets.
    pub(super) const fn to_one(stage: Stage, parts: PublishParts<'a>, qos: Qos) -> Self {
        Self {
            stage,
            parts,
            qos,
            expires: None,
            variant: None,
            origin: None,
        }
    }
}

/// Up to where the send queue takes a QoS 0 message. The outcome of a request is owed, and there are never more
/// than the requests in flight; everything else is dropped as soon as the queue is over its bound.
const fn stage_bound(stage: Stage) -> usize {
    match stage {
        Stage::Reply => 2 * limits::SEND_QUEUE_BYTES_MAX,
        _ => limits::SEND_QUEUE_BYTES_MAX,
    }
}
