//! From one element to what it means here.

use quick_xml::Reader;
use quick_xml::errors::{Error, IllFormedError};
use quick_xml::events::attributes::Attributes;
use quick_xml::events::{BytesStart, Event};

use super::{CLIENT, FRAMING, Iq, IqKind, MANAGEMENT, Message, Offers, Presence, Stanza};
use crate::protocol::Malformed;

/// Reads one message, which is one element.
///
/// # Errors
/// [`Malformed`] where `quick-xml` refuses it, or it is not exactly one element in its namespace.
pub fn read(message: &[u8]) -> Result<Stanza<'_>, Malformed> {
    let text = std::str::from_utf8(message).map_err(|error| broken(&error))?;
    match element(text, Within::Message) {
        Ok((stanza, len)) if len == text.len() => Ok(stanza),
        Ok(_) => Err(Malformed("more than one element in a message".into())),
        Err(Stop::Unfinished) => Err(Malformed("an element without its end".into())),
        Err(Stop::Malformed(why)) => Err(why),
    }
}

/// What an element stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// A message of WebSocket: it says its namespace itself.
    Message,
    /// A stream, whose namespace it has, and whose head is an element without end.
    Stream,
}

/// Why there is no element.
pub(super) enum Stop {
    /// The text ends before it.
    Unfinished,
    /// No more text makes one of it.
    Malformed(Malformed),
}

impl From<Malformed> for Stop {
    fn from(why: Malformed) -> Self {
        Self::Malformed(why)
    }
}

impl From<Error> for Stop {
    /// `quick-xml` calls its syntax broken where the text ends too early.
    fn from(error: Error) -> Self {
        match error {
            Error::Syntax(_)
            | Error::IllFormed(IllFormedError::MissingEndTag(_) | IllFormedError::UnclosedReference) => {
                Self::Unfinished
            }
            error => Self::Malformed(broken(&error)),
        }
    }
}

/// Reads the element at the start of `text`: it and its length.
pub(super) fn element(text: &str, within: Within) -> Result<(Stanza<'_>, usize), Stop> {
    let mut walk = Walk {
        text,
        reader: Reader::from_str(text),
    };
    let (root, leaf) = walk.element(within)?;
    if within == Within::Stream && root.name == "stream" {
        return Ok((Stanza::Open, walk.position()));
    }
    let mut found = Found::default();
    if !leaf {
        walk.contents(&mut found)?;
    }
    Ok((stanza(&root, &found, within)?, walk.position()))
}

fn broken(error: &dyn std::fmt::Display) -> Malformed {
    Malformed(format!("quick-xml: {error}"))
}

/// A start tag.
struct Tag<'a> {
    /// Without its prefix.
    name: &'a str,
    attributes: Attributes<'a>,
}

impl<'a> Tag<'a> {
    /// The value of an attribute, as it lies on the wire.
    fn attribute(&self, name: &str) -> Option<&'a str> {
        let mut all = self.attributes.clone().filter_map(Result::ok);
        match all.find(|attribute| attribute.key.as_ref() == name)?.value {
            std::borrow::Cow::Borrowed(value) => Some(value),
            std::borrow::Cow::Owned(_) => None,
        }
    }
}

/// What is looked for within the root.
#[derive(Default)]
struct Found<'a> {
    first: Option<&'a str>,
    condition: Option<&'a str>,
    code: Option<i32>,
    json: Option<&'a str>,
    published: Option<&'a str>,
    body: Option<&'a str>,
    sender: bool,
    own: bool,
    offers: Offers,
    ping: bool,
}

struct Walk<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
}

impl<'a> Walk<'a> {
    fn position(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }

    /// The root's start tag, and whether that is all of it.
    fn element(&mut self, within: Within) -> Result<(Tag<'a>, bool), Stop> {
        loop {
            let from = self.position();
            match self.reader.read_event()? {
                Event::Start(start) => return Ok((self.tag(&start, from), false)),
                Event::Empty(start) => return Ok((self.tag(&start, from), true)),
                // Before the head of a stream.
                Event::Decl(_) if within == Within::Stream => {}
                Event::Text(text) if within == Within::Stream && text.trim_ascii().is_empty() => {}
                Event::Eof => return Err(Stop::Unfinished),
                _ => return Err(Malformed("no element".into()).into()),
            }
        }
    }

