//! MQTT and XMPP over WebSocket (RFC 6455; MQTT 5.0 clause 6, RFC 7395), through `tungstenite`'s handshake and frame
//! headers.
//!
//! One MQTT packet per binary message, as stock clients send it; one XMPP element per text message. The `tungstenite::WebSocket` type is not used:
//! it holds 128 KiB for each connection, and a generator holds tens of thousands.

use std::io::Cursor;

use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::{Response, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::Malformed;
use crate::bytes_at::u16_at;

/// What is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocol {
    /// A stream of packets in binary messages, whose boundaries mean nothing.
    Mqtt,
    /// Elements, each a text message.
    Xmpp,
}

impl Subprotocol {
    /// Its name in the handshake.
    const fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Xmpp => "xmpp",
        }
    }

    const fn opcode(self) -> OpCode {
        match self {
            Self::Mqtt => OpCode::Data(Data::Binary),
            Self::Xmpp => OpCode::Data(Data::Text),
        }
    }
}

/// State of the WebSocket layer of one connection.
#[derive(Debug)]
pub struct WsState {
    subprotocol: Subprotocol,
    accept_key: String,
    open: bool,
    /// Bytes of a packet that spans messages, or of an element that spans frames.
    pub partial: Vec<u8>,
    mask_seed: u32,
}

/// One received WebSocket frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The handshake was answered; the connection is open.
    Open,
    /// Payload.
    Data {
        /// Its bytes.
        bytes: &'a [u8],
        /// What they belong to may be read: always in a stream, else at the end of the message.
        readable: bool,
    },
    /// A ping, to be answered with these bytes.
    Ping(&'a [u8]),
    /// The server closes.
    Close(u16),
    /// A pong.
    Other,
}

impl WsState {
    /// A connection to be.
    pub fn new(subprotocol: Subprotocol) -> Self {
        Self {
            subprotocol,
            accept_key: String::new(),
            open: false,
            partial: Vec::new(),
            mask_seed: 0,
        }
    }

    /// The opening request for `path` on `host`.
    ///
    /// # Errors
    /// [`Malformed`] for a host or path that no request can carry.
    pub fn start(&mut self, host: &str, path: &str, mask_seed: u32) -> Result<Vec<u8>, Malformed> {
        let broken = |error: &dyn std::fmt::Display| Malformed(format!("WebSocket request: {error}"));
        let mut request = format!("ws://{host}{path}")
            .into_client_request()
            .map_err(|e| broken(&e))?;
        let name = HeaderValue::from_static(self.subprotocol.name());
        request.headers_mut().insert("Sec-WebSocket-Protocol", name);
        let (bytes, key) = generate_request(request).map_err(|e| broken(&e))?;
        self.accept_key = derive_accept_key(key.as_bytes());
        self.mask_seed = mask_seed | 1;
        Ok(bytes)
    }

    /// True once the handshake was answered.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Takes the first frame (or the handshake's answer) off `bytes`: it and its length, or `None` where more
    /// bytes are needed.
    ///
    /// # Errors
    /// [`Malformed`] for a refused handshake or a broken frame.
    pub fn next_frame<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, Malformed> {
        if !self.open {
            return self.answer(bytes);
        }
        let broken = |error: &dyn std::fmt::Display| Malformed(format!("WebSocket frame: {error}"));
        let mut cursor = Cursor::new(bytes);
        let Some((header, len)) = FrameHeader::parse(&mut cursor).map_err(|e| broken(&e))? else {
            return Ok(None);
        };
        let start = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let Some(payload) = start.checked_add(len).and_then(|end| bytes.get(start..end)) else {
            return Ok(None);
        };
        if header.mask.is_some() {
            return Err(Malformed(
                "the server masked a frame (RFC 6455 section 5.1)".into(),
            ));
        }
        let frame = match header.opcode {
            OpCode::Data(kind)
                if kind == Data::Continue || OpCode::Data(kind) == self.subprotocol.opcode() =>
            {
                Frame::Data {
                    bytes: payload,
                    readable: header.is_final || self.subprotocol == Subprotocol::Mqtt,
                }
            }
            OpCode::Data(kind) => {
                let name = self.subprotocol.name();
                return Err(Malformed(format!("the server sent {name} in a {kind} message")));
            }
            OpCode::Control(Control::Ping) => Frame::Ping(payload),
            OpCode::Control(Control::Close) => Frame::Close(u16_at(payload, 0).unwrap_or(1005)),
            OpCode::Control(_) => Frame::Other,
        };
        Ok(Some((frame, start + len)))
    }

    fn answer<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, Malformed> {
        let parsed = Response::try_parse(bytes).map_err(|e| Malformed(format!("WebSocket answer: {e}")))?;
        let Some((len, response)) = parsed else {
            return Ok(None);
        };
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        if response.status().as_u16() != 101 {
            return Err(Malformed(format!(
                "WebSocket refused with status {}",
                response.status()
            )));
        }
        if header("Sec-WebSocket-Accept") != Some(&self.accept_key) {
            return Err(Malformed("WebSocket answer with another accept key".into()));
        }
        let name = self.subprotocol.name();
        if header("Sec-WebSocket-Protocol") != Some(name) {
            return Err(Malformed(format!("WebSocket answer without subprotocol {name}")));
        }
        self.open = true;
        Ok(Some((Frame::Open, len)))
    }

