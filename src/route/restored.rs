//! When all shards have taken in what was kept over a restart, and each has read what the others told it of that: from then
//! on whoever is looked for is found.
//!
//! Letters of a shard are read in their order, but not before or behind those of another shard. So one round tells that a
//! shard has told everything, and a second one that a shard has read all of the first.

use super::channels::interest::ShardSet;
use super::letter::Letter;
use super::router::Router;

/// How far they are.
#[derive(Debug, Default)]
pub(super) struct Restore {
    /// This shard has taken in everything.
    is_done: bool,
    /// Others that have.
    done: ShardSet,
    /// This shard has read what all of them told.
    has_read: bool,
    /// Others that have.
    read: ShardSet,
}

impl Router {
    /// This shard has taken in all that was kept, and has told the others. Once.
    pub fn restored(&mut self) {
        if !std::mem::replace(&mut self.restore.is_done, true) {
            self.mesh.broadcast(|_| Letter::Restored);
            self.read_restored();
        }
    }

    /// Whether every shard has taken in all, and has read what the others told it of that.
    pub fn is_restored(&self) -> bool {
        self.restore.has_read && self.restore.read.len() == self.others()
    }

    /// Another shard says how far it is.
    pub(super) fn follow_restored(&mut self, from: u16, letter: &Letter) {
        match letter {
            Letter::Restored => self.restore.done.add(ShardSet::of(from)),
            _ => self.restore.read.add(ShardSet::of(from)),
        }
        self.read_restored();
    }

    fn read_restored(&mut self) {
        let others = self.others();
        let restore = &mut self.restore;
        if restore.is_done && restore.done.len() == others && !restore.has_read {
            restore.has_read = true;
            self.mesh.broadcast(|_| Letter::AllRestored);
        }
    }

    fn others(&self) -> u32 {
        u32::from(self.mesh.shards().saturating_sub(1))
    }
}
