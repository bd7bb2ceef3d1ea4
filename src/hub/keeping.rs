//! Sessions that outlive their connections: how one loses its connection, waits, and is taken up again.
//!
//! Invariants: a session that may outlive its connection is attached on the home shard of its address, whichever
//! shard the connection came to; while it waits it keeps its slot, and whoever comes back gets that slot's name. A
//! connection that outlives its session is closed under a slot of its own.

use std::time::Duration;

use super::Hub;
use super::io::Io;
use super::rows::{self};
use super::table::{Entry, State};
use crate::journal::Table;
use crate::limits;
use crate::route::{
    ChannelMessage, Grants, Identity, Qos, Refusal, Registration, Returned, SessionKey, Unregistration,
};
use crate::session::{Due, Ending, Session, Will};
use crate::time::Now;

/// What becomes of a session whose connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on if it may.
    Keep,
    /// It goes on with another connection at once.
    PassOn,
    /// It ends.
    Discard,
}

/// Where a session that may outlive its connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// On another shard.
    Elsewhere(u16),
    /// Here, where an earlier one stopped.
    Here(SessionKey),
    /// Here, anew.
    New,
    /// Not at all: there are too many, or nothing new can be made to last just now.
    TooMany,
}

/// A will as it is published now.
pub(super) fn will_message(now: Now, will: &Will) -> ChannelMessage<'_> {
    ChannelMessage {
        channel: &will.channel,
        payload: &will.payload,
        attributes: &will.attributes,
        qos: will.qos,
        retain: will.retain,
        expires: will.expiry_s.map(|s| now.instant + Duration::from_secs(s.into())),
    }
}

/// The first number of a session on a shard that is above `last`: numbers never repeat among shards.
pub(super) fn first_number(shard: u16, last: u64) -> u64 {
    let step = limits::SHARDS_MAX as u64;
    (last / step + 1) * step + u64::from(shard)
}

impl<C: Copy + PartialEq + std::fmt::Debug, S: Clone, P: Session> Hub<C, S, P> {
    /// Where the session of a proven login begins. An earlier one that is not to go on ends here.
    pub(super) fn find_kept<I>(&mut self, io: &mut I, now: Now, identity: &Identity, fresh: bool) -> Kept
    where
        I: Io<Conn = C, Shared = S>,
    {
        let home = self.router.home(identity);
        if home != self.shard {
            return Kept::Elsewhere(home);
        }
        let Some(holder) = self.router.holder(identity) else {
            return self.new_if_allowed(identity);
        };
        let is_kept =
            |entry: &mut Entry<C, P>| entry.kept && matches!(entry.state, State::Attached | State::Offline);
        if !self.table.get_mut(holder).is_some_and(is_kept) {
            return self.new_if_allowed(identity);
        }
        // Its time may be up, or that of its will; after a restart its client may be faster than its timer.
        self.follow_due(io, now, holder);
        if self.table.get_mut(holder).is_none() {
            return self.new_if_allowed(identity);
        }
        if fresh && self.batch.is_full() {
            // What is there stays: nothing could take its place.
            return Kept::TooMany;
        }
        let fate = if fresh { Fate::Discard } else { Fate::Keep };
        self.end_as(io, now, holder, Ending::TakenOver, fate);
        let is_offline = |entry: &mut Entry<C, P>| entry.state == State::Offline;
        if self.table.get_mut(holder).is_some_and(is_offline) {
            return Kept::Here(holder);
        }
        self.new_if_allowed(identity)
    }

    fn new_if_allowed(&self, identity: &Identity) -> Kept {
        if self.router.may_keep(identity) && !self.batch.is_full() {
            Kept::New
        } else {
            Kept::TooMany
        }
    }

    /// Gives a session its number among those that are kept.
    pub(super) fn begin_keeping(&mut self, key: SessionKey, identity: &Identity) {
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        entry.kept = true;
        entry.session.keep_as(self.next_number);
        self.take_number();
        self.router.tell_keeping();
        self.router.count_kept(identity, true);
    }

