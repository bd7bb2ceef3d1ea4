//! What the input of the target is read as: packets that a client says, mostly valid ones.

use nexus::codec::mqtt::packet::Version;

use super::ACCOUNT;

/// Reads the input as what is to be done.
pub(super) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }
}

const TOPICS: [&str; 8] = [
    "a",
    "a/b",
    "~etest/x",
    "$nexus/call/1/etest/c",
    "$nexus/direct/etest/c1",
    "$nexus/answer/00112233445566778899aabbccddeeff",
    "$SYS/x",
    "",
];
const FILTERS: [&str; 9] = [
    "a",
    "a/+",
    "+/#",
    "a/#",
    "$nexus/listen/c/#",
    "$nexus/direct/#",
    "$nexus/reply/+",
    "$share/g/a/+",
    "$nexus/channel/+/+/+/+/a",
];

fn counted(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend((bytes.len() as u16).to_be_bytes());
    into.extend(bytes);
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let more = rest > 0x7F;
        packet.push((rest & 0x7F) as u8 | if more { 0x80 } else { 0 });
        rest >>= 7;
        if !more {
            break;
        }
    }
    packet.extend(body);
    packet
}

/// A CONNECT: its session lasts for up to 200 s, its will waits for up to 100 s.
pub(super) fn connect(script: &mut Script<'_>, version: Version, client: usize) -> Vec<u8> {
    let choice = script.byte();
    let mut body = vec![
        0,
        4,
        b'M',
        b'Q',
        b'T',
        b'T',
        if version == Version::V5 { 5 } else { 4 },
    ];
    let (clean, will) = (choice & 1 != 0, choice & 2 != 0);
    let mut flags = 0xC0 | u8::from(clean) << 1;
    if will {
        flags |= 4 | (((choice >> 2) & 3) % 3) << 3 | ((choice >> 4) & 1) << 5;
    }
    body.extend([flags, 0, script.byte() & 1]);
    if version == Version::V5 {
        let mut properties = vec![0x11, 0, 0, 0, script.pick(&[0, 1, 200])];
        properties.extend([0x21, 0, script.pick(&[1, 2, 20])]);
        properties.extend([0x22, 0, script.pick(&[0, 2])]);
        if script.byte() & 7 == 0 {
            properties.extend([0x27, 0, 0, 1, script.byte()]);
        }
        body.push(properties.len() as u8);
        body.extend(properties);
    }
    counted(&mut body, format!("c{client}").as_bytes());
    if will {
        if version == Version::V5 {
            body.extend([5, 0x18, 0, 0, 0, script.pick(&[0, 1, 100])]);
        }
        counted(&mut body, script.pick(&TOPICS).as_bytes());
        counted(&mut body, b"gone");
    }
    counted(&mut body, ACCOUNT.as_bytes());
    counted(&mut body, b"secret");
    packet(0x10, &body)
}

fn publish(script: &mut Script<'_>, version: Version) -> Vec<u8> {
    let choice = script.byte();
    let qos = (choice & 3) % 3;
    let mut body = Vec::new();
    counted(&mut body, script.pick(&TOPICS).as_bytes());
    if qos > 0 {
        body.extend([0, script.pick(&[1, 2, 3, 4])]);
    }
    if version == Version::V5 {
        let mut properties = Vec::new();
        if choice & 0x10 != 0 {
            properties.extend([0x23, 0, script.byte()]);
        }
        if choice & 0x20 != 0 {
            properties.extend([2, 0, 0, 0, script.pick(&[0, 1, 9])]);
        }
        if choice & 0x40 != 0 {
            properties.extend([1, 1]);
        }
        body.push(properties.len() as u8);
        body.extend(properties);
    }
    body.extend(script.bytes());
    packet(0x30 | qos << 1 | choice >> 2 & 1 | (choice >> 3 & 1) << 3, &body)
}

fn subscribe(script: &mut Script<'_>, version: Version, first: u8) -> Vec<u8> {
    let mut body = vec![0, script.pick(&[1, 2, 3])];
    if version == Version::V5 {
        body.push(0);
    }
    for _ in 0..=script.byte() % 3 {
        counted(&mut body, script.pick(&FILTERS).as_bytes());
        if first == 0x82 {
            let options = script.byte();
            body.push(if version == Version::V5 {
                options & 0x2F
            } else {
                options & 3
            });
        }
    }
    packet(first, &body)
}

fn acknowledge(script: &mut Script<'_>, version: Version) -> Vec<u8> {
    let first = script.pick(&[0x40, 0x50, 0x62, 0x70]);
    let mut body = vec![0, script.pick(&[1, 2, 3, 4, 5])];
    if version == Version::V5 && script.byte() & 3 == 0 {
        body.push(script.pick(&[0x00, 0x10, 0x80, 0x92, 0x97]));
    }
    packet(first, &body)
}

/// A packet, mostly a valid one.
pub(super) fn said(script: &mut Script<'_>, version: Version, client: usize) -> Vec<u8> {
    let mut bytes = match script.byte() % 10 {
        0 => connect(script, version, client),
        1..=3 => publish(script, version),
        4 => subscribe(script, version, 0x82),
        5 => subscribe(script, version, 0xA2),
        6 | 7 => acknowledge(script, version),
        8 => script
            .pick(&[&[0xC0, 0][..], &[0xE0, 0], &[0xF0, 0], &[0xE0, 1, 4]])
            .to_vec(),
        _ => script.bytes().to_vec(),
    };
    if script.byte() & 15 == 0 && !bytes.is_empty() {
        let at = usize::from(script.byte()) % bytes.len();
        bytes[at] ^= script.byte();
    }
    bytes
}
