//! Logins on their way through the control thread, and what waits for its time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::limits;
use crate::route::SessionId;
use crate::session::LoginFailure;
use crate::store::LoginRequest;
use crate::store::throttle::Admission;
use crate::time::Instant;

/// A login that is being decided.
pub(super) struct Login {
    pub(super) request: LoginRequest,
    /// When it was taken up.
    pub(super) taken: Instant,
    /// The throttle lets it pass: it has waited for its turn.
    pub(super) had_turn: bool,
}

/// What is to be done at its time.
pub(super) enum Delayed {
    /// Decide it then.
    Login(Box<LoginRequest>),
    /// It is decided; say so then.
    Failure(SessionId, LoginFailure),
}

impl Delayed {
    /// What to say where it cannot be waited for or decided.
    pub(super) fn into_failure(self) -> (SessionId, LoginFailure) {
        match self {
            Self::Login(request) => (request.session, LoginFailure::Unavailable),
            Self::Failure(session, failure) => (session, failure),
        }
    }

    /// What the throttle has in store for a login, and when.
    pub(super) fn by(login: Login, admission: Admission) -> (Instant, Self) {
        match admission {
            Admission::Now => (login.taken, Self::Login(Box::new(login.request))),
            Admission::At(at) => (at, Self::Login(Box::new(login.request))),
            Admission::Refused => (
                login.taken + Duration::from_millis(limits::THROTTLE_DELAY_MS_MAX),
                Self::Failure(login.request.session, LoginFailure::Unavailable),
            ),
        }
    }
}

/// When a denial is answered that may have taken a slow hash: see [`limits::DENIAL_MS`].
pub(super) fn denial_time(taken: Instant, now: Instant) -> Instant {
    let step = limits::DENIAL_MS * 1_000_000;
    let passed = u64::try_from((now - taken).as_nanos()).unwrap_or(u64::MAX);
    taken + Duration::from_nanos((passed / step + 1).saturating_mul(step))
}

struct Waiting {
    at: Instant,
    /// Keeps what waits for the same time in order.
    order: u64,
    what: Delayed,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// What waits for its time, the next first.
#[derive(Default)]
pub(super) struct WaitingRoom {
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Numbers what waits.
    order: u64,
}

impl WaitingRoom {
    /// Keeps something until its time; gives it back if too many wait.
    pub(super) fn push(&mut self, at: Instant, what: Delayed) -> Result<(), Delayed> {
        if self.waiting.len() >= limits::LOGINS_DELAYED_MAX {
            return Err(what);
        }
        self.order += 1;
        let order = self.order;
        self.waiting.push(Reverse(Waiting { at, order, what }));
        Ok(())
    }

    /// The next whose time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Delayed> {
        if self.next_time().is_none_or(|at| at > now) {
            return None;
        }
        self.waiting.pop().map(|Reverse(next)| next.what)
    }

    /// When the next one's time comes.
    pub(super) fn next_time(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(next)| next.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_are_answered_at_multiples_of_one_time() {
        let taken = Instant::default() + Duration::from_millis(7);
        let after = |ms| denial_time(taken, taken + Duration::from_millis(ms)) - taken;
        let step = Duration::from_millis(limits::DENIAL_MS);
        for (ms, steps) in [(0, 1), (1, 1), (49, 1), (50, 2), (99, 2), (100, 3)] {
            assert_eq!(after(ms), step * steps);
        }
    }
}
