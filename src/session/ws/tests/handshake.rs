//! The opening handshake: what is taken and what is refused.

use super::*;

/// A good request for XMPP at `path`.
pub(super) fn xmpp_request(path: &str) -> String {
    request("")
        .replace("/mqtt ", &format!("{path} "))
        .replace("mqttv3.1, mqtt", "xmpp")
}

/// A good request with `extra` header fields.
pub(super) fn request(extra: &str) -> String {
    format!(
        "GET /mqtt HTTP/1.1\r\n\
         Host: nexus.example\r\n\
         Upgrade: websocket\r\n\
         Connection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n\
         {extra}\r\n"
    )
}

/// What a request is refused with: status line and the whole response, whose form is checked.
fn refused(request: &str, status: &str, disconnect: Disconnect) -> String {
    let mut shard = Shard::accept();
    shard.receive(request.as_bytes());
    assert_eq!(shard.events, [Event::Ended(disconnect)], "{request}");
    let response = String::from_utf8(shard.out.take()).unwrap();
    check_refusal(&response, status);
    // Nothing more is read or written.
    assert_eq!(shard.session.next_timeout(), None);
    shard.session.end(shard.now, Ending::Shutdown, &mut shard.out);
    shard.session.timeout(shard.now, &mut shard.out).unwrap();
    assert!(shard.out.take().is_empty());
    response
}

fn check_refusal(response: &str, status: &str) {
    assert!(
        response.starts_with(&format!("HTTP/1.1 {status}\r\n")),
        "{response}"
    );
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("\r\nContent-Length: {}", body.len())),
        "{response}"
    );
    assert!(head.contains("\r\nConnection: close"), "{response}");
    assert!(
        body.ends_with(".\n") && body.matches('\n').count() == 1,
        "{response}"
    );
}

/// The good request with `from` replaced by `to`.
fn altered(from: &str, to: &str) -> String {
    let good = request("");
    assert_eq!(good.matches(from).count(), 1);
    good.replace(from, to)
}

#[test]
fn rfc6455_1_3_the_sample_nonce_gets_the_sample_answer() {
    let mut shard = Shard::accept();
    shard.receive(request("").as_bytes());
    assert_eq!(
        String::from_utf8(shard.out.take()).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\
         \r\n"
    );
}

#[test]
fn rfc6455_4_2_2_tungstenite_takes_the_answer_and_no_extension_is_in_it() {
    use tungstenite::handshake::client::Response;
    use tungstenite::handshake::machine::TryParse;

    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let mut shard = Shard::accept();
    shard.receive(request(offer).as_bytes());
    let bytes = shard.out.take();
    let (len, response) = Response::try_parse(&bytes).unwrap().unwrap();
    assert_eq!((len, response.status().as_u16()), (bytes.len(), 101));
    assert!(!response.headers().contains_key("sec-websocket-extensions"));
}

#[test]
fn a_request_may_come_in_any_pieces_and_frames_follow_at_once() {
    let bytes = [request("").into_bytes(), binary(&packet(ECHO, b"hello"))].concat();
    for cut in 0..bytes.len() {
        let mut shard = Shard::accept();
        shard.receive(&bytes[..cut]);
        shard.receive(&bytes[cut..]);
        assert!(
            shard.out.take().ends_with(b"\r\n\r\n\x82\x05hello"),
            "cut at {cut}"
        );
    }
    let mut bytewise = Shard::accept();
    for byte in bytes.chunks(1) {
        bytewise.receive(byte);
    }
    assert!(bytewise.out.take().ends_with(b"\r\n\r\n\x82\x05hello"));
}

