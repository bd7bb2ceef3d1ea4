//! Messages that the client has as a member of a group (5.0, 4.8.2): what is given back when its session ends.

use super::deliver::{on, options, sender};
use super::model::{Disk, NUMBER, offline};
use super::*;
use crate::codec::mqtt::packet::Ack;
use crate::route::{ChannelMessage, Delivery, Qos, Returned, Share};
use crate::session::mqtt::control::{FORM_PLAIN, FORM_SENDER};

const SHARE: Share<'static> = Share {
    name: "g",
    filter: "plant/+",
    from: crate::route::SenderPattern {
        app: None,
        uid: None,
        role: None,
        resource: None,
    },
    form: FORM_PLAIN,
};

fn deliver(client: &mut Client, channel: &str, qos: Qos) {
    let from = sender();
    let delivery = Delivery::Channel {
        message: on(channel, qos),
        sender: from.sender(),
        options: options(Qos::ExactlyOnce, FORM_PLAIN),
        identifiers: &[],
        share: Some(SHARE),
        is_shown: false,
    };
    client.peer.deliver(&delivery).unwrap();
}

fn ack(number: u16, code: u8) -> Ack<'static> {
    Ack {
        packet_id: id(number),
        code,
        properties: Properties::EMPTY,
    }
}

fn returned(session: &mut Session) -> Vec<Returned> {
    crate::session::Session::give_back(session, Now::default())
}

fn channels(session: &mut Session) -> Vec<String> {
    let channel = |message: &Returned| message.channel.to_string();
    returned(session).iter().map(channel).collect()
}

fn kept() -> Client {
    let mut client = Client::attached(V5);
    client.peer.session.keep(NUMBER);
    client
}

fn flush(client: &mut Client, disk: &mut Disk) {
    let peer = &mut client.peer;
    disk.drain(&mut peer.session);
    while let Some(batch) = disk.commit() {
        peer.session.committed(peer.now, batch, &mut peer.out);
    }
}

#[test]
fn mqtt5_4_8_2_what_was_not_acknowledged_is_given_back_in_order() {
    for (kept, version) in [(false, V5), (true, V5), (false, V311), (true, V311)] {
        let mut client = Client::attached(version);
        if kept {
            client.peer.session.keep(NUMBER);
        }
        for channel in ["plant/1", "plant/2", "plant/3"] {
            deliver(&mut client, channel, Qos::AtLeastOnce);
        }
        // One that is the client's own, and one that nobody would miss.
        let plain = options(Qos::AtLeastOnce, FORM_PLAIN);
        super::deliver::channel(&mut client, on("own", Qos::AtLeastOnce), plain, &[]).unwrap();
        deliver(&mut client, "plant/4", Qos::AtMostOnce);
        assert_eq!(client.packets().len(), 5);
        client.send(&Packet::PubAck(ack(2, 0))).unwrap();
        assert_eq!(channels(&mut client.peer.session), ["plant/1", "plant/3"]);
        assert!(returned(&mut client.peer.session).is_empty(), "once");
    }
}

#[test]
fn mqtt5_4_8_2_6_what_the_client_refuses_is_discarded() {
    for mut client in [Client::attached(V5), kept()] {
        deliver(&mut client, "plant/1", Qos::AtLeastOnce);
        client.send(&Packet::PubAck(ack(1, 0x97))).unwrap();
        deliver(&mut client, "plant/2", Qos::ExactlyOnce);
        flush(&mut client, &mut Disk::default());
        client.send(&Packet::PubRec(ack(2, 0x80))).unwrap();
        assert!(returned(&mut client.peer.session).is_empty());
    }
}

