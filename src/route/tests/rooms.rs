//! Who is in a room, and who is told (PROTOCOL section 4, "Channels as rooms").

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::route::testing::*;
use crate::route::*;

const FORM: u8 = 1;

fn options() -> SubscriptionOptions {
    SubscriptionOptions {
        form: FORM,
        ..SubscriptionOptions::default()
    }
}

fn enter_with(net: &mut Net, block: Block, channel: &str, note: &str) -> Result<Qos, Refusal> {
    net.register(
        block,
        &Registration::Room {
            channel,
            options: options(),
            note,
            list: true,
        },
    )
}

fn enter(net: &mut Net, block: Block, channel: &str) {
    enter_with(net, block, channel, "").unwrap();
    net.run();
}

fn leave(net: &mut Net, block: Block, channel: &str) {
    assert!(net.unregister(block, &Unregistration::Room { channel, form: FORM }));
    net.run();
}

/// What a block was told of rooms since the last time.
fn told(net: &mut Net, block: Block) -> Vec<String> {
    let told = |got| match got {
        Got::Room(_, what) => Some(what),
        _ => None,
    };
    net.got(block).into_iter().filter_map(told).collect()
}

fn address(n: u32) -> String {
    format!("{}/r", account("etest", n, "user"))
}

fn block(net: &mut Net, n: u32) -> Block {
    net.block(&account("etest", n, "user"), "r")
}

/// With at most so many occupants that are shown.
fn net_of(shards: u16, max: usize) -> Net {
    Net::configured(shards, 5, |config| config.limits.room_presence_max = max)
}

fn sorted(mut told: Vec<String>) -> Vec<String> {
    told.sort();
    told
}

#[test]
fn p4_a_newcomer_is_shown_all_and_all_are_shown_the_newcomer() {
    on_any_shards(|mut net| {
        let [one, two, three] = [1, 2, 3].map(|n| block(&mut net, n));
        enter(&mut net, one, "c");
        assert_eq!(told(&mut net, one), ["list", "in"]);
        enter(&mut net, two, "c");
        assert_eq!(told(&mut net, two), ["list", &format!("+{}", address(1)), "in"]);
        assert_eq!(told(&mut net, one), [format!("+{}", address(2))]);
        enter_with(&mut net, three, "c", "<c/>").unwrap();
        net.run();
        let heard = told(&mut net, three);
        assert_eq!(
            (&*heard[0], &*heard[3]),
            ("list", "in"),
            "the answer is behind the list"
        );
        let both = [1, 2].map(|n| format!("+{}", address(n)));
        assert_eq!(sorted(heard[1..3].to_vec()), both);
        for block in [one, two] {
            assert_eq!(told(&mut net, block), [format!("+{}<c/>", address(3))]);
        }
        // Who comes by another room is told of nothing here.
        let other = block(&mut net, 4);
        enter(&mut net, other, "d");
        assert_eq!(told(&mut net, other), ["list", "in"]);
        leave(&mut net, two, "c");
        let gone = format!("-{}", address(2));
        for block in [one, three] {
            assert_eq!(told(&mut net, block), std::slice::from_ref(&gone));
        }
        assert!(told(&mut net, two).is_empty() && told(&mut net, other).is_empty());
        net.leave(three);
        net.run();
        assert_eq!(told(&mut net, one), [format!("-{}", address(3))]);
    });
}

#[test]
fn p4_another_note_is_told_to_the_others_and_the_same_one_is_not() {
    on_any_shards(|mut net| {
        let [one, two] = [1, 2].map(|n| block(&mut net, n));
        enter(&mut net, one, "c");
        enter(&mut net, two, "c");
        told(&mut net, one);
        told(&mut net, two);
        for (note, expected) in [("a", vec![format!("+{}a", address(2))]), ("a", vec![])] {
            let room = Registration::Room {
                channel: "c",
                options: options(),
                note,
                list: false,
            };
            net.register(two, &room).unwrap();
            net.run();
            assert_eq!(told(&mut net, one), expected);
            assert!(told(&mut net, two).is_empty());
        }
        let room = Registration::Room {
            channel: "elsewhere",
            options: options(),
            note: "a",
            list: false,
        };
        assert_eq!(net.register(two, &room), Err(Refusal::NotAuthorized));
    });
}

