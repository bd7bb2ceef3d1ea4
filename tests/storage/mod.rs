//! What the daemon keeps on the disk, shown with third-party clients: a disk that is full, files that are damaged, a
//! daemon that is stopped, commits that many share.

mod commits;
mod damage;
mod full;
mod stopped;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::event::Message;
use crate::harness::lives::Lives;
use crate::harness::matrix::Transport;
use crate::harness::{Client, Connect, Event, Form, Publish, eventually, http};

/// A daemon with one app, and who uses it.
struct House {
    lives: Lives,
    app: String,
}

/// An account and its secret.
type Account = (String, String);

impl House {
    fn new(shards: usize) -> Self {
        Self::with(shards, "")
    }

    fn with(shards: usize, config: &str) -> Self {
        let lives = Lives::with(shards, config);
        let app = lives.app("house");
        Self { lives, app }
    }

    fn account(&self) -> Account {
        self.lives.account(&self.app)
    }

    /// Connects for as long as the connection lasts.
    #[track_caller]
    fn guest(&self, form: Form, account: &Account, resource: &str) -> Client {
        let address = match form.transport {
            Transport::Tcp => self.lives.mqtt(),
            Transport::Ws => self.lives.ws(),
            Transport::Tls | Transport::Wss | Transport::StartTls => {
                panic!("storage is shown over plain transports")
            }
        };
        let connect = Connect::new(&account.0, &account.1, resource);
        let client = Client::open(form, address, &connect);
        assert_eq!(client.connack().0, 0);
        client
    }

    /// Connects for good; whether a session was there.
    #[track_caller]
    fn lodger(&self, form: Form, account: &Account, resource: &str) -> (Client, bool) {
        let client = Client::open(form, self.lives.mqtt(), &lasting(form, account, resource));
        let (code, present, _) = client.connack();
        assert_eq!(code, 0);
        (client, present)
    }

    fn metric(&self, series: &str) -> u64 {
        http::metric(self.lives.http(), series)
    }

    /// A file of what outlives the daemon.
    fn file(&self, name: &str) -> PathBuf {
        self.lives.sessions_dir().join(name)
    }

    /// Names of files that were kept since they were damaged, in order.
    fn kept_aside(&self) -> Vec<String> {
        let entries = fs::read_dir(self.lives.sessions_dir()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains(".damaged-"))
            .collect();
        names.sort();
        names
    }

    /// Lines of the log with this word, of all lives.
    fn told(&self, word: &str) -> Vec<String> {
        let log = self.lives.log();
        let lines = log.lines().filter(|line| line.contains(word));
        lines.map(str::to_owned).collect()
    }

    /// The same, as soon as there is one.
    #[track_caller]
    fn await_told(&self, word: &str) -> Vec<String> {
        eventually(word, || !self.told(word).is_empty());
        self.told(word)
    }
}

/// A CONNECT that goes on with what there is, for a session that lasts.
fn lasting(form: Form, account: &Account, resource: &str) -> Connect {
    Connect {
        clean: false,
        properties: if form.is_5() {
            json!({ "session_expiry_interval": 3_600 })
        } else {
            Value::Null
        },
        ..Connect::new(&account.0, &account.1, resource)
    }
}

/// Sends with QoS 1 or 2; the code of what acknowledges it.
#[track_caller]
fn publish(client: &Client, channel: &str, text: &str, qos: u8) -> u8 {
    let sent = client.publish(&Publish::new(channel, text).qos(qos));
    client.puback(sent)
}

/// The next messages, each with its QoS: those of QoS 1, then those of QoS 2, in the order they came in (4.6).
#[track_caller]
fn texts(client: &Client, count: usize) -> Vec<(String, u8)> {
    let text = |message: Message| (message.text().to_owned(), message.qos);
    let mut texts: Vec<_> = (0..count).map(|_| text(client.message())).collect();
    texts.sort_by_key(|(_, qos)| *qos);
    texts
}

/// No further message has come; what was said before is answered first.
#[track_caller]
fn assert_no_more(client: &Client) {
    client.hear("nothing/at/all", 0);
    let more = client.take_unmatched();
    let is_message = |event: &Event| matches!(event, Event::Message(_));
    assert!(!more.iter().any(is_message), "{more:?}");
}
