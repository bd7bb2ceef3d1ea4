//! The addresses that the daemon listens on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Deserialize;

use super::ConfigError;
use crate::limits;

/// Where the daemon listens. A port of 0 is any free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// MQTT over TCP.
    pub mqtt: SocketAddr,
    /// MQTT over TCP at one shard: shard 0 accepts at this port, shard 1 at the next, and so on; none: nowhere.
    pub mqtt_of_shards: Option<SocketAddr>,
    /// MQTT over TLS; none: nowhere.
    pub mqtts: Option<SocketAddr>,
    /// WebSocket: MQTT on the path `/mqtt`, XMPP on `/ws` and `/xmpp-websocket`.
    pub ws: SocketAddr,
    /// The same over TLS; none: nowhere.
    pub wss: Option<SocketAddr>,
    /// XMPP over TCP, which may turn to TLS; none: on [`Listen::XMPP`], if nobody else listens there.
    pub xmpp: Option<SocketAddr>,
    /// XMPP over TLS; none: nowhere.
    pub xmpps: Option<SocketAddr>,
    /// Metrics and health.
    pub http: SocketAddr,
    /// The QE bridge; none: nowhere.
    pub bridge: Option<SocketAddr>,
}

impl Listen {
    /// Where XMPP over TCP listens if no address is named.
    pub const XMPP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5_222);

    /// Where shard `shard` alone accepts MQTT over TCP.
    pub fn mqtt_of_shard(&self, shard: usize) -> Option<SocketAddr> {
        let mut address = self.mqtt_of_shards?;
        let port = u16::try_from(shard)
            .ok()
            .and_then(|shard| address.port().checked_add(shard))?;
        address.set_port(port);
        Some(address)
    }

    /// The ports of shards follow one another, so that the first has to be named, and there has to be a last.
    pub(super) fn check_shards(&self) -> Result<(), ConfigError> {
        match self.mqtt_of_shards {
            Some(first) if first.port() == 0 || self.mqtt_of_shard(limits::SHARDS_MAX).is_none() => {
                let last = usize::from(u16::MAX) - limits::SHARDS_MAX;
                Err(ConfigError(format!(
                    "listen.mqtt_of_shards = {first}: the port of shard 0 is needed, 1 to {last}; the others follow"
                )))
            }
            _ => Ok(()),
        }
    }

    /// What listens with TLS, by key.
    pub(super) fn sealed(&self) -> [(&'static str, Option<SocketAddr>); 3] {
        [("mqtts", self.mqtts), ("wss", self.wss), ("xmpps", self.xmpps)]
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            mqtt: SocketAddr::from(([127, 0, 0, 1], 1_883)),
            mqtt_of_shards: None,
            mqtts: None,
            ws: SocketAddr::from(([127, 0, 0, 1], 8_083)),
            wss: None,
            xmpp: None,
            xmpps: None,
            http: SocketAddr::from(([127, 0, 0, 1], 8_090)),
            bridge: None,
        }
    }
}
