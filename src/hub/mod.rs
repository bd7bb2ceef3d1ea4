//! One shard's whole meaning: its sessions and its router, joined. Bytes, parcels, verdicts and the time come
//! in; bytes, parcels and login requests go out. No I/O: the daemon and the simulation drive the same code.
//!
//! Invariants: a session receives and is delivered to only between its attachment and its good-bye; every
//! session that was attached leaves the router exactly once, before its slot is freed; the router is never
//! called while it calls (what it says about sessions waits in a queue until its call returns).

mod commands;
mod durable;
mod ending;
mod gathering;
mod io;
mod keeping;
mod left;
mod local;
mod login;
mod moving;
mod restoring;
mod resuming;
mod rows;
mod table;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use ahash::RandomState;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use self::durable::Batch;
use self::gathering::Gathering;
pub use self::io::{HubTimer, Io};
use self::keeping::Fate;
use self::left::LeftBehind;
use self::local::{Local, Owner, Pending, is_of_generation};
pub use self::moving::Luggage;
pub use self::restoring::{Row, Stored};
use self::resuming::Suspended;
use self::table::{Entry, Prelogin, State, Table};
use crate::journal::Journal;
use crate::limits;
use crate::observe::ShardMetrics;
use crate::observe::system::Value;
use crate::route::{
    Audience, Change, Completion, Identity, Notice, Parcel, Retained, RootWildcard, Router, RouterConfig,
    RouterLimits, SessionId, SessionKey,
};
use crate::session::{Ending, Frames, Scratch, Session, Step};
use crate::store::login::LoginVerdict;
use crate::time::Now;

/// What came of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes consumed from the front.
    pub used: usize,
    /// When to call again.
    pub next: Next,
}

/// When [`Hub::receive`] wants to see the bytes that it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// As soon as this many bytes are there, counted from the first one left.
    Need(usize),
    /// After [`Io::resume`] was called for the connection.
    Hold,
}

/// One shard's sessions and router. `C` is the machine's connection, `S` its shared frame, `P` the session.
pub struct Hub<C, S, P> {
    shard: u16,
    router: Router,
    table: Table<C, P>,
    frames: Frames<S>,
    scratch: Scratch,
    pending: VecDeque<Pending>,
    random: StdRng,
    metrics: Arc<ShardMetrics>,
    pooled_bytes: usize,
    gathering: Gathering,
    draining: bool,
    /// What has to last of what happened since the last batch was taken.
    batch: Batch,
    spare_journals: Vec<Journal>,
    /// The number of the next session that is kept.
    next_number: u64,
    left: LeftBehind,
    suspended: Suspended,
}

impl<C: Copy + PartialEq + std::fmt::Debug, S: Clone, P: Session> Hub<C, S, P> {
    /// A hub without sessions.
    pub fn new(config: RouterConfig) -> Self {
        let mut seeder = StdRng::from_seed(config.seed);
        let config_shard = config.shard;
        let mut random = StdRng::from_rng(&mut seeder);
        let gathering = Gathering::new(
            limits::UNFINISHED_BYTES_MAX,
            limits::UNFINISHED_BYTES_PER_ACCOUNT_MAX,
            RandomState::with_seeds(
                random.next_u64(),
                random.next_u64(),
                random.next_u64(),
                random.next_u64(),
            ),
        );
        Self {
            shard: config_shard,
            metrics: Arc::clone(&config.metrics),
            router: Router::new(config),
            table: Table::default(),
            frames: Frames::default(),
            scratch: Scratch::default(),
            pending: VecDeque::new(),
            random,
            pooled_bytes: 0,
            gathering,
            draining: false,
            batch: Batch::default(),
            spare_journals: Vec::new(),
            next_number: keeping::first_number(config_shard, 0),
            left: LeftBehind::default(),
            suspended: Suspended::default(),
        }
    }

    /// Sessions, attached or not.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The identity of the session in a slot, once it is attached.
    pub fn identity(&self, slot: u32) -> Option<&Identity> {
        self.router.identity(self.table.key(slot)?)
    }

    /// A connection was accepted. Returns the slot that names it in the other calls; `None`: close it.
    pub fn open<I>(&mut self, io: &mut I, conn: C, peer: IpAddr, session: P) -> Option<u32>
    where
        I: Io<Conn = C, Shared = S>,
    {
        if self.draining {
            return None;
        }
        let prelogin = Box::new(Prelogin {
            peer,
            account: Box::default(),
            resource: Box::default(),
            two_steps: false,
            damped: false,
            renewable: false,
            renewing: false,
            proven: None,
            resuming: None,
            pooled: 0,
            expiry: None,
        });
        let key = self.table.insert(Entry {
            prelogin: Some(prelogin),
            ..Entry::new(session, conn, State::Opening)
        })?;
        self.metrics.connections_opened.increment();
        self.rearm(io, key);
        Some(key.slot)
    }

