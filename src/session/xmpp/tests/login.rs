//! From the opening of the stream to the address.

use super::*;
use crate::route::{Bind, Certified, Proof, ScramHash};

const NONCE: &str = "0123456789abcdef0123456789abcdef";

const BIND_W1: &str = "<iq xmlns='jabber:client' type='set' id='b1'>\
                       <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>w1</resource></bind></iq>";

#[test]
fn rfc7395_3_4_open_is_answered_with_open_and_features() {
    let mut client = Client::new();
    let heard = client.open();
    let head = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='nexus.example' id='";
    assert!(heard.starts_with(head), "{heard}");
    assert!(heard.ends_with(
        "' version='1.0' xml:lang='en'/><stream:features xmlns:stream='http://etherx.jabber.org/streams'>\
         <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256</mechanism>\
         <mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms></stream:features>"
    ));
    let other = Client::new().open();
    assert_eq!(heard, other, "the same seed, the same id");
    let mut second = client;
    assert_eq!(
        second.try_say(&open_to(DOMAIN)).err(),
        Some(Disconnect::QuotaExceeded)
    );
}

fn open_to(domain: &str) -> String {
    format!("<open xmlns='{}' to='{domain}' version='1.0'/>", names::FRAMING)
}

#[test]
fn a_domain_that_is_served_is_spoken_for_and_another_is_not() {
    let mut client = Client::new();
    client.say(&open_to("SECOND.example"));
    assert!(client.heard().contains(" from='second.example' "));
    let mut client = Client::new();
    assert_eq!(
        client.try_say(&open_to("else.example")).err(),
        Some(Disconnect::ProtocolError)
    );
    let heard = client.heard();
    assert!(heard.starts_with("<open "), "RFC 6120, 4.9.1.2: {heard}");
    assert!(heard.contains("<host-unknown "));
    let mut client = Client::new();
    let old = format!("<open xmlns='{}' to='{DOMAIN}'/>", names::FRAMING);
    assert_eq!(client.try_say(&old).err(), Some(Disconnect::UnsupportedVersion));
    assert!(client.heard().contains("<unsupported-version "));
}

#[test]
fn plain_is_offered_and_taken_only_where_passwords_are() {
    let mut client = Client::with(settings(), Passwords::Refused);
    assert!(!client.open().contains("PLAIN"));
    assert!(client.say(&auth_plain(&account(), "secret")).is_empty());
    assert!(client.heard().contains("<encryption-required/>"));
}

#[test]
fn rfc4616_plain_names_account_and_password() {
    for (message, authzid_ok) in [
        (format!("\0{}\0secret", account()), true),
        (format!("\0{}@{DOMAIN}\0secret", account()), true),
        (format!("{0}@{DOMAIN}\0{0}\0secret", account()), true),
        (format!("other@{DOMAIN}\0{}\0secret", account()), false),
        (format!("{0}@else.example\0{0}\0secret", account()), false),
    ] {
        let mut client = Client::new();
        client.open();
        let commands = client.say(&auth("PLAIN", &message));
        if !authzid_ok {
            assert!(client.heard().contains("<invalid-authzid/>"), "{message:?}");
            continue;
        }
        let [Command::Authenticate(claim)] = commands[..] else {
            panic!("{commands:?}");
        };
        assert_eq!(claim.account, account());
        assert!(matches!(claim.proof, Proof::Password(b"secret")));
    }
}

#[test]
fn rfc6120_6_4_2_an_empty_challenge_asks_for_the_initial_response() {
    let mut client = Client::new();
    client.open();
    assert!(
        client
            .say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>")
            .is_empty()
    );
    assert_eq!(
        client.heard(),
        "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'></challenge>"
    );
    let response = base64(format!("\0{}\0secret", account()).as_bytes());
    let commands = client.say(&format!(
        "<response xmlns='{}'>{response}</response>",
        names::SASL
    ));
    assert!(matches!(commands[..], [Command::Authenticate(_)]));
}