    /// The tag that began at `from` and was just read, borrowed from the message.
    fn tag(&self, start: &BytesStart<'_>, from: usize) -> Tag<'a> {
        // Behind the `<`; name and attributes are as long as the event's.
        let inside = self
            .text
            .get(from + 1..from + 1 + start.len())
            .unwrap_or_default();
        let full = start.name().as_ref().len();
        let name = inside.get(..full).unwrap_or_default();
        let mut attributes = Attributes::new(inside, full);
        attributes.with_checks(false);
        Tag {
            name: name.rsplit(':').next().unwrap_or_default(),
            attributes,
        }
    }

    /// Everything to the root's end.
    fn contents(&mut self, found: &mut Found<'a>) -> Result<(), Stop> {
        let mut depth = 1;
        let mut in_error = false;
        loop {
            let from = self.position();
            match self.reader.read_event()? {
                Event::Start(start) => {
                    let tag = self.tag(&start, from);
                    if matches!(tag.name, "json" | "publish" | "mechanism" | "body") {
                        let inner = self.position();
                        let end = self.reader.read_to_end(start.name())?.end;
                        let end = usize::try_from(end).unwrap_or(usize::MAX);
                        found.text(&tag, self.text.get(inner..end).unwrap_or_default());
                        continue;
                    }
                    found.tag(&tag, depth, in_error);
                    in_error |= depth == 1 && tag.name == "error";
                    depth += 1;
                }
                Event::Empty(start) => {
                    let tag = self.tag(&start, from);
                    found.text(&tag, "");
                    found.tag(&tag, depth, in_error);
                }
                Event::End(_) => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {}
                Event::Eof => return Err(Stop::Unfinished),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {
                    return Err(Malformed("what RFC 6120, 11.1 forbids".into()).into());
                }
            }
        }
    }
}

impl<'a> Found<'a> {
    fn text(&mut self, tag: &Tag<'a>, text: &'a str) {
        match tag.name {
            "json" => self.json = Some(text),
            "publish" => self.published = Some(text),
            "body" => self.body = Some(text),
            "mechanism" => {
                self.offers.plain |= text == "PLAIN";
                self.offers.anonymous |= text == "ANONYMOUS";
            }
            _ => {}
        }
    }

