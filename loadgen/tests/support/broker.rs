//! A broker for one test: one thread, exact topics, no queues. Decodes with `mqttbytes`.

use std::collections::{BTreeSet, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use bytes::BytesMut;
use loadgen::clock::{now_ns, sleep_until};
use mqttbytes::{Error, Protocol, QoS, v4, v5};

const MAX: usize = 1 << 20;
/// What a 5.0 client is told, and held to.
const RECEIVE_MAX: usize = 20;

enum In {
    Connect(String, Option<(String, String)>),
    Subscribe(u16, String, QoS),
    Publish(String, QoS, u16, Vec<u8>),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    Disconnect,
    Other,
}

struct Client {
    stream: TcpStream,
    input: BytesMut,
    v5: bool,
    name: String,
    filter: Option<(String, QoS)>,
    sent: u16,
    /// Packet Identifiers of QoS 2 messages that were sent, and have no PUBCOMP.
    exchanges: BTreeSet<u16>,
    open: bool,
}

/// Accepts accounts that start with `ok` and anonymous clients. API requests to `$nexus/call/…` go to the listener;
/// a command called `missing` gets a failure.
pub(crate) fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || serve(&listener));
    address
}

fn serve(listener: &TcpListener) {
    let mut clients: Vec<Client> = Vec::new();
    let mut requests: HashMap<String, (usize, String)> = HashMap::new();
    let mut used_ns = now_ns();
    // Until the test is over: an idle broker would take time from the next one.
    while clients.is_empty() || now_ns() < used_ns + 2_000_000_000 {
        let mut busy = false;
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).unwrap();
            stream.set_nodelay(true).unwrap();
            let client = Client {
                stream,
                input: BytesMut::new(),
                v5: false,
                name: String::new(),
                filter: None,
                sent: 0,
                exchanges: BTreeSet::new(),
                open: true,
            };
            clients.push(client);
            busy = true;
        }
        for who in 0..clients.len() {
            while let Some(packet) = clients[who].next() {
                busy = true;
                handle(&mut clients, who, packet, &mut requests);
            }
        }
        if busy || clients.iter().any(|client| client.open) {
            used_ns = now_ns();
        }
        if !busy {
            sleep_until(now_ns() + 50_000);
        }
    }
}

fn handle(clients: &mut [Client], who: usize, packet: In, requests: &mut HashMap<String, (usize, String)>) {
    match packet {
        In::Connect(name, login) => {
            clients[who].name = name;
            let accepted = login.is_none_or(|(account, secret)| account.starts_with("ok") && secret == "s");
            clients[who].connack(accepted);
        }
        In::Subscribe(id, filter, qos) => {
            clients[who].filter = Some((filter, qos));
            clients[who].write(&if clients[who].v5 {
                vec![0x90, 4, 0, id as u8, 0, 0]
            } else {
                vec![0x90, 3, 0, id as u8, 0]
            });
        }
        In::Publish(topic, qos, id, payload) => {
            match qos {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => clients[who].write(&[0x40, 2, (id >> 8) as u8, id as u8]),
                QoS::ExactlyOnce => clients[who].write(&[0x50, 2, (id >> 8) as u8, id as u8]),
            }
            publish(clients, who, &topic, qos, &payload, requests);
        }
        In::PubRec(id) => clients[who].release(id),
        In::PubRel(id) => clients[who].write(&[0x70, 2, (id >> 8) as u8, id as u8]),
        In::PubComp(id) => clients[who].complete(id),
        In::Disconnect => clients[who].open = false,
        In::Other => {}
    }
}

fn publish(
    clients: &mut [Client],
    who: usize,
    topic: &str,
    qos: QoS,
    payload: &[u8],
    requests: &mut HashMap<String, (usize, String)>,
) {
    let levels: Vec<&str> = topic.split('/').collect();
    match levels[..] {
        ["$nexus", "call", id, _, "missing"] => {
            clients[who].publish(
                &format!("$nexus/reply/{id}"),
                qos,
                br#"{"code":-500,"error":"not implemented."}"#,
            );
        }
        ["$nexus", "call", id, _, cmd] => {
            let token = format!("{:032x}", requests.len() + 1);
            requests.insert(token.clone(), (who, id.to_owned()));
            let listen = format!("$nexus/listen/{cmd}/#");
            let worker = clients
                .iter()
                .position(|c| c.open && c.filter.as_ref().is_some_and(|f| f.0 == listen));
            let delivered = format!("$nexus/listen/{cmd}/{token}/bench/000000000000000000000000/owner/r");
            clients[worker.unwrap()].publish(&delivered, qos, payload);
        }
        ["$nexus", "direct", "bench", resource] => {
            let waits = |c: &Client| {
                let filter = c.filter.as_ref().map(|filter| filter.0.as_str());
                c.open && c.name == resource && filter == Some("$nexus/direct/#")
            };
            assert!(
                std::str::from_utf8(payload).is_ok(),
                "a Direct message is a string"
            );
            if let Some(worker) = clients.iter_mut().find(|c| waits(c)) {
                let topic = "$nexus/direct/bench/000000000000000000000000/owner/r";
                worker.publish(topic, QoS::AtMostOnce, payload);
            }
        }
        ["$nexus", "answer", token] => {
            let (requester, id) = requests.get(token).unwrap().clone();
            clients[requester].publish(&format!("$nexus/reply/{id}"), qos, payload);
        }
        _ => {
            for client in clients.iter_mut().filter(|c| c.open) {
                let Some((filter, granted)) = &client.filter else {
                    continue;
                };
                if filter == topic {
                    let qos = if *granted < qos { *granted } else { qos };
                    client.publish(topic, qos, payload);
                }
            }
        }
    }
}

