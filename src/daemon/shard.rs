//! One shard of the daemon: the hub driven by the data plane.
//!
//! Invariant: nothing here decides anything about a message; it translates between [`shards::Plane`] and
//! [`Hub`].

mod enquiries;
mod io;
mod lasting;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use shards::{App, Close, ConnId, Plane, Secured, Shared, TlsAcceptor};

use super::bridge::EnquiryPort;
use super::control::{ControlMessage, ControlPort};
use super::restore::Found;
use super::settings;
use super::storage::StoragePort;
use super::system::{Schedule, Sources};
use super::tls;
use crate::config::Config;
use crate::hub::{Hub, HubTimer, Luggage, Next};
use crate::route::{Audience, Parcel, RouterConfig};
use crate::session::any::{AnySession, Opening};
use crate::session::{Passwords, mqtt, xmpp};
use crate::time::{Instant, Now};
use io::{Links, ShardIo};
use lasting::Restored;

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// MQTT over TCP.
    Mqtt,
    /// WebSocket, with what the request's path and subprotocol name.
    WebSocket,
    /// XMPP over TCP.
    Xmpp,
}

/// A listener: what it speaks, and whether TLS is around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// What is spoken.
    pub face: Face,
    /// Whether nobody can listen in.
    pub is_sealed: bool,
}

/// What a shard is made from, on its own thread.
pub struct Parts {
    /// The router's configuration.
    pub router: RouterConfig,
    /// The listeners, in the order of the data plane's.
    pub entrances: Arc<[Entrance]>,
    /// The MQTT face.
    pub mqtt: mqtt::Settings,
    /// The XMPP face.
    pub xmpp: xmpp::Settings,
    /// Whether a password may come in clear from an address that is not loopback.
    pub cleartext_passwords: bool,
    /// To and from the control thread.
    pub control: Arc<ControlPort>,
    /// What XMPP over TCP in clear turns to TLS with; without it, it does not.
    pub starttls: Option<TlsAcceptor>,
    /// To the storage thread, if anything is to outlive the daemon.
    pub storage: Option<Arc<StoragePort>>,
    /// What was kept over a restart.
    pub found: Arc<Found>,
    /// See [`Updates`].
    pub updates: Arc<Updates>,
    /// What `$SYS` is made from.
    pub system: Arc<Sources>,
    /// How often `$SYS` is published, in seconds; 0: never.
    pub system_interval_s: u32,
    /// What the bridge asks, if there is one.
    pub enquiries: Option<Arc<EnquiryPort>>,
}

/// Configurations that were reread and that a shard has not taken yet, one place a shard.
pub type Updates = Vec<ArrayQueue<Arc<Config>>>;

/// The application on one shard.
pub struct Shard {
    hub: Hub<ConnId, Shared, AnySession>,
    entrances: Arc<[Entrance]>,
    mqtt: Arc<mqtt::Settings>,
    xmpp: Arc<xmpp::Settings>,
    cleartext_passwords: bool,
    links: Links,
    storage: Option<Arc<StoragePort>>,
    /// Until every shard has taken it in.
    found: Option<Arc<Found>>,
    restored: Restored,
    updates: Arc<Updates>,
    system: Schedule,
    enquiries: Option<Arc<EnquiryPort>>,
    ticks: bool,
    /// The last flush found no room for all of it.
    has_more: bool,
}

/// The key of the shard's own timer; the hub's use other values.
const TICK: u64 = u64::MAX;
const TICK_NS: u64 = 10_000_000;

impl Shard {
    /// A shard without connections.
    pub fn new(parts: Parts) -> Self {
        let metrics = Arc::clone(&parts.router.metrics);
        let system = Schedule::new(parts.system, parts.system_interval_s);
        let mut hub = Hub::new(parts.router);
        hub.serve_system(system.is_served());
        Self {
            links: Links {
                control: parts.control,
                metrics,
                starttls: parts.starttls,
            },
            system,
            enquiries: parts.enquiries,
            updates: parts.updates,
            hub,
            entrances: parts.entrances,
            mqtt: Arc::new(parts.mqtt),
            xmpp: Arc::new(parts.xmpp),
            cleartext_passwords: parts.cleartext_passwords,
            storage: parts.storage,
            found: Some(parts.found),
            restored: Restored::Under,
            ticks: false,
            has_more: false,
        }
    }

