//! What happens when another shard does not keep up.

use crate::limits;
use crate::observe::{DropReason, Stage};
use crate::route::testing::*;
use crate::route::*;

/// Two shards whose rings take nothing, with a block on each.
fn stuck() -> (Net, Block, Block) {
    let mut net = Net::new(2);
    net.next_shard_is(0);
    let here = net.block_with(&account("etest", 1, "user"), "here", vec![service("etest")]);
    let there = net.worker(&account("etest", 2, "owner"), "there", "mul");
    net.subscribe(there, "a").unwrap();
    net.listen_direct(there);
    (net, here, there)
}

/// Fills the parcel for the other shard.
fn fill(net: &mut Net, from: Block) {
    net.ring_parcels = 0;
    let payload = "x".repeat(limits::MESH_BACKLOG_BYTES_MAX / 2 - 1_000);
    for _ in 0..2 {
        net.publish(from, "a", &payload).unwrap();
        net.step();
    }
}

#[test]
fn p2_4_what_may_be_dropped_is_dropped_at_the_bound_and_counted() {
    let (mut net, here, there) = stuck();
    fill(&mut net, here);
    let payload = "y".repeat(4_000);
    assert_eq!(net.publish(here, "a", &payload), Ok(Reach::Subscribers));
    assert_eq!(net.drops(Stage::Mesh, DropReason::MeshFull), 1);
    let refused = net.publish_at(here, "a", &payload, Qos::AtLeastOnce);
    assert_eq!(refused, Err(Refusal::Busy));
    net.request(
        here,
        &ApiRequest {
            body: format!("{{\"a\":\"{payload}\"}}").as_bytes(),
            ..call("mul", b"")
        },
    );
    let Got::Reply { code, .. } = net.got_one(here) else {
        panic!()
    };
    assert_eq!(code, -2002);
    assert_eq!(net.drops(Stage::Mesh, DropReason::MeshFull), 3);
    assert_eq!(net.timers(), 0);

    net.ring_parcels = 1;
    net.run();
    assert_eq!(net.got(there).len(), 2);
    assert_eq!(
        net.publish_at(here, "a", &payload, Qos::AtLeastOnce),
        Ok(Reach::Subscribers)
    );
    net.run();
    assert_eq!(net.got(there).len(), 1);
}

#[test]
fn p2_4_a_refused_publish_was_delivered_to_nobody() {
    let (mut net, here, _) = stuck();
    let near = net.block_on(0, &account("etest", 3, "user"), "near", Vec::new());
    fill(&mut net, here);
    net.subscribe_without_waiting(near, "a");
    let refused = net.publish_at(here, "a", &"y".repeat(4_000), Qos::AtLeastOnce);
    assert_eq!(refused, Err(Refusal::Busy));
    assert!(net.got(near).is_empty());
}

#[test]
fn direct_messages_are_dropped_at_the_bound_and_the_sender_is_told() {
    let (mut net, here, _) = stuck();
    fill(&mut net, here);
    let text = "y".repeat(4_000);
    let sent = net.on(0, |router, now, port| {
        router.direct(now, port, here.key, &to("there", &text), Some(Ticket(1)))
    });
    assert_eq!(sent, Some(DirectOutcome::Dropped));
    assert_eq!(net.drops(Stage::Mesh, DropReason::MeshFull), 1);
}

#[test]
fn replies_registrations_and_claims_always_find_room() {
    let (mut net, here, there) = stuck();
    net.request(here, &call("mul", b""));
    net.run();
    let Got::Request { token, .. } = net.got_one(there) else {
        panic!()
    };
    net.subscribe(here, "b").unwrap();
    net.ring_parcels = 0;
    let payload = "x".repeat(limits::MESH_BACKLOG_BYTES_MAX - 1_000);
    net.publish(there, "b", &payload).unwrap();
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(10_000));
    net.answer(there, token, &body);
    net.subscribe_without_waiting(there, "c");
    let name = account("etest", 77, "user");
    let grants = Grants {
        credential: CredentialId(1),
        services: Vec::new(),
        expires_unix_ms: None,
        announced: false,
    };
    let joining: Vec<_> = (0..20)
        .map(|n| net.begin_join(1, &name, &format!("r{n}"), grants.clone()))
        .collect();
    net.step();
    net.ring_parcels = 1;
    net.run();
    let Got::Reply { code, .. } = net.got(here).remove(1) else {
        panic!()
    };
    assert_eq!(code, 0);
    for block in joining {
        assert_eq!(net.got(block), [Got::Notice(Notice::Attached)]);
    }
    assert_eq!(net.publish(here, "c", "x"), Ok(Reach::Subscribers));
}

#[test]
fn a_reply_beyond_the_reserved_room_becomes_overloaded() {
    let (mut net, here, there) = stuck();
    let count = limits::MESH_RESERVED_BYTES_MAX / 200_000 + 20;
    let mut tokens = Vec::new();
    for _ in 0..count {
        net.request(here, &call("mul", b""));
        net.run();
        let Got::Request { token, .. } = net.got_one(there) else {
            panic!()
        };
        tokens.push(token);
    }
    net.ring_parcels = 0;
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(200_000));
    for token in tokens {
        net.answer(there, token, &body);
    }
    net.step();
    net.ring_parcels = 1;
    net.run();
    let codes: Vec<_> = net
        .got(here)
        .into_iter()
        .map(|got| match got {
            Got::Reply { code, .. } => code,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(codes.len(), count);
    let overloaded = codes.iter().filter(|code| **code == -2002).count();
    assert!((15..40).contains(&overloaded), "{overloaded}");
    assert_eq!(net.drops(Stage::Mesh, DropReason::MeshFull), overloaded as u64);
}
