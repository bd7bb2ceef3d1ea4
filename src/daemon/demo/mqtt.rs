//! The sample device's and worker's connection: MQTT 3.1.1 or 5.0 through `mqttbytes`, over TCP, blocking.
//! It shares nothing with the daemon's own codec: the demonstration goes over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::BytesMut;
use mqttbytes::{QoS, v4, v5};

use super::{Login, Patience, open_tcp};
use crate::daemon::Fault;

const PACKET_BYTES_MAX: usize = 1_024 * 1_024;
/// None: the sample clients are silent as long as nobody wants anything of them.
const KEEP_ALIVE_S: u16 = 0;

/// What a sample client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// A message that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Its topic.
    pub(super) topic: String,
    /// Its payload; the sample clients exchange text.
    pub(super) text: String,
    /// Where a reply goes (5.0).
    pub(super) response_topic: Option<String>,
    /// The user properties (5.0), in order.
    pub(super) properties: Vec<(String, String)>,
}

impl Message {
    /// The sender as `<app>-<uid>-<role>/<resource>`, from the properties the daemon appended (5.0).
    pub(super) fn sender(&self) -> Option<String> {
        let of = |name: &str| {
            self.properties
                .iter()
                .rev()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value)
        };
        let (app, uid) = (of("nexus-app")?, of("nexus-uid")?);
        Some(format!(
            "{app}-{uid}-{}/{}",
            of("nexus-role")?,
            of("nexus-resource")?
        ))
    }
}

/// A connected sample client.
pub(super) struct Client {
    stream: TcpStream,
    version: Version,
    inbox: BytesMut,
    packet_id: u16,
}

impl Client {
    /// Connects and logs in.
    pub(super) fn connect(
        version: Version,
        address: SocketAddr,
        login: &Login,
        patience: Patience,
    ) -> Result<Self, Fault> {
        let stream = open_tcp(address, patience)
            .map_err(|e| Fault::new(format!("{} cannot connect: {e}", login.resource)))?;
        let mut client = Self {
            stream,
            version,
            inbox: BytesMut::new(),
            packet_id: 0,
        };
        let mut out = BytesMut::new();
        let (account, secret) = (login.account.clone(), login.secret.clone());
        match version {
            Version::V311 => {
                let mut connect = v4::Connect::new(&login.resource);
                connect.keep_alive = KEEP_ALIVE_S;
                connect.set_login(account, secret);
                connect.write(&mut out)
            }
            Version::V5 => {
                let mut connect = v5::Connect::new(&login.resource);
                connect.keep_alive = KEEP_ALIVE_S;
                connect.set_login(account, secret);
                connect.write(&mut out)
            }
        }
        .map_err(malformed)?;
        client.send(&out)?;
        match client.packet()? {
            Packet::Connected(true) => Ok(client),
            Packet::Connected(false) => {
                Err(Fault::new(format!("the login of {} was refused", login.account)))
            }
            _ => Err(Fault::new("the daemon answered CONNECT with something else")),
        }
    }

    /// Subscribes with QoS 1 and waits for the acknowledgement.
    pub(super) fn subscribe(&mut self, filter: &str) -> Result<(), Fault> {
        let id = self.next_id();
        let mut out = BytesMut::new();
        match self.version {
            Version::V311 => {
                let mut subscribe = v4::Subscribe::new(filter, QoS::AtLeastOnce);
                subscribe.pkid = id;
                subscribe.write(&mut out)
            }
            Version::V5 => {
                let mut subscribe = v5::Subscribe::new(filter, QoS::AtLeastOnce);
                subscribe.pkid = id;
                subscribe.write(&mut out)
            }
        }
        .map_err(malformed)?;
        self.send(&out)?;
        loop {
            match self.packet()? {
                Packet::Subscribed(true) => return Ok(()),
                Packet::Subscribed(false) => return Err(Fault::new(format!("{filter} was refused"))),
                _ => {}
            }
        }
    }

