//! Makes the data directory of a daemon that stopped with many sessions and retained messages, as a restart finds it.
//!
//! Real sessions of MQTT write it, through a hub and the daemon's storage: `stored-fleet DIR SESSIONS RETAINED`, then
//! `nexusd serve --data-dir DIR`. Each session is another user's and has one subscription of QoS 1.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a fixture: a failed expectation is a failed run"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nexus::codec::mqtt::packet::{Connect, Packet, Publish, QoS, Version};
use nexus::codec::mqtt::property::Properties;
use nexus::daemon::clock::unix_ms;
use nexus::daemon::storage::{Storage, StorageConfig, StorageHandle, StoragePort};
use nexus::hub::Hub;
use nexus::observe::ShardMetrics;
use nexus::route::RouterConfig;
use nexus::session::any::{AnySession, Opening};
use nexus::session::{mqtt, xmpp};
use nexus::store::login::LoginVerdict;
use nexus::time::{Instant, Now};
use nexus_bench::machine::{Frame, Machine};
use nexus_bench::packets::{encoded, subscribe};
use nexus_bench::world::{grants, router_config};
use nexus_bench::{PAYLOAD, account};

/// Sessions, or messages, that one hub holds before the next one takes over.
const PER_HUB: usize = 50_000;
/// Sessions, or messages, between two batches.
const PER_BATCH: usize = 500;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next();
    let mut number = || arguments.next()?.parse().ok();
    let (Some(dir), Some(sessions), Some(retained)) = (dir, number(), number()) else {
        eprintln!("usage: stored-fleet DIR SESSIONS RETAINED");
        return ExitCode::from(2);
    };
    make(&dir, sessions, retained);
    ExitCode::SUCCESS
}

fn make(dir: &str, sessions: usize, retained: usize) {
    let storage = start(&Path::new(dir).join("sessions"));
    let mut stored = Stored {
        port: storage.port(),
        batches: 0,
    };
    let mut last_number = 0;
    for from in (0..sessions).step_by(PER_HUB) {
        let mut fleet = Fleet::new(last_number);
        for user in from..sessions.min(from + PER_HUB) {
            fleet.join(user);
            if user % PER_BATCH == 0 {
                fleet.store(&mut stored);
            }
        }
        fleet.store(&mut stored);
        // Numbers of sessions grow by one place for each shard there may be.
        last_number += (PER_HUB as u64 + 1) * 64;
    }
    for from in (0..retained).step_by(PER_HUB) {
        let mut fleet = Fleet::new(last_number);
        let publisher = fleet.log_in(sessions, true);
        for channel in from..retained.min(from + PER_HUB) {
            fleet.retain(publisher, channel);
            if channel % PER_BATCH == 0 {
                fleet.store(&mut stored);
            }
        }
        fleet.store(&mut stored);
    }
    storage.stop();
}

fn start(dir: &Path) -> StorageHandle {
    let config = StorageConfig {
        dir: dir.to_owned(),
        shards: 1,
        wake: Arc::new(|_| ()),
    };
    Storage::open(config).unwrap().start().unwrap()
}

/// Where batches go.
struct Stored {
    port: Arc<StoragePort>,
    batches: u64,
}

/// A hub of its own, with the sessions that came to it.
struct Fleet {
    hub: Hub<u32, Frame, AnySession>,
    machine: Machine,
    opening: Opening,
    now: Now,
}

impl Fleet {
    fn new(last_number: u64) -> Self {
        let metrics = Arc::new(ShardMetrics::default());
        let mut hub = Hub::new(RouterConfig {
            durable: true,
            ..router_config(0, 1, &metrics)
        });
        hub.numbered_up_to(last_number);
        let settings = mqtt::Settings {
            metrics: Arc::clone(&metrics),
            ..mqtt::Settings::default()
        };
        let domain = vec![nexus_bench::elements::DOMAIN.into()];
        Self {
            hub,
            machine: Machine::default(),
            opening: Opening {
                mqtt: Arc::new(settings),
                xmpp: Arc::new(xmpp::Settings::new(domain, [7; 32], metrics)),
                passwords: mqtt::Passwords::Taken,
                certified: None,
            },
            now: Now {
                instant: Instant::from_nanos(1),
                unix_ms: unix_ms(),
            },
        }
    }

    /// A device that stays, with its subscription.
    fn join(&mut self, user: usize) {
        let device = self.log_in(user, false);
        let filter = format!("fleet/{user:07}/command");
        self.say(device, &subscribe(Version::V311, &filter, QoS::AtLeastOnce));
    }

    fn log_in(&mut self, user: usize, clean: bool) -> (u32, u32) {
        let session = AnySession::mqtt(&self.opening, self.now);
        let conn = self.machine.connect();
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let slot = self.hub.open(&mut self.machine, conn, peer, session).unwrap();
        let connect = Connect {
            version: Version::V311,
            clean,
            keep_alive_s: 0,
            properties: Properties::default(),
            client_id: "thermometer",
            will: None,
            user_name: Some(&account("fleet", user, "user")),
            password: Some(b"secret"),
        };
        self.say((slot, conn), &encoded(&Packet::Connect(connect), Version::V311));
        for request in std::mem::take(&mut self.machine.logins) {
            let verdict = LoginVerdict {
                session: request.session,
                result: Ok(grants().into()),
            };
            self.hub.verdict(&mut self.machine, self.now, verdict);
        }
        assert!(self.hub.identity(slot).is_some(), "the device is logged in");
        (slot, conn)
    }

    fn retain(&mut self, publisher: (u32, u32), channel: usize) {
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: true,
            topic: &format!("fleet/{channel:07}/state"),
            packet_id: None,
            properties: Properties::default(),
            payload: &PAYLOAD,
        };
        self.say(publisher, &encoded(&Packet::Publish(publish), Version::V311));
    }

    fn say(&mut self, (slot, conn): (u32, u32), packet: &[u8]) {
        let mut bytes = packet.to_vec();
        let progress = self
            .hub
            .receive(&mut self.machine, self.now, slot, conn, &mut bytes);
        assert_eq!(progress.used, packet.len(), "everything is consumed");
    }

    /// Hands over what changed, and waits if there is too much of it.
    fn store(&mut self, stored: &mut Stored) {
        let Some((number, mut journal)) = self.hub.take_batch() else {
            return;
        };
        stored.batches += 1;
        while let Err(back) = stored.port.submit(0, stored.batches, journal) {
            assert!(!stored.port.is_refusing(), "the disk takes it");
            journal = back;
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.hub.committed(&mut self.machine, self.now, number);
        self.machine.flush();
    }
}
