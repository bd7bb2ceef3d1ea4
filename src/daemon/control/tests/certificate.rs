//! Logins with a certificate that the handshake has verified.

use super::{Desk, OWNER, UID, admitted};
use crate::route::{Change, CredentialId};
use crate::session::LoginFailure;
use crate::store::{Admitted, LoginProof};

const DENIED: LoginFailure = LoginFailure::Denied;

impl Desk {
    /// Shows a certificate that is good for another `left_ms`.
    fn shows_certificate(
        &mut self,
        account: &str,
        resource: Option<&str>,
        bound: Option<&str>,
        left_ms: u64,
    ) -> Result<Admitted, LoginFailure> {
        let proof = LoginProof::Certificate {
            resource: bound.map(Into::into),
            expires_unix_ms: self.now.unix_ms + left_ms,
        };
        self.ask_with("192.0.2.1", account, resource, proof);
        self.verified().expect("decided in one turn").map(admitted)
    }
}

#[test]
fn a_certificate_lets_its_account_in_until_it_ends() {
    let mut desk = Desk::new();
    let admitted = desk.shows_certificate(OWNER, Some("w1"), None, 60_000).unwrap();
    assert_eq!(admitted.grants.credential, CredentialId::NONE);
    assert_eq!(admitted.grants.expires_unix_ms, Some(desk.now.unix_ms + 60_000));
    assert_eq!(desk.port.metrics().accepted.get(), 1);
    assert_eq!(desk.shows_certificate(OWNER, Some("w1"), None, 0), Err(DENIED));
    let unknown = format!("etest-{UID}-user");
    for account in [&*unknown, "", "nobody"] {
        assert_eq!(
            desk.shows_certificate(account, Some("w1"), None, 60_000),
            Err(DENIED)
        );
    }
}

#[test]
fn a_certificate_for_one_resource_is_good_for_that_one() {
    let mut desk = Desk::new();
    let bound = Some("pump7");
    for (resource, is_let_in) in [(Some("pump7"), true), (None, true), (Some("pump8"), false)] {
        let shown = desk.shows_certificate(OWNER, resource, bound, 60_000);
        assert_eq!(shown.is_ok(), is_let_in, "{resource:?}");
        if let Ok(admitted) = shown {
            assert_eq!(admitted.bound_resource.as_deref(), bound);
        }
    }
}

#[test]
fn a_revoked_account_is_not_let_in_by_its_certificate() {
    let mut desk = Desk::new();
    assert!(desk.shows_certificate(OWNER, None, None, 60_000).is_ok());
    desk.write(|w| w.revoke_account(OWNER));
    let told = desk.changes();
    assert!(matches!(told[..], [Change::AccountRevoked { .. }]), "{told:?}");
    assert_eq!(desk.shows_certificate(OWNER, None, None, 60_000), Err(DENIED));
}

#[test]
fn certificates_are_not_throttled() {
    let mut desk = Desk::new();
    for _ in 0..30 {
        desk.ask(OWNER, "w1", "wrong");
        desk.turn();
    }
    desk.take_all(0);
    assert!(desk.shows_certificate(OWNER, Some("w1"), None, 60_000).is_ok());
}
