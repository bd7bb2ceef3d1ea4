//! Planned send times of an open loop: a constant rate that no server can slow down.

/// The `index`-th planned time is `start_ns + phase + index / rate`.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start_ns: u64,
    rate_milli_hz: u64,
}

impl Pace {
    /// Sends at `rate_hz` from `start_ns` on, the first one `phase` (0.0..1.0) of an interval later, so that
    /// several threads do not send at the same instants. A rate below 0.001 Hz counts as that.
    pub fn new(start_ns: u64, rate_hz: f64, phase: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturating by definition of `as`, and clamped"
        )]
        let (rate_milli_hz, offset) = {
            let rate_milli_hz = ((rate_hz * 1e3) as u64).max(1);
            (
                rate_milli_hz,
                (phase.clamp(0.0, 1.0) * 1e12 / rate_milli_hz as f64) as u64,
            )
        };
        Self {
            start_ns: start_ns.saturating_add(offset),
            rate_milli_hz,
        }
    }

    /// The planned time of send `index`.
    pub fn planned_ns(&self, index: u64) -> u64 {
        let after = u128::from(index) * 1_000_000_000_000 / u128::from(self.rate_milli_hz);
        self.start_ns
            .saturating_add(u64::try_from(after).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planned_times_do_not_drift() {
        let pace = Pace::new(1_000, 333_333.0, 0.0);
        assert_eq!(pace.planned_ns(0), 1_000);
        assert_eq!(pace.planned_ns(333_333), 1_000 + 1_000_000_000);
        assert_eq!(pace.planned_ns(333_333 * 3_600), 1_000 + 3_600 * 1_000_000_000);
    }

    #[test]
    fn the_phase_shifts_by_a_part_of_the_interval() {
        assert_eq!(Pace::new(0, 1_000.0, 0.5).planned_ns(0), 500_000);
        assert_eq!(Pace::new(0, 0.0, 0.0).planned_ns(1), 1_000_000_000_000);
    }
}
