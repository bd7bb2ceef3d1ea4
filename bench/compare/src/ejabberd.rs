//! ejabberd as Debian packages it, run by Erlang itself: no node name, no port mapper, nothing outside the directory.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::servers::{Started, free_port, spawn, wait_listening};

/// One for each connection: it tells all resources of an account of one another.
const ACCOUNTS: usize = 20_000;
/// Where the package keeps its libraries.
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// Rooms show addresses and keep no history, as those of Nexus; no traffic is shaped.
fn config(port: u16) -> String {
    format!(
        "hosts: [localhost]\n\
         loglevel: error\n\
         auth_method: [anonymous]\n\
         anonymous_protocol: login_anon\n\
         allow_multiple_connections: true\n\
         listen:\n  \
           -\n    \
             port: {port}\n    \
             ip: \"127.0.0.1\"\n    \
             backlog: 1024\n    \
             module: ejabberd_http\n    \
             request_handlers:\n      \
               /ws: ejabberd_http_ws\n\
         modules:\n  \
           mod_disco: {{}}\n  \
           mod_stream_mgmt: {{}}\n  \
           mod_muc:\n    \
             access_create: all\n    \
             history_size: 0\n    \
             default_room_options:\n      \
               anonymous: false\n"
    )
}

/// Starts it in `directory`.
///
/// # Errors
/// A sentence: what did not start, and why.
pub(crate) fn start(erl: &Path, directory: &Path) -> Result<Started, String> {
    let port = free_port()?;
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text)
            .map(|()| path)
            .map_err(|error| error.to_string())
    };
    let config = write("ejabberd.yml", &config(port))?;
    let mut lines = String::new();
    for number in 0..ACCOUNTS {
        // Writing to memory cannot fail.
        let _ = writeln!(lines, "bench-{number:024x}-owner any");
    }
    let accounts = write("accounts", &lines)?;
    let mut command = Command::new(erl);
    // Schedulers that do not spin: what is counted is work. The numbers of processes and ports are its control script's,
    // raised for the fleet.
    command.args(["+sbwt", "none", "+K", "true", "+P", "1000000", "+Q", "65536"]);
    command.args(["-noinput", "-mnesia", "dir"]);
    command.arg(format!("\"{}\"", directory.join("mnesia").display()));
    command.args(["-s", "ejabberd"]);
    command.env("EJABBERD_CONFIG_PATH", config);
    command.env("EJABBERD_LOG_PATH", directory.join("ejabberd.log"));
    command.env("ERL_LIBS", LIBRARIES);
    command.env("HOME", directory);
    command.stdout(Stdio::null());
    let child = wait_listening(spawn(&mut command)?, port)?;
    let address = format!("127.0.0.1:{port}");
    Ok(Started {
        child,
        web_socket: Some(address.clone()),
        of_shards: Vec::new(),
        address,
        accounts: Some(accounts),
    })
}
