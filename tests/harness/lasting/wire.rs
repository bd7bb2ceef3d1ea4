//! The packets of such a client, written and read by hand: nothing of the daemon's codec is taken on trust.

/// A packet as it came: the first byte and what follows the Remaining Length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

/// A PUBLISH as it came.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    pub(crate) id: u16,
    pub(crate) payload: String,
}

/// Takes the first packet off, if it is all there.
pub(crate) fn next(inbox: &mut Vec<u8>) -> Option<Packet> {
    let (mut length, mut at) = (0_usize, 1);
    loop {
        let byte = *inbox.get(at)?;
        length |= usize::from(byte & 0x7F) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if inbox.len() < at + length {
        return None;
    }
    let whole: Vec<u8> = inbox.drain(..at + length).collect();
    Some(Packet {
        first: whole[0],
        body: whole[at..].to_vec(),
    })
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = body.len();
    loop {
        let low = u8::try_from(rest & 0x7F).unwrap();
        rest >>= 7;
        bytes.push(if rest == 0 { low } else { low | 0x80 });
        if rest == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

pub(crate) fn counted(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// A CONNECT whose session does not expire; the will is a topic and a payload, at QoS 1.
pub(crate) fn connect(version: u8, names: [&str; 3], clean: bool, will: Option<(&str, &str)>) -> Vec<u8> {
    let [account, secret, resource] = names;
    let flags = 0b1100_0000 | u8::from(clean) << 1 | if will.is_some() { 0b1100 } else { 0 };
    let mut body = counted("MQTT");
    body.extend([version, flags, 0, 0]);
    if version == 5 {
        // Session Expiry Interval: never.
        body.extend([5, 0x11, 0xFF, 0xFF, 0xFF, 0xFF]);
    }
    body.extend(counted(resource));
    if let Some((topic, payload)) = will {
        body.extend((version == 5).then_some(0));
        body.extend(counted(topic));
        body.extend(counted(payload));
    }
    body.extend(counted(account));
    body.extend(counted(secret));
    packet(0x10, &body)
}

pub(crate) fn subscribe(version: u8, id: u16, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend((version == 5).then_some(0));
    body.extend(counted(filter));
    body.push(qos);
    packet(0x82, &body)
}

/// A PUBLISH; one of QoS 0 has no identifier.
pub(crate) fn publish(version: u8, publish: &Publish) -> Vec<u8> {
    let mut body = counted(&publish.topic);
    if publish.qos > 0 {
        body.extend(publish.id.to_be_bytes());
    }
    body.extend((version == 5).then_some(0));
    body.extend(publish.payload.as_bytes());
    let first = 0x30 | u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain);
    packet(first, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
pub(crate) fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

/// The identifier of such a packet, or of a SUBACK, and its code; a short one of 5.0 means success.
pub(crate) fn answered(packet: &Packet) -> (u16, u8) {
    let id = u16::from_be_bytes([packet.body[0], packet.body[1]]);
    let code = if packet.first == 0x90 {
        *packet.body.last().unwrap()
    } else {
        packet.body.get(2).copied().unwrap_or(0)
    };
    (id, code)
}

/// Reads a PUBLISH to a client of this version.
pub(crate) fn published(version: u8, packet: &Packet) -> Publish {
    let number = |at: usize| u16::from_be_bytes([packet.body[at], packet.body[at + 1]]);
    let mut at = 2 + usize::from(number(0));
    let topic = String::from_utf8(packet.body[2..at].to_vec()).unwrap();
    let qos = packet.first >> 1 & 3;
    let id = if qos == 0 { 0 } else { number(at) };
    at += if qos == 0 { 0 } else { 2 };
    if version == 5 {
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = packet.body[at];
            at += 1;
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        at += length;
    }
    Publish {
        dup: packet.first & 8 != 0,
        qos,
        retain: packet.first & 1 != 0,
        topic,
        id,
        payload: String::from_utf8(packet.body[at..].to_vec()).unwrap(),
    }
}
