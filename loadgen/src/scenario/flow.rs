//! `pairs`, `fanout`, `fanin`, `room` and `direct`: groups of publishers and subscribers, one topic, room or addressed
//! worker per group. In a room of XMPP everybody hears, the speakers themselves included.
//!
//! A group lives on one thread. Closed loop: a publisher keeps `window` messages in flight, a message being in
//! flight until every subscriber of the group has it. Open loop: publishers send in turn at planned times; one that
//! is held back (full socket, QoS 1 quota) sends later with its planned times unchanged, so its wait is measured.

use std::sync::atomic::Ordering;

use super::fleet::{Fleet, Member, index};
use super::tracker::{Arrival, Tracker};
use super::{Load, Settings, Tally};
use crate::clock::SECOND_NS;
use crate::engine::{ConnId, Io, Pace, Scenario, Schedule, add};
use crate::protocol::login::Want;
use crate::protocol::mqtt::{self, packet_id_of};
use crate::protocol::stamp::{Form, Stamp, blank_payload, filler_intact};
use crate::protocol::template::Template;
use crate::protocol::{Malformed, Packet, REFUSED, Version, Wire};

/// Output queued on one connection beyond which an open loop sends later.
const BACKLOG_BYTES_MAX: usize = 256 * 1024;
/// Messages planned in one turn before the sockets are looked at again.
const BURST_MAX: usize = 4_096;
/// In flight without progress for this long: written off, so that a closed loop goes on after a loss.
const STALL_NS: u64 = 5 * SECOND_NS;

/// By what a group's messages find who hears them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A topic of the group.
    Topic,
    /// A room of XMPP.
    Room,
    /// The app and resource of its one subscriber: Direct messages.
    Direct {
        /// The app that the subscribers' accounts belong to.
        app: String,
    },
}

/// The shape of a group.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Groups over all threads, each with its own topic.
    pub groups: usize,
    /// Publishers of a group.
    pub publishers: usize,
    /// Those of a group who only hear.
    pub subscribers: usize,
    /// By what its messages find them.
    pub kind: Kind,
    /// What subscribers speak.
    pub subscriber_wire: Wire,
    /// The places of the endpoints where a group's publishers and its subscribers connect.
    pub places: Places,
    /// Subscribers of each group that stop reading when the run starts. Nothing is expected to reach them.
    pub stalled: usize,
}

/// Where the connections of a group go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// Publishers to the first endpoint, subscribers to this one.
    Subscribers(usize),
    /// Groups take two endpoints in turn: the whole group, or its subscribers the other one.
    InTurn {
        /// Whether publishers and subscribers are apart.
        across: bool,
    },
}

impl Places {
    /// The endpoints of the publishers and of the subscribers of a group.
    const fn of(self, group: usize) -> (usize, usize) {
        match self {
            Self::Subscribers(place) => (0, place),
            Self::InTurn { across } => (group % 2, if across { (group + 1) % 2 } else { group % 2 }),
        }
    }
}

impl Shape {
    fn is_room(&self) -> bool {
        self.kind == Kind::Room
    }

    /// How many hear a message.
    fn hearers(&self) -> usize {
        let all = if self.is_room() {
            self.publishers + self.subscribers
        } else {
            self.subscribers
        };
        all.saturating_sub(self.stalled)
    }

    /// What the messages of a group are sent to, and what its subscribers want.
    fn heard_by(&self, settings: &Settings, group: usize) -> (String, Want) {
        match self.kind {
            Kind::Room => (settings.room(group), Want::Room(settings.room(group))),
            Kind::Topic => {
                let topic = settings.topic(group);
                let filter = settings.filter_of(&topic);
                (topic, Want::Channel(filter))
            }
            Kind::Direct { .. } => {
                let first = group * (self.publishers + self.subscribers);
                (settings.member(first, None).client_id, Want::Direct)
            }
        }
    }

