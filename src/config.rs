//! The configuration: TOML in, a checked [`Config`] out. The one place for defaults.
//!
//! Every key is optional. An error names the file, the key, the value and what is allowed.

mod keys;
mod listen;
mod tls;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::limits;
use crate::route::identity::check_app;
pub use listen::Listen;
pub use tls::{Certificate, ClientAuth, Tls};

/// The daemon's configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the database and the store key lie.
    pub data_dir: PathBuf,
    /// The virtual domains, aliases of one name space; the first is the default. At least one.
    pub domains: Vec<String>,
    /// See [`Shards`].
    pub shards: Shards,
    /// See [`Listen`].
    pub listen: Listen,
    /// See [`Tls`].
    pub tls: Tls,
    /// See [`Mqtt`].
    pub mqtt: Mqtt,
    /// See [`Xmpp`].
    pub xmpp: Xmpp,
    /// See [`Channels`].
    pub channels: Channels,
    /// See [`Api`].
    pub api: Api,
    /// See [`Sys`].
    pub sys: Sys,
    /// See [`Storage`].
    pub storage: Storage,
    /// See [`Drain`].
    pub drain: Drain,
    /// The keys of apps that log in with tokens (JWT).
    pub tokens: Vec<TokenKey>,
}

/// A key that an app's tokens are verified with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKey {
    /// The app whose accounts log in with it.
    pub app: String,
    /// The one algorithm it is for.
    pub algorithm: TokenAlgorithm,
    /// The file that holds it: the shared secret as it is (HS256), else a public key in PEM.
    pub key_file: PathBuf,
}

/// How tokens are signed (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256.
    #[serde(rename = "HS256")]
    Hs256,
    /// ECDSA with P-256 and SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// The machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shards {
    /// Shards, each a thread on a core of its own; 0 is one per usable core.
    pub count: u16,
    /// Microseconds a shard looks for work before it blocks, as long as it finds some.
    pub spin_us: u32,
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            count: 0,
            spin_us: limits::SPIN_US,
        }
    }
}

impl Channels {
    /// Its numbers by their keys.
    const fn numbers(&self) -> [(&'static str, usize); 7] {
        [
            ("retained_max", self.retained_max),
            ("retained_bytes_max", self.retained_bytes_max),
            ("retained_per_account_max", self.retained_per_account_max),
            (
                "retained_bytes_per_account_max",
                self.retained_bytes_per_account_max,
            ),
            ("subscriptions_per_block_max", self.subscriptions_per_block_max),
            ("subscription_bytes_max", self.subscription_bytes_max),
            ("levels_max", self.levels_max),
        ]
    }
}

/// The MQTT face.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// Whether 3.1.1 clients may subscribe with plain filters, whose deliveries cannot carry the sender.
    pub v3_plain_channels: bool,
    /// Whether a password may come in clear from an address that is not loopback, over XMPP, too.
    pub cleartext_passwords: bool,
    /// QoS 1 and 2 messages a client may have in flight towards the daemon.
    pub receive_maximum: u16,
    /// The largest packet a client may send, in bytes.
    pub packet_bytes_max: usize,
    /// Topic aliases a client may use.
    pub topic_aliases_max: u16,
    /// The longest keep alive that is granted, in seconds; 0 grants any, none included.
    pub keep_alive_s_max: u16,
    /// The longest that a session lasts without its connection, in seconds; 4,294,967,295 is for ever.
    pub session_expiry_s_max: u32,
    /// QoS 1 and 2 messages the daemon may have in flight towards a client.
    pub inflight_max: u16,
    /// Messages that wait for one client.
    pub queued_messages_max: usize,
    /// Their bytes.
    pub queued_bytes_max: usize,
    /// Bytes of what all clients have waiting or in flight; each shard has an equal part.
    pub queued_bytes_total_max: usize,
    /// Sessions that outlive their connections.
    pub sessions_max: usize,
    /// Those of one account; 0 is as many as there may be at all.
    pub sessions_per_account_max: usize,
    /// Bytes of the wills of all clients; each shard has an equal part.
    pub will_bytes_max: usize,
    /// Messages a client may publish in a second; 0 is any number.
    pub publish_rate_max: u32,
}

