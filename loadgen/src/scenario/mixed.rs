//! `mixed`: several loads at once, each a part of one rate: a fleet's telemetry, commands to its devices, calls of web pages.
//!
//! A part is a scenario of its own with its own connections; what it opens is told apart by tag.

use super::api::{Api, Parties};
use super::flow::{Flow, Kind, Places, Shape};
use super::{Load, Part, Settings, Tally};
use crate::engine::{ConnId, Io, Scenario};
use crate::protocol::{Packet, Wire};

/// What a part does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Does {
    /// Messages on topics, or Direct messages.
    Flow(Kind),
    /// Requests of an app's command.
    Api {
        /// The app.
        app: String,
        /// The command.
        cmd: String,
    },
}

/// A part to be.
#[derive(Clone, Debug)]
pub struct Outline {
    /// What it is called.
    pub name: String,
    /// What it does.
    pub does: Does,
    /// Sends per second.
    pub rate_hz: f64,
    /// Groups; of `Api` there is one.
    pub groups: usize,
    /// Senders of each group.
    pub senders: usize,
    /// Receivers of each group.
    pub receivers: usize,
    /// 0, 1 or 2; not of XMPP.
    pub qos: u8,
    /// Payload, bytes.
    pub payload_bytes: usize,
    /// What senders speak, and the place of the endpoint where they connect.
    pub from: (Wire, usize),
}

impl Outline {
    /// Its connections over all threads.
    pub fn connections(&self) -> usize {
        self.groups * (self.senders + self.receivers)
    }

    /// What its scenario is told; its names are its own by its `place` among the parts.
    fn settings(&self, all: &Settings, place: usize) -> Settings {
        let place = u32::try_from(place).unwrap_or(0);
        let (wire, endpoint) = self.from;
        Settings {
            run: all.run.wrapping_add(place << 24),
            load: Load::Open {
                rate_hz: self.rate_hz,
            },
            qos: if wire.is_xmpp() { 0 } else { self.qos },
            payload_bytes: self.payload_bytes,
            wire,
            endpoint,
            ..all.clone()
        }
    }

    fn share(&self, all: &Settings, place: usize, thread: usize, threads: usize) -> Result<Share, String> {
        let settings = self.settings(all, place);
        match &self.does {
            Does::Flow(kind) => {
                let shape = Shape {
                    groups: self.groups,
                    publishers: self.senders,
                    subscribers: self.receivers,
                    kind: kind.clone(),
                    subscriber_wire: all.wire,
                    places: Places::Subscribers(all.endpoint),
                    stalled: 0,
                };
                Flow::new(&settings, &shape, thread, threads).map(|flow| Share::Flow(Box::new(flow)))
            }
            Does::Api { app, cmd } => {
                let parties = Parties {
                    requesters: self.groups * self.senders,
                    workers: self.groups * self.receivers,
                    worker_wire: all.wire,
                    worker_endpoint: all.endpoint,
                    app: app.clone(),
                    cmd: cmd.clone(),
                };
                Api::new(&settings, &parties, thread, threads).map(|api| Share::Api(Box::new(api)))
            }
        }
    }
}

/// A thread's share of a part.
#[derive(Debug)]
enum Share {
    Flow(Box<Flow>),
    Api(Box<Api>),
}

impl Share {
    fn connections(&self) -> usize {
        match self {
            Self::Flow(flow) => flow.connections(),
            Self::Api(api) => api.connections(),
        }
    }

    fn scenario(&self) -> &dyn Scenario {
        match self {
            Self::Flow(flow) => &**flow,
            Self::Api(api) => &**api,
        }
    }

    fn scenario_mut(&mut self) -> &mut dyn Scenario {
        match self {
            Self::Flow(flow) => &mut **flow,
            Self::Api(api) => &mut **api,
        }
    }

    fn into_tally(self) -> Tally {
        match self {
            Self::Flow(flow) => flow.into_tally(),
            Self::Api(api) => api.into_tally(),
        }
    }
}

/// One thread's share of the load.
#[derive(Debug)]
pub struct Mixed {
    outlines: Vec<Outline>,
    /// Each part and its first tag.
    shares: Vec<(u32, Share)>,
}

impl Mixed {
    /// The share of thread `thread` of `threads`.
    ///
    /// # Errors
    /// A sentence, for what a protocol cannot carry.
    pub fn new(
        settings: &Settings,
        outlines: &[Outline],
        thread: usize,
        threads: usize,
    ) -> Result<Self, String> {
        let mut shares = Vec::new();
        let mut first = 0u32;
        for (place, outline) in outlines.iter().enumerate() {
            let share = outline
                .share(settings, place, thread, threads)
                .map_err(|error| format!("part {}: {error}", outline.name))?;
            let connections = u32::try_from(share.connections()).map_err(|_| "too many connections")?;
            shares.push((first, share));
            first = first.checked_add(connections).ok_or("too many connections")?;
        }
        Ok(Self {
            outlines: outlines.to_vec(),
            shares,
        })
    }

    /// The results: of all together, and of each part.
    ///
    /// # Errors
    /// A sentence, if a histogram cannot be allocated.
    pub fn into_tally(self) -> Result<Tally, String> {
        let mut all = Tally::new("arrival")?;
        for (outline, (_, share)) in self.outlines.into_iter().zip(self.shares) {
            let tally = share.into_tally();
            all.merge(&tally);
            all.parts.push(Part {
                connections: outline.connections() as u64,
                name: outline.name,
                rate_hz: outline.rate_hz,
                tally,
            });
        }
        Ok(all)
    }

    /// Hands the connection of `tag` to the part that opened it, under the tag it has there.
    fn at(&mut self, io: &mut Io, tag: u32, then: impl FnOnce(&mut dyn Scenario, &mut Io, u32)) {
        let place = self.shares.partition_point(|(first, _)| *first <= tag);
        if let Some((first, share)) = place.checked_sub(1).and_then(|place| self.shares.get_mut(place)) {
            io.tag_base = *first;
            then(share.scenario_mut(), io, tag - *first);
        }
    }
}

impl Scenario for Mixed {
    fn turn(&mut self, io: &mut Io) -> Option<u64> {
        let mut next: Option<u64> = None;
        for (first, share) in &mut self.shares {
            io.tag_base = *first;
            let of_part = share.scenario_mut().turn(io);
            next = next.into_iter().chain(of_part).min();
        }
        next
    }

    fn ready(&self) -> bool {
        self.shares.iter().all(|(_, share)| share.scenario().ready())
    }

    fn drained(&self) -> bool {
        self.shares.iter().all(|(_, share)| share.scenario().drained())
    }

    fn opened(&mut self, io: &mut Io, id: ConnId, tag: u32) {
        self.at(io, tag, |part, io, tag| part.opened(io, id, tag));
    }

    fn packet(&mut self, io: &mut Io, id: ConnId, tag: u32, packet: Packet<'_>, frame: &[u8]) {
        self.at(io, tag, |part, io, tag| part.packet(io, id, tag, packet, frame));
    }

    fn writable(&mut self, io: &mut Io, id: ConnId, tag: u32) {
        self.at(io, tag, |part, io, tag| part.writable(io, id, tag));
    }

    fn closed(&mut self, io: &mut Io, id: ConnId, tag: u32, why: &str) {
        self.at(io, tag, |part, io, tag| part.closed(io, id, tag, why));
    }
}
