//! Logins and changes, one turn at a time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Desk, OWNER, UID, change, uid, verdict};
use crate::daemon::control::{ChosenSecret, ControlMessage, ServiceKind, TokenKeys};
use crate::limits;
use crate::route::{AppPolicy, Change, CredentialId, DirectPolicy, Role, Service, Uid};
use crate::session::LoginFailure;
use crate::store::verify::Work;

const DENIED: LoginFailure = LoginFailure::Denied;

#[test]
fn the_right_secret_logs_in_under_any_resource() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    for resource in ["r", "other.resource"] {
        let grants = desk.login(OWNER, resource, &secret).unwrap();
        assert_ne!(grants.credential, CredentialId::NONE);
        assert_eq!((grants.services, grants.expires_unix_ms), (vec![], None));
    }
}

#[test]
fn a_wrong_secret_an_unknown_account_and_a_name_that_is_none_are_denied_alike() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    let unknown = format!("etest-{UID}-user");
    for (account, password) in [
        (OWNER, "wrong"),
        (OWNER, ""),
        (unknown.as_str(), secret.as_str()),
        ("", secret.as_str()),
        ("\u{1}", secret.as_str()),
        ("not an account", secret.as_str()),
    ] {
        assert_eq!(desk.login(account, "r", password), Err(DENIED), "{account}");
    }
    assert_eq!(desk.port.metrics().denied.get(), 6);
}

#[test]
fn every_denial_costs_the_same_look_ups_and_macs() {
    let mut desk = Desk::new();
    let bound = format!("etest-{UID}-partner");
    desk.write(|w| {
        w.add_account("etest", uid(), Role::Partner)?;
        w.add_secret(&bound, Some("r"))
    });
    let unknown = format!("etest-{UID}-user");
    let mut cost = |account: &str| {
        let before = desk.engine.work();
        assert_eq!(desk.login(account, "r", "wrong"), Err(DENIED));
        desk.engine.work() - before
    };
    let expected = Work {
        macs: 1,
        comparisons: 8,
        misses: 1,
        ..Work::default()
    };
    for account in [OWNER, &bound, &unknown, "", "nonsense"] {
        assert_eq!(cost(account), expected, "{account}");
    }
}

#[test]
fn a_secret_bound_to_a_resource_logs_in_under_that_resource_alone() {
    let mut desk = Desk::new();
    let bound = desk.write(|w| w.add_secret(OWNER, Some("Dev.1")));
    let secret = bound.secret.expose();
    assert_eq!(desk.login(OWNER, "Dev.1", secret).unwrap().credential, bound.id);
    for other in ["dev.1", "Dev.2", "Dev.1 "] {
        assert_eq!(desk.login(OWNER, other, secret), Err(DENIED));
    }
}

#[test]
fn explore_and_service_secrets_log_nobody_in() {
    let mut desk = Desk::new();
    let (explore, service) = desk.write(|w| {
        w.grant_service(uid(), "etest", ServiceKind::Get, None)?;
        Ok((w.explore_secret("etest")?, w.service_secret(uid(), "etest")?))
    });
    for secret in [explore, service] {
        assert_eq!(desk.login(OWNER, "r", secret.secret.expose()), Err(DENIED));
    }
}

#[test]
fn a_revoked_account_is_told_and_comes_back_with_another_secret() {
    let mut desk = Desk::new();
    let old = desk.secret.clone();
    desk.write(|w| w.revoke_account(OWNER));
    let told = Change::AccountRevoked {
        account: OWNER.into(),
    };
    assert_eq!(desk.changes(), [told]);
    assert_eq!(desk.login(OWNER, "r", &old), Err(DENIED));
    let again = desk.write(|w| w.add_account("etest", uid(), Role::Owner)).secret;
    assert_ne!(again.expose(), old);
    assert!(desk.login(OWNER, "r", again.expose()).is_ok());
    assert_eq!(desk.login(OWNER, "r", &old), Err(DENIED));
}

#[test]
fn a_revoked_secret_is_told_and_the_others_of_the_account_stay() {
    let mut desk = Desk::new();
    let main = desk.secret.clone();
    let bound = desk.write(|w| w.add_secret(OWNER, Some("dev")));
    desk.write(|w| w.revoke_secret(bound.id));
    assert_eq!(
        desk.changes(),
        [Change::CredentialRevoked { credential: bound.id }]
    );
    assert_eq!(desk.login(OWNER, "dev", bound.secret.expose()), Err(DENIED));
    assert!(desk.login(OWNER, "dev", &main).is_ok());
}

