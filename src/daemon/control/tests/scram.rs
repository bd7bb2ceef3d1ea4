//! Logins by SCRAM: who gets in, what a denial costs and when it is answered, what the throttle makes of it.

use std::time::Duration;

use super::{Desk, OWNER, UID, admitted, change, uid, verdict};
use crate::daemon::control::{ChosenSecret, IssuedSecret};
use crate::limits;
use crate::route::{Change, CredentialId, Role, ScramHash};
use crate::session::LoginFailure;
use crate::store::scram::{self, ITERATIONS, Keys};
use crate::store::verify::Work;
use crate::store::{Admitted, LoginProof, Verified};

const DENIED: LoginFailure = LoginFailure::Denied;
const PEER: &str = "192.0.2.1";
const AUTH_MESSAGE: &[u8] = b"n=user,r=abc,r=abcdef,s=QSXCR+Q6sek8bf92,i=4096,c=biws,r=abcdef";
const HASHES: [ScramHash; 2] = [ScramHash::Sha1, ScramHash::Sha256];
const SHA256: ScramHash = ScramHash::Sha256;

fn user() -> String {
    format!("etest-{UID}-user")
}

impl Desk {
    /// What a client of `account` that knows `secret` proves.
    fn proof(&self, hash: ScramHash, account: &str, secret: &str) -> LoginProof {
        let salt = self.records.key.salt(account);
        let proof = scram::client_proof(hash, secret.as_bytes(), &salt, ITERATIONS, AUTH_MESSAGE);
        LoginProof::Scram {
            hash,
            auth_message: AUTH_MESSAGE.into(),
            client_proof: proof.into(),
        }
    }

    fn ask_proof(&mut self, account: &str, secret: &str) {
        let proof = self.proof(SHA256, account, secret);
        self.ask_with(PEER, account, None, proof);
    }

    /// Shows a proof and waits for what comes of it.
    fn proves(&mut self, hash: ScramHash, account: &str, secret: &str) -> Result<Admitted, LoginFailure> {
        let proof = self.proof(hash, account, secret);
        self.ask_with(PEER, account, None, proof);
        self.settled().map(admitted)
    }

    /// The same for what is decided without the slow threads.
    fn proves_at_once(&mut self, hash: ScramHash, account: &str, secret: &str) -> Admitted {
        let proof = self.proof(hash, account, secret);
        self.ask_with(PEER, account, None, proof);
        admitted(self.verified().expect("decided in one turn").unwrap())
    }

    fn challenge(&mut self, account: &str) -> Verified {
        self.ask_with(PEER, account, None, LoginProof::ScramFirst(SHA256));
        self.verified().expect("answered in one turn").unwrap()
    }

