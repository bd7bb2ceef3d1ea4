//! Who gets in over XMPP, by which proof, and how it is refused (PROTOCOL 4, Stream; 6).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::harness::clock::{CHANGE_MAX, Moment, unix_ms};
use crate::harness::daemon::DOMAIN;
use crate::harness::http;
use crate::harness::matrix::XMPPJS;
use crate::harness::native::{bare_jid, full_jid};
use crate::harness::scram::{Challenge, Hash};
use crate::harness::world::{new_uid, text};
use crate::harness::xml::Element;
use crate::harness::xmpp::{SASL, XmppSocket, condition, plain};
use crate::harness::{Account, Call, Client, Connect, Net, Options, each_shard_count, eventually};

/// How much later than promised a busy machine may show a change.
const ROOM: std::time::Duration = std::time::Duration::from_secs(2);

fn whoami(client: &Client) -> serde_json::Value {
    let reply = client.call(&Call::new("nexus", "whoami"));
    assert_eq!(reply.code, 0, "{reply:?}");
    reply.body
}

/// One attempt with PLAIN on a fresh stream.
#[track_caller]
fn attempt_plain(net: &Net, response: &str) -> Element {
    let (mut socket, _) = XmppSocket::open(net.daemon().ws);
    socket.authenticate("PLAIN", response)
}

#[track_caller]
fn assert_failure(answer: &Element, wanted: &[&str]) {
    assert!(answer.is(SASL, "failure"), "{answer:?}");
    let condition = condition(answer);
    assert!(
        wanted.contains(&condition.as_str()),
        "{condition}, not one of {wanted:?}"
    );
}

#[test]
fn the_stock_client_logs_in_by_plain_and_by_scram() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        // Left alone, the library takes SCRAM-SHA-1 where it is offered; older versions know PLAIN only.
        for mechanism in [None, Some("PLAIN"), Some("SCRAM-SHA-1")] {
            let connect = Connect {
                mechanism,
                ..account.connect("Web.1")
            };
            let client = net.open(XMPPJS, &connect);
            let (failed, properties) = client.login_outcome();
            assert_eq!(failed, None, "{mechanism:?}");
            assert_eq!(properties.text("jid"), Some(full_jid(&account, "Web.1").as_str()));
            assert_eq!(whoami(&client)["resource"], "Web.1");
            client.disconnect();
        }
    });
}

#[test]
fn the_stock_client_is_told_of_a_wrong_secret() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        for mechanism in ["PLAIN", "SCRAM-SHA-1"] {
            let connect = Connect {
                mechanism: Some(mechanism),
                ..Connect::new(&account.name, "wrong", "w1")
            };
            let client = net.open(XMPPJS, &connect);
            assert_eq!(client.login_outcome().0.as_deref(), Some("not-authorized"));
        }
    });
}

#[test]
fn scram_sha_256_and_sha_1_prove_both_sides() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let own = bare_jid(&account);
        for hash in [Hash::Sha256, Hash::Sha1] {
            // gs2 flags `n` and `y`; authzid empty or the own bare JID; the user name with or without domain.
            for gs2 in ["n,,", "y,,", &format!("n,a={own},")] {
                for user in [account.name.as_str(), own.as_str()] {
                    let (mut socket, _) = XmppSocket::open(net.daemon().ws);
                    let (_, end) = socket.scram(hash, gs2, user, &account.secret);
                    assert!(end.is(SASL, "success"), "{hash:?} {gs2} {user}: {end:?}");
                    socket.restart();
                    let jid = XmppSocket::bound_jid(&socket.bind("w1"));
                    assert_eq!(jid, full_jid(&account, "w1"));
                    socket.assert_alive();
                }
            }
        }
    });
}

#[test]
fn scram_with_channel_binding_or_a_foreign_authzid_is_refused() {
    each_shard_count(|net| {
        let app = net.app();
        let (account, other) = (app.account("owner"), app.account("partner"));
        let foreign = format!("n,a={},", bare_jid(&other));
        for hash in [Hash::Sha256, Hash::Sha1] {
            for (gs2, wanted) in [
                (
                    "p=tls-unique,,",
                    &["malformed-request", "not-authorized", "invalid-mechanism"][..],
                ),
                ("x,,", &["malformed-request"]),
                (&foreign, &["invalid-authzid"]),
            ] {
                let (mut socket, _) = XmppSocket::open(net.daemon().ws);
                let (_, end) = socket.scram(hash, gs2, &account.name, &account.secret);
                assert_failure(&end, wanted);
            }
        }
    });
}

