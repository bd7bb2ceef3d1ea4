//! From packets to bytes.
//!
//! What a packet consists of is written down once, as a function over a [`Sink`]; its length is what the same
//! function gives to a sink that only counts. So a length can never differ from what is written.

use super::header::PacketType;
use super::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Filter, Filters, Names, Packet, Publish, QoS, SubAck, Subscribe,
    Unsubscribe, Version,
};
use super::property::{Properties, Property};
use super::varint;

/// Where bytes go.
pub(super) trait Sink {
    fn bytes(&mut self, bytes: &[u8]);

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    #[inline]
    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    fn varint(&mut self, value: u32) {
        let (bytes, len) = varint::encode(value);
        self.bytes(bytes.get(..len).unwrap_or(&bytes));
    }

    /// A length that has been counted, as a Variable Byte Integer.
    #[inline]
    fn length(&mut self, len: usize) {
        self.varint(u32::try_from(len).map_or(varint::VARINT_MAX, |len| len.min(varint::VARINT_MAX)));
    }

    /// Binary Data (1.5.6). Longer than 65,535 bytes it cannot be written: the caller has its bounds far below.
    #[inline]
    fn binary(&mut self, bytes: &[u8]) {
        debug_assert!(u16::try_from(bytes.len()).is_ok(), "field over 65535 bytes");
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.u16(len);
        self.bytes(bytes.get(..usize::from(len)).unwrap_or(bytes));
    }

    /// UTF-8 Encoded String (1.5.4).
    #[inline]
    fn string(&mut self, text: &str) {
        self.binary(text.as_bytes());
    }

    /// UTF-8 Encoded String in pieces.
    #[inline]
    fn strings(&mut self, pieces: &[&str]) {
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        debug_assert!(u16::try_from(total).is_ok(), "string over 65535 bytes");
        let len = u16::try_from(total).unwrap_or(u16::MAX);
        self.u16(len);
        let mut left = usize::from(len);
        for piece in pieces {
            let piece = piece.as_bytes();
            let piece = piece.get(..left).unwrap_or(piece);
            left -= piece.len();
            self.bytes(piece);
        }
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.push(byte);
    }
}

/// Counts what it is given.
#[derive(Default)]
struct Counter(usize);

impl Sink for Counter {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// A packet's body as a function over a sink.
pub(super) trait Body {
    /// The body: everything after the fixed header.
    fn body<S: Sink>(&self, version: Version, sink: &mut S);
}

/// The length of a packet's body.
#[inline]
pub(super) fn body_len(body: &impl Body, version: Version) -> usize {
    let mut counter = Counter::default();
    body.body(version, &mut counter);
    counter.0
}

/// The length of a packet whose body is so long.
#[inline]
pub(super) const fn packet_len(body_len: usize) -> usize {
    // A body over VARINT_MAX has no encoding; every bound of the daemon is far below.
    1 + if body_len < 0x80 {
        1
    } else if body_len < 0x4000 {
        2
    } else if body_len < 0x20_0000 {
        3
    } else {
        4
    } + body_len
}

/// The length of a whole packet.
#[inline]
pub(super) fn encoded_len(body: &impl Body, version: Version) -> usize {
    packet_len(body_len(body, version))
}

/// Appends a whole packet.
#[inline]
pub(super) fn encode_into(first: u8, body: &impl Body, version: Version, out: &mut Vec<u8>) {
    encode_counted(first, body, body_len(body, version), version, out);
}

/// Appends a whole packet whose body has been counted.
#[inline]
pub(super) fn encode_counted(
    first: u8,
    body: &impl Body,
    remaining_length: usize,
    version: Version,
    out: &mut Vec<u8>,
) {
    let len = packet_len(remaining_length);
    let start = out.len();
    out.reserve(len);
    out.byte(first);
    out.length(remaining_length);
    body.body(version, out);
    debug_assert_eq!(out.len() - start, len, "counted and written length differ");
}

/// Gives packet types their two public functions.
macro_rules! encoded {
    ($($packet:ident: $packet_type:ident;)+) => {
        $(
            impl $packet<'_> {
                /// Bytes of the whole packet, fixed header included.
                pub fn encoded_len(&self, version: Version) -> usize {
                    encoded_len(self, version)
                }

                /// Appends the packet: exactly [`Self::encoded_len`] bytes. What the version does not have
                /// is left out.
                pub fn encode_into(&self, version: Version, out: &mut Vec<u8>) {
                    encode_into(PacketType::$packet_type.first_byte(), self, version, out);
                }
            }
        )+
    };
}

