//! Plays cases, and tells what was expected and what came instead.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::client::Client;
use super::expect::Bindings;
use super::net::{Net, Transport};
use super::packet::Packet;
use super::{Case, Version};

/// After so many failures no more is played: over sockets each takes as long as its patience.
const FAILURES_MAX: usize = 16;

/// One playing of a case.
pub(crate) struct Stage<'n, N> {
    pub(super) net: &'n mut N,
    pub(super) version: Version,
    /// Clients that speak another one.
    pub(super) speaks: BTreeMap<String, Version>,
    pub(super) transport: Transport,
    pub(super) clients: BTreeMap<String, Client>,
    pub(super) bindings: Bindings,
    /// The account and Client Identifier of each client's last CONNECT.
    pub(super) addresses: BTreeMap<String, (String, String)>,
    /// Everything that may be left behind: sessions, and retained messages among these topics.
    pub(super) sessions: BTreeSet<(String, String)>,
    pub(super) topics: BTreeSet<String>,
    pub(super) retains: bool,
}

/// Plays every case in every version and over each of the transports that may carry it; the number of playings. Cases
/// that take time are left out unless `has_time`. What fails is reported together, up to a bound.
pub(crate) fn play_all(
    cases: &[Case],
    transports: &[Transport],
    has_time: bool,
    mut play: impl FnMut(&Case, Version, Transport) -> Result<(), String>,
) -> Result<usize, String> {
    let (mut played, mut failures) = (0, Vec::new());
    for case in cases.iter().filter(|case| has_time || !case.takes_time()) {
        for transport in transports
            .iter()
            .filter(|transport| case.transports.contains(transport))
        {
            for version in &case.versions {
                played += 1;
                match play(case, *version, *transport) {
                    Err(failure) if failures.len() < FAILURES_MAX => failures.push(failure),
                    Err(_) => return Err(told(&failures, played)),
                    Ok(()) => {}
                }
            }
        }
    }
    if failures.is_empty() {
        return Ok(played);
    }
    Err(told(&failures, played))
}

fn told(failures: &[String], played: usize) -> String {
    let count = failures.len();
    format!("{count} of {played} failed\n\n{}", failures.join("\n\n"))
}

/// Plays a case once.
pub(crate) fn play(
    case: &Case,
    version: Version,
    transport: Transport,
    net: &mut impl Net,
) -> Result<(), String> {
    let mut stage = Stage {
        net,
        version,
        speaks: case.speaks.clone(),
        transport,
        clients: BTreeMap::new(),
        bindings: Bindings::new(),
        addresses: BTreeMap::new(),
        sessions: BTreeSet::new(),
        topics: BTreeSet::new(),
        retains: false,
    };
    let mut outcome = Ok(());
    for (number, step) in case.steps(version).iter().enumerate() {
        if let Err(what) = stage.step(step) {
            let Case { file, name, .. } = case;
            let (version, number) = (version.name(), number + 1);
            let step = Value::Object(step.clone()).to_string();
            let step: String = step.chars().take(600).collect();
            outcome = Err(format!(
                "{file}: {name} ({version}, {transport:?}), step {number} {step}\n{what}"
            ));
            break;
        }
    }
    stage.clear();
    outcome
}

impl<N: Net> Stage<'_, N> {
    /// Ends everything that the case has left behind, so that the next one finds a clean server.
    fn clear(&mut self) {
        let mut clients = std::mem::take(&mut self.clients);
        for client in clients.values_mut().filter(|client| client.ended().is_none()) {
            if client.is_in {
                client.send(
                    self.net,
                    &Packet::new("DISCONNECT", &json!({})).encode(client.version()),
                    usize::MAX,
                );
                // What comes before the end was not asked for by the case.
                while let Ok(Some(_)) = client.next(self.net) {}
            }
            client.hang_up(self.net);
        }
        if !N::IS_KEPT {
            return;
        }
        for (account, client_id) in std::mem::take(&mut self.sessions) {
            let fields = json!({"account": account, "client_id": client_id});
            self.visit(&fields, &[]);
        }
        if self.retains {
            let topics = std::mem::take(&mut self.topics);
            let packets: Vec<Packet> = topics
                .iter()
                .filter(|topic| !topic.is_empty() && !topic.contains(['+', '#']))
                .map(|topic| Packet::new("PUBLISH", &json!({"topic": topic, "retain": true})))
                .collect();
            self.visit(&json!({"client_id": "sweeper"}), &packets);
        }
    }

    /// Logs in with a clean session, sends packets and leaves.
    fn visit(&mut self, connect: &Value, packets: &[Packet]) {
        let mut client = Client::open(self.net, self.transport, self.version);
        let mut fields = connect.as_object().unwrap().clone();
        self.complete_connect("sweeper", &mut fields);
        let connect = Packet {
            name: "CONNECT".to_owned(),
            fields,
        };
        client.send(self.net, &connect.encode(self.version), usize::MAX);
        let _connack = client.next(self.net);
        for packet in packets {
            client.send(self.net, &packet.encode(self.version), usize::MAX);
        }
        client.send(
            self.net,
            &Packet::new("DISCONNECT", &json!({})).encode(self.version),
            usize::MAX,
        );
        while let Ok(Some(_)) = client.next(self.net) {}
        client.hang_up(self.net);
    }

    /// The version that a client speaks.
    pub(super) fn version_of(&self, client: &str) -> Version {
        self.speaks.get(client).copied().unwrap_or(self.version)
    }

    /// Fills in what a case does not say of a CONNECT.
    pub(super) fn complete_connect(&mut self, client: &str, fields: &mut Map<String, Value>) {
        let account = fields.remove("account");
        let who = account
            .as_ref()
            .map_or("device", |account| account.as_str().unwrap());
        let account = self.net.account(who);
        fields.entry("client_id").or_insert_with(|| json!(client));
        fields.entry("user").or_insert_with(|| json!(account.name));
        fields.entry("password").or_insert_with(|| json!(account.secret));
        let client_id = String::from_utf8_lossy(&super::value::bytes(&fields["client_id"])).into_owned();
        self.addresses
            .insert(client.to_owned(), (account.name, client_id.clone()));
        self.sessions.insert((who.to_owned(), client_id));
    }
}