#[test]
fn plain_takes_an_authzid_that_is_empty_or_ones_own() {
    each_shard_count(|net| {
        let app = net.app();
        let (account, other) = (app.account("owner"), app.account("partner"));
        let own = bare_jid(&account);
        for (authzid, user) in [
            ("", &account.name),
            (&own, &account.name),
            ("", &own),
            (&own, &own),
        ] {
            let answer = attempt_plain(net, &plain(authzid, user, &account.secret));
            assert!(answer.is(SASL, "success"), "{authzid} {user}: {answer:?}");
        }
        let answer = attempt_plain(net, &plain(&bare_jid(&other), &account.name, &account.secret));
        assert_failure(&answer, &["invalid-authzid"]);
        let elsewhere = format!("{}@elsewhere.example", account.name);
        let answer = attempt_plain(net, &plain("", &elsewhere, &account.secret));
        assert_failure(&answer, &["not-authorized"]);
    });
}

#[test]
fn unknown_account_and_wrong_secret_are_indistinguishable() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let unknown = format!("{}-{}-partner", account.app, new_uid());
        let wrong = attempt_plain(net, &plain("", &account.name, "wrong"));
        assert_failure(&wrong, &["not-authorized"]);
        assert_eq!(attempt_plain(net, &plain("", &unknown, &account.secret)), wrong);
        for hash in [Hash::Sha256, Hash::Sha1] {
            let attempt = |user: &str, secret: &str| {
                let (mut socket, _) = XmppSocket::open(net.daemon().ws);
                let (first, end) = socket.scram(hash, "n,,", user, secret);
                assert_failure(&end, &["not-authorized"]);
                (Challenge::read(&first), end)
            };
            let (known, end) = attempt(&account.name, "wrong");
            let (made_up, same_end) = attempt(&unknown, &account.secret);
            assert_eq!(end, same_end);
            assert_eq!(known.iterations, 4096);
            assert_eq!(made_up.iterations, 4096);
            assert_eq!(known.salt.len(), made_up.salt.len());
            assert_eq!(known.nonce.len(), made_up.nonce.len());
            // Asked again, either shows the salt it showed before, and a nonce it never showed.
            let again = attempt(&unknown, "other").0;
            assert_eq!(again.salt, made_up.salt, "a deterministic salt");
            assert_ne!(again.nonce[32..], made_up.nonce[32..]);
            assert_eq!(attempt(&account.name, "other").0.salt, known.salt);
        }
    });
}

#[test]
fn each_of_several_secrets_logs_in() {
    each_shard_count(|net| {
        let account = net.app().account("user");
        let mut secrets = vec![account.secret.clone()];
        for _ in 0..2 {
            let made = net.daemon().cli_json(&["secret", "add", &account.name]);
            secrets.push(text(&made, "secret"));
        }
        for secret in &secrets {
            let answer = attempt_plain(net, &plain("", &account.name, secret));
            assert!(answer.is(SASL, "success"), "{answer:?}");
            for hash in [Hash::Sha256, Hash::Sha1] {
                let (mut socket, _) = XmppSocket::open(net.daemon().ws);
                let (_, end) = socket.scram(hash, "n,,", &account.name, secret);
                assert!(end.is(SASL, "success"), "{hash:?}: {end:?}");
            }
        }
    });
}

#[test]
fn a_secret_bound_to_a_resource_binds_that_resource_alone() {
    each_shard_count(|net| {
        let account = net.app().account("user");
        let made = net
            .daemon()
            .cli_json(&["secret", "add", &account.name, "--resource", "Device.7"]);
        let device = Account {
            secret: text(&made, "secret"),
            ..account.clone()
        };
        for mechanism in ["PLAIN", "SCRAM-SHA-1"] {
            let connect = |resource: &str| Connect {
                mechanism: Some(mechanism),
                ..device.connect(resource)
            };
            for refused in ["Device.8", "device.7"] {
                let client = net.open(XMPPJS, &connect(refused));
                let (failed, _) = client.login_outcome();
                assert!(failed.is_some(), "{refused}");
            }
            let client = net.open(XMPPJS, &connect("Device.7"));
            assert_eq!(client.login_outcome().0, None);
            assert_eq!(whoami(&client)["resource"], "Device.7");
            // Where none is asked for there is only one that can be made up.
            let (mut socket, _) = XmppSocket::open(net.daemon().ws);
            let answer = socket.authenticate("PLAIN", &plain("", &device.name, &device.secret));
            assert!(answer.is(SASL, "success"), "{answer:?}");
            socket.restart();
            let jid = XmppSocket::bound_jid(&socket.bind(""));
            assert_eq!(jid, full_jid(&account, "Device.7"));
        }
    });
}

