//! The workers of all shards, as every shard knows them.
//!
//! Workers stand in *pools*, one for each question that selection may ask (app, command or none, resource or
//! none, group of workers), so that choosing one costs the same among ten workers and among a hundred thousand.
//! A pool is found by a 64-bit keyed hash of its question; whether the worker really listens is decided on its
//! own shard. Invariant: a worker knows its place in every pool it stands in.

use slab::Slab;

use super::hashes::Local;
use super::identity::{Identity, Role, Sender, Uid};
use super::message::SessionId;
use super::sessions::{NONE, id};
use super::tables::Segments;

/// Workers that a caller may be offered together. A worker stands in up to three of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    /// Role `owner` or `partner`: offered to every entitled caller.
    Public,
    /// Role `owner`.
    Owner,
    /// Those of one user in one role.
    Of(Uid, Role),
}

impl Group {
    /// The groups a worker stands in, each at its own place.
    fn of(sender: &Sender<'_>) -> [Option<Self>; 3] {
        let role = sender.role();
        [
            role.is_public().then_some(Self::Public),
            (role == Role::Owner).then_some(Self::Owner),
            Some(Self::Of(sender.uid(), role)),
        ]
    }
}

/// Pools a listener stands in: three groups, each with and without its resource.
const PLACES: usize = 6;

#[derive(Debug)]
struct Pool {
    question: u64,
    workers: Vec<u32>,
}

/// A worker's standing for one command, or for its app as a whole.
#[derive(Debug)]
struct Standing {
    cmd: u64,
    places: [u32; PLACES],
}

/// A worker anywhere in the daemon.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) id: SessionId,
    pub(crate) identity: Identity,
    /// Requests in flight that this shard sent it (0 for a worker of this shard).
    own: u32,
    /// Those of the other shards, as last heard (all of them for a worker of this shard).
    others: u32,
    standings: Vec<Standing>,
}

impl Known {
    /// Requests in flight, as far as this shard knows.
    pub(crate) const fn load(&self) -> u32 {
        self.own.saturating_add(self.others)
    }
}

/// The workers of all shards.
#[derive(Debug)]
pub(crate) struct Directory {
    workers: Slab<Known>,
    by_id: Segments<u32>,
    pools: Segments<Pool>,
    local: Local,
}

impl Directory {
    pub(crate) fn new(local: Local) -> Self {
        Self {
            workers: Slab::new(),
            by_id: Segments::new(),
            pools: Segments::new(),
            local,
        }
    }

    /// A block became a worker.
    pub(crate) fn up(&mut self, worker: SessionId, sender: &Sender<'_>) {
        if self.index(worker).is_some() {
            return;
        }
        let index = id(self.workers.insert(Known {
            id: worker,
            identity: Identity::of(sender),
            own: 0,
            others: 0,
            standings: Vec::new(),
        }));
        let (workers, local) = (&self.workers, &self.local);
        let hash_of = |&index: &u32| workers.get(index as usize).map_or(0, |known| local.of(known.id));
        self.by_id.insert_unique(local.of(worker), index, hash_of);
        self.stand(index, self.cmd(None));
    }

    /// A worker is gone.
    pub(crate) fn down(&mut self, worker: SessionId) {
        let hash = self.local.of(worker);
        let Some(index) = self.index(worker) else {
            return;
        };
        while let Some(cmd) = self
            .workers
            .get(index as usize)
            .and_then(|known| known.standings.last())
            .map(|standing| standing.cmd)
        {
            self.withdraw(index, cmd);
        }
        if let Some(entry) = self.by_id.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
        self.workers.try_remove(index as usize);
    }

    /// A worker listens to a command.
    pub(crate) fn listen(&mut self, worker: SessionId, cmd: &str) {
        let cmd = self.cmd(Some(cmd));
        if let Some(index) = self.index(worker) {
            let known = self.workers.get(index as usize);
            if known.is_some_and(|known| known.standings.iter().all(|standing| standing.cmd != cmd)) {
                self.stand(index, cmd);
            }
        }
    }

