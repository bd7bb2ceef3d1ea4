//! Several hubs as one daemon that crashes: parcels and batches travel in any order that they may, what is not committed
//! is lost, and the MQTT clients remember what clients remember.

use std::collections::VecDeque;
use std::rc::Rc;

use rand::Rng;

use super::cluster_client::{Client, Login};
use super::*;
use crate::codec::mqtt::packet::PacketId;
use crate::session::any::{AnySession, Opening};
use crate::session::{Passwords, Starts, mqtt, xmpp};

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// One shard.
struct Place {
    hub: Hub<u32, Rc<Vec<u8>>, AnySession>,
    machine: Machine,
    config: RouterConfig,
    opening: Opening,
}

/// A daemon and its clients.
pub(super) struct Cluster {
    places: Vec<Place>,
    pub(super) clients: Vec<Client>,
    pub(super) random: StdRng,
    rows: Rows,
    /// Batches on their way to the disk, of all shards in one order.
    queue: VecDeque<(usize, u64, Journal)>,
    /// Parcels on their way, by the shards they come from and go to.
    paths: BTreeMap<(usize, usize), VecDeque<Parcel>>,
    /// Batches wait long for the disk: more is said before they last.
    is_disk_slow: bool,
    /// Of so many batches there is no room for one: it stays with its shard until a later turn.
    pub(super) no_room: f64,
    now: Now,
    next_conn: u32,
}

impl Cluster {
    pub(super) fn new(shards: usize, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut cluster = Self {
            places: Vec::new(),
            clients: Vec::new(),
            is_disk_slow: random.random_bool(0.5),
            random,
            no_room: 0.0,
            rows: Rows::new(),
            queue: VecDeque::new(),
            paths: BTreeMap::new(),
            now: Now {
                instant: Instant::from_nanos(1_000_000_000),
                unix_ms: 1_700_000_000_000,
            },
            next_conn: 0,
        };
        cluster.start(shards);
        cluster
    }

    /// A client; its place among the others.
    pub(super) fn client(&mut self, login: Login) -> usize {
        self.clients.push(Client::new(self.clients.len(), login));
        self.clients.len() - 1
    }

    fn place(&mut self, shard: usize, shards: usize, placement_seed: u64) -> Place {
        let metrics: Arc<ShardMetrics> = Arc::default();
        let seed = self.random.random();
        let config = RouterConfig {
            shard: u16::try_from(shard).unwrap(),
            shards: u16::try_from(shards).unwrap(),
            seed,
            placement_seed,
            domain: "nexus.example".into(),
            root_wildcard: RootWildcard::Operators,
            limits: RouterLimits::default(),
            durable: true,
            metrics: Arc::clone(&metrics),
        };
        let settings = mqtt::Settings {
            metrics: Arc::clone(&metrics),
            ..Default::default()
        };
        let opening = Opening {
            mqtt: Arc::new(settings),
            xmpp: Arc::new(xmpp::Settings::new(vec!["nexus.example".into()], seed, metrics)),
            passwords: Passwords::Taken,
            certified: None,
        };
        Place {
            hub: Hub::new(config.clone()),
            machine: Machine::default(),
            config,
            opening,
        }
    }

