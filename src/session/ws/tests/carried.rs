//! What a WebSocket carries reaches the session inside it.

use proptest::prelude::*;

use super::*;
use crate::route::{Account, SubscriptionOptions};

fn published(payload: &[u8]) -> Event {
    Event::Published(payload.to_vec())
}

#[test]
fn an_open_connection_costs_little_beside_what_it_carries() {
    assert_eq!(size_of::<Session<Fake>>(), size_of::<Fake>() + 40);
}

#[test]
fn mqtt_6_0_0_2_one_frame_may_hold_several_packets_and_the_beginning_of_another() {
    let packets = [
        packet(PUBLISH, b"one"),
        packet(NOTHING, b""),
        packet(PUBLISH_REWRITTEN, b"two"),
        packet(PUBLISH, b"three"),
    ]
    .concat();
    let (frame1, frame2) = packets.split_at(packets.len() - 2);
    let mut shard = Shard::logged_in();
    shard.receive(&binary(frame1));
    assert_eq!(shard.events, [published(b"one"), published(b"two")]);
    shard.receive(&binary(frame2));
    assert_eq!(shard.events[2..], [published(b"three")]);
    assert!(
        shard.session.spill.is_none(),
        "the spill lives as long as it is needed"
    );
}

#[test]
fn mqtt_6_0_0_2_a_packet_may_be_split_over_frames_at_every_byte() {
    for kind in [PUBLISH, PUBLISH_REWRITTEN] {
        let whole = packet(kind, b"payload");
        for first in 0..=whole.len() {
            for second in first..=whole.len() {
                let bytes = [
                    frame(0x02, &whole[..first]),
                    frame(0x89, b"between"),
                    frame(0x00, &whole[first..second]),
                    frame(0x80, &whole[second..]),
                    binary(&packet(PUBLISH, b"next")),
                ]
                .concat();
                for piece in [1, 2, 5, 7, bytes.len()] {
                    let mut shard = Shard::logged_in();
                    for chunk in bytes.chunks(piece) {
                        shard.receive(chunk);
                    }
                    assert_eq!(shard.events, [published(b"payload"), published(b"next")]);
                    assert_eq!(shard.frames(), [(0x8A, b"between".to_vec())]);
                    assert!(shard.session.spill.is_none());
                }
            }
        }
    }
}

#[test]
fn a_packet_whole_in_its_frame_is_never_copied() {
    let mut shard = Shard::logged_in();
    let bytes = binary(&packet(PUBLISH, &[7; 50_000]));
    for chunk in bytes.chunks(1_000) {
        shard.receive(chunk);
        assert!(shard.session.spill.is_none());
    }
    assert_eq!(shard.events, [published(&[7; 50_000])]);
    assert_eq!(shard.scratch.packet.capacity(), 0);
}

#[test]
fn a_spill_holds_no_more_than_the_carried_session_asked_for() {
    let mut shard = Shard::logged_in();
    let whole = packet(PUBLISH, &[7; 1_000]);
    shard.receive(&frame(0x02, &whole[..3]));
    assert_eq!(shard.session.spill.as_ref().unwrap().sizes(), (3, 4));
    shard.receive(&frame(0x00, &whole[3..600]));
    assert_eq!(shard.session.spill.as_ref().unwrap().sizes(), (600, 1_004));
    shard.receive(&frame(0x80, &[&whole[600..], &packet(PUBLISH, b"next")].concat()));
    assert_eq!(shard.events, [published(&[7; 1_000]), published(b"next")]);
}

#[test]
fn what_the_carried_session_refuses_is_never_kept() {
    let mut shard = Shard::logged_in();
    let huge = packet(PUBLISH, &vec![0; BODY_BYTES_MAX + 1]);
    shard.receive(&frame(0x02, &huge[..10]));
    assert_eq!(shard.events, [Event::Ended(Disconnect::TooLarge)]);
    assert_eq!(shard.close_code(), 1009);
    assert!(shard.session.spill.is_none());
}

