//! What the server sees of where connections go, and of those that do not read.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_types,
    reason = "test helpers"
)]

mod support;

use std::sync::mpsc::Receiver;
use std::time::Duration;

use loadgen::clock::{SECOND_NS, now_ns};
use loadgen::report::Report;
use support::broker::{self, Seen};
use support::load;

/// What the server saw of every connection of a run that is over.
fn seen(ended: &Receiver<Seen>, report: &Report) -> Vec<Seen> {
    let next = |_| ended.recv_timeout(Duration::from_secs(30)).unwrap();
    (0..report.connections).map(next).collect()
}

/// The groups of the topics that `of` names, at each of the two listeners, in order.
fn groups(seen: &[Seen], of: impl Fn(&Seen) -> Vec<String>) -> [Vec<u32>; 2] {
    [0, 1].map(|listener| {
        let here = seen.iter().filter(|seen| seen.listener == listener);
        let number = |topic: String| topic.rsplit('/').next().unwrap().parse().unwrap();
        let mut groups: Vec<u32> = here.flat_map(&of).map(number).collect();
        groups.sort_unstable();
        groups
    })
}

#[test]
fn groups_take_two_listeners_in_turn_and_their_subscribers_the_other_one_across() {
    let even_and_odd = [vec![0, 2], vec![1, 3]];
    for (line, subscribers, publishers) in [
        ("pairs --pairs 4", even_and_odd.clone(), even_and_odd.clone()),
        (
            "pairs --pairs 4 --across",
            [vec![1, 3], vec![0, 2]],
            even_and_odd.clone(),
        ),
        (
            "pairs --pairs 4 --across --threads 2 --version 5 --qos 1",
            [vec![1, 3], vec![0, 2]],
            even_and_odd,
        ),
        ("pairs --pairs 1", [vec![0], vec![]], [vec![0], vec![]]),
        (
            "fanout --subscribers 3 --topics 2 --across",
            [vec![1, 1, 1], vec![0, 0, 0]],
            [vec![0], vec![1]],
        ),
        (
            "fanin --publishers 2 --topics 3",
            [vec![0, 2], vec![1]],
            [vec![0, 0, 2, 2], vec![1, 1]],
        ),
    ] {
        let ([server, other], ended) = broker::start_watched();
        let line = format!("{line} --other-server {other} --window 4 --warmup 0 --duration 0.2");
        let report = load(server, &line).unwrap();
        assert!(report.clean, "{line}: {:?}", report.faults);
        let seen = seen(&ended, &report);
        let found = groups(&seen, |seen| seen.filter.clone().into_iter().collect());
        assert_eq!(found, subscribers, "subscribers, {line}");
        let found = groups(&seen, |seen| seen.published.keys().cloned().collect());
        assert_eq!(found, publishers, "publishers, {line}");
        let messages: u64 = seen.iter().map(|seen| seen.messages).sum();
        assert_eq!(messages, report.latency_us.count, "{line}");
        assert!(messages > 20, "{line}: {report:?}");
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_not_measured() {
    let ([server, _], ended) = broker::start_watched();
    // 16 MB for each subscriber: more than the sockets of both sides hold.
    let line =
        "fanout --subscribers 4 --stalled 1 --payload 80000 --rate 500 --warmup 0 --duration 0.4 --drain 60";
    let began_ns = now_ns();
    let report = load(server, line).unwrap();
    assert!(report.clean, "{:?}", report.faults);
    assert!(now_ns() < began_ns + 40 * SECOND_NS, "it was waited for");
    assert_eq!((report.connections, report.latency_us.count), (5, 3 * 200));
    let seen = seen(&ended, &report);
    let subscribers: Vec<&Seen> = seen.iter().filter(|seen| seen.filter.is_some()).collect();
    assert!(
        subscribers.iter().all(|seen| seen.messages == 200),
        "{subscribers:?}"
    );
    let waiting: Vec<usize> = subscribers.iter().map(|seen| seen.waiting).collect();
    assert_eq!(
        waiting.iter().filter(|waiting| **waiting > 0).count(),
        1,
        "{waiting:?}"
    );
}

#[test]
fn a_closed_loop_waits_for_those_that_read() {
    let ([server, _], ended) = broker::start_watched();
    let line =
        "fanout --subscribers 3 --stalled 2 --topics 2 --window 4 --payload 5000 --warmup 0 --duration 0.4";
    let report = load(server, line).unwrap();
    assert!(report.clean && report.faults.stalls == 0, "{:?}", report.faults);
    let seen = seen(&ended, &report);
    let sent: Vec<u64> = seen
        .iter()
        .flat_map(|seen| seen.published.values())
        .copied()
        .collect();
    assert_eq!(report.latency_us.count, sent.iter().sum::<u64>());
    // If a message were in flight until the silent ones have it, each topic would stand still at its sixth.
    assert!(sent.len() == 2 && sent.iter().all(|sent| *sent > 20), "{sent:?}");
}

#[test]
fn somebody_has_to_read() {
    let line = "fanout --subscribers 2 --stalled 2 --warmup 0 --duration 0.1";
    let said = load(broker::start(), line).unwrap_err();
    assert!(said.contains("--stalled: fewer than --subscribers"), "{said}");
}
