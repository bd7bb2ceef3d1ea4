//! What is not allowed yet, or no more: stanzas before login, logins and bindings again.

use super::{PING_IQ, Place, message_with, named};
use crate::harness::daemon::DOMAIN;
use crate::harness::native::full_jid;
use crate::harness::xmpp::{BIND, CLIENT, SASL, XmppSocket, condition, open_to, plain};
use crate::harness::{Call, parallel};

#[test]
fn rfc6120_4_9_3_12_stanzas_before_login_are_not_authorized() {
    let place = Place::new();
    let reasons = ["protocol_error", "bad_credentials"];
    let stanzas = [
        PING_IQ.to_owned(),
        message_with("<body>x</body>"),
        format!("<presence xmlns='{CLIENT}'/>"),
        format!("<iq xmlns='{CLIENT}' type='set' id='b'><bind xmlns='{BIND}'/></iq>"),
    ];
    for stanza in &stanzas {
        let (mut socket, _) = XmppSocket::open(place.net.daemon().ws);
        place.ends(
            stanza,
            &mut socket,
            stanza.as_bytes(),
            &["not-authorized"],
            &reasons,
        );
    }
    // Logged in, but without a resource there is no block yet.
    for stanza in &stanzas[1..3] {
        let (mut socket, _) = XmppSocket::open(place.net.daemon().ws);
        let answer = socket.authenticate("PLAIN", &plain("", &place.account.name, &place.account.secret));
        assert!(answer.is(SASL, "success"), "{answer:?}");
        socket.restart();
        place.ends(
            "not bound",
            &mut socket,
            stanza.as_bytes(),
            &["not-authorized"],
            &reasons,
        );
    }
}

#[test]
fn rfc6120_4_9_3_24_unknown_top_level_elements_are_unsupported() {
    let cases = [
        named("unknown", format!("<thing xmlns='{CLIENT}'/>")),
        named(
            "a stanza of a server",
            "<message xmlns='jabber:server'><body>x</body></message>",
        ),
        named(
            "without a namespace",
            "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>",
        ),
    ];
    let place = Place::new();
    for (name, message) in &cases {
        let mut socket = place.login();
        place.ends(
            name,
            &mut socket,
            message.as_bytes(),
            &["unsupported-stanza-type", "invalid-namespace"],
            &["protocol_error", "malformed"],
        );
    }
}

#[test]
fn a_second_bind_changes_nothing() {
    let place = Place::new();
    let mut socket = place.login();
    let answer = socket.bind("another");
    assert_eq!(answer.attribute("type"), Some("error"), "{answer:?}");
    // The block is who it was, and nobody holds the other address.
    let to = full_jid(&place.account, "hostile");
    place.neighbours[0].chat(&to, "still here");
    let came = socket.element();
    assert_eq!(came.child(CLIENT, "body").expect("a body").text(), "still here");
    socket.assert_alive();
}

#[test]
fn sasl_and_open_in_a_loop_end_the_stream() {
    let place = Place::new();
    let reasons = ["bad_credentials", "protocol_error", "quota_exceeded"];
    let auth = |mechanism: &str| format!("<auth xmlns='{SASL}' mechanism='{mechanism}'/>");
    let abort = format!("<abort xmlns='{SASL}'/>");
    let open = open_to(DOMAIN);
    let loops = [
        ("auth and abort", vec![auth("SCRAM-SHA-256"), abort.clone()]),
        ("auth upon auth", vec![auth("SCRAM-SHA-256")]),
        ("unknown mechanisms", vec![auth("NONE")]),
        ("abort alone", vec![abort]),
        (
            "response alone",
            vec![format!("<response xmlns='{SASL}'>YQ==</response>")],
        ),
        ("open upon open", vec![open]),
    ];
    parallel(&loops, |(name, messages)| {
        let place = Place::new();
        let before = place.disconnects(&reasons);
        let (mut socket, _) = XmppSocket::open(place.net.daemon().ws);
        // At most as many as any patience with a clumsy client could allow.
        for _ in 0..32 {
            for message in messages {
                socket.send(message);
            }
        }
        let mut ended_with = None;
        while let Some(element) = socket.next() {
            if element.is("http://etherx.jabber.org/streams", "error") {
                ended_with = Some(condition(&element));
            }
        }
        let wanted = [
            "policy-violation",
            "not-authorized",
            "bad-format",
            "unsupported-stanza-type",
            "invalid-xml",
        ];
        let ended_with = ended_with.expect("a stream error");
        assert!(wanted.contains(&ended_with.as_str()), "{name}: {ended_with}");
        place.counted(name, before, &reasons);
    });
    assert_eq!(place.neighbours[1].call(&Call::new("nexus", "ping")).code, 0);
}

#[test]
fn sasl_after_login_is_refused() {
    let place = Place::new();
    for message in [
        format!("<auth xmlns='{SASL}' mechanism='PLAIN'>AGEAYg==</auth>"),
        open_to(DOMAIN),
    ] {
        let mut socket = place.login();
        place.ends(
            "after login",
            &mut socket,
            message.as_bytes(),
            &[
                "policy-violation",
                "unsupported-stanza-type",
                "not-authorized",
                "invalid-namespace",
            ],
            &["protocol_error", "malformed", "quota_exceeded"],
        );
    }
}
