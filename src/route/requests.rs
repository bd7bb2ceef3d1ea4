//! Requests in flight that the sessions of this shard have sent.
//!
//! Invariant: a request stands here from the moment it was taken until its one outcome was handed over or its
//! requester left; whoever takes it out decides its outcome, so there is never a second.

use super::hashes::Local;
use super::message::{SessionId, SessionKey, Token};
use super::port::{RouteTimer, TimerHandle};
use super::sessions::{Extra, NONE, id};
use super::tables::Segments;
use crate::limits;
use crate::time::Instant;

/// A request in flight on its requester's shard. The generation moves on when the slot is reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestKey {
    slot: u32,
    generation: u32,
}

/// Generations have 31 bits: with the slot they make a timer of 63.
const GENERATION_MASK: u32 = u32::MAX >> 1;

impl RequestKey {
    /// The timer that ends it.
    pub(crate) fn timer(self) -> RouteTimer {
        RouteTimer(u64::from(self.generation) << 32 | u64::from(self.slot))
    }

    /// The request that a timer ends.
    pub(crate) const fn of_timer(timer: RouteTimer) -> Self {
        Self {
            slot: super::hashes::low(timer.0),
            generation: super::hashes::low(timer.0 >> 32),
        }
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) requester: SessionKey,
    pub(crate) worker: SessionId,
    pub(crate) token: Token,
    pub(crate) timer: TimerHandle,
    /// When it was taken.
    pub(crate) since: Instant,
    /// Whether it counts among what this shard sent to that worker.
    pub(crate) sent: bool,
    /// Workers that declined it so far.
    pub(crate) declined: u8,
    /// Whether its label stands in the table of unique labels.
    unique: bool,
    previous: u32,
    next: u32,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    /// Kept for its room when the slot is free.
    label: Vec<u8>,
    request: Option<InFlight>,
}

/// All requests in flight of this shard's sessions.
#[derive(Debug)]
pub(crate) struct Requests {
    slots: Vec<Slot>,
    free: Vec<u32>,
    unique: Segments<u32>,
    local: Local,
}

