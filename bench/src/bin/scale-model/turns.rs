//! Shards as servers that take turns, in virtual time, and what the steps of a turn cost.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};

use crate::costs::*;
use crate::shape::{Load, Random, Shape};

/// A connection's part in a flow: from which shard, by way of which, to which. The requester is at the first end.
pub(crate) struct Flow {
    pub(crate) from: usize,
    home: usize,
    pub(crate) to: usize,
    /// Of a fan-out: receivers on each shard.
    receivers: Vec<u32>,
    /// Of a fan-out: deliveries of a burst that are missing.
    missing: u32,
}

/// Where messages of a flow are on their way.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Leg {
    There,
    /// Behind the home shard.
    Onward,
    Back,
}

/// Messages of one flow that travel together.
#[derive(Clone, Copy)]
struct Clump {
    flow: usize,
    leg: Leg,
    count: u32,
    born: f64,
    /// The shard where its letter is read.
    to: usize,
}

enum What {
    /// A client has written.
    Input(Clump),
    /// A parcel of this shard, and how many filters it tells of.
    Parcel(usize, Vec<Clump>, u32),
    Turn,
    /// A message of a paced flow is due.
    Due(usize),
}

struct Event {
    at: f64,
    order: u64,
    shard: usize,
    what: What,
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Event {}

#[derive(Default)]
pub(crate) struct Shard {
    awake: bool,
    inputs: VecDeque<Clump>,
    parcels: Vec<(Vec<Clump>, u32)>,
    pub(crate) busy: f64,
}

/// What is counted. All but `written` and `came` is of the time after the warm-up.
#[derive(Default)]
pub(crate) struct Tally {
    /// Messages that clients wrote, and deliveries that they came to, over the whole run.
    pub(crate) written: u64,
    pub(crate) came: u64,
    pub(crate) delivered: u64,
    /// Letters of messages, each hop once; parcels, bells and turns.
    pub(crate) letters: u64,
    pub(crate) parcels: u64,
    pub(crate) bells: u64,
    pub(crate) turns: u64,
    /// From being written to being sent on: of flows within a shard, and of those that cross.
    pub(crate) delays: [Vec<f64>; 2],
}

/// What one turn sends: to the other shards, and to its own connections, each with what of it is for whom.
#[derive(Default)]
struct Out {
    open: BTreeMap<usize, Vec<Clump>>,
    sends: Vec<Vec<Clump>>,
    of: HashMap<(usize, Leg), usize>,
    told: u32,
}

pub(crate) struct Model {
    pub(crate) shape: Shape,
    load: Load,
    pub(crate) shards: Vec<Shard>,
    pub(crate) flows: Vec<Flow>,
    events: BinaryHeap<Event>,
    order: u64,
    pub(crate) tally: Tally,
    random: Random,
    /// Clients write until then; what is counted begins at a third of it.
    pub(crate) until: f64,
}

impl Model {
    /// So many flows for each shard, at random shards as the kernel's hash places connections.
    pub(crate) fn new(shape: Shape, load: Load, flows: usize, until: f64) -> Self {
        let mut random = Random(0x006E_6578_7573);
        let place = |random: &mut Random| random.below(shape.shards);
        let mut all = Vec::new();
        for _ in 0..flows * shape.shards {
            let (from, home, mut to) = (place(&mut random), place(&mut random), place(&mut random));
            if random.below(100) < shape.together {
                to = from;
            }
            let mut receivers = Vec::new();
            if let Load::Fan { receivers: all, .. } = load {
                receivers = vec![0; shape.shards];
                (0..all).for_each(|_| receivers[place(&mut random)] += 1);
            }
            all.push(Flow {
                from,
                home,
                to,
                receivers,
                missing: 0,
            });
        }
        let shards = (0..shape.shards).map(|_| Shard::default()).collect();
        let (events, tally) = (BinaryHeap::new(), Tally::default());
        Self {
            shape,
            load,
            shards,
            flows: all,
            events,
            order: 0,
            tally,
            random,
            until,
        }
    }

    fn push(&mut self, at: f64, shard: usize, what: What) {
        self.order += 1;
        self.events.push(Event {
            at,
            order: self.order,
            shard,
            what,
        });
    }

    /// A client writes, unless the run is over.
    fn write(&mut self, at: f64, flow: usize, leg: Leg, count: u32, born: f64) {
        if leg == Leg::There {
            if at >= self.until {
                return;
            }
            self.tally.written += u64::from(count);
        }
        let Flow { from, to, .. } = self.flows[flow];
        let shard = if leg == Leg::Back { to } else { from };
        self.push(
            at,
            shard,
            What::Input(Clump {
                flow,
                leg,
                count,
                born,
                to,
            }),
        );
    }

