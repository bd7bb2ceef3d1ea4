//! `nexus-loadgen`: open-loop load for MQTT and XMPP servers.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use loadgen::args::{Cli, Command};
use loadgen::report::merge::merge;
use loadgen::run::{Fault, execute};

/// Exit codes: 0 everything arrived once, in order and unaltered; 1 it did not, or the run failed; 2 wrong usage.
fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = io::stdout().lock();
    let result = match &cli.command {
        Command::Run(scenario) => execute(scenario, &mut out),
        Command::Merge { reports, files } => merge(reports, files, &mut out).map_err(Fault::Run),
    };
    match result {
        Ok(report) if report.clean => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(fault) => {
            let _ = writeln!(io::stderr(), "nexus-loadgen: {fault}");
            match fault {
                Fault::Usage(_) => ExitCode::from(2),
                Fault::Run(_) => ExitCode::FAILURE,
            }
        }
    }
}
