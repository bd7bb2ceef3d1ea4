//! What a run is given: how shards are joined, what its flows do, and chance.

use crate::costs::LOOK;

/// Numbers that are equal for equal seeds (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound
    }

    /// Time to the next event of a Poisson process with this mean.
    pub(crate) fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - (self.next() >> 11) as f64 / (1_u64 << 53) as f64).ln()
    }
}

/// What the flows of a run do.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Load {
    /// Publisher to subscriber, so many messages in flight.
    Pairs(u32),
    /// The same at its own pace: nanoseconds from message to message.
    Paced(f64),
    /// Bursts of so many to receivers on all shards, the next when all have it.
    Fan { burst: u32, receivers: u32 },
    /// Requests to a worker, so many in flight.
    Calls(u32),
    /// Direct messages, by way of the name's home shard.
    Direct(u32),
    /// Logins one after another: claim at the home, grant, and a subscription that all shards are told of.
    Logins,
}

/// How shards are joined, and what is tried to make that cheaper.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) shards: usize,
    /// 0: every shard to every other. Otherwise shards stand in rows of so many, and letters go along the row, then the column.
    pub(crate) row: usize,
    /// A turn does not begin earlier than this after the one before.
    pub(crate) pause: f64,
    /// Of what a look at another shard costs in each turn.
    pub(crate) look: f64,
    /// So many times what letters and parcels cost.
    pub(crate) dear: f64,
    /// A filter is told to the home shard of its channel alone.
    pub(crate) at_home: bool,
    /// Of the flows, how many of 100 have both ends on one shard by choice.
    pub(crate) together: usize,
}

impl Shape {
    pub(crate) fn of(shards: usize) -> Self {
        Self {
            shards,
            row: 0,
            pause: 0.0,
            look: LOOK,
            dear: 1.0,
            at_home: false,
            together: 0,
        }
    }

    /// Shards that one is joined to.
    pub(crate) fn peers(&self) -> usize {
        if self.row == 0 {
            self.shards - 1
        } else {
            self.row + self.shards / self.row - 2
        }
    }

    /// Where a letter goes next.
    pub(crate) fn hop(&self, at: usize, to: usize) -> usize {
        if self.row == 0 || at % self.row == to % self.row {
            to
        } else {
            at - at % self.row + to % self.row
        }
    }
}
