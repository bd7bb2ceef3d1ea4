//! Presences of rooms: somebody in one, what it shows of itself, and refusals.

use smallvec::SmallVec;

use super::condition::StanzaError;
use super::iq::spell;
use super::names::CAPS;
use super::rooms::Room;
use super::{pieces, write};
use crate::codec::xmpp::{Element, Piece};
use crate::limits;
use crate::session::Output;

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
    /// An element that is shown with it, or nothing.
    pub(super) note: &'a str,
}

impl<'a> Shown<'a> {
    /// Writes the presence, with elements of `statuses`.
    pub(super) fn write<O: Output>(&self, statuses: &str, out: &mut O) {
        write(out, &self.pieces(statuses));
    }

    /// The presence, with elements of `statuses`.
    pub(super) fn pieces<'p>(&self, statuses: &'p str) -> SmallVec<[Piece<'p>; 40]>
    where
        'a: 'p,
    {
        let (head, role) = if self.is_available {
            ("<presence xmlns='jabber:client' from='", "participant")
        } else {
            (
                "<presence xmlns='jabber:client' type='unavailable' from='",
                "none",
            )
        };
        let (room, domain) = self.room;
        let mut element: SmallVec<[Piece<'p>; 40]> = SmallVec::new();
        element.push(Piece::Raw(head));
        element.extend(room.pieces(domain));
        element.extend([
            Piece::Raw("/"),
            Piece::Attribute(self.account),
            Piece::Raw("-"),
            Piece::Attribute(self.resource),
            Piece::Raw("'>"),
            Piece::Raw(self.note),
            Piece::Raw("<x xmlns='http://jabber.org/protocol/muc#user'><item jid='"),
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
        element
    }
}

/// What of a presence is shown to the others: the client's capabilities (XEP-0115), in words of the daemon's own.
pub(super) fn put_note(stanza: &Element<'_>, note: &mut Vec<u8>) {
    note.clear();
    let Some(caps) = stanza.child(CAPS, "c") else {
        return;
    };
    let names = ["hash", "node", "ver", "ext"];
    let mut spelled = Vec::new();
    let values = spell(&mut spelled, names.map(|name| caps.attribute(name)));
    let mut element: SmallVec<[Piece<'_>; 16]> = SmallVec::new();
    element.extend([Piece::Raw("<c xmlns='"), Piece::Raw(CAPS)]);
    for (name, value) in names
        .into_iter()
        .zip(values)
        .filter(|(_, value)| !value.is_empty())
    {
        element.extend([
            Piece::Raw("' "),
            Piece::Raw(name),
            Piece::Raw("='"),
            Piece::Attribute(value),
        ]);
    }
    element.push(Piece::Raw("'/>"));
    if pieces::len(&element) <= limits::XMPP_CAPS_BYTES_MAX {
        pieces::put(&element, note);
    }
}

/// A presence of type error, from whom the client addressed (XEP-0045, 7.2).
pub(super) fn refuse<O: Output>(to: &str, error: StanzaError, out: &mut O) {
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
