//! What a client must not say, and what it is told.

use super::*;

#[test]
fn rfc6120_4_9_3_each_fault_has_its_condition() {
    let open = |inner: &str| format!("<message xmlns='jabber:client'>{inner}</message>");
    let deep = format!("{}{}", "<a>".repeat(200), "</a>".repeat(200));
    let attributes: String = (0..500).map(|n| format!(" a{n}='1'")).collect();
    let children = "<a/>".repeat(limits::XMPP_CHILDREN_MAX + 1);
    let id = "i".repeat(limits::XMPP_ID_BYTES_MAX + 1);
    let prefixes: String = (0..500).map(|n| format!(" xmlns:p{n}='u'")).collect();
    for (bytes, condition) in [
        (open("<body>x"), "not-well-formed"),
        (
            "<message xmlns='jabber:client'><body></message>".to_owned(),
            "not-well-formed",
        ),
        (open("").repeat(2), "not-well-formed"),
        (open("<x:y/>"), "not-well-formed"),
        (open("\u{1}"), "not-well-formed"),
        (open("<a b='1' b='2'/>"), "not-well-formed"),
        ("text".to_owned(), "not-well-formed"),
        (String::from(" "), "not-well-formed"),
        (open("<!-- x -->"), "restricted-xml"),
        (open("<?php ?>"), "restricted-xml"),
        (format!("<?xml version='1.0'?>{}", open("")), "restricted-xml"),
        (format!("<!DOCTYPE x>{}", open("")), "restricted-xml"),
        (open("&xxe;"), "restricted-xml"),
        (open(&deep), "policy-violation"),
        (open(&format!("<a{attributes}/>")), "policy-violation"),
        (open(&format!("<a{prefixes}/>")), "policy-violation"),
        (open(&children), "policy-violation"),
        (
            format!("<iq xmlns='jabber:client' type='get' id='{id}'><ping xmlns='urn:xmpp:ping'/></iq>"),
            "policy-violation",
        ),
        (open("<a xmlns='urn:}x'/>"), "not-well-formed"),
        (open(&format!("<{}/>", "n".repeat(1 << 16))), "policy-violation"),
        ("<iq xmlns='jabber:server'/>".to_owned(), "invalid-namespace"),
        ("<message/>".to_owned(), "invalid-namespace"),
        (
            "<presences xmlns='jabber:client'/>".to_owned(),
            "unsupported-stanza-type",
        ),
    ] {
        let mut client = Client::attached();
        let shown = bytes.get(..100).unwrap_or(&bytes);
        assert!(client.try_say(&bytes).is_err(), "{shown}");
        let heard = client.heard();
        let error = format!("<stream:error xmlns:stream='{}'><{condition} ", names::STREAM);
        assert!(heard.starts_with(&error), "{shown}: {heard}");
        assert!(
            heard.ends_with(&format!("<close xmlns='{}'/>", names::FRAMING)),
            "{heard}"
        );
        assert!(client.say("<anything").is_empty(), "nothing more is read");
        assert_eq!(client.heard(), "");
    }
}

#[test]
fn rfc6120_4_9_3_12_stanzas_before_the_login_are_not_authorized() {
    let message = "<message xmlns='jabber:client'><body>x</body></message>";
    let steps: [fn(&mut Client); 4] = [
        |_| {},
        |client| drop(client.open()),
        |client| {
            client.open();
            client.prove();
        },
        |client| {
            client.open();
            client.prove();
            client.open();
        },
    ];
    for step in steps {
        let mut client = Client::new();
        step(&mut client);
        assert_eq!(client.try_say(message).err(), Some(Disconnect::ProtocolError));
        assert!(client.heard().contains("<not-authorized "));
    }
}

#[test]
fn while_a_login_is_decided_nothing_is_read() {
    let mut client = Client::new();
    client.open();
    client.say(&auth_plain(&account(), "secret"));
    client.say("<message xmlns='jabber:client'/>");
    assert_eq!(client.peer.waits, Some(crate::session::testing::Wait::Hold));
}

#[test]
fn an_element_of_sasl_out_of_turn_ends_the_stream() {
    for element in [
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<x xmlns='urn:x'/>",
    ] {
        let mut client = Client::new();
        client.open();
        assert_eq!(
            client.try_say(element).err(),
            Some(Disconnect::ProtocolError),
            "{element}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        for mut client in [Client::new(), Client::attached()] {
            let _ = client.peer.feed(&bytes);
        }
    }
}
