//! A daemon that is stopped keeps everything; one that is to keep nothing on the disk does not; one that cannot keep
//! anything does not start.

use super::*;
use crate::harness::clock::Moment;
use crate::harness::matrix::{PAHO_5, PAHO_311, SHARD_COUNTS};
use crate::harness::mqtt::{self, Packet, Raw};
use crate::harness::{parallel, world};
use std::os::unix::fs::symlink;
use std::time::Duration;

/// How long a stop may take: the drain time, and what a busy machine adds.
const DRAIN: Duration = Duration::from_secs(12);

/// Connects by hand, in 3.1.1, for good; whether a session was there.
fn raw_lodger(house: &House, account: &Account, resource: &str) -> (Raw, bool) {
    let account = world::Account {
        app: house.app.clone(),
        uid: String::new(),
        role: String::new(),
        name: account.0.clone(),
        secret: account.1.clone(),
    };
    let mut connect = mqtt::connect(4, &account, resource);
    let name = connect.windows(4).position(|four| four == b"MQTT").unwrap();
    connect[name + 5] &= !2;
    let mut raw = Raw::open(house.lives.mqtt());
    raw.send(&connect);
    let answer = raw.packet();
    assert_eq!(answer.connack_code(), 0);
    (raw, answer.body[0] == 1)
}

/// A PUBLISH of QoS 2.
fn exactly_once(channel: &str, id: u16, is_again: bool, text: &str) -> Vec<u8> {
    let mut bytes = mqtt::publish(channel, Some(id), None, text.as_bytes());
    bytes[0] = 0x34 | u8::from(is_again) << 3;
    bytes
}

fn ack(first: u8, id: u16) -> Packet {
    Packet {
        first,
        body: id.to_be_bytes().to_vec(),
    }
}

fn sent(packet: &Packet) -> Vec<u8> {
    mqtt::packet(packet.first, &packet.body)
}

#[test]
fn sigterm_keeps_sessions_and_what_waits_for_them_and_what_is_retained() {
    parallel(&SHARD_COUNTS, |&shards| {
        let mut house = House::new(shards);
        let (keeper, account) = (house.account(), house.account());
        let forms = [PAHO_311, PAHO_5];
        for form in forms {
            let (kept, _) = house.lodger(form, &keeper, &format!("k{form:?}"));
            kept.hear("kept/#", 2);
            kept.disconnect();
        }
        // One that stays, and has acknowledged everything.
        let (stays, _) = house.lodger(PAHO_5, &keeper, "stays");
        stays.hear("kept/#", 2);
        let sender = house.guest(PAHO_5, &account, "s");
        let mut wanted = Vec::new();
        for qos in [1, 2] {
            for number in 0..20 {
                let text = format!("{qos}.{number}");
                assert_eq!(publish(&sender, &format!("kept/{}", number % 3), &text, qos), 0);
                wanted.push((text, qos));
            }
        }
        let retained = sender.publish(&Publish::new("state/a", "retained").qos(1).retained());
        assert_eq!(sender.puback(retained), 0x10);
        assert_eq!(texts(&stays, 40), wanted);
        eventually("what was sent to it is acknowledged", || {
            house.metric("nexus_mqtt_in_flight") == 0
        });

        let begun = Moment::now();
        house.lives.stop();
        assert!(begun.elapsed() < DRAIN);
        assert_eq!(sender.disconnected(), 0x8B);
        house.lives.start();
        for form in forms {
            let (kept, present) = house.lodger(form, &keeper, &format!("k{form:?}"));
            assert!(present, "{form:?}");
            assert_eq!(texts(&kept, 40), wanted, "{form:?}");
            assert_no_more(&kept);
            kept.hear("state/+", 0);
            assert_eq!(kept.message().text(), "retained");
        }
        let (stays, present) = house.lodger(PAHO_5, &keeper, "stays");
        assert!(present);
        assert_no_more(&stays);
        let sender = house.guest(PAHO_311, &account, "s");
        assert_eq!(publish(&sender, "kept/a", "after", 1), 0);
        assert_eq!(stays.message().text(), "after", "it is subscribed as before");
    });
}

