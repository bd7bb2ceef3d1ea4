//! Messages of rooms (PROTOCOL section 4, "Channels as rooms"): to a channel from an occupant, and to an occupant from
//! whoever publishes there.

use smallvec::SmallVec;

use super::attributes::Kept;
use super::condition::StanzaError;
use super::deliver::{PROTOCOL, sender_pieces};
use super::introduced::Acquaintance;
use super::iq::spell;
use super::message::keep;
use super::names::CLIENT;
use super::rooms::{Room, RoomAddress};
use super::shown::Shown;
use super::{Session, pieces, write};
use crate::codec::xmpp::{Element, JidError, Piece, is_xml_text};
use crate::limits;
use crate::observe::{DropReason, Stage};
use crate::route::{ChannelMessage, Command, Qos, Sender, Undelivered};
use crate::session::{Frames, Output, STANZA_ATTRIBUTES, Scratch};

/// In the keys of [`Frames`], beside those of native deliveries.
const GROUPCHAT: u32 = 1 << 21;

/// What an occupant is sent.
#[derive(Clone, Copy, Debug)]
enum Content<'a> {
    /// What an occupant wrote.
    Stanza(Kept<'a>),
    /// What was published elsewhere.
    Text(&'a str),
}

impl Session {
    /// A message to a room, or to an occupant of one.
    pub(super) fn to_room<'a, O: Output>(
        &self,
        message: &Element<'a>,
        (to, address): (&str, Result<RoomAddress<'_>, JidError>),
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Option<Command<'a>> {
        let Ok(address) = address else {
            self.drop_channel(DropReason::Invalid);
            return None;
        };
        let is_groupchat = message.attribute("type").is_some_and(|kind| kind.is("groupchat"));
        match address.nick {
            None if is_groupchat => self.speak(message, to, &address, scratch, out),
            // XEP-0045, 7.5: it would be shown as said to all.
            Some(_) if is_groupchat => self.refuse(message, to, StanzaError::BAD_REQUEST, out),
            Some(nick) => self.whisper(message, nick, scratch),
            None => {
                self.drop_direct(DropReason::NoReceiver);
                None
            }
        }
    }

    /// What an occupant says to all.
    fn speak<'a, O: Output>(
        &self,
        message: &Element<'a>,
        to: &str,
        address: &RoomAddress<'_>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Option<Command<'a>> {
        let Some(room) = self.occupied(address) else {
            return self.refuse(message, to, StanzaError::NOT_ACCEPTABLE, out);
        };
        // Names without a prefix would mean something else in the receiver's stanza.
        if message.default_namespace() != CLIENT {
            self.drop_channel(DropReason::Invalid);
            return None;
        }
        let has = |name| message.child(CLIENT, name).is_some();
        // XEP-0045, 8.1: a channel has no subject that could be changed.
        if has("subject") && !has("body") && !has("thread") {
            return self.refuse(message, to, StanzaError::FORBIDDEN, out);
        }
        let Scratch {
            name,
            text,
            attributes,
            ..
        } = scratch;
        name.clear();
        name.extend_from_slice(room.channel.as_bytes());
        let [text] = spell(text, [message.child(CLIENT, "body").map(|body| body.text())]);
        attributes.clear();
        attributes.push(STANZA_ATTRIBUTES);
        // The type is known.
        if !keep(message, None, attributes) {
            self.drop_channel(DropReason::TooLarge);
            return None;
        }
        Some(Command::Publish {
            message: ChannelMessage {
                channel: std::str::from_utf8(name).unwrap_or_default(),
                payload: text.as_bytes(),
                attributes,
                qos: Qos::AtMostOnce,
                retain: false,
                expires: None,
            },
            ticket: None,
        })
    }

    /// What is said to one occupant is a Direct message to that block.
    fn whisper<'a>(
        &self,
        message: &Element<'a>,
        nick: &str,
        scratch: &'a mut Scratch,
    ) -> Option<Command<'a>> {
        let Scratch {
            name,
            text,
            attributes,
            ..
        } = scratch;
        name.clear();
        name.extend_from_slice(nick.as_bytes());
        let nick = std::str::from_utf8(name).unwrap_or_default();
        let parts = nick.match_indices('-').nth(2);
        let parts = parts.and_then(|(at, _)| Some((nick.get(..at)?, nick.get(at + 1..)?)));
        let Some((account, resource)) = parts else {
            self.drop_direct(DropReason::NoReceiver);
            return None;
        };
        self.direct_to(message, account, Some(resource), (text, attributes))
    }

    /// Answers a message with an error that does not repeat what was said.
    fn refuse<'a, O: Output>(
        &self,
        message: &Element<'_>,
        to: &str,
        error: StanzaError,
        out: &mut O,
    ) -> Option<Command<'a>> {
        self.drop_channel(DropReason::NotAuthorized);
        let mut spelled = Vec::new();
        let [id] = spell(&mut spelled, [message.attribute("id")]);
        let has_id = !id.is_empty() && id.len() <= limits::XMPP_ID_BYTES_MAX;
        write(
            out,
            &[
                Piece::Raw("<message xmlns='jabber:client' type='error'"),
                Piece::Raw(if has_id { " id='" } else { "" }),
                Piece::Attribute(if has_id { id } else { "" }),
                Piece::Raw(if has_id { "' from='" } else { " from='" }),
                Piece::Attribute(to),
                Piece::Raw("'><error type='"),
                Piece::Raw(error.kind),
                Piece::Raw("'><"),
                Piece::Raw(error.condition),
                Piece::Raw(" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"),
            ],
        );
        None
    }

    fn drop_channel(&self, reason: DropReason) {
        self.settings.metrics.dropped(Stage::Channel, reason);
    }

    /// A message on the channel of a room that the block is in: the same bytes for every occupant of one domain.
    pub(super) fn groupchat<O: Output>(
        &mut self,
        message: &ChannelMessage<'_>,
        (sender, is_shown): (Sender<'_>, bool),
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        let content = match message.attributes.split_first() {
            Some((&STANZA_ATTRIBUTES, kept)) => {
                Content::Stanza(Kept::read(kept).ok_or(Undelivered::NotText)?)
            }
            _ => Content::Text(is_xml_text(message.payload).ok_or(Undelivered::NotText)?),
        };
        self.introduce(message.channel, (&sender, is_shown), out)?;
        let rooms = self.rooms.as_ref().ok_or(Undelivered::Gone)?;
        let room = rooms.of_channel(message.channel).ok_or(Undelivered::Gone)?;
        let room_domain = self.settings.domain(room.domain);
        let element = || groupchat_pieces((room, room_domain), &content, &sender, self.domain());
        if room.domain != self.domain || !room.is_canonical {
            write(out, &element());
            return Ok(());
        }
        let variant = u32::from(O::FRAMING) << 24 | PROTOCOL | GROUPCHAT | u32::from(self.domain);
        let frame = frames.get_or_encode(variant, || {
            let element = element();
            out.share(pieces::len(&element), |buffer| pieces::put(&element, buffer))
        });
        out.push(&frame);
        Ok(())
    }

    /// Shows the sender of a message to a block that does not know it: a client learns from a presence whose address stands
    /// behind a nick. Occupants whom the room itself shows need none.
    fn introduce<O: Output>(
        &mut self,
        channel: &str,
        (sender, is_shown): (&Sender<'_>, bool),
        out: &mut O,
    ) -> Result<(), Undelivered> {
        // The block was shown itself when it joined.
        let is_self = self.own() == (sender.account(), sender.resource());
        let rooms = self.rooms.as_mut().ok_or(Undelivered::Gone)?;
        let room = rooms.of_channel(channel).ok_or(Undelivered::Gone)?;
        let number = room.number;
        if is_self || (is_shown && room.is_listed()) {
            return Ok(());
        }
        let Acquaintance::New { forgotten } = rooms.introduced.meet(number, sender.address()) else {
            return Ok(());
        };
        if let Some((number, address)) = forgotten {
            let (account, resource) = address.split_once('/').unwrap_or_default();
            self.show(number, (account, resource), false, out);
        }
        self.show(number, (sender.account(), sender.resource()), true, out);
        Ok(())
    }

    pub(super) fn show<O: Output>(
        &self,
        number: u32,
        (account, resource): (&str, &str),
        is_available: bool,
        out: &mut O,
    ) {
        let Some(room) = self.rooms.as_ref().and_then(|rooms| rooms.numbered(number)) else {
            return;
        };
        let shown = Shown {
            room: (room, self.settings.domain(room.domain)),
            account,
            resource,
            domain: self.domain(),
            is_available,
            note: "",
        };
        shown.write("", out);
    }
}

fn groupchat_pieces<'a>(
    (room, room_domain): (&'a Room, &'a str),
    content: &Content<'a>,
    sender: &Sender<'a>,
    domain: &'a str,
) -> SmallVec<[Piece<'a>; 40]> {
    let mut element: SmallVec<[Piece<'a>; 40]> = SmallVec::new();
    element.push(Piece::Raw("<message xmlns='jabber:client' type='groupchat"));
    if let Content::Stanza(Kept { id: Some(id), .. }) = *content {
        element.extend([Piece::Raw("' id='"), Piece::Attribute(id)]);
    }
    element.push(Piece::Raw("' from='"));
    element.extend(room.pieces(room_domain));
    element.extend([
        Piece::Raw("/"),
        Piece::Attribute(sender.account()),
        Piece::Raw("-"),
        Piece::Attribute(sender.resource()),
        Piece::Raw("'"),
    ]);
    match *content {
        Content::Stanza(kept) => element.extend([
            Piece::Raw(kept.declarations),
            Piece::Raw(">"),
            Piece::Raw(kept.children),
        ]),
        Content::Text(text) => {
            element.extend([Piece::Raw("><body>"), Piece::Text(text), Piece::Raw("</body>")]);
        }
    }
    element.extend(sender_pieces(sender, domain));
    element.push(Piece::Raw("</message>"));
    element
}
