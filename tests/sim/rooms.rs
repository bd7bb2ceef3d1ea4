//! Blocks of XMPP in rooms, whose connections break at any step: they resume their streams, come back with new ones, or
//! stay away. When all is quiet, what each of them was shown of its rooms is who is there; and what was said was heard
//! once, in order, by all who were there and whose streams went on.

mod ledger;
mod occupant;

use std::collections::BTreeSet;

use nexus::observe::{DropReason, Stage};
use nexus::route::RouterLimits;
use rand::Rng;

use self::ledger::Ledger;
use self::occupant::{Occupant, ROOMS};
use crate::PERSONAS;
use crate::events::Event;
use crate::world::{Heard, World, ms};

const OCCUPANTS: usize = 6;
/// For how long they come and go.
const PLAYED_MS: u64 = 20_000;
/// For how long those who stay away are waited for: a ping is not answered, and nobody resumes what it was sent on.
const ENDING_MS: u64 = 60_000;
/// For how long a stream may be resumed, and rooms wait for who was in them.
const GRACE_S: u32 = 10;

/// What happened.
#[derive(Debug, Default)]
struct Tally {
    resumed: u32,
    restored: u32,
    retired: u32,
    owed: u64,
}

struct Play {
    world: World,
    ledger: Ledger,
    occupants: Vec<Occupant>,
}

impl Play {
    fn new(seed: u64, shards: usize, presence_max: usize) -> Self {
        let limits = RouterLimits {
            room_presence_max: presence_max,
            rejoin_s: GRACE_S,
            ..RouterLimits::default()
        };
        let mut world = World::bounded(seed, shards, limits, GRACE_S);
        let occupants = (0..OCCUPANTS)
            .map(|at| Occupant::new(at, PERSONAS[at], &mut world))
            .collect();
        for at in 0..OCCUPANTS {
            world.at(ms(1), Event::Act(at));
        }
        Self {
            world,
            ledger: Ledger::default(),
            occupants,
        }
    }

    fn run(&mut self, until_ms: u64) {
        while let Some(heard) = self.world.step(ms(until_ms)) {
            self.world.notes.clear();
            match heard {
                Heard::Bytes(conn, bytes) => {
                    if let Some(at) = self.holder(conn) {
                        self.occupants[at].hear(&mut self.world, &mut self.ledger, &bytes);
                    }
                }
                Heard::Gone(conn) => {
                    if let Some(at) = self.holder(conn) {
                        let told_until = self.world.elapsed_ns().saturating_sub(self.world.settle_ns());
                        self.occupants[at].lost(told_until);
                    }
                }
                Heard::Act(at) => {
                    if self.world.elapsed_ns() < ms(PLAYED_MS) {
                        self.act(at);
                    } else {
                        self.come_to_rest(at);
                    }
                    let pause = ms(self.world.random.random_range(1..500));
                    self.world.at(pause, Event::Act(at));
                }
                Heard::Notes => {}
            }
        }
    }

    fn holder(&self, conn: usize) -> Option<usize> {
        self.occupants.iter().position(|one| one.conn == Some(conn))
    }

    /// One turn of somebody who is there, or comes back.
    fn act(&mut self, at: usize) {
        let (world, one) = (&mut self.world, &mut self.occupants[at]);
        if one.conn.is_none() {
            if world.elapsed_ns() >= one.comes_back_at {
                one.connect(world);
            }
            return;
        }
        if !one.is_ready {
            // Whatever became of its login.
            if world.random.random_bool(0.1) {
                self.cut(at);
            }
            return;
        }
        let room = ROOMS[world.random.random_range(0..ROOMS.len())];
        let wants = one.rooms.get(room).is_some_and(occupant::View::wants);
        match world.random.random_range(0..100u32) {
            0..=9 => self.cut(at),
            10..=11 => {
                one.close(world);
                one.lost(world.elapsed_ns());
                one.give_up_stream();
            }
            12..=13 if world.elapsed_ns() > one.put_back_at => one.be_unavailable(world),
            14..=29 => one.join(world, room),
            30..=39 if wants => one.leave(world, room),
            40..=59 if !one.is_available => one.be_available(world),
            60.. if wants => {
                one.speak(world, &mut self.ledger, room);
                if world.random.random_bool(0.1) {
                    one.leave(world, room);
                }
            }
            _ if !wants => {
                one.join(world, room);
                one.speak(world, &mut self.ledger, room);
            }
            _ => {}
        }
    }

    /// Loses its connection. The server learns it, or not before somebody comes back; for long only in the first case.
    fn cut(&mut self, at: usize) {
        let (world, one) = (&mut self.world, &mut self.occupants[at]);
        let (now, is_long) = (world.elapsed_ns(), world.random.random_bool(0.1));
        if let Some(conn) = one.conn
            && (is_long || world.random.random_bool(0.7))
        {
            world.break_off(conn);
        }
        one.lost(now);
        let away_ms = if is_long {
            world.random.random_range(15_000..20_000)
        } else {
            world.random.random_range(0..1_000)
        };
        one.comes_back_at = now + ms(away_ms);
        if one.previd.is_none() || world.random.random_bool(0.4) {
            one.give_up_stream();
        }
        if is_long {
            one.give_up_stream();
            one.expected.clear();
        }
    }

