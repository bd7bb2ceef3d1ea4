//! Stream management (XEP-0198).

use super::*;
use crate::route::{ChannelMessage, Outcome, Previd, Resume, Sender, SessionId, SessionKey, Token};
use crate::session::{Due, ResumeFailure};

const ASK: &str = "<r xmlns='urn:xmpp:sm:3'/>";
const PING: &str = "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
const PONG: &str = "<iq xmlns='jabber:client' type='result' id='p'></iq>";
const UNEXPECTED: &str = "<failed xmlns='urn:xmpp:sm:3'>\
     <unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";

fn ack(handled: u32) -> String {
    format!("<a xmlns='urn:xmpp:sm:3' h='{handled}'/>")
}

fn previd() -> Previd {
    let key = SessionKey {
        slot: 7,
        generation: 1,
    };
    Previd {
        session: SessionId { shard: 0, key },
        token: Token(7),
    }
}

/// A client whose stream is managed, and may be resumed if it `resumes`.
fn managed(resumes: bool) -> Client {
    let mut client = Client::attached();
    enable(&mut client, resumes);
    client
}

fn enable(client: &mut Client, resumes: bool) {
    let resume = if resumes { " resume='true'" } else { "" };
    let commands = client.say(&format!("<enable xmlns='urn:xmpp:sm:3'{resume}/>"));
    if !resumes {
        assert!(commands.is_empty());
        assert_eq!(client.heard(), "<enabled xmlns='urn:xmpp:sm:3'/>");
        return;
    }
    let [Command::AllowResumption { ticket }] = commands[..] else {
        panic!("{commands:?}")
    };
    client.peer.completed(ticket, &Completion::Resumable(previd()));
    let enabled = format!(
        "<enabled xmlns='urn:xmpp:sm:3' id='{}' resume='true' max='300'/>",
        previd().to_text()
    );
    assert_eq!(client.heard(), enabled);
}

fn channel<'a>(text: &'a str, sender: Sender<'a>) -> Delivery<'a> {
    Delivery::Channel {
        message: ChannelMessage {
            channel: "a",
            payload: text.as_bytes(),
            attributes: &[],
            qos: Default::default(),
            retain: false,
            expires: None,
        },
        sender,
        options: SubscriptionOptions::default(),
        identifiers: &[],
        share: None,
        is_shown: false,
    }
}

/// Delivers a message on a channel; whether it was taken.
fn deliver(client: &mut Client, text: &str) -> Result<(), Undelivered> {
    let from = identity("shop", "user", "page");
    client.peer.deliver(&channel(text, from.sender()))
}

fn keep(session: &mut Session, text: &str) -> Result<(), Undelivered> {
    let from = identity("shop", "user", "page");
    session.keep_delivery(Now::default(), &channel(text, from.sender()))
}

/// A client that has proven itself and wants to go on with the session of [`previd`].
fn returns(handled: u32) -> Client {
    let mut client = Client::new();
    client.open();
    client.prove();
    client.open();
    let resume = format!(
        "<resume xmlns='urn:xmpp:sm:3' previd='{}' h='{handled}'/>",
        previd().to_text()
    );
    let commands = client.say(&resume);
    let [Command::Resume(asked)] = commands[..] else {
        panic!("{commands:?}")
    };
    let previd = previd();
    assert_eq!(asked, Resume { previd, handled });
    client
}

#[test]
fn xep0198_2_it_is_offered_with_the_binding() {
    let mut client = Client::new();
    assert!(!client.open().contains("urn:xmpp:sm:3"));
    client.prove();
    assert!(client.open().contains("<sm xmlns='urn:xmpp:sm:3'/>"));
}

#[test]
fn xep0198_3_what_comes_out_of_its_time_fails_and_the_stream_goes_on() {
    let enable = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
    let mut client = Client::new();
    client.open();
    assert!(client.say(enable).is_empty());
    assert_eq!(client.heard(), UNEXPECTED, "before the login");
    client.prove();
    client.open();
    for element in [enable, ASK, &ack(0)] {
        assert!(client.say(element).is_empty());
        assert_eq!(client.heard(), UNEXPECTED, "before the binding");
    }
    let mut client = Client::attached();
    let resume = "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>";
    for element in [ASK, &ack(0), resume] {
        assert!(client.say(element).is_empty());
        assert_eq!(client.heard(), UNEXPECTED, "not enabled");
    }
    for resumes in [true, false] {
        let mut client = managed(resumes);
        for again in [enable, resume] {
            assert!(client.say(again).is_empty());
            assert_eq!(client.heard(), UNEXPECTED, "enabled already");
        }
        client.say(PING);
        assert_eq!(client.heard(), format!("{PONG}{ASK}"));
    }
}

