//! One connection's TLS.
//!
//! Invariants: ciphertext that is no whole record yet, or of which a message of the handshake is not whole, and nothing
//! else, is in `incoming`, which is without memory of its own while the connection is idle. No plaintext is kept here. The
//! library remembers places in what it was given and did not use: it is always given just that again, to write, too; and
//! after a fault nothing.

use std::fmt;
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};

use super::Secured;
use crate::limits;

/// Bytes of a record's plaintext.
const FRAGMENT_BYTES_MAX: usize = 16_384;
/// What sealing adds to a record, at most: header, explicit nonce, type and tag; and once, a key update before it.
const SEAL_BYTES_MAX: usize = 64;

/// How far a connection's TLS has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshaking,
    Open,
    /// Our side has said its last record.
    Closed,
}

/// Why a connection's TLS cannot go on.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The peer broke the protocol, or nothing could be agreed on; it has been told by an alert where there is one.
    Peer(rustls::Error),
    /// An unfinished record or handshake message is larger than any may be.
    TooLarge,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(error) => error.fmt(f),
            Self::TooLarge => f.write_str("a handshake message or a record is too large"),
        }
    }
}

/// What reading has come to.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Bytes used from the front.
    pub(crate) used: usize,
    /// The handshake ended just now.
    pub(crate) secured: Option<Secured>,
    pub(crate) fault: Option<Fault>,
}

/// One connection's TLS.
pub(crate) struct Tls {
    machine: UnbufferedServerConnection,
    /// Ciphertext that has to be completed first.
    incoming: Vec<u8>,
    phase: Phase,
    /// The peer has said that it sends no more.
    peer_ended: bool,
    /// In the list of those whose handshake is to go on.
    pub(crate) is_listed: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            machine: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            phase: Phase::Handshaking,
            peer_ended: false,
            is_listed: false,
        })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.phase == Phase::Handshaking
    }

    /// Whether what is to be sent can be sealed.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether our side has said its last record.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether the peer has said that it sends no more. Its side of the socket may still be open.
    pub(crate) fn has_peer_ended(&self) -> bool {
        self.peer_ended
    }

    /// Whether ciphertext waits for more of its record.
    pub(crate) fn has_incoming(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// Keeps ciphertext until more of it is there, or until it is read.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// Whether so much waits that nothing more is to be received before it is read.
    pub(crate) fn is_full(&self) -> bool {
        self.incoming.len() > limits::TLS_INCOMING_BYTES_MAX
    }

    /// Reads what was kept, and keeps what is left of it.
    pub(crate) fn read_kept(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Reading {
        let mut incoming = std::mem::take(&mut self.incoming);
        let mut reading = self.read(&mut incoming, plain, wire);
        incoming.drain(..reading.used.min(incoming.len()));
        if incoming.len() > limits::TLS_INCOMING_BYTES_MAX {
            reading.fault.get_or_insert(Fault::TooLarge);
            self.phase = Phase::Closed;
        } else if reading.fault.is_none() {
            self.incoming = incoming;
        }
        reading
    }

    /// Reads records: what they say is appended to `plain`, what is to be answered to `wire`.
    pub(crate) fn read(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Reading {
        let mut reading = Reading::default();
        loop {
            let rest = bytes.get_mut(reading.used..).unwrap_or_default();
            let UnbufferedStatus {
                mut discard, state, ..
            } = self.machine.process_tls_records(rest);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut records)) => loop {
                    match records.next_record() {
                        Some(Ok(record)) => {
                            discard += record.discard;
                            plain.extend_from_slice(record.payload);
                        }
                        Some(Err(error)) => {
                            reading.fault = Some(Fault::Peer(error));
                            break false;
                        }
                        None => break true,
                    }
                },
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, wire),
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_ended = true;
                    true
                }
                Ok(_) => false,
                Err(error) => {
                    reading.fault = Some(Fault::Peer(error));
                    false
                }
            };
            reading.used += discard;
            if !goes_on {
                break;
            }
        }
        if reading.fault.is_some() {
            self.phase = Phase::Closed;
            self.say_alert(wire);
        } else if self.phase == Phase::Handshaking && !self.machine.is_handshaking() {
            self.phase = Phase::Open;
            reading.secured = Some(self.describe());
        }
        if self.peer_ended {
            // Nothing after the good-bye means anything.
            reading.used = bytes.len();
        }
        reading
    }

    /// The alert that a fault has left behind, if one has: the library must not read anything again then.
    fn say_alert(&mut self, wire: &mut Vec<u8>) {
        while self.machine.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(data)) = self.machine.process_tls_records(&mut []).state
        {
            encode(data, wire);
        }
    }

    fn describe(&self) -> Secured {
        let certificates = self.machine.peer_certificates().unwrap_or_default();
        Secured {
            minor_version: match self.machine.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => 3,
                _ => 2,
            },
            alpn: self.machine.alpn_protocol().map(<[u8]>::to_vec),
            certificate: certificates.first().map(|leaf| leaf.to_vec()),
            is_resumed: self.machine.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// Seals `plain` onto the end of `wire`. Where that fails nothing more can be sent.
    pub(crate) fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        let sealed = self.write(wire, plain.len(), |traffic, room| traffic.encrypt(plain, room));
        if !sealed {
            self.phase = Phase::Closed;
        }
    }

    /// Says the last record, once: nothing more will be sent. True: there was something to say.
    pub(crate) fn close(&mut self, wire: &mut Vec<u8>) -> bool {
        let was_open = self.phase == Phase::Open;
        self.phase = Phase::Closed;
        was_open && self.write(wire, 0, |traffic, room| traffic.queue_close_notify(room))
    }

    /// Appends what `seal` makes of `len` bytes of plaintext to `wire`.
    fn write(
        &mut self,
        wire: &mut Vec<u8>,
        len: usize,
        seal: impl FnOnce(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> bool {
        let mut incoming = std::mem::take(&mut self.incoming);
        let is_written = loop {
            let UnbufferedStatus { discard, state, .. } = self.machine.process_tls_records(&mut incoming);
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let (from, records) = (wire.len(), len / FRAGMENT_BYTES_MAX + 2);
                    wire.resize(from + len + records * SEAL_BYTES_MAX, 0);
                    let room = wire.get_mut(from..).unwrap_or_default();
                    let written = seal(&mut traffic, room);
                    wire.truncate(from + *written.as_ref().unwrap_or(&0));
                    incoming.drain(..discard.min(incoming.len()));
                    break written.is_ok();
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, wire);
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                _ => break false,
            }
            incoming.drain(..discard.min(incoming.len()));
        };
        self.incoming = incoming;
        is_written
    }

    /// Gives back the memory of what is empty.
    pub(crate) fn rest(&mut self) {
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
    }
}

type Traffic<'a> = rustls::unbuffered::WriteTraffic<'a, rustls::server::ServerConnectionData>;

/// Appends a record of the handshake to `wire`. False: it cannot be had.
fn encode(mut data: EncodeTlsData<'_, rustls::server::ServerConnectionData>, wire: &mut Vec<u8>) -> bool {
    let from = wire.len();
    let mut room = wire.capacity().saturating_sub(from);
    loop {
        wire.resize(from + room, 0);
        match data.encode(wire.get_mut(from..).unwrap_or_default()) {
            Ok(len) => {
                wire.truncate(from + len);
                return true;
            }
            Err(EncodeError::InsufficientSize(needed)) => room = needed.required_size,
            Err(EncodeError::AlreadyEncoded) => {
                wire.truncate(from);
                return false;
            }
        }
    }
}
