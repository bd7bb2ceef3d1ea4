//! Presence (RFC 6121 section 4): whether a block takes what is sent to its account.

use super::Session;
use super::iq::spell;
use super::names::CLIENT;
use crate::codec::xmpp::{Element, Jid, Piece};
use crate::session::Output;

impl Session {
    /// `<presence/>` of the client. Presence between blocks is not broadcast, so only its own counts.
    pub(super) fn presence<O: Output>(&mut self, stanza: &Element<'_>, out: &mut O) {
        let kind = stanza.attribute("type");
        if let Some(to) = stanza.attribute("to") {
            let mut spelled = Vec::new();
            let [name] = spell(&mut spelled, [Some(to)]);
            let joins = kind.is_none_or(|kind| kind.is("available"));
            // What is no address is not repeated in an answer: the parts of one are bounded.
            if joins && Jid::parse(name).is_ok_and(|room| self.settings.is_conference(room.domain)) {
                self.refuse_room(name, out);
            }
            return;
        }
        match kind {
            // Deployed web pages say `available` in so many words.
            None => self.presence = Some(priority(stanza)),
            Some(kind) if kind.is("available") => self.presence = Some(priority(stanza)),
            Some(kind) if kind.is("unavailable") => self.presence = None,
            Some(_) => {}
        }
    }

    /// Channels are reached by the native elements; a client that would join one as a room must not wait for it.
    fn refuse_room<O: Output>(&self, room: &str, out: &mut O) {
        super::write(
            out,
            &[
                Piece::Raw("<presence xmlns='"),
                Piece::Raw(CLIENT),
                Piece::Raw("' type='error' from='"),
                Piece::Attribute(room),
                Piece::Raw(
                    "'><error type='cancel'><service-unavailable \
                     xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>",
                ),
            ],
        );
    }
}

/// The priority, which is 0 where none is given or it is none (RFC 6121, 4.7.2.3).
fn priority(stanza: &Element<'_>) -> i8 {
    let given = stanza.child(CLIENT, "priority");
    let text = given.and_then(|given| given.text().plain()).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
