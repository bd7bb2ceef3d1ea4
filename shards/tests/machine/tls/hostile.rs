//! Messages of the handshake that never become whole, before and after it: they end their own connection.

use rustls::crypto::cipher::{AeadKey, Iv, MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::{ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite};

use super::*;

/// The header of a record, and of a handshake message of `len` bytes in it.
fn begin(record: u16, kind: u8, len: u32) -> Vec<u8> {
    let mut bytes = vec![22, 3, 1];
    bytes.extend_from_slice(&record.to_be_bytes());
    bytes.push(kind);
    bytes.extend_from_slice(&len.to_be_bytes()[1..]);
    bytes
}

fn is_served(stand: &Stand) {
    let mut client = stand.connect();
    client.write_all(b"still there").unwrap();
    let mut back = [0; 11];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"still there");
}

#[test]
fn a_handshake_message_that_is_never_whole_ends_its_connection_alone() {
    let stand = Stand::new(|_, _| {});
    for (record, len, more) in [
        (0x4000, 0xFF_FFFF, 60_000),
        (0x4000, 0xFF_FFFF, 16_380),
        (0x4000, 0x00_FFFF, 70_000),
        (4, 0x00_FFFF, 0),
        (4, 0, 0),
        (5, 1, 1),
        (0x0100, 0x00_8000, 252),
    ] {
        let mut stream = connect(&stand.running);
        let mut bytes = begin(record, 1, len);
        bytes.resize(bytes.len() + more, b'a');
        // It may be cut off meanwhile.
        let _cut_off = stream.write_all(&bytes);
        let _cut_off = stream.write_all(&[23, 3, 3, 0, 1, 0]);
        let _cut_off = stream.shutdown(std::net::Shutdown::Write);
        let _rest = stream.read_to_end(&mut Vec::new());
        is_served(&stand);
    }
    stop(stand.running);
}

/// A client whose records are sealed here: whatever it wants to say.
struct Sealer {
    stream: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Sealer {
    fn new(stand: &Stand) -> Self {
        let mut config = stand.authority.client_of(&[&version::TLS13]);
        config.enable_secret_extraction = true;
        let mut client = over(connect(&stand.running), &Arc::new(config));
        client.write_all(b"ping").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
        let Some(SupportedCipherSuite::Tls13(suite)) = client.conn.negotiated_cipher_suite() else {
            panic!("TLS 1.3");
        };
        let (conn, stream) = client.into_parts();
        let (sequence, secrets) = conn.dangerous_extract_secrets().unwrap().tx;
        let (key, iv): (AeadKey, Iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
            _ => panic!("a cipher of TLS 1.3"),
        };
        let mut sealer = Self {
            stream,
            encrypter: suite.aead_alg.encrypter(key, iv),
            sequence: 0,
        };
        // The cipher takes numbers from 0 on, in their order.
        while sealer.sequence < sequence {
            sealer.seal(ContentType::ApplicationData, b"sent already");
        }
        sealer
    }

    fn seal(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_3,
            payload: OutboundChunks::Single(payload),
        };
        let sealed = self.encrypter.encrypt(message, self.sequence).unwrap();
        self.sequence += 1;
        sealed.encode()
    }
}

#[test]
fn what_is_sent_beside_half_a_message_of_the_handshake_arrives_and_more_of_it_ends_the_connection() {
    let stand = Stand::new(|_, _| {});
    for half in [&[24][..], &[24, 0, 0], &[24, 0, 0, 1], &[4, 0, 0x40, 0, 1, 2, 3]] {
        let mut sealer = Sealer::new(&stand);
        let mut bytes = sealer.seal(ContentType::ApplicationData, b"pong");
        bytes.extend(sealer.seal(ContentType::Handshake, half));
        sealer.stream.write_all(&bytes).unwrap();
        // The echo, sealed: a header, the bytes, their type and the tag.
        let mut echo = [0; 5 + 4 + 1 + 16];
        sealer.stream.read_exact(&mut echo).unwrap();
        assert_eq!(echo[..5], [23, 3, 3, 0, 21]);
        // Nothing may come between the halves (RFC 8446, 5.1).
        let between = sealer.seal(ContentType::ApplicationData, b"more");
        sealer.stream.write_all(&between).unwrap();
        let mut rest = Vec::new();
        let _reset = sealer.stream.read_to_end(&mut rest);
        assert_eq!(rest, [], "the library has no alert for this");
        is_served(&stand);
    }
    assert_eq!(stand.count(|stats| &stats.tls_faults), 4);
    stop(stand.running);
}

#[test]
fn a_connection_is_closed_in_good_order_beside_half_a_message_of_the_handshake() {
    let stand = Stand::new(|_, _| {});
    let mut sealer = Sealer::new(&stand);
    let mut bytes = sealer.seal(ContentType::ApplicationData, b"E");
    bytes.extend(sealer.seal(ContentType::Handshake, &[24, 0, 0]));
    sealer.stream.write_all(&bytes).unwrap();
    let mut end = Vec::new();
    sealer.stream.read_to_end(&mut end).unwrap();
    // "the end", then the good-bye of two bytes.
    assert_eq!(end.len(), (5 + 7 + 17) + (5 + 2 + 17));
    is_served(&stand);
    stop(stand.running);
}

#[test]
fn rfc8446_4_6_3_keys_may_be_renewed_but_not_for_ever_without_a_word() {
    let stand = Stand::new(|_, _| {});
    // With words between them, as often as the client likes.
    let mut client = stand.connect();
    assert_eq!(exchange(&mut client, b"words"), b"words");
    for round in 0..100 {
        client.conn.refresh_traffic_keys().unwrap();
        assert_eq!(exchange(&mut client, b"words"), b"words", "round {round}");
    }
    let received = || stand.count(|stats| &stats.received_bytes);
    // Requests alone, whose answers nobody reads.
    let before = received();
    let mut flood = Vec::new();
    for _ in 0..1_000 {
        client.conn.refresh_traffic_keys().unwrap();
        while client.conn.wants_write() {
            client.conn.write_tls(&mut flood).unwrap();
        }
    }
    let _cut_off = client.sock.write_all(&flood);
    let mut rest = Vec::new();
    // An alert, or a reset where the flood went on.
    let _ended = client.sock.read_to_end(&mut rest);
    assert!(rest.len() < 1_000, "{} bytes of answers", rest.len());
    until("it is counted", || stand.count(|stats| &stats.tls_faults) == 1);
    assert!(received() > before);
    is_served(&stand);
    drop(client);
    stop(stand.running);
}

#[test]
fn records_without_a_byte_in_them_hold_nothing_and_nobody() {
    let stand = Stand::new(|_, _| {});
    let mut sealer = Sealer::new(&stand);
    for _ in 0..50 {
        let mut flood = Vec::new();
        for _ in 0..1_000 {
            flood.extend(sealer.seal(ContentType::ApplicationData, b""));
        }
        if sealer.stream.write_all(&flood).is_err() {
            break;
        }
        is_served(&stand);
    }
    drop(sealer);
    stand.end();
}
