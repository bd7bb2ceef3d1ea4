//! `nexus-loadgen`: load for MQTT and XMPP servers, open loop or closed.
//!
//! `args` -> `run` -> `scenario` (what is sent and expected) on `engine` (threads, sockets, times) over `protocol`
//! (frames), into a `report`. It shares no code with the server it was first made for, so that an error of one is
//! not hidden by the other.

pub mod args;
pub mod bytes_at;
pub mod clock;
pub mod engine;
pub mod protocol;
pub mod report;
pub mod run;
pub mod scenario;
pub mod server;
