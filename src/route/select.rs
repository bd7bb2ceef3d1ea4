//! Choosing the worker for a request (PROTOCOL 2.1, Selection).

use rand::RngCore;

use super::directory::{Directory, Group, Known};
use super::identity::{Role, Uid};
use super::message::{Ownership, SessionId};

/// What is asked for, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) app: &'a str,
    pub(crate) cmd: &'a str,
    pub(crate) resource: Option<&'a str>,
    pub(crate) ownership: Ownership,
    pub(crate) prioritize_mine: bool,
    pub(crate) uid: Uid,
    /// The worker that has just declined.
    pub(crate) avoid: Option<SessionId>,
    /// Requests in flight at which a worker is passed over.
    pub(crate) load_max: u32,
}

/// Why there is no worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nobody {
    /// None fits app, resource and ownership.
    NoWorker,
    /// None of those that fit listens to the command.
    NotImplemented,
    /// All of those have as many requests in flight as they may.
    Overloaded,
}

/// The groups whose workers the requester may be given: disjoint, so that each worker counts once.
pub(crate) fn visible(ownership: Ownership, uid: Uid) -> [Option<Group>; 3] {
    match ownership {
        Ownership::Any => [Some(Group::Public), Some(Group::Of(uid, Role::User)), None],
        Ownership::Mine => mine(uid),
        Ownership::Owner => [Some(Group::Owner), None, None],
        Ownership::Unknown => [None; 3],
    }
}

/// The requester's own among them.
pub(crate) fn own(ownership: Ownership, uid: Uid) -> [Option<Group>; 3] {
    match ownership {
        Ownership::Any | Ownership::Mine => mine(uid),
        Ownership::Owner => [Some(Group::Of(uid, Role::Owner)), None, None],
        Ownership::Unknown => [None; 3],
    }
}

fn mine(uid: Uid) -> [Option<Group>; 3] {
    [Role::Owner, Role::Partner, Role::User].map(|role| Some(Group::Of(uid, role)))
}

/// Chooses a worker.
pub(crate) fn select(
    directory: &Directory,
    rng: &mut impl RngCore,
    query: &Query<'_>,
) -> Result<SessionId, Nobody> {
    let cmd = Some(query.cmd);
    if query.prioritize_mine && query.ownership != Ownership::Mine {
        let mine = Candidates::new(directory, query, cmd, own(query.ownership, query.uid));
        if let Some(worker) = mine.choose(rng) {
            return Ok(worker);
        }
    }
    let groups = visible(query.ownership, query.uid);
    let candidates = Candidates::new(directory, query, cmd, groups);
    if candidates.is_empty() {
        let fitting = Candidates::new(directory, query, None, groups);
        return Err(if fitting.is_empty() {
            Nobody::NoWorker
        } else {
            Nobody::NotImplemented
        });
    }
    candidates.choose(rng).ok_or(Nobody::Overloaded)
}

/// How many workers listen to the command among those that the requester may be given.
pub(crate) fn listeners(directory: &Directory, query: &Query<'_>) -> usize {
    let groups = visible(query.ownership, query.uid);
    Candidates::new(directory, query, Some(query.cmd), groups).len()
}

struct Candidates<'a> {
    directory: &'a Directory,
    query: &'a Query<'a>,
    pools: [&'a [u32]; 3],
}

impl<'a> Candidates<'a> {
    fn new(
        directory: &'a Directory,
        query: &'a Query<'a>,
        cmd: Option<&str>,
        groups: [Option<Group>; 3],
    ) -> Self {
        let pool = |group: Group| directory.pool(query.app, cmd, query.resource, group);
        Self {
            directory,
            query,
            pools: groups.map(|group| group.map_or(&[][..], pool)),
        }
    }

