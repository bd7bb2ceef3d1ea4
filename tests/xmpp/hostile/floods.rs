//! Floods over every carrier: questions whose answers nobody reads, presence, logins.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::tcp::{PING, Raw, with_tls};
use super::documents::connect;
use crate::harness::bystanders::Bystanders;
use crate::harness::daemon::DOMAIN;
use crate::harness::websocket::{FIN, TEXT, masked};
use crate::harness::xmpp::{CLIENT, FRAMING, SASL, STREAMS, XmppSocket, open_to};
use crate::harness::{Net, eventually, http, parallel};

fn iq(child: &str) -> String {
    format!("<iq xmlns='{CLIENT}' type='get' id='q'>{child}</iq>")
}

fn ended(net: &Net, reason: &str) -> u64 {
    let series = format!("nexus_disconnects_total{{reason=\"{reason}\"}}");
    http::metric(net.daemon().http, &series)
}

#[test]
fn questions_without_end_whose_answers_nobody_reads_are_cut_off() {
    let net = with_tls(1);
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let questions = [
        iq("<ping xmlns='urn:xmpp:ping'/>"),
        iq("<query xmlns='http://jabber.org/protocol/disco#info'/>"),
        iq("<query xmlns='jabber:iq:roster'/>"),
        iq("<query xmlns='urn:example:unknown'/>"),
    ];
    for carrier in ["TCP", "TLS", "WebSocket"] {
        let before = ended(&net, "slow_receiver");
        let numbered: Vec<(usize, &String)> = questions.iter().enumerate().collect();
        parallel(&numbered, |(number, question)| {
            let resource = format!("hostile{number}");
            // As many as would be answered with more than a connection may have waiting, and the kernel takes.
            let times = 40_000_000 / question.len() / 100;
            if carrier == "WebSocket" {
                let mut socket = XmppSocket::login(net.daemon().ws, &account, &resource);
                let frames = masked(FIN | TEXT, question.as_bytes()).repeat(100);
                socket.socket.send_until_closed(&frames, times);
            } else {
                let mut raw = connect(&net, carrier == "TLS");
                raw.log_in(&account, &resource);
                let flood = question.repeat(100);
                let is_cut_off = (0..times).any(|_| raw.stream.write_all(flood.as_bytes()).is_err());
                assert!(is_cut_off, "{carrier}, {question}");
            }
        });
        eventually("all are counted", || {
            ended(&net, "slow_receiver") == before + numbered.len() as u64
        });
        bystanders.undisturbed(carrier);
    }
}

#[test]
fn presence_without_end_is_answered_with_nothing_and_reaches_nobody() {
    let net = with_tls(1);
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    for is_sealed in [false, true] {
        let mut raw = connect(&net, is_sealed);
        raw.log_in(&account, "hostile");
        let listener = format!("{}@{DOMAIN}/bystander that speaks", account.name);
        let presences = [
            "<presence/>".to_owned(),
            "<presence type='unavailable'/>".to_owned(),
            "<presence><show>away</show><priority>-128</priority></presence>".to_owned(),
            format!("<presence to='{listener}' type='subscribe'/>"),
            format!("<presence to='{listener}' type='probe'/>"),
        ];
        for round in 0..20 {
            raw.send(&presences.concat().repeat(200));
            if round % 5 == 0 {
                bystanders.served("during presence");
            }
        }
        raw.send(PING);
        let answers = raw.until("</iq>");
        assert!(answers.contains("id='p'"), "{answers}");
    }
    bystanders.undisturbed("presence");
}

/// `<auth/>` with these bytes of SASL.
fn auth(mechanism: &str, response: &str) -> String {
    format!("<auth xmlns='{SASL}' mechanism='{mechanism}'>{response}</auth>")
}

#[test]
fn rfc6120_6_4_2_huge_payloads_of_sasl_are_cut_off() {
    let net = with_tls(1);
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let proof = |len: usize| STANDARD.encode(format!("\0{}\0{}", account.name, "x".repeat(len)));
    let name = |len: usize| STANDARD.encode(format!("n,,n={},r=abc", "n".repeat(len)));
    for payload in [
        auth("PLAIN", &proof(1 << 20)),
        auth("PLAIN", &proof(12_500)),
        auth("SCRAM-SHA-256", &name(1 << 20)),
        auth("SCRAM-SHA-256", &name(12_500)),
        auth("SCRAM-SHA-1", &"A".repeat(1 << 20)),
        auth(&"M".repeat(1 << 20), ""),
        format!("<response xmlns='{SASL}'>{}</response>", "A".repeat(1 << 20)),
    ] {
        for is_sealed in [false, true] {
            let mut raw = connect(&net, is_sealed);
            raw.open();
            raw.throw(payload.as_bytes());
            raw.throw(b"</stream:stream>");
            let rest = raw.rest();
            let refused = rest.is_empty()
                || rest.contains("<failure ")
                || rest.contains(&format!("<stream:error xmlns:stream='{STREAMS}'>"));
            assert!(refused && !rest.contains("<success"), "{rest}");
        }
        let (mut socket, _) = XmppSocket::open(net.daemon().ws);
        socket.send(&payload);
        socket.send(&format!("<close xmlns='{FRAMING}'/>"));
        while let Some(element) = socket.next() {
            assert!(!element.is(SASL, "success"), "{element:?}");
        }
    }
    bystanders.undisturbed("SASL");
}

#[test]
fn logins_that_are_begun_and_given_up_for_ever_keep_nobody_else_out() {
    let net = with_tls(1);
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let abort = format!("<abort xmlns='{SASL}'/>");
    let scram = auth(
        "SCRAM-SHA-256",
        &STANDARD.encode(format!("n,,n={},r=abc", account.name)),
    );
    let wrong = auth("PLAIN", &STANDARD.encode(format!("\0{}\0wrong", account.name)));
    let loops = [format!("{scram}{abort}"), scram.clone(), wrong, abort];
    let places: Vec<(usize, bool)> = (0..loops.len()).flat_map(|n| [(n, false), (n, true)]).collect();
    parallel(&places, |&(n, is_sealed)| {
        for _ in 0..3 {
            let mut raw = connect(&net, is_sealed);
            raw.open();
            raw.throw(loops[n].repeat(200).as_bytes());
            let rest = raw.rest();
            assert!(!rest.contains("<success"), "{rest}");
            let answered = rest.matches("<failure ").count() + rest.matches("<challenge ").count();
            assert!(answered <= 8, "{answered} answers on one connection: {rest}");
        }
    });
    // Who knows the secret gets in meanwhile.
    Raw::connect(net.daemon().address("xmpp")).log_in(&account, "late");
    bystanders.undisturbed("logins");
}

#[test]
fn rfc7395_3_4_opens_without_end_and_websockets_without_a_word_end() {
    let net = with_tls(1);
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let flood = masked(FIN | TEXT, open_to(DOMAIN).as_bytes()).repeat(1_000);
    for _ in 0..20 {
        let mut socket = XmppSocket::connect(net.daemon().ws);
        socket.socket.send_bytes(&flood);
        let mut opened = 0;
        while let Some(element) = socket.next() {
            opened += usize::from(element.is(FRAMING, "open"));
        }
        assert!(opened <= 1, "{opened} streams on one connection");
        let mut block = XmppSocket::login(net.daemon().ws, &account, "hostile");
        block.socket.send_bytes(&flood);
        while block.next().is_some() {}
    }
    bystanders.undisturbed("opens");
}
