//! The Prometheus text exposition of all shards' counters (format 0.0.4).

use std::fmt::Write;
use std::sync::Arc;

use super::{ApiOutcome, Counter, DropReason, Protocol, ShardMetrics, Stage, Transport, histogram};
use crate::session::Disconnect;

/// A metric without labels: name, type, help, and its counter in a shard's metrics.
type Plain = (
    &'static str,
    &'static str,
    &'static str,
    fn(&ShardMetrics) -> &Counter,
);

const PLAIN: &[Plain] = &[
    (
        "nexus_connections_opened_total",
        "counter",
        "Connections accepted.",
        |m| &m.connections_opened,
    ),
    (
        "nexus_connections_closed_total",
        "counter",
        "Connections ended.",
        |m| &m.connections_closed,
    ),
    ("nexus_sessions", "gauge", "Sessions that are logged in.", |m| {
        &m.sessions
    }),
    (
        "nexus_sessions_offline",
        "gauge",
        "Sessions that are kept without a connection.",
        |m| &m.sessions_offline,
    ),
    (
        "nexus_sessions_resumed_total",
        "counter",
        "Sessions that a client came back to.",
        |m| &m.sessions_resumed,
    ),
    (
        "nexus_sessions_expired_total",
        "counter",
        "Sessions that ended because nobody came back in time.",
        |m| &m.sessions_expired,
    ),
    ("nexus_logins_denied_total", "counter", "Logins refused.", |m| {
        &m.logins_denied
    }),
    (
        "nexus_frames_in_total",
        "counter",
        "Packets and stanzas taken from blocks; over WebSocket its frames.",
        |m| &m.frames_in,
    ),
    (
        "nexus_frames_out_total",
        "counter",
        "Packets and stanzas written to blocks; over WebSocket its frames.",
        |m| &m.frames_out,
    ),
    (
        "nexus_subscriptions",
        "gauge",
        "Subscriptions to channels and to $SYS.",
        |m| &m.subscriptions,
    ),
    (
        "nexus_subscription_bytes",
        "gauge",
        "Bytes that subscriptions and listeners take in memory, on the shards of their blocks.",
        |m| &m.subscription_bytes,
    ),
    (
        "nexus_subscriptions_refused_total",
        "counter",
        "Filters and listeners that blocks asked for and were refused.",
        |m| &m.subscriptions_refused,
    ),
    (
        "nexus_mqtt_in_flight",
        "gauge",
        "QoS 1 and 2 messages sent to clients and not acknowledged.",
        |m| &m.mqtt_in_flight,
    ),
    (
        "nexus_mqtt_queued_messages",
        "gauge",
        "Messages that wait for clients, connected or not.",
        |m| &m.mqtt_queued,
    ),
    (
        "nexus_mqtt_queued_bytes",
        "gauge",
        "Bytes of the messages that wait for clients.",
        |m| &m.mqtt_queued_bytes,
    ),
    (
        "nexus_mqtt_held_bytes",
        "gauge",
        "Bytes of the messages that wait for clients or may have to be sent to them again.",
        |m| &m.mqtt_held_bytes,
    ),
    (
        "nexus_mqtt_will_bytes",
        "gauge",
        "Bytes of the wills that clients have left, connected or not.",
        |m| &m.mqtt_will_bytes,
    ),
    (
        "nexus_xmpp_suspended",
        "gauge",
        "Sessions of XMPP that lost their connection and may be resumed.",
        |m| &m.xmpp_suspended,
    ),
    (
        "nexus_xmpp_resumed_total",
        "counter",
        "Sessions of XMPP that were resumed.",
        |m| &m.xmpp_resumed,
    ),
    (
        "nexus_xmpp_resume_failed_total",
        "counter",
        "Attempts to resume a session of XMPP that failed.",
        |m| &m.xmpp_resume_failed,
    ),
    (
        "nexus_xmpp_resume_expired_total",
        "counter",
        "Sessions of XMPP that were not resumed in time.",
        |m| &m.xmpp_resume_expired,
    ),
    (
        "nexus_xmpp_suspend_refused_total",
        "counter",
        "Sessions of XMPP that ended with their connections because too many waited.",
        |m| &m.xmpp_suspend_refused,
    ),
    (
        "nexus_xmpp_unacked_bytes",
        "gauge",
        "Bytes of stanzas that are remembered until blocks acknowledge them.",
        |m| &m.xmpp_unacked_bytes,
    ),
    (
        "nexus_xmpp_unacked_forgotten_total",
        "counter",
        "Stanzas that were forgotten before they were acknowledged.",
        |m| &m.xmpp_unacked_forgotten,
    ),
    (
        "nexus_unfinished_bytes",
        "gauge",
        "Bytes that unfinished packets and stanzas announced beyond 16 KiB each.",
        |m| &m.unfinished_bytes,
    ),
    (
        "nexus_xmpp_left_behind",
        "gauge",
        "Blocks that ended without leaving their rooms, which wait for their next session.",
        |m| &m.left_behind,
    ),
    (
        "nexus_xmpp_left_behind_forgotten_total",
        "counter",
        "Blocks whose rooms were forgotten before their time: too many others left theirs.",
        |m| &m.left_behind_forgotten,
    ),
    (
        "nexus_xmpp_left_behind_refused_total",
        "counter",
        "Rooms that were not remembered: their block was in too many when it ended.",
        |m| &m.left_behind_refused,
    ),
    (
        "nexus_xmpp_rooms_restored_total",
        "counter",
        "Rooms that blocks were put back into when they came back.",
        |m| &m.rooms_restored,
    ),
    (
        "nexus_room_occupants",
        "gauge",
        "Blocks in rooms, each once for each room.",
        |m| &m.room_occupants,
    ),
    (
        "nexus_room_unlisted_total",
        "counter",
        "Blocks that entered a room and are shown to nobody: its shard's lists are full.",
        |m| &m.room_unlisted,
    ),
    (
        "nexus_room_caps_refused_total",
        "counter",
        "Capabilities of occupants that nobody is shown: they are larger than before, and their shard's lists are full.",
        |m| &m.room_notes_refused,
    ),
    (
        "nexus_share_groups",
        "gauge",
        "Groups of shared subscriptions.",
        |m| &m.share_groups,
    ),
    (
        "nexus_share_redirected_total",
        "counter",
        "Messages of a group that went to another member than the one that was chosen first.",
        |m| &m.share_redirected,
    ),
    ("nexus_retained_messages", "gauge", "Retained messages.", |m| {
        &m.retained_messages
    }),
    (
        "nexus_retained_bytes",
        "gauge",
        "Bytes that retained messages take in memory.",
        |m| &m.retained_bytes,
    ),
    (
        "nexus_channel_in_total",
        "counter",
        "Channel messages taken from blocks.",
        |m| &m.channel_in,
    ),
    (
        "nexus_channel_unheard_total",
        "counter",
        "Channel messages that nobody was subscribed to.",
        |m| &m.channel_unheard,
    ),
    (
        "nexus_channel_out_total",
        "counter",
        "Channel messages delivered to blocks.",
        |m| &m.channel_out,
    ),
    (
        "nexus_direct_in_total",
        "counter",
        "Direct messages taken from blocks.",
        |m| &m.direct_in,
    ),
    (
        "nexus_direct_out_total",
        "counter",
        "Direct messages delivered to blocks.",
        |m| &m.direct_out,
    ),
    (
        "nexus_requests_in_total",
        "counter",
        "API requests taken from blocks.",
        |m| &m.requests_in,
    ),
    (
        "nexus_requests_out_total",
        "counter",
        "API requests delivered to workers.",
        |m| &m.requests_out,
    ),
];

