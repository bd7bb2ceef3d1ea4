//! What connections take in memory, and how evenly they lie on the shards.

use crate::shape::Random;

/// An idle MQTT connection with one exact subscription of 20 bytes on one shard: session, identity, timer, filter and its places
/// in the tables. Measured (ARCHITECTURE.md).
const CONNECTION: f64 = 399.0;
/// The same in the kernel: socket, file, inode, entry of the directory. Measured as growth of `Slab` by 8,000 connections whose
/// two ends are on one machine, Linux 6.18; an idle socket has no buffers.
const SOCKET: f64 = 3_993.0;
/// An exact filter of another shard: its hash and a word for 64 shards (`route/channels/interest.rs`). Beyond 64 shards it takes
/// a second word, which the daemon does not have (`SHARDS_MAX`).
const WANTED: f64 = 16.0;
const WANTED_BEYOND_64: f64 = 24.0;
/// A holder of an address on another shard than the address's home (`route/addresses.rs`), and on the home itself.
const HELD: f64 = 24.0;
const HELD_HERE: f64 = 4.0;
/// A fingerprint of two bytes and a byte for the shard, in a table that is filled to nine tenths: what interest could be.
const FINGERPRINT: f64 = 3.0 / 0.9;
/// A ring of parcels and the one back (`MESH_RING_PARCELS` slots of 80 bytes each), and those in which connections move
/// (`HAND_OVER_RING_CONNECTIONS`, their size is estimated).
pub(crate) const RINGS_OF_A_PAIR: f64 = 2.0 * 1_024.0 * 80.0 + 64.0 * 200.0;
/// What a busy shard may keep for itself: frames (64 chunks of 64 KiB), private buffers, receive buffers, its ring's queues.
const KEPT: f64 = (4.0 + 16.0 + 2.0 + 0.25) * 1_048_576.0;
/// Parcels that a shard keeps (`MESH_SPARE_PARCELS_MAX`) and has open, each as a turn of small messages leaves it. The bound is
/// 1 MiB each.
const PARCELS_KEPT: f64 = 256.0;
const PARCEL: f64 = 4_096.0;
/// Segments of a table (`route/tables.rs`).
const SEGMENTS: f64 = 256.0;

/// Bytes of a table of the router with so many entries: 256 hash tables, each of a power of two places with a byte beside each,
/// filled to seven eighths at most. All segments are taken as equally full.
pub(crate) fn table(entries: f64, entry: f64) -> f64 {
    let of_segment = (entries / SEGMENTS).max(1.0);
    let mut places = 4.0;
    while places * 0.875 < of_segment {
        places *= 2.0;
    }
    SEGMENTS * (places * (entry + 1.0) + 16.0)
}

/// How other shards know what a shard wants.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Interest {
    /// As it is: all exact filters of all others on every shard.
    Everywhere,
    /// Each filter on the home shard of its channel alone.
    AtHome,
    /// Everywhere, as fingerprints.
    Fingerprints,
}

/// Bytes of a fleet, each with an exact filter of its own, in all.
pub(crate) struct Memory {
    /// Connections with their sessions.
    pub(crate) own: f64,
    /// What homes know of addresses whose holders are elsewhere, beyond what they would take here.
    pub(crate) homes: f64,
    /// What shards know of the filters of others.
    pub(crate) interest: f64,
    /// Rings between shards.
    pub(crate) rings: f64,
    /// Buffers and parcels that are kept, at most.
    pub(crate) kept: f64,
    pub(crate) kernel: f64,
}

impl Memory {
    pub(crate) fn of(connections: f64, shards: usize, interest: Interest) -> Self {
        let n = shards as f64;
        let elsewhere = (n - 1.0) / n;
        let wanted = if shards > 64 { WANTED_BEYOND_64 } else { WANTED };
        let interest = match interest {
            Interest::Everywhere => n * table(connections * elsewhere, wanted),
            Interest::AtHome => n * table(connections / n, wanted),
            Interest::Fingerprints => n * connections * elsewhere * FINGERPRINT,
        };
        let held = table(connections / n * elsewhere, HELD) + table(connections / n / n, HELD_HERE);
        Self {
            own: connections * CONNECTION,
            homes: n * (held - table(connections / n, HELD_HERE)),
            interest,
            rings: n * (n - 1.0) * RINGS_OF_A_PAIR,
            kept: n * (KEPT + (PARCELS_KEPT + n) * PARCEL),
            kernel: connections * SOCKET,
        }
    }

    /// What the daemon takes for it.
    pub(crate) fn daemon(&self) -> f64 {
        self.own + self.homes + self.interest + self.rings + self.kept
    }
}

/// The fullest shard's connections over the mean, if each lies where chance put it: the mean of some draws.
pub(crate) fn imbalance(connections: usize, shards: usize) -> f64 {
    let mut random = Random(connections as u64 ^ (shards as u64) << 32);
    let draws = 4_000_000 / connections.clamp(200_000, 1_000_000);
    let sum: usize = (0..draws)
        .map(|_| {
            let mut of_shard = vec![0_usize; shards];
            (0..connections).for_each(|_| of_shard[random.below(shards)] += 1);
            of_shard.into_iter().max().unwrap_or(0)
        })
        .sum();
    sum as f64 / draws as f64 * shards as f64 / connections as f64
}
