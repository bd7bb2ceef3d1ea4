//! Elements to the client.

use super::super::attributes::put_head;
use super::*;
use crate::route::{ChannelMessage, Outcome, Qos, Token};

const SENDER: &str = "<sender xmlns='urn:nexus:1' app='shop' uid='0123456789abcdef01234567' role='user' \
                      resource='p&apos;1' jid='shop-0123456789abcdef01234567-user@nexus.example/p&apos;1'/>";

fn channel<'a>(payload: &'a [u8]) -> ChannelMessage<'a> {
    ChannelMessage {
        channel: "plant/7<",
        payload,
        attributes: &[],
        qos: Qos::AtLeastOnce,
        retain: false,
        expires: None,
    }
}

#[test]
fn p4_a_channel_message_is_encoded_once_for_a_domain() {
    let from = identity("shop", "user", "p'1");
    let (mut one, mut two) = (Client::attached(), Client::attached());
    let delivery = Delivery::Channel {
        message: channel("a & é".as_bytes()),
        sender: from.sender(),
        options: SubscriptionOptions::default(),
        identifiers: &[],
        share: None,
        is_shown: false,
    };
    let frames = &mut one.peer.frames;
    for client in [&mut one.peer.session, &mut two.peer.session] {
        let mut out = crate::session::testing::Recorder::default();
        client
            .deliver(Now::default(), &delivery, frames, &mut out)
            .unwrap();
        assert_eq!(
            String::from_utf8(out.take()).unwrap(),
            format!(
                "<message xmlns='jabber:client' type='normal' from='conference.nexus.example'>\
                 <publish xmlns='urn:nexus:1' channel='plant/7&lt;'>a &amp; é</publish>{SENDER}</message>"
            )
        );
        two.peer.out.shares += out.shares;
    }
    assert_eq!(two.peer.out.shares, 1);
}

#[test]
fn p4_what_was_retained_is_told_from_what_is_published_now() {
    let from = identity("shop", "user", "p'1");
    let mut client = Client::attached();
    // All of one message: what differs does not share a frame.
    for (retain, of_retained, shown) in [
        (true, true, true),
        (true, false, false),
        (false, true, false),
        (true, true, true),
    ] {
        let delivery = Delivery::Channel {
            message: ChannelMessage {
                retain,
                ..channel(b"x")
            },
            sender: from.sender(),
            options: SubscriptionOptions {
                retain_as_published: of_retained,
                ..SubscriptionOptions::default()
            },
            identifiers: &[],
            share: None,
            is_shown: false,
        };
        let mut out = crate::session::testing::Recorder::default();
        let (session, frames) = (&mut client.peer.session, &mut client.peer.frames);
        session
            .deliver(Now::default(), &delivery, frames, &mut out)
            .unwrap();
        let heard = String::from_utf8(out.take()).unwrap();
        assert_eq!(heard.contains("channel='plant/7&lt;' retain='true'>x<"), shown);
        assert_eq!(heard.contains("retain"), shown, "{heard}");
    }
}

#[test]
fn p2_3_what_is_not_text_does_not_reach_xmpp() {
    let from = identity("shop", "user", "p'1");
    let mut client = Client::attached();
    for payload in [&b"\xFF"[..], b"\0", "\u{FFFE}".as_bytes(), b"a\x1Bb"] {
        let delivery = Delivery::Channel {
            message: channel(payload),
            sender: from.sender(),
            options: SubscriptionOptions::default(),
            identifiers: &[],
            share: None,
            is_shown: false,
        };
        assert_eq!(client.peer.deliver(&delivery), Err(Undelivered::NotText));
    }
    assert_eq!(
        direct(&mut client, "\u{1}", &[], false),
        Err(Undelivered::NotText)
    );
    assert_eq!(client.heard(), "");
    let late = Delivery::Channel {
        message: ChannelMessage {
            expires: Some(Instant::from_nanos(1)),
            ..channel(b"x")
        },
        sender: from.sender(),
        options: SubscriptionOptions::default(),
        identifiers: &[],
        share: None,
        is_shown: false,
    };
    client.peer.pass(Duration::from_secs(1));
    assert_eq!(client.peer.deliver(&late), Err(Undelivered::Expired));
}

fn direct(client: &mut Client, text: &str, attributes: &[u8], to_account: bool) -> Result<(), Undelivered> {
    let from = identity("shop", "user", "p'1");
    client.peer.deliver(&Delivery::Direct {
        text,
        attributes,
        to_account,
        sender: from.sender(),
        qos: Qos::AtMostOnce,
        options: SubscriptionOptions::default(),
    })
}

#[test]
fn p4_direct_from_elsewhere_is_a_normal_message_with_a_body() {
    let mut client = Client::attached();
    direct(&mut client, "a<b", &[], false).unwrap();
    assert_eq!(
        client.heard(),
        format!(
            "<message xmlns='jabber:client' from='shop-{UID}-user@nexus.example/p&apos;1' type='normal'>\
             <body>a&lt;b</body>{SENDER}</message>"
        )
    );
}

#[test]
fn p4_direct_from_xmpp_keeps_id_type_and_children() {
    let mut client = Client::attached();
    let mut attributes = Vec::new();
    let declarations = ["xmlns:x=\"urn:x\""].into_iter();
    assert!(put_head(None, Some("it's"), declarations, &mut attributes));
    attributes.extend_from_slice(b"<x:y/><body>&#65;</body>");
    direct(&mut client, "A", &attributes, false).unwrap();
    assert_eq!(
        client.heard(),
        format!(
            "<message xmlns='jabber:client' from='shop-{UID}-user@nexus.example/p&apos;1' id='it&apos;s' \
             xmlns:x=\"urn:x\"><x:y/><body>&#65;</body>{SENDER}</message>"
        )
    );
}

