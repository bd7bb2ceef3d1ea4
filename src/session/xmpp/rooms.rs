//! Channels as rooms (the part of XEP-0045 in PROTOCOL section 4): who joins a room subscribes to its channel.
//!
//! A room is there as soon as somebody joins it, open to all who may subscribe, and shows everybody's address. The
//! occupant's nick is the daemon's own, `<app>-<uid>-<role>-<resource>`. Nobody is told of who comes and goes: a sender is
//! introduced by a presence before its first message ([`super::groupchat`]).

use std::borrow::Cow;

use smallvec::SmallVec;

use super::condition::StanzaError;
use super::introduced::Introduced;
use super::iq::spell;
use super::names::{CONFERENCE, MUC};
use super::{Session, write};
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

/// Deliveries of this form go to an occupant, others to a native subscriber.
pub(super) const ROOM: u8 = 1;

/// A room has no history: what is retained is for native subscribers.
const OPTIONS: SubscriptionOptions = SubscriptionOptions {
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
    nick: Box<str>,
    /// By which of the domains it was joined.
    pub(super) domain: u16,
    /// It is escaped as the daemon does it.
    pub(super) is_canonical: bool,
    /// Tells it from the others of the block.
    pub(super) number: u32,
}

/// A join that the router has been asked for.
#[derive(Debug)]
struct Joining {
    room: Room,
    /// The client knows of XEP-0045, not only of what was before it.
    is_muc: bool,
}

/// The rooms that a block is in: nothing of it is there for a block that is in none.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    /// In the order of their channels; as many as a block may have subscriptions.
    occupied: Vec<Room>,
    joining: Option<Joining>,
    leaving: Vec<Room>,
    pub(super) introduced: Introduced,
    numbers: u32,
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

    fn enter(&mut self, room: Room) {
        match self.position(&room.channel) {
            Ok(at) => {
                let earlier = self
                    .occupied
                    .get_mut(at)
                    .map(|place| std::mem::replace(place, room));
                if let Some(earlier) = earlier {
                    self.introduced.forget(earlier.number);
                }
            }
            Err(at) => self.occupied.insert(at, room),
        }
    }

    fn take(&mut self, channel: &str) -> Option<Room> {
        let room = self.occupied.remove(self.position(channel).ok()?);
        self.introduced.forget(room.number);
        Some(room)
    }

    const fn is_empty(&self) -> bool {
        self.occupied.is_empty() && self.joining.is_none() && self.leaving.is_empty()
    }
}

