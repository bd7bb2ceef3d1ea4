//! XMPP over TCP by hand (RFC 6120): what no well-behaved client sends, and what slixmpp sees of the daemon's ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use shards::rustls::pki_types::pem::PemObject;
use shards::rustls::pki_types::{CertificateDer, ServerName};
use shards::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::harness::certificates::Authority;
use crate::harness::daemon::DOMAIN;
use crate::harness::matrix::{PAHO_5, SLIXMPP, XMPPJS};
use crate::harness::xmpp::{SASL, STREAMS, plain};
use crate::harness::{Account, Net, Options, Stamp, each_shard_count, http, parallel};

pub(super) const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
pub(super) const PING: &str = "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn header() -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}' to='{DOMAIN}' version='1.0'>"
    )
}

pub(super) fn auth(account: &Account) -> String {
    let response = plain("", &account.name, &account.secret);
    format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{response}</auth>")
}

pub(super) fn bind(resource: &str) -> String {
    format!(
        "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>"
    )
}

/// A connection on which bytes are written by hand.
pub(super) struct Raw<S> {
    pub(super) stream: S,
    pub(super) read: String,
}

impl Raw<TcpStream> {
    pub(super) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            read: String::new(),
        }
    }

    /// Goes on under TLS.
    pub(super) fn secure(self) -> Raw<StreamOwned<ClientConnection, TcpStream>> {
        assert_eq!(self.read, "", "nothing in clear is left");
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(Authority::shared().file()).unwrap();
        roots.add(authority).unwrap();
        let provider = Arc::new(shards::rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(DOMAIN).unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        Raw {
            stream: StreamOwned::new(client, self.stream),
            read: self.read,
        }
    }
}

impl<S: Read + Write> Raw<S> {
    pub(super) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
        self.stream.flush().unwrap();
    }

    /// What is read up to and with `end`.
    #[track_caller]
    pub(super) fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.find(end) {
                let rest = self.read.split_off(at + end.len());
                return std::mem::replace(&mut self.read, rest);
            }
            let mut bytes = [0; 4_096];
            let len = self.stream.read(&mut bytes).unwrap();
            assert!(len > 0, "closed before {end}, after {}", self.read);
            self.read.push_str(std::str::from_utf8(&bytes[..len]).unwrap());
        }
    }

    /// What is read up to the end.
    pub(super) fn rest(mut self) -> String {
        let mut bytes = Vec::new();
        // A connection that is broken off is over, too.
        let _ended = self.stream.read_to_end(&mut bytes);
        self.read + std::str::from_utf8(&bytes).unwrap()
    }

    #[track_caller]
    pub(super) fn open(&mut self) -> String {
        self.send(&header());
        self.until("</stream:features>")
    }

    #[track_caller]
    pub(super) fn log_in(&mut self, account: &Account, resource: &str) {
        self.open();
        self.send(&auth(account));
        self.until("</success>");
        self.open();
        self.send(&bind(resource));
        let bound = self.until("</iq>");
        assert!(bound.contains(&format!("/{resource}</jid>")), "{bound}");
    }
}

pub(super) fn with_tls(shards: usize) -> Net {
    let (cert, key) = Authority::shared().certificate(&[DOMAIN]);
    let config = format!("[[tls.certificates]]\ncert_file = {cert:?}\nkey_file = {key:?}\n");
    Net::start(&Options::shards(shards).tls().config(&config))
}

#[test]
fn rfc6120_13_9_4_what_comes_along_with_starttls_is_not_believed() {
    parallel(&[1, 2], |&shards| {
        let net = with_tls(shards);
        let account = net.app().account("owner");
        let address = net.daemon().address("xmpp");
        let accepted = || http::metric(net.daemon().http, "nexus_logins_accepted_total");
        let before = accepted();
        for pieces in [1, 2] {
            let mut raw = Raw::connect(address);
            assert!(raw.open().contains(STARTTLS));
            let injected = format!("{STARTTLS}{}{}", auth(&account), header());
            // In one packet; and with the end of the request in another one, whatever became of the first.
            let (first, second) = injected.split_at(if pieces == 1 { 0 } else { 20 });
            raw.send(first);
            raw.send(second);
            assert_eq!(
                raw.until("/>"),
                "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
            );
            let mut raw = raw.secure();
            let features = raw.open();
            assert!(
                features.contains("<mechanisms ") && !features.contains(STARTTLS),
                "{features}"
            );
            assert!(!features.contains("<success"), "{features}");
            assert_eq!(accepted(), before + u64::from(pieces == 2));
            raw.log_in_after_features(&account, "w1");
        }
    });
}

impl<S: Read + Write> Raw<S> {
    /// As [`Raw::log_in`] on a stream that is open.
    #[track_caller]
    fn log_in_after_features(&mut self, account: &Account, resource: &str) {
        self.send(&auth(account));
        self.until("</success>");
        self.open();
        self.send(&bind(resource));
        self.until("</iq>");
        self.send(PING);
        assert!(self.until("</iq>").contains("type='result'"));
    }
}

