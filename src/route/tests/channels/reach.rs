//! How far subscriptions and messages go, and when they do not.

use super::*;

#[test]
fn p2_3_subscriptions_of_a_block_are_bounded() {
    on_any_shards(|mut net| {
        let block = user(&mut net, 1);
        for n in 0..crate::limits::SUBSCRIPTIONS_PER_BLOCK_MAX {
            let filter = format!("c/{n}");
            let options = formed(0);
            let from = SenderPattern::default();
            let granted = net.register(
                block,
                &Registration::Channel {
                    filter: &filter,
                    from,
                    options,
                },
            );
            assert_eq!(granted, Ok(Qos::AtMostOnce));
        }
        assert_eq!(net.subscribe(block, "one more"), Err(Refusal::QuotaExceeded));
        assert_eq!(net.subscribe(block, "c/7"), Ok(Qos::AtMostOnce));
        for n in 0..crate::limits::LISTENERS_PER_BLOCK_MAX {
            net.listen(block, &format!("cmd{n}")).unwrap();
        }
        assert_eq!(net.listen(block, "one more"), Err(Refusal::QuotaExceeded));
        assert_eq!(net.listen(block, "cmd7"), Ok(Qos::AtMostOnce));
        assert_eq!(net.listen(block, "a/b"), Err(Refusal::InvalidName));
    });
}

#[test]
fn p2_3_a_message_visits_only_the_shards_that_want_it() {
    let mut net = Net::new(8);
    let blocks: Vec<_> = (0..8).map(|n| user(&mut net, n)).collect();
    net.subscribe(blocks[3], "a/b").unwrap();
    net.subscribe(blocks[5], "a/+").unwrap();
    net.subscribe(blocks[6], "z").unwrap();
    let before = net.parcels;
    for n in 0..100 {
        say(&mut net, blocks[0], "a/b", &n.to_string()).unwrap();
    }
    assert_eq!(net.parcels - before, 200);
    say(&mut net, blocks[0], "nobody", "x").unwrap();
    assert_eq!(net.parcels - before, 200);
    assert_eq!((net.got(blocks[3]).len(), net.got(blocks[5]).len()), (100, 100));
}

#[test]
fn p2_3_the_last_of_a_shard_to_leave_ends_its_interest() {
    let mut net = Net::new(2);
    net.next_shard_is(1);
    let first = user(&mut net, 1);
    net.next_shard_is(1);
    let second = user(&mut net, 2);
    net.next_shard_is(0);
    let publisher = user(&mut net, 3);
    for block in [first, second] {
        net.subscribe(block, "a").unwrap();
        net.subscribe(block, "b/+").unwrap();
    }
    net.leave(first);
    net.run();
    assert_eq!(say(&mut net, publisher, "a", "1"), Ok(Reach::Subscribers));
    net.leave(second);
    net.run();
    let before = net.parcels;
    assert_eq!(say(&mut net, publisher, "a", "2"), Ok(Reach::Nobody));
    assert_eq!(say(&mut net, publisher, "b/c", "2"), Ok(Reach::Nobody));
    assert_eq!(net.parcels, before);
    assert_eq!(net.routers[0].interest.len(), (0, 0));
}

#[test]
fn p2_3_an_expired_message_is_not_delivered() {
    on_any_shards(|mut net| {
        let (publisher, listener) = (user(&mut net, 1), user(&mut net, 2));
        net.subscribe(listener, "a").unwrap();
        net.delay_us = 2_000..2_001;
        for after in [0, 1, 60_000] {
            let expires = Some(net.now.instant + Duration::from_millis(after));
            let message = ChannelMessage {
                expires,
                ..message("a", "x", Qos::AtMostOnce)
            };
            net.on(publisher.shard, |router, now, port| {
                router.publish(now, port, publisher.key, &message, None, Lasting::default())
            });
            net.run();
        }
        let crosses = publisher.shard != listener.shard;
        assert_eq!(payloads(&mut net, listener).len(), if crosses { 1 } else { 2 });
        assert_eq!(
            net.drops(Stage::Channel, DropReason::Expired),
            if crosses { 2 } else { 1 }
        );
    });
}

#[test]
fn p2_3_a_delivery_that_fails_is_counted_and_harms_no_other() {
    on_any_shards(|mut net| {
        let (publisher, full, fine) = (user(&mut net, 1), user(&mut net, 2), user(&mut net, 3));
        for block in [full, fine] {
            net.subscribe(block, "a").unwrap();
        }
        net.ports[usize::from(full.shard)]
            .failing
            .insert(full.key, Undelivered::NotText);
        say(&mut net, publisher, "a", "x").unwrap();
        assert_eq!(payloads(&mut net, fine), ["x"]);
        assert_eq!(net.drops(Stage::Channel, DropReason::NotText), 1);
    });
}

#[test]
fn p2_3_a_will_goes_out_after_its_block_left_by_the_same_rules() {
    on_any_shards(|mut net| {
        let (gone, listener) = (user(&mut net, 1), user(&mut net, 2));
        net.subscribe(listener, "status").unwrap();
        let identity = net.routers[usize::from(gone.shard)]
            .identity(gone.key)
            .unwrap()
            .clone();
        net.leave(gone);
        let mut will = |channel| {
            let message = message(channel, "offline", Qos::AtMostOnce);
            net.on(gone.shard, |router, now, port| {
                router.publish_will(now, port, &identity, &message)
            })
        };
        assert_eq!(will("status"), Ok(Reach::Subscribers));
        assert_eq!(will("~web/x"), Err(Refusal::NotAuthorized));
        assert_eq!(will("$SYS"), Err(Refusal::InvalidName));
        net.run();
        let Got::Channel { sender, .. } = net.got_one(listener) else {
            panic!()
        };
        assert_eq!(sender, format!("{}/r", account("etest", 1, "user")));
    });
}

#[test]
fn p2_4_messages_of_one_sender_keep_their_order_whatever_the_delays() {
    for seed in 0..20 {
        let mut net = Net::configured(8, seed, |_| {});
        net.ring_parcels = 2;
        let publisher = user(&mut net, 1);
        let listeners: Vec<_> = (2..10).map(|n| user(&mut net, n)).collect();
        for &listener in &listeners {
            net.subscribe(listener, "a/+").unwrap();
            net.subscribe(listener, "a/b").unwrap();
        }
        net.delay_us = 1..20_000;
        let expected: Vec<_> = (0..200).map(|n: u32| n.to_string()).collect();
        for text in &expected {
            net.publish(publisher, "a/b", text).unwrap();
            net.advance(Duration::from_micros(200));
        }
        net.run();
        for &listener in &listeners {
            assert_eq!(payloads(&mut net, listener), expected, "seed {seed}");
        }
    }
}

#[test]
fn a_message_that_nobody_is_subscribed_to_is_counted() {
    on_any_shards(|mut net| {
        let unheard =
            |net: &Net| -> u64 { net.metrics.iter().map(|shard| shard.channel_unheard.get()).sum() };
        let publisher = user(&mut net, 1);
        assert_eq!(say(&mut net, publisher, "a", "1"), Ok(Reach::Nobody));
        assert_eq!(unheard(&net), 1);
        for n in 2..6 {
            let listener = user(&mut net, n);
            net.subscribe(listener, "a").unwrap();
            net.run();
            assert_eq!(say(&mut net, publisher, "a", "2"), Ok(Reach::Subscribers));
            assert_eq!(payloads(&mut net, listener), ["2"]);
            net.leave(listener);
            net.run();
        }
        assert_eq!(unheard(&net), 1);
    });
}
