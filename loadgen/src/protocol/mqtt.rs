//! MQTT 3.1.1 and 5.0 through `mqttbytes`.
//!
//! Everything sent is encoded by `mqttbytes`; a PUBLISH once per sender, as a [`Template`] that is patched for each
//! message. Everything received is framed by `mqttbytes::check` and decoded by `mqttbytes`, but for the
//! fields of a PUBLISH and of a bare acknowledgement: those are borrowed in place, because decoding into owned strings
//! costs more than the rest of the receive path. [`decode_publish_owned`] is the slow form, for checks.

use std::ops::Range;

use bytes::BytesMut;
use mqttbytes::{Error, PacketType, QoS, v4, v5};

use super::template::Template;
use super::{Login, Malformed, Packet, Publish, Version};
use crate::bytes_at::u16_at;

/// The largest packet accepted from a server.
pub const PACKET_BYTES_MAX: usize = 16 * 1024 * 1024;

impl From<Error> for Malformed {
    fn from(error: Error) -> Self {
        Self(format!("mqttbytes: {error:?}"))
    }
}

fn quality(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

/// The bytes of a CONNECT; the session is clean, or outlives the connection for as long as the server lets it.
///
/// # Errors
/// [`Malformed`] for a packet too large for MQTT.
pub fn connect(
    version: Version,
    client_id: &str,
    login: Option<&Login>,
    keepalive_s: u16,
    clean: bool,
) -> Result<Vec<u8>, Malformed> {
    let mut out = BytesMut::with_capacity(128);
    match version {
        Version::V3 => {
            let mut packet = v4::Connect::new(client_id);
            packet.keep_alive = keepalive_s;
            packet.clean_session = clean;
            if let Some(login) = login {
                packet.set_login(&login.account, &login.secret);
            }
            packet.write(&mut out)?;
        }
        Version::V5 => {
            let mut packet = v5::Connect::new(client_id);
            packet.keep_alive = keepalive_s;
            packet.clean_session = clean;
            if !clean {
                packet.properties = Some(v5::ConnectProperties {
                    session_expiry_interval: Some(u32::MAX),
                    receive_maximum: None,
                    max_packet_size: None,
                    topic_alias_max: None,
                    request_response_info: None,
                    request_problem_info: None,
                    user_properties: Vec::new(),
                    authentication_method: None,
                    authentication_data: None,
                });
            }
            if let Some(login) = login {
                packet.set_login(&login.account, &login.secret);
            }
            packet.write(&mut out)?;
        }
    }
    Ok(out.to_vec())
}

/// The bytes of a SUBSCRIBE with one filter.
///
/// # Errors
/// [`Malformed`] for a packet too large for MQTT.
pub fn subscribe(version: Version, packet_id: u16, filter: &str, qos: u8) -> Result<Vec<u8>, Malformed> {
    let mut out = BytesMut::with_capacity(64);
    match version {
        Version::V3 => {
            let mut packet = v4::Subscribe::new(filter, quality(qos));
            packet.pkid = packet_id;
            packet.write(&mut out)?;
        }
        Version::V5 => {
            let mut packet = v5::Subscribe::new(filter, quality(qos));
            packet.pkid = packet_id;
            packet.write(&mut out)?;
        }
    }
    Ok(out.to_vec())
}

/// The bytes of a PUBACK for `packet_id`; the same in both versions (MQTT 5.0 clause 3.4.2.1 lets a client leave
/// out Reason Code 0).
pub fn puback(packet_id: u16) -> [u8; 4] {
    bare(0x40, packet_id)
}

/// The same of a PUBREC (clause 3.5.2.1).
pub fn pubrec(packet_id: u16) -> [u8; 4] {
    bare(0x50, packet_id)
}

/// The same of a PUBREL (clause 3.6.2.1).
pub fn pubrel(packet_id: u16) -> [u8; 4] {
    bare(0x62, packet_id)
}

/// The same of a PUBCOMP (clause 3.7.2.1).
pub fn pubcomp(packet_id: u16) -> [u8; 4] {
    bare(0x70, packet_id)
}

fn bare(first: u8, packet_id: u16) -> [u8; 4] {
    let [high, low] = packet_id.to_be_bytes();
    [first, 2, high, low]
}

/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xc0, 0];

