//! What sessions leave that has to reach somebody else, over crashes too: messages that an ended session had as a member
//! of a group, and wills.
//!
//! Invariants: a message stays stored where it was until it is stored where it went, and both change in one batch; nobody
//! is offered it before it lasts that it was left, so that a session that ended is not there again after a crash, with
//! what others have, and no will is published twice under two numbers. What is left over a restart waits until all shards know all members.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Hub;
use super::io::Io;
use super::keeping::will_message;
use super::restoring::identity;
use super::rows::{self, Kind};
use super::table::{Entry, State};
use crate::journal::Table;
use crate::limits;
use crate::observe::{DropReason, Stage};
use crate::route::{Identity, LeftId, Returned, SessionKey};
use crate::session::rows::Cursor;
use crate::session::{Session, Will};
use crate::time::{Instant, Now};

/// What sessions of this shard left and nobody else has yet.
#[derive(Debug, Default)]
pub(super) struct LeftBehind {
    /// By the number of the session.
    estates: BTreeMap<u64, Estate>,
    /// Wills, by numbers of their own; each is there until nobody has to be given it any more.
    wills: BTreeMap<u64, (Identity, Box<Will>)>,
    /// What could not be stored anywhere, and when it is tried again.
    again: VecDeque<(Instant, LeftId)>,
    /// Whether other shards may still take in what was kept over a restart.
    is_restoring: bool,
    /// Sessions without a connection of which something was due meanwhile.
    due: Vec<SessionKey>,
}

/// What one session left.
#[derive(Debug)]
struct Estate {
    app: Box<str>,
    /// By their numbers; one that is being offered is there until it is in other hands.
    messages: BTreeMap<u64, Returned>,
}

impl<C: Copy + PartialEq + std::fmt::Debug, S: Clone, P: Session> Hub<C, S, P> {
    /// Writes down that a session has ended and what it left, which goes on once that lasts. Those of its messages that
    /// others may have stay where they are.
    pub(super) fn leave(&mut self, now: Now, key: SessionKey, messages: Vec<Returned>) {
        let (Some(entry), Some(identity)) = (self.table.get_mut(key), self.router.identity(key)) else {
            return;
        };
        let (session, sender) = (&entry.session, identity.sender());
        let number = session.number();
        self.batch.write(|journal| {
            let key = number.to_be_bytes();
            journal.put_with(Table::Sessions, &key, |row| {
                rows::put_session(row, Kind::Ended, sender.address());
                session.describe(now, row);
            });
            for table in [Table::Registrations, Table::Inbound] {
                journal.delete_all(table, &key);
            }
        });
        self.batch.leave(number);
        self.left.keep(number, sender.app(), messages);
    }

    /// Writes down that a will is to be published, which happens once that lasts.
    pub(super) fn leave_will(&mut self, identity: Identity, will: Box<Will>) {
        let number = self.take_number();
        self.batch.write(|journal| {
            journal.put_with(Table::Sessions, &number.to_be_bytes(), |row| {
                rows::put_session(row, Kind::Will, identity.sender().address());
                will.append_to(row);
            });
        });
        self.batch.leave(number);
        self.left.wills.insert(number, (identity, will));
    }

    /// It lasts that a session has ended: what it left is offered to others.
    pub(super) fn left_lasts<I>(&mut self, io: &mut I, now: Now, number: u64)
    where
        I: Io<Conn = C, Shared = S>,
    {
        // What is left when the daemon stops goes on when it comes back.
        if self.draining {
            return;
        }
        if let Some((identity, will)) = self.left.wills.get(&number) {
            let (identity, will) = (identity.clone(), will.clone());
            return self.route(io, now, |router, port| {
                let left = LeftId { number, seq: 0 };
                router.publish_left(now, port, &identity, &will_message(now, &will), left);
            });
        }
        let Some(estate) = self.left.estates.get(&number) else {
            return;
        };
        let all: Vec<LeftId> = estate
            .messages
            .keys()
            .map(|&seq| LeftId { number, seq })
            .collect();
        for left in all {
            self.offer(io, now, left);
        }
    }

