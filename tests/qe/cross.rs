//! The chat-style client meets every protocol: Direct and Channel with each, in both directions, and API between chat-style
//! clients of both libraries, with who sent it told in each receiver's own form. (That no chat-style worker can be called
//! natively is shown in `tests/bridge/announced.rs`.)

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::harness::daemon::DOMAIN;
use crate::harness::matrix::{CROSS, SLIXMPP, XMPPJS};
use crate::harness::native::full_jid;
use crate::harness::xml;
use crate::harness::{Account, App, Client, Form, Message, Net, Stamp, each_shard_count, parallel};
use crate::xmpp::channel::new_channel;

/// The libraries of chat-style clients.
const STYLES: [Form; 2] = [XMPPJS, SLIXMPP];

/// The type that each writes on a chat message: slixmpp none.
fn kind(form: Form) -> Option<&'static str> {
    (form == XMPPJS).then_some("chat")
}

/// What a body looks like: more than 4096 characters of base64, never to be read.
fn packed() -> String {
    let bytes: Vec<u8> = (0..4_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect();
    STANDARD.encode(bytes)
}

/// Sends a chat message to a full JID.
fn chat(client: &Client, to: &str, body: &str) {
    let kind = kind(client.form).map_or_else(String::new, |kind| format!("type='{kind}'"));
    client.send_stanza(&format!(
        "<message xmlns='jabber:client' to='{to}' {kind}><body>{body}</body></message>"
    ));
}

/// The next chat message, whose `from` and `<sender/>` name its sender.
#[track_caller]
fn next_chat(client: &Client, who: &Account, resource: &str, kind: Option<&str>) -> Message {
    let (message, stamp) = client.next_plain();
    let stanza = message.element();
    assert_eq!(
        stanza.attribute("from"),
        Some(&*full_jid(who, resource)),
        "{}",
        message.stanza
    );
    assert_eq!(
        (stamp, message.sender_jid()),
        (Stamp::of(who, resource), full_jid(who, resource))
    );
    assert_eq!(stanza.attribute("type"), kind, "{}", message.stanza);
    message
}

/// Runs `test` for each chat-style library, other client and shard count.
fn each_meeting(test: impl Fn(&Net, Form, Form) + Sync) {
    let pairs: Vec<(Form, Form)> = STYLES
        .iter()
        .flat_map(|&style| CROSS.map(|other| (style, other)))
        .collect();
    each_shard_count(|net| parallel(&pairs, |&(style, other)| test(net, style, other)));
}

struct Met<'a> {
    app: App<'a>,
    chatter: (Account, Client),
    other: (Account, Client),
}

fn meet(net: &Net, style: Form, form: Form) -> Met<'_> {
    let app = net.app();
    let [one, two] = [app.account("owner"), app.account("user")];
    let (chatter, other) = (
        net.connect(style, &one, "w.App.dev"),
        net.connect(form, &two, "Device.7"),
    );
    Met {
        app,
        chatter: (one, chatter),
        other: (two, other),
    }
}

#[test]
fn direct_between_a_chat_style_client_and_each_protocol() {
    each_meeting(|net, style, form| {
        let Met { app, chatter, other } = meet(net, style, form);
        let body = packed();
        other.1.direct(&app.name, "w.App.dev", &body);
        let kind_of_native = Some("normal");
        assert_eq!(
            next_chat(&chatter.1, &other.0, "Device.7", kind_of_native).text(),
            body
        );
        other.1.listen_direct();
        chat(&chatter.1, &full_jid(&other.0, "Device.7"), &body);
        if form.is_xmpp() {
            assert_eq!(
                next_chat(&other.1, &chatter.0, "w.App.dev", kind(style)).text(),
                body
            );
        } else {
            let (text, stamp) = other.1.next_direct();
            assert_eq!((text, stamp), (body, Stamp::of(&chatter.0, "w.App.dev")));
        }
    });
}

#[test]
fn channel_between_a_chat_style_client_and_each_protocol() {
    each_meeting(|net, style, form| {
        let Met { chatter, other, .. } = meet(net, style, form);
        let channel = new_channel();
        let room = format!("{channel}@conference.{DOMAIN}");
        other.1.hear_channel(&channel);
        let (account, client) = &chatter;
        // Another order of the nick's parts, no `<x/>`, and a message right behind it, with a wrong `from`.
        client.send_stanza(&format!(
            "<presence xmlns='jabber:client' to='{room}/{}-w.App.dev-owner'/>",
            account.name
        ));
        client.send_stanza(&format!(
            "<message xmlns='jabber:client' from='etest@{DOMAIN}/x' to='{room}' type='groupchat'><body>hello</body></message>"
        ));
        let (name, stamp, message) = other.1.next_on_channel();
        assert_eq!((name, message.text()), (channel.clone(), "hello"));
        assert_eq!(stamp, Stamp::of(account, "w.App.dev"));
        let heard = |who: &Account, resource: &str, text: &str| {
            let occupant = format!("{room}/{}-{resource}", who.name);
            let shown = client.presence_from(&occupant);
            let items = shown.descendants("http://jabber.org/protocol/muc#user", "item");
            assert_eq!(items[0].attribute("jid"), Some(&*full_jid(who, resource)));
            let message = client.message_where(text, |message| message.text() == text);
            let stanza = xml::parse(&message.stanza);
            assert_eq!(stanza.attribute("from"), Some(&*occupant));
            assert_eq!(message.sender_jid(), full_jid(who, resource));
        };
        heard(account, "w.App.dev", "hello");
        other.1.say(&channel, "21.5");
        heard(&other.0, "Device.7", "21.5");
    });
}

#[test]
fn api_between_chat_style_clients_of_both_libraries() {
    let pairs: Vec<(Form, Form)> = STYLES
        .iter()
        .flat_map(|&one| STYLES.map(|other| (one, other)))
        .collect();
    each_shard_count(|net| {
        parallel(&pairs, |&(asks, works)| {
            let app = net.app();
            let (owner, customer) = (app.account("owner"), app.customer());
            let worker = net.connect(works, &owner, "w.App.dev");
            let page = net.connect(asks, &customer, "webuo1");
            let body = packed();
            chat(&page, &full_jid(&owner, "w.App.dev"), &body);
            let asked = next_chat(&worker, &customer, "webuo1", kind(asks));
            assert_eq!(asked.text(), body);
            // As a worker does it: to whom `from` says.
            chat(&worker, asked.element().attribute("from").unwrap(), &body);
            assert_eq!(next_chat(&page, &owner, "w.App.dev", kind(works)).text(), body);
        });
    });
}
