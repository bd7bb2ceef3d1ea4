//! Sessions that lost their connection and may be resumed: in memory alone, on the shard where they are.
//!
//! Invariants: such a session keeps its slot, whose name it was given with a secret; who comes back for it is handed over
//! to its shard, is confirmed there, and has to be the same account with a secret that is good for its resource. How many
//! wait is bounded, by shard and by account.

use std::collections::HashMap;

use rand::RngCore;
use subtle::ConstantTimeEq;

use super::Hub;
use super::io::Io;
use super::keeping::Fate;
use super::table::{Entry, State};
use crate::limits;
use crate::route::{Completion, Previd, Resume, SessionId, SessionKey, Ticket, Token};
use crate::session::{Ending, LoginFailure, ResumeFailure, Session};
use crate::store::{Admitted, LoginProof, Verified};
use crate::time::Now;

const NOT_FOUND: ResumeFailure = ResumeFailure::NotFound { handled: None };

/// How many sessions of each account wait to be resumed.
#[derive(Debug, Default)]
pub(super) struct Suspended {
    of_account: HashMap<Box<str>, usize, ahash::RandomState>,
    all: usize,
}

impl Suspended {
    fn has_room(&self, account: &str) -> bool {
        let own = self.of_account.get(account).copied().unwrap_or(0);
        self.all < limits::XMPP_SUSPENDED_MAX && own < limits::XMPP_SUSPENDED_PER_ACCOUNT_MAX
    }

    fn enter(&mut self, account: &str) {
        self.all += 1;
        match self.of_account.get_mut(account) {
            Some(own) => *own += 1,
            None => drop(self.of_account.insert(account.into(), 1)),
        }
    }

    fn leave(&mut self, account: &str) {
        self.all = self.all.saturating_sub(1);
        if let Some(own) = self.of_account.get_mut(account) {
            *own -= 1;
            if *own == 0 {
                self.of_account.remove(account);
            }
        }
    }
}

