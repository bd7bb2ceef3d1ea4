//! A disk without room: what has to last is refused, all else goes on, and so does everything once there is room.

use super::*;
use crate::harness::matrix::{MQTTJS_5, MQTTJS_311, PAHO_5, PAHO_311, SHARD_COUNTS};
use crate::harness::{Subscribe, parallel};

const REFUSING: &str = "nexus_storage_refusing";
const NOT_STORED: &str = "nexus_drops_total{stage=\"channel\",reason=\"not_stored\"}";

fn fill(house: &House, sender: &Client) -> u64 {
    house.lives.limit_files(Some(0));
    // The first that the disk has no room for waits until there is some: it is neither lost nor acknowledged.
    let waits = sender.publish(&Publish::new("kept/a", "waits").qos(1));
    eventually("nothing durable is taken on", || house.metric(REFUSING) == 1);
    waits
}

#[test]
fn a_full_disk_refuses_what_has_to_last_and_nothing_else() {
    parallel(&SHARD_COUNTS, |&shards| {
        let mut house = House::new(shards);
        let (keeper, account) = (house.account(), house.account());
        let (kept, _) = house.lodger(PAHO_5, &keeper, "k");
        kept.hear("kept/#", 2);
        kept.disconnect();
        let (v5, v3) = (
            house.guest(MQTTJS_5, &account, "s5"),
            house.guest(PAHO_311, &account, "s3"),
        );
        let hearers = [PAHO_5, MQTTJS_311].map(|form| {
            let client = house.guest(form, &account, &format!("h{form:?}"));
            client.hear("plain/#", 1);
            client
        });
        assert_eq!(publish(&v5, "kept/a", "one", 1), 0);
        assert_eq!(publish(&v3, "kept/a", "two", 2), 0);

        let waits = fill(&house, &v5);
        for qos in [1, 2] {
            assert_eq!(publish(&v5, "kept/a", "refused", qos), 0x97, "QoS {qos}");
            assert_eq!(
                publish(&v3, "kept/a", "refused", qos),
                0,
                "3.1.1 has no word for it"
            );
        }
        assert_eq!(house.metric(NOT_STORED), 4);
        let retained = v5.publish(&Publish::new("plain/r", "retained").qos(1).retained());
        assert_eq!(v5.puback(retained), 0x97, "it cannot be kept");
        for hearer in &hearers {
            assert_eq!(hearer.message().text(), "retained", "and is delivered");
        }
        for (sender, qos) in [(&v5, 0), (&v5, 1), (&v3, 1), (&v3, 2)] {
            let text = format!("{:?} {qos}", sender.form.version);
            let sent = sender.publish(&Publish::new("plain/p", &text).qos(qos));
            for hearer in &hearers {
                assert_eq!(hearer.message().text(), text);
            }
            assert!(qos == 0 || sender.puback(sent) == 0);
        }
        assert_eq!(
            house.await_told("cannot be stored").len(),
            1,
            "{}",
            house.lives.log()
        );

        house.lives.limit_files(None);
        assert_eq!(v5.puback(waits), 0, "what waited is on the disk now");
        eventually("what has to last is taken on", || house.metric(REFUSING) == 0);
        assert_eq!(publish(&v5, "kept/a", "three", 2), 0);
        let _again = house.await_told("can be stored again");

        house.lives.kill();
        house.lives.start();
        let (kept, present) = house.lodger(PAHO_5, &keeper, "k");
        assert!(present);
        let wanted = [("one", 1), ("waits", 1), ("two", 2), ("three", 2)];
        assert_eq!(texts(&kept, 4), wanted.map(|(text, qos)| (text.to_owned(), qos)));
        assert_no_more(&kept);
    });
}

#[test]
fn a_full_disk_lets_sessions_that_are_there_go_on_and_takes_no_new_ones() {
    parallel(&SHARD_COUNTS, |&shards| {
        let house = House::new(shards);
        let (keeper, account) = (house.account(), house.account());
        let (kept, _) = house.lodger(PAHO_311, &keeper, "k");
        kept.hear("kept/#", 2);
        kept.disconnect();
        let sender = house.guest(PAHO_5, &account, "s");
        for (text, qos) in [("one", 1), ("two", 2)] {
            assert_eq!(publish(&sender, "kept/a", text, qos), 0);
        }
        let (open, _) = house.lodger(PAHO_5, &keeper, "open");
        open.hear("kept/b", 1);

        let waits = fill(&house, &sender);
        for (form, refusal) in [(PAHO_5, 0x97), (PAHO_311, 3)] {
            let client = Client::open(form, house.lives.mqtt(), &lasting(form, &account, "new"));
            assert_eq!(client.connack().0, refusal, "{form:?}");
        }
        // Its subscriptions could not be kept; those it has are as good as before.
        assert_eq!(open.subscribe(&[Subscribe::new("kept/c", 1)]), [0x97]);
        let sent = sender.publish(&Publish::new("kept/b", "live"));
        assert_eq!(
            (sent > 0, open.message().text().to_owned()),
            (true, "live".to_owned())
        );
        let (kept, present) = house.lodger(PAHO_311, &keeper, "k");
        assert!(present);
        // QoS 2 is sent once it can be written down that it was, and the rest behind it.
        assert_eq!(kept.message().text(), "one");
        house.lives.limit_files(None);
        assert_eq!(sender.puback(waits), 0);
        let wanted = [("waits", 1), ("two", 2)];
        assert_eq!(texts(&kept, 2), wanted.map(|(text, qos)| (text.to_owned(), qos)));
        eventually("what has to last is taken on", || house.metric(REFUSING) == 0);
        open.hear("kept/c", 1);
        let (_new, present) = house.lodger(PAHO_5, &account, "new");
        assert!(!present);
    });
}

