//! The router alone: sessions are keys, a delivery costs a counter. Informs P1 to P4 (channels), P6 and P7
//! (requests), P13 (what crossing to other shards adds).
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark: the entry points are the macros', a failed expectation is a failed run"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nexus::route::{
    Answer, ApiRequest, ChannelMessage, Direct, DirectOutcome, Ownership, Qos, Registration, SessionKey,
    SubscriptionOptions,
};
use nexus_bench::PAYLOAD;
use nexus_bench::routers::Routers;
use nexus_bench::world::NOW;

fn message(channel: &str) -> ChannelMessage<'_> {
    ChannelMessage {
        channel,
        payload: &PAYLOAD,
        attributes: &[],
        qos: Qos::AtMostOnce,
        retain: false,
        expires: None,
    }
}

fn publish(routers: &mut Routers, from: SessionKey, channel: &str) {
    let (router, port) = &mut routers.shards[0];
    let reach = router.publish(
        NOW,
        port,
        from,
        black_box(&message(channel)),
        None,
        nexus::route::Lasting::default(),
    );
    black_box(reach).expect("known at once").expect("published");
}

/// `publish` of one message to N subscribers of exactly its channel.
fn local(c: &mut Criterion) {
    let mut group = c.benchmark_group("router/publish_exact");
    for receivers in [1, 100, 1_000] {
        let mut routers = Routers::new(1);
        let from = routers.block(0, "etest", "owner");
        for _ in 0..receivers {
            let key = routers.block(0, "etest", "user");
            routers.subscribe(0, key, "plant/7/temperature");
        }
        publish(&mut routers, from, "plant/7/temperature");
        assert_eq!(routers.shards[0].1.delivered, receivers);
        group.throughput(Throughput::Elements(receivers));
        group.bench_function(format!("{receivers}_receivers"), |b| {
            b.iter(|| publish(&mut routers, from, "plant/7/temperature"));
        });
    }
    group.finish();
}

/// One of 10,000 filters with a wildcard matches, then none does.
fn wildcard(c: &mut Criterion) {
    let mut routers = Routers::new(1);
    let from = routers.block(0, "etest", "owner");
    for block in 0..10 {
        let key = routers.block(0, "etest", "user");
        for n in 0..1_000 {
            routers.subscribe(0, key, &format!("plant/{}/+/state/#", block * 1_000 + n));
        }
    }
    publish(&mut routers, from, "plant/4711/pump/state/flow");
    assert_eq!(routers.shards[0].1.delivered, 1);
    let mut group = c.benchmark_group("router/publish_among_10000_wildcards");
    group.bench_function("one_matches", |b| {
        b.iter(|| publish(&mut routers, from, "plant/4711/pump/state/flow"));
    });
    group.bench_function("none_matches", |b| {
        b.iter(|| publish(&mut routers, from, "plant/4711/pump/alarm"));
    });
    group.finish();
}

/// One copy per interested shard: written into its parcel, which is taken and emptied after each message.
fn remote(c: &mut Criterion) {
    let mut group = c.benchmark_group("router/publish_remote");
    for others in [1_u16, 7] {
        let mut routers = Routers::new(usize::from(others) + 1);
        let from = routers.block(0, "etest", "owner");
        for shard in 1..=usize::from(others) {
            let key = routers.block(shard, "etest", "user");
            routers.subscribe(shard, key, "plant/7/temperature");
        }
        let mut copies = || {
            publish(&mut routers, from, "plant/7/temperature");
            let router = &mut routers.shards[0].0;
            let mut copies = 0;
            for to in 1..=others {
                if let Some(parcel) = router.outgoing(to) {
                    copies += parcel.len();
                    router.recycle(parcel);
                }
            }
            copies
        };
        assert_eq!(copies(), usize::from(others), "one copy each");
        group.bench_function(format!("{others}_shards"), |b| b.iter(&mut copies));
    }
    let mut routers = Routers::new(2);
    let from = routers.block(0, "etest", "owner");
    let key = routers.block(1, "etest", "user");
    routers.subscribe(1, key, "plant/7/temperature");
    group.throughput(Throughput::Elements(64));
    group.bench_function("64_in_one_parcel_and_delivered_there", |b| {
        b.iter(|| {
            for _ in 0..64 {
                publish(&mut routers, from, "plant/7/temperature");
            }
            assert!(routers.pass(0, 1), "there is a parcel");
        });
    });
    group.finish();
}

fn call<'a>(resource: Option<&'a str>) -> ApiRequest<'a> {
    ApiRequest {
        app: "etest",
        cmd: "multiply",
        resource,
        ownership: Ownership::Any,
        prioritize_mine: false,
        body: br#"{"num1":10,"num2":5}"#,
        label: b"\0call-1",
        label_is_unique: true,
        qos: Qos::AtMostOnce,
    }
}

/// A request, its 30 s timer armed; the answer, its timer disarmed.
fn round_trip(routers: &mut Routers, from: SessionKey, request: &ApiRequest<'_>) {
    let (router, port) = &mut routers.shards[0];
    router.request(NOW, port, from, black_box(request));
    let (worker, token) = port.asked.take().expect("a worker was asked");
    let answer = Answer {
        token,
        body: br#"{"code":0,"result":50}"#,
        failure: None,
        qos: Qos::AtMostOnce,
    };
    router.answer(NOW, port, worker, black_box(&answer));
}

/// Requests to one worker, to one chosen among 100, to one named among 100.
fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("router/api_round_trip");
    for workers in [1, 100] {
        let mut routers = Routers::new(1);
        let from = routers.block(0, "web", "user");
        for _ in 0..workers {
            let key = routers.block(0, "etest", "owner");
            let wanted = Registration::Listen {
                cmd: "multiply",
                options: SubscriptionOptions::default(),
            };
            routers.register(0, key, &wanted);
        }
        round_trip(&mut routers, from, &call(None));
        assert_eq!(routers.shards[0].1.replies, 1, "one outcome");
        group.bench_function(format!("any_of_{workers}_workers"), |b| {
            b.iter(|| round_trip(&mut routers, from, &call(None)));
        });
        group.bench_function(format!("named_of_{workers}_workers"), |b| {
            b.iter(|| round_trip(&mut routers, from, &call(Some("r1"))));
        });
    }
    group.finish();
}

/// A Direct message to one of 100 blocks.
fn direct(c: &mut Criterion) {
    let mut routers = Routers::new(1);
    let from = routers.block(0, "web", "user");
    for _ in 0..100 {
        let key = routers.block(0, "etest", "owner");
        let options = SubscriptionOptions::default();
        routers.register(0, key, &Registration::Direct { options });
    }
    let message = Direct {
        app: "etest",
        resource: "r50",
        account: None,
        text: std::str::from_utf8(&PAYLOAD).unwrap(),
        attributes: &[],
        qos: Qos::AtMostOnce,
    };
    let (router, port) = &mut routers.shards[0];
    let mut send = || router.direct(NOW, port, from, black_box(&message), None);
    assert_eq!(send(), Some(DirectOutcome::Delivered));
    c.bench_function("router/direct", |b| b.iter(&mut send));
}

criterion_group!(benches, local, wildcard, remote, requests, direct);
criterion_main!(benches);
