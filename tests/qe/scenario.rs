//! A worker in JavaScript, one in Python, a page: credentials, workers found, requests, entitlement, Direct.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Block, DOMAIN, Library, OTHER_DOMAIN, START, each_daemon, each_python, jid};
use crate::bridge::service_secret;
use crate::harness::world::new_uid;
use crate::harness::{Account, App, Net};

const JS: &str = "worker.App.dev";
const PYTHON: &str = "pyworker.App.dev";

/// The blocks of the scenario, online.
struct Cast<'a> {
    app: App<'a>,
    owner: Account,
    user: String,
    service: String,
    js: Block,
    python: Block,
    page: Block,
}

fn cast(net: &Net, python: Library) -> Cast<'_> {
    let app = net.app();
    let (owner, user) = (app.account("owner"), new_uid());
    let service = service_secret(net, &user, &app.name);
    let js = Block::worker(net, Library::Js, &app, JS);
    let python = Block::worker(net, python, &app, PYTHON);
    let page = Block::page(net, &service, "webuo1");
    assert_eq!(js.online(), jid(&owner, JS), "kept byte for byte");
    let online = python.wait_within(START, "online", |_| true);
    assert_eq!(online["jid"], jid(&owner, PYTHON));
    assert_eq!(
        (&online["roster"], &online["tls"]),
        (&json!("result"), &json!(true))
    );
    assert_eq!(page.online(), format!("{}-{user}-user@{DOMAIN}/webuo1", app.name));
    // The page is announced to its own user, too.
    let search = json!({"app": app.name, "ownership": "owner"});
    page.find_until(&search, &[jid(&owner, PYTHON), jid(&owner, JS)]);
    Cast {
        app,
        owner,
        user,
        service,
        js,
        python,
        page,
    }
}

/// More than 4096 characters, compressed.
fn long_text() -> String {
    (0..3_000_u32)
        .map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761)))
        .collect()
}

/// An answer came from the worker that was asked, with the same mid; its body.
#[track_caller]
fn answered(reply: &Value, by: &str) -> Value {
    assert_eq!(
        (&reply["target"], &reply["from"]),
        (&json!(by), &json!(by)),
        "{reply}"
    );
    assert_eq!(reply["same"], true, "{reply}");
    reply["body"].clone()
}

#[test]
fn a_page_and_workers_call_one_another_by_chat_messages() {
    each_python(|net, python| {
        let cast = cast(net, python);
        let Cast {
            app,
            owner,
            js,
            python,
            page,
            ..
        } = &cast;
        net.grant(&owner.uid, &app.name, None);
        let text = long_text();
        let sender = |uid: &str, role: &str, resource: &str| json!({"app": app.name, "uid": uid, "role": role, "resource": resource});
        let as_page = sender(&cast.user, "user", "webuo1");
        let multiply = json!({"api": "multiply", "num1": 6, "num2": 7, "text": text});
        let body = answered(&page.api(app, JS, multiply.clone()), &jid(owner, JS));
        assert_eq!(
            (&body["code"], &body["result"], &body["text"]),
            (&json!(0), &json!(42), &json!(text))
        );
        assert_eq!((&body["sender"], &body["same"]), (&as_page, &json!(true)));
        let asked = js.wait("asked", |_| true);
        assert_eq!(asked["type"], "chat");
        assert!(asked["length"].as_u64().unwrap() > 4_096, "{asked}");
        let reverse = json!({"api": "reverse", "text": text});
        let body = answered(&page.api(app, PYTHON, reverse.clone()), &jid(owner, PYTHON));
        let reversed: String = text.chars().rev().collect();
        assert_eq!((&body["result"], &body["sender"]), (&json!(reversed), &as_page));
        let asked = python.wait("asked", |_| true);
        assert!(asked["length"].as_u64().unwrap() > 4_096, "{asked}");
        // Between workers of one account, which is its own customer; Python's messages have no type.
        let body = answered(&python.api(app, JS, multiply), &jid(owner, JS));
        assert_eq!(
            (&body["result"], &body["sender"]),
            (&json!(42), &sender(&owner.uid, "owner", PYTHON))
        );
        assert_eq!(js.wait("asked", |_| true)["type"], Value::Null);
        let body = answered(&js.api(app, PYTHON, reverse), &jid(owner, PYTHON));
        assert_eq!(
            (&body["result"], &body["sender"]),
            (&json!(reversed), &sender(&owner.uid, "owner", JS))
        );
        let ping = json!({"api": "ping"});
        assert_eq!(
            page.api(app, JS, ping.clone())["body"],
            json!({"code": 0, "pong": true})
        );
        assert_eq!(
            page.api(app, PYTHON, ping)["body"],
            json!({"pong": true, "environment": "python"})
        );
        for resource in [JS, PYTHON] {
            assert_eq!(
                page.api(app, resource, json!({"api": "paint"}))["body"]["code"],
                -1000
            );
        }
    });
}

