//! Plain messages as Nexus-Direct (PROTOCOL 4, Plain messages; 2.2).

use crate::harness::daemon::DOMAIN;
use crate::harness::http;
use crate::harness::matrix::{PAHO_5, PAHO_311, XMPPJS};
use crate::harness::native::{bare_jid, full_jid};
use crate::harness::xml::{self, Element, escaped};
use crate::harness::xmpp::{CLIENT, NEXUS, XmppSocket};
use crate::harness::{Account, Call, Net, Options, Publish, Stamp, each_shard_count, parallel};

/// Attributes of a message, the namespace of a client's stream among them.
fn message(to: &str, attributes: &str, children: &str) -> String {
    format!(
        "<message xmlns='{CLIENT}' to='{}' {attributes}>{children}</message>",
        escaped(to)
    )
}

/// Makes a block known as available at a priority.
fn available(socket: &mut XmppSocket, priority: i8) {
    socket.send(&format!(
        "<presence xmlns='{CLIENT}'><priority>{priority}</priority></presence>"
    ));
    // Answered after it: the presence has been taken.
    socket.assert_alive();
}

/// The one `<sender/>`, as its attributes.
#[track_caller]
fn sender_of(stanza: &Element) -> (Stamp, String) {
    let senders = stanza.descendants(NEXUS, "sender");
    assert_eq!(senders.len(), 1, "one sender: {stanza:?}");
    let part = |name: &str| senders[0].attribute(name).unwrap_or_default().to_owned();
    let stamp = Stamp {
        app: part("app"),
        uid: part("uid"),
        role: part("role"),
        resource: part("resource"),
    };
    (stamp, part("jid"))
}

fn body_of(stanza: &Element) -> Option<String> {
    stanza.child(CLIENT, "body").map(Element::text)
}

/// Two accounts of an app.
fn accounts(net: &Net) -> (Account, Account) {
    let app = net.app();
    (app.account("owner"), app.account("user"))
}

#[test]
fn a_message_keeps_id_type_and_children_and_gets_its_sender() {
    each_shard_count(|net| {
        let (owner, user) = accounts(net);
        let mut hearer = XmppSocket::login(net.daemon().ws, &owner, "W.1");
        let mut sender = XmppSocket::login(net.daemon().ws, &user, "page");
        let children = [
            "<body>hello &lt;you&gt; &amp;amp;</body>",
            "<body xml:lang='de'>hallo</body>",
            "<thread parent='p'>t1</thread>",
            "<active xmlns='http://jabber.org/protocol/chatstates'/>",
            "<e:x xmlns:e='urn:example:x' e:a='1' b='&quot;&apos;&#10;'><e:y>z<e:y/></e:y></e:x>",
            "<payload xmlns='urn:example:p'><![CDATA[<raw>]]></payload>",
        ];
        let kinds = [
            Some("chat"),
            Some("normal"),
            Some("headline"),
            Some("groupchat"),
            None,
        ];
        for (number, kind) in kinds.into_iter().enumerate() {
            let typed = kind.map_or_else(String::new, |kind| format!("type='{kind}'"));
            let id = format!("m&lt;{number}");
            sender.send(&message(
                &full_jid(&owner, "W.1"),
                &format!("id='{id}' {typed}"),
                &children.concat(),
            ));
            let came = hearer.element();
            assert!(came.is(CLIENT, "message"), "{came:?}");
            assert_eq!(came.attribute("id"), Some(format!("m<{number}").as_str()));
            assert_eq!(
                came.attribute("type").unwrap_or("normal"),
                kind.unwrap_or("normal")
            );
            assert_eq!(came.attribute("from"), Some(full_jid(&user, "page").as_str()));
            let own = full_jid(&owner, "W.1");
            assert!(came.attribute("to").is_none_or(|to| to == own), "{came:?}");
            assert_eq!(
                sender_of(&came),
                (Stamp::of(&user, "page"), full_jid(&user, "page"))
            );
            let kept = came.elements();
            assert_eq!(kept.len(), children.len() + 1, "and <sender/>: {came:?}");
            for (sent, kept) in children.iter().zip(&kept) {
                // Read inside the namespace of the stream, as it was sent; CDATA is text by another spelling.
                let sent = sent.replace("<![CDATA[<raw>]]>", "&lt;raw&gt;");
                let whole = xml::parse(&format!("<m xmlns='{CLIENT}'>{sent}</m>"));
                assert_eq!(whole.elements()[0].text(), kept.text());
                assert_eq!(whole.elements()[0].name, kept.name);
                assert_eq!(whole.elements()[0].namespace, kept.namespace);
                assert_eq!(whole.elements()[0].elements().len(), kept.elements().len());
            }
            let lang = kept[1].attribute("xml:lang");
            assert_eq!(lang, Some("de"), "{came:?}");
        }
    });
}