/// A JWT by HS256.
pub(crate) fn token(secret: &[u8], claims: &serde_json::Value) -> String {
    use hmac::Mac;
    let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!(
        "{}.{}",
        encode(&json!({"alg": "HS256", "typ": "JWT"})),
        encode(claims)
    );
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[test]
fn a_jwt_goes_as_the_password_of_plain() {
    let directory = tempfile::tempdir().unwrap();
    let key = b"0123456789abcdef0123456789abcdef0123456789abcdef";
    let file = directory.path().join("key");
    std::fs::write(&file, key).unwrap();
    // The names of a test's apps are not known before its daemon runs: this one is added by hand.
    let net = Net::start(&Options::shards(2).config(&format!(
        "[[tokens]]\napp = \"jwtapp\"\nalgorithm = \"HS256\"\nkey_file = {:?}\n",
        file.to_str().unwrap()
    )));
    net.daemon().cli_json(&["app", "add", "jwtapp"]);
    let account = net.account_of("jwtapp", &new_uid(), "user");
    let exp = unix_ms() / 1000 + 300;
    let claims = json!({"app": account.app, "uid": account.uid, "role": account.role, "exp": exp});
    let by_token = |token: String, resource: &str| {
        let connect = Connect {
            mechanism: Some("PLAIN"),
            ..Connect::new(&account.name, &token, resource)
        };
        let client = net.open(XMPPJS, &connect);
        (client.login_outcome().0, client)
    };
    let (failed, client) = by_token(token(key, &claims), "any");
    assert_eq!(failed, None);
    assert_eq!(whoami(&client)["uid"], account.uid);
    let mut bound = claims.clone();
    bound["resource"] = "only".into();
    assert_eq!(by_token(token(key, &bound), "only").0, None);
    assert!(by_token(token(key, &bound), "another").0.is_some());
    let mut stale = claims.clone();
    stale["exp"] = (unix_ms() / 1000 - 1).into();
    assert_eq!(
        by_token(token(key, &stale), "any").0.as_deref(),
        Some("not-authorized")
    );
    let forged = token(b"another key that is also long enough", &claims);
    assert_eq!(by_token(forged, "any").0.as_deref(), Some("not-authorized"));
    // The connection closes at `exp`.
    let mut brief = claims;
    brief["exp"] = (unix_ms() / 1000 + 3).into();
    let (failed, client) = by_token(token(key, &brief), "brief");
    assert_eq!(failed, None);
    client.closed();
}

#[test]
fn mechanisms_that_are_not_offered_are_refused() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let (mut socket, features) = XmppSocket::open(net.daemon().ws);
        let mechanisms = features.child(SASL, "mechanisms").expect("mechanisms");
        let mut offered: Vec<String> = mechanisms.elements().iter().map(|one| one.text()).collect();
        offered.sort();
        assert_eq!(offered, ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"]);
        assert_failure(&socket.authenticate("ANONYMOUS", "="), &["invalid-mechanism"]);
        let first = STANDARD.encode("p=tls-exporter,,n=x,r=abc");
        assert_failure(
            &socket.authenticate("SCRAM-SHA-256-PLUS", &first),
            &["invalid-mechanism"],
        );
        // What was refused has not spoiled the stream.
        let answer = socket.authenticate("PLAIN", &plain("", &account.name, &account.secret));
        assert!(answer.is(SASL, "success"), "{answer:?}");
        // The stock client without credentials asks for ANONYMOUS if that is offered.
        let nobody = Connect {
            user: None,
            password: None,
            ..Connect::new("", "", "w1")
        };
        let client = net.open(XMPPJS, &nobody);
        assert!(client.login_outcome().0.is_some());
    });
}

