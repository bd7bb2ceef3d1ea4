//! Channels as rooms (the part of XEP-0045 in PROTOCOL section 4): who joins a room subscribes to its channel.
//!
//! A room is there as soon as somebody joins it, open to all who may subscribe, and shows everybody's address. The
//! occupant's nick is the daemon's own, `<app>-<uid>-<role>-<resource>`. Who comes and goes is told by the router
//! ([`super::occupants`]); whoever is not shown that way is introduced by a presence before its first message
//! ([`super::groupchat`]). Nothing is read of a client between its join and what that is answered with.

use std::borrow::Cow;
use std::sync::Arc;

use super::Session;
use super::condition::StanzaError;
use super::introduced::Introduced;
use super::iq::spell;
use super::names::{CONFERENCE, MUC};
use super::shown::{Shown, put_note, refuse};
use crate::codec::xmpp::{Element, Jid, JidError, Piece, jid};
use crate::limits;
use crate::route::identity::check_channel;
use crate::route::{
    Command, Completion, Qos, Registration, RetainHandling, SubscriptionOptions, Ticket, Unregistration,
};
use crate::session::{Output, Scratch};

/// A join waits for its completion; it comes before the next element is read.
pub(super) const JOIN: Ticket = Ticket(1);
/// The same of leaving.
pub(super) const LEAVE: Ticket = Ticket(2);
/// The same of another note.
pub(super) const NOTE: Ticket = Ticket(3);

/// Deliveries of this form go to an occupant, others to a native subscriber.
pub(super) const ROOM: u8 = 1;

/// A room has no history: what is retained is for native subscribers.
pub(super) const OPTIONS: SubscriptionOptions = SubscriptionOptions {
    qos: Qos::AtMostOnce,
    no_local: false,
    retain_as_published: false,
    retained: RetainHandling::Never,
    identifier: 0,
    form: ROOM,
};

/// A room that the block is in.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) channel: Box<str>,
    /// The channel's name as the client escaped it.
    pub(super) local: Box<str>,
    /// The nick that the client asked for.
    pub(super) nick: Box<str>,
    /// By which of the domains it was joined.
    pub(super) domain: u16,
    /// It is escaped as the daemon does it.
    pub(super) is_canonical: bool,
    /// Tells it from the others of the block.
    pub(super) number: u32,
    /// It was joined by a client that knows of XEP-0045, not only of what was before it.
    pub(super) is_muc: bool,
    /// What is waited for until the block is in it.
    pub(super) entering: Option<Entering>,
    pub(super) knows: Knows,
}

/// How a block comes into a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entering {
    /// It asked for it.
    Join,
    /// It was in it when its earlier session ended.
    Restore,
}

/// Whether a block has been shown who is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knows {
    /// Not yet.
    Nobody,
    /// All whom the room shows.
    Listed,
    /// It was, but has missed some since: it is shown senders before their messages from now on.
    Lagging,
}

/// The rooms that a block is in: nothing of it is there for a block that is in none.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    /// In the order of their channels; as many as a block may have subscriptions.
    occupied: Vec<Room>,
    /// Those of them that are waited for.
    entering: usize,
    /// The number of the one that the router has been asked for.
    joining: Option<u32>,
    leaving: Vec<Room>,
    pub(super) introduced: Introduced,
    pub(super) numbers: u32,
    /// What an earlier session left behind, until the client is available.
    pub(super) left: Option<Arc<[u8]>>,
    /// The numbers of those that the router has been asked to restore.
    pub(super) restoring: Vec<u32>,
}

impl Rooms {
    fn position(&self, channel: &str) -> Result<usize, usize> {
        self.occupied
            .binary_search_by(|room| (*room.channel).cmp(channel))
    }

    /// The room of a channel, if the block is in it.
    pub(super) fn of_channel(&self, channel: &str) -> Option<&Room> {
        self.occupied.get(self.position(channel).ok()?)
    }

    /// The room of this number, if the block is in it.
    pub(super) fn numbered(&self, number: u32) -> Option<&Room> {
        self.occupied.iter().find(|room| room.number == number)
    }

    /// The room of a channel, if the block is in it.
    pub(super) fn of_channel_mut(&mut self, channel: &str) -> Option<&mut Room> {
        let at = self.position(channel).ok()?;
        self.occupied.get_mut(at)
    }

    /// The rooms that the block is in, in the order of their channels.
    pub(super) fn occupied(&self) -> &[Room] {
        &self.occupied
    }

    /// Whether the block waits to be in a room.
    pub(super) const fn is_entering(&self) -> bool {
        self.entering > 0
    }

