//! WebSocket frames (RFC 6455) as a server reads and writes them. No extensions.
//!
//! The payload is unmasked where it lies, as far as it has come: a frame need not be complete to be read. A
//! [`Decoder`] is 16 bytes, so that an idle connection costs nothing.

mod close;
mod decode;
mod encode;
mod mask;
mod utf8;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

pub use close::{Close, CloseCode, Malformed};
pub use decode::{Decoder, Frame, Kind};
pub use encode::{CloseFrame, Opcode, header_len, payload, put_header, put_pong};
pub use mask::apply as apply_mask;
pub use utf8::Utf8;

/// The longest payload of a control frame (5.5) in bytes.
pub const CONTROL_BYTES_MAX: usize = 125;
