//! Threads for what takes milliseconds: the hashes of weak secrets, the signatures of tokens. Bounded, so
//! that neither delays the fast path nor piles up.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

use super::fault::StoreFault;
use super::port::ControlPort;
use super::token::TokenKeys;
use crate::limits;
use crate::route::CredentialId;
use crate::store::token::Claims;
use crate::store::verify::SlowCheck;
use crate::store::{LoginProof, LoginRequest};
use crate::time::Instant;

/// A login that is being decided.
pub(super) struct Pending {
    pub(super) request: LoginRequest,
    /// When it was taken up.
    pub(super) taken: Instant,
}

/// What is to be computed.
pub(super) enum Proofs {
    /// PBKDF2.
    Password(SlowCheck),
    /// A signature.
    Token,
}

/// What was computed. Says nothing about whether the account is there still.
pub(super) enum Proven {
    /// The password is this secret.
    Secret(CredentialId),
    /// The password is a token of a key of the app, with these claims.
    Token(Box<Claims>),
    /// Neither.
    Nothing,
}

/// The threads and their queues.
pub(super) struct SlowPool {
    tasks: Option<Sender<(Pending, Proofs)>>,
    done: Receiver<(Pending, Proven)>,
    threads: Vec<JoinHandle<()>>,
}

impl SlowPool {
    /// Starts the threads. They wake the thread of `port` when something is done.
    pub(super) fn start(port: &Arc<ControlPort>, keys: &Arc<TokenKeys>) -> Result<Self, StoreFault> {
        let (tasks, todo) = bounded(limits::SLOW_QUEUE_MAX);
        // Room for all that can be under way: a thread never waits for the control thread.
        let (finished, done) = bounded(limits::SLOW_QUEUE_MAX + limits::SLOW_THREADS);
        let mut pool = Self {
            tasks: Some(tasks),
            done,
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

    /// Queues a computation; gives the login back if too many wait.
    pub(super) fn submit(&self, pending: Pending, proofs: Proofs) -> Result<(), Pending> {
        let Some(tasks) = &self.tasks else {
            return Err(pending);
        };
        tasks.try_send((pending, proofs)).map_err(|error| match error {
            TrySendError::Full((pending, _)) | TrySendError::Disconnected((pending, _)) => pending,
        })
    }

    /// Whether a computation is done.
    pub(super) fn has_next(&self) -> bool {
        !self.done.is_empty()
    }

    /// The next computation that is done.
    pub(super) fn next(&self) -> Option<(Pending, Proven)> {
        self.done.try_recv().ok()
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
        let LoginProof::Password(password) = &pending.request.proof else {
            continue;
        };
        let proven = match proofs {
            Proofs::Password(check) => check.run(password).map_or(Proven::Nothing, Proven::Secret),
            Proofs::Token => keys
                .verify(&pending.request.account, password)
                .map_or(Proven::Nothing, |claims| Proven::Token(Box::new(claims))),
        };
        if finished.send((pending, proven)).is_err() {
            return;
        }
        port.unpark();
    }
}
