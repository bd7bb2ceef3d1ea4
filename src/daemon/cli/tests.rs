//! The grammar of the command line and what commands print.

use std::path::Path;

use clap::Parser as _;
use clap::error::ErrorKind;
use serde_json::{Value, json};

use super::account::chosen_secret;
use super::{Cli, CliError, Command, StoreCommand, parse};

const UID: &str = "0123456789abcdef01234567";
const OWNER: &str = "etest-0123456789abcdef01234567-owner";

fn parsed(line: &str) -> Result<Command, clap::Error> {
    let words = std::iter::once("nexusd").chain(line.split_whitespace());
    Cli::try_parse_from(words).map(|cli| cli.command)
}

fn executed(dir: &Path, line: &str) -> Result<super::output::Output, CliError> {
    let line = format!("{line} --data-dir {}", dir.display());
    let Command::Store(command) = parsed(&line).unwrap() else {
        panic!("no command on the store");
    };
    let (_, output) = match command {
        StoreCommand::App(command) => command.run(),
        StoreCommand::Account(command) => command.run(),
        StoreCommand::Secret(command) => command.run(),
        StoreCommand::Service(command) => command.run(),
    }?;
    Ok(output)
}

fn json_of(dir: &Path, line: &str) -> Value {
    serde_json::from_str(&executed(dir, line).unwrap().json()).unwrap()
}

fn error_of(dir: &Path, line: &str) -> String {
    executed(dir, line).unwrap_err().to_string()
}

#[test]
fn every_command_of_the_contract_is_understood() {
    for line in [
        "serve",
        "serve --config nexus.toml --data-dir d --domain a.example --domain b.example --shards 2 \
         --mqtt 127.0.0.1:0 --ws 127.0.0.1:2 --http [::1]:6 --bridge 127.0.0.1:0",
        "demo --once --data-dir d --mqtt 127.0.0.1:0",
        "check --config nexus.toml",
        "app add etest --open",
        "app set etest --open false --direct entitled",
        "app list --human",
        "app remove etest",
        &format!("account add etest --uid {UID} --role owner --secret-stdin --weak"),
        "account list --config nexus.toml",
        &format!("account revoke {OWNER}"),
        &format!("secret add {OWNER} --resource Dev.1"),
        "secret explore etest",
        &format!("secret service --uid {UID} --app etest"),
        "secret list",
        "secret revoke 7",
        &format!("service grant --uid {UID} --app etest --kind purchase --expires 2030-12-31T23:59:59+01:00"),
        &format!("service revoke --uid {UID} --app etest"),
        "service list",
    ] {
        parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn wrong_usage_ends_with_exit_code_2() {
    for line in [
        "",
        "nonsense",
        "app add Etest",
        "app add etest --direct all",
        "app set etest --open maybe",
        "account add etest --uid 0123 --role owner",
        &format!("account add etest --uid {UID} --role admin"),
        &format!("account add etest --uid {UID} --role owner --weak"),
        &format!("account add etest --uid {UID}"),
        "account revoke etest",
        &format!("secret add {OWNER} --resource a/b"),
        "secret revoke 0",
        "secret revoke 18446744073709551615",
        "secret revoke abc",
        &format!("service grant --uid {UID} --app etest --expires tomorrow"),
        &format!("service grant --uid {UID} --app etest --expires 1960-01-01T00:00:00Z"),
        &format!("service grant --uid {UID} --app etest --kind free"),
        "serve --shards 0",
        "serve --mqtt 1883",
        "serve --mqtts 8883",
        "serve --tls none",
        "serve --bridge 8091",
    ] {
        let error = parsed(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}: {error}");
    }
    assert_eq!(parsed("--help").unwrap_err().kind(), ErrorKind::DisplayHelp);
    assert_eq!(parsed("--version").unwrap_err().exit_code(), 0);
}

#[test]
fn an_account_is_added_shown_again_revoked_and_added_anew() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let add = format!("account add etest --uid {UID} --role owner");
    let missing = error_of(dir, &add);
    assert_eq!(
        missing,
        "there is no app 'etest'; see 'nexusd app list', or add it with 'nexusd app add etest'"
    );
    let app = json_of(dir, "app add etest");
    assert_eq!(
        (&app["app"], &app["open"], &app["direct"]),
        (&json!("etest"), &json!(false), &json!("any"))
    );
    let first = json_of(dir, &add);
    assert_eq!(first["account"], OWNER);
    assert_eq!(first["secret"].as_str().unwrap().len(), 43);
    assert_eq!(json_of(dir, &add), first);
    assert_eq!(
        json_of(dir, &format!("secret add {OWNER}"))["secret"],
        first["secret"]
    );
    let revoke = format!("account revoke {OWNER}");
    assert_eq!(json_of(dir, &revoke), json!({"account": OWNER, "revoked": true}));
    assert_eq!(json_of(dir, &revoke)["revoked"], true);
    assert!(error_of(dir, &format!("secret add {OWNER}")).starts_with("there is no account"));
    assert!(json_of(dir, "account list")[0]["revoked"].is_string());
    assert_ne!(json_of(dir, &add)["secret"], first["secret"]);
    assert!(json_of(dir, "account list --app etest")[0]["revoked"].is_null());
    assert_eq!(json_of(dir, "account list --app other"), json!([]));
}

#[test]
fn secrets_are_issued_listed_without_being_shown_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    json_of(dir, "app add etest");
    json_of(dir, &format!("account add etest --uid {UID} --role owner"));
    let add = format!("secret add {OWNER} --resource Dev.1");
    let bound = json_of(dir, &add);
    assert_eq!(json_of(dir, &add), bound);
    let explore = json_of(dir, "secret explore etest");
    let service = format!("secret service --uid {UID} --app etest");
    assert!(error_of(dir, &service).contains("has no service of the app"));
    json_of(dir, &format!("service grant --uid {UID} --app etest"));
    let service = json_of(dir, &service);
    let listed = executed(dir, "secret list").unwrap().json();
    for issued in [&bound, &explore, &service] {
        assert!(!listed.contains(issued["secret"].as_str().unwrap()));
    }
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 4);
    assert_eq!(
        (&listed[1]["id"], &listed[1]["resource"]),
        (&bound["id"], &json!("Dev.1"))
    );
    let revoke = format!("secret revoke {}", bound["id"]);
    assert_eq!(json_of(dir, &revoke), json!({"id": bound["id"], "revoked": true}));
    assert_eq!(json_of(dir, &revoke)["revoked"], true);
    assert!(error_of(dir, "secret revoke 999").starts_with("there is no secret 999; "));
    let again = json_of(dir, &add);
    assert_ne!(again["secret"], bound["secret"]);
    assert_ne!(again["id"], bound["id"]);
}

