//! Retained messages (MQTT 3.1.1 and 5.0, 3.3.1.3; 5.0, 3.8.3.1 and 3.3.2.3.3; PROTOCOL 2.3).

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::harness::matrix::{MQTTJS_5, PAHO_5, PAHO_311, XMPPJS};
use crate::harness::{
    Account, Client, FORMS, Form, Message, Net, Options, Publish, Stamp, Subscribe, each_form, each_pair,
    each_shard_count, eventually, http, parallel,
};

/// A channel nobody else uses.
fn new_channel() -> String {
    static CHANNELS: AtomicU64 = AtomicU64::new(0);
    format!("retained{}", CHANNELS.fetch_add(1, Ordering::Relaxed))
}

/// A block of its own app.
fn block(net: &Net, form: Form, resource: &str) -> (Account, Client) {
    let account = net.app().account("user");
    let client = net.connect(form, &account, resource);
    (account, client)
}

fn keep(publisher: &Client, channel: &str, payload: &str) {
    publisher.publish_acked(Publish::new(channel, payload).retained());
}

/// What comes before `fence`, which is published now on a channel that `client` hears.
fn before_fence(client: &Client, publisher: &Client, channel: &str) -> Vec<Message> {
    publisher.publish_acked(Publish::new(channel, "fence"));
    let mut came = Vec::new();
    loop {
        let message = client.message();
        if message.text() == "fence" {
            return came;
        }
        came.push(message);
    }
}

fn texts(messages: &[Message]) -> Vec<(String, bool)> {
    let each = |message: &Message| (message.text().to_owned(), message.retain);
    messages.iter().map(each).collect()
}

#[test]
fn the_last_message_of_a_channel_reaches_who_subscribes_later() {
    each_pair(|net, sends, hears| {
        let channel = new_channel();
        let (account, publisher) = block(net, sends, "Device.7");
        for payload in ["1", "2"] {
            keep(&publisher, &format!("{channel}/a"), payload);
        }
        publisher.publish_acked(Publish::new(&format!("{channel}/a"), "not to be retained"));
        publisher.disconnect();
        let hearer = block(net, hears, "hearer").1;
        hearer.hear_channel(&format!("{channel}/#"));
        let (came_on, sender, message) = hearer.next_on_channel();
        assert_eq!(came_on, format!("{channel}/a"));
        assert_eq!(
            sender,
            Stamp::of(&account, "Device.7"),
            "who published it, long gone"
        );
        assert_eq!((message.text(), message.retain, message.qos), ("2", true, 1));
        // [MQTT-3.8.4-3] of 3.1.1, 3.8.3.1 of 5.0: again with each subscription, at its QoS.
        assert_eq!(hearer.suback(&format!("{channel}/+"), 0), 0);
        let message = hearer.message();
        assert_eq!((message.text(), message.retain, message.qos), ("2", true, 0));
    });
}

#[test]
fn who_subscribes_already_gets_it_as_any_message() {
    each_pair(|net, sends, hears| {
        let channel = new_channel();
        let publisher = block(net, sends, "p").1;
        let hearer = block(net, hears, "h").1;
        hearer.hear(&channel, 1);
        keep(&publisher, &channel, "live");
        keep(&publisher, &channel, "");
        let came = before_fence(&hearer, &publisher, &channel);
        assert_eq!(texts(&came), [("live".into(), false), (String::new(), false)]);
    });
}

#[test]
fn an_empty_payload_clears_a_channel() {
    each_form(|net, form| {
        let channel = new_channel();
        let publisher = block(net, form, "p").1;
        for name in ["a", "b"] {
            keep(&publisher, &format!("{channel}/{name}"), name);
        }
        let other = block(net, form, "o").1;
        keep(&other, &format!("{channel}/a"), "");
        let hearer = block(net, form, "h").1;
        hearer.hear(&format!("{channel}/#"), 1);
        let came = before_fence(&hearer, &publisher, &channel);
        assert_eq!(texts(&came), [("b".into(), true)]);
    });
}

#[test]
fn retain_handling_and_retain_as_published() {
    each_shard_count(|net| {
        for form in [PAHO_5, MQTTJS_5] {
            let channel = new_channel();
            let publisher = block(net, form, "p").1;
            keep(&publisher, &channel, "kept");
            let hearer = block(net, form, "h").1;
            let subscribe = |handling: u8| {
                let wanted = Subscribe::new(&channel, 1).retained(handling, false);
                assert_eq!(hearer.subscribe(&[wanted]), [1]);
                texts(&before_fence(&hearer, &publisher, &channel))
            };
            let kept = [("kept".to_owned(), true)];
            assert_eq!(subscribe(2), []);
            assert_eq!(subscribe(1), [], "it exists");
            assert_eq!(subscribe(0), kept);
            assert_eq!(subscribe(0), kept);
            hearer.unsubscribe(&[&channel]);
            assert_eq!(subscribe(1), kept, "it is new");
            for as_published in [true, false] {
                let wanted = Subscribe::new(&channel, 1).retained(2, as_published);
                assert_eq!(hearer.subscribe(&[wanted]), [1]);
                keep(&publisher, &channel, "live");
                let came = before_fence(&hearer, &publisher, &channel);
                assert_eq!(texts(&came), [("live".to_owned(), as_published)]);
            }
        }
    });
}

