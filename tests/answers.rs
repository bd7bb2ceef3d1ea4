//! Answers that do not count: from the wrong session, twice, late, with a guessed token (PROTOCOL 2.1); and the
//! time-out. Each daemon is the test's own: the counters are read.

use std::time::Duration;

use crate::harness::clock::Moment;
use crate::harness::matrix::SHARD_COUNTS;
use crate::harness::{Call, Client, FORMS, Form, Net, Options, Publish, Request, http, parallel};

/// Each shard count with each form.
fn cases() -> Vec<(usize, Form)> {
    SHARD_COUNTS
        .iter()
        .flat_map(|&shards| FORMS.iter().map(move |&form| (shards, form)))
        .collect()
}

/// Answers dropped so far, whatever the reason.
fn answers_dropped(net: &Net) -> u64 {
    ["late", "unknown_token", "wrong_session"]
        .iter()
        .map(|reason| http::drops(net.daemon().http, "answer", reason))
        .sum()
}

/// Publishes an answer and waits until the daemon has taken it.
fn answer_acked(client: &Client, request: &Request, body: &str) {
    client.publish_acked(Publish::new(&request.answer_topic, body));
}

#[track_caller]
fn assert_silent(client: &Client) {
    let unmatched = client.take_unmatched();
    assert!(unmatched.is_empty(), "nothing else came: {unmatched:?}");
}

#[test]
fn a_reply_is_accepted_only_from_the_session_that_was_asked() {
    parallel(&cases(), |&(shards, form)| {
        let net = Net::start(&Options::shards(shards));
        let app = net.app();
        let owner = app.account("owner");
        let customer = app.customer();
        let worker = net.connect(form, &owner, "w1");
        worker.listen("cmd");
        let colleague = net.connect(form, &owner, "w2");
        colleague.listen("other");
        let requester = net.connect(form, &customer, "r1");
        requester.send_call("c1", &Call::new(&app.name, "cmd"));
        let request = worker.request();
        answer_acked(&colleague, &request, r#"{"from":"colleague"}"#);
        answer_acked(&requester, &request, r#"{"from":"requester"}"#);
        assert_eq!(answers_dropped(&net), 2);
        answer_acked(&worker, &request, r#"{"from":"worker"}"#);
        assert_eq!(requester.reply("c1").body["from"], "worker");
        assert_eq!(requester.call(&Call::new("nexus", "ping")).code, 0);
        assert_silent(&requester);
    });
}

#[test]
fn a_second_answer_is_dropped_and_counted() {
    parallel(&cases(), |&(shards, form)| {
        let net = Net::start(&Options::shards(shards));
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(form, &app.customer(), "r1");
        requester.send_call("c1", &Call::new(&app.name, "cmd"));
        let request = worker.request();
        answer_acked(&worker, &request, r#"{"answer":1}"#);
        answer_acked(&worker, &request, r#"{"answer":2}"#);
        assert_eq!(requester.reply("c1").body["answer"], 1);
        // A further exchange: what was to come of the second answer has come by then.
        requester.send_call("c2", &Call::new(&app.name, "cmd"));
        let next = worker.request();
        assert_ne!(
            next.answer_topic, request.answer_topic,
            "each request has its own token"
        );
        answer_acked(&worker, &next, r#"{"answer":3}"#);
        assert_eq!(requester.reply("c2").body["answer"], 3);
        assert_silent(&requester);
        assert_eq!(answers_dropped(&net), 1);
    });
}

#[test]
fn a_guessed_token_is_dropped_and_counted() {
    parallel(&cases(), |&(shards, form)| {
        let net = Net::start(&Options::shards(shards));
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(form, &app.customer(), "r1");
        requester.send_call("c1", &Call::new(&app.name, "cmd"));
        let request = worker.request();
        let token = request.answer_topic.rsplit('/').next().unwrap();
        // 128 bits, however they are written: the neighbour of a true token is none.
        assert!(token.len() >= 22, "{token}");
        let mut guess = token.to_owned();
        let last = guess.pop().unwrap();
        guess.push(if last == '0' { '1' } else { '0' });
        let topic = format!("$nexus/answer/{guess}");
        worker.publish_acked(Publish::new(&topic, r#"{"from":"guess"}"#));
        http::await_drops(net.daemon().http, "answer", "unknown_token", 1);
        answer_acked(&worker, &request, r#"{"from":"worker"}"#);
        assert_eq!(requester.reply("c1").body["from"], "worker");
        assert_silent(&requester);
    });
}

#[test]
fn the_timeout_comes_30_s_after_the_daemon_took_the_request_and_a_late_answer_is_dropped() {
    parallel(&cases(), |&(shards, form)| {
        let net = Net::start(&Options::shards(shards));
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(form, &app.customer(), "r1");
        let begun = Moment::now();
        requester.send_call("c1", &Call::new(&app.name, "cmd"));
        let request = worker.request();
        let taken = Moment::now();
        let reply = requester.reply_within("c1", Duration::from_secs(40));
        let (earliest, latest) = (taken.elapsed(), begun.elapsed());
        reply.assert_failure(-408, "timeout");
        assert!(
            latest >= Duration::from_millis(29_900),
            "not before 30 s: {latest:?}"
        );
        assert!(
            earliest <= Duration::from_millis(31_500),
            "30 s and a wheel tick: {earliest:?}"
        );
        answer_acked(&worker, &request, r#"{"answer":"late"}"#);
        requester.send_call("c2", &Call::new(&app.name, "cmd"));
        answer_acked(&worker, &worker.request(), r#"{"answer":"in time"}"#);
        assert_eq!(requester.reply("c2").body["answer"], "in time");
        assert_silent(&requester);
        assert_eq!(answers_dropped(&net), 1);
    });
}