#[test]
fn a_worker_asks_by_http_whether_its_caller_has_a_service() {
    each_python(|net, python| {
        let cast = cast(net, python);
        let Cast { app, owner, page, .. } = &cast;
        let stranger = net.app().account("user");
        let other = Block::page(net, &stranger.secret, "webxo1");
        assert_eq!(other.online(), jid(&stranger, "webxo1"));
        let calls = [
            (JS, json!({"api": "multiply", "num1": 2, "num2": 3})),
            (PYTHON, json!({"api": "reverse", "text": "ab"})),
        ];
        for (resource, members) in &calls {
            let reply = other.api(app, resource, members.clone());
            assert_eq!(
                (&reply["body"]["code"], &reply["jids"]),
                (&json!(-3000), &json!([])),
                "not given a worker"
            );
            // It knows the address all the same.
            let reply = other.call(json!({"to": jid(owner, resource), "members": members}));
            assert_eq!(
                answered(&reply, &jid(owner, resource))["code"],
                -3000,
                "{resource}"
            );
            assert_eq!(page.api(app, resource, members.clone())["body"]["code"], 0);
        }
        net.daemon()
            .cli_json(&["service", "revoke", "--uid", &cast.user, "--app", &app.name]);
        for (resource, members) in calls {
            assert_eq!(page.api(app, resource, members.clone())["jids"], json!([]));
            let reply = page.call(json!({"to": jid(owner, resource), "members": members}));
            assert_eq!(
                answered(&reply, &jid(owner, resource))["code"],
                -3000,
                "{resource}"
            );
        }
        assert_eq!(cast.service.len(), 43, "a derived secret");
    });
}

#[test]
fn who_prefers_its_own_takes_the_first_and_others_the_last_and_the_load_spreads() {
    each_daemon(|net| {
        let app = net.app();
        let accounts = ["owner", "partner", "partner"].map(|role| app.account(role));
        let workers = accounts.each_ref().map(|account| {
            let given = json!({"secret": account.secret, "resource": "w", "public": true});
            Block::start(net, Library::Js, given)
        });
        let [mine, one, other] = accounts.each_ref().map(|account| jid(account, "w"));
        let caller = Block::page(net, &accounts[0].secret, "uservicex7k2");
        for block in workers.iter().chain([&caller]) {
            block.online();
        }
        let mut all = [mine.clone(), one.clone(), other.clone()];
        all.sort_unstable();
        caller.find_until(&json!({"app": app.name, "resource": "w"}), &all);
        let call = |prefers: bool| json!({"app": app.name, "resource": "w", "prioritizeMine": prefers, "members": {"api": "ping"}});
        for _ in 0..3 {
            assert_eq!(answered(&caller.call(call(true)), &mine)["pong"], true);
        }
        let asked: BTreeSet<String> = (0..2)
            .map(|_| caller.call(call(false))["from"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(asked, [one, other].into());
    });
}

#[test]
fn direct_is_a_chat_message_without_mid_or_api() {
    each_python(|net, python| {
        let cast = cast(net, python);
        let Cast {
            owner,
            js,
            python,
            page,
            ..
        } = &cast;
        let page_jid = format!("{}-{}-user@{DOMAIN}/webuo1", cast.app.name, cast.user);
        let members = json!({"event": "moved", "x": 7});
        for (receiver, resource) in [(js, JS), (python, PYTHON)] {
            let to = jid(owner, resource);
            page.command("direct", json!({"to": to, "members": members}));
            page.command("direct", json!({"to": to, "text": "as older ones do: <&>"}));
            for body in [members.clone(), json!("as older ones do: <&>")] {
                let came = receiver.wait("direct", |_| true);
                assert_eq!((&came["from"], &came["type"]), (&json!(page_jid), &json!("chat")));
                assert_eq!(came["body"], body);
            }
        }
        for (sender, resource, kind) in [(js, JS, json!("chat")), (python, PYTHON, Value::Null)] {
            sender.command("direct", json!({"to": page_jid, "members": members}));
            let came = page.wait("direct", |_| true);
            assert_eq!(
                (&came["from"], &came["type"]),
                (&json!(jid(owner, resource)), &kind)
            );
            assert_eq!(came["body"], members);
        }
    });
}

#[test]
fn nothing_bounces_so_that_no_worker_runs_its_own_request_again() {
    each_python(|net, python| {
        let cast = cast(net, python);
        let Cast {
            owner,
            js,
            python,
            page,
            ..
        } = &cast;
        let request = json!({"mid": "a1b2c3d4e5", "api": "multiply", "num1": 1, "num2": 1});
        for worker in [js, python] {
            // Nobody there; and another block answers with an error.
            worker.command("direct", json!({"to": jid(owner, "gone"), "members": request}));
        }
        page.command("error", json!({"to": jid(owner, JS), "members": request}));
        page.command("error", json!({"to": jid(owner, PYTHON), "members": request}));
        for (worker, resource) in [(js, JS), (python, PYTHON)] {
            page.command("direct", json!({"to": jid(owner, resource), "text": "after it"}));
            assert_eq!(worker.wait("direct", |_| true)["body"], "after it");
            assert_eq!(worker.unheard("asked"), Vec::<Value>::new());
        }
    });
}

#[test]
fn two_virtual_domains_are_served_at_once_and_a_worker_sees_its_own() {
    each_python(|net, python| {
        let cast = cast(net, python);
        let Cast { app, owner, .. } = &cast;
        let given =
            json!({"secret": cast.service, "resource": "webuo2", "public": false, "domain": OTHER_DOMAIN});
        let page = Block::start(net, Library::Js, given);
        let own = format!("{}-{}-user@{OTHER_DOMAIN}/webuo2", app.name, cast.user);
        assert_eq!(page.online(), own);
        for (worker, resource, api) in [(&cast.js, JS, "multiply"), (&cast.python, PYTHON, "reverse")] {
            let reply = page.api(
                app,
                resource,
                json!({"api": api, "num1": 6, "num2": 7, "text": "ab"}),
            );
            assert_eq!(reply["body"]["code"], 0, "{reply}");
            assert_eq!(reply["target"], jid(owner, resource), "the first domain's");
            assert_eq!(reply["from"], format!("{}@{OTHER_DOMAIN}/{resource}", owner.name));
            // Workers have their domain written into them, and drop who seems to be of another.
            let asked = worker.wait("asked", |_| true);
            assert_eq!(asked["from"], own.replace(OTHER_DOMAIN, DOMAIN));
        }
    });
}
