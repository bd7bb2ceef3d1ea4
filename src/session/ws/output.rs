//! The way out: each packet or element in a frame of its own.

use crate::codec::ws::{Opcode, header_len, payload, put_header};
use crate::session::Output;

/// Frames what the carried session writes, one message a packet or element, and hands it to the output of the
/// connection. Shared frames have their header in them.
#[derive(Debug)]
pub struct WsOutput<'a, O, const TEXT: bool>(&'a mut O);

/// In binary messages.
pub type BinaryOutput<'a, O> = WsOutput<'a, O, false>;

/// In text messages; what is written must be UTF-8 (RFC 6455, 5.6).
pub type TextOutput<'a, O> = WsOutput<'a, O, true>;

/// The bit of [`Output::FRAMING`] that says: in binary WebSocket frames.
const BINARY_FRAMES: u8 = 0x40;
/// The bit of [`Output::FRAMING`] that says: in text WebSocket frames.
const TEXT_FRAMES: u8 = 0x80;

impl<'a, O: Output, const TEXT: bool> WsOutput<'a, O, TEXT> {
    const OPCODE: Opcode = if TEXT { Opcode::Text } else { Opcode::Binary };

    /// Over the output of a connection.
    pub const fn new(connection: &'a mut O) -> Self {
        Self(connection)
    }

    fn put(buffer: &mut Vec<u8>, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        put_header(buffer, Self::OPCODE, len);
        encode(buffer);
    }
}

impl<O: Output, const TEXT: bool> Output for WsOutput<'_, O, TEXT> {
    type Shared = O::Shared;

    const FRAMING: u8 = {
        let framed = O::FRAMING & (BINARY_FRAMES | TEXT_FRAMES) != 0;
        assert!(!framed, "WebSocket within WebSocket");
        O::FRAMING | if TEXT { TEXT_FRAMES } else { BINARY_FRAMES }
    };

    fn write(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        self.0
            .write(header_len(len) + len, |buffer| Self::put(buffer, len, encode));
    }

    fn share(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Self::Shared {
        self.0
            .share(header_len(len) + len, |buffer| Self::put(buffer, len, encode))
    }

    fn push(&mut self, frame: &Self::Shared) {
        self.0.push(frame);
    }

    fn shared(frame: &Self::Shared) -> &[u8] {
        payload(O::shared(frame))
    }

    fn queued(&self) -> usize {
        self.0.queued()
    }
}
