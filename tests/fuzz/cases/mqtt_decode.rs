//! Any bytes, as either side and either version would take them: no panic, and what is taken survives being
//! encoded and decoded again.

use nexus::codec::Decode;
use nexus::codec::mqtt::packet::{Packet, Version};
use nexus::codec::mqtt::{Context, Direction, decode};

/// # Panics
/// If `data` shows a fault.
pub(crate) fn run(data: &[u8]) {
    let Some((&select, mut bytes)) = data.split_first() else {
        return;
    };
    let mut context = Context {
        version: [None, Some(Version::V311), Some(Version::V5)][usize::from(select) % 3],
        packet_bytes_max: 1 << 16,
        direction: if select & 0x80 == 0 {
            Direction::ToServer
        } else {
            Direction::ToClient
        },
    };
    while let Ok(Decode::Frame { frame, len }) = decode(bytes, context) {
        if let Packet::Connect(connect) = frame {
            context.version = Some(connect.version);
        }
        let version = context.version.expect("CONNECT comes first");
        let mut again = Vec::new();
        frame.encode_into(version, &mut again);
        assert_eq!(again.len(), frame.encoded_len(version));
        match decode(
            &again,
            Context {
                packet_bytes_max: usize::MAX,
                ..context
            },
        ) {
            Ok(Decode::Frame { frame: decoded, len }) => {
                assert_eq!(decoded, frame);
                assert_eq!(len, again.len());
            }
            other => panic!("{frame:?} became {other:?}"),
        }
        bytes = &bytes[len..];
    }
}
