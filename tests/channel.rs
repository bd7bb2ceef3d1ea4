//! Nexus-Channel: publish and subscribe by name, the sender on every message (PROTOCOL 2.3, 2.4 and 3).

mod frames;
mod properties;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::harness::matrix::{MQTTJS_5, MQTTJS_311, PAHO_5, PAHO_311};
use crate::harness::{
    Account, Call, Client, Event, FORMS, Form, Net, Options, Publish, Stamp, each_form, each_pair,
    each_shard_count, parallel,
};

/// A channel nobody else uses.
fn new_channel() -> String {
    static CHANNELS: AtomicU64 = AtomicU64::new(0);
    format!("channel{}", CHANNELS.fetch_add(1, Ordering::Relaxed))
}

/// A block of its own app.
fn block(net: &Net, form: Form, resource: &str) -> (Account, Client) {
    let account = net.app().account("user");
    let client = net.connect(form, &account, resource);
    (account, client)
}

#[test]
fn subscribers_of_both_versions_hear_one_channel_with_its_sender() {
    each_form(|net, form| {
        let channel = new_channel();
        let hearers: Vec<Client> = FORMS.iter().map(|&form| block(net, form, "hearer").1).collect();
        for hearer in &hearers {
            hearer.hear_channel(&format!("{channel}/#"));
        }
        // A plain filter of a 3.1.1 client delivers on the plain topic.
        let plain = block(net, PAHO_311, "plain").1;
        plain.hear(&format!("{channel}/#"), 1);
        let (account, publisher) = block(net, form, "Device.7");
        let name = format!("{channel}/plant/7/alarm");
        for payload in [&b"on"[..], b"", b"\x00\xff binary", "héllo".as_bytes()] {
            publisher.publish(&Publish::new(&name, payload).qos(1));
            for hearer in &hearers {
                let (came_on, sender, message) = hearer.next_on_channel();
                assert_eq!(came_on, name);
                assert_eq!(message.payload, payload);
                assert_eq!(sender, Stamp::of(&account, "Device.7"));
                assert!(!message.retain && !message.dup);
            }
            let message = plain.message();
            assert_eq!(
                (message.topic.as_str(), message.payload.as_slice()),
                (name.as_str(), payload)
            );
        }
    });
}

#[test]
fn the_sender_is_in_the_topic_of_a_nexus_channel_filter_in_both_versions() {
    each_pair(|net, sends, hears| {
        let channel = new_channel();
        let (account, publisher) = block(net, sends, "Device.7");
        let hearer = block(net, hears, "hearer").1;
        hearer.hear(&format!("$nexus/channel/+/+/+/+/{channel}/#"), 1);
        publisher.publish(&Publish::new(&format!("{channel}/a"), "x").qos(1));
        let message = hearer.message();
        let Account { app, uid, role, .. } = &account;
        assert_eq!(
            message.topic,
            format!("$nexus/channel/{app}/{uid}/{role}/Device.7/{channel}/a")
        );
        if hears.is_5() {
            assert_eq!(
                Stamp::in_properties(&message),
                Some(Stamp::of(&account, "Device.7")),
                "5.0: on every delivered PUBLISH"
            );
        }
    });
}

#[test]
fn a_nexus_channel_filter_names_who_is_heard() {
    each_form(|net, form| {
        let channel = new_channel();
        let app = net.app();
        let (owner, user) = (app.account("owner"), app.account("user"));
        let senders = [
            (net.connect(form, &owner, "d1"), "owner/d1"),
            (net.connect(form, &owner, "d2"), "owner/d2"),
            (net.connect(form, &user, "d1"), "user/d1"),
            (block(net, form, "d1").1, "other/d1"),
        ];
        let name = &app.name;
        let cases = [
            (format!("{name}/+/+/+"), vec!["owner/d1", "owner/d2", "user/d1"]),
            (format!("+/{}/+/+", owner.uid), vec!["owner/d1", "owner/d2"]),
            (format!("{name}/+/user/+"), vec!["user/d1"]),
            (format!("{name}/{}/owner/d2", owner.uid), vec!["owner/d2"]),
            ("+/+/+/d2".to_owned(), vec!["owner/d2"]),
        ];
        for (number, (from, heard)) in cases.into_iter().enumerate() {
            let (channel, fence) = (format!("{channel}/{number}"), format!("{channel}/{number}/fence"));
            let hearer = net.connect(form, &owner, &format!("hearer{number}"));
            hearer.hear(&format!("$nexus/channel/{from}/{channel}"), 1);
            hearer.hear(&fence, 1);
            for (sender, text) in &senders {
                sender.publish_acked(Publish::new(&channel, text));
            }
            let mut came = BTreeSet::new();
            for _ in &heard {
                came.insert(hearer.message().text().to_owned());
            }
            // What each sender sent earlier has come before what it sends last.
            for (sender, _) in &senders {
                sender.publish(&Publish::new(&fence, "fence").qos(1));
                assert_eq!(hearer.message().text(), "fence", "{from}");
            }
            assert_eq!(came, heard.into_iter().map(str::to_owned).collect(), "{from}");
        }
    });
}