    fn offer<I>(&mut self, io: &mut I, now: Now, left: LeftId)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(estate) = self.left.estates.get_mut(&left.number) else {
            return;
        };
        let Some(message) = estate.messages.remove(&left.seq) else {
            return;
        };
        let app = estate.app.clone();
        self.route(io, now, |router, port| {
            router.take_back(now, port, &app, &message, Some(left));
        });
        if let Some(estate) = self.left.estates.get_mut(&left.number) {
            estate.messages.insert(left.seq, message);
        }
    }

    /// What a session left is in other hands, or nobody is to have it; if it is refused, it is offered again later.
    pub(super) fn left_settled(&mut self, now: Now, left: LeftId, refused: bool) {
        // Nobody is left to be told of a refusal; the router has counted it.
        if self.left.wills.remove(&left.number).is_some() {
            return self.forget(left.number);
        }
        if refused && self.left.again.len() < limits::LEFT_AGAIN_MAX {
            let wait = Duration::from_millis(limits::LEFT_AGAIN_MS);
            return self.left.again.push_back((now.instant + wait, left));
        }
        if refused {
            self.metrics.dropped(Stage::Channel, DropReason::NotStored);
        }
        let Some(estate) = self.left.estates.get_mut(&left.number) else {
            return;
        };
        estate.messages.remove(&left.seq);
        if estate.messages.is_empty() {
            self.left.estates.remove(&left.number);
            self.forget(left.number);
        }
    }

    /// Offers again what was refused.
    pub(super) fn offer_again<I>(&mut self, io: &mut I, now: Now)
    where
        I: Io<Conn = C, Shared = S>,
    {
        for _ in 0..limits::LEFT_AGAIN_PER_TICK {
            let Some((_, left)) = self.left.again.pop_front_if(|(at, _)| *at <= now.instant) else {
                return;
            };
            if self.draining {
                return;
            }
            self.offer(io, now, left);
        }
    }

    /// Takes in a session that had ended when the daemon did, and what it left.
    /// Whether it could be read.
    pub(super) fn restore_left(&mut self, now: Now, number: u64, address: &str, session: Option<P>) -> bool {
        let (Some(identity), Some(mut session)) = (identity(address), session) else {
            return false;
        };
        let messages = session.give_back(now);
        if messages.is_empty() {
            self.forget(number);
        } else {
            self.left.keep(number, identity.sender().app(), messages);
        }
        true
    }

    /// Takes in a will that was on its way. Whether it could be read.
    pub(super) fn restore_will(&mut self, number: u64, address: &str, row: &[u8]) -> bool {
        let (Some(identity), Some(will)) = (identity(address), Will::read(&mut Cursor(row))) else {
            return false;
        };
        self.left.wills.insert(number, (identity, Box::new(will)));
        true
    }

    /// From now on nothing that is due of sessions without a connection happens before [`Self::restored`].
    pub(super) fn restoring(&mut self) {
        self.left.is_restoring = true;
    }

    /// This shard has taken in all that was kept over a restart. What was left and what has become due goes on as soon as
    /// all shards have, and know of each other: see [`Self::is_restored`].
    pub fn restored<I>(&mut self, io: &mut I, now: Now)
    where
        I: Io<Conn = C, Shared = S>,
    {
        self.router.restored();
        self.go_on_restored(io, now);
    }

    /// Whether all shards have taken in what was kept, and each knows what the others told it of that.
    pub fn is_restored(&self) -> bool {
        self.router.is_restored()
    }

    /// Goes on with what has waited for that, if it is so.
    pub(super) fn go_on_restored<I>(&mut self, io: &mut I, now: Now)
    where
        I: Io<Conn = C, Shared = S>,
    {
        if !self.left.is_restoring || !self.router.is_restored() {
            return;
        }
        self.left.is_restoring = false;
        for key in std::mem::take(&mut self.left.due) {
            let is_offline = |entry: &mut Entry<C, P>| entry.state == State::Offline;
            if self.table.get_mut(key).is_some_and(is_offline) {
                self.offline_timer(io, now, key);
            }
        }
        let left = self.left.estates.keys().chain(self.left.wills.keys());
        let left: Vec<u64> = left.copied().collect();
        for number in left {
            self.left_lasts(io, now, number);
        }
        self.settle(io, now);
    }

    /// Whether what is due of a session has to wait until all have been taken in; then it is looked at again.
    pub(super) fn waits_for_restore(&mut self, key: SessionKey) -> bool {
        if self.left.is_restoring {
            self.left.due.push(key);
        }
        self.left.is_restoring
    }
}

impl LeftBehind {
    fn keep(&mut self, number: u64, app: &str, messages: Vec<Returned>) {
        let numbered = |message: Returned| Some((message.seq?, message));
        self.estates.insert(
            number,
            Estate {
                app: app.into(),
                messages: messages.into_iter().filter_map(numbered).collect(),
            },
        );
    }
}
