//! The timer wheel: every timer once, not early, whatever was cancelled.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A point in time, in ticks.
fn ticks(n: u64) -> u64 {
    n * TICK_NS
}

/// The last tick there is.
const END: u64 = u64::MAX / TICK_NS;

fn fired(wheel: &mut Wheel) -> Vec<u64> {
    std::iter::from_fn(|| wheel.pop()).collect()
}

#[test]
fn an_entry_is_thirty_two_bytes() {
    assert_eq!(size_of::<Entry>(), 32);
}

#[test]
fn a_timer_fires_not_before_its_time_and_once() {
    let mut wheel = Wheel::default();
    wheel.insert(ticks(3) + 1, 7);
    wheel.advance(ticks(4) - 1);
    assert_eq!(wheel.pop(), None);
    wheel.advance(ticks(4));
    assert_eq!(fired(&mut wheel), [7]);
    assert!(wheel.is_empty());
}

#[test]
fn a_due_timer_can_still_be_cancelled_until_it_is_popped() {
    let mut wheel = Wheel::default();
    let first = wheel.insert(ticks(1), 1);
    let second = wheel.insert(ticks(1), 2);
    wheel.advance(ticks(2));
    assert_eq!(wheel.pop(), Some(1));
    assert!(!wheel.cancel(first));
    assert!(wheel.cancel(second));
    assert_eq!(wheel.pop(), None);
}

#[test]
fn a_stale_id_does_not_reach_the_timer_in_its_slot() {
    let mut wheel = Wheel::default();
    let stale = wheel.insert(ticks(5), 1);
    assert!(wheel.cancel(stale));
    let heir = wheel.insert(ticks(5), 2);
    assert!(!wheel.cancel(stale));
    assert_eq!(TimerId::from_bits(heir.to_bits()), heir);
    wheel.advance(ticks(5));
    assert_eq!(fired(&mut wheel), [2]);
}

#[test]
fn the_farthest_deadline_and_the_past_are_both_kept() {
    let mut wheel = Wheel::default();
    wheel.advance(ticks(1_000));
    wheel.insert(u64::MAX, 1);
    wheel.insert(0, 2);
    assert_eq!(fired(&mut wheel), [2]);
    wheel.advance(u64::MAX);
    assert!(
        fired(&mut wheel).is_empty(),
        "rounded up to the tick behind the end of time"
    );
    assert_eq!(wheel.len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Cancel(usize),
    Advance(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let span = prop_oneof![0..200u64, 0..100_000u64, 0..1_000_000_000u64, Just(END / 3)];
    let step = prop_oneof![
        4 => span.clone().prop_map(Step::Insert),
        2 => any::<usize>().prop_map(Step::Cancel),
        2 => span.prop_map(Step::Advance),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// Against a sorted map: the same timers fire at every step, ordered by their deadlines.
    #[test]
    fn fires_what_a_sorted_map_would(steps in steps()) {
        let mut wheel = Wheel::default();
        let mut model: BTreeMap<u64, (u64, TimerId)> = BTreeMap::new();
        let mut now = 0;
        for (key, step) in (0u64..).zip(steps) {
            match step {
                Step::Insert(after) => {
                    let due = (now + after).min(END);
                    model.insert(key, (due, wheel.insert(ticks(due), key)));
                }
                Step::Cancel(nth) if !model.is_empty() => {
                    let key = *model.keys().nth(nth % model.len()).unwrap();
                    let (_, id) = model.remove(&key).unwrap();
                    prop_assert!(wheel.cancel(id));
                    prop_assert!(!wheel.cancel(id));
                }
                Step::Cancel(_) => {}
                Step::Advance(by) => {
                    now = (now + by).min(END);
                    wheel.advance(ticks(now));
                    let mut last = 0;
                    while let Some(key) = wheel.pop() {
                        let (due, id) = model.remove(&key).unwrap();
                        prop_assert!(due <= now);
                        prop_assert!(last <= due, "order");
                        prop_assert!(!wheel.cancel(id));
                        last = due;
                    }
                    prop_assert!(model.values().all(|&(due, _)| due > now), "something due was not fired");
                }
            }
            prop_assert_eq!(wheel.len(), model.len());
        }
    }
}
