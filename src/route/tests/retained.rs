//! Retained messages (PROTOCOL 2.3; MQTT 5.0, 3.3.1.3, 3.8.3.1 and 3.3.2.3.3).

mod replicas;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;

use crate::journal::{Change as Row, Table};
use crate::limits;
use crate::observe::{DropReason, Stage};
use crate::route::testing::*;
use crate::route::*;

fn user(net: &mut Net, n: u32) -> Block {
    net.block(&account("etest", n, "user"), "r")
}

/// Publishes with RETAIN, without waiting.
fn keep_at(net: &mut Net, from: Block, message: &ChannelMessage<'_>) -> Result<Reach, Refusal> {
    let message = ChannelMessage {
        retain: true,
        ..*message
    };
    net.on(from.shard, |router, now, port| {
        let ended = router.publish(now, port, from.key, &message, None, Lasting::default());
        ended.expect("without a ticket there is nothing to wait for")
    })
}

/// Publishes with RETAIN and waits.
fn keep(net: &mut Net, from: Block, channel: &str, payload: &str) -> Result<Reach, Refusal> {
    let taken = keep_at(net, from, &message(channel, payload, Qos::AtLeastOnce));
    net.run();
    taken
}

fn expiring<'a>(net: &Net, channel: &'a str, seconds: u32) -> ChannelMessage<'a> {
    ChannelMessage {
        expires: Some(net.now.instant + SECOND * seconds),
        ..message(channel, "x", Qos::AtLeastOnce)
    }
}

fn options(retained: RetainHandling) -> SubscriptionOptions {
    SubscriptionOptions {
        qos: Qos::AtLeastOnce,
        retained,
        ..SubscriptionOptions::default()
    }
}

/// Subscribes as a session does: what is retained comes behind the answer.
fn subscribe_with(
    net: &mut Net,
    block: Block,
    filter: &str,
    from: SenderPattern<'_>,
    options: SubscriptionOptions,
) -> Result<Qos, Refusal> {
    let granted = net.subscribe_with(block, filter, from, options);
    assert!(net.got(block).is_empty(), "not before the answer");
    net.on(block.shard, |router, now, port| {
        router.deliver_retained(now, port, block.key);
    });
    granted
}

fn subscribe(net: &mut Net, block: Block, filter: &str, retained: RetainHandling) {
    let granted = subscribe_with(net, block, filter, SenderPattern::default(), options(retained));
    assert_eq!(granted, Ok(Qos::AtLeastOnce));
}

/// What a block heard: channel, payload, whether it is marked as retained.
fn heard(net: &mut Net, block: Block) -> Vec<(String, String, bool)> {
    let each = |got| match got {
        Got::Channel {
            channel,
            payload,
            retain,
            ..
        } => (channel, String::from_utf8(payload).unwrap(), retain),
        other => panic!("{other:?}"),
    };
    net.got(block).into_iter().map(each).collect()
}

/// The channels of the retained messages that a new subscription is sent.
fn sent(net: &mut Net, block: Block, filter: &str) -> Vec<String> {
    subscribe(net, block, filter, RetainHandling::Always);
    let each = |(channel, _, retain): (_, String, bool)| {
        assert!(retain);
        channel
    };
    heard(net, block).into_iter().map(each).collect()
}

fn retained(channel: &str, payload: &str) -> (String, String, bool) {
    (channel.into(), payload.into(), true)
}

#[test]
fn mqtt5_3_3_1_8_the_last_message_reaches_a_later_subscriber_on_any_shard() {
    on_any_shards(|mut net| {
        let publisher = user(&mut net, 1);
        for payload in ["1", "2"] {
            assert_eq!(keep(&mut net, publisher, "plant/7", payload), Ok(Reach::Nobody));
        }
        net.publish(publisher, "plant/7", "not to be retained").unwrap();
        net.run();
        for n in 2..10 {
            let listener = user(&mut net, n);
            subscribe(&mut net, listener, "plant/+", RetainHandling::Always);
            let Got::Channel {
                sender,
                options,
                payload,
                retain,
                ..
            } = net.got_one(listener)
            else {
                panic!()
            };
            assert_eq!((payload.as_slice(), retain), (&b"2"[..], true));
            assert_eq!(sender, format!("{}/r", account("etest", 1, "user")));
            assert_eq!(options.qos, Qos::AtLeastOnce);
        }
        assert_eq!(keep(&mut net, publisher, "plant/7", "3"), Ok(Reach::Subscribers));
    });
}

