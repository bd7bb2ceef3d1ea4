//! What the bridge asks of the store.

use super::{populated, uid};
use crate::daemon::control::records::{OWNER_LOOK_UP, SHOWN_LOOK_UP};
use crate::daemon::control::{
    Announced, Announcement, ChosenSecret, Credentials, Found, Records, ServiceKind, Wanted, Writer,
};
use crate::limits;
use crate::route::{CredentialId, Ownership, Role, Uid};

const THEIRS: &str = "89abcdef0123456789abcdef";

fn theirs() -> Uid {
    Uid::parse(THEIRS).unwrap()
}

/// What a look-up without, and then with, leave to write comes to.
fn asked<T>(records: &mut Records, ask: impl Fn(&Writer<'_>, bool) -> Found<T>) -> Found<T> {
    match records.read(|w| Ok(ask(w, false))).unwrap() {
        Found::Unwritten => records.write(|w| Ok(ask(w, true))).unwrap(),
        found => found,
    }
}

fn announced(
    records: &mut Records,
    secret: &str,
    resource: Option<&str>,
    public: bool,
) -> Found<Credentials> {
    let announcement = Announcement { resource, public };
    asked(records, |w, may_write| {
        w.bridge_credentials(secret, announcement, may_write).unwrap()
    })
}

fn account_of(found: &Found<Credentials>) -> &str {
    match found {
        Found::It(credentials) => &credentials.account,
        other => panic!("{other:?}"),
    }
}

fn workers(
    records: &mut Records,
    secret: &str,
    resource: Option<&str>,
    ownership: Ownership,
) -> Found<Vec<String>> {
    let wanted = Wanted {
        app: "etest",
        resource,
        ownership,
    };
    let text = |worker: Announced| {
        let resource = worker.resource.as_deref().unwrap_or("*");
        format!("{}/{resource}", worker.account)
    };
    match records.read(|w| w.bridge_workers(secret, &wanted)).unwrap() {
        Found::It(workers) => Found::It(workers.announced.into_iter().map(text).collect()),
        Found::Denied => Found::Denied,
        Found::Unwritten => Found::Unwritten,
    }
}

fn explore_secret(records: &mut Records) -> String {
    let issued = records.write(|w| w.explore_secret("etest")).unwrap();
    issued.secret.expose().to_owned()
}

fn service_secret(records: &mut Records, uid: Uid, expires: Option<u64>) -> String {
    let issued = records.write(|w| {
        w.grant_service(uid, "etest", ServiceKind::Get, expires)?;
        w.service_secret(uid, "etest")
    });
    issued.unwrap().secret.expose().to_owned()
}

#[test]
fn each_kind_of_secret_gets_the_credentials_of_its_account_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, own) = populated(dir.path());
    let explore = explore_secret(&mut records);
    let service = service_secret(&mut records, theirs(), None);
    let owner = format!("etest-{}-owner", uid());
    for secret in [&explore, &own] {
        let first = announced(&mut records, secret, Some("w1"), true);
        assert_eq!(
            first,
            Found::It(Credentials {
                account: owner.clone(),
                password: own.clone()
            })
        );
        assert_eq!(announced(&mut records, secret, Some("w1"), true), first);
    }
    // The account of a service's user is made when it is asked for.
    let first = announced(&mut records, &service, None, false);
    assert_eq!(account_of(&first), format!("etest-{THEIRS}-user"));
    assert_eq!(announced(&mut records, &service, None, false), first);
    let written = records.read(|w| {
        let announcement = Announcement {
            resource: None,
            public: false,
        };
        w.bridge_credentials(&*service, announcement, false)
    });
    assert_eq!(written.unwrap(), first, "what is there is not written again");
    let again = records
        .write(|w| w.add_account("etest", theirs(), Role::User))
        .unwrap();
    assert!(matches!(first, Found::It(c) if c.password == again.secret.expose()));
}

