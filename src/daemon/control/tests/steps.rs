//! Logins in two steps: the account is proven before its resource is known, and confirmed when it is.

use super::{Desk, OWNER, UID, admitted, uid};
use crate::daemon::control::{ChosenSecret, ServiceKind};
use crate::limits;
use crate::route::{CredentialId, Role, Service};
use crate::session::LoginFailure;
use crate::store::verify::Work;
use crate::store::{Admitted, LoginProof};

const DENIED: LoginFailure = LoginFailure::Denied;
const PEER: &str = "192.0.2.1";

fn password(text: &str) -> LoginProof {
    LoginProof::Password(text.as_bytes().into())
}

impl Desk {
    /// The first step.
    fn shows(&mut self, account: &str, secret: &str) -> Result<Admitted, LoginFailure> {
        self.ask_with(PEER, account, None, password(secret));
        self.settled().map(admitted)
    }

    /// The second step.
    fn confirms(
        &mut self,
        account: &str,
        resource: &str,
        credential: CredentialId,
        expires_unix_ms: Option<u64>,
    ) -> Result<Admitted, LoginFailure> {
        let proof = LoginProof::Proven {
            credential,
            expires_unix_ms,
        };
        self.ask_with(PEER, account, Some(resource), proof);
        self.verified().expect("decided in one turn").map(admitted)
    }
}

#[test]
fn a_secret_of_any_resource_proves_the_account_and_tells_what_it_is_bound_to() {
    let mut desk = Desk::new();
    let main = desk.secret.clone();
    let bound = desk.write(|w| w.add_secret(OWNER, Some("Dev.1")));
    let shown = desk.shows(OWNER, &main).unwrap();
    assert_eq!(shown.bound_resource, None);
    assert!(shown.server_signature.is_empty());
    let shown = desk.shows(OWNER, bound.secret.expose()).unwrap();
    assert_eq!(shown.bound_resource.as_deref(), Some("Dev.1"));
    assert_eq!(shown.grants.credential, bound.id);
    let user = format!("etest-{UID}-user");
    desk.write(|w| w.add_account("etest", uid(), Role::User));
    for (account, secret) in [(&*user, &*main), (OWNER, "wrong"), ("", &main)] {
        assert_eq!(desk.shows(account, secret), Err(DENIED));
    }
    desk.write(|w| w.revoke_secret(bound.id));
    assert_eq!(desk.shows(OWNER, bound.secret.expose()), Err(DENIED));
}

#[test]
fn a_weak_secret_proves_the_account_by_way_of_the_slow_threads() {
    let mut desk = Desk::new();
    let user = format!("etest-{UID}-user");
    let weak = ChosenSecret::new("hunter2", true).unwrap();
    desk.write(|w| w.add_account_with("etest", uid(), Role::User, &weak));
    let shown = desk.shows(&user, "hunter2").unwrap();
    assert_eq!(shown.bound_resource, None);
    assert_eq!(desk.shows(&user, "hunter3"), Err(DENIED));
    assert_eq!(desk.engine.work().slow_hashes, 2);
}

#[test]
fn thousands_of_bound_secrets_cost_what_one_secret_costs() {
    const DEVICES: usize = 3_000;
    let mut desk = Desk::new();
    let partner = format!("etest-{UID}-partner");
    let secrets: Vec<String> = desk.write(|w| {
        w.add_account("etest", uid(), Role::Partner)?;
        (0..DEVICES)
            .map(|n| {
                let bound = w.add_secret(&partner, Some(&format!("dev{n}")))?;
                Ok(bound.secret.expose().to_owned())
            })
            .collect()
    });
    for n in [0, 1, DEVICES / 2, DEVICES - 1] {
        let shown = desk.shows(&partner, &secrets[n]).unwrap();
        assert_eq!(shown.bound_resource, Some(format!("dev{n}").into()));
    }
    let unknown = format!("etest-{UID}-user");
    let expected = Work {
        macs: 1,
        comparisons: 8,
        misses: 1,
        ..Work::default()
    };
    for account in [&*partner, OWNER, &unknown, ""] {
        let before = desk.engine.work();
        assert_eq!(desk.shows(account, "wrong"), Err(DENIED));
        assert_eq!(desk.engine.work() - before, expected, "{account}");
    }
}