    fn start_ticking(&mut self, plane: &mut Plane<Parcel>) {
        if !self.ticks {
            self.ticks = true;
            plane.arm(plane.now() + TICK_NS, TICK);
        }
    }

    /// Takes a configuration that was reread: it holds for the connections that come from now on.
    fn reconfigure(&mut self, config: &Config) {
        self.mqtt = Arc::new(settings::mqtt_settings(
            config,
            self.updates.len(),
            &self.links.metrics,
        ));
        let mut xmpp = settings::xmpp_settings(config, self.xmpp.seed(), &self.links.metrics);
        xmpp.unacked = Arc::clone(&self.xmpp.unacked);
        self.xmpp = Arc::new(xmpp);
        self.cleartext_passwords = config.mqtt.cleartext_passwords;
        let limits = settings::router_limits(config, self.updates.len());
        self.hub.reconfigure(settings::root_wildcard(config), limits);
        self.system.reconfigure(config.sys.interval_s);
        self.hub.serve_system(self.system.is_served());
    }

    /// What sessions are made from.
    fn opening(&self, passwords: Passwords) -> Opening {
        Opening {
            mqtt: Arc::clone(&self.mqtt),
            xmpp: Arc::clone(&self.xmpp),
            passwords,
            certified: None,
        }
    }

    /// Tells the values of `$SYS` as of now; they are made here, where somebody wants them.
    fn publish_system(&mut self, plane: &mut Plane<Parcel>, to: Audience) {
        let now = now(plane);
        let values = self.system.values(now.instant);
        let mut io = ShardIo {
            plane,
            links: &self.links,
        };
        self.hub.publish_system(&mut io, now, to, &values);
    }

    fn take_from_control(&mut self, plane: &mut Plane<Parcel>) {
        while let Some(message) = self.links.control.next(plane.shard()) {
            let now = now(plane);
            let mut io = ShardIo {
                plane,
                links: &self.links,
            };
            match message {
                ControlMessage::Verdict(verdict) => self.hub.verdict(&mut io, now, verdict),
                ControlMessage::Change(change) => self.hub.change(&mut io, now, &change),
            }
        }
    }
}

fn now(plane: &Plane<Parcel>) -> Now {
    Now {
        instant: Instant::from_nanos(plane.now()),
        unix_ms: plane.unix_ms(),
    }
}

impl App for Shard {
    type Parcel = Parcel;
    type Luggage = Option<Luggage<AnySession>>;

    fn starting(&mut self, plane: &mut Plane<Parcel>) {
        self.start_ticking(plane);
        plane.hold_accepts();
        self.restore(plane);
    }

    fn opened(&mut self, plane: &mut Plane<Parcel>, conn: ConnId, listener: usize, peer: SocketAddr) -> u32 {
        self.start_ticking(plane);
        let now = now(plane);
        let entrance = self.entrances.get(listener).copied();
        let is_sealed = entrance.is_some_and(|entrance| entrance.is_sealed);
        let passwords = if is_sealed || self.cleartext_passwords || is_loopback(peer.ip()) {
            Passwords::Taken
        } else {
            Passwords::Refused
        };
        let opening = self.opening(passwords);
        let session = match entrance.map(|entrance| entrance.face) {
            Some(Face::WebSocket) => AnySession::web_socket(&opening, now),
            Some(Face::Xmpp) => {
                let starttls = !is_sealed && self.links.starttls.is_some();
                AnySession::xmpp(&opening, starttls, now)
            }
            Some(Face::Mqtt) | None => AnySession::mqtt(&opening, now),
        };
        let mut io = ShardIo {
            plane,
            links: &self.links,
        };
        match self.hub.open(&mut io, conn, peer.ip(), session) {
            Some(slot) => slot,
            None => {
                plane.close(conn, Close::Now);
                u32::MAX
            }
        }
    }

    fn secured(&mut self, _: &mut Plane<Parcel>, conn: ConnId, tag: u32, secured: Secured) {
        let certified = secured.certificate.as_deref().and_then(tls::certified);
        self.hub.secured(tag, conn, certified.map(Box::new));
    }

