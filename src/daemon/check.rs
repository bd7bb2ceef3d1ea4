//! `nexusd check`: the configuration and the machine, before anything is started. Every finding with its remedy.

pub mod advice;

use std::io::Write;
use std::path::{Path, PathBuf};

use super::serve::read_config;
use super::settings;
use super::{Fault, control, storage};
use crate::config::{Config, Durability, Listen};

/// Prints a line a finding; fails if one of them keeps the daemon from running.
pub fn check(path: Option<&PathBuf>) -> Result<(), Fault> {
    let config = read_config(path);
    let mut lines = vec![match (&config, path) {
        (Ok(_), Some(path)) => Line::good(format!("configuration {}", path.display())),
        (Ok(_), None) => Line::good("configuration: none given, defaults"),
        (Err(fault), _) => Line::bad("configuration", fault.to_string()),
    }];
    if let Ok(config) = &config {
        lines.push(store(config));
        lines.extend(space(config));
        lines.extend(addresses(config));
        lines.extend(certificates(config));
    }
    let machine = config.as_ref().map(settings::machine).unwrap_or_default();
    for finding in shards::preflight(&machine) {
        lines.push(Line {
            is_good: finding.ok,
            what: finding.what,
            remedy: finding.remedy,
        });
    }
    let mut out = std::io::stdout().lock();
    for line in &lines {
        let mark = if line.is_good { "ok  " } else { "FAIL" };
        let text = if line.is_good || line.remedy.is_empty() {
            format!("{mark} {}", line.what)
        } else {
            format!("{mark} {}: {}", line.what, line.remedy)
        };
        writeln!(out, "{text}").map_err(cannot_print)?;
    }
    tips(&mut out).map_err(cannot_print)?;
    match lines.iter().filter(|line| !line.is_good).count() {
        0 => Ok(()),
        1 => Err(Fault::new(
            "1 finding keeps the daemon from running well; its remedy is named above",
        )),
        count => Err(Fault::new(format!(
            "{count} findings keep the daemon from running well; see above"
        ))),
    }
}

fn cannot_print(error: std::io::Error) -> Fault {
    Fault::new(format!("cannot print: {error}"))
}

/// What would be better for a busy machine, and keeps nothing from running.
fn tips(out: &mut impl Write) -> std::io::Result<()> {
    let (differ, there) = advice::differences(Path::new("/"));
    for advice::Difference { name, now, advised } in &differ {
        writeln!(
            out,
            "tip  {name} = {now}: {advised} is advised, see tuning/README.md"
        )?;
    }
    let as_advised = there - differ.len();
    writeln!(out, "ok   {as_advised} of {there} knobs of the kernel as advised")
}

struct Line {
    is_good: bool,
    what: String,
    remedy: String,
}

impl Line {
    fn good(what: impl Into<String>) -> Self {
        Self {
            is_good: true,
            what: what.into(),
            remedy: String::new(),
        }
    }

    fn bad(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            is_good: false,
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// Whether the data directory can be used.
fn store(config: &Config) -> Line {
    let key = format!("data_dir = {}", config.data_dir.display());
    match control::look(&config.data_dir) {
        Ok(true) => Line::good(key),
        Ok(false) => Line::good(format!("{key}, where a store will be made")),
        Err(fault) => Line::bad(key, fault.to_string()),
    }
}

/// Whether the certificates can be used, if any are named. One for development is not made here.
fn certificates(config: &Config) -> Vec<Line> {
    let tls = &config.tls;
    if !tls.is_named() {
        return Vec::new();
    }
    if let Err(fault) = super::tls::look(config) {
        return vec![Line::bad("tls", fault.to_string())];
    }
    let mut lines = Vec::new();
    if !tls.certificates.is_empty() {
        lines.push(Line::good("tls.certificates"));
    }
    if tls.self_signed {
        let (cert, _) = super::tls::self_signed_paths(config);
        lines.push(Line::good(format!("tls.self_signed: {}", cert.display())));
    }
    if let Some(path) = &tls.client_ca_file {
        lines.push(Line::good(format!("tls.client_ca_file = {}", path.display())));
    }
    lines
}

/// Whether there is room for what outlives the daemon, if that goes to the disk.
fn space(config: &Config) -> Option<Line> {
    if config.storage.durability == Durability::Memory {
        return None;
    }
    let what = format!("space for {}", config.data_dir.display());
    Some(match storage::free_bytes(&config.data_dir) {
        Ok(free) => match storage::shortage(&config.data_dir, free) {
            None => Line::good(format!("{what}: {} MiB are free", free >> 20)),
            Some(short) => Line::bad(what, short),
        },
        Err(error) => Line::bad(what, format!("cannot be told: {error}; see to its file system")),
    })
}

/// Whether each address can be listened on.
fn addresses(config: &Config) -> Vec<Line> {
    let listen = [
        ("mqtt", Some(config.listen.mqtt)),
        ("mqtt_of_shards", config.listen.mqtt_of_shards),
        ("mqtts", config.listen.mqtts),
        ("ws", Some(config.listen.ws)),
        ("wss", config.listen.wss),
        ("xmpp", config.listen.xmpp),
        ("xmpps", config.listen.xmpps),
        ("http", Some(config.listen.http)),
        ("bridge", config.listen.bridge),
    ];
    let mut lines: Vec<Line> = listen
        .into_iter()
        .filter_map(|(key, address)| Some((key, address?)))
        .map(|(key, address)| match std::net::TcpListener::bind(address) {
            Ok(_) => Line::good(format!("listen.{key} = {address}")),
            Err(error) => Line::bad(
                format!("listen.{key} = {address}"),
                format!("{error}; end what listens there, or choose another address"),
            ),
        })
        .collect();
    if config.listen.xmpp.is_none() {
        // Nothing keeps the daemon from running without it.
        let usual = Listen::XMPP;
        lines.push(Line::good(match std::net::TcpListener::bind(usual) {
            Ok(_) => format!("listen.xmpp = {usual}"),
            Err(error) => {
                format!("listen.xmpp: XMPP over TCP will not be offered: {usual}: {error}; choose an address")
            }
        }));
    }
    lines
}
