//! Sending: shared and private bytes, slow readers, slots that are used again.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shards::{Config, ConnId, Next, Plane, Progress, Shared};

use crate::support::{Tenant, all, config, connect, pattern, read, start, stop, until};

/// A small generator, the same on both sides of a test.
#[derive(Clone, Copy)]
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    /// Mostly small, sometimes large.
    fn len(&mut self) -> usize {
        let most = [40, 200, 1_500, 9_000, 60_000][self.below(5)];
        1 + self.below(most)
    }
}

/// The frame numbered `number`: that many bytes, told apart from others.
fn frame(number: usize, len: usize) -> impl Iterator<Item = u8> {
    (0..len).map(move |at| (number * 97 + at * 31 + at / 253) as u8)
}

/// On eight bytes from any connection, a seed: sends a random mixture of shared and private frames to all.
#[derive(Default)]
struct Mixer {
    conns: Vec<ConnId>,
}

const RECEIVERS: usize = 6;
const FRAMES: usize = 300;

impl Tenant for Mixer {
    type Parcel = ();

    fn opened(&mut self, _: &mut Plane<()>, conn: ConnId, _: usize, _: std::net::SocketAddr) -> u32 {
        self.conns.push(conn);
        (self.conns.len() - 1) as u32
    }

    fn received(&mut self, plane: &mut Plane<()>, _: ConnId, _: u32, bytes: &mut [u8]) -> Progress {
        let Some(seed) = bytes.first_chunk::<8>() else {
            return Progress {
                used: 0,
                next: Next::Need(8),
            };
        };
        let mut random = Random(u64::from_le_bytes(*seed));
        for number in 0..FRAMES {
            let len = random.len();
            let shared =
                (random.below(3) > 0).then(|| plane.share(len, |out| out.extend(frame(number, len))));
            for &conn in &self.conns {
                if random.below(3) == 0 {
                    continue;
                }
                match &shared {
                    Some(shared) => assert!(plane.push(conn, shared)),
                    None => plane.buffer(conn).unwrap().extend(frame(number, len)),
                }
            }
        }
        Progress {
            used: 8,
            next: Next::Need(8),
        }
    }
}

/// What [`Mixer`] sends to each receiver for `seed`.
fn mixture(seed: u64) -> Vec<Vec<u8>> {
    let mut random = Random(seed);
    let mut streams = vec![Vec::new(); RECEIVERS];
    for number in 0..FRAMES {
        let len = random.len();
        random.below(3);
        for stream in &mut streams {
            if random.below(3) > 0 {
                stream.extend(frame(number, len));
            }
        }
    }
    streams
}

#[test]
fn any_mixture_of_shared_and_private_frames_arrives_byte_for_byte() {
    let mut small_buffers = config(1);
    small_buffers.listeners[0].send_buffer_bytes = Some(8_192);
    for config in [config(1), small_buffers] {
        let running = start(config, |_| Mixer::default());
        let mut clients: Vec<TcpStream> = Vec::new();
        for count in 1..=RECEIVERS as u64 {
            clients.push(connect(&running));
            until("it was accepted", || running.stats(0).accepted.get() == count);
        }
        for seed in 1..=6u64 {
            clients[0].write_all(&seed.to_le_bytes()).unwrap();
            std::thread::scope(|scope| {
                for (client, expected) in clients.iter_mut().zip(mixture(seed)) {
                    scope.spawn(move || {
                        let got = read(client, expected.len());
                        let first = got
                            .iter()
                            .zip(&expected)
                            .position(|(got, expected)| got != expected);
                        assert_eq!(first, None, "the first wrong byte with seed {seed}");
                    });
                }
            });
        }
        assert!(running.stats(0).vectored_sends.get() > 0);
        drop(clients);
        stop(running);
    }
}

/// On any byte: queues far more than the kernel takes, and counts how often it hears that it drained.
#[derive(Clone, Default)]
struct Pourer {
    drained: Arc<AtomicUsize>,
    queued: Arc<AtomicUsize>,
}

const POURED: usize = 6 * 1_024 * 1_024;

