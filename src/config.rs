//! The configuration: TOML in, a checked [`Config`] out. The one place for defaults.
//!
//! Every key is optional. An error names the file, the key, the value and what is allowed.

mod keys;

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
        keys::check_file(text, file)?;
        toml::from_str(text).map_err(|e| {
            let reason = e.message().replace('\n', " ");
            ConfigError(format!("{}: {reason}", file.display()))
        })
    }

    /// Checks ranges and grammars, however the values were given.
    pub fn check(&self) -> Result<(), ConfigError> {
        keys::check_domains(&self.domains)?;
        for key in &self.tokens {
            check_app(&key.app).map_err(|rule| ConfigError(format!("tokens.app = {:?}: {rule}", key.app)))?;
        }
        let Self {
            shards, mqtt, api, ..
        } = self;
        for (table, key, value) in [
            ("shards", "count", shards.count.into()),
            ("shards", "spin_us", shards.spin_us.into()),
            ("mqtt", "receive_maximum", mqtt.receive_maximum.into()),
            ("mqtt", "packet_bytes_max", mqtt.packet_bytes_max as u64),
            ("api", "requests_per_block_max", api.requests_per_block_max as u64),
            (
                "api",
                "requests_per_worker_max",
                api.requests_per_worker_max as u64,
            ),
            ("api", "requests_per_shard_max", api.requests_per_shard_max as u64),
            ("drain", "seconds", self.drain.seconds),
        ] {
            keys::check_number(table, key, value)?;
        }
        Ok(())
    }
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
        for (text, line) in [
            (
                "[mqtt]\nreceive_maximum = 0\n",
                "nexus.toml:2: mqtt.receive_maximum = 0: a number from 1 to 65535 is allowed",
            ),
            (
                "[mqtt]\nreceive_maximum = \"many\"\n",
                "nexus.toml:2: mqtt.receive_maximum = \"many\": a number from 1 to 65535 is allowed",
            ),
            (
                "mqtt.receive_maximum = -1\n",
                "nexus.toml:1: mqtt.receive_maximum = -1: a number from 1 to 65535 is allowed",
            ),
            (
                "[shards]\ncount = 99_999_999_999_999_999_999\n",
                "nexus.toml:2: shards.count = 99_999_999_999_999_999_999: a number from 0 to 64 is allowed",
            ),
            (
                "[drain]\nseconds = 1.5\n",
                "nexus.toml:2: drain.seconds = 1.5: a number from 0 to 3600 is allowed",
            ),
            (
                "[mqtt]\nv3_plain_channels = \"no\"\n",
                "nexus.toml:2: mqtt.v3_plain_channels = \"no\": true or false is allowed",
            ),
            (
                "[channels]\nroot_wildcard = \"none\"\n",
                "nexus.toml:2: channels.root_wildcard = \"none\": \"operators\" or \"all\" is allowed",
            ),
            (
                "[listen]\nmqtt = 1883\n",
                "nexus.toml:2: listen.mqtt = 1883: an IP address with a port in quotes is allowed, as in \
                 \"127.0.0.1:1883\"",
            ),
            (
                "data_dir = 5\n",
                "nexus.toml:1: data_dir = 5: a path in quotes is allowed",
            ),
            (
                "mqtt = 5\n",
                "nexus.toml:1: mqtt = 5: a table is allowed, with v3_plain_channels, cleartext_passwords, \
                 receive_maximum, packet_bytes_max, topic_aliases_max, keep_alive_s_max",
            ),
        ] {
            assert_eq!(error(text), line);
        }
        for domains in ["5", "[]", "[7]", "[\"a b\"]", "\"a.example\""] {
            let line = error(&format!("\ndomains = {domains}"));
            let start =
                format!("nexus.toml:2: domains = {domains}: a list of at least one domain is allowed");
            assert!(line.starts_with(&start), "{line}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_those_that_are_known() {
        assert_eq!(
            error("\n[listen]\nmqttt = \"x\"\n"),
            "nexus.toml:3: listen.mqttt = \"x\": no such key; allowed in [listen] are mqtt, ws, http"
        );
        let top = "no such key; allowed at the top are data_dir, domains, shards, listen, mqtt, channels, api, \
                   drain, tokens";
        assert_eq!(
            error("[chanels]\nroot_wildcard = \"all\"\n"),
            format!("nexus.toml:1: chanels: {top}")
        );
        assert_eq!(error("port = 1\n"), format!("nexus.toml:1: port = 1: {top}"));
    }

    #[test]
    fn a_token_key_is_complete_and_its_values_are_known() {
        let token = "[[tokens]]\napp = \"etest\"\nalgorithm = \"HS256\"\nkey_file = \"k\"\n";
        Config::parse(token, Path::new("x")).unwrap();
        assert_eq!(
            error(&token.replace("HS256", "none")),
            "nexus.toml:3: tokens.algorithm = \"none\": \"HS256\", \"ES256\" or \"EdDSA\" is allowed"
        );
        let app = error(&token.replace("etest", "e-test"));
        assert!(
            app.starts_with("nexus.toml:2: tokens.app = \"e-test\": an app's name"),
            "{app}"
        );
        assert_eq!(
            error(&token.replace("key_file", "#")),
            "nexus.toml:1: tokens.key_file is missing: a path in quotes is allowed"
        );
        let single = error(&token.replace("[[tokens]]", "[tokens]"));
        assert!(
            single.starts_with("nexus.toml:1: tokens: [[ ]] tables are allowed, each with app,"),
            "{single}"
        );
    }

    #[test]
    fn what_is_no_toml_is_told_in_one_line_with_its_place() {
        for (text, start) in [
            ("[channels\n", "nexus.toml:1: [channels: this is not TOML: "),
            (
                "\n[mqtt]\nreceive_maximum = many\n",
                "nexus.toml:3: receive_maximum = many: this is not TOML: ",
            ),
            ("data_dir = \n", "nexus.toml:1: data_dir =: this is not TOML: "),
        ] {
            let line = error(text);
            assert!(line.starts_with(start) && !line.contains('\n'), "{line}");
        }
        let long = error(&format!("data_dir = [\"{}\",\n7]\n", "x".repeat(5_000)));
        assert!(long.len() < 200 && !long.contains('\n'), "{long}");
    }

    /// The table of keys and the checks on values that were given otherwise do not drift apart.
    #[test]
    fn values_of_the_command_line_are_held_to_the_same_ranges() {
        let config = Config {
            shards: Shards {
                count: 65,
                spin_us: 0,
            },
            ..Config::default()
        };
        let line = config.check().unwrap_err().to_string();
        assert_eq!(line, "shards.count = 65: a number from 0 to 64 is allowed");
        let config = Config {
            domains: vec!["a b".to_owned()],
            ..Config::default()
        };
        let line = config.check().unwrap_err().to_string();
        assert!(
            line.starts_with("domains = [\"a b\"]: a list of at least one domain"),
            "{line}"
        );
    }
}
