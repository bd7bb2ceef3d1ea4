//! Much of what is allowed: it is bounded, it is counted, and who does it slows nobody else down for long.

use std::thread;
use std::time::Duration;

use nexus::limits;

use super::{ANSWER_MAX, Lasting, Neighbours, Watch, code};
use crate::harness::clock::Moment;
use crate::harness::matrix::SHARD_COUNTS;
use crate::harness::mqtt::{self, PINGREQ, PINGRESP, Raw};
use crate::harness::{Net, Options, each_shard_count, eventually, http, parallel};

/// A SUBSCRIBE of 5.0 with QoS 1.
fn subscribe_all(filters: impl Iterator<Item = String>) -> Vec<u8> {
    let mut body = vec![0, 1, 0];
    for filter in filters {
        body.extend(mqtt::counted(filter));
        body.push(1);
    }
    mqtt::packet(0x82, &body)
}

#[test]
fn groups_by_the_ten_thousands_come_and_go_without_a_stall() {
    let each = limits::SUBSCRIPTIONS_PER_BLOCK_MAX;
    let clients = limits::SHARES_PER_SHARD_MAX / each - 4;
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let mut watch: Vec<Watch> = (0..4)
            .map(|n| Watch::new(net, &account, &format!("watch{n}")))
            .collect();
        let mut flood = Vec::new();
        for client in 0..clients {
            let mut raw = Raw::login(net.daemon().mqtt, 5, &account, &format!("flood{client}"));
            raw.send(&subscribe_all(
                (0..each).map(|n| format!("$share/g{client}-{n}/crowded")),
            ));
            let suback = raw.packet();
            assert!(suback.body[3..].iter().all(|&code| code == 1), "{client}");
            flood.push(raw);
            watch.iter_mut().for_each(Watch::ask);
        }
        let groups = || http::metric(net.daemon().http, "nexus_share_groups");
        assert!(groups() >= (clients * each) as u64);
        drop(flood);
        let begun = Moment::now();
        while groups() > 0 {
            watch.iter_mut().for_each(Watch::ask);
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{} groups are left",
                groups()
            );
        }
        for watch in watch {
            assert!(watch.longest < ANSWER_MAX, "{:?}", watch.longest);
        }
    });
}

#[test]
fn more_filters_in_a_packet_than_a_block_may_hold_end_the_connection_with_0x97() {
    each_shard_count(|net| {
        let neighbours = Neighbours::new(net);
        let account = net.app().account("owner");
        let ends = || {
            http::metric(
                net.daemon().http,
                "nexus_disconnects_total{reason=\"quota_exceeded\"}",
            )
        };
        let before = ends();
        let mut raw = Raw::login(net.daemon().mqtt, 5, &account, "filters");
        raw.send(&subscribe_all((0..60_000).map(|n| format!("f/{n}"))));
        assert_eq!(raw.packet().disconnect_code(), 0x97);
        raw.assert_closed();
        assert_eq!(ends(), before + 1);
        neighbours.assert_undisturbed();
    });
}

#[test]
fn a_fight_for_an_address_slows_nobody_down() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let mut watch = Watch::new(net, &account, "watch");
        let mut before: Option<Raw> = None;
        for _ in 0..1_000 {
            let now = Raw::login(net.daemon().mqtt, 5, &account, "fought for");
            if let Some(mut before) = before.replace(now) {
                assert_eq!(before.packet().disconnect_code(), 0x8E);
                before.assert_closed();
            }
            watch.ask();
        }
        assert!(watch.longest < ANSWER_MAX, "{:?}", watch.longest);
    });
}

#[test]
fn mqtt5_4_8_2_members_that_never_acknowledge_hold_bounded_queues() {
    each_shard_count(|net| {
        let neighbours = Neighbours::new(net);
        let account = net.app().account("owner");
        let http = net.daemon().http;
        let before = http::drops(http, "channel", "queue_full");
        let mut members: Vec<Raw> = (0..3)
            .map(|n| {
                let mut raw = Raw::login(net.daemon().mqtt, 5, &account, &format!("silent{n}"));
                raw.send(&subscribe_all(std::iter::once("$share/silent/work".to_owned())));
                assert_eq!(raw.packet().body[3], 1);
                raw
            })
            .collect();
        let each = usize::from(limits::INFLIGHT_PER_SESSION_MAX) + limits::QUEUED_PER_SESSION_MAX;
        let more = 500;
        let mut publisher = Raw::login(net.daemon().mqtt, 5, &account, "publisher");
        for n in 0..each * members.len() + more {
            publisher.send(&mqtt::publish(
                "work",
                Some(1),
                Some(&[]),
                n.to_string().as_bytes(),
            ));
            assert_eq!(publisher.packet().first, 0x40);
        }
        http::await_drops(http, "channel", "queue_full", before + more as u64);
        for member in &mut members {
            for _ in 0..limits::INFLIGHT_PER_SESSION_MAX {
                assert_eq!(member.packet().first, 0x32);
            }
            member.send(&PINGREQ);
            assert_eq!(member.packet().first, PINGRESP, "no more than are in flight");
        }
        neighbours.assert_undisturbed();
    });
}

