//! Servers small enough to be trusted, with the faults a test asks for.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::cast_possible_truncation, reason = "lengths of test data")]
#![allow(
    clippy::disallowed_types,
    reason = "a test server may block; nothing of it is measured"
)]

pub(crate) mod broker;
pub(crate) mod carrier;
pub(crate) mod nats;
pub(crate) mod websocket;
pub(crate) mod xmpp;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::mpsc::{Receiver, channel};

use clap::Parser;
use loadgen::args::Cli;
use loadgen::report::Report;

/// Length of a raw message with a payload of 100 bytes.
pub(crate) const RAW_BYTES: usize = 124;

/// Runs the load generator in this process.
pub(crate) fn load(server: SocketAddr, line: &str) -> Result<Report, String> {
    load_with_table(server, line).map(|(report, _)| report)
}

/// The same, with the report as people read it.
pub(crate) fn load_with_table(server: SocketAddr, line: &str) -> Result<(Report, String), String> {
    let server = server.to_string();
    let words = line.split_ascii_whitespace();
    let cli = Cli::try_parse_from(
        ["nexus-loadgen"]
            .into_iter()
            .chain(words)
            .chain(["--server", &server, "--quiet"]),
    );
    let mut table = Vec::new();
    let report = loadgen::run::execute(&cli.unwrap().into_scenario().unwrap(), &mut table)
        .map_err(|fault| fault.to_string())?;
    let table = String::from_utf8(table).unwrap();
    assert!(table.contains("faults") || !report.clean);
    Ok((report, table))
}

/// A file of accounts; it stays until the test removes it.
pub(crate) fn accounts_file(text: &str) -> std::path::PathBuf {
    let name = format!(
        "loadgen-accounts-{}-{}",
        std::process::id(),
        loadgen::clock::now_ns()
    );
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A relay of [`RAW_BYTES`] from the second connection to the first. `relay` gets each message's number and bytes and
/// writes what it likes to the receiver.
pub(crate) fn relay(relay: impl FnMut(u64, &[u8], &mut TcpStream) + Send + 'static) -> SocketAddr {
    relay_of(RAW_BYTES, relay)
}

/// The same for messages of another length. What it has not read fills 64 KiB at most on its side.
pub(crate) fn relay_of(
    bytes: usize,
    mut relay: impl FnMut(u64, &[u8], &mut TcpStream) + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&listener)
        .set_recv_buffer_size(65_536)
        .unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut receiver, _) = listener.accept().unwrap();
        let (mut sender, _) = listener.accept().unwrap();
        receiver.set_nodelay(true).unwrap();
        let mut message = vec![0; bytes];
        let mut number = 0;
        while sender.read_exact(&mut message).is_ok() {
            relay(number, &message, &mut receiver);
            number += 1;
        }
    });
    address
}

/// Passes a message on; an ended receiver is the test's business.
pub(crate) fn pass(message: &[u8], receiver: &mut TcpStream) {
    let _ = receiver.write_all(message);
}

/// A relay of [`RAW_BYTES`] among `count` connections, which it knows by their order of arrival: `hears` names the places that
/// hear what the one at a place says. When one ends, its place and how many messages it said follow.
pub(crate) fn relay_among(
    count: usize,
    hears: fn(usize) -> Range<usize>,
) -> (SocketAddr, Receiver<(usize, u64)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (ended, said) = channel();
    std::thread::spawn(move || {
        let accept = |_| {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        };
        let streams: Vec<TcpStream> = (0..count).map(accept).collect();
        // One writer for each: messages of several who say something stay whole.
        let writer = |stream: &TcpStream| {
            let mut stream = stream.try_clone().unwrap();
            let (queue, messages) = channel::<[u8; RAW_BYTES]>();
            std::thread::spawn(move || messages.iter().for_each(|message| pass(&message, &mut stream)));
            queue
        };
        let queues: Vec<_> = streams.iter().map(writer).collect();
        for (place, mut stream) in streams.into_iter().enumerate() {
            let (hearing, ended) = (queues[hears(place)].to_vec(), ended.clone());
            std::thread::spawn(move || {
                let (mut message, mut number) = ([0; RAW_BYTES], 0);
                while stream.read_exact(&mut message).is_ok() {
                    hearing.iter().for_each(|queue| queue.send(message).unwrap());
                    number += 1;
                }
                let _ = ended.send((place, number));
            });
        }
    });
    (address, said)
}
