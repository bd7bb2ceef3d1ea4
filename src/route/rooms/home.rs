//! All occupants of the rooms that are at home here.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;

use super::occupant::{ByAddress, Occupant, RoomNews};
use crate::route::message::SessionId;

/// What shards are to be told, in order.
pub(super) type Dispatches = Vec<(u16, RoomNews)>;

/// The rooms at home on this shard.
#[derive(Debug)]
pub(crate) struct Homes {
    rooms: HashTable<Room>,
    state: RandomState,
    /// Occupants of all of them.
    occupants: usize,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Room {
    hash: u64,
    name: Arc<str>,
    occupants: HashMap<ByAddress, Place, RandomState>,
    /// Occupants on each shard that has any.
    shards: Vec<(u16, u32)>,
    /// Occupants that are shown.
    listed: usize,
}

/// Where an occupant is.
#[derive(Clone, Copy, Debug)]
struct Place {
    session: SessionId,
    /// It is shown.
    listed: bool,
}

/// Somebody who enters.
#[derive(Clone, Debug)]
pub(super) struct Entering {
    pub(super) session: SessionId,
    pub(super) occupant: Arc<Occupant>,
    /// It is to be shown the others and answered; else it only has another note.
    pub(super) list: bool,
}

/// How somebody is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// As it is to be.
    Whole,
    /// Without its note, for which there is no room.
    WithoutNote,
    /// On no list, for there is no room.
    Unlisted,
}

