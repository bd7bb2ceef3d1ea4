//! What has to outlive the daemon, turn by turn: what changed is gathered in a batch, and what may only be said once
//! the batch has been made to last waits for it.
//!
//! Invariant: batches are taken in the order of their numbers, and nothing that waits for one goes on before every
//! change up to it has been made to last.

use std::collections::{BTreeSet, VecDeque};

use super::Hub;
use super::io::Io;
use super::rows::{self, Receivers};
use super::table::{Entry, State};
use crate::journal::{Journal, Table};
use crate::limits;
use crate::route::{
    AddressKey, Completion, Delivery, Mark, PublishId, Qos, Returned, SessionKey, Share, Ticket,
};
use crate::session::Session;
use crate::time::Now;

/// What goes on once a batch has been made to last.
#[derive(Debug)]
enum Waiting {
    /// The acknowledgement of a message: the shard of its sender, and what it is called there.
    Publish(u16, PublishId),
    /// A session with something to send.
    Session(SessionKey),
    /// A session is to be told what came of something.
    Complete(SessionKey, Ticket, Completion),
    /// An address may be somebody else's: the session that had it has ended for good.
    Address(AddressKey),
    /// What a session left goes on to others, now that it is known to be left.
    Left(u64),
    /// A member of a group of this app gets a message, now that nothing else holds it.
    Give(SessionKey, Box<str>, Box<Returned>),
}

/// The batch that is being gathered, and what waits for it or an earlier one.
#[derive(Debug)]
pub(super) struct Batch {
    number: u64,
    pub(super) journal: Journal,
    /// Changes written down so far, in all batches.
    written: u64,
    /// Beyond so many bytes a batch that came back forgets what it overrides itself.
    compact_at: usize,
    /// What waits, with the batch it waits for.
    waiting: VecDeque<(u64, Waiting)>,
    /// Nothing new can be made to last just now.
    is_refused: bool,
    /// The message that is being delivered.
    marked: Option<Mark>,
    /// The sessions that have got it here for themselves, and the groups.
    receivers: Vec<u64>,
    groups: Vec<Box<[u8]>>,
    /// Who has had messages that may come again after the restart: session and exchange of the sender, receiver.
    had: BTreeSet<(u64, u16, u64)>,
    groups_had: BTreeSet<(u64, u16, Box<[u8]>)>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            number: 1,
            journal: Journal::new(),
            written: 0,
            compact_at: limits::JOURNAL_BYTES_MAX,
            waiting: VecDeque::new(),
            is_refused: false,
            marked: None,
            receivers: Vec::new(),
            groups: Vec::new(),
            had: BTreeSet::new(),
            groups_had: BTreeSet::new(),
        }
    }
}

impl Batch {
    /// Takes over what a session has written down. Whether that was anything.
    pub(super) fn drain<C, P: Session>(&mut self, key: SessionKey, entry: &mut Entry<C, P>) -> bool {
        if !entry.kept {
            return false;
        }
        let before = self.journal.len();
        let wrote = entry.session.drain_journal(self.number, &mut self.journal);
        self.note(before);
        if wrote {
            self.waiting.push_back((self.number, Waiting::Session(key)));
        }
        wrote
    }

    /// Writes something down.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut Journal)) {
        let before = self.journal.len();
        write(&mut self.journal);
        self.note(before);
    }

    fn note(&mut self, before: usize) {
        let more = self.journal.len().saturating_sub(before);
        self.written = self.written.wrapping_add(u64::try_from(more).unwrap_or(0));
    }

    /// Changes written down so far: two numbers that differ have something between them.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Has the acknowledgement of a message wait for this batch.
    pub(super) fn hold(&mut self, shard: u16, publish: PublishId) {
        self.waiting
            .push_back((self.number, Waiting::Publish(shard, publish)));
    }

    /// Has a session be told what came of something once this batch lasts.
    pub(super) fn complete(&mut self, key: SessionKey, ticket: Ticket, completion: Completion) {
        self.waiting
            .push_back((self.number, Waiting::Complete(key, ticket, completion)));
    }

    /// An address may be somebody else's once this batch lasts.
    pub(super) fn hold_address(&mut self, address: AddressKey) {
        self.waiting.push_back((self.number, Waiting::Address(address)));
    }

    /// What a session left goes on once this batch lasts.
    pub(super) fn leave(&mut self, number: u64) {
        self.waiting.push_back((self.number, Waiting::Left(number)));
    }

    /// Has a member of a group get a message once this batch lasts.
    pub(super) fn give(&mut self, to: SessionKey, app: &str, message: Returned) {
        let give = Waiting::Give(to, app.into(), Box::new(message));
        self.waiting.push_back((self.number, give));
    }

    /// What is delivered from now on is the message of a mark.
    pub(super) fn mark(&mut self, mark: Mark) {
        self.unmark();
        self.marked = Some(mark);
    }

    /// A session has got what is being delivered, and wrote it down.
    pub(super) fn note_receiver(&mut self, number: u64) {
        if self.marked.is_some() {
            self.receivers.push(number);
        }
    }

    /// The same of a group, see [`rows::group`].
    pub(super) fn note_group(&mut self, app: &str, share: &Share<'_>) {
        if self.marked.is_some() {
            self.groups.push(rows::group(app, share));
        }
    }

    /// The message of a mark has been delivered: who has got it is written down.
    pub(super) fn marked(&mut self) {
        let Some(mark) = self.marked.take() else { return };
        let (receivers, groups) = (
            std::mem::take(&mut self.receivers),
            std::mem::take(&mut self.groups),
        );
        self.write(|journal| {
            if let Some((key, value)) = rows::receivers(mark, &receivers) {
                journal.put(Table::Inbound, &key, &value);
            }
            for group in &groups {
                journal.put(Table::Inbound, &rows::group_key(mark, group), &[]);
            }
        });
        self.receivers = receivers;
        self.unmark();
    }

    /// The same, but nobody has to know who.
    pub(super) fn unmark(&mut self) {
        self.marked = None;
        self.receivers.clear();
        self.groups.clear();
    }

    /// Whether a session has had what is being delivered before the restart.
    pub(super) fn has_had(&self, number: u64) -> bool {
        self.marked.is_some_and(|mark| self.has(mark, number))
    }

    /// Whether the message of a mark has been retained before the restart.
    pub(super) fn has_been_retained(&self, mark: Mark) -> bool {
        self.has(mark, rows::RETAINED)
    }

    fn has(&self, mark: Mark, number: u64) -> bool {
        mark.again && self.had.contains(&(mark.session.get(), mark.exchange, number))
    }

    /// Whether a group has had the message of a mark before the restart.
    pub(super) fn has_group_had(&self, mark: Mark, app: &str, share: &Share<'_>) -> bool {
        mark.again
            && self
                .groups_had
                .contains(&(mark.session.get(), mark.exchange, rows::group(app, share)))
    }

    /// Somebody has had the message of an exchange before the restart.
    pub(super) fn restore_received(&mut self, session: u64, exchange: u16, receivers: Receivers) {
        match receivers {
            Receivers::Sessions(numbers) => {
                let had = numbers.into_iter().map(|number| (session, exchange, number));
                self.had.extend(had);
            }
            Receivers::Group(group) => drop(self.groups_had.insert((session, exchange, group))),
        }
    }

    /// Whether nothing new can be made to last just now.
    pub(super) fn is_full(&self) -> bool {
        self.is_refused || self.journal.len_bytes() > limits::JOURNAL_BYTES_MAX
    }

    /// Whether a message has to be refused because it could not be made to last.
    pub(super) fn refuses(&self, delivery: &Delivery<'_>) -> bool {
        self.is_full()
            && matches!(delivery, Delivery::Channel { message, options, .. }
                if message.qos.min(options.qos) != Qos::AtMostOnce)
    }
}

