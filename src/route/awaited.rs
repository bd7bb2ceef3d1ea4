//! Messages of local blocks whose acknowledgement waits: for this shard or others to have made them last.
//!
//! Invariant: a message stands here until everybody it waits for has answered, once each; the session that sent it is
//! then told, if it is still there.

use slab::Slab;

use super::letter::Letter;
use super::message::{Completion, LeftId, Mark, Notice, Reach, Refusal, SessionKey, Ticket};
use super::port::Port;
use super::router::Router;
use crate::time::Instant;

/// A message that waits, on the shard of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublishId {
    slot: u32,
    /// How many had waited before it, so that a late answer never reaches a successor.
    serial: u32,
}

/// What a message is called that goes to other shards, whose answers are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    /// Under this name they answer.
    pub(crate) publish: PublishId,
    /// By this they know it again.
    pub(crate) mark: Option<Mark>,
}

/// Who is told when all have answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// The session that sent the message.
    Session(SessionKey, Ticket),
    /// The shard that it came from: this one is the home of a group, and others keep it.
    Shard(u16, PublishId),
    /// Whoever keeps what a session left, on this shard.
    Left(LeftId),
}

#[derive(Debug)]
struct Waiting {
    serial: u32,
    who: Who,
    since: Instant,
    /// Answers still to come.
    left: u32,
    outcome: Result<Reach, Refusal>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    waiting: Slab<Waiting>,
    serial: u32,
}

impl Awaited {
    /// A message begins to wait; how long is said with [`Self::expect`].
    pub(super) fn begin(&mut self, session: SessionKey, ticket: Ticket, since: Instant) -> PublishId {
        self.wait(Who::Session(session, ticket), since)
    }

    /// The same for a message of another shard, which is answered as the others answer here.
    pub(super) fn relay(&mut self, origin: u16, publish: PublishId) -> PublishId {
        // How long it takes is measured where it came from.
        self.wait(Who::Shard(origin, publish), Instant::default())
    }

    /// The same for what a session left, until one or several others have it.
    pub(super) fn leave(&mut self, left: LeftId) -> PublishId {
        self.wait(Who::Left(left), Instant::default())
    }

    fn wait(&mut self, who: Who, since: Instant) -> PublishId {
        self.serial = self.serial.wrapping_add(1);
        let slot = self.waiting.insert(Waiting {
            serial: self.serial,
            who,
            since,
            left: 0,
            outcome: Ok(Reach::Subscribers),
        });
        PublishId {
            slot: super::sessions::id(slot),
            serial: self.serial,
        }
    }

    fn get_mut(&mut self, id: PublishId) -> Option<&mut Waiting> {
        self.waiting
            .get_mut(id.slot as usize)
            .filter(|waiting| waiting.serial == id.serial)
    }

    /// How many answers are to come, and what to say then.
    pub(super) fn expect(&mut self, id: PublishId, left: u32, outcome: Result<Reach, Refusal>) {
        if let Some(waiting) = self.get_mut(id) {
            (waiting.left, waiting.outcome) = (left, outcome);
        }
    }

    /// It does not wait after all.
    pub(super) fn withdraw(&mut self, id: PublishId) {
        if self.get_mut(id).is_some() {
            self.waiting.remove(id.slot as usize);
        }
    }

    /// An answer came. If it was the last one: whom to tell what.
    fn answered(&mut self, id: PublishId, refused: bool) -> Option<Waiting> {
        let waiting = self.get_mut(id)?;
        if refused {
            waiting.outcome = Err(Refusal::QuotaExceeded);
        }
        waiting.left = waiting.left.saturating_sub(1);
        if waiting.left > 0 {
            return None;
        }
        Some(self.waiting.remove(id.slot as usize))
    }

    /// Messages that wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl Router {
    /// What was written down of a message has been made to last.
    pub fn publish_lasts(&mut self, port: &mut impl Port, origin: u16, publish: PublishId) {
        self.answer_publish(port, origin, publish, false);
    }

    /// Tells the shard that a message came from that it is in good hands here, or that it could not be.
    pub(super) fn answer_publish(
        &mut self,
        port: &mut impl Port,
        origin: u16,
        publish: PublishId,
        refused: bool,
    ) {
        if origin == self.shard {
            self.publish_answered(port, publish, refused);
        } else {
            self.mesh
                .write(origin, |_| Letter::Published { publish, refused });
        }
    }

    /// On the shard that a message came from, or the home of a group: one of those it waits for has answered.
    pub(super) fn publish_answered(&mut self, port: &mut impl Port, publish: PublishId, refused: bool) {
        let Some(done) = self.awaited.answered(publish, refused) else {
            return;
        };
        match done.who {
            Who::Session(session, ticket) => {
                let took = port.now().saturating_since(done.since);
                self.metrics.durable_latency.record(took);
                let completion = Completion::Published(done.outcome);
                port.notify(session, Notice::Completed(ticket, completion));
            }
            Who::Shard(origin, publish) => {
                self.answer_publish(port, origin, publish, done.outcome.is_err());
            }
            Who::Left(left) => port.left_settled(left, done.outcome.is_err()),
        }
    }

    /// There are sessions here that outlive their connections: from now on the other shards wait for this one before
    /// they acknowledge a message that it may keep.
    pub fn tell_keeping(&mut self) {
        if !std::mem::replace(&mut self.keeps, true) {
            self.mesh.broadcast(|_| Letter::Keeps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionKey = SessionKey {
        slot: 3,
        generation: 1,
    };

    #[test]
    fn the_last_answer_ends_the_wait_and_later_ones_reach_nobody() {
        let mut awaited = Awaited::default();
        let begin =
            |awaited: &mut Awaited, ticket| awaited.begin(SESSION, Ticket(ticket), Instant::default());
        let told = |done: Option<Waiting>| done.map(|done| (done.who, done.outcome));
        let first = begin(&mut awaited, 7);
        awaited.expect(first, 2, Ok(Reach::Subscribers));
        assert_eq!(told(awaited.answered(first, false)), None);
        let outcome = Ok(Reach::Subscribers);
        assert_eq!(
            told(awaited.answered(first, false)),
            Some((Who::Session(SESSION, Ticket(7)), outcome))
        );
        assert_eq!(told(awaited.answered(first, false)), None);
        let second = begin(&mut awaited, 8);
        awaited.expect(second, 2, outcome);
        assert_eq!(told(awaited.answered(first, true)), None);
        assert_eq!(told(awaited.answered(second, true)), None);
        let refused = Err(Refusal::QuotaExceeded);
        assert_eq!(
            told(awaited.answered(second, false)),
            Some((Who::Session(SESSION, Ticket(8)), refused))
        );
        let third = begin(&mut awaited, 9);
        awaited.withdraw(third);
        awaited.withdraw(second);
        assert_eq!(awaited.len(), 0);
    }
}
