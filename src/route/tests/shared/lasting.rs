//! When a message of a group, and a member, are acknowledged.

use super::*;

/// What a publisher has been told under a ticket.
fn told(net: &mut Net, publisher: Block, ticket: Ticket) -> Vec<Completion> {
    let got = net.got(publisher).into_iter().filter_map(|got| match got {
        Got::Notice(Notice::Completed(of, completion)) if of == ticket => Some(completion),
        _ => None,
    });
    got.collect()
}

#[test]
fn nexus_2_4_a_message_is_acknowledged_when_it_lasts_with_the_member_that_has_it() {
    for shards in [1, 2, 8] {
        for (members_of, publisher_of) in [(0, 0), (0, 1), (1, 0), (1, 1), (5, 3)] {
            let mut net = Net::new(shards);
            let (at, of) = (members_of % shards, publisher_of % shards);
            let member = net.block_on(at, &account("etest", 1, "user"), "r", Vec::new());
            let stalled = net.block_on(of, &account("etest", 2, "user"), "r", Vec::new());
            let publisher = net.block_on(of, &account("etest", 3, "user"), "r", Vec::new());
            net.on(at, |router, _, _| router.tell_keeping());
            net.ports[usize::from(at)].keeping.insert(member.key);
            join(&mut net, stalled, "g", "a");
            join(&mut net, member, "g", "a");
            refuse(&mut net, stalled, Some(Undelivered::TooLarge));
            for n in 0..4 {
                let (ticket, text) = (Ticket(n), n.to_string());
                let message = message("a", &text, QOS1);
                let ended = net.on(of, |router, now, port| {
                    router.publish(
                        now,
                        port,
                        publisher.key,
                        &message,
                        Some(ticket),
                        Lasting::default(),
                    )
                });
                net.run();
                assert_eq!(ended, None, "it waits");
                assert_eq!(told(&mut net, publisher, ticket), []);
                let held = std::mem::take(&mut net.ports[usize::from(at)].held);
                assert_eq!(held.len(), 1);
                for (origin, publish) in held {
                    net.on(at, |router, _, port| router.publish_lasts(port, origin, publish));
                }
                net.run();
                let done = Completion::Published(Ok(Reach::Subscribers));
                assert_eq!(told(&mut net, publisher, ticket), [done]);
            }
            assert_eq!(count(&mut net, &[member]), [4]);
            refuse(&mut net, member, Some(Undelivered::NotStored));
            let (ticket, message) = (Ticket(9), message("a", "refused", QOS1));
            let ended = net.on(of, |router, now, port| {
                router.publish(
                    now,
                    port,
                    publisher.key,
                    &message,
                    Some(ticket),
                    Lasting::default(),
                )
            });
            net.run();
            let refused = Err(Refusal::QuotaExceeded);
            match ended {
                Some(outcome) => assert_eq!(outcome, refused),
                None => {
                    let done = Completion::Published(refused);
                    assert_eq!(told(&mut net, publisher, ticket), [done]);
                }
            }
        }
    }
}

#[test]
fn a_subscription_is_told_when_all_shards_know_what_the_group_hears() {
    let mut net = Net::new(8);
    let members = users(&mut net, 8);
    let mut waited = 0;
    for &member in &members {
        join_as(&mut net, member, share("g", "a"), QOS1).unwrap();
        let (ticket, completion) = (
            Ticket(4),
            Completion::Registered([Ok(QOS1)].into_iter().collect()),
        );
        let at_once = net.on(member.shard, |router, _, _| {
            router.hold_registered(member.key, ticket, completion.clone())
        });
        net.run();
        if at_once.is_none() {
            waited += 1;
            assert_eq!(net.got(member), []);
            net.tick();
            net.run();
            assert_eq!(
                net.got(member),
                [Got::Notice(Notice::Completed(ticket, completion))]
            );
        }
    }
    assert_eq!(waited, 7, "all but the member on the home");
}
