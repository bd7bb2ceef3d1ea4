//! A client of a case: one connection at a time, over TCP or WebSocket.

use std::collections::VecDeque;

use super::net::{Heard, Net, Transport};
use super::packet::{Packet, decode};
use super::websocket::{HANDSHAKE, WebSocket, frame};
use super::{Version, websocket};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With this WebSocket close code.
    Closed(u16),
    /// Without one.
    Gone,
}

/// A connection as its client sees it.
pub(crate) struct Client {
    conn: usize,
    version: Version,
    web_socket: Option<WebSocket>,
    inbox: Vec<u8>,
    packets: VecDeque<Packet>,
    end: Option<End>,
    /// Whether a CONNECT was answered with success.
    pub(crate) is_in: bool,
}

impl Client {
    /// Opens a connection; over WebSocket with the handshake, whose answer comes with the first bytes.
    pub(crate) fn open(net: &mut impl Net, transport: Transport, version: Version) -> Self {
        let conn = net.open(transport);
        let web_socket = (transport == Transport::WebSocket).then(WebSocket::default);
        if web_socket.is_some() {
            net.write(conn, HANDSHAKE);
        }
        Self {
            conn,
            version,
            web_socket,
            inbox: Vec::new(),
            packets: VecDeque::new(),
            end: None,
            is_in: false,
        }
    }

    /// Sends bytes of MQTT, over WebSocket in frames of at most `frame_bytes_max`.
    pub(crate) fn send(&self, net: &mut impl Net, bytes: &[u8], frame_bytes_max: usize) {
        if self.web_socket.is_none() {
            return net.write(self.conn, bytes);
        }
        for part in bytes.chunks(frame_bytes_max) {
            net.write(self.conn, &frame(true, "binary", part));
        }
    }

    /// Sends one frame of any kind.
    pub(crate) fn send_frame(&self, net: &mut impl Net, is_final: bool, opcode: &str, payload: &[u8]) {
        net.write(self.conn, &websocket::frame(is_final, opcode, payload));
    }

    /// The version that it speaks.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Breaks the connection off.
    pub(crate) fn hang_up(&mut self, net: &mut impl Net) {
        net.hang_up(self.conn);
        self.end = Some(End::Gone);
    }

    /// The next packet; `None` at the end of the connection.
    pub(crate) fn next(&mut self, net: &mut impl Net) -> Result<Option<Packet>, String> {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return Ok(Some(packet));
            }
            if self.end.is_some() {
                if self.inbox.is_empty() {
                    return Ok(None);
                }
                return Err(format!(
                    "the connection ended within a packet: {:02x?}",
                    self.inbox
                ));
            }
            match net.read(self.conn) {
                Heard::Bytes(bytes) => self.take(net, &bytes)?,
                Heard::End => self.end = Some(End::Gone),
                Heard::Nothing => return Err("nothing came".to_owned()),
            }
        }
    }

    /// Puts a packet back: it comes next.
    pub(crate) fn put_back(&mut self, packet: Packet) {
        self.packets.push_front(packet);
    }

    /// How the connection ended.
    pub(crate) fn ended(&self) -> Option<End> {
        self.end
    }

    fn take(&mut self, net: &mut impl Net, bytes: &[u8]) -> Result<(), String> {
        match &mut self.web_socket {
            None => self.inbox.extend_from_slice(bytes),
            Some(web_socket) => {
                let carried = web_socket.take(bytes)?;
                self.inbox.extend_from_slice(&carried.bytes);
                if let Some(code) = carried.close {
                    net.write(self.conn, &frame(true, "close", &code.to_be_bytes()));
                    self.end = Some(End::Closed(code));
                }
            }
        }
        while let Some(packet) = decode(&mut self.inbox, self.version)? {
            self.packets.push_back(packet);
        }
        Ok(())
    }
}