    /// Has all that waits decided, however long that takes; tells the verdicts.
    fn verdicts(&mut self, many: usize) -> Vec<Result<Verified, LoginFailure>> {
        let mut verdicts = Vec::new();
        for _ in 0..20_000 {
            verdicts.extend(self.told().iter().filter_map(verdict).map(|v| v.result));
            if verdicts.len() >= many {
                return verdicts;
            }
            self.pass(10);
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("{} of {many} decided within 20 s", verdicts.len());
    }

    /// Fails until the account is throttled, without any SCRAM.
    fn fail_by_password(&mut self, account: &str) {
        for _ in 0..limits::LOGIN_FAILURES_PER_WINDOW_MAX {
            self.ask(account, "r", "wrong");
        }
        self.verdicts(limits::LOGIN_FAILURES_PER_WINDOW_MAX as usize);
    }

    /// Waits until the slow threads have nothing left to do; nothing may be decided meanwhile, and no time passes.
    fn idle(&mut self) {
        let before = self.engine.work().slow_hashes;
        for _ in 0..10_000 {
            assert_eq!(self.verified(), None);
            if self.engine.work().slow_hashes > before {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("nothing computed within 10 s");
    }
}

#[test]
fn rfc5802_5_1_the_challenge_is_given_at_once_whether_the_account_exists_or_not() {
    let mut desk = Desk::new();
    let before = desk.engine.work();
    for account in [OWNER, &user(), "", "nonsense"] {
        let expected = Verified::Challenge {
            salt: desk.records.key.salt(account),
            iterations: ITERATIONS,
        };
        assert_eq!(desk.challenge(account), expected);
        assert_eq!(desk.challenge(account), expected, "the same again");
    }
    assert_eq!(desk.engine.work(), before, "nothing was looked up");
    assert_ne!(desk.challenge(OWNER), desk.challenge(&user()));
    assert_eq!(desk.port.metrics().accepted.get(), 0);
}

#[test]
fn every_kind_of_secret_logs_in_by_both_hashes() {
    let mut desk = Desk::new();
    let main = desk.secret.clone();
    let long = "correct horse battery staple 1234";
    let (partner, user) = (format!("etest-{UID}-partner"), user());
    let bound = desk.write(|w| {
        let chosen = |text, weak| ChosenSecret::new(text, weak).unwrap();
        w.add_account_with("etest", uid(), Role::Partner, &chosen(long, false))?;
        w.add_account_with("etest", uid(), Role::User, &chosen("hunter2", true))?;
        w.add_secret(OWNER, Some("Dev.1"))
    });
    for hash in HASHES {
        for (account, secret, resource) in [
            (OWNER, &*main, None),
            (OWNER, bound.secret.expose(), Some("Dev.1")),
            (&*partner, long, None),
            (&*user, "hunter2", None),
        ] {
            let admitted = desk.proves(hash, account, secret).unwrap();
            assert_eq!(admitted.bound_resource.as_deref(), resource);
            assert_eq!(admitted.grants.credential == bound.id, resource.is_some());
            let salt = desk.records.key.salt(account);
            let keys = Keys::derive(hash, secret.as_bytes(), &salt, ITERATIONS);
            assert_eq!(admitted.server_signature, keys.server_signature(AUTH_MESSAGE));
        }
        for (account, secret) in [(OWNER, "hunter2"), (&*user, &*main), (&*user, ""), ("", &*main)] {
            assert_eq!(desk.proves(hash, account, secret), Err(DENIED));
        }
    }
}

#[test]
fn a_proof_for_another_hash_or_of_another_length_is_denied() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    let LoginProof::Scram { client_proof, .. } = desk.proof(ScramHash::Sha1, OWNER, &secret) else {
        panic!("another proof");
    };
    for client_proof in [client_proof, [].into(), [0; 64].into()] {
        let proof = LoginProof::Scram {
            hash: SHA256,
            auth_message: AUTH_MESSAGE.into(),
            client_proof,
        };
        desk.ask_with(PEER, OWNER, None, proof);
        assert_eq!(desk.settled(), Err(DENIED));
    }
}

#[test]
fn what_was_derived_once_is_decided_at_once_and_chosen_secrets_always_are() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    let user = user();
    let weak = ChosenSecret::new("hunter2", true).unwrap();
    desk.write(|w| w.add_account_with("etest", uid(), Role::User, &weak));
    desk.proves(SHA256, OWNER, &secret).unwrap();
    assert_eq!(desk.engine.work().slow_hashes, 1);
    for _ in 0..3 {
        desk.proves_at_once(SHA256, OWNER, &secret);
        desk.proves_at_once(SHA256, &user, "hunter2");
    }
    assert_eq!(desk.engine.work().slow_hashes, 1);
    desk.proves(ScramHash::Sha1, OWNER, &secret).unwrap();
    assert_eq!(desk.engine.work().slow_hashes, 2, "each hash has its own keys");
    // A wrong proof derives the keys as well as a right one.
    let bound = desk.write(|w| w.add_secret(OWNER, Some("dev")));
    assert_eq!(desk.proves(SHA256, OWNER, "wrong"), Err(DENIED));
    desk.proves_at_once(SHA256, OWNER, bound.secret.expose());
}

#[test]
fn every_denial_costs_the_same_work_whatever_is_remembered() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    let (partner, user) = (format!("etest-{UID}-partner"), user());
    let weak = ChosenSecret::new("hunter2", true).unwrap();
    desk.write(|w| w.add_account_with("etest", uid(), Role::User, &weak));
    desk.turn();
    let expected = Work {
        macs: 9,
        comparisons: 9,
        hits: 1,
        misses: 1,
        slow_hashes: 1,
    };
    let expect = |desk: &mut Desk, account: &str| {
        let before = desk.engine.work();
        assert_eq!(desk.proves(SHA256, account, "wrong"), Err(DENIED));
        assert_eq!(desk.engine.work() - before, expected, "{account}");
    };
    for account in [OWNER, &partner, &user, "", "\u{1}", "nonsense"] {
        expect(&mut desk, account);
        expect(&mut desk, account);
    }
    desk.proves_at_once(SHA256, OWNER, &secret);
    expect(&mut desk, OWNER);
}

