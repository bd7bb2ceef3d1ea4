//! MQTT 3.1.1 and 5.0, complete, borrowed from the bytes they were read from.
//!
//! [`decode`] looks at the front of the bytes and finds a [`packet::Packet`], asks for more, or says what is
//! wrong ([`Malformed`]); as long as a packet is incomplete, only its fixed header is looked at. The packet
//! types encode themselves (`encoded_len`, `encode_into`); [`publish::PublishParts`] encodes a PUBLISH from
//! pieces that are nowhere in one buffer.
//!
//! Clauses in the documentation are those of MQTT 5.0 unless they say 3.1.1.

mod decode;
mod encode;
pub mod forward;
pub mod header;
mod holder;
pub mod malformed;
pub mod packet;
pub mod property;
pub mod publish;
mod reader;
mod reason;
pub mod topic;
pub mod varint;

#[cfg(test)]
mod tests;

pub use decode::{Context, Undecoded, decode, undecoded};
pub use header::{Direction, FixedHeader, PacketType, header};
pub use malformed::Malformed;
