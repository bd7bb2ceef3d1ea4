//! The hub as the router sees it: local sessions and timers.

use std::collections::VecDeque;

use super::durable::Batch;
use super::io::{HubTimer, Io};
use super::rows;
use super::table::{State, Table as Sessions};
use crate::journal::Table;
use crate::route::port::{Port, Receivers, RouteTimer, TimerHandle};
use crate::route::{
    AddressKey, Delivery, LeftId, Mark, Notice, PublishId, Qos, Returned, RoomEvent, SessionKey, Share,
    Undelivered,
};
use crate::session::{Ending, Frames, Session};
use crate::time::{Instant, Now};

/// What the router said about a session; carried out when its call has returned.
#[derive(Debug)]
pub(super) enum Pending {
    /// Tell it.
    Notice(SessionKey, Notice),
    /// End it.
    End(SessionKey, Ending),
    /// Its next time-out may have moved forward.
    Rearm(SessionKey),
    /// It may be read again.
    Resume(SessionKey),
    /// What a session left is in other hands, or is refused.
    Left(LeftId, bool),
}

/// The parts of the hub that the router may use while it works.
pub(super) struct Local<'a, I: Io, P> {
    pub now: Now,
    pub io: &'a mut I,
    pub table: &'a mut Sessions<I::Conn, P>,
    pub frames: &'a mut Frames<I::Shared>,
    pub pending: &'a mut VecDeque<Pending>,
    pub batch: &'a mut Batch,
}

impl<I: Io, P: Session> Port for Local<'_, I, P> {
    fn now(&self) -> Instant {
        self.now.instant
    }

    fn begin_message(&mut self, receivers: Receivers) {
        self.frames.begin(receivers);
    }

    fn deliver(&mut self, to: SessionKey, delivery: &Delivery<'_>) -> Result<(), Undelivered> {
        let entry = self.table.get_mut(to).ok_or(Undelivered::Gone)?;
        // A group's message is not its own: who hears a channel for both gets both.
        let is_own = !matches!(delivery, Delivery::Channel { share: Some(_), .. });
        if is_own && entry.kept && self.batch.has_had(entry.session.number()) {
            return Ok(());
        }
        if entry.kept && self.batch.refuses(delivery) {
            return Err(Undelivered::NotStored);
        }
        let out = match entry.state {
            State::Attached => self.io.output(entry.conn),
            State::Offline => None,
            _ => return Err(Undelivered::Gone),
        };
        let Some(mut out) = out else {
            // Its connection is gone, or will be in a moment: what may wait for the next one does.
            if !entry.kept && entry.session.resumption().is_none() {
                return Err(Undelivered::Gone);
            }
            let kept = entry.session.keep_delivery(self.now, delivery);
            if self.batch.drain(to, entry) && is_own && kept.is_ok() {
                self.batch.note_receiver(entry.session.number());
            }
            return kept;
        };
        let delivered = entry.session.deliver(self.now, delivery, self.frames, &mut out);
        drop(out);
        if self.batch.drain(to, entry) && is_own && delivered.is_ok() {
            self.batch.note_receiver(entry.session.number());
        }
        if entry.wants_earlier_timer() {
            self.pending.push_back(Pending::Rearm(to));
        }
        if let Delivery::Room {
            event: RoomEvent::Entered,
            ..
        } = delivery
        {
            // It was not read meanwhile.
            self.pending.push_back(Pending::Resume(to));
        }
        delivered
    }

    fn deliver_left(
        &mut self,
        to: SessionKey,
        delivery: &Delivery<'_>,
        left: LeftId,
        app: &str,
    ) -> Result<(), Undelivered> {
        let Some(returned) = self.at_once(to, delivery) else {
            self.deliver(to, delivery)?;
            self.batch.write(|journal| rows::delete_left(journal, left));
            return Ok(());
        };
        self.batch.write(|journal| rows::delete_left(journal, left));
        self.batch.give(to, app, returned);
        Ok(())
    }

    fn left_settled(&mut self, left: LeftId, refused: bool) {
        self.pending.push_back(Pending::Left(left, refused));
    }

    fn written(&self) -> u64 {
        self.batch.written()
    }

    fn refuses_durable(&self) -> bool {
        self.batch.is_full()
    }

    fn hold(&mut self, origin: u16, publish: PublishId) {
        self.batch.hold(origin, publish);
    }

    fn is_kept(&mut self, session: SessionKey) -> bool {
        self.table.get_mut(session).is_some_and(|entry| entry.kept)
    }

    fn hold_address(&mut self, address: AddressKey) {
        self.batch.hold_address(address);
    }

    fn spread(&mut self, mark: Mark) {
        self.batch
            .write(|journal| journal.put(Table::Inbound, &rows::exchange(mark), &[rows::SPREAD]));
    }

    fn mark(&mut self, mark: Mark) {
        self.batch.mark(mark);
    }

    fn note_group(&mut self, app: &str, share: &Share<'_>) {
        self.batch.note_group(app, share);
    }

    fn has_group_had(&self, mark: Mark, app: &str, share: &Share<'_>) -> bool {
        self.batch.has_group_had(mark, app, share)
    }

    fn note_retained(&mut self) {
        self.batch.note_receiver(rows::RETAINED);
    }

    fn has_been_retained(&self, mark: Mark) -> bool {
        self.batch.has_been_retained(mark)
    }

    fn marked(&mut self) {
        self.batch.marked();
    }

    fn unmark(&mut self) {
        self.batch.unmark();
    }

    fn notify(&mut self, to: SessionKey, notice: Notice) {
        self.pending.push_back(Pending::Notice(to, notice));
    }

    fn end(&mut self, session: SessionKey, ending: Ending) {
        self.pending.push_back(Pending::End(session, ending));
    }

    fn arm(&mut self, at: Instant, timer: RouteTimer) -> TimerHandle {
        self.io.arm(at, HubTimer::of_router(timer))
    }

    fn cancel(&mut self, timer: TimerHandle) {
        self.io.cancel(timer);
    }
}

