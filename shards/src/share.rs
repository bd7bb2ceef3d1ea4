//! Frames that several receivers share: bytes in append-only chunks.
//!
//! Invariant: bytes of a chunk below its fill level never change and never move while anybody refers to the
//! chunk; only the arena appends, and only behind the fill level. A chunk is used again when nobody but the
//! arena refers to it. So the kernel may read a range as long as a reference is held.
#![expect(
    unsafe_code,
    reason = "ranges of one chunk are read while others of it are written"
)]

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::ptr::NonNull;
use std::rc::Rc;

use crate::limits;

/// Memory for frames. The fill level is known to the arena, and to nobody else.
struct Chunk {
    memory: NonNull<u8>,
    capacity: usize,
    filled: Cell<usize>,
}

impl Chunk {
    /// Takes over a buffer's memory; what it holds counts as filled.
    fn adopt(buffer: Vec<u8>) -> Self {
        let mut buffer = std::mem::ManuallyDrop::new(buffer);
        Self {
            // SAFETY: a Vec's pointer is never null.
            memory: unsafe { NonNull::new_unchecked(buffer.as_mut_ptr()) },
            capacity: buffer.capacity(),
            filled: Cell::new(buffer.len()),
        }
    }

    /// Appends `bytes` behind the fill level; the caller has checked that they fit.
    fn append(&self, bytes: &[u8]) -> usize {
        let at = self.filled.get();
        assert!(bytes.len() <= self.capacity - at, "a frame fits its chunk");
        // SAFETY: `at + len <= capacity` lies inside the allocation; nobody reads behind the fill level, so
        // nothing refers to this region, and `bytes` is borrowed from outside the chunk.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.as_ptr().add(at), bytes.len()) };
        self.filled.set(at + bytes.len());
        at
    }

    fn bytes(&self, start: usize, end: usize) -> &[u8] {
        assert!(
            start <= end && end <= self.filled.get(),
            "a range lies below the fill level"
        );
        // SAFETY: bytes below the fill level are initialised and, by the invariant, do not change while the
        // chunk is referred to, which `&self` does.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(start), end - start) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: these are the parts of the Vec that was taken over in `adopt`; u8 needs no dropping.
        drop(unsafe { Vec::from_raw_parts(self.memory.as_ptr(), 0, self.capacity) });
    }
}

/// A range of a chunk.
#[derive(Clone)]
pub(crate) struct Range {
    chunk: Rc<Chunk>,
    start: usize,
    end: usize,
}

impl Range {
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.chunk.bytes(self.start, self.end)
    }

    /// Drops `n` bytes from the front.
    pub(crate) fn advance(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
    }

    /// Takes in `next` if it begins where this one ends.
    pub(crate) fn merge(&mut self, next: &Shared) -> bool {
        if self.end != next.0.start || !Rc::ptr_eq(&self.chunk, &next.0.chunk) {
            return false;
        }
        self.end = next.0.end;
        true
    }
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// An encoded frame of this shard. Cloning is cheap; it cannot leave its shard.
#[derive(Clone, Debug)]
pub struct Shared(Range);

impl Shared {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    pub(crate) fn range(&self) -> Range {
        self.0.clone()
    }
}

/// A shard's chunks.
pub(crate) struct Arena {
    current: Rc<Chunk>,
    /// Full chunks, oldest first: in use, or waiting to be used again.
    full: VecDeque<Rc<Chunk>>,
    scratch: Vec<u8>,
}

impl Default for Arena {
    fn default() -> Self {
        Self {
            current: Rc::new(Chunk::adopt(Vec::new())),
            full: VecDeque::new(),
            scratch: Vec::new(),
        }
    }
}