#[test]
fn mqtt5_3_3_1_12_who_subscribes_already_is_not_told_that_it_is_retained() {
    on_any_shards(|mut net| {
        let (publisher, listener) = (user(&mut net, 1), user(&mut net, 2));
        subscribe(&mut net, listener, "a", RetainHandling::Always);
        keep(&mut net, publisher, "a", "1").unwrap();
        keep(&mut net, publisher, "a", "").unwrap();
        let live = |payload: &str| ("a".into(), payload.into(), false);
        assert_eq!(
            heard(&mut net, listener),
            [live("1"), live("")],
            "an empty one, too"
        );
    });
}

#[test]
fn mqtt5_3_3_1_6_an_empty_payload_removes_on_all_shards() {
    on_any_shards(|mut net| {
        let publishers: Vec<_> = (0..8).map(|n| user(&mut net, n)).collect();
        keep(&mut net, publishers[0], "a", "1").unwrap();
        keep(&mut net, publishers[5], "a", "").unwrap();
        for publisher in publishers {
            assert!(sent(&mut net, publisher, "a").is_empty());
        }
        assert!(net.routers.iter().all(|router| router.retained_len() == 0));
    });
}

#[test]
fn mqtt5_3_8_3_1_retain_handling() {
    on_any_shards(|mut net| {
        let (publisher, listener) = (user(&mut net, 1), user(&mut net, 2));
        keep(&mut net, publisher, "a", "1").unwrap();
        subscribe(&mut net, listener, "a", RetainHandling::Never);
        assert!(heard(&mut net, listener).is_empty());
        subscribe(&mut net, listener, "a", RetainHandling::IfNew);
        assert!(heard(&mut net, listener).is_empty());
        subscribe(&mut net, listener, "a", RetainHandling::Always);
        assert_eq!(heard(&mut net, listener), [retained("a", "1")]);
        subscribe(&mut net, listener, "a", RetainHandling::Always);
        assert_eq!(heard(&mut net, listener), [retained("a", "1")]);
        subscribe(&mut net, listener, "a/#", RetainHandling::IfNew);
        assert_eq!(heard(&mut net, listener), [retained("a", "1")]);
    });
}

#[test]
fn nexus_3_the_stored_sender_is_what_a_pattern_is_held_against() {
    on_any_shards(|mut net| {
        let (one, two, listener) = (user(&mut net, 1), user(&mut net, 2), user(&mut net, 3));
        keep(&mut net, one, "a/1", "1").unwrap();
        keep(&mut net, two, "a/2", "2").unwrap();
        net.leave(one);
        net.run();
        let from = SenderPattern {
            uid: Some(uid(1)),
            ..SenderPattern::default()
        };
        let formed = SubscriptionOptions {
            identifier: 7,
            form: 3,
            ..options(RetainHandling::IfNew)
        };
        subscribe_with(&mut net, listener, "a/#", from, formed).unwrap();
        let Got::Channel {
            channel,
            options,
            identifiers,
            ..
        } = net.got_one(listener)
        else {
            panic!()
        };
        assert_eq!((channel.as_str(), options.form, identifiers), ("a/1", 3, vec![7]));
    });
}

