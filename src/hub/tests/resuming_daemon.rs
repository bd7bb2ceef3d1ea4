//! A daemon without a disk, of some shards, whose clients speak XMPP and lose their connections.

use std::rc::Rc;

use super::*;
use crate::route::{AppPolicy, Change, DirectPolicy, Parcel};
use crate::session::any::{AnySession, Opening};
use crate::session::{Passwords, mqtt, xmpp};
use crate::store::{Admitted, LoginProof};

const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
     to='nexus.example' version='1.0'>";
const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='nexus.example' version='1.0'/>";
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: nexus.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n";

pub(super) struct Place {
    pub(super) hub: Hub<u32, Rc<Vec<u8>>, AnySession>,
    pub(super) machine: Machine,
    opening: Opening,
}

/// A daemon of some shards, its clients on connections that are numbered.
pub(super) struct Daemon {
    pub(super) places: Vec<Place>,
    /// Where each connection is, and whether WebSocket carries it.
    conns: BTreeMap<u32, (usize, bool)>,
    /// What a hub did not want to see before it has decided something.
    held: BTreeMap<u32, Vec<u8>>,
    pub(super) now: Now,
    /// What the control thread says to those who were proven.
    pub(super) verdict: fn(&LoginRequest) -> Result<Verified, LoginFailure>,
}

pub(super) fn admitted(grants: Grants, bound: Option<&str>) -> Verified {
    Verified::Account(Box::new(Admitted {
        grants,
        bound_resource: bound.map(Into::into),
        server_signature: Box::default(),
    }))
}

impl Daemon {
    pub(super) fn new(shards: u16) -> Self {
        let place = |shard: u16| {
            let metrics: Arc<ShardMetrics> = Arc::default();
            let seed = [u8::try_from(shard).unwrap() + 1; 32];
            let settings = mqtt::Settings {
                metrics: Arc::clone(&metrics),
                ..Default::default()
            };
            let domains = vec!["nexus.example".into()];
            let opening = Opening {
                mqtt: Arc::new(settings),
                xmpp: Arc::new(xmpp::Settings::new(domains, seed, Arc::clone(&metrics))),
                passwords: Passwords::Taken,
                certified: None,
            };
            let config = RouterConfig {
                shard,
                shards,
                seed,
                placement_seed: 7,
                domain: "nexus.example".into(),
                root_wildcard: RootWildcard::Operators,
                limits: RouterLimits::default(),
                durable: false,
                metrics,
            };
            Place {
                hub: Hub::new(config),
                machine: Machine::default(),
                opening,
            }
        };
        Self {
            places: (0..shards).map(place).collect(),
            conns: BTreeMap::new(),
            held: BTreeMap::new(),
            now: Now {
                instant: Instant::from_nanos(1_000_000_000),
                unix_ms: 1_700_000_000_000,
            },
            verdict: |_| Ok(admitted(grants(), None)),
        }
    }

    /// What may be unacknowledged on a shard, of all and of one account. Before anybody connects.
    pub(super) fn bound_unacked(&mut self, of_all: u64, of_account: u64) {
        for place in &mut self.places {
            let settings = Arc::get_mut(&mut place.opening.xmpp).unwrap();
            settings.unacked_bytes_max = of_all;
            settings.unacked_bytes_per_account_max = of_account;
        }
    }

    /// Everybody may call the workers of `etest`.
    pub(super) fn open_app(&mut self) {
        self.change(&Change::App {
            name: "etest".into(),
            policy: AppPolicy {
                open: true,
                direct: DirectPolicy::Any,
            },
        });
    }

    pub(super) fn sum(&self, counter: impl Fn(&ShardMetrics) -> u64) -> u64 {
        let counters = self.places.iter().map(|place| counter(&place.hub.metrics));
        counters.fold(0, u64::wrapping_add)
    }

