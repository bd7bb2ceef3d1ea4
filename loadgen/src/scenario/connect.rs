//! `connect`: connections opened, logged in and ended, over and over.
//!
//! Closed loop: `concurrency` attempts in flight. Open loop: attempts at planned times; one that finds all slots
//! taken waits, and its wait is part of its latency. The latency ends with the CONNACK, in XMPP with the bound address.

use super::{Load, Settings, Tally};
use crate::clock::SECOND_NS;
use crate::engine::{ConnId, Io, Pace, Scenario, Schedule, add};
use crate::protocol::login::{Caller, Continuity, Next, Step, Then};
use crate::protocol::{Login, Malformed, Packet, Wire};

/// An attempt that is not logged in after this long has failed.
const ATTEMPT_NS_MAX: u64 = 10 * SECOND_NS;

#[derive(Clone, Copy, Debug)]
struct Attempt {
    id: ConnId,
    number: u64,
    planned_ns: u64,
    step: Option<Step>,
}

/// One thread's share of the storm.
#[derive(Debug)]
pub struct Storm {
    wire: Wire,
    domain: String,
    keepalive_s: u16,
    logins: Vec<Login>,
    run: u32,
    thread: usize,
    threads: usize,
    load: Load,
    /// An attempt's tag is its slot.
    slots: Vec<Option<Attempt>>,
    free: Vec<u32>,
    pace: Option<Pace>,
    schedule: Option<Schedule>,
    started: u64,
    tally: Tally,
}

impl Storm {
    /// The share of thread `thread` of `threads`, with `concurrency` attempts in flight on it.
    ///
    /// # Errors
    /// A sentence, where there is nothing to connect to.
    pub fn new(
        settings: &Settings,
        concurrency: usize,
        thread: usize,
        threads: usize,
    ) -> Result<Self, String> {
        let slots = u32::try_from(concurrency.max(1)).map_err(|_| "too many connections at once")?;
        if matches!(settings.wire, Wire::Raw { .. }) {
            return Err("raw connections have no CONNECT".into());
        }
        Ok(Self {
            wire: settings.wire,
            domain: settings.domain.clone(),
            keepalive_s: settings.keepalive_s,
            logins: settings.logins.clone(),
            run: settings.run,
            thread,
            threads,
            load: settings.load,
            slots: vec![None; concurrency.max(1)],
            free: (0..slots).rev().collect(),
            pace: None,
            schedule: None,
            started: 0,
            tally: Tally::new("connect")?,
        })
    }

    /// The results.
    pub fn into_tally(mut self) -> Tally {
        self.tally.lost += self.slots.iter().flatten().count() as u64;
        self.tally
    }

    /// Starts what is due; the time of the next attempt.
    fn launch(&mut self, io: &mut Io, schedule: Schedule) -> Option<u64> {
        while let Some(slot) = self.free.pop() {
            let planned_ns = self.pace.map_or(io.now_ns, |pace| pace.planned_ns(self.started));
            if planned_ns >= schedule.until_ns || planned_ns > io.now_ns {
                self.free.push(slot);
                return Some(planned_ns).filter(|planned| *planned < schedule.until_ns);
            }
            match io.open(slot, 0) {
                Ok(id) => {
                    let attempt = Attempt {
                        id,
                        number: self.started,
                        planned_ns,
                        step: None,
                    };
                    if let Some(place) = self.slots.get_mut(super::fleet::index(slot)) {
                        *place = Some(attempt);
                    }
                    self.started += 1;
                    add(&io.counters().sent, 1);
                }
                Err(error) => {
                    io.shared().fail(format!("cannot open a connection: {error}"));
                    return None;
                }
            }
        }
        None
    }

    fn end(&mut self, slot: u32) -> Option<Attempt> {
        let attempt = self.slots.get_mut(super::fleet::index(slot))?.take()?;
        self.free.push(slot);
        Some(attempt)
    }

