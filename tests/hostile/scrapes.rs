//! Peers that hold connections to `/metrics` and the states of health: they take no more files than their bound, and not for
//! ever.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nexus::limits;

use crate::harness::{Net, Options, http};

#[test]
fn who_asks_for_nothing_holds_a_bounded_number_of_connections_and_is_closed_in_time() {
    let net = Net::start(&Options::shards(1));
    let address = net.daemon().http;
    let mut held: Vec<TcpStream> = (0..limits::HTTP_CONNECTIONS_MAX)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHo").unwrap();
            stream
        })
        .collect();
    // One more waits until there is room for it.
    let mut next = TcpStream::connect(address).unwrap();
    next.write_all(b"GET /healthz HTTP/1.1\r\nHost: n\r\n\r\n")
        .unwrap();
    next.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut start = [0; 15];
    let early = next.read(&mut start);
    assert!(
        early.is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
        "served beyond the bound"
    );
    held.pop();
    next.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    next.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    // The others are closed in time, and it with them, so that there is room for everybody again.
    for mut stream in held.into_iter().chain([next]) {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut rest = Vec::new();
        // The end, or a reset: no time-out of the reader.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }
    assert_eq!(http::get(address, "/healthz").status, 200);
}