    fn received(
        &mut self,
        plane: &mut Plane<Parcel>,
        conn: ConnId,
        tag: u32,
        bytes: &mut [u8],
    ) -> shards::Progress {
        self.heed_refusal();
        let now = now(plane);
        let mut io = ShardIo {
            plane,
            links: &self.links,
        };
        let progress = self.hub.receive(&mut io, now, tag, conn, bytes);
        if self.hub.has_system_newcomers() {
            self.publish_system(plane, Audience::Newcomers);
        }
        let next = match progress.next {
            Next::Need(bytes) => shards::Next::Need(bytes),
            Next::Hold => shards::Next::Hold,
        };
        shards::Progress {
            used: progress.used,
            next,
        }
    }

    fn closed(&mut self, plane: &mut Plane<Parcel>, conn: ConnId, tag: u32) {
        let now = now(plane);
        self.hub.closed(
            &mut ShardIo {
                plane,
                links: &self.links,
            },
            now,
            tag,
            conn,
        );
    }

    fn leaving(&mut self, plane: &mut Plane<Parcel>, conn: ConnId, tag: u32) -> Self::Luggage {
        let mut io = ShardIo {
            plane,
            links: &self.links,
        };
        self.hub.leaving(&mut io, tag, conn)
    }

    fn handed(&mut self, plane: &mut Plane<Parcel>, conn: ConnId, luggage: Self::Luggage) -> u32 {
        self.start_ticking(plane);
        let now = now(plane);
        let Some(mut luggage) = luggage else {
            plane.close(conn, Close::Now);
            return u32::MAX;
        };
        luggage.session.rehome(&self.opening(Passwords::Refused));
        let mut io = ShardIo {
            plane,
            links: &self.links,
        };
        match self.hub.handed(&mut io, now, conn, luggage) {
            Some(slot) => slot,
            None => {
                plane.close(conn, Close::Now);
                u32::MAX
            }
        }
    }

    fn parcel(&mut self, plane: &mut Plane<Parcel>, from: usize, mut parcel: Parcel) {
        let Ok(shard) = u16::try_from(from) else { return };
        self.start_ticking(plane);
        self.heed_refusal();
        let now = now(plane);
        self.hub.parcel(
            &mut ShardIo {
                plane,
                links: &self.links,
            },
            now,
            shard,
            &mut parcel,
        );
        self.accept_when_restored(plane);
        plane.give_back(from, parcel);
    }

    fn timer(&mut self, plane: &mut Plane<Parcel>, key: u64) {
        let now = now(plane);
        let mut io = ShardIo {
            plane,
            links: &self.links,
        };
        if key != TICK {
            return self.hub.timer(&mut io, now, HubTimer(key));
        }
        self.hub.tick(&mut io, now);
        if self.system.is_due(now.instant) && self.hub.has_system_subscribers() {
            self.publish_system(plane, Audience::All);
        }
        self.ticks = false;
        self.start_ticking(plane);
    }

    fn rung(&mut self, plane: &mut Plane<Parcel>) {
        if let Some(config) = self.updates.get(plane.shard()).and_then(ArrayQueue::pop) {
            self.reconfigure(&config);
        }
        self.restore(plane);
        self.hear_from_storage(plane);
        self.take_from_control(plane);
        self.answer_enquiries(plane.shard());
    }

    fn flush(&mut self, plane: &mut Plane<Parcel>) {
        self.has_more = false;
        self.links.control.wake();
        // Before the parcels: what another shard writes because of them comes after it.
        self.store(plane);
        let mut kept = false;
        for to in 0..plane.shards() {
            let Ok(shard) = u16::try_from(to) else { continue };
            while let Some(emptied) = plane.reuse(to) {
                self.hub.recycle(emptied);
            }
            if let Some(parcel) = self.hub.outgoing(shard)
                && let Err(parcel) = plane.send(to, parcel)
            {
                self.hub.keep(shard, parcel);
                kept = true;
            }
        }
        if !kept {
            self.tell_restored();
        }
        self.has_more |= kept;
    }

    fn has_more(&self) -> bool {
        self.has_more
    }

    fn stopping(&mut self, plane: &mut Plane<Parcel>) {
        let now = now(plane);
        self.hub.stop(
            &mut ShardIo {
                plane,
                links: &self.links,
            },
            now,
        );
    }
}

/// Whether a peer is on this machine.
fn is_loopback(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}