/// The XMPP face.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Xmpp {
    /// A client of which nothing was heard for this long is pinged, in seconds; 0 never pings.
    pub ping_s: u32,
    /// A stream that was lost may be resumed for so long, in seconds; 0 never.
    pub resume_s: u32,
    /// The rooms of a block that ended without leaving them wait for its next session so long, in seconds; 0: not at all.
    pub rejoin_s: u32,
    /// Occupants of a room up to whom all are shown to one another; 0: nobody is.
    pub room_presence_max: usize,
}

/// Who may subscribe to a filter whose first level is a wildcard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootWildcard {
    /// Operators alone.
    #[default]
    Operators,
    /// Every block.
    All,
}

/// Channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Channels {
    /// See [`RootWildcard`].
    pub root_wildcard: RootWildcard,
    /// Retained messages; beyond, a message is delivered but not retained.
    pub retained_max: usize,
    /// The same, in bytes of memory.
    pub retained_bytes_max: usize,
    /// Retained messages that came from one account; 0 is as many as there may be at all.
    pub retained_per_account_max: usize,
    /// The same, in bytes of memory.
    pub retained_bytes_per_account_max: usize,
    /// Subscriptions of one block.
    pub subscriptions_per_block_max: usize,
    /// Bytes of the subscriptions and listeners of all blocks; each shard has an equal part.
    pub subscription_bytes_max: usize,
    /// Levels of a channel's name or filter.
    pub levels_max: usize,
}

/// Bounds on requests in flight; beyond, requests are answered with -2002.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Sent by one block.
    pub requests_per_block_max: usize,
    /// Given to one worker.
    pub requests_per_worker_max: usize,
    /// Sent by the blocks of one shard.
    pub requests_per_shard_max: usize,
}

/// What the daemon tells operators under `$SYS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sys {
    /// Seconds from one publication to the next; 0 offers no `$SYS`.
    pub interval_s: u32,
}

/// What outlives the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// See [`Durability`].
    pub durability: Durability,
}

/// Where that is kept which has to outlive the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// On the disk, in the data directory.
    #[default]
    Disk,
    /// Nowhere: it ends with the daemon.
    Memory,
}

/// The end of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// Seconds that clients have to take what is queued for them.
    pub seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("nexus-data"),
            domains: vec!["localhost".to_owned()],
            shards: Shards::default(),
            listen: Listen::default(),
            tls: Tls::default(),
            mqtt: Mqtt::default(),
            xmpp: Xmpp::default(),
            channels: Channels::default(),
            api: Api::default(),
            sys: Sys::default(),
            storage: Storage::default(),
            drain: Drain::default(),
            tokens: Vec::new(),
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            v3_plain_channels: true,
            cleartext_passwords: false,
            receive_maximum: limits::INFLIGHT_PER_SESSION_MAX,
            packet_bytes_max: limits::PACKET_BYTES_MAX,
            topic_aliases_max: 16,
            keep_alive_s_max: 0,
            session_expiry_s_max: limits::SESSION_EXPIRY_S_MAX,
            inflight_max: limits::INFLIGHT_PER_SESSION_MAX,
            queued_messages_max: limits::QUEUED_PER_SESSION_MAX,
            queued_bytes_max: limits::QUEUED_BYTES_PER_SESSION_MAX,
            queued_bytes_total_max: limits::QUEUED_BYTES_MAX,
            sessions_max: limits::KEPT_SESSIONS_MAX,
            sessions_per_account_max: limits::KEPT_SESSIONS_PER_ACCOUNT_MAX,
            will_bytes_max: limits::WILL_BYTES_MAX,
            publish_rate_max: 0,
        }
    }
}

