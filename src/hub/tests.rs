//! The hub with a line protocol: what it owes sessions, router and machine, whatever the protocol.

mod login;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::*;
use crate::journal::{Change as Written, Table};
use crate::route::port::TimerHandle;
use crate::route::{
    Authenticate, Bind, ChannelMessage, Command, CredentialId, Delivery, Grants, Login, Proof, Qos,
    Registration, RetainHandling, SubscriptionOptions, Ticket, Undelivered, Unregistration,
};
use crate::session::{Disconnect, Due, Life, LoginFailure, Output, Proven, Will};
use crate::store::{LoginRequest, Verified};
use crate::time::Instant;

mod bounds;
mod cluster;
mod cluster_client;
mod crashes;
mod ending;
mod keeping;
mod lines;
mod rejoining;
mod resuming;
mod resuming_daemon;
mod resuming_lossy;
mod retained;
mod retained_crashes;
mod system;

use lines::Lines;

const ALICE: &str = "etest-0123456789abcdef01234567-owner";
const BOB: &str = "shop-89abcdef0123456789abcdef-user";

#[derive(Debug, Default)]
struct Wire {
    sent: Vec<u8>,
    closed: bool,
    resumed: u32,
}

#[derive(Default)]
struct Machine {
    wires: BTreeMap<u32, Wire>,
    slots: BTreeMap<u32, u32>,
    handed_over: Vec<(u32, u16)>,
    logins: Vec<LoginRequest>,
    logins_full: bool,
    timers: BTreeMap<u64, (Instant, HubTimer)>,
    next_timer: u64,
}

struct WireOutput<'a>(&'a mut Wire);

impl Output for WireOutput<'_> {
    type Shared = std::rc::Rc<Vec<u8>>;
    const FRAMING: u8 = 0;

    fn write(&mut self, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.0.sent.len();
        encode(&mut self.0.sent);
        assert_eq!(self.0.sent.len(), before + len);
    }

    fn share(&mut self, _: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Self::Shared {
        let mut frame = Vec::new();
        encode(&mut frame);
        frame.into()
    }

    fn push(&mut self, frame: &Self::Shared) {
        self.0.sent.extend_from_slice(frame);
    }

    fn shared(frame: &Self::Shared) -> &[u8] {
        frame
    }

    fn queued(&self) -> usize {
        0
    }
}

impl Io for Machine {
    type Conn = u32;
    type Shared = std::rc::Rc<Vec<u8>>;
    type Output<'a> = WireOutput<'a>;
    const NOWHERE: u32 = u32::MAX;

    fn output(&mut self, conn: u32) -> Option<WireOutput<'_>> {
        self.wires
            .get_mut(&conn)
            .filter(|wire| !wire.closed)
            .map(WireOutput)
    }

    fn close(&mut self, conn: u32) {
        self.wires.get_mut(&conn).unwrap().closed = true;
    }

    fn resume(&mut self, conn: u32) {
        self.wires.get_mut(&conn).unwrap().resumed += 1;
    }

    fn retag(&mut self, conn: u32, slot: u32) {
        self.slots.insert(conn, slot);
    }

    fn hand_over(&mut self, conn: u32, to: u16) {
        self.handed_over.push((conn, to));
    }

    fn login(&mut self, request: LoginRequest) -> Result<(), LoginRequest> {
        if self.logins_full {
            return Err(request);
        }
        self.logins.push(request);
        Ok(())
    }

    fn arm(&mut self, at: Instant, timer: HubTimer) -> TimerHandle {
        self.next_timer += 1;
        self.timers.insert(self.next_timer, (at, timer));
        TimerHandle(self.next_timer)
    }

    fn cancel(&mut self, timer: TimerHandle) {
        assert!(
            self.timers.remove(&timer.0).is_some(),
            "a timer that is not armed was cancelled"
        );
    }
}

/// A hub on a machine of its own, one shard.
struct World {
    hub: Hub<u32, std::rc::Rc<Vec<u8>>, Lines>,
    machine: Machine,
    now: Now,
}

impl World {
    fn new() -> Self {
        Self::of(1)
    }

    /// The first of `shards`.
    fn of(shards: u16) -> Self {
        let config = RouterConfig {
            shard: 0,
            shards,
            seed: [7; 32],
            placement_seed: 7,
            domain: "nexus.example".into(),
            root_wildcard: RootWildcard::Operators,
            limits: RouterLimits::default(),
            durable: false,
            metrics: Arc::default(),
        };
        let now = Now {
            instant: Instant::from_nanos(1),
            unix_ms: 1_000,
        };
        Self {
            hub: Hub::new(config),
            machine: Machine::default(),
            now,
        }
    }

