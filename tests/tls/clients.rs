//! Each version of TLS on each listener, by three implementations that are not ours: OpenSSL by Python and by its own
//! program, and the one in node.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::config;
use crate::harness::bystanders::Bystanders;
use crate::harness::certificates::Authority;
use crate::harness::daemon::DOMAIN;
use crate::harness::websocket::{CLOSE, FIN, handshake, masked};
use crate::harness::{Account, Net, Options, eventually, http, mqtt, parallel};

/// What is said on a listener, and what it answers.
#[derive(Clone, Debug)]
struct Place {
    listener: &'static str,
    alpn: &'static str,
    starttls: bool,
    say: Vec<u8>,
    until: &'static str,
    /// A good-bye that the daemon answers by its own.
    leave: Vec<u8>,
}

fn header() -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='{DOMAIN}' version='1.0'>"
    )
}

fn places(account: &Account) -> Vec<Place> {
    let stream = |listener, starttls| Place {
        listener,
        alpn: "xmpp-client",
        starttls,
        say: header().into_bytes(),
        until: "</stream:features>",
        leave: b"</stream:stream>".to_vec(),
    };
    vec![
        Place {
            listener: "mqtts",
            alpn: "mqtt",
            starttls: false,
            say: mqtt::connect(5, account, "probe"),
            until: "\u{20}",
            leave: vec![0xE0, 0],
        },
        Place {
            listener: "wss",
            alpn: "http/1.1",
            starttls: false,
            say: handshake("/ws", "xmpp").into_bytes(),
            until: "\r\n\r\n",
            leave: masked(FIN | CLOSE, &1_000_u16.to_be_bytes()),
        },
        stream("xmpps", false),
        stream("xmpp", true),
    ]
}

/// What a probe says of its two connections.
#[track_caller]
fn probe(program: &str, net: &Net, place: &Place, version: &str, name: &str) -> Vec<Value> {
    let starttls = place.starttls.then(|| {
        json!([
            [header(), "</stream:features>"],
            ["<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed"],
        ])
    });
    let address = net.daemon().address(place.listener);
    let command = json!({
        "host": address.ip().to_string(),
        "port": address.port(),
        "ca_file": Authority::shared().file(),
        "name": name,
        "version": version,
        // One that the listener does not speak, before the one that it does.
        "alpn": ["unknown/1", place.alpn],
        "starttls": starttls,
        "say": STANDARD.encode(&place.say),
        "until": place.until,
        "leave": STANDARD.encode(&place.leave),
    });
    let script = match program {
        "node" => "tests/clients/tls_probe.js",
        _ => "tests/clients/tls_probe.py",
    };
    let output = Command::new(program)
        .arg(script)
        .arg(command.to_string())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {version} {place:?}: {said}");
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_version_on_each_listener_agrees_on_its_protocol_resumes_and_ends_with_a_good_bye() {
    let names: [&[&str]; 2] = [&["first.example"], &[DOMAIN]];
    let net = Net::start(&Options::shards(2).tls().config(&config(&names)));
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let mut cases = Vec::new();
    for program in ["python3", "node"] {
        for version in ["1.2", "1.3"] {
            for place in places(&account) {
                cases.push((program, version, place));
            }
        }
    }
    parallel(&cases, |(program, version, place)| {
        let mut place = place.clone();
        if place.listener == "mqtts" {
            place.say = mqtt::connect(5, &account, &format!("{program}{version}"));
        }
        let told = probe(program, &net, &place, version, DOMAIN);
        assert_eq!(told.len(), 2);
        for (number, told) in told.iter().enumerate() {
            assert_eq!(told["version"], format!("TLSv{version}"), "{told}");
            assert_eq!(told["alpn"], place.alpn, "{told}");
            let is_shown = number == 0 || *program == "python3";
            assert!(
                !is_shown || told["names"][0] == DOMAIN,
                "the second certificate: {told}"
            );
            assert_eq!(told["reused"], number == 1, "{told}");
            assert_eq!(told["end"], "good-bye", "{told}");
        }
    });
    bystanders.undisturbed("probes");
}

/// OpenSSL's own program on a listener.
fn s_client(net: &Net, listener: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command
        .args([
            "s_client",
            "-connect",
            &net.daemon().address(listener).to_string(),
        ])
        .args(["-CAfile", Authority::shared().file().to_str().unwrap()])
        .args(["-verify_return_error", "-servername", DOMAIN])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn openssl_verifies_and_agrees_by_each_version_and_by_starttls() {
    let net = Net::start(&Options::shards(1).tls().config(&config(&[&[DOMAIN]])));
    for (listener, alpn, starttls) in [
        ("mqtts", "mqtt", false),
        ("wss", "http/1.1", false),
        ("xmpps", "xmpp-client", false),
        ("xmpp", "xmpp-client", true),
    ] {
        for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let mut arguments = vec![flag, "-alpn", alpn];
            if starttls {
                arguments.extend(["-starttls", "xmpp", "-xmpphost", DOMAIN]);
            }
            // Nothing to say: it ends when the handshake is over.
            let output = s_client(&net, listener, &arguments)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                said.contains("Verify return code: 0 (ok)")
                    && said.contains(&format!("ALPN protocol: {alpn}"))
                    && said.contains(version),
                "{listener} {version}: {said}{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        // What is older is not spoken.
        let output = s_client(&net, "mqtts", &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!output.status.success());
    }
}

#[test]
fn rfc5746_a_client_that_wants_to_renegotiate_is_told_that_nobody_does() {
    let net = Net::start(&Options::shards(1).tls().config(&config(&[&[DOMAIN]])));
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let handshakes = || http::metric(net.daemon().http, "nexus_shard_tls_handshakes{shard=\"0\"}");
    for round in 1..=3 {
        let mut child = s_client(&net, "mqtts", &["-tls1_2"]).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("Verify return code") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "no handshake");
        }
        // Its command to renegotiate.
        input.write_all(b"R\n").unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(said.contains("no renegotiation"), "{said}");
        eventually("one handshake each", || handshakes() == round);
    }
    bystanders.undisturbed("renegotiation");
}
