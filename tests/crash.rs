//! The daemon killed with SIGKILL at any moment, and started again on the same directory and ports: what it
//! acknowledged for sessions that outlive their connections is there, once where that was promised, in order.
//!
//! `NEXUS_CRASH_SEED=n` replays the choices of a run (not its timing); a run that fails prints its seed.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness::clock::{Deadline, unix_ms};
use crate::harness::lasting::{Client, Heard, Judge, Login};
use crate::harness::lives::Lives;

/// Lives of each daemon that end by SIGKILL.
const LIVES: u32 = 13;
/// Messages of one client that are on their way at most.
const UNANSWERED_MAX: usize = 8;
const TOPICS: [&str; 3] = ["kept/0", "kept/1", "kept/2"];
/// How long a read waits for more.
const POLL: Duration = Duration::from_millis(1);
/// How long everything may take to arrive at the end.
const END: Duration = Duration::from_secs(10);

struct Player {
    client: Client,
    stream: Option<TcpStream>,
    /// How often it has connected: the number of its will.
    comings: u64,
    /// It has been told something on this connection that follows its CONNECT.
    is_settled: bool,
}

struct Play {
    seed: u64,
    random: StdRng,
    lives: Lives,
    judge: Judge,
    players: Vec<Player>,
    /// Wills that are owed, and how often each was heard, by whom.
    wills: BTreeMap<String, BTreeMap<usize, u32>>,
    owed_wills: Vec<String>,
    crashes: u32,
}

impl Play {
    fn new(shards: usize, seed: u64) -> Self {
        let lives = Lives::new(shards);
        let mut random = StdRng::seed_from_u64(seed);
        let app = lives.app("crash");
        let players = (0..5).map(|player| {
            let (account, secret) = lives.account(&app);
            let login = Login {
                version: if random.random_bool(0.5) { 4 } else { 5 },
                account,
                secret,
                resource: format!("w{player}"),
                will: None,
            };
            Player {
                client: Client::new(login),
                stream: None,
                comings: 0,
                is_settled: false,
            }
        });
        let players = players.collect();
        Self {
            seed,
            random,
            lives,
            judge: Judge::default(),
            players,
            wills: BTreeMap::new(),
            owed_wills: Vec::new(),
            crashes: 0,
        }
    }

    fn address(&self) -> SocketAddr {
        self.lives.mqtt()
    }

