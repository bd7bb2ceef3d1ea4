//! Does a password open an account? The comparison, without the look-up.
//!
//! Secrets are looked up by the MAC of the password that is shown, so that an account with thousands of them costs what
//! one with a single secret costs. Who does not know the store key cannot choose that MAC, and learns nothing from how
//! far down the index it was looked for.
//!
//! Invariant: whatever the password and however many secrets the account has (none, if it does not exist), one MAC is
//! computed and [`decide`] makes [`limits::SECRETS_TRIED_MAX`] comparisons in constant time.

use std::ops::Sub;

use smallvec::SmallVec;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::scram;
use super::secret::{KEY_BYTES, SALT_BYTES, StoreKey, Verifier};
use crate::limits;
use crate::route::CredentialId;

/// A live secret that a login may match, as the database holds it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The secret's name; never 0.
    pub credential: CredentialId,
    /// What verifies it.
    pub proof: Proof,
    /// It is good for one resource alone.
    pub is_bound: bool,
}

/// How a secret is verified.
#[derive(Clone, Copy, Debug)]
pub enum Proof {
    /// By its MAC.
    Fast {
        /// The MAC.
        verifier: Verifier,
        /// Whether it is derived from the store key; else a person chose it, and it is long enough.
        is_derived: bool,
    },
    /// By PBKDF2 alone: chosen secrets that were declared weak. The StoredKey of SCRAM-SHA-256.
    Slow([u8; KEY_BYTES]),
}

/// The secrets a login is tried against.
pub type Keys = SmallVec<[Key; limits::SECRETS_TRIED_MAX]>;

/// A password that was shown, as it is looked up and compared.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    verifier: Verifier,
    /// A password longer than [`limits::PASSWORD_BYTES_MAX`] is no secret, though its beginning may be one.
    whole: Choice,
    /// Longer ones are never hashed slowly.
    may_be_weak: bool,
}

impl Shown {
    /// Computes its MAC.
    pub fn new(key: &StoreKey, password: &[u8], work: &mut Work) -> Self {
        let shown = password.get(..limits::PASSWORD_BYTES_MAX).unwrap_or(password);
        work.macs += 1;
        Self {
            verifier: key.verifier(shown),
            whole: Choice::from(u8::from(shown.len() == password.len())),
            may_be_weak: password.len() <= limits::SECRET_BYTES_MAX,
        }
    }

    /// Whether it may be a secret at all.
    pub fn is_whole(&self) -> bool {
        self.whole.into()
    }

    /// What it is looked up by.
    pub const fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}

/// What became of a password.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It is a secret.
    Accepted {
        /// Which one.
        credential: CredentialId,
        /// Whether it is derived from the store key: nobody guesses it.
        is_derived: bool,
    },
    /// It is none of them.
    Denied,
    /// It is none of the fast ones; the slow ones are still to be tried, elsewhere.
    Slow(SlowCheck),
}

/// How much work was done, to assert that it does not depend on who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// MACs computed, but for those within slow hashes.
    pub macs: u64,
    /// Comparisons of whole MACs or hashes.
    pub comparisons: u64,
    /// Look-ups in the database that found something.
    pub hits: u64,
    /// Look-ups in the database that found nothing.
    pub misses: u64,
    /// Slow hashes (PBKDF2).
    pub slow_hashes: u64,
}

impl Sub for Work {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            macs: self.macs - before.macs,
            comparisons: self.comparisons - before.comparisons,
            hits: self.hits - before.hits,
            misses: self.misses - before.misses,
            slow_hashes: self.slow_hashes - before.slow_hashes,
        }
    }
}

/// Compares `shown` with all of `keys`, of which those beyond [`limits::SECRETS_TRIED_MAX`] do not count.
pub fn decide(key: &StoreKey, account: &str, keys: &[Key], shown: &Shown, work: &mut Work) -> Decision {
    let mut found = 0_u64;
    for place in 0..limits::SECRETS_TRIED_MAX {
        let (candidate, credential) = match keys.get(place) {
            Some(Key {
                credential,
                proof: Proof::Fast { verifier, .. },
                ..
            }) => (verifier.0, credential.0),
            // Compared all the same; a credential of 0 is no match.
            Some(Key {
                proof: Proof::Slow(_),
                ..
            })
            | None => ([0; KEY_BYTES], 0),
        };
        let equal = shown.verifier.0.ct_eq(&candidate) & shown.whole;
        found.conditional_assign(&credential, equal);
        work.comparisons += 1;
    }
    if found != 0 {
        let is_derived = keys.iter().any(|key| {
            key.credential.0 == found && matches!(key.proof, Proof::Fast { is_derived: true, .. })
        });
        return Decision::Accepted {
            credential: CredentialId(found),
            is_derived,
        };
    }
    let slow: SmallVec<_> = keys
        .iter()
        .take(limits::SECRETS_TRIED_MAX)
        .filter_map(|key| match key.proof {
            Proof::Slow(stored_key) => Some((key.credential, stored_key)),
            Proof::Fast { .. } => None,
        })
        .collect();
    if slow.is_empty() || !shown.may_be_weak {
        return Decision::Denied;
    }
    Decision::Slow(SlowCheck {
        salt: key.salt(account),
        iterations: scram::ITERATIONS,
        keys: slow,
    })
}

