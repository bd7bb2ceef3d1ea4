//! The cases of `tests/conformance`, played over real sockets. Those that need time to pass are left to the playing
//! without I/O (`tests/sim/conformance.rs`).

#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the playing without I/O, which uses all of it"
)]
mod suite;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use suite::{Account, Heard, Net as Server, Transport, chosen, play, play_all};

use crate::harness::clock::PATIENCE;
use crate::harness::{Net, Options, world};

/// What the cases take for granted.
const CONFIG: &str = "[channels]\nroot_wildcard = \"all\"\n[mqtt]\nreceive_maximum = 256\n";

/// A daemon, the accounts of the cases, and connections to it.
struct Sockets {
    mqtt: SocketAddr,
    ws: SocketAddr,
    accounts: Vec<(&'static str, world::Account)>,
    /// `None` where it was broken off.
    streams: Vec<Option<TcpStream>>,
}

impl Sockets {
    fn new(net: &Net) -> Self {
        let accounts = vec![
            ("device", net.app().account("owner")),
            ("stranger", net.app().account("user")),
            ("operator", net.operator()),
        ];
        Self {
            mqtt: net.daemon().mqtt,
            ws: net.daemon().ws,
            accounts,
            streams: Vec::new(),
        }
    }
}

impl Server for Sockets {
    const IS_KEPT: bool = true;

    fn open(&mut self, transport: Transport) -> usize {
        let stream = TcpStream::connect(match transport {
            Transport::Tcp => self.mqtt,
            Transport::WebSocket => self.ws,
        });
        let stream = stream.unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        self.streams.push(Some(stream));
        self.streams.len() - 1
    }

    fn write(&mut self, conn: usize, bytes: &[u8]) {
        if let Some(mut stream) = self.streams[conn].as_ref() {
            let _closed = stream.write_all(bytes);
        }
    }

    fn read(&mut self, conn: usize) -> Heard {
        let mut buffer = [0; 16 * 1024];
        let Some(mut stream) = self.streams[conn].as_ref() else {
            return Heard::End;
        };
        match stream.read(&mut buffer) {
            Ok(0) => Heard::End,
            Ok(len) => Heard::Bytes(buffer[..len].to_vec()),
            // Closing with bytes unread resets the connection.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Heard::End,
            Err(_) => Heard::Nothing,
        }
    }

    fn hang_up(&mut self, conn: usize) {
        self.streams[conn] = None;
    }

    fn advance(&mut self, _: u64) {
        panic!("real time is not made to pass");
    }

    fn account(&self, who: &str) -> Account {
        let found = self.accounts.iter().find(|(name, _)| *name == who);
        let (_, account) = found.unwrap_or_else(|| panic!("no account {who}"));
        Account {
            name: account.name.clone(),
            secret: account.secret.clone(),
        }
    }
}

fn every_case_holds_over(transport: Transport) {
    let cases = chosen();
    for shards in [1, 2] {
        let options = Options::shards(shards).config(CONFIG);
        let net = Net::start(&options);
        let mut sockets = Sockets::new(&net);
        let outcome = play_all(&cases, &[transport], false, |case, version, transport| {
            play(case, version, transport, &mut sockets)
        });
        match outcome {
            Ok(played) => assert!(played > 0, "nothing was played"),
            Err(failures) => panic!("on {shards} shards: {failures}"),
        }
    }
}

#[test]
fn every_case_holds_over_tcp() {
    every_case_holds_over(Transport::Tcp);
}

#[test]
fn every_case_holds_over_websocket() {
    every_case_holds_over(Transport::WebSocket);
}
