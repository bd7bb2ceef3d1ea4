//! The rooms that sessions of this shard are in, with a copy of who is shown there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;

use super::occupant::{ByAddress, RoomNews};
use crate::observe::{ShardMetrics, Stage};
use crate::route::drops;
use crate::route::identity::Sender;
use crate::route::message::{Delivery, RoomEvent, SessionKey};
use crate::route::port::{Port, Receivers};
use crate::route::sessions::Sessions;

/// The rooms with occupants on this shard.
#[derive(Debug)]
pub(crate) struct Locals {
    rooms: HashTable<Room>,
    state: RandomState,
}

#[derive(Debug)]
struct Room {
    hash: u64,
    name: Arc<str>,
    /// Whether they have spoken, by which others may know them who are not shown them.
    occupants: HashMap<SessionKey, bool, RandomState>,
    /// Those of them that are shown, and are told of the others.
    listed: HashSet<SessionKey, RandomState>,
    /// All who are shown, on whichever shard.
    roster: HashSet<ByAddress, RandomState>,
}

impl Locals {
    pub(crate) const fn new(state: RandomState) -> Self {
        Self {
            rooms: HashTable::new(),
            state,
        }
    }

    /// Whether the occupants of a room are shown the one at `address`. Costs nothing while nobody is in a room.
    pub(crate) fn shows(&self, hash: u64, channel: &str, address: &str) -> bool {
        if self.rooms.is_empty() {
            return false;
        }
        let room = self.rooms.find(hash, |room| *room.name == *channel);
        room.is_some_and(|room| room.roster.contains(address))
    }

    /// A block speaks, by a session of this shard. Whether the occupants of the room are shown it.
    pub(crate) fn speaks(
        &mut self,
        (hash, channel): (u64, &str),
        address: &str,
        from: Option<SessionKey>,
    ) -> bool {
        if self.rooms.is_empty() {
            return false;
        }
        let Some(room) = self.rooms.find_mut(hash, |room| *room.name == *channel) else {
            return false;
        };
        if let Some(has_spoken) = from.and_then(|from| room.occupants.get_mut(&from)) {
            *has_spoken = true;
        }
        room.roster.contains(address)
    }

    /// Somebody who has spoken is in a room no more: whoever knows it from messages is told.
    pub(super) fn speaker_left(
        &self,
        (hash, channel): (u64, &str),
        sender: Sender<'_>,
        port: &mut impl Port,
        (sessions, metrics): (&Sessions, &ShardMetrics),
    ) {
        if let Some(room) = self.rooms.find(hash, |room| *room.name == *channel) {
            let teller = Teller {
                channel,
                sessions,
                metrics,
            };
            teller.tell_all(port, room.occupants.keys(), RoomEvent::SpeakerWent { sender });
        }
    }

    /// A session enters. The room's name, and whether it was not in there.
    pub(super) fn enter(&mut self, hash: u64, channel: &str, key: SessionKey) -> (Arc<str>, bool) {
        let state = &self.state;
        let entry = self
            .rooms
            .entry(hash, |room| *room.name == *channel, |room: &Room| room.hash);
        let mut entry = entry.or_insert_with(|| Room {
            hash,
            name: channel.into(),
            occupants: HashMap::with_hasher(state.clone()),
            listed: HashSet::with_hasher(state.clone()),
            roster: HashSet::with_hasher(state.clone()),
        });
        let room = entry.get_mut();
        let is_new = !room.occupants.contains_key(&key);
        room.occupants.entry(key).or_insert(false);
        (Arc::clone(&room.name), is_new)
    }

    /// A session leaves. The room's name, and whether it has spoken there, if it was in there.
    pub(super) fn leave(&mut self, hash: u64, channel: &str, key: SessionKey) -> Option<(Arc<str>, bool)> {
        let mut entry = self.rooms.find_entry(hash, |room| *room.name == *channel).ok()?;
        let room = entry.get_mut();
        let has_spoken = room.occupants.remove(&key)?;
        room.listed.remove(&key);
        let name = Arc::clone(&room.name);
        if room.occupants.is_empty() {
            entry.remove();
        }
        Some((name, has_spoken))
    }

    /// Whether a session is in a room.
    pub(super) fn has(&self, hash: u64, channel: &str, key: SessionKey) -> bool {
        let room = self.rooms.find(hash, |room| *room.name == *channel);
        room.is_some_and(|room| room.occupants.contains_key(&key))
    }

    /// Follows what the home of a room tells. Of a room without occupants here it is stale.
    pub(super) fn follow(
        &mut self,
        (hash, channel): (u64, &str),
        news: &RoomNews,
        port: &mut impl Port,
        (sessions, metrics): (&Sessions, &ShardMetrics),
    ) {
        let Some(room) = self.rooms.find_mut(hash, |room| *room.name == *channel) else {
            return;
        };
        let teller = Teller {
            channel,
            sessions,
            metrics,
        };
        match news {
            RoomNews::Reset => {
                room.roster.clear();
                room.listed.clear();
            }
            RoomNews::Came(occupant) => {
                room.roster.replace(ByAddress(Arc::clone(occupant)));
                let event = RoomEvent::Came {
                    sender: occupant.sender(),
                    note: occupant.note(),
                };
                teller.tell_all(port, &room.listed, event);
            }
            RoomNews::Went(occupant) => {
                room.roster.remove(occupant.address());
                let sender = occupant.sender();
                teller.tell_all(port, &room.listed, RoomEvent::Went { sender });
            }
            RoomNews::Listed(key) if room.occupants.contains_key(key) => {
                room.listed.insert(*key);
                teller.tell(port, *key, RoomEvent::Listing);
                for occupant in &room.roster {
                    let event = RoomEvent::Came {
                        sender: occupant.0.sender(),
                        note: occupant.0.note(),
                    };
                    teller.tell(port, *key, event);
                }
            }
            RoomNews::Entered(key) if room.occupants.contains_key(key) => {
                teller.tell(port, *key, RoomEvent::Entered);
            }
            RoomNews::Listed(_) | RoomNews::Entered(_) => {}
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.rooms.len()
    }
}

/// Tells occupants of one room.
struct Teller<'a> {
    channel: &'a str,
    sessions: &'a Sessions,
    metrics: &'a ShardMetrics,
}

impl Teller<'_> {
    /// The same for all of them: what is encoded for the first serves the others.
    fn tell_all<'k>(
        &self,
        port: &mut impl Port,
        to: impl IntoIterator<Item = &'k SessionKey>,
        event: RoomEvent<'_>,
    ) {
        port.begin_message(Receivers::Several);
        for key in to {
            self.hand(port, *key, event);
        }
    }

    fn tell(&self, port: &mut impl Port, to: SessionKey, event: RoomEvent<'_>) {
        port.begin_message(Receivers::One);
        self.hand(port, to, event);
    }

    fn hand(&self, port: &mut impl Port, to: SessionKey, event: RoomEvent<'_>) {
        if let RoomEvent::Came { sender, .. }
        | RoomEvent::Went { sender }
        | RoomEvent::SpeakerWent { sender } = event
        {
            // What it is shown of itself, it is shown when it enters.
            let own = self.sessions.get(to);
            if own.is_none_or(|own| own.identity.sender().address() == sender.address()) {
                return;
            }
        }
        let delivery = Delivery::Room {
            channel: self.channel,
            event,
        };
        if let Err(reason) = port.deliver(to, &delivery) {
            self.metrics.dropped(Stage::Channel, drops::reason(reason));
        }
    }
}
