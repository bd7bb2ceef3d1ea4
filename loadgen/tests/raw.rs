//! Messages without a protocol, against a bare relay that knows connections by their order of arrival.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_types,
    reason = "test helpers"
)]

mod support;

use std::ops::Range;
use std::time::Duration;

use loadgen::report::Report;
use support::{broker, load, relay_among};

const TIMES: &str = "--raw --warmup 0 --duration 0.4";

/// Runs `line` against a relay among `count` connections; its report, and how much each of them said, in the order of their
/// arrival.
fn run(line: &str, count: usize, hears: fn(usize) -> Range<usize>) -> (Report, Vec<u64>) {
    let (server, ended) = relay_among(count, hears);
    let report = load(server, &format!("{line} {TIMES}")).unwrap();
    assert!(report.clean, "{line}: {:?}", report.faults);
    assert_eq!(report.connections, count as u64, "{line}");
    let mut said = vec![0; count];
    for _ in 0..count {
        let (place, messages) = ended.recv_timeout(Duration::from_secs(30)).unwrap();
        said[place] = messages;
    }
    (report, said)
}

#[test]
fn a_fan_out_has_its_subscribers_before_its_publisher() {
    let to_three = |place| if place == 3 { 0..3 } else { 0..0 };
    let (report, said) = run("fanout --subscribers 3 --rate 200", 4, to_three);
    assert_eq!((said, report.latency_us.count), (vec![0, 0, 0, 80], 3 * 80));
}

#[test]
fn each_topic_of_a_fan_out_has_connections_of_its_own() {
    let groups_of_three = |place: usize| match place % 3 {
        2 => place - 2..place,
        _ => 0..0,
    };
    let (report, said) = run("fanout --subscribers 2 --topics 2 --rate 200", 6, groups_of_three);
    assert_eq!(
        (said, report.latency_us.count),
        (vec![0, 0, 40, 0, 0, 40], 2 * 80)
    );
}

#[test]
fn a_fan_in_has_its_subscriber_before_its_publishers() {
    let to_first = |place| if place == 0 { 0..0 } else { 0..1 };
    // More in flight than fits one receive of most relays.
    let (report, said) = run("fanin --publishers 3 --window 50", 4, to_first);
    assert!(
        said[0] == 0 && said[1..].iter().all(|said| *said > 50),
        "{said:?}"
    );
    let sent: u64 = said.iter().sum();
    assert_eq!(report.latency_us.count, sent);
}

#[test]
fn each_topic_of_a_fan_in_has_connections_of_its_own() {
    let groups_of_three = |place: usize| match place % 3 {
        0 => 0..0,
        _ => place - place % 3..place - place % 3 + 1,
    };
    let (report, said) = run("fanin --publishers 2 --topics 2 --rate 200", 6, groups_of_three);
    assert_eq!((said, report.latency_us.count), (vec![0, 20, 20, 0, 20, 20], 80));
}

#[test]
fn a_worker_answers_the_requester_that_came_so_much_later() {
    let facing = |place: usize| (place + 2) % 4..(place + 2) % 4 + 1;
    let line = "api --requesters 2 --workers 2 --rate 200";
    let (report, said) = run(line, 4, facing);
    assert_eq!((said, report.latency_us.count), (vec![40; 4], 80));
    let (report, said) = run("api --requesters 2 --workers 2 --window 8", 4, facing);
    assert!(said[2] > 8 && said[3] > 8, "{said:?}");
    assert_eq!(said[..2], said[2..], "one answer for each request");
    assert_eq!(report.latency_us.count, said[2] + said[3]);
}

#[test]
fn a_raw_request_holds_its_numbers() {
    let said = load(broker::start(), &format!("api --payload 63 {TIMES}")).unwrap_err();
    assert!(said.contains("--payload 63") && said.contains("64"), "{said}");
}
