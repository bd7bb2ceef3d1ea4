//! Enhanced authentication: SCRAM in CONNECT, AUTH and CONNACK, and again behind them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::codec::mqtt::packet::{self, Auth};
use crate::limits;
use crate::route::{Authenticate, Bind, Proof, Qos, ScramHash};
use crate::session::{LoginFailure, Proven};

const SHA_256: &str = "SCRAM-SHA-256";
const NONCE: &str = "0123456789abcdef0123456789abcdef";
const CHALLENGE: Proven<'_> = Proven::Challenge {
    salt: b"salt",
    iterations: 4_096,
    nonce: NONCE,
};
const SIGNED: Proven<'_> = Proven::Account {
    server_signature: &[7; 32],
};
const CONTINUE: u8 = 0x18;
const AGAIN: u8 = 0x19;

fn client(passwords: Passwords) -> Client {
    let mut client = Client::new(V5, settings());
    client.peer = Peer::new(Session::new(&client.settings, passwords, Now::default()));
    client
}

/// client-first-message of this name.
fn first(user: &str) -> String {
    format!("n,,n={user},r=abc")
}

/// client-final-message behind [`CHALLENGE`].
fn last() -> String {
    format!("c=biws,r=abc{NONCE},p={}", STANDARD.encode([5; 32]))
}

/// A CONNECT without user name and password, with a method and data.
fn with_method(
    client: &mut Client,
    method: &str,
    data: &[u8],
    credentials: (Option<&str>, Option<&[u8]>),
) -> Result<Vec<Command<'static>>, Disconnect> {
    let properties = [
        Property::AuthenticationMethod(method),
        Property::AuthenticationData(data),
    ];
    client.send(&Packet::Connect(Connect {
        properties: Properties::list(&properties),
        user_name: credentials.0,
        password: credentials.1,
        ..connect(V5)
    }))
}

fn auth(
    client: &mut Client,
    code: u8,
    method: &str,
    data: &str,
) -> Result<Vec<Command<'static>>, Disconnect> {
    let properties = [
        Property::AuthenticationMethod(method),
        Property::AuthenticationData(data.as_bytes()),
    ];
    let properties = Properties::list(&properties);
    client.send(&Packet::Auth(Auth { code, properties }))
}

#[track_caller]
fn claim(commands: Result<Vec<Command<'static>>, Disconnect>) -> Authenticate<'static> {
    match commands.as_deref() {
        Ok([Command::Authenticate(claim)]) => *claim,
        other => panic!("no claim: {other:?}"),
    }
}

/// What the session does on a verdict: the resource it takes, or why it ends.
fn decided(
    client: &mut Client,
    verdict: Result<Proven<'_>, LoginFailure>,
) -> Result<Option<String>, Disconnect> {
    let peer = &mut client.peer;
    let bind = peer.session.proven(peer.now, verdict, &mut peer.out)?;
    Ok(bind.map(|bind: Bind<'_>| {
        assert!(!bind.damped && bind.renewable);
        bind.resource.to_owned()
    }))
}

/// The AUTH that was written, which has nothing else: code, method and data.
#[track_caller]
fn told(client: &mut Client) -> (u8, String, String) {
    let Packet::Auth(auth) = client.packet() else {
        panic!("no AUTH");
    };
    assert_eq!(auth.properties.iter().count(), 2, "{auth:?}");
    let data = auth.properties.authentication_data().unwrap();
    (
        auth.code,
        auth.properties.authentication_method().unwrap().to_owned(),
        String::from_utf8(data.to_vec()).unwrap(),
    )
}

/// A client that was challenged.
fn challenged() -> Client {
    let mut client = client(Passwords::Taken);
    claim(with_method(
        &mut client,
        SHA_256,
        first(account()).as_bytes(),
        (None, None),
    ));
    assert_eq!(decided(&mut client, Ok(CHALLENGE)), Ok(None));
    client.packets();
    client
}

