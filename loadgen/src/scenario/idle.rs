//! `idle`: connections that are logged in, hold one subscription each, and wait.

use super::fleet::Fleet;
use super::{Settings, Tally};
use crate::engine::{ConnId, Io, Scenario};
use crate::protocol::Packet;

/// One thread's share of the fleet.
#[derive(Debug)]
pub struct Idle {
    fleet: Fleet,
    tally: Tally,
}

impl Idle {
    /// The share of thread `thread` of `threads` of `count` connections.
    ///
    /// # Errors
    /// A sentence, where the histogram cannot be made.
    pub fn new(settings: &Settings, count: usize, thread: usize, threads: usize) -> Result<Self, String> {
        let members = (thread..count)
            .step_by(threads.max(1))
            .map(|number| settings.member(number, Some(settings.filter_of(&settings.topic(number)))))
            .collect();
        Ok(Self {
            fleet: Fleet::new(settings.manner(), members),
            tally: Tally::new("connection")?,
        })
    }

    /// The results.
    pub fn into_tally(self) -> Tally {
        self.tally
    }
}

impl Scenario for Idle {
    fn turn(&mut self, io: &mut Io) -> Option<u64> {
        self.fleet.turn(io);
        None
    }

    fn ready(&self) -> bool {
        self.fleet.ready()
    }

    fn drained(&self) -> bool {
        true
    }

    fn opened(&mut self, io: &mut Io, id: ConnId, tag: u32) {
        self.fleet.opened(io, id, tag);
    }

    fn packet(&mut self, io: &mut Io, id: ConnId, tag: u32, packet: Packet<'_>, _frame: &[u8]) {
        if self.fleet.packet(io, id, tag, &packet) {
            return;
        }
        match packet {
            Packet::Disconnect(code) => io
                .shared()
                .fail(format!("the server sent DISCONNECT 0x{code:02x}")),
            // Nothing is published to these topics.
            Packet::Publish(_) => self.tally.wrong += 1,
            _ => {}
        }
    }

    fn closed(&mut self, io: &mut Io, _id: ConnId, tag: u32, why: &str) {
        self.fleet.closed(io, tag, why);
    }
}
