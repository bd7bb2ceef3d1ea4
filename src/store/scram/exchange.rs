//! Does a client's proof open an account? Without the look-up.
//!
//! Derived secrets yield their keys on demand, by PBKDF2, so that a proof is decided in two steps:
//!
//! 1. [`Exchange::try_at_hand`] compares it with the keys that are at hand (kept of chosen secrets, or remembered of
//!    derived ones): a right proof mostly ends here.
//! 2. [`SlowExchange::run`] derives the keys of **all** derived secrets, remembered or not, and of a made-up one where
//!    there are none.
//!
//! Invariant: a proof that is denied has cost [`limits::SECRETS_TRIED_MAX`] comparisons and then one PBKDF2 for each
//! derived secret of the account, at least one: an account that does not exist, one with nothing but chosen secrets
//! and one with a single derived secret cost the same, and what is remembered changes nothing. How many derived
//! secrets an account has beyond the first is the one thing the work depends on; the engine covers it by the time at
//! which it answers.

use smallvec::SmallVec;
use subtle::ConditionallySelectable;

use super::{ITERATIONS, Keys};
use crate::limits;
use crate::route::{CredentialId, ScramHash};
use crate::store::LoginProof;
use crate::store::secret::{SALT_BYTES, Secret, StoreKey, Subject};
use crate::store::verify::Work;

/// A live secret that a proof may have been made with.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name; never [`CredentialId::NONE`].
    pub credential: CredentialId,
    /// The only resource it is good for; empty: any.
    pub resource: Box<str>,
    /// Which of the secrets of its subject it is.
    pub generation: u64,
    /// Whether it is derived from the store key; else a person chose it, and its keys are at hand.
    pub is_derived: bool,
    /// Its keys, if they are at hand.
    pub keys: Option<Keys>,
}

impl Candidate {
    /// The only resource it is good for.
    pub fn bound_resource(&self) -> Option<&str> {
        (!self.resource.is_empty()).then_some(&self.resource)
    }
}

/// The secrets a proof is tried against.
pub type Candidates = SmallVec<[Candidate; limits::SECRETS_TRIED_MAX]>;

/// What a client says at the end of SCRAM.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    /// Of which mechanism.
    pub hash: ScramHash,
    /// AuthMessage.
    pub auth_message: &'a [u8],
    /// ClientProof.
    pub client_proof: &'a [u8],
}

/// A secret that was shown or proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// Which one.
    pub credential: CredentialId,
    /// ServerSignature of SCRAM, else empty.
    pub server_signature: Box<[u8]>,
}

impl Right {
    /// A password that is right needs no signature.
    pub fn by_password(credential: CredentialId) -> Self {
        Self {
            credential,
            server_signature: Box::default(),
        }
    }
}

impl<'a> Exchange<'a> {
    /// The end of SCRAM, if a login is one.
    pub fn of(proof: &'a LoginProof) -> Option<Self> {
        match proof {
            LoginProof::Scram {
                hash,
                auth_message,
                client_proof,
            } => Some(Self {
                hash: *hash,
                auth_message,
                client_proof,
            }),
            LoginProof::Password(_)
            | LoginProof::Certificate { .. }
            | LoginProof::ScramFirst(_)
            | LoginProof::Proven { .. } => None,
        }
    }

    /// Compares the proof with the keys that are at hand, as often whatever they are; with `derived_only`, those of
    /// chosen secrets do not count.
    pub fn try_at_hand(
        &self,
        candidates: &[Candidate],
        derived_only: bool,
        work: &mut Work,
    ) -> Option<Right> {
        // Compared all the same where there is none; a credential of 0 is no match.
        let nobody = (Keys::of_nobody(self.hash), 0);
        let mut found = 0_u64;
        for place in 0..limits::SECRETS_TRIED_MAX {
            let candidate = candidates
                .get(place)
                .filter(|candidate| candidate.is_derived || !derived_only);
            let (keys, credential) = candidate
                .and_then(|candidate| Some((candidate.keys?, candidate.credential.0)))
                .unwrap_or(nobody);
            let equal = keys.verifies(self.auth_message, self.client_proof);
            found.conditional_assign(&credential, equal);
            work.macs += 1;
            work.comparisons += 1;
        }
        let right = candidates
            .iter()
            .find(|candidate| found != 0 && candidate.credential.0 == found)?;
        Some(Right {
            credential: right.credential,
            server_signature: right.keys?.server_signature(self.auth_message),
        })
    }
}

/// The keys that are still to be derived for a proof: a slow hash each.
#[derive(Clone, Debug)]
pub struct SlowExchange {
    salt: [u8; SALT_BYTES],
    iterations: u32,
    secrets: SmallVec<[(CredentialId, Secret); 1]>,
}

/// Keys that were derived, with the secrets they belong to.
pub type Derived = SmallVec<[(CredentialId, Keys); 1]>;

impl SlowExchange {
    /// All that a denial has to cost: see the module. The secrets whose keys are not at hand come first.
    pub fn whole(key: &StoreKey, account: &str, candidates: &[Candidate]) -> Self {
        let mut this = Self::of(key, account, candidates, |candidate| candidate.keys.is_none());
        let again = Self::of(key, account, candidates, |candidate| candidate.keys.is_some());
        this.secrets.extend(again.secrets);
        if this.secrets.is_empty() {
            // Nobody's: no account has an empty name.
            let decoy = key.secret(&Subject::Account { account: "" }, 0);
            this.secrets.push((CredentialId::NONE, decoy));
        }
        this
    }

    /// Only what is not at hand; nothing if all of it is.
    pub fn missing(key: &StoreKey, account: &str, candidates: &[Candidate]) -> Option<Self> {
        let this = Self::of(key, account, candidates, |candidate| candidate.keys.is_none());
        (!this.secrets.is_empty()).then_some(this)
    }

    fn of(
        key: &StoreKey,
        account: &str,
        candidates: &[Candidate],
        wanted: impl Fn(&Candidate) -> bool,
    ) -> Self {
        let secrets = candidates
            .iter()
            .take(limits::SECRETS_TRIED_MAX)
            .filter(|candidate| candidate.is_derived && wanted(candidate))
            .map(|candidate| {
                let subject = match &*candidate.resource {
                    "" => Subject::Account { account },
                    resource => Subject::Resource { account, resource },
                };
                (candidate.credential, key.secret(&subject, candidate.generation))
            })
            .collect();
        Self {
            salt: key.salt(account),
            iterations: ITERATIONS,
            secrets,
        }
    }

    /// Derives keys until one fits the proof, and hands out all that were derived. Slow.
    pub fn run(&self, exchange: &Exchange<'_>) -> (Option<Right>, Derived) {
        let mut derived = Derived::new();
        for (credential, secret) in &self.secrets {
            let password = secret.expose().as_bytes();
            let keys = Keys::derive(exchange.hash, password, &self.salt, self.iterations);
            derived.push((*credential, keys));
            let equal = keys.verifies(exchange.auth_message, exchange.client_proof);
            // Who is let in may learn how far down its secret stands.
            if bool::from(equal) && *credential != CredentialId::NONE {
                let right = Right {
                    credential: *credential,
                    server_signature: keys.server_signature(exchange.auth_message),
                };
                return (Some(right), derived);
            }
        }
        (None, derived)
    }
}
