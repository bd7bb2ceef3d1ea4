//! What every message carries: who sent it, its number, and when it was planned to be sent.
//!
//! Layout, big-endian: run (4 bytes), publisher (4), sequence (8), planned nanoseconds (8), then filler.

use crate::bytes_at::{patch, u32_at, u64_at};

/// Bytes of a stamp: the smallest payload.
pub const STAMP_BYTES: usize = 24;

/// The stamp of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Random number of the run, so that another run's messages are recognised as foreign.
    pub run: u32,
    /// Index of the publisher on its thread.
    pub publisher: u32,
    /// 0, 1, 2, … per publisher.
    pub sequence: u64,
    /// The time the message was planned to be sent, on the process's monotonic clock.
    pub planned_ns: u64,
}

impl Stamp {
    /// Writes the stamp to the start of `payload`, which must hold it.
    pub fn write(&self, payload: &mut [u8]) {
        let mut bytes = [0; STAMP_BYTES];
        patch(&mut bytes, 0, &self.run.to_be_bytes());
        patch(&mut bytes, 4, &self.publisher.to_be_bytes());
        patch(&mut bytes, 8, &self.sequence.to_be_bytes());
        patch(&mut bytes, 16, &self.planned_ns.to_be_bytes());
        patch(payload, 0, &bytes);
    }

    /// Reads the stamp at the start of `payload`.
    pub fn read(payload: &[u8]) -> Option<Self> {
        Some(Self {
            run: u32_at(payload, 0)?,
            publisher: u32_at(payload, 4)?,
            sequence: u64_at(payload, 8)?,
            planned_ns: u64_at(payload, 16)?,
        })
    }
}

/// A payload of `payload_bytes` (at least [`STAMP_BYTES`]) with printable filler after the room for the stamp.
pub fn blank_payload(payload_bytes: usize) -> Vec<u8> {
    (0..payload_bytes.max(STAMP_BYTES))
        .map(|at| {
            if at < STAMP_BYTES {
                0
            } else {
                b'a' + u8::try_from(at % 26).unwrap_or(0)
            }
        })
        .collect()
}

/// True if everything after the stamp is the filler of [`blank_payload`], by comparison with a `blank` one.
pub fn filler_intact(blank: &[u8], payload: &[u8]) -> bool {
    blank.get(STAMP_BYTES..) == payload.get(STAMP_BYTES..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_payload() {
        let stamp = Stamp {
            run: 7,
            publisher: 9,
            sequence: u64::MAX - 1,
            planned_ns: 42,
        };
        let blank = blank_payload(100);
        let mut payload = blank.clone();
        stamp.write(&mut payload);
        assert_eq!(payload.len(), 100);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert!(filler_intact(&blank, &payload));
        payload[50] ^= 1;
        assert!(!filler_intact(&blank, &payload));
        assert_eq!(Stamp::read(&payload[..23]), None);
    }
}
