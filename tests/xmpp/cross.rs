//! The protocols meet: each method between each pair of XMPP, MQTT 3.1.1, MQTT 5.0 and MQTT over WebSocket
//! (PROTOCOL 2), with the same payload, sender, outcome and order whoever speaks and whoever hears.

use std::time::Duration;

use super::channel::new_channel;
use crate::harness::clock::Moment;
use crate::harness::matrix::XMPPJS;
use crate::harness::native::full_jid;
use crate::harness::{Call, Message, Stamp, each_crossing, each_shard_count, parallel};

/// "At once", with room for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);
/// How long a worker that may come back is waited for.
const BACK: Duration = Duration::from_millis(nexus::limits::WORKER_BACK_MS);
/// Messages of a test of order.
const MESSAGES: usize = 100;

/// Texts that a careless writer of XML, JSON or topics would spoil.
const TEXTS: [&str; 6] = [
    "plain",
    "",
    "<a b='c'>&amp; \"d\" ]]> </a>",
    " zweite Zeile:\n\tZürich ✓ \u{1F600} ",
    "{\"a\":[1,2,{\"b\":null}]}",
    "&#xA0;&lt;",
];

/// The sender in an XMPP receiver's form has the address, too.
#[track_caller]
fn assert_sender_jid(message: &Message, jid: &str) {
    assert_eq!(message.sender_jid(), jid);
}

#[test]
fn api_a_request_and_its_reply_keep_body_and_sender() {
    each_crossing(|net, asks, works| {
        let app = net.app();
        let (owner, customer) = (app.account("owner"), app.customer());
        let worker = net.connect(works, &owner, "Worker.1");
        worker.listen("multiply");
        let requester = net.connect(asks, &customer, "page");
        let body = r#"{ "num1":10,   "num2" : 5, "text":"é\u20ac<&'\"\uffff>" }"#;
        requester.send_call("c1", &Call::new(&app.name, "multiply").body(body));
        let request = worker.request();
        assert_eq!(request.cmd, "multiply");
        assert_eq!(request.message.text(), body, "forwarded byte for byte");
        assert_eq!(request.sender, Stamp::of(&customer, "page"));
        if works.is_xmpp() {
            assert_sender_jid(&request.message, &full_jid(&customer, "page"));
        }
        let answer = r#"{"code":7, "result":"<50>&"}"#;
        worker.answer(&request, answer);
        let reply = requester.reply("c1");
        assert_eq!(reply.code, 7);
        assert_eq!(reply.message.text(), answer, "forwarded byte for byte");
        if asks.is_xmpp() || asks.is_5() {
            let sender = Stamp::in_properties(&reply.message);
            assert_eq!(sender, Some(Stamp::of(&owner, "Worker.1")));
        }
        if asks.is_xmpp() {
            assert_sender_jid(&reply.message, &full_jid(&owner, "Worker.1"));
        }
    });
}

#[test]
fn api_the_failures_are_told_with_their_codes() {
    each_crossing(|net, asks, works| {
        let app = net.app();
        let requester = net.connect(asks, &app.customer(), "r1");
        let call = Call::new(&app.name, "cmd");
        requester
            .call(&call)
            .assert_failure(-2000, "no free worker found.");
        let worker = net.connect(works, &app.account("owner"), "w1");
        worker.listen("other");
        requester.call(&call).assert_failure(-500, "not implemented.");
        worker.listen("cmd");
        let stranger = net.connect(asks, &app.account("user"), "s1");
        stranger
            .call(&call)
            .assert_failure(-3000, "you dont have active service.");
        let bad = requester.call(&Call::new(&app.name, "cmd").body("[1]"));
        assert_eq!(bad.code, -2004, "the request is not an object");
        requester.send_call("c1", &call);
        worker.answer(&worker.request(), "plain text");
        assert_eq!(requester.reply("c1").code, -2004, "the reply is not an object");
        requester.send_call("c2", &call);
        worker.request();
        let begun = Moment::now();
        worker.kill();
        requester
            .reply("c2")
            .assert_failure(-2001, "worker disconnected.");
        // One whose session may be resumed is waited for.
        let wait = if works == XMPPJS { BACK } else { Duration::ZERO };
        assert!((wait..wait + AT_ONCE).contains(&begun.elapsed()));
    });
}

