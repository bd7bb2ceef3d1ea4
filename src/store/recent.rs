//! Logins that were right lately, so that a storm of reconnects does not cost look-ups in the database each.
//!
//! Only a right password gains by it: a wrong one is found nowhere here and is decided as if nothing were remembered,
//! so that nobody learns by the time of a denial who logged in lately.
//!
//! Invariant: what is remembered holds in the snapshot it is asked in. Who reads a snapshot first tells of every change
//! in it: [`RecentLogins::forget_secrets`], [`RecentLogins::forget_services`]. What is added to an account makes
//! nothing wrong that is remembered.

use std::collections::{HashMap, VecDeque};

use ahash::RandomState;

use super::Verifier;
use super::secret::KEY_BYTES;
use crate::route::{CredentialId, Service};

/// A secret that was shown and found valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent {
    /// Which one.
    pub credential: CredentialId,
    /// Whether it is derived from the store key.
    pub is_derived: bool,
    /// The only resource it is good for.
    pub bound_resource: Option<Box<str>>,
}

/// Secrets by what verifies them, and services by their user; the oldest are forgotten first.
#[derive(Debug)]
pub struct RecentLogins {
    /// By the MAC, which nobody chooses who does not know the store key.
    secrets: Bounded<[u8; KEY_BYTES], (Box<str>, Recent)>,
    services: Bounded<Box<str>, Vec<Service>>,
}

impl RecentLogins {
    /// At most `capacity` secrets, and the services of as many users.
    pub fn new(capacity: usize) -> Self {
        Self {
            secrets: Bounded::new(capacity),
            services: Bounded::new(capacity),
        }
    }

    /// The secret of `account` with this MAC, if it was shown lately and is good for `resource`.
    pub fn secret(&self, account: &str, verifier: &Verifier, resource: &str) -> Option<&Recent> {
        let (owner, recent) = self.secrets.entries.get(&verifier.0)?;
        let fits = recent
            .bound_resource
            .as_deref()
            .is_none_or(|bound| bound == resource);
        (**owner == *account && fits).then_some(recent)
    }

    /// Remembers a secret of `account`.
    pub fn insert_secret(&mut self, account: &str, verifier: &Verifier, recent: Recent) {
        self.secrets.insert(verifier.0, (account.into(), recent));
    }

    /// The services of a user, if they were looked up lately.
    pub fn services(&self, uid: &str) -> Option<&[Service]> {
        self.services.entries.get(uid).map(Vec::as_slice)
    }

    /// Remembers the services of a user.
    pub fn insert_services(&mut self, uid: &str, services: Vec<Service>) {
        self.services.insert(uid.into(), services);
    }

    /// Some secret was revoked: alone, with its account, or with its app. All are forgotten, for that is rare and a
    /// look-up makes up for it.
    pub fn forget_secrets(&mut self) {
        self.secrets.clear();
    }

    /// The services of a user have changed.
    pub fn forget_services(&mut self, uid: &str) {
        self.services.entries.remove(uid);
    }
}

/// A table whose oldest entries make room.
#[derive(Debug)]
struct Bounded<K, V> {
    entries: HashMap<K, V, RandomState>,
    /// The keys in the order in which they came, among them some whose entries were removed before their time.
    order: VecDeque<K>,
    capacity: usize,
}

impl<K: Clone + Eq + std::hash::Hash, V> Bounded<K, V> {
    fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::default(),
            order: VecDeque::new(),
            capacity: capacity.max(1),
        }
    }

    fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_some() {
            return;
        }
        self.order.push_back(key);
        while self.order.len() > self.capacity {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            self.entries.remove(&oldest);
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "etest-0123456789abcdef01234567-owner";

    fn mac(n: u8) -> Verifier {
        Verifier([n; KEY_BYTES])
    }

    fn recent(id: u64, bound: Option<&str>) -> Recent {
        Recent {
            credential: CredentialId(id),
            is_derived: true,
            bound_resource: bound.map(Into::into),
        }
    }

    #[test]
    fn a_secret_is_found_by_its_account_and_for_its_resource_alone() {
        let mut logins = RecentLogins::new(8);
        logins.insert_secret(ACCOUNT, &mac(1), recent(1, None));
        logins.insert_secret(ACCOUNT, &mac(2), recent(2, Some("dev")));
        let found = |mac, account, resource| {
            logins
                .secret(account, &mac, resource)
                .map(|found| found.credential.0)
        };
        assert_eq!(found(mac(1), ACCOUNT, "any"), Some(1));
        assert_eq!(found(mac(2), ACCOUNT, "dev"), Some(2));
        assert_eq!(found(mac(2), ACCOUNT, "Dev"), None);
        assert_eq!(found(mac(1), "etest-0123456789abcdef01234567-user", "any"), None);
        assert_eq!(found(mac(3), ACCOUNT, "any"), None);
    }

    #[test]
    fn the_same_chosen_secret_of_two_accounts_is_remembered_of_the_last() {
        let mut logins = RecentLogins::new(8);
        logins.insert_secret("a", &mac(1), recent(1, None));
        logins.insert_secret("b", &mac(1), recent(2, None));
        assert_eq!(logins.secret("a", &mac(1), "r"), None);
        assert_eq!(logins.secret("b", &mac(1), "r"), Some(&recent(2, None)));
    }

    #[test]
    fn the_oldest_make_room_and_no_more_than_the_bound_is_ever_there() {
        let mut logins = RecentLogins::new(2);
        for n in 1..=3 {
            logins.insert_secret(ACCOUNT, &mac(n), recent(u64::from(n), None));
            logins.insert_services(&n.to_string(), vec![]);
        }
        assert_eq!(logins.secret(ACCOUNT, &mac(1), "r"), None);
        assert!(logins.secret(ACCOUNT, &mac(3), "r").is_some());
        assert_eq!(
            (logins.services("1"), logins.services("3")),
            (None, Some(&[][..]))
        );
        for _ in 0..100 {
            logins.forget_services("3");
            logins.insert_services("3", vec![]);
        }
        assert!(logins.services.order.len() <= 2 && logins.services.entries.len() <= 2);
    }

    #[test]
    fn what_was_revoked_or_changed_is_forgotten() {
        let mut logins = RecentLogins::new(8);
        logins.insert_secret(ACCOUNT, &mac(1), recent(1, None));
        logins.insert_services("u", vec![]);
        logins.insert_services("v", vec![]);
        logins.forget_services("u");
        assert_eq!(
            (logins.services("u"), logins.services("v")),
            (None, Some(&[][..]))
        );
        logins.forget_secrets();
        assert_eq!(logins.secret(ACCOUNT, &mac(1), "r"), None);
    }
}
