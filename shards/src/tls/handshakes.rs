//! Handshakes as a peer could spoil them, for the fuzz target `tls` and the replay of what it has kept.
//!
//! A client of the library's own speaks to [`Tls`]. What it sends is changed as the input says, and comes in pieces that
//! the input chooses; both sides know what has to hold whatever is done to their bytes.

use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};

use super::{Reading, Tls};
use crate::limits;

/// What the client says once it may, and what is answered.
const SAID: &[u8] = b"what is said under TLS";
/// Turns after which two sides that still have something to say will never be done.
const TURNS_MAX: usize = 64;

/// What an input does to a handshake.
#[derive(Clone, Copy)]
struct Plan<'a> {
    /// A client of TLS 1.2 alone.
    is_old: bool,
    /// It comes a second time, to resume its session.
    resumes: bool,
    /// Bytes that come at a time.
    piece: usize,
    /// Places in all that the client sends, and what is added to the byte there.
    edits: &'a [u8],
    /// Sent by the client before anything else, as it is.
    before: &'a [u8],
}

impl<'a> Plan<'a> {
    /// Flags, piece, number of edits, edits of three bytes each; the rest is sent as it is.
    fn of(data: &'a [u8]) -> Option<Self> {
        let (&[flags, piece, edits], rest) = data.split_first_chunk()?;
        let (edits, before) = rest.split_at_checked(usize::from(edits) * 3)?;
        Some(Self {
            is_old: flags & 1 != 0,
            resumes: flags & 2 != 0,
            // Whole flights where it is 0.
            piece: match piece {
                0 => usize::MAX,
                piece => usize::from(piece),
            },
            edits,
            before,
        })
    }

    fn is_honest(&self) -> bool {
        self.before.is_empty() && self.edits.chunks_exact(3).all(|edit| edit.last() == Some(&0))
    }

    /// Changes `bytes`, which stand behind `sent` others.
    fn edit(&self, bytes: &mut [u8], sent: usize) {
        for edit in self.edits.chunks_exact(3) {
            let &[high, low, by] = edit else { continue };
            let place = usize::from(u16::from_be_bytes([high, low])).checked_sub(sent);
            if let Some(byte) = place.and_then(|place| bytes.get_mut(place)) {
                *byte = byte.wrapping_add(by);
            }
        }
    }
}

/// Our side with what it has said and heard.
struct Server {
    tls: Tls,
    plain: Vec<u8>,
    is_secured: bool,
    is_broken: bool,
}

impl Server {
    fn new() -> Self {
        let tls = Tls::new(server_config());
        Self {
            tls: tls.expect("the settings are right"),
            plain: Vec::new(),
            is_secured: false,
            is_broken: false,
        }
    }

    /// Takes what came as a shard does, and what is to be sent back.
    fn take(&mut self, bytes: &mut [u8], wire: &mut Vec<u8>) {
        if self.is_broken {
            return;
        }
        let had = self.plain.len();
        let was_handshaking = self.tls.is_handshaking();
        let reading = if was_handshaking || self.tls.has_incoming() {
            self.tls.keep(bytes);
            self.tls.read_kept(&mut self.plain, wire)
        } else {
            let reading = self.tls.read(bytes, &mut self.plain, wire);
            self.tls.keep(bytes.get(reading.used..).unwrap_or_default());
            reading
        };
        self.check(&reading, was_handshaking, had);
        self.tls.rest();
    }

    fn check(&mut self, reading: &Reading, was_handshaking: bool, had: usize) {
        assert!(!self.tls.is_full(), "more is kept than any record needs");
        if reading.secured.is_some() {
            assert!(was_handshaking && !self.is_secured, "a handshake ends once");
            self.is_secured = true;
        }
        assert!(
            self.is_secured || self.plain.len() == had,
            "data before the end of the handshake"
        );
        if reading.fault.is_some() {
            self.is_broken = true;
            assert!(self.tls.is_closed(), "nothing is said after a fault");
        }
    }
}