#[test]
fn wildcards_match_as_the_standard_says() {
    each_pair(|net, sends, hears| {
        let c = new_channel();
        let publisher = block(net, sends, "p").1;
        let hearer = block(net, hears, "h").1;
        let table = [
            ("+", vec!["a", "é"]),
            ("#", vec!["", "a", "a/b", "a/b/c", "/b", "a/", "é"]),
            ("a/#", vec!["a", "a/b", "a/b/c", "a/"]),
            ("a/+", vec!["a/b", "a/"]),
            ("+/b", vec!["a/b", "/b"]),
            ("a/+/c", vec!["a/b/c"]),
            ("a/b", vec!["a/b"]),
        ];
        let names = ["", "a", "é", "a/b", "a/b/c", "/b", "a/"];
        for (filter, matching) in table {
            let filter = format!("{c}/{filter}");
            hearer.hear(&filter, 1);
            for name in names {
                let topic = if name.is_empty() {
                    c.clone()
                } else {
                    format!("{c}/{name}")
                };
                publisher.publish_acked(Publish::new(&topic, name));
            }
            let expected: Vec<&str> = names.into_iter().filter(|name| matching.contains(name)).collect();
            for name in expected {
                assert_eq!(hearer.message().text(), name, "{filter}");
            }
            hearer.unsubscribe(&[&filter]);
        }
        let fence = format!("{c}/fence");
        hearer.hear(&fence, 1);
        publisher.publish(&Publish::new(&fence, "fence").qos(1));
        assert_eq!(hearer.message().text(), "fence");
    });
}

#[test]
fn mqtt_3_8_4_invalid_filters_are_refused() {
    each_form(|net, form| {
        let client = block(net, form, "r").1;
        let long = format!("a/{}", "x".repeat(1023));
        let code = client.suback(&long, 1);
        assert!(code >= 0x80, "a channel's name has 1024 bytes at most: {code:#x}");
        let code = client.publish_acked(Publish::new(&long, "x"));
        assert_eq!(code >= 0x80, form.is_5(), "{code:#x}");
        let longest = format!("a/{}", "x".repeat(1022));
        client.hear(&longest, 1);
        assert_eq!(client.publish_acked(Publish::new(&longest, "x")), 0);
        assert_eq!(client.message().text(), "x");
    });
}

#[test]
fn mqtt5_3_4_2_1_no_matching_subscribers_is_told() {
    each_shard_count(|net| {
        for form in [PAHO_5, MQTTJS_5] {
            let client = block(net, form, "r").1;
            let channel = new_channel();
            let code = client.publish_acked(Publish::new(&channel, "x"));
            assert!(matches!(code, 0 | 0x10), "{code:#x}");
            client.hear(&channel, 0);
            assert_eq!(client.publish_acked(Publish::new(&channel, "x")), 0);
        }
    });
}

#[test]
fn each_receiver_gets_at_most_the_qos_it_subscribed_with() {
    each_form(|net, form| {
        let channel = new_channel();
        let publisher = block(net, form, "p").1;
        for granted in [0, 1, 2] {
            let hearer = block(net, form, "h").1;
            hearer.hear(&channel, granted);
            for sent in [0, 1, 2] {
                publisher.publish(&Publish::new(&channel, "x").qos(sent));
                assert_eq!(hearer.message().qos, granted.min(sent));
            }
        }
    });
}

#[test]
fn a_filter_whose_first_level_is_a_wildcard_is_for_operators() {
    each_form(|net, form| {
        let user = block(net, form, "r").1;
        let owner = net.connect(form, &net.app().account("owner"), "r");
        let operator_account = net.operator();
        let operator = net.connect(form, &operator_account, "r");
        let helper = net.connect(
            form,
            &net.account_of("nexus", &crate::harness::world::new_uid(), "partner"),
            "r",
        );
        for filter in [
            "#",
            "+",
            "+/x",
            "$nexus/channel/#",
            "$nexus/channel/+/+/+/+/#",
            "$nexus/channel/+/+/+/+/+/x",
        ] {
            let refused = if form.is_5() { 0x87 } else { 0x80 };
            for client in [&user, &owner, &helper] {
                assert_eq!(client.suback(filter, 1), refused, "{filter}");
            }
            assert_eq!(operator.suback(filter, 1), 1, "{filter}");
            operator.unsubscribe(&[filter]);
        }
        operator.hear("$nexus/channel/#", 1);
        let channel = new_channel();
        user.publish(&Publish::new(&channel, "seen").qos(1));
        let message = operator.message_where("message", |message| message.topic.ends_with(&channel));
        assert!(message.topic.starts_with("$nexus/channel/"), "{}", message.topic);
    });
}

