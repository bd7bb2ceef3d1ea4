//! Apps, accounts and services of a test, made by the real command line; and the daemons tests share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use serde_json::Value;

use super::client::{Client, Connect};
use super::clock::rfc3339;
use super::daemon::{Daemon, Options};
use super::matrix::{Form, Transport};

/// A daemon as a test holds it. Prints the daemon's log if the test fails.
#[derive(Clone)]
pub(crate) struct Net {
    daemon: Arc<Daemon>,
}

impl Net {
    /// The daemon of that shard count that tests share; started by the first that needs it, stopped by the
    /// last. Such tests keep to apps of their own and read no counters.
    pub(crate) fn shared(shards: usize) -> Self {
        static SHARED: [Mutex<Weak<Daemon>>; 3] = [const { Mutex::new(Weak::new()) }; 3];
        let mut slot = SHARED[shards].lock().unwrap_or_else(|failed| failed.into_inner());
        if let Some(daemon) = slot.upgrade() {
            return Self { daemon };
        }
        let net = Self::start(&Options::shards(shards));
        *slot = Arc::downgrade(&net.daemon);
        net
    }

    /// A daemon of the test's own.
    pub(crate) fn start(options: &Options) -> Self {
        Self {
            daemon: Arc::new(Daemon::start(options)),
        }
    }

    /// Kills the daemon, and goes on with another one on what it left.
    pub(crate) fn crash(&mut self, options: &Options) {
        self.daemon = Arc::new(self.daemon.crash(options));
    }

    /// The daemon.
    #[track_caller]
    pub(crate) fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// A new app.
    #[track_caller]
    pub(crate) fn app(&self) -> App<'_> {
        self.add_app(&[])
    }

    /// A new app that is open to everybody.
    #[track_caller]
    pub(crate) fn open_app(&self) -> App<'_> {
        self.add_app(&["--open"])
    }

    /// A new app whose workers take Direct messages from entitled callers only.
    #[track_caller]
    pub(crate) fn entitled_app(&self) -> App<'_> {
        self.add_app(&["--direct", "entitled"])
    }

    fn add_app(&self, flags: &[&str]) -> App<'_> {
        static APPS: AtomicU64 = AtomicU64::new(0);
        let name = format!("app{}", APPS.fetch_add(1, Ordering::Relaxed));
        let mut arguments = vec!["app", "add", &name];
        arguments.extend(flags);
        self.daemon.cli_json(&arguments);
        App { net: self, name }
    }

    /// An operator's account: role `owner` of the app `nexus`.
    #[track_caller]
    pub(crate) fn operator(&self) -> Account {
        self.account_of("nexus", &new_uid(), "owner")
    }

    /// An account of a user, whose app exists.
    #[track_caller]
    pub(crate) fn account_of(&self, app: &str, uid: &str, role: &str) -> Account {
        let made = self
            .daemon
            .cli_json(&["account", "add", app, "--uid", uid, "--role", role]);
        Account {
            app: app.to_owned(),
            uid: uid.to_owned(),
            role: role.to_owned(),
            name: text(&made, "account"),
            secret: text(&made, "secret"),
        }
    }

    /// `nexusd service grant`, without an end or until then.
    #[track_caller]
    pub(crate) fn grant(&self, uid: &str, app: &str, expires_unix_ms: Option<u64>) {
        let expires = expires_unix_ms.map(rfc3339);
        let mut arguments = vec!["service", "grant", "--uid", uid, "--app", app];
        if let Some(expires) = &expires {
            arguments.extend(["--expires", expires]);
        }
        self.daemon.cli_json(&arguments);
    }

    /// Sends a CONNECT, whatever comes of it.
    #[track_caller]
    pub(crate) fn open(&self, form: Form, connect: &Connect) -> Client {
        let address = match form.transport {
            Transport::Tcp | Transport::StartTls if form.is_xmpp() => self.daemon.address("xmpp"),
            Transport::Tls if form.is_xmpp() => self.daemon.address("xmpps"),
            Transport::Tcp | Transport::StartTls => self.daemon.mqtt,
            Transport::Ws => self.daemon.ws,
            Transport::Tls => self.daemon.address("mqtts"),
            Transport::Wss => self.daemon.address("wss"),
        };
        Client::open(form, address, connect)
    }

    /// Connects an account under a resource, which must work.
    #[track_caller]
    pub(crate) fn connect(&self, form: Form, account: &Account, resource: &str) -> Client {
        let client = self.open(form, &account.connect(resource));
        let (code, _, properties) = client.connack();
        assert_eq!(
            code, 0,
            "CONNACK of {}/{resource} {form:?}: {properties:?}",
            account.name
        );
        client
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.daemon.log());
        }
    }
}

/// An app of a test.
pub(crate) struct App<'a> {
    /// Its name.
    pub(crate) name: String,
    net: &'a Net,
}

impl App<'_> {
    /// An account of a new user.
    #[track_caller]
    pub(crate) fn account(&self, role: &str) -> Account {
        self.account_of(&new_uid(), role)
    }

    /// An account of a user.
    #[track_caller]
    pub(crate) fn account_of(&self, uid: &str, role: &str) -> Account {
        self.net.account_of(&self.name, uid, role)
    }

    /// An account of a new user who has a service of this app.
    #[track_caller]
    pub(crate) fn customer(&self) -> Account {
        let account = self.account("user");
        self.net.grant(&account.uid, &self.name, None);
        account
    }
}

/// An account and its secret.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) app: String,
    pub(crate) uid: String,
    pub(crate) role: String,
    pub(crate) name: String,
    pub(crate) secret: String,
}

impl Account {
    /// A CONNECT of this account under a resource.
    #[track_caller]
    pub(crate) fn connect(&self, resource: &str) -> Connect {
        Connect::new(&self.name, &self.secret, resource)
    }
}

/// A user nobody else in this run is.
pub(crate) fn new_uid() -> String {
    static UIDS: AtomicU64 = AtomicU64::new(0xa1);
    format!("5eed{:020x}", UIDS.fetch_add(1, Ordering::Relaxed))
}

/// A string field of a command's output.
pub(crate) fn text(output: &Value, field: &str) -> String {
    let value = &output[field];
    value
        .as_str()
        .map(str::to_owned)
        .or_else(|| value.as_u64().map(|number| number.to_string()))
        .unwrap_or_else(|| panic!("no `{field}` in {output}"))
}
