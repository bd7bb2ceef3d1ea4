//! Channels as rooms.

mod groupchat;

use super::super::rooms::{JOIN, LEAVE, ROOM};
use super::*;
use crate::route::{Qos, Refusal, Registration, RetainHandling, RoomEvent, Unregistration};

const ROOM_JID: &str = "alerts@conference.nexus.example";

/// The nick that the daemon gives this block.
fn nick() -> String {
    format!("{}-w1", account())
}

/// The item of this block, as a presence shows it.
fn item(role: &str) -> String {
    format!(
        "<item jid='{}@nexus.example/w1' affiliation='none' role='{role}'/>",
        account()
    )
}

/// The self-presence in a room.
fn shown(room: &str, statuses: &[u16]) -> String {
    let statuses: String = statuses
        .iter()
        .map(|code| format!("<status code='{code}'/>"))
        .collect();
    format!(
        "<presence xmlns='jabber:client' from='{room}/{}'><x xmlns='http://jabber.org/protocol/muc#user'>{}{statuses}\
         </x></presence>",
        nick(),
        item("participant"),
    )
}

fn gone(room: &str) -> String {
    format!(
        "<presence xmlns='jabber:client' type='unavailable' from='{room}/{}'>\
         <x xmlns='http://jabber.org/protocol/muc#user'>{}<status code='110'/></x></presence>",
        nick(),
        item("none"),
    )
}

const X: &str = "<x xmlns='http://jabber.org/protocol/muc'/>";

fn presence(to: &str, attributes: &str, children: &str) -> String {
    format!("<presence xmlns='jabber:client' to='{to}'{attributes}>{children}</presence>")
}

