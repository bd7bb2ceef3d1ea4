//! Peers of XMPP over TCP that say anything in any order and in pieces of any length, valid and mutated: no panic, what
//! comes back is whole elements of one document, and nobody's end leaves anything behind.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Machine, Wire};
use nexus::codec::Decode;
use nexus::codec::xmpp::{Bounds, Framer, document};
use nexus::hub::{Hub, Next};
use nexus::route::{CredentialId, Grants, RootWildcard, RouterConfig, RouterLimits};
use nexus::session::any::{AnySession, Opening};
use nexus::session::{mqtt, xmpp};
use nexus::store::login::{LoginProof, LoginVerdict, Verified};
use nexus::time::{Instant, Now};

/// What clients say, each to be picked by a byte; the last ones log in.
const SAID: [&str; 24] = [
    "</stream:stream>",
    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>",
    "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>",
    "<iq type='get' id='d' to='nexus.example'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    "<iq type='set' id='l'><listen xmlns='urn:nexus:1' cmd='c'/></iq>",
    "<iq type='set' id='u'><unlisten xmlns='urn:nexus:1' cmd='c'/></iq>",
    "<iq type='set' id='a'><api xmlns='urn:nexus:1' app='etest' cmd='c'><json xmlns='urn:xmpp:json:0'>{}</json></api></iq>",
    "<iq type='set' id='s'><subscribe xmlns='urn:nexus:1' channel='a/+'/></iq>",
    "<iq type='set' id='t'><unsubscribe xmlns='urn:nexus:1' channel='a/+'/></iq>",
    "<message><publish xmlns='urn:nexus:1' channel='a/b' retain='true'>x &amp; y</publish></message>",
    "<message><direct xmlns='urn:nexus:1' app='etest' resource='w1'>text</direct></message>",
    "<message to='etest-0123456789abcdef01234567-owner@nexus.example/w1' type='chat'><body>b</body></message>",
    "<message to='etest-0123456789abcdef01234567-owner@nexus.example'><body>b</body></message>",
    "<presence/>",
    "<presence type='unavailable'/>",
    "<presence to='a@conference.nexus.example/nick'/>",
    "<message to='a@conference.nexus.example' type='groupchat'><body>hello</body></message>",
    " \n",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>biwsbj14LHI9YWJj</auth>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>\
     AGV0ZXN0LTAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Ny1vd25lcgBzZWNyZXQ=</auth>",
    HEADER,
    "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>w1</resource></bind></iq>",
    "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
];
const HEADER: &str = "<?xml version='1.0'?><stream:stream to='nexus.example' version='1.0' xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams'>";
/// Header, login, header, resource.
const LOGIN: [usize; 4] = [21, 20, 21, 23];

struct World {
    now: Now,
    hub: Hub<usize, Rc<Vec<u8>>, AnySession>,
    machine: Machine,
    opening: Opening,
    clients: [Option<usize>; 3],
    conns: usize,
}

impl World {
    fn new() -> Self {
        Self {
            now: Now {
                instant: Instant::from_nanos(1_000_000_000),
                unix_ms: 1_700_000_000_000,
            },
            hub: Hub::new(RouterConfig {
                shard: 0,
                shards: 1,
                seed: [1; 32],
                placement_seed: 7,
                domain: "nexus.example".into(),
                root_wildcard: RootWildcard::All,
                limits: RouterLimits::default(),
                durable: false,
                metrics: Arc::default(),
            }),
            machine: Machine::default(),
            opening: Opening {
                mqtt: Arc::default(),
                xmpp: Arc::new(xmpp::Settings::new(
                    vec!["nexus.example".into()],
                    [1; 32],
                    Arc::default(),
                )),
                passwords: mqtt::Passwords::Taken,
                certified: None,
            },
            clients: [None; 3],
            conns: 0,
        }
    }

    fn open(&mut self, client: usize) -> usize {
        let conn = self.conns;
        self.conns += 1;
        self.machine.wires.insert(conn, Wire::default());
        let session = AnySession::xmpp(&self.opening, true, self.now);
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let slot = self
            .hub
            .open(&mut self.machine, conn, peer, session)
            .expect("room");
        self.machine.wires.get_mut(&conn).expect("just made").slot = slot;
        self.clients[client] = Some(conn);
        conn
    }

