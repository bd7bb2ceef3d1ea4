//! Whatever happens in whatever order, a kept session loses no message that is durable, doubles none of QoS 2 and
//! keeps the order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::deliver::{on, options, sender};
use super::*;
use crate::codec::mqtt::packet::Ack;
use crate::journal::{Change, Journal, Table};
use crate::route::{ChannelMessage, Delivery, Qos};
use crate::session::mqtt::control::FORM_PLAIN;
use crate::session::mqtt::{MessageState, inbound_of, outbound_of};

pub(super) const NUMBER: u64 = 7;

/// What is durable, and the batches that are on their way there.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    batches: VecDeque<(u64, Journal)>,
    last: u64,
}

impl Disk {
    /// Takes what the session has written as a batch; whether there was anything.
    pub(super) fn drain(&mut self, session: &mut Session) -> bool {
        let mut journal = Journal::new();
        self.last += 1;
        let any = session.drain_journal(self.last, &mut journal);
        assert_eq!(any, !journal.is_empty());
        if any {
            self.batches.push_back((self.last, journal));
        }
        any
    }

    /// Makes the next batch durable, and tells its number.
    pub(super) fn commit(&mut self) -> Option<u64> {
        let (batch, journal) = self.batches.pop_front()?;
        for change in journal.iter() {
            match change {
                Change::Put { table, key, value } => {
                    self.rows.insert((table, key.to_vec()), value.to_vec());
                }
                Change::Delete { table, key } => {
                    self.rows.remove(&(table, key.to_vec()));
                }
                Change::DeleteAll { table, prefix } => {
                    self.rows
                        .retain(|(of, key), _| *of != table || !key.starts_with(prefix));
                }
            }
        }
        Some(batch)
    }

    /// The daemon dies: what was not durable is lost.
    pub(super) fn crash(&mut self, now: Now) -> (MessageState, usize) {
        self.batches.clear();
        let rows = |wanted: Table| self.rows.iter().filter(move |((table, _), _)| *table == wanted);
        let messages = rows(Table::Outbound).map(|((_, key), value)| {
            let (number, seq) = outbound_of(key).unwrap();
            assert_eq!(number, NUMBER);
            (seq, &value[..])
        });
        let exchanges = rows(Table::Inbound).map(|((_, key), _)| (inbound_of(key).unwrap().1, false));
        MessageState::restore(NUMBER, now, messages, exchanges)
    }
}

/// A session without a connection that has this exchange.
pub(super) fn offline(state: Box<MessageState>) -> Session {
    let settings = Arc::new(settings());
    let mut session = Session::new(&settings, Passwords::Taken, Now::default());
    session.give_exchange(state);
    session
}

enum Side {
    Connected(Box<Client>),
    Offline(Box<Session>),
}

struct World {
    side: Side,
    disk: Disk,
    /// From the server, not read yet.
    inbox: VecDeque<Packet<'static>>,
    /// Identifiers of QoS 2 messages that were taken and not released.
    taken: BTreeSet<PacketId>,
    delivered: Vec<(u64, QoS)>,
    sent: u64,
    /// Messages whose rows are not in a batch yet, in each batch, and durable.
    undrained: Vec<u64>,
    drained: VecDeque<Vec<u64>>,
    acknowledged: Vec<u64>,
}

impl World {
    fn new() -> Self {
        let mut client = Client::attached(V5);
        client.peer.session.keep(NUMBER);
        Self {
            side: Side::Connected(Box::new(client)),
            disk: Disk::default(),
            inbox: VecDeque::new(),
            taken: BTreeSet::new(),
            delivered: Vec::new(),
            sent: 0,
            undrained: Vec::new(),
            acknowledged: Vec::new(),
            drained: VecDeque::new(),
        }
    }

    fn session(&mut self) -> &mut Session {
        match &mut self.side {
            Side::Connected(client) => &mut client.peer.session,
            Side::Offline(session) => session,
        }
    }

    fn hear(&mut self) {
        if let Side::Connected(client) = &mut self.side {
            self.inbox.extend(client.packets());
        }
    }

    fn publish(&mut self, qos: Qos) {
        self.sent += 1;
        let payload = self.sent.to_be_bytes();
        let from = sender();
        let delivery = Delivery::Channel {
            message: ChannelMessage {
                payload: &payload,
                ..on("plant/7", qos)
            },
            sender: from.sender(),
            options: options(Qos::ExactlyOnce, FORM_PLAIN),
            identifiers: &[],
            share: None,
            is_shown: false,
        };
        match &mut self.side {
            Side::Connected(client) => client.peer.deliver(&delivery).unwrap(),
            Side::Offline(session) => session.keep_delivery(Now::default(), &delivery).unwrap(),
        }
        self.undrained.push(self.sent);
        self.hear();
    }

