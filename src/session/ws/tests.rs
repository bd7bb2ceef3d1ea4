//! A carried protocol made for the tests, and a driver that does what a shard does with a session.

mod carried;
mod elements;
mod handshake;
mod mqtt;

use std::time::Duration;

use super::*;
use crate::codec::ws::{Opcode, apply_mask, put_header};
use crate::route::{Certified, ChannelMessage, Login, Proof};
use crate::session::Session as _;
use crate::session::testing::Recorder;

/// One connection as a shard drives it: what is not consumed comes again, `Need` and `Hold` are kept.
pub(super) struct Shard<S: Carried = Fake> {
    pub(super) session: Session<S>,
    pub(super) now: Now,
    pub(super) out: Recorder,
    pub(super) events: Vec<Event>,
    pub(super) buffer: Vec<u8>,
    need: usize,
    scratch: Scratch,
}

/// What the session asked of its shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Login,
    Published(Vec<u8>),
    Leave,
    Ended(Disconnect),
}

impl<S: Carried> Shard<S> {
    pub(super) fn accept_for(opening: &S::Opening) -> Self {
        let now = Now {
            instant: Instant::from_nanos(1_000_000_000),
            unix_ms: 1,
        };
        Self {
            session: Session::new(opening, now),
            now,
            out: Recorder::default(),
            events: Vec::new(),
            buffer: Vec::new(),
            need: 0,
            scratch: Scratch::default(),
        }
    }

    pub(super) fn wait(&mut self, ms: u64) {
        self.now.instant = self.now.instant + Duration::from_millis(ms);
    }

    /// Bytes arrive.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= self.need {
            self.resume();
        }
    }

    /// Calls the session as long as there are bytes and it achieves something.
    pub(super) fn resume(&mut self) {
        while !self.buffer.is_empty() && !matches!(self.events.last(), Some(Event::Leave | Event::Ended(_))) {
            let have = self.buffer.len();
            let step = self
                .session
                .receive(self.now, &mut self.buffer, &mut self.scratch, &mut self.out);
            match step {
                Ok(Step::Need(need)) => {
                    assert!(need > have, "Need({need}) with {have} bytes");
                    self.need = need;
                    return;
                }
                Ok(Step::Hold) => return,
                Ok(Step::Done { used, command }) => {
                    assert!(used <= have && (used > 0 || command.is_some()));
                    match command {
                        None => {}
                        Some(Command::Login(_)) => self.events.push(Event::Login),
                        Some(Command::Publish { message, .. }) => {
                            self.events.push(Event::Published(message.payload.to_vec()));
                        }
                        Some(Command::Leave) => self.events.push(Event::Leave),
                        Some(other) => panic!("{other:?}"),
                    }
                    self.buffer.drain(..used);
                    self.need = 0;
                }
                Err(disconnect) => self.events.push(Event::Ended(disconnect)),
            }
        }
    }

    pub(super) fn attach(&mut self) {
        let account = "app-0123456789abcdef01234567-owner";
        let identity = Identity::new(&crate::route::Account::parse(account).unwrap(), "r").unwrap();
        self.session.attached(self.now, Ok(&identity), &mut self.out);
        self.resume();
    }

    /// The frames written since the last call, as (first byte, payload).
    pub(super) fn frames(&mut self) -> Vec<(u8, Vec<u8>)> {
        let bytes = self.out.take();
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        while let &[first, short, ..] = rest {
            let (len, at) = match short {
                126 => (u64::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
                127 => (u64::from_be_bytes(rest[2..10].try_into().unwrap()), 10),
                _ => (u64::from(short), 2),
            };
            let end = at + usize::try_from(len).unwrap();
            frames.push((first, rest[at..end].to_vec()));
            rest = &rest[end..];
        }
        assert!(rest.is_empty(), "whole frames only");
        frames
    }

    /// The status code of the Close frame, which is the last that was written.
    pub(super) fn close_code(&mut self) -> u16 {
        match self.frames().last() {
            Some((0x88, payload)) => u16::from_be_bytes([payload[0], payload[1]]),
            other => panic!("{other:?}"),
        }
    }
}

impl Shard {
    pub(super) fn accept() -> Self {
        Self::accept_for(&Opened::default())
    }

    /// A connection whose handshake is done.
    pub(super) fn open() -> Self {
        let mut shard = Self::accept();
        shard.receive(handshake::request("").as_bytes());
        assert!(shard.out.take().starts_with(b"HTTP/1.1 101 "));
        shard
    }

    /// A connection that has logged in.
    pub(super) fn logged_in() -> Self {
        let mut shard = Self::open();
        shard.receive(&binary(&packet(LOGIN, b"")));
        shard.attach();
        assert_eq!(std::mem::take(&mut shard.events), [Event::Login]);
        shard
    }
}

/// A client's frame.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x11, 0x92, 0x33, 0xF4];
    let mut frame = Vec::new();
    put_header(&mut frame, Opcode::Binary, payload.len());
    frame[0] = first;
    frame[1] |= 0x80;
    frame.extend_from_slice(&KEY);
    let at = frame.len();
    frame.extend_from_slice(payload);
    apply_mask(&mut frame[at..], KEY);
    frame
}

pub(super) fn binary(payload: &[u8]) -> Vec<u8> {
    frame(0x82, payload)
}

