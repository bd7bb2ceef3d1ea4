//! A scale model of Nexus for more cores than a desk has: what the order of a turn (`shards/src/shard.rs`) and the costs of its
//! steps come to on 8, 32 and 128 shards, in virtual time. Prints the tables that ARCHITECTURE.md quotes.
//!
//! What is modelled: a shard drains the mesh, takes what its sockets received, delivers, pushes one parcel for each shard that
//! gets something, rings for those that sleep and enters the kernel once. The costs are constants, each with its source. Nothing
//! is measured here: the tables say what follows if the costs stay as they are. Caches, NUMA, hyper-threads, the network card,
//! a kernel that many cores share, and clients' own time are not in it. Equal seeds give equal tables.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a program for a desk: it indexes by its own numbers and prints its tables, and no peer is near"
)]

mod costs;
mod memory;
mod shape;
mod turns;

#[cfg(test)]
mod tests;

use costs::{CONTROL, TOLD};
use memory::{Interest, Memory, RINGS_OF_A_PAIR, imbalance};
use shape::{Load, Shape};
use turns::Model;

/// Shards of the tables.
const SHARDS: [usize; 4] = [1, 8, 32, 128];
/// Connections of the tables.
const FLEETS: [f64; 3] = [1e6, 5e6, 10e6];

/// What else goes over shards: its name, the flows of a shard, and milliseconds to look at.
const OTHERS: [(&str, Load, usize, f64); 6] = [
    (
        "fan-out to 1,000, bursts of 64, one a shard",
        Load::Fan {
            burst: 64,
            receivers: 1_000,
        },
        1,
        600.0,
    ),
    (
        "fan-out to 1,000, 1 at a time, one a shard",
        Load::Fan {
            burst: 1,
            receivers: 1_000,
        },
        1,
        300.0,
    ),
    (
        "API, 100 requesters a shard, 1 in flight",
        Load::Calls(1),
        100,
        45.0,
    ),
    (
        "API, 100 requesters a shard, 16 in flight",
        Load::Calls(16),
        100,
        45.0,
    ),
    (
        "Direct by its home, 100 senders a shard, 1 in flight",
        Load::Direct(1),
        100,
        45.0,
    ),
    (
        "login with an exact filter that all are told of, 16 a shard",
        Load::Logins,
        16,
        45.0,
    ),
];

/// What a run came to, a shard.
struct Summary {
    /// Deliveries, answers or logins a second, and the CPU of one in µs.
    rate: f64,
    cpu: f64,
    /// Part of the time that a shard was busy, and the busiest over the mean.
    busy: f64,
    skew: f64,
    letters_a_parcel: f64,
    parcels_each: f64,
    bells: f64,
    /// Mean turn in µs.
    turn: f64,
    /// Median and 99th percentile of the delay in µs, of what stays on a shard and of what crosses.
    delays: [[f64; 2]; 2],
}

impl Summary {
    fn of(shape: Shape, load: Load, flows: usize, ms: f64) -> Self {
        let mut run = Model::new(shape, load, flows, ms * 1e6).run();
        let (n, seconds) = (shape.shards as f64, ms / 1e3 * 2.0 / 3.0);
        let busy: Vec<f64> = run.shards.iter().map(|shard| shard.busy / 1e9).collect();
        let all: f64 = busy.iter().sum();
        let tally = &mut run.tally;
        let [done, letters, parcels] =
            [tally.delivered, tally.letters, tally.parcels].map(|count| count as f64);
        let delays = std::mem::take(&mut tally.delays).map(|mut delays| {
            delays.sort_by(f64::total_cmp);
            [0.5, 0.99].map(|part| {
                delays
                    .get((delays.len() as f64 * part) as usize)
                    .map_or(0.0, |ns| ns / 1e3)
            })
        });
        Self {
            rate: done / seconds / n,
            cpu: all * 1e6 / done,
            busy: all / seconds / n,
            skew: busy.iter().copied().fold(0.0, f64::max) * n / all,
            letters_a_parcel: letters / parcels.max(1.0),
            parcels_each: parcels / done,
            bells: tally.bells as f64 / seconds / n,
            turn: all * 1e6 / tally.turns as f64,
            delays,
        }
    }
}

