//! Messages of rooms.

use super::*;
use crate::observe::{DropReason, Stage};
use crate::route::{ChannelMessage, Identity};
use crate::session::STANZA_ATTRIBUTES;
use crate::session::testing::Recorder;

fn say_to(to: &str, attributes: &str, children: &str) -> String {
    format!("<message xmlns='jabber:client' to='{to}' {attributes}>{children}</message>")
}

/// What an occupant publishes.
#[track_caller]
fn published<'c>(commands: &[Command<'c>]) -> ChannelMessage<'c> {
    let [
        Command::Publish {
            message,
            ticket: None,
        },
    ] = commands
    else {
        panic!("{commands:?}");
    };
    *message
}

fn sender_of(from: &Identity) -> String {
    let sender = from.sender();
    format!(
        "<sender xmlns='urn:nexus:1' app='{}' uid='{UID}' role='{}' resource='{}' jid='{}@nexus.example/{}'/>",
        sender.app(),
        sender.role(),
        sender.resource(),
        sender.account(),
        sender.resource()
    )
}

/// The presence by which somebody is introduced, or taken back.
fn introduced(room: &str, from: &Identity, is_available: bool) -> String {
    let sender = from.sender();
    let (account, resource) = (sender.account(), sender.resource());
    let (kind, role) = if is_available {
        ("", "participant")
    } else {
        (" type='unavailable'", "none")
    };
    format!(
        "<presence xmlns='jabber:client'{kind} from='{room}/{account}-{resource}'>\
         <x xmlns='http://jabber.org/protocol/muc#user'>\
         <item jid='{account}@nexus.example/{resource}' affiliation='none' role='{role}'/></x></presence>"
    )
}

impl Client {
    fn delivered(
        &mut self,
        from: &Identity,
        message: ChannelMessage<'_>,
        form: u8,
    ) -> Result<String, Undelivered> {
        let options = SubscriptionOptions {
            form,
            ..SubscriptionOptions::default()
        };
        self.peer.deliver(&Delivery::Channel {
            message,
            sender: from.sender(),
            options,
            identifiers: &[],
            share: None,
            is_shown: false,
        })?;
        Ok(self.heard())
    }

    fn told(&mut self, from: &Identity, channel: &str, text: &str) -> String {
        self.delivered(from, text_on(channel, text), ROOM).unwrap()
    }
}

fn text_on<'a>(channel: &'a str, text: &'a str) -> ChannelMessage<'a> {
    ChannelMessage {
        channel,
        payload: text.as_bytes(),
        attributes: &[],
        qos: Qos::AtMostOnce,
        retain: false,
        expires: None,
    }
}

#[test]
fn xep0045_7_4_what_an_occupant_says_comes_with_all_it_has_and_its_sender() {
    let mut client = Client::occupant("");
    let children = "<body>h&amp;i</body><e:x xmlns:e='urn:x' a='1'/><thread>t</thread>";
    let commands = client.say(&say_to(
        ROOM_JID,
        "type='groupchat' id='m&lt;1' from='forged@nexus.example/x'",
        &format!("<sender xmlns='urn:nexus:1' uid='0'/>{children}"),
    ));
    let message = published(&commands);
    assert_eq!((message.channel, message.payload), ("alerts", &b"h&i"[..]));
    assert!(!message.retain && message.qos == Qos::AtMostOnce);
    assert_eq!(client.heard(), "", "the echo comes by the channel");
    let own = identity("etest", "owner", "w1");
    let echo = client.delivered(&own, message, ROOM).unwrap();
    assert_eq!(
        echo,
        format!(
            "<message xmlns='jabber:client' type='groupchat' id='m&lt;1' from='{ROOM_JID}/{}'>{children}{}</message>",
            nick(),
            sender_of(&own)
        ),
        "its own presence went before"
    );
    let native = client.delivered(&own, message, 0).unwrap();
    assert!(native.contains("<publish xmlns='urn:nexus:1' channel='alerts'>h&amp;i</publish>"));
}

#[test]
fn p4_what_is_published_elsewhere_comes_as_a_body_behind_a_presence() {
    for children in ["", X] {
        let mut client = Client::occupant(children);
        let device = identity("shop", "user", "Device.7");
        let text = format!(
            "<message xmlns='jabber:client' type='groupchat' from='{ROOM_JID}/shop-{UID}-user-Device.7'>\
             <body>a &lt; b</body>{}</message>",
            sender_of(&device)
        );
        let presence = introduced(ROOM_JID, &device, true);
        assert_eq!(client.told(&device, "alerts", "a < b"), presence + &text);
        assert_eq!(client.told(&device, "alerts", "a < b"), text, "it is known now");
        // Properties of MQTT 5.0 say nothing here: 3, Content Type.
        let message = ChannelMessage {
            attributes: &[3, 0, 1, b'x'],
            ..text_on("alerts", "a < b")
        };
        assert_eq!(client.delivered(&device, message, ROOM), Ok(text));
    }
}

