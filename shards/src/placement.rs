//! Which shard runs on which core.
//!
//! Invariant: only cores that the process may use are chosen; where there are too few, shards are left to the
//! scheduler and the caller is told.
#![expect(unsafe_code, reason = "affinity has no safe wrapper in the standard library")]

use std::io;

/// The cores this thread may run on, in order; empty if the kernel does not say.
pub(crate) fn allowed_cores() -> Vec<usize> {
    // SAFETY: a set of cores is plain bits; all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the size it is told into a local of that size.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0 {
        return Vec::new();
    }
    let cores = 0..usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    cores
        // SAFETY: the number is below CPU_SETSIZE.
        .filter(|&core| unsafe { libc::CPU_ISSET(core, &set) })
        .collect()
}

/// Binds this thread, and those it spawns, to one core.
pub(crate) fn bind(core: usize) -> io::Result<()> {
    if core >= usize::try_from(libc::CPU_SETSIZE).unwrap_or(0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a set of cores is plain bits; all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number was checked above.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the kernel reads the size it is told from a local of that size.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Where each shard goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// A core for each shard, or none.
    pub(crate) cores: Vec<Option<usize>>,
    /// Why it is not better.
    pub(crate) warning: Option<String>,
}

/// Places `shards` shards (0: one per core) on `allowed` cores.
pub(crate) fn plan(shards: usize, allowed: &[usize], pin: bool) -> Plan {
    let shards = if shards == 0 { allowed.len().max(1) } else { shards };
    if pin && shards <= allowed.len() {
        return Plan {
            cores: allowed.iter().take(shards).copied().map(Some).collect(),
            warning: None,
        };
    }
    Plan {
        cores: vec![None; shards],
        warning: pin.then(|| {
            format!(
                "{shards} shards on {} usable cores: none is bound to a core",
                allowed.len()
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_cores_are_chosen() {
        let plan = plan(2, &[3, 5, 9], true);
        assert_eq!(plan.cores, [Some(3), Some(5)]);
        assert_eq!(plan.warning, None);
    }

    #[test]
    fn too_few_cores_leave_the_shards_unbound_and_say_so() {
        let plan = plan(8, &[0, 1], true);
        assert_eq!(plan.cores, [None; 8]);
        assert_eq!(
            plan.warning.unwrap(),
            "8 shards on 2 usable cores: none is bound to a core"
        );
    }

    #[test]
    fn one_shard_per_core_is_the_default_and_there_is_always_one() {
        assert_eq!(plan(0, &[1, 4], true).cores, [Some(1), Some(4)]);
        assert_eq!(
            plan(0, &[], false),
            Plan {
                cores: vec![None],
                warning: None
            }
        );
    }

    #[test]
    fn a_bound_thread_may_use_its_core_only() {
        std::thread::spawn(|| {
            let core = *allowed_cores().last().unwrap();
            bind(core).unwrap();
            assert_eq!(allowed_cores(), [core]);
            assert!(bind(usize::MAX).is_err());
        })
        .join()
        .unwrap();
    }
}
