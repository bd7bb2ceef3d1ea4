//! Channels as rooms (PROTOCOL 4): by hand, with `@xmpp/client` and slixmpp as their users join, and with MQTT.

use std::time::Duration;

use super::channel::new_channel;
use crate::harness::clock::Moment;
use crate::harness::daemon::DOMAIN;
use crate::harness::http;
use crate::harness::matrix::{PAHO_5, PAHO_311, SLIXMPP, SLIXMPP_DEPLOYED, XMPPJS};
use crate::harness::native::full_jid;
use crate::harness::xml::{self, Element, escaped};
use crate::harness::xmpp::{CLIENT, NEXUS, XmppSocket, condition};
use crate::harness::{Account, Client, Net, Options, Publish, each_shard_count, parallel};

const MUC: &str = "http://jabber.org/protocol/muc";
pub(super) const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
pub(super) const X: &str = "<x xmlns='http://jabber.org/protocol/muc'/>";

/// The room of a channel whose name needs no escaping.
pub(super) fn room_of(channel: &str) -> String {
    format!("{channel}@conference.{DOMAIN}")
}

/// A block in a room, by the daemon's own nick.
pub(super) fn occupant(room: &str, account: &Account, resource: &str) -> String {
    format!("{room}/{}-{resource}", account.name)
}

pub(super) fn presence(to: &str, attributes: &str, children: &str) -> String {
    format!(
        "<presence xmlns='{CLIENT}' to='{}' {attributes}>{children}</presence>",
        escaped(to)
    )
}

pub(super) fn groupchat(room: &str, attributes: &str, children: &str) -> String {
    format!("<message xmlns='{CLIENT}' to='{room}' type='groupchat' {attributes}>{children}</message>")
}

/// The codes of a presence.
pub(super) fn statuses(presence: &Element) -> Vec<&str> {
    presence
        .descendants(MUC_USER, "status")
        .into_iter()
        .filter_map(|status| status.attribute("code"))
        .collect()
}

/// Whose presence in a room it is: from where, with which address.
#[track_caller]
pub(super) fn assert_shows(presence: &Element, occupant: &str, jid: &str, role: &str) {
    assert!(presence.is(CLIENT, "presence"), "{presence:?}");
    assert_eq!(presence.attribute("from"), Some(occupant), "{presence:?}");
    let x = presence.child(MUC_USER, "x").expect("an x of muc#user");
    let item = x.child(MUC_USER, "item").expect("an item");
    assert_eq!(item.attribute("jid"), Some(jid));
    assert_eq!(item.attribute("affiliation"), Some("none"));
    assert_eq!(item.attribute("role"), Some(role));
}

#[track_caller]
pub(super) fn assert_says(message: &Element, occupant: &str, body: &str, jid: &str) {
    assert!(message.is(CLIENT, "message"), "{message:?}");
    assert_eq!(message.attribute("type"), Some("groupchat"), "{message:?}");
    assert_eq!(message.attribute("from"), Some(occupant), "{message:?}");
    assert_eq!(
        message.child(CLIENT, "body").map(Element::text).as_deref(),
        Some(body)
    );
    let senders = message.descendants(NEXUS, "sender");
    assert_eq!(senders.len(), 1, "{message:?}");
    assert_eq!(senders[0].attribute("jid"), Some(jid));
}

/// A block joins by hand, under another nick than the daemon's, a room in which it is shown nobody.
#[track_caller]
pub(super) fn join(socket: &mut XmppSocket, room: &str, children: &str) -> Element {
    let (others, own) = join_among(socket, room, children);
    assert!(others.is_empty(), "{others:?}");
    own
}

/// The same where others may be: their presences, and the self-presence that comes behind them.
#[track_caller]
pub(super) fn join_among(socket: &mut XmppSocket, room: &str, children: &str) -> (Vec<Element>, Element) {
    socket.send(&presence(&format!("{room}/me"), "", children));
    let mut others = Vec::new();
    loop {
        let came = socket.element();
        assert!(came.is(CLIENT, "presence"), "{came:?}");
        if statuses(&came) == ["100", "110", "210"] {
            return (others, came);
        }
        assert!(statuses(&came).is_empty(), "{came:?}");
        others.push(came);
    }
}

pub(super) fn login(net: &Net, resource: &str) -> (Account, XmppSocket) {
    let account = net.app().account("user");
    let socket = XmppSocket::login(net.daemon().ws, &account, resource);
    (account, socket)
}

