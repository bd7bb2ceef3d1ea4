//! Any bytes as a client's XML: no panic, whatever pieces they come in they say the same, and what is found alone
//! is found again.

use nexus::codec::Decode;
use nexus::codec::xmpp::{Bounds, Framer, Malformed, frame_whole};

#[derive(Debug, Default, PartialEq)]
struct Read {
    elements: Vec<Vec<u8>>,
    refused: Option<Malformed>,
    broke_off: bool,
}

/// Reads `bytes` in pieces of `piece` bytes, as a session does.
fn read(bytes: &[u8], piece: usize, bounds: &Bounds) -> Read {
    let (mut read, mut framer, mut buffer) = (Read::default(), Framer::default(), Vec::new());
    for chunk in bytes.chunks(piece) {
        buffer.extend_from_slice(chunk);
        while !buffer.is_empty() {
            match framer.scan(&buffer, bounds) {
                Ok(Decode::Need(need)) => {
                    assert!(need > buffer.len() && buffer.len() < bounds.stanza_bytes_max);
                    break;
                }
                Ok(Decode::Frame { frame, len }) => {
                    assert!(frame.start < frame.end && frame.end == len);
                    read.elements.push(buffer[frame].to_vec());
                    buffer.drain(..len);
                }
                Err(malformed) => {
                    read.refused = Some(malformed);
                    return read;
                }
            }
        }
    }
    read.broke_off = framer.in_element();
    read
}

/// # Panics
/// If `data` shows a fault.
pub(crate) fn run(data: &[u8]) {
    let Some((&[piece, small], bytes)) = data.split_first_chunk() else {
        return;
    };
    let bounds = Bounds::new(if small & 1 == 0 { 1 << 20 } else { 64 });
    let whole = read(bytes, bytes.len().max(1), &bounds);
    assert_eq!(whole, read(bytes, usize::from(piece % 16).max(1), &bounds));
    for element in &whole.elements {
        assert_eq!(frame_whole(element, &bounds), Ok(()));
    }
}