impl Arena {
    /// Makes a frame of about `len` bytes of what `encode` writes.
    ///
    /// It is encoded into a scratch buffer first and copied once: what `encode` gets may grow and move, a
    /// chunk may not. A large frame keeps the buffer as its chunk instead.
    pub(crate) fn share(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Shared {
        self.scratch.clear();
        self.scratch.reserve(len);
        encode(&mut self.scratch);
        let len = self.scratch.len();
        if len >= limits::OWN_CHUNK_BYTES_MIN {
            let chunk = Rc::new(Chunk::adopt(std::mem::take(&mut self.scratch)));
            return Shared(Range {
                chunk,
                start: 0,
                end: len,
            });
        }
        if len > self.current.capacity - self.current.filled.get() {
            self.turn_over();
        }
        let start = self.current.append(&self.scratch);
        Shared(Range {
            chunk: Rc::clone(&self.current),
            start,
            end: start + len,
        })
    }

    /// Puts an empty chunk in place of the full one.
    fn turn_over(&mut self) {
        let empty = self
            .recycled()
            .unwrap_or_else(|| Rc::new(Chunk::adopt(Vec::with_capacity(limits::CHUNK_BYTES))));
        let full = std::mem::replace(&mut self.current, empty);
        if full.capacity > 0 && self.full.len() < limits::CHUNKS_KEPT_MAX {
            self.full.push_back(full);
        }
    }

    /// A full chunk that nobody refers to any more, emptied. One that is still in use goes to the back, so
    /// that one slow receiver hides none of the others.
    fn recycled(&mut self) -> Option<Rc<Chunk>> {
        for _ in 0..self.full.len().min(limits::CHUNKS_SEARCHED_MAX) {
            let mut chunk = self.full.pop_front()?;
            if let Some(alone) = Rc::get_mut(&mut chunk) {
                alone.filled.set(0);
                return Some(chunk);
            }
            self.full.push_back(chunk);
        }
        None
    }

    /// Gives chunks nobody refers to back to the allocator, all but one. For quiet times.
    pub(crate) fn trim(&mut self) {
        let mut spare = 1;
        self.full.retain(|chunk| {
            if Rc::strong_count(chunk) > 1 {
                return true;
            }
            let keep = spare > 0;
            spare = 0;
            keep
        });
        if self.scratch.capacity() > limits::CHUNK_BYTES {
            self.scratch = Vec::new();
        }
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("full", &self.full.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(arena: &mut Arena, byte: u8, len: usize) -> Shared {
        arena.share(len, |out| out.resize(len, byte))
    }

    #[test]
    fn neighbours_merge_and_strangers_do_not() {
        let mut arena = Arena::default();
        let first = frame(&mut arena, 1, 10);
        let second = frame(&mut arena, 2, 20);
        let third = frame(&mut arena, 3, 30);
        let mut range = first.range();
        assert!(!range.merge(&third));
        assert!(range.merge(&second));
        assert!(range.merge(&third));
        assert_eq!(range.len(), 60);
        assert_eq!(&range.bytes()[..11], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
        assert!(!range.merge(&third), "a frame again is a copy of its own");
    }

    #[test]
    fn a_chunk_is_used_again_only_when_nobody_refers_to_it() {
        let mut arena = Arena::default();
        let kept = frame(&mut arena, 7, 1_000);
        let kept_at = kept.bytes().as_ptr();
        let mut addresses = std::collections::HashSet::new();
        for _ in 0..1_000 {
            let other = frame(&mut arena, 8, 1_000);
            assert_ne!(other.bytes().as_ptr(), kept_at);
            addresses.insert(other.bytes().as_ptr() as usize);
        }
        assert!(kept.bytes().iter().all(|&byte| byte == 7));
        assert!(
            addresses.len() < 4 * limits::CHUNK_BYTES / 1_000,
            "chunks were not recycled"
        );
    }

    #[test]
    fn an_encoder_may_write_more_than_it_said() {
        let mut arena = Arena::default();
        let small = frame(&mut arena, 1, 10);
        let large = arena.share(1, |out| out.resize(3 * limits::CHUNK_BYTES, 9));
        assert_eq!(large.len(), 3 * limits::CHUNK_BYTES);
        assert!(large.bytes().iter().all(|&byte| byte == 9));
        assert_eq!(small.bytes(), [1; 10]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_trimmed_when_quiet() {
        let mut arena = Arena::default();
        let held: Vec<Shared> = (0..200)
            .map(|_| frame(&mut arena, 1, limits::CHUNK_BYTES / 5))
            .collect();
        assert!(arena.full.len() <= limits::CHUNKS_KEPT_MAX);
        drop(held);
        arena.trim();
        assert_eq!(arena.full.len(), 1);
    }
}
