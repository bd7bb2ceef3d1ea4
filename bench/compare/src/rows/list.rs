//! The rows and who takes part in them.

use super::{CPU, Contestant, Counts, Kind, Row, Target, cpu};

const MOSQUITTO: Contestant = Contestant::new("mosquitto", Kind::Mosquitto, &[]);
const NEXUS: Contestant = Contestant::new("nexus", Kind::Nexus, &[]);
const NEXUS_V5: Contestant = Contestant::new("nexus-v5-sender", Kind::Nexus, &["--version", "5"]);
const NEXUS_CHANNEL: Contestant =
    Contestant::new("nexus-channel-filter", Kind::Nexus, &["--filter", "sender"]);
const NEXUS_TWO: Contestant = Contestant::new("nexus-2-shards", Kind::Nexus, &[]).with_shards(2);
const TOGETHER: Contestant =
    Contestant::new("nexus-2-together", Kind::Nexus, &["--other-server", "SHARD1"]).with_shards(2);
const ACROSS: Contestant = Contestant::new(
    "nexus-2-across",
    Kind::Nexus,
    &["--other-server", "SHARD1", "--across"],
)
.with_shards(2);
/// It does not look for work before it sleeps.
const NEXUS_SLEEPS: Contestant =
    Contestant::new("nexus-sleeps", Kind::Nexus, &[]).with_settings("[shards]\nspin_us = 0\n");
const STALLED: Contestant = Contestant::new("nexus-one-stalled", Kind::Nexus, &["--stalled", "1"]);
const FLOOR: Contestant = Contestant::floor(&["--pairs"]);
const FLOOR_API: Contestant = Contestant::floor(&["--facing", "1"]);
const FLOOR_API_8: Contestant = Contestant::floor(&["--facing", "8"]);
const FLOOR_TO_100: Contestant = Contestant::floor(&["--groups", "100:1"]);
const FLOOR_TO_1000: Contestant = Contestant::floor(&["--groups", "1000:1"]);
/// With the length of a raw message: those of several publishers must stay whole.
const FLOOR_FROM_100: Contestant = Contestant::floor(&["--groups", "1:100:124"]);
const EJABBERD: Contestant = Contestant::new("ejabberd", Kind::Ejabberd, &[]);
const NATS: Contestant = Contestant::new("nats", Kind::Nats, &["--protocol", "nats"]);

const API_PEERS: &[Contestant] = &[NATS, NEXUS, NEXUS_V5, FLOOR_API];
const LATENCY_PEERS: &[Contestant] = &[NATS, NEXUS, NEXUS_SLEEPS, NEXUS_V5, FLOOR_API];
const FAN_PEERS: &[Contestant] = &[MOSQUITTO, NATS, NEXUS, NEXUS_V5, NEXUS_CHANNEL, FLOOR_TO_100];
const FAN_1000_PEERS: &[Contestant] = &[MOSQUITTO, NATS, NEXUS, NEXUS_V5, NEXUS_CHANNEL, FLOOR_TO_1000];
const FANIN_PEERS: &[Contestant] = &[MOSQUITTO, NATS, NEXUS, NEXUS_V5, NEXUS_CHANNEL, FLOOR_FROM_100];
const XMPP_PEERS: &[Contestant] = &[EJABBERD, NEXUS];
const PEERS: &[Contestant] = &[MOSQUITTO, NEXUS];
const PEERS_AND_SENDER: &[Contestant] = &[MOSQUITTO, NEXUS, NEXUS_V5, NEXUS_CHANNEL];
const ALL: &[Contestant] = &[MOSQUITTO, NEXUS, FLOOR, NEXUS_V5, NEXUS_CHANNEL];

/// A target for a figure itself.
const fn at_most(metric: &'static str, most: f64) -> Target {
    Target {
        of: "nexus",
        metric,
        against: None,
        most,
    }
}

/// A target for a part of another's figure.
const fn part(of: &'static str, metric: &'static str, against: &'static str, most: f64) -> Target {
    Target {
        of,
        metric,
        against: Some(against),
        most,
    }
}

