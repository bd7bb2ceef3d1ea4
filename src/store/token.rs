//! JSON Web Tokens (RFC 7519) as logins: what their claims must say. The signature is verified before.

use serde::Deserialize;

use crate::limits;
use crate::route::Account;
use crate::route::identity::check_resource;

/// The claims that count; others are ignored (RFC 7519 section 4).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Claims {
    /// The account's app.
    pub app: Box<str>,
    /// The account's user, 24 hex digits.
    pub uid: Box<str>,
    /// The account's role.
    pub role: Box<str>,
    /// When the token ends, in seconds since the Unix epoch; fractions are cut off.
    #[serde(deserialize_with = "numeric_date")]
    pub exp: u64,
    /// From when on it is good, in seconds since the Unix epoch; fractions are cut off.
    #[serde(default, deserialize_with = "optional_numeric_date")]
    pub nbf: Option<u64>,
    /// The only resource it is good for.
    pub resource: Option<Box<str>>,
}

/// NumericDate (RFC 7519 section 2): a JSON number, possibly with a fraction.
fn numeric_date<'de, D: serde::Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Whole(u64),
        Fraction(f64),
    }
    match Number::deserialize(input)? {
        Number::Whole(seconds) => Ok(seconds),
        Number::Fraction(seconds) if seconds >= 0.0 && seconds <= f64::from(u32::MAX) =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "in range, and a fraction of a second is meant to be cut off"
            )]
            Ok(seconds as u64)
        }
        Number::Fraction(_) => Err(serde::de::Error::custom("not a date")),
    }
}

fn optional_numeric_date<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    numeric_date(input).map(Some)
}

/// Whether a password has the form of a token: three parts of base64url, the first of which begins as every
/// JSON object does. A derived secret has no dot, so that it is never taken for one.
pub fn is_token(password: &[u8]) -> bool {
    password.len() <= limits::PASSWORD_BYTES_MAX
        && password.starts_with(b"ey")
        && password.iter().filter(|b| **b == b'.').count() == 2
        && password
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// When the session ends, in milliseconds since the Unix epoch, if the claims name this very account, and
/// this resource if any, and the token is good now. Without a `resource`, one follows that [`Claims::resource`]
/// must be compared with.
pub fn admits(claims: &Claims, account: &Account<'_>, resource: Option<&str>, unix_ms: u64) -> Option<u64> {
    let expires_unix_ms = claims.exp.saturating_mul(1_000);
    let named = claims.app.as_ref() == account.app
        && claims.uid.as_ref() == account.uid.to_string()
        && claims.role.as_ref() == account.role.as_str();
    let placed = claims.resource.as_deref().is_none_or(|only| match resource {
        Some(resource) => only == resource,
        None => check_resource(only).is_ok(),
    });
    let begun = claims.nbf.is_none_or(|nbf| nbf.saturating_mul(1_000) <= unix_ms);
    (named && placed && begun && unix_ms < expires_unix_ms).then_some(expires_unix_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0123456789abcdef01234567";

    fn claims(text: &str) -> Claims {
        serde_json::from_str(text).unwrap()
    }

    fn good() -> Claims {
        claims(&format!(
            r#"{{"app":"etest","uid":"{UID}","role":"user","exp":1000,"iat":1,"x":[]}}"#
        ))
    }

    fn try_claims(claims: &Claims, resource: &str, unix_ms: u64) -> Option<u64> {
        let name = format!("etest-{UID}-user");
        admits(claims, &Account::parse(&name).unwrap(), Some(resource), unix_ms)
    }

    #[test]
    fn rfc7519_4_1_4_exp_ends_the_session_and_the_token() {
        assert_eq!(try_claims(&good(), "r", 999_999), Some(1_000_000));
        assert_eq!(try_claims(&good(), "r", 1_000_000), None);
    }

    #[test]
    fn rfc7519_4_1_5_nbf_is_kept() {
        let early = Claims {
            nbf: Some(500),
            ..good()
        };
        assert_eq!(try_claims(&early, "r", 499_999), None);
        assert_eq!(try_claims(&early, "r", 500_000), Some(1_000_000));
    }

    #[test]
    fn every_part_of_the_account_must_be_the_one_that_logs_in() {
        for other in [
            Claims {
                app: "other".into(),
                ..good()
            },
            Claims {
                uid: "f".repeat(24).into(),
                ..good()
            },
            Claims {
                role: "owner".into(),
                ..good()
            },
        ] {
            assert_eq!(try_claims(&other, "r", 0), None, "{other:?}");
        }
    }

    #[test]
    fn a_resource_in_the_token_must_be_the_one_requested() {
        let bound = Claims {
            resource: Some("w1".into()),
            ..good()
        };
        assert!(try_claims(&bound, "w1", 0).is_some());
        assert!(try_claims(&bound, "w2", 0).is_none());
    }

    #[test]
    fn a_resource_in_the_token_must_be_one_if_it_is_to_follow() {
        let name = format!("etest-{UID}-user");
        let account = Account::parse(&name).unwrap();
        for (resource, good_for) in [
            (None, true),
            (Some("w1"), true),
            (Some(""), false),
            (Some("a/b"), false),
        ] {
            let bound = Claims {
                resource: resource.map(Into::into),
                ..good()
            };
            assert_eq!(
                admits(&bound, &account, None, 0).is_some(),
                good_for,
                "{resource:?}"
            );
        }
    }

    #[test]
    fn rfc7519_2_numeric_date_may_have_a_fraction_and_is_required() {
        let text = format!(r#"{{"app":"etest","uid":"{UID}","role":"user","exp":1000.75,"nbf":2.5}}"#);
        let fraction = claims(&text);
        assert_eq!((fraction.exp, fraction.nbf), (1_000, Some(2)));
        for exp in [
            "",
            r#","exp":-1"#,
            r#","exp":"1000""#,
            r#","exp":null"#,
            r#","exp":1e300"#,
        ] {
            let text = format!(r#"{{"app":"etest","uid":"{UID}","role":"user"{exp}}}"#);
            assert!(serde_json::from_str::<Claims>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_derived_secret_never_looks_like_a_token() {
        assert!(is_token(b"eyJh.eyJi.c-_9"));
        for other in [
            &b"eyJh"[..],
            b"eyJh.eyJi",
            b"eyJh.a.b.c",
            b"xyJh.a.b",
            b"eyJh.a.b=",
            b"",
        ] {
            assert!(!is_token(other));
        }
    }
}
