//! A protocol of elements, one a text message, is shown whole messages and nothing else.

mod texts;

use proptest::prelude::*;

use self::texts::*;
use super::*;
use crate::route::SubscriptionOptions;
use crate::session::testing::identity;

#[test]
fn rfc7395_3_1_the_handshake_names_xmpp_at_both_of_its_paths() {
    for path in ["/ws", "/xmpp-websocket", "/ws?version=1"] {
        let good = handshake::xmpp_request(path);
        for good in [good.replace(": xmpp", ": mqtt, xmpp"), good] {
            let mut shard = Shard::<Texts>::accept_for(&Opened::default());
            shard.receive(good.as_bytes());
            let response = String::from_utf8(shard.out.take()).unwrap();
            assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
            assert!(response.contains("\r\nSec-WebSocket-Protocol: xmpp\r\n"));
        }
    }
}

#[test]
fn rfc7395_3_1_a_request_that_does_not_offer_xmpp_is_refused() {
    let good = handshake::xmpp_request("/ws");
    for (wrong, status, disconnect) in [
        (
            good.replace(": xmpp", ": mqtt"),
            "400",
            Disconnect::UnsupportedVersion,
        ),
        (
            good.replace(": xmpp", ": XMPP"),
            "400",
            Disconnect::UnsupportedVersion,
        ),
        (
            good.replace("Sec-WebSocket-Protocol: xmpp\r\n", ""),
            "400",
            Disconnect::UnsupportedVersion,
        ),
        (good.replace("/ws", "/mqtt"), "404", Disconnect::ProtocolError),
    ] {
        let mut shard = Shard::<Texts>::accept_for(&Opened::default());
        shard.receive(wrong.as_bytes());
        assert_eq!(shard.events, [Event::Ended(disconnect)]);
        let response = String::from_utf8(shard.out.take()).unwrap();
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
        assert_eq!(
            status == "400",
            response.contains("must offer xmpp,"),
            "{response}"
        );
    }
}

#[test]
fn rfc7395_3_3_3_a_message_in_one_frame_is_shown_once_and_in_place() {
    let long = element(PUBLISH, &[b'x'; 50_000]);
    for kind in [PUBLISH, PUBLISH_REWRITTEN] {
        let bytes = [text(&element(kind, "grüße €".as_bytes())), text(&long)].concat();
        for piece in [1, 3, 1_000, bytes.len()] {
            let mut shard = logged_in();
            for chunk in bytes.chunks(piece) {
                shard.receive(chunk);
                assert!(shard.session.spill.is_none());
            }
            assert_eq!(
                shard.events,
                [published("grüße €".as_bytes()), published(&long[1..])]
            );
            assert_eq!((shown(&mut shard), shard.scratch.packet.capacity()), (2, 0));
            assert!(shard.buffer.is_empty());
        }
    }
}

#[test]
fn the_shard_is_asked_for_the_whole_message_at_once() {
    let mut shard = logged_in();
    let bytes = text(&element(PUBLISH, &[b'x'; 9_999]));
    shard.receive(&bytes[..100]);
    assert_eq!((shard.need, shard.buffer.len()), (10_000, 92));
    assert_eq!(shown(&mut shard), 0);
    shard.receive(&bytes[100..]);
    assert_eq!(shard.events, [published(&[b'x'; 9_999])]);
}

#[test]
fn a_message_may_be_split_over_frames_at_every_byte() {
    for kind in [PUBLISH, PUBLISH_REWRITTEN, PUBLISH_TWICE] {
        let whole = element(kind, "a€b".as_bytes());
        let mut expected = vec![published(&whole[1..]); if kind == PUBLISH_TWICE { 2 } else { 1 }];
        expected.push(published(b"next"));
        for first in 0..=whole.len() {
            for second in first..=whole.len() {
                let next = text(&element(PUBLISH, b"next"));
                let bytes = [in_three(&whole, first, second), next].concat();
                for piece in [1, 2, 5, 7, bytes.len()] {
                    let mut shard = logged_in();
                    for chunk in bytes.chunks(piece) {
                        shard.receive(chunk);
                    }
                    assert_eq!(shard.events, expected, "cut at {first} and {second}");
                    assert_eq!(shown(&mut shard) as usize, expected.len());
                    assert_eq!(shard.frames(), [(0x8A, b"between".to_vec())]);
                    assert!(shard.session.spill.is_none() && shard.buffer.is_empty());
                }
            }
        }
    }
}

#[test]
fn two_messages_in_one_read_are_two_elements() {
    let mut shard = logged_in();
    let (one, two) = (element(PUBLISH, b"one"), element(PUBLISH, b"two"));
    shard.receive(&[text(&one), text(&two), in_three(&one, 1, 3), text(&two)].concat());
    let (one, two) = (published(b"one"), published(b"two"));
    assert_eq!(shard.events, [one.clone(), two.clone(), one, two]);
}

