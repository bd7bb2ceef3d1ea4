//! The processes that run third-party clients. One of a kind serves all tests of this binary and ends with its
//! standard input.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::thread;

use crossbeam::channel::{Receiver, Sender, unbounded};
use serde_json::Value;

use super::event::{Event, Line};
use super::packages;

/// A driver process.
pub(crate) struct Driver {
    input: Mutex<ChildStdin>,
    connections: Mutex<HashMap<String, Sender<Event>>>,
}

/// The driver of paho-mqtt.
pub(crate) fn paho() -> &'static Driver {
    static DRIVER: OnceLock<&'static Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let mut command = Command::new(packages::python());
        command.arg("-u").arg(script("paho_driver.py"));
        Driver::start(command)
    })
}

/// The driver of mqtt.js.
pub(crate) fn mqttjs() -> &'static Driver {
    static DRIVER: OnceLock<&'static Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let mut command = Command::new("node");
        command
            .arg(script("mqttjs_driver.js"))
            .arg(packages::node_packages());
        Driver::start(command)
    })
}

/// The driver of `@xmpp/client`.
pub(crate) fn xmppjs() -> &'static Driver {
    static DRIVER: OnceLock<&'static Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let mut command = Command::new("node");
        command
            .arg(script("xmppjs_driver.js"))
            .arg(packages::node_packages());
        Driver::start(command)
    })
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

impl Driver {
    fn start(mut command: Command) -> &'static Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let output = child.stdout.take().unwrap();
        let driver: &'static Self = Box::leak(Box::new(Self {
            input: Mutex::new(child.stdin.take().unwrap()),
            connections: Mutex::new(HashMap::new()),
        }));
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { break };
                driver.dispatch(&line);
            }
            // Who waits is told at once: the senders of the events are gone.
            driver.connections.lock().unwrap().clear();
            let _status = child.wait();
        });
        driver
    }

    fn dispatch(&self, line: &str) {
        let parsed: Line = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if let Some(events) = self.connections.lock().unwrap().get(&parsed.client) {
            // A test that has ended listens no more.
            let _gone = events.send(parsed.event);
        }
    }

    /// The events of a new connection.
    pub(crate) fn register(&self, name: &str) -> Receiver<Event> {
        let (sender, receiver) = unbounded();
        self.connections.lock().unwrap().insert(name.to_owned(), sender);
        receiver
    }

    /// Sends a command.
    pub(crate) fn send(&self, command: &Value) {
        let mut line = command.to_string();
        line.push('\n');
        self.input
            .lock()
            .unwrap()
            .write_all(line.as_bytes())
            .expect("the driver process has ended");
    }

    /// The test is done with a connection.
    pub(crate) fn forget(&self, name: &str) {
        if let Ok(mut connections) = self.connections.lock() {
            connections.remove(name);
        }
        if let Ok(mut input) = self.input.lock() {
            let command = serde_json::json!({"client": name, "do": "forget"});
            // The driver may have ended already; then there is nothing to forget.
            let _ended = input.write_all(format!("{command}\n").as_bytes());
        }
    }
}