#[test]
fn every_denial_is_answered_at_the_same_time() {
    let mut desk = Desk::new();
    let (partner, user) = (format!("etest-{UID}-partner"), user());
    desk.write(|w| {
        w.add_account("etest", uid(), Role::Partner)?;
        for n in 0..limits::SECRETS_TRIED_MAX {
            w.add_secret(&partner, Some(&format!("dev{n}")))?;
        }
        Ok(())
    });
    for account in [OWNER, &partner, &user, "nonsense"] {
        desk.ask_proof(account, "wrong");
        desk.idle();
        desk.pass(limits::DENIAL_MS - 1);
        assert_eq!(desk.verified(), None, "{account}");
        desk.pass(1);
        assert_eq!(desk.verified(), Some(Err(DENIED)), "{account}");
        // What takes longer than that is answered at the next of these times.
        desk.ask_proof(account, "wrong");
        desk.turn();
        desk.pass(limits::DENIAL_MS + 7);
        desk.idle();
        desk.pass(limits::DENIAL_MS - 8);
        assert_eq!(desk.verified(), None, "{account}");
        desk.pass(1);
        assert_eq!(desk.verified(), Some(Err(DENIED)), "{account}");
    }
}

#[test]
fn the_secrets_of_every_resource_and_the_newest_are_tried() {
    let mut desk = Desk::new();
    let main = desk.secret.clone();
    let bound: Vec<IssuedSecret> = desk.write(|w| {
        let name = |n: usize| format!("dev{n}");
        (0..limits::SECRETS_TRIED_MAX + 1)
            .map(|n| w.add_secret(OWNER, Some(&name(n))))
            .collect()
    });
    desk.proves(SHA256, OWNER, &main).unwrap();
    // Those beyond the eighth are denied by SCRAM, though not by PLAIN.
    for (n, bound) in bound.iter().enumerate() {
        let secret = bound.secret.expose();
        let result = desk.proves(SHA256, OWNER, secret);
        assert_eq!(result.is_ok(), n >= 2, "{n}");
        assert!(desk.login(OWNER, &format!("dev{n}"), secret).is_ok());
    }
    desk.write(|w| w.revoke_secret(bound[5].id));
    desk.proves(SHA256, OWNER, bound[1].secret.expose()).unwrap();
}

#[test]
fn a_secret_bound_to_another_resource_than_the_one_asked_for_is_denied() {
    let mut desk = Desk::new();
    let bound = desk.write(|w| w.add_secret(OWNER, Some("dev")));
    for (resource, good) in [("dev", true), ("other", false)] {
        let proof = desk.proof(SHA256, OWNER, bound.secret.expose());
        desk.ask_with(PEER, OWNER, Some(resource), proof);
        assert_eq!(desk.settled().is_ok(), good);
    }
}

