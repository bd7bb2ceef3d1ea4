//! Logins in two steps, and proofs anew of sessions that are attached.

use super::*;
use crate::store::{Admitted, LoginProof};

/// The proof of the request that waits, then what the control thread says to it.
fn admitted(bound: Option<&str>) -> Verified {
    Verified::Account(Box::new(Admitted {
        grants: grants(),
        bound_resource: bound.map(Into::into),
        server_signature: Box::from(*b"v"),
    }))
}

#[test]
fn a_login_in_two_steps_proves_the_account_then_takes_an_address() {
    let mut world = World::new();
    world.open(1);
    assert_eq!(world.send(1, &format!("prove {ALICE}\n")).next, Next::Hold);
    let request = &world.machine.logins[0];
    assert_eq!((&*request.account, request.resource.as_deref()), (ALICE, None));
    let challenge = Verified::Challenge {
        salt: [7; 16],
        iterations: 4_096,
    };
    world.decided(Ok(challenge));
    assert!(world.heard(1).starts_with("proven: Ok(Challenge"));
    world.send(1, &format!("prove {ALICE}\n"));
    world.decided(Ok(admitted(None)));
    assert_eq!(
        world.heard(1),
        "proven: Ok(Account { server_signature: [118] })\n"
    );
    assert_eq!(world.send(1, "bind w1\n").next, Next::Hold);
    let request = &world.machine.logins[0];
    assert_eq!(request.resource.as_deref(), Some("w1"));
    let proof = LoginProof::Proven {
        credential: grants().credential,
        expires_unix_ms: None,
    };
    assert!(request.proof == proof, "what was proven is asked about again");
    world.verdict(Ok(grants()));
    assert_eq!(world.heard(1), format!("you are {ALICE}/w1\n"));
    assert_eq!(world.send(1, "sub a\n").next, Next::Need(1));
}

#[test]
fn a_failed_proof_leaves_the_connection_for_another() {
    let mut world = World::new();
    world.open(1);
    world.send(1, &format!("prove {ALICE}\n"));
    world.decided(Err(LoginFailure::Denied));
    assert_eq!(world.heard(1), "proven: Err(Denied)\n");
    assert!(!world.is_closed(1));
    world.machine.logins_full = true;
    world.send(1, &format!("prove {ALICE}\n"));
    assert_eq!(world.heard(1), "proven: Err(Unavailable)\n");
    assert!(!world.is_closed(1));
}

#[test]
fn nobody_takes_an_address_without_a_proof_or_with_one_that_is_good_no_more() {
    for (steps, told) in [
        (vec!["bind w1"], "no: Denied\n"),
        (vec!["prove", "bind w1"], "no: Denied\n"),
        (vec!["prove", "bind w1", "revoked"], "no: Denied\n"),
    ] {
        let mut world = World::new();
        world.open(1);
        for step in &steps {
            match *step {
                "prove" => {
                    world.send(1, &format!("prove {ALICE}\n"));
                    let result = if steps.len() == 2 {
                        Err(LoginFailure::Denied)
                    } else {
                        Ok(admitted(None))
                    };
                    world.decided(result);
                    world.heard(1);
                }
                "revoked" => world.decided(Err(LoginFailure::Denied)),
                line => drop(world.send(1, &format!("{line}\n"))),
            }
        }
        assert_eq!(world.heard(1), told, "{steps:?}");
        assert!(world.is_closed(1));
    }
}

#[test]
fn a_secret_that_is_bound_to_a_resource_binds_its_session() {
    for (asked, told) in [
        ("pump7", format!("you are {ALICE}/pump7\n")),
        ("", format!("you are {ALICE}/pump7\n")),
        ("pump8", "no: ResourceRefused\n".to_owned()),
    ] {
        let mut world = World::new();
        world.open(1);
        world.send(1, &format!("prove {ALICE}\n"));
        world.decided(Ok(admitted(Some("pump7"))));
        world.heard(1);
        world.send(1, &format!("bind {asked}\n"));
        if !world.machine.logins.is_empty() {
            world.verdict(Ok(grants()));
        }
        assert_eq!(world.heard(1), told, "{asked:?}");
    }
}

#[test]
fn who_asks_to_be_damped_takes_no_part_in_a_fight_for_an_address() {
    let mut world = World::new();
    for conn in 1..=4 {
        world.open(conn);
        world.send(conn, &format!("prove {ALICE}\n"));
        world.decided(Ok(admitted(None)));
        world.heard(conn);
        world.send(conn, "bind w1\n");
        world.verdict(Ok(grants()));
    }
    assert_eq!(world.heard(1), format!("you are {ALICE}/w1\nend: TakenOver\n"));
    assert_eq!(world.heard(3), format!("you are {ALICE}/w1\n"));
    assert_eq!(world.heard(4), "no: Conflict\n");
    assert!(world.is_closed(4) && !world.is_closed(3));
    world.closed(4);
    world.log_in(5, ALICE, "w1");
    assert_eq!(
        world.heard(3),
        "end: TakenOver\n",
        "a login in one step always takes over"
    );
}

const CHALLENGE: Verified = Verified::Challenge {
    salt: [7; 16],
    iterations: 4_096,
};

/// Admitted by this secret.
fn admitted_by(credential: u64, bound: Option<&str>) -> Verified {
    Verified::Account(Box::new(Admitted {
        grants: Grants {
            credential: CredentialId(credential),
            ..grants()
        },
        bound_resource: bound.map(Into::into),
        server_signature: Box::from(*b"v"),
    }))
}

/// A connection that proved itself and took an address without a break.
fn proven_at_once(world: &mut World, conn: u32, resource: &str) {
    world.open(conn);
    world.send(conn, &format!("want {resource}\nprove {ALICE}\n"));
    world.decided(Ok(admitted_by(1, None)));
}