#[test]
fn p4_who_joins_again_is_shown_all_again_and_the_others_nothing() {
    on_any_shards(|mut net| {
        let [one, two] = [1, 2].map(|n| block(&mut net, n));
        enter(&mut net, one, "c");
        enter(&mut net, two, "c");
        told(&mut net, one);
        told(&mut net, two);
        enter(&mut net, two, "c");
        assert_eq!(told(&mut net, two), ["list", &format!("+{}", address(1)), "in"]);
        assert!(told(&mut net, one).is_empty());
    });
}

#[test]
fn p4_above_the_maximum_nobody_is_shown_and_below_it_all_are_again() {
    for shards in [1, 2, 8] {
        let mut net = net_of(shards, 2);
        let blocks: Vec<Block> = (1..=4).map(|n| block(&mut net, n)).collect();
        for &block in &blocks {
            enter(&mut net, block, "c");
        }
        assert_eq!(
            told(&mut net, blocks[0]),
            ["list", "in", &format!("+{}", address(2))]
        );
        assert_eq!(
            told(&mut net, blocks[1]),
            ["list", &format!("+{}", address(1)), "in"]
        );
        assert_eq!(told(&mut net, blocks[2]), ["in"]);
        assert_eq!(told(&mut net, blocks[3]), ["in"]);
        // A message reaches all, and says of whom they have been shown.
        net.publish(blocks[3], "c", "x").unwrap();
        net.run();
        for &block in &blocks {
            assert!(matches!(&*net.got(block), [Got::Channel { .. }]));
        }
        leave(&mut net, blocks[0], "c");
        assert_eq!(told(&mut net, blocks[1]), [format!("-{}", address(1))]);
        assert!(told(&mut net, blocks[2]).is_empty(), "three are too many");
        leave(&mut net, blocks[3], "c");
        // It has spoken, so that they may know it from its message.
        let spoken = format!("~{}", address(4));
        let mut told_but_that = |block| {
            let mut told = told(&mut net, block);
            let at = told.iter().position(|line| *line == spoken);
            told.remove(at.expect("told that it has left"));
            told
        };
        assert_eq!(told_but_that(blocks[1]), [format!("+{}", address(3))]);
        assert_eq!(told_but_that(blocks[2]), ["list", &format!("+{}", address(2))]);
    }
}

#[test]
fn p4_with_a_maximum_of_none_nobody_is_ever_shown() {
    for shards in [1, 2] {
        let mut net = net_of(shards, 0);
        let blocks: Vec<Block> = (1..=3).map(|n| block(&mut net, n)).collect();
        for &block in &blocks {
            enter(&mut net, block, "c");
        }
        leave(&mut net, blocks[0], "c");
        leave(&mut net, blocks[1], "c");
        for &block in &blocks {
            assert_eq!(told(&mut net, block), ["in"]);
        }
    }
}

#[test]
fn p4_what_may_not_be_subscribed_to_has_no_room_and_is_left() {
    on_any_shards(|mut net| {
        let one = block(&mut net, 1);
        for (channel, refusal) in [
            ("a/+", Refusal::InvalidName),
            ("~other/x", Refusal::NotAuthorized),
        ] {
            assert_eq!(enter_with(&mut net, one, channel, ""), Err(refusal));
        }
        net.run();
        assert!(net.got(one).is_empty());
        let left = Unregistration::Room {
            channel: "a",
            form: FORM,
        };
        assert!(!net.unregister(one, &left));
    });
}