#[test]
fn a_secret_that_was_revoked_is_denied_though_its_keys_were_remembered() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    let bound = desk.write(|w| w.add_secret(OWNER, Some("dev")));
    desk.proves(SHA256, OWNER, bound.secret.expose()).unwrap();
    desk.proves(SHA256, OWNER, &secret).unwrap();
    assert_eq!(desk.engine.scram_keys.len(), 2);
    desk.write(|w| w.revoke_secret(bound.id));
    assert_eq!(desk.changes().len(), 1);
    assert_eq!(desk.engine.scram_keys.len(), 1, "forgotten");
    assert_eq!(desk.proves(SHA256, OWNER, bound.secret.expose()), Err(DENIED));
    desk.write(|w| w.revoke_account(OWNER));
    assert_eq!(desk.changes().len(), 1);
    assert_eq!(desk.proves(SHA256, OWNER, &secret), Err(DENIED));
    let again = desk.write(|w| w.add_account("etest", uid(), Role::Owner)).secret;
    assert_eq!(desk.proves(SHA256, OWNER, &secret), Err(DENIED));
    desk.proves(SHA256, OWNER, again.expose()).unwrap();
}

#[test]
fn a_secret_revoked_while_its_keys_are_derived_is_denied_after_that_was_told() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    desk.ask_proof(OWNER, &secret);
    assert_eq!(desk.verified(), None);
    desk.write(|w| w.revoke_account(OWNER));
    let mut told = Vec::new();
    for _ in 0..10_000 {
        told.extend(desk.told());
        if told.iter().any(|message| verdict(message).is_some()) {
            break;
        }
        desk.pass(1);
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let [first, second] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(matches!(change(first), Some(Change::AccountRevoked { .. })));
    assert_eq!(verdict(second).unwrap().result, Err(DENIED));
}

#[test]
fn wrong_proofs_are_throttled_and_challenges_are_not() {
    let mut desk = Desk::new();
    for _ in 0..limits::LOGIN_FAILURES_PER_WINDOW_MAX {
        desk.challenge(OWNER);
        assert_eq!(desk.proves(SHA256, OWNER, "wrong"), Err(DENIED));
    }
    desk.challenge(OWNER);
    desk.ask_proof(OWNER, "wrong");
    assert_eq!(desk.verified(), None);
    desk.pass(limits::THROTTLE_SPACING_MS - 1);
    assert_eq!(desk.verified(), None);
    desk.pass(1);
    // Its turn: the slow work, and the time of a denial from here.
    desk.idle();
    desk.pass(limits::DENIAL_MS);
    assert_eq!(desk.verified(), Some(Err(DENIED)));
    assert_eq!(desk.port.metrics().throttled.get(), 1);
    desk.ask(OWNER, "r", "wrong");
    assert_eq!(desk.verified(), None, "passwords of the same guesser wait, too");
}

#[test]
fn while_throttled_a_derived_secret_is_let_in_at_once_and_a_chosen_one_waits() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    let user = user();
    let weak = ChosenSecret::new("hunter2", true).unwrap();
    desk.write(|w| w.add_account_with("etest", uid(), Role::User, &weak));
    desk.fail_by_password(OWNER);
    // Its keys are not at hand yet; no time passes until they are.
    let before = desk.now;
    desk.ask_proof(OWNER, &secret);
    let mut result = None;
    for _ in 0..10_000 {
        result = desk.verified();
        if result.is_some() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert!(result.unwrap().is_ok());
    assert_eq!(desk.now, before);
    desk.proves_at_once(SHA256, OWNER, &secret);

    desk.fail_by_password(&user);
    desk.ask_proof(&user, "hunter2");
    assert_eq!(desk.verified(), None);
    desk.pass(limits::THROTTLE_SPACING_MS);
    assert!(desk.verified().unwrap().is_ok());
}