#[test]
fn mqtt5_4_8_2_5_what_was_sent_at_qos_2_goes_to_nobody_else() {
    for keeps in [false, true] {
        let narrow = [Property::ReceiveMaximum(2)];
        let mut client = Client::attached_with(V5, settings(), &narrow);
        let mut disk = Disk::default();
        if keeps {
            client.peer.session.keep(NUMBER);
        }
        for channel in ["plant/1", "plant/2", "plant/3", "plant/4"] {
            deliver(&mut client, channel, Qos::ExactlyOnce);
        }
        flush(&mut client, &mut disk);
        assert_eq!(client.packets().len(), 2);
        client.send(&Packet::PubRec(ack(1, 0))).unwrap();
        // The last two have never been sent.
        assert_eq!(channels(&mut client.peer.session), ["plant/3", "plant/4"]);
    }
    let mut client = kept();
    deliver(&mut client, "plant/1", Qos::ExactlyOnce);
    assert!(client.packets().is_empty(), "it waits for the disk");
    assert_eq!(channels(&mut client.peer.session), ["plant/1"]);
}

#[test]
fn nexus_3_another_member_gets_it_as_the_sender_sent_it() {
    let attributes = {
        let properties = [Property::ContentType("text"), Property::UserProperty("k", "v")];
        let mut encoded = Vec::new();
        for property in properties {
            property.encode_into(&mut encoded);
        }
        encoded
    };
    for version in BOTH {
        for form in [FORM_PLAIN, FORM_SENDER] {
            let mut client = Client::attached(version);
            let (from, share) = (sender(), Share { form, ..SHARE });
            let delivery = Delivery::Channel {
                message: ChannelMessage {
                    attributes: &attributes,
                    retain: true,
                    ..on("plant/7", Qos::ExactlyOnce)
                },
                sender: from.sender(),
                options: options(Qos::AtLeastOnce, form),
                identifiers: &[3],
                share: Some(share),
                is_shown: false,
            };
            client.peer.deliver(&delivery).unwrap();
            let all = returned(&mut client.peer.session);
            let [message] = all.as_slice() else {
                panic!("{all:?}");
            };
            assert_eq!(message.share.borrowed(), share);
            assert_eq!(&*message.sender, from.sender().address());
            assert_eq!((&*message.channel, &*message.payload), ("plant/7", &b"text"[..]));
            assert_eq!(*message.attributes, *attributes);
            assert_eq!((message.qos, message.retain), (Qos::ExactlyOnce, true));
        }
    }
}

#[test]
fn what_is_given_back_is_so_after_a_restart_too() {
    let (mut client, mut disk) = (kept(), Disk::default());
    deliver(&mut client, "plant/1", Qos::ExactlyOnce);
    flush(&mut client, &mut disk);
    for (channel, qos) in [("plant/2", Qos::AtLeastOnce), ("plant/3", Qos::ExactlyOnce)] {
        deliver(&mut client, channel, qos);
    }
    assert_eq!(client.packets().len(), 2, "the last one waits for the disk");
    let given = returned(&mut client.peer.session);
    let seqs: Vec<_> = given.iter().map(|message| message.seq).collect();
    assert_eq!(seqs, [Some(1), Some(2)]);
    flush(&mut client, &mut disk);
    let (state, damaged) = disk.crash(Now::default());
    let again = returned(&mut offline(Box::new(state)));
    assert_eq!(damaged, 0);
    assert_eq!(format!("{given:?}"), format!("{again:?}"));
}

#[test]
fn a_restart_forgets_no_origin() {
    let (mut client, mut disk) = (kept(), Disk::default());
    deliver(&mut client, "plant/1", Qos::AtLeastOnce);
    deliver(&mut client, "plant/2", Qos::ExactlyOnce);
    flush(&mut client, &mut disk);
    let mut session = offline(client.peer.session.take_exchange());
    let from = sender();
    let delivery = Delivery::Channel {
        message: on("plant/3", Qos::ExactlyOnce),
        sender: from.sender(),
        options: options(Qos::ExactlyOnce, FORM_PLAIN),
        identifiers: &[],
        share: Some(SHARE),
        is_shown: false,
    };
    session.keep_delivery(Now::default(), &delivery).unwrap();
    disk.drain(&mut session);
    disk.commit().unwrap();
    let (state, damaged) = disk.crash(Now::default());
    assert_eq!(damaged, 0);
    let mut session = offline(Box::new(state));
    assert_eq!(channels(&mut session), ["plant/1", "plant/3"]);
}
