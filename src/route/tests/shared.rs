//! Shared subscriptions (PROTOCOL 2.3, MQTT 5.0 section 4.8.2).

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
        router.suspend(now, port, block.key);
    });
    net.run();
}

fn resume(net: &mut Net, block: Block) {
    let grants = Grants {
        credential: CredentialId(7),
        services: Vec::new(),
        expires_unix_ms: None,
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
                router.take_back(now, port, "etest", &returned(payload, &sender));
            }
            router.take_back(now, port, "web", &returned("another app's", &sender));
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
            router.take_back(now, port, "etest", &old);
        });
        net.run();
        assert_eq!(count(&mut net, &members[1..]), [0]);
        assert_eq!(net.drops(Stage::Channel, DropReason::Expired), 1);
        assert_eq!(redirected(&net), 0);
    });
}

/// What a publisher has been told under a ticket.
fn told(net: &mut Net, publisher: Block, ticket: Ticket) -> Vec<Completion> {
    let got = net.got(publisher).into_iter().filter_map(|got| match got {
        Got::Notice(Notice::Completed(of, completion)) if of == ticket => Some(completion),
        _ => None,
    });
    got.collect()
}

#[test]
fn nexus_2_4_a_message_is_acknowledged_when_it_lasts_with_the_member_that_has_it() {
    for shards in [1, 2, 8] {
        for (members_of, publisher_of) in [(0, 0), (0, 1), (1, 0), (1, 1), (5, 3)] {
            let mut net = Net::new(shards);
            let (at, of) = (members_of % shards, publisher_of % shards);
            let member = net.block_on(at, &account("etest", 1, "user"), "r", Vec::new());
            let stalled = net.block_on(of, &account("etest", 2, "user"), "r", Vec::new());
            let publisher = net.block_on(of, &account("etest", 3, "user"), "r", Vec::new());
            net.on(at, |router, _, _| router.tell_keeping());
            net.ports[usize::from(at)].keeping.insert(member.key);
            join(&mut net, stalled, "g", "a");
            join(&mut net, member, "g", "a");
            refuse(&mut net, stalled, Some(Undelivered::TooLarge));
            for n in 0..4 {
                let (ticket, text) = (Ticket(n), n.to_string());
                let message = message("a", &text, QOS1);
                let ended = net.on(of, |router, now, port| {
                    router.publish(
                        now,
                        port,
                        publisher.key,
                        &message,
                        Some(ticket),
                        Lasting::default(),
                    )
                });
                net.run();
                assert_eq!(ended, None, "it waits");
                assert_eq!(told(&mut net, publisher, ticket), []);
                let held = std::mem::take(&mut net.ports[usize::from(at)].held);
                assert_eq!(held.len(), 1);
                for (origin, publish) in held {
                    net.on(at, |router, _, port| router.publish_lasts(port, origin, publish));
                }
                net.run();
                let done = Completion::Published(Ok(Reach::Subscribers));
                assert_eq!(told(&mut net, publisher, ticket), [done]);
            }
            assert_eq!(count(&mut net, &[member]), [4]);
            refuse(&mut net, member, Some(Undelivered::NotStored));
            let (ticket, message) = (Ticket(9), message("a", "refused", QOS1));
            let ended = net.on(of, |router, now, port| {
                router.publish(
                    now,
                    port,
                    publisher.key,
                    &message,
                    Some(ticket),
                    Lasting::default(),
                )
            });
            net.run();
            let refused = Err(Refusal::QuotaExceeded);
            match ended {
                Some(outcome) => assert_eq!(outcome, refused),
                None => {
                    let done = Completion::Published(refused);
                    assert_eq!(told(&mut net, publisher, ticket), [done]);
                }
            }
        }
    }
}

#[test]
fn a_subscription_is_told_when_all_shards_know_what_the_group_hears() {
    let mut net = Net::new(8);
    let members = users(&mut net, 8);
    let mut waited = 0;
    for &member in &members {
        join_as(&mut net, member, share("g", "a"), QOS1).unwrap();
        let (ticket, completion) = (
            Ticket(4),
            Completion::Registered([Ok(QOS1)].into_iter().collect()),
        );
        let at_once = net.on(member.shard, |router, _, _| {
            router.hold_registered(member.key, ticket, completion.clone())
        });
        net.run();
        if at_once.is_none() {
            waited += 1;
            assert_eq!(net.got(member), []);
            net.tick();
            net.run();
            assert_eq!(
                net.got(member),
                [Got::Notice(Notice::Completed(ticket, completion))]
            );
        }
    }
    assert_eq!(waited, 7, "all but the member on the home");
}