#[test]
fn sigterm_neither_loses_nor_doubles_what_is_half_exchanged_at_qos_2() {
    parallel(&SHARD_COUNTS, |&shards| {
        let mut house = House::new(shards);
        let (receiver, sender) = (house.account(), house.account());
        let (mut hears, _) = raw_lodger(&house, &receiver, "r");
        let mut subscribe = mqtt::subscribe(4, 1, "half/#");
        *subscribe.last_mut().unwrap() = 2;
        hears.send(&subscribe);
        assert_eq!(hears.packet().body, [0, 1, 2]);
        let (mut says, _) = raw_lodger(&house, &sender, "s");

        // Of the first the receiver has all but PUBCOMP, of the second the PUBLISH alone; its sender owes PUBREL.
        says.send(&exactly_once("half/a", 1, false, "first"));
        assert_eq!(says.packet(), ack(0x50, 1));
        says.send(&sent(&ack(0x62, 1)));
        assert_eq!(says.packet(), ack(0x70, 1));
        let first = mqtt_id(&hears.packet(), "first");
        hears.send(&sent(&ack(0x50, first)));
        assert_eq!(hears.packet(), ack(0x62, first));
        says.send(&exactly_once("half/a", 2, false, "second"));
        assert_eq!(says.packet(), ack(0x50, 2));
        let second = mqtt_id(&hears.packet(), "second");

        house.lives.stop();
        house.lives.start();
        let (mut says, present) = raw_lodger(&house, &sender, "s");
        assert!(present);
        says.send(&exactly_once("half/a", 2, true, "second"));
        assert_eq!(says.packet(), ack(0x50, 2));
        says.send(&sent(&ack(0x62, 2)));
        assert_eq!(says.packet(), ack(0x70, 2));
        says.send(&exactly_once("half/a", 3, false, "third"));
        assert_eq!(says.packet(), ack(0x50, 3));

        let (mut hears, present) = raw_lodger(&house, &receiver, "r");
        assert!(present);
        assert_eq!(hears.packet(), ack(0x62, first), "not the message once more");
        hears.send(&sent(&ack(0x70, first)));
        let again = hears.packet();
        assert_eq!(again.first & 8, 8, "DUP of {again:?}");
        assert_eq!(mqtt_id(&again, "second"), second);
        hears.send(&sent(&ack(0x50, second)));
        // Each in its time, and nothing beside them.
        let mut rest = [hears.packet(), hears.packet()];
        rest.sort_by_key(|packet| packet.first);
        mqtt_id(&rest[0], "third");
        assert_eq!(rest[1], ack(0x62, second));
        hears.send(&mqtt::PINGREQ);
        assert_eq!(hears.packet().first, mqtt::PINGRESP);
    });
}

/// The packet identifier of a PUBLISH of QoS 2 with this text.
#[track_caller]
fn mqtt_id(packet: &Packet, text: &str) -> u16 {
    assert_eq!(packet.first & 0x36, 0x34, "a PUBLISH of QoS 2: {packet:?}");
    assert!(packet.body.ends_with(text.as_bytes()), "{text}: {packet:?}");
    let at = 2 + usize::from(u16::from_be_bytes([packet.body[0], packet.body[1]]));
    u16::from_be_bytes([packet.body[at], packet.body[at + 1]])
}

#[test]
fn sigterm_keeps_wills_that_wait_and_publishes_those_of_clients_that_are_there() {
    parallel(&SHARD_COUNTS, |&shards| {
        let mut house = House::new(shards);
        let (keeper, account) = (house.account(), house.account());
        let (kept, _) = house.lodger(PAHO_5, &keeper, "k");
        kept.hear("will/+", 1);
        kept.disconnect();
        let with_will = |resource: &str, delay_s: u32| {
            let mut connect =
                lasting(PAHO_5, &account, resource).with_will(&format!("will/{resource}"), b"gone", 1);
            connect.will.as_mut().unwrap()["properties"] = json!({ "will_delay_interval": delay_s });
            let client = Client::open(PAHO_5, house.lives.mqtt(), &connect);
            assert_eq!(client.connack().0, 0);
            client
        };
        let (waits, _there) = (with_will("waits", 2), with_will("there", 0));
        waits.kill();
        eventually("the daemon has noticed", || {
            house.metric("nexus_sessions_offline") == 2
        });
        house.lives.stop();
        house.lives.start();
        let (kept, present) = house.lodger(PAHO_5, &keeper, "k");
        assert!(present);
        let mut topics = [kept.message(), kept.message()].map(|will| will.topic);
        topics.sort();
        assert!(
            topics[0].ends_with("will/there") && topics[1].ends_with("will/waits"),
            "{topics:?}"
        );
        assert_no_more(&kept);
    });
}

