//! Accounts that log in with a certificate: who may come in by one, under which name, and until when.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shards::rustls::pki_types::pem::PemObject;
use shards::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use shards::rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use crate::harness::certificates::Authority;
use crate::harness::matrix::{Form, OVER_TLS, SHARD_COUNTS};
use crate::harness::{Account, Call, Connect, Deadline, Net, Options, eventually, http, parallel};

/// A change holds everywhere within this (PROTOCOL section 2.1).
const CHANGE_MAX: Duration = Duration::from_secs(1);

/// The forms whose drivers show certificates.
fn forms() -> Vec<Form> {
    use crate::harness::matrix::Library::{Mqttjs, Paho, Slixmpp, SlixmppDeployed};
    let with_certificates = [Paho, Mqttjs, Slixmpp, SlixmppDeployed];
    let mut forms = OVER_TLS.to_vec();
    forms.retain(|form| with_certificates.contains(&form.library));
    forms
}

/// A daemon that believes this run's authority of its clients, too; with more lines of its table `tls`.
fn options(shards: usize, more: &str) -> Options {
    let (cert, key) = Authority::shared().certificate(&["nexus.example"]);
    let authorities = Authority::shared().file();
    Options::shards(shards).tls().config(&format!(
        "[tls]\nclient_ca_file = {authorities:?}\n{more}\n[[tls.certificates]]\ncert_file = {cert:?}\nkey_file = {key:?}\n"
    ))
}

/// What a client says that shows a certificate and nothing else.
fn shown(form: Form, account: &Account, resource: &str, certificate: (PathBuf, PathBuf)) -> Connect {
    let mut connect = account.connect(resource);
    connect.password = None;
    // XMPP's library wants to know whose address it will have.
    if form.is_xmpp() {
        connect.mechanism = Some("EXTERNAL");
    } else {
        connect.user = None;
    }
    connect.certificate = Some(certificate);
    connect
}

fn certificate_of(account: &Account, resource: &str) -> (PathBuf, PathBuf) {
    Authority::shared().client_certificate(&format!("nexus:{}{resource}", account.name))
}

#[test]
fn every_client_comes_in_as_the_account_of_its_certificate() {
    parallel(&SHARD_COUNTS, |&shards| {
        let net = Net::start(&options(shards, ""));
        let app = net.app();
        for (number, form) in forms().into_iter().enumerate() {
            let account = app.account("owner");
            let resource = format!("r{number}");
            for bound in [String::new(), format!("/{resource}")] {
                let certificate = certificate_of(&account, &bound);
                let client = net.open(form, &shown(form, &account, &resource, certificate));
                let (code, _, properties) = client.connack();
                assert_eq!(code, 0, "{form:?} {bound:?} {properties:?}");
                let told = client.call(&Call::new("nexus", "whoami"));
                for part in [&account.app, &account.uid, &account.role, &resource] {
                    assert!(
                        told.message.text().contains(&**part),
                        "{form:?} {}",
                        told.message.text()
                    );
                }
            }
        }
    });
}

#[test]
fn a_certificate_is_no_good_for_anybody_or_anything_else() {
    let net = Net::start(&options(1, ""));
    let app = net.app();
    let (account, other) = (app.account("owner"), app.account("user"));
    for form in forms() {
        let refused = |what: &str, connect: &Connect| {
            let (code, _, _) = net.open(form, connect).connack();
            assert_ne!(code, 0, "{what} {form:?}");
        };
        let bound = certificate_of(&account, "/pump7");
        if !form.is_xmpp() {
            let mut as_other = shown(form, &account, "w", certificate_of(&account, ""));
            as_other.user = Some(other.name.clone());
            refused("another's name", &as_other);
            refused("another resource", &shown(form, &account, "pump8", bound));
            let mut with_password = shown(form, &account, "w", certificate_of(&account, ""));
            with_password.user = Some(account.name.clone());
            with_password.password = Some("wrong".to_owned());
            refused("a wrong password", &with_password);
        }
        let mut nobody = account.clone();
        nobody.name = account.name.replace("-owner", "-partner");
        let certificate = certificate_of(&nobody, "");
        refused("no account", &shown(form, &nobody, "w", certificate));
        let certificate = Authority::shared().client_certificate("https://nexus.example/");
        refused("no name of ours", &shown(form, &account, "w", certificate));
        // Who shows none logs in as ever.
        net.connect(form, &other, "w");
    }
}

