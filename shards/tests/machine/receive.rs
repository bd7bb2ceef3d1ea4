//! Receiving: scarce buffers, a small completion queue, frames that need more, connections that are held.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use shards::{Close, Config, ConnId, Next, Plane, Progress};

use crate::echo::Echo;
use crate::support::{Tenant, config, connect, exchange, pattern, read_to_end, start, stop, until};

/// Echoes `len` bytes over each of `clients` connections at the same time.
fn echo_everywhere(running: &shards::Running, clients: usize, len: usize) {
    let streams: Vec<TcpStream> = (0..clients).map(|_| connect(running)).collect();
    let bytes = pattern(len);
    std::thread::scope(|scope| {
        for stream in &streams {
            let (mut reader, mut writer, bytes) = (stream, stream, &bytes);
            scope.spawn(move || writer.write_all(bytes).unwrap());
            scope.spawn(move || {
                let mut got = vec![0; len];
                reader.read_exact(&mut got).unwrap();
                assert!(got == *bytes);
            });
        }
    });
}

#[test]
fn buffers_that_run_out_delay_bytes_and_lose_none() {
    let config = Config {
        receive_buffers: 4,
        receive_buffer_bytes: 64,
        ..config(1)
    };
    let running = start(config, |_| Echo::default());
    echo_everywhere(&running, 24, 20_000);
    assert!(
        running.stats(0).buffer_exhaustions.get() > 0,
        "the buffers never ran out"
    );
    stop(running);
}

#[test]
fn a_completion_queue_that_overflows_loses_nothing() {
    let config = Config {
        submission_entries: 8,
        completion_entries: 8,
        receive_buffers: 256,
        receive_buffer_bytes: 64,
        ..config(1)
    };
    let running = start(config, |_| Echo::default());
    echo_everywhere(&running, 24, 20_000);
    let stats = running.stats(0);
    assert!(stats.completion_overflows.get() > 0, "the queue never overflowed");
    let ticks = stats.ticks.get();
    until("the tick goes on", || stats.ticks.get() > ticks + 3);
    let mut late = connect(&running);
    assert_eq!(exchange(&mut late, b"accepts go on"), b"accepts go on");
    drop(late);
    stop(running);
}

/// Frames of a length in four bytes and that many more. Answers each frame with its length. One frame a call.
#[derive(Clone, Default)]
struct Frames {
    calls: Arc<AtomicUsize>,
    one_a_call: bool,
    asked: HashMap<ConnId, usize>,
}

impl Tenant for Frames {
    type Parcel = ();

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, _: u32, bytes: &mut [u8]) -> Progress {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let asked = self.asked.get(&conn).copied().unwrap_or(1);
        assert!(
            bytes.len() >= asked,
            "called with {} of {asked} bytes",
            bytes.len()
        );
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let need = match rest.first_chunk::<4>() {
                None => 4,
                Some(len) => 4 + u32::from_le_bytes(*len) as usize,
            };
            if rest.len() < need {
                self.asked.insert(conn, need);
                return Progress {
                    used,
                    next: Next::Need(need),
                };
            }
            assert!(rest[4..need] == pattern(need - 4));
            plane.buffer(conn).unwrap().extend_from_slice(&rest[..4]);
            used += need;
            if self.one_a_call {
                self.asked.remove(&conn);
                return Progress {
                    used,
                    next: Next::Need(0),
                };
            }
        }
    }
}

fn frame(len: usize) -> Vec<u8> {
    let mut frame = u32::try_from(len).unwrap().to_le_bytes().to_vec();
    frame.extend_from_slice(&pattern(len));
    frame
}

#[test]
fn an_app_is_never_called_with_less_than_it_asked_for() {
    for one_a_call in [false, true] {
        let frames = Frames {
            one_a_call,
            ..Frames::default()
        };
        let running = start(config(1), {
            let frames = frames.clone();
            move |_| frames.clone()
        });
        let mut client = connect(&running);
        let lens = [0, 1, 3, 100, 2_043, 2_044, 2_045, 5_000, 1, 1, 70_000, 300_000, 2];
        let stream: Vec<u8> = lens.into_iter().flat_map(frame).collect();
        let expected: Vec<u8> = lens
            .into_iter()
            .flat_map(|len| u32::try_from(len).unwrap().to_le_bytes())
            .collect();
        // All at once, then in small pieces.
        assert_eq!(
            exchange_lens(&mut client, &stream, stream.len(), expected.len()),
            expected
        );
        assert_eq!(
            exchange_lens(&mut client, &stream[..2_200], 7, 16),
            expected[..16]
        );
        drop(client);
        stop(running);
    }
}

fn exchange_lens(client: &mut TcpStream, stream: &[u8], piece: usize, answers: usize) -> Vec<u8> {
    for piece in stream.chunks(piece) {
        client.write_all(piece).unwrap();
    }
    crate::support::read(client, answers)
}

#[test]
fn a_frame_over_the_bound_ends_the_connection_and_is_counted() {
    let config = Config {
        spill_bytes_max: 1_000,
        ..config(1)
    };
    let running = start(config, |_| Frames::default());
    let mut client = connect(&running);
    client.write_all(&frame(997)[..10]).unwrap();
    let mut byte = [0];
    assert_eq!(client.read(&mut byte).unwrap_or(0), 0, "closed");
    assert_eq!(running.stats(0).spill_overflows.get(), 1);
    let mut other = connect(&running);
    assert_eq!(
        exchange_lens(&mut other, &frame(996), 100, 4),
        996u32.to_le_bytes()
    );
    drop((client, other));
    stop(running);
}