#[test]
fn occupants_hear_one_another_and_themselves_and_know_whom() {
    each_shard_count(|net| {
        let room = room_of(&new_channel());
        let (one, mut first) = login(net, "web1");
        let (two, mut second) = login(net, "web.2");
        let came = join(&mut first, &room, "");
        assert_shows(
            &came,
            &occupant(&room, &one, "web1"),
            &full_jid(&one, "web1"),
            "participant",
        );
        let (others, _) = join_among(&mut second, &room, X);
        let (from, jid) = (occupant(&room, &one, "web1"), full_jid(&one, "web1"));
        assert_eq!(others.len(), 1);
        assert_shows(&others[0], &from, &jid, "participant");
        let subject = second.element();
        assert_eq!(subject.attribute("from"), Some(&*room));
        assert_eq!(subject.attribute("type"), Some("groupchat"));
        let subjects = subject.child(CLIENT, "subject").map(Element::text);
        assert_eq!((subjects.as_deref(), subject.elements().len()), (Some(""), 1));
        let (other, other_jid) = (occupant(&room, &two, "web.2"), full_jid(&two, "web.2"));
        assert_shows(&first.element(), &other, &other_jid, "participant");
        for n in ["1", "2"] {
            // Deployed workers write a wrong `from`.
            let attributes = format!("id='m{n}' from='forged@{DOMAIN}/x'");
            let body = format!("<body>{n}</body><e xmlns='urn:example'/>");
            first.send(&groupchat(&room, &attributes, &body));
            let echo = first.element();
            assert_says(&echo, &from, n, &jid);
            assert_eq!(echo.attribute("id"), Some(&*format!("m{n}")));
            assert!(echo.child("urn:example", "e").is_some());
            assert_says(&second.element(), &from, n, &jid);
        }
        second.send(&groupchat(&room, "", "<body>back</body>"));
        assert_says(&second.element(), &other, "back", &other_jid);
        assert_says(&first.element(), &other, "back", &other_jid);
    });
}

#[test]
fn a_room_is_the_channel_of_devices_and_native_blocks() {
    each_shard_count(|net| {
        let channel = format!("{}/Plänt 7/@alarm'<&>", new_channel());
        let local = channel
            .replace('/', r"\2f")
            .replace(' ', r"\20")
            .replace('@', r"\40")
            .replace('\'', r"\27")
            .replace('<', r"\3c")
            .replace('&', r"\26")
            .replace('>', r"\3e");
        let room = room_of(&local);
        let (page, mut socket) = login(net, "page");
        join(&mut socket, &room, "");
        let account = net.app().account("user");
        let device = |form, resource: &str| {
            let client = net.connect(form, &account, resource);
            client.hear_channel(&channel);
            client
        };
        let hearers = [(PAHO_5, "d5"), (PAHO_311, "d3"), (XMPPJS, "native")];
        let hearers = hearers.map(|(form, resource)| (device(form, resource), resource));
        socket.send(&groupchat(
            &room,
            "",
            "<body>a &lt;b&gt; é</body><active xmlns='http://jabber.org/protocol/chatstates'/>",
        ));
        for (hearer, _) in &hearers {
            let (name, sender, message) = hearer.next_on_channel();
            assert_eq!((name.as_str(), message.text()), (channel.as_str(), "a <b> é"));
            assert_eq!(sender, crate::harness::Stamp::of(&page, "page"));
        }
        assert!(socket.element().child(CLIENT, "body").is_some(), "the echo");
        // Occupants alone hear what has no body; what follows comes next.
        socket.send(&groupchat(
            &room,
            "",
            "<paused xmlns='http://jabber.org/protocol/chatstates'/>",
        ));
        let states = "http://jabber.org/protocol/chatstates";
        assert!(socket.element().child(states, "paused").is_some());
        for (hearer, resource) in &hearers {
            let (from, jid) = (occupant(&room, &account, resource), full_jid(&account, resource));
            hearer.say(&channel, "one & two");
            assert_shows(&socket.element(), &from, &jid, "participant");
            assert_says(&socket.element(), &from, "one & two", &jid);
            hearer.say(&channel, "again");
            assert_says(&socket.element(), &from, "again", &jid);
            for (other, _) in &hearers {
                for text in ["one & two", "again"] {
                    assert_eq!(other.next_on_channel().2.text(), text);
                }
            }
        }
    });
}

#[test]
fn a_message_right_behind_the_join_is_sent() {
    each_shard_count(|net| {
        let room = room_of(&new_channel());
        let (account, mut socket) = login(net, "w1");
        for n in 0..20 {
            let to = format!("{room}/{}-w1", account.name);
            socket.send(&presence(&to, "type='available'", ""));
            socket.send(&groupchat(&room, "", &format!("<body>{n}</body>")));
            socket.send(&presence(&room, "type='unavailable'", ""));
            let (from, jid) = (occupant(&room, &account, "w1"), full_jid(&account, "w1"));
            let came = socket.element();
            assert_shows(&came, &from, &jid, "participant");
            assert_eq!(statuses(&came), ["100", "110"]);
            assert_says(&socket.element(), &from, &n.to_string(), &jid);
            let came = socket.element();
            assert_shows(&came, &from, &jid, "none");
            assert_eq!(came.attribute("type"), Some("unavailable"));
            assert_eq!(statuses(&came), ["110"]);
        }
    });
}

