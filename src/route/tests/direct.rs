//! Nexus-Direct (PROTOCOL 2.2).

use std::time::Duration;

use crate::limits;
use crate::observe::{DropReason, Stage};
use crate::route::testing::*;
use crate::route::*;

fn texts(net: &mut Net, block: Block) -> Vec<String> {
    net.got(block)
        .into_iter()
        .map(|got| match got {
            Got::Direct { text, .. } => text,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn restrict(net: &mut Net, app: &str) {
    net.app(
        app,
        AppPolicy {
            open: false,
            direct: DirectPolicy::Entitled,
        },
    );
}

fn receiver(net: &mut Net, account: &str, resource: &str) -> Block {
    let block = net.block(account, resource);
    net.listen_direct(block);
    block
}

#[test]
fn p2_2_a_text_reaches_one_block_with_its_sender() {
    on_any_shards(|mut net| {
        let worker = receiver(&mut net, &account("etest", 1, "owner"), "w1");
        let sender = net.block(&account("web", 2, "user"), "page");
        assert_eq!(net.direct(sender, &to("w1", "hi")), DirectOutcome::Delivered);
        let expected = Got::Direct {
            text: "hi".into(),
            sender: format!("{}/page", account("web", 2, "user")),
            options: SubscriptionOptions::default(),
        };
        assert_eq!(net.got(worker), [expected]);
        assert!(net.got(sender).is_empty());
    });
}

#[test]
fn p2_2_a_second_registration_replaces_the_first() {
    on_any_shards(|mut net| {
        let worker = receiver(&mut net, &account("etest", 1, "owner"), "w1");
        let options = SubscriptionOptions {
            form: 3,
            ..SubscriptionOptions::default()
        };
        assert_eq!(
            net.register(worker, &Registration::Direct { options }),
            Ok(options.qos)
        );
        net.run();
        let sender = net.block(&account("web", 2, "user"), "page");
        net.direct(sender, &to("w1", "hi"));
        let Got::Direct { options, .. } = net.got_one(worker) else {
            panic!()
        };
        assert_eq!(options.form, 3);
    });
}

#[test]
fn p2_2_own_uid_then_owner_then_oldest_over_all_shards() {
    on_any_shards(|mut net| {
        net.advance(SECOND);
        let oldest = receiver(&mut net, &account("etest", 1, "user"), "w");
        net.advance(SECOND);
        let partner = receiver(&mut net, &account("etest", 3, "partner"), "w");
        net.advance(SECOND);
        let owner = receiver(&mut net, &account("etest", 4, "owner"), "w");
        net.advance(SECOND);
        let mine = receiver(&mut net, &account("etest", 2, "user"), "w");
        let sender = net.block(&account("web", 2, "user"), "page");
        for expected in [mine, owner, oldest, partner] {
            assert_eq!(net.direct(sender, &to("w", "x")), DirectOutcome::Delivered);
            for block in [mine, owner, oldest, partner] {
                let count = usize::from(block == expected);
                assert!(!net.is_live(block) || net.got(block).len() == count);
            }
            net.leave(expected);
            net.run();
        }
        assert_eq!(net.direct(sender, &to("w", "x")), DirectOutcome::NoReceiver);
    });
}

#[test]
fn p2_2_nobody_there_is_dropped_counted_and_told() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "w1", "mul");
        let sender = net.block(&account("web", 2, "user"), "page");
        // A message never reaches an API listener.
        assert_eq!(net.direct(sender, &to("w1", "hi")), DirectOutcome::NoReceiver);
        assert_eq!(net.drops(Stage::Direct, DropReason::NoReceiver), 1);
        net.listen_direct(worker);
        assert_eq!(net.direct(sender, &to("w1", "hi")), DirectOutcome::Delivered);
        assert!(net.unregister(worker, &Unregistration::Direct));
        assert!(!net.unregister(worker, &Unregistration::Direct));
        net.run();
        assert_eq!(net.direct(sender, &to("w1", "hi")), DirectOutcome::NoReceiver);
        assert_eq!(texts(&mut net, worker), ["hi"]);
    });
}