    /// The block is in the room of a channel: how it came, if that was waited for.
    pub(super) fn entered(&mut self, channel: &str) -> Option<Entering> {
        let entering = self.of_channel_mut(channel)?.entering.take()?;
        self.entering -= 1;
        Some(entering)
    }

    /// What the block was to be told of its rooms was not kept for it: senders are shown to it anew.
    pub(super) fn missed_something(&mut self) {
        self.introduced = Introduced::default();
        let listed = self.occupied.iter_mut().filter(|room| room.is_listed());
        listed.for_each(|room| room.knows = Knows::Lagging);
    }

    pub(super) fn join(&mut self, room: Room) {
        self.joining = Some(room.number);
        self.enter(room);
    }

    pub(super) fn enter(&mut self, mut room: Room) {
        self.entering += usize::from(room.entering.is_some());
        match self.position(&room.channel) {
            Ok(at) => {
                // Who is shown all is told of all that happens until it is shown them again.
                let same = |earlier: &&Room| earlier.local == room.local && earlier.domain == room.domain;
                if let Some(earlier) = self.occupied.get(at).filter(same)
                    && earlier.is_listed()
                {
                    room.knows = earlier.knows;
                }
                let earlier = self
                    .occupied
                    .get_mut(at)
                    .map(|place| std::mem::replace(place, room));
                if let Some(earlier) = earlier {
                    self.entering -= usize::from(earlier.entering.is_some());
                    self.introduced.forget(earlier.number);
                }
            }
            Err(at) => self.occupied.insert(at, room),
        }
    }

    pub(super) fn take(&mut self, channel: &str) -> Option<Room> {
        let room = self.occupied.remove(self.position(channel).ok()?);
        self.entering -= usize::from(room.entering.is_some());
        self.introduced.forget(room.number);
        Some(room)
    }

    /// The room that the router was asked for last, if it is not in it after all.
    fn take_refused(&mut self) -> Option<Room> {
        let number = self.joining.take()?;
        let channel = self.numbered(number)?.channel.clone();
        self.take(&channel)
    }

    const fn is_empty(&self) -> bool {
        self.occupied.is_empty() && self.leaving.is_empty() && self.left.is_none()
    }
}

/// What an address of the channel service names: a room, or an occupant of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoomAddress<'a> {
    pub(super) local: &'a str,
    pub(super) domain: u16,
    /// An occupant's nick, if one is named.
    pub(super) nick: Option<&'a str>,
}

impl<'a> RoomAddress<'a> {
    /// The channel's name, grammar not checked.
    pub(super) fn channel(&self) -> Cow<'a, str> {
        if !self.local.contains('\\') {
            return Cow::Borrowed(self.local);
        }
        let mut channel = String::with_capacity(self.local.len());
        jid::unescape_into(self.local, &mut channel);
        Cow::Owned(channel)
    }

    pub(super) fn room(&self, channel: Cow<'_, str>, nick: &str, number: u32, is_muc: bool) -> Room {
        let mut canonical = String::with_capacity(self.local.len());
        jid::escape_into(&channel, &mut canonical);
        Room {
            is_canonical: canonical == self.local,
            channel: channel.into(),
            local: self.local.into(),
            nick: nick.into(),
            domain: self.domain,
            number,
            is_muc,
            entering: Some(Entering::Join),
            knows: Knows::Nobody,
        }
    }
}