    fn template(&self, settings: &Settings, topic: &str, blank: &[u8]) -> Result<Template, Malformed> {
        match &self.kind {
            Kind::Room => settings.wire.speak(topic, blank),
            Kind::Topic => settings.wire.publish(topic, settings.qos, blank),
            Kind::Direct { app } => settings.wire.direct(app, topic, settings.qos, blank),
        }
    }
}

/// What a connection does: its places among publishers and subscribers.
#[derive(Clone, Copy, Debug)]
struct Role {
    publisher: Option<usize>,
    subscriber: Option<usize>,
}

#[derive(Debug)]
struct Publisher {
    tag: u32,
    conn: Option<ConnId>,
    template: Template,
    subscribers: u64,
    sent: u64,
    /// Open loop: messages whose planned time has come.
    due: u64,
    is_held: bool,
    /// Deliveries of its messages at all subscribers, and those given up.
    settled: u64,
    acked: u64,
    quota: u64,
    progress_ns: u64,
}

impl Publisher {
    const fn new(tag: u32, template: Template, subscribers: u64) -> Self {
        Self {
            tag,
            conn: None,
            template,
            subscribers,
            sent: 0,
            due: 0,
            is_held: false,
            settled: 0,
            acked: 0,
            quota: u64::MAX,
            progress_ns: 0,
        }
    }
}

#[derive(Debug)]
struct Subscriber {
    /// Its group's publishers: the index of the first.
    first_publisher: usize,
    trackers: Vec<Tracker>,
    checked: bool,
    /// The place among the connections of one that stops reading.
    stalled: Option<usize>,
}

/// One thread's share of the flow.
#[derive(Debug)]
pub struct Flow {
    fleet: Fleet,
    roles: Vec<Role>,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    load: Load,
    subscriber_wire: Wire,
    form: Form,
    qos: u8,
    run: u32,
    blank: Vec<u8>,
    share: f64,
    phase: f64,
    pace: Option<Pace>,
    schedule: Option<Schedule>,
    planned: u64,
    /// Those whose connection has too much queued.
    held: Vec<usize>,
    next_stall_check_ns: u64,
    tally: Tally,
}

impl Flow {
    /// The share of thread `thread` of `threads`.
    ///
    /// # Errors
    /// A sentence, for topics or payloads that the protocol cannot carry.
    pub fn new(settings: &Settings, shape: &Shape, thread: usize, threads: usize) -> Result<Self, String> {
        let mut members = Vec::new();
        let form = match shape.kind {
            // A Direct message is a string, whatever carries it.
            Kind::Direct { .. } => Form::Text,
            _ => settings.wire.stamp_form().or(shape.subscriber_wire.stamp_form()),
        };
        let mut flow = Self {
            fleet: Fleet::new(settings.manner(), Vec::new()),
            roles: Vec::new(),
            publishers: Vec::new(),
            subscribers: Vec::new(),
            load: settings.load,
            subscriber_wire: shape.subscriber_wire,
            form,
            qos: settings.qos,
            run: settings.run,
            blank: blank_payload(form, settings.payload_bytes),
            share: 0.0,
            phase: thread as f64 / threads.max(1) as f64,
            pace: None,
            schedule: None,
            planned: 0,
            held: Vec::new(),
            next_stall_check_ns: 0,
            tally: Tally::new("delivery")?,
        };
        for group in (thread..shape.groups).step_by(threads.max(1)) {
            flow.add_group(settings, shape, group, &mut members)?;
        }
        let total = shape.groups * shape.publishers;
        flow.share = flow.publishers.len() as f64 / total.max(1) as f64;
        flow.fleet = Fleet::new(settings.manner(), members);
        Ok(flow)
    }

