//! Nexus-API (PROTOCOL 2.1): every outcome, selection and entitlement.

mod bounds;

use std::time::Duration;

use crate::limits;
use crate::observe::{ApiOutcome, DropReason, Stage};
use crate::route::testing::*;
use crate::route::*;

/// The request that reached a worker.
fn asked(net: &mut Net, worker: Block) -> (Token, String) {
    match net.got_one(worker) {
        Got::Request { token, body, .. } => (token, body),
        other => panic!("{other:?}"),
    }
}

/// The outcome that reached a requester: code and body.
fn outcome(net: &mut Net, requester: Block) -> (i32, String) {
    match net.got_one(requester) {
        Got::Reply { code, body, .. } => (code, body),
        other => panic!("{other:?}"),
    }
}

fn failure(code: i32, text: &str) -> (i32, String) {
    (code, format!(r#"{{"code":{code},"error":"{text}"}}"#))
}

/// Asks and waits for what comes at once.
fn ask(net: &mut Net, from: Block, request: &ApiRequest<'_>) -> (i32, String) {
    net.request(from, request);
    net.run();
    outcome(net, from)
}

#[test]
fn p2_1_one_worker_is_asked_and_its_reply_comes_back_byte_for_byte() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "w1", "mul");
        let caller = net.caller(2);
        net.request(
            caller,
            &ApiRequest {
                body: b" {\"a\" : [1]}",
                ..call("mul", b"c1")
            },
        );
        net.run();
        let Got::Request {
            token,
            cmd,
            body,
            sender,
        } = net.got_one(worker)
        else {
            panic!()
        };
        assert_eq!((cmd.as_str(), body.as_str()), ("mul", " {\"a\" : [1]}"));
        assert_eq!(sender, format!("{}/page", account("web", 2, "user")));
        net.answer(worker, token, "{ \"code\": 5, \"result\":50 }");
        net.run();
        let expected = Got::Reply {
            label: b"c1".to_vec(),
            code: 5,
            body: "{ \"code\": 5, \"result\":50 }".into(),
            sender: Some(format!("{}/w1", account("etest", 1, "owner"))),
        };
        assert_eq!(net.got(caller), [expected]);
        assert_eq!((net.outcomes(ApiOutcome::Reply), net.timers()), (1, 0));
    });
}

#[test]
fn p2_1_the_code_is_the_integer_code_of_the_body_else_zero() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "w1", "mul");
        let caller = net.caller(2);
        for (body, code) in [("{}", 0), ("", 0), ("{\"code\":\"7\"}", 0), ("{\"code\":-7}", -7)] {
            net.request(caller, &call("mul", b""));
            net.run();
            let (token, _) = asked(&mut net, worker);
            net.answer(worker, token, body);
            net.run();
            let sent = if body.is_empty() { "{}" } else { body };
            assert_eq!(outcome(&mut net, caller), (code, sent.into()));
        }
    });
}

#[test]
fn p2_1_an_empty_body_is_an_empty_object() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "w1", "mul");
        let caller = net.caller(2);
        net.request(
            caller,
            &ApiRequest {
                body: b"",
                ..call("mul", b"")
            },
        );
        net.run();
        assert_eq!(asked(&mut net, worker).1, "{}");
    });
}

#[test]
fn p2_1_no_worker_and_not_implemented_come_at_once() {
    on_any_shards(|mut net| {
        let caller = net.caller(2);
        let no_worker = failure(-2000, "no free worker found.");
        assert_eq!(ask(&mut net, caller, &call("mul", b"")), no_worker);
        net.worker(&account("etest", 1, "owner"), "w1", "mul");
        let not_implemented = failure(-500, "not implemented.");
        assert_eq!(ask(&mut net, caller, &call("div", b"")), not_implemented);
        let elsewhere = ApiRequest {
            resource: Some("w2"),
            ..call("mul", b"")
        };
        assert_eq!(ask(&mut net, caller, &elsewhere), no_worker);
        let mine = ApiRequest {
            ownership: Ownership::Mine,
            ..call("mul", b"")
        };
        assert_eq!(ask(&mut net, caller, &mine), no_worker);
        assert_eq!(net.outcomes(ApiOutcome::NoWorker), 3);
    });
}

