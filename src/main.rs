//! `nexusd`: the Nexus daemon and its command line.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
