//! What clients send, encoded.

use nexus::codec::mqtt::packet::{
    Ack, Connect, Filter, Filters, Packet, PacketId, Publish, QoS, Subscribe, Version,
};
use nexus::codec::mqtt::property::{Properties, Property};
use nexus::codec::ws::apply_mask;

/// User properties of the size that the sender has on a delivery: about 104 bytes.
pub const USER_PROPERTIES: [Property<'static>; 4] = [
    Property::UserProperty("site-name", "etest"),
    Property::UserProperty("site-unit", "0123456789abcdef01234567"),
    Property::UserProperty("site-role", "owner"),
    Property::UserProperty("site-resource", "thermometer-7"),
];

/// The bytes of a packet.
pub fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(packet.encoded_len(version));
    packet.encode_into(version, &mut bytes);
    bytes
}

/// CONNECT of a block.
pub fn connect(version: Version, account: &str, resource: &str) -> Vec<u8> {
    let connect = Connect {
        version,
        clean: true,
        keep_alive_s: 0,
        properties: Properties::default(),
        client_id: resource,
        will: None,
        user_name: Some(account),
        password: Some(b"secret"),
    };
    encoded(&Packet::Connect(connect), version)
}

/// SUBSCRIBE to one filter.
pub fn subscribe(version: Version, filter: &str, qos: QoS) -> Vec<u8> {
    let entry = Filter {
        filter,
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
    };
    let subscribe = Subscribe {
        packet_id: PacketId::MIN,
        properties: Properties::default(),
        filters: Filters::list(std::slice::from_ref(&entry)),
    };
    encoded(&Packet::Subscribe(subscribe), version)
}

/// PUBLISH.
pub fn publish(
    version: Version,
    topic: &str,
    qos: QoS,
    properties: &[Property<'_>],
    payload: &[u8],
) -> Vec<u8> {
    let publish = Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
        properties: Properties::list(properties),
        payload,
    };
    encoded(&Packet::Publish(publish), version)
}

/// PUBACK of success.
pub fn puback(version: Version, packet_id: PacketId) -> Vec<u8> {
    let ack = Ack {
        packet_id,
        code: 0,
        properties: Properties::default(),
    };
    encoded(&Packet::PubAck(ack), version)
}

/// The opening handshake of MQTT over WebSocket.
pub const HANDSHAKE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: nexus.example\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// A masked binary frame (RFC 6455, 5.2), as clients send it.
pub fn masked(payload: &[u8]) -> Vec<u8> {
    framed(0x82, payload)
}

/// A masked text frame.
pub fn masked_text(payload: &[u8]) -> Vec<u8> {
    framed(0x81, payload)
}

fn framed(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ 0..=125), _) => bytes.push(0x80 | len),
        (_, Ok(len)) => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&KEY);
    let at = bytes.len();
    bytes.extend_from_slice(payload);
    apply_mask(&mut bytes[at..], KEY);
    bytes
}
