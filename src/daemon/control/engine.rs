//! The control thread's work, one turn at a time. Time comes in as an argument.
//!
//! Invariant: each turn reads one snapshot of the database, tells its changes first and gives its verdicts
//! after. A verdict is therefore never given on rights that a change told before it has ended, and a change
//! that it could not know of is told after it. What is decided outside of a turn (slow proofs, delayed
//! logins) is looked up again before its verdict is given.
//!
//! What becomes of one login is in [`super::logins`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::book::{Book, Told};
use super::outbox::Outbox;
use super::port::{ControlMessage, ControlPort};
use super::slow::SlowPool;
use super::token::TokenKeys;
use super::waiting::{Delayed, Login, WaitingRoom};
use crate::limits;
use crate::route::{Change, SessionId};
use crate::session::LoginFailure;
use crate::store::recent::RecentLogins;
use crate::store::scram::cache::KeyCache;
use crate::store::scram::exchange::Candidates;
use crate::store::throttle::Throttle;
use crate::store::verify::{Keys, Work};
use crate::store::{LoginVerdict, Verified};
use crate::time::{Instant, Now};

/// The control thread without its thread.
pub(super) struct Engine {
    pub(super) book: Book,
    pub(super) port: Arc<ControlPort>,
    outbox: Outbox,
    pub(super) slow: SlowPool,
    pub(super) tokens: Arc<TokenKeys>,
    pub(super) throttle: Throttle,
    waiting: WaitingRoom,
    /// Logins that wait for a slow thread.
    pub(super) backlog: VecDeque<Login>,
    /// Of derived secrets that were shown by SCRAM lately.
    pub(super) scram_keys: KeyCache,
    /// What was looked up lately, as this snapshot has it still.
    pub(super) recent: RecentLogins,
    /// The last change that was told.
    seq: i64,
    next_poll: Instant,
    next_prune: Instant,
    /// There are changes that were not told yet.
    behind: bool,
    /// The database failed in this turn.
    faulty: bool,
    /// Some account has a weak secret.
    pub(super) weak: bool,
    /// Some worker is announced. Where none is, no login looks for it.
    pub(super) announcing: bool,
    pub(super) keys: Keys,
    pub(super) candidates: Candidates,
    pub(super) work: Work,
}

impl Engine {
    /// Reads what every shard has to know and puts it into the inboxes.
    pub(super) fn new(
        book: Book,
        port: Arc<ControlPort>,
        mut outbox: Outbox,
        slow: SlowPool,
        tokens: Arc<TokenKeys>,
        seed: [u64; 4],
    ) -> rusqlite::Result<Self> {
        book.begin()?;
        let seq = book.last_change()?;
        let weak = book.has_weak_secrets()?;
        let announcing = book.has_announcements()?;
        for change in book.policies()? {
            outbox.broadcast(&ControlMessage::Change(Arc::new(change)));
        }
        book.end()?;
        outbox.flush();
        Ok(Self {
            book,
            port,
            outbox,
            slow,
            tokens,
            throttle: Throttle::new(limits::THROTTLE_ENTRIES_MAX, seed),
            waiting: WaitingRoom::default(),
            backlog: VecDeque::new(),
            scram_keys: KeyCache::new(limits::SCRAM_KEYS_MAX),
            recent: RecentLogins::new(limits::RECENT_LOGINS_MAX),
            seq,
            next_poll: Instant::default(),
            next_prune: Instant::default(),
            behind: false,
            faulty: false,
            weak,
            announcing,
            keys: Keys::new(),
            candidates: Candidates::new(),
            work: Work::default(),
        })
    }

    /// Does what there is to do, and tells how long nothing will be unless somebody unparks the thread.
    pub(super) fn turn(&mut self, now: Now) -> Duration {
        self.outbox.flush();
        if self.outbox.has_room() {
            self.faulty = false;
            // A login that comes while the snapshot is read may follow a change that the snapshot lacks.
            let arrived = self.port.logins_waiting();
            match self.book.begin().and_then(|()| self.tell_changes()) {
                Ok(()) if self.behind => {}
                Ok(()) => self.decide_batch(now, arrived),
                Err(fault) => {
                    self.fault(&fault);
                    self.give_up_batch(now);
                }
            }
            if let Err(fault) = self.book.end() {
                self.fault(&fault);
            }
            if !self.faulty && self.port.metrics().recovered() {
                tracing::info!("the store answers again");
            }
            self.next_poll = now.instant + Duration::from_millis(limits::CHANGE_POLL_MS);
            self.prune(now);
            self.outbox.flush();
        }
        self.pause(now)
    }

    /// What the look-ups and comparisons have cost so far.
    #[cfg(test)]
    pub(super) const fn work(&self) -> Work {
        self.work
    }

    /// Tells the shards of the changes in this snapshot; may stay behind if there are many.
    fn tell_changes(&mut self) -> rusqlite::Result<()> {
        let changes = self.book.changes_after(self.seq)?;
        for logged in &changes {
            match self.book.read(logged)? {
                Told::Change(change) => {
                    self.forget(&change);
                    self.outbox.broadcast(&ControlMessage::Change(Arc::new(change)));
                    self.port.metrics().changes.increment();
                }
                Told::WeakSecret => self.weak = true,
                Told::Nothing => {}
            }
            self.seq = logged.seq;
        }
        self.behind = changes.len() >= limits::CHANGES_PER_BATCH_MAX;
        Ok(())
    }

