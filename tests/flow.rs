//! What a connection may send and wants to be sent: QoS 2 both ways, topic aliases, Receive Maximum, Maximum
//! Packet Size, in bytes that no stock client shows.

use serde_json::json;

use crate::harness::matrix::{MQTTJS_5, PAHO_5, PAHO_311};
use crate::harness::mqtt::{self, PINGREQ, PINGRESP, Packet, Raw};
use crate::harness::{Account, Call, Connect, Net, Options, Publish, each_shard_count, http, parallel};

/// An acknowledgement of two bytes.
fn ack(first: u8, id: u16) -> Vec<u8> {
    mqtt::packet(first, &id.to_be_bytes())
}

/// The packet identifier of a PUBLISH of QoS 1 on a topic of `topic_bytes` bytes.
fn id_of(packet: &Packet, topic_bytes: usize) -> u16 {
    assert_eq!(packet.first & 0xF6, 0x32, "a PUBLISH of QoS 1: {packet:?}");
    u16::from_be_bytes([packet.body[2 + topic_bytes], packet.body[3 + topic_bytes]])
}

/// Logs in with 5.0 and these properties of CONNECT.
fn login_with(net: &Net, account: &Account, resource: &str, properties: &[u8]) -> Raw {
    let mut body = mqtt::counted("MQTT");
    body.extend([5, 0b1100_0010, 0, 60]);
    body.extend(mqtt::variable(properties.len()));
    body.extend(properties);
    for field in [resource, &account.name, &account.secret] {
        body.extend(mqtt::counted(field));
    }
    let mut raw = Raw::open(net.daemon().mqtt);
    raw.send(&mqtt::packet(0x10, &body));
    assert_eq!(raw.packet().connack_code(), 0);
    raw
}

#[test]
fn mqtt3_4_3_3_a_publish_of_qos_2_is_taken_exactly_once() {
    each_shard_count(|net| {
        let app = net.app();
        let channel = format!("qos2/{}", app.name);
        let hearer = net.connect(PAHO_311, &app.account("owner"), "h");
        hearer.hear(&channel, 1);
        let mut raw = Raw::login(net.daemon().mqtt, 4, &app.account("user"), "p");
        let with_first = |first: u8, payload: &[u8]| {
            let mut bytes = mqtt::publish(&channel, Some(7), None, payload);
            bytes[0] = first;
            bytes
        };
        for first in [0x34, 0x3C] {
            raw.send(&with_first(first, b"once"));
            assert_eq!(
                raw.packet(),
                Packet {
                    first: 0x50,
                    body: vec![0, 7]
                },
                "PUBREC"
            );
        }
        raw.send(&ack(0x62, 7));
        assert_eq!(
            raw.packet(),
            Packet {
                first: 0x70,
                body: vec![0, 7]
            },
            "PUBCOMP"
        );
        raw.send(&with_first(0x34, b"again"));
        assert_eq!(raw.packet().first, 0x50);
        assert_eq!(hearer.message().text(), "once");
        assert_eq!(
            hearer.message().text(),
            "again",
            "an identifier that is free again"
        );
    });
}

#[test]
fn mqtt5_4_3_3_a_message_of_qos_2_is_sent_by_four_packets() {
    each_shard_count(|net| {
        let app = net.app();
        let channel = format!("qos2/{}", app.name);
        let mut raw = login_with(net, &app.account("user"), "slow", &[0x21, 0, 1]);
        let mut subscribe = mqtt::subscribe(5, 1, &channel);
        *subscribe.last_mut().unwrap() = 2;
        raw.send(&subscribe);
        assert_eq!(raw.packet().body.last(), Some(&2), "granted");
        let publisher = net.connect(PAHO_5, &app.account("owner"), "p");
        for payload in ["1", "2"] {
            let sent = publisher.publish(&Publish::new(&channel, payload).qos(2));
            assert_eq!(publisher.puback(sent), 0);
        }
        for payload in [b'1', b'2'] {
            let packet = raw.packet();
            assert_eq!((packet.first, packet.body.last()), (0x34, Some(&payload)));
            let at = 2 + channel.len();
            let id = u16::from_be_bytes([packet.body[at], packet.body[at + 1]]);
            raw.send(&ack(0x50, id));
            let release = raw.packet();
            assert_eq!((release.first, &release.body[..]), (0x62, &id.to_be_bytes()[..]));
            raw.send(&PINGREQ);
            assert_eq!(raw.packet().first, PINGRESP, "the window is closed until PUBCOMP");
            raw.send(&ack(0x70, id));
        }
    });
}

