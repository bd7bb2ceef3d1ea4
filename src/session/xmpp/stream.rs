//! The stream over WebSocket (RFC 7395): opening, features, errors, closing.

use super::condition::Fatal;
use super::names::{FRAMING, STREAM};
use super::{Passwords, Session, State, write};
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
            ("close", _) => {
                self.close(out);
                self.state = State::Ended;
                Ok(Some(Command::Leave))
            }
            ("open", State::Closed | State::Proven) => self.open(element, out).map(|()| None),
            // A stream is opened once, and once more after the login.
            ("open", _) => Err(Fatal::TooManyAttempts),
            _ => Err(Fatal::UnsupportedStanza),
        }
    }

    /// RFC 7395, 3.4; RFC 6120, 4.7.
    fn open<O: Output>(&mut self, open: &Element<'_>, out: &mut O) -> Result<(), Fatal> {
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
        write(
            out,
            &[
                Piece::Raw("<open xmlns='"),
                Piece::Raw(FRAMING),
                Piece::Raw("' from='"),
                Piece::Attribute(self.domain()),
                Piece::Raw("' id='"),
                Piece::Raw(&id),
                Piece::Raw("' version='1.0' xml:lang='en'/>"),
            ],
        );
    }

    /// RFC 6120, 6.4.1: strongest first.
    fn offer_mechanisms<O: Output>(&self, out: &mut O) {
        let plain = match self.passwords {
            Passwords::Taken => "<mechanism>PLAIN</mechanism>",
            Passwords::Refused => "",
        };
        write(
            out,
            &[
                Piece::Raw("<stream:features xmlns:stream='"),
                Piece::Raw(STREAM),
                Piece::Raw(
                    "'><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
                     <mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism>",
                ),
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
        if self.state == State::Closed {
            self.write_open(out);
        }
        self.state = State::Ended;
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
                Piece::Raw("</stream:error>"),
            ],
        );
        self.close(out);
    }

    /// `<close/>` (RFC 7395, 3.6).
    fn close<O: Output>(&self, out: &mut O) {
        write(
            out,
            &[
                Piece::Raw("<close xmlns='"),
                Piece::Raw(FRAMING),
                Piece::Raw("'/>"),
            ],
        );
    }
}