/// A client that is in, by way of AUTH.
fn attached() -> Client {
    let mut client = challenged();
    claim(auth(&mut client, CONTINUE, SHA_256, &last()));
    assert_eq!(decided(&mut client, Ok(SIGNED)), Ok(Some("w.1".to_owned())));
    client.attach(&worker());
    client.packets();
    client
}

#[track_caller]
fn ended_with(
    client: &mut Client,
    ended: Result<Vec<Command<'static>>, Disconnect>,
    expected: Disconnect,
    wanted: u8,
) {
    assert_eq!(ended.unwrap_err(), expected);
    let codes: Vec<_> = client.packets().iter().map(code).collect();
    assert_eq!(codes, [wanted]);
    assert!(client.peer.session.next_timeout().is_none());
}

#[test]
fn mqtt5_4_12_scram_is_spoken_in_connect_auth_and_connack() {
    for (method, hash) in [(SHA_256, ScramHash::Sha256), ("SCRAM-SHA-1", ScramHash::Sha1)] {
        // The secret is not shown, so nobody has to allow that.
        let mut client = client(Passwords::Refused);
        let first = first(account());
        let asked = claim(with_method(&mut client, method, first.as_bytes(), (None, None)));
        assert_eq!(asked.account, account());
        assert!(matches!(asked.proof, Proof::ScramFirst(of) if of == hash));
        assert_eq!(decided(&mut client, Ok(CHALLENGE)), Ok(None));
        let challenge = format!("r=abc{NONCE},s=c2FsdA==,i=4096");
        assert_eq!(
            told(&mut client),
            (CONTINUE, method.to_owned(), challenge.clone())
        );
        let shown = claim(auth(&mut client, CONTINUE, method, &last()));
        let Proof::Scram {
            hash: of,
            auth_message,
            client_proof,
        } = shown.proof
        else {
            panic!("{shown:?}");
        };
        assert_eq!((shown.account, of, client_proof), (account(), hash, &[5; 32][..]));
        let signed = format!("n={},r=abc,{challenge},c=biws,r=abc{NONCE}", account());
        assert_eq!(std::str::from_utf8(auth_message), Ok(&*signed));
        assert_eq!(decided(&mut client, Ok(SIGNED)), Ok(Some("w.1".to_owned())));
        assert_eq!(client.packets(), [], "the address comes first");
        client.attach(&worker());
        let Packet::ConnAck(connack) = client.packet() else {
            panic!("no CONNACK");
        };
        assert_eq!(connack.code, 0);
        assert_eq!(connack.properties.authentication_method(), Some(method));
        let data = format!("v={}", STANDARD.encode([7; 32]));
        assert_eq!(connack.properties.authentication_data(), Some(data.as_bytes()));
    }
}

#[test]
fn mqtt5_4_12_0_1_a_method_that_is_not_spoken_is_refused() {
    for method in ["", "PLAIN", "SCRAM-SHA-256-PLUS", "scram-sha-256", "GS2-KRB5"] {
        let mut client = client(Passwords::Taken);
        let ended = with_method(&mut client, method, b"", (Some(account()), Some(b"secret")));
        ended_with(&mut client, ended, Disconnect::BadCredentials, 0x8C);
    }
}

#[test]
fn mqtt5_4_13_1_data_that_is_no_message_of_scram_is_a_protocol_error() {
    let long = first(&"x".repeat(limits::SASL_NAME_BYTES_MAX + 1));
    for data in [
        "",
        "n,,",
        "n,,n=,r=abc",
        "p=tls-unique,,n=u,r=abc",
        "n,,m=1,n=u,r=abc",
        "\u{0}",
        &long,
    ] {
        let mut client = client(Passwords::Taken);
        let ended = with_method(&mut client, SHA_256, data.as_bytes(), (None, None));
        ended_with(&mut client, ended, Disconnect::ProtocolError, 0x82);
        let mut client = challenged();
        let ended = auth(&mut client, CONTINUE, SHA_256, data);
        ended_with(&mut client, ended, Disconnect::ProtocolError, 0x82);
    }
    let mut client = client(Passwords::Taken);
    let ended = with_method(&mut client, SHA_256, b"n,,n=\xFF,r=abc", (None, None));
    ended_with(&mut client, ended, Disconnect::ProtocolError, 0x82);
}