/// Every row. The names are those of the project's targets.
pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "P1",
        "100 pairs, 1 message in flight each, QoS 0",
        &["pairs", "--pairs", "100", "--window", "1"],
        ALL,
    )
    .usual()
    .targets(&[cpu("mosquitto", 0.55), cpu("floor", 1.15)]),
    Row::new(
        "P2",
        "100 pairs, 16 messages in flight each, QoS 0",
        &["pairs", "--pairs", "100", "--window", "16"],
        ALL,
    )
    .usual()
    .targets(&[cpu("mosquitto", 0.15), cpu("floor", 2.0)]),
    Row::new(
        "P3a",
        "fan-out 1 -> 100, 1 publish outstanding",
        &["fanout", "--subscribers", "100", "--window", "1"],
        FAN_PEERS,
    )
    .targets(&[cpu("mosquitto", 0.5), cpu("floor", 1.15)]),
    Row::new(
        "P3b",
        "fan-out 1 -> 100, 16 publishes outstanding",
        &["fanout", "--subscribers", "100", "--window", "16"],
        FAN_PEERS,
    ),
    Row::new(
        "P3c",
        "fan-out 1 -> 100, 64 publishes outstanding",
        &["fanout", "--subscribers", "100", "--window", "64"],
        FAN_PEERS,
    )
    .targets(&[cpu("mosquitto", 0.04), cpu("nats", 1.0), at_most(CPU, 0.2)]),
    Row::new(
        "P3d",
        "fan-out 1 -> 1000, 64 publishes outstanding",
        &["fanout", "--subscribers", "1000", "--window", "64"],
        FAN_1000_PEERS,
    )
    .targets(&[cpu("mosquitto", 0.04), cpu("nats", 1.0), at_most(CPU, 0.2)]),
    Row::new(
        "P4",
        "fan-in 100 -> 1, 20 messages in flight each (2,000 in all)",
        &["fanin", "--publishers", "100", "--window", "20"],
        FANIN_PEERS,
    )
    .targets(&[cpu("mosquitto", 0.25), cpu("floor", 1.5)]),
    Row::new(
        "P5",
        "100 pairs, 16 messages in flight each, QoS 1",
        &["pairs", "--pairs", "100", "--window", "16", "--qos", "1"],
        PEERS_AND_SENDER,
    )
    .targets(&[cpu("mosquitto", 0.3)]),
    Row::new(
        "P5q2",
        "100 pairs, 16 messages in flight each, QoS 2",
        &["pairs", "--pairs", "100", "--window", "16", "--qos", "2"],
        PEERS_AND_SENDER,
    )
    .targets(&[cpu("mosquitto", 0.3)]),
    Row::new(
        "P7",
        "API round trip, MQTT requester and worker, 1 in flight",
        &[
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
        LATENCY_PEERS,
    )
    .usual()
    .targets(&[part("nexus", "p50 us", "nats", 0.8)]),
    Row::new(
        "P6",
        "API round trip, MQTT requester and worker, 64 in flight",
        &["api", "--window", "64"],
        API_PEERS,
    )
    .targets(&[cpu("nats", 1.0)]),
    Row::new(
        "P6c",
        "API round trip, 64 MQTT requesters and 8 workers, 1 in flight each",
        &["api", "--requesters", "64", "--workers", "8", "--window", "1"],
        &[NATS, NEXUS, NEXUS_V5],
    )
    .targets(&[cpu("nats", 1.0)]),
    Row::new(
        "P6x",
        "API round trip, XMPP requester and MQTT worker, 64 in flight",
        &[
            "api",
            "--protocol",
            "xmpp",
            "--worker-server",
            "MQTT",
            "--window",
            "64",
        ],
        &[NEXUS],
    )
    .over_web_socket(),
    Row::new(
        "P7x",
        "API round trip, XMPP requester and MQTT worker, 1 in flight",
        &[
            "api",
            "--protocol",
            "xmpp",
            "--worker-server",
            "MQTT",
            "--window",
            "1",
        ],
        &[NEXUS],
    )
    .over_web_socket(),
    Row::new(
        "P8",
        "API, open loop at 70 % of what one shard does at most: 8 MQTT requesters, 8 workers",
        &["api", "--requesters", "8", "--workers", "8", "--rate", "RATE"],
        &[NEXUS, NEXUS_TWO, FLOOR_API_8],
    )
    .counting(Counts::Tail)
    .paced(
        &["api", "--requesters", "8", "--workers", "8", "--window", "16"],
        0.7,
    )
    .targets(&[
        part("nexus", "p99.9 us", "floor", 3.0),
        part("nexus-2-shards", "p99.9 us", "floor", 3.0),
    ]),
    Row::new(
        "P9",
        "100 rooms of 2, 1 message in flight each, heard by both",
        &[
            "room",
            "--protocol",
            "xmpp",
            "--rooms",
            "100",
            "--occupants",
            "2",
            "--window",
            "1",
        ],
        XMPP_PEERS,
    )
    .over_web_socket()
    .targets(&[cpu("ejabberd", 0.1)]),
    Row::new(
        "P9w",
        "100 rooms of 2, 16 messages in flight each, heard by both",
        &[
            "room",
            "--protocol",
            "xmpp",
            "--rooms",
            "100",
            "--occupants",
            "2",
            "--window",
            "16",
        ],
        XMPP_PEERS,
    )
    .over_web_socket(),
    Row::new(
        "P9r",
        "one room of 100, 1 message in flight, heard by all",
        &["room", "--protocol", "xmpp", "--window", "1"],
        XMPP_PEERS,
    )
    .over_web_socket()
    .targets(&[cpu("ejabberd", 0.1)]),
    Row::new(
        "P9rw",
        "one room of 100, 16 messages in flight, heard by all",
        &["room", "--protocol", "xmpp", "--window", "16"],
        XMPP_PEERS,
    )
    .over_web_socket(),
    Row::new(
        "P9n",
        "100 pairs of native publishers and subscribers of XMPP, 1 message in flight each",
        &["pairs", "--protocol", "xmpp", "--pairs", "100", "--window", "1"],
        &[NEXUS],
    )
    .over_web_socket(),
    Row::new(
        "P10",
        "connects: 16 at a time, CONNECT to CONNACK, then DISCONNECT",
        &["connect", "--concurrency", "16"],
        PEERS,
    )
    .usual()
    .targets(&[part("nexus", CPU, "mosquitto", 1.0)]),
    Row::new(
        "P11",
        "idle connections with one subscription each",
        &["idle", "--count", "COUNT", "--opening", "128"],
        PEERS,
    )
    .counting(Counts::Memory)
    .usual()
    .targets(&[at_most("VmRSS B/conn", 500.0)]),
    Row::new(
        "P11x",
        "idle XMPP sessions over WebSocket with one native subscription each",
        &[
            "idle",
            "--protocol",
            "xmpp",
            "--count",
            "COUNT",
            "--opening",
            "128",
        ],
        &[NEXUS],
    )
    .over_web_socket()
    .counting(Counts::Memory),
    Row::new(
        "P11b",
        "idle XMPP sessions over WebSocket, available and no more",
        &[
            "idle",
            "--protocol",
            "xmpp",
            "--bare",
            "--count",
            "COUNT",
            "--opening",
            "128",
        ],
        XMPP_PEERS,
    )
    .over_web_socket()
    .counting(Counts::Memory)
    .targets(&[at_most("VmRSS B/conn", 1_200.0)]),
    Row::new(
        "P11s",
        "idle XMPP sessions over WebSocket that may be resumed",
        &[
            "idle",
            "--protocol",
            "xmpp",
            "--bare",
            "--resume",
            "--count",
            "COUNT",
            "--opening",
            "128",
        ],
        XMPP_PEERS,
    )
    .over_web_socket()
    .counting(Counts::Memory)
    .targets(&[at_most("VmRSS B/conn", 1_500.0)]),
    Row::new(
        "P11w",
        "idle MQTT connections over WebSocket with one subscription each",
        &["idle", "--ws", "--count", "COUNT", "--opening", "128"],
        &[NEXUS],
    )
    .over_web_socket()
    .counting(Counts::Memory),
    Row::new(
        "P13",
        "100 pairs, 16 messages in flight each, on one shard and on two: within a shard, and across",
        &["pairs", "--pairs", "100", "--window", "16"],
        &[NEXUS, TOGETHER, ACROSS],
    )
    .at_first_shard()
    .targets(&[
        part("nexus-2-together", CPU, "nexus", 1.1),
        part("nexus-2-across", CPU, "nexus", 1.4),
    ]),
    Row::new(
        "P13a",
        "the same with 1 message in flight each",
        &["pairs", "--pairs", "100", "--window", "1"],
        &[NEXUS, TOGETHER, ACROSS],
    )
    .at_first_shard(),
    Row::new(
        "P15",
        "fan-out 1 -> 100, 500 publishes a second, one of the subscribers does not read",
        &["fanout", "--subscribers", "100", "--rate", "500", "--spin"],
        &[NEXUS, STALLED],
    )
    .counting(Counts::Tail)
    .targets(&[part("nexus-one-stalled", "p99 us", "nexus", 1.15)]),
    Row::new(
        "P10f",
        "connect storm: all at once, each with a wildcard filter of its own of one shape",
        &["idle", "--count", "COUNT", "--opening", "128", "--filter", "wild"],
        PEERS,
    )
    .counting(Counts::Readiness),
    Row::new(
        "P10r",
        "reconnect storm after a restart: every session is there, with its subscription",
        RETURNING,
        PEERS,
    )
    .counting(Counts::Readiness)
    .after(LEAVING),
    Row::new("P10rw", "the same over WebSocket", RETURNING_WS, &[NEXUS])
        .over_web_socket()
        .counting(Counts::Readiness)
        .after(LEAVING_WS),
    Row::new(
        "P4f",
        "telemetry: a fleet to one subscriber, 2,000 a second in all",
        &[
            "fanin",
            "--publishers",
            "COUNT",
            "--opening",
            "128",
            "--rate",
            "2000",
        ],
        PEERS,
    ),
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
