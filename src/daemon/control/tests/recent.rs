//! Logins that cost no look-up, and turns that are spared.

use super::{Desk, OWNER};
use crate::limits;
use crate::session::LoginFailure;

const DENIED: LoginFailure = LoginFailure::Denied;

#[test]
fn a_login_that_was_right_lately_costs_no_look_up_until_something_changes() {
    let mut desk = Desk::new();
    let main = desk.secret.clone();
    let bound = desk.write(|w| w.add_secret(OWNER, Some("dev")));
    let bound_secret = bound.secret.expose();
    let looked_up = |desk: &mut Desk, resource: &str, secret: &str| {
        let before = desk.engine.work();
        let grants = desk.login(OWNER, resource, secret);
        let work = desk.engine.work() - before;
        assert_eq!(work.macs, 1);
        (grants.map(|grants| grants.credential), work.hits + work.misses)
    };
    let (main_id, first) = looked_up(&mut desk, "dev", &main);
    assert_eq!(first, 1);
    assert_eq!(looked_up(&mut desk, "other", &main), (main_id, 0));
    assert_eq!(looked_up(&mut desk, "dev", bound_secret), (Ok(bound.id), 1));
    assert_eq!(looked_up(&mut desk, "dev", bound_secret), (Ok(bound.id), 0));
    assert_eq!(looked_up(&mut desk, "other", bound_secret), (Err(DENIED), 1));
    assert_eq!(looked_up(&mut desk, "dev", "wrong"), (Err(DENIED), 1));
    // In one turn with the login that follows it.
    desk.write(|w| w.revoke_secret(bound.id));
    assert_eq!(looked_up(&mut desk, "dev", bound_secret), (Err(DENIED), 1));
    assert_eq!(looked_up(&mut desk, "dev", &main), (main_id, 1));
    assert_eq!(looked_up(&mut desk, "dev", &main), (main_id, 0));
    desk.write(|w| w.remove_app("etest"));
    assert_eq!(looked_up(&mut desk, "dev", &main), (Err(DENIED), 1));
}

#[test]
fn a_turn_is_due_for_logins_and_for_the_next_look_at_changes_alone() {
    let mut desk = Desk::new();
    assert!(desk.engine.is_due(desk.now));
    desk.turn();
    assert!(!desk.engine.is_due(desk.now));
    let secret = desk.secret.clone();
    desk.ask(OWNER, "r", &secret);
    assert!(desk.engine.is_due(desk.now));
    desk.turn();
    assert!(!desk.engine.is_due(desk.now));
    desk.pass(limits::CHANGE_POLL_MS);
    assert!(desk.engine.is_due(desk.now));
}
