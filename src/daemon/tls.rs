//! The certificates: read, chosen by name, made for development, read again when they change.

mod client;
mod files;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use shards::TlsAcceptor;

use super::Fault;
use crate::config::Config;
pub(super) use client::certified;
use files::Stamps;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What the TLS listeners of a daemon meet their newcomers with.
#[derive(Clone, Debug)]
pub(super) struct Acceptors {
    /// MQTT over TCP.
    pub(super) mqtt: TlsAcceptor,
    /// WebSocket.
    pub(super) ws: TlsAcceptor,
    /// XMPP over TCP, at once (XEP-0368) or by STARTTLS.
    pub(super) xmpp: TlsAcceptor,
}

impl Acceptors {
    /// Reads what the configuration names; none if it names nothing.
    ///
    /// # Errors
    /// One line that names the file, what is wrong with it and what to do.
    pub(super) fn read(config: &Config) -> Result<Option<Self>, Fault> {
        let Some(settings) = settings::Settings::read(config)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            mqtt: TlsAcceptor::new(settings.server(&[b"mqtt"])?),
            ws: TlsAcceptor::new(settings.server(&[b"http/1.1"])?),
            xmpp: TlsAcceptor::new(settings.server(&[b"xmpp-client"])?),
        }))
    }

    /// Reads again, for the connections that begin from now on. On an error all stays as it is.
    ///
    /// # Errors
    /// As [`Acceptors::read`]; also if the configuration names nothing any more.
    pub(super) fn reread(&self, config: &Config) -> Result<(), Fault> {
        let Some(settings) = settings::Settings::read(config)? else {
            return Err(Fault::new(
                "tls: no certificate is named any more; what is in use stays",
            ));
        };
        let (mqtt, ws) = (settings.server(&[b"mqtt"])?, settings.server(&[b"http/1.1"])?);
        let xmpp = settings.server(&[b"xmpp-client"])?;
        self.mqtt.replace(mqtt);
        self.ws.replace(ws);
        self.xmpp.replace(xmpp);
        Ok(())
    }
}

/// Reads what the configuration names, as the daemon would at its start, but makes nothing.
///
/// # Errors
/// As [`Acceptors::read`].
pub(super) fn look(config: &Config) -> Result<(), Fault> {
    let mut there = config.clone();
    let (cert, key) = self_signed_paths(config);
    there.tls.self_signed &= cert.exists() && key.exists();
    if there.tls.is_named() {
        Acceptors::read(&there)?;
    } else {
        settings::clients(&there)?;
    }
    Ok(())
}

/// The thread that looks whether the files have changed.
#[derive(Debug)]
pub(super) struct Watch {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Has the files of `config` read again whenever one of them has changed.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(super) fn start(acceptors: Acceptors, config: Arc<Config>) -> Result<Self, Fault> {
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = std::thread::Builder::new()
            .name("certificates".to_owned())
            .spawn(move || {
                let mut known = Stamps::of(&paths(&config));
                while !ended.load(Ordering::Acquire) {
                    std::thread::park_timeout(LOOK_INTERVAL);
                    let found = Stamps::of(&paths(&config));
                    if found == known {
                        continue;
                    }
                    known = found;
                    match acceptors.reread(&config) {
                        Ok(()) => tracing::info!("certificates reread: their files have changed"),
                        // Perhaps only one of two files has been written yet: the other's change comes, too.
                        Err(error) => tracing::error!(%error, "certificates not reread"),
                    }
                }
            })
            .map_err(|e| Fault::new(format!("cannot start a thread: {e}")))?;
        Ok(Self { ends, thread })
    }

    /// Ends the thread.
    pub(super) fn stop(self) {
        self.ends.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the thread that looks after the certificates panicked");
        }
    }
}

/// The files that the configuration names.
fn paths(config: &Config) -> Vec<&Path> {
    let tls = &config.tls;
    let pairs = tls.certificates.iter();
    let mut paths: Vec<&Path> = pairs
        .flat_map(|pair| [pair.cert_file.as_path(), pair.key_file.as_path()])
        .collect();
    paths.extend(tls.client_ca_file.as_deref());
    paths
}

/// Where the certificate for development lies, and its key.
pub(super) fn self_signed_paths(config: &Config) -> (PathBuf, PathBuf) {
    let dir = config.data_dir.join("tls");
    (dir.join("self-signed.pem"), dir.join("self-signed-key.pem"))
}
