//! The properties of MQTT 5.0 (2.2.2): a checked block that is read in place, or a list to be sent.

use super::header::Direction;
use super::malformed::Malformed;
use super::reader::{self, Reader};
use super::topic;

pub use super::holder::{Holder, id};

/// The properties of a packet. Those of a decoded packet are a block of bytes that has been checked against
/// the rules of its packet: every identifier known and allowed there, every value well-formed, nothing doubled
/// that may stand once; reading them cannot fail. Those of a packet to be sent may be a list
/// ([`Properties::list`]). Empty in 3.1.1.
#[derive(Clone, Copy, Debug)]
pub struct Properties<'a> {
    repr: Repr<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Repr<'a> {
    /// The bytes after the block's length.
    Block(&'a [u8]),
    List(&'a [Property<'a>]),
}

impl Default for Properties<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// The same properties in the same order, however they are held.
impl PartialEq for Properties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Properties<'_> {}

/// One property, in the order of its identifier on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// 0x01: whether the payload claims to be UTF-8.
    PayloadFormatIndicator(bool),
    /// 0x02, seconds.
    MessageExpiryInterval(u32),
    /// 0x03
    ContentType(&'a str),
    /// 0x08
    ResponseTopic(&'a str),
    /// 0x09
    CorrelationData(&'a [u8]),
    /// 0x0B, 1..=268,435,455.
    SubscriptionIdentifier(u32),
    /// 0x11, seconds.
    SessionExpiryInterval(u32),
    /// 0x12
    AssignedClientIdentifier(&'a str),
    /// 0x13, seconds.
    ServerKeepAlive(u16),
    /// 0x15
    AuthenticationMethod(&'a str),
    /// 0x16
    AuthenticationData(&'a [u8]),
    /// 0x17
    RequestProblemInformation(bool),
    /// 0x18, seconds.
    WillDelayInterval(u32),
    /// 0x19
    RequestResponseInformation(bool),
    /// 0x1A
    ResponseInformation(&'a str),
    /// 0x1C
    ServerReference(&'a str),
    /// 0x1F
    ReasonString(&'a str),
    /// 0x21, never 0.
    ReceiveMaximum(u16),
    /// 0x22
    TopicAliasMaximum(u16),
    /// 0x23, never 0.
    TopicAlias(u16),
    /// 0x24: 0 or 1.
    MaximumQoS(u8),
    /// 0x25
    RetainAvailable(bool),
    /// 0x26
    UserProperty(&'a str, &'a str),
    /// 0x27, never 0.
    MaximumPacketSize(u32),
    /// 0x28
    WildcardSubscriptionAvailable(bool),
    /// 0x29
    SubscriptionIdentifiersAvailable(bool),
    /// 0x2A
    SharedSubscriptionAvailable(bool),
}

/// A property as it stands in the block: its identifier and the bytes of its value, without their length if it
/// is one string or binary data; a user property is two strings with theirs.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a> {
    pub(super) id: u8,
    pub(super) value: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Takes a property from the front without looking into its value.
    #[inline]
    pub(super) fn take(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let id = reader.u8()?;
        let value = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => reader.take(1)?,
            0x13 | 0x21 | 0x22 | 0x23 => reader.take(2)?,
            0x02 | 0x11 | 0x18 | 0x27 => reader.take(4)?,
            0x0B => {
                let before = reader.rest();
                reader.varint()?;
                before
                    .get(..before.len() - reader.rest().len())
                    .ok_or(Malformed::Truncated)?
            }
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => reader.binary()?,
            0x26 => {
                let before = reader.rest();
                reader.binary()?;
                reader.binary()?;
                before
                    .get(..before.len() - reader.rest().len())
                    .ok_or(Malformed::Truncated)?
            }
            _ => return Err(Malformed::PropertyUnknown),
        };
        Ok(Self { id, value })
    }

    /// The checked value.
    #[inline]
    pub(super) fn property(self) -> Result<Property<'a>, Malformed> {
        let mut value = Reader::new(self.value);
        Ok(match self.id {
            0x01 => Property::PayloadFormatIndicator(boolean(&mut value)?),
            0x02 => Property::MessageExpiryInterval(value.u32()?),
            0x03 => Property::ContentType(reader::string(self.value)?),
            0x08 => Property::ResponseTopic(response_topic(self.value)?),
            0x09 => Property::CorrelationData(self.value),
            0x0B => Property::SubscriptionIdentifier(
                nonzero(value.varint()?).ok_or(Malformed::SubscriptionIdentifierZero)?,
            ),
            0x11 => Property::SessionExpiryInterval(value.u32()?),
            0x12 => Property::AssignedClientIdentifier(reader::string(self.value)?),
            0x13 => Property::ServerKeepAlive(value.u16()?),
            0x15 => Property::AuthenticationMethod(reader::string(self.value)?),
            0x16 => Property::AuthenticationData(self.value),
            0x17 => Property::RequestProblemInformation(boolean(&mut value)?),
            0x18 => Property::WillDelayInterval(value.u32()?),
            0x19 => Property::RequestResponseInformation(boolean(&mut value)?),
            0x1A => Property::ResponseInformation(reader::string(self.value)?),
            0x1C => Property::ServerReference(reader::string(self.value)?),
            0x1F => Property::ReasonString(reader::string(self.value)?),
            0x21 => Property::ReceiveMaximum(nonzero(value.u16()?).ok_or(Malformed::ReceiveMaximumZero)?),
            0x22 => Property::TopicAliasMaximum(value.u16()?),
            0x23 => Property::TopicAlias(nonzero(value.u16()?).ok_or(Malformed::TopicAliasZero)?),
            0x24 => Property::MaximumQoS(match value.u8()? {
                qos @ (0 | 1) => qos,
                _ => return Err(Malformed::MaximumQoS),
            }),
            0x25 => Property::RetainAvailable(boolean(&mut value)?),
            0x26 => Property::UserProperty(value.string()?, value.string()?),
            0x27 => {
                Property::MaximumPacketSize(nonzero(value.u32()?).ok_or(Malformed::MaximumPacketSizeZero)?)
            }
            0x28 => Property::WildcardSubscriptionAvailable(boolean(&mut value)?),
            0x29 => Property::SubscriptionIdentifiersAvailable(boolean(&mut value)?),
            0x2A => Property::SharedSubscriptionAvailable(boolean(&mut value)?),
            _ => return Err(Malformed::PropertyUnknown),
        })
    }
}

fn boolean(value: &mut Reader<'_>) -> Result<bool, Malformed> {
    match value.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed::PropertyNotBoolean),
    }
}

fn nonzero<T: PartialEq + Default>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

fn response_topic(value: &[u8]) -> Result<&str, Malformed> {
    topic::check_topic_name(reader::string(value)?).map_err(|_| Malformed::ResponseTopic)
}

impl<'a> Properties<'a> {
    /// No property.
    pub const EMPTY: Self = Self {
        repr: Repr::Block(&[]),
    };

    /// Properties to be sent, in this order. That they fit the packet is the caller's duty.
    pub const fn list(properties: &'a [Property<'a>]) -> Self {
        Self {
            repr: Repr::List(properties),
        }
    }

    /// A block (without its length) that has been checked before, such as the attributes of a message.
    /// Reading stops at what is not well-formed.
    pub const fn from_checked(block: &'a [u8]) -> Self {
        Self {
            repr: Repr::Block(block),
        }
    }

    /// Checks a block (without its length) by the rules of its packet.
    #[inline]
    pub fn decode(block: &'a [u8], holder: Holder, direction: Direction) -> Result<Self, Malformed> {
        if !block.is_empty() {
            holder.check(block, direction)?;
        }
        Ok(Self::from_checked(block))
    }

    /// The block's bytes, unless the properties are a list.
    pub(super) const fn block(&self) -> Option<&'a [u8]> {
        match self.repr {
            Repr::Block(block) => Some(block),
            Repr::List(_) => None,
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        match self.repr {
            Repr::Block(block) => block.is_empty(),
            Repr::List(list) => list.is_empty(),
        }
    }

    /// All properties, in order.
    pub const fn iter(&self) -> Iter<'a> {
        match self.repr {
            Repr::Block(block) => Iter {
                block: Reader::new(block),
                list: &[],
            },
            Repr::List(list) => Iter {
                block: Reader::new(&[]),
                list,
            },
        }
    }

    /// The first property with this identifier (see [`id`]). Does not look into the values of the others.
    #[inline]
    pub fn get(&self, id: u8) -> Option<Property<'a>> {
        if self.is_empty() {
            return None;
        }
        self.find(id)
    }

    fn find(&self, id: u8) -> Option<Property<'a>> {
        match self.repr {
            Repr::Block(block) => {
                let mut reader = Reader::new(block);
                while let Ok(raw) = Raw::take(&mut reader) {
                    if raw.id == id {
                        return raw.property().ok();
                    }
                }
                None
            }
            Repr::List(list) => list.iter().find(|property| property.id() == id).copied(),
        }
    }

    /// All user properties, in order (3.3.2.3.7).
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::UserProperty(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// All subscription identifiers, in order (3.3.2.3.8).
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::SubscriptionIdentifier(identifier) => Some(identifier),
            _ => None,
        })
    }
}