/// The channel that a join subscribes to.
#[track_caller]
fn subscribed(commands: &[Command<'_>]) -> String {
    let [Command::Register { wanted, ticket: JOIN }] = commands else {
        panic!("{commands:?}");
    };
    let [
        Registration::Room {
            channel,
            options,
            list: true,
            ..
        },
    ] = wanted[..]
    else {
        panic!("{wanted:?}");
    };
    assert_eq!((options.form, options.qos), (ROOM, Qos::AtMostOnce));
    assert_eq!(options.retained, RetainHandling::Never, "no history");
    assert!(!options.no_local, "a sender hears itself");
    channel.to_owned()
}

/// The channels that are left.
#[track_caller]
fn unsubscribed(commands: &[Command<'_>]) -> Vec<String> {
    let [
        Command::Unregister {
            unwanted,
            ticket: LEAVE,
        },
    ] = commands
    else {
        panic!("{commands:?}");
    };
    let filter = |unwanted: &Unregistration<'_>| match *unwanted {
        Unregistration::Room { channel, form: ROOM } => channel.to_owned(),
        _ => panic!("{unwanted:?}"),
    };
    unwanted.iter().map(filter).collect()
}

impl Client {
    /// What comes of a join: nothing is read before.
    fn registered(&mut self, result: Result<Qos, Refusal>) -> String {
        let entering = |client: &Self| {
            let rooms = client.peer.session.rooms.as_ref();
            let mut occupied = rooms.into_iter().flat_map(|rooms| rooms.occupied());
            occupied
                .find(|room| room.entering.is_some())
                .map(|room| room.channel.clone())
        };
        let channel = entering(self).expect("a join");
        let ping = b"<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
        assert!(self.peer.feed(ping).unwrap().is_empty());
        assert_eq!(self.peer.waits, Some(crate::session::testing::Wait::Hold));
        self.peer.pending.clear();
        let completion = Completion::Registered([result].into_iter().collect());
        self.peer.completed(JOIN, &completion);
        if result.is_ok() {
            self.happens(&channel, RoomEvent::Listing).unwrap();
            self.happens(&channel, RoomEvent::Entered).unwrap();
        }
        assert_eq!(entering(self), None);
        self.heard()
    }

    fn happens(&mut self, channel: &str, event: RoomEvent<'_>) -> Result<(), Undelivered> {
        self.peer.deliver(&Delivery::Room { channel, event })
    }

    fn unregistered(&mut self) -> String {
        let completion = Completion::Unregistered([Ok(true)].into_iter().collect());
        self.peer.completed(LEAVE, &completion);
        self.heard()
    }

    /// A client that is in the room of `alerts` with `children` in its join.
    fn occupant(children: &str) -> Self {
        let mut client = Self::attached();
        client.enter(ROOM_JID, children);
        client
    }

    #[track_caller]
    fn enter(&mut self, room: &str, children: &str) {
        let commands = self.say(&presence(&format!("{room}/{}", nick()), "", children));
        subscribed(&commands);
        assert!(
            self.registered(Ok(Qos::AtMostOnce))
                .starts_with(&shown(room, &[100, 110]))
        );
    }
}

#[test]
fn xep0045_7_2_a_join_shows_the_block_to_itself_and_ends_with_a_subject() {
    let canonical = nick();
    for (nick, kind, children, statuses) in [
        (&*canonical, "", X, &[100, 110][..]),
        (&*canonical, " type='available'", "", &[100, 110]),
        ("me", "", "", &[100, 110, 210]),
        ("me", " type='available'", X, &[100, 110, 210]),
    ] {
        let mut client = Client::attached();
        let commands = client.say(&presence(&format!("{ROOM_JID}/{nick}"), kind, children));
        assert_eq!(subscribed(&commands), "alerts");
        assert_eq!(client.heard(), "", "nothing before it is subscribed");
        let mut expected = shown(ROOM_JID, statuses);
        if children == X {
            expected += &format!(
                "<message xmlns='jabber:client' type='groupchat' from='{ROOM_JID}'><subject/></message>"
            );
        }
        assert_eq!(client.registered(Ok(Qos::AtMostOnce)), expected);
        assert_eq!(client.peer.session.presence, None, "nothing for its account");
    }
}

#[test]
fn p4_a_room_s_name_is_its_channel_s_byte_for_byte() {
    for (local, channel) in [
        (r"plant\2f7\2falarm", "plant/7/alarm"),
        ("Plänt", "Plänt"),
        (r"a\20b\26", "a b&"),
        // A backslash may be escaped where it need not be: the client's own spelling comes back.
        (r"a\5cb", r"a\b"),
        (r"a\b", r"a\b"),
    ] {
        let mut client = Client::attached();
        let room = format!("{local}@conference.nexus.example");
        let commands = client.say(&presence(&format!("{room}/{}", nick()), "", ""));
        assert_eq!(subscribed(&commands), channel);
        assert_eq!(client.registered(Ok(Qos::AtMostOnce)), shown(&room, &[100, 110]));
    }
}

#[test]
fn p4_a_name_that_is_no_channel_s_has_no_room() {
    let long = "x".repeat(limits::JID_PART_BYTES_MAX);
    let levels = r"\2f".repeat(limits::CHANNEL_LEVELS_MAX);
    for to in [
        ROOM_JID.to_owned(),
        "a+b@conference.nexus.example/n".to_owned(),
        "a#@conference.nexus.example/n".to_owned(),
        "$SYS@conference.nexus.example/n".to_owned(),
        format!("a{levels}@conference.nexus.example/n"),
        "a b@conference.nexus.example/n".to_owned(),
        "@conference.nexus.example/n".to_owned(),
        "alerts@conference.nexus.example/".to_owned(),
    ] {
        let mut client = Client::attached();
        assert!(client.say(&presence(&to, "", X)).is_empty(), "{to}");
        let head =
            format!("<presence xmlns='jabber:client' type='error' from='{to}'>{X}<error type='modify'>");
        let heard = client.heard();
        assert!(
            heard.starts_with(&head) && heard.contains("<jid-malformed "),
            "{heard}"
        );
        assert!(client.peer.session.rooms.is_none());
    }
    let mut client = Client::attached();
    let commands = client.say(&presence(&format!("{long}@conference.nexus.example/n"), "", ""));
    assert_eq!(subscribed(&commands), long);
    // A part that is too long is told, too; what is longer than any address is not repeated.
    for (part, repeated) in [
        (limits::JID_PART_BYTES_MAX + 1, true),
        (limits::XMPP_ADDRESS_BYTES_MAX + 1, false),
    ] {
        let part = "x".repeat(part);
        for to in [
            format!("{ROOM_JID}/{part}"),
            format!("{part}@conference.nexus.example/n"),
        ] {
            let mut client = Client::attached();
            assert!(client.say(&presence(&to, "", "")).is_empty());
            let heard = client.heard();
            let from = if repeated { &to } else { "conference.nexus.example" };
            assert!(
                heard.contains(&format!(" from='{from}'>")) && heard.contains("<jid-malformed "),
                "{heard}"
            );
        }
    }
}

#[test]
fn xep0410_a_room_with_a_long_name_is_asked_like_any_other() {
    let name = "x".repeat(limits::JID_PART_BYTES_MAX);
    let room = format!("{name}@conference.nexus.example");
    let mut client = Client::attached();
    client.say(&presence(&format!("{room}/me"), "", X));
    client.registered(Ok(Qos::AtMostOnce));
    let long = "n".repeat(limits::JID_PART_BYTES_MAX);
    for (nick, expected) in [("me", "type='result'"), (&*long, "<not-acceptable ")] {
        client.say(&format!(
            "<iq xmlns='jabber:client' type='get' id='i1' to='{room}/{nick}'><ping xmlns='urn:xmpp:ping'/></iq>"
        ));
        let heard = client.heard();
        assert!(heard.contains(expected), "{heard}");
        assert!(heard.contains(&format!(" from='{room}/{nick}'")), "{heard}");
    }
    // What is longer than any address ends the stream.
    let beyond = "n".repeat(limits::XMPP_ADDRESS_BYTES_MAX);
    let said = client.try_say(&format!(
        "<iq xmlns='jabber:client' type='get' id='i1' to='{beyond}@nexus.example'><ping xmlns='urn:xmpp:ping'/></iq>"
    ));
    assert_eq!(said.err(), Some(Disconnect::TooLarge));
    assert!(client.heard().contains("<policy-violation "));
}

#[test]
fn xep0045_7_2_a_join_that_is_refused_leaves_nothing_behind() {
    for (refusal, kind, condition) in [
        (Refusal::NotAuthorized, "auth", "forbidden"),
        (Refusal::InvalidName, "modify", "jid-malformed"),
        (Refusal::QuotaExceeded, "wait", "resource-constraint"),
    ] {
        let mut client = Client::attached();
        let to = r"~shop\2fin@conference.nexus.example/it's";
        client.say(&presence(&to.replace('\'', "&apos;"), "", X));
        assert_eq!(
            client.registered(Err(refusal)),
            format!(
                "<presence xmlns='jabber:client' type='error' from='{}'>{X}<error type='{kind}'>\
                 <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>",
                to.replace('\'', "&apos;")
            )
        );
        assert!(client.peer.session.rooms.is_none());
    }
}

#[test]
fn xep0045_7_6_another_nick_or_status_is_answered_by_what_the_block_is_called() {
    let mut client = Client::occupant("");
    for (nick, statuses) in [("other", &[110, 210][..]), (&nick(), &[110])] {
        let commands = client.say(&presence(&format!("{ROOM_JID}/{nick}"), "", "<show>away</show>"));
        assert!(commands.is_empty(), "{commands:?}");
        assert_eq!(client.heard(), shown(ROOM_JID, statuses));
    }
    // Who says that it joins has lost what it knew.
    let commands = client.say(&presence(&format!("{ROOM_JID}/x"), "", X));
    assert_eq!(subscribed(&commands), "alerts");
    let heard = client.registered(Ok(Qos::AtMostOnce));
    assert!(heard.starts_with(&shown(ROOM_JID, &[100, 110, 210])), "{heard}");
    assert!(heard.ends_with("<subject/></message>"), "{heard}");
}

#[test]
fn xep0045_7_14_leaving_ends_the_subscription_and_frees_what_the_room_took() {
    for to in [
        ROOM_JID.to_owned(),
        format!("{ROOM_JID}/{}", nick()),
        format!("{ROOM_JID}/x"),
    ] {
        let mut client = Client::occupant("");
        client.enter("other@conference.nexus.example", "");
        let commands = client.say(&presence(&to, " type='unavailable'", ""));
        assert_eq!(unsubscribed(&commands), ["alerts"]);
        assert_eq!(client.unregistered(), gone(ROOM_JID));
        assert!(
            client.say(&presence(&to, " type='unavailable'", "")).is_empty(),
            "it is gone"
        );
        let other = "other@conference.nexus.example";
        let commands = client.say(&presence(other, " type='unavailable'", ""));
        assert_eq!(unsubscribed(&commands), ["other"]);
        assert_eq!(client.unregistered(), gone(other));
        assert!(client.peer.session.rooms.is_none());
    }
}

#[test]
fn rfc6121_4_6_3_who_goes_leaves_all_rooms() {
    let mut client = Client::occupant("");
    client.enter(r"a\2fb@conference.nexus.example", "");
    let commands = client.say("<presence xmlns='jabber:client' type='unavailable'/>");
    assert_eq!(unsubscribed(&commands), ["a/b", "alerts"]);
    assert_eq!(
        client.unregistered(),
        gone(r"a\2fb@conference.nexus.example") + &gone(ROOM_JID)
    );
    assert!(client.peer.session.rooms.is_none());
    assert!(
        client
            .say("<presence xmlns='jabber:client' type='unavailable'/>")
            .is_empty()
    );
}

#[test]
fn p4_rooms_are_in_the_domain_by_which_they_are_joined_and_addresses_in_that_of_the_reader() {
    let mut client = Client::attached();
    client.enter("alerts@conference.second.example", "");
    // By another name it is the same channel.
    let commands = client.say(&presence(&format!("{ROOM_JID}/{}", nick()), "", ""));
    assert_eq!(subscribed(&commands), "alerts");
    assert_eq!(
        client.registered(Ok(Qos::AtMostOnce)),
        shown(ROOM_JID, &[100, 110])
    );
    let commands = client.say(&presence(
        "alerts@conference.second.example",
        " type='unavailable'",
        "",
    ));
    assert_eq!(unsubscribed(&commands), ["alerts"]);
}

#[test]
fn xep0045_what_is_asked_of_a_room() {
    let mut client = Client::occupant("");
    let item = format!("{ROOM_JID}/{}", nick());
    let other = format!("other@conference.nexus.example/{}", nick());
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    let query = |namespace: &str| format!("<query xmlns='http://jabber.org/protocol/{namespace}'/>");
    for (kind, to, payload, expected) in [
        ("get", &*item, ping.to_owned(), "type='result'"),
        ("get", ROOM_JID, ping.to_owned(), "type='result'"),
        ("get", &*other, ping.to_owned(), "<not-acceptable "),
        (
            "get",
            "alerts@conference.nexus.example/nobody",
            ping.to_owned(),
            "<not-acceptable ",
        ),
        (
            "get",
            ROOM_JID,
            query("disco#info"),
            "category='conference' type='text'",
        ),
        (
            "get",
            ROOM_JID,
            query("disco#info"),
            "<feature var='muc_nonanonymous'/>",
        ),
        ("get", ROOM_JID, query("disco#items"), "type='result'"),
        ("get", ROOM_JID, query("muc#owner"), "<forbidden "),
        ("set", ROOM_JID, query("muc#owner"), "<forbidden "),
        ("get", ROOM_JID, query("muc#admin"), "<forbidden "),
        ("set", ROOM_JID, query("muc#admin"), "<forbidden "),
        (
            "get",
            ROOM_JID,
            "<query xmlns='jabber:iq:version'/>".to_owned(),
            "<service-unavailable ",
        ),
        ("get", &*item, query("disco#info"), "<service-unavailable "),
        (
            "get",
            "a+@conference.nexus.example",
            query("disco#info"),
            "<jid-malformed ",
        ),
    ] {
        let request = format!("<iq xmlns='jabber:client' type='{kind}' id='i1' to='{to}'>{payload}</iq>");
        assert!(client.say(&request).is_empty());
        let heard = client.heard();
        assert!(heard.contains(expected), "{request}: {heard}");
        assert!(heard.contains(&format!("id='i1' from='{to}'")), "{heard}");
    }
}

#[test]
fn xep0410_the_nick_that_was_asked_for_is_pinged_as_well() {
    let mut client = Client::attached();
    client.say(&presence(&format!("{ROOM_JID}/me"), "", X));
    client.registered(Ok(Qos::AtMostOnce));
    let mut ping = |nick: &str| {
        client.say(&format!(
            "<iq xmlns='jabber:client' type='get' id='p' to='{ROOM_JID}/{nick}'><ping xmlns='urn:xmpp:ping'/></iq>"
        ));
        client.heard().contains("type='result'")
    };
    assert!(ping("me") && ping(&nick()));
    assert!(!ping("you"));
}

#[test]
fn who_may_not_be_in_a_room_any_more_is_told_when_it_shows_something_else() {
    let caps = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:x' ver='1'/>";
    for (result, heard, stays) in [
        (Ok(Qos::AtMostOnce), String::new(), true),
        (Err(Refusal::NotAuthorized), gone(ROOM_JID), false),
    ] {
        let mut client = Client::occupant("");
        let commands = client.say(&presence(&format!("{ROOM_JID}/{}", nick()), "", caps));
        let [Command::Register { wanted, ticket }] = &commands[..] else {
            panic!("{commands:?}");
        };
        let [
            Registration::Room {
                note, list: false, ..
            },
        ] = wanted[..]
        else {
            panic!("{wanted:?}");
        };
        assert_eq!(note, caps);
        assert_eq!(client.heard(), shown(ROOM_JID, &[110]));
        let completion = Completion::Registered([result].into_iter().collect());
        client.peer.completed(*ticket, &completion);
        assert_eq!(client.heard(), heard);
        assert_eq!(client.peer.session.rooms.is_some(), stays);
    }
}
