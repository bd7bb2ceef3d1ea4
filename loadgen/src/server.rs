//! What the server under test costs, read from `/proc`.

use std::fs;

use crate::clock::SECOND_NS;

/// One reading of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// CPU time of the threads alive now, from `/proc/<pid>/task/*/schedstat`, nanoseconds.
    pub scheduled_ns: u64,
    /// Time those threads were ready to run and others had the core, from the same files, nanoseconds.
    pub waited_ns: u64,
    /// User time of the process, threads that ended included, nanoseconds in steps of a clock tick.
    pub user_ns: u64,
    /// System time, likewise.
    pub system_ns: u64,
    /// VmRSS, bytes.
    pub resident_bytes: u64,
}

/// CPU time between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// User and system together, nanoseconds.
    pub total_ns: u64,
    /// Time its threads were ready to run and others had the core, nanoseconds.
    pub waited_ns: u64,
    /// User part, in steps of a clock tick.
    pub user_ns: u64,
    /// System part, in steps of a clock tick.
    pub system_ns: u64,
    /// True if `total_ns` is precise; false where threads ended and it was counted in clock ticks.
    pub precise: bool,
}

impl Reading {
    /// Reads process `pid`.
    ///
    /// # Errors
    /// A sentence, where the process is gone or may not be read.
    pub fn take(pid: u32) -> Result<Self, String> {
        let file = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))
        };
        let (user_ns, system_ns) = times_of(&file("stat")?).ok_or("unexpected format of /proc/<pid>/stat")?;
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?;
        let (scheduled_ns, waited_ns) = tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
            .filter_map(|line| schedule_of(&line))
            .fold((0, 0), |sum, task| (sum.0 + task.0, sum.1 + task.1));
        let resident_bytes = resident_of(&file("status")?).unwrap_or(0);
        Ok(Self {
            scheduled_ns,
            waited_ns,
            user_ns,
            system_ns,
            resident_bytes,
        })
    }

    /// What was spent since `earlier`.
    pub fn since(&self, earlier: &Self) -> Spent {
        let user_ns = self.user_ns.saturating_sub(earlier.user_ns);
        let system_ns = self.system_ns.saturating_sub(earlier.system_ns);
        let ticked = user_ns + system_ns;
        let scheduled = self.scheduled_ns.saturating_sub(earlier.scheduled_ns);
        // Threads that ended take their schedstat along; the tick counters keep theirs.
        let precise = self.scheduled_ns >= earlier.scheduled_ns && scheduled + SECOND_NS / 20 >= ticked;
        Spent {
            total_ns: if precise { scheduled } else { ticked },
            waited_ns: self.waited_ns.saturating_sub(earlier.waited_ns),
            user_ns,
            system_ns,
            precise,
        }
    }
}

/// Time run and time waited of a `schedstat` line, nanoseconds.
fn schedule_of(line: &str) -> Option<(u64, u64)> {
    let mut fields = line
        .split_ascii_whitespace()
        .map(|field| field.parse::<u64>().ok());
    Some((fields.next()??, fields.next()??))
}

/// How long the calling thread has been ready to run while others had the core, nanoseconds; 0 where the system
/// does not tell.
pub fn thread_waited_ns() -> u64 {
    let line = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedule_of(&line).map_or(0, |(_, waited_ns)| waited_ns)
}

/// `utime` and `stime` of a `/proc/<pid>/stat` line (fields 14 and 15, after a name that may hold spaces).
fn times_of(stat: &str) -> Option<(u64, u64)> {
    let tick_ns = SECOND_NS / rustix::param::clock_ticks_per_second().max(1);
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok().map(|ticks| ticks * tick_ns);
    Some((next()?, next()?))
}

/// `VmRSS` of a `/proc/<pid>/status` file, bytes.
fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 1 1 1";
        let tick_ns = SECOND_NS / rustix::param::clock_ticks_per_second();
        assert_eq!(times_of(stat), Some((250 * tick_ns, 50 * tick_ns)));
    }

    #[test]
    fn the_own_process_can_be_read() {
        let reading = Reading::take(std::process::id()).unwrap();
        assert!(reading.resident_bytes > 100_000);
        assert!(reading.scheduled_ns > 0);
        assert_eq!(schedule_of("280246 61293 3\n"), Some((280_246, 61_293)));
        assert_eq!(
            resident_of("VmPeak:\t 9 kB\nVmRSS:\t    42 kB\n"),
            Some(42 * 1024)
        );
    }

    #[test]
    fn ended_threads_fall_back_to_the_tick_counters() {
        let before = Reading {
            scheduled_ns: 900,
            waited_ns: 0,
            user_ns: 0,
            system_ns: 0,
            resident_bytes: 0,
        };
        let after = Reading {
            scheduled_ns: 100,
            waited_ns: 0,
            user_ns: 3 * SECOND_NS,
            system_ns: SECOND_NS,
            resident_bytes: 0,
        };
        let spent = after.since(&before);
        assert_eq!((spent.total_ns, spent.precise), (4 * SECOND_NS, false));
    }
}
