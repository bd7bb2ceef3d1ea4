//! Which worker a request goes to (PROTOCOL 2.1, Selection; 1, worker).

use std::collections::BTreeMap;

use serde_json::json;

use crate::harness::matrix::{MQTTJS_5, PAHO_5};
use crate::harness::world::new_uid;
use crate::harness::{
    Call, Client, Event, Form, Net, Reply, Request, each_form, each_pair, each_shard_count, eventually,
};

/// Who answered.
fn worker_of(reply: &Reply) -> &str {
    assert_eq!(reply.code, 0, "{reply:?}");
    reply.body["worker"].as_str().unwrap()
}

#[test]
fn the_daemon_balances_on_requests_in_flight() {
    each_pair(|net, asks, works| {
        const CALLS: usize = 40;
        let app = net.app();
        let (one, other) = (app.account("owner"), app.account("partner"));
        let workers = [net.connect(works, &one, "w1"), net.connect(works, &other, "w2")];
        for worker in &workers {
            worker.listen("cmd");
        }
        let requester = net.connect(asks, &app.customer(), "r1");
        let ids: Vec<String> = (0..CALLS).map(|n| format!("c{n}")).collect();
        for id in &ids {
            requester.send_call(id, &Call::new(&app.name, "cmd"));
        }
        let mut given: BTreeMap<usize, usize> = BTreeMap::new();
        let mut requests = Vec::new();
        for _ in 0..CALLS {
            let (place, request) = next_request(&workers);
            *given.entry(place).or_default() += 1;
            requests.push((place, request));
        }
        // None was answered: the one with fewer in flight is chosen of the two.
        assert!(
            given.len() == 2 && given.values().all(|&count| count >= CALLS / 4),
            "{given:?}"
        );
        for (place, request) in &requests {
            workers[*place].answer(request, "{}");
        }
        for id in &ids {
            assert_eq!(requester.reply(id).code, 0);
        }
    });
}

fn next_request(workers: &[Client; 2]) -> (usize, Request) {
    Client::first_of(&[&workers[0], &workers[1]], "request", |_, event| match event {
        Event::Message(message) => Request::new(message.clone()),
        _ => None,
    })
}

#[test]
fn resource_narrows_the_candidates_to_that_resource() {
    each_form(|net, form| {
        let app = net.app();
        let owner = app.account("owner");
        let workers = ["w1", "w2", "W1"].map(|resource| net.connect(form, &owner, resource));
        let workers: Vec<&Client> = workers.iter().collect();
        for worker in &workers {
            worker.listen("cmd");
        }
        let requester = net.connect(form, &app.customer(), "r1");
        for resource in ["w2", "W1", "w1", "w2", "w2"] {
            let call = Call::new(&app.name, "cmd").resource(resource);
            assert_eq!(worker_of(&requester.call_served(&workers, &call)), resource);
        }
        let reply = requester.call(&Call::new(&app.name, "cmd").resource("w3"));
        reply.assert_failure(-2000, "no free worker found.");
    });
}

#[test]
fn not_implemented_means_that_a_fitting_worker_does_not_listen() {
    each_form(|net, form| {
        let app = net.app();
        let owner = app.account("owner");
        let (one, other) = (net.connect(form, &owner, "w1"), net.connect(form, &owner, "w2"));
        one.listen("cmd");
        other.listen("else");
        let requester = net.connect(form, &app.customer(), "r1");
        let reply = requester.call(&Call::new(&app.name, "cmd").resource("w2"));
        reply.assert_failure(-500, "not implemented.");
        let reply = requester.call_served(&[&one, &other], &Call::new(&app.name, "cmd"));
        assert_eq!(
            worker_of(&reply),
            "w1",
            "who listens is found among those who do not"
        );
    });
}

#[test]
fn a_worker_whose_role_is_user_is_offered_to_its_own_uid_alone() {
    each_form(|net, form| {
        let app = net.app();
        let mine = app.customer();
        let worker = net.connect(form, &mine, "w1");
        worker.listen("cmd");
        let stranger = net.connect(form, &app.customer(), "s1");
        let call = Call::new(&app.name, "cmd");
        stranger
            .call(&call)
            .assert_failure(-2000, "no free worker found.");
        let named = Call::new(&app.name, "cmd").resource("w1");
        stranger
            .call(&named)
            .assert_failure(-2000, "no free worker found.");
        let own = net.connect(form, &mine, "r1");
        assert_eq!(worker_of(&own.call_served(&[&worker], &call)), "w1");
        // The same user under an account of another app is still that uid.
        let other = net.app().account_of(&mine.uid, "user");
        let own = net.connect(form, &other, "r2");
        assert_eq!(worker_of(&own.call_served(&[&worker], &call)), "w1");
    });
}

#[test]
fn workers_of_owner_and_partner_are_offered_to_every_entitled_caller() {
    each_form(|net, form| {
        let app = net.app();
        let requester = net.connect(form, &app.customer(), "r1");
        for role in ["owner", "partner"] {
            let worker = net.connect(form, &app.account(role), role);
            worker.listen(role);
            let reply = requester.call_served(&[&worker], &Call::new(&app.name, role));
            assert_eq!(worker_of(&reply), role);
        }
    });
}

#[test]
fn ownership_mine_owner_and_prioritize_mine() {
    each_shard_count(|net| {
        for form in [PAHO_5, MQTTJS_5] {
            ownership_in(net, form);
        }
    });
}

fn ownership_in(net: &Net, form: Form) {
    let app = net.app();
    let uid = new_uid();
    let me = app.account_of(&uid, "user");
    net.grant(&uid, &app.name, None);
    let requester = net.connect(form, &me, "r1");
    let mine = net.connect(form, &me, "mine");
    let owner = net.connect(form, &app.account("owner"), "owner");
    let partner = net.connect(form, &app.account("partner"), "partner");
    let workers = [&mine, &owner, &partner];
    for worker in workers {
        worker.listen("cmd");
    }
    let call = || Call::new(&app.name, "cmd");
    for _ in 0..6 {
        let reply = requester.call_served(&workers, &call().ownership("mine"));
        assert_eq!(worker_of(&reply), "mine");
        let reply = requester.call_served(&workers, &call().ownership("owner"));
        assert_eq!(worker_of(&reply), "owner");
        let reply = requester.call_served(&workers, &call().prioritize_mine());
        assert_eq!(worker_of(&reply), "mine");
    }
    mine.disconnect();
    eventually("none is mine", || {
        requester.call(&call().ownership("mine")).code == -2000
    });
    let reply = requester.call_served(&workers[1..], &call().prioritize_mine());
    assert_ne!(worker_of(&reply), "mine", "falls back to the others");
    owner.disconnect();
    eventually("none is the owner's", || {
        requester.call(&call().ownership("owner")).code == -2000
    });
    let reply = requester.call_served(&[&partner], &call());
    assert_eq!(reply.body, json!({"worker": "partner"}));
}

#[test]
fn an_ownership_nobody_knows_is_a_bad_request() {
    each_shard_count(|net| {
        for form in [PAHO_5, MQTTJS_5] {
            let app = net.app();
            let requester = net.connect(form, &app.customer(), "r1");
            let reply = requester.call(&Call::new(&app.name, "cmd").ownership("everything"));
            assert_eq!(reply.code, -2004, "{reply:?}");
        }
    });
}
