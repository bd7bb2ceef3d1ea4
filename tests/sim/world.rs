//! N shards under virtual time: every byte, parcel, verdict and close takes a seeded time to arrive, in order
//! on each path; mesh rings are short and run full.

mod durable;
mod links;
mod shard;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use nexus::limits;
use nexus::observe::{DropReason, ShardMetrics, Stage};
use nexus::route::{Change, CredentialId, Grants, RootWildcard, RouterLimits, Service};
use nexus::session::LoginFailure;
use nexus::store::login::{LoginProof, LoginRequest, LoginVerdict, Verified};
use nexus::time::{Instant, Now};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::links::Link;
use self::shard::Shard;
use crate::disk::Disk;
use crate::events::{Event, Scheduled};
use crate::machine::Note;

/// What a connection is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// MQTT on a stream.
    Mqtt,
    /// MQTT over WebSocket.
    MqttOverWebSocket,
    /// XMPP over WebSocket.
    Xmpp,
}

/// The way from one shard to another.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    in_flight: usize,
    last_arrival: u64,
}

/// What a client hears of the world.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Bytes from the server.
    Bytes(usize, Vec<u8>),
    /// The connection is gone.
    Gone(usize),
    /// It is this client's turn.
    Act(usize),
    /// Nothing, but there are notes.
    Notes,
}

/// What it is like in a world.
#[derive(Clone, Copy, Debug)]
struct Conditions {
    root_wildcard: RootWildcard,
    limits: RouterLimits,
    /// For how long a stream of XMPP may be resumed.
    resume_s: u32,
    ring_parcels: usize,
    delay_ns_max: u64,
    /// Of so many logins one cannot be decided.
    undecided: f64,
}

impl Conditions {
    fn seeded(mut random: StdRng) -> (Self, StdRng) {
        let conditions = Self {
            root_wildcard: RootWildcard::Operators,
            limits: RouterLimits::default(),
            resume_s: limits::XMPP_RESUME_S,
            ring_parcels: if random.random_bool(0.5) { 1 } else { 64 },
            delay_ns_max: [10_000, 1_000_000, 30_000_000][random.random_range(0..3_usize)],
            undecided: UNDECIDED,
        };
        (conditions, random)
    }
}

/// The services that an account is entitled to.
pub(crate) type Services = fn(&LoginRequest) -> Result<Vec<Service>, LoginFailure>;

pub(crate) struct World {
    pub random: StdRng,
    now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    shards: Vec<Shard>,
    apps: Vec<Change>,
    /// What outlives a crash, in worlds where anything does.
    disk: Option<Disk>,
    paths: Vec<Vec<Path>>,
    pub links: Vec<Link>,
    conditions: Conditions,
    services: Services,
    /// What the hubs did to connections, in order.
    pub notes: Vec<Note>,
}

const START_NS: u64 = 1_000_000_000;
const START_UNIX_MS: u64 = 1_700_000_000_000;
const TICK_NS: u64 = 50_000_000;
/// Of so many logins one cannot be decided.
const UNDECIDED: f64 = 0.02;
/// The only secret there is.
const CREDENTIAL: CredentialId = CredentialId(1);

impl World {
    /// A world with seeded delays, where a login cannot be decided now and then.
    pub(crate) fn new(seed: u64, shards: usize, apps: &[Change], services: Services) -> Self {
        Self::seeded(seed, None, shards, apps, services)
    }

    /// Such a world with a disk, whose daemon may crash.
    pub(crate) fn lasting(seed: u64, shards: usize, apps: &[Change], services: Services) -> Self {
        Self::seeded(seed, Some(Disk::default()), shards, apps, services)
    }

    fn seeded(seed: u64, disk: Option<Disk>, shards: usize, apps: &[Change], services: Services) -> Self {
        let (conditions, random) = Conditions::seeded(StdRng::seed_from_u64(seed));
        Self::begin(random, conditions, disk, shards, apps, services)
    }

    /// Such a world with other bounds, where streams may be resumed for so many seconds.
    pub(crate) fn bounded(seed: u64, shards: usize, limits: RouterLimits, resume_s: u32) -> Self {
        let random = StdRng::seed_from_u64(seed);
        let (mut conditions, random) = Conditions::seeded(random);
        (conditions.limits, conditions.resume_s) = (limits, resume_s);
        Self::begin(random, conditions, None, shards, &[], |_| Ok(Vec::new()))
    }

