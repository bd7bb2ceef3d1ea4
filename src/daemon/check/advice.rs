//! What `tuning/` advises for the machine, as far as it holds for every daemon: compared, never set. Nothing of it keeps a
//! daemon from running.

use std::fs;
use std::path::Path;

/// What a knob is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Exactly this word.
    Is(&'static str),
    /// At least so much.
    Least(u64),
}

/// One file of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Knob {
    /// Its name in `tuning/README.md`, where its reason is.
    pub name: &'static str,
    /// Its file.
    pub path: &'static str,
    /// What is advised.
    pub wanted: Wanted,
}

const fn sysctl(name: &'static str, path: &'static str, wanted: Wanted) -> Knob {
    Knob { name, path, wanted }
}

/// Those whose value does not depend on how many clients there are, or on which interface they come by.
pub const KNOBS: &[Knob] = &[
    sysctl("vm.swappiness", "/proc/sys/vm/swappiness", Wanted::Is("1")),
    sysctl(
        "transparent_hugepage",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        Wanted::Is("madvise"),
    ),
    sysctl(
        "net.core.somaxconn",
        "/proc/sys/net/core/somaxconn",
        Wanted::Least(65_535),
    ),
    sysctl(
        "net.ipv4.tcp_max_syn_backlog",
        "/proc/sys/net/ipv4/tcp_max_syn_backlog",
        Wanted::Least(65_535),
    ),
    sysctl(
        "net.ipv4.tcp_syncookies",
        "/proc/sys/net/ipv4/tcp_syncookies",
        Wanted::Is("1"),
    ),
    sysctl(
        "net.core.netdev_max_backlog",
        "/proc/sys/net/core/netdev_max_backlog",
        Wanted::Least(16_384),
    ),
    sysctl(
        "net.ipv4.tcp_slow_start_after_idle",
        "/proc/sys/net/ipv4/tcp_slow_start_after_idle",
        Wanted::Is("0"),
    ),
    sysctl(
        "scaling_governor",
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        Wanted::Is("performance"),
    ),
];

/// A knob whose value is another than the advised one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The knob.
    pub name: &'static str,
    /// What it is.
    pub now: String,
    /// What is advised.
    pub advised: String,
}

/// The knobs below `root` that differ, and how many there are. A knob that the machine does not have is none.
pub fn differences(root: &Path) -> (Vec<Difference>, usize) {
    let found = KNOBS
        .iter()
        .filter_map(|knob| Some((knob, read(root, knob.path)?)));
    let mut there = 0;
    let mut differ = Vec::new();
    for (knob, now) in found {
        there += 1;
        let (fits, advised) = match knob.wanted {
            Wanted::Is(word) => (now == word, word.to_owned()),
            Wanted::Least(least) => (
                now.parse().is_ok_and(|now: u64| now >= least),
                format!("at least {least}"),
            ),
        };
        if !fits {
            differ.push(Difference {
                name: knob.name,
                now,
                advised,
            });
        }
    }
    (differ, there)
}

/// The value in a file; where the file lists choices, the one in brackets.
fn read(root: &Path, path: &str) -> Option<String> {
    let text = fs::read_to_string(root.join(path.trim_start_matches('/'))).ok()?;
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    Some(chosen.map_or(text.as_str(), |(word, _)| word).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(knobs: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in knobs {
            let file = root.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        root
    }

    #[test]
    fn what_differs_is_told_with_what_is_advised() {
        let root = machine(&[
            ("/proc/sys/vm/swappiness", "60\n"),
            ("/proc/sys/net/core/somaxconn", "4096\n"),
            ("/proc/sys/net/core/netdev_max_backlog", "20000\n"),
            (
                "/sys/kernel/mm/transparent_hugepage/enabled",
                "[always] madvise never\n",
            ),
        ]);
        let (differ, there) = differences(root.path());
        let told: Vec<_> = differ
            .iter()
            .map(|one| (one.name, one.now.as_str(), one.advised.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("vm.swappiness", "60", "1"),
                ("transparent_hugepage", "always", "madvise"),
                ("net.core.somaxconn", "4096", "at least 65535"),
            ]
        );
        assert_eq!(there, 4);
    }

    #[test]
    fn nothing_is_told_of_a_machine_as_advised_or_without_such_files() {
        let as_advised: Vec<_> = KNOBS
            .iter()
            .map(|knob| match knob.wanted {
                Wanted::Is(word) => (knob.path, word.to_owned()),
                Wanted::Least(least) => (knob.path, least.to_string()),
            })
            .collect();
        let files: Vec<_> = as_advised
            .iter()
            .map(|(path, text)| (*path, text.as_str()))
            .collect();
        assert_eq!(differences(machine(&files).path()), (Vec::new(), KNOBS.len()));
        assert_eq!(differences(machine(&[]).path()), (Vec::new(), 0));
    }
}
