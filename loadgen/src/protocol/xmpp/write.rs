//! Elements to the server.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quick_xml::Writer;
use quick_xml::escape::partial_escape;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use super::{BIND_ID, CLIENT, FRAMING, JSON, MANAGEMENT, MUC, NEXUS, PING_ID, WANT_ID};
use crate::protocol::Login;
use crate::protocol::template::Template;

/// One element in the making. Writing to memory cannot fail.
struct Out(Writer<Vec<u8>>);

impl Out {
    fn new() -> Self {
        Self(Writer::new(Vec::with_capacity(256)))
    }

    fn tag<'a>(name: &'a str, attributes: &[(&'a str, &'a str)]) -> BytesStart<'a> {
        BytesStart::new(name).with_attributes(attributes.iter().copied())
    }

    fn start(&mut self, name: &str, attributes: &[(&str, &str)]) {
        let _ = self.0.write_event(Event::Start(Self::tag(name, attributes)));
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        let _ = self.0.write_event(Event::Empty(Self::tag(name, attributes)));
    }

    fn end(&mut self, name: &str) {
        let _ = self.0.write_event(Event::End(BytesEnd::new(name)));
    }

    fn len(&mut self) -> usize {
        self.0.get_mut().len()
    }

    /// Text without anything to be escaped, or escaped already; where it lies.
    fn escaped(&mut self, text: &str) -> Range<usize> {
        let from = self.len();
        let _ = self.0.write_event(Event::Text(BytesText::from_escaped(text)));
        from..self.len()
    }

    fn text(&mut self, text: &str) -> Range<usize> {
        self.escaped(&partial_escape(text))
    }

    fn finish(self) -> Vec<u8> {
        self.0.into_inner()
    }
}

/// An element without content.
fn leaf(name: &str, attributes: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Out::new();
    out.empty(name, attributes);
    out.finish()
}

/// An iq of one element without content.
fn ask(kind: &str, id: &str, payload: &str, attributes: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Out::new();
    out.start("iq", &[("xmlns", CLIENT), ("type", kind), ("id", id)]);
    out.empty(payload, attributes);
    out.end("iq");
    out.finish()
}

/// `<open/>` (RFC 7395, 3.4).
pub fn open(domain: &str) -> Vec<u8> {
    leaf(
        "open",
        &[
            ("xmlns", FRAMING),
            ("to", domain),
            ("version", "1.0"),
            ("xml:lang", "en"),
        ],
    )
}

/// `<close/>` (RFC 7395, 3.6).
pub fn close() -> Vec<u8> {
    leaf("close", &[("xmlns", FRAMING)])
}

/// The head of a stream (RFC 6120, 4.2).
pub fn stream_begin(domain: &str) -> Vec<u8> {
    let mut out = Out::new();
    let _ = out.0.write_event(Event::Decl(BytesDecl::new("1.0", None, None)));
    let attributes = [
        ("xmlns", CLIENT),
        ("xmlns:stream", "http://etherx.jabber.org/streams"),
        ("to", domain),
        ("version", "1.0"),
        ("xml:lang", "en"),
    ];
    out.start("stream:stream", &attributes);
    out.finish()
}

/// The end of a stream (RFC 6120, 4.4).
pub fn stream_end() -> Vec<u8> {
    let mut out = Out::new();
    out.end("stream:stream");
    out.finish()
}

/// Asks for TLS (RFC 6120, 5.4.2.1).
pub fn starttls() -> Vec<u8> {
    leaf("starttls", &[("xmlns", "urn:ietf:params:xml:ns:xmpp-tls")])
}

/// The namespace of SASL.
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// SASL ANONYMOUS (RFC 4505).
pub fn auth_anonymous() -> Vec<u8> {
    leaf("auth", &[("xmlns", SASL), ("mechanism", "ANONYMOUS")])
}

