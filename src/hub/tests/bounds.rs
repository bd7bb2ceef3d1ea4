//! How many sessions outlive their connections.

use super::*;

#[test]
fn a_fleet_of_one_account_has_room_and_no_account_takes_all_there_is() {
    let usual = RouterLimits::default();
    assert_eq!(usual.kept_sessions_per_account_max, 100_000);
    assert!(usual.kept_sessions_max > 100 * usual.kept_sessions_per_account_max);
    let fleet = 18_000;
    let mut world = World::new();
    let come = |world: &mut World, conn: u32, account: &str| {
        world.open(conn);
        world.send(conn, &format!("keep 60000\nlogin {account} r{conn}\n"));
        world.verdict(Ok(grants()));
        let heard = world.heard(conn);
        world.closed(conn);
        heard
    };
    for conn in 0..fleet {
        let heard = come(&mut world, conn, ALICE);
        assert!(heard.starts_with("you are"), "{conn}: {heard}");
    }
    let bounded = |kept_sessions_per_account_max| RouterLimits {
        kept_sessions_per_account_max,
        ..RouterLimits::default()
    };
    world.hub.reconfigure(RootWildcard::Operators, bounded(18_000));
    assert_eq!(come(&mut world, fleet, ALICE), "no: QuotaExceeded\n");
    assert!(come(&mut world, fleet + 1, BOB).starts_with("you are"));
    // 0 is no bound of its own.
    world.hub.reconfigure(RootWildcard::Operators, bounded(0));
    assert!(come(&mut world, fleet + 2, ALICE).starts_with("you are"));
}

#[test]
fn sessions_that_outlive_their_connections_are_bounded_in_all_and_by_account() {
    let limits = |in_all, per_account| RouterLimits {
        kept_sessions_max: in_all,
        kept_sessions_per_account_max: per_account,
        ..RouterLimits::default()
    };
    for (limits, most) in [(limits(3, 0), 3), (limits(100, 2), 2)] {
        let mut world = World::new();
        world.hub.reconfigure(RootWildcard::Operators, limits);
        let come = |world: &mut World, conn: u32| {
            world.open(conn);
            world.send(conn, &format!("keep 60000\nlogin {ALICE} r{conn}\n"));
            world.verdict(Ok(grants()));
            world.heard(conn)
        };
        for conn in 0..most {
            assert!(come(&mut world, conn).starts_with("you are"));
            world.closed(conn);
        }
        assert_eq!(come(&mut world, 50), "no: QuotaExceeded\n");
        // Who is back needs no other place, nor does one that ends with its connection.
        world.open(60);
        world.send(60, &format!("keep 60000\nlogin {ALICE} r0\n"));
        world.verdict(Ok(grants()));
        assert!(world.heard(60).ends_with("again\n"));
        world.log_in(61, ALICE, "plain");
        // One that ends makes room.
        world.pass(60_000);
        assert!(come(&mut world, 70).starts_with("you are"));
    }
}
