//! A shard's own counters.
//!
//! Invariant: one writer, the shard; any thread may read. A counter costs a relaxed load and store.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number with one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; only the owning shard calls this.
    pub(crate) fn add(&self, n: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds a count of things in memory.
    pub(crate) fn add_len(&self, n: usize) {
        self.add(u64::try_from(n).unwrap_or(u64::MAX));
    }

    /// Replaces the value; for gauges.
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Raises the value to at least `n`.
    pub(crate) fn raise(&self, n: u64) {
        if n > self.get() {
            self.set(n);
        }
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! stats {
    ($($(#[$meta:meta])* $name:ident,)+) => {
        /// The counters of one shard. All count events since the start unless they say otherwise.
        #[derive(Debug, Default)]
        pub struct Stats { $($(#[$meta])* pub $name: Counter,)+ }

        impl Stats {
            /// Every counter with its name, in order.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.get()),)+].into_iter()
            }
        }
    };
}

stats! {
    /// Turns of the loop.
    turns,
    /// Times the shard blocked in the kernel.
    blocks,
    /// System calls into the data ring.
    enters,
    /// Completions taken.
    completions,
    /// Turns given to glommio.
    executor_turns,
    /// Ticks received.
    ticks,
    /// TLS handshakes that ended well.
    tls_handshakes,
    /// Those of them that resumed an earlier session.
    tls_resumptions,
    /// Connections whose TLS broke: before the end of the handshake or after.
    tls_faults,
    /// Times a handshake had to wait for a later turn.
    tls_handshakes_delayed,
    /// The longest time between the start of a turn and the moment it blocks or ends, in nanoseconds, system
    /// calls included.
    turn_ns_max,
    /// Connections accepted.
    accepted,
    /// Connections gone, their slots free again.
    released,
    /// Connections in the table now (a gauge).
    connections,
    /// Connections closed at once because the table was full or the shard was stopping.
    refused,
    /// Accepts that failed (out of files, out of memory); tried again by the tick.
    accept_errors,
    /// Bytes received.
    received_bytes,
    /// Bytes the kernel took for sending.
    sent_bytes,
    /// Sends submitted.
    sends,
    /// Sends that went out as a vector of pieces.
    vectored_sends,
    /// Sends that the kernel took only in part.
    short_sends,
    /// Receives that found no provided buffer.
    buffer_exhaustions,
    /// Multishot receives armed again after the kernel had ended them.
    rearms,
    /// Times receiving stopped because a held connection had enough waiting.
    receives_paused,
    /// Connections closed because a frame needed more room than a connection may have.
    spill_overflows,
    /// Connections whose socket was closed before the peer had taken everything.
    lingers_cut,
    /// Connections cut off because their peer went on sending after their end.
    linger_floods,
    /// Times the completion queue had overflowed.
    completion_overflows,
    /// Parcels sent.
    parcels_sent,
    /// Parcels received.
    parcels_received,
    /// Parcels handed back to the app because the ring was full.
    parcels_refused,
    /// Connections that left for another shard.
    handed_over,
    /// Connections taken in from another shard.
    adopted,
    /// Times a connection that was ready to leave found no room on the way and had to wait.
    hand_overs_delayed,
    /// Connections from another shard that were closed because the table was full.
    hand_overs_refused,
    /// Bells rung for other shards.
    bells_rung,
    /// Bells that the kernel could not deliver; the eventfd was used instead.
    bells_failed,
    /// Bells rung by outside threads, as they arrived.
    bells_heard,
    /// Timers fired.
    timers_fired,
    /// Times a shared frame was copied because its receiver refers to too many pieces.
    shared_copies,
}