#[test]
fn a_revoked_account_loses_its_connections_and_is_not_let_in_again() {
    parallel(&SHARD_COUNTS, |&shards| {
        let net = Net::start(&options(shards, ""));
        let app = net.app();
        let account = app.account("user");
        let connects = forms().into_iter().enumerate().map(|(number, form)| {
            let certificate = certificate_of(&account, "");
            (form, shown(form, &account, &format!("r{number}"), certificate))
        });
        let connects: Vec<_> = connects.collect();
        let clients: Vec<_> = connects
            .iter()
            .map(|(form, connect)| {
                let client = net.open(*form, connect);
                assert_eq!(client.connack().0, 0, "{form:?}");
                client
            })
            .collect();
        net.daemon().cli_json(&["account", "revoke", &account.name]);
        let deadline = Deadline::after(CHANGE_MAX);
        for client in &clients {
            client.closed_within(deadline.left());
        }
        for (form, connect) in &connects {
            assert_ne!(net.open(*form, connect).connack().0, 0, "{form:?}");
        }
    });
}

/// A client of TLS alone, with this certificate if any.
fn client_config(certificate: Option<&(PathBuf, PathBuf)>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(Authority::shared().file()).unwrap())
        .unwrap();
    let provider = Arc::new(shards::rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
            let key = PrivateKeyDer::from_pem_file(key).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    Arc::new(config)
}

/// Sends a CONNECT of 3.1.1 under Client Identifier `w`, without user name and password; how the session of TLS came to
/// be, and the return code of CONNACK.
fn connects(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<(HandshakeKind, u8)> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let name = ServerName::try_from("nexus.example").unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01w")?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack)?;
    assert_eq!(connack[..3], [0x20, 2, 0]);
    Ok((stream.conn.handshake_kind().unwrap(), connack[3]))
}

#[test]
fn a_resumed_session_is_still_the_account_until_it_is_revoked() {
    let net = Net::start(&options(1, ""));
    let at = net.daemon().address("mqtts");
    let account = net.app().account("owner");
    let config = client_config(Some(&certificate_of(&account, "/w")));
    assert_eq!(connects(at, &config).unwrap(), (HandshakeKind::Full, 0));
    assert_eq!(connects(at, &config).unwrap(), (HandshakeKind::Resumed, 0));
    net.daemon().cli_json(&["account", "revoke", &account.name]);
    eventually("the account is refused", || {
        connects(at, &config).unwrap() == (HandshakeKind::Resumed, 4)
    });
    assert_eq!(
        connects(at, &client_config(None)).unwrap(),
        (HandshakeKind::Full, 5)
    );
}

#[test]
fn certificates_of_strangers_and_where_one_is_required_none_fail_the_handshake() {
    let net = Net::start(&options(1, "client_auth = \"required\""));
    let at = net.daemon().address("mqtts");
    let account = net.app().account("owner");
    let faults = || http::metric(net.daemon().http, "nexus_shard_tls_faults{shard=\"0\"}");
    connects(at, &client_config(None)).unwrap_err();
    eventually("it is counted", || faults() == 1);
    let uri = format!("nexus:{}", account.name);
    let stranger = Authority::new("stranger").client_certificate(&uri);
    connects(at, &client_config(Some(&stranger))).unwrap_err();
    eventually("it is counted", || faults() == 2);
    let own = certificate_of(&account, "");
    assert_eq!(
        connects(at, &client_config(Some(&own))).unwrap(),
        (HandshakeKind::Full, 0)
    );
}
