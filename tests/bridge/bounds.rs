//! What the bridge refuses, and in which form; CORS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::{BY_SECRET, CREDENTIALS, FIND, LIVE, ask, bridge, exchange, post, request, start};
use crate::harness::clock::Deadline;
use crate::harness::http::metric;
use crate::harness::world::new_uid;

#[test]
fn everything_else_is_not_found_and_nothing_of_the_administration_is_there() {
    let net = start(1);
    let address = bridge(&net);
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/"),
        ("POST", "/"),
        ("POST", "/metrics"),
        ("POST", "/api/user/profile"),
        ("POST", "/api/bridge/worker/service/"),
        ("GET", CREDENTIALS),
        ("PUT", LIVE),
    ] {
        let (status, head, body) = exchange(address, &request(method, path, "", "{}"));
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["code"]), (404, &json!(-404)), "{method} {path}");
        assert!(head.contains("\r\naccess-control-allow-origin: *"), "{head}");
    }
}

#[test]
fn a_browser_may_ask_from_any_origin_with_any_header() {
    let net = start(1);
    let fields = "Origin: http://page.example\r\nAccess-Control-Request-Method: POST\r\n\
                  Access-Control-Request-Headers: content-type,x-requested-with\r\n";
    for path in [CREDENTIALS, FIND, BY_SECRET, LIVE] {
        let (status, head, body) = exchange(bridge(&net), &request("OPTIONS", path, fields, ""));
        assert_eq!((status, body.as_str()), (204, ""), "{head}");
        for field in [
            "access-control-allow-origin: *",
            "access-control-allow-methods: post, options",
            "access-control-allow-headers: content-type,x-requested-with",
        ] {
            assert!(head.contains(&format!("\r\n{field}")), "{field}: {head}");
        }
    }
}

#[test]
fn bad_requests_are_told_what_is_wrong_and_jids_is_always_an_array() {
    let net = start(1);
    let address = bridge(&net);
    for body in ["", "[]", "{", "null", "{\"secret\":\"s\"}", &"[".repeat(10_000)] {
        let (status, _, answer) = exchange(address, &request("POST", FIND, "", body));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &answer["code"]), (200, &json!(-2004)), "{body}");
        assert_eq!(answer["jids"], json!([]));
        assert!(answer["error"].is_string());
    }
    let wrong = json!({"secret": "s", "resource": "a/b"});
    assert_eq!(ask(&net, CREDENTIALS, &wrong)["code"], -2004);
    assert_eq!(
        ask(&net, CREDENTIALS, &json!({"secret": "nobody's"}))["code"],
        -3000
    );
    let nobodys = json!({"servicesecret": "nobody's", "uid": new_uid()});
    assert_eq!(ask(&net, BY_SECRET, &nobodys)["code"], -3000);
    let large = json!({"secret": "s", "app": "a", "more": "x".repeat(20_000)});
    let (status, answer) = post(address, FIND, &large);
    assert_eq!(
        (status, &answer["code"], &answer["jids"]),
        (413, &json!(-2003), &json!([]))
    );
    let http = net.daemon().http;
    assert_eq!(metric(http, "nexus_bridge_denied_total"), 2);
    assert_eq!(metric(http, "nexus_bridge_refused_total"), 8);
    assert_eq!(metric(http, "nexus_bridge_requests_total"), 10);
    assert_eq!(metric(http, "nexus_bridge_undecided_total"), 0);
}

#[test]
fn a_body_of_chunks_that_grows_too_large_is_refused() {
    let net = start(1);
    let mut stream = TcpStream::connect(bridge(&net)).unwrap();
    write!(
        stream,
        "POST {FIND} HTTP/1.1\r\nHost: b\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .unwrap();
    let chunk = "x".repeat(0x1000);
    for _ in 0..5 {
        // It may have been refused before the last of them.
        let _refused = write!(stream, "1000\r\n{chunk}\r\n");
    }
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 413");
}

#[test]
fn who_asks_too_often_is_told_so() {
    let net = start(1);
    let members = json!({"app": "a", "secret": "s"});
    let deadline = Deadline::patient();
    // On one connection, without waiting for the answers.
    let one = members.to_string();
    let one = format!(
        "POST {FIND} HTTP/1.1\r\nHost: b\r\nContent-Length: {}\r\n\r\n{one}",
        one.len()
    );
    let mut stream = TcpStream::connect(bridge(&net)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        for _ in 0..2_000 {
            // Closed once enough was seen.
            if writer.write_all(one.as_bytes()).is_err() {
                return;
            }
        }
    });
    let mut seen = String::new();
    let mut buffer = [0; 4_096];
    while !seen.contains("HTTP/1.1 429") {
        assert!(!deadline.passed(), "nothing refused: {seen}");
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    assert!(
        seen.matches("HTTP/1.1 200").count() >= 200,
        "a burst is let through"
    );
    drop(stream);
    writing.join().unwrap();
}

#[test]
fn who_sends_no_request_is_closed_in_time() {
    let net = start(1);
    let mut silent = TcpStream::connect(bridge(&net)).unwrap();
    let mut slow = TcpStream::connect(bridge(&net)).unwrap();
    slow.write_all(b"POST / HTTP/1.1\r\nHo").unwrap();
    for stream in [&mut silent, &mut slow] {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut rest = Vec::new();
        // The end, or a reset: no time-out of the reader.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
}