#[test]
fn rfc6120_6_5_failures_are_named_and_bounded() {
    for (element, condition) in [
        (auth("ANONYMOUS", "x"), "invalid-mechanism"),
        (auth("SCRAM-SHA-256-PLUS", "n,,n=u,r=x"), "invalid-mechanism"),
        (
            auth("SCRAM-SHA-256", "p=tls-unique,,n=u,r=x"),
            "malformed-request",
        ),
        (auth("PLAIN", "no nul"), "malformed-request"),
        (
            format!("<auth xmlns='{}' mechanism='PLAIN'>!</auth>", names::SASL),
            "incorrect-encoding",
        ),
        (auth("PLAIN", "\0a@else.example\0s"), "not-authorized"),
        (format!("<abort xmlns='{}'/>", names::SASL), "aborted"),
    ] {
        let mut client = Client::new();
        client.open();
        for attempt in 1..limits::XMPP_ATTEMPTS_MAX {
            assert!(client.say(&element).is_empty());
            let failure = format!("<failure xmlns='{}'><{condition}/></failure>", names::SASL);
            assert_eq!(client.heard(), failure, "{element}, {attempt}");
        }
        assert_eq!(client.try_say(&element).err(), Some(Disconnect::QuotaExceeded));
        let heard = client.heard();
        assert!(
            heard.contains(condition) && heard.contains("<policy-violation "),
            "{heard}"
        );
    }
}

#[test]
fn wrong_secrets_are_bounded_too_and_undecidable_is_not_wrong() {
    let mut client = Client::new();
    client.open();
    for (failure, condition) in [
        (LoginFailure::Denied, "not-authorized"),
        (LoginFailure::Unavailable, "temporary-auth-failure"),
        (LoginFailure::Denied, "not-authorized"),
    ] {
        client.say(&auth_plain(&account(), "wrong"));
        client.decided(Err(failure));
        assert!(client.heard().contains(condition));
    }
    assert_eq!(
        client.try_say(&auth_plain(&account(), "secret")).err(),
        Some(Disconnect::QuotaExceeded)
    );
}

#[test]
fn rfc5802_scram_shows_the_proof_with_what_it_was_made_from() {
    for (name, hash, flag) in [
        ("SCRAM-SHA-256", ScramHash::Sha256, "n"),
        ("SCRAM-SHA-1", ScramHash::Sha1, "y"),
    ] {
        let mut client = Client::new();
        client.open();
        let first_bare = format!("n={},r=abc", account());
        let commands = client.say(&auth(name, &format!("{flag},,{first_bare}")));
        let [Command::Authenticate(claim)] = commands[..] else {
            panic!("{commands:?}");
        };
        assert!(matches!(claim.proof, Proof::ScramFirst(of) if of == hash));
        client.decided(Ok(Proven::Challenge {
            salt: b"salt",
            iterations: 4_096,
            nonce: NONCE,
        }));
        let challenge = decoded(&client.heard(), "challenge");
        let (nonce, rest) = challenge.split_once(',').unwrap();
        assert!(nonce.starts_with("r=abc") && nonce.len() == 5 + 32, "{challenge}");
        assert_eq!(rest, "s=c2FsdA==,i=4096");
        let without_proof = format!("c={},{nonce}", base64(format!("{flag},,").as_bytes()));
        let last = format!("{without_proof},p={}", base64(&[5; 20]));
        let commands = client.say(&response(&last));
        let [Command::Authenticate(claim)] = commands[..] else {
            panic!("{commands:?}");
        };
        let Proof::Scram {
            hash: of,
            auth_message,
            client_proof,
        } = claim.proof
        else {
            panic!("{claim:?}");
        };
        assert_eq!(
            (claim.account, of, client_proof),
            (&*account(), hash, &[5; 20][..])
        );
        let expected = format!("{first_bare},{challenge},{without_proof}");
        assert_eq!(std::str::from_utf8(auth_message).unwrap(), expected);
        client.decided(Ok(Proven::Account {
            server_signature: b"sig",
        }));
        assert_eq!(decoded(&client.heard(), "success"), "v=c2ln");
        assert!(
            client
                .open()
                .contains("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>")
        );
    }
}

