//! WebSocket frames: split points, masks, and what RFC 6455 forbids.

use proptest::prelude::*;

use super::*;
use crate::codec::Decode;

const KEY: [u8; 4] = [0xA1, 0x02, 0xF3, 0x44];
const MAX: u64 = 1 << 20;

/// A client's frame: masked, of minimal length.
pub(super) fn client_frame(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut frame = Vec::new();
    put_header(&mut frame, Opcode::Binary, payload.len());
    frame[0] = first;
    frame[1] |= 0x80;
    frame.extend_from_slice(&key);
    let at = frame.len();
    frame.extend_from_slice(payload);
    apply_mask(&mut frame[at..], key);
    frame
}

/// What a stream of bytes turned out to say, payloads of fragments joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Malformed(Malformed),
}

/// Reads `bytes` as they come in pieces ending at `cuts`, as a session does, and checks what every call
/// promises. Stops after a Close or an error.
pub(super) fn read(bytes: &[u8], cuts: &[usize]) -> Vec<Event> {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    let mut message = None;
    let mut buffer: Vec<u8> = Vec::new();
    let mut at = 0;
    let mut need = 0;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        let cut = cut.clamp(at, bytes.len());
        buffer.extend_from_slice(&bytes[at..cut]);
        at = cut;
        while buffer.len() >= need.max(1) {
            match advance(&mut decoder, &mut buffer, &mut message, &mut events) {
                Ok((used, next)) => {
                    buffer.drain(..used);
                    need = next;
                    if used == 0 && next == 0 {
                        return events;
                    }
                }
                Err(malformed) => {
                    events.push(Event::Malformed(malformed));
                    return events;
                }
            }
        }
    }
    events
}

fn advance(
    decoder: &mut Decoder,
    buffer: &mut [u8],
    message: &mut Option<(Kind, Vec<u8>)>,
    events: &mut Vec<Event>,
) -> Result<(usize, usize), Malformed> {
    let used = if decoder.payload_left() > 0 {
        let used = decoder.payload(buffer)?;
        message.as_mut().unwrap().1.extend_from_slice(&buffer[..used]);
        used
    } else {
        let available = buffer.len();
        match decoder.decode(buffer, MAX)? {
            Decode::Need(need) => {
                assert!(need > available, "Need({need}) with {available} bytes");
                return Ok((0, need));
            }
            Decode::Frame { frame, len } => {
                assert!((2..=available).contains(&len));
                match frame {
                    Frame::Data { kind, first, len, .. } => {
                        assert_eq!(first, message.is_none());
                        let message = message.get_or_insert((kind, Vec::new()));
                        assert_eq!(message.0, kind);
                        assert_eq!(decoder.payload_left(), len);
                    }
                    Frame::Ping(payload) => events.push(Event::Ping(payload.to_vec())),
                    Frame::Pong(payload) => events.push(Event::Pong(payload.to_vec())),
                    Frame::Close(close) => {
                        events.push(Event::Close(close.map(|c| (c.code.get(), c.reason.to_owned()))));
                        return Ok((0, 0));
                    }
                }
                len
            }
        }
    };
    if !decoder.in_message()
        && let Some((kind, payload)) = message.take()
    {
        events.push(Event::Message(kind, payload));
    }
    Ok((used, 0))
}

fn read_frames(frames: &[(u8, &[u8])]) -> Vec<Event> {
    let mut bytes = Vec::new();
    for (first, payload) in frames {
        bytes.extend(client_frame(*first, payload, KEY));
    }
    read(&bytes, &[])
}

