//! Private buffers that come back.
//!
//! Invariant: what the pool keeps is bounded in number, in the size of one, and in bytes altogether; the rest
//! goes back to the allocator.

use crate::limits;

/// A shard's store of byte buffers.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    kept: Vec<Vec<u8>>,
    kept_bytes: usize,
}

impl Pool {
    /// An empty buffer.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        match self.kept.pop() {
            Some(buffer) => {
                self.kept_bytes -= buffer.capacity();
                buffer
            }
            None => Vec::with_capacity(limits::BUFFER_BYTES_MIN),
        }
    }

    /// An empty buffer for a few bytes that may stay long: never a large one.
    pub(crate) fn take_small(&mut self) -> Vec<u8> {
        match self.kept.last() {
            Some(buffer) if buffer.capacity() <= limits::SPILL_STEP_BYTES => self.take(),
            _ => Vec::with_capacity(limits::BUFFER_BYTES_MIN),
        }
    }

    /// Takes a buffer back. Its bytes are gone.
    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes == 0
            || bytes > limits::BUFFER_KEPT_BYTES_MAX
            || self.kept.len() >= limits::BUFFERS_KEPT_MAX
            || self.kept_bytes + bytes > limits::BUFFERS_KEPT_BYTES_MAX
        {
            return;
        }
        buffer.clear();
        self.kept_bytes += bytes;
        self.kept.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_a_large_one_is_not_kept() {
        let mut pool = Pool::default();
        let mut buffer = pool.take();
        buffer.extend_from_slice(b"bytes");
        let address = buffer.as_ptr();
        pool.give(buffer);
        let again = pool.take();
        assert_eq!(again.as_ptr(), address);
        assert!(again.is_empty());

        pool.give(Vec::with_capacity(limits::BUFFER_KEPT_BYTES_MAX + 1));
        assert_eq!(pool.kept.len(), 0);
    }

    #[test]
    fn the_bytes_kept_are_bounded() {
        let mut pool = Pool::default();
        for _ in 0..limits::BUFFERS_KEPT_MAX {
            pool.give(Vec::with_capacity(limits::BUFFER_KEPT_BYTES_MAX));
        }
        assert!(pool.kept_bytes <= limits::BUFFERS_KEPT_BYTES_MAX);
        assert!(!pool.kept.is_empty());
    }
}
