//! Timers: a hierarchical wheel over a slab.
//!
//! Invariant: with `elapsed` the last tick processed, a timer due at tick `t > elapsed` hangs in the slot that
//! the highest group of six bits in which `t` and `elapsed` differ selects; so on every level only slots ahead
//! of `elapsed` are occupied, and the lowest occupied level holds what is due first. A timer due at or before
//! `elapsed` hangs in the list of expired ones, in order, until it is popped. The wheel is driven by the time
//! it is given, never by how often it is called.

/// Nanoseconds of one tick.
const TICK_NS: u64 = crate::limits::TICK_MS * crate::clock::NS_PER_MS;
/// Bits of a deadline that one level resolves.
const LEVEL_BITS: u32 = 6;
/// Slots of one level.
const SLOTS: usize = 1 << LEVEL_BITS;
/// Levels: 42 bits of ticks, more than a `u64` of nanoseconds has.
const LEVELS: usize = 7;
/// The list of expired timers, numbered behind the slots.
#[expect(clippy::cast_possible_truncation, reason = "448")]
const EXPIRED: u16 = (LEVELS * SLOTS) as u16;
/// No list: the entry is free.
const FREE: u16 = u16::MAX;
/// No entry.
const NIL: u32 = u32::MAX;

/// Names one armed timer. Stale once it has fired or was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId {
    slot: u32,
    generation: u32,
}

impl TimerId {
    /// The id as a number, to be kept where only numbers are.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The id that [`TimerId::to_bits`] was taken of.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are taken apart")]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            slot: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// One timer, 32 bytes. Lists are circular through `next` and `prev`.
#[derive(Clone, Copy, Debug)]
struct Entry {
    due: u64,
    key: u64,
    next: u32,
    prev: u32,
    generation: u32,
    list: u16,
}

/// A set of timers, each a key and the time from which it is due.
#[derive(Debug)]
pub struct Wheel {
    entries: Vec<Entry>,
    free: u32,
    armed: usize,
    elapsed: u64,
    occupied: [u64; LEVELS],
    heads: [u32; LEVELS * SLOTS + 1],
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: NIL,
            armed: 0,
            elapsed: 0,
            occupied: [0; LEVELS],
            heads: [NIL; LEVELS * SLOTS + 1],
        }
    }
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "indices come from the wheel's own lists, never from outside; levels and slots are masked"
)]
impl Wheel {
    /// Arms a timer that fires with `key` not before `at_ns` and at most one tick later, as far as the wheel
    /// is advanced in time.
    pub fn insert(&mut self, at_ns: u64, key: u64) -> TimerId {
        let due = at_ns.div_ceil(TICK_NS);
        let slot = self.allocate(due, key);
        self.link(slot);
        self.armed += 1;
        TimerId {
            slot,
            generation: self.entries[slot as usize].generation,
        }
    }

    /// Disarms a timer. False: it has fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> bool {
        match self.entries.get(id.slot as usize) {
            Some(entry) if entry.generation == id.generation && entry.list != FREE => {}
            _ => return false,
        }
        self.unlink(id.slot);
        self.release(id.slot);
        true
    }

    /// Moves time forward; what has become due can then be popped. An earlier time than before is ignored.
    pub fn advance(&mut self, now_ns: u64) {
        let now = now_ns / TICK_NS;
        if now <= self.elapsed {
            return;
        }
        while let Some((level, slot, at)) = self.next_slot() {
            if at > now {
                break;
            }
            self.elapsed = at;
            self.empty_slot(level, slot);
        }
        self.elapsed = now;
    }

    /// Takes the next due timer's key.
    pub fn pop(&mut self) -> Option<u64> {
        let head = self.heads[EXPIRED as usize];
        if head == NIL {
            return None;
        }
        let key = self.entries[head as usize].key;
        self.unlink(head);
        self.release(head);
        Some(key)
    }

    /// Whether a timer is due and not yet popped.
    pub fn has_due(&self) -> bool {
        self.heads[EXPIRED as usize] != NIL
    }

    /// Timers armed and not yet popped.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    fn allocate(&mut self, due: u64, key: u64) -> u32 {
        if self.free == NIL {
            let slot = self.entries.len() as u32;
            self.entries.push(Entry {
                due,
                key,
                next: NIL,
                prev: NIL,
                generation: 0,
                list: FREE,
            });
            return slot;
        }
        let slot = self.free;
        let entry = &mut self.entries[slot as usize];
        self.free = entry.next;
        entry.due = due;
        entry.key = key;
        slot
    }

    fn release(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.list = FREE;
        entry.next = self.free;
        self.free = slot;
        self.armed -= 1;
    }

    /// Appends an entry to the list its deadline belongs to.
    fn link(&mut self, slot: u32) {
        let due = self.entries[slot as usize].due;
        let list = if due <= self.elapsed {
            EXPIRED
        } else {
            let level = ((due ^ self.elapsed).ilog2() / LEVEL_BITS) as usize;
            let place = (due >> (LEVEL_BITS as usize * level)) as usize % SLOTS;
            self.occupied[level] |= 1 << place;
            (level * SLOTS + place) as u16
        };
        let head = self.heads[list as usize];
        if head == NIL {
            self.heads[list as usize] = slot;
            let entry = &mut self.entries[slot as usize];
            (entry.next, entry.prev, entry.list) = (slot, slot, list);
            return;
        }
        let tail = self.entries[head as usize].prev;
        self.entries[tail as usize].next = slot;
        self.entries[head as usize].prev = slot;
        let entry = &mut self.entries[slot as usize];
        (entry.next, entry.prev, entry.list) = (head, tail, list);
    }

    /// Takes an entry out of its list.
    fn unlink(&mut self, slot: u32) {
        let Entry { next, prev, list, .. } = self.entries[slot as usize];
        if next == slot {
            self.heads[list as usize] = NIL;
            if list != EXPIRED {
                self.occupied[list as usize / SLOTS] &= !(1 << (list as usize % SLOTS));
            }
            return;
        }
        self.entries[prev as usize].next = next;
        self.entries[next as usize].prev = prev;
        if self.heads[list as usize] == slot {
            self.heads[list as usize] = next;
        }
    }

    /// The slot that is due first and its first tick.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = LEVEL_BITS as usize * level;
        let rotation = u64::MAX << (shift + LEVEL_BITS as usize);
        Some((level, slot, self.elapsed & rotation | (slot as u64) << shift))
    }

    /// Hands a slot's timers down: to the lists their deadlines belong to, seen from `elapsed`.
    fn empty_slot(&mut self, level: usize, slot: usize) {
        let list = level * SLOTS + slot;
        let head = std::mem::replace(&mut self.heads[list], NIL);
        self.occupied[level] &= !(1 << slot);
        let mut at = head;
        while at != NIL {
            let next = self.entries[at as usize].next;
            self.link(at);
            at = if next == head { NIL } else { next };
        }
    }
}

#[cfg(test)]
mod tests;