    fn start(&mut self) {
        for flow in 0..self.flows.len() {
            let at = self.random.wait(CLIENT);
            match self.load {
                Load::Pairs(count) | Load::Calls(count) | Load::Direct(count) => {
                    self.write(at, flow, Leg::There, count, at);
                }
                Load::Logins => self.write(at, flow, Leg::There, 1, at),
                Load::Fan { burst, receivers } => {
                    self.flows[flow].missing = burst * receivers;
                    self.write(at, flow, Leg::There, burst, at);
                }
                Load::Paced(mean) => {
                    let at = self.random.wait(mean);
                    self.push(at, 0, What::Due(flow));
                }
            }
        }
    }

    pub(crate) fn run(mut self) -> Self {
        self.start();
        while let Some(Event { at, shard, what, .. }) = self.events.pop() {
            match what {
                What::Turn => self.turn(shard, at),
                What::Due(flow) => {
                    self.write(at, flow, Leg::There, 1, at);
                    if let Load::Paced(mean) = self.load
                        && at < self.until
                    {
                        let next = at + self.random.wait(mean);
                        self.push(next, 0, What::Due(flow));
                    }
                }
                What::Input(clump) => {
                    self.shards[shard].inputs.push_back(clump);
                    self.wake(shard, at);
                }
                What::Parcel(from, clumps, told) => {
                    self.shards[shard].parcels.push((clumps, told));
                    if self.wake(shard, at) && self.counts(at) {
                        self.shards[from].busy += BELL;
                        self.tally.bells += 1;
                    }
                }
            }
        }
        self
    }

    fn counts(&self, at: f64) -> bool {
        at >= self.until / 3.0 && at < self.until
    }

    /// Whether the shard slept.
    fn wake(&mut self, shard: usize, at: f64) -> bool {
        let slept = !std::mem::replace(&mut self.shards[shard].awake, true);
        if slept {
            self.push(at + WAKE, shard, What::Turn);
        }
        slept
    }

    /// One turn of a shard, in the order of the real one.
    fn turn(&mut self, at: usize, now: f64) {
        let shard = &mut self.shards[at];
        let mut cost = TURN + self.shape.look * self.shape.peers() as f64;
        if shard.inputs.is_empty() && shard.parcels.is_empty() {
            shard.awake = false;
            if self.counts(now) {
                self.shards[at].busy += SLEEP;
            }
            return;
        }
        let inputs: Vec<Clump> = shard.inputs.drain(..shard.inputs.len().min(TURN_MAX)).collect();
        let mut out = Out::default();
        for (clumps, told) in std::mem::take(&mut shard.parcels) {
            cost += PARCEL_IN * self.shape.dear + TOLD * f64::from(told);
            for clump in clumps {
                cost +=
                    LETTER_IN * self.shape.dear * f64::from(clump.count) + self.arrive(at, clump, &mut out);
            }
        }
        let mut heard = HashSet::new();
        for clump in inputs {
            let one = match self.load {
                Load::Calls(_) => CALL,
                Load::Logins => LOGIN,
                _ => MESSAGE,
            };
            let received = if heard.insert((clump.flow, clump.leg)) {
                RECV
            } else {
                0.0
            };
            cost += received + one * f64::from(clump.count) + self.route(at, clump, &mut out);
        }
        cost += self.push_parcels(at, now + cost, &mut out);
        let end = self.submit(at, now + cost, &out);
        if self.counts(now) {
            self.tally.turns += 1;
            self.shards[at].busy += end - now;
        }
        let next = now + self.shape.pause;
        if next > end && self.counts(now) {
            self.shards[at].busy += SLEEP;
        }
        self.push(end.max(next), at, What::Turn);
    }

    /// A message that a letter brought: it is for this shard, or goes on to the next.
    fn arrive(&mut self, at: usize, clump: Clump, out: &mut Out) -> f64 {
        if clump.to != at {
            return self.letter(at, clump, out);
        }
        if let Load::Fan { .. } = self.load {
            return Self::deliver(clump, out);
        }
        self.route(at, clump, out)
    }

