//! Medians with their range, and ratios within one round.

use serde::Serialize;
use serde_json::Value;

/// Median, least and greatest of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// Median; of an even number the mean of the middle two.
    pub(crate) median: f64,
    /// Least.
    pub(crate) min: f64,
    /// Greatest.
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of no values.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Self {
            median: (lower + upper) / 2.0,
            min,
            max,
        })
    }
}

/// One measured quantity of a load generator's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    /// Heading.
    pub(crate) name: &'static str,
    /// Where it stands in the report.
    pub(crate) path: &'static str,
    /// Digits after the point.
    pub(crate) digits: usize,
}

/// Those of a row about work: the first of those about the slowest.
pub(crate) const WORK: &[Metric] = TAIL.split_at(4).0;

/// Those of a row about the slowest.
pub(crate) const TAIL: &[Metric] = &[
    Metric {
        name: "CPU us/unit",
        path: "/server/cpu_us_per_unit",
        digits: 3,
    },
    Metric {
        name: "units/s",
        path: "/done_per_s",
        digits: 0,
    },
    Metric {
        name: "p50 us",
        path: "/latency_us/p50",
        digits: 0,
    },
    Metric {
        name: "p99 us",
        path: "/latency_us/p99",
        digits: 0,
    },
    Metric {
        name: "p99.9 us",
        path: "/latency_us/p99_9",
        digits: 0,
    },
    Metric {
        name: "p99.99 us",
        path: "/latency_us/p99_99",
        digits: 0,
    },
    Metric {
        name: "VmRSS B",
        path: "/server/resident_after_bytes",
        digits: 0,
    },
];

/// Those of a row about memory.
pub(crate) const MEMORY: &[Metric] = &[
    Metric {
        name: "VmRSS B/conn",
        path: "/server/resident_bytes_per_connection",
        digits: 0,
    },
    Metric {
        name: "B/further conn",
        path: "/server/resident_bytes_per_further_connection",
        digits: 0,
    },
];

/// Those of a row about becoming ready.
pub(crate) const READINESS: &[Metric] = &[
    Metric {
        name: "ready/s",
        path: "/ready_per_s",
        digits: 0,
    },
    Metric {
        name: "s for all",
        path: "/setup_s",
        digits: 2,
    },
    Metric {
        name: "CPU us/conn",
        path: "/server/cpu_us_per_connection",
        digits: 1,
    },
    Metric {
        name: "VmRSS B/conn",
        path: "/server/resident_bytes_per_connection",
        digits: 0,
    },
];

impl Metric {
    /// Its value in each round; rounds without a report or value are `None`.
    pub(crate) fn values(&self, rounds: &[Option<Value>]) -> Vec<Option<f64>> {
        rounds
            .iter()
            .map(|report| report.as_ref()?.pointer(self.path)?.as_f64())
            .collect()
    }

    /// Its spread over the rounds.
    pub(crate) fn spread(&self, rounds: &[Option<Value>]) -> Option<Spread> {
        let values: Vec<f64> = self.values(rounds).into_iter().flatten().collect();
        Spread::of(&values)
    }

    /// The spread of `of` divided by `by`, each round by itself: what slows a whole round down cancels out.
    pub(crate) fn ratio(&self, of: &[Option<Value>], by: &[Option<Value>]) -> Option<Spread> {
        let pairs = self.values(of).into_iter().zip(self.values(by));
        let ratios: Vec<f64> = pairs
            .filter_map(|(of, by)| Some(of? / by.filter(|by| *by != 0.0)?))
            .collect();
        Spread::of(&ratios)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(
            Spread::of(&[3.0, 1.0, 2.0]),
            Some(Spread {
                median: 2.0,
                min: 1.0,
                max: 3.0
            })
        );
        assert_eq!(
            Spread::of(&[4.0, 1.0]),
            Some(Spread {
                median: 2.5,
                min: 1.0,
                max: 4.0
            })
        );
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let report = |cpu: f64| Some(json!({ "server": { "cpu_us_per_unit": cpu } }));
        let ours = [report(1.0), report(20.0), None];
        let theirs = [report(2.0), report(40.0), report(1.0)];
        let ratio = WORK[0].ratio(&ours, &theirs).unwrap();
        assert_eq!(
            ratio,
            Spread {
                median: 0.5,
                min: 0.5,
                max: 0.5
            }
        );
    }

    #[test]
    fn the_metrics_are_where_the_load_generator_writes_them() {
        let latency = json!({ "p50": 1.0, "p99": 2.0 });
        let server = json!({
            "cpu_us_per_unit": 3.0,
            "resident_bytes_per_connection": 4.0,
            "resident_bytes_per_further_connection": 5.0
        });
        let rounds = [Some(
            json!({ "done_per_s": 6.0, "latency_us": latency, "server": server }),
        )];
        for metric in WORK.iter().chain(MEMORY) {
            assert!(metric.spread(&rounds).is_some(), "{}", metric.name);
        }
    }
}