#[test]
fn revoked_secrets_accounts_services_and_apps_are_denied() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, own) = populated(dir.path());
    let explore = explore_secret(&mut records);
    let service = service_secret(&mut records, theirs(), None);
    let denied = |records: &mut Records, secret: &str| {
        assert_eq!(announced(records, secret, None, true), Found::Denied);
        assert_eq!(workers(records, secret, None, Ownership::Any), Found::Denied);
    };
    denied(&mut records, "nothing");
    records.write(|w| w.revoke_service(theirs(), "etest")).unwrap();
    denied(&mut records, &service);
    // Granted anew until a moment that has passed: the secret is another one, and good for nothing.
    let late = service_secret(&mut records, theirs(), Some(1));
    assert_ne!(late, service);
    denied(&mut records, &late);
    let owner = format!("etest-{}-owner", uid());
    records.write(|w| w.revoke_account(&owner)).unwrap();
    denied(&mut records, &own);
    denied(&mut records, &explore);
    let renewed = records
        .write(|w| w.add_account("etest", uid(), Role::Owner))
        .unwrap();
    let renewed = renewed.secret.expose().to_owned();
    assert_eq!(account_of(&announced(&mut records, &explore, None, true)), owner);
    records.write(|w| w.remove_app("etest")).unwrap();
    denied(&mut records, &explore);
    denied(&mut records, &renewed);
}

#[test]
fn a_revoked_account_is_not_revived_by_a_service() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, _) = populated(dir.path());
    let service = service_secret(&mut records, theirs(), None);
    announced(&mut records, &service, None, false);
    let account = format!("etest-{THEIRS}-user");
    records.write(|w| w.revoke_account(&account)).unwrap();
    assert_eq!(announced(&mut records, &service, None, false), Found::Denied);
}

#[test]
fn a_secret_of_one_resource_announces_that_one_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, _) = populated(dir.path());
    let owner = format!("etest-{}-owner", uid());
    let bound = records.write(|w| w.add_secret(&owner, Some("w1"))).unwrap();
    let bound = bound.secret.expose();
    assert_eq!(announced(&mut records, bound, Some("w2"), true), Found::Denied);
    assert_eq!(account_of(&announced(&mut records, bound, None, true)), owner);
    assert_eq!(
        workers(&mut records, bound, None, Ownership::Any),
        Found::It(vec![format!("{owner}/w1")])
    );
}

#[test]
fn a_secret_that_a_person_chose_is_not_handed_out_but_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, _) = populated(dir.path());
    let explore = explore_secret(&mut records);
    let owner = format!("etest-{}-owner", uid());
    let chosen = "a secret of more than thirty-two characters";
    let id = CredentialId(records.secrets().unwrap()[0].id);
    records.write(|w| w.revoke_secret(id)).unwrap();
    let given = ChosenSecret::new(chosen, false).unwrap();
    records
        .write(|w| w.add_account_with("etest", uid(), Role::Owner, &given))
        .unwrap();
    let announcement = Announcement {
        resource: None,
        public: true,
    };
    let refused = records.write(|w| w.bridge_credentials(&*explore, announcement, true));
    assert!(refused.unwrap_err().to_string().contains("chosen by a person"));
    assert_eq!(
        announced(&mut records, chosen, None, true),
        Found::It(Credentials {
            account: owner,
            password: chosen.to_owned()
        })
    );
}

#[test]
fn workers_are_those_a_requester_may_see() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, own) = populated(dir.path());
    let service = service_secret(&mut records, theirs(), None);
    let partner = records
        .write(|w| w.add_account("etest", theirs(), Role::Partner))
        .unwrap();
    let partner = partner.secret.expose();
    announced(&mut records, &own, Some("open"), true);
    announced(&mut records, &own, Some("closed"), false);
    announced(&mut records, partner, None, true);
    announced(&mut records, &service, Some("mine"), true);
    let (owner, partner_account, user) = (
        format!("etest-{}-owner", uid()),
        format!("etest-{THEIRS}-partner"),
        format!("etest-{THEIRS}-user"),
    );
    let seen = |records: &mut Records, secret: &str, resource, ownership| {
        let Found::It(mut seen) = workers(records, secret, resource, ownership) else {
            panic!("denied");
        };
        seen.sort();
        seen
    };
    let any = seen(&mut records, &own, None, Ownership::Any);
    let closed = format!("{owner}/closed");
    let (open, all_of_partner) = (format!("{owner}/open"), format!("{partner_account}/*"));
    assert_eq!(
        any,
        [closed.clone(), open.clone(), all_of_partner.clone()],
        "no other's user"
    );
    let mine = seen(&mut records, &service, None, Ownership::Mine);
    assert_eq!(mine, [all_of_partner.clone(), format!("{user}/mine")]);
    let any = seen(&mut records, &service, None, Ownership::Any);
    assert_eq!(any, [open.clone(), all_of_partner, format!("{user}/mine")]);
    let owners = seen(&mut records, &service, None, Ownership::Owner);
    assert_eq!(owners, std::slice::from_ref(&open));
    // Who was announced as a whole may be there under any name.
    let named = seen(&mut records, &service, Some("open"), Ownership::Any);
    assert_eq!(named, [open, format!("{partner_account}/open")]);
    // Announced again, as something else.
    announced(&mut records, &own, Some("open"), false);
    assert!(seen(&mut records, &service, None, Ownership::Owner).is_empty());
}

