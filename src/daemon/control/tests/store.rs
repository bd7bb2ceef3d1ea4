//! The files of a store, and what several processes may do to it at once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{OWNER, populated, uid};
use crate::daemon::control::{
    ChosenSecret, OpenMode, RecordError, Records, ServiceKind, StoreFault, access, book, look,
};
use crate::limits;
use crate::route::{CredentialId, Role, Uid};
use crate::store::scram;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn reopened(dir: &Path) -> Result<Records, StoreFault> {
    Records::open(dir, OpenMode::Existing)
}

#[test]
fn files_are_their_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("deep/store");
    let (_records, _) = populated(&store);
    assert_eq!(mode(&store), 0o700);
    let mut seen = Vec::new();
    for entry in fs::read_dir(&store).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        seen.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    seen.sort();
    assert_eq!(seen, ["nexus.db", "nexus.db-shm", "nexus.db-wal", "store.key"]);
}

#[test]
fn files_that_others_may_use_are_refused_with_their_remedy() {
    let dir = tempfile::tempdir().unwrap();
    drop(populated(dir.path()));
    for (name, loose, tight) in [
        ("store.key", 0o640, 0o600),
        ("nexus.db", 0o604, 0o600),
        (".", 0o770, 0o700),
    ] {
        let path = dir.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(loose)).unwrap();
        let fault = reopened(dir.path()).unwrap_err();
        assert!(matches!(fault, StoreFault::Exposed { .. }), "{fault}");
        assert!(fault.to_string().contains(&format!("chmod {tight:o}")), "{fault}");
        fs::set_permissions(&path, fs::Permissions::from_mode(tight)).unwrap();
        reopened(dir.path()).unwrap();
    }
}

#[test]
fn a_damaged_a_lost_and_a_foreign_key_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    drop(populated(dir.path()));
    let path = dir.path().join("store.key");
    let key = fs::read(&path).unwrap();
    let expect = |why: &str| {
        let fault = reopened(dir.path()).unwrap_err();
        assert!(matches!(fault, StoreFault::Key { .. }), "{fault}");
        let line = fault.to_string();
        assert!(line.contains(why) && line.contains("backup"), "{line}");
    };
    for damaged in [
        &b""[..],
        b"short\n",
        &key[..42],
        &[0xff; 44],
        &[key.as_slice(), b"x"].concat(),
    ] {
        fs::write(&path, damaged).unwrap();
        expect("not one line of 43");
    }
    let mut foreign = key.clone();
    foreign[0] = if foreign[0] == b'A' { b'B' } else { b'A' };
    fs::write(&path, &foreign).unwrap();
    expect("made with another");
    fs::remove_file(&path).unwrap();
    expect("missing");
    assert!(!path.exists(), "no key is made for a database that had one");
    fs::write(&path, &key).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    reopened(dir.path()).unwrap();
}

#[test]
fn looking_at_a_data_directory_tells_what_is_there_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("deep/store");
    assert!(!look(&store).unwrap());
    assert!(!dir.path().join("deep").exists());
    drop(populated(&store));
    let files = || fs::read_dir(&store).unwrap().count();
    let before = files();
    assert!(look(&store).unwrap());
    assert_eq!(files(), before);
    fs::set_permissions(store.join("store.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let fault = look(&store).unwrap_err();
    assert!(matches!(fault, StoreFault::Exposed { .. }), "{fault}");
    fs::set_permissions(store.join("store.key"), fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["nexus.db", "nexus.db-wal", "nexus.db-shm"] {
        let _not_there = fs::remove_file(store.join(name));
    }
    let fault = look(&store).unwrap_err();
    assert!(matches!(fault, StoreFault::Lost { .. }), "{fault}");
    let fault = look(&store.join("store.key")).unwrap_err().to_string();
    assert!(fault.contains("that is no directory"), "{fault}");
}

#[test]
fn a_read_only_file_system_is_told_as_such() {
    let dir = Path::new("/srv/nexus");
    let refused = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
    let fault = access::explained(StoreFault::file("make", dir.join("store.key"))(refused), dir);
    let line = fault.to_string();
    assert!(
        line.starts_with("cannot use the data directory /srv/nexus: its file system is read-only; "),
        "{line}"
    );
}

#[test]
fn a_damaged_and_a_later_database_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(populated(dir.path()));
    let path = dir.path().join("nexus.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let fault = reopened(dir.path()).unwrap_err();
    assert!(matches!(fault, StoreFault::Version { found: 99, .. }), "{fault}");
    fs::write(&path, vec![7; 8_192]).unwrap();
    let fault = reopened(dir.path()).unwrap_err();
    assert!(fault.to_string().contains("restore nexus.db"), "{fault}");
}

#[test]
fn secrets_stay_the_same_over_reopening_and_are_nowhere_in_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, secret) = populated(dir.path());
    let weak = ChosenSecret::new("hunter2-is-weak", true).unwrap();
    let long = ChosenSecret::new("correct horse battery staple 1234", false).unwrap();
    let other = Uid::parse(&"f".repeat(24)).unwrap();
    records
        .write(|w| {
            w.add_account_with("etest", uid(), Role::User, &weak)?;
            w.add_account_with("etest", other, Role::User, &long)
        })
        .unwrap();
    drop(records);
    let mut records = reopened(dir.path()).unwrap();
    let again = records
        .write(|w| w.add_account("etest", uid(), Role::Owner))
        .unwrap();
    assert_eq!(again.secret.expose(), secret);
    drop(records);
    let bytes = fs::read(dir.path().join("nexus.db")).unwrap();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(OWNER));
    for text in [
        secret.as_str(),
        "hunter2-is-weak",
        "correct horse battery staple 1234",
    ] {
        assert!(!holds(text));
    }
}