#[test]
fn a_change_is_told_before_every_verdict_that_knows_of_it() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    desk.ask(OWNER, "r", &secret);
    desk.turn();
    // The first verdict is in the inbox when the account is revoked and added again.
    let again = desk.write(|w| {
        w.revoke_account(OWNER)?;
        Ok(w.add_account("etest", uid(), Role::Owner)?.secret)
    });
    desk.ask(OWNER, "r", again.expose());
    let told = desk.told();
    let [first, revoked, second] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(verdict(first).unwrap().result.is_ok());
    assert!(matches!(change(revoked), Some(Change::AccountRevoked { .. })));
    assert!(verdict(second).unwrap().result.is_ok());
}

#[test]
fn services_come_with_the_login_and_their_changes_are_told() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    let expires = Some(desk.now.unix_ms + 5_000);
    let services = vec![Service {
        app: "etest".into(),
        expires_unix_ms: expires,
    }];
    desk.write(|w| w.grant_service(uid(), "etest", ServiceKind::Purchase, expires));
    let granted = Change::Services {
        uid: uid(),
        services: services.clone(),
    };
    assert_eq!(desk.changes(), [granted]);
    assert_eq!(desk.login(OWNER, "r", &secret).unwrap().services, services);
    desk.write(|w| w.revoke_service(uid(), "etest"));
    let gone = Change::Services {
        uid: uid(),
        services: vec![],
    };
    assert_eq!(desk.changes(), [gone]);
    assert_eq!(desk.login(OWNER, "r", &secret).unwrap().services, []);
}

#[test]
fn policies_and_removals_of_apps_are_told() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    desk.write(|w| w.set_app("etest", Some(true), Some(DirectPolicy::Entitled)));
    let policy = AppPolicy {
        open: true,
        direct: DirectPolicy::Entitled,
    };
    let app = Change::App {
        name: "etest".into(),
        policy,
    };
    assert_eq!(desk.changes(), [app]);
    desk.write(|w| w.grant_service(uid(), "etest", ServiceKind::Get, None));
    assert_eq!(desk.changes().len(), 1);
    desk.write(|w| w.remove_app("etest"));
    let removed = Change::AppRemoved { name: "etest".into() };
    let services = Change::Services {
        uid: uid(),
        services: vec![],
    };
    assert_eq!(desk.changes(), [removed, services]);
    assert_eq!(desk.login(OWNER, "r", &secret), Err(DENIED));
}

#[test]
fn changes_go_to_every_shard_and_wake_it() {
    let mut desk = Desk::with(3, 64, TokenKeys::default());
    (1..3).for_each(|shard| assert_eq!(desk.take_all(shard).len(), 2));
    let before = desk.woken.load(Ordering::Relaxed);
    desk.write(|w| w.revoke_account(OWNER));
    desk.turn();
    for shard in 0..3 {
        assert_eq!(desk.take_all(shard).len(), 1);
    }
    assert_eq!(desk.woken.load(Ordering::Relaxed), before + 3);
}

#[test]
fn a_full_inbox_loses_nothing_and_keeps_the_order() {
    let mut desk = Desk::with(1, 2, TokenKeys::default());
    let secret = desk.secret.clone();
    let mut asked: Vec<_> = (0..3).map(|_| desk.ask(OWNER, "r", &secret)).collect();
    desk.turn();
    desk.write(|w| w.revoke_account(OWNER));
    asked.push(desk.ask(OWNER, "r", &secret));
    assert_eq!(desk.turn(), Duration::from_millis(limits::CONTROL_RETRY_MS));
    let mut told = Vec::new();
    for _ in 0..8 {
        told.extend(desk.take_all(0));
        desk.turn();
    }
    let sessions: Vec<_> = told.iter().filter_map(verdict).map(|v| v.session).collect();
    assert_eq!(sessions, asked);
    assert!(change(&told[3]).is_some(), "{told:?}");
    assert_eq!(told.len(), 5);
}

#[test]
fn a_full_login_queue_gives_the_request_back() {
    let port = crate::daemon::control::ControlPort::new(1, 1, 1);
    let mut desk = Desk::new();
    desk.ask(OWNER, "r", "x");
    let request = desk.port.next_login().unwrap();
    assert!(port.login(request.clone()).is_ok());
    let back = port.login(request.clone()).err().unwrap();
    assert_eq!(back.account, request.account);
    assert!(back.proof == request.proof);
    port.next_login().unwrap();
    port.ended();
    assert!(port.login(request).is_err());
}