#[test]
fn services_are_granted_listed_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    json_of(dir, "app add etest");
    let grant = format!("service grant --uid {UID} --app etest");
    let granted = json_of(
        dir,
        &format!("{grant} --kind purchase --expires 2030-12-31T23:59:59+01:00"),
    );
    assert_eq!(
        (&granted["kind"], &granted["expires"]),
        (&json!("purchase"), &json!("2030-12-31T22:59:59Z"))
    );
    assert!(json_of(dir, &grant)["expires"].is_null());
    assert_eq!(
        json_of(dir, &format!("service list --uid {UID}"))
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let revoke = format!("service revoke --uid {UID} --app etest");
    for _ in 0..2 {
        assert_eq!(json_of(dir, &revoke)["revoked"], true);
    }
    assert_eq!(json_of(dir, "service list"), json!([]));
    assert!(error_of(dir, &format!("service grant --uid {UID} --app other")).starts_with("there is no app"));
}

#[test]
fn apps_are_changed_and_removed_and_the_built_in_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    json_of(dir, "app add etest --open --direct entitled");
    let kept = json_of(dir, "app add etest");
    assert_eq!(
        (&kept["open"], &kept["direct"]),
        (&json!(true), &json!("entitled"))
    );
    let set = json_of(dir, "app set etest --open false");
    assert_eq!(
        (&set["open"], &set["direct"]),
        (&json!(false), &json!("entitled"))
    );
    assert_eq!(json_of(dir, "app list").as_array().unwrap().len(), 2);
    for _ in 0..2 {
        assert_eq!(
            json_of(dir, "app remove etest"),
            json!({"app": "etest", "removed": true})
        );
    }
    assert!(error_of(dir, "app set etest --open true").starts_with("there is no app 'etest'; "));
    assert!(error_of(dir, "app remove other").starts_with("there is no app 'other'; "));
    assert!(error_of(dir, "app remove nexus").contains("built in"));
}