    fn open(&mut self, conn: u32) {
        self.machine.wires.insert(conn, Wire::default());
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let slot = self
            .hub
            .open(&mut self.machine, conn, peer, Lines::default())
            .unwrap();
        self.machine.slots.insert(conn, slot);
    }

    fn send(&mut self, conn: u32, text: &str) -> Progress {
        let mut bytes = text.as_bytes().to_vec();
        let slot = self.machine.slots[&conn];
        self.hub
            .receive(&mut self.machine, self.now, slot, conn, &mut bytes)
    }

    fn verdict(&mut self, result: Result<Grants, LoginFailure>) {
        self.decided(result.map(Verified::from));
    }

    fn decided(&mut self, result: Result<Verified, LoginFailure>) {
        let request = self.machine.logins.remove(0);
        let verdict = LoginVerdict {
            session: request.session,
            result,
        };
        self.hub.verdict(&mut self.machine, self.now, verdict);
    }

    fn log_in(&mut self, conn: u32, account: &str, resource: &str) {
        self.open(conn);
        self.send(conn, &format!("login {account} {resource}\n"));
        self.verdict(Ok(grants()));
        self.heard(conn);
    }

    fn closed(&mut self, conn: u32) {
        let slot = self.machine.slots[&conn];
        self.hub.closed(&mut self.machine, self.now, slot, conn);
    }

    fn heard(&mut self, conn: u32) -> String {
        String::from_utf8(std::mem::take(
            &mut self.machine.wires.get_mut(&conn).unwrap().sent,
        ))
        .unwrap()
    }

    fn is_closed(&self, conn: u32) -> bool {
        self.machine.wires[&conn].closed
    }

    fn pass(&mut self, ms: u64) {
        self.now.instant = self.now.instant + Duration::from_millis(ms);
        self.now.unix_ms += ms;
        let due: Vec<u64> = self
            .machine
            .timers
            .iter()
            .filter(|(_, (at, _))| *at <= self.now.instant)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            if let Some((_, timer)) = self.machine.timers.remove(&id) {
                self.hub.timer(&mut self.machine, self.now, timer);
            }
        }
    }
}

fn grants() -> Grants {
    Grants {
        credential: CredentialId(1),
        services: Vec::new(),
        expires_unix_ms: None,
        announced: false,
    }
}

#[test]
fn bytes_behind_a_login_wait_for_its_verdict() {
    let mut world = World::new();
    world.open(1);
    let text = format!("login {ALICE} w1\nsub a\n");
    let progress = world.send(1, &text);
    assert_eq!(
        progress,
        Progress {
            used: text.len() - "sub a\n".len(),
            next: Next::Hold
        }
    );
    world.verdict(Ok(grants()));
    assert_eq!(world.heard(1), format!("you are {ALICE}/w1\n"));
    assert_eq!(world.machine.wires[&1].resumed, 1);
    assert_eq!(world.send(1, "sub a\n").next, Next::Need(1));
    assert!(world.heard(1).starts_with("Registered"));
}

#[test]
fn a_refused_login_is_told_and_closed() {
    let mut world = World::new();
    world.open(1);
    world.send(1, &format!("login {ALICE} w1\n"));
    world.verdict(Err(LoginFailure::Denied));
    assert_eq!(world.heard(1), "no: Denied\n");
    assert!(world.is_closed(1));
    assert_eq!(world.hub.metrics.logins_denied.get(), 1);
    world.closed(1);
    assert!(world.hub.is_empty());
}

#[test]
fn a_full_login_queue_is_unavailable_not_bad_credentials() {
    let mut world = World::new();
    world.machine.logins_full = true;
    world.open(1);
    world.send(1, &format!("login {ALICE} w1\n"));
    assert_eq!(world.heard(1), "no: Unavailable\n");
}

