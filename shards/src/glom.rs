//! What the data plane knows of glommio: which rings are its, and how to give it a turn.
//!
//! Invariants: the shard's task is the only one that reads `executor_stats`; a turn leaves that task really
//! *pending*, for glommio looks at its rings and timers only when nothing is runnable; the shard does not
//! block before a yield in which nobody else ran.
#![expect(unsafe_code, reason = "poll(2) has no safe wrapper in the standard library")]

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use glommio::timer::Timer;

/// Rings of one executor: main, latency and poll.
pub(crate) const RINGS: usize = 3;
/// How often the rings are looked for; the kernel leaves ranges out while another thread holds a ring's lock.
const LOOKS_MAX: usize = 50;
/// Short enough that a turn takes microseconds, long enough to be pending at its first poll.
const NAP: Duration = Duration::from_nanos(100);

/// All io_uring descriptors of this process.
pub(crate) fn ring_fds() -> BTreeSet<RawFd> {
    let Ok(files) = fs::read_dir("/proc/self/fd") else {
        return BTreeSet::new();
    };
    files
        .flatten()
        .filter(|file| {
            fs::read_link(file.path()).is_ok_and(|target| target.to_string_lossy().contains("[io_uring]"))
        })
        .filter_map(|file| file.file_name().to_str()?.parse().ok())
        .collect()
}

/// The rings of the executor on this thread; `before` are those that stood before it was made.
///
/// Its rings are those with a registered buffer from which its allocator hands out memory. Where glommio could
/// not register memory, they are those that came since: start-up is serialised for that.
pub(crate) fn own_rings(before: &BTreeSet<RawFd>) -> Vec<RawFd> {
    let buffer = glommio::allocate_dma_buffer(512);
    let address = buffer.as_ptr().addr() as u64;
    for _ in 0..LOOKS_MAX {
        let own: Vec<RawFd> = ring_fds()
            .into_iter()
            .filter(|&fd| {
                registered(fd)
                    .iter()
                    .any(|&(start, len)| (start..start + len).contains(&address))
            })
            .collect();
        if own.len() == RINGS {
            return own;
        }
        if own.is_empty() && !anything_registered() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let came: Vec<RawFd> = ring_fds().difference(before).copied().collect();
    if came.len() == RINGS { came } else { Vec::new() }
}

fn anything_registered() -> bool {
    ring_fds().into_iter().any(|fd| !registered(fd).is_empty())
}

/// Start and length of the buffers registered with a ring, as far as the kernel prints them.
fn registered(fd: RawFd) -> Vec<(u64, u64)> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    parse_registered(&info)
}

fn parse_registered(info: &str) -> Vec<(u64, u64)> {
    let lines = info
        .lines()
        .skip_while(|line| !line.starts_with("UserBufs:"))
        .skip(1);
    lines
        .map_while(|line| {
            let (_, range) = line.split_once(": 0x")?;
            let (start, len) = range.split_once('/')?;
            Some((u64::from_str_radix(start, 16).ok()?, len.trim().parse().ok()?))
        })
        .collect()
}

/// One complete turn of the executor: its rings submitted and reaped, timers fired, woken tasks run. True:
/// other tasks than the caller's ran.
pub(crate) async fn turn() -> bool {
    let mut nap: Option<Timer> = None;
    futures_lite::future::poll_fn(move |cx| {
        if let Some(timer) = nap.as_mut() {
            return Pin::new(timer).poll(cx).map(|_| ());
        }
        loop {
            // A timer that is over at its first poll would not have made this task wait.
            let mut timer = Timer::new(NAP);
            if Pin::new(&mut timer).poll(cx).is_pending() {
                nap = Some(timer);
                return Poll::Pending;
            }
        }
    })
    .await;
    // The caller's own task runs once, when its nap is over.
    glommio::executor().executor_stats().tasks_executed() > 1
}

/// Lets tasks that are runnable run. True: some did, so they may have queued input or output.
pub(crate) async fn yield_to_tasks() -> bool {
    // Tasks woken so far run in the first yield and are counted in the second.
    glommio::executor().yield_task_queue_now().await;
    glommio::executor().yield_task_queue_now().await;
    glommio::executor().executor_stats().tasks_executed() > 2
}

/// Whether one of these rings holds completions nobody took.
pub(crate) fn has_completions(fds: &[RawFd]) -> bool {
    let mut polled = [libc::pollfd {
        fd: -1,
        events: libc::POLLIN,
        revents: 0,
    }; RINGS];
    for (entry, &fd) in polled.iter_mut().zip(fds) {
        entry.fd = fd;
    }
    // SAFETY: the array has as many entries as are told; those with fd -1 are ignored; it does not wait.
    unsafe { libc::poll(polled.as_mut_ptr(), RINGS as libc::nfds_t, 0) > 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_ranges_are_read_from_what_the_kernel_prints() {
        let info = "SqMask:\t0x7f\nUserFiles:\t0\nUserBufs:\t2\n    0: 0x7f00aa000000/65536\n    1: 0x10/32\nPollList:\n";
        assert_eq!(parse_registered(info), [(0x7f00_aa00_0000, 65_536), (0x10, 32)]);
        assert!(parse_registered("UserFiles:\t0\n").is_empty());
    }

    #[test]
    fn the_rings_of_this_executor_are_found_beside_another_one() {
        let other = glommio::LocalExecutorBuilder::default()
            .io_memory(65_536)
            .make()
            .unwrap();
        let before = ring_fds();
        std::thread::spawn(move || {
            let executor = glommio::LocalExecutorBuilder::default()
                .io_memory(65_536)
                .make()
                .unwrap();
            executor.run(async move {
                let own = own_rings(&before);
                assert_eq!(own.len(), RINGS);
                assert!(own.iter().all(|fd| !before.contains(fd)));
            });
        })
        .join()
        .unwrap();
        drop(other);
    }
}
