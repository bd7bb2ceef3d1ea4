//! The control thread's work, one turn at a time. Time comes in as an argument.
//!
//! Invariant: each turn reads one snapshot of the database, tells its changes first and gives its verdicts
//! after. A verdict is therefore never given on rights that a change told before it has ended, and a change
//! that it could not know of is told after it. What is decided outside of a turn (slow proofs, delayed
//! logins) is looked up again before its verdict is given.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use super::book::{Book, Told};
use super::outbox::Outbox;
use super::port::{ControlMessage, ControlPort};
use super::slow::{Pending, Proofs, Proven, SlowPool};
use super::token::TokenKeys;
use crate::limits;
use crate::route::{Account, CredentialId, Grants, SessionId};
use crate::session::LoginFailure;
use crate::store::throttle::{Admission, Throttle};
use crate::store::token;
use crate::store::verify::{self, Decision, Keys, Work};
use crate::store::{LoginProof, LoginRequest, LoginVerdict, Verified};
use crate::time::{Instant, Now};

/// An account that is never there: no name contains this.
const NOBODY: &str = "\u{1}";
/// An account that has a secret, which nobody knows.
const DECOY: &str = "";

/// Something that waits for its time.
struct Waiting {
    at: Instant,
    /// Keeps what waits for the same time in order.
    order: u64,
    what: Delayed,
}

enum Delayed {
    /// Decide it then.
    Login(Box<LoginRequest>),
    /// It is decided; say so then.
    Failure(SessionId, LoginFailure),
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The control thread without its thread.
pub(super) struct Engine {
    book: Book,
    port: Arc<ControlPort>,
    outbox: Outbox,
    slow: SlowPool,
    tokens: Arc<TokenKeys>,
    throttle: Throttle,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Numbers what waits.
    order: u64,
    /// The last change that was told.
    seq: i64,
    next_poll: Instant,
    next_prune: Instant,
    /// There are changes that were not told yet.
    behind: bool,
    /// The database failed in this turn.
    faulty: bool,
    /// Some account has a weak secret.
    weak: bool,
    keys: Keys,
    work: Work,
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
            waiting: BinaryHeap::new(),
            order: 0,
            seq,
            next_poll: Instant::default(),
            next_prune: Instant::default(),
            behind: false,
            faulty: false,
            weak,
            keys: Keys::new(),
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

    /// Decides, in this order: what was delayed until now, what was proven meanwhile, and of what came in the
    /// `arrived` logins that were there before the snapshot.
    fn decide_batch(&mut self, now: Now, arrived: usize) {
        let mut room = limits::LOGINS_PER_BATCH_MAX;
        while room > 0
            && self
                .waiting
                .peek()
                .is_some_and(|Reverse(next)| next.at <= now.instant)
        {
            let Some(Reverse(next)) = self.waiting.pop() else {
                break;
            };
            match next.what {
                Delayed::Login(request) => self.decide(now, *request),
                Delayed::Failure(session, failure) => self.answer(session, Err(failure)),
            }
            room -= 1;
        }
        while room > 0 {
            let Some((pending, proven)) = self.slow.next() else {
                break;
            };
            self.decide_proven(now, pending, proven);
            room -= 1;
        }
        for _ in 0..room.min(arrived) {
            let Some(request) = self.port.next_login() else {
                break;
            };
            self.admit(now, request);
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
            self.answer(pending.request.session, Err(LoginFailure::Unavailable));
        }
        while self
            .waiting
            .peek()
            .is_some_and(|Reverse(next)| next.at <= now.instant)
        {
            let Some(Reverse(next)) = self.waiting.pop() else {
                break;
            };
            let (session, failure) = match next.what {
                Delayed::Login(request) => (request.session, LoginFailure::Unavailable),
                Delayed::Failure(session, failure) => (session, failure),
            };
            self.answer(session, Err(failure));
        }
    }

