//! Commits that many messages share, none of which is acknowledged before its own.

use super::*;
use crate::harness::mqtt::{self, Raw};
use crate::harness::{matrix, world};

const COMMITS: &str = "nexus_storage_commits_total";
const SENDERS: usize = 4;
const EACH: u16 = 250;

#[test]
fn messages_at_once_share_commits_and_a_single_one_waits_for_its_own() {
    matrix::parallel(&matrix::SHARD_COUNTS, |&shards| {
        let mut house = House::new(shards);
        let (keeper, account) = (house.account(), house.account());
        let (kept, _) = house.lodger(matrix::PAHO_5, &keeper, "k");
        kept.hear("kept/#", 1);
        kept.disconnect();
        let by_hand = world::Account {
            app: house.app.clone(),
            uid: String::new(),
            role: String::new(),
            name: account.0.clone(),
            secret: account.1.clone(),
        };
        let login = |number: usize| Raw::login(house.lives.mqtt(), 4, &by_hand, &format!("s{number}"));

        let mut single = login(SENDERS);
        for id in 1..=20 {
            let before = house.metric(COMMITS);
            single.send(&mqtt::publish("kept/a", Some(id), None, b"single"));
            assert_eq!(single.packet().first, 0x40);
            assert!(
                house.metric(COMMITS) > before,
                "PUBACK {id} came before its commit"
            );
        }

        let before = house.metric(COMMITS);
        let mut senders: Vec<Raw> = (0..SENDERS).map(login).collect();
        let burst: Vec<u8> = (1..=EACH)
            .flat_map(|id| mqtt::publish("kept/a", Some(id), None, b"at once"))
            .collect();
        for sender in &mut senders {
            sender.send(&burst);
        }
        for sender in &mut senders {
            for id in 1..=EACH {
                let packet = sender.packet();
                assert_eq!((packet.first, packet.body), (0x40, id.to_be_bytes().to_vec()));
            }
        }
        let messages = SENDERS as u64 * u64::from(EACH);
        let commits = house.metric(COMMITS) - before;
        assert!(
            commits * 10 <= messages,
            "{commits} commits for {messages} messages"
        );

        house.lives.kill();
        house.lives.start();
        let (kept, present) = house.lodger(matrix::PAHO_5, &keeper, "k");
        assert!(present);
        assert_eq!(texts(&kept, 1_020).len(), 1_020);
    });
}
