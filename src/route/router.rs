//! One shard's router: what it keeps, and the life of a session in it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ahash::RandomState;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use super::addresses::Addresses;
use super::asked::Asked;
use super::awaited::Awaited;
use super::channels::interest::{Interest, ShardSet};
use super::channels::subscriptions::Subscriptions;
use super::conflicts::Conflicts;
use super::direct::DirectIndex;
use super::directory::Directory;
use super::entitlement::Entitlement;
use super::hashes::{AddressKey, Local, Placement};
use super::identity::{Identity, Sender};
use super::kept::KeptCounts;
use super::leavings::Leavings;
use super::letter::Letter;
use super::mesh::Mesh;
use super::message::{SessionId, SessionKey, Token};
use super::parcel::Parcel;
use super::port::Port;
use super::requests::Requests;
use super::restored::Restore;
use super::retained::{Scans, Store};
use super::revocation::Sweep;
use super::rights::{CredentialId, Grants};
use super::rooms::{Homes, Locals as Rooms};
use super::sessions::{Entry, Sessions, State, Worker};
use super::shared::{Groups, Memberships};
use super::system::System;
use crate::journal::Journal;
use crate::limits;
use crate::observe::ShardMetrics;
use crate::time::{Instant, Now};

/// Who may subscribe to a filter whose first level is a wildcard (PROTOCOL 2.3, Privacy).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RootWildcard {
    /// Operators.
    #[default]
    Operators,
    /// Everybody.
    All,
}

/// Bounds that are not the same for everyone; the defaults are those of [`crate::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterLimits {
    /// See [`limits::REQUESTS_PER_BLOCK_MAX`].
    pub requests_per_block_max: usize,
    /// See [`limits::REQUESTS_PER_WORKER_MAX`].
    pub requests_per_worker_max: usize,
    /// See [`limits::REQUESTS_PER_SHARD_MAX`].
    pub requests_per_shard_max: usize,
    /// See [`limits::RETAINED_MAX`].
    pub retained_max: usize,
    /// See [`limits::RETAINED_BYTES_MAX`].
    pub retained_bytes_max: usize,
    /// See [`limits::RETAINED_PER_ACCOUNT_MAX`]; 0 is as many as there may be at all.
    pub retained_per_account_max: usize,
    /// See [`limits::RETAINED_BYTES_PER_ACCOUNT_MAX`]; 0 is as many as there may be at all.
    pub retained_bytes_per_account_max: usize,
    /// See [`limits::SUBSCRIPTIONS_PER_BLOCK_MAX`].
    pub subscriptions_per_block_max: usize,
    /// See [`limits::SUBSCRIPTION_BYTES_MAX`]; of this shard alone.
    pub subscription_bytes_max: usize,
    /// At most [`limits::CHANNEL_LEVELS_MAX`].
    pub channel_levels_max: usize,
    /// See [`limits::KEPT_SESSIONS_MAX`].
    pub kept_sessions_max: usize,
    /// See [`limits::KEPT_SESSIONS_PER_ACCOUNT_MAX`]; 0 is as many as there may be at all.
    pub kept_sessions_per_account_max: usize,
    /// See [`limits::ROOM_PRESENCE_MAX`].
    pub room_presence_max: usize,
    /// See [`limits::XMPP_REJOIN_S`]; 0: nothing is remembered.
    pub rejoin_s: u32,
}

impl Default for RouterLimits {
    fn default() -> Self {
        Self {
            requests_per_block_max: limits::REQUESTS_PER_BLOCK_MAX,
            requests_per_worker_max: limits::REQUESTS_PER_WORKER_MAX,
            requests_per_shard_max: limits::REQUESTS_PER_SHARD_MAX,
            retained_max: limits::RETAINED_MAX,
            retained_bytes_max: limits::RETAINED_BYTES_MAX,
            retained_per_account_max: limits::RETAINED_PER_ACCOUNT_MAX,
            retained_bytes_per_account_max: limits::RETAINED_BYTES_PER_ACCOUNT_MAX,
            subscriptions_per_block_max: limits::SUBSCRIPTIONS_PER_BLOCK_MAX,
            subscription_bytes_max: limits::SUBSCRIPTION_BYTES_MAX,
            channel_levels_max: limits::CHANNEL_LEVELS_MAX,
            kept_sessions_max: limits::KEPT_SESSIONS_MAX,
            kept_sessions_per_account_max: limits::KEPT_SESSIONS_PER_ACCOUNT_MAX,
            room_presence_max: limits::ROOM_PRESENCE_MAX,
            rejoin_s: limits::XMPP_REJOIN_S,
        }
    }
}