    fn say(&mut self, conn: usize, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece.max(1)) {
            if let Some(wire) = self.machine.wires.get_mut(&conn) {
                wire.held.extend_from_slice(piece);
            }
            self.show(conn);
            // What follows would be TLS.
            if self.machine.securing.contains(&conn) {
                break;
            }
        }
        self.pump();
    }

    fn show(&mut self, conn: usize) {
        while let Some(wire) = self.machine.wires.get_mut(&conn) {
            if wire.is_held || wire.is_closed || wire.held.is_empty() {
                return;
            }
            let (slot, mut held) = (wire.slot, std::mem::take(&mut wire.held));
            let progress = self
                .hub
                .receive(&mut self.machine, self.now, slot, conn, &mut held);
            let Some(wire) = self.machine.wires.get_mut(&conn) else {
                return;
            };
            held.drain(..progress.used);
            wire.held = held;
            wire.is_held = progress.next == Next::Hold;
            if progress.used == 0 {
                return;
            }
        }
    }

    /// Everything that is under way arrives.
    fn pump(&mut self) {
        for _ in 0..64 {
            let logins = std::mem::take(&mut self.machine.logins);
            let resumed = std::mem::take(&mut self.machine.resumed);
            let securing = std::mem::take(&mut self.machine.securing);
            if logins.is_empty() && resumed.is_empty() && securing.is_empty() {
                break;
            }
            for request in logins {
                let result = Ok(match request.proof {
                    LoginProof::ScramFirst(_) => Verified::Challenge {
                        salt: [2; 16],
                        iterations: 4_096,
                    },
                    _ => Verified::from(Grants {
                        credential: CredentialId(1),
                        services: Vec::new(),
                        expires_unix_ms: None,
                        announced: false,
                    }),
                });
                let verdict = LoginVerdict {
                    session: request.session,
                    result,
                };
                self.hub.verdict(&mut self.machine, self.now, verdict);
            }
            for conn in securing {
                if let Some(wire) = self.machine.wires.get_mut(&conn) {
                    assert!(wire.held.is_empty(), "nothing in clear is believed");
                    self.hub.secured(wire.slot, conn, None);
                }
            }
            for conn in resumed {
                if let Some(wire) = self.machine.wires.get_mut(&conn) {
                    wire.is_held = false;
                }
                self.show(conn);
            }
        }
        self.hear();
    }

    /// What was sent is headers, whole elements and one end; who was closed is gone.
    fn hear(&mut self) {
        let mut ended = Vec::new();
        for (&conn, wire) in &mut self.machine.wires {
            let heard = std::mem::take(&mut wire.sent);
            let mut rest = heard.as_slice();
            while !rest.is_empty() {
                let read = if rest.starts_with(b"<?xml") {
                    document::opening(rest, &Bounds::default(), &mut Vec::new())
                        .map(|read| matches!(read, Decode::Frame { len, .. } if take(&mut rest, len)))
                } else if rest.starts_with(b"</") {
                    assert_eq!(rest, b"</stream:stream>", "nothing follows the end");
                    rest = &[];
                    Ok(true)
                } else {
                    Framer::default()
                        .scan(rest, &Bounds::default())
                        .map(|read| matches!(read, Decode::Frame { len, .. } if take(&mut rest, len)))
                };
                assert_eq!(read, Ok(true), "{:?}", String::from_utf8_lossy(rest));
            }
            if wire.is_closed {
                ended.push(conn);
            }
        }
        for conn in ended {
            self.gone(conn);
        }
    }

    fn gone(&mut self, conn: usize) {
        if let Some(wire) = self.machine.wires.remove(&conn) {
            self.hub.closed(&mut self.machine, self.now, wire.slot, conn);
        }
        for client in &mut self.clients {
            *client = client.filter(|&other| other != conn);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.instant = self.now.instant + Duration::from_millis(ms);
        self.now.unix_ms += ms;
        while let Some(timer) = self.machine.pop_due(self.now.instant) {
            self.hub.timer(&mut self.machine, self.now, timer);
        }
        self.hub.tick(&mut self.machine, self.now);
        self.pump();
    }
}

/// Takes `len` bytes off the front; true.
fn take(rest: &mut &[u8], len: usize) -> bool {
    *rest = &rest[len..];
    true
}

/// # Panics
/// If `data` shows a fault.
pub(crate) fn run(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let mut world = World::new();
    while let (Some(who), Some(what)) = (bytes.next(), bytes.next()) {
        let client = usize::from(who) % world.clients.len();
        let piece = match who >> 4 {
            0 => usize::MAX,
            piece => usize::from(piece) * 5,
        };
        let conn = match world.clients[client] {
            Some(conn) => conn,
            None => world.open(client),
        };
        match what {
            0..=23 => world.say(conn, SAID[usize::from(what)].as_bytes(), piece),
            // With a byte changed.
            24..=95 => {
                let mut said = SAID[usize::from(what) % SAID.len()].as_bytes().to_vec();
                let at = usize::from(bytes.next().unwrap_or(0)) % said.len();
                said[at] = bytes.next().unwrap_or(b'<');
                world.say(conn, &said, piece);
            }
            96..=127 => {
                for said in LOGIN {
                    world.say(conn, SAID[said].as_bytes(), piece);
                }
            }
            // Bytes as they come.
            128..=159 => {
                let said: Vec<u8> = bytes.by_ref().take(usize::from(what - 127)).collect();
                world.say(conn, &said, piece);
            }
            160..=175 => world.gone(conn),
            // Two at once.
            176..=207 => {
                let said = format!("{}{}", SAID[usize::from(what) % 18], SAID[usize::from(what) % 7]);
                world.say(conn, said.as_bytes(), piece);
            }
            _ => world.pass(u64::from(what) * 200),
        }
    }
    for conn in world.machine.wires.keys().copied().collect::<Vec<_>>() {
        world.gone(conn);
    }
    world.pump();
    assert!(world.machine.wires.is_empty() && world.hub.is_empty());
}
