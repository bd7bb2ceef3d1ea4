//! What handshakes of TLS cost a server, and what a storm of them does to the other connections of a shard.
//!
//! `tls_storm`: prints the CPU of the server's side of a handshake, full and resumed, in memory and alone on a thread; then
//! the round trips of a connection that is there, first by itself, then while as many Client Hellos as there is room
//! for come at the same shard. The storm's own side is nearly free: it sends one hello again and again, on a new
//! connection each, and looks at no answer.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring instrument, not part of the daemon"
)]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection};
use rustls::{StreamOwned, SupportedProtocolVersion, version};
use shards::{App, Config, ConnId, Listener, Next, Plane, Progress, TlsAcceptor, launch};

type Fault = Box<dyn Error>;

/// Handshakes of each kind whose median is printed.
const HANDSHAKES: usize = 2_000;
/// Round trips with and without the storm take this long each.
const TIME: Duration = Duration::from_secs(5);
/// Connections that have sent their hello and are not given up yet.
const HELLOS_AT_ONCE: usize = 64;

struct Echo;

impl App for Echo {
    type Parcel = ();
    type Luggage = ();

    fn opened(&mut self, _: &mut Plane<()>, _: ConnId, _: usize, _: SocketAddr) -> u32 {
        0
    }
    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, _: u32, bytes: &mut [u8]) -> Progress {
        if let Some(out) = plane.buffer(conn) {
            out.extend_from_slice(bytes);
        }
        Progress {
            used: bytes.len(),
            next: Next::Need(1),
        }
    }
    fn closed(&mut self, _: &mut Plane<()>, _: ConnId, _: u32) {}
    fn leaving(&mut self, _: &mut Plane<()>, _: ConnId, _: u32) {}
    fn handed(&mut self, _: &mut Plane<()>, _: ConnId, (): ()) -> u32 {
        0
    }
    fn parcel(&mut self, _: &mut Plane<()>, _: usize, (): ()) {}
    fn timer(&mut self, _: &mut Plane<()>, _: u64) {}
    fn rung(&mut self, _: &mut Plane<()>) {}
    fn flush(&mut self, _: &mut Plane<()>) {}
    fn stopping(&mut self, _: &mut Plane<()>) {}
}

/// Both sides' settings: a certificate on P-256, tickets as the daemon has them.
struct Sides {
    provider: Arc<CryptoProvider>,
    server: Arc<ServerConfig>,
    roots: RootCertStore,
}

impl Sides {
    fn new(tickets: usize) -> Result<Self, Fault> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone())?;
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.ticketer = aws_lc_rs::Ticketer::new()?;
        server.send_tls13_tickets = tickets;
        Ok(Self {
            provider,
            server: Arc::new(server),
            roots,
        })
    }

    fn client(
        &self,
        version: &'static SupportedProtocolVersion,
        resumes: bool,
    ) -> Result<Arc<ClientConfig>, Fault> {
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[version])?
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        if !resumes {
            client.resumption = Resumption::disabled();
        }
        Ok(Arc::new(client))
    }
}

fn connection(config: &Arc<ClientConfig>) -> Result<ClientConnection, Fault> {
    Ok(ClientConnection::new(
        Arc::clone(config),
        ServerName::try_from("localhost")?,
    )?)
}

/// One handshake in memory; how long the server's side was at work, and whether it resumed.
fn shake_hands(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
) -> Result<(Duration, HandshakeKind), Fault> {
    let mut client = connection(client)?;
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    let mut server = ServerConnection::new(Arc::clone(server))?;
    let mut busy = begun.elapsed();
    while client.is_handshaking() || server.is_handshaking() {
        while client.wants_write() {
            client.write_tls(&mut to_server)?;
        }
        let begun = Instant::now();
        let mut from = &*to_server;
        while !from.is_empty() {
            server.read_tls(&mut from)?;
            server.process_new_packets()?;
        }
        while server.wants_write() {
            server.write_tls(&mut to_client)?;
        }
        busy += begun.elapsed();
        let mut from = &*to_client;
        while !from.is_empty() {
            client.read_tls(&mut from)?;
            client.process_new_packets()?;
        }
        to_server.clear();
        to_client.clear();
    }
    Ok((busy, server.handshake_kind().ok_or("no handshake")?))
}

