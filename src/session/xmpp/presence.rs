//! Presence (RFC 6121 section 4): whether a block takes what is sent to its account, and the rooms it is in.

use super::Session;
use super::names::CLIENT;
use super::rooms::addressee;
use crate::codec::xmpp::Element;
use crate::route::Command;
use crate::session::{Output, Scratch};

impl Session {
    /// `<presence/>` of the client. Presence between blocks is not broadcast: what counts is its own, and that to rooms.
    pub(super) fn presence<'a, O: Output>(
        &mut self,
        stanza: &Element<'a>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Option<Command<'a>> {
        if stanza.attribute("to").is_some() {
            let mut spelled = Vec::new();
            let to = addressee(stanza, &mut spelled);
            return self.room_presence(stanza, to, scratch, out);
        }
        match stanza.attribute("type") {
            // Deployed web pages say `available` in so many words.
            None => return self.available(priority(stanza), scratch),
            Some(kind) if kind.is("available") => return self.available(priority(stanza), scratch),
            Some(kind) if kind.is("unavailable") => {
                self.presence = None;
                // RFC 6121, 4.6.3: who was told that the block is there is told that it goes.
                return self.leave_all(scratch);
            }
            Some(_) => {}
        }
        None
    }
}

impl Session {
    /// The client is there: it is put back into the rooms that its earlier session was in.
    fn available<'a>(&mut self, priority: i8, scratch: &'a mut Scratch) -> Option<Command<'a>> {
        self.presence = Some(priority);
        self.restore_rooms(scratch)
    }
}

/// The priority, which is 0 where none is given or it is none (RFC 6121, 4.7.2.3).
fn priority(stanza: &Element<'_>) -> i8 {
    let given = stanza.child(CLIENT, "priority");
    let text = given.and_then(|given| given.text().plain()).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
