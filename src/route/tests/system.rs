//! `$SYS`: what the daemon tells operators about itself (PROTOCOL 3, Control topics).

use crate::limits;
use crate::observe::system::Value;
use crate::route::testing::*;
use crate::route::*;

const DAEMON: &str = "nexus-000000000000000000000000-owner/sys";

fn values() -> Vec<Value> {
    [("broker/uptime", "7 seconds"), ("nexus/direct/sent", "3")]
        .map(|(name, text)| Value {
            topic: format!("$SYS/{name}"),
            text: text.to_owned(),
        })
        .into()
}

fn served(net: &mut Net) {
    for shard in 0..net.shards() {
        net.on(shard, |router, _, _| router.serve_system(true));
    }
}

fn operator(net: &mut Net, n: u32) -> Block {
    net.block(&account("nexus", n, "owner"), "console")
}

fn ask(net: &mut Net, block: Block, filter: &str, identifier: u32) -> Result<Qos, Refusal> {
    let options = SubscriptionOptions {
        identifier,
        ..SubscriptionOptions::default()
    };
    let granted = net.register(block, &Registration::System { filter, options });
    net.run();
    granted
}

fn tell(net: &mut Net, to: Audience) {
    for shard in 0..net.shards() {
        net.on(shard, |router, _, port| {
            router.publish_system(port, to, &values());
        });
    }
}

/// What a block heard: topic, text, identifiers; always from the daemon.
fn heard(net: &mut Net, block: Block) -> Vec<(String, String, Vec<u32>)> {
    let each = |got| match got {
        Got::Channel {
            channel,
            payload,
            sender,
            identifiers,
            ..
        } => {
            assert_eq!(sender, DAEMON);
            (channel, String::from_utf8(payload).unwrap(), identifiers)
        }
        other => panic!("{other:?}"),
    };
    net.got(block).into_iter().map(each).collect()
}

fn topics(net: &mut Net, block: Block) -> Vec<String> {
    heard(net, block).into_iter().map(|(topic, ..)| topic).collect()
}

#[test]
fn nexus_3_only_operators_may_subscribe_and_only_where_it_is_served() {
    on_any_shards(|mut net| {
        let operator = operator(&mut net, 9);
        assert_eq!(
            ask(&mut net, operator, "$SYS/#", 0),
            Err(Refusal::NotAuthorized),
            "not served"
        );
        served(&mut net);
        assert_eq!(ask(&mut net, operator, "$SYS/#", 0), Ok(Qos::AtMostOnce));
        for filter in ["$SYS/a#", "$SYS/#/a", "$SYS/\u{7}", "$other/#", "SYS/#"] {
            assert_eq!(
                ask(&mut net, operator, filter, 0),
                Err(Refusal::InvalidName),
                "{filter}"
            );
        }
        for (app, role) in [("nexus", "user"), ("nexus", "partner"), ("etest", "owner")] {
            let other = net.block(&account(app, 10, role), "r");
            for filter in ["$SYS/#", "$SYS", "$SYS/broker/uptime", "$SYS/a#"] {
                assert_eq!(ask(&mut net, other, filter, 0), Err(Refusal::NotAuthorized));
            }
        }
    });
}

#[test]
fn nexus_3_subscribers_hear_what_their_filters_match_from_the_daemon() {
    on_any_shards(|mut net| {
        served(&mut net);
        let cases = [
            ("$SYS/#", 2),
            ("$SYS/+/uptime", 1),
            ("$SYS/nexus/#", 1),
            ("$SYS/broker/uptime", 1),
            ("$SYS/+", 0),
            ("$SYS", 0),
        ];
        let blocks: Vec<_> = cases
            .iter()
            .zip(1..)
            .map(|((filter, count), n)| {
                let block = operator(&mut net, n);
                ask(&mut net, block, filter, 0).unwrap();
                (block, *filter, *count)
            })
            .collect();
        tell(&mut net, Audience::All);
        for (block, filter, count) in blocks {
            let topics = topics(&mut net, block);
            assert_eq!(topics.len(), count, "{filter}: {topics:?}");
        }
    });
}

#[test]
fn mqtt5_4_7_2_wildcards_at_the_first_level_do_not_match_it() {
    on_any_shards(|mut net| {
        served(&mut net);
        let operator = operator(&mut net, 9);
        for filter in ["#", "+/#", "+/broker/uptime", "+/+/+"] {
            net.subscribe(operator, filter).unwrap();
        }
        tell(&mut net, Audience::All);
        assert!(net.got(operator).is_empty());
        ask(&mut net, operator, "$SYS/broker/#", 0).unwrap();
        tell(&mut net, Audience::All);
        assert_eq!(topics(&mut net, operator), ["$SYS/broker/uptime"]);
    });
}