#[test]
fn p4_a_message_is_encoded_once_for_all_occupants_of_a_domain() {
    let device = identity("shop", "user", "d");
    let (mut one, mut two) = (Client::occupant(""), Client::occupant(X));
    let mut escaped = Client::attached();
    escaped.enter(r"a\5cb@conference.nexus.example", "");
    let options = SubscriptionOptions {
        form: ROOM,
        ..SubscriptionOptions::default()
    };
    let delivery = Delivery::Channel {
        message: text_on("alerts", "x"),
        sender: device.sender(),
        options,
        identifiers: &[],
        share: None,
        is_shown: false,
    };
    let native = Delivery::Channel {
        message: text_on("alerts", "x"),
        sender: device.sender(),
        options: SubscriptionOptions::default(),
        identifiers: &[],
        share: None,
        is_shown: false,
    };
    let mut frames = Frames::default();
    let mut shares = Vec::new();
    let clients = [&mut one, &mut two];
    for (client, delivery) in [(0, &delivery), (1, &delivery), (1, &native)] {
        let mut out = Recorder::default();
        let session = &mut clients[client].peer.session;
        session
            .deliver(Now::default(), delivery, &mut frames, &mut out)
            .unwrap();
        shares.push(out.shares);
    }
    assert_eq!(shares, [1, 0, 1]);
    // Who escaped the name in another way gets it in that way, of its own.
    let before = escaped.peer.out.shares;
    let heard = escaped.told(&device, r"a\b", "x");
    assert!(
        heard.contains(
            r"<message xmlns='jabber:client' type='groupchat' from='a\5cb@conference.nexus.example/"
        )
    );
    assert_eq!(escaped.peer.out.shares, before);
}

#[test]
fn p4_what_has_no_text_is_for_occupants_alone() {
    let mut client = Client::occupant("");
    let state = "<active xmlns='http://jabber.org/protocol/chatstates'/>";
    let commands = client.say(&say_to(ROOM_JID, "type='groupchat'", state));
    let message = published(&commands);
    assert_eq!(message.attributes.first(), Some(&STANZA_ATTRIBUTES));
    let own = identity("etest", "owner", "w1");
    assert!(client.delivered(&own, message, ROOM).unwrap().contains(state));
    assert_eq!(client.delivered(&own, message, 0), Err(Undelivered::NotText));
}

#[test]
fn p2_3_what_is_not_text_does_not_reach_a_room_and_introduces_nobody() {
    let mut client = Client::occupant("");
    let device = identity("shop", "user", "d");
    for message in [
        ChannelMessage {
            payload: b"\xFF",
            ..text_on("alerts", "")
        },
        ChannelMessage {
            attributes: &[STANZA_ATTRIBUTES, 0],
            ..text_on("alerts", "x")
        },
    ] {
        let delivered = client.delivered(&device, message, ROOM);
        assert_eq!(delivered, Err(Undelivered::NotText));
    }
    let elsewhere = client.delivered(&device, text_on("other", "x"), ROOM);
    assert_eq!(elsewhere, Err(Undelivered::Gone));
    client.peer.out.stuck = limits::SEND_QUEUE_BYTES_MAX + 1;
    let full = client.delivered(&device, text_on("alerts", "x"), ROOM);
    assert_eq!(full, Err(Undelivered::QueueFull));
    client.peer.out.stuck = 0;
    let presence = introduced(ROOM_JID, &device, true);
    assert!(client.told(&device, "alerts", "x").starts_with(&presence));
}

#[test]
fn p4_the_last_256_senders_are_remembered_and_who_is_forgotten_goes() {
    let mut client = Client::occupant("");
    client.enter("other@conference.nexus.example", "");
    let senders: Vec<Identity> = (0..=limits::XMPP_INTRODUCED_MAX)
        .map(|n| identity("shop", "user", &format!("d{n}")))
        .collect();
    let (last, first) = senders.split_last().unwrap();
    for (n, sender) in first.iter().enumerate() {
        let channel = if n == 1 { "other" } else { "alerts" };
        assert!(client.told(sender, channel, "x").matches("<presence ").count() == 1);
    }
    // The first one is heard again: the second one is silent longest.
    assert!(!client.told(&first[0], "alerts", "x").contains("<presence "));
    let heard = client.told(last, "alerts", "x");
    let expected = introduced("other@conference.nexus.example", &first[1], false)
        + &introduced(ROOM_JID, last, true)
        + "<message ";
    assert!(heard.starts_with(&expected), "{heard}");
    assert!(
        client
            .told(&first[1], "other", "x")
            .contains(&introduced(ROOM_JID, &first[2], false))
    );
    // Whoever leaves and comes back knows nobody.
    client.say(&presence(ROOM_JID, " type='unavailable'", ""));
    client.unregistered();
    client.enter(ROOM_JID, "");
    assert!(
        client
            .told(last, "alerts", "x")
            .starts_with(&introduced(ROOM_JID, last, true))
    );
}