#[test]
fn rfc6455_4_2_1_what_clients_write_in_other_ways_is_taken() {
    for good in [
        altered("GET /mqtt", "GET /mqtt?from=page"),
        altered("GET /mqtt", "GET http://nexus.example/mqtt"),
        altered("Upgrade: websocket", "UPGRADE: WebSocket"),
        altered("keep-alive, Upgrade", "upgrade"),
        altered("mqttv3.1, mqtt", "mqttv3.1\r\nSec-WebSocket-Protocol:mqtt"),
        request("Origin: https://page.example\r\nContent-Length: 0\r\n"),
        request("").replace("\r\n", "\n"),
    ] {
        let mut shard = Shard::accept();
        shard.receive(good.as_bytes());
        assert!(shard.out.take().starts_with(b"HTTP/1.1 101 "), "{good}");
    }
}

#[test]
fn rfc6455_4_2_1_1_only_get_and_http_1_1() {
    let response = refused(
        &altered("GET", "POST"),
        "405 Method Not Allowed",
        Disconnect::ProtocolError,
    );
    assert!(response.contains("\r\nAllow: GET\r\n"));
    refused(
        &altered("HTTP/1.1", "HTTP/1.0"),
        "505 HTTP Version Not Supported",
        Disconnect::UnsupportedVersion,
    );
    refused(
        &altered("HTTP/1.1", "HTTP/2.0"),
        "400 Bad Request",
        Disconnect::Malformed,
    );
}

#[test]
fn other_paths_are_not_found_whatever_is_asked_of_them() {
    for path in ["/", "/mqtt/", "/MQTT", "/mqttx", "/ws", "/%6dqtt"] {
        refused(
            &altered("/mqtt", path),
            "404 Not Found",
            Disconnect::ProtocolError,
        );
        let plain = format!("GET {path} HTTP/1.1\r\nHost: nexus.example\r\n\r\n");
        refused(&plain, "404 Not Found", Disconnect::ProtocolError);
    }
}

#[test]
fn each_path_has_one_subprotocol() {
    for (path, subprotocol) in [
        ("/mqtt", Some(Subprotocol::Mqtt)),
        ("/ws", Some(Subprotocol::Xmpp)),
        ("/xmpp-websocket", Some(Subprotocol::Xmpp)),
        ("/", None),
        ("/ws/", None),
        ("/WS", None),
        ("/xmpp", None),
        ("/http-bind", None),
    ] {
        assert_eq!(Subprotocol::at(path), subprotocol, "{path}");
    }
    assert_eq!(
        (Subprotocol::Mqtt.name(), Subprotocol::Xmpp.name()),
        ("mqtt", "xmpp")
    );
}

#[test]
fn paths_of_what_is_not_spoken_do_not_exist() {
    for path in ["/ws", "/xmpp-websocket"] {
        refused(&xmpp_request(path), "404 Not Found", Disconnect::ProtocolError);
    }
}

#[test]
fn rfc6455_4_2_1_2_host_stands_once() {
    for wrong in [altered("Host: nexus.example\r\n", ""), request("Host: b\r\n")] {
        refused(&wrong, "400 Bad Request", Disconnect::Malformed);
    }
}

#[test]
fn a_request_with_a_body_is_refused() {
    for extra in [
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        refused(&request(extra), "400 Bad Request", Disconnect::Malformed);
    }
}

#[test]
fn rfc6455_4_2_1_3_to_4_a_request_without_upgrade_is_told_what_is_spoken() {
    for wrong in [
        altered("Upgrade: websocket", "Upgrade: h2c"),
        altered("Upgrade: websocket\r\n", ""),
        altered("keep-alive, Upgrade", "keep-alive"),
        altered("Connection: keep-alive, Upgrade\r\n", ""),
    ] {
        let response = refused(&wrong, "426 Upgrade Required", Disconnect::ProtocolError);
        assert!(response.contains("\r\nUpgrade: websocket\r\n"));
        assert!(response.contains("\r\nConnection: close, Upgrade\r\n"));
    }
}

#[test]
fn rfc6455_4_4_another_version_is_told_which_one_is_spoken() {
    for version in ["8", "14", "013", "13, 8", ""] {
        let wrong = altered("Version: 13", &format!("Version: {version}"));
        let response = refused(&wrong, "426 Upgrade Required", Disconnect::UnsupportedVersion);
        assert!(response.contains("\r\nSec-WebSocket-Version: 13\r\n"));
    }
    let missing = altered("Sec-WebSocket-Version: 13\r\n", "");
    refused(&missing, "426 Upgrade Required", Disconnect::UnsupportedVersion);
}