#[test]
fn in_memory_sessions_last_as_long_as_the_daemon_and_nothing_is_on_the_disk() {
    parallel(&SHARD_COUNTS, |&shards| {
        let mut house = House::with(shards, "[storage]\ndurability = \"memory\"\n");
        let (keeper, account) = (house.account(), house.account());
        let (kept, _) = house.lodger(PAHO_311, &keeper, "k");
        kept.hear("kept/#", 2);
        kept.disconnect();
        let sender = house.guest(PAHO_5, &account, "s");
        for qos in [1, 2] {
            assert_eq!(publish(&sender, "kept/a", &format!("q{qos}"), qos), 0);
        }
        let retained = sender.publish(&Publish::new("kept/r", "retained").qos(1).retained());
        assert_eq!(sender.puback(retained), 0);
        let (kept, present) = house.lodger(PAHO_311, &keeper, "k");
        assert!(present);
        let wanted = [("q1", 1), ("retained", 1), ("q2", 2)];
        assert_eq!(texts(&kept, 3), wanted.map(|(text, qos)| (text.to_owned(), qos)));
        kept.disconnect();
        assert!(!house.lives.sessions_dir().exists());

        house.lives.kill();
        house.lives.start();
        let (kept, present) = house.lodger(PAHO_311, &keeper, "k");
        assert!(!present, "lost by choice");
        kept.hear("kept/#", 1);
        assert_no_more(&kept);
        kept.disconnect();
        // From now on on the disk.
        house.lives.stop();
        house.lives.configure("");
        house.lives.start();
        let (kept, present) = house.lodger(PAHO_311, &keeper, "k");
        assert!(!present);
        kept.hear("kept/#", 1);
        house.lives.kill();
        house.lives.start();
        assert!(house.lodger(PAHO_311, &keeper, "k").1);
    });
}

#[test]
fn a_start_that_can_keep_nothing_is_refused_with_one_line() {
    let mut house = House::new(1);
    let keeper = house.account();
    let (kept, _) = house.lodger(PAHO_311, &keeper, "k");
    kept.hear("kept/#", 1);
    house.lives.stop();
    let refused = |is_full: bool, words: &[&str]| {
        let why = house.lives.start_refused(is_full);
        let lines: Vec<&str> = why.lines().filter(|line| line.starts_with("nexusd: ")).collect();
        assert!(
            lines.len() == 1 && words.iter().all(|word| lines[0].contains(word)),
            "{why}"
        );
    };
    // A full disk.
    refused(true, &["cannot open", "file system"]);
    // A later version's.
    let version = |version: u32| {
        let database = rusqlite::Connection::open(house.file("sessions.db")).unwrap();
        database.pragma_update(None, "user_version", version).unwrap();
    };
    version(2);
    refused(false, &["sessions.db", "later version"]);
    version(1);
    // Something else in place of the directory.
    let (dir, elsewhere) = (
        house.lives.sessions_dir(),
        house.lives.data_dir().join("elsewhere"),
    );
    fs::rename(&dir, &elsewhere).unwrap();
    fs::write(&dir, "").unwrap();
    refused(false, &["data/sessions", "storage.durability"]);
    fs::remove_file(&dir).unwrap();
    // A directory in which nobody may make a file, root included.
    symlink("/proc/sys", &dir).unwrap();
    refused(false, &["data/sessions", "storage.durability"]);
    fs::remove_file(&dir).unwrap();
    fs::rename(&elsewhere, &dir).unwrap();
    // And nothing is lost by any of them.
    house.lives.start();
    assert!(house.lodger(PAHO_311, &keeper, "k").1);
}