impl Default for Xmpp {
    fn default() -> Self {
        Self {
            ping_s: limits::XMPP_PING_S,
            resume_s: limits::XMPP_RESUME_S,
            rejoin_s: limits::XMPP_REJOIN_S,
            room_presence_max: limits::ROOM_PRESENCE_MAX,
        }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self {
            requests_per_block_max: limits::REQUESTS_PER_BLOCK_MAX,
            requests_per_worker_max: limits::REQUESTS_PER_WORKER_MAX,
            requests_per_shard_max: limits::REQUESTS_PER_SHARD_MAX,
        }
    }
}

impl Default for Channels {
    fn default() -> Self {
        Self {
            root_wildcard: RootWildcard::default(),
            retained_max: limits::RETAINED_MAX,
            retained_bytes_max: limits::RETAINED_BYTES_MAX,
            retained_per_account_max: limits::RETAINED_PER_ACCOUNT_MAX,
            retained_bytes_per_account_max: limits::RETAINED_BYTES_PER_ACCOUNT_MAX,
            subscriptions_per_block_max: limits::SUBSCRIPTIONS_PER_BLOCK_MAX,
            subscription_bytes_max: limits::SUBSCRIPTION_BYTES_MAX,
            levels_max: limits::CHANNEL_LEVELS_MAX,
        }
    }
}

