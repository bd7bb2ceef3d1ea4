//! The stream over TCP (RFC 6120).

use super::*;

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='nexus.example' version='1.0' \
                      xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const BIND: &str = "<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                    <resource>w1</resource></bind></iq>";
const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

fn peer(passwords: Passwords, starttls: bool) -> Peer<TcpSession> {
    Peer::new(TcpSession::new(
        &Arc::new(settings()),
        passwords,
        starttls,
        Now::default(),
    ))
}

fn heard(peer: &mut Peer<TcpSession>) -> String {
    String::from_utf8(peer.out.take()).unwrap()
}

fn say(peer: &mut Peer<TcpSession>, text: &str) -> Vec<Command<'static>> {
    peer.feed(text.as_bytes()).unwrap()
}

/// Proves and binds, as the hub would have it.
fn log_in(peer: &mut Peer<TcpSession>) {
    let commands = say(peer, &auth_plain(&account(), "secret"));
    assert!(matches!(commands[..], [Command::Authenticate(_)]), "{commands:?}");
    let proven = Proven::Account {
        server_signature: &[],
    };
    peer.session.proven(peer.now, Ok(proven), &mut peer.out).unwrap();
    let success = format!("<success xmlns='{}'></success>", names::SASL);
    assert!(heard(peer).ends_with(&success));
    say(peer, HEADER);
    assert!(heard(peer).contains("<bind xmlns="));
    let commands = say(peer, BIND);
    assert!(matches!(commands[..], [Command::Bind(_)]), "{commands:?}");
    let identity = identity("etest", "owner", "w1");
    peer.session.attached(peer.now, Ok(&identity), &mut peer.out);
    assert!(heard(peer).contains("<jid>"));
}

fn attached() -> Peer<TcpSession> {
    let mut peer = peer(Passwords::Taken, false);
    say(&mut peer, HEADER);
    heard(&mut peer);
    log_in(&mut peer);
    peer
}

const PING: &str = "<iq type='get' id='p1'><ping xmlns='urn:xmpp:ping'/></iq>";
const PONG: &str = "<iq xmlns='jabber:client' type='result' id='p1'></iq>";

#[test]
fn rfc6120_4_a_stream_is_one_document_from_its_header_to_its_end_tag() {
    let mut peer = attached();
    say(&mut peer, PING);
    assert_eq!(heard(&mut peer), PONG);
    let commands = say(&mut peer, "</stream:stream>");
    assert!(matches!(commands[..], [Command::Leave]), "{commands:?}");
    assert_eq!(heard(&mut peer), "</stream:stream>");
}

#[test]
fn rfc6120_4_7_the_header_is_answered_with_one_of_the_daemon_s_own() {
    let mut peer = peer(Passwords::Taken, false);
    say(&mut peer, HEADER);
    let answer = heard(&mut peer);
    let begins = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
                  xmlns:stream='http://etherx.jabber.org/streams' from='nexus.example' id='";
    assert!(answer.starts_with(begins), "{answer}");
    assert!(
        answer.contains("' version='1.0' xml:lang='en'><stream:features "),
        "{answer}"
    );
    assert!(answer.contains("<mechanism>PLAIN</mechanism>") && !answer.contains("<starttls"));
}

#[test]
fn a_stream_may_come_in_pieces_of_any_length() {
    let login = format!("{HEADER}{}", auth_plain(&account(), "secret"));
    let mut peer = peer(Passwords::Taken, false);
    let asked: Vec<_> = login
        .bytes()
        .flat_map(|byte| peer.feed(&[byte]).unwrap())
        .collect();
    assert!(matches!(asked[..], [Command::Authenticate(_)]), "{asked:?}");
    let mut peer = attached();
    let text = format!(" {PING}\n{PING} </stream:stream >");
    let asked: Vec<_> = text
        .bytes()
        .flat_map(|byte| peer.feed(&[byte]).unwrap())
        .collect();
    assert!(matches!(asked[..], [Command::Leave]), "{asked:?}");
    assert_eq!(heard(&mut peer), format!("{PONG}{PONG}</stream:stream>"));
}

#[test]
fn rfc6120_5_4_2_a_connection_in_clear_turns_to_tls_and_begins_anew() {
    let mut peer = peer(Passwords::Refused, true);
    say(&mut peer, HEADER);
    let features = heard(&mut peer);
    assert!(
        features.contains(STARTTLS) && !features.contains("PLAIN"),
        "{features}"
    );
    // RFC 6120, 13.9.4: what comes along was said by anybody.
    let commands = say(
        &mut peer,
        &format!("{STARTTLS}{}", auth_plain(&account(), "secret")),
    );
    assert!(matches!(commands[..], [Command::StartTls]), "{commands:?}");
    assert!(peer.pending.is_empty());
    assert_eq!(
        heard(&mut peer),
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    );
    peer.session.secured(None);
    say(&mut peer, HEADER);
    let features = heard(&mut peer);
    assert!(
        features.contains("PLAIN") && !features.contains("<starttls"),
        "{features}"
    );
    log_in(&mut peer);
}

