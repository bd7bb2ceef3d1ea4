//! What all MQTT sessions of one shard have in common.

use std::sync::Arc;

use crate::limits;
use crate::observe::ShardMetrics;

/// What the operator decided for MQTT, and where the sessions of one shard count what they drop.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The domains that a user name may carry after an `@`.
    pub domains: Vec<Box<str>>,
    /// Receive Maximum (5.0, 3.2.2.3.3), never 0: QoS 1 and 2 messages of one client not yet acknowledged.
    pub receive_maximum: u16,
    /// Maximum Packet Size (5.0, 3.2.2.3.6) in bytes, for 3.1.1 clients, too.
    pub packet_bytes_max: u32,
    /// The longest keep alive granted to 5.0 clients (3.2.2.3.14) in seconds; 0 grants any.
    pub keep_alive_s_max: u16,
    /// The longest that a session lasts without its connection (5.0, 3.1.2.11.2) in seconds; 4,294,967,295 is for ever.
    pub session_expiry_s_max: u32,
    /// Topic Alias Maximum (5.0, 3.2.2.3.8); 0 is none.
    pub topic_alias_maximum: u16,
    /// QoS 1 and 2 messages sent to one client and not yet acknowledged; its Receive Maximum lowers it.
    pub inflight_max: u16,
    /// QoS 1 and 2 messages waiting for a place among those, or for the client to come back.
    pub queued_messages_max: usize,
    /// Bytes of those that wait, and of those in flight that are kept to be sent again.
    pub queued_bytes_max: usize,
    /// Bytes of what all sessions of the shard have waiting or may have to send again.
    pub held_bytes_max: u64,
    /// Bytes of the wills that all clients of the shard have left.
    pub will_bytes_max: u64,
    /// Messages a client may publish in a second, in bursts of as many; 0 is any number.
    pub publish_rate_max: u32,
    /// Filters that one SUBSCRIBE or UNSUBSCRIBE may name: as many as a block may subscribe to.
    pub filters_max: usize,
    /// Whether 3.1.1 clients may subscribe to channels with plain filters, whose deliveries hide the sender.
    pub v3_plain_channels: bool,
    /// The counters of the shard.
    pub metrics: Arc<ShardMetrics>,
}

impl Settings {
    /// Whether a domain is one of those served here.
    pub(super) fn is_ours(&self, domain: &str) -> bool {
        self.domains.iter().any(|ours| ours.eq_ignore_ascii_case(domain))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            receive_maximum: 256,
            packet_bytes_max: u32::try_from(limits::PACKET_BYTES_MAX).unwrap_or(u32::MAX),
            keep_alive_s_max: 0,
            session_expiry_s_max: limits::SESSION_EXPIRY_S_MAX,
            topic_alias_maximum: 16,
            inflight_max: limits::INFLIGHT_PER_SESSION_MAX,
            queued_messages_max: limits::QUEUED_PER_SESSION_MAX,
            queued_bytes_max: limits::QUEUED_BYTES_PER_SESSION_MAX,
            held_bytes_max: limits::QUEUED_BYTES_MAX as u64,
            will_bytes_max: limits::WILL_BYTES_MAX as u64,
            publish_rate_max: 0,
            filters_max: limits::SUBSCRIPTIONS_PER_BLOCK_MAX,
            v3_plain_channels: true,
            metrics: Arc::default(),
        }
    }
}
