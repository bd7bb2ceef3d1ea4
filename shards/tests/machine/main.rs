//! The machine as its tenants see it: real shards, real sockets.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "this is a test from its first line to its last"
)]

mod echo;
mod support;