/// DISCONNECT, normal; the same in both versions.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

/// The template of a PUBLISH of `payload` to `topic`; its key is the part `key` of the topic.
///
/// # Errors
/// [`Malformed`] for a packet too large for MQTT.
pub fn publish(
    version: Version,
    topic: &str,
    key: Range<usize>,
    qos: u8,
    payload: &[u8],
) -> Result<Template, Malformed> {
    let mut out = BytesMut::with_capacity(payload.len() + topic.len() + 16);
    match version {
        Version::V3 => {
            let mut packet = v4::Publish::new(topic, quality(qos), payload);
            packet.pkid = u16::from(qos > 0);
            packet.write(&mut out)?;
        }
        Version::V5 => {
            let mut packet = v5::Publish::new(topic, quality(qos), payload);
            packet.pkid = u16::from(qos > 0);
            packet.write(&mut out)?;
        }
    }
    let payload_at = out.len() - payload.len();
    let properties_bytes = usize::from(version == Version::V5);
    let packet_id_at = (qos > 0).then(|| payload_at - properties_bytes - 2);
    let topic_at = packet_id_at.unwrap_or(payload_at - properties_bytes) - topic.len();
    Ok(Template {
        key: topic_at + key.start..topic_at + key.end,
        packet_id_at,
        payload: payload_at..out.len(),
        frame: out.to_vec(),
    })
}

/// The Packet Identifier of the `sequence`-th QoS > 0 message of a connection: 1..=65,535, in turn.
pub fn packet_id_of(sequence: u64) -> u16 {
    u16::try_from(sequence % 65_535).unwrap_or(0) + 1
}