#[test]
fn before_login_a_spill_is_bounded_by_the_budget_of_a_stranger() {
    let split = |body: usize| {
        let whole = packet(NOTHING, &vec![0; body]);
        let mut shard = Shard::open();
        shard.receive(&frame(0x02, &whole[..100]));
        shard.receive(&frame(0x80, &whole[100..]));
        shard
    };
    let mut fits = split(limits::PRELOGIN_BYTES_MAX - 4);
    assert_eq!((fits.events.len(), fits.frames().len()), (0, 0));
    let mut over = split(limits::PRELOGIN_BYTES_MAX - 3);
    assert_eq!(over.events, [Event::Ended(Disconnect::TooLarge)]);
    assert_eq!(over.close_code(), 1009);
    // In one frame it is the shard that lends the room.
    let mut whole = Shard::open();
    whole.receive(&binary(&packet(PUBLISH, &[1; 30_000])));
    assert_eq!(whole.events, [published(&[1; 30_000])]);
}

#[test]
fn a_session_that_waits_for_its_verdict_holds_frames_back() {
    let rest = packet(PUBLISH, b"after");
    for cut in 0..=rest.len() {
        let mut shard = Shard::open();
        let login = packet(LOGIN, b"secret");
        shard.receive(&frame(0x02, &login[..5]));
        shard.receive(&frame(0x00, &[&login[5..], &rest[..cut]].concat()));
        shard.receive(&frame(0x80, &rest[cut..]));
        assert_eq!(shard.events, [Event::Login]);
        shard.attach();
        assert_eq!(shard.events, [Event::Login, published(b"after")], "cut at {cut}");
    }
}

#[test]
fn a_command_may_come_before_its_packet_is_consumed() {
    let whole = packet(PUBLISH_TWICE, b"x");
    for cut in 0..=whole.len() {
        let mut shard = Shard::logged_in();
        shard.receive(&frame(0x02, &whole[..cut]));
        shard.receive(&frame(0x80, &whole[cut..]));
        assert_eq!(shard.events, [published(b"x"), published(b"x")], "cut at {cut}");
        assert!(shard.buffer.is_empty());
    }
}

#[test]
fn mqtt_6_0_0_1_a_text_frame_ends_the_connection() {
    for first in [0x01, 0x81] {
        let mut shard = Shard::logged_in();
        shard.receive(&frame(first, &packet(PUBLISH, b"x")));
        assert_eq!(shard.events, [Event::Ended(Disconnect::ProtocolError)]);
        assert_eq!(shard.close_code(), 1003);
        assert!(shard.session.take_will().is_some());
    }
}

#[test]
fn rfc6455_5_5_2_a_ping_is_answered_with_its_payload() {
    let mut shard = Shard::logged_in();
    let longest = [b'p'; 125];
    shard.receive(&[frame(0x89, b""), frame(0x89, &longest), frame(0x8A, b"unasked")].concat());
    assert_eq!(shard.frames(), [(0x8A, Vec::new()), (0x8A, longest.to_vec())]);
    assert_eq!(shard.events, []);
}

#[test]
fn a_peer_that_does_not_read_gets_no_more_pongs() {
    let mut shard = Shard::logged_in();
    shard.out.stuck = limits::SEND_QUEUE_BYTES_MAX + 1;
    shard.receive(&frame(0x89, b"x"));
    assert_eq!(shard.frames(), []);
}

#[test]
fn rfc6455_5_5_1_a_close_is_echoed_and_leaves_the_will_due() {
    for (payload, echo) in [
        (&b""[..], &b""[..]),
        (b"\x03\xE8", b"\x03\xE8"),
        (b"\x0F\xA1gone", b"\x0F\xA1"),
    ] {
        let mut shard = Shard::logged_in();
        shard.receive(&frame(0x88, payload));
        assert_eq!(shard.events, [Event::Leave]);
        assert_eq!(shard.frames(), [(0x88, echo.to_vec())]);
        assert!(shard.session.take_will().is_some());
    }
}

#[test]
fn rfc6455_5_5_1_nothing_is_written_or_read_after_a_close() {
    let mut shard = Shard::logged_in();
    shard.receive(&frame(0x88, b""));
    shard.out.take();
    let direct = direct_to_all(&mut shard);
    assert_eq!(direct, Err(Undelivered::Gone));
    let (now, out) = (shard.now, &mut shard.out);
    shard
        .session
        .completed(now, Ticket(1), &Completion::Requested, out);
    shard.session.attached(now, Err(LoginFailure::Denied), out);
    shard.session.end(now, Ending::Shutdown, out);
    assert_eq!(shard.session.next_timeout(), None);
    let mut late = binary(&packet(ECHO, b"x"));
    let step = shard
        .session
        .receive(now, &mut late, &mut shard.scratch, &mut shard.out);
    assert!(matches!(step, Ok(Step::Hold)));
    assert_eq!(shard.frames(), []);
}

