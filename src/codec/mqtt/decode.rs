//! From bytes to packets.
//!
//! Everything the packet alone decides is checked here, once; see [`super::packet`] for what is left to the
//! session. What only a session can answer properly is let through: an empty Client Identifier without Clean
//! Session in 3.1.1 (return code 2), a second CONNECT, a packet type that its side does not take.

use super::header::{Direction, FixedHeader, PacketType, header, qos};
use super::malformed::Malformed;
use super::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Filter, Filters, Names, Packet, Publish, QoS, SubAck, Subscribe,
    Unsubscribe, Version, Will,
};
use super::property::{Holder, Properties};
use super::reader::Reader;
use super::reason::{
    AUTH_CODES_OF_CLIENTS, AUTH_CODES_OF_SERVERS, CONNACK_CODES, CONNACK_CODES_V311,
    DISCONNECT_CODES_OF_CLIENTS, DISCONNECT_CODES_OF_SERVERS, PUBACK_CODES, PUBREL_CODES, SUBACK_CODES,
    SUBACK_CODES_V311, UNSUBACK_CODES,
};
use super::topic::{self, TopicError};
use crate::codec::Decode;

/// What a decoder must know of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The version that CONNECT has settled; `None` before it, and then only a CONNECT is taken.
    pub version: Option<Version>,
    /// The largest packet taken, fixed header included; what the receiver named as Maximum Packet Size.
    pub packet_bytes_max: usize,
    /// Where the packets go.
    pub direction: Direction,
}

/// Decodes the packet at the front of `bytes`.
///
/// `Need(n)` is exact as soon as the fixed header is complete: then `n` is the packet's length, and a packet
/// over [`Context::packet_bytes_max`] is refused at that point. Until the packet is complete a call costs the
/// same whatever its length.
#[inline]
pub fn decode(bytes: &[u8], context: Context) -> Result<Decode<Packet<'_>>, Malformed> {
    Ok(match undecoded(bytes, context)? {
        Decode::Need(len) => Decode::Need(len),
        Decode::Frame { frame, len } => Decode::Frame {
            frame: frame.packet()?,
            len,
        },
    })
}

/// Finds the packet at the front of `bytes` as [`decode`] does, and leaves its body unread.
#[inline]
pub fn undecoded(bytes: &[u8], context: Context) -> Result<Decode<Undecoded<'_>>, Malformed> {
    let header = match header(bytes)? {
        Decode::Frame { frame, .. } => frame,
        Decode::Need(len) => return Ok(Decode::Need(len)),
    };
    context.check(&header)?;
    let len = header.packet_len();
    let Some(body) = bytes.get(usize::from(header.header_len)..len) else {
        return Ok(Decode::Need(len));
    };
    let frame = Undecoded {
        header,
        body,
        context,
    };
    Ok(Decode::Frame { frame, len })
}

/// A whole packet of which only the fixed header has been read.
#[derive(Clone, Copy, Debug)]
pub struct Undecoded<'a> {
    header: FixedHeader,
    body: &'a [u8],
    context: Context,
}

impl<'a> Undecoded<'a> {
    /// The fixed header.
    #[inline]
    pub const fn header(&self) -> &FixedHeader {
        &self.header
    }

    /// The packet.
    pub fn packet(&self) -> Result<Packet<'a>, Malformed> {
        packet(&self.header, self.body, self.context)
    }

    /// The packet if it is a PUBLISH. That takes a third of the room of a [`Packet`], and is most of what a server is sent:
    /// who looks for it first moves less.
    #[inline]
    pub fn publish(&self) -> Option<Result<Publish<'a>, Malformed>> {
        if self.header.packet_type != PacketType::Publish {
            return None;
        }
        let version = self.context.version.unwrap_or(Version::V311);
        let reader = Reader::new(self.body);
        Some(publish(
            self.header.flags,
            reader,
            version,
            self.context.direction,
        ))
    }
}