    /// Takes one attempt a step further.
    fn advance(
        &mut self,
        io: &mut Io,
        id: ConnId,
        tag: u32,
        step: impl FnOnce(&Caller<'_>, Option<Step>) -> Result<Option<Next>, Malformed>,
    ) {
        let slot = super::fleet::index(tag);
        let Some(attempt) = self.slots.get(slot).copied().flatten() else {
            return;
        };
        let number = attempt.number * self.threads as u64 + self.thread as u64;
        let turn = usize::try_from(number % self.logins.len().max(1) as u64).unwrap_or(0);
        let caller = Caller {
            wire: self.wire,
            name: &format!("lg-{:08x}-{number}", self.run),
            login: self.logins.get(turn),
            want: None,
            qos: 0,
            keepalive_s: self.keepalive_s,
            domain: &self.domain,
            continuity: Continuity::Clean,
        };
        let next = match step(&caller, attempt.step) {
            Ok(Some(next)) => next,
            Ok(None) => return,
            Err(Malformed(why)) => return io.shared().fail(why),
        };
        for frame in &next.send {
            io.send(id, frame);
        }
        match next.then {
            Then::Step(step) => {
                if let Some(attempt) = self.slots.get_mut(slot).and_then(Option::as_mut) {
                    attempt.step = Some(step);
                }
                return;
            }
            Then::Secure => {
                if let Err(error) = io.secure(id) {
                    io.shared().fail(format!("TLS: {error}"));
                }
                return;
            }
            Then::Ready => {
                add(&io.counters().done, 1);
                if self
                    .schedule
                    .is_some_and(|schedule| schedule.records(attempt.planned_ns))
                {
                    self.tally.record(io.now_ns.saturating_sub(attempt.planned_ns));
                }
                io.send(id, &self.wire.good_bye());
            }
            Then::Refused(why) => self.tally.fail(why),
        }
        self.end(tag);
        io.finish(id);
    }

    fn expire(&mut self, io: &mut Io) {
        for slot in 0..self.slots.len() {
            let late = self.slots.get(slot).copied().flatten();
            let Some(attempt) = late.filter(|a| io.now_ns > a.planned_ns.saturating_add(ATTEMPT_NS_MAX))
            else {
                continue;
            };
            io.finish(attempt.id);
            self.tally.fail("no login in 10 s");
            self.end(u32::try_from(slot).unwrap_or(u32::MAX));
        }
    }
}

impl Scenario for Storm {
    fn turn(&mut self, io: &mut Io) -> Option<u64> {
        let schedule = io.shared().schedule()?;
        if io.now_ns < schedule.start_ns {
            return Some(schedule.start_ns);
        }
        if self.schedule.is_none() {
            self.schedule = Some(schedule);
            if let Load::Open { rate_hz } = self.load {
                let phase = self.thread as f64 / self.threads.max(1) as f64;
                self.pace = Some(Pace::new(
                    schedule.start_ns,
                    rate_hz / self.threads.max(1) as f64,
                    phase,
                ));
            }
        }
        if self.free.is_empty() {
            self.expire(io);
        }
        self.launch(io, schedule)
    }

    fn ready(&self) -> bool {
        true
    }

    fn drained(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    fn opened(&mut self, io: &mut Io, id: ConnId, tag: u32) {
        self.advance(io, id, tag, |caller, after| caller.greet(after).map(Some));
    }

    fn packet(&mut self, io: &mut Io, id: ConnId, tag: u32, packet: Packet<'_>, _frame: &[u8]) {
        self.advance(io, id, tag, |caller, step| match step {
            Some(step) => caller.answer(step, &packet),
            None => Ok(None),
        });
    }

    fn closed(&mut self, _io: &mut Io, _id: ConnId, tag: u32, why: &str) {
        if self.end(tag).is_some() {
            self.tally.fail(why);
        }
    }
}