impl<I: Io, P: Session> Local<'_, I, P> {
    /// A message that a session left, if this member would be sent it at once with QoS 2: what holds it has to be gone
    /// before, since nobody else may have it then \[MQTT-4.8.2-5\].
    fn at_once(&mut self, to: SessionKey, delivery: &Delivery<'_>) -> Option<Returned> {
        let Delivery::Channel {
            message,
            sender,
            options,
            share: Some(share),
            ..
        } = delivery
        else {
            return None;
        };
        let entry = self.table.get_mut(to)?;
        let exactly_once = message.qos.min(options.qos) == Qos::ExactlyOnce;
        let is_at_once = exactly_once && !entry.kept && entry.state == State::Attached;
        is_at_once.then(|| Returned::new(message, sender, *share))
    }
}

/// Set in the timers of sessions; the router's use the lower 63 bits.
const OF_SESSION: u64 = 1 << 63;
/// Set beside it in the timer that ends a session whose proof was good for a time only.
const IS_EXPIRY: u64 = 1 << 62;
/// What a timer holds of a generation.
const GENERATION_MASK: u32 = (1 << 30) - 1;

impl HubTimer {
    fn of_router(timer: RouteTimer) -> Self {
        debug_assert!(timer.0 & OF_SESSION == 0, "the router's timers use 63 bits");
        Self(timer.0 & !OF_SESSION)
    }

    pub(super) const fn of_session(key: SessionKey) -> Self {
        Self(OF_SESSION | key.slot as u64)
    }

    pub(super) const fn of_expiry(key: SessionKey) -> Self {
        let generation = (key.generation & GENERATION_MASK) as u64;
        Self(OF_SESSION | IS_EXPIRY | generation << 32 | key.slot as u64)
    }

    /// Whose it is.
    pub(super) const fn owner(self) -> Owner {
        let slot = (self.0 & 0xFFFF_FFFF) as u32;
        if self.0 & OF_SESSION == 0 {
            Owner::Router(RouteTimer(self.0))
        } else if self.0 & IS_EXPIRY == 0 {
            Owner::Session { slot }
        } else {
            Owner::Expiry {
                slot,
                generation: (self.0 >> 32) as u32 & GENERATION_MASK,
            }
        }
    }
}

/// Whether a key may be the one an expiry timer was armed for: 30 bits of its generation agree.
pub(super) const fn is_of_generation(key: SessionKey, generation: u32) -> bool {
    key.generation & GENERATION_MASK == generation
}

/// Whose timer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The router's.
    Router(RouteTimer),
    /// The session's that has this slot. Its timer is disarmed before the slot is freed, so that no
    /// generation is needed to tell it from a predecessor's.
    Session { slot: u32 },
    /// The end of a session's proof. Stays armed when the session ends earlier.
    Expiry { slot: u32, generation: u32 },
}
