//! What is compared: one row per scenario, each with its contestants.

/// A server program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// mosquitto, anonymous.
    Mosquitto,
    /// `nexusd serve`, every connection authenticated.
    Nexus,
    /// A bare relay of the same bytes.
    Floor,
}

/// One server under one variant of the row's load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contestant {
    /// Its name in the report.
    pub(crate) label: &'static str,
    /// The program.
    pub(crate) kind: Kind,
    /// Load generator options beside the row's.
    pub(crate) extra: &'static [&'static str],
}

/// The listener that a row loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    /// MQTT over TCP; of a relay, its only one.
    Mqtt,
    /// WebSocket, which only Nexus has here.
    WebSocket,
}

/// What counts in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    /// What work costs, and how long it takes.
    Work,
    /// Memory.
    Memory,
    /// How fast all connections become ready.
    Readiness,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its name for `--only`.
    pub(crate) name: &'static str,
    /// What happens.
    pub(crate) title: &'static str,
    /// Scenario and options of the load generator; `COUNT` stands for `--count`, `MQTT` for the address of that
    /// listener.
    pub(crate) load: &'static [&'static str],
    /// Where the load goes.
    pub(crate) listener: Listener,
    /// Who takes part, in the order of each round.
    pub(crate) contestants: &'static [Contestant],
    /// What counts.
    pub(crate) counts: Counts,
    /// Load of the same form before that, behind which the server is started anew on what it has kept.
    pub(crate) before: Option<&'static [&'static str]>,
    /// Part of a run without `--only`.
    pub(crate) usual: bool,
}

const MOSQUITTO: Contestant = Contestant {
    label: "mosquitto",
    kind: Kind::Mosquitto,
    extra: &[],
};
const NEXUS: Contestant = Contestant {
    label: "nexus",
    kind: Kind::Nexus,
    extra: &[],
};
const NEXUS_V5: Contestant = Contestant {
    label: "nexus-v5-sender",
    kind: Kind::Nexus,
    extra: &["--version", "5"],
};
const NEXUS_CHANNEL: Contestant = Contestant {
    label: "nexus-channel-filter",
    kind: Kind::Nexus,
    extra: &["--filter", "sender"],
};
const FLOOR: Contestant = Contestant {
    label: "floor",
    kind: Kind::Floor,
    extra: &["--raw"],
};

const PEERS: &[Contestant] = &[MOSQUITTO, NEXUS];
const PEERS_AND_SENDER: &[Contestant] = &[MOSQUITTO, NEXUS, NEXUS_V5, NEXUS_CHANNEL];
const ALL: &[Contestant] = &[MOSQUITTO, NEXUS, FLOOR, NEXUS_V5, NEXUS_CHANNEL];

