//! Floods of rooms: joins without end, storms of coming and going, a room full of blocks.

use super::super::tcp::{PING, with_tls};
use super::documents::connect;
use crate::harness::bystanders::Bystanders;
use crate::harness::daemon::DOMAIN;
use crate::harness::http;
use crate::harness::xmpp::XmppSocket;
use crate::harness::{Net, Options, eventually, parallel};

const X: &str = "<x xmlns='http://jabber.org/protocol/muc'/>";

fn join(room: &str) -> String {
    format!("<presence to='{room}@conference.{DOMAIN}/me'>{X}</presence>")
}

fn leave(room: &str) -> String {
    format!("<presence to='{room}@conference.{DOMAIN}/me' type='unavailable'/>")
}

fn occupants(net: &Net) -> u64 {
    http::metric(net.daemon().http, "nexus_room_occupants")
}

#[test]
fn thousands_of_joins_of_one_block_end_at_its_bound() {
    const ROOMS: usize = 5_000;
    /// `channels.subscriptions_per_block_max`.
    const MOST: usize = 1_024;
    let net = with_tls(2);
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    for is_sealed in [false, true] {
        let mut raw = connect(&net, is_sealed);
        raw.log_in(&account, "hostile");
        let mut answers = String::new();
        for from in (0..ROOMS).step_by(100) {
            let joins: String = (from..from + 100).map(|n| join(&format!("flood{n}"))).collect();
            raw.send(&joins);
            raw.send(PING);
            answers += &raw.until("id='p'");
        }
        let count = |what: &str| answers.matches(what).count();
        assert_eq!(count("<status code='110'/>"), MOST);
        assert_eq!(count("<resource-constraint "), ROOMS - MOST);
        eventually("all are counted", || occupants(&net) == MOST as u64);
        bystanders.served("with a thousand rooms");
        raw.send("<presence type='unavailable'/>");
        eventually("nobody is in a room", || occupants(&net) == 0);
    }
    bystanders.undisturbed("joins");
}

#[test]
fn storms_of_coming_and_going_leave_nothing_behind() {
    let net = with_tls(2);
    let account = net.app().account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let storms: Vec<usize> = (0..8).collect();
    parallel(&storms, |number| {
        let mut raw = connect(&net, number % 2 == 0);
        raw.log_in(&account, &format!("storm{number}"));
        let storm = format!("{}{}{}", join("square"), join("square"), leave("square")).repeat(100);
        for _ in 0..10 {
            raw.send(&storm);
            raw.send(PING);
            let answers = raw.until("id='p'");
            assert!(answers.contains("<status code='110'/>"), "{answers}");
        }
    });
    bystanders.served("after the storm");
    eventually("nobody is in a room", || occupants(&net) == 0);
    bystanders.undisturbed("storms");
}

#[test]
fn a_room_of_a_thousand_on_two_shards_tells_no_more_than_the_maximum() {
    const BLOCKS: usize = 1_000;
    /// `xmpp.room_presence_max`.
    const SHOWN: usize = 200;
    let net = Net::start(&Options::shards(2));
    let app = net.app();
    let account = app.account("owner");
    let bystanders = Bystanders::new(&net, &account);
    let mut sockets: Vec<XmppSocket> = Vec::new();
    let room = format!("hall@conference.{DOMAIN}");
    for number in 0..BLOCKS {
        let mut socket = XmppSocket::login(net.daemon().ws, &account, &format!("b{number}"));
        socket.send(&format!(
            "<presence xmlns='jabber:client' to='{room}/me'>{X}</presence>"
        ));
        // The list ends with its own presence, and the join with a subject.
        let mut shown = 0;
        while socket.element().name != "message" {
            shown += 1;
        }
        assert_eq!(shown, if number < SHOWN { number + 1 } else { 1 }, "{number}");
        sockets.push(socket);
    }
    eventually("all are counted", || occupants(&net) == BLOCKS as u64);
    bystanders.served("with a thousand in a room");
    let (last, others) = sockets.split_last_mut().unwrap();
    last.send(&format!(
        "<message xmlns='jabber:client' type='groupchat' to='{room}'><body>hello</body></message>"
    ));
    for (number, socket) in others.iter_mut().enumerate() {
        let (mut presences, mut next) = (0, socket.element());
        while next.name == "presence" {
            presences += 1;
            next = socket.element();
        }
        assert!(next.name == "message", "{next:?}");
        // Those who came after it up to the maximum, and the speaker.
        assert_eq!(presences, SHOWN.saturating_sub(number + 1) + 1, "{number}");
    }
    drop(sockets);
    eventually("nobody is in the room", || occupants(&net) == 0);
    bystanders.undisturbed("a full room");
}