/// The properties of a block or list, in order.
#[derive(Clone)]
pub struct Iter<'a> {
    block: Reader<'a>,
    list: &'a [Property<'a>],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((first, rest)) = self.list.split_first() {
            self.list = rest;
            return Some(*first);
        }
        if self.block.is_empty() {
            return None;
        }
        Raw::take(&mut self.block).and_then(Raw::property).ok()
    }
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Getters of what may stand once.
macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident = $id:ident, $variant:ident, $value:ty;)+) => {
        impl<'a> Properties<'a> {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> Option<$value> {
                    match self.get(id::$id) {
                        Some(Property::$variant(value)) => Some(value),
                        _ => None,
                    }
                }
            )+
        }
    };
}

getters! {
    /// Payload Format Indicator (3.3.2.3.2).
    payload_format_indicator = PAYLOAD_FORMAT_INDICATOR, PayloadFormatIndicator, bool;
    /// Message Expiry Interval (3.3.2.3.3), seconds.
    message_expiry_interval_s = MESSAGE_EXPIRY_INTERVAL, MessageExpiryInterval, u32;
    /// Content Type (3.3.2.3.9).
    content_type = CONTENT_TYPE, ContentType, &'a str;
    /// Response Topic (3.3.2.3.5), a checked topic name.
    response_topic = RESPONSE_TOPIC, ResponseTopic, &'a str;
    /// Correlation Data (3.3.2.3.6).
    correlation_data = CORRELATION_DATA, CorrelationData, &'a [u8];
    /// The first Subscription Identifier (3.8.2.1.2).
    subscription_identifier = SUBSCRIPTION_IDENTIFIER, SubscriptionIdentifier, u32;
    /// Session Expiry Interval (3.1.2.11.2), seconds.
    session_expiry_interval_s = SESSION_EXPIRY_INTERVAL, SessionExpiryInterval, u32;
    /// Assigned Client Identifier (3.2.2.3.7).
    assigned_client_identifier = ASSIGNED_CLIENT_IDENTIFIER, AssignedClientIdentifier, &'a str;
    /// Server Keep Alive (3.2.2.3.14), seconds.
    server_keep_alive_s = SERVER_KEEP_ALIVE, ServerKeepAlive, u16;
    /// Authentication Method (3.1.2.11.9).
    authentication_method = AUTHENTICATION_METHOD, AuthenticationMethod, &'a str;
    /// Authentication Data (3.1.2.11.10).
    authentication_data = AUTHENTICATION_DATA, AuthenticationData, &'a [u8];
    /// Request Problem Information (3.1.2.11.7); absent means true.
    request_problem_information = REQUEST_PROBLEM_INFORMATION, RequestProblemInformation, bool;
    /// Will Delay Interval (3.1.3.2.2), seconds.
    will_delay_interval_s = WILL_DELAY_INTERVAL, WillDelayInterval, u32;
    /// Request Response Information (3.1.2.11.6); absent means false.
    request_response_information = REQUEST_RESPONSE_INFORMATION, RequestResponseInformation, bool;
    /// Response Information (3.2.2.3.15).
    response_information = RESPONSE_INFORMATION, ResponseInformation, &'a str;
    /// Reason String (3.2.2.3.9 and alike).
    reason_string = REASON_STRING, ReasonString, &'a str;
    /// Receive Maximum (3.1.2.11.3), never 0; absent means 65,535.
    receive_maximum = RECEIVE_MAXIMUM, ReceiveMaximum, u16;
    /// Topic Alias Maximum (3.1.2.11.5); absent means 0.
    topic_alias_maximum = TOPIC_ALIAS_MAXIMUM, TopicAliasMaximum, u16;
    /// Topic Alias (3.3.2.3.4), never 0.
    topic_alias = TOPIC_ALIAS, TopicAlias, u16;
    /// Maximum QoS (3.2.2.3.4), 0 or 1; absent means 2.
    maximum_qos = MAXIMUM_QOS, MaximumQoS, u8;
    /// Maximum Packet Size (3.1.2.11.4), bytes, never 0; absent means no limit.
    maximum_packet_size_bytes = MAXIMUM_PACKET_SIZE, MaximumPacketSize, u32;
}

