//! `nexusd serve`: the daemon from its start to its end.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Fault;
use super::blank::Blank;
use super::bridge::{Bridge, BridgeConfig, BridgeMetrics, EnquiryPort};
use super::control::{Control, ControlConfig, ControlHandle, ControlPort, Wake};
use super::http::{Http, Sources};
use super::restore::{self, Found};
use super::settings::{machine, token_keys};
use super::shard::{Entrance, Face, Shard, Updates};
use super::storage::{Storage, StorageHandle, StoragePort};
use super::{bridge, tls};
use crate::config::{Config, Listen};
use crate::observe::{ShardMetrics, exposition};
use crate::route::RouterConfig;

/// Where a daemon listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Addresses {
    /// MQTT over TCP.
    pub mqtt: SocketAddr,
    /// MQTT over TCP at shard 0; the others follow at the next ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt_of_shards: Option<SocketAddr>,
    /// MQTT over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtts: Option<SocketAddr>,
    /// WebSocket.
    pub ws: SocketAddr,
    /// WebSocket over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wss: Option<SocketAddr>,
    /// XMPP over TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xmpp: Option<SocketAddr>,
    /// XMPP over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xmpps: Option<SocketAddr>,
    /// Metrics and health.
    pub http: SocketAddr,
    /// The QE bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<SocketAddr>,
}

/// A running daemon.
pub struct Daemon {
    plane: shards::Running,
    control: ControlHandle,
    storage: Option<StorageHandle>,
    http: Http,
    bridge: Option<Bridge>,
    entrances: Vec<Entrance>,
    mqtt_of_shards: Option<SocketAddr>,
    certificates: Option<tls::Watch>,
    handle: Handle,
}

/// What other threads may do with a running daemon.
#[derive(Clone)]
pub struct Handle {
    stopper: shards::Stopper,
    ready: Arc<AtomicBool>,
    drain: Duration,
    updates: Arc<Updates>,
    bells: Arc<OnceLock<Vec<shards::Bell>>>,
    acceptors: Option<tls::Acceptors>,
}

impl Handle {
    /// Asks the daemon to stop: clients are told, queues flushed, within the drain time.
    pub fn stop(&self) {
        self.ready.store(false, Ordering::Release);
        self.stopper.stop(self.drain);
    }

    /// Gives the shards a configuration for the connections that come from now on. What is bound at the start
    /// (addresses, shards, the data directory) stays as it is.
    pub fn reconfigure(&self, config: &Arc<Config>) {
        for update in self.updates.iter() {
            // The newest configuration is the one that counts.
            update.force_push(Arc::clone(config));
        }
        for bell in self.bells.get().into_iter().flatten() {
            bell.ring();
        }
    }
}

