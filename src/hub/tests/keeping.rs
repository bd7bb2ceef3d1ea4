//! Sessions that outlive their connections, on one shard and on the way to another.

use super::*;

const HEARER: &str = "keep 60000\nlogin etest-0123456789abcdef01234567-owner w1\n";

/// The table, and the value for a put, of all that has gathered; the batch is made to last.
fn commit(world: &mut World) -> Vec<(Table, Option<Vec<u8>>)> {
    let Some((number, journal)) = world.hub.take_batch() else {
        return Vec::new();
    };
    let changes = journal
        .iter()
        .map(|change| match change {
            Written::Put { table, value, .. } => (table, Some(value.to_vec())),
            Written::Delete { table, .. } | Written::DeleteAll { table, .. } => (table, None),
        })
        .collect();
    world.hub.committed(&mut world.machine, world.now, number);
    changes
}

/// A session that is kept, and subscribes to `a`.
fn hearer(world: &mut World, conn: u32) {
    world.open(conn);
    world.send(conn, HEARER);
    world.verdict(Ok(grants()));
    world.send(conn, "sub1 a\n");
    commit(world);
    world.heard(conn);
}

#[test]
fn a_session_waits_for_its_client_and_goes_on_where_it_stopped() {
    let mut world = World::new();
    hearer(&mut world, 1);
    world.log_in(2, BOB, "w2");
    world.closed(1);
    assert_eq!(world.hub.metrics.sessions_offline.get(), 1);
    world.send(2, "pub1 a one\npub a none\npub1 a two\n");
    commit(&mut world);
    world.heard(2);
    world.open(3);
    world.send(3, HEARER);
    world.verdict(Ok(grants()));
    assert_eq!(
        world.heard(3),
        format!("you are {ALICE}/w1 again\nkept one\nkept two\n")
    );
    world.send(2, "pub a three\n");
    assert_eq!(world.heard(3), format!("a: three from {BOB}/w2\n"));
    assert_eq!(world.hub.metrics.sessions_offline.get(), 0);
    assert_eq!(
        (world.hub.len(), world.hub.metrics.sessions_resumed.get()),
        (2, 1)
    );
}

#[test]
fn mqtt5_4_5_what_comes_while_a_connection_ends_waits_for_the_next_one() {
    let mut world = World::new();
    hearer(&mut world, 1);
    world.log_in(2, BOB, "w2");
    // The machine knows, the hub does not yet.
    world.machine.wires.get_mut(&1).unwrap().closed = true;
    world.send(2, "pub1 a one\npub a none\n");
    commit(&mut world);
    world.closed(1);
    world.open(3);
    world.send(3, HEARER);
    world.verdict(Ok(grants()));
    assert_eq!(world.heard(3), format!("you are {ALICE}/w1 again\nkept one\n"));
}

#[test]
fn a_connection_that_is_taken_over_is_closed_and_its_session_goes_on() {
    let mut world = World::new();
    hearer(&mut world, 1);
    world.open(3);
    world.send(3, HEARER);
    world.verdict(Ok(grants()));
    assert_eq!(world.heard(1), "end: TakenOver\n");
    assert!(world.is_closed(1));
    assert_eq!(world.heard(3), format!("you are {ALICE}/w1 again\n"));
    world.closed(1);
    world.log_in(2, BOB, "w2");
    world.send(2, "pub a x\n");
    assert_eq!(world.heard(3), format!("a: x from {BOB}/w2\n"));
    assert_eq!(world.hub.len(), 2);
    world.closed(3);
    world.closed(2);
    // What is left is the session.
    assert_eq!(world.hub.len(), 1);
}

#[test]
fn who_begins_anew_gives_up_what_was_there() {
    for online in [true, false] {
        let mut world = World::new();
        hearer(&mut world, 1);
        if !online {
            world.closed(1);
        }
        world.open(3);
        world.send(3, "fresh\n");
        world.send(3, HEARER);
        world.verdict(Ok(grants()));
        assert_eq!(world.heard(3), "", "before the end of the earlier one lasts");
        let deleted = commit(&mut world)
            .into_iter()
            .filter(|(_, value)| value.is_none())
            .count();
        assert_eq!(deleted, 4, "a row of each table");
        assert_eq!(world.heard(3), format!("you are {ALICE}/w1\n"));
        world.log_in(2, BOB, "w2");
        world.send(2, "pub a x\n");
        assert_eq!(world.heard(3), "");
    }
}