    /// Forgets what is not so any more, and keeps in mind what is looked for from now on.
    fn forget(&mut self, change: &Change) {
        match change {
            Change::App { .. } => {}
            Change::Announced { .. } => self.announcing = true,
            Change::Services { uid, .. } => self.recent.forget_services(&uid.to_string()),
            Change::AppRemoved { .. } | Change::AccountRevoked { .. } => self.recent.forget_secrets(),
            Change::CredentialRevoked { credential } => {
                self.scram_keys.forget(*credential);
                self.recent.forget_secrets();
            }
        }
    }

    /// Decides, in this order: what was delayed until now, what was proven meanwhile, what waited for a slow thread, and
    /// of what came in the `arrived` logins that were there before the snapshot.
    fn decide_batch(&mut self, now: Now, arrived: usize) {
        let mut room = limits::LOGINS_PER_BATCH_MAX;
        while room > 0
            && let Some(next) = self.waiting.pop(now.instant)
        {
            match next {
                Delayed::Login(request) => self.admit(
                    now,
                    Login {
                        request: *request,
                        taken: now.instant,
                        had_turn: true,
                    },
                ),
                Delayed::Failure(session, failure) => self.answer(session, Err(failure)),
            }
            room -= 1;
        }
        while room > 0
            && let Some((pending, proven)) = self.slow.next()
        {
            self.decide_proven(now, pending, proven);
            room -= 1;
        }
        while room > 0
            && self.slow.has_room()
            && let Some(login) = self.backlog.pop_front()
        {
            self.admit(now, login);
            room -= 1;
        }
        for _ in 0..room.min(arrived) {
            let Some(request) = self.port.next_login() else {
                break;
            };
            let taken = now.instant;
            self.admit(
                now,
                Login {
                    request,
                    taken,
                    had_turn: false,
                },
            );
        }
    }

    /// The database cannot be read: nothing that waits can be decided.
    fn give_up_batch(&mut self, now: Now) {
        for _ in 0..limits::LOGINS_PER_BATCH_MAX {
            let Some(request) = self.port.next_login() else {
                break;
            };
            self.answer(request.session, Err(LoginFailure::Unavailable));
        }
        while let Some((pending, _)) = self.slow.next() {
            let session = pending.login.request.session;
            self.answer(session, Err(LoginFailure::Unavailable));
        }
        while let Some(login) = self.backlog.pop_front() {
            self.answer(login.request.session, Err(LoginFailure::Unavailable));
        }
        while let Some(next) = self.waiting.pop(now.instant) {
            let (session, failure) = next.into_failure();
            self.answer(session, Err(failure));
        }
    }

    /// Does something at its time; if too many wait, the login is not decided.
    pub(super) fn wait(&mut self, at: Instant, what: Delayed) {
        if let Err(what) = self.waiting.push(at, what) {
            let (session, failure) = what.into_failure();
            self.answer(session, Err(failure));
        }
    }

    /// The database failed while a login was being decided.
    pub(super) fn undecided(&mut self, session: SessionId, fault: &rusqlite::Error) {
        self.fault(fault);
        self.answer(session, Err(LoginFailure::Unavailable));
    }

    /// Gives a verdict. What was accepted is counted where it was.
    pub(super) fn answer(&mut self, session: SessionId, result: Result<Verified, LoginFailure>) {
        let metrics = self.port.metrics();
        match result {
            Ok(_) => {}
            Err(
                LoginFailure::Denied
                | LoginFailure::ResourceRefused
                | LoginFailure::Conflict
                | LoginFailure::QuotaExceeded,
            ) => {
                metrics.denied.increment();
            }
            Err(LoginFailure::Unavailable) => metrics.undecided.increment(),
        }
        let verdict = LoginVerdict { session, result };
        self.outbox
            .send(usize::from(session.shard), ControlMessage::Verdict(verdict));
    }

    /// The database failed: counted each time, logged when it begins.
    fn fault(&mut self, fault: &rusqlite::Error) {
        self.faulty = true;
        if self.port.metrics().failed() {
            tracing::error!(%fault, "the store cannot be read: logins cannot be decided");
        }
    }

    /// Removes changes that were told long ago. Waits for nobody: if a command writes just then, later.
    fn prune(&mut self, now: Now) {
        if now.instant < self.next_prune {
            return;
        }
        self.next_prune = now.instant + Duration::from_millis(limits::CHANGE_PRUNE_MS);
        let before = now.unix_ms.saturating_sub(limits::CHANGE_KEPT_MS);
        if let Err(fault) = self.book.prune(self.seq, before) {
            tracing::debug!(%fault, "the change log was not pruned");
        }
    }

    /// Whether a turn has anything to do. A thread that was unparked while it worked finds out by itself what it was
    /// unparked for, and is to be spared a snapshot of nothing.
    pub(super) fn is_due(&self, now: Now) -> bool {
        self.outbox.is_holding() || self.pause(now).is_zero()
    }

    /// How long nothing will be unless somebody unparks the thread.
    pub(super) fn pause(&self, now: Now) -> Duration {
        if self.outbox.is_holding() {
            return Duration::from_millis(limits::CONTROL_RETRY_MS);
        }
        let can_feed = self.slow.has_room() && !self.backlog.is_empty();
        if self.behind || can_feed || self.slow.has_next() || self.port.logins_waiting() > 0 {
            return Duration::ZERO;
        }
        let next = match self.waiting.next_time() {
            Some(at) => at.min(self.next_poll),
            None => self.next_poll,
        };
        next - now.instant
    }
}