#[test]
fn mqtt5_3_8_3_1_no_local_keeps_a_client_s_own_messages_from_it() {
    on_any_shards(|mut net| {
        let (one, two) = (user(&mut net, 1), user(&mut net, 2));
        keep(&mut net, one, "a/1", "1").unwrap();
        keep(&mut net, two, "a/2", "2").unwrap();
        let no_local = SubscriptionOptions {
            no_local: true,
            ..options(RetainHandling::Always)
        };
        subscribe_with(&mut net, one, "a/+", SenderPattern::default(), no_local).unwrap();
        assert_eq!(heard(&mut net, one), [retained("a/2", "2")]);
    });
}

#[test]
fn p2_3_what_an_app_retains_below_its_own_level_is_for_its_accounts_alone() {
    on_any_shards(|mut net| {
        let publisher = user(&mut net, 1);
        keep(&mut net, publisher, "~etest/a", "1").unwrap();
        keep(&mut net, publisher, "b", "1").unwrap();
        let operator = net.block(&account("nexus", 9, "owner"), "console");
        assert_eq!(sent(&mut net, operator, "#"), ["b"]);
        let member = user(&mut net, 2);
        assert_eq!(sent(&mut net, member, "~etest/#"), ["~etest/a"]);
        let stranger = net.block(&account("web", 3, "user"), "page");
        for filter in ["#", "~etest/a"] {
            let refused = subscribe_with(
                &mut net,
                stranger,
                filter,
                SenderPattern::default(),
                options(RetainHandling::Always),
            );
            assert_eq!(refused, Err(Refusal::NotAuthorized));
        }
        assert_eq!(
            keep(&mut net, stranger, "~etest/a", "2"),
            Err(Refusal::NotAuthorized)
        );
        assert!(heard(&mut net, stranger).is_empty());
    });
}

#[test]
fn mqtt5_3_3_2_3_3_a_retained_message_expires_on_all_shards() {
    on_any_shards(|mut net| {
        let publisher = user(&mut net, 1);
        let short = expiring(&net, "a", 10);
        keep_at(&mut net, publisher, &short).unwrap();
        let gone = expiring(&net, "b", 0);
        keep(&mut net, publisher, "b", "replaced").unwrap();
        keep_at(&mut net, publisher, &gone).unwrap();
        net.advance(SECOND * 9);
        assert_eq!(sent(&mut net, publisher, "a"), ["a"]);
        assert!(sent(&mut net, publisher, "b").is_empty());
        // Not swept yet, and not delivered.
        net.now.instant = net.now.instant + SECOND;
        assert!(sent(&mut net, publisher, "a").is_empty());
        net.advance(SECOND);
        assert!(net.routers.iter().all(|router| router.retained_len() == 0));
    });
}

#[test]
fn beyond_the_bounds_a_message_is_delivered_and_not_retained() {
    for (messages_max, bytes_max) in [(2, usize::MAX), (100, 300)] {
        for shards in [1, 2] {
            let mut net = Net::configured(shards, 3, |config| {
                config.limits.retained_max = messages_max;
                config.limits.retained_bytes_max = bytes_max;
            });
            let (publisher, listener) = (user(&mut net, 1), user(&mut net, 2));
            subscribe(&mut net, listener, "a/#", RetainHandling::Never);
            let mut refused = 0;
            for channel in ["a/1", "a/2", "a/3"] {
                let taken = keep(&mut net, publisher, channel, "x");
                refused += u64::from(taken == Err(Refusal::QuotaExceeded));
                assert_eq!(heard(&mut net, listener).len(), 1, "delivered all the same");
            }
            assert!(refused > 0, "{messages_max}, {bytes_max}");
            assert_eq!(net.drops(Stage::Retained, DropReason::Quota), refused);
            keep(&mut net, publisher, "a/1", "y").unwrap();
            keep(&mut net, publisher, "a/1", "").unwrap();
            keep(&mut net, publisher, "a/3", "x").unwrap();
        }
    }
}

