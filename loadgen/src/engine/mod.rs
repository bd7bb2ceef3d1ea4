//! Threads, their epoll loops and the times of a run. Knows sockets and frames, but no scenario.

mod event_loop;
mod io;
mod pace;
mod sources;
mod timeline;
mod tls;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use io::{ConnId, Endpoint, Io, Target};
pub use pace::Pace;
pub use sources::{Range, Sources};
pub use timeline::{Counters, Schedule, Shared, add};
pub use tls::Tls;

use crate::clock::now_ns;
use crate::protocol::Packet;

/// What a scenario does on one thread. Every method gets the thread's [`Io`]; `tag` is what the scenario gave to
/// [`Io::open`].
pub trait Scenario: Send {
    /// Called once per turn: opens connections, sends what is due. Returns when it next has something to do.
    fn turn(&mut self, io: &mut Io) -> Option<u64>;
    /// True once all of this thread's connections are ready for the start.
    fn ready(&self) -> bool;
    /// True once nothing sent is outstanding.
    fn drained(&self) -> bool;
    /// A connection is established (with WebSocket: upgraded; after [`Io::secure`]: sealed).
    fn opened(&mut self, io: &mut Io, id: ConnId, tag: u32);
    /// A packet arrived; `frame` are its bytes.
    fn packet(&mut self, io: &mut Io, id: ConnId, tag: u32, packet: Packet<'_>, frame: &[u8]);
    /// A socket that had been full took everything that was queued.
    fn writable(&mut self, _io: &mut Io, _id: ConnId, _tag: u32) {}
    /// A connection ended, was refused or spoke nonsense.
    fn closed(&mut self, io: &mut Io, id: ConnId, tag: u32, why: &str);
}

/// What one generator thread used within the measurement.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadReport {
    /// Length of the measurement as this thread saw it.
    pub wall_ns: u64,
    /// CPU time it used within.
    pub cpu_ns: u64,
    /// Time it was ready to run and others had the core.
    pub waited_ns: u64,
}

/// How the threads are run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where connections go.
    pub target: Target,
    /// Cores to pin to, in turn; empty: not pinned.
    pub cores: Vec<usize>,
    /// Poll without blocking.
    pub spin: bool,
    /// How long all connections may take to become ready, nanoseconds.
    pub setup_ns_max: u64,
}

/// Pins the calling thread to one core.
///
/// # Errors
/// A sentence with the core and what the system says.
pub fn pin(core: usize) -> Result<(), String> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set)
        .map_err(|error| format!("cannot pin to core {core}: {error}"))
}

/// Runs one thread per scenario. `watch` is called on the calling thread while they run, with the shared state; it
/// announces the schedule and returns when the threads have ended.
///
/// # Errors
/// The first thread's fault, as a sentence.
pub fn run<S: Scenario, W>(
    scenarios: Vec<S>,
    plan: &Plan,
    watch: impl FnOnce(&Shared) -> W,
) -> Result<(Vec<(S, ThreadReport)>, W), String> {
    let shared = Arc::new(Shared::new(scenarios.len()));
    let target = Arc::new(plan.target.clone());
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (index, scenario) in scenarios.into_iter().enumerate() {
            let (shared, target) = (Arc::clone(&shared), Arc::clone(&target));
            let core = plan.cores.get(index % plan.cores.len().max(1)).copied();
            let spin = plan.spin;
            let body = move || {
                let _ended = Ended(&shared);
                let run = || {
                    core.map_or(Ok(()), pin)?;
                    event_loop::run(scenario, index, &shared, &target, spin)
                        .map_err(|error| format!("event loop: {error}"))
                };
                run().inspect_err(|fault| shared.fail(fault.as_str()))
            };
            let thread = std::thread::Builder::new()
                .name(format!("load-{index}"))
                .spawn_scoped(scope, body);
            threads.push(thread.map_err(|error| format!("cannot start a thread: {error}"))?);
        }
        let watched = watch(&shared);
        let mut ended = Vec::new();
        for thread in threads {
            ended.push(thread.join().map_err(|_| "a load thread panicked".to_owned())??);
        }
        shared
            .fault()
            .map_or(Ok((ended, watched)), |fault| Err(fault.to_owned()))
    })
}

/// Stops the whole run when a thread leaves by a fault or a panic.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a load thread panicked");
        }
    }
}

/// Waits until all threads are ready, telling `progress` how many connections are; false if the run failed or took
/// longer than `setup_ns_max`.
pub fn wait_ready(shared: &Shared, setup_ns_max: u64, mut progress: impl FnMut(u64)) -> bool {
    let deadline_ns = now_ns().saturating_add(setup_ns_max);
    let threads = u64::try_from(shared.counters.len()).unwrap_or(u64::MAX);
    while shared.threads_ready.load(Ordering::Acquire) < threads {
        if shared.stopped() {
            return false;
        }
        let ready = shared.total(|c| &c.ready);
        progress(ready);
        if now_ns() > deadline_ns {
            shared.fail(format!(
                "only {ready} connections were ready in {} s",
                setup_ns_max / 1_000_000_000
            ));
            return false;
        }
        crate::clock::sleep_until(now_ns() + 1_000_000);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_run_on_its_core_alone() {
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        let core = (0..1_024).rfind(|core| allowed.is_set(*core)).unwrap();
        let pinned = std::thread::spawn(move || {
            pin(core).unwrap();
            rustix::thread::sched_getaffinity(None).unwrap()
        });
        let pinned = pinned.join().unwrap();
        assert_eq!((pinned.count(), pinned.is_set(core)), (1, true));
        let said = pin(1_023).unwrap_err();
        assert!(said.starts_with("cannot pin to core 1023: "), "{said}");
    }
}