/// What a router is made with.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// This shard, from 0.
    pub shard: u16,
    /// All shards, 1..=[`limits::SHARDS_MAX`].
    pub shards: u16,
    /// Secret and random, another on each shard: tokens, choices and the seeds of tables come from it.
    pub seed: [u8; 32],
    /// Secret and random, the same on all shards: says which shard is whose home.
    pub placement_seed: u64,
    /// The domain of the addresses that `find` gives.
    pub domain: Box<str>,
    /// See [`RootWildcard`].
    pub root_wildcard: RootWildcard,
    /// Bounds.
    pub limits: RouterLimits,
    /// Whether what has to outlive the daemon is written down, for [`Router::take_journal`].
    pub durable: bool,
    /// Where everything is counted.
    pub metrics: Arc<ShardMetrics>,
}

impl RouterConfig {
    /// The shard that an address, `<account>/<resource>`, is at home on.
    pub fn homes(&self) -> impl Fn(&str) -> u16 {
        let placement = Placement::new(self.placement_seed, self.shards);
        move |address| placement.home(placement.address(address).hash())
    }
}

/// Routes the messages of one shard's sessions. Does no I/O and reads no clock: time, parcels of the other
/// shards and the shard's own side ([`Port`]) come in as arguments.
#[derive(Debug)]
pub struct Router {
    pub(super) shard: u16,
    pub(super) domain: Box<str>,
    pub(super) root_wildcard: RootWildcard,
    pub(super) limits: RouterLimits,
    pub(super) metrics: Arc<ShardMetrics>,
    pub(super) rng: StdRng,
    pub(super) placement: Placement,
    pub(super) mesh: Mesh,

    pub(super) sessions: Sessions,
    pub(super) entitlement: Entitlement,
    /// Revocations that have not yet looked at all sessions.
    pub(super) sweeps: VecDeque<Sweep>,
    /// Addresses at home here.
    pub(super) addresses: Addresses,
    pub(super) conflicts: Conflicts,
    /// Sessions of other shards that hold an address at home here, and have no connection just now.
    pub(super) away: HashMap<AddressKey, SessionId, RandomState>,

    pub(super) subscriptions: Subscriptions,
    pub(super) interest: Interest,
    /// Shares of this shard's sessions.
    pub(super) memberships: Memberships,
    /// Groups at home here.
    pub(super) groups: Groups,
    /// Messages whose acknowledgement waits.
    pub(super) awaited: Awaited,
    /// Whether the other shards know that sessions here outlive their connections, and which of them have said so.
    pub(super) keeps: bool,
    pub(super) keeping: ShardSet,
    pub(super) system: System,

    /// This shard's replica of the retained messages.
    pub(super) retained: Store,
    /// The latest version of one that is known here.
    pub(super) retained_nanos: u64,
    pub(super) scans: Scans,
    pub(super) durable: bool,
    /// What changed of what has to outlive the daemon.
    pub(super) journal: Journal,

    /// The rooms that sessions of this shard are in, and those at home here.
    pub(super) rooms: Rooms,
    pub(super) room_homes: Homes,
    /// What ended blocks have left behind for their next session.
    pub(super) leavings: Leavings,

    pub(super) directory: Directory,
    pub(super) requests: Requests,
    pub(super) asked: Asked,
    /// Local workers whose load the other shards have to be told.
    pub(super) stale_loads: Vec<SessionKey>,
    /// Where `find` begins.
    pub(super) rotation: usize,
    pub(super) draining: bool,
    /// Workers that lost their connection, oldest first, and until when what they were asked waits for them.
    pub(super) suspended: VecDeque<(Instant, SessionKey)>,
    /// Sessions that outlive their connections, on all shards.
    pub(super) kept: KeptCounts,

    /// How far all shards are with what was kept over a restart.
    pub(super) restore: Restore,

    /// Who takes Direct messages under the names at home here.
    pub(super) direct_index: DirectIndex,

    /// Room for an address while its session is being changed.
    address_scratch: String,
    /// Room for a body that the daemon writes.
    pub(super) body_scratch: Vec<u8>,
}

