//! `idle`: connections that are logged in, hold one subscription each or none, and wait.

use super::fleet::Fleet;
use super::{Settings, Tally};
use crate::engine::{ConnId, Io, Scenario};
use crate::protocol::Packet;
use crate::protocol::login::Want;

/// One thread's share of the fleet.
#[derive(Debug)]
pub struct Idle {
    fleet: Fleet,
    tally: Tally,
}

impl Idle {
    /// The share of thread `thread` of `threads` of `count` connections, each with a subscription unless they are `bare`.
    ///
    /// # Errors
    /// A sentence, where the histogram cannot be made.
    pub fn new(
        settings: &Settings,
        count: usize,
        bare: bool,
        thread: usize,
        threads: usize,
    ) -> Result<Self, String> {
        let members = (thread..count)
            .step_by(threads.max(1))
            .map(|number| {
                let want = || Want::Channel(settings.filter_of(&settings.topic(number)));
                settings.member(number, (!bare).then(want))
            })
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
        if let Some(why) = packet.good_bye() {
            io.shared().fail(format!("the server sent {why}"));
        }
        // Nothing is published to these channels.
        self.tally.wrong += u64::from(packet.delivery().is_some());
    }

    fn closed(&mut self, io: &mut Io, _id: ConnId, tag: u32, why: &str) {
        self.fleet.closed(io, tag, why);
    }
}