encoded! {
    ConnAck: ConnAck;
    Subscribe: Subscribe;
    Unsubscribe: Unsubscribe;
    Disconnect: Disconnect;
    Auth: Auth;
}

/// The whole of a PINGREQ.
pub(super) const PINGREQ: [u8; 2] = [PacketType::PingReq.first_byte(), 0];
/// The whole of a PINGRESP.
pub(super) const PINGRESP: [u8; 2] = [PacketType::PingResp.first_byte(), 0];

impl Packet<'_> {
    /// Bytes of the whole packet, fixed header included. A CONNECT has its own version.
    pub fn encoded_len(&self, version: Version) -> usize {
        match self {
            Self::Connect(connect) => connect.encoded_len(),
            Self::ConnAck(connack) => connack.encoded_len(version),
            Self::Publish(publish) => publish.encoded_len(version),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                encoded_len(ack, version)
            }
            Self::Subscribe(subscribe) => subscribe.encoded_len(version),
            Self::SubAck(suback) => encoded_len(suback, version),
            Self::UnsubAck(unsuback) => encoded_len(&UnsubAck(unsuback), version),
            Self::Unsubscribe(unsubscribe) => unsubscribe.encoded_len(version),
            Self::PingReq => PINGREQ.len(),
            Self::PingResp => PINGRESP.len(),
            Self::Disconnect(disconnect) => disconnect.encoded_len(version),
            Self::Auth(auth) => auth.encoded_len(version),
        }
    }

    /// Appends the packet: exactly [`Packet::encoded_len`] bytes. What the version does not have is left out;
    /// AUTH exists in 5.0 only.
    pub fn encode_into(&self, version: Version, out: &mut Vec<u8>) {
        let first = PacketType::first_byte;
        match self {
            Self::Connect(connect) => connect.encode_into(out),
            Self::ConnAck(connack) => connack.encode_into(version, out),
            Self::Publish(publish) => publish.encode_into(version, out),
            Self::PubAck(ack) => encode_into(first(PacketType::PubAck), ack, version, out),
            Self::PubRec(ack) => encode_into(first(PacketType::PubRec), ack, version, out),
            Self::PubRel(ack) => encode_into(first(PacketType::PubRel), ack, version, out),
            Self::PubComp(ack) => encode_into(first(PacketType::PubComp), ack, version, out),
            Self::Subscribe(subscribe) => subscribe.encode_into(version, out),
            Self::SubAck(suback) => encode_into(first(PacketType::SubAck), suback, version, out),
            Self::Unsubscribe(unsubscribe) => unsubscribe.encode_into(version, out),
            Self::UnsubAck(unsuback) => {
                encode_into(first(PacketType::UnsubAck), &UnsubAck(unsuback), version, out);
            }
            Self::PingReq => out.bytes(&PINGREQ),
            Self::PingResp => out.bytes(&PINGRESP),
            Self::Disconnect(disconnect) => disconnect.encode_into(version, out),
            Self::Auth(auth) => auth.encode_into(version, out),
        }
    }
}