#[test]
fn api_replies_find_their_requests_in_whatever_order_they_come() {
    each_crossing(|net, asks, works| {
        let app = net.app();
        let worker = net.connect(works, &app.account("owner"), "w1");
        worker.listen("cmd");
        let requester = net.connect(asks, &app.customer(), "r1");
        for n in 0..MESSAGES {
            let body = format!(r#"{{"n":{n}}}"#);
            requester.send_call(&format!("c{n}"), &Call::new(&app.name, "cmd").body(body));
        }
        let mut requests = Vec::new();
        for n in 0..MESSAGES {
            let request = worker.request();
            assert_eq!(request.message.json()["n"], n, "in the order sent");
            requests.push(request);
        }
        for request in requests.iter().rev() {
            worker.answer(request, request.message.text());
        }
        for n in 0..MESSAGES {
            assert_eq!(requester.reply(&format!("c{n}")).body["n"], n);
        }
    });
}

#[test]
fn direct_keeps_text_and_sender() {
    each_crossing(|net, sends, hears| {
        let app = net.app();
        let worker = net.connect(hears, &app.account("owner"), "Worker.1");
        worker.listen_direct();
        let account = app.account("user");
        let sender = net.connect(sends, &account, "page");
        for text in TEXTS {
            sender.direct(&app.name, "Worker.1", text);
            if hears.is_xmpp() {
                let (message, stamp) = worker.next_plain();
                assert_eq!((message.text(), stamp), (text, Stamp::of(&account, "page")));
                assert_sender_jid(&message, &full_jid(&account, "page"));
                let stanza = message.element();
                assert_eq!(
                    stanza.attribute("from"),
                    Some(full_jid(&account, "page").as_str())
                );
                assert_eq!(stanza.attribute("type").unwrap_or("normal"), "normal");
            } else {
                let (came, stamp) = worker.next_direct();
                assert_eq!((came.as_str(), stamp), (text, Stamp::of(&account, "page")));
            }
        }
    });
}

#[test]
fn direct_messages_arrive_in_the_order_sent() {
    each_crossing(|net, sends, hears| {
        let app = net.app();
        let worker = net.connect(hears, &app.account("owner"), "w1");
        worker.listen_direct();
        let sender = net.connect(sends, &app.account("user"), "s1");
        for n in 0..MESSAGES {
            sender.direct(&app.name, "w1", &n.to_string());
        }
        for n in 0..MESSAGES {
            assert_eq!(worker.next_direct().0, n.to_string());
        }
    });
}

#[test]
fn channel_keeps_name_text_and_sender() {
    each_crossing(|net, sends, hears| {
        let channel = format!("{}/Plänt 7/@alarm'<&>", new_channel());
        let hearer = net.connect(hears, &net.app().account("user"), "h1");
        hearer.hear_channel(&channel);
        let account = net.app().account("user");
        let publisher = net.connect(sends, &account, "Device.7");
        for text in TEXTS {
            publisher.say(&channel, text);
            let (name, sender, message) = hearer.next_on_channel();
            assert_eq!((name.as_str(), message.text()), (channel.as_str(), text));
            assert_eq!(sender, Stamp::of(&account, "Device.7"));
            assert!(!message.retain);
            if hears.is_xmpp() {
                assert_sender_jid(&message, &full_jid(&account, "Device.7"));
                let stanza = message.element();
                assert_eq!(stanza.attribute("from"), Some("conference.nexus.example"));
                assert_eq!(stanza.attribute("type").unwrap_or("normal"), "normal");
            }
        }
    });
}

#[test]
fn channel_messages_of_one_sender_arrive_in_the_order_sent() {
    each_crossing(|net, sends, hears| {
        let channel = new_channel();
        let hearer = net.connect(hears, &net.app().account("user"), "h1");
        hearer.hear_channel(&channel);
        let publisher = net.connect(sends, &net.app().account("user"), "p1");
        for n in 0..MESSAGES {
            publisher.say(&channel, &n.to_string());
        }
        for n in 0..MESSAGES {
            assert_eq!(hearer.next_on_channel().2.text(), n.to_string());
        }
        assert!(hearer.take_unmatched().is_empty(), "each came once");
    });
}

/// The condition and the error type of each outcome: PROTOCOL 4, Native Nexus stanzas.
#[test]
fn api_failures_have_the_conditions_and_error_types_of_xmpp() {
    each_shard_count(|net| {
        let app = net.app();
        let worker = net.connect(XMPPJS, &app.account("owner"), "w1");
        let requester = net.connect(XMPPJS, &app.customer(), "r1");
        let stranger = net.connect(XMPPJS, &app.account("user"), "s1");
        let told = |block: &crate::harness::Client, call: &Call<'_>| {
            let reply = block.call(call);
            let properties = &reply.message.properties;
            let told = (properties.text("condition"), properties.text("type"));
            (
                reply.code,
                told.0.unwrap_or_default().to_owned(),
                told.1.unwrap_or_default().to_owned(),
            )
        };
        let is = |told: (i64, String, String), code: i64, condition: &str, kind: &str| {
            assert_eq!(told, (code, condition.to_owned(), kind.to_owned()));
        };
        let call = Call::new(&app.name, "cmd");
        is(told(&requester, &call), -2000, "item-not-found", "cancel");
        worker.listen("other");
        is(told(&requester, &call), -500, "feature-not-implemented", "cancel");
        is(told(&stranger, &call), -3000, "forbidden", "auth");
        let bad = Call::new(&app.name, "other").body("[]");
        is(told(&requester, &bad), -2004, "bad-request", "modify");
        let bound = nexus::limits::API_BODY_BYTES_MAX;
        let large = Call::new(&app.name, "other").body(format!(r#"{{"x":"{}"}}"#, "x".repeat(bound)));
        is(told(&requester, &large), -2003, "policy-violation", "modify");
        let in_flight = Call::new(&app.name, "other");
        requester.send_call("gone", &in_flight);
        worker.request();
        worker.kill();
        let reply = requester.reply("gone");
        let properties = &reply.message.properties;
        assert_eq!(properties.text("condition"), Some("recipient-unavailable"));
        assert_eq!(properties.text("type"), Some("wait"));
    });
}

#[test]
fn api_an_error_of_a_worker_becomes_its_own_failure_code() {
    let forms = crate::harness::matrix::CROSS;
    each_shard_count(|net| {
        parallel(&forms, |&asks| {
            let app = net.app();
            let worker = net.connect(XMPPJS, &app.account("owner"), "w1");
            worker.listen("cmd");
            let requester = net.connect(asks, &app.customer(), "r1");
            requester.send_call("c1", &Call::new(&app.name, "cmd"));
            worker.decline_native(&worker.request(), "cancel", "feature-not-implemented");
            assert_eq!(requester.reply("c1").code, -500);
        });
    });
}

#[test]
fn api_an_answer_mirrors_the_request_and_bounces_no_body() {
    each_shard_count(|net| {
        let app = net.app();
        let block = net.connect(XMPPJS, &app.customer(), "r1");
        let domain = crate::harness::daemon::DOMAIN;
        for to in [None, Some(domain)] {
            block.send_call_to(to, "ping", &Call::new("nexus", "ping"));
            let stanza = block.reply("ping").message.element();
            assert_eq!(stanza.attribute("from"), to, "{stanza:?}");
            block.send_call_to(to, "none", &Call::new(&app.name, "cmd").body(r#"{"secret":1}"#));
            let reply = block.reply("none");
            assert_eq!(reply.code, -2000);
            assert_eq!(reply.message.element().attribute("from"), to);
            assert!(
                !reply.message.stanza.contains("secret"),
                "{}",
                reply.message.stanza
            );
        }
    });
}