#[test]
fn p2_1_bad_requests_say_what_is_wrong() {
    on_any_shards(|mut net| {
        net.worker(&account("etest", 1, "owner"), "w1", "mul");
        let caller = net.caller(2);
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(64), "]".repeat(64));
        let good = call("mul", b"");
        let long = "x".repeat(129);
        let requests = [
            ApiRequest { body: b"[1]", ..good },
            ApiRequest { body: b"{", ..good },
            ApiRequest {
                ownership: Ownership::Unknown,
                ..good
            },
            ApiRequest {
                body: b"{\"a\":\"\xff\"}",
                ..good
            },
            ApiRequest {
                body: deep.as_bytes(),
                ..good
            },
            ApiRequest { app: "Etest", ..good },
            ApiRequest { cmd: "a/b", ..good },
            ApiRequest { cmd: &long, ..good },
            ApiRequest {
                resource: Some("a+"),
                ..good
            },
        ];
        for request in &requests {
            let (code, body) = ask(&mut net, caller, request);
            assert_eq!(code, -2004, "{request:?}");
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert!(body["error"].as_str().unwrap().len() > 5);
        }
        assert_eq!(net.outcomes(ApiOutcome::BadRequest), 9);
    });
}

#[test]
fn p2_1_too_large_is_said_at_once() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "w1", "mul");
        let caller = net.caller(2);
        let largest = format!("{{\"a\":\"{}\"}}", "x".repeat(limits::API_BODY_BYTES_MAX - 8));
        let larger = format!("{largest} ");
        let too_large = failure(-2003, "too large.");
        let request = ApiRequest {
            body: larger.as_bytes(),
            ..call("mul", b"")
        };
        assert_eq!(ask(&mut net, caller, &request), too_large);
        net.request(
            caller,
            &ApiRequest {
                body: largest.as_bytes(),
                ..call("mul", b"")
            },
        );
        net.run();
        let (token, _) = asked(&mut net, worker);
        net.answer(worker, token, &larger);
        net.run();
        assert_eq!(outcome(&mut net, caller), too_large);
        let label = vec![0; limits::LABEL_BYTES_MAX + 1];
        assert_eq!(ask(&mut net, caller, &call("mul", &label)), too_large);
    });
}

#[test]
fn p2_1_without_a_service_nothing_is_told_about_workers() {
    on_any_shards(|mut net| {
        let stranger = net.block(&account("web", 3, "user"), "page");
        let not_entitled = failure(-3000, "you dont have active service.");
        assert_eq!(ask(&mut net, stranger, &call("mul", b"")), not_entitled);
        net.worker(&account("etest", 1, "owner"), "w1", "mul");
        assert_eq!(ask(&mut net, stranger, &call("mul", b"")), not_entitled);
        let unknown = ApiRequest {
            app: "nowhere",
            ..call("mul", b"")
        };
        assert_eq!(ask(&mut net, stranger, &unknown), not_entitled);
    });
}

#[test]
fn p2_1_a_worker_that_leaves_ends_its_requests_at_once() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "w1", "mul");
        let caller = net.caller(2);
        for label in [b"1", b"2", b"3"] {
            net.request(caller, &call("mul", label));
        }
        net.run();
        let requests = net.got(worker);
        let Got::Request { token, .. } = requests[1] else {
            panic!()
        };
        net.answer(worker, token, "{}");
        net.run();
        assert_eq!(outcome(&mut net, caller), (0, "{}".into()));
        net.leave(worker);
        net.run();
        let replies = net.got(caller);
        assert_eq!(replies.len(), 2);
        for reply in replies {
            let Got::Reply {
                code, body, sender, ..
            } = reply
            else {
                panic!()
            };
            assert_eq!((code, body), failure(-2001, "worker disconnected."));
            assert_eq!(sender, None);
        }
        assert_eq!(net.timers(), 0);
    });
}

