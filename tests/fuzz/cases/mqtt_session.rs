//! Peers of MQTT that say anything in any order and at any time, valid and mutated, to two shards: no panic, nothing but
//! whole packets of the peer's version comes back, and nobody's good-bye leaves anything behind.

#[path = "mqtt_session/packets.rs"]
mod packets;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use self::packets::{Script, connect, said};
use crate::support::{Machine, Wire};
use nexus::codec::Decode;
use nexus::codec::mqtt::packet::Version;
use nexus::codec::mqtt::{Context, Direction, decode};
use nexus::hub::{Hub, Next};
use nexus::route::{CredentialId, Grants, RootWildcard, RouterConfig, RouterLimits};
use nexus::session::any::{AnySession, Opening};
use nexus::session::{mqtt, xmpp};
use nexus::store::login::{LoginVerdict, Verified};
use nexus::time::{Instant, Now};

const ACCOUNT: &str = "etest-0123456789abcdef01234567-owner";
const SHARDS: usize = 2;

struct Shard {
    hub: Hub<usize, Rc<Vec<u8>>, AnySession>,
    machine: Machine,
    opening: Opening,
}

struct World {
    now: Now,
    shards: Vec<Shard>,
    /// Where each connection is, and what its client speaks.
    places: BTreeMap<usize, (usize, Version)>,
    /// The connection each of a few clients uses.
    clients: [Option<usize>; 4],
    conns: usize,
    /// Of each connection: what came and is no whole packet yet.
    heard: BTreeMap<usize, Vec<u8>>,
}

impl World {
    fn new() -> Self {
        let shards = (0..SHARDS)
            .map(|shard| Shard {
                hub: Hub::new(RouterConfig {
                    shard: shard as u16,
                    shards: SHARDS as u16,
                    seed: [shard as u8; 32],
                    placement_seed: 7,
                    domain: "nexus.example".into(),
                    root_wildcard: RootWildcard::All,
                    limits: RouterLimits::default(),
                    durable: true,
                    metrics: Arc::default(),
                }),
                machine: Machine::default(),
                opening: Opening {
                    mqtt: Arc::new(mqtt::Settings {
                        // Two or three.
                        will_bytes_max: 300,
                        ..mqtt::Settings::default()
                    }),
                    xmpp: Arc::new(xmpp::Settings::new(Vec::new(), [1; 32], Arc::default())),
                    passwords: mqtt::Passwords::Taken,
                    certified: None,
                },
            })
            .collect();
        let instant = Instant::from_nanos(1_000_000_000);
        Self {
            now: Now {
                instant,
                unix_ms: 1_700_000_000_000,
            },
            shards,
            places: BTreeMap::new(),
            clients: [None; 4],
            conns: 0,
            heard: BTreeMap::new(),
        }
    }

    fn open(&mut self, client: usize, place: usize, version: Version) {
        let conn = self.conns;
        self.conns += 1;
        let Shard {
            hub,
            machine,
            opening,
        } = &mut self.shards[place];
        machine.wires.insert(conn, Wire::default());
        let session = AnySession::mqtt(opening, self.now);
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let slot = hub.open(machine, conn, peer, session).expect("room");
        machine.wires.get_mut(&conn).expect("just made").slot = slot;
        self.places.insert(conn, (place, version));
        self.clients[client] = Some(conn);
    }

    fn show(&mut self, conn: usize) {
        let Some(&(place, _)) = self.places.get(&conn) else {
            return;
        };
        let now = self.now;
        let Shard { hub, machine, .. } = &mut self.shards[place];
        loop {
            let Some(wire) = machine.wires.get_mut(&conn) else {
                return;
            };
            if wire.is_held || wire.is_closed {
                return;
            }
            let (slot, mut held) = (wire.slot, std::mem::take(&mut wire.held));
            let progress = hub.receive(machine, now, slot, conn, &mut held);
            let Some(wire) = machine.wires.get_mut(&conn) else {
                return;
            };
            held.drain(..progress.used);
            wire.held = held;
            wire.is_held = progress.next == Next::Hold;
            if progress.used == 0 || wire.held.is_empty() {
                return;
            }
        }
    }

    fn gone(&mut self, conn: usize) {
        let Some((place, _)) = self.places.remove(&conn) else {
            return;
        };
        let Shard { hub, machine, .. } = &mut self.shards[place];
        if let Some(wire) = machine.wires.remove(&conn) {
            hub.closed(machine, self.now, wire.slot, conn);
        }
        self.heard.remove(&conn);
    }

    /// Everything that is under way arrives.
    fn pump(&mut self, lasts: bool) {
        for _ in 0..64 {
            let mut busy = false;
            for place in 0..SHARDS {
                busy |= self.turn(place, lasts);
            }
            if !busy {
                return;
            }
        }
    }