#[test]
fn mqtt5_3_3_2_3_4_an_alias_stands_for_a_topic_that_was_sent_before() {
    each_shard_count(|net| {
        let app = net.app();
        let channel = format!("alias/{}", app.name);
        let mut raw = login_with(net, &app.account("user"), "h", &[0x22, 0, 1]);
        raw.send(&mqtt::subscribe(5, 1, &channel));
        assert_eq!(raw.packet().first, 0x90);
        let publisher = net.connect(PAHO_5, &app.account("owner"), "p");
        publisher.publish(&Publish::new(&channel, "x"));
        publisher.publish(&Publish::new(&channel, "x"));
        let topic_bytes = |packet: Packet| u16::from_be_bytes([packet.body[0], packet.body[1]]);
        assert_eq!(usize::from(topic_bytes(raw.packet())), channel.len());
        assert_eq!(topic_bytes(raw.packet()), 0);
    });
}

#[test]
fn mqtt5_3_3_2_3_4_a_topic_alias_stands_for_its_topic() {
    each_shard_count(|net| {
        let app = net.app();
        let (one, two) = (format!("alias/{}/1", app.name), format!("alias/{}/2", app.name));
        let hearer = net.connect(PAHO_5, &app.account("owner"), "h");
        hearer.hear(&format!("alias/{}/#", app.name), 1);
        let mut raw = Raw::login(net.daemon().mqtt, 5, &app.account("user"), "p");
        let alias: &[u8] = &[0x23, 0, 1];
        for (topic, means) in [(one.as_str(), &one), ("", &one), (two.as_str(), &two), ("", &two)] {
            raw.send(&mqtt::publish(topic, None, Some(alias), b"x"));
            let message = hearer.message();
            assert_eq!(&message.topic, means);
            assert!(
                !message.properties.has("topic_alias"),
                "an alias is the connection's own"
            );
        }
    });
}

#[test]
fn mqtt5_4_9_no_more_than_receive_maximum_is_sent_unacknowledged() {
    each_shard_count(|net| {
        let app = net.app();
        let channel = format!("flow/{}", app.name);
        let mut raw = login_with(net, &app.account("user"), "slow", &[0x21, 0, 2]);
        raw.send(&mqtt::subscribe(5, 1, &channel));
        assert_eq!(raw.packet().first, 0x90);
        let publisher = net.connect(PAHO_5, &app.account("owner"), "p");
        for n in 0..5 {
            assert_eq!(publisher.publish_acked(Publish::new(&channel, n.to_string())), 0);
        }
        let mut unacknowledged = Vec::new();
        for n in 0..5_u8 {
            let packet = raw.packet();
            assert_eq!(packet.body.last(), Some(&(b'0' + n)), "in order");
            unacknowledged.push(id_of(&packet, channel.len()));
            if unacknowledged.len() == 2 {
                raw.send(&PINGREQ);
                assert_eq!(raw.packet().first, PINGRESP, "nothing else is sent");
                raw.send(&ack(0x40, unacknowledged.remove(0)));
            }
        }
    });
}

#[test]
fn the_senders_properties_count_against_the_receivers_maximum_packet_size() {
    parallel(&[PAHO_5, MQTTJS_5], |&form| {
        let net = Net::start(&Options::shards(1));
        let app = net.app();
        let channel = "size";
        let account = app.account("user");
        let hearer = net.open(
            form,
            &Connect {
                properties: json!({"maximum_packet_size": 250}),
                ..account.connect("h")
            },
        );
        assert_eq!(hearer.connack().0, 0);
        hearer.hear(channel, 1);
        let publisher = net.connect(form, &app.account("owner"), "p");
        // Fits without the sender, does not with it.
        publisher.publish_acked(Publish::new(channel, "x".repeat(200)));
        publisher.publish_acked(Publish::new(channel, "small"));
        assert_eq!(hearer.message().text(), "small");
        http::await_drops(net.daemon().http, "channel", "too_large", 1);
    });
}

#[test]
fn mqtt5_3_1_2_11_4_a_packet_over_the_servers_maximum_is_0x95_and_up_to_it_is_taken() {
    each_shard_count(|net| {
        let app = net.app();
        let channel = format!("large/{}", app.name);
        let hearer = net.connect(PAHO_5, &app.account("owner"), "h");
        hearer.hear(&channel, 0);
        let mut raw = Raw::login(net.daemon().mqtt, 5, &app.account("user"), "p");
        let bound = nexus::limits::PACKET_BYTES_MAX;
        let overhead = mqtt::publish(&channel, None, Some(&[]), &[0; 100_000]).len() - 100_000;
        raw.send(&mqtt::publish(
            &channel,
            None,
            Some(&[]),
            &vec![b'x'; bound - overhead - 200],
        ));
        assert_eq!(hearer.message().payload.len(), bound - overhead - 200);
        raw.send(&mqtt::publish(&channel, None, Some(&[]), &vec![b'x'; bound]));
        assert_eq!(raw.packet().disconnect_code(), 0x95);
    });
}

/// The topic and the payload of a PUBLISH of QoS 0 to a 3.1.1 client.
fn topic_of(packet: &Packet) -> &[u8] {
    assert_eq!(packet.first, 0x30, "a PUBLISH of QoS 0: {packet:?}");
    let length = usize::from(u16::from_be_bytes([packet.body[0], packet.body[1]]));
    &packet.body[2..2 + length]
}

