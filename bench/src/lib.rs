//! What the benchmarks and the allocation gate are made of: a machine without I/O whose buffers are used
//! again, hubs and routers on it, and the bytes that clients send.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "fixtures: a failed expectation is a failed run"
)]

pub mod elements;
pub mod machine;
pub mod packets;
pub mod routers;
pub mod work;
pub mod world;

/// Who the blocks are: the `n`th user's account of an app.
pub fn account(app: &str, n: usize, role: &str) -> String {
    format!("{app}-{n:024x}-{role}")
}

/// The payload of the published targets: 100 bytes of text.
pub const PAYLOAD: [u8; 100] = [b'x'; 100];
