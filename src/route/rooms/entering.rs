//! How sessions come into rooms and leave them: their shard tells the home, the home tells all shards with occupants.

use std::sync::Arc;

use super::home::{Entered, Entering};
use super::occupant::{Occupant, RoomNews};
use crate::route::identity::check_channel;
use crate::route::letter::Letter;
use crate::route::message::{Qos, Refusal, SessionId, SessionKey, SubscriptionOptions};
use crate::route::port::Port;
use crate::route::router::Router;

impl Router {
    /// A session enters a room, or is in it with another note.
    ///
    /// # Errors
    /// As for a subscription; who was in the room before has left it then.
    pub(in crate::route) fn enter_room(
        &mut self,
        port: &mut impl Port,
        key: SessionKey,
        channel: &str,
        options: &SubscriptionOptions,
        (note, list): (&str, bool),
    ) -> Result<Qos, Refusal> {
        let hash = self.placement.channel(channel);
        if !list && !self.rooms.has(hash, channel, key) {
            return Err(Refusal::NotAuthorized);
        }
        let admitted = check_channel(channel)
            .map_err(|_| Refusal::InvalidName)
            .and_then(|_| self.subscribe(key, channel, &Default::default(), options));
        if admitted.is_err() {
            self.leave_room(port, key, channel, options.form);
            return admitted;
        }
        let Some(entry) = self.sessions.get_mut(key) else {
            return Err(Refusal::NotAuthorized);
        };
        let (room, is_new) = self.rooms.enter(hash, channel, key);
        if is_new {
            entry.extra().rooms.push(Arc::clone(&room));
        }
        let occupant = Arc::new(Occupant::new(&entry.identity.sender(), note));
        let home = self.placement.home(hash);
        if home == self.shard {
            let session = self.id(key);
            let entering = Entering {
                session,
                occupant,
                list,
            };
            self.entered_at_home(port, &room, entering);
        } else {
            self.mesh.write(home, |parcel| {
                parcel.put_shared(occupant.bytes() + room.len());
                Letter::RoomEnter {
                    room,
                    session: key,
                    occupant,
                    list,
                }
            });
        }
        admitted
    }

    /// A session leaves a room. Whether it was in it.
    pub(in crate::route) fn leave_room(
        &mut self,
        port: &mut impl Port,
        key: SessionKey,
        channel: &str,
        form: u8,
    ) -> bool {
        let was_subscribed = self.unsubscribe(key, channel, &Default::default(), form);
        let extra = self.sessions.get_mut(key).and_then(|entry| entry.extra.as_mut());
        if let Some(extra) = extra
            && let Some(at) = extra.rooms.iter().position(|room| **room == *channel)
        {
            let room = extra.rooms.swap_remove(at);
            self.tell_left(port, key, &room);
        }
        was_subscribed
    }

    /// A session ends.
    pub(in crate::route) fn leave_rooms(&mut self, port: &mut impl Port, key: SessionKey) {
        let extra = self.sessions.get_mut(key).and_then(|entry| entry.extra.as_mut());
        let rooms = extra.map(|extra| std::mem::take(&mut extra.rooms));
        for room in rooms.into_iter().flatten() {
            self.tell_left(port, key, &room);
        }
    }

    fn tell_left(&mut self, port: &mut impl Port, key: SessionKey, room: &Arc<str>) {
        let hash = self.placement.channel(room);
        // When all go, nobody has to be told who goes first.
        let left = self.rooms.leave(hash, room, key);
        let Some((_, has_spoken)) = left.filter(|_| !self.draining) else {
            return;
        };
        if has_spoken {
            self.tell_speaker_left(port, key, room);
        }
        let Some(entry) = self.sessions.get(key) else {
            return;
        };
        let home = self.placement.home(hash);
        if home == self.shard {
            let address: Box<str> = entry.identity.sender().address().into();
            self.left_at_home(port, room, self.id(key), &address);
        } else {
            let address = entry.identity.sender();
            self.mesh.write(home, |parcel| Letter::RoomLeave {
                room: Arc::clone(room),
                session: key,
                address: parcel.put_text(address.address()),
            });
        }
    }