    /// Connects in place of any earlier connection.
    fn connect(&mut self, player: usize) {
        let address = self.address();
        let own = &mut self.players[player];
        own.stream = None;
        own.is_settled = false;
        own.client.lost();
        // A daemon that has just gone, or is not there yet.
        let Ok(mut stream) = TcpStream::connect(address) else {
            return;
        };
        own.comings += 1;
        self.judge.note(format!("* {player} connects"));
        own.client.wills(
            &format!("will/{player}"),
            &format!("{player}.{}.{}", self.crashes, own.comings),
        );
        let bytes = own.client.connect(false);
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(POLL)).unwrap();
        if stream.write_all(&bytes).is_ok() {
            own.stream = Some(stream);
        }
    }

    fn say(&mut self, player: usize, bytes: &[u8]) {
        let own = &mut self.players[player];
        if let Some(stream) = &mut own.stream
            && !bytes.is_empty()
            && stream.write_all(bytes).is_err()
        {
            own.stream = None;
            own.client.lost();
        }
    }

    /// Reads what has come for one client.
    fn read(&mut self, player: usize) {
        let mut bytes = [0; 65_536];
        let own = &mut self.players[player];
        let Some(stream) = &mut own.stream else { return };
        match stream.read(&mut bytes) {
            Ok(read) if read > 0 => {
                let (heard, answer) = own.client.hear(&bytes[..read]);
                self.say(player, &answer);
                for heard in heard {
                    self.heard(player, heard);
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Ok(_) | Err(_) => {
                own.stream = None;
                own.client.lost();
            }
        }
    }

    fn heard(&mut self, player: usize, heard: Heard) {
        match heard {
            Heard::Attached | Heard::Refused(_) => {}
            Heard::Subscribed(_) => self.players[player].is_settled = true,
            Heard::Acknowledged(mark, code) => {
                // Its own row comes before that of the message.
                self.players[player].is_settled |= code < 0x80 && self.judge.is_exactly_once(mark);
                self.judge.acknowledged(mark, code);
            }
            Heard::Message { retain: true, .. } => {}
            Heard::Message { text, topic, .. } if topic.starts_with("will/") => {
                *self.wills.entry(text).or_default().entry(player).or_default() += 1;
            }
            Heard::Message { text, topic, qos, .. } => self.judge.heard(player, &topic, qos, &text),
        }
    }

    fn publish(&mut self, player: usize) {
        let own = &self.players[player];
        if own.client.unanswered() >= UNANSWERED_MAX || !own.client.is_attached() {
            return;
        }
        let retain = self.random.random_bool(0.2);
        let topic = if retain {
            format!("state/{player}")
        } else {
            TOPICS[self.random.random_range(0..TOPICS.len())].to_owned()
        };
        let qos = if retain {
            1 + u8::from(player.is_multiple_of(2))
        } else {
            self.random.random_range(1..3)
        };
        let hears = |receiver: &usize| topic.starts_with("kept/") || *receiver < 3;
        let owed = (0..self.players.len()).filter(hears);
        let owed = owed.map(|receiver| (receiver, qos_of(receiver))).collect();
        let (mark, text) = self.judge.sends(player, &topic, qos, retain, owed);
        let bytes = self.players[player]
            .client
            .publish(mark, &topic, qos, retain, &text);
        self.say(player, &bytes);
    }

    fn act(&mut self) {
        let player = self.random.random_range(0..self.players.len());
        let deed = self.random.random_range(0..100_u32);
        let own = &mut self.players[player];
        match deed {
            _ if own.stream.is_none() => self.connect(player),
            // Takes its own address over.
            0 | 1 if own.client.is_attached() => self.connect(player),
            2 => {
                own.stream = None;
                own.client.lost();
            }
            _ => self.publish(player),
        }
    }

    fn round(&mut self) {
        for _ in 0..8 {
            self.act();
        }
        for player in 0..self.players.len() {
            self.read(player);
        }
    }

    /// Everybody subscribes, and everybody is known to be heard.
    fn begin(&mut self) {
        for player in 0..self.players.len() {
            let client = &mut self.players[player].client;
            client.subscribe("kept/#", qos_of(player));
            client.subscribe("will/+", 1);
            if player < 3 {
                client.subscribe("state/+", qos_of(player));
            }
        }
        self.until("all have subscribed", |play| {
            play.players.iter().all(|player| player.client.is_quiet())
        });
        // What is subscribed on one shard is known on the others after a restart.
        self.restart(false);
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Deadline::after(END);
        while !holds(self) {
            if deadline.passed() {
                self.judge.check();
                panic!("never: {what}");
            }
            for player in 0..self.players.len() {
                if self.players[player].stream.is_none() {
                    self.connect(player);
                }
                self.read(player);
            }
        }
    }

    /// The daemon ends, by SIGKILL or SIGTERM, and comes back.
    fn restart(&mut self, kill: bool) {
        if kill {
            self.lives.kill();
            self.crashes += 1;
            for player in &self.players {
                if player.stream.is_some() && player.is_settled && player.client.is_attached() {
                    let (_, text) = player.client.login().will.as_ref().unwrap();
                    self.owed_wills.push(text.clone());
                }
            }
        } else {
            self.lives.stop();
        }
        self.judge.note(format!("* restarted, killed: {kill}"));
        self.lives.start();
    }

    fn run(&mut self) {
        self.begin();
        for _ in 0..LIVES {
            // Between the first login and some hundred messages.
            let rounds = self.random.random_range(1..50);
            for _ in 0..rounds {
                self.round();
            }
            for player in 0..self.players.len() {
                if self.random.random_bool(0.7) {
                    self.publish(player);
                }
            }
            self.restart(true);
        }
        self.until("everything has arrived", |play| {
            play.judge.is_satisfied() && play.players.iter().all(|player| player.client.is_quiet())
        });
        self.restart(false);
        self.until("everybody is back", |play| {
            play.players.iter().all(|player| player.client.is_quiet())
        });
        self.judge.check();
        assert!(self.judge.kept > 0);
        self.check_wills();
        self.check_retained();
    }

    fn check_wills(&mut self) {
        let owed = self.owed_wills.clone();
        assert!(!owed.is_empty());
        for text in owed {
            let from: usize = text.split('.').next().unwrap().parse().unwrap();
            for receiver in 0..self.players.len() {
                if receiver != from {
                    let times = self.wills.get(&text).and_then(|heard| heard.get(&receiver));
                    // QoS 1: what was not acknowledged comes again.
                    assert!(times.is_some(), "will {text} never reached receiver {receiver}");
                }
            }
        }
    }

    /// Whoever comes now is told what was retained last.
    fn check_retained(&mut self) {
        let mut login = self.players[4].client.login().clone();
        login.resource = "late".to_owned();
        login.will = None;
        let mut late = Client::new(login);
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(POLL)).unwrap();
        let mut bytes = late.connect(false);
        late.subscribe("state/+", 1);
        let wanted: BTreeMap<String, String> = (0..self.players.len())
            .filter_map(|player| {
                let topic = format!("state/{player}");
                self.judge.retained(&topic).map(|text| (topic, text))
            })
            .collect();
        let (mut told, deadline) = (BTreeMap::new(), Deadline::after(END));
        while told != wanted {
            assert!(
                !deadline.passed(),
                "retained: {told:?}, but the last are {wanted:?}"
            );
            stream.write_all(&std::mem::take(&mut bytes)).unwrap();
            let mut buffer = [0; 65_536];
            let Ok(read) = stream.read(&mut buffer) else {
                continue;
            };
            let (heard, answer) = late.hear(&buffer[..read]);
            bytes = answer;
            for heard in heard {
                if let Heard::Message { topic, text, .. } = heard {
                    told.insert(topic, text);
                }
            }
        }
    }
}

fn qos_of(receiver: usize) -> u8 {
    if receiver.is_multiple_of(3) { 1 } else { 2 }
}

fn play(shards: usize, salt: u64) {
    let seed = std::env::var("NEXUS_CRASH_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| unix_ms() ^ salt);
    let mut play = Play::new(shards, seed);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play.run())) {
        eprintln!(
            "seed {} fails on {shards} shards; NEXUS_CRASH_SEED={} makes the same choices; the daemon's log:\n{}",
            play.seed,
            play.seed,
            play.lives.log()
        );
        resume_unwind(panic);
    }
}

#[test]
fn what_was_acknowledged_outlives_kill_9_on_one_shard() {
    play(1, 1);
    play(1, 2);
}

#[test]
fn what_was_acknowledged_outlives_kill_9_on_two_shards() {
    play(2, 3);
    play(2, 4);
}