    /// A world where everything arrives soon and every login is decided.
    pub(crate) fn calm(shards: usize, apps: &[Change], services: Services) -> Self {
        let conditions = Conditions {
            root_wildcard: RootWildcard::All,
            limits: RouterLimits::default(),
            resume_s: limits::XMPP_RESUME_S,
            ring_parcels: 64,
            delay_ns_max: 1_000,
            undecided: 0.0,
        };
        Self::begin(StdRng::seed_from_u64(1), conditions, None, shards, apps, services)
    }

    fn begin(
        random: StdRng,
        conditions: Conditions,
        disk: Option<Disk>,
        shards: usize,
        apps: &[Change],
        services: Services,
    ) -> Self {
        let mut world = Self {
            random,
            now: START_NS,
            order: 0,
            queue: BinaryHeap::new(),
            shards: Vec::new(),
            apps: apps.to_vec(),
            disk,
            paths: Vec::new(),
            links: Vec::new(),
            conditions,
            services,
            notes: Vec::new(),
        };
        world.start(shards);
        world.at(TICK_NS, Event::Tick);
        world
    }

    fn time(&self) -> Now {
        let unix_ms = START_UNIX_MS + (self.now - START_NS) / 1_000_000;
        Now {
            instant: Instant::from_nanos(self.now),
            unix_ms,
        }
    }

    /// Virtual nanoseconds since the start.
    pub(crate) fn elapsed_ns(&self) -> u64 {
        self.now - START_NS
    }

    /// Lets the clock stand where nothing happens any more before.
    pub(crate) fn wait(&mut self, until: u64) {
        self.now = self.now.max(START_NS + until);
    }

