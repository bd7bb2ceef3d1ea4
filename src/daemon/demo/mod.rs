//! `nexusd demo`: a throw-away daemon with a sample app, and sample clients that show API, Direct and Channel
//! going across the protocols over real sockets.

mod join;
mod mqtt;
mod show;
mod worker;
mod xml;
mod xmpp;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::worker::Workers;
use super::Fault;
use super::control::{AccountSecret, OpenMode, Records, ServiceKind};
use super::serve::{Addresses, Daemon};
use super::tls;
use crate::config::{Config, Durability, Listen};
use crate::route::{Role, Uid};

const OWNER: &str = "0123456789abcdef01234567";
const CUSTOMER: &str = "89abcdef0123456789abcdef";

/// Who a sample client is.
#[derive(Clone, Debug)]
struct Login {
    /// `<app>-<uid>-<role>`.
    account: String,
    /// Its secret.
    secret: String,
    /// What it is called among the blocks of its account.
    resource: String,
}

impl Login {
    /// The account as XMPP writes it.
    fn account_at(&self, domain: &str) -> String {
        format!("{}@{domain}", self.account)
    }

    /// Its full address.
    fn address(&self, domain: &str) -> String {
        format!("{}/{}", self.account_at(domain), self.resource)
    }

    /// As a sender in a topic of MQTT 3.1.1.
    fn below(&self, topic: &str) -> String {
        format!("{topic}/{}/{}", self.account.replace('-', "/"), self.resource)
    }
}

/// The sample accounts: the app's owner runs two workers, a customer with a service has a web page and a device.
struct Cast {
    worker: Login,
    web_worker: Login,
    web: Login,
    device: Login,
}

impl Cast {
    /// Worker w1, worker w2, the device, the web page.
    const fn everybody(&self) -> [&Login; 4] {
        [&self.worker, &self.web_worker, &self.device, &self.web]
    }
}

/// Where it is shown, and with whom.
#[derive(Clone, Copy)]
struct Stage<'a> {
    cast: &'a Cast,
    at: Addresses,
    domain: &'a str,
    /// The file of the certificate that is shown under TLS.
    certificate: &'a Path,
}

/// How long a sample client waits for what is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    TenSeconds,
    Endless,
}

/// Runs the demonstration. With `once` it ends after the exchange, else it stays up until SIGINT or SIGTERM.
/// The store goes away with it unless `keeps_store`.
pub fn demo(mut config: Config, keeps_store: bool, once: bool) -> Result<(), Fault> {
    let throw_away =
        tempfile::tempdir().map_err(|e| Fault::new(format!("cannot make a temporary folder: {e}")))?;
    if !keeps_store {
        config.data_dir = throw_away.path().join("store");
    }
    config.storage.durability = Durability::Memory;
    config.tls.self_signed = true;
    config.complete();
    config.listen = free_addresses(config.listen);
    let mut signals =
        Signals::new([SIGINT, SIGTERM]).map_err(|e| Fault::new(format!("cannot watch for signals: {e}")))?;
    let cast = cast(&config.data_dir)?;
    let daemon = Daemon::start(&config)?;
    let (certificate, _) = tls::self_signed_paths(&config);
    let stage = Stage {
        cast: &cast,
        at: daemon.addresses(),
        domain: config.domains.first().map_or("localhost", |domain| domain),
        certificate: &certificate,
    };
    if let Err(fault) = perform(&stage) {
        daemon.stop()?;
        return Err(fault);
    }
    if !once {
        say(&join::how_to_join(&stage))?;
        if let Some(signal) = signals.forever().next() {
            say(&format!("\nSignal {signal}: stopping."))?;
        }
    }
    daemon.stop()
}

/// The exchange. The workers outlive it, for those who join in.
fn perform(stage: &Stage<'_>) -> Result<(), Fault> {
    introduce(stage)?;
    let workers = Workers::start(stage)?;
    // What became of a worker says more than that nothing came from it.
    show::show(stage).map_err(|fault| workers.fault().unwrap_or(fault))
}

fn introduce(stage: &Stage<'_>) -> Result<(), Fault> {
    let Stage { cast, at, domain, .. } = *stage;
    say(&format!(
        "nexusd listens: MQTT on {}, XMPP on ws://{}/ws, MQTT over WebSocket on ws://{}/mqtt",
        at.mqtt, at.ws, at.ws
    ))?;
    if let Some(xmpp) = at.xmpp {
        say(&format!("XMPP over TCP on {xmpp}"))?;
    }
    if let (Some(mqtts), Some(wss), Some(xmpps)) = (at.mqtts, at.wss, at.xmpps) {
        say(&format!(
            "Over TLS: MQTT on {mqtts}, XMPP on {xmpps} and wss://{wss}/ws, MQTT over WebSocket on wss://{wss}/mqtt"
        ))?;
    }
    say("")?;
    for (who, login, speaks) in [
        ("worker w1", &cast.worker, "MQTT 5.0 over TCP"),
        ("worker w2", &cast.web_worker, "XMPP over WebSocket"),
        ("web page", &cast.web, "XMPP over WebSocket"),
        ("device", &cast.device, "MQTT 3.1.1 over TCP"),
    ] {
        let address = login.address(domain);
        say(&format!("  {who:<9}  {address:<52}  {speaks}"))?;
    }
    Ok(())
}

/// The configured addresses; where one is taken, any free port on it.
fn free_addresses(listen: Listen) -> Listen {
    let free = |address: SocketAddr| {
        if std::net::TcpListener::bind(address).is_ok() {
            address
        } else {
            SocketAddr::new(address.ip(), 0)
        }
    };
    Listen {
        mqtt: free(listen.mqtt),
        mqtt_of_shards: None,
        mqtts: listen.mqtts.map(free),
        ws: free(listen.ws),
        wss: listen.wss.map(free),
        xmpp: Some(free(listen.xmpp.unwrap_or(Listen::XMPP))),
        xmpps: listen.xmpps.map(free),
        http: free(listen.http),
        bridge: listen.bridge.map(free),
    }
}

fn cast(data_dir: &Path) -> Result<Cast, Fault> {
    let fault = |e: &dyn std::fmt::Display| Fault::new(format!("cannot make the sample accounts: {e}"));
    let uid = |text: &str| Uid::parse(text).map_err(|e| fault(&e));
    let (owner, customer) = (uid(OWNER)?, uid(CUSTOMER)?);
    let mut records = Records::open(data_dir, OpenMode::Create).map_err(|e| fault(&e))?;
    let made = records.write(|writer| {
        writer.add_app("etest", None, None)?;
        writer.add_app("shop", None, None)?;
        writer.grant_service(customer, "etest", ServiceKind::Get, None)?;
        Ok((
            writer.add_account("etest", owner, Role::Owner)?,
            writer.add_account("shop", customer, Role::User)?,
        ))
    });
    let (owner, customer) = made.map_err(|e| fault(&e))?;
    let login = |of: &AccountSecret, resource: &str| Login {
        account: of.account.clone(),
        secret: of.secret.expose().to_owned(),
        resource: resource.to_owned(),
    };
    Ok(Cast {
        worker: login(&owner, "w1"),
        web_worker: login(&owner, "w2"),
        web: login(&customer, "web1"),
        device: login(&customer, "pump7"),
    })
}

fn open_tcp(address: SocketAddr, patience: Patience) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(match patience {
        Patience::TenSeconds => Some(Duration::from_secs(10)),
        Patience::Endless => None,
    })?;
    Ok(stream)
}

fn say(text: &str) -> Result<(), Fault> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|e| Fault::new(format!("cannot print: {e}")))
}
