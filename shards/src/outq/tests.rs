//! Send queues: order, bounds, short sends.

use proptest::prelude::*;

use super::*;
use crate::share::Arena;

/// What the kernel would read for `send`.
fn read(send: Send) -> Vec<u8> {
    match send {
        // SAFETY: the pointers are valid until `sent`, which the tests call afterwards.
        Send::Bytes { at, len } => unsafe { std::slice::from_raw_parts(at, len as usize) }.to_vec(),
        Send::Vector { header } => {
            // SAFETY: as above; the header and its parts live in the queue.
            let header = unsafe { &*header };
            // SAFETY: `msg_iovlen` parts were filled in.
            let parts = unsafe { std::slice::from_raw_parts(header.msg_iov, header.msg_iovlen) };
            parts
                .iter()
                // SAFETY: each part describes a piece of the queue.
                .flat_map(|part| unsafe { std::slice::from_raw_parts(part.iov_base.cast::<u8>(), part.iov_len) })
                .copied()
                .collect()
        }
    }
}

fn shared(arena: &mut Arena, byte: u8, len: usize) -> Shared {
    arena.share(len, |out| out.resize(len, byte))
}

#[test]
fn a_burst_of_shared_frames_is_one_send_over_the_shared_bytes() {
    let (mut arena, mut pool, mut queue) = (Arena::default(), Pool::default(), OutQueue::default());
    let frames: Vec<Shared> = (0..64).map(|n| shared(&mut arena, n, 104)).collect();
    for frame in &frames {
        assert!(!queue.push(frame, &mut pool));
    }
    let Some(Send::Bytes { at, len }) = queue.next_send(&mut pool) else {
        panic!("one run of bytes")
    };
    assert_eq!(at, frames[0].bytes().as_ptr());
    assert_eq!(len, 64 * 104);
    assert!(!queue.sent(64 * 104, &mut pool));
    assert!(queue.is_empty());
}

#[test]
fn a_backlog_lies_in_buffers_that_are_kept_for_reuse() {
    let (mut pool, mut queue) = (Pool::default(), OutQueue::default());
    let mut written = Vec::new();
    for n in 0..1_000_u16 {
        let frame = [n.to_be_bytes()[1]; 400];
        queue.buffer(&mut pool).extend_from_slice(&frame);
        written.extend_from_slice(&frame);
    }
    assert_eq!(queue.len(), written.len());
    let mut buffers = Vec::new();
    let mut left = Vec::new();
    while let Some(send) = queue.next_send(&mut pool) {
        let bytes = read(send);
        queue.sent(bytes.len(), &mut pool);
        left.extend_from_slice(&bytes);
    }
    assert!(left == written, "all of it, in order");
    loop {
        let buffer = pool.take();
        if buffer.capacity() == limits::BUFFER_BYTES_MIN {
            break;
        }
        assert!(buffer.capacity() <= limits::BUFFER_KEPT_BYTES_MAX);
        buffers.push(buffer);
    }
    let room: usize = buffers.iter().map(Vec::capacity).sum();
    assert!(
        room >= written.len(),
        "nothing went back to the allocator: {room}"
    );
}

#[test]
fn bytes_in_flight_stay_while_more_is_appended() {
    let (mut pool, mut queue) = (Pool::default(), OutQueue::default());
    queue.buffer(&mut pool).extend_from_slice(b"first");
    let send = queue.next_send(&mut pool).unwrap();
    queue.buffer(&mut pool).extend_from_slice(&[b'x'; 10_000]);
    assert!(queue.next_send(&mut pool).is_none(), "one send in flight");
    assert_eq!(read(send), b"first");
    assert_eq!(queue.len(), 10_005);
    queue.sent(5, &mut pool);
    assert_eq!(read(queue.next_send(&mut pool).unwrap()).len(), 10_000);
}

#[test]
fn a_short_send_continues_where_it_stopped() {
    let (mut pool, mut queue) = (Pool::default(), OutQueue::default());
    queue.buffer(&mut pool).extend_from_slice(b"abcdef");
    queue.next_send(&mut pool).unwrap();
    queue.buffer(&mut pool).extend_from_slice(b"gh");
    assert!(queue.sent(2, &mut pool));
    assert_eq!(read(queue.next_send(&mut pool).unwrap()), b"cdefgh");
}

#[test]
fn a_failed_send_leaves_what_can_be_discarded() {
    let (mut pool, mut queue) = (Pool::default(), OutQueue::default());
    queue.buffer(&mut pool).extend_from_slice(b"abc");
    queue.next_send(&mut pool).unwrap();
    queue.buffer(&mut pool).extend_from_slice(b"def");
    queue.discard(&mut pool);
    assert_eq!(queue.len(), 3, "what is in flight stays");
    queue.sent(0, &mut pool);
    queue.discard(&mut pool);
    assert!(queue.is_empty());
}