/// SASL PLAIN (RFC 4616) with its initial response.
pub fn auth(login: &Login) -> Vec<u8> {
    let mut out = Out::new();
    out.start("auth", &[("xmlns", SASL), ("mechanism", "PLAIN")]);
    out.escaped(&STANDARD.encode(format!("\0{}\0{}", login.account, login.secret)));
    out.end("auth");
    out.finish()
}

/// Asks for `resource` (RFC 6120, 7.7).
pub fn bind(resource: &str) -> Vec<u8> {
    let mut out = Out::new();
    out.start("iq", &[("xmlns", CLIENT), ("type", "set"), ("id", BIND_ID)]);
    out.start("bind", &[("xmlns", "urn:ietf:params:xml:ns:xmpp-bind")]);
    out.start("resource", &[]);
    out.text(resource);
    for name in ["resource", "bind", "iq"] {
        out.end(name);
    }
    out.finish()
}

/// Available.
pub fn presence() -> Vec<u8> {
    leaf("presence", &[("xmlns", CLIENT)])
}

/// Subscribes to a channel.
pub fn subscribe(channel: &str) -> Vec<u8> {
    ask(
        "set",
        WANT_ID,
        "subscribe",
        &[("xmlns", NEXUS), ("channel", channel)],
    )
}

/// Registers a listener.
pub fn listen(cmd: &str) -> Vec<u8> {
    ask("set", WANT_ID, "listen", &[("xmlns", NEXUS), ("cmd", cmd)])
}

/// XEP-0199, to the server.
pub fn ping() -> Vec<u8> {
    ask("get", PING_ID, "ping", &[("xmlns", "urn:xmpp:ping")])
}

/// Answers the server's ping.
pub fn pong(id: &str) -> Vec<u8> {
    leaf("iq", &[("xmlns", CLIENT), ("type", "result"), ("id", id)])
}

/// Asks for a session that may be resumed (XEP-0198, 3).
pub fn enable() -> Vec<u8> {
    leaf("enable", &[("xmlns", MANAGEMENT), ("resume", "true")])
}

/// Says how many stanzas were handled (XEP-0198, 4).
pub fn acknowledge(handled: u32) -> Vec<u8> {
    leaf("a", &[("xmlns", MANAGEMENT), ("h", &handled.to_string())])
}

/// A message of `payload` to a channel.
pub fn publish(channel: &str, payload: &str) -> Template {
    let mut out = Out::new();
    out.start("message", &[("xmlns", CLIENT)]);
    out.start("publish", &[("xmlns", NEXUS), ("channel", channel)]);
    let payload = out.text(payload);
    out.end("publish");
    out.end("message");
    Template {
        frame: out.finish(),
        key: 0..0,
        packet_id_at: None,
        payload,
    }
}

/// A Direct message of `payload` to the worker of `app` under `resource`.
pub fn direct(app: &str, resource: &str, payload: &str) -> Template {
    let mut out = Out::new();
    out.start("message", &[("xmlns", CLIENT)]);
    let attributes = [("xmlns", NEXUS), ("app", app), ("resource", resource)];
    out.start("direct", &attributes);
    let payload = out.text(payload);
    out.end("direct");
    out.end("message");
    Template {
        frame: out.finish(),
        key: 0..0,
        packet_id_at: None,
        payload,
    }
}

/// Joins a room (XEP-0045, 7.2) under `nick`, without its history.
pub fn join(room: &str, nick: &str) -> Vec<u8> {
    let mut out = Out::new();
    let occupant = format!("{room}/{nick}");
    out.start("presence", &[("xmlns", CLIENT), ("to", &occupant)]);
    out.start("x", &[("xmlns", MUC)]);
    out.empty("history", &[("maxstanzas", "0")]);
    for name in ["x", "presence"] {
        out.end(name);
    }
    out.finish()
}

