//! Whether this machine can carry shards, and what helps if not.
//!
//! Invariant: looking changes nothing; every finding that is not all right comes with a remedy. The machine is
//! asked through [`Prober`], so that another machine can be played in a test.
#![expect(
    unsafe_code,
    reason = "limits and the kernel's name have no safe wrapper in the standard library"
)]

use std::io;
use std::sync::Arc;

use crate::config::Config;
use crate::limits;
use crate::placement;
use crate::ring::Ring;
use crate::stats::Stats;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was found, in a few words.
    pub what: String,
    /// Whether it is all right.
    pub ok: bool,
    /// Whether nothing can run without it.
    pub required: bool,
    /// What to do about it; empty if it is all right.
    pub remedy: String,
}

/// A machine that can be asked.
pub trait Prober {
    /// The kernel's release, as `uname -r` prints it.
    fn kernel(&self) -> String;
    /// Makes a ring as a shard would, and drops it. The error of the kernel, or the operations it lacks.
    fn ring(&self, config: &Config) -> Result<(), RingProblem>;
    /// Bytes this process may pin; none is no limit.
    fn memlock_bytes(&self) -> Option<u64>;
    /// Files this process may open; none is no limit.
    fn open_files(&self) -> Option<u64>;
    /// Cores this process may use.
    fn cores(&self) -> usize;
}

/// Why a ring cannot be used.
#[derive(Debug)]
pub enum RingProblem {
    /// The kernel refused.
    Refused(io::Error),
    /// The kernel does not know these operations.
    Lacks(Vec<&'static str>),
}

/// The machine this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisMachine;

impl Prober for ThisMachine {
    fn kernel(&self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .map(|release| release.trim().to_owned())
            .unwrap_or_default()
    }

    fn ring(&self, config: &Config) -> Result<(), RingProblem> {
        // On a thread of its own: the kernel interrupts the thread that made a ring when it takes it down.
        std::thread::scope(|scope| {
            let looked = scope.spawn(|| look_at_ring(config)).join();
            looked.unwrap_or_else(|_| Err(RingProblem::Refused(io::ErrorKind::Other.into())))
        })
    }

    fn memlock_bytes(&self) -> Option<u64> {
        soft_limit(libc::RLIMIT_MEMLOCK)
    }

    fn open_files(&self) -> Option<u64> {
        soft_limit(libc::RLIMIT_NOFILE)
    }

    fn cores(&self) -> usize {
        placement::allowed_cores().len()
    }
}

fn look_at_ring(config: &Config) -> Result<(), RingProblem> {
    let ring = Ring::new(config, Arc::new(Stats::default())).map_err(RingProblem::Refused)?;
    let missing = ring.missing_operations().map_err(RingProblem::Refused)?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(RingProblem::Lacks(missing))
}

/// The soft limit of a resource; none if it is unlimited or unknown.
fn soft_limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes into a local of the type it expects.
    let read = unsafe { libc::getrlimit(resource, &raw mut limit) };
    (read == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Looks at this machine.
pub fn preflight(config: &Config) -> Vec<Finding> {
    preflight_of(&ThisMachine, config)
}

/// Looks at a machine.
pub fn preflight_of(machine: &impl Prober, config: &Config) -> Vec<Finding> {
    vec![
        kernel(machine),
        // Before the ring, which the kernel may refuse for want of it.
        memlock(machine, config),
        ring(machine, config),
        open_files(machine),
        cores(machine, config),
    ]
}

fn finding(what: String, ok: bool, required: bool, remedy: String) -> Finding {
    let remedy = if ok { String::new() } else { remedy };
    Finding {
        what,
        ok,
        required,
        remedy,
    }
}

fn kernel(machine: &impl Prober) -> Finding {
    let release = machine.kernel();
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor) = limits::KERNEL_MIN;
    // A kernel is judged by what it does: an older one with everything ported back is fine.
    finding(
        format!("Linux {release}"),
        version >= limits::KERNEL_MIN,
        false,
        format!("use Linux {major}.{minor} or later"),
    )
}

fn ring(machine: &impl Prober, config: &Config) -> Finding {
    let (what, remedy) = match machine.ring(config) {
        Ok(()) => return finding("io_uring is usable".to_owned(), true, true, String::new()),
        Err(RingProblem::Lacks(missing)) => (
            format!("io_uring lacks {}", missing.join(", ")),
            format!(
                "use Linux {}.{} or later",
                limits::KERNEL_MIN.0,
                limits::KERNEL_MIN.1
            ),
        ),
        Err(RingProblem::Refused(error)) => (format!("io_uring is refused: {error}"), ring_remedy(&error)),
    };
    finding(what, false, true, remedy)
}

fn ring_remedy(error: &io::Error) -> String {
    let (major, minor) = limits::KERNEL_MIN;
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "set the sysctl kernel.io_uring_disabled to 0 and let the container's seccomp profile permit \
             io_uring_setup, io_uring_enter and io_uring_register"
                .to_owned()
        }
        Some(libc::ENOSYS) => format!("use Linux {major}.{minor} or later, built with io_uring"),
        Some(libc::ENOMEM) => format!(
            "free memory, or raise the limit of locked memory (ulimit -l, LimitMEMLOCK=) to {} KiB a shard",
            limits::MEMLOCK_PER_SHARD_BYTES / 1_024
        ),
        Some(libc::EMFILE | libc::ENFILE) => {
            "raise the limit of open files (ulimit -n, LimitNOFILE=)".to_owned()
        }
        _ => format!("use Linux {major}.{minor} or later"),
    }
}

