//! TLS on every listener: certificates chosen by name and read again, sessions that move, what is refused.

mod clients;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use shards::rustls::pki_types::pem::PemObject;
use shards::rustls::pki_types::{CertificateDer, ServerName};
use shards::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::harness::certificates::Authority;
use crate::harness::daemon::nexusd;
use crate::harness::matrix::{OVER_TLS, PAHO_5, SHARD_COUNTS};
use crate::harness::{Call, Net, Options, Publish, Stamp, eventually, http, parallel};

/// The configuration of a daemon with a certificate of its own for each set of names.
fn config(names: &[&[&str]]) -> String {
    let mut text = String::new();
    for names in names {
        let (cert, key) = Authority::shared().certificate(names);
        text += &format!("[[tls.certificates]]\ncert_file = {cert:?}\nkey_file = {key:?}\n");
    }
    text
}

fn net(shards: usize) -> Net {
    Net::start(
        &Options::shards(shards)
            .tls()
            .config(&config(&[&["nexus.example"]])),
    )
}

/// Speaks TLS as a client that asks for `name`.
fn shake_hands(address: SocketAddr, name: &str, alpn: &[&str]) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(Authority::shared().file()).unwrap())
        .unwrap();
    let provider = Arc::new(shards::rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket)
}

/// The certificate that such a client is shown.
fn shown(address: SocketAddr, name: &str) -> Vec<u8> {
    let mut client = shake_hands(address, name, &[]);
    client.conn.complete_io(&mut client.sock).unwrap();
    client.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn every_client_does_over_tls_what_it_does_in_clear() {
    parallel(&SHARD_COUNTS, |&shards| {
        let net = net(shards);
        let app = net.app();
        let owner = app.account("owner");
        for (number, form) in OVER_TLS.into_iter().enumerate() {
            let worker = net.connect(form, &owner, &format!("w{number}"));
            let command = format!("echo{number}");
            worker.listen(&command);
            let requester = net.connect(form, &app.customer(), &format!("r{number}"));
            let body = format!("{{\"long\":\"{}\"}}", "x".repeat(60_000));
            let call = Call::new(&app.name, &command).body(&body);
            requester.send_call("c1", &call);
            let request = worker.request();
            assert_eq!(request.message.text(), body, "{form:?}");
            assert_eq!(request.sender.resource, format!("r{number}"));
            worker.answer(&request, r#"{"code":0}"#);
            assert_eq!(requester.reply("c1").code, 0);
            requester.hear_channel(&format!("plant/{number}"));
            worker.say(&format!("plant/{number}"), "21.5");
            let (_, sender, message) = requester.next_on_channel();
            assert_eq!(message.text(), "21.5", "{form:?}");
            assert_eq!(sender, Stamp::of(&owner, &format!("w{number}")));
        }
    });
}

#[test]
fn a_session_that_lasts_is_found_again_from_whichever_shard_its_client_comes() {
    let net = net(2);
    let account = net.app().account("owner");
    let sender = net.connect(PAHO_5, &account, "sender");
    let form = OVER_TLS[0];
    let mut connect = account.connect("lasting");
    connect.clean = false;
    connect.properties = json!({"session_expiry_interval": 60});
    for round in 0..12 {
        let client = net.open(form, &connect);
        let (code, is_present, _) = client.connack();
        assert_eq!((code, is_present), (0, round > 0), "round {round}");
        if round == 0 {
            client.hear("plant/7", 1);
        } else {
            // QoS 1: one that was not acknowledged before the last good-bye comes again.
            let expected = format!("{}", round - 1);
            client.message_where(&expected, |message| message.text() == expected);
        }
        client.disconnect();
        sender.publish_acked(Publish::new("plant/7", round.to_string()).qos(1));
    }
}

#[test]
fn a_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    let names: [&[&str]; 3] = [
        &["first.example"],
        &["second.example", "also.example"],
        &["*.wild.example"],
    ];
    let net = Net::start(&Options::shards(1).tls().config(&config(&names)));
    for listener in ["mqtts", "wss"] {
        let at = net.daemon().address(listener);
        // Each is verified for the name it was asked by.
        let first = shown(at, "first.example");
        let second = shown(at, "second.example");
        assert_eq!(shown(at, "also.example"), second);
        assert_ne!(first, second);
        assert_eq!(shown(at, "127.0.0.1"), first, "without a name it is the first");
        assert_ne!(shown(at, "any.wild.example"), first);
    }
}

#[test]
fn new_certificates_are_taken_at_a_signal_and_when_the_files_change() {
    let net = net(2);
    let at = net.daemon().address("mqtts");
    let account = net.app().account("owner");
    let clients: Vec<_> = OVER_TLS
        .iter()
        .enumerate()
        .map(|(number, &form)| net.connect(form, &account, &format!("c{number}")))
        .collect();
    let text = fs::read_to_string(net.daemon().data_dir().join("nexus.toml")).unwrap();
    let path = |key: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{key} = ")))
            .unwrap();
        line.trim_matches('"').to_owned()
    };
    let write = |(chain, key): &(String, String)| {
        fs::write(path("key_file"), key).unwrap();
        fs::write(path("cert_file"), chain).unwrap();
    };
    let mut before = shown(at, "nexus.example");
    for by_signal in [true, false] {
        write(&Authority::shared().pem(&["nexus.example"]));
        if by_signal {
            net.daemon().signal("HUP");
        }
        eventually("the new certificate is shown", || {
            shown(at, "nexus.example") != before
        });
        before = shown(at, "nexus.example");
    }
    // What cannot be used changes nothing.
    fs::write(path("cert_file"), "no certificate").unwrap();
    net.daemon().signal("HUP");
    eventually("it is said", || {
        net.daemon().log().contains("certificates not reread")
    });
    assert_eq!(shown(at, "nexus.example"), before);
    for client in &clients {
        assert_eq!(client.call(&Call::new("nexus", "ping")).code, 0);
    }
}

