//! What registrations take in memory, and whether there is room for one more.
//!
//! An estimate that errs upwards: what a filter leads to is counted where it stands, however the tables around it
//! have grown. What the other shards keep of a filter with wildcards is not counted.

use super::subscribers::{Detail, Pattern};
use super::subscriptions::has_wildcard;
use crate::route::message::{Refusal, Share};

/// A place in a list, and the session's reference to it.
const PLACE_BYTES: usize = 64;
/// A list, without its text.
const LIST_BYTES: usize = 100;
/// A level of a filter with wildcards, without its text.
const LEVEL_BYTES: usize = 100;
/// An identifier, or what a pattern of senders hangs on.
const DETAIL_BYTES: usize = 32;
/// A pattern of senders, without its texts.
const PATTERN_BYTES: usize = 96;
/// A group and its place in the table of groups, without its texts.
const GROUP_BYTES: usize = 200;

/// Bytes that a session's place in a list or a group takes.
pub(crate) const fn place() -> usize {
    PLACE_BYTES
}

/// Bytes that a filter takes once, however many subscribe to it.
pub(super) fn list(filter: &str) -> usize {
    let tree = if has_wildcard(filter) {
        filter.len() + LEVEL_BYTES * filter.split('/').count()
    } else {
        0
    };
    LIST_BYTES + filter.len() + tree
}

/// Bytes of what few subscriptions have.
pub(super) fn detail(identifier: u32, pattern: Option<&Pattern>) -> usize {
    match pattern {
        Some(pattern) => DETAIL_BYTES + PATTERN_BYTES + pattern.text_bytes(),
        None if identifier != 0 => DETAIL_BYTES,
        None => 0,
    }
}

/// The same of one that is kept.
pub(super) fn kept_detail(kept: Option<&Detail>) -> usize {
    kept.map_or(0, |kept| detail(kept.identifier, kept.pattern.as_deref()))
}

/// Bytes that a group takes once on a shard with members.
pub(crate) fn group(app: &str, share: &Share<'_>) -> usize {
    let senders = Pattern::of(&share.from);
    let senders = detail(0, senders.as_deref());
    GROUP_BYTES + app.len() + share.name.len() + share.filter.len() + senders
}

/// Bytes that a listener takes on the shard of its worker.
pub(crate) const fn listener(cmd: &str) -> usize {
    PLACE_BYTES + cmd.len()
}

/// The bytes of all registrations of one shard.
#[derive(Debug)]
pub(crate) struct Footprint {
    bytes: usize,
    /// Beyond, whoever is there may register nothing new.
    pub(crate) bytes_max: usize,
}

impl Footprint {
    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self { bytes: 0, bytes_max }
    }

    /// Whether there is room for as many bytes.
    pub(crate) const fn check(&self, bytes: usize) -> Result<(), Refusal> {
        if self.bytes.saturating_add(bytes) > self.bytes_max {
            return Err(Refusal::QuotaExceeded);
        }
        Ok(())
    }

    /// As many more are taken, whether there was room or not.
    pub(crate) const fn take(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// As many are free again.
    pub(crate) const fn free(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Bytes that are taken.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}
