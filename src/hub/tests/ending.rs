//! How blocks end, and what is left of them.

use super::*;

#[test]
fn a_login_that_is_good_for_a_time_ends_with_it_and_never_hits_a_successor() {
    let mut world = World::new();
    world.open(1);
    world.send(1, &format!("login {ALICE} w1\n"));
    world.verdict(Ok(Grants {
        expires_unix_ms: Some(world.now.unix_ms + 1_000),
        ..grants()
    }));
    world.closed(1);
    world.log_in(2, BOB, "b");
    assert_eq!(
        world.machine.slots[&1], world.machine.slots[&2],
        "the slot is used again"
    );
    world.pass(1_001);
    assert!(!world.is_closed(2));

    let mut world = World::new();
    world.open(1);
    world.send(1, &format!("login {ALICE} w1\n"));
    world.verdict(Ok(Grants {
        expires_unix_ms: Some(world.now.unix_ms + 1_000),
        ..grants()
    }));
    world.heard(1);
    world.pass(1_001);
    assert_eq!(world.heard(1), "end: ProofEnded\n");
}

#[test]
fn long_frames_before_login_come_from_a_pool_that_is_given_back() {
    let mut world = World::new();
    let share = 60_000 - limits::PRELOGIN_BYTES_MAX;
    let fit = u32::try_from(limits::CONNECT_POOL_BYTES_MAX / share).unwrap();
    for conn in 0..fit {
        world.open(conn);
        assert_eq!(world.send(conn, "long").next, Next::Need(60_000));
        assert_eq!(
            world.send(conn, "long").next,
            Next::Need(60_000),
            "asking again takes no more"
        );
    }
    world.open(fit);
    world.send(fit, "long");
    assert!(world.is_closed(fit), "the pool is empty");
    world.closed(0);
    world.open(fit + 1);
    world.send(fit + 1, "long");
    assert!(!world.is_closed(fit + 1));
    for conn in 1..=fit + 1 {
        world.closed(conn);
    }
    assert_eq!(world.hub.pooled_bytes, 0);
}

#[test]
fn long_frames_after_login_come_from_a_pool_of_which_an_account_gets_a_part() {
    let mut world = World::new();
    let share = 60_000 - limits::PRELOGIN_BYTES_MAX;
    let fit = u32::try_from(limits::UNFINISHED_BYTES_PER_ACCOUNT_MAX / share).unwrap();
    let long = |world: &mut World, conn: u32| world.send(conn, "long").next == Next::Need(60_000);
    for conn in 0..=fit {
        world.log_in(conn, ALICE, &format!("r{conn}"));
    }
    world.log_in(fit + 1, BOB, "b");
    for conn in 0..fit {
        assert!(
            long(&mut world, conn) && long(&mut world, conn),
            "again takes no more"
        );
    }
    assert_eq!(
        world.hub.metrics.unfinished_bytes.get(),
        u64::from(fit) * share as u64
    );
    world.send(fit, "long");
    assert_eq!(world.heard(fit), "end: TooMuchUnfinished\n");
    assert!(world.is_closed(fit));
    assert_eq!(world.hub.metrics.disconnects(Disconnect::QuotaExceeded), 1);
    assert!(long(&mut world, fit + 1), "another account has room");
    // What is finished and who is gone make room.
    world.send(0, "sub a\n");
    world.closed(1);
    world.log_in(fit + 2, ALICE, "more");
    world.log_in(fit + 3, ALICE, "yet_more");
    assert!(long(&mut world, fit + 2) && long(&mut world, fit + 3));
    for conn in 0..fit + 4 {
        if conn != 1 && conn != fit {
            world.closed(conn);
        }
    }
    assert_eq!(world.hub.gathering.bytes(), 0);
    assert_eq!(world.hub.metrics.unfinished_bytes.get(), 0);
}

#[test]
fn stopping_tells_everybody_and_takes_nobody_in() {
    let mut world = World::new();
    world.log_in(1, ALICE, "w1");
    world.open(2);
    world.hub.stop(&mut world.machine, world.now);
    assert_eq!(world.heard(1), "end: Shutdown\n");
    assert!(world.is_closed(1) && world.is_closed(2));
    world.machine.wires.insert(3, Wire::default());
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert_eq!(
        world.hub.open(&mut world.machine, 3, peer, Lines::default()),
        None
    );
}

#[test]
fn a_stale_connection_reaches_nobody() {
    let mut world = World::new();
    world.log_in(1, ALICE, "w1");
    world.closed(1);
    world.log_in(2, BOB, "b");
    assert_eq!(world.send(1, "wrong\n").used, 6);
    assert!(!world.is_closed(2));
    world.closed(1);
    assert_eq!(world.hub.len(), 1);
}
