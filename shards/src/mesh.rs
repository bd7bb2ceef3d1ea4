//! Shard-to-shard queues: one ring per ordered pair, and one for the way back.
//!
//! Invariants: sending never blocks; parcels of one pair arrive in order; whoever was refused for want of room
//! is woken when there is room again. A shard falls asleep by *announce, fence, look again*: it announces that
//! it sleeps and where it wishes for room, and then looks at every ring once more. A peer that pushed or made
//! room fences and then reads the announcement. One of the two sees the other.
//!
//! A parcel is counted as sent before it is pushed, and as done with after all that follows from it was pushed: if as
//! many are done with as were sent, the latter read after the former, nothing is under way.
//!
//! Knows nothing of bells: it tells whom to ring.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use crossbeam::utils::CachePadded;
use rtrb::{Consumer, Producer, PushError, RingBuffer};

/// Set by a producer that found the ring full and is about to sleep; answered by the consumer with a bell.
type Wish = Arc<CachePadded<AtomicBool>>;

/// Parcels of one shard: those it sent, and those of others that it is done with. It is the only writer.
#[derive(Debug, Default)]
struct Traffic {
    sent: AtomicU64,
    done: AtomicU64,
}

/// The way out to one shard.
#[derive(Debug)]
struct Outbound<P> {
    parcels: Producer<P>,
    emptied: Consumer<P>,
    wish: Wish,
    /// Something was pushed since the last look for bells.
    touched: bool,
    /// Something was refused, and no room has been seen since.
    refused: bool,
}

/// The way in from one shard.
#[derive(Debug)]
struct Inbound<P> {
    parcels: Consumer<P>,
    emptied: Producer<P>,
    wish: Wish,
    /// Room was made since the last look for bells.
    made_room: bool,
}

/// One shard's ends of all its queues.
#[derive(Debug)]
pub struct Mesh<P> {
    shard: usize,
    outbound: Vec<Option<Outbound<P>>>,
    inbound: Vec<Option<Inbound<P>>>,
    asleep: Arc<Vec<CachePadded<AtomicBool>>>,
    traffic: Arc<Vec<CachePadded<Traffic>>>,
    sent: u64,
    taken: u64,
}

/// The queues between `shards` shards, `parcels` of room in each direction of a pair; one [`Mesh`] per shard.
pub fn grid<P: Send>(shards: usize, parcels: usize) -> Vec<Mesh<P>> {
    ways(shards, parcels, parcels)
}

/// As [`grid`], without a way back for what was emptied.
pub(crate) fn one_way<P: Send>(shards: usize, parcels: usize) -> Vec<Mesh<P>> {
    ways(shards, parcels, 0)
}

fn ways<P: Send>(shards: usize, parcels: usize, emptied: usize) -> Vec<Mesh<P>> {
    let asleep: Arc<Vec<_>> = Arc::new((0..shards).map(|_| CachePadded::default()).collect());
    let traffic: Arc<Vec<_>> = Arc::new((0..shards).map(|_| CachePadded::default()).collect());
    let mut meshes: Vec<Mesh<P>> = (0..shards)
        .map(|shard| Mesh {
            shard,
            outbound: std::iter::repeat_with(|| None).take(shards).collect(),
            inbound: std::iter::repeat_with(|| None).take(shards).collect(),
            asleep: Arc::clone(&asleep),
            traffic: Arc::clone(&traffic),
            sent: 0,
            taken: 0,
        })
        .collect();
    for from in 0..shards {
        for to in (0..shards).filter(|&to| to != from) {
            let (forward, arriving) = RingBuffer::new(parcels);
            let (back, returning) = RingBuffer::new(emptied);
            let wish = Wish::default();
            let outbound = Outbound {
                parcels: forward,
                emptied: returning,
                wish: Arc::clone(&wish),
                touched: false,
                refused: false,
            };
            let inbound = Inbound {
                parcels: arriving,
                emptied: back,
                wish,
                made_room: false,
            };
            if let Some(end) = meshes.get_mut(from).and_then(|mesh| mesh.outbound.get_mut(to)) {
                *end = Some(outbound);
            }
            if let Some(end) = meshes.get_mut(to).and_then(|mesh| mesh.inbound.get_mut(from)) {
                *end = Some(inbound);
            }
        }
    }
    meshes
}

impl<P> Mesh<P> {
    /// Hands a parcel to shard `to`; gives it back if the ring is full, or if `to` is this shard or none.
    pub fn send(&mut self, to: usize, parcel: P) -> Result<(), P> {
        let Some(Some(outbound)) = self.outbound.get_mut(to) else {
            debug_assert!(false, "shard {} has no way to shard {to}", self.shard);
            return Err(parcel);
        };
        let own = self.traffic.get(self.shard);
        let count = |sent| {
            if let Some(own) = own {
                own.sent.store(sent, Ordering::Release);
            }
        };
        count(self.sent.wrapping_add(1));
        match outbound.parcels.push(parcel) {
            Ok(()) => {
                self.sent = self.sent.wrapping_add(1);
                outbound.touched = true;
                Ok(())
            }
            Err(PushError::Full(parcel)) => {
                count(self.sent);
                outbound.refused = true;
                Err(parcel)
            }
        }
    }

