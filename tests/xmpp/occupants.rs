//! Who is in a room, as its occupants are told (XEP-0045, 7.2 and 7.14; PROTOCOL 4).

use std::time::Duration;

use super::channel::new_channel;
use super::rooms::{
    MUC_USER, X, assert_says, assert_shows, groupchat, join, join_among, login, occupant, presence, room_of,
    statuses,
};
use crate::harness::clock::Moment;
use crate::harness::http;
use crate::harness::matrix::{PAHO_5, SLIXMPP, XMPPJS};
use crate::harness::native::full_jid;
use crate::harness::xml::Element;
use crate::harness::xmpp::{CLIENT, XmppSocket};
use crate::harness::{Account, Net, Options, each_shard_count, eventually, parallel};

const CAPS: &str = "http://jabber.org/protocol/caps";

/// A block that was logged in by hand.
struct Block {
    account: Account,
    resource: &'static str,
    socket: XmppSocket,
}

impl Block {
    fn new(net: &Net, resource: &'static str) -> Self {
        let (account, socket) = login(net, resource);
        Self {
            account,
            resource,
            socket,
        }
    }

    fn occupant(&self, room: &str) -> String {
        occupant(room, &self.account, self.resource)
    }

    /// The next that comes is this one's coming, or going.
    #[track_caller]
    fn is_shown(&mut self, room: &str, other: &str, jid: &str, comes: bool) -> Element {
        let came = self.socket.element();
        assert_shows(&came, other, jid, if comes { "participant" } else { "none" });
        let kind = (!comes).then_some("unavailable");
        assert_eq!(came.attribute("type"), kind, "{came:?} in {room}");
        assert!(statuses(&came).is_empty(), "{came:?}");
        came
    }
}

/// From where the presences are, in order of their text.
fn sorted(presences: &[Element]) -> Vec<&str> {
    let mut from: Vec<&str> = presences
        .iter()
        .filter_map(|came| came.attribute("from"))
        .collect();
    from.sort_unstable();
    from
}

#[test]
fn xep0045_7_2_2_all_are_shown_before_the_self_presence_and_told_of_who_comes_and_goes() {
    each_shard_count(|net| {
        let room = room_of(&new_channel());
        // As many as make it likely that each shard has some.
        let mut blocks: Vec<Block> = Vec::new();
        for resource in ["b0", "b1", "b2", "b3", "b4", "b5"] {
            let mut block = Block::new(net, resource);
            let (others, own) = join_among(&mut block.socket, &room, "");
            let (from, jid) = (block.occupant(&room), full_jid(&block.account, resource));
            assert_shows(&own, &from, &jid, "participant");
            let mut expected: Vec<String> = blocks.iter().map(|other| other.occupant(&room)).collect();
            expected.sort_unstable();
            assert_eq!(sorted(&others), expected);
            for other in &mut blocks {
                other.is_shown(&room, &from, &jid, true);
            }
            blocks.push(block);
        }
        // By leaving, by going altogether, by the stream's end, and by a connection that is cut.
        for way in 0..4 {
            let mut goes = blocks.remove(0);
            let (from, jid) = (goes.occupant(&room), full_jid(&goes.account, goes.resource));
            match way {
                0 => goes.socket.send(&presence(&room, "type='unavailable'", "")),
                1 => goes
                    .socket
                    .send(&format!("<presence xmlns='{CLIENT}' type='unavailable'/>")),
                2 => goes
                    .socket
                    .send("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"),
                _ => drop(goes),
            }
            for other in &mut blocks {
                other.is_shown(&room, &from, &jid, false);
            }
        }
        // Those who are left are known, and need no introduction.
        let (one, others) = blocks.split_first_mut().unwrap();
        one.socket.send(&groupchat(&room, "", "<body>left</body>"));
        let (from, jid) = (one.occupant(&room), full_jid(&one.account, one.resource));
        assert_says(&one.socket.element(), &from, "left", &jid);
        assert_says(&others[0].socket.element(), &from, "left", &jid);
    });
}

