//! The acknowledgements of QoS 1 and 2 (4.3.2, 4.3.3), and how a session's exchanges outlive its connection.

use std::num::NonZeroU64;

use super::in_flight::Link;
use super::inbound::Exchange;
use super::kept::{Answer, Kept};
use super::outbound::Received;
use super::publish::packet_id;
use super::reason::{Carrier, Reason, code_v5};
use super::state::{MessageState, Release};
use super::{Session, State};
use crate::codec::mqtt::packet::{Ack, Packet, PacketId, Version};
use crate::codec::mqtt::property::Properties;
use crate::journal::Journal;
use crate::limits;
use crate::route::{Delivery, Mark, Ticket, Undelivered};
use crate::session::{Frames, Output};
use crate::time::Now;

/// No connection.
struct Nowhere;

impl Output for Nowhere {
    type Shared = ();

    const FRAMING: u8 = 0;

    fn write(&mut self, _: usize, _: impl FnOnce(&mut Vec<u8>)) {}

    fn share(&mut self, _: usize, _: impl FnOnce(&mut Vec<u8>)) {}

    fn push(&mut self, (): &()) {}

    fn shared((): &()) -> &[u8] {
        &[]
    }

    fn queued(&self) -> usize {
        0
    }
}

/// What a session that outlives its connection needs of who holds it.
impl Session {
    /// From now on messages and exchanges are kept and written down as those of session `number`; to be called
    /// before the first one.
    pub fn keep(&mut self, number: u64) {
        let messages = self.messages.get_or_insert_default();
        messages.kept.get_or_insert_with(|| Box::new(Kept::new(number)));
    }

    /// Moves the changes since the last call into `into`, as part of `batch`: a number that grows from batch to
    /// batch. Whether there were any; then [`Session::committed`] is to be called.
    pub fn drain_journal(&mut self, batch: u64, into: &mut Journal) -> bool {
        let kept = self.messages.as_mut().and_then(|messages| messages.kept.as_mut());
        kept.is_some_and(|kept| kept.drain(batch, into))
    }

    /// All batches up to `batch` are durable: sends what has waited for them.
    pub fn committed<O: Output>(&mut self, now: Now, batch: u64, out: &mut O) {
        self.settled(batch);
        if self.state != State::Attached {
            return;
        }
        while let Some(answer) = self.messages.as_mut().and_then(|messages| messages.next_answer()) {
            let packet = match answer {
                Answer::Completed(id) => Packet::PubComp(success(id)),
                Answer::Unknown(id) => Packet::PubComp(self.exchange_ack(id, false)),
            };
            self.send(&packet, out);
        }
        self.advance(now, out);
        self.is_blocked(now, out);
    }

    /// The same while there is no connection.
    pub fn settled(&mut self, batch: u64) {
        if let Some(messages) = &mut self.messages {
            messages.settle(batch);
            if self.state == State::Offline {
                messages.shrink();
            }
        }
    }

    /// Takes the message exchange out of a session whose connection is gone.
    pub fn take_exchange(&mut self) -> Box<MessageState> {
        let mut messages = self.messages.take().unwrap_or_default();
        messages.version = self.version;
        messages.detach();
        messages.shrink();
        messages
    }

    /// Gives a session the message exchange of an earlier one. Without a connection messages are then taken by
    /// [`Session::keep_delivery`]; with one [`Session::resume`] is to be called.
    pub fn give_exchange(&mut self, messages: Box<MessageState>) {
        if matches!(self.state, State::Connecting | State::Ended) {
            self.version = messages.version;
        }
        self.messages = Some(messages);
    }

    /// CONNACK is written: what has not been acknowledged is sent again, in its order, then what has waited (4.4).
    pub fn resume<O: Output>(&mut self, now: Now, out: &mut O) {
        self.advance(now, out);
        self.is_blocked(now, out);
    }

    /// Queues a message for a session that is kept and has no connection, or one that is ending: of channels, QoS 1
    /// or 2. Everything else is [`Undelivered::Gone`].
    pub fn keep_delivery(&mut self, now: Now, delivery: &Delivery<'_>) -> Result<(), Undelivered> {
        let kept = self
            .messages
            .as_ref()
            .is_some_and(|messages| messages.kept.is_some());
        match delivery {
            Delivery::Channel { .. } if kept => {
                let state = std::mem::replace(&mut self.state, State::Offline);
                let queued = self.delivery(now, delivery, &mut Frames::default(), &mut Nowhere);
                self.state = state;
                queued
            }
            _ => Err(Undelivered::Gone),
        }
    }
}

impl Session {
    /// PUBACK from the client (3.4), whatever its code: the message is off our hands.
    pub(super) fn acknowledged<O: Output>(
        &mut self,
        now: Now,
        id: PacketId,
        out: &mut O,
    ) -> Result<(), Reason> {
        if let Some(messages) = &mut self.messages
            && !messages.outbound.acknowledge(id, messages.kept.as_deref_mut())
        {
            return Err(Reason::ProtocolError);
        }
        self.advance(now, out);
        Ok(())
    }

