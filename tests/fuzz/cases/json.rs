//! Any bytes as an API body: no panic, and the same verdict as serde_json's but for the known differences.

use nexus::json::{JsonError, check_object};

#[path = "../../../src/json/tests/oracle.rs"]
mod oracle;

/// # Panics
/// If `body` shows a fault.
pub(crate) fn run(body: &[u8]) {
    let ours = check_object(body);
    let too_deep = ours == Err(JsonError::TooDeep);
    if let Some(disagreement) = oracle::disagreement(body, ours.ok(), too_deep) {
        panic!("{disagreement}");
    }
}
