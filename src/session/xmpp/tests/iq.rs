//! Requests and answers.

use super::*;
use crate::route::{Ownership, Refusal, Registration, Token, Unregistration};

fn iq(kind: &str, to: &str, payload: &str) -> String {
    format!("<iq xmlns='jabber:client' type='{kind}' id='i1'{to}>{payload}</iq>")
}

const TO_DOMAIN: &str = " to='nexus.example'";

#[test]
fn what_every_client_asks_a_server_is_answered() {
    let own = format!(" to='{}@second.example'", account());
    for (request, answer) in [
        (iq("get", "", "<ping xmlns='urn:xmpp:ping'/>"), ""),
        (
            iq(
                "set",
                "",
                "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>",
            ),
            "",
        ),
        (
            iq("get", "", "<query xmlns='jabber:iq:roster'/>"),
            "<query xmlns='jabber:iq:roster'/>",
        ),
        (
            iq("get", &own, "<query xmlns='jabber:iq:roster'/>"),
            "<query xmlns='jabber:iq:roster'/>",
        ),
        (
            iq(
                "get",
                TO_DOMAIN,
                "<query xmlns='http://jabber.org/protocol/disco#items'/>",
            ),
            "<query xmlns='http://jabber.org/protocol/disco#items'>\
             <item jid='conference.nexus.example' name='Nexus channels'/></query>",
        ),
    ] {
        let mut client = Client::attached();
        assert!(client.say(&request).is_empty());
        let heard = client.heard();
        let (head, from) = match request.split_once(" to='") {
            Some((_, rest)) => ("' from='", rest.split('\'').next().unwrap()),
            None => ("", ""),
        };
        let expected = format!("<iq xmlns='jabber:client' type='result' id='i1{head}{from}'>{answer}</iq>");
        assert_eq!(heard, expected, "{request}");
    }
}

