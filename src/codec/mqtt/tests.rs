//! The codec's tests: a file per chapter with a case per clause, laws over generated packets, mqttbytes as the
//! oracle for 3.1.1.

mod acknowledge;
mod connect;
mod delivery;
mod differential;
mod fixed_header;
mod generate;
mod laws;
mod properties;
mod publish;
mod subscribe;
mod topics;

use super::packet::{Packet, Version};
use super::{Context, Direction, Malformed, decode};
use crate::codec::Decode;

const V3: Version = Version::V311;
const V5: Version = Version::V5;
const UP: Direction = Direction::ToServer;
const DOWN: Direction = Direction::ToClient;

/// What `generate` builds with; a fuzz target shares that file and names the same things through its crate.
mod api {
    pub(super) use crate::codec::mqtt::Direction;
    pub(super) use crate::codec::mqtt::packet::*;
    pub(super) use crate::codec::mqtt::property::{Properties, Property};
}

const fn context(version: Option<Version>, direction: Direction) -> Context {
    Context {
        version,
        packet_bytes_max: 1 << 20,
        direction,
    }
}

/// The one packet that all of `bytes` are.
fn whole(bytes: &[u8], version: Option<Version>, direction: Direction) -> Result<Packet<'_>, Malformed> {
    match decode(bytes, context(version, direction))? {
        Decode::Frame { frame, len } => {
            assert_eq!(len, bytes.len(), "{bytes:02x?}");
            Ok(frame)
        }
        Decode::Need(len) => panic!("{len} bytes needed of {bytes:02x?}"),
    }
}

/// A packet of a first byte and the pieces of its body.
fn raw(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let (length, len) = super::varint::encode(body.len().try_into().unwrap());
    [&[first], &length[..len], &body].concat()
}

/// A field with its length in two bytes.
fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// A property block with its length.
fn block(properties: &[u8]) -> Vec<u8> {
    let (length, len) = super::varint::encode(properties.len().try_into().unwrap());
    [&length[..len], properties].concat()
}

/// That `body` after `first` is refused for `malformed`.
#[track_caller]
fn refused(version: Version, direction: Direction, first: u8, body: &[&[u8]], malformed: Malformed) {
    let bytes = raw(first, body);
    assert_eq!(
        whole(&bytes, Some(version), direction),
        Err(malformed),
        "{bytes:02x?}"
    );
}

/// That `body` after `first` is a packet.
#[track_caller]
fn taken(version: Version, direction: Direction, first: u8, body: &[&[u8]]) {
    let bytes = raw(first, body);
    let packet = whole(&bytes, Some(version), direction);
    assert!(packet.is_ok(), "{bytes:02x?}: {packet:?}");
}