#[test]
fn a_slow_receiver_of_few_bytes_keeps_few_chunks() {
    let (mut arena, mut pool, mut queue) = (Arena::default(), Pool::default(), OutQueue::default());
    let mut copied = 0;
    for n in 0..1_000usize {
        // A frame for others in between keeps the ranges apart.
        let frame = shared(&mut arena, 1, 100);
        shared(&mut arena, 2, 1_000);
        copied += usize::from(queue.push(&frame, &mut pool));
        assert_eq!(queue.len(), 100 * (n + 1));
    }
    assert_eq!(copied, 1_000 - limits::SHARED_PIECES_MAX);
}

#[test]
fn a_buffer_asked_for_in_vain_is_not_sent() {
    let (mut arena, mut pool, mut queue) = (Arena::default(), Pool::default(), OutQueue::default());
    queue.buffer(&mut pool);
    assert!(queue.is_empty());
    assert!(queue.next_send(&mut pool).is_none());
    queue.buffer(&mut pool);
    queue.push(&shared(&mut arena, 5, 9_000), &mut pool);
    queue.buffer(&mut pool);
    assert!(matches!(
        queue.next_send(&mut pool),
        Some(Send::Bytes { len: 9_000, .. })
    ));
}

#[test]
fn one_send_is_bounded_so_that_progress_shows() {
    let (mut arena, mut pool, mut queue) = (Arena::default(), Pool::default(), OutQueue::default());
    let total = 3 * limits::SEND_BYTES_MAX + 5;
    queue.buffer(&mut pool).resize(2 * limits::SEND_BYTES_MAX, 1);
    queue.push(
        &shared(&mut arena, 2, total - 2 * limits::SEND_BYTES_MAX),
        &mut pool,
    );
    for left in (1..=3).rev() {
        assert_eq!(
            read(queue.next_send(&mut pool).unwrap()).len(),
            limits::SEND_BYTES_MAX
        );
        assert!(
            !queue.sent(limits::SEND_BYTES_MAX, &mut pool),
            "all that was asked for"
        );
        assert_eq!(queue.len(), (left - 1) * limits::SEND_BYTES_MAX + 5);
    }
    assert_eq!(read(queue.next_send(&mut pool).unwrap()), [2; 5]);
}

#[derive(Clone, Debug)]
enum Step {
    Private(usize),
    Shared(usize),
    Again,
    Others(usize),
    Send,
    Sent(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = prop_oneof![1..200usize, 1..6_000usize, 1..40_000usize];
    let step = prop_oneof![
        1 => len.clone().prop_map(Step::Private),
        3 => len.clone().prop_map(Step::Shared),
        1 => Just(Step::Again),
        1 => len.clone().prop_map(Step::Others),
        2 => Just(Step::Send),
        2 => len.prop_map(Step::Sent),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    /// Whatever is mixed and however little the kernel takes: the bytes come out as they went in.
    #[test]
    fn the_bytes_come_out_as_they_went_in(steps in steps()) {
        let (mut arena, mut pool, mut queue) = (Arena::default(), Pool::default(), OutQueue::default());
        let (mut expected, mut got) = (Vec::new(), Vec::new());
        let mut last: Option<Shared> = None;
        let mut flying: Option<Vec<u8>> = None;
        let mut byte = 0u8;
        let mut steps = steps;
        steps.extend(std::iter::repeat_n([Step::Sent(usize::MAX), Step::Send], 200).flatten());
        for step in steps {
            byte = byte.wrapping_add(1);
            match step {
                Step::Private(len) => {
                    queue.buffer(&mut pool).extend(std::iter::repeat_n(byte, len));
                    expected.extend(std::iter::repeat_n(byte, len));
                }
                Step::Shared(len) => {
                    let frame = shared(&mut arena, byte, len);
                    queue.push(&frame, &mut pool);
                    expected.extend_from_slice(frame.bytes());
                    last = Some(frame);
                }
                Step::Again => if let Some(frame) = &last {
                    queue.push(frame, &mut pool);
                    expected.extend_from_slice(frame.bytes());
                },
                Step::Others(len) => drop(shared(&mut arena, byte, len)),
                Step::Send => if let Some(send) = queue.next_send(&mut pool) {
                    flying = Some(read(send));
                },
                Step::Sent(n) => if let Some(bytes) = flying.take() {
                    let n = n.min(bytes.len());
                    prop_assert_eq!(queue.sent(n, &mut pool), n < bytes.len());
                    got.extend_from_slice(&bytes[..n]);
                },
            }
            prop_assert_eq!(queue.len() + got.len(), expected.len());
        }
        prop_assert!(queue.is_empty());
        prop_assert!(got == expected);
    }
}
