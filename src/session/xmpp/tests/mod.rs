//! The XMPP session, element by element.

mod deliver;
mod hostile;
mod iq;
mod login;
mod manage;
mod message;
mod rooms;
mod tcp;

use super::*;
use crate::session::Session as _;
use crate::session::testing::{Peer, UID, identity};

/// A client and the session that serves it.
pub(super) struct Client {
    pub(super) peer: Peer<Session>,
}

pub(super) const DOMAIN: &str = "nexus.example";

pub(super) fn settings() -> Settings {
    let domains = [DOMAIN, "second.example"].map(Box::from).to_vec();
    Settings::new(domains, [7; 32], Default::default())
}

pub(super) fn account() -> String {
    format!("etest-{UID}-owner")
}

impl Client {
    /// A connection on which nothing was said.
    pub(super) fn new() -> Self {
        Self::with(settings(), Passwords::Taken)
    }

    pub(super) fn with(settings: Settings, passwords: Passwords) -> Self {
        let session = Session::new(&Arc::new(settings), passwords, Now::default());
        Self {
            peer: Peer::new(session),
        }
    }

    /// A client that has logged in as `etest-UID-owner/w1`.
    pub(super) fn attached() -> Self {
        let mut client = Self::new();
        client.open();
        client.prove();
        client.open();
        client.say(&format!(
            "<iq xmlns='jabber:client' type='set' id='b1'><bind xmlns='{}'><resource>w1</resource></bind></iq>",
            names::BIND
        ));
        client.attach("w1");
        client.heard();
        client
    }

    pub(super) fn open(&mut self) -> String {
        self.say(&format!(
            "<open xmlns='{}' to='{DOMAIN}' version='1.0'/>",
            names::FRAMING
        ));
        self.heard()
    }

    /// PLAIN, accepted.
    pub(super) fn prove(&mut self) {
        let commands = self.say(&auth_plain(&account(), "secret"));
        assert!(matches!(commands[..], [Command::Authenticate(_)]), "{commands:?}");
        self.decided(Ok(Proven::Account {
            server_signature: &[],
        }));
        self.heard();
    }

    pub(super) fn decided(&mut self, verdict: Result<Proven<'_>, LoginFailure>) {
        let peer = &mut self.peer;
        let bind = peer.session.proven(peer.now, verdict, &mut peer.out);
        assert_eq!(bind, Ok(None), "the client binds");
    }

    pub(super) fn attach(&mut self, resource: &str) {
        let identity = identity("etest", "owner", resource);
        let peer = &mut self.peer;
        peer.session.attached(peer.now, Ok(&identity), &mut peer.out);
    }

    /// Says one element that is taken.
    #[track_caller]
    pub(super) fn say(&mut self, element: &str) -> Vec<Command<'static>> {
        self.try_say(element).unwrap()
    }

    pub(super) fn try_say(&mut self, element: &str) -> Result<Vec<Command<'static>>, Disconnect> {
        self.peer.pending.clear();
        self.peer.feed(element.as_bytes())
    }

    /// What was written since the last time.
    pub(super) fn heard(&mut self) -> String {
        String::from_utf8(self.peer.out.take()).unwrap()
    }
}

pub(super) fn auth_plain(account: &str, password: &str) -> String {
    auth("PLAIN", &format!("\0{account}\0{password}"))
}

pub(super) fn auth(mechanism: &str, response: &str) -> String {
    let response = base64(response.as_bytes());
    format!(
        "<auth xmlns='{}' mechanism='{mechanism}'>{response}</auth>",
        names::SASL
    )
}

pub(super) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 96, "{} bytes", size_of::<Session>());
    let client = Client::attached();
    assert!(client.peer.session.login.is_none());
    assert!(client.peer.session.waiting.is_none());
    assert!(client.peer.session.rooms.is_none());
}