impl Context {
    /// Checks what the connection asks of a fixed header: CONNECT comes first \[MQTT-3.1.0-1\], AUTH is 5.0
    /// only, the Remaining Length is in its shortest form (5.0), the packet is not larger than taken.
    #[inline]
    pub fn check(&self, header: &FixedHeader) -> Result<(), Malformed> {
        match self.version {
            None if header.packet_type != PacketType::Connect => return Err(Malformed::NotConnect),
            Some(Version::V311) if header.packet_type == PacketType::Auth => {
                return Err(Malformed::PacketTypeReserved);
            }
            Some(Version::V5) if !header.is_minimal() => {
                return Err(Malformed::RemainingLengthNotMinimal);
            }
            _ => {}
        }
        if header.packet_len() > self.packet_bytes_max {
            return Err(Malformed::PacketTooLarge);
        }
        Ok(())
    }
}

#[inline]
fn packet<'a>(header: &FixedHeader, body: &'a [u8], context: Context) -> Result<Packet<'a>, Malformed> {
    let reader = Reader::new(body);
    let direction = context.direction;
    // Without a version only CONNECT comes here, which names its own.
    let version = context.version.unwrap_or(Version::V311);
    match header.packet_type {
        PacketType::Publish => publish(header.flags, reader, version, direction).map(Packet::Publish),
        PacketType::PubAck => ack(reader, version, direction, PUBACK_CODES).map(Packet::PubAck),
        PacketType::PubRec => ack(reader, version, direction, PUBACK_CODES).map(Packet::PubRec),
        PacketType::PubRel => ack(reader, version, direction, PUBREL_CODES).map(Packet::PubRel),
        PacketType::PubComp => ack(reader, version, direction, PUBREL_CODES).map(Packet::PubComp),
        PacketType::PingReq => reader.end().map(|()| Packet::PingReq),
        PacketType::PingResp => reader.end().map(|()| Packet::PingResp),
        PacketType::Connect => connect(header, reader, direction).map(Packet::Connect),
        PacketType::ConnAck => connack(reader, version, direction).map(Packet::ConnAck),
        PacketType::Subscribe => subscribe(reader, version, direction).map(Packet::Subscribe),
        PacketType::SubAck => suback(reader, version, direction).map(Packet::SubAck),
        PacketType::Unsubscribe => unsubscribe(reader, version, direction).map(Packet::Unsubscribe),
        PacketType::UnsubAck => unsuback(reader, version, direction).map(Packet::UnsubAck),
        PacketType::Disconnect => disconnect(reader, version, direction).map(Packet::Disconnect),
        PacketType::Auth => auth(reader, direction).map(Packet::Auth),
    }
}

fn check_code(code: u8, codes: &[u8]) -> Result<u8, Malformed> {
    if codes.contains(&code) {
        Ok(code)
    } else {
        Err(Malformed::ReasonCode)
    }
}

/// The property block of a 5.0 packet; nothing in 3.1.1.
#[inline]
fn properties<'a>(
    reader: &mut Reader<'a>,
    version: Version,
    holder: Holder,
    direction: Direction,
) -> Result<Properties<'a>, Malformed> {
    match version {
        Version::V311 => Ok(Properties::EMPTY),
        Version::V5 => Properties::decode(reader.property_block()?, holder, direction),
    }
}

/// A reason code that may be left out if it is 0, and properties that may be left out then or after it
/// (3.4.2.1, 3.4.2.2.1, 3.14.2.1, 3.14.2.2.1).
#[inline]
fn optional_code<'a>(
    mut reader: Reader<'a>,
    codes: &[u8],
    holder: Holder,
    direction: Direction,
) -> Result<(u8, Properties<'a>), Malformed> {
    if reader.is_empty() {
        return Ok((check_code(0, codes)?, Properties::EMPTY));
    }
    let code = check_code(reader.u8()?, codes)?;
    if reader.is_empty() {
        return Ok((code, Properties::EMPTY));
    }
    let properties = Properties::decode(reader.property_block()?, holder, direction)?;
    reader.end()?;
    Ok((code, properties))
}