fn cost(
    name: &str,
    sides: &Sides,
    version: &'static SupportedProtocolVersion,
    resumes: bool,
) -> Result<(), Fault> {
    let client = sides.client(version, resumes)?;
    // The tickets come with the first.
    shake_hands(&sides.server, &client)?;
    let mut times = Vec::with_capacity(HANDSHAKES);
    for _ in 0..HANDSHAKES {
        let (time, kind) = shake_hands(&sides.server, &client)?;
        if resumes != (kind == HandshakeKind::Resumed) {
            return Err(format!("{name}: {kind:?}").into());
        }
        times.push(time);
    }
    println!("{name}: {}", quantiles(&mut times));
    Ok(())
}

fn quantiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 1_000).min(times.len() - 1));
    let micros = |share| at(share).map_or(0.0, |time| time.as_secs_f64() * 1e6);
    format!(
        "{} times, p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us",
        times.len(),
        micros(500),
        micros(990),
        micros(999)
    )
}

/// Round trips of 64 bytes, one at a time, 1 ms apart.
fn round_trips(stream: &mut (impl Read + Write)) -> Result<Vec<Duration>, Fault> {
    let (mut times, end) = (Vec::new(), Instant::now() + TIME);
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(1));
        let begun = Instant::now();
        stream.write_all(&[7; 64])?;
        stream.flush()?;
        stream.read_exact(&mut [0; 64])?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// Hellos without an end at `to`; how many were sent.
fn storm(to: SocketAddr, hello: &[u8], ends: &AtomicBool, sent: &AtomicU64) -> std::io::Result<()> {
    let mut waiting = std::collections::VecDeque::with_capacity(HELLOS_AT_ONCE);
    while !ends.load(Ordering::Relaxed) {
        if waiting.len() == HELLOS_AT_ONCE {
            // The first byte of the answer: the server has done its part.
            let mut stream: TcpStream = waiting.pop_front().unwrap_or_else(|| unreachable!("it is full"));
            stream.read_exact(&mut [0])?;
            sent.fetch_add(1, Ordering::Relaxed);
        }
        let mut stream = TcpStream::connect(to)?;
        stream.write_all(hello)?;
        waiting.push_back(stream);
    }
    Ok(())
}

fn main() -> Result<(), Fault> {
    let sides = Sides::new(2)?;
    cost("TLS 1.3, full", &sides, &version::TLS13, false)?;
    cost("TLS 1.3, resumed", &sides, &version::TLS13, true)?;
    cost("TLS 1.2, full", &sides, &version::TLS12, false)?;
    cost("TLS 1.2, resumed", &sides, &version::TLS12, true)?;
    let frugal = Sides::new(1)?;
    cost("TLS 1.3, one ticket, full", &frugal, &version::TLS13, false)?;
    cost("TLS 1.3, one ticket, resumed", &frugal, &version::TLS13, true)?;

    let mut config = Config {
        shards: 1,
        ..Config::default()
    };
    let mut listener = Listener::new("127.0.0.1:0".parse()?);
    listener.tls = Some(TlsAcceptor::new(Arc::clone(&sides.server)));
    config.listeners = vec![listener];
    let running = launch(config, |_| Echo)?;
    let to = *running.addresses().first().ok_or("no listener")?;
    let client = sides.client(&version::TLS13, false)?;
    let mut hello = Vec::new();
    connection(&client)?.write_tls(&mut hello)?;
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    let mut stream = StreamOwned::new(connection(&client)?, stream);
    let longest = || Duration::from_nanos(running.stats(0).turn_ns_max.get());
    println!("alone: {}", quantiles(&mut round_trips(&mut stream)?));
    println!("longest turn so far: {:?}", longest());
    let (ends, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| -> Result<(), Fault> {
        let storm = scope.spawn(|| storm(to, &hello, &ends, &sent));
        let times = round_trips(&mut stream);
        ends.store(true, Ordering::Relaxed);
        storm.join().map_err(|_| "the storm panicked")??;
        println!("beside the storm: {}", quantiles(&mut times?));
        Ok(())
    })?;
    println!("longest turn so far: {:?}", longest());
    println!(
        "the storm: {} hellos a second",
        sent.load(Ordering::Relaxed) / TIME.as_secs()
    );
    Ok(())
}
