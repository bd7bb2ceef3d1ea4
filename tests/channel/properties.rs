//! What 5.0 says beside a message: options and identifiers of subscriptions, properties, and the sender in them.

use serde_json::json;

use super::{block, new_channel};
use crate::harness::matrix::{MQTTJS_5, PAHO_5};
use crate::harness::{Publish, Stamp, Subscribe, each_shard_count};

#[test]
fn mqtt5_3_8_3_1_no_local_keeps_own_messages_away() {
    each_shard_count(|net| {
        for form in [PAHO_5, MQTTJS_5] {
            let channel = new_channel();
            let client = block(net, form, "c").1;
            let other = block(net, form, "o").1;
            assert_eq!(client.subscribe(&[Subscribe::new(&channel, 1).no_local()]), [1]);
            client.publish_acked(Publish::new(&channel, "own"));
            other.publish_acked(Publish::new(&channel, "other's"));
            assert_eq!(client.message().text(), "other's");
            // Without the option a block hears itself.
            client.hear(&channel, 1);
            client.publish_acked(Publish::new(&channel, "echo"));
            assert_eq!(client.message().text(), "echo");
        }
    });
}

#[test]
fn mqtt5_3_3_2_3_8_subscription_identifiers_name_the_matching_subscriptions() {
    each_shard_count(|net| {
        for form in [PAHO_5, MQTTJS_5] {
            let channel = new_channel();
            let client = block(net, form, "c").1;
            for (filter, identifier) in [(format!("{channel}/#"), 5), (format!("{channel}/+"), 268_435_455)] {
                let wanted = [Subscribe::new(&filter, 1)];
                let codes = client.subscribe_with(&wanted, json!({"subscription_identifier": identifier}));
                assert_eq!(codes, [1]);
            }
            client.publish_acked(Publish::new(&format!("{channel}/a"), "both"));
            client.publish_acked(Publish::new(&format!("{channel}/a/b"), "one"));
            // One copy with both identifiers, or a copy for each: the standard leaves the choice.
            let mut found = Vec::new();
            let last = loop {
                let message = client.message();
                let identifiers = message.properties.subscription_identifiers();
                if message.text() == "one" {
                    break identifiers;
                }
                found.extend(identifiers);
            };
            found.sort_unstable();
            assert_eq!(found, [5, 268_435_455]);
            assert_eq!(last, [5]);
        }
    });
}

#[test]
fn mqtt5_3_3_2_3_properties_of_a_publish_are_passed_on_unaltered() {
    each_shard_count(|net| {
        for (sends, hears) in [(PAHO_5, PAHO_5), (MQTTJS_5, PAHO_5), (PAHO_5, MQTTJS_5)] {
            let channel = new_channel();
            let (account, publisher) = block(net, sends, "p");
            let hearer = block(net, hears, "h").1;
            hearer.hear(&channel, 1);
            publisher.publish(&Publish::new(&channel, "{}").qos(1).properties(json!({
                "payload_format_indicator": 1,
                "message_expiry_interval": 1000,
                "content_type": "application/json",
                "response_topic": "where/to",
                "correlation_data": "AAH/",
                "user_properties": [["b", "2"], ["a", "1"], ["c", ""]],
            })));
            let message = hearer.message();
            let properties = &message.properties;
            assert_eq!(properties.number("payload_format_indicator"), Some(1));
            let expiry = properties.number("message_expiry_interval").unwrap();
            assert!((990..=1000).contains(&expiry), "{expiry}");
            assert_eq!(properties.text("content_type"), Some("application/json"));
            assert_eq!(properties.text("response_topic"), Some("where/to"));
            assert_eq!(properties.bytes("correlation_data"), Some(vec![0, 1, 255]));
            let own =
                [("b", "2"), ("a", "1"), ("c", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
            let expected = [own.to_vec(), Stamp::of(&account, "p").as_user_properties()].concat();
            assert_eq!(
                properties.user(),
                expected,
                "the daemon's are appended after the sender's own"
            );
        }
    });
}

#[test]
fn forged_nexus_properties_are_removed_and_the_daemons_come_last() {
    each_shard_count(|net| {
        let channel = new_channel();
        let app = net.app();
        let account = app.account("user");
        let publisher = net.connect(PAHO_5, &account, "p");
        let hearer = net.connect(PAHO_5, &app.account("owner"), "h");
        hearer.hear(&channel, 1);
        hearer.listen_direct();
        let forged = json!({"user_properties": [
            ["a", "1"], ["nexus-app", "evil"], ["b", "2"], ["nexus-uid", "0"], ["a", "3"],
            ["nexus-role", "owner"], ["nexus-resource", "boss"], ["nexus-code", "0"], ["nexus-app", "again"],
            ["Nexus-App", "another name"], ["nexus-other", "another name"], ["a", "1"],
        ]});
        publisher.publish(&Publish::new(&channel, "x").qos(1).properties(forged.clone()));
        let kept = [
            ("a", "1"),
            ("b", "2"),
            ("a", "3"),
            ("Nexus-App", "another name"),
            ("nexus-other", "another name"),
            ("a", "1"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let stamp = Stamp::of(&account, "p");
        let expected = [kept.to_vec(), stamp.as_user_properties()].concat();
        assert_eq!(hearer.message().properties.user(), expected);

        let direct = format!("$nexus/direct/{}/h", app.name);
        publisher.publish(&Publish::new(&direct, "x").qos(1).properties(forged.clone()));
        let message = hearer.message();
        assert_eq!(Stamp::in_properties(&message), Some(stamp.clone()));
        assert!(message.properties.user_values("nexus-code").is_empty());

        hearer.listen("cmd");
        net.grant(&account.uid, &app.name, None);
        let customer = net.connect(PAHO_5, &account, "p");
        let mut asked = forged;
        asked["response_topic"] = "my/replies".into();
        let topic = format!("$nexus/api/{}/cmd", app.name);
        customer.publish(&Publish::new(&topic, "{}").qos(1).properties(asked.clone()));
        let request = hearer.request();
        assert_eq!(request.sender, stamp);
        // A worker's answer cannot forge the outcome's code or the answerer either.
        asked.as_object_mut().unwrap().remove("response_topic");
        hearer.publish(
            &Publish::new(&request.answer_topic, r#"{"code":5}"#)
                .qos(1)
                .properties(asked),
        );
        let reply = customer.message_where("reply", |message| message.topic == "my/replies");
        assert_eq!(reply.properties.user_values("nexus-code"), ["5"]);
        let answerer = Stamp::in_properties(&reply).unwrap();
        assert_eq!(
            (answerer.role.as_str(), answerer.resource.as_str()),
            ("owner", "h")
        );
    });
}

#[test]
fn forged_nexus_properties_of_a_will_are_removed() {
    each_shard_count(|net| {
        let channel = new_channel();
        let hearer = block(net, PAHO_5, "h").1;
        hearer.hear(&channel, 1);
        let account = net.app().account("user");
        let mut connect = account.connect("d1").with_will(&channel, b"gone", 1);
        connect.will.as_mut().unwrap()["properties"] =
            json!({"user_properties": [["a", "1"], ["nexus-uid", "0"], ["b", "2"]]});
        let client = net.open(PAHO_5, &connect);
        assert_eq!(client.connack().0, 0);
        client.kill();
        let own = [("a", "1"), ("b", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let expected = [own.to_vec(), Stamp::of(&account, "d1").as_user_properties()].concat();
        assert_eq!(hearer.message().properties.user(), expected);
    });
}
