//! A PUBLISH put together from pieces that are nowhere in one buffer: how messages are delivered.

use std::num::NonZeroU16;

use super::encode::{self, Body, PutProperties, Sink};
use super::packet::{PacketId, QoS, Version};
use super::property::Property;

/// The pieces of a PUBLISH. What 3.1.1 does not have is left out there.
#[derive(Clone, Copy, Debug)]
pub struct PublishParts<'a> {
    /// The receiver's version.
    pub version: Version,
    /// Redelivery.
    pub dup: bool,
    /// Delivery guarantee.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// The Topic Name is these pieces, one after the other; empty where a Topic Alias stands in (5.0).
    pub topic: &'a [&'a str],
    /// Present exactly if `qos` is over 0.
    pub packet_id: Option<PacketId>,
    /// Message Expiry Interval, seconds.
    pub expiry_s: Option<u32>,
    /// Topic Alias.
    pub topic_alias: Option<NonZeroU16>,
    /// The Response Topic is these pieces, one after the other; none if empty.
    pub response_topic: &'a [&'a str],
    /// Correlation Data.
    pub correlation_data: Option<&'a [u8]>,
    /// Subscription Identifiers, each 1..=268,435,455.
    pub subscription_identifiers: &'a [u32],
    /// Properties that are forwarded as they came: a block without its length.
    pub attributes: &'a [u8],
    /// User properties that follow those in `attributes`.
    pub user_properties: &'a [(&'a str, &'a str)],
    /// The payload.
    pub payload: &'a [u8],
}

impl PublishParts<'_> {
    /// A QoS 0 message without topic, properties and payload, to be filled in.
    pub const fn new(version: Version) -> Self {
        Self {
            version,
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: &[],
            packet_id: None,
            expiry_s: None,
            topic_alias: None,
            response_topic: &[],
            correlation_data: None,
            subscription_identifiers: &[],
            attributes: &[],
            user_properties: &[],
            payload: &[],
        }
    }

    /// The packet with its length, counted once for all that is done with it.
    #[inline]
    pub fn counted(&self) -> Counted<'_> {
        Counted {
            parts: self,
            body_len: encode::body_len(self, self.version),
        }
    }

    /// Bytes of the whole packet, fixed header included, as they count against a Maximum Packet Size.
    pub fn encoded_len(&self) -> usize {
        self.counted().encoded_len()
    }

    /// Appends the packet: exactly [`PublishParts::encoded_len`] bytes.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        self.counted().encode_into(out);
    }
}

/// A PUBLISH whose length is known.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'p> {
    parts: &'p PublishParts<'p>,
    body_len: usize,
}

impl Counted<'_> {
    /// Bytes of the whole packet, as [`PublishParts::encoded_len`] counts them.
    #[inline]
    pub const fn encoded_len(&self) -> usize {
        encode::packet_len(self.body_len)
    }

    /// Appends the packet: exactly [`Counted::encoded_len`] bytes.
    #[inline]
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let parts = self.parts;
        debug_assert_eq!(
            parts.packet_id.is_some(),
            parts.qos != QoS::AtMostOnce,
            "a packet identifier goes with QoS over 0 [MQTT-2.2.1-2]"
        );
        let first = encode::publish_first_byte(parts.dup, parts.qos, parts.retain);
        encode::encode_counted(first, parts, self.body_len, parts.version, out);
    }
}

impl Body for PublishParts<'_> {
    #[inline]
    fn body<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.strings(self.topic);
        if let Some(packet_id) = self.packet_id {
            sink.u16(packet_id.get());
        }
        encode::put_block(version, sink, self);
        sink.bytes(self.payload);
    }
}

impl PutProperties for &PublishParts<'_> {
    #[inline]
    fn put<S: Sink>(&self, sink: &mut S) {
        if let Some(expiry_s) = self.expiry_s {
            Property::MessageExpiryInterval(expiry_s).put(sink);
        }
        if let Some(topic_alias) = self.topic_alias {
            Property::TopicAlias(topic_alias.get()).put(sink);
        }
        if !self.response_topic.is_empty() {
            sink.byte(super::property::id::RESPONSE_TOPIC);
            sink.strings(self.response_topic);
        }
        if let Some(correlation_data) = self.correlation_data {
            Property::CorrelationData(correlation_data).put(sink);
        }
        for &identifier in self.subscription_identifiers {
            Property::SubscriptionIdentifier(identifier).put(sink);
        }
        sink.bytes(self.attributes);
        for (name, value) in self.user_properties {
            Property::UserProperty(name, value).put(sink);
        }
    }
}