#[test]
fn a_block_whose_connection_is_lost_is_there_until_its_session_is_over() {
    parallel(&[1, 2], |&shards| {
        let net = Net::start(&Options::shards(shards).config("[xmpp]\nresume_s = 1\n"));
        let room = room_of(&new_channel());
        let (mut stays, mut goes) = (Block::new(&net, "stays"), Block::new(&net, "goes"));
        join(&mut stays.socket, &room, "");
        join_among(&mut goes.socket, &room, "");
        let enabled = goes.socket.ask("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
        assert_eq!(enabled.attribute("max"), Some("1"), "{enabled:?}");
        let (from, jid) = (goes.occupant(&room), full_jid(&goes.account, "goes"));
        stays.is_shown(&room, &from, &jid, true);
        let lost = Moment::now();
        drop(goes.socket);
        stays.is_shown(&room, &from, &jid, false);
        // Timers are as exact as a tick of the wheel.
        let away = lost.elapsed();
        assert!(away > Duration::from_millis(900), "gone after {away:?}");
        eventually("nobody can resume it", || {
            http::metric(net.daemon().http, "nexus_xmpp_resume_expired_total") == 1
        });
        stays.socket.assert_alive();
    });
}

#[test]
fn above_the_maximum_nobody_more_is_shown_and_below_it_all_are() {
    parallel(&[1, 2], |&shards| {
        let net = Net::start(&Options::shards(shards).config("[xmpp]\nroom_presence_max = 2\n"));
        let room = room_of(&new_channel());
        let [mut one, mut two, mut three] = ["b1", "b2", "b3"].map(|resource| Block::new(&net, resource));
        let [a, b, c] = [&one, &two, &three]
            .map(|block| (block.occupant(&room), full_jid(&block.account, block.resource)));
        join(&mut one.socket, &room, "");
        join_among(&mut two.socket, &room, "");
        one.is_shown(&room, &b.0, &b.1, true);
        // No list, but the self-presence; nobody is told.
        join(&mut three.socket, &room, "");
        three.socket.send(&groupchat(&room, "", "<body>hi</body>"));
        assert_says(&three.socket.element(), &c.0, "hi", &c.1);
        for block in [&mut one, &mut two] {
            block.is_shown(&room, &c.0, &c.1, true);
            assert_says(&block.socket.element(), &c.0, "hi", &c.1);
        }
        one.socket.send(&groupchat(&room, "", "<body>ho</body>"));
        three.is_shown(&room, &a.0, &a.1, true);
        for block in [&mut one, &mut two, &mut three] {
            assert_says(&block.socket.element(), &a.0, "ho", &a.1);
        }
        // As few again: the one who was not shown is shown all whom it does not know yet.
        two.socket.send(&presence(&room, "type='unavailable'", ""));
        assert_eq!(statuses(&two.socket.element()), ["110"]);
        one.is_shown(&room, &b.0, &b.1, false);
        one.socket.send(&groupchat(&room, "", "<body>now</body>"));
        assert_says(&one.socket.element(), &a.0, "now", &a.1);
        assert_says(&three.socket.element(), &a.0, "now", &a.1);
        // Another newcomer is beyond it no more.
        three.socket.send(&presence(&room, "type='unavailable'", ""));
        assert_eq!(statuses(&three.socket.element()), ["110"]);
        one.is_shown(&room, &c.0, &c.1, false);
        let (others, _) = join_among(&mut two.socket, &room, "");
        assert_eq!(sorted(&others), [&*a.0]);
        one.is_shown(&room, &b.0, &b.1, true);
    });
}

#[test]
fn xep0115_capabilities_are_passed_on_and_nothing_else_of_a_presence() {
    each_shard_count(|net| {
        let room = room_of(&new_channel());
        let (mut one, mut two) = (Block::new(net, "b1"), Block::new(net, "b2"));
        join(&mut one.socket, &room, "");
        let caps = |ver: &str| format!("<c xmlns='{CAPS}' hash='sha-1' node='urn:x' ver='{ver}'/>");
        let more = "<show>away</show><status>out</status><e xmlns='urn:example'/>";
        join_among(&mut two.socket, &room, &format!("{more}{X}{}", caps("a&lt;b")));
        assert!(two.socket.element().child(CLIENT, "subject").is_some());
        let (from, jid) = (two.occupant(&room), full_jid(&two.account, "b2"));
        let came = one.is_shown(&room, &from, &jid, true);
        let c = came.child(CAPS, "c").expect("capabilities");
        assert_eq!(c.attribute("ver"), Some("a<b"));
        assert_eq!(
            (c.attribute("hash"), c.attribute("node")),
            (Some("sha-1"), Some("urn:x"))
        );
        let children: Vec<&str> = came
            .elements()
            .iter()
            .map(|child| child.namespace.as_str())
            .collect();
        assert_eq!(children, [CAPS, MUC_USER], "{came:?}");
        // Other ones are told; too long ones are not.
        for (ver, told) in [("2", true), (&*"x".repeat(600), false), ("3", true)] {
            let own = two.socket.ask(&presence(&format!("{room}/me"), "", &caps(ver)));
            assert_eq!(statuses(&own), ["110", "210"]);
            if told {
                let came = one.is_shown(&room, &from, &jid, true);
                assert_eq!(came.child(CAPS, "c").and_then(|c| c.attribute("ver")), Some(ver));
            }
        }
    });
}

#[test]
fn one_write_holds_a_join_a_message_a_leave_and_a_join() {
    each_shard_count(|net| {
        let room = room_of(&new_channel());
        let (mut one, mut two) = (Block::new(net, "b1"), Block::new(net, "b2"));
        join(&mut one.socket, &room, "");
        let (from, jid) = (two.occupant(&room), full_jid(&two.account, "b2"));
        let other = one.occupant(&room);
        let stanzas = [
            presence(&format!("{room}/me"), "", ""),
            groupchat(&room, "", "<body>hi</body>"),
            presence(&room, "type='unavailable'", ""),
            presence(&format!("{room}/me"), "", ""),
        ];
        let frames: Vec<u8> = stanzas
            .iter()
            .flat_map(|stanza| {
                use crate::harness::websocket::{FIN, TEXT, masked};
                masked(FIN | TEXT, stanza.as_bytes())
            })
            .collect();
        two.socket.socket.send_bytes(&frames);
        for is_last in [false, true] {
            assert_eq!(two.socket.element().attribute("from"), Some(&*other));
            assert_eq!(statuses(&two.socket.element()), ["100", "110", "210"]);
            if !is_last {
                assert_says(&two.socket.element(), &from, "hi", &jid);
                assert_eq!(statuses(&two.socket.element()), ["110"]);
            }
        }
        one.is_shown(&room, &from, &jid, true);
        assert_says(&one.socket.element(), &from, "hi", &jid);
        one.is_shown(&room, &from, &jid, false);
        one.is_shown(&room, &from, &jid, true);
        one.socket.assert_alive();
    });
}

#[test]
fn stock_clients_are_shown_one_another() {
    parallel(&[1, 2], |&shards| {
        let net = super::tcp::with_tls(shards);
        let channel = new_channel();
        let room = room_of(&channel);
        let account = net.app().account("user");
        let page = net.connect(XMPPJS, &account, "web1");
        let own = occupant(&room, &account, "web1");
        page.send_stanza(&format!("<presence type='available' to='{own}'/>"));
        assert_eq!(statuses(&page.presence_from(&own)), ["100", "110"]);
        let worker = net.connect(SLIXMPP, &account, "w.1");
        let other = occupant(&room, &account, "w.1");
        let nick = format!("{}-w.1", account.name);
        worker.join_by_library(&room, &nick);
        let (jid, other_jid) = (full_jid(&account, "web1"), full_jid(&account, "w.1"));
        assert_shows(&worker.presence_from(&own), &own, &jid, "participant");
        assert_shows(&page.presence_from(&other), &other, &other_jid, "participant");
        // A device is no occupant: it is introduced.
        let device = net.connect(PAHO_5, &account, "d1");
        device.say(&channel, "21.5");
        let introduced = occupant(&room, &account, "d1");
        for client in [&page, &worker] {
            let came = client.presence_from(&introduced);
            assert_shows(&came, &introduced, &full_jid(&account, "d1"), "participant");
        }
        worker.leave_by_library(&room, &nick);
        assert_shows(&page.presence_from(&other), &other, &other_jid, "none");
    });
}