fn refused(bytes: &[u8]) -> Malformed {
    match read(bytes, &[]).pop() {
        Some(Event::Malformed(malformed)) => malformed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_decoder_is_16_bytes() {
    assert_eq!(size_of::<Decoder>(), 16);
}

#[test]
fn rfc6455_5_7_the_masked_hello() {
    let bytes = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let hello = [Event::Message(Kind::Text, b"Hello".to_vec())];
    assert_eq!(read(&bytes, &[]), hello);
    let ping = [0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(&ping, &[]), [Event::Ping(b"Hello".to_vec())]);
}

#[test]
fn rfc6455_5_2_need_is_exact_for_every_header() {
    for (payload_len, header) in [(0, 6), (125, 6), (126, 8), (0xFFFF, 8), (0x1_0000, 14)] {
        let mut frame = client_frame(0x82, &vec![7; payload_len], KEY);
        for have in 0..header {
            let need = if have < 2 { 2 } else { header };
            let mut decoder = Decoder::default();
            assert_eq!(decoder.decode(&mut frame[..have], MAX), Ok(Decode::Need(need)));
        }
        let decoded = Decoder::default().decode(&mut frame, MAX).unwrap();
        let data = Frame::Data {
            kind: Kind::Binary,
            first: true,
            last: true,
            len: payload_len as u64,
        };
        assert_eq!(
            decoded,
            Decode::Frame {
                frame: data,
                len: header
            }
        );
    }
    let mut ping = client_frame(0x89, b"abc", KEY);
    for have in 2..9 {
        let need = if have < 6 { 6 } else { 9 };
        assert_eq!(
            Decoder::default().decode(&mut ping[..have], MAX),
            Ok(Decode::Need(need))
        );
    }
}

#[test]
fn rfc6455_5_1_a_client_masks_its_frames() {
    for first in [0x81, 0x82, 0x88, 0x89, 0x8A] {
        assert_eq!(refused(&[first, 0x00]), Malformed::Unmasked);
    }
}

#[test]
fn rfc6455_5_2_reserved_bits_are_0() {
    for bit in [0x40, 0x20, 0x10] {
        for opcode in [0x81, 0x82, 0x88, 0x89, 0x8A] {
            assert_eq!(
                refused(&client_frame(opcode | bit, b"", KEY)),
                Malformed::ReservedBits
            );
        }
    }
}

#[test]
fn rfc6455_5_2_reserved_opcodes_are_refused() {
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        assert_eq!(
            refused(&client_frame(0x80 | opcode, b"", KEY)),
            Malformed::ReservedOpcode
        );
        assert_eq!(
            refused(&client_frame(opcode, b"", KEY)),
            Malformed::ReservedOpcode
        );
    }
}

#[test]
fn rfc6455_5_2_a_length_takes_the_fewest_bytes() {
    let medium = |len: u16| [&[0x82, 0xFE][..], &len.to_be_bytes(), &KEY].concat();
    let long = |len: u64| [&[0x82, 0xFF][..], &len.to_be_bytes(), &KEY].concat();
    for len in [0, 1, 125] {
        assert_eq!(refused(&medium(len)), Malformed::LengthNotMinimal);
        assert_eq!(refused(&long(len.into())), Malformed::LengthNotMinimal);
    }
    for len in [126, 0xFFFF] {
        assert_eq!(read(&medium(len), &[]), []);
        assert_eq!(refused(&long(len.into())), Malformed::LengthNotMinimal);
    }
    assert_eq!(read(&long(0x1_0000), &[]), []);
}

#[test]
fn rfc6455_5_2_the_top_bit_of_a_64_bit_length_is_0() {
    for len in [1 << 63, u64::MAX] {
        let bytes = [&[0x82, 0xFF][..], &u64::to_be_bytes(len), &KEY].concat();
        assert_eq!(refused(&bytes), Malformed::LengthTopBit);
    }
}

#[test]
fn rfc6455_7_4_1_a_frame_over_the_bound_is_refused_by_its_header() {
    let announce = |len: u64| [&[0x82, 0xFF][..], &len.to_be_bytes(), &KEY].concat();
    assert_eq!(read(&announce(MAX), &[]), []);
    assert_eq!(refused(&announce(MAX + 1)), Malformed::FrameTooLarge);
    assert_eq!(refused(&announce(u64::MAX >> 1)), Malformed::FrameTooLarge);
}

#[test]
fn rfc6455_5_5_control_frames_are_final_and_at_most_125_bytes() {
    for opcode in [0x8, 0x9, 0xA] {
        assert_eq!(
            refused(&client_frame(opcode, b"", KEY)),
            Malformed::ControlFragmented
        );
        let long = client_frame(0x80 | opcode, &[b'x'; 126], KEY);
        assert_eq!(refused(&long), Malformed::ControlTooLong);
        // Told by the first two bytes, before anything is buffered.
        assert_eq!(refused(&[0x80 | opcode, 0xFF]), Malformed::ControlTooLong);
    }
    let longest = vec![b'x'; CONTROL_BYTES_MAX];
    assert_eq!(read_frames(&[(0x89, &longest)]), [Event::Ping(longest)]);
}

#[test]
fn rfc6455_5_4_fragments_are_one_message_and_control_frames_pass_between_them() {
    let events = read_frames(&[
        (0x02, b"ab"),
        (0x89, b"ping"),
        (0x00, b""),
        (0x8A, b""),
        (0x80, b"c"),
        (0x82, b"d"),
    ]);
    assert_eq!(
        events,
        [
            Event::Ping(b"ping".to_vec()),
            Event::Pong(Vec::new()),
            Event::Message(Kind::Binary, b"abc".to_vec()),
            Event::Message(Kind::Binary, b"d".to_vec()),
        ]
    );
}

#[test]
fn rfc6455_5_4_a_continuation_needs_a_message() {
    for first in [0x00, 0x80] {
        assert_eq!(
            refused(&client_frame(first, b"a", KEY)),
            Malformed::ContinuationWithoutStart
        );
        let after = [client_frame(0x82, b"a", KEY), client_frame(first, b"b", KEY)].concat();
        assert_eq!(refused(&after), Malformed::ContinuationWithoutStart);
    }
}

#[test]
fn rfc6455_5_4_messages_are_not_interleaved() {
    for first in [0x01, 0x81, 0x02, 0x82] {
        let bytes = [client_frame(0x02, b"a", KEY), client_frame(first, b"b", KEY)].concat();
        assert_eq!(refused(&bytes), Malformed::MessageInterrupted);
    }
}

#[test]
fn rfc6455_5_5_1_a_close_says_nothing_or_begins_with_a_code() {
    assert_eq!(read_frames(&[(0x88, b"")]), [Event::Close(None)]);
    assert_eq!(
        read_frames(&[(0x88, b"\x03\xE8")]),
        [Event::Close(Some((1000, String::new())))]
    );
    let bye = [Event::Close(Some((1001, "bye".to_owned())))];
    assert_eq!(read_frames(&[(0x88, b"\x03\xE9bye")]), bye);
    assert_eq!(
        refused(&client_frame(0x88, b"\x03", KEY)),
        Malformed::CloseTruncated
    );
    assert_eq!(
        refused(&client_frame(0x88, b"\x03\xE8\xFF", KEY)),
        Malformed::CloseReason
    );
    assert_eq!(
        refused(&client_frame(0x88, b"\x03\xE8\xC3", KEY)),
        Malformed::CloseReason
    );
}

#[test]
fn rfc6455_7_4_codes_that_may_stand_in_a_close() {
    let allowed = |code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    for code in 0..=u16::MAX {
        let events = read_frames(&[(0x88, &code.to_be_bytes())]);
        if allowed(code) {
            assert_eq!(events, [Event::Close(Some((code, String::new())))]);
        } else {
            assert_eq!(events, [Event::Malformed(Malformed::CloseCode)], "{code}");
        }
    }
}

#[test]
fn rfc6455_8_1_text_is_utf8_over_the_boundaries_of_frames() {
    let text = "κόσμε 🦀".as_bytes();
    for cut in 0..=text.len() {
        let events = read_frames(&[(0x01, &text[..cut]), (0x89, b"\xFF"), (0x80, &text[cut..])]);
        assert_eq!(events[1], Event::Message(Kind::Text, text.to_vec()));
    }
    // A character that the message's end cuts off, in one frame and over an empty last one.
    assert_eq!(
        read_frames(&[(0x81, b"\xC3")]),
        [Event::Malformed(Malformed::Text)]
    );
    assert_eq!(
        read_frames(&[(0x01, b"\xC3"), (0x80, b"")]),
        [Event::Malformed(Malformed::Text)]
    );
    // The next message begins afresh, and binary is not looked at.
    let events = read_frames(&[(0x81, b"a"), (0x82, b"\xC3"), (0x81, b"b")]);
    assert_eq!(events.len(), 3);
}

#[test]
fn rfc6455_8_1_text_that_cannot_become_utf8_is_refused_at_its_first_wrong_byte() {
    // A surrogate is wrong with its second byte, though the frame and the message go on.
    let mut frame = client_frame(0x01, b"\xED\xA0\x80...", KEY);
    frame.truncate(6 + 2);
    assert_eq!(refused(&frame), Malformed::Text);
}

#[test]
fn every_violation_has_a_close_code_of_rfc6455_7_4_1() {
    for malformed in Malformed::ALL {
        assert!(matches!(malformed.close_code().get(), 1002 | 1007 | 1009));
        let frame = CloseFrame::new(malformed.close_code(), malformed.as_str());
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        assert_eq!(bytes.len(), frame.len());
    }
}

#[test]
fn rfc6455_5_5_1_a_reason_is_cut_off_at_a_character() {
    let reason = "é".repeat(100);
    let frame = CloseFrame::new(CloseCode::NORMAL, &reason);
    let mut bytes = Vec::new();
    frame.put(&mut bytes);
    assert_eq!((bytes.len(), frame.len()), (2 + 2 + 122, 2 + 2 + 122));
    assert_eq!(&bytes[..4], [0x88, 124, 0x03, 0xE8]);
    assert_eq!(std::str::from_utf8(&bytes[4..]).unwrap(), &reason[..122]);
}

#[test]
fn rfc6455_5_5_1_an_echo_repeats_the_code() {
    let echo = |close| {
        let mut bytes = Vec::new();
        CloseFrame::echo(close).put(&mut bytes);
        bytes
    };
    assert_eq!(echo(None), [0x88, 0]);
    let close = Close {
        code: CloseCode::GOING_AWAY,
        reason: "bye",
    };
    assert_eq!(echo(Some(close)), [0x88, 2, 0x03, 0xE9]);
}

/// One of the frames a client may send next, as (first byte, payload).
fn any_frame() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let first = prop_oneof![
        prop::sample::select(vec![0x00, 0x80, 0x01, 0x81, 0x02, 0x82, 0x89, 0x8A, 0x88]),
        any::<u8>(),
    ];
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        "\\PC{0,40}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 120..300),
    ];
    (first, payload)
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_events(
        frames in prop::collection::vec((any_frame(), any::<[u8; 4]>()), 0..6),
        mut cuts in prop::collection::vec(0_usize..1500, 0..40),
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|((first, payload), key)| client_frame(*first, payload, *key)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(read(&bytes, &cuts), read(&bytes, &[]));
        let bytewise: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(read(&bytes, &bytewise), read(&bytes, &[]));
    }

    #[test]
    fn messages_round_trip(
        messages in prop::collection::vec((any::<bool>(), "\\PC{0,100}", 1_usize..4), 0..5),
        key in any::<[u8; 4]>(),
    ) {
        let mut bytes = Vec::new();
        let mut sent = Vec::new();
        for (text, payload, fragments) in messages {
            let (opcode, kind) = if text { (1, Kind::Text) } else { (2, Kind::Binary) };
            let payload = payload.into_bytes();
            let mut pieces: Vec<_> = payload.chunks(payload.len().div_ceil(fragments).max(1)).collect();
            if pieces.is_empty() {
                pieces.push(&[]);
            }
            for (i, piece) in pieces.iter().enumerate() {
                let fin = if i + 1 == pieces.len() { 0x80 } else { 0 };
                bytes.extend(client_frame(fin | if i == 0 { opcode } else { 0 }, piece, key));
            }
            sent.push(Event::Message(kind, payload));
        }
        prop_assert_eq!(read(&bytes, &[]), sent);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes, &[]);
    }

    #[test]
    fn headers_are_as_long_as_announced(len in prop_oneof![0_usize..300, 65_000_usize..66_000, any::<usize>()]) {
        let mut header = Vec::new();
        put_header(&mut header, Opcode::Text, len);
        prop_assert_eq!(header.len(), header_len(len));
    }
}
