//! The opening handshake (RFC 6455, 4.2): an HTTP request that is answered with 101, or refused with a whole
//! HTTP response that says why.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::Request;

use crate::limits;
use crate::session::Disconnect;

/// What the frames carry, by the path and the subprotocol the client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subprotocol {
    /// MQTT control packets in binary messages (MQTT 5.0, 6).
    Mqtt,
    /// XMPP elements in text messages (RFC 7395).
    Xmpp,
}

/// What is spoken where. A path has one subprotocol; paths are compared byte for byte.
const PATHS: &[(&str, Subprotocol)] = &[
    ("/mqtt", Subprotocol::Mqtt),
    ("/ws", Subprotocol::Xmpp),
    ("/xmpp-websocket", Subprotocol::Xmpp),
];

impl Subprotocol {
    /// What is spoken at a path.
    pub(super) fn at(path: &str) -> Option<Self> {
        PATHS
            .iter()
            .find(|(spoken_at, _)| *spoken_at == path)
            .map(|(_, subprotocol)| *subprotocol)
    }

    /// As registered with IANA.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Xmpp => "xmpp",
        }
    }
}

/// A request that is taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Bytes of the request; frames follow.
    pub(super) len: usize,
    pub(super) subprotocol: Subprotocol,
    /// For Sec-WebSocket-Accept.
    accept_key: String,
}

impl Accepted {
    /// The answer (4.2.2). No extension is ever accepted.
    pub(super) fn response(&self) -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\n\
             Upgrade: websocket\r\n\
             Connection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\
             Sec-WebSocket-Protocol: {}\r\n\
             \r\n",
            self.accept_key,
            self.subprotocol.name(),
        )
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Refusal {
    /// Bytes that are no HTTP/1 request.
    NotHttp,
    /// A request line and header fields over the bound.
    HeadTooLarge,
    /// A method other than GET.
    Method,
    /// HTTP/1.0.
    HttpVersion,
    /// Nothing is spoken at that path.
    Path,
    /// Not exactly one Host.
    Host,
    /// A request that says it has a body, whose end is therefore unclear.
    Body,
    /// No wish to speak WebSocket.
    NotUpgrade,
    /// A version of WebSocket other than 13.
    Version,
    /// Not exactly one Sec-WebSocket-Key of 16 bytes in base64.
    Key,
    /// The path's subprotocol is not among those offered.
    Subprotocol(Subprotocol),
    /// Not complete in time.
    TimedOut,
    /// The daemon takes no more.
    Unavailable,
}

impl Refusal {
    /// The whole HTTP response.
    pub(super) fn response(self) -> String {
        let (status, fields, body) = self.parts();
        let connection = if fields.starts_with("Upgrade") {
            "close, Upgrade"
        } else {
            "close"
        };
        let body_len = body.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\n\
             Connection: {connection}\r\n\
             {fields}\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {body_len}\r\n\
             \r\n\
             {body}\n",
        )
    }

    /// Status, header fields of its own, body.
    const fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::NotHttp => ("400 Bad Request", "", "This is not an HTTP/1.1 request."),
            Self::HeadTooLarge => (
                "431 Request Header Fields Too Large",
                "",
                "The request line and header fields have more than 8192 bytes or too many fields.",
            ),
            Self::Method => (
                "405 Method Not Allowed",
                "Allow: GET\r\n",
                "A WebSocket begins with GET.",
            ),
            Self::HttpVersion => (
                "505 HTTP Version Not Supported",
                "",
                "A WebSocket begins with HTTP/1.1.",
            ),
            Self::Path => (
                "404 Not Found",
                "",
                "Nothing is here; MQTT over WebSocket is at /mqtt, XMPP at /ws.",
            ),
            Self::Host => ("400 Bad Request", "", "The request must have exactly one Host."),
            Self::Body => ("400 Bad Request", "", "The request must not have a body."),
            Self::NotUpgrade => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                "Only WebSocket is spoken here: Connection: Upgrade and Upgrade: websocket are missing.",
            ),
            Self::Version => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                "Only version 13 of WebSocket is spoken here.",
            ),
            Self::Key => (
                "400 Bad Request",
                "",
                "The request must have exactly one Sec-WebSocket-Key: 16 bytes in base64.",
            ),
            Self::Subprotocol(Subprotocol::Mqtt) => (
                "400 Bad Request",
                "",
                "Sec-WebSocket-Protocol must offer mqtt, the only subprotocol of this path.",
            ),
            Self::Subprotocol(Subprotocol::Xmpp) => (
                "400 Bad Request",
                "",
                "Sec-WebSocket-Protocol must offer xmpp, the only subprotocol of this path.",
            ),
            Self::TimedOut => ("408 Request Timeout", "", "The request did not arrive in time."),
            Self::Unavailable => (
                "503 Service Unavailable",
                "",
                "No more connections are taken here.",
            ),
        }
    }

    /// The kind of fault it is for the counters.
    pub(super) const fn disconnect(self) -> Disconnect {
        match self {
            Self::NotHttp | Self::Host | Self::Body | Self::Key => Disconnect::Malformed,
            Self::HeadTooLarge => Disconnect::TooLarge,
            Self::Method | Self::Path | Self::NotUpgrade => Disconnect::ProtocolError,
            Self::HttpVersion | Self::Version | Self::Subprotocol(_) => Disconnect::UnsupportedVersion,
            Self::TimedOut => Disconnect::TimedOut,
            Self::Unavailable => Disconnect::Unavailable,
        }
    }
}