#[test]
fn a_held_message_comes_again_unchanged_however_it_lies_in_frames() {
    let whole = element(PUBLISH, "a€b".as_bytes());
    let (login, next) = (text(b"Lsecret"), text(&element(PUBLISH, b"next")));
    let layouts = (0..=whole.len())
        .flat_map(|first| (first..=whole.len()).map(move |second| (first, second)))
        .map(|(first, second)| in_three(&whole, first, second))
        .chain([text(&whole)]);
    for layout in layouts {
        for bytes in [
            [&login[..], &layout, &next].concat(),
            [&login[..], &layout].concat(),
        ] {
            for piece in [1, 4, bytes.len()] {
                let mut shard = open();
                for chunk in bytes.chunks(piece) {
                    shard.receive(chunk);
                }
                assert_eq!(shard.events, [Event::Login]);
                let held = shown(&mut shard);
                shard.resume();
                shard.resume();
                assert_eq!(shown(&mut shard), held + 2, "shown again whenever asked");
                shard.attach();
                assert_eq!(shard.events[1], published("a€b".as_bytes()));
                if bytes.ends_with(&next) {
                    assert_eq!(shard.events[2..], [published(b"next")]);
                }
                assert!(shard.session.spill.is_none() && shard.buffer.is_empty());
            }
        }
    }
}

#[test]
fn messages_are_bounded_by_their_announced_length_before_and_after_the_login() {
    for (logs_in, most) in [
        (false, limits::PRELOGIN_BYTES_MAX),
        (true, limits::STANZA_BYTES_MAX),
    ] {
        let begin = || if logs_in { logged_in() } else { open() };
        let fits = element(PUBLISH, &vec![b'x'; most - 1]);
        for bytes in [text(&fits), in_three(&fits, 1, most / 2)] {
            let mut shard = begin();
            for chunk in bytes.chunks(4_096) {
                shard.receive(chunk);
                assert!(shard.need <= most);
            }
            assert!(shard.events == [published(&fits[1..])]);
        }
        let over = element(PUBLISH, &vec![b'x'; most]);
        let fragments = in_three(&over, most / 2, most);
        for bytes in [&text(&over)[..14], &fragments[..fragments.len() - 1]] {
            let mut shard = begin();
            shard.receive(bytes);
            assert_eq!(shard.events, [Event::Ended(Disconnect::TooLarge)]);
            assert_eq!(shard.close_code(), 1009);
            assert!(shard.session.spill.is_none());
        }
    }
}

#[test]
fn rfc7395_3_2_a_binary_frame_ends_the_connection() {
    for first in [0x02, 0x82] {
        let mut shard = logged_in();
        shard.receive(&frame(first, b"Px"));
        assert_eq!(shard.events, [Event::Ended(Disconnect::ProtocolError)]);
        assert_eq!(shard.close_code(), 1003);
    }
}

#[test]
fn rfc6455_8_1_what_is_not_utf_8_is_never_shown() {
    for wrong in [&b"Px\xFF"[..], b"P\xC3\x28", b"P\xED\xA0\x80", b"P\xE2\x82"] {
        let cuts = (0..=wrong.len()).map(|cut| in_three(wrong, cut, cut));
        for bytes in cuts.chain([text(wrong)]) {
            for piece in [1, bytes.len()] {
                let mut shard = logged_in();
                for chunk in bytes.chunks(piece) {
                    shard.receive(chunk);
                }
                assert_eq!(shard.events, [Event::Ended(Disconnect::Malformed)]);
                assert_eq!(shard.close_code(), 1007);
                assert!(shard.session.spill.is_none());
            }
        }
    }
}

#[test]
fn rfc7395_3_3_3_an_empty_message_ends_the_connection_without_being_shown() {
    for bytes in [text(b""), in_three(b"", 0, 0)] {
        for piece in [1, bytes.len()] {
            let mut shard = logged_in();
            for chunk in bytes.chunks(piece) {
                shard.receive(chunk);
            }
            assert_eq!(shard.events, [Event::Ended(Disconnect::Malformed)]);
            assert_eq!(shard.close_code(), 1007);
        }
    }
}

#[test]
fn a_session_that_breaks_the_contract_ends_and_does_not_loop() {
    for kind in [LEAVES_SOME, WANTS_MORE] {
        let whole = element(kind, b"x");
        for bytes in [text(&whole), in_three(&whole, 1, 2), in_three(&whole, 0, 1)] {
            let mut shard = logged_in();
            shard.receive(&bytes);
            assert_eq!(shard.events, [Event::Ended(Disconnect::Malformed)]);
            assert_eq!(shard.close_code(), 1002);
        }
    }
}