#[test]
fn root_wildcards_are_for_all_where_configured() {
    parallel(&FORMS, |&form| {
        let net = Net::start(&Options::shards(2).config("[channels]\nroot_wildcard = \"all\"\n"));
        let hearer = block(&net, form, "h").1;
        let publisher = block(&net, form, "p").1;
        for (filter, name) in [
            ("#", "any/where"),
            ("+/x", "some/x"),
            ("$nexus/channel/#", "else/where"),
        ] {
            hearer.hear(filter, 1);
            publisher.publish(&Publish::new(name, filter).qos(1));
            let message = hearer.message();
            assert_eq!(message.text(), filter);
            assert!(message.topic.ends_with(name), "{}", message.topic);
            hearer.unsubscribe(&[filter]);
        }
        // No wildcard at the first level reaches the control topics.
        hearer.hear("#", 1);
        publisher.publish_acked(Publish::new("$nexus/direct/none/none", "hidden"));
        assert_eq!(publisher.call(&Call::new("nexus", "ping")).code, 0);
        publisher.publish(&Publish::new("fence", "fence").qos(1));
        assert_eq!(hearer.message().text(), "fence");
    });
}

#[test]
fn plain_channels_of_3_1_1_can_be_forbidden() {
    parallel(&FORMS, |&form| {
        let net = Net::start(&Options::shards(1).config("[mqtt]\nv3_plain_channels = false\n"));
        let hearer = block(&net, form, "h").1;
        let expected = if form.is_5() { 1 } else { 0x80 };
        assert_eq!(hearer.suback("plain/channel", 1), expected);
        hearer.unsubscribe(&["plain/channel"]);
        hearer.hear("$nexus/channel/+/+/+/+/plain/channel", 1);
        let (account, publisher) = block(&net, form, "p");
        publisher.publish(&Publish::new("plain/channel", "x").qos(1));
        assert_eq!(hearer.next_on_channel().1, Stamp::of(&account, "p"));
    });
}

#[test]
fn channels_under_tilde_app_admit_that_apps_accounts_alone() {
    each_form(|net, form| {
        let app = net.app();
        let channel = format!("~{}/inner", app.name);
        let (publisher, hearer) = (
            net.connect(form, &app.account("user"), "p"),
            net.connect(form, &app.account("owner"), "h"),
        );
        hearer.hear(&format!("~{}/#", app.name), 1);
        let stranger = block(net, form, "s").1;
        let operator = net.connect(form, &net.operator(), "op");
        let refused = if form.is_5() { 0x87 } else { 0x80 };
        for filter in [
            channel.clone(),
            format!("~{}/#", app.name),
            format!("~{}", app.name),
            format!("$nexus/channel/+/+/+/+/{channel}"),
        ] {
            assert_eq!(stranger.suback(&filter, 1), refused, "{filter}");
            assert_eq!(operator.suback(&filter, 1), refused, "{filter}");
        }
        operator.hear("#", 1);
        let code = stranger.publish_acked(Publish::new(&channel, "intruder"));
        assert_eq!(code, if form.is_5() { 0x87 } else { 0 });
        publisher.publish_acked(Publish::new(&channel, "inner"));
        let outside = new_channel();
        publisher.publish_acked(Publish::new(&outside, "outside"));
        assert_eq!(hearer.message().text(), "inner");
        let seen = operator.message_where("message", |message| {
            assert!(
                !message.topic.starts_with(&format!("~{}", app.name)),
                "{message:?}"
            );
            message.topic == outside
        });
        assert_eq!(seen.text(), "outside");
    });
}

#[test]
fn messages_of_one_sender_arrive_in_the_order_sent() {
    each_form(|net, form| {
        const MESSAGES: usize = 1000;
        for qos in [0, 1, 2] {
            let channel = new_channel();
            let publisher = block(net, form, "p").1;
            let hearers: Vec<Client> = [PAHO_5, MQTTJS_311].map(|form| block(net, form, "h").1).into();
            for hearer in &hearers {
                hearer.hear(&channel, 2);
            }
            let mut sent = Vec::new();
            for n in 0..MESSAGES {
                sent.push(publisher.publish(&Publish::new(&channel, n.to_string()).qos(qos)));
            }
            for hearer in &hearers {
                for n in 0..MESSAGES {
                    let message = hearer.message();
                    assert_eq!(message.text(), n.to_string());
                    assert_eq!(message.qos, qos);
                }
                assert!(hearer.take_unmatched().is_empty(), "each came once");
            }
            if qos > 0 {
                for reference in sent {
                    assert_eq!(publisher.puback(reference), 0);
                }
            }
        }
    });
}

