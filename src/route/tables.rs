//! Tables that grow in small steps.
//!
//! A shard serves all its sessions from one thread: one table that doubles at a million entries would keep
//! them waiting for most of a second. So hash tables are split into segments that grow on their own, and
//! slots stand in chunks that never move.

use hashbrown::HashTable;
use hashbrown::hash_table::{AbsentEntry, Entry, OccupiedEntry};

const SEGMENTS: usize = 256;

/// A [`HashTable`] in segments.
#[derive(Debug)]
pub(crate) struct Segments<T>(Box<[HashTable<T>]>);

impl<T> Segments<T> {
    pub(crate) fn new() -> Self {
        Self((0..SEGMENTS).map(|_| HashTable::new()).collect())
    }

    /// Bits in the middle: the table itself uses the lowest and the highest.
    fn place(hash: u64) -> usize {
        usize::from(hash.to_le_bytes()[5])
    }

    fn of(&self, hash: u64) -> Option<&HashTable<T>> {
        self.0.get(Self::place(hash))
    }

    /// See [`HashTable::find`].
    pub(crate) fn find(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        self.of(hash)?.find(hash, eq)
    }

    /// See [`HashTable::find_mut`].
    pub(crate) fn find_mut(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.0.get_mut(Self::place(hash))?.find_mut(hash, eq)
    }

    /// See [`HashTable::find_entry`]; nothing if there is no such entry.
    pub(crate) fn find_entry(
        &mut self,
        hash: u64,
        eq: impl FnMut(&T) -> bool,
    ) -> Option<OccupiedEntry<'_, T>> {
        let found: Result<_, AbsentEntry<'_, T>> = self.0.get_mut(Self::place(hash))?.find_entry(hash, eq);
        found.ok()
    }

    /// See [`HashTable::entry`]; there is always one.
    pub(crate) fn entry(
        &mut self,
        hash: u64,
        eq: impl FnMut(&T) -> bool,
        hasher: impl Fn(&T) -> u64,
    ) -> Option<Entry<'_, T>> {
        Some(self.0.get_mut(Self::place(hash))?.entry(hash, eq, hasher))
    }

    /// See [`HashTable::insert_unique`].
    pub(crate) fn insert_unique(&mut self, hash: u64, value: T, hasher: impl Fn(&T) -> u64) {
        if let Some(segment) = self.0.get_mut(Self::place(hash)) {
            segment.insert_unique(hash, value, hasher);
        }
    }

    /// Entries there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(HashTable::len).sum()
    }
}

const CHUNK: usize = 4_096;

/// Places for values, named by their number.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    chunks: Vec<Vec<Option<T>>>,
    /// Places that were used before.
    free: Vec<u32>,
    used: u32,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            used: 0,
        }
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.slot(slot)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slot_mut(slot)?.as_mut()
    }

    /// Puts a value where there is room.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        });
        *self.place(slot) = Some(value);
        slot
    }

    /// Takes out a value that [`Self::insert`] put there.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let value = self.slot_mut(slot)?.take()?;
        self.free.push(slot);
        Some(value)
    }

    /// The place of that number, for those who number the places themselves.
    pub(crate) fn place(&mut self, slot: u32) -> &mut Option<T> {
        let (chunk, index) = split(slot);
        while self.chunks.len() <= chunk {
            self.chunks.push(Vec::new());
        }
        #[expect(
            clippy::indexing_slicing,
            reason = "the chunk has just been made, then the place in it"
        )]
        let chunk = &mut self.chunks[chunk];
        if chunk.len() <= index {
            // Room for the whole chunk at once: it never moves. Pages nobody touches cost nothing.
            chunk.reserve_exact(CHUNK - chunk.len());
            chunk.resize_with(index + 1, || None);
        }
        #[expect(clippy::indexing_slicing, reason = "resized just before")]
        &mut chunk[index]
    }

    /// The place of that number, if there has ever been a value in it or behind it.
    pub(crate) fn slot_mut(&mut self, slot: u32) -> Option<&mut Option<T>> {
        let (chunk, index) = split(slot);
        self.chunks.get_mut(chunk)?.get_mut(index)
    }

    fn slot(&self, slot: u32) -> Option<&Option<T>> {
        let (chunk, index) = split(slot);
        self.chunks.get(chunk)?.get(index)
    }

    /// One more than the highest number in use so far.
    pub(crate) fn end(&self) -> u32 {
        let last = self.chunks.last().map_or(0, Vec::len);
        let end = self.chunks.len().saturating_sub(1) * CHUNK + last;
        u32::try_from(end).unwrap_or(u32::MAX)
    }

    /// Values there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().flatten().flatten().count()
    }
}

const fn split(slot: u32) -> (usize, usize) {
    (slot as usize / CHUNK, slot as usize % CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_hold_what_a_table_holds() {
        let mut table = Segments::new();
        let hash_of = |value: &u64| value.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for value in 0..10_000_u64 {
            table.insert_unique(hash_of(&value), value, hash_of);
        }
        for value in (0..10_000).step_by(3) {
            let found = table.find_entry(hash_of(&value), |other| *other == value);
            found.unwrap().remove();
        }
        for value in 0..10_000 {
            let found = table.find(hash_of(&value), |other| *other == value);
            assert_eq!(found.is_some(), value % 3 != 0);
        }
        assert_eq!(table.len(), 6_666);
        let largest = table.0.iter().map(HashTable::len).max();
        assert!(largest < Some(80), "{largest:?}");
    }

    #[test]
    fn slots_are_used_again_and_never_move() {
        let mut slots = Slots::new();
        let first = slots.insert(7_usize);
        let address = std::ptr::from_ref(slots.get(first).unwrap());
        for value in 0..3 * CHUNK {
            slots.insert(value);
        }
        assert_eq!(std::ptr::from_ref(slots.get(first).unwrap()), address);
        assert_eq!(
            (slots.len(), slots.end() as usize),
            (3 * CHUNK + 1, 3 * CHUNK + 1)
        );
        assert_eq!(slots.remove(9), Some(8));
        assert_eq!((slots.remove(9), slots.get(9)), (None, None));
        assert_eq!(slots.insert(77), 9);
        *slots.place(5 * 4_096 + 3) = Some(1);
        assert_eq!(slots.end(), 5 * 4_096 + 4);
        assert!(slots.get(4 * 4_096).is_none() && slots.get(u32::MAX).is_none());
    }
}