#[test]
fn nexus_3_the_account_comes_from_scram_and_a_user_name_must_match_it() {
    let ours = format!("{}@nexus.example", account());
    let own = format!("n,a={ours},n={},r=abc", account());
    for (data, user_name, is_good) in [
        (first(account()), Some(account()), true),
        (first(account()), Some(""), true),
        (first(account()), Some(&*ours), true),
        (first(&ours), Some(account()), true),
        (own, None, true),
        (
            first(account()),
            Some("etest-0123456789abcdef01234567-user"),
            false,
        ),
        (
            first(account()),
            Some("etest-0123456789abcdef01234567-owner@else.example"),
            false,
        ),
        (first("else@else.example"), None, false),
        (first("@nexus.example"), None, false),
        (first(&"x".repeat(limits::ACCOUNT_BYTES_MAX + 1)), None, false),
        (
            format!("n,a=other@nexus.example,n={},r=abc", account()),
            None,
            false,
        ),
        (format!("n,a={},n={},r=abc", account(), account()), None, false),
    ] {
        let mut client = client(Passwords::Taken);
        let asked = with_method(&mut client, SHA_256, data.as_bytes(), (user_name, None));
        if is_good {
            assert_eq!(claim(asked).account, account(), "{data} {user_name:?}");
        } else {
            ended_with(&mut client, asked, Disconnect::BadCredentials, 0x86);
        }
    }
}

#[test]
fn mqtt5_4_12_a_password_beside_a_method_is_not_looked_at_but_must_not_be_shown_everywhere() {
    for (passwords, is_taken) in [(Passwords::Taken, true), (Passwords::Refused, false)] {
        let mut client = client(passwords);
        let data = first(account());
        let credentials = (Some(account()), Some(&b"whatever"[..]));
        let asked = with_method(&mut client, SHA_256, data.as_bytes(), credentials);
        if is_taken {
            assert!(matches!(claim(asked).proof, Proof::ScramFirst(_)));
        } else {
            ended_with(&mut client, asked, Disconnect::BadCredentials, 0x87);
        }
    }
}

#[test]
fn mqtt5_4_12_0_4_a_login_that_fails_is_told_in_connack_like_one_with_a_password() {
    for (failure, expected, wanted) in [
        (LoginFailure::Denied, Disconnect::BadCredentials, 0x86),
        (LoginFailure::Unavailable, Disconnect::Unavailable, 0x88),
    ] {
        for steps in 1..=2 {
            let mut client = client(Passwords::Taken);
            claim(with_method(
                &mut client,
                SHA_256,
                first(account()).as_bytes(),
                (None, None),
            ));
            if steps == 2 {
                client = challenged();
                claim(auth(&mut client, CONTINUE, SHA_256, &last()));
            }
            let ended = decided(&mut client, Err(failure)).map(|_| Vec::new());
            ended_with(&mut client, ended, expected, wanted);
        }
    }
    // A secret that is bound to another resource: only the claim of the address shows it.
    let mut client = challenged();
    claim(auth(&mut client, CONTINUE, SHA_256, &last()));
    assert!(decided(&mut client, Ok(SIGNED)).unwrap().is_some());
    let (now, out) = (client.peer.now, &mut client.peer.out);
    client
        .peer
        .session
        .attached(now, Err(LoginFailure::ResourceRefused), out);
    assert_eq!(client.packets().iter().map(code).collect::<Vec<_>>(), [0x86]);
}

#[test]
fn rfc5802_6_a_proof_of_another_exchange_is_a_claim_that_does_not_hold() {
    let proof = STANDARD.encode([5; 32]);
    for data in [
        format!("c=eSws,r=abc{NONCE},p={proof}"),
        format!("c=biws,r=abcabc,p={proof}"),
    ] {
        let mut client = challenged();
        let ended = auth(&mut client, CONTINUE, SHA_256, &data);
        ended_with(&mut client, ended, Disconnect::BadCredentials, 0x86);
    }
}