#[test]
fn two_senders_keep_their_own_order_on_one_channel() {
    each_shard_count(|net| {
        const MESSAGES: u32 = 300;
        let channel = new_channel();
        let senders = [block(net, PAHO_311, "p").1, block(net, MQTTJS_5, "p").1];
        let hearer = block(net, PAHO_5, "h").1;
        hearer.hear(&channel, 1);
        for n in 0..MESSAGES {
            for (place, sender) in senders.iter().enumerate() {
                sender.publish(&Publish::new(&channel, json!([place, n]).to_string()).qos(1));
            }
        }
        let mut next = [0; 2];
        for _ in 0..MESSAGES * 2 {
            let (place, n): (usize, u32) = serde_json::from_slice(&hearer.message().payload).unwrap();
            assert_eq!(n, next[place]);
            next[place] += 1;
        }
    });
}

#[test]
fn the_will_is_published_when_a_block_ends_without_a_good_bye() {
    each_form(|net, form| {
        let channel = new_channel();
        let hearers: Vec<Client> = [PAHO_311, PAHO_5].map(|form| block(net, form, "h").1).into();
        for hearer in &hearers {
            hearer.hear_channel(&channel);
        }
        let account = net.app().account("user");
        // An address of its own: taken over before its DISCONNECT is read, it would rightly leave its will.
        let polite = net.open(form, &account.connect("d0").with_will(&channel, b"left", 1));
        assert_eq!(polite.connack().0, 0);
        polite.disconnect();
        let killed = net.open(form, &account.connect("d1").with_will(&channel, b"gone", 1));
        assert_eq!(killed.connack().0, 0);
        killed.publish_acked(Publish::new(&channel, "alive"));
        killed.kill();
        for hearer in &hearers {
            assert_eq!(
                hearer.next_on_channel().2.text(),
                "alive",
                "no will of the polite one"
            );
            let (name, sender, message) = hearer.next_on_channel();
            assert_eq!((name.as_str(), message.text()), (channel.as_str(), "gone"));
            assert_eq!(sender, Stamp::of(&account, "d1"));
            assert!(hearer.take_unmatched().is_empty());
        }
    });
}

#[test]
fn overlapping_subscriptions_of_one_3_1_1_client_lose_nothing() {
    each_shard_count(|net| {
        for form in [PAHO_311, MQTTJS_311] {
            let channel = new_channel();
            let client = block(net, form, "c").1;
            client.hear(&format!("{channel}/#"), 0);
            client.hear(&format!("{channel}/a"), 1);
            client.publish_acked(Publish::new(&format!("{channel}/a"), "x"));
            client.publish_acked(Publish::new(&format!("{channel}/b"), "fence"));
            let mut most = 0;
            loop {
                let message = client.message();
                if message.text() == "fence" {
                    break;
                }
                most = most.max(message.qos);
            }
            assert_eq!(
                most, 1,
                "MQTT 3.1.1, 3.3.5: the maximum QoS of the matching subscriptions"
            );
        }
    });
}

#[test]
fn shared_subscriptions_are_served_and_groups_are_per_app() {
    each_shard_count(|net| {
        for form in [PAHO_5, MQTTJS_5] {
            let account = net.app().account("user");
            let first = net.open(form, &account.connect("s1"));
            let (_, _, properties) = first.connack();
            let channel = new_channel();
            let filter = format!("$share/group/{channel}");
            assert_ne!(properties.number("shared_subscription_available"), Some(0));
            let second = net.connect(form, &account, "s2");
            let stranger = block(net, form, "s3").1;
            for client in [&first, &second, &stranger] {
                client.hear(&filter, 1);
            }
            let publisher = block(net, form, "p").1;
            for n in 0..20 {
                publisher.publish_acked(Publish::new(&channel, n.to_string()));
            }
            for n in 0..20 {
                assert_eq!(stranger.message().text(), n.to_string(), "groups are per app");
            }
            let mut shares = [0; 2];
            for _ in 0..20 {
                let (place, ()) = Client::first_of(&[&first, &second], "share", |_, event| {
                    matches!(event, Event::Message(_)).then_some(())
                });
                shares[place] += 1;
            }
            assert!(shares.iter().all(|&share| share > 0), "{shares:?}");
        }
    });
}