impl Default for Sys {
    fn default() -> Self {
        Self {
            interval_s: limits::SYSTEM_INTERVAL_S,
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { seconds: 10 }
    }
}

/// What is wrong with a configuration: one line that names the file and the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads and checks a configuration. `file` is only named in errors; relative paths in it are taken as
    /// they stand.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        keys::check_file(text, file)?;
        toml::from_str(text).map_err(|e| {
            let reason = e.message().replace('\n', " ");
            ConfigError(format!("{}: {reason}", file.display()))
        })
    }

    /// Where TLS listens by default, once there is a certificate and no address is named.
    pub fn complete(&mut self) {
        if self.tls.is_named() && self.listen.sealed().iter().all(|(_, at)| at.is_none()) {
            self.listen.mqtts = Some(SocketAddr::from(([127, 0, 0, 1], 8_883)));
            self.listen.wss = Some(SocketAddr::from(([127, 0, 0, 1], 8_084)));
            self.listen.xmpps = Some(SocketAddr::from(([127, 0, 0, 1], 5_223)));
        }
    }

    /// Checks ranges and grammars, however the values were given.
    pub fn check(&self) -> Result<(), ConfigError> {
        keys::check_domains(&self.domains)?;
        for key in &self.tokens {
            check_app(&key.app).map_err(|rule| ConfigError(format!("tokens.app = {:?}: {rule}", key.app)))?;
        }
        self.check_tls()?;
        self.listen.check_shards()?;
        let Self {
            shards,
            mqtt,
            channels,
            api,
            ..
        } = self;
        for (table, key, value) in [
            ("shards", "count", shards.count.into()),
            ("shards", "spin_us", shards.spin_us.into()),
            ("mqtt", "receive_maximum", mqtt.receive_maximum.into()),
            ("mqtt", "packet_bytes_max", mqtt.packet_bytes_max as u64),
            ("mqtt", "session_expiry_s_max", mqtt.session_expiry_s_max.into()),
            ("mqtt", "inflight_max", mqtt.inflight_max.into()),
            ("mqtt", "queued_messages_max", mqtt.queued_messages_max as u64),
            ("mqtt", "queued_bytes_max", mqtt.queued_bytes_max as u64),
            (
                "mqtt",
                "queued_bytes_total_max",
                mqtt.queued_bytes_total_max as u64,
            ),
            ("mqtt", "sessions_max", mqtt.sessions_max as u64),
            (
                "mqtt",
                "sessions_per_account_max",
                mqtt.sessions_per_account_max as u64,
            ),
            ("mqtt", "will_bytes_max", mqtt.will_bytes_max as u64),
            ("mqtt", "publish_rate_max", mqtt.publish_rate_max.into()),
            ("xmpp", "ping_s", self.xmpp.ping_s.into()),
            ("xmpp", "resume_s", self.xmpp.resume_s.into()),
            ("xmpp", "rejoin_s", self.xmpp.rejoin_s.into()),
            ("xmpp", "room_presence_max", self.xmpp.room_presence_max as u64),
            ("api", "requests_per_block_max", api.requests_per_block_max as u64),
            (
                "api",
                "requests_per_worker_max",
                api.requests_per_worker_max as u64,
            ),
            ("api", "requests_per_shard_max", api.requests_per_shard_max as u64),
            ("sys", "interval_s", self.sys.interval_s.into()),
            ("drain", "seconds", self.drain.seconds),
        ] {
            keys::check_number(table, key, value)?;
        }
        for (key, value) in channels.numbers() {
            keys::check_number("channels", key, value as u64)?;
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), ConfigError> {
        for (key, address) in self.listen.sealed() {
            if let Some(address) = address.filter(|_| !self.tls.is_named()) {
                return Err(ConfigError(format!(
                    "listen.{key} = {address}: a certificate is needed; name one under [[tls.certificates]], or for \
                     development set tls.self_signed"
                )));
            }
        }
        if self.tls.client_auth == ClientAuth::Required && self.tls.client_ca_file.is_none() {
            return Err(ConfigError(
                "tls.client_auth = \"required\": name the authorities of the clients in tls.client_ca_file"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Takes back, to what a running daemon has, all that holds from its start to its end. The keys of what
    /// differed.
    pub fn keep_bound(&mut self, running: &Self) -> Vec<&'static str> {
        let mut kept = Vec::new();
        if self.domains.first() != running.domains.first() {
            self.domains.clone_from(&running.domains);
            kept.push("domains (the first)");
        }
        keep(&mut kept, "data_dir", &mut self.data_dir, &running.data_dir);
        let (ours, theirs) = (&mut self.shards, &running.shards);
        keep(&mut kept, "shards.count", &mut ours.count, &theirs.count);
        keep(&mut kept, "shards.spin_us", &mut ours.spin_us, &theirs.spin_us);
        let (ours, theirs) = (&mut self.listen, &running.listen);
        keep(&mut kept, "listen.mqtt", &mut ours.mqtt, &theirs.mqtt);
        keep(
            &mut kept,
            "listen.mqtt_of_shards",
            &mut ours.mqtt_of_shards,
            &theirs.mqtt_of_shards,
        );
        keep(&mut kept, "listen.mqtts", &mut ours.mqtts, &theirs.mqtts);
        keep(&mut kept, "listen.ws", &mut ours.ws, &theirs.ws);
        keep(&mut kept, "listen.wss", &mut ours.wss, &theirs.wss);
        keep(&mut kept, "listen.xmpp", &mut ours.xmpp, &theirs.xmpp);
        keep(&mut kept, "listen.xmpps", &mut ours.xmpps, &theirs.xmpps);
        keep(&mut kept, "listen.http", &mut ours.http, &theirs.http);
        keep(&mut kept, "listen.bridge", &mut ours.bridge, &theirs.bridge);
        // The data plane's buffers were bounded by it.
        let (ours, theirs) = (&mut self.mqtt, &running.mqtt);
        keep(
            &mut kept,
            "mqtt.packet_bytes_max",
            &mut ours.packet_bytes_max,
            &theirs.packet_bytes_max,
        );
        let (ours, theirs) = (&mut self.storage, &running.storage);
        keep(&mut kept, "storage.durability", ours, theirs);
        keep(&mut kept, "drain.seconds", &mut self.drain, &running.drain);
        keep(&mut kept, "tokens", &mut self.tokens, &running.tokens);
        kept
    }
}

fn keep<T: Clone + PartialEq>(kept: &mut Vec<&'static str>, key: &'static str, new: &mut T, running: &T) {
    if new != running {
        new.clone_from(running);
        kept.push(key);
    }
}
