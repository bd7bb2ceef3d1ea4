//! Bytes of registrations are bounded, and all come back.

use super::*;

/// Bytes that the registrations of all shards take.
fn bytes(net: &mut Net) -> u64 {
    net.tick();
    let bytes = |metrics: &std::sync::Arc<crate::observe::ShardMetrics>| metrics.subscription_bytes.get();
    net.metrics.iter().map(bytes).sum()
}

fn bounded(shards: u16, most: usize) -> Net {
    Net::configured(shards, 7, |config| {
        config.limits.subscription_bytes_max = most;
    })
}

fn on_shard(net: &mut Net, shard: u16, n: u32) -> Block {
    net.block_on(shard, &account("etest", n, "user"), "r", Vec::new())
}

fn long(n: usize) -> String {
    format!("{n:04}/{}", "x".repeat(995))
}

/// Subscribes to one long filter after the other, until one is refused; how many.
fn fill(net: &mut Net, block: Block, from: usize) -> usize {
    let refused = (from..from + 1_000).find(|&n| {
        let result = net.subscribe(block, &long(n));
        assert!(
            matches!(result, Ok(_) | Err(Refusal::QuotaExceeded)),
            "{result:?}"
        );
        result.is_err()
    });
    refused.expect("one is refused") - from
}

fn in_group<'a>(name: &'a str, filter: &'a str) -> Share<'a> {
    Share {
        name,
        filter,
        from: SenderPattern::default(),
        form: 0,
    }
}

#[test]
fn what_all_blocks_of_a_shard_subscribe_to_is_bounded_in_bytes() {
    let most = 100_000;
    let mut net = bounded(2, most);
    let (hoarder, other) = (on_shard(&mut net, 0, 1), on_shard(&mut net, 0, 2));
    let taken = fill(&mut net, hoarder, 0);
    // A filter, and at most 200 bytes on top.
    assert!((most / 1_200..=most / 1_000).contains(&taken), "{taken}");
    let full = bytes(&mut net);
    assert!(full <= most as u64 && full > most as u64 - 1_200, "{full}");
    assert_eq!(net.subscribe(other, &long(5_000)), Err(Refusal::QuotaExceeded));
    let shared = long(5_000);
    let registration = Registration::Shared {
        share: in_group("g", &shared),
        options: formed(0),
    };
    assert_eq!(net.register(other, &registration), Err(Refusal::QuotaExceeded));
    // Options may change, what is there already is cheap, and the other shard has its own part.
    assert_eq!(net.subscribe(hoarder, &long(7)), Ok(Qos::AtMostOnce));
    assert_eq!(bytes(&mut net), full);
    let elsewhere = on_shard(&mut net, 1, 3);
    assert_eq!(fill(&mut net, elsewhere, 0), taken);
    net.leave(elsewhere);
    // What ends makes room for anybody.
    let first = long(0);
    let ended = Unregistration::Channel {
        filter: &first,
        from: SenderPattern::default(),
        form: 0,
    };
    assert!(net.unregister(hoarder, &ended));
    assert_eq!(net.subscribe(other, &long(5_000)), Ok(Qos::AtMostOnce));
    net.leave(hoarder);
    assert_eq!(fill(&mut net, other, 6_000), taken - 1);
    net.leave(other);
    assert_eq!(bytes(&mut net), 0);
}

#[test]
fn filters_with_wildcards_patterns_groups_and_listeners_are_counted_and_come_back() {
    on_any_shards(|mut net| {
        let blocks: Vec<_> = (0..6).map(|n| user(&mut net, n)).collect();
        let mut last = 0;
        let mut grew = |net: &mut Net, least: u64, what: &str| {
            let now = bytes(net);
            assert!(now >= last + least, "{what}: {now} after {last}");
            last = now;
        };
        let deep = format!("{}+", "a/".repeat(60));
        let resource = "r".repeat(100);
        for &block in &blocks {
            net.subscribe(block, "a/b").unwrap();
            grew(&mut net, 50, "a place");
        }
        net.subscribe(blocks[0], &deep).unwrap();
        grew(&mut net, 60 * 48, "levels of a tree");
        let from = SenderPattern {
            resource: Some(&resource),
            ..SenderPattern::default()
        };
        for identifier in [0, 9, 8, 0, 7] {
            let options = SubscriptionOptions {
                identifier,
                ..formed(0)
            };
            net.subscribe_with(blocks[1], "a/b", from, options).unwrap();
        }
        grew(&mut net, 200, "a pattern");
        for (n, &block) in blocks.iter().enumerate() {
            let registration = Registration::Shared {
                share: in_group(if n % 2 == 0 { "even" } else { "odd" }, "g/+"),
                options: formed(0),
            };
            net.register(block, &registration).unwrap();
            net.run();
            grew(&mut net, 50, "a member");
        }
        net.listen(blocks[2], "open").unwrap();
        net.listen(blocks[2], "shut").unwrap();
        net.listen(blocks[2], "shut").unwrap();
        grew(&mut net, 100, "listeners");
        assert!(net.unregister(blocks[2], &Unregistration::Listen { cmd: "open" }));
        let share = in_group("even", "g/+");
        assert!(net.unregister(blocks[4], &Unregistration::Shared { share }));
        assert!(bytes(&mut net) < last);
        for block in blocks {
            net.leave(block);
        }
        net.run();
        assert_eq!(bytes(&mut net), 0);
    });
}

#[test]
fn listeners_take_of_the_same_bytes() {
    let mut net = bounded(1, 5_000);
    let (worker, other) = (on_shard(&mut net, 0, 1), on_shard(&mut net, 0, 2));
    let listened = (0..200).take_while(|n| {
        let result = net.listen(worker, &format!("{n:0100}"));
        assert!(
            matches!(result, Ok(_) | Err(Refusal::QuotaExceeded)),
            "{result:?}"
        );
        result.is_ok()
    });
    let listened = listened.count();
    assert!((20..50).contains(&listened), "{listened}");
    assert_eq!(net.listen(worker, &format!("{:0100}", 0)), Ok(Qos::AtMostOnce));
    assert_eq!(net.subscribe(other, &long(0)), Err(Refusal::QuotaExceeded));
    net.leave(worker);
    assert_eq!(net.subscribe(other, &long(0)), Ok(Qos::AtMostOnce));
}

#[test]
fn what_was_kept_over_a_restart_is_taken_in_beyond_the_bound() {
    let mut net = bounded(1, 2_000);
    let name = account("etest", 1, "user");
    let owner = Account::parse(&name).unwrap();
    let identity = Identity::new(&owner, "r").unwrap();
    let key = SessionKey {
        slot: 900,
        generation: 1,
    };
    let texts: Vec<String> = (0..5).map(long).collect();
    net.on(0, |router, now, port| {
        assert!(router.restore(now, key, identity));
        for text in &texts {
            let channel = Registration::Channel {
                filter: text,
                from: SenderPattern::default(),
                options: formed(0),
            };
            assert_eq!(router.register(now, port, key, &channel), Ok(Qos::AtMostOnce));
            let shared = Registration::Shared {
                share: in_group("g", text),
                options: formed(0),
            };
            assert_eq!(router.register(now, port, key, &shared), Ok(Qos::AtMostOnce));
        }
        let listen = Registration::Listen {
            cmd: "open",
            options: formed(0),
        };
        assert_eq!(router.register(now, port, key, &listen), Ok(Qos::AtMostOnce));
    });
    assert!(bytes(&mut net) > 10_000);
    let other = on_shard(&mut net, 0, 2);
    assert_eq!(net.subscribe(other, "a"), Err(Refusal::QuotaExceeded));
}