pub(super) const LOGIN: u8 = b'L';
pub(super) const PUBLISH: u8 = b'P';
/// Published from the scratch instead of the packet.
pub(super) const PUBLISH_REWRITTEN: u8 = b'R';
/// Published by a call of its own before it is consumed.
pub(super) const PUBLISH_TWICE: u8 = b'T';
pub(super) const ECHO: u8 = b'E';
pub(super) const NOTHING: u8 = b'N';
pub(super) const QUIT: u8 = b'Q';
pub(super) const OFFENCE: u8 = b'X';

/// The longest body the fake protocol takes.
pub(super) const BODY_BYTES_MAX: usize = 200_000;

/// A packet of the fake protocol: kind, length in 3 bytes, body.
pub(super) fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind][..], &len[1..], body].concat()
}

fn body_len(bytes: &[u8]) -> Option<usize> {
    match bytes {
        &[_, a, b, c, ..] => Some(usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()),
        _ => None,
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Opened {}

/// The carried session of the tests.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) accepted: Now,
    waiting: bool,
    once: bool,
    will: Option<Box<Will>>,
}

impl Carried for Fake {
    type Opening = Opened;

    fn speaks(_: &Opened, subprotocol: Subprotocol) -> bool {
        subprotocol == Subprotocol::Mqtt
    }

    fn open(_: &Opened, subprotocol: Subprotocol, accepted: Now) -> Self {
        assert_eq!(subprotocol, Subprotocol::Mqtt);
        Self {
            accepted,
            waiting: false,
            once: false,
            will: Some(Box::new(Will {
                channel: "will".into(),
                payload: Box::default(),
                attributes: Box::default(),
                qos: crate::route::Qos::AtMostOnce,
                retain: false,
                expiry_s: None,
                delay_s: 0,
            })),
        }
    }

    fn certify(_: &mut Opened, _: Box<Certified>) {
        panic!("nobody shows a certificate")
    }

    fn kind(&self) -> MessageKind {
        MessageKind::Stream
    }

    fn packet_len(&self, bytes: &[u8]) -> usize {
        body_len(bytes).map_or(4, |len| 4 + len)
    }
}

/// Delivers `delivery` as any of the fake protocols does.
pub(super) fn share<O: Output>(
    delivery: &Delivery<'_>,
    frames: &mut Frames<O::Shared>,
    out: &mut O,
) -> Result<(), Undelivered> {
    let &Delivery::Direct { text, .. } = delivery else {
        return Err(Undelivered::NotText);
    };
    let variant = u32::from(O::FRAMING);
    let frame = frames.get_or_encode(variant, || {
        out.share(text.len(), |buffer| buffer.extend_from_slice(text.as_bytes()))
    });
    out.push(&frame);
    Ok(())
}

pub(super) fn say<O: Output>(text: &[u8], out: &mut O) {
    out.write(text.len(), |buffer| buffer.extend_from_slice(text));
}

pub(super) fn publish(payload: &[u8]) -> Command<'_> {
    Command::Publish {
        message: ChannelMessage {
            channel: "c",
            payload,
            attributes: b"",
            qos: crate::route::Qos::AtMostOnce,
            retain: false,
            expires: None,
        },
        ticket: None,
    }
}

impl crate::session::Session for Fake {
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
        if self.waiting {
            return Ok(Step::Hold);
        }
        let Some(len) = body_len(bytes) else {
            return Ok(Step::Need(4));
        };
        if len > BODY_BYTES_MAX {
            return Err(Disconnect::TooLarge);
        }
        if bytes.len() < 4 + len {
            return Ok(Step::Need(4 + len));
        }
        let (kind, body) = (bytes[0], &bytes[4..4 + len]);
        let mut used = 4 + len;
        let command = match kind {
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
                say(body, &mut BinaryOutput::new(out));
                None
            }
            NOTHING => None,
            QUIT => {
                self.will = None;
                Some(Command::Leave)
            }
            _ => {
                say(b"bad", &mut BinaryOutput::new(out));
                return Err(Disconnect::Malformed);
            }
        };
        Ok(Step::Done { used, command })
    }

    fn attached<O: Output>(&mut self, _: Now, verdict: Result<&Identity, LoginFailure>, out: &mut O) {
        self.waiting = false;
        if verdict.is_err() {
            say(b"no", &mut BinaryOutput::new(out));
        }
    }

    fn completed<O: Output>(&mut self, _: Now, _: Ticket, _: &Completion, out: &mut O) {
        say(b"done", &mut BinaryOutput::new(out));
    }

    fn deliver<O: Output>(
        &mut self,
        _: Now,
        delivery: &Delivery<'_>,
        frames: &mut Frames<O::Shared>,
        out: &mut O,
    ) -> Result<(), Undelivered> {
        share(delivery, frames, &mut BinaryOutput::new(out))
    }

    fn timeout<O: Output>(&mut self, now: Now, out: &mut O) -> Result<(), Disconnect> {
        if Some(now.instant) < self.next_timeout() {
            return Ok(());
        }
        say(b"late", &mut BinaryOutput::new(out));
        Err(Disconnect::TimedOut)
    }

    fn next_timeout(&self) -> Option<Instant> {
        Some(self.accepted.instant + Duration::from_millis(limits::PRELOGIN_MS_MAX))
    }

    fn take_will(&mut self) -> Option<Box<Will>> {
        self.will.take()
    }

    fn end<O: Output>(&mut self, _: Now, _: Ending, out: &mut O) {
        say(b"bye", &mut BinaryOutput::new(out));
    }
}
