//! What a stream of XMPP goes over, at a test server: messages of WebSocket, or bytes of TCP, sealed or not.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use quick_xml::Reader;
use quick_xml::events::Event;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::{Error, Message, WebSocket};

/// How many bytes are written at a time, so that elements come in parts.
const CHUNK_BYTES: usize = 41;

/// A certificate for `localhost` that nobody signed but itself: its text in PEM, and what shows it.
pub(crate) static CERTIFICATE: LazyLock<(String, Arc<ServerConfig>)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (made.cert.pem(), Arc::new(config))
});

/// What came.
pub(crate) enum Heard {
    Element(String),
    Nothing,
    End,
}

enum Socket {
    Web(Box<WebSocket<TcpStream>>),
    Plain(TcpStream),
    Sealed(Box<StreamOwned<ServerConnection, TcpStream>>),
}

pub(crate) struct Carrier {
    /// `None` while it changes.
    socket: Option<Socket>,
    input: String,
}

fn soon(stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_micros(200))).unwrap();
}

impl Carrier {
    #[allow(clippy::result_large_err, reason = "the signature tungstenite asks for")]
    pub(crate) fn web_socket(stream: TcpStream) -> Self {
        let socket = tungstenite::accept_hdr(stream, |request: &Request, mut response: Response| {
            assert_eq!(request.uri().path(), "/ws");
            assert_eq!(request.headers()["Sec-WebSocket-Protocol"], "xmpp");
            let name = HeaderValue::from_static("xmpp");
            response.headers_mut().insert("Sec-WebSocket-Protocol", name);
            Ok(response)
        })
        .unwrap();
        soon(socket.get_ref());
        Self::of(Socket::Web(Box::new(socket)))
    }

    pub(crate) fn tcp(stream: TcpStream) -> Self {
        soon(&stream);
        Self::of(Socket::Plain(stream))
    }

    fn of(socket: Socket) -> Self {
        Self {
            socket: Some(socket),
            input: String::new(),
        }
    }

    /// Speaks TLS from here on.
    pub(crate) fn seal(&mut self) {
        let Some(Socket::Plain(stream)) = self.socket.take() else {
            panic!("only TCP is sealed, and once")
        };
        let machine = ServerConnection::new(Arc::clone(&CERTIFICATE.1)).unwrap();
        self.socket = Some(Socket::Sealed(Box::new(StreamOwned::new(machine, stream))));
    }

    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self.socket, Some(Socket::Sealed(_)))
    }

    pub(crate) fn hear(&mut self) -> Heard {
        if let Some(element) = self.take() {
            return Heard::Element(element);
        }
        let waits = |kind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
        let mut chunk = [0; 4_096];
        let read = match self.socket.as_mut().unwrap() {
            Socket::Web(socket) => match socket.read() {
                Ok(Message::Text(text)) => return Heard::Element(text.to_string()),
                Ok(other) => {
                    assert!(!other.is_binary(), "RFC 7395, 3.2: text messages only");
                    return Heard::Nothing;
                }
                Err(Error::Io(error)) if waits(error.kind()) => return Heard::Nothing,
                Err(_) => return Heard::End,
            },
            Socket::Plain(stream) => stream.read(&mut chunk),
            Socket::Sealed(stream) => stream.read(&mut chunk),
        };
        match read {
            Ok(0) => Heard::End,
            Ok(read) => {
                // What the tests send is ASCII.
                self.input.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
                self.take().map_or(Heard::Nothing, Heard::Element)
            }
            Err(error) if waits(error.kind()) => Heard::Nothing,
            Err(_) => Heard::End,
        }
    }

    /// The first element of the input, if it is whole; the head of a stream is one. Its end is a `close`.
    fn take(&mut self) -> Option<String> {
        if self.input.starts_with("</stream:stream>") {
            self.input.clear();
            return Some("<close/>".into());
        }
        let mut reader = Reader::from_str(&self.input);
        let mut depth = 0;
        loop {
            match reader.read_event().ok()? {
                Event::Start(tag) if tag.name().as_ref() == "stream:stream" => break,
                Event::Start(_) => depth += 1,
                Event::End(_) if depth == 1 => break,
                Event::End(_) => depth -= 1,
                Event::Empty(_) if depth == 0 => break,
                Event::Eof => return None,
                _ => {}
            }
        }
        let end = usize::try_from(reader.buffer_position()).unwrap();
        let rest = self.input.split_off(end);
        let mut element = std::mem::replace(&mut self.input, rest);
        if element.contains("<stream:stream") {
            element.push_str("</stream:stream>");
        }
        Some(element)
    }

    /// Says it; false if nobody is there. Over TCP stanzas have the stream's namespace.
    pub(crate) fn say(&mut self, text: &str) -> bool {
        let within = text.replacen(" xmlns='jabber:client' type", " type", 1);
        let write = |stream: &mut dyn Write| {
            let mut chunks = within.as_bytes().chunks(CHUNK_BYTES);
            chunks.all(|chunk| stream.write_all(chunk).is_ok()) && stream.flush().is_ok()
        };
        match self.socket.as_mut().unwrap() {
            Socket::Web(socket) => socket.send(Message::text(text)).is_ok(),
            Socket::Plain(stream) => write(stream),
            Socket::Sealed(stream) => write(&mut **stream),
        }
    }

    fn stream(&self) -> &TcpStream {
        match self.socket.as_ref().unwrap() {
            Socket::Web(socket) => socket.get_ref(),
            Socket::Plain(stream) => stream,
            Socket::Sealed(stream) => stream.get_ref(),
        }
    }

    pub(crate) fn break_off(&self) {
        let _ = self.stream().shutdown(std::net::Shutdown::Both);
    }

    pub(crate) fn close(mut self) {
        if let Some(Socket::Web(socket)) = self.socket.as_mut() {
            let _ = socket.close(None);
            let _ = socket.flush();
        }
    }
}
