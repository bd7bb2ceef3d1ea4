//! The keys of the configuration file and what each may hold, in the words of who writes the file.
//!
//! A file is held against this table before its values are taken over, so that an error names the key, the value
//! and what is allowed, and never how the program keeps it.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use crate::limits;
use crate::route::identity::check_app;

/// What a key may hold.
enum Kind {
    Path,
    Domains,
    Address,
    Flag,
    App,
    /// From the first to the last.
    Number(u64, u64),
    OneOf(&'static [&'static str]),
    Table(Keys),
    /// Any number of tables, each with all of these keys.
    Tables(Keys),
}

type Keys = &'static [(&'static str, Kind)];

const REQUESTS: Kind = Kind::Number(1, limits::REQUESTS_PER_SHARD_MAX as u64);

const KEYS: Keys = &[
    ("data_dir", Kind::Path),
    ("domains", Kind::Domains),
    (
        "shards",
        Kind::Table(&[
            ("count", Kind::Number(0, limits::SHARDS_MAX as u64)),
            ("spin_us", Kind::Number(0, 1_000)),
        ]),
    ),
    (
        "listen",
        Kind::Table(&[
            ("mqtt", Kind::Address),
            ("mqtt_of_shards", Kind::Address),
            ("mqtts", Kind::Address),
            ("ws", Kind::Address),
            ("wss", Kind::Address),
            ("xmpp", Kind::Address),
            ("xmpps", Kind::Address),
            ("http", Kind::Address),
            ("bridge", Kind::Address),
        ]),
    ),
    (
        "tls",
        Kind::Table(&[
            (
                "certificates",
                Kind::Tables(&[("cert_file", Kind::Path), ("key_file", Kind::Path)]),
            ),
            ("self_signed", Kind::Flag),
            ("client_ca_file", Kind::Path),
            ("client_auth", Kind::OneOf(&["optional", "required"])),
        ]),
    ),
    (
        "mqtt",
        Kind::Table(&[
            ("v3_plain_channels", Kind::Flag),
            ("cleartext_passwords", Kind::Flag),
            ("receive_maximum", Kind::Number(1, 65_535)),
            (
                "packet_bytes_max",
                Kind::Number(1_024, limits::MQTT_PACKET_BYTES_CEILING as u64),
            ),
            ("topic_aliases_max", Kind::Number(0, 65_535)),
            ("keep_alive_s_max", Kind::Number(0, 65_535)),
            ("session_expiry_s_max", Kind::Number(0, u32::MAX as u64)),
            (
                "inflight_max",
                Kind::Number(1, limits::MQTT_INFLIGHT_CEILING as u64),
            ),
            (
                "queued_messages_max",
                Kind::Number(1, limits::MQTT_QUEUED_MESSAGES_CEILING as u64),
            ),
            (
                "queued_bytes_max",
                Kind::Number(1_024, limits::MQTT_QUEUED_BYTES_CEILING as u64),
            ),
            (
                "queued_bytes_total_max",
                Kind::Number(1_024, limits::MQTT_QUEUED_BYTES_TOTAL_CEILING as u64),
            ),
            (
                "sessions_max",
                Kind::Number(0, limits::KEPT_SESSIONS_CEILING as u64),
            ),
            (
                "sessions_per_account_max",
                Kind::Number(0, limits::KEPT_SESSIONS_CEILING as u64),
            ),
            (
                "will_bytes_max",
                Kind::Number(0, limits::MQTT_WILL_BYTES_CEILING as u64),
            ),
            ("publish_rate_max", Kind::Number(0, 1_000_000)),
        ]),
    ),
    (
        "xmpp",
        Kind::Table(&[
            ("ping_s", Kind::Number(0, 86_400)),
            ("resume_s", Kind::Number(0, 86_400)),
            ("rejoin_s", Kind::Number(0, 86_400)),
            (
                "room_presence_max",
                Kind::Number(0, limits::ROOM_PRESENCE_CEILING as u64),
            ),
        ]),
    ),
    (
        "channels",
        Kind::Table(&[
            ("root_wildcard", Kind::OneOf(&["operators", "all"])),
            ("retained_max", Kind::Number(0, limits::RETAINED_CEILING as u64)),
            (
                "retained_bytes_max",
                Kind::Number(0, limits::RETAINED_BYTES_CEILING as u64),
            ),
            (
                "retained_per_account_max",
                Kind::Number(0, limits::RETAINED_CEILING as u64),
            ),
            (
                "retained_bytes_per_account_max",
                Kind::Number(0, limits::RETAINED_BYTES_CEILING as u64),
            ),
            (
                "subscriptions_per_block_max",
                Kind::Number(1, limits::SUBSCRIPTIONS_CEILING as u64),
            ),
            (
                "subscription_bytes_max",
                Kind::Number(1_024, limits::SUBSCRIPTION_BYTES_CEILING as u64),
            ),
            ("levels_max", Kind::Number(1, limits::CHANNEL_LEVELS_MAX as u64)),
        ]),
    ),
    (
        "api",
        Kind::Table(&[
            ("requests_per_block_max", REQUESTS),
            ("requests_per_worker_max", REQUESTS),
            ("requests_per_shard_max", REQUESTS),
        ]),
    ),
    ("sys", Kind::Table(&[("interval_s", Kind::Number(0, 86_400))])),
    (
        "storage",
        Kind::Table(&[("durability", Kind::OneOf(&["disk", "memory"]))]),
    ),
    ("drain", Kind::Table(&[("seconds", Kind::Number(0, 3_600))])),
    (
        "tokens",
        Kind::Tables(&[
            ("app", Kind::App),
            ("algorithm", Kind::OneOf(&["HS256", "ES256", "EdDSA"])),
            ("key_file", Kind::Path),
        ]),
    ),
];

