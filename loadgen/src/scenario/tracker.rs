//! Sequence numbers of one sender as one receiver sees them: in order, late, or a second time.

use std::ops::Range;

/// What a received sequence number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next one, or one after a gap.
    InOrder,
    /// It fills a gap: it came after a later one.
    Late,
    /// It was here before.
    Doubled,
}

/// Gaps remembered per sender and receiver; beyond that the oldest is forgotten (its numbers count as lost, and as
/// doubled should they still come).
const GAPS_MAX: usize = 1_024;

/// The numbers received so far.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    next: u64,
    received: u64,
    gaps: Vec<Range<u64>>,
}

impl Tracker {
    /// Takes note of `sequence`.
    pub fn arrived(&mut self, sequence: u64) -> Arrival {
        if sequence >= self.next {
            if sequence > self.next {
                if self.gaps.len() == GAPS_MAX {
                    self.gaps.remove(0);
                }
                self.gaps.push(self.next..sequence);
            }
            self.next = sequence + 1;
            self.received += 1;
            return Arrival::InOrder;
        }
        let Some(index) = self.gaps.iter().position(|gap| gap.contains(&sequence)) else {
            return Arrival::Doubled;
        };
        let gap = self.gaps.remove(index);
        for rest in [sequence + 1..gap.end, gap.start..sequence] {
            if !rest.is_empty() {
                self.gaps.insert(index, rest);
            }
        }
        self.received += 1;
        Arrival::Late
    }

    /// Distinct numbers received.
    pub fn received(&self) -> u64 {
        self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_counts_once() {
        let mut tracker = Tracker::default();
        let arrivals: Vec<_> = [0, 1, 5, 3, 3, 2, 4, 4, 6, 0]
            .map(|n| tracker.arrived(n))
            .to_vec();
        use Arrival::{Doubled, InOrder, Late};
        assert_eq!(
            arrivals,
            [
                InOrder, InOrder, InOrder, Late, Doubled, Late, Late, Doubled, InOrder, Doubled
            ]
        );
        assert_eq!(tracker.received(), 7);
    }

    #[test]
    fn gaps_are_bounded() {
        let mut tracker = Tracker::default();
        for n in 0..5_000 {
            tracker.arrived(n * 2 + 1);
        }
        assert_eq!(tracker.gaps.len(), GAPS_MAX);
        assert_eq!(tracker.received(), 5_000);
    }
}