#[test]
fn what_was_proven_is_confirmed_with_the_services_of_that_moment() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    let shown = desk.shows(OWNER, &secret).unwrap();
    assert_eq!(shown.grants.services, []);
    desk.write(|w| w.grant_service(uid(), "etest", ServiceKind::Get, None));
    desk.turn();
    desk.take_all(0);
    let confirmed = desk.confirms(OWNER, "r", shown.grants.credential, None).unwrap();
    let services = vec![Service {
        app: "etest".into(),
        expires_unix_ms: None,
    }];
    assert_eq!(confirmed.grants.services, services);
    assert_eq!(confirmed.grants.credential, shown.grants.credential);
    assert_eq!(desk.port.metrics().accepted.get(), 1, "one login, in two steps");
}

#[test]
fn what_was_revoked_between_the_two_steps_is_not_confirmed() {
    let mut desk = Desk::new();
    let bound = desk.write(|w| w.add_secret(OWNER, Some("dev")));
    let shown = desk.shows(OWNER, bound.secret.expose()).unwrap();
    desk.write(|w| w.revoke_secret(bound.id));
    desk.turn();
    desk.take_all(0);
    let again = desk.confirms(OWNER, "dev", shown.grants.credential, None);
    assert_eq!(again, Err(DENIED));

    let secret = desk.secret.clone();
    let shown = desk.shows(OWNER, &secret).unwrap();
    desk.write(|w| {
        w.revoke_account(OWNER)?;
        w.add_account("etest", uid(), Role::Owner)
    });
    desk.turn();
    desk.take_all(0);
    let again = desk.confirms(OWNER, "r", shown.grants.credential, None);
    assert_eq!(again, Err(DENIED), "another generation");
}

#[test]
fn nothing_is_confirmed_of_an_app_that_was_removed() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    let shown = desk.shows(OWNER, &secret).unwrap();
    let expires = Some(desk.now.unix_ms + 60_000);
    assert!(desk.confirms(OWNER, "r", CredentialId::NONE, expires).is_ok());
    desk.write(|w| w.remove_app("etest"));
    desk.turn();
    desk.take_all(0);
    for credential in [shown.grants.credential, CredentialId::NONE] {
        assert_eq!(desk.confirms(OWNER, "r", credential, expires), Err(DENIED));
    }
}

#[test]
fn only_the_accounts_own_secret_confirms_it_and_only_for_its_resource() {
    let mut desk = Desk::new();
    let user = format!("etest-{UID}-user");
    let (bound, explore) = desk.write(|w| {
        w.add_account("etest", uid(), Role::User)?;
        Ok((
            w.add_secret(OWNER, Some("dev"))?.id,
            w.explore_secret("etest")?.id,
        ))
    });
    let confirmed = desk.confirms(OWNER, "dev", bound, None).unwrap();
    assert_eq!(confirmed.bound_resource.as_deref(), Some("dev"));
    for (account, resource, credential) in [
        (&*user, "dev", bound),
        (OWNER, "Dev", bound),
        (OWNER, "dev", explore),
        (OWNER, "dev", CredentialId(999)),
        ("", "dev", CredentialId(1)),
        ("nonsense", "dev", CredentialId::NONE),
    ] {
        let confirmed = desk.confirms(account, resource, credential, None);
        assert_eq!(confirmed, Err(DENIED), "{account} {credential:?}");
    }
}

#[test]
fn a_proof_that_has_expired_is_not_confirmed() {
    let mut desk = Desk::new();
    let expires = desk.now.unix_ms + 1_000;
    desk.pass(999);
    let confirmed = desk.confirms(OWNER, "r", CredentialId::NONE, Some(expires));
    assert_eq!(confirmed.unwrap().grants.expires_unix_ms, Some(expires));
    desk.pass(1);
    let confirmed = desk.confirms(OWNER, "r", CredentialId::NONE, Some(expires));
    assert_eq!(confirmed, Err(DENIED));
}

#[test]
fn a_confirmation_neither_waits_for_the_throttle_nor_counts_as_a_guess() {
    let mut desk = Desk::new();
    let secret = desk.secret.clone();
    let credential = desk.shows(OWNER, &secret).unwrap().grants.credential;
    for _ in 0..2 * limits::LOGIN_FAILURES_PER_WINDOW_MAX {
        assert_eq!(desk.confirms(OWNER, "r", CredentialId(999), None), Err(DENIED));
    }
    assert_eq!(desk.login(OWNER, "r", "wrong"), Err(DENIED), "not throttled");
    for _ in 0..limits::LOGIN_FAILURES_PER_WINDOW_MAX {
        desk.ask(OWNER, "r", "wrong");
    }
    desk.turn();
    desk.take_all(0);
    assert!(desk.confirms(OWNER, "r", credential, None).is_ok());
}
