//! The keys of SCRAM (RFC 5802 section 3; RFC 7677 for SHA-256): what a server keeps of a password.

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Iterations of PBKDF2, the same for every account: an unknown account must not show another count.
pub const ITERATIONS: u32 = 4_096;

/// StoredKey and ServerKey of a password; `N` is the length of the hash in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScramKeys<const N: usize> {
    /// `H(HMAC(SaltedPassword, "Client Key"))`: verifies a client's proof.
    pub stored_key: [u8; N],
    /// `HMAC(SaltedPassword, "Server Key")`: proves the server to the client.
    pub server_key: [u8; N],
}

/// The keys for SCRAM-SHA-256. Slow by intent: `iterations` rounds of PBKDF2.
pub fn sha256(password: &[u8], salt: &[u8], iterations: u32) -> ScramKeys<32> {
    let salted: [u8; 32] = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, iterations);
    let mac = |text: &[u8]| -> [u8; 32] {
        let mut mac = keyed_sha256(&salted);
        mac.update(text);
        mac.finalize().into_bytes().into()
    };
    ScramKeys {
        stored_key: Sha256::digest(mac(b"Client Key")).into(),
        server_key: mac(b"Server Key"),
    }
}

/// The keys for SCRAM-SHA-1. Slow by intent: `iterations` rounds of PBKDF2.
pub fn sha1(password: &[u8], salt: &[u8], iterations: u32) -> ScramKeys<20> {
    let salted: [u8; 20] = pbkdf2::pbkdf2_hmac_array::<Sha1, 20>(password, salt, iterations);
    let mac = |text: &[u8]| -> [u8; 20] {
        let mut mac = keyed_sha1(&salted);
        mac.update(text);
        mac.finalize().into_bytes().into()
    };
    ScramKeys {
        stored_key: Sha1::digest(mac(b"Client Key")).into(),
        server_key: mac(b"Server Key"),
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn keyed_sha256(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn keyed_sha1(key: &[u8]) -> Hmac<Sha1> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Takes the client's proof apart: ClientKey = proof XOR HMAC(StoredKey, AuthMessage), and
    /// H(ClientKey) must be StoredKey.
    #[test]
    fn rfc5802_5_sha1_example_exchange_verifies() {
        let salt = STANDARD.decode("QSXCR+Q6sek8bf92").unwrap();
        let keys = sha1(b"pencil", &salt, 4_096);
        let auth_message = "n=user,r=fyko+d2lbbFgONRv9qkxdawL,\
            r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096,\
            c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j";
        let sign = |key: &[u8]| {
            let mut mac = keyed_sha1(key);
            mac.update(auth_message.as_bytes());
            mac.finalize().into_bytes()
        };
        let proof = STANDARD.decode("v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=").unwrap();
        let signature = sign(&keys.stored_key);
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        assert_eq!(Sha1::digest(client_key).as_slice(), keys.stored_key);
        assert_eq!(
            STANDARD.encode(sign(&keys.server_key)),
            "rmF9pqV8S7suAoZWja4dJRkFsKQ="
        );
    }

    #[test]
    fn rfc7677_3_sha256_example_exchange_verifies() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = sha256(b"pencil", &salt, 4_096);
        let auth_message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let sign = |key: &[u8]| {
            let mut mac = keyed_sha256(key);
            mac.update(auth_message.as_bytes());
            mac.finalize().into_bytes()
        };
        let proof = STANDARD
            .decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
            .unwrap();
        let signature = sign(&keys.stored_key);
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        assert_eq!(Sha256::digest(client_key).as_slice(), keys.stored_key);
        assert_eq!(
            STANDARD.encode(sign(&keys.server_key)),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }
}