#[test]
fn mqtt5_3_1_2_30_before_connack_only_auth_and_disconnect_may_come() {
    for packet in [
        Packet::PingReq,
        Packet::Connect(connect(V5)),
        Packet::Publish(message("a", QoS::AtMostOnce, &[])),
        subscription(&[filter("a", QoS::AtMostOnce)], &[]),
    ] {
        let mut client = challenged();
        let ended = client.send(&packet);
        ended_with(&mut client, ended, Disconnect::ProtocolError, 0x82);
    }
    let mut client = challenged();
    let left = client.ask(&Packet::Disconnect(packet::Disconnect {
        code: 0,
        properties: Properties::EMPTY,
    }));
    assert!(matches!(left, Command::Leave));
    assert_eq!(client.packets(), []);
}

#[test]
fn mqtt5_4_12_0_5_another_method_or_reason_code_is_a_protocol_error() {
    for (code, method) in [(CONTINUE, "SCRAM-SHA-1"), (CONTINUE, "x"), (AGAIN, SHA_256)] {
        let mut client = challenged();
        let ended = auth(&mut client, code, method, &last());
        ended_with(&mut client, ended, Disconnect::ProtocolError, 0x82);
        let mut client = attached();
        let begun = first(account());
        claim(auth(&mut client, AGAIN, SHA_256, &begun));
        assert_eq!(decided(&mut client, Ok(CHALLENGE)), Ok(None));
        client.packets();
        let ended = auth(&mut client, code, method, &last());
        ended_with(&mut client, ended, Disconnect::ProtocolError, 0x82);
    }
}

#[test]
fn limits_a_challenge_does_not_move_the_login_deadline() {
    let mut client = challenged();
    client
        .peer
        .pass(Duration::from_millis(limits::PRELOGIN_MS_MAX - 1));
    assert_eq!(client.peer.timeout(), Ok(()));
    client.peer.pass(Duration::from_millis(1));
    assert_eq!(client.peer.timeout(), Err(Disconnect::TimedOut));
    assert_eq!(code(&client.packet()), 0x88);
    let mut client = challenged();
    let (now, out) = (client.peer.now, &mut client.peer.out);
    client
        .peer
        .session
        .end(now, crate::session::Ending::Shutdown, out);
    assert_eq!(code(&client.packet()), 0x88);
    assert!(client.peer.session.take_will().is_none());
}

#[test]
fn limits_a_packet_before_connack_is_bounded_like_other_bytes_before_login() {
    let mut client = challenged();
    let ended = auth(
        &mut client,
        CONTINUE,
        SHA_256,
        &"x".repeat(limits::PRELOGIN_BYTES_MAX),
    );
    ended_with(&mut client, ended, Disconnect::TooLarge, 0x95);
}

#[test]
fn mqtt5_4_12_1_a_client_authenticates_again_and_goes_on_meanwhile() {
    let mut client = attached();
    for _ in 0..2 {
        // What a ping gives back is not what this needs.
        client.send(&Packet::PingReq).unwrap();
        client.packets();
        let asked = claim(auth(&mut client, AGAIN, SHA_256, &first(account())));
        assert!(matches!(asked.proof, Proof::ScramFirst(ScramHash::Sha256)));
        client.send(&Packet::PingReq).unwrap();
        assert_eq!(client.packet(), Packet::PingResp);
        assert_eq!(decided(&mut client, Ok(CHALLENGE)), Ok(None));
        assert_eq!(told(&mut client).0, CONTINUE);
        let published = client.ask(&Packet::Publish(message("a", QoS::AtMostOnce, &[])));
        assert!(matches!(published, Command::Publish { message, .. } if message.qos == Qos::AtMostOnce));
        let shown = claim(auth(&mut client, CONTINUE, SHA_256, &last()));
        assert_eq!(shown.account, account());
        assert_eq!(decided(&mut client, Ok(SIGNED)), Ok(None), "the address stays");
        let data = format!("v={}", STANDARD.encode([7; 32]));
        assert_eq!(told(&mut client), (0, SHA_256.to_owned(), data));
    }
}

