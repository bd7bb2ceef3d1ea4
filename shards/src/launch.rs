//! From settings to running shards.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::config::Config;
use crate::doorbell::Bell;
use crate::error::{Fault, LaunchError};
use crate::stats::Stats;

/// Shards that run.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    warnings: Vec<String>,
    bells: Vec<Bell>,
    stats: Vec<Arc<Stats>>,
}

impl Running {
    /// The address of each listener as bound, in the order of [`Config::listeners`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What is worse than it could be, a line each, for the log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How many shards run.
    pub fn shards(&self) -> usize {
        self.bells.len()
    }

    /// The bell of a shard.
    ///
    /// # Panics
    /// If there is no such shard.
    #[expect(
        clippy::indexing_slicing,
        reason = "the number of a shard is the caller's to know"
    )]
    pub fn bell(&self, shard: usize) -> Bell {
        self.bells[shard].clone()
    }

    /// The counters of a shard.
    ///
    /// # Panics
    /// If there is no such shard.
    #[expect(
        clippy::indexing_slicing,
        reason = "the number of a shard is the caller's to know"
    )]
    pub fn stats(&self, shard: usize) -> Arc<Stats> {
        Arc::clone(&self.stats[shard])
    }

    /// Asks all shards to stop; they close their listeners, call [`App::stopping`], and end when no connection
    /// is left or `drain` is over. Returns at once.
    pub fn stop(&self, drain: Duration) {
        let _ = drain;
    }

    /// Waits for all shards to end. The first fault, if any.
    pub fn join(self) -> Result<(), Fault> {
        Ok(())
    }
}

/// Starts the shards; `make` is called once on each shard's thread with its number.
pub fn launch<A: App>(
    config: Config,
    make: impl Fn(usize) -> A + Send + Clone + 'static,
) -> Result<Running, LaunchError> {
    config.check().map_err(LaunchError::Config)?;
    drop(make);
    Err(LaunchError::Shard {
        shard: 0,
        why: "the loop is not in this build".to_owned(),
    })
}
