//! `tuning/nexus-tune` on a made-up machine: what it finds, sets, notes and sets back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nexus::daemon::check::advice::{KNOBS, Wanted};
use tempfile::TempDir;

/// A machine of two cores with one interface of two queues.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(TempDir::new().unwrap());
        for (path, text) in [
            ("proc/sys/fs/nr_open", "1048576"),
            ("proc/sys/fs/file-max", "9000000"),
            ("proc/sys/vm/swappiness", "60"),
            ("proc/sys/kernel/io_uring_disabled", "0"),
            ("proc/sys/net/core/somaxconn", "4096"),
            ("proc/sys/net/ipv4/tcp_mem", "287901\t383869\t9999999"),
            ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t33554432"),
            ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304"),
            (
                "sys/kernel/mm/transparent_hugepage/enabled",
                "[always] madvise never",
            ),
            ("sys/devices/system/cpu/online", "0-1"),
            (
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
                "powersave",
            ),
            ("sys/devices/system/cpu/cpu0/cpuidle/state1/latency", "2"),
            ("sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "0"),
            ("sys/devices/system/cpu/cpu0/cpuidle/state2/latency", "200"),
            ("sys/devices/system/cpu/cpu0/cpuidle/state2/disable", "0"),
            ("sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000,00000003"),
            ("sys/class/net/eth0/queues/tx-0/xps_cpus", "00000000,00000000"),
            ("sys/class/net/eth0/queues/rx-1/rps_cpus", "00000000,00000000"),
            ("sys/class/net/eth0/queues/tx-1/xps_cpus", "00000000,00000000"),
            ("proc/irq/41/smp_affinity_list", "0-1"),
            (
                "proc/interrupts",
                " 40:  1  2  PCI-MSI  1-edge  other-rx-1\n 41:  1  2  PCI-MSI  2-edge  eth0-rx-1\n",
            ),
            ("proc/cmdline", "quiet isolcpus=1"),
        ] {
            machine.write(path, text);
        }
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap().trim_end().to_owned()
    }

    fn tune(&self, line: &str) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/nexus-tune");
        Command::new("sh")
            .arg(script)
            .args(line.split_ascii_whitespace())
            .arg("--root")
            .arg(self.0.path())
            .arg("--state")
            .arg(self.path("state"))
            .output()
            .unwrap()
    }
}

fn text(output: &Output) -> String {
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// How a knob is, as the table says.
fn state_of<'a>(table: &'a str, knob: &str) -> Option<&'a str> {
    let mut lines = table.lines().map(str::split_ascii_whitespace);
    lines.find_map(|mut words| {
        let state = words.next()?;
        (words.next() == Some(knob)).then_some(state)
    })
}

#[test]
fn what_differs_is_shown_and_nothing_is_changed() {
    let machine = Machine::new();
    let output = machine.tune("show --connections 100000");
    let table = text(&output);
    assert_eq!(output.status.code(), Some(1), "{table}");
    for (knob, state) in [
        ("fs.nr_open", "ok"),
        ("vm.swappiness", "differs"),
        ("transparent_hugepage", "differs"),
        ("net.ipv4.tcp_mem", "ok"),
        ("net.ipv4.tcp_rmem", "differs"),
        ("net.ipv4.tcp_wmem", "ok"),
        ("net.ipv4.tcp_syncookies", "absent"),
        ("cpu0/scaling_governor", "differs"),
    ] {
        assert_eq!(state_of(&table, knob), Some(state), "{knob}\n{table}");
    }
    // Not asked for.
    assert_eq!(state_of(&table, "cpu0/state2"), None);
    assert!(
        table.contains("boot: isolcpus") && table.contains("boot: nohz_full"),
        "{table}"
    );
    // More connections need more.
    let many = text(&machine.tune("show --connections 5000000"));
    assert_eq!(state_of(&many, "fs.nr_open"), Some("differs"), "{many}");
    assert_eq!(state_of(&many, "net.ipv4.tcp_mem"), Some("differs"), "{many}");
    assert_eq!(machine.read("proc/sys/vm/swappiness"), "60");
    assert!(!machine.path("state").exists());
}

