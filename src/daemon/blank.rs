//! What the shards of a daemon are made from.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use super::bridge::EnquiryPort;
use super::control::{ControlPort, Wake};
use super::restore::Found;
use super::settings::{mqtt_settings, root_wildcard, router_limits, xmpp_settings};
use super::shard::{Entrance, Parts, Updates};
use super::storage::{self, Storage, StorageConfig, StoragePort};
use super::{Fault, system, tls};
use crate::config::{Config, Durability};
use crate::observe::ShardMetrics;
use crate::route::RouterConfig;

/// What every shard's parts are made from, on its own thread.
#[derive(Clone)]
pub(super) struct Blank {
    pub(super) entrances: Arc<[Entrance]>,
    pub(super) starttls: Option<shards::TlsAcceptor>,
    pub(super) config: Arc<Config>,
    pub(super) metrics: Arc<[Arc<ShardMetrics>]>,
    pub(super) control: Arc<ControlPort>,
    pub(super) storage: Option<Arc<StoragePort>>,
    pub(super) found: Arc<Found>,
    pub(super) updates: Arc<Updates>,
    pub(super) enquiries: Option<Arc<EnquiryPort>>,
    pub(super) system: Arc<system::Sources>,
    pub(super) seed: [u8; 32],
    pub(super) stream_seed: [u8; 32],
    pub(super) placement_seed: u64,
    pub(super) shards: u16,
}

impl Blank {
    /// For `count` shards.
    pub(super) fn new(
        config: &Config,
        count: usize,
        entrances: &[Entrance],
        acceptors: Option<&tls::Acceptors>,
        control: Arc<ControlPort>,
    ) -> Result<Self, Fault> {
        let metrics: Arc<[Arc<ShardMetrics>]> = (0..count).map(|_| Arc::default()).collect();
        Ok(Self {
            entrances: entrances.into(),
            starttls: acceptors.map(|acceptors| acceptors.xmpp.clone()),
            system: Arc::new(system::Sources::new(Arc::clone(&metrics))),
            config: Arc::new(config.clone()),
            metrics,
            control,
            storage: None,
            found: Arc::new(Found::new(count)),
            updates: Arc::new((0..count).map(|_| ArrayQueue::new(1)).collect()),
            enquiries: None,
            seed: random()?,
            stream_seed: random()?,
            placement_seed: u64::from_le_bytes(random()?),
            shards: u16::try_from(count).map_err(|_| Fault::new(format!("{count} shards are too many")))?,
        })
    }

    /// Opens what outlives the daemon, if anything is to outlive it.
    pub(super) fn open_storage(&mut self, wake: Wake) -> Result<Option<Storage>, Fault> {
        if self.config.storage.durability == Durability::Memory {
            self.found.nothing();
            return Ok(None);
        }
        let storage = Storage::open(StorageConfig {
            dir: self.config.data_dir.join("sessions"),
            shards: usize::from(self.shards),
            wake,
        })?;
        for report in storage.reports() {
            tracing::warn!("{report}");
        }
        let dir = &self.config.data_dir;
        if let Some(short) = storage::free_bytes(dir)
            .ok()
            .and_then(|free| storage::shortage(dir, free))
        {
            tracing::warn!("{short}");
        }
        self.storage = Some(storage.port());
        Ok(Some(storage))
    }

    /// The parts of one shard.
    pub(super) fn parts(&self, shard: usize) -> Parts {
        let metrics = self.metrics.get(shard).cloned().unwrap_or_default();
        let number = u16::try_from(shard).unwrap_or(u16::MAX);
        let router = RouterConfig {
            shard: number,
            shards: self.shards,
            // Each shard draws its own random numbers; where things live, all must agree on.
            seed: of_shard(self.seed, shard),
            placement_seed: self.placement_seed,
            domain: self
                .config
                .domains
                .first()
                .map(|domain| domain.as_str().into())
                .unwrap_or_default(),
            root_wildcard: root_wildcard(&self.config),
            limits: router_limits(&self.config, usize::from(self.shards)),
            durable: self.storage.is_some(),
            metrics: Arc::clone(&metrics),
        };
        Parts {
            router,
            entrances: Arc::clone(&self.entrances),
            starttls: self.starttls.clone(),
            mqtt: mqtt_settings(&self.config, usize::from(self.shards), &metrics),
            // What XMPP draws shows its clients nothing of what the router draws.
            xmpp: xmpp_settings(&self.config, of_shard(self.stream_seed, shard), &metrics),
            cleartext_passwords: self.config.mqtt.cleartext_passwords,
            control: Arc::clone(&self.control),
            storage: self.storage.clone(),
            found: Arc::clone(&self.found),
            updates: Arc::clone(&self.updates),
            enquiries: self.enquiries.clone(),
            system: Arc::clone(&self.system),
            system_interval_s: self.config.sys.interval_s,
        }
    }
}

/// The seed of one shard. It is drawn, not counted: who draws from it counts up from it, and would come to the seed of a
/// neighbour.
fn of_shard(seed: [u8; 32], shard: usize) -> [u8; 32] {
    let mut random = StdRng::from_seed(seed);
    let mut own = [0; 32];
    (0..=shard).for_each(|_| random.fill_bytes(&mut own));
    own
}

fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| Fault::new(format!("the kernel gives no random numbers: {e}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::of_shard;
    use crate::limits;
    use crate::session::xmpp;

    #[test]
    fn no_shard_draws_what_another_draws() {
        let mut drawn = HashSet::new();
        for shard in 0..limits::SHARDS_MAX {
            let settings = xmpp::Settings::new(Vec::new(), of_shard([7; 32], shard), Arc::default());
            for number in 0..64 {
                assert!(drawn.insert(settings.seed()), "number {number} of shard {shard}");
            }
        }
    }
}
