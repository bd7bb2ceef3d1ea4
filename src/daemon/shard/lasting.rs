//! What outlives the daemon, on one shard: taken in at the start, handed to the storage thread from then on.

use std::sync::Arc;

use shards::Plane;

use super::io::ShardIo;
use super::{Shard, now};
use crate::codec::mqtt::packet::PacketId;
use crate::daemon::restore::{Portion, StoredSession};
use crate::route::Parcel;
use crate::session::any::AnySession;
use crate::session::{Passwords, Starts, mqtt};

/// How far the taking in of what was kept over a restart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restored {
    /// Under way.
    Under,
    /// Done; the other shards are not told everything yet.
    Telling,
    /// Done and told.
    Told,
}

impl Shard {
    /// Takes in what was kept over a restart.
    pub(super) fn restore(&mut self, plane: &mut Plane<Parcel>) {
        let Some(found) = self.found.clone() else { return };
        while let Some(portion) = found.take(plane.shard()) {
            match portion {
                Portion::Retained(messages) => {
                    for message in messages.iter() {
                        self.hub.restore_retained(Arc::clone(message));
                    }
                }
                Portion::Sessions(sessions) => self.restore_sessions(plane, found.starts(), sessions),
                Portion::Received(rows) => {
                    for (number, (key, value)) in rows.iter() {
                        if !self.hub.restore_received(*number, key, value) {
                            tracing::warn!("a row of who had got a message could not be read");
                        }
                    }
                }
                Portion::Orphans(numbers) => numbers.into_iter().for_each(|number| self.hub.forget(number)),
                Portion::End { last_number } => {
                    if let Some(starts) = found.starts().filter(|_| plane.shard() == 0) {
                        self.hub.write_starts(starts);
                    }
                    self.hub.numbered_up_to(last_number);
                    self.restored = Restored::Telling;
                }
            }
        }
        if found.is_taken() {
            let now = now(plane);
            let mut io = ShardIo {
                plane,
                links: &self.links,
            };
            self.hub.restored(&mut io, now);
            self.accept_when_restored(plane);
        }
    }

    /// Begins to accept connections as soon as all shards know all that was kept.
    pub(super) fn accept_when_restored(&mut self, plane: &mut Plane<Parcel>) {
        if self.found.is_some() && self.hub.is_restored() {
            self.found = None;
            plane.release_accepts();
        }
    }

    fn restore_sessions(
        &mut self,
        plane: &mut Plane<Parcel>,
        starts: Option<&Starts>,
        sessions: Vec<StoredSession>,
    ) {
        let none = Starts::default();
        let starts = starts.unwrap_or(&none);
        let (now, opening) = (now(plane), self.opening(Passwords::Refused));
        let mut io = ShardIo {
            plane,
            links: &self.links,
        };
        let (mut lost, mut damaged) = (0, 0);
        for session in sessions {
            let rows = session.outbound.iter().map(|(seq, row)| (*seq, &**row));
            let ids = session.inbound.iter();
            let ids = ids.filter_map(|(id, spread)| Some((PacketId::new(*id)?, *spread)));
            let (messages, unread) = mqtt::MessageState::restore(session.stored.number, now, rows, ids);
            damaged += unread;
            let revive = |described: &[u8]| AnySession::restored(&opening, now, starts, described, messages);
            match self.hub.restore(&mut io, now, &session.stored, revive) {
                Some(unread) => damaged += unread,
                None => lost += 1,
            }
        }
        if lost + damaged > 0 {
            tracing::warn!(
                sessions = lost,
                rows = damaged,
                "what could not be read was left out"
            );
        }
    }

    /// Tells that everything has been taken in, once the other shards have what follows for them.
    pub(super) fn tell_restored(&mut self) {
        if self.restored == Restored::Telling
            && let Some(found) = &self.found
        {
            self.restored = Restored::Told;
            found.taken();
        }
    }

    /// Hands what changed to the storage thread. Without one it lasts as long as the daemon, from now on.
    pub(super) fn store(&mut self, plane: &mut Plane<Parcel>) {
        let Some((number, journal)) = self.hub.take_batch() else {
            return;
        };
        let Some(storage) = &self.storage else {
            self.hub.recycle_journal(journal);
            return self.stored(plane, number);
        };
        while let Some(emptied) = storage.spare(plane.shard()) {
            self.hub.recycle_journal(emptied);
        }
        if let Err(journal) = storage.submit(plane.shard(), number, journal) {
            self.hub.keep_batch(number, journal);
            self.has_more = true;
        }
    }

    /// All batches up to this one last.
    fn stored(&mut self, plane: &mut Plane<Parcel>, batch: u64) {
        let now = now(plane);
        let mut io = ShardIo {
            plane,
            links: &self.links,
        };
        self.hub.committed(&mut io, now, batch);
    }

    /// Sees whether anything new can be stored: as soon as it cannot, what would have to wait for room is refused.
    pub(super) fn heed_refusal(&mut self) {
        if let Some(storage) = &self.storage {
            self.hub.refuse_durable(storage.is_refusing());
        }
    }

    pub(super) fn hear_from_storage(&mut self, plane: &mut Plane<Parcel>) {
        self.heed_refusal();
        let Some(storage) = &self.storage else { return };
        let batch = storage.committed(plane.shard());
        self.stored(plane, batch);
    }
}
