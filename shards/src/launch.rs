//! From settings to running shards, and back.
//!
//! Invariant: either all shards run or none does; each is set up on its own thread, one after the other, and
//! none begins before all are ready.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use glommio::{LocalExecutorBuilder, Placement};
use socket2::Socket;

use crate::app::App;
use crate::clock::{Clock, nanos};
use crate::config::Config;
use crate::control::{Control, Departure};
use crate::doorbell::Bell;
use crate::error::{Fault, LaunchError, panic_text};
use crate::glom;
use crate::limits;
use crate::listen;
use crate::mesh::{self, Mesh};
use crate::placement;
use crate::preflight::{Prober, ThisMachine, preflight_of};
use crate::shard::{Moving, Parts, Shard};
use crate::stats::Stats;

/// Preemption is of no use to a shard: its one task gives the executor its turns.
const PREEMPT_TIMER: Duration = Duration::from_secs(3_600);

/// Set-ups of one process come one after the other: where memory cannot be registered, the rings of an
/// executor are told by when they appeared.
#[expect(
    clippy::disallowed_types,
    reason = "held during set-up only, never by a running shard"
)]
static SETTING_UP: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Shards that run. Dropping it leaves them running.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    warnings: Vec<String>,
    stats: Vec<Arc<Stats>>,
    clock: Clock,
    control: Arc<Control>,
    threads: Vec<JoinHandle<Result<(), Fault>>>,
}

/// Asks the shards of a [`Running`] to stop.
#[derive(Clone, Debug)]
pub struct Stopper {
    clock: Clock,
    control: Arc<Control>,
}

impl Stopper {
    /// See [`Running::stop`].
    pub fn stop(&self, drain: Duration) {
        self.control
            .stop(self.clock.now_ns().saturating_add(nanos(drain)));
    }
}

impl Running {
    /// The address of each listener as bound, in the order of [`Config::listeners`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What is worse than it could be, a line each, for the log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How many shards run.
    pub fn shards(&self) -> usize {
        self.stats.len()
    }

    /// The clock of all shards.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The bell of a shard.
    ///
    /// # Panics
    /// If there is no such shard.
    #[expect(
        clippy::indexing_slicing,
        reason = "the number of a shard is the caller's to know"
    )]
    pub fn bell(&self, shard: usize) -> Bell {
        self.control.bells()[shard].clone()
    }

    /// The counters of a shard.
    ///
    /// # Panics
    /// If there is no such shard.
    #[expect(
        clippy::indexing_slicing,
        reason = "the number of a shard is the caller's to know"
    )]
    pub fn stats(&self, shard: usize) -> Arc<Stats> {
        Arc::clone(&self.stats[shard])
    }

    /// Asks all shards to stop: they close their listeners, call [`App::stopping`], and end when no connection
    /// is left or `drain` is over. Returns at once; may be called again to shorten the time.
    pub fn stop(&self, drain: Duration) {
        self.stopper().stop(drain);
    }

    /// Lets another thread ask the shards to stop while this one waits in [`Running::join`].
    pub fn stopper(&self) -> Stopper {
        Stopper {
            clock: self.clock,
            control: Arc::clone(&self.control),
        }
    }

    /// Whether all shards have left their loops.
    pub fn has_ended(&self) -> bool {
        self.control.have_all_left()
    }

    /// Waits for all shards to end. The first fault, if any.
    pub fn join(self) -> Result<(), Fault> {
        let mut outcome = Ok(());
        for (shard, thread) in self.threads.into_iter().enumerate() {
            let ended = thread.join().unwrap_or_else(|panic| {
                Err(Fault {
                    shard,
                    what: panic_text(panic.as_ref()),
                })
            });
            outcome = outcome.and(ended);
        }
        outcome
    }
}

/// Starts the shards; `make` is called once on each shard's thread with its number.
pub fn launch<A: App>(
    config: Config,
    make: impl Fn(usize) -> A + Send + Clone + 'static,
) -> Result<Running, LaunchError> {
    launch_on(&ThisMachine, config, make)
}

/// As [`launch`], on a machine that was asked through `machine`.
pub fn launch_on<A: App>(
    machine: &impl Prober,
    config: Config,
    make: impl Fn(usize) -> A + Send + Clone + 'static,
) -> Result<Running, LaunchError> {
    config.check().map_err(LaunchError::Config)?;
    let mut warnings = Vec::new();
    for finding in preflight_of(machine, &config) {
        if !finding.ok && finding.required {
            return Err(LaunchError::Machine {
                why: finding.what,
                remedy: finding.remedy,
            });
        }
        if !finding.ok {
            warnings.push(format!("{}: {}", finding.what, finding.remedy));
        }
    }
    let suspects = warnings.clone();
    let plan = placement::plan(config.shards, &placement::allowed_cores(), config.pin);
    warnings.extend(plan.warning);
    let shards = plan.cores.len();
    let bound = listen::bind(&config.listeners, shards)?;
    let mut bells = Vec::with_capacity(shards);
    for shard in 0..shards {
        let bell = Bell::new().map_err(|error| LaunchError::Shard {
            shard,
            why: error.to_string(),
        })?;
        bells.push(bell);
    }
    let control = Arc::new(Control::new(bells.clone()));
    let clock = Clock::start();
    let seats = mesh::grid(shards, config.mesh_ring_parcels)
        .into_iter()
        .zip(mesh::one_way(shards, config.hand_over_ring_connections))
        .zip(bound.sockets)
        .zip(plan.cores)
        .zip(bells)
        .enumerate()
        .map(|(shard, ((((mesh, ways), listeners), core), bell))| Seat {
            shard,
            core,
            config: config.clone(),
            mesh,
            ways,
            listeners,
            clock,
            control: Arc::clone(&control),
            bell,
            stats: Arc::new(Stats::default()),
        });
    let mut running = Running {
        addresses: bound.addresses,
        warnings,
        stats: Vec::with_capacity(shards),
        clock,
        control: Arc::clone(&control),
        threads: Vec::with_capacity(shards),
    };
    match seat_all(&mut running, seats, make) {
        Ok(()) => Ok(running),
        Err(error) => Err(error.with_suspects(&suspects)),
    }
}

