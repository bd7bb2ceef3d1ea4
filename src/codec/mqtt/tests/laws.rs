//! Laws that hold for every packet and for all bytes.

use proptest::prelude::*;

use super::generate::{Entropy, KINDS, Model};
use super::{context, whole};
use crate::codec::Decode;
use crate::codec::mqtt::packet::{Packet, Version};
use crate::codec::mqtt::{Context, Direction, FixedHeader, Malformed, decode, header};

fn model() -> impl Strategy<Value = Model> {
    (0..KINDS, prop::collection::vec(any::<u8>(), 0..160))
        .prop_map(|(kind, bytes)| Model::draw(kind, &mut Entropy::new(&bytes)))
}

fn encode(model: &Model) -> Vec<u8> {
    let mut bytes = Vec::new();
    model.packet().encode_into(model.version, &mut bytes);
    bytes
}

/// Every packet at the front of `bytes`, and how it ends.
fn all_frames(mut bytes: &[u8], context: Context) -> (Vec<Packet<'_>>, Result<usize, Malformed>) {
    let mut packets = Vec::new();
    loop {
        match decode(bytes, context) {
            Ok(Decode::Frame { frame, len }) => {
                packets.push(frame);
                bytes = &bytes[len..];
            }
            Ok(Decode::Need(len)) => return (packets, Ok(len)),
            Err(malformed) => return (packets, Err(malformed)),
        }
    }
}

/// Bytes that are mostly packets: what was encoded, with some bytes changed, inserted or cut.
fn mutated() -> impl Strategy<Value = (Vec<u8>, Version, Direction)> {
    (
        model(),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4),
    )
        .prop_map(|(model, changes)| {
            let mut bytes = encode(&model);
            for (at, value, how) in changes {
                let at = at.index(bytes.len() + 1);
                match how {
                    0 if at < bytes.len() => bytes[at] = value,
                    1 => bytes.insert(at, value),
                    _ => bytes.truncate(at),
                }
            }
            (bytes, model.version, model.direction)
        })
}

/// Seeded and bounded: the same cases in every run.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: prop::test_runner::RngSeed::Fixed(0x6E65_7875_7300_0001),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(3_000))]

    #[test]
    fn decoding_what_was_encoded_gives_the_same_packet(model in model()) {
        let packet = model.packet();
        let bytes = encode(&model);
        prop_assert_eq!(bytes.len(), packet.encoded_len(model.version));
        let decoded = whole(&bytes, Some(model.version), model.direction);
        prop_assert_eq!(decoded, Ok(packet));
        // The decoded packet borrows its properties as a block, which is copied when it is encoded again.
        let mut again = Vec::new();
        decoded.unwrap().encode_into(model.version, &mut again);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn need_is_exact_at_every_prefix(model in model()) {
        let bytes = encode(&model);
        let context = context(Some(model.version), model.direction);
        let header_len = match header(&bytes) {
            Ok(Decode::Frame { frame: FixedHeader { header_len, .. }, .. }) => usize::from(header_len),
            other => panic!("{other:?}"),
        };
        for cut in 0..bytes.len() {
            let need = if cut >= header_len { bytes.len() } else { (cut + 1).max(2) };
            prop_assert_eq!(decode(&bytes[..cut], context), Ok(Decode::Need(need)), "cut at {}", cut);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        v5 in any::<bool>(),
    ) {
        let version = if v5 { Version::V5 } else { Version::V311 };
        for version in [None, Some(version)] {
            for direction in [Direction::ToServer, Direction::ToClient] {
                let _ = all_frames(&bytes, context(version, direction));
            }
        }
    }

    #[test]
    fn mutated_packets_are_refused_or_survive_a_round_trip((bytes, version, direction) in mutated()) {
        let (packets, _) = all_frames(&bytes, context(Some(version), direction));
        for packet in packets {
            let version = match packet {
                Packet::Connect(connect) => connect.version,
                _ => version,
            };
            let mut again = Vec::new();
            packet.encode_into(version, &mut again);
            prop_assert_eq!(whole(&again, Some(version), direction), Ok(packet));
        }
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn any_split_point_gives_the_same_frames(
        kinds in prop::collection::vec(0..KINDS, 1..4),
        bytes in prop::collection::vec(any::<u8>(), 0..160),
        tail in prop::collection::vec(any::<u8>(), 0..6),
    ) {
        let mut entropy = Entropy::new(&bytes);
        let mut stream = Vec::new();
        let (mut version, mut direction) = (Version::V5, Direction::ToServer);
        for kind in kinds {
            let model = Model::draw(kind, &mut entropy);
            (version, direction) = (model.version, model.direction);
            model.packet().encode_into(version, &mut stream);
        }
        stream.extend_from_slice(&tail);
        let context = context(Some(version), direction);
        let (expected, end) = all_frames(&stream, context);
        for cut in 0..=stream.len() {
            let (mut packets, first_end) = all_frames(&stream[..cut], context);
            // What a prefix refuses, the whole refuses in the same way.
            if first_end.is_err() {
                prop_assert_eq!(first_end, end);
                prop_assert_eq!(&packets, &expected);
                continue;
            }
            let used = consumed(&stream[..cut], context);
            let (more, second_end) = all_frames(&stream[used..], context);
            packets.extend(more);
            prop_assert_eq!(&packets, &expected);
            prop_assert_eq!(second_end, end);
        }
    }
}

fn consumed(bytes: &[u8], context: Context) -> usize {
    let mut used = 0;
    while let Ok(Decode::Frame { len, .. }) = decode(&bytes[used..], context) {
        used += len;
    }
    used
}