#[test]
fn what_is_no_tls_or_agrees_on_nothing_is_refused_with_an_alert_and_counted() {
    let net = net(1);
    let at = net.daemon().address("mqtts");
    let faults = || http::metric(net.daemon().http, "nexus_shard_tls_faults{shard=\"0\"}");
    let mut socket = TcpStream::connect(at).unwrap();
    socket
        .write_all(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
        .unwrap();
    let mut alert = Vec::new();
    socket.read_to_end(&mut alert).unwrap();
    assert_eq!(alert.first(), Some(&21), "{alert:?}");
    let mut client = shake_hands(at, "nexus.example", &["h2"]);
    let error = client.conn.complete_io(&mut client.sock).unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    eventually("both are counted", || faults() == 2);
    let mut client = shake_hands(at, "nexus.example", &["mqtt"]);
    client.conn.complete_io(&mut client.sock).unwrap();
    assert_eq!(client.conn.alpn_protocol(), Some(&b"mqtt"[..]));
}

#[test]
fn a_certificate_for_development_is_made_once_and_its_key_is_private() {
    let mut net = Net::start(&Options::shards(1).tls().config("[tls]\nself_signed = true\n"));
    let made = net.daemon().data_dir().join("data/tls");
    let mode = fs::metadata(made.join("self-signed-key.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(made.join("self-signed.pem")).unwrap();
    net.crash(&Options::shards(1).tls().config("[tls]\nself_signed = true\n"));
    assert_eq!(fs::read(made.join("self-signed.pem")).unwrap(), before);
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_in_one_line() {
    let directory = TempDir::with_prefix("nexus-test-").unwrap();
    let (cert, key) = Authority::shared().certificate(&["nexus.example"]);
    let (_, other_key) = Authority::shared().certificate(&["nexus.example"]);
    let pair =
        |cert: &Path, key: &Path| format!("[[tls.certificates]]\ncert_file = {cert:?}\nkey_file = {key:?}\n");
    for (text, expected) in [
        (
            "[listen]\nmqtts = \"127.0.0.1:0\"\n".to_owned(),
            "a certificate is needed",
        ),
        (
            pair(Path::new("/nowhere/cert.pem"), &key),
            "/nowhere/cert.pem: cannot read certificates",
        ),
        (pair(&key, &key), "no certificate in it"),
        (pair(&cert, &cert), "cannot read a private key"),
        (pair(&cert, &other_key), "are of no use together"),
        (
            "[tls]\ncertificates = 1\n".to_owned(),
            "tables in [[ ]] are allowed",
        ),
    ] {
        let file = directory.path().join("nexus.toml");
        fs::write(&file, &text).unwrap();
        let dir = directory.path().join("data");
        let arguments = [
            "serve",
            "--config",
            file.to_str().unwrap(),
            "--data-dir",
            dir.to_str().unwrap(),
        ];
        let output = nexusd(&arguments, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}{said}");
        assert!(said.contains(expected), "{text}{said}");
        assert_eq!(said.trim().lines().count(), 1, "{said}");
    }
}
