//! A broker for one test: one thread, exact topics. Decodes with `mqttbytes`.
#![allow(
    clippy::disallowed_types,
    reason = "a test server may block; nothing of it is measured"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::BytesMut;
use loadgen::clock::{now_ns, sleep_until};
use mqttbytes::{Error, Protocol, QoS, v4, v5};

const MAX: usize = 1 << 20;
/// What a 5.0 client is told, and held to.
const RECEIVE_MAX: usize = 20;
/// What the sockets of a broker with several listeners hold for a client that does not read.
const SEND_BUFFER: usize = 65_536;

/// What a broker saw of a client, up to its end.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The listener it came to.
    pub(crate) listener: usize,
    /// What it subscribed to.
    pub(crate) filter: Option<String>,
    /// What it published to, and how often.
    pub(crate) published: BTreeMap<String, u64>,
    /// Messages for it.
    pub(crate) messages: u64,
    /// Bytes for it that its socket would not take.
    pub(crate) waiting: usize,
}

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
    reported: bool,
    /// What the socket does not take yet.
    out: Vec<u8>,
    seen: Seen,
}

/// Accepts accounts that start with `ok` and anonymous clients. API requests to `$nexus/call/…` go to the listener;
/// a command called `missing` gets a failure.
pub(crate) fn start() -> SocketAddr {
    let (listener, address) = listen();
    std::thread::spawn(move || serve(&[listener], &channel().0));
    address
}

/// The same with two listeners; what it saw of each client follows when that has ended.
pub(crate) fn start_watched() -> ([SocketAddr; 2], Receiver<Seen>) {
    let ((one, first), (other, second)) = (listen(), listen());
    for listener in [&one, &other] {
        let socket = socket2::SockRef::from(listener);
        socket.set_send_buffer_size(SEND_BUFFER).unwrap();
    }
    let (ended, seen) = channel();
    std::thread::spawn(move || serve(&[one, other], &ended));
    ([first, second], seen)
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn serve(listeners: &[TcpListener], ended: &Sender<Seen>) {
    let mut clients: Vec<Client> = Vec::new();
    let mut requests: HashMap<String, (usize, String)> = HashMap::new();
    let mut used_ns = now_ns();
    // Until the test is over: an idle broker would take time from the next one.
    while clients.is_empty() || now_ns() < used_ns + 2_000_000_000 {
        let mut busy = false;
        for (number, listener) in listeners.iter().enumerate() {
            while let Ok((stream, _)) = listener.accept() {
                clients.push(Client::new(stream, number));
                busy = true;
            }
        }
        for who in 0..clients.len() {
            busy |= clients[who].flush();
            while let Some(packet) = clients[who].next() {
                busy = true;
                handle(&mut clients, who, packet, &mut requests);
            }
            clients[who].report(ended);
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
            *clients[who].seen.published.entry(topic.clone()).or_default() += 1;
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
    fn new(stream: TcpStream, listener: usize) -> Self {
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            input: BytesMut::new(),
            v5: false,
            name: String::new(),
            filter: None,
            sent: 0,
            exchanges: BTreeSet::new(),
            open: true,
            reported: false,
            out: Vec::new(),
            seen: Seen {
                listener,
                ..Seen::default()
            },
        }
    }

    /// Tells once, after its end, what was seen of it; most tests do not listen.
    fn report(&mut self, ended: &Sender<Seen>) {
        if !self.open && !std::mem::replace(&mut self.reported, true) {
            let mut seen = std::mem::take(&mut self.seen);
            seen.filter = self.filter.take().map(|(filter, _)| filter);
            seen.waiting = self.out.len();
            let _ = ended.send(seen);
        }
    }

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
        self.seen.messages += 1;
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

    /// What the socket does not take waits: who does not read holds nobody up.
    fn write(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.flush();
    }

    /// Writes what waits; true if the socket took any of it.
    fn flush(&mut self) -> bool {
        let mut taken = 0;
        while self.open && taken < self.out.len() {
            match self.stream.write(&self.out[taken..]) {
                Ok(written) => taken += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.open = false,
            }
        }
        self.out.drain(..taken);
        taken > 0
    }
}
