//! The commands that start something: `serve`, `demo`, `check`.

use std::path::PathBuf;

use super::{CheckArgs, CliError, DemoArgs, ListenArgs, ServeArgs};
use crate::config::Config;
use crate::daemon::serve::read_config;
use crate::daemon::{Fault, check, demo, serve};

impl From<Fault> for CliError {
    fn from(fault: Fault) -> Self {
        Self::new(fault.to_string())
    }
}

/// Runs `nexusd serve`.
pub fn run_serve(args: ServeArgs) -> Result<(), CliError> {
    let config = configuration(args.config.as_ref(), args.data_dir.as_ref(), &args.listen)?;
    let reread = move || configuration(args.config.as_ref(), args.data_dir.as_ref(), &args.listen);
    Ok(serve::serve(&config, reread)?)
}

/// Runs `nexusd demo`.
pub fn run_demo(args: &DemoArgs) -> Result<(), CliError> {
    let config = configuration(None, args.data_dir.as_ref(), &args.listen)?;
    Ok(demo::demo(config, args.data_dir.is_some(), args.once)?)
}

/// Runs `nexusd check`.
pub fn run_check(args: &CheckArgs) -> Result<(), CliError> {
    Ok(check::check(args.config.as_ref())?)
}

/// The configuration file, and what the flags say instead.
fn configuration(
    file: Option<&PathBuf>,
    data_dir: Option<&PathBuf>,
    listen: &ListenArgs,
) -> Result<Config, Fault> {
    let mut config = read_config(file)?;
    if let Some(dir) = data_dir {
        config.data_dir.clone_from(dir);
    }
    if !listen.domains.is_empty() {
        config.domains.clone_from(&listen.domains);
    }
    if let Some(shards) = listen.shards {
        config.shards.count = shards;
    }
    for (address, given) in [
        (&mut config.listen.mqtt, listen.mqtt),
        (&mut config.listen.ws, listen.ws),
        (&mut config.listen.http, listen.http),
    ] {
        *address = given.unwrap_or(*address);
    }
    for (address, given) in [
        (&mut config.listen.mqtts, listen.mqtts),
        (&mut config.listen.wss, listen.wss),
        (&mut config.listen.xmpp, listen.xmpp),
        (&mut config.listen.xmpps, listen.xmpps),
        (&mut config.listen.bridge, listen.bridge),
    ] {
        *address = given.or(*address);
    }
    config.tls.self_signed |= listen.tls.is_some();
    config.complete();
    config
        .check()
        .map_err(|e| Fault::new(format!("command line: {e}")))?;
    Ok(config)
}