#[test]
fn rfc5802_6_a_changed_gs2_flag_or_nonce_is_refused() {
    for (flag, nonce) in [("y,,", None), ("n,,", Some("r=abcd"))] {
        let mut client = Client::new();
        client.open();
        client.say(&auth("SCRAM-SHA-256", "n,,n=u,r=abc"));
        client.decided(Ok(Proven::Challenge {
            salt: b"salt",
            iterations: 4_096,
            nonce: NONCE,
        }));
        let challenge = decoded(&client.heard(), "challenge");
        let nonce = nonce.unwrap_or_else(|| challenge.split(',').next().unwrap());
        let last = format!("c={},{nonce},p={}", base64(flag.as_bytes()), base64(&[5; 32]));
        assert!(client.say(&response(&last)).is_empty());
        assert!(client.heard().contains("<not-authorized/>"));
    }
}

fn response(text: &str) -> String {
    format!(
        "<response xmlns='{}'>{}</response>",
        names::SASL,
        base64(text.as_bytes())
    )
}

/// The text in the one element that was written.
fn decoded(heard: &str, name: &str) -> String {
    use base64::Engine as _;
    let head = format!("<{name} xmlns='{}'>", names::SASL);
    let text = heard.strip_prefix(&head).unwrap_or_else(|| panic!("{heard}"));
    let text = text.strip_suffix(&format!("</{name}>")).unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn rfc6120_7_a_resource_is_bound_byte_for_byte() {
    for (asked, bound) in [("<resource>W.1 é&amp;</resource>", "W.1 é&"), ("", "")] {
        let mut client = Client::new();
        client.open();
        client.prove();
        let features = client.open();
        assert!(
            features.contains("<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>")
        );
        let commands = client.say(&format!(
            "<iq xmlns='jabber:client' type='set' id='b&apos;1'><bind xmlns='{}'>{asked}</bind></iq>",
            names::BIND
        ));
        assert!(
            matches!(commands[..], [Command::Bind(bind)] if bind.resource == bound && bind.damped),
            "{commands:?}"
        );
        client.attach("W.1 é&");
        assert_eq!(
            client.heard(),
            format!(
                "<iq xmlns='jabber:client' type='result' id='b&apos;1'><bind xmlns='{}'>\
                 <jid>{}@{DOMAIN}/W.1 é&amp;</jid></bind></iq>",
                names::BIND,
                account()
            )
        );
    }
}

#[test]
fn a_resource_outside_the_grammar_is_a_bad_request_and_another_may_follow() {
    let mut client = Client::new();
    client.open();
    client.prove();
    client.open();
    let long = "r".repeat(limits::RESOURCE_BYTES_MAX + 1);
    for resource in ["a/b", "a@b", "a+b", "#", "a&#9;b", &long] {
        let bind = BIND_W1.replace("w1", resource);
        assert!(client.say(&bind).is_empty());
        let heard = client.heard();
        assert!(
            heard.starts_with("<iq xmlns='jabber:client' type='error' id='b1'>"),
            "{heard}"
        );
        assert!(heard.contains("<error type='modify'><bad-request "), "{heard}");
    }
    assert!(matches!(
        client.say(BIND_W1)[..],
        [Command::Bind(Bind { resource: "w1", .. })]
    ));
}

#[test]
fn a_login_that_fails_at_its_address_ends_the_stream() {
    for (failure, condition) in [
        (LoginFailure::Conflict, "conflict"),
        (LoginFailure::ResourceRefused, "not-authorized"),
        (LoginFailure::Denied, "not-authorized"),
        (LoginFailure::Unavailable, "resource-constraint"),
    ] {
        let mut client = Client::new();
        client.open();
        client.prove();
        client.open();
        client.say(BIND_W1);
        let peer = &mut client.peer;
        peer.session.attached(peer.now, Err(failure), &mut peer.out);
        assert!(client.heard().contains(&format!("<{condition} ")), "{failure:?}");
        assert_eq!(client.peer.session.next_timeout(), None);
    }
}

#[test]
fn a_login_that_takes_too_long_is_ended_wherever_it_is() {
    let steps: [fn(&mut Client); 4] = [
        |_| {},
        |client| drop(client.open()),
        |client| {
            client.open();
            client.say(&auth_plain(&account(), "secret"));
        },
        |client| {
            client.open();
            client.prove();
            client.open();
        },
    ];
    for step in steps {
        let mut client = Client::new();
        step(&mut client);
        client
            .peer
            .pass(Duration::from_millis(limits::PRELOGIN_MS_MAX - 1));
        client.peer.timeout().unwrap();
        client.peer.pass(Duration::from_millis(1));
        assert_eq!(client.peer.timeout(), Err(Disconnect::TimedOut));
        assert!(client.heard().contains("<connection-timeout "));
    }
}

#[test]
fn rfc7395_3_6_close_is_answered_with_close() {
    let mut client = Client::attached();
    let close = format!("<close xmlns='{}'/>", names::FRAMING);
    assert!(matches!(client.say(&close)[..], [Command::Leave]));
    assert_eq!(client.heard(), close);
}

/// A client that has shown a certificate of the account, for this resource alone if one is named.
fn certified(resource: Option<&str>) -> Client {
    let mut client = Client::new();
    client.peer.session.secured(Some(Box::new(Certified {
        account: account().into(),
        resource: resource.map(Into::into),
        expires_unix_ms: 9,
    })));
    client
}

#[test]
fn external_is_offered_first_and_only_where_a_certificate_names_an_account() {
    let offered = certified(None).open();
    assert!(
        offered.contains("xmpp-sasl'><mechanism>EXTERNAL</mechanism><mechanism>SCRAM-SHA-256<"),
        "{offered}"
    );
    let mut client = Client::new();
    assert!(!client.open().contains("EXTERNAL"));
    assert!(client.say(&auth("EXTERNAL", "")).is_empty());
    // Without an initial response, too, there is nothing to go on with.
    assert!(client.heard().contains("<invalid-mechanism/>"));
}

#[test]
fn rfc4422_a_external_acts_for_the_account_of_the_certificate_alone() {
    let own = format!("{}@{DOMAIN}", account());
    for (authzid, condition) in [
        ("", None),
        (&*own, None),
        (&*format!("{}@SECOND.example", account()), None),
        (&*account(), Some("invalid-authzid")),
        (&*format!("{own}/w1"), Some("invalid-authzid")),
        (&*format!("other@{DOMAIN}"), Some("invalid-authzid")),
        (&*format!("{}@else.example", account()), Some("invalid-authzid")),
    ] {
        let mut client = certified(Some("w1"));
        client.open();
        let response = match authzid {
            "" => "=".to_owned(),
            authzid => base64(authzid.as_bytes()),
        };
        let element = format!(
            "<auth xmlns='{}' mechanism='EXTERNAL'>{response}</auth>",
            names::SASL
        );
        let commands = client.say(&element);
        if let Some(condition) = condition {
            assert!(client.heard().contains(&format!("<{condition}/>")), "{authzid}");
            assert!(commands.is_empty());
            continue;
        }
        let [Command::Authenticate(claim)] = commands[..] else {
            panic!("{commands:?}");
        };
        assert_eq!(claim.account, account());
        assert!(matches!(
            claim.proof,
            Proof::Certificate {
                resource: Some("w1"),
                expires_unix_ms: 9
            }
        ));
        client.decided(Ok(Proven::Account {
            server_signature: &[],
        }));
        let success = format!("<success xmlns='{}'></success>", names::SASL);
        assert_eq!(client.heard(), success);
    }
}

#[test]
fn rfc6120_6_4_2_external_may_be_asked_for_its_response() {
    let mut client = certified(None);
    client.open();
    assert!(
        client
            .say(&format!("<auth xmlns='{}' mechanism='EXTERNAL'/>", names::SASL))
            .is_empty()
    );
    assert!(client.heard().starts_with("<challenge "));
    let commands = client.say(&format!("<response xmlns='{}'/>", names::SASL));
    assert!(matches!(commands[..], [Command::Authenticate(_)]), "{commands:?}");
    // A denial leaves the certificate for another attempt.
    client.decided(Err(LoginFailure::Denied));
    assert!(client.heard().contains("<not-authorized/>"));
    let commands = client.say(&format!(
        "<auth xmlns='{}' mechanism='EXTERNAL'>=</auth>",
        names::SASL
    ));
    assert!(matches!(commands[..], [Command::Authenticate(_)]), "{commands:?}");
}
