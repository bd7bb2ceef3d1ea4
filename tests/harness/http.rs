//! The daemon's HTTP side, asked without any client library.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::clock::{Deadline, PATIENCE};

/// A response: its status and its body.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// `GET path`.
pub(crate) fn get(address: SocketAddr, path: &str) -> Response {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // HTTP/1.0: the body ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status");
    Response {
        status,
        body: body.to_owned(),
    }
}

/// The value of one series of `/metrics`, 0 if it is not there.
pub(crate) fn metric(address: SocketAddr, series: &str) -> u64 {
    let response = get(address, "/metrics");
    assert_eq!(response.status, 200);
    let value = response.body.lines().find_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        (name == series).then(|| value.parse::<f64>().expect("a number"))
    });
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counters are small whole numbers"
    )]
    value.map_or(0, |value| value as u64)
}

/// `nexus_drops_total` of a stage and a reason.
pub(crate) fn drops(address: SocketAddr, stage: &str, reason: &str) -> u64 {
    metric(
        address,
        &format!("nexus_drops_total{{stage=\"{stage}\",reason=\"{reason}\"}}"),
    )
}

/// Scrapes until that many drops have been counted; more is a failure.
#[track_caller]
pub(crate) fn await_drops(address: SocketAddr, stage: &str, reason: &str, wanted: u64) {
    let deadline = Deadline::patient();
    loop {
        let counted = drops(address, stage, reason);
        if counted == wanted {
            return;
        }
        assert!(
            counted < wanted && !deadline.passed(),
            "drops of {stage}/{reason}: {counted}, not {wanted}"
        );
    }
}
