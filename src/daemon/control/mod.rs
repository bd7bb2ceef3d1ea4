//! The control thread, which reads the store for the shards. (The bridge's thread, which writes to it, too, is as far
//! from it as the command line is: see [`super::bridge`].)
//!
//! Shards hand it logins over one bounded queue and get verdicts and changes of rights over a bounded queue
//! each ([`ControlPort`]). The command line writes to the database from other processes ([`Records`]); what
//! it changes is told to all shards within [`crate::limits::CHANGE_POLL_MS`].

mod access;
mod book;
mod database;
mod engine;
mod fault;
mod files;
mod logins;
mod metrics;
mod outbox;
mod port;
mod records;
mod slow;
mod token;
mod waiting;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::clock::Clock;
use crate::limits;
use book::Book;
use engine::Engine;
use files::DataDir;
use outbox::Outbox;
use slow::SlowPool;

pub use fault::StoreFault;
pub use files::OpenMode;
pub use metrics::ControlMetrics;
pub use outbox::Wake;
pub use port::{ControlMessage, ControlPort};
pub use records::{
    AccountRecord, AccountSecret, Announced, Announcement, AppRecord, ChosenSecret, Credentials, Found,
    Given, IssuedSecret, LiveService, RecordError, Records, SecretRecord, ServiceKind, ServiceRecord, Wanted,
    Workers, Writer,
};
pub use token::{TokenHolder, TokenKeyError, TokenKeys};

/// What the control thread needs to know.
pub struct ControlConfig {
    /// Where the store is; made if it is not there.
    pub data_dir: PathBuf,
    /// How many shards there are.
    pub shards: usize,
    /// Wakes a shard that has messages.
    pub wake: Wake,
    /// The keys of the apps that log in with tokens.
    pub token_keys: TokenKeys,
}

impl fmt::Debug for ControlConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlConfig")
            .field("data_dir", &self.data_dir)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

/// Starts control threads.
#[derive(Debug)]
pub struct Control;

impl Control {
    /// Opens the store and starts the thread. The policies of all apps are in the inboxes when this returns.
    pub fn start(config: ControlConfig) -> Result<ControlHandle, StoreFault> {
        let (lock, book) =
            open(&config.data_dir).map_err(|fault| access::explained(fault, &config.data_dir))?;
        let port = Arc::new(ControlPort::new(
            config.shards,
            limits::LOGIN_QUEUE_MAX,
            limits::CONTROL_INBOX_MAX,
        ));
        let tokens = Arc::new(config.token_keys);
        let outbox = Outbox::new(Arc::clone(&port), config.wake);
        let slow = SlowPool::start(&port, &tokens)?;
        let engine = Engine::new(book, Arc::clone(&port), outbox, slow, tokens, seed()?)
            .map_err(StoreFault::database("read the database"))?;
        let running = Running {
            port: Arc::clone(&port),
            _lock: lock,
        };
        let thread = std::thread::Builder::new()
            .name("nexus-control".to_owned())
            .spawn(move || run(engine, &running))
            .map_err(|source| StoreFault::Thread { source })?;
        port.adopt(thread.thread().clone());
        Ok(ControlHandle {
            port,
            thread: Some(thread),
        })
    }
}

fn open(data_dir: &Path) -> Result<(File, Book), StoreFault> {
    let dir = DataDir::open(data_dir, OpenMode::Create)?;
    let lock = dir.lock_for_daemon()?;
    Ok((lock, book::open(&dir)?))
}

/// Looks whether the store in `data_dir` can be used, and changes nothing. Tells whether there is one.
pub fn look(data_dir: &Path) -> Result<bool, StoreFault> {
    DataDir::look(data_dir).map_err(|fault| access::explained(fault, data_dir))
}

/// A control thread that runs. Dropping it stops the thread.
#[derive(Debug)]
pub struct ControlHandle {
    port: Arc<ControlPort>,
    thread: Option<JoinHandle<()>>,
}

impl ControlHandle {
    /// The shards' side.
    pub fn port(&self) -> Arc<ControlPort> {
        Arc::clone(&self.port)
    }

    /// Stops the thread and waits for its end. Logins that wait are not answered any more.
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

impl Drop for ControlHandle {
    fn drop(&mut self) {
        self.end();
    }
}

/// Held by the thread: however it ends, shards learn of it and the directory is free again.
struct Running {
    port: Arc<ControlPort>,
    _lock: File,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.port.ended();
    }
}

fn run(mut engine: Engine, running: &Running) {
    let clock = Clock::start();
    while !running.port.is_asked_to_stop() {
        let now = clock.now();
        let pause = if engine.is_due(now) {
            engine.turn(now)
        } else {
            engine.pause(now)
        };
        if !pause.is_zero() {
            // An unpark since the queue was looked at makes this return at once.
            std::thread::park_timeout(pause);
        }
    }
}

fn seed() -> Result<[u64; 4], StoreFault> {
    let mut seed = [0; 4];
    for word in &mut seed {
        let mut bytes = [0; 8];
        files::random(&mut bytes)?;
        *word = u64::from_ne_bytes(bytes);
    }
    Ok(seed)
}