fn memlock(machine: &impl Prober, config: &Config) -> Finding {
    let shards = if config.shards == 0 {
        machine.cores()
    } else {
        config.shards
    };
    let need =
        limits::MEMLOCK_PER_SHARD_BYTES.saturating_mul(u64::try_from(shards.max(1)).unwrap_or(u64::MAX));
    let limit = machine.memlock_bytes();
    finding(
        limit.map_or_else(
            || "locked memory is not limited".to_owned(),
            |bytes| format!("{} KiB of memory may be locked", bytes / 1_024),
        ),
        limit.is_none_or(|bytes| bytes >= need),
        // Between the two it may do: who has the right to pin memory is not limited.
        limit.is_some_and(|bytes| bytes < limits::MEMLOCK_BYTES_MIN),
        memlock_remedy(need),
    )
}

/// `ulimit` counts KiB.
fn memlock_remedy(need_bytes: u64) -> String {
    let kib = need_bytes / 1_024;
    format!(
        "raise the limit of locked memory to {kib} KiB: 'ulimit -l {kib}' in the shell that starts the daemon, \
         LimitMEMLOCK={kib}K in its systemd unit"
    )
}

fn open_files(machine: &impl Prober) -> Finding {
    let limit = machine.open_files();
    finding(
        limit.map_or_else(
            || "open files are not limited".to_owned(),
            |files| format!("{files} files may be open"),
        ),
        limit.is_none_or(|files| files >= limits::OPEN_FILES_MIN),
        false,
        "raise it (ulimit -n, LimitNOFILE=) to the number of connections and 1,000 more".to_owned(),
    )
}

fn cores(machine: &impl Prober, config: &Config) -> Finding {
    let cores = machine.cores();
    let shards = if config.shards == 0 { cores } else { config.shards };
    finding(
        format!("{cores} cores are usable for {shards} shards"),
        cores > 0 && shards <= cores,
        false,
        "ask for one shard per core, or let the process use more cores".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Other {
        ring: fn() -> Result<(), RingProblem>,
        kernel: &'static str,
        memlock_bytes: u64,
    }

    impl Prober for Other {
        fn kernel(&self) -> String {
            self.kernel.to_owned()
        }
        fn ring(&self, _: &Config) -> Result<(), RingProblem> {
            (self.ring)()
        }
        fn memlock_bytes(&self) -> Option<u64> {
            Some(self.memlock_bytes)
        }
        fn open_files(&self) -> Option<u64> {
            None
        }
        fn cores(&self) -> usize {
            2
        }
    }

    #[test]
    fn this_machine_can_carry_shards() {
        let findings = preflight(&Config::default());
        assert!(
            findings.iter().all(|finding| finding.ok || !finding.required),
            "{findings:?}"
        );
        assert!(
            findings
                .iter()
                .all(|finding| finding.ok == finding.remedy.is_empty())
        );
    }

    #[test]
    fn a_refusal_is_required_and_comes_with_a_remedy_that_fits() {
        let machine = Other {
            ring: || Err(RingProblem::Refused(io::Error::from_raw_os_error(libc::EPERM))),
            kernel: "5.10.0-19-amd64",
            memlock_bytes: 524_288,
        };
        let findings = preflight_of(&machine, &Config::default());
        let [kernel, memlock, ring, files, cores] = findings.as_slice() else {
            panic!("{findings:?}")
        };
        assert!(!kernel.ok && !kernel.required && kernel.what == "Linux 5.10.0-19-amd64");
        assert!(!ring.ok && ring.required && ring.remedy.contains("kernel.io_uring_disabled"));
        assert!(!memlock.ok && !memlock.required && memlock.remedy.contains("2048 KiB"));
        assert!(files.ok && cores.ok);
    }

    #[test]
    fn lacking_operations_are_named() {
        let machine = Other {
            ring: || Err(RingProblem::Lacks(vec!["sendmsg", "poll"])),
            kernel: "6.4.1",
            memlock_bytes: 2_097_152,
        };
        let findings = preflight_of(&machine, &Config::default());
        assert!(findings[0].ok && findings[1].ok);
        assert_eq!(findings[2].what, "io_uring lacks sendmsg, poll");
    }

    #[test]
    fn too_little_locked_memory_is_the_reason_even_where_the_ring_is_refused_for_it() {
        let machine = Other {
            ring: || Err(RingProblem::Refused(io::Error::from_raw_os_error(libc::ENOMEM))),
            kernel: "6.8.0",
            memlock_bytes: 0,
        };
        let findings = preflight_of(&machine, &Config::default());
        let first = findings.iter().find(|finding| !finding.ok).unwrap();
        assert!(first.required);
        assert_eq!(first.what, "0 KiB of memory may be locked");
        assert!(
            first.remedy.contains("'ulimit -l 2048'") && first.remedy.contains("LimitMEMLOCK=2048K"),
            "{}",
            first.remedy
        );
    }
}