#[test]
fn a_block_whose_session_ends_with_its_connection_takes_the_address() {
    for online in [true, false] {
        let mut world = World::new();
        hearer(&mut world, 1);
        if !online {
            world.closed(1);
        }
        world.open(3);
        world.send(3, &format!("login {ALICE} w1\n"));
        world.verdict(Ok(grants()));
        assert_eq!(world.heard(3), "", "before the end of the earlier one lasts");
        assert_eq!(world.is_closed(1), online);
        commit(&mut world);
        assert_eq!(world.heard(3), format!("you are {ALICE}/w1\n"));
        world.closed(3);
        world.open(4);
        world.send(4, HEARER);
        world.verdict(Ok(grants()));
        assert_eq!(world.heard(4), format!("you are {ALICE}/w1\n"));
    }
}

#[test]
fn nobody_comes_back_in_time() {
    let mut world = World::new();
    hearer(&mut world, 1);
    world.closed(1);
    world.pass(59_999);
    assert_eq!(world.hub.len(), 1);
    world.pass(1);
    assert_eq!(
        (world.hub.len(), world.hub.metrics.sessions_expired.get()),
        (0, 1)
    );
    let changes = commit(&mut world);
    assert!(changes.contains(&(Table::Sessions, None)) && changes.contains(&(Table::Outbound, None)));
    assert_eq!(world.hub.metrics.subscriptions.get(), 0);
}

#[test]
fn mqtt5_3_1_3_2_2_a_will_waits_for_its_delay_unless_the_session_ends_or_goes_on() {
    let will = "will gone\ndelay 10\n";
    let said = |world: &mut World| world.heard(2).contains("gone: gone from");
    // The delay passes, then the session ends.
    let mut world = World::new();
    world.log_in(2, BOB, "w2");
    world.send(2, "sub gone\n");
    hearer(&mut world, 1);
    world.send(1, will);
    world.closed(1);
    assert!(!said(&mut world));
    world.pass(9_999);
    assert!(!said(&mut world));
    world.pass(1);
    assert!(said(&mut world));
    world.pass(60_000);
    assert!(!said(&mut world));
    // The client is back before.
    hearer(&mut world, 3);
    world.send(3, will);
    world.closed(3);
    world.open(4);
    world.send(4, HEARER);
    world.verdict(Ok(grants()));
    world.pass(20_000);
    assert!(!said(&mut world));
    // The session is given up before.
    world.send(4, will);
    world.closed(4);
    world.open(5);
    world.send(5, "fresh\n");
    world.send(5, HEARER);
    world.verdict(Ok(grants()));
    assert!(said(&mut world));
    commit(&mut world);
    // Without a delay it does not wait for anything.
    world.send(5, "will gone\n");
    world.closed(5);
    assert!(said(&mut world));
}

#[test]
fn what_outlives_the_daemon_is_acknowledged_once_it_lasts() {
    let mut world = World::new();
    hearer(&mut world, 1);
    world.log_in(2, BOB, "w2");
    world.send(2, "pub1 a x\n");
    assert_eq!(world.heard(2), "");
    let batch = world.hub.take_batch().unwrap();
    world.send(2, "pub1 b x\n");
    assert_eq!(world.heard(2), "Published(Ok(Nobody))\n");
    // There was no room for it.
    world.hub.keep_batch(batch.0, batch.1);
    world.send(2, "pub1 a y\n");
    let (number, journal) = world.hub.take_batch().unwrap();
    assert_eq!((number, journal.len()), (batch.0, 2));
    world.hub.committed(&mut world.machine, world.now, number - 1);
    assert_eq!(world.heard(2), "");
    world.hub.committed(&mut world.machine, world.now, number);
    assert_eq!(world.heard(2), "Published(Ok(Subscribers))\n".repeat(2));
    // A subscription of a session that is kept, too.
    world.send(1, "sub1 c\n");
    assert!(!world.heard(1).contains("Registered"));
    commit(&mut world);
    assert!(world.heard(1).contains("Registered"));
}