impl Router {
    /// A router without sessions.
    pub fn new(config: RouterConfig) -> Self {
        debug_assert!(config.shard < config.shards && usize::from(config.shards) <= limits::SHARDS_MAX);
        let mut rng = StdRng::from_seed(config.seed);
        let mut local = || Local::new(std::array::from_fn(|_| rng.next_u64()));
        let placement = Placement::new(config.placement_seed, config.shards);
        let maps = local().state();
        Self {
            shard: config.shard,
            domain: config.domain,
            root_wildcard: config.root_wildcard,
            limits: config.limits,
            metrics: config.metrics,
            mesh: Mesh::new(config.shard, config.shards),
            sessions: Sessions::new(),
            entitlement: Entitlement::new(maps.clone()),
            sweeps: VecDeque::new(),
            addresses: Addresses::new(maps.clone()),
            conflicts: Conflicts::new(maps.clone()),
            away: HashMap::with_hasher(maps.clone()),
            subscriptions: Subscriptions::new(
                placement.clone(),
                local(),
                config.limits.subscriptions_per_block_max,
                config.limits.subscription_bytes_max,
            ),
            interest: Interest::new(local()),
            memberships: Memberships::new(maps.clone()),
            groups: Groups::new(maps.clone()),
            awaited: Awaited::default(),
            keeps: false,
            keeping: ShardSet::default(),
            system: System::default(),
            retained: Store::default(),
            retained_nanos: 0,
            scans: Scans::default(),
            durable: config.durable,
            journal: Journal::new(),
            rooms: Rooms::new(maps.clone()),
            leavings: Leavings::new(maps.clone()),
            room_homes: Homes::new(maps.clone(), limits::ROOM_OCCUPANT_BYTES_MAX),
            directory: Directory::new(local()),
            requests: Requests::new(local()),
            asked: Asked::new(),
            stale_loads: Vec::new(),
            rotation: 0,
            draining: false,
            suspended: VecDeque::new(),
            kept: KeptCounts::new(maps),
            restore: Restore::default(),
            direct_index: DirectIndex::default(),
            address_scratch: String::new(),
            body_scratch: Vec::new(),
            placement,
            rng,
        }
    }

    /// Takes rules that an operator changed; what was granted before stays.
    pub fn reconfigure(&mut self, root_wildcard: RootWildcard, limits: RouterLimits) {
        self.root_wildcard = root_wildcard;
        self.limits = limits;
        self.subscriptions.per_block_max = limits.subscriptions_per_block_max;
        self.subscriptions.footprint.bytes_max = limits.subscription_bytes_max;
    }

    /// Takes a session in whose login succeeded, and claims its address. [`super::Notice::Attached`] follows as
    /// soon as the address is its own, or [`super::Notice::Displaced`] if a newer session of the same account
    /// was preferred meanwhile. A newcomer that is `damped` does not take part in a fight for an address: after some
    /// take-overs it gets [`super::Notice::Refused`]. `key` must not be in use.
    pub fn join(
        &mut self,
        now: Now,
        port: &mut impl Port,
        key: SessionKey,
        identity: Identity,
        grants: Grants,
        damped: bool,
    ) {
        let uid = identity.sender().uid();
        let address = self.placement.address(identity.sender().address());
        if !self
            .sessions
            .insert(key, identity, grants.credential, now.instant)
        {
            debug_assert!(false, "a session joined under a key that is in use");
            return;
        }
        self.entitlement.enter(uid, grants.services);
        if grants.announced {
            self.announce(key);
        }
        let home = self.placement.home(address.hash());
        if home == self.shard {
            self.claim(now, port, address, self.id(key), damped);
        } else {
            self.mesh.write(home, |_| Letter::Claim {
                address,
                session: key,
                damped,
            });
        }
    }

    /// A session was proven anew: it ends with this secret from now on, and no more with the one it came in by.
    pub fn renew(&mut self, key: SessionKey, credential: CredentialId) {
        if let Some(entry) = self.sessions.get_mut(key) {
            entry.credential = credential;
        }
    }

    /// Forgets a session: its registrations, its requests, and its address. Requests it was asked and has not
    /// answered end as -2001. Idempotent.
    pub fn leave(&mut self, now: Now, port: &mut impl Port, key: SessionKey) {
        let Some(entry) = self.sessions.get(key) else {
            return;
        };
        let address = self.placement.address(entry.identity.sender().address());
        let uid = entry.identity.sender().uid();
        let is_offline = entry.state == State::Suspended;
        if entry.state == State::Attached {
            self.metrics.sessions.decrement();
        }
        self.leave_rooms(port, key);
        self.leave_channels(key);
        self.leave_shares(key);
        self.leave_direct(key);
        self.leave_requests(port, key);
        self.leave_work(now, port, key);
        if is_offline {
            self.metrics.sessions_offline.decrement();
        } else {
            self.entitlement.leave(uid);
        }
        let home = self.placement.home(address.hash());
        if home == self.shard {
            self.release(port, address, self.id(key));
        } else {
            self.mesh.write(home, |_| Letter::Release {
                address,
                session: key,
            });
        }
        let removed = self.sessions.remove(key);
        let worker = removed.as_ref().and_then(Entry::worker);
        self.subscriptions
            .footprint
            .free(worker.map_or(0, Worker::listener_bytes));
    }

