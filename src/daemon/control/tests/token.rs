//! Logins with tokens.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{Desk, OWNER, UID, admitted, uid};
use crate::config::TokenAlgorithm;
use crate::daemon::control::{TokenKeyError, TokenKeys};
use crate::limits;
use crate::route::{CredentialId, Role};
use crate::session::LoginFailure;
use crate::store::LoginProof;

const DENIED: LoginFailure = LoginFailure::Denied;
const SHARED: &[u8] = b"a shared secret of 32 bytes, or more";

// Keys made for these tests alone.
const EC_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgocKiER7vM0Rls6Et
nF+bTkqznw51zZZQUNvPSIuiz7ChRANCAASwNuLrOioXzuvye9Hja8e+HpsObnn/
vg0KZXrWI25NOEM2y/sVnoUIgK1DbVd2Fx7CHX/35Q1/G5jHB+UvvABs
-----END PRIVATE KEY-----
";
const EC_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEsDbi6zoqF87r8nvR42vHvh6bDm55
/74NCmV61iNuTThDNsv7FZ6FCICtQ21Xdhcewh1/9+UNfxuYxwflL7wAbA==
-----END PUBLIC KEY-----
";
const ED_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIBknED+fx42DLr/aagTU48dOdNtNFAm5hE8aaSsPGQ8e
-----END PRIVATE KEY-----
";
const ED_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAiilExs4AMlVDYF1T2f2uG66zhc+terjb4T5wmUPsGYU=
-----END PUBLIC KEY-----
";
const P384_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEwBKHmEPHeLwtvvgRioSLEWeVJUvSXim2
lsnuci37hyQhP5eoUlZwCiKk22AnNwje9j/YOujQ6VLTcFaOzEU5D7hBM4XfQZ56
0lPzuIyCxMoPTHQc9G7VEIeMmTqmPiO/
-----END PUBLIC KEY-----
";

fn keys() -> TokenKeys {
    let mut keys = TokenKeys::default();
    keys.add("etest", TokenAlgorithm::Hs256, SHARED).unwrap();
    keys.add("etest", TokenAlgorithm::Es256, EC_PUBLIC.as_bytes())
        .unwrap();
    keys.add("etest", TokenAlgorithm::EdDsa, ED_PUBLIC.as_bytes())
        .unwrap();
    keys
}

fn desk() -> Desk {
    Desk::with(1, 64, keys())
}

fn claims(desk: &Desk) -> Value {
    let exp = desk.now.unix_ms / 1_000 + 60;
    json!({"app": "etest", "uid": UID, "role": "owner", "exp": exp})
}

fn signed(claims: &Value) -> String {
    signed_by(Algorithm::HS256, &EncodingKey::from_secret(SHARED), claims)
}

fn signed_by(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).unwrap()
}

#[test]
fn a_token_of_each_algorithm_logs_in_until_its_exp() {
    let mut desk = desk();
    let claims = claims(&desk);
    let ec = EncodingKey::from_ec_pem(EC_PRIVATE.as_bytes()).unwrap();
    let ed = EncodingKey::from_ed_pem(ED_PRIVATE.as_bytes()).unwrap();
    for token in [
        signed(&claims),
        signed_by(Algorithm::ES256, &ec, &claims),
        signed_by(Algorithm::EdDSA, &ed, &claims),
    ] {
        let grants = desk.slow_login(OWNER, "r", &token).unwrap();
        assert_eq!(grants.credential, CredentialId::NONE);
        let expires = claims["exp"].as_u64().map(|exp| exp * 1_000);
        assert_eq!(grants.expires_unix_ms, expires);
    }
    let secret = desk.secret.clone();
    assert!(
        desk.login(OWNER, "r", &secret).is_ok(),
        "the secret is valid besides"
    );
}

#[test]
fn rfc8725_3_1_the_algorithm_is_that_of_the_key() {
    let mut desk = Desk::with(1, 64, {
        let mut keys = TokenKeys::default();
        keys.add("etest", TokenAlgorithm::Es256, EC_PUBLIC.as_bytes())
            .unwrap();
        keys
    });
    let claims = claims(&desk);
    // The public key taken for a shared secret, a key that is not the app's, and no signature at all.
    let confused = signed_by(
        Algorithm::HS256,
        &EncodingKey::from_secret(EC_PUBLIC.as_bytes()),
        &claims,
    );
    let foreign = signed(&claims);
    let body = confused.split('.').nth(1).unwrap();
    let unsigned = format!("eyJhbGciOiJub25lIn0.{body}.");
    for token in [confused.clone(), foreign, unsigned] {
        assert_eq!(desk.slow_login(OWNER, "r", &token), Err(DENIED));
    }
}