    /// After this time whatever was sent has arrived: by way of two shards and both clients, behind full rings.
    pub(crate) fn settle_ns(&self) -> u64 {
        16 * self.conditions.delay_ns_max
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Messages dropped on all shards.
    pub(crate) fn drops(&self, stage: Stage, reason: DropReason) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.metrics.drops(stage, reason))
            .sum()
    }

    /// A sum over all shards' counters.
    pub(crate) fn sum(&self, counter: impl Fn(&ShardMetrics) -> u64) -> u64 {
        self.shards.iter().map(|shard| counter(&shard.metrics)).sum()
    }

    /// Schedules `event` in `after` nanoseconds.
    pub(crate) fn at(&mut self, after: u64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled {
            at: self.now + after,
            order: self.order,
            event,
        }));
    }

    fn delay(&mut self) -> u64 {
        self.random.random_range(1..=self.conditions.delay_ns_max)
    }

    /// Runs until something concerns a client; `None` when `until` (virtual nanoseconds) has come.
    pub(crate) fn step(&mut self, until: u64) -> Option<Heard> {
        loop {
            if self.queue.peek().is_none_or(|next| next.0.at - START_NS > until) {
                return None;
            }
            let Reverse(Scheduled { at, event, .. }) = self.queue.pop()?;
            self.now = at;
            let now = self.time();
            match event {
                Event::ToClient(conn, bytes) => return Some(Heard::Bytes(conn, bytes)),
                Event::GoneAtClient(conn) => return Some(Heard::Gone(conn)),
                Event::Act(client) => return Some(Heard::Act(client)),
                Event::ToServer(conn, bytes) => {
                    self.links[conn].held.extend_from_slice(&bytes);
                    self.show(conn);
                    self.settle(self.links[conn].shard);
                }
                Event::BrokenAtServer(conn) => self.broken_at_server(conn),
                Event::GoneAtServer(conn) => {
                    let shard = self.links[conn].shard;
                    self.gone_at_server(conn);
                    self.settle(shard);
                }
                Event::Parcel { from, to, mut parcel } => {
                    self.paths[from][to].in_flight -= 1;
                    let sender = u16::try_from(from).unwrap();
                    let shard = &mut self.shards[to];
                    shard.hub.parcel(&mut shard.machine, now, sender, &mut parcel);
                    self.shards[from].hub.recycle(*parcel);
                    self.settle(to);
                    self.settle(from);
                }
                Event::HandOver(conn, to) => self.hand_over(conn, to),
                Event::Verdict(verdict) => {
                    let place = usize::from(verdict.session.shard);
                    let shard = &mut self.shards[place];
                    shard.hub.verdict(&mut shard.machine, now, verdict);
                    self.settle(place);
                }
                Event::Commit => self.commit(),
                Event::Durable(place, batch) => {
                    let shard = &mut self.shards[place];
                    shard.hub.committed(&mut shard.machine, now, batch);
                    self.settle(place);
                }
                Event::Timer(place) => {
                    let shard = &mut self.shards[place];
                    shard.timer_at = None;
                    while let Some(timer) = shard.machine.pop_due(now.instant) {
                        shard.hub.timer(&mut shard.machine, now, timer);
                    }
                    self.settle(place);
                }
                Event::Tick => {
                    for place in 0..self.shards.len() {
                        let shard = &mut self.shards[place];
                        shard.hub.tick(&mut shard.machine, now);
                        self.settle(place);
                    }
                    self.at(TICK_NS, Event::Tick);
                }
            }
            if !self.notes.is_empty() {
                return Some(Heard::Notes);
            }
        }
    }

    /// The end of a shard's turn: what it wrote, closed, resumed, asked and has for others is on its way.
    fn settle(&mut self, place: usize) {
        for (conn, slot) in std::mem::take(&mut self.shards[place].machine.retagged) {
            self.links[conn].slot = Some(slot);
        }
        for (conn, to) in std::mem::take(&mut self.shards[place].machine.handed_over) {
            let after = self.delay();
            self.at(after, Event::HandOver(conn, to));
        }
        loop {
            self.notes.append(&mut self.shards[place].machine.notes);
            let touched = std::mem::take(&mut self.shards[place].machine.touched);
            if touched.is_empty() {
                break;
            }
            for conn in touched {
                self.settle_wire(place, conn);
            }
        }
        for request in std::mem::take(&mut self.shards[place].machine.logins) {
            let result = self.decide(&request);
            let after = self.delay();
            self.at(
                after,
                Event::Verdict(LoginVerdict {
                    session: request.session,
                    result,
                }),
            );
        }
        self.make_durable(place);
        for to in 0..self.shards.len() {
            self.pass_parcel(place, to);
        }
        let due = self.shards[place].machine.next_due().map(Instant::as_nanos);
        let armed = self.shards[place].timer_at;
        if let Some(due) = due.filter(|due| armed.is_none_or(|armed| *due < armed)) {
            self.shards[place].timer_at = Some(due);
            self.at(due.saturating_sub(self.now), Event::Timer(place));
        }
    }

    /// What the control thread says, and that it is asked in the right order.
    fn decide(&mut self, request: &LoginRequest) -> Result<Verified, LoginFailure> {
        match &request.proof {
            // Whether it is the right one is for who plays to say.
            LoginProof::Password(_) => {}
            LoginProof::Certificate { .. } => panic!("nobody shows a certificate"),
            LoginProof::Proven { credential, .. } => {
                assert_eq!(*credential, CREDENTIAL, "of the first step");
            }
            LoginProof::ScramFirst(_) | LoginProof::Scram { .. } => panic!("nobody says SCRAM"),
        }
        if self.random.random_bool(self.conditions.undecided) {
            return Err(LoginFailure::Unavailable);
        }
        let services = (self.services)(request)?;
        Ok(Verified::from(Grants {
            credential: CREDENTIAL,
            services,
            expires_unix_ms: None,
            announced: false,
        }))
    }

    fn pass_parcel(&mut self, from: usize, to: usize) {
        let Ok(target) = u16::try_from(to) else { return };
        let Some(parcel) = self.shards[from].hub.outgoing(target) else {
            return;
        };
        if self.paths[from][to].in_flight >= self.conditions.ring_parcels {
            return self.shards[from].hub.keep(target, parcel);
        }
        let delay = self.delay();
        let path = &mut self.paths[from][to];
        path.in_flight += 1;
        path.last_arrival = path.last_arrival.max(self.now + delay);
        let after = path.last_arrival - self.now;
        self.at(
            after,
            Event::Parcel {
                from,
                to,
                parcel: Box::new(parcel),
            },
        );
    }
}

/// Milliseconds in virtual nanoseconds.
pub(crate) const fn ms(ms: u64) -> u64 {
    Duration::from_millis(ms).as_nanos() as u64
}
