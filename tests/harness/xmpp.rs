//! XMPP over WebSocket by hand (RFC 7395): what no well-behaved client sends.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::daemon::DOMAIN;
use super::scram::{Hash, Scram};
use super::websocket::{CLOSE, FIN, TEXT, WebSocket};
use super::world::{Account, new_uid};
use super::xml::{self, Element, escaped};

pub(crate) const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
pub(crate) const STREAMS: &str = "http://etherx.jabber.org/streams";
pub(crate) const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
pub(crate) const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
pub(crate) const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
pub(crate) const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
pub(crate) const CLIENT: &str = "jabber:client";
pub(crate) const NEXUS: &str = "urn:nexus:1";

/// A connection on which stanzas are written by hand.
pub(crate) struct XmppSocket {
    pub(crate) socket: WebSocket,
}

/// `<open/>` to a domain.
pub(crate) fn open_to(domain: &str) -> String {
    format!("<open xmlns='{FRAMING}' to='{}' version='1.0'/>", escaped(domain))
}

/// The initial response of PLAIN (RFC 4616).
pub(crate) fn plain(authzid: &str, user: &str, secret: &str) -> String {
    STANDARD.encode(format!("{authzid}\0{user}\0{secret}"))
}

/// The condition of a SASL failure, a stream error or a stanza error.
#[track_caller]
pub(crate) fn condition(element: &Element) -> String {
    let error = element.child(CLIENT, "error").unwrap_or(element);
    let conditions: Vec<&str> = error
        .elements()
        .iter()
        .filter(|child| {
            [STREAM_ERRORS, STANZA_ERRORS, SASL].contains(&child.namespace.as_str()) && child.name != "text"
        })
        .map(|child| child.name.as_str())
        .collect();
    assert_eq!(conditions.len(), 1, "one condition: {element:?}");
    conditions[0].to_owned()
}

