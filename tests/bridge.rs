//! The QE bridge: credentials, workers and services over HTTP (PROTOCOL 5 and 6), asked without any client library,
//! and with what QE's web clients use.

mod announced;
mod bounds;
mod documented;
mod hostile;
mod token;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::clock::{Deadline, PATIENCE};
use crate::harness::daemon::DOMAIN;
use crate::harness::native::full_jid;
use crate::harness::world::{new_uid, text};
use crate::harness::xmpp::XmppSocket;
use crate::harness::{Account, Net, Options, packages, parallel};

pub(crate) const CREDENTIALS: &str = "/api/bridge/worker/service";
pub(crate) const FIND: &str = "/api/bridge/worker/findfreeresource";
pub(crate) const BY_SECRET: &str = "/api/service/getbysecret";
pub(crate) const LIVE: &str = "/api/service/hasaliveservice";

/// A daemon with the bridge.
fn start(shards: usize) -> Net {
    Net::start(&Options::shards(shards).config("[listen]\nbridge = \"127.0.0.1:0\"\n"))
}

/// Where the bridge of a daemon listens.
pub(crate) fn bridge(net: &Net) -> SocketAddr {
    net.daemon().address("bridge")
}

/// Status, header fields in lower case, and body of what is answered to these bytes.
#[track_caller]
pub(crate) fn exchange(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).expect("a status").parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

/// A request that asks for the end of the connection.
pub(crate) fn request(method: &str, path: &str, fields: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\nContent-Length: {}\r\n{fields}\r\n{body}",
        body.len()
    )
}

#[track_caller]
pub(crate) fn post(address: SocketAddr, path: &str, members: &Value) -> (u16, Value) {
    let (status, head, body) = exchange(address, &request("POST", path, "", &members.to_string()));
    assert!(head.contains("\r\naccess-control-allow-origin: *"), "{head}");
    assert!(head.contains("\r\ncache-control: no-store"), "{head}");
    let answer = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
    (status, answer)
}

/// The answer to what the endpoints decide, whose status is always 200.
#[track_caller]
pub(crate) fn ask(net: &Net, path: &str, members: &Value) -> Value {
    let (status, answer) = post(bridge(net), path, members);
    assert_eq!(status, 200, "{path} {members}: {answer}");
    answer
}

/// The secret of an app.
pub(crate) fn explore_secret(net: &Net, app: &str) -> String {
    text(&net.daemon().cli_json(&["secret", "explore", app]), "secret")
}

/// A service granted, and its secret.
pub(crate) fn service_secret(net: &Net, uid: &str, app: &str) -> String {
    net.grant(uid, app, None);
    let issued = net
        .daemon()
        .cli_json(&["secret", "service", "--uid", uid, "--app", app]);
    text(&issued, "secret")
}

/// The code and the JIDs of a search.
#[track_caller]
fn find(net: &Net, members: &Value) -> (i64, Vec<String>) {
    let answer = ask(net, FIND, members);
    let jids = answer["jids"].as_array().expect("jids is an array");
    let jids = jids.iter().map(|jid| jid.as_str().unwrap().to_owned());
    (answer["code"].as_i64().unwrap(), jids.collect())
}

/// Searches until it comes to this, in any order.
#[track_caller]
fn find_until(net: &Net, members: &Value, wanted: &[String]) {
    let wanted: BTreeSet<String> = wanted.iter().cloned().collect();
    let deadline = Deadline::patient();
    loop {
        let (code, jids) = find(net, members);
        let jids: BTreeSet<String> = jids.into_iter().collect();
        if jids == wanted {
            assert_eq!(code, if jids.is_empty() { -2000 } else { 0 });
            return;
        }
        assert!(!deadline.passed(), "{code} {jids:?}, not {wanted:?}");
        // Within the rate of one address.
        let _pace = crossbeam::channel::after(Duration::from_millis(20)).recv();
    }
}

/// An announced worker of an account, connected.
fn worker(net: &Net, account: &Account, resource: &str, public: bool) -> XmppSocket {
    let members = json!({"secret": account.secret, "resource": resource, "public": public});
    assert_eq!(ask(net, CREDENTIALS, &members)["code"], 0);
    XmppSocket::login(net.daemon().ws, account, resource)
}