#[test]
fn rfc6455_4_2_1_5_the_key_is_16_bytes_of_base64_once() {
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    for wrong in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZTE=",
        "dGhlIHNhbXBsZSBub25jZTEy",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25j*Q==",
    ] {
        refused(&altered(key, wrong), "400 Bad Request", Disconnect::Malformed);
    }
    let missing = altered(&format!("Sec-WebSocket-Key: {key}\r\n"), "");
    refused(&missing, "400 Bad Request", Disconnect::Malformed);
    let twice = request(&format!("Sec-WebSocket-Key: {key}\r\n"));
    refused(&twice, "400 Bad Request", Disconnect::Malformed);
}

#[test]
fn mqtt_6_0_0_3_the_subprotocol_mqtt_is_offered() {
    for offer in [
        "Sec-WebSocket-Protocol: mqttv3.1\r\n",
        "Sec-WebSocket-Protocol: xmpp\r\n",
        "Sec-WebSocket-Protocol: MQTT\r\n",
        "",
    ] {
        let wrong = altered("Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n", offer);
        refused(&wrong, "400 Bad Request", Disconnect::UnsupportedVersion);
    }
}

#[test]
fn bytes_that_are_not_http_are_refused_as_soon_as_they_show_it() {
    for bytes in [
        &b"\x10\x0c\x00\x04MQTT"[..],
        b"\x16\x03\x01",
        b"<?xml",
        b"\r\nGET",
        b"GET /mqtt HTTP/1.1\r\nHost: \x00",
        b"GET / mqtt HTTP/1.1\r\n\r\n",
        b"GET /mqtt HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /mqtt HTTP/1.1\r\n folded: x\r\n\r\n",
    ] {
        let mut shard = Shard::accept();
        shard.receive(bytes);
        assert_eq!(shard.events, [Event::Ended(Disconnect::Malformed)], "{bytes:x?}");
        let response = String::from_utf8(shard.out.take()).unwrap();
        check_refusal(&response, "400 Bad Request");
    }
}

#[test]
fn rfc6585_5_a_head_over_its_bound_is_refused_complete_or_not() {
    let filled = |len: usize| {
        let field = |value: &str| request(&format!("X: {value}\r\n"));
        field(&"x".repeat(len - field("").len()))
    };
    let mut fits = Shard::accept();
    fits.receive(filled(limits::WS_REQUEST_BYTES_MAX).as_bytes());
    assert!(fits.out.take().starts_with(b"HTTP/1.1 101 "));
    let too_long = filled(limits::WS_REQUEST_BYTES_MAX + 1);
    let status = "431 Request Header Fields Too Large";
    refused(&too_long, status, Disconnect::TooLarge);
    refused(
        &too_long[..limits::WS_REQUEST_BYTES_MAX],
        status,
        Disconnect::TooLarge,
    );
    let many: String = (0..200).map(|i| format!("X{i}: y\r\n")).collect();
    refused(&request(&many), status, Disconnect::TooLarge);
}

#[test]
fn the_deadline_to_log_in_begins_when_the_connection_is_accepted() {
    let mut shard = Shard::accept();
    let accepted = shard.now;
    let deadline = accepted.instant + Duration::from_millis(limits::PRELOGIN_MS_MAX);
    assert_eq!(shard.session.next_timeout(), Some(deadline));
    shard.receive(b"GET ");
    shard.wait(limits::PRELOGIN_MS_MAX - 1);
    shard.session.timeout(shard.now, &mut shard.out).unwrap();
    shard.receive(&request("").as_bytes()[4..]);
    assert_eq!(shard.session.carried().unwrap().accepted, accepted);
    assert_eq!(shard.session.next_timeout(), Some(deadline));
    shard.out.take();
    shard.wait(1);
    let late = shard.session.timeout(shard.now, &mut shard.out);
    assert_eq!(late, Err(Disconnect::TimedOut));
    assert_eq!(shard.frames()[0], (0x82, b"late".to_vec()));
}

