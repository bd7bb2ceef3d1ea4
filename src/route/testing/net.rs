//! Shards, their clock, and the rings between them.

mod time;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::port::{Block, FakePort, Got};
use super::words::{account, message, service};
use crate::observe::{ApiOutcome, DropReason, ShardMetrics, Stage};
use crate::route::*;
use crate::time::{Instant, Now};

/// N shards.
pub(crate) struct Net {
    pub(crate) now: Now,
    pub(crate) routers: Vec<Router>,
    pub(crate) ports: Vec<FakePort>,
    pub(crate) metrics: Vec<Arc<ShardMetrics>>,
    /// Parcels on their way from one shard to another, with the time of their arrival.
    rings: Vec<Vec<VecDeque<(Instant, Parcel)>>>,
    /// How many parcels a ring takes.
    pub(crate) ring_parcels: usize,
    /// How long a parcel travels, in microseconds, drawn from this range.
    pub(crate) delay_us: std::ops::Range<u64>,
    /// Whether sessions that were told to end leave by themselves.
    pub(crate) ends_leave: bool,
    pub(crate) rng: StdRng,
    /// Free slots with their next generation, and the first never used.
    free: Vec<Vec<SessionKey>>,
    next_slot: Vec<u32>,
    names: HashMap<Block, String>,
    /// Who is attached under an address.
    holders: HashMap<String, Block>,
    /// Parcels that arrived.
    pub(crate) parcels: u64,
    next_shard: u16,
}

impl Net {
    pub(crate) fn new(shards: u16) -> Self {
        Self::configured(shards, 1, |_| {})
    }

