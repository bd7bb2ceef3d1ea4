//! What a session that outlives its connection writes down, and what waits for it to be durable.
//!
//! Invariant: what waits has a change in the journal of the same turn, so that the batch which lets it go is
//! always to come.

use std::collections::VecDeque;

use super::message::Message;
use super::rows::{Row, State, inbound_key, outbound_key};
use crate::codec::mqtt::packet::{PacketId, Version};
use crate::journal::{Journal, Table};
use crate::observe::Stage;
use crate::time::{Instant, Now};

/// The changes of one session that are on their way to the disk. One that idles is 48 bytes.
#[derive(Debug)]
pub(super) struct Kept {
    number: u64,
    next_seq: u64,
    /// The number of the turn whose changes are being written.
    turn: u64,
    /// The last turn whose changes are durable.
    durable: u64,
    /// How many connections the session has had, modulo [`CONNECTIONS`].
    connection: u32,
    /// Given back when the session idles.
    on_their_way: Option<Box<OnTheirWay>>,
}

#[derive(Debug, Default)]
struct OnTheirWay {
    journal: Journal,
    /// Which batch the changes of which turn went into, in order.
    batches: VecDeque<(u64, u64)>,
    /// What the client is told when the changes of the turn are durable, in order.
    answers: VecDeque<(u64, Answer)>,
}

/// Connections that are told apart: as many as tickets have room for.
const CONNECTIONS: u32 = 1 << 15;

/// What may be said only when a change is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// PUBCOMP: the exchange is over.
    Completed(PacketId),
    /// PUBCOMP: there is no such exchange.
    Unknown(PacketId),
}

impl Kept {
    pub(super) const fn new(number: u64) -> Self {
        Self {
            number,
            next_seq: 0,
            turn: 1,
            durable: 0,
            connection: 0,
            on_their_way: None,
        }
    }

    fn on_their_way(&mut self) -> &mut OnTheirWay {
        self.on_their_way.get_or_insert_default()
    }

    fn journal(&mut self) -> &mut Journal {
        &mut self.on_their_way().journal
    }

    /// Gives back what nothing is in.
    pub(super) fn shrink(&mut self) {
        let is_idle = |all: &mut Box<OnTheirWay>| {
            all.journal.is_empty() && all.batches.is_empty() && all.answers.is_empty()
        };
        self.on_their_way.take_if(is_idle);
    }

    /// The session's number.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The number of the next message.
    pub(super) fn next_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq = seq.saturating_add(1);
        seq
    }

    /// Numbers are given out behind `seq`, which is in use.
    pub(super) fn skip(&mut self, seq: u64) {
        self.next_seq = self.next_seq.max(seq.saturating_add(1));
    }

    /// The turn that what is written now belongs to.
    pub(super) const fn turn(&self) -> u64 {
        self.turn
    }

    /// Whether the changes of a turn are durable.
    pub(super) const fn is_durable(&self, turn: u64) -> bool {
        turn <= self.durable
    }

    /// Writes down a message with its packet.
    pub(super) fn put(&mut self, now: Now, state: State, message: &Message) {
        let key = outbound_key(self.number, message.seq);
        self.journal().put_with(Table::Outbound, &key, |value| {
            Row {
                state,
                stage: message.stage,
                version: message.version,
                expires_unix_ms: message.expires.map_or(0, |expires| unix_ms(expires, now)),
                origin: message.origin.as_deref().unwrap_or_default(),
                packet: &message.packet,
            }
            .encode_into(value);
        });
    }

    /// Writes down that the client has a message, whose packet is not needed any more.
    pub(super) fn put_released(&mut self, seq: u64, id: PacketId, stage: Stage, version: Version) {
        let key = outbound_key(self.number, seq);
        self.journal().put_with(Table::Outbound, &key, |value| {
            Row {
                state: State::Released(id),
                stage,
                version,
                expires_unix_ms: 0,
                origin: &[],
                packet: &[],
            }
            .encode_into(value);
        });
    }

    /// Writes down that a message is off our hands.
    pub(super) fn delete(&mut self, seq: u64) {
        let key = outbound_key(self.number, seq);
        self.journal().delete(Table::Outbound, &key);
    }

    /// Writes down that the client has begun an exchange.
    pub(super) fn put_exchange(&mut self, id: PacketId) {
        let key = inbound_key(self.number, id);
        self.journal().put(Table::Inbound, &key, &[]);
    }

    /// Writes down that an exchange of the client is over.
    pub(super) fn delete_exchange(&mut self, id: PacketId) {
        // With the rows that tell who has got its message.
        let key = inbound_key(self.number, id);
        self.journal().delete_all(Table::Inbound, &key);
    }

    /// Gives an answer when what has been written in this turn is durable.
    pub(super) fn answer_later(&mut self, answer: Answer) {
        let turn = self.turn;
        self.on_their_way().answers.push_back((turn, answer));
    }

    /// The next answer that may be given.
    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        let answers = &mut self.on_their_way.as_mut()?.answers;
        let &(turn, answer) = answers.front()?;
        if turn > self.durable {
            return None;
        }
        answers.pop_front();
        Some(answer)
    }

    /// The connection is gone: whom the answers were for asks again.
    pub(super) fn next_connection(&mut self) {
        if let Some(all) = &mut self.on_their_way {
            all.answers.clear();
        }
        self.connection = (self.connection + 1) % CONNECTIONS;
    }

    /// Tells what one connection asked from what another one did.
    pub(super) const fn connection(&self) -> u32 {
        self.connection
    }

    /// Whether anything has been written that is not durable.
    pub(super) fn is_behind(&self) -> bool {
        let is_behind = |all: &OnTheirWay| !all.journal.is_empty() || !all.batches.is_empty();
        self.on_their_way.as_deref().is_some_and(is_behind)
    }

    /// Moves what was written into `into`, as part of `batch`. Whether there was anything.
    pub(super) fn drain(&mut self, batch: u64, into: &mut Journal) -> bool {
        let Some(all) = self.on_their_way.as_mut().filter(|all| !all.journal.is_empty()) else {
            return false;
        };
        into.append(&mut all.journal);
        all.batches.push_back((self.turn, batch));
        self.turn += 1;
        true
    }

    /// All batches up to `batch` are durable.
    pub(super) fn settle(&mut self, batch: u64) {
        let Some(all) = &mut self.on_their_way else {
            return;
        };
        while let Some(&(turn, of)) = all.batches.front()
            && of <= batch
        {
            all.batches.pop_front();
            self.durable = turn;
        }
    }
}