#[test]
fn xep0030_the_domain_and_its_channel_service_say_what_they_are() {
    let mut client = Client::attached();
    for (to, identity) in [
        (TO_DOMAIN, "category='server' type='im'"),
        (
            " to='conference.nexus.example'",
            "category='conference' type='text'",
        ),
    ] {
        client.say(&iq(
            "get",
            to,
            "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        ));
        let heard = client.heard();
        assert!(heard.contains(identity), "{heard}");
        let node = iq(
            "get",
            to,
            "<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>",
        );
        client.say(&node);
        assert!(client.heard().contains("<item-not-found "));
    }
}

#[test]
fn rfc6120_8_3_what_is_not_offered_is_an_error_and_the_stream_goes_on() {
    let other = " to='shop-0123456789abcdef01234567-user@nexus.example/page'";
    let own_block = format!(" to='{}@nexus.example/w1'", account());
    let version = "<query xmlns='jabber:iq:version'/>";
    for (request, condition) in [
        (iq("get", "", version), "service-unavailable"),
        (
            iq("get", other, "<ping xmlns='urn:xmpp:ping'/>"),
            "service-unavailable",
        ),
        (
            iq("get", &own_block, "<ping xmlns='urn:xmpp:ping'/>"),
            "service-unavailable",
        ),
        (iq("set", "", "<api xmlns='urn:nexus:2'/>"), "service-unavailable"),
        (iq("set", "", "<fly xmlns='urn:nexus:1'/>"), "service-unavailable"),
        (iq("get", "", ""), "bad-request"),
        (iq("get", "", &version.repeat(2)), "bad-request"),
        (iq("have", "", version), "bad-request"),
        (
            format!("<iq xmlns='jabber:client' type='get'>{version}</iq>"),
            "bad-request",
        ),
        (
            iq(
                "set",
                "",
                "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>w2</resource></bind>",
            ),
            "not-allowed",
        ),
        (
            iq("set", "", "<listen xmlns='urn:nexus:1' cmd='a/b'/>"),
            "bad-request",
        ),
        (
            iq("set", "", "<subscribe xmlns='urn:nexus:1' channel='a#'/>"),
            "bad-request",
        ),
        (iq("set", "", "<subscribe xmlns='urn:nexus:1'/>"), "bad-request"),
    ] {
        let mut client = Client::attached();
        assert!(client.say(&request).is_empty());
        let heard = client.heard();
        assert!(
            heard.starts_with("<iq xmlns='jabber:client' type='error'"),
            "{heard}"
        );
        assert!(heard.contains(&format!("<{condition} ")), "{request}: {heard}");
        assert!(
            !heard.contains("jabber:iq:version"),
            "never carries what was asked"
        );
        client.say(&iq("get", "", "<ping xmlns='urn:xmpp:ping'/>"));
        assert!(client.heard().contains("type='result'"));
    }
}

#[test]
fn p4_a_request_to_a_worker_borrows_its_body() {
    let mut client = Client::attached();
    let commands = client.say(&iq(
        "set",
        TO_DOMAIN,
        "<api xmlns='urn:nexus:1' app='etest' cmd='mul&amp;tiply' resource='w1' ownership='mine' \
         prioritize_mine='true'><json xmlns='urn:xmpp:json:0'>{\"num1\":10,\"s\":\"&lt;\"}</json></api>",
    ));
    let [
        Command::Request {
            request,
            ticket: None,
        },
    ] = &commands[..]
    else {
        panic!("{commands:?}");
    };
    assert_eq!(
        (request.app, request.cmd, request.resource),
        ("etest", "mul&tiply", Some("w1"))
    );
    assert_eq!(request.ownership, Ownership::Mine);
    assert!(request.prioritize_mine);
    assert_eq!(request.body, br#"{"num1":10,"s":"<"}"#);
    let reply_to = label::ReplyTo {
        to: "nexus.example",
        id: "i1",
    };
    assert_eq!(label::ReplyTo::decode(request.label), Some(reply_to));
    let commands = client.say(&iq(
        "set",
        "",
        "<api xmlns='urn:nexus:1' app='etest' cmd='x' ownership='y'/>",
    ));
    let [Command::Request { request, .. }] = &commands[..] else {
        panic!("{commands:?}");
    };
    assert_eq!((request.body, request.resource), (&b""[..], None));
    assert_eq!(request.ownership, Ownership::Unknown);
}

#[test]
fn p4_listeners_and_subscriptions_are_answered_when_they_hold() {
    let mut client = Client::attached();
    for (payload, is_listen) in [
        ("<listen xmlns='urn:nexus:1' cmd='multiply'/>", true),
        ("<subscribe xmlns='urn:nexus:1' channel='plant/+/alarm'/>", false),
    ] {
        let commands = client.say(&iq("set", TO_DOMAIN, payload));
        let [Command::Register { wanted, ticket }] = &commands[..] else {
            panic!("{commands:?}");
        };
        match &wanted[..] {
            [Registration::Listen { cmd: "multiply", .. }] => assert!(is_listen),
            [Registration::Channel { filter, .. }] => assert_eq!(*filter, "plant/+/alarm"),
            other => panic!("{other:?}"),
        }
        assert_eq!(client.heard(), "", "not before it holds");
        let granted = Completion::Registered([Ok(Default::default())].into_iter().collect());
        client.peer.completed(*ticket, &granted);
        assert_eq!(
            client.heard(),
            "<iq xmlns='jabber:client' type='result' id='i1' from='nexus.example'></iq>"
        );
    }
    for (refusal, condition) in [
        (Refusal::NotAuthorized, "forbidden"),
        (Refusal::QuotaExceeded, "resource-constraint"),
        (Refusal::InvalidName, "bad-request"),
        (Refusal::NotSupported, "feature-not-implemented"),
        (Refusal::TooLarge, "policy-violation"),
        (Refusal::Busy, "resource-constraint"),
    ] {
        client.say(&iq("set", "", "<subscribe xmlns='urn:nexus:1' channel='#'/>"));
        let refused = Completion::Registered([Err(refusal)].into_iter().collect());
        client.peer.completed(Ticket(0), &refused);
        assert!(client.heard().contains(&format!("<{condition} ")), "{refusal:?}");
    }
    for payload in [
        "<unlisten xmlns='urn:nexus:1' cmd='multiply'/>",
        "<unsubscribe xmlns='urn:nexus:1' channel='plant/+/alarm'/>",
    ] {
        let commands = client.say(&iq("set", "", payload));
        let [Command::Unregister { unwanted, ticket }] = &commands[..] else {
            panic!("{commands:?}");
        };
        assert!(matches!(
            unwanted[..],
            [Unregistration::Listen { cmd: "multiply" } | Unregistration::Channel { .. }]
        ));
        let done = Completion::Unregistered([Ok(false)].into_iter().collect());
        client.peer.completed(*ticket, &done);
        assert!(client.heard().contains("type='result'"));
    }
}

#[test]
fn p4_an_iq_result_or_error_with_a_token_answers_a_request() {
    let token = Token(77);
    let text = token.to_text();
    let id = std::str::from_utf8(&text).unwrap();
    let answer = |kind: &str, payload: &str| {
        format!("<iq xmlns='jabber:client' type='{kind}' id='{id}' to='nexus.example'>{payload}</iq>")
    };
    let json = "<json xmlns='urn:xmpp:json:0'>{\"code\":0}</json>";
    for (stanza, body, failure) in [
        (
            answer("result", &format!("<api xmlns='urn:nexus:1'>{json}</api>")),
            &b"{\"code\":0}"[..],
            None,
        ),
        (answer("result", json), b"{\"code\":0}", None),
        (answer("result", ""), b"", None),
        (
            answer(
                "error",
                "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
                 <failure xmlns='urn:nexus:1' code='-7'/></error>",
            ),
            b"",
            Some(-7),
        ),
        (answer("error", "<error type='cancel'/>"), b"", Some(-500)),
        (
            answer("error", "<error><failure xmlns='urn:nexus:1' code='0'/></error>"),
            b"",
            Some(-500),
        ),
    ] {
        let mut client = Client::attached();
        let commands = client.say(&stanza);
        let [Command::Answer { answer, ticket: None }] = &commands[..] else {
            panic!("{commands:?}");
        };
        assert_eq!(
            (answer.token, answer.body, answer.failure),
            (token, body, failure)
        );
        assert_eq!(client.heard(), "");
    }
    let mut client = Client::attached();
    let stray = answer("result", json).replace(id, "c9");
    assert!(client.say(&stray).is_empty());
    assert_eq!(client.heard(), "");
}
