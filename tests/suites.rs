//! What a client of MQTT does in its life, done by aiomqtt and rumqttc in each version and over each transport that
//! they have, and by the programs of mosquitto (`mosquitto`).

mod mosquitto;

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::matrix::{Library, SHARD_COUNTS, SUITES};
use crate::harness::{
    Account, Call, Client, Connect, Form, Message, Net, Publish, Stamp, Subscribe, parallel,
};

/// The largest packet that the daemon takes, less what stands around a payload.
const PAYLOAD_BYTES_MAX: usize = 1_024 * 1_024 - 128;

/// Who speaks, and in which form.
struct Cast<'a> {
    net: &'a Net,
    account: &'a Account,
    form: Form,
}

impl Cast<'_> {
    /// A clean session of a name that no other has.
    #[track_caller]
    fn client(&self, role: &str) -> Client {
        self.net.connect(self.form, self.account, &fresh(role))
    }

    /// A CONNECT of a session that lasts.
    fn lasting(&self, resource: &str) -> Connect {
        let mut connect = self.account.connect(resource);
        connect.clean = false;
        if self.form.is_5() {
            connect.properties = json!({"session_expiry_interval": 60});
        }
        connect
    }

    /// Connects; whether the session was there.
    #[track_caller]
    fn open(&self, connect: &Connect) -> (Client, bool) {
        let client = self.net.open(self.form, connect);
        let (code, is_present, _) = client.connack();
        assert_eq!(code, 0);
        (client, is_present)
    }
}

