//! Packets drawn from the bytes: encoded, cut anywhere, decoded, they are the same.

use nexus::codec::Decode;
use nexus::codec::mqtt::{Context, decode};

mod api {
    pub(super) use nexus::codec::mqtt::Direction;
    pub(super) use nexus::codec::mqtt::packet::*;
    pub(super) use nexus::codec::mqtt::property::{Properties, Property};
}
#[path = "../../../src/codec/mqtt/tests/generate.rs"]
mod generate;

/// # Panics
/// If `data` shows a fault.
pub(crate) fn run(data: &[u8]) {
    let Some(([kind, cut], entropy)) = data.split_first_chunk() else {
        return;
    };
    let model = generate::Model::draw(*kind, &mut generate::Entropy::new(entropy));
    let packet = model.packet();
    let mut bytes = Vec::new();
    packet.encode_into(model.version, &mut bytes);
    assert_eq!(bytes.len(), packet.encoded_len(model.version));
    let context = Context {
        version: Some(model.version),
        packet_bytes_max: bytes.len(),
        direction: model.direction,
    };
    let cut = usize::from(*cut) % bytes.len();
    match decode(&bytes[..cut], context) {
        Ok(Decode::Need(need)) => assert!(need > cut && need <= bytes.len()),
        other => panic!("{other:?}"),
    }
    match decode(&bytes, context) {
        Ok(Decode::Frame { frame, len }) => {
            assert_eq!(frame, packet);
            assert_eq!(len, bytes.len());
        }
        other => panic!("{packet:?} became {other:?}"),
    }
}
