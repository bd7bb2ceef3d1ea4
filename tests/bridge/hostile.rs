//! What clients do that mean harm, or are broken: the bridge goes on, and so do those it is not about.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::{CREDENTIALS, FIND, LIVE, bridge, exchange, post, request, start};
use crate::harness::clock::Moment;
use crate::harness::http::metric;
use crate::harness::matrix::PAHO_5;
use crate::harness::{Call, eventually};

/// The longest that a body may take.
const BODY: Duration = Duration::from_millis(nexus::limits::BRIDGE_BODY_MS_MAX);

#[test]
fn a_body_that_does_not_come_is_refused_in_time_and_holds_up_nobody() {
    let net = start(1);
    let address = bridge(&net);
    let begun = Moment::now();
    let mut slow = TcpStream::connect(address).unwrap();
    slow.set_read_timeout(Some(BODY * 3)).unwrap();
    write!(
        slow,
        "POST {FIND} HTTP/1.1\r\nHost: b\r\nContent-Length: 100\r\n\r\n{{\"secret\""
    )
    .unwrap();
    let (status, _) = post(address, FIND, &json!({"app": "a", "secret": "s"}));
    assert_eq!(status, 200);
    let mut head = [0; 12];
    slow.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 408");
    assert!(
        begun.elapsed() >= BODY - Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn json_that_is_deep_wrong_or_cut_off_is_refused_and_the_bridge_goes_on() {
    let net = start(1);
    let address = bridge(&net);
    let deep = format!("{}1{}", r#"{"secret":"#.repeat(1_300), "}".repeat(1_300));
    let wrong = [
        deep.as_str(),
        &"[".repeat(16_000),
        r#"{"secret":"s","app":"a""#,
        r#"{"secret":"s","app":"a"}}"#,
        r#"{'secret':'s'}"#,
        r#"{"secret":"\ud800"}"#,
        "secret=s&app=a",
        "\u{0}",
    ];
    for body in wrong {
        for path in [CREDENTIALS, FIND, LIVE] {
            let (status, _, answer) = exchange(address, &request("POST", path, "", body));
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!((status, &answer["code"]), (200, &json!(-2004)), "{body:.60}");
        }
    }
    let (status, answer) = post(address, FIND, &json!({"app": "a", "secret": "s"}));
    assert_eq!((status, &answer["code"]), (200, &json!(-3000)));
}

#[test]
fn the_host_that_is_named_makes_no_difference_and_a_broken_head_is_refused() {
    let net = start(1);
    let address = bridge(&net);
    // All that is here is given for a secret: pages reach it under whatever name the proxy before it has.
    let body = json!({"app": "a", "secret": "s"}).to_string();
    for host in ["b", "evil.example", "127.0.0.1:1", ""] {
        let request = request("POST", FIND, "", &body).replace("Host: b", &format!("Host: {host}"));
        let (status, _, answer) = exchange(address, &request);
        assert!(status == 200 && answer.contains("-3000"), "{host}: {answer}");
    }
    for broken in [
        "POST\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\r\n\r\n".to_owned(),
        format!("POST {FIND} HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
        format!(
            "POST {FIND} HTTP/1.1\r\nHost: b\r\nX: {}\r\n\r\n",
            "y".repeat(100_000)
        ),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // It may be refused before all of it is written.
        let _refused = stream.write_all(broken.as_bytes());
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{broken:.40}: {answer}"
        );
    }
    let (status, _) = post(address, FIND, &json!({"app": "a", "secret": "s"}));
    assert_eq!(status, 200);
}

#[test]
fn more_connections_than_there_may_be_wait_and_clients_of_the_shards_do_not() {
    const MAX: usize = nexus::limits::BRIDGE_CONNECTIONS_MAX;
    let net = start(2);
    let address = bridge(&net);
    let device = net.connect(PAHO_5, &net.app().account("user"), "d1");
    // Idle, and the first of those that wait in the kernel.
    let mut idle: Vec<TcpStream> = (0..MAX + 20)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let http = net.daemon().http;
    eventually("all places are taken", || {
        metric(http, "nexus_bridge_connections") == MAX as u64
    });
    assert_eq!(device.call(&Call::new("nexus", "ping")).code, 0);
    let last = idle.last_mut().unwrap();
    let body = json!({"app": "a", "secret": "s"}).to_string();
    last.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    last.write_all(request("POST", FIND, "", &body).as_bytes())
        .unwrap();
    assert_eq!(metric(http, "nexus_bridge_connections"), MAX as u64);
    let mut last = idle.pop().unwrap();
    drop(idle);
    let mut answer = String::new();
    last.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("-3000"), "{answer}");
    eventually("all places are free", || {
        metric(http, "nexus_bridge_connections") == 0
    });
}

#[test]
fn thousands_of_connections_that_come_and_go_leave_nothing_behind() {
    let net = start(1);
    let address = bridge(&net);
    for n in 0..3_000 {
        let mut stream = TcpStream::connect(address).unwrap();
        if n % 3 == 0 {
            // Gone in the middle of a head.
            stream.write_all(b"POST / HTTP/1.1\r\nHo").unwrap();
        }
    }
    let http = net.daemon().http;
    eventually("all are closed", || metric(http, "nexus_bridge_connections") == 0);
    let (status, _) = post(address, FIND, &json!({"app": "a", "secret": "s"}));
    assert_eq!(status, 200);
}
