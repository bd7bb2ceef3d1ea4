//! The processes that run third-party clients. One of a kind serves all tests of this binary and ends with its
//! standard input. Clients that are libraries of Rust run in this process instead.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use crossbeam::channel::{Receiver, Sender, unbounded};
use serde_json::Value;

use super::certificates::Authority;
use super::event::{Event, Line};
use super::packages;
use super::rumqttc::Connections;

/// What runs the connections of a client.
pub(crate) struct Driver {
    input: Input,
    connections: Arc<Listeners>,
}

/// Where commands go.
enum Input {
    Process(Mutex<ChildStdin>),
    Here(Connections),
}

/// Who waits for the events of which connection.
#[derive(Default)]
struct Listeners(Mutex<HashMap<String, Sender<Event>>>);

/// The driver of paho-mqtt.
pub(crate) fn paho() -> &'static Driver {
    static DRIVER: OnceLock<&'static Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let mut command = Command::new(packages::python());
        command.arg("-uB").arg(script("paho_driver.py"));
        Driver::start(command)
    })
}

/// The driver of aiomqtt.
pub(crate) fn aiomqtt() -> &'static Driver {
    static DRIVER: OnceLock<&'static Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let mut command = Command::new(packages::python());
        command.arg("-uB").arg(script("aiomqtt_driver.py"));
        Driver::start(command)
    })
}

/// rumqttc, in this process.
pub(crate) fn rumqttc() -> &'static Driver {
    static DRIVER: OnceLock<&'static Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let connections = Arc::new(Listeners::default());
        let listeners = Arc::clone(&connections);
        let emit = Arc::new(move |line| listeners.dispatch(serde_json::from_value(line).unwrap()));
        Box::leak(Box::new(Driver {
            input: Input::Here(Connections::new(emit)),
            connections,
        }))
    })
}

/// The driver of mqtt.js.
pub(crate) fn mqttjs() -> &'static Driver {
    static DRIVER: OnceLock<&'static Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let mut command = Command::new("node");
        command
            .arg(script("mqttjs_driver.js"))
            .arg(packages::node_packages())
            .env("NODE_EXTRA_CA_CERTS", Authority::shared().file());
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
            .arg(packages::node_packages())
            .env("NODE_EXTRA_CA_CERTS", Authority::shared().file());
        Driver::start(command)
    })
}

/// The driver of slixmpp.
pub(crate) fn slixmpp() -> &'static Driver {
    static DRIVER: OnceLock<&'static Driver> = OnceLock::new();
    DRIVER.get_or_init(|| start_slixmpp(false))
}

/// The same with the release that QE's workers have.
pub(crate) fn slixmpp_deployed() -> &'static Driver {
    static DRIVER: OnceLock<&'static Driver> = OnceLock::new();
    DRIVER.get_or_init(|| start_slixmpp(true))
}

fn start_slixmpp(is_deployed: bool) -> &'static Driver {
    let mut command = Command::new(packages::slixmpp(is_deployed));
    command.arg("-uB").arg(script("slixmpp_driver.py"));
    Driver::start(command)
}

/// A program of the clients.
pub(crate) fn script(name: &str) -> std::path::PathBuf {
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
        let connections = Arc::new(Listeners::default());
        let listeners = Arc::clone(&connections);
        let driver: &'static Self = Box::leak(Box::new(Self {
            input: Input::Process(Mutex::new(child.stdin.take().unwrap())),
            connections,
        }));
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { break };
                let parsed = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                listeners.dispatch(parsed);
            }
            // Who waits is told at once: the senders of the events are gone.
            listeners.0.lock().unwrap().clear();
            let _status = child.wait();
        });
        driver
    }

    /// The events of a new connection.
    pub(crate) fn register(&self, name: &str) -> Receiver<Event> {
        let (sender, receiver) = unbounded();
        self.connections.0.lock().unwrap().insert(name.to_owned(), sender);
        receiver
    }

    /// Sends a command.
    pub(crate) fn send(&self, command: &Value) {
        match &self.input {
            Input::Here(connections) => connections.command(command),
            Input::Process(input) => {
                let mut line = command.to_string();
                line.push('\n');
                let written = input.lock().unwrap().write_all(line.as_bytes());
                written.expect("the driver process has ended");
            }
        }
    }

    /// The test is done with a connection.
    pub(crate) fn forget(&self, name: &str) {
        if let Ok(mut connections) = self.connections.0.lock() {
            connections.remove(name);
        }
        let command = serde_json::json!({"client": name, "do": "forget"});
        match &self.input {
            Input::Here(connections) => connections.command(&command),
            Input::Process(input) => {
                if let Ok(mut input) = input.lock() {
                    // The driver may have ended already; then there is nothing to forget.
                    let _ended = input.write_all(format!("{command}\n").as_bytes());
                }
            }
        }
    }
}

impl Listeners {
    fn dispatch(&self, line: Line) {
        if let Some(events) = self.0.lock().unwrap().get(&line.client) {
            // A test that has ended listens no more.
            let _gone = events.send(line.event);
        }
    }
}