/// Renders the sums over all shards.
pub fn render(shards: &[Arc<ShardMetrics>]) -> String {
    let mut text = String::with_capacity(8 * 1_024);
    for (name, kind, help, counter) in PLAIN {
        // Gauges go up on one shard and down on the same: the sum wraps back into range.
        let sum = shards
            .iter()
            .fold(0u64, |sum, shard| sum.wrapping_add(counter(shard).get()));
        head(&mut text, name, kind, help);
        let _ = writeln!(text, "{name} {sum}");
    }
    let sum = |value: &dyn Fn(&ShardMetrics) -> u64| shards.iter().map(|shard| value(shard)).sum::<u64>();
    head(
        &mut text,
        "nexus_drops_total",
        "counter",
        "Messages dropped, by stage and reason.",
    );
    for &stage in Stage::ALL {
        for &reason in DropReason::ALL {
            let drops = sum(&|shard| shard.drops(stage, reason));
            let (stage, reason) = (stage.as_str(), reason.as_str());
            let _ = writeln!(
                text,
                "nexus_drops_total{{stage=\"{stage}\",reason=\"{reason}\"}} {drops}"
            );
        }
    }
    head(
        &mut text,
        "nexus_api_outcomes_total",
        "counter",
        "API requests ended, by outcome.",
    );
    for &outcome in ApiOutcome::ALL {
        let count = sum(&|shard| shard.outcomes(outcome));
        let _ = writeln!(
            text,
            "nexus_api_outcomes_total{{outcome=\"{}\"}} {count}",
            outcome.as_str()
        );
    }
    head(
        &mut text,
        "nexus_disconnects_total",
        "counter",
        "Connections ended by the peer's fault, by reason.",
    );
    for &reason in Disconnect::ALL {
        let count = sum(&|shard| shard.disconnects(reason));
        let _ = writeln!(
            text,
            "nexus_disconnects_total{{reason=\"{}\"}} {count}",
            reason.as_str()
        );
    }
    connections_and_publishes(&mut text, shards);
    histogram::render(
        &mut text,
        "nexus_api_seconds",
        "From the moment a request was taken to its outcome.",
        shards.iter().map(|shard| &shard.api_latency),
    );
    histogram::render(
        &mut text,
        "nexus_durable_publish_seconds",
        "From the moment a message was taken that has to outlive the daemon to its acknowledgement.",
        shards.iter().map(|shard| &shard.durable_latency),
    );
    text
}

