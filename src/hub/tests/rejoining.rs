//! Rooms of blocks that ended without leaving them, and come back.

use super::resuming_daemon::Daemon;
use super::*;

const ROOM: &str = "alerts@conference.nexus.example";
const AVAILABLE: &str = "<presence xmlns='jabber:client'/>";
const MUC: &str = "<x xmlns='http://jabber.org/protocol/muc'/>";

fn join(daemon: &mut Daemon, conn: u32, room: &str, children: &str) {
    daemon.say(
        conn,
        &format!("<presence xmlns='jabber:client' to='{room}/me'>{children}</presence>"),
    );
    let heard = daemon.heard(conn);
    assert!(heard.contains("<status code='110'/>"), "{heard}");
}

/// Somebody says something in a room; how often a client hears it.
fn hears(daemon: &mut Daemon, speaker: u32, room: &str, conn: u32) -> usize {
    daemon.heard(conn);
    daemon.say(
        speaker,
        &format!("<message xmlns='jabber:client' type='groupchat' to='{room}'><body>hello</body></message>"),
    );
    assert!(daemon.heard(speaker).contains("<body>hello</body>"));
    daemon.heard(conn).matches("<body>hello</body>").count()
}

/// A daemon of some shards with a speaker, connection 9, in the room.
fn daemon(shards: u16) -> Daemon {
    let mut daemon = Daemon::new(shards);
    daemon.connect(9, 0, true, BOB);
    daemon.bind(9, "page");
    daemon.say(9, AVAILABLE);
    join(&mut daemon, 9, ROOM, MUC);
    daemon
}

fn enter(daemon: &mut Daemon, conn: u32, shard: usize, over_tcp: bool, resource: &str) {
    daemon.connect(conn, shard, over_tcp, ALICE);
    daemon.bind(conn, resource);
    assert!(daemon.heard(conn).contains("<jid>"));
}

/// Occupants of all rooms, as the gauge has them at the next tick.
fn occupants(daemon: &mut Daemon) -> u64 {
    daemon.pass(0);
    daemon.sum(|m| m.room_occupants.get())
}

#[test]
fn a_block_that_comes_back_is_in_its_rooms_again_without_asking() {
    for (shards, was, is) in [(1, 0, 0), (2, 0, 1), (2, 1, 0), (3, 2, 1), (3, 1, 2)] {
        for over_tcp in [false, true] {
            let mut daemon = daemon(shards);
            enter(&mut daemon, 1, was, over_tcp, "w1");
            daemon.say(1, AVAILABLE);
            for (room, children) in [(ROOM, ""), (r"a\2fB@conference.nexus.example", MUC)] {
                join(&mut daemon, 1, room, children);
            }
            daemon.lose(1);
            assert_eq!(occupants(&mut daemon), 1);
            daemon.pass(200_000);
            enter(&mut daemon, 2, is, !over_tcp, "w1");
            assert_eq!(hears(&mut daemon, 9, ROOM, 2), 0, "before it is available");
            daemon.say(2, AVAILABLE);
            let heard = daemon.heard(2);
            assert_eq!(heard.matches("<status code='110'/>").count(), 2, "{heard}");
            assert!(heard.contains(&format!("from='{ROOM}/{ALICE}-w1'")), "{heard}");
            assert!(
                heard.contains(&format!(r"from='a\2fB@conference.nexus.example/{ALICE}-w1'")),
                "{heard}"
            );
            // Who else is there, before itself; and nothing that a client would take for the end of a join of its own.
            let other = heard.find(&format!("from='{ROOM}/{BOB}-page'")).unwrap();
            assert!(
                other < heard.find(&format!("from='{ROOM}/{ALICE}-w1'")).unwrap(),
                "{heard}"
            );
            assert!(!heard.contains("<subject"), "{heard}");
            assert!(daemon.heard(9).contains(&format!("from='{ROOM}/{ALICE}-w1'")));
            assert_eq!(hears(&mut daemon, 9, ROOM, 2), 1);
            assert_eq!(daemon.sum(|m| m.rooms_restored.get()), 2);
            // It may speak, and is not shown twice.
            assert_eq!(hears(&mut daemon, 2, ROOM, 9), 1);
            daemon.say(2, AVAILABLE);
            assert_eq!(daemon.heard(2), "");
        }
    }
}

#[test]
fn a_block_that_takes_its_address_over_is_in_its_rooms() {
    for (shards, was, is) in [(1, 0, 0), (2, 0, 1), (3, 1, 2)] {
        let mut daemon = daemon(shards);
        enter(&mut daemon, 1, was, true, "w1");
        join(&mut daemon, 1, ROOM, "");
        enter(&mut daemon, 2, is, false, "w1");
        assert!(daemon.heard(1).contains("<conflict "));
        daemon.say(2, AVAILABLE);
        assert!(daemon.heard(2).contains("<status code='110'/>"));
        assert_eq!(hears(&mut daemon, 9, ROOM, 2), 1);
        assert_eq!(occupants(&mut daemon), 2);
    }
}

