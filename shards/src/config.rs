//! What a daemon tells the machine before it starts.

use std::net::SocketAddr;
use std::time::Duration;

use crate::limits;
use crate::tls::TlsAcceptor;

/// Where to listen, and how accepted sockets are set up.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The address; port 0 takes any free port, the same for all shards.
    pub address: SocketAddr,
    /// Connections waiting to be accepted, per shard.
    pub backlog: i32,
    /// `SO_SNDBUF` of accepted sockets, in bytes; none leaves it to the kernel.
    pub send_buffer_bytes: Option<usize>,
    /// `SO_RCVBUF` of accepted sockets, in bytes; none leaves it to the kernel.
    pub receive_buffer_bytes: Option<usize>,
    /// TLS that newcomers begin with; none: they begin in clear.
    pub tls: Option<TlsAcceptor>,
    /// The only shard that accepts there; none: all do, and the kernel chooses one for each connection.
    pub shard: Option<usize>,
}

impl Listener {
    /// A listener with the defaults.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            backlog: limits::LISTEN_BACKLOG,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            tls: None,
            shard: None,
        }
    }
}

/// The machine's settings. The defaults are those of [`limits`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Shards; 0 is one for each core this process may use.
    pub shards: usize,
    /// Whether each shard is bound to a core of its own, where there are enough.
    pub pin: bool,
    /// Listeners; each shard listens on all of them.
    pub listeners: Vec<Listener>,
    /// Connections per shard; beyond, newcomers are closed and counted.
    pub connections_max: usize,
    /// Bytes of an unfinished frame; a connection that needs more is closed and counted.
    pub spill_bytes_max: usize,
    /// Bytes kept for a held connection; beyond, receiving stops until it is resumed.
    pub held_bytes_max: usize,
    /// Send queue from which [`App::drained`](crate::App::drained) will be owed, in bytes.
    pub high_water_bytes: usize,
    /// Send queue below which it is called, in bytes.
    pub low_water_bytes: usize,
    /// From a connection's end to the moment its socket is closed whatever is left to send.
    pub linger: Duration,
    /// Bytes taken and dropped from a peer whose connection has ended here, before it is cut off.
    pub linger_bytes_max: usize,
    /// Parcels in the ring of one ordered pair of shards.
    pub mesh_ring_parcels: usize,
    /// Connections on their way between one ordered pair of shards; beyond, they wait where they are.
    pub hand_over_ring_connections: usize,
    /// Entries of the submission queue.
    pub submission_entries: u32,
    /// Entries of the completion queue; at least as many.
    pub completion_entries: u32,
    /// Provided receive buffers per shard; a power of two, at most 32,768.
    pub receive_buffers: u16,
    /// Bytes of a provided receive buffer.
    pub receive_buffer_bytes: u32,
    /// Completions taken in one turn.
    pub completions_per_turn_max: usize,
    /// How long a shard looks for work before it blocks, as long as it finds some that way; zero blocks at once.
    pub spin: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: 0,
            pin: true,
            listeners: Vec::new(),
            connections_max: limits::CONNECTIONS_MAX,
            spill_bytes_max: limits::SPILL_BYTES_MAX,
            held_bytes_max: limits::HELD_BYTES_MAX,
            high_water_bytes: limits::HIGH_WATER_BYTES,
            low_water_bytes: limits::LOW_WATER_BYTES,
            linger: Duration::from_millis(limits::LINGER_MS),
            linger_bytes_max: limits::LINGER_BYTES_MAX,
            mesh_ring_parcels: limits::MESH_RING_PARCELS,
            hand_over_ring_connections: limits::HAND_OVER_RING_CONNECTIONS,
            submission_entries: limits::SUBMISSION_ENTRIES,
            completion_entries: limits::COMPLETION_ENTRIES,
            receive_buffers: limits::RECEIVE_BUFFERS,
            receive_buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
            completions_per_turn_max: limits::COMPLETIONS_PER_TURN_MAX,
            spin: Duration::ZERO,
        }
    }
}

impl Config {
    /// How many shards will run: as many as set, else one for each core this process may use.
    pub fn shard_count(&self) -> usize {
        match self.shards {
            0 => crate::placement::allowed_cores().len().max(1),
            count => count,
        }
    }

    /// Whether the settings make sense together; the error names the setting and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let in_range = |name: &str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(format!("{name} = {value} is not in {low}..={high}"))
        };
        in_range("shards", self.shards, 0, limits::SHARDS_MAX)?;
        in_range("listeners", self.listeners.len(), 0, limits::LISTENERS_MAX)?;
        in_range(
            "connections_max",
            self.connections_max,
            1,
            limits::CONNECTION_SLOTS_MAX,
        )?;
        in_range("mesh_ring_parcels", self.mesh_ring_parcels, 1, 1 << 20)?;
        in_range(
            "hand_over_ring_connections",
            self.hand_over_ring_connections,
            1,
            1 << 16,
        )?;
        in_range(
            "completions_per_turn_max",
            self.completions_per_turn_max,
            1,
            1 << 16,
        )?;
        in_range("receive_buffers", usize::from(self.receive_buffers), 1, 1 << 15)?;
        if !self.receive_buffers.is_power_of_two() {
            return Err(format!(
                "receive_buffers = {} is not a power of two",
                self.receive_buffers
            ));
        }
        let bytes = usize::try_from(self.receive_buffer_bytes).unwrap_or(usize::MAX);
        in_range("receive_buffer_bytes", bytes, 16, 1 << 20)?;
        if self.completion_entries < self.submission_entries || self.submission_entries == 0 {
            return Err(format!(
                "completion_entries = {} is below submission_entries = {}, or that is 0",
                self.completion_entries, self.submission_entries
            ));
        }
        if self.low_water_bytes > self.high_water_bytes {
            return Err(format!(
                "low_water_bytes = {} is above high_water_bytes = {}",
                self.low_water_bytes, self.high_water_bytes
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_and_contradictions_are_named() {
        assert_eq!(Config::default().check(), Ok(()));
        let odd = Config {
            receive_buffers: 3,
            ..Config::default()
        };
        assert_eq!(
            odd.check(),
            Err("receive_buffers = 3 is not a power of two".into())
        );
        let marks = Config {
            low_water_bytes: 2,
            high_water_bytes: 1,
            ..Config::default()
        };
        assert_eq!(
            marks.check(),
            Err("low_water_bytes = 2 is above high_water_bytes = 1".into())
        );
    }
}