/// See [`super::next_packet`].
///
/// # Errors
/// [`Malformed`], as there.
pub fn next_packet(version: Version, bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    let header = match mqttbytes::check(bytes.iter(), PACKET_BYTES_MAX) {
        Ok(header) => header,
        Err(Error::InsufficientBytes(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let len = header.frame_length();
    let Some(frame) = bytes.get(..len) else {
        return Ok(None);
    };
    let packet = match header.packet_type()? {
        PacketType::Publish => Packet::Publish(read_publish(version, frame)?),
        kind @ (PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp)
            if len == 4 =>
        {
            acknowledgement(kind, u16_at(frame, 2).unwrap_or(0), 0)
        }
        PacketType::PingResp => Packet::Other,
        // mqttbytes refuses the DISCONNECT without a body that MQTT 5.0 clause 3.14.2.1 allows.
        PacketType::Disconnect if len == 2 => Packet::Disconnect(0),
        _ => owned(version, frame)?,
    };
    Ok(Some((packet, len)))
}

/// One of the four, by its type.
fn acknowledgement(kind: PacketType, packet_id: u16, code: u8) -> Packet<'static> {
    match kind {
        PacketType::PubRec => Packet::PubRec { packet_id, code },
        PacketType::PubRel => Packet::PubRel { packet_id },
        PacketType::PubComp => Packet::PubComp { packet_id },
        _ => Packet::PubAck { packet_id, code },
    }
}

/// The fields of a PUBLISH that `mqttbytes::check` found complete, borrowed.
fn read_publish(version: Version, frame: &[u8]) -> Result<Publish<'_>, Malformed> {
    let short = || Malformed("PUBLISH shorter than its fields".into());
    let first = *frame.first().ok_or_else(short)?;
    let length_bytes = frame.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let topic_at = 1 + length_bytes + 2;
    let topic_bytes = usize::from(u16_at(frame, topic_at - 2).ok_or_else(short)?);
    let mut at = topic_at + topic_bytes;
    let topic = frame.get(topic_at..at).ok_or_else(short)?;
    let qos = (first >> 1) & 3;
    let mut packet_id = 0;
    if qos > 0 {
        packet_id = u16_at(frame, at).ok_or_else(short)?;
        at += 2;
    }
    let mut properties: &[u8] = &[];
    if version == Version::V5 {
        let (properties_bytes, prefix) =
            variable_integer(frame.get(at..).unwrap_or_default()).ok_or_else(short)?;
        at += prefix;
        properties = frame.get(at..at + properties_bytes).ok_or_else(short)?;
        at += properties_bytes;
    }
    let payload = frame.get(at..).ok_or_else(short)?;
    Ok(Publish {
        qos,
        packet_id,
        topic,
        properties,
        payload,
    })
}

/// A Variable Byte Integer and its length.
fn variable_integer(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Decodes the rare packets through `mqttbytes`.
fn owned(version: Version, frame: &[u8]) -> Result<Packet<'static>, Malformed> {
    let mut copy = BytesMut::from(frame);
    Ok(match version {
        Version::V3 => match v4::read(&mut copy, PACKET_BYTES_MAX)? {
            v4::Packet::ConnAck(packet) => Packet::ConnAck {
                code: frame.get(3).copied().unwrap_or(packet.code as u8),
                receive_max: u16::MAX,
                present: packet.session_present,
            },
            v4::Packet::SubAck(packet) => Packet::SubAck {
                granted: packet
                    .return_codes
                    .iter()
                    .all(|code| matches!(code, v4::SubscribeReasonCode::Success(_))),
            },
            _ => Packet::Other,
        },
        Version::V5 => match v5::read(&mut copy, PACKET_BYTES_MAX)? {
            v5::Packet::ConnAck(packet) => Packet::ConnAck {
                code: packet.code as u8,
                receive_max: packet.properties.and_then(|p| p.receive_max).unwrap_or(u16::MAX),
                present: packet.session_present,
            },
            v5::Packet::SubAck(packet) => Packet::SubAck {
                granted: packet.return_codes.iter().all(|code| (*code as u8) < 0x80),
            },
            v5::Packet::PubAck(packet) => {
                acknowledgement(PacketType::PubAck, packet.pkid, packet.reason as u8)
            }
            v5::Packet::PubRec(packet) => {
                acknowledgement(PacketType::PubRec, packet.pkid, packet.reason as u8)
            }
            v5::Packet::PubRel(packet) => acknowledgement(PacketType::PubRel, packet.pkid, 0),
            v5::Packet::PubComp(packet) => acknowledgement(PacketType::PubComp, packet.pkid, 0),
            v5::Packet::Disconnect(packet) => Packet::Disconnect(packet.reason_code as u8),
            _ => Packet::Other,
        },
    })
}

/// Topic and payload of a whole PUBLISH frame as `mqttbytes` reads them: the check on the borrowed form.
///
/// # Errors
/// [`Malformed`] where `mqttbytes` refuses the frame or finds another packet in it.
pub fn decode_publish_owned(version: Version, frame: &[u8]) -> Result<(String, Vec<u8>), Malformed> {
    let mut copy = BytesMut::from(frame);
    let other = || Malformed("not a PUBLISH".into());
    match version {
        Version::V3 => match v4::read(&mut copy, PACKET_BYTES_MAX)? {
            v4::Packet::Publish(packet) => Ok((packet.topic, packet.payload.to_vec())),
            _ => Err(other()),
        },
        Version::V5 => match v5::read(&mut copy, PACKET_BYTES_MAX)? {
            v5::Packet::Publish(packet) => Ok((packet.topic, packet.payload.to_vec())),
            _ => Err(other()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(test: impl Fn(Version)) {
        test(Version::V3);
        test(Version::V5);
    }

    #[test]
    fn the_borrowed_publish_equals_the_decoded_one_at_every_qos_and_size() {
        both(|version| {
            for qos in [0, 1, 2] {
                for payload_bytes in [0, 1, 100, 127, 128, 20_000] {
                    let payload = vec![7; payload_bytes];
                    let mut template = publish(version, "load/é/1", 0..0, qos, &payload).unwrap();
                    template.set_packet_id(0x1234);
                    let (packet, len) = next_packet(version, template.frame()).unwrap().unwrap();
                    let Packet::Publish(publish) = packet else {
                        panic!("{packet:?}")
                    };
                    let (topic, owned) = decode_publish_owned(version, template.frame()).unwrap();
                    assert_eq!(len, template.frame().len());
                    assert_eq!(
                        (publish.topic, publish.payload),
                        (topic.as_bytes(), owned.as_slice())
                    );
                    assert_eq!(publish.packet_id, if qos == 0 { 0 } else { 0x1234 });
                }
            }
        });
    }

    #[test]
    fn every_split_of_a_publish_asks_for_more() {
        both(|version| {
            let template = publish(version, "a/b", 0..0, 1, &[1; 200]).unwrap();
            for cut in 0..template.frame().len() {
                assert_eq!(next_packet(version, &template.frame()[..cut]), Ok(None));
            }
        });
    }

    #[test]
    fn the_key_is_a_part_of_the_topic() {
        both(|version| {
            let mut template = publish(version, "a/----/b", 2..6, 1, b"x").unwrap();
            template.set_key(b"1234");
            assert_eq!(
                decode_publish_owned(version, template.frame()).unwrap().0,
                "a/1234/b"
            );
        });
    }

    #[test]
    fn mqtt5_3_3_2_3_properties_of_a_publish_are_skipped() {
        let mut packet = v5::Publish::new("t", QoS::AtMostOnce, b"body".as_slice());
        packet.properties = Some(v5::PublishProperties {
            payload_format_indicator: Some(1),
            message_expiry_interval: None,
            topic_alias: None,
            response_topic: Some("r".into()),
            correlation_data: None,
            user_properties: vec![("nexus-app".into(), "x".repeat(200))],
            subscription_identifiers: vec![],
            content_type: None,
        });
        let mut out = BytesMut::new();
        packet.write(&mut out).unwrap();
        let (Packet::Publish(publish), _) = next_packet(Version::V5, &out).unwrap().unwrap() else {
            panic!()
        };
        assert_eq!((publish.topic, publish.payload), (&b"t"[..], &b"body"[..]));
        assert!(publish.properties.len() > 200);
    }

    #[test]
    fn acknowledgements_and_refusals_are_read() {
        fn read(bytes: &[u8], version: Version) -> Packet<'_> {
            next_packet(version, bytes).unwrap().unwrap().0
        }
        assert_eq!(
            read(&[0x20, 2, 0, 5], Version::V3),
            Packet::ConnAck {
                code: 5,
                receive_max: 65_535,
                present: false
            }
        );
        assert_eq!(
            read(&[0x20, 6, 1, 0, 3, 33, 0, 20], Version::V5),
            Packet::ConnAck {
                code: 0,
                receive_max: 20,
                present: true
            }
        );
        assert_eq!(
            read(&[0x90, 3, 0, 1, 0x80], Version::V3),
            Packet::SubAck { granted: false }
        );
        assert_eq!(
            read(&[0x90, 4, 0, 1, 0, 1], Version::V5),
            Packet::SubAck { granted: true }
        );
        assert_eq!(
            read(&puback(77), Version::V5),
            Packet::PubAck {
                packet_id: 77,
                code: 0
            }
        );
        assert_eq!(
            read(&[0x40, 3, 0, 9, 0x10], Version::V5),
            Packet::PubAck {
                packet_id: 9,
                code: 0x10
            }
        );
        let packet_id = 9;
        for version in [Version::V3, Version::V5] {
            let code = 0;
            assert_eq!(read(&pubrec(9), version), Packet::PubRec { packet_id, code });
            assert_eq!(read(&pubrel(9), version), Packet::PubRel { packet_id });
            assert_eq!(read(&pubcomp(9), version), Packet::PubComp { packet_id });
        }
        assert_eq!(
            read(&[0x50, 3, 0, 9, 0x97], Version::V5),
            Packet::PubRec {
                packet_id,
                code: 0x97
            }
        );
        assert_eq!(
            read(&[0x62, 3, 0, 9, 0x92], Version::V5),
            Packet::PubRel { packet_id }
        );
        assert_eq!(
            read(&[0x70, 4, 0, 9, 0x92, 0], Version::V5),
            Packet::PubComp { packet_id }
        );
        assert_eq!(read(&[0xe0, 2, 0x8e, 0], Version::V5), Packet::Disconnect(0x8e));
        assert_eq!(read(&[0xe0, 0], Version::V5), Packet::Disconnect(0));
    }

    #[test]
    fn packet_identifiers_are_never_zero() {
        for sequence in [0, 65_534, 65_535, 65_536, u64::MAX] {
            assert_ne!(packet_id_of(sequence), 0);
        }
        assert_eq!(packet_id_of(65_535), packet_id_of(0));
    }
}
