//! How a session comes in: its proof goes to the control thread, its address is claimed from the router.
//!
//! Invariant: a session claims an address only with a proof that was accepted, and only that proof's account; what
//! a secret is bound to binds the session, too. A proof anew changes nothing but the secret the session ends with.

use std::time::Duration;

use rand::RngCore;

use super::Hub;
use super::io::{HubTimer, Io};
use super::keeping::Kept;
use super::table::{Prelogin, State};
use crate::limits;
use crate::route::{
    Account, Authenticate, Bind, ClaimRefusal, Grants, Identity, Login, Registration, SessionId, SessionKey,
};
use crate::session::{Disconnect, Life, LoginFailure, Proven, Session};
use crate::store::{Admitted, LoginProof, LoginRequest, Verified};
use crate::time::Now;

impl<C: Copy + PartialEq + std::fmt::Debug, S: Clone, P: Session> Hub<C, S, P> {
    /// Account, proof and resource at once.
    pub(super) fn login<I>(&mut self, io: &mut I, now: Now, key: SessionKey, login: &Login<'_>)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let resource = if login.resource.is_empty() {
            self.made_up_resource()
        } else {
            login.resource.into()
        };
        if !self.ask(io, key, login.account, Some(resource), login.proof.into()) {
            self.decided(io, now, key, Err(LoginFailure::Unavailable));
        }
    }

    /// Account and proof; the resource follows, or is there already.
    pub(super) fn authenticate<I>(&mut self, io: &mut I, now: Now, key: SessionKey, claim: &Authenticate<'_>)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let entry = self.table.get_mut(key);
        if entry.is_some_and(|entry| entry.state == State::Attached) {
            return self.renew(io, now, key, claim);
        }
        if !self.ask(io, key, claim.account, None, claim.proof.into()) {
            self.decided(io, now, key, Err(LoginFailure::Unavailable));
        }
    }

    /// Hands a claim to the control thread. False: it takes no more.
    pub(super) fn ask<I>(
        &mut self,
        io: &mut I,
        key: SessionKey,
        account: &str,
        resource: Option<Box<str>>,
        proof: LoginProof,
    ) -> bool
    where
        I: Io<Conn = C, Shared = S>,
    {
        // What cannot be an account is asked about all the same, so that it costs what a wrong one costs.
        let account = if account.len() > limits::ACCOUNT_BYTES_MAX {
            ""
        } else {
            account
        };
        let session = SessionId {
            shard: self.shard,
            key,
        };
        let Some(entry) = self.table.get_mut(key) else {
            return true;
        };
        let Some(prelogin) = entry.prelogin.as_mut() else {
            return true;
        };
        prelogin.account = account.into();
        prelogin.resource = resource.clone().unwrap_or_default();
        prelogin.two_steps = resource.is_none();
        prelogin.proven = None;
        entry.state = State::LoggingIn;
        let request = LoginRequest {
            session,
            account: account.into(),
            resource,
            proof,
            peer: prelogin.peer,
        };
        io.login(request).is_ok()
    }

    /// A resource for a block that asked for none: 128 random bits.
    fn made_up_resource(&mut self) -> Box<str> {
        format!("auto-{}", self.random_digits()).into_boxed_str()
    }

    /// 128 random bits in hex.
    fn random_digits(&mut self) -> String {
        format!("{:016x}{:016x}", self.random.next_u64(), self.random.next_u64())
    }

    /// A proof has been decided, or could not be.
    pub(super) fn decided<I>(
        &mut self,
        io: &mut I,
        now: Now,
        key: SessionKey,
        result: Result<Verified, LoginFailure>,
    ) where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        let Some(prelogin) = entry.prelogin.as_ref() else {
            return;
        };
        match entry.state {
            State::Attached if prelogin.renewing => return self.renewed(io, now, key, result),
            State::LoggingIn if let Some(resume) = prelogin.resuming => {
                return self.resume_decided(io, now, key, resume, result);
            }
            State::LoggingIn if prelogin.two_steps => return self.proven(io, now, key, result),
            State::LoggingIn => {}
            State::Opening
            | State::Claiming
            | State::Moving
            | State::Attached
            | State::Offline
            | State::Closing => return,
        }
        match result {
            Ok(Verified::Account(admitted)) => self.claim(io, now, key, *admitted),
            Ok(Verified::Challenge { .. }) => self.refuse_login(io, now, key, LoginFailure::Denied),
            Err(failure) => self.refuse_login(io, now, key, failure),
        }
    }

    /// The first of two steps has been decided: the session goes on, tries again, or gives up.
    fn proven<I>(&mut self, io: &mut I, now: Now, key: SessionKey, result: Result<Verified, LoginFailure>)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        entry.state = State::Opening;
        let denied = result.is_err();
        if denied {
            self.metrics.logins_denied.increment();
        }
        match self.tell_proven(io, now, key, &result) {
            Ok(binds) => {
                if let (Ok(Verified::Account(admitted)), Some(prelogin)) = (result, self.prelogin(key)) {
                    prelogin.proven = Some(admitted);
                }
                if binds {
                    return self.bind_at_once(io, now, key);
                }
                if let Some(entry) = self.table.get_mut(key) {
                    io.resume(entry.conn);
                }
                self.rearm(io, key);
            }
            Err(_) if denied => self.good_bye(io, now, key),
            Err(reason) => self.disconnect(io, now, key, reason),
        }
    }

    /// Tells a session what came of its proof. True: it takes an address at once.
    fn tell_proven<I>(
        &mut self,
        io: &mut I,
        now: Now,
        key: SessionKey,
        result: &Result<Verified, LoginFailure>,
    ) -> Result<bool, Disconnect>
    where
        I: Io<Conn = C, Shared = S>,
    {
        let nonce = match result {
            Ok(Verified::Challenge { .. }) => self.random_digits(),
            Ok(Verified::Account(_)) | Err(_) => String::new(),
        };
        let Some(entry) = self.table.get_mut(key) else {
            return Ok(false);
        };
        let Some(mut out) = io.output(entry.conn) else {
            return Ok(false);
        };
        let verdict = match result {
            Ok(Verified::Challenge { salt, iterations }) => Ok(Proven::Challenge {
                salt,
                iterations: *iterations,
                nonce: &nonce,
            }),
            Ok(Verified::Account(admitted)) => Ok(Proven::Account {
                server_signature: &admitted.server_signature,
            }),
            Err(failure) => Err(*failure),
        };
        let bind = entry.session.proven(now, verdict, &mut out)?;
        if let (Some(bind), Some(prelogin)) = (&bind, entry.prelogin.as_mut()) {
            prelogin.wants(bind);
        }
        Ok(bind.is_some())
    }

    /// The second of two steps: the resource. The control thread is asked once more, since what it said before may
    /// have been revoked, which nobody looks for before a session has joined.
    pub(super) fn bind<I>(&mut self, io: &mut I, now: Now, key: SessionKey, bind: &Bind<'_>)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(entry) = self
            .table
            .get_mut(key)
            .filter(|entry| entry.state == State::Opening)
        else {
            return;
        };
        let Some(prelogin) = entry.prelogin.as_mut() else {
            return;
        };
        prelogin.wants(bind);
        let account = std::mem::take(&mut prelogin.account);
        match self.settle_resource(key) {
            Ok((admitted, resource)) => {
                let proof = LoginProof::Proven {
                    credential: admitted.grants.credential,
                    expires_unix_ms: admitted.grants.expires_unix_ms,
                };
                if !self.ask(io, key, &account, Some(resource), proof) {
                    self.decided(io, now, key, Err(LoginFailure::Unavailable));
                }
            }
            Err(failure) => self.refuse_login(io, now, key, failure),
        }
    }

    /// The second of two steps, with nothing to wait for between them: nothing can have been revoked, either.
    fn bind_at_once<I>(&mut self, io: &mut I, now: Now, key: SessionKey)
    where
        I: Io<Conn = C, Shared = S>,
    {
        match self.settle_resource(key) {
            Ok((admitted, resource)) => {
                if let Some(prelogin) = self.prelogin(key) {
                    prelogin.resource = resource;
                }
                self.claim(io, now, key, *admitted);
            }
            Err(failure) => self.refuse_login(io, now, key, failure),
        }
    }

    /// What was proven, and the resource that it is good for.
    fn settle_resource(&mut self, key: SessionKey) -> Result<(Box<Admitted>, Box<str>), LoginFailure> {
        let made_up = self.made_up_resource();
        let prelogin = self.prelogin(key).ok_or(LoginFailure::Denied)?;
        let admitted = prelogin.proven.take().ok_or(LoginFailure::Denied)?;
        let asked = std::mem::take(&mut prelogin.resource);
        let resource = match (&*asked, admitted.bound_resource.as_deref()) {
            ("", Some(bound)) => bound.into(),
            ("", None) => made_up,
            (asked, Some(bound)) if asked != bound => return Err(LoginFailure::ResourceRefused),
            _ => asked,
        };
        Ok((admitted, resource))
    }

    pub(super) fn prelogin(&mut self, key: SessionKey) -> Option<&mut Prelogin> {
        self.table.get_mut(key)?.prelogin.as_deref_mut()
    }

    /// An attached session shows that it still is the account it came in as. It stays attached meanwhile: what it
    /// sends and what is sent to it goes on.
    fn renew<I>(&mut self, io: &mut I, now: Now, key: SessionKey, claim: &Authenticate<'_>)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let session = SessionId {
            shard: self.shard,
            key,
        };
        let own = |prelogin: &&mut Prelogin| !prelogin.renewing && *prelogin.account == *claim.account;
        let Some(prelogin) = self.prelogin(key).filter(own) else {
            return self.renewed(io, now, key, Err(LoginFailure::Denied));
        };
        prelogin.renewing = true;
        let request = LoginRequest {
            session,
            account: prelogin.account.clone(),
            resource: Some(prelogin.resource.clone()),
            proof: claim.proof.into(),
            peer: prelogin.peer,
        };
        if io.login(request).is_err() {
            self.renewed(io, now, key, Err(LoginFailure::Unavailable));
        }
    }

    /// Such a proof has been decided, or could not be.
    fn renewed<I>(&mut self, io: &mut I, now: Now, key: SessionKey, result: Result<Verified, LoginFailure>)
    where
        I: Io<Conn = C, Shared = S>,
    {
        if let Some(prelogin) = self.prelogin(key) {
            prelogin.renewing = false;
        }
        if result.is_err() {
            self.metrics.logins_denied.increment();
        }
        match (self.tell_proven(io, now, key, &result), result) {
            (Ok(_), Ok(Verified::Account(admitted))) => {
                self.router.renew(key, admitted.grants.credential);
            }
            (Ok(_), _) => {}
            (Err(reason), _) => return self.disconnect(io, now, key, reason),
        }
        self.rearm(io, key);
    }

    /// Goes on with a login whose proof was accepted: claims the address.
    fn claim<I>(&mut self, io: &mut I, now: Now, key: SessionKey, admitted: Admitted)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        let Some(prelogin) = entry.prelogin.as_mut() else {
            return;
        };
        let identity =
            Account::parse(&prelogin.account).and_then(|account| Identity::new(&account, &prelogin.resource));
        let Ok(identity) = identity else {
            return self.refuse_login(io, now, key, LoginFailure::Denied);
        };
        let life = entry.session.life();
        let is_here = life == Life::Connection || self.router.home(&identity) == self.shard;
        if is_here && !self.will_fits(key, &identity) {
            return self.refuse_login(io, now, key, LoginFailure::QuotaExceeded);
        }
        if let Life::Kept { fresh } = life {
            match self.find_kept(io, now, &identity, fresh) {
                Kept::Elsewhere(home) => return self.move_home(io, key, home, admitted),
                Kept::Here(earlier) => return self.go_on(io, now, key, earlier, admitted.grants),
                Kept::New => self.begin_keeping(key, &identity),
                Kept::TooMany => return self.refuse_login(io, now, key, LoginFailure::QuotaExceeded),
            }
        }
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        entry.state = State::Claiming;
        let damped = entry.prelogin.as_ref().is_some_and(|prelogin| prelogin.damped);
        let grants = admitted.grants;
        self.limit(io, now, key, &grants);
        self.route(io, now, |router, port| {
            router.join(now, port, key, identity, grants, damped);
        });
    }

    /// Whether the will of a newcomer may be left here, where it takes the place of what the address left before.
    fn will_fits(&mut self, newcomer: SessionKey, identity: &Identity) -> bool {
        let holder = self.router.holder(identity);
        let freed = holder
            .and_then(|holder| self.table.get_mut(holder))
            .map_or(0, |earlier| earlier.session.will_bytes());
        let newcomer = self.table.get_mut(newcomer);
        newcomer.is_none_or(|entry| entry.session.will_fits(freed))
    }

    /// Has a session's connection end when its proof is good no longer.
    pub(super) fn limit<I>(&mut self, io: &mut I, now: Now, key: SessionKey, grants: &Grants)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(unix_ms) = grants.expires_unix_ms else {
            return;
        };
        let left = Duration::from_millis(unix_ms.saturating_sub(now.unix_ms));
        let timer = io.arm(now.instant + left, HubTimer::of_expiry(key));
        if let Some(prelogin) = self.prelogin(key) {
            prelogin.expiry = Some(timer);
        }
    }

    /// A session whose proof was accepted does not get its address.
    pub(super) fn claim_refused<I>(&mut self, io: &mut I, now: Now, key: SessionKey, refusal: ClaimRefusal)
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.metrics.logins_denied.increment();
        if let Some(entry) = self.table.get_mut(key)
            && let Some(mut out) = io.output(entry.conn)
        {
            let failure = match refusal {
                ClaimRefusal::Conflict => LoginFailure::Conflict,
                ClaimRefusal::NotStored => LoginFailure::QuotaExceeded,
            };
            entry.session.attached(now, Err(failure), &mut out);
        }
        self.good_bye(io, now, key);
    }

    /// A login is over without success: the session says so, and its connection is closed.
    pub(super) fn refuse_login<I>(&mut self, io: &mut I, now: Now, key: SessionKey, failure: LoginFailure)
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.metrics.logins_denied.increment();
        if let Some(entry) = self.table.get_mut(key)
            && let Some(mut out) = io.output(entry.conn)
        {
            entry.session.attached(now, Err(failure), &mut out);
        }
        self.close(io, key);
    }

    pub(super) fn attach<I>(&mut self, io: &mut I, now: Now, key: SessionKey)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(entry) = self
            .table
            .get_mut(key)
            .filter(|entry| entry.state == State::Claiming)
        else {
            return;
        };
        let Some(identity) = self.router.identity(key) else {
            return;
        };
        entry.state = State::Attached;
        self.metrics.connected(entry.session.protocol(), true);
        if let Some(mut prelogin) = entry.prelogin.take() {
            self.pooled_bytes -= std::mem::take(&mut prelogin.pooled);
            entry.prelogin = (prelogin.renewable || prelogin.expiry.is_some()).then_some(prelogin);
        }
        if let Some(mut out) = io.output(entry.conn) {
            entry.session.attached(now, Ok(identity), &mut out);
        }
        // What waited for its client has got its packet identifiers, and goes out when they last.
        self.batch.drain(key, entry);
        io.resume(entry.conn);
        // Before anybody can know that the block is there.
        if let Some(options) = entry.session.takes_direct() {
            let direct = Registration::Direct { options };
            let _ = self.route(io, now, |router, port| router.register(now, port, key, &direct));
        }
        self.write_down(now, key);
        self.rearm(io, key);
    }
}