impl<C: Copy + PartialEq + std::fmt::Debug, S: Clone, P: Session> Hub<C, S, P> {
    /// Names a session that may be resumed.
    pub(super) fn allow_resumption<I>(&mut self, io: &mut I, now: Now, key: SessionKey, ticket: Ticket)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let token = u128::from(self.random.next_u64()) << 64 | u128::from(self.random.next_u64());
        let previd = Previd {
            session: SessionId {
                shard: self.shard,
                key,
            },
            token: Token(token),
        };
        self.complete(io, now, key, Some(ticket), &Completion::Resumable(previd));
    }

    /// Whether a session goes on, without a trace on the disk, when its connection ends in this way.
    pub(super) fn suspends(&mut self, key: SessionKey, fate: Fate) -> bool {
        let may = |entry: &mut Entry<C, P>| {
            !entry.kept && entry.state == State::Attached && entry.session.resumption().is_some()
        };
        if fate == Fate::Discard || !self.table.get_mut(key).is_some_and(may) {
            return false;
        }
        if fate == Fate::PassOn {
            return true;
        }
        let identity = self.router.identity(key);
        let has_room = identity.is_some_and(|identity| self.suspended.has_room(identity.sender().account()));
        if !has_room {
            self.metrics.xmpp_suspend_refused.increment();
        }
        has_room && !self.draining
    }

    /// A session waits to be resumed, or does so no more.
    pub(super) fn count_suspended(&mut self, key: SessionKey, more: bool) {
        let Some(identity) = self.router.identity(key) else {
            return;
        };
        let account = identity.sender().account();
        if more {
            self.suspended.enter(account);
        } else {
            self.suspended.leave(account);
        }
        self.metrics.xmpp_suspended.set(self.suspended.all as u64);
    }

    /// The second of two steps, for who wants to go on with an earlier session: what was proven is confirmed, here and
    /// once more where the session is.
    pub(super) fn resume<I>(&mut self, io: &mut I, now: Now, key: SessionKey, resume: Resume)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let is_proven = |entry: &&mut Entry<C, P>| entry.state == State::Opening;
        let prelogin = self
            .table
            .get_mut(key)
            .filter(is_proven)
            .and_then(|entry| entry.prelogin.as_mut());
        let Some(prelogin) = prelogin else { return };
        let Some(admitted) = prelogin.proven.take() else {
            return self.refuse_login(io, now, key, LoginFailure::Denied);
        };
        prelogin.resuming = Some(resume);
        let account = std::mem::take(&mut prelogin.account);
        let proof = LoginProof::Proven {
            credential: admitted.grants.credential,
            expires_unix_ms: admitted.grants.expires_unix_ms,
        };
        if !self.ask(io, key, &account, None, proof) {
            self.decided(io, now, key, Err(LoginFailure::Unavailable));
        }
    }

    /// What was proven is confirmed, or is good no more.
    pub(super) fn resume_decided<I>(
        &mut self,
        io: &mut I,
        now: Now,
        key: SessionKey,
        resume: Resume,
        result: Result<Verified, LoginFailure>,
    ) where
        I: Io<Conn = C, Shared = S>,
    {
        let admitted = match result {
            Ok(Verified::Account(admitted)) => *admitted,
            Ok(Verified::Challenge { .. }) => return self.refuse_login(io, now, key, LoginFailure::Denied),
            Err(failure) => return self.refuse_login(io, now, key, failure),
        };
        let SessionId { shard, key: earlier } = resume.previd.session;
        if shard != self.shard && shard < self.router.shards() {
            return self.move_home(io, key, shard, admitted);
        }
        if shard == self.shard {
            // Its time may be up, and its timer about to say so.
            let is_offline = |entry: &mut Entry<C, P>| entry.state == State::Offline && !entry.kept;
            if self.table.get_mut(earlier).is_some_and(is_offline) {
                self.follow_due(io, now, earlier);
            }
        }
        match self.check_resume(key, &resume, &admitted) {
            Ok(()) => {
                self.end_as(io, now, earlier, Ending::TakenOver, Fate::PassOn);
                self.metrics.xmpp_resumed.increment();
                self.count_suspended(earlier, false);
                self.go_on(io, now, key, earlier, admitted.grants);
            }
            Err(failure) => self.not_resumed(io, now, key, failure, admitted),
        }
    }

    fn check_resume(
        &mut self,
        newcomer: SessionKey,
        resume: &Resume,
        admitted: &Admitted,
    ) -> Result<(), ResumeFailure> {
        let SessionId { shard, key } = resume.previd.session;
        if shard != self.shard {
            return Err(NOT_FOUND);
        }
        let prelogin = self.prelogin(newcomer).ok_or(NOT_FOUND)?;
        let account = prelogin.account.clone();
        let may =
            |entry: &&mut Entry<C, P>| !entry.kept && matches!(entry.state, State::Attached | State::Offline);
        let earlier = self.table.get_mut(key).filter(may).ok_or(NOT_FOUND)?;
        let Token(token) = earlier.session.resumption().ok_or(NOT_FOUND)?;
        let Token(shown) = resume.previd.token;
        if !bool::from(token.ct_eq(&shown)) {
            return Err(NOT_FOUND);
        }
        let sender = self.router.identity(key).ok_or(NOT_FOUND)?.sender();
        let is_bound_elsewhere = admitted
            .bound_resource
            .as_deref()
            .is_some_and(|bound| bound != sender.resource());
        if *account != *sender.account() || is_bound_elsewhere {
            return Err(NOT_FOUND);
        }
        earlier.session.check_resume(resume.handled)
    }

    /// The connection stays, and may take an address.
    fn not_resumed<I>(
        &mut self,
        io: &mut I,
        now: Now,
        key: SessionKey,
        failure: ResumeFailure,
        admitted: Admitted,
    ) where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        entry.state = State::Opening;
        if let Some(prelogin) = entry.prelogin.as_mut() {
            prelogin.proven = Some(Box::new(admitted));
            prelogin.resuming = None;
        }
        let Some(mut out) = io.output(entry.conn) else {
            return;
        };
        let refused = entry.session.not_resumed(failure, &mut out);
        drop(out);
        match refused {
            Ok(()) => {
                io.resume(entry.conn);
                self.rearm(io, key);
            }
            Err(reason) => self.disconnect(io, now, key, reason),
        }
    }
}
