//! Bad input over raw sockets: the protocol's own reason, the connection closed, a neighbour undisturbed.

mod floods;
mod hoards;
mod packets;
mod prelogin;
mod scrapes;
mod tls;
mod websocket;

use std::time::Duration;

use crate::harness::clock::Moment;
use crate::harness::matrix::{MQTTJS_311, PAHO_5};
use crate::harness::mqtt::{self, PINGREQ, PINGRESP, Packet, Raw};
use crate::harness::{Account, Call, Client, Net};

/// Blocks on both listeners, which go on being served whatever others send.
struct Neighbours {
    clients: Vec<Client>,
}

impl Neighbours {
    fn new(net: &Net) -> Self {
        let account = net.app().account("owner");
        Self {
            clients: vec![
                net.connect(PAHO_5, &account, "over TCP"),
                net.connect(MQTTJS_311, &account, "over WebSocket"),
            ],
        }
    }

    #[track_caller]
    fn assert_undisturbed(&self) {
        for client in &self.clients {
            assert_eq!(client.call(&Call::new("nexus", "ping")).code, 0);
            assert!(client.take_unmatched().is_empty());
        }
    }
}

/// How long an answer to a well-behaved client may take while others flood. A debug build on a busy machine has to hold
/// it; work that is quadratic in what a flood leaves behind takes several times as long.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// A client of 5.0 that asks for an answer again and again.
struct Watch {
    raw: Raw,
    longest: Duration,
}

impl Watch {
    fn new(net: &Net, account: &Account, resource: &str) -> Self {
        Self {
            raw: Raw::login(net.daemon().mqtt, 5, account, resource),
            longest: Duration::ZERO,
        }
    }

    fn ask(&mut self) {
        let begun = Moment::now();
        self.raw.send(&PINGREQ);
        assert_eq!(self.raw.packet().first, PINGRESP);
        self.longest = self.longest.max(begun.elapsed());
    }
}

/// A CONNECT of 5.0 that goes on with the session there is.
#[derive(Clone, Copy)]
struct Lasting<'a> {
    account: &'a Account,
    resource: &'a str,
    keep_alive_s: u16,
    expiry_s: u32,
    /// Topic, payload and Will Delay Interval of a will of QoS 1.
    will: Option<(&'a str, &'a [u8], u32)>,
}

impl<'a> Lasting<'a> {
    /// Without a will, for a session that lasts an hour.
    fn new(account: &'a Account, resource: &'a str) -> Self {
        Self {
            account,
            resource,
            keep_alive_s: 60,
            expiry_s: 3_600,
            will: None,
        }
    }

    fn packet(&self) -> Vec<u8> {
        let mut body = mqtt::counted("MQTT");
        let will = if self.will.is_some() { 0b0000_1100 } else { 0 };
        body.extend([5, 0b1100_0000 | will]);
        body.extend(self.keep_alive_s.to_be_bytes());
        body.extend([5, 0x11]);
        body.extend(self.expiry_s.to_be_bytes());
        body.extend(mqtt::counted(self.resource));
        if let Some((topic, payload, delay_s)) = self.will {
            body.extend([5, 0x18]);
            body.extend(delay_s.to_be_bytes());
            body.extend(mqtt::counted(topic));
            body.extend(mqtt::counted(payload));
        }
        body.extend(mqtt::counted(&self.account.name));
        body.extend(mqtt::counted(&self.account.secret));
        mqtt::packet(0x10, &body)
    }

    /// Connects; the CONNACK, whatever it says.
    #[track_caller]
    fn open(&self, net: &Net) -> (Raw, Packet) {
        let mut raw = Raw::open(net.daemon().mqtt);
        raw.send(&self.packet());
        let connack = raw.packet();
        (raw, connack)
    }

    /// Connects, which must work; whether a session was there.
    #[track_caller]
    fn come(&self, net: &Net) -> (Raw, bool) {
        let (raw, connack) = self.open(net);
        assert_eq!(connack.connack_code(), 0, "{}", self.resource);
        (raw, connack.body[0] == 1)
    }
}

/// The reason code of a PUBACK or PUBREC of 5.0.
#[track_caller]
fn code(packet: &Packet) -> u8 {
    assert!(matches!(packet.first, 0x40 | 0x50), "{packet:?}");
    packet.body.get(2).copied().unwrap_or(0)
}
