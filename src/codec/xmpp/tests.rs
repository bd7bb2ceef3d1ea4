//! XMPP's XML: what is found in any pieces, what is refused, what is read; quick-xml as the oracle.

mod differential;
mod elements;
mod generate;
mod hostile;
mod laws;
mod oracle;
mod refusals;

use super::*;
use crate::codec::Decode;

/// What a stream of bytes turned out to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    elements: Vec<Vec<u8>>,
    refused: Option<Malformed>,
    /// Whether an element had begun when the bytes ended.
    broke_off: bool,
}

/// Reads `bytes` as they come in pieces ending at `cuts`, as a session does, and checks what every call promises.
fn read(bytes: &[u8], cuts: impl IntoIterator<Item = usize>, bounds: &Bounds) -> Found {
    let (mut found, mut framer) = (Found::default(), Framer::default());
    let (mut from, mut need) = (0, 1);
    for cut in cuts.into_iter().chain([bytes.len()]) {
        while cut - from >= need {
            let available = &bytes[from..cut];
            match framer.scan(available, bounds) {
                Ok(Decode::Need(more)) => {
                    assert_eq!(more, available.len() + 1);
                    need = more;
                }
                Ok(Decode::Frame { frame, len }) => {
                    assert!(frame.end == len && len <= available.len() && len <= bounds.stanza_bytes_max);
                    assert!(
                        available[..frame.start]
                            .iter()
                            .all(|byte| b" \t\r\n".contains(byte))
                    );
                    found.elements.push(available[frame].to_vec());
                    assert!(!framer.in_element());
                    (from, need) = (from + len, 1);
                }
                Err(malformed) => {
                    found.refused = Some(malformed);
                    return found;
                }
            }
        }
    }
    found.broke_off = framer.in_element();
    found
}

/// Reads bytes whole, bytewise and in two pieces cut anywhere, which all must find the same.
#[track_caller]
fn read_in_all_pieces(bytes: &[u8], bounds: &Bounds) -> Found {
    let whole = read(bytes, [], bounds);
    assert_eq!(read(bytes, 1..bytes.len(), bounds), whole);
    for cut in 1..bytes.len() {
        assert_eq!(read(bytes, [cut], bounds), whole, "cut at {cut}");
    }
    whole
}

#[track_caller]
fn is_taken(xml: &str) {
    let found = read_in_all_pieces(xml.as_bytes(), &Bounds::default());
    assert_eq!((found.refused, found.elements.len()), (None, 1), "{xml}");
    assert_eq!(frame_whole(xml.as_bytes(), &Bounds::default()), Ok(()), "{xml}");
}

#[track_caller]
fn is_refused(xml: impl AsRef<[u8]>, expected: Malformed) {
    let xml = xml.as_ref();
    let found = read_in_all_pieces(xml, &Bounds::default());
    assert_eq!(found.refused, Some(expected), "{}", xml.escape_ascii());
}

#[track_caller]
fn element(xml: &str) -> Element<'_> {
    is_taken(xml);
    Element::parse(xml.as_bytes(), "").unwrap()
}

fn meant(text: Text<'_>) -> String {
    let mut bytes = Vec::new();
    text.append_to(&mut bytes);
    String::from_utf8(bytes).unwrap()
}
