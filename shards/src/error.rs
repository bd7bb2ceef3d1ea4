//! Why the machine does not start, and why it ended.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why nothing was started. `Display` is one line: what, why, what to do.
#[derive(Debug)]
pub enum LaunchError {
    /// A setting is out of range or contradicts another.
    Config(String),
    /// The machine lacks what a shard cannot run without.
    Machine {
        /// What is missing.
        why: String,
        /// What helps.
        remedy: String,
    },
    /// An address cannot be listened on.
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A shard could not be set up.
    Shard {
        /// Which.
        shard: usize,
        /// Why not.
        why: String,
    },
}

impl LaunchError {
    /// What was found wanting before may be why a shard could not be set up.
    pub(crate) fn with_suspects(self, suspects: &[String]) -> Self {
        match self {
            Self::Shard { shard, why } => Self::Shard {
                shard,
                why: std::iter::once(&why)
                    .chain(suspects)
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join("; "),
            },
            other => other,
        }
    }
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(why) => write!(f, "the configuration is wrong: {why}"),
            Self::Machine { why, remedy } => write!(f, "no shard can run here: {why}; {remedy}"),
            Self::Listen { address, source } => write!(
                f,
                "cannot listen on {address}: {source}; choose another address or stop what holds it"
            ),
            Self::Shard { shard, why } => write!(f, "shard {shard} could not be set up: {why}"),
        }
    }
}

impl Error for LaunchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Listen { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why a shard ended that was not asked to: our fault, never a peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The shard.
    pub shard: usize,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} failed: {}", self.shard, self.what)
    }
}

impl Error for Fault {}

/// The text of a panic's payload.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return format!("panic: {text}");
    }
    if let Some(text) = payload.downcast_ref::<String>() {
        return format!("panic: {text}");
    }
    "panic".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_wanting_is_told_beside_a_set_up_that_failed() {
        let failed = LaunchError::Shard {
            shard: 1,
            why: "out of memory".to_owned(),
        };
        let line = failed.with_suspects(&["little may be locked: raise the limit".to_owned()]);
        assert_eq!(
            line.to_string(),
            "shard 1 could not be set up: out of memory; little may be locked: raise the limit"
        );
    }
}
