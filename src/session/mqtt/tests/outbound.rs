//! The window and the queue, driven without a session.

use super::*;
use crate::codec::mqtt::publish::PublishParts;
use crate::limits;
use crate::observe::ShardMetrics;
use crate::route::Undelivered;
use crate::session::mqtt::in_flight::Link;
use crate::session::mqtt::message::{Message, UNNUMBERED};
use crate::session::mqtt::outbound::{Outbound, Received};
use crate::session::testing::Recorder;
use crate::time::Instant;

fn now(ms: u64) -> Now {
    Now {
        instant: Instant::from_nanos(ms * 1_000_000),
        unix_ms: 0,
    }
}

fn parts(qos: QoS, payload: &[u8]) -> PublishParts<'_> {
    PublishParts {
        qos,
        packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
        topic: &["a", "/b"],
        payload,
        ..PublishParts::new(V5)
    }
}

fn encoded(parts: &PublishParts<'_>) -> Vec<u8> {
    let mut packet = Vec::new();
    parts.encode_into(&mut packet);
    packet
}

fn waiting(parts: &PublishParts<'_>, expires: Option<Instant>) -> Message {
    Message {
        seq: UNNUMBERED,
        stage: Stage::Channel,
        version: parts.version,
        expires,
        packet: encoded(parts),
        origin: None,
    }
}

/// An ordinary session's messages, and what is written.
#[derive(Default)]
struct Ordinary {
    outbound: Outbound,
    out: Recorder,
    settings: Settings,
}

impl Ordinary {
    fn link(settings: &Settings, window: u16, version: Version) -> Link<'_> {
        Link {
            window,
            version,
            packet_bytes_max: u32::MAX,
            settings,
        }
    }

    fn wait(&mut self, message: Message) -> Result<(), Undelivered> {
        let link = Self::link(&self.settings, 1, V5);
        self.outbound
            .accept(now(0), message, &link, None, Some(&mut self.out))
    }

    fn advance(&mut self, at: Now, window: u16, version: Version) -> Vec<u8> {
        let link = Self::link(&self.settings, window, version);
        self.outbound.advance(at, &link, None, &mut self.out);
        self.out.take()
    }

    fn metrics(&self) -> &ShardMetrics {
        &self.settings.metrics
    }
}

#[test]
fn mqtt5_4_4_the_window_opens_with_each_acknowledgement() {
    let mut all = Ordinary::default();
    let first = all.outbound.begin(QoS::AtLeastOnce);
    assert!(!all.outbound.has_room(1, false));
    all.wait(waiting(&parts(QoS::AtLeastOnce, b"1"), None)).unwrap();
    all.wait(waiting(&parts(QoS::AtMostOnce, b"2"), None)).unwrap();
    assert!(all.advance(now(0), 1, V5).is_empty());
    assert!(all.outbound.holds(Stage::Channel) && !all.outbound.holds(Stage::Direct));
    assert!(all.outbound.acknowledge(first, None));
    let mut sent = parts(QoS::AtLeastOnce, b"1");
    sent.packet_id = PacketId::new(2);
    let expected = [encoded(&sent), encoded(&parts(QoS::AtMostOnce, b"2"))].concat();
    assert_eq!(all.advance(now(0), 1, V5), expected);
    assert!(!all.outbound.holds(Stage::Channel) && !all.outbound.is_empty());
    assert!(all.outbound.acknowledge(id(2), None));
    assert!(all.outbound.is_empty());
}

#[test]
fn mqtt5_4_9_a_qos_2_message_keeps_its_place_until_pubcomp_or_a_failing_pubrec() {
    let mut all = Ordinary::default();
    let (one, two) = (
        all.outbound.begin(QoS::ExactlyOnce),
        all.outbound.begin(QoS::ExactlyOnce),
    );
    assert!(!all.outbound.has_room(2, false));
    assert_eq!(all.outbound.receive(one, false, None), Received::Release);
    assert!(!all.outbound.has_room(2, false), "PUBREC opens no place");
    assert_eq!(
        all.outbound.receive(one, false, None),
        Received::Release,
        "repeated"
    );
    all.outbound.complete(two, None);
    assert!(!all.outbound.has_room(2, false), "PUBCOMP before PUBREC is none");
    all.outbound.complete(one, None);
    assert!(all.outbound.has_room(2, false));
    assert_eq!(all.outbound.receive(two, true, None), Received::Nothing);
    assert!(all.outbound.is_empty());
}

#[test]
fn mqtt5_3_5_an_answer_of_the_wrong_kind_changes_nothing() {
    let mut all = Ordinary::default();
    let (one, two) = (
        all.outbound.begin(QoS::AtLeastOnce),
        all.outbound.begin(QoS::ExactlyOnce),
    );
    assert_eq!(all.outbound.receive(one, false, None), Received::Wrong);
    assert!(!all.outbound.acknowledge(two, None));
    all.outbound.complete(one, None);
    assert_eq!(all.outbound.receive(id(99), false, None), Received::Unknown);
    assert_eq!(all.outbound.receive(id(99), true, None), Received::Nothing);
    assert!(all.outbound.acknowledge(id(99), None));
    assert!(!all.outbound.has_room(2, false), "both are still on their way");
}