impl Client {
    fn next(&mut self) -> Option<In> {
        if !self.open {
            return None;
        }
        let mut chunk = [0; 65_536];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.open = false,
            Ok(read) => {
                self.input.extend_from_slice(&chunk[..read]);
                assert!(
                    !self.v5 || self.unacknowledged() <= RECEIVE_MAX,
                    "Receive Maximum exceeded"
                );
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.open = false,
        }
        // A CONNECT says its version itself; `v5` reads both.
        let connecting = self.input.first() == Some(&0x10);
        let packet = if self.v5 || connecting {
            self.read_v5()
        } else {
            self.read_v4()
        };
        match packet {
            Ok(packet) => Some(packet),
            Err(Error::InsufficientBytes(_)) => None,
            Err(error) => panic!("the load generator sent what mqttbytes refuses: {error:?}"),
        }
    }

    /// QoS 1 PUBLISHes received and not yet answered.
    fn unacknowledged(&self) -> usize {
        let (mut rest, mut count) = (&self.input[..], 0);
        while let Ok(header) = mqttbytes::check(rest.iter(), MAX) {
            count += usize::from(rest[0] & 0xf6 == 0x32);
            rest = &rest[header.frame_length()..];
        }
        count
    }

    fn read_v5(&mut self) -> Result<In, Error> {
        if self.input.starts_with(&[0xe0, 0]) {
            return Ok(In::Disconnect);
        }
        Ok(match v5::read(&mut self.input, MAX)? {
            v5::Packet::Connect(packet) => {
                self.v5 = packet.protocol == Protocol::V5;
                In::Connect(packet.client_id, packet.login.map(|l| (l.username, l.password)))
            }
            v5::Packet::Subscribe(p) => In::Subscribe(p.pkid, p.filters[0].path.clone(), p.filters[0].qos),
            v5::Packet::Publish(p) => In::Publish(p.topic, p.qos, p.pkid, p.payload.to_vec()),
            v5::Packet::PubRec(p) => In::PubRec(p.pkid),
            v5::Packet::PubRel(p) => In::PubRel(p.pkid),
            v5::Packet::PubComp(p) => In::PubComp(p.pkid),
            _ => In::Other,
        })
    }

    fn read_v4(&mut self) -> Result<In, Error> {
        Ok(match v4::read(&mut self.input, MAX)? {
            v4::Packet::Subscribe(p) => In::Subscribe(p.pkid, p.filters[0].path.clone(), p.filters[0].qos),
            v4::Packet::Publish(p) => In::Publish(p.topic, p.qos, p.pkid, p.payload.to_vec()),
            v4::Packet::PubRec(p) => In::PubRec(p.pkid),
            v4::Packet::PubRel(p) => In::PubRel(p.pkid),
            v4::Packet::PubComp(p) => In::PubComp(p.pkid),
            v4::Packet::Disconnect => In::Disconnect,
            _ => In::Other,
        })
    }

    fn connack(&mut self, accepted: bool) {
        match (self.v5, accepted) {
            (false, true) => self.write(&[0x20, 2, 0, 0]),
            (false, false) => self.write(&[0x20, 2, 0, 5]),
            (true, true) => self.write(&[0x20, 6, 0, 0, 3, 33, 0, RECEIVE_MAX as u8]),
            (true, false) => self.write(&[0x20, 3, 0, 0x87, 0]),
        }
    }

    fn publish(&mut self, topic: &str, qos: QoS, payload: &[u8]) {
        let mut out = BytesMut::new();
        self.sent = self.sent % 65_535 + 1;
        if qos == QoS::ExactlyOnce {
            assert!(self.exchanges.insert(self.sent), "65,535 exchanges are open");
        }
        if self.v5 {
            let mut packet = v5::Publish::new(topic, qos, payload);
            packet.pkid = if qos == QoS::AtMostOnce { 0 } else { self.sent };
            packet.write(&mut out).unwrap();
        } else {
            let mut packet = v4::Publish::new(topic, qos, payload);
            packet.pkid = if qos == QoS::AtMostOnce { 0 } else { self.sent };
            packet.write(&mut out).unwrap();
        }
        self.write(&out);
    }

    fn release(&mut self, id: u16) {
        assert!(self.exchanges.contains(&id), "PUBREC for what was not sent");
        self.write(&[0x62, 2, (id >> 8) as u8, id as u8]);
    }

    fn complete(&mut self, id: u16) {
        assert!(self.exchanges.remove(&id), "PUBCOMP for what was not released");
    }

    /// Writes all; the amounts of a test fit a socket's buffer, or wait here.
    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.open {
            match self.stream.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => sleep_until(now_ns() + 50_000),
                Err(_) => self.open = false,
            }
        }
    }
}
