//! A WebSocket front (through `tungstenite`'s own server) for a plain TCP server.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::{Bytes, Error, Message};

/// Starts the front; every connection to it becomes one to `server`.
pub(crate) fn front(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || carry(stream, TcpStream::connect(server).unwrap()));
        }
    });
    address
}

#[allow(clippy::result_large_err, reason = "the signature tungstenite asks for")]
fn carry(stream: TcpStream, mut server: TcpStream) {
    let mut socket = tungstenite::accept_hdr(stream, |request: &Request, mut response: Response| {
        assert_eq!(request.uri().path(), "/mqtt");
        assert_eq!(request.headers()["Sec-WebSocket-Protocol"], "mqtt");
        response
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
        Ok(response)
    })
    .unwrap();
    let soon = Some(Duration::from_micros(200));
    socket.get_ref().set_read_timeout(soon).unwrap();
    server.set_read_timeout(soon).unwrap();
    let waits = |kind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
    // Small chunks, so that packets span messages.
    let mut chunk = [0; 50];
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) => server.write_all(&bytes).unwrap(),
            Ok(_) => {}
            Err(Error::Io(error)) if waits(error.kind()) => {}
            Err(_) => return,
        }
        match server.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => {
                if socket
                    .send(Message::Binary(Bytes::copy_from_slice(&chunk[..read])))
                    .is_err()
                {
                    return;
                }
            }
            Err(error) if waits(error.kind()) => {}
            Err(_) => return,
        }
    }
}