impl Requests {
    pub(crate) fn new(local: Local) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            unique: Segments::new(),
            local,
        }
    }

    /// Requests in flight.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether `requester` has a request in flight whose label is unique and equals `label`.
    pub(crate) fn has_label(&self, requester: SessionKey, label: &[u8]) -> bool {
        let same = |&slot: &u32| {
            self.slots.get(slot as usize).is_some_and(|slot| {
                slot.label == label
                    && slot
                        .request
                        .as_ref()
                        .is_some_and(|request| request.requester == requester)
            })
        };
        self.unique
            .find(self.local.of((requester, label)), same)
            .is_some()
    }

    /// Takes a request in. `arm` arms its timer.
    pub(crate) fn insert(
        &mut self,
        requester: SessionKey,
        extra: &mut Extra,
        (label, unique): (&[u8], bool),
        worker: SessionId,
        since: Instant,
        arm: impl FnOnce(RouteTimer) -> TimerHandle,
    ) -> RequestKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                label: Vec::new(),
                request: None,
            });
            id(self.slots.len() - 1)
        });
        let mut key = RequestKey { slot, generation: 0 };
        let next = extra.requests_head;
        if let Some(place) = self.slots.get_mut(slot as usize) {
            key.generation = place.generation;
            place.label.extend_from_slice(label);
            place.request = Some(InFlight {
                requester,
                worker,
                token: Token(0),
                timer: arm(key.timer()),
                since,
                sent: false,
                declined: 0,
                unique,
                previous: NONE,
                next,
            });
        }
        if let Some(second) = self.at_mut(next) {
            second.previous = slot;
        }
        extra.requests_head = slot;
        extra.requests += 1;
        if unique {
            let (slots, local) = (&self.slots, &self.local);
            let hash_of = |&slot: &u32| {
                slots.get(slot as usize).map_or(0, |slot| {
                    let requester = slot.request.as_ref().map(|request| request.requester);
                    requester.map_or(0, |requester| local.of((requester, slot.label.as_slice())))
                })
            };
            self.unique
                .insert_unique(local.of((requester, label)), slot, hash_of);
        }
        key
    }

    pub(crate) fn get(&self, key: RequestKey) -> Option<&InFlight> {
        let slot = self.slots.get(key.slot as usize)?;
        slot.request
            .as_ref()
            .filter(|_| slot.generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: RequestKey) -> Option<&mut InFlight> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        slot.request
            .as_mut()
            .filter(|_| slot.generation == key.generation)
    }

    /// Takes a request out, with its label; give the label's room back with [`Self::keep_label`].
    pub(crate) fn remove(
        &mut self,
        key: RequestKey,
        extra: Option<&mut Extra>,
    ) -> Option<(InFlight, Vec<u8>)> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let request = slot.request.take()?;
        let label = std::mem::take(&mut slot.label);
        slot.generation = slot.generation.wrapping_add(1) & GENERATION_MASK;
        self.free.push(key.slot);
        if request.unique {
            let hash = self.local.of((request.requester, label.as_slice()));
            if let Some(entry) = self.unique.find_entry(hash, |&slot| slot == key.slot) {
                entry.remove();
            }
        }
        if let Some(previous) = self.at_mut(request.previous) {
            previous.next = request.next;
        }
        if let Some(next) = self.at_mut(request.next) {
            next.previous = request.previous;
        }
        if let Some(extra) = extra {
            extra.requests -= 1;
            if extra.requests_head == key.slot {
                extra.requests_head = request.next;
            }
        }
        Some((request, label))
    }

    /// Leaves a label's room with the slot it came from.
    pub(crate) fn keep_label(&mut self, key: RequestKey, mut label: Vec<u8>) {
        if label.capacity() <= limits::LABEL_KEPT_BYTES_MAX
            && let Some(slot) = self.slots.get_mut(key.slot as usize)
            && slot.request.is_none()
        {
            label.clear();
            slot.label = label;
        }
    }

    /// The latest request of a session.
    pub(crate) fn latest(&self, extra: &Extra) -> Option<RequestKey> {
        let slot = self.slots.get(extra.requests_head as usize)?;
        Some(RequestKey {
            slot: extra.requests_head,
            generation: slot.generation,
        })
    }

    fn at_mut(&mut self, slot: u32) -> Option<&mut InFlight> {
        self.slots.get_mut(slot as usize)?.request.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requester() -> SessionKey {
        SessionKey {
            slot: 1,
            generation: 0,
        }
    }

    fn insert(requests: &mut Requests, extra: &mut Extra, label: &[u8]) -> RequestKey {
        let worker = SessionId {
            shard: 0,
            key: requester(),
        };
        requests.insert(
            requester(),
            extra,
            (label, true),
            worker,
            Instant::default(),
            |timer| TimerHandle(timer.0),
        )
    }

    #[test]
    fn a_request_is_taken_out_once_and_its_key_is_good_for_no_other() {
        let (mut requests, mut extra) = (Requests::new(Local::new([1, 2, 3, 4])), Extra::default());
        let key = insert(&mut requests, &mut extra, b"x");
        assert_eq!(RequestKey::of_timer(key.timer()), key);
        let (_, label) = requests.remove(key, Some(&mut extra)).unwrap();
        assert_eq!(label, b"x");
        requests.keep_label(key, label);
        assert!(requests.remove(key, Some(&mut extra)).is_none());
        let next = insert(&mut requests, &mut extra, b"y");
        assert_eq!(next.slot, key.slot);
        assert!(requests.get(key).is_none());
        assert_eq!(requests.remove(next, Some(&mut extra)).unwrap().1, b"y");
        assert_eq!(
            (requests.len(), extra.requests, extra.requests_head),
            (0, 0, NONE)
        );
    }

    #[test]
    fn a_timer_fits_63_bits_however_often_its_slot_was_used() {
        let (mut requests, mut extra) = (Requests::new(Local::new([1, 2, 3, 4])), Extra::default());
        let key = insert(&mut requests, &mut extra, b"");
        requests.remove(key, Some(&mut extra));
        requests.slots[0].generation = GENERATION_MASK;
        for generation in [GENERATION_MASK, 0, 1] {
            let key = insert(&mut requests, &mut extra, b"");
            assert_eq!(key.generation, generation);
            assert_eq!(key.timer().0 >> 63, 0);
            assert_eq!(RequestKey::of_timer(key.timer()), key);
            requests.remove(key, Some(&mut extra));
        }
    }

    #[test]
    fn a_session_reaches_all_its_requests_whatever_was_removed() {
        let (mut requests, mut extra) = (Requests::new(Local::new([1, 2, 3, 4])), Extra::default());
        let keys: Vec<_> = (0..10_u8)
            .map(|n| insert(&mut requests, &mut extra, &[n]))
            .collect();
        for at in [9, 0, 5] {
            requests.remove(keys[at], Some(&mut extra)).unwrap();
            assert!(!requests.has_label(requester(), &[u8::try_from(at).unwrap()]));
        }
        let mut left = Vec::new();
        while let Some(key) = requests.latest(&extra) {
            left.push(requests.remove(key, Some(&mut extra)).unwrap().1);
        }
        left.sort();
        assert_eq!(left, [1, 2, 3, 4, 6, 7, 8].map(|n| vec![n]));
        assert_eq!(requests.len(), 0);
    }
}