/// 3.1
fn connect<'a>(
    header: &FixedHeader,
    mut reader: Reader<'a>,
    direction: Direction,
) -> Result<Connect<'a>, Malformed> {
    let name = reader.binary()?;
    let version = match (name, reader.u8()?) {
        (b"MQTT", 4) => Version::V311,
        (b"MQTT", 5) => Version::V5,
        _ => return Err(Malformed::UnsupportedVersion),
    };
    if version == Version::V5 && !header.is_minimal() {
        return Err(Malformed::RemainingLengthNotMinimal);
    }
    let flags = ConnectFlags::read(reader.u8()?, version)?;
    let keep_alive_s = reader.u16()?;
    let properties = properties(&mut reader, version, Holder::Connect, direction)?;
    let client_id = reader.string()?;
    let will = if flags.will {
        Some(will(&mut reader, flags, version, direction)?)
    } else {
        None
    };
    let user_name = flags.user_name.then(|| reader.string()).transpose()?;
    let password = flags.password.then(|| reader.binary()).transpose()?;
    reader.end()?;
    Ok(Connect {
        version,
        clean: flags.clean,
        keep_alive_s,
        properties,
        client_id,
        will,
        user_name,
        password,
    })
}

/// The connect flags (3.1.2.3).
#[derive(Clone, Copy)]
struct ConnectFlags {
    user_name: bool,
    password: bool,
    will_retain: bool,
    will_qos: QoS,
    will: bool,
    clean: bool,
}

impl ConnectFlags {
    fn read(byte: u8, version: Version) -> Result<Self, Malformed> {
        let bit = |at: u8| byte & (1 << at) != 0;
        if bit(0) {
            return Err(Malformed::ConnectFlagReserved);
        }
        let flags = Self {
            user_name: bit(7),
            password: bit(6),
            will_retain: bit(5),
            will_qos: qos((byte >> 3) & 0b11).ok_or(Malformed::WillQoS3)?,
            will: bit(2),
            clean: bit(1),
        };
        if !flags.will && (flags.will_retain || flags.will_qos != QoS::AtMostOnce) {
            return Err(Malformed::WillFlags);
        }
        if version == Version::V311 && flags.password && !flags.user_name {
            return Err(Malformed::PasswordWithoutUserName);
        }
        Ok(flags)
    }
}

/// 3.1.3.2 to 3.1.3.4
fn will<'a>(
    reader: &mut Reader<'a>,
    flags: ConnectFlags,
    version: Version,
    direction: Direction,
) -> Result<Will<'a>, Malformed> {
    let properties = properties(reader, version, Holder::Will, direction)?;
    let topic = topic::check_topic_name(reader.string()?).map_err(|_| Malformed::WillTopic)?;
    Ok(Will {
        topic,
        payload: reader.binary()?,
        qos: flags.will_qos,
        retain: flags.will_retain,
        properties,
    })
}

/// 3.2
fn connack(mut reader: Reader<'_>, version: Version, direction: Direction) -> Result<ConnAck<'_>, Malformed> {
    let session_present = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(Malformed::ConnAckFlagsReserved),
    };
    let codes = match version {
        Version::V311 => CONNACK_CODES_V311,
        Version::V5 => CONNACK_CODES,
    };
    let code = check_code(reader.u8()?, codes)?;
    if session_present && code != 0 {
        return Err(Malformed::SessionPresentWithFailure);
    }
    let properties = properties(&mut reader, version, Holder::ConnAck, direction)?;
    reader.end()?;
    Ok(ConnAck {
        session_present,
        code,
        properties,
    })
}