/// Pairs of 3.1.1 connections of one account; with two shards many of them are on different ones.
fn pairs(net: &Net, account: &Account, prefix: &str) -> Vec<(Raw, Raw)> {
    let login = |resource: String| Raw::login(net.daemon().mqtt, 4, account, &resource);
    (0..8)
        .map(|n| (login(format!("{prefix}a{n}")), login(format!("{prefix}b{n}"))))
        .collect()
}

#[test]
fn mqtt_3_8_4_what_anybody_publishes_after_the_suback_is_heard() {
    const ROUNDS: usize = 50;
    each_shard_count(|net| {
        let app = net.app();
        let mut heard = 0;
        let mut pairs = pairs(net, &app.account("owner"), "");
        for (pair, (hearer, publisher)) in pairs.iter_mut().enumerate() {
            let fence = format!("fence/{}/{pair}", app.name);
            hearer.send(&mqtt::subscribe(4, 1, &fence));
            assert_eq!(hearer.packet().first, 0x90);
            for round in 0..ROUNDS {
                let channel = format!("ack/{}/{pair}/{round}", app.name);
                let wildcard = format!("{channel}/#");
                hearer.send(&mqtt::subscribe(
                    4,
                    1,
                    if round % 2 == 0 { &channel } else { &wildcard },
                ));
                assert_eq!(hearer.packet().first, 0x90);
                publisher.send(&mqtt::publish(&channel, None, None, b"x"));
                publisher.send(&mqtt::publish(&fence, None, None, b"x"));
                // Messages of one sender keep their order: what the fence overtakes is lost.
                while topic_of(&hearer.packet()) != fence.as_bytes() {
                    heard += 1;
                }
            }
        }
        assert_eq!(heard, ROUNDS * pairs.len());
    });
}

#[test]
fn mqtt_3_14_4_a_will_is_forgotten_with_a_disconnect_in_the_last_bytes() {
    const ROUNDS: usize = 100;
    each_shard_count(|net| {
        let app = net.app();
        let account = app.account("user");
        let channel = format!("will/{}", app.name);
        let hearer = net.connect(PAHO_5, &app.account("owner"), "h");
        hearer.hear(&channel, 1);
        for round in 0..ROUNDS {
            let version = if round % 2 == 0 { 4 } else { 5 };
            let mut body = mqtt::counted("MQTT");
            body.extend([version, 0b1100_0110, 0, 60]);
            let none: &[u8] = if version == 5 { &[0] } else { &[] };
            body.extend(none);
            body.extend(mqtt::counted(format!("d{round}")));
            body.extend(none);
            for field in [channel.as_str(), "gone", &account.name, &account.secret] {
                body.extend(mqtt::counted(field));
            }
            let mut raw = Raw::open(net.daemon().mqtt);
            raw.send(&mqtt::packet(0x10, &body));
            assert_eq!(raw.packet().connack_code(), 0);
            raw.send(&[0xE0, 0]);
        }
        let fence = net.connect(PAHO_5, &account, "fence");
        fence.publish_acked(Publish::new(&channel, "fence"));
        assert_eq!(hearer.message().text(), "fence");
    });
}

#[test]
fn a_worker_is_found_once_its_listener_is_acknowledged() {
    const ROUNDS: usize = 20;
    each_shard_count(|net| {
        let app = net.app();
        let (owner, customer) = (app.account("owner"), app.customer());
        let mut codes = Vec::new();
        for pair in 0..4 {
            let worker = net.connect(PAHO_5, &owner, &format!("w{pair}"));
            worker.listen_direct();
            let requester = net.connect(PAHO_311, &customer, &format!("r{pair}"));
            for round in 0..ROUNDS {
                let cmd = format!("cmd{pair}-{round}");
                worker.listen(&cmd);
                codes.push(
                    requester
                        .call_served(&[&worker], &Call::new(&app.name, &cmd))
                        .code,
                );
            }
        }
        assert_eq!(codes, vec![0; codes.len()]);
    });
}

#[test]
fn a_direct_listener_is_found_once_it_is_acknowledged() {
    const ROUNDS: usize = 20;
    each_shard_count(|net| {
        let app = net.app();
        let (owner, user) = (app.account("owner"), app.account("user"));
        let sender = net.connect(PAHO_5, &user, "s1");
        let mut codes = Vec::new();
        for round in 0..ROUNDS {
            let resource = format!("w{round}");
            let worker = net.connect(PAHO_311, &owner, &resource);
            worker.listen_direct();
            let topic = format!("$nexus/direct/{}/{resource}", app.name);
            codes.push(sender.publish_acked(Publish::new(&topic, "x")));
        }
        assert_eq!(codes, vec![0; ROUNDS], "0x10 tells that there was nobody");
    });
}