    /// Publishes with QoS 1; does not wait for the acknowledgement.
    pub(super) fn publish(
        &mut self,
        topic: &str,
        text: &str,
        response_topic: Option<&str>,
    ) -> Result<(), Fault> {
        let id = self.next_id();
        let mut out = BytesMut::new();
        match self.version {
            Version::V311 => {
                let mut publish = v4::Publish::new(topic, QoS::AtLeastOnce, text);
                publish.pkid = id;
                publish.write(&mut out)
            }
            Version::V5 => {
                let mut publish = v5::Publish::new(topic, QoS::AtLeastOnce, text);
                publish.pkid = id;
                publish.properties = response_topic.map(|response| v5::PublishProperties {
                    payload_format_indicator: None,
                    message_expiry_interval: None,
                    topic_alias: None,
                    response_topic: Some(response.to_owned()),
                    correlation_data: None,
                    user_properties: Vec::new(),
                    subscription_identifiers: Vec::new(),
                    content_type: None,
                });
                publish.write(&mut out)
            }
        }
        .map_err(malformed)?;
        self.send(&out)
    }

    /// The next message; what else arrives is passed over.
    pub(super) fn message(&mut self) -> Result<Message, Fault> {
        loop {
            if let Packet::Message(message, id) = self.packet()? {
                if let Some(id) = id {
                    self.acknowledge(id)?;
                }
                return Ok(message);
            }
        }
    }

    fn acknowledge(&mut self, id: u16) -> Result<(), Fault> {
        let mut out = BytesMut::new();
        match self.version {
            Version::V311 => v4::PubAck::new(id).write(&mut out),
            Version::V5 => v5::PubAck::new(id).write(&mut out),
        }
        .map_err(malformed)?;
        self.send(&out)
    }

    fn next_id(&mut self) -> u16 {
        self.packet_id = self.packet_id % u16::MAX + 1;
        self.packet_id
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.stream
            .write_all(bytes)
            .map_err(|e| Fault::new(format!("cannot send: {e}")))
    }

    fn packet(&mut self) -> Result<Packet, Fault> {
        loop {
            let packet = match self.version {
                Version::V311 => v4::read(&mut self.inbox, PACKET_BYTES_MAX).map(Packet::from_v4),
                Version::V5 => v5::read(&mut self.inbox, PACKET_BYTES_MAX).map(Packet::from_v5),
            };
            match packet {
                Ok(packet) => return Ok(packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(malformed(error)),
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), Fault> {
        let mut chunk = [0; 4_096];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Fault::new("the connection ended: closed by the daemon")),
            Ok(count) => {
                self.inbox
                    .extend_from_slice(chunk.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) => Err(Fault::new(format!("the connection ended: {error}"))),
        }
    }
}

fn malformed(error: mqttbytes::Error) -> Fault {
    Fault::new(format!("the sample client's codec refused a packet: {error:?}"))
}

/// The packets the sample clients care about, whatever the version.
enum Packet {
    Connected(bool),
    Subscribed(bool),
    Message(Message, Option<u16>),
    Other,
}

impl Packet {
    fn from_v4(packet: v4::Packet) -> Self {
        match packet {
            v4::Packet::ConnAck(ack) => Self::Connected(ack.code == v4::ConnectReturnCode::Success),
            v4::Packet::SubAck(ack) => {
                Self::Subscribed(!ack.return_codes.contains(&v4::SubscribeReasonCode::Failure))
            }
            v4::Packet::Publish(publish) => {
                let message = Message {
                    topic: publish.topic,
                    text: String::from_utf8_lossy(&publish.payload).into_owned(),
                    response_topic: None,
                    properties: Vec::new(),
                };
                Self::Message(message, (publish.qos != QoS::AtMostOnce).then_some(publish.pkid))
            }
            _ => Self::Other,
        }
    }

    fn from_v5(packet: v5::Packet) -> Self {
        match packet {
            v5::Packet::ConnAck(ack) => Self::Connected(ack.code == v5::ConnectReturnCode::Success),
            v5::Packet::SubAck(ack) => Self::Subscribed(ack.return_codes.iter().all(|code| {
                matches!(
                    code,
                    v5::SubscribeReasonCode::QoS0
                        | v5::SubscribeReasonCode::QoS1
                        | v5::SubscribeReasonCode::QoS2
                )
            })),
            v5::Packet::Publish(publish) => {
                let id = (publish.qos != QoS::AtMostOnce).then_some(publish.pkid);
                let properties = publish.properties;
                let response_topic = properties.as_ref().and_then(|p| p.response_topic.clone());
                let message = Message {
                    topic: publish.topic,
                    text: String::from_utf8_lossy(&publish.payload).into_owned(),
                    response_topic,
                    properties: properties.map(|p| p.user_properties).unwrap_or_default(),
                };
                Self::Message(message, id)
            }
            _ => Self::Other,
        }
    }
}