    /// A number that nothing stored has.
    pub(super) const fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += limits::SHARDS_MAX as u64;
        number
    }

    /// Takes up an earlier session with the connection of a newcomer, whose slot is given up.
    pub(super) fn go_on<I>(
        &mut self,
        io: &mut I,
        now: Now,
        newcomer: SessionKey,
        key: SessionKey,
        grants: Grants,
    ) where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(mut newcomer) = self.table.remove(newcomer) else {
            return;
        };
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        let expiry = entry.prelogin.take().and_then(|prelogin| prelogin.expiry);
        let timers = newcomer.timer.take().into_iter().chain(entry.timer.take());
        for timer in timers.chain(expiry) {
            io.cancel(timer);
        }
        newcomer.session.inherit(&mut entry.session);
        entry.session = newcomer.session;
        entry.conn = newcomer.conn;
        entry.prelogin = newcomer.prelogin;
        io.retag(entry.conn, key.slot);
        self.metrics.sessions_resumed.increment();
        self.limit(io, now, key, &grants);
        self.route(io, now, |router, _| router.resume(now, key, grants));
        if let Some(entry) = self.table.get_mut(key) {
            entry.state = State::Claiming;
        }
        self.attach(io, now, key);
    }

    /// Takes a session out of the router, once, and publishes its will if that is not to wait; or, if it may go on
    /// without its connection, leaves it there. What remains of the connection is in the slot that is returned.
    pub(super) fn part<I>(&mut self, io: &mut I, now: Now, key: SessionKey, fate: Fate) -> SessionKey
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.give_back(key);
        let suspends = self.suspends(key, fate);
        let Some(entry) = self
            .table
            .get_mut(key)
            .filter(|entry| entry.state != State::Closing)
        else {
            return key;
        };
        let state = std::mem::replace(&mut entry.state, State::Closing);
        if let Some(timer) = entry.timer.take() {
            io.cancel(timer);
        }
        if let Some(prelogin) = entry.prelogin.take() {
            self.pooled_bytes -= prelogin.pooled;
            if suspends {
                // It ends with its client's proof still.
                entry.prelogin = prelogin.expiry.is_some().then_some(prelogin);
            } else if let Some(expiry) = prelogin.expiry {
                io.cancel(expiry);
            }
        }
        match state {
            State::Attached => {
                self.metrics.connected(entry.session.protocol(), false);
                if (suspends || (fate == Fate::Keep && entry.kept))
                    && let Some(offline) = entry.session.detach(now)
                {
                    return self.go_offline(io, now, key, offline);
                }
            }
            State::Offline if !entry.kept => self.count_suspended(key, false),
            State::Claiming | State::Offline => {}
            State::Opening | State::LoggingIn | State::Moving | State::Closing => return key,
        }
        self.leave_ended(io, now, key, state);
        key
    }

    /// A session that was in this `state` has ended: it leaves the router, and what it had goes to others.
    fn leave_ended<I>(&mut self, io: &mut I, now: Now, key: SessionKey, state: State)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        let left_behind = entry.session.leave_behind(now);
        let will = match state {
            State::Attached | State::Offline => entry.session.take_will(),
            _ => None,
        };
        let returned = entry.session.give_back(now);
        let number = if entry.kept { entry.session.number() } else { 0 };
        self.batch.drain(key, entry);
        let was_kept = std::mem::take(&mut entry.kept);
        let is_stored = |message: &Returned| was_kept && message.seq.is_some();
        let (stored, returned): (Vec<_>, Vec<_>) = returned.into_iter().partition(is_stored);
        if stored.is_empty() {
            self.forget(number);
        } else {
            self.leave(now, key, stored);
        }
        let identity = (was_kept || will.is_some() || !returned.is_empty())
            .then(|| self.router.identity(key).cloned())
            .flatten();
        if let Some(identity) = identity.as_ref().filter(|_| was_kept) {
            self.router.count_kept(identity, false);
        }
        if let Some(left) = left_behind {
            self.router.leave_behind(now, key, left);
        }
        // One that was not attached is not on the disk.
        self.leave_router(io, now, key, was_kept && state != State::Claiming);
        if let Some(identity) = &identity {
            for message in &returned {
                self.route(io, now, |router, port| {
                    router.take_back(now, port, identity.sender().app(), message, None);
                });
            }
        }
        self.publish_will(io, now, identity, will, was_kept);
    }

    fn leave_router<I>(&mut self, io: &mut I, now: Now, key: SessionKey, was_stored: bool)
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.route(io, now, |router, port| {
            if was_stored {
                router.leave_for_good(now, port, key);
            } else {
                router.leave(now, port, key);
            }
        });
    }

    /// A session goes on without its connection, which is closed under a slot of its own.
    fn go_offline<I>(&mut self, io: &mut I, now: Now, key: SessionKey, offline: P) -> SessionKey
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(entry) = self.table.get_mut(key) else {
            return key;
        };
        let mut shell = std::mem::replace(&mut entry.session, offline);
        entry.state = State::Offline;
        let is_kept = entry.kept;
        let (conn, will) = (std::mem::replace(&mut entry.conn, I::NOWHERE), shell.take_will());
        self.batch.drain(key, entry);
        let remains = self.table.insert(Entry::new(shell, conn, State::Closing));
        if let Some(remains) = remains {
            io.retag(conn, remains.slot);
        }
        let identity = will
            .is_some()
            .then(|| self.router.identity(key).cloned())
            .flatten();
        if !is_kept {
            self.count_suspended(key, true);
        }
        self.route(io, now, |router, port| router.suspend(now, port, key, is_kept));
        self.publish_will(io, now, identity, will, true);
        self.write_down(now, key);
        self.rearm(io, key);
        remains.unwrap_or(key)
    }

    /// Publishes a will; one of a session that is `kept` once it lasts that it is to be published.
    fn publish_will<I>(
        &mut self,
        io: &mut I,
        now: Now,
        identity: Option<Identity>,
        will: Option<Box<Will>>,
        kept: bool,
    ) where
        I: Io<Conn = C, Shared = S>,
    {
        let (Some(identity), Some(will)) = (identity, will) else {
            return;
        };
        if kept && (will.qos != Qos::AtMostOnce || will.retain) && !self.batch.is_full() {
            return self.leave_will(identity, will);
        }
        self.route(io, now, |router, port| {
            // Nobody is left to be told of a refusal; the router has counted it.
            let _ = router.publish_will(now, port, &identity, &will_message(now, &will));
        });
    }

    /// Something is due of a session without a connection.
    pub(super) fn offline_timer<I>(&mut self, io: &mut I, now: Now, key: SessionKey)
    where
        I: Io<Conn = C, Shared = S>,
    {
        // While the daemon stops the other shards may be gone in a moment: it is due still when the daemon is back.
        if self.draining || self.waits_for_restore(key) {
            return;
        }
        self.follow_due(io, now, key);
        self.settle(io, now);
    }

    /// What is due by now of a session without a connection happens; of one that has its connection nothing is.
    pub(super) fn follow_due<I>(&mut self, io: &mut I, now: Now, key: SessionKey)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let due = self.table.get_mut(key).and_then(|entry| entry.session.due(now));
        match due {
            Some(Due::Will(will)) => {
                let identity = self.router.identity(key).cloned();
                self.publish_will(io, now, identity, Some(will), true);
                self.write_down(now, key);
                self.rearm(io, key);
            }
            Some(Due::End) => {
                self.metrics.sessions_expired.increment();
                if self.table.get_mut(key).is_some_and(|entry| !entry.kept) {
                    self.metrics.xmpp_resume_expired.increment();
                }
                self.part(io, now, key, Fate::Discard);
                self.table.remove(key);
            }
            None => self.rearm(io, key),
        }
    }

    /// Writes down a session that is kept, as it is now.
    pub(super) fn write_down(&mut self, now: Now, key: SessionKey) {
        let Some(entry) = self.table.get_mut(key).filter(|entry| entry.kept) else {
            return;
        };
        let Some(identity) = self.router.identity(key) else {
            return;
        };
        let (session, address) = (&entry.session, identity.sender().address());
        self.batch.write(|journal| {
            let key = session.number().to_be_bytes();
            journal.put_with(Table::Sessions, &key, |value| {
                rows::put_session(value, rows::Kind::Session, address);
                session.describe(now, value);
            });
        });
    }

    /// Writes down what a session has registered. What it decided itself is part of its own description. Whether there
    /// was anything.
    pub(super) fn write_registered(
        &mut self,
        now: Now,
        key: SessionKey,
        wanted: &[Registration<'_>],
        results: &[Result<Qos, Refusal>],
    ) -> bool {
        let Some(entry) = self.table.get_mut(key).filter(|entry| entry.kept) else {
            return false;
        };
        let before = self.batch.written();
        let number = entry.session.number();
        let granted = wanted.iter().zip(results).filter(|(_, result)| result.is_ok());
        let mut decided = false;
        for (registration, _) in granted {
            match rows::key(number, registration) {
                Some(key) => self.batch.write(|journal| {
                    journal.put(Table::Registrations, &key, &rows::value(registration));
                }),
                None => decided = true,
            }
        }
        if decided {
            self.write_down(now, key);
        }
        self.batch.written() != before
    }

    /// Writes down what a session has ended. Whether there was anything.
    pub(super) fn write_unregistered(
        &mut self,
        key: SessionKey,
        ended: &[Unregistration<'_>],
        results: &[Result<bool, Refusal>],
    ) -> bool {
        let Some(entry) = self.table.get_mut(key).filter(|entry| entry.kept) else {
            return false;
        };
        let before = self.batch.written();
        let number = entry.session.number();
        let gone = ended
            .iter()
            .zip(results)
            .filter(|(_, result)| **result == Ok(true));
        for key in gone.filter_map(|(one, _)| rows::key_of_ended(number, one)) {
            self.batch
                .write(|journal| journal.delete(Table::Registrations, &key));
        }
        self.batch.written() != before
    }

    /// Writes down that a session is over: nothing is stored under its number any more.
    pub fn forget(&mut self, number: u64) {
        if number == 0 {
            return;
        }
        self.batch.write(|journal| {
            let key = number.to_be_bytes();
            journal.delete(Table::Sessions, &key);
            for table in [Table::Registrations, Table::Outbound, Table::Inbound] {
                journal.delete_all(table, &key);
            }
        });
    }
}
