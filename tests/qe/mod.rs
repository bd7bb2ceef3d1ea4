//! QE's deployed clients (docs/qe-clients.md): workers in JavaScript and Python and pages of web fronts, each a process
//! of its own that fetches its credentials from the bridge, and sends exactly the forms of those clients through
//! `@xmpp/client` (WebSocket) and slixmpp (TCP with STARTTLS).

mod channel;
mod cross;
mod policy;
mod reconnect;
mod scenario;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, unbounded};
use serde_json::{Value, json};

use crate::bridge::{bridge, explore_secret};
use crate::harness::certificates::Authority;
use crate::harness::clock::{Deadline, PATIENCE};
use crate::harness::driver::script;
use crate::harness::world::text;
use crate::harness::{Account, App, Net, Options, packages, parallel};

/// The domain that is written into those clients.
const DOMAIN: &str = "qepal.com";
/// Another domain of the same daemon.
const OTHER_DOMAIN: &str = "chat.example";

/// A daemon as QE's clients need it: their domain and another, TLS for STARTTLS, the bridge.
fn start(shards: usize) -> Net {
    let (cert, key) = Authority::shared().certificate(&[DOMAIN]);
    let config = format!(
        "[listen]\nbridge = \"127.0.0.1:0\"\n[[tls.certificates]]\ncert_file = {cert:?}\nkey_file = {key:?}\n"
    );
    let options = Options::shards(shards).tls().domains(&[DOMAIN, OTHER_DOMAIN]);
    Net::start(&options.config(&config))
}

/// How long a process may take to start and connect, which it tries again when its library gave up.
const START: Duration = Duration::from_secs(40);

/// The library of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Library {
    /// `@xmpp/client`.
    Js,
    /// slixmpp, as it is today.
    Python,
    /// slixmpp 1.4.0, which the deployed workers have.
    PythonDeployed,
}

/// Blocks are processes: one test at a time has its own.
static TURN: Mutex<()> = Mutex::new(());

/// Runs `test` for each shard count and each slixmpp.
fn each_python(test: impl Fn(&Net, Library) + Sync) {
    let _turn = TURN.lock().unwrap_or_else(|failed| failed.into_inner());
    for shards in [1, 2] {
        let pythons = [Library::Python, Library::PythonDeployed];
        parallel(&pythons, |&python| test(&start(shards), python));
    }
}

/// Runs `test` for each shard count.
fn each_daemon(test: impl Fn(&Net) + Sync) {
    let _turn = TURN.lock().unwrap_or_else(|failed| failed.into_inner());
    for shards in [1, 2] {
        test(&start(shards));
    }
}

/// The full JID of a block.
fn jid(account: &Account, resource: &str) -> String {
    format!("{}@{DOMAIN}/{resource}", account.name)
}

/// A process that is one of QE's blocks. Killed when dropped.
struct Block {
    child: Child,
    input: RefCell<ChildStdin>,
    events: Receiver<Value>,
    unmatched: RefCell<VecDeque<Value>>,
    references: Cell<u64>,
}

impl Block {
    /// A worker of an app, by the app's secret, that asks for entitlement with it. It is offered to all.
    fn worker(net: &Net, library: Library, app: &App<'_>, resource: &str) -> Self {
        let explore = explore_secret(net, &app.name);
        let given = json!({"secret": explore, "resource": resource, "public": true, "explore": explore});
        Self::start(net, library, given)
    }

    /// The page of a web front, by a service's or an account's secret.
    fn page(net: &Net, secret: &str, resource: &str) -> Self {
        Self::start(
            net,
            Library::Js,
            json!({"secret": secret, "resource": resource, "public": false}),
        )
    }

    fn start(net: &Net, library: Library, mut given: Value) -> Self {
        given["bridge"] = bridge(net).to_string().into();
        given["ws"] = net.daemon().ws.to_string().into();
        given["xmpp"] = net.daemon().address("xmpp").to_string().into();
        if given.get("domain").is_none() {
            given["domain"] = DOMAIN.into();
        }
        let mut command = match library {
            Library::Js => {
                let mut command = Command::new("node");
                command.arg(script("qe_client.js")).arg(packages::node_packages());
                command
            }
            Library::Python | Library::PythonDeployed => {
                let mut command = Command::new(packages::slixmpp(library == Library::PythonDeployed));
                command.arg("-uB").arg(script("qe_client.py"));
                command
            }
        };
        let spawned = command
            .arg(given.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let output = child.stdout.take().unwrap();
        let (sender, events) = unbounded();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                // A test that has ended listens no more.
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self {
            input: RefCell::new(child.stdin.take().unwrap()),
            child,
            events,
            unmatched: RefCell::new(VecDeque::new()),
            references: Cell::new(0),
        }
    }

    /// Sends a command; its reference names what answers it.
    fn command(&self, what: &str, mut fields: Value) -> u64 {
        let reference = self.references.get() + 1;
        self.references.set(reference);
        fields["do"] = what.into();
        fields["ref"] = reference.into();
        writeln!(self.input.borrow_mut(), "{fields}").expect("the client has ended");
        reference
    }

    /// The first event of this name, come already or still to come, that `pick` takes.
    #[track_caller]
    fn wait(&self, name: &str, pick: impl FnMut(&Value) -> bool) -> Value {
        self.wait_within(PATIENCE, name, pick)
    }

    /// The same within `patience`.
    #[track_caller]
    fn wait_within(&self, patience: Duration, name: &str, mut pick: impl FnMut(&Value) -> bool) -> Value {
        let mut unmatched = self.unmatched.borrow_mut();
        let mut takes = |event: &Value| event["event"] == name && pick(event);
        if let Some(at) = unmatched.iter().position(&mut takes) {
            return unmatched.remove(at).unwrap();
        }
        let deadline = Deadline::after(patience);
        loop {
            let Ok(event) = self.events.recv_timeout(deadline.left()) else {
                panic!("no {name} within {patience:?}; unmatched: {unmatched:#?}");
            };
            assert_ne!(event["event"], "failure", "{event}");
            if takes(&event) {
                return event;
            }
            unmatched.push_back(event);
        }
    }

    /// Events of this name that came and that nobody waited for.
    fn unheard(&self, name: &str) -> Vec<Value> {
        let mut unmatched = self.unmatched.borrow_mut();
        unmatched.extend(self.events.try_iter());
        let named = unmatched.iter().filter(|event| event["event"] == name);
        named.cloned().collect()
    }

    /// Waits until it counts itself as connected; its full JID.
    #[track_caller]
    fn online(&self) -> String {
        text(&self.wait_within(START, "online", |_| true), "jid")
    }

    /// Has it call a worker that it finds by the bridge; what came of it.
    #[track_caller]
    fn api(&self, app: &App<'_>, resource: &str, members: Value) -> Value {
        self.call(json!({"app": app.name, "resource": resource, "members": members}))
    }

    /// The same with all that the command can say.
    #[track_caller]
    fn call(&self, command: Value) -> Value {
        let sent = self.command("api", command);
        self.wait("reply", |reply| reply["ref"] == sent)
    }

    /// Has it search workers until it finds those.
    #[track_caller]
    fn find_until(&self, members: &Value, wanted: &[String]) {
        let deadline = Deadline::patient();
        loop {
            let sent = self.command("find", json!({ "members": members }));
            let found = self.wait("found", |found| found["ref"] == sent);
            let mut jids: Vec<&str> = found["jids"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            jids.sort_unstable();
            if jids == wanted {
                return;
            }
            assert!(!deadline.passed(), "{found}, not {wanted:?}");
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
