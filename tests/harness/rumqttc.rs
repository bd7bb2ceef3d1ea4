//! Connections of rumqttc, which is a library of Rust: each is a thread of this process that understands the
//! commands, and tells the events, of the driver processes. TCP alone: its WebSocket would bring TLS along.

mod v311;
mod v5;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Requests that wait for the event loop of a connection; sending one more fails.
const REQUESTS_MAX: usize = 1_024;
/// The largest packet either way.
const PACKET_BYTES_MAX: u32 = 4 * 1_024 * 1_024;

/// Takes the events of a connection, as the lines of a driver.
pub(super) type Emit = Arc<dyn Fn(Value) + Send + Sync>;

/// Sends what a command says, or tells why it cannot.
type Sender = Box<dyn Fn(&str, &Value) -> Result<(), String> + Send>;

/// A connection as its commands see it.
struct Handle {
    send: Sender,
    sent: Arc<Mutex<Sent>>,
    /// Ends the connection hard when dropped.
    alive: Option<oneshot::Sender<()>>,
}

/// What joins packet identifiers with the references that the test gave: requests leave in the order in which they
/// were made.
#[derive(Default)]
struct Sent {
    waiting: HashMap<&'static str, VecDeque<u64>>,
    open: HashMap<(&'static str, u16), u64>,
}

impl Sent {
    /// A request has left.
    fn left(&mut self, kind: &'static str, id: u16) {
        let reference = self.waiting.get_mut(kind).and_then(VecDeque::pop_front);
        self.open
            .extend(reference.map(|reference| ((kind, id), reference)));
    }

    /// A request is answered.
    fn answered(&mut self, kind: &'static str, id: u16) -> Option<u64> {
        self.open.remove(&(kind, id))
    }
}

/// The part of an event loop that tells events.
struct Teller {
    name: String,
    emit: Emit,
    sent: Arc<Mutex<Sent>>,
}

impl Teller {
    fn tell(&self, event: &str, mut fields: Value) {
        fields["client"] = self.name.clone().into();
        fields["event"] = event.into();
        (self.emit)(fields);
    }

    fn left(&self, kind: &'static str, id: u16) {
        self.sent.lock().unwrap().left(kind, id);
    }

    fn answered(&self, event: &'static str, id: u16, mut fields: Value) {
        let reference = self.sent.lock().unwrap().answered(event, id);
        fields["ref"] = reference.into();
        self.tell(event, fields);
    }
}

/// The connections of rumqttc, by name.
pub(super) struct Connections {
    emit: Emit,
    all: Mutex<HashMap<String, Handle>>,
}

impl Connections {
    pub(super) fn new(emit: Emit) -> Self {
        Self {
            emit,
            all: Mutex::default(),
        }
    }

    /// Does a command of a test.
    pub(super) fn command(&self, command: &Value) {
        let (name, what) = (text(command, "client"), text(command, "do"));
        let mut all = self.all.lock().unwrap();
        match what.as_str() {
            "connect" => {
                all.insert(name.clone(), self.open(&name, command));
            }
            "forget" => {
                all.remove(&name);
            }
            "kill" => all.get_mut(&name).unwrap().alive = None,
            _ => {
                let handle = all.get(&name).unwrap();
                handle.expect_answer(&what, command);
                if let Err(reason) = (handle.send)(&what, command) {
                    (self.emit)(json!({"client": name, "event": "failure", "reason": reason}));
                }
            }
        }
    }

    fn open(&self, name: &str, command: &Value) -> Handle {
        let sent = Arc::new(Mutex::new(Sent::default()));
        let (alive, killed) = oneshot::channel();
        let ended = ended(name, &self.emit);
        let teller = Teller {
            name: name.to_owned(),
            emit: Arc::clone(&self.emit),
            sent: Arc::clone(&sent),
        };
        let send = if command["version"] == 5 {
            let (client, events) = v5::new(command);
            run(killed, ended, v5::events(events, teller));
            Box::new(move |what: &str, command: &Value| v5::send(&client, what, command)) as _
        } else {
            let (client, events) = v311::new(command);
            run(killed, ended, v311::events(events, teller));
            Box::new(move |what: &str, command: &Value| v311::send(&client, what, command)) as _
        };
        Handle {
            send,
            sent,
            alive: Some(alive),
        }
    }
}

impl Handle {
    fn expect_answer(&self, what: &str, command: &Value) {
        let kind = match what {
            "subscribe" => "suback",
            "unsubscribe" => "unsuback",
            "publish" if command["qos"] != 0 => "puback",
            _ => return,
        };
        let reference = command["ref"].as_u64().unwrap();
        let mut sent = self.sent.lock().unwrap();
        sent.waiting.entry(kind).or_default().push_back(reference);
    }
}

/// Tells the end of a connection that was ended here.
fn ended(name: &str, emit: &Emit) -> impl FnOnce() + Send + 'static {
    let (name, emit) = (name.to_owned(), Arc::clone(emit));
    move || emit(json!({"client": name, "event": "closed", "reason": "killed"}))
}

/// Runs an event loop on a thread of its own until it ends or is killed.
fn run(
    killed: oneshot::Receiver<()>,
    ended: impl FnOnce() + Send + 'static,
    events: impl Future<Output = ()> + Send + 'static,
) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            tokio::select! {
                () = events => {}
                _dropped = killed => ended(),
            }
        });
    });
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn optional_text(value: &Value, name: &str) -> Option<String> {
    value[name].as_str().map(str::to_owned)
}

fn bytes(value: &Value, name: &str) -> Vec<u8> {
    STANDARD.decode(text(value, name)).unwrap()
}

/// A number that fits where it goes.
fn number<T: TryFrom<u64, Error: std::fmt::Debug>>(value: &Value, name: &str) -> Option<T> {
    value[name].as_u64().map(|number| T::try_from(number).unwrap())
}

fn qos(value: &Value) -> u8 {
    number(value, "qos").unwrap()
}

fn filters(command: &Value) -> &[Value] {
    command["filters"].as_array().map_or(&[], Vec::as_slice)
}
