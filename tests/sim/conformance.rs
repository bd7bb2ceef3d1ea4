//! The cases of `tests/conformance`, played on the hubs themselves under virtual time.

#[path = "../conformance/suite/mod.rs"]
mod suite;
mod table;

use std::collections::{HashMap, HashSet, VecDeque};

use nexus::route::{AppPolicy, Change, Service};
use nexus::session::LoginFailure;
use nexus::store::login::{LoginProof, LoginRequest};
use suite::{Account, Heard as Came, Net, Transport, Version, chosen, parse, play, play_all};

use crate::world::{Heard, Speaks, World, ms};

const DEVICE: &str = "etest-0123456789abcdef01234567-owner";
const STRANGER: &str = "shop-3123456789abcdef01234567-user";
const OPERATOR: &str = "nexus-4123456789abcdef01234567-owner";
const SECRET: &str = "secret";

/// For longer than anything may take.
const PATIENCE_MS: u64 = 200;

/// Hubs and their connections.
struct Hubs {
    world: World,
    shards: usize,
    came: HashMap<usize, VecDeque<Vec<u8>>>,
    gone: HashSet<usize>,
}

fn services(request: &LoginRequest) -> Result<Vec<Service>, LoginFailure> {
    let is_known = [DEVICE, STRANGER, OPERATOR].contains(&&*request.account);
    match &request.proof {
        LoginProof::Password(password) if is_known && **password == *SECRET.as_bytes() => Ok(Vec::new()),
        LoginProof::Proven { .. } => Ok(Vec::new()),
        _ => Err(LoginFailure::Denied),
    }
}

impl Hubs {
    fn new(shards: usize) -> Self {
        let apps = ["etest", "shop", "nexus"].map(|name| Change::App {
            name: name.into(),
            policy: AppPolicy::default(),
        });
        Self {
            world: World::calm(shards, &apps, services),
            shards,
            came: HashMap::new(),
            gone: HashSet::new(),
        }
    }

    /// Lets `ns` pass, and keeps what clients hear.
    fn run(&mut self, ns: u64) {
        let until = self.world.elapsed_ns() + ns;
        while let Some(heard) = self.world.step(until) {
            self.keep(heard);
        }
        self.world.wait(until);
    }

    fn keep(&mut self, heard: Heard) {
        self.world.notes.clear();
        match heard {
            Heard::Bytes(conn, bytes) => self.came.entry(conn).or_default().push_back(bytes),
            Heard::Gone(conn) => {
                self.gone.insert(conn);
            }
            Heard::Act(_) | Heard::Notes => {}
        }
    }
}

impl Net for Hubs {
    const IS_KEPT: bool = false;

    fn open(&mut self, transport: Transport) -> usize {
        let speaks = match transport {
            Transport::Tcp => Speaks::Mqtt,
            Transport::WebSocket => Speaks::MqttOverWebSocket,
        };
        let shard = self.world.links.len() % self.shards;
        self.world.connect(shard, speaks)
    }

    fn write(&mut self, conn: usize, bytes: &[u8]) {
        self.world.send(conn, bytes.to_vec());
        self.run(self.world.settle_ns());
    }

    fn read(&mut self, conn: usize) -> Came {
        let until = self.world.elapsed_ns() + ms(PATIENCE_MS);
        loop {
            if let Some(bytes) = self.came.get_mut(&conn).and_then(VecDeque::pop_front) {
                return Came::Bytes(bytes);
            }
            if self.gone.contains(&conn) {
                return Came::End;
            }
            let Some(heard) = self.world.step(until) else {
                return Came::Nothing;
            };
            self.keep(heard);
        }
    }

    fn hang_up(&mut self, conn: usize) {
        self.world.break_off(conn);
        self.run(self.world.settle_ns());
    }

    fn advance(&mut self, time_ms: u64) {
        self.run(ms(time_ms));
    }

    fn account(&self, who: &str) -> Account {
        let name = match who {
            "device" => DEVICE,
            "stranger" => STRANGER,
            "operator" => OPERATOR,
            _ => panic!("no account {who}"),
        };
        Account {
            name: name.to_owned(),
            secret: SECRET.to_owned(),
        }
    }
}

#[test]
fn every_case_holds_without_io() {
    let cases = chosen();
    let mut played = 0;
    for shards in [1, 2] {
        let transports = [Transport::Tcp, Transport::WebSocket];
        let outcome = play_all(&cases, &transports, true, |case, version, transport| {
            play(case, version, transport, &mut Hubs::new(shards))
        });
        match outcome {
            Ok(count) => played += count,
            Err(failures) => panic!("on {shards} shards: {failures}"),
        }
    }
    println!("{} cases, played {played} times", cases.len());
    assert!(played >= cases.len(), "hardly anything was played");
}

