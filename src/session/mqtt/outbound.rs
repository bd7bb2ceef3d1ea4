//! QoS 1 and 2 towards the client: the window of messages that are not acknowledged, and the queue behind it.
//!
//! Invariants: a message waits only while another one is unacknowledged, so that there is always something to
//! come that moves the queue on. In a kept session a QoS 2 PUBLISH and each PUBREL go out after the row that
//! tells of them is durable, and what is behind a PUBLISH of its stage never overtakes it.

mod lives;

use std::collections::VecDeque;

use super::in_flight::{InFlight, Link, Phase, Place, first_phase, unfit, write_release};
use super::kept::Kept;
use super::message::{Message, UNNUMBERED};
use super::rows::State;
use super::state::Backlog;
use crate::codec::mqtt::packet::{PacketId, QoS};
use crate::limits;
use crate::observe::Stage;
use crate::route::Undelivered;
use crate::session::Output;
use crate::time::Now;

/// The state of the messages on their way to one client.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// In the order they were sent, but for what is to be released, which stands in the order of PUBREC; clients
    /// acknowledge in the order sent \[MQTT-4.6.0-2\].
    in_flight: VecDeque<InFlight>,
    /// How many of those in flight have a packet that has not gone out on this connection.
    unsent: usize,
    /// Some of them may be due.
    due: bool,
    waiting: VecDeque<Message>,
    waiting_bytes: usize,
    /// Of the packets in flight that are held to be sent again.
    in_flight_bytes: usize,
    /// How many of those that wait belong to each stage.
    waiting_of: [u32; Stage::ALL.len()],
    last_id: u16,
}

/// What a PUBREC means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// There is no such exchange.
    Unknown,
    /// The message is QoS 1.
    Wrong,
    /// PUBREL is to be sent now.
    Release,
    /// PUBREL is sent later, or never.
    Nothing,
}

impl Outbound {
    /// How much is on its way.
    pub(super) fn backlog(&self) -> Backlog {
        Backlog {
            in_flight: self.in_flight.len(),
            waiting: self.waiting.len(),
            waiting_bytes: self.waiting_bytes,
            held_bytes: self.waiting_bytes + self.in_flight_bytes,
        }
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.waiting.is_empty()
    }