#[test]
fn xep0199_a_silent_client_is_pinged_then_closed() {
    let mut client = Client::attached();
    client
        .peer
        .pass(Duration::from_secs(u64::from(limits::XMPP_PING_S) - 1));
    client.peer.timeout().unwrap();
    assert_eq!(client.heard(), "");
    client.peer.pass(Duration::from_secs(1));
    client.peer.timeout().unwrap();
    assert_eq!(
        client.heard(),
        "<iq xmlns='jabber:client' type='get' id='nexus-ping' from='nexus.example'>\
         <ping xmlns='urn:xmpp:ping'/></iq>"
    );
    // Stock clients answer with an error: that is an answer.
    client.say("<iq xmlns='jabber:client' type='error' id='nexus-ping'/>");
    client
        .peer
        .pass(Duration::from_secs(u64::from(limits::XMPP_PING_S)));
    client.peer.timeout().unwrap();
    assert!(client.heard().contains("nexus-ping"));
    client.peer.pass(Duration::from_millis(limits::XMPP_PING_WAIT_MS));
    assert_eq!(client.peer.timeout(), Err(Disconnect::TimedOut));
    assert!(client.heard().contains("<connection-timeout "));
}

#[test]
fn a_client_that_does_not_read_is_closed_after_a_while() {
    let mut client = Client::attached();
    client.peer.out.stuck = limits::SEND_QUEUE_BYTES_MAX + 1;
    let from = identity("shop", "user", "page");
    let direct = Delivery::Direct {
        text: "x",
        attributes: &[],
        to_account: false,
        sender: from.sender(),
        qos: Default::default(),
        options: SubscriptionOptions::default(),
    };
    assert_eq!(client.peer.deliver(&direct), Err(Undelivered::QueueFull));
    client
        .peer
        .pass(Duration::from_millis(limits::SEND_BLOCKED_MS_MAX));
    assert_eq!(client.peer.timeout(), Err(Disconnect::SlowReceiver));
}

#[test]
fn rfc6120_4_9_3_the_daemon_s_own_ends_are_told() {
    for (ending, condition) in [
        (Ending::TakenOver, "conflict"),
        (Ending::Revoked, "not-authorized"),
        (Ending::Shutdown, "system-shutdown"),
        (Ending::SlowReceiver, "policy-violation"),
        (Ending::TooMuchUnfinished, "resource-constraint"),
    ] {
        let mut client = Client::attached();
        let peer = &mut client.peer;
        peer.session.end(peer.now, ending, &mut peer.out);
        let heard = client.heard();
        let error = format!(
            "<stream:error xmlns:stream='{}'><{condition} xmlns=",
            names::STREAM
        );
        assert!(heard.starts_with(&error), "{heard}");
        assert!(heard.ends_with(&format!("<close xmlns='{}'/>", names::FRAMING)));
        let peer = &mut client.peer;
        peer.session.end(peer.now, ending, &mut peer.out);
        assert_eq!(client.heard(), "", "said once");
    }
}

#[test]
fn a_queue_of_answers_that_does_not_move_is_closed_like_any_other() {
    let mut client = Client::attached();
    client.peer.out.stuck = limits::SEND_QUEUE_BYTES_MAX + 1;
    client.say("<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>");
    for _ in 0..limits::SEND_BLOCKED_MS_MAX / 10_000 {
        client.peer.pass(Duration::from_secs(10));
        if client.peer.timeout().is_err() {
            return assert!(client.heard().contains("<policy-violation "));
        }
        client.say("<presence xmlns='jabber:client'/>");
    }
    panic!("it stayed");
}

#[test]
fn who_asks_before_the_login_and_never_reads_is_closed() {
    let mut client = Client::new();
    client.open();
    client.prove();
    client.open();
    let bad = format!(
        "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='{}'><resource>a/b</resource></bind></iq>",
        names::BIND
    );
    client.say(&bad);
    client.peer.out.stuck = limits::PRELOGIN_ANSWERS_BYTES_MAX;
    assert_eq!(client.try_say(&bad).err(), Some(Disconnect::SlowReceiver));
}
