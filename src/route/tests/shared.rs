//! Shared subscriptions (PROTOCOL 2.3, MQTT 5.0 section 4.8.2).

mod lasting;
mod race;

use std::collections::{HashMap, HashSet};

use rand::Rng;

use crate::limits;
use crate::observe::{DropReason, Stage};
use crate::route::testing::*;
use crate::route::*;

const QOS1: Qos = Qos::AtLeastOnce;

fn share<'a>(name: &'a str, filter: &'a str) -> Share<'a> {
    Share {
        name,
        filter,
        from: SenderPattern::default(),
        form: 0,
    }
}

fn options(qos: Qos) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        ..SubscriptionOptions::default()
    }
}

fn join_as(net: &mut Net, block: Block, share: Share<'_>, qos: Qos) -> Result<Qos, Refusal> {
    let options = options(qos);
    net.register(block, &Registration::Shared { share, options })
}

fn join(net: &mut Net, block: Block, name: &str, filter: &str) {
    assert_eq!(join_as(net, block, share(name, filter), QOS1), Ok(QOS1));
    net.run();
}

fn part(net: &mut Net, block: Block, name: &str, filter: &str) -> bool {
    let share = share(name, filter);
    let parted = net.unregister(block, &Unregistration::Shared { share });
    net.run();
    parted
}

fn user(net: &mut Net, n: u32) -> Block {
    net.block(&account("etest", n, "user"), "r")
}

fn users(net: &mut Net, count: u32) -> Vec<Block> {
    (0..count).map(|n| user(net, n)).collect()
}

fn suspend(net: &mut Net, block: Block) {
    net.on(block.shard, |router, now, port| {
        router.suspend(now, port, block.key, true);
    });
    net.run();
}

fn resume(net: &mut Net, block: Block) {
    let grants = Grants {
        credential: CredentialId(7),
        services: Vec::new(),
        expires_unix_ms: None,
        announced: false,
    };
    net.on(block.shard, |router, now, _| {
        router.resume(now, block.key, grants);
    });
    net.run();
}

fn refuse(net: &mut Net, block: Block, why: Option<Undelivered>) {
    let failing = &mut net.ports[usize::from(block.shard)].failing;
    match why {
        Some(why) => drop(failing.insert(block.key, why)),
        None => drop(failing.remove(&block.key)),
    }
}

/// The payloads of what a block got, with the group that each came for.
fn heard(net: &mut Net, block: Block) -> Vec<(String, Option<String>)> {
    let all = net.got(block).into_iter().filter_map(|got| match got {
        Got::Channel { payload, group, .. } => Some((String::from_utf8(payload).unwrap(), group)),
        _ => None,
    });
    all.collect()
}

fn count(net: &mut Net, blocks: &[Block]) -> Vec<usize> {
    blocks.iter().map(|&block| heard(net, block).len()).collect()
}

/// Publishes `count` messages of QoS 1 and waits.
fn say(net: &mut Net, from: Block, channel: &str, count: usize) {
    for n in 0..count {
        net.publish_at(from, channel, &n.to_string(), QOS1).unwrap();
    }
    net.run();
}

fn groups(net: &Net) -> u64 {
    net.metrics.iter().map(|metrics| metrics.share_groups.get()).sum()
}

fn redirected(net: &Net) -> u64 {
    net.metrics
        .iter()
        .map(|metrics| metrics.share_redirected.get())
        .sum()
}

#[test]
fn mqtt5_4_8_2_each_message_goes_to_one_member_of_each_group() {
    on_any_shards(|mut net| {
        let members = users(&mut net, 6);
        for &member in &members[..4] {
            join(&mut net, member, "one", "plant/+/alarm");
        }
        for &member in &members[4..] {
            join(&mut net, member, "two", "plant/7/alarm");
        }
        let publisher = user(&mut net, 90);
        say(&mut net, publisher, "plant/7/alarm", 40);
        assert_eq!(count(&mut net, &members), [10, 10, 10, 10, 20, 20]);
        say(&mut net, publisher, "plant/8/alarm", 4);
        assert_eq!(count(&mut net, &members), [1, 1, 1, 1, 0, 0]);
        assert_eq!(groups(&net), 2);
    });
}

