//! Requests while sessions come and go: still exactly one outcome, never one for a stranger.

use std::collections::HashMap;
use std::time::Duration;

use rand::Rng;

use crate::observe::{ApiOutcome, DropReason, Stage};
use crate::route::testing::*;
use crate::route::*;

fn code(net: &mut Net, requester: Block) -> i32 {
    match net.got_one(requester) {
        Got::Reply { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_requester_that_left_hears_nothing_and_frees_its_worker() {
    for shards in [1, 2, 8] {
        let mut net = Net::configured(shards, 1, |config| config.limits.requests_per_worker_max = 1);
        let worker = net.worker(&account("etest", 1, "owner"), "a", "mul");
        let caller = net.caller(2);
        net.request(caller, &call("mul", b""));
        net.run();
        let Got::Request { token, .. } = net.got_one(worker) else {
            panic!()
        };
        net.leave(caller);
        net.run();
        // The next session takes the slot; the answer is not for it.
        let next = net.block_on(
            caller.shard,
            &account("web", 5, "user"),
            "x",
            vec![service("etest")],
        );
        assert_eq!(next.key.slot, caller.key.slot);
        net.answer(worker, token, "{}");
        net.run();
        assert!(net.got(next).is_empty());
        assert_eq!(net.drops(Stage::Answer, DropReason::Late), 1);
        net.tick();
        net.run();
        net.request(next, &call("mul", b""));
        net.run();
        assert_eq!(net.got(worker).len(), 1);
        assert_eq!(net.timers(), 1);
    }
}

#[test]
fn a_worker_that_left_while_the_request_was_under_way_is_replaced_or_gone() {
    let mut net = Net::new(2);
    net.next_shard_is(0);
    let first = net.worker(&account("etest", 1, "owner"), "a", "mul");
    let caller = net.caller(2);
    assert_ne!(first.shard, caller.shard);
    net.request(caller, &call("mul", b""));
    net.leave(first);
    net.run();
    assert_eq!(code(&mut net, caller), -2001);

    net.next_shard_is(0);
    let second = net.worker(&account("etest", 1, "owner"), "a", "mul");
    net.next_shard_is(1);
    let third = net.block(&account("etest", 1, "partner"), "b");
    net.request(caller, &call("mul", b""));
    net.leave(second);
    net.listen(third, "mul").unwrap();
    net.run();
    let Got::Request { token, .. } = net.got_one(third) else {
        panic!()
    };
    net.answer(third, token, "{}");
    net.run();
    assert_eq!(code(&mut net, caller), 0);
}

#[test]
fn a_worker_full_at_its_own_shard_is_passed_over_for_another() {
    let mut net = Net::configured(2, 1, |config| config.limits.requests_per_worker_max = 1);
    net.next_shard_is(0);
    let worker = net.worker(&account("etest", 1, "owner"), "a", "mul");
    net.next_shard_is(0);
    let near = net.caller(3);
    net.next_shard_is(1);
    let far = net.caller(2);
    net.request(near, &call("mul", b""));
    net.request(far, &call("mul", b""));
    net.run();
    assert_eq!(net.got(worker).len(), 1);
    assert_eq!(code(&mut net, far), -2002);

    net.next_shard_is(1);
    let second = net.worker(&account("etest", 1, "owner"), "b", "mul");
    net.request(far, &call("mul", b""));
    net.run();
    assert_eq!(net.got(second).len(), 1);
}

#[test]
fn a_worker_whose_queue_is_full_is_passed_over() {
    on_any_shards(|mut net| {
        let full = net.worker(&account("etest", 1, "owner"), "a", "mul");
        let caller = net.caller(2);
        let port = &mut net.ports[usize::from(full.shard)];
        port.failing.insert(full.key, Undelivered::QueueFull);
        net.request(caller, &call("mul", b""));
        net.run();
        assert_eq!(code(&mut net, caller), -2002);
        assert_eq!(net.drops(Stage::Request, DropReason::QueueFull), 1);
        let free = net.worker(&account("etest", 1, "owner"), "b", "mul");
        for _ in 0..10 {
            net.request(caller, &call("mul", b""));
            net.run();
        }
        assert_eq!(net.got(free).len(), 10);
        assert!(net.got(caller).is_empty());
    });
}

#[test]
fn a_worker_that_declined_once_is_asked_again_when_it_can_take_more() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "a", "mul");
        let caller = net.caller(2);
        let port = usize::from(worker.shard);
        net.ports[port].failing.insert(worker.key, Undelivered::QueueFull);
        net.request(caller, &call("mul", b""));
        net.run();
        assert_eq!(code(&mut net, caller), -2002);
        net.ports[port].failing.remove(&worker.key);
        net.tick();
        net.run();
        net.request(caller, &call("mul", b""));
        net.run();
        assert_eq!(net.got(worker).len(), 1);
    });
}

