//! Servers under test: started on one core with a fresh directory, stopped when dropped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use loadgen::clock::{SECOND_NS, now_ns, sleep_until};
use tempfile::TempDir;

use crate::ejabberd;
use crate::rows::{Contestant, Kind};

/// A server that is not ready within this time has failed.
const READY_NS_MAX: u64 = 20 * SECOND_NS;
/// Time to end after SIGTERM.
const STOP_NS_MAX: u64 = 15 * SECOND_NS;
/// Accounts that connections use in turn.
const ACCOUNTS: usize = 16;

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// mosquitto.
    pub(crate) mosquitto: PathBuf,
    /// Erlang's `erl`, which runs ejabberd.
    pub(crate) erl: PathBuf,
    /// nats-server.
    pub(crate) nats: PathBuf,
    /// nexusd.
    pub(crate) nexusd: PathBuf,
    /// The bare relay.
    pub(crate) floor: PathBuf,
}

impl Programs {
    /// The program of a kind.
    pub(crate) fn of(&self, kind: Kind) -> &Path {
        match kind {
            Kind::Mosquitto => &self.mosquitto,
            Kind::Ejabberd => &self.erl,
            Kind::Nats => &self.nats,
            Kind::Nexus => &self.nexusd,
            Kind::Floor => &self.floor,
        }
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// host:port of its MQTT listener, or of its only one.
    pub(crate) address: String,
    /// host:port of its WebSocket listener.
    pub(crate) web_socket: Option<String>,
    /// host:port of MQTT at each of its shards, where they have ports of their own.
    pub(crate) of_shards: Vec<String>,
    /// File of accounts, where connections must log in.
    pub(crate) accounts: Option<PathBuf>,
    contestant: Contestant,
    directory: TempDir,
}

impl Server {
    /// Starts a server pinned to `core`; the calling thread goes on on `own_core`.
    ///
    /// # Errors
    /// A sentence: what did not start, and why.
    pub(crate) fn start(
        contestant: &Contestant,
        programs: &Programs,
        core: usize,
        own_core: usize,
    ) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| format!("temporary directory: {error}"))?;
        let Started {
            child,
            address,
            web_socket,
            of_shards,
            accounts,
        } = start(contestant, programs, (core, own_core), directory.path())?;
        Ok(Self {
            child,
            address,
            web_socket,
            of_shards,
            accounts,
            contestant: *contestant,
            directory,
        })
    }

    /// Stops it and starts it anew on what it has kept; its addresses may change.
    ///
    /// # Errors
    /// A sentence: what did not start, and why.
    pub(crate) fn restart(
        &mut self,
        programs: &Programs,
        core: usize,
        own_core: usize,
    ) -> Result<(), String> {
        self.stop();
        let started = start(
            &self.contestant,
            programs,
            (core, own_core),
            self.directory.path(),
        )?;
        self.child = started.child;
        self.address = started.address;
        self.web_socket = started.web_socket;
        self.of_shards = started.of_shards;
        Ok(())
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Server {
    fn stop(&mut self) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // Fails only if it has ended already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline_ns = now_ns() + STOP_NS_MAX;
        while now_ns() < deadline_ns {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep_until(now_ns() + SECOND_NS / 100);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server in `directory` on the first of the cores; the calling thread goes on on the second.
fn start(
    contestant: &Contestant,
    programs: &Programs,
    (core, own_core): (usize, usize),
    directory: &Path,
) -> Result<Started, String> {
    let program = programs.of(contestant.kind);
    // Threads and children inherit the mask, so nothing of the server ever runs elsewhere.
    if contestant.shards > 1 {
        run_on(&[core, own_core])?;
    } else {
        run_on(&[core])?;
    }
    let started = match contestant.kind {
        Kind::Mosquitto => mosquitto(program, directory),
        Kind::Ejabberd => ejabberd::start(program, directory),
        Kind::Nats => nats(program),
        Kind::Nexus => nexus(program, directory, contestant),
        Kind::Floor => floor(program, core, contestant.joined),
    };
    run_on(&[own_core])?;
    started
}

/// Confines the calling thread, and what it starts, to these cores.
fn run_on(cores: &[usize]) -> Result<(), String> {
    let mut set = rustix::thread::CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    rustix::thread::sched_setaffinity(None, &set).map_err(|error| format!("cannot run on {cores:?}: {error}"))
}

pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) web_socket: Option<String>,
    pub(crate) of_shards: Vec<String>,
    pub(crate) accounts: Option<PathBuf>,
}

impl Started {
    /// A server with one listener and no accounts.
    fn plain(child: Child, address: String) -> Self {
        Self {
            child,
            address,
            web_socket: None,
            of_shards: Vec::new(),
            accounts: None,
        }
    }
}

pub(crate) fn spawn(command: &mut Command) -> Result<Child, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start {program}: {error}"))
}

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}

/// So many loopback ports in a row that were free a moment ago.
fn free_ports(count: usize) -> Result<Range<u16>, String> {
    for _ in 0..100 {
        let first = free_port()?;
        let last = u16::try_from(count)
            .ok()
            .and_then(|count| first.checked_add(count));
        let Some(end) = last else { continue };
        if (first..end).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(first..end);
        }
    }
    Err(format!("there are no {count} free ports in a row"))
}

fn mosquitto(program: &Path, directory: &Path) -> Result<Started, String> {
    let port = free_port()?;
    let config = directory.join("mosquitto.conf");
    // What is kept is written when it stops: rows without sessions that are kept pay nothing for it.
    let kept = directory.display();
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {kept}/\n\
         autosave_interval 0\nuser root\nlog_dest stderr\nlog_type error\n"
    );
    fs::write(&config, text).map_err(|error| error.to_string())?;
    let child = spawn(Command::new(program).arg("-c").arg(&config).stdout(Stdio::null()))?;
    let child = wait_listening(child, port)?;
    Ok(Started::plain(child, format!("127.0.0.1:{port}")))
}

