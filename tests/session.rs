//! Sessions that outlive their connections (MQTT 3.1.1: 3.1.2.4; 5.0: 3.1.2.11.2, 4.1), with third-party clients: what
//! is kept, what is sent again, who takes over, how long it lasts.

use serde_json::json;

use crate::harness::event::Message;
use crate::harness::matrix::{MQTTJS_311, PAHO_5, PAHO_311, SHARD_COUNTS};
use crate::harness::mqtt::{self, Raw};
use crate::harness::{
    Account, Client, Connect, FORMS, Form, Net, Options, Publish, each_shard_count, eventually, http,
    parallel,
};

/// A CONNECT that goes on with what there is, for a session that lasts `expiry_s`; 3.1.1 knows no end.
fn going_on(form: Form, account: &Account, resource: &str, expiry_s: u32) -> Connect {
    let properties = if form.is_5() {
        json!({ "session_expiry_interval": expiry_s })
    } else {
        serde_json::Value::Null
    };
    Connect {
        clean: false,
        properties,
        ..account.connect(resource)
    }
}

/// Connects; whether a session was there.
#[track_caller]
fn come(net: &Net, form: Form, connect: &Connect) -> (Client, bool) {
    let client = net.open(form, connect);
    let (code, present, _) = client.connack();
    assert_eq!(code, 0);
    (client, present)
}

fn texts(client: &Client, count: usize) -> Vec<(String, u8)> {
    let text = |message: Message| (message.text().to_owned(), message.qos);
    (0..count).map(|_| text(client.message())).collect()
}

#[test]
fn mqtt_4_1_a_session_keeps_its_subscriptions_and_what_it_is_sent() {
    each_shard_count(|net| {
        for form in FORMS {
            let app = net.app();
            let (hearer, channel) = (app.account("user"), format!("kept/{}", app.name));
            let connect = going_on(form, &hearer, "h", 600);
            let (client, present) = come(net, form, &connect);
            assert!(!present, "[MQTT-3.2.2-3]");
            client.hear(&channel, 2);
            client.disconnect();
            let sender = net.connect(PAHO_5, &app.account("owner"), "s");
            for qos in [0, 1, 2] {
                let sent = sender.publish(&Publish::new(&channel, format!("q{qos}")).qos(qos));
                if qos > 0 {
                    assert_eq!(sender.puback(sent), 0);
                }
            }
            let (client, present) = come(net, form, &connect);
            assert!(present, "[MQTT-3.2.2-2] {form:?}");
            assert_eq!(texts(&client, 2), [("q1".to_owned(), 1), ("q2".to_owned(), 2)]);
            assert_eq!(sender.publish_acked(Publish::new(&channel, "live")), 0);
            assert_eq!(client.message().text(), "live");
            client.kill();
            // [MQTT-3.1.2-4], [MQTT-3.1.2-6] of 3.1.1: begun anew, nothing is left.
            let (client, present) = come(net, form, &hearer.connect("h"));
            assert!(!present);
            assert_eq!(sender.publish_acked(Publish::new(&channel, "nobody")), 0x10);
            client.disconnect();
        }
    });
}

#[test]
fn mqtt_3_1_4_3_a_take_over_goes_on_with_the_session_on_any_shard() {
    each_shard_count(|net| {
        let app = net.app();
        let (hearer, channel) = (app.account("user"), format!("over/{}", app.name));
        let sender = net.connect(PAHO_5, &app.account("owner"), "s");
        // Enough connections that both shards have seen some.
        let connect = going_on(PAHO_5, &hearer, "h", 600);
        let (mut client, _) = come(net, PAHO_5, &connect);
        client.hear(&channel, 1);
        for turn in 0..8 {
            let (next, present) = come(net, PAHO_5, &connect);
            assert!(present);
            assert_eq!(client.disconnected(), 0x8E);
            client.closed();
            assert_eq!(sender.publish_acked(Publish::new(&channel, turn.to_string())), 0);
            // What the taken one had not acknowledged yet comes once more.
            let fresh = next.message_where("the next message", |message| !message.dup);
            assert_eq!(fresh.text(), turn.to_string());
            client = next;
        }
    });
}

