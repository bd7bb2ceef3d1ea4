//! The machine under Nexus: thread-per-core shards.
//!
//! Each shard is a thread with a glommio executor, inside which one task owns a private io_uring ring that
//! carries everything hot: sockets, the tick, doorbells. What runs on it is an [`App`]; what it can do there
//! is a [`Plane`]. Nothing here knows of messages, protocols or sessions, and no type of glommio or io_uring
//! leaves the crate.

mod app;
mod buffers;
mod clock;
mod config;
mod conn;
mod control;
mod doorbell;
mod error;
mod glom;
mod launch;
pub mod limits;
mod listen;
pub mod mesh;
mod operation;
mod outq;
mod patience;
mod placement;
mod plane;
mod policy;
mod pool;
mod preflight;
mod ring;
mod shard;
mod share;
mod stats;
mod tls;
pub mod wheel;

pub use app::{App, Close, ConnId, Next, Progress};
pub use clock::Clock;
pub use config::{Config, Listener};
pub use doorbell::Bell;
pub use error::{Fault, LaunchError};
pub use launch::{Running, Stopper, launch, launch_on};
pub use plane::Plane;
pub use preflight::{Finding, Prober, RingProblem, ThisMachine, preflight, preflight_of};
pub use rustls;
pub use share::Shared;
pub use stats::{Counter, Stats};
#[cfg(feature = "fuzzing")]
pub use tls::handshakes;
pub use tls::{Secured, TlsAcceptor};
pub use wheel::TimerId;