/// Blocks come, leave and are lost in any order; whenever all is quiet, each occupant knows who is there, and once nobody is
/// left, nothing is.
#[test]
fn p4_whatever_order_things_happen_in_all_know_who_is_there() {
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let max = [3, 100][random.random_range(0..2_usize)];
        let shards = random.random_range(1..=3);
        let mut net = Net::configured(shards, seed, |config| config.limits.room_presence_max = max);
        let mut blocks: Vec<Block> = (0..6).map(|n| block(&mut net, n)).collect();
        let mut inside = [false; 6];
        let mut views: Vec<BTreeSet<String>> = vec![BTreeSet::new(); 6];
        for _ in 0..120 {
            let n = random.random_range(0..6_usize);
            match random.random_range(0..4) {
                0 | 1 if !inside[n] => {
                    enter_with(&mut net, blocks[n], "c", "").unwrap();
                    inside[n] = true;
                }
                0 if inside[n] => {
                    let room = Unregistration::Room {
                        channel: "c",
                        form: FORM,
                    };
                    net.unregister(blocks[n], &room);
                    inside[n] = false;
                    views[n].clear();
                }
                2 => {
                    net.got(blocks[n]);
                    net.leave(blocks[n]);
                    blocks[n] = block(&mut net, u32::try_from(n).unwrap());
                    inside[n] = false;
                    views[n].clear();
                }
                _ => {
                    net.step();
                }
            }
            if random.random_bool(0.1) {
                net.run();
                for (n, view) in views.iter_mut().enumerate() {
                    for what in told(&mut net, blocks[n]) {
                        let (sign, who) = what.split_at(1);
                        match sign {
                            "+" => _ = view.insert(who.to_owned()),
                            "-" => _ = view.remove(who),
                            "l" => view.clear(),
                            _ => {}
                        }
                    }
                }
                let there = |n: &usize| inside[*n];
                let count = (0..6).filter(there).count();
                for n in (0..6).filter(there).filter(|_| count <= max) {
                    let others = (0..6).filter(there).filter(|other| *other != n);
                    let expected: BTreeSet<_> = others.map(|n| address(u32::try_from(n).unwrap())).collect();
                    assert_eq!(views[n], expected, "seed {seed}, block {n}");
                }
            }
        }
        for block in blocks {
            net.leave(block);
        }
        net.run();
        for shard in 0..net.shards() {
            net.on(shard, |router, _, _| {
                assert_eq!((router.rooms.len(), router.room_homes.bytes()), (0, 0));
            });
        }
    }
}

#[test]
fn beyond_the_bytes_of_the_lists_a_block_is_in_its_room_and_shown_to_nobody() {
    let mut net = Net::new(1);
    net.on(0, |router, _, _| router.room_homes.bound_bytes(400));
    let blocks: Vec<Block> = (1..=4).map(|n| block(&mut net, n)).collect();
    for &block in &blocks {
        enter(&mut net, block, "c");
    }
    assert_eq!(told(&mut net, blocks[3]), ["in"]);
    assert!(net.on(0, |router, _, _| router.metrics.room_unlisted.get()) >= 1);
    net.publish(blocks[3], "c", "x").unwrap();
    assert!(
        matches!(&*net.got(blocks[3]), [Got::Channel { .. }]),
        "it hears all"
    );
    for block in blocks {
        net.leave(block);
    }
    net.run();
    net.on(0, |router, _, _| assert_eq!(router.room_homes.bytes(), 0));
}

#[test]
fn beyond_the_bytes_of_the_lists_an_occupant_has_no_larger_note() {
    on_any_shards(|mut net| {
        let (one, two) = (block(&mut net, 1), block(&mut net, 2));
        enter(&mut net, one, "c");
        enter_with(&mut net, two, "c", "<c/>").unwrap();
        net.run();
        let held = |net: &mut Net| -> usize {
            (0..net.shards())
                .map(|shard| net.on(shard, |router, _, _| router.room_homes.bytes()))
                .sum()
        };
        let refused = |net: &mut Net| -> u64 {
            (0..net.shards())
                .map(|shard| net.on(shard, |router, _, _| router.metrics.room_notes_refused.get()))
                .sum()
        };
        let most = held(&mut net);
        for shard in 0..net.shards() {
            net.on(shard, |router, _, _| router.room_homes.bound_bytes(most));
        }
        let shown = |net: &mut Net, note: &str| {
            let _ = (told(net, one), told(net, two));
            enter_with(net, two, "c", note).unwrap();
            net.run();
            told(net, one)
        };
        // As large as before.
        assert_eq!(shown(&mut net, "<d/>"), [format!("+{}<d/>", address(2))]);
        assert_eq!((held(&mut net), refused(&mut net)), (most, 0));
        for n in 1..3 {
            // It is there, without what it showed before.
            let told = shown(&mut net, &"x".repeat(500));
            let expected = [format!("+{}", address(2))];
            assert_eq!(told, if n == 1 { expected.as_slice() } else { &[] });
            assert_eq!((held(&mut net), refused(&mut net)), (most - 4, n));
        }
        assert_eq!(shown(&mut net, "<e/>"), [format!("+{}<e/>", address(2))]);
        net.leave(two);
        net.run();
        assert_eq!(told(&mut net, one), [format!("-{}", address(2))]);
        net.leave(one);
        net.run();
        assert_eq!(held(&mut net), 0);
    });
}