#[test]
fn mqtt_3_1_4_3_who_is_taken_over_while_it_sends_much_is_told_so_and_not_reset() {
    let net = Net::start(&Options::shards(1));
    let account = net.app().account("owner");
    let (address, metrics) = (net.daemon().mqtt, net.daemon().http);
    let mut old = Raw::login(address, 5, &account, "p");
    let _new = Raw::login(address, 5, &account, "p");
    // As much as may have been on its way. A client that cannot write it does not read why.
    let publish = mqtt::publish("much", None, Some(&[]), &[b'x'; 64 * 1_024]);
    for _ in 0..64 {
        old.send(&publish);
    }
    assert_eq!(old.packet().disconnect_code(), 0x8E);
    old.assert_closed();
    assert_eq!(
        http::metric(metrics, "nexus_shard_linger_floods{shard=\"0\"}"),
        0,
        "it was cut off"
    );
}

#[test]
fn mqtt_4_4_what_was_not_acknowledged_is_sent_again_in_order() {
    each_shard_count(|net| {
        let app = net.app();
        let (hearer, channel) = (app.account("user"), format!("again/{}", app.name));
        let sender = net.connect(PAHO_311, &app.account("owner"), "s");
        let login = |present: u8| {
            let mut raw = Raw::open(net.daemon().mqtt);
            let mut connect = mqtt::connect(4, &hearer, "h");
            // Clean Session lies behind the protocol's name and level.
            let flags = connect.windows(5).position(|five| five == b"MQTT\x04").unwrap() + 5;
            connect[flags] &= !2;
            raw.send(&connect);
            let connack = raw.packet();
            assert_eq!((connack.body[0], connack.body[1]), (present, 0));
            raw
        };
        let mut raw = login(0);
        raw.send(&mqtt::subscribe(4, 1, &channel));
        assert_eq!(raw.packet().first, 0x90);
        for n in 0..3 {
            sender.publish_acked(Publish::new(&channel, n.to_string()));
        }
        let first: Vec<_> = (0..3).map(|_| raw.packet()).collect();
        drop(raw);
        let mut raw = login(1);
        for sent in &first {
            let again = raw.packet();
            // [MQTT-3.3.1-1]: DUP is set, and nothing else differs.
            assert_eq!((again.first, &again.body), (sent.first | 8, &sent.body));
        }
        for sent in &first {
            let at = 2 + channel.len();
            raw.send(&mqtt::packet(0x40, &sent.body[at..at + 2]));
        }
        raw.send(&mqtt::PINGREQ);
        assert_eq!(raw.packet().first, mqtt::PINGRESP);
        drop(raw);
        let mut raw = login(1);
        raw.send(&mqtt::PINGREQ);
        assert_eq!(raw.packet().first, mqtt::PINGRESP, "nothing is owed any more");
    });
}

#[test]
fn mqtt5_3_1_2_11_2_a_session_lasts_as_long_as_was_asked() {
    each_shard_count(|net| {
        let app = net.app();
        let hearer = app.account("user");
        // It ends with its connection.
        let (client, _) = come(net, PAHO_5, &going_on(PAHO_5, &hearer, "h", 0));
        client.disconnect();
        let (client, present) = come(net, PAHO_5, &going_on(PAHO_5, &hearer, "h", 1));
        assert!(!present);
        client.kill();
        let address = net.daemon().http;
        eventually("the session is over", || {
            http::metric(address, "nexus_sessions_expired_total") > 0
        });
        let (client, present) = come(net, PAHO_5, &going_on(PAHO_5, &hearer, "h", 600));
        assert!(!present);
        client.disconnect();
        let (_client, present) = come(net, PAHO_5, &going_on(PAHO_5, &hearer, "h", 600));
        assert!(present);
    });
}