    fn tag(&mut self, tag: &Tag<'a>, depth: usize, in_error: bool) {
        if depth == 1 {
            self.first.get_or_insert(tag.name);
            self.offers.bind |= tag.name == "bind";
            self.offers.starttls |= tag.name == "starttls";
            self.ping |= tag.name == "ping";
            self.sender |= tag.name == "sender";
        } else if tag.name == "status" {
            self.own |= tag.attribute("code") == Some("110");
        } else if in_error && tag.name == "failure" {
            self.code = tag.attribute("code").and_then(|code| code.parse().ok());
        } else if in_error && tag.name != "text" {
            self.condition.get_or_insert(tag.name);
        }
    }
}

fn stanza<'a>(root: &Tag<'a>, found: &Found<'a>, within: Within) -> Result<Stanza<'a>, Malformed> {
    let namespace = match root.name {
        "open" | "close" => FRAMING,
        "iq" | "message" | "presence" => CLIENT,
        "enabled" | "failed" | "r" => MANAGEMENT,
        _ => "",
    };
    let said = root.attribute("xmlns");
    let inherited = said.is_none() && within == Within::Stream && namespace == CLIENT;
    if !namespace.is_empty() && !inherited && said != Some(namespace) {
        return Err(Malformed(format!("<{}/> in another namespace", root.name)));
    }
    let first = found.first.unwrap_or("undefined-condition");
    let refused = || {
        (root.attribute("type") == Some("error")).then(|| found.condition.unwrap_or("undefined-condition"))
    };
    Ok(match root.name {
        "open" => Stanza::Open,
        "close" => Stanza::Close,
        "features" => Stanza::Features(found.offers),
        "proceed" => Stanza::Proceed,
        "success" => Stanza::Success,
        "failure" => Stanza::Failure(first),
        "error" => Stanza::StreamError(first),
        "iq" => Stanza::Iq(Iq {
            kind: match root.attribute("type") {
                Some("get") => IqKind::Get,
                Some("set") => IqKind::Set,
                Some("result") => IqKind::Result,
                Some("error") => IqKind::Error,
                _ => return Err(Malformed("an iq without type".into())),
            },
            id: root.attribute("id").unwrap_or_default(),
            ping: found.ping,
            json: found.json,
            condition: found.condition.unwrap_or("undefined-condition"),
            code: found.code,
        }),
        "message" => Stanza::Message(Message {
            text: match root.attribute("type") {
                Some("groupchat") => found.body,
                // A Direct message says who sent it; other messages are not the run's.
                _ => found.published.or_else(|| found.body.filter(|_| found.sender)),
            },
            refused: refused(),
        }),
        "presence" => Stanza::Presence(Presence {
            own: found.own,
            refused: refused(),
        }),
        "enabled" => Stanza::Enabled,
        "failed" => Stanza::ManagementFailed(first),
        "r" => Stanza::AckWanted,
        _ => Stanza::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7395_the_elements_of_a_login_are_told_apart() {
        let of = |text: &'static str| read(text.as_bytes()).unwrap();
        assert_eq!(
            of("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0'/>"),
            Stanza::Open
        );
        assert_eq!(
            of(
                "<stream:features xmlns:stream='http://etherx.jabber.org/streams'><mechanisms xmlns='x'>\
                <mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms></stream:features>"
            ),
            Stanza::Features(Offers {
                plain: true,
                ..Offers::default()
            })
        );
        assert_eq!(
            of("<stream:features xmlns:stream='s'><bind xmlns='b'/></stream:features>"),
            Stanza::Features(Offers {
                bind: true,
                ..Offers::default()
            })
        );
        assert_eq!(of("<success xmlns='s'/>"), Stanza::Success);
        assert_eq!(
            of("<failure xmlns='s'><not-authorized/></failure>"),
            Stanza::Failure("not-authorized")
        );
        assert_eq!(
            of("<stream:error xmlns:stream='s'><conflict xmlns='c'/><text xmlns='c'>x</text></stream:error>"),
            Stanza::StreamError("conflict")
        );
        assert_eq!(
            of("<presence xmlns='jabber:client'/>"),
            Stanza::Presence(Presence::default())
        );
    }

    #[test]
    fn an_iq_shows_its_body_or_why_there_is_none() {
        let reply = "<iq xmlns='jabber:client' type='result' id='7'><api xmlns='urn:nexus:1' code='0'>\
            <sender app='a'/><json xmlns='urn:xmpp:json:0'>{\"a\":\"&lt;\"}</json></api></iq>";
        let expected = Iq {
            kind: IqKind::Result,
            id: "7",
            json: Some("{\"a\":\"&lt;\"}"),
            condition: "undefined-condition",
            ..Iq::default()
        };
        assert_eq!(read(reply.as_bytes()), Ok(Stanza::Iq(expected)));
        let failure = "<iq xmlns='jabber:client' type='error' id='8'><error type='cancel'><item-not-found xmlns='e'/>\
            <text xmlns='e'>no</text><failure xmlns='urn:nexus:1' code='-2000'/></error></iq>";
        let Ok(Stanza::Iq(iq)) = read(failure.as_bytes()) else {
            panic!()
        };
        assert_eq!(
            (iq.kind, iq.condition, iq.code, iq.json),
            (IqKind::Error, "item-not-found", Some(-2000), None)
        );
        let ping = b"<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
        assert!(matches!(
            read(ping),
            Ok(Stanza::Iq(Iq {
                ping: true,
                id: "p",
                ..
            }))
        ));
    }

    #[test]
    fn a_message_shows_what_was_published_or_said() {
        let text = "<message xmlns='jabber:client'><publish xmlns='urn:nexus:1' channel='c'>a&amp;b</publish></message>";
        let text_of = |message: &'static str| match read(message.as_bytes()) {
            Ok(Stanza::Message(message)) => message.text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text_of(text), Some("a&amp;b"));
        let said =
            "<message xmlns='jabber:client' type='groupchat'><body>b</body><sender xmlns='n'/></message>";
        assert_eq!(text_of(said), Some("b"));
        let direct = "<message xmlns='jabber:client' from='f' type='normal'><body>b</body><sender xmlns='n'/></message>";
        assert_eq!(text_of(direct), Some("b"));
        for other in [
            "<message xmlns='jabber:client' type='groupchat'><subject/></message>",
            "<message xmlns='jabber:client' type='chat'><body>b</body></message>",
        ] {
            assert_eq!(text_of(other), None);
        }
    }

    #[test]
    fn xep0045_7_2_the_own_presence_ends_a_join_and_an_error_refuses_it() {
        let read = |text: &'static str| match read(text.as_bytes()) {
            Ok(Stanza::Presence(presence)) => (presence.own, presence.refused),
            other => panic!("{other:?}"),
        };
        let x = "<presence xmlns='jabber:client'><x xmlns='u'><item role='participant'/></x></presence>";
        assert_eq!(read(x), (false, None));
        let own = "<presence xmlns='jabber:client'><x xmlns='u'><item/><status code='100'/><status code='110'/></x></presence>";
        assert_eq!(read(own), (true, None));
        let refused = "<presence xmlns='jabber:client' type='error'><x xmlns='m'/><error type='cancel'>\
            <conflict xmlns='e'/></error></presence>";
        assert_eq!(read(refused), (false, Some("conflict")));
    }

    #[test]
    fn what_is_not_one_element_is_refused() {
        for text in [
            "",
            "x",
            "<iq",
            "<iq xmlns='jabber:client' type='get'>",
            "<a/><b/>",
            "<a></b>",
            "<a><!-- x --></a>",
            "<iq xmlns='other' type='get' id='1'/>",
            "<iq xmlns='jabber:client' id='1'/>",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(read(b"<a>\xff</a>").is_err());
    }
}