#[test]
fn a_request_that_does_not_end_in_time_is_told_so() {
    let mut shard = Shard::accept();
    shard.receive(b"GET /mqtt HTTP/1.1\r\n");
    shard.wait(limits::PRELOGIN_MS_MAX);
    let late = shard.session.timeout(shard.now, &mut shard.out);
    assert_eq!(late, Err(Disconnect::TimedOut));
    let response = String::from_utf8(shard.out.take()).unwrap();
    check_refusal(&response, "408 Request Timeout");
}

#[test]
fn a_daemon_that_stops_answers_handshakes_that_are_under_way() {
    let mut shard = Shard::accept();
    shard.receive(b"GET ");
    shard.session.end(shard.now, Ending::Shutdown, &mut shard.out);
    let response = String::from_utf8(shard.out.take()).unwrap();
    check_refusal(&response, "503 Service Unavailable");
    assert_eq!(shard.session.take_will(), None);
}

/// Whatever one byte is changed to, the request is answered in full, or waited for until the deadline.
#[test]
fn a_request_with_any_byte_changed_is_answered_or_waited_for() {
    let good = request("").into_bytes();
    let (mut taken, mut refused, mut waiting) = (0, 0, 0);
    for at in 0..good.len() {
        for to in [b'\0', b'\n', b'\r', b' ', b',', b':', b'A', b'=', 0x80, 0xFF] {
            let mut bytes = good.clone();
            bytes[at] = to;
            let mut shard = Shard::accept();
            shard.receive(&bytes);
            let response = String::from_utf8_lossy(&shard.out.take()).into_owned();
            if response.is_empty() {
                assert_eq!(shard.events, []);
                waiting += 1;
            } else if response.starts_with("HTTP/1.1 101 ") {
                taken += 1;
            } else {
                assert!(matches!(shard.events[..], [Event::Ended(_)]));
                check_refusal(
                    &response,
                    &response["HTTP/1.1 ".len()..response.find("\r\n").unwrap()],
                );
                refused += 1;
            }
        }
    }
    assert!(
        taken > 0 && waiting > 0 && refused > taken,
        "{taken} {waiting} {refused}"
    );
}

/// tungstenite as the client, over a wire without delay.
mod client {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::io::{self, Read, Write};
    use std::rc::Rc;

    use tungstenite::client::IntoClientRequest;
    use tungstenite::{Error, Message};

    use super::*;

    #[derive(Clone)]
    struct Wire {
        shard: Rc<RefCell<Shard>>,
        sent: VecDeque<u8>,
    }

    impl Read for Wire {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.sent.extend(self.shard.borrow_mut().out.take());
            match self.sent.read(buffer)? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                n => Ok(n),
            }
        }
    }

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.shard.borrow_mut().receive(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_independent_client_shakes_hands_talks_and_closes() {
        let wire = Wire {
            shard: Rc::new(RefCell::new(Shard::accept())),
            sent: VecDeque::new(),
        };
        let shard = Rc::clone(&wire.shard);
        let mut request = "ws://nexus.example/mqtt".into_client_request().unwrap();
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
        let (mut client, response) = tungstenite::client::client(request, wire).unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
        for len in [0, 125, 126, 65_535, 65_536, 150_000] {
            let body = vec![0xA5; len];
            client.send(Message::Binary(packet(ECHO, &body).into())).unwrap();
            assert!(client.read().unwrap() == Message::Binary(body.into()), "{len}");
        }
        client.send(Message::Ping("are you there".into())).unwrap();
        assert_eq!(client.read().unwrap(), Message::Pong("are you there".into()));
        client.close(None).unwrap();
        assert_eq!(client.read().unwrap(), Message::Close(None));
        assert_eq!(shard.borrow().events, [Event::Leave]);
        let blocked = client.read().unwrap_err();
        assert!(matches!(&blocked, Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock));
    }
}