#[test]
fn what_cannot_be_made_to_last_is_refused_and_nothing_else() {
    let mut world = World::new();
    hearer(&mut world, 1);
    world.log_in(2, BOB, "w2");
    world.hub.refuse_durable(true);
    world.send(2, "pub1 a x\n");
    assert_eq!(world.heard(2), "Published(Err(QuotaExceeded))\n");
    assert_eq!(world.heard(1), "");
    world.send(2, "pub a y\n");
    assert_eq!(world.heard(1), format!("a: y from {BOB}/w2\n"));
    world.hub.refuse_durable(false);
    world.heard(2);
    world.send(2, "pub1 a z\n");
    commit(&mut world);
    assert_eq!(world.heard(2), "Published(Ok(Subscribers))\n");
}

#[test]
fn while_nothing_can_be_made_to_last_sessions_go_on_and_no_new_one_begins() {
    let mut world = World::new();
    hearer(&mut world, 1);
    world.closed(1);
    world.hub.refuse_durable(true);
    world.open(2);
    world.send(2, &HEARER.replace("w1", "w2"));
    world.verdict(Ok(grants()));
    assert_eq!(world.heard(2), "no: QuotaExceeded\n");
    // One that would begin anew leaves the one that is there.
    world.open(3);
    world.send(3, &format!("fresh\n{HEARER}"));
    world.verdict(Ok(grants()));
    assert_eq!(world.heard(3), "no: QuotaExceeded\n");
    // So does one whose session would end with its connection.
    world.open(6);
    world.send(6, &format!("login {ALICE} w1\n"));
    world.verdict(Ok(grants()));
    assert_eq!(world.heard(6), "no: QuotaExceeded\n");
    world.open(4);
    world.send(4, HEARER);
    world.verdict(Ok(grants()));
    assert_eq!(world.heard(4), format!("you are {ALICE}/w1 again\n"));
    world.send(4, "sub1 b\n");
    assert_eq!(world.heard(4), "Registered([Err(QuotaExceeded)])\n");
    // What does not outlive its connection begins, and subscribes.
    world.log_in(5, BOB, "w5");
    world.send(5, "sub1 b\npub a live\n");
    assert!(world.heard(5).contains("Registered([Ok(AtLeastOnce)])"));
    assert_eq!(world.heard(4), format!("a: live from {BOB}/w5\n"));
}

#[test]
fn while_nothing_can_be_stored_sessions_that_come_and_go_take_no_more_room() {
    let mut world = World::new();
    hearer(&mut world, 1);
    world.closed(1);
    let mut most = 0;
    for conn in 2..200_000 {
        world.open(conn);
        world.send(conn, HEARER);
        world.verdict(Ok(grants()));
        world.closed(conn);
        let Some((number, journal)) = world.hub.take_batch() else {
            panic!("it is written down")
        };
        most = most.max(journal.len_bytes());
        world.hub.keep_batch(number, journal);
    }
    let more = limits::JOURNAL_BYTES_MAX / 1_024;
    let bound = limits::JOURNAL_BYTES_MAX..limits::JOURNAL_BYTES_MAX + more;
    assert!(bound.contains(&most), "{most}");
}

#[test]
fn a_token_that_runs_out_ends_the_connection_and_not_the_session() {
    let mut world = World::new();
    world.open(1);
    world.send(1, HEARER);
    let ends = Grants {
        expires_unix_ms: Some(world.now.unix_ms + 5_000),
        ..grants()
    };
    world.verdict(Ok(ends));
    world.heard(1);
    world.pass(5_000);
    assert_eq!(world.heard(1), "end: ProofEnded\n");
    world.closed(1);
    world.open(2);
    world.send(2, HEARER);
    world.verdict(Ok(grants()));
    assert_eq!(world.heard(2), format!("you are {ALICE}/w1 again\n"));
    // The earlier token's end is no matter to the later connection.
    world.pass(5_000);
    assert_eq!(world.heard(2), "");
}

