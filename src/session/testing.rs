//! What tests of sessions share: an output that remembers what was written.

use std::rc::Rc;

use super::Output;

/// An [`Output`] without framing that keeps every byte.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// What was written and not yet taken by the test.
    pub(crate) bytes: Vec<u8>,
    /// Added to the bytes that are queued: what the kernel has not taken.
    pub(crate) stuck: usize,
    /// How many frames were encoded to be shared.
    pub(crate) shares: usize,
}

impl Recorder {
    /// Takes what was written.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

impl Output for Recorder {
    type Shared = Rc<[u8]>;

    const FRAMING: u8 = 0;

    fn write(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        encode(&mut self.bytes);
        assert_eq!(self.bytes.len() - before, len, "the length announced is exact");
    }

    fn share(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Self::Shared {
        let mut frame = Vec::with_capacity(len);
        encode(&mut frame);
        assert_eq!(frame.len(), len, "the length announced is exact");
        self.shares += 1;
        frame.into()
    }

    fn push(&mut self, frame: &Self::Shared) {
        self.bytes.extend_from_slice(frame);
    }

    fn queued(&self) -> usize {
        self.bytes.len() + self.stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_and_written_frames_keep_their_order() {
        let mut out = Recorder::default();
        let shared = out.share(1, |buffer| buffer.push(2));
        out.write(1, |buffer| buffer.push(1));
        out.push(&shared);
        assert_eq!((out.queued(), out.shares), (2, 1));
        assert_eq!(out.take(), [1, 2]);
    }
}