#[test]
fn p4_what_goes_to_the_account_reaches_those_that_are_available() {
    let mut client = Client::attached();
    assert_eq!(direct(&mut client, "x", &[], true), Err(Undelivered::Gone));
    for (priority, wanted) in [("-1", false), ("0", true)] {
        client.say(&format!(
            "<presence xmlns='jabber:client'><priority>{priority}</priority></presence>"
        ));
        assert_eq!(direct(&mut client, "x", &[], true).is_ok(), wanted);
    }
    assert_eq!(direct(&mut client, "x", &[], false), Ok(()));
}

#[test]
fn p4_a_worker_gets_a_request_with_its_token_as_the_id() {
    let mut client = Client::attached();
    let from = identity("shop", "user", "p'1");
    let token = Token(5);
    let request = Delivery::Request {
        token,
        cmd: "a&b",
        body: br#"{"a":"<"}"#,
        sender: from.sender(),
        qos: Qos::AtMostOnce,
        options: SubscriptionOptions::default(),
    };
    client.peer.deliver(&request).unwrap();
    let id = format!("{:032x}", 5);
    assert_eq!(
        client.heard(),
        format!(
            "<iq xmlns='jabber:client' type='set' id='{id}' from='nexus.example'><api xmlns='urn:nexus:1' \
             cmd='a&amp;b'>{SENDER}<json xmlns='urn:xmpp:json:0'>{{&quot;a&quot;:&quot;&lt;&quot;}}</json>\
             </api></iq>"
        )
        .replace("&quot;", &quote())
    );
}

/// How a quotation mark is written in character data.
fn quote() -> String {
    let mut text = Vec::new();
    pieces::put(&[Piece::Text("\"")], &mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn p4_the_outcome_answers_the_request() {
    let from = identity("shop", "user", "p'1");
    for (to, code, sender, expected) in [
        (
            "",
            0,
            Some(from.sender()),
            format!(
                "<iq xmlns='jabber:client' type='result' id='c1'><api xmlns='urn:nexus:1' code='0'>{SENDER}\
                 <json xmlns='urn:xmpp:json:0'>{{}}</json></api></iq>"
            ),
        ),
        (
            "nexus.example",
            0,
            None,
            "<iq xmlns='jabber:client' type='result' id='c1' from='nexus.example'>\
             <api xmlns='urn:nexus:1' code='0'><json xmlns='urn:xmpp:json:0'>{}</json></api></iq>"
                .to_owned(),
        ),
    ] {
        let mut client = Client::attached();
        let mut label = Vec::new();
        label::ReplyTo { to, id: "c1" }.encode(&mut label);
        let outcome = Outcome {
            code,
            body: b"{}",
            sender,
        };
        let reply = Delivery::Reply {
            label: &label,
            outcome,
            qos: Qos::AtMostOnce,
        };
        client.peer.deliver(&reply).unwrap();
        assert_eq!(client.heard(), expected);
    }
}

#[test]
fn p4_failures_have_the_type_and_condition_of_their_code() {
    for (code, kind, condition) in [
        (-2000, "cancel", "item-not-found"),
        (-500, "cancel", "feature-not-implemented"),
        (-3000, "auth", "forbidden"),
        (-2001, "wait", "recipient-unavailable"),
        (-2002, "wait", "resource-constraint"),
        (-2003, "modify", "policy-violation"),
        (-2004, "modify", "bad-request"),
        (-408, "wait", "remote-server-timeout"),
    ] {
        let mut client = Client::attached();
        let mut label = Vec::new();
        label::ReplyTo { to: "", id: "c1" }.encode(&mut label);
        let body = format!(r#"{{"code":{code},"error":"why <not>"}}"#);
        let outcome = Outcome {
            code,
            body: body.as_bytes(),
            sender: None,
        };
        let reply = Delivery::Reply {
            label: &label,
            outcome,
            qos: Qos::AtMostOnce,
        };
        client.peer.deliver(&reply).unwrap();
        assert_eq!(
            client.heard(),
            format!(
                "<iq xmlns='jabber:client' type='error' id='c1'><error type='{kind}'>\
                 <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
                 <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>why &lt;not&gt;</text>\
                 <failure xmlns='urn:nexus:1' code='{code}'/></error></iq>"
            )
        );
    }
}

#[test]
fn p2_3_what_json_has_and_xml_has_not_travels_as_escapes() {
    let mut client = Client::attached();
    let from = identity("shop", "user", "p'1");
    let body = "{\"a\":\"\u{FFFE}\u{FFFF}\"}";
    let escaped = "{\"a\":\"\\ufffe\\uffff\"}";
    let request = Delivery::Request {
        token: Token(5),
        cmd: "c",
        body: body.as_bytes(),
        sender: from.sender(),
        qos: Qos::AtMostOnce,
        options: SubscriptionOptions::default(),
    };
    client.peer.deliver(&request).unwrap();
    assert!(client.heard().contains(escaped));
    let mut label = Vec::new();
    label::ReplyTo { to: "", id: "c1" }.encode(&mut label);
    let outcome = Outcome {
        code: 0,
        body: body.as_bytes(),
        sender: Some(from.sender()),
    };
    let reply = Delivery::Reply {
        label: &label,
        outcome,
        qos: Qos::AtMostOnce,
    };
    client.peer.deliver(&reply).unwrap();
    assert!(client.heard().contains(escaped));
}
