//! What is compared: one row per scenario, each with its contestants.

mod list;

pub(crate) use list::ROWS;

use crate::parts::PARTS;

/// A server program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// mosquitto, anonymous.
    Mosquitto,
    /// ejabberd, which takes any name and password.
    Ejabberd,
    /// nats-server, anonymous.
    Nats,
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
    /// Load generator options beside the row's; the same placeholders.
    pub(crate) extra: &'static [&'static str],
    /// Of Nexus: shards. More than one have the cores of the server and of the load.
    pub(crate) shards: usize,
    /// Of Nexus: what its configuration says beside the listeners (TOML).
    pub(crate) settings: &'static str,
    /// Of the relay: how its connections are joined.
    pub(crate) joined: &'static [&'static str],
}

impl Contestant {
    const fn new(label: &'static str, kind: Kind, extra: &'static [&'static str]) -> Self {
        Self {
            label,
            kind,
            extra,
            shards: 1,
            settings: "",
            joined: &["--pairs"],
        }
    }

    const fn with_shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    const fn with_settings(mut self, settings: &'static str) -> Self {
        self.settings = settings;
        self
    }

    /// The relay, whose connections are joined in a way of their own.
    const fn floor(joined: &'static [&'static str]) -> Self {
        let mut floor = Self::new("floor", Kind::Floor, &["--raw"]);
        floor.joined = joined;
        floor
    }
}

/// The listener that a row loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    /// MQTT over TCP; of a relay, its only one.
    Mqtt,
    /// WebSocket; that of Nexus and ejabberd.
    WebSocket,
    /// MQTT over TCP at the first shard of Nexus.
    FirstShard,
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
    /// What work costs, and how long the slowest of it takes.
    Tail,
}

/// What a row has to show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Whose figure.
    pub(crate) of: &'static str,
    /// The heading of the metric.
    pub(crate) metric: &'static str,
    /// Who it is divided by; none: the figure itself counts.
    pub(crate) against: Option<&'static str>,
    /// The most it may be.
    pub(crate) most: f64,
}

/// A target for the CPU time of Nexus, in parts of another's.
const fn cpu(against: &'static str, most: f64) -> Target {
    Target {
        of: "nexus",
        metric: CPU,
        against: Some(against),
        most,
    }
}

/// The heading of CPU time for a unit of work.
const CPU: &str = "CPU us/unit";

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
    /// Load whose rate, times so much, is what `RATE` stands for in each round; Nexus does it.
    pub(crate) paced: Option<(&'static [&'static str], f64)>,
    /// What it has to show.
    pub(crate) targets: &'static [Target],
    /// Part of a run without `--only`.
    pub(crate) usual: bool,
}

/// What placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filling<'a> {
    /// `COUNT`.
    pub(crate) count: &'a str,
    /// `MQTT`.
    pub(crate) mqtt: &'a str,
    /// `SHARD1`: the port of the second shard.
    pub(crate) second_shard: &'a str,
    /// `RATE`.
    pub(crate) rate: &'a str,
}

impl Row {
    const fn new(
        name: &'static str,
        title: &'static str,
        load: &'static [&'static str],
        contestants: &'static [Contestant],
    ) -> Self {
        Self {
            name,
            title,
            load,
            listener: Listener::Mqtt,
            contestants,
            counts: Counts::Work,
            before: None,
            paced: None,
            targets: &[],
            usual: false,
        }
    }

    const fn over_web_socket(mut self) -> Self {
        self.listener = Listener::WebSocket;
        self
    }

    const fn at_first_shard(mut self) -> Self {
        self.listener = Listener::FirstShard;
        self
    }

    const fn paced(mut self, by: &'static [&'static str], share: f64) -> Self {
        self.paced = Some((by, share));
        self
    }

    const fn targets(mut self, targets: &'static [Target]) -> Self {
        self.targets = targets;
        self
    }

    const fn counting(mut self, counts: Counts) -> Self {
        self.counts = counts;
        self
    }

    const fn after(mut self, load: &'static [&'static str]) -> Self {
        self.before = Some(load);
        self
    }

    const fn usual(mut self) -> Self {
        self.usual = true;
        self
    }

    /// The load generator's arguments, their placeholders filled in.
    pub(crate) fn arguments<'a>(load: &[&'static str], filling: &Filling<'a>) -> Vec<&'a str> {
        let word = |word: &&'static str| match *word {
            "COUNT" => filling.count,
            "MQTT" => filling.mqtt,
            "SHARD1" => filling.second_shard,
            "RATE" => filling.rate,
            other => other,
        };
        load.iter().map(word).collect()
    }
}

