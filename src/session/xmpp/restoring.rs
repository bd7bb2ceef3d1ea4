//! Rooms that outlive a session: a block that ended without leaving them is put back into them when it comes back under its
//! address. Deployed clients count on it: none of them joins again after a reconnect.
//!
//! What is left behind is a list of rooms, each as its address, the nick asked for, the domain, and whether the client
//! knows of XEP-0045.

use std::sync::Arc;

use super::Session;
use super::State;
use super::rooms::{Entering, OPTIONS, Room, RoomAddress};
use crate::limits;
use crate::route::identity::check_channel;
use crate::route::{Command, Completion, Registration, Ticket};
use crate::session::Scratch;
use crate::time::Now;

/// The rooms that are restored wait for their completion.
pub(super) const RESTORE: Ticket = Ticket(5);

/// A room as it is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LeftRoom<'a> {
    local: &'a str,
    nick: &'a str,
    domain: u16,
    is_muc: bool,
}

impl<'a> LeftRoom<'a> {
    fn of(room: &'a Room) -> Self {
        Self {
            local: &room.local,
            nick: &room.nick,
            domain: room.domain,
            is_muc: room.is_muc,
        }
    }

    const fn address(&self) -> RoomAddress<'a> {
        RoomAddress {
            local: self.local,
            domain: self.domain,
            nick: Some(self.nick),
        }
    }

    /// Appends it, if it fits. Whether it did.
    fn put(&self, into: &mut Vec<u8>) -> bool {
        let (Ok(local), Ok(nick)) = (u16::try_from(self.local.len()), u16::try_from(self.nick.len())) else {
            return false;
        };
        if into.len() + 7 + self.local.len() + self.nick.len() > limits::LEFT_BEHIND_BYTES_MAX {
            return false;
        }
        for number in [local, nick, self.domain] {
            into.extend_from_slice(&number.to_be_bytes());
        }
        into.push(u8::from(self.is_muc));
        into.extend_from_slice(self.local.as_bytes());
        into.extend_from_slice(self.nick.as_bytes());
        true
    }

    /// The first of several, and the rest.
    fn take(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = bytes.split_first_chunk::<7>()?;
        let [l1, l2, n1, n2, d1, d2, is_muc] = *head;
        let number = |high, low| usize::from(u16::from_be_bytes([high, low]));
        let (local, rest) = rest.split_at_checked(number(l1, l2))?;
        let (nick, rest) = rest.split_at_checked(number(n1, n2))?;
        let room = Self {
            local: std::str::from_utf8(local).ok()?,
            nick: std::str::from_utf8(nick).ok()?,
            domain: u16::from_be_bytes([d1, d2]),
            is_muc: is_muc != 0,
        };
        Some((room, rest))
    }
}

impl Session {
    /// See [`Session::find_left`](crate::session::Session::find_left).
    pub fn find_left(&mut self, left: Arc<[u8]>) {
        self.rooms.get_or_insert_default().left = Some(left);
    }

    /// The rooms it is in, and what it found, if its client never was available. Nothing once it has waited in vain to be resumed.
    pub fn leave_behind(&mut self, now: Now) -> Option<Arc<[u8]>> {
        let waited = self.state == State::Suspended && self.due(now).is_some();
        let mut rooms = self.rooms.take().filter(|_| !waited)?;
        let found = rooms.left.take();
        if rooms.occupied().is_empty() {
            return found;
        }
        let mut left = Vec::new();
        let mut put = |room: LeftRoom<'_>| {
            if !room.put(&mut left) {
                self.settings.metrics.left_behind_refused.increment();
            }
        };
        for room in rooms.occupied() {
            put(LeftRoom::of(room));
        }
        let mut rest = found.as_deref().unwrap_or_default();
        while let Some((room, behind)) = LeftRoom::take(rest) {
            rest = behind;
            if rooms.of_channel(&room.address().channel()).is_none() {
                put(room);
            }
        }
        (!left.is_empty()).then(|| left.into())
    }

    /// Asks for the rooms that were left behind, but for those that the client has joined meanwhile.
    pub(super) fn restore_rooms<'a>(&mut self, scratch: &'a mut Scratch) -> Option<Command<'a>> {
        let rooms = self.rooms.as_mut()?;
        let left = rooms.left.take()?;
        let mut ends = Vec::new();
        scratch.name.clear();
        let mut rest = &*left;
        while let Some((room, behind)) = LeftRoom::take(rest) {
            rest = behind;
            let address = room.address();
            let channel = address.channel();
            if check_channel(&channel).is_err() || rooms.of_channel(&channel).is_some() {
                continue;
            }
            scratch.name.extend_from_slice(channel.as_bytes());
            ends.push(scratch.name.len());
            rooms.numbers = rooms.numbers.wrapping_add(1);
            let mut room = address.room(channel, room.nick, rooms.numbers, room.is_muc);
            room.entering = Some(Entering::Restore);
            rooms.restoring.push(room.number);
            rooms.enter(room);
        }
        self.forget_empty_rooms();
        let names = std::str::from_utf8(&scratch.name).unwrap_or_default();
        let mut begin = 0;
        let wanted: Vec<_> = ends
            .into_iter()
            .map(|end| Registration::Room {
                channel: names
                    .get(std::mem::replace(&mut begin, end)..end)
                    .unwrap_or_default(),
                options: OPTIONS,
                note: "",
                list: true,
            })
            .collect();
        (!wanted.is_empty()).then_some(Command::Register {
            wanted,
            ticket: RESTORE,
        })
    }

    /// What came of it: of rooms that it may not be in any more the client hears nothing.
    pub(super) fn restored(&mut self, completion: &Completion) {
        let (Completion::Registered(results), Some(rooms)) = (completion, &mut self.rooms) else {
            return;
        };
        for (number, result) in std::mem::take(&mut rooms.restoring).into_iter().zip(results) {
            if result.is_ok() {
                self.settings.metrics.rooms_restored.increment();
                continue;
            }
            let channel = rooms.numbered(number).map(|room| room.channel.clone());
            if let Some(channel) = channel {
                rooms.take(&channel);
            }
        }
        self.forget_empty_rooms();
    }
}
