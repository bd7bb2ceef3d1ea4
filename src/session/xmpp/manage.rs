//! Stream management (XEP-0198): acknowledgements, and sessions that go on over another connection.
//!
//! Invariants: what a client is sent while its stream is managed goes through a [`Recording`], so that no stanza is
//! missing from what is counted; a session goes on without a connection only if its client did not end the stream.

use std::sync::Arc;

use super::condition::Fatal;
use super::managed::{Managed, TooHigh};
use super::names::MANAGEMENT;
use super::recording::Unsent;
use super::{Carrier, Session, State, write};
use crate::codec::xmpp::{Element, Piece};
use crate::limits;
use crate::route::{Command, Completion, Delivery, Previd, Resume, RoomEvent, Ticket, Token, Undelivered};
use crate::session::{Disconnect, Due, Frames, Output, ResumeFailure};
use crate::time::{Instant, Now};
use std::time::Duration;

/// The session asks to be one that may be resumed.
pub(super) const ENABLE: Ticket = Ticket(4);

impl Session {
    /// An element of stream management on an open stream.
    pub(super) fn manage<O: Output>(
        &mut self,
        element: &Element<'_>,
        out: &mut O,
    ) -> Result<Option<Command<'static>>, Fatal> {
        let is_managed = self.managed.is_some();
        match (element.name(), self.state) {
            ("r", State::Attached) if is_managed => {
                self.acknowledge(out);
                Ok(None)
            }
            ("a", State::Attached) if is_managed => self.acknowledged(element, out).map(|()| None),
            ("enable", State::Attached) if !is_managed => Ok(self.enable(element, out)),
            ("resume", State::Binding) => self.resume(element, out),
            ("enable" | "resume" | "r" | "a", _) => {
                write_failed(out, None, "unexpected-request");
                Ok(None)
            }
            _ => Err(Fatal::UnsupportedStanza),
        }
    }

    /// `<enable/>` (3).
    fn enable<O: Output>(&mut self, enable: &Element<'_>, out: &mut O) -> Option<Command<'static>> {
        let mut managed = Box::new(Managed::new(&self.settings, self.own().0));
        let resume = enable.attribute("resume");
        let resumes = resume.is_some_and(|resume| resume.is("true") || resume.is("1"));
        let wanted_s = enable.attribute("max").and_then(|max| max.plain()?.parse().ok());
        managed.resume_s = match wanted_s {
            Some(wanted_s @ 1..) => self.settings.resume_s.min(wanted_s),
            _ => self.settings.resume_s,
        };
        self.managed = Some(managed);
        if resumes && self.settings.resume_s > 0 {
            return Some(Command::AllowResumption { ticket: ENABLE });
        }
        write(
            out,
            &[
                Piece::Raw("<enabled xmlns='"),
                Piece::Raw(MANAGEMENT),
                Piece::Raw("'/>"),
            ],
        );
        None
    }

    /// The session may be resumed.
    pub(super) fn enabled<O: Output>(&mut self, completion: &Completion, out: &mut O) {
        let (Some(managed), Completion::Resumable(previd)) = (&mut self.managed, completion) else {
            return;
        };
        managed.previd = Some(*previd);
        write(
            out,
            &[
                Piece::Raw("<enabled xmlns='"),
                Piece::Raw(MANAGEMENT),
                Piece::Raw("' id='"),
                Piece::Raw(&previd.to_text()),
                Piece::Raw("' resume='true' max='"),
                Piece::Number(managed.resume_s.into()),
                Piece::Raw("'/>"),
            ],
        );
    }

    /// `<r/>`: what was handled (4).
    fn acknowledge<O: Output>(&self, out: &mut O) {
        let received = self.managed.as_ref().map_or(0, |managed| managed.received());
        write(
            out,
            &[
                Piece::Raw("<a xmlns='"),
                Piece::Raw(MANAGEMENT),
                Piece::Raw("' h='"),
                Piece::Number(received.into()),
                Piece::Raw("'/>"),
            ],
        );
    }

    /// `<a/>`: what the client has handled (4).
    fn acknowledged<O: Output>(&mut self, element: &Element<'_>, out: &mut O) -> Result<(), Fatal> {
        let handled = handled(element).ok_or(Fatal::BadFormat)?;
        if let Some(managed) = &mut self.managed {
            managed.acknowledge(handled).map_err(too_high)?;
            ask(managed, out);
        }
        Ok(())
    }

    /// `<resume/>`: another session is to go on here (5).
    fn resume<O: Output>(
        &mut self,
        element: &Element<'_>,
        out: &mut O,
    ) -> Result<Option<Command<'static>>, Fatal> {
        self.bound_attempts()?;
        let Some(handled) = handled(element) else {
            write_failed(out, None, "bad-request");
            self.login().count_attempt();
            return Ok(None);
        };
        let previd = element.attribute("previd").and_then(|previd| previd.plain());
        let Some(previd) = previd.and_then(Previd::parse) else {
            self.not_found(None, out);
            return Ok(None);
        };
        self.login().resumed_from = Some(handled);
        self.state = State::Claiming;
        Ok(Some(Command::Resume(Resume { previd, handled })))
    }

    fn not_found<O: Output>(&mut self, handled: Option<u32>, out: &mut O) {
        self.settings.metrics.xmpp_resume_failed.increment();
        self.login().count_attempt();
        write_failed(out, handled, "item-not-found");
    }

    /// No session goes on here; the client may bind.
    pub(super) fn not_resumed<O: Output>(
        &mut self,
        failure: ResumeFailure,
        out: &mut O,
    ) -> Result<(), Disconnect> {
        if self.state != State::Claiming {
            return Ok(());
        }
        self.state = State::Binding;
        self.login().resumed_from = None;
        match failure {
            ResumeFailure::NotFound { handled } => {
                self.not_found(handled, out);
                Ok(())
            }
            ResumeFailure::TooHigh { handled, sent } => {
                self.settings.metrics.xmpp_resume_failed.increment();
                Err(self.quit(Fatal::HandledTooHigh { handled, sent }, out))
            }
        }
    }

    /// The session goes on over this connection: what its client has not handled is sent again (5).
    pub(super) fn resumed<O: Output>(&mut self, handled: u32, out: &mut O) {
        self.login = None;
        self.state = State::Attached;
        self.resumed = true;
        let Some(managed) = &mut self.managed else { return };
        // It was looked at before.
        let _ = managed.acknowledge(handled);
        let previd = managed.previd.map(Previd::to_text).unwrap_or_default();
        write(
            out,
            &[
                Piece::Raw("<resumed xmlns='"),
                Piece::Raw(MANAGEMENT),
                Piece::Raw("' previd='"),
                Piece::Raw(&previd),
                Piece::Raw("' h='"),
                Piece::Number(managed.received().into()),
                Piece::Raw("'/>"),
            ],
        );
        for stanza in managed.again() {
            out.write(stanza.len(), |buffer| buffer.extend_from_slice(stanza));
        }
        ask(managed, out);
    }

    /// Whether an end that is the daemon's to tell leaves a session that may be resumed: one whose client was not heard or
    /// does not read may have lost its connection.
    pub(super) fn forget_unless_lost(&mut self, fatal: Fatal) {
        let is_lost = matches!(fatal, Fatal::Silent | Fatal::SlowReceiver | Fatal::Ending(_));
        if !is_lost {
            self.managed = None;
        }
    }

    /// By what the session may be resumed.
    pub fn resumption(&self) -> Option<Token> {
        let managed = self.managed.as_ref()?;
        managed.previd.map(|previd| previd.token)
    }

    /// Whether it can go on where its client has handled so much.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check_resume(&self, handled: u32) -> Result<(), ResumeFailure> {
        let managed = self.managed.as_ref();
        managed.map_or(Err(ResumeFailure::NotFound { handled: None }), |managed| {
            managed.check(handled)
        })
    }

    /// The session without its connection, if it may be resumed.
    pub fn detach(&mut self, now: Now) -> Option<Self> {
        self.resumption()?;
        let ended = Self {
            login: None,
            state: State::Ended,
            ..Self::over(self.carrier, &self.settings, self.passwords, now)
        };
        let mut suspended = std::mem::replace(self, ended);
        suspended.state = State::Suspended;
        suspended.carrier = Carrier::WebSocket;
        suspended.heard = now.instant;
        suspended.blocked_since = None;
        suspended.pinged = false;
        suspended.login = None;
        Some(suspended)
    }

    /// Goes on where `earlier`, a session without a connection, stopped.
    pub fn inherit(&mut self, earlier: &mut Self) {
        let ended = Self {
            login: None,
            state: State::Ended,
            ..Self::over(Carrier::WebSocket, &self.settings, self.passwords, Now::default())
        };
        let own = std::mem::replace(self, std::mem::replace(earlier, ended));
        self.settings = own.settings;
        self.login = own.login;
        self.carrier = own.carrier;
        self.passwords = own.passwords;
        self.heard = own.heard;
        self.state = State::Claiming;
    }

    /// Belongs to another shard from now on, whose settings these are.
    pub fn rehome(&mut self, settings: &Arc<super::Settings>) {
        self.settings = Arc::clone(settings);
    }

    /// Until when it may be resumed.
    pub(super) fn resume_deadline(&self) -> Option<Instant> {
        let resume_s = self.managed.as_ref().map_or(0, |managed| managed.resume_s);
        Some(self.heard + Duration::from_secs(resume_s.into()))
    }

    /// What is due of a session without a connection.
    pub fn due(&self, now: Now) -> Option<Due> {
        let is_over = self.state == State::Suspended && self.resume_deadline()? <= now.instant;
        is_over.then_some(Due::End)
    }

    /// Keeps a message until the session is resumed. Requests and Direct messages are not for a block that is not there.
    ///
    /// # Errors
    /// [`Undelivered::Gone`] for these, and if it cannot be resumed; [`Undelivered::QueueFull`] if there is no room.
    pub fn keep_delivery(&mut self, now: Now, delivery: &Delivery<'_>) -> Result<(), Undelivered> {
        if matches!(delivery, Delivery::Direct { .. } | Delivery::Request { .. }) {
            return Err(Undelivered::Gone);
        }
        let kept = self.unsent(|session, out| session.delivery(delivery, now, &mut Frames::default(), out));
        if let Delivery::Room {
            channel,
            event: RoomEvent::Entered,
        } = delivery
            && let Some(rooms) = &mut self.rooms
        {
            // Whether there was room to say so or not: its client would wait for ever.
            rooms.entered(channel);
        }
        kept
    }

    /// Keeps what came of something that was asked on a connection that is gone.
    pub fn missed(&mut self, ticket: Ticket, completion: &Completion) {
        // If there is no room, the client hears nothing of it, as if its answer had been lost.
        let _ = self.unsent(|session, out| {
            session.told(ticket, completion, out);
            Ok(())
        });
    }

    /// Keeps what would be written.
    fn unsent(
        &mut self,
        write: impl FnOnce(&mut Self, &mut Unsent) -> Result<(), Undelivered>,
    ) -> Result<(), Undelivered> {
        let resumable = self.managed.take_if(|managed| managed.previd.is_some());
        let mut managed = resumable.ok_or(Undelivered::Gone)?;
        let mut out = Unsent::default();
        let kept = if managed.has_room(1, 0) {
            write(self, &mut out).and_then(|()| managed.keep(out.elements))
        } else {
            Err(Undelivered::QueueFull)
        };
        self.managed = Some(managed);
        if kept.is_err()
            && let Some(rooms) = &mut self.rooms
        {
            rooms.missed_something();
        }
        kept
    }
}