#[test]
fn p2_1_a_request_ends_thirty_seconds_after_it_was_taken() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "w1", "mul");
        let caller = net.caller(2);
        net.request(caller, &call("mul", b""));
        net.advance(Duration::from_millis(29_999));
        let (token, _) = asked(&mut net, worker);
        assert!(net.got(caller).is_empty());
        net.advance(Duration::from_millis(1));
        net.run();
        assert_eq!(outcome(&mut net, caller), failure(-408, "timeout"));
        net.answer(worker, token, "{}");
        net.run();
        assert!(net.got(caller).is_empty());
        assert_eq!(net.drops(Stage::Answer, DropReason::Late), 1);
    });
}

#[test]
fn p2_1_an_answer_counts_once_from_the_session_that_was_asked_by_its_token() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "w1", "mul");
        let caller = net.caller(2);
        net.request(caller, &call("mul", b""));
        net.run();
        let (token, _) = asked(&mut net, worker);
        let other = net.worker(&account("etest", 1, "owner"), "w2", "mul");
        let neighbour = net.block_on(worker.shard, &account("web", 9, "user"), "x", Vec::new());
        net.answer(neighbour, token, "{\"stolen\":1}");
        net.answer(other, token, "{\"stolen\":1}");
        net.answer(worker, Token(token.0 ^ 1), "{\"guessed\":1}");
        net.run();
        assert!(net.got(caller).is_empty());
        net.answer(worker, token, "{\"mine\":1}");
        net.answer(worker, token, "{\"twice\":1}");
        net.run();
        assert_eq!(outcome(&mut net, caller), (0, "{\"mine\":1}".into()));
        assert_eq!(net.drops(Stage::Answer, DropReason::Late), 1);
        let (wrong, unknown) = (
            net.drops(Stage::Answer, DropReason::WrongSession),
            net.drops(Stage::Answer, DropReason::UnknownToken),
        );
        assert_eq!(wrong + unknown, 3);
        assert!(wrong >= 1);
    });
}

#[test]
fn p2_1_a_reply_that_is_no_object_reaches_the_requester_as_bad_request() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "w1", "mul");
        let caller = net.caller(2);
        net.request(caller, &call("mul", b""));
        net.run();
        let (token, _) = asked(&mut net, worker);
        net.answer(worker, token, "[1]");
        net.run();
        assert_eq!(outcome(&mut net, caller).0, -2004);
    });
}

#[test]
fn p2_1_a_worker_s_protocol_error_becomes_its_own_code() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "w1", "mul");
        let caller = net.caller(2);
        net.request(caller, &call("mul", b""));
        net.run();
        let (token, _) = asked(&mut net, worker);
        net.answer_with(worker, token, "", Some(-77));
        net.run();
        assert_eq!(outcome(&mut net, caller), failure(-77, "the worker failed."));
    });
}

#[test]
fn p2_1_a_second_id_in_flight_is_dropped_and_counted() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "w1", "mul");
        let (caller, other) = (net.caller(2), net.caller(3));
        let request = ApiRequest {
            label_is_unique: true,
            ..call("mul", b"id")
        };
        net.request(caller, &request);
        net.request(caller, &request);
        net.request(other, &request);
        net.run();
        let requests = net.got(worker);
        assert_eq!(requests.len(), 2);
        assert_eq!(net.drops(Stage::Request, DropReason::DuplicateId), 1);
        for request in requests {
            let Got::Request { token, .. } = request else {
                panic!()
            };
            net.answer(worker, token, "{}");
        }
        net.run();
        assert_eq!((net.got(caller).len(), net.got(other).len()), (1, 1));
        net.request(caller, &request);
        net.run();
        assert_eq!(net.got(worker).len(), 1);
    });
}