/// The head of a table.
fn head(title: &str, columns: &[&str]) {
    println!(
        "\n### {title}\n\n| {} |\n|{}",
        columns.join(" | "),
        "---|".repeat(columns.len())
    );
}

fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

/// A number with so many digits as say something.
fn short(number: f64) -> String {
    match number {
        0.0 => "—".into(),
        n if n >= 100_000.0 => format!("{:.2} M", n / 1e6),
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n if n >= 0.1 => format!("{n:.2}"),
        n => format!("{n:.3}"),
    }
}

fn main() {
    calibration();
    closed();
    open();
    others();
    connections();
    memory();
    everywhere();
    remedies();
}

/// What was measured on one shard, and what the model has for it: name, CPU of one in µs, load, connections.
fn calibrated() -> Vec<(&'static str, f64, f64)> {
    let one = |load, flows, ms| Summary::of(Shape::of(1), load, flows, ms).cpu;
    let fan = |burst, receivers| one(Load::Fan { burst, receivers }, 1, 600.0);
    vec![
        ("100 pairs, 1 in flight", 5.76, one(Load::Pairs(1), 100, 60.0)),
        ("100 pairs, 16 in flight", 0.73, one(Load::Pairs(16), 100, 60.0)),
        ("API round trip, 1 in flight", 48.4, one(Load::Calls(1), 1, 60.0)),
        (
            "API round trip, 64 in flight",
            2.53,
            one(Load::Calls(64), 1, 60.0),
        ),
        (
            "2,000 messages a second, alone (P4f: of 18,000)",
            30.2,
            one(Load::Paced(5e5 * 100.0), 100, 3_000.0),
        ),
        ("fan-out 1 to 1,000, bursts of 64", 0.057, fan(64, 1_000)),
        ("fan-out 1 to 100, bursts of 64", 0.033, fan(64, 100)),
        ("room of 100, 1 in flight (P9r: XMPP)", 4.03, fan(1, 100)),
        (
            "login, 16 at a time, less the control thread",
            29.3,
            one(Load::Logins, 16, 60.0),
        ),
    ]
}

fn calibration() {
    head(
        "The model against what was measured on one shard, µs of CPU",
        &["what", "measured", "model", "ratio"],
    );
    for (what, measured, model) in calibrated() {
        row(&[
            what.into(),
            format!("{measured}"),
            short(model),
            format!("{:.2}", model / measured),
        ]);
    }
    // On a machine that was busy with other things, three rounds: 0.92 to 1.19. Nothing is fitted to it.
    let two = Summary::of(Shape::of(2), Load::Pairs(16), 50, 60.0).cpu;
    let model = two / Summary::of(Shape::of(1), Load::Pairs(16), 100, 60.0).cpu;
    let what = "100 pairs at random on two shards, 16 in flight, over one shard";
    row(&[
        what.into(),
        "1.08".into(),
        short(model),
        format!("{:.2}", model / 1.08),
    ]);
}

/// Pairs at random shards, as fast as they go.
fn closed() {
    let columns = [
        "in flight",
        "shards",
        "messages/s a shard",
        "in all",
        "CPU a message, µs",
        "of one shard",
        "messages a parcel",
        "parcels a message",
        "turn, µs",
    ];
    head("100 pairs a shard at random shards, closed loop", &columns);
    for window in [1, 16] {
        let mut alone = 0.0;
        for shards in SHARDS {
            let run = Summary::of(Shape::of(shards), Load::Pairs(window), 100, 45.0);
            if shards == 1 {
                alone = run.cpu;
            }
            row(&[
                window.to_string(),
                shards.to_string(),
                short(run.rate),
                short(run.rate * shards as f64),
                short(run.cpu),
                format!("{:.2}x", run.cpu / alone),
                short(run.letters_a_parcel),
                short(run.parcels_each),
                short(run.turn),
            ]);
        }
    }
}

