//! Connections that move from shard to shard.

mod travel;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shards::{Clock, Config, ConnId, Plane, Progress, Running, TlsAcceptor};

use crate::support::{PATIENCE, Tenant, config, connect, pattern, read, read_to_end, start, stop, until};
use crate::tls;

use self::travel::*;

#[test]
fn bytes_that_wait_already_are_seen_by_the_other_shard() {
    for len in [0, 1, 2_048, 200_000] {
        let (common, running) = travellers(config(2));
        common.wait.store(true, Ordering::Relaxed);
        let mut client = connect(&running);
        let bytes = plain(len);
        client.write_all(b"beforeM").unwrap();
        assert_eq!(read(&mut client, 6), b"before");
        std::thread::scope(|scope| {
            let (mut writer, bytes) = (&client, &bytes);
            scope.spawn(move || writer.write_all(bytes).unwrap());
            until("as much as may wait arrived", || {
                sum(&running, |stats| &stats.received_bytes) >= 7 + len.min(64 * 1_024) as u64
            });
            release(&common, &running);
            let mut got = vec![0; len];
            (&client).read_exact(&mut got).unwrap();
            assert!(got == bytes[..], "{len} bytes");
        });
        client.write_all(b"after").unwrap();
        assert_eq!(read(&mut client, 5), b"after");
        assert_eq!(sum(&running, |stats| &stats.handed_over), 1);
        assert_eq!(sum(&running, |stats| &stats.adopted), 1);
        assert_eq!(common.hops.load(Ordering::Relaxed), 1);
        drop(client);
        assert_gone(&common, running);
    }
}

#[test]
fn what_is_queued_is_sent_first_and_what_arrives_meanwhile_goes_along() {
    let (common, running) = travellers(config(2));
    common.queue.store(QUEUED, Ordering::Relaxed);
    let mut client = connect(&running);
    client.write_all(b"M").unwrap();
    let bytes = plain(50_000);
    for piece in bytes.chunks(10_000) {
        client.write_all(piece).unwrap();
        let_time_pass(&running, Stage::Sending);
    }
    assert_eq!(common.left.load(Ordering::Relaxed), 0, "not before it is sent");
    assert!(read(&mut client, QUEUED) == pattern(QUEUED));
    assert!(read(&mut client, bytes.len()) == bytes);
    assert_eq!(common.handed.load(Ordering::Relaxed), 1);
    drop(client);
    assert_gone(&common, running);
}

#[test]
fn a_peer_that_ends_its_side_at_any_stage_is_still_answered_and_ends_over_there() {
    for stage in STAGES {
        let (common, running, mut client, others) = at_stage(stage, PATIENCE);
        client.shutdown(Shutdown::Write).unwrap();
        let_time_pass(&running, stage);
        unleash(&common, &running);
        let got = read_to_end(&mut client);
        let queued = if stage == Stage::Sending { QUEUED } else { 0 };
        assert_eq!(got.len(), queued + 10, "{stage:?}");
        assert!(got.ends_with(b"last words"), "{stage:?}");
        until("it arrived", || common.handed.load(Ordering::Relaxed) > 0);
        assert_eq!(
            running.stats(1).adopted.get(),
            running.stats(0).handed_over.get(),
            "{stage:?}"
        );
        drop((client, others));
        assert_gone(&common, running);
    }
}

#[test]
fn a_peer_that_resets_at_any_stage_is_ended_once_where_the_connection_is() {
    for stage in STAGES {
        let (common, running, client, others) = at_stage(stage, PATIENCE);
        reset(client);
        let_time_pass(&running, stage);
        if matches!(stage, Stage::Held | Stage::Sending) {
            until("it ended here", || common.closed.load(Ordering::Relaxed) > 0);
        }
        unleash(&common, &running);
        drop(others);
        assert_gone(&common, running);
        let left = common.left.load(Ordering::Relaxed);
        let expected = match stage {
            Stage::Held | Stage::Sending => 0,
            Stage::NoRoom => 2,
            Stage::OnTheWay | Stage::Arrived => 1,
        };
        assert_eq!(left, expected, "{stage:?}");
    }
}

#[test]
fn a_session_of_tls_goes_along() {
    let authority = tls::Authority::new();
    let mut config = config(2);
    config.listeners[0].tls = Some(TlsAcceptor::new(Arc::new(authority.server())));
    let (common, running) = travellers(config);
    let mut client = tls::over(connect(&running), &Arc::new(authority.client()));
    for hop in 0..8 {
        let bytes = plain(30_000 + hop);
        assert!(tls::exchange(&mut client, &bytes) == bytes);
        client.write_all(b"M").unwrap();
        client.flush().unwrap();
        until("it moved", || common.handed.load(Ordering::Relaxed) == hop + 1);
    }
    assert_eq!(tls::exchange(&mut client, b"the last"), b"the last");
    drop(client);
    assert_gone(&common, running);
}

