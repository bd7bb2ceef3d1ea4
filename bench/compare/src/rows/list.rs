//! The rows and who takes part in them.

use super::{Contestant, Counts, Kind, Row};

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

const EJABBERD: Contestant = Contestant {
    label: "ejabberd",
    kind: Kind::Ejabberd,
    extra: &[],
};

const NATS: Contestant = Contestant {
    label: "nats",
    kind: Kind::Nats,
    extra: &["--protocol", "nats"],
};

const API_PEERS: &[Contestant] = &[NATS, NEXUS, NEXUS_V5];
const FAN_PEERS: &[Contestant] = &[MOSQUITTO, NATS, NEXUS, NEXUS_V5, NEXUS_CHANNEL];
const XMPP_PEERS: &[Contestant] = &[EJABBERD, NEXUS];
const PEERS: &[Contestant] = &[MOSQUITTO, NEXUS];
const PEERS_AND_SENDER: &[Contestant] = &[MOSQUITTO, NEXUS, NEXUS_V5, NEXUS_CHANNEL];
const ALL: &[Contestant] = &[MOSQUITTO, NEXUS, FLOOR, NEXUS_V5, NEXUS_CHANNEL];

/// Every row. The names are those of the project's targets.
pub(crate) const ROWS: &[Row] = &[
    Row::new(
        "P1",
        "100 pairs, 1 message in flight each, QoS 0",
        &["pairs", "--pairs", "100", "--window", "1"],
        ALL,
    )
    .usual(),
    Row::new(
        "P2",
        "100 pairs, 16 messages in flight each, QoS 0",
        &["pairs", "--pairs", "100", "--window", "16"],
        ALL,
    )
    .usual(),
    Row::new(
        "P3a",
        "fan-out 1 -> 100, 1 publish outstanding",
        &["fanout", "--subscribers", "100", "--window", "1"],
        FAN_PEERS,
    ),
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
    ),
    Row::new(
        "P3d",
        "fan-out 1 -> 1000, 64 publishes outstanding",
        &["fanout", "--subscribers", "1000", "--window", "64"],
        FAN_PEERS,
    ),
    Row::new(
        "P4",
        "fan-in 100 -> 1, 20 messages in flight each (2,000 in all)",
        &["fanin", "--publishers", "100", "--window", "20"],
        FAN_PEERS,
    ),
    Row::new(
        "P5",
        "100 pairs, 16 messages in flight each, QoS 1",
        &["pairs", "--pairs", "100", "--window", "16", "--qos", "1"],
        PEERS_AND_SENDER,
    ),
    Row::new(
        "P5q2",
        "100 pairs, 16 messages in flight each, QoS 2",
        &["pairs", "--pairs", "100", "--window", "16", "--qos", "2"],
        PEERS_AND_SENDER,
    ),
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
        API_PEERS,
    )
    .usual(),
    Row::new(
        "P6",
        "API round trip, MQTT requester and worker, 64 in flight",
        &["api", "--window", "64"],
        API_PEERS,
    ),
    Row::new(
        "P6c",
        "API round trip, 64 MQTT requesters and 8 workers, 1 in flight each",
        &["api", "--requesters", "64", "--workers", "8", "--window", "1"],
        API_PEERS,
    ),
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
    .over_web_socket(),
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
    .over_web_socket(),
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
    .usual(),
    Row::new(
        "P11",
        "idle connections with one subscription each",
        &["idle", "--count", "COUNT", "--opening", "128"],
        PEERS,
    )
    .counting(Counts::Memory)
    .usual(),
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
    .counting(Counts::Memory),
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
    .counting(Counts::Memory),
    Row::new(
        "P11w",
        "idle MQTT connections over WebSocket with one subscription each",
        &["idle", "--ws", "--count", "COUNT", "--opening", "128"],
        &[NEXUS],
    )
    .over_web_socket()
    .counting(Counts::Memory),
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
