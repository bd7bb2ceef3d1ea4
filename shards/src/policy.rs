//! What a shard does at the end of a turn: a pure function.
//!
//! Invariant: a shard blocks only when nothing is left that anybody but the kernel could end the wait for.

/// What is known at the end of a turn.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a row of a truth table")]
pub(crate) struct Situation {
    /// As many completions were taken as a turn may take: there may be more.
    pub(crate) full: bool,
    /// Work of the shard's own is left over for the next turn.
    pub(crate) more: bool,
    /// The executor is owed a turn.
    pub(crate) turn_due: bool,
    /// Completions are waiting.
    pub(crate) ready: bool,
    /// The mesh has announced that this shard sleeps and found nothing that speaks against it.
    pub(crate) asleep: bool,
}

/// How a turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Submit what there is and go round.
    Flush,
    /// The same, and the executor gets its turn on the way.
    Turn,
    /// Submit and wait for a completion.
    Block,
}

/// Decides how a turn ends.
pub(crate) fn decide(situation: Situation) -> Step {
    let Situation {
        full,
        more,
        turn_due,
        ready,
        asleep,
    } = situation;
    if turn_due {
        Step::Turn
    } else if full || more || ready || !asleep {
        Step::Flush
    } else {
        Step::Block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_only_in_the_one_situation_with_nothing_to_do() {
        for bits in 0..32u32 {
            let bit = |n: u32| bits & 1 << n != 0;
            let situation = Situation {
                full: bit(0),
                more: bit(1),
                turn_due: bit(2),
                ready: bit(3),
                asleep: bit(4),
            };
            let expected = match bits {
                0b10000 => Step::Block,
                _ if bit(2) => Step::Turn,
                _ => Step::Flush,
            };
            assert_eq!(decide(situation), expected, "{situation:?}");
        }
    }
}
