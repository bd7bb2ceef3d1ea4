//! SCRAM keys that were derived lately, so that a storm of reconnects does not cost a slow hash each.
//!
//! Only a right proof gains by it: a wrong one is computed as if nothing were remembered (see
//! [`super::exchange`]), so that nobody learns by the time of a denial who logged in lately.

use std::collections::{HashMap, VecDeque};

use ahash::RandomState;

use super::Keys;
use crate::route::{CredentialId, ScramHash};

/// What keys belong to.
type Name = (CredentialId, ScramHash);

/// Keys by secret and hash; the oldest are forgotten first. Whether a secret is valid still is not known here: keys
/// are asked for by the name of a secret that was just looked up, and no name is used twice.
#[derive(Debug)]
pub struct KeyCache {
    keys: HashMap<Name, Keys, RandomState>,
    /// The names in the order their keys came, among them some whose keys were forgotten before their time.
    order: VecDeque<Name>,
    capacity: usize,
}

impl KeyCache {
    /// A cache of at most `capacity` keys.
    pub fn new(capacity: usize) -> Self {
        Self {
            keys: HashMap::default(),
            order: VecDeque::new(),
            capacity: capacity.max(1),
        }
    }

    /// The keys of a secret, if they are remembered.
    pub fn get(&self, credential: CredentialId, hash: ScramHash) -> Option<Keys> {
        self.keys.get(&(credential, hash)).copied()
    }

    /// Remembers the keys of a secret.
    pub fn insert(&mut self, credential: CredentialId, keys: Keys) {
        let name = (credential, keys.hash());
        if self.keys.insert(name, keys).is_some() {
            return;
        }
        self.order.push_back(name);
        while self.order.len() > self.capacity {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            self.keys.remove(&oldest);
        }
    }

    /// Forgets the keys of a secret that was revoked.
    pub fn forget(&mut self, credential: CredentialId) {
        for hash in [ScramHash::Sha1, ScramHash::Sha256] {
            self.keys.remove(&(credential, hash));
        }
    }

    /// Keys remembered.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none are remembered.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: Keys = Keys::of_nobody(ScramHash::Sha256);

    fn has(cache: &KeyCache, id: u64) -> bool {
        cache.get(CredentialId(id), ScramHash::Sha256).is_some()
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_forgotten_first() {
        let mut cache = KeyCache::new(3);
        for id in [1, 2, 1, 3, 4, 5] {
            cache.insert(CredentialId(id), KEYS);
        }
        assert_eq!(
            (1..=5).filter(|id| has(&cache, *id)).collect::<Vec<_>>(),
            [3, 4, 5]
        );
        assert_eq!((cache.len(), cache.order.len()), (3, 3));
    }

    #[test]
    fn what_was_revoked_is_forgotten_for_both_hashes() {
        let mut cache = KeyCache::new(4);
        cache.insert(CredentialId(1), Keys::of_nobody(ScramHash::Sha1));
        cache.insert(CredentialId(1), KEYS);
        cache.insert(CredentialId(2), KEYS);
        cache.forget(CredentialId(1));
        assert_eq!(cache.len(), 1);
        assert!(has(&cache, 2) && !cache.is_empty());
        for id in 3..100 {
            cache.insert(CredentialId(id), KEYS);
            assert!(cache.len() <= 4 && cache.order.len() <= 4);
        }
    }
}
