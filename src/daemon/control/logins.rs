//! What becomes of a login.
//!
//! A peer must not learn by the time of a denial whether an account exists:
//!
//! - a password costs one MAC and one look-up that finds nothing, whatever is wrong with it; a weak secret costs a
//!   slow hash besides, and while there is one, all denials are answered at multiples of [`limits::DENIAL_MS`];
//! - SCRAM is answered with a challenge at once, without a look-up; its denials cost the same slow work for nobody as
//!   for an account with one derived secret (see [`crate::store::scram::exchange`]), by way of the same threads, and
//!   are answered at multiples of [`limits::DENIAL_MS`], which covers that some accounts have more secrets.
//!
//! The throttle is asked before every guess and again before a guess that waited for a slow thread is handed over, so
//! that a burst is not computed before its first failure is known. It never delays a challenge, from which nothing can
//! be guessed, nor a derived secret that is right, which nobody guesses.

use super::engine::Engine;
use super::slow::{Pending, Proofs, Proven};
use super::waiting::{Delayed, Login, denial_time};
use crate::limits;
use crate::route::{Account, CredentialId, Grants, Service};
use crate::session::LoginFailure;
use crate::store::recent::Recent;
use crate::store::scram;
use crate::store::scram::exchange::{Candidates, Derived, Exchange, Right, SlowExchange};
use crate::store::throttle::{Admission, Guesser};
use crate::store::token::{self, Claims};
use crate::store::verify::{self, Decision, Shown};
use crate::store::{Admitted, LoginProof, LoginRequest, Verified};
use crate::time::Now;

/// An account that is never there: no name contains this.
const NOBODY: &str = "\u{1}";
/// An account that has a secret, which nobody knows.
const DECOY: &str = "";

/// A proof that was accepted.
struct Accepted {
    /// The secret; [`CredentialId::NONE`]: a token or a certificate.
    credential: CredentialId,
    /// Until then.
    expires_unix_ms: Option<u64>,
    /// The only resource it is good for.
    bound_resource: Option<Box<str>>,
    /// Of SCRAM, else empty.
    server_signature: Box<[u8]>,
}

impl Engine {
    /// Takes a login up: decides it at once, or when the throttle allows.
    pub(super) fn admit(&mut self, now: Now, login: Login) {
        match &login.request.proof {
            LoginProof::Proven {
                credential,
                expires_unix_ms,
            } => return self.confirm(now, &login.request, *credential, *expires_unix_ms),
            LoginProof::Certificate {
                resource,
                expires_unix_ms,
            } => return self.certified(now, &login.request, resource.as_deref(), *expires_unix_ms),
            LoginProof::ScramFirst(_) => return self.challenge(&login.request),
            LoginProof::Password(_) | LoginProof::Scram { .. } => {}
        }
        let guesser = self.throttle.guesser(&login.request.account, login.request.peer);
        if login.had_turn || !self.throttle.throttles(now.instant, guesser) {
            self.decide(now, login);
        } else if Exchange::of(&login.request.proof).is_some() {
            self.admit_exchange(now, login, guesser);
        } else {
            self.admit_password(now, login, guesser);
        }
    }

    /// While throttled: a derived secret is let in at once, nobody guesses 256 random bits, and who floods an account
    /// with wrong ones does not lock it out. What a person chose waits for its turn, right or wrong.
    fn admit_password(&mut self, now: Now, login: Login, guesser: Guesser) {
        match self.try_password(&login.request) {
            Ok(Decision::Accepted {
                credential,
                is_derived: true,
            }) => self.accept_password(now, login, credential),
            Ok(_) => {
                let admission = self.throttle.admit(now.instant, guesser);
                self.postpone(login, admission);
            }
            Err(fault) => self.undecided(login.request.session, &fault),
        }
    }

    /// The same for a proof of SCRAM. It is tried against the derived keys that are at hand; those that are not are
    /// derived, a few at a time, and are at hand for the guesses after it. Its turn is taken before that, so that a
    /// wrong one is answered when it would have been had there been nothing to derive.
    fn admit_exchange(&mut self, now: Now, login: Login, guesser: Guesser) {
        match self.try_exchange(&login.request, true) {
            Ok(Some(right)) => return self.accept_secret(now, login, None, right),
            Ok(None) => {}
            Err(fault) => return self.undecided(login.request.session, &fault),
        }
        let admission = self.throttle.admit(now.instant, guesser);
        let missing = SlowExchange::missing(&self.book.key, &login.request.account, &self.candidates)
            .filter(|_| self.slow.has_room() && self.backlog.is_empty());
        match missing {
            Some(slow) => self.hand_over(login, Some(admission), Proofs::Exchange(slow)),
            None => self.postpone(login, admission),
        }
    }