#[test]
fn a_way_that_is_full_makes_them_wait_and_none_is_lost() {
    let config = Config {
        hand_over_ring_connections: 2,
        ..config(2)
    };
    let (common, running) = travellers(config);
    let mut clients = clients_of(&running, 0, 9);
    stall(&common, &running, 1);
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(format!("M{number}").as_bytes()).unwrap();
    }
    let stats = running.stats(0);
    until("the others wait", || stats.hand_overs_delayed.get() == 7);
    assert_eq!(stats.handed_over.get(), 2);
    // Waiting costs no more than the tick.
    let (ticks, turns) = (stats.ticks.get(), stats.turns.get());
    until("time passes", || stats.ticks.get() >= ticks + 10);
    let (ticked, turned) = (stats.ticks.get() - ticks, stats.turns.get() - turns);
    assert!(turned <= 6 * (ticked + 5), "{turned} turns in {ticked} ticks");
    let ticks = stats.ticks.get();
    go_on(&common, 1);
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(read(client, 1), number.to_string().as_bytes());
    }
    assert!(stats.ticks.get() <= ticks + 50, "the bells rang");
    assert_eq!(stats.handed_over.get(), 9);
    assert_eq!(stats.hand_overs_delayed.get(), 7, "counted once each");
    drop(clients);
    assert_gone(&common, running);
}

#[test]
fn a_move_between_idle_shards_does_not_wait_for_the_tick() {
    const HOPS: u64 = 50;
    let (common, running) = travellers(config(2));
    let mut client = connect(&running);
    let ticks = |running: &Running| running.stats(0).ticks.get();
    // One batch without a neighbour's load on the machine is enough; without bells each takes 25 ticks at least.
    let fast = (0..20).any(|_| {
        let began = ticks(&running);
        for _ in 0..HOPS {
            client.write_all(b"M.").unwrap();
            assert_eq!(read(&mut client, 1), b".");
        }
        ticks(&running) - began < HOPS / 3
    });
    assert!(fast, "moves wait for the tick");
    drop(client);
    assert_gone(&common, running);
}

/// Bytes with a mark here and there, and the same without the marks.
fn marked(len: usize, seed: usize) -> (Vec<u8>, Vec<u8>) {
    let expected = plain(len);
    let mut bytes = Vec::with_capacity(len + len / 100);
    let mut until_mark = seed % 97;
    for &byte in &expected {
        if until_mark == 0 {
            bytes.push(b'M');
            until_mark = 200 + (bytes.len() * 31 + seed * 7) % 1_500;
        }
        until_mark -= 1;
        bytes.push(byte);
    }
    (bytes, expected)
}

#[test]
fn many_move_to_and_fro_under_load_and_every_byte_comes_back_once_in_order() {
    for (shards, ring) in [(2, 64), (3, 1)] {
        let config = Config {
            hand_over_ring_connections: ring,
            receive_buffers: 64,
            receive_buffer_bytes: 512,
            held_bytes_max: 4_096,
            ..config(shards)
        };
        let (common, running) = travellers(config);
        let clients: Vec<TcpStream> = (0..24).map(|_| connect(&running)).collect();
        std::thread::scope(|scope| {
            for (seed, client) in clients.iter().enumerate() {
                let (mut reader, mut writer) = (client, client);
                let (bytes, expected) = marked(60_000, seed);
                scope.spawn(move || {
                    for piece in bytes.chunks(100 + seed * 211) {
                        writer.write_all(piece).unwrap();
                    }
                });
                scope.spawn(move || {
                    let mut got = vec![0; expected.len()];
                    reader.read_exact(&mut got).unwrap();
                    assert!(got == expected);
                });
            }
        });
        let moved = sum(&running, |stats| &stats.handed_over);
        assert_eq!(moved, sum(&running, |stats| &stats.adopted));
        assert!(moved > 24 * 30, "{moved} moves");
        for shard in 0..shards {
            assert!(running.stats(shard).handed_over.get() > 0);
            assert!(running.stats(shard).adopted.get() > 0);
        }
        drop(clients);
        assert_gone(&common, running);
    }
}

