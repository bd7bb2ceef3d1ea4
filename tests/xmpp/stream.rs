//! The stream, the binding of a resource and what every client asks a server (RFC 6120, RFC 7395; PROTOCOL 4).

use crate::harness::daemon::DOMAIN;
use crate::harness::matrix::{PAHO_5, PAHO_311, XMPPJS};
use crate::harness::native::full_jid;
use crate::harness::websocket;
use crate::harness::xml::Element;
use crate::harness::xmpp::{
    BIND, CLIENT, FRAMING, NEXUS, SASL, STANZA_ERRORS, XmppSocket, condition, open_to, plain,
};
use crate::harness::{Account, Call, Net, each_shard_count};

const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
const INFO: &str = "http://jabber.org/protocol/disco#info";
const ITEMS: &str = "http://jabber.org/protocol/disco#items";

/// Logged in, the stream opened anew, not yet bound.
#[track_caller]
fn proven(net: &Net, account: &Account) -> (XmppSocket, Element) {
    let (mut socket, _) = XmppSocket::open(net.daemon().ws);
    let answer = socket.authenticate("PLAIN", &plain("", &account.name, &account.secret));
    assert!(answer.is(SASL, "success"), "{answer:?}");
    let features = socket.restart();
    (socket, features)
}

/// An IQ by hand and its answer, which must have its id.
#[track_caller]
fn iq(socket: &mut XmppSocket, attributes: &str, child: &str) -> Element {
    let answer = socket.ask(&format!("<iq xmlns='{CLIENT}' id='q' {attributes}>{child}</iq>"));
    assert!(answer.is(CLIENT, "iq"), "{answer:?}");
    assert_eq!(answer.attribute("id"), Some("q"), "{answer:?}");
    answer
}

#[track_caller]
fn assert_error(answer: &Element, wanted: &str, kind: &str) {
    assert_eq!(answer.attribute("type"), Some("error"), "{answer:?}");
    assert_eq!(condition(answer), wanted, "{answer:?}");
    let error = answer.child(CLIENT, "error").expect("an error");
    assert_eq!(error.attribute("type"), Some(kind), "{answer:?}");
}

#[test]
fn rfc7395_3_4_the_stream_is_opened_and_offers_its_features() {
    each_shard_count(|net| {
        for path in ["/ws", "/xmpp-websocket"] {
            let socket = websocket::WebSocket::open_as(net.daemon().ws, path, "xmpp");
            let mut socket = XmppSocket { socket };
            let opened = socket.ask(&open_to(DOMAIN));
            assert!(opened.is(FRAMING, "open"), "{opened:?}");
            assert_eq!(opened.attribute("from"), Some(DOMAIN));
            assert_eq!(opened.attribute("version"), Some("1.0"));
            assert!(
                opened.attribute("id").is_some_and(|id| id.len() >= 16),
                "{opened:?}"
            );
            let features = socket.element();
            assert!(features.child(SASL, "mechanisms").is_some(), "{features:?}");
            assert!(features.child(BIND, "bind").is_none(), "not before login");
            // Closing is answered with `<close/>`, then the WebSocket ends.
            socket.send(&format!("<close xmlns='{FRAMING}'/>"));
            socket.assert_closed();
        }
    });
}

#[test]
fn two_streams_have_different_ids() {
    each_shard_count(|net| {
        let ids = [(), ()].map(|()| {
            let mut socket = XmppSocket::connect(net.daemon().ws);
            let opened = socket.ask(&open_to(DOMAIN));
            opened.attribute("id").unwrap_or_default().to_owned()
        });
        assert_ne!(ids[0], ids[1]);
    });
}

#[test]
fn rfc7395_3_5_a_stream_that_cannot_be_opened_is_answered_and_closed() {
    each_shard_count(|net| {
        let cases = [
            (open_to("elsewhere.example"), &["host-unknown"][..]),
            (
                format!("<open xmlns='urn:example:other' to='{DOMAIN}' version='1.0'/>"),
                &["invalid-namespace", "bad-format"],
            ),
            (
                format!("<open xmlns='{FRAMING}' to='{DOMAIN}' version='0.9'/>"),
                &["unsupported-version"],
            ),
            (
                format!("<iq xmlns='{CLIENT}' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"),
                &["not-authorized", "bad-format", "invalid-namespace"],
            ),
        ];
        for (first, wanted) in cases {
            let mut socket = XmppSocket::connect(net.daemon().ws);
            socket.send(&first);
            let condition = socket.stream_error();
            assert!(wanted.contains(&condition.as_str()), "{first}: {condition}");
        }
    });
}

#[test]
fn after_success_a_new_open_offers_bind_and_no_sasl() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let (_socket, features) = proven(net, &account);
        assert!(features.child(BIND, "bind").is_some(), "{features:?}");
        assert!(features.child(SASL, "mechanisms").is_none(), "{features:?}");
        if let Some(session) = features.child(SESSION, "session") {
            assert!(session.child(SESSION, "optional").is_some(), "{session:?}");
        }
    });
}