    /// Bytes arrived, or what was held back may go on.
    pub fn receive<I>(&mut self, io: &mut I, now: Now, slot: u32, conn: C, bytes: &mut [u8]) -> Progress
    where
        I: Io<Conn = C, Shared = S>,
    {
        let all = Progress {
            used: bytes.len(),
            next: Next::Need(1),
        };
        let Some(key) = self.key_of(slot, conn) else {
            return all;
        };
        self.give_back(key);
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut used = 0;
        let next = loop {
            let Some(entry) = self
                .table
                .get_mut(key)
                .filter(|entry| entry.state != State::Closing)
            else {
                break None;
            };
            // Even with nothing left: should the peer end its side now, it still gets its answer.
            if matches!(entry.state, State::LoggingIn | State::Claiming | State::Moving) {
                break Some(Next::Hold);
            }
            let Some(rest) = bytes.get_mut(used..).filter(|rest| !rest.is_empty()) else {
                if entry.session.gathered() == 0 {
                    break Some(Next::Need(1));
                }
                break self.gather(io, now, key, 1);
            };
            let Some(mut out) = io.output(conn) else {
                break None;
            };
            let step = entry.session.receive(now, rest, &mut scratch, &mut out);
            drop(out);
            let wrote = self.batch.drain(key, entry);
            // By reference: a command is larger than what most of it is made of, and would be moved.
            match &step {
                Ok(Step::Need(bytes)) => break self.gather(io, now, key, *bytes),
                Ok(Step::Hold) => break Some(Next::Hold),
                Ok(Step::Done { used: step, command }) => {
                    used += step;
                    if *step > 0 {
                        self.metrics.frames_in.increment();
                    }
                    if let Some(command) = command {
                        self.execute(io, now, key, command, wrote);
                        self.settle(io, now);
                    }
                }
                Err(reason) => {
                    self.disconnect(io, now, key, *reason);
                    break None;
                }
            }
        };
        self.scratch = scratch;
        match next {
            Some(next) => {
                self.rearm(io, key);
                Progress { used, next }
            }
            None => all,
        }
    }

