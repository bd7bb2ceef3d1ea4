//! A daemon that is killed and started again, on one directory and the same ports.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam::channel::bounded;
use serde_json::Value;
use tempfile::TempDir;

use super::clock::PATIENCE;
use super::daemon::{DOMAIN, cli_in, signal};
use super::world::{new_uid, text};

/// The lives of a daemon.
pub(crate) struct Lives {
    shards: usize,
    config: String,
    directory: TempDir,
    addresses: [SocketAddr; 4],
    child: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
}

/// Ignores SIGXFSZ, as a daemon without a limit would never get it, and becomes its arguments: where a file may not
/// grow, a write fails as on a full disk.
const WITH_FILES_LIMITED: &str = "trap '' XFSZ; ulimit -S -f \"$FILES\"; exec \"$@\"";

impl Lives {
    /// The first life begins.
    pub(crate) fn new(shards: usize) -> Self {
        Self::with(shards, "")
    }

    /// The same with this configuration file.
    pub(crate) fn with(shards: usize, config: &str) -> Self {
        let mut lives = Self {
            shards,
            config: config.to_owned(),
            directory: TempDir::with_prefix("nexus-crash-").unwrap(),
            addresses: [(); 4].map(|()| own_address()),
            child: None,
            log: Arc::default(),
        };
        lives.start();
        lives
    }

    /// Begins the next life, and waits for its ready line.
    pub(crate) fn start(&mut self) {
        let mut child = self.command().spawn().unwrap();
        let (mut output, errors) = (
            BufReader::new(child.stdout.take().unwrap()),
            BufReader::new(child.stderr.take().unwrap()),
        );
        self.child = Some(child);
        let log = Arc::clone(&self.log);
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                log.lock().unwrap().push(line);
            }
        });
        let (sender, ready) = bounded(1);
        thread::spawn(move || {
            let mut line = String::new();
            let _end = output.read_line(&mut line);
            let _gone = sender.send(line);
            let _end = output.read_to_end(&mut Vec::new());
        });
        let line = ready.recv_timeout(PATIENCE).unwrap_or_default();
        assert!(
            line.contains("\"ready\":true"),
            "no ready line but {line:?}\n{}",
            self.log()
        );
    }

    /// Begins a life that must not come about; on a full disk, if that is so. What it says why.
    pub(crate) fn start_refused(&self, is_full: bool) -> String {
        let mut command = self.command();
        if is_full {
            command.env("FILES", "0");
        }
        let output = command.output().unwrap();
        let why = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), output.stdout),
            (Some(1), Vec::new()),
            "{why}"
        );
        why
    }

    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            WITH_FILES_LIMITED,
            "sh",
            env!("CARGO_BIN_EXE_nexusd"),
            "serve",
        ]);
        if !self.config.is_empty() {
            let path = self.directory.path().join("nexus.toml");
            std::fs::write(&path, &self.config).unwrap();
            command.arg("--config").arg(path);
        }
        for (at, name) in ["--mqtt", "--ws", "--http", "--xmpp"].into_iter().enumerate() {
            command.arg(name).arg(self.addresses[at].to_string());
        }
        command
            .args(["--shards", &self.shards.to_string(), "--domain", DOMAIN])
            .arg("--data-dir")
            .arg(self.data_dir())
            .env("FILES", "unlimited")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Ends this life with SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends this life with SIGTERM.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        signal(&child, "TERM");
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// How large the files may be from now on that this life writes; `None`: of any size.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let child = self.child.as_ref().unwrap();
        let soft = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let status = Command::new("prlimit")
            .args(["--pid", &child.id().to_string()])
            .arg(format!("--fsize={soft}:unlimited"))
            .status();
        assert!(status.is_ok_and(|status| status.success()), "prlimit failed");
    }

    pub(crate) fn mqtt(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn ws(&self) -> SocketAddr {
        self.addresses[1]
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.addresses[2]
    }

    /// The files of what outlives the daemon.
    pub(crate) fn sessions_dir(&self) -> PathBuf {
        self.data_dir().join("sessions")
    }

    /// The configuration of the lives to come.
    pub(crate) fn configure(&mut self, config: &str) {
        config.clone_into(&mut self.config);
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// What all lives wrote to standard error.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Adds an app.
    pub(crate) fn app(&self, name: &str) -> String {
        self.cli(&["app", "add", name]);
        name.to_owned()
    }

    /// Adds an account of a new user: its name and its secret.
    pub(crate) fn account(&self, app: &str) -> (String, String) {
        let made = self.cli(&["account", "add", app, "--uid", &new_uid(), "--role", "user"]);
        (text(&made, "account"), text(&made, "secret"))
    }

    fn cli(&self, arguments: &[&str]) -> Value {
        let directory: &Path = self.directory.path();
        let output = cli_in(directory, arguments);
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "nexusd {arguments:?}: {out}");
        serde_json::from_str(&out).unwrap()
    }
}

/// An address that is free, and not of the ports that connections get for their own end while the daemon is away.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 1_000).unwrap() * 9;
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl Drop for Lives {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}