    fn postpone(&mut self, login: Login, admission: Admission) {
        self.port.metrics().throttled.increment();
        let (at, what) = Delayed::by(login, admission);
        self.wait(at, what);
    }

    /// SCRAM begins. The salt of an account that does not exist is made up in the same way.
    fn challenge(&mut self, request: &LoginRequest) {
        let challenge = Verified::Challenge {
            salt: self.book.key.salt(&request.account),
            iterations: scram::ITERATIONS,
        };
        self.answer(request.session, Ok(challenge));
    }

    fn decide(&mut self, now: Now, login: Login) {
        if Exchange::of(&login.request.proof).is_some() {
            return self.decide_exchange(now, login);
        }
        match self.try_password(&login.request) {
            Ok(Decision::Accepted { credential, .. }) => self.accept_password(now, login, credential),
            Ok(Decision::Slow(check)) => self.prove(login, Proofs::Password(check)),
            Ok(Decision::Denied) if self.may_be_token(&login.request) => self.prove(login, Proofs::Token),
            Ok(Decision::Denied) => self.deny(now, &login),
            Err(fault) => self.undecided(login.request.session, &fault),
        }
    }

    fn decide_exchange(&mut self, now: Now, login: Login) {
        match self.try_exchange(&login.request, false) {
            Ok(Some(right)) => self.accept_secret(now, login, None, right),
            Ok(None) => {
                let slow = SlowExchange::whole(&self.book.key, &login.request.account, &self.candidates);
                self.prove(login, Proofs::Exchange(slow));
            }
            Err(fault) => self.undecided(login.request.session, &fault),
        }
    }

    /// What was proven before, in the first of two steps, is looked up again, in this snapshot. It is no guess, and
    /// the throttle does not hear of it.
    fn confirm(&mut self, now: Now, request: &LoginRequest, credential: CredentialId, expires: Option<u64>) {
        let live = if credential == CredentialId::NONE {
            self.book
                .has_account(&request.account)
                .map(|live| live.then_some(None))
        } else {
            let live = self.book.live(&request.account, credential);
            live.map(|live| live.map(|live| live.bound_resource))
        };
        match live {
            Ok(Some(bound))
                if expires.is_none_or(|at| at > now.unix_ms) && fits(request, bound.as_deref()) =>
            {
                self.accept(
                    request,
                    Accepted {
                        credential,
                        expires_unix_ms: expires,
                        bound_resource: bound,
                        server_signature: Box::default(),
                    },
                );
            }
            Ok(_) => self.answer(request.session, Err(LoginFailure::Denied)),
            Err(fault) => self.undecided(request.session, &fault),
        }
    }

    /// The handshake has verified a certificate that names the account. That is no guess, either. A resumed session
    /// brings along what was verified once, so its end is looked at here.
    fn certified(&mut self, now: Now, request: &LoginRequest, bound: Option<&str>, expires_unix_ms: u64) {
        match self.book.has_account(&request.account) {
            Ok(true) if expires_unix_ms > now.unix_ms && fits(request, bound) => self.accept(
                request,
                Accepted {
                    credential: CredentialId::NONE,
                    expires_unix_ms: Some(expires_unix_ms),
                    bound_resource: bound.map(Into::into),
                    server_signature: Box::default(),
                },
            ),
            Ok(_) => {
                tracing::debug!(account = ?request.account, from = %request.peer, "login refused: no such account, or the certificate has ended or is for another resource");
                self.answer(request.session, Err(LoginFailure::Denied));
            }
            Err(fault) => self.undecided(request.session, &fault),
        }
    }

    fn try_password(&mut self, request: &LoginRequest) -> rusqlite::Result<Decision> {
        let shown = Shown::new(&self.book.key, password_of(request), &mut self.work);
        let resource = request.resource.as_deref();
        if let Some(decision) = self.remembered(&request.account, resource, &shown) {
            return Ok(decision);
        }
        self.book
            .keys(&request.account, shown.verifier(), resource, &mut self.keys)?;
        self.count_look_up(!self.keys.is_empty());
        let decision = verify::decide(
            &self.book.key,
            &request.account,
            &self.keys,
            &shown,
            &mut self.work,
        );
        if let (
            Some(resource),
            Decision::Accepted {
                credential,
                is_derived,
            },
        ) = (resource, &decision)
        {
            self.remember_secret(&request.account, resource, &shown, (*credential, *is_derived));
        }
        Ok(decision)
    }

    /// The decision on a secret that was right lately.
    fn remembered(&self, account: &str, resource: Option<&str>, shown: &Shown) -> Option<Decision> {
        let recent = self
            .recent
            .secret(account, shown.verifier(), resource?)
            .filter(|_| shown.is_whole())?;
        Some(Decision::Accepted {
            credential: recent.credential,
            is_derived: recent.is_derived,
        })
    }