#[test]
fn a_token_must_name_the_account_the_resource_and_no_other_audience() {
    let mut desk = desk();
    let good = claims(&desk);
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        signed(&claims)
    };
    for token in [
        with("role", json!("user")),
        with("uid", json!("f".repeat(24))),
        with("app", json!("other")),
        with("resource", json!("other")),
        with("aud", json!("somebody")),
        with("exp", json!(desk.now.unix_ms / 1_000 - 1)),
        with("nbf", json!(desk.now.unix_ms / 1_000 + 30)),
        with("exp", json!("tomorrow")),
        with("exp", Value::Null),
        with("iss", json!("x")).replace('.', ".x"),
    ] {
        assert_eq!(desk.slow_login(OWNER, "r", &token), Err(DENIED), "{token}");
    }
}

#[test]
fn a_token_bound_to_the_resource_asked_for_logs_in() {
    let mut desk = desk();
    let mut claims = claims(&desk);
    claims["resource"] = json!("r");
    assert!(desk.slow_login(OWNER, "r", &signed(&claims)).is_ok());
}

#[test]
fn a_token_proves_the_account_before_its_resource_is_known_and_tells_what_it_is_bound_to() {
    let mut desk = desk();
    let mut claims = claims(&desk);
    for (resource, bound) in [
        (Value::Null, Ok(None)),
        (json!("w1"), Ok(Some("w1"))),
        (json!("a/b"), Err(DENIED)),
        (json!(""), Err(DENIED)),
    ] {
        claims["resource"] = resource;
        let proof = LoginProof::Password(signed(&claims).into_bytes().into());
        desk.ask_with("192.0.2.1", OWNER, None, proof);
        let shown = desk.settled().map(admitted);
        let found = shown.map(|admitted| {
            assert_eq!(admitted.grants.credential, CredentialId::NONE);
            assert!(admitted.grants.expires_unix_ms.is_some());
            admitted.bound_resource
        });
        assert_eq!(found, bound.map(|bound: Option<&str>| bound.map(Into::into)));
    }
}

#[test]
fn rfc7515_4_1_11_a_critical_extension_is_refused() {
    let mut desk = desk();
    let mut header = Header::new(Algorithm::HS256);
    header.crit = Some(vec!["b64".into()]);
    let token = jsonwebtoken::encode(&header, &claims(&desk), &EncodingKey::from_secret(SHARED)).unwrap();
    assert_eq!(desk.slow_login(OWNER, "r", &token), Err(DENIED));
}

#[test]
fn a_token_of_an_account_that_is_unknown_or_revoked_is_denied() {
    let mut desk = desk();
    let mut user = claims(&desk);
    user["role"] = json!("user");
    let account = format!("etest-{UID}-user");
    let token = signed(&user);
    assert_eq!(desk.slow_login(&account, "r", &token), Err(DENIED));
    desk.write(|w| w.add_account("etest", uid(), Role::User));
    assert!(desk.slow_login(&account, "r", &token).is_ok());
    desk.write(|w| w.revoke_account(&account));
    assert_eq!(desk.slow_login(&account, "r", &token), Err(DENIED));
}

#[test]
fn keys_that_are_weak_or_of_another_kind_are_not_taken() {
    let mut keys = TokenKeys::default();
    let mut add = |app: &str, algorithm, key: &[u8]| keys.add(app, algorithm, key);
    let short = SHARED.get(..limits::TOKEN_SECRET_BYTES_MIN - 1).unwrap();
    assert_eq!(
        add("etest", TokenAlgorithm::Hs256, short),
        Err(TokenKeyError::TooShort)
    );
    assert_eq!(add("E", TokenAlgorithm::Hs256, SHARED), Err(TokenKeyError::App));
    for (algorithm, key) in [
        (TokenAlgorithm::Es256, ED_PUBLIC),
        (TokenAlgorithm::Es256, P384_PUBLIC),
        (TokenAlgorithm::Es256, "nonsense"),
        (TokenAlgorithm::EdDsa, EC_PUBLIC),
        (TokenAlgorithm::EdDsa, ""),
    ] {
        assert_eq!(
            add("etest", algorithm, key.as_bytes()),
            Err(TokenKeyError::NotPublicKey)
        );
    }
    for _ in 0..limits::TOKEN_KEYS_PER_APP_MAX {
        add("etest", TokenAlgorithm::Hs256, SHARED).unwrap();
    }
    assert_eq!(
        add("etest", TokenAlgorithm::Hs256, SHARED),
        Err(TokenKeyError::TooMany)
    );
    assert_eq!(format!("{keys:?}"), "{\"etest\"}");
}
