//! Files that were damaged while the daemon was away: it starts, tells what it dropped, and serves what is whole.

use super::*;
use crate::harness::matrix::{PAHO_5, PAHO_311, SHARD_COUNTS};
use crate::harness::parallel;

const FILES: &str = "nexus_storage_damaged_files_total";
const ROWS: &str = "nexus_storage_damaged_rows_total";
/// Messages that wait for a session. Each is larger than a page, so that most of the pages are theirs.
const MESSAGES: usize = 24;
const MESSAGE_BYTES: usize = 6_000;

/// A house where messages wait for a session, and its last one is the last that was written.
fn with_messages(shards: usize) -> (House, Account) {
    let house = House::new(shards);
    let (keeper, account) = (house.account(), house.account());
    let (kept, _) = house.lodger(PAHO_311, &keeper, "k");
    kept.hear("kept/#", 1);
    kept.disconnect();
    let sender = house.guest(PAHO_5, &account, "s");
    let retained = sender.publish(&Publish::new("state", "retained").qos(1).retained());
    assert_eq!(sender.puback(retained), 0x10);
    for number in 0..MESSAGES {
        assert_eq!(publish(&sender, "kept/a", &text(number), 1), 0);
    }
    (house, keeper)
}

fn text(number: usize) -> String {
    format!("{number:03} {}", "x".repeat(MESSAGE_BYTES))
}

/// The numbers of the messages that came, and whether the session was there. What is published now comes behind them.
fn heard(house: &House, keeper: &Account) -> (Vec<usize>, bool) {
    let (kept, present) = house.lodger(PAHO_311, keeper, "k");
    kept.hear("kept/#", 1);
    let sender = house.guest(PAHO_5, &house.account(), "later");
    assert_eq!(publish(&sender, "kept/a", "fence", 1), 0);
    let mut numbers = Vec::new();
    loop {
        let message = kept.message();
        if message.text() == "fence" {
            return (numbers, present);
        }
        let number = message.text()[..3].parse().unwrap();
        assert_eq!(message.text(), text(number), "it is whole");
        numbers.push(number);
    }
}

fn change(house: &House, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = house.file(name);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_log_whose_end_is_damaged_loses_that_end_and_nothing_before() {
    for garble in [false, true] {
        parallel(&SHARD_COUNTS, |&shards| {
            let (mut house, keeper) = with_messages(shards);
            house.lives.kill();
            change(&house, "sessions.db-wal", |bytes| {
                let end = bytes.len();
                if garble {
                    bytes[end - 2_000..].fill(0x5A);
                } else {
                    bytes.truncate(end - 2_000);
                }
            });
            house.lives.start();
            let told = house.await_told("sessions.db-wal");
            assert_eq!(told.len(), 1, "{}", house.lives.log());
            assert!(
                told[0].contains("the last whole commit") && told[0].contains("dropped"),
                "{told:?}"
            );
            assert_eq!((house.metric(FILES), house.metric(ROWS)), (1, 0));
            assert_eq!(house.kept_aside(), [] as [String; 0], "the database is whole");
            // The last commit is damaged, and it alone.
            let wanted: Vec<usize> = (0..MESSAGES - 1).collect();
            assert_eq!(heard(&house, &keeper), (wanted, true));
            // It is told once. A kill while something is written leaves an end that is incomplete.
            for (series, value) in [("nexus_sessions_offline", 1), ("nexus_storage_queue_bytes", 0)] {
                eventually(series, || house.metric(series) == value);
            }
            house.lives.kill();
            house.lives.start();
            assert_eq!(
                (house.await_told("dropped").len(), house.metric(FILES)),
                (1, 0),
                "{}",
                house.lives.log()
            );
        });
    }
}

#[test]
fn a_database_that_is_damaged_inside_gives_back_what_is_whole() {
    parallel(&SHARD_COUNTS, |&shards| {
        let (mut house, keeper) = with_messages(shards);
        // Its end folds the log into the database.
        house.lives.stop();
        let mut before = Vec::new();
        change(&house, "sessions.db", |bytes| {
            // A bit of two messages, and a stretch of a third. What follows the first bytes lies on other pages.
            for number in [5, 11] {
                let at = place_of(bytes, number);
                bytes[at + 100] ^= 1;
            }
            let at = place_of(bytes, 17);
            bytes[at + 100..at + 300].fill(0xEE);
            before.clone_from(bytes);
        });
        house.lives.start();
        let told = house.await_told("sessions.db is damaged");
        assert_eq!(told.len(), 1, "{}", house.lives.log());
        let aside = house.kept_aside();
        let named = aside.iter().find(|name| name.starts_with("sessions.db.damaged-"));
        let named = named.unwrap();
        assert!(told[0].contains(named.as_str()), "{told:?}, but there is {named}");
        assert_eq!(fs::read(house.file(named)).unwrap(), before, "as it was");
        assert_eq!(house.metric(FILES), 1);
        let (numbers, present) = heard(&house, &keeper);
        assert!(present, "the session itself is whole");
        let wanted: Vec<usize> = (0..MESSAGES)
            .filter(|number| ![5, 11, 17].contains(number))
            .collect();
        assert_eq!(numbers, wanted);
        assert_eq!(house.metric(ROWS), 3);
        let guest = house.guest(PAHO_5, &keeper, "g");
        guest.hear("state", 1);
        assert_eq!(guest.message().text(), "retained");
        house.lives.stop();
        house.lives.start();
        assert_eq!(
            (house.await_told("is damaged").len(), house.metric(FILES)),
            (1, 0)
        );
    });
}

/// Where a message's text begins in the bytes of the database.
fn place_of(bytes: &[u8], number: usize) -> usize {
    let text = format!("{number:03} xxxx");
    let mut places = bytes.windows(text.len());
    places.position(|window| window == text.as_bytes()).unwrap()
}

#[test]
fn what_is_no_database_is_told_kept_aside_and_begun_anew() {
    let (mut house, keeper) = with_messages(1);
    house.lives.stop();
    change(&house, "sessions.db", |bytes| *bytes = b"something else".to_vec());
    house.lives.start();
    let told = house.await_told("sessions.db cannot be read");
    assert_eq!(told.len(), 1, "{}", house.lives.log());
    assert!(told[0].contains("begun anew"), "{told:?}");
    assert_eq!(house.kept_aside().len(), 1);
    assert_eq!(heard(&house, &keeper), (Vec::new(), false));
}

#[test]
fn a_database_that_is_gone_is_told_and_begun_anew() {
    let (mut house, keeper) = with_messages(1);
    house.lives.kill();
    fs::remove_file(house.file("sessions.db")).unwrap();
    house.lives.start();
    let told = house.await_told("is gone from beside its log");
    assert_eq!(told.len(), 1, "{}", house.lives.log());
    assert!(told[0].contains("begun anew"), "{told:?}");
    assert_eq!((house.kept_aside().len(), house.metric(FILES)), (1, 1));
    assert_eq!(heard(&house, &keeper), (Vec::new(), false));
    // What it keeps from now on is not mixed with what is aside.
    house.lives.kill();
    house.lives.start();
    assert!(house.lodger(PAHO_311, &keeper, "k").1);
}
