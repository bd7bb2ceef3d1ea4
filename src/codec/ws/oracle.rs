//! The same bytes read by tungstenite, in the role of a server.
//!
//! Known disagreements, all of them stricter here: tungstenite takes lengths in more bytes than they need,
//! answers a wrong close code with 1002 where the connection is failed at once here, and finds wrong text only
//! when the message is complete.

use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use tungstenite::error::{CapacityError, Error};
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Message, protocol::frame::FrameHeader, protocol::frame::coding};

use super::tests::{Event, client_frame, read};
use super::{Kind, Malformed, Opcode, put_header};

/// A stream that ends in `WouldBlock`, so that a cut-off frame is not taken for the end of the connection.
struct Stream(Cursor<Vec<u8>>);

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, PartialEq)]
enum End {
    Open,
    Closed,
    Refused,
}

fn oracle(bytes: &[u8]) -> (Vec<Event>, End) {
    let config = WebSocketConfig::default().max_frame_size(Some(1 << 20));
    let mut socket =
        WebSocket::from_raw_socket(Stream(Cursor::new(bytes.to_vec())), Role::Server, Some(config));
    let mut events = Vec::new();
    loop {
        let event = match socket.read() {
            Ok(Message::Text(text)) => Event::Message(Kind::Text, text.as_bytes().to_vec()),
            Ok(Message::Binary(payload)) => Event::Message(Kind::Binary, payload.to_vec()),
            Ok(Message::Ping(payload)) => Event::Ping(payload.to_vec()),
            Ok(Message::Pong(payload)) => Event::Pong(payload.to_vec()),
            Ok(Message::Close(close)) => {
                let close = close.map(|close| (close.code.into(), close.reason.to_string()));
                events.push(Event::Close(close));
                return (events, End::Closed);
            }
            Ok(Message::Frame(_)) => unreachable!("raw frames are not read"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (events, End::Open),
            Err(
                Error::Protocol(_) | Error::Utf8(_) | Error::Capacity(CapacityError::MessageTooLong { .. }),
            ) => {
                return (events, End::Refused);
            }
            Err(other) => panic!("{other}"),
        };
        events.push(event);
    }
}

fn compare(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut ours = read(bytes, &[]);
    let (mut theirs, end) = oracle(bytes);
    let refusal = match ours.last() {
        Some(&Event::Malformed(malformed)) => {
            ours.pop();
            Some(malformed)
        }
        _ => None,
    };
    match refusal {
        // A control frame's long length may be a short one that is not minimal.
        Some(Malformed::LengthNotMinimal | Malformed::ControlTooLong) => theirs.truncate(ours.len()),
        // Refused there only if the reason is wrong, too.
        Some(Malformed::CloseCode) => {
            if end != End::Refused {
                let answered = theirs.pop();
                prop_assert!(
                    matches!(answered, Some(Event::Close(Some((1002, _))))),
                    "{:?}",
                    answered
                );
            }
        }
        // These it can only tell once the rest of the frame or message has come.
        Some(
            Malformed::Text
            | Malformed::Unmasked
            | Malformed::ReservedBits
            | Malformed::ControlFragmented
            | Malformed::ContinuationWithoutStart
            | Malformed::MessageInterrupted
            | Malformed::ReservedOpcode
            | Malformed::FrameTooLarge
            | Malformed::LengthTopBit,
        ) => prop_assert!(end == End::Refused || end == End::Open, "{:?} {:?}", refusal, end),
        Some(Malformed::CloseTruncated | Malformed::CloseReason) => prop_assert_eq!(end, End::Refused),
        None => prop_assert!(end != End::Refused, "tungstenite alone refuses {:x?}", bytes),
    }
    prop_assert_eq!(ours, theirs, "{:?}", refusal);
    Ok(())
}

#[test]
fn headers_are_written_byte_for_byte_as_tungstenite_does() {
    for len in [0, 1, 125, 126, 127, 0xFFFE, 0xFFFF, 0x1_0000, 0x1_0001, 1 << 30] {
        let mut ours = Vec::new();
        put_header(&mut ours, Opcode::Binary, len);
        let header = FrameHeader {
            opcode: coding::OpCode::Data(coding::Data::Binary),
            ..FrameHeader::default()
        };
        let mut theirs = Vec::new();
        header.format(len as u64, &mut theirs).unwrap();
        assert_eq!(ours, theirs);
        let parsed = FrameHeader::parse(&mut Cursor::new(&ours)).unwrap().unwrap();
        assert_eq!(parsed, (header, len as u64));
    }
}

/// Whole refused frames: tungstenite must refuse them, too, but for the disagreements above.
#[test]
fn whole_frames_of_every_first_byte_are_judged_alike() {
    for before in [None, Some(0x01), Some(0x02)] {
        for first in 0..=u8::MAX {
            for payload in [&b""[..], b"a", b"\x03\xE8", &[b'a'; 126]] {
                let mut bytes: Vec<u8> =
                    before.map_or_else(Vec::new, |b| client_frame(b, b"x", [1, 2, 3, 4]));
                bytes.extend(client_frame(first, payload, [9, 8, 7, 6]));
                compare(&bytes).unwrap();
                let refused = matches!(read(&bytes, &[]).last(), Some(Event::Malformed(_)));
                let (events, end) = oracle(&bytes);
                let close_code = matches!(events.last(), Some(Event::Close(Some((1002, _)))));
                assert_eq!(
                    refused,
                    end == End::Refused || close_code,
                    "{first:x} {payload:x?}"
                );
            }
        }
    }
}

#[test]
fn a_close_whose_code_and_reason_are_wrong_is_refused_by_both() {
    let mut bytes = client_frame(0x81, b"", [0; 4]);
    bytes.extend(client_frame(0x88, b"a\xF0\x90\xB3\xBA", [0; 4]));
    compare(&bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn streams_of_frames_are_read_alike(
        frames in prop::collection::vec(
            (
                prop_oneof![
                    8 => prop::sample::select(vec![0x00, 0x80, 0x01, 0x81, 0x02, 0x82, 0x89, 0x8A]),
                    1 => any::<u8>(),
                ],
                prop_oneof![
                    "\\PC{0,30}".prop_map(String::into_bytes),
                    prop::collection::vec(any::<u8>(), 0..6),
                    prop::collection::vec(Just(b'.'), 120..140),
                ],
                any::<[u8; 4]>(),
            ),
            0..8,
        ),
        flip in prop::option::weighted(0.3, (any::<prop::sample::Index>(), 0_u8..8)),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let mut bytes: Vec<u8> =
            frames.iter().flat_map(|(first, payload, key)| client_frame(*first, payload, *key)).collect();
        if let Some(cut) = cut && !bytes.is_empty() {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Some((at, bit)) = flip && !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        compare(&bytes)?;
    }
}
