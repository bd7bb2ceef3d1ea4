//! What a shard knows of the others' subscriptions, with a million exact filters. Informs P11 (bytes of an
//! interest entry) and P13. The map is the router's own affair, so it is measured from outside: a publish that
//! nobody hears, with the map empty and full; the difference is the look-up. The filters come as parcels of
//! another shard, and the memory counted is what following them takes.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark: the entry points are the macros', a failed expectation is a failed run"
)]

use std::hint::black_box;

use alloc_tracker::{Allocator, Session};
use criterion::{Criterion, criterion_group, criterion_main};
use nexus::limits::SUBSCRIPTIONS_PER_BLOCK_MAX;
use nexus::route::{ChannelMessage, Qos, Reach, SessionKey};
use nexus_bench::PAYLOAD;
use nexus_bench::routers::{Routers, channel};
use nexus_bench::world::NOW;

#[global_allocator]
static ALLOCATOR: Allocator<std::alloc::System> = Allocator::system();

const FILTERS: usize = 1_000_000;

fn filter(n: usize) -> String {
    format!("plant/{n}/temperature")
}

/// A block on shard 0, and `filters` filters on shard 1 that shard 0 knows of.
fn known(filters: usize) -> (Routers, SessionKey) {
    let mut routers = Routers::new(2);
    let from = routers.block(0, "etest", "owner");
    let mut keys = Vec::new();
    for _ in 0..filters.div_ceil(SUBSCRIPTIONS_PER_BLOCK_MAX) {
        keys.push(routers.block(1, "etest", "user"));
    }
    let session = Session::new().no_stdout().no_file();
    let operation = session.operation("interest");
    let mut parcels = Vec::new();
    for (n, key) in (0..filters).zip(keys.iter().flat_map(|key| [key; SUBSCRIPTIONS_PER_BLOCK_MAX])) {
        let (router, port) = &mut routers.shards[1];
        let granted = router.register(NOW, port, *key, &channel(&filter(n)));
        granted.expect("granted");
        if n % SUBSCRIPTIONS_PER_BLOCK_MAX == 0 {
            parcels.extend(router.outgoing(0));
        }
    }
    parcels.extend(routers.shards[1].0.outgoing(0));
    {
        let _span = operation.measure_thread().iterations(1);
        let (router, port) = &mut routers.shards[0];
        for parcel in &mut parcels {
            router.parcel(NOW, port, 1, parcel);
        }
    }
    let report = session.to_report();
    let (_, counted) = report.operations().next().expect("it was measured");
    let bytes = counted.peak_outstanding_bytes().expect("one thread");
    if filters > 0 {
        println!(
            "interest: {filters} exact remote filters take {bytes} bytes: {:.2} bytes a filter",
            bytes / filters as f64
        );
    }
    (routers, from)
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("interest");
    for filters in [0, FILTERS] {
        let (mut routers, from) = known(filters);
        let strangers: Vec<String> = (0..FILTERS)
            .step_by(97)
            .map(|n| format!("plant/{n}/pressure"))
            .collect();
        let (router, port) = &mut routers.shards[0];
        let mut publish = |channel: &str| {
            let message = ChannelMessage {
                channel,
                payload: &PAYLOAD,
                attributes: &[],
                qos: Qos::AtMostOnce,
                retain: false,
                expires: None,
            };
            router.publish(
                NOW,
                port,
                from,
                black_box(&message),
                None,
                nexus::route::Lasting::default(),
            )
        };
        let mut next = strangers.iter().cycle();
        assert_eq!(publish(&strangers[0]), Some(Ok(Reach::Nobody)));
        group.bench_function(format!("publish_to_nobody/{filters}_filters_known"), |b| {
            b.iter(|| publish(next.next().expect("endless")));
        });
        if filters == 0 {
            continue;
        }
        assert_eq!(publish(&filter(0)), Some(Ok(Reach::Subscribers)));
        let wanted: Vec<String> = (0..FILTERS).step_by(97).map(filter).collect();
        let mut next = wanted.iter().cycle();
        group.bench_function(format!("publish_to_one_shard/{filters}_filters_known"), |b| {
            b.iter(|| {
                let message = ChannelMessage {
                    channel: next.next().expect("endless"),
                    payload: &PAYLOAD,
                    attributes: &[],
                    qos: Qos::AtMostOnce,
                    retain: false,
                    expires: None,
                };
                let (router, port) = &mut routers.shards[0];
                let reach = router.publish(
                    NOW,
                    port,
                    from,
                    black_box(&message),
                    None,
                    nexus::route::Lasting::default(),
                );
                let parcel = router.outgoing(1).expect("one copy");
                router.recycle(parcel);
                reach
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
