//! The command line.

mod common;
mod day;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};

pub use common::{Common, Files};
pub use day::{Day, Means};

use crate::engine::Endpoint;
use crate::protocol::{Login, Wire};
use crate::scenario::mixed::Outline;

/// Load for MQTT, XMPP and NATS servers: open loop (latency from the planned send time) or closed loop.
#[derive(Debug, Parser)]
#[command(name = "nexus-loadgen", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What to do to a server, if anything.
    pub fn into_scenario(self) -> Option<ScenarioArgs> {
        match self.command {
            Command::Run(scenario) => Some(*scenario),
            Command::Merge { .. } => None,
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Something to a server.
    #[command(flatten)]
    Run(Box<ScenarioArgs>),
    /// Merge the reports (JSON) of generators that ran at the same time: exact percentiles over all of them.
    Merge {
        /// The reports.
        #[arg(required = true, num_args = 2..)]
        reports: Vec<PathBuf>,
        /// What is written besides the table.
        #[command(flatten)]
        files: Files,
    },
}

/// The scenarios.
#[derive(Debug, Subcommand)]
pub enum ScenarioArgs {
    /// Publisher/subscriber pairs, each pair on its own topic.
    Pairs {
        /// Number of pairs.
        #[arg(long, default_value_t = 100)]
        pairs: usize,
        /// Options of every scenario.
        #[command(flatten)]
        common: Common,
    },
    /// Publishers whose every message goes to many subscribers.
    Fanout {
        /// Subscribers of each topic.
        #[arg(long, default_value_t = 100)]
        subscribers: usize,
        /// Topics, with one publisher each.
        #[arg(long, default_value_t = 1)]
        topics: usize,
        /// Subscribers of each topic that stop reading when the run starts; only the others are measured.
        #[arg(long, default_value_t = 0)]
        stalled: usize,
        /// Options of every scenario.
        #[command(flatten)]
        common: Common,
    },
    /// Many publishers to one subscriber.
    Fanin {
        /// Publishers of each topic.
        #[arg(long, default_value_t = 100)]
        publishers: usize,
        /// Topics, with one subscriber each.
        #[arg(long, default_value_t = 1)]
        topics: usize,
        /// Options of every scenario.
        #[command(flatten)]
        common: Common,
    },
    /// Rooms of XMPP (XEP-0045): everybody in a room hears its speakers, they themselves included.
    Room {
        /// Rooms.
        #[arg(long, default_value_t = 1)]
        rooms: usize,
        /// Occupants of each room.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        occupants: u32,
        /// Those of them who speak.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        speakers: u32,
        /// Options of every scenario.
        #[command(flatten)]
        common: Common,
    },
    /// Direct messages of Nexus: a string to one worker by app and exact resource.
    Direct {
        /// Workers.
        #[arg(long, default_value_t = 100)]
        workers: usize,
        /// Those who send to each.
        #[arg(long, default_value_t = 1)]
        senders: usize,
        /// The app of the workers' accounts.
        #[arg(long, default_value = "bench")]
        app: String,
        /// Where workers connect, and what they speak.
        #[command(flatten)]
        there: Workers,
        /// Options of every scenario.
        #[command(flatten)]
        common: Common,
    },
    /// A described day: telemetry, commands and calls at once, open loop, each with a table of its own.
    Mixed {
        /// The description, TOML or JSON; without it the usual day.
        #[arg(long)]
        day: Option<PathBuf>,
        /// Another share of the rate for a part: NAME=N, relative to the others; 0 leaves it out.
        #[arg(long)]
        share: Vec<String>,
        /// Where the senders of parts with `web = true` connect, host:port; else where all do.
        #[arg(long)]
        web_server: Option<String>,
        /// What they speak there.
        #[arg(long, value_enum, default_value_t = Protocol::Xmpp)]
        web_protocol: Protocol,
        /// The app that is called and sent Direct messages; the accounts belong to it.
        #[arg(long, default_value = "bench")]
        app: String,
        /// Options of every scenario.
        #[command(flatten)]
        common: Common,
    },
    /// Connect, log in, disconnect, over and over.
    Connect {
        /// Attempts in flight over all threads.
        #[arg(long, default_value_t = 64)]
        concurrency: usize,
        /// Options of every scenario.
        #[command(flatten)]
        common: Common,
    },
    /// Hold connections with one subscription each; report the server's memory for each.
    Idle {
        /// Connections.
        #[arg(long, default_value_t = 1_000)]
        count: usize,
        /// Logged in and no more: nothing is subscribed to.
        #[arg(long)]
        bare: bool,
        /// Options of every scenario.
        #[command(flatten)]
        common: Common,
    },
    /// Requests to workers and their replies: over `$nexus/` control topics, or iq in `urn:nexus:1`.
    Api {
        /// Connections that request.
        #[arg(long, default_value_t = 1)]
        requesters: usize,
        /// Connections that answer.
        #[arg(long, default_value_t = 1)]
        workers: usize,
        /// Where workers connect, and what they speak.
        #[command(flatten)]
        there: Workers,
        /// The app that is called; the workers' accounts belong to it.
        #[arg(long, default_value = "bench")]
        app: String,
        /// The command that is called.
        #[arg(long, default_value = "echo")]
        cmd: String,
        /// Options of every scenario.
        #[command(flatten)]
        common: Common,
    },
}

impl ScenarioArgs {
    /// The options all scenarios have.
    pub fn common(&self) -> &Common {
        match self {
            Self::Pairs { common, .. }
            | Self::Fanout { common, .. }
            | Self::Fanin { common, .. }
            | Self::Room { common, .. }
            | Self::Direct { common, .. }
            | Self::Mixed { common, .. }
            | Self::Connect { common, .. }
            | Self::Idle { common, .. }
            | Self::Api { common, .. } => common,
        }
    }

    /// The listeners that are connected to; the workers', or the web pages', is the last one.
    ///
    /// # Errors
    /// A sentence, for a name that does not resolve or is missing.
    pub fn endpoints(&self, wire: Wire) -> Result<Vec<Endpoint>, String> {
        let common = self.common();
        let mut endpoints = vec![common.endpoint(wire)?];
        if let Self::Api { there, .. } | Self::Direct { there, .. } = self {
            let usual = match there.worker_server {
                Some(_) => Protocol::Mqtt,
                None => common.protocol,
            };
            let protocol = there.worker_protocol.unwrap_or(usual);
            endpoints.extend(common.worker_endpoint(protocol, there.worker_server.as_deref())?);
        }
        if let Self::Mixed {
            web_server: Some(server),
            web_protocol,
            ..
        } = self
        {
            endpoints.extend(common.worker_endpoint(*web_protocol, Some(server))?);
        }
        if let Some(other) = &common.other_server {
            if !matches!(
                self,
                Self::Pairs { .. } | Self::Fanout { .. } | Self::Fanin { .. }
            ) {
                return Err("--other-server is for pairs, fanout and fanin".into());
            }
            endpoints.push(common.other_endpoint(wire, other)?);
        }
        let relayed = matches!(
            self,
            Self::Pairs { .. } | Self::Fanout { .. } | Self::Fanin { .. } | Self::Api { .. }
        );
        if common.raw && !relayed {
            return Err("--raw is for pairs, fanout, fanin and api".into());
        }
        if common.starttls && !endpoints.iter().any(|there| there.wire.starts_tls()) {
            return Err("--starttls is for xmpp-tcp, which nothing speaks here".into());
        }
        Ok(endpoints)
    }

    /// The parts of a mixed load that goes to these endpoints.
    ///
    /// # Errors
    /// A sentence: what is wrong in its description.
    pub fn outlines(&self, endpoints: &[Endpoint]) -> Result<Vec<Outline>, String> {
        let Self::Mixed {
            day,
            share,
            app,
            common,
            ..
        } = self
        else {
            return Ok(Vec::new());
        };
        let mut described = Day::read(day.as_deref())?;
        described.change(share)?;
        let at = |place: usize| endpoints.get(place).map(|there| (there.wire, place));
        let usual = at(0).ok_or("no endpoint")?;
        described.outlines(&Means {
            rate_hz: common.rate.ok_or("mixed is an open loop: it needs --rate")?,
            app,
            usual,
            web: at(endpoints.len() - 1).unwrap_or(usual),
        })
    }

    /// The scenario's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pairs { .. } => "pairs",
            Self::Fanout { .. } => "fanout",
            Self::Fanin { .. } => "fanin",
            Self::Room { .. } => "room",
            Self::Direct { .. } => "direct",
            Self::Mixed { .. } => "mixed",
            Self::Connect { .. } => "connect",
            Self::Idle { .. } => "idle",
            Self::Api { .. } => "api",
        }
    }
}