#[test]
fn without_an_address_there_is_no_bridge() {
    let net = Net::start(&Options::shards(1));
    assert!(net.daemon().ready["listen"].get("bridge").is_none());
}

#[test]
fn credentials_stay_the_same_until_they_are_revoked() {
    let net = start(1);
    let app = net.app();
    let owner = app.account("owner");
    let explore = explore_secret(&net, &app.name);
    let members = json!({"secret": explore, "image": "none", "resource": "w1", "public": true});
    let expected = json!({
        "code": 0, "app": app.name, "uid": owner.uid, "role": "owner", "user": owner.name, "password": owner.secret
    });
    for _ in 0..2 {
        assert_eq!(ask(&net, CREDENTIALS, &members), expected);
    }
    assert_eq!(ask(&net, CREDENTIALS, &json!({"secret": owner.secret})), expected);
    let id = net.daemon().cli_json(&["secret", "list"]);
    let id = id
        .as_array()
        .unwrap()
        .iter()
        .find(|secret| secret["subject"] == owner.name);
    let id = id.expect("the owner's secret")["id"].to_string();
    net.daemon().cli_json(&["secret", "revoke", &id]);
    let renewed = ask(&net, CREDENTIALS, &members);
    assert_eq!(
        (&renewed["code"], &renewed["user"]),
        (&json!(0), &json!(owner.name))
    );
    assert_ne!(renewed["password"], owner.secret);
    let old = ask(&net, CREDENTIALS, &json!({"secret": owner.secret}));
    assert_eq!(
        old,
        json!({"code": -3000, "error": "you dont have active service."})
    );
    let renewed = Account {
        secret: text(&renewed, "password"),
        ..owner
    };
    XmppSocket::login(net.daemon().ws, &renewed, "w1").assert_alive();
}

#[test]
fn services_are_named_by_their_secret_and_by_their_explore() {
    let net = start(1);
    let app = net.app();
    app.account("owner");
    let (user, explore) = (new_uid(), explore_secret(&net, &app.name));
    let lives = json!({"exploresecret": explore, "uid": user});
    assert_eq!(ask(&net, LIVE, &lives)["code"], -3000);
    let secret = service_secret(&net, &user, &app.name);
    let live = ask(&net, LIVE, &lives);
    assert_eq!((&live["code"], &live["secret"]), (&json!(0), &json!(secret)));
    let named = ask(&net, BY_SECRET, &json!({"servicesecret": secret, "uid": user}));
    assert_eq!(named, json!({"code": 0, "servid": live["servid"]}));
    let other = ask(
        &net,
        BY_SECRET,
        &json!({"servicesecret": secret, "uid": new_uid()}),
    );
    assert_eq!(other["code"], -3000);
    let credentials = ask(&net, CREDENTIALS, &json!({"secret": secret}));
    assert_eq!(credentials["user"], format!("{}-{user}-user", app.name));
    net.daemon()
        .cli_json(&["service", "revoke", "--uid", &user, "--app", &app.name]);
    for (path, members) in [
        (LIVE, lives),
        (BY_SECRET, json!({"servicesecret": secret, "uid": user})),
        (CREDENTIALS, json!({"secret": secret})),
    ] {
        assert_eq!(ask(&net, path, &members)["code"], -3000, "{path}");
    }
}

