//! Channels by native stanzas (PROTOCOL 4 and 2.3).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::harness::http;
use crate::harness::matrix::{PAHO_5, PAHO_311, XMPPJS};
use crate::harness::xml::escaped;
use crate::harness::xmpp::NEXUS;
use crate::harness::{Account, Call, Client, Form, Net, Options, Publish, Stamp, each_shard_count, parallel};

/// A channel nobody else uses.
pub(crate) fn new_channel() -> String {
    static CHANNELS: AtomicU64 = AtomicU64::new(0);
    format!("stanzas{}", CHANNELS.fetch_add(1, Ordering::Relaxed))
}

/// A block of its own app.
fn block(net: &Net, form: Form, resource: &str) -> (Account, Client) {
    let account = net.app().account("user");
    let client = net.connect(form, &account, resource);
    (account, client)
}

/// The condition with which a subscription is refused, if it is.
fn refusal(client: &Client, filter: &str) -> Option<String> {
    let child = format!("<subscribe xmlns='{NEXUS}' channel='{}'/>", escaped(filter));
    client.iq("set", None, &child).condition
}

#[test]
fn wildcards_match_as_those_of_mqtt() {
    each_shard_count(|net| {
        let c = new_channel();
        let publisher = block(net, PAHO_5, "p").1;
        let hearer = block(net, XMPPJS, "h").1;
        let table = [
            ("+", vec!["a", "é"]),
            ("#", vec!["", "a", "a/b", "a/b/c", "/b", "a/", "é"]),
            ("a/#", vec!["a", "a/b", "a/b/c", "a/"]),
            ("+/b", vec!["a/b", "/b"]),
            ("a/+/c", vec!["a/b/c"]),
            ("a/b", vec!["a/b"]),
        ];
        let names = ["", "a", "é", "a/b", "a/b/c", "/b", "a/"];
        let topic = |name: &str| {
            if name.is_empty() {
                c.clone()
            } else {
                format!("{c}/{name}")
            }
        };
        for (filter, matching) in table {
            let filter = format!("{c}/{filter}");
            hearer.subscribe_native(&filter);
            for name in names {
                publisher.publish_acked(Publish::new(&topic(name), name));
            }
            for name in names.into_iter().filter(|name| matching.contains(name)) {
                let (came_on, _, message) = hearer.next_on_channel();
                assert_eq!((came_on, message.text()), (topic(name), name), "{filter}");
            }
            hearer.unsubscribe_native(&filter);
        }
        hearer.subscribe_native(&format!("{c}/fence"));
        publisher.publish(&Publish::new(&format!("{c}/fence"), "fence").qos(1));
        assert_eq!(hearer.next_on_channel().2.text(), "fence");
    });
}

#[test]
fn overlapping_subscriptions_lose_nothing_and_a_block_hears_itself() {
    each_shard_count(|net| {
        let channel = new_channel();
        let (account, client) = block(net, XMPPJS, "c");
        client.subscribe_native(&format!("{channel}/#"));
        client.subscribe_native(&format!("{channel}/a"));
        client.publish_native(&format!("{channel}/a"), "x");
        let (_, sender, message) = client.next_on_channel();
        assert_eq!(message.text(), "x");
        assert_eq!(sender, Stamp::of(&account, "c"));
        // Asked for again, a subscription is granted again.
        client.subscribe_native(&format!("{channel}/a"));
        client.unsubscribe_native(&format!("{channel}/a"));
        client.publish_native(&format!("{channel}/a"), "y");
        client.message_where("the message by the wider filter", |message| message.text() == "y");
    });
}

#[test]
fn a_retain_attribute_is_accepted() {
    each_shard_count(|net| {
        let channel = new_channel();
        let publisher = block(net, XMPPJS, "p").1;
        let hearers = [XMPPJS, PAHO_311, PAHO_5].map(|form| block(net, form, "h").1);
        for hearer in &hearers {
            hearer.hear_channel(&channel);
        }
        for retain in [None, Some(false), Some(true)] {
            let text = format!("{retain:?}");
            publisher.publish_retaining(&channel, &text, retain);
            for hearer in &hearers {
                let message = hearer.next_on_channel().2;
                assert_eq!(message.text(), text);
                assert!(!message.retain, "delivered live: not marked as retained");
            }
        }
    });
}

#[test]
fn bad_filters_and_names_are_refused() {
    each_shard_count(|net| {
        let client = block(net, XMPPJS, "c").1;
        let long = format!("a/{}", "x".repeat(1023));
        for filter in ["", "a/#/b", "a#", "a+/b", "$SYS/x", "$nexus/direct", &long] {
            let condition = refusal(&client, filter).unwrap_or_else(|| panic!("granted: {filter}"));
            assert!(
                ["bad-request", "forbidden", "not-allowed", "jid-malformed"].contains(&condition.as_str()),
                "{filter}: {condition}"
            );
        }
        let nameless = client.iq("set", None, &format!("<subscribe xmlns='{NEXUS}'/>"));
        assert_eq!(nameless.condition.as_deref(), Some("bad-request"));
        let longest = format!("a/{}", "x".repeat(1022));
        client.subscribe_native(&longest);
        // A message never bounces: a bad name is dropped, and the next one is served.
        for name in ["", "a/+", "a/#", "$SYS/x", &long] {
            client.publish_native(name, "nowhere");
        }
        client.publish_native(&longest, "x");
        assert_eq!(client.next_on_channel().2.text(), "x");
    });
}