#[test]
fn while_throttled_a_wrong_proof_is_answered_at_its_turn_whether_keys_were_derived_or_not() {
    let mut desk = Desk::new();
    let user = user();
    for account in [OWNER, &user] {
        desk.fail_by_password(account);
        desk.ask_proof(account, "wrong");
        assert_eq!(desk.verified(), None);
        if account == OWNER {
            desk.idle();
        }
        let before = desk.engine.work();
        desk.pass(limits::THROTTLE_SPACING_MS - 1);
        assert_eq!(desk.verified(), None);
        assert_eq!(desk.engine.work(), before, "{account}");
        desk.pass(1);
        desk.idle();
        assert_eq!((desk.engine.work() - before).slow_hashes, 1, "{account}");
        desk.pass(limits::DENIAL_MS);
        assert_eq!(desk.verified(), Some(Err(DENIED)), "{account}");
    }
}

#[test]
fn a_burst_of_wrong_proofs_is_throttled_before_most_of_it_is_computed() {
    const BURST: usize = 200;
    let mut desk = Desk::new();
    for _ in 0..BURST {
        desk.ask_proof(OWNER, "wrong");
    }
    desk.verdicts(BURST);
    let computed = desk.engine.work().slow_hashes;
    // Those that were under way when the tenth failed, and those that got a turn.
    let turns = limits::THROTTLE_DELAY_MS_MAX / limits::THROTTLE_SPACING_MS;
    let most = u64::from(limits::LOGIN_FAILURES_PER_WINDOW_MAX) + 8 + turns;
    assert!(computed <= most, "{computed}");
}

#[test]
fn a_storm_of_right_proofs_is_derived_a_few_times_only() {
    const STORM: usize = 200;
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    for _ in 0..STORM {
        desk.ask_proof(OWNER, &secret);
    }
    let verdicts = desk.verdicts(STORM);
    assert!(verdicts.iter().all(Result::is_ok));
    let computed = desk.engine.work().slow_hashes;
    assert!(computed <= limits::SLOW_UNDER_WAY_MAX as u64, "{computed}");
}

#[test]
fn more_than_can_wait_for_the_slow_threads_is_not_decided() {
    let mut desk = Desk::new();
    let many = limits::SLOW_QUEUE_MAX + 2 * limits::LOGINS_PER_BATCH_MAX;
    let mut undecided = 0;
    for n in 0..many {
        // Each from another account, so that none is throttled.
        let proof = LoginProof::Scram {
            hash: SHA256,
            auth_message: AUTH_MESSAGE.into(),
            client_proof: [7; 32].into(),
        };
        desk.ask_with(PEER, &format!("etest-{n:024x}-user"), None, proof);
        if n % limits::LOGINS_PER_BATCH_MAX == 0 {
            let told = desk.told();
            undecided += told
                .iter()
                .filter_map(verdict)
                .filter(|verdict| verdict.result == Err(LoginFailure::Unavailable))
                .count();
        }
    }
    assert!(undecided > 0);
    assert!(desk.engine.backlog.len() <= limits::SLOW_QUEUE_MAX);
    // Passwords do not wait for them.
    let secret = desk.secret.clone();
    desk.ask(OWNER, "r", &secret);
    let found = (0..16)
        .flat_map(|_| desk.told())
        .filter_map(|m| verdict(&m))
        .any(|v| v.result.is_ok());
    assert!(found);
}

#[test]
fn a_database_that_fails_makes_proofs_undecided() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    for _ in 0..2 * limits::SLOW_UNDER_WAY_MAX {
        desk.ask_proof(OWNER, &secret);
    }
    desk.turn();
    let path = desk.dir.path().join("nexus.db");
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch("ALTER TABLE secret RENAME TO hidden; ALTER TABLE change RENAME TO hidden_too")
        .unwrap();
    let verdicts = desk.verdicts(2 * limits::SLOW_UNDER_WAY_MAX);
    assert!(
        verdicts
            .iter()
            .all(|result| *result == Err(LoginFailure::Unavailable))
    );
    assert_eq!(desk.engine.scram_keys.get(CredentialId(2), SHA256), None);
}
