//! Messages that have to last on several shards: what their sender is told.

use crate::route::testing::*;
use crate::route::*;

const TICKET: Ticket = Ticket(5);

/// A session that keeps what it is sent, and subscribes to `a`.
fn keeper(net: &mut Net, shard: u16, n: u32) -> Block {
    let block = net.block_on(shard, &account("etest", n, "user"), "r", Vec::new());
    net.on(shard, |router, _, _| router.tell_keeping());
    net.ports[usize::from(shard)].keeping.insert(block.key);
    let options = SubscriptionOptions {
        qos: Qos::ExactlyOnce,
        ..SubscriptionOptions::default()
    };
    net.subscribe_with(block, "a", SenderPattern::default(), options)
        .unwrap();
    block
}

/// What a publisher is told in the end, once all that was written lasts.
fn outcome(net: &mut Net, publisher: Block, message: &ChannelMessage<'_>) -> Completion {
    let at_once = net.on(publisher.shard, |router, now, port| {
        let lasting = Lasting::default();
        router.publish(now, port, publisher.key, message, Some(TICKET), lasting)
    });
    net.run();
    for shard in 0..net.shards() {
        for (origin, publish) in std::mem::take(&mut net.ports[usize::from(shard)].held) {
            net.on(shard, |router, _, port| {
                router.publish_lasts(port, origin, publish);
            });
        }
        net.run();
    }
    let told = net.got(publisher).into_iter().filter_map(|got| match got {
        Got::Notice(Notice::Completed(TICKET, completion)) => Some(completion),
        _ => None,
    });
    let told: Vec<_> = at_once
        .map(Completion::Published)
        .into_iter()
        .chain(told)
        .collect();
    let [one] = &told[..] else {
        panic!("told once: {told:?}")
    };
    one.clone()
}

#[test]
fn mqtt5_3_4_2_1_what_one_of_several_shards_cannot_store_is_refused() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        for retain in [false, true] {
            // Who refuses and who publishes, on which of three shards.
            for (refusing, of) in [(0, 0), (1, 0), (2, 1), (1, 1)] {
                let mut net = Net::new(3);
                let keepers = [0, 1, 2].map(|shard| keeper(&mut net, shard, u32::from(shard)));
                let publisher = net.block_on(of, &account("etest", 9, "user"), "p", Vec::new());
                let message = ChannelMessage {
                    retain,
                    ..message("a", "x", qos)
                };
                let done = Completion::Published(Ok(Reach::Subscribers));
                assert_eq!(outcome(&mut net, publisher, &message), done);
                let failing = keepers[refusing];
                let port = &mut net.ports[usize::from(failing.shard)];
                port.failing.insert(failing.key, Undelivered::NotStored);
                let refused = Completion::Published(Err(Refusal::QuotaExceeded));
                assert_eq!(
                    outcome(&mut net, publisher, &message),
                    refused,
                    "{qos:?} {retain} {refusing} {of}"
                );
            }
        }
    }
}
