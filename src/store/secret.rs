//! Secrets: derived from the store key, or chosen by a person.
//!
//! A derived secret is `base64url(HMAC-SHA256(store key, kind, id, generation))`: it can be shown again at
//! any time and is stable until it is revoked, when its generation moves on. What the database keeps of a
//! secret is a [`Verifier`], a MAC of it under the same store key: neither the database nor the key file
//! alone lets anybody log in or guess.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::limits;
use crate::route::Uid;

/// Bytes of the store key and of everything derived from it.
pub const KEY_BYTES: usize = 32;

/// Bytes of a SCRAM salt.
pub const SALT_BYTES: usize = 16;

/// What a secret is for. Two different subjects never yield the same secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// An account, with any resource.
    Account {
        /// `<app>-<uid>-<role>`.
        account: &'a str,
    },
    /// An account under one resource alone.
    Resource {
        /// `<app>-<uid>-<role>`.
        account: &'a str,
        /// The only resource it logs in with.
        resource: &'a str,
    },
    /// An explore: stands for the app's owner towards the bridge.
    Explore {
        /// The app.
        app: &'a str,
    },
    /// A user's service of an app.
    Service {
        /// The user.
        uid: Uid,
        /// The app.
        app: &'a str,
    },
}

/// Separates the uses of the store key. Part of what is stored: a value is never given a second meaning.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Purpose {
    Account = 1,
    Resource = 2,
    Explore = 3,
    Service = 4,
    Verifier = 16,
    Salt = 17,
    Fingerprint = 18,
    ServiceId = 19,
}

/// The key from which all secrets are derived. Lives in a file beside the database.
#[derive(Clone)]
pub struct StoreKey(Hmac<Sha256>);

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey(…)")
    }
}

impl StoreKey {
    /// The key made of these bytes.
    pub fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(keyed(bytes))
    }

    /// The secret of `subject` in its `generation`.
    pub fn secret(&self, subject: &Subject<'_>, generation: u64) -> Secret {
        let generation = generation.to_be_bytes();
        let mac = match subject {
            Subject::Account { account } => self.mac(Purpose::Account, &[account.as_bytes(), &generation]),
            Subject::Resource { account, resource } => self.mac(
                Purpose::Resource,
                &[account.as_bytes(), resource.as_bytes(), &generation],
            ),
            Subject::Explore { app } => self.mac(Purpose::Explore, &[app.as_bytes(), &generation]),
            Subject::Service { uid, app } => {
                self.mac(Purpose::Service, &[uid.as_bytes(), app.as_bytes(), &generation])
            }
        };
        Secret(URL_SAFE_NO_PAD.encode(mac))
    }

    /// What the database keeps of a secret, and what a secret that is shown is compared by.
    pub fn verifier(&self, secret: &[u8]) -> Verifier {
        Verifier(self.mac(Purpose::Verifier, &[secret]))
    }

    /// The SCRAM salt of an account, whether the account exists or not (RFC 5802 section 5.1).
    pub fn salt(&self, account: &str) -> [u8; SALT_BYTES] {
        let mac = self.mac(Purpose::Salt, &[account.as_bytes()]);
        let mut salt = [0; SALT_BYTES];
        for (byte, mac) in salt.iter_mut().zip(mac) {
            *byte = mac;
        }
        salt
    }

    /// What names a user's service of an app outside: 24 hex digits, the same for ever, whoever asks.
    pub fn service_id(&self, uid: Uid, app: &str) -> String {
        let mac = self.mac(Purpose::ServiceId, &[uid.as_bytes(), app.as_bytes()]);
        let mut text = String::with_capacity(limits::UID_BYTES);
        for byte in mac.iter().take(limits::UID_BYTES / 2) {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Tells whether a database was made with this key, without telling the key.
    pub fn fingerprint(&self) -> [u8; KEY_BYTES] {
        self.mac(Purpose::Fingerprint, &[])
    }

    /// Every part goes in with its length before it, so that no two lists of parts are the same bytes.
    fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; KEY_BYTES] {
        let mut mac = self.0.clone();
        mac.update(&[purpose as u8]);
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// HMAC-SHA256 with a key of any length; cannot fail, whatever the key (RFC 2104 section 2).
#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn keyed(bytes: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(bytes).expect("HMAC takes keys of every length")
}

/// A secret in the clear, on its way to whoever may see it. Not kept, not logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret that a person chose: printable ASCII, which every SASL client sends as the same bytes
    /// (RFC 4013 leaves it unchanged), and at least [`limits::SECRET_CHARS_MIN`] characters unless `weak`.
    pub fn chosen(text: &str, weak: bool) -> Result<Self, SecretError> {
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if text.len() > limits::SECRET_BYTES_MAX {
            return Err(SecretError::TooLong);
        }
        if !text.bytes().all(|b| matches!(b, b' '..=b'~')) {
            return Err(SecretError::NotPrintable);
        }
        if !weak && text.len() < limits::SECRET_CHARS_MIN {
            return Err(SecretError::TooShort);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text to show to its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a secret that a person chose is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// Nothing was given.
    Empty,
    /// Longer than [`limits::SECRET_BYTES_MAX`].
    TooLong,
    /// Shorter than [`limits::SECRET_CHARS_MIN`] and not declared weak.
    TooShort,
    /// Characters that clients do not agree how to send.
    NotPrintable,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong => write!(f, "it has more than {} bytes", limits::SECRET_BYTES_MAX),
            Self::TooShort => write!(f, "it has fewer than {} characters", limits::SECRET_CHARS_MIN),
            Self::NotPrintable => f.write_str("it has characters other than printable ASCII"),
        }
    }
}