#[test]
fn xep0045_7_4_who_is_not_in_the_room_may_not_speak_there() {
    let mut client = Client::occupant("");
    let subject = "<subject>new</subject>";
    let body = "<body>secret</body>";
    let to_nick = format!("{ROOM_JID}/{}", nick());
    for (to, children, kind, condition) in [
        ("other@conference.nexus.example", body, "cancel", "not-acceptable"),
        (&*to_nick, body, "modify", "bad-request"),
        (ROOM_JID, subject, "auth", "forbidden"),
    ] {
        let commands = client.say(&say_to(to, "type='groupchat' id='m1'", children));
        assert!(commands.is_empty(), "{commands:?}");
        assert_eq!(
            client.heard(),
            format!(
                "<message xmlns='jabber:client' type='error' id='m1' from='{to}'><error type='{kind}'>\
                 <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
            )
        );
    }
    let drops = client
        .peer
        .session
        .settings
        .metrics
        .drops(Stage::Channel, DropReason::NotAuthorized);
    assert_eq!(drops, 3);
    // With a body it is no change of the subject. An id that is too long is not repeated.
    let commands = client.say(&say_to(ROOM_JID, "type='groupchat'", &format!("{subject}{body}")));
    assert_eq!(published(&commands).payload, b"secret");
    let id = "i".repeat(limits::XMPP_ID_BYTES_MAX + 1);
    client.say(&say_to(ROOM_JID, &format!("type='groupchat' id='{id}'"), subject));
    let heard = client.heard();
    assert!(heard.starts_with(&format!(
        "<message xmlns='jabber:client' type='error' from='{ROOM_JID}'>"
    )));
}

#[test]
fn p4_what_is_said_to_one_occupant_is_direct() {
    let mut client = Client::attached();
    for (nick, resource) in [("W.1", "W.1"), ("a-b-c", "a-b-c")] {
        let to = format!("{ROOM_JID}/shop-{UID}-user-{nick}");
        let commands = client.say(&say_to(&to, "type='chat' id='m1'", "<body>psst</body>"));
        let [Command::Direct { direct, ticket: None }] = &commands[..] else {
            panic!("{commands:?}");
        };
        let account = format!("shop-{UID}-user");
        assert_eq!((direct.app, direct.account), ("shop", Some(&*account)));
        assert_eq!((direct.resource, direct.text), (resource, "psst"));
        let kept = super::super::super::attributes::Kept::read(direct.attributes).unwrap();
        assert_eq!((kept.kind, kept.id), (Some("chat"), Some("m1")));
    }
    for to in [ROOM_JID.to_owned(), format!("{ROOM_JID}/nobody")] {
        assert!(client.say(&say_to(&to, "", "<body>x</body>")).is_empty());
        assert_eq!(client.heard(), "");
    }
    let metrics = &client.peer.session.settings.metrics;
    assert_eq!(metrics.drops(Stage::Direct, DropReason::NoReceiver), 2);
    client.say(&say_to(ROOM_JID, "type='error'", "<body>x</body>"));
    client.say(&say_to(
        "a b@conference.nexus.example",
        "type='groupchat'",
        "<body>x</body>",
    ));
    assert_eq!(client.heard(), "");
    let metrics = &client.peer.session.settings.metrics;
    assert_eq!(metrics.drops(Stage::Channel, DropReason::Invalid), 1);
}

#[test]
fn a_hundred_thousand_devices_that_speak_in_one_room_take_no_more_than_a_few() {
    const DEVICES: usize = 100_000;
    let mut client = Client::occupant("");
    let mut heap = 0;
    for number in 0..DEVICES {
        let device = identity("fleet", "user", &format!("d{number:06}"));
        let heard = client.told(&device, "alerts", "21.5");
        let shown = introduced(ROOM_JID, &device, true);
        let (before, after) = heard.split_once(&shown).expect("an introduction");
        assert!(
            after.starts_with("<message ") && after.contains("<body>21.5</body>"),
            "{after}"
        );
        // Whoever was silent longest is taken back.
        let forgotten = number.checked_sub(limits::XMPP_INTRODUCED_MAX);
        let expected = forgotten.map_or_else(String::new, |number| {
            let device = identity("fleet", "user", &format!("d{number:06}"));
            introduced(ROOM_JID, &device, false)
        });
        assert_eq!(before, expected);
        if number == limits::XMPP_INTRODUCED_MAX {
            heap = client
                .peer
                .session
                .rooms
                .as_ref()
                .unwrap()
                .introduced
                .heap_bytes();
        }
    }
    let rooms = client.peer.session.rooms.as_ref().unwrap();
    assert_eq!(rooms.introduced.heap_bytes(), heap, "a few more would show here");
    assert!(heap < 64 * 1_024, "{heap}");
}