    /// The daemon starts, on what is on the disk.
    fn start(&mut self, shards: usize) {
        let placement_seed = self.random.random();
        self.places = (0..shards)
            .map(|shard| self.place(shard, shards, placement_seed))
            .collect();
        let rows = self.rows.clone();
        let of = |table: Table| rows.iter().filter(move |((of, _), _)| *of == table);
        let number = |key: &[u8]| u64::from_be_bytes(key[..8].try_into().unwrap());
        let last = rows.keys().filter(|(table, _)| *table != Table::Retained);
        let last = last.map(|(_, key)| number(key)).max().unwrap_or(0);
        for place in &mut self.places {
            for ((_, channel), row) in of(Table::Retained) {
                let message = Retained::decode(self.now, channel, row).unwrap();
                place.hub.restore_retained(message);
            }
            for ((_, key), value) in of(Table::Inbound).filter(|((_, key), _)| key.len() > 10) {
                assert!(place.hub.restore_received(number(key), &key[8..], value));
            }
            place.hub.numbered_up_to(last);
        }
        let mut starts = Starts::default();
        for ((_, key), row) in of(Table::Sessions) {
            if number(key) == Starts::NUMBER {
                starts = Starts::read(row).unwrap();
            }
        }
        starts.begin(self.now.unix_ms);
        self.places[0].hub.write_starts(&starts);
        for ((_, key), row) in of(Table::Sessions).filter(|((_, key), _)| number(key) != Starts::NUMBER) {
            let own = |table| of(table).filter(|((_, other), _)| other[..8] == key[..8]);
            let stored = Stored {
                number: number(key),
                row: row[..].into(),
                registrations: own(Table::Registrations)
                    .map(|((_, key), value)| (key[8..].into(), value[..].into()))
                    .collect(),
            };
            let messages = own(Table::Outbound)
                .map(|((_, key), value)| (u64::from_be_bytes(key[8..].try_into().unwrap()), &value[..]));
            let exchanges =
                own(Table::Inbound)
                    .filter(|((_, key), _)| key.len() == 10)
                    .map(|((_, key), value)| {
                        let id = u16::from_be_bytes(key[8..].try_into().unwrap());
                        (PacketId::new(id).unwrap(), !value.is_empty())
                    });
            let (state, damaged) = mqtt::MessageState::restore(stored.number, self.now, messages, exchanges);
            let home = self.places[0].config.homes()(stored.address().unwrap());
            let Place {
                hub,
                machine,
                opening,
                ..
            } = &mut self.places[usize::from(home)];
            let revive =
                |described: &[u8]| AnySession::restored(opening, self.now, &starts, described, state);
            let unread = hub.restore(machine, self.now, &stored, revive);
            assert_eq!((damaged, unread), (0, Some(0)));
        }
        for place in &mut self.places {
            place.hub.restored(&mut place.machine, self.now);
        }
    }

    /// The daemon is killed, and comes back.
    pub(super) fn crash(&mut self) {
        let shards = self.places.len();
        self.queue.clear();
        self.paths.clear();
        for client in &mut self.clients {
            client.lost();
        }
        self.start(shards);
        // Nobody is let in before all know each other.
        while !self.places.iter().all(|place| place.hub.is_restored()) {
            for shard in 0..shards {
                self.flush(shard, true);
            }
            while self.carry() {}
        }
    }

    /// The clock goes on; nothing happens meanwhile.
    pub(super) fn pass(&mut self, seconds: u64) {
        self.now.instant = self.now.instant + Duration::from_secs(seconds);
        self.now.unix_ms += 1_000 * seconds;
    }

    /// What happened on a shard leaves it: first what has to last, unless there is no room for it, then what others are
    /// told.
    fn flush(&mut self, shard: usize, has_room: bool) -> bool {
        let hub = &mut self.places[shard].hub;
        let mut any = false;
        if let Some((number, journal)) = hub.take_batch() {
            if has_room {
                self.queue.push_back((shard, number, journal));
            } else {
                hub.keep_batch(number, journal);
            }
            any = true;
        }
        for to in 0..self.places.len() {
            if let Some(parcel) = self.places[shard].hub.outgoing(u16::try_from(to).unwrap()) {
                self.paths.entry((shard, to)).or_default().push_back(parcel);
                any = true;
            }
        }
        any
    }

    /// A parcel arrives, of any two shards.
    fn carry(&mut self) -> bool {
        let full: Vec<_> = self
            .paths
            .iter()
            .filter(|(_, parcels)| !parcels.is_empty())
            .map(|(path, _)| *path)
            .collect();
        if full.is_empty() {
            return false;
        }
        let (from, to) = full[self.random.random_range(0..full.len())];
        let mut parcel = self.paths.get_mut(&(from, to)).unwrap().pop_front().unwrap();
        let place = &mut self.places[to];
        let from = u16::try_from(from).unwrap();
        place.hub.parcel(&mut place.machine, self.now, from, &mut parcel);
        true
    }

    /// The next batch is on the disk.
    fn commit(&mut self) -> bool {
        let Some((shard, number, journal)) = self.queue.pop_front() else {
            return false;
        };
        for change in journal.iter() {
            match change {
                Written::Put { table, key, value } => {
                    self.rows.insert((table, key.to_vec()), value.to_vec());
                }
                Written::Delete { table, key } => drop(self.rows.remove(&(table, key.to_vec()))),
                Written::DeleteAll { table, prefix } => self
                    .rows
                    .retain(|(of, key), _| *of != table || !key.starts_with(prefix)),
            }
        }
        let place = &mut self.places[shard];
        place.hub.committed(&mut place.machine, self.now, number);
        true
    }