    /// A worker does not listen to a command any more.
    pub(crate) fn unlisten(&mut self, worker: SessionId, cmd: &str) {
        let cmd = self.cmd(Some(cmd));
        if let Some(index) = self.index(worker) {
            self.withdraw(index, cmd);
        }
    }

    /// The worker's shard says how many requests it has in flight in all.
    pub(crate) fn heard_load(&mut self, worker: SessionId, in_flight: u32) {
        if let Some(known) = self.known_mut(worker) {
            known.others = in_flight.saturating_sub(known.own);
        }
    }

    /// This shard sent it a request.
    pub(crate) fn sent(&mut self, worker: SessionId) {
        if let Some(known) = self.known_mut(worker) {
            known.own = known.own.saturating_add(1);
        }
    }

    /// A request that this shard sent it has ended.
    pub(crate) fn ended(&mut self, worker: SessionId) {
        if let Some(known) = self.known_mut(worker) {
            known.own = known.own.saturating_sub(1);
        }
    }

    pub(crate) fn known(&self, index: u32) -> Option<&Known> {
        self.workers.get(index as usize)
    }

    /// The workers of `app` in `group` that listen to `cmd` (if named) under `resource` (if named).
    pub(crate) fn pool(&self, app: &str, cmd: Option<&str>, resource: Option<&str>, group: Group) -> &[u32] {
        let question = self.question(app, self.cmd(cmd), resource, group);
        self.pools
            .find(question, |pool| pool.question == question)
            .map_or(&[], |pool| &pool.workers)
    }

    fn cmd(&self, cmd: Option<&str>) -> u64 {
        self.local.of(cmd)
    }

    fn question(&self, app: &str, cmd: u64, resource: Option<&str>, group: Group) -> u64 {
        self.local.of((app, cmd, resource, group))
    }

    fn index(&self, worker: SessionId) -> Option<u32> {
        let is_it = |&index: &u32| {
            self.workers
                .get(index as usize)
                .is_some_and(|known| known.id == worker)
        };
        self.by_id.find(self.local.of(worker), is_it).copied()
    }

    fn known_mut(&mut self, worker: SessionId) -> Option<&mut Known> {
        let index = self.index(worker)?;
        self.workers.get_mut(index as usize)
    }

    /// The pools of a worker for one command, each at its place.
    fn questions(&self, sender: &Sender<'_>, cmd: u64) -> [Option<u64>; PLACES] {
        let [public, owner, of] = Group::of(sender).map(|group| {
            let any = group.map(|group| self.question(sender.app(), cmd, None, group));
            let named = group.map(|group| self.question(sender.app(), cmd, Some(sender.resource()), group));
            [any, named]
        });
        let ([a, b], [c, d], [e, f]) = (public, owner, of);
        [a, b, c, d, e, f]
    }

    fn stand(&mut self, index: u32, cmd: u64) {
        let Some(known) = self.workers.get(index as usize) else {
            return;
        };
        let questions = self.questions(&known.identity.sender(), cmd);
        let mut places = [NONE; PLACES];
        for (place, question) in places.iter_mut().zip(questions) {
            let Some(question) = question else { continue };
            let entry = self
                .pools
                .entry(question, |pool| pool.question == question, |pool| pool.question);
            let Some(entry) = entry else { continue };
            let pool = entry.or_insert_with(|| Pool {
                question,
                workers: Vec::new(),
            });
            let workers = &mut pool.into_mut().workers;
            *place = id(workers.len());
            workers.push(index);
        }
        if let Some(known) = self.workers.get_mut(index as usize) {
            known.standings.push(Standing { cmd, places });
        }
    }

    fn withdraw(&mut self, index: u32, cmd: u64) {
        let Some(known) = self.workers.get_mut(index as usize) else {
            return;
        };
        let Some(at) = known.standings.iter().position(|standing| standing.cmd == cmd) else {
            return;
        };
        let standing = known.standings.swap_remove(at);
        let Some(known) = self.workers.get(index as usize) else {
            return;
        };
        let questions = self.questions(&known.identity.sender(), cmd);
        for (number, (question, place)) in questions.into_iter().zip(standing.places).enumerate() {
            let Some(question) = question else { continue };
            let found = self.pools.find_entry(question, |pool| pool.question == question);
            let Some(mut entry) = found else { continue };
            let workers = &mut entry.get_mut().workers;
            if (place as usize) < workers.len() {
                workers.swap_remove(place as usize);
            }
            let moved = workers.get(place as usize).copied();
            if workers.is_empty() {
                entry.remove();
            }
            if let Some(moved) = moved {
                self.move_place(moved, cmd, number, place);
            }
        }
    }