/// A name that nothing else in this run has.
fn fresh(name: &str) -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    format!("{name}{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

/// Runs `test` for each shard count and form of the two libraries, with an account for all of them.
fn each_suite(test: impl Fn(&Cast<'_>) + Sync) {
    parallel(&SHARD_COUNTS, |&shards| {
        let net = Net::shared(shards);
        let account = net.app().account("user");
        parallel(&SUITES, |&form| {
            test(&Cast {
                net: &net,
                account: &account,
                form,
            });
        });
    });
}

/// What comes to `client` on `channel`, or on channels that share its subscriptions, before what is published now.
#[track_caller]
fn before_fence(client: &Client, publisher: &Client, channel: &str) -> Vec<Message> {
    publisher.publish_acked(Publish::new(channel, "fence"));
    let mut came = Vec::new();
    loop {
        let message = client.message();
        if message.payload == b"fence" {
            return came;
        }
        came.push(message);
    }
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(Message::text).collect()
}

#[test]
fn each_qos_both_ways_and_the_lower_of_two() {
    each_suite(|cast| {
        let (publisher, channel) = (cast.client("p"), fresh("suite"));
        let hearers = [0, 1, 2].map(|qos| {
            let hearer = cast.client("h");
            hearer.hear(&format!("{channel}/+"), qos);
            (hearer, qos)
        });
        for sent in [0, 1, 2] {
            let reference = publisher.publish(&Publish::new(&format!("{channel}/{sent}"), "x").qos(sent));
            if sent > 0 {
                assert_eq!(publisher.puback(reference), 0);
            }
            for (hearer, granted) in &hearers {
                let message = hearer.message();
                assert_eq!(message.topic, format!("{channel}/{sent}"));
                assert_eq!((message.qos, message.retain), (sent.min(*granted), false));
            }
        }
    });
}

#[test]
fn retained_messages_come_later_and_are_cleared() {
    each_suite(|cast| {
        let (publisher, channel) = (cast.client("p"), fresh("suite"));
        for payload in ["1", "2"] {
            publisher.publish_acked(Publish::new(&channel, payload).retained());
        }
        let hearer = cast.client("h");
        hearer.hear(&channel, 1);
        let came = before_fence(&hearer, &publisher, &channel);
        assert_eq!(texts(&came), ["2"]);
        assert!(came[0].retain);
        if cast.form.is_5() {
            for (handling, expected) in [(2, 0), (1, 0), (0, 1)] {
                let wanted = Subscribe::new(&channel, 1).retained(handling, true);
                assert_eq!(hearer.subscribe(&[wanted]), [1]);
                let came = before_fence(&hearer, &publisher, &channel);
                assert_eq!(came.len(), expected, "Retain Handling {handling}");
            }
            publisher.publish_acked(Publish::new(&channel, "3").retained());
            assert!(hearer.message().retain, "Retain As Published");
        }
        publisher.publish_acked(Publish::new(&channel, "").retained());
        let late = cast.client("l");
        late.hear(&channel, 1);
        assert_eq!(before_fence(&late, &publisher, &channel).len(), 0, "cleared");
    });
}

#[test]
fn wills_are_published_at_once_or_after_their_delay_or_never() {
    each_suite(|cast| {
        let (hearer, channel) = (cast.client("h"), fresh("suite"));
        hearer.hear(&channel, 2);
        let with_will = |text: &str| {
            let connect = cast.account.connect(&fresh("w"));
            connect.with_will(&channel, text.as_bytes(), 2)
        };
        let (tidy, _) = cast.open(&with_will("never"));
        tidy.disconnect();
        let mut delayed = with_will("delayed");
        if cast.form.is_5() {
            delayed.properties = json!({"session_expiry_interval": 60});
            delayed.will.as_mut().unwrap()["properties"] = json!({"will_delay_interval": 2, "content_type": "text/plain", "user_properties": [["a", "b"]]});
            // Long gone when the will comes.
            let kept = Publish::new(&channel, "short").retained();
            hearer.publish_acked(kept.properties(json!({"message_expiry_interval": 1})));
            assert_eq!(hearer.message().text(), "short");
        }
        let (sudden, _) = cast.open(&with_will("at once"));
        if cast.form.is_5() {
            cast.open(&delayed).0.kill();
        }
        sudden.kill();
        let message = hearer.message();
        assert_eq!((message.text(), message.qos), ("at once", 2));
        if !cast.form.is_5() {
            return;
        }
        let message = hearer.message();
        assert_eq!((message.text(), message.qos), ("delayed", 2));
        assert_eq!(message.properties.text("content_type"), Some("text/plain"));
        let sender = Stamp::of(cast.account, &delayed.client_id).as_user_properties();
        assert_eq!(message.properties.user()[1..], sender);
        hearer.hear(&channel, 1);
        assert_eq!(
            before_fence(&hearer, &hearer, &channel).len(),
            0,
            "it has expired"
        );
    });
}

#[test]
fn what_waits_for_a_session_comes_in_order_and_a_clean_start_forgets_it() {
    each_suite(|cast| {
        let (publisher, channel, resource) = (cast.client("p"), fresh("suite"), fresh("s"));
        let (client, is_present) = cast.open(&cast.lasting(&resource));
        assert!(!is_present);
        client.hear(&channel, 2);
        client.disconnect();
        for text in ["1", "2", "3"] {
            let expiring = Publish::new(&channel, text).qos(2);
            let sent = publisher.publish(&expiring.properties(json!({"message_expiry_interval": 100})));
            assert_eq!(publisher.puback(sent), 0);
        }
        let (client, is_present) = cast.open(&cast.lasting(&resource));
        assert!(is_present);
        // What is of QoS 2 is shown by aiomqtt at the end of its exchange, after what comes meanwhile.
        let came = [client.message(), client.message(), client.message()];
        assert_eq!(texts(&came), ["1", "2", "3"]);
        assert_eq!(before_fence(&client, &publisher, &channel).len(), 0);
        assert!(came.iter().all(|message| message.qos == 2));
        if cast.form.is_5() {
            let left = came[0].properties.number("message_expiry_interval").unwrap();
            assert!((1..=100).contains(&left), "{left}");
        }
        client.kill();
        publisher.publish_acked(Publish::new(&channel, "4"));
        let (client, is_present) = cast.open(&cast.account.connect(&resource));
        assert!(!is_present);
        client.hear(&channel, 1);
        assert_eq!(before_fence(&client, &publisher, &channel).len(), 0, "forgotten");
    });
}

#[test]
fn wildcards_and_overlapping_subscriptions_until_they_are_ended() {
    each_suite(|cast| {
        let (publisher, hearer, channel) = (cast.client("p"), cast.client("h"), fresh("suite"));
        let filters = ["#", "+/b", "a/b"].map(|below| format!("{channel}/{below}"));
        for (filter, identifier) in filters.iter().zip(1..) {
            let properties = if cast.form.is_5() {
                json!({ "subscription_identifier": identifier })
            } else {
                Value::Null
            };
            assert_eq!(
                hearer.subscribe_with(&[Subscribe::new(filter, 1)], properties),
                [1]
            );
        }
        publisher.publish_acked(Publish::new(&format!("{channel}/a/b"), "x"));
        let came = before_fence(&hearer, &publisher, &channel);
        if cast.form.is_5() {
            let mut identifiers: Vec<u64> = came
                .iter()
                .flat_map(|message| message.properties.subscription_identifiers())
                .collect();
            identifiers.sort_unstable();
            assert_eq!(identifiers, [1, 2, 3]);
        }
        assert!(
            came.iter()
                .all(|message| message.topic == format!("{channel}/a/b"))
        );
        assert!(!came.is_empty());
        for filter in &filters[1..] {
            hearer.unsubscribe(&[filter]);
        }
        publisher.publish_acked(Publish::new(&format!("{channel}/a/b"), "y"));
        assert_eq!(texts(&before_fence(&hearer, &publisher, &channel)), ["y"]);
        hearer.unsubscribe(&[&filters[0]]);
        hearer.hear(&format!("{channel}/c"), 1);
        publisher.publish_acked(Publish::new(&format!("{channel}/a/b"), "z"));
        let came = before_fence(&hearer, &publisher, &format!("{channel}/c"));
        assert_eq!(came.len(), 0, "ended");
    });
}

#[test]
fn members_of_a_shared_subscription_take_turns() {
    each_suite(|cast| {
        let (publisher, channel) = (cast.client("p"), fresh("suite"));
        let shared = format!("$share/g/{channel}");
        let members = [cast.client("m"), cast.client("m")];
        for member in &members {
            member.hear(&shared, 1);
        }
        for text in ["1", "2", "3", "4"] {
            publisher.publish_acked(Publish::new(&channel, text));
        }
        let mut came: Vec<Message> = Vec::new();
        for member in &members {
            came.extend([member.message(), member.message()]);
        }
        let mut came = texts(&came);
        came.sort_unstable();
        assert_eq!(came, ["1", "2", "3", "4"]);
        members[0].unsubscribe(&[&shared]);
        for text in ["5", "6"] {
            publisher.publish_acked(Publish::new(&channel, text));
        }
        assert_eq!(
            [members[1].message(), members[1].message()].map(|m| m.text().to_owned()),
            ["5", "6"]
        );
    });
}

#[test]
fn properties_come_as_they_were_sent_and_the_sender_follows_them() {
    each_suite(|cast| {
        if !cast.form.is_5() {
            return;
        }
        let (publisher, hearer, channel) = (cast.client("p"), cast.client("h"), fresh("suite"));
        hearer.hear(&channel, 1);
        let pairs = json!([["a", "1"], ["a", "2"], ["nexus-role", "owner"]]);
        publisher.publish_acked(Publish::new(&channel, "{}").properties(json!({
            "payload_format_indicator": 1,
            "message_expiry_interval": 100,
            "content_type": "application/json",
            "response_topic": "back/here",
            "correlation_data": STANDARD.encode([0, 255]),
            "user_properties": pairs,
        })));
        let properties = hearer.message().properties;
        assert_eq!(properties.number("payload_format_indicator"), Some(1));
        assert_eq!(properties.number("message_expiry_interval"), Some(100));
        assert_eq!(properties.text("content_type"), Some("application/json"));
        assert_eq!(properties.text("response_topic"), Some("back/here"));
        assert_eq!(properties.bytes("correlation_data"), Some(vec![0, 255]));
        let mut expected = vec![("a".to_owned(), "1".to_owned()), ("a".into(), "2".into())];
        expected.extend(Stamp::of(cast.account, &publisher.resource).as_user_properties());
        assert_eq!(properties.user(), expected);
        let alias = |channel: &str, text: &str| {
            let aliased = Publish::new(channel, text).properties(json!({"topic_alias": 3}));
            publisher.publish_acked(aliased);
            hearer.message()
        };
        assert_eq!(alias(&channel, "named").topic, channel);
        let message = alias("", "by its alias");
        assert_eq!(
            (message.topic.as_str(), message.text()),
            (channel.as_str(), "by its alias")
        );
    });
}

#[test]
fn requests_are_answered_and_direct_messages_arrive() {
    each_suite(|cast| {
        let app = cast.net.app();
        let (worker, caller) = (app.account("owner"), app.customer());
        let worker = cast.net.connect(cast.form, &worker, "worker");
        worker.listen("multiply");
        worker.listen_direct();
        let caller = cast.net.connect(cast.form, &caller, "caller");
        let reply = caller.call_served(&[&worker], &Call::new(&app.name, "multiply"));
        assert_eq!((reply.code, &reply.body["worker"]), (0, &json!("worker")));
        caller
            .call(&Call::new(&app.name, "divide"))
            .assert_failure(-500, "not implemented.");
        caller.direct(&app.name, "worker", "hello");
        assert_eq!(worker.next_direct().0, "hello");
    });
}

#[test]
fn refusals_have_their_codes_and_what_is_allowed_goes_on() {
    each_suite(|cast| {
        let is_5 = cast.form.is_5();
        let wrong = Connect::new(&cast.account.name, "wrong", "r");
        let refused = cast.net.open(cast.form, &wrong);
        // aiomqtt has the codes of 5.0 for both versions.
        let has_codes_of_5 = is_5 || cast.form.library == Library::Aiomqtt;
        let expected = if has_codes_of_5 { 0x86 } else { 4 };
        assert_eq!(refused.connack().0, expected);
        refused.closed();
        let (client, channel) = (cast.client("c"), fresh("suite"));
        let wanted = ["$SYS/#", &channel].map(|filter| Subscribe::new(filter, 1));
        let expected = if is_5 { 0x87 } else { 0x80 };
        assert_eq!(client.subscribe(&wanted), [expected, 1]);
        let refused = client.publish_acked(Publish::new("$other", "x"));
        // aiomqtt keeps the code to itself.
        if is_5 && cast.form.library == Library::Rumqttc {
            assert_eq!(refused, 0x87);
            assert_eq!(client.publish_acked(Publish::new(&fresh("nobody"), "x")), 0x10);
            assert_eq!(client.unsubscribe(&[&channel]), [0]);
            assert_eq!(client.unsubscribe(&[&channel]), [0x11]);
            client.hear(&channel, 1);
        }
        assert_eq!(before_fence(&client, &client, &channel).len(), 0);
    });
}

#[test]
fn the_largest_payload_passes() {
    each_suite(|cast| {
        let (client, channel) = (cast.client("c"), fresh("suite"));
        client.hear(&channel, 2);
        for qos in [0, 2] {
            let payload = vec![qos + 1; PAYLOAD_BYTES_MAX - channel.len()];
            client.publish(&Publish::new(&channel, &payload).qos(qos));
            let message = client.message();
            assert_eq!(message.qos, qos);
            assert!(message.payload == payload, "{} bytes", message.payload.len());
        }
    });
}

#[test]
fn a_client_that_has_nothing_to_say_is_kept_alive() {
    // The clock is a will that waits for longer than a client may be silent.
    parallel(&SHARD_COUNTS, |&shards| {
        let net = Net::shared(shards);
        let account = net.app().account("user");
        parallel(&SUITES, |&form| {
            if form.library == Library::Rumqttc && form.is_5() {
                return; // It takes no keep alive below 5 seconds.
            }
            let channel = fresh("suite");
            let mut connect = account.connect(&fresh("k"));
            connect.keepalive_s = 1;
            let client = net.open(form, &connect);
            assert_eq!(client.connack().0, 0);
            client.hear(&channel, 1);
            let mut clock = account.connect(&fresh("clock")).with_will(&channel, b"late", 1);
            clock.properties = json!({"session_expiry_interval": 60});
            clock.will.as_mut().unwrap()["properties"] = json!({"will_delay_interval": 3});
            let clock = net.open(crate::harness::matrix::PAHO_5, &clock);
            assert_eq!(clock.connack().0, 0);
            clock.kill();
            assert_eq!(client.message().text(), "late");
        });
    });
}