#[test]
fn nexus_2_3_groups_are_per_app() {
    on_any_shards(|mut net| {
        net.app("web", AppPolicy::default());
        let own = user(&mut net, 1);
        let other = net.block(&account("web", 2, "user"), "page");
        join(&mut net, own, "g", "alerts");
        join(&mut net, other, "g", "alerts");
        say(&mut net, own, "alerts", 5);
        assert_eq!(count(&mut net, &[own, other]), [5, 5]);
    });
}

#[test]
fn nexus_2_3_a_group_hears_what_its_members_may_hear() {
    on_any_shards(|mut net| {
        let (member, operator) = (user(&mut net, 1), net.block(&account("nexus", 9, "owner"), "c"));
        let refused = Err(Refusal::NotAuthorized);
        for filter in ["#", "+/x", "~web/x"] {
            assert_eq!(
                join_as(&mut net, member, share("g", filter), QOS1),
                refused,
                "{filter}"
            );
        }
        let names = [
            "",
            "a/b",
            "a+",
            "#",
            &"g".repeat(limits::SHARE_NAME_BYTES_MAX + 1),
        ];
        for name in names {
            let joined = join_as(&mut net, member, share(name, "a"), QOS1);
            assert_eq!(joined, Err(Refusal::InvalidName), "{name}");
        }
        let joined = join_as(&mut net, member, share("g", "a/#/b"), QOS1);
        assert_eq!(joined, Err(Refusal::InvalidName));
        // Operators hear all, but what is another app's own.
        join(&mut net, operator, "g", "#");
        join(&mut net, member, "g", "~etest/x");
        say(&mut net, member, "~etest/x", 3);
        say(&mut net, member, "a", 2);
        assert_eq!(count(&mut net, &[member, operator]), [3, 2]);
    });
}

#[test]
fn nexus_3_a_group_hears_the_senders_it_asked_for_as_it_asked() {
    on_any_shards(|mut net| {
        let (member, owner) = (user(&mut net, 1), net.block(&account("etest", 2, "owner"), "o"));
        let from = SenderPattern {
            role: Some(Role::Owner),
            ..SenderPattern::default()
        };
        let options = SubscriptionOptions {
            qos: QOS1,
            retain_as_published: true,
            identifier: 77,
            form: 1,
            ..SubscriptionOptions::default()
        };
        let share = Share {
            from,
            form: 1,
            ..share("g", "a")
        };
        let wanted = Registration::Shared { share, options };
        net.register(member, &wanted).unwrap();
        net.run();
        say(&mut net, member, "a", 1);
        assert_eq!(heard(&mut net, member), []);
        say(&mut net, owner, "a", 1);
        let Got::Channel {
            identifiers,
            options: served,
            group,
            ..
        } = net.got_one(member)
        else {
            panic!()
        };
        assert_eq!((identifiers, served), (vec![77], options));
        assert_eq!(group.as_deref(), Some("g"));
    });
}

#[test]
fn mqtt5_4_8_2_a_plain_subscription_hears_all_beside_the_share() {
    on_any_shards(|mut net| {
        let members = users(&mut net, 2);
        for &member in &members {
            join(&mut net, member, "g", "a");
        }
        net.subscribe(members[0], "a").unwrap();
        say(&mut net, members[1], "a", 4);
        let first = heard(&mut net, members[0]);
        let plain = first.iter().filter(|(_, group)| group.is_none()).count();
        assert_eq!((plain, first.len()), (4, 6));
        assert_eq!(count(&mut net, &members), [0, 2]);
        // Neither ends with the other.
        assert!(net.unregister(
            members[0],
            &Unregistration::Channel {
                filter: "a",
                from: SenderPattern::default(),
                form: 0
            }
        ));
        net.run();
        say(&mut net, members[1], "a", 4);
        assert_eq!(count(&mut net, &members), [2, 2]);
    });
}

#[test]
fn mqtt5_4_8_2_who_unsubscribes_or_leaves_gets_no_more() {
    on_any_shards(|mut net| {
        let members = users(&mut net, 3);
        for &member in &members {
            join(&mut net, member, "g", "a/+");
        }
        assert!(part(&mut net, members[0], "g", "a/+"));
        assert!(!part(&mut net, members[0], "g", "a/+"), "it was none any more");
        assert!(!part(&mut net, members[1], "h", "a/+"));
        net.leave(members[1]);
        net.run();
        let publisher = user(&mut net, 90);
        say(&mut net, publisher, "a/b", 3);
        assert_eq!(count(&mut net, &[members[0], members[2]]), [0, 3]);
        net.leave(members[2]);
        net.run();
        assert_eq!(groups(&net), 0);
        assert_eq!(net.publish_at(publisher, "a/b", "x", QOS1), Ok(Reach::Nobody));
    });
}