    /// Appends `payload` to `out` as one masked message.
    pub fn put_message(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.put(self.subprotocol.opcode(), payload, out);
    }

    /// Appends the pong that answers a ping of `payload`.
    pub fn put_pong(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.put(OpCode::Control(Control::Pong), payload, out);
    }

    fn put(&mut self, opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
        let mask = self.next_mask();
        let header = FrameHeader {
            is_final: true,
            opcode,
            mask: Some(mask),
            ..FrameHeader::default()
        };
        let len = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        // Writing to a Vec cannot fail.
        let _ = header.format(len, out);
        let start = out.len();
        out.extend_from_slice(payload);
        let masked = out.get_mut(start..).unwrap_or_default();
        let (words, rest) = masked.as_chunks_mut::<4>();
        for word in words {
            *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }

    /// xorshift32: masks only have to differ (RFC 6455 section 5.3 guards browsers, not test tools).
    fn next_mask(&mut self) -> [u8; 4] {
        let mut x = self.mask_seed | 1;
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.mask_seed = x;
        x.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_state(subprotocol: Subprotocol) -> WsState {
        let mut state = WsState::new(subprotocol);
        let request = state.start("127.0.0.1:1", "/path", 5).unwrap();
        let named = format!("Sec-WebSocket-Protocol: {}\r\n", subprotocol.name());
        assert!(String::from_utf8(request).unwrap().contains(&named));
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{named}\r\n",
            state.accept_key
        );
        assert_eq!(state.next_frame(&answer.as_bytes()[..20]), Ok(None));
        assert_eq!(
            state.next_frame(answer.as_bytes()),
            Ok(Some((Frame::Open, answer.len())))
        );
        state
    }

    #[test]
    fn rfc6455_4_1_an_answer_without_the_subprotocol_is_refused() {
        let mut state = WsState::new(Subprotocol::Mqtt);
        state.start("h", "/mqtt", 5).unwrap();
        let answer = format!(
            "HTTP/1.1 101 X\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            state.accept_key
        );
        assert!(state.next_frame(answer.as_bytes()).is_err());
        assert!(!state.is_open());
    }

    #[test]
    fn rfc6455_5_3_client_frames_are_masked_and_unmask_to_the_payload() {
        let mut state = open_state(Subprotocol::Mqtt);
        for len in [0, 5, 125, 126, 70_000] {
            let payload: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let mut out = Vec::new();
            state.put_message(&payload, &mut out);
            let mut cursor = Cursor::new(&out[..]);
            let (header, parsed) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
            let mask = header.mask.unwrap();
            let start = usize::try_from(cursor.position()).unwrap();
            let plain: Vec<u8> = out[start..]
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, key)| byte ^ key)
                .collect();
            assert_eq!(
                (usize::try_from(parsed).unwrap(), plain),
                (payload.len(), payload)
            );
        }
    }

    fn data(bytes: &[u8], readable: bool) -> Frame<'_> {
        Frame::Data { bytes, readable }
    }

    #[test]
    fn rfc7395_3_2_elements_are_text_messages_read_at_their_end() {
        let mut state = open_state(Subprotocol::Xmpp);
        let bytes = [0x01, 1, b'<', 0x80, 1, b'/', 0x81, 1, b'x', 0x82, 1, 0];
        assert_eq!(state.next_frame(&bytes), Ok(Some((data(b"<", false), 3))));
        assert_eq!(state.next_frame(&bytes[3..]), Ok(Some((data(b"/", true), 3))));
        assert_eq!(state.next_frame(&bytes[6..]), Ok(Some((data(b"x", true), 3))));
        assert!(state.next_frame(&bytes[9..]).is_err());
        let mut out = Vec::new();
        state.put_message(b"<", &mut out);
        assert_eq!(out[0], 0x81);
        assert!(open_state(Subprotocol::Mqtt).next_frame(&bytes[6..]).is_err());
    }

    #[test]
    fn server_frames_are_taken_one_by_one() {
        let mut state = open_state(Subprotocol::Mqtt);
        let bytes = [0x82, 2, 1, 2, 0x89, 1, 9, 0x88, 2, 0x03, 0xe9];
        assert_eq!(state.next_frame(&bytes), Ok(Some((data(&[1, 2], true), 4))));
        assert_eq!(state.next_frame(&bytes[4..]), Ok(Some((Frame::Ping(&[9]), 3))));
        assert_eq!(state.next_frame(&bytes[7..]), Ok(Some((Frame::Close(1001), 4))));
        assert_eq!(state.next_frame(&bytes[..3]), Ok(None));
        assert!(state.next_frame(&[0x82, 0x81, 0, 0, 0, 0, 1]).is_err());
    }
}