impl Property<'_> {
    /// The property's identifier (see [`id`]).
    pub const fn id(&self) -> u8 {
        match self {
            Self::PayloadFormatIndicator(_) => id::PAYLOAD_FORMAT_INDICATOR,
            Self::MessageExpiryInterval(_) => id::MESSAGE_EXPIRY_INTERVAL,
            Self::ContentType(_) => id::CONTENT_TYPE,
            Self::ResponseTopic(_) => id::RESPONSE_TOPIC,
            Self::CorrelationData(_) => id::CORRELATION_DATA,
            Self::SubscriptionIdentifier(_) => id::SUBSCRIPTION_IDENTIFIER,
            Self::SessionExpiryInterval(_) => id::SESSION_EXPIRY_INTERVAL,
            Self::AssignedClientIdentifier(_) => id::ASSIGNED_CLIENT_IDENTIFIER,
            Self::ServerKeepAlive(_) => id::SERVER_KEEP_ALIVE,
            Self::AuthenticationMethod(_) => id::AUTHENTICATION_METHOD,
            Self::AuthenticationData(_) => id::AUTHENTICATION_DATA,
            Self::RequestProblemInformation(_) => id::REQUEST_PROBLEM_INFORMATION,
            Self::WillDelayInterval(_) => id::WILL_DELAY_INTERVAL,
            Self::RequestResponseInformation(_) => id::REQUEST_RESPONSE_INFORMATION,
            Self::ResponseInformation(_) => id::RESPONSE_INFORMATION,
            Self::ServerReference(_) => id::SERVER_REFERENCE,
            Self::ReasonString(_) => id::REASON_STRING,
            Self::ReceiveMaximum(_) => id::RECEIVE_MAXIMUM,
            Self::TopicAliasMaximum(_) => id::TOPIC_ALIAS_MAXIMUM,
            Self::TopicAlias(_) => id::TOPIC_ALIAS,
            Self::MaximumQoS(_) => id::MAXIMUM_QOS,
            Self::RetainAvailable(_) => id::RETAIN_AVAILABLE,
            Self::UserProperty(..) => id::USER_PROPERTY,
            Self::MaximumPacketSize(_) => id::MAXIMUM_PACKET_SIZE,
            Self::WildcardSubscriptionAvailable(_) => id::WILDCARD_SUBSCRIPTION_AVAILABLE,
            Self::SubscriptionIdentifiersAvailable(_) => id::SUBSCRIPTION_IDENTIFIERS_AVAILABLE,
            Self::SharedSubscriptionAvailable(_) => id::SHARED_SUBSCRIPTION_AVAILABLE,
        }
    }
}
