//! One shard: the order of a turn.
//!
//! Invariant, the order: take completions; drain the mesh; take in connections of other shards; dispatch the
//! completions; some TLS handshakes; timers; resumed and drained connections; see off connections to other shards; tell the app what
//! ended; `flush`; arm receives again, in the order in which they
//! ended; sends; bells; the executor's turn; block. The mesh comes before the dispatch, so that what another
//! shard pushed before it answered a client is seen before anything that client sent because of the answer;
//! parcels are pushed before the turn's sends for the same reason.

mod dispatch;
mod ending;
mod intake;
mod moving;
mod quit;
mod securing;

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::FutureExt;
use socket2::Socket;

use crate::app::{App, ConnId};
use crate::clock::{Clock, nanos};
use crate::config::{Config, Listener};
use crate::conn::Flags;
use crate::control::{Control, Departure};
use crate::doorbell::Bell;
use crate::error::{Fault, panic_text};
use crate::glom;
use crate::limits;
use crate::mesh::Mesh;
use crate::operation::{Op, Token};
use crate::patience::{Patience, Waited};
use crate::plane::{Accepts, Plane};
use crate::policy::{self, Situation, Step};
use crate::ring::{Completion, Ring};
use crate::stats::Stats;
use crate::tls::TlsAcceptor;

pub(crate) use moving::Moving;

/// A listening socket and its multishot accept.
#[derive(Debug)]
struct Accepting {
    socket: Option<Socket>,
    /// What its newcomers begin with.
    tls: Option<TlsAcceptor>,
    /// The accept is with the kernel.
    armed: bool,
    /// It failed; the next tick tries again.
    failed: bool,
}

/// The executor's rings as the data ring watches them.
#[derive(Debug)]
struct ExecutorWatch {
    fds: Vec<RawFd>,
    polled: [bool; glom::RINGS],
    /// A poll fired: look whether there is something.
    look: bool,
    /// A turn is owed.
    due: bool,
    /// Ticks since a task other than the shard's ran.
    quiet_ticks: u32,
}

/// What a shard is made of before it runs.
pub(crate) struct Parts<A: App> {
    pub(crate) app: A,
    pub(crate) mesh: Mesh<A::Parcel>,
    pub(crate) ways: Mesh<Moving<A::Luggage>>,
    pub(crate) listeners: Vec<Option<Socket>>,
    pub(crate) executor_rings: Vec<RawFd>,
    pub(crate) clock: Clock,
    pub(crate) departure: Departure,
    pub(crate) control: Arc<Control>,
    pub(crate) bell: Bell,
    pub(crate) stats: Arc<Stats>,
}

/// One shard, on its thread.
pub(crate) struct Shard<A: App> {
    app: A,
    plane: Plane<A::Parcel>,
    moves: moving::Moves<A::Luggage>,
    ring: Ring,
    listeners: Vec<Accepting>,
    batch: Vec<Completion>,
    rearm: Vec<ConnId>,
    /// Ended connections and when their sockets are closed at the latest; all wait equally long.
    lingers: VecDeque<(u64, ConnId)>,
    executor: ExecutorWatch,
    clock: Clock,
    control: Arc<Control>,
    departure: Departure,
    bell: Bell,
    stats: Arc<Stats>,
    linger_ns: u64,
    spin_ns: u64,
    patience: Patience,
    waited: Waited,
    batch_max: usize,
    /// The last turn took as much as a turn may take.
    full: bool,
    /// The daemon stops, and this shard has been counted as drained.
    drained: bool,
}

