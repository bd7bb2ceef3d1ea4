//! What becomes of the messages when a connection or the session ends, and after a restart.

use super::super::in_flight::{InFlight, Phase, Place, first_phase};
use super::super::kept::Kept;
use super::super::message::Message;
use super::super::rows::{Row, State};
use super::Outbound;
use crate::codec::mqtt::packet::QoS;
use crate::time::{Instant, Now};

impl Outbound {
    /// The connection is gone: all that was sent on it is due again on the next one (4.4), and QoS 0 is lost.
    pub(in crate::session::mqtt) fn detach(&mut self) {
        for sent in &mut self.in_flight {
            if sent.place == Place::Sent {
                sent.place = Place::Due;
                self.due = true;
                self.unsent += 1;
            }
        }
        for _ in 0..self.waiting.len() {
            if let Some(message) = self.pop()
                && message.qos() != QoS::AtMostOnce
            {
                self.push(message);
            }
        }
    }

    /// The session ends: the messages it had as a member of a group that another one may have, in order. Those of QoS 2
    /// are not among them once they may have been sent \[MQTT-4.8.2-5\]; of the others it is written down that they were not.
    pub(in crate::session::mqtt) fn give_back(
        &mut self,
        now: Now,
        mut kept: Option<&mut Kept>,
    ) -> impl Iterator<Item = Message> {
        let Self {
            in_flight, waiting, ..
        } = std::mem::take(self);
        let unanswered = in_flight.into_iter().filter_map(move |sent| {
            let may_be_had = match sent.phase {
                Phase::Acknowledge => true,
                Phase::Receive => !sent.may_be_answered(),
                Phase::Complete => false,
            };
            let message = sent.message.filter(|_| may_be_had)?;
            if sent.phase == Phase::Receive
                && message.origin.is_some()
                && let Some(kept) = kept.as_deref_mut()
            {
                kept.put(now, State::Waiting, &message);
            }
            Some(*message)
        });
        unanswered
            .chain(waiting)
            .filter(|message| message.origin.is_some())
    }

    /// Puts a stored message behind the others; `false` if it contradicts them.
    pub(in crate::session::mqtt) fn restore(&mut self, now: Now, seq: u64, row: &Row<'_>) -> bool {
        let message = Message {
            seq,
            stage: row.stage,
            version: row.version,
            expires: (row.expires_unix_ms != 0).then(|| instant(row.expires_unix_ms, now)),
            packet: row.packet.to_vec(),
            origin: (!row.origin.is_empty()).then(|| row.origin.into()),
        };
        let (id, phase) = match row.state {
            State::Waiting => {
                self.push(message);
                return true;
            }
            State::Sent(id) => (id, first_phase(message.qos())),
            State::Released(id) => (id, Phase::Complete),
        };
        if self.awaits(id) {
            return false;
        }
        (self.last_id, self.due) = (id.get(), true);
        self.in_flight_bytes += message.len_bytes();
        self.unsent += 1;
        self.in_flight.push_back(InFlight {
            id,
            phase,
            place: Place::Due,
            repeated: true,
            message: Some(Box::new(message)),
        });
        true
    }
}

/// The point of the shard's clock that is meant by one of the calendar; the clock's start if it has passed.
fn instant(unix_ms: u64, now: Now) -> Instant {
    match unix_ms.checked_sub(now.unix_ms) {
        Some(ahead) => now.instant + std::time::Duration::from_millis(ahead),
        None => Instant::default(),
    }
}
