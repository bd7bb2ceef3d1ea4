//! Logins on their way to the control thread and back.

use std::net::IpAddr;

use super::secret::SALT_BYTES;
use crate::route::{CredentialId, Grants, Proof, ScramHash, SessionId};
use crate::session::LoginFailure;

/// A claim to be an account, on its way to the control thread.
#[derive(Clone)]
pub struct LoginRequest {
    /// Who waits for the verdict.
    pub session: SessionId,
    /// The account's name as the peer gave it (at most `ACCOUNT_BYTES_MAX` bytes, domain cut off); its grammar
    /// is not yet checked.
    pub account: Box<str>,
    /// The resource the block will have (checked, never empty: one is made up before, where none was asked);
    /// `None`: it is not known yet, and a secret of any resource will do.
    pub resource: Option<Box<str>>,
    /// The proof, as it came.
    pub proof: LoginProof,
    /// Where it came from, for the throttle.
    pub peer: IpAddr,
}

/// A [`Proof`] of its own.
#[derive(Clone, PartialEq, Eq)]
pub enum LoginProof {
    /// The secret or a token.
    Password(Box<[u8]>),
    /// A certificate that was verified and names the account: is there such an account, and until when?
    Certificate {
        /// The only resource that it is for.
        resource: Option<Box<str>>,
        /// Until then.
        expires_unix_ms: u64,
    },
    /// SCRAM begins.
    ScramFirst(ScramHash),
    /// SCRAM ends.
    Scram {
        /// Of which mechanism.
        hash: ScramHash,
        /// AuthMessage.
        auth_message: Box<[u8]>,
        /// ClientProof.
        client_proof: Box<[u8]>,
    },
    /// The account was proven before, in the first of two steps: is that still good?
    Proven {
        /// By this secret; [`CredentialId::NONE`]: by a token or a certificate.
        credential: CredentialId,
        /// Until then.
        expires_unix_ms: Option<u64>,
    },
}

impl From<Proof<'_>> for LoginProof {
    fn from(proof: Proof<'_>) -> Self {
        match proof {
            Proof::Password(password) => Self::Password(password.into()),
            Proof::Certificate {
                resource,
                expires_unix_ms,
            } => Self::Certificate {
                resource: resource.map(Into::into),
                expires_unix_ms,
            },
            Proof::ScramFirst(hash) => Self::ScramFirst(hash),
            Proof::Scram {
                hash,
                auth_message,
                client_proof,
            } => Self::Scram {
                hash,
                auth_message: auth_message.into(),
                client_proof: client_proof.into(),
            },
        }
    }
}

/// The control thread's verdict.
#[derive(Clone, Debug)]
pub struct LoginVerdict {
    /// Who waits for it.
    pub session: SessionId,
    /// What the login brings along, or why it failed.
    pub result: Result<Verified, LoginFailure>,
}

/// What a proof came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// SCRAM goes on with these.
    Challenge {
        /// The account's salt, whether there is such an account or not.
        salt: [u8; SALT_BYTES],
        /// Iterations of PBKDF2.
        iterations: u32,
    },
    /// It is the account.
    Account(Box<Admitted>),
}

/// An account that was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// What it may do, and until when.
    pub grants: Grants,
    /// The only resource the secret is good for.
    pub bound_resource: Option<Box<str>>,
    /// ServerSignature of SCRAM, else empty.
    pub server_signature: Box<[u8]>,
}

impl From<Grants> for Verified {
    /// Of a secret that is good for every resource, or whose resource was checked.
    fn from(grants: Grants) -> Self {
        Self::Account(Box::new(Admitted {
            grants,
            bound_resource: None,
            server_signature: Box::default(),
        }))
    }
}