    /// A client's connection is opened, at the shard that its address is at home on.
    pub(super) fn connect(&mut self, client: usize) {
        let home = self.places[0].config.homes()(&self.clients[client].address());
        self.connect_at(client, usize::from(home));
    }

    /// The same at any shard, for one whose session ends with its connection.
    pub(super) fn connect_anywhere(&mut self, client: usize) {
        let shard = self.random.random_range(0..self.places.len());
        self.connect_at(client, shard);
    }

    fn connect_at(&mut self, client: usize, shard: usize) {
        let who = &mut self.clients[client];
        let conn = self.next_conn;
        self.next_conn += 1;
        let place = &mut self.places[shard];
        place.machine.wires.insert(conn, Wire::default());
        let session = AnySession::mqtt(&place.opening, self.now);
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let slot = place.hub.open(&mut place.machine, conn, peer, session).unwrap();
        place.machine.slots.insert(conn, slot);
        who.connects(shard, conn);
    }

    /// A client's connection breaks.
    pub(super) fn break_off(&mut self, client: usize) {
        if let Some((shard, conn)) = self.clients[client].connection() {
            let place = &mut self.places[shard];
            let slot = place.machine.slots[&conn];
            place.hub.closed(&mut place.machine, self.now, slot, conn);
            place.machine.wires.remove(&conn);
            self.clients[client].lost();
        }
    }

    /// A client reads what has come, and says what it has to say.
    fn talk(&mut self, client: usize) -> bool {
        let Some((shard, conn)) = self.clients[client].connection() else {
            return false;
        };
        let place = &mut self.places[shard];
        let wire = place.machine.wires.get_mut(&conn).unwrap();
        let (sent, is_closed) = (std::mem::take(&mut wire.sent), wire.closed);
        let mut any = !sent.is_empty();
        self.clients[client].hear(&sent);
        if is_closed {
            self.break_off(client);
            return true;
        }
        let mut bytes = self.clients[client].says();
        let slot = place.machine.slots[&conn];
        let progress = place
            .hub
            .receive(&mut place.machine, self.now, slot, conn, &mut bytes);
        any |= progress.used > 0;
        self.clients[client].said(progress.used);
        while !place.machine.logins.is_empty() {
            let request = place.machine.logins.remove(0);
            let verdict = LoginVerdict {
                session: request.session,
                result: Ok(Verified::from(grants())),
            };
            place.hub.verdict(&mut place.machine, self.now, verdict);
            any = true;
        }
        any
    }

    /// Something happens, whatever comes next.
    pub(super) fn step(&mut self) {
        match self.random.random_range(0..4) {
            0 => {
                let shard = self.random.random_range(0..self.places.len());
                let has_room = self.no_room == 0.0 || !self.random.random_bool(self.no_room);
                self.flush(shard, has_room);
            }
            1 => drop(self.carry()),
            2 if self.is_disk_slow && self.random.random_bool(0.8) => {}
            2 => drop(self.commit()),
            _ => {
                let client = self.random.random_range(0..self.clients.len());
                self.talk(client);
            }
        }
    }

    /// What is due by now happens.
    pub(super) fn tick(&mut self) {
        for place in &mut self.places {
            place.hub.tick(&mut place.machine, self.now);
            let due: Vec<u64> = place
                .machine
                .timers
                .iter()
                .filter(|(_, (at, _))| *at <= self.now.instant)
                .map(|(id, _)| *id)
                .collect();
            for id in due {
                if let Some((_, timer)) = place.machine.timers.remove(&id) {
                    place.hub.timer(&mut place.machine, self.now, timer);
                }
            }
        }
    }

    /// Everything happens until nothing is left, over some ticks.
    pub(super) fn settle(&mut self) {
        for _ in 0..3 {
            self.pass(1);
            self.tick();
            loop {
                let mut any = false;
                for shard in 0..self.places.len() {
                    any |= self.flush(shard, true);
                }
                while self.carry() || self.commit() {
                    any = true;
                }
                for client in 0..self.clients.len() {
                    any |= self.talk(client);
                }
                if !any {
                    break;
                }
            }
        }
    }

    /// Whether no shard is about to be told anything.
    pub(super) fn is_mesh_empty(&self) -> bool {
        self.paths.values().all(VecDeque::is_empty)
    }

    /// Rows of tables of sessions that are on the disk.
    pub(super) fn stored(&self, table: Table) -> usize {
        let is_start = |key: &[u8]| key == Starts::NUMBER.to_be_bytes();
        self.rows
            .keys()
            .filter(|(of, key)| *of == table && !is_start(key))
            .count()
    }
}
