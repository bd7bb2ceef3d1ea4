//! The machine as its tenants see it: real shards, real sockets.

#![allow(
    missing_docs,
    unsafe_code,
    clippy::print_stdout,
    clippy::expect_used,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "this is a test from its first line to its last"
)]

mod accept;
mod bells;
mod echo;
mod ending;
mod fairness;
mod hand_over;
mod mesh;
mod receive;
mod send;
mod support;
mod tls;