#[test]
fn mqtt5_4_12_1_2_a_re_authentication_that_fails_ends_the_session_with_its_will() {
    for (failure, expected, wanted) in [
        (LoginFailure::Denied, Disconnect::BadCredentials, 0x87),
        (LoginFailure::Unavailable, Disconnect::Unavailable, 0x89),
    ] {
        let mut client = attached();
        claim(auth(&mut client, AGAIN, SHA_256, &first(account())));
        let ended = decided(&mut client, Err(failure)).map(|_| Vec::new());
        ended_with(&mut client, ended, expected, wanted);
    }
    let mut client = attached();
    let ended = auth(
        &mut client,
        AGAIN,
        SHA_256,
        &first("etest-0123456789abcdef01234567-user"),
    );
    ended_with(&mut client, ended, Disconnect::BadCredentials, 0x87);
}

#[test]
fn mqtt5_4_12_1_who_speaks_out_of_turn_is_told_so() {
    let mut client = attached();
    let ended = auth(&mut client, CONTINUE, SHA_256, &last());
    ended_with(&mut client, ended, Disconnect::ProtocolError, 0x82);
    for (code, data) in [(CONTINUE, last()), (AGAIN, first(account()))] {
        let mut client = attached();
        claim(auth(&mut client, AGAIN, SHA_256, &first(account())));
        let ended = auth(&mut client, code, SHA_256, &data);
        ended_with(&mut client, ended, Disconnect::ProtocolError, 0x82);
    }
    let mut client = attached();
    let ended = auth(&mut client, AGAIN, "SCRAM-SHA-1", &first(account()));
    ended_with(&mut client, ended, Disconnect::ProtocolError, 0x82);
}

#[test]
fn mqtt5_3_1_2_11_4_who_cannot_be_sent_the_exchange_is_told_so() {
    let room = limits::CONNACK_BYTES_MAX + limits::CONNACK_AUTH_BYTES_MAX;
    for (most, nonce, is_asked) in [(room - 1, 3, false), (room, 3, true), (room, 200, true)] {
        let mut client = client(Passwords::Taken);
        let data = format!("n,,n={},r={}", account(), "x".repeat(nonce));
        let properties = [
            Property::AuthenticationMethod(SHA_256),
            Property::AuthenticationData(data.as_bytes()),
            Property::MaximumPacketSize(u32::try_from(most).unwrap()),
        ];
        let sent = client.send(&Packet::Connect(Connect {
            properties: Properties::list(&properties),
            ..connect(V5)
        }));
        if !is_asked {
            ended_with(&mut client, sent, Disconnect::TooLarge, 0x95);
            continue;
        }
        claim(sent);
        let verdict = decided(&mut client, Ok(CHALLENGE)).map(|_| Vec::new());
        if nonce == 200 {
            ended_with(&mut client, verdict, Disconnect::TooLarge, 0x95);
        } else {
            assert_eq!(told(&mut client).0, CONTINUE);
        }
    }
}

#[test]
fn limits_what_a_method_adds_to_connack_is_known() {
    let added = |properties: &[Property<'_>]| {
        let properties = Properties::list(properties);
        Packet::Auth(Auth {
            code: 0x18,
            properties,
        })
        .encoded_len(V5)
    };
    let data = crate::codec::sasl::server_final(&[7; 32]);
    let method = Property::AuthenticationMethod(SHA_256);
    let both = added(&[method, Property::AuthenticationData(data.as_bytes())]);
    // Fixed header, reason code and the length of the properties.
    assert_eq!(both - 4, limits::CONNACK_AUTH_BYTES_MAX);
}