#[test]
fn xep0198_3_how_long_it_may_be_resumed_is_the_lesser_of_what_is_asked_and_configured() {
    for (asked, granted) in [
        ("", 300),
        (" max='60'", 60),
        (" max='86400'", 300),
        (" max='0'", 300),
        (" max='x'", 300),
    ] {
        let mut client = Client::attached();
        let commands = client.say(&format!("<enable xmlns='urn:xmpp:sm:3' resume='1'{asked}/>"));
        let [Command::AllowResumption { ticket }] = commands[..] else {
            panic!("{commands:?}")
        };
        client.peer.completed(ticket, &Completion::Resumable(previd()));
        let heard = client.heard();
        assert!(
            heard.ends_with(&format!(" resume='true' max='{granted}'/>")),
            "{heard}"
        );
        let now = client.peer.now;
        let suspended = client.peer.session.detach(now).unwrap();
        let over = now.instant + Duration::from_secs(granted);
        assert_eq!(crate::session::Session::next_timeout(&suspended), Some(over));
        let at = |instant| Now { instant, ..now };
        assert!(suspended.due(now).is_none());
        assert!(matches!(suspended.due(at(over)), Some(Due::End)));
    }
    // Switched off.
    let mut settings = settings();
    settings.resume_s = 0;
    let mut client = Client::with(settings, Passwords::Taken);
    client.open();
    client.prove();
    client.open();
    client.say(
        "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
    );
    client.attach("w1");
    client.heard();
    assert!(
        client
            .say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
            .is_empty()
    );
    assert_eq!(client.heard(), "<enabled xmlns='urn:xmpp:sm:3'/>");
    assert!(client.peer.session.detach(Now::default()).is_none());
}

#[test]
fn xep0198_4_stanzas_count_on_both_sides_and_nothing_else_does() {
    for resumes in [true, false] {
        let mut client = managed(resumes);
        client.say("<presence xmlns='jabber:client'/>");
        client.say("<active xmlns='urn:xmpp:csi:0'/>");
        client.say("<message xmlns='jabber:client'/>");
        client.say(ASK);
        assert_eq!(client.heard(), ack(2));
        client.say(PING);
        assert_eq!(client.heard(), format!("{PONG}{ASK}"));
        // It is asked once until it has answered.
        deliver(&mut client, "x").unwrap();
        assert!(client.heard().ends_with("</message>"));
        client.say(&ack(1));
        assert_eq!(client.heard(), ASK, "of the message that came after");
        client.say(&ack(2));
        assert_eq!(client.heard(), "");
        client.say(ASK);
        assert_eq!(client.heard(), ack(3));
        // The daemon's own ping is a stanza, too.
        client
            .peer
            .pass(Duration::from_secs(u64::from(limits::XMPP_PING_S)));
        client.peer.timeout().unwrap();
        assert!(client.heard().ends_with(&format!("</iq>{ASK}")));
        client.say(&ack(3));
        assert_eq!(client.try_say(&ack(4)).err(), Some(Disconnect::ProtocolError));
    }
}

#[test]
fn xep0198_4_who_claims_to_have_handled_more_than_it_was_sent_is_told_so() {
    for (handled, sent) in [(2, 1), (1 << 30, 1)] {
        let mut client = managed(true);
        client.say(PING);
        client.heard();
        assert_eq!(
            client.try_say(&ack(handled)).err(),
            Some(Disconnect::ProtocolError)
        );
        let heard = client.heard();
        let error = format!(
            "<undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <handled-count-too-high xmlns='urn:xmpp:sm:3' h='{handled}' send-count='{sent}'/></stream:error>"
        );
        assert!(heard.contains(&error), "{heard}");
        assert!(client.peer.session.detach(Now::default()).is_none());
    }
    for handled in ["", "-1", "+1", "x", "4294967296", "00000000001", " 1"] {
        let mut client = managed(true);
        let said = format!("<a xmlns='urn:xmpp:sm:3' h='{handled}'/>");
        assert_eq!(client.try_say(&said).err(), Some(Disconnect::ProtocolError));
        assert!(client.heard().contains("<bad-format "), "{handled}");
    }
    let mut client = managed(true);
    assert!(client.try_say("<a xmlns='urn:xmpp:sm:3'/>").is_err());
    let mut client = managed(true);
    assert!(client.try_say("<b xmlns='urn:xmpp:sm:3'/>").is_err());
    assert!(client.heard().contains("<unsupported-stanza-type "));
}