#[test]
fn a_block_that_asks_for_no_resource_gets_one_of_its_own() {
    let mut world = World::new();
    let mut seen = Vec::new();
    for conn in 1..=2 {
        world.open(conn);
        world.send(conn, &format!("login {ALICE} \n"));
        world.verdict(Ok(grants()));
        seen.push(world.heard(conn));
    }
    assert!(seen[0].starts_with(&format!("you are {ALICE}/auto-")));
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn a_block_hears_its_own_messages_while_it_speaks() {
    let mut world = World::new();
    world.log_in(1, ALICE, "w1");
    world.send(1, "sub a\n");
    world.heard(1);
    world.send(1, "pub a hi\n");
    let heard = world.heard(1);
    assert!(heard.contains(&format!("a: hi from {ALICE}/w1\n")), "{heard}");
    assert!(heard.contains("Published(Ok(Subscribers))"), "{heard}");
}

#[test]
fn the_newer_session_takes_the_address_and_the_older_is_told() {
    let mut world = World::new();
    world.log_in(1, ALICE, "w1");
    world.open(2);
    world.send(2, &format!("login {ALICE} w1\n"));
    world.verdict(Ok(grants()));
    assert_eq!(world.heard(1), "end: TakenOver\n");
    assert!(world.is_closed(1));
    assert_eq!(world.heard(2), format!("you are {ALICE}/w1\n"));
    world.closed(1);
    assert_eq!(world.hub.metrics.sessions.get(), 1);
    assert_eq!(
        world
            .hub
            .identity(world.machine.slots[&2])
            .unwrap()
            .sender()
            .address(),
        format!("{ALICE}/w1")
    );
}

#[test]
fn a_login_that_a_newer_one_overtakes_is_told_like_one_that_was_taken_over() {
    // Of two shards: some address is at home on the other one, which says nothing yet.
    let mut world = World::of(2);
    let waiting = (0..64).find(|conn| {
        world.open(*conn);
        let text = format!("login {ALICE} w{conn}\nwill last\n");
        let progress = world.send(*conn, &text);
        assert_eq!(progress.next, Next::Hold);
        world.verdict(Ok(grants()));
        world.heard(*conn).is_empty()
    });
    let conn = waiting.unwrap();
    let key = world.hub.table.key(world.machine.slots[&conn]).unwrap();
    let displaced = Pending::Notice(key, Notice::Displaced);
    world.hub.pending.push_back(displaced);
    world.hub.settle(&mut world.machine, world.now);
    let told = format!("you are {ALICE}/w{conn}\nend: TakenOver\n");
    assert_eq!(world.heard(conn), told);
    assert!(world.is_closed(conn));
}

#[test]
fn a_login_without_more_behind_it_is_held_to_its_answer() {
    let mut world = World::new();
    world.open(1);
    let text = format!("login {ALICE} w1\n");
    let all = Progress {
        used: text.len(),
        next: Next::Hold,
    };
    assert_eq!(world.send(1, &text), all);
}

#[test]
fn a_will_is_published_when_the_connection_breaks_and_not_after_a_good_bye() {
    for (last, is_published) in [("", true), ("bye\n", false), ("wrong\n", true)] {
        let mut world = World::new();
        world.log_in(1, ALICE, "w1");
        world.log_in(2, BOB, "b");
        world.send(2, "sub last\n");
        world.heard(2);
        world.send(1, "will last\n");
        world.send(1, last);
        world.closed(1);
        let expected = if is_published {
            format!("last: gone from {ALICE}/w1\n")
        } else {
            String::new()
        };
        assert_eq!(world.heard(2), expected, "{last:?}");
    }
}

#[test]
fn malformed_bytes_close_that_connection_alone() {
    let mut world = World::new();
    world.log_in(1, ALICE, "w1");
    world.log_in(2, BOB, "b");
    let progress = world.send(1, "wrong\nsub a\n");
    assert_eq!(progress.used, "wrong\nsub a\n".len());
    assert_eq!(world.heard(1), "what?\n");
    assert!(world.is_closed(1) && !world.is_closed(2));
    assert_eq!(world.hub.metrics.disconnects(Disconnect::Malformed), 1);
    assert_eq!(
        world.send(1, "sub a\n").used,
        6,
        "a closing session's bytes are swallowed"
    );
}

#[test]
fn the_timer_follows_the_session_without_a_timer_per_message() {
    let mut world = World::new();
    world.log_in(1, ALICE, "w1");
    world.send(1, "timeout 100\n");
    world.send(1, "timeout 500\n");
    assert_eq!(
        world.machine.timers.len(),
        1,
        "a later time-out is not armed anew"
    );
    world.pass(101);
    assert!(!world.is_closed(1), "the time-out moved");
    world.pass(400);
    assert_eq!(world.heard(1), "too late\n");
    assert!(world.is_closed(1));
    world.closed(1);
    assert!(world.machine.timers.is_empty());
}

#[test]
fn an_earlier_timeout_is_armed_at_once() {
    let mut world = World::new();
    world.log_in(1, ALICE, "w1");
    world.send(1, "timeout 5000\n");
    world.send(1, "timeout 50\n");
    assert_eq!(world.machine.timers.len(), 1);
    world.pass(51);
    assert!(world.is_closed(1));
}