    /// What becomes of a message at a shard.
    fn route(&mut self, at: usize, mut clump: Clump, out: &mut Out) -> f64 {
        let flow = &self.flows[clump.flow];
        if let Load::Fan { .. } = self.load {
            let wanted: Vec<usize> = (0..self.shape.shards)
                .filter(|&to| flow.receivers[to] > 0)
                .collect();
            let mut cost = 0.0;
            for to in wanted {
                clump.to = to;
                cost += if to == at {
                    Self::deliver(clump, out)
                } else {
                    self.letter(at, clump, out)
                };
            }
            return cost;
        }
        let by_home = matches!(self.load, Load::Direct(_) | Load::Logins);
        if by_home && clump.leg == Leg::There && flow.home == at {
            clump.leg = if self.load == Load::Logins {
                Leg::Back
            } else {
                Leg::Onward
            };
        }
        clump.to = match clump.leg {
            Leg::There if by_home => flow.home,
            Leg::There | Leg::Onward => flow.to,
            Leg::Back => flow.from,
        };
        if clump.to == at {
            Self::deliver(clump, out)
        } else {
            self.letter(at, clump, out)
        }
    }

    fn letter(&mut self, at: usize, clump: Clump, out: &mut Out) -> f64 {
        out.open
            .entry(self.shape.hop(at, clump.to))
            .or_default()
            .push(clump);
        LETTER_OUT * self.shape.dear * f64::from(clump.count)
    }

    /// Its SEND is one with all that the connection gets in this turn.
    fn deliver(clump: Clump, out: &mut Out) -> f64 {
        let place = *out.of.entry((clump.flow, clump.leg)).or_insert(out.sends.len());
        if place == out.sends.len() {
            out.sends.push(Vec::new());
        }
        out.sends[place].push(clump);
        0.0
    }

    /// Flush: one parcel for each shard that gets something.
    fn push_parcels(&mut self, at: usize, now: f64, out: &mut Out) -> f64 {
        if self.load == Load::Logins {
            out.told = out.sends.iter().flatten().map(|clump| clump.count).sum();
            let (told, home) = (out.told > 0, (at + 1) % self.shape.shards);
            let hears = |to: usize| told && to != at && (!self.shape.at_home || to == home);
            for to in (0..self.shape.shards).filter(|&to| hears(to)) {
                out.open.entry(to).or_default();
            }
        }
        let mut cost = 0.0;
        for (to, clumps) in std::mem::take(&mut out.open) {
            let told = if self.shape.at_home && to != (at + 1) % self.shape.shards {
                0
            } else {
                out.told
            };
            cost += PARCEL_OUT * self.shape.dear + TELL * f64::from(told);
            if self.counts(now) {
                self.tally.parcels += 1;
                self.tally.letters += clumps.iter().map(|clump| u64::from(clump.count)).sum::<u64>();
            }
            self.push(now + cost, to, What::Parcel(at, clumps, told));
        }
        cost
    }

    /// The sends, one after another, and what clients do about them. When they are done.
    fn submit(&mut self, at: usize, mut now: f64, out: &Out) -> f64 {
        for clumps in &out.sends {
            let Clump {
                flow: number, leg, ..
            } = clumps[0];
            let flow = &self.flows[number];
            let count: u32 = clumps.iter().map(|clump| clump.count).sum();
            let (sockets, crosses) = match self.load {
                Load::Fan { .. } => (flow.receivers[at], false),
                Load::Direct(_) | Load::Logins => (1, flow.from != flow.home || flow.home != flow.to),
                _ => (1, flow.from != flow.to),
            };
            now += SEND * f64::from(sockets);
            if let Load::Fan { .. } = self.load {
                now += SHARED * f64::from(sockets * count);
            }
            let ends = leg == Leg::Back || !matches!(self.load, Load::Calls(_));
            if ends {
                self.tally.came += u64::from(sockets * count);
                if self.counts(now) {
                    self.tally.delivered += u64::from(sockets * count);
                    self.tally.delays[usize::from(crosses)]
                        .extend(clumps.iter().map(|clump| now - clump.born));
                }
            }
            self.react(now + CLIENT, number, leg, sockets * count, clumps);
        }
        now
    }

    fn react(&mut self, at: f64, number: usize, leg: Leg, count: u32, clumps: &[Clump]) {
        match self.load {
            Load::Paced(_) => {}
            Load::Calls(_) if leg == Leg::There => {
                for clump in clumps {
                    self.write(at, number, Leg::Back, clump.count, clump.born);
                }
            }
            Load::Fan { burst, receivers } => {
                let flow = &mut self.flows[number];
                flow.missing -= count;
                if flow.missing == 0 {
                    flow.missing = burst * receivers;
                    self.write(at, number, Leg::There, burst, at);
                }
            }
            _ => self.write(at, number, Leg::There, count, at),
        }
    }
}
