//! Signatures of tokens (RFC 7515): keys of apps, one algorithm each.
//!
//! Invariant: a token is verified with a key of the app that its account names, by the algorithm of that key;
//! what the token says about algorithms only has to agree. What its claims mean is decided in the store.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use crate::config::TokenAlgorithm;
use crate::limits;
use crate::route::Account;
use crate::route::identity::check_app;
use crate::store::token::{Claims, admits, is_token};

/// Why a key for tokens is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKeyError {
    /// No valid name of an app.
    App,
    /// The shared secret is too short.
    TooShort,
    /// No public key in PEM of the algorithm's kind.
    NotPublicKey,
    /// The app has as many keys as it may have.
    TooMany,
}

impl fmt::Display for TokenKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App => f.write_str("its app is no valid name"),
            Self::TooShort => write!(
                f,
                "its secret has fewer than {} bytes",
                limits::TOKEN_SECRET_BYTES_MIN
            ),
            Self::NotPublicKey => f.write_str("it is no public key in PEM of that algorithm"),
            Self::TooMany => write!(f, "its app has {} keys already", limits::TOKEN_KEYS_PER_APP_MAX),
        }
    }
}

impl std::error::Error for TokenKeyError {}

/// The keys that tokens are verified with. They come from the configuration.
#[derive(Default)]
pub struct TokenKeys {
    keys: HashMap<Box<str>, Vec<TokenKey>>,
}

struct TokenKey {
    key: DecodingKey,
    validation: Validation,
}

impl fmt::Debug for TokenKeys {
    /// Without the keys, some of which are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

impl TokenKeys {
    /// Adds a key of an app: for HS256 a shared secret of at least [`limits::TOKEN_SECRET_BYTES_MIN`] bytes,
    /// else a public key in PEM.
    pub fn add(&mut self, app: &str, algorithm: TokenAlgorithm, key: &[u8]) -> Result<(), TokenKeyError> {
        check_app(app).map_err(|_| TokenKeyError::App)?;
        let key = match algorithm {
            TokenAlgorithm::Hs256 if key.len() < limits::TOKEN_SECRET_BYTES_MIN => {
                return Err(TokenKeyError::TooShort);
            }
            TokenAlgorithm::Hs256 => DecodingKey::from_secret(key),
            // 65 bytes: an uncompressed point of P-256, and of no other curve.
            TokenAlgorithm::Es256 => public_key(DecodingKey::from_ec_pem(key), 65)?,
            TokenAlgorithm::EdDsa => public_key(DecodingKey::from_ed_pem(key), 32)?,
        };
        let mut validation = Validation::new(named(algorithm));
        // The store compares exp and nbf with the time of the verdict; `aud` stays refused, since no
        // audience of ours was agreed on (RFC 7519 section 4.1.3).
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        let keys = self.keys.entry(app.into()).or_default();
        if keys.len() >= limits::TOKEN_KEYS_PER_APP_MAX {
            return Err(TokenKeyError::TooMany);
        }
        keys.push(TokenKey { key, validation });
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The claims of `token`, if it is signed with a key of the app of `account`.
    pub(super) fn verify(&self, account: &str, token: &[u8]) -> Option<Claims> {
        let (app, _) = account.split_once('-')?;
        self.keys.get(app)?.iter().find_map(|key| {
            let token = jsonwebtoken::decode::<Claims>(token, &key.key, &key.validation).ok()?;
            // Extensions that must be understood are not (RFC 7515 section 4.1.11).
            token.header.crit.is_none().then_some(token.claims)
        })
    }
}

impl TokenKeys {
    /// The account of a token that is good now, and the only resource it is good for. Whose it says it is only chooses the
    /// keys that it is verified with.
    pub fn holder(&self, token: &str, unix_ms: u64) -> Option<TokenHolder> {
        if self.is_empty() || !is_token(token.as_bytes()) {
            return None;
        }
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let said: Claims = serde_json::from_slice(&payload).ok()?;
        let name = format!("{}-{}-{}", said.app, said.uid, said.role);
        let claims = self.verify(&name, token.as_bytes())?;
        let account = Account::parse(&name).ok()?;
        admits(&claims, &account, None, unix_ms)?;
        Some(TokenHolder {
            account: name.into(),
            resource: claims.resource,
        })
    }
}

/// Whom a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHolder {
    /// `<app>-<uid>-<role>`; whether there is such an account is not said.
    pub account: Box<str>,
    /// The only resource it is good for.
    pub resource: Option<Box<str>>,
}

const fn named(algorithm: TokenAlgorithm) -> Algorithm {
    match algorithm {
        TokenAlgorithm::Hs256 => Algorithm::HS256,
        TokenAlgorithm::Es256 => Algorithm::ES256,
        TokenAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

fn public_key(
    read: jsonwebtoken::errors::Result<DecodingKey>,
    bytes: usize,
) -> Result<DecodingKey, TokenKeyError> {
    read.ok()
        .filter(|key| key.try_get_as_bytes().is_ok_and(|key| key.len() == bytes))
        .ok_or(TokenKeyError::NotPublicKey)
}
