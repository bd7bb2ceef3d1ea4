//! `nexusd`: the Nexus daemon and its command line.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use nexus::daemon::cli::{self, Cli, Command};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("NEXUS_LOG").unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Told on the same stream that cannot be written: the thread that logs would panic, and SIGTERM would go unheard.
        .log_internal_errors(false)
        .init();
    let done = match Cli::parse().command {
        Command::Store(command) => cli::run(command),
        Command::Serve(args) => cli::run_serve(args),
        Command::Demo(args) => cli::run_demo(&args),
        Command::Check(args) => cli::run_check(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error closed there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "nexusd: {error}");
            ExitCode::from(1)
        }
    }
}
