//! The QE bridge: credentials, workers and services over HTTP, for clients that know Nexus by no other way.
//!
//! A thread of its own with a single-threaded tokio speaks HTTP; a second one asks the store, through a bounded
//! queue, like a command line that never ends. Shards are asked through a bounded queue each ([`EnquiryPort`]) and
//! are never waited for longer than [`crate::limits::BRIDGE_ANSWER_MS_MAX`]. Nothing of the administration is here.

mod answer;
mod connections;
mod desk;
mod enquiry;
mod find;
mod metrics;
mod rate;
mod request;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::Fault;
use super::control::TokenKeys;
use answer::Answers;
use desk::Desk;

pub use enquiry::{Enquiry, EnquiryPort};
pub use metrics::BridgeMetrics;
pub(in crate::daemon) use metrics::render;

/// What the bridge needs to know.
pub struct BridgeConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where the store is.
    pub data_dir: PathBuf,
    /// The domain of the addresses that it gives.
    pub domain: String,
    /// The keys of the apps whose accounts show tokens.
    pub token_keys: TokenKeys,
    /// To the shards.
    pub enquiries: Arc<EnquiryPort>,
    /// Where it counts.
    pub metrics: Arc<BridgeMetrics>,
}

/// The running bridge. Dropping it ends it.
pub struct Bridge {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Bridge {
    /// Opens the store, listens and serves until dropped.
    pub fn start(config: BridgeConfig) -> Result<Self, Fault> {
        let address = config.address;
        let fault = |e: std::io::Error| {
            Fault::new(format!(
                "cannot listen for the bridge on {address}: {e}; choose another with --bridge"
            ))
        };
        let listener = std::net::TcpListener::bind(address).map_err(fault)?;
        listener.set_nonblocking(true).map_err(fault)?;
        let bound = listener.local_addr().map_err(fault)?;
        let (desk, store) = Desk::start(&config.data_dir)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(fault)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("nexus-bridge".to_owned())
            .spawn(move || {
                let answers = Rc::new(Answers::new(desk, config));
                let local = tokio::task::LocalSet::new();
                runtime.block_on(local.run_until(async move {
                    // What clients wait for ends with the daemon.
                    tokio::select! {
                        () = connections::serve(listener, answers) => {}
                        _ = stopped => {}
                    }
                }));
            })
            .map_err(fault)?;
        Ok(Self {
            address: bound,
            stop: Some(stop),
            threads: vec![thread, store],
        })
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The receiver is gone only if the thread has ended already.
            let _ = stop.send(());
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the bridge panicked");
            }
        }
    }
}

/// Why a request is not answered with what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// No such endpoint.
    NotFound,
    /// The secret is good for nothing of the kind.
    NotEntitled,
    /// No worker that fits is live.
    NoWorker,
    /// What is wrong with the request.
    BadRequest(&'static str),
    /// The body has more than [`crate::limits::BRIDGE_BODY_BYTES_MAX`] bytes.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
    /// Too many requests: from this address, or at all.
    TooMany,
    /// The store or a shard did not answer in time, or the store failed.
    Undecided,
}

impl Failure {
    /// The code of the body; those of the API where it has one (PROTOCOL 2.1).
    const fn code(self) -> i32 {
        match self {
            Self::NotFound => -404,
            Self::NotEntitled => -3000,
            Self::NoWorker => -2000,
            Self::BadRequest(_) => -2004,
            Self::TooLarge => -2003,
            Self::TooSlow | Self::Undecided => -408,
            Self::TooMany => -2002,
        }
    }

    /// What the endpoints decide is told by the code alone: clients look at nothing else, and some of them take any
    /// other status for a failure of the network.
    const fn status(self) -> u16 {
        match self {
            Self::NotEntitled | Self::NoWorker | Self::BadRequest(_) => 200,
            Self::NotFound => 404,
            Self::TooLarge => 413,
            Self::TooSlow => 408,
            Self::TooMany => 429,
            Self::Undecided => 503,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::NotFound => "not found.",
            Self::NotEntitled => "you dont have active service.",
            Self::NoWorker => "no free worker found.",
            Self::BadRequest(what) => what,
            Self::TooLarge => "too large.",
            Self::TooSlow | Self::Undecided => "timeout",
            Self::TooMany => "too many requests in flight.",
        }
    }
}
