//! `direct = entitled` of an app, as chat messages meet it: no service, no message; answers pass.

use serde_json::json;

use super::{Block, Library, each_python, jid};
use crate::harness::http;

#[test]
fn a_chat_to_a_worker_of_an_entitled_app_needs_a_service_and_its_answer_does_not() {
    each_python(|net, python| {
        let (app, front) = (net.entitled_app(), net.entitled_app());
        let owner = app.account("owner");
        let (customer, stranger) = (front.account("user"), net.app().account("user"));
        net.grant(&customer.uid, &app.name, None);
        let (page, other) = (
            Block::page(net, &customer.secret, "webuo1"),
            Block::page(net, &stranger.secret, "webuo2"),
        );
        page.online();
        other.online();
        let mut dropped = 0;
        let http = net.daemon().http;
        for (library, resource) in [(Library::Js, "w.1"), (python, "w.2")] {
            let worker = Block::worker(net, library, &app, resource);
            worker.online();
            let to = jid(&owner, resource);
            let ping = json!({"mid": "a1b2c3d4e5", "api": "ping"});
            // Nobody spoke to the worker yet: not even an answer could pass.
            worker.command(
                "direct",
                json!({"to": jid(&customer, "webuo1"), "text": "unasked"}),
            );
            other.command("direct", json!({"to": to, "members": ping}));
            other.command("direct", json!({"to": to, "text": "knock"}));
            dropped += 3;
            http::await_drops(http, "direct", "not_authorized", dropped);
            // Who has a service is heard, and answered: the worker itself has none of the front's app.
            let reply = page.call(json!({"to": to, "members": {"api": "ping"}}));
            assert_eq!(
                (&reply["from"], &reply["body"]["pong"]),
                (&json!(to), &json!(true))
            );
            worker.command(
                "direct",
                json!({"to": jid(&customer, "webuo1"), "text": "more of it"}),
            );
            assert_eq!(page.wait("direct", |_| true)["body"], "more of it");
            let asked = worker.wait("asked", |_| true);
            assert_eq!(asked["from"], jid(&customer, "webuo1"));
            for event in ["asked", "direct"] {
                assert!(worker.unheard(event).is_empty(), "{event}");
            }
            // Whom it messages may answer it, service or not.
            worker.command(
                "direct",
                json!({"to": jid(&stranger, "webuo2"), "text": "who knocks?"}),
            );
            other.wait("direct", |came| came["body"] == "who knocks?");
            other.command("direct", json!({"to": to, "text": "me"}));
            assert_eq!(worker.wait("direct", |_| true)["from"], jid(&stranger, "webuo2"));
            http::await_drops(http, "direct", "not_authorized", dropped);
        }
    });
}
