//! How a block says who it is.

/// A claim to be an account, with its proof.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The account's name; grammar not yet checked, any domain already cut off.
    pub account: &'a str,
    /// The resource asked for (checked); empty: the daemon makes one up.
    pub resource: &'a str,
    /// The secret, as it came.
    pub password: &'a [u8],
}

impl std::fmt::Debug for Login<'_> {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("account", &self.account)
            .field("resource", &self.resource)
            .finish()
    }
}

/// A claim to be an account, with a proof, before it is known under which resource.
#[derive(Clone, Copy, Debug)]
pub struct Authenticate<'a> {
    /// The account's name; grammar not yet checked, any domain already cut off.
    pub account: &'a str,
    /// The proof.
    pub proof: Proof<'a>,
}

/// An address to take, of the account that was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The resource asked for (checked); empty: the daemon makes one up.
    pub resource: &'a str,
    /// It takes no part in a fight for the address. Else it takes over always, as MQTT has it.
    pub damped: bool,
    /// It may prove itself anew once it is attached.
    pub renewable: bool,
}

/// The hash of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScramHash {
    /// SCRAM-SHA-1 (RFC 5802).
    Sha1,
    /// SCRAM-SHA-256 (RFC 7677).
    Sha256,
}

/// How a block proves that it is an account.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// The secret or a token, as it came.
    Password(&'a [u8]),
    /// SCRAM begins: the challenge is asked for.
    ScramFirst(ScramHash),
    /// SCRAM ends.
    Scram {
        /// Of which mechanism.
        hash: ScramHash,
        /// AuthMessage (RFC 5802 section 3).
        auth_message: &'a [u8],
        /// ClientProof, decoded.
        client_proof: &'a [u8],
    },
}

impl std::fmt::Debug for Proof<'_> {
    /// Without what it proves by.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password(_) => f.write_str("Password(…)"),
            Self::ScramFirst(hash) => f.debug_tuple("ScramFirst").field(hash).finish(),
            Self::Scram { hash, .. } => f
                .debug_struct("Scram")
                .field("hash", hash)
                .finish_non_exhaustive(),
        }
    }
}