/// A point of the shard's clock by the calendar, never 0.
fn unix_ms(expires: Instant, now: Now) -> u64 {
    let ahead = expires.saturating_since(now.instant).as_millis();
    let behind = now.instant.saturating_since(expires).as_millis();
    let ms = |duration: u128| u64::try_from(duration).unwrap_or(u64::MAX);
    let point = now.unix_ms.saturating_add(ms(ahead)).saturating_sub(ms(behind));
    point.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_goes_with_the_batch_of_its_turn() {
        let mut kept = Kept::new(7);
        let (one, two) = (PacketId::MIN, PacketId::MAX);
        let mut batch = Journal::new();
        assert!(!kept.drain(1, &mut batch), "nothing was written");
        kept.delete_exchange(one);
        kept.answer_later(Answer::Completed(one));
        kept.settle(9);
        assert_eq!(kept.next_answer(), None, "not written yet, whatever is durable");
        assert!(kept.drain(10, &mut batch));
        kept.delete_exchange(two);
        kept.answer_later(Answer::Completed(two));
        assert!(kept.drain(11, &mut batch));
        assert_eq!(batch.len(), 2);
        kept.settle(9);
        assert_eq!(kept.next_answer(), None);
        kept.settle(10);
        assert_eq!(kept.next_answer(), Some(Answer::Completed(one)));
        assert_eq!(kept.next_answer(), None);
        kept.settle(12);
        assert_eq!(kept.next_answer(), Some(Answer::Completed(two)));
    }

    #[test]
    fn what_is_on_its_way_is_given_back_only_when_nothing_is() {
        let mut kept = Kept::new(7);
        assert_eq!(size_of_val(&kept), 48);
        let mut batch = Journal::new();
        let step = |kept: &mut Kept| {
            kept.shrink();
            kept.on_their_way.is_some()
        };
        assert!(!step(&mut kept));
        kept.delete_exchange(PacketId::MIN);
        assert!(step(&mut kept), "written and not drained");
        kept.answer_later(Answer::Completed(PacketId::MIN));
        assert!(kept.drain(1, &mut batch) && step(&mut kept));
        kept.settle(1);
        assert!(step(&mut kept), "not answered");
        assert_eq!(kept.next_answer(), Some(Answer::Completed(PacketId::MIN)));
        assert!(!step(&mut kept));
        assert!(kept.is_durable(1) && kept.turn() == 2, "what is known stays");
    }

    #[test]
    fn an_expiry_is_stored_by_the_calendar() {
        let now = Now {
            instant: Instant::from_nanos(5_000_000_000),
            unix_ms: 1_000_000,
        };
        let at = |s: u64| Instant::from_nanos(s * 1_000_000_000);
        assert_eq!(unix_ms(at(15), now), 1_010_000);
        assert_eq!(unix_ms(at(2), now), 997_000);
        let early = Now { unix_ms: 0, ..now };
        assert_eq!(unix_ms(at(2), early), 1, "0 is none");
    }
}