#[test]
fn after_ten_failures_answers_are_delayed() {
    let mut desk = Desk::new();
    for _ in 0..10 {
        assert_eq!(desk.login(OWNER, "r", "guess"), Err(DENIED));
    }
    desk.ask(OWNER, "r", "guess");
    assert_eq!(desk.verdict(), None);
    desk.ask(OWNER, "r", "guess");
    assert_eq!(desk.verdict(), None);
    desk.ask_from("192.0.2.2", OWNER, "r", "guess");
    assert_eq!(
        desk.verdict(),
        Some(Err(DENIED)),
        "another address is not delayed"
    );
    desk.pass(limits::THROTTLE_SPACING_MS - 1);
    assert_eq!(desk.verdict(), None);
    desk.pass(1);
    assert_eq!(desk.verdict(), Some(Err(DENIED)));
    desk.pass(limits::THROTTLE_SPACING_MS);
    assert_eq!(desk.verdict(), Some(Err(DENIED)));
    assert_eq!(desk.port.metrics().throttled.get(), 2);
}

#[test]
fn a_flood_of_wrong_secrets_does_not_lock_out_the_derived_one() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    for _ in 0..1_000 {
        desk.ask(OWNER, "r", "guess");
    }
    while desk.port.logins_waiting() > 0 {
        desk.turn();
    }
    desk.told();
    assert!(desk.login(OWNER, "r", &secret).is_ok());
    let weak = ChosenSecret::new("hunter2", true).unwrap();
    let user = format!("etest-{UID}-user");
    desk.write(|w| w.add_account_with("etest", uid(), Role::User, &weak));
    for _ in 0..10 {
        assert_eq!(desk.slow_login(&user, "r", "guess"), Err(DENIED));
    }
    desk.ask(&user, "r", "hunter2");
    assert_eq!(
        desk.verdict(),
        None,
        "what can be guessed is delayed, right or wrong"
    );
}

#[test]
fn a_delayed_login_is_decided_by_what_is_valid_when_it_is_answered() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    desk.write(|w| w.revoke_account(OWNER));
    for _ in 0..10 {
        assert_eq!(desk.login(OWNER, "r", "guess"), Err(DENIED));
    }
    let chosen = ChosenSecret::new("correct horse battery staple 1234", false).unwrap();
    desk.ask(OWNER, "r", "correct horse battery staple 1234");
    assert_eq!(desk.verdict(), None);
    desk.ask(OWNER, "r", &secret);
    assert_eq!(desk.verdict(), None);
    desk.write(|w| w.add_account_with("etest", uid(), Role::Owner, &chosen));
    desk.pass(limits::THROTTLE_SPACING_MS);
    assert!(desk.verdict().unwrap().is_ok());
    desk.pass(limits::THROTTLE_SPACING_MS);
    assert_eq!(desk.verdict(), Some(Err(DENIED)));
}

#[test]
fn guesses_beyond_the_longest_delay_are_answered_undecided() {
    let mut desk = Desk::new();
    for _ in 0..10 {
        assert_eq!(desk.login(OWNER, "r", "guess"), Err(DENIED));
    }
    let fit = limits::THROTTLE_DELAY_MS_MAX / limits::THROTTLE_SPACING_MS;
    (0..=fit).for_each(|_| {
        desk.ask(OWNER, "r", "guess");
    });
    desk.turn();
    desk.pass(limits::THROTTLE_DELAY_MS_MAX);
    let verdicts: Vec<_> = desk.told().iter().filter_map(verdict).map(|v| v.result).collect();
    let (decided, undecided): (Vec<_>, Vec<_>) = verdicts.into_iter().partition(|one| *one == Err(DENIED));
    assert_eq!(decided.len() as u64, fit);
    assert_eq!(undecided, [Err(LoginFailure::Unavailable)]);
}

#[test]
fn a_chosen_secret_logs_in_on_the_fast_path() {
    let mut desk = Desk::new();
    let text = "correct horse battery staple 1234";
    let chosen = ChosenSecret::new(text, false).unwrap();
    let user = format!("etest-{UID}-user");
    desk.write(|w| w.add_account_with("etest", uid(), Role::User, &chosen));
    assert!(desk.login(&user, "r", text).is_ok());
    assert_eq!(desk.login(&user, "r", &text[1..]), Err(DENIED));
}

#[test]
fn a_weak_secret_logs_in_by_way_of_the_slow_threads() {
    let mut desk = Desk::new();
    let chosen = ChosenSecret::new("hunter2", true).unwrap();
    let user = format!("etest-{UID}-user");
    desk.write(|w| w.add_account_with("etest", uid(), Role::User, &chosen));
    assert!(desk.slow_login(&user, "r", "hunter2").is_ok());
    assert_eq!(desk.slow_login(&user, "r", "hunter3"), Err(DENIED));
}