#[test]
fn what_is_not_there_is_named_with_the_way_to_see_what_is() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    json_of(dir, "app add etest");
    let app = "there is no app 'other'; see 'nexusd app list'";
    let add = format!("{app}, or add it with 'nexusd app add other'");
    let account = format!("there is no account '{OWNER}'; see 'nexusd account list'");
    let secret = "there is no secret 999; see 'nexusd secret list'";
    for (line, error) in [
        ("app remove other", app),
        ("app set other --open true", &add),
        (&format!("account add other --uid {UID} --role owner"), &add),
        (&format!("account revoke {OWNER}"), &account),
        ("secret revoke 999", secret),
        ("secret explore other", &add),
        (&format!("secret service --uid {UID} --app other"), &add),
        (&format!("service grant --uid {UID} --app other"), &add),
        (&format!("service revoke --uid {UID} --app other"), app),
    ] {
        assert_eq!(error_of(dir, line), error, "{line}");
    }
}

#[test]
fn a_store_that_lost_its_database_is_not_taken_for_none() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    json_of(dir, "app add etest");
    for name in ["nexus.db", "nexus.db-wal", "nexus.db-shm"] {
        let _not_there = std::fs::remove_file(dir.join(name));
    }
    let error = error_of(dir, "app list");
    assert!(
        error.contains("nexus.db is gone") && error.contains("backup"),
        "{error}"
    );
    json_of(dir, "app add etest");
    json_of(dir, "app list");
}

#[test]
fn a_store_that_is_not_there_is_not_made_by_looking_at_it() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("typo");
    for line in ["app list", "secret list", "service list", "account list"] {
        let error = error_of(&missing, line);
        assert!(
            error.starts_with("no store in ") && error.contains("--data-dir"),
            "{error}"
        );
    }
    assert!(!missing.exists());
}

#[test]
fn the_data_directory_comes_from_the_configuration_unless_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let config = dir.path().join("nexus.toml");
    std::fs::write(&config, format!("data_dir = {:?}\n", store.to_str().unwrap())).unwrap();
    let run = |line: &str| match parsed(&format!("{line} --config {}", config.display())).unwrap() {
        Command::Store(StoreCommand::App(command)) => command.run().map(|(_, output)| output.json()),
        other => panic!("{other:?}"),
    };
    run("app add etest").unwrap();
    assert!(store.join("nexus.db").exists());
    std::fs::write(&config, "data_dir = 7\n").unwrap();
    let error = run("app list").unwrap_err().to_string();
    assert!(error.contains("data_dir"), "{error}");
    std::fs::write(&config, "data_dir = \n").unwrap();
    let error = run("app list").unwrap_err().to_string();
    assert!(error.contains("nexus.toml") && !error.contains('\n'), "{error}");
}

#[test]
fn a_chosen_secret_is_the_first_line_of_standard_input() {
    let text = "correct horse battery staple 1234";
    for input in [text.to_owned(), format!("{text}\n"), format!("{text}\r\nmore\n")] {
        assert!(chosen_secret(input.as_bytes(), false).is_ok(), "{input:?}");
    }
    for (input, weak, why) in [
        ("hunter2\n", false, "fewer than 32 characters"),
        ("\n", true, "empty"),
        ("pässwort\n", true, "printable ASCII"),
    ] {
        let error = chosen_secret(input.as_bytes(), weak).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(chosen_secret(&[0xff, b'\n'][..], true).is_err());
    assert!(chosen_secret("x".repeat(5_000).as_bytes(), true).is_err());
    assert!(chosen_secret("hunter2\n".as_bytes(), true).is_ok());
}

#[test]
fn tables_have_aligned_columns() {
    let dir = tempfile::tempdir().unwrap();
    executed(dir.path(), "app add etest --open").unwrap();
    let table = executed(dir.path(), "app list").unwrap().table();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("APP    OPEN  DIRECT  CREATED"), "{table}");
    assert!(lines[1].starts_with("etest  yes   any     20"), "{table}");
    assert!(lines[2].starts_with("nexus  no    any     20"), "{table}");
}

#[test]
fn rfc3339_moments_are_read_and_written_in_utc() {
    assert_eq!(parse::moment("1970-01-01T00:00:01Z"), Ok(1_000));
    assert_eq!(parse::moment("1970-01-01T01:00:00.5+01:00"), Ok(500));
    assert_eq!(parse::show_moment(1_000), "1970-01-01T00:00:01Z");
    assert_eq!(parse::show_optional_moment(None), Value::Null);
}

#[test]
fn an_address_that_is_none_is_told_with_an_example() {
    for address in ["1883", "127.0.0.1", "localhost:1883", ":1883", "127.0.0.1:65536"] {
        let error = parsed(&format!("serve --mqtt {address}"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("such as 127.0.0.1:1883"), "{error}");
    }
    assert!(parsed("serve --mqtt [::1]:0 --bridge 0.0.0.0:8091").is_ok());
}
