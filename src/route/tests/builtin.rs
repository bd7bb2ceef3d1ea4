//! The app `nexus` (PROTOCOL 2.5).

use serde_json::{Value, json};

use crate::route::testing::*;
use crate::route::*;

fn ask(net: &mut Net, from: Block, cmd: &str, body: &str) -> (i32, Value) {
    let request = ApiRequest {
        app: "nexus",
        body: body.as_bytes(),
        ..call(cmd, b"l")
    };
    net.request(from, &request);
    match net.got_one(from) {
        Got::Reply {
            code,
            body,
            label,
            sender,
        } => {
            assert_eq!((label.as_slice(), sender), (&b"l"[..], None));
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["code"], code);
            (code, body)
        }
        other => panic!("{other:?}"),
    }
}

fn jids(net: &mut Net, from: Block, body: &str) -> Vec<String> {
    let (code, body) = ask(net, from, "find", body);
    let jids: Vec<String> = serde_json::from_value(body["jids"].clone()).unwrap();
    assert_eq!(code, if jids.is_empty() { -2000 } else { 0 });
    jids.into_iter()
        .map(|jid| {
            let (account, rest) = jid.split_once('@').unwrap();
            let (domain, resource) = rest.split_once('/').unwrap();
            assert_eq!(domain, "nexus.example");
            assert!(account.starts_with("etest-"));
            resource.to_owned()
        })
        .collect()
}

#[test]
fn p2_5_ping_and_whoami_need_no_service() {
    on_any_shards(|mut net| {
        let block = net.block(&account("web", 1, "user"), "a\"\\b");
        assert_eq!(
            ask(&mut net, block, "ping", "").1,
            json!({"code": 0, "pong": true})
        );
        let who = json!({
            "code": 0, "app": "web", "uid": format!("{:024x}", 1), "role": "user", "resource": "a\"\\b",
            "jid": format!("{}@nexus.example/a\"\\b", account("web", 1, "user")),
        });
        assert_eq!(ask(&mut net, block, "whoami", "{}").1, who);
    });
}

#[test]
fn p2_5_other_commands_are_not_implemented() {
    on_any_shards(|mut net| {
        let block = net.block(&account("web", 1, "user"), "a");
        assert_eq!(ask(&mut net, block, "reboot", "").0, -500);
    });
}

#[test]
fn p2_5_find_names_own_workers_first_and_only_what_the_requester_sees() {
    on_any_shards(|mut net| {
        net.worker(&account("etest", 1, "owner"), "o1", "a");
        net.worker(&account("etest", 3, "partner"), "p3", "b");
        net.worker(&account("etest", 3, "user"), "u3", "b");
        net.worker(&account("etest", 2, "user"), "u2", "b");
        net.worker(&account("etest", 2, "owner"), "o2", "b");
        let caller = net.caller(2);
        let all = jids(&mut net, caller, r#"{"app":"etest"}"#);
        let (own, mut others) = (all[..2].to_vec(), all[2..].to_vec());
        others.sort();
        assert_eq!(
            (own, others),
            (vec!["o2".into(), "u2".into()], vec!["o1".into(), "p3".into()])
        );
        assert_eq!(
            jids(&mut net, caller, r#"{"app":"etest","resource":"p3"}"#),
            ["p3"]
        );
        assert_eq!(
            jids(&mut net, caller, r#"{"app":"etest","ownership":"mine"}"#),
            ["o2", "u2"]
        );
        assert_eq!(
            jids(&mut net, caller, r#"{"app":"etest","ownership":"owner"}"#),
            ["o2", "o1"]
        );
        assert!(jids(&mut net, caller, r#"{"app":"etest","resource":"u3"}"#).is_empty());
    });
}

#[test]
fn p2_5_find_names_the_others_in_rotating_order() {
    on_any_shards(|mut net| {
        for n in 0..4 {
            net.worker(&account("etest", 1, "owner"), &format!("w{n}"), "a");
        }
        let caller = net.caller(2);
        let mut first: Vec<_> = (0..4)
            .map(|_| jids(&mut net, caller, r#"{"app":"etest"}"#)[0].clone())
            .collect();
        first.sort();
        assert_eq!(first, ["w0", "w1", "w2", "w3"]);
    });
}

#[test]
fn p2_5_find_names_live_workers_alone() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "w", "a");
        let caller = net.caller(2);
        assert_eq!(jids(&mut net, caller, r#"{"app":"etest"}"#), ["w"]);
        net.leave(worker);
        net.run();
        assert!(jids(&mut net, caller, r#"{"app":"etest"}"#).is_empty());
    });
}

#[test]
fn p2_5_find_without_a_service_is_refused_with_an_empty_list() {
    on_any_shards(|mut net| {
        net.worker(&account("etest", 1, "owner"), "w", "a");
        let stranger = net.block(&account("web", 3, "user"), "x");
        let (code, body) = ask(&mut net, stranger, "find", r#"{"app":"etest"}"#);
        let error = "you dont have active service.";
        assert_eq!(
            (code, body),
            (-3000, json!({"code": -3000, "error": error, "jids": []}))
        );
        let caller = net.caller(2);
        let (code, body) = ask(&mut net, caller, "find", r#"{"app":"etest","resource":"x"}"#);
        let error = "no free worker found.";
        assert_eq!(
            (code, body),
            (-2000, json!({"code": -2000, "error": error, "jids": []}))
        );
    });
}

#[test]
fn p2_5_find_refuses_a_body_it_does_not_understand() {
    on_any_shards(|mut net| {
        let caller = net.caller(2);
        for body in [
            "",
            r#"{"app":7}"#,
            r#"{"app":"Etest"}"#,
            r#"{"app":"etest","resource":"a/b"}"#,
            r#"{"app":"etest","ownership":"all"}"#,
        ] {
            assert_eq!(ask(&mut net, caller, "find", body).0, -2004, "{body}");
        }
    });
}

#[test]
fn p2_5_find_fits_into_a_body() {
    let mut net = Net::new(1);
    for n in 0..2_000 {
        net.worker(&account("etest", 1, "owner"), &format!("{n:0>128}"), "a");
    }
    let caller = net.caller(2);
    let found = jids(&mut net, caller, r#"{"app":"etest"}"#).len();
    assert!((1_000..2_000).contains(&found), "{found}");
}