/// 3.3
#[inline]
fn publish(
    flags: u8,
    mut reader: Reader<'_>,
    version: Version,
    direction: Direction,
) -> Result<Publish<'_>, Malformed> {
    let topic = topic_name(reader.binary()?)?;
    let qos = qos((flags >> 1) & 0b11).ok_or(Malformed::PublishQoS3)?;
    let packet_id = match qos {
        QoS::AtMostOnce => None,
        _ => Some(reader.packet_id()?),
    };
    let properties = properties(&mut reader, version, Holder::Publish, direction)?;
    // 3.3.2.1: a Topic Alias may stand in for the name.
    if topic.is_empty() && properties.topic_alias().is_none() {
        return Err(Malformed::TopicNameEmpty);
    }
    Ok(Publish {
        dup: flags & 0b1000 != 0,
        qos,
        retain: flags & 0b0001 != 0,
        topic,
        packet_id,
        properties,
        payload: reader.rest(),
    })
}

/// The name's UTF-8 in one pass, U+0000 and wildcards in another.
#[inline]
fn topic_name(bytes: &[u8]) -> Result<&str, Malformed> {
    let name = std::str::from_utf8(bytes).map_err(|_| Malformed::Utf8)?;
    match topic::check_topic_name(name) {
        Ok(_) | Err(TopicError::Empty) => Ok(name),
        Err(TopicError::Nul) => Err(Malformed::Nul),
        Err(_) => Err(Malformed::TopicNameWildcard),
    }
}

/// 3.4 to 3.7
#[inline]
fn ack<'a>(
    mut reader: Reader<'a>,
    version: Version,
    direction: Direction,
    codes: &[u8],
) -> Result<Ack<'a>, Malformed> {
    let packet_id = reader.packet_id()?;
    let (code, properties) = match version {
        Version::V311 => {
            reader.end()?;
            (0, Properties::EMPTY)
        }
        Version::V5 => optional_code(reader, codes, Holder::Ack, direction)?,
    };
    Ok(Ack {
        packet_id,
        code,
        properties,
    })
}

fn topic_filter(bytes: &[u8], version: Version) -> Result<&str, Malformed> {
    let filter = super::reader::string(bytes)?;
    let error = |error| match error {
        TopicError::Empty => Malformed::TopicFilterEmpty,
        TopicError::Nul => Malformed::Nul,
        TopicError::Wildcard | TopicError::TooLong => Malformed::TopicFilterWildcard,
        TopicError::Share => Malformed::TopicFilterShare,
    };
    topic::check_topic_filter(filter).map_err(error)?;
    // 3.1.1 knows no shared subscriptions: `$share/x` is a filter like any other there, and what the server
    // makes of it goes into the SUBACK.
    if version == Version::V5 {
        topic::split_share(filter).map_err(error)?;
    }
    Ok(filter)
}

/// The subscription options after a filter (3.8.3.1; 3.1.1 3.8.3).
fn subscription_options(filter: &str, options: u8, version: Version) -> Result<Filter<'_>, Malformed> {
    let reserved = match version {
        Version::V311 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    if options & reserved != 0 {
        return Err(Malformed::SubscriptionOptionsReserved);
    }
    let filter = Filter::new(filter, options).ok_or(Malformed::SubscribeQoS3)?;
    if filter.retain_handling == 3 {
        return Err(Malformed::RetainHandling3);
    }
    if filter.no_local && filter.filter.starts_with("$share/") {
        return Err(Malformed::NoLocalShared);
    }
    Ok(filter)
}

/// 3.8
fn subscribe(
    mut reader: Reader<'_>,
    version: Version,
    direction: Direction,
) -> Result<Subscribe<'_>, Malformed> {
    let packet_id = reader.packet_id()?;
    let properties = properties(&mut reader, version, Holder::Subscribe, direction)?;
    let bytes = reader.rest();
    if bytes.is_empty() {
        return Err(Malformed::NoTopicFilter);
    }
    while !reader.is_empty() {
        let filter = topic_filter(reader.binary()?, version)?;
        subscription_options(filter, reader.u8()?, version)?;
    }
    Ok(Subscribe {
        packet_id,
        properties,
        filters: Filters::encoded(bytes),
    })
}