impl<C: Copy + PartialEq + std::fmt::Debug, S: Clone, P: Session> Hub<C, S, P> {
    /// What has gathered since the last call, with the number of the batch; nothing if nothing changed.
    pub fn take_batch(&mut self) -> Option<(u64, Journal)> {
        if self.batch.journal.is_empty() {
            return None;
        }
        let number = self.batch.number;
        self.batch.number += 1;
        let empty = self.spare_journals.pop().unwrap_or_default();
        Some((number, std::mem::replace(&mut self.batch.journal, empty)))
    }

    /// Takes back the batch that was taken last, for which there is no room: more is added to it.
    pub fn keep_batch(&mut self, number: u64, mut journal: Journal) {
        debug_assert_eq!(number + 1, self.batch.number, "only the latest comes back");
        journal.append(&mut self.batch.journal);
        if journal.len_bytes() > self.batch.compact_at {
            // Sessions that come and go write themselves down each time, for as long as there is no room.
            journal.compact();
            self.batch.compact_at = limits::JOURNAL_BYTES_MAX.max(2 * journal.len_bytes());
        }
        self.batch.journal = journal;
        self.batch.number = number;
    }

    /// An emptied journal, to be filled again.
    pub fn recycle_journal(&mut self, mut journal: Journal) {
        if self.spare_journals.len() < limits::SPARE_JOURNALS_MAX {
            journal.clear();
            self.spare_journals.push(journal);
        }
    }

    /// Whether nothing new can be made to last just now.
    pub fn refuse_durable(&mut self, refused: bool) {
        self.batch.is_refused = refused;
    }

    /// All batches up to this one have been made to last: what waited for them goes on.
    pub fn committed<I>(&mut self, io: &mut I, now: Now, batch: u64)
    where
        I: Io<Conn = C, Shared = S>,
    {
        while self
            .batch
            .waiting
            .front()
            .is_some_and(|(number, _)| *number <= batch)
        {
            match self.batch.waiting.pop_front() {
                Some((_, Waiting::Publish(shard, publish))) => {
                    self.route(io, now, |router, port| router.publish_lasts(port, shard, publish));
                }
                Some((_, Waiting::Session(key))) => self.session_committed(io, now, key, batch),
                Some((_, Waiting::Complete(key, ticket, completion))) => {
                    self.registered(io, now, key, ticket, completion);
                }
                Some((_, Waiting::Address(address))) => {
                    self.route(io, now, |router, port| router.ended_lasts(port, address));
                }
                Some((_, Waiting::Left(number))) => self.left_lasts(io, now, number),
                Some((_, Waiting::Give(to, app, message))) => {
                    self.route(io, now, |router, port| {
                        router.give_chosen(now, port, to, &app, &message);
                    });
                }
                None => {}
            }
        }
        self.settle(io, now);
    }

    fn session_committed<I>(&mut self, io: &mut I, now: Now, key: SessionKey, batch: u64)
    where
        I: Io<Conn = C, Shared = S>,
    {
        let Some(entry) = self.table.get_mut(key) else {
            return;
        };
        // One whose connection is closing is offline in a moment.
        if entry.state != State::Attached {
            return entry.session.settled(batch);
        }
        match io.output(entry.conn) {
            Some(mut out) => entry.session.committed(now, batch, &mut out),
            None => return entry.session.settled(batch),
        }
        self.batch.drain(key, entry);
        self.rearm(io, key);
    }
}
