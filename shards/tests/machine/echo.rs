//! Bytes in, bytes out: the plainest tenant.

use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shards::{ConnId, Plane, Progress};

use crate::support::{Tenant, all, config, connect, exchange, pattern, read_to_end, start, stop, until};

/// Returns what it gets; counts what begins and ends.
#[derive(Clone, Default)]
pub struct Echo {
    pub opened: Arc<AtomicUsize>,
    pub closed: Arc<AtomicUsize>,
}

impl Tenant for Echo {
    type Parcel = ();

    fn opened(&mut self, _: &mut Plane<()>, conn: ConnId, listener: usize, peer: SocketAddr) -> u32 {
        assert_eq!(listener, 0);
        assert!(peer.ip().is_loopback());
        self.opened.fetch_add(1, Ordering::Relaxed);
        conn.slot() + 7
    }

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, tag: u32, bytes: &mut [u8]) -> Progress {
        assert_eq!(tag, conn.slot() + 7);
        if let Some(out) = plane.buffer(conn) {
            out.extend_from_slice(bytes);
        }
        all(bytes)
    }

    fn closed(&mut self, plane: &mut Plane<()>, conn: ConnId, tag: u32) {
        assert_eq!(tag, conn.slot() + 7);
        assert!(plane.buffer(conn).is_none(), "the id is stale");
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn every_byte_comes_back_in_order() {
    let echo = Echo::default();
    let running = start(config(1), {
        let echo = echo.clone();
        move |_| echo.clone()
    });
    let mut client = connect(&running);
    for len in [1, 100, 2_048, 2_049, 70_000] {
        let bytes = pattern(len);
        assert!(exchange(&mut client, &bytes) == bytes, "{len} bytes");
    }
    drop(client);
    until("the slot is free", || running.stats(0).released.get() == 1);
    stop(running);
    assert_eq!(echo.opened.load(Ordering::Relaxed), 1);
    assert_eq!(echo.closed.load(Ordering::Relaxed), 1);
}

#[test]
fn what_was_queued_before_the_peer_ended_is_still_sent() {
    let running = start(config(1), |_| Echo::default());
    let mut client = connect(&running);
    let bytes = pattern(30_000);
    std::io::Write::write_all(&mut client, &bytes).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end(&mut client) == bytes);
    stop(running);
}

#[test]
fn a_shard_that_spins_before_it_blocks_does_the_same() {
    let config = shards::Config {
        spin: std::time::Duration::from_micros(200),
        ..config(2)
    };
    let running = start(config, |_| Echo::default());
    let mut client = connect(&running);
    for round in 0..500u32 {
        assert_eq!(exchange(&mut client, &round.to_le_bytes()), round.to_le_bytes());
    }
    running.bell(0).ring();
    running.bell(1).ring();
    until("both heard", || {
        running.stats(0).bells_heard.get() + running.stats(1).bells_heard.get() == 2
    });
    drop(client);
    stop(running);
}

#[test]
fn several_shards_share_a_port_and_each_connection_keeps_its_shard() {
    let running = start(config(3), |_| Echo::default());
    let mut clients: Vec<_> = (0..60).map(|_| connect(&running)).collect();
    for round in 0..20u8 {
        for client in &mut clients {
            assert_eq!(exchange(client, &[round; 64]), [round; 64]);
        }
    }
    let accepted: Vec<u64> = (0..3).map(|shard| running.stats(shard).accepted.get()).collect();
    assert_eq!(accepted.iter().sum::<u64>(), 60);
    assert!(accepted.iter().all(|&count| count > 0), "{accepted:?}");
    drop(clients);
    stop(running);
}
