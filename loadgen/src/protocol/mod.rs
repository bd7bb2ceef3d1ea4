//! Bytes on the wire: MQTT through `mqttbytes`, XMPP through `quick-xml`, WebSocket through `tungstenite`, the lines of
//! NATS, raw fixed-size messages.
//!
//! Frames are encoded once per sender and patched in place for each message; what is received is borrowed from the
//! read buffer. Nothing here owns a socket. Another protocol is another [`Wire`]: a module that reads and writes its
//! frames, its steps in [`login`], its requests in [`api`].

pub mod api;
pub mod login;
pub mod mqtt;
pub mod nats;
pub mod stamp;
pub mod template;
pub mod ws;
pub mod xmpp;

use std::borrow::Cow;

use stamp::Form;
use template::Template;
pub use xmpp::Stanza;

/// Account and secret of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub account: String,
    /// The password.
    pub secret: String,
}

/// Protocol version of an MQTT connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.0.
    V5,
}

/// What flows inside a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// MQTT control packets.
    Mqtt(Version),
    /// XMPP elements, each in a text message of WebSocket.
    Xmpp,
    /// XMPP elements in a stream over TCP (RFC 6120).
    XmppStream {
        /// The stream is sealed by STARTTLS before the login.
        starttls: bool,
    },
    /// Lines of NATS.
    Nats,
    /// Messages of exactly `frame_bytes` bytes whose last `payload_bytes` are the payload; for bare relays.
    Raw {
        /// Length of one message.
        frame_bytes: usize,
        /// Length of the payload at its end.
        payload_bytes: usize,
    },
}

impl Wire {
    /// The MQTT version; `None` for other protocols.
    pub fn mqtt_version(self) -> Option<Version> {
        match self {
            Self::Mqtt(version) => Some(version),
            Self::Xmpp | Self::XmppStream { .. } | Self::Nats | Self::Raw { .. } => None,
        }
    }

    /// Whether it is XMPP, over WebSocket or TCP.
    pub fn is_xmpp(self) -> bool {
        matches!(self, Self::Xmpp | Self::XmppStream { .. })
    }

    /// Whether TLS begins within the protocol.
    pub fn starts_tls(self) -> bool {
        matches!(self, Self::XmppStream { starttls: true })
    }

    /// How a message's stamp is written.
    pub fn stamp_form(self) -> Form {
        match self {
            Self::Xmpp | Self::XmppStream { .. } => Form::Text,
            Self::Mqtt(_) | Self::Nats | Self::Raw { .. } => Form::Binary,
        }
    }

    /// What keeps an idle connection alive.
    pub fn ping(self) -> Vec<u8> {
        match self {
            Self::Mqtt(_) => mqtt::PINGREQ.to_vec(),
            Self::Xmpp | Self::XmppStream { .. } => xmpp::ping(),
            Self::Nats => nats::PING.to_vec(),
            Self::Raw { .. } => Vec::new(),
        }
    }

    /// What ends a connection in its protocol.
    pub fn good_bye(self) -> Vec<u8> {
        match self {
            Self::Mqtt(_) => mqtt::DISCONNECT.to_vec(),
            Self::Xmpp => xmpp::close(),
            Self::XmppStream { .. } => xmpp::stream_end(),
            Self::Nats | Self::Raw { .. } => Vec::new(),
        }
    }

    /// The template of a message of `payload` to `channel`. Raw messages are as long as the 3.1.1 PUBLISH.
    ///
    /// # Errors
    /// [`Malformed`] for what the protocol cannot carry.
    pub fn publish(self, channel: &str, qos: u8, payload: &[u8]) -> Result<Template, Malformed> {
        match self {
            Self::Xmpp | Self::XmppStream { .. } => {
                let text = std::str::from_utf8(payload).map_err(|error| Malformed(error.to_string()))?;
                Ok(xmpp::publish(channel, text))
            }
            Self::Nats => nats::publish(channel, payload),
            _ => {
                let version = self.mqtt_version().unwrap_or(Version::V3);
                mqtt::publish(version, channel, 0..0, qos, payload)
            }
        }
    }
}

impl Wire {
    /// The template of a message of `payload` to the occupants of a room.
    ///
    /// # Errors
    /// [`Malformed`] for what the protocol cannot carry, and where it has no rooms.
    pub fn speak(self, room: &str, payload: &[u8]) -> Result<Template, Malformed> {
        if !self.is_xmpp() {
            return Err(Malformed("rooms are of XMPP".into()));
        }
        let text = std::str::from_utf8(payload).map_err(|error| Malformed(error.to_string()))?;
        Ok(xmpp::groupchat(room, text))
    }
}

impl Wire {
    /// The template of a Direct message of `payload` to the worker of `app` under `resource`.
    ///
    /// # Errors
    /// [`Malformed`] for what the protocol cannot carry, and where it has no Direct messages.
    pub fn direct(self, app: &str, resource: &str, qos: u8, payload: &[u8]) -> Result<Template, Malformed> {
        match self {
            Self::Mqtt(version) => {
                let topic = format!("$nexus/direct/{app}/{resource}");
                mqtt::publish(version, &topic, 0..0, qos, payload)
            }
            Self::Xmpp | Self::XmppStream { .. } => {
                let text = std::str::from_utf8(payload).map_err(|error| Malformed(error.to_string()))?;
                Ok(xmpp::direct(app, resource, text))
            }
            Self::Nats | Self::Raw { .. } => Err(Malformed("there are no Direct messages".into())),
        }
    }
}

/// Reason Codes from here on refuse (MQTT 5.0 clause 2.4).
pub const REFUSED: u8 = 0x80;