/// Sets up every shard; starts them if all are ready.
fn seat_all<A: App>(
    running: &mut Running,
    seats: impl Iterator<Item = Seat<A::Parcel, A::Luggage>>,
    make: impl Fn(usize) -> A + Send + Clone + 'static,
) -> Result<(), LaunchError> {
    let guard = SETTING_UP.lock();
    let mut starts = Vec::new();
    for seat in seats {
        let shard = seat.shard;
        let failed = |why: String| LaunchError::Shard { shard, why };
        let (ready, is_ready) = bounded(1);
        let (start, may_start) = bounded(1);
        running.stats.push(Arc::clone(&seat.stats));
        let make = make.clone();
        let thread = thread::Builder::new()
            .name(format!("shard-{shard}"))
            .spawn(move || seat.take(make, &ready, &may_start))
            .map_err(|error| failed(error.to_string()))?;
        running.threads.push(thread);
        starts.push(start);
        let warning = is_ready
            .recv()
            .unwrap_or_else(|_| Err("its thread ended".to_owned()))
            .map_err(failed)?;
        running.warnings.extend(warning);
    }
    drop(guard);
    for start in starts {
        // A shard that is gone by now has counted itself out, and the others end.
        let _ = start.send(());
    }
    Ok(())
}

/// Tells the launcher that a shard is ready, perhaps with a warning, or why it never will be.
type Ready = Sender<Result<Option<String>, String>>;

/// What a shard's thread is given.
struct Seat<P, L> {
    shard: usize,
    core: Option<usize>,
    config: Config,
    mesh: Mesh<P>,
    ways: Mesh<Moving<L>>,
    listeners: Vec<Option<Socket>>,
    clock: Clock,
    control: Arc<Control>,
    bell: Bell,
    stats: Arc<Stats>,
}

impl<P: Send + 'static, L: Send + 'static> Seat<P, L> {
    /// The life of a shard's thread.
    fn take<A: App<Parcel = P, Luggage = L>>(
        self,
        make: impl Fn(usize) -> A,
        ready: &Ready,
        may_start: &Receiver<()>,
    ) -> Result<(), Fault> {
        // Counts this shard out if anything below unwinds before the shard does it itself.
        let departure = Departure::new(Arc::clone(&self.control));
        let mut warning = None;
        if let Some(core) = self.core
            && let Err(error) = placement::bind(core)
        {
            warning = Some(format!(
                "shard {} cannot be bound to core {core}: {error}",
                self.shard
            ));
        }
        let before = glom::ring_fds();
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(limits::EXECUTOR_IO_MEMORY_BYTES)
            .ring_depth(limits::EXECUTOR_RING_ENTRIES)
            .preempt_timer(PREEMPT_TIMER)
            .make();
        let executor = match executor {
            Ok(executor) => executor,
            Err(error) => {
                drop(ready.send(Err(format!("the executor: {error}"))));
                return Ok(());
            }
        };
        executor.run(self.live(make, before, warning, departure, ready, may_start))
    }

    /// The shard's task.
    async fn live<A: App<Parcel = P, Luggage = L>>(
        self,
        make: impl Fn(usize) -> A,
        before: BTreeSet<RawFd>,
        mut warning: Option<String>,
        departure: Departure,
        ready: &Ready,
        may_start: &Receiver<()>,
    ) -> Result<(), Fault> {
        let executor_rings = glom::own_rings(&before);
        if executor_rings.is_empty() {
            let text = "the executor's rings were not found: its tasks are looked after by the tick only";
            warning.get_or_insert_with(|| format!("shard {}: {text}", self.shard));
        }
        let parts = Parts {
            app: make(self.shard),
            mesh: self.mesh,
            ways: self.ways,
            listeners: self.listeners,
            executor_rings,
            clock: self.clock,
            departure,
            control: self.control,
            bell: self.bell,
            stats: self.stats,
        };
        let shard = match Shard::new(&self.config, parts) {
            Ok(shard) => shard,
            Err(error) => {
                drop(ready.send(Err(error.to_string())));
                return Ok(());
            }
        };
        drop(ready.send(Ok(warning)));
        if may_start.recv().is_err() {
            // Another shard could not be set up.
            return Ok(());
        }
        shard.run().await
    }
}