#[test]
fn p2_2_a_full_address_reaches_its_account_alone() {
    on_any_shards(|mut net| {
        let owner = receiver(&mut net, &account("etest", 1, "owner"), "w");
        let user = receiver(&mut net, &account("etest", 1, "user"), "w");
        let sender = net.block(&account("etest", 1, "partner"), "page");
        let (name, absent) = (account("etest", 1, "user"), account("etest", 2, "user"));
        let full = Direct {
            account: Some(&name),
            ..to("w", "x")
        };
        assert_eq!(net.direct(sender, &full), DirectOutcome::Delivered);
        assert_eq!(
            (texts(&mut net, user).len(), texts(&mut net, owner).len()),
            (1, 0)
        );
        let full = Direct {
            account: Some(&absent),
            ..full
        };
        assert_eq!(net.direct(sender, &full), DirectOutcome::NoReceiver);
    });
}

#[test]
fn p2_2_names_outside_the_grammar_reach_nobody() {
    on_any_shards(|mut net| {
        let sender = net.block(&account("etest", 1, "partner"), "page");
        for direct in [
            to("a/b", "x"),
            Direct {
                app: "E",
                ..to("w", "x")
            },
            Direct {
                account: Some("x"),
                ..to("w", "x")
            },
        ] {
            assert_eq!(net.direct(sender, &direct), DirectOutcome::NoReceiver);
        }
        assert_eq!(net.drops(Stage::Direct, DropReason::Invalid), 3);
    });
}

#[test]
fn p2_2_by_default_no_service_is_asked_for() {
    on_any_shards(|mut net| {
        receiver(&mut net, &account("etest", 1, "owner"), "w");
        let stranger = net.block(&account("web", 9, "user"), "page");
        assert_eq!(net.direct(stranger, &to("w", "x")), DirectOutcome::Delivered);
    });
}

#[test]
fn p2_2_an_app_may_take_direct_from_entitled_callers_only() {
    on_any_shards(|mut net| {
        restrict(&mut net, "etest");
        let worker = receiver(&mut net, &account("etest", 1, "owner"), "w");
        let stranger = net.block(&account("web", 9, "user"), "page");
        assert_eq!(net.direct(stranger, &to("w", "x")), DirectOutcome::NotEntitled);
        assert_eq!(net.drops(Stage::Direct, DropReason::NotAuthorized), 1);
        let caller = net.caller(2);
        assert_eq!(net.direct(caller, &to("w", "x")), DirectOutcome::Delivered);
        let partner = net.block(&account("etest", 5, "partner"), "p");
        assert_eq!(net.direct(partner, &to("w", "y")), DirectOutcome::Delivered);
        assert_eq!(texts(&mut net, worker), ["x", "y"]);
    });
}

#[test]
fn p2_2_who_was_messaged_may_answer_for_150_seconds() {
    on_any_shards(|mut net| {
        restrict(&mut net, "etest");
        let worker = receiver(&mut net, &account("etest", 1, "owner"), "w");
        let asked = receiver(&mut net, &account("web", 2, "user"), "page");
        let namesake = receiver(&mut net, &account("web", 3, "user"), "page");
        assert_eq!(net.direct(asked, &to("w", "early")), DirectOutcome::NotEntitled);
        let name = account("web", 2, "user");
        let question = Direct {
            app: "web",
            account: Some(&name),
            ..to("page", "?")
        };
        assert_eq!(net.direct(worker, &question), DirectOutcome::Delivered);
        let asked_at = net.now.instant;
        assert_eq!(net.direct(asked, &to("w", "answer")), DirectOutcome::Delivered);
        // Another block of that name was not messaged.
        assert_eq!(
            net.direct(namesake, &to("w", "me too")),
            DirectOutcome::NotEntitled
        );
        let window = Duration::from_millis(limits::DIRECT_ANSWER_MS);
        let left = (asked_at + window).saturating_since(net.now.instant);
        net.advance(left.saturating_sub(Duration::from_millis(100)));
        assert_eq!(net.direct(asked, &to("w", "still")), DirectOutcome::Delivered);
        net.advance(Duration::from_millis(200));
        assert_eq!(net.direct(asked, &to("w", "late")), DirectOutcome::NotEntitled);
        assert_eq!(texts(&mut net, worker), ["answer", "still"]);
    });
}

