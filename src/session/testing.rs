//! What tests of sessions share: an output that remembers what was written, and the other end of a session.

use std::rc::Rc;
use std::time::Duration;

use super::{Disconnect, Frames, Output, Scratch, Session, Step};
use crate::route::port::Receivers;
use crate::route::{Account, Command, Completion, Delivery, Identity, Ticket, Undelivered};
use crate::time::Now;

/// An [`Output`] without framing that keeps every byte.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// What was written and not yet taken by the test.
    pub(crate) bytes: Vec<u8>,
    /// Added to the bytes that are queued: what the kernel has not taken.
    pub(crate) stuck: usize,
    /// How many frames were encoded to be shared.
    pub(crate) shares: usize,
}

impl Recorder {
    /// Takes what was written.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

impl Output for Recorder {
    type Shared = Rc<[u8]>;

    const FRAMING: u8 = 0;

    fn write(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        encode(&mut self.bytes);
        assert_eq!(self.bytes.len() - before, len, "the length announced is exact");
    }

    fn share(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Self::Shared {
        let mut frame = Vec::with_capacity(len);
        encode(&mut frame);
        assert_eq!(frame.len(), len, "the length announced is exact");
        self.shares += 1;
        frame.into()
    }

    fn push(&mut self, frame: &Self::Shared) {
        self.bytes.extend_from_slice(frame);
    }

    fn shared(frame: &Self::Shared) -> &[u8] {
        frame
    }

    fn queued(&self) -> usize {
        self.bytes.len() + self.stuck
    }
}

/// The uid of [`identity`].
pub(crate) const UID: &str = "0123456789abcdef01234567";

/// `<app>-UID-<role>/<resource>`.
pub(crate) fn identity(app: &str, role: &str, resource: &str) -> Identity {
    let account = format!("{app}-{UID}-{role}");
    Identity::new(&Account::parse(&account).unwrap(), resource).unwrap()
}

/// A session, the bytes on their way to it and what it wrote.
#[derive(Debug)]
pub(crate) struct Peer<S> {
    pub(crate) session: S,
    pub(crate) out: Recorder,
    pub(crate) now: Now,
    pub(crate) frames: Frames<Rc<[u8]>>,
    /// Sent and not yet consumed.
    pub(crate) pending: Vec<u8>,
    /// What the last call of `receive` said, if it consumed nothing.
    pub(crate) waits: Option<Wait>,
}

/// Why the session does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// For bytes.
    Need(usize),
    /// For the router.
    Hold,
}

impl<S: Session> Peer<S> {
    pub(crate) fn new(session: S) -> Self {
        Self {
            session,
            out: Recorder::default(),
            now: Now::default(),
            frames: Frames::default(),
            pending: Vec::new(),
            waits: None,
        }
    }

    /// Sends `bytes` behind what is pending and lets the session take frames until it waits. What commands
    /// borrow from lives as long as the test process.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Command<'static>>, Disconnect> {
        self.pending.extend_from_slice(bytes);
        let mut commands = Vec::new();
        self.waits = None;
        while !self.pending.is_empty() {
            let given = Vec::leak(self.pending.clone());
            let scratch: &'static mut Scratch = Box::leak(Box::default());
            let step = self.session.receive(self.now, given, scratch, &mut self.out);
            match step? {
                Step::Need(len) => {
                    assert!(len > self.pending.len(), "asks for bytes that are there");
                    self.waits = Some(Wait::Need(len));
                    break;
                }
                Step::Hold => {
                    self.waits = Some(Wait::Hold);
                    break;
                }
                Step::Done { used, command } => {
                    assert!(used > 0 || command.is_some(), "consumes or asks");
                    self.pending.drain(..used);
                    commands.extend(command);
                }
            }
        }
        Ok(commands)
    }

    pub(crate) fn completed(&mut self, ticket: Ticket, completion: &Completion) {
        self.session
            .completed(self.now, ticket, completion, &mut self.out);
    }

    /// Delivers one message, as the shard does: what was encoded for the one before is stale.
    pub(crate) fn deliver(&mut self, delivery: &Delivery<'_>) -> Result<(), Undelivered> {
        self.frames.begin(Receivers::Several);
        self.session
            .deliver(self.now, delivery, &mut self.frames, &mut self.out)
    }

    pub(crate) fn timeout(&mut self) -> Result<(), Disconnect> {
        self.session.timeout(self.now, &mut self.out)
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.instant = self.now.instant + time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_and_written_frames_keep_their_order() {
        let mut out = Recorder::default();
        let shared = out.share(1, |buffer| buffer.push(2));
        out.write(1, |buffer| buffer.push(1));
        out.push(&shared);
        assert_eq!((out.queued(), out.shares), (2, 1));
        assert_eq!(out.take(), [1, 2]);
    }
}
