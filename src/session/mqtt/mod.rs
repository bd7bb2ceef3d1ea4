//! The MQTT session, versions 3.1.1 and 5.0: one connection's protocol state.

mod settings;

use std::rc::Rc;
use std::time::Duration;

use crate::limits;
use crate::route::{Completion, Delivery, Identity, Ticket, Undelivered};
use crate::session::{Disconnect, Ending, Frames, LoginFailure, Output, Scratch, Step, Will};
use crate::time::{Instant, Now};

pub use settings::Settings;

/// Whether the connection may carry a password in clear, as the listener knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passwords {
    /// Under TLS, on loopback, or where the operator configured it.
    Taken,
    /// A CONNECT with a password is refused without looking at it.
    Refused,
}

/// One MQTT connection.
#[derive(Debug)]
pub struct Session {
    settings: Rc<Settings>,
    passwords: Passwords,
    heard: Instant,
    will: Option<Box<Will>>,
}

impl Session {
    /// A connection accepted `now`, of which nothing has been read.
    pub fn new(settings: &Rc<Settings>, passwords: Passwords, now: Now) -> Self {
        Self {
            settings: Rc::clone(settings),
            passwords,
            heard: now.instant,
            will: None,
        }
    }
}

impl super::Session for Session {
    fn receive<'a, O: Output>(
        &mut self,
        _now: Now,
        _bytes: &'a mut [u8],
        _scratch: &'a mut Scratch,
        _out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        let _ = (&self.settings.domains, self.passwords);
        Err(Disconnect::UnsupportedVersion)
    }

    fn attached<O: Output>(&mut self, _: Now, _: Result<&Identity, LoginFailure>, _: &mut O) {}

    fn completed<O: Output>(&mut self, _: Now, _: Ticket, _: &Completion, _: &mut O) {}

    fn deliver<O: Output>(
        &mut self,
        _: Now,
        _: &Delivery<'_>,
        _: &mut Frames<O::Shared>,
        _: &mut O,
    ) -> Result<(), Undelivered> {
        Err(Undelivered::Gone)
    }

    fn timeout<O: Output>(&mut self, _: Now, _: &mut O) -> Result<(), Disconnect> {
        Err(Disconnect::TimedOut)
    }

    fn next_timeout(&self) -> Option<Instant> {
        Some(self.heard + Duration::from_millis(limits::PRELOGIN_MS_MAX))
    }

    fn take_will(&mut self) -> Option<Box<Will>> {
        self.will.take()
    }

    fn end<O: Output>(&mut self, _: Now, _: Ending, _: &mut O) {}
}
