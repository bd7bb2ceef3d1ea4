//! The stream (RFC 6120 section 4, over WebSocket RFC 7395): opening, features, STARTTLS, errors, closing.

use super::condition::Fatal;
use super::names::{FRAMING, MANAGEMENT, STREAM, TLS};
use super::{Carrier, Passwords, Session, State, write};
use crate::codec::xmpp::{Bounds, Element, Malformed, Piece, frame_whole};
use crate::route::Command;
use crate::session::Output;

/// Reads a message, which is one element.
pub(super) fn read(message: &[u8]) -> Result<Element<'_>, Malformed> {
    frame_whole(message, &Bounds::default())?;
    Element::parse(message, "")
}

impl Session {
    /// `<open/>` and `<close/>` of the client.
    pub(super) fn framing<'a, O: Output>(
        &mut self,
        element: &Element<'a>,
        out: &mut O,
    ) -> Result<Option<Command<'a>>, Fatal> {
        match (element.name(), self.state) {
            ("close", _) => Ok(Some(self.leave(out))),
            ("open", State::Closed | State::Proven) => self.open(element, out).map(|()| None),
            // A stream is opened once, and once more after the login.
            ("open", _) => Err(Fatal::TooManyAttempts),
            _ => Err(Fatal::UnsupportedStanza),
        }
    }

    /// The client ends the stream.
    pub(super) fn leave<O: Output>(&mut self, out: &mut O) -> Command<'static> {
        self.close(out);
        self.state = State::Ended;
        self.managed = None;
        Command::Leave
    }

    /// RFC 6120, 5.4.2: the stream begins anew under TLS.
    pub(super) fn start_tls<O: Output>(&mut self, out: &mut O) -> Result<Command<'static>, Fatal> {
        if self.carrier != (Carrier::Tcp { starttls: true }) {
            return Err(Fatal::UnsupportedStanza);
        }
        write(
            out,
            &[Piece::Raw("<proceed xmlns='"), Piece::Raw(TLS), Piece::Raw("'/>")],
        );
        self.state = State::Closed;
        Ok(Command::StartTls)
    }

    /// RFC 7395, 3.4; RFC 6120, 4.7.
    pub(super) fn open<O: Output>(&mut self, open: &Element<'_>, out: &mut O) -> Result<(), Fatal> {
        let is_1 = open
            .attribute("version")
            .and_then(|version| version.plain())
            .is_some_and(|version| version.starts_with("1."));
        if !is_1 {
            return Err(Fatal::UnsupportedVersion);
        }
        if let Some(to) = open.attribute("to") {
            let domain = to.plain().and_then(|to| self.settings.domain_of(to));
            let domain = domain.ok_or(Fatal::HostUnknown)?;
            // The domain that was logged in to stays: the account is known under it.
            if self.state == State::Closed {
                self.domain = domain;
            }
        }
        self.write_open(out);
        if self.state == State::Proven {
            self.state = State::Binding;
            write(
                out,
                &[
                    Piece::Raw("<stream:features xmlns:stream='"),
                    Piece::Raw(STREAM),
                    Piece::Raw(
                        "'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>\
                         <session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>\
                         <csi xmlns='urn:xmpp:csi:0'/>\
                         <sm xmlns='urn:xmpp:sm:3'/>\
                         </stream:features>",
                    ),
                ],
            );
        } else {
            self.state = State::Negotiating;
            self.offer_mechanisms(out);
        }
        Ok(())
    }

    fn write_open<O: Output>(&mut self, out: &mut O) {
        let id = self.settings.nonce();
        let (tag, namespace, end) = match self.carrier {
            Carrier::WebSocket => ("<open xmlns='", FRAMING, "/>"),
            Carrier::Tcp { .. } => (
                "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='",
                STREAM,
                ">",
            ),
        };
        write(
            out,
            &[
                Piece::Raw(tag),
                Piece::Raw(namespace),
                Piece::Raw("' from='"),
                Piece::Attribute(self.domain()),
                Piece::Raw("' id='"),
                Piece::Raw(&id),
                Piece::Raw("' version='1.0' xml:lang='en'"),
                Piece::Raw(end),
            ],
        );
    }

    /// RFC 6120, 6.4.1: strongest first.
    fn offer_mechanisms<O: Output>(&self, out: &mut O) {
        let starttls = match self.carrier {
            Carrier::Tcp { starttls: true } => "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            Carrier::Tcp { starttls: false } | Carrier::WebSocket => "",
        };
        let external = if self.is_certified() {
            "<mechanism>EXTERNAL</mechanism>"
        } else {
            ""
        };
        let plain = match self.passwords {
            Passwords::Taken => "<mechanism>PLAIN</mechanism>",
            Passwords::Refused => "",
        };
        write(
            out,
            &[
                Piece::Raw("<stream:features xmlns:stream='"),
                Piece::Raw(STREAM),
                Piece::Raw("'>"),
                Piece::Raw(starttls),
                Piece::Raw("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"),
                Piece::Raw(external),
                Piece::Raw("<mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism>"),
                Piece::Raw(plain),
                Piece::Raw("</mechanisms></stream:features>"),
            ],
        );
    }

    /// The stream error (RFC 6120, 4.9) and the end of the stream.
    pub(super) fn say_good_bye<O: Output>(&mut self, fatal: Fatal, out: &mut O) {
        if self.state == State::Ended {
            return;
        }
        // [RFC 6120, 4.9.1.2]: an error before the stream is open follows an opening of its own.
        if matches!(self.state, State::Closed | State::Proven) {
            self.write_open(out);
        }
        self.state = State::Ended;
        self.forget_unless_lost(fatal);
        write(
            out,
            &[
                Piece::Raw("<stream:error xmlns:stream='"),
                Piece::Raw(STREAM),
                Piece::Raw("'><"),
                Piece::Raw(fatal.condition()),
                Piece::Raw(" xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"),
                Piece::Raw(match fatal.text() {
                    Some(_) => "<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>",
                    None => "",
                }),
                Piece::Text(fatal.text().unwrap_or_default()),
                Piece::Raw(if fatal.text().is_some() { "</text>" } else { "" }),
                Piece::Raw(&specific(fatal)),
                Piece::Raw("</stream:error>"),
            ],
        );
        self.close(out);
    }

    /// `<close/>` (RFC 7395, 3.6), or the end of the document (RFC 6120, 4.4).
    fn close<O: Output>(&self, out: &mut O) {
        match self.carrier {
            Carrier::WebSocket => write(
                out,
                &[
                    Piece::Raw("<close xmlns='"),
                    Piece::Raw(FRAMING),
                    Piece::Raw("'/>"),
                ],
            ),
            Carrier::Tcp { .. } => write(out, &[Piece::Raw("</stream:stream>")]),
        }
    }
}

/// What an application says beside the condition (RFC 6120, 4.9.4).
fn specific(fatal: Fatal) -> String {
    match fatal {
        Fatal::HandledTooHigh { handled, sent } => {
            format!("<handled-count-too-high xmlns='{MANAGEMENT}' h='{handled}' send-count='{sent}'/>")
        }
        _ => String::new(),
    }
}