    /// All that follows from the parcels that were received has been sent.
    pub(crate) fn finish(&self) {
        if let Some(own) = self.traffic.get(self.shard) {
            own.done.store(self.taken, Ordering::Release);
        }
    }

    /// Whether every parcel of every shard has been received, and what follows from it sent. It stays so if no shard
    /// sends anything but for a parcel.
    pub(crate) fn is_quiet(&self) -> bool {
        let sum = |of: fn(&Traffic) -> &AtomicU64| {
            let all = self.traffic.iter().map(|one| of(one).load(Ordering::Acquire));
            all.fold(0, u64::wrapping_add)
        };
        let done = sum(|one| &one.done);
        done == sum(|one| &one.sent)
    }

    /// Whether shard `to` can be sent something now. If not, this counts as a refusal: this shard is woken when
    /// there is room.
    pub(crate) fn has_room(&mut self, to: usize) -> bool {
        let Some(Some(outbound)) = self.outbound.get_mut(to) else {
            return false;
        };
        let room = outbound.parcels.slots() > 0;
        outbound.refused |= !room;
        room
    }

    /// Parcels of shard `from` that have arrived.
    pub fn arrived(&self, from: usize) -> usize {
        let inbound = self.inbound.get(from).and_then(Option::as_ref);
        inbound.map_or(0, |inbound| inbound.parcels.slots())
    }

    /// Takes the next parcel of shard `from`.
    pub fn receive(&mut self, from: usize) -> Option<P> {
        let inbound = self.inbound.get_mut(from)?.as_mut()?;
        let parcel = inbound.parcels.pop().ok()?;
        self.taken = self.taken.wrapping_add(1);
        inbound.made_room = true;
        Some(parcel)
    }

    /// Sends an emptied parcel back to shard `from`; it is dropped if there is no room.
    pub fn give_back(&mut self, from: usize, parcel: P) {
        if let Some(Some(inbound)) = self.inbound.get_mut(from) {
            drop(inbound.emptied.push(parcel));
        }
    }

    /// A parcel that shard `to` has emptied.
    pub fn reuse(&mut self, to: usize) -> Option<P> {
        self.outbound.get_mut(to)?.as_mut()?.emptied.pop().ok()
    }

    /// After pushing and draining: calls `ring` for each shard that sleeps and has got something, or room that
    /// it had wished for. Each is to be woken exactly once.
    pub fn wake(&mut self, mut ring: impl FnMut(usize)) {
        let mut fenced = false;
        for (peer, (outbound, inbound)) in self.outbound.iter_mut().zip(&mut self.inbound).enumerate() {
            let (Some(outbound), Some(inbound)) = (outbound, inbound) else {
                continue;
            };
            let touched = std::mem::take(&mut outbound.touched);
            let made_room = std::mem::take(&mut inbound.made_room);
            if !touched && !made_room {
                continue;
            }
            if !fenced {
                // What was pushed and popped comes before what is read of the peers' announcements.
                fence(Ordering::SeqCst);
                fenced = true;
            }
            let wished = made_room && inbound.wish.load(Ordering::Relaxed);
            if wished {
                inbound.wish.store(false, Ordering::Relaxed);
            }
            if !touched && !wished {
                continue;
            }
            let Some(asleep) = self.asleep.get(peer) else {
                continue;
            };
            if asleep.load(Ordering::Relaxed) && asleep.swap(false, Ordering::AcqRel) {
                ring(peer);
            }
        }
    }

    /// Announces that this shard sleeps. True: nothing has arrived, nothing refused has room by now, and
    /// whoever changes that from here on rings. False: it is awake, look again.
    pub fn fall_asleep(&mut self) -> bool {
        for outbound in self.outbound.iter().flatten().filter(|outbound| outbound.refused) {
            outbound.wish.store(true, Ordering::Relaxed);
        }
        let Some(asleep) = self.asleep.get(self.shard) else {
            return true;
        };
        asleep.store(true, Ordering::Relaxed);
        // The announcement comes before the second look.
        fence(Ordering::SeqCst);
        let mut idle = self
            .inbound
            .iter()
            .flatten()
            .all(|inbound| inbound.parcels.is_empty());
        for outbound in self
            .outbound
            .iter_mut()
            .flatten()
            .filter(|outbound| outbound.refused)
        {
            if outbound.parcels.slots() > 0 {
                outbound.refused = false;
                outbound.wish.store(false, Ordering::Relaxed);
                idle = false;
            }
        }
        if !idle {
            self.wake_up();
        }
        idle
    }

    /// Takes the announcement back.
    pub fn wake_up(&self) {
        if let Some(asleep) = self.asleep.get(self.shard) {
            asleep.store(false, Ordering::Relaxed);
        }
    }

    /// Whether something has arrived.
    pub fn has_arrivals(&self) -> bool {
        self.inbound
            .iter()
            .flatten()
            .any(|inbound| !inbound.parcels.is_empty())
    }

    /// This shard's number.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.outbound.len()
    }
}

#[cfg(test)]
mod tests;
