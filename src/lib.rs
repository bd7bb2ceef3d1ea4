//! Nexus, the real-time network of the QE platform: what its messages mean.
//!
//! This library is the core: codecs, sessions, routing and the rules of the store. It does no I/O, reads no
//! clock and starts no thread; bytes, parcels from other shards and the time come in as arguments. The daemon
//! that joins it with the machine (`shards`) lives behind the default feature `daemon`.

pub mod codec;
pub mod config;
pub mod hub;
pub mod journal;
pub mod json;
pub mod limits;
pub mod observe;
pub mod route;
pub mod session;
pub mod store;
pub mod time;

#[cfg(feature = "daemon")]
pub mod daemon;