#[test]
fn a_filter_whose_first_level_is_a_wildcard_is_for_operators() {
    each_shard_count(|net| {
        let user = block(net, XMPPJS, "r").1;
        let owner = net.connect(XMPPJS, &net.app().account("owner"), "r");
        let operator = net.connect(XMPPJS, &net.operator(), "r");
        for filter in ["#", "+", "+/x"] {
            for client in [&user, &owner] {
                let condition = refusal(client, filter).expect("refused");
                assert!(
                    ["forbidden", "not-allowed"].contains(&condition.as_str()),
                    "{condition}"
                );
            }
            assert_eq!(refusal(&operator, filter), None, "{filter}");
            operator.unsubscribe_native(filter);
        }
        operator.subscribe_native("#");
        let channel = new_channel();
        user.publish_native(&channel, "seen");
        let seen = operator.message_where("message", |message| message.topic == channel);
        assert_eq!(seen.text(), "seen");
    });
}

#[test]
fn channels_under_tilde_app_admit_that_apps_accounts_alone() {
    parallel(&[1, 2], |&shards| {
        let net = Net::start(&Options::shards(shards));
        let app = net.app();
        let channel = format!("~{}/inner", app.name);
        let publisher = net.connect(XMPPJS, &app.account("user"), "p");
        let hearer = net.connect(XMPPJS, &app.account("owner"), "h");
        hearer.subscribe_native(&format!("~{}/#", app.name));
        let stranger = block(&net, XMPPJS, "s").1;
        for filter in [channel.clone(), format!("~{}/#", app.name)] {
            assert!(!stranger.try_subscribe_native(&filter), "{filter}");
        }
        stranger.publish_native(&channel, "intruder");
        http::await_drops(net.daemon().http, "channel", "not_authorized", 1);
        publisher.publish_native(&channel, "inner");
        assert_eq!(hearer.next_on_channel().2.text(), "inner");
    });
}

#[test]
fn a_payload_that_xml_cannot_carry_is_dropped_for_xmpp_and_counted() {
    parallel(&[PAHO_311, PAHO_5], |&form| {
        let net = Net::start(&Options::shards(1));
        let channel = new_channel();
        let block_of_xmpp = block(&net, XMPPJS, "x").1;
        let device = block(&net, PAHO_5, "d").1;
        for hearer in [&block_of_xmpp, &device] {
            hearer.hear_channel(&channel);
        }
        let publisher = block(&net, form, "p").1;
        let payloads: [&[u8]; 6] = [
            b"\xff\xfe binary",
            b"\x00",
            b"a\x0bb",
            "\u{FFFE}".as_bytes(),
            "text \u{FFFF}".as_bytes(),
            b"\xed\xa0\x80",
        ];
        for (number, payload) in payloads.into_iter().enumerate() {
            publisher.publish(&Publish::new(&channel, payload).qos(1));
            assert_eq!(
                device.next_on_channel().2.payload,
                payload,
                "MQTT gets any payload"
            );
            http::await_drops(net.daemon().http, "channel", "not_text", number as u64 + 1);
        }
        for text in ["\t\r\n", "", "\u{FFFD}\u{10FFFF}\u{7F}\u{85}"] {
            publisher.publish(&Publish::new(&channel, text).qos(1));
            assert_eq!(block_of_xmpp.next_on_channel().2.text(), text);
        }
    });
}

#[test]
fn in_api_bodies_the_two_noncharacters_travel_as_escapes() {
    each_shard_count(|net| {
        let app = net.app();
        let worker = net.connect(XMPPJS, &app.account("owner"), "w1");
        worker.listen("cmd");
        let device = net.connect(PAHO_5, &app.customer(), "d1");
        device.send_call(
            "c1",
            &Call::new(&app.name, "cmd").body("{\"x\":\"a\u{FFFE}\u{FFFF}b\"}"),
        );
        let request = worker.request();
        assert_eq!(request.message.json()["x"], "a\u{FFFE}\u{FFFF}b");
        assert!(
            !request.message.text().contains(['\u{FFFE}', '\u{FFFF}']),
            "as escapes: {}",
            request.message.text()
        );
        worker.answer(&request, r#"{"y":"\ufffe"}"#);
        assert_eq!(device.reply("c1").body["y"], "\u{FFFE}");
    });
}

#[test]
fn a_listener_can_be_taken_back() {
    each_shard_count(|net| {
        let app = net.app();
        let worker = net.connect(XMPPJS, &app.account("owner"), "w1");
        let requester = net.connect(XMPPJS, &app.customer(), "r1");
        let call = Call::new(&app.name, "cmd");
        worker.listen("other");
        worker.listen("cmd");
        assert_eq!(requester.call_served(&[&worker], &call).body["worker"], "w1");
        worker.unlisten_native("cmd");
        requester.call(&call).assert_failure(-500, "not implemented.");
        let nameless = worker.iq("set", None, &format!("<listen xmlns='{NEXUS}'/>"));
        assert_eq!(nameless.condition.as_deref(), Some("bad-request"));
        let bad = worker.iq("set", None, &format!("<listen xmlns='{NEXUS}' cmd='a/b'/>"));
        assert_eq!(bad.condition.as_deref(), Some("bad-request"));
    });
}