fn nats(program: &Path) -> Result<Started, String> {
    let port = free_port()?;
    let mut command = Command::new(program);
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = wait_listening(spawn(&mut command)?, port)?;
    Ok(Started::plain(child, format!("127.0.0.1:{port}")))
}

fn floor(program: &Path, core: usize, joined: &[&str]) -> Result<Started, String> {
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new(program);
    command
        .args(["--listen", &address, "--core", &core.to_string()])
        .args(joined)
        .stdout(Stdio::null());
    let child = wait_listening(spawn(&mut command)?, port)?;
    Ok(Started::plain(child, address))
}

/// Waits until `port` listens. Looks at the system's table instead of connecting: a relay that pairs connections by
/// order of arrival would pair the probe.
pub(crate) fn wait_listening(mut child: Child, port: u16) -> Result<Child, String> {
    let deadline_ns = now_ns() + READY_NS_MAX;
    while now_ns() < deadline_ns {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("the server ended at once: {status}"));
        }
        if fs::read_to_string("/proc/net/tcp").is_ok_and(|table| listens(&table, port)) {
            return Ok(child);
        }
        sleep_until(now_ns() + SECOND_NS / 100);
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(format!(
        "the server did not listen on port {port} in {} s",
        READY_NS_MAX / SECOND_NS
    ))
}

/// True if a `/proc/net/tcp` table shows a listener (state 0A) on `port`.
fn listens(table: &str, port: u16) -> bool {
    let local = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next().is_some_and(|address| address.ends_with(&local)) && fields.nth(1) == Some("0A")
    })
}

fn nexus(program: &Path, directory: &Path, contestant: &Contestant) -> Result<Started, String> {
    let shards = contestant.shards;
    let data = directory.join("data");
    let admin = |arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .arg("--data-dir")
            .arg(&data)
            .output()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(format!(
            "nexusd {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    };
    let accounts = directory.join("accounts");
    if !accounts.exists() {
        admin(&["app", "add", "bench"])?;
        add_accounts(&accounts, &admin)?;
    }
    let ports = free_ports(shards)?;
    let config = directory.join("nexus.toml");
    let first = ports.start;
    let settings = contestant.settings;
    let text = format!("[listen]\nmqtt_of_shards = \"127.0.0.1:{first}\"\n{settings}");
    fs::write(&config, text).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .args(["serve", "--shards", &shards.to_string()])
        .arg("--config")
        .arg(&config)
        .arg("--data-dir")
        .arg(&data);
    for listener in ["--mqtt", "--ws", "--xmpp", "--http"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    let mut child = spawn(command.stdout(Stdio::piped()))?;
    match ready_addresses(&mut child) {
        Ok((address, web_socket)) => Ok(Started {
            child,
            address,
            web_socket: Some(web_socket),
            of_shards: ports.map(|port| format!("127.0.0.1:{port}")).collect(),
            accounts: Some(accounts),
        }),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

/// Runs an administrative command of the server; what it printed.
type Admin<'a> = dyn Fn(&[&str]) -> Result<Vec<u8>, String> + 'a;

/// Makes accounts and writes them down, a line each.
fn add_accounts(path: &Path, admin: &Admin<'_>) -> Result<(), String> {
    let mut file = File::create(path).map_err(|error| error.to_string())?;
    for number in 0..ACCOUNTS {
        let uid = format!("{number:024x}");
        let printed = admin(&["account", "add", "bench", "--uid", &uid, "--role", "owner"])?;
        let value: serde_json::Value = serde_json::from_slice(&printed)
            .map_err(|error| format!("nexusd account add printed something else: {error}"))?;
        let text = |name: &str| {
            value
                .get(name)
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
        };
        writeln!(file, "{} {}", text("account"), text("secret")).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// MQTT and WebSocket of the line `{"ready":true,"listen":{"mqtt":"…","ws":"…",…}}`.
fn ready_addresses(child: &mut Child) -> Result<(String, String), String> {
    let output = child.stdout.take().ok_or("no standard output")?;
    let mut line = String::new();
    BufReader::new(output)
        .read_line(&mut line)
        .map_err(|error| error.to_string())?;
    addresses(&line).ok_or_else(|| format!("nexusd did not become ready; it printed `{}`", line.trim()))
}

fn addresses(line: &str) -> Option<(String, String)> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let of = |listener: &str| Some(value.get("listen")?.get(listener)?.as_str()?.to_owned());
    Some((of("mqtt")?, of("ws")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_by_its_port_alone() {
        let port = 0x1f90;
        let table = "  sl  local_address rem_address   st\n   \
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n   \
             1: 0100007F:1F91 0100007F:1F92 01 00000000:00000000\n";
        assert!(listens(table, port));
        assert!(!listens(table, port + 1));
        assert!(!listens(table, port + 2));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = fs::read_to_string("/proc/net/tcp").unwrap();
        assert!(listens(&own, listener.local_addr().unwrap().port()));
    }

    #[test]
    fn the_ready_line_names_the_listeners() {
        let line = r#"{"ready":true,"listen":{"mqtt":"127.0.0.1:5","ws":"127.0.0.1:6"}}"#;
        let expected = ("127.0.0.1:5".to_owned(), "127.0.0.1:6".to_owned());
        assert_eq!(addresses(line), Some(expected));
        assert_eq!(addresses("starting"), None);
    }
}