#[test]
fn a_retained_message_keeps_its_properties_and_names_the_subscription() {
    each_shard_count(|net| {
        for form in [PAHO_5, MQTTJS_5] {
            let channel = new_channel();
            let (account, publisher) = block(net, form, "p");
            let properties = json!({"content_type": "t", "user_properties": [["b", "1"], ["a", "2"]]});
            publisher.publish_acked(Publish::new(&channel, "x").retained().properties(properties));
            let hearer = block(net, form, "h").1;
            let identifier = json!({"subscription_identifier": 7});
            hearer.subscribe_with(&[Subscribe::new(&channel, 1)], identifier);
            let message = hearer.message();
            let own = [("b", "1"), ("a", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
            let expected = [own.to_vec(), Stamp::of(&account, "p").as_user_properties()].concat();
            assert_eq!(message.properties.user(), expected);
            assert_eq!(message.properties.text("content_type"), Some("t"));
            assert_eq!(message.properties.subscription_identifiers(), [7]);
        }
    });
}

#[test]
fn a_retained_message_expires_and_tells_what_is_left() {
    each_shard_count(|net| {
        for form in [PAHO_5, MQTTJS_5] {
            let channel = new_channel();
            let publisher = block(net, form, "p").1;
            let keep_for = |name: &str, seconds: Value| {
                let channel = format!("{channel}/{name}");
                let properties = json!({"message_expiry_interval": seconds});
                let message = Publish::new(&channel, name).retained().properties(properties);
                publisher.publish_acked(message);
            };
            keep_for("long", 100.into());
            keep_for("short", 1.into());
            let mut came = Vec::new();
            eventually("one is left", || {
                let hearer = block(net, form, "h").1;
                hearer.hear(&format!("{channel}/#"), 1);
                came = before_fence(&hearer, &publisher, &channel);
                texts(&came) == [("long".into(), true)]
            });
            let left = came[0].properties.number("message_expiry_interval").unwrap();
            assert!((50..100).contains(&left), "{left}");
        }
    });
}

#[test]
fn a_will_is_retained_where_it_asks_for_it() {
    each_form(|net, form| {
        let channel = new_channel();
        let account = net.app().account("user");
        let mut connect = account.connect("d1").with_will(&channel, b"gone", 1);
        connect.will.as_mut().unwrap()["retain"] = true.into();
        let live = block(net, form, "live").1;
        live.hear(&channel, 1);
        let client = net.open(form, &connect);
        assert_eq!(client.connack().0, 0);
        client.kill();
        assert_eq!((live.message().text(), live.take_unmatched().len()), ("gone", 0));
        let later = block(net, form, "later").1;
        later.hear(&channel, 1);
        let message = later.message();
        assert_eq!((message.text(), message.retain), ("gone", true));
    });
}

#[test]
fn xmpp_retains_and_is_told_what_is_retained() {
    each_shard_count(|net| {
        let channel = new_channel();
        let (_, page) = block(net, XMPPJS, "page");
        let device = block(net, PAHO_311, "device").1;
        page.publish_retaining(&format!("{channel}/page"), "by the page", Some(true));
        page.publish_retaining(&format!("{channel}/page"), "not to be retained", Some(false));
        keep(&device, &format!("{channel}/device"), "by the device");
        // The page's message is at most once: it is there when a fence behind it is.
        let fence = block(net, PAHO_5, "fence").1;
        fence.hear(&format!("{channel}/fence"), 1);
        page.publish_native(&format!("{channel}/fence"), "fence");
        assert_eq!(fence.message().text(), "fence");
        for form in [XMPPJS, PAHO_311, PAHO_5, MQTTJS_5] {
            let hearer = block(net, form, "later").1;
            hearer.hear_channel(&format!("{channel}/+"));
            for (name, text) in [("device", "by the device"), ("page", "by the page")] {
                let (came_on, _, message) = hearer.next_on_channel();
                assert_eq!(came_on, format!("{channel}/{name}"));
                assert_eq!((message.text(), message.retain), (text, true));
            }
        }
    });
}

#[test]
fn what_is_retained_below_an_app_s_own_level_is_for_its_accounts_alone() {
    each_form(|net, form| {
        let app = net.app();
        let channel = format!("~{}/{}", app.name, new_channel());
        let publisher = net.connect(form, &app.account("user"), "p");
        keep(&publisher, &channel, "private");
        let member = net.connect(form, &app.account("user"), "m");
        member.hear(&channel, 1);
        assert_eq!(member.message().text(), "private");
        let stranger = block(net, form, "s").1;
        assert_eq!(
            stranger.suback(&channel, 1),
            if form.is_5() { 0x87 } else { 0x80 }
        );
    });
}

#[test]
fn beyond_the_bound_a_message_is_delivered_and_refused_as_quota() {
    parallel(&[1, 2], |&shards| {
        let net = Net::start(&Options::shards(shards).config("[channels]\nretained_max = 1\n"));
        for form in FORMS {
            let channel = new_channel();
            let publisher = block(&net, form, "p").1;
            let live = block(&net, form, "live").1;
            live.hear(&format!("{channel}/#"), 1);
            let send = |name: &str, payload: &str| {
                let channel = format!("{channel}/{name}");
                let code = publisher.publish_acked(Publish::new(&channel, payload).retained());
                assert_eq!(live.message().text(), payload);
                code
            };
            assert_eq!(send("a", "first"), 0);
            assert_eq!(send("b", "second"), if form.is_5() { 0x97 } else { 0 });
            let later = block(&net, form, "later").1;
            later.hear(&format!("{channel}/#"), 1);
            let came = before_fence(&later, &publisher, &channel);
            assert_eq!(texts(&came), [("first".into(), true)]);
            assert_eq!(live.message().text(), "fence");
            assert_eq!(send("a", ""), 0);
        }
        let http = net.daemon().http;
        assert_eq!(http::drops(http, "retained", "quota"), 4);
        // The shard that tells may hear of the last removal a moment later.
        eventually("nothing is retained", || {
            let of = |name| http::metric(http, name);
            (of("nexus_retained_messages"), of("nexus_retained_bytes")) == (0, 0)
        });
    });
}