    /// The same of a session that was kept, whose end has been written down: until that lasts nobody is given its address.
    pub fn leave_for_good(&mut self, now: Now, port: &mut impl Port, key: SessionKey) {
        if let Some(entry) = self.sessions.get(key) {
            let address = self.placement.address(entry.identity.sender().address());
            self.addresses.ends(address);
            port.hold_address(address);
        }
        self.leave(now, port, key);
    }

    /// Who a session is, from `join` to `leave`.
    pub fn identity(&self, key: SessionKey) -> Option<&Identity> {
        self.sessions.get(key).map(|entry| &entry.identity)
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.mesh.shards()
    }

    /// Whether the session has its address.
    pub fn is_attached(&self, key: SessionKey) -> bool {
        self.sessions.attached(key).is_some()
    }

    /// Called about every 10 ms: tells the other shards what the workers here have to do, and goes on with
    /// revocations and with retained messages.
    pub fn tick(&mut self, now: Now, port: &mut impl Port) {
        let bytes = self.subscriptions.footprint.bytes();
        self.metrics.subscription_bytes.set(bytes as u64);
        self.count_occupants();
        self.leavings.forget_old(now.instant);
        self.metrics.left_behind.set(self.leavings.len() as u64);
        self.tell_loads();
        self.confirm_members();
        self.give_up_suspended(now, port);
        self.sweep(port);
        self.sweep_retained(now);
        self.continue_scans(now, port);
    }

    /// The daemon stops: the workers of this shard are offered to nobody any more. Requests in flight go on.
    pub fn drain(&mut self, _now: Now, _port: &mut impl Port) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        for (key, entry) in self.sessions.in_slots(0..self.sessions.end()) {
            if entry.worker().is_some() && entry.state == State::Attached {
                let id = SessionId {
                    shard: self.shard,
                    key,
                };
                self.directory.down(id);
                self.mesh.broadcast(|_| Letter::WorkerDown { worker: key });
            }
        }
    }

    /// The parcel filled for shard `to` since the last call, if there is anything in it. What does not fit into
    /// the mesh comes back through [`Self::keep`].
    pub fn outgoing(&mut self, to: u16) -> Option<Parcel> {
        self.mesh.outgoing(to)
    }

    /// Takes back a parcel that [`Self::outgoing`] gave and the mesh did not take; more letters are appended
    /// to it.
    pub fn keep(&mut self, to: u16, parcel: Parcel) {
        self.mesh.keep(to, parcel);
    }

    /// Takes a parcel whose letters have been read, for use again.
    pub fn recycle(&mut self, parcel: Parcel) {
        self.mesh.recycle(parcel);
    }

    /// A session of this shard, as the other shards name it.
    pub(super) const fn id(&self, key: SessionKey) -> SessionId {
        SessionId {
            shard: self.shard,
            key,
        }
    }

    /// 128 random bits.
    pub(super) fn token(&mut self) -> Token {
        Token(u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64()))
    }

    /// Calls `with` with the sender that `key` is, if it is attached. The sender is a copy, so that the
    /// sessions may change meanwhile.
    pub(super) fn with_sender<R>(
        &mut self,
        key: SessionKey,
        with: impl FnOnce(&mut Self, &Sender<'_>) -> R,
    ) -> Option<R> {
        let sender = self.sessions.attached(key)?.identity.sender();
        let (app_len, role) = (sender.app_len(), sender.role());
        let mut address = std::mem::take(&mut self.address_scratch);
        address.clear();
        address.push_str(sender.address());
        let result = with(self, &Sender::restore(&address, app_len, role));
        self.address_scratch = address;
        Some(result)
    }

    /// A local session that has its address, and the bundle of what few need.
    pub(super) fn attached_entry(&mut self, key: SessionKey) -> Option<&mut Entry> {
        self.sessions.attached_mut(key)
    }
}