#[test]
fn while_weak_secrets_exist_every_denial_takes_equally_long() {
    let mut desk = Desk::new();
    let chosen = ChosenSecret::new("hunter2", true).unwrap();
    desk.write(|w| w.add_account_with("etest", uid(), Role::User, &chosen));
    desk.turn();
    for account in [OWNER, "etest-ffffffffffffffffffffffff-user", "nonsense"] {
        desk.ask(account, "r", "wrong");
        assert_eq!(desk.verdict(), None);
        desk.pass(limits::DENIAL_MS - 1);
        assert_eq!(desk.verdict(), None);
        desk.pass(1);
        assert_eq!(desk.verdict(), Some(Err(DENIED)));
    }
    let secret = desk.secret.clone();
    assert!(desk.login(OWNER, "r", &secret).is_ok(), "not delayed");
}

#[test]
fn a_secret_revoked_while_its_slow_proof_is_under_way_is_denied() {
    let mut desk = Desk::new();
    let chosen = ChosenSecret::new("hunter2", true).unwrap();
    let user = format!("etest-{UID}-user");
    desk.write(|w| w.add_account_with("etest", uid(), Role::User, &chosen));
    desk.ask(&user, "r", "hunter2");
    assert_eq!(desk.verdict(), None);
    desk.write(|w| w.revoke_account(&user));
    let mut told = Vec::new();
    for _ in 0..1_000 {
        told.extend(desk.told());
        if told.iter().any(|message| verdict(message).is_some()) {
            break;
        }
        desk.pass(1);
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let [first, second] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(matches!(change(first), Some(Change::AccountRevoked { .. })));
    assert_eq!(verdict(second).unwrap().result, Err(DENIED));
}

#[test]
fn many_changes_are_told_in_order_over_several_turns() {
    let mut desk = Desk::with(1, 4_096, TokenKeys::default());
    let many = u64::try_from(limits::CHANGES_PER_BATCH_MAX).unwrap() + 10;
    let user = |n: u64| Uid::parse(&format!("{n:024x}")).unwrap();
    desk.write(|w| {
        for n in 0..many {
            w.grant_service(user(n), "etest", ServiceKind::Get, None)?;
        }
        Ok(())
    });
    desk.ask(OWNER, "r", "wrong");
    assert_eq!(desk.turn(), Duration::ZERO);
    desk.turn();
    let told = desk.take_all(0);
    let order: Vec<_> = told
        .iter()
        .filter_map(change)
        .map(|change| match change {
            Change::Services { uid, .. } => uid,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, (0..many).map(user).collect::<Vec<_>>());
    assert!(matches!(told.last(), Some(ControlMessage::Verdict(_))));
}

#[test]
fn told_changes_are_pruned_from_the_log_after_a_while() {
    let mut desk = Desk::new();
    let rows = |desk: &Desk| -> i64 {
        let path = desk.dir.path().join("nexus.db");
        let connection = rusqlite::Connection::open(path).unwrap();
        connection
            .query_row("SELECT count(*) FROM change", [], |row| row.get(0))
            .unwrap()
    };
    desk.write(|w| w.revoke_account(OWNER));
    assert_eq!(desk.changes().len(), 1);
    assert_eq!(rows(&desk), 2);
    desk.pass(limits::CHANGE_KEPT_MS + 60_000);
    desk.turn();
    assert_eq!(rows(&desk), 0);
    desk.write(|w| w.add_app("later", None, None));
    assert_eq!(desk.changes().len(), 1, "numbers are not used again");
}

#[test]
fn a_database_that_fails_makes_logins_undecided_until_it_answers_again() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    let path = desk.dir.path().join("nexus.db");
    let rename = |from: &str, to: &str| {
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute_batch(&sql)
            .unwrap();
    };
    rename("secret", "hidden");
    assert_eq!(desk.login(OWNER, "r", &secret), Err(LoginFailure::Unavailable));
    assert!(!desk.port.is_healthy());
    rename("change", "hidden_too");
    rename("hidden", "secret");
    assert_eq!(desk.login(OWNER, "r", &secret), Err(LoginFailure::Unavailable));
    assert!(!desk.port.is_healthy());
    rename("hidden_too", "change");
    assert!(desk.login(OWNER, "r", &secret).is_ok());
    assert!(desk.port.is_healthy());
    assert!(desk.port.metrics().faults.get() >= 2);
}