#[test]
fn floods_of_frames_that_complete_no_element_end_the_connection() {
    for (before, flood) in [
        (Vec::new(), frame(0x89, b"ping")),
        (Vec::new(), frame(0x8A, b"")),
        (frame(0x01, b""), frame(0x00, b"")),
        (frame(0x01, b"P"), frame(0x00, b"x")),
        (frame(0x01, b"P"), frame(0x89, b"")),
    ] {
        let mut shard = logged_in();
        shard.receive(&before);
        let mut frames = 0;
        while shard.events.is_empty() {
            shard.receive(&flood);
            frames += 1;
        }
        assert!((256..=257).contains(&frames), "{frames}");
        assert_eq!(shard.events, [Event::Ended(Disconnect::QuotaExceeded)]);
        assert_eq!(shard.close_code(), 1008);
        assert!(shard.session.spill.is_none());
    }
}

#[test]
fn small_elements_are_no_flood_and_make_up_for_pings_between_them() {
    let mut shard = logged_in();
    for _ in 0..2_000 {
        shard.receive(&text(b"N"));
    }
    for _ in 0..10 {
        for _ in 1..limits::WS_OVERHEAD_FRAMES_MAX {
            shard.receive(&frame(0x89, b""));
        }
        shard.receive(&text(b"N"));
    }
    // A large element in frames of a decent size is none, either.
    let large = element(PUBLISH, &[b'x'; 511 + 512 * 1_000]);
    shard.receive(&frame(0x01, b""));
    for piece in large.chunks(512) {
        shard.receive(&frame(0x00, piece));
    }
    shard.receive(&frame(0x80, b""));
    assert!(shard.events == [published(&large[1..])]);
}

#[test]
fn rfc7395_3_6_the_carried_session_closes_its_stream_before_the_close_frame() {
    let closed = |shard: &mut Shard<Texts>, said: &[&[u8]], code: u16| {
        let mut frames = shard.frames();
        let (opcode, payload) = frames.pop().unwrap();
        assert_eq!((opcode, &payload[..2]), (0x88, &code.to_be_bytes()[..]));
        let said: Vec<_> = said.iter().map(|text| (0x81, text.to_vec())).collect();
        assert_eq!(frames, said);
    };
    for (ending, code) in [
        (Ending::Shutdown, 1001),
        (Ending::TakenOver, 1000),
        (Ending::Revoked, 1008),
        (Ending::SlowReceiver, 1008),
        (Ending::TooMuchUnfinished, 1013),
    ] {
        let mut shard = logged_in();
        shard.session.end(shard.now, ending, &mut shard.out);
        closed(&mut shard, &[b"<close/>"], code);
    }
    for (failure, code) in [
        (LoginFailure::Denied, 1008),
        (LoginFailure::ResourceRefused, 1008),
        (LoginFailure::Conflict, 1008),
        (LoginFailure::Unavailable, 1013),
    ] {
        let mut shard = open();
        shard.receive(&text(b"L"));
        shard.session.attached(shard.now, Err(failure), &mut shard.out);
        closed(&mut shard, &[b"<close/>"], code);
    }
    let mut quit = logged_in();
    quit.receive(&text(b"Q"));
    assert_eq!(quit.events, [Event::Leave]);
    closed(&mut quit, &[b"<close/>"], 1000);

    let mut offence = logged_in();
    offence.receive(&text(b"X"));
    assert_eq!(offence.events, [Event::Ended(Disconnect::Malformed)]);
    closed(&mut offence, &[b"<bad/>", b"<close/>"], 1002);

    let mut late = logged_in();
    let timed_out = late.session.timeout(late.now, &mut late.out);
    assert_eq!(timed_out, Err(Disconnect::TimedOut));
    closed(&mut late, &[b"<close/>"], 1008);
}

#[test]
fn rfc7395_3_6_a_close_frame_without_a_close_element_leaves() {
    for before in [Vec::new(), frame(0x01, b"Px")] {
        let mut shard = logged_in();
        shard.receive(&before);
        shard.receive(&frame(0x88, b"\x03\xE8"));
        assert_eq!(shard.events, [Event::Leave]);
        assert_eq!(shard.frames(), [(0x88, b"\x03\xE8".to_vec())]);
        assert!(shard.session.spill.is_none());
    }
}