#[test]
fn who_has_left_hears_nothing_and_may_not_speak() {
    each_shard_count(|net| {
        let channel = new_channel();
        let room = room_of(&channel);
        let (_, mut socket) = login(net, "w1");
        let device = net.connect(PAHO_5, &net.app().account("user"), "d1");
        // A native subscription of the same block is another one.
        for to in [room.clone(), format!("{room}/me")] {
            join(&mut socket, &room, "");
            let left = socket.ask(&presence(&to, "type='unavailable'", ""));
            assert_eq!(left.attribute("type"), Some("unavailable"));
            device.publish_acked(Publish::new(&channel, "unheard"));
            socket.assert_alive();
            let refused = socket.ask(&groupchat(&room, "id='m1'", "<body>secret</body>"));
            assert_eq!(refused.attribute("type"), Some("error"));
            assert_eq!(refused.attribute("id"), Some("m1"));
            assert_eq!(refused.attribute("from"), Some(&*room));
            assert_eq!(condition(&refused), "not-acceptable");
            assert!(refused.child(CLIENT, "body").is_none(), "{refused:?}");
            let ping = format!("{room}/me");
            let pinged = socket.ask(&format!(
                "<iq xmlns='{CLIENT}' type='get' id='p' to='{ping}'><ping xmlns='urn:xmpp:ping'/></iq>"
            ));
            assert_eq!(condition(&pinged), "not-acceptable");
        }
    });
}

#[test]
fn a_join_brings_no_history_and_nothing_retained() {
    each_shard_count(|net| {
        let channel = new_channel();
        let room = room_of(&channel);
        let device = net.connect(PAHO_5, &net.app().account("user"), "d1");
        device.publish_acked(Publish::new(&channel, "kept").retained());
        let (account, mut socket) = login(net, "w1");
        join(&mut socket, &room, X);
        assert!(socket.element().child(CLIENT, "subject").is_some());
        socket.assert_alive();
        // The block's native subscription is served as ever.
        let subscribe = format!(
            "<iq xmlns='{CLIENT}' type='set' id='s1'><subscribe xmlns='{NEXUS}' channel='{channel}'/></iq>"
        );
        assert_eq!(socket.ask(&subscribe).attribute("type"), Some("result"));
        let kept = socket.element();
        assert_eq!(
            kept.child(NEXUS, "publish").map(Element::text).as_deref(),
            Some("kept")
        );
        // Both hear what comes now: once as an occupant, once as a native subscriber.
        socket.send(&groupchat(&room, "", "<body>live</body>"));
        let both = [socket.element(), socket.element()];
        let jid = full_jid(&account, "w1");
        let (said, native): (Vec<_>, Vec<_>) = both
            .iter()
            .partition(|came| came.attribute("type") == Some("groupchat"));
        assert_says(said[0], &occupant(&room, &account, "w1"), "live", &jid);
        assert_eq!(
            native[0].child(NEXUS, "publish").map(Element::text).as_deref(),
            Some("live")
        );
    });
}

#[test]
fn what_is_no_room_and_what_is_not_allowed_is_refused() {
    parallel(&[1, 2], |&shards| {
        let net = Net::start(&Options::shards(shards));
        let (_, mut socket) = login(&net, "w1");
        let stranger = net.app();
        for (local, expected) in [
            ("a+b".to_owned(), "jid-malformed"),
            ("a#".to_owned(), "jid-malformed"),
            ("$SYS".to_owned(), "jid-malformed"),
            (format!(r"~{}\2finner", stranger.name), "forbidden"),
        ] {
            let to = format!("{}/me", room_of(&local));
            let refused = socket.ask(&presence(&to, "", X));
            assert_eq!(refused.attribute("type"), Some("error"), "{refused:?}");
            assert_eq!(refused.attribute("from"), Some(&*to));
            assert!(refused.child(MUC, "x").is_some());
            assert_eq!(condition(&refused), expected, "{refused:?}");
        }
        let room = room_of(&new_channel());
        join(&mut socket, &room, "");
        for namespace in ["owner", "admin"] {
            let refused = socket.ask(&format!(
                "<iq xmlns='{CLIENT}' type='get' id='q' to='{room}'><query xmlns='{MUC}#{namespace}'/></iq>"
            ));
            assert_eq!(condition(&refused), "forbidden");
        }
        socket.send(&groupchat(&room, "", "<subject>mine</subject>"));
        assert_eq!(condition(&socket.element()), "forbidden");
        http::await_drops(net.daemon().http, "channel", "not_authorized", 1);
        let info = socket.ask(&format!(
            "<iq xmlns='{CLIENT}' type='get' id='q' to='{room}'>\
             <query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
        ));
        let features = info.descendants("http://jabber.org/protocol/disco#info", "feature");
        assert!(
            features
                .iter()
                .any(|feature| feature.attribute("var") == Some(MUC))
        );
    });
}

