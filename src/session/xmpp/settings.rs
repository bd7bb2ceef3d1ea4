//! What all XMPP sessions of one shard have in common.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use super::Unacked;
use crate::limits;
use crate::observe::ShardMetrics;

/// What the operator decided for XMPP, where the sessions of one shard draw what must not be guessed, and where they
/// count what they drop.
pub struct Settings {
    /// The domains served here, aliases of one name space; the first is the default.
    pub domains: Vec<Box<str>>,
    /// A client of which nothing was heard for this long is pinged; 0 never pings. Seconds.
    pub ping_s: u32,
    /// A stream that was lost may be resumed for so long; 0 never. Seconds.
    pub resume_s: u32,
    /// See [`limits::XMPP_UNACKED_BYTES_PER_SHARD_MAX`].
    pub unacked_bytes_max: u64,
    /// See [`limits::XMPP_UNACKED_BYTES_PER_ACCOUNT_MAX`].
    pub unacked_bytes_per_account_max: u64,
    /// What is remembered of each account; settings that take the place of others go on with theirs.
    pub unacked: Arc<Unacked>,
    /// The counters of the shard.
    pub metrics: Arc<ShardMetrics>,
    /// Stream identifiers are drawn from it, each from a generator of its own: sessions of other protocols travel
    /// between shards with these settings, which therefore hold nothing that one thread alone may touch.
    seed: [u8; 32],
    drawn: AtomicU64,
}

impl Settings {
    /// Settings whose random numbers follow from `seed`, which nobody must know.
    pub fn new(domains: Vec<Box<str>>, seed: [u8; 32], metrics: Arc<ShardMetrics>) -> Self {
        Self {
            domains,
            ping_s: limits::XMPP_PING_S,
            resume_s: limits::XMPP_RESUME_S,
            unacked_bytes_max: limits::XMPP_UNACKED_BYTES_PER_SHARD_MAX,
            unacked_bytes_per_account_max: limits::XMPP_UNACKED_BYTES_PER_ACCOUNT_MAX,
            unacked: Arc::new(Unacked::new(&seed)),
            metrics,
            seed,
            drawn: AtomicU64::new(0),
        }
    }

    /// A seed for settings that take the place of these.
    pub fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.random().fill_bytes(&mut seed);
        seed
    }

    /// A generator that nobody has drawn from: its seed is never used again.
    fn random(&self) -> StdRng {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        let mut seed = self.seed;
        for (byte, mark) in seed.iter_mut().zip(number.to_le_bytes()) {
            *byte ^= mark;
        }
        StdRng::from_seed(seed)
    }

    /// 128 random bits as 32 hex digits.
    pub(super) fn nonce(&self) -> String {
        let mut random = self.random();
        format!("{:016x}{:016x}", random.next_u64(), random.next_u64())
    }

    /// Which of the domains served here this is; they are compared without regard to ASCII case (RFC 7622
    /// section 3.2).
    pub(super) fn domain_of(&self, name: &str) -> Option<u16> {
        let place = self
            .domains
            .iter()
            .position(|ours| ours.eq_ignore_ascii_case(name))?;
        u16::try_from(place).ok()
    }

    /// Whether this is the channel service of one of the domains: `conference.<domain>`.
    pub(super) fn is_conference(&self, name: &str) -> bool {
        self.conference_of(name).is_some()
    }

    /// Of which of the domains this is the channel service.
    pub(super) fn conference_of(&self, name: &str) -> Option<u16> {
        let (service, domain) = name.split_once('.')?;
        let is_service = service.eq_ignore_ascii_case(super::names::CONFERENCE);
        self.domain_of(domain).filter(|_| is_service)
    }

    /// The name of a domain.
    pub(super) fn domain(&self, place: u16) -> &str {
        self.domains
            .get(usize::from(place))
            .map_or("localhost", |name| name)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("domains", &self.domains)
            .field("ping_s", &self.ping_s)
            .field("resume_s", &self.resume_s)
            .finish_non_exhaustive()
    }
}
