//! Parcels being filled for the other shards.
//!
//! Invariants: letters to one shard leave in the order they were written, also across parcels that came back
//! because the ring was full. What may be dropped finds room only below `MESH_BACKLOG_BYTES_MAX`; what may not
//! be (replies, claims, interest, the directory) always finds it.

use super::letter::Letter;
use super::parcel::Parcel;
use crate::limits;

/// The open parcel of every shard, and empty ones.
#[derive(Debug)]
pub(crate) struct Mesh {
    shard: u16,
    open: Vec<Parcel>,
    spare: Vec<Parcel>,
}

impl Mesh {
    pub(crate) fn new(shard: u16, shards: u16) -> Self {
        Self {
            shard,
            open: (0..shards).map(|_| Parcel::default()).collect(),
            spare: Vec::new(),
        }
    }

    /// Number of shards.
    pub(crate) fn shards(&self) -> u16 {
        u16::try_from(self.open.len()).unwrap_or(u16::MAX)
    }

    /// Whether a letter with `bytes` bytes that may be dropped still fits.
    pub(crate) fn has_room(&self, to: u16, bytes: usize) -> bool {
        self.open.get(usize::from(to)).is_some_and(|parcel| {
            parcel.len_bytes() + bytes + size_of::<Letter>() <= limits::MESH_BACKLOG_BYTES_MAX
        })
    }

    /// Whether a body of `bytes` bytes fits into the room that replies have.
    pub(crate) fn has_reserved_room(&self, to: u16, bytes: usize) -> bool {
        self.open.get(usize::from(to)).is_some_and(|parcel| {
            parcel.len_bytes() + bytes + size_of::<Letter>() <= limits::MESH_RESERVED_BYTES_MAX
        })
    }

    /// Writes a letter to another shard.
    pub(crate) fn write(&mut self, to: u16, letter: impl FnOnce(&mut Parcel) -> Letter) {
        debug_assert_ne!(to, self.shard, "a shard does not write to itself");
        if let Some(parcel) = self.open.get_mut(usize::from(to)) {
            let letter = letter(parcel);
            parcel.put(letter);
        }
    }

    /// Writes a letter to all other shards.
    pub(crate) fn broadcast(&mut self, mut letter: impl FnMut(&mut Parcel) -> Letter) {
        for (to, parcel) in self.open.iter_mut().enumerate() {
            if to != usize::from(self.shard) {
                let letter = letter(parcel);
                parcel.put(letter);
            }
        }
    }

    /// The parcel filled for `to` since the last call, if there is anything in it.
    pub(crate) fn outgoing(&mut self, to: u16) -> Option<Parcel> {
        let open = self.open.get_mut(usize::from(to))?;
        if open.is_empty() {
            return None;
        }
        Some(std::mem::replace(open, self.spare.pop().unwrap_or_default()))
    }

    /// Takes back a parcel that could not be passed on; more letters are appended to it.
    pub(crate) fn keep(&mut self, to: u16, mut parcel: Parcel) {
        let Some(open) = self.open.get_mut(usize::from(to)) else {
            return;
        };
        if !open.is_empty() {
            parcel.append(open);
        }
        let empty = std::mem::replace(open, parcel);
        self.recycle(empty);
    }

    /// Takes an empty parcel for use again.
    pub(crate) fn recycle(&mut self, mut parcel: Parcel) {
        if self.spare.len() < limits::MESH_SPARE_PARCELS_MAX {
            parcel.clear();
            self.spare.push(parcel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::SessionKey;

    fn load(in_flight: u32) -> Letter {
        let worker = SessionKey {
            slot: 0,
            generation: 0,
        };
        Letter::Load { worker, in_flight }
    }

    fn loads(mut parcel: Parcel) -> Vec<u32> {
        let read = |letter: &Letter| match letter {
            Letter::Load { in_flight, .. } => *in_flight,
            _ => panic!("another letter"),
        };
        parcel.take_letters().iter().map(read).collect()
    }

    #[test]
    fn a_parcel_that_came_back_leaves_before_what_was_written_since() {
        let mut mesh = Mesh::new(0, 2);
        mesh.write(1, |_| load(1));
        let back = mesh.outgoing(1).unwrap();
        mesh.write(1, |_| load(2));
        mesh.keep(1, back);
        mesh.write(1, |_| load(3));
        assert_eq!(loads(mesh.outgoing(1).unwrap()), [1, 2, 3]);
        assert!(mesh.outgoing(1).is_none());
    }

    #[test]
    fn a_broadcast_reaches_all_others() {
        let mut mesh = Mesh::new(1, 4);
        mesh.broadcast(|_| load(5));
        let reached: Vec<_> = (0..4).filter(|&to| mesh.outgoing(to).is_some()).collect();
        assert_eq!(reached, [0, 2, 3]);
    }

    #[test]
    fn what_may_be_dropped_finds_room_only_below_the_bound() {
        let mut mesh = Mesh::new(0, 2);
        let half = vec![0; limits::MESH_BACKLOG_BYTES_MAX / 2];
        assert!(mesh.has_room(1, half.len()));
        mesh.write(1, |parcel| {
            parcel.put_bytes(&half);
            load(0)
        });
        assert!(!mesh.has_room(1, half.len()));
        assert!(mesh.has_reserved_room(1, half.len()));
    }
}
