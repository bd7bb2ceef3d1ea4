//! What happens in the simulated world, and when.

use nexus::route::Parcel;
use nexus::store::login::LoginVerdict;

/// Something that happens later.
#[derive(Debug)]
pub(crate) enum Event {
    /// Bytes reach the server.
    ToServer(usize, Vec<u8>),
    /// Bytes reach the client.
    ToClient(usize, Vec<u8>),
    /// The connection is gone, and the server will learn it.
    BrokenAtServer(usize),
    /// The server learns that the connection is gone.
    GoneAtServer(usize),
    /// The client learns that the connection is gone.
    GoneAtClient(usize),
    /// A parcel reaches shard `to`.
    Parcel {
        from: usize,
        to: usize,
        parcel: Box<Parcel>,
    },
    /// A connection reaches the shard that it was handed over to.
    HandOver(usize, usize),
    /// The control thread's verdict reaches its shard.
    Verdict(LoginVerdict),
    /// What the disk was about to commit is committed.
    Commit,
    /// A batch of a shard, and all before it, has been made to last.
    Durable(usize, u64),
    /// A timer of a shard may be due.
    Timer(usize),
    /// All shards tick.
    Tick,
    /// The client of this number does something.
    Act(usize),
}

/// An event in its place: those of one moment come in the order they were made.
#[derive(Debug)]
pub(crate) struct Scheduled {
    pub at: u64,
    pub order: u64,
    pub event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