    /// One turn at the end: whoever is not away for good comes back, and stays.
    fn come_to_rest(&mut self, at: usize) {
        let (world, one) = (&mut self.world, &mut self.occupants[at]);
        match one.conn {
            None if !one.has_retired => {
                one.has_retired = world.random.random_bool(0.3);
                if !one.has_retired {
                    one.connect(world);
                }
            }
            Some(_) if one.is_ready && !one.is_available => one.be_available(world),
            _ => {}
        }
    }

    /// Who is in a room, by what each knows of itself.
    fn roster(&self, room: &str) -> BTreeSet<String> {
        let is_in = |one: &&Occupant| {
            !one.has_retired
                && one
                    .rooms
                    .get(room)
                    .is_some_and(|view| view.is_in && view.asked.is_empty())
        };
        self.occupants.iter().filter(is_in).map(Occupant::nick).collect()
    }

    /// All is quiet: whom everybody was shown. Those alone who are there, and all of them if all are shown.
    fn check_views(&self, all_are_shown: bool) {
        let mut occupants = 0;
        for room in ROOMS {
            let roster = self.roster(room);
            occupants += roster.len() as u64;
            for one in self.occupants.iter().filter(|one| roster.contains(&one.nick())) {
                let shown = &one.rooms[room].shown;
                let is_right = if all_are_shown {
                    *shown == roster
                } else {
                    shown.is_subset(&roster)
                };
                assert!(
                    is_right,
                    "{} in {room} was shown {shown:#?}; there are {roster:#?}",
                    one.nick()
                );
            }
        }
        assert_eq!(self.world.sum(|shard| shard.room_occupants.get()), occupants);
    }

    /// Everybody says something in all its rooms, and everybody who is there hears it.
    fn probe(&mut self, until_ms: u64) {
        let mut said = Vec::new();
        for room in ROOMS {
            let roster = self.roster(room);
            for one in self
                .occupants
                .iter_mut()
                .filter(|one| roster.contains(&one.nick()))
            {
                said.push((room, one.speak(&mut self.world, &mut self.ledger, room)));
            }
        }
        self.run(until_ms);
        for (room, number) in said {
            let hears = |one: &&Occupant| one.streams.last().is_some_and(|stream| stream.has(number));
            let heard: BTreeSet<_> = self.occupants.iter().filter(hears).map(Occupant::nick).collect();
            assert_eq!(heard, self.roster(room), "who hears {number} in {room}");
        }
    }

    fn check(mut self, presence_max: usize) -> Tally {
        self.run(PLAYED_MS + ENDING_MS);
        for one in self.occupants.iter().filter(|one| !one.has_retired) {
            assert!(one.is_ready && one.is_available, "{one:?}");
            assert!(
                one.expected.is_empty(),
                "{} is not in {:?}",
                one.nick(),
                one.expected
            );
            assert!(one.rooms.values().all(|view| view.asked.is_empty()), "{one:?}");
        }
        self.check_views(presence_max >= OCCUPANTS);
        self.probe(PLAYED_MS + ENDING_MS + 5_000);
        // Who was not shown before has been introduced.
        self.check_views(true);
        for one in &mut self.occupants {
            one.lost(self.world.elapsed_ns());
        }
        let streams = self.occupants.iter().enumerate();
        let streams = streams.flat_map(|(at, one)| one.streams.iter().map(move |stream| (at, stream)));
        self.ledger.check(self.world.settle_ns(), streams);
        assert_eq!(self.world.drops(Stage::Mesh, DropReason::MeshFull), 0);
        assert_eq!(self.world.drops(Stage::Channel, DropReason::QueueFull), 0);
        Tally {
            resumed: self.occupants.iter().map(|one| one.resumed).sum(),
            restored: self.occupants.iter().map(|one| one.restored).sum(),
            retired: self.occupants.iter().map(|one| u32::from(one.has_retired)).sum(),
            owed: self.ledger.owed,
        }
    }
}

fn plays(presence_max: usize) {
    let mut total = Tally::default();
    let seeds = crate::from_env("NEXUS_SIM_SEED").map_or(0..15, |seed| seed..seed + 1);
    let is_one = seeds.end - seeds.start == 1;
    for seed in seeds {
        for shards in [1, 2, 4] {
            println!("seed {seed}, {shards} shards");
            let tally = Play::new(seed, shards, presence_max).check(presence_max);
            total.resumed += tally.resumed;
            total.restored += tally.restored;
            total.retired += tally.retired;
            total.owed += tally.owed;
        }
    }
    println!("{total:?}");
    let Tally {
        resumed,
        restored,
        retired,
        owed,
    } = total;
    let is_lively = resumed > 300 && restored > 400 && retired > 15 && owed > 8_000;
    assert!(is_one || is_lively, "they hardly did anything: {total:?}");
}

#[test]
fn what_occupants_are_shown_is_who_is_there_whatever_breaks() {
    plays(200);
}

#[test]
fn nobody_is_shown_who_is_gone_where_not_all_are_shown() {
    plays(3);
}
