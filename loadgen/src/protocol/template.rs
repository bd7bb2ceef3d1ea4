//! Frames that are encoded once and patched for each message.

use std::ops::Range;

use crate::bytes_at::patch;

/// One encoded frame whose key, packet identifier and payload are overwritten for each message.
#[derive(Clone, Debug)]
pub struct Template {
    pub(super) frame: Vec<u8>,
    /// What names one request: its number, or its token.
    pub(super) key: Range<usize>,
    pub(super) packet_id_at: Option<usize>,
    pub(super) payload: Range<usize>,
}

impl Template {
    /// The frame as last patched.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// The payload as last patched.
    pub fn payload(&self) -> &[u8] {
        self.frame.get(self.payload.clone()).unwrap_or_default()
    }

    /// The payload, to be overwritten.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        self.frame.get_mut(self.payload.clone()).unwrap_or_default()
    }

    /// Length of the key.
    pub fn key_bytes(&self) -> usize {
        self.key.len()
    }

    /// Overwrites the key; nothing if `key` is of another length.
    pub fn set_key(&mut self, key: &[u8]) {
        if key.len() == self.key.len() {
            patch(&mut self.frame, self.key.start, key);
        }
    }

    /// Sets the Packet Identifier; nothing where there is none.
    pub fn set_packet_id(&mut self, packet_id: u16) {
        if let Some(at) = self.packet_id_at {
            patch(&mut self.frame, at, &packet_id.to_be_bytes());
        }
    }
}
