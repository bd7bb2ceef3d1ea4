//! N shards under virtual time: every byte, parcel, verdict and close takes a seeded time to arrive, in order
//! on each path; mesh rings are short and run full.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nexus::hub::{Hub, Next};
use nexus::observe::{DropReason, ShardMetrics, Stage};
use nexus::route::{
    Change, CredentialId, Grants, Retained, RootWildcard, RouterConfig, RouterLimits, Service,
};
use nexus::session::any::{AnySession, Opening};
use nexus::session::{LoginFailure, mqtt, xmpp};
use nexus::store::login::{LoginProof, LoginRequest, LoginVerdict, Verified};
use nexus::time::{Instant, Now};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::disk::Disk;
use crate::events::{Event, Scheduled};
use crate::machine::{Machine, Note};
use crate::xmpp::DOMAINS;

struct Shard {
    hub: Hub<usize, Rc<Vec<u8>>, AnySession>,
    config: RouterConfig,
    machine: Machine,
    opening: Opening,
    metrics: Arc<ShardMetrics>,
    timer_at: Option<u64>,
}

/// What a connection is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// MQTT on a stream.
    Mqtt,
    /// XMPP over WebSocket.
    Xmpp,
}

/// The way from one shard to another.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    in_flight: usize,
    last_arrival: u64,
}