    pub(crate) fn configured(shards: u16, seed: u64, configure: impl Fn(&mut RouterConfig)) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let placement_seed = rng.random();
        let metrics: Vec<_> = (0..shards).map(|_| Arc::new(ShardMetrics::default())).collect();
        let routers = (0..shards)
            .map(|shard| {
                let mut config = RouterConfig {
                    shard,
                    shards,
                    seed: rng.random(),
                    placement_seed,
                    domain: "nexus.example".into(),
                    root_wildcard: RootWildcard::Operators,
                    limits: RouterLimits::default(),
                    durable: false,
                    metrics: metrics[usize::from(shard)].clone(),
                };
                configure(&mut config);
                Router::new(config)
            })
            .collect();
        let count = usize::from(shards);
        let mut net = Self {
            now: Now {
                instant: Instant::from_nanos(1_000_000_000),
                unix_ms: 1_000_000,
            },
            routers,
            ports: (0..count).map(|_| FakePort::default()).collect(),
            metrics,
            rings: (0..count)
                .map(|_| (0..count).map(|_| VecDeque::new()).collect())
                .collect(),
            ring_parcels: 1_024,
            delay_us: 1..50,
            ends_leave: true,
            rng,
            free: vec![Vec::new(); count],
            next_slot: vec![0; count],
            names: HashMap::new(),
            holders: HashMap::new(),
            parcels: 0,
            next_shard: 0,
        };
        net.app("etest", AppPolicy::default());
        net
    }

    pub(crate) fn shards(&self) -> u16 {
        u16::try_from(self.routers.len()).unwrap()
    }

    pub(crate) fn app(&mut self, name: &str, policy: AppPolicy) {
        self.apply(&Change::App {
            name: name.into(),
            policy,
        });
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        for (router, port) in self.routers.iter_mut().zip(&mut self.ports) {
            router.apply(self.now, port, change);
        }
    }

    /// Calls one shard's router.
    pub(crate) fn on<R>(&mut self, shard: u16, call: impl FnOnce(&mut Router, Now, &mut FakePort) -> R) -> R {
        let shard = usize::from(shard);
        call(&mut self.routers[shard], self.now, &mut self.ports[shard])
    }

    /// A key for the next session of a shard: slots are used again.
    fn key(&mut self, shard: u16) -> SessionKey {
        let at = usize::from(shard);
        self.free[at].pop().unwrap_or_else(|| {
            self.next_slot[at] += 1;
            SessionKey {
                slot: self.next_slot[at] - 1,
                generation: 0,
            }
        })
    }

    /// Lets a session join without waiting for its address.
    pub(crate) fn begin_join(&mut self, shard: u16, account: &str, resource: &str, grants: Grants) -> Block {
        self.join(shard, account, resource, grants, false)
    }

    /// The same for one that takes no part in a fight for its address.
    pub(crate) fn begin_join_damped(
        &mut self,
        shard: u16,
        account: &str,
        resource: &str,
        grants: Grants,
    ) -> Block {
        self.join(shard, account, resource, grants, true)
    }

    fn join(&mut self, shard: u16, account: &str, resource: &str, grants: Grants, damped: bool) -> Block {
        let key = self.key(shard);
        let identity = Identity::new(&Account::parse(account).unwrap(), resource).unwrap();
        let block = Block { shard, key };
        self.ports[usize::from(shard)].live.insert(key, VecDeque::new());
        self.names.insert(block, identity.sender().address().into());
        self.on(shard, |router, now, port| {
            router.join(now, port, key, identity, grants, damped);
        });
        block
    }

    /// Where the next block lives that is made without naming a shard.
    pub(crate) fn next_shard_is(&mut self, shard: u16) {
        self.next_shard = shard;
    }

    /// A block on the next shard, attached.
    pub(crate) fn block(&mut self, account: &str, resource: &str) -> Block {
        self.block_with(account, resource, Vec::new())
    }

    pub(crate) fn block_with(&mut self, account: &str, resource: &str, services: Vec<Service>) -> Block {
        let shard = self.next_shard % self.shards();
        self.next_shard += 1;
        self.block_on(shard, account, resource, services)
    }

    pub(crate) fn block_on(
        &mut self,
        shard: u16,
        account: &str,
        resource: &str,
        services: Vec<Service>,
    ) -> Block {
        let grants = Grants {
            credential: CredentialId(7),
            services,
            expires_unix_ms: None,
            announced: false,
        };
        let block = self.begin_join(shard, account, resource, grants);
        self.run();
        assert_eq!(self.got(block), [Got::Notice(Notice::Attached)]);
        block
    }

    /// A worker of `etest` for `cmd`. Its user may call the app as well.
    pub(crate) fn worker(&mut self, account: &str, resource: &str, cmd: &str) -> Block {
        let worker = self.block_with(account, resource, vec![service("etest")]);
        assert_eq!(self.listen(worker, cmd), Ok(Qos::AtMostOnce));
        self.run();
        worker
    }

    /// A block of app `web` that may call `etest`.
    pub(crate) fn caller(&mut self, n: u32) -> Block {
        self.block_with(&account("web", n, "user"), "page", vec![service("etest")])
    }

    pub(crate) fn leave(&mut self, block: Block) {
        self.check();
        self.on(block.shard, |router, now, port| {
            router.leave(now, port, block.key);
        });
        let shard = usize::from(block.shard);
        if self.ports[shard].live.remove(&block.key).is_some() {
            if let Some(name) = self.names.remove(&block)
                && self.holders.get(&name) == Some(&block)
            {
                self.holders.remove(&name);
            }
            self.ports[shard].failing.remove(&block.key);
            self.free[shard].push(SessionKey {
                slot: block.key.slot,
                generation: block.key.generation + 1,
            });
        }
    }

    pub(crate) fn is_live(&self, block: Block) -> bool {
        self.ports[usize::from(block.shard)].live.contains_key(&block.key)
    }

    pub(crate) fn register(&mut self, block: Block, wanted: &Registration<'_>) -> Result<Qos, Refusal> {
        self.on(block.shard, |router, now, port| {
            router.register(now, port, block.key, wanted)
        })
    }

    pub(crate) fn unregister(&mut self, block: Block, unwanted: &Unregistration<'_>) -> bool {
        self.on(block.shard, |router, now, port| {
            router.unregister(now, port, block.key, unwanted).unwrap()
        })
    }

    pub(crate) fn listen(&mut self, block: Block, cmd: &str) -> Result<Qos, Refusal> {
        let options = SubscriptionOptions::default();
        self.register(block, &Registration::Listen { cmd, options })
    }

    pub(crate) fn listen_direct(&mut self, block: Block) {
        let options = SubscriptionOptions::default();
        self.register(block, &Registration::Direct { options }).unwrap();
        self.run();
    }

    pub(crate) fn subscribe(&mut self, block: Block, filter: &str) -> Result<Qos, Refusal> {
        self.subscribe_with(
            block,
            filter,
            SenderPattern::default(),
            SubscriptionOptions::default(),
        )
    }

    pub(crate) fn subscribe_without_waiting(&mut self, block: Block, filter: &str) {
        let (from, options) = (SenderPattern::default(), SubscriptionOptions::default());
        self.register(
            block,
            &Registration::Channel {
                filter,
                from,
                options,
            },
        )
        .unwrap();
    }

    pub(crate) fn subscribe_with(
        &mut self,
        block: Block,
        filter: &str,
        from: SenderPattern<'_>,
        options: SubscriptionOptions,
    ) -> Result<Qos, Refusal> {
        let granted = self.register(
            block,
            &Registration::Channel {
                filter,
                from,
                options,
            },
        );
        self.run();
        granted
    }

    pub(crate) fn publish(&mut self, block: Block, channel: &str, payload: &str) -> Result<Reach, Refusal> {
        self.publish_at(block, channel, payload, Qos::AtMostOnce)
    }

    pub(crate) fn publish_at(
        &mut self,
        block: Block,
        channel: &str,
        payload: &str,
        qos: Qos,
    ) -> Result<Reach, Refusal> {
        let message = message(channel, payload, qos);
        self.on(block.shard, |router, now, port| {
            let ended = router.publish(now, port, block.key, &message, None, Lasting::default());
            ended.expect("without a ticket there is nothing to wait for")
        })
    }

    pub(crate) fn request(&mut self, block: Block, request: &ApiRequest<'_>) {
        self.on(block.shard, |router, now, port| {
            router.request(now, port, block.key, request);
        });
    }

    pub(crate) fn answer(&mut self, block: Block, token: Token, body: &str) {
        self.answer_with(block, token, body, None);
    }

    pub(crate) fn answer_with(&mut self, block: Block, token: Token, body: &str, failure: Option<i32>) {
        let answer = Answer {
            token,
            body: body.as_bytes(),
            failure,
            qos: Qos::AtMostOnce,
        };
        self.on(block.shard, |router, now, port| {
            router.answer(now, port, block.key, &answer);
        });
    }

    /// Sends a Direct message and waits for its end.
    pub(crate) fn direct(&mut self, block: Block, direct: &Direct<'_>) -> DirectOutcome {
        let ticket = Ticket(77);
        let outcome = self.on(block.shard, |router, now, port| {
            router.direct(now, port, block.key, direct, Some(ticket))
        });
        self.run();
        let queue = self.ports[usize::from(block.shard)]
            .live
            .get_mut(&block.key)
            .unwrap();
        let is_end = |got: &Got| matches!(got, Got::Notice(Notice::Completed(..)));
        let told = queue.iter().position(is_end).and_then(|at| queue.remove(at));
        match (outcome, told) {
            (Some(outcome), None) => outcome,
            (None, Some(Got::Notice(Notice::Completed(for_ticket, Completion::Direct(outcome))))) => {
                assert_eq!(for_ticket, ticket);
                outcome
            }
            other => panic!("not exactly one end: {other:?}"),
        }
    }

    /// What reached a block since the last look.
    pub(crate) fn got(&mut self, block: Block) -> Vec<Got> {
        let queue = self.ports[usize::from(block.shard)].live.get_mut(&block.key);
        queue.map(std::mem::take).unwrap_or_default().into()
    }

    /// The only thing that reached a block since the last look.
    pub(crate) fn got_one(&mut self, block: Block) -> Got {
        let mut got = self.got(block);
        assert_eq!(got.len(), 1, "{got:?}");
        got.remove(0)
    }

    /// Messages dropped on all shards.
    pub(crate) fn drops(&self, stage: Stage, reason: DropReason) -> u64 {
        self.metrics
            .iter()
            .map(|metrics| metrics.drops(stage, reason))
            .sum()
    }

    /// Requests that ended so on all shards.
    pub(crate) fn outcomes(&self, outcome: ApiOutcome) -> u64 {
        self.metrics.iter().map(|metrics| metrics.outcomes(outcome)).sum()
    }

    /// Timers that are armed.
    pub(crate) fn timers(&self) -> usize {
        self.ports.iter().map(|port| port.timers.len()).sum()
    }
}