    /// Gives back room that nothing is in.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            self.in_flight = VecDeque::new();
            self.waiting = VecDeque::new();
        }
    }

    /// Whether a message of this stage waits: the next one goes behind it, whatever its QoS.
    pub(super) fn holds(&self, stage: Stage) -> bool {
        self.waiting_of
            .get(stage as usize)
            .is_some_and(|&count| count != 0)
            || self.is_unsent(stage)
    }

    /// Whether a PUBLISH of this stage has a packet identifier, but has not gone out.
    fn is_unsent(&self, stage: Stage) -> bool {
        let unsent = |sent: &InFlight| {
            sent.place != Place::Sent
                && sent.phase != Phase::Complete
                && sent
                    .message
                    .as_ref()
                    .is_some_and(|message| message.stage == stage)
        };
        self.unsent != 0 && self.in_flight.iter().any(unsent)
    }

    fn awaits(&self, id: PacketId) -> bool {
        self.in_flight.iter().any(|sent| sent.id == id)
    }

    fn find(&mut self, id: PacketId) -> Option<(usize, &mut InFlight)> {
        self.in_flight
            .iter_mut()
            .enumerate()
            .find(|(_, sent)| sent.id == id)
    }

    /// Whether one more message of QoS 1 or 2 may be sent: the window has a place, and if the send queue is over
    /// its bound, nothing else is left that would move things on.
    pub(super) fn has_room(&self, window: u16, blocked: bool) -> bool {
        self.in_flight.is_empty() || (!blocked && self.in_flight.len() < usize::from(window))
    }

    /// The same, and what is held to be sent again may become that much larger.
    fn has_room_for<O: Output>(&self, message: &Message, link: &Link<'_>, out: &O) -> bool {
        let bytes = self.in_flight_bytes + message.len_bytes();
        self.has_room(link.window, out.queued() > limits::SEND_QUEUE_BYTES_MAX)
            && (self.in_flight_bytes == 0 || bytes <= link.settings.queued_bytes_max)
    }

    /// Takes a place in the window for a message of QoS 1 or 2 that is sent now and need not be kept.
    pub(super) fn begin(&mut self, qos: QoS) -> PacketId {
        let id = self.next_id();
        self.in_flight.push_back(InFlight {
            id,
            phase: first_phase(qos),
            place: Place::Sent,
            repeated: false,
            message: None,
        });
        id
    }

    fn next_id(&mut self) -> PacketId {
        // Terminates: the window is far smaller than the number of identifiers.
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_id)
                && !self.awaits(id)
            {
                return id;
            }
        }
    }

    /// PUBACK; `false` if it is no answer to this message. One for an identifier that is not on its way changes
    /// nothing: the standard names no error.
    pub(super) fn acknowledge(&mut self, id: PacketId, kept: Option<&mut Kept>) -> bool {
        let Some((at, sent)) = self.find(id) else {
            return true;
        };
        if !sent.may_be_answered() {
            return true;
        }
        if sent.phase != Phase::Acknowledge {
            return false;
        }
        self.remove(at, kept);
        true
    }

    /// PUBREC, with a code that says failure or without.
    pub(super) fn receive(&mut self, id: PacketId, failed: bool, kept: Option<&mut Kept>) -> Received {
        let Some((at, sent)) = self.find(id) else {
            return if failed {
                Received::Nothing
            } else {
                Received::Unknown
            };
        };
        match sent.phase {
            Phase::Complete if sent.place == Place::Sent && !failed => return Received::Release,
            Phase::Complete => return Received::Nothing,
            Phase::Acknowledge | Phase::Receive if !sent.may_be_answered() => {
                return if failed {
                    Received::Nothing
                } else {
                    Received::Unknown
                };
            }
            Phase::Acknowledge => return Received::Wrong,
            // 4.3.3: the exchange ends with a failure.
            Phase::Receive if failed => {
                self.remove(at, kept);
                return Received::Nothing;
            }
            Phase::Receive => {}
        }
        let was_sent = sent.place == Place::Sent;
        sent.phase = Phase::Complete;
        let (Some(kept), Some(message)) = (kept, &mut sent.message) else {
            return Received::Release;
        };
        kept.put_released(message.seq, id, message.stage, message.version);
        sent.place = Place::Held(kept.turn());
        let bytes = message.len_bytes();
        (message.packet, message.origin) = (Vec::new(), None);
        self.in_flight_bytes -= bytes;
        self.unsent += usize::from(was_sent);
        self.queue_release(at);
        Received::Nothing
    }

    /// Puts what is to be released behind the others of its kind: PUBREL follows in the order of PUBREC \[MQTT-4.6.0-4\].
    fn queue_release(&mut self, at: usize) {
        let is_before = |(place, sent): (usize, &InFlight)| place != at && sent.phase == Phase::Complete;
        let mut places = self.in_flight.iter().enumerate();
        let Some(last) = places.rposition(is_before).filter(|last| *last > at) else {
            return;
        };
        if let Some(released) = self.in_flight.remove(at) {
            self.in_flight.insert(last, released);
        }
    }

    /// PUBCOMP. One that nothing waits for changes nothing: it may answer a PUBREL of an unknown exchange.
    pub(super) fn complete(&mut self, id: PacketId, kept: Option<&mut Kept>) {
        if let Some((at, sent)) = self.find(id)
            && sent.phase == Phase::Complete
            && sent.place == Place::Sent
        {
            self.remove(at, kept);
        }
    }

    /// Ends what is in flight at this place.
    fn remove(&mut self, at: usize, kept: Option<&mut Kept>) {
        let Some(ended) = self.in_flight.remove(at) else {
            return;
        };
        self.unsent -= usize::from(ended.place != Place::Sent);
        if let Some(message) = ended.message {
            self.in_flight_bytes -= message.len_bytes();
            if let Some(kept) = kept {
                kept.delete(message.seq);
            }
        }
    }

    /// Sends a message that is kept or would be given back, or puts it behind others; `out` is `None` while there is no connection.
    pub(super) fn accept<O: Output>(
        &mut self,
        now: Now,
        mut message: Message,
        link: &Link<'_>,
        kept: Option<&mut Kept>,
        out: Option<&mut O>,
    ) -> Result<(), Undelivered> {
        let settings = link.settings;
        let held = settings.metrics.mqtt_held_bytes.get();
        let is_full = held.saturating_add(message.len_bytes() as u64) > settings.held_bytes_max;
        // Whoever is there and acknowledges goes on, message by message, whatever others let pile up.
        if is_full && (out.is_none() || !self.in_flight.is_empty()) {
            return Err(Undelivered::QueueFull);
        }
        if let Some(out) = out
            && (kept.is_some() || message.origin.is_some())
            && message.qos() != QoS::AtMostOnce
            && self.waiting.is_empty()
            && self.has_room_for(&message, link, out)
        {
            self.start(now, message, link, kept, out);
            return Ok(());
        }
        let bytes = self.waiting_bytes + message.len_bytes();
        if self.waiting.len() >= settings.queued_messages_max || bytes > settings.queued_bytes_max {
            return Err(Undelivered::QueueFull);
        }
        if let Some(kept) = kept
            && message.qos() != QoS::AtMostOnce
        {
            message.seq = kept.next_seq();
            kept.put(now, State::Waiting, &message);
        }
        self.push(message);
        Ok(())
    }

    fn push(&mut self, message: Message) {
        self.waiting_bytes += message.len_bytes();
        if let Some(count) = self.waiting_of.get_mut(message.stage as usize) {
            *count += 1;
        }
        self.waiting.push_back(message);
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.waiting.pop_front()?;
        self.waiting_bytes -= message.len_bytes();
        if let Some(count) = self.waiting_of.get_mut(message.stage as usize) {
            *count -= 1;
        }
        Some(message)
    }

    /// Gives a message its packet identifier, and sends it if nothing has to be durable before.
    fn start<O: Output>(
        &mut self,
        now: Now,
        mut message: Message,
        link: &Link<'_>,
        kept: Option<&mut Kept>,
        out: &mut O,
    ) {
        let qos = message.qos();
        let Some(kept) = kept else {
            let id = self.begin(qos);
            message.fill_in(now, Some(id));
            message.write(link.version, now, out);
            // Sent at QoS 2 it goes to nobody else [MQTT-4.8.2-5].
            if qos == QoS::AtLeastOnce
                && message.origin.is_some()
                && let Some(sent) = self.in_flight.back_mut()
            {
                self.in_flight_bytes += message.len_bytes();
                sent.message = Some(Box::new(message));
            }
            return;
        };
        let id = self.next_id();
        if message.seq == UNNUMBERED {
            message.seq = kept.next_seq();
        }
        message.fill_in(now, Some(id));
        kept.put(now, State::Sent(id), &message);
        let place = if qos == QoS::ExactlyOnce || self.is_unsent(message.stage) {
            self.unsent += 1;
            Place::Held(kept.turn())
        } else {
            message.write(link.version, now, out);
            Place::Sent
        };
        self.in_flight_bytes += message.len_bytes();
        self.in_flight.push_back(InFlight {
            id,
            phase: first_phase(qos),
            place,
            repeated: place == Place::Sent,
            message: Some(Box::new(message)),
        });
    }

    /// Sends what is due and what waits, as far as there is room.
    pub(super) fn advance<O: Output>(
        &mut self,
        now: Now,
        link: &Link<'_>,
        mut kept: Option<&mut Kept>,
        out: &mut O,
    ) {
        if self.due {
            self.send_due(now, link, kept.as_deref_mut(), out);
        }
        while let Some(next) = self.waiting.front() {
            let room = if next.qos() == QoS::AtMostOnce {
                let blocked = out.queued() > limits::SEND_QUEUE_BYTES_MAX;
                (!blocked || self.in_flight.is_empty()) && !self.is_unsent(next.stage)
            } else {
                self.has_room_for(next, link, out)
            };
            if !room {
                return;
            }
            let Some(mut message) = self.pop() else { return };
            if let Some(reason) = unfit(&message, now, link) {
                link.settings.metrics.dropped(message.stage, reason);
                if let Some(kept) = kept.as_deref_mut().filter(|_| message.qos() != QoS::AtMostOnce) {
                    kept.delete(message.seq);
                }
                continue;
            }
            if message.qos() == QoS::AtMostOnce {
                message.fill_in(now, None);
                message.write(link.version, now, out);
            } else {
                self.start(now, message, link, kept.as_deref_mut(), out);
            }
        }
    }

    /// Sends what has its packet identifier, in order: what was sent on an earlier connection, and what has
    /// become durable.
    fn send_due<O: Output>(&mut self, now: Now, link: &Link<'_>, mut kept: Option<&mut Kept>, out: &mut O) {
        let mut occupied = self.in_flight.len() - self.unsent;
        let (mut at, mut full) = (0, false);
        while let Some(next) = self.in_flight.get_mut(at) {
            at += 1;
            if next.place != Place::Due {
                continue;
            }
            if next.phase == Phase::Complete {
                write_release(next.id, link.version, out);
            } else {
                let blocked = out.queued() > limits::SEND_QUEUE_BYTES_MAX;
                full |= occupied != 0 && (blocked || occupied >= usize::from(link.window));
                if full {
                    continue;
                }
                if let Some(reason) = next.prepare(now, link, out) {
                    let stage = next.message.as_ref().map(|message| message.stage);
                    if let Some(stage) = stage {
                        link.settings.metrics.dropped(stage, reason);
                    }
                    at -= 1;
                    self.remove(at, kept.as_deref_mut());
                    continue;
                }
            }
            next.place = Place::Sent;
            next.repeated = true;
            self.unsent -= 1;
            occupied += 1;
        }
        self.due = full;
    }

    /// What waited for changes that are durable now is due.
    pub(super) fn settle(&mut self, kept: &Kept) {
        if self.unsent == 0 {
            return;
        }
        for sent in &mut self.in_flight {
            if let Place::Held(turn) = sent.place
                && kept.is_durable(turn)
            {
                sent.place = Place::Due;
                self.due = true;
            }
        }
    }
}
