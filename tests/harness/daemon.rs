//! The daemon under test: a child process with a data directory of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use serde_json::Value;
use tempfile::TempDir;

/// The virtual domain of every daemon here.
pub(crate) const DOMAIN: &str = "nexus.example";
/// Longest wait for the ready line and for the end after a signal.
const LIFE_PATIENCE: Duration = Duration::from_secs(20);
/// Lines of the daemon's log that are kept for a failing test.
const LOG_LINES_MAX: usize = 400;

/// How a daemon is started.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    shards: usize,
    config: String,
    tls: bool,
    domains: &'static [&'static str],
}

impl Options {
    /// With that many shards and no configuration file.
    pub(crate) fn shards(shards: usize) -> Self {
        Self {
            shards,
            config: String::new(),
            tls: false,
            domains: &[DOMAIN],
        }
    }

    /// The same with these virtual domains.
    pub(crate) fn domains(mut self, domains: &'static [&'static str]) -> Self {
        self.domains = domains;
        self
    }

    /// The same with listeners for TLS; the configuration has to name certificates.
    pub(crate) fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// The same with this configuration file.
    pub(crate) fn config(mut self, text: &str) -> Self {
        text.clone_into(&mut self.config);
        self
    }
}

/// A running daemon. Stopped, by its handle, when dropped.
pub(crate) struct Daemon {
    /// Where MQTT over TCP listens.
    pub(crate) mqtt: SocketAddr,
    /// Where WebSocket listens.
    pub(crate) ws: SocketAddr,
    /// Where metrics and health are served.
    pub(crate) http: SocketAddr,
    /// The ready line.
    pub(crate) ready: Value,
    child: Mutex<Child>,
    ended: Receiver<()>,
    log: Arc<Mutex<Vec<String>>>,
    directory: Arc<TempDir>,
}

impl Daemon {
    /// Starts a daemon and waits for its ready line.
    pub(crate) fn start(options: &Options) -> Self {
        let directory = TempDir::with_prefix("nexus-test-").unwrap();
        Self::start_in(Arc::new(directory), options)
    }

    /// Kills the daemon without a warning, and starts another one on what it left.
    pub(crate) fn crash(&self, options: &Options) -> Self {
        self.child.lock().unwrap().kill().unwrap();
        self.exited();
        Self::start_in(Arc::clone(&self.directory), options)
    }

    fn start_in(directory: Arc<TempDir>, options: &Options) -> Self {
        let mut command = serve_command(directory.path(), options);
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        keep_log(child.stderr.take().unwrap(), Arc::clone(&log));
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (ready_sender, ready) = bounded(1);
        let (ended_sender, ended) = bounded(0);
        thread::spawn(move || {
            let mut line = String::new();
            // No line at all is reported as an empty one.
            let _end = output.read_line(&mut line);
            let _gone = ready_sender.send(line);
            // Standard output ends with the process.
            let _end = output.read_to_end(&mut Vec::new());
            drop(ended_sender);
        });
        let line = ready.recv_timeout(LIFE_PATIENCE).unwrap_or_default();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| {
            let _ended = child.kill();
            let _status = child.wait();
            panic!("no ready line but {line:?}: {error}\n{}", joined(&log));
        });
        let listen = |name: &str| -> SocketAddr {
            let address = ready["listen"][name].as_str();
            address
                .and_then(|address| address.parse().ok())
                .unwrap_or_else(|| panic!("no address `{name}` in {ready}"))
        };
        Self {
            mqtt: listen("mqtt"),
            ws: listen("ws"),
            http: listen("http"),
            child: Mutex::new(child),
            ended,
            log,
            directory,
            ready,
        }
    }

    /// Where the listener of this name listens.
    #[track_caller]
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let address = self.ready["listen"][name].as_str();
        address.and_then(|address| address.parse().ok()).unwrap()
    }

    /// What the daemon wrote to standard error.
    pub(crate) fn log(&self) -> String {
        joined(&self.log)
    }

    /// Its data directory.
    pub(crate) fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    /// Runs `nexusd` with these arguments on this daemon's store.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        cli_in(self.data_dir(), arguments)
    }

    /// The same; it must succeed and print JSON.
    pub(crate) fn cli_json(&self, arguments: &[&str]) -> Value {
        let output = self.cli(arguments);
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert_eq!(output.status.code(), Some(0), "nexusd {arguments:?}: {out}{err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("nexusd {arguments:?}: {error}: {out}"))
    }

    /// Bytes of memory that the process has resident.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.lock().unwrap().id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap() * 1_024
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let child = self.child.lock().unwrap();
        signal(&child, name);
    }

    /// The exit status, waited for.
    pub(crate) fn exited(&self) -> ExitStatus {
        // The channel never carries anything: it is closed by the end of standard output.
        let waited = self.ended.recv_timeout(LIFE_PATIENCE);
        assert_eq!(
            waited,
            Err(RecvTimeoutError::Disconnected),
            "the daemon does not end\n{}",
            self.log()
        );
        self.child.lock().unwrap().wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(|failed| failed.into_inner());
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        signal(child, "TERM");
        if self.ended.recv_timeout(LIFE_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let _ended = child.kill();
        }
        let _status = child.wait();
    }
}

/// `nexusd serve` on free ports with this data directory.
pub(crate) fn serve_command(directory: &Path, options: &Options) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexusd"));
    command
        .args([
            "serve",
            "--mqtt",
            "127.0.0.1:0",
            "--ws",
            "127.0.0.1:0",
            "--xmpp",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
        ])
        .args(["--shards", &options.shards.to_string()])
        .args(options.domains.iter().flat_map(|domain| ["--domain", domain]))
        .arg("--data-dir")
        .arg(directory.join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if options.tls {
        for listener in ["--mqtts", "--wss", "--xmpps"] {
            command.args([listener, "127.0.0.1:0"]);
        }
    }
    if !options.config.is_empty() {
        let path = directory.join("nexus.toml");
        std::fs::write(&path, &options.config).unwrap();
        command.arg("--config").arg(path);
    }
    command
}

/// Runs a command of `nexusd` on the store below `directory`.
pub(crate) fn cli_in(directory: &Path, arguments: &[&str]) -> Output {
    nexusd(
        arguments,
        &["--data-dir", directory.join("data").to_str().unwrap()],
    )
}

/// Runs `nexusd` with exactly these arguments.
pub(crate) fn nexusd(arguments: &[&str], more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nexusd"))
        .args(arguments)
        .args(more)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Sends a signal to a child by its number, which its handle keeps from being given to another process.
pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "kill -s {name} failed"
    );
}

fn keep_log(stderr: impl Read + Send + 'static, log: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines() {
            let Ok(line) = line else { return };
            let mut log = log.lock().unwrap();
            if log.len() == LOG_LINES_MAX {
                log.remove(0);
            }
            log.push(line);
        }
    });
}

fn joined(log: &Mutex<Vec<String>>) -> String {
    log.lock()
        .map_or_else(|failed| failed.into_inner().join("\n"), |lines| lines.join("\n"))
}