#[test]
fn starttls_is_for_connections_in_clear_where_there_is_a_certificate() {
    let mut sealed = peer(Passwords::Taken, true);
    sealed.session.secured(None);
    for mut peer in [sealed, peer(Passwords::Taken, false)] {
        say(&mut peer, HEADER);
        heard(&mut peer);
        assert_eq!(
            peer.feed(STARTTLS.as_bytes()).err(),
            Some(Disconnect::ProtocolError)
        );
    }
    let mut late = attached();
    assert!(late.feed(STARTTLS.as_bytes()).is_err());
}

#[test]
fn rfc6120_4_9_1_2_an_error_in_the_header_follows_a_header() {
    for (text, condition) in [
        ("GET / HTTP/1.1\r\n", "not-well-formed"),
        ("<?xml version='1.0' encoding='latin1'?>", "unsupported-encoding"),
        ("<!DOCTYPE x>", "restricted-xml"),
        (
            &HEADER.replace("jabber:client", "jabber:server"),
            "invalid-namespace",
        ),
        (
            &HEADER.replace("http://etherx.jabber.org/streams", "urn:x"),
            "invalid-namespace",
        ),
        (
            &HEADER.replace("stream:", "s:").replace(":stream=", ":s="),
            "bad-namespace-prefix",
        ),
        (&HEADER.replace("nexus.example", "other.example"), "host-unknown"),
        (
            &HEADER.replace(" version='1.0' xmlns", " xmlns"),
            "unsupported-version",
        ),
        (
            &HEADER.replace("<stream:stream", "<stream:features"),
            "unsupported-stanza-type",
        ),
        (
            &"<a x='".repeat(limits::XMPP_HEADER_BYTES_MAX),
            "policy-violation",
        ),
    ] {
        let mut peer = peer(Passwords::Taken, false);
        assert!(peer.feed(text.as_bytes()).is_err(), "{text}");
        let heard = heard(&mut peer);
        assert!(
            heard.starts_with("<?xml version='1.0'?><stream:stream "),
            "{text}: {heard}"
        );
        assert!(
            heard.contains(&format!(
                "<stream:error xmlns:stream='{}'><{condition} ",
                names::STREAM
            )),
            "{heard}"
        );
        assert!(heard.ends_with("</stream:error></stream:stream>"), "{heard}");
    }
}

#[test]
fn what_is_no_element_ends_a_stream() {
    for (text, condition) in [
        ("</message>", "not-well-formed"),
        ("<message></iq>", "not-well-formed"),
        ("text", "not-well-formed"),
        ("<!-- x -->", "restricted-xml"),
        ("<?xml version='1.0'?>", "restricted-xml"),
        (
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
            "invalid-namespace",
        ),
        ("<x:message/>", "not-well-formed"),
    ] {
        let mut peer = attached();
        assert!(peer.feed(text.as_bytes()).is_err(), "{text}");
        let heard = heard(&mut peer);
        assert!(
            heard.starts_with("<stream:error ") && heard.contains(condition),
            "{text}: {heard}"
        );
    }
}

#[test]
fn a_client_that_ends_its_stream_by_an_error_leaves() {
    let mut peer = attached();
    let error =
        "<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
    let commands = say(&mut peer, error);
    assert!(matches!(commands[..], [Command::Leave]), "{commands:?}");
}

#[test]
fn rfc6120_4_6_1_white_space_shows_that_a_client_is_there() {
    let mut peer = attached();
    let idle = Duration::from_secs(u64::from(limits::XMPP_PING_S));
    peer.pass(idle - Duration::from_secs(1));
    say(&mut peer, " ");
    peer.pass(Duration::from_secs(2));
    peer.timeout().unwrap();
    assert_eq!(heard(&mut peer), "");
    peer.pass(idle);
    peer.timeout().unwrap();
    assert!(heard(&mut peer).contains("urn:xmpp:ping"));
    say(&mut peer, "\n");
    peer.pass(Duration::from_millis(limits::XMPP_PING_WAIT_MS));
    peer.timeout().unwrap();
}

#[test]
fn white_space_does_not_put_off_the_end_of_a_login() {
    let mut peer = peer(Passwords::Taken, false);
    say(&mut peer, HEADER);
    peer.pass(Duration::from_millis(limits::PRELOGIN_MS_MAX));
    say(&mut peer, "  ");
    assert_eq!(peer.timeout(), Err(Disconnect::TimedOut));
}

#[test]
fn an_idle_session_over_tcp_is_little_more_than_one_over_web_socket() {
    assert!(size_of::<TcpSession>() <= size_of::<Session>() + 32);
}