/// What an address of the channel service names: a room, or an occupant of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoomAddress<'a> {
    local: &'a str,
    domain: u16,
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

    fn room(&self, channel: Cow<'_, str>, nick: &str, number: u32) -> Room {
        let mut canonical = String::with_capacity(self.local.len());
        jid::escape_into(&channel, &mut canonical);
        Room {
            is_canonical: canonical == self.local,
            channel: channel.into(),
            local: self.local.into(),
            nick: nick.into(),
            domain: self.domain,
            number,
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
            // What is no address is repeated only if it is short.
            if is_available && to.len() <= limits::XMPP_ID_BYTES_MAX {
                refuse(to, StanzaError::JID_MALFORMED, out);
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
            return None;
        }
        rooms.numbers = rooms.numbers.wrapping_add(1);
        let room = address.room(channel, nick, rooms.numbers);
        scratch.name.clear();
        scratch.name.extend_from_slice(room.channel.as_bytes());
        rooms.joining = Some(Joining { room, is_muc });
        Some(Command::Register {
            wanted: vec![Registration::Channel {
                filter: std::str::from_utf8(&scratch.name).unwrap_or_default(),
                from: Default::default(),
                options: OPTIONS,
            }],
            ticket: JOIN,
        })
    }

    /// The block goes: it leaves all its rooms.
    pub(super) fn leave_all<'a>(&mut self, scratch: &'a mut Scratch) -> Option<Command<'a>> {
        let rooms = self.rooms.as_mut()?;
        rooms.leaving = std::mem::take(&mut rooms.occupied);
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
            unwanted.push(Unregistration::Channel {
                filter,
                from: Default::default(),
                form: ROOM,
            });
        }
        let ticket = LEAVE;
        (!unwanted.is_empty()).then_some(Command::Unregister { unwanted, ticket })
    }

    /// What came of a join.
    pub(super) fn joined<O: Output>(&mut self, completion: &Completion, out: &mut O) {
        let Completion::Registered(results) = completion else {
            return;
        };
        let Some(rooms) = &mut self.rooms else { return };
        let Some(Joining { room, is_muc }) = rooms.joining.take() else {
            return;
        };
        if let Some(refusal) = results.iter().find_map(|result| result.err()) {
            let to = format!(
                "{}@{CONFERENCE}.{}/{}",
                room.local,
                self.settings.domain(room.domain),
                room.nick
            );
            refuse(&to, StanzaError::of_refused_join(refusal), out);
            return self.forget_empty_rooms();
        }
        let channel = room.channel.clone();
        rooms.enter(room);
        self.show_self(&channel, true, out);
        if is_muc && let Some(room) = self.rooms.as_ref().and_then(|rooms| rooms.of_channel(&channel)) {
            // XEP-0045, 7.2.15: it ends the join; there is none.
            let mut element: SmallVec<[Piece<'_>; 40]> = SmallVec::new();
            element.push(Piece::Raw(
                "<message xmlns='jabber:client' type='groupchat' from='",
            ));
            element.extend(room.pieces(self.settings.domain(room.domain)));
            element.push(Piece::Raw("'><subject/></message>"));
            write(out, &element);
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
            };
            shown.write("<status code='110'/>", out);
        }
        self.forget_empty_rooms();
    }

    fn forget_empty_rooms(&mut self) {
        if self.rooms.as_ref().is_some_and(|rooms| rooms.is_empty()) {
            self.rooms = None;
        }
    }

    /// The self-presence (XEP-0045, 7.2.2): everybody sees addresses (100), this is you (110), you are called otherwise (210).
    fn show_self<O: Output>(&self, channel: &str, is_join: bool, out: &mut O) {
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

/// Somebody in a room, as a presence shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    /// The room, and the name of its domain.
    pub(super) room: (&'a Room, &'a str),
    pub(super) account: &'a str,
    pub(super) resource: &'a str,
    /// The receiver's domain.
    pub(super) domain: &'a str,
    pub(super) is_available: bool,
}

impl Shown<'_> {
    /// Writes the presence, with elements of `statuses`.
    pub(super) fn write<O: Output>(&self, statuses: &str, out: &mut O) {
        let (head, role) = if self.is_available {
            ("<presence xmlns='jabber:client' from='", "participant")
        } else {
            (
                "<presence xmlns='jabber:client' type='unavailable' from='",
                "none",
            )
        };
        let (room, domain) = self.room;
        let mut element: SmallVec<[Piece<'_>; 40]> = SmallVec::new();
        element.push(Piece::Raw(head));
        element.extend(room.pieces(domain));
        element.extend([
            Piece::Raw("/"),
            Piece::Attribute(self.account),
            Piece::Raw("-"),
            Piece::Attribute(self.resource),
            Piece::Raw("'><x xmlns='http://jabber.org/protocol/muc#user'><item jid='"),
            Piece::Attribute(self.account),
            Piece::Raw("@"),
            Piece::Attribute(self.domain),
            Piece::Raw("/"),
            Piece::Attribute(self.resource),
            Piece::Raw("' affiliation='none' role='"),
            Piece::Raw(role),
            Piece::Raw("'/>"),
            Piece::Raw(statuses),
            Piece::Raw("</x></presence>"),
        ]);
        write(out, &element);
    }
}

/// A presence of type error, from whom the client addressed (XEP-0045, 7.2).
fn refuse<O: Output>(to: &str, error: StanzaError, out: &mut O) {
    write(
        out,
        &[
            Piece::Raw("<presence xmlns='jabber:client' type='error' from='"),
            Piece::Attribute(to),
            Piece::Raw("'><x xmlns='http://jabber.org/protocol/muc'/><error type='"),
            Piece::Raw(error.kind),
            Piece::Raw("'><"),
            Piece::Raw(error.condition),
            Piece::Raw(" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"),
        ],
    );
}

/// Whom a stanza is addressed to; empty if nobody is named.
pub(super) fn addressee<'b>(stanza: &Element<'b>, buffer: &'b mut Vec<u8>) -> &'b str {
    let [to] = spell(buffer, [stanza.attribute("to")]);
    to
}