    /// Those who know it from its messages are told by the way that these went, so that none comes behind it.
    fn tell_speaker_left(&mut self, port: &mut impl Port, key: SessionKey, room: &Arc<str>) {
        let Some(entry) = self.sessions.get(key) else {
            return;
        };
        let (hash, sender) = (self.placement.channel(room), entry.identity.sender());
        for shard in self.interest.shards(hash, room).iter() {
            self.mesh.write(shard, |parcel| {
                parcel.put_shared(room.len());
                Letter::RoomSpeakerLeft {
                    room: Arc::clone(room),
                    sender: parcel.put_sender(&sender),
                }
            });
        }
        self.rooms
            .speaker_left((hash, room), sender, port, (&self.sessions, &self.metrics));
    }

    /// At home: somebody enters.
    fn entered_at_home(&mut self, port: &mut impl Port, room: &Arc<str>, entering: Entering) {
        let hash = self.placement.channel(room);
        let mut news = Vec::new();
        let max = self.limits.room_presence_max;
        match self.room_homes.enter((hash, room), entering, max, &mut news) {
            Entered::Whole => {}
            Entered::WithoutNote => self.metrics.room_notes_refused.increment(),
            Entered::Unlisted => self.metrics.room_unlisted.increment(),
        }
        self.tell_room(port, room, news);
    }

    /// At home: somebody has left.
    fn left_at_home(&mut self, port: &mut impl Port, room: &Arc<str>, session: SessionId, address: &str) {
        let hash = self.placement.channel(room);
        let mut news = Vec::new();
        let max = self.limits.room_presence_max;
        self.room_homes
            .leave((hash, room), session, address, max, &mut news);
        self.tell_room(port, room, news);
    }

    fn tell_room(&mut self, port: &mut impl Port, room: &Arc<str>, news: Vec<(u16, RoomNews)>) {
        for (shard, news) in news {
            if shard == self.shard {
                self.room_news(port, room, &news);
                continue;
            }
            self.mesh.write(shard, |parcel| {
                if let RoomNews::Came(occupant) | RoomNews::Went(occupant) = &news {
                    parcel.put_shared(occupant.bytes());
                }
                Letter::RoomNews {
                    room: Arc::clone(room),
                    news,
                }
            });
        }
    }

    /// Where occupants are: what the home tells.
    pub(in crate::route) fn room_news(&mut self, port: &mut impl Port, room: &str, news: &RoomNews) {
        let hash = self.placement.channel(room);
        self.rooms
            .follow((hash, room), news, port, (&self.sessions, &self.metrics));
    }

    pub(in crate::route) fn follow_room(
        &mut self,
        port: &mut impl Port,
        from: u16,
        letter: &Letter,
        parcel: &crate::route::Parcel,
    ) {
        match letter {
            Letter::RoomEnter {
                room,
                session,
                occupant,
                list,
            } => {
                let entering = Entering {
                    session: SessionId {
                        shard: from,
                        key: *session,
                    },
                    occupant: Arc::clone(occupant),
                    list: *list,
                };
                self.entered_at_home(port, room, entering);
            }
            Letter::RoomLeave {
                room,
                session,
                address,
            } => {
                let session = SessionId {
                    shard: from,
                    key: *session,
                };
                self.left_at_home(port, room, session, parcel.text(*address));
            }
            Letter::RoomNews { room, news } => self.room_news(port, room, news),
            Letter::RoomSpeakerLeft { room, sender } => {
                let (hash, sender) = (self.placement.channel(room), parcel.sender(*sender));
                self.rooms
                    .speaker_left((hash, room), sender, port, (&self.sessions, &self.metrics));
            }
            _ => {}
        }
    }

    /// Occupants of the rooms at home here.
    pub(in crate::route) fn count_occupants(&self) {
        self.metrics
            .room_occupants
            .set(self.room_homes.occupants() as u64);
    }
}