    /// What was found for a `resource` is good for all or for that one.
    fn remember_secret(
        &mut self,
        account: &str,
        resource: &str,
        shown: &Shown,
        (credential, is_derived): (CredentialId, bool),
    ) {
        let is_bound = self
            .keys
            .iter()
            .any(|key| key.credential == credential && key.is_bound);
        let recent = Recent {
            credential,
            is_derived,
            bound_resource: is_bound.then(|| resource.into()),
        };
        self.recent.insert_secret(account, shown.verifier(), recent);
    }

    /// Tries a proof of SCRAM against the keys that are at hand. What it may still be is among the candidates.
    fn try_exchange(
        &mut self,
        request: &LoginRequest,
        derived_only: bool,
    ) -> rusqlite::Result<Option<Right>> {
        let Some(exchange) = Exchange::of(&request.proof) else {
            return Ok(None);
        };
        // The decoy's own name is nobody's.
        let account = match &*request.account {
            DECOY => NOBODY,
            account => account,
        };
        self.book
            .candidates(account, exchange.hash, &mut self.candidates)?;
        self.count_look_up(!self.candidates.is_empty());
        // The other kind of look-up, too: each proof costs one that finds something and one that does not.
        let other = if self.candidates.is_empty() { DECOY } else { NOBODY };
        let mut found = Candidates::new();
        self.book.candidates(other, exchange.hash, &mut found)?;
        self.count_look_up(!found.is_empty());
        self.candidates
            .retain(|candidate| fits(request, candidate.bound_resource()));
        for candidate in &mut self.candidates {
            if candidate.is_derived {
                candidate.keys = self.scram_keys.get(candidate.credential, exchange.hash);
            }
        }
        Ok(exchange.try_at_hand(&self.candidates, derived_only, &mut self.work))
    }

    const fn count_look_up(&mut self, found: bool) {
        if found {
            self.work.hits += 1;
        } else {
            self.work.misses += 1;
        }
    }

    fn may_be_token(&self, request: &LoginRequest) -> bool {
        !self.tokens.is_empty() && token::is_token(password_of(request))
    }

    /// Has the slow threads compute what is missing, or lets the login wait for them. It is taken up again then: what
    /// is computed meanwhile may spare it the computation, and failures meanwhile may throttle it.
    fn prove(&mut self, login: Login, proofs: Proofs) {
        if self.slow.has_room() {
            self.hand_over(login, None, proofs);
        } else if self.backlog.len() < limits::SLOW_QUEUE_MAX {
            self.backlog.push_back(login);
        } else {
            self.answer(login.request.session, Err(LoginFailure::Unavailable));
        }
    }

    fn hand_over(&mut self, login: Login, early: Option<Admission>, proofs: Proofs) {
        if matches!(proofs, Proofs::Password(_)) {
            self.work.slow_hashes += 1;
        }
        if let Err(session) = self.slow.submit(Pending { login, early }, proofs) {
            self.answer(session, Err(LoginFailure::Unavailable));
        }
    }

    /// The slow proof of a login is done; its rights are looked up again, in this snapshot.
    pub(super) fn decide_proven(&mut self, now: Now, pending: Pending, proven: Proven) {
        let Pending { login, early } = pending;
        match proven {
            Proven::Secret(credential) => {
                self.accept_secret(now, login, early, Right::by_password(credential));
            }
            Proven::Token(claims) => self.accept_token(now, &login, *claims),
            Proven::Exchange(right, derived) => {
                self.remember(&derived);
                match right {
                    Some(right) => self.accept_secret(now, login, early, right),
                    None => self.fail(now, login, early),
                }
            }
            Proven::Nothing => self.fail(now, login, early),
        }
    }

    fn remember(&mut self, derived: &Derived) {
        for (credential, keys) in derived {
            self.work.slow_hashes += 1;
            self.work.macs += 1;
            self.work.comparisons += 1;
            if *credential != CredentialId::NONE {
                self.scram_keys.insert(*credential, *keys);
            }
        }
    }

    /// A secret was shown that was found valid in this snapshot. For a resource that is known it was looked for: there
    /// is nothing more to look up, and this is what a million devices do at once.
    fn accept_password(&mut self, now: Now, login: Login, credential: CredentialId) {
        if login.request.resource.is_none() {
            return self.accept_secret(now, login, None, Right::by_password(credential));
        }
        self.accept(
            &login.request,
            Accepted {
                credential,
                expires_unix_ms: None,
                bound_resource: None,
                server_signature: Box::default(),
            },
        );
    }

