//! The client's end of WebSocket (RFC 6455), as bytes.

use super::value::shown;

/// Opcodes (5.2).
const OPCODES: [(&str, u8); 6] = [
    ("continuation", 0x0),
    ("text", 0x1),
    ("binary", 0x2),
    ("close", 0x8),
    ("ping", 0x9),
    ("pong", 0xA),
];
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// The opening handshake of MQTT (chapter 6).
pub(crate) const HANDSHAKE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: nexus.example\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

/// A client's frame. `opcode` is a name of section 5.2.
pub(crate) fn frame(is_final: bool, opcode: &str, payload: &[u8]) -> Vec<u8> {
    let opcode = OPCODES.iter().find(|(name, _)| *name == opcode);
    let (_, code) = opcode.unwrap_or_else(|| panic!("no such opcode"));
    let mut bytes = vec![u8::from(is_final) << 7 | code];
    if let Ok(length @ 0..126) = u8::try_from(payload.len()) {
        bytes.push(0x80 | length);
    } else if let Ok(length) = u16::try_from(payload.len()) {
        bytes.push(0x80 | 126);
        bytes.extend(length.to_be_bytes());
    } else {
        bytes.push(0x80 | 127);
        bytes.extend(u64::try_from(payload.len()).unwrap().to_be_bytes());
    }
    bytes.extend(MASK);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

/// What the server has sent so far.
#[derive(Debug, Default)]
pub(crate) struct WebSocket {
    raw: Vec<u8>,
    is_open: bool,
}

/// What a server's bytes held.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// Payload of its data messages, all of them binary.
    pub(crate) bytes: Vec<u8>,
    /// Its close frame: the code.
    pub(crate) close: Option<u16>,
}

impl WebSocket {
    /// Takes what came; the first of it is the answer to the handshake.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Carried, String> {
        self.raw.extend_from_slice(bytes);
        let mut carried = Carried::default();
        if !self.is_open {
            let Some(end) = self.raw.windows(4).position(|part| part == b"\r\n\r\n") else {
                return Ok(carried);
            };
            let head = String::from_utf8_lossy(&self.raw[..end + 4]).to_ascii_lowercase();
            // [MQTT-6.0.0-4]
            if !head.starts_with("http/1.1 101 ") || !head.contains("\r\nsec-websocket-protocol: mqtt\r\n") {
                return Err(head);
            }
            self.raw.drain(..end + 4);
            self.is_open = true;
        }
        while let Some((first, payload)) = self.next_frame() {
            match first {
                // [MQTT-6.0.0-1]
                0x82 => carried.bytes.extend(payload),
                0x88 => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    carried.close = code.or(Some(1005));
                }
                0x8A => {}
                _ => return Err(format!("a frame {first:#x} {}", shown(&payload))),
            }
        }
        Ok(carried)
    }

    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, second) = (*self.raw.first()?, *self.raw.get(1)?);
        let (length, head) = match second {
            126 => (
                u64::from(u16::from_be_bytes(*self.raw.get(2..)?.first_chunk()?)),
                4,
            ),
            127 => (u64::from_be_bytes(*self.raw.get(2..)?.first_chunk()?), 10),
            _ => (second.into(), 2),
        };
        let end = head + usize::try_from(length).unwrap();
        let payload = self.raw.get(head..end)?.to_vec();
        self.raw.drain(..end);
        Some((first, payload))
    }
}