#[test]
fn where_a_shard_cannot_be_told_no_replica_changes() {
    let mut net = Net::new(2);
    net.next_shard_is(0);
    let (here, there) = (user(&mut net, 1), user(&mut net, 2));
    keep(&mut net, here, "a", "1").unwrap();
    net.ring_parcels = 0;
    let payload = "x".repeat(limits::MESH_BACKLOG_BYTES_MAX / 2 - 1_000);
    for _ in 0..2 {
        // What the letters share counts, or the other shard would hold any amount alive.
        keep_at(&mut net, here, &message("b", &payload, Qos::AtMostOnce)).unwrap();
        net.step();
    }
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let large = "y".repeat(4_000);
        let refused = keep_at(&mut net, here, &message("a", &large, qos));
        assert_eq!(refused, Err(Refusal::Busy));
    }
    assert_eq!(net.drops(Stage::Mesh, DropReason::MeshFull), 2);
    net.ring_parcels = 1;
    net.run();
    for block in [here, there] {
        subscribe(&mut net, block, "a", RetainHandling::Always);
        assert_eq!(heard(&mut net, block), [retained("a", "1")]);
    }
}

#[test]
fn a_receiver_without_room_holds_up_itself_alone() {
    let mut net = Net::new(1);
    let publisher = user(&mut net, 1);
    for n in 0..10 {
        keep(&mut net, publisher, &format!("a/{n}"), "x").unwrap();
    }
    let (full, other, gone) = (user(&mut net, 2), user(&mut net, 3), user(&mut net, 4));
    for block in [full, gone] {
        net.ports[0].failing.insert(block.key, Undelivered::QueueFull);
        subscribe(&mut net, block, "a/#", RetainHandling::Always);
    }
    assert_eq!(sent(&mut net, other, "a/#").len(), 10);
    net.tick();
    assert_eq!(
        net.drops(Stage::Retained, DropReason::QueueFull),
        0,
        "none is lost"
    );
    net.ports[0].failing.clear();
    let end = Unregistration::Channel {
        filter: "a/#",
        from: SenderPattern::default(),
        form: 0,
    };
    assert!(net.unregister(gone, &end));
    net.tick();
    assert_eq!(heard(&mut net, full).len(), 10);
    assert!(heard(&mut net, gone).is_empty(), "ended with the subscription");
    assert!(!net.routers[0].has_retained_newcomers());
}

#[test]
fn a_walk_is_bounded_in_a_turn_and_ends_with_its_session() {
    let mut net = Net::new(1);
    let publisher = user(&mut net, 1);
    let count = 3 * limits::RETAINED_STEPS_PER_TICK;
    for n in 0..count {
        keep_at(
            &mut net,
            publisher,
            &message(&format!("a/{n}"), "x", Qos::AtMostOnce),
        )
        .unwrap();
    }
    net.run();
    let listeners: Vec<_> = (2..10).map(|n| user(&mut net, n)).collect();
    let mut total = 0;
    for &listener in &listeners {
        let got = sent(&mut net, listener, "a/#").len();
        assert!(got <= limits::RETAINED_STEPS_PER_TURN, "{got}");
        total += got;
    }
    assert!(total <= limits::RETAINED_STEPS_PER_TICK, "{total} before a tick");
    net.leave(listeners[7]);
    for _ in 0..8 * 4 {
        net.tick();
    }
    let more: usize = listeners[..7]
        .iter()
        .map(|&listener| heard(&mut net, listener).len())
        .sum();
    assert_eq!(total + more, 7 * count);
    assert!(!net.routers[0].has_retained_newcomers());
}

#[test]
fn one_shard_tells_how_many_are_retained() {
    on_any_shards(|mut net| {
        let publisher = user(&mut net, 1);
        for channel in ["a", "b", "c"] {
            keep(&mut net, publisher, channel, "x").unwrap();
        }
        keep(&mut net, publisher, "b", "").unwrap();
        let of = |counter: fn(&crate::observe::ShardMetrics) -> u64| -> u64 {
            net.metrics.iter().map(|metrics| counter(metrics)).sum()
        };
        assert_eq!(of(|metrics| metrics.retained_messages.get()), 2);
        let bytes = of(|metrics| metrics.retained_bytes.get());
        assert!((100..600).contains(&bytes), "{bytes}");
    });
}
