//! `api`: requests to workers that answer them; requesters and workers may speak different protocols.
//!
//! The worker answers with the body it got, so that the requester can check every byte.

use super::fleet::{Fleet, Member, index};
use super::tracker::{Arrival, Tracker};
use super::{Load, Settings, Tally};
use crate::bytes_at::{from_hex16, hex16, patch};
use crate::engine::{ConnId, Io, Pace, Scenario, Schedule, add};
use crate::protocol::api::{self, Asked, Outcome, Request};
use crate::protocol::login::Want;
use crate::protocol::mqtt::packet_id_of;
use crate::protocol::template::Template;
use crate::protocol::{Packet, REFUSED, Wire};

/// A body is `{"seq":"<16 hex>","planned":"<16 hex>","pad":"…"}`.
const SEQUENCE_AT: usize = 8;
const PLANNED_AT: usize = 37;
const BODY_BYTES_MIN: usize = 64;
const BACKLOG_BYTES_MAX: usize = 256 * 1024;
const BURST_MAX: usize = 4_096;

/// Who takes part.
#[derive(Clone, Debug)]
pub struct Parties {
    /// Requesters over all threads.
    pub requesters: usize,
    /// Workers over all threads.
    pub workers: usize,
    /// What workers speak, and to which endpoint.
    pub worker_wire: Wire,
    /// The place of that endpoint.
    pub worker_endpoint: usize,
    /// The app called.
    pub app: String,
    /// The command called.
    pub cmd: String,
}

#[derive(Debug)]
struct Requester {
    tag: u32,
    conn: Option<ConnId>,
    template: Template,
    tracker: Tracker,
    sent: u64,
    due: u64,
    is_held: bool,
    acked: u64,
    quota: u64,
}

/// A worker's answer, encoded once per length of token and body.
#[derive(Debug, Default)]
struct Worker {
    template: Option<Template>,
    answered: u64,
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Requester(usize),
    Worker(usize),
}

/// One thread's share.
#[derive(Debug)]
pub struct Api {
    fleet: Fleet,
    roles: Vec<Role>,
    requesters: Vec<Requester>,
    workers: Vec<Worker>,
    worker_wire: Wire,
    qos: u8,
    load: Load,
    share: f64,
    phase: f64,
    pace: Option<Pace>,
    schedule: Option<Schedule>,
    planned: u64,
    /// Those whose connection has too much queued.
    held: Vec<usize>,
    tally: Tally,
}

/// The body of a request with room for its numbers.
fn blank_body(payload_bytes: usize) -> Vec<u8> {
    let head = br#"{"seq":"0000000000000000","planned":"0000000000000000","pad":""#;
    let pad = payload_bytes.max(BODY_BYTES_MIN).saturating_sub(head.len() + 2);
    let filler = (0..pad).map(|at| b'a' + u8::try_from(at % 26).unwrap_or(0));
    head.iter().copied().chain(filler).chain(*b"\"}").collect()
}