fn connections_and_publishes(text: &mut String, shards: &[Arc<ShardMetrics>]) {
    let sum = |value: &dyn Fn(&ShardMetrics) -> u64| {
        shards
            .iter()
            .fold(0u64, |sum, shard| sum.wrapping_add(value(shard)))
    };
    let name = "nexus_connections";
    head(
        text,
        name,
        "gauge",
        "Blocks that are connected, by what they speak and what carries it.",
    );
    for &protocol in Protocol::ALL {
        for &transport in Transport::ALL {
            let count = sum(&|shard| shard.connections(protocol, transport));
            let (protocol, transport) = (protocol.as_str(), transport.as_str());
            let _ = writeln!(
                text,
                "{name}{{protocol=\"{protocol}\",transport=\"{transport}\"}} {count}"
            );
        }
    }
    let name = "nexus_mqtt_publishes_total";
    head(
        text,
        name,
        "counter",
        "PUBLISH packets taken from clients, and given to clients or their queues, by QoS.",
    );
    for (direction, inward) in [("in", true), ("out", false)] {
        for qos in 0..=2 {
            let count = sum(&|shard| shard.publishes(inward, qos));
            let _ = writeln!(text, "{name}{{direction=\"{direction}\",qos=\"{qos}\"}} {count}");
        }
    }
}

/// The two lines that introduce a metric.
pub fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_all_shards_are_added_up() {
        let shards = [
            Arc::new(ShardMetrics::default()),
            Arc::new(ShardMetrics::default()),
        ];
        shards[0].channel_in.add(3);
        shards[1].channel_in.add(4);
        shards[1].dropped(Stage::Direct, DropReason::NoReceiver);
        shards[0].ended(ApiOutcome::Timeout);
        let text = render(&shards);
        assert!(text.contains("\nnexus_channel_in_total 7\n"));
        assert!(text.contains("nexus_drops_total{stage=\"direct\",reason=\"no_receiver\"} 1\n"));
        assert!(text.contains("nexus_api_outcomes_total{outcome=\"timeout\"} 1\n"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(
                name.starts_with("nexus_") && value.parse::<f64>().is_ok(),
                "{line}"
            );
        }
    }
}