#[test]
fn what_was_set_is_set_back() {
    let machine = Machine::new();
    let line = "apply --connections 2000000 --nic eth0 --quiet-cores";
    let set = [
        ("proc/sys/fs/nr_open", "1048576", "2065536"),
        ("proc/sys/vm/swappiness", "60", "1"),
        (
            "proc/sys/net/ipv4/tcp_rmem",
            "4096 131072 33554432",
            "4096 16384 4194304",
        ),
        ("sys/kernel/mm/transparent_hugepage/enabled", "always", "madvise"),
        (
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            "powersave",
            "performance",
        ),
        ("sys/devices/system/cpu/cpu0/cpuidle/state2/disable", "0", "1"),
        (
            "sys/class/net/eth0/queues/rx-0/rps_cpus",
            "00000000,00000003",
            "00000000,00000000",
        ),
        (
            "sys/class/net/eth0/queues/tx-1/xps_cpus",
            "00000000,00000000",
            "00000000,00000002",
        ),
        ("proc/irq/41/smp_affinity_list", "0-1", "1"),
    ];
    let output = machine.tune(line);
    assert!(output.status.success(), "{}", text(&output));
    for (path, _, wanted) in set {
        assert_eq!(machine.read(path), wanted, "{path}");
    }
    assert_eq!(
        machine.read("sys/devices/system/cpu/cpu0/cpuidle/state1/disable"),
        "0"
    );
    assert!(machine.tune(&line.replace("apply", "show")).status.success());
    // A second time changes nothing, above all not what is noted.
    let again = machine.tune("apply --connections 3000000");
    assert!(text(&again).contains("fs.nr_open"), "{again:?}");
    let undone = machine.tune("undo");
    assert!(undone.status.success(), "{}", text(&undone));
    for (path, before, _) in set {
        assert_eq!(machine.read(path), before, "{path}");
    }
    assert!(!machine.path("state").exists());
    let nothing = machine.tune("undo");
    assert_eq!(nothing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("nothing is noted"));
}

#[test]
fn what_cannot_be_set_is_said_and_the_rest_is_set() {
    let machine = Machine::new();
    // Nobody can write to a directory.
    fs::remove_file(machine.path("proc/sys/vm/swappiness")).unwrap();
    fs::create_dir(machine.path("proc/sys/vm/swappiness")).unwrap();
    let output = machine.tune("apply");
    assert_eq!(output.status.code(), Some(1));
    let table = text(&output);
    assert_eq!(state_of(&table, "vm.swappiness"), Some("refused"), "{table}");
    assert_eq!(machine.read("proc/sys/net/core/somaxconn"), "65535");
}

#[test]
fn what_is_higher_stays_so() {
    let machine = Machine::new();
    let output = machine.tune("apply --connections 2000000");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(machine.read("proc/sys/net/ipv4/tcp_mem"), "631072 946608 9999999");
}

#[test]
fn interrupts_are_found_by_the_names_that_drivers_give_them() {
    for name in [
        "eth0-rx-1",
        "eth0-TxRx-1",
        "i40e-eth0-TxRx-1",
        "ice-eth0-TxRx-1",
        "eth0-Tx-Rx-1",
        "eth0-rxtx-1",
        "eth0-1",
    ] {
        let machine = Machine::new();
        machine.write(
            "proc/interrupts",
            &format!(" 40:  1  2  PCI-MSI  1-edge  xeth0-rx-1\n 41:  1  2  PCI-MSI  2-edge  {name}"),
        );
        let table = text(&machine.tune("show --nic eth0"));
        assert_eq!(
            state_of(&table, "eth0/irq-41"),
            Some("differs"),
            "{name}\n{table}"
        );
        assert!(table.contains("eth0/irq of queue 0"), "{table}");
    }
}