/// Pairs at their own pace.
fn open() {
    let columns = [
        "messages/s a shard",
        "shards",
        "busy",
        "busiest/mean",
        "CPU a message, µs",
        "messages a parcel",
        "bells/s a shard",
        "p50, p99 within, µs",
        "p50, p99 across, µs",
        "crossing adds, p50",
    ];
    head(
        "100 pairs a shard at random shards, open loop, each message by itself",
        &columns,
    );
    for rate in [2_000.0, 20_000.0, 100_000.0] {
        for shards in SHARDS {
            let ms = if shards == 128 { 90.0 } else { 300.0 };
            let run = Summary::of(Shape::of(shards), Load::Paced(1e9 / rate * 100.0), 100, ms);
            let [within, across] = run.delays;
            row(&[
                short(rate),
                shards.to_string(),
                format!("{:.0} %", run.busy * 100.0),
                format!("{:.2}", run.skew),
                short(run.cpu),
                short(run.letters_a_parcel),
                short(run.bells),
                within.map(short).join(", "),
                across.map(short).join(", "),
                if shards == 1 {
                    "—".into()
                } else {
                    format!("{:.0}", across[0] - within[0])
                },
            ]);
        }
    }
}

/// What [`OTHERS`] cost.
fn others() {
    let columns = [
        "what",
        "shards",
        "done/s a shard",
        "CPU of one, µs",
        "of one shard",
        "letters a parcel",
        "p50, p99 across, µs",
    ];
    head("Fan-out, API, Direct and logins, closed loop", &columns);
    for (what, load, flows, ms) in OTHERS {
        let mut alone = 0.0;
        for shards in SHARDS {
            let run = Summary::of(Shape::of(shards), load, flows, ms);
            if shards == 1 {
                alone = run.cpu;
            }
            row(&[
                what.into(),
                shards.to_string(),
                short(run.rate),
                short(run.cpu),
                format!("{:.2}x", run.cpu / alone),
                short(run.letters_a_parcel),
                run.delays[1].map(short).join(", "),
            ]);
        }
    }
}

fn connections() {
    head(
        "Connections on the fullest shard over the mean",
        &["connections", "8 shards", "32 shards", "128 shards"],
    );
    for connections in [10_000, 1_000_000] {
        let cells = [8, 32, 128].map(|shards| format!("{:.3}", imbalance(connections, shards)));
        row(&[vec![connections.to_string()], cells.to_vec()].concat());
    }
}

fn memory() {
    let columns = [
        "connections",
        "shards",
        "own, GB",
        "homes",
        "others' filters",
        "rings",
        "kept at most",
        "daemon, GB",
        "a connection, B",
        "kernel, GB",
    ];
    head(
        "Memory, each connection with an exact filter of its own",
        &columns,
    );
    for connections in FLEETS {
        for shards in [8, 32, 128] {
            let memory = Memory::of(connections, shards, Interest::Everywhere);
            let parts = [
                memory.own,
                memory.homes,
                memory.interest,
                memory.rings,
                memory.kept,
                memory.daemon(),
            ];
            let mut cells = vec![format!("{} M", connections / 1e6), shards.to_string()];
            cells.extend(parts.map(|bytes| format!("{:.2}", bytes / 1e9)));
            cells.push(format!("{:.0}", memory.daemon() / connections));
            cells.push(format!("{:.1}", memory.kernel / 1e9));
            row(&cells);
        }
    }
}