#[test]
fn bind_keeps_the_resource_byte_for_byte() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        for resource in [
            "Worker.App.dev",
            "worker.app.dev",
            "Gerät 7 – ✓ <&'\">",
            &"r".repeat(128),
        ] {
            let (mut socket, _) = proven(net, &account);
            let jid = XmppSocket::bound_jid(&socket.bind(resource));
            assert_eq!(jid, full_jid(&account, resource));
            socket.assert_alive();
        }
        let client = net.connect(XMPPJS, &account, "Web.Front–7");
        let body = client.call(&Call::new("nexus", "whoami")).body;
        assert_eq!(body["resource"], "Web.Front–7");
    });
}

#[test]
fn bind_makes_up_a_resource_where_none_is_asked_for() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let made_up = [(), ()].map(|()| {
            let (mut socket, _) = proven(net, &account);
            let jid = XmppSocket::bound_jid(&socket.bind(""));
            socket.assert_alive();
            let (bare, resource) = jid.split_once('/').expect("a full JID");
            assert_eq!(bare, format!("{}@{DOMAIN}", account.name));
            assert!(!resource.is_empty() && !resource.contains(['/', '+', '#', '@']));
            resource.to_owned()
        });
        assert_ne!(made_up[0], made_up[1]);
    });
}

#[test]
fn bind_answers_a_resource_outside_the_grammar_with_bad_request() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let long = "r".repeat(129);
        for resource in ["a/b", "a+b", "a#b", "a@b", "a\tb", &long] {
            let (mut socket, _) = proven(net, &account);
            assert_error(&socket.bind(resource), "bad-request", "modify");
            // The stream stays for a better choice.
            assert_eq!(
                XmppSocket::bound_jid(&socket.bind("good")),
                full_jid(&account, "good")
            );
        }
    });
}

#[test]
fn session_and_ping_are_answered() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let mut socket = XmppSocket::login(net.daemon().ws, &account, "w1");
        let answer = iq(
            &mut socket,
            "type='set'",
            &format!("<session xmlns='{SESSION}'/>"),
        );
        assert_eq!(answer.attribute("type"), Some("result"), "{answer:?}");
        // The answer mirrors the request: no `from` if there was no `to`.
        for (to, from) in [("", None), ("to='nexus.example'", Some(DOMAIN))] {
            let answer = iq(
                &mut socket,
                &format!("type='get' {to}"),
                "<ping xmlns='urn:xmpp:ping'/>",
            );
            assert_eq!(answer.attribute("type"), Some("result"), "{answer:?}");
            assert_eq!(answer.attribute("from"), from, "{answer:?}");
        }
    });
}

#[test]
fn the_server_and_its_channel_service_can_be_discovered() {
    each_shard_count(|net| {
        let client = net.connect(XMPPJS, &net.app().account("owner"), "w1");
        let conference = format!("conference.{DOMAIN}");
        let ask = |to: &str, namespace: &str| {
            let answer = client.iq("get", Some(to), &format!("<query xmlns='{namespace}'/>"));
            assert_eq!(answer.condition, None, "{to} {namespace}");
            assert_eq!(answer.stanza.attribute("from"), Some(to));
            answer.stanza.child(namespace, "query").expect("a query").clone()
        };
        let has = |query: &Element, name: &str, key: &str, value: &str| {
            query
                .descendants(&query.namespace, name)
                .iter()
                .any(|child| child.attribute(key) == Some(value))
        };
        let info = ask(DOMAIN, INFO);
        assert!(has(&info, "identity", "category", "server"), "{info:?}");
        for feature in [INFO, ITEMS, "urn:xmpp:ping", NEXUS] {
            assert!(has(&info, "feature", "var", feature), "{feature}: {info:?}");
        }
        assert!(has(&ask(DOMAIN, ITEMS), "item", "jid", &conference));
        let info = ask(&conference, INFO);
        // A service of rooms is a conference; one of native channels alone may call itself a component.
        let categories = ["conference", "component"];
        assert!(
            categories
                .iter()
                .any(|category| has(&info, "identity", "category", category)),
            "{info:?}"
        );
        // No protocol lists channels.
        assert_eq!(ask(&conference, ITEMS).elements().len(), 0);
    });
}

#[test]
fn the_roster_is_empty() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let mut socket = XmppSocket::login(net.daemon().ws, &account, "w1");
        let answer = iq(&mut socket, "type='get'", "<query xmlns='jabber:iq:roster'/>");
        assert_eq!(answer.attribute("type"), Some("result"), "{answer:?}");
        let query = answer.child("jabber:iq:roster", "query").expect("a query");
        assert!(query.elements().is_empty(), "{query:?}");
    });
}

