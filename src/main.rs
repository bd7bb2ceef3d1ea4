//! `nexusd`: the Nexus daemon and its command line.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use nexus::daemon::cli::{self, Cli, CliError, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Store(command) => cli::run(command),
        Command::Serve(_) | Command::Demo(_) | Command::Check(_) => Err(CliError::new(
            "this build has the commands on the store alone; use app, account, secret or service",
        )),
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
