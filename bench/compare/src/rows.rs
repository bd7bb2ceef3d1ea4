//! What is compared: one row per scenario, each with its contestants.

mod list;

pub(crate) use list::ROWS;

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
    /// Load generator options beside the row's.
    pub(crate) extra: &'static [&'static str],
}

/// The listener that a row loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    /// MQTT over TCP; of a relay, its only one.
    Mqtt,
    /// WebSocket; that of Nexus and ejabberd.
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
            usual: false,
        }
    }

    const fn over_web_socket(mut self) -> Self {
        self.listener = Listener::WebSocket;
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
            }
        }
    }
}