impl Homes {
    pub(crate) const fn new(state: RandomState, bytes_max: usize) -> Self {
        Self {
            rooms: HashTable::new(),
            state,
            occupants: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// Occupants of all rooms at home here.
    pub(super) const fn occupants(&self) -> usize {
        self.occupants
    }

    /// Somebody enters, or has another note. False: there is no room for it here, so that nobody is shown it.
    pub(super) fn enter(
        &mut self,
        (hash, name): (u64, &Arc<str>),
        mut entering: Entering,
        max: usize,
        news: &mut Dispatches,
    ) -> Entered {
        let (session, list) = (entering.session, entering.list);
        let earlier = self
            .find(hash, name)
            .and_then(|room| room.occupants.get_key_value(entering.occupant.address()))
            .map(|(earlier, _)| earlier.0.bytes());
        let is_known = earlier.is_some();
        if !is_known && !list {
            return Entered::Whole;
        }
        let mut entered = Entered::Whole;
        let freed = earlier.map_or(0, |bytes| bytes + name.len());
        let has_room = |bytes: usize| self.bytes - freed + bytes <= self.bytes_max;
        if !has_room(entering.occupant.bytes() + name.len()) {
            if !is_known {
                news.push((session.shard, RoomNews::Entered(session.key)));
                return Entered::Unlisted;
            }
            // It is no more without one than it was before. What it showed earlier may not be so any more.
            entering.occupant = Arc::new(entering.occupant.without_note());
            entered = Entered::WithoutNote;
        }
        let bytes = entering.occupant.bytes() + name.len();
        let state = self.state.clone();
        let entry = self
            .rooms
            .entry(hash, |room| *room.name == **name, |room: &Room| room.hash);
        let mut entry = entry.or_insert_with(|| Room {
            hash,
            name: Arc::clone(name),
            occupants: HashMap::with_hasher(state),
            shards: Vec::new(),
            listed: 0,
        });
        self.occupants += usize::from(!is_known);
        self.bytes += bytes;
        self.bytes -= entry.get_mut().enter(entering, max, news);
        entered
    }

    /// Somebody leaves.
    pub(super) fn leave(
        &mut self,
        (hash, name): (u64, &str),
        session: SessionId,
        address: &str,
        max: usize,
        news: &mut Dispatches,
    ) {
        let Ok(mut entry) = self.rooms.find_entry(hash, |room| *room.name == *name) else {
            return;
        };
        let room = entry.get_mut();
        let Some(occupant) = room.leave(session, address, news) else {
            return;
        };
        self.occupants -= 1;
        self.bytes -= occupant.bytes() + name.len();
        if room.occupants.is_empty() {
            entry.remove();
        } else {
            room.show_all(max, news);
        }
    }

    fn find(&self, hash: u64, name: &str) -> Option<&Room> {
        self.rooms.find(hash, |room| *room.name == *name)
    }

    #[cfg(test)]
    pub(crate) const fn bound_bytes(&mut self, max: usize) {
        self.bytes_max = max;
    }

    #[cfg(test)]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Room {
    /// Bytes of what was there of the same occupant before.
    fn enter(&mut self, entering: Entering, max: usize, news: &mut Dispatches) -> usize {
        let Entering {
            session,
            occupant,
            list,
        } = entering;
        let earlier = self.occupants.remove_entry(occupant.address());
        let freed = earlier
            .as_ref()
            .map_or(0, |(earlier, _)| earlier.0.bytes() + self.name.len());
        // An earlier session of the address has not been heard to have left: this one takes its place.
        let is_same = |place: &Place| place.session == session;
        let moved = earlier.as_ref().is_none_or(|(_, place)| !is_same(place));
        if let Some((_, place)) = &earlier
            && moved
        {
            self.count_out(place.session.shard);
        }
        if moved && self.count_in(session.shard) {
            news.push((session.shard, RoomNews::Reset));
            let listed = self.occupants.iter().filter(|(_, place)| place.listed);
            news.extend(listed.map(|(one, _)| (session.shard, RoomNews::Came(Arc::clone(&one.0)))));
        }
        let was_listed = earlier.as_ref().is_some_and(|(_, place)| place.listed);
        let listed = was_listed || self.occupants.len() < max;
        self.listed += usize::from(listed && !was_listed);
        let is_news = moved || !was_listed || earlier.is_none_or(|(one, _)| one.0.note() != occupant.note());
        if listed && is_news {
            self.tell(&RoomNews::Came(Arc::clone(&occupant)), news);
        }
        self.occupants
            .insert(ByAddress(occupant), Place { session, listed });
        if list {
            if listed {
                news.push((session.shard, RoomNews::Listed(session.key)));
            }
            news.push((session.shard, RoomNews::Entered(session.key)));
        }
        freed
    }

    fn leave(&mut self, session: SessionId, address: &str, news: &mut Dispatches) -> Option<Arc<Occupant>> {
        let place = *self.occupants.get(address)?;
        if place.session != session {
            return None;
        }
        let (occupant, _) = self.occupants.remove_entry(address)?;
        self.count_out(session.shard);
        if place.listed {
            self.listed -= 1;
            self.tell(&RoomNews::Went(Arc::clone(&occupant.0)), news);
        }
        Some(occupant.0)
    }

    /// Shows those who are not shown, if there are few enough again.
    fn show_all(&mut self, max: usize, news: &mut Dispatches) {
        if self.listed == self.occupants.len() || self.occupants.len() > max {
            return;
        }
        let mut shown = Vec::new();
        for (occupant, place) in &mut self.occupants {
            if !std::mem::replace(&mut place.listed, true) {
                shown.push((Arc::clone(&occupant.0), place.session));
            }
        }
        self.listed = self.occupants.len();
        for (occupant, session) in shown {
            self.tell(&RoomNews::Came(occupant), news);
            news.push((session.shard, RoomNews::Listed(session.key)));
        }
    }

    fn tell(&self, what: &RoomNews, news: &mut Dispatches) {
        news.extend(self.shards.iter().map(|(shard, _)| (*shard, what.clone())));
    }

    /// Whether it is the first one of its shard.
    fn count_in(&mut self, shard: u16) -> bool {
        if let Some((_, count)) = self.shards.iter_mut().find(|(known, _)| *known == shard) {
            *count += 1;
            return false;
        }
        self.shards.push((shard, 1));
        true
    }

    fn count_out(&mut self, shard: u16) {
        let Some(at) = self.shards.iter().position(|(known, _)| *known == shard) else {
            return;
        };
        if let Some((_, count)) = self.shards.get_mut(at) {
            *count -= 1;
            if *count == 0 {
                self.shards.swap_remove(at);
            }
        }
    }
}
