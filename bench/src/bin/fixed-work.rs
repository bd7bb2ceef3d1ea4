//! Does work that is always the same, for tools that count what it takes: `fixed-work NAME COUNT`; without a name it prints
//! those there are. `valgrind --tool=callgrind fixed-work mqtt 2000`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an instrument, not part of the daemon"
)]

use std::process::ExitCode;

use nexus_bench::PAYLOAD;
use nexus_bench::work::Work;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        Work::names().for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let count = arguments.next().and_then(|count| count.parse().ok());
    match (Work::named(&name, PAYLOAD.len()), count) {
        (Some(mut work), Some(count)) => {
            println!("{}", work.repeat(count));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: fixed-work NAME COUNT");
            ExitCode::FAILURE
        }
    }
}
