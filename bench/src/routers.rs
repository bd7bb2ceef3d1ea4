//! Routers alone, without sessions: blocks are keys, deliveries are counted, timers are the real wheel.

use std::sync::Arc;

use nexus::observe::ShardMetrics;
use nexus::route::port::{Port, Receivers, RouteTimer, TimerHandle};
use nexus::route::{
    Account, AppPolicy, Change, Delivery, Identity, Notice, Registration, Router, SenderPattern, SessionKey,
    SubscriptionOptions, Token, Undelivered,
};
use nexus::session::Ending;
use nexus::time::Instant;
use shards::TimerId;
use shards::wheel::Wheel;

use crate::world::{NOW, grants, router_config};

/// A shard's side that counts what it is handed.
#[derive(Debug, Default)]
pub struct CountingPort {
    /// Deliveries.
    pub delivered: u64,
    /// The worker that was asked last, and its token.
    pub asked: Option<(SessionKey, Token)>,
    /// Outcomes of requests.
    pub replies: u64,
    wheel: Wheel,
}

impl Port for CountingPort {
    fn now(&self) -> Instant {
        Instant::default()
    }

    fn begin_message(&mut self, _: Receivers) {}

    fn deliver(&mut self, to: SessionKey, delivery: &Delivery<'_>) -> Result<(), Undelivered> {
        self.delivered += 1;
        match delivery {
            Delivery::Request { token, .. } => self.asked = Some((to, *token)),
            Delivery::Reply { .. } => self.replies += 1,
            Delivery::Channel { .. } | Delivery::Direct { .. } | Delivery::Room { .. } => {}
        }
        Ok(())
    }

    fn notify(&mut self, _: SessionKey, _: Notice) {}

    fn end(&mut self, _: SessionKey, _: Ending) {}

    fn arm(&mut self, at: Instant, timer: RouteTimer) -> TimerHandle {
        TimerHandle(self.wheel.insert(at.as_nanos(), timer.0).to_bits())
    }

    fn cancel(&mut self, timer: TimerHandle) {
        self.wheel.cancel(TimerId::from_bits(timer.0));
    }
}

/// The routers of all shards, each with its port.
#[derive(Debug)]
pub struct Routers {
    /// One a shard.
    pub shards: Vec<(Router, CountingPort)>,
    blocks: u32,
}

impl Routers {
    /// Routers without sessions; the app `etest` exists.
    pub fn new(shards: usize) -> Self {
        let change = Change::App {
            name: "etest".into(),
            policy: AppPolicy::default(),
        };
        let router = |shard| {
            let metrics = Arc::new(ShardMetrics::default());
            let mut router = Router::new(router_config(shard, shards, &metrics));
            let mut port = CountingPort::default();
            router.apply(NOW, &mut port, &change);
            (router, port)
        };
        Self {
            shards: (0..shards).map(router).collect(),
            blocks: 0,
        }
    }

    /// A block on a shard, attached; each has its own user and a resource by its number.
    pub fn block(&mut self, shard: usize, app: &str, role: &str) -> SessionKey {
        let key = SessionKey {
            slot: self.blocks,
            generation: 0,
        };
        self.blocks += 1;
        let name = crate::account(app, self.blocks as usize, role);
        let resource = format!("r{}", key.slot);
        let identity = Identity::new(&Account::parse(&name).unwrap(), &resource).unwrap();
        let (router, port) = &mut self.shards[shard];
        router.join(NOW, port, key, identity, grants(), false);
        self.settle();
        assert!(self.shards[shard].0.is_attached(key), "the block is attached");
        key
    }

    /// Registers what a block wants.
    pub fn register(&mut self, shard: usize, key: SessionKey, wanted: &Registration<'_>) {
        let (router, port) = &mut self.shards[shard];
        router.register(NOW, port, key, wanted).expect("granted");
        self.settle();
    }

    /// Subscribes a block to a filter.
    pub fn subscribe(&mut self, shard: usize, key: SessionKey, filter: &str) {
        self.register(shard, key, &channel(filter));
    }

    /// Passes parcels until there are none.
    pub fn settle(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            for from in 0..self.shards.len() {
                for to in 0..self.shards.len() {
                    busy |= self.pass(from, to);
                }
            }
        }
    }

    /// Passes the parcel from one shard to another, if there is one, and gives it back.
    pub fn pass(&mut self, from: usize, to: usize) -> bool {
        let number = |shard| u16::try_from(shard).unwrap();
        let Some(mut parcel) = self.shards[from].0.outgoing(number(to)) else {
            return false;
        };
        let (router, port) = &mut self.shards[to];
        router.parcel(NOW, port, number(from), &mut parcel);
        self.shards[from].0.recycle(parcel);
        true
    }
}

/// A subscription to a filter, whoever sends.
pub fn channel(filter: &str) -> Registration<'_> {
    Registration::Channel {
        filter,
        from: SenderPattern::default(),
        options: SubscriptionOptions::default(),
    }
}
