//! What the kernel is asked to do, and how an answer finds back to who asked.
//!
//! Invariant: a token is an operation's kind, a slot of 24 bits and a generation of 32, so an answer that
//! belongs to a former user of a slot can always be told.

use crate::app::ConnId;

/// The kinds of operations on a data ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    /// Multishot accept; the slot is the listener.
    Accept = 1,
    /// Multishot receive.
    Receive,
    /// A send.
    Send,
    /// A cancellation.
    Cancel,
    /// The multishot tick.
    Tick,
    /// Posted here by another shard's bell.
    Rung,
    /// A bell for the shard in the slot could not be delivered.
    BellFailed,
    /// One of the executor's rings, the slot's, has something.
    Executor,
    /// The eventfd that outside threads write to.
    Outside,
}

impl Op {
    const ALL: [Self; 9] = [
        Self::Accept,
        Self::Receive,
        Self::Send,
        Self::Cancel,
        Self::Tick,
        Self::Rung,
        Self::BellFailed,
        Self::Executor,
        Self::Outside,
    ];

    /// Whether the operation is one of this ring's own, which ends with exactly one last completion.
    pub(crate) const fn is_counted(self) -> bool {
        !matches!(self, Self::Rung | Self::BellFailed)
    }
}

/// An operation's user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) op: Op,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl Token {
    /// An operation of no connection; `slot` tells those of one kind apart.
    pub(crate) fn of(op: Op, slot: usize) -> Self {
        Self {
            op,
            slot: u32::try_from(slot).unwrap_or(u32::MAX) & SLOT_MASK,
            generation: 0,
        }
    }

    /// An operation of a connection.
    pub(crate) fn on(op: Op, conn: ConnId) -> Self {
        Self {
            op,
            slot: conn.slot & SLOT_MASK,
            generation: conn.generation,
        }
    }

    pub(crate) fn conn(self) -> ConnId {
        ConnId {
            slot: self.slot,
            generation: self.generation,
        }
    }

    pub(crate) const fn to_bits(self) -> u64 {
        (self.op as u64) << 56 | (self.slot as u64) << 32 | self.generation as u64
    }

    #[expect(clippy::cast_possible_truncation, reason = "the parts are taken out")]
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        let op = (bits >> 56) as u8;
        Some(Self {
            op: Op::ALL.into_iter().find(|&known| known as u8 == op)?,
            slot: (bits >> 32) as u32 & SLOT_MASK,
            generation: bits as u32,
        })
    }
}

const SLOT_MASK: u32 = (1 << 24) - 1;

const _: () = assert!(crate::limits::CONNECTION_SLOTS_MAX <= 1 << 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_survives_its_bits() {
        for op in Op::ALL {
            for (slot, generation) in [(0, 0), (SLOT_MASK, u32::MAX), (7, 1 << 31)] {
                let token = Token { op, slot, generation };
                assert_eq!(Token::from_bits(token.to_bits()), Some(token));
            }
        }
        assert_eq!(Token::from_bits(u64::MAX), None);
        assert_eq!(Token::from_bits(0), None);
    }
}