impl Daemon {
    /// Opens the store, starts the shards and listens.
    pub fn start(config: &Config) -> Result<Self, Fault> {
        let acceptors = tls::Acceptors::read(config)?;
        let (machine, entrances) = entrances(config, acceptors.as_ref());
        let count = machine.shard_count();
        let bells: Arc<OnceLock<Vec<shards::Bell>>> = Arc::default();
        let control = start_control(config, count, &bells)?;
        let bridged = config.listen.bridge.is_some().then(|| bridged(count, &bells));
        let mut blank = Blank::new(config, count, &entrances, acceptors.as_ref(), control.port())?;
        blank.enquiries = bridged.as_ref().map(|(enquiries, _)| Arc::clone(enquiries));
        let (metrics, updates) = (Arc::clone(&blank.metrics), Arc::clone(&blank.updates));
        let system = Arc::clone(&blank.system);
        // The control thread holds the lock of the data directory, for both.
        let storage = blank.open_storage(wake(&bells))?;
        let (storage_port, found) = (blank.storage.clone(), Arc::clone(&blank.found));
        let router = blank.parts(0).router;
        let plane = shards::launch(machine, move |shard| Shard::new(blank.parts(shard)))
            .map_err(|e| Fault::new(e.to_string()))?;
        for warning in plane.warnings() {
            tracing::warn!("{warning}");
        }
        ring_all(&plane, count, &bells);
        let (plane, storage) = take_in(plane, storage, &router, &found, &bells)?;
        let ready = Arc::new(AtomicBool::new(true));
        let stats: Vec<Arc<shards::Stats>> = (0..count).map(|shard| plane.stats(shard)).collect();
        system.started(stats.clone());
        let port = control.port();
        let counted = bridged.as_ref().map(|(_, counted)| Arc::clone(counted));
        let text = move || {
            metrics_text(
                &metrics,
                &stats,
                &port,
                storage_port.as_deref(),
                counted.as_deref(),
            )
        };
        let sources = Sources {
            metrics: Box::new(text),
            ready: Arc::clone(&ready),
        };
        let watch = |acceptors| tls::Watch::start(acceptors, Arc::new(config.clone()));
        let certificates = acceptors.clone().map(watch);
        let handle = Handle {
            stopper: plane.stopper(),
            ready,
            drain: Duration::from_secs(config.drain.seconds),
            updates,
            bells,
            acceptors,
        };
        let http = Http::start(config.listen.http, sources)?;
        let bridge = start_bridge(config, bridged)?;
        Ok(Self {
            plane,
            control,
            storage,
            http,
            bridge,
            entrances,
            mqtt_of_shards: config.listen.mqtt_of_shards,
            certificates: certificates.transpose()?,
            handle,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        let plane = self.plane.addresses();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let at = |face: Face, is_sealed: bool| {
            let wanted = Entrance { face, is_sealed };
            let place = self.entrances.iter().position(|entrance| *entrance == wanted)?;
            plane.get(place).copied()
        };
        Addresses {
            mqtt: at(Face::Mqtt, false).unwrap_or(nowhere),
            mqtt_of_shards: self.mqtt_of_shards,
            mqtts: at(Face::Mqtt, true),
            ws: at(Face::WebSocket, false).unwrap_or(nowhere),
            wss: at(Face::WebSocket, true),
            xmpp: at(Face::Xmpp, false),
            xmpps: at(Face::Xmpp, true),
            http: self.http.address,
            bridge: self.bridge.as_ref().map(|bridge| bridge.address),
        }
    }

    /// For other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until all shards have ended: after [`Handle::stop`], or by a fault.
    pub fn join(self) -> Result<(), Fault> {
        let ended = self.plane.join().map_err(|e| Fault::new(e.to_string()));
        drop(self.bridge);
        if let Some(storage) = self.storage {
            storage.stop();
        }
        self.control.stop();
        if let Some(certificates) = self.certificates {
            certificates.stop();
        }
        drop(self.http);
        ended
    }

    /// [`Handle::stop`], then [`Daemon::join`].
    pub fn stop(self) -> Result<(), Fault> {
        self.handle.stop();
        self.join()
    }
}

/// Makes the bells known, and rings them: what the control thread said before the shards ran waits in their inboxes.
fn ring_all(plane: &shards::Running, count: usize, bells: &OnceLock<Vec<shards::Bell>>) {
    let all: Vec<shards::Bell> = (0..count).map(|shard| plane.bell(shard)).collect();
    all.iter().for_each(shards::Bell::ring);
    let _ = bells.set(all);
}

/// Has the shards take in what was kept, then starts the storage thread. A fault ends the shards.
fn take_in(
    plane: shards::Running,
    storage: Option<Storage>,
    router: &RouterConfig,
    found: &Found,
    bells: &Arc<OnceLock<Vec<shards::Bell>>>,
) -> Result<(shards::Running, Option<StorageHandle>), Fault> {
    let goes_on = || !plane.has_ended();
    let read = |storage: Storage| {
        let rows = restore::load(&storage, router, found, &wake(bells), &goes_on)?;
        if rows > 0 {
            tracing::warn!(rows, "rows that could not be read were left out");
        }
        storage.start()
    };
    match storage.map(read).transpose() {
        Ok(storage) => {
            found.wait(goes_on);
            // Now that all have taken it in, each may accept.
            bells.get().into_iter().flatten().for_each(shards::Bell::ring);
            Ok((plane, storage))
        }
        Err(fault) => {
            plane.stopper().stop(Duration::ZERO);
            // What came first is told.
            let _ = plane.join();
            Err(fault)
        }
    }
}

fn start_control(
    config: &Config,
    shards: usize,
    bells: &Arc<OnceLock<Vec<shards::Bell>>>,
) -> Result<ControlHandle, Fault> {
    Control::start(ControlConfig {
        data_dir: config.data_dir.clone(),
        shards,
        wake: wake(bells),
        token_keys: token_keys(config)?,
    })
    .map_err(|e| Fault::new(e.to_string()))
}

/// What joins the bridge with the shards and with the metrics.
type Bridged = (Arc<EnquiryPort>, Arc<BridgeMetrics>);

fn bridged(shards: usize, bells: &Arc<OnceLock<Vec<shards::Bell>>>) -> Bridged {
    (Arc::new(EnquiryPort::new(shards, wake(bells))), Arc::default())
}

fn start_bridge(config: &Config, bridged: Option<Bridged>) -> Result<Option<Bridge>, Fault> {
    let (Some(address), Some((enquiries, metrics))) = (config.listen.bridge, bridged) else {
        return Ok(None);
    };
    let bridge = Bridge::start(BridgeConfig {
        address,
        data_dir: config.data_dir.clone(),
        domain: config.domains.first().cloned().unwrap_or_default(),
        token_keys: token_keys(config)?,
        enquiries,
        metrics,
    });
    bridge.map(Some)
}

/// The data plane's settings with all listeners, and what each speaks.
fn entrances(config: &Config, acceptors: Option<&tls::Acceptors>) -> (shards::Config, Vec<Entrance>) {
    let mut machine = machine(config);
    let mut entrances = Vec::new();
    let listen = &config.listen;
    let shards = machine.shard_count();
    let mut add_at = |shard, face, address: Option<SocketAddr>, acceptor: Option<&shards::TlsAcceptor>| {
        if let Some(address) = address {
            let mut listener = shards::Listener::new(address);
            listener.tls = acceptor.cloned();
            listener.shard = shard;
            entrances.push(Entrance {
                face,
                is_sealed: acceptor.is_some(),
            });
            machine.listeners.push(listener);
        }
    };
    let mut add = |face, address, acceptor| add_at(None, face, address, acceptor);
    add(Face::Mqtt, Some(listen.mqtt), None);
    add(Face::WebSocket, Some(listen.ws), None);
    add(Face::Xmpp, xmpp_address(listen.xmpp), None);
    if let Some(acceptors) = acceptors {
        add(Face::Mqtt, listen.mqtts, Some(&acceptors.mqtt));
        add(Face::WebSocket, listen.wss, Some(&acceptors.ws));
        add(Face::Xmpp, listen.xmpps, Some(&acceptors.xmpp));
    }
    for shard in 0..shards {
        add_at(Some(shard), Face::Mqtt, listen.mqtt_of_shard(shard), None);
    }
    (machine, entrances)
}

/// Where XMPP over TCP listens. Who names no address, and has another server at the usual one, goes without.
fn xmpp_address(named: Option<SocketAddr>) -> Option<SocketAddr> {
    named.or_else(|| {
        let usual = Listen::XMPP;
        match std::net::TcpListener::bind(usual) {
            Ok(_) => Some(usual),
            Err(error) => {
                tracing::warn!(
                    "XMPP over TCP is not offered: {usual}: {error}; choose an address with listen.xmpp"
                );
                None
            }
        }
    })
}

fn wake(bells: &Arc<OnceLock<Vec<shards::Bell>>>) -> Wake {
    let bells = Arc::clone(bells);
    Arc::new(move |shard| {
        if let Some(bell) = bells.get().and_then(|bells| bells.get(shard)) {
            bell.ring();
        }
    })
}

fn metrics_text(
    metrics: &[Arc<ShardMetrics>],
    stats: &[Arc<shards::Stats>],
    control: &ControlPort,
    storage: Option<&StoragePort>,
    bridge: Option<&BridgeMetrics>,
) -> String {
    let mut text = exposition::render(metrics);
    super::machine_metrics::render(&mut text, stats, control, storage);
    if let Some(bridge) = bridge {
        bridge::render(&mut text, bridge);
    }
    text
}

/// Reads a configuration file; without one, the defaults.
pub fn read_config(path: Option<&PathBuf>) -> Result<Config, Fault> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    let text = std::fs::read_to_string(path).map_err(|e| {
        let path = path.display();
        Fault::new(format!(
            "cannot read the configuration {path}: {e}; name a TOML file that can be read with --config"
        ))
    })?;
    Config::parse(&text, path).map_err(|e| Fault::new(e.to_string()))
}

/// Gives a running daemon the part of a reread configuration that it can take, and names the rest.
fn take_over(handle: &Handle, mut reread: Config, running: &Config) {
    let kept = reread.keep_bound(running);
    if let Some(acceptors) = &handle.acceptors
        && let Err(error) = acceptors.reread(&reread)
    {
        tracing::error!(%error, "certificates not reread");
    }
    handle.reconfigure(&Arc::new(reread));
    tracing::info!("configuration reread");
    if !kept.is_empty() {
        tracing::warn!(
            "changed, but only a restart of nexusd takes it over: {}",
            kept.join(", ")
        );
    }
}

/// Runs a daemon until SIGTERM or SIGINT. Prints the ready line when it accepts connections. `reread` makes the
/// configuration anew at SIGHUP.
pub fn serve(
    config: &Config,
    reread: impl Fn() -> Result<Config, Fault> + Send + 'static,
) -> Result<(), Fault> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|e| Fault::new(format!("cannot watch for signals: {e}")))?;
    let daemon = Daemon::start(config)?;
    let line = serde_json::json!({ "ready": true, "listen": daemon.addresses() });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|e| Fault::new(format!("cannot write the ready line: {e}")))?;
    drop(out);
    let handle = daemon.handle();
    let watch = signals.handle();
    let running = config.clone();
    let watcher = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                match signal {
                    SIGHUP => match reread() {
                        Ok(config) => take_over(&handle, config, &running),
                        Err(error) => tracing::error!(%error, "configuration not reread"),
                    },
                    _ => {
                        tracing::info!(signal, "stopping");
                        handle.stop();
                    }
                }
            }
        })
        .map_err(|e| Fault::new(format!("cannot start a thread: {e}")))?;
    let ended = daemon.join();
    watch.close();
    if watcher.join().is_err() {
        tracing::error!("the signal thread panicked");
    }
    ended
}
