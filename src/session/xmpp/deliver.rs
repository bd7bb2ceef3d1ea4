//! Elements to the client: each kind of delivery in its stanza, with its sender (PROTOCOL section 4).

use std::borrow::Cow;

use smallvec::SmallVec;

use super::attributes::Kept;
use super::condition::StanzaError;
use super::iq::{Asked, write_failure, write_result};
use super::label::ReplyTo;
use super::names::CONFERENCE;
use super::rooms::ROOM;
use super::{Session, pieces, write};
use crate::codec::xmpp::{Piece, is_xml_text};
use crate::limits;
use crate::route::{ChannelMessage, Delivery, Outcome, Sender, Token, Undelivered};
use crate::session::{Frames, Output};
use crate::time::Now;

/// In the keys of [`Frames`]: frames of this protocol are not those of another.
pub(super) const PROTOCOL: u32 = 2 << 16;

impl Session {
    /// Writes a message for the block.
    pub(super) fn delivery<O: Output>(
        &mut self,
        delivery: &Delivery<'_>,
        now: Now,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        match *delivery {
            Delivery::Channel {
                mut message,
                sender,
                options,
                is_shown,
                ..
            } => {
                room_for(limits::SEND_QUEUE_BYTES_MAX, out)?;
                if message.expires.is_some_and(|expires| expires < now.instant) {
                    return Err(Undelivered::Expired);
                }
                if options.form == ROOM {
                    return self.groupchat(&message, (sender, is_shown), frames, out);
                }
                message.retain &= options.retain_as_published;
                self.channel(&message, sender, frames, out)
            }
            Delivery::Room { channel, event } => self.room_event(channel, event, frames, out),
            Delivery::Direct {
                text,
                attributes,
                to_account,
                sender,
                ..
            } => {
                // RFC 6121, 8.5.2: a negative priority asks for nothing that is sent to the account.
                if to_account && self.presence.is_none_or(|priority| priority < 0) {
                    return Err(Undelivered::Gone);
                }
                room_for(limits::SEND_QUEUE_BYTES_MAX, out)?;
                self.direct(text, attributes, sender, out)
            }
            Delivery::Request {
                token,
                cmd,
                body,
                sender,
                ..
            } => {
                room_for(limits::SEND_QUEUE_BYTES_MAX, out)?;
                self.request(token, cmd, body, sender, out)
            }
            Delivery::Reply { label, outcome, .. } => {
                // The one outcome of a request: dropped only for a client that is about to be closed.
                room_for(limits::SEND_QUEUE_ANSWERS_BYTES_MAX, out)?;
                self.reply(label, outcome, out)
            }
        }
    }

