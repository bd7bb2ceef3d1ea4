//! TLS, seen by a client of its own: what a tenant sends and gets is what it would be in clear.

mod hostile;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use crossbeam::queue::SegQueue;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned, version};
use shards::{Close, Config, ConnId, Next, Plane, Progress, Running, Secured, TlsAcceptor};

use crate::support::{Tenant, all, config, connect, pattern, read, read_to_end, start, stop, until};

pub(crate) type Client = StreamOwned<ClientConnection, TcpStream>;

/// A certificate authority, and certificates of it.
pub(crate) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        let issuer = rcgen::Issuer::new(params, key);
        Self { issuer, root }
    }

    fn certificate(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (vec![certificate.der().clone()], der)
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        Arc::new(roots)
    }

    /// Settings of a server called `localhost` that takes clients with and without a certificate.
    pub(crate) fn server(&self) -> ServerConfig {
        let (chain, key) = self.certificate("localhost");
        let clients = WebPkiClientVerifier::builder_with_provider(self.roots(), provider());
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.allow_unauthenticated().build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"mqtt".to_vec()];
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        config
    }

    pub(crate) fn client(&self) -> ClientConfig {
        self.client_of(&[&version::TLS13, &version::TLS12])
    }

    fn client_of(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Returns what it gets, and remembers what handshakes settled. A short `T…` or `W…` in clear turns to TLS, `E` ends.
struct Echo {
    acceptor: TlsAcceptor,
    secured: Arc<SegQueue<Secured>>,
}

impl Tenant for Echo {
    type Parcel = ();

    fn opened(&mut self, _: &mut Plane<()>, conn: ConnId, _: usize, _: SocketAddr) -> u32 {
        conn.slot()
    }

    fn secured(&mut self, plane: &mut Plane<()>, conn: ConnId, tag: u32, secured: Secured) {
        assert_eq!(tag, conn.slot());
        assert!(plane.is_live(conn));
        self.secured.push(secured);
    }

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, _: u32, bytes: &mut [u8]) -> Progress {
        match &*bytes {
            // A request that is not complete: `W` and four more.
            [b'W', rest @ ..] if rest.len() < 4 => {
                return Progress {
                    used: 0,
                    next: Next::Need(5),
                };
            }
            [b'T' | b'W', rest @ ..] if rest.len() < 16 => {
                plane.buffer(conn).unwrap().extend_from_slice(b"proceed");
                assert!(plane.start_tls(conn, &self.acceptor));
                assert!(!plane.start_tls(conn, &self.acceptor), "once");
            }
            b"E" => {
                plane.buffer(conn).unwrap().extend_from_slice(b"the end");
                plane.close(conn, Close::AfterFlush);
            }
            _ => plane.buffer(conn).unwrap().extend_from_slice(bytes),
        }
        all(bytes)
    }
}

struct Stand {
    authority: Authority,
    acceptor: TlsAcceptor,
    secured: Arc<SegQueue<Secured>>,
    running: Running,
}

impl Stand {
    fn new(change: impl FnOnce(&mut Config, &TlsAcceptor)) -> Self {
        let authority = Authority::new();
        let acceptor = TlsAcceptor::new(Arc::new(authority.server()));
        let mut config = config(1);
        config.listeners[0].tls = Some(acceptor.clone());
        change(&mut config, &acceptor);
        let secured = Arc::new(SegQueue::new());
        let running = start(config, {
            let (acceptor, secured) = (acceptor.clone(), Arc::clone(&secured));
            move |_| Echo {
                acceptor: acceptor.clone(),
                secured: Arc::clone(&secured),
            }
        });
        Self {
            authority,
            acceptor,
            secured,
            running,
        }
    }

    fn count(&self, counter: impl Fn(&shards::Stats) -> &shards::Counter) -> u64 {
        counter(&self.running.stats(0)).get()
    }

    fn connect(&self) -> Client {
        over(connect(&self.running), &Arc::new(self.authority.client()))
    }

    fn end(self) {
        until("the slots are free", || {
            self.count(|stats| &stats.released) == self.count(|stats| &stats.accepted)
        });
        stop(self.running);
    }
}

/// A client of `localhost` on a connection that is there.
pub(crate) fn over(socket: TcpStream, config: &Arc<ClientConfig>) -> Client {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), socket)
}

