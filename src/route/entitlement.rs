//! The rights that count on this shard: what apps allow, and the services of the users that are online here.
//!
//! Expiry is decided at each question with the wall clock of the turn: no timer, no delay.

use std::collections::HashMap;

use ahash::RandomState;
use hashbrown::hash_table::Entry;

use super::identity::{Sender, Uid};
use super::rights::{AppPolicy, DirectPolicy, Service};
use super::tables::Segments;

/// A user with sessions on this shard.
#[derive(Debug)]
struct User {
    uid: Uid,
    sessions: u32,
    services: Box<[Service]>,
}

/// Rights as this shard knows them.
#[derive(Debug)]
pub(crate) struct Entitlement {
    apps: HashMap<Box<str>, AppPolicy, RandomState>,
    users: Segments<User>,
    state: RandomState,
}

impl Entitlement {
    pub(crate) fn new(state: RandomState) -> Self {
        Self {
            apps: HashMap::with_hasher(state.clone()),
            users: Segments::new(),
            state,
        }
    }

    pub(crate) fn set_app(&mut self, name: Box<str>, policy: AppPolicy) {
        self.apps.insert(name, policy);
    }

    pub(crate) fn remove_app(&mut self, name: &str) {
        self.apps.remove(name);
    }

    /// A session of `uid` came; its login read the services last.
    pub(crate) fn enter(&mut self, uid: Uid, services: Vec<Service>) {
        let services = services.into_boxed_slice();
        let entry = self.users.entry(
            self.state.hash_one(uid),
            |user| user.uid == uid,
            |user| self.state.hash_one(user.uid),
        );
        match entry {
            Some(Entry::Occupied(mut known)) => {
                let user = known.get_mut();
                user.sessions += 1;
                user.services = services;
            }
            Some(Entry::Vacant(free)) => drop(free.insert(User {
                uid,
                sessions: 1,
                services,
            })),
            None => {}
        }
    }

    /// A session of `uid` left.
    pub(crate) fn leave(&mut self, uid: Uid) {
        let found = self
            .users
            .find_entry(self.state.hash_one(uid), |user| user.uid == uid);
        if let Some(mut known) = found {
            known.get_mut().sessions -= 1;
            if known.get().sessions == 0 {
                known.remove();
            }
        }
    }

    /// All the services `uid` has; of no interest if it is not online here.
    pub(crate) fn set_services(&mut self, uid: Uid, services: Vec<Service>) {
        let hash = self.state.hash_one(uid);
        if let Some(user) = self.users.find_mut(hash, |user| user.uid == uid) {
            user.services = services.into_boxed_slice();
        }
    }

    /// Whether `sender` may call the workers of `app` (PROTOCOL 2.1, Entitlement). Nobody may call an app that
    /// does not exist, so that apps cannot be probed for.
    pub(crate) fn may_call(&self, sender: &Sender<'_>, app: &str, unix_ms: u64) -> bool {
        let Some(policy) = self.apps.get(app) else {
            return false;
        };
        policy.open
            || (sender.role().is_public() && sender.app() == app)
            || self.has_service(sender.uid(), app, unix_ms)
    }

    fn has_service(&self, uid: Uid, app: &str, unix_ms: u64) -> bool {
        let found = self.users.find(self.state.hash_one(uid), |user| user.uid == uid);
        found.is_some_and(|user| {
            user.services.iter().any(|service| {
                let live = service.expires_unix_ms.is_none_or(|expires| unix_ms < expires);
                live && &*service.app == app
            })
        })
    }

    /// Whether the workers of `app` take Direct from entitled callers only.
    pub(crate) fn direct_is_restricted(&self, app: &str) -> bool {
        self.apps
            .get(app)
            .is_some_and(|policy| policy.direct == DirectPolicy::Entitled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0123456789abcdef01234567";

    fn service(app: &str, expires_unix_ms: Option<u64>) -> Service {
        Service {
            app: app.into(),
            expires_unix_ms,
        }
    }

    fn rights() -> Entitlement {
        let mut rights = Entitlement::new(RandomState::with_seeds(1, 2, 3, 4));
        rights.set_app("etest".into(), AppPolicy::default());
        rights
    }

    fn may(rights: &Entitlement, account: &str, app: &str, unix_ms: u64) -> bool {
        let address = format!("{account}/r");
        rights.may_call(&Sender::parse(&address).unwrap(), app, unix_ms)
    }

    #[test]
    fn p2_1_service_same_app_or_open_app_entitles() {
        let mut rights = rights();
        rights.set_app(
            "free".into(),
            AppPolicy {
                open: true,
                ..AppPolicy::default()
            },
        );
        let stranger = format!("other-{UID}-owner");
        assert!(!may(&rights, &stranger, "etest", 0));
        assert!(may(&rights, &stranger, "free", 0));
        assert!(may(&rights, &format!("etest-{UID}-owner"), "etest", 0));
        assert!(may(&rights, &format!("etest-{UID}-partner"), "etest", 0));
        assert!(!may(&rights, &format!("etest-{UID}-user"), "etest", 0));
        rights.enter(Uid::parse(UID).unwrap(), vec![service("etest", None)]);
        assert!(may(&rights, &stranger, "etest", 0));
        assert!(may(&rights, &format!("etest-{UID}-user"), "etest", 0));
    }

    #[test]
    fn p2_1_a_service_ends_at_its_expiry() {
        let mut rights = rights();
        rights.enter(Uid::parse(UID).unwrap(), vec![service("etest", Some(1_000))]);
        let account = format!("other-{UID}-user");
        assert!(may(&rights, &account, "etest", 999));
        assert!(!may(&rights, &account, "etest", 1_000));
    }

    #[test]
    fn an_app_that_does_not_exist_entitles_nobody() {
        let mut rights = rights();
        rights.enter(Uid::parse(UID).unwrap(), vec![service("gone", None)]);
        assert!(!may(&rights, &format!("gone-{UID}-owner"), "gone", 0));
        rights.set_app("gone".into(), AppPolicy::default());
        assert!(may(&rights, &format!("gone-{UID}-owner"), "gone", 0));
        rights.remove_app("gone");
        assert!(!may(&rights, &format!("gone-{UID}-owner"), "gone", 0));
    }

    #[test]
    fn services_are_forgotten_with_the_last_session() {
        let mut rights = rights();
        let uid = Uid::parse(UID).unwrap();
        let account = format!("other-{UID}-user");
        rights.enter(uid, vec![service("etest", None)]);
        rights.enter(uid, vec![service("etest", None)]);
        rights.leave(uid);
        assert!(may(&rights, &account, "etest", 0));
        rights.leave(uid);
        assert!(!may(&rights, &account, "etest", 0));
        rights.set_services(uid, vec![service("etest", None)]);
        assert!(!may(&rights, &account, "etest", 0));
    }
}
