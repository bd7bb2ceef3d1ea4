//! Nexus-Channel (PROTOCOL 2.3).

mod footprint;
mod reach;

use std::time::Duration;

use crate::observe::{DropReason, Stage};
use crate::route::testing::*;
use crate::route::*;

fn payloads(net: &mut Net, block: Block) -> Vec<String> {
    net.got(block)
        .into_iter()
        .map(|got| match got {
            Got::Channel { payload, .. } => String::from_utf8(payload).unwrap(),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Publishes and waits.
fn say(net: &mut Net, from: Block, channel: &str, payload: &str) -> Result<Reach, Refusal> {
    let reach = net.publish(from, channel, payload);
    net.run();
    reach
}

fn user(net: &mut Net, n: u32) -> Block {
    net.block(&account("etest", n, "user"), "r")
}

fn operator(net: &mut Net) -> Block {
    net.block(&account("nexus", 99, "owner"), "console")
}

fn formed(form: u8) -> SubscriptionOptions {
    SubscriptionOptions {
        form,
        ..SubscriptionOptions::default()
    }
}

#[test]
fn p2_3_any_block_publishes_to_all_who_subscribe_with_its_sender() {
    on_any_shards(|mut net| {
        let listeners: Vec<_> = (0..8).map(|n| user(&mut net, n)).collect();
        for &listener in &listeners {
            assert_eq!(net.subscribe(listener, "alerts"), Ok(Qos::AtMostOnce));
        }
        let other = net.block(&account("web", 50, "user"), "page");
        net.subscribe(other, "alert").unwrap();
        assert_eq!(say(&mut net, other, "alerts", "fire"), Ok(Reach::Subscribers));
        for listener in listeners {
            let Got::Channel {
                channel,
                payload,
                sender,
                identifiers,
                ..
            } = net.got_one(listener)
            else {
                panic!()
            };
            assert_eq!((channel.as_str(), payload.as_slice()), ("alerts", &b"fire"[..]));
            assert_eq!(sender, format!("{}/page", account("web", 50, "user")));
            assert!(identifiers.is_empty());
        }
        assert!(net.got(other).is_empty());
    });
}

#[test]
fn p2_3_reach_tells_whether_anybody_subscribes() {
    on_any_shards(|mut net| {
        let (publisher, listener) = (user(&mut net, 1), user(&mut net, 2));
        assert_eq!(say(&mut net, publisher, "a", ""), Ok(Reach::Nobody));
        net.subscribe(listener, "a").unwrap();
        assert_eq!(say(&mut net, publisher, "a", ""), Ok(Reach::Subscribers));
        let end = Unregistration::Channel {
            filter: "a",
            from: SenderPattern::default(),
            form: 0,
        };
        assert!(net.unregister(listener, &end));
        assert!(!net.unregister(listener, &end));
        net.run();
        assert_eq!(say(&mut net, publisher, "a", ""), Ok(Reach::Nobody));
        net.subscribe(listener, "a").unwrap();
        net.subscribe(listener, "+/b").unwrap_err();
        net.subscribe(listener, "x/#").unwrap();
        net.leave(listener);
        net.run();
        assert_eq!(say(&mut net, publisher, "a", ""), Ok(Reach::Nobody));
        assert_eq!(say(&mut net, publisher, "x/y", ""), Ok(Reach::Nobody));
    });
}

#[test]
fn p2_3_wildcards_are_those_of_mqtt() {
    on_any_shards(|mut net| {
        let (publisher, listener) = (user(&mut net, 1), user(&mut net, 2));
        for filter in ["plant/+/alarm", "home/#", "a//+"] {
            net.subscribe(listener, filter).unwrap();
        }
        let channels = [
            "plant/7/alarm",
            "home",
            "home/x/y",
            "a//b",
            "plant/7/8/alarm",
            "homes",
            "a/b",
        ];
        let heard: Vec<_> = channels
            .iter()
            .filter(|channel| say(&mut net, publisher, channel, "") == Ok(Reach::Subscribers))
            .collect();
        assert_eq!(heard, [&"plant/7/alarm", &"home", &"home/x/y", &"a//b"]);
        assert_eq!(net.got(listener).len(), 4);
    });
}

#[test]
fn p2_3_names_are_matched_byte_for_byte() {
    on_any_shards(|mut net| {
        let (publisher, listener) = (user(&mut net, 1), user(&mut net, 2));
        net.subscribe(listener, "Alerts").unwrap();
        assert_eq!(say(&mut net, publisher, "alerts", ""), Ok(Reach::Nobody));
        assert_eq!(say(&mut net, publisher, "Alerts", ""), Ok(Reach::Subscribers));
    });
}

#[test]
fn p2_3_bad_names_are_refused() {
    on_any_shards(|mut net| {
        let block = user(&mut net, 1);
        let names = [
            "",
            "$SYS/x",
            "$nexus/api/a/b",
            "a\u{7}",
            "a\u{fffe}",
            "a+",
            "a/#",
            "+",
        ];
        for name in names {
            assert_eq!(
                say(&mut net, block, name, "x"),
                Err(Refusal::InvalidName),
                "{name:?}"
            );
        }
        assert_eq!(net.drops(Stage::Channel, DropReason::Invalid), names.len() as u64);
        for filter in ["", "$SYS/#", "$share/g/a", "a\u{7}", "a+", "#/a", "a/#/b"] {
            assert_eq!(
                net.subscribe(block, filter),
                Err(Refusal::InvalidName),
                "{filter:?}"
            );
        }
    });
}

#[test]
fn p2_3_root_wildcards_are_for_operators() {
    on_any_shards(|mut net| {
        let (operator, block) = (operator(&mut net), user(&mut net, 1));
        for filter in ["#", "+", "+/a", "+/#"] {
            assert_eq!(
                net.subscribe(block, filter),
                Err(Refusal::NotAuthorized),
                "{filter}"
            );
            assert_eq!(net.subscribe(operator, filter), Ok(Qos::AtMostOnce));
        }
        assert_eq!(net.subscribe(block, "/+"), Ok(Qos::AtMostOnce));
        say(&mut net, block, "x/a", "1").unwrap();
        assert_eq!(payloads(&mut net, operator), ["1"]);
    });
}

#[test]
fn p2_3_root_wildcards_may_be_for_all() {
    for shards in [1, 2, 8] {
        let mut net = Net::configured(shards, 1, |config| config.root_wildcard = RootWildcard::All);
        let (listener, publisher) = (user(&mut net, 1), user(&mut net, 2));
        net.subscribe(listener, "#").unwrap();
        say(&mut net, publisher, "x", "1").unwrap();
        assert_eq!(payloads(&mut net, listener), ["1"]);
    }
}

#[test]
fn p2_3_an_app_s_own_channels_admit_its_accounts_alone() {
    for shards in [1, 2, 8] {
        let mut net = Net::configured(shards, 1, |config| config.root_wildcard = RootWildcard::All);
        let (own, listener) = (user(&mut net, 1), user(&mut net, 2));
        let stranger = net.block(&account("web", 1, "owner"), "x");
        let operator = operator(&mut net);
        for block in [stranger, operator] {
            for filter in ["~etest/a", "~etest/#", "~etest/+", "~etest"] {
                assert_eq!(
                    net.subscribe(block, filter),
                    Err(Refusal::NotAuthorized),
                    "{filter}"
                );
            }
            assert_eq!(say(&mut net, block, "~etest/a", "x"), Err(Refusal::NotAuthorized));
            for filter in ["#", "+/a", "+/#"] {
                net.subscribe(block, filter).unwrap();
            }
        }
        for filter in ["~etest/a", "~etest/+", "#"] {
            net.subscribe(listener, filter).unwrap();
        }
        assert_eq!(say(&mut net, own, "~etest/a", "1"), Ok(Reach::Subscribers));
        assert_eq!(payloads(&mut net, listener), ["1"]);
        assert!(net.got(stranger).is_empty() && net.got(operator).is_empty());
        assert_eq!(net.drops(Stage::Channel, DropReason::NotAuthorized), 2);
    }
}

#[test]
fn p2_3_overlapping_subscriptions_of_one_form_are_one_delivery() {
    on_any_shards(|mut net| {
        let (publisher, listener) = (user(&mut net, 1), user(&mut net, 2));
        let options = |qos, identifier, form| SubscriptionOptions {
            qos,
            identifier,
            form,
            ..SubscriptionOptions::default()
        };
        let any = SenderPattern::default();
        let subscriptions = [
            ("a/b", options(Qos::AtMostOnce, 5, 0)),
            ("a/+", options(Qos::ExactlyOnce, 3, 0)),
            ("a/#", options(Qos::AtLeastOnce, 0, 0)),
            ("a/#", options(Qos::AtLeastOnce, 9, 1)),
        ];
        for (filter, options) in subscriptions {
            net.subscribe_with(listener, filter, any, options).unwrap();
        }
        say(&mut net, publisher, "a/b", "x").unwrap();
        let mut got: Vec<_> = net
            .got(listener)
            .into_iter()
            .map(|got| match got {
                Got::Channel {
                    options, identifiers, ..
                } => (options.form, options.qos, identifiers),
                other => panic!("{other:?}"),
            })
            .collect();
        got.sort();
        assert_eq!(
            got,
            [(0, Qos::ExactlyOnce, vec![3, 5]), (1, Qos::AtLeastOnce, vec![9])]
        );
    });
}

#[test]
fn p2_3_a_single_subscription_is_served_with_its_options() {
    on_any_shards(|mut net| {
        let (publisher, listener) = (user(&mut net, 1), user(&mut net, 2));
        let options = SubscriptionOptions {
            qos: Qos::AtLeastOnce,
            no_local: true,
            retain_as_published: true,
            retained: RetainHandling::Never,
            identifier: 268_435_455,
            form: 200,
        };
        net.subscribe_with(listener, "a", SenderPattern::default(), formed(200))
            .unwrap();
        let granted = net.subscribe_with(listener, "a", SenderPattern::default(), options);
        assert_eq!(granted, Ok(Qos::AtLeastOnce));
        say(&mut net, publisher, "a", "x").unwrap();
        let Got::Channel {
            options: got,
            identifiers,
            ..
        } = net.got_one(listener)
        else {
            panic!()
        };
        assert_eq!((got, identifiers), (options, vec![268_435_455]));
    });
}

#[test]
fn p2_3_no_local_keeps_a_block_s_own_messages_from_it() {
    on_any_shards(|mut net| {
        let block = user(&mut net, 1);
        let options = SubscriptionOptions {
            no_local: true,
            ..SubscriptionOptions::default()
        };
        net.subscribe_with(block, "a", SenderPattern::default(), options)
            .unwrap();
        assert_eq!(say(&mut net, block, "a", "own"), Ok(Reach::Nobody));
        let other = user(&mut net, 2);
        say(&mut net, other, "a", "other").unwrap();
        assert_eq!(payloads(&mut net, block), ["other"]);
        net.subscribe_with(block, "a", SenderPattern::default(), formed(1))
            .unwrap();
        say(&mut net, block, "a", "own").unwrap();
        assert_eq!(payloads(&mut net, block), ["own"]);
    });
}

#[test]
fn p2_3_a_subscription_may_hear_certain_senders_only() {
    on_any_shards(|mut net| {
        let listener = user(&mut net, 1);
        let senders = [
            net.block(&account("etest", 2, "owner"), "a"),
            net.block(&account("etest", 2, "user"), "b"),
            net.block(&account("web", 3, "user"), "b"),
        ];
        let patterns = [
            (
                SenderPattern {
                    app: Some("web"),
                    ..SenderPattern::default()
                },
                "2",
            ),
            (
                SenderPattern {
                    uid: Some(uid(2)),
                    ..SenderPattern::default()
                },
                "01",
            ),
            (
                SenderPattern {
                    role: Some(Role::User),
                    ..SenderPattern::default()
                },
                "12",
            ),
            (
                SenderPattern {
                    resource: Some("b"),
                    app: Some("etest"),
                    ..SenderPattern::default()
                },
                "1",
            ),
        ];
        for (pattern, heard) in patterns {
            net.subscribe_with(listener, "a/b", pattern, formed(0)).unwrap();
            for (sender, name) in senders.iter().zip(["0", "1", "2"]) {
                say(&mut net, *sender, "a/b", name).unwrap();
            }
            assert_eq!(payloads(&mut net, listener).concat(), heard);
            let end = Unregistration::Channel {
                filter: "a/b",
                from: SenderPattern::default(),
                form: 0,
            };
            assert!(!net.unregister(listener, &end));
            let end = Unregistration::Channel {
                filter: "a/b",
                from: pattern,
                form: 0,
            };
            assert!(net.unregister(listener, &end));
        }
    });
}

#[test]
fn p2_3_one_filter_with_two_patterns_is_merged_into_one_delivery() {
    on_any_shards(|mut net| {
        let (listener, sender) = (user(&mut net, 1), user(&mut net, 2));
        for app in [None, Some("etest"), Some("web")] {
            let pattern = SenderPattern {
                app,
                ..SenderPattern::default()
            };
            net.subscribe_with(listener, "a", pattern, formed(0)).unwrap();
        }
        say(&mut net, sender, "a", "x").unwrap();
        assert_eq!(payloads(&mut net, listener), ["x"]);
    });
}