/// Sends `bytes` and reads as many.
pub(crate) fn exchange(client: &mut Client, bytes: &[u8]) -> Vec<u8> {
    let mut got = vec![0; bytes.len()];
    // The send queues between are bounded: both directions at once.
    for (sent, got) in bytes.chunks(60_000).zip(got.chunks_mut(60_000)) {
        client.write_all(sent).unwrap();
        client.flush().unwrap();
        client.read_exact(got).unwrap();
    }
    got
}

#[test]
fn every_byte_comes_back_in_order_in_both_versions() {
    let stand = Stand::new(|_, _| ());
    for (version, minor) in [(&version::TLS13, 3), (&version::TLS12, 2)] {
        let mut client = stand.authority.client_of(&[version]);
        client.alpn_protocols = vec![b"http/1.1".to_vec(), b"mqtt".to_vec()];
        let mut client = over(connect(&stand.running), &Arc::new(client));
        for len in [1, 100, 2_048, 16_384, 16_385, 400_000] {
            let bytes = pattern(len);
            assert!(exchange(&mut client, &bytes) == bytes, "{len} bytes");
        }
        let secured = stand.secured.pop().unwrap();
        assert_eq!(secured.minor_version, minor);
        assert_eq!(secured.alpn.as_deref(), Some(&b"mqtt"[..]));
        assert_eq!((secured.certificate, secured.is_resumed), (None, false));
    }
    assert_eq!(stand.count(|stats| &stats.tls_handshakes), 2);
    assert_eq!(stand.count(|stats| &stats.tls_faults), 0);
    stand.end();
}

#[test]
fn a_client_that_sends_byte_by_byte_is_served_like_any_other() {
    let stand = Stand::new(|_, _| ());
    let mut client = stand.connect();
    let (tls, socket) = (&mut client.conn, &mut client.sock);
    tls.writer().write_all(b"late words").unwrap();
    let mut answered = Vec::new();
    while answered.len() < 10 {
        let mut out = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut out).unwrap();
        }
        for byte in out {
            socket.write_all(&[byte]).unwrap();
        }
        if answered.len() < 10 {
            tls.read_tls(socket).unwrap();
            tls.process_new_packets().unwrap();
            let mut some = [0; 64];
            if let Ok(len) = tls.reader().read(&mut some) {
                answered.extend_from_slice(&some[..len]);
            }
        }
    }
    assert_eq!(answered, b"late words");
    drop(client);
    stand.end();
}

#[test]
fn the_last_bytes_come_before_the_good_bye_of_tls() {
    let stand = Stand::new(|_, _| ());
    let mut client = stand.connect();
    client.write_all(b"E").unwrap();
    // Without close_notify this would be an error.
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"the end");
    drop(client);
    stand.end();
}

#[test]
fn a_good_bye_of_the_client_ends_the_connection_and_is_answered() {
    let stand = Stand::new(|_, _| ());
    let mut client = stand.connect();
    assert_eq!(exchange(&mut client, b"words"), b"words");
    client.conn.send_close_notify();
    client.flush().unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"");
    stand.end();
}

#[test]
fn what_is_no_tls_is_told_so_and_counted() {
    let stand = Stand::new(|_, _| ());
    for (number, garbage) in [
        &b"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\xff\xff........",
    ]
    .into_iter()
    .enumerate()
    {
        let mut socket = connect(&stand.running);
        socket.write_all(garbage).unwrap();
        let alert = read_to_end(&mut socket);
        assert_eq!(alert.first(), Some(&21), "an alert: {alert:?}");
        until("it is counted", || {
            stand.count(|stats| &stats.tls_faults) == number as u64 + 1
        });
    }
    assert!(stand.secured.is_empty());
    stand.end();
}

#[test]
fn a_record_that_was_changed_ends_the_connection_with_an_alert() {
    let stand = Stand::new(|_, _| ());
    let mut client = stand.connect();
    assert_eq!(exchange(&mut client, b"words"), b"words");
    client
        .sock
        .write_all(b"\x17\x03\x03\x00\x20................................")
        .unwrap();
    let mut got = Vec::new();
    let error = client.read_to_end(&mut got).unwrap_err().to_string();
    assert!(
        error.contains("BadRecordMac") || error.contains("alert"),
        "{error}"
    );
    assert_eq!(stand.count(|stats| &stats.tls_faults), 1);
    drop(client);
    stand.end();
}

