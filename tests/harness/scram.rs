//! The client's side of SCRAM (RFC 5802; RFC 7677 for SHA-256), with the server's signature verified.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The hash of the mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    /// The mechanism's name.
    pub(crate) fn mechanism(self) -> &'static str {
        match self {
            Self::Sha1 => "SCRAM-SHA-1",
            Self::Sha256 => "SCRAM-SHA-256",
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => {
                let mut mac = Hmac::<Sha1>::new_from_slice(key).unwrap();
                mac.update(bytes);
                mac.finalize().into_bytes().to_vec()
            }
            Self::Sha256 => {
                let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
                mac.update(bytes);
                mac.finalize().into_bytes().to_vec()
            }
        }
    }

    /// `Hi` of RFC 5802, 2.2: PBKDF2 with one block.
    fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut last = self.hmac(password, &[salt, &[0, 0, 0, 1]].concat());
        let mut all = last.clone();
        for _ in 1..iterations {
            last = self.hmac(password, &last);
            all = xor(&all, &last);
        }
        all
    }
}

/// One exchange.
#[derive(Clone, Debug)]
pub(crate) struct Scram {
    hash: Hash,
    gs2_header: String,
    first_bare: String,
    server_signature: Vec<u8>,
}

/// The server's first message, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) nonce: String,
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
}

impl Challenge {
    /// `r=…,s=…,i=…`, in that order and nothing else.
    #[track_caller]
    pub(crate) fn read(text: &str) -> Self {
        let parts: Vec<&str> = text.split(',').collect();
        let [nonce, salt, iterations] = parts[..] else {
            panic!("not a server's first message: {text}");
        };
        Self {
            nonce: nonce.strip_prefix("r=").expect("a nonce").to_owned(),
            salt: STANDARD
                .decode(salt.strip_prefix("s=").expect("a salt"))
                .expect("base64"),
            iterations: iterations
                .strip_prefix("i=")
                .and_then(|count| count.parse().ok())
                .expect("an iteration count"),
        }
    }
}

impl Scram {
    /// With a GS2 header (`n,,` where nothing special is asked), a user name and a nonce of the client.
    pub(crate) fn new(hash: Hash, gs2_header: &str, user: &str, nonce: &str) -> Self {
        Self {
            hash,
            gs2_header: gs2_header.to_owned(),
            first_bare: format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C")),
            server_signature: Vec::new(),
        }
    }

    /// The client's first message.
    pub(crate) fn first(&self) -> String {
        format!("{}{}", self.gs2_header, self.first_bare)
    }

    /// The client's final message on the server's first one.
    #[track_caller]
    pub(crate) fn last(&mut self, server_first: &str, password: &str) -> String {
        let challenge = Challenge::read(server_first);
        let own = self.first_bare.split_once(",r=").expect("a nonce").1;
        assert!(
            challenge.nonce.starts_with(own) && challenge.nonce.len() > own.len(),
            "the server adds to the client's nonce: {server_first}"
        );
        let hash = self.hash;
        let salted = hash.salted(password.as_bytes(), &challenge.salt, challenge.iterations);
        let client_key = hash.hmac(&salted, b"Client Key");
        let without_proof = format!("c={},r={}", STANDARD.encode(&self.gs2_header), challenge.nonce);
        let signed = format!("{},{server_first},{without_proof}", self.first_bare);
        let signature = hash.hmac(&hash.digest(&client_key), signed.as_bytes());
        let server_key = hash.hmac(&salted, b"Server Key");
        self.server_signature = hash.hmac(&server_key, signed.as_bytes());
        format!(
            "{without_proof},p={}",
            STANDARD.encode(xor(&client_key, &signature))
        )
    }

    /// The server must have proven that it knows the password, too.
    #[track_caller]
    pub(crate) fn assert_server_final(&self, text: &str) {
        let expected = format!("v={}", STANDARD.encode(&self.server_signature));
        assert_eq!(text, expected, "the server's signature");
    }
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(a, b)| a ^ b).collect()
}

/// The examples of RFC 5802, 5 and RFC 7677, 3: what the daemon is measured by is measured first.
#[test]
fn the_scram_client_of_these_tests_makes_the_proofs_of_the_rfcs() {
    let cases = [
        (
            Hash::Sha1,
            "fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (
            Hash::Sha256,
            "rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    ];
    for (hash, nonce, server_first, last, server_final) in cases {
        let mut scram = Scram::new(hash, "n,,", "user", nonce);
        assert_eq!(scram.first(), format!("n,,n=user,r={nonce}"));
        assert_eq!(scram.last(server_first, "pencil"), last);
        scram.assert_server_final(server_final);
    }
}
