//! The examples of the RFCs, and what a proof costs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smallvec::smallvec;

use super::exchange::{Candidate, Candidates, Derived, Exchange, Right, SlowExchange};
use super::*;
use crate::limits;
use crate::route::CredentialId;
use crate::store::secret::{KEY_BYTES, StoreKey, Subject};
use crate::store::verify::Work;

const ACCOUNT: &str = "etest-0123456789abcdef01234567-owner";
const AUTH_MESSAGE: &[u8] = b"n=user,r=abc,r=abcdef,s=QSXCR+Q6sek8bf92,i=4096,c=biws,r=abcdef";

struct Example {
    hash: ScramHash,
    salt: &'static str,
    auth_message: &'static str,
    proof: &'static str,
    signature: &'static str,
}

/// RFC 5802 section 5 and RFC 7677 section 3; the password is "pencil".
const EXAMPLES: [Example; 2] = [
    Example {
        hash: ScramHash::Sha1,
        salt: "QSXCR+Q6sek8bf92",
        auth_message: "n=user,r=fyko+d2lbbFgONRv9qkxdawL,\
            r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096,\
            c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
        proof: "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        signature: "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    },
    Example {
        hash: ScramHash::Sha256,
        salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
        auth_message: "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        proof: "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        signature: "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    },
];

#[test]
fn rfc5802_5_and_rfc7677_3_the_example_proof_is_right_and_the_signature_is_the_example_one() {
    for example in &EXAMPLES {
        let salt = STANDARD.decode(example.salt).unwrap();
        let keys = Keys::derive(example.hash, b"pencil", &salt, 4_096);
        let auth_message = example.auth_message.as_bytes();
        let mut proof = STANDARD.decode(example.proof).unwrap();
        assert!(bool::from(keys.verifies(auth_message, &proof)));
        assert_eq!(
            STANDARD.encode(keys.server_signature(auth_message)),
            example.signature
        );
        let other = Keys::derive(example.hash, b"Pencil", &salt, 4_096);
        for (keys, auth_message, proof) in [
            (other, auth_message, &proof[..]),
            (keys, &auth_message[1..], &proof),
            (keys, auth_message, &proof[1..]),
            (keys, auth_message, &[]),
            (keys, auth_message, &[proof.as_slice(), &[0]].concat()),
        ] {
            assert!(!bool::from(keys.verifies(auth_message, proof)));
        }
        proof[7] ^= 1;
        assert!(!bool::from(keys.verifies(auth_message, &proof)));
    }
}

#[test]
fn keys_are_read_back_from_what_is_kept() {
    for hash in [ScramHash::Sha1, ScramHash::Sha256] {
        let keys = Keys::derive(hash, b"pencil", b"salt", 1);
        let bytes = match keys {
            Keys::Sha1(keys) => [keys.stored_key, keys.server_key].concat(),
            Keys::Sha256(keys) => [keys.stored_key, keys.server_key].concat(),
        };
        assert_eq!(Keys::from_bytes(hash, &bytes), Some(keys));
        assert_eq!(Keys::from_bytes(hash, &bytes[1..]), None);
        assert_eq!(Keys::from_bytes(hash, &[bytes.as_slice(), &[0]].concat()), None);
    }
    let shown = format!("{:?}", Keys::derive(ScramHash::Sha1, b"pencil", b"salt", 1));
    assert_eq!(shown, "Sha1(ScramKeys(…))");
}

fn store_key() -> StoreKey {
    StoreKey::new(&[9; KEY_BYTES])
}

fn derived(id: u64, resource: &str) -> Candidate {
    Candidate {
        credential: CredentialId(id),
        resource: resource.into(),
        generation: 1,
        is_derived: true,
        keys: None,
    }
}

fn secret_of(candidate: &Candidate) -> String {
    let subject = match &*candidate.resource {
        "" => Subject::Account { account: ACCOUNT },
        resource => Subject::Resource {
            account: ACCOUNT,
            resource,
        },
    };
    let secret = store_key().secret(&subject, candidate.generation);
    secret.expose().to_owned()
}

fn keys_of(hash: ScramHash, password: &str) -> Keys {
    Keys::derive(hash, password.as_bytes(), &store_key().salt(ACCOUNT), ITERATIONS)
}

fn chosen(id: u64, hash: ScramHash, password: &str) -> Candidate {
    Candidate {
        is_derived: false,
        keys: Some(keys_of(hash, password)),
        ..derived(id, "")
    }
}

/// What a client proves with a password: RFC 5802 section 3, from the client's side.
fn proof(hash: ScramHash, password: &str) -> Vec<u8> {
    let salt = store_key().salt(ACCOUNT);
    super::client_proof(hash, password.as_bytes(), &salt, ITERATIONS, AUTH_MESSAGE)
}

/// Both steps, as the engine takes them: what is right, what was derived, what it cost.
fn tried(hash: ScramHash, candidates: &Candidates, proof: &[u8]) -> (Option<Right>, Derived, Work) {
    let exchange = Exchange {
        hash,
        auth_message: AUTH_MESSAGE,
        client_proof: proof,
    };
    let mut work = Work::default();
    if let Some(right) = exchange.try_at_hand(candidates, false, &mut work) {
        return (Some(right), Derived::new(), work);
    }
    let (right, derived) = SlowExchange::whole(&store_key(), ACCOUNT, candidates).run(&exchange);
    (right, derived, work)
}

#[test]
fn a_proof_is_right_for_each_secret_of_the_account_and_no_other() {
    for hash in [ScramHash::Sha1, ScramHash::Sha256] {
        let candidates: Candidates =
            smallvec![derived(4, ""), derived(5, "dev.1"), chosen(6, hash, "hunter2")];
        for (place, password) in [
            (0, secret_of(&candidates[0])),
            (1, secret_of(&candidates[1])),
            (2, "hunter2".to_owned()),
        ] {
            let (right, ..) = tried(hash, &candidates, &proof(hash, &password));
            let right = right.unwrap();
            assert_eq!(right.credential, candidates[place].credential);
            let signature = keys_of(hash, &password).server_signature(AUTH_MESSAGE);
            assert_eq!(right.server_signature, signature);
        }
        let other = secret_of(&derived(7, "dev.2"));
        for wrong in [proof(hash, &other), proof(hash, ""), vec![], vec![0; 64]] {
            assert_eq!(tried(hash, &candidates, &wrong).0, None);
        }
    }
}

#[test]
fn nobody_is_let_in_by_the_made_up_secret() {
    let decoy = store_key().secret(&Subject::Account { account: "" }, 0);
    let proof = proof(ScramHash::Sha256, decoy.expose());
    let (right, derived, _) = tried(ScramHash::Sha256, &Candidates::new(), &proof);
    assert_eq!(right, None);
    let made_up = keys_of(ScramHash::Sha256, decoy.expose());
    assert_eq!(derived.as_slice(), [(CredentialId::NONE, made_up)]);
}

#[test]
fn a_denial_costs_the_same_for_nobody_for_one_secret_and_for_what_is_remembered() {
    let hash = ScramHash::Sha256;
    let remembered = Candidate {
        keys: Some(keys_of(hash, &secret_of(&derived(1, "")))),
        ..derived(1, "")
    };
    let cost = |candidates: Candidates| {
        let (right, derived, work) = tried(hash, &candidates, &proof(hash, "wrong"));
        assert_eq!(right, None);
        (derived.len(), work)
    };
    let at_hand = Work {
        macs: 8,
        comparisons: 8,
        ..Work::default()
    };
    for candidates in [
        smallvec![],
        smallvec![derived(1, "")],
        smallvec![remembered.clone()],
        smallvec![chosen(1, hash, "hunter2")],
        smallvec![derived(1, ""), chosen(2, hash, "hunter2")],
    ] {
        assert_eq!(cost(candidates), (1, at_hand));
    }
    assert_eq!(cost(smallvec![derived(1, ""), derived(2, "r")]), (2, at_hand));
    assert_eq!(cost(smallvec![remembered.clone(), derived(2, "r")]), (2, at_hand));
    assert_eq!(cost(smallvec![remembered.clone(), remembered]), (2, at_hand));
    let many: Candidates = (1..20).map(|id| derived(id, "r")).collect();
    assert_eq!(cost(many), (limits::SECRETS_TRIED_MAX, at_hand));
}

#[test]
fn what_is_at_hand_is_decided_without_a_slow_hash() {
    let hash = ScramHash::Sha1;
    let password = secret_of(&derived(2, "r"));
    let remembered = Candidate {
        keys: Some(keys_of(hash, &password)),
        ..derived(2, "r")
    };
    let candidates: Candidates = smallvec![derived(1, ""), remembered, chosen(3, hash, "hunter2")];
    let (right, derived, _) = tried(hash, &candidates, &proof(hash, &password));
    assert_eq!(right.unwrap().credential, CredentialId(2));
    assert!(derived.is_empty());
    let exchange = |proof| Exchange {
        hash,
        auth_message: AUTH_MESSAGE,
        client_proof: proof,
    };
    let guessed = proof(hash, "hunter2");
    let mut work = Work::default();
    assert!(
        exchange(&guessed)
            .try_at_hand(&candidates, false, &mut work)
            .is_some()
    );
    assert_eq!(exchange(&guessed).try_at_hand(&candidates, true, &mut work), None);
    let missing = SlowExchange::missing(&store_key(), ACCOUNT, &candidates).unwrap();
    assert_eq!(missing.run(&exchange(&guessed)).1.len(), 1, "the first alone");
    assert!(SlowExchange::missing(&store_key(), ACCOUNT, &candidates[1..]).is_none());
}

#[test]
fn what_is_not_at_hand_is_derived_first_and_no_more_after_the_right_one() {
    let hash = ScramHash::Sha256;
    let remembered = Candidate {
        keys: Some(keys_of(hash, &secret_of(&derived(1, "")))),
        ..derived(1, "")
    };
    let candidates: Candidates = smallvec![remembered, derived(2, "r"), derived(3, "s")];
    let (right, derived, _) = tried(hash, &candidates, &proof(hash, &secret_of(&candidates[1])));
    assert_eq!(right.unwrap().credential, CredentialId(2));
    let names: Vec<u64> = derived.iter().map(|(credential, _)| credential.0).collect();
    assert_eq!(names, [2]);
}
