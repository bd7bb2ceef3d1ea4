//! Much of what is allowed: it is bounded, it is counted, and who does it slows nobody else down for long.

use std::time::Duration;

use nexus::limits;

use super::{ANSWER_MAX, Neighbours, Watch};
use crate::harness::clock::Moment;
use crate::harness::mqtt::{self, PINGREQ, PINGRESP, Raw};
use crate::harness::{each_shard_count, http};

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