impl Property<'_> {
    /// Appends identifier and value.
    #[inline]
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.byte(self.id());
        match *self {
            Self::PayloadFormatIndicator(value)
            | Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::RetainAvailable(value)
            | Self::WildcardSubscriptionAvailable(value)
            | Self::SubscriptionIdentifiersAvailable(value)
            | Self::SharedSubscriptionAvailable(value) => sink.byte(u8::from(value)),
            Self::MaximumQoS(value) => sink.byte(value),
            Self::ServerKeepAlive(value)
            | Self::ReceiveMaximum(value)
            | Self::TopicAliasMaximum(value)
            | Self::TopicAlias(value) => sink.u16(value),
            Self::MessageExpiryInterval(value)
            | Self::SessionExpiryInterval(value)
            | Self::WillDelayInterval(value)
            | Self::MaximumPacketSize(value) => sink.u32(value),
            Self::SubscriptionIdentifier(value) => sink.varint(value),
            Self::ContentType(value)
            | Self::ResponseTopic(value)
            | Self::AssignedClientIdentifier(value)
            | Self::AuthenticationMethod(value)
            | Self::ResponseInformation(value)
            | Self::ServerReference(value)
            | Self::ReasonString(value) => sink.string(value),
            Self::CorrelationData(value) | Self::AuthenticationData(value) => sink.binary(value),
            Self::UserProperty(name, value) => {
                sink.string(name);
                sink.string(value);
            }
        }
    }

    /// Bytes of identifier and value, as they count against a Maximum Packet Size.
    pub fn encoded_len(&self) -> usize {
        let mut counter = Counter::default();
        self.put(&mut counter);
        counter.0
    }

    /// Appends identifier and value to a property block.
    pub fn encode_into(&self, block: &mut Vec<u8>) {
        self.put(block);
    }
}

/// The bytes of a property block without its length.
#[inline]
pub(super) fn put_properties<S: Sink>(properties: Properties<'_>, sink: &mut S) {
    match properties.block() {
        Some(block) => sink.bytes(block),
        None => properties.iter().for_each(|property| property.put(sink)),
    }
}

/// Length and property block in 5.0 (2.2.2.1), nothing in 3.1.1. `put` is called twice: to count, to write.
#[inline]
pub(super) fn put_block<S: Sink>(version: Version, sink: &mut S, put: impl PutProperties) {
    if version == Version::V5 {
        let mut counter = Counter::default();
        put.put(&mut counter);
        sink.length(counter.0);
        put.put(sink);
    }
}

/// Something that writes a property block: a closure over any sink, which closures cannot be.
pub(super) trait PutProperties {
    fn put<S: Sink>(&self, sink: &mut S);
}

impl PutProperties for Properties<'_> {
    #[inline]
    fn put<S: Sink>(&self, sink: &mut S) {
        put_properties(*self, sink);
    }
}

impl Connect<'_> {
    /// Bytes of the whole packet, fixed header included.
    pub fn encoded_len(&self) -> usize {
        encoded_len(self, self.version)
    }

    /// Appends the packet: exactly [`Connect::encoded_len`] bytes.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        encode_into(PacketType::Connect.first_byte(), self, self.version, out);
    }
}

impl Body for Connect<'_> {
    fn body<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.string("MQTT");
        sink.byte(match version {
            Version::V311 => 4,
            Version::V5 => 5,
        });
        let bit = |set: bool, at: u8| u8::from(set) << at;
        let will = self.will.as_ref();
        sink.byte(
            bit(self.user_name.is_some(), 7)
                | bit(self.password.is_some(), 6)
                | bit(will.is_some_and(|will| will.retain), 5)
                | will.map_or(0, |will| (will.qos as u8) << 3)
                | bit(will.is_some(), 2)
                | bit(self.clean, 1),
        );
        sink.u16(self.keep_alive_s);
        put_block(version, sink, self.properties);
        sink.string(self.client_id);
        if let Some(will) = will {
            put_block(version, sink, will.properties);
            sink.string(will.topic);
            sink.binary(will.payload);
        }
        if let Some(user_name) = self.user_name {
            sink.string(user_name);
        }
        if let Some(password) = self.password {
            sink.binary(password);
        }
    }
}

