//! Nexus-API: a request goes to one worker, exactly one outcome comes back (PROTOCOL 2.1 and 3).

mod bounds;

use std::time::Duration;

use serde_json::json;

use crate::harness::clock::Moment;
use crate::harness::matrix::{MQTTJS_5, PAHO_5, PAHO_311};
use crate::harness::{Call, Deadline, Publish, Stamp, Subscribe, each_form, each_pair, each_shard_count};

/// "At once", with room for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);

#[test]
fn a_request_goes_to_a_worker_and_its_reply_back_to_the_requester() {
    each_pair(|net, asks, works| {
        let app = net.app();
        let (owner, customer) = (app.account("owner"), app.customer());
        let worker = net.connect(works, &owner, "Worker.1");
        worker.listen("multiply");
        let requester = net.connect(asks, &customer, "page");
        let body = r#"{ "num1":10,   "num2" : 5, "text":"é\u20ac" }"#;
        requester.send_call("c1", &Call::new(&app.name, "multiply").body(body));
        let request = worker.request();
        assert_eq!(request.cmd, "multiply");
        assert_eq!(request.message.text(), body, "forwarded byte for byte");
        assert_eq!(request.sender, Stamp::of(&customer, "page"));
        let answer = r#"{"code":0, "result":50}"#;
        worker.answer(&request, answer);
        let reply = requester.reply("c1");
        assert_eq!(reply.code, 0);
        assert_eq!(reply.message.text(), answer, "forwarded byte for byte");
        if asks.is_5() {
            let sender = Stamp::in_properties(&reply.message);
            assert_eq!(sender, Some(Stamp::of(&owner, "Worker.1")));
        }
    });
}