/// Every row. The names are those of the project's targets.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "P1",
        title: "100 pairs, 1 message in flight each, QoS 0",
        load: &["pairs", "--pairs", "100", "--window", "1"],
        listener: Listener::Mqtt,
        contestants: ALL,
        counts: Counts::Work,
        before: None,
        usual: true,
    },
    Row {
        name: "P2",
        title: "100 pairs, 16 messages in flight each, QoS 0",
        load: &["pairs", "--pairs", "100", "--window", "16"],
        listener: Listener::Mqtt,
        contestants: ALL,
        counts: Counts::Work,
        before: None,
        usual: true,
    },
    Row {
        name: "P3a",
        title: "fan-out 1 -> 100, 1 publish outstanding",
        load: &["fanout", "--subscribers", "100", "--window", "1"],
        listener: Listener::Mqtt,
        contestants: PEERS_AND_SENDER,
        counts: Counts::Work,
        before: None,
        usual: false,
    },
    Row {
        name: "P3b",
        title: "fan-out 1 -> 100, 16 publishes outstanding",
        load: &["fanout", "--subscribers", "100", "--window", "16"],
        listener: Listener::Mqtt,
        contestants: PEERS_AND_SENDER,
        counts: Counts::Work,
        before: None,
        usual: false,
    },
    Row {
        name: "P3c",
        title: "fan-out 1 -> 100, 64 publishes outstanding",
        load: &["fanout", "--subscribers", "100", "--window", "64"],
        listener: Listener::Mqtt,
        contestants: PEERS_AND_SENDER,
        counts: Counts::Work,
        before: None,
        usual: false,
    },
    Row {
        name: "P3d",
        title: "fan-out 1 -> 1000, 64 publishes outstanding",
        load: &["fanout", "--subscribers", "1000", "--window", "64"],
        listener: Listener::Mqtt,
        contestants: PEERS_AND_SENDER,
        counts: Counts::Work,
        before: None,
        usual: false,
    },
    Row {
        name: "P4",
        title: "fan-in 100 -> 1, 20 messages in flight each (2,000 in all)",
        load: &["fanin", "--publishers", "100", "--window", "20"],
        listener: Listener::Mqtt,
        contestants: PEERS_AND_SENDER,
        counts: Counts::Work,
        before: None,
        usual: false,
    },
    Row {
        name: "P5",
        title: "100 pairs, 16 messages in flight each, QoS 1",
        load: &["pairs", "--pairs", "100", "--window", "16", "--qos", "1"],
        listener: Listener::Mqtt,
        contestants: PEERS_AND_SENDER,
        counts: Counts::Work,
        before: None,
        usual: false,
    },
    Row {
        name: "P5q2",
        title: "100 pairs, 16 messages in flight each, QoS 2",
        load: &["pairs", "--pairs", "100", "--window", "16", "--qos", "2"],
        listener: Listener::Mqtt,
        contestants: PEERS_AND_SENDER,
        counts: Counts::Work,
        before: None,
        usual: false,
    },
    Row {
        name: "P7",
        title: "API round trip, MQTT requester and worker, 1 in flight",
        load: &[
            "api",
            "--requesters",
            "1",
            "--workers",
            "1",
            "--window",
            "1",
            "--app",
            "bench",
        ],
        listener: Listener::Mqtt,
        contestants: &[NEXUS],
        counts: Counts::Work,
        before: None,
        usual: true,
    },
    Row {
        name: "P6",
        title: "API round trip, MQTT requester and worker, 64 in flight",
        load: &["api", "--window", "64"],
        listener: Listener::Mqtt,
        contestants: &[NEXUS],
        counts: Counts::Work,
        before: None,
        usual: false,
    },
    Row {
        name: "P6x",
        title: "API round trip, XMPP requester and MQTT worker, 64 in flight",
        load: &[
            "api",
            "--protocol",
            "xmpp",
            "--worker-server",
            "MQTT",
            "--window",
            "64",
        ],
        listener: Listener::WebSocket,
        contestants: &[NEXUS],
        counts: Counts::Work,
        before: None,
        usual: false,
    },
    Row {
        name: "P7x",
        title: "API round trip, XMPP requester and MQTT worker, 1 in flight",
        load: &[
            "api",
            "--protocol",
            "xmpp",
            "--worker-server",
            "MQTT",
            "--window",
            "1",
        ],
        listener: Listener::WebSocket,
        contestants: &[NEXUS],
        counts: Counts::Work,
        before: None,
        usual: false,
    },
    Row {
        name: "P10",
        title: "connects: 16 at a time, CONNECT to CONNACK, then DISCONNECT",
        load: &["connect", "--concurrency", "16"],
        listener: Listener::Mqtt,
        contestants: PEERS,
        counts: Counts::Work,
        before: None,
        usual: true,
    },
    Row {
        name: "P11",
        title: "idle connections with one subscription each",
        load: &["idle", "--count", "COUNT", "--opening", "128"],
        listener: Listener::Mqtt,
        contestants: PEERS,
        counts: Counts::Memory,
        before: None,
        usual: true,
    },
    Row {
        name: "P11x",
        title: "idle XMPP sessions over WebSocket with one native subscription each",
        load: &[
            "idle",
            "--protocol",
            "xmpp",
            "--count",
            "COUNT",
            "--opening",
            "128",
        ],
        listener: Listener::WebSocket,
        contestants: &[NEXUS],
        counts: Counts::Memory,
        before: None,
        usual: false,
    },
    Row {
        name: "P11w",
        title: "idle MQTT connections over WebSocket with one subscription each",
        load: &["idle", "--ws", "--count", "COUNT", "--opening", "128"],
        listener: Listener::WebSocket,
        contestants: &[NEXUS],
        counts: Counts::Memory,
        before: None,
        usual: false,
    },
    Row {
        name: "P10f",
        title: "connect storm: all at once, each with a wildcard filter of its own of one shape",
        load: &["idle", "--count", "COUNT", "--opening", "128", "--filter", "wild"],
        listener: Listener::Mqtt,
        contestants: PEERS,
        counts: Counts::Readiness,
        before: None,
        usual: false,
    },
    Row {
        name: "P10r",
        title: "reconnect storm after a restart: every session is there, with its subscription",
        load: RETURNING,
        listener: Listener::Mqtt,
        contestants: PEERS,
        counts: Counts::Readiness,
        before: Some(LEAVING),
        usual: false,
    },
    Row {
        name: "P10rw",
        title: "the same over WebSocket",
        load: RETURNING_WS,
        listener: Listener::WebSocket,
        contestants: &[NEXUS],
        counts: Counts::Readiness,
        before: Some(LEAVING_WS),
        usual: false,
    },
    Row {
        name: "P4f",
        title: "telemetry: a fleet to one subscriber, 2,000 a second in all",
        load: &[
            "fanin",
            "--publishers",
            "COUNT",
            "--opening",
            "128",
            "--rate",
            "2000",
        ],
        listener: Listener::Mqtt,
        contestants: PEERS,
        counts: Counts::Work,
        before: None,
        usual: false,
    },
];