#[test]
fn without_a_service_only_open_apps_and_the_apps_own_people_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, _) = populated(dir.path());
    records.write(|w| w.add_app("shop", None, None)).unwrap();
    let stranger = records
        .write(|w| w.add_account("shop", theirs(), Role::Owner))
        .unwrap();
    let stranger = stranger.secret.expose();
    let user = records
        .write(|w| w.add_account("etest", theirs(), Role::User))
        .unwrap();
    let user = user.secret.expose();
    for secret in [stranger, user] {
        assert_eq!(workers(&mut records, secret, None, Ownership::Any), Found::Denied);
    }
    records.write(|w| w.set_app("etest", Some(true), None)).unwrap();
    for secret in [stranger, user] {
        assert_eq!(
            workers(&mut records, secret, None, Ownership::Any),
            Found::It(Vec::new())
        );
    }
}

#[test]
fn a_service_is_named_alike_whoever_asks_and_its_secret_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, own) = populated(dir.path());
    let explore = explore_secret(&mut records);
    let ask = |records: &mut Records, secret: &str, uid| {
        asked(records, |w, may_write| {
            w.live_service(secret, uid, may_write).unwrap()
        })
    };
    assert_eq!(ask(&mut records, &explore, theirs()), Found::Denied);
    records
        .write(|w| w.grant_service(theirs(), "etest", ServiceKind::Get, None))
        .unwrap();
    let Found::It(service) = ask(&mut records, &explore, theirs()) else {
        panic!("no service");
    };
    assert_eq!(ask(&mut records, &own, theirs()), Found::It(service.clone()));
    assert_eq!(ask(&mut records, &service.secret, theirs()), Found::Denied);
    assert_eq!(service_secret(&mut records, theirs(), None), service.secret);
    assert_eq!(service.id.len(), 24);
    let by_secret = |records: &mut Records, uid| {
        records
            .read(|w| w.service_by_secret(&service.secret, uid))
            .unwrap()
    };
    assert_eq!(by_secret(&mut records, theirs()), Found::It(service.id.clone()));
    assert_eq!(by_secret(&mut records, uid()), Found::Denied);
    service_secret(&mut records, theirs(), Some(1));
    assert_eq!(by_secret(&mut records, theirs()), Found::Denied);
    assert_eq!(ask(&mut records, &explore, theirs()), Found::Denied);
}

#[test]
fn of_too_many_announced_the_oldest_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, own) = populated(dir.path());
    records
        .connection
        .execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
             INSERT INTO announcement SELECT 'etest', ?1, 'owner', 'r' || i, 1, i FROM n",
            rusqlite::params![uid().to_string(), limits::ANNOUNCED_PER_ACCOUNT_MAX],
        )
        .unwrap();
    announced(&mut records, &own, Some("new"), true);
    let Found::It(seen) = workers(&mut records, &own, None, Ownership::Any) else {
        panic!("denied");
    };
    assert_eq!(seen.len(), limits::ANNOUNCED_PER_ACCOUNT_MAX);
    assert!(seen[0].ends_with("/new") && !seen.iter().any(|worker| worker.ends_with("/r1")));
}

#[test]
fn a_shown_secret_and_an_owner_are_found_by_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let (records, _) = populated(dir.path());
    let found = super::store::plan(&records, SHOWN_LOOK_UP, &[&[0_u8; 32]]);
    assert_eq!(found, ["SEARCH secret USING INDEX secret_shown (verifier=?)"]);
    let found = super::store::plan(&records, OWNER_LOOK_UP, &[&"a"]);
    assert_eq!(found, ["SEARCH account USING INDEX account_owner (app=?)"]);
}