impl Session {
    /// The room that an address names; `None` if it names anything else.
    pub(super) fn room_address<'t>(&self, to: &'t str) -> Option<Result<RoomAddress<'t>, JidError>> {
        let (_, domain) = to.split('/').next()?.split_once('@')?;
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        let domain = self.settings.conference_of(domain)?;
        let parsed = Jid::parse(to).map(|jid| RoomAddress {
            local: jid.local.unwrap_or_default(),
            domain,
            nick: jid.resource,
        });
        Some(parsed)
    }

    /// The room of the block that an address names, if it is in it.
    pub(super) fn occupied(&self, address: &RoomAddress<'_>) -> Option<&Room> {
        self.rooms.as_ref()?.of_channel(&address.channel())
    }

    /// The own account and resource.
    pub(super) fn own(&self) -> (&str, &str) {
        let (account, rest) = self.address.split_once('@').unwrap_or_default();
        (account, rest.split_once('/').unwrap_or_default().1)
    }

    /// Whether a nick is this block's in a room: the one it has, or the one it asked for.
    pub(super) fn is_own_nick(&self, room: &Room, nick: &str) -> bool {
        *room.nick == *nick || self.is_canonical_nick(nick)
    }

    fn is_canonical_nick(&self, nick: &str) -> bool {
        let (account, resource) = self.own();
        let rest = nick.strip_prefix(account).and_then(|rest| rest.strip_prefix('-'));
        rest == Some(resource)
    }

    /// `<presence/>` to the channel service.
    pub(super) fn room_presence<'a, O: Output>(
        &mut self,
        stanza: &Element<'_>,
        to: &str,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Option<Command<'a>> {
        let kind = stanza.attribute("type");
        let is_available = kind.is_none_or(|kind| kind.is("available"));
        let Ok(address) = self.room_address(to)? else {
            if is_available {
                refuse(repeatable(to), StanzaError::JID_MALFORMED, out);
            }
            return None;
        };
        if is_available {
            return self.join(stanza, to, &address, scratch, out);
        }
        // Whoever is not in the room has nothing to leave.
        let leaves = kind.is_some_and(|kind| kind.is("unavailable"));
        let rooms = self.rooms.as_mut().filter(|_| leaves)?;
        let room = rooms.take(&address.channel())?;
        rooms.leaving.push(room);
        self.leave_rooms(scratch)
    }

    fn join<'a, O: Output>(
        &mut self,
        stanza: &Element<'_>,
        to: &str,
        address: &RoomAddress<'_>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Option<Command<'a>> {
        let channel = address.channel();
        let Some(nick) = address.nick.filter(|_| check_channel(&channel).is_ok()) else {
            refuse(to, StanzaError::JID_MALFORMED, out);
            return None;
        };
        let is_muc = stanza.child(MUC, "x").is_some();
        let rooms = self.rooms.get_or_insert_default();
        if !is_muc && let Some(at) = rooms.occupied_as(address, &channel) {
            // Another nick, or another status: it is shown what it is.
            if let Some(room) = rooms.occupied.get_mut(at) {
                room.nick = nick.into();
            }
            self.show_self(&channel, false, out);
            put_note(stanza, &mut scratch.text);
            let has_note = !scratch.text.is_empty();
            if has_note && let Some(rooms) = &mut self.rooms {
                rooms.joining = rooms.of_channel(&channel).map(|room| room.number);
            }
            return has_note.then(|| register(&channel, (NOTE, false), scratch));
        }
        self.take_back_introduced(address, &channel, out);
        put_note(stanza, &mut scratch.text);
        let register = register(&channel, (JOIN, true), scratch);
        let rooms = self.rooms.get_or_insert_default();
        rooms.numbers = rooms.numbers.wrapping_add(1);
        rooms.join(address.room(channel, nick, rooms.numbers, is_muc));
        Some(register)
    }

    /// The block joins a room again, and begins anew there with those whom it knows from messages.
    fn take_back_introduced<O: Output>(&mut self, address: &RoomAddress<'_>, channel: &str, out: &mut O) {
        let Some(rooms) = &mut self.rooms else { return };
        let room = rooms.occupied_as(address, channel);
        let Some(number) = room.and_then(|at| Some(rooms.occupied.get(at)?.number)) else {
            return;
        };
        for known in rooms.introduced.drain(number) {
            self.show(number, known.split_once('/').unwrap_or_default(), false, out);
        }
    }

    /// The block goes: it leaves all its rooms.
    pub(super) fn leave_all<'a>(&mut self, scratch: &'a mut Scratch) -> Option<Command<'a>> {
        let rooms = self.rooms.as_mut()?;
        rooms.leaving = std::mem::take(&mut rooms.occupied);
        rooms.entering = 0;
        rooms.left = None;
        rooms.introduced = Introduced::default();
        self.leave_rooms(scratch)
    }

    fn leave_rooms<'a>(&self, scratch: &'a mut Scratch) -> Option<Command<'a>> {
        let leaving = &self.rooms.as_ref()?.leaving;
        scratch.name.clear();
        for room in leaving {
            scratch.name.extend_from_slice(room.channel.as_bytes());
        }
        let mut rest = std::str::from_utf8(&scratch.name).unwrap_or_default();
        let mut unwanted = Vec::with_capacity(leaving.len());
        for room in leaving {
            let (filter, behind) = rest.split_at_checked(room.channel.len())?;
            rest = behind;
            unwanted.push(Unregistration::Room {
                channel: filter,
                form: ROOM,
            });
        }
        let ticket = LEAVE;
        (!unwanted.is_empty()).then_some(Command::Unregister { unwanted, ticket })
    }

    /// What came of a join: unless it is refused, the rest comes from the room.
    pub(super) fn joined<O: Output>(&mut self, completion: &Completion, out: &mut O) {
        let Completion::Registered(results) = completion else {
            return;
        };
        let Some(rooms) = &mut self.rooms else { return };
        let Some(refusal) = results.iter().find_map(|result| result.err()) else {
            return;
        };
        let Some(room) = rooms.take_refused() else { return };
        let to = format!(
            "{}@{CONFERENCE}.{}/{}",
            room.local,
            self.settings.domain(room.domain),
            room.nick
        );
        refuse(&to, StanzaError::of_refused_join(refusal), out);
        self.forget_empty_rooms();
    }

    /// What came of another note: who may not be in the room any more is told that it is not.
    pub(super) fn noted<O: Output>(&mut self, completion: &Completion, out: &mut O) {
        let Some(rooms) = &mut self.rooms else { return };
        let is_refused =
            matches!(completion, Completion::Registered(results) if results.iter().any(Result::is_err));
        if is_refused && let Some(room) = rooms.take_refused() {
            rooms.leaving.push(room);
            self.left(out);
        }
    }

    /// The block has left rooms.
    pub(super) fn left<O: Output>(&mut self, out: &mut O) {
        let Some(rooms) = &mut self.rooms else { return };
        let leaving = std::mem::take(&mut rooms.leaving);
        let (account, resource) = self.own();
        for room in &leaving {
            let shown = Shown {
                room: (room, self.settings.domain(room.domain)),
                account,
                resource,
                domain: self.domain(),
                is_available: false,
                note: "",
            };
            shown.write("<status code='110'/>", out);
        }
        self.forget_empty_rooms();
    }

    pub(super) fn forget_empty_rooms(&mut self) {
        if self.rooms.as_ref().is_some_and(|rooms| rooms.is_empty()) {
            self.rooms = None;
        }
    }

    /// The self-presence (XEP-0045, 7.2.2): everybody sees addresses (100), this is you (110), you are called otherwise (210).
    pub(super) fn show_self<O: Output>(&self, channel: &str, is_join: bool, out: &mut O) {
        let Some(room) = self.rooms.as_ref().and_then(|rooms| rooms.of_channel(channel)) else {
            return;
        };
        let statuses = match (is_join, self.is_canonical_nick(&room.nick)) {
            (true, true) => "<status code='100'/><status code='110'/>",
            (true, false) => "<status code='100'/><status code='110'/><status code='210'/>",
            (false, true) => "<status code='110'/>",
            (false, false) => "<status code='110'/><status code='210'/>",
        };
        let (account, resource) = self.own();
        let shown = Shown {
            room: (room, self.settings.domain(room.domain)),
            account,
            resource,
            domain: self.domain(),
            is_available: true,
            note: "",
        };
        shown.write(statuses, out);
    }
}