#[test]
fn a_kill_while_the_disk_is_full_loses_nothing_that_was_acknowledged_before() {
    parallel(&SHARD_COUNTS, |&shards| {
        let mut house = House::new(shards);
        let (keeper, account) = (house.account(), house.account());
        let forms = [PAHO_311, PAHO_5];
        for form in forms {
            let (kept, _) = house.lodger(form, &keeper, &format!("k{form:?}"));
            kept.hear("kept/#", 2);
            kept.disconnect();
        }
        let sender = house.guest(PAHO_5, &account, "s");
        let mut wanted = Vec::new();
        for qos in [1, 2] {
            for number in 0..20 {
                let text = format!("{qos}.{number}");
                assert_eq!(publish(&sender, "kept/a", &text, qos), 0);
                wanted.push((text, qos));
            }
        }
        let retained = sender.publish(&Publish::new("state/a", "before").qos(1).retained());
        assert_eq!(sender.puback(retained), 0x10);

        let _waits = fill(&house, &sender);
        for number in 0..20 {
            assert_eq!(publish(&sender, "kept/a", &format!("refused {number}"), 1), 0x97);
        }
        let retained = sender.publish(&Publish::new("state/a", "refused").qos(1).retained());
        assert_eq!(sender.puback(retained), 0x97);
        house.lives.kill();
        house.lives.start();
        assert_eq!(house.metric(REFUSING), 0);
        for form in forms {
            let (kept, present) = house.lodger(form, &keeper, &format!("k{form:?}"));
            assert!(present, "{form:?}");
            assert_eq!(texts(&kept, 40), wanted, "{form:?}");
            assert_no_more(&kept);
            kept.hear("state/+", 0);
            assert_eq!(kept.message().text(), "before");
        }
    });
}

#[test]
fn a_log_that_may_not_grow_is_folded_into_the_database_and_used_again() {
    let mut house = House::new(1);
    let (keeper, account) = (house.account(), house.account());
    let (kept, _) = house.lodger(PAHO_5, &keeper, "k");
    kept.hear("kept/#", 1);
    let sender = house.guest(PAHO_5, &account, "s");
    let text = |number: usize| format!("{number:03} {}", "x".repeat(2_000));
    let turn = |number: usize| {
        assert_eq!(publish(&sender, "kept/a", &text(number), 1), 0, "{number}");
        assert_eq!(kept.message().text(), text(number));
    };
    (0..40).for_each(turn);
    eventually("all of it is written", || {
        house.metric("nexus_mqtt_in_flight") + house.metric("nexus_storage_queue_bytes") == 0
    });
    let log = fs::metadata(house.file("sessions.db-wal")).unwrap().len();
    house.lives.limit_files(Some(log));
    // Many times what is left: messages come and go.
    (40..400).for_each(turn);
    assert_eq!(
        (house.metric(REFUSING), house.told("cannot be stored").len()),
        (0, 0)
    );
    assert_eq!(fs::metadata(house.file("sessions.db-wal")).unwrap().len(), log);
    kept.disconnect();
    assert_eq!(publish(&sender, "kept/a", "last", 1), 0);
    house.lives.kill();
    house.lives.start();
    let (kept, present) = house.lodger(PAHO_5, &keeper, "k");
    assert!(present);
    assert_eq!(kept.message().text(), "last");
}

#[test]
fn a_daemon_that_is_stopped_on_a_full_disk_ends_and_says_what_is_lost() {
    let mut house = House::new(2);
    let (keeper, account) = (house.account(), house.account());
    let (kept, _) = house.lodger(PAHO_5, &keeper, "k");
    kept.hear("kept/#", 1);
    kept.disconnect();
    let sender = house.guest(PAHO_5, &account, "s");
    assert_eq!(publish(&sender, "kept/a", "one", 1), 0);
    let _waits = fill(&house, &sender);
    house.lives.stop();
    assert_eq!(
        house.await_told("could not be stored").len(),
        1,
        "{}",
        house.lives.log()
    );
    house.lives.start();
    let (kept, present) = house.lodger(PAHO_5, &keeper, "k");
    assert!(present);
    assert_eq!(kept.message().text(), "one");
    assert_no_more(&kept);
}