/// Plays one input.
///
/// # Panics
/// If it shows a fault.
pub fn run(data: &[u8]) {
    let Some(plan) = Plan::of(data) else { return };
    let config = client_config(&plan);
    if plan.resumes {
        let honest = Plan {
            edits: &[],
            before: &[],
            ..plan
        };
        play(&honest, &config);
    }
    play(&plan, &config);
}

fn play(plan: &Plan<'_>, config: &Arc<ClientConfig>) {
    let mut server = Server::new();
    let mut client = client(config);
    let (mut sent, mut is_told, mut heard) = (0, false, Vec::new());
    let mut to_server = plan.before.to_vec();
    for _ in 0..TURNS_MAX {
        while client.wants_write() {
            let from = to_server.len();
            client.write_tls(&mut to_server).expect("memory takes all");
            let fresh = to_server.get_mut(from..).unwrap_or_default();
            plan.edit(fresh, sent);
            sent += fresh.len();
        }
        let mut to_client = Vec::new();
        for piece in to_server.chunks_mut(plan.piece.min(limits::RECEIVE_BUFFER_BYTES as usize)) {
            server.take(piece, &mut to_client);
        }
        to_server.clear();
        if server.tls.is_open() && !std::mem::replace(&mut is_told, true) {
            server.tls.seal(SAID, &mut to_client);
        }
        if to_client.is_empty() {
            break;
        }
        if !hear(&mut client, &to_client, &mut heard) {
            break;
        }
    }
    if plan.is_honest() {
        assert!(
            server.is_secured && !server.is_broken,
            "an honest client is let in"
        );
        assert_eq!((&*server.plain, &*heard), (SAID, SAID));
    }
    let mut last = Vec::new();
    assert_eq!(
        server.tls.close(&mut last),
        server.is_secured && !server.is_broken
    );
    assert!(server.tls.is_closed() && !server.tls.close(&mut last));
}

/// The client reads; false: it has broken off.
fn hear(client: &mut ClientConnection, mut bytes: &[u8], heard: &mut Vec<u8>) -> bool {
    use std::io::Read;
    while !bytes.is_empty() {
        let is_read = client.read_tls(&mut bytes).is_ok_and(|read| read > 0);
        if !is_read || client.process_new_packets().is_err() {
            return false;
        }
        // What is there is read; that there is no more is no fault.
        let _ = client.reader().read_to_end(heard);
    }
    true
}

/// A client that has something to say.
fn client(config: &Arc<ClientConfig>) -> ClientConnection {
    use std::io::Write;
    let name = ServerName::try_from("nexus.example").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("the settings are right");
    client
        .writer()
        .write_all(SAID)
        .expect("it waits for the handshake");
    client
}

fn client_config(plan: &Plan<'_>) -> Arc<ClientConfig> {
    let versions: &[_] = if plan.is_old {
        &[&rustls::version::TLS12]
    } else {
        &[&rustls::version::TLS13]
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .expect("the provider has both")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    if !plan.resumes {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

fn server_config() -> Arc<ServerConfig> {
    static CONFIG: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    Arc::clone(CONFIG.get_or_init(|| {
        // A key of Ed25519 in PKCS #8 (RFC 8410, 7); nobody looks at the certificate.
        let mut key = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
        key.extend_from_slice(&[7; 32]);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
        let provider = aws_lc_rs::default_provider();
        let key = provider.key_provider.load_private_key(key).expect("a key");
        let chain = vec![CertificateDer::from(vec![0x30, 0x00])];
        let certified = rustls::sign::CertifiedKey::new(chain, key);
        let resolver = rustls::sign::SingleCertAndKey::from(certified);
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has both")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = aws_lc_rs::Ticketer::new().expect("random numbers");
        Arc::new(config)
    }))
}

/// Believes any certificate.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