#[test]
fn p2_2_an_answer_passes_however_the_letters_between_shards_are_delayed() {
    for seed in 0..50 {
        let mut net = Net::configured(8, seed, |_| {});
        restrict(&mut net, "etest");
        let worker = receiver(&mut net, &account("etest", 1, "owner"), "w");
        let asked = receiver(&mut net, &account("web", 2, "user"), "page");
        net.delay_us = 1..100_000;
        let question = Direct {
            app: "web",
            ..to("page", "?")
        };
        net.on(worker.shard, |router, now, port| {
            router.direct(now, port, worker.key, &question, None)
        });
        loop {
            net.advance(Duration::from_micros(100));
            if !texts(&mut net, asked).is_empty() {
                break;
            }
        }
        assert_eq!(
            net.direct(asked, &to("w", "answer")),
            DirectOutcome::Delivered,
            "seed {seed}"
        );
    }
}

#[test]
fn p2_2_the_permission_to_answer_is_for_that_worker_alone_and_bounded() {
    let mut net = Net::new(2);
    restrict(&mut net, "etest");
    let asked = receiver(&mut net, &account("web", 2, "user"), "page");
    let workers: Vec<_> = (0..=limits::DIRECT_ANSWERERS_MAX)
        .map(|n| receiver(&mut net, &account("etest", 1, "owner"), &format!("w{n}")))
        .collect();
    let question = Direct {
        app: "web",
        ..to("page", "?")
    };
    for &worker in &workers {
        net.direct(worker, &question);
    }
    net.got(asked);
    assert_eq!(net.direct(asked, &to("w0", "x")), DirectOutcome::NotEntitled);
    assert_eq!(net.direct(asked, &to("w1", "x")), DirectOutcome::Delivered);
    let other = receiver(&mut net, &account("etest", 3, "owner"), "w999");
    assert_eq!(net.direct(asked, &to("w999", "x")), DirectOutcome::NotEntitled);
    assert!(texts(&mut net, other).is_empty());
}

#[test]
fn p2_2_a_receiver_that_cannot_take_it_drops_it() {
    on_any_shards(|mut net| {
        let worker = receiver(&mut net, &account("etest", 1, "owner"), "w");
        let sender = net.block(&account("web", 9, "user"), "page");
        let reasons = [
            (Undelivered::QueueFull, DropReason::QueueFull),
            (Undelivered::NotText, DropReason::NotText),
            (Undelivered::TooLarge, DropReason::TooLarge),
        ];
        for (failing, counted) in reasons {
            net.ports[usize::from(worker.shard)]
                .failing
                .insert(worker.key, failing);
            assert_eq!(net.direct(sender, &to("w", "x")), DirectOutcome::Dropped);
            assert_eq!(net.drops(Stage::Direct, counted), 1);
        }
    });
}

#[test]
fn p2_4_direct_messages_of_one_sender_keep_their_order() {
    for seed in 0..20 {
        let mut net = Net::configured(8, seed, |_| {});
        net.delay_us = 1..20_000;
        let worker = receiver(&mut net, &account("etest", 1, "owner"), "w");
        let sender = net.block(&account("web", 9, "user"), "page");
        let name = account("etest", 1, "owner");
        for n in 0..100 {
            let text = n.to_string();
            let account = (n % 2 == 0).then_some(name.as_str());
            let direct = Direct {
                account,
                ..to("w", &text)
            };
            net.on(sender.shard, |router, now, port| {
                router.direct(now, port, sender.key, &direct, None)
            });
            net.advance(Duration::from_micros(300));
        }
        net.run();
        let expected: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(texts(&mut net, worker), expected, "seed {seed}");
    }
}

#[test]
fn p2_2_many_holders_of_one_name_cost_no_walk() {
    let mut net = Net::new(1);
    let first = receiver(&mut net, &account("etest", 0, "user"), "Web");
    for n in 1..20_000 {
        net.now.instant = net.now.instant + Duration::from_nanos(1);
        let grants = Grants {
            credential: CredentialId(1),
            services: Vec::new(),
            expires_unix_ms: None,
            announced: false,
        };
        let block = net.begin_join(0, &account("etest", n, "user"), "Web", grants);
        let options = SubscriptionOptions::default();
        net.register(block, &Registration::Direct { options }).unwrap();
        net.got(block);
    }
    let sender = net.block(&account("web", 77_777, "user"), "page");
    for _ in 0..1_000 {
        let sent = net.on(0, |router, now, port| {
            router.direct(now, port, sender.key, &to("Web", "x"), None)
        });
        assert_eq!(sent, Some(DirectOutcome::Delivered));
    }
    assert_eq!(texts(&mut net, first).len(), 1_000);
}