    /// PUBREC (3.5); for a QoS 1 message it is the wrong answer.
    pub(super) fn received<O: Output>(&mut self, now: Now, ack: &Ack<'_>, out: &mut O) -> Result<(), Reason> {
        let (id, failed) = (ack.packet_id, ack.code >= 0x80);
        let received = match &mut self.messages {
            Some(messages) => messages
                .outbound
                .receive(id, failed, messages.kept.as_deref_mut()),
            None if failed => Received::Nothing,
            None => Received::Unknown,
        };
        match received {
            Received::Wrong => return Err(Reason::ProtocolError),
            Received::Unknown => self.send(&Packet::PubRel(self.exchange_ack(id, false)), out),
            Received::Release => self.send(&Packet::PubRel(self.exchange_ack(id, true)), out),
            Received::Nothing => {}
        }
        self.advance(now, out);
        Ok(())
    }

    /// PUBCOMP (3.7). One of no exchange answers a PUBREL that told the client so.
    pub(super) fn exchanged<O: Output>(&mut self, now: Now, id: PacketId, out: &mut O) {
        if let Some(messages) = &mut self.messages {
            messages.outbound.complete(id, messages.kept.as_deref_mut());
        }
        self.advance(now, out);
    }

    /// PUBREL (3.6): the end of an exchange, or of one that is not known (any more).
    pub(super) fn released<O: Output>(&mut self, id: PacketId, out: &mut O) {
        let release = match &mut self.messages {
            Some(messages) => messages.release(id),
            None => Release::Unknown,
        };
        let known = match release {
            Release::Completing => return,
            Release::Completed => true,
            Release::Unknown => false,
        };
        self.send(&Packet::PubComp(self.exchange_ack(id, known)), out);
    }

    /// Takes the identifier of a QoS 2 PUBLISH in: whether the message is to be routed, or the answer, if it is
    /// not to be given later.
    pub(super) fn begin_exchange<O: Output>(&mut self, id: PacketId, out: &mut O) -> Result<bool, Reason> {
        let most = match self.version {
            // Those of this connection are bounded by Receive Maximum already.
            Version::V5 => limits::QOS2_EXCHANGES_PER_SESSION_MAX.max(self.settings.receive_maximum.into()),
            Version::V311 => limits::QOS2_EXCHANGES_PER_SESSION_MAX,
        };
        let messages = self.messages.get_or_insert_default();
        match messages.begin(id, most) {
            Exchange::Begun | Exchange::Again => return Ok(true),
            Exchange::Refused => return Err(Reason::QuotaExceeded),
            Exchange::Pending => {}
            Exchange::Repeated => self.send(&Packet::PubRec(success(id)), out),
        }
        Ok(false)
    }

    /// PUBREC is sent; with a failure it ends the exchange (4.3.3).
    pub(super) fn answered(&mut self, id: PacketId, failed: bool) {
        if let Some(messages) = &mut self.messages {
            if failed {
                messages.end(id);
            } else {
                messages.exchanges.answered(id);
            }
        }
    }

    /// What tells the tickets of this connection from those of earlier ones.
    pub(super) fn connection(&self) -> u32 {
        let kept = self.messages.as_ref().and_then(|messages| messages.kept.as_ref());
        kept.map_or(0, |kept| kept.connection())
    }

    /// By what a QoS 2 message is known again after a restart.
    pub(super) fn mark_of(&self, ticket: Ticket) -> Option<Mark> {
        let (id, true) = packet_id(ticket)? else {
            return None;
        };
        let messages = self.messages.as_ref()?;
        Some(Mark {
            session: NonZeroU64::new(messages.kept.as_ref()?.number())?,
            exchange: id.get(),
            again: messages.exchanges.is_again(id),
        })
    }

    /// What came of something that an earlier connection of the session asked: of a QoS 2 message it is this
    /// connection's answer, if its client has asked again, and else what it will be told.
    pub(super) fn completed_late<O: Output>(&mut self, ticket: Ticket, reason: Option<Reason>, out: &mut O) {
        let Some((id, true)) = packet_id(ticket) else {
            return;
        };
        let is_asked = |messages: &MessageState| messages.exchanges.is_pending(id);
        if self.state == State::Attached && self.messages.as_deref().is_some_and(is_asked) {
            self.acknowledge(ticket, reason, out);
        } else {
            self.completed_away(ticket, reason);
        }
    }

    /// The same of something that was asked on a connection which is gone.
    pub(super) fn completed_away(&mut self, ticket: Ticket, reason: Option<Reason>) {
        let Some((id, true)) = packet_id(ticket) else {
            return;
        };
        let is_open = |messages: &MessageState| messages.exchanges.is_unanswered(id);
        if self.messages.as_deref().is_some_and(is_open) {
            self.answered(id, self.ack_code(reason) >= 0x80);
        }
    }

    /// Sends what there is room for.
    pub(super) fn advance<O: Output>(&mut self, now: Now, out: &mut O) {
        let link = Link {
            window: self.window,
            version: self.version,
            packet_bytes_max: self.client_packet_bytes_max,
            settings: &self.settings,
        };
        if let Some(messages) = &mut self.messages {
            let kept = messages.kept.as_deref_mut();
            messages.outbound.advance(now, &link, kept, out);
            messages.tell(&self.settings.metrics);
        }
    }

    fn exchange_ack(&self, packet_id: PacketId, known: bool) -> Ack<'static> {
        let code = match self.version {
            Version::V5 if !known => code_v5(Reason::PacketIdentifierNotFound, Carrier::PubAck),
            Version::V5 | Version::V311 => 0,
        };
        Ack {
            code,
            ..success(packet_id)
        }
    }
}

const fn success(packet_id: PacketId) -> Ack<'static> {
    Ack {
        packet_id,
        code: 0,
        properties: Properties::EMPTY,
    }
}
