//! Threads for what takes milliseconds: the hashes of weak secrets and of SCRAM, the signatures of tokens. Bounded, so
//! that neither delays the fast path nor piles up.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};

use super::fault::StoreFault;
use super::port::ControlPort;
use super::token::TokenKeys;
use super::waiting::Login;
use crate::limits;
use crate::route::{CredentialId, SessionId};
use crate::store::scram::exchange::{Derived, Exchange, Right, SlowExchange};
use crate::store::throttle::Admission;
use crate::store::token::Claims;
use crate::store::verify::SlowCheck;
use crate::store::{LoginProof, LoginRequest};

/// A login that is being decided.
pub(super) struct Pending {
    pub(super) login: Login,
    /// It is tried before its turn: what comes of it if it fails.
    pub(super) early: Option<Admission>,
}

/// What is to be computed.
pub(super) enum Proofs {
    /// PBKDF2 of the password.
    Password(SlowCheck),
    /// PBKDF2 of the secrets it may be.
    Exchange(SlowExchange),
    /// A signature.
    Token,
}

/// What was computed. Says nothing about whether the account is there still.
pub(super) enum Proven {
    /// The password is this secret.
    Secret(CredentialId),
    /// The password is a token of a key of the app, with these claims.
    Token(Box<Claims>),
    /// What the proof of SCRAM is, and what was derived for it.
    Exchange(Option<Right>, Derived),
    /// Neither.
    Nothing,
}

/// The threads and their queues.
pub(super) struct SlowPool {
    tasks: Option<Sender<(Pending, Proofs)>>,
    done: Receiver<(Pending, Proven)>,
    /// Handed over and not taken back yet.
    under_way: usize,
    threads: Vec<JoinHandle<()>>,
}

impl SlowPool {
    /// Starts the threads. They wake the thread of `port` when something is done.
    pub(super) fn start(port: &Arc<ControlPort>, keys: &Arc<TokenKeys>) -> Result<Self, StoreFault> {
        let (tasks, todo) = bounded(limits::SLOW_UNDER_WAY_MAX);
        // Room for all that can be under way: a thread never waits for the control thread.
        let (finished, done) = bounded(limits::SLOW_UNDER_WAY_MAX);
        let mut pool = Self {
            tasks: Some(tasks),
            done,
            under_way: 0,
            threads: Vec::with_capacity(limits::SLOW_THREADS),
        };
        for number in 0..limits::SLOW_THREADS {
            let (todo, finished) = (todo.clone(), finished.clone());
            let (port, keys) = (Arc::clone(port), Arc::clone(keys));
            let thread = std::thread::Builder::new()
                .name(format!("nexus-slow-{number}"))
                .spawn(move || work(&todo, &finished, &port, &keys))
                .map_err(|source| StoreFault::Thread { source })?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Whether a computation would be taken.
    pub(super) const fn has_room(&self) -> bool {
        self.under_way < limits::SLOW_UNDER_WAY_MAX
    }

    /// Hands over a computation; tells whose login it was if there is no room.
    pub(super) fn submit(&mut self, pending: Pending, proofs: Proofs) -> Result<(), SessionId> {
        let session = pending.login.request.session;
        let tasks = self.tasks.as_ref().filter(|_| self.has_room()).ok_or(session)?;
        tasks.try_send((pending, proofs)).map_err(|_| session)?;
        self.under_way += 1;
        Ok(())
    }

    /// Whether a computation is done.
    pub(super) fn has_next(&self) -> bool {
        !self.done.is_empty()
    }

    /// The next computation that is done.
    pub(super) fn next(&mut self) -> Option<(Pending, Proven)> {
        let next = self.done.try_recv().ok()?;
        self.under_way = self.under_way.saturating_sub(1);
        Some(next)
    }
}

impl Drop for SlowPool {
    /// Ends the threads after what they are at; what waits is forgotten.
    fn drop(&mut self) {
        self.tasks = None;
        while self.done.try_recv().is_ok() {}
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn work(
    todo: &Receiver<(Pending, Proofs)>,
    finished: &Sender<(Pending, Proven)>,
    port: &ControlPort,
    keys: &TokenKeys,
) {
    for (pending, proofs) in todo {
        if port.is_asked_to_stop() {
            return;
        }
        let proven = prove(&pending.login.request, &proofs, keys);
        if finished.send((pending, proven)).is_err() {
            return;
        }
        port.unpark();
    }
}

fn prove(request: &LoginRequest, proofs: &Proofs, keys: &TokenKeys) -> Proven {
    match (proofs, &request.proof) {
        (Proofs::Password(check), LoginProof::Password(password)) => {
            check.run(password).map_or(Proven::Nothing, Proven::Secret)
        }
        (Proofs::Token, LoginProof::Password(password)) => keys
            .verify(&request.account, password)
            .map_or(Proven::Nothing, |claims| Proven::Token(Box::new(claims))),
        (Proofs::Exchange(slow), proof) => match Exchange::of(proof) {
            Some(exchange) => {
                let (right, derived) = slow.run(&exchange);
                Proven::Exchange(right, derived)
            }
            None => Proven::Nothing,
        },
        (Proofs::Password(_) | Proofs::Token, _) => Proven::Nothing,
    }
}