/// A received packet or element, borrowed from the read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// CONNACK.
    ConnAck {
        /// 0 accepts the connection.
        code: u8,
        /// Receive Maximum of the server; 65,535 where it named none.
        receive_max: u16,
        /// Session Present: an earlier connection's session goes on.
        present: bool,
    },
    /// SUBACK.
    SubAck {
        /// Every filter was granted.
        granted: bool,
    },
    /// PUBACK.
    PubAck {
        /// Packet Identifier of the PUBLISH it answers.
        packet_id: u16,
        /// Reason Code; 0 in MQTT 3.1.1.
        code: u8,
    },
    /// PUBREC: the server has a QoS 2 message, or refuses it.
    PubRec {
        /// Packet Identifier of the PUBLISH it answers.
        packet_id: u16,
        /// Reason Code; 0 in MQTT 3.1.1.
        code: u8,
    },
    /// PUBREL: the server will not send a QoS 2 message again.
    PubRel {
        /// Packet Identifier of the message.
        packet_id: u16,
    },
    /// PUBCOMP: a QoS 2 message is through.
    PubComp {
        /// Packet Identifier of the message.
        packet_id: u16,
    },
    /// PUBLISH.
    Publish(Publish<'a>),
    /// DISCONNECT of an MQTT 5.0 server, with its Reason Code.
    Disconnect(u8),
    /// NATS: the server asks whether the client is there.
    Ping,
    /// NATS: the server has done what came before.
    Pong,
    /// NATS: what went wrong.
    Fault(&'a str),
    /// An element of XMPP.
    Stanza(Stanza<'a>),
    /// A packet that changes nothing here (PINGRESP and the like).
    Other,
}

impl<'a> Packet<'a> {
    /// What the server says where it ends the connection.
    pub fn good_bye(&self) -> Option<String> {
        match self {
            Self::Disconnect(code) => Some(format!("DISCONNECT 0x{code:02x}")),
            Self::Fault(what) => Some((*what).to_owned()),
            Self::Stanza(Stanza::StreamError(condition)) => Some(format!("stream error {condition}")),
            Self::Stanza(Stanza::Close) => Some("the end of the stream".into()),
            _ => None,
        }
    }

    /// What MQTT has the client answer at once, whatever the packet means to it.
    pub fn answer(&self) -> Option<[u8; 4]> {
        match *self {
            Self::Publish(Publish {
                qos: 1, packet_id, ..
            }) => Some(mqtt::puback(packet_id)),
            Self::Publish(Publish {
                qos: 2, packet_id, ..
            }) => Some(mqtt::pubrec(packet_id)),
            Self::PubRec { packet_id, code } if code < REFUSED => Some(mqtt::pubrel(packet_id)),
            Self::PubRel { packet_id } => Some(mqtt::pubcomp(packet_id)),
            _ => None,
        }
    }

    /// The Reason Code with which a message of the client's is through, or refused.
    pub fn acknowledged(&self) -> Option<u8> {
        match *self {
            Self::PubAck { code, .. } => Some(code),
            Self::PubRec { code, .. } if code >= REFUSED => Some(code),
            Self::PubComp { .. } => Some(0),
            _ => None,
        }
    }

    /// The condition of a message that came back as an error.
    pub fn refused_message(&self) -> Option<&'a str> {
        match self {
            Self::Stanza(Stanza::Message(message)) => message.refused,
            _ => None,
        }
    }

    /// The payload of a message on a channel; `None` if it is none.
    pub fn delivery(&self) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Publish(publish) => Some(Cow::Borrowed(publish.payload)),
            Self::Stanza(Stanza::Message(message)) => Some(text_of(message.text?)),
            _ => None,
        }
    }
}

/// An XML text without its references. One with references that do not exist stays as it is: it then differs from
/// what was sent, and counts as wrong.
fn text_of(escaped: &str) -> Cow<'_, [u8]> {
    match quick_xml::escape::unescape(escaped) {
        Ok(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        Ok(Cow::Borrowed(_)) | Err(_) => Cow::Borrowed(escaped.as_bytes()),
    }
}

/// A received PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// 0, 1 or 2.
    pub qos: u8,
    /// Present for QoS 1 and 2, else 0.
    pub packet_id: u16,
    /// The Topic Name as sent.
    pub topic: &'a [u8],
    /// The properties without their length; empty in MQTT 3.1.1. Of NATS the subject for a reply.
    pub properties: &'a [u8],
    /// The Application Message.
    pub payload: &'a [u8],
}

/// Why bytes from the server could not be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

/// Takes the first packet off `bytes`: it and its length, or `None` where more bytes are needed.
///
/// # Errors
/// [`Malformed`] for bytes that no further bytes can turn into a packet.
pub fn next_packet(wire: Wire, bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    match wire {
        Wire::Mqtt(version) => mqtt::next_packet(version, bytes),
        Wire::Nats => nats::next_packet(bytes),
        // A message is one element.
        Wire::Xmpp if bytes.is_empty() => Ok(None),
        Wire::Xmpp => Ok(Some((Packet::Stanza(xmpp::read(bytes)?), bytes.len()))),
        Wire::XmppStream { .. } => {
            Ok(xmpp::next_element(bytes)?.map(|(stanza, len)| (Packet::Stanza(stanza), len)))
        }
        Wire::Raw {
            frame_bytes,
            payload_bytes,
        } => {
            let Some(frame) = bytes.get(..frame_bytes) else {
                return Ok(None);
            };
            let payload = frame
                .get(frame_bytes.saturating_sub(payload_bytes)..)
                .unwrap_or_default();
            let publish = Publish {
                qos: 0,
                packet_id: 0,
                topic: &[],
                properties: &[],
                payload,
            };
            Ok(Some((Packet::Publish(publish), frame_bytes)))
        }
    }
}