impl Api {
    /// The share of thread `thread` of `threads`.
    ///
    /// # Errors
    /// A sentence, for names that the protocol cannot carry, and raw messages that do not hold a request.
    pub fn new(
        settings: &Settings,
        parties: &Parties,
        thread: usize,
        threads: usize,
    ) -> Result<Self, String> {
        let mut members: Vec<Member> = Vec::new();
        let (mut roles, mut requesters, mut workers) = (Vec::new(), Vec::new(), Vec::new());
        for number in (thread..parties.workers).step_by(threads.max(1)) {
            roles.push(Role::Worker(workers.len()));
            workers.push(Worker::default());
            members.push(Member {
                endpoint: parties.worker_endpoint,
                wire: parties.worker_wire,
                ..settings.member(number, Some(Want::Listener(parties.cmd.clone())))
            });
        }
        let body = blank_body(settings.payload_bytes);
        if matches!(settings.wire, Wire::Raw { payload_bytes, .. } if payload_bytes != body.len()) {
            return Err(format!(
                "--payload {}: a raw request needs at least {BODY_BYTES_MIN} bytes",
                settings.payload_bytes
            ));
        }
        let replies = (settings.wire == Wire::Nats).then_some(Want::Replies);
        for number in (thread..parties.requesters).step_by(threads.max(1)) {
            let member = settings.member(parties.workers + number, replies.clone());
            let request = Request {
                name: &member.client_id,
                app: &parties.app,
                cmd: &parties.cmd,
                body: &body,
            };
            let template = api::request(settings.wire, settings.qos, &request).map_err(|error| error.0)?;
            roles.push(Role::Requester(requesters.len()));
            requesters.push(Requester {
                tag: u32::try_from(members.len()).map_err(|_| "too many connections")?,
                conn: None,
                template,
                tracker: Tracker::default(),
                sent: 0,
                due: 0,
                is_held: false,
                acked: 0,
                quota: u64::MAX,
            });
            members.push(member);
        }
        Ok(Self {
            fleet: Fleet::new(settings.manner(), members),
            roles,
            share: requesters.len() as f64 / parties.requesters.max(1) as f64,
            requesters,
            workers,
            worker_wire: parties.worker_wire,
            qos: settings.qos,
            load: settings.load,
            phase: thread as f64 / threads.max(1) as f64,
            pace: None,
            schedule: None,
            planned: 0,
            held: Vec::new(),
            tally: Tally::new("request")?,
        })
    }

    /// Its connections.
    pub fn connections(&self) -> usize {
        self.fleet.len()
    }

    /// The results, with requests that had no outcome counted as lost.
    pub fn into_tally(mut self) -> Tally {
        for requester in &self.requesters {
            self.tally.lost += requester.sent.saturating_sub(requester.tracker.received());
            self.tally.sent += requester.sent;
            self.tally.unsent += requester.due.saturating_sub(requester.sent);
        }
        self.tally
    }

    fn start(&mut self, schedule: Schedule) {
        self.schedule = Some(schedule);
        if let Load::Open { rate_hz } = self.load
            && self.share > 0.0
        {
            self.pace = Some(Pace::new(schedule.start_ns, rate_hz * self.share, self.phase));
        }
        for requester in &mut self.requesters {
            requester.conn = self.fleet.conn(requester.tag);
            requester.quota = u64::from(self.fleet.receive_max(requester.tag));
        }
    }

    /// Lets those send who had too much queued: a socket that took it all at once does not say so. The time of what is next.
    fn release(&mut self, io: &mut Io, next: Option<u64>) -> Option<u64> {
        if self.held.is_empty() {
            return next;
        }
        for who in std::mem::take(&mut self.held) {
            if let Some(requester) = self.requesters.get_mut(who) {
                requester.is_held = false;
            }
            self.pump(io, who);
        }
        let soon = io.now_ns + super::HELD_NS;
        Some(next.map_or(soon, |next| next.min(soon)))
    }

    /// Plans what is due by now; the time of the next one.
    fn plan(&mut self, io: &mut Io, schedule: Schedule) -> Option<u64> {
        let pace = self.pace?;
        let count = self.requesters.len() as u64;
        for _ in 0..BURST_MAX {
            let planned_ns = pace.planned_ns(self.planned);
            if planned_ns >= schedule.until_ns {
                return None;
            }
            if planned_ns > io.now_ns {
                return Some(planned_ns);
            }
            let turn = usize::try_from(self.planned % count.max(1)).unwrap_or(0);
            self.planned += 1;
            self.tally.plan(schedule, planned_ns, io.now_ns);
            if let Some(requester) = self.requesters.get_mut(turn) {
                requester.due += 1;
            }
            self.pump(io, turn);
        }
        Some(io.now_ns)
    }

