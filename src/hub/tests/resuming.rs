//! Sessions of XMPP that lose their connections and are resumed: on their shard, on another one, over another carrier.

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
const PING: &str = "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";

struct Place {
    hub: Hub<u32, Rc<Vec<u8>>, AnySession>,
    machine: Machine,
    opening: Opening,
}

/// A daemon of some shards, its clients on connections that are numbered.
struct Daemon {
    places: Vec<Place>,
    /// Where each connection is, and whether WebSocket carries it.
    conns: BTreeMap<u32, (usize, bool)>,
    now: Now,
    /// What the control thread says to those who were proven.
    verdict: fn(&LoginRequest) -> Result<Verified, LoginFailure>,
}

fn admitted(grants: Grants, bound: Option<&str>) -> Verified {
    Verified::Account(Box::new(Admitted {
        grants,
        bound_resource: bound.map(Into::into),
        server_signature: Box::default(),
    }))
}

impl Daemon {
    fn new(shards: u16) -> Self {
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
            now: Now {
                instant: Instant::from_nanos(1_000_000_000),
                unix_ms: 1_700_000_000_000,
            },
            verdict: |_| Ok(admitted(grants(), None)),
        }
    }

    /// Everybody may call the workers of `etest`.
    fn open_app(&mut self) {
        self.change(&Change::App {
            name: "etest".into(),
            policy: AppPolicy {
                open: true,
                direct: DirectPolicy::Any,
            },
        });
    }

    fn sum(&self, counter: impl Fn(&ShardMetrics) -> u64) -> u64 {
        let counters = self.places.iter().map(|place| counter(&place.hub.metrics));
        counters.fold(0, u64::wrapping_add)
    }

    /// A connection to a shard, up to its binding.
    fn connect(&mut self, conn: u32, shard: usize, over_tcp: bool, account: &str) {
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

    fn bind(&mut self, conn: u32, resource: &str) {
        self.say(
            conn,
            &format!(
                "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                 <resource>{resource}</resource></bind></iq>"
            ),
        );
    }

    /// A client that may resume its session; what it is to name then.
    fn log_in(&mut self, conn: u32, shard: usize, over_tcp: bool, account: &str, resource: &str) -> String {
        self.connect(conn, shard, over_tcp, account);
        self.bind(conn, resource);
        self.say(conn, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
        let heard = self.heard(conn);
        let (_, id) = heard.split_once(" id='").unwrap().1.split_once(" id='").unwrap();
        id.split('\'').next().unwrap().to_owned()
    }

    fn show(&mut self, conn: u32, bytes: &[u8]) {
        let (shard, _) = self.conns[&conn];
        let place = &mut self.places[shard];
        let slot = place.machine.slots[&conn];
        let mut bytes = bytes.to_vec();
        place
            .hub
            .receive(&mut place.machine, self.now, slot, conn, &mut bytes);
        self.settle();
    }

    /// Says an element, in the frames of its carrier.
    fn say(&mut self, conn: u32, element: &str) {
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

    fn resume(&mut self, conn: u32, previd: &str, handled: u32) {
        self.say(
            conn,
            &format!("<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='{handled}'/>"),
        );
    }

    fn heard(&mut self, conn: u32) -> String {
        let (shard, _) = self.conns[&conn];
        let wire = self.places[shard].machine.wires.get_mut(&conn).unwrap();
        String::from_utf8_lossy(&std::mem::take(&mut wire.sent)).into_owned()
    }

    fn is_closed(&self, conn: u32) -> bool {
        self.places[self.conns[&conn].0].machine.wires[&conn].closed
    }

    /// A connection is lost.
    fn lose(&mut self, conn: u32) {
        let (shard, _) = self.conns[&conn];
        let place = &mut self.places[shard];
        let slot = place.machine.slots[&conn];
        place.hub.closed(&mut place.machine, self.now, slot, conn);
        self.settle();
    }

    fn change(&mut self, change: &Change) {
        for place in &mut self.places {
            place.hub.change(&mut place.machine, self.now, change);
        }
        self.settle();
    }

    fn pass(&mut self, ms: u64) {
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
    fn settle(&mut self) {
        while (0..self.places.len()).any(|shard| self.settle_place(shard)) {}
    }

    fn settle_place(&mut self, shard: usize) -> bool {
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

    fn hand_over(&mut self, conn: u32, from: usize, to: usize) {
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

    fn carry(&mut self, from: usize, to: usize, mut parcel: Parcel) {
        let place = &mut self.places[to];
        let from = u16::try_from(from).unwrap();
        place.hub.parcel(&mut place.machine, self.now, from, &mut parcel);
    }

    fn subscribe(&mut self, conn: u32, channel: &str) {
        self.say(
            conn,
            &format!(
                "<iq xmlns='jabber:client' type='set' id='s'><subscribe xmlns='urn:nexus:1' channel='{channel}'/></iq>"
            ),
        );
        assert!(self.heard(conn).contains("type='result' id='s'"));
    }

    fn publish(&mut self, conn: u32, channel: &str, text: &str) {
        self.say(
            conn,
            &format!(
                "<message xmlns='jabber:client'><publish xmlns='urn:nexus:1' channel='{channel}'>{text}</publish></message>"
            ),
        );
    }
}

/// The texts of channel messages, in the order they came.
fn texts(heard: &str) -> Vec<&str> {
    heard
        .split("<publish ")
        .skip(1)
        .map(|rest| rest.split_once('>').unwrap().1.split('<').next().unwrap())
        .collect()
}

/// All combinations of where a client was and comes back.
fn ways() -> impl Iterator<Item = (u16, usize, bool, bool)> {
    let carriers = [(false, false), (true, true), (false, true), (true, false)];
    [(1, 0), (2, 0), (2, 1), (3, 2)]
        .into_iter()
        .flat_map(move |(shards, back)| carriers.map(|(was, is)| (shards, back, was, is)))
}

#[test]
fn xep0198_5_a_lost_session_goes_on_wherever_its_client_comes_back() {
    for (shards, back, was_tcp, is_tcp) in ways() {
        let mut daemon = Daemon::new(shards);
        daemon.connect(9, back, true, BOB);
        daemon.bind(9, "page");
        let previd = daemon.log_in(1, 0, was_tcp, ALICE, "w1");
        daemon.subscribe(1, "a");
        daemon.publish(9, "a", "one");
        assert_eq!(texts(&daemon.heard(1)), ["one"]);
        daemon.publish(9, "a", "two");
        daemon.lose(1);
        assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), 1);
        daemon.publish(9, "a", "three");
        daemon.connect(2, back, is_tcp, ALICE);
        // The answer to the subscription and the first message.
        daemon.resume(2, &previd, 2);
        let heard = daemon.heard(2);
        let head = format!("<resumed xmlns='urn:xmpp:sm:3' previd='{previd}' h='1'/>");
        assert!(heard.contains(&head), "{heard}");
        assert_eq!(texts(&heard), ["two", "three"]);
        daemon.publish(9, "a", "four");
        assert_eq!(texts(&daemon.heard(2)), ["four"]);
        daemon.say(2, PING);
        assert!(daemon.heard(2).contains("type='result' id='p'"));
        assert_eq!(
            (
                daemon.sum(|m| m.xmpp_resumed.get()),
                daemon.sum(|m| m.xmpp_suspended.get()),
                daemon.sum(|m| m.sessions.get()),
            ),
            (1, 0, 2)
        );
        // Once more, by the same name.
        daemon.lose(2);
        daemon.publish(9, "a", "five");
        daemon.connect(3, 0, is_tcp, ALICE);
        daemon.resume(3, &previd, 6);
        assert_eq!(texts(&daemon.heard(3)), ["five"]);
        daemon.say(3, "<a xmlns='urn:xmpp:sm:3' h='7'/>");
        assert_eq!(daemon.sum(|m| m.xmpp_unacked_bytes.get()), 0);
    }
}

#[test]
fn xep0198_5_a_session_whose_connection_looks_alive_goes_over_without_loss() {
    for (shards, back, was_tcp, is_tcp) in ways() {
        let mut daemon = Daemon::new(shards);
        daemon.connect(9, 0, true, BOB);
        daemon.bind(9, "page");
        let previd = daemon.log_in(1, 0, was_tcp, ALICE, "w1");
        daemon.subscribe(1, "a");
        daemon.publish(9, "a", "one");
        daemon.connect(2, back, is_tcp, ALICE);
        daemon.resume(2, &previd, 1);
        assert!(daemon.is_closed(1));
        assert!(daemon.heard(1).contains("<conflict "));
        let heard = daemon.heard(2);
        assert!(heard.contains("<resumed "), "{heard}");
        assert_eq!(texts(&heard), ["one"]);
        daemon.lose(1);
        daemon.publish(9, "a", "two");
        assert_eq!(texts(&daemon.heard(2)), ["two"]);
    }
}

#[test]
fn xep0198_5_who_may_not_have_a_session_is_told_that_there_is_none_and_may_bind() {
    for (shards, back) in [(1, 0), (2, 1)] {
        let mut daemon = Daemon::new(shards);
        let previd = daemon.log_in(1, 0, true, ALICE, "w1");
        daemon.lose(1);
        let mut guess = previd.clone();
        guess.replace_range(51.., if guess.ends_with('0') { "1" } else { "0" });
        let mut elsewhere = previd.clone();
        elsewhere.replace_range(..4, "ffff");
        let mut nowhere = previd.clone();
        nowhere.replace_range(4..12, "00ffffff");
        let mut stale = previd.clone();
        stale.replace_range(12..20, "0000ffff");
        for (conn, account, name) in [
            (2, BOB, &previd),
            (3, ALICE, &guess),
            (4, ALICE, &elsewhere),
            (5, ALICE, &nowhere),
            (6, ALICE, &stale),
        ] {
            daemon.connect(conn, back, true, account);
            daemon.resume(conn, name, 0);
            let heard = daemon.heard(conn);
            assert!(heard.contains("<item-not-found "), "{heard}");
            daemon.bind(conn, &format!("r{conn}"));
            assert!(daemon.heard(conn).contains("<jid>"));
        }
        assert_eq!(daemon.sum(|m| m.xmpp_resume_failed.get()), 5);
        // A secret that is for another resource.
        daemon.verdict = |_| Ok(admitted(grants(), Some("w2")));
        daemon.connect(7, back, true, ALICE);
        daemon.resume(7, &previd, 0);
        assert!(daemon.heard(7).contains("<item-not-found "));
        daemon.verdict = |_| Ok(admitted(grants(), Some("w1")));
        // A lie.
        daemon.connect(8, back, true, ALICE);
        daemon.resume(8, &previd, 77);
        assert!(daemon.heard(8).contains("<handled-count-too-high ") && daemon.is_closed(8));
        // Revoked on its way.
        daemon.verdict = |_| Err(LoginFailure::Denied);
        daemon.connect(10, back, true, ALICE);
        daemon.resume(10, &previd, 0);
        assert!(daemon.heard(10).contains("<not-authorized ") && daemon.is_closed(10));
        // It is there still.
        daemon.verdict = |_| Ok(admitted(grants(), Some("w1")));
        daemon.connect(11, back, true, ALICE);
        daemon.resume(11, &previd, 0);
        assert!(daemon.heard(11).contains("<resumed "));
    }
}

#[test]
fn a_newcomer_with_the_same_address_ends_what_waits_and_is_no_conflict() {
    for (shards, back) in [(1, 0), (2, 1), (2, 0), (3, 2)] {
        let mut daemon = Daemon::new(shards);
        let mut previd = daemon.log_in(0, 0, true, ALICE, "w1");
        for conn in 1..8 {
            daemon.lose(conn - 1);
            let shard = if conn % 2 == 0 { 0 } else { back };
            let next = daemon.log_in(conn, shard, true, ALICE, "w1");
            assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), 0);
            daemon.connect(100 + conn, back, true, ALICE);
            daemon.resume(100 + conn, &previd, 0);
            assert!(daemon.heard(100 + conn).contains("<item-not-found "));
            previd = next;
        }
    }
}

#[test]
fn xep0198_5_nobody_comes_back_in_time() {
    let mut daemon = Daemon::new(2);
    let previd = daemon.log_in(1, 0, true, ALICE, "w1");
    daemon.subscribe(1, "a");
    daemon.lose(1);
    daemon.pass(299_999);
    assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), 1);
    daemon.pass(1);
    assert_eq!(daemon.places[0].hub.len(), 0);
    assert_eq!(
        (
            daemon.sum(|m| m.xmpp_suspended.get()),
            daemon.sum(|m| m.xmpp_resume_expired.get()),
            daemon.sum(|m| m.subscriptions.get()),
            daemon.sum(|m| m.sessions_offline.get()),
        ),
        (0, 1, 0, 0)
    );
    daemon.connect(2, 1, true, ALICE);
    daemon.resume(2, &previd, 0);
    assert!(daemon.heard(2).contains("<item-not-found "));
}

