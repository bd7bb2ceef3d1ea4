//! Requests and answers (`iq`, RFC 6120, 8.2.3) other than Nexus's own: what every client asks a server for.

use super::Session;
use super::condition::{Fatal, StanzaError};
use super::names::{BIND, CONFERENCE, DISCO_INFO, DISCO_ITEMS, NEXUS, PING, ROSTER, SESSION};
use super::write;
use crate::codec::xmpp::{Element, Piece, Text};
use crate::limits;
use crate::route::{Command, Completion, Refusal};
use crate::session::{Output, Scratch};

/// An iq whose completion is awaited.
#[derive(Debug)]
pub(super) struct Waiting {
    to: Box<str>,
    id: Box<str>,
}

/// To whom an iq goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// The daemon: its domain, the client's own account, or nobody named.
    Daemon,
    /// The channel service.
    Conference,
    /// Another block, or nobody here.
    Other,
}

/// An iq that is to be answered: what its answer repeats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Empty: nobody was named, and the answer comes from nobody.
    pub(super) to: &'a str,
    pub(super) id: &'a str,
}

impl Session {
    /// An iq of a client that has logged in.
    pub(super) fn iq<'a, O: Output>(
        &mut self,
        iq: &Element<'a>,
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Option<Command<'a>>, Fatal> {
        // Allocates only where an attribute has references in it.
        let mut spelled = Vec::new();
        let [to, id] = spell(&mut spelled, [iq.attribute("to"), iq.attribute("id")]);
        check_repeated(to, id)?;
        let kind = iq
            .attribute("type")
            .and_then(|kind| kind.plain())
            .unwrap_or_default();
        if matches!(kind, "result" | "error") {
            return Ok(super::native::answer(iq, id, scratch, kind == "error"));
        }
        let mut payloads = iq.children();
        let payload = payloads.next().filter(|_| payloads.next().is_none());
        let well_formed = matches!(kind, "get" | "set") && !id.is_empty();
        let asked = Asked { to, id };
        let Some(payload) = payload.filter(|_| well_formed) else {
            write_error(out, to, id, StanzaError::BAD_REQUEST);
            return Ok(None);
        };
        if let Some(address) = self.room_address(to) {
            self.room_iq(address, kind, &payload, asked, out);
            return Ok(None);
        }
        match self.recipient(to) {
            To::Other => {
                write_error(out, to, id, StanzaError::SERVICE_UNAVAILABLE);
                Ok(None)
            }
            To::Daemon if payload.namespace() == NEXUS && kind == "set" => {
                Ok(self.native(&payload, asked, scratch, out))
            }
            at => {
                self.standard(at, kind, &payload, asked, out);
                Ok(None)
            }
        }
    }

    fn recipient(&self, to: &str) -> To {
        if to.is_empty() || self.settings.domain_of(to).is_some() {
            return To::Daemon;
        }
        if self.settings.is_conference(to) {
            return To::Conference;
        }
        // RFC 6120, 10.3.3: what is sent to the own account, the server answers for it.
        let (own, _) = self.own();
        match to.split_once('@') {
            Some((account, domain)) if account == own && self.settings.domain_of(domain).is_some() => {
                To::Daemon
            }
            _ => To::Other,
        }
    }

    /// What any client may ask of any server.
    fn standard<O: Output>(&self, at: To, kind: &str, payload: &Element<'_>, asked: Asked<'_>, out: &mut O) {
        let has_node = payload.attribute("node").is_some();
        let answer = match (kind, payload.namespace(), payload.name(), at) {
            ("get", PING, "ping", _) | ("set", SESSION, "session", To::Daemon) => "",
            ("get", ROSTER, "query", To::Daemon) => "<query xmlns='jabber:iq:roster'/>",
            ("get", DISCO_INFO | DISCO_ITEMS, "query", _) if has_node => {
                return write_error(out, asked.to, asked.id, StanzaError::ITEM_NOT_FOUND);
            }
            ("get", DISCO_INFO, "query", To::Daemon) => {
                "<query xmlns='http://jabber.org/protocol/disco#info'>\
                 <identity category='server' type='im' name='Nexus'/>\
                 <feature var='http://jabber.org/protocol/disco#info'/>\
                 <feature var='http://jabber.org/protocol/disco#items'/>\
                 <feature var='urn:xmpp:ping'/>\
                 <feature var='urn:xmpp:json:0'/>\
                 <feature var='urn:nexus:1'/></query>"
            }
            ("get", DISCO_INFO, "query", _) => {
                "<query xmlns='http://jabber.org/protocol/disco#info'>\
                 <identity category='conference' type='text' name='Nexus channels'/>\
                 <feature var='http://jabber.org/protocol/disco#info'/>\
                 <feature var='http://jabber.org/protocol/disco#items'/>\
                 <feature var='http://jabber.org/protocol/muc'/>\
                 <feature var='urn:xmpp:ping'/></query>"
            }
            ("get", DISCO_ITEMS, "query", To::Daemon) => return self.disco_items(asked, out),
            // No protocol lists channels.
            ("get", DISCO_ITEMS, "query", _) => "<query xmlns='http://jabber.org/protocol/disco#items'/>",
            ("set", BIND, "bind", To::Daemon) => {
                return self.bind_again(payload, asked, out);
            }
            _ => return write_error(out, asked.to, asked.id, StanzaError::SERVICE_UNAVAILABLE),
        };
        write_result(out, asked, &[Piece::Raw(answer)]);
    }

    fn disco_items<O: Output>(&self, asked: Asked<'_>, out: &mut O) {
        let items = [
            Piece::Raw("<query xmlns='http://jabber.org/protocol/disco#items'><item jid='"),
            Piece::Raw(CONFERENCE),
            Piece::Raw("."),
            Piece::Attribute(self.domain()),
            Piece::Raw("' name='Nexus channels'/></query>"),
        ];
        write_result(out, asked, &items);
    }

    /// Keeps what the answer repeats until the router has done what was asked.
    pub(super) fn wait_for(&mut self, asked: Asked<'_>) {
        self.waiting = Some(Box::new(Waiting {
            to: asked.to.into(),
            id: asked.id.into(),
        }));
    }

    /// The router has done, or refused, what the iq that waits asked for.
    pub(super) fn iq_completed<O: Output>(&mut self, completion: &Completion, out: &mut O) {
        let refused: Option<Refusal> = match completion {
            Completion::Registered(results) => results.iter().find_map(|result| result.err()),
            Completion::Unregistered(results) => results.iter().find_map(|result| result.err()),
            Completion::Published(_)
            | Completion::Direct(_)
            | Completion::Requested
            | Completion::Answered
            | Completion::Resumable(_) => {
                return;
            }
        };
        let Some(waiting) = self.waiting.take() else {
            return;
        };
        let asked = Asked {
            to: &waiting.to,
            id: &waiting.id,
        };
        match refused {
            None => write_result(out, asked, &[]),
            Some(refusal) => write_error(out, asked.to, asked.id, StanzaError::of_refusal(refusal)),
        }
    }
}

