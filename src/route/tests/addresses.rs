//! One session per address, whichever shards the connections landed on.

use crate::route::testing::*;
use crate::route::*;
use crate::session::Ending;
use rand::Rng;

fn grants() -> Grants {
    Grants {
        credential: CredentialId(1),
        services: Vec::new(),
        expires_unix_ms: None,
        announced: false,
    }
}

#[test]
fn a_newcomer_gets_the_address_when_the_holder_has_left() {
    on_any_shards(|mut net| {
        let name = account("etest", 1, "owner");
        net.ends_leave = false;
        let (first_shard, second_shard) = (0, net.shards() - 1);
        let first = net.block_on(first_shard, &name, "r", Vec::new());
        let second = net.begin_join(second_shard, &name, "r", grants());
        net.run();
        assert_eq!(net.got(first), [Got::End(Ending::TakenOver)]);
        assert!(net.got(second).is_empty());
        net.leave(first);
        net.run();
        assert_eq!(net.got(second), [Got::Notice(Notice::Attached)]);
    });
}

#[test]
fn a_still_newer_session_displaces_the_one_that_waits() {
    on_any_shards(|mut net| {
        let name = account("etest", 1, "owner");
        net.ends_leave = false;
        let holder = net.block_on(0, &name, "r", Vec::new());
        let waiting = net.begin_join(net.shards() - 1, &name, "r", grants());
        net.run();
        let newest = net.begin_join(net.shards() / 2, &name, "r", grants());
        net.run();
        assert_eq!(net.got(waiting), [Got::Notice(Notice::Displaced)]);
        assert!(!net.routers[usize::from(waiting.shard)].is_attached(waiting.key));
        net.leave(waiting);
        net.leave(holder);
        net.run();
        assert_eq!(net.got(newest), [Got::Notice(Notice::Attached)]);
    });
}

#[test]
fn mqtt5_3_1_2_4_nobody_is_told_anything_before_the_end_of_a_session_that_was_kept_lasts() {
    on_any_shards(|mut net| {
        let name = account("etest", 1, "owner");
        net.ends_leave = false;
        let identity = Identity::new(&Account::parse(&name).unwrap(), "r").unwrap();
        let home = net.on(0, |router, _, _| router.home(&identity));
        let holder = net.block_on(home, &name, "r", Vec::new());
        net.ports[usize::from(home)].keeping.insert(holder.key);
        let overtaken = net.begin_join(net.shards() - 1, &name, "r", grants());
        net.run();
        let newest = net.begin_join(0, &name, "r", grants());
        net.run();
        net.on(home, |router, now, port| {
            router.leave_for_good(now, port, holder.key);
        });
        net.leave(holder);
        net.run();
        assert!(net.got(overtaken).is_empty() && net.got(newest).is_empty());
        let addresses = std::mem::take(&mut net.ports[usize::from(home)].held_addresses);
        assert_eq!(addresses.len(), 1);
        net.on(home, |router, _, port| router.ended_lasts(port, addresses[0]));
        net.run();
        assert_eq!(net.got(overtaken), [Got::Notice(Notice::Displaced)]);
        assert_eq!(net.got(newest), [Got::Notice(Notice::Attached)]);
    });
}

#[test]
fn leaving_while_a_claim_is_under_way_withdraws_it() {
    on_any_shards(|mut net| {
        let name = account("etest", 1, "owner");
        for resource in ["a", "b", "c", "d"] {
            let hasty = net.begin_join(0, &name, resource, grants());
            net.leave(hasty);
            net.leave(hasty);
            net.run();
            net.block_on(net.shards() - 1, &name, resource, Vec::new());
        }
    });
}

#[test]
fn two_accounts_never_share_an_address() {
    on_any_shards(|mut net| {
        let one = net.block(&account("etest", 1, "owner"), "r");
        let other = net.block(&account("etest", 1, "user"), "r");
        let elsewhere = net.block(&account("other", 1, "owner"), "r");
        for block in [one, other, elsewhere] {
            assert!(net.routers[usize::from(block.shard)].is_attached(block.key));
        }
    });
}

#[test]
fn identity_is_known_from_join_to_leave() {
    on_any_shards(|mut net| {
        let block = net.block(&account("etest", 1, "owner"), "r");
        let router = &net.routers[usize::from(block.shard)];
        let identity = router.identity(block.key).unwrap();
        assert_eq!(identity.sender().resource(), "r");
        net.leave(block);
        assert!(
            net.routers[usize::from(block.shard)]
                .identity(block.key)
                .is_none()
        );
    });
}

/// The net checks after every step that no address is held twice.
#[test]
fn a_thousand_racing_take_overs_leave_one_holder_each() {
    for shards in [1, 2, 8] {
        let mut net = Net::configured(shards, 5, |_| {});
        net.delay_us = 1..5_000;
        let resources = ["a", "b", "c"];
        let mut blocks = Vec::new();
        for _ in 0..1_000 {
            let shard = net.rng.random_range(0..shards);
            let resource = resources[net.rng.random_range(0..resources.len())];
            blocks.push(net.begin_join(shard, &account("etest", 1, "user"), resource, grants()));
            if net.rng.random_bool(0.2) {
                let block = blocks[net.rng.random_range(0..blocks.len())];
                if net.is_live(block) {
                    net.leave(block);
                }
            }
            let wait = std::time::Duration::from_micros(net.rng.random_range(0..500));
            net.advance(wait);
        }
        // The home shard's order counts: let the claims under way arrive first.
        net.run();
        let last: Vec<_> = resources
            .map(|resource| net.begin_join(0, &account("etest", 1, "user"), resource, grants()))
            .into();
        net.run();
        for block in &blocks {
            let displaced = net.got(*block).contains(&Got::Notice(Notice::Displaced));
            assert!(!net.is_live(*block) || displaced, "{block:?} hangs");
        }
        for block in last {
            assert_eq!(net.got(block), [Got::Notice(Notice::Attached)]);
        }
    }
}

#[test]
fn p4_a_fight_for_an_address_is_damped_for_who_asks_for_it() {
    on_any_shards(|mut net| {
        let name = account("etest", 1, "owner");
        let mut holder = net.block_on(0, &name, "r", Vec::new());
        for take_over in 1..=3 {
            let shard = u16::try_from(take_over).unwrap() % net.shards();
            let newcomer = net.begin_join_damped(shard, &name, "r", grants());
            net.run();
            if take_over <= 2 {
                assert_eq!(net.got(newcomer), [Got::Notice(Notice::Attached)]);
                holder = newcomer;
            } else {
                assert_eq!(
                    net.got(newcomer),
                    [Got::Notice(Notice::Refused(ClaimRefusal::Conflict))]
                );
                net.leave(newcomer);
            }
        }
        net.run();
        assert!(net.is_live(holder), "the one that was there stays");
        let other = net.begin_join(0, &name, "r", grants());
        net.run();
        assert_eq!(
            net.got(other),
            [Got::Notice(Notice::Attached)],
            "who is not damped takes over"
        );
    });
}