#[test]
fn xep0198_5_a_stream_that_its_client_ended_leaves_nothing() {
    for (over_tcp, end) in [
        (true, "</stream:stream>"),
        (false, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"),
    ] {
        let mut daemon = Daemon::new(1);
        daemon.log_in(1, 0, over_tcp, ALICE, "w1");
        daemon.say(1, end);
        daemon.lose(1);
        assert!(daemon.places[0].hub.is_empty());
    }
    // RFC 7395, 3.6: a WebSocket that ends without the stream.
    let mut daemon = Daemon::new(1);
    daemon.log_in(1, 0, false, ALICE, "w1");
    daemon.show(1, &[0x88, 0x80, 0, 0, 0, 0]);
    daemon.lose(1);
    assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), 1);
}

#[test]
fn what_waits_ends_with_what_its_client_came_in_by() {
    let revoked: [fn(&mut Daemon); 3] = [
        |daemon| {
            daemon.change(&Change::AccountRevoked {
                account: ALICE.into(),
            })
        },
        |daemon| {
            daemon.change(&Change::CredentialRevoked {
                credential: CredentialId(1),
            });
        },
        |daemon| daemon.pass(60_000),
    ];
    for revoke in revoked {
        for resumed in [false, true] {
            let mut daemon = Daemon::new(1);
            daemon.verdict = |_| {
                let mut grants = grants();
                grants.expires_unix_ms = Some(1_700_000_060_000);
                Ok(admitted(grants, None))
            };
            let previd = daemon.log_in(1, 0, true, ALICE, "w1");
            daemon.lose(1);
            if resumed {
                daemon.connect(2, 0, true, ALICE);
                daemon.resume(2, &previd, 0);
                daemon.lose(2);
            }
            assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), 1);
            revoke(&mut daemon);
            assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), 0);
            assert!(daemon.places[0].hub.is_empty() && daemon.places[0].machine.timers.is_empty());
        }
    }
}