    /// A login came in: decides it at once, or when the throttle allows. A derived secret is let in at once even
    /// then: nobody guesses 256 random bits, and who floods an account with wrong ones does not lock it out.
    fn admit(&mut self, now: Now, request: LoginRequest) {
        if matches!(request.proof, LoginProof::Proven { .. }) {
            return self.decide(now, request);
        }
        let guesser = self.throttle.guesser(&request.account, request.peer);
        if self.throttle.throttles(now.instant, guesser) {
            match self.try_decide(&request) {
                Ok(Decision::Accepted(credential)) => return self.accept(&request, credential, None),
                Ok(Decision::Slow(_) | Decision::Denied) => {}
                Err(fault) => return self.undecided(request.session, &fault),
            }
        }
        let (at, what) = match self.throttle.admit(now.instant, guesser) {
            Admission::Now => return self.decide(now, request),
            Admission::At(at) => (at, Delayed::Login(Box::new(request))),
            Admission::Refused => (
                now.instant + Duration::from_millis(limits::THROTTLE_DELAY_MS_MAX),
                Delayed::Failure(request.session, LoginFailure::Unavailable),
            ),
        };
        self.port.metrics().throttled.increment();
        self.wait(at, what);
    }

    fn wait(&mut self, at: Instant, what: Delayed) {
        if self.waiting.len() < limits::LOGINS_DELAYED_MAX {
            self.order += 1;
            let order = self.order;
            self.waiting.push(Reverse(Waiting { at, order, what }));
            return;
        }
        let (session, failure) = match what {
            Delayed::Login(request) => (request.session, LoginFailure::Unavailable),
            Delayed::Failure(session, failure) => (session, failure),
        };
        self.answer(session, Err(failure));
    }

    fn decide(&mut self, now: Now, request: LoginRequest) {
        if let LoginProof::Proven {
            credential,
            expires_unix_ms,
        } = request.proof
        {
            return self.confirm(now, &request, credential, expires_unix_ms);
        }
        match self.try_decide(&request) {
            Ok(Decision::Accepted(credential)) => self.accept(&request, credential, None),
            Ok(Decision::Slow(check)) => self.prove(now, request, Proofs::Password(check)),
            Ok(Decision::Denied) if self.may_be_token(&request) => self.prove(now, request, Proofs::Token),
            Ok(Decision::Denied) => self.deny(now, now.instant, &request),
            Err(fault) => self.undecided(request.session, &fault),
        }
    }

    /// What was proven before is looked up again, in this snapshot.
    fn confirm(&mut self, now: Now, request: &LoginRequest, credential: CredentialId, expires: Option<u64>) {
        let live = if credential == CredentialId::NONE {
            self.book.has_account(&request.account)
        } else {
            self.book.is_live(credential)
        };
        match live {
            Ok(true) if expires.is_none_or(|at| at > now.unix_ms) => {
                self.accept(request, credential, expires);
            }
            Ok(_) => self.answer(request.session, Err(LoginFailure::Denied)),
            Err(fault) => self.undecided(request.session, &fault),
        }
    }

    fn try_decide(&mut self, request: &LoginRequest) -> rusqlite::Result<Decision> {
        let resource = request.resource.as_deref().unwrap_or_default();
        self.look_up(&request.account, resource)?;
        let known = !self.keys.is_empty();
        let decision = verify::decide(
            &self.book.key,
            &request.account,
            &self.keys,
            password_of(request),
            &mut self.work,
        );
        if matches!(decision, Decision::Denied) {
            // The other kind of look-up, too: a denial has cost one of each, whatever its reason.
            self.look_up(if known { NOBODY } else { DECOY }, resource)?;
        }
        Ok(decision)
    }

    fn look_up(&mut self, account: &str, resource: &str) -> rusqlite::Result<()> {
        self.book.keys(account, resource, &mut self.keys)?;
        if self.keys.is_empty() {
            self.work.misses += 1;
        } else {
            self.work.hits += 1;
        }
        Ok(())
    }