    fn len(&self) -> usize {
        self.pools.iter().map(|pool| pool.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn nth(&self, mut n: usize) -> Option<&'a Known> {
        for pool in self.pools {
            match pool.get(n) {
                Some(&index) => return self.directory.known(index),
                None => n = n.saturating_sub(pool.len()),
            }
        }
        None
    }

    fn free(&self, known: &&Known) -> bool {
        known.load() < self.query.load_max && self.query.avoid != Some(known.id)
    }

    /// Power of two choices: the less loaded of two drawn at random. If both are passed over, the first free
    /// one from a random place on: workers at their bound are few, since requests in flight are bounded per
    /// shard, so the walk is short however large the pool.
    fn choose(&self, rng: &mut impl RngCore) -> Option<SessionId> {
        let len = self.len();
        if len == 0 {
            return None;
        }
        let first = below(rng, len);
        let second = if len > 1 {
            let other = below(rng, len - 1);
            if other >= first { other + 1 } else { other }
        } else {
            first
        };
        let one = self.nth(first).filter(|known| self.free(known));
        let two = self.nth(second).filter(|known| self.free(known));
        let better = match (one, two) {
            (Some(one), Some(two)) => Some(if two.load() < one.load() { two } else { one }),
            (one, two) => one.or(two),
        };
        better
            .or_else(|| {
                (0..len)
                    .filter_map(|step| self.nth((first + step) % len))
                    .find(|known| self.free(known))
            })
            .map(|known| known.id)
    }
}

/// A number below `n`, which is not 0.
fn below(rng: &mut impl RngCore, n: usize) -> usize {
    let wide = u128::from(rng.next_u64()) * n as u128;
    usize::try_from(wide >> 64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::hashes::Local;
    use crate::route::{Sender, SessionKey};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const MINE: &str = "0123456789abcdef01234567";
    const THEIRS: &str = "ffffffffffffffffffffffff";

    fn worker(slot: u32) -> SessionId {
        let key = SessionKey { slot, generation: 0 };
        SessionId { shard: 0, key }
    }

    fn directory(workers: &[(&str, &str, &str)]) -> Directory {
        let mut directory = Directory::new(Local::new([1, 2, 3, 4]));
        for ((uid, role, resource), slot) in workers.iter().zip(0..) {
            let address = format!("etest-{uid}-{role}/{resource}");
            directory.up(worker(slot), &Sender::parse(&address).unwrap());
            directory.listen(worker(slot), "mul");
        }
        directory
    }

    fn query(uid: &str) -> Query<'static> {
        Query {
            app: "etest",
            cmd: "mul",
            resource: None,
            ownership: Ownership::Any,
            prioritize_mine: false,
            uid: Uid::parse(uid).unwrap(),
            avoid: None,
            load_max: 10,
        }
    }

    /// Which workers are ever chosen.
    fn chosen(directory: &Directory, query: &Query<'_>) -> Result<Vec<u32>, Nobody> {
        let mut rng = StdRng::seed_from_u64(7);
        let mut slots = Vec::new();
        for _ in 0..200 {
            slots.push(select(directory, &mut rng, query)?.key.slot);
        }
        slots.sort_unstable();
        slots.dedup();
        Ok(slots)
    }

    fn all_kinds() -> Directory {
        directory(&[
            (MINE, "owner", "a"),
            (MINE, "partner", "b"),
            (MINE, "user", "c"),
            (THEIRS, "owner", "d"),
            (THEIRS, "partner", "a"),
            (THEIRS, "user", "c"),
        ])
    }

    #[test]
    fn p2_1_a_user_role_worker_is_offered_to_its_own_uid_alone() {
        let directory = all_kinds();
        assert_eq!(chosen(&directory, &query(MINE)), Ok(vec![0, 1, 2, 3, 4]));
        assert_eq!(chosen(&directory, &query(THEIRS)), Ok(vec![0, 1, 3, 4, 5]));
        let stranger = query("00000000000000000000000f");
        assert_eq!(chosen(&directory, &stranger), Ok(vec![0, 1, 3, 4]));
    }

    #[test]
    fn p2_1_resource_and_ownership_narrow_the_candidates() {
        let directory = all_kinds();
        let any = query(MINE);
        let with = |resource, ownership| Query {
            resource,
            ownership,
            ..any
        };
        assert_eq!(
            chosen(&directory, &with(Some("a"), Ownership::Any)),
            Ok(vec![0, 4])
        );
        assert_eq!(chosen(&directory, &with(Some("c"), Ownership::Any)), Ok(vec![2]));
        assert_eq!(
            chosen(&directory, &with(None, Ownership::Mine)),
            Ok(vec![0, 1, 2])
        );
        assert_eq!(chosen(&directory, &with(None, Ownership::Owner)), Ok(vec![0, 3]));
        assert_eq!(
            chosen(&directory, &with(Some("a"), Ownership::Owner)),
            Ok(vec![0])
        );
        assert_eq!(
            chosen(&directory, &with(Some("x"), Ownership::Any)),
            Err(Nobody::NoWorker)
        );
        let unknown = Query { cmd: "div", ..any };
        assert_eq!(chosen(&directory, &unknown), Err(Nobody::NotImplemented));
        let unknown_elsewhere = Query {
            resource: Some("x"),
            ..unknown
        };
        assert_eq!(chosen(&directory, &unknown_elsewhere), Err(Nobody::NoWorker));
    }

    #[test]
    fn p2_1_prioritize_mine_prefers_own_and_falls_back() {
        let mut directory = all_kinds();
        let mine = Query {
            prioritize_mine: true,
            ..query(MINE)
        };
        assert_eq!(chosen(&directory, &mine), Ok(vec![0, 1, 2]));
        let owners = Query {
            ownership: Ownership::Owner,
            ..mine
        };
        assert_eq!(chosen(&directory, &owners), Ok(vec![0]));
        for slot in 0..3 {
            directory.heard_load(worker(slot), 10);
        }
        assert_eq!(chosen(&directory, &mine), Ok(vec![3, 4]));
        let stranger = Query {
            prioritize_mine: true,
            ..query("00000000000000000000000f")
        };
        assert_eq!(chosen(&directory, &stranger), Ok(vec![3, 4]));
    }

    #[test]
    fn p2_1_full_workers_are_passed_over_until_all_are() {
        let mut directory = directory(&[(MINE, "owner", "a"); 40]);
        for slot in 0..39 {
            directory.heard_load(worker(slot), 10);
        }
        assert_eq!(chosen(&directory, &query(MINE)), Ok(vec![39]));
        let avoiding = Query {
            avoid: Some(worker(39)),
            ..query(MINE)
        };
        assert_eq!(chosen(&directory, &avoiding), Err(Nobody::Overloaded));
        directory.heard_load(worker(39), 10);
        assert_eq!(chosen(&directory, &query(MINE)), Err(Nobody::Overloaded));
    }

    #[test]
    fn p2_1_two_choices_keep_loads_together() {
        let mut directory = directory(&[(MINE, "owner", "a"); 10]);
        let mut rng = StdRng::seed_from_u64(3);
        let mut loads = [0_u32; 10];
        for _ in 0..1_000 {
            let query = Query {
                load_max: 4_096,
                ..query(MINE)
            };
            let chosen = select(&directory, &mut rng, &query).unwrap();
            loads[chosen.key.slot as usize] += 1;
            directory.sent(chosen);
        }
        assert!(loads.iter().all(|load| (95..=105).contains(load)), "{loads:?}");
    }
}