    fn turn(&mut self, place: usize, lasts: bool) -> bool {
        let now = self.now;
        let mut busy = false;
        let Shard { hub, machine, .. } = &mut self.shards[place];
        for request in std::mem::take(&mut machine.logins) {
            busy = true;
            let grants = Grants {
                credential: CredentialId(1),
                services: Vec::new(),
                expires_unix_ms: None,
                announced: false,
            };
            let result = Ok(Verified::from(grants));
            hub.verdict(
                machine,
                now,
                LoginVerdict {
                    session: request.session,
                    result,
                },
            );
        }
        if lasts && let Some((batch, journal)) = hub.take_batch() {
            busy = true;
            assert!(journal.iter().count() == journal.len());
            hub.committed(machine, now, batch);
        }
        for conn in std::mem::take(&mut machine.resumed) {
            busy = true;
            if let Some(wire) = self.shards[place].machine.wires.get_mut(&conn) {
                wire.is_held = false;
            }
            self.show(conn);
        }
        for (conn, to) in std::mem::take(&mut self.shards[place].machine.handed_over) {
            busy = true;
            self.hand_over(conn, place, to);
        }
        for to in (0..SHARDS).filter(|&to| to != place) {
            if let Some(mut parcel) = self.shards[place].hub.outgoing(to as u16) {
                busy = true;
                let Shard { hub, machine, .. } = &mut self.shards[to];
                hub.parcel(machine, now, place as u16, &mut parcel);
                self.shards[place].hub.recycle(parcel);
            }
        }
        self.hear(place);
        busy
    }

    fn hand_over(&mut self, conn: usize, from: usize, to: usize) {
        let Shard { hub, machine, .. } = &mut self.shards[from];
        let Some(wire) = machine.wires.remove(&conn) else {
            return;
        };
        let Some(mut luggage) = hub.leaving(machine, wire.slot, conn) else {
            return;
        };
        let Shard {
            hub,
            machine,
            opening,
        } = &mut self.shards[to];
        luggage.session.rehome(opening);
        machine.wires.insert(conn, wire);
        if let Some((place, _)) = self.places.get_mut(&conn) {
            *place = to;
        }
        let slot = hub.handed(machine, self.now, conn, luggage).expect("room");
        machine.wires.get_mut(&conn).expect("just moved").slot = slot;
    }

    /// What was sent is whole packets of the client's version; who was closed is gone.
    fn hear(&mut self, place: usize) {
        let mut ended = Vec::new();
        for (&conn, wire) in &mut self.shards[place].machine.wires {
            let heard = self.heard.entry(conn).or_default();
            heard.append(&mut wire.sent);
            let version = self.places[&conn].1;
            let context = Context {
                version: Some(version),
                packet_bytes_max: usize::MAX,
                direction: Direction::ToClient,
            };
            let mut at = 0;
            loop {
                match decode(&heard[at..], context) {
                    Ok(Decode::Frame { len, .. }) => at += len,
                    Ok(Decode::Need(_)) => break,
                    Err(error) => panic!("{error:?} in {:?}", &heard[at..]),
                }
            }
            heard.drain(..at);
            assert!(heard.is_empty(), "packets come whole");
            if wire.is_closed {
                ended.push(conn);
            }
        }
        for conn in ended {
            self.gone(conn);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.instant = self.now.instant + Duration::from_millis(ms);
        self.now.unix_ms += ms;
        for Shard { hub, machine, .. } in &mut self.shards {
            while let Some(timer) = machine.pop_due(self.now.instant) {
                hub.timer(machine, self.now, timer);
            }
            hub.tick(machine, self.now);
        }
    }
}

/// # Panics
/// If `data` shows a fault.
pub(crate) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut world = World::new();
    while !script.is_over() {
        let client = usize::from(script.byte()) % world.clients.len();
        match (script.byte() % 16, world.clients[client]) {
            (0, _) | (1..=11, None) => {
                let version = script.pick(&[Version::V5, Version::V311]);
                let place = usize::from(script.byte()) % SHARDS;
                world.open(client, place, version);
                let bytes = connect(&mut script, version, client);
                world.hear_from(client, &bytes);
            }
            (1..=11, Some(conn)) => {
                // Of a connection that is gone, whatever it spoke.
                let version = world
                    .places
                    .get(&conn)
                    .map_or(Version::V5, |(_, version)| *version);
                let bytes = said(&mut script, version, client);
                world.hear_from(client, &bytes);
            }
            (12, Some(conn)) => world.gone(conn),
            (13, _) => world.pass(u64::from(script.byte()) * 500),
            (14, _) => world.pump(true),
            _ => world.pump(false),
        }
    }
    world.pump(true);
    for conn in world.places.keys().copied().collect::<Vec<_>>() {
        world.gone(conn);
    }
    world.pump(true);
    // The longest session expiry, will delay and keep alive that a peer here asks for, but for ever.
    for _ in 0..4 {
        world.pass(400_000);
        world.pump(true);
    }
    for shard in &world.shards {
        assert!(shard.machine.wires.is_empty());
        assert_eq!(shard.opening.mqtt.metrics.mqtt_will_bytes.get(), 0, "wills");
    }
}

impl World {
    /// A client says something; where it has no connection any more, nobody hears it.
    fn hear_from(&mut self, client: usize, bytes: &[u8]) {
        let Some(conn) = self.clients[client] else { return };
        let Some(&(place, _)) = self.places.get(&conn) else {
            self.clients[client] = None;
            return;
        };
        if let Some(wire) = self.shards[place].machine.wires.get_mut(&conn) {
            wire.held.extend_from_slice(bytes);
        }
        self.show(conn);
        self.hear(place);
    }
}
