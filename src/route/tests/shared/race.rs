//! Members that come and go while messages are on their way.

use super::*;

const GROUPS: [(&str, &str); 3] = [("one", "a/b"), ("two", "a/+"), ("three", "a/#")];

/// Joins, leaves, losses of connections and messages at random.
struct Race {
    net: Net,
    /// Who may join; the first is a member of all groups from the beginning, and stays.
    blocks: Vec<Block>,
    publishers: Vec<Block>,
    sent: Vec<u32>,
    offline: HashSet<Block>,
    /// What each block heard in each group of each publisher, in order.
    heard: HashMap<(Block, String, usize), Vec<u32>>,
}

impl Race {
    fn new(shards: u16, seed: u64) -> Self {
        let mut net = Net::configured(shards, seed, |_| {});
        let publishers: Vec<_> = (0..4).map(|n| user(&mut net, 1_000 + n)).collect();
        let blocks = users(&mut net, 24);
        for (name, filter) in GROUPS {
            join(&mut net, blocks[0], name, filter);
        }
        Self {
            net,
            blocks,
            sent: vec![0; publishers.len()],
            publishers,
            offline: HashSet::new(),
            heard: HashMap::new(),
        }
    }

    fn note(&mut self, block: Block) {
        for got in self.net.got(block) {
            let Got::Channel { payload, group, .. } = got else {
                continue;
            };
            let text = String::from_utf8(payload).unwrap();
            let (publisher, n) = text.split_once(' ').unwrap();
            let key = (block, group.unwrap(), publisher.parse().unwrap());
            self.heard.entry(key).or_default().push(n.parse().unwrap());
        }
    }

    /// `settled`: nothing is on its way when a member goes and until its home knows, so that nothing has to go round.
    fn step(&mut self, settled: bool) {
        let at = self.net.rng.random_range(1..self.blocks.len());
        let block = self.blocks[at];
        let (name, filter) = GROUPS[self.net.rng.random_range(0..GROUPS.len())];
        match self.net.rng.random_range(0..16) {
            0..=2 => drop(join_as(&mut self.net, block, share(name, filter), QOS1)),
            3 => {
                if settled {
                    self.net.run();
                }
                let share = share(name, filter);
                self.net.unregister(block, &Unregistration::Shared { share });
                if settled {
                    self.net.run();
                }
            }
            4 => {
                if settled {
                    self.net.run();
                }
                if self.net.rng.random_bool(0.3) && self.blocks.len() > 4 {
                    self.note(block);
                    self.net.leave(block);
                    self.blocks.swap_remove(at);
                } else if self.offline.insert(block) {
                    self.net.on(block.shard, |router, now, port| {
                        router.suspend(now, port, block.key, true);
                    });
                } else {
                    self.offline.remove(&block);
                    resume(&mut self.net, block);
                }
                if settled {
                    self.net.run();
                }
            }
            5 => drop(self.net.move_on()),
            _ => {
                let which = self.net.rng.random_range(0..self.publishers.len());
                let payload = format!("{which} {}", self.sent[which]);
                self.sent[which] += 1;
                let publisher = self.publishers[which];
                self.net.publish_at(publisher, "a/b", &payload, QOS1).unwrap();
            }
        }
    }

    fn run(mut self, settled: bool) -> u64 {
        for _ in 0..3_000 {
            self.step(settled);
        }
        self.net.run();
        for block in self.blocks.clone() {
            self.note(block);
        }
        for (name, _) in GROUPS {
            for (publisher, &sent) in self.sent.iter().enumerate() {
                let lists = self
                    .heard
                    .iter()
                    .filter(|(key, _)| key.1 == name && key.2 == publisher);
                let mut all = Vec::new();
                for (_, numbers) in lists {
                    assert!(!settled || numbers.is_sorted(), "{name} {publisher}: {numbers:?}");
                    all.extend_from_slice(numbers);
                }
                all.sort_unstable();
                assert_eq!(
                    all,
                    (0..sent).collect::<Vec<_>>(),
                    "{name}: each to exactly one member"
                );
            }
        }
        assert_eq!(self.net.drops(Stage::Channel, DropReason::NoReceiver), 0);
        redirected(&self.net)
    }
}

#[test]
fn mqtt5_4_8_2_whoever_comes_and_goes_each_message_has_one_member() {
    let mut redirected = 0;
    for shards in [1, 2, 8] {
        for seed in 0..4 {
            redirected += Race::new(shards, seed).run(false);
        }
    }
    assert!(redirected > 0, "some went to who was gone");
}

#[test]
fn mqtt5_4_6_what_a_member_gets_of_a_sender_is_in_order() {
    for shards in [1, 2, 8] {
        for seed in 0..4 {
            assert_eq!(Race::new(shards, seed).run(true), 0);
        }
    }
}