/// Holds every connection from its first byte until it is rung; then echoes.
#[derive(Clone, Default)]
struct Holder {
    open: Arc<AtomicBool>,
    closed: Arc<AtomicUsize>,
    conns: Vec<ConnId>,
}

impl Tenant for Holder {
    type Parcel = ();

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, _: u32, bytes: &mut [u8]) -> Progress {
        if !self.open.load(Ordering::Relaxed) {
            self.conns.push(conn);
            return Progress {
                used: 0,
                next: Next::Hold,
            };
        }
        // A bounded bite, so that it is called again.
        let used = bytes.len().min(1_000);
        plane.buffer(conn).unwrap().extend_from_slice(&bytes[..used]);
        Progress {
            used,
            next: Next::Need(1),
        }
    }

    fn rung(&mut self, plane: &mut Plane<()>) {
        self.open.store(true, Ordering::Relaxed);
        for conn in self.conns.drain(..) {
            plane.resume(conn);
            plane.resume(conn);
        }
    }

    fn closed(&mut self, _: &mut Plane<()>, _: ConnId, _: u32) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

fn holder(config: Config) -> (Holder, shards::Running) {
    let holder = Holder::default();
    let running = start(config, {
        let holder = holder.clone();
        move |_| holder.clone()
    });
    (holder, running)
}

#[test]
fn a_held_connection_is_not_called_until_it_is_resumed_and_loses_nothing() {
    let (_, running) = holder(config(1));
    let mut client = connect(&running);
    let bytes = pattern(30_000);
    client.write_all(&bytes[..10_000]).unwrap();
    until("it arrived", || running.stats(0).received_bytes.get() == 10_000);
    client.write_all(&bytes[10_000..]).unwrap();
    until("it arrived", || running.stats(0).received_bytes.get() == 30_000);
    assert_eq!(running.stats(0).sent_bytes.get(), 0);
    running.bell(0).ring();
    assert!(crate::support::read(&mut client, 30_000) == bytes);
    assert_eq!(exchange(&mut client, b"and on"), b"and on");
    drop(client);
    stop(running);
}

#[test]
fn a_held_connection_whose_peer_ends_its_side_is_still_answered() {
    let (holder, running) = holder(config(1));
    let mut client = connect(&running);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    until("it arrived", || running.stats(0).received_bytes.get() == 8);
    let ticks = running.stats(0).ticks.get();
    until("the end was seen", || running.stats(0).ticks.get() > ticks + 2);
    assert_eq!(holder.closed.load(Ordering::Relaxed), 0);
    running.bell(0).ring();
    assert_eq!(read_to_end(&mut client), b"question");
    until("it ended", || holder.closed.load(Ordering::Relaxed) == 1);
    stop(running);
}

#[test]
fn a_held_connection_that_has_enough_waiting_holds_its_peer_back() {
    let config = Config {
        held_bytes_max: 16_384,
        ..config(1)
    };
    let (_, running) = holder(config);
    let stream = connect(&running);
    let (mut reader, mut writer) = (&stream, &stream);
    let bytes = pattern(16 * 1_024 * 1_024);
    std::thread::scope(|scope| {
        let sent = scope.spawn({
            let bytes = &bytes;
            move || writer.write_all(bytes).unwrap()
        });
        let stats = running.stats(0);
        until("receiving paused", || stats.receives_paused.get() == 1);
        let ticks = stats.ticks.get();
        until("time passes", || stats.ticks.get() > ticks + 20);
        assert!(
            stats.received_bytes.get() < 4 * 1_024 * 1_024,
            "the peer was not held back"
        );
        assert!(!sent.is_finished(), "the peer was not held back");
        running.bell(0).ring();
        let mut got = vec![0; bytes.len()];
        reader.read_exact(&mut got).unwrap();
        assert!(got == bytes);
    });
    drop(stream);
    stop(running);
}

#[test]
fn what_a_peer_sent_before_it_left_is_seen_after_the_hold_and_before_the_end() {
    let (holder, running) = holder(config(1));
    let mut client = connect(&running);
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    until("it arrived", || running.stats(0).received_bytes.get() == 10);
    let ticks = running.stats(0).ticks.get();
    until("time passes", || running.stats(0).ticks.get() > ticks + 5);
    assert_eq!(holder.closed.load(Ordering::Relaxed), 0);
    running.bell(0).ring();
    assert_eq!(read_to_end(&mut client), b"last words");
    until("the app was told", || holder.closed.load(Ordering::Relaxed) == 1);
    stop(running);
}

/// Ends each connection from within the call that shows its bytes.
#[derive(Clone, Default)]
struct Refuser {
    calls: Arc<AtomicUsize>,
}

impl Tenant for Refuser {
    type Parcel = ();

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, _: u32, _: &mut [u8]) -> Progress {
        self.calls.fetch_add(1, Ordering::Relaxed);
        plane.buffer(conn).unwrap().extend_from_slice(b"go away");
        plane.close(conn, Close::AfterFlush);
        assert!(plane.buffer(conn).is_none());
        Progress {
            used: 1,
            next: Next::Need(0),
        }
    }
}

#[test]
fn an_app_that_closes_within_a_call_is_not_called_again_and_its_good_bye_arrives() {
    let refuser = Refuser::default();
    let running = start(config(1), {
        let refuser = refuser.clone();
        move |_| refuser.clone()
    });
    let mut client = connect(&running);
    // More than it takes: what is unread must not turn the end into a reset.
    client.write_all(&pattern(100_000)).unwrap();
    assert_eq!(read_to_end(&mut client), b"go away");
    drop(client);
    until("the slot is free", || running.stats(0).released.get() == 1);
    assert_eq!(refuser.calls.load(Ordering::Relaxed), 1);
    assert_eq!(running.stats(0).lingers_cut.get(), 0);
    stop(running);
}