#[test]
fn a_session_that_is_suspended_leaves_its_rooms_to_who_binds_its_address() {
    for (shards, is) in [(1, 0), (2, 1)] {
        let mut daemon = daemon(shards);
        daemon.log_in(1, 0, true, ALICE, "w1");
        join(&mut daemon, 1, ROOM, "");
        daemon.lose(1);
        assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), 1);
        enter(&mut daemon, 2, is, false, "w1");
        daemon.say(2, AVAILABLE);
        assert_eq!(hears(&mut daemon, 9, ROOM, 2), 1);
    }
}

#[test]
fn who_has_left_or_was_away_for_too_long_is_not_put_back() {
    let unavailable = "<presence xmlns='jabber:client' type='unavailable'/>";
    let from_room = format!("<presence xmlns='jabber:client' type='unavailable' to='{ROOM}'/>");
    for (last, pass_ms) in [(unavailable, 0), (from_room.as_str(), 0), (AVAILABLE, 300_100)] {
        for shards in [1, 2] {
            let mut daemon = daemon(shards);
            enter(&mut daemon, 1, 0, true, "w1");
            join(&mut daemon, 1, ROOM, "");
            daemon.say(1, last);
            daemon.lose(1);
            daemon.pass(pass_ms);
            enter(&mut daemon, 2, usize::from(shards - 1), true, "w1");
            daemon.say(2, AVAILABLE);
            assert_eq!(daemon.heard(2), "", "{last}");
            assert_eq!(hears(&mut daemon, 9, ROOM, 2), 0, "{last}");
            daemon.pass(0);
            assert_eq!(daemon.sum(|m| m.left_behind.get()), 0);
        }
    }
    // What waited to be resumed for as long has waited.
    let mut daemon = daemon(2);
    daemon.log_in(1, 1, true, ALICE, "w1");
    join(&mut daemon, 1, ROOM, "");
    daemon.lose(1);
    daemon.pass(300_100);
    assert_eq!(daemon.sum(|m| m.xmpp_suspended.get()), 0);
    enter(&mut daemon, 2, 0, true, "w1");
    daemon.say(2, AVAILABLE);
    assert_eq!(daemon.heard(2), "");
}

#[test]
fn rooms_wait_for_their_block_alone_until_it_is_available() {
    let mut daemon = daemon(2);
    enter(&mut daemon, 1, 0, true, "w1");
    join(&mut daemon, 1, ROOM, "");
    daemon.lose(1);
    enter(&mut daemon, 2, 0, true, "w2");
    daemon.say(2, AVAILABLE);
    assert_eq!(daemon.heard(2), "");
    // It goes before it was available; what it found is not lost.
    enter(&mut daemon, 3, 1, true, "w1");
    daemon.lose(3);
    enter(&mut daemon, 4, 0, false, "w1");
    // What it joins itself is joined once.
    join(&mut daemon, 4, ROOM, MUC);
    daemon.say(4, AVAILABLE);
    assert_eq!(daemon.heard(4), "");
    assert_eq!(hears(&mut daemon, 9, ROOM, 4), 1);
    assert_eq!(occupants(&mut daemon), 2);
}

#[test]
fn what_a_block_found_waits_on_beside_what_it_joined_itself() {
    const OTHER: &str = "other@conference.nexus.example";
    for shards in [1, 2] {
        let mut daemon = daemon(shards);
        enter(&mut daemon, 1, 0, true, "w1");
        join(&mut daemon, 1, ROOM, "");
        daemon.lose(1);
        // It is not available, joins another room, and goes.
        enter(&mut daemon, 2, usize::from(shards - 1), true, "w1");
        join(&mut daemon, 2, OTHER, "");
        daemon.lose(2);
        enter(&mut daemon, 3, 0, true, "w1");
        daemon.say(3, AVAILABLE);
        let heard = daemon.heard(3);
        for room in [ROOM, OTHER] {
            assert!(heard.contains(&format!("from='{room}/{ALICE}-w1'")), "{heard}");
        }
    }
}

#[test]
fn rooms_beyond_what_a_block_may_leave_are_counted() {
    let mut daemon = daemon(1);
    enter(&mut daemon, 1, 0, true, "w1");
    let name = |n: usize| format!("{n:02}{}@conference.nexus.example", "x".repeat(998));
    let most = limits::LEFT_BEHIND_BYTES_MAX / 1_000;
    for n in 0..=most {
        join(&mut daemon, 1, &name(n), "");
    }
    daemon.lose(1);
    enter(&mut daemon, 2, 0, true, "w1");
    daemon.say(2, AVAILABLE);
    let counted = |daemon: &Daemon| {
        (
            daemon.sum(|m| m.rooms_restored.get()),
            daemon.sum(|m| m.left_behind_refused.get()),
            daemon.sum(|m| m.left_behind_forgotten.get()),
        )
    };
    assert_eq!(counted(&daemon), (most as u64, 1, 0));
}
