//! How a session comes in: its proof goes to the control thread, its address is claimed from the router.
//!
//! Invariant: a session claims an address only with a proof that was accepted, and only that proof's account; what
//! a secret is bound to binds the session, too.

use std::time::Duration;

use rand::RngCore;

use super::Hub;
use super::io::{HubTimer, Io};
use super::table::State;
use crate::limits;
use crate::route::{Account, Authenticate, Identity, Login, Registration, SessionId, SessionKey};
use crate::session::{LoginFailure, Proven, Session};
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
        let proof = LoginProof::Password(login.password.into());
        if !self.ask(io, key, login.account, Some(resource), proof) {
            self.decided(io, now, key, Err(LoginFailure::Unavailable));
        }
    }

    /// Account and proof; the resource follows.
    pub(super) fn authenticate<I>(&mut self, io: &mut I, now: Now, key: SessionKey, claim: &Authenticate<'_>)
    where
        I: Io<Conn = C, Shared = S>,
    {
        if !self.ask(io, key, claim.account, None, claim.proof.into()) {
            self.decided(io, now, key, Err(LoginFailure::Unavailable));
        }
    }

    /// Hands a claim to the control thread. False: it takes no more.
    fn ask<I>(
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
        prelogin.binding = matches!(proof, LoginProof::Proven { .. });
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
        format!(
            "auto-{:016x}{:016x}",
            self.random.next_u64(),
            self.random.next_u64()
        )
        .into_boxed_str()
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
        let Some(entry) = self
            .table
            .get_mut(key)
            .filter(|entry| entry.state == State::LoggingIn)
        else {
            return;
        };
        let Some(prelogin) = entry.prelogin.as_mut() else {
            return;
        };
        if prelogin.two_steps {
            return self.proven(io, now, key, result);
        }
        match result {
            Ok(Verified::Account(admitted)) => self.claim(io, now, key, *admitted),
            Ok(Verified::Challenge { .. }) => self.refuse_login(io, now, key, LoginFailure::Denied),
            Err(failure) => self.refuse_login(io, now, key, failure),
        }
    }

    /// The first of two steps has been decided: the session goes on, or tries again.
    fn proven<I>(&mut self, io: &mut I, now: Now, key: SessionKey, result: Result<Verified, LoginFailure>)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        let Some(prelogin) = entry.prelogin.as_mut() else {
            return;
        };
        entry.state = State::Opening;
        if let Some(mut out) = io.output(entry.conn) {
            match result {
                Ok(Verified::Challenge { salt, iterations }) => {
                    let challenge = Proven::Challenge {
                        salt: &salt,
                        iterations,
                    };
                    entry.session.proven(now, Ok(challenge), &mut out);
                }
                Ok(Verified::Account(admitted)) => {
                    let admitted = prelogin.proven.insert(admitted);
                    let account = Proven::Account {
                        server_signature: &admitted.server_signature,
                    };
                    entry.session.proven(now, Ok(account), &mut out);
                }
                Err(failure) => {
                    self.metrics.logins_denied.increment();
                    entry.session.proven(now, Err(failure), &mut out);
                }
            }
        }
        io.resume(entry.conn);
        self.rearm(io, key);
    }

    /// The second of two steps: the resource. The control thread is asked once more, since what it said before may
    /// have been revoked, which nobody looks for before a session has joined.
    pub(super) fn bind<I>(&mut self, io: &mut I, now: Now, key: SessionKey, resource: &str)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let made_up = self.made_up_resource();
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
        let Some(admitted) = prelogin.proven.take() else {
            return self.refuse_login(io, now, key, LoginFailure::Denied);
        };
        let bound = admitted.bound_resource.as_deref();
        let resource: Box<str> = match (resource, bound) {
            ("", Some(bound)) => bound.into(),
            ("", None) => made_up,
            (asked, Some(bound)) if asked != bound => {
                return self.refuse_login(io, now, key, LoginFailure::ResourceRefused);
            }
            (asked, _) => asked.into(),
        };
        let account = std::mem::take(&mut prelogin.account);
        let proof = LoginProof::Proven {
            credential: admitted.grants.credential,
            expires_unix_ms: admitted.grants.expires_unix_ms,
        };
        if !self.ask(io, key, &account, Some(resource), proof) {
            self.decided(io, now, key, Err(LoginFailure::Unavailable));
        }
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
        entry.state = State::Claiming;
        // MQTT has a newcomer take over always; in XMPP the server may prefer the one that is there.
        let damped = prelogin.binding;
        let grants = admitted.grants;
        if let Some(unix_ms) = grants.expires_unix_ms {
            let left = Duration::from_millis(unix_ms.saturating_sub(now.unix_ms));
            io.arm(now.instant + left, HubTimer::of_expiry(key));
        }
        self.route(io, now, |router, port| {
            router.join(now, port, key, identity, grants, damped);
        });
    }

    /// The address of a session whose proof was accepted is fought for.
    pub(super) fn conflict<I>(&mut self, io: &mut I, now: Now, key: SessionKey)
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.metrics.logins_denied.increment();
        if let Some(entry) = self.table.get_mut(key)
            && let Some(mut out) = io.output(entry.conn)
        {
            entry.session.attached(now, Err(LoginFailure::Conflict), &mut out);
        }
        self.good_bye(io, now, key);
    }

    /// A login is over without success: the session says so, and its connection is closed.
    fn refuse_login<I>(&mut self, io: &mut I, now: Now, key: SessionKey, failure: LoginFailure)
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
        if let Some(prelogin) = entry.prelogin.take() {
            self.pooled_bytes -= prelogin.pooled;
        }
        if let Some(mut out) = io.output(entry.conn) {
            entry.session.attached(now, Ok(identity), &mut out);
        }
        io.resume(entry.conn);
        // Before anybody can know that the block is there.
        if let Some(options) = entry.session.takes_direct() {
            let direct = Registration::Direct { options };
            let _ = self.route(io, now, |router, port| router.register(now, port, key, &direct));
        }
        self.rearm(io, key);
    }
}
