//! The built-in app `nexus`: the daemon answers itself, without a service (PROTOCOL 2.5).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::daemon::DOMAIN;
use crate::harness::{Account, Call, Client, each_form, eventually};

fn address(account: &Account, resource: &str) -> String {
    format!("{}@{DOMAIN}/{resource}", account.name)
}

/// The addresses `find` gives.
fn find(client: &Client, question: &Value) -> (i64, Vec<String>) {
    let reply = client.call(&Call::new("nexus", "find").body(question.to_string()));
    let jids = reply.body["jids"].as_array().expect("always an array");
    let jids = jids.iter().map(|jid| jid.as_str().unwrap().to_owned()).collect();
    (reply.code, jids)
}

#[test]
fn ping_is_answered_by_the_daemon() {
    each_form(|net, form| {
        let client = net.connect(form, &net.app().account("user"), "r1");
        let reply = client.call(&Call::new("nexus", "ping"));
        assert_eq!(reply.body, json!({"code": 0, "pong": true}));
    });
}

#[test]
fn whoami_tells_the_sender() {
    each_form(|net, form| {
        let account = net.app().account("user");
        let client = net.connect(form, &account, "Block.1");
        let reply = client.call(&Call::new("nexus", "whoami"));
        assert_eq!(reply.code, 0);
        for (part, value) in [
            ("app", &account.app),
            ("uid", &account.uid),
            ("role", &account.role),
            ("resource", &"Block.1".to_owned()),
        ] {
            assert_eq!(reply.body[part], *value, "{part}");
        }
    });
}

#[test]
fn an_unknown_command_of_nexus_is_not_implemented() {
    each_form(|net, form| {
        let client = net.connect(form, &net.app().account("user"), "r1");
        let reply = client.call(&Call::new("nexus", "fly"));
        reply.assert_failure(-500, "not implemented.");
    });
}

#[test]
fn find_gives_own_workers_first_then_the_others_in_rotating_order() {
    each_form(|net, form| {
        let app = net.app();
        let me = app.customer();
        let (owner, partner, stranger) = (app.account("owner"), app.account("partner"), app.account("user"));
        let workers: Vec<Client> = [
            (&me, "m1"),
            (&owner, "o1"),
            (&owner, "o2"),
            (&partner, "p1"),
            (&stranger, "u1"),
        ]
        .into_iter()
        .map(|(account, resource)| {
            let worker = net.connect(form, account, resource);
            worker.listen("cmd");
            worker
        })
        .collect();
        let requester = net.connect(form, &me, "r1");
        let question = json!({"app": app.name});
        let others: BTreeSet<String> = [
            address(&owner, "o1"),
            address(&owner, "o2"),
            address(&partner, "p1"),
        ]
        .into();
        let mut tails = BTreeSet::new();
        for _ in 0..9 {
            let (code, jids) = find(&requester, &question);
            assert_eq!(code, 0);
            assert_eq!(jids[0], address(&me, "m1"), "the requester's own first");
            let rest: BTreeSet<String> = jids[1..].iter().cloned().collect();
            assert_eq!(
                (rest, jids.len()),
                (others.clone(), 4),
                "visible to the requester only"
            );
            tails.insert(jids[3].clone());
        }
        // All callers turn one wheel: others may have moved it in between.
        assert!(tails.len() >= 2, "the tail rotates: {tails:?}");
        let (_, jids) = find(&requester, &json!({"app": app.name, "resource": "o2"}));
        assert_eq!(jids, [address(&owner, "o2")]);
        let (_, jids) = find(&requester, &json!({"app": app.name, "ownership": "mine"}));
        assert_eq!(jids, [address(&me, "m1")]);
        let (_, jids) = find(&requester, &json!({"app": app.name, "ownership": "owner"}));
        let owners: BTreeSet<String> = jids.into_iter().collect();
        assert_eq!(owners, [address(&owner, "o1"), address(&owner, "o2")].into());
        workers[1].disconnect();
        eventually("live sessions only", || {
            let (_, jids) = find(&requester, &json!({"app": app.name, "resource": "o1"}));
            jids.is_empty()
        });
    });
}

#[test]
fn find_without_a_service_or_without_workers_has_an_empty_list() {
    each_form(|net, form| {
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        let (customer, stranger) = (app.customer(), app.account("user"));
        let entitled = net.connect(form, &customer, "r1");
        let question = json!({"app": app.name});
        let reply = entitled.call(&Call::new("nexus", "find").body(question.to_string()));
        assert_eq!(
            reply.body,
            json!({"code": -2000, "error": "no free worker found.", "jids": []})
        );
        worker.listen("cmd");
        let refused = net.connect(form, &stranger, "s1");
        let reply = refused.call(&Call::new("nexus", "find").body(question.to_string()));
        assert_eq!(
            reply.body,
            json!({"code": -3000, "error": "you dont have active service.", "jids": []})
        );
    });
}
