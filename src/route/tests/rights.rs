//! Rights that change while blocks are connected (PROTOCOL 2.1, Entitlement).

use std::time::Duration;

use crate::limits;
use crate::route::testing::*;
use crate::route::*;
use crate::session::Ending;

fn code(net: &mut Net, from: Block) -> Option<i32> {
    net.request(from, &call("mul", b""));
    net.run();
    net.got(from).into_iter().rev().find_map(|got| match got {
        Got::Reply { code, .. } => Some(code),
        _ => None,
    })
}

fn grants(credential: u64) -> Grants {
    Grants {
        credential: CredentialId(credential),
        services: Vec::new(),
        expires_unix_ms: None,
        announced: false,
    }
}

fn services(net: &mut Net, n: u32, services: Vec<Service>) {
    net.apply(&Change::Services {
        uid: uid(n),
        services,
    });
}

/// A worker that answers nothing: who may call it waits.
const WAITS: Option<i32> = None;

#[test]
fn p2_1_a_grant_and_its_revocation_work_without_a_reconnect() {
    on_any_shards(|mut net| {
        net.worker(&account("etest", 1, "owner"), "w", "mul");
        let caller = net.block(&account("web", 2, "user"), "page");
        assert_eq!(code(&mut net, caller), Some(-3000));
        services(&mut net, 2, vec![service("other"), service("etest")]);
        assert_eq!(code(&mut net, caller), WAITS);
        services(&mut net, 2, vec![service("other")]);
        assert_eq!(code(&mut net, caller), Some(-3000));
    });
}

#[test]
fn p2_1_a_service_that_expires_stops_working_by_itself() {
    on_any_shards(|mut net| {
        net.worker(&account("etest", 1, "owner"), "w", "mul");
        let caller = net.block(&account("web", 2, "user"), "page");
        let expires_unix_ms = Some(net.now.unix_ms + 5_000);
        services(
            &mut net,
            2,
            vec![Service {
                app: "etest".into(),
                expires_unix_ms,
            }],
        );
        net.advance(Duration::from_millis(4_900));
        assert_eq!(code(&mut net, caller), WAITS);
        net.advance(Duration::from_millis(200));
        assert_eq!(code(&mut net, caller), Some(-3000));
    });
}

#[test]
fn p2_1_an_app_may_be_opened_closed_and_removed() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "w", "mul");
        let caller = net.block(&account("web", 2, "user"), "page");
        net.app(
            "etest",
            AppPolicy {
                open: true,
                ..AppPolicy::default()
            },
        );
        assert_eq!(code(&mut net, caller), WAITS);
        net.app("etest", AppPolicy::default());
        assert_eq!(code(&mut net, caller), Some(-3000));
        net.app(
            "etest",
            AppPolicy {
                open: true,
                ..AppPolicy::default()
            },
        );
        net.apply(&Change::AppRemoved { name: "etest".into() });
        assert!(net.got(worker).contains(&Got::End(Ending::Revoked)));
        net.run();
        assert!(!net.is_live(worker));
        assert_eq!(code(&mut net, caller), Some(-3000));
        assert!(net.is_live(caller));
    });
}

#[test]
fn p2_1_a_revoked_account_s_or_secret_s_sessions_are_ended_and_no_others() {
    on_any_shards(|mut net| {
        let join = |net: &mut Net, n, credential| {
            let shard = u16::try_from(n).unwrap() % net.shards();
            let block = net.begin_join(shard, &account("etest", n, "user"), "r", grants(credential));
            net.run();
            net.got(block);
            block
        };
        let blocks: Vec<_> = (0..6).map(|n| join(&mut net, n, 10 + u64::from(n % 2))).collect();
        let token = join(&mut net, 6, 0);
        net.apply(&Change::AccountRevoked {
            account: account("etest", 1, "user").into(),
        });
        net.apply(&Change::AccountRevoked {
            account: account("etest", 2, "owner").into(),
        });
        net.apply(&Change::CredentialRevoked {
            credential: CredentialId::NONE,
        });
        net.run();
        let live = |net: &Net| blocks.iter().map(|block| net.is_live(*block)).collect::<Vec<_>>();
        assert_eq!(live(&net), [true, false, true, true, true, true]);
        assert!(net.is_live(token));
        net.apply(&Change::CredentialRevoked {
            credential: CredentialId(10),
        });
        net.run();
        assert_eq!(live(&net), [false, false, false, true, false, true]);
    });
}