#[test]
fn live_workers_are_found_own_first_and_the_others_in_turn() {
    parallel(&[1, 2], |&shards| {
        let net = start(shards);
        let app = net.app();
        let owners = [0; 4].map(|_| app.account("owner"));
        let jid = |n: usize| full_jid(&owners[n], "w");
        let search = json!({"app": app.name, "secret": owners[0].secret});
        assert_eq!(find(&net, &search), (-2000, vec![]));
        let mut workers = [0, 1, 2, 3].map(|n| worker(&net, &owners[n], "w", true));
        // Live, but announced to its own user alone; announced, but not live; live, but not announced.
        let _closed = worker(&net, &owners[1], "closed", false);
        let members = json!({"secret": owners[2].secret, "resource": "gone", "public": true});
        assert_eq!(ask(&net, CREDENTIALS, &members)["code"], 0);
        let _page = XmppSocket::login(net.daemon().ws, &owners[2], "page");
        find_until(&net, &search, &[jid(0), jid(1), jid(2), jid(3)]);
        let mut last = BTreeSet::new();
        for _ in 0..3 {
            let (_, jids) = find(&net, &search);
            assert_eq!((jids.len(), &jids[0]), (4, &jid(0)));
            last.insert(jids[3].clone());
        }
        assert_eq!(last, BTreeSet::from([jid(1), jid(2), jid(3)]));
        let with = |name: &str, value: Value| {
            let mut search = search.clone();
            search[name] = value;
            search
        };
        for mine in [with("ownership", json!("mine")), with("onlymine", json!(true))] {
            assert_eq!(find(&net, &mine), (0, vec![jid(0)]));
        }
        assert_eq!(find(&net, &with("resource", json!("page"))), (-2000, vec![]));
        assert_eq!(find(&net, &with("onlyowner", json!(true))).1.len(), 4);
        workers[3].send("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
        find_until(&net, &search, &[jid(0), jid(1), jid(2)]);
        let stranger = net.app().account("owner");
        let members = json!({"app": app.name, "secret": stranger.secret});
        assert_eq!(find(&net, &members), (-3000, vec![]));
        net.grant(&stranger.uid, &app.name, None);
        assert_eq!(find(&net, &members).1.len(), 3);
    });
}

#[test]
fn an_announcement_without_a_resource_is_of_every_block_and_of_a_user_for_that_user_alone() {
    parallel(&[1, 2], |&shards| {
        let net = start(shards);
        let app = net.app();
        let (owner, user) = (app.account("owner"), new_uid());
        let secret = service_secret(&net, &user, &app.name);
        let members = json!({"secret": secret, "public": true});
        let credentials = ask(&net, CREDENTIALS, &members);
        let account = Account {
            app: app.name.clone(),
            uid: user,
            role: "user".to_owned(),
            name: text(&credentials, "user"),
            secret: text(&credentials, "password"),
        };
        let _blocks = ["A.1", "b"].map(|resource| XmppSocket::login(net.daemon().ws, &account, resource));
        let both = ["A.1", "b"].map(|resource| full_jid(&account, resource));
        find_until(&net, &json!({"app": app.name, "secret": secret}), &both);
        let one = json!({"app": app.name, "secret": secret, "resource": "b"});
        assert_eq!(find(&net, &one), (0, vec![both[1].clone()]));
        let others = json!({"app": app.name, "secret": owner.secret});
        assert_eq!(find(&net, &others), (-2000, vec![]));
    });
}

#[test]
fn what_was_announced_outlives_the_daemon() {
    let config = "[listen]\nbridge = \"127.0.0.1:0\"\n";
    let options = Options::shards(1).config(config);
    let mut net = Net::start(&options);
    let owner = net.app().account("owner");
    drop(worker(&net, &owner, "w", true));
    net.crash(&options);
    // It connects again with what it got before, and fetches nothing.
    let _worker = XmppSocket::login(net.daemon().ws, &owner, "w");
    let search = json!({"app": owner.app, "secret": owner.secret});
    find_until(&net, &search, &[full_jid(&owner, "w")]);
}

#[test]
fn clients_of_qe_find_a_worker_by_http_and_call_it_by_chat() {
    let net = start(2);
    let app = net.app();
    let (owner, user) = (app.account("owner"), new_uid());
    let given = json!({
        "bridge": bridge(&net).to_string(),
        "ws": net.daemon().ws.to_string(),
        "domain": DOMAIN,
        "app": app.name,
        "explore": explore_secret(&net, &app.name),
        "service": service_secret(&net, &user, &app.name),
        "origin": "http://page.example",
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/bridge_flow.js");
    let output = Command::new("node")
        .arg(script)
        .arg(packages::node_packages())
        .arg(given.to_string())
        .stdin(Stdio::null())
        .output()
        .expect("node");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let came: Value = serde_json::from_str(&told).unwrap();
    let jid = full_jid(&owner, "w1.App.dev");
    assert_eq!(came["worker"]["user"], owner.name);
    assert_eq!(came["page"]["user"], format!("{}-{user}-user", app.name));
    assert_eq!(came["found"], json!({"code": 0, "jids": [jid]}));
    let answer = json!({"from": jid, "code": 0, "result": 42, "mid": "a1b2c3d4e5"});
    assert_eq!(came["answer"], answer);
    let nobody = json!({"code": -2000, "error": "no free worker found.", "jids": []});
    assert_eq!(came["after"], nobody);
}