impl std::error::Error for SecretError {}

/// What verifies a secret without being one: its MAC under the store key.
#[derive(Clone, Copy, Debug)]
pub struct Verifier(pub [u8; KEY_BYTES]);

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "etest-0123456789abcdef01234567-owner";

    fn key(seed: u8) -> StoreKey {
        StoreKey::new(&[seed; KEY_BYTES])
    }

    fn uid() -> Uid {
        Uid::parse("0123456789abcdef01234567").unwrap()
    }

    #[test]
    fn a_derived_secret_is_stable_and_is_43_characters_of_base64url() {
        let subject = Subject::Account { account: ACCOUNT };
        let secret = key(1).secret(&subject, 1);
        assert_eq!(secret, key(1).secret(&subject, 1));
        assert_eq!(secret.expose().len(), 43);
        let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        assert!(secret.expose().bytes().all(alphabet));
    }

    #[test]
    fn key_kind_id_and_generation_all_make_another_secret() {
        let app = "etest";
        let secrets = [
            key(1).secret(&Subject::Account { account: ACCOUNT }, 1),
            key(2).secret(&Subject::Account { account: ACCOUNT }, 1),
            key(1).secret(&Subject::Account { account: ACCOUNT }, 2),
            key(1).secret(&Subject::Account { account: app }, 1),
            key(1).secret(&Subject::Explore { app }, 1),
            key(1).secret(&Subject::Service { uid: uid(), app }, 1),
            key(1).secret(
                &Subject::Resource {
                    account: ACCOUNT,
                    resource: "r",
                },
                1,
            ),
            key(1).secret(
                &Subject::Resource {
                    account: ACCOUNT,
                    resource: "",
                },
                1,
            ),
        ];
        for (i, a) in secrets.iter().enumerate() {
            for b in secrets.iter().skip(i + 1) {
                assert_ne!(a, b);
            }
        }
    }

    #[test]
    fn the_inputs_of_a_secret_cannot_be_shifted_into_each_other() {
        let key = key(7);
        let cut = |account, resource| key.secret(&Subject::Resource { account, resource }, 1);
        assert_ne!(cut("ab", "c"), cut("a", "bc"));
        assert_ne!(cut("abc", ""), cut("", "abc"));
    }

    #[test]
    fn the_known_answer_of_version_1_does_not_change() {
        // Computed apart from this code, over 0x01, u64be(36), the account, u64be(8), u64be(1). A change would
        // lock every client out.
        let secret = key(0x2a).secret(&Subject::Account { account: ACCOUNT }, 1);
        assert_eq!(secret.expose(), "VGRBbvVCy9nKM0VU8FMSld1tcElb0wYjzZ16vYAPc1U");
    }

    #[test]
    fn salt_is_deterministic_per_account_and_key() {
        assert_eq!(key(1).salt(ACCOUNT), key(1).salt(ACCOUNT));
        assert_ne!(key(1).salt(ACCOUNT), key(1).salt("nobody"));
        assert_ne!(key(1).salt(ACCOUNT), key(2).salt(ACCOUNT));
    }

    #[test]
    fn a_chosen_secret_has_32_printable_characters_or_is_declared_weak() {
        let long = "correct horse battery staple 123";
        assert_eq!(long.len(), 32);
        assert!(Secret::chosen(long, false).is_ok());
        assert_eq!(Secret::chosen(&long[..31], false), Err(SecretError::TooShort));
        assert!(Secret::chosen(&long[..31], true).is_ok());
        assert_eq!(Secret::chosen("", true), Err(SecretError::Empty));
        assert_eq!(
            Secret::chosen("pass\u{7f}word", true),
            Err(SecretError::NotPrintable)
        );
        assert_eq!(Secret::chosen("pässword", true), Err(SecretError::NotPrintable));
        let huge = "x".repeat(limits::SECRET_BYTES_MAX + 1);
        assert_eq!(Secret::chosen(&huge, false), Err(SecretError::TooLong));
    }

    #[test]
    fn nothing_secret_is_printed_by_debug() {
        let secret = Secret::chosen("a secret of a person, long enough", false).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(format!("{:?}", key(1)), "StoreKey(…)");
    }
}
