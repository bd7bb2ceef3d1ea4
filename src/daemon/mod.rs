//! The only place that joins the core with the machine: shard loop, listeners, control thread, HTTP.

pub mod cli;
pub mod clock;
pub mod control;