impl Body for ConnAck<'_> {
    fn body<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.byte(u8::from(self.session_present));
        sink.byte(self.code);
        put_block(version, sink, self.properties);
    }
}

impl Publish<'_> {
    /// Bytes of the whole packet, fixed header included.
    pub fn encoded_len(&self, version: Version) -> usize {
        encoded_len(self, version)
    }

    /// Appends the packet: exactly [`Publish::encoded_len`] bytes.
    pub fn encode_into(&self, version: Version, out: &mut Vec<u8>) {
        encode_into(
            publish_first_byte(self.dup, self.qos, self.retain),
            self,
            version,
            out,
        );
    }
}

/// The first byte of a PUBLISH (3.3.1).
#[inline]
pub(super) fn publish_first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    PacketType::Publish.first_byte() | u8::from(dup) << 3 | (qos as u8) << 1 | u8::from(retain)
}

impl Body for Publish<'_> {
    fn body<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.string(self.topic);
        if let Some(packet_id) = self.packet_id {
            sink.u16(packet_id.get());
        }
        put_block(version, sink, self.properties);
        sink.bytes(self.payload);
    }
}

/// Reason code and properties where both may be left out: a code of 0 without properties is nothing, any code
/// without properties is one byte.
fn put_optional_code<S: Sink>(version: Version, sink: &mut S, code: u8, properties: Properties<'_>) {
    if version == Version::V311 || (code == 0 && properties.is_empty()) {
        return;
    }
    sink.byte(code);
    if !properties.is_empty() {
        put_block(version, sink, properties);
    }
}

impl Body for Ack<'_> {
    fn body<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        put_optional_code(version, sink, self.code, self.properties);
    }
}

impl Body for Disconnect<'_> {
    fn body<S: Sink>(&self, version: Version, sink: &mut S) {
        put_optional_code(version, sink, self.code, self.properties);
    }
}

impl Body for Auth<'_> {
    fn body<S: Sink>(&self, version: Version, sink: &mut S) {
        // 3.15.2.1: both may be left out, but never the properties alone.
        if self.code != 0 || !self.properties.is_empty() {
            sink.byte(self.code);
            put_block(version, sink, self.properties);
        }
    }
}

impl Filter<'_> {
    /// The byte after the filter (3.8.3.1).
    const fn options(&self, version: Version) -> u8 {
        match version {
            Version::V311 => self.qos as u8,
            Version::V5 => {
                self.qos as u8
                    | (self.no_local as u8) << 2
                    | (self.retain_as_published as u8) << 3
                    | self.retain_handling << 4
            }
        }
    }
}

fn put_filters<S: Sink>(filters: Filters<'_>, version: Version, sink: &mut S) {
    for filter in filters {
        sink.string(filter.filter);
        sink.byte(filter.options(version));
    }
}

fn put_names<S: Sink>(names: Names<'_>, sink: &mut S) {
    for name in names {
        sink.string(name);
    }
}

impl Body for Subscribe<'_> {
    fn body<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        put_block(version, sink, self.properties);
        put_filters(self.filters, version, sink);
    }
}

impl Body for SubAck<'_> {
    fn body<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        put_block(version, sink, self.properties);
        sink.bytes(self.codes);
    }
}

/// An UNSUBACK, which has no codes in 3.1.1.
struct UnsubAck<'a>(&'a SubAck<'a>);

impl Body for UnsubAck<'_> {
    fn body<S: Sink>(&self, version: Version, sink: &mut S) {
        match version {
            Version::V311 => sink.u16(self.0.packet_id.get()),
            Version::V5 => self.0.body(version, sink),
        }
    }
}

impl Body for Unsubscribe<'_> {
    fn body<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        put_block(version, sink, self.properties);
        put_names(self.filters, sink);
    }
}