#[test]
fn overlapping_subscriptions_are_one_delivery_with_all_identifiers() {
    let mut net = Net::new(1);
    served(&mut net);
    let operator = operator(&mut net, 9);
    ask(&mut net, operator, "$SYS/#", 1).unwrap();
    ask(&mut net, operator, "$SYS/+/uptime", 2).unwrap();
    tell(&mut net, Audience::All);
    let heard = heard(&mut net, operator);
    assert_eq!(heard[0].2, [1, 2]);
    assert_eq!(heard[1].2, [1]);
    assert_eq!(heard.len(), 2);
}

#[test]
fn who_has_just_subscribed_is_told_once_and_alone() {
    on_any_shards(|mut net| {
        served(&mut net);
        let (old, new) = (operator(&mut net, 1), operator(&mut net, 2));
        ask(&mut net, old, "$SYS/#", 0).unwrap();
        tell(&mut net, Audience::Newcomers);
        assert_eq!(topics(&mut net, old).len(), 2);
        ask(&mut net, new, "$SYS/broker/uptime", 3).unwrap();
        ask(&mut net, new, "$SYS/broker/uptime", 4).unwrap();
        let waiting = net.on(new.shard, |router, _, _| router.has_system_newcomers());
        assert!(waiting);
        tell(&mut net, Audience::Newcomers);
        let uptime = ("$SYS/broker/uptime".to_owned(), "7 seconds".to_owned(), vec![4]);
        assert_eq!(heard(&mut net, new), [uptime]);
        tell(&mut net, Audience::Newcomers);
        assert!(net.got(old).is_empty() && net.got(new).is_empty());
    });
}

#[test]
fn who_left_before_it_was_told_is_not_missed() {
    let mut net = Net::new(1);
    served(&mut net);
    let (left, ended) = (operator(&mut net, 1), operator(&mut net, 2));
    ask(&mut net, left, "$SYS/#", 0).unwrap();
    ask(&mut net, ended, "$SYS/#", 0).unwrap();
    net.leave(left);
    let end = Unregistration::System {
        filter: "$SYS/#",
        form: 0,
    };
    assert!(net.unregister(ended, &end));
    assert!(!net.unregister(ended, &end));
    tell(&mut net, Audience::Newcomers);
    assert!(net.got(ended).is_empty());
}

#[test]
fn a_shard_knows_whether_anybody_subscribes_and_counts_how_many() {
    let mut net = Net::new(1);
    served(&mut net);
    let subscribed = |net: &mut Net| net.on(0, |router, _, _| router.has_system_subscribers());
    let (first, second) = (operator(&mut net, 1), operator(&mut net, 2));
    assert!(!subscribed(&mut net));
    net.subscribe(first, "a").unwrap();
    assert!(!subscribed(&mut net), "a channel is none");
    for (block, filter) in [
        (first, "$SYS/#"),
        (first, "$SYS/#"),
        (second, "$SYS/#"),
        (second, "$SYS/+"),
    ] {
        ask(&mut net, block, filter, 0).unwrap();
    }
    assert_eq!(net.metrics[0].subscriptions.get(), 4);
    net.leave(first);
    assert!(subscribed(&mut net));
    assert_eq!(net.metrics[0].subscriptions.get(), 2);
    for filter in ["$SYS/#", "$SYS/+"] {
        assert!(net.unregister(second, &Unregistration::System { filter, form: 0 }));
    }
    assert!(!subscribed(&mut net));
    assert_eq!(net.metrics[0].subscriptions.get(), 0);
}

#[test]
fn those_told_at_once_are_bounded() {
    let mut net = Net::new(1);
    served(&mut net);
    let operator = operator(&mut net, 9);
    for n in 0..=limits::SYSTEM_NEWCOMERS_MAX {
        ask(&mut net, operator, &format!("$SYS/{n}"), 0).unwrap();
    }
    ask(&mut net, operator, "$SYS/#", 0).unwrap();
    tell(&mut net, Audience::Newcomers);
    assert!(net.got(operator).is_empty(), "it waits for the interval");
    tell(&mut net, Audience::All);
    assert_eq!(net.got(operator).len(), 2);
}

#[test]
fn nothing_of_it_crosses_shards_or_can_be_published_by_a_block() {
    let mut net = Net::new(2);
    served(&mut net);
    let operator = net.block_on(0, &account("nexus", 9, "owner"), "console", Vec::new());
    let before = net.parcels;
    ask(&mut net, operator, "$SYS/#", 0).unwrap();
    ask(&mut net, operator, "$SYS/broker/uptime", 0).unwrap();
    net.run();
    assert_eq!(net.parcels, before, "no other shard is told");
    assert_eq!(
        net.publish(operator, "$SYS/broker/uptime", "x"),
        Err(Refusal::InvalidName)
    );
    assert_eq!(
        net.subscribe(operator, "$SYS/#"),
        Err(Refusal::InvalidName),
        "not as a channel"
    );
    net.leave(operator);
    net.run();
    assert!(!net.on(0, |router, _, _| router.has_system_subscribers()));
}