#[test]
fn a_good_bye_of_the_carried_session_closes_with_1000() {
    let mut shard = Shard::logged_in();
    shard.receive(&binary(&packet(QUIT, b"")));
    assert_eq!(shard.events, [Event::Leave]);
    assert_eq!(shard.close_code(), 1000);
    assert!(shard.session.take_will().is_none());
}

#[test]
fn the_carried_session_speaks_before_the_close() {
    let mut shard = Shard::logged_in();
    shard.receive(&binary(&packet(OFFENCE, b"")));
    assert_eq!(shard.events, [Event::Ended(Disconnect::Malformed)]);
    let frames = shard.frames();
    assert_eq!(frames[0], (0x82, b"bad".to_vec()));
    assert_eq!(frames[1].1[..2], 1002_u16.to_be_bytes());

    for (failure, code) in [
        (LoginFailure::Denied, 1008_u16),
        (LoginFailure::Unavailable, 1013),
    ] {
        let mut shard = Shard::open();
        shard.receive(&binary(&packet(LOGIN, b"")));
        shard.session.attached(shard.now, Err(failure), &mut shard.out);
        let frames = shard.frames();
        assert_eq!(frames[0], (0x82, b"no".to_vec()));
        assert_eq!((frames[1].0, &frames[1].1[..2]), (0x88, &code.to_be_bytes()[..]));
    }
}

#[test]
fn rfc6455_7_4_1_the_daemons_own_ends_have_their_codes() {
    for (ending, code) in [
        (Ending::Shutdown, 1001_u16),
        (Ending::TakenOver, 1000),
        (Ending::Revoked, 1008),
        (Ending::SlowReceiver, 1008),
        (Ending::TooMuchUnfinished, 1013),
    ] {
        let mut shard = Shard::logged_in();
        shard.session.end(shard.now, ending, &mut shard.out);
        let frames = shard.frames();
        assert_eq!(frames[0], (0x82, b"bye".to_vec()));
        assert_eq!((frames[1].0, &frames[1].1[..2]), (0x88, &code.to_be_bytes()[..]));
    }
}

#[test]
fn rfc6455_7_1_7_malformed_frames_close_with_their_code() {
    for (bytes, code, disconnect) in [
        (vec![0x82, 0x00], 1002, Disconnect::Malformed),
        (frame(0xC2, b""), 1002, Disconnect::Malformed),
        (frame(0x80, b""), 1002, Disconnect::Malformed),
        (frame(0x88, b"\x03\xE8\xFF"), 1007, Disconnect::Malformed),
        (
            [
                &[0x82, 0xFF][..],
                &(limits::WS_FRAME_BYTES_MAX + 1).to_be_bytes(),
                &[0; 4],
            ]
            .concat(),
            1009,
            Disconnect::TooLarge,
        ),
    ] {
        let mut shard = Shard::logged_in();
        shard.receive(&bytes);
        assert_eq!(shard.events, [Event::Ended(disconnect)]);
        assert_eq!(shard.close_code(), code);
    }
}

/// Frames that achieve nothing, without end.
#[test]
fn floods_of_frames_that_complete_no_packet_end_the_connection() {
    let begin = frame(0x02, &packet(PUBLISH, &[0; 100_000])[..5]);
    for (before, flood) in [
        (Vec::new(), frame(0x89, b"ping")),
        (Vec::new(), frame(0x8A, b"")),
        (Vec::new(), frame(0x82, b"")),
        (frame(0x02, b""), frame(0x00, b"")),
        (begin.clone(), frame(0x00, b"x")),
        (begin, frame(0x89, b"")),
    ] {
        let mut shard = Shard::logged_in();
        shard.receive(&before);
        let mut frames = 0;
        while shard.events.is_empty() {
            shard.receive(&flood);
            frames += 1;
        }
        assert!((256..=257).contains(&frames), "{frames}");
        assert_eq!(shard.events, [Event::Ended(Disconnect::QuotaExceeded)]);
        assert_eq!(shard.close_code(), 1008);
    }
}