#[test]
fn what_a_sender_claims_of_itself_is_overwritten_and_never_a_reason_to_close() {
    each_shard_count(|net| {
        let (owner, user) = accounts(net);
        let mut hearer = XmppSocket::login(net.daemon().ws, &owner, "w1");
        let mut sender = XmppSocket::login(net.daemon().ws, &user, "page");
        let forged =
            format!("<sender xmlns='{NEXUS}' app='nexus' uid='0' role='owner' resource='boss' jid='x@y/z'/>");
        let prefixed = format!("<n:sender xmlns:n='{NEXUS}' app='evil'/>");
        let inside = format!("<x xmlns='urn:example:x'><s xmlns='{NEXUS}'/></x>");
        sender.send(&message(
            &full_jid(&owner, "w1"),
            &format!(
                "from='{}' type='chat'",
                escaped("nexus-000000000000000000000000-owner@nexus.example/x")
            ),
            &format!("{forged}<body>one</body>{prefixed}{inside}{forged}"),
        ));
        let came = hearer.element();
        assert_eq!(came.attribute("from"), Some(full_jid(&user, "page").as_str()));
        assert_eq!(
            sender_of(&came),
            (Stamp::of(&user, "page"), full_jid(&user, "page"))
        );
        assert_eq!(body_of(&came).as_deref(), Some("one"));
        assert!(came.child("urn:example:x", "x").is_some(), "other children stay");
        sender.assert_alive();
        // Nor does a forged sender pass inside of native stanzas.
        let app = &owner.app;
        sender.send(&format!(
            "<message xmlns='{CLIENT}' from='x@y/z'>{forged}<direct xmlns='{NEXUS}' app='{app}' resource='w1'>two</direct></message>"
        ));
        let came = hearer.element();
        assert_eq!(sender_of(&came).0, Stamp::of(&user, "page"));
        assert_eq!(body_of(&came).as_deref(), Some("two"));
    });
}

#[test]
fn a_message_reaches_a_block_of_mqtt_as_its_body() {
    each_shard_count(|net| {
        let (owner, user) = accounts(net);
        let block = net.connect(XMPPJS, &user, "page");
        for form in [PAHO_311, PAHO_5] {
            let device = net.connect(form, &owner, "d1");
            device.listen_direct();
            let to = full_jid(&owner, "d1");
            // Nothing of a message without a body reaches MQTT.
            block.send_stanza(&message(
                &to,
                "type='chat'",
                "<active xmlns='http://jabber.org/protocol/chatstates'/>",
            ));
            block.send_stanza(&message(
                &to,
                "",
                "<x xmlns='urn:example:x'><body>not this</body></x>",
            ));
            block.chat(&to, "hello <there>");
            let (text, sender) = device.next_direct();
            assert_eq!(
                (text.as_str(), sender),
                ("hello <there>", Stamp::of(&user, "page"))
            );
        }
    });
}

#[test]
fn a_message_without_a_body_reaches_blocks_of_xmpp() {
    each_shard_count(|net| {
        let (owner, user) = accounts(net);
        let mut hearer = XmppSocket::login(net.daemon().ws, &owner, "w1");
        let sender = net.connect(XMPPJS, &user, "page");
        sender.send_stanza(&message(
            &full_jid(&owner, "w1"),
            "type='chat' id='i1'",
            "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
        ));
        let came = hearer.element();
        assert_eq!(came.attribute("id"), Some("i1"));
        assert!(
            came.child("http://jabber.org/protocol/chatstates", "composing")
                .is_some()
        );
        assert_eq!(body_of(&came), None);
        assert_eq!(sender_of(&came).0, Stamp::of(&user, "page"));
    });
}

#[test]
fn messages_of_type_error_are_dropped_and_nothing_bounces() {
    each_shard_count(|net| {
        let (owner, user) = accounts(net);
        let mut hearer = XmppSocket::login(net.daemon().ws, &owner, "w1");
        let mut sender = XmppSocket::login(net.daemon().ws, &user, "page");
        let to = full_jid(&owner, "w1");
        sender.send(&message(&to, "type='error'", "<body>bounce</body>"));
        // Nobody, another domain, the server, malformed and missing addresses.
        let elsewhere = format!("{}@elsewhere.example/w1", owner.name);
        for nowhere in [
            full_jid(&owner, "nobody").as_str(),
            &elsewhere,
            DOMAIN,
            "@/",
            "a@b@c",
        ] {
            sender.send(&message(nowhere, "type='chat' id='lost'", "<body>lost</body>"));
        }
        sender.send(&format!(
            "<message xmlns='{CLIENT}' type='chat'><body>to nobody</body></message>"
        ));
        sender.assert_alive();
        sender.send(&message(&to, "type='chat'", "<body>fence</body>"));
        assert_eq!(body_of(&hearer.element()).as_deref(), Some("fence"));
        sender.assert_alive();
    });
}