#[test]
fn who_stops_in_the_handshake_takes_no_more_than_a_slot() {
    let stand = Stand::new(|_, _| ());
    let mut half_open = stand.connect();
    half_open.conn.write_tls(&mut half_open.sock).unwrap();
    let mut silent = connect(&stand.running);
    silent.write_all(b"\x16\x03\x01\x02\x00").unwrap();
    let mut client = stand.connect();
    assert_eq!(exchange(&mut client, b"words"), b"words");
    assert_eq!(stand.count(|stats| &stats.tls_handshakes), 1);
    drop((half_open, silent, client));
    stand.end();
}

#[test]
fn a_storm_of_handshakes_waits_for_its_turns_and_all_are_served() {
    let stand = Stand::new(|_, _| ());
    let config = Arc::new(stand.authority.client());
    let mut clients: Vec<_> = (0..64)
        .map(|_| {
            let mut client = over(connect(&stand.running), &config);
            client.conn.write_tls(&mut client.sock).unwrap();
            client
        })
        .collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let bytes = pattern(number + 1);
        assert_eq!(exchange(client, &bytes), bytes);
    }
    drop(clients);
    assert_eq!(stand.count(|stats| &stats.tls_handshakes), 64);
    stand.end();
}

#[test]
fn a_connection_in_clear_turns_to_tls_and_what_was_sent_along_is_not_believed() {
    let stand = Stand::new(|config, _| config.listeners[0].tls = None);
    let mut socket = connect(&stand.running);
    socket.write_all(b"in clear").unwrap();
    assert_eq!(read(&mut socket, 8), b"in clear");
    socket.write_all(b"Tinjected").unwrap();
    assert_eq!(read(&mut socket, 7), b"proceed");
    let mut client = over(socket, &Arc::new(stand.authority.client()));
    let bytes = pattern(30_000);
    assert!(exchange(&mut client, &bytes) == bytes);
    assert_eq!(stand.secured.len(), 1);
    drop(client);
    stand.end();
}

#[test]
fn what_follows_the_last_piece_of_a_request_to_turn_to_tls_is_not_believed_either() {
    let stand = Stand::new(|config, _| config.listeners[0].tls = None);
    let mut socket = connect(&stand.running);
    socket.write_all(b"W").unwrap();
    until("the first piece is there", || {
        stand.count(|stats| &stats.received_bytes) == 1
    });
    socket.write_all(b"aitsinjected").unwrap();
    assert_eq!(read(&mut socket, 7), b"proceed");
    let mut client = over(socket, &Arc::new(stand.authority.client()));
    let bytes = pattern(30_000);
    assert!(exchange(&mut client, &bytes) == bytes);
    drop(client);
    stand.end();
}

#[test]
fn a_session_is_resumed_by_its_ticket() {
    let stand = Stand::new(|_, _| ());
    let config = Arc::new(stand.authority.client());
    for _ in 0..2 {
        let mut client = over(connect(&stand.running), &config);
        assert_eq!(exchange(&mut client, b"words"), b"words");
    }
    let resumed: Vec<_> = std::iter::from_fn(|| stand.secured.pop())
        .map(|secured| secured.is_resumed)
        .collect();
    assert_eq!(resumed, [false, true]);
    assert_eq!(stand.count(|stats| &stats.tls_resumptions), 1);
    stand.end();
}

#[test]
fn new_settings_are_for_newcomers_and_close_nothing() {
    let stand = Stand::new(|_, _| ());
    let mut before = stand.connect();
    assert_eq!(exchange(&mut before, b"words"), b"words");
    let others = Authority::new();
    stand.acceptor.replace(Arc::new(others.server()));
    let mut stranger = stand.connect();
    let refused = stranger
        .write_all(b"words")
        .and_then(|()| stranger.read_exact(&mut [0; 5]));
    assert!(refused.is_err(), "the certificate is of another authority");
    let mut after = over(connect(&stand.running), &Arc::new(others.client()));
    assert_eq!(exchange(&mut after, b"words"), b"words");
    assert_eq!(exchange(&mut before, b"still there"), b"still there");
    drop((before, stranger, after));
    stand.end();
}

#[test]
fn a_client_s_certificate_is_shown_to_the_tenant() {
    let stand = Stand::new(|_, _| ());
    let (chain, key) = stand.authority.certificate("pump7");
    let leaf = chain[0].to_vec();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(stand.authority.roots())
        .with_client_auth_cert(chain, key)
        .unwrap();
    let mut client = over(connect(&stand.running), &Arc::new(config));
    assert_eq!(exchange(&mut client, b"words"), b"words");
    let secured = stand.secured.pop().unwrap();
    assert_eq!(secured.certificate, Some(leaf));
    drop(client);
    stand.end();
}
