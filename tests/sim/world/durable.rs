//! What outlives the simulated daemon: batches are made to last after a while, on the disk where there is one, and a
//! daemon that has crashed comes back with what is on it.

use std::cmp::Reverse;

use nexus::route::Retained;
use rand::Rng;

use super::shard::Shard;
use super::{Path, World};
use crate::disk::Disk;
use crate::events::Event;

/// Of so many batches one is given back, since those before it leave no room; a later turn brings it again.
const NO_ROOM: f64 = 0.05;

impl World {
    /// Starts a daemon of so many shards, on what is on the disk.
    pub(super) fn start(&mut self, shards: usize) {
        let placement_seed = self.random.random();
        let (random, conditions) = (&mut self.random, self.conditions);
        self.shards = (0..shards)
            .map(|shard| Shard::new(shard, shards, placement_seed, random.random(), &conditions))
            .collect();
        self.paths = vec![vec![Path::default(); shards]; shards];
        let now = self.time();
        for shard in &mut self.shards {
            for change in &self.apps {
                shard.hub.change(&mut shard.machine, now, change);
            }
        }
        if self.disk.is_some() {
            self.restore();
        }
    }

    /// The shards take in what is on the disk.
    fn restore(&mut self) {
        let (now, disk) = (self.time(), self.disk.as_ref().unwrap());
        let config = self.shards[0].config.clone();
        let home = config.homes();
        let sessions = disk.sessions();
        let (last, orphans) = (disk.last_number(), disk.orphans());
        for shard in &mut self.shards {
            for (channel, row) in disk.retained() {
                let message = Retained::decode(now, channel, row).expect("a retained message is whole");
                shard.hub.restore_retained(message);
            }
            let is_orphan = |number: &u64| orphans.contains(number);
            for (number, key, value) in disk.received().filter(|row| !is_orphan(&row.0)) {
                assert!(shard.hub.restore_received(number, key, value), "who received");
            }
            shard.hub.numbered_up_to(last);
        }
        for number in orphans {
            self.shards[0].hub.forget(number);
        }
        let mut starts = disk.starts();
        starts.begin(now.unix_ms);
        self.shards[0].hub.write_starts(&starts);
        for session in sessions {
            let place = usize::from(home(session.stored.address().unwrap()));
            self.shards[place].restore(now, &starts, &session);
        }
        for shard in &mut self.shards {
            shard.hub.restored(&mut shard.machine, now);
        }
        for place in 0..self.shards.len() {
            self.settle(place);
        }
    }

    /// The daemon is gone, with all that is not on the disk, and comes back with so many shards. What it has sent may
    /// still arrive.
    pub(crate) fn crash(&mut self, shards: usize) {
        let committed = self.random.random_bool(0.5);
        self.disk.as_mut().unwrap().crash(committed);
        self.queue.retain(|Reverse(scheduled)| {
            matches!(
                scheduled.event,
                Event::ToClient(..) | Event::GoneAtClient(_) | Event::Tick | Event::Act(_)
            )
        });
        for conn in 0..self.links.len() {
            self.links[conn].shard = 0;
            if !std::mem::replace(&mut self.links[conn].is_gone_at_server, true) {
                self.send_down(conn, Event::GoneAtClient(conn));
            }
        }
        self.start(shards);
    }

    /// Takes what has to outlive the daemon; it lasts after a while.
    pub(super) fn make_durable(&mut self, place: usize) {
        let batch = self.shards[place].hub.take_batch();
        if let Some(disk) = &mut self.disk {
            if let Some((batch, journal)) = batch {
                if self.random.random_bool(NO_ROOM) {
                    self.shards[place].hub.keep_batch(batch, journal);
                } else {
                    disk.submit(place, batch, journal);
                }
            }
            return self.commit_next();
        }
        let Some((batch, journal)) = batch else { return };
        let delay = self.delay();
        let shard = &mut self.shards[place];
        shard.hub.recycle_journal(journal);
        shard.durable_at = shard.durable_at.max(self.now + delay);
        let after = shard.durable_at - self.now;
        self.at(after, Event::Durable(place, batch));
    }

    /// See [`Disk::left`].
    pub(crate) fn left_on_disk(&self) -> [usize; 3] {
        self.disk.as_ref().unwrap().left()
    }

    fn commit_next(&mut self) {
        if self.disk.as_mut().is_some_and(Disk::begin) {
            let after = self.delay();
            self.at(after, Event::Commit);
        }
    }

    /// What the disk was about to commit is committed: the shards learn it after a while.
    pub(super) fn commit(&mut self) {
        for (place, batch) in self.disk.as_mut().unwrap().commit() {
            let after = self.delay();
            self.at(after, Event::Durable(place, batch));
        }
        self.commit_next();
    }
}
