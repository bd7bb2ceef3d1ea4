//! What goes on in the rooms of a block, told by presences (XEP-0045, 7.2.2, 7.14).

use smallvec::SmallVec;

use super::deliver::PROTOCOL;
use super::rooms::{Entering, Knows};
use super::shown::Shown;
use super::{Session, pieces, write};
use crate::codec::xmpp::Piece;
use crate::limits;
use crate::route::{RoomEvent, Sender, Undelivered};
use crate::session::{Frames, Output};

/// In the keys of [`Frames`], beside those of messages: somebody came.
const CAME: u32 = 1 << 22;
/// Somebody went.
const WENT: u32 = 1 << 23;

impl Session {
    /// What the router tells of a room.
    pub(super) fn room_event<O: Output>(
        &mut self,
        channel: &str,
        event: RoomEvent<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        let rooms = self.rooms.as_mut().ok_or(Undelivered::Gone)?;
        let room = rooms.of_channel_mut(channel).ok_or(Undelivered::Gone)?;
        match event {
            RoomEvent::Listing => {
                if room.knows == Knows::Nobody {
                    room.knows = Knows::Listed;
                }
            }
            RoomEvent::Came { sender, note } => {
                if !room.is_listed() {
                    return Ok(());
                }
                // The list belongs to the answer of a join, which is bounded by what a client may ask without reading.
                if room.entering.is_none() && out.queued() > limits::SEND_QUEUE_BYTES_MAX {
                    room.knows = Knows::Lagging;
                    return Err(Undelivered::QueueFull);
                }
                let number = room.number;
                let was_known = rooms.introduced.take(number, sender.address());
                if !was_known || !note.is_empty() {
                    self.tell(channel, (&sender, true, note), frames, out);
                }
            }
            RoomEvent::Went { sender } => {
                let (number, was_listed) = (room.number, room.is_listed());
                if was_listed && out.queued() > limits::SEND_QUEUE_BYTES_MAX {
                    room.knows = Knows::Lagging;
                    return Err(Undelivered::QueueFull);
                }
                if rooms.introduced.take(number, sender.address()) || was_listed {
                    self.tell(channel, (&sender, false, ""), frames, out);
                }
            }
            RoomEvent::SpeakerWent { sender } => {
                let number = room.number;
                if rooms.introduced.take(number, sender.address()) {
                    self.tell(channel, (&sender, false, ""), frames, out);
                }
            }
            RoomEvent::Entered => {
                if let Some(entering) = rooms.entered(channel) {
                    self.entered(channel, entering, out);
                }
            }
        }
        Ok(())
    }

    /// The presence of another occupant: the same bytes for all of one domain.
    fn tell<O: Output>(
        &self,
        channel: &str,
        (who, is_available, note): (&Sender<'_>, bool, &str),
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) {
        let Some(room) = self.rooms.as_ref().and_then(|rooms| rooms.of_channel(channel)) else {
            return;
        };
        let shown = Shown {
            room: (room, self.settings.domain(room.domain)),
            account: who.account(),
            resource: who.resource(),
            domain: self.domain(),
            is_available,
            note,
        };
        if room.domain != self.domain || !room.is_canonical {
            return shown.write("", out);
        }
        let what = if is_available { CAME } else { WENT };
        let variant = u32::from(O::FRAMING) << 24 | PROTOCOL | what | u32::from(self.domain);
        let frame = frames.get_or_encode(variant, || {
            let element = shown.pieces("");
            out.share(pieces::len(&element), |buffer| pieces::put(&element, buffer))
        });
        out.push(&frame);
    }

    /// The block is in a room, and has been shown who else is.
    fn entered<O: Output>(&self, channel: &str, entering: Entering, out: &mut O) {
        self.show_self(channel, true, out);
        let Some(room) = self.rooms.as_ref().and_then(|rooms| rooms.of_channel(channel)) else {
            return;
        };
        if entering == Entering::Join && room.is_muc {
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
}