#[test]
fn who_wants_an_address_with_its_proof_gets_it_at_once_and_takes_over_always() {
    let mut world = World::new();
    for conn in 1..=5 {
        proven_at_once(&mut world, conn, "w1");
        assert!(world.machine.logins.is_empty(), "nobody is asked again");
        let told = format!("proven: Ok(Account {{ server_signature: [118] }})\nyou are {ALICE}/w1\n");
        assert_eq!(world.heard(conn), told);
        if conn > 1 {
            assert_eq!(world.heard(conn - 1), "end: TakenOver\n");
        }
    }
}

#[test]
fn each_challenge_has_a_nonce_of_its_own() {
    let mut world = World::new();
    let mut nonces = Vec::new();
    for conn in 1..=2 {
        world.open(conn);
        world.send(conn, &format!("prove {ALICE}\n"));
        world.decided(Ok(CHALLENGE));
        nonces.push(world.heard(conn));
    }
    assert_eq!(nonces[0].len(), "proven: Ok(Challenge )\n".len() + 32);
    assert_ne!(nonces[0], nonces[1]);
}

#[test]
fn a_session_that_has_enough_after_a_failed_proof_is_closed() {
    for result in [Err(LoginFailure::Denied), Ok(admitted_by(1, Some("w2")))] {
        let mut world = World::new();
        world.open(1);
        world.send(1, &format!("want w1\nprove {ALICE}\n"));
        world.decided(result);
        let heard = world.heard(1);
        assert!(
            heard.contains("Denied") || heard.contains("no: ResourceRefused"),
            "{heard}"
        );
        assert!(world.is_closed(1));
        assert_eq!(world.hub.metrics.logins_denied.get(), 1);
        assert_eq!(world.hub.metrics.disconnects(Disconnect::BadCredentials), 0);
        world.closed(1);
        assert!(world.hub.is_empty());
    }
}

#[test]
fn an_attached_session_proves_itself_anew_while_it_sends_and_receives() {
    let mut world = World::new();
    proven_at_once(&mut world, 1, "w1");
    world.send(1, "sub a\n");
    world.heard(1);
    assert_eq!(world.send(1, &format!("prove {ALICE}\n")).next, Next::Need(1));
    let request = &world.machine.logins[0];
    assert_eq!(
        (&*request.account, request.resource.as_deref()),
        (ALICE, Some("w1"))
    );
    assert_eq!(world.send(1, "pub a hi\n").next, Next::Need(1));
    assert!(world.heard(1).contains(&format!("a: hi from {ALICE}/w1\n")));
    world.decided(Ok(CHALLENGE));
    assert!(world.heard(1).starts_with("proven: Ok(Challenge "));
    world.send(1, &format!("prove {ALICE}\n"));
    world.decided(Ok(admitted_by(2, None)));
    assert_eq!(
        world.heard(1),
        "proven: Ok(Account { server_signature: [118] })\n"
    );
    assert_eq!(world.hub.metrics.sessions.get(), 1);
    // It ends with the secret that it was proven by last.
    for (credential, told) in [(1, ""), (2, "end: ProofEnded\n")] {
        let credential = CredentialId(credential);
        let change = Change::CredentialRevoked { credential };
        world.hub.change(&mut world.machine, world.now, &change);
        assert_eq!(world.heard(1), told);
    }
}

#[test]
fn a_proof_anew_that_fails_or_is_of_another_account_ends_the_session_with_its_will() {
    for (account, full, result, told) in [
        (ALICE, false, Some(LoginFailure::Denied), "proven: Err(Denied)\n"),
        (BOB, false, None, "proven: Err(Denied)\n"),
        (ALICE, true, None, "proven: Err(Unavailable)\n"),
    ] {
        let mut world = World::new();
        world.log_in(2, BOB, "b");
        world.send(2, "sub last\n");
        world.heard(2);
        proven_at_once(&mut world, 1, "w1");
        world.send(1, "will last\n");
        world.heard(1);
        world.machine.logins_full = full;
        world.send(1, &format!("prove {account}\n"));
        if let Some(failure) = result {
            world.decided(Err(failure));
        }
        assert!(world.machine.logins.is_empty());
        assert_eq!(world.heard(1), told);
        assert!(world.is_closed(1));
        assert_eq!(world.hub.metrics.disconnects(Disconnect::BadCredentials), 1);
        assert_eq!(world.heard(2), format!("last: gone from {ALICE}/w1\n"));
    }
}

#[test]
fn a_verdict_on_a_proof_anew_reaches_nobody_once_its_session_has_left() {
    let mut world = World::new();
    proven_at_once(&mut world, 1, "w1");
    world.send(1, &format!("prove {ALICE}\n"));
    world.heard(1);
    world.send(1, "bye\n");
    world.decided(Ok(admitted_by(2, None)));
    assert_eq!(world.heard(1), "");
    proven_at_once(&mut world, 2, "w1");
    world.send(2, &format!("prove {ALICE}\n"));
    world.closed(2);
    world.open(3);
    world.decided(Ok(admitted_by(2, None)));
    assert_eq!(
        world.machine.slots[&2], world.machine.slots[&3],
        "the slot is used again"
    );
    assert_eq!(world.heard(3), "");
}

#[test]
fn long_frames_of_an_attached_session_that_may_prove_itself_anew_come_from_no_pool() {
    let mut world = World::new();
    proven_at_once(&mut world, 1, "w1");
    assert_eq!(world.send(1, "long").next, Next::Need(60_000));
    assert_eq!(world.hub.pooled_bytes, 0);
}