#[test]
fn mqtt5_3_3_2_3_3_what_waited_carries_what_is_left_of_its_expiry() {
    let mut all = Ordinary::default();
    for (payload, expires_ms) in [(b"a", 10_000), (b"b", 1_000)] {
        let mut parts = parts(QoS::AtLeastOnce, payload);
        parts.expiry_s = Some(10);
        parts.subscription_identifiers = &[300];
        all.wait(waiting(&parts, Some(now(expires_ms).instant))).unwrap();
    }
    let mut sent = parts(QoS::AtLeastOnce, b"a");
    sent.expiry_s = Some(8);
    sent.subscription_identifiers = &[300];
    assert_eq!(all.advance(now(2_500), 8, V5), encoded(&sent));
    assert_eq!(all.metrics().drops(Stage::Channel, DropReason::Expired), 1);
    assert!(!all.outbound.holds(Stage::Channel));
}

#[test]
fn mqtt311_3_3_3_a_payload_that_waited_is_untouched() {
    let mut all = Ordinary::default();
    // What would be a property block with a Message Expiry Interval in 5.0.
    let message = PublishParts {
        version: V311,
        ..parts(QoS::AtLeastOnce, &[5, 2, 0, 0, 0, 10])
    };
    all.wait(waiting(&message, Some(now(3_000).instant))).unwrap();
    assert_eq!(all.advance(now(1_000), 8, V311), encoded(&message));
}

#[test]
fn mqtt5_3_3_a_message_is_encoded_anew_for_a_client_of_another_version() {
    let mut attributes = Vec::new();
    Property::ContentType("text/plain").encode_into(&mut attributes);
    let five = PublishParts {
        retain: true,
        expiry_s: Some(10),
        response_topic: &["x/y"],
        subscription_identifiers: &[3, 300],
        attributes: &attributes,
        user_properties: &[("nexus-app", "plant")],
        ..parts(QoS::ExactlyOnce, b"text")
    };
    let three = PublishParts {
        version: V311,
        retain: true,
        ..parts(QoS::ExactlyOnce, b"text")
    };
    let sent = |message: &Message, version, now| {
        let mut out = Recorder::default();
        message.write(version, now, &mut out);
        let packet = out.take();
        assert_eq!(message.packet_len(version, now), packet.len());
        packet
    };
    let mut message = waiting(&five, None);
    assert_eq!(sent(&message, V311, now(0)), encoded(&three));
    assert_eq!(
        sent(&message, V5, now(0)),
        encoded(&five),
        "nothing is lost by it"
    );
    message.repeat();
    let again = PublishParts { dup: true, ..three };
    assert_eq!(sent(&message, V311, now(0)), encoded(&again));
    let message = waiting(&three, Some(now(4_000).instant));
    let told = PublishParts {
        version: V5,
        expiry_s: Some(3),
        ..three
    };
    assert_eq!(sent(&message, V5, now(1_000)), encoded(&told));
}

#[test]
fn the_queue_is_bounded_by_messages_and_by_bytes() {
    let mut all = Ordinary::default();
    for _ in 0..limits::QUEUED_PER_SESSION_MAX {
        all.wait(waiting(&parts(QoS::AtLeastOnce, b""), None)).unwrap();
    }
    let more = all.wait(waiting(&parts(QoS::AtLeastOnce, b""), None));
    assert_eq!(more, Err(Undelivered::QueueFull));
    let mut all = Ordinary::default();
    let half = vec![0; limits::QUEUED_BYTES_PER_SESSION_MAX / 2];
    all.wait(waiting(&parts(QoS::AtLeastOnce, &half), None)).unwrap();
    let more = all.wait(waiting(&parts(QoS::AtLeastOnce, &half), None));
    assert_eq!(more, Err(Undelivered::QueueFull));
}

#[test]
fn mqtt5_2_2_1_identifiers_in_use_are_passed_over() {
    let mut outbound = Outbound::default();
    let first = outbound.begin(QoS::ExactlyOnce);
    for _ in 0..u32::from(u16::MAX) {
        let id = outbound.begin(QoS::AtLeastOnce);
        assert_ne!(id, first);
        assert!(outbound.acknowledge(id, None));
    }
}

#[test]
fn a_full_send_queue_holds_the_window_but_never_all_of_it() {
    let mut all = Ordinary::default();
    all.out.stuck = limits::SEND_QUEUE_BYTES_MAX + 1;
    assert!(all.outbound.has_room(8, true));
    let first = all.outbound.begin(QoS::AtLeastOnce);
    assert!(!all.outbound.has_room(8, true));
    all.wait(waiting(&parts(QoS::AtLeastOnce, b"1"), None)).unwrap();
    assert!(all.advance(now(0), 8, V5).is_empty());
    assert!(all.outbound.acknowledge(first, None));
    assert!(!all.advance(now(0), 8, V5).is_empty());
}