#[test]
fn p2_1_a_join_that_still_waits_is_revoked_as_well() {
    on_any_shards(|mut net| {
        net.ends_leave = false;
        let name = account("etest", 1, "user");
        let holder = net.block_on(0, &name, "r", Vec::new());
        let waiting = net.begin_join(net.shards() - 1, &name, "r", grants(5));
        net.run();
        net.apply(&Change::CredentialRevoked {
            credential: CredentialId(5),
        });
        assert_eq!(net.got(waiting), [Got::End(Ending::ProofEnded)]);
        net.leave(waiting);
        net.leave(holder);
        net.run();
        net.block_on(0, &name, "r", Vec::new());
    });
}

#[test]
fn a_revocation_looks_at_a_bounded_number_of_sessions_per_tick() {
    let mut net = Net::new(1);
    let count = limits::SWEEP_SESSIONS_PER_TICK + 100;
    let name = account("etest", 1, "user");
    let blocks: Vec<_> = (0..count)
        .map(|n| net.begin_join(0, &name, &n.to_string(), grants(u64::from(n) + 1)))
        .collect();
    let last = blocks[blocks.len() - 1];
    for credential in [u64::from(count), 1] {
        net.apply(&Change::CredentialRevoked {
            credential: CredentialId(credential),
        });
    }
    assert!(!net.got(last).contains(&Got::End(Ending::ProofEnded)));
    net.tick();
    assert!(net.got(last).contains(&Got::End(Ending::ProofEnded)));
    assert!(
        net.got(blocks[0]).contains(&Got::End(Ending::ProofEnded)) || {
            net.tick();
            net.got(blocks[0]).contains(&Got::End(Ending::ProofEnded))
        }
    );
}

#[test]
fn who_is_not_attached_may_do_nothing() {
    on_any_shards(|mut net| {
        net.ends_leave = false;
        let name = account("etest", 1, "owner");
        net.block_on(0, &name, "r", Vec::new());
        let waiting = net.begin_join(net.shards() - 1, &name, "r", grants(5));
        net.run();
        assert_eq!(net.subscribe(waiting, "a"), Err(Refusal::NotAuthorized));
        assert_eq!(net.listen(waiting, "mul"), Err(Refusal::NotAuthorized));
        assert_eq!(net.publish(waiting, "a", "x"), Err(Refusal::NotAuthorized));
        assert_eq!(net.direct(waiting, &to("w", "x")), DirectOutcome::NoReceiver);
        assert_eq!(code(&mut net, waiting), WAITS);
        assert_eq!(net.timers(), 0);
    });
}

#[test]
fn p1_an_announced_block_is_a_worker_until_it_leaves_with_or_without_listeners() {
    on_any_shards(|mut net| {
        let owner = account("etest", 1, "owner");
        let caller = net.caller(2);
        assert_eq!(code(&mut net, caller), Some(-2000));
        let announced = Grants {
            announced: true,
            ..grants(3)
        };
        net.next_shard_is(1);
        let worker = net.begin_join(0, &owner, "w", announced);
        net.run();
        net.got(worker);
        assert_eq!(code(&mut net, caller), Some(-500));
        net.listen(worker, "mul").unwrap();
        net.run();
        assert_eq!(code(&mut net, caller), WAITS);
        assert!(net.unregister(worker, &Unregistration::Listen { cmd: "mul" }));
        net.run();
        assert_eq!(code(&mut net, caller), Some(-500));
        net.leave(worker);
        net.run();
        assert_eq!(code(&mut net, caller), Some(-2000));
        // One that is connected already; twice is once.
        let worker = net.block(&owner, "w");
        let other = net.block(&owner, "other");
        for resource in ["nobody", "w", "w"] {
            net.apply(&Change::Announced {
                account: owner.as_str().into(),
                resource: Some(resource.into()),
            });
            net.run();
            let expected = if resource == "w" { -500 } else { -2000 };
            assert_eq!(code(&mut net, caller), Some(expected), "{resource}");
        }
        net.leave(worker);
        net.run();
        assert_eq!(code(&mut net, caller), Some(-2000));
        net.apply(&Change::Announced {
            account: owner.as_str().into(),
            resource: None,
        });
        net.run();
        assert_eq!(code(&mut net, caller), Some(-500));
        net.leave(other);
    });
}