/// What is allowed: the end of the line, after the key and its value.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("a path in quotes is allowed"),
            Self::Domains => f.write_str(
                "a list of at least one domain is allowed, as in [\"localhost\"]: each of letters, digits, '-' \
                 and '.', at most 253 bytes",
            ),
            Self::Address => {
                f.write_str("an IP address with a port in quotes is allowed, as in \"127.0.0.1:1883\"")
            }
            Self::Flag => f.write_str("true or false is allowed"),
            Self::App => f.write_str("an app's name in quotes is allowed: 1 to 32 of a-z and 0-9, a letter first"),
            Self::Number(least, most) => write!(f, "a number from {least} to {most} is allowed"),
            Self::OneOf(names) => {
                for (place, name) in names.iter().enumerate() {
                    let between = match place {
                        0 => "",
                        _ if place + 1 == names.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{between}\"{name}\"")?;
                }
                f.write_str(" is allowed")
            }
            Self::Table(keys) => write!(f, "a table is allowed, with {}", Names(keys)),
            Self::Tables(keys) => write!(f, "tables in [[ ]] are allowed, each with {}", Names(keys)),
        }
    }
}

/// The names of keys, as a list.
struct Names(Keys);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, _)) in self.0.iter().enumerate() {
            f.write_str(if place > 0 { ", " } else { "" })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl Kind {
    /// Whether a value that is no table is allowed.
    fn admits(&self, value: &DeValue<'_>) -> bool {
        match (self, value) {
            (Self::Path, DeValue::String(path)) => !path.is_empty(),
            (Self::Domains, DeValue::Array(list)) => {
                let is_domain =
                    |domain: &Spanned<DeValue<'_>>| domain.get_ref().as_str().is_some_and(is_domain);
                !list.is_empty() && list.iter().all(is_domain)
            }
            (Self::Address, DeValue::String(address)) => address.parse::<SocketAddr>().is_ok(),
            (Self::Flag, DeValue::Boolean(_)) => true,
            (Self::App, DeValue::String(name)) => check_app(name).is_ok(),
            (Self::Number(least, most), DeValue::Integer(number)) => {
                u64::from_str_radix(number.as_str(), number.radix())
                    .is_ok_and(|number| (*least..=*most).contains(&number))
            }
            (Self::OneOf(names), DeValue::String(name)) => names.contains(&name.as_ref()),
            _ => false,
        }
    }
}

/// Whether this is a domain: labels of 1 to 63 letters, digits and `-`.
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Checks the domains, however they were given.
pub(super) fn check_domains(domains: &[String]) -> Result<(), ConfigError> {
    if !domains.is_empty() && domains.iter().all(|domain| is_domain(domain)) {
        return Ok(());
    }
    Err(ConfigError(format!("domains = {domains:?}: {}", Kind::Domains)))
}

/// Checks a number against the range of its key, however it was given.
pub(super) fn check_number(table: &str, key: &str, value: u64) -> Result<(), ConfigError> {
    let of = |keys: Keys, name: &str| keys.iter().find(|(key, _)| *key == name).map(|(_, kind)| kind);
    match of(KEYS, table) {
        Some(Kind::Table(keys)) => match of(keys, key) {
            Some(kind @ Kind::Number(least, most)) if !(*least..=*most).contains(&value) => {
                Err(ConfigError(format!("{table}.{key} = {value}: {kind}")))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Checks every key and value of a file. The error names the line, too.
pub(super) fn check_file(text: &str, file: &Path) -> Result<(), ConfigError> {
    let source = Source { text, file };
    let root = DeTable::parse(text).map_err(|error| source.syntax(&error))?;
    source.table("", KEYS, root.get_ref())
}

/// The file that is checked.
struct Source<'a> {
    text: &'a str,
    file: &'a Path,
}

impl Source<'_> {
    fn table(&self, path: &str, keys: Keys, table: &DeTable<'_>) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = match path {
                "" => name.get_ref().to_string(),
                _ => format!("{path}.{}", name.get_ref()),
            };
            let Some((_, kind)) = keys.iter().find(|(key, _)| key == name.get_ref()) else {
                let place = match path {
                    "" => "at the top are".to_owned(),
                    _ => format!("in [{path}] are"),
                };
                let what = format!("no such key; allowed {place} {}", Names(keys));
                return Err(self.wrong(&name.span(), &key, value, &what));
            };
            match (kind, value.get_ref()) {
                (Kind::Table(keys), DeValue::Table(inner)) => self.table(&key, keys, inner)?,
                (Kind::Tables(keys), DeValue::Array(list)) => {
                    for each in list {
                        self.complete_table(&key, kind, keys, each)?;
                    }
                }
                (kind, found) if kind.admits(found) => {}
                (kind, _) => return Err(self.wrong(&name.span(), &key, value, kind)),
            }
        }
        Ok(())
    }

    /// A table that has to have all of its keys.
    fn complete_table(
        &self,
        key: &str,
        kind: &Kind,
        keys: Keys,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), ConfigError> {
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong(&value.span(), key, value, kind));
        };
        self.table(key, keys, table)?;
        let missing = keys.iter().find(|(name, _)| !table.contains_key(*name));
        missing.map_or(Ok(()), |(name, kind)| {
            Err(self.at(value.span().start, &format!("{key}.{name} is missing: {kind}")))
        })
    }

    /// The error of a key with its value, as it is written in the file.
    fn wrong(
        &self,
        key_span: &Range<usize>,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        what: &dyn fmt::Display,
    ) -> ConfigError {
        let line = match value.get_ref() {
            // Its header would only say the key again.
            DeValue::Table(_) => format!("{key}: {what}"),
            _ => {
                let written = self.text.get(value.span()).unwrap_or_default();
                format!("{key} = {}: {what}", shortened(written))
            }
        };
        self.at(key_span.start, &line)
    }

    fn at(&self, offset: usize, what: &str) -> ConfigError {
        let before = self.text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        ConfigError(format!("{}:{line}: {what}", self.file.display()))
    }

    /// What is no TOML at all: the line as it stands, and the parser's reason.
    fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let reason = error.message().trim().replace('\n', " ");
        let offset = error.span().map_or(0, |span| span.start);
        let before = self.text.get(..offset).unwrap_or_default();
        let line = self.text.lines().nth(before.matches('\n').count());
        let line = shortened(line.unwrap_or_default().trim());
        self.at(offset, &format!("{line}: this is not TOML: {reason}"))
    }
}

/// At most one line of what is written.
fn shortened(written: &str) -> String {
    const CHARS_MAX: usize = 60;
    let first = written.lines().next().unwrap_or_default();
    let mut short: String = first.chars().take(CHARS_MAX).collect();
    if short.len() < written.len() {
        short.push('…');
    }
    short
}
