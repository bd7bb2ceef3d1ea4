//! Which property may stand where, and how often (2.2.2.2, table 2-4).

use super::header::Direction;
use super::malformed::Malformed;
use super::property::Raw;
use super::reader::Reader;

/// Identifiers of properties (2.2.2.2, table 2-4). All are one byte.
pub mod id {
    #![allow(missing_docs, reason = "they are named as in the standard's table")]
    pub const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1A;
    pub const SERVER_REFERENCE: u8 = 0x1C;
    pub const REASON_STRING: u8 = 0x1F;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDENTIFIERS_AVAILABLE: u8 = 0x29;
    pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

/// What a property block belongs to, which decides what may stand in it (table 2-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// CONNECT.
    Connect,
    /// The will of a CONNECT.
    Will,
    /// CONNACK.
    ConnAck,
    /// PUBLISH.
    Publish,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK.
    Ack,
    /// SUBSCRIBE.
    Subscribe,
    /// UNSUBSCRIBE.
    Unsubscribe,
    /// DISCONNECT.
    Disconnect,
    /// AUTH.
    Auth,
}

/// A set of identifiers, one bit each.
const fn set(ids: &[u8]) -> u64 {
    let mut bits = 0;
    let mut rest = ids;
    while let [id, tail @ ..] = rest {
        bits |= 1 << *id;
        rest = tail;
    }
    bits
}

/// Every identifier the standard has.
const KNOWN: u64 = Holder::Connect.allowed()
    | Holder::Will.allowed()
    | Holder::ConnAck.allowed()
    | Holder::Publish.allowed();

impl Holder {
    /// The identifiers that may stand here, as a set of bits.
    const fn allowed(self) -> u64 {
        match self {
            Self::Connect => {
                const {
                    set(&[
                        id::SESSION_EXPIRY_INTERVAL,
                        id::AUTHENTICATION_METHOD,
                        id::AUTHENTICATION_DATA,
                        id::REQUEST_PROBLEM_INFORMATION,
                        id::REQUEST_RESPONSE_INFORMATION,
                        id::RECEIVE_MAXIMUM,
                        id::TOPIC_ALIAS_MAXIMUM,
                        id::USER_PROPERTY,
                        id::MAXIMUM_PACKET_SIZE,
                    ])
                }
            }
            Self::Will => {
                const {
                    set(&[
                        id::PAYLOAD_FORMAT_INDICATOR,
                        id::MESSAGE_EXPIRY_INTERVAL,
                        id::CONTENT_TYPE,
                        id::RESPONSE_TOPIC,
                        id::CORRELATION_DATA,
                        id::WILL_DELAY_INTERVAL,
                        id::USER_PROPERTY,
                    ])
                }
            }
            Self::ConnAck => {
                const {
                    set(&[
                        id::SESSION_EXPIRY_INTERVAL,
                        id::ASSIGNED_CLIENT_IDENTIFIER,
                        id::SERVER_KEEP_ALIVE,
                        id::AUTHENTICATION_METHOD,
                        id::AUTHENTICATION_DATA,
                        id::RESPONSE_INFORMATION,
                        id::SERVER_REFERENCE,
                        id::REASON_STRING,
                        id::RECEIVE_MAXIMUM,
                        id::TOPIC_ALIAS_MAXIMUM,
                        id::MAXIMUM_QOS,
                        id::RETAIN_AVAILABLE,
                        id::USER_PROPERTY,
                        id::MAXIMUM_PACKET_SIZE,
                        id::WILDCARD_SUBSCRIPTION_AVAILABLE,
                        id::SUBSCRIPTION_IDENTIFIERS_AVAILABLE,
                        id::SHARED_SUBSCRIPTION_AVAILABLE,
                    ])
                }
            }
            Self::Publish => {
                const {
                    set(&[
                        id::PAYLOAD_FORMAT_INDICATOR,
                        id::MESSAGE_EXPIRY_INTERVAL,
                        id::CONTENT_TYPE,
                        id::RESPONSE_TOPIC,
                        id::CORRELATION_DATA,
                        id::SUBSCRIPTION_IDENTIFIER,
                        id::TOPIC_ALIAS,
                        id::USER_PROPERTY,
                    ])
                }
            }
            Self::Ack => const { set(&[id::REASON_STRING, id::USER_PROPERTY]) },
            Self::Subscribe => const { set(&[id::SUBSCRIPTION_IDENTIFIER, id::USER_PROPERTY]) },
            Self::Unsubscribe => const { set(&[id::USER_PROPERTY]) },
            Self::Disconnect => {
                const {
                    set(&[
                        id::SESSION_EXPIRY_INTERVAL,
                        id::SERVER_REFERENCE,
                        id::REASON_STRING,
                        id::USER_PROPERTY,
                    ])
                }
            }
            Self::Auth => {
                const {
                    set(&[
                        id::AUTHENTICATION_METHOD,
                        id::AUTHENTICATION_DATA,
                        id::REASON_STRING,
                        id::USER_PROPERTY,
                    ])
                }
            }
        }
    }

    /// The identifiers among them that a sender to this side may not use: a client's Subscription Identifier
    /// on a PUBLISH \[MQTT-3.3.4-6\], a server's Session Expiry Interval \[MQTT-3.14.2-2\] or a client's Server
    /// Reference (3.14.2.2.5) on a DISCONNECT.
    const fn barred(self, direction: Direction) -> u64 {
        match (self, direction) {
            (Self::Publish, Direction::ToServer) => const { set(&[id::SUBSCRIPTION_IDENTIFIER]) },
            (Self::Disconnect, Direction::ToClient) => const { set(&[id::SESSION_EXPIRY_INTERVAL]) },
            (Self::Disconnect, Direction::ToServer) => const { set(&[id::SERVER_REFERENCE]) },
            _ => 0,
        }
    }

    /// The identifiers that may stand more than once: user properties, and in a PUBLISH the identifiers of all
    /// the subscriptions that matched (3.3.4).
    const fn repeatable(self) -> u64 {
        match self {
            Self::Publish => const { set(&[id::USER_PROPERTY, id::SUBSCRIPTION_IDENTIFIER]) },
            _ => const { set(&[id::USER_PROPERTY]) },
        }
    }

    /// Checks a whole block: identifiers, repetitions, values.
    pub(super) fn check(self, block: &[u8], direction: Direction) -> Result<(), Malformed> {
        let (allowed, barred) = (self.allowed(), self.barred(direction));
        let repeatable = self.repeatable();
        let mut seen = 0_u64;
        let mut reader = Reader::new(block);
        while let Some(&id) = reader.rest().first() {
            let bit = 1_u64.checked_shl(u32::from(id)).unwrap_or(0);
            if allowed & bit == 0 {
                return Err(if KNOWN & bit == 0 {
                    Malformed::PropertyUnknown
                } else {
                    Malformed::PropertyNotAllowed
                });
            }
            if barred & bit != 0 {
                return Err(Malformed::PropertyDirection);
            }
            if seen & bit & !repeatable != 0 {
                return Err(Malformed::PropertyRepeated);
            }
            seen |= bit;
            Raw::take(&mut reader)?.property()?;
        }
        const METHOD: u64 = set(&[id::AUTHENTICATION_METHOD]);
        const DATA: u64 = set(&[id::AUTHENTICATION_DATA]);
        if seen & DATA != 0 && seen & METHOD == 0 && self != Self::Auth {
            return Err(Malformed::AuthenticationDataWithoutMethod);
        }
        Ok(())
    }
}
