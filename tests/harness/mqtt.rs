//! MQTT packets by hand, over any stream: what no well-behaved client sends.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::clock::PATIENCE;
use super::world::Account;

/// A packet as it came: the first byte and what follows the Remaining Length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

impl Packet {
    /// The reason code of a CONNACK of either version.
    #[track_caller]
    pub(crate) fn connack_code(&self) -> u8 {
        assert_eq!(self.first, 0x20, "a CONNACK: {self:?}");
        self.body[1]
    }

    /// The reason code of a DISCONNECT of 5.0.
    #[track_caller]
    pub(crate) fn disconnect_code(&self) -> u8 {
        assert_eq!(self.first, 0xE0, "a DISCONNECT: {self:?}");
        self.body.first().copied().unwrap_or(0)
    }
}

/// A connection without a client library.
pub(crate) struct Raw {
    stream: TcpStream,
}

impl Raw {
    /// Connects and sends nothing.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// Connects and logs in with version 4 (3.1.1) or 5.
    pub(crate) fn login(address: SocketAddr, version: u8, account: &Account, resource: &str) -> Self {
        let mut raw = Self::open(address);
        raw.send(&connect(version, account, resource));
        assert_eq!(raw.packet().connack_code(), 0);
        raw
    }

    /// Sends bytes as they are; the peer may have closed already.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _closed = self.stream.write_all(bytes);
    }

    /// The next packet.
    #[track_caller]
    pub(crate) fn packet(&mut self) -> Packet {
        self.next().expect("a packet before the end of the connection")
    }

    /// The next packet; `None` at the end of the connection.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Packet> {
        let first = self.byte()?;
        let mut length = 0_usize;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        Some(Packet { first, body })
    }

    /// Waits for the end of the connection; what came before it.
    #[track_caller]
    pub(crate) fn rest_within(&mut self, patience: Duration) -> Vec<u8> {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            // Closing with bytes unread resets the connection.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("not closed within {patience:?}: {error}; came: {rest:?}"),
        }
        rest
    }

    /// Waits for the end of the connection, before which nothing may come.
    #[track_caller]
    pub(crate) fn assert_closed(&mut self) {
        assert_eq!(
            self.rest_within(PATIENCE),
            b"",
            "nothing but the end of the connection"
        );
    }

    /// Sends these bytes, each `pause` after the others, until the connection ends, which it has to before they are all
    /// sent; what came meanwhile.
    #[track_caller]
    pub(crate) fn trickle(&mut self, chunks: impl Iterator<Item = Vec<u8>>, pause: Duration) -> Vec<u8> {
        self.stream.set_read_timeout(Some(pause)).unwrap();
        let mut came = Vec::new();
        for chunk in chunks {
            self.send(&chunk);
            match self.stream.read_to_end(&mut came) {
                Ok(_) => return came,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return came,
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                    "{error}"
                ),
            }
        }
        panic!("not closed; came: {came:?}");
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => None,
            Ok(_) => Some(byte[0]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no packet within {PATIENCE:?}: {error}"),
        }
    }
}

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer)
    }
}

/// A packet: its first byte, the Remaining Length, its body.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(variable(body.len()));
    bytes.extend(body);
    bytes
}

/// A Variable Byte Integer.
pub(crate) fn variable(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7F).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A string or binary datum with its length.
pub(crate) fn counted(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut all = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    all.extend(bytes);
    all
}

/// A CONNECT with clean session, user name and password, and no properties.
pub(crate) fn connect(version: u8, account: &Account, resource: &str) -> Vec<u8> {
    let mut body = counted("MQTT");
    body.extend([version, 0b1100_0010, 0, 60]);
    if version == 5 {
        body.push(0);
    }
    body.extend(counted(resource));
    body.extend(counted(&account.name));
    body.extend(counted(&account.secret));
    packet(0x10, &body)
}

/// A PUBLISH of QoS 0, or of QoS 1 if it has a packet identifier; `properties` is the encoded block of 5.0.
pub(crate) fn publish(topic: &str, id: Option<u16>, properties: Option<&[u8]>, payload: &[u8]) -> Vec<u8> {
    let mut body = counted(topic);
    body.extend(id.into_iter().flat_map(u16::to_be_bytes));
    if let Some(properties) = properties {
        body.extend(variable(properties.len()));
        body.extend(properties);
    }
    body.extend(payload);
    packet(if id.is_some() { 0x32 } else { 0x30 }, &body)
}

/// A SUBSCRIBE to one filter with QoS 1 at most.
pub(crate) fn subscribe(version: u8, id: u16, filter: &str) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == 5 {
        body.push(0);
    }
    body.extend(counted(filter));
    body.push(1);
    packet(0x82, &body)
}

/// PINGREQ.
pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
/// PINGRESP.
pub(crate) const PINGRESP: u8 = 0xD0;