#[test]
fn p2_1_requests_of_one_requester_and_worker_keep_their_order() {
    on_any_shards(|mut net| {
        net.delay_us = 1..10_000;
        let worker = net.worker(&account("etest", 1, "owner"), "w1", "mul");
        let caller = net.caller(2);
        for n in 0..100_u8 {
            let body = format!("{{\"n\":{n}}}");
            net.request(
                caller,
                &ApiRequest {
                    body: body.as_bytes(),
                    ..call("mul", &[n])
                },
            );
            net.step();
        }
        net.run();
        let mut bodies = Vec::new();
        for got in net.got(worker) {
            let Got::Request { token, body, .. } = got else {
                panic!()
            };
            net.answer(worker, token, &body);
            net.step();
            bodies.push(body);
        }
        let expected: Vec<_> = (0..100).map(|n| format!("{{\"n\":{n}}}")).collect();
        assert_eq!(bodies, expected);
        net.run();
        let replies: Vec<_> = net
            .got(caller)
            .into_iter()
            .map(|got| match got {
                Got::Reply { body, .. } => body,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(replies, expected);
    });
}

#[test]
fn p2_1_requests_are_balanced_over_the_workers_of_all_shards() {
    on_any_shards(|mut net| {
        let workers: Vec<_> = (0..8)
            .map(|n| net.worker(&account("etest", 1, "owner"), &format!("w{n}"), "mul"))
            .collect();
        let callers: Vec<_> = (0..8).map(|n| net.caller(n)).collect();
        for round in 0..100 {
            for &caller in &callers {
                net.request(caller, &call("mul", &[round]));
            }
            net.run();
            net.tick();
            net.run();
        }
        let loads: Vec<_> = workers.iter().map(|&worker| net.got(worker).len()).collect();
        assert_eq!(loads.iter().sum::<usize>(), 800);
        assert!(loads.iter().all(|load| (85..=115).contains(load)), "{loads:?}");
    });
}

#[test]
fn p2_1_a_user_role_worker_is_seen_by_its_own_uid_alone() {
    on_any_shards(|mut net| {
        let own = net.worker(&account("etest", 2, "user"), "home", "mul");
        let (owner, stranger) = (net.caller(2), net.caller(3));
        let no_worker = failure(-2000, "no free worker found.");
        assert_eq!(ask(&mut net, stranger, &call("mul", b"")), no_worker);
        let named = ApiRequest {
            resource: Some("home"),
            ..call("mul", b"")
        };
        assert_eq!(ask(&mut net, stranger, &named), no_worker);
        net.request(owner, &call("mul", b""));
        net.request(owner, &named);
        net.run();
        assert_eq!(net.got(own).len(), 2);
    });
}

#[test]
fn p2_1_prioritize_mine_prefers_own_workers_over_all_shards() {
    on_any_shards(|mut net| {
        let theirs = net.worker(&account("etest", 1, "owner"), "a", "mul");
        let caller = net.caller(2);
        let preferring = ApiRequest {
            prioritize_mine: true,
            ..call("mul", b"")
        };
        net.request(caller, &preferring);
        net.run();
        assert_eq!(net.got(theirs).len(), 1);
        let mine = net.worker(&account("etest", 2, "user"), "b", "mul");
        for _ in 0..10 {
            net.request(caller, &preferring);
        }
        net.run();
        assert_eq!((net.got(theirs).len(), net.got(mine).len()), (0, 10));
    });
}

#[test]
fn p2_1_a_worker_may_call_its_own_listener() {
    on_any_shards(|mut net| {
        let worker = net.worker(&account("etest", 1, "owner"), "a", "mul");
        net.request(worker, &call("mul", b"x"));
        net.run();
        let (token, _) = asked(&mut net, worker);
        net.answer(worker, token, "{}");
        net.run();
        assert_eq!(outcome(&mut net, worker), (0, "{}".into()));
    });
}