/// A message of `payload` to all occupants of a room (XEP-0045, 7.4).
pub fn groupchat(room: &str, payload: &str) -> Template {
    let mut out = Out::new();
    out.start(
        "message",
        &[("xmlns", CLIENT), ("type", "groupchat"), ("to", room)],
    );
    out.start("body", &[]);
    let payload = out.text(payload);
    out.end("body");
    out.end("message");
    Template {
        frame: out.finish(),
        key: 0..0,
        packet_id_at: None,
        payload,
    }
}

/// An iq with a JSON container, whose id is the key.
fn api(kind: &str, id: &str, attributes: &[(&str, &str)], escaped_body: &str) -> Template {
    let mut out = Out::new();
    out.start("iq", &[("xmlns", CLIENT), ("type", kind), ("id", id)]);
    // The id is the last attribute: `">` follows.
    let id_end = out.len().saturating_sub(2);
    out.start("api", attributes);
    out.start("json", &[("xmlns", JSON)]);
    let payload = out.escaped(escaped_body);
    for name in ["json", "api", "iq"] {
        out.end(name);
    }
    Template {
        frame: out.finish(),
        key: id_end.saturating_sub(id.len())..id_end,
        packet_id_at: None,
        payload,
    }
}

/// A request to a worker of `app`; its id is the key, 16 digits.
pub fn request(app: &str, cmd: &str, body: &str) -> Template {
    let attributes = [("xmlns", NEXUS), ("app", app), ("cmd", cmd)];
    api("set", "0000000000000000", &attributes, &partial_escape(body))
}

/// A worker's answer; the token is the key, and the body is as it lay on the wire.
pub fn answer(token: &str, escaped_body: &str) -> Template {
    api("result", token, &[("xmlns", NEXUS)], escaped_body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::xmpp::{Iq, IqKind, Message, Stanza, read};

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(read(&open("a&b")), Ok(Stanza::Open));
        assert_eq!(read(&close()), Ok(Stanza::Close));
        for (element, id) in [
            (bind("r'1"), BIND_ID),
            (subscribe("a/b"), WANT_ID),
            (listen("c"), WANT_ID),
            (ping(), PING_ID),
        ] {
            let Ok(Stanza::Iq(iq)) = read(&element) else {
                panic!("{}", String::from_utf8_lossy(&element))
            };
            assert_eq!((iq.id, iq.ping), (id, id == PING_ID));
        }
        let login = Login {
            account: "u".into(),
            secret: "p".into(),
        };
        assert!(String::from_utf8(auth(&login)).unwrap().contains(">AHUAcA==<"));
    }

    #[test]
    fn keys_and_payloads_lie_where_they_are_patched() {
        let mut request = request("app", "cmd", r#"{"a":"b"}"#);
        request.set_key(b"00000000000000ab");
        request.payload_mut()[2] = b'z';
        let Ok(Stanza::Iq(iq)) = read(request.frame()) else {
            panic!()
        };
        let expected = Iq {
            kind: IqKind::Set,
            id: "00000000000000ab",
            json: Some(r#"{"z":"b"}"#),
            condition: "undefined-condition",
            ..Iq::default()
        };
        assert_eq!(iq, expected);
        let mut answer = answer("t0", "{&quot;}");
        answer.set_key(b"t1");
        answer.set_key(b"longer");
        let Ok(Stanza::Iq(iq)) = read(answer.frame()) else {
            panic!()
        };
        assert_eq!(
            (iq.kind, iq.id, iq.json),
            (IqKind::Result, "t1", Some("{&quot;}"))
        );
        let publish = publish("a/b", "text");
        let expected = Message {
            text: Some("text"),
            refused: None,
        };
        assert_eq!(read(publish.frame()), Ok(Stanza::Message(expected)));
        let said = groupchat("r@c.d", "text");
        assert_eq!(read(said.frame()), Ok(Stanza::Message(expected)));
        assert_eq!(said.payload(), b"text");
        assert!(matches!(read(&join("r@c.d", "n'1")), Ok(Stanza::Presence(_))));
        assert_eq!(publish.payload(), b"text");
    }
}