impl Tenant for Pourer {
    type Parcel = ();

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, _: u32, bytes: &mut [u8]) -> Progress {
        let poured = pattern(POURED);
        for part in poured.chunks(100_000) {
            plane.buffer(conn).unwrap().extend_from_slice(part);
        }
        assert_eq!(plane.queued(conn), POURED);
        all(bytes)
    }

    fn drained(&mut self, plane: &mut Plane<()>, conn: ConnId, _: u32) {
        self.queued.store(plane.queued(conn), Ordering::Relaxed);
        self.drained.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_slow_reader_with_a_tiny_send_buffer_gets_everything_and_the_app_hears_that_it_drained() {
    let mut config = config(1);
    config.listeners[0].send_buffer_bytes = Some(4_096);
    let pourer = Pourer::default();
    let running = start(config, {
        let pourer = pourer.clone();
        move |_| pourer.clone()
    });
    let mut client = connect(&running);
    client.write_all(b"!").unwrap();
    let mut got = Vec::new();
    let mut piece = vec![0; 10_000];
    while got.len() < POURED {
        let len = client.read(&mut piece).unwrap();
        assert_ne!(len, 0);
        got.extend_from_slice(&piece[..len]);
    }
    assert!(got == pattern(POURED));
    until("it drained", || pourer.drained.load(Ordering::Relaxed) == 1);
    assert!(pourer.queued.load(Ordering::Relaxed) < shards::limits::LOW_WATER_BYTES);
    drop(client);
    stop(running);
}

#[test]
fn one_reader_that_does_not_read_delays_nobody_else() {
    let running = start(config(1), |_| Pourer::default());
    let mut stuck = connect(&running);
    stuck.write_all(b"!").unwrap();
    until("its buffers are full", || running.stats(0).sends.get() > 0);
    let mut brisk = connect(&running);
    brisk.write_all(b"!").unwrap();
    assert!(read(&mut brisk, POURED) == pattern(POURED));
    drop((stuck, brisk));
    stop(running);
}

/// Answers the first eight bytes of each connection, its number, with a flood of that number; keeps stale ids.
#[derive(Clone, Default)]
struct Numbered {
    stale: Vec<ConnId>,
    refused: Arc<AtomicUsize>,
    broken: Arc<AtomicUsize>,
}

const FLOOD: usize = 400_000;

impl Tenant for Numbered {
    type Parcel = ();

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, _: u32, bytes: &mut [u8]) -> Progress {
        let Some(number) = bytes.first_chunk::<8>().copied() else {
            return Progress {
                used: 0,
                next: Next::Need(8),
            };
        };
        let shared: Shared = plane.share(8, |out| out.extend_from_slice(&number));
        for &stale in &self.stale {
            let wrong = plane.push(stale, &shared) || plane.buffer(stale).is_some();
            self.broken.fetch_add(usize::from(wrong), Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
            assert_eq!(plane.queued(stale), 0);
            plane.close(stale, shards::Close::Now);
            plane.resume(stale);
        }
        for _ in 0..100 {
            assert!(plane.push(conn, &shared));
        }
        let out = plane.buffer(conn).unwrap();
        for _ in 0..FLOOD / 8 {
            out.extend_from_slice(&number);
        }
        Progress {
            used: 8,
            next: Next::Need(8),
        }
    }

    fn closed(&mut self, _: &mut Plane<()>, conn: ConnId, _: u32) {
        if self.stale.len() < 50 {
            self.stale.push(conn);
        }
    }
}

#[test]
fn a_slot_used_again_gets_nothing_of_what_was_in_flight_before() {
    let mut config = Config {
        connections_max: 3,
        ..config(1)
    };
    config.listeners[0].send_buffer_bytes = Some(4_096);
    let numbered = Numbered::default();
    let running = start(config, {
        let numbered = numbered.clone();
        move |_| numbered.clone()
    });
    for number in 1..=300u64 {
        let mut client = connect(&running);
        let number = number * 0x0101_0101;
        client.write_all(&number.to_le_bytes()).unwrap();
        let mut some = [0; 8_000];
        if client.read_exact(&mut some).is_err() {
            // The table was full: the former connections are still ending.
            continue;
        }
        assert!(
            some.chunks(8).all(|chunk| chunk == number.to_le_bytes()),
            "bytes of another connection"
        );
        // Leaves in the middle of the flood, half of the time with a reset.
        if number % 2 == 0 {
            socket2::SockRef::from(&client)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
    }
    until("all slots are free", || {
        let stats = running.stats(0);
        stats.accepted.get() == stats.released.get()
    });
    assert!(running.stats(0).released.get() > 50, "slots were used again");
    assert!(numbered.refused.load(Ordering::Relaxed) > 0);
    assert_eq!(numbered.broken.load(Ordering::Relaxed), 0);
    stop(running);
}