#[test]
fn xep0198_5_what_was_not_acknowledged_is_sent_again_in_order() {
    let mut client = managed(true);
    for text in ["one", "two", "three"] {
        deliver(&mut client, text).unwrap();
    }
    client.say(&ack(1));
    client.say("<presence xmlns='jabber:client'/>");
    client.heard();
    let mut suspended = client.peer.session.detach(Now::default()).unwrap();
    assert!(client.peer.session.detach(Now::default()).is_none(), "once");
    keep(&mut suspended, "four").unwrap();
    for (handled, first) in [(1, 1), (2, 2), (4, 4)] {
        assert_eq!(suspended.check_resume(handled), Ok(()), "{first}");
    }
    assert!(matches!(
        suspended.check_resume(5),
        Err(ResumeFailure::TooHigh { .. })
    ));
    let mut client = returns(2);
    client.peer.session.inherit(&mut suspended);
    client.attach("w1");
    let heard = client.heard();
    let head = format!(
        "<resumed xmlns='urn:xmpp:sm:3' previd='{}' h='1'/>",
        previd().to_text()
    );
    assert!(heard.starts_with(&head) && heard.ends_with(ASK), "{heard}");
    let order = ["three", "four"].map(|text| heard.find(text).unwrap());
    assert!(order[0] < order[1] && !heard.contains("two"), "{heard}");
    client.say(&ack(4));
    assert_eq!(client.heard(), "");
    client.say(ASK);
    assert_eq!(client.heard(), ack(1));
    assert!(client.say(PING).is_empty());
    assert_eq!(client.heard(), format!("{PONG}{ASK}"));
}

#[test]
fn xep0198_5_a_client_whose_session_is_not_there_may_bind() {
    for (failure, h) in [
        (ResumeFailure::NotFound { handled: None }, ""),
        (ResumeFailure::NotFound { handled: Some(9) }, " h='9'"),
    ] {
        let mut client = returns(0);
        let peer = &mut client.peer;
        assert_eq!(peer.session.not_resumed(failure, &mut peer.out), Ok(()));
        let failed = format!(
            "<failed xmlns='urn:xmpp:sm:3'{h}><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
        );
        assert_eq!(client.heard(), failed);
        let bind = "<iq xmlns='jabber:client' type='set' id='b'>\
                    <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>w1</resource></bind></iq>";
        assert!(matches!(client.say(bind)[..], [Command::Bind(_)]));
        client.attach("w1");
        assert!(client.heard().contains("<jid>"));
        enable(&mut client, true);
    }
    let mut client = returns(5);
    let peer = &mut client.peer;
    let lie = ResumeFailure::TooHigh { handled: 5, sent: 4 };
    assert_eq!(
        peer.session.not_resumed(lie, &mut peer.out),
        Err(Disconnect::ProtocolError)
    );
    assert!(client.heard().contains("<handled-count-too-high "));
}

#[test]
fn xep0198_5_who_binds_a_session_that_was_resumed_is_told_its_address() {
    let bind = |resource: &str| {
        format!(
            "<iq xmlns='jabber:client' type='set' id='b'>\
             <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{resource}</bind></iq>"
        )
    };
    let bound = format!(
        "<iq xmlns='jabber:client' type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <jid>{}@{DOMAIN}/w1</jid></bind></iq>",
        account()
    );
    let own = "<resource>w1</resource>";
    let mut client = managed(true);
    for resource in ["", own] {
        client.say(&bind(resource));
        assert!(client.heard().contains("<not-allowed "), "it was not resumed");
    }
    let mut suspended = client.peer.session.detach(Now::default()).unwrap();
    let mut client = returns(2);
    // It has given up waiting.
    let waits = bind(own);
    assert!(client.say(&waits).is_empty());
    assert_eq!(client.heard(), "", "it is decided first");
    client.peer.session.inherit(&mut suspended);
    client.attach("w1");
    assert!(client.heard().starts_with("<resumed "));
    let held = std::mem::take(&mut client.peer.pending);
    assert_eq!(held, waits.as_bytes());
    for resource in [own, "", "<resource/>"] {
        assert!(client.say(&bind(resource)).is_empty());
        assert_eq!(client.heard().replace(ASK, ""), bound, "{resource}");
    }
    // It has an address, and is managed.
    for resource in [
        "<resource>w2</resource>",
        "<resource>a/b</resource>",
        "<resource>W1</resource>",
    ] {
        assert!(client.say(&bind(resource)).is_empty());
        assert!(client.heard().contains("<not-allowed "), "{resource}");
    }
    assert!(
        client
            .say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
            .is_empty()
    );
    assert_eq!(client.heard(), UNEXPECTED);
    client.say(ASK);
    assert_eq!(client.heard(), ack(2 + 6));
}

