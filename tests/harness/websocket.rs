//! WebSocket by hand (RFC 6455): what no well-behaved client sends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::clock::PATIENCE;

/// Opcodes of RFC 6455, 5.2.
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;
/// The FIN bit.
pub(crate) const FIN: u8 = 0x80;

/// A connection whose handshake is done.
pub(crate) struct WebSocket {
    stream: TcpStream,
}

/// A frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

/// Sends bytes where a handshake belongs; the whole answer up to the end of the connection.
pub(crate) fn exchange(address: SocketAddr, request: &[u8], patience: Duration) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    let _closed = stream.write_all(request);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("not closed within {patience:?}: {error}; came: {answer:?}"),
    }
    answer
}

/// A correct opening handshake for `path` and `subprotocol`, except for `change`, which may spoil it.
pub(crate) fn handshake(path: &str, subprotocol: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: nexus.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    )
}

impl WebSocket {
    /// Connects to `/mqtt` and does the opening handshake.
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::open_as(address, "/mqtt", "mqtt")
    }

    /// The same for any path and subprotocol.
    pub(crate) fn open_as(address: SocketAddr, path: &str, subprotocol: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(handshake(path, subprotocol).as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream
                .read_exact(&mut byte)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&head)));
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // The accept key of the nonce above: RFC 6455, 1.3.
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        let head = head.to_ascii_lowercase();
        let chosen = format!("sec-websocket-protocol: {subprotocol}\r\n");
        assert!(head.contains(&chosen), "{head}");
        Self { stream }
    }

    /// Sends a masked frame; the peer may have closed already.
    pub(crate) fn send(&mut self, first: u8, payload: &[u8]) {
        let _closed = self.stream.write_all(&masked(first, payload));
    }

    /// Sends bytes as they are; the peer may have closed already.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let _closed = self.stream.write_all(bytes);
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset
                ) =>
            {
                return None;
            }
            Err(error) => panic!("no frame within {PATIENCE:?}: {error}"),
        }
        assert_eq!(head[1] & 0x80, 0, "a server does not mask (RFC 6455, 5.1)");
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length).unwrap();
                usize::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length).unwrap();
                usize::try_from(u64::from_be_bytes(length)).unwrap()
            }
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).unwrap();
        Some(Frame {
            first: head[0],
            payload,
        })
    }

    /// Reads up to the server's close frame, answers it, and waits for the end; its close code. `None` if the
    /// connection ends without one.
    pub(crate) fn try_close_code(&mut self) -> Option<u16> {
        loop {
            let frame = self.next()?;
            if frame.first & 0x0F != CLOSE {
                continue;
            }
            let code = *frame.payload.first_chunk().expect("a close frame with a code");
            self.send(FIN | CLOSE, &code);
            assert_eq!(self.next(), None, "nothing follows a close frame");
            return Some(u16::from_be_bytes(code));
        }
    }

    /// The same; there must be a close frame.
    #[track_caller]
    pub(crate) fn close_code(&mut self) -> u16 {
        self.try_close_code()
            .expect("a close frame before the end of the connection")
    }

    /// Sends `bytes` again and again until the peer has closed; a peer that takes them all fails the test.
    #[track_caller]
    pub(crate) fn send_until_closed(&mut self, bytes: &[u8], times_max: usize) {
        for _ in 0..times_max {
            if self.stream.write_all(bytes).is_err() {
                return;
            }
        }
        let mut rest = [0];
        let closed = self.stream.peek(&mut rest);
        assert!(
            closed.is_ok(),
            "not closed after {times_max} times {} bytes",
            bytes.len()
        );
    }
}

/// A client's frame.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let mut bytes = vec![first];
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