    /// A connection is gone, whoever ended it. Called exactly once per opened connection.
    pub fn closed<I>(&mut self, io: &mut I, now: Now, slot: u32, conn: C)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(key) = self.key_of(slot, conn) else {
            return;
        };
        let remains = self.part(io, now, key, Fate::Keep);
        self.table.remove(remains);
        self.metrics.connections_closed.increment();
        self.settle(io, now);
    }

    /// The control thread decided about a login.
    pub fn verdict<I>(&mut self, io: &mut I, now: Now, verdict: LoginVerdict)
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.decided(io, now, verdict.session.key, verdict.result);
        self.settle(io, now);
    }

    /// Rights changed.
    pub fn change<I>(&mut self, io: &mut I, now: Now, change: &Change)
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.with_router(io, now, |router, port| router.apply(now, port, change));
    }

    /// A parcel from another shard; left empty, to be given back.
    pub fn parcel<I>(&mut self, io: &mut I, now: Now, from: u16, parcel: &mut Parcel)
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.with_router(io, now, |router, port| router.parcel(now, port, from, parcel));
        self.go_on_restored(io, now);
    }

    /// A timer fired.
    pub fn timer<I>(&mut self, io: &mut I, now: Now, timer: HubTimer)
    where
        I: Io<Conn = C, Shared = S>,
    {
        match timer.owner() {
            Owner::Router(timer) => self.with_router(io, now, |router, port| router.timer(now, port, timer)),
            Owner::Session { slot } => self.session_timer(io, now, slot),
            Owner::Expiry { slot, generation } => {
                let is_it = |key: &SessionKey| is_of_generation(*key, generation);
                let Some(key) = self.table.key(slot).filter(is_it) else {
                    return;
                };
                if let Some(prelogin) = self.prelogin(key) {
                    prelogin.expiry = None;
                }
                self.end(io, now, key, Ending::ProofEnded);
                self.settle(io, now);
            }
        }
    }

    /// About every 10 ms.
    pub fn tick<I>(&mut self, io: &mut I, now: Now)
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.route(io, now, |router, port| router.tick(now, port));
        self.offer_again(io, now);
        self.settle(io, now);
    }

    /// What has gathered for another shard since the last call.
    pub fn outgoing(&mut self, to: u16) -> Option<Parcel> {
        self.router.outgoing(to)
    }

    /// A parcel that the mesh has no room for: more is added to it, and it is offered again.
    pub fn keep(&mut self, to: u16, parcel: Parcel) {
        self.router.keep(to, parcel);
    }

    /// An emptied parcel, to be filled again.
    pub fn recycle(&mut self, parcel: Parcel) {
        self.router.recycle(parcel);
    }

    /// Takes rules that an operator changed; what was granted before stays.
    pub fn reconfigure(&mut self, root_wildcard: RootWildcard, limits: RouterLimits) {
        self.router.reconfigure(root_wildcard, limits);
    }

    /// Takes back a retained message that was kept over a restart; before there are sessions.
    pub fn restore_retained(&mut self, message: Arc<Retained>) {
        self.router.restore_retained(message);
    }

    /// See [`Router::seek_blocks`].
    pub fn seek_blocks(&self, account: &str, resource: Option<&str>, found: &mut Vec<SessionId>) {
        self.router.seek_blocks(account, resource, found);
    }

    /// See [`Router::live_address`].
    pub fn live_address(&self, key: SessionKey) -> Option<&str> {
        self.router.live_address(key)
    }

    /// Whether operators may subscribe to `$SYS`.
    pub fn serve_system(&mut self, served: bool) {
        self.router.serve_system(served);
    }

    /// Whether anybody here subscribes to `$SYS`.
    pub fn has_system_subscribers(&self) -> bool {
        self.router.has_system_subscribers()
    }

    /// Whether somebody subscribed to `$SYS` and has not been told its values yet.
    pub fn has_system_newcomers(&self) -> bool {
        self.router.has_system_newcomers()
    }

    /// Tells the values of `$SYS` to those who subscribe.
    pub fn publish_system<I>(&mut self, io: &mut I, now: Now, to: Audience, values: &[Value])
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.with_router(io, now, |router, port| router.publish_system(port, to, values));
    }

    /// The daemon stops: every block is told so in its protocol, and its connection closed.
    pub fn stop<I>(&mut self, io: &mut I, now: Now)
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.draining = true;
        self.with_router(io, now, |router, port| router.drain(now, port));
        for key in self.table.keys() {
            self.end(io, now, key, Ending::Shutdown);
        }
        self.settle(io, now);
    }

    /// The session in a slot, if it is that connection's.
    fn key_of(&mut self, slot: u32, conn: C) -> Option<SessionKey> {
        let key = self.table.key(slot)?;
        (self.table.get_mut(key)?.conn == conn).then_some(key)
    }

    /// Runs a call of the router, then what it said about sessions.
    fn with_router<I>(&mut self, io: &mut I, now: Now, call: impl FnOnce(&mut Router, &mut Local<'_, I, P>))
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.route(io, now, call);
        self.settle(io, now);
    }

    fn route<I, T>(
        &mut self,
        io: &mut I,
        now: Now,
        call: impl FnOnce(&mut Router, &mut Local<'_, I, P>) -> T,
    ) -> T
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Self {
            router,
            table,
            frames,
            pending,
            batch,
            ..
        } = self;
        let done = call(
            router,
            &mut Local {
                now,
                io,
                table,
                frames,
                pending,
                batch,
            },
        );
        if let Some(mut journal) = router.take_journal() {
            batch.write(|batch| batch.append(&mut journal));
        }
        done
    }

    /// Carries out what the router said about sessions, until it says nothing more.
    fn settle<I>(&mut self, io: &mut I, now: Now)
    where
        I: Io<Conn = C, Shared = S>,
    {
        while let Some(pending) = self.pending.pop_front() {
            match pending {
                Pending::Notice(key, Notice::Attached) => self.attach(io, now, key),
                Pending::Notice(key, Notice::LeftBehind(left)) => {
                    if let Some(entry) = self.table.get_mut(key) {
                        entry.session.find_left(left);
                    }
                }
                // Its proof was good, a newer session only came before its address was free: it is told so
                // like one that was taken over a moment after it came in.
                Pending::Notice(key, Notice::Displaced) => {
                    self.attach(io, now, key);
                    self.end(io, now, key, Ending::TakenOver);
                }
                Pending::Notice(key, Notice::Refused(refusal)) => {
                    self.claim_refused(io, now, key, refusal);
                }
                Pending::Notice(key, Notice::Completed(ticket, completion)) => {
                    self.complete(io, now, key, Some(ticket), &completion);
                    if matches!(completion, Completion::Registered(_)) {
                        self.deliver_retained(io, now, key);
                    }
                    // It may have held back what it was sent until this.
                    if let Some(entry) = self.table.get_mut(key) {
                        io.resume(entry.conn);
                    }
                }
                Pending::End(key, ending) => self.end(io, now, key, ending),
                Pending::Rearm(key) => self.rearm(io, key),
                Pending::Resume(key) => {
                    if let Some(entry) = self.table.get_mut(key) {
                        io.resume(entry.conn);
                    }
                }
                Pending::Left(left, refused) => self.left_settled(now, left, refused),
            }
        }
    }
}