#[test]
fn what_holds_its_former_value_needs_not_be_set_back() {
    let machine = Machine::new();
    assert!(machine.tune("apply").status.success());
    // Something else has set it back, and maybe the kernel takes no other value any more.
    machine.write("proc/sys/vm/swappiness", "60");
    let undone = machine.tune("undo");
    let table = text(&undone);
    assert!(undone.status.success(), "{table}");
    assert_eq!(state_of(&table, "/proc/sys/vm/swappiness"), Some("ok"), "{table}");
    assert_eq!(
        state_of(&table, "/proc/sys/net/core/somaxconn"),
        Some("undone"),
        "{table}"
    );
    assert!(!machine.path("state").exists());
}

#[test]
fn without_a_place_for_former_values_nothing_is_set() {
    let machine = Machine::new();
    machine.write("file", "in the way");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/nexus-tune");
    let output = Command::new("sh")
        .arg(script)
        .args(["apply", "--root"])
        .arg(machine.0.path())
        .arg("--state")
        .arg(machine.path("file/state"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("are you root?"), "{stderr}");
    assert_eq!(machine.read("proc/sys/vm/swappiness"), "60");
}

#[test]
fn wrong_usage_is_explained() {
    let machine = Machine::new();
    for (line, said) in [
        ("", "unknown command"),
        ("tweak", "unknown command"),
        ("show --connections many", "takes a number"),
        ("show --cores 1-x", "no list of cores"),
        ("show --cores 1-0", "no list of cores"),
        ("show --cores 1-", "no list of cores"),
        ("show --cores 08", "no list of cores"),
        ("show --nic eth9", "no interface eth9"),
        ("show --speed 9", "unknown option"),
    ] {
        let output = machine.tune(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(said), "{line}: {stderr}");
    }
}

#[test]
fn the_files_for_a_boot_say_what_the_script_sets() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning");
    let sysctl = fs::read_to_string(root.join("sysctl.d/90-nexus.conf")).unwrap();
    let settings = sysctl.lines().filter_map(|line| line.split_once(" = "));
    let machine = Machine::new();
    let mut count = 0;
    for (key, value) in settings {
        machine.write(&format!("proc/sys/{}", key.replace('.', "/")), value);
        count += 1;
    }
    let table = text(&machine.tune("show"));
    let ok = table
        .lines()
        .filter(|line| line.starts_with("ok ") && (line.contains(" net.") || line.contains(" fs.")))
        .count();
    assert_eq!(ok, count - 2, "{table}");
    for knob in ["vm.swappiness", "kernel.io_uring_disabled"] {
        assert_eq!(state_of(&table, knob), Some("ok"), "{table}");
    }
    let unit = fs::read_to_string(root.join("systemd/nexusd.service")).unwrap();
    let limits = fs::read_to_string(root.join("limits.d/90-nexus.conf")).unwrap();
    assert!(unit.contains("LimitNOFILE=1065536") && limits.contains("nofile   1065536"));
}

/// What the daemon's own check advises is what the script sets, and its reason is told.
#[test]
fn the_daemon_gives_the_same_advice() {
    let tuning = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning");
    let script = fs::read_to_string(tuning.join("nexus-tune")).unwrap();
    let reasons = fs::read_to_string(tuning.join("README.md")).unwrap();
    for knob in KNOBS {
        let value = match knob.wanted {
            Wanted::Is(word) => format!(" is {word}"),
            Wanted::Least(least) => format!(" least {least}"),
        };
        let file = knob.path.replace("/cpu0/", "/");
        let file = file.rsplit('/').next().unwrap();
        let advised = script
            .lines()
            .any(|line| line.contains(file) && line.trim_end().ends_with(&value));
        assert!(advised, "{}{value} is not what nexus-tune advises", knob.name);
        let short = knob.name.rsplit('.').next().unwrap();
        assert!(
            reasons.contains(short),
            "tuning/README.md has no reason for {}",
            knob.name
        );
    }
}