#[test]
fn p2_1_a_worker_that_is_away_is_asked_nothing_and_may_answer_within_5_s() {
    for (shards, back) in [(1, 0), (2, 1)] {
        for away_ms in [4_900, 5_100] {
            let mut daemon = Daemon::new(shards);
            daemon.open_app();
            daemon.connect(9, back, true, ALICE);
            daemon.bind(9, "page");
            let previd = daemon.log_in(1, 0, true, ALICE, "w1");
            daemon.say(
                1,
                "<iq xmlns='jabber:client' type='set' id='l'><listen xmlns='urn:nexus:1' cmd='add'/></iq>",
            );
            daemon.heard(1);
            let call = |id: &str| {
                format!(
                    "<iq xmlns='jabber:client' type='set' id='{id}'><api xmlns='urn:nexus:1' app='etest' cmd='add'/></iq>"
                )
            };
            daemon.heard(9);
            daemon.say(9, &call("c1"));
            let asked = daemon.heard(1);
            assert!(asked.contains("cmd='add'"), "{asked} {}", daemon.heard(9));
            let token = asked
                .split_once("id='")
                .unwrap()
                .1
                .split('\'')
                .next()
                .unwrap()
                .to_owned();
            daemon.lose(1);
            daemon.say(9, &call("c2"));
            let heard = daemon.heard(9);
            assert!(
                heard.contains("id='c2'") && heard.contains("code='-2000'"),
                "{heard}"
            );
            daemon.pass(away_ms);
            daemon.connect(2, back, true, ALICE);
            daemon.resume(2, &previd, 1);
            let heard = daemon.heard(2);
            assert!(heard.contains(&token), "the request is sent again: {heard}");
            daemon.say(
                2,
                &format!(
                    "<iq xmlns='jabber:client' type='result' id='{token}'><json xmlns='urn:xmpp:json:0'>{{\"n\":7}}</json></iq>"
                ),
            );
            let heard = daemon.heard(9);
            let outcome = if away_ms < 5_000 {
                "{\"n\":7}"
            } else {
                "code='-2001'"
            };
            assert!(heard.contains("id='c1'") && heard.contains(outcome), "{heard}");
            daemon.say(9, &call("c3"));
            assert!(daemon.heard(2).contains("cmd='add'"), "it is asked again");
        }
    }
}