/// 3.9
fn suback(mut reader: Reader<'_>, version: Version, direction: Direction) -> Result<SubAck<'_>, Malformed> {
    let packet_id = reader.packet_id()?;
    let properties = properties(&mut reader, version, Holder::Ack, direction)?;
    let codes = match version {
        Version::V311 => SUBACK_CODES_V311,
        Version::V5 => SUBACK_CODES,
    };
    Ok(SubAck {
        packet_id,
        properties,
        codes: check_codes(reader.rest(), codes)?,
    })
}

/// One code or more, each of the packet.
fn check_codes<'a>(codes: &'a [u8], allowed: &[u8]) -> Result<&'a [u8], Malformed> {
    if codes.is_empty() {
        return Err(Malformed::NoReasonCode);
    }
    for &code in codes {
        check_code(code, allowed)?;
    }
    Ok(codes)
}

/// 3.10
fn unsubscribe(
    mut reader: Reader<'_>,
    version: Version,
    direction: Direction,
) -> Result<Unsubscribe<'_>, Malformed> {
    let packet_id = reader.packet_id()?;
    let properties = properties(&mut reader, version, Holder::Unsubscribe, direction)?;
    let bytes = reader.rest();
    if bytes.is_empty() {
        return Err(Malformed::NoTopicFilter);
    }
    while !reader.is_empty() {
        topic_filter(reader.binary()?, version)?;
    }
    Ok(Unsubscribe {
        packet_id,
        properties,
        filters: Names::encoded(bytes),
    })
}

/// 3.11
fn unsuback(mut reader: Reader<'_>, version: Version, direction: Direction) -> Result<SubAck<'_>, Malformed> {
    let packet_id = reader.packet_id()?;
    let properties = properties(&mut reader, version, Holder::Ack, direction)?;
    let codes = match version {
        Version::V311 => {
            reader.end()?;
            &[]
        }
        Version::V5 => check_codes(reader.rest(), UNSUBACK_CODES)?,
    };
    Ok(SubAck {
        packet_id,
        properties,
        codes,
    })
}

/// 3.14
fn disconnect(
    reader: Reader<'_>,
    version: Version,
    direction: Direction,
) -> Result<Disconnect<'_>, Malformed> {
    let (code, properties) = match (version, direction) {
        (Version::V311, _) => {
            reader.end()?;
            (0, Properties::EMPTY)
        }
        (Version::V5, Direction::ToServer) => {
            optional_code(reader, DISCONNECT_CODES_OF_CLIENTS, Holder::Disconnect, direction)?
        }
        (Version::V5, Direction::ToClient) => {
            optional_code(reader, DISCONNECT_CODES_OF_SERVERS, Holder::Disconnect, direction)?
        }
    };
    Ok(Disconnect { code, properties })
}

/// 3.15
fn auth(mut reader: Reader<'_>, direction: Direction) -> Result<Auth<'_>, Malformed> {
    let codes = match direction {
        Direction::ToServer => AUTH_CODES_OF_CLIENTS,
        Direction::ToClient => AUTH_CODES_OF_SERVERS,
    };
    // 3.15.2.1: an empty body is Success without properties, not even a method.
    if reader.is_empty() {
        return Ok(Auth {
            code: check_code(0, codes)?,
            properties: Properties::EMPTY,
        });
    }
    let code = check_code(reader.u8()?, codes)?;
    let properties = Properties::decode(reader.property_block()?, Holder::Auth, direction)?;
    reader.end()?;
    if properties.authentication_method().is_none() {
        return Err(Malformed::AuthenticationMethodMissing);
    }
    Ok(Auth { code, properties })
}