#[test]
fn rfc6120_6_5_bad_sasl_data_gets_its_condition() {
    each_shard_count(|net| {
        let account = net.app().account("owner");
        let no_nul = STANDARD.encode(&account.name);
        for (response, wanted) in [
            ("!!!", &["incorrect-encoding"][..]),
            ("YWJj=", &["incorrect-encoding"]),
            (&no_nul, &["malformed-request"]),
        ] {
            assert_failure(&attempt_plain(net, response), wanted);
        }
        let (mut socket, _) = XmppSocket::open(net.daemon().ws);
        let first = STANDARD.encode(format!("n,,n={},r=abcdefgh", account.name));
        let challenge = socket.authenticate("SCRAM-SHA-256", &first);
        assert!(challenge.is(SASL, "challenge"), "{challenge:?}");
        let aborted = socket.ask(&format!("<abort xmlns='{SASL}'/>"));
        assert_failure(&aborted, &["aborted"]);
        let answer = socket.authenticate("PLAIN", &plain("", &account.name, &account.secret));
        assert!(answer.is(SASL, "success"), "after an abort: {answer:?}");
    });
}

#[test]
fn after_three_failed_attempts_the_stream_is_closed() {
    let net = Net::start(&Options::shards(1));
    let app = net.app();
    let (account, other) = (app.account("owner"), app.account("partner"));
    let mut neighbour = XmppSocket::login(net.daemon().ws, &other, "n1");
    let (mut socket, _) = XmppSocket::open(net.daemon().ws);
    for _ in 0..3 {
        let answer = socket.authenticate("PLAIN", &plain("", &account.name, "wrong"));
        assert_failure(&answer, &["not-authorized"]);
    }
    // The right secret comes too late, whether the stream is closed at once or for the fourth attempt.
    let response = plain("", &account.name, &account.secret);
    socket.send(&format!(
        "<auth xmlns='{SASL}' mechanism='PLAIN'>{response}</auth>"
    ));
    let condition = socket.stream_error();
    assert!(
        ["policy-violation", "not-authorized"].contains(&condition.as_str()),
        "RFC 6120, 6.4.5: {condition}"
    );
    let closed = || {
        let reasons = ["bad_credentials", "quota_exceeded"];
        let series = reasons.map(|reason| format!("nexus_disconnects_total{{reason=\"{reason}\"}}"));
        series.map(|series| http::metric(net.daemon().http, &series)) != [0, 0]
    };
    eventually("the end is counted", closed);
    neighbour.assert_alive();
    // Two failures leave the third attempt to who remembers the secret.
    let (mut socket, _) = XmppSocket::open(net.daemon().ws);
    for _ in 0..2 {
        socket.authenticate("PLAIN", &plain("", &account.name, "wrong"));
    }
    let answer = socket.authenticate("PLAIN", &plain("", &account.name, &account.secret));
    assert!(answer.is(SASL, "success"), "{answer:?}");
}

#[test]
fn a_revoked_account_loses_its_stream_within_a_second() {
    each_shard_count(|net| {
        let app = net.app();
        let (account, other) = (app.account("owner"), app.account("partner"));
        let client = net.connect(XMPPJS, &account, "w1");
        let neighbour = net.connect(XMPPJS, &other, "w1");
        // Proven, but not yet bound: the revocation reaches it, too.
        let (mut halfway, _) = XmppSocket::open(net.daemon().ws);
        let answer = halfway.authenticate("PLAIN", &plain("", &account.name, &account.secret));
        assert!(answer.is(SASL, "success"), "{answer:?}");
        net.daemon().cli_json(&["account", "revoke", &account.name]);
        let begun = Moment::now();
        let condition = client.stream_error();
        assert!(begun.elapsed() < CHANGE_MAX + ROOM);
        assert!(
            ["not-authorized", "reset"].contains(&condition.as_str()),
            "{condition}"
        );
        client.closed();
        halfway.send(&crate::harness::xmpp::open_to(DOMAIN));
        halfway.send("<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
        while let Some(element) = halfway.next() {
            assert_ne!(
                element.attribute("type"),
                Some("result"),
                "bound all the same: {element:?}"
            );
            if element.attribute("type") == Some("error") {
                break;
            }
        }
        assert_eq!(whoami(&neighbour)["uid"], other.uid);
    });
}
