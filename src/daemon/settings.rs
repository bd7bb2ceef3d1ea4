//! What the configuration says, as the parts of the daemon take it.

use std::sync::Arc;
use std::time::Duration;

use super::Fault;
use super::control::TokenKeys;
use crate::config::{Config, RootWildcard};
use crate::limits;
use crate::observe::ShardMetrics;
use crate::route::{self, RouterLimits};
use crate::session::{mqtt, xmpp};

/// Who may use root wildcards, in the router's words.
pub(super) fn root_wildcard(config: &Config) -> route::RootWildcard {
    match config.channels.root_wildcard {
        RootWildcard::Operators => route::RootWildcard::Operators,
        RootWildcard::All => route::RootWildcard::All,
    }
}

/// The bounds on requests in flight, subscriptions and what is retained, in the words of the router of one of `shards`.
pub(super) fn router_limits(config: &Config, shards: usize) -> RouterLimits {
    RouterLimits {
        requests_per_block_max: config.api.requests_per_block_max,
        requests_per_worker_max: config.api.requests_per_worker_max,
        requests_per_shard_max: config.api.requests_per_shard_max,
        retained_max: config.channels.retained_max,
        retained_bytes_max: config.channels.retained_bytes_max,
        retained_per_account_max: config.channels.retained_per_account_max,
        retained_bytes_per_account_max: config.channels.retained_bytes_per_account_max,
        subscriptions_per_block_max: config.channels.subscriptions_per_block_max,
        subscription_bytes_max: config.channels.subscription_bytes_max / shards.max(1),
        channel_levels_max: config.channels.levels_max,
        kept_sessions_max: config.mqtt.sessions_max,
        kept_sessions_per_account_max: config.mqtt.sessions_per_account_max,
        room_presence_max: config.xmpp.room_presence_max,
        rejoin_s: config.xmpp.rejoin_s,
    }
}

/// The MQTT face's settings.
pub(super) fn mqtt_settings(config: &Config, shards: usize, metrics: &Arc<ShardMetrics>) -> mqtt::Settings {
    mqtt::Settings {
        domains: config
            .domains
            .iter()
            .map(|domain| domain.as_str().into())
            .collect(),
        receive_maximum: config.mqtt.receive_maximum,
        packet_bytes_max: u32::try_from(config.mqtt.packet_bytes_max).unwrap_or(u32::MAX),
        keep_alive_s_max: config.mqtt.keep_alive_s_max,
        session_expiry_s_max: config.mqtt.session_expiry_s_max,
        topic_alias_maximum: config.mqtt.topic_aliases_max,
        inflight_max: config.mqtt.inflight_max,
        queued_messages_max: config.mqtt.queued_messages_max,
        queued_bytes_max: config.mqtt.queued_bytes_max,
        held_bytes_max: (config.mqtt.queued_bytes_total_max / shards.max(1)) as u64,
        will_bytes_max: (config.mqtt.will_bytes_max / shards.max(1)) as u64,
        publish_rate_max: config.mqtt.publish_rate_max,
        filters_max: config.channels.subscriptions_per_block_max,
        v3_plain_channels: config.mqtt.v3_plain_channels,
        metrics: Arc::clone(metrics),
    }
}

/// The XMPP face's settings.
pub(super) fn xmpp_settings(config: &Config, seed: [u8; 32], metrics: &Arc<ShardMetrics>) -> xmpp::Settings {
    let domains = config.domains.iter().map(|domain| domain.as_str().into());
    let mut settings = xmpp::Settings::new(domains.collect(), seed, Arc::clone(metrics));
    settings.ping_s = config.xmpp.ping_s;
    settings.resume_s = config.xmpp.resume_s;
    settings
}

/// The data plane's settings but for its listeners.
pub(super) fn machine(config: &Config) -> shards::Config {
    shards::Config {
        shards: usize::from(config.shards.count),
        spill_bytes_max: config.mqtt.packet_bytes_max.max(limits::STANZA_BYTES_MAX),
        spin: Duration::from_micros(config.shards.spin_us.into()),
        ..shards::Config::default()
    }
}

/// Reads the keys that tokens are verified with.
pub(super) fn token_keys(config: &Config) -> Result<TokenKeys, Fault> {
    let mut keys = TokenKeys::default();
    for key in &config.tokens {
        let file = key.key_file.display();
        let bytes = std::fs::read(&key.key_file)
            .map_err(|e| Fault::new(format!("cannot read tokens.key_file = {file}: {e}")))?;
        keys.add(&key.app, key.algorithm, &bytes)
            .map_err(|e| Fault::new(format!("cannot use tokens.key_file = {file}: {e}")))?;
    }
    Ok(keys)
}