    /// A message on a channel: the same bytes for every client of one domain.
    fn channel<O: Output>(
        &self,
        message: &ChannelMessage<'_>,
        sender: Sender<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        // Occupants alone see what an occupant sends without a text.
        if message.is_for_occupants() {
            return Err(Undelivered::NotText);
        }
        let text = is_xml_text(message.payload).ok_or(Undelivered::NotText)?;
        let variant =
            u32::from(O::FRAMING) << 24 | PROTOCOL | u32::from(message.retain) << 20 | u32::from(self.domain);
        let frame = frames.get_or_encode(variant, || {
            let mut element: SmallVec<[Piece<'_>; 40]> = SmallVec::from_slice(&[
                Piece::Raw("<message xmlns='jabber:client' type='normal' from='"),
                Piece::Raw(CONFERENCE),
                Piece::Raw("."),
                Piece::Attribute(self.domain()),
                Piece::Raw("'><publish xmlns='urn:nexus:1' channel='"),
                Piece::Attribute(message.channel),
                Piece::Raw(if message.retain { "' retain='true'>" } else { "'>" }),
                Piece::Text(text),
                Piece::Raw("</publish>"),
            ]);
            element.extend(sender_pieces(&sender, self.domain()));
            element.push(Piece::Raw("</message>"));
            out.share(pieces::len(&element), |buffer| pieces::put(&element, buffer))
        });
        out.push(&frame);
        Ok(())
    }

    fn direct<O: Output>(
        &self,
        text: &str,
        attributes: &[u8],
        sender: Sender<'_>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        let mut element: SmallVec<[Piece<'_>; 40]> = SmallVec::new();
        element.extend([
            Piece::Raw("<message xmlns='jabber:client' from='"),
            Piece::Attribute(sender.account()),
            Piece::Raw("@"),
            Piece::Attribute(self.domain()),
            Piece::Raw("/"),
            Piece::Attribute(sender.resource()),
        ]);
        if attributes.is_empty() {
            let text = is_xml_text(text.as_bytes()).ok_or(Undelivered::NotText)?;
            element.extend([
                Piece::Raw("' type='normal'><body>"),
                Piece::Text(text),
                Piece::Raw("</body>"),
            ]);
        } else {
            let kept = Kept::read(attributes).ok_or(Undelivered::NotText)?;
            if let Some(kind) = kept.kind {
                element.extend([Piece::Raw("' type='"), Piece::Attribute(kind)]);
            }
            if let Some(id) = kept.id {
                element.extend([Piece::Raw("' id='"), Piece::Attribute(id)]);
            }
            element.extend([
                Piece::Raw("'"),
                Piece::Raw(kept.declarations),
                Piece::Raw(">"),
                Piece::Raw(kept.children),
            ]);
        }
        element.extend(sender_pieces(&sender, self.domain()));
        element.push(Piece::Raw("</message>"));
        write(out, &element);
        Ok(())
    }

    /// A request that the client is to answer.
    fn request<O: Output>(
        &self,
        token: Token,
        cmd: &str,
        body: &[u8],
        sender: Sender<'_>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        let body = json_text(body).ok_or(Undelivered::NotText)?;
        let token = token.to_text();
        let mut element: SmallVec<[Piece<'_>; 40]> = SmallVec::new();
        element.extend([
            Piece::Raw("<iq xmlns='jabber:client' type='set' id='"),
            Piece::Raw(std::str::from_utf8(&token).unwrap_or_default()),
            Piece::Raw("' from='"),
            Piece::Attribute(self.domain()),
            Piece::Raw("'><api xmlns='urn:nexus:1' cmd='"),
            Piece::Attribute(cmd),
            Piece::Raw("'>"),
        ]);
        element.extend(sender_pieces(&sender, self.domain()));
        element.extend(json_pieces(&body));
        element.push(Piece::Raw("</api></iq>"));
        write(out, &element);
        Ok(())
    }

    /// The outcome of a request of the client.
    fn reply<O: Output>(&self, label: &[u8], outcome: Outcome<'_>, out: &mut O) -> Result<(), Undelivered> {
        let reply_to = ReplyTo::decode(label).ok_or(Undelivered::Gone)?;
        let asked = Asked {
            to: reply_to.to,
            id: reply_to.id,
        };
        if outcome.sender.is_none() && outcome.code != 0 {
            let text = error_text(outcome.body);
            write_failure(
                out,
                asked,
                StanzaError::of_outcome(outcome.code),
                &text,
                Some(outcome.code),
            );
            return Ok(());
        }
        let body = json_text(outcome.body).unwrap_or_default();
        let mut element: SmallVec<[Piece<'_>; 40]> = SmallVec::new();
        element.extend([
            Piece::Raw("<api xmlns='urn:nexus:1' code='"),
            Piece::Number(outcome.code.into()),
            Piece::Raw("'>"),
        ]);
        if let Some(sender) = &outcome.sender {
            element.extend(sender_pieces(sender, self.domain()));
        }
        element.extend(json_pieces(&body));
        element.push(Piece::Raw("</api>"));
        write_result(out, asked, &element);
        Ok(())
    }
}

/// Whether the send queue may grow.
fn room_for<O: Output>(bytes_max: usize, out: &O) -> Result<(), Undelivered> {
    if out.queued() > bytes_max {
        return Err(Undelivered::QueueFull);
    }
    Ok(())
}

/// `<sender/>`: who sent it, as the daemon authenticated it, in the receiver's domain.
pub(super) fn sender_pieces<'a>(sender: &Sender<'a>, domain: &'a str) -> [Piece<'a>; 15] {
    [
        Piece::Raw("<sender xmlns='urn:nexus:1' app='"),
        Piece::Raw(sender.app()),
        Piece::Raw("' uid='"),
        Piece::Raw(sender.uid_hex()),
        Piece::Raw("' role='"),
        Piece::Raw(sender.role().as_str()),
        Piece::Raw("' resource='"),
        Piece::Attribute(sender.resource()),
        Piece::Raw("' jid='"),
        Piece::Raw(sender.account()),
        Piece::Raw("@"),
        Piece::Attribute(domain),
        Piece::Raw("/"),
        Piece::Attribute(sender.resource()),
        Piece::Raw("'/>"),
    ]
}

/// A JSON body as text of XML. Of what JSON has in it as it is, XML lacks two noncharacters: they stand in strings, so
/// that their escapes mean the same (PROTOCOL 2.3). `None`: it is no JSON.
fn json_text(body: &[u8]) -> Option<Cow<'_, str>> {
    if let Some(text) = is_xml_text(body) {
        return Some(Cow::Borrowed(text));
    }
    let text = std::str::from_utf8(body).ok()?;
    let escaped = text.replace('\u{FFFE}', r"\ufffe").replace('\u{FFFF}', r"\uffff");
    is_xml_text(escaped.as_bytes())?;
    Some(Cow::Owned(escaped))
}

/// A JSON container (XEP-0335).
const fn json_pieces(body: &str) -> [Piece<'_>; 3] {
    [
        Piece::Raw("<json xmlns='urn:xmpp:json:0'>"),
        Piece::Text(body),
        Piece::Raw("</json>"),
    ]
}

/// The member `error` of a failure's body.
fn error_text(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Failure {
        #[serde(default)]
        error: String,
    }
    serde_json::from_slice::<Failure>(body).map_or_else(|_| String::new(), |failure| failure.error)
}