/// Reads what an overtaken connection was told: CONNACK, the messages of the session from the first one on, and why it ended.
#[track_caller]
fn assert_overtaken(mut raw: Raw) {
    assert_eq!(raw.packet().connack_code(), 0);
    let mut next = 0;
    loop {
        let packet = raw.packet();
        if packet.first & 0xF6 != 0x32 {
            assert_eq!(packet.disconnect_code(), 0x8E);
            return raw.assert_closed();
        }
        assert_eq!(packet.body.last(), Some(&next));
        next += 1;
    }
}

#[test]
fn mqtt_3_1_4_3_a_storm_of_take_overs_leaves_one_connection_and_the_whole_session() {
    parallel(&SHARD_COUNTS, |&shards| {
        let net = Net::start(&Options::shards(shards));
        let account = net.app().account("owner");
        let fought_for = Lasting::new(&account, "fought for");
        let (mut first, _) = fought_for.come(&net);
        first.send(&mqtt::subscribe(5, 1, "to/it"));
        assert_eq!(first.packet().first, 0x90);
        let mut watch = Watch::new(&net, &account, "watch");
        let (peers, each, messages) = (6, 40, 50);
        // Each sends its CONNECTs without a look at what comes back, so that they overtake one another.
        let connect = |_| {
            let mut raw = Raw::open(net.daemon().mqtt);
            raw.send(&fought_for.packet());
            raw
        };
        let storm = || -> Vec<Raw> { (0..each).map(connect).collect() };
        let overtaken: Vec<Raw> = thread::scope(|scope| {
            let storms: Vec<_> = (0..peers).map(|_| scope.spawn(storm)).collect();
            let mut publisher = Raw::login(net.daemon().mqtt, 5, &account, "publisher");
            for n in 0..messages {
                publisher.send(&mqtt::publish("to/it", Some(1), Some(&[]), &[n]));
                assert_eq!(code(&publisher.packet()), 0, "whoever holds the session");
                watch.ask();
            }
            storms
                .into_iter()
                .flat_map(|storm| storm.join().unwrap())
                .collect()
        });
        eventually("all of them were decided", || {
            http::metric(net.daemon().http, "nexus_sessions_resumed_total") == peers * each
        });
        let (mut last, was_there) = fought_for.come(&net);
        assert!(was_there);
        for raw in overtaken {
            assert_overtaken(raw);
        }
        for n in 0..messages {
            assert_eq!(last.packet().body.last(), Some(&n), "nothing was acknowledged");
        }
        last.send(&PINGREQ);
        assert_eq!(last.packet().first, PINGRESP);
        assert!(watch.longest < ANSWER_MAX, "{:?}", watch.longest);
    });
}

/// PUBLISH packets of QoS 2 with these identifiers, sent together, and the codes of their PUBRECs.
#[track_caller]
fn open_exchanges(raw: &mut Raw, ids: impl Iterator<Item = u16> + Clone) -> Vec<u8> {
    let publish = |id| {
        let mut publish = mqtt::publish("exactly/once", Some(id), Some(&[]), b"x");
        publish[0] = 0x34;
        publish
    };
    let together: Vec<u8> = ids.clone().flat_map(publish).collect();
    raw.send(&together);
    ids.map(|id| {
        let pubrec = raw.packet();
        assert_eq!((pubrec.first, &pubrec.body[..2]), (0x50, &id.to_be_bytes()[..]));
        code(&pubrec)
    })
    .collect()
}

#[test]
fn mqtt5_4_3_3_all_packet_identifiers_left_open_are_65535_exchanges_and_no_more() {
    parallel(&SHARD_COUNTS, |&shards| {
        let net = Net::start(&Options::shards(shards).config("[mqtt]\nreceive_maximum = 65535\n"));
        let account = net.app().account("owner");
        let mut watch = Watch::new(&net, &account, "watch");
        let unheard = || http::metric(net.daemon().http, "nexus_channel_unheard_total");
        let mut raw = Raw::login(net.daemon().mqtt, 5, &account, "open");
        for first in (1..=u16::MAX).step_by(5_000) {
            let ids = first..=first.saturating_add(4_999);
            let codes = open_exchanges(&mut raw, ids);
            assert!(codes.iter().all(|&code| code == 0x10), "nobody hears it");
            watch.ask();
        }
        eventually("each was taken", || unheard() == 65_535);
        // No identifier is left: each PUBLISH repeats one that was taken, and is not taken again [MQTT-4.3.3-10].
        assert_eq!(open_exchanges(&mut raw, 1..=100), [0; 100]);
        assert_eq!(unheard(), 65_535);
        for id in 1..=100_u16 {
            raw.send(&mqtt::packet(0x62, &id.to_be_bytes()));
            assert_eq!((raw.packet().first, id), (0x70, id));
        }
        assert_eq!(open_exchanges(&mut raw, 1..=100), [0x10; 100]);
        eventually("what was released is free", || unheard() == 65_635);
        watch.ask();
        assert!(watch.longest < ANSWER_MAX, "{:?}", watch.longest);
    });
}

