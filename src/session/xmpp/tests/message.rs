//! Messages of the client.

use super::super::attributes::Kept;
use super::*;
use crate::observe::{DropReason, Stage};

fn page() -> String {
    format!("shop-{UID}-user@nexus.example/pa ge")
}

#[test]
fn p4_native_direct_and_publish() {
    let mut client = Client::attached();
    let commands = client.say(
        "<message xmlns='jabber:client'><direct xmlns='urn:nexus:1' app='etest' resource='w&apos;2'>a &lt; b\
         </direct></message>",
    );
    let [Command::Direct { direct, ticket: None }] = &commands[..] else {
        panic!("{commands:?}");
    };
    assert_eq!(
        (direct.app, direct.resource, direct.text),
        ("etest", "w'2", "a < b")
    );
    assert_eq!((direct.account, direct.attributes), (None, &[][..]));
    let commands = client.say(
        "<message xmlns='jabber:client'><publish xmlns='urn:nexus:1' channel='plant/7/alarm' retain='true'>é\
         </publish></message>",
    );
    let [
        Command::Publish {
            message,
            ticket: None,
        },
    ] = &commands[..]
    else {
        panic!("{commands:?}");
    };
    assert_eq!(
        (message.channel, message.payload),
        ("plant/7/alarm", "é".as_bytes())
    );
    assert!(message.retain);
    assert_eq!(client.heard(), "");
}

#[test]
fn p4_a_plain_message_goes_to_whom_it_names_with_all_it_has() {
    for (kind, id) in [
        ("", ""),
        (" type='chat'", " id='m&quot;1'"),
        (" type='groupchat'", ""),
    ] {
        let mut client = Client::attached();
        let to = page();
        let commands = client.say(&format!(
            "<message xmlns='jabber:client' to='{to}' from='forged@nexus.example/x'{kind}{id}>\
             <body>h&amp;i</body><x xmlns='urn:x'>1</x></message>"
        ));
        let [Command::Direct { direct, ticket: None }] = &commands[..] else {
            panic!("{commands:?}");
        };
        let account = format!("shop-{UID}-user");
        assert_eq!((direct.app, direct.account), ("shop", Some(&*account)));
        assert_eq!((direct.resource, direct.text), ("pa ge", "h&i"));
        let kept = Kept::read(direct.attributes).unwrap();
        assert_eq!(kept.children, "<body>h&amp;i</body><x xmlns='urn:x'>1</x>");
        assert_eq!(kept.kind.is_some(), !kind.is_empty());
        assert_eq!(kept.id, (!id.is_empty()).then_some("m\"1"));
    }
}

#[test]
fn p4_a_bare_jid_or_none_is_the_account() {
    let mut client = Client::attached();
    for (to, account) in [
        (
            format!(" to='shop-{UID}-user@second.example'"),
            format!("shop-{UID}-user"),
        ),
        (String::new(), account()),
    ] {
        let commands = client.say(&format!(
            "<message xmlns='jabber:client'{to}><body>hi</body></message>"
        ));
        let [
            Command::DirectToAccount {
                account: named, text, ..
            },
        ] = &commands[..]
        else {
            panic!("{commands:?}");
        };
        assert_eq!((*named, *text), (&*account, "hi"));
    }
}

#[test]
fn p4_a_sender_that_a_client_claims_is_left_out() {
    let mut client = Client::attached();
    let commands = client.say(&format!(
        "<message xmlns='jabber:client' xmlns:n='urn:nexus:1' to='{}'><n:sender app='nexus'/><body>x</body>\
         <sender xmlns='urn:nexus:1' uid='0'/></message>",
        page()
    ));
    let [Command::Direct { direct, .. }] = &commands[..] else {
        panic!("{commands:?}");
    };
    let kept = Kept::read(direct.attributes).unwrap();
    assert_eq!(kept.children, "<body>x</body>");
    assert_eq!(kept.declarations.trim(), "xmlns:n='urn:nexus:1'");
}

#[test]
fn p4_messages_never_bounce_and_what_is_dropped_is_counted() {
    for (stanza, stage, reason) in [
        (
            format!(
                "<message xmlns='jabber:client' type='error' to='{}'><body>x</body></message>",
                page()
            ),
            Stage::Direct,
            DropReason::Invalid,
        ),
        (
            "<message xmlns='jabber:client' to='a@else.example/x'><body>x</body></message>".to_owned(),
            Stage::Direct,
            DropReason::NoReceiver,
        ),
        (
            "<message xmlns='jabber:client' to='nexus.example'><body>x</body></message>".to_owned(),
            Stage::Direct,
            DropReason::NoReceiver,
        ),
        (
            "<message xmlns='jabber:client'><publish xmlns='urn:nexus:1' channel='a/+'>x</publish></message>"
                .to_owned(),
            Stage::Channel,
            DropReason::Invalid,
        ),
        (
            "<message xmlns='jabber:client'><publish xmlns='urn:nexus:1'>x</publish></message>".to_owned(),
            Stage::Channel,
            DropReason::Invalid,
        ),
    ] {
        let mut client = Client::attached();
        assert!(client.say(&stanza).is_empty(), "{stanza}");
        assert_eq!(client.heard(), "");
        assert_eq!(
            client.peer.session.settings.metrics.drops(stage, reason),
            1,
            "{stanza}"
        );
    }
}

#[test]
fn rfc6121_4_presence_says_whether_the_account_s_messages_are_wanted() {
    let mut client = Client::attached();
    assert_eq!(client.peer.session.presence, None);
    for (presence, priority) in [
        ("<presence xmlns='jabber:client'/>", Some(0)),
        (
            "<presence xmlns='jabber:client'><priority>-5</priority></presence>",
            Some(-5),
        ),
        (
            "<presence xmlns='jabber:client' type='available'><priority> 7 </priority></presence>",
            Some(7),
        ),
        (
            "<presence xmlns='jabber:client' type='subscribe' to='a@nexus.example'/>",
            Some(7),
        ),
        ("<presence xmlns='jabber:client' type='unavailable'/>", None),
        (
            "<presence xmlns='jabber:client'><priority>999</priority></presence>",
            Some(0),
        ),
    ] {
        assert!(client.say(presence).is_empty());
        assert_eq!(client.peer.session.presence, priority, "{presence}");
        assert_eq!(client.heard(), "");
    }
}

#[test]
fn xep0352_client_state_is_accepted() {
    let mut client = Client::attached();
    for state in [
        "<inactive xmlns='urn:xmpp:csi:0'/>",
        "<active xmlns='urn:xmpp:csi:0'/>",
    ] {
        assert!(client.say(state).is_empty());
        assert_eq!(client.heard(), "");
    }
}
