//! Frames as a server sends them: not masked (RFC 6455, 5.1), not fragmented, lengths in the fewest bytes.

use super::CONTROL_BYTES_MAX;
use super::close::{Close, CloseCode};

/// What a frame is (5.2). Continuation frames are never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// %x1
    Text = 0x1,
    /// %x2
    Binary = 0x2,
    /// %x8
    Close = 0x8,
    /// %x9
    Ping = 0x9,
    /// %xA
    Pong = 0xA,
}

/// Bytes of the header of a frame with `payload_len` bytes of payload: 2, 4 or 10.
pub const fn header_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
}

/// Appends the header of a final frame whose payload of `payload_len` bytes follows.
pub fn put_header(buffer: &mut Vec<u8>, opcode: Opcode, payload_len: usize) {
    buffer.push(0x80 | opcode as u8);
    match (u8::try_from(payload_len), u16::try_from(payload_len)) {
        (Ok(len @ 0..=125), _) => buffer.push(len),
        (_, Ok(len)) => {
            buffer.push(126);
            buffer.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            buffer.push(127);
            buffer.extend_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
}

/// The payload of a frame that [`put_header`] began.
pub fn payload(frame: &[u8]) -> &[u8] {
    let header = match frame.get(1) {
        Some(127) => 10,
        Some(126) => 4,
        _ => 2,
    };
    frame.get(header..).unwrap_or_default()
}

/// Appends the Pong that answers a Ping with this payload (5.5.3). Payloads come from control frames and are
/// at most 125 bytes long; what is beyond is cut off.
pub fn put_pong(buffer: &mut Vec<u8>, payload: &[u8]) {
    let payload = payload.get(..CONTROL_BYTES_MAX).unwrap_or(payload);
    put_header(buffer, Opcode::Pong, payload.len());
    buffer.extend_from_slice(payload);
}

/// A Close frame to be sent (5.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame<'a>(Option<(CloseCode, &'a str)>);

impl<'a> CloseFrame<'a> {
    /// With a status code and a reason, which is cut off after 123 bytes at the boundary of a character.
    pub fn new(code: CloseCode, reason: &'a str) -> Self {
        let end = reason.floor_char_boundary(CONTROL_BYTES_MAX - 2);
        Self(Some((code, reason.get(..end).unwrap_or_default())))
    }

    /// The answer to a Close frame: the same status code, no reason.
    pub fn echo(close: Option<Close<'_>>) -> Self {
        Self(close.map(|close| (close.code, "")))
    }

    /// Bytes of the whole frame.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub const fn len(&self) -> usize {
        match self.0 {
            None => 2,
            Some((_, reason)) => 2 + 2 + reason.len(),
        }
    }

    /// Appends the frame.
    pub fn put(&self, buffer: &mut Vec<u8>) {
        put_header(buffer, Opcode::Close, self.len() - 2);
        if let Some((code, reason)) = self.0 {
            buffer.extend_from_slice(&code.get().to_be_bytes());
            buffer.extend_from_slice(reason.as_bytes());
        }
    }
}
