//! Routers joined by a mesh in memory, under a clock that only tests move.
//!
//! Parcels travel between any two shards in order, each as long as its seed says; rings hold a bounded number of
//! parcels. Every block's deliveries are recorded as owned values. The net checks at every step what must hold
//! whatever happens: nothing is delivered to a session that has left, and no address is held twice.

mod net;
mod port;
mod words;

pub(crate) use net::Net;
pub(crate) use port::{Block, Got};
pub(crate) use words::*;
