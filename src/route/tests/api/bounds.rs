//! Workers that end, drain or are full.

use super::*;

#[test]
fn p2_1_a_listener_that_was_ended_is_asked_no_more_but_may_still_answer() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "a", "mul");
        net.listen(worker, "div").unwrap();
        let caller = net.caller(2);
        net.request(caller, &call("mul", b""));
        net.run();
        let (token, _) = asked(&mut net, worker);
        assert!(net.unregister(worker, &Unregistration::Listen { cmd: "mul" }));
        assert!(!net.unregister(worker, &Unregistration::Listen { cmd: "mul" }));
        net.run();
        assert_eq!(ask(&mut net, caller, &call("mul", b"")).0, -500);
        net.answer(worker, token, "{}");
        net.run();
        assert_eq!(outcome(&mut net, caller).0, 0);
        assert!(net.unregister(worker, &Unregistration::Listen { cmd: "div" }));
        net.run();
        assert_eq!(ask(&mut net, caller, &call("mul", b"")).0, -2000);
        net.listen(worker, "mul").unwrap();
        net.run();
        net.request(caller, &call("mul", b""));
        net.run();
        assert_eq!(net.got(worker).len(), 1);
    });
}

#[test]
fn p2_1_a_draining_worker_is_passed_over_and_may_finish() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "a", "mul");
        let caller = net.caller(2);
        net.request(caller, &call("mul", b""));
        net.run();
        let (token, _) = asked(&mut net, worker);
        net.on(worker.shard, |router, now, port| {
            router.drain(now, port);
            router.drain(now, port);
        });
        net.run();
        assert_eq!(ask(&mut net, caller, &call("mul", b"")).0, -2000);
        net.answer(worker, token, "{}");
        net.run();
        assert_eq!(outcome(&mut net, caller).0, 0);
        net.leave(worker);
        net.run();
    });
}

#[test]
fn p2_1_bounds_on_requests_in_flight_are_told_at_once() {
    for shards in [1, 2, 8] {
        let overloaded = failure(-2002, "too many requests in flight.");
        let mut net = Net::configured(shards, 1, |config| config.limits.requests_per_block_max = 3);
        net.worker(&account("etest", 1, "owner"), "a", "mul");
        let (caller, other) = (net.caller(2), net.caller(3));
        for _ in 0..3 {
            net.request(caller, &call("mul", b""));
        }
        net.run();
        assert_eq!(ask(&mut net, caller, &call("mul", b"")), overloaded);
        net.request(other, &call("mul", b""));
        net.run();
        assert!(net.got(other).is_empty());

        let mut net = Net::configured(shards, 1, |config| config.limits.requests_per_shard_max = 3);
        net.worker(&account("etest", 1, "owner"), "a", "mul");
        let caller = net.caller(2);
        let other = net.block_on(
            caller.shard,
            &account("web", 4, "user"),
            "b",
            vec![service("etest")],
        );
        for _ in 0..3 {
            net.request(caller, &call("mul", b""));
        }
        assert_eq!(ask(&mut net, other, &call("mul", b"")), overloaded);
    }
}

#[test]
fn p2_1_full_workers_are_passed_over_and_all_full_is_overloaded() {
    for shards in [1, 2, 8] {
        let mut net = Net::configured(shards, 1, |config| config.limits.requests_per_worker_max = 2);
        let workers: Vec<_> = (0..3)
            .map(|n| net.worker(&account("etest", 1, "owner"), &format!("w{n}"), "mul"))
            .collect();
        let callers: Vec<_> = (0..6).map(|n| net.caller(n)).collect();
        for &caller in &callers {
            net.request(caller, &call("mul", b""));
            net.run();
            net.tick();
            net.run();
        }
        let requests: Vec<_> = workers.iter().map(|&worker| net.got(worker)).collect();
        assert!(
            requests.iter().all(|requests| requests.len() == 2),
            "{requests:?}"
        );
        let extra = net.caller(9);
        assert_eq!(ask(&mut net, extra, &call("mul", b"")).0, -2002);
        let Got::Request { token, .. } = requests[1][0] else {
            panic!()
        };
        net.answer(workers[1], token, "{}");
        net.tick();
        net.run();
        net.request(extra, &call("mul", b""));
        net.run();
        assert_eq!(net.got(workers[1]).len(), 1);
    }
}