/// What every shard does and keeps for all others, however many there are, and what one thread does for all shards.
fn everywhere() {
    // Nanoseconds of one on each shard, and its bytes there. Measured with routers alone on a busy machine: a hundred thousand
    // to a million filters, workers of one listener each. Loads and retained messages are estimated.
    let each = [
        ("exact filters that come or go", TOLD, "22–36"),
        ("filters with a wildcard", 1_414.0, "118–138"),
        ("workers with one listener", 8_889.0, "758"),
        (
            "changes of a worker's load, 100 a second of a busy one at most (estimated)",
            100.0,
            "—",
        ),
        ("retained messages (estimated)", 1_000.0, "16–19"),
    ];
    head(
        "What every shard does for all of them",
        &[
            "what",
            "on each shard, µs",
            "a tenth of each shard: a second, in all",
            "bytes on each shard",
        ],
    );
    for (what, ns, bytes) in each {
        row(&[what.into(), short(ns / 1e3), short(0.1e9 / ns), bytes.into()]);
    }
    let login = Summary::of(Shape::of(8), Load::Logins, 16, 45.0).rate;
    let most = 1e9 / CONTROL;
    println!(
        "\nThe control thread decides {} logins a second at most: what {:.0} shards take in. The storage thread's commits carry \
         59,600 puts a second, whatever the number of shards (measured, batches of 1,024).",
        short(most),
        most / login
    );
}

fn remedies() {
    let of = Shape::of(128);
    let variants = [
        ("as it is", of),
        (
            "letters and parcels three times as dear",
            Shape { dear: 3.0, ..of },
        ),
        ("looks only where something was pushed", Shape { look: 0.0, ..of }),
        (
            "letters go along rows of 16, then columns",
            Shape { row: 16, ..of },
        ),
        ("turns not closer than 200 µs", Shape { pause: 2e5, ..of }),
        ("turns not closer than 1 ms", Shape { pause: 1e6, ..of }),
        (
            "half of the pairs on one shard by choice",
            Shape { together: 50, ..of },
        ),
    ];
    let columns = [
        "128 shards",
        "1 in flight: CPU a message, µs",
        "parcels a message",
        "20,000/s a shard: CPU, µs",
        "bells/s a shard",
        "p50, p99 across, µs",
        "rings, GB",
    ];
    head(
        "What could be done about small parcels, bells and rings",
        &columns,
    );
    for (what, shape) in variants {
        let fast = Summary::of(shape, Load::Pairs(1), 100, 45.0);
        let slow = Summary::of(shape, Load::Paced(1e9 / 20_000.0 * 100.0), 100, 90.0);
        row(&[
            what.into(),
            short(fast.cpu),
            short(fast.parcels_each),
            short(slow.cpu),
            short(slow.bells),
            slow.delays[1].map(short).join(", "),
            format!("{:.2}", 128.0 * shape.peers() as f64 * RINGS_OF_A_PAIR / 1e9),
        ]);
    }
    filters();
}

/// What could be done about the filters of others. To publish by way of the channel's home is what Direct messages do.
fn filters() {
    let columns = [
        "how",
        "8 shards, GB",
        "32 shards",
        "128 shards",
        "a connection, B",
        "128 shards: a login, µs of CPU",
        "a message, 1 in flight, µs",
    ];
    head(
        "What could be done about the filters of others, 10 M connections",
        &columns,
    );
    let of = Shape::of(128);
    let ways = [
        ("every hash on every shard (as it is)", Interest::Everywhere),
        ("fingerprints of two bytes on every shard", Interest::Fingerprints),
        ("each hash on the home shard of its channel", Interest::AtHome),
    ];
    for (what, how) in ways {
        let at_home = how == Interest::AtHome;
        let publish = if at_home { Load::Direct(1) } else { Load::Pairs(1) };
        let bytes = [8, 32, 128].map(|shards| Memory::of(10e6, shards, how).interest);
        let mut cells = vec![what.to_owned()];
        cells.extend(bytes.map(|bytes| format!("{:.2}", bytes / 1e9)));
        cells.push(format!("{:.0}", bytes[2] / 10e6));
        cells.push(short(
            Summary::of(Shape { at_home, ..of }, Load::Logins, 16, 45.0).cpu,
        ));
        cells.push(short(Summary::of(of, publish, 100, 45.0).cpu));
        row(&cells);
    }
}
