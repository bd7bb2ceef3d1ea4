//! When the daemon was started: a session that was connected when a crash came lost its connection then, however many
//! crashes follow before its client is back.

use crate::journal::{Journal, Table};
use crate::limits;

const FORMAT: u8 = 4;

/// Points of the calendar at which the daemon was started, in milliseconds, ascending.
///
/// Stored among the sessions under a number that none has: format (1 byte), then the points, 8 bytes each, big endian.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Starts(Vec<u64>);

impl Starts {
    /// The number that it is stored under.
    pub const NUMBER: u64 = 0;

    /// Reads what was stored; `None` if it is damaged.
    pub fn read(row: &[u8]) -> Option<Self> {
        let (&FORMAT, points) = row.split_first()? else {
            return None;
        };
        let (points, []) = points.as_chunks() else {
            return None;
        };
        let starts: Vec<u64> = points.iter().copied().map(u64::from_be_bytes).collect();
        starts.is_sorted().then_some(Self(starts))
    }

    /// The daemon is started now. Beyond [`limits::STARTS_MAX`] one is forgotten: that which is followed by another soonest.
    pub fn begin(&mut self, unix_ms: u64) {
        // The clock may have been set back.
        self.0.retain(|start| *start < unix_ms);
        self.0.push(unix_ms);
        if self.0.len() > limits::STARTS_MAX {
            let gaps = self.0.windows(2).enumerate();
            let gap = |pair: &[u64]| pair.last().zip(pair.first()).map(|(next, one)| next - one);
            if let Some((at, _)) = gaps.min_by_key(|(_, pair)| gap(pair)) {
                self.0.remove(at);
            }
        }
    }

    /// When a session lost its connection that was written down with one at `unix_ms`: the daemon was killed before that.
    /// `None` if it was not started since then.
    pub fn first_after(&self, unix_ms: u64) -> Option<u64> {
        let at = self.0.partition_point(|start| *start <= unix_ms);
        self.0.get(at).copied()
    }

    /// Writes it down.
    pub fn write(&self, journal: &mut Journal) {
        journal.put_with(Table::Sessions, &Self::NUMBER.to_be_bytes(), |row| {
            row.push(FORMAT);
            row.extend(self.0.iter().flat_map(|start| start.to_be_bytes()));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Change;

    fn stored(starts: &Starts) -> Vec<u8> {
        let mut journal = Journal::new();
        starts.write(&mut journal);
        let Some(Change::Put { key, value, .. }) = journal.iter().next() else {
            panic!("nothing was written");
        };
        assert_eq!(key, [0; 8]);
        value.to_vec()
    }

    #[test]
    fn the_first_start_after_a_point_is_found_also_after_later_ones() {
        let mut starts = Starts::default();
        for at in [10, 20, 30] {
            starts = Starts::read(&stored(&starts)).unwrap();
            starts.begin(at);
        }
        for (at, found) in [(5, Some(10)), (10, Some(20)), (29, Some(30)), (30, None)] {
            assert_eq!(starts.first_after(at), found, "{at}");
        }
        starts.begin(15);
        assert_eq!(starts, Starts(vec![10, 15]), "the clock was set back");
    }

    #[test]
    fn of_too_many_starts_the_closest_to_its_successor_is_forgotten() {
        let mut starts = Starts::default();
        let many = u64::try_from(limits::STARTS_MAX).unwrap();
        for n in 1..=many {
            starts.begin(n * 1_000);
        }
        starts.begin(many * 1_000 + 1);
        assert_eq!(starts.0.len(), limits::STARTS_MAX);
        assert_eq!(starts.first_after(0), Some(1_000));
        assert_eq!(starts.first_after(many * 1_000 - 1), Some(many * 1_000 + 1));
    }

    #[test]
    fn damaged_ones_are_nothing() {
        let mut starts = Starts::default();
        starts.begin(10);
        let row = stored(&starts);
        for damaged in [&row[1..], &row[..5], &[], &[&row[..], &[0; 8]].concat()] {
            assert_eq!(Starts::read(damaged), None);
        }
    }
}