#[test]
fn mqtt5_4_1_exchanges_that_each_connection_leaves_to_its_session_are_bounded() {
    let each: u16 = 4_096;
    parallel(&SHARD_COUNTS, |&shards| {
        let config = format!("[mqtt]\nreceive_maximum = {each}\n");
        let net = Net::start(&Options::shards(shards).config(&config));
        let account = net.app().account("owner");
        let session = Lasting::new(&account, "open");
        let most = u16::try_from(limits::QOS2_EXCHANGES_PER_SESSION_MAX).unwrap();
        let one_more = |raw: &mut Raw, id: u16| {
            let mut publish = mqtt::publish("exactly/once", Some(id), Some(&[]), b"x");
            publish[0] = 0x34;
            raw.send(&publish);
            let code = raw.packet().disconnect_code();
            raw.assert_closed();
            code
        };
        for first in (1..most).step_by(each.into()) {
            let (mut raw, was_there) = session.come(&net);
            assert_eq!(was_there, first > 1);
            open_exchanges(&mut raw, first..first + each);
            assert_eq!(one_more(&mut raw, first + each), 0x93);
        }
        let (mut raw, _) = session.come(&net);
        assert_eq!(one_more(&mut raw, most + 1), 0x97, "quota exceeded");
        let ends = "nexus_disconnects_total{reason=\"quota_exceeded\"}";
        let wanted = u64::from(most / each) + 1;
        assert_eq!(http::metric(net.daemon().http, ends), wanted);
        let (mut raw, was_there) = session.come(&net);
        assert!(was_there);
        raw.send(&mqtt::packet(0x62, &1_u16.to_be_bytes()));
        assert_eq!(raw.packet().first, 0x70);
        assert_eq!(open_exchanges(&mut raw, 1..=1), [0x10]);
    });
}

#[test]
fn large_packets_that_never_end_are_bounded_and_leave_room_for_others() {
    let net = Net::start(&Options::shards(1));
    let app = net.app();
    let (hoarder, other) = (app.account("owner"), app.account("user"));
    let unfinished = || http::metric(net.daemon().http, "nexus_unfinished_bytes");
    let packet = mqtt::publish("hoard", Some(1), Some(&[]), &vec![b'x'; 1_000_000]);
    let (begin, end) = packet.split_at(50);
    let share = packet.len() - limits::PRELOGIN_BYTES_MAX;
    let fit = limits::UNFINISHED_BYTES_PER_ACCOUNT_MAX / share;
    let begun = |n: usize| {
        let mut raw = Raw::login(net.daemon().mqtt, 5, &hoarder, &format!("hoarder{n}"));
        raw.send(begin);
        raw
    };
    let mut flood: Vec<Raw> = (0..fit).map(begun).collect();
    eventually("all have been announced", || unfinished() == (fit * share) as u64);
    let mut refused = begun(fit);
    assert_eq!(refused.packet().disconnect_code(), 0x97);
    refused.assert_closed();
    let ended = "nexus_disconnects_total{reason=\"quota_exceeded\"}";
    assert_eq!(http::metric(net.daemon().http, ended), 1);
    // Another account's large packet passes, whole or in pieces; so do small ones of the hoarder.
    let mut device = Raw::login(net.daemon().mqtt, 5, &other, "device");
    device.send(begin);
    eventually("it has room", || unfinished() == ((fit + 1) * share) as u64);
    device.send(end);
    assert_eq!(code(&device.packet()), 0x10);
    let mut small = Raw::login(net.daemon().mqtt, 5, &hoarder, "small");
    small.send(&mqtt::publish("hoard", Some(1), Some(&[]), &[b'x'; 10_000]));
    assert_eq!(code(&small.packet()), 0x10);
    // What is finished, and who is gone, makes room.
    flood[0].send(end);
    assert_eq!(code(&flood[0].packet()), 0x10);
    flood.truncate(fit - 1);
    eventually("two have made room", || {
        unfinished() == ((fit - 2) * share) as u64
    });
    let mut late = begun(fit + 1);
    late.send(end);
    assert_eq!(code(&late.packet()), 0x10);
    drop(flood);
    eventually("nobody has left anything", || unfinished() == 0);
}
