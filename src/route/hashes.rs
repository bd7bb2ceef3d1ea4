//! The keyed hashes of the router. What peers choose is never hashed without a seed they do not know.
//!
//! Two kinds: *placement* hashes are equal on all shards of a daemon (they name a home shard or stand for a
//! name in letters), *local* ones belong to one shard's tables.

use std::hash::Hash;

use ahash::RandomState;

use super::message::Share;

/// Stands for an address, `<account>/<resource>`, at its home shard: 96 bits of two independent keyed hashes,
/// so that two addresses in use never share a claim (1e-17 for a million).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressKey([u32; 3]);

impl AddressKey {
    /// The bytes of the key, for letters.
    pub(crate) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (four, word) in bytes.chunks_exact_mut(4).zip(self.0) {
            four.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The part that is used as a hash.
    pub(crate) const fn hash(self) -> u64 {
        let [a, b, _] = self.0;
        a as u64 | (b as u64) << 32
    }
}

/// The hashes that every shard of a daemon computes alike.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    main: RandomState,
    check: RandomState,
    shards: u16,
}

impl Placement {
    pub(crate) fn new(seed: u64, shards: u16) -> Self {
        let state = |salt: u64| {
            RandomState::with_seeds(
                seed ^ salt,
                seed.rotate_left(17) ^ salt.rotate_left(7),
                seed.rotate_left(31) ^ !salt,
                seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt,
            )
        };
        Self {
            main: state(0x6E65_7875_7331),
            check: state(0x6164_6472_6573_7332),
            shards: shards.max(1),
        }
    }

    /// The key of an address, `<account>/<resource>`.
    pub(crate) fn address(&self, address: &str) -> AddressKey {
        let (main, check) = (self.main.hash_one(address), self.check.hash_one(address));
        AddressKey([low(main), low(main >> 32), low(check)])
    }

    /// What stands for the name under which Direct messages reach a block.
    pub(crate) fn direct(&self, app: &str, resource: &str) -> u64 {
        self.main.hash_one((app, resource))
    }

    /// What stands for a group of shared subscriptions.
    pub(crate) fn share(&self, app: &str, share: &Share<'_>) -> u64 {
        self.main.hash_one((app, share))
    }

    /// What stands for a channel's name in the interest of other shards.
    pub(crate) fn channel(&self, name: &str) -> u64 {
        self.main.hash_one(name)
    }

    /// The home shard of what hashes to `hash`.
    pub(crate) fn home(&self, hash: u64) -> u16 {
        // The high half: tables on the home shard use the low bits.
        u16::try_from((hash >> 32) % u64::from(self.shards)).unwrap_or(0)
    }
}

/// The low 32 bits.
pub(crate) const fn low(bits: u64) -> u32 {
    (bits & 0xFFFF_FFFF) as u32
}

/// Hashes of one shard's own tables.
#[derive(Clone, Debug)]
pub(crate) struct Local(RandomState);

impl Local {
    pub(crate) fn new(seed: [u64; 4]) -> Self {
        let [a, b, c, d] = seed;
        Self(RandomState::with_seeds(a, b, c, d))
    }

    pub(crate) fn of(&self, value: impl Hash) -> u64 {
        self.0.hash_one(value)
    }

    /// For maps of the standard library.
    pub(crate) fn state(&self) -> RandomState {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placement_is_equal_for_equal_seeds_and_differs_for_others() {
        let (one, same, other) = (Placement::new(1, 8), Placement::new(1, 8), Placement::new(2, 8));
        assert_eq!(one.address("a/b"), same.address("a/b"));
        assert_ne!(one.address("a/b"), other.address("a/b"));
        assert_eq!(one.direct("a", "b"), same.direct("a", "b"));
        assert_ne!(one.direct("ab", "c"), one.direct("a", "bc"));
    }

    #[test]
    fn homes_spread_over_all_shards() {
        let placement = Placement::new(7, 8);
        let mut seen = [0_u32; 8];
        for n in 0..8_000 {
            let key = placement.address(&format!("account/{n}"));
            seen[usize::from(placement.home(key.hash()))] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1_200).contains(&n)), "{seen:?}");
    }
}