impl<A: App> Shard<A> {
    /// Makes the ring, on this thread, and arms what is always armed.
    pub(crate) fn new(config: &Config, parts: Parts<A>) -> io::Result<Self> {
        let ring = Ring::new(config, Arc::clone(&parts.stats))?;
        let plane = Plane::new(config, parts.mesh, Arc::clone(&parts.stats));
        parts.control.publish_ring(plane.shard(), ring.fd());
        let accepting = |(place, socket)| Accepting {
            socket,
            tls: config
                .listeners
                .get(place)
                .and_then(|listener: &Listener| listener.tls.clone()),
            armed: false,
            failed: false,
        };
        let mut shard = Self {
            app: parts.app,
            plane,
            moves: moving::Moves::new(parts.ways),
            ring,
            listeners: parts.listeners.into_iter().enumerate().map(accepting).collect(),
            batch: Vec::with_capacity(config.completions_per_turn_max),
            rearm: Vec::new(),
            lingers: VecDeque::new(),
            executor: ExecutorWatch {
                fds: parts.executor_rings,
                polled: [false; glom::RINGS],
                look: false,
                due: false,
                quiet_ticks: 0,
            },
            clock: parts.clock,
            departure: parts.departure,
            control: parts.control,
            bell: parts.bell,
            stats: parts.stats,
            linger_ns: nanos(config.linger),
            spin_ns: nanos(config.spin),
            patience: Patience::default(),
            waited: Waited::of_this_thread(),
            batch_max: config.completions_per_turn_max,
            full: false,
            drained: false,
        };
        shard.read_clock();
        shard.plane.unix_ms = shard.clock.unix_ms();
        Ok(shard)
    }