#[test]
fn unknown_iqs_get_service_unavailable_and_no_body_back() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let other = net.connect(XMPPJS, &account, "other");
        let mut socket = XmppSocket::login(net.daemon().ws, &account, "w1");
        let own = full_jid(&account, "other");
        let nobody = format!("nobody-0123-user@{DOMAIN}/x");
        for to in [None, Some(DOMAIN), Some(own.as_str()), Some(nobody.as_str())] {
            for kind in ["get", "set"] {
                let addressed = to.map_or_else(String::new, |to| format!("to='{to}'"));
                let answer = iq(
                    &mut socket,
                    &format!("type='{kind}' {addressed}"),
                    "<query xmlns='urn:example:unknown'><private/></query>",
                );
                assert_error(&answer, "service-unavailable", "cancel");
                assert_eq!(answer.attribute("from"), to, "{answer:?}");
                assert!(answer.descendants("urn:example:unknown", "private").is_empty());
            }
        }
        // Results and errors that answer nothing are not answered.
        for kind in ["result", "error"] {
            socket.send(&format!("<iq xmlns='{CLIENT}' id='stray' type='{kind}'/>"));
        }
        socket.assert_alive();
        assert_eq!(other.call(&Call::new("nexus", "ping")).code, 0);
        assert!(other.take_unmatched().is_empty(), "none of it reached the block");
    });
}

#[test]
fn presence_is_taken_and_told_to_nobody() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let other = net.connect(XMPPJS, &account, "other");
        let mut socket = XmppSocket::login(net.daemon().ws, &account, "w1");
        socket.send(&format!("<presence xmlns='{CLIENT}'/>"));
        socket.send(&format!(
            "<presence xmlns='{CLIENT}'><show>away</show><priority>5</priority></presence>"
        ));
        socket.send(&format!("<presence xmlns='{CLIENT}' type='unavailable'/>"));
        socket.assert_alive();
        assert_eq!(other.call(&Call::new("nexus", "ping")).code, 0);
        assert!(other.take_unmatched().is_empty());
    });
}

#[test]
fn the_newcomer_takes_a_taken_resource_and_the_older_gets_conflict() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let older = net.connect(XMPPJS, &account, "w1");
        let newer = net.connect(XMPPJS, &account, "w1");
        assert_eq!(older.stream_error(), "conflict");
        older.closed();
        assert_eq!(newer.call(&Call::new("nexus", "whoami")).body["resource"], "w1");
        // Another case is another resource.
        let third = net.connect(XMPPJS, &account, "W1");
        assert_eq!(newer.call(&Call::new("nexus", "ping")).code, 0);
        assert_eq!(third.call(&Call::new("nexus", "ping")).code, 0);
    });
}

#[test]
fn an_address_is_unique_over_the_protocols() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let device = net.connect(PAHO_5, &account, "w1");
        let block = net.connect(XMPPJS, &account, "w1");
        assert_eq!(device.disconnected(), 0x8E);
        device.closed();
        let device = net.connect(PAHO_311, &account, "w1");
        assert_eq!(block.stream_error(), "conflict");
        block.closed();
        assert_eq!(device.call(&Call::new("nexus", "ping")).code, 0);
    });
}

#[test]
fn a_fight_of_reconnects_is_damped_with_the_third_take_over_within_a_minute() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let mut holder = net.connect(XMPPJS, &account, "w1");
        for _ in 0..2 {
            let newcomer = net.connect(XMPPJS, &account, "w1");
            assert_eq!(holder.stream_error(), "conflict");
            holder = newcomer;
        }
        // Refused as an error of the stanza or of the stream: RFC 6120 has the condition in both.
        let (mut newcomer, _) = proven(net, &account);
        let answer = newcomer.bind("w1");
        assert_eq!(condition(&answer), "conflict", "{answer:?}");
        assert_eq!(holder.call(&Call::new("nexus", "ping")).code, 0);
        let refused = net.open(XMPPJS, &account.connect("w1"));
        assert_eq!(refused.login_outcome().0.as_deref(), Some("conflict"));
        // Another address of the same account is not concerned.
        let other = net.connect(XMPPJS, &account, "w2");
        assert_eq!(other.call(&Call::new("nexus", "ping")).code, 0);
        assert_eq!(holder.call(&Call::new("nexus", "ping")).code, 0);
        assert!(holder.take_unmatched().is_empty());
    });
}

#[test]
fn no_element_may_pass_for_another_namespace() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let mut socket = XmppSocket::login(net.daemon().ws, &account, "w1");
        let answer = iq(&mut socket, "type='set'", "<listen xmlns='urn:nexus:2' cmd='x'/>");
        assert_error(&answer, "service-unavailable", "cancel");
        let answer = iq(
            &mut socket,
            "type='set'",
            &format!("<n:listen xmlns:n='{NEXUS}' cmd='x'/>"),
        );
        assert_eq!(
            answer.attribute("type"),
            Some("result"),
            "a prefix names the same: {answer:?}"
        );
        let errors = answer.descendants(STANZA_ERRORS, "text");
        assert!(errors.is_empty());
    });
}