    fn add_group(
        &mut self,
        settings: &Settings,
        shape: &Shape,
        group: usize,
        members: &mut Vec<Member>,
    ) -> Result<(), String> {
        let per_group = shape.publishers + shape.subscribers;
        let (topic, want) = shape.heard_by(settings, group);
        let (publishers_at, subscribers_at) = shape.places.of(group);
        let first_publisher = self.publishers.len();
        let subscriber = |stalled| Subscriber {
            first_publisher,
            trackers: vec![Tracker::default(); shape.publishers],
            checked: false,
            stalled,
        };
        for number in 0..shape.subscribers {
            self.roles.push(Role {
                publisher: None,
                subscriber: Some(self.subscribers.len()),
            });
            let stalled = number < shape.stalled;
            self.subscribers
                .push(subscriber(stalled.then_some(members.len())));
            members.push(Member {
                wire: shape.subscriber_wire,
                endpoint: subscribers_at,
                ..settings.member(group * per_group + number, Some(want.clone()))
            });
        }
        for number in 0..shape.publishers {
            let template = shape.template(settings, &topic, &self.blank);
            self.roles.push(Role {
                publisher: Some(self.publishers.len()),
                subscriber: shape.is_room().then_some(self.subscribers.len()),
            });
            if shape.is_room() {
                self.subscribers.push(subscriber(None));
            }
            let tag = u32::try_from(members.len()).map_err(|_| "too many connections")?;
            let template = template.map_err(|error| error.0)?;
            self.publishers
                .push(Publisher::new(tag, template, shape.hearers() as u64));
            let want = shape.is_room().then(|| want.clone());
            members.push(Member {
                endpoint: if publishers_at == 0 {
                    settings.endpoint
                } else {
                    publishers_at
                },
                ..settings.member(group * per_group + shape.subscribers + number, want)
            });
        }
        Ok(())
    }

    /// Its connections.
    pub fn connections(&self) -> usize {
        self.fleet.len()
    }

    /// The results, with what never arrived counted as lost.
    pub fn into_tally(mut self) -> Tally {
        for subscriber in self
            .subscribers
            .iter()
            .filter(|subscriber| subscriber.stalled.is_none())
        {
            for (tracker, publisher) in subscriber
                .trackers
                .iter()
                .zip(self.publishers.iter().skip(subscriber.first_publisher))
            {
                self.tally.lost += publisher.sent.saturating_sub(tracker.received());
            }
        }
        for publisher in &self.publishers {
            self.tally.sent += publisher.sent;
            self.tally.unsent += publisher.due.saturating_sub(publisher.sent);
            if self.qos > 0 {
                self.tally.unacknowledged += publisher.sent.saturating_sub(publisher.acked);
            }
        }
        self.tally
    }

    fn start(&mut self, io: &mut Io, schedule: Schedule) {
        self.schedule = Some(schedule);
        for tag in self
            .subscribers
            .iter()
            .filter_map(|subscriber| subscriber.stalled)
        {
            if let Some(conn) = u32::try_from(tag).ok().and_then(|tag| self.fleet.conn(tag)) {
                io.stop_reading(conn);
            }
        }
        if let Load::Open { rate_hz } = self.load {
            let rate_hz = rate_hz * self.share;
            if rate_hz > 0.0 {
                self.pace = Some(Pace::new(schedule.start_ns, rate_hz, self.phase));
            }
        }
        for publisher in &mut self.publishers {
            publisher.conn = self.fleet.conn(publisher.tag);
            publisher.quota = u64::from(self.fleet.receive_max(publisher.tag));
            publisher.progress_ns = schedule.start_ns;
        }
    }

    /// Lets those send who had too much queued: a socket that took it all at once does not say so. The time of what is next.
    fn release(&mut self, io: &mut Io, next: Option<u64>) -> Option<u64> {
        if self.held.is_empty() {
            return next;
        }
        for who in std::mem::take(&mut self.held) {
            if let Some(publisher) = self.publishers.get_mut(who) {
                publisher.is_held = false;
            }
            self.pump(io, who);
        }
        let soon = io.now_ns + super::HELD_NS;
        Some(next.map_or(soon, |next| next.min(soon)))
    }

