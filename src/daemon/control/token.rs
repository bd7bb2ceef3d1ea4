//! Signatures of tokens: keys of apps, one algorithm each.

use crate::store::token::Claims;

/// The keys that tokens are verified with.
#[derive(Debug, Default)]
pub struct TokenKeys {}

impl TokenKeys {
    pub(super) fn is_empty(&self) -> bool {
        true
    }
    pub(super) fn verify(&self, _account: &str, _token: &[u8]) -> Option<Claims> {
        None
    }
}