    fn pump(&mut self, io: &mut Io, who: usize) {
        let Some(schedule) = self.schedule else {
            return;
        };
        let count = self.requesters.len() as u64;
        let Some(requester) = self.requesters.get_mut(who) else {
            return;
        };
        let Some(conn) = requester.conn else {
            return;
        };
        loop {
            let planned_ns = match (self.load, &self.pace) {
                (Load::Closed { window }, _) => {
                    let open = requester.sent < window + requester.tracker.received();
                    if !open || io.now_ns >= schedule.until_ns {
                        return;
                    }
                    io.now_ns
                }
                (Load::Open { .. }, Some(pace)) => {
                    if requester.sent >= requester.due {
                        return;
                    }
                    if io.backlog_bytes(conn) > BACKLOG_BYTES_MAX {
                        self.held.extend((!requester.is_held).then_some(who));
                        requester.is_held = true;
                        return;
                    }
                    pace.planned_ns(requester.sent * count + who as u64)
                }
                (Load::Open { .. }, None) => return,
            };
            if self.qos > 0 && requester.sent - requester.acked >= requester.quota {
                return;
            }
            let sequence = hex16(requester.sent);
            requester.template.set_key(&sequence);
            let body = requester.template.payload_mut();
            patch(body, SEQUENCE_AT, &sequence);
            patch(body, PLANNED_AT, &hex16(planned_ns));
            requester.template.set_packet_id(packet_id_of(requester.sent));
            io.send(conn, requester.template.frame());
            requester.sent += 1;
            add(&io.counters().sent, 1);
        }
    }

    /// Answers a request with its own body.
    fn answer(&mut self, io: &mut Io, id: ConnId, who: usize, asked: &Asked<'_>) {
        let Some(worker) = self.workers.get_mut(who) else {
            return;
        };
        let fits = worker.template.as_ref().is_some_and(|template| {
            template.key_bytes() == asked.token.len() && template.payload().len() == asked.body.len()
        });
        if !fits {
            match api::answer(self.worker_wire, self.qos, asked) {
                Ok(template) => worker.template = Some(template),
                Err(error) => return io.shared().fail(error.0),
            }
        }
        let Some(template) = worker.template.as_mut() else {
            return;
        };
        template.set_key(asked.token);
        patch(template.payload_mut(), 0, asked.body);
        template.set_packet_id(packet_id_of(worker.answered));
        worker.answered += 1;
        io.send(id, template.frame());
    }

    fn acknowledged(&mut self, io: &mut Io, role: Role, code: u8) {
        if code >= REFUSED {
            self.tally.fail(format!("acknowledged with 0x{code:02x}"));
        }
        if let Role::Requester(who) = role {
            if let Some(requester) = self.requesters.get_mut(who) {
                requester.acked += 1;
            }
            self.pump(io, who);
        }
    }

    /// Checks one outcome: the echo of the request, or the server's failure.
    fn outcome(&mut self, io: &mut Io, who: usize, outcome: Outcome<'_>) {
        let Some(requester) = self.requesters.get_mut(who) else {
            return;
        };
        let Some(sequence) = outcome.number.filter(|sequence| *sequence < requester.sent) else {
            self.tally.wrong += 1;
            return;
        };
        if requester.tracker.arrived(sequence) == Arrival::Doubled {
            self.tally.doubled += 1;
            return;
        }
        let planned_ns = echo_planned_ns(requester.template.payload(), &outcome.body, sequence);
        match (planned_ns, outcome.failure) {
            (Some(planned_ns), _) => {
                add(&io.counters().done, 1);
                if self.schedule.is_some_and(|schedule| schedule.records(planned_ns)) {
                    self.tally.record(io.now_ns.saturating_sub(planned_ns));
                }
            }
            (None, Some(failure)) => self.tally.fail(failure),
            (None, None) => self.tally.wrong += 1,
        }
        if matches!(self.load, Load::Closed { .. }) {
            self.pump(io, who);
        }
    }
}