fn to_account(net: &mut Net, from: Block, account: &str, text: &str) {
    net.on(from.shard, |router, now, port| {
        router.direct_to_account(now, port, from.key, account, text, &[]);
    });
}

#[test]
fn p4_a_message_to_an_account_reaches_all_its_blocks_that_take_direct() {
    on_any_shards(|mut net| {
        let name = account("etest", 1, "owner");
        let mut blocks = ["a", "b", "c", "d"].map(|resource| receiver(&mut net, &name, resource));
        let deaf = net.block(&name, "deaf");
        // Of the same user: another role, another app.
        let others = [account("etest", 1, "partner"), account("web", 1, "owner")]
            .map(|other| receiver(&mut net, &other, "a"));
        let sender = net.block(&account("web", 2, "user"), "page");
        to_account(&mut net, sender, &name, "all");
        net.run();
        for block in &mut blocks {
            assert_eq!(texts(&mut net, *block), ["all"]);
        }
        assert!(net.got(deaf).is_empty());
        for other in others {
            assert!(net.got(other).is_empty());
        }
        // The namesake of another app was thought of, and is counted.
        assert_eq!(net.drops(Stage::Direct, DropReason::NoReceiver), 1);
        to_account(&mut net, sender, "nobody", "x");
        assert_eq!(net.drops(Stage::Direct, DropReason::Invalid), 1);
    });
}

#[test]
fn p4_who_may_not_call_a_restricted_app_reaches_none_of_an_account_s_blocks() {
    on_any_shards(|mut net| {
        restrict(&mut net, "etest");
        let name = account("etest", 1, "owner");
        let block = receiver(&mut net, &name, "a");
        let stranger = net.block(&account("web", 2, "user"), "page");
        net.listen_direct(stranger);
        to_account(&mut net, stranger, &name, "x");
        net.run();
        assert!(net.got(block).is_empty());
        assert_eq!(net.drops(Stage::Direct, DropReason::NotAuthorized), 1);
        // An answer passes.
        let question = Direct {
            app: "web",
            ..to("page", "?")
        };
        net.direct(block, &question);
        net.got(stranger);
        to_account(&mut net, stranger, &name, "answer");
        net.run();
        assert_eq!(texts(&mut net, block), ["answer"]);
    });
}

#[test]
fn p2_4_messages_to_a_block_and_to_its_account_keep_their_order() {
    for seed in 0..20 {
        let mut net = Net::configured(8, seed, |_| {});
        net.delay_us = 1..20_000;
        let name = account("etest", 1, "owner");
        let worker = receiver(&mut net, &name, "w");
        let sender = net.block(&account("web", 9, "user"), "page");
        for n in 0..100 {
            let text = n.to_string();
            if n % 2 == 0 {
                to_account(&mut net, sender, &name, &text);
            } else {
                net.on(sender.shard, |router, now, port| {
                    router.direct(now, port, sender.key, &to("w", &text), None)
                });
            }
            net.advance(Duration::from_micros(300));
        }
        net.run();
        let expected: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        assert_eq!(texts(&mut net, worker), expected, "seed {seed}");
    }
}

#[test]
fn the_blocks_that_one_message_to_an_account_reaches_are_bounded_and_the_rest_counted() {
    let mut net = Net::new(1);
    let name = account("etest", 1, "owner");
    let more = 3;
    for n in 0..limits::DIRECT_ACCOUNT_BLOCKS_MAX + more {
        receiver(&mut net, &name, &format!("r{n}"));
    }
    let sender = net.block(&account("web", 9, "user"), "page");
    to_account(&mut net, sender, &name, "x");
    assert_eq!(net.drops(Stage::Direct, DropReason::QueueFull), more as u64);
}