#[test]
fn the_code_is_as_the_worker_set_it_else_0() {
    each_pair(|net, asks, works| {
        let app = net.app();
        let worker = net.connect(works, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(asks, &app.customer(), "r1");
        for (answer, code) in [
            (r#"{"code":7,"why":"so"}"#, 7),
            (r#"{"code":-1000}"#, -1000),
            (r#"{"result":1}"#, 0),
            (r#"{"code":"7"}"#, 0),
            (r#"{"code":1.5}"#, 0),
            (r#"{"inner":{"code":9}}"#, 0),
        ] {
            requester.send_call("c1", &Call::new(&app.name, "cmd"));
            worker.answer(&worker.request(), answer);
            let reply = requester.reply("c1");
            assert_eq!(reply.message.text(), answer);
            if asks.is_5() {
                assert_eq!(
                    reply.message.properties.user_values("nexus-code"),
                    [code.to_string()],
                    "{answer}"
                );
            }
        }
    });
}

#[test]
fn an_empty_body_is_an_empty_object() {
    each_form(|net, form| {
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(form, &app.customer(), "r1");
        requester.send_call("c1", &Call::new(&app.name, "cmd").body(""));
        let request = worker.request();
        assert_eq!(request.message.text(), "{}");
        worker.answer(&request, "");
        assert_eq!(requester.reply("c1").body, json!({}));
    });
}

#[test]
fn no_worker_is_told_at_once() {
    each_form(|net, form| {
        let app = net.app();
        let requester = net.connect(form, &app.customer(), "r1");
        let begun = Moment::now();
        let reply = requester.call(&Call::new(&app.name, "cmd"));
        assert!(begun.elapsed() < AT_ONCE);
        reply.assert_failure(-2000, "no free worker found.");
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        let reply = requester.call(&Call::new(&app.name, "cmd").resource("w2"));
        reply.assert_failure(-2000, "no free worker found.");
    });
}

#[test]
fn a_block_without_listeners_is_no_worker() {
    each_form(|net, form| {
        let app = net.app();
        let block = net.connect(form, &app.account("owner"), "w1");
        let requester = net.connect(form, &app.customer(), "r1");
        let call = Call::new(&app.name, "cmd");
        requester
            .call(&call)
            .assert_failure(-2000, "no free worker found.");
        block.listen("other");
        requester.call(&call).assert_failure(-500, "not implemented.");
        block.listen("cmd");
        assert_eq!(requester.call_served(&[&block], &call).body["worker"], "w1");
        let filter = if form.is_5() {
            "$nexus/listen/cmd"
        } else {
            "$nexus/listen/cmd/#"
        };
        block.unsubscribe(&[filter]);
        requester.call(&call).assert_failure(-500, "not implemented.");
    });
}

#[test]
fn not_entitled_is_told_at_once_and_the_worker_hears_nothing() {
    each_form(|net, form| {
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        let stranger = net.connect(form, &app.account("user"), "s1");
        let begun = Moment::now();
        let reply = stranger.call(&Call::new(&app.name, "cmd").body(r#"{"from":"stranger"}"#));
        assert!(begun.elapsed() < AT_ONCE);
        reply.assert_failure(-3000, "you dont have active service.");
        let customer = net.connect(form, &app.customer(), "c1");
        customer.send_call("c1", &Call::new(&app.name, "cmd").body(r#"{"from":"customer"}"#));
        assert_eq!(worker.request().message.json()["from"], "customer");
    });
}

#[test]
fn owner_and_partner_of_the_app_and_everybody_of_an_open_app_may_call() {
    each_form(|net, form| {
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        for role in ["owner", "partner"] {
            let caller = net.connect(form, &app.account(role), role);
            let reply = caller.call_served(&[&worker], &Call::new(&app.name, "cmd"));
            assert_eq!(reply.body["worker"], "w1", "{role}");
        }
        let other = net.app();
        let foreign_owner = net.connect(form, &other.account("owner"), "f1");
        let reply = foreign_owner.call(&Call::new(&app.name, "cmd"));
        assert_eq!(reply.code, -3000, "owner of another app");

        let open = net.open_app();
        let worker = net.connect(form, &open.account("owner"), "w2");
        worker.listen("cmd");
        // The app was made while the daemon runs: it is known within one second.
        let deadline = Deadline::after(crate::harness::clock::CHANGE_MAX);
        loop {
            let reply = foreign_owner.call_served(&[&worker], &Call::new(&open.name, "cmd"));
            if reply.code == 0 {
                break;
            }
            assert!(reply.code == -3000 && !deadline.passed(), "{reply:?}");
        }
    });
}

#[test]
fn a_worker_killed_in_flight_is_told_at_once() {
    each_pair(|net, asks, works| {
        let app = net.app();
        let worker = net.connect(works, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(asks, &app.customer(), "r1");
        requester.send_call("c1", &Call::new(&app.name, "cmd"));
        worker.request();
        let begun = Moment::now();
        worker.kill();
        let reply = requester.reply("c1");
        assert!(begun.elapsed() < AT_ONCE);
        reply.assert_failure(-2001, "worker disconnected.");
    });
}

#[test]
fn a_worker_that_leaves_or_is_taken_over_in_flight_is_gone() {
    each_form(|net, form| {
        let app = net.app();
        let owner = app.account("owner");
        let requester = net.connect(form, &app.customer(), "r1");
        let worker = net.connect(form, &owner, "w1");
        worker.listen("cmd");
        requester.send_call("c1", &Call::new(&app.name, "cmd"));
        worker.request();
        worker.disconnect();
        requester
            .reply("c1")
            .assert_failure(-2001, "worker disconnected.");
        let worker = net.connect(form, &owner, "w1");
        worker.listen("cmd");
        requester.send_call("c2", &Call::new(&app.name, "cmd"));
        let request = worker.request();
        let successor = net.connect(form, &owner, "w1");
        requester
            .reply("c2")
            .assert_failure(-2001, "worker disconnected.");
        // The successor holds the same address, but was not asked.
        successor.answer(&request, r#"{"from":"successor"}"#);
        successor.listen("cmd");
        let reply = requester.call_served(&[&successor], &Call::new(&app.name, "cmd"));
        assert_eq!(reply.code, 0);
        assert!(requester.take_unmatched().is_empty());
    });
}

#[test]
fn a_body_over_the_bound_is_too_large() {
    each_form(|net, form| {
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(form, &app.customer(), "r1");
        let bound = nexus::limits::API_BODY_BYTES_MAX;
        let body = |bytes: usize| format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes - 8));
        let reply = requester.call(&Call::new(&app.name, "cmd").body(body(bound + 1)));
        reply.assert_failure(-2003, "too large.");
        assert_eq!(body(bound).len(), bound);
        let reply = requester.call_served(&[&worker], &Call::new(&app.name, "cmd").body(body(bound)));
        assert_eq!(reply.code, 0, "the bound itself is not too large");
    });
}

#[test]
fn a_body_that_is_not_a_json_object_is_a_bad_request() {
    each_form(|net, form| {
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(form, &app.customer(), "r1");
        let deep = |levels: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
        let too_deep = deep(65);
        let bad: [&[u8]; 12] = [
            b"[1]",
            b"\"text\"",
            b"7",
            b"null",
            b"{",
            b"{}{}",
            b"{} x",
            b"{'a':1}",
            b"{\"a\":01}",
            b"{\"a\":1,}",
            b"{\"a\":\"\xff\"}",
            too_deep.as_bytes(),
        ];
        for body in bad {
            let reply = requester.call(&Call::new(&app.name, "cmd").body(body));
            let shown = String::from_utf8_lossy(body);
            assert_eq!(reply.code, -2004, "{shown}");
            let error = reply.body["error"].as_str().unwrap_or_default();
            assert!(!error.is_empty(), "says what is wrong: {shown}");
        }
        let reply = requester.call_served(&[&worker], &Call::new(&app.name, "cmd").body(deep(64)));
        assert_eq!(reply.code, 0, "64 levels are allowed");
    });
}

#[test]
fn a_malformed_name_is_a_bad_request() {
    each_form(|net, form| {
        let app = net.app();
        let requester = net.connect(form, &app.customer(), "r1");
        let long = "c".repeat(129);
        for (name, cmd) in [
            ("Upper", "cmd"),
            ("1digit", "cmd"),
            (app.name.as_str(), long.as_str()),
        ] {
            let reply = requester.call(&Call::new(name, cmd));
            assert_eq!(reply.code, -2004, "{name}/{cmd}: {reply:?}");
        }
    });
}

#[test]
fn a_reply_that_is_not_an_object_reaches_the_requester_as_a_bad_request() {
    each_pair(|net, asks, works| {
        let app = net.app();
        let worker = net.connect(works, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(asks, &app.customer(), "r1");
        for answer in ["[1]", "plain text", "{", "\u{0}"] {
            requester.send_call("c1", &Call::new(&app.name, "cmd"));
            worker.answer(&worker.request(), answer);
            assert_eq!(requester.reply("c1").code, -2004, "{answer:?}");
        }
    });
}

#[test]
fn the_puback_of_an_accepted_request_is_0_always() {
    each_form(|net, form| {
        let app = net.app();
        let requester = net.connect(form, &app.customer(), "r1");
        let stranger = net.connect(form, &app.account("user"), "s1");
        for (client, code) in [(&requester, -2000), (&stranger, -3000)] {
            let sent = client.send_call("c1", &Call::new(&app.name, "cmd").qos(1));
            assert_eq!(client.puback(sent), 0);
            assert_eq!(client.reply("c1").code, code);
        }
    });
}

#[test]
fn an_api_publish_without_response_topic_is_0x83_and_not_executed() {
    each_shard_count(|net| {
        let app = net.app();
        let customer = app.customer();
        for form in [PAHO_5, MQTTJS_5] {
            let worker = net.connect(form, &app.account("owner"), "w1");
            worker.listen("cmd");
            let requester = net.connect(form, &customer, "r1");
            let topic = format!("$nexus/api/{}/cmd", app.name);
            let code = requester.publish_acked(Publish::new(&topic, r#"{"executed":true}"#));
            assert_eq!(code, 0x83);
            requester.send_call("c1", &Call::new(&app.name, "cmd"));
            assert_eq!(worker.request().message.json(), json!({}));
        }
    });
}

#[test]
fn an_api_topic_on_3_1_1_is_acknowledged_dropped_and_the_connection_stays() {
    each_shard_count(|net| {
        let app = net.app();
        let worker = net.connect(PAHO_311, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(PAHO_311, &app.customer(), "r1");
        let topic = format!("$nexus/api/{}/cmd", app.name);
        assert_eq!(requester.publish_acked(Publish::new(&topic, "{}")), 0);
        requester.send_call("c1", &Call::new(&app.name, "cmd").body(r#"{"second":1}"#));
        assert_eq!(worker.request().message.json(), json!({"second": 1}));
    });
}

#[test]
fn correlation_data_is_optional() {
    each_shard_count(|net| {
        for form in [PAHO_5, MQTTJS_5] {
            let app = net.app();
            let requester = net.connect(form, &app.customer(), "r1");
            let topic = format!("$nexus/api/{}/cmd", app.name);
            requester
                .publish(&Publish::new(&topic, "{}").properties(json!({"response_topic": "my/replies"})));
            let reply = requester.message_where("reply", |message| message.topic == "my/replies");
            assert_eq!(reply.json()["code"], -2000);
            assert!(!reply.properties.has("correlation_data"));
        }
    });
}

#[test]
fn call_and_reply_topics_serve_both_versions() {
    each_form(|net, form| {
        let app = net.app();
        let worker = net.connect(form, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(form, &app.customer(), "r1");
        for id in ["a", "A-b_9", &"i".repeat(64)] {
            let topic = format!("$nexus/call/{id}/{}/cmd/w1", app.name);
            requester.publish(&Publish::new(&topic, r#"{"n":1}"#).qos(1));
            let request = worker.request();
            assert_eq!(request.message.text(), r#"{"n":1}"#);
            worker.answer(&request, r#"{"n":2}"#);
            let reply =
                requester.message_where("reply", |message| message.topic.starts_with("$nexus/reply/"));
            assert_eq!(reply.topic, format!("$nexus/reply/{id}"));
            assert_eq!(reply.text(), r#"{"n":2}"#);
        }
    });
}

#[test]
fn both_listen_forms_name_one_listener_and_the_last_form_wins() {
    each_shard_count(|net| {
        for form in [PAHO_5, MQTTJS_5] {
            let app = net.app();
            let worker = net.connect(form, &app.account("owner"), "w1");
            let requester = net.connect(form, &app.customer(), "r1");
            let (short, long) = ("$nexus/listen/cmd", "$nexus/listen/cmd/#");
            for (filter, levels) in [(short, 3), (long, 8), (short, 3)] {
                worker.hear(filter, 1);
                requester.send_call("c1", &Call::new(&app.name, "cmd"));
                let request = worker.request();
                assert_eq!(request.message.topic.split('/').count(), levels, "{filter}");
                worker.answer(&request, "{}");
                assert_eq!(requester.reply("c1").code, 0);
            }
            assert!(worker.take_unmatched().is_empty(), "each request came once");
        }
    });
}

#[test]
fn replies_go_to_the_requester_alone_and_are_never_a_channel_message() {
    each_form(|net, form| {
        let app = net.app();
        let customer = app.customer();
        let requester = net.connect(form, &customer, "r1");
        let spies = [
            net.connect(form, &customer, "spy"),
            net.connect(form, &app.account("owner"), "spy"),
        ];
        for spy in &spies {
            spy.hear("answers/r1", 1);
            assert!(spy.suback("$nexus/reply/#", 1) <= 1, "granted");
        }
        assert_eq!(requester.call(&Call::new(&app.name, "cmd")).code, -2000);
        requester.publish(&Publish::new("answers/r1", "a channel message").qos(1));
        for spy in &spies {
            assert_eq!(spy.message().text(), "a channel message");
        }
    });
}

#[test]
fn a_filter_under_reply_rules_qos_and_subscription_identifier_of_replies() {
    each_shard_count(|net| {
        let app = net.app();
        let worker = net.connect(PAHO_5, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(PAHO_5, &app.customer(), "r1");
        let topic = format!("$nexus/call/c1/{}/cmd", app.name);
        let ask = || {
            requester.publish(&Publish::new(&topic, "{}").qos(1));
            let request = worker.request();
            worker.publish(&Publish::new(&request.answer_topic, "{}").qos(1));
            requester.message()
        };
        let implicit = ask();
        assert_eq!(implicit.qos, 1, "the implicit subscription has QoS 1");
        assert!(implicit.properties.subscription_identifiers().is_empty());
        let wanted = [Subscribe::new("$nexus/reply/+", 0)];
        let codes = requester.subscribe_with(&wanted, json!({"subscription_identifier": 7}));
        assert_eq!(codes, [0]);
        let ruled = ask();
        assert_eq!(ruled.qos, 0);
        assert_eq!(ruled.properties.subscription_identifiers(), [7]);
    });
}

#[test]
fn a_block_may_call_its_own_listener_but_not_with_no_local() {
    each_form(|net, form| {
        let app = net.app();
        let block = net.connect(form, &app.account("owner"), "w1");
        block.listen("cmd");
        let call = Call::new(&app.name, "cmd");
        block.send_call("c1", &call);
        let request = block.request();
        assert_eq!(request.sender.resource, "w1");
        block.answer(&request, r#"{"self":true}"#);
        assert_eq!(block.reply("c1").body, json!({"self": true}));
        if form.is_5() {
            assert_eq!(
                block.subscribe(&[Subscribe::new("$nexus/listen/cmd", 1).no_local()]),
                [1]
            );
            let reply = block.call(&call);
            assert!(matches!(reply.code, -2000 | -500), "{reply:?}");
        }
    });
}