#[test]
fn a_message_to_one_occupant_is_direct() {
    each_shard_count(|net| {
        let room = room_of(&new_channel());
        let (one, mut first) = login(net, "web1");
        let (two, mut second) = login(net, "a-b.2");
        join(&mut second, &room, "");
        first.send(&format!(
            "<message xmlns='{CLIENT}' type='chat' id='m1' to='{}'><body>psst</body></message>",
            occupant(&room, &two, "a-b.2")
        ));
        let came = second.element();
        assert_eq!(came.attribute("from"), Some(&*full_jid(&one, "web1")));
        assert_eq!(
            (came.attribute("type"), came.attribute("id")),
            (Some("chat"), Some("m1"))
        );
        assert_eq!(
            came.child(CLIENT, "body").map(Element::text).as_deref(),
            Some("psst")
        );
    });
}

/// As deployed pages do it.
#[test]
fn a_page_of_xmpp_js_joins_speaks_and_leaves() {
    each_shard_count(|net| {
        let channel = new_channel();
        let room = room_of(&channel);
        let account = net.app().account("user");
        let page = net.connect(XMPPJS, &account, "webuo1");
        let device = net.connect(PAHO_5, &account, "Device.7");
        device.hear_channel(&channel);
        page.send_stanza(&format!(
            "<presence type='available' to='{room}/{}-webuo1'/>",
            account.name
        ));
        page.send_stanza(&format!(
            "<message type='groupchat' to='{room}'><body>eJyr</body></message>"
        ));
        let own = occupant(&room, &account, "webuo1");
        assert_eq!(statuses(&page.presence_from(&own)), ["100", "110"]);
        assert_says(&next_message(&page), &own, "eJyr", &full_jid(&account, "webuo1"));
        assert_eq!(device.next_on_channel().2.text(), "eJyr");
        device.say(&channel, "from the device");
        let (from, jid) = (
            occupant(&room, &account, "Device.7"),
            full_jid(&account, "Device.7"),
        );
        assert_shows(&page.presence_from(&from), &from, &jid, "participant");
        assert_says(&next_message(&page), &from, "from the device", &jid);
        page.send_stanza(&format!("<presence type='unavailable' to='{room}'/>"));
        assert_eq!(page.presence_from(&own).attribute("type"), Some("unavailable"));
    });
}

#[track_caller]
fn next_message(client: &Client) -> Element {
    xml::parse(&client.message().stanza)
}

#[test]
fn slixmpp_joins_within_a_second() {
    for shards in [1, 2] {
        let net = super::tcp::with_tls(shards);
        for form in [SLIXMPP, SLIXMPP_DEPLOYED] {
            let channel = new_channel();
            let room = room_of(&channel);
            let account = net.app().account("user");
            let worker = net.connect(form, &account, "w.1.dev");
            let device = net.connect(PAHO_5, &account, "d1");
            device.hear_channel(&channel);
            let began = Moment::now();
            let came = worker.join_by_library(&room, &format!("{}-w.1.dev-user", account.name));
            let took = began.elapsed();
            assert!(took < Duration::from_secs(1), "{form:?}: {took:?}");
            let own = occupant(&room, &account, "w.1.dev");
            assert_shows(&came, &own, &full_jid(&account, "w.1.dev"), "participant");
            assert_eq!(statuses(&came), ["100", "110", "210"]);
            worker.send_stanza(&format!(
                "<message xmlns='{CLIENT}' type='groupchat' to='{room}'><body>hello</body></message>"
            ));
            assert_eq!(device.next_on_channel().2.text(), "hello");
            device.say(&channel, "back");
            let said = worker.message_where("the device's message", |message| message.text() == "back");
            let (from, jid) = (occupant(&room, &account, "d1"), full_jid(&account, "d1"));
            assert_says(&xml::parse(&said.stanza), &from, "back", &jid);
            worker.leave_by_library(&room, &format!("{}-w.1.dev", account.name));
            let mut gone = worker.presence_from(&own);
            // The self-presence of the join comes first.
            if gone.attribute("type").is_none() {
                gone = worker.presence_from(&own);
            }
            assert_shows(&gone, &own, &full_jid(&account, "w.1.dev"), "none");
        }
    }
}
