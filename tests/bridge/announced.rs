//! A block that was announced by the bridge is a worker to native callers (PROTOCOL 1): one that implements nothing.

use serde_json::json;

use super::{CREDENTIALS, ask, start, worker};
use crate::harness::matrix::{CROSS, PAHO_5};
use crate::harness::xmpp::XmppSocket;
use crate::harness::{Account, App, Call, Client, Form, Net, parallel};

/// A caller and who is announced.
fn cast<'a>(net: &'a Net, form: Form) -> (App<'a>, Account, Client) {
    let app = net.app();
    let owner = app.account("owner");
    let caller = net.connect(form, &app.customer(), "r1");
    (app, owner, caller)
}

/// Calls until this is what comes of it: what is announced while a block is connected is heard of within a second, and
/// so is its end by shards other than its own.
#[track_caller]
fn outcome(caller: &Client, call: &Call<'_>, code: i64) {
    crate::harness::eventually("the outcome", || caller.call(call).code == code);
}

#[test]
fn an_announced_block_is_a_worker_that_implements_nothing() {
    parallel(&[1, 2], |&shards| {
        let net = start(shards);
        parallel(&CROSS, |&form| {
            let (app, owner, caller) = cast(&net, form);
            let call = Call::new(&app.name, "cmd");
            caller.call(&call).assert_failure(-2000, "no free worker found.");
            let mut chatter = worker(&net, &owner, "w.1", true);
            caller.call(&call).assert_failure(-500, "not implemented.");
            // Only under its own name.
            let named = |resource| Call::new(&app.name, "cmd").resource(resource);
            caller
                .call(&named("w.1"))
                .assert_failure(-500, "not implemented.");
            caller
                .call(&named("w.2"))
                .assert_failure(-2000, "no free worker found.");
            chatter.send("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
            outcome(&caller, &call, -2000);
            let _again = XmppSocket::login(net.daemon().ws, &owner, "w.1");
            caller.call(&call).assert_failure(-500, "not implemented.");
        });
    });
}

#[test]
fn a_block_that_is_connected_becomes_a_worker_when_it_is_announced() {
    parallel(&[1, 2], |&shards| {
        let net = start(shards);
        let (app, owner, caller) = cast(&net, PAHO_5);
        let call = Call::new(&app.name, "cmd");
        let _chatter = XmppSocket::login(net.daemon().ws, &owner, "w.1");
        let _other = XmppSocket::login(net.daemon().ws, &owner, "w.2");
        caller.call(&call).assert_failure(-2000, "no free worker found.");
        let members = json!({"secret": owner.secret, "resource": "w.1", "public": true});
        assert_eq!(ask(&net, CREDENTIALS, &members)["code"], 0);
        outcome(&caller, &call, -500);
        let other = Call::new(&app.name, "cmd").resource("w.2");
        caller.call(&other).assert_failure(-2000, "no free worker found.");
        // The whole account.
        let members = json!({"secret": owner.secret, "public": true});
        assert_eq!(ask(&net, CREDENTIALS, &members)["code"], 0);
        outcome(&caller, &other, -500);
    });
}

#[test]
fn an_announced_device_answers_what_it_listens_to_and_stays_a_worker_without_listeners() {
    parallel(&[1, 2], |&shards| {
        let net = start(shards);
        let (app, owner, caller) = cast(&net, PAHO_5);
        let members = json!({"secret": owner.secret, "resource": "Device.7", "public": true});
        assert_eq!(ask(&net, CREDENTIALS, &members)["code"], 0);
        let device = net.connect(PAHO_5, &owner, "Device.7");
        let call = Call::new(&app.name, "cmd");
        caller.call(&call).assert_failure(-500, "not implemented.");
        device.listen("cmd");
        caller.send_call("c1", &call);
        device.answer(&device.request(), r#"{"code":0}"#);
        assert_eq!(caller.reply("c1").code, 0);
        device.unsubscribe(&["$nexus/listen/cmd"]);
        outcome(&caller, &call, -500);
        device.kill();
        outcome(&caller, &call, -2000);
    });
}