#[test]
fn a_message_to_a_bare_jid_reaches_available_blocks_and_listening_devices() {
    each_shard_count(|net| {
        let (owner, user) = accounts(net);
        let address = net.daemon().ws;
        let login = |resource: &str| XmppSocket::login(address, &owner, resource);
        let (mut available_1, mut available_2) = (login("a1"), login("a2"));
        let (mut silent, mut negative, mut left) = (login("s1"), login("n1"), login("l1"));
        available(&mut available_1, 0);
        available(&mut available_2, 7);
        available(&mut negative, -1);
        available(&mut left, 3);
        left.send(&format!("<presence xmlns='{CLIENT}' type='unavailable'/>"));
        left.assert_alive();
        let device = net.connect(PAHO_5, &owner, "d1");
        device.listen_direct();
        let deaf = net.connect(PAHO_311, &owner, "d2");
        let mut sender = XmppSocket::login(address, &user, "page");
        sender.send(&message(
            &bare_jid(&owner),
            "type='chat' id='b1'",
            "<body>to all</body>",
        ));
        for hearer in [&mut available_1, &mut available_2] {
            let came = hearer.element();
            assert_eq!(body_of(&came).as_deref(), Some("to all"));
            assert_eq!(came.attribute("id"), Some("b1"));
            assert_eq!(sender_of(&came).0, Stamp::of(&user, "page"));
        }
        assert_eq!(device.next_direct().0, "to all");
        // What is sent to their full addresses afterwards is the first that reaches the others.
        for (resource, hearer) in [("s1", &mut silent), ("n1", &mut negative), ("l1", &mut left)] {
            sender.send(&message(
                &full_jid(&owner, resource),
                "type='chat'",
                "<body>fence</body>",
            ));
            assert_eq!(body_of(&hearer.element()).as_deref(), Some("fence"), "{resource}");
        }
        assert_eq!(deaf.call(&Call::new("nexus", "ping")).code, 0);
        assert!(deaf.take_unmatched().is_empty());
        // The sender's own account is no exception, the sending block included if it is available.
        let mut own = XmppSocket::login(address, &user, "own");
        available(&mut own, 0);
        sender.send(&message(&bare_jid(&user), "", "<body>to myself</body>"));
        assert_eq!(body_of(&own.element()).as_deref(), Some("to myself"));
        sender.assert_alive();
    });
}

#[test]
fn messages_to_a_bare_and_a_full_jid_keep_their_order() {
    each_shard_count(|net| {
        const MESSAGES: usize = 100;
        let (owner, user) = accounts(net);
        let mut hearer = XmppSocket::login(net.daemon().ws, &owner, "w1");
        available(&mut hearer, 1);
        let sender = net.connect(XMPPJS, &user, "page");
        for n in 0..MESSAGES {
            let to = if n % 3 == 0 {
                bare_jid(&owner)
            } else {
                full_jid(&owner, "w1")
            };
            sender.chat(&to, &n.to_string());
        }
        for n in 0..MESSAGES {
            assert_eq!(body_of(&hearer.element()), Some(n.to_string()));
        }
    });
}

#[test]
fn a_virtual_domain_is_an_alias_and_every_jid_is_written_in_the_receivers() {
    let net = Net::start(&Options::shards(2).config("domains = [\"nexus.example\", \"other.example\"]\n"));
    let (owner, user) = accounts(&net);
    let mut hearer = XmppSocket::login(net.daemon().ws, &owner, "w1");
    let mut sender = XmppSocket::login(net.daemon().ws, &user, "page");
    // The domain of an address is compared without regard to case.
    for domain in [DOMAIN, "NEXUS.example"] {
        sender.send(&message(
            &format!("{}@{domain}/w1", owner.name),
            "",
            "<body>here</body>",
        ));
        let came = hearer.element();
        assert_eq!(came.attribute("from"), Some(full_jid(&user, "page").as_str()));
        assert_eq!(sender_of(&came).1, full_jid(&user, "page"));
    }
}

#[test]
fn direct_text_that_xml_cannot_carry_is_dropped_and_counted() {
    parallel(&[PAHO_311, PAHO_5], |&form| {
        let net = Net::start(&Options::shards(1));
        let (owner, user) = accounts(&net);
        let mut hearer = XmppSocket::login(net.daemon().ws, &owner, "w1");
        let device = net.connect(form, &user, "d1");
        let topic = format!("$nexus/direct/{}/w1", owner.app);
        for (number, text) in ["\u{1}", "a\u{FFFE}", "\u{FFFF}", "\u{0}x"]
            .into_iter()
            .enumerate()
        {
            device.publish_acked(Publish::new(&topic, text));
            http::await_drops(net.daemon().http, "direct", "not_text", number as u64 + 1);
        }
        // All else comes: tabs and line ends, and what XML would take for an end of line.
        for text in ["\t\n", "a\r\nb", "\u{85}\u{2028}", "\u{10FFFF}\u{FFFD}"] {
            device.direct(&owner.app, "w1", text);
            let came = hearer.element();
            assert_eq!(body_of(&came).as_deref(), Some(text));
            assert_eq!(sender_of(&came).0, Stamp::of(&user, "d1"));
        }
    });
}
