//! Provided receive buffers: memory the kernel picks from when bytes arrive.
//!
//! Invariant: a buffer belongs to the kernel from the moment its return is published until a completion names
//! it, and to the shard from then on until it is given back. The mapping outlives every operation that may
//! write to it (see [`ring`](crate::ring)).
#![expect(unsafe_code, reason = "memory shared with the kernel")]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::limits;

/// Anonymous memory, page aligned, as the kernel wants its rings.
#[derive(Debug)]
struct Mapping {
    at: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping touches nothing that exists.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { at, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this length and nothing refers to it any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.bytes) };
    }
}

/// The ring of buffers of one shard.
#[derive(Debug)]
pub(crate) struct Buffers {
    entries: Mapping,
    memory: Mapping,
    count: u16,
    bytes: u32,
    /// How many have been given to the kernel; the others are memory that nobody has touched.
    used: u16,
    /// The kernel has run out of them.
    short: bool,
    tail: u16,
    published: u16,
}

impl Buffers {
    /// `count` buffers, a power of two, of `bytes` each. The first few are given to the kernel by the first
    /// [`Buffers::publish`], the others as it runs out of them: it takes them in turn, so that even a shard that
    /// needs few would soon have touched all.
    pub(crate) fn new(count: u16, bytes: u32) -> io::Result<Self> {
        let each = index(bytes);
        let mut buffers = Self {
            entries: Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?,
            memory: Mapping::new(usize::from(count) * each)?,
            count,
            bytes,
            used: 0,
            short: false,
            tail: 0,
            published: 0,
        };
        buffers.add(limits::RECEIVE_BUFFERS_FIRST);
        Ok(buffers)
    }

    /// The kernel has run out of them: it gets twice as many from the next [`Buffers::publish`] on, while there are
    /// any. A burst that leaves many connections without one tells so many times, and counts once.
    pub(crate) fn run_out(&mut self) {
        self.short = true;
    }

    fn add(&mut self, more: u16) {
        let until = self.count.min(self.used.saturating_add(more));
        for id in self.used..until {
            self.give(id);
        }
        self.used = until;
    }

    /// Where the kernel finds the ring, and its length.
    pub(crate) fn ring(&self) -> (u64, u16) {
        (self.entries.at.as_ptr().addr() as u64, self.count)
    }

    /// The first `len` bytes of a buffer that a completion named.
    pub(crate) fn bytes_mut(&mut self, id: u16, len: usize) -> &mut [u8] {
        assert!(
            id < self.count && len <= index(self.bytes),
            "the kernel names its own buffers"
        );
        // SAFETY: the range lies inside the mapping, and the buffer is the shard's until it is given back.
        unsafe { std::slice::from_raw_parts_mut(self.address(id), len) }
    }

    /// Gives a buffer back; the kernel sees it with the next [`Buffers::publish`].
    pub(crate) fn give(&mut self, id: u16) {
        assert!(id < self.count, "the kernel names its own buffers");
        let address = self.address(id).addr() as u64;
        let place = usize::from(self.tail & (self.count - 1));
        // SAFETY: `place` is below `count`, so the entry lies inside the mapping; entries from the published
        // tail on are not read by the kernel.
        let entry = unsafe { &mut *self.entries.at.as_ptr().cast::<BufRingEntry>().add(place) };
        entry.set_addr(address);
        entry.set_len(self.bytes);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see what was given back.
    pub(crate) fn publish(&mut self) {
        if std::mem::take(&mut self.short) {
            self.add(self.used);
        }
        if self.published == self.tail {
            return;
        }
        // SAFETY: the tail lies in the first entry of the mapping, is two bytes long and aligned, and is
        // written by this side only.
        let tail = unsafe { &*BufRingEntry::tail(self.entries.at.as_ptr().cast()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
    }

    fn address(&self, id: u16) -> *mut u8 {
        // SAFETY: `id` is below `count`, so the offset stays inside the mapping.
        unsafe { self.memory.at.as_ptr().add(usize::from(id) * index(self.bytes)) }
    }
}

fn index(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_needed_is_not_given_and_each_is_given_once() {
        let mut buffers = Buffers::new(256, 64).unwrap();
        let mut seen = vec![limits::RECEIVE_BUFFERS_FIRST];
        for _ in 0..4 {
            buffers.run_out();
            buffers.run_out();
            buffers.publish();
            assert_eq!((buffers.used, buffers.published), (buffers.tail, buffers.tail));
            seen.push(buffers.used);
        }
        assert_eq!(seen, [64, 128, 256, 256, 256]);
        assert_eq!(Buffers::new(4, 64).unwrap().used, 4);
    }
}