/// Asks the client what it has handled, if there is anything that it may not have.
pub(super) fn ask<O: Output>(managed: &mut Managed, out: &mut O) {
    if managed.asks() {
        write(
            out,
            &[
                Piece::Raw("<r xmlns='"),
                Piece::Raw(MANAGEMENT),
                Piece::Raw("'/>"),
            ],
        );
    }
}

/// The attribute `h`, an xs:unsignedInt.
fn handled(element: &Element<'_>) -> Option<u32> {
    let text = element.attribute("h")?.plain()?;
    let is_number = text.len() <= limits::XMPP_NUMBER_BYTES_MAX && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

const fn too_high(TooHigh { handled, sent }: TooHigh) -> Fatal {
    Fatal::HandledTooHigh { handled, sent }
}

/// `<failed/>` (3 and 5), with what of the earlier session was handled, if that is known.
fn write_failed<O: Output>(out: &mut O, handled: Option<u32>, condition: &'static str) {
    let (h, number, end) = match handled {
        Some(handled) => ("' h='", Piece::Number(handled.into()), "'>"),
        None => ("", Piece::Raw(""), "'>"),
    };
    write(
        out,
        &[
            Piece::Raw("<failed xmlns='"),
            Piece::Raw(MANAGEMENT),
            Piece::Raw(h),
            number,
            Piece::Raw(end),
            Piece::Raw("<"),
            Piece::Raw(condition),
            Piece::Raw(" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"),
        ],
    );
}