#[test]
fn scram_keys_of_chosen_secrets_are_kept_with_the_salt_of_the_account() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, _) = populated(dir.path());
    let weak = ChosenSecret::new("hunter2", true).unwrap();
    let account = records
        .write(|w| w.add_account_with("etest", uid(), Role::User, &weak))
        .unwrap()
        .account;
    let salt = records.key.salt(&account);
    let (sha256, sha1): (Vec<u8>, Vec<u8>) = records
        .connection
        .query_row(
            "SELECT scram_sha256, scram_sha1 FROM secret WHERE subject = ?1",
            [&account],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    let expected = scram::sha256(b"hunter2", &salt, 4_096);
    assert_eq!(sha256, [expected.stored_key, expected.server_key].concat());
    let expected = scram::sha1(b"hunter2", &salt, 4_096);
    assert_eq!(sha1, [expected.stored_key, expected.server_key].concat());
}

#[test]
fn a_chosen_secret_is_not_replaced_or_shown_unawares() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, _) = populated(dir.path());
    let add = |records: &mut Records, text: &str| {
        let chosen = ChosenSecret::new(text, true).unwrap();
        records.write(|w| w.add_account_with("etest", uid(), Role::User, &chosen))
    };
    add(&mut records, "hunter2").unwrap();
    add(&mut records, "hunter2").unwrap();
    assert_eq!(records.secrets().unwrap().len(), 2);
    let refused = add(&mut records, "hunter3").unwrap_err();
    assert!(refused.to_string().contains("secret revoke"), "{refused}");
    let refused = records.write(|w| w.add_account("etest", uid(), Role::User));
    assert!(matches!(refused, Err(RecordError::Refused { .. })));
    let id = CredentialId(records.secrets().unwrap()[1].id);
    records.write(|w| w.revoke_secret(id)).unwrap();
    add(&mut records, "hunter3").unwrap();
}

#[test]
fn removing_an_app_ends_its_accounts_secrets_and_services_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, secret) = populated(dir.path());
    records
        .write(|w| {
            w.grant_service(uid(), "etest", ServiceKind::Get, None)?;
            w.explore_secret("etest")?;
            w.remove_app("etest")?;
            w.add_app("etest", None, None)
        })
        .unwrap();
    assert!(records.services(None, None).unwrap().is_empty());
    assert!(
        records
            .secrets()
            .unwrap()
            .iter()
            .all(|secret| secret.revoked_unix_ms.is_some())
    );
    assert!(records.accounts(None).unwrap()[0].revoked_unix_ms.is_some());
    let again = records
        .write(|w| w.add_account("etest", uid(), Role::Owner))
        .unwrap();
    assert_ne!(again.secret.expose(), secret);
}

#[test]
fn the_number_of_services_of_one_user_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, _) = populated(dir.path());
    let refused = records.write(|w| {
        for n in 0..=limits::SERVICES_PER_UID_MAX {
            let app = format!("app{n}");
            w.add_app(&app, None, None)?;
            w.grant_service(uid(), &app, ServiceKind::Get, None)?;
            w.grant_service(uid(), &app, ServiceKind::Purchase, None)?;
        }
        Ok(())
    });
    assert!(refused.unwrap_err().to_string().contains("1024 services"));
    assert_eq!(records.apps().unwrap().len(), 2, "nothing of it was written");
}