/// An answer repeats what its request says of itself, so that it has to be short.
pub(super) fn check_repeated(to: &str, id: &str) -> Result<(), Fatal> {
    if to.len() > limits::XMPP_ADDRESS_BYTES_MAX || id.len() > limits::XMPP_ID_BYTES_MAX {
        return Err(Fatal::IdTooLong);
    }
    Ok(())
}

/// The texts of attributes and elements, unescaped; those without references stay where they are, the others are
/// written into `buffer`. One that is not there is empty.
pub(super) fn spell<'a, const N: usize>(
    buffer: &'a mut Vec<u8>,
    texts: [Option<Text<'a>>; N],
) -> [&'a str; N] {
    buffer.clear();
    let mut ends = [0; N];
    for (end, text) in ends.iter_mut().zip(&texts) {
        if let Some(text) = text
            && text.plain().is_none()
        {
            text.append_to(buffer);
        }
        *end = buffer.len();
    }
    let written: &'a [u8] = buffer;
    let mut begin = 0;
    let mut spelled = [""; N];
    for ((place, text), end) in spelled.iter_mut().zip(texts).zip(ends) {
        *place = match text {
            None => "",
            Some(text) => match text.plain() {
                Some(plain) => plain,
                None => std::str::from_utf8(written.get(begin..end).unwrap_or_default()).unwrap_or_default(),
            },
        };
        begin = end;
    }
    spelled
}

/// The start tag of an answer: it comes from whom the request named.
pub(super) fn answer_head<'a>(kind: &'static str, asked: Asked<'a>) -> [Piece<'a>; 7] {
    let (from, end) = if asked.to.is_empty() {
        ("", "'>")
    } else {
        ("' from='", "'>")
    };
    [
        Piece::Raw("<iq xmlns='jabber:client' type='"),
        Piece::Raw(kind),
        Piece::Raw("' id='"),
        Piece::Attribute(asked.id),
        Piece::Raw(from),
        Piece::Attribute(asked.to),
        Piece::Raw(end),
    ]
}

/// An iq of type result.
pub(super) fn write_result<O: Output>(out: &mut O, asked: Asked<'_>, payload: &[Piece<'_>]) {
    let mut pieces: smallvec::SmallVec<[Piece<'_>; 40]> = smallvec::SmallVec::new();
    pieces.extend(answer_head("result", asked));
    pieces.extend_from_slice(payload);
    pieces.push(Piece::Raw("</iq>"));
    write(out, &pieces);
}

/// An iq of type error; it never carries what was asked.
pub(super) fn write_error<O: Output>(out: &mut O, to: &str, id: &str, error: StanzaError) {
    write_failure(out, Asked { to, id }, error, "", None);
}

/// An iq of type error with a text and, if it is the outcome of an API request, its code.
pub(super) fn write_failure<O: Output>(
    out: &mut O,
    asked: Asked<'_>,
    error: StanzaError,
    text: &str,
    code: Option<i32>,
) {
    let mut pieces: smallvec::SmallVec<[Piece<'_>; 40]> = smallvec::SmallVec::new();
    pieces.extend(answer_head("error", asked));
    pieces.extend([
        Piece::Raw("<error type='"),
        Piece::Raw(error.kind),
        Piece::Raw("'><"),
        Piece::Raw(error.condition),
        Piece::Raw(" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"),
    ]);
    if !text.is_empty() {
        pieces.extend([
            Piece::Raw("<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>"),
            Piece::Text(text),
            Piece::Raw("</text>"),
        ]);
    }
    if let Some(code) = code {
        pieces.extend([
            Piece::Raw("<failure xmlns='urn:nexus:1' code='"),
            Piece::Number(code.into()),
            Piece::Raw("'/>"),
        ]);
    }
    pieces.push(Piece::Raw("</error></iq>"));
    write(out, &pieces);
}
