//! A start that the machine refuses, or that loses something, says so in one line: what, why, what to do
//! (PROTOCOL 7).

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::harness::certificates::Authority;
use crate::harness::daemon::{cli_in, nexusd, serve_command, signal};
use crate::harness::{Net, Options, eventually};

/// A user without rights, where the tests run as root.
const NOBODY: u32 = 65_534;

/// The one line on standard error of a command that ended with 1.
#[track_caller]
fn failure(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert_eq!(err.trim_end().lines().count(), 1, "{err}");
    err.trim_end().to_owned()
}

fn is_root(directory: &Path) -> bool {
    fs::metadata(directory).unwrap().uid() == 0
}

/// Runs a command as somebody whom modes hold back: root is not. None where that user cannot reach the program.
fn output_unprivileged(mut command: Command, directory: &Path) -> Option<Output> {
    if is_root(directory) {
        command.uid(NOBODY).gid(NOBODY);
    }
    match command.output() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            eprintln!("not tested: user {NOBODY} cannot run the program: {error}");
            None
        }
        output => Some(output.unwrap()),
    }
}

/// The store of `directory`, given to the user of [`output_unprivileged`].
fn unprivileged_store(directory: &Path) {
    let data = directory.join("data");
    let made = cli_in(directory, &["app", "add", "etest"]);
    assert!(made.status.success(), "{made:?}");
    if is_root(directory) {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
        for entry in fs::read_dir(&data).unwrap() {
            chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

#[test]
fn too_little_locked_memory_is_told_with_the_limits_to_raise() {
    let directory = TempDir::with_prefix("nexus-test-").unwrap();
    let serve = serve_command(directory.path(), &Options::shards(1));
    let output = Command::new("sh")
        .args(["-c", "ulimit -l 0 && exec \"$0\" \"$@\""])
        .arg(serve.get_program())
        .args(serve.get_args())
        .output()
        .unwrap();
    let line = failure(&output);
    for word in [
        "locked",
        "0 KiB",
        "1024 KiB",
        "ulimit -l 1024",
        "LimitMEMLOCK=1024K",
    ] {
        assert!(line.contains(word), "{word}: {line}");
    }
}

#[test]
fn a_data_directory_that_may_not_be_used_is_told_with_what_refuses_it() {
    let directory = TempDir::with_prefix("nexus-test-").unwrap();
    let data = directory.path().join("data");
    unprivileged_store(directory.path());
    let key = data.join("store.key");
    for (path, loose, tight, word) in [
        (&data, 0o500, 0o700, "chmod u+rwx"),
        (&key, 0o000, 0o600, "chmod u+rw "),
        (&key, 0o644, 0o600, "chmod 600"),
    ] {
        fs::set_permissions(path, Permissions::from_mode(loose)).unwrap();
        let serve = serve_command(directory.path(), &Options::shards(1));
        let Some(output) = output_unprivileged(serve, directory.path()) else {
            return;
        };
        let line = failure(&output);
        for word in [word, path.to_str().unwrap()] {
            assert!(line.contains(word), "{word}: {line}");
        }
        fs::set_permissions(path, Permissions::from_mode(tight)).unwrap();
    }
}

#[test]
fn a_data_directory_of_another_user_is_told_with_both_users() {
    let directory = TempDir::with_prefix("nexus-test-").unwrap();
    if !is_root(directory.path()) {
        eprintln!("not tested: only root can make a directory that is another user's");
        return;
    }
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    // There is no store yet: it cannot be made, either.
    let config = format!("data_dir = {:?}\n", directory.path().join("data"));
    let file = directory.path().join("nexus.toml");
    fs::write(&file, config).unwrap();
    for remedy in ["install -d -m 700 -o 65534", "chown -R 65534"] {
        let list = {
            let mut list = Command::new(env!("CARGO_BIN_EXE_nexusd"));
            list.args(["app", "add", "other", "--config"]).arg(&file);
            list
        };
        let mut check = Command::new(env!("CARGO_BIN_EXE_nexusd"));
        check.args(["check", "--config"]).arg(&file);
        let Some(output) = output_unprivileged(list, directory.path()) else {
            return;
        };
        let line = failure(&output);
        for word in [remedy, "user 0", "user 65534", directory.path().to_str().unwrap()] {
            assert!(line.contains(word), "{word}: {line}");
        }
        let output = output_unprivileged(check, directory.path()).unwrap();
        let findings = String::from_utf8_lossy(&output.stdout);
        let finding = findings.lines().find(|line| line.contains("data_dir")).unwrap();
        assert!(
            finding.starts_with("FAIL") && finding.contains(remedy),
            "{finding}"
        );
        let made = cli_in(directory.path(), &["app", "add", "etest"]);
        assert!(made.status.success(), "{made:?}");
    }
}

#[test]
fn a_database_that_is_gone_is_warned_of_at_the_start() {
    let directory = TempDir::with_prefix("nexus-test-").unwrap();
    let data = directory.path().join("data");
    let first = stderr_of_a_run(directory.path());
    assert!(!first.contains("is gone"), "a new store: {first}");
    for name in ["nexus.db", "nexus.db-wal", "nexus.db-shm"] {
        let _not_there = fs::remove_file(data.join(name));
    }
    let file = directory.path().join("nexus.toml");
    fs::write(&file, format!("data_dir = {data:?}\n")).unwrap();
    let check = nexusd(&["check", "--config", file.to_str().unwrap()], &[]);
    let findings = String::from_utf8_lossy(&check.stdout);
    assert!(findings.contains("nexus.db is gone"), "{findings}");
    let second = stderr_of_a_run(directory.path());
    for word in ["WARN", "nexus.db is gone", "backup"] {
        assert!(second.contains(word), "{word}: {second}");
    }
}

#[test]
fn check_reads_the_files_of_tls_and_makes_none() {
    let directory = TempDir::with_prefix("nexus-test-").unwrap();
    let (data, file) = (directory.path().join("data"), directory.path().join("nexus.toml"));
    let free = "127.0.0.1:0";
    let findings = |tls: &str| {
        let config = format!(
            "data_dir = {data:?}\n[listen]\nmqtt = {free:?}\nws = {free:?}\nhttp = {free:?}\n\
             mqtts = {free:?}\n[tls]\n{tls}"
        );
        fs::write(&file, config).unwrap();
        let check = nexusd(&["check", "--config", file.to_str().unwrap()], &[]);
        String::from_utf8_lossy(&check.stdout).into_owned()
    };
    let has = |findings: &str, mark: &str, what: &str| {
        let found = findings
            .lines()
            .any(|line| line.starts_with(mark) && line.contains(what));
        assert!(found, "{mark} {what}: {findings}");
    };
    has(&findings("self_signed = true"), "ok", "tls.self_signed");
    // Authorities are read, whoever made the daemon's own certificate.
    let ca = directory.path().join("ca.pem");
    let authorities = format!("self_signed = true\nclient_ca_file = {ca:?}");
    has(&findings(&authorities), "FAIL", "tls.client_ca_file");
    fs::copy(Authority::shared().file(), &ca).unwrap();
    has(&findings(&authorities), "ok", "tls.client_ca_file");
    assert!(!data.exists(), "nothing is made");
    // What a start has left there is read, too.
    fs::create_dir_all(data.join("tls")).unwrap();
    for name in ["self-signed.pem", "self-signed-key.pem"] {
        fs::write(data.join("tls").join(name), "").unwrap();
    }
    has(&findings("self_signed = true"), "FAIL", "remove both files");
}

#[test]
fn check_names_the_address_of_xmpp_that_nobody_named() {
    let directory = TempDir::with_prefix("nexus-test-").unwrap();
    let file = directory.path().join("nexus.toml");
    fs::write(&file, format!("data_dir = {:?}\n", directory.path().join("data"))).unwrap();
    let check = nexusd(&["check", "--config", file.to_str().unwrap()], &[]);
    let findings = String::from_utf8_lossy(&check.stdout).into_owned();
    // Taken or not by another server of this machine: the daemon starts.
    let line = findings.lines().find(|line| line.contains("listen.xmpp"));
    let line = line.unwrap_or_else(|| panic!("{findings}"));
    assert!(
        line.starts_with("ok") && line.contains("127.0.0.1:5222"),
        "{line}"
    );
}

/// What a daemon that starts and is told to stop says on standard error.
fn stderr_of_a_run(directory: &Path) -> String {
    let mut child = serve_command(directory, &Options::shards(1)).spawn().unwrap();
    let mut ready = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut ready).unwrap();
    signal(&child, "TERM");
    let ended = child.wait_with_output().unwrap();
    let err = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success() && ready.contains("ready"), "{ready}{err}");
    err
}

#[test]
fn what_a_reread_configuration_cannot_change_is_named_in_the_log() {
    let net = Net::start(&Options::shards(1).config("[drain]\nseconds = 3\n"));
    let daemon = net.daemon();
    let file = daemon.data_dir().join("nexus.toml");
    let reread = |config: &str, says: &str| {
        fs::write(&file, config).unwrap();
        daemon.signal("HUP");
        eventually(says, || daemon.log().contains(says));
    };
    reread(
        "[drain]\nseconds = 3\n[mqtt]\nreceive_maximum = 7\n",
        "configuration reread",
    );
    assert!(!daemon.log().contains("WARN"), "{}", daemon.log());
    reread(
        "[drain]\nseconds = 4\n[shards]\nspin_us = 1\n",
        "only a restart of nexusd takes it over: shards.spin_us, drain.seconds",
    );
    reread(
        "[drain]\nseconds = -4\n",
        "drain.seconds = -4: a number from 0 to 3600",
    );
}