/// Cases each of which expects what does not happen, and what must be said of it.
const WRONG: &str = r#"{"cases": [
    {"name": "another code", "shows": {"5.0": []}, "steps": [
        {"login": "a"}, {"send": "a", "PUBLISH": {"topic": "t", "qos": 1, "id": 7}},
        {"expect": "a", "PUBACK": {"id": 7, "code": 0}}]},
    {"name": "another packet", "shows": {"3.1.1": []}, "steps": [
        {"login": "a"}, {"send": "a", "PINGREQ": {}}, {"expect": "a", "SUBACK": {"id": 7, "codes": [0]}}]},
    {"name": "a field that is not named", "shows": {"5.0": []}, "steps": [
        {"login": "a"}, {"subscribe": "a", "filter": "t"}, {"send": "a", "PUBLISH": {"topic": "t", "payload": "x"}},
        {"expect": "a", "PUBLISH": {"topic": "t"}}]},
    {"name": "a property that is not named", "shows": {"5.0": []}, "steps": [
        {"login": "a"}, {"subscribe": "a", "filter": "t"},
        {"send": "a", "PUBLISH": {"topic": "t", "properties": {"content_type": "x"}}},
        {"expect": "a", "PUBLISH": {"topic": "t"}}]},
    {"name": "something where nothing is", "shows": {"3.1.1": []}, "steps": [
        {"login": "a"}, {"expect": "a", "PUBLISH": {"topic": "t"}}]},
    {"name": "nothing where something is", "shows": {"3.1.1": []}, "steps": [
        {"login": "a"}, {"login": "b"}, {"subscribe": "a", "filter": "t"},
        {"send": "b", "PUBLISH": {"topic": "t"}}, {"expect_nothing": "a"}]},
    {"name": "no end", "shows": {"3.1.1": []}, "steps": [{"login": "a"}, {"expect_close": "a"}]},
    {"name": "an end", "shows": {"3.1.1": []}, "steps": [
        {"login": "a"}, {"send": "a", "DISCONNECT": {}}, {"ping": "a"}]},
    {"name": "another value of a name", "shows": {"5.0": []}, "steps": [
        {"login": "a"}, {"subscribe": "a", "filter": "t", "qos": 1},
        {"send": "a", "packets": [{"PUBLISH": {"topic": "t", "qos": 1, "id": 1}}, {"PUBLISH": {"topic": "t", "qos": 1, "id": 2}}]},
        {"expect_all": "a", "packets": [
            {"PUBLISH": {"topic": "t", "qos": 1, "id": "?x"}}, {"PUBLISH": {"topic": "t", "qos": 1, "id": "?x"}},
            {"PUBACK": {"id": 1}}, {"PUBACK": {"id": 2}}]}]},
    {"name": "another sender", "shows": {"5.0": []}, "steps": [
        {"login": "a"}, {"login": "b"}, {"subscribe": "a", "filter": "t"}, {"send": "b", "PUBLISH": {"topic": "t"}},
        {"expect": "a", "PUBLISH": {"topic": "t", "from": "a"}}]}
]}"#;

#[test]
fn a_wrong_expectation_is_reported_with_its_place() {
    let cases = parse("wrong.json", WRONG);
    assert_eq!(cases.len(), 10);
    for case in &cases {
        let version = case.versions[0];
        let outcome = play(case, version, Transport::Tcp, &mut Hubs::new(1));
        let report = outcome.expect_err(&case.name);
        let place = format!("wrong.json: {} ({}, Tcp), step ", case.name, version.name());
        assert!(report.starts_with(&place), "{report}");
        for word in ["\n  expected: ", "\n  received: "] {
            assert!(report.contains(word), "{report}");
        }
    }
    let failed = play_all(&cases, &[Transport::Tcp], true, |case, version, transport| {
        play(case, version, transport, &mut Hubs::new(1))
    });
    assert!(failed.is_err_and(|report| report.starts_with("10 of 10 failed")));
}

#[test]
fn a_case_is_played_as_its_version_has_it() {
    let source = r#"{"cases": [{"name": "n", "shows": {"3.1.1": ["MQTT-3.12.4-1"], "5.0": []}, "steps": [
        {"login": "a", "keep_alive": {"3.1.1": 1, "5.0": 2}},
        {"only": "5.0", "ping": "a"}]}]}"#;
    let case = &parse("n.json", source)[0];
    assert_eq!(case.clauses, [(Version::V311, "MQTT-3.12.4-1".to_owned())]);
    let [old, new] = Version::ALL.map(|version| case.steps(version));
    assert_eq!((old.len(), new.len()), (1, 2));
    assert_eq!(
        (&old[0]["keep_alive"], &new[0]["keep_alive"]),
        (&1.into(), &2.into())
    );
}

#[test]
fn the_steps_of_a_case_are_done_for_each_of_its_texts() {
    let source = r#"{"cases": [{"name": "n", "shows": {"5.0": []}, "each": ["t", "u/+"], "steps": [
        {"login": "a"}, {"send": "a", "SUBSCRIBE": {"id": 1, "filters": ["s/$each", {"filter": "$each"}]}}]}]}"#;
    let steps = parse("n.json", source)[0].steps(Version::V5);
    let filters: Vec<_> = steps
        .iter()
        .filter_map(|step| step.get("SUBSCRIBE"))
        .map(|fields| fields["filters"].to_string())
        .collect();
    assert_eq!(steps.len(), 4);
    assert_eq!(
        filters,
        [r#"["s/t",{"filter":"t"}]"#, r#"["s/u/+",{"filter":"u/+"}]"#]
    );
}