/// Reads the request at the front of `bytes`, of which the first `scanned` were there at the call before;
/// `None` if its end is not there. Each byte is looked at once, the request is parsed once. Paths whose subprotocol
/// is not `spoken` do not exist.
pub(super) fn read(
    bytes: &[u8],
    scanned: usize,
    spoken: impl Fn(Subprotocol) -> bool,
) -> Result<Option<Accepted>, Refusal> {
    // No method begins with anything else, so that a stranger's protocol is told at once.
    if bytes.first().is_some_and(|byte| !byte.is_ascii_uppercase()) {
        return Err(Refusal::NotHttp);
    }
    let Some(len) = end_of_head(bytes, scanned)? else {
        if bytes.len() >= limits::WS_REQUEST_BYTES_MAX {
            return Err(Refusal::HeadTooLarge);
        }
        return Ok(None);
    };
    if len > limits::WS_REQUEST_BYTES_MAX {
        return Err(Refusal::HeadTooLarge);
    }
    match Request::try_parse(bytes.get(..len).unwrap_or_default()) {
        Ok(Some((parsed, request))) if parsed == len => check(&request, len, spoken).map(Some),
        Ok(_) => Err(Refusal::NotHttp),
        Err(Error::Protocol(ProtocolError::WrongHttpMethod)) => Err(Refusal::Method),
        Err(Error::Protocol(ProtocolError::WrongHttpVersion)) => Err(Refusal::HttpVersion),
        Err(Error::Capacity(_)) => Err(Refusal::HeadTooLarge),
        Err(_) => Err(Refusal::NotHttp),
    }
}

/// The end of the empty line after the header fields. No control character but tab and line ends stands
/// before it.
fn end_of_head(bytes: &[u8], scanned: usize) -> Result<Option<usize>, Refusal> {
    // The last line's end may have been there without the empty line.
    let from = scanned.min(bytes.len()).saturating_sub(2);
    let fresh = bytes.get(from..).unwrap_or_default();
    for (at, byte) in (from..).zip(fresh) {
        match byte {
            b'\n' => match bytes.get(at + 1..).unwrap_or_default() {
                [b'\n', ..] => return Ok(Some(at + 2)),
                [b'\r', b'\n', ..] => return Ok(Some(at + 3)),
                _ => {}
            },
            b'\r' | b'\t' | 0x20..=0x7E | 0x80.. => {}
            _ => return Err(Refusal::NotHttp),
        }
    }
    Ok(None)
}

/// What a request must be (4.2.1), in the order in which it is most useful to be told.
fn check(request: &Request, len: usize, spoken: impl Fn(Subprotocol) -> bool) -> Result<Accepted, Refusal> {
    let subprotocol = Subprotocol::at(request.uri().path())
        .filter(|at_path| spoken(*at_path))
        .ok_or(Refusal::Path)?;
    if only(request, "host").is_none() {
        return Err(Refusal::Host);
    }
    let empty = request
        .headers()
        .get_all("content-length")
        .iter()
        .all(|value| value.as_bytes() == b"0");
    if !empty || request.headers().contains_key("transfer-encoding") {
        return Err(Refusal::Body);
    }
    let says = |name, token: &str| tokens(request, name).any(|one| one.eq_ignore_ascii_case(token));
    if !says("connection", "upgrade") || !says("upgrade", "websocket") {
        return Err(Refusal::NotUpgrade);
    }
    if only(request, "sec-websocket-version") != Some("13") {
        return Err(Refusal::Version);
    }
    let key = only(request, "sec-websocket-key").ok_or(Refusal::Key)?;
    // Room for what 24 digits of base64 may hold.
    let mut nonce = [0; 18];
    if key.len() != 24 || STANDARD.decode_slice(key, &mut nonce) != Ok(16) {
        return Err(Refusal::Key);
    }
    if !tokens(request, "sec-websocket-protocol").any(|one| one == subprotocol.name()) {
        return Err(Refusal::Subprotocol(subprotocol));
    }
    Ok(Accepted {
        len,
        subprotocol,
        accept_key: derive_accept_key(key.as_bytes()),
    })
}

/// The value of a header field that must stand exactly once.
fn only<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    let mut values = request.headers().get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value.trim())
}

/// The elements of a list that may be spread over several header fields.
fn tokens<'r>(request: &'r Request, name: &str) -> impl Iterator<Item = &'r str> {
    request
        .headers()
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}