    fn move_place(&mut self, worker: u32, cmd: u64, number: usize, place: u32) {
        if let Some(known) = self.workers.get_mut(worker as usize)
            && let Some(standing) = known.standings.iter_mut().find(|standing| standing.cmd == cmd)
            && let Some(old) = standing.places.get_mut(number)
        {
            *old = place;
        }
    }

    /// The loads of all workers.
    #[cfg(test)]
    pub(crate) fn loads(&self) -> Vec<u32> {
        self.workers.iter().map(|(_, known)| known.load()).collect()
    }

    /// Workers and pools.
    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.workers.len(), self.pools.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::SessionKey;

    const UID: &str = "0123456789abcdef01234567";

    fn worker(slot: u32) -> SessionId {
        let key = SessionKey { slot, generation: 0 };
        SessionId { shard: 0, key }
    }

    fn up(directory: &mut Directory, slot: u32, role: &str, resource: &str) {
        let address = format!("etest-{UID}-{role}/{resource}");
        directory.up(worker(slot), &Sender::parse(&address).unwrap());
    }

    fn slots(directory: &Directory, cmd: Option<&str>, resource: Option<&str>, group: Group) -> Vec<u32> {
        let pool = directory.pool("etest", cmd, resource, group);
        let mut slots: Vec<_> = pool
            .iter()
            .map(|&index| directory.known(index).unwrap().id.key.slot)
            .collect();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn workers_stand_in_the_pools_of_their_role_and_resource() {
        let mut directory = Directory::new(Local::new([1, 2, 3, 4]));
        for (slot, role) in [(1, "owner"), (2, "partner"), (3, "user")] {
            up(&mut directory, slot, role, &format!("r{slot}"));
            directory.listen(worker(slot), "mul");
        }
        let uid = Uid::parse(UID).unwrap();
        let mul = Some("mul");
        assert_eq!(slots(&directory, mul, None, Group::Public), [1, 2]);
        assert_eq!(slots(&directory, mul, None, Group::Owner), [1]);
        assert_eq!(slots(&directory, mul, None, Group::Of(uid, Role::User)), [3]);
        assert_eq!(slots(&directory, mul, Some("r2"), Group::Public), [2]);
        assert!(slots(&directory, Some("div"), None, Group::Public).is_empty());
        assert_eq!(slots(&directory, None, None, Group::Public), [1, 2]);
    }

    #[test]
    fn leaving_in_any_order_leaves_nothing_behind() {
        let mut directory = Directory::new(Local::new([1, 2, 3, 4]));
        for slot in 0..50 {
            up(
                &mut directory,
                slot,
                ["owner", "partner", "user"][slot as usize % 3],
                "r",
            );
            directory.listen(worker(slot), "a");
            directory.listen(worker(slot), "b");
            directory.listen(worker(slot), "b");
        }
        for slot in (0..50).step_by(7).chain(0..50) {
            directory.unlisten(worker(slot), "a");
            directory.down(worker(slot));
            assert!(!slots(&directory, Some("b"), None, Group::Public).contains(&slot));
        }
        assert_eq!(directory.len(), (0, 0));
    }

    #[test]
    fn a_load_that_was_heard_does_not_count_own_requests_twice() {
        let mut directory = Directory::new(Local::new([1, 2, 3, 4]));
        up(&mut directory, 1, "owner", "r");
        directory.sent(worker(1));
        directory.sent(worker(1));
        directory.heard_load(worker(1), 5);
        let index = directory.pool("etest", None, None, Group::Owner)[0];
        assert_eq!(directory.known(index).unwrap().load(), 5);
        directory.ended(worker(1));
        assert_eq!(directory.known(index).unwrap().load(), 4);
    }
}