    /// The client reads a packet, and answers.
    fn read(&mut self) {
        let Some(packet) = self.inbox.pop_front() else {
            return;
        };
        let success = |packet_id| Ack {
            packet_id,
            code: 0,
            properties: Properties::EMPTY,
        };
        let answer = match packet {
            Packet::Publish(publish) => {
                let number = u64::from_be_bytes(publish.payload.try_into().unwrap());
                let id = publish.packet_id.unwrap();
                if publish.qos == QoS::AtLeastOnce {
                    self.delivered.push((number, publish.qos));
                    Packet::PubAck(success(id))
                } else {
                    if self.taken.insert(id) {
                        self.delivered.push((number, publish.qos));
                    } else {
                        assert!(publish.dup, "the identifier is in use");
                    }
                    Packet::PubRec(success(id))
                }
            }
            Packet::PubRel(ack) => {
                assert_eq!(ack.code, 0);
                self.taken.remove(&ack.packet_id);
                Packet::PubComp(success(ack.packet_id))
            }
            other => panic!("{other:?}"),
        };
        if let Side::Connected(client) = &mut self.side {
            client.send(&answer).unwrap();
        }
        self.hear();
    }

    fn drain(&mut self) {
        let mut disk = std::mem::take(&mut self.disk);
        if disk.drain(self.session()) {
            self.drained.push_back(std::mem::take(&mut self.undrained));
        }
        self.disk = disk;
    }

    fn commit(&mut self) {
        let Some(batch) = self.disk.commit() else { return };
        self.acknowledged.extend(self.drained.pop_front().unwrap());
        match &mut self.side {
            Side::Connected(client) => {
                let peer = &mut client.peer;
                peer.session.committed(peer.now, batch, &mut peer.out);
            }
            Side::Offline(session) => session.settled(batch),
        }
        self.hear();
    }

    fn disconnect(&mut self) {
        self.inbox.clear();
        if let Side::Connected(client) = &mut self.side {
            let state = client.peer.session.take_exchange();
            self.side = Side::Offline(Box::new(offline(state)));
        }
    }

    fn connect(&mut self, version: Version, window: u16) {
        self.disconnect();
        let Side::Offline(session) = &mut self.side else {
            return;
        };
        let state = session.take_exchange();
        let asks = [Property::ReceiveMaximum(window)];
        let mut client = Client::attached_with(version, settings(), &asks);
        let peer = &mut client.peer;
        peer.session.give_exchange(state);
        peer.session.resume(peer.now, &mut peer.out);
        self.side = Side::Connected(Box::new(client));
        self.hear();
    }

    fn crash(&mut self) {
        self.inbox.clear();
        let (state, damaged) = self.disk.crash(Now::default());
        assert_eq!(damaged, 0);
        self.drained.clear();
        self.undrained.clear();
        self.side = Side::Offline(Box::new(offline(Box::new(state))));
    }

    fn step(&mut self, op: u8) {
        match op {
            0..=19 => self.publish(Qos::ExactlyOnce),
            20..=29 => self.publish(Qos::AtLeastOnce),
            30..=54 => self.read(),
            55..=69 => self.drain(),
            70..=84 => self.commit(),
            85..=88 => self.disconnect(),
            89..=94 => self.connect(if op.is_multiple_of(2) { V5 } else { V311 }, u16::from(op - 88)),
            _ => self.crash(),
        }
    }

    fn check(mut self) {
        self.connect(V5, 3);
        loop {
            self.drain();
            let before = self.disk.batches.len() + self.inbox.len();
            while !self.disk.batches.is_empty() {
                self.commit();
            }
            while !self.inbox.is_empty() {
                self.read();
            }
            if before == 0 {
                break;
            }
        }
        let mut seen = BTreeMap::new();
        let mut last = 0;
        for &(number, qos) in &self.delivered {
            let times = seen.entry(number).or_insert(0);
            *times += 1;
            assert!(qos == QoS::AtLeastOnce || *times == 1, "{number} came twice");
            if *times == 1 {
                assert!(number > last, "{number} after {last}");
                last = number;
            }
        }
        for number in self.acknowledged {
            assert!(seen.contains_key(&number), "{number} is lost");
        }
        assert!(
            self.disk.rows.is_empty(),
            "what is delivered leaves nothing behind"
        );
        assert!(self.taken.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn mqtt5_4_4_nothing_durable_is_lost_or_doubled(ops in prop::collection::vec(0_u8..98, 1..160)) {
        let mut world = World::new();
        for op in ops {
            world.step(op);
        }
        world.check();
    }
}