#[test]
fn a_connection_goes_to_the_shard_that_its_session_lives_on() {
    let mut world = World::of(2);
    let (mut there, mut here) = (0, 0);
    for conn in 0..20 {
        world.open(conn);
        world.send(conn, &format!("keep 1000\nlogin {ALICE} r{conn}\nsub a\n"));
        world.verdict(Ok(grants()));
        let slot = world.machine.slots[&conn];
        match world.machine.handed_over.pop() {
            Some(moved) => {
                assert_eq!(moved, (conn, 1));
                assert_eq!(world.heard(conn), "");
                let luggage = world.hub.leaving(&mut world.machine, slot, conn).unwrap();
                // It comes to a shard: this one, for want of another.
                let slot = world
                    .hub
                    .handed(&mut world.machine, world.now, conn, luggage)
                    .unwrap();
                world.machine.slots.insert(conn, slot);
                assert_eq!(world.machine.logins.len(), 1, "what it proved is confirmed");
                world.verdict(Err(LoginFailure::Denied));
                assert!(world.heard(conn).starts_with("no: Denied") && world.is_closed(conn));
                there += 1;
            }
            None => {
                assert!(world.heard(conn).starts_with("you are"));
                here += 1;
            }
        }
    }
    assert!(there > 2 && here > 2, "{there} {here}");
    let metrics = &world.hub.metrics;
    assert_eq!(metrics.connections_opened.get(), 20, "each was accepted once");
    for conn in 0..20 {
        world.closed(conn);
    }
    assert_eq!(world.hub.metrics.connections_closed.get(), 20);
}

#[test]
fn a_connection_that_breaks_on_its_way_leaves_nothing() {
    let mut world = World::of(2);
    for conn in 0..20 {
        world.open(conn);
        world.send(conn, &format!("keep 0\nlogin {ALICE} r{conn}\n"));
        world.verdict(Ok(grants()));
        world.closed(conn);
    }
    assert!(!world.machine.handed_over.is_empty());
    assert_eq!((world.hub.len(), world.machine.timers.len()), (0, 0));
}

#[test]
fn a_session_is_back_after_a_restart_with_what_it_had_registered() {
    let mut world = World::new();
    world.open(1);
    world.send(1, HEARER);
    world.verdict(Ok(grants()));
    world.send(1, "sub1 a\nsub b/+\nsub c\nunsub c\n");
    world.closed(1);
    let (_, journal) = world.hub.take_batch().unwrap();
    let (mut row, mut rows) = (None, BTreeMap::new());
    for change in journal.iter() {
        match change {
            Written::Put {
                table: Table::Sessions,
                key,
                value,
            } => row = Some((key.to_vec(), value.to_vec())),
            Written::Put {
                table: Table::Registrations,
                key,
                value,
            } => {
                rows.insert(key.to_vec(), value.to_vec());
            }
            Written::Delete {
                table: Table::Registrations,
                key,
            } => drop(rows.remove(key)),
            other => panic!("{other:?}"),
        }
    }
    let (number, row) = row.unwrap();
    let stored = Stored {
        number: u64::from_be_bytes(number[..].try_into().unwrap()),
        row: row.into(),
        registrations: rows
            .into_iter()
            .map(|(key, value)| (key[8..].into(), value.into()))
            .collect(),
    };
    assert_eq!(stored.registrations.len(), 2);
    assert_eq!(stored.address(), Some(&*format!("{ALICE}/w1")));

    let mut world = World::new();
    let revive = |described: &[u8]| {
        assert_eq!(described, [0], "without a connection");
        let mut session = Lines::default();
        session.kept.number = stored.number;
        session.kept.expiry_ms = 60_000;
        session.deadline = Some(Instant::from_nanos(60_000_000_000));
        Some(session)
    };
    let unread = world.hub.restore(&mut world.machine, world.now, &stored, revive);
    assert_eq!(unread, Some(0));
    assert_eq!(
        world.hub.restore(&mut world.machine, world.now, &stored, revive),
        None,
        "once"
    );
    world.log_in(2, BOB, "w2");
    world.send(2, "pub1 a one\npub1 b/x two\npub1 c three\n");
    world.open(3);
    world.send(3, HEARER);
    world.verdict(Ok(grants()));
    assert_eq!(
        world.heard(3),
        format!("you are {ALICE}/w1 again\nkept one\nkept two\n")
    );
    assert!(world.hub.next_number > stored.number);
}
