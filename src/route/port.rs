//! What the router needs of the shard it lives on.

use super::awaited::PublishId;
use super::hashes::AddressKey;
use super::message::{Delivery, LeftId, Mark, Notice, SessionKey, Share, Undelivered};
use crate::session::Ending;
use crate::time::Instant;

/// A timer of the router, as it comes back when it fires. Opaque to whoever keeps the timers, but of
/// 63 bits: the highest is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteTimer(pub u64);

/// A timer that is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerHandle(pub u64);

/// For how many of its sessions a shard is about to encode a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receivers {
    /// For one: nobody can share what it gets.
    One,
    /// Perhaps for several.
    Several,
}

/// The shard's side of the router: local sessions and timers.
pub trait Port {
    /// When this turn is.
    fn now(&self) -> Instant;

    /// A message begins: whatever was encoded for the previous one is stale.
    fn begin_message(&mut self, receivers: Receivers);

    /// Hands a message to a local session. Must not call back into the router.
    fn deliver(&mut self, to: SessionKey, delivery: &Delivery<'_>) -> Result<(), Undelivered>;

    /// Hands over, to a member of a group of `app`, a message that is stored as what another session left: what holds it
    /// goes with the batch in which it has another place.
    fn deliver_left(
        &mut self,
        to: SessionKey,
        delivery: &Delivery<'_>,
        left: LeftId,
        app: &str,
    ) -> Result<(), Undelivered> {
        let _ = (left, app);
        self.deliver(to, delivery)
    }

    /// Tells what came of what a session left: it is in other hands, or nobody is to have it; or `refused`, it is nowhere
    /// else yet, and later it may be. Must not call back into the router.
    fn left_settled(&mut self, left: LeftId, refused: bool) {
        let _ = (left, refused);
    }

    /// How much has been written down so far of what is to outlive the daemon: if it differs after a delivery, the
    /// message has to be made to last before it is acknowledged.
    fn written(&self) -> u64 {
        0
    }

    /// Whether nothing new can be made to outlive the daemon just now.
    fn refuses_durable(&self) -> bool {
        false
    }

    /// Has [`Router::publish_lasts`](super::Router::publish_lasts) called, once what was written down lasts.
    fn hold(&mut self, origin: u16, publish: PublishId) {
        let _ = (origin, publish);
    }

    /// Whether a local session may outlive its connection.
    fn is_kept(&mut self, session: SessionKey) -> bool {
        let _ = session;
        false
    }

    /// Has [`Router::ended_lasts`](super::Router::ended_lasts) called, once what was written down lasts.
    fn hold_address(&mut self, address: AddressKey) {
        let _ = address;
    }

    /// The message of this mark goes to other shards, too: that its exchange was begun does not say that everybody has
    /// it.
    fn spread(&mut self, mark: Mark) {
        let _ = mark;
    }

    /// Until [`Self::marked`] or [`Self::unmark`], what is delivered is the message of this mark: who gets it for
    /// itself is noted, and if it comes again, who has had it is left out.
    fn mark(&mut self, mark: Mark) {
        let _ = mark;
    }

    /// A group of `app` has been given the message of [`Self::mark`]: a member wrote it down.
    fn note_group(&mut self, app: &str, share: &Share<'_>) {
        let _ = (app, share);
    }

    /// Whether a group of `app` has had the message of a mark before the restart.
    fn has_group_had(&self, mark: Mark, app: &str, share: &Share<'_>) -> bool {
        let _ = (mark, app, share);
        false
    }

    /// The message of [`Self::mark`] has been seen by the home of its channel, where what is retained is written down.
    fn note_retained(&mut self) {}

    /// Whether that was so before the restart.
    fn has_been_retained(&self, mark: Mark) -> bool {
        let _ = mark;
        false
    }

    /// The message of [`Self::mark`] has been delivered: who has got it is written down.
    fn marked(&mut self) {}

    /// The same, but nobody has to know: it is written down as a whole, or not at all.
    fn unmark(&mut self) {}

    /// Tells a local session what came of something. Must not call back into the router.
    fn notify(&mut self, to: SessionKey, notice: Notice);

    /// Ends a local session. The shard calls `Router::leave` afterwards, not from here.
    fn end(&mut self, session: SessionKey, ending: Ending);

    /// Arms a timer: `timer` comes back once, not before `at`.
    fn arm(&mut self, at: Instant, timer: RouteTimer) -> TimerHandle;

    /// Disarms a timer. Without effect if it has come back.
    fn cancel(&mut self, timer: TimerHandle);
}
