//! The control packets of MQTT 3.1.1 and 5.0, borrowed from the bytes they were decoded from.
//!
//! One set of types for both versions: what 3.1.1 does not have is empty there. Everything in them has been
//! checked as far as the packet alone can be (lengths, UTF-8, flags, property rules); what needs a session
//! (order, quotas, topic aliases, what a server may not receive) is the session's.

use super::property::Properties;
use super::reader::Reader;

/// Protocol version of a connection, from its CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5.0, protocol level 5.
    V5,
}

/// QoS as it stands on the wire (0, 1, 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// At most once.
    #[default]
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

/// A non-zero packet identifier (MQTT 2.2.1).
pub type PacketId = std::num::NonZeroU16;

/// Any control packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// 3.1
    Connect(Connect<'a>),
    /// 3.2
    ConnAck(ConnAck<'a>),
    /// 3.3
    Publish(Publish<'a>),
    /// 3.4
    PubAck(Ack<'a>),
    /// 3.5
    PubRec(Ack<'a>),
    /// 3.6
    PubRel(Ack<'a>),
    /// 3.7
    PubComp(Ack<'a>),
    /// 3.8
    Subscribe(Subscribe<'a>),
    /// 3.9
    SubAck(SubAck<'a>),
    /// 3.10
    Unsubscribe(Unsubscribe<'a>),
    /// 3.11
    UnsubAck(SubAck<'a>),
    /// 3.12
    PingReq,
    /// 3.13
    PingResp,
    /// 3.14
    Disconnect(Disconnect<'a>),
    /// 3.15, 5.0 only
    Auth(Auth<'a>),
}

/// CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// From the protocol name and level.
    pub version: Version,
    /// Clean Session (3.1.1), Clean Start (5.0).
    pub clean: bool,
    /// Seconds; 0 is off.
    pub keep_alive_s: u16,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// Client Identifier, may be empty.
    pub client_id: &'a str,
    /// The will, if any.
    pub will: Option<Will<'a>>,
    /// User Name, if any.
    pub user_name: Option<&'a str>,
    /// Password, if any: binary data.
    pub password: Option<&'a [u8]>,
}

/// The will of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Will Topic, a checked topic name.
    pub topic: &'a str,
    /// Will Payload.
    pub payload: &'a [u8],
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Properties; empty in 3.1.1.
    pub properties: Properties<'a>,
}

/// CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Session Present.
    pub session_present: bool,
    /// Return code (3.1.1) or reason code (5.0).
    pub code: u8,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
}

/// PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Redelivery.
    pub dup: bool,
    /// Delivery guarantee.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// A checked topic name without wildcards; empty only in 5.0 where a Topic Alias stands in.
    pub topic: &'a str,
    /// Present exactly if `qos` is over 0.
    pub packet_id: Option<PacketId>,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// Any bytes.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Whose.
    pub packet_id: PacketId,
    /// 0 in 3.1.1 and where 5.0 leaves it out.
    pub code: u8,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
}

/// SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Named in the SUBACK.
    pub packet_id: PacketId,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// At least one; checked, so that iterating cannot fail.
    pub filters: Filters<'a>,
}

/// One entry of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter<'a> {
    /// A checked topic filter, `$share/…` included as it stands.
    pub filter: &'a str,
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local; false in 3.1.1.
    pub no_local: bool,
    /// Retain As Published; false in 3.1.1.
    pub retain_as_published: bool,
    /// Retain Handling 0, 1 or 2; 0 in 3.1.1.
    pub retain_handling: u8,
}

impl<'a> Filter<'a> {
    /// Reads the subscription options (3.8.3.1) but for their reserved bits; none for QoS 3.
    pub(super) const fn new(filter: &'a str, options: u8) -> Option<Self> {
        let Some(qos) = super::header::qos(options & 0b11) else {
            return None;
        };
        Some(Self {
            filter,
            qos,
            no_local: options & 0b0000_0100 != 0,
            retain_as_published: options & 0b0000_1000 != 0,
            retain_handling: options >> 4 & 0b11,
        })
    }
}

/// The entries of a SUBSCRIBE: those of a decoded packet are an iterator over checked bytes, those of a packet
/// to be sent may be a list.
#[derive(Clone, Copy, Debug)]
pub struct Filters<'a> {
    bytes: &'a [u8],
    list: &'a [Filter<'a>],
}

impl<'a> Filters<'a> {
    /// Entries to be sent. That they fit the version is the caller's duty.
    pub const fn list(list: &'a [Filter<'a>]) -> Self {
        Self { bytes: &[], list }
    }

    /// Checked bytes.
    pub(super) const fn encoded(bytes: &'a [u8]) -> Self {
        Self { bytes, list: &[] }
    }
}

impl<'a> Iterator for Filters<'a> {
    type Item = Filter<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((first, rest)) = self.list.split_first() {
            self.list = rest;
            return Some(*first);
        }
        let mut reader = Reader::new(self.bytes);
        let filter = reader.string().ok()?;
        let options = reader.u8().ok()?;
        self.bytes = reader.rest();
        Filter::new(filter, options)
    }
}

/// The same entries in the same order, however they are held.
impl PartialEq for Filters<'_> {
    fn eq(&self, other: &Self) -> bool {
        Iterator::eq(*self, *other)
    }
}

impl Eq for Filters<'_> {}

/// SUBACK, UNSUBACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// Whose.
    pub packet_id: PacketId,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// One code an entry; empty in a 3.1.1 UNSUBACK.
    pub codes: &'a [u8],
}

/// UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Named in the UNSUBACK.
    pub packet_id: PacketId,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
    /// At least one; checked, so that iterating cannot fail.
    pub filters: Names<'a>,
}

/// The topic filters of an UNSUBSCRIBE: those of a decoded packet are an iterator over checked bytes, those of
/// a packet to be sent may be a list.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    bytes: &'a [u8],
    list: &'a [&'a str],
}

impl<'a> Names<'a> {
    /// Topic filters to be sent.
    pub const fn list(list: &'a [&'a str]) -> Self {
        Self { bytes: &[], list }
    }

    /// Checked bytes.
    pub(super) const fn encoded(bytes: &'a [u8]) -> Self {
        Self { bytes, list: &[] }
    }
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((first, rest)) = self.list.split_first() {
            self.list = rest;
            return Some(first);
        }
        let mut reader = Reader::new(self.bytes);
        let filter = reader.string().ok()?;
        self.bytes = reader.rest();
        Some(filter)
    }
}

/// The same topic filters in the same order, however they are held.
impl PartialEq for Names<'_> {
    fn eq(&self, other: &Self) -> bool {
        Iterator::eq(*self, *other)
    }
}

impl Eq for Names<'_> {}

/// DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// 0 in 3.1.1 and where 5.0 leaves it out.
    pub code: u8,
    /// Empty in 3.1.1.
    pub properties: Properties<'a>,
}

/// AUTH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// 0x00, 0x18 or 0x19.
    pub code: u8,
    /// Authentication Method and Data among them.
    pub properties: Properties<'a>,
}