    /// A connection to a shard, up to its binding.
    pub(super) fn connect(&mut self, conn: u32, shard: usize, over_tcp: bool, account: &str) {
        use base64::Engine as _;
        let place = &mut self.places[shard];
        place.machine.wires.insert(conn, Wire::default());
        let session = if over_tcp {
            AnySession::xmpp(&place.opening, false, self.now)
        } else {
            AnySession::web_socket(&place.opening, self.now)
        };
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let slot = place.hub.open(&mut place.machine, conn, peer, session).unwrap();
        place.machine.slots.insert(conn, slot);
        self.conns.insert(conn, (shard, !over_tcp));
        let open = if over_tcp { HEADER } else { OPEN };
        let plain = base64::engine::general_purpose::STANDARD.encode(format!("\0{account}\0secret"));
        if !over_tcp {
            self.show(conn, UPGRADE.as_bytes());
        }
        self.say(conn, open);
        self.say(
            conn,
            &format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"),
        );
        self.say(conn, open);
        let heard = self.heard(conn);
        assert!(heard.contains("<sm xmlns='urn:xmpp:sm:3'/>"), "{heard}");
    }

    pub(super) fn bind(&mut self, conn: u32, resource: &str) {
        self.say(conn, &bind_of(resource));
    }

    /// A client that may resume its session; what it is to name then.
    pub(super) fn log_in(
        &mut self,
        conn: u32,
        shard: usize,
        over_tcp: bool,
        account: &str,
        resource: &str,
    ) -> String {
        self.connect(conn, shard, over_tcp, account);
        self.bind(conn, resource);
        self.say(conn, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
        let heard = self.heard(conn);
        let (_, id) = heard.split_once(" id='").unwrap().1.split_once(" id='").unwrap();
        id.split('\'').next().unwrap().to_owned()
    }

    pub(super) fn show(&mut self, conn: u32, bytes: &[u8]) {
        self.receive(conn, bytes.to_vec());
        self.settle();
    }

    /// Whether anything was taken.
    fn receive(&mut self, conn: u32, mut bytes: Vec<u8>) -> bool {
        let (shard, _) = self.conns[&conn];
        let place = &mut self.places[shard];
        let slot = place.machine.slots[&conn];
        let Progress { used, next } = place
            .hub
            .receive(&mut place.machine, self.now, slot, conn, &mut bytes);
        if next == Next::Hold && used < bytes.len() {
            self.held.insert(conn, bytes.split_off(used));
        }
        used > 0
    }

    /// What is held is shown once more. Whether any of it was taken.
    fn show_held(&mut self) -> bool {
        let held = std::mem::take(&mut self.held).into_iter();
        held.fold(false, |any, (conn, bytes)| self.receive(conn, bytes) || any)
    }

    /// Says an element, in the frames of its carrier.
    pub(super) fn say(&mut self, conn: u32, element: &str) {
        if !self.conns[&conn].1 {
            return self.show(conn, element.as_bytes());
        }
        let mut frame = vec![0x81];
        match u8::try_from(element.len()) {
            Ok(len @ ..126) => frame.push(0x80 | len),
            _ => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(element.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(element.as_bytes());
        self.show(conn, &frame);
    }

    pub(super) fn resume(&mut self, conn: u32, previd: &str, handled: u32) {
        self.say(conn, &resume_of(previd, handled));
    }

    pub(super) fn heard(&mut self, conn: u32) -> String {
        let (shard, _) = self.conns[&conn];
        let wire = self.places[shard].machine.wires.get_mut(&conn).unwrap();
        String::from_utf8_lossy(&std::mem::take(&mut wire.sent)).into_owned()
    }

    pub(super) fn is_closed(&self, conn: u32) -> bool {
        self.places[self.conns[&conn].0].machine.wires[&conn].closed
    }

    /// A connection is lost.
    pub(super) fn lose(&mut self, conn: u32) {
        let (shard, _) = self.conns[&conn];
        let place = &mut self.places[shard];
        let slot = place.machine.slots[&conn];
        place.hub.closed(&mut place.machine, self.now, slot, conn);
        self.settle();
    }

    pub(super) fn change(&mut self, change: &Change) {
        for place in &mut self.places {
            place.hub.change(&mut place.machine, self.now, change);
        }
        self.settle();
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now.instant = self.now.instant + Duration::from_millis(ms);
        self.now.unix_ms += ms;
        for place in &mut self.places {
            let due: Vec<u64> = place
                .machine
                .timers
                .iter()
                .filter(|(_, (at, _))| *at <= self.now.instant)
                .map(|(id, _)| *id)
                .collect();
            for id in due {
                if let Some((_, timer)) = place.machine.timers.remove(&id) {
                    place.hub.timer(&mut place.machine, self.now, timer);
                }
            }
            place.hub.tick(&mut place.machine, self.now);
        }
        self.settle();
    }

    /// Whatever is to follow does: verdicts, hand-overs, parcels.
    pub(super) fn settle(&mut self) {
        while (0..self.places.len()).any(|shard| self.settle_place(shard)) || self.show_held() {}
    }

    pub(super) fn settle_place(&mut self, shard: usize) -> bool {
        let place = &mut self.places[shard];
        let mut any = false;
        for request in std::mem::take(&mut place.machine.logins) {
            let result = match request.proof {
                LoginProof::Proven { .. } => (self.verdict)(&request),
                _ => Ok(admitted(grants(), None)),
            };
            let session = request.session;
            let verdict = LoginVerdict { session, result };
            place.hub.verdict(&mut place.machine, self.now, verdict);
            any = true;
        }
        for (conn, to) in std::mem::take(&mut place.machine.handed_over) {
            self.hand_over(conn, shard, usize::from(to));
            any = true;
        }
        for to in 0..self.places.len() {
            let target = u16::try_from(to).unwrap();
            if let Some(parcel) = self.places[shard].hub.outgoing(target) {
                self.carry(shard, to, parcel);
                any = true;
            }
        }
        any
    }

    pub(super) fn hand_over(&mut self, conn: u32, from: usize, to: usize) {
        let place = &mut self.places[from];
        let slot = place.machine.slots[&conn];
        let mut luggage = place.hub.leaving(&mut place.machine, slot, conn).unwrap();
        let wire = place.machine.wires.remove(&conn).unwrap();
        let place = &mut self.places[to];
        luggage.session.rehome(&place.opening);
        place.machine.wires.insert(conn, wire);
        let slot = place
            .hub
            .handed(&mut place.machine, self.now, conn, luggage)
            .unwrap();
        place.machine.slots.insert(conn, slot);
        self.conns.get_mut(&conn).unwrap().0 = to;
    }

    pub(super) fn carry(&mut self, from: usize, to: usize, mut parcel: Parcel) {
        let place = &mut self.places[to];
        let from = u16::try_from(from).unwrap();
        place.hub.parcel(&mut place.machine, self.now, from, &mut parcel);
    }

    pub(super) fn subscribe(&mut self, conn: u32, channel: &str) {
        self.say(
            conn,
            &format!(
                "<iq xmlns='jabber:client' type='set' id='s'><subscribe xmlns='urn:nexus:1' channel='{channel}'/></iq>"
            ),
        );
        assert!(self.heard(conn).contains("type='result' id='s'"));
    }

    pub(super) fn publish(&mut self, conn: u32, channel: &str, text: &str) {
        self.say(
            conn,
            &format!(
                "<message xmlns='jabber:client'><publish xmlns='urn:nexus:1' channel='{channel}'>{text}</publish></message>"
            ),
        );
    }
}

pub(super) fn bind_of(resource: &str) -> String {
    format!(
        "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <resource>{resource}</resource></bind></iq>"
    )
}

pub(super) fn resume_of(previd: &str, handled: u32) -> String {
    format!("<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='{handled}'/>")
}

/// The texts of channel messages, in the order they came.
pub(super) fn texts(heard: &str) -> Vec<&str> {
    heard
        .split("<publish ")
        .skip(1)
        .map(|rest| rest.split_once('>').unwrap().1.split('<').next().unwrap())
        .collect()
}