/// Where workers are, if not where the others are.
#[derive(clap::Args, Debug)]
pub struct Workers {
    /// What workers speak; MQTT by default at `--worker-server`, else what the others speak.
    #[arg(long, value_enum)]
    pub worker_protocol: Option<Protocol>,
    /// Where workers connect, host:port; needed where they speak another protocol than the others.
    #[arg(long)]
    pub worker_server: Option<String>,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// MQTT over TCP or WebSocket.
    Mqtt,
    /// XMPP over WebSocket, with SASL PLAIN.
    Xmpp,
    /// XMPP over TCP, with SASL PLAIN.
    XmppTcp,
    /// NATS over TCP, anonymous: to compare with.
    Nats,
}

impl Protocol {
    /// Whether it is XMPP.
    const fn is_xmpp(self) -> bool {
        matches!(self, Self::Xmpp | Self::XmppTcp)
    }

    /// The usual path of its WebSocket.
    const fn ws_path(self) -> &'static str {
        match self {
            Self::Mqtt | Self::XmppTcp | Self::Nats => "/mqtt",
            Self::Xmpp => "/ws",
        }
    }
}

/// How a subscriber names the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FilterKind {
    /// The topic itself.
    Plain,
    /// `$nexus/channel/+/+/+/+/<topic>`: deliveries carry their sender.
    Sender,
    /// `<topic>/+`: a filter of its own for each, all of one shape. Of `idle` only.
    Wild,
}

fn resolve(option: &str, server: &str) -> Result<SocketAddr, String> {
    let mut found = server
        .to_socket_addrs()
        .map_err(|error| format!("{option} {server}: {error}"))?;
    found
        .next()
        .ok_or_else(|| format!("{option} {server}: no address"))
}

/// Reads lines `account secret`; empty lines and lines that start with `#` are skipped.
///
/// # Errors
/// A sentence with file and line.
pub fn read_accounts(path: &Path) -> Result<Vec<Login>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut logins = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((account, secret)) = line.split_once(char::is_whitespace) else {
            return Err(format!(
                "{}:{}: expected `account secret`",
                path.display(),
                number + 1
            ));
        };
        logins.push(Login {
            account: account.into(),
            secret: secret.trim().into(),
        });
    }
    if logins.is_empty() {
        return Err(format!("{}: no accounts", path.display()));
    }
    Ok(logins)
}

#[cfg(test)]
mod tests;