#[test]
fn xep0198_5_guesses_are_bounded() {
    let mut client = Client::new();
    client.open();
    client.prove();
    client.open();
    let resume = |rest: &str| format!("<resume xmlns='urn:xmpp:sm:3'{rest}/>");
    assert!(client.say(&resume(" previd='x' h='0'")).is_empty());
    assert!(client.heard().contains("<item-not-found "));
    assert!(client.say(&resume(" previd='x' h='x'")).is_empty());
    assert!(client.heard().contains("<bad-request "));
    assert!(client.say(&resume(" h='0'")).is_empty());
    assert!(client.heard().contains("<item-not-found "));
    let guess = format!(" previd='{}' h='0'", previd().to_text());
    assert_eq!(
        client.try_say(&resume(&guess)).err(),
        Some(Disconnect::QuotaExceeded)
    );
}

#[test]
fn xep0198_5_a_session_whose_client_ended_it_is_not_resumed() {
    let ends = |end: fn(&mut Client)| {
        let mut client = managed(true);
        end(&mut client);
        client.peer.session.detach(Now::default()).is_some()
    };
    assert!(ends(|_| {}), "its connection was lost");
    assert!(!ends(|client| {
        client.say("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>");
    }));
    assert!(!ends(|client| {
        assert!(client.try_say("<x xmlns='urn:y'/>").is_err());
    }));
    assert!(ends(|client| {
        for _ in 0..2 {
            client.peer.pass(Duration::from_millis(
                u64::from(limits::XMPP_PING_S) * 1_000 + limits::XMPP_PING_WAIT_MS,
            ));
            let _ = client.peer.timeout();
        }
        assert!(client.heard().contains("<connection-timeout "));
    }));
    assert!(ends(|client| {
        let peer = &mut client.peer;
        peer.session.end(peer.now, Ending::TakenOver, &mut peer.out);
    }));
    let mut client = managed(false);
    assert!(client.peer.session.detach(Now::default()).is_none());
}

#[test]
fn p2_1_requests_and_direct_messages_do_not_wait_and_replies_do() {
    let mut client = managed(true);
    let mut suspended = client.peer.session.detach(Now::default()).unwrap();
    let from = identity("shop", "user", "page");
    let now = Now::default();
    let direct = Delivery::Direct {
        text: "x",
        attributes: &[],
        to_account: false,
        sender: from.sender(),
        qos: Default::default(),
        options: SubscriptionOptions::default(),
    };
    assert_eq!(suspended.keep_delivery(now, &direct), Err(Undelivered::Gone));
    let request = Delivery::Request {
        token: Token(1),
        cmd: "c",
        body: b"{}",
        sender: from.sender(),
        qos: Default::default(),
        options: SubscriptionOptions::default(),
    };
    assert_eq!(suspended.keep_delivery(now, &request), Err(Undelivered::Gone));
    let mut label = Vec::new();
    label::ReplyTo { to: "", id: "c1" }.encode(&mut label);
    let reply = Delivery::Reply {
        label: &label,
        outcome: Outcome {
            code: 0,
            body: b"{\"n\":1}",
            sender: Some(from.sender()),
        },
        qos: Default::default(),
    };
    suspended.keep_delivery(now, &reply).unwrap();
    let mut client = returns(0);
    client.peer.session.inherit(&mut suspended);
    client.attach("w1");
    assert!(client.heard().contains("{\"n\":1}"));
}

#[test]
fn a_session_that_never_acknowledges_costs_bounded_memory_and_can_not_be_resumed() {
    let mut client = managed(true);
    let text = "x".repeat(4_000);
    let metrics = Arc::clone(&client.peer.session.settings.metrics);
    for _ in 0..1_000 {
        deliver(&mut client, &text).unwrap();
        client.peer.out.take();
        assert!(metrics.xmpp_unacked_bytes.get() <= limits::XMPP_UNACKED_BYTES_MAX as u64);
    }
    assert!(metrics.xmpp_unacked_forgotten.get() > 900);
    let mut suspended = client.peer.session.detach(Now::default()).unwrap();
    assert!(matches!(
        suspended.check_resume(0),
        Err(ResumeFailure::NotFound { .. })
    ));
    assert_eq!(suspended.check_resume(1_000), Ok(()));
    let mut kept = 0;
    while keep(&mut suspended, &text).is_ok() {
        kept += 1;
        assert!(kept < 100);
    }
    assert!(metrics.xmpp_unacked_bytes.get() <= limits::XMPP_UNACKED_BYTES_MAX as u64);
    drop(suspended);
    assert_eq!(metrics.xmpp_unacked_bytes.get(), 0);
}

#[test]
fn shared_frames_are_shared_with_clients_whose_streams_are_managed() {
    let (mut plain, mut managed) = (Client::attached(), managed(true));
    deliver(&mut plain, "x").unwrap();
    deliver(&mut managed, "x").unwrap();
    assert_eq!(format!("{}{ASK}", plain.heard()), managed.heard());
    assert_eq!(managed.peer.out.shares, 1);
}
