//! A shard shares its thread: with glommio's own tasks, with its timers, and with the rest of the machine.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use glommio::io::BufferedFile;
use glommio::timer::Timer;
use shards::{Clock, Config, ConnId, Plane, Progress};

use crate::support::{Tenant, all, config, connect, start, stop, until};

/// How long this thread has been ready to run and was not let, all in all: what other processes take from it
/// is not its stall.
fn run_delay_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let delay = stat.split(' ').nth(1).and_then(|delay| delay.parse().ok());
    delay.unwrap_or(0)
}

/// Echoes, and counts what two glommio tasks get done beside it.
#[derive(Clone, Default)]
struct Beside {
    timers: Arc<AtomicU64>,
    timer_late_ns_max: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
    write_ns_max: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    written: Arc<AtomicBool>,
}

impl Beside {
    fn spawn_tasks(&self, file: std::path::PathBuf) {
        let clock = Clock::start();
        let me = self.clone();
        glommio::spawn_local(async move {
            while !me.end.load(Ordering::Relaxed) {
                let before = (clock.now_ns(), run_delay_ns());
                Timer::new(Duration::from_millis(5)).await;
                let took = (clock.now_ns() - before.0).saturating_sub(run_delay_ns() - before.1);
                let late = took.saturating_sub(5_000_000);
                me.timer_late_ns_max.fetch_max(late, Ordering::Relaxed);
                me.timers.fetch_add(1, Ordering::Relaxed);
            }
        })
        .detach();
        let me = self.clone();
        glommio::spawn_local(async move {
            let written = BufferedFile::create(&file).await.unwrap();
            while !me.end.load(Ordering::Relaxed) {
                let before = (clock.now_ns(), run_delay_ns());
                let at = me.writes.load(Ordering::Relaxed) % 64;
                written.write_at(vec![1; 4_096], at * 4_096).await.unwrap();
                let took = (clock.now_ns() - before.0).saturating_sub(run_delay_ns() - before.1);
                me.write_ns_max.fetch_max(took, Ordering::Relaxed);
                me.writes.fetch_add(1, Ordering::Relaxed);
                Timer::new(Duration::from_millis(1)).await;
            }
            written.close().await.unwrap();
            std::fs::remove_file(&file).unwrap();
            me.written.store(true, Ordering::Relaxed);
        })
        .detach();
    }
}

impl Tenant for Beside {
    type Parcel = ();

    fn received(&mut self, plane: &mut Plane<()>, conn: ConnId, _: u32, bytes: &mut [u8]) -> Progress {
        plane.buffer(conn).unwrap().extend_from_slice(bytes);
        all(bytes)
    }
}

/// Loads a machine with echoes for `time` while glommio's tasks run; returns what they got done.
fn beside_load(time: Duration) -> (Beside, u64, u64) {
    let beside = Beside::default();
    let made = Arc::new(AtomicU64::new(0));
    let running = start(config(1), {
        let (beside, made) = (beside.clone(), Arc::clone(&made));
        move |_| {
            let number = made.fetch_add(1, Ordering::Relaxed);
            let name = format!(
                "shards-beside-{}-{number}-{:p}",
                std::process::id(),
                &raw const *made
            );
            beside.spawn_tasks(std::env::temp_dir().join(name));
            beside.clone()
        }
    });
    let clock = Clock::start();
    let over = || Duration::from_nanos(clock.now_ns()) > time;
    let echoed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut clients: Vec<_> = (0..20).map(|_| connect(&running)).collect();
            let echoed = &echoed;
            scope.spawn(move || {
                while !over() {
                    for client in &mut clients {
                        client.write_all(&[7; 64]).unwrap();
                    }
                    for client in &mut clients {
                        assert_eq!(crate::support::read(client, 64), [7; 64]);
                    }
                    echoed.fetch_add(20, Ordering::Relaxed);
                }
            });
        }
    });
    let stall = running.stats(0).turn_ns_max.get();
    beside.end.store(true, Ordering::Relaxed);
    until("the writer ends", || beside.written.load(Ordering::Relaxed));
    stop(running);
    (beside, echoed.load(Ordering::Relaxed), stall)
}

fn assert_fair(beside: &Beside, echoed: u64, stall: u64, time: Duration) {
    let timers = beside.timers.load(Ordering::Relaxed);
    let writes = beside.writes.load(Ordering::Relaxed);
    // A timer of 5 ms is served by turns that come with the tick of 10 ms.
    let least = u64::try_from(time.as_millis()).unwrap() / 40;
    assert!(timers > least, "{timers} timers");
    assert!(writes > least, "{writes} writes");
    assert!(echoed > 1_000, "{echoed} echoes");
    let late = beside.timer_late_ns_max.load(Ordering::Relaxed);
    assert!(late < 100_000_000, "a timer came {} ms late", late / 1_000_000);
    let write = beside.write_ns_max.load(Ordering::Relaxed);
    assert!(write < 500_000_000, "a write took {} ms", write / 1_000_000);
    println!(
        "timers {timers}, late {late} ns; writes {writes}, {write} ns; echoes {echoed}; a turn {stall} ns"
    );
}

