//! The same work as `echo_floor`, done by a shard: what the machine adds to the kernel's cost.
//!
//! `echo_plane --listen ADDR [--pairs] [--fan FRAMES]`: prints its address and runs until it is killed. With
//! `--fan` each byte received makes that many frames of 104 bytes for every connection, encoded once.
#![allow(
    clippy::print_stdout,
    reason = "a measuring instrument, not part of the daemon"
)]

use std::error::Error;
use std::net::SocketAddr;

use shards::{App, Config, ConnId, Listener, Next, Plane, Progress, launch};

struct Echo {
    pairs: bool,
    fan: usize,
    conns: Vec<ConnId>,
}

impl App for Echo {
    type Parcel = ();
    type Luggage = ();

    fn opened(&mut self, _: &mut Plane<()>, conn: ConnId, _: usize, _: SocketAddr) -> u32 {
        self.conns.push(conn);
        u32::try_from(self.conns.len() - 1).unwrap_or(u32::MAX)
    }

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, tag: u32, bytes: &mut [u8]) -> Progress {
        for _ in 0..self.fan * bytes.len() {
            let frame = plane.share(104, |out| out.resize(104, 7));
            for &conn in &self.conns {
                plane.push(conn, &frame);
            }
        }
        if self.fan > 0 {
            return all(bytes);
        }
        let place = usize::try_from(tag).unwrap_or(usize::MAX);
        let to = if self.pairs {
            self.conns.get(place ^ 1).copied()
        } else {
            Some(conn)
        };
        if let Some(out) = to.and_then(|to| plane.buffer(to)) {
            out.extend_from_slice(bytes);
        }
        all(bytes)
    }

    fn closed(&mut self, _: &mut Plane<()>, _: ConnId, _: u32) {}
    fn leaving(&mut self, _: &mut Plane<()>, _: ConnId, _: u32) {}
    fn handed(&mut self, _: &mut Plane<()>, _: ConnId, (): ()) -> u32 {
        0
    }
    fn parcel(&mut self, _: &mut Plane<()>, _: usize, (): ()) {}
    fn timer(&mut self, _: &mut Plane<()>, _: u64) {}
    fn rung(&mut self, _: &mut Plane<()>) {}
    fn flush(&mut self, _: &mut Plane<()>) {}
    fn stopping(&mut self, _: &mut Plane<()>) {}
}

fn all(bytes: &[u8]) -> Progress {
    Progress {
        used: bytes.len(),
        next: Next::Need(1),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let pairs = arguments.iter().any(|argument| argument == "--pairs");
    let fan = arguments.iter().position(|argument| argument == "--fan");
    let fan = fan
        .and_then(|at| arguments.get(at + 1))
        .map_or(Ok(0), |frames| frames.parse())?;
    let listen = arguments.iter().position(|argument| argument == "--listen");
    let address = listen
        .and_then(|at| arguments.get(at + 1))
        .map_or("127.0.0.1:0", String::as_str);
    let config = Config {
        shards: 1,
        listeners: vec![Listener::new(address.parse()?)],
        ..Config::default()
    };
    let make = move |_| Echo {
        pairs,
        fan,
        conns: Vec::new(),
    };
    let running = launch(config, make)?;
    for address in running.addresses() {
        println!("{address}");
    }
    running.join()?;
    Ok(())
}