/// The comparison with weak secrets: some milliseconds of PBKDF2, once for all of them since they share
/// their salt.
#[derive(Clone, Debug)]
pub struct SlowCheck {
    salt: [u8; SALT_BYTES],
    iterations: u32,
    keys: SmallVec<[(CredentialId, [u8; KEY_BYTES]); 1]>,
}

impl SlowCheck {
    /// The secret that `password` is, if it is one. Slow.
    pub fn run(&self, password: &[u8]) -> Option<CredentialId> {
        let shown = scram::sha256(password, &self.salt, self.iterations).stored_key;
        let mut found = 0_u64;
        for (credential, stored_key) in &self.keys {
            found.conditional_assign(&credential.0, shown.ct_eq(stored_key));
        }
        (found != 0).then_some(CredentialId(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "etest-0123456789abcdef01234567-owner";

    fn store_key() -> StoreKey {
        StoreKey::new(&[9; KEY_BYTES])
    }

    fn fast(id: u64, secret: &str) -> Key {
        Key {
            credential: CredentialId(id),
            proof: Proof::Fast {
                verifier: store_key().verifier(secret.as_bytes()),
                is_derived: id.is_multiple_of(2),
            },
            is_bound: false,
        }
    }

    fn slow(id: u64, secret: &str) -> Key {
        let salt = store_key().salt(ACCOUNT);
        Key {
            credential: CredentialId(id),
            proof: Proof::Slow(scram::sha256(secret.as_bytes(), &salt, scram::ITERATIONS).stored_key),
            is_bound: false,
        }
    }

    fn tried(keys: &[Key], password: &[u8]) -> (Decision, Work) {
        let mut work = Work::default();
        let shown = Shown::new(&store_key(), password, &mut work);
        let decision = decide(&store_key(), ACCOUNT, keys, &shown, &mut work);
        (decision, work)
    }

    #[test]
    fn the_secret_that_matches_is_named() {
        let keys = [fast(4, "first"), fast(7, "second")];
        for (password, id) in [("first", 4), ("second", 7)] {
            let (decision, _) = tried(&keys, password.as_bytes());
            let Decision::Accepted {
                credential,
                is_derived,
            } = decision
            else {
                panic!("{decision:?}");
            };
            assert_eq!((credential, is_derived), (CredentialId(id), id == 4));
        }
        assert!(matches!(tried(&keys, b"third").0, Decision::Denied));
        assert!(matches!(tried(&keys, b"").0, Decision::Denied));
    }

    #[test]
    fn an_unknown_account_costs_the_same_work_as_a_wrong_secret() {
        let none = tried(&[], b"wrong").1;
        let one = tried(&[fast(1, "right")], b"wrong").1;
        let right = tried(&[fast(1, "right")], b"right").1;
        let many: Vec<Key> = (1..=8).map(|id| fast(id, "right")).collect();
        let many = tried(&many, b"wrong").1;
        assert_eq!(
            none,
            Work {
                macs: 1,
                comparisons: 8,
                ..Work::default()
            }
        );
        assert!([one, right, many].iter().all(|work| *work == none));
    }

    #[test]
    fn a_password_is_tried_against_eight_secrets_at_most() {
        let mut keys: Vec<Key> = (1..=8).map(|id| fast(id, "other")).collect();
        keys.push(fast(9, "ninth"));
        assert!(matches!(tried(&keys, b"ninth").0, Decision::Denied));
    }

    #[test]
    fn an_overlong_password_is_denied_though_its_beginning_is_right() {
        let secret = "s".repeat(limits::PASSWORD_BYTES_MAX);
        let keys = [fast(1, &secret)];
        assert!(matches!(
            tried(&keys, secret.as_bytes()).0,
            Decision::Accepted { .. }
        ));
        let (decision, work) = tried(&keys, format!("{secret}x").as_bytes());
        assert!(matches!(decision, Decision::Denied));
        assert_eq!(work.macs, 1);
    }

    #[test]
    fn a_weak_secret_is_never_decided_on_the_fast_path() {
        let keys = [slow(5, "hunter2"), fast(6, "strong")];
        assert!(matches!(
            tried(&keys, b"strong").0,
            Decision::Accepted {
                credential: CredentialId(6),
                ..
            }
        ));
        let Decision::Slow(check) = tried(&keys, b"hunter2").0 else {
            panic!("decided without PBKDF2");
        };
        assert_eq!(check.run(b"hunter2"), Some(CredentialId(5)));
        assert_eq!(check.run(b"hunter3"), None);
    }
}
