//! The command line of `nexusd`. Names, output and exit codes are part of the contract: scripts rely on them.
//!
//! Commands on the store print one JSON value on standard output (a table with `--human`), work while a
//! daemon runs, and take effect there within a second. They fail with one line on standard error (what, why,
//! what to do) and exit code 1; wrong usage is exit code 2.

mod account;
mod app;
mod output;
mod parse;
mod secret;
mod service;
mod start;
mod target;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::control::{RecordError, StoreFault};

pub use account::AccountCommand;
pub use app::AppCommand;
pub use secret::SecretCommand;
pub use service::ServiceCommand;
pub use start::{run_check, run_demo, run_serve};
pub use target::StoreArgs;

/// `nexusd`.
#[derive(Debug, Parser)]
#[command(name = "nexusd", version, about = "The real-time network of the QE platform")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `nexusd` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon.
    Serve(ServeArgs),
    /// Run a throw-away daemon with a sample worker, a web block and a device, and show them talking.
    Demo(DemoArgs),
    /// Check configuration and machine; every finding comes with its remedy.
    Check(CheckArgs),
    /// Work on the store.
    #[command(flatten)]
    Store(StoreCommand),
}

/// Commands on the store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Apps and what they allow.
    App(AppCommand),
    /// Accounts: what logs in.
    Account(AccountCommand),
    /// Secrets: issued, shown again, revoked.
    Secret(SecretCommand),
    /// Services: the right of a user to call an app's workers.
    Service(ServiceCommand),
}

/// Addresses to listen on, domains and shards. A port of 0 means any free port.
#[derive(Clone, Debug, Default, Args)]
pub struct ListenArgs {
    /// A virtual domain; may be given several times.
    #[arg(long = "domain", value_name = "NAME")]
    pub domains: Vec<String>,
    /// How many shards to run; by default one per core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub shards: Option<u16>,
    /// MQTT over TCP.
    #[arg(long, value_name = "ADDR", value_parser = parse::address)]
    pub mqtt: Option<SocketAddr>,
    /// MQTT over TLS.
    #[arg(long, value_name = "ADDR", value_parser = parse::address)]
    pub mqtts: Option<SocketAddr>,
    /// WebSocket.
    #[arg(long, value_name = "ADDR", value_parser = parse::address)]
    pub ws: Option<SocketAddr>,
    /// WebSocket over TLS.
    #[arg(long, value_name = "ADDR", value_parser = parse::address)]
    pub wss: Option<SocketAddr>,
    /// XMPP over TCP, with STARTTLS where there is a certificate.
    #[arg(long, value_name = "ADDR", value_parser = parse::address)]
    pub xmpp: Option<SocketAddr>,
    /// XMPP over TLS.
    #[arg(long, value_name = "ADDR", value_parser = parse::address)]
    pub xmpps: Option<SocketAddr>,
    /// Metrics and health.
    #[arg(long, value_name = "ADDR", value_parser = parse::address)]
    pub http: Option<SocketAddr>,
    /// The QE bridge: credentials and workers over HTTP.
    #[arg(long, value_name = "ADDR", value_parser = parse::address)]
    pub bridge: Option<SocketAddr>,
    /// Makes a certificate for development, kept in the data directory.
    #[arg(long, value_name = "self-signed")]
    pub tls: Option<TlsArg>,
}

/// What `--tls` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TlsArg {
    /// A certificate that nobody has signed.
    SelfSigned,
}

/// `nexusd serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the store is.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to listen.
    #[command(flatten)]
    pub listen: ListenArgs,
}

/// `nexusd demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// End after the exchange; exit code 0 means that all of it worked.
    #[arg(long)]
    pub once: bool,
    /// Where to make the store; by default in a directory that goes away with the demo.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to listen.
    #[command(flatten)]
    pub listen: ListenArgs,
}

/// `nexusd check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Why a command failed: one line that says what, why and what to do.
#[derive(Debug)]
pub struct CliError(String);

impl CliError {
    /// An error with this line.
    pub fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever a cause may contain.
        for (place, line) in self.0.lines().enumerate() {
            f.write_str(if place > 0 { " " } else { "" })?;
            f.write_str(line)?;
        }
        Ok(())
    }
}

impl std::error::Error for CliError {}

impl From<RecordError> for CliError {
    fn from(error: RecordError) -> Self {
        Self(error.to_string())
    }
}

impl From<StoreFault> for CliError {
    fn from(fault: StoreFault) -> Self {
        Self(fault.to_string())
    }
}

/// Runs a command on the store and prints its outcome.
pub fn run(command: StoreCommand) -> Result<(), CliError> {
    let (target, output) = match command {
        StoreCommand::App(command) => command.run()?,
        StoreCommand::Account(command) => command.run()?,
        StoreCommand::Secret(command) => command.run()?,
        StoreCommand::Service(command) => command.run()?,
    };
    output.print(target.human)
}
