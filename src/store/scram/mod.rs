//! SCRAM as a server decides it (RFC 5802 section 3; RFC 7677 for SHA-256): the keys it keeps of a password, the proof
//! of a client, the signature that proves the server.
//!
//! Invariant: a proof is compared in constant time, whatever its length.

pub mod cache;
pub mod exchange;

#[cfg(test)]
mod tests;

use std::fmt;

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::route::ScramHash;

/// Iterations of PBKDF2, the same for every account: an unknown account must not show another count.
pub const ITERATIONS: u32 = 4_096;

/// StoredKey and ServerKey of a password; `N` is the length of the hash in bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ScramKeys<const N: usize> {
    /// `H(HMAC(SaltedPassword, "Client Key"))`: verifies a client's proof.
    pub stored_key: [u8; N],
    /// `HMAC(SaltedPassword, "Server Key")`: proves the server to the client.
    pub server_key: [u8; N],
}

impl<const N: usize> fmt::Debug for ScramKeys<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramKeys(…)")
    }
}

/// The keys for SCRAM-SHA-256. Slow by intent: `iterations` rounds of PBKDF2.
pub fn sha256(password: &[u8], salt: &[u8], iterations: u32) -> ScramKeys<32> {
    derive::<Sha256, 32>(password, salt, iterations)
}

/// The keys for SCRAM-SHA-1. Slow by intent: `iterations` rounds of PBKDF2.
pub fn sha1(password: &[u8], salt: &[u8], iterations: u32) -> ScramKeys<20> {
    derive::<Sha1, 20>(password, salt, iterations)
}

/// The keys of a password for one of the mechanisms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// For SCRAM-SHA-1.
    Sha1(ScramKeys<20>),
    /// For SCRAM-SHA-256.
    Sha256(ScramKeys<32>),
}

impl Keys {
    /// Those of `password`. Slow by intent.
    pub fn derive(hash: ScramHash, password: &[u8], salt: &[u8], iterations: u32) -> Self {
        match hash {
            ScramHash::Sha1 => Self::Sha1(sha1(password, salt, iterations)),
            ScramHash::Sha256 => Self::Sha256(sha256(password, salt, iterations)),
        }
    }

    /// Keys that no proof fits, to be compared with where there are none.
    pub const fn of_nobody(hash: ScramHash) -> Self {
        match hash {
            ScramHash::Sha1 => Self::Sha1(ScramKeys {
                stored_key: [0; 20],
                server_key: [0; 20],
            }),
            ScramHash::Sha256 => Self::Sha256(ScramKeys {
                stored_key: [0; 32],
                server_key: [0; 32],
            }),
        }
    }

    /// StoredKey and ServerKey, one after the other; nothing if they are not of that length.
    pub fn from_bytes(hash: ScramHash, bytes: &[u8]) -> Option<Self> {
        fn split<const N: usize>(bytes: &[u8]) -> Option<ScramKeys<N>> {
            let (stored_key, server_key) = bytes.split_first_chunk()?;
            Some(ScramKeys {
                stored_key: *stored_key,
                server_key: server_key.try_into().ok()?,
            })
        }
        match hash {
            ScramHash::Sha1 => split(bytes).map(Self::Sha1),
            ScramHash::Sha256 => split(bytes).map(Self::Sha256),
        }
    }

    /// What they are for.
    pub const fn hash(&self) -> ScramHash {
        match self {
            Self::Sha1(_) => ScramHash::Sha1,
            Self::Sha256(_) => ScramHash::Sha256,
        }
    }

    /// Whether a client that knows the password made this proof. One MAC, one hash, one comparison.
    pub fn verifies(&self, auth_message: &[u8], client_proof: &[u8]) -> Choice {
        match self {
            Self::Sha1(keys) => verifies::<Sha1, 20>(keys, auth_message, client_proof),
            Self::Sha256(keys) => verifies::<Sha256, 32>(keys, auth_message, client_proof),
        }
    }

    /// ServerSignature: `HMAC(ServerKey, AuthMessage)`.
    pub fn server_signature(&self, auth_message: &[u8]) -> Box<[u8]> {
        match self {
            Self::Sha1(keys) => Box::new(Sha1::mac(&keys.server_key, auth_message)),
            Self::Sha256(keys) => Box::new(Sha256::mac(&keys.server_key, auth_message)),
        }
    }
}

/// What SCRAM needs of a hash of `N` bytes.
trait Hash<const N: usize> {
    fn hash(bytes: &[u8]) -> [u8; N];
    fn mac(key: &[u8], text: &[u8]) -> [u8; N];
    fn salted(password: &[u8], salt: &[u8], iterations: u32) -> [u8; N];
}

impl Hash<20> for Sha1 {
    fn hash(bytes: &[u8]) -> [u8; 20] {
        Sha1::digest(bytes).into()
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    fn mac(key: &[u8], text: &[u8]) -> [u8; 20] {
        let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of every length");
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    fn salted(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 20] {
        pbkdf2::pbkdf2_hmac_array::<Sha1, 20>(password, salt, iterations)
    }
}

impl Hash<32> for Sha256 {
    fn hash(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    fn salted(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
        pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, iterations)
    }
}

fn derive<H: Hash<N>, const N: usize>(password: &[u8], salt: &[u8], iterations: u32) -> ScramKeys<N> {
    let salted = H::salted(password, salt, iterations);
    ScramKeys {
        stored_key: H::hash(&H::mac(&salted, b"Client Key")),
        server_key: H::mac(&salted, b"Server Key"),
    }
}

/// ClientKey is ClientProof XOR ClientSignature, and its hash must be StoredKey.
fn verifies<H: Hash<N>, const N: usize>(
    keys: &ScramKeys<N>,
    auth_message: &[u8],
    client_proof: &[u8],
) -> Choice {
    let whole = Choice::from(u8::from(client_proof.len() == N));
    let mut client_key = H::mac(&keys.stored_key, auth_message);
    for (byte, proof) in client_key.iter_mut().zip(client_proof) {
        *byte ^= proof;
    }
    H::hash(&client_key).ct_eq(&keys.stored_key) & whole
}

/// ClientProof, as a client makes it.
#[cfg(test)]
pub fn client_proof(
    hash: ScramHash,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    auth_message: &[u8],
) -> Vec<u8> {
    fn make<H: Hash<N>, const N: usize>(salted: &[u8; N], auth_message: &[u8]) -> Vec<u8> {
        let client_key = H::mac(salted, b"Client Key");
        let signature = H::mac(&H::hash(&client_key), auth_message);
        client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect()
    }
    match hash {
        ScramHash::Sha1 => make::<Sha1, 20>(&Sha1::salted(password, salt, iterations), auth_message),
        ScramHash::Sha256 => make::<Sha256, 32>(&Sha256::salted(password, salt, iterations), auth_message),
    }
}