    /// Plans what is due by now; the time of the next one.
    fn plan(&mut self, io: &mut Io, schedule: Schedule) -> Option<u64> {
        let pace = self.pace?;
        let count = self.publishers.len() as u64;
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
            if let Some(publisher) = self.publishers.get_mut(turn) {
                publisher.due += 1;
            }
            self.pump(io, turn);
        }
        Some(io.now_ns)
    }

    /// Sends what publisher `who` may send: to its window, or all that is due.
    fn pump(&mut self, io: &mut Io, who: usize) {
        let Some(schedule) = self.schedule else {
            return;
        };
        let count = self.publishers.len() as u64;
        let Some(publisher) = self.publishers.get_mut(who) else {
            return;
        };
        let Some(conn) = publisher.conn else {
            return;
        };
        let mut sent = 0;
        loop {
            let planned_ns = match (self.load, &self.pace) {
                (Load::Closed { window }, _) => {
                    let open = publisher.sent * publisher.subscribers
                        < window * publisher.subscribers + publisher.settled;
                    if !open || io.now_ns >= schedule.until_ns {
                        break;
                    }
                    io.now_ns
                }
                (Load::Open { .. }, Some(pace)) => {
                    if publisher.sent >= publisher.due {
                        break;
                    }
                    if io.backlog_bytes(conn) > BACKLOG_BYTES_MAX {
                        self.held.extend((!publisher.is_held).then_some(who));
                        publisher.is_held = true;
                        break;
                    }
                    pace.planned_ns(publisher.sent * count + who as u64)
                }
                (Load::Open { .. }, None) => break,
            };
            if self.qos > 0 && publisher.sent - publisher.acked >= publisher.quota {
                break;
            }
            let stamp = Stamp {
                run: self.run,
                publisher: u32::try_from(who).unwrap_or(u32::MAX),
                sequence: publisher.sent,
                planned_ns,
            };
            stamp.write(self.form, publisher.template.payload_mut());
            publisher.template.set_packet_id(packet_id_of(publisher.sent));
            io.send(conn, publisher.template.frame());
            publisher.sent += 1;
            sent += 1;
        }
        add(&io.counters().sent, sent);
    }

    /// One of a publisher's messages is through, or refused.
    fn acknowledged(&mut self, io: &mut Io, who: usize, code: u8) {
        if let Some(publisher) = self.publishers.get_mut(who) {
            publisher.acked += 1;
        }
        if code >= REFUSED {
            self.tally.fail(format!("acknowledged with 0x{code:02x}"));
        }
        self.pump(io, who);
    }

    fn delivered(&mut self, io: &mut Io, who: usize, packet: &Packet<'_>, payload: &[u8], frame: &[u8]) {
        let Some(subscriber) = self.subscribers.get_mut(who) else {
            return;
        };
        if !subscriber.checked {
            subscriber.checked = true;
            let holds = borrowed_form_holds(self.subscriber_wire.mqtt_version(), packet, frame);
            self.tally.wrong += u64::from(!holds);
        }
        let form = self.form;
        let stamp = Stamp::read(form, payload).filter(|stamp| stamp.run == self.run);
        let source = stamp.and_then(|stamp| {
            let publisher = index(stamp.publisher);
            let local = publisher.checked_sub(subscriber.first_publisher)?;
            Some((stamp, publisher, subscriber.trackers.get_mut(local)?))
        });
        let Some((stamp, publisher, tracker)) = source else {
            self.tally.wrong += 1;
            return;
        };
        self.tally.wrong += u64::from(!filler_intact(form, &self.blank, payload));
        match tracker.arrived(stamp.sequence) {
            Arrival::Doubled => {
                self.tally.doubled += 1;
                return;
            }
            Arrival::Late => self.tally.misordered += 1,
            Arrival::InOrder => {}
        }
        add(&io.counters().done, 1);
        if self
            .schedule
            .is_some_and(|schedule| schedule.records(stamp.planned_ns))
        {
            self.tally.record(io.now_ns.saturating_sub(stamp.planned_ns));
        }
        if let Some(publisher) = self.publishers.get_mut(publisher) {
            publisher.settled += 1;
            publisher.progress_ns = io.now_ns;
        }
        if matches!(self.load, Load::Closed { .. }) {
            self.pump(io, publisher);
        }
    }

    /// Gives up what has been in flight for [`STALL_NS`] without progress.
    fn write_off(&mut self, io: &mut Io) {
        if io.now_ns < self.next_stall_check_ns {
            return;
        }
        self.next_stall_check_ns = io.now_ns + SECOND_NS / 10;
        let behind = self.publishers.iter().map(|p| p.due.saturating_sub(p.sent)).sum();
        io.counters().behind.store(behind, Ordering::Relaxed);
        if !matches!(self.load, Load::Closed { .. }) {
            return;
        }
        for who in 0..self.publishers.len() {
            let Some(publisher) = self.publishers.get_mut(who) else {
                return;
            };
            let expected = publisher.sent * publisher.subscribers;
            if expected > publisher.settled && io.now_ns > publisher.progress_ns + STALL_NS {
                publisher.settled = expected;
                publisher.progress_ns = io.now_ns;
                self.tally.stalls += 1;
                self.pump(io, who);
            }
        }
    }
}