#[test]
fn glommio_timers_and_writes_go_on_beside_load_and_no_turn_stalls() {
    let time = Duration::from_secs(2);
    let (beside, echoed, stall) = beside_load(time);
    assert_fair(&beside, echoed, stall, time);
}

#[test]
#[ignore = "takes a minute"]
fn soak_of_a_minute_without_a_stall_over_100_ms() {
    let time = Duration::from_secs(60);
    let (beside, echoed, stall) = beside_load(time);
    assert_fair(&beside, echoed, stall, time);
}

/// CPU time of this thread.
fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes into a local of the type it expects.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

/// Measures its thread's CPU between two timers.
struct Idle {
    seconds: u64,
    from_tick: u64,
    began: Option<(u64, u64)>,
    share: Arc<AtomicU64>,
}

impl Tenant for Idle {
    type Parcel = ();

    fn rung(&mut self, plane: &mut Plane<()>) {
        plane.arm(plane.now(), 0);
    }

    fn timer(&mut self, plane: &mut Plane<()>, _: u64) {
        match self.began {
            // Idle for long enough that the executor counts as quiet, too.
            None if plane.stats().ticks.get() < self.from_tick => {
                plane.arm(plane.now() + 10_000_000, 0);
            }
            None => {
                self.began = Some((plane.now(), thread_cpu_ns()));
                plane.arm(plane.now() + self.seconds * 1_000_000_000, 0);
            }
            Some((at, cpu)) => {
                let millionths = (thread_cpu_ns() - cpu) * 1_000_000 / (plane.now() - at);
                self.share.store(millionths.max(1), Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn an_idle_shard_with_idle_connections_uses_less_than_one_percent_of_a_core() {
    let share = Arc::new(AtomicU64::new(0));
    let running = start(config(1), {
        let share = Arc::clone(&share);
        move |_| Idle {
            seconds: 2,
            from_tick: u64::from(shards::limits::EXECUTOR_QUIET_TICKS) + 10,
            began: None,
            share: Arc::clone(&share),
        }
    });
    let clients: Vec<_> = (0..50).map(|_| connect(&running)).collect();
    until("they are there", || running.stats(0).accepted.get() == 50);
    running.bell(0).ring();
    until("two seconds passed", || share.load(Ordering::Relaxed) > 0);
    let millionths = share.load(Ordering::Relaxed);
    println!("idle: {millionths} millionths of a core");
    // Unoptimised code is allowed more; the claim is about what ships.
    let most = if cfg!(debug_assertions) { 30_000 } else { 10_000 };
    assert!(millionths < most, "{millionths} millionths of a core");
    drop(clients);
    stop(running);
}

/// Arms a timer for each of a list of delays, and notes how late each came.
struct Punctual {
    delays_ms: Vec<u64>,
    fired: Arc<AtomicU64>,
    late_ns_max: Arc<AtomicU64>,
    due: Rc<RefCell<Vec<u64>>>,
    delayed_ns: u64,
}

impl Tenant for Punctual {
    type Parcel = ();

    fn rung(&mut self, plane: &mut Plane<()>) {
        for (key, delay) in (0u64..).zip(&self.delays_ms) {
            let at = plane.now() + delay * 1_000_000;
            self.due.borrow_mut().push(at);
            let doomed = plane.arm(at, 1_000_000);
            plane.arm(at, key);
            assert!(plane.cancel(doomed));
            assert!(!plane.cancel(doomed));
        }
    }

    fn timer(&mut self, plane: &mut Plane<()>, key: u64) {
        let due = self.due.borrow()[usize::try_from(key).unwrap()];
        assert!(plane.now() >= due, "early");
        let late = (plane.now() - due).saturating_sub(run_delay_ns() - self.delayed_ns);
        self.late_ns_max.fetch_max(late, Ordering::Relaxed);
        self.fired.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn timers_come_once_never_early_and_a_few_ticks_late_at_most_on_a_sleeping_shard() {
    let (fired, late) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let config = Config {
        listeners: Vec::new(),
        ..config(1)
    };
    let delays_ms: Vec<u64> = (0..400).map(|n| n * 7 % 900).collect();
    let running = start(config, {
        let (fired, late) = (Arc::clone(&fired), Arc::clone(&late));
        move |_| Punctual {
            delays_ms: delays_ms.clone(),
            fired: Arc::clone(&fired),
            late_ns_max: Arc::clone(&late),
            due: Rc::default(),
            delayed_ns: run_delay_ns(),
        }
    });
    running.bell(0).ring();
    until("all fired", || fired.load(Ordering::Relaxed) == 400);
    let late_ms = late.load(Ordering::Relaxed) / 1_000_000;
    assert!(late_ms < 100, "{late_ms} ms late");
    stop(running);
}
