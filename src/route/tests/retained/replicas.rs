//! What all shards know of what is retained, and what is stored of it.

use super::*;

/// Puts what the shards wrote down into the table. Between two looks, whose changes come first is as it happens; all come
/// before the parcels that were filled meanwhile are sent.
fn store(net: &mut Net, rows: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let mut order: Vec<usize> = (0..net.routers.len()).collect();
    for place in 0..order.len() {
        order.swap(place, net.rng.random_range(place..net.routers.len()));
    }
    for shard in order {
        let Some(journal) = net.routers[shard].take_journal() else {
            continue;
        };
        for row in journal.iter() {
            match row {
                Row::Put { table, key, value } => {
                    assert_eq!(table, Table::Retained);
                    rows.insert(key.to_vec(), value.to_vec());
                }
                Row::Delete { key, .. } => drop(rows.remove(key)),
                Row::DeleteAll { .. } => panic!("nothing is removed by prefix"),
            }
        }
    }
}

/// What each shard would send a new subscriber of `#`.
fn replicas(net: &mut Net) -> Vec<Vec<(String, String, bool)>> {
    (0..net.shards())
        .map(|shard| {
            let name = account("nexus", 500 + u32::from(shard), "owner");
            let reader = net.block_on(shard, &name, "reader", Vec::new());
            subscribe(net, reader, "#", RetainHandling::Always);
            let all = heard(net, reader);
            net.leave(reader);
            net.run();
            all
        })
        .collect()
}

#[test]
fn whoever_publishes_at_a_time_all_replicas_agree_and_subscribers_with_them() {
    // Long ones for what gathers, short ones for what the next message would cover up.
    let short = (10..130).map(|seed| (if seed % 2 == 0 { 2 } else { 8 }, seed, 12));
    for (shards, seed, count) in [(2, 1, 600), (8, 2, 600)].into_iter().chain(short) {
        let mut net = Net::configured(shards, seed, |config| config.durable = true);
        net.delay_us = 1..400;
        let blocks: Vec<_> = (0..2 * u32::from(shards)).map(|n| user(&mut net, n)).collect();
        let listeners: Vec<_> = (0..u32::from(shards)).map(|n| user(&mut net, 400 + n)).collect();
        for &listener in &listeners {
            subscribe(&mut net, listener, "c/#", RetainHandling::Always);
        }
        let mut rows = BTreeMap::new();
        for n in 0..count {
            let from = blocks[net.rng.random_range(0..blocks.len())];
            let channel = format!("c/{}", net.rng.random_range(0..4));
            let payload = if net.rng.random_bool(0.3) {
                String::new()
            } else {
                n.to_string()
            };
            let expires = net.rng.random_bool(0.2).then(|| {
                let after = Duration::from_micros(net.rng.random_range(0..2_000));
                net.now.instant + after
            });
            let kept = ChannelMessage {
                expires,
                ..message(&channel, &payload, Qos::AtLeastOnce)
            };
            keep_at(&mut net, from, &kept).unwrap();
            if net.rng.random_bool(0.3) {
                store(&mut net, &mut rows);
                net.now.instant = net.now.instant + Duration::from_micros(net.rng.random_range(0..200));
                net.step();
            }
            if net.rng.random_bool(0.05) {
                net.tick();
            }
        }
        store(&mut net, &mut rows);
        while net.move_on() {
            store(&mut net, &mut rows);
        }
        net.now.instant = net.now.instant + SECOND;
        net.tick();
        store(&mut net, &mut rows);
        let all = replicas(&mut net);
        assert!(
            all.windows(2).all(|pair| pair[0] == pair[1]),
            "seed {seed}: {all:?}"
        );
        for listener in listeners {
            let mut last = BTreeMap::new();
            for (channel, payload, _) in heard(&mut net, listener) {
                last.insert(channel, payload);
            }
            for (channel, payload, _) in &all[0] {
                assert_eq!(last.get(channel), Some(payload), "seed {seed}: {channel}");
            }
        }
        let stored: Vec<_> = rows
            .iter()
            .map(|(channel, row)| {
                let message = Retained::decode(net.now, channel, row).unwrap();
                let payload = String::from_utf8(message.message().payload.to_vec()).unwrap();
                retained(message.channel(), &payload)
            })
            .collect();
        assert_eq!(stored, all[0], "seed {seed}: what is stored is what is retained");
    }
}

#[test]
fn who_heard_the_later_of_two_first_hears_it_once_more() {
    for (last, payloads) in [("2", vec!["2", "1", "2"]), ("", vec!["", "1", ""])] {
        let mut net = Net::new(2);
        net.next_shard_is(0);
        let (one, two) = (user(&mut net, 1), user(&mut net, 2));
        let listener = net.block_on(1, &account("etest", 3, "user"), "l", Vec::new());
        for block in [listener, two] {
            let no_local = SubscriptionOptions {
                no_local: true,
                ..options(RetainHandling::Never)
            };
            net.subscribe_with(block, "a", SenderPattern::default(), no_local)
                .unwrap();
        }
        keep_at(&mut net, one, &message("a", "1", Qos::AtLeastOnce)).unwrap();
        net.now.instant = net.now.instant + Duration::from_nanos(1);
        keep_at(&mut net, two, &message("a", last, Qos::AtLeastOnce)).unwrap();
        net.run();
        let of = |heard: Vec<(String, String, bool)>| -> Vec<String> {
            heard.into_iter().map(|(_, payload, _)| payload).collect()
        };
        assert_eq!(of(heard(&mut net, listener)), payloads);
        assert_eq!(
            of(heard(&mut net, two)),
            ["1"],
            "its own is not for it, the second time neither"
        );
    }
}

#[test]
fn what_was_stored_is_retained_after_a_start_and_older_than_all_that_follows() {
    for shards in [1, 2, 8] {
        let mut net = Net::configured(shards, 7, |config| config.durable = true);
        let publisher = user(&mut net, 1);
        for channel in ["a", "b", "c"] {
            keep(&mut net, publisher, channel, "stored").unwrap();
        }
        keep(&mut net, publisher, "b", "").unwrap();
        let mut rows = BTreeMap::new();
        store(&mut net, &mut rows);

        let mut net = Net::configured(shards, 8, |_| {});
        for (channel, row) in &rows {
            let message = Retained::decode(net.now, channel, row).unwrap();
            for router in &mut net.routers {
                router.restore_retained(message.clone());
            }
        }
        let expected = vec![retained("a", "stored"), retained("c", "stored")];
        assert!(replicas(&mut net).iter().all(|all| *all == expected));
        let publisher = user(&mut net, 1);
        keep(&mut net, publisher, "a", "new").unwrap();
        let expected = vec![retained("a", "new"), retained("c", "stored")];
        assert!(replicas(&mut net).iter().all(|all| *all == expected));
        assert!(
            net.routers
                .iter_mut()
                .all(|router| router.take_journal().is_none()),
            "not durable"
        );
    }
}