    /// Runs until asked to stop, or until something is wrong with this or another shard.
    pub(crate) async fn run(mut self) -> Result<(), Fault> {
        let shard = self.plane.shard();
        let served = AssertUnwindSafe(self.serve()).catch_unwind().await;
        let what = match served {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("the data ring failed: {error}")),
            Err(panic) => Some(panic_text(panic.as_ref())),
        };
        if what.is_some() {
            self.control.fail();
        }
        let quiet = self.quit();
        if !quiet {
            // The kernel may still touch what this shard owns: it stays where it is until the process ends.
            std::mem::forget(self);
        }
        match what {
            Some(what) => Err(Fault { shard, what }),
            None if quiet => Ok(()),
            None => Err(Fault {
                shard,
                what: "operations did not end when they were cancelled".to_owned(),
            }),
        }
    }

    async fn serve(&mut self) -> io::Result<()> {
        self.app.starting(&mut self.plane);
        self.ring.tick();
        self.ring.read_event(self.bell.fd());
        self.arm_listeners();
        loop {
            self.turn()?;
            if self.is_over() {
                self.abandon_connections();
                self.submit_sends();
                return self.ring.enter(0);
            }
            self.executor_turn().await?;
            self.rest()?;
        }
    }

    /// Everything up to the bells. Calls the app, never waits.
    fn turn(&mut self) -> io::Result<()> {
        self.stats.turns.add(1);
        self.read_clock();
        self.ring.reap(self.batch_max, &mut self.batch)?;
        self.full = self.batch.len() >= self.batch_max;
        self.drain_mesh();
        self.adopt();
        self.dispatch();
        self.shake_hands();
        self.fire_timers();
        self.cut_lingers();
        self.call_resumed();
        self.tell_drained();
        self.heed_stop();
        self.see_off();
        self.settle();
        self.app.flush(&mut self.plane);
        if !self.app.has_more() {
            self.plane.mesh.finish();
        }
        self.settle();
        self.pause_receives();
        self.rearm_receives();
        self.submit_sends();
        self.ring_bells();
        if self.plane.accepts == Accepts::Released {
            self.plane.accepts = Accepts::Always;
            self.arm_listeners();
        }
        Ok(())
    }

    fn read_clock(&mut self) {
        self.plane.now = self.clock.now_ns();
    }

    /// Takes everything that other shards had pushed by now; each ring is bounded.
    fn drain_mesh(&mut self) {
        let shards = self.plane.shards();
        for from in 0..shards {
            let arrived = self.plane.mesh.arrived(from);
            for _ in 0..arrived {
                let Some(parcel) = self.plane.mesh.receive(from) else {
                    break;
                };
                self.app.parcel(&mut self.plane, from, parcel);
            }
            if arrived > 0 {
                self.stats.parcels_received.add_len(arrived);
            }
        }
    }

    fn fire_timers(&mut self) {
        self.plane.wheel.advance(self.plane.now);
        let mut fired = 0;
        while fired < limits::TIMERS_PER_TURN_MAX {
            let Some(key) = self.plane.wheel.pop() else { break };
            self.app.timer(&mut self.plane, key);
            fired += 1;
        }
        if fired > 0 {
            self.stats.timers_fired.add_len(fired);
        }
    }

    fn submit_sends(&mut self) {
        let mut dirty = std::mem::take(&mut self.plane.lists.dirty);
        for id in dirty.drain(..) {
            self.submit_send(id);
        }
        self.plane.lists.dirty = dirty;
    }

    fn ring_bells(&mut self) {
        let (ring, control, stats) = (&mut self.ring, &self.control, &self.stats);
        let mut wake = |peer| {
            stats.bells_rung.add(1);
            match control.ring(peer) {
                Some(fd) => ring.bell(fd, peer),
                None => {
                    if let Some(bell) = control.bell(peer) {
                        bell.wake();
                    }
                }
            }
        };
        self.plane.mesh.wake(&mut wake);
        self.moves.ways.wake(wake);
    }

    /// Gives glommio its turn if one is owed, and lets woken tasks run.
    async fn executor_turn(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.executor.look) && !self.executor.due {
            self.executor.due = glom::has_completions(&self.executor.fds);
        }
        if std::mem::take(&mut self.executor.due) {
            if self.ring.has_unsubmitted() {
                self.ring.enter(0)?;
            }
            self.stats.executor_turns.add(1);
            if glom::turn().await {
                self.executor.quiet_ticks = 0;
            }
        }
        if glom::yield_to_tasks().await {
            self.executor.due = true;
            self.executor.quiet_ticks = 0;
        }
        let watch = &mut self.executor;
        for (place, (&fd, polled)) in watch.fds.iter().zip(&mut watch.polled).enumerate() {
            if !std::mem::replace(polled, true) {
                self.ring.poll(fd, Token::of(Op::Executor, place));
            }
        }
        Ok(())
    }

    /// Flushes or blocks.
    fn rest(&mut self) -> io::Result<()> {
        let mut situation = Situation {
            full: self.full,
            more: self.plane.wheel.has_due()
                || !self.plane.lists.resumed.is_empty()
                || !self.plane.lists.handshaking.is_empty()
                || !self.plane.lists.leaving.is_empty(),
            turn_due: self.executor.due,
            ready: self.ring.is_ready(),
            asleep: false,
        };
        if !(situation.full || situation.more || situation.turn_due || situation.ready) {
            situation.ready = self.spin()?;
            situation.asleep = !situation.ready && self.fall_asleep();
        }
        let began = self.plane.now;
        match policy::decide(situation) {
            Step::Block => {
                self.stats.blocks.add(1);
                self.note_turn_time(began);
                self.ring.enter(1)?;
                self.wake_up();
            }
            Step::Flush | Step::Turn => {
                if self.ring.has_unsubmitted() || self.ring.is_pending() {
                    self.ring.enter(0)?;
                }
                self.note_turn_time(began);
            }
        }
        Ok(())
    }

    /// Announces on all ways to this shard that it sleeps; false: there is something to do.
    fn fall_asleep(&mut self) -> bool {
        let idle = self.plane.mesh.fall_asleep() && self.moves.ways.fall_asleep();
        if !idle {
            self.wake_up();
        }
        idle
    }

    fn wake_up(&self) {
        self.plane.mesh.wake_up();
        self.moves.ways.wake_up();
    }

    /// Looks for work for a while, if the daemon buys latency so. True: there is some.
    fn spin(&mut self) -> io::Result<bool> {
        if self.spin_ns == 0 || !self.patience.looks() {
            return Ok(false);
        }
        if self.ring.has_unsubmitted() {
            self.ring.enter(0)?;
        }
        let end = self.clock.now_ns().saturating_add(self.spin_ns);
        while self.clock.now_ns() < end {
            let arrivals = self.plane.mesh.has_arrivals() || self.moves.ways.has_arrivals();
            if arrivals || self.ring.is_pending() {
                self.patience.looked(true);
                return Ok(true);
            }
            std::hint::spin_loop();
        }
        self.patience.looked(false);
        Ok(false)
    }

    fn note_turn_time(&self, began: u64) {
        self.stats
            .turn_ns_max
            .raise(self.clock.now_ns().saturating_sub(began));
    }

    /// Notices that the daemon is to stop, and tells the app, once.
    fn heed_stop(&mut self) {
        if self.plane.stopping || self.control.deadline().is_none() {
            return;
        }
        self.plane.stopping = true;
        self.close_listeners();
        self.app.stopping(&mut self.plane);
        self.end_moves();
    }

    /// Whether the loop is to be left.
    fn is_over(&mut self) -> bool {
        if self.control.has_failed() {
            return true;
        }
        let Some(deadline) = self.control.deadline().filter(|_| self.plane.stopping) else {
            return false;
        };
        let is_late = self.plane.now >= deadline;
        if !is_late && (self.plane.conns.len() > 0 || self.app.has_more()) {
            return false;
        }
        if !std::mem::replace(&mut self.drained, true) {
            self.control.drained();
        }
        // In this order: who is done sends no connection here any more, and parcels only because of parcels.
        self.control.have_all_drained()
            && !self.moves.ways.has_arrivals()
            && (is_late || self.plane.mesh.is_quiet())
    }

    /// What needs looking after a hundred times a second.
    fn on_tick(&mut self) {
        self.stats.ticks.add(1);
        self.patience.tick(|| self.waited.ns());
        self.plane.unix_ms = self.clock.unix_ms();
        // glommio's own timers are not armed in the kernel while this task blocks. Where no task has run for
        // long, it is looked after less often: that is most of what an idle shard costs.
        self.executor.quiet_ticks = self.executor.quiet_ticks.saturating_add(1);
        let quiet = self.executor.quiet_ticks > limits::EXECUTOR_QUIET_TICKS;
        if !quiet
            || self
                .executor
                .quiet_ticks
                .is_multiple_of(limits::EXECUTOR_QUIET_STRIDE_TICKS)
        {
            self.executor.due = true;
        }
        if self.listeners.iter().any(|listener| listener.failed) {
            self.arm_listeners();
        }
        self.stats
            .connections
            .set(u64::try_from(self.plane.conns.len()).unwrap_or(u64::MAX));
        if self.plane.lists.dirty.is_empty() {
            self.plane.arena.trim();
        }
    }

    fn arm_listeners(&mut self) {
        use std::os::fd::AsRawFd;
        for (place, listener) in self.listeners.iter_mut().enumerate() {
            if listener.armed || self.plane.stopping || self.plane.accepts == Accepts::Held {
                continue;
            }
            if let Some(socket) = &listener.socket {
                listener.armed = true;
                listener.failed = false;
                self.ring.accept(socket.as_raw_fd(), Token::of(Op::Accept, place));
            }
        }
    }

    fn close_listeners(&mut self) {
        for (place, listener) in self.listeners.iter_mut().enumerate() {
            if listener.armed {
                self.ring.cancel(Token::of(Op::Accept, place));
            } else {
                listener.socket = None;
            }
        }
    }

    /// How long the kernel may take to give back what was cancelled.
    const fn quiesce_time() -> Duration {
        Duration::from_millis(limits::QUIESCE_MS_MAX)
    }

    /// Whether receiving is wanted for a connection.
    fn wants_receive(&self, id: ConnId) -> bool {
        self.plane.conns.get(id).is_some_and(|conn| {
            let busy = Flags::RECEIVING
                .with(Flags::ENDED)
                .with(Flags::DEAD)
                .with(Flags::LEAVING);
            !conn.flags.any(busy) && !conn.has_enough(self.plane.bounds.held_bytes_max)
        })
    }
}
