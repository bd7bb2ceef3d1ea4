//! The one test that waits for the clock of the daemon: a worker that never answers (PROTOCOL 2.1).

use std::time::Duration;

use crate::harness::clock::Moment;
use crate::harness::matrix::{CROSS, XMPPJS};
use crate::harness::{Call, Net, parallel};

/// The daemon's own time-out.
const TIMEOUT: Duration = Duration::from_millis(nexus::limits::API_TIMEOUT_MS);
/// A requester waits this long (PROTOCOL 2.1), so that it sees the daemon's outcome and not its library's.
const PATIENCE: Duration = Duration::from_secs(35);

#[test]
fn a_request_nobody_answers_ends_with_408_after_30_seconds() {
    // All cases at once: together they take as long as one.
    parallel(&CROSS, |&works| {
        let net = Net::shared(2);
        let app = net.app();
        let worker = net.connect(works, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(XMPPJS, &app.customer(), "r1");
        let begun = Moment::now();
        requester.send_call("c1", &Call::new(&app.name, "cmd"));
        let request = worker.request();
        let reply = requester.reply_within("c1", PATIENCE);
        let took = begun.elapsed();
        reply.assert_failure(-408, "timeout");
        let properties = &reply.message.properties;
        assert_eq!(properties.text("condition"), Some("remote-server-timeout"));
        assert_eq!(properties.text("type"), Some("wait"));
        assert!(
            took >= TIMEOUT.saturating_sub(Duration::from_secs(1)),
            "too early: {took:?}"
        );
        // Too late for anybody: dropped, and the block that answers is not to blame.
        worker.answer(&request, r#"{"late":true}"#);
        assert_eq!(requester.call(&Call::new("nexus", "ping")).code, 0);
        assert_eq!(worker.call(&Call::new("nexus", "ping")).code, 0);
    });
}