#[test]
fn a_stream_is_read_byte_by_byte_and_several_stanzas_at_once() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let mut raw = Raw::connect(net.daemon().address("xmpp"));
        raw.log_in(&account, "w1");
        for byte in format!(" \n{PING}\t").chars() {
            raw.send(&byte.to_string());
        }
        raw.until("</iq>");
        raw.send(&PING.repeat(500));
        for _ in 0..500 {
            assert!(raw.until("</iq>").contains("id='p'"));
        }
        raw.send("</stream:stream>");
        assert_eq!(raw.rest(), "</stream:stream>");
    });
}

#[test]
fn a_message_in_the_same_write_as_the_join_of_its_room_is_sent() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let mut raw = Raw::connect(net.daemon().address("xmpp"));
        raw.log_in(&account, "w1");
        let room = format!("{}@conference.{DOMAIN}", super::channel::new_channel());
        // As deployed workers write it: another order of the nick's parts, no `<x/>`.
        raw.send(&format!(
            "<presence to='{room}/{}-w1-owner'/><message to='{room}' type='groupchat'><body>first</body></message>",
            account.name
        ));
        let own = format!("from='{room}/{}-w1'", account.name);
        let presence = raw.until("</presence>");
        assert!(
            presence.contains(&own) && presence.contains("code='210'"),
            "{presence}"
        );
        let echo = raw.until("</message>");
        assert!(
            echo.contains(&own) && echo.contains("<body>first</body>"),
            "{echo}"
        );
    });
}

#[test]
fn bad_input_ends_a_stream_with_its_error_and_disturbs_nobody() {
    let net = Net::start(&Options::shards(1));
    let account = net.app().account("owner");
    let neighbours = [XMPPJS, SLIXMPP, PAHO_5]
        .map(|form| net.connect(form, &account, &format!("{form:?}").len().to_string()));
    let address = net.daemon().address("xmpp");
    let nested = "<a>".repeat(40);
    let attributes: String = (0..100).map(|n| format!(" a{n}=''")).collect();
    for (stage, text, condition) in [
        ("first", "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", "not-well-formed"),
        ("first", "\u{16}\u{3}\u{1}", "not-well-formed"),
        ("first", "<!DOCTYPE x [<!ENTITY a 'b'>]>", "restricted-xml"),
        (
            "first",
            &header().replace(DOMAIN, "other.example"),
            "host-unknown",
        ),
        (
            "first",
            &header().replace("jabber:client", "jabber:server"),
            "invalid-namespace",
        ),
        (
            "first",
            &format!("<a x='{}", "y".repeat(5_000)),
            "policy-violation",
        ),
        (
            "open",
            "<message to='x'><body>y</body></message>",
            "not-authorized",
        ),
        ("open", STARTTLS, "unsupported-stanza-type"),
        ("bound", "<message>&undefined;</message>", "restricted-xml"),
        ("bound", "<message><!-- x --></message>", "restricted-xml"),
        ("bound", "</iq>", "not-well-formed"),
        ("bound", &format!("<message>{nested}"), "policy-violation"),
        ("bound", &format!("<message{attributes}/>"), "policy-violation"),
        (
            "bound",
            &format!("<{}/>", "n".repeat(1_000_000)),
            "policy-violation",
        ),
        ("bound", &header(), "restricted-xml"),
        ("bound", &auth(&account), "invalid-namespace"),
    ] {
        let before = http::metric(net.daemon().http, "nexus_connections_closed_total");
        let mut raw = Raw::connect(address);
        match stage {
            "open" => drop(raw.open()),
            "bound" => raw.log_in(&account, "hostile"),
            _ => {}
        }
        raw.send(text);
        let rest = raw.rest();
        let text: String = text.chars().take(60).collect();
        assert!(
            rest.contains(&format!("<stream:error xmlns:stream='{STREAMS}'><{condition} ")),
            "{text}: {rest}"
        );
        assert!(
            rest.ends_with("</stream:error></stream:stream>"),
            "{text}: {rest}"
        );
        assert_eq!(
            stage == "first",
            rest.starts_with("<?xml version='1.0'?><stream:stream "),
            "{text}: {rest}"
        );
        crate::harness::eventually("the connection is counted as closed", || {
            http::metric(net.daemon().http, "nexus_connections_closed_total") > before
        });
    }
    let [page, worker, device] = &neighbours;
    device.hear_channel("quiet");
    for client in [page, worker] {
        client.say("quiet", "still here");
        assert_eq!(device.next_on_channel().2.text(), "still here");
    }
}

#[test]
fn a_stock_client_is_told_of_a_wrong_secret_a_take_over_and_the_daemon_s_end() {
    let net = Net::start(&Options::shards(2));
    let account = net.app().account("owner");
    let mut wrong = account.connect("w1");
    wrong.password = Some("wrong".to_owned());
    let (code, _, properties) = net.open(SLIXMPP, &wrong).connack();
    assert_eq!(
        (code, properties.text("condition")),
        (0x87, Some("not-authorized"))
    );
    let first = net.connect(SLIXMPP, &account, "w1");
    let second = net.connect(XMPPJS, &account, "w1");
    assert_eq!(first.stream_error(), "conflict");
    first.closed();
    let third = net.connect(SLIXMPP, &account, "w2");
    second.hear_channel("plant/1");
    third.say("plant/1", "on");
    assert_eq!(second.next_on_channel().1, Stamp::of(&account, "w2"));
    net.daemon().signal("TERM");
    assert_eq!(third.stream_error(), "system-shutdown");
    third.closed();
}