#[test]
fn nexus_2_3_who_is_offline_gets_what_is_kept_if_nobody_is_online() {
    on_any_shards(|mut net| {
        let members = users(&mut net, 2);
        for &member in &members {
            join(&mut net, member, "g", "a");
        }
        suspend(&mut net, members[0]);
        say(&mut net, members[1], "a", 4);
        assert_eq!(count(&mut net, &members), [0, 4]);
        suspend(&mut net, members[1]);
        let publisher = user(&mut net, 90);
        say(&mut net, publisher, "a", 4);
        net.publish(publisher, "a", "lost").unwrap();
        net.run();
        assert_eq!(count(&mut net, &members), [2, 2]);
        assert_eq!(net.drops(Stage::Channel, DropReason::NoReceiver), 1);
        resume(&mut net, members[0]);
        net.publish(publisher, "a", "heard").unwrap();
        net.run();
        assert_eq!(count(&mut net, &members), [1, 0]);
    });
}

#[test]
fn mqtt5_4_8_2_a_stalled_member_does_not_stall_its_group() {
    on_any_shards(|mut net| {
        let members = users(&mut net, 3);
        for &member in &members {
            join(&mut net, member, "g", "a");
        }
        refuse(&mut net, members[1], Some(Undelivered::QueueFull));
        let publisher = user(&mut net, 90);
        for _ in 0..10 {
            say(&mut net, publisher, "a", 1);
        }
        assert_eq!(count(&mut net, &members), [5, 0, 5]);
        assert!(redirected(&net) <= 1, "it is passed over then");
        refuse(&mut net, members[0], Some(Undelivered::TooLarge));
        say(&mut net, publisher, "a", 2);
        assert_eq!(count(&mut net, &members), [0, 0, 2]);
        refuse(&mut net, members[2], Some(Undelivered::TooLarge));
        let dropped = |net: &Net| {
            net.drops(Stage::Channel, DropReason::TooLarge) + net.drops(Stage::Channel, DropReason::QueueFull)
        };
        let before = dropped(&net);
        say(&mut net, publisher, "a", 1);
        assert_eq!(dropped(&net) - before, 1, "dropped once, and counted");
        for &member in &members {
            refuse(&mut net, member, None);
        }
        net.advance(SECOND);
        say(&mut net, publisher, "a", 3);
        assert_eq!(count(&mut net, &members), [1, 1, 1]);
    });
}

#[test]
fn nexus_2_3_there_are_as_many_members_as_there_may_be() {
    let mut net = Net::new(1);
    let block = user(&mut net, 1);
    for n in 0..limits::SUBSCRIPTIONS_PER_BLOCK_MAX {
        let name = format!("g{n}");
        assert_eq!(join_as(&mut net, block, share(&name, "a"), QOS1), Ok(QOS1));
    }
    let more = join_as(&mut net, block, share("more", "a"), QOS1);
    assert_eq!(more, Err(Refusal::QuotaExceeded));
    assert_eq!(net.subscribe(block, "a"), Err(Refusal::QuotaExceeded));
    assert_eq!(
        join_as(&mut net, block, share("g0", "a"), QOS1),
        Ok(QOS1),
        "again"
    );
    assert_eq!(groups(&net), limits::SUBSCRIPTIONS_PER_BLOCK_MAX as u64);
    net.leave(block);
    assert_eq!(groups(&net), 0);
}

#[test]
fn a_session_is_in_as_many_groups_as_it_may_whatever_else_it_may_subscribe_to() {
    let mut net = Net::configured(1, 1, |config| {
        config.limits.subscriptions_per_block_max = 2 * limits::SHARES_PER_SESSION_MAX;
    });
    let block = user(&mut net, 1);
    for n in 0..limits::SHARES_PER_SESSION_MAX {
        assert_eq!(
            join_as(&mut net, block, share(&format!("g{n}"), "a"), QOS1),
            Ok(QOS1)
        );
    }
    let more = join_as(&mut net, block, share("more", "a"), QOS1);
    assert_eq!(more, Err(Refusal::QuotaExceeded));
    assert!(net.subscribe(block, "a").is_ok());
}