#[test]
fn what_the_session_says_unasked_is_in_text_messages() {
    let mut shard = logged_in();
    let (now, out) = (shard.now, &mut shard.out);
    let challenge = Proven::Challenge {
        salt: b"salt",
        iterations: 1,
        nonce: "abc",
    };
    assert_eq!(shard.session.proven(now, Ok(challenge), out), Ok(None));
    shard
        .session
        .completed(now, Ticket(1), &Completion::Requested, out);
    shard.receive(&text(b"E<echo/>"));
    let said: Vec<_> = [&b"<proven/>"[..], b"<done/>", b"<echo/>"]
        .map(|text| (0x81, text.to_vec()))
        .into();
    assert_eq!(shard.frames(), said);
}

#[test]
fn rfc6455_7_1_2_a_session_that_has_enough_of_proofs_is_closed() {
    let mut shard = logged_in();
    let (now, out) = (shard.now, &mut shard.out);
    let ended = shard.session.proven(now, Err(LoginFailure::Denied), out);
    assert_eq!(ended, Err(Disconnect::BadCredentials));
    let frames = shard.frames();
    assert_eq!(frames[0], (0x81, b"<proven/>".to_vec()));
    assert_eq!((frames.len(), frames[1].0), (2, 0x88));
}

#[test]
fn text_and_binary_frames_are_each_encoded_once_and_never_mixed() {
    let sender = identity("app", "owner", "r");
    let delivery = Delivery::Direct {
        text: "<hello/>",
        attributes: &[],
        to_account: false,
        sender: sender.sender(),
        qos: crate::route::Qos::AtMostOnce,
        options: SubscriptionOptions::default(),
    };
    let (mut elements, mut stream) = (logged_in(), Shard::logged_in());
    let (mut frames, mut plain) = (Frames::default(), Recorder::default());
    let now = elements.now;
    for _ in 0..3 {
        let Shard { session, out, .. } = &mut stream;
        session.deliver(now, &delivery, &mut frames, out).unwrap();
        let Shard { session, out, .. } = &mut elements;
        session.deliver(now, &delivery, &mut frames, out).unwrap();
        share(&delivery, &mut frames, &mut plain).unwrap();
    }
    assert_eq!((stream.out.shares, elements.out.shares, plain.shares), (1, 1, 1));
    assert_eq!(stream.frames(), vec![(0x82, b"<hello/>".to_vec()); 3]);
    assert_eq!(elements.frames(), vec![(0x81, b"<hello/>".to_vec()); 3]);
    assert_eq!(plain.take(), b"<hello/>".repeat(3));
}

#[test]
fn outputs_frame_by_distinct_bits() {
    let framings = [
        Recorder::FRAMING,
        BinaryOutput::<Recorder>::FRAMING,
        TextOutput::<Recorder>::FRAMING,
    ];
    assert_eq!(framings, [0, 0x40, 0x80]);
}

#[test]
fn elements_cost_an_open_connection_what_a_stream_does() {
    assert_eq!(size_of::<Session<Texts>>(), size_of::<Texts>() + 40);
}

proptest! {
    /// However messages are laid into frames and frames into segments, the same commands come of it.
    #[test]
    fn any_layout_gives_the_same_elements(
        elements in prop::collection::vec(
            (prop::sample::select(vec![PUBLISH, PUBLISH_REWRITTEN, PUBLISH_TWICE, NOTHING]), ".{0,40}",
             prop::collection::vec((0_usize..60, any::<bool>()), 0..5)),
            0..8,
        ),
        segments in prop::collection::vec(1_usize..80, 0..60),
    ) {
        let (mut expected, mut wire) = (Vec::new(), Vec::new());
        for (kind, body, fragments) in &elements {
            let times = match *kind { NOTHING => 0, PUBLISH_TWICE => 2, _ => 1 };
            expected.extend(std::iter::repeat_n(published(body.as_bytes()), times));
            let whole = element(*kind, body.as_bytes());
            let (mut rest, mut opcode) = (&whole[..], 1);
            for (len, ping) in fragments {
                let (piece, after) = rest.split_at(*len.min(&rest.len()));
                wire.extend(frame(opcode, piece));
                if *ping {
                    wire.extend(frame(0x89, b"!"));
                }
                (rest, opcode) = (after, 0);
            }
            wire.extend(frame(0x80 | opcode, rest));
        }
        let mut shard = logged_in();
        let mut left = &wire[..];
        for len in segments.into_iter().chain([usize::MAX]) {
            let (segment, after) = left.split_at(len.min(left.len()));
            shard.receive(segment);
            left = after;
        }
        prop_assert_eq!(shard.events, expected);
        prop_assert!(shard.buffer.is_empty() && shard.session.spill.is_none());
    }

    #[test]
    fn arbitrary_frames_never_panic(
        frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..10),
    ) {
        let mut shard = logged_in();
        for (first, payload) in frames {
            shard.receive(&frame(first, &payload));
        }
    }
}
