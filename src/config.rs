//! The configuration: TOML in, a checked [`Config`] out. The one place for defaults.
//!
//! Every key is optional. An error names the file, the key, the value and what is allowed.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::limits;
use crate::route::identity::check_app;

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
    /// See [`Mqtt`].
    pub mqtt: Mqtt,
    /// See [`Channels`].
    pub channels: Channels,
    /// See [`Api`].
    pub api: Api,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shards {
    /// Shards, each a thread on a core of its own; 0 is one per usable core.
    pub count: u16,
    /// Microseconds a shard looks for work before it blocks; trades CPU for latency.
    pub spin_us: u32,
}

/// Where the daemon listens. A port of 0 is any free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// MQTT over TCP.
    pub mqtt: SocketAddr,
    /// WebSocket: MQTT on the path `/mqtt`.
    pub ws: SocketAddr,
    /// Metrics and health.
    pub http: SocketAddr,
}

/// The MQTT face.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// Whether 3.1.1 clients may subscribe with plain filters, whose deliveries cannot carry the sender.
    pub v3_plain_channels: bool,
    /// Whether a password may come in clear from an address that is not loopback.
    pub cleartext_passwords: bool,
    /// QoS 1 messages a client may have in flight towards the daemon.
    pub receive_maximum: u16,
    /// The largest packet a client may send, in bytes.
    pub packet_bytes_max: usize,
    /// Topic aliases a client may use.
    pub topic_aliases_max: u16,
    /// The longest keep alive that is granted, in seconds; 0 grants any, none included.
    pub keep_alive_s_max: u16,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Channels {
    /// See [`RootWildcard`].
    pub root_wildcard: RootWildcard,
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
            mqtt: Mqtt::default(),
            channels: Channels::default(),
            api: Api::default(),
            drain: Drain::default(),
            tokens: Vec::new(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            mqtt: SocketAddr::from(([127, 0, 0, 1], 1_883)),
            ws: SocketAddr::from(([127, 0, 0, 1], 8_083)),
            http: SocketAddr::from(([127, 0, 0, 1], 8_090)),
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
        let config: Self = toml::from_str(text).map_err(|e| ConfigError(describe(&e, text, file)))?;
        config
            .check()
            .map_err(|e| ConfigError(format!("{}: {e}", file.display())))?;
        Ok(config)
    }

    /// Checks what the types cannot: ranges and grammars.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.domains.is_empty() {
            return Err(ConfigError(
                "domains = []: at least one domain is needed".to_owned(),
            ));
        }
        for domain in &self.domains {
            if !is_domain(domain) {
                return Err(ConfigError(format!(
                    "domains: {domain:?} is no domain: letters, digits, '-' and '.', at most 253 bytes"
                )));
            }
        }
        for key in &self.tokens {
            check_app(&key.app).map_err(|rule| ConfigError(format!("tokens.app = {:?}: {rule}", key.app)))?;
        }
        range(
            "shards.count",
            self.shards.count.into(),
            0,
            limits::SHARDS_MAX as u64,
        )?;
        range("shards.spin_us", self.shards.spin_us.into(), 0, 1_000)?;
        range(
            "mqtt.receive_maximum",
            self.mqtt.receive_maximum.into(),
            1,
            65_535,
        )?;
        let packet_max = limits::MQTT_PACKET_BYTES_CEILING as u64;
        range(
            "mqtt.packet_bytes_max",
            self.mqtt.packet_bytes_max as u64,
            1_024,
            packet_max,
        )?;
        let ceiling = limits::REQUESTS_PER_SHARD_MAX as u64;
        range(
            "api.requests_per_block_max",
            self.api.requests_per_block_max as u64,
            1,
            ceiling,
        )?;
        range(
            "api.requests_per_worker_max",
            self.api.requests_per_worker_max as u64,
            1,
            ceiling,
        )?;
        range(
            "api.requests_per_shard_max",
            self.api.requests_per_shard_max as u64,
            1,
            ceiling,
        )?;
        range("drain.seconds", self.drain.seconds, 0, 3_600)
    }
}

fn range(key: &str, value: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError(format!(
            "{key} = {value}: allowed is {least} to {most}"
        )))
    }
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// One line for what TOML found: the file, the line, the text there, the reason.
fn describe(error: &toml::de::Error, text: &str, file: &Path) -> String {
    let reason = error.message().trim().replace('\n', " ");
    let Some(span) = error.span() else {
        return format!("{}: {reason}", file.display());
    };
    let before = text.get(..span.start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let section = before
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix('[')?.strip_suffix(']'));
    let there = text.lines().nth(line - 1).unwrap_or_default().trim();
    let section = section
        .filter(|_| !there.starts_with('['))
        .map(|name| format!("[{name}] "))
        .unwrap_or_default();
    format!("{}:{line}: {section}{there}: {reason}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::parse(text, Path::new("nexus.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_empty_file_gives_the_defaults_and_they_pass_their_own_check() {
        assert_eq!(Config::parse("", Path::new("x")).unwrap(), Config::default());
    }

    #[test]
    fn every_value_can_be_set() {
        let text = r#"
            data_dir = "/var/lib/nexus"
            domains = ["qepal.com", "nexus.example"]
            [shards]
            count = 2
            spin_us = 50
            [listen]
            mqtt = "0.0.0.0:1883"
            ws = "[::1]:0"
            http = "127.0.0.1:9000"
            [mqtt]
            v3_plain_channels = false
            cleartext_passwords = true
            receive_maximum = 10
            packet_bytes_max = 2048
            topic_aliases_max = 0
            keep_alive_s_max = 60
            [channels]
            root_wildcard = "all"
            [api]
            requests_per_block_max = 1
            requests_per_worker_max = 2
            requests_per_shard_max = 3
            [drain]
            seconds = 1
            [[tokens]]
            app = "etest"
            algorithm = "EdDSA"
            key_file = "etest.pem"
        "#;
        let config = Config::parse(text, Path::new("x")).unwrap();
        assert_eq!(config.channels.root_wildcard, RootWildcard::All);
        assert_eq!(config.api.requests_per_worker_max, 2);
        assert_eq!(config.listen.ws.port(), 0);
    }

    #[test]
    fn errors_name_file_key_value_and_what_is_allowed() {
        assert_eq!(
            error("[mqtt]\nreceive_maximum = 0\n"),
            "nexus.toml: mqtt.receive_maximum = 0: allowed is 1 to 65535"
        );
        let unknown = error("[mqtt]\nreceive_maximun = 5\n");
        assert!(
            unknown.starts_with("nexus.toml:2: [mqtt] receive_maximun = 5: unknown field"),
            "{unknown}"
        );
        assert!(unknown.contains("receive_maximum"), "{unknown}");
        let kind = error("[channels]\nroot_wildcard = \"none\"\n");
        assert!(
            kind.contains("root_wildcard = \"none\"") && kind.contains("operators"),
            "{kind}"
        );
        let domain = error("domains = [\"a b\"]\n");
        assert!(domain.contains("\"a b\" is no domain"), "{domain}");
        assert!(!error("domains = 5").contains('\n'));
        let token = "[[tokens]]\napp = \"e-test\"\nalgorithm = \"HS256\"\nkey_file = \"k\"\n";
        assert!(error(token).contains("tokens.app = \"e-test\""));
        let algorithm = error(&token.replace("HS256", "none"));
        assert!(
            algorithm.contains("EdDSA") && algorithm.contains("none"),
            "{algorithm}"
        );
    }
}