/// A connection as the world sees it.
#[derive(Debug)]
pub(crate) struct Link {
    pub shard: usize,
    slot: Option<u32>,
    held: Vec<u8>,
    waits_for: usize,
    is_held: bool,
    /// No event of this connection overtakes an earlier one, in either direction.
    to_server_at: u64,
    to_client_at: u64,
    is_gone_at_server: bool,
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
    ring_parcels: usize,
    delay_ns_max: u64,
    services: fn(&LoginRequest) -> Result<Vec<Service>, LoginFailure>,
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
    pub(crate) fn new(
        seed: u64,
        shards: usize,
        apps: &[Change],
        services: fn(&LoginRequest) -> Result<Vec<Service>, LoginFailure>,
    ) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let placement_seed = random.random();
        let ring_parcels = if random.random_bool(0.5) { 1 } else { 64 };
        let delay_ns_max = *[10_000, 1_000_000, 30_000_000]
            .get(random.random_range(0..3usize))
            .unwrap();
        let shards: Vec<Shard> = (0..shards)
            .map(|shard| Shard::new(shard, shards, placement_seed, random.random(), false))
            .collect();
        let mut world = Self {
            apps: apps.to_vec(),
            disk: None,
            now: START_NS,
            order: 0,
            queue: BinaryHeap::new(),
            paths: vec![vec![Path::default(); shards.len()]; shards.len()],
            shards,
            links: Vec::new(),
            ring_parcels,
            delay_ns_max,
            services,
            random,
            notes: Vec::new(),
        };
        world.introduce_apps();
        world.at(TICK_NS, Event::Tick);
        world
    }

    /// A world with a disk, whose daemon may crash.
    pub(crate) fn lasting(
        seed: u64,
        shards: usize,
        apps: &[Change],
        services: fn(&LoginRequest) -> Result<Vec<Service>, LoginFailure>,
    ) -> Self {
        let mut world = Self::new(seed, shards, apps, services);
        world.disk = Some(Disk::default());
        world.start(shards);
        world
    }

    fn introduce_apps(&mut self) {
        let now = self.time();
        for shard in &mut self.shards {
            for change in &self.apps {
                shard.hub.change(&mut shard.machine, now, change);
            }
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

    /// Starts a daemon on what is on the disk.
    fn start(&mut self, shards: usize) {
        let placement_seed = self.random.random();
        let random = &mut self.random;
        self.shards = (0..shards)
            .map(|shard| Shard::new(shard, shards, placement_seed, random.random(), true))
            .collect();
        self.paths = vec![vec![Path::default(); shards]; shards];
        self.introduce_apps();
        let (now, disk) = (self.time(), self.disk.as_ref().unwrap());
        let config = self.shards[0].config.clone();
        let home = config.homes();
        let sessions = disk.sessions();
        let last = sessions.iter().map(|session| session.stored.number).max();
        for shard in &mut self.shards {
            for (channel, row) in disk.retained() {
                let message = Retained::decode(now, channel, row).expect("a retained message is whole");
                shard.hub.restore_retained(message);
            }
            for (number, key, value) in disk.received() {
                assert!(shard.hub.restore_received(number, key, value), "who received");
            }
            shard.hub.numbered_up_to(last.unwrap_or(0));
        }
        for session in sessions {
            let place = usize::from(home(session.stored.address().unwrap()));
            self.shards[place].restore(now, &session);
        }
        for place in 0..shards {
            self.settle(place);
        }
    }

    /// Hands what changed on a shard to the disk.
    fn store(&mut self, place: usize) {
        let Some(disk) = &mut self.disk else { return };
        if let Some((batch, journal)) = self.shards[place].hub.take_batch() {
            disk.submit(place, batch, journal);
        }
        self.commit_next();
    }

    fn commit_next(&mut self) {
        if self.disk.as_mut().is_some_and(Disk::begin) {
            let after = self.delay();
            self.at(after, Event::Commit);
        }
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

    /// After this time whatever was sent has arrived: by way of two shards and both clients, behind full rings.
    pub(crate) fn settle_ns(&self) -> u64 {
        16 * self.delay_ns_max
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
        self.random.random_range(1..=self.delay_ns_max)
    }

    /// Opens a connection to a shard; it is the server's at once.
    pub(crate) fn connect(&mut self, shard: usize, speaks: Speaks) -> usize {
        let conn = self.links.len();
        let now = self.time();
        let place = &mut self.shards[shard];
        place.machine.wires.insert(conn, Default::default());
        let session = match speaks {
            Speaks::Mqtt => AnySession::mqtt(&place.opening, now),
            Speaks::Xmpp => AnySession::web_socket(&place.opening, now),
        };
        let slot = place
            .hub
            .open(&mut place.machine, conn, IpAddr::V4(Ipv4Addr::LOCALHOST), session);
        self.links.push(Link {
            shard,
            slot,
            held: Vec::new(),
            waits_for: 1,
            is_held: false,
            to_server_at: 0,
            to_client_at: 0,
            is_gone_at_server: false,
        });
        conn
    }

    /// Sends bytes to the server, in one to three pieces.
    pub(crate) fn send(&mut self, conn: usize, mut bytes: Vec<u8>) {
        while !bytes.is_empty() {
            let len = if self.random.random_bool(0.8) {
                bytes.len()
            } else {
                self.random.random_range(1..=bytes.len())
            };
            let rest = bytes.split_off(len);
            self.send_up(conn, Event::ToServer(conn, bytes));
            bytes = rest;
        }
    }

    /// Breaks a connection from the client's side.
    pub(crate) fn break_off(&mut self, conn: usize) {
        if self.disk.is_some() {
            self.send_up(conn, Event::BrokenAtServer(conn));
        }
        self.send_up(conn, Event::GoneAtServer(conn));
    }

    fn send_up(&mut self, conn: usize, event: Event) {
        let delay = self.delay();
        let link = &mut self.links[conn];
        link.to_server_at = link.to_server_at.max(self.now + delay);
        let after = link.to_server_at - self.now;
        self.at(after, event);
    }

    fn send_down(&mut self, conn: usize, event: Event) {
        let delay = self.delay();
        let link = &mut self.links[conn];
        link.to_client_at = link.to_client_at.max(self.now + delay);
        let after = link.to_client_at - self.now;
        self.at(after, event);
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
                Event::BrokenAtServer(conn) => {
                    let machine = &mut self.shards[self.links[conn].shard].machine;
                    if let Some(wire) = machine.wires.get_mut(&conn) {
                        wire.is_broken = true;
                    }
                }
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
                Event::Commit => {
                    for (place, batch) in self.disk.as_mut().unwrap().commit() {
                        let after = self.delay();
                        self.at(after, Event::Committed(place, batch));
                    }
                    self.commit_next();
                }
                Event::Committed(place, batch) => {
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

    /// Shows the hub what a connection holds, as long as it makes progress.
    fn show(&mut self, conn: usize) {
        let now = self.time();
        loop {
            let link = &mut self.links[conn];
            let Some(slot) = link.slot.filter(|_| !link.is_gone_at_server) else {
                return link.held.clear();
            };
            if link.is_held || link.held.len() < link.waits_for {
                return;
            }
            let shard = &mut self.shards[link.shard];
            let progress = shard
                .hub
                .receive(&mut shard.machine, now, slot, conn, &mut link.held);
            link.held.drain(..progress.used);
            match progress.next {
                Next::Need(bytes) => link.waits_for = bytes.max(1),
                Next::Hold => link.is_held = true,
            }
        }
    }

    fn gone_at_server(&mut self, conn: usize) {
        let now = self.time();
        let link = &mut self.links[conn];
        let Some(slot) = link.slot else { return };
        if std::mem::replace(&mut link.is_gone_at_server, true) {
            return;
        }
        let shard = &mut self.shards[link.shard];
        shard.machine.notes.push(Note::Closed(conn));
        shard.machine.wires.remove(&conn);
        shard.hub.closed(&mut shard.machine, now, slot, conn);
    }

    /// A connection goes to another shard, unless it is gone.
    fn hand_over(&mut self, conn: usize, to: usize) {
        let now = self.time();
        let link = &mut self.links[conn];
        let (from, Some(slot)) = (link.shard, link.slot) else {
            return;
        };
        if link.is_gone_at_server {
            return;
        }
        let place = &mut self.shards[from];
        let wire = place.machine.wires.remove(&conn).unwrap();
        let mut luggage = place.hub.leaving(&mut place.machine, slot, conn).unwrap();
        let place = &mut self.shards[to];
        luggage.session.rehome(&place.opening);
        place.machine.wires.insert(conn, wire);
        link.shard = to;
        link.slot = place.hub.handed(&mut place.machine, now, conn, luggage);
        self.settle(from);
        self.settle(to);
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
        self.store(place);
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
            LoginProof::Password(password) => assert_eq!(&**password, b"secret"),
            LoginProof::Proven { credential, .. } => {
                assert_eq!(*credential, CREDENTIAL, "of the first step");
                assert!(request.resource.is_some(), "the second step names a resource");
            }
            LoginProof::ScramFirst(_) | LoginProof::Scram { .. } => panic!("nobody says SCRAM"),
        }
        if self.random.random_bool(UNDECIDED) {
            return Err(LoginFailure::Unavailable);
        }
        let services = (self.services)(request)?;
        Ok(Verified::from(Grants {
            credential: CREDENTIAL,
            services,
            expires_unix_ms: None,
        }))
    }

    fn settle_wire(&mut self, place: usize, conn: usize) {
        let Some(wire) = self.shards[place].machine.wires.get_mut(&conn) else {
            return;
        };
        let sent = std::mem::take(&mut wire.sent);
        let is_resumed = std::mem::take(&mut wire.is_resumed);
        let is_closed = wire.is_closed;
        if !sent.is_empty() {
            self.send_down(conn, Event::ToClient(conn, sent));
        }
        if is_closed {
            self.send_down(conn, Event::GoneAtClient(conn));
            self.gone_at_server(conn);
        } else if is_resumed {
            self.links[conn].is_held = false;
            self.links[conn].waits_for = 1;
            self.show(conn);
        }
    }

    fn pass_parcel(&mut self, from: usize, to: usize) {
        let Ok(target) = u16::try_from(to) else { return };
        let Some(parcel) = self.shards[from].hub.outgoing(target) else {
            return;
        };
        if self.paths[from][to].in_flight >= self.ring_parcels {
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

impl Shard {
    fn new(shard: usize, shards: usize, placement_seed: u64, seed: [u8; 32], durable: bool) -> Self {
        let metrics = Arc::new(ShardMetrics::default());
        let config = RouterConfig {
            shard: u16::try_from(shard).unwrap(),
            shards: u16::try_from(shards).unwrap(),
            seed,
            placement_seed,
            domain: "nexus.example".into(),
            root_wildcard: RootWildcard::Operators,
            limits: RouterLimits::default(),
            durable,
            metrics: Arc::clone(&metrics),
        };
        let mqtt = mqtt::Settings {
            metrics: Arc::clone(&metrics),
            ..Default::default()
        };
        let domains = DOMAINS.map(Box::from).to_vec();
        let mut xmpp = xmpp::Settings::new(domains, seed, Arc::clone(&metrics));
        // Often within the minute that is played.
        xmpp.ping_s = 5;
        let opening = Opening {
            mqtt: Arc::new(mqtt),
            xmpp: Arc::new(xmpp),
            passwords: mqtt::Passwords::Taken,
        };
        Self {
            hub: Hub::new(config.clone()),
            config,
            machine: Machine::default(),
            opening,
            metrics,
            timer_at: None,
        }
    }
}

impl Shard {
    /// Takes in a session as it was on the disk.
    fn restore(&mut self, now: Now, session: &crate::disk::Session) {
        let rows = session.outbound.iter().map(|(seq, row)| (*seq, &**row));
        let ids = session.inbound.iter().copied();
        let (messages, damaged) = mqtt::MessageState::restore(session.stored.number, now, rows, ids);
        let opening = &self.opening;
        let revive = |described: &[u8]| AnySession::restored(opening, now, described, messages);
        let unread = self.hub.restore(&mut self.machine, now, &session.stored, revive);
        assert_eq!((damaged, unread), (0, Some(0)), "a session is restored whole");
    }
}

/// Milliseconds in virtual nanoseconds.
pub(crate) const fn ms(ms: u64) -> u64 {
    Duration::from_millis(ms).as_nanos() as u64
}
