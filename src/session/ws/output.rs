//! The way out: each packet in a binary frame of its own.

use crate::codec::ws::{Opcode, header_len, put_header};
use crate::session::Output;

/// Frames what the carried session writes, one binary message a packet, and hands it to the output of the
/// connection. Shared frames have their header in them.
#[derive(Debug)]
pub struct WsOutput<'a, O>(pub &'a mut O);

/// The bit of [`Output::FRAMING`] that says: in binary WebSocket frames.
const BINARY_FRAMES: u8 = 0x40;

fn put<F: FnOnce(&mut Vec<u8>)>(buffer: &mut Vec<u8>, len: usize, encode: F) {
    put_header(buffer, Opcode::Binary, len);
    encode(buffer);
}

impl<O: Output> Output for WsOutput<'_, O> {
    type Shared = O::Shared;

    const FRAMING: u8 = {
        assert!(O::FRAMING & BINARY_FRAMES == 0, "WebSocket within WebSocket");
        O::FRAMING | BINARY_FRAMES
    };

    fn write(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        self.0
            .write(header_len(len) + len, |buffer| put(buffer, len, encode));
    }

    fn share(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Self::Shared {
        self.0
            .share(header_len(len) + len, |buffer| put(buffer, len, encode))
    }

    fn push(&mut self, frame: &Self::Shared) {
        self.0.push(frame);
    }

    fn queued(&self) -> usize {
        self.0.queued()
    }
}
