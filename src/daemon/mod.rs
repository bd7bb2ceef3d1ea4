//! The only place that joins the core with the machine: shard loop, listeners, control thread, HTTP.

mod blank;
pub mod bridge;
pub mod check;
pub mod cli;
pub mod clock;
pub mod control;
pub mod demo;
pub mod http;
mod machine_metrics;
pub mod restore;
pub mod serve;
mod settings;
pub mod shard;
pub mod storage;
pub mod system;
mod tls;

use std::fmt;

/// Why the daemon cannot start or had to stop: one line that says what, why, and what to do.
#[derive(Debug)]
pub struct Fault(String);

impl Fault {
    /// A fault with its line.
    pub fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}