#[test]
fn pings_at_a_human_pace_and_pings_between_packets_are_no_flood() {
    let mut shard = Shard::logged_in();
    for _ in 0..2_000 {
        shard.receive(&frame(0x89, b""));
        shard.wait(100);
    }
    for _ in 0..10 {
        for _ in 1..limits::WS_OVERHEAD_FRAMES_MAX {
            shard.receive(&frame(0x89, b""));
        }
        shard.receive(&binary(&packet(NOTHING, b"")));
    }
    // A large packet in frames of a decent size is none, either.
    let large = packet(PUBLISH, &vec![1; BODY_BYTES_MAX]);
    shard.receive(&frame(0x02, b""));
    for piece in large.chunks(512) {
        shard.receive(&frame(0x00, piece));
    }
    assert_eq!(shard.events.len(), 1);
    assert!(shard.events == [published(&vec![1; BODY_BYTES_MAX])]);
}

fn direct_to_all(shard: &mut Shard) -> Result<(), Undelivered> {
    let account = Account::parse("app-0123456789abcdef01234567-owner").unwrap();
    let identity = Identity::new(&account, "r").unwrap();
    let delivery = Delivery::Direct {
        text: "hello",
        attributes: &[],
        to_account: false,
        sender: identity.sender(),
        qos: crate::route::Qos::AtMostOnce,
        options: SubscriptionOptions::default(),
    };
    let mut frames = Frames::default();
    let mut plain_out = Recorder::default();
    share(&delivery, &mut frames, &mut plain_out)?;
    assert_eq!(plain_out.take(), b"hello");
    for _ in 0..2 {
        shard
            .session
            .deliver(shard.now, &delivery, &mut frames, &mut shard.out)?;
    }
    Ok(())
}

#[test]
fn shared_frames_have_their_header_in_them_and_are_not_shared_with_other_transports() {
    let mut shard = Shard::logged_in();
    direct_to_all(&mut shard).unwrap();
    assert_eq!(
        (shard.out.shares, shard.frames()),
        (1, vec![(0x82, b"hello".to_vec()); 2])
    );
}

#[test]
fn lengths_of_written_frames_are_minimal() {
    let mut shard = Shard::logged_in();
    for len in [0, 125, 126, 65_535, 65_536] {
        let body = vec![3; len];
        shard.receive(&binary(&packet(ECHO, &body)));
        let written = shard.out.bytes.len();
        assert_eq!(written, header_len(len) + len);
        assert_eq!(shard.frames(), [(0x82, body)]);
    }
}

proptest! {
    /// However packets are laid into frames and frames into segments, the same commands come of it.
    #[test]
    fn any_layout_gives_the_same_commands(
        bodies in prop::collection::vec(
            (prop::sample::select(vec![PUBLISH, PUBLISH_REWRITTEN, PUBLISH_TWICE, NOTHING]),
             prop::collection::vec(any::<u8>(), 0..400)),
            0..8,
        ),
        frames in prop::collection::vec((0_usize..300, any::<bool>(), any::<bool>()), 0..40),
        segments in prop::collection::vec(1_usize..200, 0..60),
    ) {
        let stream: Vec<u8> = bodies.iter().flat_map(|(kind, body)| packet(*kind, body)).collect();
        let mut expected = Vec::new();
        for (kind, body) in &bodies {
            let times = match *kind { NOTHING => 0, PUBLISH_TWICE => 2, _ => 1 };
            expected.extend(std::iter::repeat_n(published(body), times));
        }
        let mut wire = Vec::new();
        let (mut rest, mut in_message) = (&stream[..], false);
        for (len, fin, ping) in frames.into_iter().chain([(usize::MAX, true, false)]) {
            let (piece, after) = rest.split_at(len.min(rest.len()));
            let opcode = if in_message { 0 } else { 2 };
            wire.extend(frame(if fin { 0x80 } else { 0 } | opcode, piece));
            in_message = !fin;
            if ping {
                wire.extend(frame(0x89, b"!"));
            }
            rest = after;
        }
        let mut shard = Shard::logged_in();
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
    fn arbitrary_bytes_never_panic(
        masked in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut shard = Shard::logged_in();
        shard.receive(&if masked { binary(&bytes) } else { bytes.clone() });
        Shard::accept().receive(&bytes);
    }
}
