//! The clock of the shards, and what happens as it goes on.

use super::*;

impl Net {
    /// Puts what the routers wrote into the rings, lets ended sessions leave, and delivers what has arrived.
    /// Whether anything happened.
    pub(crate) fn step(&mut self) -> bool {
        let mut happened = false;
        for shard in 0..self.shards() {
            while self.ends_leave
                && let Some(key) = self.ports[usize::from(shard)].ends.pop_front()
            {
                self.leave(Block { shard, key });
                happened = true;
            }
        }
        for from in 0..self.routers.len() {
            for to in 0..self.routers.len() {
                self.send(from, to);
                while let Some((at, _)) = self.rings[from][to].front()
                    && *at <= self.now.instant
                {
                    let Some((_, mut parcel)) = self.rings[from][to].pop_front() else {
                        break;
                    };
                    let from_shard = u16::try_from(from).unwrap();
                    self.parcels += 1;
                    self.routers[to].parcel(self.now, &mut self.ports[to], from_shard, &mut parcel);
                    assert!(parcel.is_empty());
                    self.routers[to].recycle(parcel);
                    happened = true;
                }
            }
        }
        self.check();
        happened
    }

    fn send(&mut self, from: usize, to: usize) {
        let to_shard = u16::try_from(to).unwrap();
        let Some(parcel) = self.routers[from].outgoing(to_shard) else {
            return;
        };
        assert_ne!(from, to);
        let ring = &mut self.rings[from][to];
        if ring.len() >= self.ring_parcels {
            self.routers[from].keep(to_shard, parcel);
            return;
        }
        let travel = Duration::from_micros(self.rng.random_range(self.delay_us.clone()));
        let after_others = ring.back().map_or_else(Instant::default, |(at, _)| *at);
        ring.push_back(((self.now.instant + travel).max(after_others), parcel));
    }

    /// No address is held by two sessions.
    pub(super) fn check(&mut self) {
        for shard in 0..self.shards() {
            for key in std::mem::take(&mut self.ports[usize::from(shard)].attached) {
                let block = Block { shard, key };
                let name = self.names[&block].clone();
                if let Some(other) = self.holders.insert(name, block) {
                    panic!("{} is held by {block:?} and {other:?}", self.names[&block]);
                }
            }
        }
    }

    fn next_arrival(&self) -> Option<Instant> {
        let rings = self.rings.iter().flatten();
        rings.filter_map(|ring| ring.front().map(|(at, _)| *at)).min()
    }

    fn move_to(&mut self, at: Instant) {
        let passed = at.saturating_since(self.now.instant);
        self.now.instant = self.now.instant.max(at);
        self.now.unix_ms += u64::try_from(passed.as_millis()).unwrap();
    }

    /// One step, at the time of the next arrival if there is one. Whether anything happened or is on its way.
    pub(crate) fn move_on(&mut self) -> bool {
        let happened = self.step();
        let next = self.next_arrival();
        if let Some(at) = next {
            self.move_to(at);
        }
        happened || next.is_some()
    }

    /// Moves time until nothing is on its way any more. Timers do not fire.
    pub(crate) fn run(&mut self) {
        loop {
            while self.step() {}
            match self.next_arrival() {
                Some(at) => self.move_to(at),
                None => return,
            }
        }
    }

    /// Lets time pass: parcels arrive, timers fire, ticks come.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now.instant + by;
        let mut tick = self.now.instant;
        loop {
            while self.step() {}
            let timer = self
                .ports
                .iter()
                .filter_map(|port| port.timers.keys().next())
                .map(|(at, _)| *at);
            let next = timer
                .chain(self.next_arrival())
                .chain([tick])
                .min()
                .unwrap_or(end);
            if next > end {
                break;
            }
            self.move_to(next);
            self.fire();
            if next == tick {
                self.tick();
                tick = tick + (by / 100).max(Duration::from_millis(10));
            }
        }
        self.move_to(end);
    }

    pub(crate) fn tick(&mut self) {
        for shard in 0..self.shards() {
            self.on(shard, |router, now, port| router.tick(now, port));
        }
    }

    fn fire(&mut self) {
        for shard in 0..self.shards() {
            let at = usize::from(shard);
            while let Some(entry) = self.ports[at].timers.first_entry()
                && entry.key().0 <= self.now.instant
            {
                let ((_, number), timer) = entry.remove_entry();
                self.ports[at].armed.remove(&number);
                self.on(shard, |router, now, port| router.timer(now, port, timer));
            }
        }
    }
}
