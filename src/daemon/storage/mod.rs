//! The storage thread: makes what has to outlive the daemon durable, for all shards in common commits.
//!
//! A shard submits batches of changes over a queue of its own ([`StoragePort`]) and is woken when they are on the disk.
//! At the start everything is read back ([`Storage::rows`]) before the thread runs.
//!
//! Invariant: the batches of a shard become durable in their order, each as a whole; what is durable after a crash is
//! the beginning of what was submitted, and contains all that was told to be committed.

mod checksum;
mod engine;
mod group;
mod log;
mod metrics;
mod port;
mod recovery;
mod space;
mod thread;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::Fault;
use super::control::Wake;
use crate::journal::Table;
use engine::Engine;
use thread::{Commit, Worker};

pub use engine::VisitRow;
pub use metrics::{StorageMetrics, render};
pub use port::StoragePort;
pub use space::{free_bytes, shortage};

/// What storage needs to know.
pub struct StorageConfig {
    /// Where its files are; made if it is not there. Nobody else may use it.
    pub dir: PathBuf,
    /// How many shards there are.
    pub shards: usize,
    /// Wakes a shard some of whose batches are durable, and every shard when [`StoragePort::is_refusing`] changes.
    pub wake: Wake,
}

impl fmt::Debug for StorageConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageConfig")
            .field("dir", &self.dir)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

/// Storage that is opened and repaired, and does not run yet.
#[derive(Debug)]
pub struct Storage {
    config: StorageConfig,
    engine: Engine,
    port: Arc<StoragePort>,
    reports: Vec<String>,
}

impl Storage {
    /// Opens, or makes, the files: the directory 0700, files 0600. What is damaged is repaired or dropped, and told by
    /// [`Storage::reports`]; a fault is that the machine refuses the files.
    pub fn open(config: StorageConfig) -> Result<Self, Fault> {
        let (engine, damage) = recovery::open(&config.dir)?;
        let port = Arc::new(StoragePort::new(config.shards, config.dir.clone()));
        let metrics = port.metrics();
        metrics.damaged_files.add(damage.reports.len() as u64);
        metrics.damaged_rows.add(damage.rows);
        Ok(Self {
            config,
            engine,
            port,
            reports: damage.reports,
        })
    }

    /// What was dropped, a line each.
    pub fn reports(&self) -> &[String] {
        &self.reports
    }

    /// The shards' side. What is submitted before the thread is started waits for it.
    pub fn port(&self) -> Arc<StoragePort> {
        Arc::clone(&self.port)
    }

    /// Shows all rows of a table, in the order of their keys.
    pub fn rows(&self, table: Table, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Fault> {
        self.told(table.as_str(), self.engine.rows(table, visit))
    }

    /// Shows all rows of sessions, in the order of their numbers: each session's own row, then its rows of the other
    /// tables in the order of their keys.
    pub fn session_rows(&self, visit: &mut VisitRow<'_>) -> Result<(), Fault> {
        self.told("sessions", self.engine.session_rows(visit))
    }

    /// Tells of rows that were found damaged.
    fn told(&self, what: &str, broken: rusqlite::Result<u64>) -> Result<(), Fault> {
        let broken = broken.map_err(|error| {
            let dir = self.config.dir.display();
            Fault::new(format!("cannot read {what} in {dir}: {error}; start once more"))
        })?;
        if broken > 0 {
            self.port.metrics().damaged_rows.add(broken);
            tracing::warn!(
                table = what,
                broken,
                "rows were damaged since the start and left out"
            );
        }
        Ok(())
    }

    /// Starts the thread.
    pub fn start(self) -> Result<StorageHandle, Fault> {
        start(self.engine, self.port, self.config.wake)
    }
}

fn start(commit: impl Commit + 'static, port: Arc<StoragePort>, wake: Wake) -> Result<StorageHandle, Fault> {
    let worker = Worker::new(commit, Arc::clone(&port), wake);
    let thread = std::thread::Builder::new()
        .name("nexus-storage".to_owned())
        .spawn(move || worker.run())
        .map_err(|error| Fault::new(format!("cannot start a thread: {error}")))?;
    port.adopt(thread.thread().clone());
    Ok(StorageHandle {
        port,
        thread: Some(thread),
    })
}

/// A storage thread that runs. Dropping it stops the thread.
#[derive(Debug)]
pub struct StorageHandle {
    port: Arc<StoragePort>,
    thread: Option<JoinHandle<()>>,
}

impl StorageHandle {
    /// The shards' side.
    pub fn port(&self) -> Arc<StoragePort> {
        Arc::clone(&self.port)
    }

    /// Commits what was submitted, stops the thread and waits for its end.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.port.ask_to_stop();
            // An Err is a panic of the thread, which its hook has told already.
            let _ = thread.join();
        }
    }
}

impl Drop for StorageHandle {
    fn drop(&mut self) {
        self.end();
    }
}
