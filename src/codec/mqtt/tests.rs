//! The codec's tests: one case per clause in `rules`, laws over generated packets in `laws`.

mod generate;
mod laws;

use super::packet::{Packet, Version};
use super::{Context, Direction, Malformed, decode};
use crate::codec::Decode;

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
