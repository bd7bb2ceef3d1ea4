//! The second half of QoS 2 exchanges in sessions that are kept, several at a time and over restarts.

use super::deliver::{channel, on, options};
use super::model::{Disk, NUMBER};
use super::*;
use crate::codec::mqtt::packet::Ack;
use crate::route::{Completion, Qos, Reach, Ticket};
use crate::session::mqtt::MessageState;
use crate::session::mqtt::control::FORM_PLAIN;

const EXACTLY_ONCE: u32 = 1 << 16;

fn ack(number: u16) -> Ack<'static> {
    Ack {
        packet_id: id(number),
        code: 0,
        properties: Properties::EMPTY,
    }
}

fn kept() -> Client {
    let mut client = Client::attached(V5);
    client.peer.session.keep(NUMBER);
    client
}

/// The client is back after the restart that followed from a crash.
fn back(disk: &mut Disk, now: Now) -> Client {
    let (state, damaged) = disk.crash(now);
    assert_eq!(damaged, 0);
    let mut client = Client::attached(V5);
    client.peer.session.give_exchange(Box::<MessageState>::new(state));
    client.peer.session.resume(now, &mut client.peer.out);
    client
}

fn commit(client: &mut Client, disk: &mut Disk) {
    let peer = &mut client.peer;
    disk.drain(&mut peer.session);
    while let Some(batch) = disk.commit() {
        peer.session.committed(peer.now, batch, &mut peer.out);
    }
}

/// What was sent: the kind of each packet and its identifier.
fn seen(client: &mut Client) -> Vec<(&'static str, u16)> {
    let name = |packet: &Packet<'_>| match packet {
        Packet::Publish(publish) => ("publish", publish.packet_id.map_or(0, PacketId::get)),
        Packet::PubRel(ack) => ("rel", ack.packet_id.get()),
        Packet::PubComp(ack) => ("comp", ack.packet_id.get()),
        other => panic!("{other:?}"),
    };
    client.packets().iter().map(name).collect()
}

/// Three messages of QoS 2 that the client has been sent.
fn sent(client: &mut Client, disk: &mut Disk) {
    for name in ["a", "b", "c"] {
        channel(
            client,
            on(name, Qos::ExactlyOnce),
            options(Qos::ExactlyOnce, FORM_PLAIN),
            &[],
        )
        .unwrap();
    }
    commit(client, disk);
    assert_eq!(seen(client), [("publish", 1), ("publish", 2), ("publish", 3)]);
}

#[test]
fn mqtt5_4_6_pubrel_is_sent_in_the_order_of_pubrec() {
    for order in [[1, 2, 3], [2, 3, 1], [3, 2, 1], [3, 1, 2]] {
        let (mut client, mut disk) = (kept(), Disk::default());
        sent(&mut client, &mut disk);
        for number in order {
            client.send(&Packet::PubRec(ack(number))).unwrap();
        }
        commit(&mut client, &mut disk);
        assert_eq!(seen(&mut client), order.map(|number| ("rel", number)));
    }
}

#[test]
fn mqtt5_4_6_pubrel_keeps_its_order_over_a_restart() {
    for lasting in 0..=3_u16 {
        let (mut client, mut disk) = (kept(), Disk::default());
        sent(&mut client, &mut disk);
        for number in 1..=lasting {
            client.send(&Packet::PubRec(ack(number))).unwrap();
        }
        // Durable, but nobody was told yet.
        disk.drain(&mut client.peer.session);
        let _ = disk.commit();
        for number in lasting + 1..=3 {
            client.send(&Packet::PubRec(ack(number))).unwrap();
        }
        disk.drain(&mut client.peer.session);
        let mut client = back(&mut disk, client.peer.now);
        let releases = (1..=lasting).map(|number| ("rel", number));
        let again = (lasting + 1..=3).map(|number| ("publish", number));
        assert_eq!(seen(&mut client), releases.chain(again).collect::<Vec<_>>());
    }
}

#[test]
fn mqtt5_4_3_3_pubrels_that_come_together_are_answered_in_their_order_over_a_restart() {
    for lasting in 0..=3_u16 {
        let (mut client, mut disk) = (kept(), Disk::default());
        for number in 1..=3 {
            let publish = Packet::Publish(Publish {
                packet_id: Some(id(number)),
                ..message("a", QoS::ExactlyOnce, &[])
            });
            client.ask(&publish);
            let done = Completion::Published(Ok(Reach::Subscribers));
            client
                .peer
                .completed(Ticket(u32::from(number) | EXACTLY_ONCE), &done);
        }
        commit(&mut client, &mut disk);
        client.packets();
        for number in 1..=3 {
            client.send(&Packet::PubRel(ack(number))).unwrap();
            disk.drain(&mut client.peer.session);
        }
        for _ in 0..lasting {
            let _ = disk.commit();
        }
        let mut client = back(&mut disk, client.peer.now);
        // Those whose end lasted are unknown and answered at once, unless another answer is to come before.
        for number in [3, 1, 2] {
            client.send(&Packet::PubRel(ack(number))).unwrap();
        }
        commit(&mut client, &mut disk);
        assert_eq!(seen(&mut client), [("comp", 3), ("comp", 1), ("comp", 2)]);
        assert!(disk.rows.is_empty(), "{lasting}");
    }
}