#[test]
fn p2_1_a_reply_waits_for_who_asked_and_direct_messages_do_not() {
    let mut daemon = Daemon::new(2);
    daemon.open_app();
    daemon.connect(9, 1, true, ALICE);
    daemon.bind(9, "w9");
    daemon.say(
        9,
        "<iq xmlns='jabber:client' type='set' id='l'><listen xmlns='urn:nexus:1' cmd='add'/></iq>",
    );
    daemon.heard(9);
    let previd = daemon.log_in(1, 0, false, ALICE, "page");
    daemon.say(
        1,
        "<iq xmlns='jabber:client' type='set' id='c1'><api xmlns='urn:nexus:1' app='etest' cmd='add'/></iq>",
    );
    daemon.lose(1);
    let asked = daemon.heard(9);
    let token = asked
        .split_once("id='")
        .unwrap()
        .1
        .split('\'')
        .next()
        .unwrap()
        .to_owned();
    daemon.say(
        9,
        &format!("<iq xmlns='jabber:client' type='result' id='{token}'><json xmlns='urn:xmpp:json:0'>{{\"n\":7}}</json></iq>"),
    );
    let direct = format!(
        "<message xmlns='jabber:client' to='{ALICE}@nexus.example/page'><body>hello</body></message>"
    );
    daemon.say(9, &direct);
    daemon.connect(2, 1, true, ALICE);
    daemon.resume(2, &previd, 0);
    let heard = daemon.heard(2);
    assert!(heard.contains("{\"n\":7}") && !heard.contains("hello"), "{heard}");
    daemon.say(9, &direct);
    assert!(daemon.heard(2).contains("hello"));
}

#[test]
fn how_many_wait_is_bounded_by_account() {
    let most = u32::try_from(limits::XMPP_SUSPENDED_PER_ACCOUNT_MAX).unwrap();
    let mut daemon = Daemon::new(1);
    for conn in 0..=most {
        daemon.log_in(conn, 0, true, ALICE, &format!("r{conn}"));
        daemon.lose(conn);
    }
    daemon.log_in(most + 1, 0, true, BOB, "r");
    daemon.lose(most + 1);
    assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), u64::from(most) + 1);
    assert_eq!(daemon.sum(|m| m.xmpp_suspend_refused.get()), 1);
}

#[test]
fn a_stop_ends_what_waits_and_nothing_is_stored() {
    let mut daemon = Daemon::new(1);
    daemon.log_in(1, 0, true, ALICE, "w1");
    daemon.log_in(2, 0, true, ALICE, "w2");
    daemon.lose(1);
    let place = &mut daemon.places[0];
    place.hub.stop(&mut place.machine, daemon.now);
    assert!(daemon.heard(2).contains("<system-shutdown "));
    daemon.lose(2);
    assert!(daemon.places[0].hub.is_empty());
    assert!(daemon.places[0].hub.take_batch().is_none());
}