#[test]
fn nothing_is_written_of_a_change_that_fails_halfway() {
    let dir = tempfile::tempdir().unwrap();
    let (mut records, _) = populated(dir.path());
    let failed = records.write(|w| {
        w.add_app("half", None, None)?;
        w.grant_service(uid(), "missing", ServiceKind::Get, None)
    });
    assert!(failed.is_err());
    assert_eq!(records.apps().unwrap().len(), 2);
}

/// How many accounts each of the writing processes adds.
const ADDED: usize = 20;
const DIR: &str = "NEXUS_TEST_WRITER_DIR";
const NUMBER: &str = "NEXUS_TEST_WRITER_NUMBER";

/// Not a test of its own: what the processes of the next test run.
#[test]
#[ignore = "run by several_processes_make_and_write_one_store_at_once"]
fn writer_process() {
    let dir = std::env::var(DIR).expect("run by the test that sets it");
    let number = std::env::var(NUMBER).unwrap();
    for n in 0..ADDED {
        let mut records = Records::open(Path::new(&dir), OpenMode::Create).unwrap();
        let uid = Uid::parse(&format!("{number}{n:023x}")).unwrap();
        let added = records.write(|w| {
            w.add_app("etest", None, None)?;
            w.add_account("etest", uid, Role::User)
        });
        added.unwrap();
    }
}

#[test]
fn several_processes_make_and_write_one_store_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let processes: Vec<_> = (0..4)
        .map(|number| {
            Command::new(std::env::current_exe().unwrap())
                .args([
                    "--ignored",
                    "--exact",
                    "daemon::control::tests::store::writer_process",
                ])
                .env(DIR, &store)
                .env(NUMBER, number.to_string())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for process in processes {
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
    let records = reopened(&store).unwrap();
    assert_eq!(records.accounts(Some("etest")).unwrap().len(), 4 * ADDED);
    let left: Vec<_> = fs::read_dir(&store)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(left.iter().all(|name| name != "nexusd.lock"));
    assert_eq!(
        left.iter()
            .filter(|name| name.to_string_lossy().starts_with("store.key"))
            .count(),
        1
    );
}

pub(super) fn plan(records: &Records, sql: &str, bound: &[&dyn rusqlite::ToSql]) -> Vec<String> {
    let mut statement = records
        .connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let rows = statement.query_map(bound, |row| row.get(3)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_password_is_looked_up_in_one_index_by_account_and_mac() {
    let dir = tempfile::tempdir().unwrap();
    let (records, _) = populated(dir.path());
    let found = plan(&records, book::PASSWORD_LOOK_UP, &[&"a", &[0_u8; 32], &"r", &8]);
    let by_mac = "SEARCH secret USING COVERING INDEX secret_password (subject=? AND verifier=?)";
    assert_eq!(
        found.iter().filter(|step| *step == by_mac).count(),
        2,
        "{found:?}"
    );
}

#[test]
fn a_proof_of_scram_reads_the_first_secrets_of_an_account_in_the_order_of_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let (records, _) = populated(dir.path());
    let found = plan(&records, book::PROOF_LOOK_UP, &[&"a", &8]);
    assert_eq!(found, ["SEARCH secret USING INDEX secret_proof (subject=?)"]);
}

#[test]
fn a_login_is_not_planned_anew_for_each_account() {
    let dir = tempfile::tempdir().unwrap();
    let (records, _) = populated(dir.path());
    let mut statement = records.connection.prepare(book::PASSWORD_LOOK_UP).unwrap();
    for account in ["a", "b", "c"] {
        let bound = rusqlite::params![account, [7_u8; 32], None::<&str>, 8];
        assert!(!statement.exists(bound).unwrap());
    }
    assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
}

#[test]
fn a_store_of_the_first_version_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let (records, secret) = populated(dir.path());
    let indexes = |records: &Records| -> Vec<String> {
        let mut statement = records
            .connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name")
            .unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let current = indexes(&records);
    records
        .connection
        .execute_batch(
            "DROP INDEX secret_password; DROP INDEX secret_proof; DROP INDEX secret_shown;
             DROP INDEX account_owner; DROP TABLE announcement; PRAGMA user_version = 1;
             CREATE INDEX secret_login ON secret (subject, resource) WHERE kind = 'account';",
        )
        .unwrap();
    drop(records);
    let mut records = reopened(dir.path()).unwrap();
    assert_eq!(indexes(&records), current);
    let again = records.write(|w| w.add_account("etest", uid(), Role::Owner));
    assert_eq!(again.unwrap().secret.expose(), secret);
}
