//! Peers that begin TLS and do not go on, and what is no TLS where it belongs, and TLS where it does not.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use nexus::limits;
use shards::rustls::client::ClientConfig;
use shards::rustls::pki_types::pem::PemObject;
use shards::rustls::pki_types::{CertificateDer, ServerName};
use shards::rustls::{ClientConnection, RootCertStore};

use crate::harness::bystanders::Bystanders;
use crate::harness::certificates::Authority;
use crate::harness::clock::{Deadline, Moment};
use crate::harness::daemon::DOMAIN;
use crate::harness::mqtt::Raw;
use crate::harness::websocket::handshake;
use crate::harness::{Net, Options, eventually, http, mqtt, parallel};

const SEALED: [&str; 3] = ["mqtts", "wss", "xmpps"];
const IN_CLEAR: [&str; 3] = ["mqtt", "ws", "xmpp"];

fn net() -> Net {
    let (cert, key) = Authority::shared().certificate(&[DOMAIN]);
    let config = format!("[[tls.certificates]]\ncert_file = {cert:?}\nkey_file = {key:?}\n");
    Net::start(&Options::shards(1).tls().config(&config))
}

fn client() -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(Authority::shared().file()).unwrap())
        .unwrap();
    let provider = Arc::new(shards::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from(DOMAIN).unwrap()).unwrap()
}

/// A ClientHello as it goes over the wire.
fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    client().write_tls(&mut bytes).unwrap();
    bytes
}

/// How a peer leaves its handshake.
#[derive(Clone, Copy, Debug)]
enum Stop {
    Silent,
    InTheHello,
    BehindTheHello,
    BehindTheHandshake,
}

const STOPS: [Stop; 4] = [
    Stop::Silent,
    Stop::InTheHello,
    Stop::BehindTheHello,
    Stop::BehindTheHandshake,
];

fn stopped(address: SocketAddr, stop: Stop, hello: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    match stop {
        Stop::Silent => {}
        Stop::InTheHello => socket.write_all(&hello[..hello.len() - 20]).unwrap(),
        Stop::BehindTheHello => socket.write_all(hello).unwrap(),
        Stop::BehindTheHandshake => {
            client().complete_io(&mut socket).unwrap();
        }
    }
    socket
}

/// Waits for the end of a connection that nothing more is sent on.
#[track_caller]
fn await_end(mut socket: TcpStream, deadline: Deadline) {
    let patience = deadline.left().max(Duration::from_millis(1));
    socket.set_read_timeout(Some(patience)).unwrap();
    match socket.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "not closed in time"),
    }
}

#[test]
fn hundreds_of_handshakes_that_are_never_finished_are_closed_in_time_and_disturb_nobody() {
    let net = net();
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let hello = hello();
    let mut left = Vec::new();
    let begun = Moment::now();
    for listener in SEALED {
        for stop in STOPS {
            let address = net.daemon().address(listener);
            left.extend((0..50).map(|_| stopped(address, stop, &hello)));
        }
        bystanders.served(listener);
    }
    let opening = begun.elapsed();
    bystanders.undisturbed("half open");
    let deadline = Deadline::after(Duration::from_millis(limits::PRELOGIN_MS_MAX + 3_000));
    for socket in left {
        await_end(socket, deadline);
    }
    assert!(
        begun.elapsed() + Duration::from_secs(1) > Duration::from_millis(limits::PRELOGIN_MS_MAX),
        "closed early, opened within {opening:?}"
    );
    let connections = || http::metric(net.daemon().http, "nexus_shard_connections{shard=\"0\"}");
    // Two bystanders are left.
    eventually("the slots are free", || connections() == 2);
    bystanders.undisturbed("after them");
}

#[test]
fn a_handshake_that_trickles_in_gets_no_more_time_than_another() {
    let net = net();
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    parallel(&SEALED, |listener| {
        let mut raw = Raw::open(net.daemon().address(listener));
        let pause = Duration::from_millis(100);
        let begun = Moment::now();
        let bytes = hello().into_iter().map(|byte| vec![byte]);
        raw.trickle(bytes.chain(std::iter::repeat_n(vec![0], 200)), pause);
        let took = begun.elapsed();
        let most = Duration::from_millis(limits::PRELOGIN_MS_MAX);
        assert!(took < most + Duration::from_secs(3), "{took:?}");
    });
    bystanders.undisturbed("a slow handshake");
}

#[test]
fn what_is_no_tls_is_answered_by_an_alert_on_each_listener_of_tls() {
    let net = net();
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let faults = || http::metric(net.daemon().http, "nexus_shard_tls_faults{shard=\"0\"}");
    for listener in SEALED {
        for said in [
            mqtt::connect(5, &account, "plain"),
            handshake("/mqtt", "mqtt").into_bytes(),
            b"<?xml version='1.0'?><stream:stream xmlns='jabber:client'>".to_vec(),
            vec![0; 1_000],
            // SSLv2's hello.
            b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80".to_vec(),
            vec![0xFF; 60_000],
        ] {
            let before = faults();
            let mut raw = Raw::open(net.daemon().address(listener));
            raw.send(&said);
            let alert = raw.rest_within(Duration::from_secs(9));
            let is_alert = alert.first() == Some(&21) && alert.len() == 7;
            // Who goes on sending may be reset before the alert is read.
            assert!(is_alert || (said.len() > 10_000 && alert.is_empty()), "{alert:?}");
            eventually("it is counted", || faults() == before + 1);
        }
    }
    bystanders.undisturbed("no TLS");
}

#[test]
fn tls_on_a_listener_in_clear_is_closed_like_any_other_nonsense() {
    let net = net();
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let hello = hello();
    for listener in IN_CLEAR {
        let mut raw = Raw::open(net.daemon().address(listener));
        raw.send(&hello);
        let rest = raw.rest_within(Duration::from_secs(9));
        // No record of TLS: nothing, a status of HTTP, a stream error.
        assert!(!matches!(rest.first(), Some(20..=23)), "{listener}: {rest:?}");
    }
    bystanders.undisturbed("TLS in clear");
}