#[test]
fn groups_that_share_a_filter_come_and_go_in_any_order() {
    on_any_shards(|mut net| {
        let members = users(&mut net, 7);
        for (n, &member) in members.iter().enumerate() {
            join(&mut net, member, &format!("g{n}"), "a");
        }
        let publisher = user(&mut net, 90);
        let mut left: Vec<usize> = (0..members.len()).collect();
        for leaves in [2, 6, 0, 3, 5, 1, 4] {
            assert!(part(&mut net, members[leaves], &format!("g{leaves}"), "a"));
            left.retain(|&one| one != leaves);
            say(&mut net, publisher, "a", 1);
            let expected: Vec<usize> = (0..members.len())
                .map(|n| usize::from(left.contains(&n)))
                .collect();
            assert_eq!(count(&mut net, &members), expected, "without {leaves}");
        }
        assert_eq!(groups(&net), 0);
        join(&mut net, members[0], "again", "a");
        say(&mut net, publisher, "a", 1);
        assert_eq!(count(&mut net, &members[..1]), [1]);
    });
}

fn returned(payload: &str, sender: &str) -> Returned {
    Returned {
        share: share("g", "a").into(),
        sender: sender.into(),
        channel: "a".into(),
        payload: payload.as_bytes().into(),
        attributes: Box::default(),
        qos: QOS1,
        retain: false,
        expires: None,
        seq: None,
    }
}

#[test]
fn mqtt5_4_8_2_what_an_ended_session_had_goes_to_another_member() {
    on_any_shards(|mut net| {
        let members = users(&mut net, 3);
        for &member in &members {
            join(&mut net, member, "g", "a");
        }
        let sender = format!("{}/r", account("etest", 90, "user"));
        net.leave(members[0]);
        net.on(members[0].shard, |router, now, port| {
            for payload in ["1", "2"] {
                router.take_back(now, port, "etest", &returned(payload, &sender), None);
            }
            router.take_back(now, port, "web", &returned("another app's", &sender), None);
        });
        net.run();
        assert_eq!(count(&mut net, &members[1..]), [1, 1]);
        assert_eq!(redirected(&net), 2);
        assert_eq!(net.drops(Stage::Channel, DropReason::NoReceiver), 1);
    });
}

#[test]
fn mqtt5_4_8_2_what_is_retained_goes_to_one_member_once() {
    on_any_shards(|mut net| {
        let members = users(&mut net, 3);
        for &member in &members {
            join(&mut net, member, "g", "a");
        }
        let publisher = user(&mut net, 90);
        for n in 0..6 {
            let text = n.to_string();
            let retained = ChannelMessage {
                retain: true,
                ..message("a", &text, QOS1)
            };
            let reach = net.on(publisher.shard, |router, now, port| {
                router.publish(now, port, publisher.key, &retained, None, Lasting::default())
            });
            assert_eq!(reach, Some(Ok(Reach::Subscribers)));
        }
        net.run();
        assert_eq!(count(&mut net, &members), [2, 2, 2]);
        // Who joins is sent none of it.
        let late = user(&mut net, 4);
        join(&mut net, late, "h", "a");
        assert_eq!(heard(&mut net, late), []);
    });
}

#[test]
fn mqtt5_4_8_2_what_expired_with_an_ended_session_goes_to_nobody() {
    on_any_shards(|mut net| {
        let members = users(&mut net, 2);
        for &member in &members {
            join(&mut net, member, "g", "a");
        }
        let sender = format!("{}/r", account("etest", 90, "user"));
        net.leave(members[0]);
        let expires = Some(net.now.instant);
        net.on(members[0].shard, |router, now, port| {
            let old = Returned {
                expires,
                ..returned("old", &sender)
            };
            router.take_back(now, port, "etest", &old, None);
        });
        net.run();
        assert_eq!(count(&mut net, &members[1..]), [0]);
        assert_eq!(net.drops(Stage::Channel, DropReason::Expired), 1);
        assert_eq!(redirected(&net), 0);
    });
}