    /// A secret was shown or proven: lets the login in if the secret is valid still, and for its resource.
    fn accept_secret(&mut self, now: Now, login: Login, early: Option<Admission>, right: Right) {
        let request = &login.request;
        match self.book.live(&request.account, right.credential) {
            Ok(Some(live)) if fits(request, live.bound_resource.as_deref()) => self.accept(
                request,
                Accepted {
                    credential: right.credential,
                    expires_unix_ms: None,
                    bound_resource: live.bound_resource,
                    server_signature: right.server_signature,
                },
            ),
            Ok(_) => self.fail(now, login, early),
            Err(fault) => self.undecided(request.session, &fault),
        }
    }

    /// A token was shown whose signature is good: what it claims is compared with what is asked.
    fn accept_token(&mut self, now: Now, login: &Login, claims: Claims) {
        let request = &login.request;
        let live = match self.book.has_account(&request.account) {
            Ok(live) => live,
            Err(fault) => return self.undecided(request.session, &fault),
        };
        let account = Account::parse(&request.account).ok().filter(|_| live);
        let expires = account
            .and_then(|account| token::admits(&claims, &account, request.resource.as_deref(), now.unix_ms));
        match expires {
            Some(expires) => self.accept(
                request,
                Accepted {
                    credential: CredentialId::NONE,
                    expires_unix_ms: Some(expires),
                    bound_resource: claims.resource,
                    server_signature: Box::default(),
                },
            ),
            None => self.deny(now, login),
        }
    }

    fn accept(&mut self, request: &LoginRequest, accepted: Accepted) {
        // `<app>-<uid>-<role>`: nothing else was ever added as an account.
        let uid = request.account.split('-').nth(1).unwrap_or_default();
        let services = match self.services(uid) {
            Ok(services) => services,
            Err(fault) => return self.undecided(request.session, &fault),
        };
        let announced = match self.is_announced(request) {
            Ok(announced) => announced,
            Err(fault) => return self.undecided(request.session, &fault),
        };
        // A login in two steps is one login.
        if !matches!(request.proof, LoginProof::Proven { .. }) {
            self.port.metrics().accepted.increment();
        }
        let admitted = Admitted {
            grants: Grants {
                credential: accepted.credential,
                services,
                expires_unix_ms: accepted.expires_unix_ms,
                announced,
            },
            bound_resource: accepted.bound_resource,
            server_signature: accepted.server_signature,
        };
        self.answer(request.session, Ok(Verified::Account(Box::new(admitted))));
    }

    /// Whether the block that logs in is announced as a worker. What is announced later is told as a change.
    fn is_announced(&self, request: &LoginRequest) -> rusqlite::Result<bool> {
        if !self.announcing {
            return Ok(false);
        }
        let resource = request.resource.as_deref().unwrap_or_default();
        Account::parse(&request.account)
            .map_or(Ok(false), |account| self.book.is_announced(&account, resource))
    }

    fn services(&mut self, uid: &str) -> rusqlite::Result<Vec<Service>> {
        if let Some(services) = self.recent.services(uid) {
            return Ok(services.to_vec());
        }
        let services = self.book.services(uid)?;
        self.recent.insert_services(uid, services.clone());
        Ok(services)
    }

    /// A proof is wrong. One that was tried before its turn gets its turn.
    fn fail(&mut self, now: Now, login: Login, early: Option<Admission>) {
        match early {
            Some(admission) => self.postpone(login, admission),
            None => self.deny(now, &login),
        }
    }

    /// Where a slow hash may have been part of it, all denials are answered at multiples of one time.
    fn deny(&mut self, now: Now, login: &Login) {
        let request = &login.request;
        tracing::debug!(account = ?request.account, from = %request.peer, "login refused: no such account, or a wrong secret");
        let guesser = self.throttle.guesser(&request.account, request.peer);
        self.throttle.failed(now.instant, guesser);
        if self.weak || Exchange::of(&request.proof).is_some() {
            let at = denial_time(login.taken, now.instant);
            self.wait(at, Delayed::Failure(request.session, LoginFailure::Denied));
        } else {
            self.answer(request.session, Err(LoginFailure::Denied));
        }
    }
}

/// The password that was shown; nothing if the proof is another.
fn password_of(request: &LoginRequest) -> &[u8] {
    match &request.proof {
        LoginProof::Password(password) => password,
        LoginProof::Certificate { .. }
        | LoginProof::ScramFirst(_)
        | LoginProof::Scram { .. }
        | LoginProof::Proven { .. } => &[],
    }
}

/// Whether a secret that is bound to this resource, if to any, is good for the one that is asked for, if one is.
fn fits(request: &LoginRequest, bound: Option<&str>) -> bool {
    match (&request.resource, bound) {
        (Some(asked), Some(bound)) => **asked == *bound,
        _ => true,
    }
}