/// The rows called `only`, all of them if it is `all`, or the usual ones.
///
/// # Errors
/// A sentence with the names there are, those of [`PARTS`] among them.
pub(crate) fn select(only: &[String]) -> Result<Vec<&'static Row>, String> {
    if only.is_empty() {
        return Ok(ROWS.iter().filter(|row| row.usual).collect());
    }
    if matches!(only, [all] if all == "all") {
        return Ok(ROWS.iter().collect());
    }
    let find = |name: &String| {
        ROWS.iter()
            .find(|row| row.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                let rows = ROWS.iter().map(|row| row.name);
                let names: Vec<_> = rows.chain(PARTS.iter().map(|part| part.name)).collect();
                format!("no row {name}; there are {}", names.join(", "))
            })
    };
    only.iter().map(find).collect()
}

/// Refuses labels that no contestant of any row has.
pub(crate) fn check_labels(labels: &[String]) -> Result<(), String> {
    let mut all: Vec<&str> = ROWS
        .iter()
        .flat_map(|row| row.contestants)
        .map(|c| c.label)
        .collect();
    all.sort_unstable();
    all.dedup();
    match labels.iter().find(|label| !all.contains(&label.as_str())) {
        Some(unknown) => Err(format!(
            "there is no contestant {unknown}; there are {}",
            all.join(", ")
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use loadgen::protocol::Wire;

    #[test]
    fn rows_are_chosen_by_name() {
        let names = |only: &[&str]| -> Result<Vec<&str>, String> {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            Ok(select(&only)?.iter().map(|row| row.name).collect())
        };
        assert_eq!(names(&["p2", "P1"]).unwrap(), ["P2", "P1"]);
        assert_eq!(names(&[]).unwrap(), ["P1", "P2", "P7", "P10", "P11"]);
        assert_eq!(names(&["all"]).unwrap().len(), ROWS.len());
        let said = names(&["P99"]).unwrap_err();
        for known in ["P10", "P12", "P14"] {
            assert!(said.split([' ', ',']).any(|word| word == known), "{said}");
        }
    }

    #[test]
    fn contestants_that_nobody_knows_are_refused() {
        let labels = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(check_labels(&labels("floor,nexus-2-shards")), Ok(()));
        let said = check_labels(&labels("floor,mosquito")).unwrap_err();
        assert!(
            said.contains("no contestant mosquito;") && said.contains("mosquitto"),
            "{said}"
        );
    }

    #[test]
    fn targets_are_of_contestants_and_metrics_that_there_are() {
        for row in ROWS {
            let labels: Vec<_> = row.contestants.iter().map(|c| c.label).collect();
            for target in row.targets {
                let names = [Some(target.of), target.against];
                assert!(
                    names.iter().flatten().all(|name| labels.contains(name)),
                    "{}: {names:?}",
                    row.name
                );
                let metrics = crate::table::metrics(row);
                assert!(
                    metrics.iter().any(|metric| metric.name == target.metric),
                    "{}: {}",
                    row.name,
                    target.metric
                );
            }
        }
    }

    #[test]
    fn the_load_generator_takes_every_rows_options() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a s\n").unwrap();
        let accounts = file.path().to_str().unwrap();
        let loads = |row: &Row| {
            let paced = row.paced.map(|(load, _)| load);
            row.before.into_iter().chain(paced).chain([row.load])
        };
        let filling = Filling {
            count: "5",
            mqtt: "127.0.0.1:2",
            second_shard: "127.0.0.1:3",
            rate: "7",
        };
        for (row, load) in ROWS
            .iter()
            .flat_map(|row| loads(row).map(move |load| (row, load)))
        {
            for contestant in row.contestants {
                let line = ["nexus-loadgen"]
                    .into_iter()
                    .chain(Row::arguments(load, &filling))
                    .chain(Row::arguments(contestant.extra, &filling));
                let accounts: &[&str] = match contestant.kind {
                    Kind::Nexus | Kind::Ejabberd => &["--accounts", accounts],
                    Kind::Mosquitto | Kind::Nats | Kind::Floor => &[],
                };
                let server = ["--server", "127.0.0.1:1"];
                let scenario =
                    loadgen::args::Cli::try_parse_from(line.chain(server).chain(accounts.iter().copied()))
                        .unwrap()
                        .into_scenario()
                        .unwrap();
                let settings = scenario.common().settings(1).unwrap();
                scenario.endpoints(settings.wire).unwrap();
                assert_eq!(
                    messages_kept_whole(contestant, settings.wire),
                    Ok(()),
                    "{} {}",
                    row.name,
                    contestant.label
                );
            }
        }
    }

    /// A relay that joins several publishers to one subscriber has to know how long their messages are.
    fn messages_kept_whole(contestant: &Contestant, wire: Wire) -> Result<(), String> {
        let groups = match contestant.joined {
            ["--groups", groups] => groups.split(':').collect::<Vec<_>>(),
            _ => return Ok(()),
        };
        match (groups.as_slice(), wire) {
            ([_, "1"], Wire::Raw { .. }) => Ok(()),
            ([_, _, bytes], Wire::Raw { frame_bytes, .. }) if *bytes == frame_bytes.to_string() => Ok(()),
            _ => Err(format!("{groups:?} does not suit {wire:?}")),
        }
    }
}