#[test]
fn a_stop_at_any_stage_ends_the_connection_once_where_it_is() {
    for rude in [false, true] {
        for stage in STAGES {
            let (common, running, client, others) = at_stage(stage, Duration::from_millis(100));
            common.rude.store(rude, Ordering::Relaxed);
            // What a rude app merely holds ends with its peer.
            let merely_held = matches!(stage, Stage::Held | Stage::Arrived);
            let client = if rude && merely_held {
                reset(client);
                None
            } else {
                Some(client)
            };
            drop(others);
            let clock = Clock::start();
            running.stop(PATIENCE);
            if stage.is_stalled() {
                let_time_pass(&running, stage);
            }
            go_on(&common, 1);
            running.join().unwrap();
            let took = Duration::from_nanos(clock.now_ns());
            assert!(
                took < PATIENCE / 2,
                "{stage:?}: the drain time was waited for: {took:?}"
            );
            drop(client);
            common.assert_balance();
            assert_eq!(Arc::strong_count(&common), 1, "{stage:?}");
            let left = common.left.load(Ordering::Relaxed);
            assert_eq!(common.handed.load(Ordering::Relaxed), left, "{stage:?}");
            assert_eq!(left, usize::from(stage.is_stalled() || stage == Stage::Arrived));
        }
    }
}

#[test]
fn a_stop_without_time_to_drain_leaves_nobody_between_two_shards() {
    for _ in 0..20 {
        let (common, running) = travellers(config(2));
        let mut clients: Vec<_> = (0..20).map(|_| connect(&running)).collect();
        for client in &mut clients {
            client.write_all(&b"M".repeat(1_000)).unwrap();
        }
        until("they move", || sum(&running, |stats| &stats.adopted) > 20);
        running.stop(Duration::ZERO);
        running.join().unwrap();
        common.assert_balance();
        assert_eq!(Arc::strong_count(&common), 1);
    }
}

#[test]
fn a_shard_whose_table_is_full_closes_who_comes_and_drops_the_luggage() {
    let config = Config {
        connections_max: 1,
        ..config(2)
    };
    let (common, running) = travellers(config);
    let mut clients = Vec::new();
    while sum(&running, |stats| &stats.connections) < 2 {
        clients.push(connect(&running));
        let goal = [0, 1].map(|shard| running.stats(shard).ticks.get() + 3);
        until("it is counted", || {
            (0..2).all(|shard| running.stats(shard).ticks.get() >= goal[shard])
        });
    }
    // The first is in a table; the last came to the other.
    clients[0].write_all(b"M").unwrap();
    until("it is refused", || {
        sum(&running, |stats| &stats.hand_overs_refused) == 1
    });
    assert_eq!(clients[0].read(&mut [0; 1]).unwrap_or(0), 0, "closed");
    let last = clients.last_mut().unwrap();
    last.write_all(b"on").unwrap();
    assert_eq!(read(last, 2), b"on");
    assert_eq!(common.left.load(Ordering::Relaxed), 1);
    assert_eq!(common.handed.load(Ordering::Relaxed), 0);
    drop(clients);
    until("all are gone", || sum(&running, |stats| &stats.released) == 1);
    stop(running);
    assert_eq!(Arc::strong_count(&common), 1);
}

/// Gives its connection a new tag with every call and answers with the one it was called with.
#[derive(Clone, Default)]
struct Renamer {
    closed_as: Arc<AtomicUsize>,
}

impl Tenant for Renamer {
    type Parcel = ();

    fn opened(&mut self, plane: &mut Plane<()>, conn: ConnId, _: usize, _: SocketAddr) -> u32 {
        assert!(plane.retag(conn, 9), "it is live");
        7
    }

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, tag: u32, bytes: &mut [u8]) -> Progress {
        plane.buffer(conn).unwrap().extend_from_slice(&tag.to_le_bytes());
        assert!(plane.retag(conn, tag + 1));
        crate::support::all(bytes)
    }

    fn closed(&mut self, plane: &mut Plane<()>, conn: ConnId, tag: u32) {
        assert!(!plane.retag(conn, 1), "it is over");
        self.closed_as.store(tag as usize, Ordering::Relaxed);
    }
}

#[test]
fn a_tag_that_was_changed_comes_back_with_every_event_from_then_on() {
    let renamer = Renamer::default();
    let running = start(config(1), {
        let renamer = renamer.clone();
        move |_| renamer.clone()
    });
    let mut client = connect(&running);
    for tag in 7..10u32 {
        client.write_all(b"?").unwrap();
        assert_eq!(read(&mut client, 4), tag.to_le_bytes());
    }
    drop(client);
    until("it ended", || renamer.closed_as.load(Ordering::Relaxed) == 10);
    stop(running);
}