/// The first delivery of each MQTT subscriber is decoded by `mqttbytes` as well.
fn borrowed_form_holds(version: Option<Version>, packet: &Packet<'_>, frame: &[u8]) -> bool {
    let (Some(version), Packet::Publish(publish)) = (version, packet) else {
        return true;
    };
    mqtt::decode_publish_owned(version, frame)
        .is_ok_and(|(topic, payload)| topic.as_bytes() == publish.topic && payload == publish.payload)
}

impl Scenario for Flow {
    fn turn(&mut self, io: &mut Io) -> Option<u64> {
        self.fleet.turn(io);
        let schedule = io.shared().schedule()?;
        if io.now_ns < schedule.start_ns {
            return Some(schedule.start_ns);
        }
        if self.schedule.is_none() {
            self.start(io, schedule);
            if matches!(self.load, Load::Closed { .. }) {
                for who in 0..self.publishers.len() {
                    self.pump(io, who);
                }
            }
        }
        self.write_off(io);
        let next = self.plan(io, schedule);
        self.release(io, next)
    }

    fn ready(&self) -> bool {
        self.fleet.ready()
    }

    fn drained(&self) -> bool {
        self.publishers.iter().all(|publisher| {
            publisher.sent >= publisher.due
                && publisher.settled >= publisher.sent * publisher.subscribers
                && (self.qos == 0 || publisher.acked >= publisher.sent)
        })
    }

    fn opened(&mut self, io: &mut Io, id: ConnId, tag: u32) {
        self.fleet.opened(io, id, tag);
    }

    fn packet(&mut self, io: &mut Io, id: ConnId, tag: u32, packet: Packet<'_>, frame: &[u8]) {
        if self.fleet.packet(io, id, tag, &packet) {
            return;
        }
        if let Some(why) = packet.good_bye() {
            return io.shared().fail(format!("the server sent {why}"));
        }
        if let Some(answer) = packet.answer() {
            io.send(id, &answer);
        }
        let Some(role) = self.roles.get(index(tag)).copied() else {
            return;
        };
        if let (Some(who), Some(code)) = (role.publisher, packet.acknowledged()) {
            self.acknowledged(io, who, code);
        }
        if let (Some(who), Some(payload)) = (role.subscriber, packet.delivery()) {
            self.delivered(io, who, &packet, &payload, frame);
        }
        if let Some(condition) = packet.refused_message() {
            self.tally.fail(format!("a message was refused: {condition}"));
        }
    }

    fn writable(&mut self, io: &mut Io, _id: ConnId, tag: u32) {
        if let Some(who) = self.roles.get(index(tag)).and_then(|role| role.publisher) {
            self.pump(io, who);
        }
    }

    fn closed(&mut self, io: &mut Io, _id: ConnId, tag: u32, why: &str) {
        self.fleet.closed(io, tag, why);
    }
}