#[test]
fn mqtt5_3_1_3_2_2_a_will_waits_for_its_delay() {
    each_shard_count(|net| {
        let app = net.app();
        let (hearer, mortal) = (app.account("user"), app.account("owner"));
        let channel = format!("will/{}", app.name);
        let listener = net.connect(PAHO_5, &hearer, "l");
        listener.hear(&channel, 1);
        let with_will = |delay_s: u32, text: &str| {
            let mut connect = going_on(PAHO_5, &mortal, "m", 600).with_will(&channel, text.as_bytes(), 1);
            if let Some(will) = connect.will.as_mut() {
                will["properties"] = json!({ "will_delay_interval": delay_s });
            }
            connect
        };
        // Back in time: it is never published.
        let (client, _) = come(net, PAHO_5, &with_will(600, "never"));
        client.kill();
        let (client, _) = come(net, PAHO_5, &with_will(1, "late"));
        client.kill();
        assert_eq!(listener.message().text(), "late");
        let (client, _) = come(net, PAHO_5, &with_will(600, "anew"));
        client.kill();
        // The session ends before the delay is over [MQTT-3.1.2-8].
        let (_client, present) = come(net, PAHO_5, &mortal.connect("m"));
        assert!(!present);
        assert_eq!(listener.message().text(), "anew");
    });
}

#[test]
fn a_worker_that_comes_back_has_its_listeners_and_no_request_waits_for_one_that_is_away() {
    each_shard_count(|net| {
        let app = net.open_app();
        let worker = app.account("owner");
        let connect = going_on(PAHO_5, &worker, "w", 600);
        let (client, _) = come(net, PAHO_5, &connect);
        client.hear("$nexus/listen/echo/#", 1);
        client.kill();
        let caller = net.connect(PAHO_5, &app.account("user"), "c");
        let ask = |id: &str| {
            let topic = format!("$nexus/call/{id}/{}/echo", app.name);
            caller.publish(&Publish::new(&topic, r#"{"n":1}"#).qos(1));
        };
        ask("away");
        assert_eq!(caller.message().json()["code"], -2000, "it is offered to nobody");
        let (client, present) = come(net, PAHO_5, &connect);
        assert!(present);
        ask("back");
        let request = client.message();
        let token = request.topic.split('/').nth(3).unwrap();
        client.publish(&Publish::new(&format!("$nexus/answer/{token}"), r#"{"ok":true}"#));
        assert_eq!(caller.message().json()["ok"], true);
    });
}

#[test]
fn an_operator_sees_what_is_on_its_way_and_for_whom() {
    parallel(&SHARD_COUNTS, |&shards| {
        // Of its own, so that nobody else counts.
        let net = Net::start(&Options::shards(shards));
        let (app, address) = (net.app(), net.daemon().http);
        let (hearer, channel) = (app.account("user"), format!("seen/{}", app.name));
        let connect = going_on(PAHO_5, &hearer, "h", 600);
        let (client, _) = come(&net, PAHO_5, &connect);
        client.hear(&channel, 1);
        let connected = |protocol: &str, transport: &str| {
            let labels = format!("{{protocol=\"{protocol}\",transport=\"{transport}\"}}");
            http::metric(address, &format!("nexus_connections{labels}"))
        };
        assert_eq!(connected("mqtt5", "stream"), 1);
        client.disconnect();
        let sender = net.connect(MQTTJS_311, &app.account("owner"), "s");
        assert_eq!(
            (connected("mqtt5", "stream"), connected("mqtt311", "websocket")),
            (0, 1)
        );
        for n in 0..3 {
            assert_eq!(sender.publish_acked(Publish::new(&channel, n.to_string())), 0);
        }
        let metric = |name: &str| http::metric(address, name);
        assert_eq!(metric("nexus_sessions_offline"), 1);
        assert_eq!(metric("nexus_mqtt_queued_messages"), 3);
        assert!(metric("nexus_mqtt_queued_bytes") > 3 * channel.len() as u64);
        assert_eq!(
            metric("nexus_mqtt_publishes_total{direction=\"in\",qos=\"1\"}"),
            3
        );
        assert_eq!(metric("nexus_durable_publish_seconds_count"), 3);
        let (client, _) = come(&net, PAHO_5, &connect);
        assert_eq!(texts(&client, 3).len(), 3);
        eventually("everything is acknowledged", || {
            metric("nexus_mqtt_queued_messages") + metric("nexus_mqtt_in_flight") == 0
        });
    });
}
