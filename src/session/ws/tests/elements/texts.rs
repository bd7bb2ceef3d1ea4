//! A carried session that shows what it was shown.

use super::super::*;
use crate::route::{Bind, Certified, Proof};

/// Answers as if there were more in the message than it takes.
pub(super) const LEAVES_SOME: u8 = b'S';
/// Answers as if the message went on.
pub(super) const WANTS_MORE: u8 = b'M';

/// The carried session of these tests: the kind of an element is its first byte, the rest its body.
#[derive(Debug)]
pub(super) struct Texts {
    pub(super) accepted: Now,
    pub(super) waiting: bool,
    pub(super) once: bool,
    /// Messages shown, those shown again included.
    pub(super) shown: u32,
}

impl Carried for Texts {
    type Opening = Opened;

    fn speaks(_: &Opened, subprotocol: Subprotocol) -> bool {
        subprotocol == Subprotocol::Xmpp
    }

    fn open(_: &Opened, subprotocol: Subprotocol, accepted: Now) -> Self {
        assert_eq!(subprotocol, Subprotocol::Xmpp);
        Self {
            accepted,
            waiting: false,
            once: false,
            shown: 0,
        }
    }

    fn certify(_: &mut Opened, _: Box<Certified>) {
        panic!("nobody shows a certificate")
    }

    fn kind(&self) -> MessageKind {
        MessageKind::Elements
    }

    fn packet_len(&self, _: &[u8]) -> usize {
        panic!("asked of streams only")
    }
}

impl crate::session::Session for Texts {
    fn protocol(&self) -> (crate::observe::Protocol, crate::observe::Transport) {
        (crate::observe::Protocol::Xmpp, crate::observe::Transport::Stream)
    }

    fn receive<'a, O: Output>(
        &mut self,
        _: Now,
        bytes: &'a mut [u8],
        scratch: &'a mut Scratch,
        out: &mut O,
    ) -> Result<Step<'a>, Disconnect> {
        self.shown += 1;
        std::str::from_utf8(bytes).expect("messages are UTF-8");
        if self.waiting {
            return Ok(Step::Hold);
        }
        let mut used = bytes.len();
        let out = &mut TextOutput::new(out);
        let (kind, body) = bytes.split_first().expect("messages are not empty");
        let command = match *kind {
            LOGIN => {
                self.waiting = true;
                let (account, resource) = ("a", "r");
                Some(Command::Login(Login {
                    account,
                    resource,
                    proof: Proof::Password(body),
                }))
            }
            PUBLISH => Some(publish(body)),
            PUBLISH_REWRITTEN => {
                scratch.attributes.clear();
                scratch.attributes.extend_from_slice(body);
                Some(publish(&scratch.attributes))
            }
            PUBLISH_TWICE => {
                self.once = !self.once;
                if self.once {
                    used = 0;
                }
                Some(publish(body))
            }
            ECHO => {
                say(body, out);
                None
            }
            NOTHING => None,
            QUIT => {
                say(b"<close/>", out);
                Some(Command::Leave)
            }
            LEAVES_SOME => {
                used -= 1;
                None
            }
            WANTS_MORE => return Ok(Step::Need(used + 1)),
            _ => {
                say(b"<bad/>", out);
                say(b"<close/>", out);
                return Err(Disconnect::Malformed);
            }
        };
        Ok(Step::Done { used, command })
    }

    fn attached<O: Output>(&mut self, _: Now, verdict: Result<&Identity, LoginFailure>, out: &mut O) {
        self.waiting = false;
        if verdict.is_err() {
            say(b"<close/>", &mut TextOutput::new(out));
        }
    }

    fn proven<O: Output>(
        &mut self,
        _: Now,
        verdict: Result<Proven<'_>, LoginFailure>,
        out: &mut O,
    ) -> Result<Option<Bind<'_>>, Disconnect> {
        say(b"<proven/>", &mut TextOutput::new(out));
        match verdict {
            Ok(_) => Ok(None),
            Err(_) => Err(Disconnect::BadCredentials),
        }
    }

    fn completed<O: Output>(&mut self, _: Now, _: Ticket, _: &Completion, out: &mut O) {
        say(b"<done/>", &mut TextOutput::new(out));
    }

    fn deliver<O: Output>(
        &mut self,
        _: Now,
        delivery: &Delivery<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        share(delivery, frames, &mut TextOutput::new(out))
    }

    fn timeout<O: Output>(&mut self, _: Now, out: &mut O) -> Result<(), Disconnect> {
        say(b"<close/>", &mut TextOutput::new(out));
        Err(Disconnect::TimedOut)
    }

    fn next_timeout(&self) -> Option<Instant> {
        Some(self.accepted.instant + Duration::from_millis(limits::PRELOGIN_MS_MAX))
    }

    fn take_will(&mut self) -> Option<Box<Will>> {
        None
    }

    fn end<O: Output>(&mut self, _: Now, _: Ending, out: &mut O) {
        say(b"<close/>", &mut TextOutput::new(out));
    }
}

pub(super) fn open() -> Shard<Texts> {
    let mut shard = Shard::accept_for(&Opened::default());
    shard.receive(handshake::xmpp_request("/ws").as_bytes());
    assert!(shard.out.take().starts_with(b"HTTP/1.1 101 "));
    shard
}

pub(super) fn logged_in() -> Shard<Texts> {
    let mut shard = open();
    shard.receive(&text(b"L"));
    shard.attach();
    assert_eq!(std::mem::take(&mut shard.events), [Event::Login]);
    shard.session.carried_mut().unwrap().shown = 0;
    shard
}

pub(super) fn shown(shard: &mut Shard<Texts>) -> u32 {
    shard.session.carried().unwrap().shown
}

pub(super) fn text(payload: &[u8]) -> Vec<u8> {
    frame(0x81, payload)
}

pub(super) fn element(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], body].concat()
}

pub(super) fn published(payload: &[u8]) -> Event {
    Event::Published(payload.to_vec())
}

/// A message in three frames, with control frames between them.
pub(super) fn in_three(message: &[u8], first: usize, second: usize) -> Vec<u8> {
    [
        frame(0x01, &message[..first]),
        frame(0x89, b"between"),
        frame(0x00, &message[first..second]),
        frame(0x8A, b""),
        frame(0x80, &message[second..]),
    ]
    .concat()
}