    fn may_be_token(&self, request: &LoginRequest) -> bool {
        !self.tokens.is_empty() && token::is_token(password_of(request))
    }

    fn prove(&mut self, now: Now, request: LoginRequest, proofs: Proofs) {
        let taken = now.instant;
        if let Err(pending) = self.slow.submit(Pending { request, taken }, proofs) {
            self.answer(pending.request.session, Err(LoginFailure::Unavailable));
        }
    }

    /// The slow proof of a login is done; its rights are looked up again, in this snapshot.
    fn decide_proven(&mut self, now: Now, pending: Pending, proven: Proven) {
        let Pending { request, taken } = pending;
        let decided = match proven {
            Proven::Secret(credential) => self
                .book
                .is_live(credential)
                .map(|live| live.then_some((credential, None))),
            Proven::Token(claims) => self.book.has_account(&request.account).map(|live| {
                let account = Account::parse(&request.account).ok().filter(|_| live)?;
                let expires = token::admits(
                    &claims,
                    &account,
                    request.resource.as_deref().unwrap_or_default(),
                    now.unix_ms,
                )?;
                Some((CredentialId::NONE, Some(expires)))
            }),
            Proven::Nothing => Ok(None),
        };
        match decided {
            Ok(Some((credential, expires))) => self.accept(&request, credential, expires),
            Ok(None) => self.deny(now, taken, &request),
            Err(fault) => self.undecided(request.session, &fault),
        }
    }

    fn accept(&mut self, request: &LoginRequest, credential: CredentialId, expires: Option<u64>) {
        // `<app>-<uid>-<role>`: nothing else was ever added as an account.
        let uid = request.account.split('-').nth(1).unwrap_or_default();
        match self.book.services(uid) {
            Ok(services) => {
                let grants = Grants {
                    credential,
                    services,
                    expires_unix_ms: expires,
                };
                self.answer(request.session, Ok(grants.into()));
            }
            Err(fault) => self.undecided(request.session, &fault),
        }
    }

    /// `taken`: when deciding began. While weak secrets exist, all denials take equally long from there.
    fn deny(&mut self, now: Now, taken: Instant, request: &LoginRequest) {
        let guesser = self.throttle.guesser(&request.account, request.peer);
        self.throttle.failed(now.instant, guesser);
        let at = taken + Duration::from_millis(limits::DENIAL_MS);
        if self.weak && at > now.instant {
            self.wait(at, Delayed::Failure(request.session, LoginFailure::Denied));
        } else {
            self.answer(request.session, Err(LoginFailure::Denied));
        }
    }

    /// The database failed while a login was being decided.
    fn undecided(&mut self, session: SessionId, fault: &rusqlite::Error) {
        self.fault(fault);
        self.answer(session, Err(LoginFailure::Unavailable));
    }

    fn answer(&mut self, session: SessionId, result: Result<Verified, LoginFailure>) {
        let metrics = self.port.metrics();
        match result {
            Ok(_) => metrics.accepted.increment(),
            Err(LoginFailure::Denied | LoginFailure::ResourceRefused | LoginFailure::Conflict) => {
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

    fn pause(&self, now: Now) -> Duration {
        if self.outbox.is_holding() {
            return Duration::from_millis(limits::CONTROL_RETRY_MS);
        }
        if self.behind || self.slow.has_next() || self.port.logins_waiting() > 0 {
            return Duration::ZERO;
        }
        let next = match self.waiting.peek() {
            Some(Reverse(next)) => next.at.min(self.next_poll),
            None => self.next_poll,
        };
        next - now.instant
    }
}

/// The password that was shown; nothing if the proof is another.
fn password_of(request: &LoginRequest) -> &[u8] {
    match &request.proof {
        LoginProof::Password(password) => password,
        LoginProof::ScramFirst(_) | LoginProof::Scram { .. } | LoginProof::Proven { .. } => &[],
    }
}