const GROUPS: [(&str, &str); 3] = [("one", "a/b"), ("two", "a/+"), ("three", "a/#")];

/// Joins, leaves, losses of connections and messages at random.
struct Race {
    net: Net,
    /// Who may join; the first is a member of all groups from the beginning, and stays.
    blocks: Vec<Block>,
    publishers: Vec<Block>,
    sent: Vec<u32>,
    offline: HashSet<Block>,
    /// What each block heard in each group of each publisher, in order.
    heard: HashMap<(Block, String, usize), Vec<u32>>,
}

impl Race {
    fn new(shards: u16, seed: u64) -> Self {
        let mut net = Net::configured(shards, seed, |_| {});
        let publishers: Vec<_> = (0..4).map(|n| user(&mut net, 1_000 + n)).collect();
        let blocks = users(&mut net, 24);
        for (name, filter) in GROUPS {
            join(&mut net, blocks[0], name, filter);
        }
        Self {
            net,
            blocks,
            sent: vec![0; publishers.len()],
            publishers,
            offline: HashSet::new(),
            heard: HashMap::new(),
        }
    }

    fn note(&mut self, block: Block) {
        for got in self.net.got(block) {
            let Got::Channel { payload, group, .. } = got else {
                continue;
            };
            let text = String::from_utf8(payload).unwrap();
            let (publisher, n) = text.split_once(' ').unwrap();
            let key = (block, group.unwrap(), publisher.parse().unwrap());
            self.heard.entry(key).or_default().push(n.parse().unwrap());
        }
    }

    /// `settled`: nothing is on its way when a member goes and until its home knows, so that nothing has to go round.
    fn step(&mut self, settled: bool) {
        let at = self.net.rng.random_range(1..self.blocks.len());
        let block = self.blocks[at];
        let (name, filter) = GROUPS[self.net.rng.random_range(0..GROUPS.len())];
        match self.net.rng.random_range(0..16) {
            0..=2 => drop(join_as(&mut self.net, block, share(name, filter), QOS1)),
            3 => {
                if settled {
                    self.net.run();
                }
                let share = share(name, filter);
                self.net.unregister(block, &Unregistration::Shared { share });
                if settled {
                    self.net.run();
                }
            }
            4 => {
                if settled {
                    self.net.run();
                }
                if self.net.rng.random_bool(0.3) && self.blocks.len() > 4 {
                    self.note(block);
                    self.net.leave(block);
                    self.blocks.swap_remove(at);
                } else if self.offline.insert(block) {
                    self.net.on(block.shard, |router, now, port| {
                        router.suspend(now, port, block.key);
                    });
                } else {
                    self.offline.remove(&block);
                    resume(&mut self.net, block);
                }
                if settled {
                    self.net.run();
                }
            }
            5 => drop(self.net.move_on()),
            _ => {
                let which = self.net.rng.random_range(0..self.publishers.len());
                let payload = format!("{which} {}", self.sent[which]);
                self.sent[which] += 1;
                let publisher = self.publishers[which];
                self.net.publish_at(publisher, "a/b", &payload, QOS1).unwrap();
            }
        }
    }

    fn run(mut self, settled: bool) -> u64 {
        for _ in 0..3_000 {
            self.step(settled);
        }
        self.net.run();
        for block in self.blocks.clone() {
            self.note(block);
        }
        for (name, _) in GROUPS {
            for (publisher, &sent) in self.sent.iter().enumerate() {
                let lists = self
                    .heard
                    .iter()
                    .filter(|(key, _)| key.1 == name && key.2 == publisher);
                let mut all = Vec::new();
                for (_, numbers) in lists {
                    assert!(!settled || numbers.is_sorted(), "{name} {publisher}: {numbers:?}");
                    all.extend_from_slice(numbers);
                }
                all.sort_unstable();
                assert_eq!(
                    all,
                    (0..sent).collect::<Vec<_>>(),
                    "{name}: each to exactly one member"
                );
            }
        }
        assert_eq!(self.net.drops(Stage::Channel, DropReason::NoReceiver), 0);
        redirected(&self.net)
    }
}

#[test]
fn mqtt5_4_8_2_whoever_comes_and_goes_each_message_has_one_member() {
    let mut redirected = 0;
    for shards in [1, 2, 8] {
        for seed in 0..4 {
            redirected += Race::new(shards, seed).run(false);
        }
    }
    assert!(redirected > 0, "some went to who was gone");
}

#[test]
fn mqtt5_4_6_what_a_member_gets_of_a_sender_is_in_order() {
    for shards in [1, 2, 8] {
        for seed in 0..4 {
            assert_eq!(Race::new(shards, seed).run(true), 0);
        }
    }
}
