//! How often a payload is copied between the receive buffer and the send queues: the table in ARCHITECTURE.md. With the
//! allocation gate (nothing else is allocated on the way) what is counted here is all that there is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failed expectation is a failed test"
)]

use nexus_bench::work::Work;

/// Much longer than all that is around it, so that a quotient of bytes is a number of copies.
const PAYLOAD_BYTES: usize = 4_000;
const MESSAGES: usize = 100;

/// Copies of a payload on its way: into queues of one connection, into frames that are shared, into parcels.
fn copies(name: &str) -> [u64; 3] {
    let mut work = Work::named(name, PAYLOAD_BYTES).expect("there is such work");
    // Buffers have grown, parcels have been given back.
    work.repeat(10);
    let (before, parcelled) = work.world().copied();
    work.repeat(MESSAGES);
    let (after, parcelled_after) = work.world().copied();
    [
        after.private - before.private,
        after.shared - before.shared,
        parcelled_after - parcelled,
    ]
    .map(|bytes| {
        let each = bytes / MESSAGES as u64;
        let (copies, around) = (each / PAYLOAD_BYTES as u64, each % PAYLOAD_BYTES as u64);
        let most = 500 * (copies + 1);
        assert!(
            around < most,
            "{name}: {each} bytes a message are no multiple of its payload"
        );
        copies
    })
}

#[test]
fn a_payload_is_copied_as_often_as_documented() {
    let documented = [
        ("mqtt", [1, 0, 0]),
        ("mqtt-5", [1, 0, 0]),
        ("mqtt-ws", [1, 0, 0]),
        ("mqtt-to-100", [0, 1, 0]),
        ("mqtt-5-to-100", [0, 1, 0]),
        ("mqtt-across", [1, 0, 1]),
        ("mqtt-across-to-100", [0, 1, 1]),
        ("xmpp", [0, 1, 0]),
        ("xmpp-to-100", [0, 1, 0]),
        ("xmpp-across", [0, 1, 1]),
        ("mqtt-to-xmpp", [0, 1, 0]),
        ("xmpp-to-mqtt", [1, 0, 0]),
        ("mqtt-qos1", [1, 0, 0]),
        ("api-mqtt", [2, 0, 0]),
        ("api-xmpp-to-mqtt", [2, 0, 0]),
    ];
    let counted: Vec<_> = Work::names().map(|name| (name, copies(name))).collect();
    assert_eq!(counted, documented);
}