/// The planned time in `reply`, if it is the body sent for `sequence`, byte for byte.
fn echo_planned_ns(sent: &[u8], reply: &[u8], sequence: u64) -> Option<u64> {
    let same = |range: std::ops::Range<usize>| sent.get(range.clone()) == reply.get(range);
    let intact = sent.len() == reply.len()
        && same(0..SEQUENCE_AT)
        && same(SEQUENCE_AT + 16..PLANNED_AT)
        && same(PLANNED_AT + 16..sent.len());
    let hex = |at: usize| reply.get(at..at + 16).and_then(from_hex16);
    if !intact || hex(SEQUENCE_AT) != Some(sequence) {
        return None;
    }
    hex(PLANNED_AT)
}

impl Scenario for Api {
    fn turn(&mut self, io: &mut Io) -> Option<u64> {
        self.fleet.turn(io);
        let schedule = io.shared().schedule()?;
        if io.now_ns < schedule.start_ns {
            return Some(schedule.start_ns);
        }
        if self.schedule.is_none() {
            self.start(schedule);
            for who in 0..self.requesters.len() {
                self.pump(io, who);
            }
        }
        let next = self.plan(io, schedule);
        self.release(io, next)
    }

    fn ready(&self) -> bool {
        self.fleet.ready()
    }

    fn drained(&self) -> bool {
        // A thread that holds workers answers until the others have their outcomes: to the end of the drain time,
        // unless its own requesters are all there is.
        self.requesters
            .iter()
            .all(|r| r.sent >= r.due && r.tracker.received() >= r.sent)
            && (self.workers.is_empty() || self.share >= 1.0)
    }

    fn opened(&mut self, io: &mut Io, id: ConnId, tag: u32) {
        self.fleet.opened(io, id, tag);
    }

    fn packet(&mut self, io: &mut Io, id: ConnId, tag: u32, packet: Packet<'_>, _frame: &[u8]) {
        if self.fleet.packet(io, id, tag, &packet) {
            return;
        }
        if let Some(why) = packet.good_bye() {
            return io.shared().fail(format!("the server sent {why}"));
        }
        let Some(role) = self.roles.get(index(tag)).copied() else {
            return;
        };
        if let Some(answer) = packet.answer() {
            io.send(id, &answer);
        }
        if let Some(code) = packet.acknowledged() {
            return self.acknowledged(io, role, code);
        }
        if !matches!(packet, Packet::Publish(_) | Packet::Stanza(_)) {
            return;
        }
        match role {
            Role::Worker(who) => match api::asked(&packet) {
                Some(asked) => self.answer(io, id, who, &asked),
                None => self.tally.wrong += 1,
            },
            Role::Requester(who) => match api::outcome(&packet) {
                Some(outcome) => self.outcome(io, who, outcome),
                None => self.tally.wrong += 1,
            },
        }
    }

    fn writable(&mut self, io: &mut Io, _id: ConnId, tag: u32) {
        if let Some(Role::Requester(who)) = self.roles.get(index(tag)).copied() {
            self.pump(io, who);
        }
    }

    fn closed(&mut self, io: &mut Io, _id: ConnId, tag: u32, why: &str) {
        self.fleet.closed(io, tag, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_of_the_size_asked_for_with_its_numbers_in_place() {
        let mut body = blank_body(100);
        assert_eq!(body.len(), 100);
        patch(&mut body, SEQUENCE_AT, &hex16(5));
        patch(&mut body, PLANNED_AT, &hex16(99));
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["seq"], "0000000000000005");
        assert_eq!(value["planned"], "0000000000000063");
        assert_eq!(echo_planned_ns(&body, &body, 5), Some(99));
        assert_eq!(echo_planned_ns(&body, &body, 6), None);
        let mut altered = body.clone();
        altered[90] = b'!';
        assert_eq!(echo_planned_ns(&body, &altered, 5), None);
        assert_eq!(blank_body(1).len(), BODY_BYTES_MIN);
    }
}
