//! Bytes on the wire: MQTT through `mqttbytes`, WebSocket through `tungstenite`, raw fixed-size messages.
//!
//! Frames are encoded once per sender and patched in place for each message; received PUBLISHes are borrowed
//! from the read buffer. Nothing here owns a socket.

pub mod mqtt;
pub mod stamp;
pub mod ws;

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
    /// Messages of exactly `frame_bytes` bytes whose last `payload_bytes` are the payload; for bare relays.
    Raw {
        /// Length of one message.
        frame_bytes: usize,
        /// Length of the payload at its end.
        payload_bytes: usize,
    },
}

/// A received control packet, borrowed from the read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// CONNACK.
    ConnAck {
        /// 0 accepts the connection.
        code: u8,
        /// Receive Maximum of the server; 65,535 where it named none.
        receive_max: u16,
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
    /// PUBLISH.
    Publish(Publish<'a>),
    /// DISCONNECT of an MQTT 5.0 server, with its Reason Code.
    Disconnect(u8),
    /// A packet that changes nothing here (PINGRESP and the like).
    Other,
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
    /// The properties without their length; empty in MQTT 3.1.1.
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