impl Rooms {
    /// Where the room stands, if the block is in it by this very address.
    fn occupied_as(&self, address: &RoomAddress<'_>, channel: &str) -> Option<usize> {
        let at = self.position(channel).ok()?;
        let room = self.occupied.get(at)?;
        (*room.local == *address.local && room.domain == address.domain).then_some(at)
    }
}

impl Room {
    /// Whether the block has been shown all whom the room shows.
    pub(super) fn is_listed(&self) -> bool {
        self.knows == Knows::Listed
    }

    /// The room's address, by the name of its domain.
    pub(super) fn pieces<'a>(&'a self, domain: &'a str) -> [Piece<'a>; 5] {
        [
            Piece::Attribute(&self.local),
            Piece::Raw("@"),
            Piece::Raw(CONFERENCE),
            Piece::Raw("."),
            Piece::Attribute(domain),
        ]
    }
}

/// To be in a room, with the note in `scratch.text`; or only to have another note there.
fn register<'a>(channel: &str, (ticket, list): (Ticket, bool), scratch: &'a mut Scratch) -> Command<'a> {
    scratch.name.clear();
    scratch.name.extend_from_slice(channel.as_bytes());
    Command::Register {
        wanted: vec![Registration::Room {
            channel: std::str::from_utf8(&scratch.name).unwrap_or_default(),
            options: OPTIONS,
            note: std::str::from_utf8(&scratch.text).unwrap_or_default(),
            list,
        }],
        ticket,
    }
}

/// Whom a stanza is addressed to; empty if nobody is named.
pub(super) fn addressee<'b>(stanza: &Element<'b>, buffer: &'b mut Vec<u8>) -> &'b str {
    let [to] = spell(buffer, [stanza.attribute("to")]);
    to
}

/// Whom an answer to what is no address comes from: longer than any may be, it is not repeated, but for its domain.
fn repeatable(to: &str) -> &str {
    if to.len() <= limits::XMPP_ADDRESS_BYTES_MAX {
        return to;
    }
    let bare = to.split('/').next().unwrap_or_default();
    bare.split_once('@').unwrap_or_default().1
}