impl XmppSocket {
    /// The WebSocket alone, no stream in it.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self {
            socket: WebSocket::open_as(address, "/ws", "xmpp"),
        }
    }

    /// With an open stream; its features.
    #[track_caller]
    pub(crate) fn open(address: SocketAddr) -> (Self, Element) {
        let mut this = Self::connect(address);
        let features = this.restart();
        (this, features)
    }

    /// With a block of the account logged in by PLAIN and bound.
    #[track_caller]
    pub(crate) fn login(address: SocketAddr, account: &Account, resource: &str) -> Self {
        let (mut this, _) = Self::open(address);
        let answer = this.authenticate("PLAIN", &plain("", &account.name, &account.secret));
        assert!(answer.is(SASL, "success"), "{answer:?}");
        this.restart();
        let bound = this.bind(resource);
        assert_eq!(bound.attribute("type"), Some("result"), "{bound:?}");
        this
    }

    /// Opens the stream, anew after a success; its features.
    #[track_caller]
    pub(crate) fn restart(&mut self) -> Element {
        let opened = self.ask(&open_to(DOMAIN));
        assert!(opened.is(FRAMING, "open"), "{opened:?}");
        assert_eq!(opened.attribute("from"), Some(DOMAIN), "{opened:?}");
        let features = self.element();
        assert!(features.is(STREAMS, "features"), "{features:?}");
        features
    }

    /// Sends an element as one message; the peer may have closed already.
    pub(crate) fn send(&mut self, element: &str) {
        self.socket.send(FIN | TEXT, element.as_bytes());
    }

    /// The next element; `None` once the server closes the WebSocket.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Element> {
        let frame = self.socket.next()?;
        if frame.first & 0x0F == CLOSE {
            self.socket.send(FIN | CLOSE, &frame.payload);
            return None;
        }
        assert_eq!(frame.first, FIN | TEXT, "one text frame: {frame:x?}");
        let text = String::from_utf8(frame.payload).expect("text of UTF-8");
        Some(xml::parse(&text))
    }

    /// The next element, which must come.
    #[track_caller]
    pub(crate) fn element(&mut self) -> Element {
        self.next().expect("an element before the end of the connection")
    }

    /// Sends an element; the next that comes.
    #[track_caller]
    pub(crate) fn ask(&mut self, element: &str) -> Element {
        self.send(element);
        self.element()
    }

    /// `<auth/>` with an initial response; what the server says to it.
    #[track_caller]
    pub(crate) fn authenticate(&mut self, mechanism: &str, response: &str) -> Element {
        self.ask(&format!(
            "<auth xmlns='{SASL}' mechanism='{mechanism}'>{response}</auth>"
        ))
    }

    /// SCRAM up to its end, the server's first message handed out; `success` is verified.
    #[track_caller]
    pub(crate) fn scram(&mut self, hash: Hash, gs2: &str, user: &str, secret: &str) -> (String, Element) {
        let mut scram = Scram::new(hash, gs2, user, &new_uid());
        let challenge = self.authenticate(hash.mechanism(), &STANDARD.encode(scram.first()));
        if !challenge.is(SASL, "challenge") {
            return (String::new(), challenge);
        }
        let first = decoded(&challenge);
        let last = scram.last(&first, secret);
        let end = self.ask(&format!(
            "<response xmlns='{SASL}'>{}</response>",
            STANDARD.encode(last)
        ));
        if end.is(SASL, "success") {
            scram.assert_server_final(&decoded(&end));
        }
        (first, end)
    }

    /// Binds a resource, or none for one that is made up.
    #[track_caller]
    pub(crate) fn bind(&mut self, resource: &str) -> Element {
        let wanted = if resource.is_empty() {
            String::new()
        } else {
            format!("<resource>{}</resource>", escaped(resource))
        };
        self.ask(&format!(
            "<iq xmlns='{CLIENT}' type='set' id='bind'><bind xmlns='{BIND}'>{wanted}</bind></iq>"
        ))
    }

    /// The full JID that a bind was answered with.
    #[track_caller]
    pub(crate) fn bound_jid(answer: &Element) -> String {
        assert_eq!(answer.attribute("type"), Some("result"), "{answer:?}");
        let bind = answer.child(BIND, "bind").expect("bind");
        bind.child(BIND, "jid").expect("jid").text()
    }

    /// Shows that the block is served.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self) {
        let answer = self.ask(&format!(
            "<iq xmlns='{CLIENT}' type='get' id='alive'><ping xmlns='urn:xmpp:ping'/></iq>"
        ));
        assert_eq!(answer.attribute("id"), Some("alive"), "{answer:?}");
        assert_eq!(answer.attribute("type"), Some("result"), "{answer:?}");
    }

    /// The condition of the stream error that comes next (but for `<open/>`), followed by `<close/>`, the
    /// WebSocket's close frame and the end: RFC 7395, 3.5 and 3.6.
    #[track_caller]
    pub(crate) fn stream_error(&mut self) -> String {
        let mut error = self.element();
        if error.is(FRAMING, "open") {
            error = self.element();
        }
        assert!(error.is(STREAMS, "error"), "a stream error: {error:?}");
        self.assert_closed();
        condition(&error)
    }

    /// `<close/>` comes, then the WebSocket's close frame and the end.
    #[track_caller]
    pub(crate) fn assert_closed(&mut self) {
        let close = self.element();
        assert!(close.is(FRAMING, "close"), "{close:?}");
        self.send(&format!("<close xmlns='{FRAMING}'/>"));
        assert_eq!(self.next(), None, "a close frame follows <close/>");
        assert_eq!(self.socket.next(), None, "nothing follows a close frame");
    }
}

/// What a SASL element carries.
#[track_caller]
fn decoded(element: &Element) -> String {
    let bytes = STANDARD.decode(element.text()).expect("base64");
    String::from_utf8(bytes).expect("text")
}