#[test]
fn a_body_the_worker_cannot_take_fails_at_once() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "a", "mul");
        let caller = net.caller(2);
        for (reason, expected) in [(Undelivered::TooLarge, -2003), (Undelivered::NotText, -2004)] {
            net.ports[usize::from(worker.shard)]
                .failing
                .insert(worker.key, reason);
            net.request(caller, &call("mul", b""));
            net.run();
            assert_eq!(code(&mut net, caller), expected);
        }
    });
}

#[test]
fn a_reply_that_its_requester_cannot_take_is_counted() {
    on_any_shards(|mut net| {
        let caller = net.caller(2);
        net.ports[usize::from(caller.shard)]
            .failing
            .insert(caller.key, Undelivered::QueueFull);
        net.request(caller, &call("mul", b""));
        net.run();
        assert_eq!(net.drops(Stage::Reply, DropReason::QueueFull), 1);
    });
}

#[test]
fn an_answer_that_crosses_the_time_out_is_late() {
    let mut net = Net::new(2);
    net.next_shard_is(0);
    let worker = net.worker(&account("etest", 1, "owner"), "a", "mul");
    let caller = net.caller(2);
    net.request(caller, &call("mul", b""));
    net.run();
    let Got::Request { token, .. } = net.got_one(worker) else {
        panic!()
    };
    net.advance(Duration::from_millis(29_990));
    net.delay_us = 50_000..50_001;
    net.answer(worker, token, "{}");
    net.step();
    net.advance(Duration::from_millis(20));
    assert_eq!(code(&mut net, caller), -408);
    net.run();
    assert!(net.got(caller).is_empty());
    assert_eq!(net.drops(Stage::Answer, DropReason::Late), 1);
}

/// Everything at once, for many seeds: requests, answers, leaves, joins, slow rings.
#[test]
fn every_request_has_exactly_one_outcome_whatever_happens() {
    for (seed, shards) in (0..60).zip([1, 2, 8].into_iter().cycle()) {
        let mut net = Net::configured(shards, seed, |config| config.limits.requests_per_worker_max = 4);
        net.delay_us = 1..40_000;
        net.ring_parcels = 3;
        let mut workers: Vec<Block> = Vec::new();
        let mut callers: Vec<Block> = Vec::new();
        let mut expected: HashMap<(Block, Vec<u8>), u32> = HashMap::new();
        let (mut label, mut users) = (0_u32, 100);
        for _ in 0..300 {
            match net.rng.random_range(0..10) {
                0 if workers.len() < 6 => {
                    let resource = format!("w{}", net.rng.random_range(0..4));
                    let shard = net.rng.random_range(0..shards);
                    let grants = Grants {
                        credential: CredentialId(1),
                        services: Vec::new(),
                        expires_unix_ms: None,
                        announced: false,
                    };
                    workers.push(net.begin_join(shard, &account("etest", 1, "owner"), &resource, grants));
                }
                1 if !workers.is_empty() => {
                    let at = net.rng.random_range(0..workers.len());
                    let worker = workers.swap_remove(at);
                    if net.rng.random_bool(0.3) && net.is_live(worker) {
                        net.leave(worker);
                    }
                }
                2 if callers.len() < 6 => {
                    users += 1;
                    callers.push(net.caller(users));
                }
                3 if net.rng.random_bool(0.2) && !callers.is_empty() => {
                    let caller = callers.swap_remove(0);
                    expected.retain(|(block, _), _| *block != caller);
                    net.leave(caller);
                }
                4..=6 => {
                    for &caller in &callers {
                        label += 1;
                        let name = label.to_be_bytes();
                        net.request(caller, &call("mul", &name));
                        expected.insert((caller, name.to_vec()), 0);
                    }
                }
                _ => {
                    for &worker in &workers {
                        let _ = net.listen(worker, "mul");
                        for got in net.got(worker) {
                            if let Got::Request { token, .. } = got
                                && net.rng.random_bool(0.8)
                            {
                                net.answer(worker, token, "{}");
                            }
                        }
                    }
                }
            }
            let wait = net.rng.random_range(0..30_000);
            net.advance(Duration::from_micros(wait));
        }
        net.advance(Duration::from_secs(31));
        net.run();
        for &caller in &callers {
            for got in net.got(caller) {
                if let Got::Reply { label, .. } = got {
                    *expected.get_mut(&(caller, label)).expect("a reply to nothing") += 1;
                }
            }
        }
        let wrong: Vec<_> = expected.iter().filter(|(_, count)| **count != 1).collect();
        assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
        assert_eq!(net.timers(), 0, "seed {seed}");
        net.tick();
        net.run();
        for router in &net.routers {
            assert!(
                router.directory.loads().iter().all(|load| *load == 0),
                "seed {seed}"
            );
        }
        assert!(net.outcomes(ApiOutcome::Reply) > 0 || seed > 0);
        for router in &net.routers {
            assert_eq!((router.requests.len(), router.asked.len()), (0, 0), "seed {seed}");
        }
    }
}
