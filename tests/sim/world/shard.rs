//! One shard of the simulated daemon: the hub on its machine.

use std::rc::Rc;
use std::sync::Arc;

use nexus::hub::Hub;
use nexus::observe::ShardMetrics;
use nexus::route::RouterConfig;
use nexus::session::any::{AnySession, Opening};
use nexus::session::{Starts, mqtt, xmpp};
use nexus::time::Now;

use super::Conditions;
use crate::disk;
use crate::machine::Machine;
use crate::xmpp::DOMAINS;

pub(super) struct Shard {
    pub hub: Hub<usize, Rc<Vec<u8>>, AnySession>,
    pub config: RouterConfig,
    pub machine: Machine,
    pub opening: Opening,
    pub metrics: Arc<ShardMetrics>,
    pub timer_at: Option<u64>,
    /// When the last batch that was taken has been made to last.
    pub durable_at: u64,
}

impl Shard {
    pub(super) fn new(
        shard: usize,
        shards: usize,
        placement_seed: u64,
        seed: [u8; 32],
        conditions: &Conditions,
    ) -> Self {
        let metrics = Arc::new(ShardMetrics::default());
        let config = RouterConfig {
            shard: u16::try_from(shard).unwrap(),
            shards: u16::try_from(shards).unwrap(),
            seed,
            placement_seed,
            domain: "nexus.example".into(),
            root_wildcard: conditions.root_wildcard,
            limits: conditions.limits,
            durable: true,
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
        xmpp.resume_s = conditions.resume_s;
        let opening = Opening {
            mqtt: Arc::new(mqtt),
            xmpp: Arc::new(xmpp),
            passwords: mqtt::Passwords::Taken,
            certified: None,
        };
        Self {
            hub: Hub::new(config.clone()),
            config,
            machine: Machine::default(),
            opening,
            metrics,
            timer_at: None,
            durable_at: 0,
        }
    }

    /// Takes in a session as it was on the disk.
    pub(super) fn restore(&mut self, now: Now, starts: &Starts, session: &disk::Session) {
        let rows = session.outbound.iter().map(|(seq, row)| (*seq, &**row));
        let ids = session.inbound.iter().copied();
        let (messages, damaged) = mqtt::MessageState::restore(session.stored.number, now, rows, ids);
        let opening = &self.opening;
        let revive = |described: &[u8]| AnySession::restored(opening, now, starts, described, messages);
        let unread = self.hub.restore(&mut self.machine, now, &session.stored, revive);
        assert_eq!((damaged, unread), (0, Some(0)), "a session is restored whole");
    }
}