const LEAVING: &[&str] = &[
    "idle",
    "--count",
    "COUNT",
    "--opening",
    "128",
    "--run",
    "7",
    "--kept",
    "--qos",
    "1",
];
const RETURNING: &[&str] = &[
    "idle",
    "--count",
    "COUNT",
    "--opening",
    "128",
    "--run",
    "7",
    "--returning",
];
const LEAVING_WS: &[&str] = &[
    "idle",
    "--ws",
    "--count",
    "COUNT",
    "--opening",
    "128",
    "--run",
    "7",
    "--kept",
    "--qos",
    "1",
];
const RETURNING_WS: &[&str] = &[
    "idle",
    "--ws",
    "--count",
    "COUNT",
    "--opening",
    "128",
    "--run",
    "7",
    "--returning",
];

impl Row {
    /// The load generator's arguments, its placeholders filled in.
    pub(crate) fn arguments<'a>(load: &[&'static str], count: &'a str, mqtt: &'a str) -> Vec<&'a str> {
        let word = |word: &&'static str| match *word {
            "COUNT" => count,
            "MQTT" => mqtt,
            other => other,
        };
        load.iter().map(word).collect()
    }
}

/// The rows called `only`, or the usual ones.
///
/// # Errors
/// A sentence with the names there are.
pub(crate) fn select(only: &[String]) -> Result<Vec<&'static Row>, String> {
    if only.is_empty() {
        return Ok(ROWS.iter().filter(|row| row.usual).collect());
    }
    let find = |name: &String| {
        ROWS.iter()
            .find(|row| row.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
                format!("no row {name}; there are {}", names.join(", "))
            })
    };
    only.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn rows_are_chosen_by_name() {
        let names = |only: &[&str]| -> Result<Vec<&str>, String> {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            Ok(select(&only)?.iter().map(|row| row.name).collect())
        };
        assert_eq!(names(&["p2", "P1"]).unwrap(), ["P2", "P1"]);
        assert_eq!(names(&[]).unwrap(), ["P1", "P2", "P7", "P10", "P11"]);
        assert!(names(&["P99"]).unwrap_err().contains("P10"));
    }

    #[test]
    fn the_load_generator_takes_every_rows_options() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a s\n").unwrap();
        let accounts = file.path().to_str().unwrap();
        let loads = |row: &Row| row.before.into_iter().chain([row.load]);
        for (row, load) in ROWS
            .iter()
            .flat_map(|row| loads(row).map(move |load| (row, load)))
        {
            for contestant in row.contestants {
                let line = ["nexus-loadgen"]
                    .into_iter()
                    .chain(Row::arguments(load, "5", "127.0.0.1:2"))
                    .chain(contestant.extra.iter().copied());
                let server = ["--server", "127.0.0.1:1", "--accounts", accounts];
                let scenario = loadgen::args::Cli::try_parse_from(line.chain(server))
                    .unwrap()
                    .scenario;
                let settings = scenario.common().settings(1).unwrap();
                scenario.endpoints(settings.wire).unwrap();
            }
        }
    }
}
